"""Benchmarks of the engine: ``python -m ddnmf_np.bench`` and the modules that have a ``main``.

Nothing else in the package imports them. Each framework is imported only in its ``*_peer`` file,
by the process that measures it.
"""
