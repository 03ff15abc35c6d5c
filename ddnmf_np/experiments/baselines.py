"""The representations of the paper's tables: how each is computed, and from which options.

A *representation* turns the test images into codes: the images themselves, classical NMF, an
auto-encoder, DDNMF. We cluster each by k-means and by mixtures, which are fitted to the test
codes (as in the authors' demo) and see no label.

Classical methods are scikit-learn's. k-means: k-means++, the best of several starts by inertia.
Mixtures: the best of several starts by likelihood, each from another k-means; spherical as in
the authors' demo, and with full covariances. On codes wider than 64 (images, AE2) a full covariance
has more entries than a cluster has samples, so there both mixtures are fitted to the first 50
principal components of the test codes; k-means takes the codes as they are. NMF: 10 components,
``nndsvda``, coordinate descent, at most 200 iterations, fitted on the training images (the
training codes of AE2), then applied to the test images.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning

from ddnmf_np.config import OPTIONS, Config, configure
from ddnmf_np.data.datasets import Dataset, load
from ddnmf_np.data.order import epoch_order
from ddnmf_np.errors import DataError
from ddnmf_np.evaluation import clustering, maps
from ddnmf_np.evaluation.clustering import ClusteringResult, cluster
from ddnmf_np.evaluation.options import Method
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.experiments.networks import NETWORKS
from ddnmf_np.experiments.records import Name, key_of
from ddnmf_np.model import Model
from ddnmf_np.runs.scoring import noisy_copy
from ddnmf_np.training import Trainer

Floats = npt.NDArray[np.floating[Any]]

NMF_OPTIONS: dict[str, Any] = {
    "n_components": 10,
    "init": "nndsvda",
    "solver": "cd",
    "max_iter": 200,
    "tol": 1e-4,
}
WIDEST_MIXTURE = 64
"""Codes wider than this are reduced to principal components before a mixture is fitted."""
COMPONENTS = 50
PCA_OPTIONS: dict[str, Any] = {"svd_solver": "covariance_eigh"}

CLUSTERERS: tuple[Method, ...] = ("kmeans", "gmm-spherical", "gmm-full")
"""k-means is the odd, a mixture the even rows of the paper's tables."""

OPTIONS_SINCE: dict[str, Any] = {
    **dict.fromkeys(("noise_shift", "noise_rotation", "noise_zoom", "noise_shear"), 0.0),
    "image_shape": None,
    "nmf_start": "glorot",
    "nmf_spread": 1.0,
    "lr_schedule": "constant",
    "missing": "error",
    "stream": False,
    "stream_window": 128,
}
"""Options that `Config` got after format 1, each with the value that means "as before".

At that value they are left out of the identity of a run, so that a new option does not make all
earlier records worthless.
"""

SETTINGS_SINCE: dict[str, Any] = {
    "kmeans.init": "k-means++",
    "kmeans.max_iter": 300,
    "kmeans.tol": 1e-4,
    "mixture.init_params": "kmeans",
    "mixture.max_iter": 100,
    "mixture.tol": 1e-3,
    "mixture.reg_covar": 1e-6,
    "pca.svd_solver": "covariance_eigh",
    "tsne.perplexity": 30.0,
    "tsne.early_exaggeration": 12.0,
    "tsne.learning_rate": "auto",
    "tsne.max_iter": 1000,
    "tsne.min_grad_norm": 1e-7,
    "tsne.n_iter_without_progress": 300,
    "tsne.metric": "euclidean",
    "tsne.method": "barnes_hut",
    "tsne.angle": 0.5,
    "tsne.start_scale": 1e-4,
    "umap.spread": 1.0,
    "umap.learning_rate": 1.0,
    "umap.init": "spectral",
    "umap.local_connectivity": 1.0,
    "umap.set_op_mix_ratio": 1.0,
    "umap.repulsion_strength": 1.0,
    "umap.negative_sample_rate": 5,
}
"""Settings of clusterings and maps at which records of format 1 were made before keys had them.

Like `OPTIONS_SINCE`: at that value they are left out of the identity. To change a setting, change
it where it is used, not here: this is what the records without it mean.
"""


@dataclass(frozen=True)
class Source:
    """A data set: its name in records, and the arguments of `ddnmf_np.data.datasets.load`."""

    name: str
    place: str
    data_dir: str | None = None

    def load(self) -> Dataset:
        """Return the data; we keep the last set in memory."""
        return _load(self.place, self.data_dir)


@lru_cache(maxsize=1)
def _load(place: str, data_dir: str | None) -> Dataset:
    return load(place, data_dir=data_dir)


@dataclass(frozen=True)
class DataInfo:
    """What a plan needs of a data set: hash of the images, and sizes (of the images used)."""

    source: Source
    sha256: str
    n_train: int
    n_test: int
    n_features: int
    n_classes: int


def inspect(source: Source, samples: int | None) -> DataInfo:
    """Load a data set and describe it; raises `DataError` without labelled test images."""
    data = source.load()
    if data.x_test is None or data.y_test is None:
        raise DataError(f"{data.source}: has no test images with labels, which the tables score")
    return DataInfo(
        source,
        key_of({"train": sha256_of(data.x_train), "test": sha256_of(data.x_test)}),
        min(samples or len(data.x_train), len(data.x_train)),
        len(data.x_test),
        data.x_test.shape[1],
        len(np.unique(data.y_test)),
    )


def sha256_of(x: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of an array's shape, dtype and values."""
    digest = hashlib.sha256(f"{x.shape} {x.dtype.str}".encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Representation:
    """Codes of the test images of a data set, with everything that they depend on.

    Parameters
    ----------
    data : DataInfo
        The images.
    model : str
        A key of `networks.TITLES`.
    seed : int
        Seed of all random draws.
    config : Config or None
        Options of the network, if there is one.
    parent : Representation or None
        Representation whose codes NMF factorizes; None for the images themselves.
    """

    data: DataInfo
    model: str
    seed: int
    config: Config | None = None
    parent: Representation | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the codes depend on, as the key of the record needs it."""
        images: dict[str, Any] = {"dataset": self.data.source.name, "data_sha256": self.data.sha256}
        if self.model == "raw":
            return {"codes": "raw", **images}
        images["n_train"] = self.data.n_train
        if self.config is None:
            parent = None if self.parent is None else key_of(self.parent.identity)
            return {"codes": "nmf", **images, **NMF_OPTIONS, "parent": parent, "seed": self.seed}
        network = NETWORKS[self.model]
        options = identity_of(self.config)
        if network.kind == "autoencoder":
            for name in NOT_OF_AUTOENCODERS:
                options.pop(name, None)  # one of `OPTIONS_SINCE` may be absent
            options["bottleneck"] = network.bottleneck
        return {"codes": network.kind, **images, **options}

    @property
    def trained(self) -> Config | None:
        """The options of the network that the codes come from, if there is one."""
        return self.parent.trained if self.parent is not None else self.config

    @property
    def noise_rate(self) -> float:
        """Rate of the noise in the training images."""
        config = self.trained
        if config is None or config.noise.kind == "none":
            return 0.0
        return config.noise.rate

    @property
    def common(self) -> dict[str, Any]:
        """What every record of these codes, or of something made of them, says."""
        config = self.trained
        return {
            "dataset": self.data.source.name,
            "model": self.model,
            "seed": self.seed,
            "epochs": None if config is None else config.training.epochs,
            "samples": None if self.model == "raw" else self.data.n_train,
            "noise_rate": self.noise_rate,
            "n_test": self.data.n_test,
        }

    @property
    def label(self) -> str:
        """Name that a person can read."""
        noise = f"-noise{self.noise_rate:g}" if self.noise_rate else ""
        return f"{self.data.source.name}-{self.model}{noise}-seed{self.seed}"

    @property
    def name(self) -> Name:
        """The name of its record."""
        return Name("codes", self.label, self.identity)

    def clustering(self, images: str, method: Method, starts: int) -> Name:
        """Return the name of the record of a clustering of the codes."""
        reduced = self.width > WIDEST_MIXTURE and method != "kmeans"
        return Name(
            "clustering",
            f"{self.label}-{method}{'-noisy' if images == 'noisy' else ''}",
            {
                "clustering": method,
                "codes": self.name.key,
                "images": images,
                "starts": starts,
                "n_clusters": self.data.n_classes,
                "components": COMPONENTS if reduced else None,
                "seed": self.seed,
                **settings_of(method, reduced),
            },
        )

    def embedding(self, samples: int) -> Name:
        """Return the name of the record of a map of the codes."""
        identity = {"embedding": "tsne", "codes": self.name.key, "points": samples, "seed": 0}
        return Name("embedding", self.label, identity | settings_of("tsne"))

    @property
    def width(self) -> int:
        """Number of entries of a code."""
        if self.model == "raw":
            return self.data.n_features
        if self.config is None:
            return int(NMF_OPTIONS["n_components"])
        shape = self.config.model
        return shape.rank if NETWORKS[self.model].bottleneck else shape.widths[-1]

    @property
    def keeps_weights(self) -> bool:
        """Whether another representation continues from the weights."""
        return self.model in NETWORKS and NETWORKS[self.model].keep_weights

    @property
    def n_values(self) -> int:
        """Number of stored values: codes, and weights if others continue from them."""
        values = self.data.n_test * self.width * (2 if self.noise_rate else 1)
        if self.keeps_weights and self.config is not None:
            widths = [self.data.n_features, *self.config.model.widths]
            values += sum((2 * a + 1) * (b + 1) for a, b in pairwise(widths))
        return values

    @property
    def work(self) -> float:
        """Roughly the seconds that one thread of a processor needs; only ratios are used."""
        if self.model == "raw":
            return 0.0
        if self.config is None:
            below = self.data.n_features if self.parent is None else self.parent.width
            return 14.0 * self.data.n_train * below / (60_000 * 784)
        widths = [self.data.n_features, *self.config.model.widths]
        if NETWORKS[self.model].bottleneck:
            widths.append(self.config.model.rank)
        weights = 2 * sum(a * b for a, b in pairwise(widths))
        networks = 2 if NETWORKS[self.model].kind == "ddnmf" else 1
        return self.config.training.epochs * self.data.n_train * networks * weights * 6 / 9e10


NOT_OF_AUTOENCODERS = (
    *("objective", "alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction"),
    *("apposition_to_supervisor", "base_bias", "nonnegative", "nmf_start", "nmf_spread"),
)
"""Options that mean nothing to an auto-encoder."""


def identity_of(config: Config) -> dict[str, Any]:
    """Return the options that a trained network depends on, the preset's written out.

    Those are the ones that a resumed run may not change, and the number of epochs; not where the
    data are, which backend computes, or how the codes are scored.
    """
    values = config.to_dict()
    keep = [name for name, o in OPTIONS.items() if not o.resumable] + ["epochs"]
    return _without(OPTIONS_SINCE, {name: values[name] for name in keep})


def settings_of(method: str, reduced: bool = False) -> dict[str, Any]:
    """Return the settings of a clusterer or a map that are not those of `SETTINGS_SINCE`."""
    used: dict[str, Mapping[str, Any]] = {}
    if method == "kmeans":
        used["kmeans"] = clustering.KMEANS_OPTIONS
    if method.startswith("gmm-"):
        used["mixture"] = clustering.MIXTURE_OPTIONS
    if method.endswith("tsne"):
        used["tsne"] = {**maps.TSNE_OPTIONS, "start_scale": maps.START_SCALE}
    if method.endswith("umap"):
        used["umap"] = maps.UMAP_OPTIONS
    if reduced:
        used["pca"] = PCA_OPTIONS
    settings = {f"{who}.{name}": v for who, all_ in used.items() for name, v in all_.items()}
    return _without(SETTINGS_SINCE, settings)


def _without(since: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that came later and are at the value of before."""
    return {k: v for k, v in settings.items() if k not in since or v != since[k]}


def make_config(model: str, options: Mapping[str, Any]) -> Config:
    """Return the options of a network: its own, then those of the campaign."""
    return configure(**{**NETWORKS[model].options, **options})


@dataclass
class Codes:
    """Codes of the test images, shape (n_test, width), and the results of the run."""

    H: Floats
    H_noisy: Floats | None
    """Codes of the test images with the noise of the training."""
    content: dict[str, Any]
    """Entries of the record."""
    weights: Floats | None = None
    """Parameters in one row, if another representation continues from them."""


def compute(
    spec: Representation,
    *,
    weights: Floats | None = None,
    tick: Callable[[str], None] | None = None,
) -> Codes:
    """Compute a representation.

    Parameters
    ----------
    spec : Representation
        Backend and threads are those of its configuration.
    weights : ndarray, optional
        Weights of the network that it continues from.
    tick : callable, optional
        Called with a line of text after each epoch.
    """
    data = spec.data.source.load()
    x_train = training_images(data, spec.data.n_train)
    x_test = cast(Floats, data.x_test)
    if spec.model == "raw":
        return Codes(x_test, None, {})
    if spec.config is not None:
        return _train(spec, x_train, x_test, data.image_shape, tick)
    if spec.parent is not None:
        network = _network(spec.parent, x_train.shape[1])
        assert isinstance(network, Autoencoder)
        assert weights is not None
        arena = network.stack.arena
        arena.unpack(weights, arena.params)
        host = network.ops.to_host
        x_train, x_test = host(network.encode(x_train)), host(network.encode(x_test))
    return _factorize(x_train, x_test, spec.seed)


def training_images(data: Dataset, n: int) -> Floats:
    """Return so many training images, drawn without a look at the labels; the same for all."""
    if n == len(data.x_train):
        return data.x_train
    rows: npt.NDArray[np.int64] = epoch_order(len(data.x_train), 0, 0)[:n]
    return np.ascontiguousarray(data.x_train[rows])


def _network(spec: Representation, n_features: int) -> Model | Autoencoder:
    config = cast(Config, spec.config)
    ops = config.execution.get_ops()
    network = NETWORKS[spec.model]
    if network.kind == "ddnmf":
        return config.make_model(n_features, ops)
    return Autoencoder(
        n_features,
        config.model,
        config.optimizer,
        mean=config.objective.reduction == "mean",
        seed=config.training.seed,
        dtype=config.training.dtype,
        batch_size=config.training.batch_size,
        threads=config.execution.threads,
        bottleneck=network.bottleneck,
        ops=ops,
    )


def _train(
    spec: Representation,
    x_train: Floats,
    x_test: Floats,
    image_shape: tuple[int, int] | None,
    tick: Callable[[str], None] | None,
) -> Codes:
    config = cast(Config, spec.config)
    network = _network(spec, x_train.shape[1])
    # An auto-encoder has all that the trainer asks of a model; they share no base class, since
    # neither is a kind of the other.
    trainer = config.make_trainer(cast(Model, network), x_train, image_shape=image_shape)
    epochs = config.training.epochs

    def on_epoch(trainer: Trainer) -> None:
        if tick is not None:
            tick(f"epoch {trainer.position.epoch} of {epochs}")

    trainer.train(epochs, on_epoch=on_epoch)
    host = network.ops.to_host
    noisy = noisy_copy(trainer, x_test) if spec.noise_rate else None
    H = network.encode(x_test)
    H_noisy = None if noisy is None else network.encode(noisy)
    weights = None
    if isinstance(network, Model):
        outputs = {"student_clean": network.decode(H), "supervisor": network.supervise(x_test)}
        if H_noisy is not None:
            outputs["student_noisy"] = network.decode(H_noisy)
    else:
        outputs = {"clean": network.reconstruct(x_test)}
        if noisy is not None:
            outputs["noisy"] = network.reconstruct(noisy)
        weights = network.stack.arena.packed(network.stack.arena.params)
    content = {
        "options": config.to_dict(),
        "losses": trainer.history[-1] if trainer.history else {},
        "reconstruction_error": {
            name: float(np.mean((host(out) - x_test) ** 2, dtype=np.float64))
            for name, out in outputs.items()
        },
        "parameters": network.n_parameters(),
        "training_seconds": sum(record["seconds"] for record in trainer.history),
        "backend": network.ops.name,
        "device": network.ops.device_name(),
    }
    return Codes(host(H), None if H_noisy is None else host(H_noisy), content, weights)


def _factorize(x_train: Floats, x_test: Floats, seed: int) -> Codes:
    """Fit NMF to the training images, and return the codes of the test images."""
    began = time.perf_counter()
    model = NMF(**NMF_OPTIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the record says how far it came
        model.fit(x_train)
        H = model.transform(x_test)
    error = float(np.mean((H @ model.components_ - x_test) ** 2, dtype=np.float64))
    content = {
        "options": dict(NMF_OPTIONS),
        "losses": {"frobenius": float(model.reconstruction_err_)},
        "reconstruction_error": {"clean": error},
        "iterations": int(model.n_iter_),
        "training_seconds": time.perf_counter() - began,
    }
    return Codes(H, None, content)


def cluster_codes(
    H: Floats, n_clusters: int, method: Method, starts: int, seed: int
) -> ClusteringResult:
    """Cluster codes; wide ones by a mixture of their first principal components."""
    if method != "kmeans" and H.shape[1] > WIDEST_MIXTURE:
        H = PCA(min(COMPONENTS, *H.shape), **PCA_OPTIONS).fit_transform(H)
    return cluster(H, n_clusters, method=method, n_starts=starts, seed=seed)
