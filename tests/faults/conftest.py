"""The data of the fault harness, and the run that nothing went wrong in."""

import fault_cases as cases
import pytest


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    cases.write_images(path)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, images):
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    code, err = cases.finish(output, "--dataset", images)
    assert code == 0, err
    return cases.result(output)
