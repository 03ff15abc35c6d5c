"""Whatever this package asks of its array module is there in CuPy, with the same arguments.

The names are read from the source (``xp.take``, ``self.xp.cuda.runtime...``, also through another
name that ``xp`` was assigned to), so that code which no test runs is checked as well.
"""

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import ddnmf_np
from ddnmf_np.backends.ops_cupy import CupyOps

PACKAGE = Path(ddnmf_np.__file__).parent
UFUNC_ARGUMENTS = {"out", "dtype", "casting"}
"""What a CuPy ufunc takes by name (its documentation; it has no signature)."""


class Use(NamedTuple):
    """A name that is asked of the array module; ``arguments`` if it is called, else None."""

    where: str
    name: str
    arguments: tuple[int, tuple[str, ...]] | None


def uses(source, where="test"):
    """Return every use of the array module in a source text (or its tree)."""
    tree = ast.parse(source) if isinstance(source, str) else source
    aliases = {"xp"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_module(node.value, aliases):
            aliases |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    found, inner = [], set()
    for node in ast.walk(tree):  # outer nodes first
        function = node.func if isinstance(node, ast.Call) else None
        target = function if isinstance(function, ast.Attribute) else node
        if not isinstance(target, ast.Attribute) or id(target) in inner:
            continue
        name = _dotted(target, aliases)
        if name is None:
            continue
        part = target
        while isinstance(part, ast.Attribute):
            inner.add(id(part))
            part = part.value
        arguments = None
        if target is function:
            starred = any(isinstance(a, ast.Starred) for a in node.args)
            keywords = tuple(k.arg for k in node.keywords if k.arg is not None)
            arguments = (-1 if starred else len(node.args), keywords)
        found.append(Use(f"{where}:{node.lineno}", name, arguments))
    return found


def _is_module(node, aliases):
    if isinstance(node, ast.Attribute):
        return node.attr == "xp"
    return isinstance(node, ast.Name) and node.id in aliases


def _dotted(node, aliases):
    """Return ``a.b`` of ``xp.a.b``, or None if this is not about the array module."""
    parts = []
    while isinstance(node, ast.Attribute) and not _is_module(node, aliases):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed(parts)) if parts and _is_module(node, aliases) else None


def problem(use, module, ufunc=()):
    """Return what is wrong with a use, or None."""
    found = module
    for part in use.name.split("."):
        if not hasattr(found, part):
            return f"{use.where}: there is no {use.name}"
        found = getattr(found, part)
    if use.arguments is None:
        return None
    positional, keywords = use.arguments
    if isinstance(found, ufunc):
        if set(keywords) - UFUNC_ARGUMENTS or positional > found.nargs:
            return f"{use.where}: ufunc {use.name} takes {UFUNC_ARGUMENTS}, not {keywords}"
        return None
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # compiled, and does not say
        return None
    try:
        signature.bind_partial(*[None] * max(positional, 0), **dict.fromkeys(keywords))
    except TypeError as error:
        return f"{use.where}: {use.name}{signature}: {error}"
    return None


def without_overridden(source):
    """Return the reference operations without the methods that CuPy never gets to."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "Ops":
            node.body = [part for part in node.body if getattr(part, "name", "") not in REPLACED]
    return tree


REPLACED = {
    name
    for name, method in vars(CupyOps).items()
    if inspect.isfunction(method) and "super()" not in inspect.getsource(method)
}


@cache
def all_uses():
    """Return what the package uses of the array module."""
    files = {p.relative_to(PACKAGE).as_posix(): p.read_text("utf-8") for p in PACKAGE.rglob("*.py")}
    files["backends/ops.py"] = without_overridden(files["backends/ops.py"])
    return [use for where, source in files.items() for use in uses(source, where)]


def test_the_package_is_searched():
    names = {use.name for use in all_uses()}
    assert {"matmul", "RawKernel", "bitwise_xor", "argsort", "isfinite",
            "cuda.runtime.getDeviceProperties", "copyto", "uint64", "zeros"} <= names  # fmt: skip


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("xp.take(x, i, axis=0)", [("take", (2, ("axis",)))]),
        ("self.xp.cuda.Device().id", [("cuda.Device", (0, ()))]),
        ("ops.xp.float64", [("float64", None)]),
        ("mod = self.xp\nmod.errstate(all='ignore')", [("errstate", (0, ("all",)))]),
        ("xp.add(*both, out=xp.empty(3))", [("add", (-1, ("out",))), ("empty", (1, ()))]),
        ("np.take(x)\nself.x.p", []),
    ],
)
def test_uses_are_found(source, found):
    assert [(use.name, use.arguments) for use in uses(source)] == found


@pytest.mark.cupy
def test_cupy_has_every_name_and_argument(cupy):
    problems = [found for use in all_uses() if (found := problem(use, cupy, cupy.ufunc))]
    assert not problems, "\n".join(problems)


@pytest.mark.cupy
@pytest.mark.parametrize(
    "source",
    ["xp.errstate(all='ignore')", "xp.take(x, i, mode='clip')", "xp.add(a, b, where=c)",
     "xp.argsort(a, stable=True)", "xp.sum(a, initial=0)", "xp.random.nonsense", "xp.exp(a, b, c)",
     "xp.zeros((2,), int, 'C', 4)"],
)  # fmt: skip
def test_what_cupy_does_not_have_is_found(cupy, source):
    (use,) = uses(source)
    assert problem(use, cupy, cupy.ufunc) is not None
