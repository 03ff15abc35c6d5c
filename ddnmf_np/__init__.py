"""Deep denoising non-negative matrix factorization, with every gradient written by hand.

The model is that of Chen, Jin, Liu and Zhang (2021), "A Deep Non-negative Matrix
Factorization Model for Big Data Representation Learning", Frontiers in Neurorobotics
15:701194, doi:10.3389/fnbot.2021.701194.

Names are imported on first use, so that ``import ddnmf_np.engine`` needs NumPy alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddnmf_np.data.noise import Noise
    from ddnmf_np.engine.descent import Descent
    from ddnmf_np.engine.gradcheck import gradcheck
    from ddnmf_np.engine.losses import Objective
    from ddnmf_np.estimator import DDNMF
    from ddnmf_np.model import Architecture, Model
    from ddnmf_np.training import Trainer

__version__ = "0.1.0"
__all__ = [
    "DDNMF",
    "Architecture",
    "Descent",
    "Model",
    "Noise",
    "Objective",
    "Trainer",
    "__version__",
    "gradcheck",
]

_HOMES = {
    "DDNMF": "ddnmf_np.estimator",
    "Architecture": "ddnmf_np.model",
    "Descent": "ddnmf_np.engine.descent",
    "Model": "ddnmf_np.model",
    "Noise": "ddnmf_np.data.noise",
    "Objective": "ddnmf_np.engine.losses",
    "Trainer": "ddnmf_np.training",
    "gradcheck": "ddnmf_np.engine.gradcheck",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
