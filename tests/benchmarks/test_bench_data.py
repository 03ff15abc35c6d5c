"""``python -m ddnmf_np.bench data``."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ddnmf_np.bench import quality, splits
from ddnmf_np.bench.__main__ import main
from ddnmf_np.bench.options import DataOptions
from ddnmf_np.bench.quality import METHODS, to_markdown
from ddnmf_np.bench.sets import SETS
from ddnmf_np.bench.splits import Split, fitted, read
from ddnmf_np.errors import DataError
from ddnmf_np.estimator import DDNMF

RESULTS = Path(__file__).parents[2] / "notebooks" / "results" / "bench-data"
PAGE = Path(__file__).parents[2] / "derivations" / "defaults.md"
QUICK = ["--sets", "iris", "linnerud", "--seeds", "0", "--epochs", "2"]


def test_a_real_run_and_where_it_goes_on(tmp_path, capsys, monkeypatch):
    flags = ["data", *QUICK, "--output", str(tmp_path)]
    assert main(flags) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.md", "measurements.jsonl"]
    records = read(tmp_path / "measurements.jsonl")
    assert [(r["set"], r["method"]) for r in records] == [
        (name, method) for name in ("iris", "linnerud") for method in METHODS
    ]
    assert all(r["fvu"] > 0.0 and r["seconds"] > 0.0 for r in records)
    assert all(0.3 < r["probe"] <= 1.0 and 0.3 < r["kmeans"] <= 1.0 for r in records[:4])
    assert (records[0]["dead_codes"], records[0]["dead_outputs"]) == (0, 0)
    assert records[0]["n_train"] == 120
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "data.md").read_text().strip()
    assert f"| iris (2) | 120 | {records[0]['fvu']:.3f} | 0.031 | 0.031 |" in printed

    (tmp_path / "measurements.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in records[:-1])
    )
    asked = []
    reconstruct = quality.reconstruct
    monkeypatch.setattr(
        quality, "reconstruct", lambda *a, **o: asked.append(a[1]) or reconstruct(*a, **o)
    )
    assert main(flags) == 0
    assert asked == ["minibatch-nmf"]
    again = read(tmp_path / "measurements.jsonl")
    assert [r["fvu"] for r in again] == [r["fvu"] for r in records]


def test_hidden_entries_are_filled_in(tmp_path, capsys):
    flags = [*QUICK, "--hide", "0.3", "--output", str(tmp_path)]
    assert main(["data", *flags]) == 0
    records = read(tmp_path / "measurements.jsonl")
    assert [r["method"] for r in records] == ["ddnmf", "knn"] * 2
    row = " | ".join(f"{r['fvu']:.3f}" for r in records[:2])
    assert f"| iris (2) | 30% | {row} |" in capsys.readouterr().out
    assert records[1]["fvu"] < 0.5  # that of neighbours; two epochs of DDNMF do not learn


def test_the_mean_of_the_training_rows_has_1_and_the_truth_0():
    x = np.random.default_rng(0).uniform(1.0, 2.0, (50, 4)) * [1.0, 10.0, 100.0, 1.0]
    for hidden in (0.0, 0.3):
        split = Split(x, None, seed=3, hidden=hidden)
        assert (len(split.train), len(split.test), split.scale) == (40, 10, "features")
        assert split.unexplained(np.tile(split.mean, (10, 1))) == 1.0
        assert split.unexplained(split.scaled(split.truth)) == 0.0
        assert np.isnan(split.train).mean() == pytest.approx(hidden, abs=0.1)
        # What is known does not count where entries are hidden.
        guess = np.where(np.isnan(split.test), split.scaled(split.truth), 7.0)
        assert (split.unexplained(guess) == 0.0) == (hidden > 0.0)


def test_an_output_that_leaves_out_a_rare_feature_is_not_dead():
    class Constant(DDNMF):
        def fit(self, X):
            return self

        def transform(self, X):
            return X[:, :2]

        def inverse_transform(self, H):
            return np.zeros((len(H), 4))

    split = Split(np.random.default_rng(0).uniform(size=(100_000, 4)), None, seed=0)
    for rows in (split.train, split.test, split.truth):
        rows[:, 3] = 0.0
    split.truth[0, 3], split.mean[3] = 1.0, 0.0
    assert fitted(Constant(), split)["dead_outputs"] == 3


@pytest.mark.parametrize("name", ["china", "manual", "diabetes"])
def test_sets_are_the_same_each_time(name):
    x, y = SETS[name].load(None)
    assert np.isfinite(x).all()
    assert x.min() >= 0.0
    assert x.shape[0] > 300
    assert y is None
    np.testing.assert_array_equal(SETS[name].load(None)[0], x)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sets", "irs"], "irs"),
        (["--hide", "1"], "is 1; expected a number of at least 0.0 and below 1"),
        (["--ranks", "0"], "expected a number of at least 1"),
    ],
)
def test_what_cannot_be_used_is_refused(flags, words, capsys, tmp_path):
    assert main(["data", *flags, "--output", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_a_set_of_a_package_that_is_absent_is_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(splits, "find_spec", lambda name: None)
    assert main(["data", "--sets", "faces", "--output", str(tmp_path)]) == 0
    assert "faces: left out, skimage is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]\n", '{"set": "iris"}\n', '{"set": NaN}\n'])
def test_damaged_records_are_refused(text, tmp_path):
    (tmp_path / "measurements.jsonl").write_text(text)
    with pytest.raises(DataError, match="move it elsewhere"):
        read(tmp_path / "measurements.jsonl")


def test_the_tables_of_the_page_are_those_of_the_records():
    records = read(RESULTS / "measurements.jsonl")
    page = PAGE.read_text("utf-8")
    for table in to_markdown(records).strip().split("\n\n"):
        assert table in page
    assert all(math.isfinite(record["fvu"]) for record in records)
    assert {r["set"] for r in records} <= set(DataOptions().sets)
