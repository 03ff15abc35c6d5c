"""PyTorch as a contestant: eager or ``torch.compile``, with its fused Adam.

``Settings.mode`` is ``eager``, a mode of ``torch.compile`` for the losses (forward and backward),
or ``whole-step``: forward, backward and Adam as one compiled function (``whole-step-graphs``: with
CUDA graphs).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from ddnmf_np.benchmarks.peer import Peer, Settings
from ddnmf_np.benchmarks.problem import LayerSpec, Problem
from ddnmf_np.config import Config
from ddnmf_np.engine.ops import Array
from ddnmf_np.errors import BackendError

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda z: z}


class Network(nn.Module):  # type: ignore[misc]
    """Dense layers in a row; returns the output of each."""

    def __init__(self, specs: list[LayerSpec], weights: dict[str, Array]) -> None:
        super().__init__()
        self.activations = [ACTIVATIONS[spec.activation] for spec in specs]
        self.layers = nn.ModuleList()
        for spec in specs:
            W = torch.tensor(weights[spec.W])
            layer = nn.Linear(W.shape[1], W.shape[0], bias=spec.b is not None)
            layer.weight.data = W
            if spec.b is not None:
                layer.bias.data = torch.tensor(weights[spec.b])
            self.layers.append(layer)

    def forward(self, h: Any) -> list[Any]:
        """Return ``h(1)`` to ``h(depth)``."""
        outputs = []
        for layer, activation in zip(self.layers, self.activations, strict=True):
            h = activation(layer(h))
            outputs.append(h)
        return outputs


class Joint(nn.Module):  # type: ignore[misc]
    """Both networks under the interpretability loss."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.objective, self.half = problem.config.make_objective(), problem.half
        self.supervisor = Network(problem.layers["supervisor"], problem.weights)
        self.student = Network(problem.layers["student"], problem.weights)

    def forward(self, x: Any, x_noisy: Any) -> tuple[Any, Any]:
        """Return the loss to descend, and the unweighted terms without their gradients."""
        o, half = self.objective, self.half
        h, s = self.supervisor(x), self.student(x_noisy)
        teacher = h if o.apposition_to_supervisor else [a.detach() for a in h]
        paired = s[:half] + s[half + 2 :]
        terms = [
            self.distance(h[-1], x),
            sum(self.distance(a, b) for a, b in zip(paired, teacher, strict=True)),
            self.distance(s[half - 1], s[half + 1]),
        ]
        loss = o.alpha_sym * terms[0] + o.beta_ap * terms[1] + o.gamma_nc * terms[2]
        if o.student_reconstruction:
            terms.append(self.distance(s[-1], x))
            loss = loss + o.student_reconstruction * terms[3]
        return loss, torch.stack([loss, *terms]).detach()

    def distance(self, a: Any, b: Any) -> Any:
        """Return the squared distance over samples, or over samples and features."""
        if self.objective.reduction == "mean":
            return F.mse_loss(a, b)
        return F.mse_loss(a, b, reduction="sum") / a.shape[0]


class Descent:
    """The usual step: losses, ``backward()`` and fused Adam; returns the losses."""

    def __init__(self, joint: Joint, config: Config, mode: str) -> None:
        self.optimizer = torch.optim.Adam(
            joint.parameters(),
            lr=config.lr,
            betas=(config.adam_b1, config.adam_b2),
            eps=config.adam_eps,
            fused=True,
        )
        self.joint: Any = joint
        if mode != "eager":
            self.joint = torch.compile(joint, mode=mode, dynamic=False)

    def __call__(self, x: Any, x_noisy: Any) -> Any:
        """Do a step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self.joint(x, x_noisy)
        loss.backward()
        self.optimizer.step()
        return terms


class WholeStep:
    """The step as one function of tensors, with Adam written out; returns the losses."""

    def __init__(self, joint: Joint, config: Config) -> None:
        self.joint, self.config = joint, config
        self.weights = {name: p.detach() for name, p in joint.named_parameters()}
        self.m, self.v = (
            {name: torch.zeros_like(p) for name, p in self.weights.items()} for _ in range(2)
        )
        self.t = torch.zeros((), device=next(iter(self.weights.values())).device)

    def _loss(self, weights: Any, x: Any, x_noisy: Any) -> Any:
        return functional_call(self.joint, weights, (x, x_noisy))

    def __call__(self, x: Any, x_noisy: Any) -> Any:
        """Do a step."""
        grads, terms = grad(self._loss, has_aux=True)(self.weights, x, x_noisy)
        c = self.config
        self.t.add_(1.0)
        c1, c2 = 1.0 - c.adam_b1**self.t, 1.0 - c.adam_b2**self.t
        for name, p in self.weights.items():
            g, m, v = grads[name], self.m[name], self.v[name]
            m.mul_(c.adam_b1).add_(g, alpha=1.0 - c.adam_b1)
            v.mul_(c.adam_b2).addcmul_(g, g, value=1.0 - c.adam_b2)
            p.sub_(c.lr * (m / c1) / ((v / c2).sqrt() + c.adam_eps))
        return terms


class TorchPeer(Peer):
    """Steps by `Descent` or `WholeStep`."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        # Before the first parallel region, so that its threads inherit it.
        torch.set_flush_denormal(True)
        torch.set_float32_matmul_precision(settings.matmul_precision)
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise BackendError("PyTorch finds no CUDA device")
        self.device, config = torch.device(settings.device), problem.config
        self.train: Any
        joint = Joint(problem).to(self.device)
        whole_step = {"whole-step": "default", "whole-step-graphs": "reduce-overhead"}
        if settings.mode in whole_step:
            mode = whole_step[settings.mode]
            self.train = torch.compile(WholeStep(joint, config), mode=mode, dynamic=False)
        else:
            self.train = Descent(joint, config, settings.mode)
        self.clean = [torch.tensor(x, device=self.device) for x in problem.clean]
        self.noisy = [torch.tensor(x, device=self.device) for x in problem.noisy]
        terms = 5 if config.make_objective().student_reconstruction else 4
        self.sums = torch.zeros(terms, device=self.device)
        self.steps, self.config = 0, config

    def descend(self, x: Any, x_noisy: Any) -> None:
        """Do a step on a batch."""
        self.sums += self.train(x, x_noisy)
        self.steps += 1

    def reset(self) -> None:
        """Start new sums."""
        self.steps = 0
        self.sums.zero_()

    def step(self, batch: int) -> None:
        """Do a step."""
        self.descend(self.clean[batch], self.noisy[batch])

    def synchronize(self) -> None:
        """Wait for the steps."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def losses(self) -> dict[str, float]:
        """Return mean losses."""
        names = ("loss_in", "loss_sym", "loss_ap", "loss_nc", "loss_rec")
        means = (self.sums / self.steps).tolist()
        return dict(zip(names, means, strict=False))

    def start_epochs(self, x: Array) -> None:
        """Take the data."""
        self.x = torch.tensor(x, device=self.device)

    def epoch(self) -> None:
        """Train for an epoch."""
        order = torch.randperm(len(self.x), device=self.device)
        keep = 1.0 - self.config.noise_rate
        for index in order.split(self.config.batch_size):
            x = self.x.index_select(0, index)
            mask = torch.empty_like(x).bernoulli_(keep).div_(keep)
            self.descend(x, x * mask)
        self.synchronize()

    def device_name(self) -> str:
        """Return the device."""
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"

    def device_memory_bytes(self) -> int | None:
        """Return the most memory taken on the device."""
        return torch.cuda.max_memory_reserved() if self.device.type == "cuda" else None
