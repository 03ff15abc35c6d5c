"""Tables and figures of the paper's section 4: ``python -m ddnmf_np.experiments --help``."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.experiments.networks import STUDIES
from ddnmf_np.experiments.records import Store, stores_in
from ddnmf_np.experiments.settings import (
    CURVES,
    EVERYTHING,
    OPTIONS,
    RESULTS,
    Settings,
    arguments_of,
    parse_seeds,
)
from ddnmf_np.system.command import Parser, run_command, tell

# The paper's claims, and the steps of the campaign that decides them.
CLAIMS = Path(__file__).with_name("claims.toml")

FAILED = 1
"""Exit code of a campaign in which runs failed, or whose folder has records that we cannot use."""

EPILOG = """\
Each run leaves a record in OUTPUT/records.jsonl, named by its configuration, and is not repeated.
To continue a campaign that was stopped, give the same command again; more seeds add to the fewer.
Tables (Markdown) and figures are made from the records only; `report` makes them again, in OUTPUT
and in the folders of it that have some.

`curves` scores the networks of tables 1 and 2 after several numbers of epochs, for example
  python -m ddnmf_np.experiments curves --epochs 100 --at 5 10 20 40 70 --networks ae1 ddnmf-demo
A long training is saved every five minutes, and the same command continues it. A command with more
epochs continues the networks that have a constant learning rate.

`python -m ddnmf_np.experiments` runs at low priority (niceness 10), because a campaign takes hours.

A study compares variants of networks: each difference between paper and demo (ablation), the
weights of the losses (weights), candidates for a better recipe (recipe), each part of the preset
stable (ingredients), what the supervisor does (supervisor). `all` does not include the studies.

`parts` asks which methods find parts: DDNMF, NMF and others, on data with known parts and on
images. It is a command by itself, and of the options takes --seeds, --datasets, --data-dir,
--output and --into.

`step NAME` runs a step of the campaign that decides the paper's claims, or several:
  {steps}.
Options after the names replace those of the step.

--into FILE fills the places of a Markdown file between the lines
  <!-- experiments table1 -->
  <!-- /experiments -->
from the records of OUTPUT, or, with <!-- experiments recipe from=FOLDER -->, from those of FOLDER
and of the folders in it, a path relative to the file, like a link.

Exit codes: 0 done, 1 some runs failed (the others are done), 2 usage, 3 backend missing, 4 files,
130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line, with a flag for each of `OPTIONS`."""
    parser = Parser(
        "ddnmf_np.experiments",
        "Compute the tables and figures of the paper's section 4 from raw data.",
        EPILOG.format(steps=", ".join(steps())),
    )
    parser.add_argument(
        "results",
        nargs="*",
        metavar="RESULT",
        help=f"{', '.join(RESULTS)}; all (all of these); {CURVES}; studies: "
        f"{', '.join(STUDIES)}; parts; or only report (tables and figures from existing records)",
    )
    for name in OPTIONS:
        # Without the flag, `Settings` uses the default.
        flag, default = f"--{name.replace('_', '-')}", argparse.SUPPRESS
        parser.add_argument(flag, default=default, **arguments_of(name))
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs") / "experiments",
        metavar="FOLDER",
        help="folder of the records, tables and figures (default: runs/experiments)",
    )
    parser.add_argument(
        "--into",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="Markdown files whose marked places get the tables, see below",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; raises `UsageError` if they cannot be used."""
    flags = make_parser().parse(argv)
    if not flags.results:
        names = ", ".join([*EVERYTHING, "all"])
        raise UsageError(f"no result is named; name one or more of {names}, or report; see --help")
    return flags


def steps() -> dict[str, list[str]]:
    """Return the commands of each step of the campaign."""
    found: dict[str, list[str]] = tomllib.loads(CLAIMS.read_text("utf-8"))["steps"]
    return found


def commands_of(argv: Sequence[str]) -> list[list[str]]:
    """Return the commands that the arguments stand for; those of ``step NAME`` are in a file."""
    if list(argv[:1]) != ["step"] or {"-h", "--help"} & {*argv}:
        return [list(argv)]
    known, names = steps(), list(takewhile(lambda word: not word.startswith("-"), argv[1:]))
    for name in names or [""]:
        if name not in known:
            raise UsageError(unknown("step", name, list(known)))
    options = argv[1 + len(names) :]
    return [[*command.split(), *options] for name in names for command in known[name]]


def parse_results(words: Sequence[str]) -> tuple[str, ...]:
    """Return the results that the words name; ``report`` means all of them."""
    if set(words) == {"report"}:
        return EVERYTHING
    if "report" in words:
        raise UsageError("report is a command by itself; leave out the other names")
    every = [name for word in words for name in (RESULTS if word == "all" else (word,))]
    return tuple(dict.fromkeys(every))


def make_settings(
    flags: argparse.Namespace,
    places: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of the campaign; `places` and `options` are those of `main`."""
    given = {name: value for name, value in vars(flags).items() if name in OPTIONS}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    if "seeds" in given:
        given["seeds"] = parse_seeds(given["seeds"])
    results = parse_results(flags.results)
    return Settings(results=results, places=places or {}, options=options or {}, **given)


def main(
    argv: Sequence[str] | None = None,
    *,
    places: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run the command and return its exit code.

    For tests, ``places`` are other places of data sets, by name, and ``options`` are those of all
    networks, which override their own.
    """
    if argv is None and hasattr(os, "nice"):  # not for a call from Python; Windows has none
        os.nice(max(0, 10 - os.nice(0)))
    return run_command(
        lambda: max(
            _main(one, places, options)
            for one in commands_of(sys.argv[1:] if argv is None else argv)
        ),
        interrupted="interrupted; every finished run is kept, and the same command continues",
    )


def _main(
    argv: Sequence[str],
    places: Mapping[str, str] | None,
    options: Mapping[str, Any] | None,
) -> int:
    flags = parse(argv)
    only_report, only_parts = flags.results[0] == "report", "parts" in flags.results
    if only_parts and len(flags.results) > 1:
        raise UsageError("parts is a command by itself; leave out the other names")
    if only_parts:
        flags.results = ["report"]  # the settings of a campaign know nothing of it
    settings = make_settings(flags, places, options)
    store = Store(flags.output)
    others = [s for s in stores_in(flags.output) if s.folder != store.folder]
    if only_report and store.is_empty() and not others:
        raise UsageError(f"output {store.folder}: has no records; run a table or all first")
    report = load_report()  # before the campaign: hours of work must not end without a table
    results, failures = settings.results, []
    # Imported late, because --help and usage errors need not wait for scikit-learn.
    if only_parts:
        from ddnmf_np.experiments import parts

        results = ("parts",)
        failures = parts.run(settings.sources, settings.seeds, flags.output, say)
    elif only_report:
        results = (*results, "parts")
        for other in others:  # what it has
            files = [*other.folder.glob("tables/*.md"), *other.folder.glob("figures/*.png")]
            names = {path.stem.partition("-")[0] for path in files}
            failures += report(other, [r for r in results if r in names], say)
        results = () if store.is_empty() else results
    else:
        from ddnmf_np.experiments import campaign

        failures = campaign.run(settings, flags.output, say)
    failures += report(store, results, say, flags.into)
    failures = list(dict.fromkeys(failures))
    if failures:
        say("\nfailures:\n" + "\n".join(f"- {text}" for text in failures))
        if not only_report:
            say("Failed runs have no record: the same command repeats these runs only.")
    return FAILED if failures else 0


def load_report() -> Callable[..., list[str]]:
    """Return `published.report`; raises `UsageError` if pandas is missing."""
    try:
        from ddnmf_np.experiments.published import report
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise UsageError(
            "pandas, which makes the tables, is not installed: pip install 'ddnmf-np[experiments]'"
        ) from error
    return report


def say(text: str) -> None:
    """Print progress on standard output."""
    tell(text, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
