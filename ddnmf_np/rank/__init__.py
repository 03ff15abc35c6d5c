"""Choice of the rank by hidden entries: ``python -m ddnmf_np.rank``, and `choose_rank`.

Names are imported on first use, because usage errors of the command need no scikit-learn.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddnmf_np.rank.choice import RankChoice
    from ddnmf_np.rank.search import choose_rank

__all__ = ["RankChoice", "choose_rank"]


def __getattr__(name: str) -> Any:
    if name == "choose_rank":
        from ddnmf_np.rank.search import choose_rank

        return choose_rank
    if name == "RankChoice":
        from ddnmf_np.rank.choice import RankChoice

        return RankChoice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
