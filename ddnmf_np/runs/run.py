"""A run from options to output folder; `ddnmf_np.train` is its command line."""

from __future__ import annotations

import math
import shlex
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.ops import Ops
from ddnmf_np.config import Config, changed_on_resume, configure
from ddnmf_np.data.datasets import Dataset
from ddnmf_np.data.streaming.rows import Rows, fingerprint
from ddnmf_np.errors import INTERRUPTED, CheckpointError, DataError, DivergedError, UsageError
from ddnmf_np.evaluation.clustering import check_methods
from ddnmf_np.parallel.communicator import STOP, Communicator, SerialCommunicator
from ddnmf_np.parallel.feed import survey_together
from ddnmf_np.parallel.launch import get_ops_together, make_trainer, threads_of_rank
from ddnmf_np.report.page import write_report
from ddnmf_np.runs import scoring
from ddnmf_np.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ddnmf_np.runs.environment import commit, environment
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.inference import Inference, open_input, results
from ddnmf_np.runs.inputs import read_data, with_held_out
from ddnmf_np.runs.output import write_blocks
from ddnmf_np.runs.preparation import Prepared, prepare
from ddnmf_np.runs.progress import Progress
from ddnmf_np.runs.validation import Unexplained, Validation
from ddnmf_np.runs.yardsticks import described, described_noise
from ddnmf_np.system.command import tell
from ddnmf_np.system.memory import peak_memory_mib
from ddnmf_np.system.signals import stop_on_signal
from ddnmf_np.training import Trainer


def run(
    config: Config,
    folder: RunFolder,
    *,
    resume: bool = False,
    overwrite: bool = False,
    communicator: Communicator | None = None,
) -> int:
    """Train, score and draw; see `ddnmf_np.train` for what is left in the folder.

    Rank 0 of the communicator prints, writes and scores; by default this process is alone. The
    result is 0 when done, 130 when stopped by Ctrl-C (SIGINT) or SIGTERM in training; then
    everything is saved. Raises `DDNMFError`, whose ``exit_code`` is that of the command line.
    Options, backend, data and folder are looked at before any work is done.
    """
    started = time.perf_counter()
    commit()  # kept from now on: the sources may change while this trains
    ops, ranks = get_ops_together(config, communicator or SerialCommunicator())
    threads = threads_of_rank(config.execution.threads, ranks)
    if ranks.rank > 0:
        with threadpool_limits(threads):
            return _help(config, ops, ranks)
    with threadpool_limits(threads), folder.alone():
        check_methods(config.evaluation.clusterers)
        if not resume:
            folder.check_free(overwrite=overwrite)
        checkpoint = _checkpoint(folder) if resume else None
        known = folder.read_yardsticks() if resume else {}
        x, dataset, config = read_data(config)
        dataset = _with_shape(dataset, config.data.image_shape)
        about = _about(dataset)
        about["n_clusters"] = scoring.n_clusters(
            dataset, config.evaluation.clusters, config.model.rank
        )
        data_sha256 = with_held_out(_look_at(x, ranks), dataset, config)
        prepared = prepare(x, config, dataset.image_shape)
        config, x = prepared.config, prepared.x
        epochs = config.training.epochs
        trainer = _make_trainer(prepared, ops, ranks, dataset.image_shape)
        trainer.about, model = about, trainer.model
        _agree(ranks)  # before anything is written or replaced
        if checkpoint is not None:
            checkpoint.restore(trainer, config, data_sha256)
            checkpoint_epochs = checkpoint.config.training.epochs
            del checkpoint  # its arrays, three times the parameters
            done = trainer.position
            if (done.epoch, done.batch) > (epochs, 0):
                raise UsageError(
                    f"epochs is {epochs}, but the run has done {done.epoch} epochs and "
                    f"{done.batch} steps; give more epochs"
                )
            if trainer.stopping is not None and done.epoch < epochs:
                _reopen(trainer, checkpoint_epochs, epochs)
            folder.write_config(config)
            if done.epoch < epochs:
                folder.remove_results()  # they would be those of the shorter run
        else:
            folder.create(config, overwrite=overwrite)
            save_checkpoint(folder.checkpoint, config, trainer, data_sha256)
        folder.write_metrics(trainer.history)
        for line in (
            f"{dataset.name}: {x.shape[0]} training samples of {x.shape[1]} features, from "
            f"{dataset.source}",
            _recognized(dataset),
            _scored(config, dataset),
            prepared.choices(),
            f"objective {config.objective.preset}, {model.n_parameters():,} parameters, "
            f"{ops.name} on {ops.device_name()}, output in {folder.path}",
        ):
            if line:
                say(line)
        if ranks.size > 1:
            each = "as many as OMP_NUM_THREADS or its like says" if threads is None else threads
            say(
                f"{ranks.size} ranks by {ranks.name}, each with its share of every batch; threads "
                f"of BLAS in each: {each}"
            )
        ranks.broadcast_object(None)  # data and folder are in order: `_help` may go on
        finished = _train(trainer, config, folder, data_sha256, ranks)
        if trainer.stopping is not None and finished:  # the best weights are back
            save_checkpoint(folder.checkpoint, config, trainer, data_sha256)
        if not finished or trainer.stop_requested:  # asked when the last step was done: score later
            write_report(folder)
            position = trainer.position
            say(
                f"stopped after {position.epoch} epochs and {position.batch} steps; everything is "
                f"saved. {folder.how_to_resume()}"
            )
            ranks.rest()
            return INTERRUPTED
        if isinstance(trainer.stopping, Validation) and (
            end := trainer.stopping.described(trainer)
        ):
            say(end)
        evaluation = scoring.evaluate(trainer, config, dataset)
        scores = scoring.summarise(trainer, evaluation, prepared.some, known)
        summary = summarise(trainer, config, dataset, scores, time.perf_counter() - started)
        folder.write_summary(summary)
        names = scoring.draw_figures(trainer, config, dataset, evaluation, folder.figures)
        write_report(folder)
        say(describe(summary))
        if config.evaluation.save_codes:
            _save_codes(folder, config, ops)
        say(
            f"{len(names)} pictures are in {folder.figures}. Open {folder.report} for the full "
            f"report. Next: python -m ddnmf_np.explore {shlex.quote(str(folder.path))}; codes of "
            f"samples: python -m ddnmf_np.transform {shlex.quote(str(folder.path))} FILE"
        )
    ranks.rest()
    return 0


def _reopen(trainer: Trainer, before: int, epochs: int) -> None:
    """Let a run whose end has put the best weights back go on from its last weights."""
    stopping = trainer.stopping
    assert isinstance(stopping, Validation)
    if not stopping.stopped:
        stopping.reopen(trainer)
    elif epochs > before:
        raise UsageError(
            f"epochs is {epochs}, but the run has stopped early, after {trainer.position.epoch} of "
            f"{before} epochs: {stopping.patience} looks at the held-out rows in a row were no "
            "improvement; start a new run with a larger --patience, or leave --epochs out"
        )


def _save_codes(folder: RunFolder, config: Config, ops: Ops) -> None:
    inference = Inference(load_checkpoint(folder.checkpoint), ops)
    data = open_input(config.data.dataset, inference)
    names = [f"H{k}" for k in range(config.model.rank)]
    write_blocks(folder.codes, results(inference, data, "codes"), data.source.shape[0], names)
    say(f"{folder.codes}: codes of {data.source.shape[0]} samples, in the order of the data")


def _checkpoint(folder: RunFolder) -> Checkpoint:
    """Return the checkpoint of the run in the folder, and not one of another run."""
    checkpoint = load_checkpoint(folder.checkpoint)
    options = configure(**folder.read_options())
    if changed := changed_on_resume(checkpoint.config, options):
        name = changed[0]
        raise CheckpointError(
            f"{folder.checkpoint}: has {name} = {checkpoint.config[name]!r}, but {folder.config} "
            f"has {options[name]!r}: one of the two is of another run, or was edited; put back the "
            "file that belongs here"
        )
    return checkpoint


def _help(config: Config, ops: Ops, ranks: Communicator) -> int:
    """Train as one of the ranks that neither print nor write."""
    x, dataset, config = read_data(config, scored=0)
    dataset = _with_shape(dataset, config.data.image_shape)
    _look_at(x, ranks)
    prepared = prepare(x, config, dataset.image_shape)
    trainer = _make_trainer(prepared, ops, ranks, dataset.image_shape)
    _agree(ranks)
    ranks.broadcast_object(None)
    with stop_on_signal(trainer):
        finished = trainer.train(prepared.config.training.epochs)
        ranks.rest()  # rank 0 saves, scores and draws; a signal that comes late disturbs it not
    return 0 if finished else INTERRUPTED


def _make_trainer(
    prepared: Prepared, ops: Ops, ranks: Communicator, image_shape: tuple[int, ...] | None
) -> Trainer:
    config, x = prepared.config, prepared.x
    model = config.make_model(x.shape[1], ops, _rows(config, ranks), prepared.scaling)
    trainer = make_trainer(config, model, x, ranks, image_shape=image_shape)
    unexplained = Unexplained(model, prepared.some)
    trainer.mean = unexplained.mean
    if prepared.held_out is not None:
        trainer.stopping = Validation.of(config, unexplained, prepared.held_out)
    return trainer


def _about(dataset: Dataset) -> dict[str, Any]:
    """Return the facts about the data that a checkpoint keeps."""
    names = {"feature_names": dataset.feature_names, "class_names": dataset.class_names}
    kept = {key: None if value is None else list(value) for key, value in names.items()}
    return {**kept, "from_bytes": dataset.from_bytes}


def _recognized(dataset: Dataset) -> str:
    return f"recognized: {'; '.join(dataset.notes)}" if dataset.notes else ""


def _scored(config: Config, dataset: Dataset) -> str:
    """Return a line on which rows are scored, if the data set leaves that to us."""
    if config.data.test_fraction and dataset.x_test is not None:
        return f"{len(scoring.held_out(dataset)[1])} rows are for scoring only"
    return "" if dataset.x_test is not None else "no rows are for scoring only: see --test-fraction"


def _agree(ranks: Communicator) -> None:
    """Return once all ranks have their data and their model; one that has not ends all."""
    ranks.start_sum(np.zeros(1), STOP).wait()


def _look_at(x: np.ndarray[Any, Any] | Rows, ranks: Communicator) -> str:
    """Return the fingerprint of the samples, which all ranks must have.

    What is streamed is read for it, by each rank its part.
    """
    if isinstance(x, Rows):
        if ranks.rank == 0:
            size = x.shape[0] * x.shape[1] * x.dtype.itemsize / 1e9
            say(f"{x.name}: reading all {x.shape[0]} samples once, {size:.1f} GB, to check them")
        if ranks.size > 1:
            survey_together(x, ranks)
        return fingerprint(x)
    found = fingerprint(x)
    there = ranks.broadcast_object(found)
    if found != there:  # other batches: ranks would wait for ever
        raise DataError(
            f"dataset: on rank {ranks.rank} it is not what rank 0 has (fingerprint {found[:12]}, "
            f"there {there[:12]}); give every machine the same file"
        )
    return found


def _rows(config: Config, ranks: Communicator) -> int:
    """Return the number of samples for which a rank has activations: its share of a batch."""
    return max(-(-config.training.batch_size // ranks.size), 256)


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


def _train(
    trainer: Trainer, config: Config, folder: RunFolder, data_sha256: str, ranks: Communicator
) -> bool:
    """Train, keeping metrics and checkpoint up to date; return whether it came to its end."""
    epochs = config.training.epochs
    progress = Progress(trainer, epochs)
    every, saved = config.training.checkpoint_every, time.monotonic()
    # Whether several ranks still have the same parameters is known at the end of an epoch only.
    within_epochs = every > 0 and ranks.size == 1

    def save() -> None:
        nonlocal saved
        save_checkpoint(folder.checkpoint, config, trainer, data_sha256)
        saved = time.monotonic()

    def is_due() -> bool:
        return time.monotonic() - saved >= every

    def on_step(trainer: Trainer) -> None:
        progress.on_step(trainer)
        # An epoch is complete with its record, which it has when `on_epoch` is called.
        complete = trainer.position.batch == len(trainer.batches)
        if within_epochs and not complete and is_due():
            trainer.check_finite()  # what has diverged must not replace the last checkpoint
            save()

    def on_epoch(trainer: Trainer) -> None:
        folder.append_metrics(trainer.history[-1])
        if is_due() or trainer.position.epoch == epochs:
            save()
        progress.on_epoch(trainer)

    try:
        with stop_on_signal(trainer):
            finished = trainer.train(epochs, on_step=on_step, on_epoch=on_epoch)
        if not finished:
            trainer.check_finite()
            save()
    except DivergedError as error:
        raise DivergedError(f"{error} {folder.checkpoint} holds the last good state.") from error
    finally:
        progress.close()
    return finished


def summarise(
    trainer: Trainer,
    config: Config,
    dataset: Dataset,
    scores: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    return {
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "n_train": trainer.x.shape[0],
            "n_features": trainer.x.shape[1],
            "missing": (
                trainer.x.survey.missing
                if isinstance(trainer.x, Rows)
                else float(np.isnan(dataset.x_train).mean())
            ),
        },
        "objective": config.objective.preset,
        "epochs": trainer.position.epoch,
        "best_epoch": (
            trainer.stopping.best_epoch if isinstance(trainer.stopping, Validation) else None
        ),
        "seed": config.training.seed,
        "parameters": trainer.model.n_parameters(),
        "losses": trainer.history[-1] if trainer.history else {},
        "evaluation": scores,
        "wall_seconds": seconds,
        "training_seconds": sum(record["seconds"] for record in trainer.history),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "peak_memory_mib": peak_memory_mib(),
        "backend": trainer.ops.name,
        "device": trainer.ops.device_name(),
        "commit": commit(),
        "environment": environment(),
    }


def describe(summary: dict[str, Any]) -> str:
    """Return the scores of a summary as a few lines of text."""
    evaluation = summary["evaluation"]
    code = evaluation["code"]
    lines = [
        *_describe_unexplained(evaluation["unexplained"]),
        f"codes of {evaluation['n_samples']} {evaluation['split']} samples: {_in_use(code)} in use "
        f"(mean spread {code['std']:.2f})",
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


def _in_use(code: dict[str, Any]) -> str:
    units, dead = len(code["unit_std"]), code["dead_units"]
    return f"all {units} units" if not dead else f"{units - dead} of {units} units"


def _describe_unexplained(found: dict[str, Any]) -> list[str]:
    known = {key: value for key, value in found.items() if isinstance(value, float)}
    lines = [described(known.get("ddnmf", math.nan), known)]
    if "noise" in known:
        lines += described_noise(known.get("ddnmf_noisy", math.nan), known["noise"])
    return [*lines, *(f"not learned well: {text}" for text in found["findings"])]


def say(text: str) -> None:
    """Print progress on standard output."""
    tell(text, sys.stdout)
