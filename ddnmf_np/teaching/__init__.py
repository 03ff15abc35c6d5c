"""Exercises with checked answers, real images, and pictures for the notebooks.

``check("dense-backward", answer)`` says which block of an answer is wrong and by how much.
``images(n)`` returns real images without a download.

The tests run the cells of the notebooks one by one, so each notebook follows these rules:

* its first code cell contains only imports;
* a cell tagged ``exercise`` contains one empty answer and its ``check``. A later cell tagged
  ``solution`` and ``hide-cell`` contains a right answer and the same ``check``. Both need only the
  first code cell, and no other cell needs them;
* ``python -m ddnmf_np.teaching.refresh notebooks/02*.py`` runs the ``.py`` and writes the
  ``.ipynb`` beside it.
"""

from ddnmf_np.teaching.check import check
from ddnmf_np.teaching.images import images

__all__ = ["check", "images"]
