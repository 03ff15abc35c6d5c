"""The README says what is true: Python runs, commands parse, links lead, figures are recorded."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ddnmf_np.bench.scaling import to_markdown as scaling_to_markdown
from ddnmf_np.bench.tables import overview, targets, to_markdown
from ddnmf_np.config import configure
from ddnmf_np.train import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)  # not those marked "notest"
TRAIN = "python -m ddnmf_np.train "
COMMANDS = [
    line.partition("#")[0]
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.splitlines()
    if line.startswith(TRAIN)
]


@pytest.mark.parametrize("code", [text for kind, text in BLOCKS if kind == "python"])
def test_python_blocks_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    if "gradcheck(" in code:
        assert "26 of 26 blocks pass" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_training_commands_are_valid(command):
    flags = vars(make_parser().parse_args(shlex.split(command.removeprefix(TRAIN))))
    for own in ("config", "output", "resume", "overwrite"):
        flags.pop(own, None)
    configure(**flags)


def test_the_two_set_up_commands_are_marked_for_ci():
    for name in ("main-job", "tests"):
        assert re.search(rf"<!-- {name} -->\n```bash\n.+?```", README, re.DOTALL), name


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


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
    assert row(json.loads(record.read_text("utf-8"))) in README


def test_no_result_is_without_a_record():
    rows = re.findall(r"^\| (?:demo|paper) \| \d+ \|.*$", README, re.MULTILINE)
    assert rows
    assert len(rows) == len(RECORDS)


@pytest.mark.parametrize("record", BENCH, ids=lambda p: p.parent.name)
def test_figures_of_the_benchmark_are_the_recorded_ones(record):
    results = json.loads(record.read_text("utf-8"))
    assert (record.parent / "bench.md").read_text("utf-8") == to_markdown(results)
    for table in (overview(results), targets(results["verdicts"])):
        assert table in README
    assert f"`{results['commit'][:7]}`" in README
    assert not results["commit"].endswith("+"), "measured with changes that nobody can find"


@pytest.mark.parametrize("record", SCALING, ids=lambda p: p.parent.name)
def test_exponents_are_the_recorded_ones(record):
    text = (record.parent / "scaling.md").read_text("utf-8")
    assert scaling_to_markdown(json.loads(record.read_text("utf-8"))) == text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
    assert tables[0].strip() in README
