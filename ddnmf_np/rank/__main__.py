"""Choose the rank for some data: ``python -m ddnmf_np.rank --help``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ddnmf_np.rank.options import Search
from ddnmf_np.system.command import Parser, flag_of, run_command, say, tell
from ddnmf_np.system.files import atomic_write_text
from ddnmf_np.system.options import kinds

EPILOG = """\
For each seed we hide a part of the entries, fit each rank to the others, and measure the error of
the hidden ones. The answer is the smallest rank that is as good as the best: "rank 8 (6 to 10)", or
"the data do not say". No label is used.

Each finished fit leaves a record in OUTPUT, and is not repeated. To continue a search that was
stopped, give the same command again. More ranks or seeds add to the fewer. OUTPUT/rank.json has the
answer and its table (null: not a number, as for constant data), OUTPUT/rank.png the picture.

Exit codes: 0 done, 2 usage, 4 data or files, 5 diverged, 130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser("ddnmf_np.rank", "Say which rank some data need.", EPILOG)
    parser.add_argument(
        "data",
        metavar="DATA",
        help="digits (embedded), mnist, fashion-mnist, or a path, as for train --dataset",
    )
    for f in fields(Search):
        kind, default = kinds(Search)[f.name], getattr(Search(), f.name)
        shown = " ".join(map(str, default)) if kind.many else default
        text = f"{f.metadata['help']} (default: {shown})"
        parser.add_argument(f"--{f.name}", default=default, **flag_of(kind, text))
    parser.add_argument(
        "--preset",
        choices=("quick", "auto"),
        default="quick",
        help="quick: small networks and a short training (default); auto: those of train, which "
        "take about ten times as long",
    )
    parser.add_argument(
        "--data-dir", metavar="FOLDER", help="where to look first for mnist and fashion-mnist"
    )
    parser.add_argument(
        "--ignore",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="names of columns of a table that are left out",
    )
    parser.add_argument(
        "--missing",
        choices=("error", "nan"),
        default="error",
        help="NaN in the data: error (refused, the default), or nan (a missing entry)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where records, answer and picture go (default: runs/rank-DATA)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        lambda: _main(argv),
        interrupted="interrupted; every finished fit is kept, and the same command continues",
        memory="take fewer --samples or fewer --jobs",
    )


def _main(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    search = Search(**{f.name: getattr(flags, f.name) for f in fields(Search)})
    # Imported late, because matplotlib and scikit-learn take seconds and usage errors need neither.
    from ddnmf_np.config import configure
    from ddnmf_np.data.streaming.rows import Rows
    from ddnmf_np.data.tables import TextColumnError
    from ddnmf_np.estimator import DDNMF
    from ddnmf_np.evaluation.figures import save
    from ddnmf_np.rank.search import choose_rank, quick
    from ddnmf_np.runs.inputs import read_data

    options = {"dataset": flags.data, "data_dir": flags.data_dir, "missing": flags.missing}
    if flags.ignore:
        options["ignore"] = flags.ignore
    try:
        config = configure(objective="auto", test_fraction=0.0, **options)
        rows, data, _ = read_data(config, scored=0)
    except TextColumnError as error:
        raise error.without_labels() from error
    x = rows.sample(min(search.samples, len(rows)))[1] if isinstance(rows, Rows) else rows
    estimator = DDNMF() if flags.preset == "auto" else quick(len(x), search)
    estimator.set_params(missing=flags.missing, image_shape=data.image_shape)
    inner = filter(None, flags.data.partition("::")[2].split("/"))
    output = flags.output or Path("runs") / "-".join(["rank", Path(data.name).name, *inner])
    choice = choose_rank(
        x,
        search.ranks,
        seeds=search.seeds,
        hidden=search.hidden,
        samples=search.samples,
        random_state=search.seed,
        jobs=search.jobs,
        estimator=estimator,
        output=output,
        say=say,
    )
    found = {name: getattr(choice, name) for name in ("answer", "rank", "low", "high", "table")}
    found |= {"data": data.name, "preset": flags.preset, "options": vars(search)}
    found |= {name: getattr(choice, name).tolist() for name in ("errors", "agreements")}
    # JSON has no NaN and no infinity, which are the errors of constant data; we write null.
    found = json.loads(json.dumps(found), parse_constant=lambda text: None)
    atomic_write_text(output / "rank.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    save(choice.plot(data.name), output / "rank.png")
    tell(f"{choice}\npicture: {output / 'rank.png'}", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
