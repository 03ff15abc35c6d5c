"""The lesson: the equations of the paper and nothing else, on NumPy alone.

Reading order: ``ops`` (arithmetic), ``arena`` (memory), ``layers`` (one layer), ``stack`` (a
network), ``objective`` (the losses), ``optim`` (descent), ``gradcheck`` (is it right?).
Equation 2, the noise, is in ``ddnmf_np.data.noise``. ``backend`` chooses who does the arithmetic;
``ops_numba`` and ``ops_cupy`` are faster twins of ``ops``.
"""
