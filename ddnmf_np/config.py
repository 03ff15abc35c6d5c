"""All options of a run, composed of the parts that each package declares."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, NamedTuple, get_args, get_type_hints

from ddnmf_np.backends.ops import Ops
from ddnmf_np.backends.select import Execution
from ddnmf_np.data.defaults import DECIDED, Facts, choose
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.options import Data
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective, PresetName
from ddnmf_np.errors import OptionError, UsageError, unknown
from ddnmf_np.evaluation.options import Clustering
from ddnmf_np.model import Architecture, Model
from ddnmf_np.system.files import Source, name_of, read_source
from ddnmf_np.system.options import (
    Kind,
    checked,
    kinds,
)
from ddnmf_np.training import Trainer, Training

MAX_CONFIG = 2**15
"""Largest size of a configuration file in bytes, because reading takes time quadratic in its size.
A run writes about 1500."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All options of a run. `configure` makes one from options by their short names.

    The ``preset`` of the objective also decides other parts, see `PRESETS`. ``undecided`` has the
    short names of the options that `decide` will choose.
    """

    data: Data = field(default_factory=Data)
    model: Architecture = field(default_factory=Architecture)
    objective: Objective = field(default_factory=Objective)
    noise: Noise = field(default_factory=Noise)
    optimizer: Descent = field(default_factory=Descent)
    training: Training = field(default_factory=Training)
    execution: Execution = field(default_factory=Execution)
    evaluation: Clustering = field(default_factory=Clustering)
    undecided: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Any:
        """Return the value of an option by its short name."""
        return getattr(getattr(self, OPTIONS[name].part), OPTIONS[name].field)

    def to_dict(self) -> dict[str, Any]:
        """Return every option by its short name, as plain JSON values."""
        values = {name: self[name] for name in OPTIONS}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def to_toml(self) -> str:
        """Return the options as TOML, a table for each part; ``None`` is left out."""
        tables = []
        for part in PARTS:
            lines = [f"[{part}]"]
            for f in fields(getattr(self, part)):
                value = getattr(getattr(self, part), f.name)
                if value is not None:
                    # JSON's strings, numbers, booleans and flat lists are valid TOML, except for
                    # pairs of escapes (so we write none) and for DEL (which TOML escapes).
                    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                    lines.append(f"{f.name} = {text}")
            tables.append("\n".join(lines) + "\n")
        return "\n".join(tables)

    def decide(self, facts: Facts) -> Config:
        """Return the configuration with its undecided options chosen for the data."""
        given = {
            name: self[name] for name in ("widths", "batch_size") if name not in self.undecided
        }
        shallow = self.objective.preset == "parts"
        chosen = choose(facts, self.model.rank, **given, shallow=shallow)
        if "noise_kind" not in self.undecided and self.noise.kind != chosen["noise_kind"]:
            chosen["noise_rate"] = self.noise.rate  # the rule knows one kind of noise only
        decided = configure(self, **{name: chosen[name] for name in self.undecided})
        return replace(decided, undecided=frozenset())

    def make_model(
        self,
        n_features: int,
        ops: Ops | None = None,
        rows: int | None = None,
        scaling: Scaling | None = None,
    ) -> Model:
        """Return an untrained model; ``rows`` and ``scaling`` are as for `Model`.

        By default the backend is NumPy, whatever ``execution`` says, and there is no scaling,
        whatever ``data.scale`` says.
        """
        return Model(
            n_features,
            self.model,
            self.objective,
            self.optimizer,
            seed=self.training.seed,
            dtype=self.training.dtype,
            batch_size=self.training.batch_size,
            missing=self.data.missing == "nan",
            scaling=scaling,
            threads=self.execution.threads,
            ops=ops,
            rows=rows,
        )

    def make_trainer(self, model: Model, x: Any, **options: Any) -> Trainer:
        """Return a trainer of a model that `make_model` has made; ``options`` are `Trainer`'s."""
        options = {"image_shape": None} | options
        options["image_shape"] = self.data.image_shape or options["image_shape"]
        return Trainer(model, x, self.noise, epochs=self.training.epochs, **options)


class Option(NamedTuple):
    """An option of `Config`."""

    name: str  # short name, that of the flag
    part: str  # part of `Config`, also its table in TOML
    field: str  # its name there
    default: Any  # None if a preset decides
    kind: Kind
    help: str  # one line
    resumable: bool  # whether a resumed run may change it


def _short_name(part: str, name: str) -> str:
    """Return the short name of an option, which is unique among all parts."""
    if part == "noise":
        return f"noise_{name}"
    return "objective" if name == "preset" else name


PARTS: dict[str, Any] = {k: v for k, v in get_type_hints(Config).items() if k != "undecided"}
"""The class of each part."""

_AUTO = {
    "activation": ("sigmoid",),
    "start": "data",
    "nmf_start": "pca",
    "nmf_spread": 1.0,
    "noise_rescale": False,
    "noise_redraw": True,
    "lr_schedule": "cosine",
    "validation_fraction": 0.1,
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "demo": {},
    "stable": {
        "noise_redraw": True,
        "lr_schedule": "cosine",
        "nmf_start": "pca",
        "nmf_spread": 0.3,
    },
    "auto": _AUTO,
    "parts": {
        **_AUTO,
        "nonnegative": "decoder",
        "nmf_start": "nmf",
        "activation": ("relu",),
        "base_activation": "relu",
        "output_activation": "relu",
    },
}
"""Options that a preset sets in addition to its `Objective`, by short names.

We chose "stable" by a rule without labels: how well runs with other seeds agree on their groups
(``derivations/experiments.md``, which also names the limits of that evidence). "auto" and "parts"
also decide the options in `DECIDED_BY` once they know the data (`Config.decide`).
"""
DECIDED_BY: dict[str, tuple[str, ...]] = {
    "auto": DECIDED,
    "parts": tuple(name for name in DECIDED if name not in PRESETS["parts"]),
}
"""Options that the data decide, by the preset that leaves them open."""
assert tuple(PRESETS) == get_args(PresetName)

_BY_PRESET = {name for values in PRESETS.values() for name in values} | set(DECIDED)

OPTIONS = {
    (name := _short_name(part, f.name)): Option(
        name,
        part,
        f.name,
        None if name in _BY_PRESET else f.default,
        kinds(kind)[f.name],
        f.metadata["help"],
        f.metadata["resumable"],
    )
    for part, kind in PARTS.items()
    for f in fields(kind)
}
"""Every option by its short name."""

assert MISSING not in {o.default for o in OPTIONS.values()}


def configure(base: Config | None = None, /, **options: Any) -> Config:
    """Return a configuration from options by their short names, those of the flags.

    Parameters
    ----------
    base : Config, optional
        Configuration to change; by default that of the preset. If the options name another
        preset, its values replace those that ``base`` has from its own preset.
    **options
        For example ``rank=4``, ``noise_rate=0.2`` or ``objective="demo"``; see `OPTIONS`.

    Raises
    ------
    UsageError
        If an option is unknown, of the wrong type or out of range. The error names the option,
        its value, and the expected values.

    Examples
    --------
    >>> from ddnmf_np.config import configure
    >>> configure(rank=4, noise_rate=0.2).noise
    Noise(kind='masking', rate=0.2, rescale=True, redraw=False, shift=0.0, rotation=0.0, zoom=0.0, \
shear=0.0)
    """
    check_names(options)
    if base is not None:
        kept = _chosen(base)
        before, open_ = base.objective.preset, DECIDED_BY.get(base.objective.preset, ())
        # Another preset drops the data's choices too.
        if not base.undecided and options.get("objective", before) != before:
            kept = {name: value for name, value in kept.items() if name not in open_}
        options = kept | options
    given = options.keys()
    preset = check_option("objective", options.get("objective", "paper"))
    options = PRESETS[preset] | {"objective": preset} | options
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, value in options.items():
        parts[OPTIONS[name].part][OPTIONS[name].field] = check_option(name, value)
    undecided = frozenset(DECIDED_BY.get(preset, ())) - given
    if base is not None and base.objective.preset == preset:
        undecided &= base.undecided
    config = {part: kind(**parts[part]) for part, kind in PARTS.items()}
    return Config(**config, undecided=undecided)


def _chosen(config: Config) -> dict[str, Any]:
    """Return the options that differ from those of their preset, and the preset."""
    values = config.to_dict()
    usual = configure(objective=config.objective.preset).to_dict()
    kept = {name: value for name, value in values.items() if value != usual[name]}
    return {"objective": config.objective.preset} | kept


def by_preset(config: Config) -> dict[str, Any]:
    """Return the options that the preset decides, with their values."""
    usual = configure(objective=config.objective.preset).to_dict()
    left = set(DECIDED) - set(DECIDED_BY.get(config.objective.preset, ()))
    decided = [o.name for o in OPTIONS.values() if o.default is None and not o.kind.optional]
    return {name: usual[name] for name in decided if name not in left}


def check_option(name: str, value: Any) -> Any:
    """Return the value of an option, converted to its type.

    Raises `OptionError` if the value is of the wrong type or out of range; the error has the
    option's short name.
    """
    found = OPTIONS[name]
    try:
        return checked(found.field, value, PARTS[found.part])
    except OptionError as error:
        raise error.renamed(name) from error


def check_names(options: Iterable[str], where: str = "") -> None:
    """Raise `UsageError` for the first option that does not exist, naming the nearest."""
    for key in options:
        if key not in OPTIONS:
            raise UsageError(where + unknown("option", key, list(OPTIONS)))


def read_config(source: Source) -> dict[str, Any]:
    """Return the options of a TOML file by their short names.

    An option belongs into the table of its part, or by its short name before all tables. Raises
    `UsageError` if the file cannot be read, is larger than `MAX_CONFIG`, has an unknown table or
    key (the nearest is suggested), or a value of the wrong kind.
    """
    path = name_of(source)
    try:
        table = tomllib.loads(read_source(source, MAX_CONFIG).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"config {path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise UsageError(f"config {path}: is nested too deeply; write plain values") from error
    except ValueError as error:  # too long, not UTF-8, not TOML, or a number of too many digits
        raise UsageError(f"config {path}: is not valid TOML: {error}") from error
    options: dict[str, Any] = {}
    for key, value in table.items():
        if not isinstance(value, dict):
            check_names([key], f"config {path}: ")
            options[key] = value
        elif key not in PARTS:
            raise UsageError(f"config {path}: {unknown('table', key, list(PARTS))}")
        else:
            options |= _options_of_table(key, value, f"config {path}: ")
    for name, value in options.items():
        try:
            check_option(name, value)
        except OptionError as error:
            raise UsageError(f"config {path}: {error}") from error
    return options


def _options_of_table(part: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = [f.name for f in fields(PARTS[part])]
    for key in table:
        if key not in names:
            raise UsageError(f"{where}[{part}]: {unknown('option', key, names)}")
    return {_short_name(part, key): value for key, value in table.items()}


def changed_on_resume(old: Config, new: Config) -> list[str]:
    """Return the changed options that a resumed run may not change."""
    # A learning-rate schedule depends on the length of the run.
    fixed = () if old.optimizer.lr_schedule == "constant" else ("epochs",)
    return [
        name
        for name, o in OPTIONS.items()
        if (name in fixed or not o.resumable) and old[name] != new[name]
    ]
