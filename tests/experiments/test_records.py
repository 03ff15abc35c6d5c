"""Records: keys, whole files, and a clear message for each damaged record."""

import json

import numpy as np
import pytest
from experiments_cases import clustering, codes, sealed, write
from joblib import Parallel, delayed

from ddnmf_np.config import OPTIONS, configure
from ddnmf_np.errors import OutputError
from ddnmf_np.experiments import records
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.baselines import DataInfo, Representation, identity_of
from ddnmf_np.experiments.records import Name, RecordError, Store, key_of
from ddnmf_np.experiments.settings import Source

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


def again(store):
    """Return the store as a new process sees it."""
    return Store(store.folder)


def test_a_record_comes_back_and_leaves_no_other_file(store):
    store.write(NAME, CONTENT)
    assert [path.name for path in store.folder.iterdir() if path.is_file()] == ["records.jsonl"]
    found = store.find(NAME)
    assert found["result"] == CONTENT["result"]
    assert found["identity"] == {"a": 1}
    assert found["format"] == records.FORMAT
    assert store.load() == again(store).load() == ([found], [])


def test_what_is_not_there_is_none(store):
    assert store.find(NAME) is None
    assert store.load() == ([], [])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda line: line[:-40], "not valid JSON"),
        (lambda line: b"\xff\xfe", "not valid JSON"),
        (lambda line: b"[1]", "not a record"),
        (lambda line: edit(line, format=99, version="9.9"), r"format 99 (ddnmf-np 9.9)"),
        (lambda line: edit(line, name=5), "changed after it was written"),
        (lambda line: edit(line, checksum=None), "its checksum is wrong"),
        (lambda line: edit(line, result={"acc": float("nan")}), "there is no NaN in it"),
    ],
)
def test_a_line_of_no_use_is_named_with_the_remedy_and_does_not_stop_the_others(
    store, damage, text
):
    store.write(NAME, CONTENT)
    line = store.path.read_bytes()
    other = store.write(Name("clustering", "other", {"b": 1}), CONTENT)
    store.path.write_bytes(store.path.read_bytes().replace(line, damage(line.strip()) + b"\n"))
    found, [problem] = again(store).load()
    assert found == [other]
    assert problem.startswith(f"{store.path}: line 1: ")
    assert text in problem
    assert "delete the line" in problem or "move it elsewhere" in problem
    assert again(store).find(NAME) is None
    # Computed again, it takes the place of the damaged record if that still says its name.
    writer = again(store)
    notes = writer.tidy()
    writer.write(NAME, CONTENT)
    assert len(again(store).load()[0]) == 2
    assert all("computed again" in note for note in notes)
    assert bool(notes) == ("JSON" in text or "NaN" in text)


def edit(line, **changes):
    return json.dumps(json.loads(line) | changes).encode()


def changed(value):
    """Yield copies of a JSON value, each with another number, text or entry changed."""
    match value:
        case dict():
            for name, inside in value.items():
                yield {other: v for other, v in value.items() if other != name}
                yield from (value | {name: other} for other in changed(inside))
        case list():
            yield value[1:]
            for k, inside in enumerate(value):
                yield from ([*value[:k], other, *value[k + 1 :]] for other in changed(inside))
        case str():
            yield value + "x"
        case None:
            yield 0
        case _:
            yield value + 1
            yield None


@pytest.mark.parametrize("record", [clustering(), codes()], ids=lambda record: record["kind"])
def test_every_change_of_a_record_is_found(record):
    whole = sealed(record)
    assert records.check(whole) is whole
    edits = [other for other in changed(whole) if other != whole]
    assert len(edits) > 50
    for other in edits:
        with pytest.raises(RecordError):
            records.check(other)


def test_a_changed_score_is_named_and_the_tables_are_made_of_the_rest(store, capsys):
    write(store, clustering("ae1", acc=0.5), *(clustering("nmf", seed) for seed in range(2)))
    store.path.write_text(store.path.read_text().replace('"acc": 0.5,', '"acc": 0.6,', 1))
    assert main(["report", "--output", str(store.folder)]) == 1
    out, err = capsys.readouterr()
    [line] = [line for line in out.splitlines() if line.startswith("- ")]
    assert clustering("ae1", acc=0.5)["key"] in line
    assert "its checksum is wrong); delete the line" in line
    assert err == ""
    table = (store.folder / "tables" / "table1.md").read_text()
    assert "| NMF | k-means | 2 |" in table
    assert "AE1" not in table


def test_records_that_do_not_fit_together_are_one_failure(store, capsys):
    """Another program may write a checksum too."""
    record = clustering("ae1")
    record["result"] = {}
    write(store, record)
    assert main(["report", "--output", str(store.folder)]) == 1
    assert "- table1: its records do not fit together (KeyError" in capsys.readouterr().out


def test_what_is_not_finite_is_not_written(store):
    with pytest.raises(ValueError, match="JSON"):
        store.write(NAME, CONTENT | {"result": {"acc": float("nan")}})
    assert store.is_empty()


# -- the file -----------------------------------------------------------------------------


@pytest.fixture
def three(store):
    """A store of three records."""
    for number in range(3):
        store.write(name_of(number), CONTENT)
    return store


def name_of(number):
    return Name("clustering", f"name{number}", {"b": number})


def test_of_two_records_with_one_name_the_later_holds(three):
    new = three.write(name_of(1), CONTENT | {"seed": 5})
    assert three.find(name_of(1)) == again(three).find(name_of(1)) == new
    assert len(again(three).load()[0]) == 3


def test_a_record_that_is_computed_again_clears_the_problem_of_the_old_one(three):
    lines = three.path.read_bytes().splitlines()
    three.path.write_bytes(b"\n".join([edit(lines[1], seed=5), lines[0], b"", lines[2], b""]))
    [problem] = again(three).load()[1]
    assert "line 1: name1-clustering-" in problem
    assert again(three).find(name_of(1)) is None
    again(three).write(name_of(1), CONTENT)
    assert again(three).load()[1] == []


def test_a_damaged_line_does_not_hide_the_earlier_record(three):
    line = three.path.read_bytes().splitlines()[1]
    with three.path.open("ab") as stream:
        stream.write(edit(line, seed=5) + b"\n")
    records, [problem] = again(three).load()
    assert again(three).find(name_of(1)) == three.find(name_of(1))
    assert len(records) == 3
    assert "line 4: name1-clustering-" in problem


@pytest.mark.parametrize("cut", [1, 40])
def test_a_last_line_that_was_cut_off_goes_and_the_others_are_as_they_were(three, cut):
    content = three.path.read_bytes()
    lines = content.splitlines(keepends=True)
    three.path.write_bytes(content[:-cut])
    reader = again(three)
    assert len(reader.load()[0]) == (3 if cut == 1 else 2)
    assert reader.load()[1] == []  # another process may be writing it
    notes = reader.tidy()
    assert len(notes) == (cut > 1)
    assert len(reader.load()[0]) == (3 if cut == 1 else 2)
    reader.write(name_of(7), CONTENT)
    found = three.path.read_bytes().splitlines(keepends=True)
    assert found[:2] == lines[:2]
    assert len(found) == (4 if cut == 1 else 3)
    assert again(three).load()[1] == []


def test_a_record_does_not_continue_a_line_that_a_full_disk_cut_off(three):
    three.path.write_bytes(three.path.read_bytes()[:-30])
    three.write(name_of(8), CONTENT)
    assert again(three).find(name_of(8)) is not None
    assert len(again(three).load()[1]) == 1


def test_a_full_disk_is_one_error(three, monkeypatch):
    monkeypatch.setattr(records.os, "write", lambda handle, line: len(line) - 1)
    with pytest.raises(OutputError, match="no space left"):
        three.write(name_of(9), CONTENT)
    assert three.find(name_of(9)) is None


def test_records_of_processes_that_write_at_once_do_not_mix(tmp_path):
    text = "x" * 100_000  # many pages
    Store(tmp_path).create()
    work = (delayed(write_some)(tmp_path, number, text) for number in range(4))
    Parallel(n_jobs=4, backend="multiprocessing")(work)
    found, problems = Store(tmp_path).load()
    assert problems == []
    assert len(found) == 4 * 10


def write_some(folder, first, text):
    for number in range(10):
        Store(folder).write(name_of(100 * first + number), CONTENT | {"text": text})


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path):
    (tmp_path / "records.jsonl").mkdir()
    found, [problem] = Store(tmp_path).load()
    assert found == []
    assert "records.jsonl: cannot be read" in problem


def test_a_record_is_taken_over_under_another_name(three):
    twin = Name("clustering", "another", {"b": 2})
    assert three.adopt(Name("clustering", "another", {"b": 3}), {}) is None
    assert three.adopt(Name("codes", "another", {"b": 2}), {}) is None
    found = three.adopt(twin, {"model": "other"})
    expected = sealed(three.find(name_of(2)) | {"model": "other", "name": str(twin)})
    assert found == three.find(twin) == again(three).find(twin) == expected
    assert three.adopt(twin, {"model": "x"})["model"] == "x"  # not of itself


def test_arrays_come_back_and_damaged_ones_do_not(store):
    array = np.arange(6.0).reshape(2, 3)
    assert store.read_arrays(NAME, "arrays") is None
    file = store.write_arrays(NAME, "", {"clean": array})
    store.write(NAME, CONTENT | {"arrays": file, "weights": None})
    np.testing.assert_array_equal(store.read_arrays(NAME, "arrays")["clean"], array)
    assert store.read_arrays(NAME, "weights") is None
    path = store.codes / file
    path.write_bytes(path.read_bytes()[:60])
    assert store.read_arrays(NAME, "arrays") is None


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
    "dataset", "data_dir", "labels", "ignore", "test_fraction", "save_codes", "checkpoint_every",
    "backend", "fast", "threads",
    "matmul_precision",
    "scale", "start", "validation_fraction", "patience", "tol",
    "clusters", "clusterers", "starts", "embedding", "embedding_samples",
}  # fmt: skip
"""Options without effect on the codes; the keys contain data set and clustering separately."""


def key(config, model="ddnmf-paper", info=INFO):
    return Representation(info, model, config.training.seed, config).name.key


def test_every_option_is_either_in_the_key_or_known_to_have_no_effect():
    named = set(OPTIONS)
    assert OTHER.keys() | WITHOUT_EFFECT | {"objective"} == named
    assert identity_of(configure()).keys() == OTHER.keys() | {"objective"}


@pytest.mark.parametrize("option", OTHER)
def test_key_changes_with_every_option_that_matters(option):
    assert key(configure(**{option: OTHER[option]})) != key(configure())


def test_key_does_not_change_with_where_and_on_what_it_is_computed():
    other = configure(backend="auto", threads=1, fast="off", data_dir="x", starts=3)
    assert key(other) == key(configure())


def test_key_changes_with_the_data():
    for change in ({"sha256": "other"}, {"n_train": 99}, {"source": Source("other", "digits")}):
        assert key(configure(), info=DataInfo(**(vars(INFO) | change))) != key(configure())


def test_options_of_the_model_mean_nothing_to_an_autoencoder():
    one, other = (
        configure(objective="demo"),
        configure(objective="demo", gamma_nc=3.0, base_bias=False, nmf_start="pca"),
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
    assert store.load() == ([sealed(record) for record in made_up], [])
