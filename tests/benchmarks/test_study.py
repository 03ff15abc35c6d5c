"""``python -m ddnmf_np.bench data --study``: the search for open values, and the rules of auto."""

import json
import math
from pathlib import Path

import pytest

from ddnmf_np.bench import study
from ddnmf_np.bench.__main__ import main
from ddnmf_np.bench.sets import SETS
from ddnmf_np.bench.splits import read
from ddnmf_np.bench.study import CHOOSE, CONFIRM, LEVELS, OPEN, RULED, RULES, chosen, criterion
from ddnmf_np.config import configure

ROOT = Path(__file__).parents[2]
PAPER = next(iter(OPEN))


def record(name, method, seed, fvu):
    return {"set": name, "rank": 2, "seed": seed, "hidden": 0.0, "method": method, "epochs": None,
            "fvu": fvu, "dead_outputs": 1, "n_features": 4}  # fmt: skip


def test_candidates_are_all_combinations_and_the_first_is_the_preset():
    assert len(OPEN) == math.prod(map(len, LEVELS.values()))
    assert OPEN[PAPER] == {}
    paper = configure(objective="paper")
    assert paper.objective.gamma_nc == paper.objective.beta_ap
    assert (paper.model.start, paper.optimizer.lr_schedule) == ("glorot", "constant")
    assert (paper.noise.kind, paper.noise.redraw) == ("masking", False)
    last = configure(objective="paper", **list(OPEN.values())[-1])
    assert (last.objective.gamma_nc, last.model.nmf_start, last.noise.kind) == (0.01, "pca", "none")
    assert not set(CHOOSE) & set(CONFIRM)
    assert {*CHOOSE, *CONFIRM, *RULED} <= set(SETS)


def test_each_rule_changes_what_auto_does():
    usual = configure(objective="auto")
    for options in list(RULES.values())[1:]:
        changed = configure(objective="auto", **options)
        assert (changed, changed.undecided) != (usual, usual.undecided)


def test_the_criterion_is_the_mean_log_fvu_of_sets_that_choose():
    names = list(OPEN)
    records = [record(s, m, 0, 0.5) for s in CHOOSE for m in names]
    records += [record(CONFIRM[0], names[1], 0, 1e-9)]
    records[5]["fvu"] = 0.25
    values = criterion(records)
    assert values[names[5]] == pytest.approx((math.log(0.25) + 2 * math.log(0.5)) / 3)
    assert chosen(records) == names[5]
    assert chosen(records[1:]) is None  # a candidate lacks a set
    table = study.to_markdown(records, "open")
    assert f"| 1 | {names[5].replace(', ', ' | ')} | 0.250 | 0.500 | 0.500 | 0.397 | 25% |" in table


def test_a_real_search_confirms_its_choice_and_goes_on(tmp_path, capsys, monkeypatch):
    few = {name: OPEN[name] for name in (PAPER, list(OPEN)[4])}
    monkeypatch.setattr(study, "OPEN", few)
    monkeypatch.setattr(study, "CHOOSE", ("iris",))
    monkeypatch.setattr(study, "CONFIRM", ("linnerud",))
    flags = ["data", "--study", "open", "--seeds", "0", "--epochs", "1", "--output", str(tmp_path)]
    assert main(flags) == 0
    records = read(tmp_path / "measurements.jsonl")
    assert [(r["set"], r["method"]) for r in records][:2] == [("iris", name) for name in few]
    assert {r["set"] for r in records[2:]} == {"linnerud"}
    best = min(records[:2], key=lambda r: r["fvu"])["method"]
    assert f"chosen ({best})" in capsys.readouterr().out
    monkeypatch.setattr(study, "fitted", None)  # everything has its record
    assert main(flags) == 0


def test_rules_are_switched_off_one_by_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study, "RULES", {k: RULES[k] for k in ("auto", "no scaling", "no noise")})
    monkeypatch.setattr(study, "RULED", ("iris",))
    flags = ["data", "--study", "rules", "--seeds", "0", "--epochs", "1", "--output", str(tmp_path)]
    assert main(flags) == 0
    found = {r["method"]: r["fvu"] for r in read(tmp_path / "measurements.jsonl")}
    assert len(set(found.values())) == 3
    ratio = found["no noise"] / found["auto"]
    assert f"| no noise | {ratio:.2f} | {ratio:.2f} |" in capsys.readouterr().out


def test_a_quick_check_in_the_same_folder_changes_no_table(tmp_path, capsys, monkeypatch):
    """A record of another length is of another search."""
    few = {name: OPEN[name] for name in (PAPER, list(OPEN)[4])}
    monkeypatch.setattr(study, "OPEN", few)
    monkeypatch.setattr(study, "CHOOSE", ("iris",))
    monkeypatch.setattr(study, "CONFIRM", ("linnerud",))
    monkeypatch.setattr(study, "RULES", {k: RULES[k] for k in ("auto", "no noise")})
    monkeypatch.setattr(study, "RULED", ("iris",))
    for name in ("open", "rules"):
        flags = ["data", "--study", name, "--seeds", "0", "--output", str(tmp_path / name)]
        printed = []
        for epochs in ("2", "1", "2"):
            assert main([*flags, "--epochs", epochs]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[2] != printed[1]
        assert {r["epochs"] for r in read(tmp_path / name / "measurements.jsonl")} == {1, 2}


def test_a_study_has_a_folder_and_a_table_to_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RULES", {"auto": {}})
    monkeypatch.setattr(study, "RULED", ("iris",))
    flags = ["data", "--sets", "iris", "--seeds", "0", "--epochs", "1"]
    assert main([*flags, "--study", "rules"]) == 0
    assert [path.name for path in Path("runs").iterdir()] == ["study-rules"]
    assert main(flags) == 0
    table = Path("runs/bench-data/data.md").read_text()
    assert main([*flags, "--study", "rules", "--output", "runs/bench-data"]) == 0
    capsys.readouterr()
    assert main(flags) == 0
    assert capsys.readouterr().out.strip() == table.strip(), "no row of a study"


def test_a_study_hides_nothing(tmp_path, capsys):
    flags = ["data", "--study", "rules", "--hide", "0.2", "--output", str(tmp_path / "out")]
    assert main(flags) == 2
    assert "--hide is 0.2, but a study hides no entries; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "page", "folder"),
    [("open", "search", "study-open"), ("rules", "defaults", "study-rules")],
)
def test_the_tables_of_the_pages_are_those_of_the_records(name, page, folder):
    records = read(ROOT / "notebooks" / "results" / folder / "measurements.jsonl")
    text = (ROOT / "derivations" / f"{page}.md").read_text("utf-8")
    assert all(json.dumps(r) and math.isfinite(r["fvu"]) for r in records)
    for table in study.to_markdown(records, name).strip().split("\n\n"):
        assert table in text
