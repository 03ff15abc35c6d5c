"""Record ten steps of algorithm 1 as PyTorch's autograd takes them: ``golden.npz``.

Run once, and again only if the recorded problem itself is to change:

    pip install torch
    python tests/golden/make_golden.py

Nothing of the package is imported. The networks, the losses and the two objectives are written
here from the paper's equations, the gradients are autograd's, the steps are those of
``torch.optim``: a mistake of the package is not repeated here. The test that compares
(``tests/engine/test_golden.py``) needs no torch.

Contents of the file, float64:

=============================================  ==================================================
``x``, ``x_noisy``                             13 samples of 17 features
``rows``                                       first and last + 1 row of each of the ten batches
``hyper/<optimizer>/<name>``                   hyper-parameters
``<objective>/init/<net>/<block>``             parameters before the first step
``<objective>/grad/<net>/<block>``             gradient of the first step
``<objective>/<optimizer>/<loss>``             each loss of each batch, before its step
``<objective>/<optimizer>/path/<net>/<block>``   length of ``theta - theta_init`` after each step
``<objective>/<optimizer>/final/<net>/<block>``  parameters after the last step
=============================================  ==================================================
"""

import itertools
from pathlib import Path

import numpy as np
import torch

SEED = 20210719
WIDTHS, RANK = [17, 13, 11, 7], 3
SAMPLES, BATCH, STEPS = 13, 5, 10
HYPER = {
    "gd": {"lr": 0.02},
    "momentum": {"lr": 0.01, "momentum": 0.9},
    "adam": {"lr": 0.01, "adam_b1": 0.9, "adam_b2": 0.999, "adam_eps": 1e-7},
}
OBJECTIVES = ("paper", "demo")
AP_WEIGHT = {"paper": 1.0, "demo": 0.01}


def layers_of(objective):
    """Return ``{net: [(weight's name, bias's name or None, fan_in, fan_out, activation)]}``."""
    half = len(WIDTHS) - 1
    up = list(itertools.pairwise(WIDTHS))
    down = [(fan_out, fan_in) for fan_in, fan_out in reversed(up)]

    def relu(number, shape):
        return (f"W{number}", f"b{number}", *shape, torch.relu)

    supervisor = [relu(k, shape) for k, shape in enumerate(up + down, start=1)]
    base_bias = "b_base" if objective == "demo" else None
    student = [relu(k, shape) for k, shape in enumerate(up, start=1)]
    student.append(("W_base", base_bias, WIDTHS[-1], RANK, torch.sigmoid))
    student.append(("W_rec", None, RANK, WIDTHS[-1], torch.relu))
    student += [relu(k, shape) for k, shape in enumerate(down, start=half + 3)]
    return {"supervisor": supervisor, "student": student}


def draw(nets):
    """Return initial parameters by net and block: Glorot's weights, biases that are not zero."""
    rng = np.random.default_rng([SEED, 1])
    parameters = {}
    for net, layers in nets.items():
        parameters[net] = {}
        for weight, bias, fan_in, fan_out, _ in layers:
            a = (6 / (fan_in + fan_out)) ** 0.5
            parameters[net][weight] = rng.uniform(-a, a, (fan_out, fan_in))
            if bias is not None:
                parameters[net][bias] = rng.uniform(-0.05, 0.2, fan_out)
    return parameters


def draw_data():
    """Return 13 samples in [0, 1], and the same with a tenth of the entries masked."""
    rng = np.random.default_rng([SEED, 2])
    x = rng.uniform(0.0, 1.0, (SAMPLES, WIDTHS[0]))
    return x, x * (rng.uniform(size=x.shape) >= 0.1) / 0.9


def forward(layers, theta, x):
    """Return ``[x, h(1), ..., h(L)]`` (equations 1 and 3)."""
    h = [x]
    for weight, bias, _, _, activation in layers:
        offset = None if bias is None else theta[bias]
        h.append(activation(torch.nn.functional.linear(h[-1], theta[weight], offset)))
    return h


def losses(objective, h, h_student):
    """Return the losses of equations 4 to 6, and the demo's, by name, and what is descended."""
    depth = len(h) - 1
    half = depth // 2

    def distance(a, b):
        squares = (a - b) ** 2
        return squares.mean() if objective == "demo" else squares.sum(1).mean()

    # The paper: only L_sym moves the supervisor (equation 9), so L_ap must see it as a constant.
    goal = [signal if objective == "demo" else signal.detach() for signal in h]
    student_layers = [*range(1, half + 1), *range(half + 3, depth + 3)]
    value = {
        "loss_sym": distance(h[depth], h[0]),
        "loss_ap": sum(
            distance(h_student[layer], goal[number])
            for number, layer in enumerate(student_layers, start=1)
        ),
        "loss_nc": distance(h_student[half], h_student[half + 2]),
    }
    if objective == "demo":
        value["loss_rec"] = distance(h_student[depth + 2], h[0])
    value["loss_in"] = sum(
        loss * (AP_WEIGHT[objective] if name == "loss_ap" else 1.0) for name, loss in value.items()
    )
    return value


def make_optimizer(name, parameters):
    """Return the optimizer of that name."""
    hyper = HYPER[name]
    if name == "adam":
        return torch.optim.Adam(
            parameters,
            lr=hyper["lr"],
            betas=(hyper["adam_b1"], hyper["adam_b2"]),
            eps=hyper["adam_eps"],
        )
    return torch.optim.SGD(parameters, lr=hyper["lr"], momentum=hyper.get("momentum", 0.0))


def run(objective, optimizer, data, rows, record):
    """Train for ten steps, and put what happens into the record."""
    nets = layers_of(objective)
    initial = draw(nets)
    theta = {
        net: {name: torch.tensor(block, requires_grad=True) for name, block in blocks.items()}
        for net, blocks in initial.items()
    }
    every = [(net, name, block) for net, blocks in theta.items() for name, block in blocks.items()]
    descent = make_optimizer(optimizer, [block for _, _, block in every])
    x, x_noisy = (torch.tensor(array) for array in data)
    for step, (start, stop) in enumerate(rows):
        h = forward(nets["supervisor"], theta["supervisor"], x[start:stop])
        h_student = forward(nets["student"], theta["student"], x_noisy[start:stop])
        value = losses(objective, h, h_student)
        for name, loss in value.items():
            record.setdefault(f"{objective}/{optimizer}/{name}", []).append(loss.item())
        descent.zero_grad()
        value["loss_in"].backward()
        for net, name, block in every:
            if step == 0:
                record[f"{objective}/init/{net}/{name}"] = initial[net][name]
                record[f"{objective}/grad/{net}/{name}"] = block.grad.numpy().copy()
                assert block.grad.abs().max() > 1e-6, f"{net} {name} is dead: draw again"
        descent.step()
        for net, name, block in every:
            moved = np.linalg.norm(block.detach().numpy() - initial[net][name])
            record.setdefault(f"{objective}/{optimizer}/path/{net}/{name}", []).append(moved)
    for net, name, block in every:
        record[f"{objective}/{optimizer}/final/{net}/{name}"] = block.detach().numpy().copy()


def main():
    """Write ``golden.npz`` beside this file."""
    torch.set_num_threads(1)
    data = draw_data()
    starts = [at for _ in range(STEPS) for at in range(0, SAMPLES, BATCH)][:STEPS]
    rows = [(at, min(at + BATCH, SAMPLES)) for at in starts]
    record = {"x": data[0], "x_noisy": data[1]}
    for optimizer, hyper in HYPER.items():
        record |= {f"hyper/{optimizer}/{name}": value for name, value in hyper.items()}
    for objective in OBJECTIVES:
        for optimizer in HYPER:
            run(objective, optimizer, data, rows, record)
    arrays = {name: np.asarray(value, np.float64) for name, value in record.items()}
    arrays["rows"] = np.asarray(rows, np.int64)
    path = Path(__file__).with_name("golden.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path}: {len(arrays)} arrays, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
