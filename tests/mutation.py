"""Mutation score of the engine's tests: ``python tests/mutation.py results.jsonl``.

The script plants one fault at a time (a sign, a factor, a dropped term, a transposition, ...) in a
temporary copy of the package, runs the tests below on the copy, and records which kinds of check
notice. Pytest does not collect it and CI does not run it. Results are appended to a JSON lines
file, so an interrupted run goes on where it stopped, and one after new tests tries again what
nothing had noticed. At the end the script prints tables and the faults that nothing noticed, and
writes the counts to ``tests/mutants.json``, from which the book's ledger is made.
"""

import argparse
import ast
import compileall
import functools
import hashlib
import inspect
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ddnmf_np"
COUNTS = ROOT / "tests" / "mutants.json"

PLANTED_IN = {
    "engine/layers.py": {"__repr__"},
    "engine/network.py": set(),
    "engine/losses.py": set(),
    "engine/descent.py": set(),
    "engine/nmf.py": set(),
    "data/components.py": set(),
    "backends/ops.py": {"device_name"},
}
"""Files in which faults are planted, and functions that are left out: noise (which tests/data
checks), and words."""

TESTS = [
    *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "tests/engine").glob("test_eq*.py")),
    "tests/engine/test_golden.py",
    "tests/engine/test_memory.py",
    "tests/engine/test_missing.py",
    "tests/engine/test_ops.py",
    "tests/engine/test_gradcheck.py::test_a_right_model_passes_with_each_difference_of_the_demo",
    "tests/engine/test_gradcheck.py::test_every_right_layer_passes",
    "tests/engine/test_gradcheck.py::test_a_right_network_passes",
    "tests/engine/test_symbolic.py",
]
MORE_TESTS = {
    "data/components.py": ["tests/training/test_start.py"],
    "engine/descent.py": ["tests/training/test_config.py::test_learning_rate"],
}
TWINS = "backends/ops.py"
"""The file that the tests of twins are run for: they compare its operations, and only these."""

SELECTED = (
    "not numba and not Twin and not allocates and not partial_fit and not built_in_block"
    " and not derivatives_of_the_objective and not a_wrong_gradient_is_seen"  # of no engine
    " and (not every_partial_derivative or paper or demo)"
)
SELECTED_TWINS = "Twin and (edges or test_activate) and not interpolation"
"""Plain NumPy and nothing that takes long; and Numba's twins of the operations."""
PRELOADED = [
    "pytest", "numpy", "hypothesis.strategies", "sklearn.decomposition", "scipy.stats", "sympy",
    "numba",
]  # fmt: skip
"""What the server of processes has imported before it makes one for each fault."""

KINDS = {
    "computer algebra": r"^test_symbolic",
    "twin": r"^\S+ Test\w*Twin",
    "golden trajectory": r"test_golden",
    "finite difference": r"test_gradcheck|gradients_with_30_percent|"
    r"^(?s:(?!.*ORACLE\d\d).*DIFFERENCE64)",  # a test that has both is of formulas
    "literal formulas": r"oracle|literal|RULES\[",
}
"""Kinds of check, found by a pattern in the name or the source of a test; the rest is "other"."""

SHOWN = [
    "computer algebra", "literal formulas", "finite difference", "golden trajectory", "twin",
    "other",
]  # fmt: skip
LIMIT = 1200
"""Seconds after which a mutant counts as noticed: it hangs."""

CHANGE_NOTHING = {
    "data/components.py principal_rows, comparison: variances > 1e-10 * max(variances[0], "
    "np.finfo(np.float64).tiny) -> (variances >= 1e-10 * max(variances[0], "
    "np.finfo(np.float64).tiny))": "no variance lies on the threshold to the last bit",
    "data/components.py principal_rows, number: 1e-10 -> (2e-10)": "the threshold has to lie "
    "between rounding (1e-16) and a direction that matters; where is a convention",
    "engine/descent.py _scales, number: 0.0 -> (1.0)": "only Adam reads the second number, and it "
    "writes its own",
    "engine/descent.py begin, number: 0 -> (-1)": "both networks' arenas have the same operations",
    "engine/descent.py __init__, number: 0 -> (-1) (2)": "both have the same operations",
    "engine/descent.py __init__, number: 0 -> (-1) (3)": "both have one dtype",
    "data/components.py blocks_from_code, swapped operands: mean @ mean -> ((mean) @ "
    "(mean))": "the operands are the same",
    "data/components.py blocks_from_code, swapped operands: code - mean -> ((mean) - (code))": "a "
    "variance does not depend on the sign",
    "data/components.py principal_rows, factor: directions * np.sign(largest) -> ((directions) / "
    "(np.sign(largest)))": "the sign is 1 or -1",
    "engine/losses.py appositive, factor: depth // 2 -> ((depth) / (2))": "depth is even, and a "
    "layer is only compared with its half",
    "backends/ops.py flush_constant, number: 4.0 -> (3.0)": "numbers beside it are 2 tiny apart "
    "as well, which is enough",
}
"""Faults that change no result, each with the reason."""


# -- faults ----------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """A piece of a file, as byte offsets, what stands there instead, and the cited equations."""

    path: str
    line: int
    sort: str
    name: str
    start: int
    end: int
    text: str
    equations: list[int]


OTHER_OPERATOR = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Pow: "*",
    ast.Mod: "*", ast.LShift: ">>",
}  # fmt: skip
SYMBOL = {ast.Sub: "-", ast.Div: "/", ast.MatMult: "@", ast.Pow: "**", ast.FloorDiv: "//"}
OTHER_COMPARISON = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COMPARISON = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OTHER_CALL = {
    "add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply",
    "maximum": "minimum", "minimum": "maximum", "negative": "positive", "expm1": "exp",
    "exp": "expm1", "greater": "greater_equal", "sqrt": "square", "sum": "mean",
    "reciprocal": "positive", "isnan": "isfinite", "tanh": "sin", "logaddexp": "maximum",
    "eigh": "eig", "abs": "sign", "sign": "abs", "argmax": "argmin", "log": "log2",
}  # fmt: skip
ORDERED = {
    "subtract",
    "divide",
    "matmul",
    "tap",
    "sum_outer",
    "copyto",
    "greater",
    "outer",
    "where",
}
"""Calls whose first two arguments are not of equal rank."""


def variants(node):
    """Yield (sort of fault, new text, node that it replaces)."""
    code = ast.unparse
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            a, b = f"({code(left)})", f"({code(right)})"
            if other := OTHER_OPERATOR.get(type(op)):
                sort = "sign" if isinstance(op, ast.Add | ast.Sub) else "factor"
                yield sort, f"({a} {other} {b})", node
            if isinstance(op, ast.Add | ast.Sub):
                yield "dropped term", a, node
                yield "dropped term", f"(-{b})" if isinstance(op, ast.Sub) else b, node
            if isinstance(op, ast.Mult | ast.Div):
                yield "factor", a, node
            if symbol := SYMBOL.get(type(op)):
                yield "swapped operands", f"({b} {symbol} {a})", node
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", f"({code(operand)})", node
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "condition", f"({code(operand)})", node
        case ast.Compare(left=left, ops=ops, comparators=others):
            for k in range(len(ops)):
                text = code(left)
                for j, (op, value) in enumerate(zip(ops, others, strict=True)):
                    table = OTHER_COMPARISON if j == k else COMPARISON
                    text += f" {table[type(op)]} {code(value)}"
                yield "comparison", f"({text})", node
        case ast.BoolOp(op=op, values=values):
            other = " or " if isinstance(op, ast.And) else " and "
            yield "condition", f"({other.join(f'({code(v)})' for v in values)})", node
        case ast.IfExp(test=test) | ast.If(test=test):
            yield "condition", f"(not ({code(test)}))", test
        case ast.Attribute(value=value, attr="T"):
            yield "transposition", f"({code(value)})", node
        case ast.Subscript(value=value, slice=ast.Slice()):
            yield "index", code(value), node
        case ast.Constant(value=bool() as value):
            yield "condition", str(not value), node
        case ast.Constant(value=int() | float() as value):
            small = isinstance(value, float) and 0.0 < value < 1.0
            for new in (2 * value, value / 2) if small else (value + 1, value - 1):
                yield "number", f"({new!r})", node
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=args, keywords=rest):
            if name in OTHER_CALL:
                yield "other operation", f"({code(owner)}).{OTHER_CALL[name]}", node.func
            if name in ORDERED and len(args) > 1:
                new = [args[1], args[0], *args[2:]]
                yield "swapped operands", code(ast.Call(node.func, new, rest)), node
        case ast.AugAssign(target=target, op=ast.Add() | ast.Sub() as op, value=value):
            other = "-" if isinstance(op, ast.Add) else "+"
            yield "sign", f"{code(target)} {other}= {code(value)}", node
            yield "overwritten sum", f"{code(target)} = {code(value)}", node
    if isinstance(node, ast.AugAssign | ast.For) or (
        (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield))
        or (isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple))
    ):
        yield "dropped statement", "pass", node


def parts(node, skipped, inside=None):
    """Yield nodes that do something, each with its function: no annotations, no messages."""
    if isinstance(node, ast.FunctionDef):
        if node.name in skipped:
            return
        children = [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
        inside = node
    elif isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    elif isinstance(node, ast.AnnAssign):
        children = [node.value] if node.value else []
    elif isinstance(node, ast.ClassDef):
        children = node.body
    else:
        yield node, inside
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from parts(child, skipped, inside)


def faults(path, source, skipped):
    """Return every fault that can be planted in a file, in the order of its lines."""
    from test_architecture import citations  # not in the processes that run the tests

    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found, names = [], Counter()
    for node, function in parts(ast.parse(source), skipped):
        place = slice(function.lineno - 1, function.end_lineno) if function else slice(0)
        equations = sorted(citations(b"".join(lines[place]).decode()))
        for sort, text, place in variants(node):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[place.end_lineno - 1] + place.end_col_offset
            before, after = (" ".join(s.split()) for s in (source[start:end].decode(), text))
            name = f"{path} {function.name if function else ''}, {sort}: {before} -> {after}"
            names[name] += 1
            name += f" ({names[name]})" if names[name] > 1 else ""
            found.append(Fault(path, place.lineno, sort, name, start, end, text, equations))
    return sorted(found, key=lambda fault: (fault.line, fault.start))


def all_faults():
    """Return every fault in every file."""
    found = []
    for path, skipped in PLANTED_IN.items():
        found += faults(path, (ROOT / PACKAGE / path).read_bytes(), skipped)
    return found


# -- one mutant ------------------------------------------------------------------------------------


def kind_of_text(text):
    """Return the kind of check that a test is, given its module, its name and its source."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, text)), "other")


@functools.cache
def kind_of(function):
    """Return the kind of check that a test is."""
    source = inspect.getsource(function)
    return kind_of_text(f"{function.__module__} {function.__qualname__}\n{source}")


class Noticed:
    """Plugin of pytest: each kind of check stops at its first failure."""

    def __init__(self):
        self.found, self.examples = [], []

    def pytest_runtest_setup(self, item):
        """Leave out the tests of a kind that has failed."""
        import pytest

        item.kind = kind_of(item.function)
        if item.kind in self.found:
            pytest.skip("this kind of check has noticed the fault")

    def pytest_runtest_makereport(self, item, call):
        """Note a failure."""
        import pytest

        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            self.found.append(item.kind)
            self.examples.append(item.nodeid)

    def pytest_collectreport(self, report):
        """Note a module that cannot be imported."""
        if report.failed:
            self.found.append("import")
            self.examples.append(report.nodeid)


def run_tests(copy, tests, selected, answer):
    """Run tests on the package in the folder ``copy``; send what noticed (in a child process)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1), os.dup2(nowhere, 2)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    import pytest

    plugin = Noticed()
    options = ["-q", "--no-header", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
    options += ["-k", selected, "-m", "not gpu and not paper_shape"]
    code = pytest.main([*options, *tests], plugins=[plugin])
    package = sys.modules.get(PACKAGE)
    if package is not None and not Path(package.__file__).is_relative_to(copy):
        plugin.found = [f"the tests ran on {package.__file__} and not on the copy"]
    elif code != 0 and not plugin.found:  # conftest.py cannot be imported
        plugin.found = ["import"]
    answer.send({"found": sorted(set(plugin.found)), "tests": plugin.examples})


def try_fault(fault, copy, context):
    """Return the record of one fault, planted in a folder and taken out again."""
    target = copy / PACKAGE / fault.path
    source = (ROOT / PACKAGE / fault.path).read_bytes()
    target.write_bytes(source[: fault.start] + fault.text.encode() + source[fault.end :])
    here, there = context.Pipe()
    tests = [*TESTS, *MORE_TESTS.get(fault.path, ())]
    selected = f"{SELECTED} or {SELECTED_TWINS}" if fault.path == TWINS else SELECTED
    child = context.Process(target=run_tests, args=(copy, tests, selected, there))
    child.start()
    there.close()
    try:
        noticed = {"found": ["other"], "tests": ["time limit"]}
        if here.poll(LIMIT):
            noticed = here.recv()
    except EOFError:
        noticed = {"found": ["other"], "tests": ["the process died"]}
    finally:
        child.kill()
        child.join()
        target.write_bytes(source)
    shown = ("path", "line", "sort", "name", "equations")
    return {key: getattr(fault, key) for key in shown} | noticed


# -- all of them -----------------------------------------------------------------------------------


def make_copy(folder):
    """Copy the package, compiled but for the files in which faults are planted."""
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder / PACKAGE, quiet=2)
    for path in PLANTED_IN:  # stale bytecode would hide a fault of the same size and second
        at = folder / PACKAGE / path
        for compiled in (at.parent / "__pycache__").glob(f"{at.stem}.*"):
            compiled.unlink()
    return folder


def run_all(wanted, results, jobs):
    """Try the faults that are not in the file of results, or that nothing has noticed yet."""
    done = {r["name"] for r in read(results) if r["found"] or r["name"] in CHANGE_NOTHING}
    todo = [fault for fault in wanted if fault.name not in done]
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    compileall.compile_dir(ROOT / "tests", quiet=2)
    lock, free = threading.Lock(), SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        for k in range(jobs):
            free.put(make_copy(Path(folder) / str(k)))

        def work(fault):
            copy = free.get()
            try:
                record = try_fault(fault, copy, context)
            finally:
                free.put(copy)
            with lock, results.open("a") as file:
                file.write(json.dumps(record) + "\n")

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, todo))


def read(results):
    """Return the last record of each fault."""
    lines = results.read_text().splitlines() if results.exists() else []
    return list({record["name"]: record for record in map(json.loads, lines)}.values())


def counts(records):
    """Return how many faults were planted, how many noticed, and how many by each kind of check."""
    kinds = {kind: sum(kind in r["found"] for r in records) for kind in [*SHOWN, "import"]}
    return {"planted": len(records), "noticed": sum(bool(r["found"]) for r in records)} | kinds


def all_counts(records):
    """Return counts by file, sort of fault and equation that the function cites; survivors."""
    tables = {
        title: {
            value: counts([r for r in records if r[key] == value])
            for value in sorted({record[key] for record in records})
        }
        for title, key in (("file", "path"), ("sort of fault", "sort"))
    }
    tables["equation"] = {
        str(number): counts([r for r in records if number in r["equations"]])
        for number in range(1, 11)
    }
    tables = {title: rows | {"all": counts(records)} for title, rows in tables.items()}
    return tables | {"survivors": [r["name"] for r in records if not r["found"]]}


def markdown(title, rows):
    """Return the lines of a table of counts."""
    head = [title, "planted", "noticed", *SHOWN, "import fails"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *(f"| {' | '.join(map(str, (k, *v.values())))} |" for k, v in rows.items())]


def report(records):
    """Return all tables, and the survivors."""
    lines, found = [], all_counts(records)
    survivors = found.pop("survivors")
    for title, rows in found.items():
        lines += [*markdown(title, rows), ""]
    first = Counter(
        next((k for k in ["import", *SHOWN] if k in r["found"]), "nothing") for r in records
    )
    only = Counter(r["found"][0] for r in records if len(r["found"]) == 1)
    lines += ["Noticed first by: " + ", ".join(f"{k} {n}" for k, n in first.items()) + "."]
    lines += ["Noticed by one kind only: " + ", ".join(f"{k} {n}" for k, n in only.items()) + "."]
    killed = len(records) - len(survivors)
    lines += ["", f"{killed} of {len(records)} noticed ({killed / len(records):.1%}).", ""]
    for name in survivors:
        lines += [f"- {name}", f"  {CHANGE_NOTHING.get(name, '**no reason known**')}"]
    return "\n".join(lines)


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", help="JSON lines; continued if it exists")
    parser.add_argument("--count", type=int, help="so many faults, drawn at random (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the faults and stop")
    flags = parser.parse_args()
    wanted = all_faults()
    if flags.list:
        return print("\n".join(fault.name for fault in wanted))
    # A longer run has the faults of a shorter one, an interrupted one has all sorts, and new code
    # leaves the other faults in their places.
    wanted.sort(key=lambda fault: hashlib.sha256(fault.name.encode()).digest())
    run_all(wanted[: flags.count], flags.results, flags.jobs)
    known = {fault.name for fault in wanted}
    records = [record for record in read(flags.results) if record["name"] in known]
    COUNTS.write_text(json.dumps(all_counts(records), indent=1) + "\n")
    return print(report(records))


if __name__ == "__main__":
    main()
