"""Options of the evaluation: how the codes are clustered and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ddnmf_np.system.options import COUNT, Range, check_options, documented, option

Method = Literal[
    "kmeans", "gmm-spherical", "gmm-diag", "gmm-tied", "gmm-full", "gmm-full-tsne", "gmm-full-umap"
]
EmbeddingMethod = Literal["tsne", "pca"]


@documented
@dataclass(frozen=True)
class Clustering:
    """Options of the evaluation: how we cluster and draw the codes H.

    The methods are those of `ddnmf_np.evaluation.clustering`.
    """

    clusters: int | None = option(
        None,
        "clusters to look for in H; by default as many as the labels have classes, else the rank",
        COUNT,
        resumable=True,
    )
    clusterers: tuple[Method, ...] = option(
        ("kmeans", "gmm-spherical"),
        "how H is clustered; gmm-full-umap needs umap-learn",
        resumable=True,
    )
    starts: int = option(
        10,
        "starts of each clusterer; the best likelihood (inertia) is kept",
        COUNT,
        resumable=True,
    )
    embedding: EmbeddingMethod = option("tsne", "two-dimensional map of H", resumable=True)
    embedding_samples: int = option(
        2000, "largest number of samples on that map", Range(least=2), resumable=True
    )
    save_codes: bool = option(
        False,
        "write codes.npy, H of all rows of the data set in their order (of a set with a test split "
        "the training rows, then the test rows)",
        resumable=True,
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def drawn(self) -> Method:
        """The clusterer whose clusters are drawn: the first mixture, else the first of all."""
        return next((m for m in self.clusterers if m != "kmeans"), self.clusterers[0])
