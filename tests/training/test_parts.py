"""Non-negative decoders and the preset "parts": signs, additivity, gradients, start, and parts."""

import numpy as np
import pytest
from tolerances import assert_close, assert_same_bits
from training_cases import assert_same_state, make_trainer

from ddnmf_np import DDNMF
from ddnmf_np.config import configure
from ddnmf_np.data.parts import best_factorization, factorize
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation.interpret import decode_parts
from ddnmf_np.runs.validation import Unexplained, findings

RANK = 6
EXACT = 1e-12


def bars(n=240, seed=0):
    """Return sums of 6 bars in 3 x 3 pixels, and the bars."""
    rng = np.random.default_rng(seed)
    grid = np.zeros((RANK, 3, 3))
    for at in range(3):
        grid[at, at, :] = grid[3 + at, :, at] = 1.0
    parts = grid.reshape(RANK, -1)
    return (rng.random((n, RANK)) * (rng.random((n, RANK)) < 0.4)) @ parts, parts


def make_model(**options):
    defaults = {"objective": "parts", "widths": (12, 9), "rank": RANK, "dtype": "float64"}
    return configure(**(defaults | options)).make_model(9)


def cosines(found, true):
    """Return for each true part the largest cosine of a found one."""
    unit = [a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (found, true)]
    return (unit[0] @ unit[1].T).max(axis=0)


@pytest.mark.parametrize("objective", ["paper", "demo", "parts"])
def test_no_weight_of_a_decoder_is_negative_after_any_step(ops, objective):
    options = {"nonnegative": "decoder", "nmf_start": "glorot", "lr": 0.05}
    trainer = make_trainer(ops=ops, objective=objective, **options)
    student, supervisor = trainer.model.student.arena, trainer.model.supervisor.arena
    names = [
        *((student, name) for name in ("W_rec", "W5", "W6")),
        *((supervisor, name) for name in ("W3", "W4")),
    ]
    lowest = []

    def look(trainer=None):
        lowest.append([float(arena.param(name).min()) for arena, name in names])

    look()  # as drawn
    trainer.train(3, on_step=look)
    assert len(lowest) > 10
    assert np.min(lowest) >= 0.0
    assert np.min(lowest[-1]) == 0.0  # the projection had something to do
    for arena, free in ((student, ("W1", "W2", "W_base")), (supervisor, ("W1", "W2"))):
        assert all(float(arena.param(name).min()) < 0.0 for name in free)
    assert not {"b5", "b6"} & student.shapes.keys()
    assert not {"b3", "b4"} & supervisor.shapes.keys()


@pytest.mark.parametrize("output", ["relu", "identity"])
def test_parts_add_up_exactly(output):
    model, rng = make_model(output_activation=output), np.random.default_rng(1)
    H = rng.random((20, RANK))
    parts = decode_parts(model.decode, RANK, "float64")
    assert_close(model.decode(H), H @ parts, EXACT)
    assert not model.decode(np.zeros((1, RANK))).any()


def test_parts_add_up_from_the_smallest_value_of_scaled_data():
    scaling = Scaling(np.full(9, 2.0), np.full(9, 3.0))
    config = configure(objective="parts", widths=(12,), rank=RANK, dtype="float64")
    model, H = config.make_model(9, scaling=scaling), np.random.default_rng(1).random((20, RANK))
    zero = model.decode(np.zeros((1, RANK)))
    assert_same_bits(zero, np.full((1, 9), 2.0))
    parts = decode_parts(model.decode, RANK, "float64") - zero
    assert_close(model.decode(H), zero + H @ parts, EXACT)


@pytest.mark.parametrize("output", ["relu", "tanh", "softplus"])
@pytest.mark.parametrize("inner", ["relu", "sigmoid", "tanh"])
def test_more_of_a_unit_never_takes_anything_away(output, inner):
    model = make_model(output_activation=output, activation=(inner,))
    H = np.random.default_rng(2).random((20, RANK))
    less = model.decode(H)
    for unit in range(RANK):
        more = H.copy()
        more[:, unit] += 0.5
        gain = model.decode(more) - less
        assert gain.min() >= -EXACT
        assert gain.max() > 0.0


@pytest.mark.parametrize("output", ["relu", "tanh"])
@pytest.mark.parametrize("started", [False, True], ids=["drawn", "started"])
def test_gradients(output, started):
    # Where all parts of a unit are 0, a ReLU is exactly on its kink: no difference is a gradient.
    model = make_model(output_activation=output, base_activation="sigmoid" if started else "relu")
    x = np.random.default_rng(0).random((40, 9))
    if started:
        model.start(x)
        for layer in (model.nmf.recovery, *model.decoders[0], *model.decoders[1]):
            layer.W += 0.01
    report = gradcheck(model, x[:7])
    assert report.ok, str(report)


def test_factorization_finds_the_bars_and_does_not_get_worse():
    x, parts = bars()
    H, P = best_factorization(x, RANK, seed=0)
    assert min(H.min(), P.min()) >= 0.0
    assert_close(H @ P, x, 1e-2)
    assert cosines(P, parts).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(P, axis=1), 1.0)


def test_factorization_of_nothing_is_nothing():
    H, P = factorize(np.zeros((5, 4)), 2, np.random.default_rng(0))
    assert not (H @ P).any()
    assert np.isfinite(P).all()


@pytest.mark.parametrize(
    ("base", "widths"),
    [
        *(("relu", widths) for widths in [(48,), (24, 16), (24, 16, 20)]),
        *((base, (24, 16)) for base in ("sigmoid", "softplus")),
    ],
)
def test_start_is_the_factorization(ops, base, widths):
    x, _ = bars()
    config = configure(
        objective="parts", widths=widths, rank=RANK, dtype="float64", base_activation=base
    )
    model = config.make_model(9, ops)
    model.start(ops.to_device(x))
    H, P = best_factorization(x, RANK, seed=0)
    top = H.max(axis=0) / 0.95
    decoded = decode_parts(lambda h: ops.to_host(model.decode(h)), RANK, "float64")
    assert_close(decoded, P * top[:, None], EXACT)
    assert_same_bits(model.student.layers[-1].W, model.supervisor.layers[-1].W)
    codes = ops.to_host(model.encode(ops.to_device(x)))
    close = np.corrcoef(codes.T, H.T)[:RANK, RANK:]
    assert (close.argmax(axis=0) == np.arange(RANK)).all()  # each follows its own part
    assert close.diagonal().mean() > 0.6


def test_start_needs_a_unit_for_each_part():
    config = configure(objective="parts", widths=(12, 5), rank=RANK)
    with pytest.raises(
        UsageError, match=r"widths is \(12, 5\), .* narrower than the rank 6; .*pca"
    ):
        config.make_model(9)


def test_start_of_samples_without_any_variance_is_finite():
    model = make_model()
    for value in (0.0, 1.0):
        model.start(np.full((30, 9), value))
        assert model.all_finite()


def test_drawn_decoder_keeps_the_mean_of_the_data():
    model, (x, _) = make_model(nmf_start="pca"), bars()
    model.start(x)
    assert_close(model.supervise(x).mean(), x.mean(), 1e-9)
    for net, layer in ((model.student, "W_rec"), (model.supervisor, "W4")):
        W = net.arena.param(layer)
        assert W.min() > 0.0
        assert np.median(W) < 0.5 * W.mean()  # a few large weights, most near 0


@pytest.mark.parametrize("output", [None, "tanh"])
def test_preset_finds_the_bars(output):
    x, parts = bars()
    options = {} if output is None else {"output_activation": output}
    model = DDNMF(RANK, objective="parts", max_iter=60, random_state=0, **options).fit(x)
    assert cosines(model.components_, parts).min() > 0.95
    assert model.score(x) > 0.95
    assert model.components_.min() >= 0.0
    assert model.config_.model.nonnegative == "decoder"
    assert model.config_.model.widths == (128,)


def test_preset_decides_with_the_data_like_auto():
    config = configure(objective="parts")
    assert config.undecided == configure(objective="auto").undecided - {"output_activation"}
    assert configure(objective="parts", lr=0.1).undecided == config.undecided - {"lr"}


def test_object_of_the_objective_keeps_the_preset():
    x, _ = bars()
    objective = Objective("parts", gamma_nc=0.5)
    config = DDNMF(RANK, objective=objective, max_iter=1, random_state=0).fit(x).config_
    assert config.objective.gamma_nc == 0.5
    assert config.objective.alpha_sym != 1.0  # by the data
    assert config.model.nonnegative == "decoder"


def test_feature_that_no_part_has_is_no_failure():
    model, (x, _) = make_model(), bars()
    model.start(x)
    assert findings(Unexplained(model, x), model, x) == []
    model.student.layers[-1].W[0] = 0.0
    assert not model.denoise(x)[:, 0].any()
    assert findings(Unexplained(model, x), model, x) == []


def test_partial_fit_begins_with_the_parts():
    x, _ = bars()
    model = DDNMF(RANK, objective="parts", random_state=0)
    for _ in range(2):
        model.partial_fit(x)
    assert model.components_.min() >= 0.0
    assert model.config_.optimizer.lr_schedule == "constant"


def test_second_start_is_the_first():
    x, _ = bars()
    models = [make_model(), make_model()]
    for model, times in zip(models, (1, 2), strict=True):
        for _ in range(times):
            model.start(x)
    assert_same_state(*models)
