"""Exercises with answers that are checked, real images, and pictures for the notebooks.

``check("dense-backward", answer)`` says which block of an answer is wrong and by how much;
``images(n)`` returns real images, wherever the notebook runs.

How a notebook in ``notebooks/`` is written, so that the tests can take its cells one by one:

* its first code cell holds imports alone;
* a cell tagged ``exercise`` holds one empty answer and its ``check``, and a later cell tagged
  ``solution`` and ``hide-cell`` holds one right answer and the same ``check``. Both need nothing
  but the first code cell; no other cell needs them;
* ``python -m ddnmf_np.teaching.refresh notebooks/02*.py`` runs the ``.py`` and writes the
  ``.ipynb`` beside it.
"""

from ddnmf_np.teaching.check import check
from ddnmf_np.teaching.images import images

__all__ = ["check", "images"]
