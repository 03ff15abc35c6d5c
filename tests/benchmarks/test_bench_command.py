"""Files, errors and gaps of ``python -m ddnmf_np.bench``."""

import json
import re

import pytest
from benchmark_cases import ODD, Workers, make_plan, reply, wrong
from matplotlib import image

import ddnmf_np.bench.__main__
from ddnmf_np.bench import measure, worker
from ddnmf_np.bench.__main__ import main
from ddnmf_np.bench.contestants import available
from ddnmf_np.bench.digest import digest
from ddnmf_np.bench.measure import compare
from ddnmf_np.bench.problem import CASES
from ddnmf_np.bench.reference import BenchmarkError
from ddnmf_np.bench.tables import draw, to_markdown
from ddnmf_np.errors import BackendError, DataError

FILES = ["bench.json", "bench.md", "bench.png"]
QUICK = [
    "--device",
    "cpu",
    "--rounds",
    "1",
    "--seconds",
    "0",
    "--least-steps",
    "2",
    "--epochs",
    "0",
]


def quiet(text):
    pass


def one_error(capsys, *texts):
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    for text in texts:
        assert text in lines[-1]


def test_a_real_run_of_the_engine(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    flags = ["--cases", "small", "--contestants", "numpy", "--threads", "1", *QUICK]
    assert main([*flags, "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    results = json.loads((folder / "bench.json").read_text())
    entry = results["cases"]["small"]["contestants"]["numpy"]
    assert entry["gap"] is None
    [found] = entry["rounds"]
    assert found["block_steps"] * len(found["step_seconds"]) >= 2
    assert entry["summary"]["median"] > 0.0
    assert found["import_memory_mib"] > 0.0
    assert found["first_step_seconds"] > 0.0
    assert len(found["losses"]) == 4
    assert {"products", "products-two-threads", "copy"} == results["cases"]["small"][
        "floors"
    ].keys()
    assert all(f["gap"] is None for f in results["cases"]["small"]["floors"].values())
    assert results["plan"]["threads"] == 1
    assert results["environment"]["versions"]["numpy"]
    assert image.imread(folder / "bench.png").shape[1] == 864
    printed = capsys.readouterr().out
    assert printed.strip() == (folder / "bench.md").read_text().strip()
    assert "| engine, NumPy |" in printed


@pytest.fixture
def tiny_cases(monkeypatch):
    """Let the case ``small`` be the network that the fake workers know."""
    monkeypatch.setitem(CASES, "small", ODD)


@pytest.mark.parametrize(
    ("name", "why"),
    [("torch", "RuntimeError: Triton is missing"), ("jax", "loss_nc after 3 steps"),
     ("products", "MemoryError")],
)  # fmt: skip
def test_one_that_fails_is_a_row_and_the_exit_code(
    name, why, tmp_path, capsys, monkeypatch, sketched, tiny_cases
):
    workers = Workers()
    workers.answers["torch"] = reply(workers.right)
    if name == "jax":
        workers.answers[name] = reply(wrong(workers.right, 3, "loss_nc", 1.1))
    monkeypatch.setattr(
        measure,
        "in_own_process",
        lambda r: {"gap": why} if r.contestant == name != "jax" else workers(r),
    )
    flags = ["--cases", "small", "--contestants", "numpy", "torch", "jax", "keras", *QUICK]
    assert main([*flags, "--output", str(tmp_path)]) == BenchmarkError.exit_code == 1
    one_error(capsys, f"no result from {name} (odd);", "bench.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    table = json.loads((tmp_path / "bench.json").read_text())["cases"]["odd"]
    gaps = {k: e["gap"] for part in ("contestants", "floors") for k, e in table[part].items()}
    assert why in gaps.pop(name)
    assert set(gaps.values()) == {None}
    rows = re.findall(
        r"^\| (?:engine|PyTorch|JAX|Keras|matrix|copy).*", (tmp_path / "bench.md").read_text(), re.M
    )
    assert len(rows) == 2 * 7  # the overview and the case, each with all contestants and floors
    assert sum("| no result: " in row and why in row for row in rows) == 1


def test_what_is_not_installed_is_no_failure(tmp_path, monkeypatch, sketched, tiny_cases):
    workers = Workers(jax={"gap": "not installed: jax"})
    monkeypatch.setattr(measure, "in_own_process", workers)
    flags = ["--cases", "small", "--contestants", "jax", *QUICK, "--output", str(tmp_path)]
    assert main(flags) == 0
    assert "no result: not installed: jax" in (tmp_path / "bench.md").read_text()


def test_a_run_that_is_stopped_leaves_the_rows_so_far(
    tmp_path, capsys, monkeypatch, sketched, tiny_cases
):
    workers = Workers()

    def run(request):
        if request.contestant == "keras":
            raise KeyboardInterrupt
        return workers(request)

    monkeypatch.setattr(measure, "in_own_process", run)
    flags = ["--cases", "small", "--contestants", "numpy", "jax", "keras", *QUICK]
    assert main([*flags, "--output", str(tmp_path)]) == 130
    assert "finished rows are kept" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    found = json.loads((tmp_path / "bench.json").read_text())["cases"]["odd"]
    gaps = {k: e["gap"] for k, e in found["contestants"].items()}
    assert gaps == {"numpy": None, "jax": None, "keras": "not measured yet"}
    text = (tmp_path / "bench.md").read_text()
    assert "| Keras (TensorFlow) | no result: not measured yet |" in text
    assert re.search(r"^\| JAX jit \| 20 \|", text, re.M)


def test_no_device_is_said_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    """The flags are those of a script for a GPU, on a machine without one."""
    monkeypatch.setattr(
        ddnmf_np.bench.__main__,
        "load_cupy",
        lambda: (_ for _ in ()).throw(BackendError("no CUDA device")),
    )
    monkeypatch.setattr(measure, "in_own_process", None)
    for name in ("cupy", "torch", "torch-graphs", "torch-autotune", "torch-captured", "jax"):
        flags = ["--device", "cuda", "--cases", "paper-128", "--epochs", "0", "--rounds", "1",
                 "--seconds", "1", "--threads", "8", "--output", str(tmp_path / name),
                 "--contestants", name, "--matmul-precision", "high"]  # fmt: skip
        assert main(flags) == BackendError.exit_code == 3
        one_error(capsys, "no CUDA device")


def test_a_note_is_part_of_the_row():
    workers = Workers()
    workers.answers["jax"] = reply(workers.right, note="2 graphs | skipped")
    plan = make_plan(cases=(ODD,), contestants=("numpy", "jax"))
    text = to_markdown(digest(compare(plan, workers, quiet)))
    assert "| JAX jit (note: 2 graphs / skipped) | 20 |" in text
    assert "| engine, NumPy | 20 |" in text


@pytest.mark.parametrize(
    "flags",
    [["--no-such"], ["--cases", "huge"], ["--rounds", "0"], ["--rounds", "x"], ["--seconds", "-1"],
     ["--seconds", "nan"], ["--contestants", "caffe"], ["--epochs", "-1"], ["scaling", "--epochs"],
     ["--device", "cpu", "--contestants", "cupy"], ["scaling", "--sizes", "odd"], ["sclaing"]],
)  # fmt: skip
def test_bad_arguments(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "in_own_process", None)  # nothing may be measured
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    one_error(capsys, flags[-1].partition("=")[0])
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == DataError.exit_code
    one_error(capsys, "file", "choose another folder")


def test_ctrl_c(monkeypatch, capsys, tmp_path):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "compare", stop)
    assert main(["--output", str(tmp_path)]) == 130
    assert "interrupted" in capsys.readouterr().err


# -- gaps -------------------------------------------------------------------------------------


NAMES = tuple(available("cpu"))
GAPS = {"torch": "not installed: torch", "torch-compile": "RuntimeError: no C++ compiler | x"}


@pytest.fixture
def with_gaps():
    """Results in which two contestants could not run."""
    workers = Workers()
    workers.answers |= {name: {"gap": why} for name, why in GAPS.items()}
    plan = make_plan(cases=(ODD,), contestants=NAMES, rounds=2, epochs=3, dataset="digits")
    return digest(compare(plan, workers, quiet)), workers


def test_a_gap_is_no_error_and_is_asked_once(with_gaps):
    results, workers = with_gaps
    entries = results["cases"]["odd"]["contestants"]
    assert {name: e["gap"] for name, e in entries.items() if e["gap"]} == GAPS
    assert json.loads(json.dumps(results)) == json.loads(json.dumps(results, allow_nan=False))
    assert workers.asked.count("torch") == 1 + 1  # steps, epochs
    assert workers.asked.count("jax") == 2 + 1
    assert len(entries["jax"]["rounds"]) == 2


def test_a_gap_is_labelled_in_table_and_picture(with_gaps):
    results, _ = with_gaps
    lines = to_markdown(results).splitlines()
    for why in ("not installed: torch", "no C++ compiler / x"):
        assert any(why in line for line in lines)
    widths = {line.count("|") for line in lines if line.startswith(("| PyTorch", "| JAX"))}
    columns = len(results["cases"]) + 1 + 2  # the name, the cases, the epochs, and their borders
    assert widths == {columns, 10, 5}  # the three tables: no row lacks a cell
    words = [text.get_text() for ax in draw(results).axes for text in ax.texts]
    assert words.count("no result: not installed: torch") == 2


def test_nothing_but_gaps_can_be_shown():
    workers = Workers()
    workers.answers = {name: {"gap": "broken"} for name in NAMES}
    results = digest(compare(make_plan(cases=(ODD,), contestants=NAMES), workers, quiet))
    assert "no result: broken" in to_markdown(results)
    draw(results)


def test_missing_data_are_a_gap(monkeypatch):
    def load(*args, **kwargs):
        raise DataError("mnist: not found")

    monkeypatch.setattr(measure, "load", load)
    plan = make_plan(cases=(ODD,), contestants=("numpy",), epochs=1, late_epochs=2)
    results = digest(compare(plan, Workers(), quiet))
    assert results["epochs"] == results["late_epochs"] == {"gap": "mnist: not found"}
    assert to_markdown(results).count("no result: mnist: not found") == 2
    draw(results)


def test_the_worker_names_what_is_missing(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="torch.nn")

    monkeypatch.setattr(worker, "import_module", missing)
    monkeypatch.setattr(worker, "pin", lambda threads: None)
    request = worker.Request("torch", "nowhere.npz", {"threads": 1, "device": "cpu"})
    assert worker.answer(request) == {"gap": "not installed: torch"}


def test_the_worker_turns_any_failure_into_a_gap(monkeypatch):
    monkeypatch.setattr(worker, "pin", lambda threads: None)
    [gap] = worker.answer(
        worker.Request("numpy", "nowhere.npz", {"threads": 1, "device": "cpu"})
    ).values()
    assert gap.startswith("FileNotFoundError")


@pytest.mark.parametrize(
    ("code", "gap"),
    [("raise SystemExit(3)", "code 3"), ("import sys; sys.exit('bad luck')", "bad luck"),
     ("print('{')", "code 0")],
)  # fmt: skip
def test_a_process_that_dies_is_a_gap(monkeypatch, code, gap):
    monkeypatch.setattr(measure.json, "dumps", lambda *args: "")
    real = measure.subprocess.run
    monkeypatch.setattr(
        measure.subprocess, "run", lambda command, **k: real([command[0], "-c", code], **k)
    )
    request = worker.Request("numpy", "", {"threads": 1, "device": "cpu"})
    assert gap in measure.in_own_process(request)["gap"]


# -- order and numbers ------------------------------------------------------------------------


def test_each_round_starts_with_another(with_gaps):
    workers = Workers()
    compare(
        make_plan(cases=(ODD,), contestants=("numpy", "jax", "keras"), rounds=3), workers, quiet
    )
    rounds = [workers.asked[k : k + 6] for k in (0, 6, 12)]
    assert len({tuple(r) for r in rounds}) == 3
    assert len({frozenset(r) for r in rounds}) == 1


def test_ratios_and_targets():
    workers = Workers()
    right = workers.right
    workers.answers = {
        "numpy": reply(right, 0.020),
        "numpy+fast": reply(right, 0.008),
        "jax": reply(right, 0.010),
        "keras": reply(right, 0.030),
    }
    case = ODD._replace(name="paper-128")
    results = digest(
        compare(make_plan(cases=(case,), contestants=tuple(workers.answers)), workers, quiet)
    )
    found = {v["what"]: (round(v["ratio"], 3), v["met"]) for v in results["verdicts"]}
    assert found == {
        "paper-128: numpy+fast / best peer (jax)": (0.8, True),
        "paper-128: numpy+fast / lower product floor": (0.8, True),
        "paper-128: numpy / best peer (jax)": (2.0, False),
    }
    lines = [x for x in to_markdown(results).splitlines() if x.startswith("| engine, NumPy + f")]
    assert lines[0] == "| engine, NumPy + fast | 16 |"  # the overview
    line = lines[1]
    assert re.match(r"\| engine, NumPy \+ fast \| 16 \| [\d-]+ \| 16-16 \| 0\.80 \| 0\.80 ", line)


def test_epochs_are_summarised_without_the_first():
    plan = make_plan(cases=(), contestants=("numpy",), epochs=3, late_epochs=3, dataset="digits")
    summary = {
        "epoch_seconds": 1.5,
        "samples_per_second": 50 / 1.5,
        "last_over_second": 2.0,
        "note": None,
    }
    results = digest(compare(plan, Workers(), quiet))
    for part in ("epochs", "late_epochs"):
        assert results[part]["contestants"]["numpy"]["summary"] == summary
    [late] = results["verdicts"]
    assert (late["ratio"], late["met"]) == (2.0, False)
