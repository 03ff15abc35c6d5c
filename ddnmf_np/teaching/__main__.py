"""A course in a box, and its marks: ``python -m ddnmf_np.teaching --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.system.command import Parser, run_command

EPILOG = """\
course OUT writes student/ (notebooks without outputs, with nbgrader's metadata), instructor/
(solutions, typical wrong answers with the replies they get, questions for the class), slides.html,
handout.html and plan.html, which need no network. It reads the folder notebooks of a clone.

grade FOLDER reads a folder with one folder per student, each with that student's notebooks, and
writes grades.csv, blocks.csv and, for Gradescope, STUDENT/results.json. A submission is code: each
runs in a separate process on copies in a temporary folder; that process has limits of time and
memory. This is NO SANDBOX: the code has your rights and your network, can start more processes, and
can forge its marks and change those of others. Use a container or a separate user account.
Exit codes: 0 done, 2 usage, 3 package missing, 4 data or files, 130 interrupted."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        "ddnmf_np.teaching", "Write a course from the notebooks, or grade submissions.", EPILOG
    )
    parser.add_argument("what", metavar="course|grade", help="what to do")
    parser.add_argument("folder", type=Path, help="course: the folder to write; grade: to read")
    parser.add_argument(
        "--notebooks", type=Path, metavar="FOLDER", help="course: notebooks (default: the clone's)"
    )
    parser.add_argument(
        "--students",
        type=Path,
        metavar="FILE",
        help="course: names, one a line; each gets a notebook 2 with different numbers",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="grade: marks (default: FOLDER-marks)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        metavar="X",
        help="grade: processor time per exercise (default: 20)",
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=2048,
        metavar="MIB",
        help="grade: memory (default: 2048; no limit on macOS)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _teach(argv), interrupted="interrupted; written files are whole")


def _teach(argv: Sequence[str] | None) -> int:
    flags = make_parser().parse(argv)
    if flags.what not in ("course", "grade"):
        raise UsageError(unknown("argument", flags.what, ["course", "grade"]))
    if not 0 < flags.seconds < 1e6 or not 256 <= flags.memory < 1 << 24:
        raise UsageError(
            f"seconds is {flags.seconds:g} and memory {flags.memory}; expected seconds above 0 and "
            "at least 256 MiB"
        )
    # Imported late, because NumPy and scikit-learn take seconds and usage errors need neither.
    if flags.what == "course":
        from ddnmf_np.teaching.course import write_course

        write_course(flags.folder, flags.notebooks, flags.students)
    else:
        from ddnmf_np.teaching.grading import grade

        folder = flags.folder
        output = flags.output or folder.resolve().with_name(f"{folder.resolve().name}-marks")
        grade(folder, output, flags.seconds, flags.memory)
        print(f"marks are in {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
