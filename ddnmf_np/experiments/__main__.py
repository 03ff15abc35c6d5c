"""Tables and figures of the paper's section 4: ``python -m ddnmf_np.experiments --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddnmf_np.backends.select import BACKENDS
from ddnmf_np.errors import UsageError
from ddnmf_np.experiments.baselines import Source
from ddnmf_np.experiments.campaign import (
    EVERYTHING,
    MAPPED,
    MOST_SEEDS,
    NOISE_RATES,
    NOISE_SAMPLES,
    NOISE_STARTS,
    RESULTS,
    Settings,
    run,
)
from ddnmf_np.experiments.networks import NOISE_MODELS, TABLE_MODELS
from ddnmf_np.experiments.records import Store
from ddnmf_np.experiments.studies import STUDIES
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
which is seen from where the file is, as in a link.

Exit codes: 0 done, 1 some runs failed (the others are done), 2 usage, 3 backend missing, 4 files,
130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
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
    parser.add_argument(
        "--seeds",
        default="5",
        metavar="N",
        help="how many (0 to N-1), or the seeds themselves with commas: 0,3,7 (default: 5)",
    )
    parser.add_argument(
        "--epochs", type=int, default=30, metavar="N", help="of every network (default: 30)"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="training images (default: all)")
    parser.add_argument(
        "--starts",
        type=int,
        default=10,
        metavar="N",
        help="of every clustering but those of table 3 and figure 3 (default: 10)",
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        choices=DATASETS,
        default=DATASETS,
        metavar="NAME",
        help=f"of every result; table 1 and 2 have one each (default: {' '.join(DATASETS)})",
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        default=TABLE_MODELS,
        metavar="NAME",
        help=f"codes in tables 1 and 2 (default: {' '.join(TABLE_MODELS)})",
    )
    parser.add_argument(
        "--noise-rates",
        type=float,
        nargs="+",
        default=NOISE_RATES,
        metavar="X",
        help="of table 3 and figure 3 (default: 0.1 to 0.8)",
    )
    parser.add_argument(
        "--noise-networks",
        nargs="+",
        default=NOISE_MODELS,
        metavar="NAME",
        help=f"of table 3 and figure 3 (default: {' '.join(NOISE_MODELS)})",
    )
    parser.add_argument(
        "--noise-samples",
        type=int,
        default=NOISE_SAMPLES,
        metavar="N",
        help="training images of table 3 and figure 3, at most those of --samples "
        f"(default: {NOISE_SAMPLES:,}; for all of them: 60000)",
    )
    parser.add_argument(
        "--noise-starts",
        type=int,
        default=NOISE_STARTS,
        metavar="N",
        help=f"of the clusterings of table 3 and figure 3 (default: {NOISE_STARTS})",
    )
    parser.add_argument(
        "--maps",
        nargs="+",
        choices=tuple(MAPPED),
        default=(),
        metavar="NAME",
        help="in tables 1 and 2, cluster the codes of networks on a map too, which the paper does "
        "not: tsne (a minute or more for each network), umap (a quarter; needs umap-learn)",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        help="of the studies asked for (default: all); the table says which have no records",
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, default="numpy", help="of the networks (default: numpy)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of each run (default: the processors, shared out)"
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
        help="Markdown whose marked places are to be filled with tables, see below",
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


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds: ``"3"`` is 0, 1, 2, and ``"3,5"`` or ``"3,"`` are those themselves."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
        if "," in text:
            return tuple(numbers)
        [number] = numbers
    except ValueError as error:
        raise UsageError(f"seeds is {text!r}; give a number, or seeds with commas") from error
    if number > MOST_SEEDS:
        raise UsageError(
            f"seeds is {number}; give at most {MOST_SEEDS}, or one seed with a comma: {number},"
        )
    return tuple(range(number))


def make_settings(
    flags: argparse.Namespace,
    places: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Return what the arguments ask of a campaign; the others are those of `main`."""
    return Settings(
        results=parse_results(flags.results),
        seeds=parse_seeds(flags.seeds),
        epochs=flags.epochs,
        starts=flags.starts,
        samples=flags.samples,
        networks=tuple(flags.networks),
        noise_rates=tuple(flags.noise_rates),
        noise_networks=tuple(flags.noise_networks),
        noise_samples=flags.noise_samples,
        noise_starts=flags.noise_starts,
        maps=tuple(flags.maps),
        variants=None if flags.variants is None else tuple(flags.variants),
        backend=flags.backend,
        threads=flags.threads,
        jobs=flags.jobs,
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
    try:
        with interrupt_on_sigterm():
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
    except DDNMFError as error:
        print(printable(f"error: {error}", keep="\n\t"), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read standard output has left
        sys.stdout = None
        return OutputError.exit_code
    except KeyboardInterrupt:
        print("interrupted; every finished run is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED


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
