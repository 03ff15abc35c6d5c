"""The README says what is true: Python runs, commands parse, links lead, figures are recorded."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ddnmf_np.config import Config
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
    Config(**flags)


def test_the_two_set_up_commands_are_marked_for_ci():
    for name in ("main-job", "tests"):
        assert re.search(rf"<!-- {name} -->\n```bash\n.+?```", README, re.DOTALL), name


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


RECORDS = sorted((ROOT / "notebooks" / "results").glob("*/summary.json"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.parent.name)
def test_results_are_those_of_the_records(record):
    assert row(json.loads(record.read_text("utf-8"))) in README


def test_no_result_is_without_a_record():
    rows = re.findall(r"^\| (?:demo|paper) \| \d+ \|.*$", README, re.MULTILINE)
    assert rows
    assert len(rows) == len(RECORDS)
