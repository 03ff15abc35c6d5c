"""Campaigns: no run is repeated, a failure does not stop the others, errors are clear."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from experiments_cases import (
    FLAGS,
    OPTIONS,
    PLACES,
    Deadly,
    command,
    drop,
    flatten_maps,
    records_of,
)
from forked import Forked

from ddnmf_np.errors import UsageError
from ddnmf_np.experiments import baselines, campaign, figures, networks
from ddnmf_np.experiments.__main__ import main, parse_results
from ddnmf_np.experiments.campaign import Unit, time_left
from ddnmf_np.experiments.networks import MAPPED_MODELS, NETWORKS
from ddnmf_np.experiments.records import ROOM, Store
from ddnmf_np.experiments.settings import EVERYTHING, RESULTS, Settings, Source, parse_seeds
from ddnmf_np.system.files import locked

pytestmark = pytest.mark.usefixtures("sketched_module")

ONE = ["table1", "--seeds", "2", "--maps", "tsne"]
TRAINED = ("ae1", "ae2", "ae-linear", "ddnmf-paper", "ddnmf-demo", "ddnmf-stable")


@pytest.fixture
def computed(monkeypatch):
    """Labels of the computed representations, in their order."""
    labels = []
    compute = baselines.compute

    def counting(spec, **kwargs):
        labels.append(spec.label)
        return compute(spec, **kwargs)

    monkeypatch.setattr(baselines, "compute", counting)
    return labels


@pytest.fixture
def unreported(monkeypatch):
    """Make no tables, which takes longer than a campaign that is complete."""
    monkeypatch.setattr("ddnmf_np.experiments.__main__.load_report", lambda: lambda *given: [])


@pytest.fixture(scope="module", autouse=True)
def flat():
    with pytest.MonkeyPatch.context() as patch:
        flatten_maps(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which table 1 is complete."""
    folder = tmp_path_factory.mktemp("finished")
    assert command(folder, *ONE) == 0
    return folder


def copy(folder, target):
    for path in folder.rglob("*"):
        if path.is_file():
            other = target / path.relative_to(folder)
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(path.read_bytes())
    return target


def trained(folder):
    """Return the last states of the networks."""
    return {*(folder / "codes").glob("*-trained.npz")}


def test_records_hold_what_a_result_needs(finished):
    records = [json.loads(content) for content in records_of(finished).values()]
    codes = [r for r in records if r["kind"] == "codes"]
    assert len(codes) == 2 * (len(TRAINED) + 2)  # NMF of images and of AE2; images are no codes
    for record in codes:
        assert {"losses", "code", "seconds", "environment", "commit", "options"} <= record.keys()
        assert record["code"]["dead_units"] >= 0
        assert record["reconstruction_error"]
        assert (finished / "codes" / record["arrays"]).is_file()
        if record["model"] in TRAINED:
            assert record["device"] == "CPU"
            assert record["options"]["seed"] == record["seed"]
    scored = [r for r in records if r["kind"] == "clustering"]
    mapped = {r["model"] for r in scored if r["method"] == "gmm-full-tsne"}
    assert mapped == {*MAPPED_MODELS} - {"ddnmf-auto"}  # which is in no table unless asked for
    assert len(scored) == 2 * (9 * 3 + len(mapped))
    for record in scored:
        assert len(record["result"]["objectives"]) == 1
        assert sum(record["result"]["cluster_sizes"]) == 360
        assert (record["result"]["bic"] is None) == (record["method"] == "kmeans")
        assert 0 < record["result"]["acc"] < 1


def test_table_is_written_and_made_again_from_the_records_alone(finished, tmp_path):
    table = finished / "tables" / "table1.md"
    shutil.copy(finished / "records.jsonl", tmp_path)
    assert main(["report", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "tables" / "table1.md").read_bytes() == table.read_bytes()
    assert "Table 1: MNIST, 360 test images" in table.read_text()


def test_what_is_complete_is_not_repeated(finished, tmp_path, computed, unreported):
    folder = copy(finished, tmp_path)
    before = records_of(folder)
    assert command(folder, *ONE) == 0
    assert computed == []
    assert records_of(folder) == before


def test_more_seeds_add_to_the_fewer(finished, tmp_path, computed, unreported):
    folder = copy(finished, tmp_path)
    before = records_of(folder)
    assert command(folder, "table1", "--seeds", "3") == 0
    assert computed
    assert all(label.endswith("seed2") for label in computed)
    assert before.items() <= records_of(folder).items()


def test_a_campaign_that_was_killed_goes_on_where_it_was(
    tmp_path, monkeypatch, computed, unreported
):
    """The kill comes between two runs; in total each run is done once."""
    counting = baselines.compute

    def killed(spec, **kwargs):
        if len(computed) == 4:
            raise KeyboardInterrupt
        return counting(spec, **kwargs)

    words = ["table1", "--seeds", "1"]
    monkeypatch.setattr(baselines, "compute", killed)
    assert command(tmp_path, *words) == 130
    assert 0 < len(records_of(tmp_path)) < 9 * 3
    monkeypatch.setattr(baselines, "compute", counting)
    assert command(tmp_path, *words) == 0
    assert len(computed) == len(set(computed)) == 9
    assert command(tmp_path, *words) == 0
    assert len(computed) == 9


def test_a_clustering_that_is_missing_needs_no_second_training(
    finished, tmp_path, computed, unreported
):
    folder = copy(finished, tmp_path)
    [gone] = drop(folder, "mnist-ae1-seed0-gmm-spherical-*")
    expected = gone["result"]
    assert command(folder, *ONE) == 0
    assert computed == []
    found = json.loads(records_of(folder)[gone["name"]])["result"]
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize("damage", ["cut off", "edited"])
@pytest.mark.parametrize("part", ["-codes-", "-kmeans-"])
def test_a_damaged_record_is_named_and_computed_again(finished, tmp_path, capsys, part, damage):
    folder = copy(finished, tmp_path)
    [gone] = drop(folder, f"mnist-ae1-seed1{part}*")
    path = folder / "records.jsonl"
    if part == "-codes-":  # needed only where something is missing that is made of it
        drop(folder, "mnist-ae1-seed1-gmm-spherical-*")
    line = json.dumps(gone | {"n_test": 0}) if damage == "edited" else json.dumps(gone)[:-9]
    path.write_text(f"{line}\n{path.read_text()}")
    assert main(["report", "--output", str(folder)]) == 1
    assert "records.jsonl: line 1: " in capsys.readouterr().out
    assert command(folder, *ONE) == 0
    assert json.loads(records_of(folder)[gone["name"]])["n_test"] == 360


def test_a_record_of_another_version_is_named_and_left_alone(finished, tmp_path, capsys):
    folder = copy(finished, tmp_path)
    name = "mnist-ae1-seed0-codes-0123456789abcdef"
    stranger = json.dumps({"name": name, "format": 0, "version": "0.0.1"})
    path = folder / "records.jsonl"
    path.write_text(stranger + "\n{\n" + path.read_text())  # what is not JSON goes
    assert command(folder, *ONE) == 1
    out = capsys.readouterr().out
    assert f"{name} has format 0 (ddnmf-np 0.0.1)" in out
    assert path.read_text().startswith(stranger + '\n{"name"')


def test_damaged_codes_are_computed_again(finished, tmp_path, computed, unreported):
    folder = copy(finished, tmp_path)
    [codes] = {*(folder / "codes").glob("mnist-ae1-seed0-*.npz")} - trained(folder)
    codes.write_bytes(codes.read_bytes()[:100])
    drop(folder, "mnist-ae1-seed0-kmeans-*")
    assert command(folder, *ONE) == 0
    assert computed == ["mnist-ae1-seed0"]


def test_weights_that_are_gone_are_made_again(finished, tmp_path, computed, unreported):
    folder = copy(finished, tmp_path)
    for path in (folder / "codes").glob("*seed0*"):
        path.unlink()
    drop(folder, "*ae2-nmf-seed0*")
    assert command(folder, *ONE) == 0
    assert sorted(computed) == ["mnist-ae2-nmf-seed0", "mnist-ae2-seed0"]


def test_a_failure_does_not_stop_the_rest_and_is_in_the_summary(tmp_path, monkeypatch, capsys):
    compute = baselines.compute

    def failing(spec, **kwargs):
        if spec.model == "ae1" and spec.seed == 1:
            raise ZeroDivisionError("planted")
        return compute(spec, **kwargs)

    words = ["table1", "--seeds", "2", "--networks", "raw", "ae1"]
    monkeypatch.setattr(baselines, "compute", failing)
    assert command(tmp_path, *words) == 1
    out, err = capsys.readouterr()
    summary = out[out.index("failures:") :]
    assert "- mnist-ae1-seed1: ZeroDivisionError: planted" in summary
    assert "Traceback" in err  # of what is not foreseen
    assert "[4/4]" in out
    assert "| AE1, k-means | 0." in (tmp_path / "tables" / "table1.md").read_text()
    monkeypatch.setattr(baselines, "compute", compute)
    assert command(tmp_path, *words) == 0


def test_a_run_that_would_not_fit_on_the_disk_fails_before_it_is_computed(
    tmp_path, monkeypatch, computed, capsys
):
    found = shutil.disk_usage(tmp_path)
    words = ["table1", "--seeds", "1", "--networks", "raw", "ae1"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: found._replace(free=1000))
    assert command(tmp_path, *words) == 1
    assert computed == ["mnist-raw-seed0"]
    said = capsys.readouterr().out
    assert "- mnist-ae1-seed0: output" in said
    assert "has 0 MiB free, and a run may need 256; make room" in said
    monkeypatch.undo()
    assert command(tmp_path, *words) == 0


def test_the_room_that_is_asked_for_is_enough():
    """For AE2 at the paper's shape, which has the widest codes, and for the two networks of DDNMF.

    A checkpoint has weights and two moments. There may be three at a time: of the unfinished run,
    of the finished one, and one of them that is being written.
    """
    assert not any("widths" in network.options for network in NETWORKS.values())
    widths = networks.make_config("ae2", {}).model.widths
    weights = 2 * sum(n * m for n, m in itertools.pairwise((784, *widths)))
    ae2 = 10_000 * max(widths) + weights + 3 * 3 * weights
    ddnmf = 70_000 * 10 + 3 * 3 * 2 * (weights + 2 * 10 * max(widths))
    assert 4 * max(ae2, ddnmf) + 2**20 < ROOM


@pytest.mark.skipif(not hasattr(os, "nice"), reason="the system has no niceness")
@pytest.mark.parametrize(("before", "added"), [(0, 10), (4, 6), (15, 0)])
def test_the_command_has_low_priority_and_a_call_leaves_it(monkeypatch, before, added):
    said = []
    monkeypatch.setattr(os, "nice", lambda more: said.append(more) or before)
    assert main(["tabel1"]) == 2
    assert said == []
    monkeypatch.setattr(sys, "argv", ["experiments", "tabel1"])
    assert main() == 2
    assert said == [0, added]


def test_help_and_usage_errors_do_not_wait_for_scikit_learn(tmp_path):
    code = (
        "import sys; from ddnmf_np.experiments.__main__ import main\n"
        "assert main(['tabel1']) == 2\n"
        "assert main(['table1', '--epochs', '-1']) == 2\n"
        "assert not {'sklearn', 'pandas', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_data_set_that_is_missing_is_one_failure_and_the_other_goes_on(tmp_path, capsys):
    places = {**PLACES, "fashion-mnist": str(tmp_path / "nowhere.npz")}
    assert command(tmp_path / "out", "table1", "table2", "--seeds", "1", places=places) == 1
    out = capsys.readouterr().out
    assert out.count("nowhere.npz: cannot be read") == 2  # when it is met, and at the end
    assert (tmp_path / "out" / "tables" / "table1.md").exists()
    assert not (tmp_path / "out" / "tables" / "table2.md").exists()


@pytest.mark.extra
def test_all_makes_every_table_and_figure(tmp_path, monkeypatch, computed):
    monkeypatch.setattr(figures, "save", lambda figure, path: path.touch())
    flags = ["--seeds", "1", "--noise-rates", "0.1", "--noise-starts", "1"]
    assert command(tmp_path, "all", *flags) == 0
    assert len(computed) == len(set(computed)) == 2 * (9 + 1)  # DDNMF at 10 % is in table 1
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {"table1", "table2", "table3"}
    pictures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "figure2.png" in pictures
    assert "figure3-gmm-full-noisy.png" in pictures


def test_table_3_may_have_fewer_training_images_and_is_no_part_of_table_1(tmp_path, computed):
    words = ["table1", "table3", "--seeds", "1", "--networks", "raw", "ae1", "ddnmf-paper"]
    words += ["--datasets", "mnist", "--noise-rates", "0.1", "--noise-samples", "150"]
    words += ["--noise-starts", "2"]
    assert command(tmp_path, *words) == 0
    # DDNMF at 10 % is in both tables, with so many images in each.
    assert sorted(computed) == sorted(
        ["mnist-raw-seed0", "mnist-ae1-seed0", "mnist-ae1-denoising-noise0.1-seed0"]
        + ["mnist-ddnmf-paper-noise0.1-seed0"] * 2
        + ["mnist-ddnmf-demo-noise0.1-seed0"]
    )
    codes = [r for r in Store(tmp_path).load()[0] if r["kind"] == "codes"]
    assert {(r["model"], r["samples"]) for r in codes} == {
        ("ae1", 200), ("ddnmf-paper", 200),
        ("ae1-denoising", 150), ("ddnmf-paper", 150), ("ddnmf-demo", 150),
    }  # fmt: skip
    scored = [r for r in Store(tmp_path).load()[0] if r["kind"] == "clustering"]
    assert {(r["samples"], r["starts"]) for r in scored} == {(None, 1), (200, 1), (150, 2)}
    tables = [(tmp_path / "tables" / f"table{n}.md").read_text("utf-8") for n in (1, 3)]
    assert [re.findall(r"^### Table.* (\d+) training images", text, re.M) for text in tables] == [
        ["200"], ["150"],
    ]  # fmt: skip
    assert tables[0].count("| DDNMF (paper's objective) |") >= 3  # scores, dead units, stability
    assert "| DDNMF (demo's objective) |" not in tables[0]
    computed.clear()
    assert command(tmp_path, *words) == 0
    assert computed == []
    # With as many images, they are the same networks, and only clustered anew.
    words[words.index("150")] = "200"
    assert command(tmp_path, *words) == 0
    assert sorted(computed) == [
        "mnist-ae1-denoising-noise0.1-seed0", "mnist-ddnmf-demo-noise0.1-seed0",
    ]  # fmt: skip
    scored = [r for r in Store(tmp_path).load()[0] if r["model"] == "ddnmf-paper"]
    assert len(scored) == 2 + 3 + 6 + 6  # codes twice; table 1, and table 3 twice


def test_the_file_of_records_alone_is_not_repeated(finished, tmp_path, computed, unreported):
    shutil.copy(finished / "records.jsonl", tmp_path)
    before = records_of(tmp_path)
    assert command(tmp_path, *ONE) == 0
    assert computed == []
    assert records_of(tmp_path) == before
    # Without the stored weights, what continues from them needs the network again.
    drop(tmp_path, "mnist-ae2-nmf-seed0*")
    assert command(tmp_path, *ONE) == 0
    assert sorted(computed) == ["mnist-ae2-nmf-seed0", "mnist-ae2-seed0"]


def test_a_page_with_a_bad_place_is_a_failure_and_unchanged(finished, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- experiments tabel1 -->\n<!-- /experiments -->\n")
    before = page.read_text()
    assert main(["report", "--output", str(finished), "--into", str(page)]) == 1
    assert f"{page}: '<!-- experiments tabel1 -->'" in capsys.readouterr().out
    assert page.read_text() == before


def test_weights_that_are_damaged_are_made_again(finished, tmp_path, computed, unreported):
    folder = copy(finished, tmp_path)
    [weights] = (folder / "codes").glob("mnist-ae2-seed0-*-weights.npz")
    weights.write_bytes(weights.read_bytes()[:100])
    for path in (folder / "codes").glob("*ae2-nmf-seed0*"):
        path.unlink()
    drop(folder, "*ae2-nmf-seed0*")
    assert command(folder, *ONE) == 0
    assert sorted(computed) == ["mnist-ae2-nmf-seed0", "mnist-ae2-seed0"]


def test_tables_can_be_of_some_representations(tmp_path, computed):
    words = ["table1", "--seeds", "1", "--networks", "nmf", "ae2-nmf"]
    assert command(tmp_path, *words) == 0
    assert sorted(computed) == ["mnist-ae2-nmf-seed0", "mnist-ae2-seed0", "mnist-nmf-seed0"]
    text = (tmp_path / "tables" / "table1.md").read_text()
    assert "| AE2 + NMF |" in text
    assert "| AE2 |" not in text


def test_a_table_of_a_data_set_that_is_left_out_is_skipped_in_so_many_words(tmp_path, capsys):
    words = ["table1", "table2", "--seeds", "1", "--datasets", "mnist", "--networks", "raw"]
    assert command(tmp_path, *words) == 0
    out = capsys.readouterr().out
    assert "skipped: table2, since fashion-mnist is not among the data sets" in out
    assert "skipped: table1" not in out
    assert [path.stem for path in (tmp_path / "tables").iterdir()] == ["table1"]


@pytest.mark.parametrize(
    ("words", "results"),
    [
        (["all"], RESULTS),
        (["table1", "table1"], ("table1",)),
        (["table2", "all", "ablation"], ("table2", "table1", *RESULTS[2:], "ablation")),
        (["report"], EVERYTHING),
    ],
)
def test_all_is_the_tables_and_figures_of_the_paper(words, results):
    assert parse_results(words) == results
    assert not set(RESULTS) & {"ablation", "weights", "recipe"}


def test_report_puts_tables_into_a_text(finished, tmp_path):
    text = tmp_path / "page.md"
    text.write_text("<!-- experiments table1 -->\n<!-- /experiments -->\n")
    assert main(["report", "--output", str(finished), "--into", str(text)]) == 0
    assert "### Table 1" in text.read_text()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tabel1"], "'tabel1' is unknown; did you mean 'table1'?"),
        (["table1", "--seeds", "0"], "seeds: the list is empty"),
        (["table1", "--seeds", "2,2"], "give each seed once"),
        (["table1", "--seeds", "x"], "seeds is 'x'"),
        (["table1", "--seeds", ""], "seeds is ''"),
        (["table1", "--networks", "ae3"], "network 'ae3' is unknown; did you mean 'ae"),
        (["table1", "--datasets", "minst"], "invalid choice: 'minst'"),
        (["table1", "report"], "report is a command by itself"),
        (["ablations"], "'ablations' is unknown; did you mean 'ablation'?"),
        (["table1", "--seeds=-1,"], "seed is -1"),
        (["table1", "--seeds", "100000000000"], "seeds is 100000000000; give at most 10000"),
        (["table1", "--seeds", "10001"], "give at most 10000"),
        (["table1", "--seeds", ",".join(map(str, range(10_001)))], "the list has 10001"),
        (["table1", "--seeds", "100000000000,"], "seed is 100000000000"),
        (["table1", "--epochs", "100000000000"], "epochs is 100000000000"),
        (["table1", "--jobs", "100000000000"], "jobs is 100000000000"),
        (["table1", "--starts", "100000000000"], "starts is 100000000000"),
        (["table1", "--samples", "100000000000"], "samples is 100000000000"),
        (["table3", "--noise-samples", "0"], "noise_samples is 0"),
        (["table3", "--maps", "tsne"], "only table1 and table2 have maps"),
        (["table1", "--maps", "pca"], "invalid choice: 'pca'"),
        (["table3", "--noise-starts", "0"], "noise_starts is 0"),
        (["table1", "--threads", "100000000000"], "threads is 100000000000"),
        (
            ["table2", "--datasets", "mnist"],
            "datasets is mnist, but table2 needs fashion",
        ),
        (["table1", "--datasets", "fashion-mnist"], "but table1 needs mnist; add"),
        (["table1", "--epochs", "-1"], "epochs is -1"),
        (["table1", "--jobs", "0"], "jobs is 0"),
        (["table1", "--starts", "0"], "starts is 0"),
        (["table3", "--noise-rates", "1.5"], "expected numbers in (0, 1)"),
        (["table1", "--epoch", "3"], "did you mean '--epochs'?"),
        (["report"], "has no records"),
        ([], "no result is named; name one or more of table1,"),
    ],
)
def test_usage_errors_are_one_line(tmp_path, capsys, words, text):
    assert main([*words, "--output", str(tmp_path / "out")]) == UsageError.exit_code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert text in err


def test_without_pandas_the_error_names_the_extra_before_anything_runs(tmp_path):
    code = (
        "import sys; sys.modules['pandas'] = None; "
        "from ddnmf_np.experiments.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", code, "table1", "--output", str(tmp_path / "out")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == UsageError.exit_code
    assert "pip install 'ddnmf-np[experiments]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command(tmp_path / "file", *ONE) == 4
    assert "cannot be made" in capsys.readouterr().err


def test_seeds_are_a_number_or_a_list():
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("0,3,7") == (0, 3, 7)
    assert parse_seeds("7,") == (7,)


def test_data_sets_are_done_one_after_the_other_and_long_runs_first():
    settings = Settings(results=RESULTS, seeds=(0, 1), options=OPTIONS)
    infos = {
        source.name: baselines.DataInfo(source, source.name, 1437, 360, 64, 10)
        for source in settings.sources
    }
    units = campaign.plan(settings, infos)
    names = [unit.spec.data.source.name for unit in units]
    assert names == sorted(names, key=["mnist", "fashion-mnist"].index)
    work = [unit.work for unit in units if unit.spec.data.source.name == "mnist"]
    assert work == sorted(work, reverse=True)
    assert len({unit.key for unit in units}) == len(units)


def test_the_same_codes_are_not_made_by_two_processes_at_once():
    settings = Settings(results=("table1", "recipe"), seeds=(0, 1), options=OPTIONS)
    infos = {"mnist": baselines.DataInfo(settings.sources[0], "hash", 1437, 360, 64, 10)}
    units = campaign.plan(settings, infos)
    groups = campaign.groups(units)
    assert sorted(unit.key for group in groups for unit in group) == sorted(u.key for u in units)
    keys = [{unit.spec.name.key for unit in group} for group in groups]
    assert sum(map(len, keys)) == len(set().union(*keys))
    found = sorted([unit.spec.model for unit in group] for group in groups if len(group) > 1)
    # Images are the same codes for both seeds; one candidate is a row of the table.
    assert found == [
        *[["ae-linear", "recipe-ae-linear"]] * 2, *[["ae2", "ae2-nmf"]] * 2,
        ["raw", "raw"],
    ]  # fmt: skip


@pytest.mark.extra
def test_processes_give_what_one_process_gives(finished, tmp_path):
    words = ["table1", "--seeds", "1", "--networks", "raw", "ae1", "ae2-nmf", "ddnmf-demo"]
    assert command(tmp_path, *words, "--jobs", "2") == 0
    found, expected = records_of(tmp_path), records_of(finished)
    assert len(found) == 4 * 3 + 4  # AE2 for its NMF; no maps, unless they are asked for
    assert not any("tsne" in name for name in found)
    for name in found:
        if "seed0-codes" not in name:
            one, two = (json.loads(records[name])["result"] for records in (expected, found))
            assert {**one, "seconds": 0} == {**two, "seconds": 0}


@pytest.mark.extra
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_that_dies_fails_its_own_run_alone(tmp_path, capsys):
    source = Source("mnist", "digits")
    settings = Settings(
        results=("table1",), seeds=(0,), epochs=1, starts=1, samples=200, jobs=2,
        datasets=("mnist",), places=PLACES, options=OPTIONS,
    )  # fmt: skip
    units = campaign.plan(settings, {"mnist": baselines.inspect(source, 200)})[:2]
    doomed = replace(units[0].spec.data, source=Deadly("mnist", "digits"))
    units[0] = replace(units[0], spec=replace(units[0].spec, data=doomed))
    store = Store(tmp_path)
    store.create()
    outcomes = {o.unit.spec.label: o.error for o in campaign.execute(units, tmp_path, jobs=2)}
    assert len(outcomes) == 2
    [failed] = [label for label, error in outcomes.items() if error is not None]
    assert failed == units[0].spec.label
    assert "its process died" in outcomes[failed]
    assert "one at a time" in capsys.readouterr().err


@pytest.mark.extra
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_and_restarted_it_ends_where_it_would_have_ended(tmp_path):
    """A run that was finished before the kill keeps its record, byte for byte."""
    code = (
        "import sys; from ddnmf_np.experiments.__main__ import main; "
        f"sys.exit(main(sys.argv[1:], places={PLACES!r}, options={OPTIONS!r}))"
    )

    def start(output, jobs):
        # In a process of its own, undisturbed too: this one may have other kernels of BLAS.
        words = ["table1", "--seeds", "2", "--jobs", jobs, *FLAGS, "--output", output]
        return Forked(code, words, err=False)

    whole, folder = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(whole, 1)
    undisturbed.end()
    assert undisturbed.returncode == 0
    total = len(records_of(whole))
    kept, rng = {}, random.Random(0)
    for share, jobs in ((0.1, 2), (0.6, 1)):
        running = start(folder, jobs)
        try:
            while len(records_of(folder)) <= share * total:
                assert running.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.1))
        finally:
            running.send_signal(signal.SIGKILL)
            running.end()
        time.sleep(1.0 if jobs > 1 else 0.0)  # its workers end by themselves
        found = records_of(folder)
        assert all(json.loads(text) for text in found.values())
        assert kept.items() <= found.items()
        kept = found
    assert len(kept) < total
    last = start(folder, 1)
    last.end()
    assert last.returncode == 0
    found, expected = records_of(folder), records_of(whole)
    assert kept.items() <= found.items()
    assert found.keys() == expected.keys()
    for name in expected:
        one, other = (json.loads(records[name]).get("result") for records in (found, expected))
        assert one is None or {**one, "seconds": 0} == {**other, "seconds": 0}
    one, other = ((f / "tables" / "table1.md").read_text("utf-8") for f in (folder, whole))
    assert one == other


@pytest.mark.extra
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_workers_end_with_a_campaign_that_is_killed(tmp_path):
    """Otherwise they work for hours, at the same time as the next campaign in the folder."""
    code = """
import os, sys, time
from pathlib import Path
from joblib import Parallel, delayed
from ddnmf_np.experiments import campaign

def work(number, parent):
    campaign._end_with(parent)
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

Parallel(2)(delayed(work)(n, os.getpid()) for n in range(2))
"""
    running = Forked(code, [tmp_path], err=False)
    try:
        while len(found := list(tmp_path.iterdir())) < 2:
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.end()
    workers, end = [int(path.name) for path in found], time.monotonic() + 20
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process):
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_campaigns_are_not_in_one_folder_at_a_time(tmp_path, capsys):
    with locked(tmp_path):
        assert command(tmp_path, "table1", "--networks", "raw", "--seeds", "1") == 2
    assert "another run is writing there" in capsys.readouterr().err
    assert not records_of(tmp_path)
    assert command(tmp_path, "table1", "--networks", "raw", "--seeds", "1") == 0
    assert not list(tmp_path.rglob(".lock"))


def test_what_a_killed_campaign_was_writing_goes(tmp_path):
    (tmp_path / "codes").mkdir()
    for name in ("records.jsonl", "codes/x.npz"):
        path = tmp_path / name
        path.with_name(f".{path.name}.{'0' * 16}").touch()
    assert command(tmp_path, "table1", "--networks", "raw", "--seeds", "1") == 0
    assert not list(tmp_path.rglob(".*"))


def test_time_that_is_left_is_in_proportion_to_the_work():
    assert time_left(100.0, 1.0, 4.0) == "; about 0:05:00 left"
    assert time_left(7200.0, 30.0, 75.0) == "; about 3:00:00 left"
    assert time_left(100.0, 0.0, 4.0) == ""  # before the first unit is done
    assert time_left(100.0, 4.0, 4.0 + 1e-12) == ""


def test_work_orders_the_units_and_grows_with_the_schedule():
    def work(model, **more):
        settings = Settings(results=("table1",), **({"epochs": 5} | more))
        info = baselines.DataInfo(settings.sources[0], "hash", 60_000, 10_000, 784, 10)
        unit = Unit(campaign.represent(settings, info, model, 0), starts=1)
        return unit.work

    order = ["raw", "nmf", "ae2-nmf", "ae1", "ddnmf-demo"]
    assert sorted(order, key=work) == order
    assert work("ae1", epochs=50) == pytest.approx(10 * work("ae1"), rel=0.1)
