"""Comparison with other frameworks, and growth of time and memory: ``python -m ddnmf_np.bench``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddnmf_np.backends.select import load_cupy, why_not_cupy
from ddnmf_np.bench.contestants import CONTESTANTS, available
from ddnmf_np.bench.options import DataOptions, Plan, ScalingOptions, make_parser, parse
from ddnmf_np.bench.problem import CASES
from ddnmf_np.errors import UsageError
from ddnmf_np.system.command import Parser, run_command, say
from ddnmf_np.system.files import atomic_write_text, locked, make_folder

DESCRIPTION = """\
Compare the speed of this engine with PyTorch, JAX and Keras.

python -m ddnmf_np.bench scaling measures how time and memory grow instead, and
python -m ddnmf_np.bench data how well the model does on data that nobody prepared."""

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

DATA = """\
Measure the default preset on data sets that ship inside packages, against scikit-learn.

On 20 % of the rows, which no method is fitted to, we measure the variance that the reconstruction
leaves unexplained (FVU; the mean of each feature has 1), a linear probe of the codes, and k-means
of the codes. With --hide we measure the error of the hidden entries instead."""

DATA_EPILOG = """\
Each measurement is one line of measurements.jsonl in the output folder, and the same command goes
on where it was stopped. The tables show all records of the folder; those of a study, its records
of the same --epochs.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_scaling_parser() -> Parser:
    """Return the parser of the subcommand."""
    module = "ddnmf_np.bench scaling"
    return make_parser(ScalingOptions, "runs/scaling", module, SCALING, SCALING_EPILOG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["scaling"]:
        return run_command(
            lambda: run_scaling(argv[1:]), interrupted="interrupted; there are no new results"
        )
    if argv[:1] == ["data"]:
        return run_command(
            lambda: run_data(argv[1:]), interrupted="interrupted; the records so far are kept"
        )
    return run_command(
        lambda: run_comparison(argv), interrupted="interrupted; finished rows are kept"
    )


def run_comparison(argv: Sequence[str]) -> int:
    """Compare, write and print; raise `BenchmarkError` at the end if a contestant failed."""
    parser = make_parser(Plan, "runs/bench", "ddnmf_np.bench", DESCRIPTION, EPILOG)
    given, folder = parse(parser, argv)
    if "cases" in given:
        given["cases"] = tuple(CASES[name] for name in dict.fromkeys(given["cases"]))
    plan = Plan(**given)
    # Late: matplotlib and scikit-learn take seconds, for which no usage error should wait.
    from ddnmf_np.bench import measure, tables
    from ddnmf_np.bench.digest import digest
    from ddnmf_np.bench.reference import BenchmarkError

    device = plan.device
    if device == "cuda":
        load_cupy()  # or its error, with the remedy
    if device == "auto":
        device = "cpu" if why_not_cupy() else "cuda"
    names = tuple(dict.fromkeys(plan.contestants or available(device)))
    if odd := [name for name in names if device not in CONTESTANTS[name].devices]:
        raise UsageError(f"contestants {', '.join(odd)} do not run on {device}; leave them out")
    make_folder(folder)
    results = measure.compare(
        replace(plan, contestants=names, device=device),
        say=say,
        save=lambda results: tables.write(digest(results), folder),
    )
    print(tables.write(digest(results), folder))
    say(f"written: {', '.join(str(folder / f'bench.{kind}') for kind in ('json', 'md', 'png'))}")
    if failed := measure.failures(results):
        raise BenchmarkError(
            f"no result from {', '.join(failed)}; {folder / 'bench.md'} has the reasons"
        )
    return 0


def run_scaling(argv: Sequence[str]) -> int:
    """Measure growth, write and print."""
    given, folder = parse(make_scaling_parser(), argv)
    from ddnmf_np.bench import scaling  # late, as above

    make_folder(folder)
    print(scaling.write(scaling.measure(ScalingOptions(**given), say=say), folder))
    say(f"written: {', '.join(str(folder / f'scaling.{kind}') for kind in ('json', 'md', 'png'))}")
    return 0


def run_data(argv: Sequence[str]) -> int:
    """Measure what has no record, write and print."""
    module = "ddnmf_np.bench data"
    parser = make_parser(DataOptions, "runs/bench-data", module, DATA, DATA_EPILOG)
    given, folder = parse(parser, argv)
    options = DataOptions(**given)
    if options.study:
        if options.hide:
            hidden = " ".join(map(str, options.hide))
            raise UsageError(f"--hide is {hidden}, but a study hides no entries; leave it out")
        if folder is parser.get_default("output"):  # an equal path that was given is another object
            folder = Path(f"runs/study-{options.study}")
    from ddnmf_np.bench import quality, study  # late, as above

    make_folder(folder)
    with locked(folder):
        if options.study:
            text = study.to_markdown(study.measure(options, folder, say), options.study)
        else:
            text = quality.to_markdown(quality.measure(options, folder, say))
        atomic_write_text(folder / quality.TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
