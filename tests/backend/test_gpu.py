"""CuPy beside NumPy, step by step: ``python -m pytest -m gpu`` on a machine with a CUDA device.

Without one they are skipped, with the reason, or fail if ``DDNMF_REQUIRE_GPU=1``; CI runs them on
an emulated device (``tests/emulator/README.md``).
"""

from pathlib import Path

import numpy as np
import op_cases
import pytest
from tolerances import GOLDEN64, assert_close, assert_same_bits

from ddnmf_np.backends import ops_cupy
from ddnmf_np.backends import select as backend
from ddnmf_np.backends.noise_ops import Draw, Motion
from ddnmf_np.backends.ops import DirectGradient, Ops
from ddnmf_np.backends.ops_cupy import CupyOps
from ddnmf_np.config import configure
from ddnmf_np.data.affine import Affine
from ddnmf_np.data.noise import NOISE_KINDS, Corruption, Noise
from ddnmf_np.data.order import epoch_order
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.estimator import DDNMF
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.train import main
from ddnmf_np.training import Trainer

GOLDEN = Path(__file__).parents[1] / "golden" / "golden.npz"

pytestmark = pytest.mark.gpu

STEPS = 20
TRAJECTORY = {"float64": 1e-12, "float32": 1e-4}
"""Weights and gradients over 20 steps, relative to the largest entry of their block. NumPy beside
itself, with the terms of every sum in another order and activations to half a unit, differs by
1.7e-14 and 4.8e-6 at most (6 seeds, all cases below): room for a device's fused multiply-adds and
its own exp, not for another formula, which differs by more than 1e-3 in its first step."""

FEATURES, SAMPLES, BATCH = 13, 43, 16  # the last batch of an epoch is short: 11


def config(**options):
    small = {"widths": (7, 11, 5), "rank": 3, "batch_size": BATCH, "dtype": "float64"}
    return configure(**(small | options))


def data(dtype="float64", n=SAMPLES):
    return np.random.default_rng(5).uniform(0.0, 1.0, (n, FEATURES)).astype(dtype)


def blocks(model):
    """Return parameters and gradients by name, on the host."""
    for net, network in model.nets.items():
        for name in network.arena.shapes:
            yield f"{net} {name}", model.ops.to_host(network.arena.param(name))
            yield f"{net} d{name}", model.ops.to_host(network.arena.grad(name))


# -- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", op_cases.CASES)
def test_operation_equals_its_plain_twin(device, name, dtype):
    op_cases.check(name, device.ops, dtype)


PLANTED = {
    "descend": ("p[k] -=", "p[k] +="),
    "momentum": ("v[k] * mu", "v[k]"),
    "adam": ("(gk * gk)", "gk"),
    "activate relu": ("z > (T)0 || z != z ? z", "z > (T)0 ? z"),  # hides a NaN
    "activate sigmoid": ("-z > bound ? bound : -z", "fmin(-z, bound)"),  # hides a NaN
    "activate softplus": ("log1p(exp(-fabs(z)))", "exp(-fabs(z))"),
    "activate tanh with bias": ("b ? b[j] : (T)0", "b ? b[0] : (T)0"),
    "delta relu": ("h > (T)0 ? g", "h >= (T)0 ? g"),
    "delta sigmoid": ("((T)1 - h) * h", "h"),
    "delta with two direct gradients": ("g[u] += c2 * d", "g[u] += c1 * d"),
    "delta: bias": ("for (int r = 1; r < ROWS; ++r)", "for (int r = 2; r < ROWS; ++r)"),
    "delta: a distance": ("int step = 16", "int step = 8"),
    "delta: three distances": ("start += AHEAD * ROWS", "start += 2 * AHEAD * ROWS"),
    "delta: bias and distances": ("*total2 += square2", "*total2 = square2"),
    "squared_distance": ("*done = 0", "*done = 1"),  # the next sum is never complete
    "gather": ("x[index[i] * width + j]", "x[index[i / 2] * width + j]"),
    "replace": ("round < 10", "round < 9"),
    "replace all": ("w < limit1", "(unsigned int)w < (unsigned int)limit1"),
    "add_gaussian": ("lane % 2 ? sin", "lane % 2 ? cos"),
    "warp": ("(s + c * skew) * row + c * column", "(s + c * skew) * column + c * row"),
}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [*((name, *fault) for name, fault in PLANTED.items()), ("adam", "out[1] = b", "out[1] = a")],
)
def test_a_planted_fault_in_the_source_is_found(device, name, right, wrong, monkeypatch):
    assert right in ops_cupy.SOURCE
    monkeypatch.setattr(ops_cupy, "SOURCE", ops_cupy.SOURCE.replace(right, wrong))
    with pytest.raises(AssertionError, match=name):
        op_cases.check(name, ops_cupy.CupyOps(device.ops.xp), "float64")


def test_no_kernel_escapes_the_comparison(device, emulated):
    with emulated.counting() as counted:
        for name in op_cases.CASES:
            op_cases.check(name, device.ops, "float64")
    names = {f"ddnmf_{name}" for name in ops_cupy.KERNELS}
    assert {name for name in counted if name.startswith("ddnmf")} == names


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_warm_up_compiles_and_changes_nothing(device, dtype):
    model = config(dtype=dtype).make_model(FEATURES, device.ops)
    before = {name: block.copy() for name, block in model.state().items()}
    device.ops.warm_up(dtype)
    for name, block in model.state().items():
        assert_same_bits(block, before[name], name)


@pytest.mark.parametrize("shape", [(128, 2000), (64, 16 * 1024 + 40), (1, 1)])
def test_sums_are_the_same_bits_at_every_run(device, shape, monkeypatch):
    """Also where a layer takes two launches, and whichever block is done last."""
    rng, ops = np.random.default_rng(3), device.ops
    h, ref, dh = (rng.normal(size=shape).astype("float32") for _ in range(3))
    results = []
    for backwards in (False, True):
        if backwards:  # what the emulated device then does with blocks and threads
            monkeypatch.setenv("FAKECUDA_BACKWARDS", "1")
        there = [ops.to_device(a) for a in (h, ref, dh)]
        total, db = ops.zeros((1,), "float64"), ops.empty(shape[1:], "float32")
        ops.delta("relu", there[0], there[2], [DirectGradient(there[1], 0.5, total)], there[2], db)
        results.append([ops.to_host(a) for a in (there[2], db, total)])
    for one, two in zip(*results, strict=True):
        assert_same_bits(one, two)
    expected = np.sum((h - ref).astype("float64") ** 2)
    assert results[0][2] == pytest.approx(expected, rel=1e-12)


def test_arrays_go_there_and_back(device):
    host = np.arange(12.0).reshape(3, 4).T  # not C-contiguous
    there = device.ops.to_device(host, "float32")
    assert there.flags.c_contiguous
    assert_same_bits(device.ops.to_host(there), host.astype("float32"))
    assert device.ops.to_device(there, "float32") is there
    assert device.ops.to_device(there, "float64").dtype == "float64"
    assert backend.backend_of(there) == "cupy"
    assert device.ops.device_name()
    device.ops.synchronize()


# -- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_is_the_same(device, kind, dtype, redraw):
    x, index = data(dtype), np.random.default_rng(1).permutation(10 * SAMPLES)[:SAMPLES]
    noisy = []
    for ops in (Ops(), device.ops):
        noise = Corruption(Noise(kind, 0.3, redraw=redraw), seed=2**63 - 1, high=2.0, ops=ops)
        out = ops.empty(x.shape, dtype)
        for rows in (slice(0, 7), slice(7, SAMPLES)):  # the scratch memory grows
            there = ops.to_device(index[rows])
            noise.apply(ops.to_device(x[rows]), there, 3, out[rows])
        noisy.append(ops.to_host(out))
    if kind == "gaussian":
        assert_close(noisy[1], noisy[0], op_cases.NORMAL[dtype], kind)
    else:
        assert_same_bits(noisy[1], noisy[0], kind)
    assert (noisy[0] != x).any() == (kind != "none")


MOTION = {"shift": 1.5, "rotation": 20.0, "zoom": 0.2, "shear": 0.3}


class Plain(CupyOps):
    """The plain form of the motion on a device."""

    warp = Ops.warp


def moved(ops, x, index, shape, **options):
    """Return images moved at random, on the host."""
    out = ops.empty(x.shape, x.dtype)
    motion = Affine(shape, **options, ops=ops)
    motion.apply(ops.to_device(x), ops.to_device(index), 3, out)
    return ops.to_host(out)


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 13), (13, 1), (28, 28)])
def test_motion_is_the_same(device, shape, dtype, redraw):
    index = np.random.default_rng(1).integers(0, 2**40, SAMPLES)
    x = np.random.default_rng(2).uniform(0.5, 1.0, (SAMPLES, shape[0] * shape[1])).astype(dtype)
    options = MOTION | {"seed": 2**63 - 1, "redraw": redraw}
    expected, found, plain = (
        moved(ops, x, index, shape, **options) for ops in (Ops(), device.ops, Plain(device.ops.xp))
    )
    assert_close(found, expected, op_cases.WARP[dtype], "one launch")
    assert_close(plain, expected, op_cases.WARP[dtype], "the plain form on a device")
    assert (expected != x).any(axis=1).all()


def test_motion_is_one_launch_and_takes_no_memory(device, emulated):
    """The map of each image is drawn where it is used, not by a launch for each step of Philox."""
    x, out = device.ops.zeros((9, 35), "float32"), device.ops.empty((9, 35), "float32")
    index = device.ops.zeros((9,), "int64")
    motion = Affine((5, 7), **MOTION, seed=5, ops=device.ops)
    with emulated.counting() as counted:
        motion.apply(x, index, 0, out)
    assert counted == {"ddnmf_warp": 1}


@pytest.mark.parametrize("shape", [(5, 7), (4, 6)])
def test_no_motion_is_a_copy_on_the_device(device, shape):
    x = np.random.default_rng(2).uniform(0.5, 1.0, (40, shape[0] * shape[1]))
    assert_same_bits(moved(device.ops, x, np.arange(40), shape, seed=5), x)


@pytest.mark.parametrize(
    "ranges",
    [
        {"shift": 1e300},
        {"shift": 2.0**62, "shear": 2.0**62},
        {"shear": 1.7e308, "zoom": 1.0 - 2.0**-53},  # infinite, and no number in the middle row
        {"shift": 1.7e308, "rotation": 179.0, "shear": 1.7e308},
    ],
    ids=["far", "no index", "no number", "all"],
)
def test_a_map_out_of_the_image_leads_to_zeros(device, ranges):
    """And not out of the memory, wherever it leads."""
    x = np.random.default_rng(2).uniform(0.5, 1.0, (300, 35))
    with np.errstate(all="ignore"):
        expected, found = (
            moved(ops, x, np.arange(300), (5, 7), seed=5, **ranges) for ops in (Ops(), device.ops)
        )
    assert (expected == 0.0).any()
    assert_close(found, expected, op_cases.WARP["float64"])


def test_images_of_other_shapes_are_refused(device):
    ops, motion = device.ops, Motion(1.0, 0.0, 0.0, 0.0)
    x, out = ops.zeros((4, 35), "float64"), ops.zeros((4, 35), "float64")
    index = ops.zeros((4,), "int64")
    for wrong in (
        (x[:3], index, (5, 7), out),
        (x, index[:3], (5, 7), out),
        (x, index, (5, 8), out),
        (x, index, (5, 7), out[:3]),
    ):
        images, rows, shape, result = wrong
        with pytest.raises(ValueError, match=r"an array of shape .* where .* is expected"):
            ops.warp(images, Draw(rows, op_cases.KEY, 0), motion, shape, result)


def test_order_of_an_epoch_is_the_same(device):
    order = epoch_order(1000, 7, 3, xp=device.ops.xp)
    expected = epoch_order(1000, 7, 3)
    assert_same_bits(device.ops.to_host(order), expected)


# -- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_weights_are_the_same_bits(device, dtype):
    plain, there = (config(dtype=dtype).make_model(FEATURES, ops) for ops in (Ops(), device.ops))
    for (name, expected), (_, actual) in zip(blocks(plain), blocks(there), strict=True):
        assert_same_bits(actual, expected, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
@pytest.mark.parametrize(
    "options",
    [
        {"objective": "paper", "noise_kind": "masking", "nonnegative": "both"},
        {"objective": "demo", "noise_kind": "gaussian", "activation": ("sigmoid",)},
        {"objective": "paper", "activation": ("tanh", "softplus", "relu"), "noise_redraw": True},
        {
            "noise_shift": 1.5,
            "noise_rotation": 20.0,
            "noise_redraw": True,
            "image_shape": (13, 1),
            "lr_schedule": "cosine",
        },
    ],
    ids=["paper", "demo", "activations", "motion and schedule"],
)
def test_twenty_steps_are_the_same(device, options, optimizer, dtype):
    chosen = config(optimizer=optimizer, dtype=dtype, **options)
    plain, there = (chosen.make_trainer(chosen.make_model(FEATURES, ops), data(dtype))
                    for ops in (Ops(), device.ops))  # fmt: skip
    tolerance = TRAJECTORY[dtype]
    steps = 0
    while steps < STEPS:
        order = epoch_order(SAMPLES, chosen.training.seed, plain.position.epoch)
        for rows in plain.batches:  # the last one is short
            plain.step(order[rows])
            there.step(there.ops.to_device(order[rows]))
            steps += 1
            for (name, e), (_, a) in zip(blocks(plain.model), blocks(there.model), strict=True):
                assert e.any(), f"{name} is all zero: nothing is compared"
                assert_close(a, e, tolerance, f"{name} in step {steps}")
        plain.position.epoch = there.position.epoch = plain.position.epoch + 1
    losses, expected = (t.model.loss.values(steps * BATCH) for t in (there, plain))
    assert losses == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("objective", ["paper", "demo"])
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
def test_ten_steps_beside_another_implementation(device, objective, optimizer):
    """The record of ``tests/engine/test_golden.py``, on the device."""
    with np.load(GOLDEN, allow_pickle=False) as file:
        golden = dict(file)
    prefix = f"hyper/{optimizer}/"
    hyper = {k.removeprefix(prefix): float(golden[k]) for k in golden if k.startswith(prefix)}
    chosen = config(widths=(13, 11, 7), objective=objective, optimizer=optimizer, **hyper)
    model = chosen.make_model(golden["x"].shape[1], device.ops, rows=5)
    arenas = {net: network.arena for net, network in model.nets.items()}
    for net, arena in arenas.items():
        for name in arena.shapes:
            initial = golden[f"{objective}/init/{net}/{name}"]
            arena.param(name)[...] = device.ops.to_device(initial)
    x, x_noisy = (device.ops.to_device(golden[name]) for name in ("x", "x_noisy"))
    for first, last in golden["rows"].tolist():
        model.step(x[first:last], x_noisy[first:last])
    for net, arena in arenas.items():
        for name in arena.shapes:
            expected = golden[f"{objective}/{optimizer}/final/{net}/{name}"]
            assert_close(device.ops.to_host(arena.param(name)), expected, GOLDEN64, name)


def test_encoding_and_decoding_are_the_same(device):
    chosen, x = config(), data(n=600)  # more than the buffers hold at once
    plain, there = (chosen.make_model(FEATURES, ops) for ops in (Ops(), device.ops))
    for use in ("encode", "denoise", "supervise"):
        a, e = getattr(there, use)(x), getattr(plain, use)(x)
        assert_close(device.ops.to_host(a), e, TRAJECTORY["float64"], use)
    H = plain.encode(x)
    decoded = device.ops.to_host(there.decode(device.ops.to_device(H)))
    assert_close(decoded, plain.decode(H), TRAJECTORY["float64"], "decode")


@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_gradients_are_right_on_the_device(device, objective):
    model = config(objective=objective).make_model(FEATURES, device.ops)
    for target in (model, model.student, model.student.layers[0]):
        report = gradcheck(target, verbose=False)
        assert report.ok, str(report)


def test_what_is_not_finite_is_found_on_the_device(device):
    model = config().make_model(FEATURES, device.ops)
    x = device.ops.to_device(data(n=BATCH))
    model.step(x, x)
    assert model.first_nonfinite(x, x) is None
    model.student.arena.param("W_base")[0, 0] = np.nan
    model.step(x, x)
    assert "student layer 4" in model.first_nonfinite(x, x)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_a_step_reads_nothing_back(device, kind):
    chosen = config(noise_kind=kind, nonnegative="both", noise_redraw=True, noise_zoom=0.1,
                    image_shape=(1, FEATURES), lr_schedule="cosine")  # fmt: skip
    trainer = chosen.make_trainer(chosen.make_model(FEATURES, device.ops), data())
    trainer.train(1)  # warm
    order = epoch_order(SAMPLES, chosen.training.seed, 1, xp=device.ops.xp)
    with device.crossings() as counted:
        for rows in trainer.batches:
            trainer.step(order[rows])
    assert counted.to_host == 0


def test_an_epoch_reads_back_the_losses_and_whether_all_is_finite(device):
    trainer = Trainer(config().make_model(FEATURES, device.ops), data())
    trainer.train(1)
    for epochs in (2, 3):
        with device.crossings() as counted:
            trainer.train(epochs)
        assert counted.to_host == 1 + len(trainer.model.nets)  # the losses; is each net finite?


@pytest.mark.parametrize(
    "options",
    [{}, {"noise_shift": 1.5, "image_shape": (1, FEATURES), "lr_schedule": "cosine", "epochs": 4}],
    ids=["paper", "motion and schedule"],
)
def test_a_run_moves_between_the_backends(device, tmp_path, options):
    x, chosen = data(), config(noise_kind="salt-and-pepper", **options)
    plain = chosen.make_trainer(chosen.make_model(FEATURES), x)
    plain.train(2)
    save_checkpoint(tmp_path / "plain.npz", chosen, plain, "hash")
    there = chosen.make_trainer(chosen.make_model(FEATURES, device.ops), x)
    load_checkpoint(tmp_path / "plain.npz").restore(there, chosen, "hash")
    there.train(4)
    save_checkpoint(tmp_path / "there.npz", chosen, there, "hash")
    back = chosen.make_trainer(chosen.make_model(FEATURES), x)
    load_checkpoint(tmp_path / "there.npz").restore(back, chosen, "hash")
    plain.train(4)
    for name, expected in plain.model.state().items():
        assert_same_bits(back.model.state()[name], there.model.state()[name], name)
        assert_close(back.model.state()[name], expected, TRAJECTORY["float64"], name)


# -- what users call -------------------------------------------------------------------------


TF32 = 2.0**-10
"""Each factor is rounded to 10 bits of mantissa, half a unit of 2**-10 at most; of two factors that
is 2**-10 of their product, and rounding in float32 is nothing beside it."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_high_precision_is_close_to_highest(device, dtype):
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=shape).astype(dtype) for shape in ((64, 300), (300, 50)))
    products = []
    for precision in ("highest", "high"):
        ops = backend.get_ops("cupy", matmul_precision=precision)
        out = ops.empty((64, 50), dtype)
        ops.matmul(ops.to_device(a), ops.to_device(b), out)
        products.append(ops.to_host(out))
    if dtype == "float64":
        assert_same_bits(products[1], products[0])
    else:
        assert (np.abs(products[1] - products[0]) <= 1.1 * TF32 * (np.abs(a) @ np.abs(b))).all()
    assert_close(products[0], a @ b, op_cases.SUM[dtype])


def test_gradients_are_exact_whatever_the_precision(device):
    """The check copies the model to float64, which no setting rounds."""
    ops = backend.get_ops("cupy", matmul_precision="high")
    report = gradcheck(config(dtype="float32").make_model(FEATURES, ops), verbose=False)
    assert report.ok, str(report)


def test_backend_cupy_and_auto_mean_the_device(device):
    for name in ("cupy", "auto"):
        assert backend.get_ops(name).name == "cupy"
    assert backend.why_not_cupy() is None
    found = backend.describe_cuda()
    assert found["problem"] is None
    assert found["devices"][0]["name"] == device.ops.device_name()
    assert found["devices"][0]["memory_bytes"] > 2**20


def test_the_estimator_gives_back_what_it_was_given(device):
    x = data()
    options = {"n_components": 3, "widths": (7, 5), "batch_size": BATCH, "max_iter": 2,
               "random_state": 0}  # fmt: skip
    expected = DDNMF(**options).fit(x).transform(x)
    there = device.ops.to_device(x)
    on_device = DDNMF(**options).fit(there)
    codes = on_device.transform(there)
    assert backend.backend_of(codes) == "cupy"
    assert_close(device.ops.to_host(codes), expected, TRAJECTORY["float64"], "device in and out")
    assert isinstance(on_device.components_, np.ndarray)
    host_in = DDNMF(**options, backend="cupy").fit(x)
    assert isinstance(host_in.transform(x), np.ndarray)
    assert_close(host_in.transform(x), expected, TRAJECTORY["float64"], "host in and out")
    assert_close(host_in.inverse_transform(expected),
                 DDNMF(**options).fit(x).inverse_transform(expected),
                 TRAJECTORY["float64"], "decoded")  # fmt: skip


def test_a_whole_run_on_the_device(device, tmp_path):
    np.save(tmp_path / "x.npy", data())
    np.save(tmp_path / "y.npy", np.arange(SAMPLES) % 3)
    code = main(
        f"--dataset {tmp_path}/x.npy --labels {tmp_path}/y.npy --widths 7 5 --rank 3 --epochs 2 "
        f"--batch-size 16 --embedding pca --backend cupy --output {tmp_path}/run".split()
    )
    assert code == 0
    assert (tmp_path / "run" / "summary.json").exists()
    assert (tmp_path / "run" / "figures" / "losses.png").exists()


def test_streamed_samples_train_on_the_device_as_held_ones(device):
    """In small windows too, of which each crosses to the device once."""
    x = data()
    held = Trainer(config().make_model(FEATURES, device.ops), x)
    rows = [Rows(stream(x), x.dtype) for _ in range(2)]
    rows[1].block_rows, rows[1].window_blocks = 5, 2  # before the survey, which is of blocks
    streamed = [Trainer(config().make_model(FEATURES, device.ops), one) for one in rows]
    for trainer in (held, *streamed):
        trainer.train(1)
    one, two = (trainer.model.state() for trainer in (held, streamed[0]))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    host = Trainer(config().make_model(FEATURES), streamed[1].x)
    host.train(1)
    found = streamed[1].model.state()
    for name, block in host.model.state().items():
        assert_close(found[name], block, GOLDEN64, name)
