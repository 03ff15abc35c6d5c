"""A run from options to output folder; `ddnmf_np.train` is its command line."""

from __future__ import annotations

import hashlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.config import Config
from ddnmf_np.data.datasets import Dataset, load
from ddnmf_np.engine.backend import get_ops
from ddnmf_np.environment import commit, environment
from ddnmf_np.errors import DivergedError, UsageError
from ddnmf_np.evaluation import report
from ddnmf_np.model import Model
from ddnmf_np.progress import Progress
from ddnmf_np.report.page import write_report
from ddnmf_np.runfolder import RunFolder
from ddnmf_np.training import Trainer

INTERRUPTED = 130
"""Exit code of a run that was asked to stop, and has saved where it is."""


def run(config: Config, folder: RunFolder, *, resume: bool = False, overwrite: bool = False) -> int:
    """Train, score and draw; see `ddnmf_np.train` for what is left in the folder.

    Parameters
    ----------
    config : Config
        Options.
    folder : RunFolder
        Where the results go.
    resume : bool
        Continue the run in the folder.
    overwrite : bool
        Replace the run in the folder.

    Returns
    -------
    int
        0 when done, 130 when stopped by Ctrl-C (SIGINT) or SIGTERM; then everything is saved.

    Raises
    ------
    DDNMFError
        Its ``exit_code`` is that of the command line. Options, backend, data and folder are
        looked at before any work is done.
    """
    started = time.perf_counter()
    commit()  # kept from now on: the sources may change while this trains
    ops = get_ops(config.backend, fast=config.fast, matmul_precision=config.matmul_precision)
    with threadpool_limits(config.threads), folder.alone():
        dataset = load(
            config.dataset,
            data_dir=config.data_dir,
            dtype=config.dtype,
            labels=config.labels,
            missing=config.missing,
        )
        dataset = _with_shape(dataset, config.image_shape)
        report.n_clusters(dataset, config.clusters, config.rank)
        model = Model(dataset.x_train.shape[1], config, ops)
        trainer = Trainer(model, dataset.x_train, image_shape=dataset.image_shape)
        data_sha256 = fingerprint(dataset.x_train)
        if resume:
            load_checkpoint(folder.checkpoint).restore(trainer, data_sha256)
            done = trainer.position
            if (done.epoch, done.batch) > (config.epochs, 0):
                raise UsageError(
                    f"epochs is {config.epochs}, but the run has done {done.epoch} epochs and "
                    f"{done.batch} steps; give more epochs"
                )
            folder.write_config(config.resolved())
            if done.epoch < config.epochs:
                folder.remove_results()  # they would be those of the shorter run
        else:
            folder.create(config.resolved(), overwrite=overwrite)
            save_checkpoint(folder.checkpoint, trainer, data_sha256)
        folder.write_metrics(trainer.history)
        say(
            f"{dataset.name}: {dataset.x_train.shape[0]} training samples of "
            f"{dataset.x_train.shape[1]} features, from {dataset.source}\n"
            f"objective {config.objective}, {model.n_parameters():,} parameters, {ops.name} on "
            f"{ops.device_name()}, output in {folder.path}"
        )
        finished = _train(trainer, config.epochs, folder, data_sha256)
        if not finished:
            write_report(folder)
            position = trainer.position
            say(
                f"stopped after {position.epoch} epochs and {position.batch} steps; everything is "
                "saved. Continue with: python -m ddnmf_np.train --resume --output "
                f"{shlex.quote(str(folder.path))}"
            )
            return INTERRUPTED
        evaluation = report.evaluate(trainer, dataset)
        summary = summarise(trainer, dataset, evaluation, time.perf_counter() - started)
        folder.write_summary(summary)
        names = report.draw_figures(trainer, dataset, evaluation, folder.figures)
        write_report(folder)
        say(describe(summary))
        say(f"pictures: {', '.join(str(folder.figures / name) for name in names)}")
        say(f"all of it on one page: {folder.report}")
    return 0


def _with_shape(dataset: Dataset, image_shape: tuple[int, ...] | None) -> Dataset:
    """Return the data with the height and width that the options give, if they do."""
    if image_shape is None:
        return dataset
    height, width = image_shape
    n_features = dataset.x_train.shape[1]
    if height * width != n_features:
        raise UsageError(
            f"image_shape is {image_shape}, but a sample of {dataset.name} has {n_features} "
            "features; give a height and a width with that product, or leave it out"
        )
    return replace(dataset, image_shape=(height, width))


def _train(trainer: Trainer, epochs: int, folder: RunFolder, data_sha256: str) -> bool:
    """Train, keeping metrics and checkpoint up to date; return whether it came to its end."""
    progress = Progress(trainer, epochs)

    def on_epoch(trainer: Trainer) -> None:
        folder.append_metrics(trainer.history[-1])
        done = trainer.position.epoch
        if done % trainer.config.checkpoint_every == 0 or done == epochs:
            save_checkpoint(folder.checkpoint, trainer, data_sha256)
        progress.on_epoch(trainer)

    try:
        with stop_on_signal(trainer):
            finished = trainer.train(epochs, on_step=progress.on_step, on_epoch=on_epoch)
        if not finished:
            trainer.check_finite()  # what has diverged must not replace the last checkpoint
            save_checkpoint(folder.checkpoint, trainer, data_sha256)
    except DivergedError as error:
        raise DivergedError(f"{error} {folder.checkpoint} holds the last good state.") from error
    finally:
        progress.close()
    return finished


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Let SIGINT and SIGTERM end training between two steps; a second SIGINT ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(number: int, frame: Any) -> None:
        trainer.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summarise(
    trainer: Trainer, dataset: Dataset, evaluation: report.Evaluation, seconds: float
) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    config = trainer.config
    return {
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "n_train": dataset.x_train.shape[0],
            "n_features": dataset.x_train.shape[1],
            "missing": float(np.isnan(dataset.x_train).mean()),
        },
        "objective": config.objective,
        "epochs": trainer.position.epoch,
        "seed": config.seed,
        "parameters": trainer.model.n_parameters(),
        "losses": trainer.history[-1] if trainer.history else {},
        "evaluation": report.summarise(trainer, evaluation),
        "wall_seconds": seconds,
        "training_seconds": sum(record["seconds"] for record in trainer.history),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "peak_memory_mib": peak_memory_mib(),
        "backend": trainer.ops.name,
        "device": trainer.ops.device_name(),
        "commit": commit(),
        "environment": environment(),
    }


def peak_memory_mib() -> float | None:
    """Return the largest memory this process has had, in MiB; None where nobody keeps it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def describe(summary: dict[str, Any]) -> str:
    """Return the scores of a summary as a few lines of text."""
    evaluation = summary["evaluation"]
    code = evaluation["code"]
    lines = [
        f"H of the {evaluation['split']} split ({evaluation['n_samples']} samples): standard "
        f"deviation {code['std']:.3f}, {code['dead_units']} dead units"
    ]
    for method, entry in evaluation["scores"].items():
        if "acc" in entry:
            shown = "  ".join(
                f"{name.upper()} {entry[name]:.3f} "
                f"({entry['spread'][name]['min']:.3f}-{entry['spread'][name]['max']:.3f})"
                for name in ("acc", "nmi", "ari")
            )
            lines.append(f"{method:14} {shown}  best of {entry['n_starts']} starts (range)")
        else:
            lines.append(f"{method:14} cluster sizes {entry['cluster_sizes']}")
    return "\n".join(lines)


def fingerprint(x: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of an array's shape, dtype and values."""
    digest = hashlib.sha256(f"{x.shape} {x.dtype.str}".encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def say(text: str) -> None:
    """Print at once, so that a log shows it in time."""
    print(text, file=sys.stdout, flush=True)
