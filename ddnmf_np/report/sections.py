"""What a report says, section by section; every number in it is from the files of the run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ddnmf_np.config import Config, preset
from ddnmf_np.report.markup import (
    Html,
    bar,
    duration,
    element,
    escape,
    join,
    number,
    picture,
    size,
    table,
)
from ddnmf_np.report.results import Results
from ddnmf_np.runs.scoring import NAMES_OF_MAPS

CHUNK = 10
"""Rows of a table of units or clusters, before it goes on in another beside it."""

METHODS = {
    "kmeans": "k-means",
    "gmm-spherical": "Gaussian mixture, spherical: one variance for each cluster",
    "gmm-diag": "Gaussian mixture, diagonal: a variance for each cluster and unit",
    "gmm-tied": "Gaussian mixture, tied: one covariance matrix for all clusters",
    "gmm-full": "Gaussian mixture, full: a covariance matrix for each cluster",
    "gmm-full-tsne": "Gaussian mixture, full, of a t-SNE map of H: in the plane, not in H itself",
    "gmm-full-umap": "Gaussian mixture, full, of a UMAP map of H: not in H itself",
}

LOSSES = {
    "loss_in": ("weighted sum of the others (equation 7)", None),
    "loss_sym": ("supervisor's output against the clean input (equation 4)", "alpha_sym"),
    "loss_ap": ("student's layers against the supervisor's (equation 5)", "beta_ap"),
    "loss_nc": ("code against what the NMF module makes of it (equation 6)", "gamma_nc"),
    "loss_rec": ("student's output against the clean input", "student_reconstruction"),
}
"""What each loss measures, and the option that is its weight."""

PLACES = ("dataset", "data_dir", "labels")
"""Options that may be paths: a page is given away, and the name alone says enough."""

FILES = {
    "config.toml": "every option, resolved; python -m ddnmf_np.train --config takes it back",
    "metrics.jsonl": "losses and speed, a line an epoch",
    "summary.json": "scores, measures and environment",
    "checkpoint.npz": "weights, optimizer and position",
    "explorer.html": "the parts explorer",
}


# -- at a glance -----------------------------------------------------------------------------------


def name_of(results: Results) -> str:
    """Return the name of the data."""
    return str(results.get("dataset", "name") or Path(results.config.dataset).stem)


def glance(results: Results) -> Html:
    """Return the run in a few lines."""
    config = results.config
    n_features, n_train = results.get("dataset", "n_features"), results.get("dataset", "n_train")
    inner = [*config.widths, config.rank, *reversed(config.widths)]
    outer = [n_features] if n_features is not None else []
    facts: list[tuple[str, str]] = [
        ("data", f"{name_of(results)}" + (f", {number(n_train)} samples" if n_train else "")),
        ("student", "-".join(str(width) for width in [*outer, *inner, *outer])),
        ("objective", config.objective),
        ("epochs", f"{len(results.history)} of {config.epochs}"),
        ("seed", str(config.seed)),
    ]
    if (count := results.get("parameters")) is not None:
        facts.append(("parameters", number(count)))
    for method, entry in _scores(results).items():
        if "acc" in entry:
            facts.append((f"ACC, {method}", _score(entry["acc"])))
    error = results.get("evaluation", "reconstruction_error", "student_noisy")
    if error is not None:
        facts.append(("error of the student, noisy input", number(error, 3)))
    if (seconds := results.get("training_seconds")) is not None:
        facts.append(("training took", duration(seconds)))
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
        class_="facts",
    )


# -- scores ----------------------------------------------------------------------------------------


def _scores(results: Results) -> dict[str, dict[str, Any]]:
    found = results.get("evaluation", "scores")
    found = found if isinstance(found, dict) else {}
    return {str(name): entry for name, entry in found.items() if isinstance(entry, dict)}


def _samples(results: Results) -> str:
    """Return which samples have been looked at."""
    split, n = (results.get("evaluation", key) for key in ("split", "n_samples"))
    return f"{number(n)} samples of the {split} split" if split else "the samples"


def scores(results: Results) -> Html | None:
    """Return how well clusters agree with classes, and what that means."""
    entries = _scores(results)
    if not entries:
        return None
    labelled = any("acc" in entry for entry in entries.values())
    heads = ["clusters of H by"]
    heads += ["ACC", "NMI", "ARI"] if labelled else ["objective of the kept start", "BIC"]
    heads += ["starts", "converged"]
    rows = []
    for method, entry in entries.items():
        if labelled:
            cells = [_with_range(entry, name) for name in ("acc", "nmi", "ari")]
        else:
            bic = entry.get("bic")
            cells = [number(entry.get("objective")), "none" if bic is None else number(bic)]
        starts = [number(entry.get(key)) for key in ("n_starts", "converged")]
        name, _, what = METHODS.get(method, method).partition(": ")
        rows.append([_explained(name, what), *cells, *starts])
    parts = [table(f"Clusters of the codes H of {_samples(results)}", heads, rows, "fit")]
    parts += [
        element("p", element("strong", f"{method}: the clusters mean little."), f" {why}.")
        for method, entry in entries.items()
        if (why := entry.get("degenerate"))
    ]
    kept = (
        "Of all starts of a method the one with the best objective is kept: the inertia of k-means "
        "(the sum of squared distances to the centres, lower is better), the log-likelihood of a "
        "mixture (higher is better)."
    )
    if labelled:
        meanings = {
            "ACC": "share of the samples that lie in the cluster matched to their class, under the "
            "best one-to-one matching; at most 1. One cluster for all has the largest class's "
            "share.",
            "NMI": "mutual information of clusters and classes, divided by the mean of their "
            "entropies; from 0 to 1.",
            "ARI": "pairs of samples on which clusters and classes agree, adjusted so that chance "
            "gives 0; at most 1.",
        }
        parts.append(_definitions(meanings))
        parts.append(
            element(
                "p",
                f"{kept} In brackets: the range over all starts. Labels are used for these scores "
                "alone: neither training nor the choice of a start has seen them.",
            )
        )
    else:
        parts.append(
            element(
                "p",
                f"{kept} BIC: Bayesian information criterion of a mixture, lower is better. There "
                "are no labels, so that nothing can be said about agreement with classes.",
            )
        )
    return join(parts)


def _with_range(entry: dict[str, Any], name: str) -> str:
    """Return a score with its range over the starts."""
    spread = entry.get("spread")
    spread = spread.get(name) if isinstance(spread, dict) else None
    shown = _score(entry.get(name))
    if not isinstance(spread, dict):
        return shown
    ends = [_score(spread.get(end)) for end in ("min", "max")]
    return join([element("strong", shown), element("small", f"({' to '.join(ends)})")], " ")


def _score(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else number(value)


def _definitions(meanings: dict[str, str]) -> Html:
    return element(
        "dl",
        *(Html(element("dt", name) + element("dd", text)) for name, text in meanings.items()),
        class_="meanings",
    )


def clusters(results: Results) -> Html | None:
    """Return how many samples each cluster has."""
    parts = []
    for method, entry in _scores(results).items():
        sizes = _numbers(entry.get("cluster_sizes"))
        if sizes:
            shown = [number(int(count)) for count in sizes]
            parts += _bars(f"{method}: clusters", ["cluster", "samples"], sizes, shown)
    if not parts:
        return None
    note = (
        "A cluster's number means nothing, and another method's cluster of that number is another."
    )
    return join([element("p", note), element("div", *parts, class_="beside")])


# -- code and errors -------------------------------------------------------------------------------


def code(results: Results) -> Html | None:
    """Return measures of H, of the parts and of what the networks give back."""
    found = results.get("evaluation", "code")
    if not isinstance(found, dict):
        return None
    dead, saturated = found.get("dead_units"), found.get("saturated")
    sparsity = results.get("evaluation", "parts_sparsity")
    rows = [
        ("mean of H", number(found.get("mean")), "over all samples and units"),
        ("standard deviation of H", number(found.get("std")), "over all samples and units"),
        ("smallest and largest", f"{number(found.get('min'))} to {number(found.get('max'))}", ""),
        (
            "dead units",
            f"{number(dead)} of {results.config.rank}",
            "standard deviation below 0.001: they say nothing about a sample",
        ),
        (
            "saturated entries",
            f"{100 * saturated:.3g} %" if isinstance(saturated, (int, float)) else number(None),
            "below 0.01 or above 0.99, where a sigmoid hardly learns",
        ),
        (
            "sparsity of the parts",
            "none" if sparsity is None and results.summary else number(sparsity),
            "Hoyer's, mean over the units: 0 for equal entries, 1 for a single one",
        ),
    ]
    names = {
        "student_noisy": "student, noisy input",
        "student_clean": "student, clean input",
        "supervisor": "supervisor, clean input",
    }
    errors = results.get("evaluation", "reconstruction_error")
    rows += [
        (
            f"error of the {name}",
            number(errors.get(key)),
            "mean squared difference per entry from the clean samples",
        )
        for key, name in names.items()
        if isinstance(errors, dict)
    ]
    explained = [(_explained(name, what), value) for name, value, what in rows]
    parts = [table(f"Codes H of {_samples(results)}", ["measure", "value"], explained)]
    spreads = _numbers(found.get("unit_std"))
    if spreads:
        shown = [number(spread, 3) for spread in spreads]
        tables = _bars("Standard deviation of units", ["unit", "deviation"], spreads, shown)
        parts.append(element("div", *tables, class_="beside"))
    return join(parts)


def _explained(name: str, what: str) -> Html:
    """Return a name, and below it in small letters what it is."""
    return join([name, element("small", what)] if what else [name], "")


def _numbers(values: object) -> list[float]:
    """Return a list of numbers, or an empty one if it is none."""
    values = values if isinstance(values, list) else []
    good = [
        v
        for v in values
        if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
    ]
    return good if len(good) == len(values) else []


def _bars(
    caption: str, heads: Sequence[str], values: Sequence[float], shown: Sequence[str]
) -> list[Html]:
    """Return tables of numbered values, with a bar to each value."""
    largest = max(values) or 1.0
    rows = [
        (str(k), text, bar(value / largest))
        for k, (value, text) in enumerate(zip(values, shown, strict=True))
    ]
    pieces = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    return [
        table(
            f"{caption} {piece[0][0]} to {piece[-1][0]}",
            [*heads, "beside the largest"],
            piece,
            "bars",
        )
        for piece in pieces
    ]


# -- losses and pictures ---------------------------------------------------------------------------


def losses(results: Results) -> Html | None:
    """Return the curves, and the losses of the first and the last epoch."""
    history, parts = results.history, []
    if "losses.png" in results.pictures:
        caption = "Losses after each epoch, on a logarithmic scale."
        parts.append(picture(results.pictures["losses.png"], _alt_losses(results), caption))
    if history:
        first, last = history[0], history[-1]
        heads = ["loss per sample", f"epoch {_epoch(first, 1)}"]
        heads += [f"epoch {_epoch(last, len(history))}", "weight"]
        rows = []
        for name, (meaning, option) in LOSSES.items():
            if name in last:
                weight = "" if option is None else number(getattr(results.config, option))
                ends = [number(record.get(name)) for record in (first, last)]
                rows.append([_explained(name, meaning), *ends, weight])
        over = results.config.reduction
        how = "the mean over" if over == "mean" else "summed over"
        parts.append(table(f"Losses, {how} the features of a sample", heads, rows))
        seconds = _numbers([record.get("seconds") for record in history])
        rates = _numbers([record.get("samples_per_second") for record in history])
        if seconds and rates:
            parts.append(
                element(
                    "p",
                    f"An epoch took {duration(statistics.median(seconds))} (median): "
                    f"{statistics.median(rates):,.0f} samples a second.",
                )
            )
    return join(parts) if parts else None


def _epoch(record: dict[str, Any], otherwise: int) -> str:
    return str(record.get("epoch", otherwise))


def _alt_losses(results: Results) -> str:
    first, last = results.history[:1], results.history[-1:]
    if not first:
        return "An empty diagram: there is no loss before the first epoch."
    changes = [
        f"{name} from {number(first[0].get(name), 3)} to {number(last[0].get(name), 3)}"
        for name in LOSSES
        if name in last[0]
    ]
    return (
        f"Lines of the losses over {len(results.history)} epochs, logarithmic: "
        f"{', '.join(changes)}."
    )


def pictures(results: Results) -> Html | None:
    """Return all pictures but that of the losses."""
    shown = {
        "reconstructions.png": (_alt_reconstructions, _caption_reconstructions),
        "parts.png": (_alt_parts, _caption_parts),
        "effects.png": (_alt_effects, _caption_effects),
        "clusters.png": (_alt_clusters, _caption_clusters),
        "embedding.png": (_alt_embedding, _caption_embedding),
    }
    found = [
        picture(results.pictures[name], alt(results), caption(results))
        for name, (alt, caption) in shown.items()
        if name in results.pictures
    ]
    return join(found) if found else None


def _alt_reconstructions(results: Results) -> str:
    errors = results.get("evaluation", "reconstruction_error")
    errors = errors if isinstance(errors, dict) else {}
    return (
        "Samples in four rows: clean, noisy, what the student makes of the noisy ones (mean "
        f"squared error {number(errors.get('student_noisy'), 3)} over all samples), what the "
        f"supervisor makes of the clean ones ({number(errors.get('supervisor'), 3)})."
    )


def _caption_reconstructions(results: Results) -> str:
    return (
        "What goes in and what comes out. The student sees the noisy samples, the supervisor the "
        "clean ones."
    )


def _dead(results: Results) -> str:
    dead = results.get("evaluation", "code", "dead_units")
    return "" if dead is None else f"; {number(dead)} of them dead"


def _alt_parts(results: Results) -> str:
    return (
        f"The student's output for each of the {results.config.rank} base units alone, a tile or a "
        f"row each, on one scale{_dead(results)}."
    )


def _caption_parts(results: Results) -> str:
    return (
        "The learned parts: each base unit decoded at 1 with all others at 0. No sample need have "
        "such a code, and parts need not add up to a sample: the decoder is not linear."
    )


def _alt_effects(results: Results) -> str:
    return (
        f"The change of the output as each of the {results.config.rank} base units moves, a tile "
        f"or a row each, on one scale with white at zero{_dead(results)}."
    )


def _caption_effects(results: Results) -> str:
    return (
        "The same units where the samples are: what changes in the output as one unit goes from "
        "its 5th to its 95th percentile while the others stay at their medians."
    )


def _drawn_method(results: Results) -> str:
    """Return the clusterer whose clusters are drawn."""
    methods = results.config.clusterers
    return next((m for m in methods if m != "kmeans"), methods[0])


def _alt_clusters(results: Results) -> str:
    method = _drawn_method(results)
    acc = _scores(results).get(method, {}).get("acc")
    return (
        f"Table of counts with a row for each class and a column for each cluster of {method}; "
        f"the share of the samples on its diagonal, ACC, is {_score(acc)}."
    )


def _caption_clusters(results: Results) -> str:
    method = _drawn_method(results)
    return (
        f"Classes against the clusters of {method}, which are in the order of the classes that "
        "they are matched to."
    )


def _alt_embedding(results: Results) -> str:
    by = "class" if "clusters.png" in results.pictures else "cluster"
    shown = results.config.embedding_samples
    n = results.get("evaluation", "n_samples")
    count = number(min(shown, n) if isinstance(n, int) else shown)
    return (
        f"Scatter plot of the codes H of {count} samples in two dimensions by "
        f"{NAMES_OF_MAPS[results.config.embedding]}, coloured by {by}."
    )


def _caption_embedding(results: Results) -> str:
    method = results.config.embedding
    caption = f"Map of the codes H by {NAMES_OF_MAPS[method]}; the axes have no unit."
    if method == "tsne":
        caption += " What is near on the map is near in H, but large distances mean little."
    return caption


# -- configuration ---------------------------------------------------------------------------------


def configuration(results: Results) -> Html:
    """Return every option; those that differ from the preset or the default are marked."""
    config = results.config
    expected = Config(objective=config.objective).resolved()
    by_preset = preset(config.make_objective(), config.make_recipe())
    sections: dict[str, list[Html]] = {}
    changed: list[str] = []
    for f in fields(Config):
        value, usual = (_shown(f.name, getattr(c, f.name)) for c in (config, expected))
        differs = getattr(config, f.name) != getattr(expected, f.name)
        source = f"preset {config.objective}" if f.name in by_preset else "default"
        # A long name may break after an underscore, where the window is narrow.
        name = element("code", Html(f.name.replace("_", "_<wbr>")))
        if differs:
            changed.append(f.name)
            name, shown = element("mark", name), element("strong", value)
        else:
            shown = escape(value)
        sections.setdefault(f.metadata["section"], []).append(
            element(
                "tr",
                element("th", _explained(name, f.metadata["help"]), scope="row"),
                element("td", shown),
                element("td", f"{usual} ({source})" if differs else ""),
                **({"class_": "changed"} if differs else {}),
            )
        )
    listed = join((element("code", name) for name in changed), ", ")
    said = (
        join(["Set for this run, unlike preset or default: ", listed, "."], "")
        if changed
        else "Every option has the value of the preset or its default."
    )
    heads = ("option", "value", "instead of")
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    groups = [
        element(
            "tbody",
            element("tr", element("th", section, scope="rowgroup", colspan="3"), class_="group"),
            *rows,
        )
        for section, rows in sections.items()
    ]
    caption = f"All options, resolved; preset {config.objective}"
    whole = element(
        "table", element("caption", caption), element("thead", head), *groups, class_="options"
    )
    return join([element("p", said), whole])


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return Path(value).name if name in PLACES else str(value)


# -- environment and files -------------------------------------------------------------------------


def environment(results: Results) -> Html | None:
    """Return on what the run was done, and how long it took."""
    if not results.summary:
        return None
    versions = results.get("environment", "versions")
    versions = versions if isinstance(versions, dict) else {}
    memory = results.get("environment", "memory", "total_bytes")
    peak = results.get("peak_memory_mib")
    rows = [
        ("device", number(results.get("device"))),
        ("backend", number(results.get("backend"))),
        ("threads", _threads(results)),
        ("processors", _processors(results)),
        ("memory", f"{memory / 2**30:.1f} GiB" if isinstance(memory, int) else number(None)),
        ("largest memory used", f"{peak:,.0f} MiB" if isinstance(peak, float) else number(None)),
        ("training", duration(results.get("training_seconds"))),
        ("all, with scoring", duration(results.get("wall_seconds"))),
        ("finished", number(results.get("finished"))),
        ("commit", number(results.get("commit"))),
        ("platform", number(results.get("environment", "platform"))),
        *((name, "not installed" if v is None else str(v)) for name, v in versions.items()),
    ]
    note = (
        "A commit that ends in + had changes; an installed package has none. Of a run that was "
        "resumed the time with scoring, the memory and the machine are those of its last part."
    )
    found = table("What the run was done on", ["what", "value"], rows, "long")
    return join([found, element("p", note)])


def _threads(results: Results) -> str:
    asked = results.config.threads
    pools = results.get("environment", "threads")
    pools = [p for p in pools if isinstance(p, dict)] if isinstance(pools, list) else []
    found = [
        f"{pool.get('library')} {pool.get('version') or ''}".strip() + f": {pool.get('threads')}"
        for pool in pools
    ]
    given = "by default" if asked is None else f"{asked} asked for"
    return f"{given} ({'; '.join(found)})" if found else given


def _processors(results: Results) -> str:
    usable, count = (results.get("environment", "cpus", key) for key in ("usable", "count"))
    return f"{number(usable)} usable of {number(count)}"


def files(results: Results, linked: bool) -> Html:
    """Return the files that are beside the report."""
    rows = []
    for name, n_bytes in results.files.items():
        shown = element("a", name, href=name) if linked else escape(name)
        what = FILES.get(name, "a picture of this page")
        rows.append((_explained(shown, what), size(n_bytes)))
    parts = [table("Files of the run", ["file", "size"], rows)]
    if "explorer.html" not in results.files and "checkpoint.npz" in results.files:
        parts.append(
            element(
                "p",
                "Move the parts by hand: ",
                element("code", "python -m ddnmf_np.explore FOLDER"),
                " makes a page with sliders.",
            )
        )
    return join(parts)


Section = Callable[[Results], Html | None]

SECTIONS: dict[str, tuple[str, Section]] = {
    "glance": ("At a glance", glance),
    "scores": ("Scores", scores),
    "losses": ("Losses", losses),
    "pictures": ("Pictures", pictures),
    "clusters": ("Cluster sizes", clusters),
    "code": ("Codes and errors", code),
    "configuration": ("Configuration", configuration),
    "environment": ("Environment", environment),
}
"""What is on the page, in this order: heading and content by name."""
