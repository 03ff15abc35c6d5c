"""Every notebook: empty answers fail, solutions pass, wrong answers are known; files in step."""

import re
from importlib import import_module

import notebook_cases
import pytest
from notebook_cases import NAMES, NOTEBOOKS, ROOT, asked, code_cells, load, source, tags

from ddnmf_np.teaching import check, refresh
from ddnmf_np.teaching.cells import SOLUTIONS, WRONG, read_cells, run_cell
from ddnmf_np.teaching.check import judge
from ddnmf_np.teaching.exercises import MODULES, all_exercises

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)

ANSWERS = [
    pytest.param(path, name, id=f"{path.stem[:2]}-{name}")
    for path in NOTEBOOKS
    for cell in code_cells(path, "exercise")
    for name in asked(cell)
]


def test_there_is_a_notebook_for_each_module_of_exercises():
    assert [name[:2] for name in NAMES] == [module[2:4] for module in MODULES]
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.py")) == NAMES


def run(path, name):
    """Run the cell of an exercise as a student does who has run the imports; return the result."""
    (cell,) = [cell for cell in code_cells(path, "exercise") if name in asked(cell)]
    namespace = {"__name__": "notebook"}
    exec(compile(source(code_cells(path)[0]), f"{path.name}, first cell", "exec"), namespace)
    check, results = namespace["check"], []

    def recorded(*answer):
        results.append(check(*answer))
        return results[-1]

    namespace["check"] = recorded
    exec(compile(source(cell), f"{path.name}, {name}", "exec"), namespace)
    (result,) = results
    return result


@pytest.mark.parametrize(("path", "name"), ANSWERS)
def test_the_empty_answer_fails_and_says_what_is_asked_for(path, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(path, name)
    assert not result.passed
    assert f"{name}: not yet" in result.text
    assert result.text.splitlines()[0].count("yet") == 1
    assert all_exercises()[name].task in result.text
    assert "call it with ()" not in result.text
    assert not list(tmp_path.iterdir()), "an empty answer is kept"


def test_every_solution_passes_and_is_a_function_of_the_same_arguments():
    head, cells = read_cells(ROOT / "notebooks" / SOLUTIONS)
    assert list(cells) == list(all_exercises())
    for name, code in cells.items():
        answer = run_cell(head, code, f"solution of {name}")
        result = check(name, answer)
        assert result.passed, result.text


def test_typical_wrong_answers_get_the_right_diagnosis():
    head, cells = read_cells(ROOT / "notebooks" / WRONG)
    assert len(cells) >= 60
    assert {title.partition(":")[0] for title in cells} == set(all_exercises())
    for title, code in cells.items():
        name, _, words = title.partition(": ")
        result = judge(all_exercises()[name], run_cell(head, code, title))
        assert not result.passed, title
        assert words in result.text, f"{title}\n{result.text}"


@each_notebook
def test_each_exercise_is_asked_once_in_its_notebook_beside_every_kind_without_a_check(path):
    cells = code_cells(path)
    order = [name for cell in cells if "exercise" in tags(cell) for name in asked(cell)]
    (module,) = [module for module in MODULES if module[2:4] == path.name[:2]]
    names = [exercise.name for exercise in all_exercises().values() if _home(exercise) == module]
    assert order == names
    assert 2 <= len(names) <= 5
    assert not any(asked(cell) for cell in cells if "exercise" not in tags(cell))
    text = "".join(map(source, load(path)["cells"]))
    for kind in ("Predict first.", "**Predict.**", "**Debug.**", "**Open.**", "checked exercise"):
        assert kind in text, kind
    assert names[-1].startswith("pencil-"), "one exercise is done by hand, and checked"


def _home(exercise):
    """Return the module that lists an exercise."""
    for module in MODULES:
        listed = import_module(f"ddnmf_np.teaching.exercises.{module}").EXERCISES
        if exercise in listed:
            return module
    raise LookupError(exercise.name)


@each_notebook
def test_solutions_are_out_of_sight_and_drawing_is_folded(path):
    for cell in code_cells(path):
        assert "solution" not in tags(cell)
        if "hide-input" in tags(cell):
            assert cell["metadata"]["jupyter"]["source_hidden"] is True
    folded = [cell for cell in code_cells(path) if "hide-input" in tags(cell)]
    assert folded


@each_notebook
def test_the_notebook_is_small_and_was_executed_from_top_to_bottom(path):
    assert path.stat().st_size <= refresh.LARGEST
    counts = [cell["execution_count"] for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(path)), "no picture"


def outputs(path):
    return [output for cell in code_cells(path) for output in cell["outputs"]]


@each_notebook
def test_outputs_hold_no_error_no_warning_and_no_path_of_a_machine(path):
    for output in outputs(path):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", output["text"]
        data = output.get("data", {"text/plain": output.get("text", "")})
        text = "".join("".join(part) for kind, part in data.items() if kind.startswith("text/"))
        assert not re.search(r"(?<![\w.])/(?:home|root|tmp|usr|Users|work)\b|[A-Z]:\\", text), text


@each_notebook
def test_pictures_can_be_had_in_words(path):
    for output in outputs(path):
        if "image/png" in output.get("data", {}):
            assert output["metadata"].get("image/png", {}).get("alt"), "show(figure, alt)"


@pytest.mark.extra
@each_notebook
def test_both_files_of_a_pair_have_the_same_cells(path):
    notebook_cases.require_notebooks()
    written = refresh.read(path.with_suffix(".py"))
    cells = load(path)["cells"]

    def content(cell):
        options = {key: cell["metadata"].get(key) for key in ("tags", "jupyter")}
        return cell["cell_type"], source(cell), options

    remedy = f"python -m ddnmf_np.teaching.refresh notebooks/{path.stem}.py"
    assert [content(cell) for cell in written.cells] == [content(cell) for cell in cells], remedy


@each_notebook
def test_links_lead_somewhere(path):
    text = "\n".join(source(c) for c in load(path)["cells"] if c["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
