"""Make a web page of a trained model: ``python -m ddnmf_np.explore --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ddnmf_np.system.command import PageParser, run_command, say, tell

EPILOG = """\
The page is one file: it needs no server and no network, and you can give it away. Drag the sliders
of a test image's code H and watch how the student's decoder changes the image. The page also shows
the part of each base unit and a map of the codes. If the data of the run cannot be found, the page
says so and shows only parts and sliders.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> PageParser:
    """Return the parser of the command line."""
    parser = PageParser(
        "ddnmf_np.explore",
        "Make a web page that lets you explore a trained model.",
        EPILOG,
        page="explorer.html",
    )
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="where to look first for the data of the run (default: where the run found them)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _explore(argv), interrupted="interrupted; no page was written")


def _explore(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    # Imported late, because matplotlib and scikit-learn take seconds and usage errors need neither.
    from ddnmf_np.explore.content import gather, open_run
    from ddnmf_np.explore.page import render
    from ddnmf_np.system.files import atomic_write_text, make_folder

    checkpoint = open_run(flags.run)
    make_folder(flags.output.parent)  # before half a minute of work (MNIST)
    text = render(gather(checkpoint, flags.data_dir, say))
    atomic_write_text(flags.output, text)
    size = len(text.encode("utf-8")) / 1e6
    tell(f"{flags.output} ({size:.1f} MB): open it in a browser", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
