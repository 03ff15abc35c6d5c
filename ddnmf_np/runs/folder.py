"""The output folder of a run: what is in it, and who may write it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ddnmf_np.config import Config, configure, read_config
from ddnmf_np.errors import OutputError, UsageError
from ddnmf_np.system import json_text
from ddnmf_np.system.files import LOCK, atomic_write_text, locked, remove_unfinished

FIGURES = ("losses", "reconstructions", "parts", "effects", "clusters", "embedding")
"""Names of a run's pictures, in the order of the report. Other files beside them are the user's."""


class RunFolder:
    """Names and files of a run.

    ``config`` has all options, resolved; ``metrics`` a line for each epoch. ``pictures`` are those
    that a run draws, in the order of `FIGURES`. ``report`` has all of these on one page.
    ``explorer``, ``traces`` and ``codes`` are there only where `ddnmf_np.explore`, `ddnmf_np.trace`
    or the run have been asked for them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint.npz"
        self.summary = self.path / "summary.json"
        self.figures = self.path / "figures"
        self.pictures = [self.figures / f"{name}.png" for name in FIGURES]
        self.report = self.path / "report.html"
        self.explorer = self.path / "explorer.html"
        self.traces = self.path / "trace.html", self.path / "trace.json"
        self.codes = self.path / "codes.npy"

    def create(self, config: Config, *, overwrite: bool = False) -> None:
        """Begin a run: make the folder, and write the options.

        With ``overwrite`` we replace the run that is there; files that are not of a run stay.
        Raises `UsageError` if the folder holds a run, and ``overwrite`` is not set, or if it holds
        anything else; and `OutputError` if it cannot be made or written.
        """
        try:
            self.check_free(overwrite=overwrite)
            # First: it shows that the folder can be written, and makes it one that holds a run.
            self.write_config(config)
            for file in (self.checkpoint, self.metrics):
                file.unlink(missing_ok=True)
            self.remove_results()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def check_free(self, *, overwrite: bool = False) -> None:
        """Raise the `UsageError` of `create`, if it would, before anything is done."""
        names = (p.name for p in self.path.iterdir()) if self.path.exists() else ()
        taken = sorted(name for name in names if name != LOCK)
        if taken and not self._holds_run():
            raise UsageError(
                f"output {self.path}: holds other files ({taken[0]}, ...) and no run; choose "
                "an empty or new folder"
            )
        if taken and not overwrite:
            raise UsageError(
                f"output {self.path}: already holds a run; continue it with --resume, replace "
                "it with --overwrite, or choose another folder"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out, and remove what a killed one left unfinished.

        Raises `UsageError` if another run is writing there, and `OutputError` if the folder cannot
        be made or written.
        """
        new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        try:
            with locked(self.path):
                try:
                    files = self.config, self.metrics, self.checkpoint, self.summary, self.report
                    for file in (*files, self.codes):
                        remove_unfinished(self.path, file.name)
                    for picture in self.pictures:
                        remove_unfinished(self.figures, picture.name)
                except OSError as error:
                    raise _cannot_write(self.path, error) from error
                yield
        finally:
            if new:  # and nothing came of it
                with suppress(OSError):
                    self.path.rmdir()

    def remove_results(self) -> None:
        """Remove summary, codes, pictures and pages, which belong to the end of a run."""
        try:
            pages = self.report, self.explorer, *self.traces
            for file in (self.summary, self.codes, *pages, *self.pictures):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def _holds_run(self) -> bool:
        """Return whether ``config.toml`` is that of a run, and not of a person or a program.

        A run that was killed at once has left this file alone. A run writes it in one way only, so
        we compare it to the letter.
        """
        try:
            options = read_config(self.config)
            if self.checkpoint.exists() or self.metrics.exists():
                return bool(options)
            return self.config.read_text("utf-8") == configure(**options).to_toml()
        except (UsageError, OSError, ValueError):
            return False

    def read_options(self) -> dict[str, Any]:
        """Return the options of the run in this folder; raises `UsageError` if there is none."""
        if not self.config.exists():
            raise UsageError(
                f"output {self.path}: there is no run to resume; leave --resume out to start one"
            )
        return read_config(self.config)

    def how_to_resume(self) -> str:
        """Return the command that continues the run in this folder."""
        command = "python -m ddnmf_np.train --resume --output"
        return f"Continue with: {command} {shlex.quote(str(self.path))}"

    def write_config(self, config: Config) -> None:
        """Write ``config.toml``; make the folders where they are missing."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # First: a folder with this file in it holds a run, whatever happens next.
            atomic_write_text(self.config, config.to_toml())
            self.figures.mkdir(exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def write_metrics(self, history: Sequence[dict[str, float]]) -> None:
        """Write ``metrics.jsonl`` anew: after a crash it may be ahead of the checkpoint."""
        atomic_write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in history))

    def append_metrics(self, record: dict[str, float]) -> None:
        """Add a line to ``metrics.jsonl``."""
        try:
            with self.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.metrics}: cannot be written: {error.strerror}; make room, then continue "
                "with --resume"
            ) from error

    def read_yardsticks(self, *more: str) -> dict[str, float]:
        """Return the unexplained fractions of PCA and NMF in ``summary.json``, or {}.

        They depend on the data and the rank only, which a resumed run cannot change. ``more`` names
        others, which may be missing.
        """
        try:
            found = json_text.read(self.summary)["evaluation"]["unexplained"]
            names = ("mean", "pca", "nmf", *(name for name in more if found.get(name)))
            return {name: float(found[name]) for name in names}
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``."""
        atomic_write_text(self.summary, json.dumps(summary, indent=2) + "\n")


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"output {path}: cannot be written: {error.strerror or error}; choose a folder that can"
    )
