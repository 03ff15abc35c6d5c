"""Marks for a folder of submissions, with partial credit for each right block.

A submission is code that we do not trust. Each runs in a separate process with limits of time
and memory, on copies of its notebooks in a temporary folder, without the variables of this process.
This is no sandbox: the code has the rights of the user who runs it. It can use the network, start
processes that outlive it, and read and write the user's files, such as other submissions. Use a
container or a separate user account.

We do not limit the number of processes: the system counts all of a user's processes together, so
that the user's other programs could cost a student points; and for root there is no such limit.
"""

from __future__ import annotations

import csv
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ddnmf_np
from ddnmf_np.errors import BackendError, DataError, printable
from ddnmf_np.system.command import tell
from ddnmf_np.system.files import atomic_write_text, make_folder
from ddnmf_np.teaching.exercises import all_exercises

MOST_BYTES = 1 << 20
"""Largest total length of the replies of one process."""


@dataclass(frozen=True)
class Mark:
    """The mark of one exercise: which blocks are right, and the reply of `check`."""

    name: str
    blocks: dict[str, bool]
    reply: str

    @property
    def share(self) -> float:
        """Share of the blocks that are right."""
        return sum(self.blocks.values()) / len(self.blocks)


def grade(folder: Path, output: Path, seconds: float, memory_mib: int) -> None:
    """Grade all submissions in a folder, and write the marks.

    ``folder`` has a folder for each student, named as the student, with notebooks in it, or the
    notebooks of one student. Into ``output`` we write ``grades.csv`` (a line for each student),
    ``blocks.csv`` (a line for each block) and ``STUDENT/results.json`` (for Gradescope), again
    after each student. ``seconds`` is the processor time for one exercise; one that waits may take
    four times as long and a minute more. ``memory_mib`` limits the memory of the process.

    Raises `BackendError` if the system has no limits for processes (Windows), and `DataError` if
    there is no submission.
    """
    if sys.platform == "win32":
        raise BackendError("grade needs limits for processes, which Windows has not; use WSL")
    if any(folder.glob("*.ipynb")):
        students = [folder.resolve()]
    elif folder.is_dir():
        students = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    else:
        students = []
    if not students:
        raise DataError(f"{folder}: has no submission; give a folder with one folder per student")
    make_folder(output)
    rows, lines, names = [], [], list(all_exercises())
    for student in students:
        try:
            marks = mark(student, seconds, memory_mib)
        except Exception as error:  # a fault of one submission must not cost the others
            end = f"No marks: marking ended with {type(error).__name__}: {error}."
            tell(f"{printable(student.name)}: {printable(end)}", sys.stderr)
            marks = [_mark(name, {}, end) for name in names]
        score = sum(m.share for m in marks)
        tell(f"{printable(student.name)}: {score:.2f} of {len(marks)}", sys.stdout)
        rows.append([student.name, f"{score:.2f}", len(marks), *(f"{m.share:.2f}" for m in marks)])
        for m in marks:
            lines += [
                [student.name, m.name, b, int(right), m.reply] for b, right in m.blocks.items()
            ]
        make_folder(output / student.name)
        atomic_write_text(output / student.name / "results.json", _gradescope(marks))
        _write_csv(output / "grades.csv", ["student", "score", "of", *names], rows)
        _write_csv(output / "blocks.csv", ["student", "exercise", "block", "right", "reply"], lines)


def mark(submission: Path, seconds: float, memory_mib: int) -> list[Mark]:
    """Return the marks of one submission, one for each exercise.

    If a process dies or an exercise takes too long, that exercise gets no marks, and a new process
    with fresh copies goes on with the next one.
    """
    notebooks = _notebooks(submission)
    names, marks = list(all_exercises()), list[Mark]()
    while len(marks) < len(names):
        rest = names[len(marks) :]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            for path in notebooks:
                shutil.copyfile(path, Path(place, path.name))
            found, end = _run(submission.name, place, rest, seconds, memory_mib)
        marks += found
        if len(found) < len(rest):
            marks.append(_mark(names[len(marks)], {}, f"No marks: {end}."))
    return marks


def _notebooks(submission: Path) -> list[Path]:
    """Return the notebooks of a submission, from any depth, but no link; name what is skipped.

    Of several with one name we take the one that is least deep.
    """
    found: dict[str, Path] = {}
    for path in sorted(submission.rglob("*.ipynb"), key=lambda path: (len(path.parts), path)):
        if path.is_file() and not path.is_symlink() and ".ipynb_checkpoints" not in path.parts:
            first = found.setdefault(path.name, path)
            if first != path:
                old, new = (printable(str(p.relative_to(submission))) for p in (path, first))
                tell(f"{printable(submission.name)}: skipped {old}; we mark {new}", sys.stderr)
    return list(found.values())


def _run(
    student: str, place: str, names: Sequence[str], seconds: float, memory_mib: int
) -> tuple[list[Mark], str]:
    """Run a worker; return the marks until it ended, and why it ended."""
    environment = {  # nothing else: the variables of this process may hold secrets
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DDNMF_GRADING"), "1"),
        "PATH": os.defpath,
        "HOME": place,
        "TMPDIR": place,
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(Path(ddnmf_np.__file__).parents[1]),
        "DDNMF_STUDENT": student,
    }
    limits = [str(seconds), str(memory_mib)]
    command = [sys.executable, "-P", "-m", "ddnmf_np.teaching.worker", *limits, *names]
    process = subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group that can be ended with all its children
    )
    assert process.stdout is not None
    marks, end, text, length = list[Mark](), "", b"", 0
    patience = 4 * seconds + 60  # the clock runs while other programs have the processor
    deadline = time.monotonic() + patience
    try:
        while len(marks) < len(names) and not end:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([process.stdout], [], [], left)
            piece = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
            text, length = text + piece, length + len(piece)
            if not ready:
                end = f"it did not answer within {patience:g} s"
            elif not piece:
                end = _why_it_ended(process, seconds)
            elif length > MOST_BYTES:
                end = "it printed too much"
            *lines, text = text.split(b"\n")
            for line in lines:
                try:
                    marks.append(_read_mark(line, names[len(marks)]))
                except Exception:  # such as a RecursionError, for a line of brackets
                    end = "it wrote into the protocol of its marks"
                    break
                deadline = time.monotonic() + patience
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return marks, end


def _why_it_ended(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Say why a process has closed its output."""
    try:
        code = process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return "it closed its output"
    return f"it took longer than {seconds:g} s" if code == -signal.SIGXCPU else "its process ended"


def _read_mark(line: bytes, name: str) -> Mark:
    found = json.loads(line)
    if found["name"] != name:
        raise ValueError(name)
    return _mark(name, found["blocks"], str(found["reply"]))


def _mark(name: str, blocks: dict[str, bool], reply: str) -> Mark:
    asked = all_exercises()[name].blocks
    return Mark(name, {block: blocks.get(block) is True for block in asked}, reply)


def _gradescope(marks: Sequence[Mark]) -> str:
    """Return ``results.json`` as Gradescope reads it, one test for each exercise."""
    tests = [
        {
            "name": m.name,
            "score": round(m.share, 4),
            "max_score": 1,
            "status": "passed" if m.share == 1 else "failed",
            "output": m.reply,
        }
        for m in marks
    ]
    score = round(sum(m.share for m in marks), 4)
    return json.dumps({"score": score, "tests": tests}, indent=1) + "\n"


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table; a text that a spreadsheet would take for a formula gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([f"'{v}" if str(v).startswith(tuple("=+-@\t")) else v for v in row])
    atomic_write_text(path, stream.getvalue())
