"""Measure this engine against other frameworks: ``python -m ddnmf_np.bench --help``.

``python -m ddnmf_np.bench scaling`` measures how time and memory grow instead.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ddnmf_np.backends.select import load_cupy, why_not_cupy
from ddnmf_np.backends.threads import usable_processors
from ddnmf_np.bench.contestants import CONTESTANTS, available
from ddnmf_np.bench.problem import CASES
from ddnmf_np.engine.losses import PRESETS
from ddnmf_np.errors import UsageError
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.system.files import make_folder

DESCRIPTION = """\
Compare the speed of this engine with PyTorch, JAX and Keras.

python -m ddnmf_np.bench scaling measures how time and memory grow instead."""

EPILOG = """\
We compare each contestant's losses, before the first step and after a few, with those of plain
NumPy. If they differ, or if the contestant fails, the table shows the reason instead of times. The
others are measured all the same, and the exit code is 1. A contestant that is not installed is
shown as such and is no failure; the extra 'bench' installs the peers. We write the files after each
measurement, so an interrupted run leaves the rows that it has.
Exit codes: 0 done, 1 a contestant failed or computes something else, 2 usage, 3 no CUDA device,
4 data or files, 130 interrupted."""

SCALING = """\
Measure how time and memory of training grow, against section 3.3 of the paper.

The paper expects time O(t n depth D^2) and memory O(depth D^2) for n samples, depth layers of at
most D units, and t epochs. We vary each of the four sizes, one at a time."""

SCALING_EPILOG = "Exit codes: 0 done, 2 usage, 3 backend missing, 4 files, 130 interrupted."


def make_parser() -> Parser:
    """Return the parser of the comparison."""
    parser = Parser("ddnmf_np.bench", DESCRIPTION, EPILOG)
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=Path("runs/bench"),
        metavar="FOLDER",
        help="where bench.json, bench.md and bench.png go (default: %(default)s)",
    )
    add(
        "--cases",
        nargs="+",
        choices=tuple(CASES),
        default=list(CASES),
        help="networks and batch sizes (default: all)",
    )
    add(
        "--contestants",
        nargs="+",
        choices=tuple(CONTESTANTS),
        help="default: all that the device can have",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: cuda where CuPy works (default: %(default)s)",
    )
    add(
        "--threads",
        type=_count(1),
        default=min(2, usable_processors()),
        metavar="N",
        help="threads of each contestant; on cuda, compilers use all processors "
        "(default: %(default)s)",
    )
    add("--objective", choices=tuple(PRESETS), default="paper", help="default: %(default)s")
    add(
        "--matmul-precision",
        choices=("highest", "high"),
        default="highest",
        help="high: TF32 where the device has it (default: %(default)s)",
    )
    add(
        "--rounds",
        type=_count(1),
        default=3,
        metavar="N",
        help="visits to each contestant (default: %(default)s)",
    )
    add(
        "--seconds",
        type=_seconds,
        default=3.0,
        metavar="X",
        help="how long steps are timed in each visit (default: %(default)s)",
    )
    add(
        "--least-steps",
        type=_count(1),
        default=20,
        metavar="N",
        help="the fewest steps timed in each visit (default: %(default)s)",
    )
    add(
        "--epochs",
        type=_count(0),
        default=2,
        metavar="N",
        help="whole epochs of real data with each contestant (default: %(default)s)",
    )
    add(
        "--late-epochs",
        type=_count(0),
        default=0,
        metavar="N",
        help="epochs of this engine alone, each timed; 3 or more (default: none)",
    )
    add(
        "--dataset",
        choices=("mnist", "fashion-mnist", "digits"),
        default="mnist",
        help="data of the epochs (default: %(default)s)",
    )
    add("--data-dir", metavar="FOLDER", help="where to look for the data first")
    return parser  # fmt: skip


def make_scaling_parser() -> Parser:
    """Return the parser of the subcommand."""
    parser = Parser("ddnmf_np.bench scaling", SCALING, SCALING_EPILOG)
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=Path("runs/scaling"),
        metavar="FOLDER",
        help="where scaling.json, scaling.md and scaling.png go (default: %(default)s)",
    )
    add("--backend", choices=("numpy", "cupy"), default="numpy", help="default: %(default)s")
    add("--fast", choices=("auto", "on", "off"), default="auto", help="Numba's loops on the CPU")
    add(
        "--threads",
        type=_count(1),
        default=min(2, usable_processors()),
        metavar="N",
        help="default: %(default)s",
    )
    add(
        "--rounds",
        type=_count(1),
        default=5,
        metavar="N",
        help="visits to each point; the fastest counts (default: %(default)s)",
    )
    add(
        "--seconds",
        type=_seconds,
        default=0.5,
        metavar="X",
        help="least time measured in each visit (default: %(default)s)",
    )
    add(
        "--sizes",
        choices=("full", "tiny"),
        default="full",
        help="tiny is for a quick look at whether it works (default: %(default)s)",
    )
    return parser  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["scaling"]:
        return run_command(
            lambda: run_scaling(make_scaling_parser().parse(argv[1:])),
            interrupted="interrupted; there are no new results",
        )
    return run_command(
        lambda: run_comparison(make_parser().parse(argv)),
        interrupted="interrupted; finished rows are kept",
    )


def run_comparison(flags: argparse.Namespace) -> int:
    """Compare, write and print; raise `BenchmarkError` at the end if a contestant failed."""
    # Late: matplotlib and scikit-learn take seconds, for which no usage error should wait.
    from ddnmf_np.bench import measure, tables
    from ddnmf_np.bench.digest import Results, digest
    from ddnmf_np.bench.reference import BenchmarkError

    def save(results: Results) -> str:
        """Write the results so far and return the tables."""
        return tables.write(digest(results), folder)

    options: dict[str, Any] = vars(flags)
    folder, device = options.pop("output"), options.pop("device")
    if device == "cuda":
        load_cupy()  # or its error, with the remedy
    if device == "auto":
        device = "cpu" if why_not_cupy() else "cuda"
    names = options.pop("contestants") or available(device)
    if odd := [name for name in names if device not in CONTESTANTS[name].devices]:
        raise UsageError(f"contestants {', '.join(odd)} do not run on {device}; leave them out")
    cases = tuple(CASES[name] for name in dict.fromkeys(options.pop("cases")))
    names = tuple(dict.fromkeys(names))
    make_folder(folder)
    plan = measure.Plan(cases=cases, contestants=names, device=device, **options)
    results = measure.compare(plan, say=say, save=save)
    print(save(results))
    say(f"written: {', '.join(str(folder / f'bench.{kind}') for kind in ('json', 'md', 'png'))}")
    if failed := measure.failures(results):
        raise BenchmarkError(
            f"no result from {', '.join(failed)}; {folder / 'bench.md'} has the reasons"
        )
    return 0


def run_scaling(flags: argparse.Namespace) -> int:
    """Measure growth, write and print."""
    from ddnmf_np.bench import scaling  # late, as above

    make_folder(flags.output)
    options = scaling.Options(
        flags.backend, flags.fast, flags.threads, flags.rounds, flags.seconds, flags.sizes
    )
    print(scaling.write(scaling.measure(options, say=say), flags.output))
    kinds = ("json", "md", "png")
    say(f"written: {', '.join(str(flags.output / f'scaling.{kind}') for kind in kinds)}")
    return 0


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def _count(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"is {value}; expected a whole number >= {least}")
        return value

    return whole_number


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"is {text}; expected seconds, at least 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
