"""Maps with several seeds, all images together, and the consensus of repeated clusterings."""

import json

import numpy as np
import pytest
from experiments_cases import OPTIONS, PLACES, clustering, records_of

from ddnmf_np.data.datasets import load
from ddnmf_np.evaluation import clustering as clusterers
from ddnmf_np.evaluation.metrics import clustering_accuracy
from ddnmf_np.experiments import tables
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.records import pack_labels, unpack_labels

WORDS = ["table1", "--networks", "ddnmf-demo", "raw", "--epochs", "1", "--starts", "2"]
WORDS += ["--seeds", "2", "--samples", "200"]
MANY = [*WORDS, "--images", "test", "all", "--maps", "tsne", "--map-seeds", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A campaign with every option, in which a map is two units and some noise."""
    folder = tmp_path_factory.mktemp("many")

    def shaken(H, method, n, seed):
        noise = np.random.default_rng(seed).normal(scale=0.3 * H.std(), size=(n, 2))
        return np.arange(n), np.asarray(H[:, :2], float) + noise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusterers, "embed", shaken)
        assert main([*MANY, "--output", str(folder)], places=PLACES, options=OPTIONS) == 0
        assert main([*MANY, "--output", str(folder)], places=PLACES, options=OPTIONS) == 0
    return folder


def clusterings(folder):
    found = map(json.loads, records_of(folder).values())
    return [r for r in found if r["kind"] == "clustering"]


def test_each_clustering_is_made_once_for_each_kind_of_images_and_map(folder):
    lines = (folder / "records.jsonl").read_text().splitlines()
    assert len(lines) == len(records_of(folder))  # the second command had nothing to do
    found = [r for r in clusterings(folder) if r["model"] == "ddnmf-demo" and r["seed"] == 0]
    places = [(r["images"], r["method"], r.get("again", 0)) for r in found]
    assert len(places) == len(set(places)) == 2 * (3 + 3)
    assert {again for _, method, again in places if method == "gmm-full-tsne"} == {0, 1, 2}
    assert len({r["identity"]["seed"] for r in found}) == 3
    raw = [r for r in clusterings(folder) if r["model"] == "raw"]
    assert {r["images"] for r in raw} == {"clean"}


def test_all_images_are_those_of_training_and_test_in_this_order(folder):
    data = load("digits")
    y = np.append(data.y_train, data.y_test)
    for r in clusterings(folder):
        if r["images"] == "all":
            assert r["n_test"] == len(y)
            labels = unpack_labels(r["assignment"], len(y))
            assert clustering_accuracy(y, labels) == pytest.approx(r["result"]["acc"])


def test_codes_of_all_images_end_with_those_of_the_test(folder):
    for line in map(json.loads, records_of(folder).values()):
        if line["kind"] == "codes":
            with np.load(folder / "codes" / line["arrays"]) as arrays:
                np.testing.assert_array_equal(arrays["all"][-360:], arrays["clean"])
                assert len(arrays["all"]) == 1797


def test_other_tables_do_not_see_repetitions(folder, tmp_path):
    words = [*WORDS, "--output", str(tmp_path)]
    assert main(words, places=PLACES, options=OPTIONS) == 0
    plain, text = ((f / "tables" / "table1.md").read_text() for f in (tmp_path, folder))
    first = plain.splitlines()[0]
    assert text.splitlines()[0] == first
    row = next(line for line in plain.splitlines() if "(demo's objective) | k-means" in line)
    assert row in text
    assert "consensus" in text
    assert "consensus" not in plain


def test_codes_without_all_images_are_made_again(tmp_path):
    words = [*WORDS, "--seeds", "1", "--output", str(tmp_path)]
    assert main(words, places=PLACES, options=OPTIONS) == 0
    files = {*tmp_path.glob("codes/*ddnmf-demo*.npz")}
    [file] = files - {*tmp_path.glob("codes/*-trained.npz")}
    with np.load(file) as arrays:
        clean = arrays["clean"]
    np.savez(file, clean=clean)  # as earlier versions wrote it
    assert main([*words, "--images", "all"], places=PLACES, options=OPTIONS) == 0
    with np.load(file) as arrays:
        np.testing.assert_array_equal(arrays["clean"], clean)
    assert any(r["images"] == "all" for r in clusterings(tmp_path))


def repeated(labels, seed=0, **more):
    return [
        clustering("ddnmf-demo", seed, acc=0.5 + 0.1 * k, method="gmm-full-tsne", n_test=6,
                   assignment=pack_labels(np.array(one)), **({"again": k} if k else {}), **more)
        for k, one in enumerate(labels)
    ]  # fmt: skip


def test_consensus_is_the_clustering_that_agrees_best():
    runs = repeated([[0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    assert tables.medoid(runs) == 1
    assert tables.medoid(runs[:1]) == 0
    table = tables.repetitions(runs, "mnist").splitlines()[-1].split(" | ")
    assert table[4:6] == ["1", "3"]
    assert table[6] == "0.600"  # the mean over the maps
    assert table[9] == "0.100"  # their standard deviation
    assert table[11].startswith("0.600 / 0.550 / 0.500")


def test_table_of_repetitions_is_empty_without_any():
    assert tables.repetitions([clustering("ddnmf-demo", 0)], "mnist") == ""
    both = [*repeated([[0] * 6]), clustering("ddnmf-demo", 0, images="noisy")]
    assert tables.repetitions(both, "mnist") == ""
