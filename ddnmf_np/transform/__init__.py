"""Results of a trained model for a file of samples: ``python -m ddnmf_np.transform --help``."""
