"""What `python -m ddnmf_np.bench` measures, and how; nothing else in the package needs it.

Each framework is imported in its own file (``*_peer``) alone, by the process that measures it.
"""
