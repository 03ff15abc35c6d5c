"""The model as a scikit-learn transformer: samples in, codes H out."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ddnmf_np.backends.select import backend_of
from ddnmf_np.config import DECIDED_BY, OPTIONS, Config, configure
from ddnmf_np.data.defaults import WEIGHTS
from ddnmf_np.data.feed import largest
from ddnmf_np.data.given import (
    is_eight_bit,
    returned,
    taken,
)
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.scaling import Scaling
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import OptionError, UsageError, shown
from ddnmf_np.estimator.fitted import Fitted, checked_count
from ddnmf_np.evaluation.code_clusters import CodeClusters
from ddnmf_np.evaluation.interpret import decode_parts
from ddnmf_np.model import Model
from ddnmf_np.runs.model_file import SAME_HERE, learned_by_run, load_model, save_model
from ddnmf_np.runs.preparation import Prepared, on_host, prepare
from ddnmf_np.runs.progress import Progress
from ddnmf_np.runs.validation import Unexplained, Validation, findings, warn_of
from ddnmf_np.runs.yardsticks import (
    Yardsticks,
    described,
    described_noise,
    noise_fractions,
)
from ddnmf_np.system.command import tell
from ddnmf_np.system.signals import stop_on_interrupt
from ddnmf_np.training import Trainer

NAMES_HERE = {
    "rank": "n_components",
    "epochs": "max_iter",
    "seed": "random_state",
    "noise_kind": "noise",
}
"""Parameters with another name than the option of the command line that they are."""


Callback = Callable[[Trainer], Any]
"""Called after each epoch; training ends if it returns True."""

_WHITE = 255.0
"""Largest value of an unsigned 8-bit number."""

_SHAPE = ("widths", "activation", "output_activation", "base_activation", "recovery_activation")
"""Options of networks that ``warm_start`` cannot change, besides their rank."""

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


class DDNMF(Fitted):
    """Deep denoising non-negative matrix factorization (Chen, Jin, Liu and Zhang, 2021).

    Learns non-negative codes ``H`` of non-negative data (in (0, 1), except with the preset
    "parts"): a student auto-encoder that sees noisy samples and carries an NMF module (equation 3)
    is taught by a supervisor auto-encoder that sees clean ones. Computes in the precision of the
    data it is fitted on: float32 trains about twice as fast as float64.

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
        Largest number of epochs, which are passes over the data. With the presets "auto" and
        "parts" the data decide; else 30.
    batch_size : int or "auto", default="auto"
        Samples a step. With the presets "auto" and "parts" the data decide; else 128, or all
        samples if there are fewer.
    scale : {"auto", "none", "all", "features"}, default="auto"
        Scaling that is learned from the samples and undone in every result: the range of all their
        values becomes [0, 1] ("all"), or that of each feature ("features", for mixed units). With
        the presets "auto" and "parts" the data decide; else it is "none".
    validation_fraction : float or "auto", default="auto"
        Share of the samples that `fit` holds out, to keep the weights that reconstruct these best.
        With the presets "auto" and "parts" it is 0.1; else 0. `partial_fit` holds none out, nor
        does `fit` of streamed samples or of fewer than 10.
    patience : int, default=0
        Looks at the held-out samples (about a hundred in a whole `fit`) without an improvement,
        after which `fit` ends; 0 for never.
    tol : float, default=1e-3
        Smallest improvement that counts for ``patience``, as a share of the unexplained fraction.
    missing : {"error", "nan"}, default="error"
        Whether NaN in the samples is refused, or an entry that is missing: the networks see the
        mean of the feature there, and no loss compares with it. See `impute`.
    image_shape : tuple of two ints or None, default=None
        Height and width of the images that samples are; needed where the noise moves them.
    backend : {"numpy", "cupy", "auto"} or None, default=None
        Where to compute; None is the backend that the array given to `fit` lives on.
    fast : {"auto", "on", "off"}, default="auto"
        Numba's loops on the CPU: where installed, always, never.
    n_clusters : int or None, default=None
        Clusters for `predict` and ``labels_``; by default ``n_components``. Training does not
        depend on it: after a change, `predict` needs no new `fit`.
    warm_start : bool, default=False
        Whether `fit` trains the fitted networks on instead of new ones. They keep their shape,
        their scaling and what the data decided at first; the optimizer and its learning-rate
        schedule begin again.
    random_state : int, RandomState or None, default=None
        Of weights, order, noise and clusters. An int is the command line's ``--seed``.
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
        some, else of the training rows; see `score`. `partial_fit` on fitted networks removes it.
    baselines_ : dict of str to float
        The same fraction for others: ``mean`` (1.0), ``noise`` (what noise as in training adds to
        the samples), and ``pca`` and ``nmf`` of the same rank unless entries are missing. The last
        two are fitted to at most 5,000 of the training samples, and all are measured on at most
        5,000 of the rows of ``reconstruction_err_``. This happens when you first ask, or at the end
        of a ``verbose`` `fit`, which prints them. Until then the estimator keeps these samples (at
        most 128 MiB); pickles and files of `save` have only the numbers, if they are known.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, where the data had such.
    labels_ : ndarray of shape (n_samples,)
        Cluster of each sample of the last `fit` or `partial_fit`, found when first asked for.

    Notes
    -----
    Arrays come back on the backend on which the data came: CuPy in, CuPy out. Arrays of other
    libraries that share memory by DLPack (PyTorch, JAX, ``array_api_strict``) come back in theirs,
    and ``components_`` is in the library of the samples of `fit`.

    With ``set_output(transform="pandas")``, `transform`, `denoise`, `impute` and
    `inverse_transform` return data frames.

    `save` and `load` keep a fitted estimator in one file without pickle; `from_run` opens what
    ``python -m ddnmf_np.train`` has trained.

    Unsigned 8-bit samples are taken for grey values. With a preset that scales nothing ("paper",
    "demo", "stable") the networks see them divided by 255, as the command line's do, unless none is
    above 1. What comes back is in the units of the samples.

    Ctrl-C during `fit` ends training, keeps the weights (with held-out rows the best ones), and
    warns; before the end of the first epoch, and at the second Ctrl-C, it interrupts as usual. The
    first Ctrl-C after the last step changes nothing, because `fit` ends soon.

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
        scale: str = "auto",
        validation_fraction: Any = "auto",
        patience: int = 0,
        tol: float = 1e-3,
        missing: str = "error",
        image_shape: Any = None,
        backend: str | None = None,
        fast: str = "auto",
        n_clusters: int | None = None,
        warm_start: bool = False,
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
        self.scale = scale
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.missing = missing
        self.image_shape = image_shape
        self.backend = backend
        self.fast = fast
        self.n_clusters = n_clusters
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # -- learning -------------------------------------------------------------------------

    @_all_or_nothing
    def fit(self, X: Any, y: Any = None, *, callbacks: Iterable[Callback] = ()) -> Self:
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
        callbacks : iterable of callables
            Each is called with the `Trainer` after each epoch: ``trainer.history[-1]`` is the
            epoch's record, and ``trainer.model`` the networks. Training ends if one returns True.

        Returns
        -------
        DDNMF
            Itself.

        Raises
        ------
        UsageError
            If a parameter cannot be used, or with ``warm_start`` does not suit the fitted networks.
        DataError
            If the samples are negative, not finite (but for NaN with ``missing="nan"``), or fewer
            than ``batch_size``.
        DivergedError
            If training produces a value that is not finite.
        """
        warm = self.warm_start and hasattr(self, "model_")
        if warm:
            self._check_complete("warm_start")
        given, X = X, taken(X)
        eight_bit = is_eight_bit(X)
        X = self._samples(X, reset=not warm)
        prepared = self._prepare(X, eight_bit=eight_bit, warm=warm)
        config = prepared.config
        model, trainer = self._make(prepared)
        if self.verbose and prepared.decided:
            tell(prepared.choices(), sys.stderr)
        if warm:
            model.load_state(self.model_.state())
            trainer.history = list(self.loss_history_)
            trainer.position.epoch = trainer.epochs_before = self.n_iter_
            trainer.epochs += self.n_iter_
        unexplained = Unexplained(model, prepared.some)
        if prepared.held_out is not None:
            trainer.stopping = Validation.of(config, unexplained, prepared.held_out)
        with stop_on_interrupt(trainer) as interrupted:
            self._train(trainer, trainer.epochs, interrupted, callbacks)
            self.components_ = returned(self._parts(model), given)
            self._know(X, prepared, unexplained, from_bytes=warm and self._from_bytes)
            self.n_samples_seen_ = X.shape[0]
            rows = prepared.some if prepared.held_out is None else prepared.held_out
            self.reconstruction_err_ = unexplained.of(rows)
            student, noise = noise_fractions(trainer, unexplained, rows)
            more = {"noise": noise} if noise > 0.0 and math.isfinite(noise) else {}
            self._yardsticks = Yardsticks(unexplained, prepared.some, rows, more)
            if self.verbose:
                end = trainer.stopping
                lines = [end.described(trainer)] if isinstance(end, Validation) else []
                lines += [described(self.reconstruction_err_, self.baselines_)]
                lines += described_noise(student, noise) if more else []
                tell("\n".join(filter(None, lines)), sys.stderr)
            found = findings(unexplained, model, rows)
        warn_of(found)
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
        if not first:
            self._check_complete("partial_fit")
        X = taken(X)
        eight_bit = is_eight_bit(X)
        X = self._samples(X, reset=first)
        seen = 0 if first else self.n_samples_seen_
        prepared = self._prepare(X, eight_bit=eight_bit, one_pass=True) if first else None
        config = self.config_ if prepared is None else prepared.config
        schedule = config.optimizer.lr_schedule
        if schedule != "constant" and config.objective.preset not in DECIDED_BY:
            raise UsageError(
                f"lr_schedule is {schedule!r}, which needs to know the last epoch, and partial_fit "
                "has none; use fit, or lr_schedule='constant' in optimizer=Descent(...)"
            )
        if prepared is not None:
            model, trainer = self._make(prepared)
            with stop_on_interrupt(trainer) as interrupted:
                self._train(trainer, 1, interrupted)
                self._know(X, prepared, Unexplained(model, prepared.some))
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
                with stop_on_interrupt(trainer) as interrupted:
                    self._train(trainer, self.n_iter_ + 1, interrupted)
                    self._clusters = self._codes_of(X)
            except BaseException:  # Ctrl-C too: what was learned before stays usable
                model.load_state(before, steps)
                raise
            if hasattr(self, "reconstruction_err_"):
                del self.reconstruction_err_  # was that of other weights
            self._yardsticks = None
        self.n_samples_seen_ = seen + X.shape[0]
        return self

    def fit_predict(self, X: Any, y: Any = None, *, callbacks: Iterable[Callback] = ()) -> Any:
        """Do `fit`, and return the cluster of each sample; see `predict`."""
        self.fit(X, y, callbacks=callbacks)
        return returned(self.labels_, X) if self._known_clusters().complete else self.predict(X)

    def _check_complete(self, name: str) -> None:
        """Refuse to train a model that has no supervisor."""
        if self._student_only:
            raise UsageError(
                f"{name}: this model was loaded without its supervisor and cannot be trained on; "
                "save it with supervisor=True, or train a new one by fit without warm_start"
            )

    def _know(
        self, X: Any, prepared: Prepared, unexplained: Unexplained, *, from_bytes: bool = False
    ) -> None:
        """Keep what was learned besides the networks."""
        self.config_, self.unexplained_ = prepared.config, unexplained
        self._clusters = self._codes_of(X, prepared.some)
        self._from_bytes, self._student_only = from_bytes, False
        self._yardsticks = None

    def _codes_of(self, X: Any, some: Any = None) -> CodeClusters:
        """Return the codes of samples, ready to be clustered; of streamed ones those of some."""
        streamed = isinstance(X, Rows)
        if streamed:
            X = on_host(X) if some is None else some
        codes = self.model_.ops.to_host(self.model_.encode(X))
        return CodeClusters(codes, self.config_.training.seed, complete=not streamed)

    def _prepare(
        self, X: Any, *, eight_bit: bool, one_pass: bool = False, warm: bool = False
    ) -> Prepared:
        """Return samples and options of a fit; ``one_pass`` if we do not know the last pass."""
        config = self._configure(X, one_pass=one_pass)
        if warm:
            config = self._continued(config)
        prepared = prepare(X, config, config.data.image_shape)
        if warm:
            return replace(prepared, scaling=self.model_.scaling)
        scales = prepared.config.data.scale != "none"
        if eight_bit and not scales and bool((prepared.some > 1).any()):
            n_features = X.shape[1]  # as the command line divides them, and back on the way out
            fill = None if prepared.scaling is None else prepared.scaling.fill
            fill = None if fill is None else fill / _WHITE
            grey = Scaling(np.zeros(n_features), np.full(n_features, _WHITE), fill)
            return replace(prepared, scaling=grey)
        return prepared

    def _continued(self, config: Config) -> Config:
        """Return options that suit the fitted networks; what the data decided stays decided."""
        before = self.config_
        config = configure(config, **{name: before[name] for name in config.undecided})
        config = replace(config, undecided=frozenset())
        for name in ("rank", *_SHAPE, "base_bias", "missing", "scale"):
            if config[name] != before[name]:
                raise UsageError(
                    f"{NAMES_HERE.get(name, name)} is {config[name]!r}, but the fitted networks "
                    f"have {before[name]!r}, and warm_start trains them on; put it back, or set "
                    "warm_start=False"
                )
        return config

    def _make(self, prepared: Prepared) -> tuple[Model, Trainer]:
        config, x = prepared.config, prepared.x
        ops, scaling = config.execution.get_ops(), prepared.scaling
        model = config.make_model(x.shape[1], ops, scaling=scaling)
        high = None
        if (
            scaling is not None
            and config.data.scale == "none"
            and bool((scaling.span == _WHITE).all())
        ):
            # Grey values are divided by 255, and the largest may be smaller.
            high = largest(x, ops, missing=model.missing) / _WHITE
        return model, config.make_trainer(model, x, batch_size=self._batch(x, config), high=high)

    def _configure(self, X: Any, *, one_pass: bool = False) -> Config:
        """Return the options of a model for samples like these; the data may decide some yet."""
        options: dict[str, Any] = {name: getattr(self, name) for name in SAME_HERE}
        options |= {"rank": self.n_components, "epochs": self.max_iter, "dtype": X.dtype.name}
        if self.n_clusters is not None:
            checked_count("n_clusters", self.n_clusters)  # now, not after minutes
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
        if one_pass:
            options |= {"validation_fraction": 0.0, "patience": 0}
        if options["objective"] in DECIDED_BY and one_pass and "optimizer" not in objects:
            options["lr_schedule"] = "constant"
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

    def _train(
        self,
        trainer: Trainer,
        epochs: int,
        interrupted: list[int],
        callbacks: Iterable[Callback] = (),
    ) -> None:
        progress = Progress(trainer, epochs) if self.verbose else None
        callbacks = _checked(callbacks)
        before = trainer.position.epoch

        def on_epoch(trainer: Trainer) -> None:
            if progress is not None:
                progress.on_epoch(trainer)
            answers = [callback(trainer) for callback in callbacks]
            trainer.stop_requested |= any(
                isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers
            )

        try:
            on_step = progress.on_step if progress else None
            finished = trainer.train(epochs, on_step=on_step, on_epoch=on_epoch)
        finally:
            if progress is not None:
                progress.close()
        if not finished:
            done = trainer.position.epoch - before
            if interrupted and done == 0:
                raise KeyboardInterrupt
            if trainer.stopping is not None:
                trainer.stopping.finish(trainer)
            if interrupted:
                warnings.warn(
                    f"DDNMF was interrupted after {done} of {epochs - before} epochs and keeps its "
                    "weights; set_params(warm_start=True).fit(X) trains max_iter epochs more",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        model = self.model_ = trainer.model  # only now: what was not trained is not fitted
        self.loss_history_ = trainer.history
        self.n_iter_ = trainer.position.epoch
        self.data_max_ = trainer.noise.high
        self.components_ = self._parts(model)

    @staticmethod
    def _parts(model: Model) -> Any:
        return decode_parts(
            lambda H: model.ops.to_host(model.decode(H)), model.architecture.rank, model.dtype.name
        )

    def _batch(self, X: Any, config: Config) -> int | None:
        return min(config.training.batch_size, X.shape[0]) if _is_auto(self.batch_size) else None

    # -- files ----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, supervisor: bool = False) -> None:
        """Write the fitted estimator to one file, without pickle.

        Parameters
        ----------
        path : path_like
            File to write or replace; an .npz archive.
        supervisor : bool, default=False
            Write the supervisor and what the optimizer remembers, too. The file is then about six
            times as large, and what is loaded from it can be trained on.

        Raises
        ------
        UsageError
            If the estimator was loaded without its supervisor, and it is asked for.
        OutputError
            If the file cannot be written; what was there is untouched.

        See Also
        --------
        load : Read the file.
        """
        check_is_fitted(self, "model_")
        save_model(path, self, supervisor=supervisor)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, backend: str = "numpy") -> Self:
        """Return a saved estimator.

        It gives the results of the saved one, bit by bit on the same machine and backend.
        A ``random_state`` that was a generator is None, and ``labels_`` are not kept.

        Parameters
        ----------
        path : path_like
            File that `save` has written.
        backend : {"numpy", "cupy", "auto"}, default="numpy"
            Where to compute, whatever the model was trained on.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, of another kind, or of another format.
        BackendError
            If the backend cannot run.
        """
        return cls._made(*load_model(path, backend, cls._get_param_names()))

    @classmethod
    def from_run(cls, path: str | os.PathLike[str], *, backend: str = "numpy") -> Self:
        """Return the estimator of a run of ``python -m ddnmf_np.train``.

        A run keeps no training codes, so `predict` raises `UsageError` and there are no
        ``labels_``; ``python -m ddnmf_np.transform --what clusters`` clusters a file.

        Where the run's samples were unsigned 8-bit numbers, which the command line divides by 255,
        such samples are divided here, too; others must be in [0, 1].

        Parameters
        ----------
        path : path_like
            Folder of the run, or its ``checkpoint.npz``.
        backend : {"numpy", "cupy", "auto"}, default="numpy"
            Where to compute, whatever the model was trained on.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, or it is damaged or of another format.
        BackendError
            If the backend cannot run.
        """
        return cls._made(*learned_by_run(path, backend))

    @classmethod
    def _made(cls, params: dict[str, Any], learned: dict[str, Any]) -> Self:
        made = cls(**params)
        made.__dict__.update(learned)
        made.components_ = made._parts(made.model_)
        return made


def _checked(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks as a list, or raise `UsageError`."""
    found: list[Any] = [callbacks] if callable(callbacks) else list(callbacks or ())
    for callback in found:
        if not callable(callback):
            raise UsageError(
                f"callbacks has {shown(callback)}, which cannot be called; give functions"
            )
    return found


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"
