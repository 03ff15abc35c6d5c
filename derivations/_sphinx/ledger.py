"""The ledger: for each equation, where it is derived, computed and proven.

The rows come from the comments of the code, the marks of the tests and the counts that
``tests/mutation.py`` left in ``tests/mutants.json``, so they cannot go stale.
``python derivations/_sphinx/ledger.py`` prints them; ``ledger_page`` puts them into the book.
"""

import ast
import json
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import mutation  # noqa: E402 -- a script among the tests

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


def line_of(number: int, paths: list[str]) -> tuple[str, str] | None:
    """Return the first file and line of code whose comment cites an equation."""
    pattern = re.compile(rf"^(.*\S)\s+(?:#|//) .*\bequations? (?:\d+(?:, | and ))*{number}\b")
    for path in paths:
        for line in (ROOT / path).read_text("utf-8").splitlines():
            found = pattern.match(line)
            if found and not found[1].lstrip().startswith(("#", "*", "/*", "//", ")")):
                return path, found[1].strip()
    return None


@cache
def checks_in(path: Path) -> set[tuple[int, str]]:
    """Return each equation that a test of a file is marked with, and the kind of check it is."""
    text, found = path.read_text("utf-8"), set()
    lines = text.split("\n")  # `ast.get_source_segment` would split the text for each test again
    in_browser = re.search(r"playground_cases|decoder\.decode", text)

    def marks(nodes: list[ast.expr] | list[ast.stmt]) -> set[int]:
        return set(
            map(int, re.findall(r"mark\.equation\((\d+)\)", " ".join(map(ast.unparse, nodes))))
        )

    def look(body: list[ast.stmt], owner: str, marked: set[int]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{node.name}.", marked | marks(node.decorator_list))
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = f"{path.stem} {owner}{node.name}"
                source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                kind = mutation.kind_of_text(f"{name}\n{source}")
                kind = "in the browser" if in_browser else kind
                found.update((n, kind) for n in marked | marks(node.decorator_list))

    body = ast.parse(text).body
    of_file = [n for n in body if isinstance(n, ast.Assign) and "pytestmark" in ast.dump(n)]
    look(body, "", marks(of_file))
    return found


def checks_of(number: int) -> list[tuple[str, str, str]]:
    """Return (kind of check, files of tests, faults noticed) for an equation."""
    counts = json.loads(mutation.COUNTS.read_text("utf-8"))["equation"][str(number)]
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    rows = []
    for kind in [*mutation.SHOWN, "in the browser"]:
        paths = [path for path in files if (number, kind) in checks_in(path)]
        names = ", ".join(f"`{path.relative_to(ROOT).as_posix()}`" for path in paths)
        planted = counts["planted"] if kind in counts else 0
        noticed = f"{counts[kind]} of {planted}" if planted else "none planted"
        rows += [(kind, names, noticed)] if paths else []
    return rows


def title_of(number: int) -> str:
    """Return the title of the page that derives an equation."""
    return page_of(number).read_text("utf-8").splitlines()[0].removeprefix("# ")


def page_of(number: int) -> Path:
    """Return the page that derives an equation."""
    [page] = (ROOT / "derivations").glob(f"{number:02d}-*.md")
    return page


def rows_of(number: int) -> list[tuple[str, str, str]]:
    """Return (form, place, line of code or number) for an equation; an empty place is a gap."""
    page = page_of(number)
    rows = [("derivation", f"[{page.name}]({page.name})", "")]
    for form, paths in (("literal", LITERAL), ("batched", BATCH), ("JavaScript", SCRIPTS)):
        path, code = line_of(number, paths) or ("", "")
        rows.append((form, f"`{path}`" if path else "", f"`{code}`" if code else ""))
    method = GPU[number]
    place = f"`ddnmf_np.backends.ops_cupy.CupyOps.{method}`" if method else "on the host"
    return [*rows, ("GPU", place, ""), *(checks_of(number) or [("check", "", "")])]


def table_of(number: int) -> list[str]:
    """Return the table of an equation, lines of Markdown."""
    rows = [f"| {form} | {place} | {code} |" for form, place, code in rows_of(number)]
    return ["| | where | line, or planted faults noticed |", "|---|---|---|", *rows, ""]


def overview() -> list[str]:
    """Return the table of the faults that each kind of check noticed, a row for each equation."""
    counts = json.loads(mutation.COUNTS.read_text("utf-8"))
    return [*mutation.markdown("equation", counts["equation"]), ""]


def main() -> int:
    """Print the ledger."""
    print("\n".join(overview()))
    for number in range(1, 11):
        print("\n".join([f"## {title_of(number)}", "", *table_of(number)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
