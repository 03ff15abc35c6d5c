"""The ledger: for each equation, where it is derived, computed and proven.

The rows come from the comments of the code and the marks of the tests, so they cannot go stale.
``python derivations/_sphinx/ledger.py`` prints them; ``ledger_page`` puts them into the book.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LITERAL = ["ddnmf_np/engine/literal.py"]
BATCH = [
    *(f"ddnmf_np/engine/{name}.py" for name in ("layers", "nmf", "network", "losses", "descent")),
    *(f"ddnmf_np/backends/{name}.py" for name in ("noise_ops", "ops")),
]
SCRIPTS = [
    f"ddnmf_np/playground/assets/{name}.js" for name in ("noise", "layers", "losses", "descent")
]

GPU = {
    1: "activate",
    2: "replace",
    3: "activate",
    4: "squared_distance",
    5: "squared_distance",
    6: "squared_distance",
    7: None,  # a weighted sum of a few numbers, on the host
    8: "descend",
    9: "delta",
    10: "delta",
}
"""The method of ``ddnmf_np.backends.ops_cupy.CupyOps`` that launches the kernel."""

KINDS = {
    "computer algebra": r"sympy",
    "literal equations": r"\bliteral",
    "finite differences": r"DIFFERENCE64|gradcheck",
    "twin backends": r"def test_\w+\((?:self, )?ops\b",
    "JavaScript": r"playground_cases|decoder\.decode",
}
"""Kinds of check, found by a pattern in a file of tests."""


def line_of(number: int, paths: list[str]) -> tuple[str, str] | None:
    """Return the first file and line of code whose comment cites an equation."""
    pattern = re.compile(rf"^(.*\S)\s+(?:#|//) .*\bequations? (?:\d+(?:, | and ))*{number}\b")
    for path in paths:
        for line in (ROOT / path).read_text("utf-8").splitlines():
            found = pattern.match(line)
            if found and not found[1].lstrip().startswith(("#", "*", "/*", "//", ")")):
                return path, found[1].strip()
    return None


def tests_of(number: int) -> list[str]:
    """Return the files of tests that are marked with an equation."""
    mark = re.compile(rf"mark\.equation\({number}\)")
    return [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.name != "test_architecture.py"  # which reads the marks
        and mark.search(path.read_text("utf-8"))
    ]


def kinds_of(path: str) -> list[str]:
    """Return the kinds of check in a file of tests."""
    text = (ROOT / path).read_text("utf-8")
    return [kind for kind, pattern in KINDS.items() if re.search(pattern, text)] or ["examples"]


def title_of(number: int) -> str:
    """Return the title of the page that derives an equation."""
    return page_of(number).read_text("utf-8").splitlines()[0].removeprefix("# ")


def page_of(number: int) -> Path:
    """Return the page that derives an equation."""
    [page] = (ROOT / "derivations").glob(f"{number:02d}-*.md")
    return page


def faults_of(number: int) -> str:
    """Return how many planted faults each kind of check saw in the file of the batched line."""
    path, _ = line_of(number, BATCH) or ("", "")
    lines = (ROOT / "derivations" / "13-gradient-check.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = next(row for row in rows if row[0] == "file")
    counts = next((row for row in rows if path.endswith(row[0]) and len(row) == len(heads)), None)
    if counts is None:
        return f"none in `{path}`, whose tests are in `tests/data`"
    seen = ", ".join(f"{head} {n}" for head, n in zip(heads[2:], counts[2:], strict=True))
    return f"{counts[1]} in `{path}`: {seen}"


def rows_of(number: int) -> list[tuple[str, str, str]]:
    """Return (form, place, line of code) for an equation; an empty place is a gap."""
    page = page_of(number)
    rows = [("derivation", f"[{page.name}]({page.name})", "")]
    for form, paths in (("literal", LITERAL), ("batched", BATCH), ("JavaScript", SCRIPTS)):
        path, code = line_of(number, paths) or ("", "")
        rows.append((form, f"`{path}`" if path else "", f"`{code}`" if code else ""))
    method = GPU[number]
    place = f"`ddnmf_np.backends.ops_cupy.CupyOps.{method}`" if method else "on the host"
    tests = [("test", f"`{path}`", ", ".join(kinds_of(path))) for path in tests_of(number)]
    faults = ("faults", "[planted](13-gradient-check.md#planted-faults)", faults_of(number))
    return [*rows, ("GPU", place, ""), *(tests or [("test", "", "")]), faults]


def table_of(number: int) -> list[str]:
    """Return the table of an equation, lines of Markdown."""
    rows = [f"| {form} | {place} | {code} |" for form, place, code in rows_of(number)]
    return ["| | where | line |", "|---|---|---|", *rows, ""]


def main() -> int:
    """Print the ledger."""
    for number in range(1, 11):
        print("\n".join([f"## {title_of(number)}", "", *table_of(number)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
