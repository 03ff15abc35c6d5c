"""The rule that turns errors of hidden entries into one answer, and the answer with its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ddnmf_np.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.01
"""Share of the explained variance that a smaller rank may lose."""

LEVEL = 0.95
"""Level of each one-sided limit of a paired difference."""

UNKNOWN = "the data do not say"


@dataclass(frozen=True)
class Answer:
    """One answer to the question of the rank, and its ``text`` in words.

    ``rank`` is the smallest that predicts as well as the best; None if the data do not say. ``low``
    is one more than the largest rank that is surely too small (the smallest rank if none is),
    ``high`` the smallest that is surely as good as the best (the largest rank if none is).
    """

    rank: int | None
    low: int | None
    high: int | None
    text: str


def decide(ranks: tuple[int, ...], errors: Floats) -> Answer:
    """Return the answer of the rule on the page ``derivations/how-to/choose-the-rank.md``.

    ``errors``, (n_seeds, n_ranks) with two rows or more, has the fraction of the hidden entries'
    variance that a fit leaves unexplained. The fits of a row have the same hidden entries. The
    ranks, two or more, rise.
    """
    means = errors.mean(axis=0)
    if not np.isfinite(means).all() or t_limits(errors[:, means.argmin()])[1] >= 1.0:
        why = "no rank predicts hidden entries better than the mean of each feature"
        return Answer(None, None, None, f"{UNKNOWN}: {why}")
    best = int(means.argmin())
    excess = errors - errors[:, [best]]  # (n_seeds, n_ranks), paired by the hidden entries
    margin = TOLERANCE * (1.0 - means[best])
    scatter = stats.sem(excess, axis=0)  # (n_ranks,)
    rank = ranks[int(np.argmax(excess.mean(axis=0) <= np.maximum(margin, scatter)))]
    first = next(i for i, column in enumerate(excess.T) if t_limits(column)[0] <= margin)
    # Ranks between the last one that is too small and the first that may do were not tried.
    low = ranks[first - 1] + 1 if first else ranks[0]
    # Which rank is the best is uncertain too, so a rank has to hold against each of the others.
    sure = [
        max(t_limits(one - other)[1] for other in errors.T) <= margin for one in errors.T
    ]  # (n_ranks,)
    high = ranks[sure.index(True)] if any(sure) else ranks[-1]
    if first == 0 and high == ranks[-1]:
        why = f"ranks from {low} to {high} cannot be told apart; use more seeds or more samples"
        return Answer(None, low, high, f"{UNKNOWN}: {why}")
    if rank == ranks[-1]:
        why = f"the error still falls at rank {rank}, the largest; try larger ranks"
        return Answer(None, low, high, f"{UNKNOWN}: {why}")
    span = str(low) if low == high else f"{low} to {high}"
    note = " or less; it is the smallest that was tried" if rank == ranks[0] else ""
    return Answer(rank, low, high, f"rank {rank} ({span}){note}")


def t_limits(values: Floats) -> tuple[float, float]:
    """Return the two one-sided limits of a mean, each of `LEVEL`."""
    return t_interval(values, 2.0 * LEVEL - 1.0)


def t_interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of at least two values.

    Notes
    -----
    Student (1908), "The probable error of a mean". It keeps its level for few seeds. If all values
    are equal both ends are the mean, where `scipy.stats.t.interval` returns NaN.
    """
    sample = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf(0.5 + level / 2.0, len(sample) - 1) * stats.sem(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


@dataclass(frozen=True, eq=False)
class RankChoice:
    """Errors and agreement of each rank, and one answer.

    Parameters
    ----------
    ranks : tuple of int
        Ranks, rising.
    errors : ndarray of shape (n_seeds, n_ranks)
        Fraction of the hidden entries' variance that each fit leaves unexplained; the mean of each
        feature leaves 1.
    agreements : ndarray of shape (n_seeds, n_ranks)
        Mean absolute correlation between a fit's codes and the matched codes of the other seeds.

    Attributes
    ----------
    rank : int or None
        The answer; None if the data do not say.
    low, high : int or None
        Range of the answer.
    answer : str
        The answer in words, such as "rank 8 (6 to 10)".
    """

    ranks: tuple[int, ...]
    errors: Floats
    agreements: Floats
    rank: int | None = field(init=False)
    low: int | None = field(init=False)
    high: int | None = field(init=False)
    answer: str = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.errors), len(self.ranks))
        if min(shape) < 2 or self.errors.shape != shape or self.agreements.shape != shape:
            raise DataError(
                f"errors has shape {self.errors.shape} and agreements {self.agreements.shape}; "
                f"expected two seeds or more in rows and {len(self.ranks)} ranks in columns"
            )
        found = decide(self.ranks, self.errors)
        for name, value in vars(found).items():
            object.__setattr__(self, "answer" if name == "text" else name, value)

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row for each rank: mean error and agreement, with their 95 % intervals."""
        rows = []
        for rank, error, agreement in zip(
            self.ranks, self.errors.T, self.agreements.T, strict=True
        ):
            row: dict[str, Any] = {"rank": rank}
            for name, values in (("error", error), ("agreement", agreement)):
                with np.errstate(invalid="ignore"):  # errors of constant data are infinite
                    low, high = t_interval(values)
                row |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return rows

    def __str__(self) -> str:
        lines = ["rank   error (95 % interval)    agreement (95 % interval)"]
        for row in self.table:
            cells = (
                f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"
                for name in ("error", "agreement")
            )
            lines.append(f"{row['rank']:4}   {'   '.join(cells)}")
        return "\n".join([*lines, f"answer: {self.answer}"])

    def plot(self, title: str = "") -> Figure:
        """Draw error and agreement over the ranks, with 95 % bands and the answer.

        Parameters
        ----------
        title : str
            Words before the answer.

        Returns
        -------
        Figure
            Of matplotlib; see `ddnmf_np.rank.figure.draw`.
        """
        from ddnmf_np.rank.figure import draw

        text = f"{title}: {self.answer}" if title else self.answer
        return draw(self.ranks, self.table, (self.rank, self.low, self.high), text)
