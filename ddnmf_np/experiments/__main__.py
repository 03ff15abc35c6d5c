"""Tables and figures of the paper's section 4: ``python -m ddnmf_np.experiments --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddnmf_np.errors import UsageError
from ddnmf_np.experiments.baselines import Source
from ddnmf_np.experiments.campaign import run
from ddnmf_np.experiments.networks import STUDIES
from ddnmf_np.experiments.records import Store
from ddnmf_np.experiments.settings import (
    EVERYTHING,
    OPTIONS,
    RESULTS,
    Settings,
    flag_of,
    parse_seeds,
)
from ddnmf_np.system.command import Parser, run_command

DATASETS = ("mnist", "fashion-mnist")

FAILED = 1
"""Exit code of a campaign that came to its end, with failures or records of no use."""

EPILOG = """\
Each run leaves a record in OUTPUT/records.jsonl, named by its configuration, and is not repeated: a
campaign that was stopped goes on when you give the same command again, and more seeds add to the
fewer. Tables (Markdown) and figures are made from the records alone; `report` makes them again.

A study compares variants of networks: what the differences between paper and demo do (ablation),
the weights of the losses (weights), candidates for a better recipe (recipe), what each part of the
preset stable does (ingredients). `all` leaves them out.

--into FILE fills the places of a Markdown file between the lines
  <!-- experiments table1 -->
  <!-- /experiments -->
from the records of OUTPUT, or, with <!-- experiments recipe from=FOLDER -->, from those of FOLDER,
a path relative to the file, like a link.

Exit codes: 0 done, 1 some runs failed (the others are done), 2 usage, 3 backend missing, 4 files,
130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line; `OPTIONS` have a flag each."""
    parser = Parser(
        "ddnmf_np.experiments",
        "Compute the tables and figures of the paper's section 4 from raw data.",
        EPILOG,
    )
    parser.add_argument(
        "results",
        nargs="*",
        metavar="RESULT",
        help=f"{', '.join(RESULTS)}; all of these; studies: {', '.join(STUDIES)}; or alone: report "
        "(tables and figures from the records there are)",
    )
    for name in OPTIONS:
        # Without the flag, `Settings` has the default.
        flag, default = f"--{name.replace('_', '-')}", argparse.SUPPRESS
        parser.add_argument(flag, default=default, **flag_of(name))
    parser.add_argument(
        "--datasets",
        nargs="+",
        choices=DATASETS,
        default=DATASETS,
        metavar="NAME",
        help=f"data sets; tables 1 and 2 are about one each (default: {' '.join(DATASETS)})",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs") / "experiments",
        metavar="FOLDER",
        help="records, tables and figures (default: runs/experiments)",
    )
    parser.add_argument(
        "--into",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="Markdown files whose marked places get the tables, see below",
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="where to look for the images first")
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; raises `UsageError` for those that cannot be used."""
    flags = make_parser().parse(argv)
    if not flags.results:
        names = ", ".join([*EVERYTHING, "all"])
        raise UsageError(f"say what to compute: {names}, or report; see --help")
    return flags


def parse_results(words: Sequence[str]) -> tuple[str, ...]:
    """Return the results that are named; everything for ``report``."""
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
    """Return what the arguments ask of a campaign; the others are those of `main`."""
    given = {name: value for name, value in vars(flags).items() if name in OPTIONS}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    if "seeds" in given:
        given["seeds"] = parse_seeds(given["seeds"])
    return Settings(
        **given,
        results=parse_results(flags.results),
        sources=tuple(
            Source(name, (places or {}).get(name, name), flags.data_dir)
            for name in DATASETS
            if name in flags.datasets
        ),
        options=options or {},
    )


def main(
    argv: Sequence[str] | None = None,
    *,
    places: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process if not given.
    places : mapping of str to str, optional
        Where a data set is, by name, instead of where it is known to be; for tests.
    options : mapping, optional
        Options of all networks, over their own; for tests.
    """
    return run_command(
        lambda: _main(argv, places, options),
        interrupted="interrupted; every finished run is kept, the same command goes on",
    )


def _main(
    argv: Sequence[str] | None,
    places: Mapping[str, str] | None,
    options: Mapping[str, Any] | None,
) -> int:
    flags = parse(argv)
    report = load_report()
    alone = flags.results[0] == "report"
    settings = make_settings(flags, places, options)
    store = Store(flags.output)
    if alone and store.is_empty():
        raise UsageError(f"output {store.folder}: has no records; run a table or all first")
    failures = [] if alone else run(settings, flags.output, say)
    failures += report(store, settings.results, say, flags.into)
    failures = list(dict.fromkeys(failures))
    if failures:
        say("\nfailures:\n" + "\n".join(f"- {text}" for text in failures))
        if not alone:
            say("What has failed has no record: the same command tries it, and only it.")
    return FAILED if failures else 0


def load_report() -> Callable[..., list[str]]:
    """Return `published.report`, or raise `UsageError` if pandas, which it needs, is missing.

    We look before the campaign runs, because hours of work would end without a table.
    """
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
    """Print at once, so that a log shows it in time."""
    print(text, file=sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
