"""Arithmetic on NumPy, with Numba's loops or with CuPy's kernels, and its order.

``ops`` states every operation of the equations in plain NumPy; ``ops_numba`` and ``ops_cupy`` are
its faster twins, and ``select`` chooses one of them. ``threads`` runs two networks side by side on
a processor, ``cupy_graph`` on a GPU.
"""
