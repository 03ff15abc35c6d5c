"""Curves: codes after several numbers of epochs from one training, which can be interrupted."""

import json

import numpy as np
import pytest
from experiments_cases import OPTIONS, PLACES, clustering, drop, records_of, sealed

from ddnmf_np.errors import UsageError
from ddnmf_np.experiments import baselines, campaign, curves, networks
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.settings import Settings
from ddnmf_np.training import Trainer

pytestmark = pytest.mark.usefixtures("sketched_module")

NETWORKS = ["ae1", "ddnmf-demo", "ddnmf-paper"]


def run(folder, *words, networks=NETWORKS):
    flags = ["--seeds", "1", "--starts", "1", "--samples", "200", "--datasets", "mnist"]
    words = ["curves", *flags, *words, "--networks", *networks, "--output", str(folder)]
    return main(words, places=PLACES, options=OPTIONS)


def codes_of(folder):
    """Return record and arrays of the codes, by network and number of epochs."""
    found = {}
    for line in records_of(folder).values():
        record = json.loads(line)
        if record["kind"] == "codes":
            with np.load(folder / "codes" / record["arrays"]) as arrays:
                found[record["model"], record["epochs"]] = record, dict(arrays)
    return found


@pytest.fixture
def steps(monkeypatch):
    """Number of steps that trainers do, in a list of one."""
    count, step = [0], Trainer.step

    def counted(self, index):
        count[0] += 1
        step(self, index)

    monkeypatch.setattr(Trainer, "step", counted)
    return count


def test_one_training_gives_every_length_bit_for_bit(tmp_path, steps):
    assert run(tmp_path / "curve", "--epochs", "5", "--at", "1", "3") == 0
    assert steps == [3 * 5 * 4]  # networks, epochs, batches
    found = codes_of(tmp_path / "curve")
    assert set(found) == {(name, length) for name in NETWORKS for length in (1, 3, 5)}
    for length in (1, 3):
        assert run(tmp_path / f"{length}", "--epochs", str(length)) == 0
        for name in NETWORKS:
            record, arrays = codes_of(tmp_path / f"{length}")[name, length]
            mine, of_curve = found[name, length]
            assert mine["key"] == record["key"]
            loss = "loss_rec" if name == "ae1" else "loss_in"
            assert mine["losses"][loss] == record["losses"][loss]
            assert arrays.keys() == of_curve.keys()
            for images in arrays:
                np.testing.assert_array_equal(of_curve[images], arrays[images])
    assert "1 epochs" in (tmp_path / "curve" / "tables" / "curves.md").read_text()
    assert (tmp_path / "curve" / "figures" / "curves.png").is_file()
    assert not list((tmp_path / "curve" / "codes").glob("*-training.npz"))
    # For each network the state after the last epoch, from which a longer run can continue.
    assert len(list((tmp_path / "curve" / "codes").glob("*-trained.npz"))) == 3


def test_interrupted_training_goes_on_where_it_was_saved(tmp_path, steps, monkeypatch):
    monkeypatch.setattr(baselines, "SAVE_EVERY", 0.0)
    words = ["--epochs", "5", "--at", "2"]
    whole = tmp_path / "whole"
    assert run(whole, *words, networks=["ae1", "ddnmf-demo"]) == 0
    step = Trainer.step
    # Of 20 steps: before the first codes, after them, between epochs.
    for planted, name in ((3, "ae1"), (14, "ddnmf-demo"), (16, "ddnmf-demo")):
        folder = tmp_path / f"{planted}"
        steps[0] = 0

        def killed(self, index, planted=planted):
            if steps[0] == planted:
                raise KeyboardInterrupt
            step(self, index)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", killed)
            assert run(folder, *words, networks=[name]) == 130
        steps[0] = 0
        assert run(folder, *words, networks=[name]) == 0
        # The end of an epoch is not saved: its last batch is done again.
        assert steps == [20 - planted + (planted % 4 == 0)]
        for length in (2, 5):
            mine, there = (codes_of(f)[name, length] for f in (folder, whole))
            assert mine[0]["key"] == there[0]["key"]
            assert mine[0]["losses"].keys() == there[0]["losses"].keys()
            np.testing.assert_array_equal(mine[1]["clean"], there[1]["clean"])


def interrupt_ae1(folder, steps, monkeypatch, epochs):
    """Interrupt a run of AE1 in its 15th step, of 4 an epoch; it is saved after each."""
    monkeypatch.setattr(baselines, "SAVE_EVERY", 0.0)
    step = Trainer.step

    def killed(self, index):
        if steps[0] == 14:
            raise KeyboardInterrupt
        step(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed)
        assert run(folder, "--epochs", str(epochs), networks=["ae1"]) == 130


def test_checkpoint_beyond_the_codes_that_are_needed_is_not_used(tmp_path, steps, monkeypatch):
    """New points of a curve need a training from its beginning."""
    interrupt_ae1(tmp_path, steps, monkeypatch, epochs=5)
    steps[0] = 0
    assert run(tmp_path, "--epochs", "5", "--at", "2", networks=["ae1"]) == 0
    assert steps == [20]


def test_longer_curve_trains_only_what_has_no_record(tmp_path, steps):
    assert run(tmp_path, "--epochs", "3", networks=["ae1"]) == 0
    steps[0] = 0
    assert run(tmp_path, "--epochs", "3", "--at", "1", "2", networks=["ae1"]) == 0
    assert steps == [2 * 4]  # the longest that is missing


def test_a_longer_run_continues_a_shorter_one_bit_for_bit(tmp_path, steps):
    whole, folder = tmp_path / "whole", tmp_path / "longer"
    assert run(whole, "--epochs", "4", "--at", "3") == 0
    assert run(folder, "--epochs", "2") == 0
    files = {path.name for path in (folder / "codes").glob("*-trained.npz")}
    steps[0] = 0
    assert run(folder, "--epochs", "4", "--at", "2", "3") == 0
    assert steps == [3 * (4 - 2) * 4]  # networks, epochs, batches
    assert {path.name for path in (folder / "codes").glob("*-trained.npz")} == files  # no more
    mine, there = codes_of(folder), codes_of(whole)
    for name in there:
        assert mine[name][0].keys() == there[name][0].keys()
        for entry in ("key", "name", "identity", "arrays", "weights", "code", "epochs"):
            assert mine[name][0][entry] == there[name][0][entry]
        for entry in ("losses", "reconstruction_error", "options"):
            found, expected = mine[name][0][entry], there[name][0][entry]
            measured = {"seconds", "samples_per_second"}
            assert {k: v for k, v in found.items() if k not in measured} == {
                k: v for k, v in expected.items() if k not in measured
            }
        assert mine[name][1].keys() == there[name][1].keys()
        for images, H in there[name][1].items():
            np.testing.assert_array_equal(mine[name][1][images], H)


def test_nmf_of_ae2_has_the_lengths_of_ae2(tmp_path, steps):
    words = ["--epochs", "3", "--at", "1", "2"]
    assert run(tmp_path / "curve", *words, networks=["ae2", "ae2-nmf"]) == 0
    assert steps == [3 * 4]
    found = codes_of(tmp_path / "curve")
    assert set(found) == {(name, epochs) for name in ("ae2", "ae2-nmf") for epochs in (1, 2, 3)}
    assert run(tmp_path / "alone", "--epochs", "2", networks=["ae2-nmf"]) == 0
    (record, arrays), (expected, codes) = (
        found["ae2-nmf", 2], codes_of(tmp_path / "alone")["ae2-nmf", 2],
    )  # fmt: skip
    assert record["key"] == expected["key"]
    np.testing.assert_array_equal(arrays["clean"], codes["clean"])
    assert "| AE2 + NMF |" in (tmp_path / "curve" / "tables" / "curves.md").read_text("utf-8")


def test_nmf_of_ae2_by_itself_trains_ae2_once(tmp_path, steps):
    words = ["--epochs", "3", "--at", "1", "2"]
    assert run(tmp_path, *words, networks=["ae2-nmf"]) == 0
    assert steps == [3 * 4]


def test_earlier_points_start_afresh_and_leave_the_state_of_the_longer_run(tmp_path, steps):
    assert run(tmp_path, "--epochs", "4", networks=["ae1"]) == 0
    steps[0] = 0
    assert run(tmp_path, "--epochs", "4", "--at", "2", networks=["ae1"]) == 0
    assert steps == [2 * 4]
    steps[0] = 0
    assert run(tmp_path, "--epochs", "5", networks=["ae1"]) == 0
    assert steps == [4]


def test_a_longer_run_continues_an_unfinished_one(tmp_path, steps, monkeypatch):
    interrupt_ae1(tmp_path, steps, monkeypatch, epochs=4)
    steps[0] = 0
    assert run(tmp_path, "--epochs", "6", "--at", "4", networks=["ae1"]) == 0
    assert steps == [6 * 4 - 14]


def test_a_shorter_run_leaves_the_state_of_an_unfinished_longer_one(tmp_path, steps, monkeypatch):
    interrupt_ae1(tmp_path, steps, monkeypatch, epochs=5)
    assert run(tmp_path, "--epochs", "2", networks=["ae1"]) == 0
    steps[0] = 0
    assert run(tmp_path, "--epochs", "5", networks=["ae1"]) == 0
    assert steps == [5 * 4 - 14]


def test_a_damaged_state_is_replaced(tmp_path, steps):
    assert run(tmp_path, "--epochs", "2", networks=["ae1"]) == 0
    [state] = (tmp_path / "codes").glob("*-trained.npz")
    state.write_bytes(state.read_bytes()[:100])
    for epochs, trained in ((3, 3), (4, 1)):
        steps[0] = 0
        assert run(tmp_path, "--epochs", str(epochs), networks=["ae1"]) == 0
        assert steps == [trained * 4]


def test_codes_that_are_gone_are_made_again_from_the_last_state(tmp_path, steps):
    assert run(tmp_path, "--epochs", "2", networks=["ddnmf-demo"]) == 0
    [(before, arrays)] = codes_of(tmp_path).values()
    (tmp_path / "codes" / before["arrays"]).unlink()
    drop(tmp_path, "*-kmeans-*")
    steps[0] = 0
    assert run(tmp_path, "--epochs", "2", networks=["ddnmf-demo"]) == 0
    assert steps == [0]
    [(record, again)] = codes_of(tmp_path).values()
    assert record["losses"] == before["losses"]
    assert again.keys() == arrays.keys()
    for images in arrays:
        np.testing.assert_array_equal(again[images], arrays[images])


def test_network_with_a_schedule_has_its_last_point_only(tmp_path):
    words = ["--epochs", "2", "--at", "1"]
    assert run(tmp_path, *words, networks=["ae1", "ddnmf-stable"]) == 0
    assert set(codes_of(tmp_path)) == {("ae1", 1), ("ae1", 2), ("ddnmf-stable", 2)}


def test_table_has_means_over_starts_of_the_largest_budget():
    records = []
    for epochs in (5, 10):
        for seed, acc in ((0, 0.4), (1, 0.6)):
            record = clustering("ae1", seed, acc=0.9, epochs=epochs)
            for score in ("acc", "nmi", "ari"):
                record["result"]["spread"][score]["mean"] = acc + epochs / 100
            records.append(sealed(record))
    records.append(sealed(clustering("ae1", 2, epochs=5, samples=6000)))
    text = curves.render(records)
    assert "| AE1 | k-means | 0.550 ± 0.141 (2) | 0.600 ± 0.141 (2) |" in text
    assert "60,000 training images" in text
    assert curves.render(records[:2]) == ""  # one length is no curve
    assert curves.draw(records[:2]) is None


def made(*places):
    """Return records of model, epochs and folder; each has two seeds."""
    return [
        sealed(clustering(model, seed, acc=0.4 + 0.2 * seed, epochs=epochs, **more))
        | {"folder": folder}
        for model, epochs, folder, *rest in places
        for more in [rest[0] if rest else {}]
        for seed in (0, 1)
    ]


def panels_of(records):
    figure = curves.draw(records)
    figure.canvas.draw()
    return figure.axes


def test_images_and_their_nmf_are_rows_of_one_column_and_dotted_lines():
    lengths = made(("ae1", 5, "a"), ("ae1", 10, "a"))
    records = [*lengths, *made(("raw", None, "a"), ("raw", None, "b"), ("nmf", None, "b"))]
    text = curves.render(records)
    assert "| codes | ACC of | no network | 5 epochs | 10 epochs | records |" in text
    assert "| images | k-means | 0.500 ± 0.141 (2) | - | - | a |" in text
    assert "| NMF | k-means | 0.500 ± 0.141 (2) | - | - | b |" in text
    assert "| AE1 | k-means | - | 0.500 ± 0.141 (2) | 0.500 ± 0.141 (2) | a |" in text
    assert "| codes | ACC of | 5 epochs | 10 epochs | records |" in curves.render(lengths)
    dotted = [line for line in panels_of(records)[0].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose([line.get_ydata() for line in dotted], np.full((2, 2), 0.5))
    assert curves.render(records[4:]) == ""  # no network


def test_a_line_joins_points_of_one_training_only():
    """Two folders have two trainings; with a schedule, so have two lengths."""
    one = made(
        ("ae1", 5, "a"), ("ae1", 10, "a"), ("ddnmf-stable", 5, "a"), ("ddnmf-stable", 10, "a")
    )
    several = made(("ddnmf-demo", 5, "a"), ("ddnmf-demo", 10, "b"))
    lines = [line for line in panels_of(one + several)[0].lines if line.get_marker() != "None"]
    sizes = {}
    for line in lines:
        sizes.setdefault(line.get_color(), []).append(len(line.get_xdata()))
    colors = [curves.LOOKS[model][0] for model in ("ae1", "ddnmf-stable", "ddnmf-demo")]
    assert [sizes[color] for color in colors] == [[2], [1, 1], [1, 1]]


def test_each_data_set_has_its_own_lengths():
    short = {"dataset": "fashion-mnist"}
    records = made(
        ("ae1", 5, "a"), ("ae1", 100, "a"), ("ae1", 5, "a", short), ("ae1", 10, "a", short)
    )
    limits = [panel.get_xlim()[1] for panel in panels_of(records)]
    assert all(100 < limit < 200 for limit in limits[:6])
    assert all(10 < limit < 20 for limit in limits[6:])


def test_every_row_of_tables_1_and_2_looks_different():
    assert {*curves.LOOKS, *curves.NO_LENGTH} == {*networks.TABLE_MODELS}
    for looks in zip(*curves.LOOKS.values(), strict=True):
        assert len(set(looks)) == len(curves.LOOKS)


@pytest.mark.parametrize("at", [(0,), (11,)])
def test_points_outside_of_the_run_are_an_error(at):
    with pytest.raises(UsageError, match=r"at is \d+; expected whole numbers from 1 to epochs"):
        Settings(results=("curves",), epochs=10, at=at)


def test_points_without_curves_are_an_error():
    with pytest.raises(UsageError, match="curves is not chosen"):
        Settings(results=("table1",), at=(1,))


def test_longest_run_is_estimated_with_its_training_and_the_shorter_without(tmp_path):
    settings = Settings(results=("curves",), epochs=4, at=(2,), networks=("ae1",), places=PLACES)
    info = baselines.inspect(settings.sources[0], 200)
    units = campaign.plan(settings, {"mnist": info})
    store = campaign.Store(tmp_path)
    campaign.join(units, store)
    assert [(u.spec.epochs, u.trains, len(u.shorter)) for u in units if u.spec.seed == 0] == [
        (4, True, 1), (2, False, 0),
    ]  # fmt: skip
    groups = campaign.groups(units)
    assert [[u.spec.epochs for u in group] for group in groups] == [[4, 2]] * 5


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.extra)])
def test_points_of_a_seed_are_clustered_before_a_later_seed_is_trained(tmp_path, jobs):
    words = ["--epochs", "3", "--at", "1", "2", "--seeds", "3", "--jobs", str(jobs)]
    assert run(tmp_path, *words, networks=["ae2", "ae2-nmf"]) == 0
    records = [json.loads(line) for line in records_of(tmp_path).values()]
    seeds = [record["seed"] for record in records]  # of the records, as they were written
    assert sorted(seeds) == sorted([0, 1, 2] * 2 * 3 * (1 + 3))  # codes and clusterings
    begun = list(dict.fromkeys(seeds))
    later = seeds.index(begun[jobs])
    assert any(seed not in seeds[later:] for seed in begun[:jobs])
