"""Records: keys, whole files, and a word for each that cannot be used."""

import json

import numpy as np
import pytest
from experiments_cases import clustering, codes, write

from ddnmf_np.config import Config
from ddnmf_np.experiments import records
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.assignments import pack_labels
from ddnmf_np.experiments.baselines import (
    OPTIONS_SINCE,
    DataInfo,
    Representation,
    Source,
    identity_of,
)
from ddnmf_np.experiments.records import Name, RecordError, Store, key_of

INFO = DataInfo(Source("mnist", "digits"), "hash", 100, 50, 64, 10)
CONTENT = {
    "dataset": "mnist", "model": "raw", "seed": 0, "epochs": None, "samples": None,
    "noise_rate": 0.0, "n_test": 9, "images": "clean", "method": "kmeans", "starts": 1,
    "result": clustering()["result"],
}  # fmt: skip
NAME = Name("clustering", "mnist-raw-seed0-kmeans", {"a": 1})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.create()
    return store


def test_a_record_comes_back_and_leaves_no_other_file(store):
    store.write(NAME, CONTENT)
    assert [path.name for path in store.records.iterdir()] == [NAME.file]
    found = store.find(NAME)
    assert found["result"] == CONTENT["result"]
    assert found["identity"] == {"a": 1}
    assert found["format"] == records.FORMAT
    assert store.load() == ([found], [])


def test_what_is_not_there_is_none(store):
    assert store.find(NAME) is None


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: path.write_text(path.read_text()[:-40]), "not valid JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda path: path.write_text("[1]"), "not a record"),
        (lambda path: edit(path, format=99, version="9.9"), r"format 99 \(ddnmf-np 9\.9\)"),
        (lambda path: edit(path, kind="poem"), "unknown kind 'poem'"),
        (lambda path: edit(path, seed="0"), "no valid 'seed'"),
        (lambda path: edit(path, identity={"a": 2}), "not that of its configuration"),
        (lambda path: edit(path, assignment=5), "no valid 'assignment'"),
        (lambda path: edit(path, assignment="eJw="), "assignment of clusters"),
        (lambda path: edit(path, assignment=pack_labels(np.arange(2))), "not of 9 samples"),
        (lambda path: edit(path, assignment=pack_labels(np.arange(2)), n_test=2**63), "clusters"),
        (lambda path: edit(path, result={"acc": float("nan")}), "there is no NaN in it"),
    ],
)
def test_a_record_of_no_use_is_named_with_the_remedy_and_does_not_stop_the_others(
    store, damage, text
):
    other = store.write(Name("clustering", "other", {"b": 1}), CONTENT)
    store.write(NAME, CONTENT)
    damage(store.records / NAME.file)
    found, [problem] = store.load()
    assert found == [other]
    assert NAME.file in problem
    with pytest.raises(RecordError, match=text):
        store.read(store.records / NAME.file)
    said = []
    assert Store(store.folder, said.append).find(NAME) is None
    assert len(said) == 1
    assert "computed again" in said[0]


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("record", "place", "value"),
    [
        (clustering(), "result", {}),
        (clustering(), "result", []),
        (clustering(), "result.acc", "0.5"),
        (clustering(), "result.nmi", None),
        (clustering(), "result.ari", True),
        (clustering(), "result.acc", 7.0),
        (clustering(), "result.nmi", -0.5),
        (clustering(), "result.ari", 10**400),
        (clustering(), "result.spread.acc.std", 1e308),
        (clustering(), "n_test", 0),
        (clustering(), "result.bic", "low"),
        (clustering(), "result.degenerate", 1),
        (clustering(), "result.cluster_sizes", []),
        (clustering(), "result.cluster_sizes", [1.5]),
        (clustering(), "result.spread", {}),
        (clustering(), "result.spread.acc.min", None),
        (clustering(), "result.spread.nmi", {"std": 0.1}),
        (codes(), "code", {}),
        (codes(), "code.unit_std", []),
        (codes(), "code.unit_std", ["wide"]),
        (codes(), "code.dead_units", -1),
        (codes(), "losses", None),
        (codes(), "losses", {"loss_in": "3"}),
        (codes(), "reconstruction_error", {"supervisor": None}),
    ],
)
def test_a_damaged_entry_is_named_and_the_tables_are_made_of_the_rest(
    store, capsys, record, place, value
):
    record = json.loads(json.dumps(record))
    inside = record
    *path, last = place.split(".")
    for name in path:
        inside = inside[name]
    inside[last] = value
    good = [clustering("nmf", seed) for seed in range(2)]
    write(store, record, *good)
    assert main(["report", "--output", str(store.folder)]) == 1
    out, err = capsys.readouterr()
    [line] = [line for line in out.splitlines() if line.startswith("- ")]
    assert record["key"] in line
    assert f"no valid '{place}" in line
    assert err == ""
    assert "| NMF | k-means | 2 |" in (store.folder / "tables" / "table1.md").read_text()


def test_what_is_not_finite_is_not_written(store):
    with pytest.raises(ValueError, match="JSON"):
        store.write(NAME, CONTENT | {"result": {"acc": float("nan")}})
    assert list(store.records.iterdir()) == []


# -- packed records -----------------------------------------------------------------------


@pytest.fixture
def packed(store):
    """A store of three packed records, and no others."""
    for number in range(3):
        store.write(Name("clustering", f"name{number}", {"b": number}), CONTENT)
    assert store.pack() == (3, [])
    for path in store.records.iterdir():
        path.unlink()
    return Store(store.folder)


def name_of(number):
    return Name("clustering", f"name{number}", {"b": number})


def test_packed_records_are_what_they_were(store):
    for number in (1, 0):
        store.write(name_of(number), CONTENT)
    before = store.load()
    assert store.pack() == (2, [])
    for path in store.records.iterdir():
        path.unlink()
    after = Store(store.folder)
    assert after.load() == before
    assert after.find(name_of(1)) == before[0][1]
    assert after.find(name_of(2)) is None
    assert not after.is_empty()


def test_packing_is_a_line_a_record_in_the_order_of_names_and_the_same_each_time(packed):
    content = packed.packed.read_bytes()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["file"] for line in lines] == [name_of(number).file for number in range(3)]
    assert content == "".join(
        json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines
    ).encode("ascii")
    packed.pack()
    assert packed.packed.read_bytes() == content
    shuffled = {key: lines[0]["record"][key] for key in reversed(lines[0]["record"])}
    (packed.records / lines[0]["file"]).write_text(json.dumps(shuffled, indent=3))
    assert packed.pack() == (3, [])
    assert packed.packed.read_bytes() == content


def test_a_file_of_its_own_wins(packed):
    new = packed.write(name_of(1), CONTENT | {"seed": 5})
    assert packed.find(name_of(1)) == new
    assert packed.load()[0][1] == new
    assert packed.pack() == (3, [])
    (packed.records / name_of(1).file).unlink()
    assert packed.find(name_of(1)) == new  # read again, by the same store


def test_a_damaged_file_does_not_hide_the_packed_record(packed):
    said = []
    store = Store(packed.folder, said.append)
    (store.records / name_of(1).file).write_text("{")
    assert store.find(name_of(1))["identity"] == {"b": 1}
    assert "The packed one is taken" in said[0]
    records, [problem] = store.load()
    assert len(records) == 3
    assert name_of(1).file in problem


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{", "is not a packed record"),
        (b"\xff", "is not a packed record"),
        (b"[1]", "is not a packed record"),
        (b'{"file": "a"}', "no 'record'"),
        (b'{"file": "../a", "record": {}}', "no name of a file"),
        (b'{"file": "a", "record": {"format": 99, "version": "9"}}', "has format 99"),
        (None, "is in an earlier line too"),
    ],
)
def test_a_line_of_no_use_is_named_by_its_number_and_the_rest_is_used(packed, line, text):
    lines = packed.packed.read_bytes().splitlines()
    lines.insert(1, lines[0] if line is None else line)
    content = b"\n".join(lines)
    packed.packed.write_bytes(content)
    records, [problem] = Store(packed.folder).load()
    assert len(records) == 3
    assert "records.jsonl: line 2: " in problem
    assert text in problem
    with pytest.raises(RecordError, match=r"line 2.* would be lost"):
        Store(packed.folder).pack()
    assert packed.packed.read_bytes() == content


def test_what_cannot_be_packed_is_named_and_left_out(packed):
    bad = packed.records / "bad.json"
    bad.write_text("{")
    number, [problem] = packed.pack()
    assert number == 3
    assert "bad.json" in problem
    assert bad.exists()


def test_a_packed_record_is_taken_over_under_another_name(packed):
    twin = Name("clustering", "another", {"b": 2})
    assert packed.adopt(Name("clustering", "another", {"b": 3}), {}) is None
    assert packed.adopt(Name("codes", "another", {"b": 2}), {}) is None
    found = packed.adopt(twin, {"model": "other"})
    assert found == packed.find(twin) == packed.find(name_of(2)) | {"model": "other"}
    assert packed.adopt(twin, {"model": "x"})["model"] == "x"  # not of itself


def test_arrays_come_back_and_damaged_ones_are_named(store):
    file = store.write_arrays(NAME, "", {"clean": np.arange(6.0).reshape(2, 3)})
    np.testing.assert_array_equal(store.read_arrays(file)["clean"], np.arange(6.0).reshape(2, 3))
    path = store.codes / file
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RecordError, match=file):
        store.read_arrays(file)


def test_key_is_of_the_content_and_not_of_its_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1, "b": 2}) != key_of({"a": 1, "b": 3})


def test_key_depends_on_the_format(monkeypatch):
    before = key_of({"a": 1})
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    assert key_of({"a": 1}) != before


OTHER = {
    "missing": "nan", "widths": (400, 2000), "rank": 4, "activation": ("tanh",),
    "output_activation": "sigmoid",
    "base_activation": "tanh", "recovery_activation": "softplus", "nonnegative": "both",
    "alpha_sym": 0.5, "beta_ap": 0.25, "gamma_nc": 2.0, "reduction": "mean",
    "student_reconstruction": 0.125, "apposition_to_supervisor": True, "base_bias": True,
    "noise_kind": "gaussian", "noise_rate": 0.35, "noise_rescale": False, "noise_redraw": True,
    "noise_shift": 2.0, "noise_rotation": 5.0, "noise_zoom": 0.1, "noise_shear": 0.1,
    "image_shape": (4, 16), "nmf_start": "pca", "nmf_spread": 0.5, "lr_schedule": "cosine",
    "optimizer": "momentum", "lr": 3e-05, "momentum": 0.5, "adam_b1": 0.8, "adam_b2": 0.95,
    "adam_eps": 1e-09, "epochs": 4, "batch_size": 9, "seed": 6, "dtype": "float64",
    "stream": True, "stream_window": 1,
}  # fmt: skip
"""Another value for every option that a result depends on."""

WITHOUT_EFFECT = {
    "dataset", "data_dir", "labels", "checkpoint_every", "backend", "fast", "threads",
    "matmul_precision", "clusters", "clusterers", "starts", "embedding", "embedding_samples",
}  # fmt: skip
"""On the codes; data set and clustering have their own part in the keys."""


def key(config, model="ddnmf-paper", info=INFO):
    return Representation(info, model, config.seed, config).name.key


def test_every_option_is_either_in_the_key_or_known_to_have_no_effect():
    named = set(Config.__dataclass_fields__)
    assert OTHER.keys() | WITHOUT_EFFECT | {"objective"} == named
    assert identity_of(Config()).keys() == OTHER.keys() - OPTIONS_SINCE.keys() | {"objective"}
    assert OPTIONS_SINCE.keys() <= OTHER.keys()


@pytest.mark.parametrize("option", OTHER)
def test_key_changes_with_every_option_that_matters(option):
    assert key(Config(**{option: OTHER[option]})) != key(Config())


def test_key_does_not_change_with_where_and_on_what_it_is_computed():
    other = Config(backend="auto", threads=1, fast="off", data_dir="x", starts=3)
    assert key(other) == key(Config())


def test_key_changes_with_the_data():
    for change in ({"sha256": "other"}, {"n_train": 99}, {"source": Source("other", "digits")}):
        assert key(Config(), info=DataInfo(**(vars(INFO) | change))) != key(Config())


def test_an_option_that_came_later_leaves_old_keys_alone(monkeypatch):
    before = key(Config())
    later = OPTIONS_SINCE | {"noise_redraw": False, "base_bias": False}
    monkeypatch.setattr("ddnmf_np.experiments.baselines.OPTIONS_SINCE", later)
    assert key(Config()) != before  # here it was part of the old key
    key(Config(), "ae1")  # to which the absent option means nothing
    assert "noise_redraw" not in identity_of(Config())
    assert identity_of(Config(noise_redraw=True))["noise_redraw"] is True


def test_options_of_the_model_mean_nothing_to_an_autoencoder():
    one, other = (
        Config(objective="demo"),
        Config(objective="demo", gamma_nc=3.0, base_bias=False, nmf_start="pca"),
    )
    assert key(one, "ae1") == key(other, "ae1")
    assert key(one, "ae1") != key(one, "ae2")


def test_clusterings_have_keys_of_their_own():
    spec = Representation(INFO, "raw", 0)
    other = Representation(INFO, "raw", 1)
    keys = {
        found.key
        for found in (
            spec.clustering("clean", "kmeans", 10),
            spec.clustering("noisy", "kmeans", 10),
            spec.clustering("clean", "gmm-full", 10),
            spec.clustering("clean", "kmeans", 3),
            other.clustering("clean", "kmeans", 10),
        )
    }
    assert len(keys) == 5
    assert spec.name.key == other.name.key  # the images are the images


def test_made_up_records_of_the_other_tests_are_valid(store):
    made_up = [clustering(), codes()]
    write(store, *made_up)
    assert store.load() == (made_up, [])
