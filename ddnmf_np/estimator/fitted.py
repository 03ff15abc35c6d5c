"""Methods of a fitted estimator, which check their samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ddnmf_np.backends.select import backend_of
from ddnmf_np.config import Config
from ddnmf_np.data.checks import check_nonnegative, refuse_undivided
from ddnmf_np.data.given import (
    Written,
    check_out,
    is_eight_bit,
    refuse_containers,
    returned,
    taken,
    without_mask,
)
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import Source, stream, streams_by_itself
from ddnmf_np.errors import DataError, UsageError, shown
from ddnmf_np.evaluation.code_clusters import CodeClusters
from ddnmf_np.model import Model
from ddnmf_np.runs.preparation import on_host
from ddnmf_np.runs.validation import Unexplained
from ddnmf_np.runs.yardsticks import Yardsticks


class Fitted(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The methods of `ddnmf_np.DDNMF` that need a fitted model."""

    missing: str
    backend: str | None
    n_clusters: int | None
    model_: Model
    config_: Config
    unexplained_: Unexplained | None
    n_features_in_: int
    _clusters: CodeClusters | None
    _yardsticks: Yardsticks | None
    _from_bytes: bool

    def transform(self, X: Any) -> Any:
        """Return the codes ``H`` of samples, shape (n_samples, n_components) (equation 3)."""
        return self._use("encode", X)

    def predict(self, X: Any) -> Any:
        """Return the cluster of each sample, shape (n_samples,).

        The clusters are those of a Gaussian mixture (with spherical covariances, the best of ten
        starts) on the codes of the training samples, at most 10,000 of them. It is fitted when the
        first clusters are asked for.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), dtype int64
            Clusters, 0 to ``n_clusters - 1``.

        Raises
        ------
        UsageError
            If ``n_clusters`` cannot be used, or the model is that of a run.
        DataError
            As `transform`; or if there were fewer training samples than clusters.
        """
        check_is_fitted(self, "model_")
        clusters = self._known_clusters()
        found = clusters.predict(self._host_codes(X), self._n_clusters)
        return returned(found, X)

    @property
    def labels_(self) -> Any:
        """Cluster of each sample of the last fit, shape (n_samples,)."""
        check_is_fitted(self, "model_")
        if self._clusters is None or not self._clusters.complete:
            raise AttributeError(
                "labels_ are there only after the fit of samples in memory; use predict(X)"
            )
        return self._clusters.predict(self._clusters.codes, self._n_clusters)

    @property
    def baselines_(self) -> dict[str, float]:
        """The unexplained fractions of the mean, PCA and NMF, beside ``reconstruction_err_``."""
        check_is_fitted(self, "model_")
        found = None if self._yardsticks is None else self._yardsticks.found
        if found is None:
            raise AttributeError(
                "baselines_ are there only after fit; a pickle or a saved file has them if they "
                "were known before"
            )
        return dict(found)

    @property
    def _n_clusters(self) -> int:
        if self.n_clusters is None:
            return self.model_.architecture.rank
        return checked_count("n_clusters", self.n_clusters)

    def _known_clusters(self) -> CodeClusters:
        if self._clusters is None:
            raise UsageError(
                "predict: a run keeps no codes of its training samples to cluster; fit a mixture "
                "to transform(X), as sklearn.mixture.GaussianMixture does"
            )
        return self._clusters

    def _host_codes(self, X: Any) -> Any:
        codes = self._used(self.model_.encode, self._samples(X, reset=False))
        return self.model_.ops.to_host(codes)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the fraction of the samples' variance that the student explains.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples, as for `fit`.
        y : None
            Ignored.

        Returns
        -------
        float
            1 minus the sum of squared errors over the sum of squared deviations from the mean of
            the training samples, in the units that the networks see (`config_.data.scale`): 1 for
            a perfect reconstruction, 0 for that of the mean, negative for a worse one.
        """
        check_is_fitted(self, "model_")
        if self.unexplained_ is None:
            raise UsageError(
                "score: this checkpoint does not say what the mean of the training samples is; "
                "resume the run, which writes it again"
            )
        return 1.0 - self.unexplained_.of(on_host(self._samples(X, reset=False)))

    def denoise(self, X: Any) -> Any:
        """Return the student's output for samples, shape (n_samples, n_features)."""
        return self._framed(self._use("denoise", X), X)

    def transform_into(self, X: Any, out: Any) -> Any:
        """Write the codes ``H`` of samples that may not fit into memory, a block at a time.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features), or path
            As for `fit`, or what `ddnmf_np.data.streaming.sources.stream` takes.
        out : array of shape (n_samples, n_components) and dtype float
            Anything that slices of rows can be assigned to, such as a memory map or an h5py
            dataset. Overwritten.

        Returns
        -------
        array
            ``out``.

        Raises
        ------
        DataError
            If ``out`` has another shape or dtype, or as `transform`.
        OutputError
            If ``out`` cannot be written to.
        """
        check_is_fitted(self, "model_")
        if not isinstance(X, (str, os.PathLike)):
            refuse_containers(X)
        rows = self._rows(stream(X), reset=False)
        check_out(out, (rows.shape[0], self.model_.architecture.rank))
        rows.apply(self._on_host(self.model_.encode), Written(out))
        return out

    def impute(self, X: Any) -> Any:
        """Return samples with what is missing filled in.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN is a missing entry.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The student's output where an entry is missing, and the entry itself elsewhere, in the
            wider of their two precisions.

        Raises
        ------
        UsageError
            Without ``missing="nan"``.
        DataError
            As `transform`.
        """
        check_is_fitted(self, "model_")
        if not self.model_.missing:
            raise UsageError("missing is 'error'; fit with missing='nan' to impute")
        return self._framed(self._handed(self._imputed, X), X)

    def _imputed(self, X: Any) -> Any:
        ops, model = self.model_.ops, self.model_
        x = ops.to_device(X, X.dtype)  # what is known keeps its precision
        return ops.xp.where(ops.xp.isnan(x), model.denoise(ops.to_device(X, model.dtype)), x)

    def inverse_transform(self, H: Any) -> Any:
        """Return the data that codes stand for, shape (n_samples, n_features).

        Parameters
        ----------
        H : array_like of shape (n_samples, n_components)
            Codes, of samples or made by hand.
        """
        check_is_fitted(self, "model_")
        given, H = H, taken(H, "H")
        if backend_of(H) == "numpy":
            H = np.asarray(H)
        rank = self.model_.architecture.rank
        if H.ndim != 2 or H.shape[1] != rank or H.dtype.kind not in "fiub":
            raise DataError(
                f"H has shape {H.shape} and dtype {H.dtype}; expected numbers of shape "
                f"(n_samples, {rank})"
            )
        self._check_backend(H, "H")
        if not bool((abs(H) < float("inf")).all()):
            raise DataError("H has entries that are not finite; remove or replace them")
        return self._framed(returned(self._returned(self.model_.decode(H), H), given), given)

    def _use(self, name: str, X: Any) -> Any:
        check_is_fitted(self, "model_")
        return self._handed(getattr(self.model_, name), X)

    def _handed(self, function: Callable[[Any], Any], X: Any) -> Any:
        """Check X, apply ``function``, and return the result in X's library."""
        return returned(self._used(function, self._samples(X, reset=False)), X)

    def _framed(self, data: Any, given: Any) -> Any:
        """Return data of all features in the container that ``set_output`` asks for."""
        asked = getattr(self, "_sklearn_output_config", {}).get("transform")
        asked = asked or get_config()["transform_output"]
        if asked == "default":
            return data
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{k}" for k in range(self.n_features_in_)]
        if asked == "polars":
            return import_module("polars").DataFrame(data, schema=list(names), orient="row")
        index = getattr(given, "index", None)
        index = None if callable(index) else index  # a list's method
        return import_module("pandas").DataFrame(data, index=index, columns=names)

    def _used(self, function: Callable[[Any], Any], X: Any) -> Any:
        """Apply ``function`` to X; return the result on X's device (on the host if streamed)."""
        if not isinstance(X, Rows):
            return self._returned(function(X), X)
        function = self._on_host(function)
        first = function(X.read(0, 1))
        return X.apply(function, np.empty((len(X), first.shape[1]), first.dtype))

    def _on_host(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: self.model_.ops.to_host(function(x))

    def _returned(self, result: Any, given: Any) -> Any:
        """Return a result on the backend of the array that asked for it."""
        return self.model_.ops.to_host(result) if backend_of(given) == "numpy" else result

    def _check_backend(self, given: Any, name: str) -> None:
        """Refuse a device array for a model that is on the host."""
        if backend_of(given) == "cupy" and self.model_.ops.on_host:
            raise UsageError(
                f"{name} is a CuPy array, but the model was fitted on {self.model_.ops.name}; pass "
                f"cupy.asnumpy({name}), or fit with backend='cupy'"
            )

    def _samples(self, X: Any, *, reset: bool) -> Any:
        """Return checked samples; ``reset`` says whether they define the number of features."""
        X = taken(X)
        if isinstance(X, (str, os.PathLike)):
            raise UsageError(
                f"X is the path {shown(os.fspath(X))}, not samples; give "
                "ddnmf_np.data.streaming.sources.stream(path), which reads the file while training"
            )
        refuse_containers(X)
        eight_bit = is_eight_bit(X)
        if streams_by_itself(X):
            return self._rows(stream(X), reset=reset)
        if backend_of(X) == "numpy":
            X = without_mask(X, self._missing(reset))
            # Finiteness is checked below, in words that say where and how many.
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                order="C",
                ensure_all_finite=False,
            )
        else:
            if reset and self.backend == "numpy":
                raise UsageError(
                    "backend is 'numpy', but X is a CuPy array; use backend=None or 'cupy'"
                )
            if not reset:
                self._check_backend(X, "X")
            if X.ndim != 2:
                raise DataError(f"X has shape {X.shape}; expected (n_samples, n_features)")
            X = X if X.dtype.name in ("float32", "float64") else X.astype("float64")
            self._check_width(X, reset)
        check_nonnegative(X, "X", self._missing(reset))
        return X if reset or not self._from_bytes else self._in_units_of_run(X, eight_bit)

    def _in_units_of_run(self, X: Any, eight_bit: bool) -> Any:
        """Return samples as the run saw them, whose 8-bit numbers were divided by 255."""
        if eight_bit:
            return (X / 255.0).astype(self.model_.dtype)
        refuse_undivided(X, "X")
        return X

    def _rows(self, source: Source, *, reset: bool) -> Rows:
        """Return samples that are checked as they are read."""
        dtype = source.dtype if source.dtype.name == "float32" else np.dtype(np.float64)
        self._check_width(source, reset)
        if reset and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of an earlier fit
        divides = not reset and self._from_bytes
        return Rows(source, dtype, missing=self._missing(reset), scale=divides, divided=divides)

    def _missing(self, reset: bool) -> str:
        """Return the meaning of NaN: as asked, or as it was when the model was fitted."""
        return self.missing if reset else self.config_.data.missing

    def _check_width(self, X: Any, reset: bool) -> None:
        """Learn the number of features, or refuse samples that have another."""
        if reset:
            self.n_features_in_ = X.shape[-1]
        elif X.shape[-1] != self.n_features_in_:
            raise DataError(
                f"X has {X.shape[-1]} features, but DDNMF is expecting "
                f"{self.n_features_in_} features as input"
            )

    # -- scikit-learn ---------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.architecture.rank)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing == "nan"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def checked_count(name: str, value: Any) -> int:
    """Return a number of things, at least 1, or raise `UsageError`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} is {shown(value)}; give a whole number, at least 1, or None")
    return int(value)
