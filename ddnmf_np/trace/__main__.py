"""Trace one training step of a run or of a new model: ``python -m ddnmf_np.trace --help``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddnmf_np.config import OPTIONS, configure
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.system.command import PageParser, flag_of, run_command, tell

if TYPE_CHECKING:
    from ddnmf_np.data.datasets import Dataset
    from ddnmf_np.training import Trainer

EPILOG = """\
RUN_OR_DATA is the folder of a run, whose next step is done, or data as for train --dataset, for the
first step of a new model with default options. The step is done in float64: outputs, losses, g by
its parts, delta, dW, db, update. engine/literal.py repeats it sample by sample, and the page says
how much the two differ. So after a change of the engine, the first large difference is where to
look. The numbers are also written as JSON, beside the page. The run itself is not changed.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""

FOR_DATA = ("objective", "rank", "seed", "labels", "ignore")
"""Options of a new model, by their short names."""


def make_parser() -> PageParser:
    """Return the parser of the command line."""
    parser = PageParser(
        "ddnmf_np.trace",
        "Write down one training step with every number recomputed.",
        EPILOG,
        page="trace.html",
        data=True,
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
        help="where to look first for the data (default: where the run found them)",
    )
    group = parser.add_argument_group("a new model, if data are given")
    for name in FOR_DATA:
        group.add_argument(f"--{name}", **flag_of(OPTIONS[name].kind, OPTIONS[name].help))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _trace(argv), interrupted="interrupted; nothing was written")


def _trace(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    if flags.samples < 1:
        raise UsageError(f"--samples is {flags.samples}; give 1 or more")
    options = {key: getattr(flags, key) for key in FOR_DATA if getattr(flags, key) is not None}
    if options and flags.is_run:
        raise UsageError(
            f"--{next(iter(options))}: {flags.run} is a run, which has its own options"
        )
    # Imported late, because scikit-learn takes seconds and usage errors do not need it.
    from ddnmf_np.system.files import atomic_write_text, make_folder
    from ddnmf_np.trace.page import page
    from ddnmf_np.trace.record import record

    if flags.is_run:
        trainer, notes = _run(flags.run, flags.data_dir)
    else:
        trainer, notes = _new(str(flags.run), flags.data_dir, options)
    make_folder(flags.output.parent)
    found = record(trainer, flags.samples, notes)
    table = flags.output.with_suffix(".json")
    atomic_write_text(table, json.dumps(found, indent=1, allow_nan=False) + "\n")
    atomic_write_text(flags.output, page(found))
    worst = found["worst"]
    size = "not finite" if worst["difference"] is None else f"{worst['difference']:.1e}"
    tell(f"largest difference from engine/literal.py: {size} ({worst['where']})", sys.stdout)
    tell(f"{flags.output}: open it in a browser; numbers in {table}", sys.stdout)
    return 0


def _run(path: Path, data_dir: str | None) -> tuple[Trainer, list[str]]:
    from ddnmf_np.data.streaming.rows import fingerprint
    from ddnmf_np.explore.content import load_forgivingly, open_run
    from ddnmf_np.runs.inputs import with_held_out
    from ddnmf_np.trace.record import of_run

    checkpoint = open_run(path)
    # A column of labels is no feature, so we name it; a step needs no labels besides.
    x, dataset = load_forgivingly(checkpoint.config, data_dir, [], lambda text: None)
    x = _in_memory(x, dataset)
    if with_held_out(fingerprint(x), dataset, checkpoint.config) != checkpoint.meta["data_sha256"]:
        raise DataError(
            f"{dataset.source}: is not what the run was trained on; give the folder of the run's "
            "data with --data-dir"
        )
    return of_run(checkpoint, x, dataset.image_shape)


def _new(data: str, data_dir: str | None, options: dict[str, Any]) -> tuple[Trainer, list[str]]:
    from ddnmf_np.data.datasets import NAMES
    from ddnmf_np.data.streaming.sources import is_stream_path
    from ddnmf_np.data.tables import is_table
    from ddnmf_np.runs.inputs import read_data
    from ddnmf_np.trace.record import of_data

    path = Path(data.partition("::")[0])
    if data not in NAMES and not path.exists():
        raise UsageError(
            f"{data}: there is no such run folder, file or data set; give the folder that "
            f"ddnmf_np.train has written, a path of data, or one of {', '.join(NAMES)}"
        )
    known = is_table(path) or path.suffix.lower() in (".npy", ".npz") or path.is_dir()
    if data not in NAMES and (not known or is_stream_path(data)):
        raise UsageError(
            f"{data}: cannot be read into memory, as a trace needs it; give a file of another kind "
            "(.csv, .tsv, .txt, .parquet, .npy, .npz), a folder of IDX files, or one of "
            f"{', '.join(NAMES)}"
        )
    options = {"objective": "auto", "dataset": data, "data_dir": data_dir} | options
    x, dataset, config = read_data(configure(**options))
    return of_data(config, _in_memory(x, dataset), dataset.image_shape)


def _in_memory(x: Any, dataset: Dataset) -> Any:
    from ddnmf_np.data.streaming.rows import Rows

    if isinstance(x, Rows):
        raise UsageError(f"{dataset.source}: is streamed; trace data that fit into memory")
    return x


if __name__ == "__main__":
    sys.exit(main())
