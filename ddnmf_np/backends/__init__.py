"""Arithmetic with NumPy, Numba or CuPy.

``ops`` has every operation of the equations in plain NumPy, and ``noise_ops`` those of equation 2,
with their random numbers. ``ops_numba`` and ``ops_cupy`` (with ``kernels.cu`` and ``cublas``) are
faster forms of them; ``select`` chooses. ``threads`` and ``cupy_graph`` run the two networks at the
same time, on a CPU and on a GPU.
"""
