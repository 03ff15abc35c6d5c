"""Section 4 of the paper from raw data: ``python -m ddnmf_np.experiments --help``."""
