"""Pictures that take no time: painting takes longer than what most tests of a run are about."""

from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure


@contextmanager
def empty_pictures():
    """Save an empty picture, which is still a PNG file, in place of every figure."""
    paint = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Figure,
            "savefig",
            lambda self, stream, **how: paint(Figure((1, 1)), stream, format="png"),
        )
        yield
