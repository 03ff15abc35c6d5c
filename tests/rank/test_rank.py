"""The search for the rank: the rule, hidden entries, matched units, records, the command."""

import json
import pickle
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import joblib
import numpy as np
import pytest

from ddnmf_np import DDNMF
from ddnmf_np.errors import DataError, OptionError, UsageError
from ddnmf_np.rank import RankChoice, choose_rank, search
from ddnmf_np.rank.__main__ import main
from ddnmf_np.rank.choice import decide
from ddnmf_np.system import json_text

SMALL = {"widths": (16,), "max_iter": 40, "lr": 0.02, "batch_size": 16, "fast": "off"}


def sums_of_parts(rank, n=60, n_features=12, seed=0):
    """Return samples that are sums of ``rank`` non-negative parts, with a little noise."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, rank)) @ rng.gamma(0.5, size=(rank, n_features))
    return (x / x.max() + 0.02 * rng.random(x.shape)).astype(np.float32)


# -- the rule --------------------------------------------------------------------------------------

RANKS = (2, 4, 8, 16)


def table(means, scatter=0.0, n_seeds=5):
    """Return errors with these means, whose differences scatter: (n_seeds, n_ranks)."""
    rng = np.random.default_rng(0)
    noise = scatter * rng.standard_normal((n_seeds, len(means)))
    common = 0.05 * rng.standard_normal((n_seeds, 1))  # of the hidden entries; no difference has it
    return np.array(means) + noise - noise.mean(axis=0) + common - common.mean()


@pytest.mark.parametrize(
    ("means", "rank", "low", "high", "text"),
    [
        ((0.5, 0.4, 0.3, 0.3), 8, 5, 8, "rank 8 (5 to 8)"),
        (
            (0.5, 0.4, 0.306, 0.3),
            8,
            5,
            8,
            "rank 8 (5 to 8)",
        ),  # within 1 % of the .7 that are explained
        ((0.5, 0.4, 0.3, 0.35), 8, 5, 8, "rank 8 (5 to 8)"),
        ((0.3, 0.31, 0.32, 0.33), 2, 2, 2, "rank 2 (2) or less; it is the smallest that was tried"),
        ((0.5, 0.4, 0.308, 0.3), None, 9, 16, "the error still falls at rank 16, the largest"),
        ((1.02, 1.01, 1.03, 1.2), None, None, None, "no rank predicts hidden entries better"),
        ((np.inf, 0.4, 0.3, 0.3), None, None, None, "no rank predicts hidden entries better"),
    ],
)
def test_rule(means, rank, low, high, text):
    found = decide(RANKS, table(means))
    assert (found.rank, found.low, found.high) == (rank, low, high)
    assert text in found.text
    assert found.text.startswith("the data do not say: ") == (rank is None)


def test_range_holds_the_answer_and_grows_with_the_scatter():
    spans = []
    for scatter in (0.0, 0.02, 0.5):
        errors = table((0.5, 0.35, 0.3, 0.3), scatter)
        found = decide(RANKS, errors)
        assert found.rank is None or found.low <= found.rank <= found.high
        spans.append((found.low, found.high))
    assert spans == [(5, 8), (5, 16), (2, 16)]
    assert found.text.startswith("the data do not say: ranks from 2 to 16 cannot be told apart")


def test_range_of_neighbouring_ranks_may_be_one_rank():
    assert decide((6, 7, 8, 9), table((0.5, 0.4, 0.3, 0.3))).text == "rank 8 (8)"


def test_seeds_are_compared_in_pairs():
    """What all ranks of a seed have in common, such as hard hidden entries, hides no difference."""
    errors = table((0.5, 0.4, 0.3, 0.3)) + np.array([[0.1], [-0.1], [0.2], [-0.2], [0.0]])
    assert decide(RANKS, errors).text == "rank 8 (5 to 8)"


# -- hidden entries --------------------------------------------------------------------------------


def test_seeds_hide_every_entry_once():
    x = np.ones((40, 30))
    x[3, 4] = np.nan
    masks = [search.hide(x, number, 7, 0.2) for number in range(10)]
    for round_ in (masks[:5], masks[5:]):
        assert (np.sum(round_, axis=0) == ~np.isnan(x)).all()
        assert all(0.15 < mask.mean() < 0.25 for mask in round_)
    assert not any((a == b).all() for a in masks[:5] for b in masks[5:])
    assert (search.hide(x, 0, 8, 0.2) != masks[0]).any()


def test_training_never_sees_a_hidden_entry():
    x = sums_of_parts(2)
    task = search.Task(x, 2, 1, 0, 0.2, DDNMF(**SMALL | {"max_iter": 2}))
    one = search.fit(task)
    other = np.where(search.hide(x, 1, 0, 0.2), 0.5 * x + 0.1, x).astype(x.dtype)
    two = search.fit(search.Task(other, 2, 1, 0, 0.2, task.estimator))
    np.testing.assert_array_equal(one.codes, two.codes)
    assert one.error != two.error


def test_error_is_that_of_the_hidden_entries_alone():
    """Compared with the same number computed by hand from `impute`."""
    x = sums_of_parts(3)
    task = search.Task(x, 2, 0, 5, 0.2, DDNMF(**SMALL | {"max_iter": 2}))
    mask = search.hide(x, 0, 5, 0.2)
    seen = np.where(mask, np.nan, x).astype(x.dtype)
    model = DDNMF(2, missing="nan", random_state=5, **SMALL | {"max_iter": 2}).fit(seen)
    low, span = model.model_.scaling.low, model.model_.scaling.span
    guess, truth = (model.impute(seen) - low) / span, (x - low) / span
    error, deviation = guess - truth, model.unexplained_.mean - truth
    expected = (error[mask] ** 2).sum() / (deviation[mask] ** 2).sum()
    assert search.fit(task).error == pytest.approx(expected, rel=1e-4)


# -- agreement -------------------------------------------------------------------------------------


def test_agreement_knows_units_again_in_any_order_and_direction():
    H = np.random.default_rng(0).random((50, 4))
    swapped = 1.0 - 0.5 * H[:, [2, 0, 3, 1]]
    np.testing.assert_allclose(search.agreement([H, swapped, H]), 1.0)


def test_agreement_of_strangers_and_of_dead_units_is_low():
    rng = np.random.default_rng(0)
    H = rng.random((1000, 4))
    assert (search.agreement([H, rng.random((1000, 4))]) < 0.1).all()
    dead = H.copy()
    dead[:, 1:] = 0.5 + 1e-9 * rng.random((1000, 3))
    np.testing.assert_allclose(search.agreement([H, dead]), 0.25)


# -- searches --------------------------------------------------------------------------------------


def test_known_rank_is_found():
    x, lines = sums_of_parts(2, n=100, n_features=30), []
    estimator = DDNMF(widths=(32,), max_iter=200, lr=0.05, batch_size=32, fast="off")
    choice = choose_rank(x, (4, 1, 2), seeds=2, estimator=estimator, say=lines.append)
    assert choice.ranks == (1, 2, 4)
    assert choice.rank == 2
    assert len(lines) == 7
    assert [row["rank"] for row in choice.table] == [1, 2, 4]
    assert str(choice).endswith(f"answer: {choice.answer}")


@pytest.mark.parametrize("kind", ["noise", "constant"])
def test_where_there_is_no_rank_the_data_do_not_say(kind):
    rng = np.random.default_rng(0)
    x = rng.random((60, 12)) if kind == "noise" else np.full((60, 12), 0.5)
    choice = choose_rank(x, (1, 3), seeds=2, estimator=DDNMF(**SMALL))
    assert choice.answer.startswith("the data do not say: no rank predicts hidden entries")


def quickly(x, ranks=(1, 2), seeds=2, **options):
    estimator = options.pop("estimator", DDNMF(**SMALL | {"max_iter": 1}))
    return choose_rank(x, ranks, seeds=seeds, estimator=estimator, **options)


def test_missing_entries_and_masks():
    x = sums_of_parts(2).astype(np.float64)
    gone = np.random.default_rng(1).random(x.shape) < 0.1
    holes = np.where(gone, np.nan, x)
    with pytest.raises(DataError, match="missing='nan'"):
        quickly(holes)
    estimator = DDNMF(missing="nan", **SMALL | {"max_iter": 1})
    one = quickly(holes, estimator=estimator)
    masked = np.ma.array(x, mask=gone)
    two = quickly(masked, estimator=estimator)
    np.testing.assert_array_equal(one.errors, two.errors)
    with pytest.raises(DataError, match="masked entries of"):
        quickly(masked)


def test_of_many_samples_some_are_drawn():
    x = sums_of_parts(2)
    drawn = np.sort(np.random.default_rng(3).choice(60, 30, replace=False))
    np.testing.assert_array_equal(
        quickly(x, samples=30, random_state=3).errors, quickly(x[drawn], random_state=3).errors
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ranks": (3, 3)}, "ranks is 3; give two different ranks or more"),
        (
            {"ranks": (2, 100_000_000)},
            "ranks has 100000000, but there are 60 samples; give smaller",
        ),
        ({"ranks": (0, 3)}, "ranks is .*; expected whole numbers >= 1"),
        ({"seeds": 1}, "seeds is 1; expected a whole number >= 2"),
        ({"hidden": 0.9}, "hidden is 0.9; expected a finite number from 0.05 to 0.5"),
        ({"random_state": -1}, "random_state is -1; expected"),
    ],
)
def test_options_that_cannot_be_used(options, text):
    with pytest.raises(OptionError, match=text):
        quickly(sums_of_parts(2), **options)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (-np.ones((30, 4)), "Negative values in data X"),
        (np.ones((19, 4)), "X has 19 samples of 4 features; .* from 20 samples"),
        (np.ones((30, 1)), "X has 30 samples of 1 features"),
    ],
)
def test_samples_that_cannot_be_used(x, text):
    with pytest.raises(DataError, match=text):
        quickly(x)


# -- records ---------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Fits that are done, as (rank, number of the seed)."""
    done, fit = [], search.fit

    def counting(task):
        done.append((task.rank, task.number))
        return fit(task)

    monkeypatch.setattr(search, "fit", counting)
    return done


def test_finished_fits_are_not_repeated(tmp_path, counted):
    x = sums_of_parts(2)
    first = quickly(x, output=tmp_path)
    assert counted == [(1, 0), (2, 0), (1, 1), (2, 1)]
    counted.clear()
    again = quickly(x, output=tmp_path)
    assert counted == []
    np.testing.assert_array_equal(first.errors, again.errors)
    np.testing.assert_array_equal(first.agreements, again.agreements)
    quickly(x, (1, 2, 3), 3, output=tmp_path)
    assert counted == [(3, 0), (3, 1), (1, 2), (2, 2), (3, 2)]
    counted.clear()
    quickly(x, hidden=0.3, output=tmp_path)
    quickly(0.9 * x, output=tmp_path)
    quickly(x, output=tmp_path, estimator=DDNMF(**SMALL | {"max_iter": 2}))
    assert len(counted) == 12


def test_damaged_records_and_arrays_are_computed_again(tmp_path, counted):
    x, lines = sums_of_parts(2), []
    first = quickly(x, output=tmp_path)
    records = tmp_path / "records.jsonl"
    kept = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(kept[0] + kept[1][:50] + b"\n" + kept[2] + kept[3][:-20])
    next((tmp_path / "codes").glob("rank1-seed0-*.npz")).write_bytes(b"")
    counted.clear()
    again = quickly(x, output=tmp_path, say=lines.append)
    assert counted == [(1, 0), (2, 0), (2, 1)]
    assert sum(line.startswith("note: ") for line in lines) == 2
    np.testing.assert_array_equal(first.errors, again.errors)


def test_after_an_interruption_the_same_call_goes_on(tmp_path, monkeypatch):
    x, fit, done = sums_of_parts(2), search.fit, []

    def interrupted(task):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(task)
        return fit(task)

    with monkeypatch.context() as patch:
        patch.setattr(search, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quickly(x, output=tmp_path)
    lines = []
    choice = quickly(x, output=tmp_path, say=lines.append)
    assert lines[0] == "4 fits, 3 of them done before; 1 at a time"
    np.testing.assert_array_equal(choice.errors, quickly(x).errors)


def test_several_fits_at_a_time_find_the_same():
    x = sums_of_parts(2)
    pickle.dumps(search.Task(x, 2, 0, 0, 0.2, DDNMF(**SMALL)))  # what a process is given
    with joblib.parallel_config("threading"):  # to start processes takes seconds
        two = quickly(x, jobs=2)
    one = quickly(x)
    np.testing.assert_array_equal(one.errors, two.errors)
    np.testing.assert_array_equal(one.agreements, two.agreements)


def test_a_process_that_dies_is_explained(monkeypatch):
    def pool(**_):
        def run(tasks):
            yield search.fit(quick_task)
            raise BrokenProcessPool("killed")

        return run

    quick_task = search.Task(sums_of_parts(2), 1, 0, 0, 0.2, DDNMF(**SMALL | {"max_iter": 1}))
    monkeypatch.setattr(search, "Parallel", pool)
    with pytest.raises(UsageError, match=r"jobs is 2, and one of the processes died.* fewer jobs"):
        quickly(quick_task.x, jobs=2)


# -- picture and command ---------------------------------------------------------------------------


def test_picture_marks_the_answer():
    said = RankChoice(RANKS, table((0.5, 0.4, 0.3, 0.3)), np.full((5, 4), 0.7))
    figure = said.plot("x$y$")
    assert figure.get_suptitle() == r"x\$y\$: rank 8 (5 to 8)"
    for axes in figure.axes:
        drawn, mark = axes.lines
        np.testing.assert_allclose(2 ** drawn.get_xdata(), RANKS)
        np.testing.assert_allclose(mark.get_xdata(), np.log2(8))
    silent = RankChoice(RANKS, table((1.0, 1.0, 1.0, 1.1)), np.full((5, 4), 0.7))
    assert all(len(axes.lines) == 1 for axes in silent.plot().axes)


def test_errors_and_agreements_have_one_shape():
    with pytest.raises(DataError, match="expected two seeds or more in rows and 4 ranks"):
        RankChoice(RANKS, np.ones((5, 4)), np.ones((4, 5)))


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "STEPS", 2)
    np.save("my.npy", sums_of_parts(2))
    arguments = ["my.npy", "--ranks", "1", "2", "--seeds", "2"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "runs" / "rank-my"
    found = json.loads((folder / "rank.json").read_text())
    assert f"answer: {found['answer']}\npicture: " in out
    assert [row["rank"] for row in found["table"]] == [1, 2]
    assert found["options"]["ranks"] == [1, 2]
    assert np.shape(found["errors"]) == np.shape(found["agreements"]) == (2, 2)
    assert (folder / "rank.png").read_bytes().startswith(b"\x89PNG")
    assert err.startswith(
        "4 fits, 0 of them done before; 1 at a time\n[1/4]  rank 1  seed 0  error"
    )
    assert main(arguments) == 0
    assert capsys.readouterr().err == "4 fits, 4 of them done before; 1 at a time\n"


def test_command_takes_samples_from_a_stream(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "STEPS", 2)
    x = np.round(20.0 * sums_of_parts(2)).astype(np.uint8)
    np.save("my.npy", x)
    with h5py.File("my.h5", "w") as file:
        file["X"] = x
    folder = tmp_path / "parts"
    folder.mkdir()
    for half, rows in enumerate(np.array_split(x, 2)):
        np.save(folder / f"{half}.npy", rows)
    errors = []
    for name in ("my.npy", "my.h5::X", "parts"):
        options = ["--ranks", "1", "2", "--seeds", "2", "--output", f"out-{len(errors)}"]
        assert main([name, *options]) == 0
        found = json.loads((tmp_path / f"out-{len(errors)}" / "rank.json").read_text())
        errors.append(found["errors"])
    assert errors[0] == errors[1] == errors[2]


def test_answer_for_constant_data_is_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "STEPS", 2)
    np.save("flat.npy", np.ones((40, 6), np.float32))
    assert main(["flat.npy", "--ranks", "1", "2", "--seeds", "2"]) == 0
    found = json_text.read(tmp_path / "runs" / "rank-flat" / "rank.json")  # refuses NaN
    assert found["answer"].startswith("the data do not say")
    assert found["rank"] is None
    assert None in found["errors"][0]


def test_command_leaves_columns_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "STEPS", 2)
    rows = [f"{','.join(map(str, row))},label" for row in sums_of_parts(2)]
    header = ",".join([*(f"x{k}" for k in range(rows[0].count(","))), "kind"])
    (tmp_path / "my.csv").write_text("\n".join([header, *rows]))
    arguments = ["my.csv", "--ranks", "1", "2", "--seeds", "2"]
    assert main(arguments) == 4
    err = capsys.readouterr().err
    assert "column 'kind' is text ('label' in line 2); leave it out (--ignore 'kind'), or" in err
    assert "--labels" not in err
    assert main([*arguments, "--ignore", "kind"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "the following arguments are required: DATA; see --help"),
        (["digits", "--ranks", "4"], 2, "ranks is 4; give two different ranks or more"),
        (["digits", "--seeds", "1"], 2, "seeds is 1; expected a whole number >= 2"),
        (["digits", "--ranks", "two"], 2, "argument --ranks: invalid int value: 'two'"),
        (["digts"], 2, "data set 'digts' is unknown; did you mean 'digits'?"),
        (["none.npy"], 4, "none.npy: cannot be read"),
    ],
)
def test_command_refuses_what_it_cannot_use(arguments, code, text, capsys):
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {text}")
    assert len(err.splitlines()) == 1


# -- recorded searches -----------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results" / "rank"
PAGE = (ROOT / "derivations" / "how-to" / "choose-the-rank.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["digits", "wine", "breast-cancer"])
def test_recorded_answers_are_those_of_the_rule_and_of_the_page(name):
    record = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    errors, agreements = np.array(record["errors"]), np.array(record["agreements"])
    choice = RankChoice(tuple(record["options"]["ranks"]), errors, agreements)
    assert choice.answer == record["answer"]
    assert choice.answer in PAGE
    for row in choice.table if name == "digits" else []:
        cells = [f"{row[c]:.3f} ({row[c + '_low']:.3f} to {row[c + '_high']:.3f})"
                 for c in ("error", "agreement")]  # fmt: skip
        assert f"| {row['rank']} | {' | '.join(cells)} |" in PAGE


def test_twenty_searches_of_the_digits_give_one_answer():
    record = json.loads((RESULTS / "digits-repeats.json").read_text("utf-8"))
    found = [decide(tuple(record["ranks"]), np.array(errors)) for errors in record["errors"]]
    assert [one.rank for one in found] == [16] * 20
    assert Counter(one.high for one in found) == {16: 11, 32: 9}
