"""One training step of a run, number by number: ``python -m ddnmf_np.trace --help``.

``record`` does the step in float64 and repeats it with ``engine/literal.py``; ``page`` writes the
record as a table.
"""
