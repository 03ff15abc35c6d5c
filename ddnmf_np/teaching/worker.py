"""Judgement of one submission in a separate process, which `ddnmf_np.teaching.grading` starts.

Arguments: seconds of processor time for an exercise, mebibytes of memory, and names of exercises.
The notebooks are in the working folder. Each judgement is a line of JSON on standard output.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ddnmf_np
from ddnmf_np.teaching.check import Result, judge
from ddnmf_np.teaching.exercises import all_exercises

LONGEST = 2000
"""Largest number of characters of a reply."""

ASKS = re.compile(r"\bcheck\(\s*[\"']([\w-]+)[\"']")
"""Where a cell asks for a judgement, and of which exercise."""

# The notebooks whose imports we run if those of a submission fail. (No docstring: the book would
# show the path.)
CLONE = Path(ddnmf_np.__file__).parents[1] / "notebooks"


def find_answers(folder: Path) -> dict[str, tuple[str, str]]:
    """Return, by exercise, the imports of its notebook and the cells with answer and `check`.

    A cell with an answer is tagged ``exercise``; its `check` is in the same cell, or in one tagged
    ``check`` below.
    """
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("*.ipynb")):
        with suppress(Exception):  # no notebook from here on: its exercises are not found
            imports, answer = None, ""
            for cell in json.loads(path.read_text("utf-8"))["cells"]:
                if cell["cell_type"] == "code":
                    source = "".join(cell["source"])
                    imports = source if imports is None else imports
                    tags = cell.get("metadata", {}).get("tags", [])
                    if "exercise" in tags or "check" in tags:
                        answer = f"{answer}\n{source}" if "check" in tags else source
                        found |= dict.fromkeys(ASKS.findall(source), (imports, answer))
    return found


def _python(source: str) -> str:
    """Return a cell whose commands of IPython (``%``, ``!``) do nothing, if it has any."""
    try:
        compile(source, "cell", "exec")
    except SyntaxError:
        return re.sub(r"^([ \t]*)[%!].*", r"\1pass", source, flags=re.MULTILINE)
    return source


def judge_cells(name: str, imports: str, answer: str) -> tuple[dict[str, bool], str]:
    """Run the cells of an answer; return which blocks are right, and the reply."""
    results: list[Result] = []

    def check(exercise: str, given: Any) -> Result:
        results.append(judge(all_exercises()[exercise], given))
        return results[-1]

    space: dict[str, Any] = {"__name__": "submission"}
    try:
        try:
            exec(_python(imports), space)
        except (Exception, SystemExit):
            if name not in (ours := find_answers(CLONE)):
                raise
            exec(ours[name][0], space)
        space["check"] = check
        exec(_python(answer), space)
        reply = "The cell checks another exercise."
    except (Exception, SystemExit) as error:  # what was judged before it counts
        reply = f"The cell raised {type(error).__name__}: {error}"
    for result in results:
        if result.exercise.name == name:
            return dict(result.blocks), result.text
    return {}, reply


def main() -> None:
    """Judge the exercises in turn."""
    import resource

    seconds, memory, *names = sys.argv[1:]
    hard = math.ceil(float(seconds) * len(names)) + 60  # of all exercises together
    for limit, value in (
        (resource.RLIMIT_AS, int(memory) << 20),
        (resource.RLIMIT_FSIZE, 64 << 20),
        (resource.RLIMIT_CORE, 0),
    ):
        if sys.platform != "darwin" or limit != resource.RLIMIT_AS:  # macOS has no such limit
            resource.setrlimit(limit, (value, value))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    answers = find_answers(Path())
    for name in names:
        most = min(math.ceil(time.process_time() + float(seconds)), hard)
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
        blocks: dict[str, bool] = {}
        reply = "This exercise is not in the notebooks."
        if name in answers:
            blocks, reply = judge_cells(name, *answers[name])
        line = json.dumps({"name": name, "blocks": blocks, "reply": reply[:LONGEST]})
        print(line, file=replies, flush=True)


if __name__ == "__main__":
    main()
