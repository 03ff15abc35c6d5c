"""The lesson: equations 1 to 10 of the paper and nothing else, on NumPy alone.

Reading order: ``ops`` (arithmetic), ``arena`` (memory), ``layers`` (one layer), ``stack`` (a
network), ``objective`` (the losses), ``optim`` (descent), ``gradcheck`` (is it right?).
``backend`` chooses who does the arithmetic; ``ops_numba`` and ``ops_cupy`` are faster twins of
``ops``.
"""
