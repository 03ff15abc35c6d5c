"""Shared code of the benchmark tests."""

from functools import cache

from ddnmf_np.bench.contestants import FLOORS
from ddnmf_np.bench.options import Plan
from ddnmf_np.bench.problem import Case
from ddnmf_np.bench.reference import make_problem, reference_losses
from ddnmf_np.config import configure

ODD = Case("odd", 13, (11, 7), 3, 5)
"""All widths different, so that no transposed product can pass by accident."""


def odd_problem(objective="paper"):
    return make_problem(ODD, configure(objective=objective))


def make_plan(**options):
    """Return a plan for one thread of a CPU, and for no epochs unless asked for."""
    return Plan(**{"device": "cpu", "threads": 1, "epochs": 0} | options)


def reply(losses=None, seconds=0.01, **changes):
    """Return a worker's answer."""
    found = {
        "import_seconds": 0.5,
        "import_memory_mib": 20.0,
        "build_seconds": 0.1,
        "first_step_seconds": 1.0,
        "block_steps": 2,
        "step_seconds": [seconds, 2.0 * seconds, 3.0 * seconds],
        "peak_memory_mib": 100.0,
        "device_memory_bytes": None,
        "device": "CPU",
        "note": None,
    }
    return found | ({} if losses is None else {"losses": losses}) | changes


@cache
def right_losses(objective):
    return reference_losses(odd_problem(objective))


class Workers:
    """Stand-in for the worker processes: returns the prepared answer of each contestant."""

    def __init__(self, objective="paper", **answers):
        self.right = right_losses(objective)
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.asked = []

    def __call__(self, request):
        self.asked.append(request.contestant)
        if request.contestant in FLOORS:
            return reply()
        answer = self.answers.get(request.contestant, reply(self.right))
        if request.epochs and "gap" not in answer:
            return reply(samples=50, epoch_seconds=[3.0, 1.0, 2.0])  # another network: no losses
        return answer


def wrong(losses, step, name, factor):
    """Return losses with one wrong value."""
    losses = [dict(entry) for entry in losses]
    losses[step][name] *= factor
    return losses
