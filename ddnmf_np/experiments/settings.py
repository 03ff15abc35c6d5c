"""Options of a campaign: one field each, from which the command line makes its flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ddnmf_np.backends.threads import usable_processors
from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.evaluation.options import Method
from ddnmf_np.experiments.baselines import Source, make_config
from ddnmf_np.experiments.networks import NOISE_MODELS, STUDIES, TABLE_MODELS

RESULTS = ("table1", "table2", "table3", "figure2", "figure3")
"""The paper's tables and figures."""

EVERYTHING = (*RESULTS, *STUDIES)
"""What can be asked for."""

DATASETS = {"table1": ("mnist",), "table2": ("fashion-mnist",)}
"""Data sets of a result; a result that is not here is about both."""

Need = tuple[str, Method]
"""Clean or noisy images, and a clusterer."""

MAPPED: dict[str, Need] = {
    "tsne": ("clean", "gmm-full-tsne"),
    "umap": ("clean", "gmm-full-umap"),
}
"""Clusterings of `MAPPED_MODELS` on a map, by the name of the map."""

MOST_SEEDS = 10_000

T = TypeVar("T")


def option(
    default: T,
    text: str,
    *,
    choices: Sequence[str] | None = None,
    least: int = 1,
    most: int | None = None,
) -> T:
    """Declare an option that has a flag. Whole numbers beyond `most` are slips of the keyboard."""
    declared: T = field(
        default=default, metadata={"help": text, "choices": choices, "limits": (least, most)}
    )
    return declared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked of a campaign; most fields are options and say themselves what they mean.

    Parameters
    ----------
    results : tuple of str
        Tables, figures and studies, of `EVERYTHING`.
    map_samples : int
        Test images on a map of figure 2.
    sources : tuple of Source
        The data sets.
    options : mapping
        Options of all networks; they override the networks' own.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    results: tuple[str, ...]
    seeds: tuple[int, ...] = option(
        (0, 1, 2, 3, 4), "number of seeds (0 to N-1), or the seeds themselves with commas"
    )
    epochs: int = option(30, "epochs of every network", least=0, most=1_000_000)
    samples: int | None = option(None, "training images (default: all)", most=1_000_000_000)
    starts: int = option(
        10, "starts of every clustering, except in table 3 and figure 3", most=10_000
    )
    networks: tuple[str, ...] = option(TABLE_MODELS, "codes in tables 1 and 2")
    noise_rates: tuple[float, ...] = option(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "noise rates of table 3 and figure 3"
    )
    noise_networks: tuple[str, ...] = option(NOISE_MODELS, "networks of table 3 and figure 3")
    # Table 3 has 48 of the 60 networks of a seed (both data sets, eight rates, three networks),
    # each of them clustered on clean and on noisy images; so it has a smaller budget by default.
    noise_samples: int = option(
        6_000,
        "training images of table 3 and figure 3, at most those of --samples; for all: 60000",
        most=1_000_000_000,
    )
    noise_starts: int = option(3, "starts of clusterings in table 3 and figure 3", most=10_000)
    maps: tuple[str, ...] = option(
        (),
        "in tables 1 and 2, cluster the codes of networks on a map too, which the paper does not: "
        "tsne (a minute or more for each network), umap (a quarter; needs umap-learn)",
        choices=("tsne", "umap"),
    )
    variants: tuple[str, ...] | None = option(
        None, "variants of the studies (default: all); the table says which have no records"
    )
    backend: str = option("numpy", "backend of the networks", choices=("numpy", "cupy", "auto"))
    jobs: int = option(1, "runs at a time", most=1024)
    threads: int | None = option(
        None, "threads of each run (default: the processors, divided among the runs)", most=1024
    )
    map_samples: int = 2000
    sources: tuple[Source, ...] = (
        Source("mnist", "mnist"),
        Source("fashion-mnist", "fashion-mnist"),
    )
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for result in self.results:
            if result not in EVERYTHING:
                names = [*EVERYTHING, "all", "report"]
                raise UsageError(unknown("table, figure or study", result, names))
        if not self.seeds:
            raise UsageError("seeds: there are none; give at least 1 (5 for a result to show)")
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds is {self.seeds}; give each seed once")
        if len(self.seeds) > MOST_SEEDS:
            raise UsageError(f"seeds: there are {len(self.seeds)}; give at most {MOST_SEEDS}")
        for name, option in OPTIONS.items():
            (least, most), value = option.metadata["limits"], getattr(self, name)
            if most is not None and value is not None and not least <= value <= most:
                raise UsageError(
                    f"{name} is {value}; expected a whole number from {least} to {most:,}"
                )
        if not self.noise_rates or not all(0.0 < rate < 1.0 for rate in self.noise_rates):
            raise UsageError(f"noise_rates is {self.noise_rates}; expected numbers in (0, 1)")
        if self.results and not any(map(self.sources_of, self.results)):
            left_out = [f"{result} ({DATASETS[result][0]})" for result in self.results]
            chosen = ", ".join(source.name for source in self.sources)
            raise UsageError(
                f"datasets is {chosen}, which {', '.join(left_out)} is not about; name the "
                "data set of the table too, or another table"
            )
        studies = [result for result in self.results if result in STUDIES]
        if self.variants is not None and not studies:
            raise UsageError(
                f"variants is {self.variants}, and no study is asked for; name one of "
                f"{', '.join(STUDIES)}, or leave the variants out"
            )
        for what, asked, known in (
            ("network", self.networks, TABLE_MODELS),
            ("network", self.noise_networks, NOISE_MODELS),
            ("variant", self.variants or (), [n for s in studies for n in STUDIES[s].names]),
            ("map", self.maps, MAPPED),
        ):
            for name in asked:
                if name not in known:
                    raise UsageError(unknown(what, name, list(known)))
        if self.maps and not any(result in DATASETS for result in self.results):
            raise UsageError(
                f"maps is {', '.join(self.maps)}, and {' and '.join(DATASETS)} are not asked for, "
                "whose networks alone are clustered on maps; name one of them, or leave maps out"
            )
        for seed in self.seeds:  # says what is wrong with the other options
            make_config("ddnmf-paper", self.network_options(seed))

    def network_options(self, seed: int) -> dict[str, Any]:
        """Return the options that all networks of a seed share."""
        threads = self.threads
        if threads is None and self.jobs > 1:
            threads = max(1, usable_processors() // self.jobs)
        own = {"epochs": self.epochs, "backend": self.backend, "threads": threads}
        return {**self.options, "seed": seed, **own}

    def sources_of(self, result: str) -> list[Source]:
        """Return the data sets of a table or figure."""
        names = DATASETS.get(result)
        return [s for s in self.sources if names is None or s.name in names]

    def models_of(self, result: str) -> Sequence[str]:
        """Return the representations of table 1 or 2, or of a study."""
        if result not in STUDIES:
            return self.networks
        names = STUDIES[result].names
        return [full for name, full in names.items() if name in (self.variants or names)]


OPTIONS = {f.name: f for f in fields(Settings) if f.metadata}
"""The options that have a flag, by name."""


def flag_of(name: str) -> dict[str, Any]:
    """Return an option's arguments for argparse; its annotation says how many values of a kind."""
    option, joint = OPTIONS[name], "," if name == "seeds" else " "
    annotation, default, text = str(option.type), option.default, option.metadata["help"]
    if isinstance(default, tuple):
        default = joint.join(map(str, default))
    flag = {"help": f"{text} (default: {default})" if default else text}
    if name == "seeds":
        return flag | {"metavar": "N"}  # one word, see `parse_seeds`
    kind = next(kind for kind in (int, float, str) if kind.__name__ in annotation)
    flag |= {"type": kind, "choices": option.metadata["choices"]}
    if flag["choices"] is None or annotation.startswith("tuple"):
        flag["metavar"] = {int: "N", float: "X", str: "NAME"}[kind]
    return flag | ({"nargs": "+"} if annotation.startswith("tuple") else {})


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds: ``"3"`` is 0, 1, 2, and ``"3,5"`` or ``"3,"`` are those themselves."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
        if "," in text:
            return tuple(numbers)
        [number] = numbers
    except ValueError as error:
        raise UsageError(f"seeds is {text!r}; give a number, or seeds with commas") from error
    if number > MOST_SEEDS:
        raise UsageError(
            f"seeds is {number}; give at most {MOST_SEEDS}, or one seed with a comma: {number},"
        )
    return tuple(range(number))
