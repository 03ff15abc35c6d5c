"""The table of a study, as Markdown: a pure function of the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ddnmf_np.experiments.agreement import NOTHING, stability_of
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.statistics import spread
from ddnmf_np.experiments.studies import STUDIES, Study
from ddnmf_np.experiments.tables import (
    DATASET_TITLES,
    METHODS,
    METRICS,
    Budget,
    Row,
    Scores,
    budgets,
    collect,
    markdown,
    of_models,
    per_seed,
    summary,
    table_noise,
    values,
)

LOSSES = ("loss_sym", "loss_ap", "loss_nc", "loss_rec")

LABEL_FREE_NOTE = (
    "Nothing in this table has seen a label. Mean over seeds ± standard deviation. Losses: in the "
    "last epoch, without their weights; those summed over features are in other units than those "
    "averaged. Error: mean squared difference of the student's output from clean test images. "
    "Code scale: standard deviation of a unit of H over the test images, mean over the units. "
    "Stability: adjusted Rand index between the clusterings of two seeds, mean over all pairs. "
    "Smallest cluster: share of the images, the least over seeds (GMM, full)."
)
SCORES_NOTE = (
    "Every score in this table has seen the labels. Mean over seeds, standard deviation, and range."
)


def render(name: str, records: Sequence[Record], *, short: bool = False) -> str:
    """Return the table of a study; a section for each data set and budget.

    Parameters
    ----------
    name : str
        Of `STUDIES`.
    records : sequence of Record
        All there are; those of other studies and of tables are left out.
    short : bool
        Without the values of each seed.

    Returns
    -------
    str
        Markdown; empty if there is no record for it. A variant without records has its line, so
        that one that diverged is not passed over.
    """
    study = STUDIES[name]
    records = of_models(records, study.variants)
    codes = {(r["model"], r["key"]): r for r in records if r["kind"] == "codes"}
    parts: list[str] = []
    for dataset in DATASET_TITLES:
        for budget in budgets(records, dataset):
            scores = collect(records, dataset, budget)
            parts += _section(study, dataset, budget, scores, codes)[: 5 if short else None]
    return "\n\n".join(parts) + "\n" if parts else ""


def _section(
    study: Study,
    dataset: str,
    budget: Budget,
    scores: Scores,
    codes: Mapping[tuple[str, str], Record],
) -> list[str]:
    n_test = next(record["n_test"] for seeds in scores.values() for record in seeds.values())
    header = ["variant", "seeds", *(f"L_{loss.removeprefix('loss_')}" for loss in LOSSES)]
    header += ["error", "code scale", "dead units"]
    header += ["stability (GMM, full)", "stability (GMM, spherical)", "smallest cluster"]
    label_free, scored, each = [], [], []
    for model, network in study.variants.items():
        full, spherical = (
            scores.get(Row(model, table_noise(model), "clean", method), {})
            for method in ("gmm-full", "gmm-spherical")
        )
        keys = {seed: r["identity"].get("codes") for seed, r in (spherical | full).items()}
        found = [codes[model, key] for _, key in sorted(keys.items()) if (model, key) in codes]
        label_free.append(
            [
                network.title,
                str(len(keys)),
                *_quantities(found),
                stability_of(full),
                stability_of(spherical),
                _smallest_cluster(full),
            ]
        )
        cells = [_scores(full, metric) for metric in METRICS]
        scored.append([network.title, *cells, _scores(spherical, "acc")])
        if full:
            each.append((network.title, full))
    title = f"### {study.title}: {DATASET_TITLES[dataset]}, {n_test:,} test images; {budget}"
    columns = [f"{metric.upper()} ({METHODS['gmm-full']})" for metric in METRICS]
    columns.append(f"ACC ({METHODS['gmm-spherical']})")
    return [
        title,
        markdown(header, label_free),
        LABEL_FREE_NOTE,
        markdown(["variant", *columns], scored),
        SCORES_NOTE,
        f"Each seed ({METHODS['gmm-full']}; ACC / NMI / ARI):",
        per_seed(each),
    ]


def _quantities(codes: Sequence[Record]) -> list[str]:
    """Return the cells of losses, error, code scale and dead units."""
    cells = [_number(r["losses"][loss] for r in codes if loss in r["losses"]) for loss in LOSSES]
    errors = [r["reconstruction_error"] for r in codes]
    # DDNMF has the student's and the supervisor's, an auto-encoder only one.
    cells.append(_number(error.get("student_clean", error.get("clean")) for error in errors))
    cells.append(_number(spread(r["code"]["unit_std"]).mean for r in codes))
    cells.append(_number(r["code"]["dead_units"] for r in codes))
    return cells


def _number(found: Iterable[float]) -> str:
    numbers = list(found)
    if not numbers:
        return NOTHING
    s = spread(numbers)
    return f"{s.mean:.3g}" if s.std is None else f"{s.mean:.3g} ± {s.std:.1g}"


def _smallest_cluster(seeds: Mapping[int, Record]) -> str:
    shares = [min(r["result"]["cluster_sizes"]) / r["n_test"] for r in seeds.values()]
    return f"{min(shares):.1%}" if shares else NOTHING


def _scores(seeds: dict[int, Record], metric: str) -> str:
    return summary(list(values(seeds, metric).values())) if seeds else NOTHING
