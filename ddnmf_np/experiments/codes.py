"""What the codes of the networks look like, without labels: dead units and scale, as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ddnmf_np.experiments.baselines import NETWORKS, TITLES
from ddnmf_np.experiments.networks import TABLE_MODELS
from ddnmf_np.experiments.records import Record
from ddnmf_np.experiments.statistics import spread
from ddnmf_np.experiments.tables import markdown, table_noise

CODE_MODELS = tuple(
    model
    for model in TABLE_MODELS
    if model in NETWORKS and (NETWORKS[model].kind == "ddnmf" or NETWORKS[model].bottleneck)
)
"""Rows of tables 1 and 2 whose codes are the few units of a trained network."""

NOTE = (
    "Dead units: those whose standard deviation over the test images is below 0.001, each seed in "
    "its order. Code scale: standard deviation of a unit over the test images, mean over the "
    "units; of it, mean over seeds ± standard deviation (range), and each seed."
)


def code_table(
    records: Iterable[Record], models: Collection[str] = CODE_MODELS, dataset: str = "mnist"
) -> str:
    """Return dead units and code scale of each network.

    Parameters
    ----------
    records : iterable of Record
        All there are of one budget, of which those of the codes of `models` are taken.
    models : collection of str
        The lines of the table, in this order; those without records are left out.
    dataset : str
        Whose images.

    Returns
    -------
    str
        A Markdown table, with epochs and training images in each line; empty without records.
        `NOTE` says what its columns are.
    """
    found: dict[tuple[str, int, int], dict[int, Record]] = {}
    for record in records:
        if (
            record["kind"] == "codes"
            and record["dataset"] == dataset
            and record["model"] in models
            and record["noise_rate"] == table_noise(record["model"])
        ):
            budget = (record["epochs"] or 0, record["samples"] or 0)
            line = found.setdefault((record["model"], *budget), {})
            line[record["seed"]] = record
    lines = []
    for key in sorted(found, key=lambda key: (list(models).index(key[0]), *key[1:])):
        model, epochs, samples = key
        seeds = [record["code"] for _, record in sorted(found[key].items())]
        scales = [spread(code["unit_std"]).mean for code in seeds]
        s = spread(scales)
        scale = f"{s.mean:.3f}"
        if s.std is not None:
            scale += f" ± {s.std:.3f} ({s.low:.3f}-{s.high:.3f})"
        lines.append(
            [
                TITLES[model],
                str(epochs),
                f"{samples:,}",
                str(len(seeds)),
                ", ".join(str(code["dead_units"]) for code in seeds),
                str(len(seeds[0]["unit_std"])),
                scale,
                ", ".join(f"{one:.3f}" for one in scales),
            ]
        )
    header = ["codes", "epochs", "training images", "seeds", "dead units", "of", "code scale"]
    header.append("code scale, each seed")
    return markdown(header, lines) if lines else ""
