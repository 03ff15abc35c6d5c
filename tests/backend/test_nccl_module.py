"""CuPy's module of NCCL: CuPy does not import it by itself, and the library may be missing."""

import pytest

from ddnmf_np.backends.select import load_nccl
from ddnmf_np.errors import BackendError


@pytest.mark.cupy
def test_it_is_found_or_the_error_says_what_to_install(cupy):
    try:
        nccl = load_nccl()
    except BackendError as error:
        said = str(error)
    else:
        said = "pip install nvidia-nccl"
        for name in ("NcclCommunicator", "get_unique_id", "get_version", "NCCL_SUM"):
            assert hasattr(nccl, name), name
    assert "pip install nvidia-nccl" in said
