"""Rewrite the report of a run: ``python -m ddnmf_np.report --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ddnmf_np.system.command import PageParser, run_command, tell

EPILOG = """\
ddnmf_np.train writes the report of each run. Use this command for a run that was killed, or that an
older version made. The page is one file and needs no network; you can print it from a browser. It
shows the files of the run folder: it needs no data and computes nothing again.
Exit codes: 0 done, 2 usage, 4 data or files, 130 interrupted."""


def make_parser() -> PageParser:
    """Return the parser of the command line."""
    return PageParser(
        "ddnmf_np.report",
        "Write one page with the options, losses, pictures, scores and machine of a run.",
        EPILOG,
        page="report.html",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _report(argv), interrupted="interrupted; no page was written")


def _report(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    # Imported late, because matplotlib and scikit-learn take seconds and usage errors need neither.
    from ddnmf_np.report.page import make_report
    from ddnmf_np.runs.folder import RunFolder
    from ddnmf_np.system.files import atomic_write_text, make_folder

    text = make_report(RunFolder(flags.run), linked_from=flags.output)
    make_folder(flags.output.parent)
    atomic_write_text(flags.output, text)
    size = len(text.encode("utf-8", "replace")) / 1e6
    tell(f"{flags.output} ({size:.1f} MB): open it in a browser", sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
