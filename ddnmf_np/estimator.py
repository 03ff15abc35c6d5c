"""The model as a scikit-learn transformer: samples in, codes H out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from itertools import islice
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ddnmf_np.backends.select import backend_of
from ddnmf_np.config import DECIDED_BY, OPTIONS, Config, configure
from ddnmf_np.data.datasets import check_nonnegative
from ddnmf_np.data.defaults import WEIGHTS
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import Source, stream, streams_by_itself
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import DataError, OptionError, OutputError, UsageError, shown
from ddnmf_np.evaluation.interpret import decode_parts
from ddnmf_np.model import Model
from ddnmf_np.runs.preparation import Prepared, on_host, prepare
from ddnmf_np.runs.progress import Progress
from ddnmf_np.runs.validation import Unexplained, Validation, findings, warn_of
from ddnmf_np.training import Trainer

NAMES_HERE = {
    "rank": "n_components",
    "epochs": "max_iter",
    "seed": "random_state",
    "noise_kind": "noise",
}
"""Parameters with another name than the option of the command line that they are."""


Given = ParamSpec("Given")
Result = TypeVar("Result")


def _all_or_nothing(fit: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return a method that leaves the estimator as it was if it fails, Ctrl-C included."""

    @wraps(fit)
    def whole(*given: Given.args, **options: Given.kwargs) -> Result:
        estimator: Any = given[0]
        attributes = vars(estimator)
        before = dict(attributes)
        try:
            return fit(*given, **options)
        except BaseException:
            attributes.clear()
            attributes.update(before)
            raise

    return whole


class DDNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Deep denoising non-negative matrix factorization (Chen, Jin, Liu and Zhang, 2021).

    Learns non-negative codes ``H`` in (0, 1) of non-negative data: a student auto-encoder that
    sees noisy samples and carries an NMF module (equation 3) is taught by a supervisor
    auto-encoder that sees clean ones. Computes in the precision of the data it is fitted on:
    float32 trains about twice as fast as float64.

    Parameters
    ----------
    n_components : int, default=10
        Number of base units H (r in the paper).
    widths : sequence of int or "auto", default="auto"
        Widths of the encoder's layers; the decoder mirrors them.
    activation : str or sequence of str, default="auto"
        Activation of the encoder's layers (mirrored in the decoder).
    output_activation : str, default="auto"
        Activation of the output.
    nonnegative : {"auto", "off", "recovery", "both", "decoder"}, default="auto"
        Which weights are projected to be >= 0 after each step; "auto" is "off", or "decoder" with
        the preset "parts".
    objective : {"auto", "parts", "paper", "demo", "stable"} or Objective, default="auto"
        The losses. A name is a preset. With "auto" the data decide every parameter that is "auto"
        (`ddnmf_np.data.defaults`), the samples are scaled, a tenth of them is held out, and the
        weights that reconstruct these best are kept. "parts" does the same with a non-negative
        decoder, so that ``components_`` add up to the samples. "paper" is the paper's, "demo" its
        authors' public demo's, and "stable" was chosen for groups that other seeds find again; with
        these, "auto" stands for what the paper or the demo has. An object changes weights:
        ``Objective("auto", beta_ap=0.1)``.
    noise : {"auto", "masking", "gaussian", "salt-and-pepper", "none"} or Noise, default="auto"
        Noise of the student's input (equation 2). An object sets its rate and how it is drawn:
        ``Noise("gaussian", 0.2)``.
    optimizer : {"adam", "momentum", "gd"} or Descent, default="adam"
        Descent rule; "gd" is equation 8. An object sets its constants and a learning-rate schedule:
        ``Descent("momentum", momentum=0.95)``.
    lr : float or None, default=None
        Learning rate (rho in equation 8); by default that of ``optimizer``. If this is a name, the
        preset or the data decide.
    max_iter : int or "auto", default="auto"
        Largest number of epochs, which are passes over the data; 30 without the preset "auto".
    batch_size : int or "auto", default="auto"
        Samples a step; without the preset "auto" 128, or all samples if there are fewer.
    missing : {"error", "nan"}, default="error"
        Whether NaN in the samples is refused, or an entry that is missing: the networks see 0
        there, and no loss compares with it. See `impute`.
    image_shape : tuple of two ints or None, default=None
        Height and width of the images that samples are; needed where the noise moves them.
    backend : {"numpy", "cupy", "auto"} or None, default=None
        Where to compute; None is the backend that the array given to `fit` lives on.
    fast : {"auto", "on", "off"}, default="auto"
        Numba's loops on the CPU: where installed, always, never.
    random_state : int, RandomState or None, default=None
        Of weights, order and noise. An int is the command line's ``--seed``.
    verbose : bool, default=False
        Whether to show progress.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The learned parts: each base unit decoded to data space.
    loss_history_ : list of dict
        A record of each epoch: every loss, seconds, samples per second.
    n_iter_ : int
        Epochs done.
    data_max_ : float
        Largest value that the networks saw first, the unit of the noise; 1 for scaled data.
    n_samples_seen_ : int
        Samples given to `fit` or, in all, to `partial_fit`.
    model_ : Model
        The trained networks.
    config_ : Config
        Every option of the fit, presets resolved.
    reconstruction_err_ : float
        Fraction of variance that the student leaves unexplained, of the held-out rows if there were
        some, else of the training rows; see `score`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, where the data had such.

    Notes
    -----
    Arrays come back on the backend on which the data came: CuPy in, CuPy out.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ddnmf_np import DDNMF
    >>> X = load_digits().data / 16
    >>> H = DDNMF(widths=(64, 32), max_iter=2, random_state=0).fit_transform(X)
    >>> H.shape
    (1797, 10)
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        widths: Any = "auto",
        activation: Any = "auto",
        output_activation: str = "auto",
        nonnegative: str = "auto",
        objective: str | Objective = "auto",
        noise: str | Noise = "auto",
        optimizer: str | Descent = "adam",
        lr: float | None = None,
        max_iter: Any = "auto",
        batch_size: Any = "auto",
        missing: str = "error",
        image_shape: Any = None,
        backend: str | None = None,
        fast: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.widths = widths
        self.activation = activation
        self.output_activation = output_activation
        self.nonnegative = nonnegative
        self.objective = objective
        self.noise = noise
        self.optimizer = optimizer
        self.lr = lr
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.missing = missing
        self.image_shape = image_shape
        self.backend = backend
        self.fast = fast
        self.random_state = random_state
        self.verbose = verbose

    # -- learning -------------------------------------------------------------------------

    @_all_or_nothing
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from samples.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Non-negative samples, NumPy or CuPy; float32 or float64, others become float64. Sparse
            matrices by rows (CSR), h5py datasets, Zarr and dask arrays, and what
            `ddnmf_np.data.streaming.sources.stream` returns, are read while training and never
            held as a whole; see ``derivations/larger-than-memory.md``.
        y : None
            Ignored; training sees no labels.

        Returns
        -------
        DDNMF
            Itself.

        Raises
        ------
        UsageError
            If a parameter cannot be used.
        DataError
            If the samples are negative, not finite (but for NaN with ``missing="nan"``), or fewer
            than ``batch_size``.
        DivergedError
            If training produces a value that is not finite.
        """
        X = self._samples(X, reset=True)
        prepared = self._prepare(X)
        config = prepared.config
        model, trainer = self._make(prepared)
        unexplained = Unexplained(model, prepared.some)
        if prepared.held_out is not None:
            trainer.stopping = Validation.of(config, unexplained, prepared.held_out)
        self._train(trainer, config.training.epochs)
        self.config_, self.unexplained_ = config, unexplained
        self.n_samples_seen_ = X.shape[0]
        rows = prepared.some if prepared.held_out is None else prepared.held_out
        self.reconstruction_err_ = unexplained.of(rows)
        warn_of(findings(unexplained, model, rows))
        return self

    @_all_or_nothing
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Do one epoch on more samples, in mini-batches; the first call starts from scratch.

        The scaling is that of the first samples, the learning rate is constant, and no samples are
        held out. Parameters changed after the first call have no effect. A call that fails changes
        nothing.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            As for `fit`. Counts as samples not seen before: their noise is new.
        y : None
            Ignored.

        Returns
        -------
        DDNMF
            Itself.

        Raises
        ------
        UsageError, DataError, DivergedError
            As `fit`; and for a schedule of the learning rate, which must know its end.
        """
        first = not hasattr(self, "model_")
        X = self._samples(X, reset=first)
        seen = 0 if first else self.n_samples_seen_
        prepared = self._prepare(X, one_pass=True) if first else None
        config = self.config_ if prepared is None else prepared.config
        schedule = config.optimizer.lr_schedule
        if schedule != "constant" and config.objective.preset not in DECIDED_BY:
            raise UsageError(
                f"lr_schedule is {schedule!r}, which needs to know the last epoch, and partial_fit "
                "has none; use fit, or lr_schedule='constant' in optimizer=Descent(...)"
            )
        if prepared is not None:
            model, trainer = self._make(prepared)
            self._train(trainer, 1)
            self.config_, self.unexplained_ = config, Unexplained(model, prepared.some)
        else:
            model = self.model_
            # A schedule has come to its end; we go on with the rate that it began with.
            model.descent = replace(model.descent, lr_schedule="constant")
            same: Any = {"first_index": seen, "high": self.data_max_}  # one unit of noise
            trainer = config.make_trainer(model, X, batch_size=self._batch(X, config), **same)
            trainer.history = list(self.loss_history_)
            trainer.position.epoch = self.n_iter_
            before, steps = {k: v.copy() for k, v in model.state().items()}, model.optimizer.t
            try:
                self._train(trainer, self.n_iter_ + 1)
            except BaseException:  # Ctrl-C too: what was learned before stays usable
                model.load_state(before, steps)
                raise
        self.n_samples_seen_ = seen + X.shape[0]
        return self

    def _prepare(self, X: Any, *, one_pass: bool = False) -> Prepared:
        """Return samples and options of a fit; ``one_pass`` if we do not know the last pass."""
        config = self._configure(X, one_pass=one_pass)
        return prepare(X, config, config.data.image_shape)

    def _make(self, prepared: Prepared) -> tuple[Model, Trainer]:
        config, x = prepared.config, prepared.x
        ops, scaling = config.execution.get_ops(), prepared.scaling
        model = config.make_model(x.shape[1], ops, scaling=scaling)
        return model, config.make_trainer(model, x, batch_size=self._batch(x, config))

    def _configure(self, X: Any, *, one_pass: bool = False) -> Config:
        """Return the options of a model for samples like these; the data may decide some yet."""
        same = ("widths", "activation", "output_activation", "nonnegative", "missing", "fast")
        options: dict[str, Any] = {name: getattr(self, name) for name in same}
        options |= {"rank": self.n_components, "epochs": self.max_iter, "dtype": X.dtype.name}
        options |= {"image_shape": self.image_shape, "batch_size": self.batch_size}
        options["backend"] = self.backend or backend_of(X)
        if isinstance(self.random_state, (int, np.integer)):
            options["seed"] = int(self.random_state)
        else:
            options["seed"] = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self.lr is not None:
            options["lr"] = self.lr
        # An object replaces a whole part; a name is one option, and the preset decides the others.
        objects: dict[str, Any] = {}
        for name, kind, option in (
            ("objective", Objective, "objective"),
            ("noise", Noise, "noise_kind"),
            ("optimizer", Descent, "optimizer"),
        ):
            value = getattr(self, name)
            if isinstance(value, kind):
                objects[name] = value
            else:
                options[option] = value
        if "objective" in objects:
            options["objective"] = objects["objective"].preset
        if options["objective"] in DECIDED_BY and one_pass and "optimizer" not in objects:
            options["lr_schedule"] = "constant"
            options["validation_fraction"] = 0.0
            if _is_auto(self.batch_size):  # the first part may be small, and the next ones not
                options["batch_size"] = 128
        decided = {k: v for k, v in options.items() if k == "objective" or not _is_auto(v)}
        try:
            config = replace(configure(**decided), **objects)
            if "optimizer" in objects and self.lr is not None:
                config = replace(config, optimizer=replace(objects["optimizer"], lr=self.lr))
            # What an object says is not for the data to decide.
            said = {o.name for o in OPTIONS.values() if o.part in objects}
            if "objective" in objects:  # its preset has 1 for the weights that the data decide
                usual = Objective(objects["objective"].preset)
                said -= {n for n in WEIGHTS if config[n] == getattr(usual, n)}
            config = replace(config, undecided=config.undecided - said)
        except OptionError as error:
            raise error.renamed(NAMES_HERE.get(error.name, error.name)) from error
        shape = config.data.image_shape
        if shape is not None and shape[0] * shape[1] != X.shape[1]:
            raise UsageError(
                f"image_shape is {shape}, but X has {X.shape[1]} features; give a height and a "
                "width with that product, or leave it out"
            )
        return config

    def _train(self, trainer: Trainer, epochs: int) -> None:
        progress = Progress(trainer, epochs) if self.verbose else None
        try:
            trainer.train(
                epochs,
                on_step=progress.on_step if progress else None,
                on_epoch=progress.on_epoch if progress else None,
            )
        finally:
            if progress is not None:
                progress.close()
        model = self.model_ = trainer.model  # only now: what was not trained is not fitted
        self.loss_history_ = trainer.history
        self.n_iter_ = trainer.position.epoch
        self.data_max_ = trainer.noise.high
        self.components_ = decode_parts(
            lambda H: model.ops.to_host(model.decode(H)), model.architecture.rank, model.dtype.name
        )

    def _batch(self, X: Any, config: Config) -> int | None:
        return min(config.training.batch_size, X.shape[0]) if _is_auto(self.batch_size) else None

    # -- use ------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Return the codes ``H`` of samples, shape (n_samples, n_components) (equation 3)."""
        return self._use("encode", X)

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
        return 1.0 - self.unexplained_.of(on_host(self._samples(X, reset=False)))

    def denoise(self, X: Any) -> Any:
        """Return what the student makes of samples, shape (n_samples, n_features)."""
        return self._use("denoise", X)

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
            _refuse_containers(X)
        rows = self._rows(stream(X), reset=False)
        _check_out(out, (rows.shape[0], self.model_.architecture.rank))
        rows.apply(self._on_host(self.model_.encode), _Written(out))
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
            The student's output where an entry is missing, and the entry itself elsewhere.

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
        return self._used(self._imputed, self._samples(X, reset=False))

    def _imputed(self, X: Any) -> Any:
        model = self.model_
        x = model.ops.to_device(X, model.dtype)
        guess = model.denoise(x)
        model.ops.observed_or(x, ~model.ops.xp.isnan(x), guess.copy(), guess)
        return guess

    def inverse_transform(self, H: Any) -> Any:
        """Return the data that codes stand for, shape (n_samples, n_features).

        Parameters
        ----------
        H : array_like of shape (n_samples, n_components)
            Codes, of samples or made by hand.
        """
        check_is_fitted(self, "model_")
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
        return self._returned(self.model_.decode(H), H)

    def _use(self, name: str, X: Any) -> Any:
        check_is_fitted(self, "model_")
        return self._used(getattr(self.model_, name), self._samples(X, reset=False))

    def _used(self, function: Callable[[Any], Any], X: Any) -> Any:
        """Return a function of samples, where these are; of streamed ones on the host."""
        if not isinstance(X, Rows):
            return self._returned(function(X), X)
        function = self._on_host(function)
        width = function(X.read(0, 1)).shape[1]
        return X.apply(function, np.empty((len(X), width), self.model_.dtype))

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
        if isinstance(X, (str, os.PathLike)):
            raise UsageError(
                f"X is the path {shown(os.fspath(X))}, not samples; give "
                "ddnmf_np.data.streaming.sources.stream(path), which reads the file while training"
            )
        _refuse_containers(X)
        if streams_by_itself(X):
            return self._rows(stream(X), reset=reset)
        if backend_of(X) == "numpy":
            X = _without_mask(X, self._missing(reset))
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
        return X

    def _rows(self, source: Source, *, reset: bool) -> Rows:
        """Return samples that are checked as they are read."""
        dtype = source.dtype if source.dtype.name == "float32" else np.dtype(np.float64)
        self._check_width(source, reset)
        if reset and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of an earlier fit
        return Rows(source, dtype, missing=self._missing(reset))

    def _missing(self, reset: bool) -> str:
        """Return what NaN means: as asked, or as it was when the model was fitted."""
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


def _without_mask(X: Any, missing: str) -> Any:
    """Return samples in which masked entries are NaN, if that is a missing entry."""
    if not isinstance(X, np.ma.MaskedArray):
        return X
    if not np.ma.is_masked(X):
        return X.data
    if missing != "nan":
        raise DataError(
            f"X has {int(np.ma.getmaskarray(X).sum())} masked entries of {X.size}; take them for "
            "missing entries with missing='nan', or replace them, as X.filled(0.0) does"
        )
    dtype = X.dtype if X.dtype.kind == "f" else np.float64
    return np.ma.filled(X.astype(dtype), np.nan)


def _refuse_containers(X: Any) -> None:
    """Refuse what holds arrays but is none, and h5py's objects of a file that is closed.

    Raises
    ------
    UsageError
        For a file or group of arrays.
    DataError
        For a closed file.
    """
    _refuse_closed(X, "X")
    if hasattr(X, "tocsr"):  # some of SciPy's sparse matrices are mappings
        return
    if isinstance(X, Mapping) or (hasattr(X, "arrays") and hasattr(X, "members")):  # Zarr's group
        names = ", ".join(shown(name, 40) for name in islice(X, 5)) or "nothing"
        raise UsageError(
            f"X is a {type(X).__name__}, which holds arrays by name ({names}) and is none; give "
            "one of them, as FILE['NAME'], or ddnmf_np.data.streaming.sources.stream('PATH::NAME')"
        )


def _refuse_closed(array: Any, name: str) -> None:
    """Refuse what h5py has closed, of which not even the shape can be asked any more."""
    if type(array).__module__.partition(".")[0] == "h5py" and not array:
        raise DataError(
            f"{name} is a {type(array).__name__} of an HDF5 file that is closed; open the file "
            "again, and keep it open until this is done"
        )


def _check_out(out: Any, shape: tuple[int, int]) -> None:
    """Refuse what codes cannot be written to: between 0 and 1, integers would all be 0."""
    _refuse_closed(out, "out")
    if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise DataError(
            f"out is a {type(out).__name__}; expected an array of shape {shape} and dtype float32 "
            f"or float64, such as numpy.empty({shape})"
        )
    if tuple(out.shape) != shape:
        raise DataError(f"out has shape {tuple(out.shape)}; expected {shape}")
    if getattr(out.dtype, "kind", None) != "f":
        raise DataError(
            f"out has dtype {out.dtype}, which cannot hold codes between 0 and 1; expected "
            "float32 or float64"
        )


class _Written:
    """An array whose errors, when it is written to, are this package's.

    Parameters
    ----------
    out : array
        What is written to.
    """

    def __init__(self, out: Any) -> None:
        self._out = out

    def __setitem__(self, rows: slice, values: Any) -> None:
        try:
            self._out[rows] = values
        except MemoryError:
            raise
        except Exception as error:  # of any library: read-only, a full disk, a file closed since
            raise OutputError(
                f"out: cannot be written ({error}); give an array that is open for writing"
            ) from error


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"
