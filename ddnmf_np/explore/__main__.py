"""Make a web page of a trained model: ``python -m ddnmf_np.explore --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ddnmf_np.config import unknown
from ddnmf_np.errors import DDNMFError, OutputError, UsageError, printable
from ddnmf_np.explore.content import gather, open_run
from ddnmf_np.explore.page import render
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.run import INTERRUPTED
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.system.signals import interrupt_on_sigterm

EPILOG = """\
The page is one file: it needs no server and no network, and can be given away. Move the base units
H of a test image and watch what the student's decoder makes of them; see the part of each unit and
a map of the codes. If the data of the run cannot be had, the page has no samples and says so.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ddnmf_np.explore",
        description="Make one web page in which a trained model can be explored.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "run", nargs="*", type=Path, metavar="RUN_FOLDER", help="what ddnmf_np.train has written"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page; replaced if it exists (default: RUN_FOLDER/explorer.html)",
    )
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="where to look for the data of the run first (default: where the run found them)",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; raises `UsageError` for those that cannot be used."""
    try:
        flags, rest = make_parser().parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}; see --help") from error
    if rest:
        known = ["--output", "--data-dir"]
        raise UsageError(unknown("argument", rest[0].partition("=")[0], known, "see --help", 0.7))
    if len(flags.run) != 1:
        raise UsageError(f"{len(flags.run)} run folders given; expected one; see --help")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        with interrupt_on_sigterm():
            flags = parse(argv)
            folder: Path = flags.run[0]
            output: Path = flags.output or RunFolder(folder).explorer
            if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
                raise UsageError(f"output {output}: expected the name of a file that ends in .html")
            checkpoint = open_run(folder)
            make_folder(output.parent)  # before the work, which takes half a minute for MNIST
            text = render(gather(checkpoint, flags.data_dir, say))
            atomic_write_text(output, text)
            print(f"{output} ({len(text.encode('utf-8')) / 1e6:.1f} MB): open it in a browser")
            return 0
    except DDNMFError as error:
        print(printable(f"error: {error}", keep="\n\t"), file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(f"error: not enough memory: {error}; close other programs", file=sys.stderr)
        return UsageError.exit_code
    except BrokenPipeError:  # whoever read standard output has left
        sys.stdout = None  # or Python would complain about it once more at its end
        return OutputError.exit_code
    except OSError as error:
        print(
            printable(f"error: {error}; make room or check the path", keep="\n\t"), file=sys.stderr
        )
        return OutputError.exit_code
    except KeyboardInterrupt:
        print("interrupted; no page was written", file=sys.stderr)
        return INTERRUPTED


def say(text: str) -> None:
    """Tell what is going on, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
