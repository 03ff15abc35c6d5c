"""The measurement of parts: its data, measures, campaign, tables and command."""

import itertools
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from experiments_cases import write

from ddnmf_np.experiments import figures, parts
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.known_parts import KNOWN, Known
from ddnmf_np.experiments.records import FORMAT, Store
from ddnmf_np.experiments.settings import Source

FAST = ("nmf", "pca", "samples", "kmeans", "rotated", "untrained")


def known(name, seed=0):
    return KNOWN[name](np.random.default_rng([seed, 1]))


@pytest.mark.parametrize("name", ["swimmer", "bars", "spectra"])
def test_samples_are_sums_of_their_parts(name):
    data = known(name)
    rest = data.x - data.activations @ data.parts
    if name == "swimmer":  # the torso is in all images
        assert (np.ptp(rest, axis=0) == 0.0).all()
        assert rest[0].sum() == 12.0
        assert len(np.unique(data.x, axis=0)) == len(data.x) == 256
        assert (data.x <= 1.0).all()
        assert (data.parts.sum(axis=1) == 6.0).all()
    else:
        assert abs(rest).max() <= {"bars": 1e-12, "spectra": 0.15}[name]
    assert data.x.min() >= 0.0


def test_bars_hide_each_other():
    data = known("occluded")
    covered = data.activations[:, :, None] * data.parts
    assert (data.x <= covered.max(axis=1)).all()
    for sample, mine in zip(data.x, covered, strict=True):  # each pixel is of one of its bars
        assert all(value in mine[:, pixel] for pixel, value in enumerate(sample))
    alone = (data.activations > 0).sum(axis=1) == 1
    np.testing.assert_allclose(data.x[alone], (data.activations @ data.parts)[alone])
    assert (data.x < covered.max(axis=1)).any()  # sometimes the darker bar is in front


def test_absorbed_light_is_no_sum_but_absorbance_is():
    data = known("absorbed")
    assert (data.x >= 0.0).all()
    noise = data.x - (1.0 - np.exp(-data.activations @ data.parts))
    assert 0.01 < noise.std() < 0.03
    one, two = (1.0 - np.exp(-amount * data.parts[0]) for amount in (1.0, 5.0))
    assert two.max() < 1.0
    assert one @ two / np.linalg.norm(one) / np.linalg.norm(two) < 0.98  # another shape
    np.testing.assert_array_equal(data.parts, known("spectra").parts)


def test_all_seeds_have_the_same_parts():
    for name in KNOWN:
        np.testing.assert_array_equal(known(name, 0).parts, known(name, 1).parts)
        assert not np.array_equal(known(name, 0).x, known(name, 1).x)


@pytest.mark.parametrize(("one", "other"), [("bars", "occluded"), ("spectra", "absorbed")])
def test_two_pairs_of_data_sets_share_their_amounts(one, other):
    np.testing.assert_array_equal(known(one).activations, known(other).activations)


def measured(decoded, H, data):
    fitted = parts.Fitted(len(decoded), lambda x: H[: len(x)], lambda H: H @ decoded)
    return parts.measure(fitted, data, data.x, slice(None))


def test_decoder_with_one_more_layer_is_not_negative_and_adds_up_but_for_tanh(monkeypatch):
    monkeypatch.setattr(parts, "STEPS", 30)
    data = known("bars")
    H = np.random.default_rng(0).random((5, 16))
    for method, additive in (("parts", True), ("parts-deep", True), ("parts-deep-tanh", False)):
        decode = parts.fit(method, data.training, 16, 0).decode
        units = decode(np.eye(16))
        assert units.min() >= 0.0
        assert np.allclose(decode(H), H @ units, rtol=1e-3, atol=1e-4) is additive


def test_measures_of_the_truth_and_of_nothing():
    data = known("bars")
    turned = np.roll(data.activations, 3, axis=1)
    found = measured(np.roll(data.parts, 3, axis=0), turned, data)
    for name in ("cosine_decoded", "cosine_effects", "found_decoded", "correlation", "additivity"):
        assert found[name] == pytest.approx(1.0)
    assert found["fvu"] == pytest.approx(0.0)
    assert found["negative"] == 0.0
    few = measured(data.parts[:4], data.activations[:, :4], data)
    assert few["found_decoded"] == 0.25  # a part without a unit is not found
    assert few["cosine_decoded"] < 0.6
    nothing = measured(np.zeros((16, 64)), np.zeros_like(turned), data)
    assert nothing["found_decoded"] == nothing["correlation"] == 0.0
    assert json.loads(json.dumps(nothing)) == nothing  # no NaN, which records cannot hold


def test_unit_counts_for_one_part_only():
    true = np.array([[1.0, 0.0], [1.0, 0.2]])
    assert sorted(parts.cosines(np.array([[1.0, 0.1]]), true))[0] == 0.0


def test_output_that_saturates_is_less_additive():
    data = known("bars")
    fitted = parts.Fitted(16, lambda x: data.activations, lambda H: np.tanh(2 * H @ data.parts))
    found = parts.measure(fitted, data, data.x, slice(None))
    assert 0.5 < found["additivity"] < 0.99


@pytest.mark.parametrize("method", [*parts.CLASSICAL, *parts.CONTROLS])
def test_every_method_gives_codes_and_data(method):
    data = known("bars")
    fitted = parts.fit(method, data.x[:100], 16, 0)
    H = fitted.encode(data.x[:7])
    assert H.shape == (7, fitted.rank)
    assert fitted.decode(H).shape == (7, 64)
    assert np.isfinite(fitted.decode(H)).all()


@pytest.mark.parametrize("method", parts.NETWORKS)
def test_every_network_trains(method, monkeypatch):
    monkeypatch.setattr(parts, "STEPS", 2)
    fitted = parts.fit(method, known("bars").x[:100], 16, 0)
    assert fitted.decode(fitted.encode(known("bars").x[:7])).shape == (7, 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    run(folder)
    return Store(folder)


def run(folder, seeds=(0, 1), methods=FAST, **options):
    said = []
    options = {"names": ("bars",), "methods": methods} | options
    return parts.run([], seeds, folder, said.append, **options), said


def test_some_networks_train_longer_and_the_slow_ones_with_known_parts_only(tmp_path):
    epochs = {
        m: parts.prepared_for(m, known("bars").training, 16, 0).config.training.epochs
        for m in ("demo", "demo-long")
    }
    assert epochs["demo-long"] == 10 * epochs["demo"]
    failures, said = run(tmp_path, seeds=(0,), names=("faces",), methods=parts.SLOW)
    assert said == [] or "scikit-image" in failures[0]


def test_records_have_the_iterations_of_scikit_learn(store):
    of = {r["method"]: r.get("iterations") for r in store.load()[0]}
    assert 1 < of["nmf"] <= 600
    assert [method for method, n in of.items() if n] == ["nmf"]


def test_picture_of_units_needs_their_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "OF_IMAGES", ("mnist",))
    monkeypatch.setattr(figures, "COMPARED", ("nmf", "pca"))
    store = Store(tmp_path)
    store.codes.mkdir()
    for method in ("nmf", "pca"):
        assert figures.units(store, store.load()[0]) is None
        images = np.random.default_rng(0).random((50, 25))
        parts.one(store, "mnist", method, 0, Known(images, None, None, 9))
    upper, lower = figures.units(store, store.load()[0]).axes
    (nmf,), (pca,) = upper.get_images(), lower.get_images()
    assert nmf.get_array().shape == (2 * 7, 4 * 7)  # 5 x 5 pixels and a margin, eight of nine
    assert nmf.get_array().min() >= 0.0 > pca.get_array().min() >= -1.0
    assert nmf.get_array().max() == 1.0
    assert main(["report", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "units.png").stat().st_size > 0
    for file in (tmp_path / "codes").iterdir():
        file.unlink()
    assert figures.units(store, store.load()[0]) is None


def test_nmf_finds_bars_and_controls_do_not(store):
    frame = parts.frame_of(store.load()[0])
    assert len(frame) == 2 * len(FAST)
    assert parts.beats_controls(frame, "nmf") is True
    for method in ("pca", "samples", "kmeans", "rotated", "untrained"):
        assert parts.beats_controls(frame, method) is False
    assert parts.beats_controls(frame, "ica") is None
    alone = frame[~frame["method"].isin(parts.CONTROLS)]
    assert parts.beats_controls(alone, "nmf") is None  # without controls nobody knows
    stable = frame[frame["method"] == "nmf"].set_index("seed")["stability"]
    assert np.isnan(stable[0])
    assert stable[1] > 0.9


def test_one_lost_seed_is_not_above_the_controls(store):
    frame = parts.frame_of(store.load()[0])
    lost = (frame["method"] == "nmf") & (frame["seed"] == 1)
    frame.loc[lost, ["cosine_decoded", "cosine_effects"]] = 0.1
    assert parts.beats_controls(frame, "nmf") is False


def test_finished_runs_are_not_repeated(store):
    before = store.path.read_bytes()
    assert run(store.folder) == ([], [])
    assert store.path.read_bytes() == before


def test_a_record_of_another_program_ends_nothing(tmp_path):
    write(Store(tmp_path), {"name": "x", "format": FORMAT, "key": "x"})
    failures, said = run(tmp_path, seeds=(0,), methods=("pca",))
    assert failures == []
    assert len(said) == 1


def test_table_has_every_run(store):
    text = parts.render(store.load()[0])
    assert "| NMF | 1.00 / 1.00 * |" in text
    assert "| control: random samples |" in text
    assert "### Bars that add up" in text
    assert "limit of iterations: NMF 0 of 2." in text  # PCA has no iterations
    assert parts.render([]) == ""


def test_what_was_asked_of_parts_is_answered_by_their_share_and_the_median_fvu():
    """On hidden bars `parts` finds more, but two of three seeds leave more of the variance."""
    nothing = dict.fromkeys(parts.COLUMNS, 0.0)
    shares = {"nmf": 0.5, "parts": 0.875}
    fvus = {"nmf": (0.1, 0.1, 0.9), "parts": (0.2, 0.2, 0.2)}
    records = [
        {"kind": "parts", "dataset": dataset, "method": method, "seed": seed}
        | {"found": nothing | {"found_decoded": shares[method], "fvu": fvu}}
        for dataset in ("bars", "occluded")
        for method, found in fvus.items()
        for seed, fvu in enumerate(found)
    ]
    text = parts.render(records)
    asked = "| Bars that hide each other | more than NMF | 0.88 / 0.50 | yes |"
    assert f"{asked} 0.200 / 0.100 | 1 of 3 | no |" in text
    assert "| NMF | 3 | 0.500 | 0.000 | 0.000 | 0.000 | 0.100 |" in text  # not the mean, .367
    equal = [r | {"found": r["found"] | {"found_decoded": 0.9}} for r in records]
    lines = parts.render(equal).splitlines()
    assert sum("0.90 / 0.90 | yes" in line for line in lines) == 1
    assert sum("0.90 / 0.90 | no" in line for line in lines) == 1  # more was asked


def test_fits_that_stop_early_are_counted(store, monkeypatch):
    """Older records have no iterations, and do not count."""
    records = store.load()[0]
    last = max(r["iterations"] for r in records if r["method"] == "nmf")
    monkeypatch.setitem(parts.ESTIMATORS["nmf"][1], "max_iter", last)
    assert "NMF 1 of 2 (Bars that add up 1)." in parts.render(records)
    older = [{k: v for k, v in r.items() if k != "iterations"} for r in records]
    assert "limit of iterations" not in parts.render(older)


def test_one_failure_does_not_stop_the_others(tmp_path, monkeypatch):
    fit = parts.fit

    def fails_once(method, *args):
        if method == "pca":
            raise ValueError("no axes today")
        return fit(method, *args)

    monkeypatch.setattr(parts, "fit", fails_once)
    failures, said = run(tmp_path, seeds=(0,), methods=("pca", "samples"))
    assert failures == ["bars pca seed 0: no axes today"]
    assert any("bars samples seed 0" in line for line in said)
    missing = Source("mnist", str(tmp_path / "nowhere.npz"))
    failures = parts.run([missing], (0, 1), tmp_path, said.append, names=(), methods=("samples",))
    assert len(failures) == 1
    assert "nowhere.npz" in failures[0]


def test_command(store, capsys, monkeypatch):
    monkeypatch.setattr(parts, "TITLES", {m: parts.TITLES[m] for m in FAST})
    monkeypatch.setattr(parts.run, "__kwdefaults__", {"names": ("bars",), "methods": FAST})
    page = store.folder / "page.md"
    page.write_text("<!-- experiments parts -->\n\nold\n\n<!-- /experiments -->\n")
    samples_of = parts.samples_of
    monkeypatch.setattr(
        parts, "samples_of", lambda d, seed: samples_of(d, seed) if d == "bars" else images_of(seed)
    )
    images = itertools.product(FAST, (0, 1))
    for method, seed in images:
        finish(store.folder, "mnist", method, seed)
    monkeypatch.setattr(parts, "fit", lambda *args: pytest.fail("all is done"))
    command = ["parts", "--seeds", "2", "--datasets", "mnist", "--output", str(store.folder)]
    assert main([*command, "--into", str(page)]) == 0
    assert "written" in capsys.readouterr().out
    assert "### Who finds parts" in page.read_text()
    assert "### MNIST" in (store.folder / "tables" / "parts.md").read_text()
    assert main(["report", "--output", str(store.folder)]) == 0
    assert main(["table1", *command]) == 2
    assert "parts is a command by itself" in capsys.readouterr().err


def finish(folder, dataset, method, seed):
    """Write a record as if a run of images had ended."""
    parts.one(Store(folder), dataset, method, seed, images_of(seed))


def images_of(seed):
    rng = np.random.default_rng(seed)
    return Known(rng.random((50, 20)), None, None, 4, np.arange(50) % 3)


def test_key_has_the_options_that_are_run():
    """Those that the data decide, and those of the estimators."""
    data = known("bars")
    names = {m: parts.name_of("bars", m, 0, data) for m in ("auto", "paper", "nmf", "pca")}
    options = names["auto"].identity["options"]
    assert options["noise_rate"] == pytest.approx(
        parts.prepared_for("auto", data.training, 16, 0).config.noise.rate
    )
    assert options["validation_fraction"] == 0.1
    assert options["epochs"] == round(parts.STEPS * parts.BATCH / 800)
    assert names["nmf"].identity["options"]["max_iter"] == 600
    brighter = Known(data.x * 0.5, data.parts, data.activations, 16)
    other = {m: parts.name_of("bars", m, 0, brighter).key for m in names}
    assert {m for m in names if other[m] != names[m].key} == set()  # scaled to the same data
    rougher = Known(data.x**2, data.parts, data.activations, 16)
    other = {m: parts.name_of("bars", m, 0, rougher).key for m in names}
    assert {m for m in names if other[m] != names[m].key} == {"auto"}


def test_key_changes_with_an_option_of_an_estimator(monkeypatch):
    before = parts.name_of("bars", "nmf", 0, known("bars")).key
    monkeypatch.setitem(parts.ESTIMATORS["nmf"][1], "max_iter", 601)
    assert parts.name_of("bars", "nmf", 0, known("bars")).key != before


def test_swap_of_the_true_parts_is_perfect_and_of_mixed_ones_is_not():
    data = known("bars")
    mixed = np.eye(16) + 0.8 * np.roll(np.eye(16), 1, axis=1)
    true = measured(data.parts, data.activations, data)["swap"]
    other = measured(mixed @ data.parts, data.activations @ np.linalg.inv(mixed), data)["swap"]
    assert true == pytest.approx(1.0)
    assert other < 0.9
    few = measured(data.parts[:4], data.activations[:, :4], data)["swap"]
    assert few == pytest.approx(0.25)


def test_probe_sees_the_classes_of_the_codes_and_only_the_labels_it_may():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    H = np.eye(3)[y] + 0.05 * rng.standard_normal((300, 3))
    for count in (None, 5, 1):
        assert parts._probe(H[:240], y[:240], H[240:], y[240:], count) == 1.0
    noise = rng.standard_normal((300, 3))
    assert parts._probe(noise[:240], y[:240], noise[240:], y[240:], None) < 0.6
    wrong = y[:240].copy()
    wrong[3:] = 0  # all labels but the first of each class
    assert parts._probe(H[:240], wrong, H[240:], y[240:], 1) == 1.0
    assert parts._probe(H[:240], wrong, H[240:], y[240:], None) < 0.5


def test_classes_of_images_are_those_of_the_drawn_rows():
    drawn = parts.samples_of(Source("mnist", "digits"), 0)
    from sklearn.datasets import load_digits

    every, labels = load_digits(return_X_y=True)
    for x, y in zip(drawn.x[:5], drawn.y[:5], strict=True):
        [row] = np.flatnonzero((np.abs(every / 16.0 - x).max(axis=1)) < 1e-6)
        assert labels[row] == y


def test_faces_come_from_scikit_image_or_say_so(monkeypatch, tmp_path):
    if find_spec("skimage"):
        drawn = parts.samples_of("faces", 0)
        assert drawn.x.shape == (100, 625)
        assert drawn.parts is None
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    failures, _ = run(tmp_path, seeds=(0,), names=("faces",), methods=("pca",))
    assert failures == ["data set faces: needs scikit-image: pip install scikit-image"]
