"""Options of the benchmark commands, each of which is also a command-line flag."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ddnmf_np.backends.threads import usable_processors
from ddnmf_np.bench.contestants import CONTESTANTS
from ddnmf_np.bench.problem import CASES, Case
from ddnmf_np.bench.sets import SETS
from ddnmf_np.engine.losses import PRESETS
from ddnmf_np.system.command import Parser

Say = Callable[[str], None]
"""Takes lines that report progress."""


def option(default: Any, text: str, *, least: float = 1, **flag: Any) -> Any:
    """Return a dataclass field that `make_parser` turns into a flag.

    ``flag`` has more arguments of argparse. A number makes the option one, of at least ``least``; a
    tuple makes it take several values. The help shows the default, unless it is None or the text
    mentions a default.
    """
    several = isinstance(default, tuple)
    kind = type(default[0]) if several and default else type(default)
    if kind in (int, float):
        flag = {"type": number(kind, least), "metavar": "N" if kind is int else "X"} | flag
    if several:
        flag["nargs"] = "+"
    if default is not None and "default" not in text:
        shown = " ".join(map(str, default)) if several else default
        text += f" (default: {shown})"
    return field(default=default, metadata={"help": text, **flag})


def number(
    kind: type[int] | type[float], least: float, below: float = math.inf
) -> Callable[[str], float]:
    """Return a function that reads a number from a text: at least ``least``, and ``below``."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value < below:
            end = "" if below == math.inf else f" and below {below}"
            raise argparse.ArgumentTypeError(
                f"is {text}; expected a number of at least {least}{end}"
            )
        return value

    read.__name__ = "whole number" if kind is int else "number"  # argparse says: invalid number
    return read


def make_parser(
    options: type[Any], output: str, module: str, description: str, epilog: str = ""
) -> Parser:
    """Return a parser with ``--output`` and one flag for each `option` of a dataclass."""
    parser = Parser(module, description, epilog)
    text = "folder of the results (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path(output), metavar="FOLDER", help=text)
    for entry in fields(options):
        if entry.metadata:
            flag = f"--{entry.name.replace('_', '-')}"
            # Without the flag, the dataclass has the default.
            parser.add_argument(flag, default=argparse.SUPPRESS, **entry.metadata)
    return parser


def parse(parser: Parser, argv: Sequence[str] | None) -> tuple[dict[str, Any], Path]:
    """Return the options that a command line gives, and the output folder."""
    given = vars(parser.parse(argv))
    output = given.pop("output")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}, output


def recorded(options: Any) -> dict[str, Any]:
    """Return options as results keep them: without the data folder, a place on this machine."""
    return {name: value for name, value in asdict(options).items() if name != "data_dir"}


THREADS = min(2, usable_processors())


@dataclass(frozen=True)
class Plan:
    """Options of the comparison."""

    cases: tuple[Case, ...] = option(
        tuple(CASES.values()), "networks and batch sizes (default: all)", choices=tuple(CASES)
    )
    contestants: tuple[str, ...] = option(
        (), "default: all that the device can have", choices=tuple(CONTESTANTS)
    )
    device: str = option(
        "auto", "auto: cuda where CuPy works (default: auto)", choices=("auto", "cpu", "cuda")
    )
    threads: int = option(
        THREADS, "threads of each contestant; on cuda, compilers use all processors"
    )
    objective: str = option("paper", "losses", choices=tuple(PRESETS))
    matmul_precision: str = option(
        "highest", "high: TF32 where the device has it", choices=("highest", "high")
    )
    rounds: int = option(3, "visits to each contestant")
    seconds: float = option(3.0, "how long steps are timed in each visit", least=0)
    warm_up: int = 10
    least_steps: int = option(20, "the fewest steps timed in each visit")
    epochs: int = option(2, "whole epochs of real data with each contestant", least=0)
    late_epochs: int = option(
        0, "epochs of this engine only, each timed; 3 or more (default: none)", least=0
    )
    dataset: str = option(
        "mnist", "data of the epochs", choices=("mnist", "fashion-mnist", "digits")
    )
    data_dir: str | None = option(None, "where to look for the data first", metavar="FOLDER")


@dataclass(frozen=True)
class ScalingOptions:
    """Options of ``ddnmf_np.bench scaling``."""

    backend: str = option("numpy", "backend", choices=("numpy", "cupy"))
    fast: str = option("auto", "Numba's loops on the CPU", choices=("auto", "on", "off"))
    threads: int = option(THREADS, "threads of BLAS and of the engine")
    # The fastest round counts, because whatever else runs can only slow a round down.
    rounds: int = option(5, "visits to each point; the fastest counts")
    seconds: float = option(0.5, "least time measured in each visit", least=0)
    sizes: str = option("full", "tiny: a quick check that it works", choices=("full", "tiny"))


@dataclass(frozen=True)
class DataOptions:
    """Options of ``ddnmf_np.bench data``."""

    sets: tuple[str, ...] = option(tuple(SETS), "data sets (default: all)", choices=tuple(SETS))
    seeds: tuple[int, ...] = option((0, 1), "of the split and of each method", least=0)
    ranks: tuple[int, ...] = option(
        (), "default: those of each set", type=number(int, 1), metavar="N"
    )
    hide: tuple[float, ...] = option(
        (),
        "shares of the entries to hide and fill in (default: none, and we measure the "
        "reconstruction)",
        type=number(float, 0.0, below=1.0),
        metavar="X",
    )
    epochs: int | None = option(
        None, "passes of DDNMF over the rows, for a quick check", type=number(int, 1), metavar="N"
    )
    study: str | None = option(
        None,
        "measure variants of DDNMF instead: open (values that the paper leaves open), or rules "
        "(auto with one rule off at a time); into runs/study-NAME by default",
        choices=("open", "rules"),
    )
    threads: int = option(1, "threads of every method")
    data_dir: str | None = option(None, "where to look for MNIST first", metavar="FOLDER")
