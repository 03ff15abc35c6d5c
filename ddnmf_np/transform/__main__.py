"""Apply a trained model to a file: ``python -m ddnmf_np.transform --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddnmf_np.errors import UsageError
from ddnmf_np.system.command import Parser, run_command, say, tell

WHAT = {
    "codes": "H, one column for each base unit",
    "clusters": "the cluster of each code, found anew among the codes of this file, so not the "
    "run's",
    "denoised": "the student's output",
    "imputed": "the samples, with the student's output where they are missing (--missing nan)",
}
"""What can be written."""

NOTES = {"clusters": ", found among these samples and not those of the run"}
"""What the last line of the output adds."""

EPILOG = f"""\
The samples are checked and scaled as those of the run were. From a table with a header the columns
of the run are taken by their names, whatever else it has. What can be written:
{chr(10).join(f"  {name:10}{text}" for name, text in WHAT.items())}
The output is replaced if it exists, and written whole or not at all. CSV and Parquet have a column
"row" if the file has names of rows.
Exit codes: 0 done, 2 usage, 3 library missing, 4 data or files, 130 interrupted."""

SILENCE = 5.0
"""Seconds between two lines of progress."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        "ddnmf_np.transform",
        "Write codes, clusters, or denoised or imputed samples of a file by a trained model.",
        EPILOG,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="RUN_FOLDER FILE",
        help="folder that ddnmf_np.train has written, and samples as its --dataset takes them",
    )
    parser.add_argument("--what", choices=WHAT, default="codes", help="(default: codes)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write: .npy, .csv or .parquet (default: RUN_FOLDER/NAME-WHAT.npy)",
    )
    parser.add_argument(
        "--clusters", type=int, metavar="N", help="number of clusters (default: that of the run)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _transform(argv), interrupted="interrupted; no file was written")


def _transform(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    if len(flags.paths) != 2:
        raise UsageError(
            f"{len(flags.paths)} paths given; expected the run folder and the file; see --help"
        )
    if flags.clusters is not None and flags.clusters < 1:
        raise UsageError(f"--clusters is {flags.clusters}; expected a whole number, at least 1")
    run, path = flags.paths
    if not path:
        raise UsageError("FILE is empty; give the file of the samples")
    outer, _, inner = path.partition("::")
    name = "-".join([Path(outer).stem, *filter(None, inner.split("/")), flags.what])
    output = flags.output or Path(run, f"{name}.npy")
    # Imported late, because matplotlib and scikit-learn take seconds and usage errors need neither.
    from ddnmf_np.runs.output import check_output, write_blocks

    check_output(output)
    from ddnmf_np.report.results import check_holds_run
    from ddnmf_np.runs import inference as working
    from ddnmf_np.runs.checkpoint import load_checkpoint
    from ddnmf_np.runs.folder import RunFolder
    from ddnmf_np.system.files import make_folder

    folder = RunFolder(run)
    check_holds_run(folder)
    inference = working.Inference(load_checkpoint(folder.checkpoint))
    data = working.open_input(path, inference)
    if output.exists() and Path(outer).exists() and output.samefile(outer):
        raise UsageError(f"output {output}: is the file of the samples; choose another name")
    make_folder(output.parent)
    for note in data.notes:
        say(f"recognized: {note}")
    n, n_features = data.source.shape
    columns = (
        {
            "codes": [f"H{k}" for k in range(inference.config.model.rank)],
            "clusters": ["cluster"],
        }.get(flags.what)
        or inference.feature_names
        or [f"x{k}" for k in range(n_features)]
    )
    blocks = working.results(inference, data, flags.what, flags.clusters)
    write_blocks(output, _told(blocks, n), n, columns, data.row_names)
    tell(f"{output}: {flags.what} of {n} samples{NOTES.get(flags.what, '')}", sys.stdout)
    return 0


def _told(blocks: Iterator[Any], n: int) -> Iterator[Any]:
    """Yield blocks and print now and then how many of the rows are done."""
    done, told = 0, time.monotonic()
    for block in blocks:
        yield block
        done += len(block)
        if done < n and time.monotonic() - told > SILENCE:
            told = time.monotonic()
            say(f"{done:,} of {n:,} samples")


if __name__ == "__main__":
    sys.exit(main())
