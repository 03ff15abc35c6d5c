"""Studies: one change at a time, a table without labels, no network trained twice."""

import json
import random

import numpy as np
import pytest
from experiments_cases import clustering, codes, command, records_of

from ddnmf_np.engine.losses import PRESETS
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.metrics import clustering_accuracy
from ddnmf_np.experiments import baselines, tables
from ddnmf_np.experiments.baselines import DataInfo, Representation
from ddnmf_np.experiments.networks import (
    CLUSTERERS,
    NETWORKS,
    STUDIES,
    TABLE_NETWORKS,
    TITLES,
    VARIANTS,
    NetworkRow,
    Study,
    make_config,
)
from ddnmf_np.experiments.records import pack_labels, unpack_labels
from ddnmf_np.experiments.settings import Source

pytestmark = pytest.mark.usefixtures("sketched_module")

FIVE = {
    "student_reconstruction", "apposition_to_supervisor", "base_bias", "reduction", "beta_ap",
}  # fmt: skip


def changes(model, preset):
    """Return the options in which a variant differs from a preset, with their values."""
    one, usual = vars(make_config(model, {}).objective), vars(PRESETS[preset])
    return {name: value for name, value in one.items() if value != usual[name]}


@pytest.fixture
def computed(monkeypatch):
    """Labels of the computed representations, in their order."""
    labels = []
    compute = baselines.compute

    def counting(spec, **kwargs):
        labels.append(spec.label)
        return compute(spec, **kwargs)

    monkeypatch.setattr(baselines, "compute", counting)
    return labels


# -- variants -----------------------------------------------------------------------------


def test_names_are_their_own_and_fit_for_a_file():
    assert len(VARIANTS) == sum(len(study.variants) for study in STUDIES.values())
    assert len(TITLES) == len(VARIANTS) + len(TABLE_NETWORKS) + len(["raw", "nmf", "ae2-nmf"])
    for study in STUDIES.values():
        titles = [network.title for network in study.variants.values()]
        assert len(set(titles)) == len(titles)
    for name in VARIANTS:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."), name
        make_config(name, {})  # its options are such


@pytest.mark.parametrize(("preset", "other"), [("demo", "paper"), ("paper", "demo")])
def test_ablation_takes_each_difference_from_the_other_preset_alone(preset, other):
    found = [changes(name, preset) for name in VARIANTS if name.startswith(f"ablation-{preset}")]
    assert found[0] == {}
    assert all(len(change) == 1 for change in found[1:])
    assert {name: value for change in found for name, value in change.items()} == {
        name: getattr(PRESETS[other], name) for name in FIVE
    }


@pytest.mark.parametrize("preset", ["demo", "paper"])
def test_weights_change_by_a_factor_of_ten_one_by_one_and_those_of_the_student_together(
    preset,
):
    found = [changes(name, preset) for name in VARIANTS if name.startswith(f"weights-{preset}")]
    assert found[0] == {}
    factors = {}
    for change in found[1:]:
        by = [value / getattr(PRESETS[preset], name) for name, value in change.items()]
        factors.setdefault(tuple(change), []).append(by)
    expected = {
        ("alpha_sym",): [[0.1], [10]],
        ("beta_ap",): [[0], [0.1], [10]],
        ("gamma_nc",): [[0], [0.1], [10]],
        ("beta_ap", "gamma_nc"): [[0.1, 0.1], [0.1, 10], [10, 0.1], [10, 10]],
    }
    assert factors.keys() == expected.keys()
    for names, found in factors.items():
        np.testing.assert_allclose(found, expected[names], rtol=1e-12)


@pytest.mark.parametrize(("preset", "other"), [("stable", "demo"), ("demo", "stable")])
def test_ingredients_are_exchanged_one_at_a_time_and_together_are_the_other_preset(preset, other):
    def settings(name):
        return make_config(name, {}).to_dict()

    start, end = settings(f"ddnmf-{preset}"), settings(f"ddnmf-{other}")
    found = [
        {key: value for key, value in settings(name).items() if value != start[key]}
        for name in VARIANTS
        if name.startswith(f"ingredients-{preset}")
    ]
    assert [sorted(change) for change in found] == [
        [], ["gamma_nc"], ["noise_redraw"], ["lr_schedule"], ["nmf_spread", "nmf_start"],
    ]  # fmt: skip
    both = {k: v for change in found for k, v in change.items()}
    assert {**start, **both, "objective": other} == end


def test_the_recipe_is_the_preset_stable():
    own = {"objective": None}
    found, preset = (make_config(n, {}).to_dict() for n in ("recipe-start03", "ddnmf-stable"))
    assert found | own == preset | own


def test_the_same_options_have_the_same_key_and_another_file():
    info = DataInfo(Source("mnist", "digits"), "hash", 100, 50, 64, 10)
    one, other, third = (
        Representation(info, model, 0, make_config(model, {}))
        for model in ("ddnmf-demo", "ablation-demo", "recipe-start03")
    )
    assert one.name.key == other.name.key != third.name.key
    assert str(one.name) != str(other.name)
    assert "ablation-demo" in str(other.name)


# -- campaigns ----------------------------------------------------------------------------


def test_a_study_is_a_campaign_on_the_data_sets_that_are_asked_for(tmp_path, computed):
    words = ["supervisor", "--seeds", "1", "--datasets", "mnist"]
    assert command(tmp_path, *words) == 0
    candidates = STUDIES["supervisor"].variants
    assert len(computed) == len(candidates) == len(set(computed))
    for name in candidates:
        beginnings = (f"mnist-{name}-noise", f"mnist-{name}-seed")
        assert sum(label.startswith(beginnings) for label in computed) == 1, name
    records = [json.loads(content) for content in records_of(tmp_path).values()]
    scored = [r for r in records if r["kind"] == "clustering"]
    assert {r["method"] for r in scored} == set(CLUSTERERS)
    assert all("assignment" in r for r in scored)
    text = (tmp_path / "tables" / "supervisor.md").read_text()
    assert "| demo: the supervisor has no say (beta_ap = 0) | 1 | 0." in text
    assert text.count("###") == 1
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["supervisor.md"]
    assert command(tmp_path, *words) == 0
    assert len(computed) == len(candidates)  # nothing is done twice


def test_assignments_are_those_that_were_scored(tmp_path):
    assert command(tmp_path, "table1", "--seeds", "1", "--networks", "raw") == 0
    y = Source("mnist", "digits").load().y_test
    for content in records_of(tmp_path).values():
        record = json.loads(content)
        labels = unpack_labels(record["assignment"], record["n_test"])
        sizes = np.bincount(labels, minlength=10)
        assert sizes.tolist() == record["result"]["cluster_sizes"]
        assert clustering_accuracy(y, labels) == pytest.approx(record["result"]["acc"])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_variant_that_is_a_row_of_a_table_is_not_trained_again(tmp_path, computed, at_once):
    flags = ["--seeds", "1", "--networks", "ddnmf-demo", "--datasets", "mnist"]
    for words in [["table1", "supervisor"]] if at_once else [["table1"], ["supervisor"]]:
        assert command(tmp_path, *words, *flags) == 0
    # One of the four variants is the row of the table.
    assert len(computed) == 4
    found = [json.loads(content) for content in records_of(tmp_path).values()]
    demo = {
        model: sorted(
            # A table has some clustered on a map too.
            (r for r in found if r["model"] == model and r.get("method") != "gmm-full-tsne"),
            key=lambda r: r["key"],
        )
        for model in ("ddnmf-demo", "supervisor-demo")
    }
    assert len(demo["supervisor-demo"]) == 4
    for one, other in zip(*demo.values(), strict=True):
        own = dict.fromkeys(("model", "name", "checksum"))
        assert one | own == other | own
    text = (tmp_path / "tables" / "supervisor.md").read_text()
    assert "| demo: as it is | 1 | 0." in text
    assert "| DDNMF (demo's objective) |" in (tmp_path / "tables" / "table1.md").read_text()


# -- tables -------------------------------------------------------------------------------


def study_campaign(seeds=range(3), models=("supervisor-demo", "supervisor-demo-beta-ap-0"), **more):
    """Return codes and clusterings of candidates, all with other numbers."""
    draw = random.Random(0)
    rng = np.random.default_rng(0)
    found = []
    for model in models:
        for seed in seeds:
            losses = {"loss_sym": draw.random(), "loss_ap": draw.random()}
            made = codes(model, seed, losses=losses, **more)
            found.append(made)
            for method in ("gmm-full", "gmm-spherical", "kmeans"):
                found.append(
                    clustering(
                        model, seed, draw.uniform(0.2, 0.9), method=method, noise_rate=0.1,
                        assignment=pack_labels(rng.integers(10, size=10_000)), **more,
                    )
                )  # fmt: skip
                found[-1]["identity"]["codes"] = made["key"]
    return found


def rows(text):
    """Return the cells of each line of the label-free table and of the scores, by title."""
    blocks = [part for part in text.split("\n\n") if part.startswith("| variant")]
    return [
        {
            cells[0]: cells[1:]
            for line in block.splitlines()[2:]
            for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
        }
        for block in blocks
    ]


def test_numbers_are_those_of_the_records():
    records = []
    for seed, (sym, sizes) in enumerate([(1.0, [9000, 1000]), (2.0, [9500, 500])]):
        labels = np.arange(10_000) % (2 + seed)
        full, spherical = (
            clustering(
                "supervisor-demo", seed, acc, method=method, assignment=pack_labels(labels),
                noise_rate=0.1,
            )
            for method, acc in (("gmm-full", 0.5 + seed / 10), ("gmm-spherical", 0.3 + seed / 10))
        )  # fmt: skip
        full["result"]["cluster_sizes"] = sizes
        made = codes(seed=seed, losses={"loss_sym": sym})
        made["code"] = {"unit_std": [0.1, 0.3 + seed / 5], "dead_units": seed}
        for record in (full, spherical):
            record["identity"]["codes"] = made["key"]
        records += [made, full, spherical]
    label_free, scores = rows(tables.render("supervisor", records))
    assert label_free["demo: as it is"] == [
        "2", "1.5 ± 0.7", "-", "-", "-", "0.02 ± 0", "0.25 ± 0.07", "0.5 ± 0.7",
        *(["0.000"] * 2), "5.0%",
    ]  # fmt: skip
    assert scores["demo: as it is"] == [
        "0.550 ± 0.071 (0.500-0.600)",
        "0.500 ± 0.071 (0.450-0.550)",
        "0.450 ± 0.071 (0.400-0.500)",
        "0.350 ± 0.071 (0.300-0.400)",
        "0.550 ± 0.071",
    ]


def test_records_without_assignments_have_no_stability():
    records = study_campaign()
    for record in records:
        record.pop("assignment", None)
    label_free, _ = rows(tables.render("supervisor", records))
    assert label_free["demo: as it is"][8:10] == ["-", "-"]


def test_equal_clusterings_are_stable():
    records = study_campaign()
    text = pack_labels(np.arange(10_000) % 10)
    for record in records:
        if record["kind"] == "clustering" and record["method"] == "gmm-spherical":
            record["assignment"] = text
    label_free, _ = rows(tables.render("supervisor", records))
    assert label_free["demo: as it is"][9] == "1.000"
    assert abs(float(label_free["demo: as it is"][8])) < 0.01


def test_an_autoencoder_stands_beside_ddnmf(monkeypatch):
    network = NetworkRow("plain", "autoencoder", {"objective": "demo", "noise_kind": "none"})
    monkeypatch.setitem(STUDIES, "supervisor", Study("Recipes", {"supervisor-ae": network}))
    monkeypatch.setitem(NETWORKS, "supervisor-ae", network)
    one = clustering("supervisor-ae", method="gmm-full", noise_rate=0.0)
    made = codes("supervisor-ae", losses={"loss_rec": 0.25}, reconstruction_error={"clean": 0.125})
    one["identity"]["codes"] = made["key"]
    label_free, _ = rows(tables.render("supervisor", [one, made]))
    assert label_free["plain"][1:6] == ["-", "-", "-", "0.25", "0.125"]


def test_a_section_for_each_data_set_and_budget():
    records = study_campaign() + study_campaign(epochs=5) + study_campaign(dataset="fashion-mnist")
    text = tables.render("supervisor", records)
    titles = [line for line in text.splitlines() if line.startswith("###")]
    assert len(titles) == 3
    assert titles[0].startswith(
        "### What the supervisor and the non-negative loss do: MNIST, 10,000 test images; networks"
    )
    assert "5 epochs (the authors' demo: 300)" in titles[0]
    assert "Fashion-MNIST" in titles[2]


def test_it_is_a_pure_function_of_the_records():
    records = study_campaign()
    text = tables.render("supervisor", records)
    random.Random(3).shuffle(records)
    assert tables.render("supervisor", records) == text
    assert tables.render("supervisor", []) == tables.render("ablation", records) == ""


def test_the_short_form_has_both_tables_and_no_seeds():
    text = tables.render("supervisor", study_campaign(), short=True)
    assert len(rows(text)) == 2
    assert "seed 0" not in text
    assert "seed 0" in tables.render("supervisor", study_campaign())
    assert text.index("Nothing in this table has seen a label") < text.index("has seen the labels")


def test_two_records_for_one_place_are_an_error_of_the_study_alone():
    records = [*study_campaign(), clustering("supervisor-demo", method="gmm-full", noise_rate=0.1)]
    with pytest.raises(DataError, match="both supervisor-demo, gmm-full, seed 0"):
        tables.render("supervisor", records)
    assert tables.render("table1", [*records, clustering("ae1")]).count("### Table 1") == 1


def test_records_of_a_study_make_no_section_of_a_table():
    records = [clustering("raw"), clustering("ae1"), *study_campaign(epochs=5)]
    assert tables.render("table1", records) == tables.render("table1", records[:2])


@pytest.mark.parametrize("kind", ["ddnmf", "autoencoder"])
def test_a_variant_may_move_images(monkeypatch, kind):
    options = {"objective": "demo", "noise_shift": 1.0, "lr_schedule": "cosine"}
    network = NetworkRow("moved", kind, options)
    monkeypatch.setitem(NETWORKS, "supervisor-moved", network)
    small = {"widths": (11,), "rank": 3, "epochs": 1, "fast": "off"}
    info = baselines.inspect(Source("mnist", "digits"), 200)
    spec = Representation(info, "supervisor-moved", 0, make_config("supervisor-moved", small))
    made = baselines.compute(spec)
    assert made.arrays["clean"].shape == (360, 3)
    assert spec.identity["noise_shift"] == 1.0


def test_stored_weights_have_no_gaps_and_give_the_same_codes(monkeypatch):
    """The stored form is older than the gaps between the blocks in memory."""
    small = {"widths": (11,), "rank": 3, "epochs": 1, "fast": "off"}
    info = baselines.inspect(Source("mnist", "digits"), 200)
    spec = Representation(info, "ae2", 0, make_config("ae2", small))
    made = baselines.compute(spec)
    assert made.weights.shape == (made.content["parameters"],)
    monkeypatch.setattr(baselines, "_factorize", lambda x_train, x_test, seed: x_test)
    above = Representation(info, "nmf", 0, None, parent=spec)
    np.testing.assert_array_equal(
        baselines.compute(above, weights=made.weights), made.arrays["clean"]
    )
