"""PyTorch as a contestant: eager, compiled, or recorded as CUDA graphs.

``Settings.mode`` is one of these:

* ``eager``;
* ``captured``: the eager step, recorded by hand as one CUDA graph;
* a mode of ``torch.compile``, which compiles the losses (forward and backward);
* ``whole-step``: forward, backward and Adam as one compiled function (``whole-step-graphs``: with
  CUDA graphs).

``derivations/gpu.md`` says what has run where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.peer import Peer, Settings, joint_loss, mean_losses
from ddnmf_np.bench.problem import LayerSpec, Problem
from ddnmf_np.config import Config
from ddnmf_np.errors import BackendError

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda z: z}

WHOLE_STEP = {"whole-step": "default", "whole-step-graphs": "reduce-overhead"}
"""Modes that compile the whole step, with the mode of ``torch.compile`` for each."""

GRAPHS = ("reduce-overhead", "max-autotune", "whole-step-graphs")
"""Modes in which the compiler should replay CUDA graphs."""

WARM = 3
"""Steps of a batch size before we record one: cuBLAS allocates its workspace in them."""

Step = Callable[[Any, Any], None]
"""Descends on a batch (clean, noisy) and adds its losses to sums."""


class TorchNetwork(nn.Module):  # type: ignore[misc]
    """Chain of dense layers that returns the output of each."""

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
        self.objective = problem.config.objective
        self.supervisor = TorchNetwork(problem.layers["supervisor"], problem.weights)
        self.student = TorchNetwork(problem.layers["student"], problem.weights)

    def forward(self, x: Any, x_noisy: Any) -> tuple[Any, Any]:
        """Return the loss to descend, and all losses without their gradients."""
        h, s = self.supervisor(x), self.student(x_noisy)
        losses = joint_loss(self.objective, h, s, x, self.distance, torch.Tensor.detach)
        return losses[0], torch.stack(losses).detach()

    def distance(self, a: Any, b: Any) -> Any:
        """Return the squared distance over samples, or over samples and features."""
        if self.objective.reduction == "mean":
            return F.mse_loss(a, b)
        return F.mse_loss(a, b, reduction="sum") / a.shape[0]


class Descent:
    """Usual step: losses, ``backward()`` and fused Adam."""

    def __init__(self, joint: Joint, config: Config, mode: str, sums: Any) -> None:
        self.optimizer = torch.optim.Adam(
            joint.parameters(),
            lr=config.optimizer.lr,
            betas=(config.optimizer.adam_b1, config.optimizer.adam_b2),
            eps=config.optimizer.adam_eps,
            fused=True,
            capturable=mode == "captured",  # Adam refuses to be recorded without it
        )
        self.joint: Any = joint
        if mode not in ("eager", "captured"):
            self.joint = torch.compile(joint, mode=mode, dynamic=False)
        self.sums = sums

    def __call__(self, x: Any, x_noisy: Any) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self.joint(x, x_noisy)
        loss.backward()
        self.optimizer.step()
        self.sums += terms


class WholeStep:
    """Step as one function of tensors, with Adam written out."""

    def __init__(self, joint: Joint, config: Config, sums: Any) -> None:
        self.joint, self.config = joint, config
        self.weights = {name: p.detach() for name, p in joint.named_parameters()}
        self.m, self.v = (
            {name: torch.zeros_like(p) for name, p in self.weights.items()} for _ in range(2)
        )
        self.t = torch.zeros((), device=sums.device)
        self.sums = sums
        # Inductor copies the inputs of a CUDA graph unless they are marked. The graph would change
        # the copies, so Inductor skips it if an input that changes is not marked
        # (check_for_mutation in torch/_inductor/cudagraph_utils.py).
        blocks = (self.weights, self.m, self.v)
        for tensor in (self.t, self.sums, *(t for block in blocks for t in block.values())):
            keep_address(tensor)

    def _loss(self, weights: Any, x: Any, x_noisy: Any) -> Any:
        return functional_call(self.joint, weights, (x, x_noisy))

    def __call__(self, x: Any, x_noisy: Any) -> None:
        grads, terms = grad(self._loss, has_aux=True)(self.weights, x, x_noisy)
        c = self.config.optimizer
        self.t.add_(1.0)
        c1, c2 = 1.0 - c.adam_b1**self.t, 1.0 - c.adam_b2**self.t
        for name, p in self.weights.items():
            g, m, v = grads[name], self.m[name], self.v[name]
            m.mul_(c.adam_b1).add_(g, alpha=1.0 - c.adam_b1)
            v.mul_(c.adam_b2).addcmul_(g, g, value=1.0 - c.adam_b2)
            p.sub_(c.lr * (m / c1) / ((v / c2).sqrt() + c.adam_eps))
        self.sums.add_(terms)


class Captured:
    """Step that is recorded as a CUDA graph for each batch's address, and then replayed.

    It follows "Whole-network capture" in PyTorch's notes on CUDA: warm up on a side stream, then
    record forward, backward and Adam. The graphs can share a pool of memory, because they are
    replayed one after the other and none reads what another has left there.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.graphs: dict[tuple[int, int, int], Any] = {}
        self.steps: Counter[int] = Counter()  # by batch size: each size loads its kernels
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def __call__(self, x: Any, x_noisy: Any) -> None:
        key = (x.data_ptr(), x_noisy.data_ptr(), len(x))
        if key not in self.graphs:
            if self.steps[len(x)] < WARM:
                self.steps[len(x)] += 1
                self._warm_up(x, x_noisy)
                return
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                self.step(x, x_noisy)  # is recorded, but not done
            self.graphs[key] = graph
        self.graphs[key].replay()

    def _warm_up(self, x: Any, x_noisy: Any) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step(x, x_noisy)
        torch.cuda.current_stream().wait_stream(self.stream)


def keep_address(tensor: Any) -> Any:
    """Tell the compiler that a tensor keeps its address, and return the tensor.

    A CUDA graph then works on the tensor itself, not on a copy. For a tensor at another address it
    is recorded again (``guard=True`` would compile the function again).
    """
    torch._dynamo.mark_static_address(tensor, guard=False)
    return tensor


class TorchPeer(Peer):
    """Steps by `Descent` or `WholeStep`."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        # Before the first parallel region, so that its threads inherit it.
        torch.set_flush_denormal(True)
        torch.set_float32_matmul_precision(settings.matmul_precision)
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise BackendError("PyTorch finds no CUDA device")
        self.place, config = torch.device(settings.device), problem.config
        self.mode = settings.mode
        joint = Joint(problem).to(self.place)
        terms = 5 if config.objective.student_reconstruction else 4
        self.sums = torch.zeros(terms, device=self.place)
        self.train: Step
        if self.mode in WHOLE_STEP:
            step = WholeStep(joint, config, self.sums)
            self.train = torch.compile(step, mode=WHOLE_STEP[self.mode], dynamic=False)
        else:
            descent = Descent(joint, config, self.mode, self.sums)
            self.train = Captured(descent) if self.mode == "captured" else descent
        self.clean = [self._batch(x) for x in problem.clean]
        self.noisy = [self._batch(x) for x in problem.noisy]
        self.buffers: dict[int, tuple[Any, Any]] = {}
        self.steps, self.config = 0, config

    def _batch(self, x: Array) -> Any:
        """Return a batch on the device; a graph reads it in place, as this engine's graphs do."""
        batch = torch.tensor(x, device=self.place)
        return keep_address(batch) if self.mode in GRAPHS else batch

    def descend(self, x: Any, x_noisy: Any) -> None:
        """Do a step on a batch."""
        self.train(x, x_noisy)
        self.steps += 1

    def reset(self) -> None:
        self.steps = 0
        self.sums.zero_()

    def step(self, batch: int) -> None:
        self.descend(self.clean[batch], self.noisy[batch])

    def synchronize(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize()

    def losses(self) -> dict[str, float]:
        return mean_losses(self.sums, self.steps)

    def start_epochs(self, x: Array) -> None:
        self.x = torch.tensor(x, device=self.place)

    def epoch(self) -> None:
        order = torch.randperm(len(self.x), device=self.place)
        keep = 1.0 - self.config.noise.rate
        for index in order.split(self.config.training.batch_size):
            x, x_noisy = self._buffers(len(index))
            torch.index_select(self.x, 0, index, out=x)
            x_noisy.bernoulli_(keep).div_(keep).mul_(x)
            self.descend(x, x_noisy)
        self.synchronize()

    def _buffers(self, n: int) -> tuple[Any, Any]:
        """Return the buffers for batches of n samples; graphs always read the same addresses."""
        if n not in self.buffers:
            zeros = np.zeros((n, self.x.shape[1]), "float32")
            self.buffers[n] = self._batch(zeros), self._batch(zeros)
        return self.buffers[n]

    def note(self) -> str | None:
        """Return a warning if the compiler has left out CUDA graphs."""
        if self.mode not in GRAPHS or self.place.type != "cuda":
            return None
        if skipped := torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]:
            return f"the compiler skipped {skipped} CUDA graphs"
        from torch._inductor import cudagraph_trees  # late: an eager contestant does not load it

        # The counter misses graphs that are left out because a function was split (2.13).
        manager = cudagraph_trees.get_manager(torch.cuda.current_device(), False)
        if manager is None or not any(manager.roots.values()):
            return "the compiler recorded no CUDA graph"
        return None

    def device(self) -> tuple[str, int | None]:
        if self.place.type == "cpu":
            return super().device()
        return torch.cuda.get_device_name(), torch.cuda.max_memory_reserved()
