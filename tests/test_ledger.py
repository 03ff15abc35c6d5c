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
    assert set(forms[5:]) == {"test"}
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
    assert ledger.rows_of(1)[-1] == ("test", "", "")


def test_command_prints_every_equation(ledger, capsys):
    assert ledger.main() == 0
    out = capsys.readouterr().out
    assert [f"## Equation {n}" in out for n in range(1, 11)] == [True] * 10
