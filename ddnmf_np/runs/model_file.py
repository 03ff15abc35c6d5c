"""A trained estimator in one file: weights, scaling and what was learned besides, no pickle."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import ddnmf_np
from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.backends.select import get_ops
from ddnmf_np.config import Config, configure
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import CheckpointError, DataError, UsageError, shown
from ddnmf_np.evaluation.code_clusters import CodeClusters
from ddnmf_np.model import Model, check_state
from ddnmf_np.runs.checkpoint import Checkpoint, load_checkpoint
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.validation import Unexplained
from ddnmf_np.runs.yardsticks import Yardsticks
from ddnmf_np.system.described import read_described, write_described

WHAT = "estimator of ddnmf_np"
"""What a file says that it holds."""

FORMAT = 1
"""Number of the layout below, the only one that is read and written."""

OBJECTS: dict[str, type] = {"Objective": Objective, "Noise": Noise, "Descent": Descent}
"""Parameters of an estimator that are objects, by the names of their classes."""

SAME_HERE = (
    *("widths", "activation", "output_activation", "nonnegative", "batch_size", "scale"),
    *("validation_fraction", "patience", "tol", "missing", "image_shape", "fast"),
)
"""Parameters of an estimator that are options of the command line by the same name."""

NUMBERS = {"data_max": float, "n_iter": int, "n_samples_seen": int}
"""Learned numbers that every file has, with their types."""

Learned = dict[str, Any]
"""Attributes of a fitted estimator, by name."""


def save_model(path: str | os.PathLike[str], estimator: Any, *, supervisor: bool) -> None:
    """Write a fitted estimator, whole or not at all.

    With ``supervisor`` the file has the supervisor and what the optimizer remembers, too, so that
    training can go on. Raises `UsageError` if the estimator has no supervisor to write, and
    `OutputError` if the file cannot be written; what was there is untouched.
    """
    model: Model = estimator.model_
    if supervisor and estimator._student_only:
        raise UsageError(
            "supervisor is True, but this model was loaded without its supervisor; leave it out"
        )
    steps = model.optimizer.t if supervisor else None  # the first look makes the slots
    arrays = model.state()
    if not supervisor:
        params = {f"student.{name}" for name in model.student.arena.shapes}
        arrays = {name: block for name, block in arrays.items() if name in params}
    if model.scaling is not None:
        parts = {f"scaling.{f.name}": getattr(model.scaling, f.name) for f in fields(Scaling)}
        arrays |= {name: part for name, part in parts.items() if part is not None}
    if estimator.unexplained_ is not None:
        arrays["mean"] = estimator.unexplained_.mean
    clusters = None
    if estimator._clusters is not None:
        more, clusters = estimator._clusters.state()
        arrays |= more
    names = getattr(estimator, "feature_names_in_", None)
    meta = {
        "what": WHAT,
        "format": FORMAT,
        "version": ddnmf_np.__version__,
        "params": {k: _plain(v) for k, v in estimator.get_params(deep=False).items()},
        "config": estimator.config_.to_dict(),
        "n_features": model.n_features,
        "feature_names": None if names is None else [str(name) for name in names],
        "t": steps,
        "from_bytes": estimator._from_bytes,
        "history": estimator.loss_history_,
        "clusters": clusters,
        "set_output": getattr(estimator, "_sklearn_output_config", {}).get("transform"),
        "reconstruction_err": getattr(estimator, "reconstruction_err_", None),
        "baselines": estimator._yardsticks and estimator._yardsticks.known,
        **{name: getattr(estimator, f"{name}_") for name in NUMBERS},
    }
    write_described(path, meta, arrays)


def load_model(
    path: str | os.PathLike[str], backend: str, names: Collection[str]
) -> tuple[dict[str, Any], Learned]:
    """Return the parameters of an estimator that `save_model` has written, and what it has learned.

    ``names`` are those of an estimator's parameters. Raises `CheckpointError` if the file is
    missing, damaged, of another kind or of another format, and `BackendError` if the backend cannot
    run.
    """
    name = os.fspath(path)
    if Path(name).is_dir():
        raise CheckpointError(
            f"{name}: is a folder; give a file that save() has written, or open the folder of a "
            f"run with DDNMF.from_run({name!r})"
        )
    try:
        meta, arrays = read_described(Path(name))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{name}: there is no such file; check the path, or write it with save()"
        ) from error
    except (DataError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{name}: is damaged or no model of ddnmf_np ({error}); restore it from a copy, or "
            "save the model again"
        ) from error
    _check_kind(name, meta)
    try:
        learned = _learned(meta, arrays, backend)
        params = {key: _object(value) for key, value in meta["params"].items()}
        if strange := params.keys() - set(names):
            raise ValueError(f"an estimator has no parameter {shown(min(strange))}")
    except (CheckpointError, UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{name}: its content cannot be used ({error}); save the model again"
        ) from error
    return params, learned


def _check_kind(name: str, meta: dict[str, Any]) -> None:
    found = meta.get("format")
    if meta.get("what") != WHAT:
        if "data_sha256" in meta:
            raise CheckpointError(
                f"{name}: is the checkpoint of a run; open it with DDNMF.from_run({name!r})"
            )
        raise CheckpointError(f"{name}: is no saved estimator; write one with save()")
    if type(found) is not int or found != FORMAT:
        raise CheckpointError(
            f"{name}: has format {shown(found)} (written by ddnmf_np "
            f"{str(meta.get('version'))[:40]}); this version, {ddnmf_np.__version__}, reads "
            f"format {FORMAT}. Use that version"
        )


def _learned(meta: dict[str, Any], arrays: dict[str, Array], backend: str) -> Learned:
    config = configure(**meta["config"])
    n_features, steps = meta["n_features"], meta["t"]
    kinds = {"n_features": int, "from_bytes": bool, "history": list, **NUMBERS}
    for key, kind in kinds.items():
        if type(meta[key]) is not kind:
            raise ValueError(f"{key} is {shown(meta[key])}")
    if n_features < 1 or not (steps is None or type(steps) is int):
        raise ValueError(f"n_features is {n_features}, and t is {shown(steps)}")
    state = dict(arrays)
    if steps is None:
        state = _no_supervisor(n_features, config) | arrays
    # Before anything is allocated: a model takes the memory that its options ask for.
    check_state(n_features, config.model, config.objective, state)
    of_scaling = {f"scaling.{f.name}": f.name for f in fields(Scaling)}
    for key in ("mean", *of_scaling):
        if key in arrays and arrays[key].shape != (n_features,):
            raise ValueError(f"{key} has shape {arrays[key].shape}; expected ({n_features},)")
    scaling = None
    if "scaling.low" in arrays:
        scaling = Scaling(**{n: arrays[key] for key, n in of_scaling.items() if key in arrays})
    model = config.make_model(n_features, _ops(config, backend), scaling=scaling)
    model.load_state(state, steps)
    clusters = meta["clusters"]
    learned = {
        "model_": model,
        "config_": config,
        "unexplained_": _unexplained(model, arrays),
        "loss_history_": meta["history"],
        "n_features_in_": n_features,
        "_clusters": None if clusters is None else CodeClusters.of_state(arrays, clusters),
        "_yardsticks": Yardsticks.of_known(meta.get("baselines")),
        "_from_bytes": meta["from_bytes"],
        "_student_only": steps is None,
        **{f"{key}_": meta[key] for key in NUMBERS},
    }
    if meta.get("set_output") is not None:
        learned["_sklearn_output_config"] = {"transform": str(meta["set_output"])}
    if meta["reconstruction_err"] is not None:
        learned["reconstruction_err_"] = float(meta["reconstruction_err"])
    if meta["feature_names"] is not None:
        if len(meta["feature_names"]) != n_features:
            raise ValueError(f"it names {len(meta['feature_names'])} of {n_features} features")
        learned["feature_names_in_"] = np.array(meta["feature_names"], dtype=object)
    return learned


def learned_by_run(path: str | os.PathLike[str], backend: str) -> tuple[dict[str, Any], Learned]:
    """Return parameters with which an estimator is the run's, and what the run has learned.

    The path is that of the run's folder or of its checkpoint. Raises `CheckpointError` if there is
    no checkpoint that can be used, and `BackendError` if the backend cannot run.
    """
    file = Path(path)
    folder = RunFolder(file)
    checkpoint = load_checkpoint(folder.checkpoint if file.is_dir() else file)
    config, meta = checkpoint.config, checkpoint.meta
    model = checkpoint.restore_model(_ops(config, backend), optimizer=True, checked=False)
    validation, about = meta.get("validation") or {"finished": False}, meta.get("data") or {}
    learned = {
        "model_": model,
        "config_": config,
        "unexplained_": _unexplained(model, checkpoint.arrays),
        "loss_history_": list(meta["history"]),
        "n_iter_": meta["position"]["epoch"],
        "n_samples_seen_": meta["n_samples"],
        "n_features_in_": meta["n_features"],
        "data_max_": float(meta["high"]),
        "_clusters": None,
        "_yardsticks": Yardsticks.of_known(folder.read_yardsticks("noise") or None),
        "_from_bytes": bool(about.get("from_bytes", False)),
        "_student_only": False,
    }
    if about.get("feature_names"):
        learned["feature_names_in_"] = np.array(about["feature_names"], dtype=object)
    # Of a run that was stopped we have the last weights, and not those of the best look.
    if validation["finished"] and np.isfinite(validation["best"]):
        learned["reconstruction_err_"] = float(validation["best"])
    return _params(checkpoint, backend), learned


def _params(checkpoint: Checkpoint, backend: str) -> dict[str, Any]:
    config = checkpoint.config
    names = {"n_components": "rank", "max_iter": "epochs", "random_state": "seed"}
    params = {name: config[name] for name in SAME_HERE}
    params |= {name: config[option] for name, option in names.items()}
    objects = {name: getattr(config, name) for name in ("objective", "noise", "optimizer")}
    return params | objects | {"backend": backend}


def _ops(config: Config, backend: str) -> Ops:
    # Not "on": a machine that has no Numba can use the model, too.
    fast = "off" if config.execution.fast == "off" else "auto"
    return get_ops(backend, fast=fast, matmul_precision=config.execution.matmul_precision)


def _unexplained(model: Model, arrays: dict[str, Array]) -> Unexplained | None:
    mean = arrays.get("mean")
    return None if mean is None else Unexplained.with_mean(model, mean)


def _no_supervisor(n_features: int, config: Config) -> dict[str, Array]:
    """Return NaN for each parameter of the supervisor, so that nobody takes it for trained."""
    layers, _ = config.model.layers(n_features, base_bias=config.objective.base_bias)
    return {
        f"supervisor.{block}": np.broadcast_to(np.nan, shape)
        for layer in layers
        for block, shape in layer.shapes().items()
    }


def _plain(value: Any) -> Any:
    """Return a parameter as JSON has it; a generator of random numbers becomes None."""
    for name, kind in OBJECTS.items():
        if isinstance(value, kind):
            return {name: asdict(value)}  # type: ignore[call-overload]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (str, int, float, bool)) else None


def _object(value: Any) -> Any:
    """Return the parameter that `_plain` made this of; a list becomes a tuple."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        ((name, fields),) = value.items()
        make: Callable[..., Any] = OBJECTS[name]
        return make(**fields)
    return value
