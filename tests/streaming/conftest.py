import pytest
from stream_cases import NEEDS


@pytest.fixture
def stored(request, tmp_path):
    """Return a function that stores samples in the kind that the test asks for."""

    def store(kind, x):
        if kind.__name__ in NEEDS:
            pytest.importorskip(NEEDS[kind.__name__])
        return kind(x, tmp_path)

    return store
