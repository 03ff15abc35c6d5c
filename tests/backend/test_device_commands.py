"""Commands of a user on a device (``python -m pytest -m gpu``), and the budget of a step."""

import json
import re

import numpy as np
import pytest

from ddnmf_np import doctor
from ddnmf_np.backends.cupy_graph import WARM, _refuse
from ddnmf_np.bench import __main__ as bench
from ddnmf_np.config import PRESETS, configure
from ddnmf_np.data.noise import NOISE_KINDS
from ddnmf_np.data.order import epoch_order
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.train import main

pytestmark = pytest.mark.gpu

SAMPLES, FEATURES, BATCH = 43, 12, 16


def samples(missing=False):
    x = np.random.default_rng(5).uniform(0.0, 1.0, (SAMPLES, FEATURES)).astype("float32")
    if missing:
        x[x < 0.2] = np.nan
    return x


# -- commands ------------------------------------------------------------------------------------


@pytest.fixture
def train(device, tmp_path):
    """Return a function that trains with the command line; what it leaves is in ``tmp_path``."""
    np.save(tmp_path / "x.npy", samples())

    def run(folder, *options):
        given = f"--dataset {tmp_path}/x.npy --widths 7 5 --rank 3 --batch-size {BATCH}"
        given += f" --embedding pca --backend cupy --output {tmp_path}/{folder} --objective paper"
        assert main([*given.split(), *options]) == 0
        return tmp_path / folder

    return run


def test_a_run_that_is_resumed_has_the_bits_of_one_that_was_not(train, tmp_path):
    whole = train("whole", "--epochs", "5")
    part = train("part", "--epochs", "3")
    assert main(["--resume", "--output", str(part), "--epochs", "5"]) == 0
    expected, found = (load_checkpoint(run / "checkpoint.npz").arrays for run in (whole, part))
    assert expected.keys() == found.keys()
    for name, block in expected.items():
        assert block.tobytes() == found[name].tobytes(), name
    assert json.loads((part / "summary.json").read_text("utf-8"))["backend"] == "cupy"


def test_the_doctor_lets_the_device_compute(device, capsys):
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "backend 'cupy': works" in text
    assert device.ops.device_name() in text
    assert "not recorded" not in text


def test_a_benchmark_row(device, tmp_path, monkeypatch):
    code = bench.main(
        "--device cuda --cases small --contestants cupy --epochs 0 --rounds 1 --seconds 0.1 "
        f"--least-steps 5 --output {tmp_path}/bench".split()
    )
    assert code == 0
    text = (tmp_path / "bench" / "bench.md").read_text("utf-8")
    assert re.search(r"^\| engine, CuPy \| [0-9.]+ \|", text, re.MULTILINE)


# -- what a step may ask a device for --------------------------------------------------------------

LAUNCHES = 6
"""Launches a step besides that of its graph: each costs the host some 5 microseconds."""

NO_LAUNCH = {"wait", "malloc", "free", "graph_launch", "memcpy_HtoD", "memcpy_DtoH"}
MOTION = {"noise_shift": 1.5, "noise_rotation": 20.0, "image_shape": (3, 4)}


@pytest.mark.parametrize("kind", NOISE_KINDS)
@pytest.mark.parametrize("objective", PRESETS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        MOTION,
        {"missing": "nan"},
        {"nonnegative": "both", "nmf_start": "pca", "optimizer": "momentum"},
    ],
    ids=["plain", "motion", "missing", "projected"],
)
def test_a_step_keeps_to_its_budget(emulated, device, objective, kind, options):
    chosen = configure(
        widths=(7, 11, 5), rank=3, batch_size=BATCH, objective=objective, noise_kind=kind, **options
    )
    x = samples("missing" in options)
    trainer = chosen.make_trainer(chosen.make_model(FEATURES, device.ops), x)
    trainer.train(WARM + 1)  # from then on, batches of both lengths have their graphs
    order = epoch_order(SAMPLES, chosen.training.seed, trainer.position.epoch, xp=device.ops.xp)
    with device.ops.xp.cuda.using_allocator(_refuse), emulated.counting() as counted:
        for rows in trainer.batches:
            trainer.step(order[rows])
    steps = len(trainer.batches)
    assert counted["graph_launch"] == steps
    assert sum(n for name, n in counted.items() if name not in NO_LAUNCH) <= LAUNCHES * steps
    assert not counted.keys() & (NO_LAUNCH - {"graph_launch"})


def test_an_epoch_waits_for_its_losses_alone(emulated, device):
    chosen = configure(widths=(7, 11, 5), rank=3, batch_size=BATCH)
    trainer = chosen.make_trainer(chosen.make_model(FEATURES, device.ops), samples())
    trainer.train(WARM + 1)
    counts = []
    for more in (1, 3):
        with emulated.counting() as counted:
            trainer.train(trainer.position.epoch + more)
        counts.append(counted["wait"])
    assert counts[1] == 3 * counts[0]  # none of them is a step's
    assert counts[0] <= 1 + 2 + 1  # the losses; is each network finite?; the end of the epoch
