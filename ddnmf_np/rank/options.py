"""Options of a search for the rank."""

from __future__ import annotations

from dataclasses import dataclass

from ddnmf_np.errors import OptionError
from ddnmf_np.system.options import COUNT, Range, check_options, documented, option

FEWEST = 20
"""Smallest number of samples."""


@documented
@dataclass(frozen=True)
class Search:
    """Options of a search for the rank; ``ranks`` are sorted, and each is there once."""

    ranks: tuple[int, ...] = option((2, 4, 8, 16, 32), "ranks to compare, two or more", COUNT)
    seeds: int = option(
        5, "number of seeds; each hides other entries and starts elsewhere", Range(least=2)
    )
    hidden: float = option(
        0.2, "share of the entries that each seed hides", Range(least=0.05, most=0.5)
    )
    samples: int = option(
        2_000, "samples to use, drawn at random if there are more", Range(least=FEWEST)
    )
    seed: int = option(0, "the first seed", Range(least=0, most=2**31))
    jobs: int = option(1, "fits at a time", Range(least=1, most=1024))

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "ranks", tuple(sorted(set(self.ranks))))
        if len(self.ranks) < 2:
            raise OptionError("ranks", f"is {self.ranks[0]}; give two different ranks or more")
