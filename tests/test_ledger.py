"""The ledger of the book has a row for each equation, without a gap."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ledger():
    path = ROOT / "derivations" / "_sphinx" / "ledger.py"
    spec = importlib.util.spec_from_file_location("ledger", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("number", range(1, 11))
def test_every_equation_is_derived_computed_and_proven_in_each_form(ledger, number):
    rows = ledger.rows_of(number)
    forms = [form for form, _, _ in rows]
    assert forms[:5] == ["derivation", "literal", "batched", "JavaScript", "GPU"]
    assert set(forms[5:-1]) == {"test"}
    assert forms[-1] == "faults"
    assert all(place for _, place, _ in rows), rows
    for form, place, code in rows:
        if form in ("literal", "batched", "JavaScript"):
            assert code.strip("`") in (ROOT / place.strip("`")).read_text("utf-8")
            assert "|" not in code, "it would end the cell of the table"
        if form == "test":
            assert (ROOT / place.strip("`")).is_file()


def test_kernels_that_the_ledger_names_exist(ledger):
    text = (ROOT / "ddnmf_np" / "backends" / "ops_cupy.py").read_text("utf-8")
    for method in filter(None, ledger.GPU.values()):
        assert f"    def {method}(" in text


def test_a_gap_is_seen(ledger, monkeypatch):
    """The test of the tests: an equation that no line cites, and one that no test proves."""
    assert ledger.line_of(11, ledger.LITERAL) is None
    assert ledger.line_of(1, ["ddnmf_np/engine/arena.py"]) is None
    monkeypatch.setattr(ledger, "tests_of", lambda number: [])
    assert ledger.rows_of(1)[-2] == ("test", "", "")


def test_kinds_of_check(ledger):
    """Computer algebra, the literal equations and finite differences hold equations 9 and 10."""
    for number in (9, 10):
        kinds = {kind for path in ledger.tests_of(number) for kind in ledger.kinds_of(path)}
        assert kinds == {*ledger.KINDS}
    assert ledger.kinds_of("tests/engine/test_golden.py")


def test_faults_are_those_of_the_page_on_planted_faults(ledger):
    text = (ROOT / "derivations" / "13-gradient-check.md").read_text("utf-8")
    for number in range(1, 11):
        found = ledger.faults_of(number)
        if number == 2:
            assert found.startswith("none in `ddnmf_np/backends/noise_ops.py`")
            continue
        counts = [word.strip(",") for word in found.split() if word.strip(",").isdigit()]
        path = found.split("`")[1].removeprefix("ddnmf_np/")
        assert f"| {path} | {' | '.join(counts)} |" in text


def test_command_prints_every_equation(ledger, capsys):
    assert ledger.main() == 0
    out = capsys.readouterr().out
    assert [f"## Equation {n}" in out for n in range(1, 11)] == [True] * 10
