"""Choice of the rank by hidden entries: ``python -m ddnmf_np.rank``, and `choose_rank`.

Names are imported on first use, because usage errors of the command need no scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddnmf_np.rank.choice import RankChoice
    from ddnmf_np.rank.search import choose_rank

__all__ = ["RankChoice", "choose_rank"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("ddnmf_np.rank.search"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
