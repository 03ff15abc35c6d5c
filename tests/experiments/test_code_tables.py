"""Dead units, scale of codes and spread over starts, computed from records seed by seed."""

import math
from pathlib import Path

import numpy as np
import pytest
from experiments_cases import clustering, codes

from ddnmf_np.evaluation.clustering import cluster, score_clustering
from ddnmf_np.evaluation.metrics import scores
from ddnmf_np.experiments import tables
from ddnmf_np.experiments.records import Store, pack_labels
from ddnmf_np.experiments.settings import Settings
from ddnmf_np.experiments.tables import CODE_MODELS, code_table, codes_of, frame_of, stability_table

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"


def code(model, seed, stds, dead, **more):
    return codes(model, seed, code={"unit_std": stds, "dead_units": dead}, **more)


def cells(text):
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_a_line_has_each_seed_in_its_order_and_their_spread():
    records = [
        code("ddnmf-demo", 2, [0.3, 0.5], 0),
        code("ddnmf-demo", 0, [0.0, 0.2], 1),
        code("ae1", 0, [2.0, 4.0], 0, noise_rate=0.0),
    ]
    ae1, demo = cells(code_table(codes_of(records), "mnist"))
    assert ae1 == ["AE1", "30", "60,000", "1", "0", "2", "3.000", "3.000"]
    std = math.sqrt(2 * 0.15**2)
    assert demo == [
        "DDNMF (demo's objective)", "30", "60,000", "2", "1, 0", "2",
        f"0.250 ± {std:.3f} (0.100-0.400)", "0.100, 0.400",
    ]  # fmt: skip


def test_other_data_noise_networks_and_kinds_are_no_part_of_it():
    records = [
        code("ddnmf-demo", 0, [0.1], 0, noise_rate=0.5),
        code("ddnmf-demo", 0, [0.1], 0, dataset="fashion-mnist"),
        code("supervisor-demo", 0, [0.1], 0),
        clustering("ddnmf-demo"),
    ]
    assert code_table(codes_of(records), "mnist") == ""
    [line] = cells(code_table(codes_of(records), "fashion-mnist"))
    assert line[3] == "1"


def test_two_schedules_are_two_lines():
    records = [code("ddnmf-demo", 0, [0.1], 0, epochs=epochs) for epochs in (70, 5)]
    assert [line[1] for line in cells(code_table(codes_of(records), "mnist"))] == ["5", "70"]
    records = [code("ddnmf-demo", 0, [0.1], 0, samples=samples) for samples in (1437, 200)]
    assert [line[2] for line in cells(code_table(codes_of(records), "mnist"))] == ["200", "1,437"]


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_committed_records_give_a_line_for_each_network(dataset):
    records, _ = Store(RESULTS / "experiments").load()
    lines = cells(code_table(codes_of(records), dataset))
    assert len(lines) == len(set(CODE_MODELS) & set(Settings(results=()).networks))
    assert {line[3] for line in lines} == {"5"}


def test_stability_of_each_row_is_that_of_its_seeds():
    """Hubert and Arabie's index by hand: 2 pairs together in both, 3 in one, 4 in the other."""
    a, b = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 2, 2, 2])
    records = [
        clustering("ae1", seed, noise_rate=0.0, n_test=6, method=method, assignment=pack_labels(x))
        for method, pair in (("kmeans", (a, b)), ("gmm-full", (a, 2 - a)))
        for seed, x in enumerate(pair)
    ]
    records.append(clustering("nmf", 0, method="gmm-spherical"))
    nmf, ae1 = cells(stability_table(frame_of(records), "mnist"))
    expected = (2 - 3 * 4 / 15) / ((3 + 4) / 2 - 3 * 4 / 15)
    assert ae1[:4] == ["AE1", "30", "60,000", f"{expected:.3f}"]
    assert ae1[4:] == ["-", "1.000"]  # no spherical mixture; nobody has a map, nor a column for it
    assert nmf == ["NMF", "-", "60,000", "-", "-", "-"]
    assert stability_table(frame_of(records), "fashion-mnist") == ""


def over_starts(records):
    """Return the standard deviations over starts that table 1 shows of its only row."""
    text = tables.render("table1", records).partition("over the starts of one clustering")[2]
    [row] = cells(text.split("\n\n")[1])
    return row[2:]


def test_spread_within_a_seed_does_not_see_what_differs_between_seeds():
    records = [clustering(seed=seed, acc=acc) for seed, acc in enumerate((0.2, 0.9))]
    for record, std in zip(records, (0.02, 0.04), strict=True):
        for number, score in enumerate(("acc", "nmi", "ari")):
            record["result"]["spread"][score]["std"] = std * (number + 1)
    assert over_starts(records) == ["0.030", "0.060", "0.090"]


def test_spread_within_a_seed_is_that_of_the_starts():
    rng = np.random.default_rng(0)
    H, y = rng.uniform(size=(60, 3)), rng.integers(4, size=60)
    found = cluster(H, 4, method="kmeans", n_starts=5)
    every = [scores(y, labels) for labels in found.all_labels]
    expected = [np.std([one[name] for one in every]) for name in ("acc", "nmi", "ari")]
    assert min(expected) > 0.0
    record = clustering(result=score_clustering(found, y))
    assert over_starts([record]) == [f"{std:.3f}" for std in expected]
