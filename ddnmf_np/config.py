"""Every option of a run, once: name, default, help, check; the flags and TOML keys follow."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.backends.select import BACKENDS, FAST, MATMUL_PRECISION
from ddnmf_np.data.affine import LIMITS, check_range
from ddnmf_np.data.noise import NOISE_KINDS
from ddnmf_np.engine.losses import PRESETS, Objective
from ddnmf_np.errors import UsageError, shown, unknown
from ddnmf_np.system.files import Source, name_of, read_source

SCHEDULES = ("constant", "cosine")
NMF_STARTS = ("glorot", "pca")


@dataclass(frozen=True)
class Recipe:
    """How the networks are trained, where paper and demo agree and a better recipe may not.

    Parameters
    ----------
    noise_redraw : bool
        Draw the noise anew each epoch, rather than once as in algorithm 1.
    noise_shift, noise_rotation, noise_zoom, noise_shear : float
        Ranges of `ddnmf_np.data.affine.Affine`; where all are 0, samples need not be images.
    lr_schedule : {"constant", "cosine"}
        The learning rate over the run, see `rate`.
    nmf_start : {"glorot", "pca"}
        First weights of the NMF module: drawn, as those of all other layers, or taken from the
        data (`ddnmf_np.engine.nmf`).
    nmf_spread : float
        With "pca": standard deviation of the base's first pre-activations, above 0. Well below 1
        the sigmoid starts as good as linear, above 2 it starts bent.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    noise_redraw: bool = False
    noise_shift: float = 0.0
    noise_rotation: float = 0.0
    noise_zoom: float = 0.0
    noise_shear: float = 0.0
    lr_schedule: str = "constant"
    nmf_start: str = "glorot"
    nmf_spread: float = 1.0

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            check_range(f"noise_{name}", getattr(self, f"noise_{name}"), limit)
        for name, choices in (("lr_schedule", SCHEDULES), ("nmf_start", NMF_STARTS)):
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if not 0.0 < self.nmf_spread < math.inf:
            raise UsageError(f"nmf_spread is {self.nmf_spread}; expected a finite number > 0")

    @property
    def motion(self) -> dict[str, float]:
        """The ranges of the geometric noise by the names that `Affine` gives them; {} for none."""
        ranges = {name: getattr(self, f"noise_{name}") for name in LIMITS}
        return ranges if any(ranges.values()) else {}


RECIPES = {
    "paper": Recipe(),
    "demo": Recipe(),
    "stable": Recipe(noise_redraw=True, lr_schedule="cosine", nmf_start="pca", nmf_spread=0.3),
}
"""By the name of the preset.

"stable" was chosen by a rule that uses no label: how well two runs of other seeds agree on the
groups that they find (``derivations/experiments.md``, with what the records do not prove).
"""


def rate(schedule: str, progress: float) -> float:
    """Return the learning rate as a share of the initial one.

    Parameters
    ----------
    schedule : {"constant", "cosine"}
        Cosine: ``(1 + cos(pi progress)) / 2`` (Loshchilov and Hutter, 2017, without restarts),
        which stays near 1 for long and ends at 0, so that the last steps average out the noise of
        the gradients.
    progress : float
        Share of all steps that are done, in [0, 1].
    """
    return 1.0 if schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


MISSING_ENTRIES = ("error", "nan")
OPTIMIZERS = ("adam", "momentum", "gd")
NONNEGATIVE = ("off", "recovery", "both")
DTYPES = ("float32", "float64")
CLUSTERERS = (
    *("kmeans", "gmm-spherical", "gmm-diag", "gmm-tied", "gmm-full"),
    *("gmm-full-tsne", "gmm-full-umap"),
)
EMBEDDINGS = ("tsne", "pca")

MAX_WIDTH = 2**24
"""Widest layer: beyond it a weight matrix would not fit any memory, nor its size an index."""

MAX_CONFIG = 2**15
"""Bytes of a configuration file; a run writes some 1500. Reading one takes time with its square."""

T = TypeVar("T")


def option(
    default: T,
    section: str,
    text: str,
    *,
    kind: type = str,
    many: bool = False,
    choices: tuple[str, ...] | None = None,
    resumable: bool = False,
) -> T:
    """Declare an option; ``resumable`` ones may change when a run is resumed."""
    metadata = {
        "section": section,
        "help": text,
        "kind": kind,
        "many": many,
        "choices": choices,
        "resumable": resumable,
    }
    declared: T = field(default=default, metadata=metadata)
    return declared


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of a run; see each one's ``help`` (also in ``python -m ddnmf_np.train --help``).

    ``None`` means that the preset named by ``objective`` decides, or that there is nothing to
    decide; `resolved` puts the preset's values in.

    Raises
    ------
    UsageError
        If a value is of the wrong kind or out of range; the text names it and what is expected.
    """

    dataset: str = option(
        "digits",
        "data",
        "digits (embedded), mnist, fashion-mnist, or the path of a .npy, a .npz or a folder of "
        "IDX files; or of what --stream names",
        resumable=True,  # its hash is what must not change
    )
    data_dir: str | None = option(
        None, "data", "folder in which to look first for mnist and fashion-mnist", resumable=True
    )
    labels: str | None = option(
        None,
        "data",
        ".npy with a label for each row of a .npy data set; for scoring only",
        resumable=True,
    )
    image_shape: tuple[int, ...] | None = option(
        None,
        "data",
        "height and width of the images that samples are; by default what the data set says",
        kind=int,
        many=True,
    )

    missing: str = option(
        "error",
        "data",
        "NaN in the data: error (refused), or nan (a missing entry, which no loss compares with)",
        choices=MISSING_ENTRIES,
    )
    stream: bool = option(
        False,
        "data",
        "read a .npy file as it is trained on, and do not hold it in memory; HDF5 (FILE.h5::NAME), "
        "Zarr and folders of .npy files are always read so",
        kind=bool,
    )
    stream_window: int = option(
        128,
        "data",
        "MiB of samples that are mixed with each other while streaming; twice that is in memory",
        kind=int,
    )

    widths: tuple[int, ...] = option(
        (500, 500, 2000),
        "model",
        "widths of the encoder's layers; the decoder mirrors them",
        kind=int,
        many=True,
    )
    rank: int = option(10, "model", "number of base units H (r in the paper)", kind=int)
    activation: tuple[str, ...] = option(
        ("relu",),
        "model",
        "activation of the encoder's layers, mirrored in the decoder: one for all or one for each",
        many=True,
        choices=ACTIVATIONS,
    )
    output_activation: str = option(
        "relu", "model", "activation of the output layers", choices=ACTIVATIONS
    )
    base_activation: str = option(
        "sigmoid", "model", "activation of the base H (equation 3)", choices=ACTIVATIONS
    )
    recovery_activation: str = option(
        "relu", "model", "activation of the recovered code (equation 3)", choices=ACTIVATIONS
    )
    nmf_start: str | None = option(
        None,
        "model",
        "first weights of the NMF module: glorot (drawn), or pca (from the data)",
        choices=NMF_STARTS,
    )
    nmf_spread: float | None = option(
        None,
        "model",
        "with nmf-start pca: standard deviation of the base's first pre-activations",
        kind=float,
    )
    nonnegative: str = option(
        "off",
        "model",
        "project NMF weights to >= 0 after each step: off, recovery (W, so that code ~ W H is a "
        "true NMF) or both (W' too, which keeps H >= 1/2 where the base has no bias)",
        choices=NONNEGATIVE,
    )

    objective: str = option("paper", "objective", "preset of this section", choices=tuple(PRESETS))
    alpha_sym: float | None = option(
        None, "objective", "weight of the symmetric loss (equation 4)", kind=float
    )
    beta_ap: float | None = option(
        None, "objective", "weight of the apposition loss (equation 5)", kind=float
    )
    gamma_nc: float | None = option(
        None, "objective", "weight of the non-negative constraint loss (equation 6)", kind=float
    )
    reduction: str | None = option(
        None,
        "objective",
        "losses as sum (paper) or mean (demo) over features",
        choices=("sum", "mean"),
    )
    student_reconstruction: float | None = option(
        None,
        "objective",
        "weight of the student's distance from the clean input (paper 0, demo 1)",
        kind=float,
    )
    apposition_to_supervisor: bool | None = option(
        None,
        "objective",
        "whether the apposition loss moves the supervisor too (paper no, demo yes)",
        kind=bool,
    )
    base_bias: bool | None = option(
        None, "objective", "whether the base layer has a bias (paper no, demo yes)", kind=bool
    )

    noise_kind: str = option(
        "masking", "noise", "noise of the student's input", choices=NOISE_KINDS
    )
    noise_rate: float = option(
        0.1,
        "noise",
        "share of entries changed; for gaussian the standard deviation in units of the data's "
        "largest value; in [0, 1)",
        kind=float,
    )
    noise_rescale: bool = option(
        True, "noise", "divide the entries that masking keeps by 1 - rate", kind=bool
    )
    noise_redraw: bool | None = option(
        None,
        "noise",
        "draw the noise anew each epoch (stable), or once, as algorithm 1 (paper and demo)",
        kind=bool,
    )
    noise_shift: float | None = option(
        None,
        "noise",
        "images only: largest shift along each axis, in pixels, of what the student sees",
        kind=float,
    )
    noise_rotation: float | None = option(
        None, "noise", "images only: largest rotation, in degrees", kind=float
    )
    noise_zoom: float | None = option(
        None, "noise", "images only: largest change of size, as a share of it", kind=float
    )
    noise_shear: float | None = option(
        None, "noise", "images only: largest shear, in columns for each row", kind=float
    )

    optimizer: str = option(
        "adam",
        "optimizer",
        "adam, momentum, or gd (plain gradient descent, equation 8)",
        choices=OPTIMIZERS,
    )
    lr: float = option(1e-3, "optimizer", "learning rate (rho in equation 8)", kind=float)
    lr_schedule: str | None = option(
        None,
        "optimizer",
        "the learning rate over the epochs: constant, or cosine (from lr down to 0)",
        choices=SCHEDULES,
    )
    momentum: float = option(0.9, "optimizer", "share of the velocity kept", kind=float)
    adam_b1: float = option(0.9, "optimizer", "decay of Adam's first moment", kind=float)
    adam_b2: float = option(0.999, "optimizer", "decay of Adam's second moment", kind=float)
    adam_eps: float = option(1e-7, "optimizer", "Adam's epsilon", kind=float)

    epochs: int = option(30, "training", "passes over the training set", kind=int, resumable=True)
    batch_size: int = option(128, "training", "samples a step", kind=int)
    seed: int = option(0, "training", "of weights, order of samples, and noise", kind=int)
    dtype: str = option("float32", "training", "precision", choices=DTYPES)
    checkpoint_every: float = option(
        30.0,
        "training",
        "save a checkpoint at most once in this many seconds, also in the middle of an epoch; 0: "
        "after every epoch",
        kind=float,
        resumable=True,
    )

    backend: str = option(
        "numpy",
        "execution",
        "numpy, cupy (CUDA), or auto: cupy where it works",
        choices=BACKENDS,
        resumable=True,
    )
    fast: str = option(
        "auto",
        "execution",
        "Numba's loops on the CPU: auto (where installed), on, off",
        choices=FAST,
        resumable=True,
    )
    threads: int | None = option(
        None,
        "execution",
        "threads on the CPU, shared out between the two networks; by default one for each "
        "processor, or what OMP_NUM_THREADS says",
        kind=int,
        resumable=True,
    )
    matmul_precision: str = option(
        "highest",
        "execution",
        "matrix products of float32 on a GPU: highest, or high (TF32 where the card has it)",
        choices=MATMUL_PRECISION,
        resumable=True,
    )

    clusters: int | None = option(
        None,
        "evaluation",
        "clusters to look for in H; by default as many as the labels have classes, else the rank",
        kind=int,
        resumable=True,
    )
    clusterers: tuple[str, ...] = option(
        ("kmeans", "gmm-spherical"),
        "evaluation",
        "how H is clustered; gmm-full-umap needs umap-learn",
        many=True,
        choices=CLUSTERERS,
        resumable=True,
    )
    starts: int = option(
        10,
        "evaluation",
        "starts of each clusterer; the best likelihood (inertia) is kept",
        kind=int,
        resumable=True,
    )
    embedding: str = option(
        "tsne", "evaluation", "two-dimensional map of H", choices=EMBEDDINGS, resumable=True
    )
    embedding_samples: int = option(
        2000, "evaluation", "largest number of samples on that map", kind=int, resumable=True
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f.name, getattr(self, f.name), f.metadata))
        at_least = {
            "rank": 1,
            "epochs": 0,
            "stream_window": 1,
            "batch_size": 1,
            "seed": 0,
            "threads": 1,
            "clusters": 1,
            "starts": 1,
            "embedding_samples": 2,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}; expected a whole number >= {least}")
        if not self.widths or min(self.widths) < 1 or max(self.widths) > MAX_WIDTH:
            raise UsageError(
                f"widths is {self.widths}; expected whole numbers >= 1, at least one, and none "
                f"above {MAX_WIDTH}"
            )
        if self.rank > MAX_WIDTH:
            raise UsageError(f"rank is {self.rank}; expected at most {MAX_WIDTH}")
        if len(self.activation) not in (1, len(self.widths)):
            raise UsageError(
                f"activation names {len(self.activation)} functions for {len(self.widths)} "
                "encoder layers; give one for all or one for each"
            )
        for name in ("noise_rate", "momentum", "adam_b1", "adam_b2"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise UsageError(f"{name} is {value}; expected a number in [0, 1)")
        for name in ("lr", "adam_eps"):
            value = getattr(self, name)
            if not (0.0 < value < math.inf):
                raise UsageError(f"{name} is {value}; expected a finite number > 0")
        if not (0.0 <= self.checkpoint_every < math.inf):
            raise UsageError(
                f"checkpoint_every is {self.checkpoint_every}; expected a finite number of seconds "
                ">= 0"
            )
        # scikit-learn takes no larger seeds, and OpenMP ends the process for want of memory.
        for name, most in (("seed", 2**32 - 1), ("threads", 1024)):
            value = getattr(self, name)
            if value is not None and value > most:
                raise UsageError(f"{name} is {value}; expected a whole number <= {most}")
        if self.image_shape is not None and (
            len(self.image_shape) != 2
            or not all(0 < side <= MAX_WIDTH for side in self.image_shape)
        ):
            raise UsageError(f"image_shape is {self.image_shape}; expected height and width")
        self.make_objective()
        self.make_recipe()

    def make_objective(self) -> Objective:
        """Return the preset's objective with the options given by hand put in."""
        return replace(PRESETS[self.objective], **self._given(Objective))

    def make_recipe(self) -> Recipe:
        """Return the preset's recipe with the options given by hand put in."""
        return replace(RECIPES[self.objective], **self._given(Recipe))

    def _given(self, part: type[Objective | Recipe]) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(part)}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self) -> Config:
        """Return the same options with the preset's values written out."""
        return replace(self, **preset(self.make_objective(), self.make_recipe()))

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def to_toml(self) -> str:
        """Return the options as TOML, one table a section; ``None`` is left out."""
        lines: list[str] = []
        section = None
        for f in fields(self):
            if f.metadata["section"] != section:
                section = f.metadata["section"]
                lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
            value = self.to_dict()[f.name]
            if value is not None:
                # JSON's strings, numbers, booleans and flat lists are TOML's too, but for its
                # escapes in pairs; and TOML wants one for DEL.
                text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                lines.append(f"{f.name} = {text}")
        return "\n".join(lines) + "\n"


def preset(objective: Objective, recipe: Recipe) -> dict[str, Any]:
    """Return the options that a preset decides, by name."""
    return asdict(objective) | asdict(recipe)


def read_config(source: Source) -> dict[str, Any]:
    """Return the options of a TOML file, with or without section headers.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its content.

    Raises
    ------
    UsageError
        If the file cannot be read, is larger than `MAX_CONFIG`, has an unknown section or key (the
        nearest is suggested), or a value that is none of its option's kind.
    """
    path = name_of(source)
    try:
        table = tomllib.loads(read_source(source, MAX_CONFIG).decode("utf-8"))
    except OSError as error:
        raise UsageError(f"config {path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise UsageError(f"config {path}: is nested too deeply; write plain values") from error
    except ValueError as error:  # too long, not UTF-8, not TOML, or a number of too many digits
        raise UsageError(f"config {path}: is not valid TOML: {error}") from error
    sections = dict.fromkeys(f.metadata["section"] for f in fields(Config))
    options: dict[str, Any] = {}
    for key, value in table.items():
        if not isinstance(value, dict):
            options[key] = value
        elif key in sections:
            options |= value
        else:
            raise UsageError(f"config {path}: {unknown('section', key, list(sections))}")
    check_names(options, f"config {path}: ")
    for name, value in options.items():
        try:
            _checked(name, value, Config.__dataclass_fields__[name].metadata)
        except UsageError as error:
            raise UsageError(f"config {path}: {error}") from error
    return options


def check_names(options: Mapping[str, Any], where: str = "") -> None:
    """Raise `UsageError` for the first option that does not exist, naming the nearest."""
    names = [f.name for f in fields(Config)]
    for key in options:
        if key not in names:
            raise UsageError(where + unknown("option", key, names))


def changed_on_resume(old: Config, new: Config) -> list[str]:
    """Return the options that differ between two runs and that a resumed run may not change."""
    old, new = old.resolved(), new.resolved()
    # A schedule is drawn over the whole run, so that its length is part of it.
    fixed = () if old.lr_schedule == "constant" else ("epochs",)
    return [
        f.name
        for f in fields(Config)
        if (f.name in fixed or not f.metadata["resumable"])
        and getattr(old, f.name) != getattr(new, f.name)
    ]


def _checked(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    """Return an option's value in its own type, or say what it should have been."""
    if value is None:
        default = Config.__dataclass_fields__[name].default
        if default is not None and default is not MISSING:
            raise UsageError(f"{name} is None; leave it out to have the default {default!r}")
        return None
    if metadata["many"]:
        values = value.tolist() if isinstance(value, np.ndarray) else value
        values = values if isinstance(values, (list, tuple)) else [values]
        if not values and name != "widths":  # which has its own words for it
            raise UsageError(f"{name} is empty; give at least one")
        return tuple(_checked_one(name, item, metadata) for item in values)
    return _checked_one(name, value, metadata)


def _checked_one(name: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    kind, choices = metadata["kind"], metadata["choices"]
    is_bool = isinstance(value, (bool, np.bool_))
    if kind is bool and is_bool:
        return bool(value)
    if kind is int and isinstance(value, Integral) and not is_bool and _is_short(value):
        return int(value)
    if kind is float and isinstance(value, Real) and not is_bool:
        with suppress(OverflowError):  # a whole number that no float can hold
            return float(value)
    if kind is str and isinstance(value, (str, Path)):
        value = str(value)
        if choices is not None and value not in choices:
            raise UsageError(f"{name}: {unknown('choice', value, list(choices))}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise UsageError(
                f"{name} is {shown(value)}, which is no text in UTF-8; rename the file or folder"
            )
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise UsageError(f"{name} is {shown(value)}; expected {words[kind]}")


def _is_short(value: Integral) -> bool:
    """Return whether Python prints a number: TOML has hexadecimal ones of any length."""
    return int(value).bit_length() <= 1024
