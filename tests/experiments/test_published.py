"""Tables in pages: filled from records; the committed tables agree with the committed records."""

import re
import shutil
from pathlib import Path

import pytest
from experiments_cases import clustering, write

from ddnmf_np.errors import DataError
from ddnmf_np.evaluation.interpret import hoyer_sparsity
from ddnmf_np.experiments import parts
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.known_parts import KNOWN
from ddnmf_np.experiments.published import reader, render, report, updated
from ddnmf_np.experiments.records import Store
from ddnmf_np.experiments.tables import DATASET_TITLES, budgets, collect, frame_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results"
PAGES = (
    *(ROOT / "derivations" / f"{n}.md" for n in ("results", "experiments", "parts", "claims")),
    ROOT / "README.md",
)
GROWING = RESULTS / "curves"
"""Folder of the campaign of the claims; it may lack seeds, lengths or networks, or everything."""

COMMITTED = sorted(p for p in RESULTS.rglob("records.jsonl") if p.parent != GROWING)

TABLES = {
    "experiments": ("table1", "table2"),
    "noise": ("table3",),
    "ablation": ("ablation",),
    "weights": ("weights",),
    "ingredients": ("ingredients",),
    "recipe": ("recipe",),
    "epochs20": ("table1", "table2"),
    "epochs70": ("table1",),
    "parts": ("parts",),
}
"""Tables by the folder of their records in `RESULTS`; no other folder may exist."""

PLACES = {
    "results.md": {("table1", "experiments"), ("table2", "experiments"), ("table3", "noise")},
    "experiments.md": {
        *(("ablation", "ablation"), ("weights", "weights"), ("table1", "epochs70")),
        *(("recipe", "recipe"), ("ingredients", "ingredients"), ("table1", "epochs20")),
        ("table2", "epochs20"),
    },
    "parts.md": {("parts", "parts")},
    "claims.md": {("claims", "results"), ("curves", "results")},
    "README.md": {("verdicts", "results")},
}
"""Tables that a page must show, with the folder of their records."""

SUMS_OR_BARS = ("swimmer", "bars", "occluded", "spectra")
"""The four sets with known parts of the claims; the fifth is curved."""

FEWER_SEEDS = {
    "recipe": {3},  # those that were written down before the search
}
"""Number of seeds per row of the folders with trials; every other row has five."""


def places(text):
    """Return the tables that a page shows, each with the name of the folder of its records."""
    found = re.findall(r"^<!-- experiments (\S+) from=(\S+) -->$", text, re.MULTILINE)
    return {(table, Path(folder).name) for table, folder in found}


def counts(folder):
    """Return the number of seeds of every row of every table of a folder."""
    frame = frame_of(Store(folder).load()[0])
    found = {}
    for dataset in DATASET_TITLES:
        of_data = frame[frame["dataset"] == dataset]
        for budget in budgets(of_data):
            for row, seeds in collect(of_data, budget).items():
                found[dataset, budget, row] = len(seeds)
    return found


# -- what is committed --------------------------------------------------------------------


def test_all_that_is_to_be_committed_is_there():
    assert {path.parent.name for path in COMMITTED} == TABLES.keys()
    for folder, names in TABLES.items():
        assert {path.stem for path in (RESULTS / folder / "tables").iterdir()} == {*names}, folder
        for name in names:
            assert (RESULTS / folder / "tables" / f"{name}.md").stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_shows_every_table_that_it_should(page):
    assert PLACES[page.name] <= places(page.read_text("utf-8"))


def test_a_place_that_is_gone_is_missed():
    text = PAGES[0].read_text("utf-8")
    gone = text.replace("<!-- experiments table3 from=../notebooks/results/noise -->", "")
    assert places(text) - places(gone) == {("table3", "noise")}


@pytest.mark.parametrize("folder", [name for name in TABLES if name != "parts"])
def test_every_row_has_five_seeds_or_is_a_trial_with_fewer(folder):
    found = counts(RESULTS / folder)
    assert found
    if folder in FEWER_SEEDS:
        assert set(found.values()) == FEWER_SEEDS[folder]
    else:
        assert min(found.values()) >= 5


def test_answer_about_parts_is_that_of_the_records():
    """``derivations/parts.md``: the answer, length and reconstruction."""
    frame = parts.frame_of(Store(RESULTS / "parts").load()[0])
    seeds = frame.groupby(["dataset", "method"]).size()
    for dataset in KNOWN:
        runs = frame[frame["dataset"] == dataset]
        for method in ("nmf", "parts", *parts.CONTROLS):
            assert seeds[dataset, method] == 5
        assert parts.beats_controls(runs, "parts"), dataset
        found = runs.groupby("method")[["found_decoded", "found_effects"]].mean().max(axis=1)
        assert runs[runs["method"] == "parts"]["found_decoded"].min() == 1.0
        wide = ("paper-wide", "demo-wide")
        fvu = runs.groupby("method")["fvu"].median()
        for method in ("paper-long", "demo-long", *wide):
            assert seeds[dataset, method] == 5
            assert parts.beats_controls(runs, method) is False, (dataset, method)
        for method in ("paper", "demo", "stable", "auto", "auto-recovery", *wide):
            assert found[method] < 0.5, (dataset, method)
        for method in ("paper", "demo"):
            assert found[f"{method}-long"] <= 0.2, (dataset, method)
            assert found[f"{method}-wide"] <= 0.45
            assert fvu[f"{method}-long"] < fvu[method], (dataset, method)
            assert 0.12 < fvu[f"{method}-long"] < 0.525, (dataset, method)
    swimmer = (
        frame[frame["dataset"] == "swimmer"].groupby("method")[["fvu", "found_decoded"]].mean()
    )
    assert swimmer["fvu"]["demo"] > 1.0
    assert swimmer["fvu"]["auto"] < 0.01
    assert swimmer["found_decoded"]["auto"] < 0.05
    for dataset, runs in frame.groupby("dataset"):
        fvu = runs.pivot(index="seed", columns="method", values="fvu")
        assert (fvu["parts"] > fvu["nmf-best"]).all(), dataset
        stuck = {"swimmer": [0], "bars": [2]}.get(dataset, [])
        assert list(fvu.index[fvu["parts"] <= fvu["nmf"]]) == stuck, dataset


def test_parts_and_nmf_on_curved_data_are_those_of_the_records():
    """``derivations/parts.md``: both find all; only a curved output leaves less than NMF."""
    frame = parts.frame_of(Store(RESULTS / "parts").load()[0])
    runs = frame[frame["dataset"] == "absorbed"].set_index(["method", "seed"])
    for seed in range(5):
        for method in ("nmf", "nmf-best", "parts", "parts-tanh", "parts-deep", "parts-deep-tanh"):
            assert runs["found_decoded"][method, seed] == 1.0
        best = min(runs["fvu"]["nmf", seed], runs["fvu"]["nmf-best", seed])
        assert runs["fvu"]["parts-tanh", seed] < 0.7 * best < best < runs["fvu"]["parts", seed]


def test_H_of_parts_is_as_sparse_as_the_true_amounts():
    """``derivations/parts.md``: why no loss asks the network for sparsity."""
    found = parts.frame_of(Store(RESULTS / "parts").load()[0])
    found = found.set_index(["dataset", "method", "seed"])["sparse_H"]
    for dataset in SUMS_OR_BARS:
        for seed in range(5):
            known = parts.samples_of(dataset, seed)
            true = hoyer_sparsity(known.activations[len(known.training) :]).mean()
            assert found[dataset, "parts", seed] == pytest.approx(true, abs=0.05), dataset
            assert found[dataset, "demo", seed] < true - 0.5


def test_a_row_with_a_seed_less_is_counted(tmp_path):
    write(Store(tmp_path), *(clustering("nmf", s) for s in range(4)), clustering("ae1", 0))
    assert sorted(counts(tmp_path).values()) == [1, 4]


# -- the committed pages and tables, all of whose records are read -------------------------


@pytest.mark.extra
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_says_what_the_records_say(page):
    """If this fails: ``python -m ddnmf_np.experiments report --output FOLDER --into PAGE``."""
    records, problems = Store(RESULTS / "experiments").load()
    text = page.read_text("utf-8")
    assert updated(text, reader(page, records, problems)) == text
    assert problems == []


@pytest.mark.extra
def test_committed_records_are_all_of_use_and_none_is_there_twice():
    for path in (*COMMITTED, *GROWING.glob("records.jsonl")):
        records, problems = Store(path.parent).load()
        assert problems == []
        assert len(records) == len(path.read_bytes().splitlines()), path


@pytest.mark.extra
def test_committed_records_of_parts_have_the_names_that_the_command_looks_for():
    """With known parts, which need no download; the command would compute any other again."""
    records = [r for r in Store(RESULTS / "parts").load()[0] if r["dataset"] in KNOWN]
    for r in records:
        known = parts.samples_of(r["dataset"], r["seed"])
        assert str(parts.name_of(r["dataset"], r["method"], r["seed"], known)) == r["name"]
        assert ("iterations" in r) is (r["method"] in {"nmf", "nmf-sparse", "dictionary", "ica"})


@pytest.mark.extra
def test_committed_tables_say_what_the_records_say():
    for path in (*COMMITTED, *GROWING.glob("records.jsonl")):
        records, _ = Store(path.parent).load()
        for table in path.parent.glob("tables/*.md"):
            assert table.read_text("utf-8") == render(table.stem, records), table


# -- how it works -------------------------------------------------------------------------

PAGE = """\
before
<!-- experiments table1 -->
old
<!-- /experiments -->
between
<!-- experiments table1 from=other -->
<!-- /experiments -->
after
"""


@pytest.fixture
def page(tmp_path):
    """A page, and next to it the folder of records that the page names."""
    write(Store(tmp_path / "other"), clustering("nmf", 3, 0.25))
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_each_place_is_filled_from_its_own_folder(page):
    problems = []
    new = updated(PAGE, reader(page, [clustering("ae1", 0, 0.75)], problems))
    first, second = new.split("\nbetween\n")
    assert first.startswith("before\n<!-- experiments table1 -->\n\n### Table 1")
    assert "| AE1 | k-means | 1 | 0.750 |" in first
    assert "| NMF | k-means | 1 | 0.250 |" in second
    assert "AE1" not in second
    assert "\nRecords: [other](other); command: `" in second
    assert "Records:" not in first  # those of the command's own folder
    assert new.endswith("\n\n<!-- /experiments -->\nafter\n")
    assert "old" not in new
    assert "seed 0" not in new  # the short form
    assert problems == []


def test_what_is_up_to_date_does_not_change(page):
    records = [clustering("ae1", seed, 0.7) for seed in range(2)]
    new = updated(PAGE, reader(page, records, []))
    assert updated(new, reader(page, records, [])) == new
    assert updated(new, reader(page, records[1:], [])) != new


def test_a_number_that_was_edited_is_seen(page):
    records = [clustering("ae1", 0, 0.7)]
    new = updated(PAGE, reader(page, records, []))
    edited = new.replace("0.700", "0.701")
    assert edited != new == updated(edited, reader(page, records, []))


def test_a_page_without_places_is_left_alone():
    text = "a\r\nb\x0c\n<!-- a comment -->\n"
    assert updated(text, reader(Path("x"), [], [])) == text


def test_a_table_without_records_says_so():
    text = "<!-- experiments recipe -->\n<!-- /experiments -->"
    assert "There are no records yet." in updated(text, reader(Path("x"), [], []))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- experiments tabel1 -->\n<!-- /experiments -->", "did you mean 'table1'"),
        ("<!-- experiments table1 form=x -->\n<!-- /experiments -->", "expected '<!-- exp"),
        ("<!-- experiments table1 -->\n", "is not closed"),
        (
            "<!-- experiments table1 -->\ntext\n<!-- experiments table2 -->\n<!-- /experiments -->",
            "table1 -->' is not closed by .* before the next table",
        ),
        ("<!-- experiments table1 from=nowhere -->\n<!-- /experiments -->", "has no records"),
    ],
)
def test_a_place_that_cannot_be_filled_is_an_error(page, text, message):
    with pytest.raises(DataError, match=message):
        updated(text, reader(page, [], []))


def test_bad_records_of_a_folder_are_told(page):
    with (page.parent / "other" / "records.jsonl").open("a") as stream:
        stream.write("{\n")
    problems = []
    updated(PAGE, reader(page, [], problems))
    assert len(problems) == 1
    assert "records.jsonl: line 2: " in problems[0]


def test_a_record_of_another_form_does_not_stop_the_other_pages(page):
    whole = clustering("nmf", 4, 0.25)
    no_spread = whole | {"result": {"acc": 0.25}, "name": "no-spread"}
    no_kind = {key: value for key, value in whole.items() if key != "kind"} | {"name": "no-kind"}
    good = page.with_name("good.md")
    for bad, word in ((no_spread, "'spread'"), (no_kind, "'kind'")):
        page.write_text(PAGE)
        good.write_text("<!-- experiments steps -->\n<!-- /experiments -->\n")
        shutil.rmtree(page.parent / "other")
        write(Store(page.parent / "other"), bad)
        store = Store(page.parent / "new")
        store.create()
        [problem] = report(store, [], print, [page, good])
        assert problem.startswith(f"{page}: its records do not fit together (KeyError: {word})")
        assert page.read_text() == PAGE
        assert "step mnist" in good.read_text()


def test_a_name_in_two_folders_counts_once_and_a_curve_keeps_one_folder(page):
    """The same options, run twice on processors that round differently."""
    for folder, lengths, shift in (("b", (5, 10), 0.1), ("a", (5,), 0.0), ("c", (20,), 0.2)):
        made = [clustering("ae1", s, 0.5 + shift, epochs=e) for e in lengths for s in range(2)]
        write(Store(page.parent / "all" / folder), *made)
    records = reader(page, [], [])("all")
    assert len(records) == 8
    assert render("curves", records).count("| 0.600 ± 0.000 (2) | 0.600 ± 0.000 (2) | b |") == 1
    assert "20 epochs" not in render("curves", records)
    alone = [r for r in records if r["folder"] != "b"]  # no folder has two lengths
    assert "| 0.500 ± 0.000 (2) | 0.700 ± 0.000 (2) | a, c |" in render("curves", alone)
    fewer = clustering("ae1", 0, 0.9, epochs=40) | {"folder": "d"}  # seed 1 is still to come
    assert render("curves", [*alone, fewer]) == render("curves", alone)
    assert "| AE1 | k-means | 2 | 0.500 ± 0.000" in render("table1", alone)
    five = [r for r in records if r["epochs"] == 5]
    assert "| AE1 | k-means | 2 | 0.500 ± 0.000" in render("table1", five)


def test_report_renews_every_folder_in_a_folder(tmp_path):
    """It has afterwards the files that it had."""
    for folder, acc in (("a", 0.25), ("b", 0.5)):
        write(Store(tmp_path / folder), clustering("nmf", 0, acc), clustering("nmf", 1, acc))
    for folder, name in (("a", "table1"), ("b", "table2")):
        (tmp_path / folder / "tables").mkdir()
        (tmp_path / folder / "tables" / f"{name}.md").write_text("old")
    write(Store(tmp_path / "new"), clustering("nmf"))
    page = tmp_path / "page.md"
    page.write_text("<!-- experiments table1 from=a -->\n<!-- /experiments -->\n")
    assert main(["report", "--output", str(tmp_path), "--into", str(page)]) == 0
    assert "0.250" in (tmp_path / "a" / "tables" / "table1.md").read_text()
    assert [path.name for path in (tmp_path / "b" / "tables").iterdir()] == ["table2.md"]
    assert "0.250" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "new", "page.md"]
    assert not (tmp_path / "new" / "tables").exists()
