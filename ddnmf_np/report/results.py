"""The results in the folder of a run, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ddnmf_np.config import Config, configure, read_config
from ddnmf_np.errors import CheckpointError, DataError, UsageError
from ddnmf_np.evaluation import figures
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.system import json_text

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a run, finished or not."""

    config: Config  # with the values of the preset
    history: list[dict[str, Any]]  # one record for each finished epoch
    summary: dict[str, Any]  # content of ``summary.json``; empty before the run is finished
    pictures: dict[str, bytes]  # PNG files by name, in the order of the page
    files: dict[str, int]  # size of each file of the run, by its path within the folder
    notes: list[str] = field(default_factory=list)  # about missing or damaged files

    def get(self, *path: str) -> Any:
        """Return an entry of the summary, or None if it is missing, as in other versions."""
        found: Any = self.summary
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


def check_holds_run(folder: RunFolder) -> None:
    """Raise a `UsageError` if there is no such folder, or it contains no run."""
    remedy = "give the folder that python -m ddnmf_np.train --output FOLDER has written"
    if not folder.path.is_dir():
        what = "is a file" if folder.path.exists() else "there is no such folder"
        raise UsageError(f"run folder {folder.path}: {what}; {remedy}")
    if not folder.config.exists() and not folder.checkpoint.exists():
        raise UsageError(
            f"run folder {folder.path}: contains no run (neither {folder.checkpoint.name} nor "
            f"{folder.config.name}); {remedy}"
        )


def read_results(folder: RunFolder) -> Results:
    """Read the folder of a run.

    Raises `UsageError` if there is no such folder, or it contains no run; `DataError` if a file of
    the run is damaged, or its options belong to another version; and `CheckpointError` if the run
    has written nothing but its options.
    """
    check_holds_run(folder)
    if not any(path.exists() for path in (folder.metrics, folder.checkpoint, folder.summary)):
        raise CheckpointError(
            f"{folder.checkpoint}: there is no checkpoint, nor {folder.metrics.name} nor "
            f"{folder.summary.name}; train a model first (with --overwrite, if a run was started "
            "there)"
        )
    notes: list[str] = []
    summary = _read_summary(folder)
    config, history = _read_config(folder, summary), _read_history(folder, notes)
    pictures = _read_pictures(folder, notes)
    if "losses.png" not in pictures and history:
        pictures = {"losses.png": figures.png(figures.plot_losses(history, "losses")), **pictures}
    return Results(config, history, summary, pictures, _files(folder), notes)


def _read_config(folder: RunFolder, summary: dict[str, Any]) -> Config:
    """Return the options from ``config.toml``, or from the checkpoint if that file is missing."""
    if not folder.config.exists():
        return load_checkpoint(folder.checkpoint).config
    try:
        return configure(**read_config(folder.config))
    except UsageError as error:
        environment = summary.get("environment")
        versions = environment.get("versions") if isinstance(environment, dict) else None
        wrote = versions.get("ddnmf-np") if isinstance(versions, dict) else None
        by = f"ddnmf_np {wrote}" if wrote else "another version of ddnmf_np"
        raise DataError(
            f"run folder {folder.path}: its options cannot be used: {error}. If {by} wrote them, "
            "use that version"
        ) from error


def _read_history(folder: RunFolder, notes: list[str]) -> list[dict[str, Any]]:
    if not folder.metrics.is_file():
        if not folder.checkpoint.exists():
            notes.append("The losses of the epochs are missing, because there is no metrics file.")
            return []
        return list(load_checkpoint(folder.checkpoint).meta["history"])
    lines = folder.metrics.read_text("utf-8", errors="replace").splitlines()
    history: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json_text.parse(line, finite=False)  # a loss may be NaN
            if not isinstance(record, dict):
                raise ValueError("expected an object")
            for name, value in record.items():
                if name.startswith("loss_") and not isinstance(value, int | float | None):
                    raise ValueError(f"{name} is {value!r}; expected a number")
        except ValueError as error:
            if number == len(lines):  # the process was killed while writing it
                notes.append(f"The last line of {folder.metrics.name} is cut off; it is left out.")
                break
            raise DataError(
                f"{folder.metrics}: line {number} is damaged ({error}); python -m ddnmf_np.train "
                "--resume continues the run and rewrites the file"
            ) from error
        history.append(record)
    return history


def _read_summary(folder: RunFolder) -> dict[str, Any]:
    if not folder.summary.exists():
        return {}
    try:
        summary = json_text.read(folder.summary, finite=False)
        if not isinstance(summary, dict):
            raise ValueError("expected an object")
    except ValueError as error:
        raise DataError(
            f"{folder.summary}: is damaged ({error}); python -m ddnmf_np.train --resume scores the "
            "run again"
        ) from error
    return summary


def _read_pictures(folder: RunFolder, notes: list[str]) -> dict[str, bytes]:
    pictures: dict[str, bytes] = {}
    for path in folder.pictures:
        if not path.is_file():
            continue
        data = path.read_bytes()
        if data.startswith(_PNG) and data[12:16] == b"IHDR" and data.endswith(_PNG_END):
            pictures[path.name] = data
        else:
            notes.append(f"{folder.figures.name}/{path.name} is not a PNG file; it is left out.")
    return pictures


def _files(folder: RunFolder) -> dict[str, int]:
    """Return the size of each file of the run, by its path within the folder."""
    paths = [folder.config, folder.metrics, folder.summary, folder.checkpoint, folder.explorer]
    return {
        path.relative_to(folder.path).as_posix(): path.stat().st_size
        for path in paths + folder.pictures
        if path.exists()
    }
