"""Options of a campaign: each is one field, from which the command line makes its flag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from ddnmf_np.backends.threads import usable_processors
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import Dataset, load
from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.evaluation.options import Method
from ddnmf_np.experiments.networks import NETWORKS, STUDIES, TABLE_MODELS
from ddnmf_np.system.command import flag_of
from ddnmf_np.system.options import kinds

RESULTS = ("table1", "table2", "table3", "figure2", "figure3")
"""The paper's tables and figures."""

CURVES = "curves"
"""Scores of tables 1 and 2 against the number of epochs."""

EVERYTHING = (*RESULTS, CURVES, *STUDIES)
"""All results of a campaign."""

SOURCES = ("mnist", "fashion-mnist")
"""Names of all data sets."""

DATASETS = {"table1": ("mnist",), "table2": ("fashion-mnist",)}
"""Data sets of a result; the other results use both."""


class Need(NamedTuple):
    """A clustering of codes."""

    images: str  # "clean" or "noisy" test images, or "all": those of training and test
    method: Method
    again: int = 0  # number of a repetition with other random numbers


MAPPED: dict[str, Need] = {
    "tsne": Need("clean", "gmm-full-tsne"),
    "umap": Need("clean", "gmm-full-umap"),
}
"""Clusterings of `MAPPED_MODELS` on a map, by the map's name."""

MOST_SEEDS = 10_000

T = TypeVar("T")


def option(
    default: T,
    text: str,
    *,
    choices: Sequence[str] | None = None,
    least: int = 1,
    most: int | None = None,
    metavar: str = "NAME",
) -> T:
    """Declare an option with a flag. A whole number beyond `most` must be a typing error."""
    about = {"help": text, "choices": choices, "limits": (least, most), "metavar": metavar}
    declared: T = field(default=default, metadata=about)
    return declared


@dataclass(frozen=True)
class Source:
    """A data set: its name in records, and the arguments of `ddnmf_np.data.datasets.load`."""

    name: str
    place: str
    data_dir: str | None = None

    def load(self) -> Dataset:
        """Return the data; we keep the last data set in memory."""
        return _load(self.place, self.data_dir)


@lru_cache(maxsize=1)
def _load(place: str, data_dir: str | None) -> Dataset:
    return load(place, data_dir=data_dir)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a user can choose about a campaign; raises `UsageError` for a wrong value.

    ``results`` are tables, figures and studies from `EVERYTHING`, ``places`` other places of data
    sets by name (for tests), and ``options`` of all networks override the networks' own.
    """

    results: tuple[str, ...]
    seeds: tuple[int, ...] = option(
        (0, 1, 2, 3, 4), "number of seeds (0 to N-1), or a list of seeds with commas"
    )
    epochs: int = option(30, "epochs of every network", least=0, most=1_000_000)
    at: tuple[int, ...] = option(
        (),
        "for curves: also score the codes after these epochs; one run gives all of them if its "
        "learning rate is constant (other networks have the last point only)",
        most=1_000_000,
    )
    samples: int | None = option(None, "training images (default: all)", most=1_000_000_000)
    starts: int = option(
        10, "starts of every clustering, except in table 3 and figure 3", most=10_000
    )
    networks: tuple[str, ...] = option(
        tuple(model for model in TABLE_MODELS if model != "ddnmf-auto"),
        "codes in tables 1 and 2; also: ddnmf-auto, the default preset of DDNMF",
    )
    noise_rates: tuple[float, ...] = option(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "noise rates of table 3 and figure 3"
    )
    # Table 3 has 48 of the 60 networks of a seed (two data sets, eight rates, three networks), and
    # we cluster each on clean and on noisy images. So its budget is smaller by default.
    noise_samples: int = option(
        6_000,
        "training images of table 3 and figure 3, at most those of --samples; for all: 60000",
        most=1_000_000_000,
    )
    noise_starts: int = option(3, "starts of clusterings in table 3 and figure 3", most=10_000)
    maps: tuple[str, ...] = option(
        (),
        "in tables 1 and 2, also cluster the codes of networks on a map, which the paper does not: "
        "tsne (a minute or more per network), umap (a quarter of that; needs umap-learn)",
        choices=("tsne", "umap"),
    )
    map_seeds: int = option(
        1, "number of maps of the same codes, each with other random numbers", most=1000
    )
    images: tuple[str, ...] = option(
        ("test",),
        "images whose codes are clustered; of networks in tables 1 and 2 also all, those of "
        "training and test together",
        choices=("test", "all"),
    )
    backend: str = option("numpy", "backend of the networks", choices=("numpy", "cupy", "auto"))
    jobs: int = option(1, "runs at a time", most=1024)
    threads: int | None = option(
        None, "threads of each run (default: the processors, divided among the runs)", most=1024
    )
    datasets: tuple[str, ...] = option(
        SOURCES, "data sets; tables 1 and 2 are about one each", choices=SOURCES
    )
    data_dir: str | None = option(
        None, "folder in which to look for the images first", metavar="FOLDER"
    )
    places: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, asked, known in (
            ("table, figure or study", self.results, [*EVERYTHING, "all", "report"]),
            ("network", self.networks, TABLE_MODELS),
            ("map", self.maps, list(MAPPED)),
        ):
            for name in asked:
                if name not in known:
                    raise UsageError(unknown(what, name, known))
        if not self.seeds:
            raise UsageError("seeds: the list is empty; give at least 1 seed (5 show a result)")
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds is {self.seeds}; give each seed once")
        if len(self.seeds) > MOST_SEEDS:
            raise UsageError(f"seeds: the list has {len(self.seeds)}; give at most {MOST_SEEDS}")
        for name, option in OPTIONS.items():
            (least, most), value = option.metadata["limits"], getattr(self, name)
            if isinstance(value, tuple):
                continue  # checked where it is used
            if most is not None and value is not None and not least <= value <= most:
                raise UsageError(
                    f"{name} is {value}; expected a whole number from {least} to {most:,}"
                )
        if not self.noise_rates or not all(0.0 < rate < 1.0 for rate in self.noise_rates):
            raise UsageError(f"noise_rates is {self.noise_rates}; expected numbers in (0, 1)")
        if self.results and not any(map(self.sources_of, self.results)):
            needed = [f"{result} needs {DATASETS[result][0]}" for result in self.results]
            raise UsageError(
                f"datasets is {', '.join(self.datasets)}, but {', '.join(needed)}; add that data "
                "set, or choose another table"
            )
        if self.at and CURVES not in self.results:
            raise UsageError(f"at is {self.at}, but {CURVES} is not chosen; add it")
        for epochs in self.at:
            if not 1 <= epochs <= self.epochs:
                raise UsageError(
                    f"at is {epochs}; expected whole numbers from 1 to epochs = {self.epochs}"
                )
        if self.maps and not any(result in DATASETS for result in self.results):
            raise UsageError(
                f"maps is {', '.join(self.maps)}, but only {' and '.join(DATASETS)} have maps; "
                "add one of them, or leave maps out"
            )

    def network_options(self, seed: int) -> dict[str, Any]:
        """Return the options that all networks of a seed share."""
        threads = self.threads
        if threads is None and self.jobs > 1:
            threads = max(1, usable_processors() // self.jobs)
        own = {"epochs": self.epochs, "backend": self.backend, "threads": threads}
        return {**self.options, "seed": seed, **own}

    def lengths_of(self, result: str, model: str) -> list[int]:
        """Return the numbers of epochs after which a result needs the codes of a network."""
        model = "ae2" if model == "ae2-nmf" else model  # NMF of AE2's codes
        if result != CURVES or model not in NETWORKS:
            return [self.epochs]
        config = configure(**{**NETWORKS[model].options, **self.options})
        if config.optimizer.lr_schedule != "constant":
            return [self.epochs]
        return sorted({*self.at, self.epochs})

    @property
    def sources(self) -> list[Source]:
        """The data sets."""
        names = (name for name in SOURCES if name in self.datasets)
        return [Source(name, self.places.get(name, name), self.data_dir) for name in names]

    def sources_of(self, result: str) -> list[Source]:
        """Return the data sets of a table or figure."""
        names = DATASETS.get(result)
        return [s for s in self.sources if names is None or s.name in names]

    def models_of(self, result: str) -> Sequence[str]:
        """Return the representations of table 1 or 2, or of a study."""
        return list(STUDIES[result].variants) if result in STUDIES else self.networks


OPTIONS = {f.name: f for f in fields(Settings) if f.metadata}
"""Options that have a flag, by name."""


def arguments_of(name: str) -> dict[str, Any]:
    """Return the arguments of an option for argparse."""
    option, joint = OPTIONS[name], "," if name == "seeds" else " "
    default, text, kind = option.default, option.metadata["help"], kinds(Settings)[name]
    if isinstance(default, tuple):
        default = joint.join(map(str, default))
    text = f"{text} (default: {default})" if default else text
    if name == "seeds":
        return {"help": text, "metavar": "N"}  # one word, see `parse_seeds`
    flag = flag_of(kind, text, option.metadata["metavar"]) | {"choices": option.metadata["choices"]}
    return flag if kind.many or not flag["choices"] else flag | {"metavar": None}


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds: ``"3"`` means 0, 1, 2; ``"3,5"`` and ``"3,"`` are lists of seeds."""
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
