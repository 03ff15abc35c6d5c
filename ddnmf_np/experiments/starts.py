"""How much the starts of a clustering differ within a seed: a spread that does not pool seeds."""

from __future__ import annotations

from collections.abc import Iterable

from ddnmf_np.experiments.records import SCORES, Record
from ddnmf_np.experiments.statistics import spread


def within_seed_std(records: Iterable[Record]) -> dict[str, float]:
    """Return the standard deviation of each score over the starts of a seed, mean over seeds.

    Parameters
    ----------
    records : iterable of Record
        Clusterings of one row of a table, one a seed; at least one.

    Returns
    -------
    dict
        By ``"acc"``, ``"nmi"`` and ``"ari"``. The standard deviation of a seed is that of its
        starts as they are (divisor: their number), which its record holds; what differs between
        seeds is not in it.
    """
    spreads = [record["result"]["spread"] for record in records]
    return {score: spread([one[score]["std"] for one in spreads]).mean for score in SCORES}
