"""Representations of the paper's tables: how each is computed, and from which options.

A *representation* turns the test images into codes: the images themselves, classical NMF, an
auto-encoder, DDNMF. We cluster each by k-means and by mixtures, which we fit to the test codes (as
in the authors' demo) without labels.

Classical methods are scikit-learn's. k-means: k-means++, the best of several starts by inertia.
Mixtures: the best of several starts by likelihood, each from another k-means; spherical as in
the authors' demo, and with full covariances. A full covariance of codes wider than 64 (images, AE2)
has more entries than a cluster has samples, so there we fit both mixtures to the first 50 principal
components of the test codes; k-means uses the codes themselves. NMF: 10 components, ``nndsvda``,
coordinate descent until its tolerance (at most 5,000 iterations), fitted to the training images
(the training codes of AE2), then applied to the test images.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from ddnmf_np.config import DECIDED_BY, OPTIONS, Config
from ddnmf_np.data.datasets import Dataset
from ddnmf_np.data.defaults import Facts
from ddnmf_np.data.order import epoch_order
from ddnmf_np.engine.arena import Arena
from ddnmf_np.errors import CheckpointError, DataError
from ddnmf_np.evaluation import clustering, maps
from ddnmf_np.evaluation.clustering import ClusteringResult, cluster
from ddnmf_np.evaluation.options import Method
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.experiments.networks import (
    COMPONENTS,
    NETWORKS,
    WIDEST_MIXTURE,
    decided_by_data,
    make_network,
)
from ddnmf_np.experiments.records import Name, key_of
from ddnmf_np.experiments.settings import Source
from ddnmf_np.model import Model
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.runs.preparation import prepare
from ddnmf_np.runs.validation import Unexplained, Validation
from ddnmf_np.runs.yardsticks import noisy_copy
from ddnmf_np.training import Trainer

Floats = npt.NDArray[np.floating[Any]]

NMF_OPTIONS: dict[str, Any] = {
    "n_components": 10,
    "init": "nndsvda",
    "solver": "cd",
    "max_iter": 5000,
    "tol": 1e-4,
}
PCA_OPTIONS: dict[str, Any] = {"svd_solver": "covariance_eigh"}


@dataclass(frozen=True)
class DataInfo:
    """Hash and sizes of a data set (of the images that we use), which a plan needs."""

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

    ``model`` is a key of `networks.TITLES`, ``config`` has the options of the network, if there is
    one, and ``parent`` is the representation whose codes NMF factorizes (None: the images).
    """

    data: DataInfo
    model: str
    seed: int
    config: Config | None = None
    parent: Representation | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the codes depend on, for the key of the record."""
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
                del options[name]
            options["bottleneck"] = network.bottleneck
        return {"codes": network.kind, **images, **options}

    @property
    def curve(self) -> str | None:
        """Key that runs of different lengths share if the longer begins with the shorter."""
        if self.config is None or self.config.optimizer.lr_schedule != "constant":
            return None
        if decided_by_data(self.model):  # it stops early, at looks that depend on the length
            return None
        identity = self.identity
        del identity["epochs"]
        return key_of(identity)

    @property
    def epochs(self) -> int:
        """Number of epochs of the network; 0 without one."""
        return 0 if self.config is None else self.config.training.epochs

    @property
    def trained(self) -> Config | None:
        """The options of the network that the codes come from, if there is one."""
        return self.parent.trained if self.parent is not None else self.config

    @property
    def noise_rate(self) -> float:
        """Rate of the noise in the training images; 0 if the data decide it."""
        config = self.trained
        if config is None or config.noise.kind == "none" or decided_by_data(self.model):
            return 0.0
        return config.noise.rate

    @property
    def common(self) -> dict[str, Any]:
        """The entries that all records of these codes share: codes, clusterings and maps."""
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
        """Readable name."""
        noise = f"-noise{self.noise_rate:g}" if self.noise_rate else ""
        return f"{self.data.source.name}-{self.model}{noise}-seed{self.seed}"

    @property
    def name(self) -> Name:
        """Name of the record of the codes."""
        return Name("codes", self.label, self.identity)

    def clustering(self, images: str, method: Method, starts: int, again: int = 0) -> Name:
        """Return the name of the record of a clustering of the codes."""
        ending = "" if images == "clean" else f"-{images}"
        reduced = self.width > WIDEST_MIXTURE and method != "kmeans"
        return Name(
            "clustering",
            f"{self.label}-{method}{ending}{f'-again{again}' if again else ''}",
            {
                "clustering": method,
                "codes": self.name.key,
                "images": images,
                "starts": starts,
                "n_clusters": self.data.n_classes,
                "components": COMPONENTS if reduced else None,
                "seed": self.seed_of(again),
                **settings_of(method, reduced),
            },
        )

    def seed_of(self, again: int) -> int:
        """Return the seed of a clustering, or of one of its repetitions."""
        return self.seed + 1_000_000 * again

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


NOT_OF_AUTOENCODERS = (
    *("objective", "alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction"),
    *("apposition_to_supervisor", "base_bias", "nonnegative", "nmf_start", "nmf_spread"),
)
"""Options that have no meaning for an auto-encoder."""


NOT_OF_CAMPAIGNS = ("scale", "start", "test_fraction", "validation_fraction", "patience", "tol")
"""Options that are in no key unless a preset decides them by the data."""


def identity_of(config: Config) -> dict[str, Any]:
    """Return the options that a trained network depends on, with the preset's values.

    These are the number of epochs and all options that a resumed run may not change. Where the data
    are, which backend computes, and how the codes are scored do not belong to them.
    """
    values = config.to_dict()
    keep = [name for name, o in OPTIONS.items() if not o.resumable and name not in NOT_OF_CAMPAIGNS]
    keep.append("epochs")
    if config.objective.preset in DECIDED_BY:
        keep += [name for name in NOT_OF_CAMPAIGNS if name != "test_fraction"]
    return {name: values[name] for name in keep}


def settings_of(method: str, reduced: bool = False) -> dict[str, Any]:
    """Return the settings of a clusterer or a map, each named ``group.setting``."""
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
    return {f"{group}.{name}": v for group, all_ in used.items() for name, v in all_.items()}


@cache
def facts_of(data: DataInfo) -> Facts:
    """Return the facts by which the data decide options."""
    x = training_images(data.source.load(), data.n_train)
    return Facts.of(x, n=len(x), images=True, missing=False)


@dataclass
class Codes:
    """Codes of the test images, and the results of the run.

    ``arrays`` has codes (n_test, width) of the ``"clean"`` images, after a training with noise of
    the ``"noisy"`` ones, and of a network with few units those of ``"all"`` images; ``content`` the
    entries of the record; ``weights`` the parameters in one row, if another representation
    continues from them.
    """

    arrays: dict[str, Floats]
    content: dict[str, Any]
    weights: Floats | None = None


@dataclass
class Curve:
    """Shorter runs that a run contains, and the checkpoints from which it can continue.

    ``keep`` is called with each shorter run and its codes as soon as these are there. We save
    ``unfinished`` during the training, and ``finished`` at its end, so that a longer run can
    continue (None if a longer run does not begin with this one).
    """

    shorter: Sequence[Representation]
    keep: Callable[[Representation, Codes], None]
    unfinished: Path
    finished: Path | None


SAVE_EVERY = 300.0
"""Seconds of training between two checkpoints."""


def compute(
    spec: Representation, weights: Floats | None = None, curve: Curve | None = None
) -> Codes:
    """Compute a representation; ``weights`` are those of the network that it continues from."""
    data = spec.data.source.load()
    x_train = training_images(data, spec.data.n_train)
    x_test = cast(Floats, data.x_test)
    if spec.model == "raw":
        return Codes({"clean": x_test}, {})
    if spec.config is not None:
        return _train(spec, x_train, data, curve)
    if spec.parent is not None:
        network = make_network(
            spec.parent.model, cast(Config, spec.parent.config), x_train.shape[1]
        )
        assert isinstance(network, Autoencoder)
        assert weights is not None
        unpack(network.stack.arena, weights)
        host = network.ops.to_host
        x_train, x_test = host(network.encode(x_train)), host(network.encode(x_test))
    return _factorize(x_train, x_test, spec.seed)


def unpack(arena: Arena, packed: Floats) -> None:
    """Write what `Arena.packed` returned into an arena's parameters."""
    at = 0
    for name in arena.shapes:
        block = arena.param(name)
        piece = packed[at : at + block.size].reshape(block.shape)
        block[...] = arena.ops.to_device(piece, block.dtype)
        at += block.size


def training_images(data: Dataset, n: int) -> Floats:
    """Return ``n`` training images, drawn without labels; all seeds get the same images."""
    if n == len(data.x_train):
        return data.x_train
    rows: npt.NDArray[np.int64] = epoch_order(len(data.x_train), 0, 0)[:n]
    return np.ascontiguousarray(data.x_train[rows])


def _train(spec: Representation, x_train: Floats, data: Dataset, curve: Curve | None) -> Codes:
    config = cast(Config, spec.config)
    # Only a preset that the data decide holds rows out.
    prepared = prepare(x_train, config, data.image_shape)
    network = make_network(spec.model, config, x_train.shape[1], prepared.scaling)
    # An auto-encoder has everything that the trainer needs of a model.
    trainer = config.make_trainer(cast(Model, network), prepared.x, image_shape=data.image_shape)
    if prepared.held_out is not None:
        unexplained = Unexplained(cast(Model, network), prepared.some)
        trainer.stopping = Validation.of(config, unexplained, prepared.held_out)
    shorter = sorted(curve.shorter, key=lambda run: run.epochs) if curve else []
    data_sha256 = key_of({"data": spec.data.sha256, "n_train": spec.data.n_train})
    if curve:
        _continue(trainer, config, data_sha256, [*shorter, spec][0].epochs, curve)
    saved = time.monotonic()

    def save(trainer: Trainer) -> None:
        nonlocal saved
        # An epoch is complete with its record, which it does not have yet after its last batch.
        complete = trainer.position.batch == len(trainer.batches)
        if curve and not complete and time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            # A run for earlier points of a curve must not replace the state of a longer run.
            if position_of(curve.unfinished)[0] <= trainer.position.epoch:
                save_checkpoint(curve.unfinished, config, trainer, data_sha256)

    # Short runs show no bar, and a log of a long run gets one line in half a minute.
    quiet: Any = {"delay": 30, "mininterval": 30, "maxinterval": 30, "leave": False}
    first = trainer.position.epoch
    with tqdm(total=spec.epochs, initial=first, desc=spec.label, unit="epoch", **quiet) as bar:
        for run in [*shorter, spec]:
            trainer.train(run.epochs, on_step=save, on_epoch=lambda _: bar.update())
            codes = _codes_of(run, trainer, data)
            if curve and run is not spec:
                curve.keep(run, codes)
    if curve and curve.finished and trainer.position.epoch > position_of(curve.finished)[0]:
        save_checkpoint(curve.finished, config, trainer, data_sha256)
    return codes


def _continue(trainer: Trainer, config: Config, data_sha256: str, first: int, curve: Curve) -> None:
    """Load the latest checkpoint that is not beyond the first codes that we need."""
    found = {file: position_of(file) for file in (curve.unfinished, curve.finished) if file}
    for file in sorted(found, key=lambda file: found[file], reverse=True):
        if (0, 0) < found[file] <= (first, 0):
            with suppress(CheckpointError):  # its options or data are others
                load_checkpoint(file).restore(trainer, config, data_sha256)
                return


def position_of(file: Path) -> tuple[int, int]:
    """Return epoch and batch of a checkpoint; zeros if we cannot read it."""
    try:
        position = load_checkpoint(file).meta["position"]
    except CheckpointError:
        return 0, 0
    return position["epoch"], position["batch"]


def _codes_of(spec: Representation, trainer: Trainer, data: Dataset) -> Codes:
    """Return the codes and results of a trained network."""
    config = cast(Config, spec.config)
    network = cast("Model | Autoencoder", trainer.model)
    x_test = cast(Floats, data.x_test)
    images = {"clean": x_test}
    if spec.noise_rate:
        images["noisy"] = noisy_copy(trainer, x_test)
    codes = {name: network.encode(x) for name, x in images.items()}
    weights = None
    if isinstance(network, Model):
        outputs = {f"student_{name}": network.decode(H) for name, H in codes.items()}
        outputs["supervisor"] = network.supervise(x_test)
    else:
        outputs = {name: network.reconstruct(x) for name, x in images.items()}
        if NETWORKS[spec.model].keep_weights:
            weights = network.stack.arena.packed(network.stack.arena.params)
    if spec.width <= WIDEST_MIXTURE:
        # They take seconds and 3 MB. Without them a later `--images all` would train again.
        codes["all"] = np.concatenate(
            [network.ops.to_host(network.encode(x)) for x in (data.x_train, x_test)]
        )
    host = network.ops.to_host
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
    return Codes({name: host(H) for name, H in codes.items()}, content, weights)


def _factorize(x_train: Floats, x_test: Floats, seed: int) -> Codes:
    began = time.perf_counter()
    model = NMF(**NMF_OPTIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the record has n_iter_
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
    return Codes({"clean": H}, content)


def cluster_codes(
    H: Floats, n_clusters: int, method: Method, starts: int, seed: int
) -> ClusteringResult:
    """Cluster codes; a mixture of wide codes sees their first principal components only."""
    if method != "kmeans" and H.shape[1] > WIDEST_MIXTURE:
        H = PCA(min(COMPONENTS, *H.shape), **PCA_OPTIONS).fit_transform(H)
    return cluster(H, n_clusters, method=method, n_starts=starts, seed=seed)
