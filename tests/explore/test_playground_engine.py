"""The playground's scripts: each step is the engine's, and the gradient check finds each bug."""

import numpy as np
import pytest
from playground_cases import (
    CHECK,
    JAVASCRIPT64,
    NODE,
    TRAIN,
    blocks_of,
    compute,
    data_of,
    draw,
    options_of,
    small,
    train,
)
from tolerances import assert_close

from ddnmf_np.data.noise import Corruption, Noise
from ddnmf_np.data.order import epoch_order
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.playground.content import PRESETS, quote, samples
from ddnmf_np.playground.replay import replay
from ddnmf_np.teaching import bugs


@pytest.fixture
def js(request):
    """Return `compute` in node, or in Chromium where there is no node."""
    browser = None if NODE else request.getfixturevalue("browser")
    return lambda function, given: compute(function, given, browser)


# -- random numbers --------------------------------------------------------------------------------


def test_numbers_of_numpy_s_generator(js):
    found = js(
        "(pairs) => pairs.map(([seed, stream]) => {"
        "const g = new Generator(seed, stream); return [g.uniform(), g.uniform(), g.uniform()]; })",
        [[0, 0], [0, 1], [3, 2], [2**32 - 1, 1]],
    )
    for seed, numbers in zip(([0, 0], [0, 1], [3, 2], [2**32 - 1, 1]), found, strict=True):
        assert np.random.default_rng(seed).uniform(size=3).tolist() == numbers


def test_order_of_the_samples(js):
    found = js("([n, seed, epoch]) => epochOrder(n, seed, epoch)", [301, 7, 5])
    assert found == epoch_order(301, 7, 5).tolist()


NOISY = """({ options, x, index, epoch }) => {
  const out = new Float64Array(x.length);
  new Corruption(options, 0.8).apply(Float64Array.from(x), index, epoch, out);
  return Array.from(out);
}"""


@pytest.mark.equation(2)
@pytest.mark.parametrize("kind", ["masking", "gaussian", "none"])
@pytest.mark.parametrize("more", [{}, {"redraw": True, "rescale": False}])
def test_noise(js, kind, more):
    x = draw(1, 27) * 0.8
    noise = Noise(kind=kind, rate=0.3, **more)
    expected = np.empty_like(x)
    Corruption(noise, seed=11, high=0.8).apply(x, np.array([4321]), 6, expected)
    names = ("kind", "rate", "rescale", "redraw")
    options = {f"noise_{name}": getattr(noise, name) for name in names} | {"seed": 11}
    found = js(NOISY, {"options": options, "x": x[0].tolist(), "index": 4321, "epoch": 6})
    assert_close(np.array(found), expected[0], 1e-14)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.equation(8)
@pytest.mark.equation(9)
@pytest.mark.equation(10)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "gd", "lr": 0.01, "noise_kind": "gaussian"}], ids=["adam", "gd"]
)
def test_fifty_steps_are_the_engine_s(js, preset, more):
    """From the seed alone: weights, start, order and noise are those of the package, too."""
    config, x = small(objective=preset, **more), draw()
    given = {"options": options_of(config), "data": data_of(x), "steps": 50}
    found, model = js(TRAIN, given), train(config, x, 50)
    blocks = blocks_of(model)
    assert found["blocks"].keys() == blocks.keys()
    for name, block in blocks.items():
        assert_close(np.reshape(found["blocks"][name], block.shape), block, JAVASCRIPT64, name)


def test_start_at_principal_components_without_a_bias(js):
    config, x = small(objective="paper", nmf_start="pca", nmf_spread=0.5), draw()
    given = {"options": options_of(config), "data": data_of(x), "steps": 1}
    found, model = js(TRAIN, given), train(config, x, 1)
    for name, block in blocks_of(model).items():
        assert_close(np.reshape(found["blocks"][name], block.shape), block, JAVASCRIPT64, name)


# -- gradient check --------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_gradient_check_rejects_each_bug_on_its_blocks(js, preset):
    config = small(objective=preset)
    given = {"options": options_of(config), "data": data_of(draw()), "steps": 20}
    found = js(CHECK, given)
    assert len(found["report"]) == len(blocks_of(config.make_model(24)))
    assert {block["verdict"] for block in found["report"].values()} == {"ok"}
    for bug, net, layer, rejected, expected in found["planted"]:
        assert rejected == expected, f"{bug} in layer {layer} of the {net}"
        assert expected
    assert found["healed"] == []
    planted = {bug for bug, *_ in found["planted"]}
    assert planted == SAME_BUGS.keys() - ({"leak"} if preset != "paper" else set())


SAME_BUGS = {
    "slope": bugs.ForgetsSlope,
    "signal": bugs.ForgetsSignal,
    "direct": bugs.ForgetsDirectGradients,
    "rows": bugs.SwapsRows,
    "mean": bugs.AveragesBias,
    "bias": bugs.ForgetsBias,
    "half": bugs.HalvesSignal,
    "transpose": bugs.TransposesWeights,
    "module": bugs.AddsBias,
    "leak": bugs.LeakyLoss,
}


def test_bugs_are_those_of_the_lessons(js):
    assert js("() => Object.keys(BUGS)", None) == list(SAME_BUGS)
    assert {*SAME_BUGS.values()} == {*bugs.BUGS.values()} - {bugs.BUGS["no bug"]} | {bugs.LeakyLoss}


# -- content and replay ----------------------------------------------------------------------------


def test_quoted_lines_are_those_of_the_literal_equations():
    assert quote("dW")["code"] == "dW = np.outer(delta, below)"
    assert quote("direct")["derivation"] == "10-student-gradient.md"


def test_replay_goes_on_where_it_was():
    """Cut in two, and with an option that changes nothing, a run is the same run."""
    options = {"objective": "stable", "epochs": 3}
    whole = replay("digits", [(50, options)])
    parts = replay("digits", [(20, options), (0, {}), (30, {"beta_ap": 0.01})])
    assert whole.losses == parts.losses
    assert str(whole) == str(parts)
    assert str(whole).startswith("step 50  loss_in ")
    changed = replay("digits", [(20, options), (30, {"beta_ap": 0.5})])
    assert changed.losses != whole.losses


def test_replay_says_what_it_cannot_do():
    with pytest.raises(UsageError, match="history is empty"):
        replay("digits", [])
    with pytest.raises(DataError, match="did you mean 'digits'"):
        samples("digit")
    with pytest.raises(UsageError, match="beta_app"):
        replay("digits", [(1, {"beta_app": 1.0})])
