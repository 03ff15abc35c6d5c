"""Exercises with checked answers, real images, and pictures for the notebooks.

``check("dense-backward", answer)`` says which block of an answer is wrong and by how much. Add
``.hint()`` for a hint, or ``.keep()`` to keep a right answer in ``my_engine.py``; `tally` counts
what was kept, and `engine` trains on it. ``images(n)`` returns real images without a download.

The tests and ``python -m ddnmf_np.teaching grade`` run the cells of the notebooks one by one, so
each notebook follows these rules:

* its first code cell contains only imports;
* a cell tagged ``exercise`` contains one empty answer and its ``check``. It needs only the first
  code cell, and no other cell needs it. The solution is in ``notebooks/answers/right.py``;
* a cell that mostly draws is tagged ``hide-input``;
* ``python -m ddnmf_np.teaching.refresh notebooks/02*.py`` runs the ``.py`` and writes the
  ``.ipynb`` beside it.
"""

from ddnmf_np.teaching.check import check, tally
from ddnmf_np.teaching.exercise import student
from ddnmf_np.teaching.images import images
from ddnmf_np.teaching.own_engine import engine

__all__ = ["check", "engine", "images", "student", "tally"]
