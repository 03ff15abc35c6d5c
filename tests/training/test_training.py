"""Algorithm 1: what each step sees, what an epoch records, how a run stops or fails."""

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
from tolerances import ORACLE32, ORACLE64, WARM_STEP_BYTES, assert_close, assert_same_bits
from training_cases import (
    STEPS_PER_EPOCH,
    assert_same_state,
    draw,
    losses_by_the_paper,
    losses_of,
    make_config,
    make_trainer,
    noisy_data_set,
    snapshot,
    stop_after,
)

from ddnmf_np.backends.ops import Ops
from ddnmf_np.config import PRESETS, configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.noise import NOISE_KINDS
from ddnmf_np.data.order import epoch_order
from ddnmf_np.errors import DataError, DivergedError, UsageError
from ddnmf_np.training import Trainer

OBJECTIVES = ("paper", "demo")


@pytest.fixture(scope="module")
def digits():
    return load("digits").x_train


def recorded(trainer, epochs):
    """Train, and return what `Model.iterate` was given: clean and noisy samples of every epoch."""
    clean, noisy = [], []
    iterate = trainer.model.iterate

    def spy(x, x_noisy):
        clean.append(x.copy())
        noisy.append(x_noisy.copy())
        iterate(x, x_noisy)

    trainer.model.iterate = spy
    trainer.train(epochs)
    cuts = range(0, len(clean), len(trainer.batches))
    joined = [
        [np.concatenate(batches[at : at + len(trainer.batches)]) for at in cuts]
        for batches in (clean, noisy)
    ]
    return *joined, [len(batch) for batch in clean]


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_supervisor_learns_digits(digits, seed):
    trainer = make_trainer(digits, widths=(64, 32), rank=10, batch_size=128, seed=seed)
    trainer.train(20)
    losses = [record["loss_sym"] for record in trainer.history]
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.25 * losses[0]
    spread = ((digits - digits.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert losses[-1] < 0.6 * spread  # far better than the mean image


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_paper_s_student_comes_near_its_supervisor(digits, seed):
    # loss_ap itself may rise: in the paper's mode the student follows a supervisor that moves.
    trainer = make_trainer(digits, widths=(64, 32), rank=10, batch_size=128, seed=seed)
    trainer.train(20)
    beginner = trainer.config.make_model(64)
    beginner.supervisor.arena.params[...] = trainer.model.supervisor.arena.params
    distances = []
    for model in (beginner, trainer.model):
        model.forward(digits[:200], digits[:200])
        model.loss.reset()
        model.loss.measure(digits[:200])
        distances.append(model.loss.values(200)["loss_ap"])
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_s_loss_falls_in_every_epoch(digits, seed):
    trainer = make_trainer(
        digits, objective="demo", widths=(64, 32), rank=10, batch_size=128, seed=seed
    )
    trainer.train(20)
    losses = [record["loss_in"] for record in trainer.history]
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]
    for name in ("loss_sym", "loss_nc", "loss_rec"):
        assert trainer.history[-1][name] < 0.75 * trainer.history[0][name]


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({}, "loss_sym"),  # all that moves the paper's supervisor
        ({"alpha_sym": 0.0}, "loss_in"),  # the student alone, before a supervisor that stands
        ({"objective": "demo"}, "loss_in"),
    ],
    ids=["supervisor", "student", "demo"],
)
def test_gradient_descent_never_goes_up(options, loss):
    """On all samples at once, with a small step, each step must lower what it descends."""
    trainer = make_trainer(**options, batch_size=45, optimizer="gd", lr=1e-3, dtype="float64")
    trainer.train(40)
    losses = [record[loss] for record in trainer.history]
    assert all(after < before for before, after in itertools.pairwise(losses))


# -- what a step sees -------------------------------------------------------------------------


@pytest.mark.parametrize("redraw", [False, True], ids=["drawn once", "redrawn"])
@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt-and-pepper", "none"])
def test_steps_see_the_order_and_noise_of_their_epoch(kind, redraw):
    trainer = make_trainer(noise_kind=kind, noise_redraw=redraw, noise_rate=0.3)
    clean, noisy, sizes = recorded(trainer, 3)
    assert sizes == [10, 10, 10, 10, 5] * 3
    for epoch in range(3):
        order = epoch_order(45, seed=5, epoch=epoch)
        assert_same_bits(clean[epoch], trainer.x[order])
        # Noise is drawn here for all samples in one piece: it must not depend on the batch.
        assert_same_bits(noisy[epoch], noisy_data_set(trainer, epoch)[order])
    in_place = [rows[np.argsort(epoch_order(45, 5, epoch))] for epoch, rows in enumerate(noisy)]
    changes = not np.array_equal(in_place[0], in_place[1])
    assert changes == (redraw and kind != "none")


MOTION = {"noise_shift": 1.5, "noise_rotation": 15.0, "noise_zoom": 0.2, "noise_shear": 0.3}


@pytest.mark.parametrize("redraw", [False, True], ids=["drawn once", "redrawn"])
@pytest.mark.parametrize("kind", NOISE_KINDS)
@pytest.mark.parametrize("shape", [(4, 5), (20, 1), None], ids=str)
def test_steps_see_images_moved(shape, kind, redraw):
    options = {"noise_kind": kind, "noise_redraw": redraw, "image_shape": shape, **MOTION}
    trainer = make_trainer(draw(width=20), **options)
    clean, noisy, _ = recorded(trainer, 2)
    for epoch in range(2):
        order = epoch_order(45, seed=5, epoch=epoch)
        assert_same_bits(clean[epoch], trainer.x[order])
        assert_same_bits(noisy[epoch], noisy_data_set(trainer, epoch)[order])
    in_place = [rows[np.argsort(epoch_order(45, 5, epoch))] for epoch, rows in enumerate(noisy)]
    assert np.array_equal(*in_place) != redraw
    still = make_trainer(draw(width=20), noise_kind=kind, noise_redraw=redraw)
    assert (noisy_data_set(still) != noisy_data_set(trainer)).any()


@pytest.mark.parametrize("objective", PRESETS)
def test_steps_see_the_preset_s_noise(objective):
    trainer = make_trainer(draw(width=20), objective=objective)
    noisy = recorded(trainer, 2)[1]
    for epoch in range(2):
        order = epoch_order(45, seed=5, epoch=epoch)
        assert_same_bits(noisy[epoch], noisy_data_set(trainer, epoch)[order])
    assert trainer.noise.noise == configure(objective=objective).noise


def test_the_configured_shape_wins_over_the_data_set_s():
    x, config = draw(width=20), make_config(image_shape=(5, 4), **MOTION)
    trainer = config.make_trainer(config.make_model(20), x, image_shape=(4, 5))
    assert trainer.noise.motion.image_shape == (5, 4)


@pytest.mark.parametrize("given", [None, (4, 4), (5, 5)], ids=str)
def test_motion_needs_images(given):
    expected = (
        rf"image_shape is {'unknown' if given is None else '.*'} and a sample has 20 features, but "
        r"noise_rotation, noise_shear moves images; give image_shape=\(height, width\), or "
        "noise_shift=0, noise_rotation=0, noise_zoom=0, noise_shear=0 for data that are not images"
    )
    config = make_config(noise_rotation=5.0, noise_shear=0.1)
    with pytest.raises(UsageError, match=expected):
        config.make_trainer(config.make_model(20), draw(width=20), image_shape=given)
    Trainer(make_config(objective="paper").make_model(20), draw(width=20), image_shape=given)


def test_noise_does_not_depend_on_the_batch_size():
    def by_sample(batch_size):
        trainer = make_trainer(batch_size=batch_size, noise_rate=0.4, **MOTION)
        noisy = recorded(trainer, 1)[1][0]
        return noisy[np.argsort(epoch_order(45, 5, 0))]

    assert_same_bits(by_sample(7), by_sample(10))


def test_noise_of_data_that_arrive_in_parts():
    x = draw()
    parts = []
    for first, rows in ((0, slice(0, 20)), (20, slice(20, 45))):
        trainer = Trainer(
            make_config().make_model(13), x[rows], first_index=first, high=float(x.max())
        )
        order = epoch_order(len(x[rows]), 5, 0)
        parts.append(recorded(trainer, 1)[1][0][np.argsort(order)])
    assert_same_bits(np.concatenate(parts), noisy_data_set(make_trainer(x)))


def test_unit_of_the_noise_is_the_largest_value():
    x = draw() * 8
    trainer = make_trainer(x, noise_kind="salt-and-pepper", noise_rate=0.5)
    noisy = recorded(trainer, 1)[1][0]
    salt = noisy == x.max()
    assert 0.15 < salt.mean() < 0.35
    assert noisy.max() == x.max()


# -- what an epoch records --------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_record_of_one_batch_is_the_paper_s_losses(objective, dtype, tolerance):
    trainer = make_trainer(objective=objective, dtype=dtype, batch_size=45)
    expected = losses_by_the_paper(trainer)
    trainer.train(1)
    record = trainer.history[0]
    names = {"loss_in", "loss_sym", "loss_ap", "loss_nc"} | (
        {"loss_rec"} if objective == "demo" else set()
    )
    assert record.keys() == {"epoch", "seconds", "samples_per_second"} | names
    for name in names:
        assert_close(record[name], expected[name], tolerance, name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_short_last_batch_counts_by_its_samples(objective):
    # Steps so small that the weights stay as they are: then the epoch is one sum over all samples.
    trainer = make_trainer(objective=objective, dtype="float64", optimizer="gd", lr=1e-300)
    for network in trainer.model.nets.values():
        network.arena.params += 0.01  # a bias of 0 would take even such a step
    before = snapshot(trainer.model)
    expected = losses_by_the_paper(trainer)
    trainer.train(2)
    assert_same_state(trainer.model, before)
    for record in trainer.history:
        for name in ("loss_in", "loss_sym", "loss_ap", "loss_nc"):
            assert_close(record[name], expected[name], ORACLE64, name)


def test_weight_zero_leaves_a_loss_out_of_the_record():
    trainer = make_trainer(gamma_nc=0.0)
    trainer.train(1)
    assert "loss_nc" not in trainer.history[0]


def test_speed_is_samples_over_seconds(monkeypatch):
    now = 0.0

    def perf_counter():
        return now

    def on_step(trainer):
        nonlocal now
        now += 2.0

    monkeypatch.setattr(time, "perf_counter", perf_counter)
    trainer = make_trainer()
    trainer.train(1, on_step=on_step)
    assert trainer.history[0]["seconds"] == 2.0 * STEPS_PER_EPOCH
    assert trainer.history[0]["samples_per_second"] == 45 / (2.0 * STEPS_PER_EPOCH)


def test_time_before_a_pause_counts(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 7.0)
    trainer = make_trainer()
    trainer.train(1, on_step=stop_after(2))
    trainer.position.seconds, trainer.stop_requested = 100.0, False
    trainer.train(1)
    assert trainer.history[0]["seconds"] == 100.0


# -- determinism ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
def test_a_seed_gives_the_same_bits(ops, optimizer):
    runs = [make_trainer(ops=ops, optimizer=optimizer, lr=1e-2) for _ in range(2)]
    for trainer in runs:
        trainer.train(3)
    assert_same_state(runs[0].model, runs[1].model)
    assert losses_of(runs[0].history) == losses_of(runs[1].history)
    assert runs[0].model.optimizer.t == 3 * STEPS_PER_EPOCH


def test_another_seed_gives_other_weights_order_and_noise():
    first, second = make_trainer(seed=5), make_trainer(seed=6)
    before = [snapshot(trainer.model) for trainer in (first, second)]
    for name in ("supervisor.W1", "student.W1", "student.W_base"):
        assert not np.array_equal(before[0][name], before[1][name])
    assert not np.array_equal(before[0]["supervisor.W1"], before[0]["student.W1"])
    (clean, noisy, _), (clean_2, noisy_2, _) = recorded(first, 1), recorded(second, 1)
    assert not np.array_equal(clean[0], clean_2[0])
    lost = [
        (a == 0)[np.argsort(epoch_order(45, s, 0))] for a, s in ((noisy[0], 5), (noisy_2[0], 6))
    ]
    assert not np.array_equal(*lost)


def test_data_are_only_read():
    x = draw()
    x.flags.writeable = False
    before = x.copy()
    make_trainer(x).train(2)
    assert_same_bits(x, before)


# -- the learning rate ------------------------------------------------------------------------


def rates(trainer, epochs):
    """Train, and return the learning rate of every step."""
    found = []
    trainer.train(epochs, on_step=lambda trainer: found.append(trainer.model.optimizer.lr))
    return found


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
def test_cosine_falls_from_lr_to_nothing(optimizer):
    steps = 8 * STEPS_PER_EPOCH
    found = rates(make_trainer(optimizer=optimizer, epochs=8, lr_schedule="cosine"), 8)
    assert len(found) == steps
    expected = [1e-3 * (1 + math.cos(math.pi * k / steps)) / 2 for k in range(steps)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 1e-3
    assert all(b < a for a, b in itertools.pairwise(found))
    assert 0.0 < found[-1] < 2e-3 * 1e-3  # (pi / 2 steps)^2 = 0.0015
    assert all(type(lr) is float for lr in found)  # float32 times a NumPy number would be float64


def test_constant_is_lr_to_the_bit():
    assert rates(make_trainer(lr=0.1 + 0.2, lr_schedule="constant"), 3) == [0.1 + 0.2] * 15


def test_constant_is_the_loop_without_a_schedule():
    trainer, plain = make_trainer(), make_trainer()
    trainer.train(3)
    for epoch in range(3):
        order = epoch_order(45, 5, epoch)
        noisy = noisy_data_set(plain, epoch)
        for rows in plain.batches:
            plain.model.step(plain.x[order[rows]], noisy[order[rows]])
    assert_same_state(trainer.model, plain.model)


@pytest.mark.parametrize("objective", PRESETS)
def test_the_preset_s_schedule(objective):
    found = rates(make_trainer(objective=objective), 3)
    constant = configure(objective=objective).optimizer.lr_schedule == "constant"
    assert (set(found) == {1e-3}) == constant
    by_hand = rates(make_trainer(objective=objective, lr_schedule="constant"), 3)
    assert set(by_hand) == {1e-3}


def test_each_step_uses_its_rate():
    """With plain descent and weights held still, a step is as long as its rate."""
    trainer = make_trainer(batch_size=45, optimizer="gd", lr=1e-9, dtype="float64", epochs=10,
                           lr_schedule="cosine", objective="paper")  # fmt: skip
    lengths = []
    for _ in range(10):
        before = trainer.model.student.arena.params.copy()
        trainer.train(trainer.position.epoch + 1)
        lengths.append(np.linalg.norm(trainer.model.student.arena.params - before))
    shares = [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)]
    np.testing.assert_allclose(np.array(lengths) / lengths[0], shares, rtol=1e-4)


def test_training_beyond_the_configured_epochs_stands_still():
    trainer = make_trainer(lr_schedule="cosine")
    trainer.train(3)
    assert trainer.progress == 1.0
    before = snapshot(trainer.model)
    assert rates(trainer, 4) == [0.0] * STEPS_PER_EPOCH
    parameters = [name for name in before if ":" not in name]
    after = trainer.model.state()
    for name in parameters:
        assert_same_bits(after[name], before[name], name)


# -- who is moved by what ---------------------------------------------------------------------

DISTURBANCES = [
    {"noise_kind": "gaussian"},
    {"noise_kind": "none"},
    {"noise_rate": 0.7},
    {"noise_redraw": True},
    {"noise_shift": 1.5},
    {"beta_ap": 0.125},
    {"gamma_nc": 30.0},
    {"student_reconstruction": 1.0},
    {"rank": 5},
    {"nonnegative": "both"},
    {"base_bias": True},
]


@pytest.mark.parametrize("options", DISTURBANCES, ids=str)
def test_paper_s_supervisor_knows_nothing_of_the_student(options):
    plain, other = make_trainer(), make_trainer(**options)
    for trainer in (plain, other):
        trainer.train(2)
    for suffix in ("", ":m", ":v"):
        for name in plain.model.supervisor.arena.shapes:
            key = f"supervisor.{name}{suffix}"
            assert_same_bits(plain.model.state()[key], other.model.state()[key], key)
    one, two = (trainer.model.state() for trainer in (plain, other))
    assert not np.array_equal(one["student.W1"], two["student.W1"])


@pytest.mark.parametrize("options", DISTURBANCES[:5], ids=str)
def test_demo_s_supervisor_is_moved_by_the_student(options):
    plain, other = make_trainer(objective="demo"), make_trainer(objective="demo", **options)
    for trainer in (plain, other):
        trainer.train(2)
    one, two = (trainer.model.state() for trainer in (plain, other))
    assert not np.array_equal(one["supervisor.W1"], two["supervisor.W1"])


# -- the NMF module ---------------------------------------------------------------------------


@pytest.mark.parametrize("nonnegative", ["off", "recovery", "both"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_projection_after_every_step(ops, objective, nonnegative):
    trainer = make_trainer(ops=ops, objective=objective, nonnegative=nonnegative, lr=0.05)
    lowest = {"W_rec": [], "W_base": [], "W1": []}

    def look(trainer=trainer):
        for name, values in lowest.items():
            values.append(float(trainer.model.student.arena.param(name).min()))

    look()  # as initialised
    trainer.train(3, on_step=look)
    assert len(lowest["W1"]) == 1 + 3 * STEPS_PER_EPOCH
    projected = {"off": (), "recovery": ("W_rec",), "both": ("W_rec", "W_base")}[nonnegative]
    for name, values in lowest.items():
        assert (min(values) >= 0.0) == (name in projected), name
    if nonnegative == "both" and objective == "paper":  # the demo's base has a bias
        H = trainer.model.encode(draw(seed=1))
        assert H.min() >= 0.5  # what the option's help says


def test_projected_module_is_a_true_nmf():
    trainer = make_trainer(nonnegative="recovery", lr=0.02, dtype="float64")
    trainer.train(5)
    student = trainer.model.student
    student.forward(draw(9, seed=1, dtype="float64"))
    code, H, code_hat = student.h[2], student.h[3], student.h[4]
    W = student.arena.param("W_rec")
    for factor in (code, H, W):
        assert factor.min() >= 0.0
    # H W_rec^T with no activation: ReLU has nothing to cut.
    assert_same_bits(code_hat, H @ W.T)
    assert code_hat.max() > 0.0


# -- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 10, 14])
def test_stop_between_steps_and_go_on(steps):
    whole, parted = make_trainer(), make_trainer()
    assert whole.train(3) is True
    assert parted.train(3, on_step=stop_after(steps)) is False
    assert parted.model.optimizer.t == steps
    position = parted.position
    assert (position.epoch, position.batch) == divmod(steps, STEPS_PER_EPOCH)
    assert len(parted.history) == steps // STEPS_PER_EPOCH
    parted.stop_requested = False
    assert parted.train(3) is True
    assert_same_state(parted.model, whole.model)
    assert losses_of(parted.history) == losses_of(whole.history)


def test_stop_before_the_first_step():
    trainer = make_trainer()
    before = snapshot(trainer.model)
    trainer.stop_requested = True
    assert trainer.train(3) is False
    assert_same_state(trainer.model, before)
    assert trainer.history == []


def test_stop_with_the_last_step_is_the_end():
    trainer = make_trainer()
    assert trainer.train(3, on_step=stop_after(3 * STEPS_PER_EPOCH)) is True
    assert len(trainer.history) == 3


def test_epochs_are_those_in_all():
    once, twice = make_trainer(), make_trainer()
    once.train(3)
    twice.train(1)
    twice.train(3)
    assert_same_state(once.model, twice.model)
    before = snapshot(twice.model)
    assert twice.train(2) is True  # done already
    assert_same_state(twice.model, before)
    assert [record["epoch"] for record in twice.history] == [1, 2, 3]


def test_callbacks_come_when_documented():
    calls = []

    def on_step(trainer):
        position = trainer.position
        calls.append(("step", position.epoch, position.batch, trainer.model.optimizer.t))

    def on_epoch(trainer):
        position = trainer.position
        calls.append(("epoch", position.epoch, position.batch, trainer.history[-1]["epoch"]))

    make_trainer().train(2, on_step=on_step, on_epoch=on_epoch)
    expected = []
    for epoch in range(2):
        expected += [("step", epoch, k, epoch * STEPS_PER_EPOCH + k) for k in range(1, 6)]
        expected.append(("epoch", epoch + 1, 0, epoch + 1))
    assert calls == expected


@pytest.mark.paper_shape
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_a_warm_step_with_its_data_and_noise_allocates_nothing(ops, kind):
    x = np.random.default_rng(0).random((300, 784), dtype=np.float32)
    config = configure(noise_kind=kind)  # the paper's shape, batches of 128
    trainer = config.make_trainer(config.make_model(784, ops), x)
    order = epoch_order(300, 0, 0)
    trainer.step(order[:128])
    tracemalloc.start()
    try:
        trainer.step(order[128:256])
        trainer.step(order[256:])
        assert tracemalloc.get_traced_memory()[1] < WARM_STEP_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.paper_shape
def test_a_warm_step_with_motion_allocates_nothing(ops):
    if type(ops) is Ops:
        pytest.skip("the plain form of Ops.warp allocates, as its docstring says")
    x = np.random.default_rng(0).random((300, 784), dtype=np.float32)
    config = configure(image_shape=(28, 28), lr_schedule="cosine", noise_redraw=True, **MOTION)
    trainer = config.make_trainer(config.make_model(784, ops), x)
    order = epoch_order(300, 0, 0)
    trainer.step(order[:128])
    tracemalloc.start()
    try:
        trainer.step(order[128:256])
        trainer.step(order[256:])
        assert tracemalloc.get_traced_memory()[1] < WARM_STEP_BYTES
    finally:
        tracemalloc.stop()


# -- failing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_huge_learning_rate_is_an_error_that_says_where(ops, objective, optimizer):
    trainer = make_trainer(ops=ops, objective=objective, optimizer=optimizer, lr=1e30)
    with pytest.raises(DivergedError) as caught:
        trainer.train(3)
    text = str(caught.value)
    assert "diverged in epoch 1, step " in text
    assert "loss_in, loss_" in text
    assert "activation of s" in text
    assert "smaller lr (now 1e+30)" in text
    assert trainer.history == []  # a record that is not finite is no record
    assert trainer.position.epoch == 0


@pytest.mark.parametrize(
    ("net", "block", "place", "finite"),
    [
        ("student", "W_rec", "activation of student layer 4", {"loss_sym"}),
        ("student", "b6", "activation of student layer 6", {"loss_sym", "loss_nc"}),
        ("supervisor", "W3", "activation of supervisor layer 3", {"loss_nc"}),
    ],
)
def test_nan_is_found_in_its_layer(net, block, place, finite):
    trainer = make_trainer(batch_size=45)
    trainer.train(2)
    trainer.model.nets[net].arena.param(block)[0] = np.nan
    with pytest.raises(DivergedError) as caught:
        trainer.train(4)
    text = str(caught.value)
    assert "diverged in epoch 3, step 1:" in text
    assert place in text
    for name in ("loss_sym", "loss_ap", "loss_nc"):
        assert (name in text) == (name not in finite)
    assert len(trainer.history) == 2


def test_nan_is_found_in_its_step_and_layer_before_it_spreads():
    """On the host the losses are looked at after each step, not at the end of the epoch."""
    trainer = make_trainer()

    def on_step(trainer):
        if (trainer.position.epoch, trainer.position.batch) == (1, 2):
            trainer.model.student.arena.param("W_rec")[0, 0] = np.inf

    expected = "epoch 2, step 3: .*; first value .*: activation of student layer 4"
    with pytest.raises(DivergedError, match=expected):
        trainer.train(4, on_step=on_step)
    assert len(trainer.history) == 1


def test_parameter_that_is_lost_in_the_last_step_is_found():
    trainer = make_trainer()

    def on_step(trainer):
        if trainer.position.batch == STEPS_PER_EPOCH:
            trainer.model.student.arena.param("b5")[1] = np.inf

    expected = "epoch 1, step 5: the losses are still finite; .* parameter block b5 of the student"
    with pytest.raises(DivergedError, match=expected):
        trainer.train(1, on_step=on_step)


def test_fewer_samples_than_a_batch():
    with pytest.raises(DataError, match="x has 9 samples, fewer than batch_size = 10; give more"):
        make_trainer(draw(9))
    make_trainer(draw(10)).train(1)


@pytest.mark.parametrize("shape", [(45, 12), (45, 14), (45,), (5, 9, 13)])
def test_samples_of_another_shape(shape):
    with pytest.raises(DataError, match=r"x has shape \(.*\); this model takes \(n, 13\)"):
        Trainer(make_config().make_model(13), np.zeros(shape, "float32"))


def test_samples_of_another_precision_are_converted():
    x = draw(dtype="float64")
    one, two = make_trainer(x), make_trainer(x.astype("float32"))
    for trainer in (one, two):
        trainer.train(1)
    assert_same_state(one.model, two.model)


def test_bad_objective_is_refused_before_any_work():
    with pytest.raises(UsageError, match="alpha_sym is -1"):
        make_trainer(alpha_sym=-1.0)
