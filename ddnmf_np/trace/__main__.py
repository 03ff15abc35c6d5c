"""Trace one training step of a run: ``python -m ddnmf_np.trace --help``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.system.command import PageParser, run_command, tell

EPILOG = """\
The next step of the run is done in float64: outputs, losses, g by its parts, delta, dW, db, update.
engine/literal.py repeats it sample by sample, and the page says how much the two differ. So after a
change of the engine, the first large difference is where to look. The numbers are also written as
JSON, beside the page. The run itself is not changed.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> PageParser:
    """Return the parser of the command line."""
    parser = PageParser(
        "ddnmf_np.trace",
        "Write down one training step of a run, with every number recomputed.",
        EPILOG,
        page="trace.html",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=4,
        metavar="N",
        help="samples of the batch to use, at most a batch (default: 4)",
    )
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="where to look first for the data of the run (default: where the run found them)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _trace(argv), interrupted="interrupted; nothing was written")


def _trace(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    if flags.samples < 1:
        raise UsageError(f"--samples is {flags.samples}; give 1 or more")
    # Imported late, because scikit-learn takes seconds and usage errors do not need it.
    from ddnmf_np.data.streaming.rows import Rows, fingerprint
    from ddnmf_np.explore.content import load_forgivingly, open_run
    from ddnmf_np.runs.inputs import with_held_out
    from ddnmf_np.system.files import atomic_write_text, make_folder
    from ddnmf_np.trace.page import page
    from ddnmf_np.trace.record import record

    checkpoint = open_run(flags.run)
    # A column of labels is no feature, so we name it; a step needs no labels besides.
    x, dataset = load_forgivingly(checkpoint.config, flags.data_dir, [], lambda text: None)
    if isinstance(x, Rows):
        raise UsageError(f"{dataset.source}: is streamed; trace a run whose data fit into memory")
    if with_held_out(fingerprint(x), dataset, checkpoint.config) != checkpoint.meta["data_sha256"]:
        raise DataError(
            f"{dataset.source}: is not what the run was trained on; give the folder of the run's "
            "data with --data-dir"
        )
    make_folder(flags.output.parent)
    found = record(checkpoint, x, dataset.image_shape, flags.samples)
    table = flags.output.with_suffix(".json")
    atomic_write_text(table, json.dumps(found, indent=1, allow_nan=False) + "\n")
    atomic_write_text(flags.output, page(found))
    worst = found["worst"]
    size = "not finite" if worst["difference"] is None else f"{worst['difference']:.1e}"
    tell(f"largest difference from engine/literal.py: {size} ({worst['where']})", sys.stdout)
    tell(f"{flags.output}: open it in a browser; numbers in {table}", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
