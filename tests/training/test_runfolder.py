"""The output folder: whose it is, and that a run in it can always go on."""

import json
import os

import pytest
from training_cases import OTHER, make_config

from ddnmf_np.config import configure, read_config
from ddnmf_np.errors import OutputError, UsageError
from ddnmf_np.runs.folder import FIGURES, RunFolder
from ddnmf_np.system.files import LOCK, locked

RECORDS = [
    {"epoch": 1, "loss_in": 0.1 + 0.2, "seconds": 1e-9, "samples_per_second": 1e300},
    {"epoch": 2, "loss_in": 5e-324, "seconds": 2.0, "samples_per_second": 3.0},
]


@pytest.fixture
def folder(tmp_path):
    """A run that has only begun."""
    folder = RunFolder(tmp_path / "runs" / "first")
    folder.create(make_config())
    return folder


def lines(folder):
    return [json.loads(line) for line in folder.metrics.read_text("utf-8").splitlines()]


def test_begun_run_has_its_options_and_a_place_for_pictures(folder):
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.toml", "figures"]
    assert configure(**folder.read_options()) == make_config()
    assert folder.figures.is_dir()


def test_begun_run_is_a_run(folder):
    """Whatever interrupts it from here on, --overwrite can take its place."""
    with pytest.raises(UsageError, match="already holds a run"):
        RunFolder(folder.path).create(make_config())
    folder.create(make_config(seed=9), overwrite=True)
    assert folder.read_options()["seed"] == 9


def test_overwrite_empties_it_but_for_other_files(folder):
    done = (folder.checkpoint, folder.metrics, folder.summary, folder.report, *folder.traces)
    for path in done:
        path.write_text("old")
    for name in FIGURES:
        (folder.figures / f"{name}.png").write_text("old")
    (folder.figures / "photo.png").write_text("mine")
    (folder.figures / "drawing.svg").write_text("mine")
    (folder.path / "log.txt").write_text("mine")
    folder.create(make_config(), overwrite=True)
    files = sorted(path.name for path in folder.path.rglob("*") if path.is_file())
    assert files == ["config.toml", "drawing.svg", "log.txt", "photo.png"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "not TOML"])
def test_other_program_s_config_is_no_run(tmp_path, text, overwrite):
    folder = RunFolder(tmp_path)
    folder.config.write_text(text)
    folder.figures.mkdir()
    (folder.figures / "photo.png").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files \(config.toml, ...\) and no run"):
        folder.create(make_config(), overwrite=overwrite)
    assert folder.config.read_text() == text
    assert (folder.figures / "photo.png").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("edit", ["# my choice\n{}", "rank = 3\n", "{}\n"])
def test_options_that_a_person_wrote_are_no_run(tmp_path, edit, overwrite):
    folder = RunFolder(tmp_path)
    text = edit.format(make_config().to_toml())
    folder.config.write_text(text)
    with pytest.raises(UsageError, match=r"holds other files \(config.toml, ...\) and no run"):
        folder.create(make_config(seed=9), overwrite=overwrite)
    assert folder.config.read_text() == text


@pytest.mark.parametrize("name", ["checkpoint.npz", "metrics.jsonl"])
def test_options_beside_results_are_a_run_however_written(folder, name):
    """A person may have edited them, or another version may have written them."""
    folder.config.write_text("# my choice\nrank = 3\n")
    (folder.path / name).touch()
    with pytest.raises(UsageError, match="already holds a run"):
        folder.check_free()
    folder.check_free(overwrite=True)


def test_killed_after_any_options_were_written_is_a_run(tmp_path):
    for options in ({}, OTHER, {"labels": '\x7f \t\\ " é \N{MAN}'}):
        folder = RunFolder(tmp_path / str(len(options)))
        folder.write_config(make_config(**options))
        folder.check_free(overwrite=True)


def test_failed_overwrite_leaves_the_old_run(folder, monkeypatch):
    folder.checkpoint.write_text("old")
    before = folder.config.read_text()

    def no_room(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        folder.create(make_config(seed=9), overwrite=True)
    assert folder.config.read_text() == before
    assert folder.checkpoint.read_text() == "old"


def test_metrics_survive_to_the_last_bit(folder):
    folder.write_metrics(RECORDS[:1])
    folder.append_metrics(RECORDS[1])
    assert lines(folder) == RECORDS
    folder.write_metrics(RECORDS[:1])  # what a resumed run does with a line too many
    assert lines(folder) == RECORDS[:1]


def test_metrics_that_cannot_be_written(folder):
    folder.metrics.mkdir()
    with pytest.raises(
        OutputError, match=r"metrics\.jsonl: cannot be written: Is a directory; .*resume"
    ):
        folder.append_metrics(RECORDS[0])


def test_options_where_there_are_none(tmp_path):
    with pytest.raises(UsageError, match="there is no run to resume"):
        RunFolder(tmp_path).read_options()


def test_damaged_options_are_named(folder):
    folder.config.write_text("rank = ")
    with pytest.raises(UsageError, match=r"config .*config\.toml: is not valid TOML"):
        folder.read_options()


def test_missing_folders_are_made_again(folder):
    folder.figures.rmdir()
    folder.write_config(make_config(seed=8))
    assert folder.figures.is_dir()
    assert read_config(folder.config)["seed"] == 8


def test_summary_is_json(folder):
    folder.write_summary({"a": [1, None, 0.1], "b": "é"})
    assert json.loads(folder.summary.read_text("utf-8")) == {"a": [1, None, 0.1], "b": "é"}


def test_lock_whose_file_its_owner_removes_meanwhile(tmp_path, monkeypatch):
    """Between our opening and locking it, and between any two looks at it: it is taken anew."""
    path, fstat = tmp_path / LOCK, os.fstat
    removed = []

    def remove_first(handle):
        if not removed and path.exists():
            removed.append(path.unlink())
        return fstat(handle)

    monkeypatch.setattr(os, "fstat", remove_first)
    with locked(tmp_path):
        assert removed
        assert path.read_text().startswith("process ")
    assert not path.exists()
