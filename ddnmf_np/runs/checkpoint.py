"""A run in one file: weights, optimizer and position, without pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ddnmf_np
from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.config import Config, changed_on_resume, configure
from ddnmf_np.data.given import Intake
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.errors import CheckpointError, DataError, UsageError, shown
from ddnmf_np.model import Model, check_state
from ddnmf_np.system.described import read_described, write_described
from ddnmf_np.system.files import Source, name_of
from ddnmf_np.training import Position, Trainer

FORMAT = 2
"""Number of the layout below, the only one that is read and written."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    ``meta`` has ``format``, ``version``, ``config``, ``n_features``, ``n_samples``,
    ``data_sha256``, ``high``, ``t``, ``position``, ``history``, ``validation`` and ``data``.
    ``arrays`` has ``<net>.<block>`` for each parameter block, ``<net>.<block>:<slot>`` for what the
    optimizer remembers of it, ``loss_sums``, and where it is known ``mean``.
    """

    path: Path  # where it was read
    meta: dict[str, Any]
    arrays: dict[str, Array]

    @property
    def config(self) -> Config:
        """The options of the run that wrote it."""
        return configure(**self.meta["config"])

    @property
    def about(self) -> dict[str, Any]:
        """The facts about the data besides their hash, as far as they were recorded.

        ``feature_names`` and ``class_names``, lists of str or None; ``from_bytes``, whether they
        were unsigned 8-bit values, which a run divides by 255; ``n_clusters``, the number of
        clusters that the run looks for.
        """
        found: dict[str, Any] = self.meta.get("data") or {}
        return found

    @property
    def scaling(self) -> Scaling | None:
        """The scaling of the data, None if they are not scaled."""
        if "scaling.low" not in self.arrays:
            return None
        low, span = self.arrays["scaling.low"], self.arrays["scaling.span"]
        return Scaling(low, span, self.arrays.get("scaling.fill"))

    @property
    def intake(self) -> Intake:
        """The intake of the trained model, which takes raw samples."""
        config, names = self.config, self.about.get("feature_names")
        return Intake(
            self.meta["n_features"],
            config.training.dtype,
            config.data.missing,
            self.about.get("from_bytes", False),
            names and tuple(names),
        )

    def restore_model(
        self, ops: Ops | None = None, *, optimizer: bool = False, checked: bool = True
    ) -> Model:
        """Return the trained model, by default on NumPy, ready to encode and decode.

        With ``optimizer`` it has what the optimizer remembers, too, so that training can go on.
        With ``checked`` it takes raw samples: it refuses what training would have refused, and
        divides unsigned 8-bit values by 255 if those of the run were so. Otherwise the caller must.
        Raises `CheckpointError` if the blocks do not belong to the architecture that the
        configuration describes.
        """
        # Before anything is allocated: a model takes the memory that its options ask for.
        config, n_features = self.config, self.meta["n_features"]
        self._say_where(check_state, n_features, config.model, config.objective, self.arrays)
        model = config.make_model(n_features, ops, scaling=self.scaling)
        self._load(model, self.meta["t"] if optimizer else None)
        model.intake = self.intake if checked else None
        return model

    def restore(self, trainer: Trainer, config: Config, data_sha256: str) -> None:
        """Put weights, optimizer and position into a trainer of the same run.

        The trainer was made with ``config`` and the data of the run. Raises `CheckpointError` if
        architecture, options or data are not those of the run, except for options that a resumed
        run may change.
        """
        changed = changed_on_resume(self.config, config)
        if changed:
            name = changed[0]
            old, new = self.config[name], config[name]
            why = ""
            if name == "epochs":
                schedule = config.optimizer.lr_schedule
                why = (
                    f" (the learning rate of lr_schedule {schedule!r} depends on the number of "
                    "epochs, so a run cannot be extended)"
                )
            raise CheckpointError(
                f"{self.path}: the run has {name} = {old!r}, not {new!r}{why}; leave the option "
                "out, or start a new run in another folder"
            )
        if self.meta["data_sha256"] != data_sha256:
            raise CheckpointError(
                f"{self.path}: the run was trained on other data (SHA-256 "
                f"{self.meta['data_sha256'][:12]}..., now {data_sha256[:12]}...); give those data"
            )
        sums, position = self.arrays.get("loss_sums"), Position(**self.meta["position"])
        if sums is None or sums.shape != trainer.model.loss.sums.shape:
            raise CheckpointError(f"{self.path}: its loss sums are not those of this objective")
        if position.batch >= len(trainer.batches):
            raise CheckpointError(f"{self.path}: its position is beyond the end of an epoch")
        self._load(trainer.model, self.meta["t"])
        trainer.model.loss.sums[...] = trainer.ops.to_device(sums, "float64")
        trainer.position = position
        trainer.history = list(self.meta["history"])
        if trainer.stopping is not None and self.meta.get("validation") is not None:
            self._say_where(trainer.stopping.load_state, self.arrays, self.meta["validation"])

    def _load(self, model: Model, steps: int | None) -> None:
        self._say_where(model.load_state, self.arrays, steps)

    def _say_where(self, do: Callable[..., None], *arguments: Any) -> None:
        try:
            do(*arguments)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error


def save_checkpoint(path: Path, config: Config, trainer: Trainer, data_sha256: str) -> None:
    """Write a checkpoint of a trainer between two steps, whole or not at all.

    ``data_sha256`` is the hash of the training data. Raises `OutputError` if the file cannot be
    written; the checkpoint that was there is untouched.
    """
    model = trainer.model
    steps = model.optimizer.t  # before the state: the first look makes the optimizer's slots
    arrays = {"loss_sums": trainer.ops.to_host(model.loss.sums), **model.state()}
    if model.scaling is not None:
        arrays |= {"scaling.low": model.scaling.low, "scaling.span": model.scaling.span}
        if model.scaling.fill is not None:
            arrays["scaling.fill"] = model.scaling.fill
    validation = None
    if trainer.stopping is not None:
        kept, validation = trainer.stopping.state()
        arrays |= kept
    if trainer.mean is not None:
        arrays["mean"] = trainer.mean
    meta = {
        "format": FORMAT,
        "version": ddnmf_np.__version__,
        "config": config.to_dict(),
        "n_features": model.n_features,
        "n_samples": trainer.x.shape[0],
        "data_sha256": data_sha256,
        "high": trainer.noise.high,
        "t": steps,
        "position": asdict(trainer.position),
        "history": trainer.history,
        "validation": validation,
        "data": trainer.about,
    }
    write_described(path, meta, arrays)


def load_checkpoint(path: Source) -> Checkpoint:
    """Read a checkpoint from a file or from its content.

    Raises `CheckpointError` if the file is missing, corrupt (each part carries a checksum) or of
    another format.
    """
    name = name_of(path)
    try:
        meta, arrays = read_described(path)
        found = meta["format"]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{name}: there is no checkpoint; train a model first (with --overwrite, if a run was "
            "begun there)"
        ) from error
    except (DataError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{name}: is corrupt or no checkpoint of ddnmf_np ({error}); restore it from a copy "
            "or train again"
        ) from error
    if "what" in meta:
        raise CheckpointError(
            f"{name}: is a saved estimator and no checkpoint of a run; open it with DDNMF.load"
        )
    if type(found) is not int or found != FORMAT:
        raise CheckpointError(
            f"{name}: has format {shown(found)} (written by ddnmf_np "
            f"{str(meta.get('version'))[:40]}); this "
            f"version, {ddnmf_np.__version__}, reads format {FORMAT}. Use that "
            "version"
        )
    try:
        _check_meta(meta)
    except (UsageError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{name}: its description cannot be used: {error}") from error
    return Checkpoint(Path(name), meta, arrays)


def _check_meta(meta: dict[str, Any]) -> None:
    """Raise unless every entry is there and of its kind."""
    configure(**meta["config"])
    kinds = {"n_features": int, "n_samples": int, "t": int, "data_sha256": str, "history": list}
    for name, kind in kinds.items():
        if type(meta[name]) is not kind:
            raise ValueError(f"{name} is {shown(meta[name])}")
    position = Position(**meta["position"])
    if type(position.seconds) not in (int, float):
        raise ValueError(f"position is {shown(meta['position'])}")
    counts = (position.epoch, position.batch, meta["t"], meta["n_features"] - 1)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"position is {shown(meta['position'])} after {shown(meta['t'])} steps")
    if len(meta["history"]) != position.epoch:
        raise ValueError(f"history has {len(meta['history'])} of {position.epoch} epochs")
    _check_validation(meta.get("validation"))
    _check_about(meta.get("data"), meta["n_features"])
    if not all(isinstance(record, dict) for record in meta["history"]):
        raise ValueError("an epoch of its history is no record")


def _check_about(found: Any, n_features: int) -> None:
    """Raise unless this is what `Checkpoint.about` says, or None."""
    names = (found or {}).get("feature_names")
    if type((found or {}).get("n_clusters", 1)) is not int:
        raise ValueError(f"data has n_clusters {shown(found['n_clusters'])}")
    if names is None:
        return
    if not isinstance(names, list) or len(names) != n_features:
        raise ValueError(f"data has feature_names {shown(names)}")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("data has feature_names that are no text")


def _check_validation(found: Any) -> None:
    """Raise unless this is the numbers of `Stopping.state`, or None."""
    if found is None:
        return
    kinds = {"best": (int, float), "fraction": (int, float), "waited": (int,)}
    for name, accepted in {**kinds, "stopped": (bool,), "finished": (bool,)}.items():
        if type(found[name]) not in accepted:
            raise ValueError(f"validation has {name} = {shown(found[name])}")
