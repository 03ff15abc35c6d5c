"""How well clusterings of different seeds agree, row by row of tables 1 and 2, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ddnmf_np.experiments.baselines import TITLES
from ddnmf_np.experiments.records import Record, unpack_labels
from ddnmf_np.experiments.statistics import stability
from ddnmf_np.experiments.tables import METHODS, collect, markdown, table_budgets, table_rows

NOTHING = "-"
"""Where there is no record, or the network has no such thing."""

NOTE = (
    "Stability, which no label has a part in: adjusted Rand index between the clusterings of two "
    "seeds, mean over all pairs. Images and their NMF are the same codes for every seed, so that "
    "theirs is that of the clusterer alone."
)


def stability_of(seeds: Mapping[int, Record]) -> str:
    """Return the stability of a row's clusterings, as text; a hyphen below two seeds."""
    packed = [(r["assignment"], r["n_test"]) for r in seeds.values() if "assignment" in r]
    found = stability([unpack_labels(*one) for one in packed])
    return NOTHING if found is None else f"{found:z.3f}"


def stability_table(records: Iterable[Record], dataset: str) -> str:
    """Return the stability of each row of table 1 or 2 by each clusterer.

    Parameters
    ----------
    records : iterable of Record
        All there are, of any budget.
    dataset : str
        Whose images.

    Returns
    -------
    str
        A Markdown table with a line for each representation and budget, and a column for each
        clusterer that there are records of; empty without records.
        `NOTE` says what its columns are.
    """
    records = list(records)
    lines = []
    there = {(r["dataset"], r.get("method")) for r in records}
    methods = [m for m in METHODS if (dataset, m) in there]
    for budget in table_budgets(records, dataset):
        scores = collect(records, dataset, budget)
        rows = [row for _, row in table_rows(scores)]
        for model in dict.fromkeys(row.model for row in rows):
            found = {row.method: scores[row] for row in rows if row.model == model}
            cells = [stability_of(found.get(method, {})) for method in methods]
            epochs = {record["epochs"] for seeds in found.values() for record in seeds.values()}
            trained = ", ".join(NOTHING if e is None else str(e) for e in epochs)
            images = {r["samples"] for seeds in found.values() for r in seeds.values()}
            on = ", ".join(NOTHING if n is None else f"{n:,}" for n in images)
            lines.append([TITLES[model], trained, on, *cells])
    header = ["codes", "epochs", "training images", *(METHODS[method] for method in methods)]
    return markdown(header, lines) if lines else ""
