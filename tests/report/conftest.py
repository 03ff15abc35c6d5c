"""Makes this folder importable (``report_cases``), and holds a whole run."""

import pytest
from report_cases import make_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """A finished run with labels and all pictures; nobody changes it."""
    return make_run(tmp_path_factory.mktemp("report") / "run")
