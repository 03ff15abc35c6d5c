"""Records: keys, whole files, and a word for each that cannot be used."""

import json

import numpy as np
import pytest
from experiments_cases import clustering

from ddnmf_np.config import Config
from ddnmf_np.experiments import records
from ddnmf_np.experiments.baselines import DataInfo, Representation, Source, identity_of
from ddnmf_np.experiments.records import Name, RecordError, Store, key_of

INFO = DataInfo(Source("mnist", "digits"), "hash", 100, 50, 64, 10)
CONTENT = {
    "dataset": "mnist", "model": "raw", "seed": 0, "epochs": None, "samples": None,
    "noise_rate": 0.0, "n_test": 9, "images": "clean", "method": "kmeans", "starts": 1,
    "result": {},
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
    assert found["result"] == {}
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


def test_what_is_not_finite_is_not_written(store):
    with pytest.raises(ValueError, match="JSON"):
        store.write(NAME, CONTENT | {"result": {"acc": float("nan")}})
    assert list(store.records.iterdir()) == []


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
    "widths": (400, 2000), "rank": 4, "activation": ("tanh",), "output_activation": "sigmoid",
    "base_activation": "tanh", "recovery_activation": "softplus", "nonnegative": "both",
    "alpha_sym": 0.5, "beta_ap": 0.25, "gamma_nc": 2.0, "reduction": "mean",
    "student_reconstruction": 0.125, "apposition_to_supervisor": True, "base_bias": True,
    "noise_kind": "gaussian", "noise_rate": 0.35, "noise_rescale": False, "noise_redraw": True,
    "optimizer": "momentum", "lr": 3e-05, "momentum": 0.5, "adam_b1": 0.8, "adam_b2": 0.95,
    "adam_eps": 1e-09, "epochs": 4, "batch_size": 9, "seed": 6, "dtype": "float64",
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
    assert identity_of(Config()).keys() == OTHER.keys() | {"objective"}


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
    monkeypatch.setattr("ddnmf_np.experiments.baselines.OPTIONS_SINCE", {"noise_redraw": False})
    assert key(Config()) != before  # here it was part of the old key
    assert "noise_redraw" not in identity_of(Config())
    assert identity_of(Config(noise_redraw=True))["noise_redraw"] is True


def test_options_of_the_model_mean_nothing_to_an_autoencoder():
    one, other = Config(objective="demo"), Config(objective="demo", gamma_nc=3.0, base_bias=False)
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
    record = clustering()
    (store.records / f"x-{record['key']}.json").write_text(json.dumps(record))
    assert store.load() == ([record], [])
