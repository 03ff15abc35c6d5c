"""Make the playground: ``python -m ddnmf_np.playground --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ddnmf_np.errors import UsageError
from ddnmf_np.system.command import Parser, run_command, tell

EPILOG = """\
The page is one file: it needs no server and no network, and you can give it away. It trains both
networks on small images while you watch every activation and every gradient. You can change losses,
noise and rank, plant bugs in the backward pass, and copy its state as Python.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        "ddnmf_np.playground", "Make a web page in which you watch the model learn.", EPILOG
    )
    parser.add_argument(
        "output",
        nargs="?",
        type=Path,
        default=Path("playground.html"),
        metavar="OUTPUT",
        help="page to write; replaced if it exists (default: playground.html)",
    )
    parser.add_argument(
        "--mnist",
        action="store_true",
        help="add 1000 images of MNIST, reduced to 14 x 14 pixels (downloaded if not found)",
    )
    parser.add_argument(
        "--data-dir", metavar="FOLDER", help="where to look for MNIST first (with --mnist)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _write(argv), interrupted="interrupted; no page was written")


def _write(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    output: Path = flags.output
    if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
        raise UsageError(f"output {output}: expected the name of a file that ends in .html")
    if flags.data_dir and not flags.mnist:
        raise UsageError("--data-dir is the folder of MNIST; give --mnist, too, or leave it out")
    # Imported late, because scikit-learn takes seconds and usage errors do not need it.
    from ddnmf_np.playground.content import page
    from ddnmf_np.system.files import atomic_write_text, make_folder

    make_folder(output.parent)
    text = page(flags.mnist, flags.data_dir)
    atomic_write_text(output, text)
    size = len(text.encode("utf-8")) / 1e6
    tell(f"{output} ({size:.1f} MB): open it in a browser", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
