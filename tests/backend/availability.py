"""What to do with a test whose CuPy or device is not there."""

import os

import pytest


def unavailable(variable, reason):
    """Skip, or fail where the environment variable says that the thing must be there."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, but: {reason}", pytrace=False)
    pytest.skip(reason)
