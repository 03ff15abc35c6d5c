"""README and book say what is true: Python runs, commands parse, figures are recorded."""

import json
import re
import shlex
from pathlib import Path

import pytest

import ddnmf_np
from ddnmf_np.__main__ import COMMANDS
from ddnmf_np.bench.scaling import to_markdown as scaling_to_markdown
from ddnmf_np.bench.tables import overview, to_markdown
from ddnmf_np.config import configure
from ddnmf_np.train import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
RESULTS_PAGE = (ROOT / "derivations" / "results.md").read_text("utf-8")
SPEED_PAGE = (ROOT / "derivations" / "14-speed.md").read_text("utf-8")
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "derivations").rglob("*.md")})
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)  # not those marked "notest"
TRAIN = "python -m ddnmf_np.train "
TRAININGS = sorted(
    {
        line.partition("#")[0].strip()
        for page in PAGES
        for text in re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith(TRAIN)
    }
)


@pytest.mark.parametrize("code", [text for kind, text in BLOCKS if kind == "python"])
def test_python_blocks_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    if "gradcheck(Mine" in code:
        assert re.findall(r" (W1|b1|x) .* (ok|wrong)\n", out) == [
            ("W1", "ok"),
            ("b1", "wrong"),
            ("x", "ok"),
        ]
    elif "gradcheck(" in code:
        for line in README.partition("```text\n")[2].partition("```")[0].splitlines():
            assert line.split() in [printed.split() for printed in out.splitlines()]


def test_it_is_short():
    assert len(README.encode()) <= 10_000
    assert len(README.splitlines()) <= 190


def test_it_rounds_the_lines_of_the_files_that_it_names():
    text = README.partition("## Read the code")[2].partition("## More")[0]
    found = re.findall(r"`(?:ddnmf_np/)?([\w/]+\.py)` \((\d+)", text)
    assert len(found) == 8
    for name, lines in found:
        home = ROOT / "ddnmf_np"
        path = home / name if (home / name).exists() else home / "engine" / name
        assert len(path.read_text("utf-8").splitlines()) == pytest.approx(int(lines), rel=0.1), name


def test_it_counts_the_exercises_of_the_notebooks():
    rows = re.findall(r"^\| \[\d\]\((\S+)\.ipynb\) \|.*\| (\d+) \|$", README, re.MULTILINE)
    notebooks = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.py")}
    assert {name for name, _ in rows} == notebooks
    for name, count in rows:
        source = (ROOT / f"{name}.py").read_text("utf-8")
        assert len(re.findall(r'^# %% tags=\[.*"exercise"', source, re.MULTILINE)) == int(count)


def test_its_minutes_are_those_of_the_notebooks():
    rows = re.findall(r"^\| \[\d\]\((\S+)\.ipynb\) \|.*\| (\d+) \| \d+ \|$", README, re.MULTILINE)
    assert len(rows) == len([*(ROOT / "notebooks").glob("[0-9]*.py")])
    for name, minutes in rows:
        said = re.findall(r"About (\d+) minutes", (ROOT / f"{name}.py").read_text("utf-8"))
        assert said[:1] == [minutes], name


@pytest.mark.parametrize("command", TRAININGS)
def test_training_commands_are_valid(command):
    flags = vars(make_parser().parse_args(shlex.split(command.removeprefix(TRAIN))))
    for own in ("config", "output", "resume", "overwrite"):
        flags.pop(own, None)
    configure(**flags)


def test_the_two_set_up_commands_are_marked_for_ci():
    for name in ("main-job", "tests"):
        assert re.search(rf"<!-- {name} -->\n```bash\n.+?```", README, re.DOTALL), name


def test_the_first_run_beats_the_noise_and_the_mean_image_by_a_factor_of_two():
    output = README.partition("<!-- main-job -->")[2].partition("```text")[2].partition("```")[0]
    line = re.search(r"from noisy samples: +(\S+) .*itself (\S+)\)", output)
    student, noise = map(float, line.groups())
    clean, mean, pca, nmf = map(float, re.findall(r"\b\d\.\d+", output.splitlines()[2]))
    assert 2 * student <= min(noise, mean)
    assert clean <= 0.8 * min(pca, nmf)


def test_every_command_is_on_its_page():
    page = (ROOT / "derivations" / "how-to" / "command-line.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page.partition("## Train")[0], re.MULTILINE) == [*COMMANDS]


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (\S+)$", text, re.MULTILINE) == [ddnmf_np.__version__]
    for page in (README, text):
        assert "10.3389/fnbot.2021.701194" in page


def test_nothing_is_left_to_fill_in():
    for page in PAGES:
        assert "@@" not in page.read_text("utf-8"), page


def test_links_lead_somewhere():
    """On a code host, where a page may be read alone."""
    found = 0
    for page in PAGES:
        text = outside_of_fences(page.read_text("utf-8"))
        for link in re.findall(r"\]\((?!http)([^)#\s]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
            found += 1
    assert found > 100


def outside_of_fences(text):
    """Return the text of a page that a code host does not show as code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def test_the_front_page_of_the_book_leads_on_where_directives_are_grey_boxes():
    text = outside_of_fences((ROOT / "derivations" / "index.md").read_text("utf-8"))
    for page in ("learn", "use", "teach", "results", "internals"):
        assert f"]({page}.md)" in text, page
    assert "](internals.md#build-the-book)" in text
    assert 'class="cards"' in text


def row(summary):
    """Return a run's line of the table of results."""
    evaluation = summary["evaluation"]
    cells = [summary["objective"], str(summary["seed"])]
    for method in ("kmeans", "gmm-spherical"):
        entry = evaluation["scores"][method]
        spread = entry["spread"]["acc"]
        kept = " / ".join(f"{entry[name]:.3f}" for name in ("acc", "nmi", "ari"))
        cells.append(f"{kept} ({spread['min']:.2f}-{spread['max']:.2f})")
    errors = evaluation["reconstruction_error"]
    cells += [f"{errors['student_noisy']:.4f}", f"{errors['supervisor']:.4f}"]
    return f"| {' | '.join(cells)} |"


RESULTS = ROOT / "notebooks" / "results"
RECORDS = sorted(RESULTS.glob("*/summary.json"))
BENCH, SCALING = sorted(RESULTS.glob("*/bench.json")), sorted(RESULTS.glob("*/scaling.json"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.parent.name)
def test_results_are_those_of_the_records(record):
    assert row(json.loads(record.read_text("utf-8"))) in RESULTS_PAGE


def test_no_result_is_without_a_record():
    rows = re.findall(r"^\| (?:demo|paper) \| \d+ \|.*$", RESULTS_PAGE, re.MULTILINE)
    assert rows
    assert len(rows) == len(RECORDS)


@pytest.mark.parametrize("record", BENCH, ids=lambda p: p.parent.name)
def test_figures_of_the_benchmark_are_the_recorded_ones(record):
    results = json.loads(record.read_text("utf-8"))
    assert (record.parent / "bench.md").read_text("utf-8") == to_markdown(results)
    assert f"`{results['commit'][:7]}`" in SPEED_PAGE
    table = re.findall(r"^\| (.*?) \| (\S+) \|", overview(results), re.MULTILINE)
    times = {name: float(time) for name, time in table if name and time[0].isdigit()}
    pytorch = min(time for name, time in times.items() if name.startswith("PyTorch"))
    keras = min(time for name, time in times.items() if name.startswith("Keras"))
    said = (
        f"takes {times['engine, NumPy + fast']} ms with Numba and {times['engine, NumPy']} ms with "
        f"NumPy alone; JAX takes {times['JAX jit']}, Keras {keras}, PyTorch {pytorch} at its best"
    )
    assert said in " ".join(SPEED_PAGE.split())
    best = min(
        time for name, time in times.items() if name.split()[0] in ("PyTorch", "JAX", "Keras")
    )
    assert best == times["JAX jit"]
    assert not results["commit"].endswith("+"), "measured with changes that nobody can find"


@pytest.mark.parametrize("record", SCALING, ids=lambda p: p.parent.name)
def test_exponents_are_the_recorded_ones(record):
    text = (record.parent / "scaling.md").read_text("utf-8")
    assert scaling_to_markdown(json.loads(record.read_text("utf-8"))) == text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
