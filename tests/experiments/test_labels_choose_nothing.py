"""Other labels change the scores of a campaign, but no code, clustering or choice."""

import json
from dataclasses import replace

import numpy as np
import pytest
from experiments_cases import OPTIONS, PLACES, flatten_maps, records_of

from ddnmf_np.experiments import settings
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.tables import METRICS

pytestmark = pytest.mark.usefixtures("sketched_module")

WORDS = [
    *("table1", "supervisor", "--seeds", "1", "--datasets", "mnist"),
    *("--epochs", "1", "--samples", "200", "--starts", "3"),
    *("--maps", "tsne", "--networks", "ddnmf-demo"),
]
LABEL_FREE_RESULT = ("objective", "objectives", "bic", "converged", "cluster_sizes", "degenerate")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two campaigns: with the labels, and with the same labels of other images."""
    load = settings._load
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        flatten_maps(patch)
        for permuted in (False, True):

            def loading(place, data_dir, permuted=permuted):
                data = load(place, data_dir)
                if not permuted:
                    return data
                draw = np.random.default_rng(0).permutation
                return replace(data, y_train=draw(data.y_train), y_test=draw(data.y_test))

            patch.setattr(settings, "_load", loading)
            folders.append(tmp_path_factory.mktemp("labels"))
            words = [*WORDS, "--output", str(folders[-1])]
            assert main(words, places=PLACES, options=OPTIONS) == 0
    return folders


def test_codes_are_the_same_to_the_bit(folders):
    one, other = folders
    files = sorted(path.name for path in (one / "codes").iterdir())
    assert files == sorted(path.name for path in (other / "codes").iterdir())
    assert files
    for file in files:
        with np.load(one / "codes" / file) as a, np.load(other / "codes" / file) as b:
            for name in {*a.files} - {"meta"}:  # of a checkpoint, with the times of the epochs
                np.testing.assert_array_equal(a[name], b[name])


def test_starts_and_clusters_are_the_same_and_the_scores_are_not(folders):
    one, other = map(records_of, folders)
    assert one.keys() == other.keys()
    scored = [name for name in one if "-clustering-" in name]
    assert len(scored) == 5 * 3 + 1
    for name in scored:
        a, b = json.loads(one[name]), json.loads(other[name])
        assert a["assignment"] == b["assignment"]
        assert len(a["result"]["objectives"]) == 3
        for what in LABEL_FREE_RESULT:
            assert a["result"][what] == b["result"][what]
        for score in METRICS:
            assert a["result"][score] > b["result"][score] + 0.05


def test_the_mixture_and_the_candidate_are_chosen_without_labels(folders):
    one, other = ((home / "tables" / "table1.md").read_text() for home in folders)
    assert one != other
    said = [[line for line in text.splitlines() if "BIC prefers" in line] for text in (one, other)]
    assert said[0] == said[1] != []
    one, other = ((home / "tables" / "supervisor.md").read_text() for home in folders)
    assert one != other
    assert one.split("| variant | ACC")[0] == other.split("| variant | ACC")[0]
