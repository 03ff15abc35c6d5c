"""Write the report of a run again: ``python -m ddnmf_np.report --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ddnmf_np.config import unknown
from ddnmf_np.errors import DDNMFError, OutputError, UsageError, printable
from ddnmf_np.report.page import make_report
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.runs.run import INTERRUPTED
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.system.signals import interrupt_on_sigterm

EPILOG = """\
Every run of ddnmf_np.train writes its report; this writes it for a run of an older version, or for
one that was stopped. The page is one file and needs no network; print it from a browser. It is made
from what is in the folder, data are not needed, and nothing is computed again.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ddnmf_np.report",
        description="Write one page with options, losses, pictures, scores and machine of a run.",
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
        help="the page; replaced if it exists (default: RUN_FOLDER/report.html)",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; raises `UsageError` for those that cannot be used."""
    try:
        flags, rest = make_parser().parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error}; see --help") from error
    if rest:
        given = rest[0].partition("=")[0]
        raise UsageError(unknown("argument", given, ["--output"], "see --help", 0.7))
    if len(flags.run) != 1:
        raise UsageError(f"{len(flags.run)} run folders given; expected one; see --help")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        with interrupt_on_sigterm():
            flags = parse(argv)
            folder = RunFolder(flags.run[0])
            output: Path = flags.output or folder.report
            if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
                raise UsageError(f"output {output}: expected the name of a file that ends in .html")
            text = make_report(folder, linked_from=output)
            make_folder(output.parent)
            atomic_write_text(output, text)
            size = len(text.encode("utf-8", "replace")) / 1e6
            print(f"{output} ({size:.1f} MB): open it in a browser")
            return 0
    except DDNMFError as error:
        print(printable(f"error: {error}", keep="\n\t"), file=sys.stderr)
        return error.exit_code
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


if __name__ == "__main__":
    sys.exit(main())
