"""The ledger of the book has a row for each equation, without a gap."""

import importlib.util
import json
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


def test_every_equation_is_derived_computed_and_proven_in_each_form(ledger):
    for number in range(1, 11):
        rows = ledger.rows_of(number)
        forms = [form for form, _, _ in rows]
        assert forms[:5] == ["derivation", "literal", "batched", "JavaScript", "GPU"]
        checks = {"other"} if number == 2 else {"computer algebra", "golden trajectory", "other"}
        assert checks <= set(forms[5:]) <= {*ledger.mutation.SHOWN, "in the browser"}, number
        if number in (9, 10):
            assert set(forms[5:]) == {*ledger.mutation.SHOWN, "in the browser"}
        assert all(place for _, place, _ in rows), rows
        for form, place, code in rows:
            if form in ("literal", "batched", "JavaScript"):
                assert code.strip("`") in (ROOT / place.strip("`")).read_text("utf-8")
                assert "|" not in code, "it would end the cell of the table"
            if form in forms[5:]:
                assert all((ROOT / path.strip("`")).is_file() for path in place.split(", "))


def test_planted_faults(ledger):
    """The counts have today's kinds of check, survivors have reasons, and page 13 shows both."""
    counts = json.loads(ledger.mutation.COUNTS.read_text("utf-8"))
    survivors = counts.pop("survivors")
    assert set(survivors) <= set(ledger.mutation.CHANGE_NOTHING)
    for rows in counts.values():
        for row in rows.values():
            assert list(row) == ["planted", "noticed", *ledger.mutation.SHOWN, "import"]
        assert rows["all"]["noticed"] + len(survivors) == rows["all"]["planted"]
    assert list(counts["equation"]) == [*map(str, range(1, 11)), "all"]
    assert all(row["planted"] for number, row in counts["equation"].items() if number != "2")
    page = (ROOT / "derivations" / "13-gradient-check.md").read_text("utf-8")
    assert "\n".join(ledger.mutation.markdown("file", counts["file"])) in page


def test_kernels_that_the_ledger_names_exist(ledger):
    text = (ROOT / "ddnmf_np" / "backends" / "ops_cupy.py").read_text("utf-8")
    for method in filter(None, ledger.GPU.values()):
        assert f"    def {method}(" in text


def test_a_gap_is_seen(ledger, monkeypatch):
    """The test of the tests: an equation that no line cites, and one that no test proves."""
    assert ledger.line_of(11, ledger.LITERAL) is None
    assert ledger.line_of(1, ["ddnmf_np/engine/arena.py"]) is None
    monkeypatch.setattr(ledger, "checks_in", lambda path: set())
    assert ledger.rows_of(1)[-1] == ("check", "", "")


def test_command_prints_every_equation(ledger, capsys):
    assert ledger.main() == 0
    out = capsys.readouterr().out
    assert [f"## Equation {n}" in out for n in range(1, 11)] == [True] * 10
    assert [f"\n| {n} | " in out for n in range(1, 11)] == [True] * 10
