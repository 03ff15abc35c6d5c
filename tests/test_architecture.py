"""The shape of the package: imports point one way, and every equation can be followed."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ddnmf_np"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
DERIVATIONS = sorted((ROOT / "derivations").glob("[0-9][0-9]-*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]*.py"))
EQUATIONS = set(range(1, 11))

ROOMS = [
    {"errors"},
    {"system"},
    {"backends"},
    {"engine"},
    {"data"},
    {"evaluation"},
    {"config", "model", "training"},
    {"parallel"},
    {"runs", "report"},
    {"estimator", "plots"},
    {"explore", "playground", "trace", "experiments", "bench", "teaching", "rank", "transform"},
    {"train", "doctor", "__main__"},
]
"""Modules and folders of the package, from the ground up: an import points up this list."""

ENGINE_NEEDS = {"ddnmf_np.backends.ops", "ddnmf_np.errors", "ddnmf_np.system.options"}
"""What the lesson imports besides its own files: plain arithmetic, which needs NumPy alone."""

MOST_LINES = 300
"""Of a file of the engine: a reader takes it in at one sitting."""

MOST_IN_THE_ENGINE = 1500
"""Lines of all its files together: an afternoon."""

MOST_AT_THE_ROOT = 8
"""Modules that lie beside the folders."""

MOST_LEVELS = 11
"""Modules in the longest chain of imports at the top of files."""

COMPUTING = ("backends", "engine", "data")
"""Folders in which an equation is computed."""

FRAMEWORKS = {"torch", "jax", "tensorflow", "keras", "autograd", "theano", "mxnet", "flax"}


def name_of(path):
    """Return a file's dotted name: ``ddnmf_np/backends/ops.py`` is ``ddnmf_np.backends.ops``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def imports(path, *, at_once=False):
    """Return the modules that a file imports, wherever in it, also by ``import_module("name")``.

    ``at_once`` leaves out those that a function imports later, and those of types.
    """
    found, tree = set(), ast.parse(path.read_text("utf-8"))
    if at_once:
        late = (ast.FunctionDef, ast.ClassDef)
        tree.body = [
            node for node in tree.body if not isinstance(node, late) and not of_types(node)
        ]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(level=0, module=module, names=names):
                # ``from package import module`` imports the module, not the package's front.
                inner = {f"{module}.{alias.name}" for alias in names} & MODULES.keys()
                found |= inner or {module}
            case ast.ImportFrom():
                raise AssertionError(f"{path}: a relative import; write the whole name")
            case ast.Call(func=ast.Name(id=call) | ast.Attribute(attr=call), args=[first, *_]):
                if call in ("import_module", "__import__") and isinstance(first, ast.Constant):
                    found.add(first.value)
    return found


def of_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@functools.cache
def imported():
    """Return the imports of every module; not at collection, which each worker repeats."""
    return {name: imports(path) for name, path in MODULES.items()}


def room_of(module):
    """Return the number of the room that a module of the package is in."""
    name = module.split(".")[1]
    for number, room in enumerate(ROOMS):
        if name in room:
            return number
    raise AssertionError(f"{module} is in no room; add {name!r} where it belongs, in ROOMS")


def inside(module):
    return {name for name in imported()[module] if name.split(".")[0] == "ddnmf_np"}


def test_imports_point_one_way():
    for module in MODULES.keys() - {"ddnmf_np"}:
        for other in inside(module) - {"ddnmf_np"}:
            assert other in MODULES, f"{module} imports {other}, which does not exist"
            assert room_of(other) <= room_of(module), f"{module} imports {other}"


def test_the_loop_knows_neither_ranks_nor_windows():
    """Feeds and steps do; the rooms above keep ``parallel`` out of it."""
    assert not [name for name in inside("ddnmf_np.training") if "streaming" in name]
    assert room_of("ddnmf_np.training") < room_of("ddnmf_np.parallel.step")


def test_no_import_goes_round_in_a_circle():
    graph = {name: inside(name) - {"ddnmf_np"} for name in MODULES if name != "ddnmf_np"}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_chains_of_imports_are_short():
    """A reader who follows the imports of a file comes to the ground soon."""
    chains = {"ddnmf_np": []}

    def chain_of(name):
        if name not in chains:
            inner = imports(MODULES[name], at_once=True) & MODULES.keys() - {name}
            longest = max(map(chain_of, inner), key=len, default=[])
            chains[name] = [name, *longest]
        return chains[name]

    longest = max(map(chain_of, MODULES), key=len)
    assert len(longest) <= MOST_LEVELS, " > ".join(longest)


def test_the_front_imports_nothing_of_the_package_at_once():
    """Its names are resolved on first use, so that the engine alone stays light."""
    code = (
        "import sys, ddnmf_np\n"
        "assert [m for m in sys.modules if m.startswith('ddnmf_np')] == ['ddnmf_np']\n"
        "assert ddnmf_np.gradcheck.__module__ == 'ddnmf_np.engine.gradcheck'\n"
        "assert 'sklearn' not in sys.modules\n"
        "assert {'DDNMF', 'gradcheck'} <= set(dir(ddnmf_np))\n"
    )
    run(code)


def test_engine_reads_in_the_order_it_declares():
    """Each file of the reading order imports none that comes after it."""
    order = ["literal", "arena", "layers", "network", "nmf", "losses", "descent"]
    order += ["problems", "gradcheck"]
    text = (PACKAGE / "engine" / "__init__.py").read_text("utf-8")
    places = [text.index(f"``{name}``") for name in order]
    assert places == sorted(places)
    for number, name in enumerate(order):
        later = {f"ddnmf_np.engine.{other}" for other in order[number + 1 :]}
        assert not inside(f"ddnmf_np.engine.{name}") & later, name


@pytest.mark.parametrize("module", [m for m in sorted(MODULES) if ".engine" in m])
def test_engine_needs_numpy_alone(module):
    foreign = {name.split(".")[0] for name in imported()[module]} - set(sys.stdlib_module_names)
    assert foreign <= {"numpy", "ddnmf_np"}
    outside = {name for name in inside(module) if not name.startswith("ddnmf_np.engine.")}
    assert outside <= ENGINE_NEEDS


def test_files_of_the_engine_are_short():
    long = {
        path.name: lines
        for path in (PACKAGE / "engine").glob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > MOST_LINES
    }
    assert not long


def test_the_engine_is_short():
    lines = {
        path.name: len(path.read_text("utf-8").splitlines())
        for path in (PACKAGE / "engine").glob("*.py")
    }
    assert sum(lines.values()) <= MOST_IN_THE_ENGINE, lines


def test_few_modules_are_at_the_root():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert len(modules) <= MOST_AT_THE_ROOT, sorted(modules)


def test_cupy_numba_and_nvmath_are_imported_in_one_place_each():
    places = {"cupy": "select", "numba": "ops_numba", "nvmath": "cublas"}
    for module, names in imported().items():
        for package in places.keys() & {name.split(".")[0] for name in names}:
            assert module == f"ddnmf_np.backends.{places[package]}", package


PEERS = {"torch_peer": {"torch"}, "jax_peer": {"jax"}, "keras_peer": {"keras", "tensorflow"}}
"""Files of ``ddnmf_np/bench`` that measure a framework, and which."""


def test_no_framework():
    """Every gradient is written by hand; frameworks are what the benchmark compares it with."""
    for module, names in imported().items():
        room, file = ("", *module.split("."))[-2:]
        allowed = PEERS.get(file, set()) if room == "bench" else set()
        assert not {name.split(".")[0] for name in names} & FRAMEWORKS - allowed, module
        assert room == "bench" or not any(n.endswith("_peer") for n in inside(module)), module


def test_checks_of_imports_see_what_they_should(tmp_path):
    """The test of the tests: each way of importing is found."""
    source = tmp_path / "module.py"
    source.write_text(
        "import torch.nn\n"
        "from jax import numpy\n"
        "def f():\n"
        "    import keras\n"
        "    from importlib import import_module\n"
        "    import_module('cupy.cuda'), importlib.import_module('numba'), __import__('autograd')\n"
        "if TYPE_CHECKING:\n"
        "    from ddnmf_np.backends import ops\n"
    )
    assert imports(source) == {
        "torch.nn", "jax", "keras", "importlib", "cupy.cuda", "numba", "autograd",
        "ddnmf_np.backends.ops",
    }  # fmt: skip
    assert imports(source, at_once=True) == {"torch.nn", "jax"}
    source.write_text("from . import ops\n")
    with pytest.raises(AssertionError, match="relative import"):
        imports(source)


def run(code):
    """Run code in an interpreter of its own, which has loaded nothing yet."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_engine_loads_numpy_alone():
    """Not what the files say but what the interpreter does."""
    engine = [m for m in MODULES if ".engine" in m]
    run(
        "import sys, numpy.random\n"
        "before = set(sys.modules)\n"
        f"import {', '.join(engine)}\n"
        "from ddnmf_np.engine.gradcheck import gradcheck\n"
        "from ddnmf_np.engine.layers import Dense\n"
        "assert gradcheck(Dense(5, 3, 'tanh'), verbose=False).ok\n"
        "loaded = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "foreign = loaded - set(sys.stdlib_module_names) - {'numpy', 'ddnmf_np'}\n"
        "assert not foreign, foreign\n"
    )


# -- every equation: a derivation, a test, a docstring, a line of code and a notebook's cell -----


def search(number):
    """Return the pattern that finds all there is of an equation, such as 9.

    ``grep -rnE --include=*.md --include=*.py "[Ee]quation[ (]9\\b" derivations ddnmf_np tests
    notebooks``
    """
    return re.compile(rf"[Ee]quation[ (]{number}\b")


@functools.cache
def commented_code(path):
    """Return the comments at the end of a line of code, of which a closing bracket is none.

    A comment on a line of its own computes nothing.
    """
    found = []
    with path.open("rb") as stream:
        code = False
        for token in tokenize.tokenize(stream.readline):
            match token.type:
                case tokenize.NAME | tokenize.NUMBER:
                    code = True
                case tokenize.COMMENT if code:
                    found.append(token.string)
                case tokenize.NL | tokenize.NEWLINE:
                    code = False
    return found


def cells(path):
    """Return the kind ("code", "markdown") and the text of every cell of a notebook's script."""
    parts = re.split(r"^# %%(.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    return [
        ("markdown" if "[markdown]" in head else "code", text)
        for head, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def shown_in(path, number):
    """Return whether a code cell of a notebook cites an equation, or the text right above one."""
    found, kinds_and_texts = search(number), cells(path)
    below = [kind for kind, _ in kinds_and_texts[1:]] + [None]
    return any(
        found.search(text) and "code" in (kind, next_kind)
        for (kind, text), next_kind in zip(kinds_and_texts, below, strict=True)
    )


def test_search_finds_what_it_should_and_no_more(tmp_path):
    """The test of the tests."""
    assert search(1).search("see equation 1.")
    assert search(1).search("@pytest.mark.equation(1)")
    assert not search(1).search("equation 10, equations 1 and 2, equation(12)")
    code = tmp_path / "code.py"
    code.write_text(
        '"""Equation 1."""\n# equation 2\nf(  # equation 3\n    x,\n)  # equation 4\n'
        "# equation 5\ny = 1  # equation 6\n"
    )
    assert commented_code(code) == ["# equation 3", "# equation 6"]
    script = tmp_path / "01-a.py"
    script.write_text(
        "# equation 1\n# %% [markdown]\n# Equation 2\n# %% [markdown]\n# equation 3\n"
        '# %% tags=["solution"]\nx = 1  # equation 4\n# %% [markdown]\n# equation 5\n'
    )
    assert [kind for kind, _ in cells(script)] == ["markdown", "markdown", "code", "markdown"]
    assert [n for n in range(1, 6) if shown_in(script, n)] == [3, 4]


@functools.cache
def marks(path):
    """Return the numbers of all ``pytest.mark.equation(...)`` in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="equation", value=ast.Attribute(attr="mark"))):
                assert len(node.args) == 1, f"{path}: mark equation takes one number"
                found.add(ast.literal_eval(node.args[0]))
    return found


def citations(text):
    """Return the numbers in "equation 3", "equations 4, 5 and 6", "equations 4 to 7"."""
    found = set()
    numbers = r"\d+(?:(?:,\s*|\s+and\s+|,\s+and\s+|\s+to\s+)\d+)*"
    for match in re.finditer(rf"\b[Ee]quations?\s+({numbers})", text):
        for first, last in re.findall(r"(\d+)(?:\s+to\s+(\d+))?", match[1]):
            found |= set(range(int(first), int(last or first) + 1))
    return found


@functools.cache
def docstrings(path):
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


@functools.cache
def functions_docstrings(path):
    """Return the docstrings of classes and functions: a module's summary computes nothing."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


def resolve(name):
    """Return the module, class or function of a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("see equation 3.", {3}),
        ("(equations 9 and 10)", {9, 10}),
        ("equations 4, 5 and 6", {4, 5, 6}),
        ("Equations 2, 4 to 7, 12 samples in equation 1", {1, 2, 4, 5, 6, 7, 12}),
        ("equations 9,\n    10: 11", {9, 10}),
        ("an equation of 5 terms", set()),
    ],
)
def test_citations_are_read_as_meant(text, numbers):
    assert citations(text) == numbers


def assert_side_by_side(text):
    """Fail unless a text quotes lines of literal.py and of another file, all as they are there."""
    rows = re.findall(r"^(?:# )?\| `([\w/]+\.py)` \| `(.+)` \|$", text, flags=re.MULTILINE)
    literal, files = "ddnmf_np/engine/literal.py", {file for file, _ in rows}
    assert literal in files
    assert files - {literal}
    for file, line in rows:
        assert line in (ROOT / file).read_text("utf-8"), f"{file} has no line {line}"


@pytest.mark.parametrize("number", ["02", "04", "05"])
def test_notebooks_show_the_paper_s_line_beside_the_batch_s(number):
    [path] = [path for path in NOTEBOOKS if path.name.startswith(number)]
    assert_side_by_side(path.read_text("utf-8"))


@pytest.mark.parametrize("number", sorted(EQUATIONS))
class TestEveryEquation:
    def test_is_derived(self, number):
        files = [path for path in DERIVATIONS if path.name.startswith(f"{number:02d}-")]
        assert len(files) == 1, f"expected one derivations/{number:02d}-*.md"
        heading = files[0].read_text("utf-8").splitlines()[0]
        assert re.match(rf"# Equation {number}\b", heading)

    def test_is_tested(self, number):
        assert any(number in marks(path) for path in TESTS)

    def test_is_implemented_where_a_docstring_says_so(self, number):
        """A search for "equation 6" finds the docstring of what computes it, not a list."""
        computing = [p for p in SOURCES if p.parent.name in COMPUTING or p.stem == "model"]
        cited = re.compile(rf"\b[Ee]quation\s+{number}\b")
        assert any(cited.search(d) for p in computing for d in functions_docstrings(p)), number

    def test_is_found_at_the_line_that_computes_it(self, number):
        computing = [p for p in SOURCES if p.parent.name in COMPUTING]
        assert any(search(number).search(c) for p in computing for c in commented_code(p))

    def test_is_found_in_the_literal_equations(self, number):
        """What a student opens first has every equation, at the line that computes it."""
        literal = PACKAGE / "engine" / "literal.py"
        assert any(search(number).search(c) for c in commented_code(literal))

    def test_one_search_goes_from_derivation_to_test(self, number):
        """What the marks and headings above are found by is one and the same pattern."""
        [page] = [path for path in DERIVATIONS if path.name.startswith(f"{number:02d}-")]
        assert search(number).search(page.read_text("utf-8").splitlines()[0])
        marked = [path for path in TESTS if number in marks(path)]
        assert any(search(number).search(path.read_text("utf-8")) for path in marked)

    def test_is_shown_in_a_notebook(self, number):
        assert any(shown_in(path, number) for path in NOTEBOOKS), (
            f"no code cell of notebooks/*.py, nor the text right above one, cites equation {number}"
        )

    def test_its_derivation_shows_the_paper_s_line_beside_the_batch_s(self, number):
        """Each line that the table under "Side by side" quotes is in the file that it names."""
        [page] = [path for path in DERIVATIONS if path.name.startswith(f"{number:02d}-")]
        section = page.read_text("utf-8").partition("## Side by side\n")[2].partition("\n## ")[0]
        assert_side_by_side(section)

    def test_its_derivation_names_what_implements_it(self, number):
        """Some object that the page names in backquotes cites the equation in its docstring."""
        [page] = [path for path in DERIVATIONS if path.name.startswith(f"{number:02d}-")]
        named = re.findall(r"`(ddnmf_np(?:\.\w+)+)`", page.read_text("utf-8"))
        assert any(number in citations(inspect.getdoc(resolve(name)) or "") for name in named), (
            named
        )


def test_every_mark_is_of_an_equation():
    for path in TESTS:
        assert marks(path) <= EQUATIONS, path


def test_every_citation_is_of_an_equation():
    for path in SOURCES:
        for text in docstrings(path):
            assert citations(text) <= EQUATIONS, path


def test_every_derivation_is_of_its_number():
    numbers = [int(path.name[:2]) for path in DERIVATIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, path in zip(numbers, DERIVATIONS, strict=True):
        heading = path.read_text("utf-8").splitlines()[0]
        found = re.match(r"# Equation (\d+)\b", heading)
        assert (found and int(found[1])) == (number if number in EQUATIONS else None), path


def test_what_the_derivations_point_at_exists():
    """Test files, and names of the package in backquotes."""
    for path in [*DERIVATIONS, ROOT / "derivations" / "README.md"]:
        text = path.read_text("utf-8")
        for name in re.findall(r"\b(?:tests|ddnmf_np|derivations)/[\w./-]+\.(?:py|md|npz)\b", text):
            assert (ROOT / name).exists(), f"{path.name} points at {name}"
        for name in re.findall(r"`(ddnmf_np(?:\.\w+)+)`", text):
            resolve(name)
        if int(path.name[:2] if path.name[0].isdigit() else 0) in EQUATIONS:
            tests = re.findall(r"tests/[\w/]+\.py", text)
            assert any(int(path.name[:2]) in marks(ROOT / test) for test in tests), path.name


def test_every_test_that_needs_another_extra_is_selected_by_a_step_of_ci():
    """The mark deselects a test by default: without a step nobody would run it."""
    run = ROOT / ".ci" / "run"
    steps = run.read_text("utf-8") if run.exists() else ""  # a source distribution has no steps
    selected = set(re.findall(r"-m extra (tests/\w+)", steps))
    marked = {
        path.relative_to(ROOT).parent.as_posix()
        for path in TESTS
        if "pytest.mark.extra" in path.read_text("utf-8") and path != Path(__file__)
    }
    assert marked
    assert marked == selected or not steps
