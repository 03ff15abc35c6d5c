"""Arithmetic of the engine: the readable form, and the truth that every faster form must equal.

Every operation writes into memory that the caller owns (``out``, or the argument that its
summary names), allocates nothing on NumPy (except `Ops.warp` and its parts), and runs on any array
module ``xp`` with its interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.philox import LOW_WORD, Words, philox4x32

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array, or the array of another module with the same interface (CuPy)."""


Epoch: TypeAlias = int | Array
"""Number of an epoch; on a device, or an int64 array of shape (1,) that holds it, which recorded
work reads anew at every step."""

Rate: TypeAlias = float | Array
"""A learning rate, or an array of shape (1,) that holds it."""

Scales: TypeAlias = tuple[float, float] | Array
"""Adam's step size and epsilon, or an array of shape (2,) that holds them."""


class DirectGradient(NamedTuple):
    """A direct gradient ``Grad[h] += c (h - ref)`` (equation 10), and where its loss is added.

    Attributes
    ----------
    ref : ndarray of shape (n, width)
        What a loss term compares the layer's output with.
    c : float
        ``2 weight / N``.
    total : ndarray of shape (1,), float64, or None
        ``||h - ref||^2`` is added to it (equations 4 to 6), where it is given.
    """

    ref: Array
    c: float
    total: Array | None = None


class Motion(NamedTuple):
    """Ranges of the random motion of images; see `ddnmf_np.data.affine.Affine`.

    Attributes
    ----------
    shift : float
        Largest shift along each axis, in pixels.
    rotation : float
        Largest angle in either direction, in radians.
    zoom : float
        Largest change of size, as a share of it.
    shear : float
        Largest shear: columns by which a row moves for each row that it is off the centre.
    """

    shift: float
    rotation: float
    zoom: float
    shear: float


Activation = Literal["identity", "relu", "sigmoid", "tanh", "softplus"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
"""Activations whose derivative is a function of their output, so that only ``h`` is kept."""

_BLOCK = 1 << 17
"""Elements that an optimizer treats at a time, few enough to stay in the cache between passes.

A step of Adam over 6.6 million parameters takes 14 ms this way and 21 ms in one sweep; blocks of
2^13 take 27 ms, for the calls.
"""


class Ops:
    """Operations of the equations on an array module.

    Parameters
    ----------
    xp : module
        NumPy, or a module with its interface.
    """

    name = "numpy"
    on_host = True
    """Whether reading a value costs nothing; on a device it waits for all work before it."""
    matmul_precision = "highest"
    """What was asked of float32 products, see `ddnmf_np.backends.select.get_ops`."""

    def __init__(self, xp: ModuleType = np) -> None:
        self.xp: Any = xp

    # -- memory: the only methods that allocate or move data ------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return uninitialised memory."""
        array: Array = self.xp.empty(shape, dtype)
        return array

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return memory filled with zeros."""
        array: Array = self.xp.zeros(shape, dtype)
        return array

    def to_device(self, array: Any, dtype: Any = None) -> Array:
        """Return the array as a C-contiguous array of this backend (a copy only if needed)."""
        result: Array = self.xp.ascontiguousarray(array, dtype)
        return result

    def to_host(self, array: Array) -> Array:
        """Return the array as a NumPy array (a copy only if it lives elsewhere)."""
        return array

    def synchronize(self) -> None:
        """Wait until all work that was asked for is done."""

    def warm_up(self, dtype: Any) -> None:
        """Compile what is compiled at first use, so that it is not part of a measured time."""

    def device_name(self) -> str:
        """Return what does the arithmetic, in words."""
        return "CPU"

    # -- order of work: what is faster on a device and makes no difference here -----------

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Do two things of which neither touches what the other writes; a device overlaps them."""
        one()
        two()

    def recorder(self) -> Callable[..., None]:
        """Return ``repeat(work, *arrays)``, which does ``work(*arrays)``.

        A device records what work asks for and repeats that. So ``work`` is one and the same at
        every call, allocates nothing, and depends on nothing that changes on the host.
        """
        return _do

    def gather(self, x: Array, index: Array, out: Array) -> None:
        """Copy the rows ``x[index]`` into ``out``."""
        # NumPy buffers (allocates) a take with the default mode; the indices are our own.
        self.xp.take(x, index, axis=0, out=out, mode="clip")

    # -- missing entries (derivations/15-missing-values.md) -------------------------------

    def set_aside_missing(self, x: Array, observed: Array) -> None:
        """Write which entries of ``x`` are not NaN into ``observed``; set those that are to 0.

        Parameters
        ----------
        x : ndarray of shape (n, width)
            Changed in place.
        observed : ndarray of shape (n, width), bool
            Overwritten.
        """
        self.xp.isnan(x, out=observed)
        self.xp.copyto(x, 0.0, where=observed)
        self.xp.logical_not(observed, out=observed)

    def observed_or(self, x: Array, observed: Array, h: Array, out: Array) -> None:
        """Write ``out = x`` where an entry is observed, and ``h`` elsewhere.

        What a loss term then compares ``h`` with differs from it in observed entries alone.
        """
        self.xp.copyto(out, h)
        self.xp.copyto(out, x, where=observed)

    # -- equation 2: x_noisy = x + noise --------------------------------------------------

    def replace(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        limits: tuple[int, int],
        values: tuple[float, float],
        scale: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``scale x`` with entries drawn at random replaced by constants (equation 2).

        ``out = values[0]`` where an entry's random word is below ``limits[0]``, ``values[1]``
        where it is below ``limits[1]``, and ``scale x`` elsewhere. See ``derivations/02-noise.md``.

        Parameters
        ----------
        x : ndarray of shape (n, width)
            Clean rows.
        index : ndarray of shape (n,), int64
            Index in the data set of each row; with key, epoch and feature it determines the word
            (`ddnmf_np.backends.philox.Words`).
        key : tuple of two ints
            Of the generator, each below 2**32.
        epoch : int
            Part of the counter; on a device it may be an array of shape (1,), see `Epoch`.
        limits : tuple of two ints
            At most 2**32; the first is not above the second.
        values : tuple of two floats
            What is put where the word is below the limit.
        scale : float
            Factor of the entries that are kept.
        out : ndarray of shape (n, width)
            Overwritten.
        work : Words
            Overwritten.
        """
        words = work.draw(index, x.shape[1], key, epoch)
        self.xp.multiply(x, scale, out=out)
        # What is below the lower limit lies inside what is below the upper one.
        for limit, value in zip(reversed(limits), reversed(values), strict=True):
            work.set_below(limit, value, words, out)  # equation 2

    def add_gaussian(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        sigma: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``x`` plus normal deviates of standard deviation ``sigma`` (equation 2).

        The arguments are those of `replace`.
        """
        work.normal(sigma, work.draw(index, x.shape[1], key, epoch), out)
        self.xp.add(out, x, out=out)  # equation 2: x + noise

    def warp(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        motion: Motion,
        shape: tuple[int, int],
        out: Array,
    ) -> None:
        """Write images moved at random (equation 2, geometric noise).

        See ``derivations/02-noise.md``.

        Parameters
        ----------
        x : ndarray of shape (n, height * width)
            Images, one a row.
        index : ndarray of shape (n,), int64
            Index in the data set of each row; with key and epoch it determines the motion.
        key : tuple of two ints
            Of the generator, each below 2**32.
        epoch : int
            Part of the counter; on a device it may be an array of shape (1,), see `Epoch`.
        motion : Motion
            Ranges of the motion.
        shape : tuple of two ints
            Height and width.
        out : ndarray of shape (n, height * width)
            Overwritten; must not share memory with `x`.
        """
        self.interpolate(x, self.maps(index, key, epoch, motion), shape, out)

    def maps(self, index: Array, key: tuple[int, int], epoch: Epoch, motion: Motion) -> Array:
        """Return for each image the map from a pixel of the result to where its value comes from.

        Parameters
        ----------
        index : ndarray of shape (n,), int64
            Index in the data set of each row.
        key : tuple of two ints
            Of the generator, each below 2**32.
        epoch : int
            Part of the counter.
        motion : Motion
            Ranges of the motion.

        Returns
        -------
        ndarray of shape (n, 6), float64
            ``a, b, c, d, s, t`` of ``row' = a row + b column + s``, ``column' = c row + d column +
            t``, both measured from the centre of the image. With rows counted downwards, a positive
            angle turns the image clockwise; positive shifts move it up and to the left.
        """
        xp = self.xp
        low = index.astype(xp.uint64)
        block = xp.arange(2, dtype=xp.uint64)[:, None]
        words = philox4x32((block, (low & LOW_WORD)[None], (low >> 32)[None], epoch), key, xp)
        u = (words.astype(xp.float64) + 0.5) * 2.0**-31 - 1.0  # (4, 2, n), uniform on (-1, 1)
        angle = u[0, 0] * motion.rotation
        size = 1.0 + u[1, 0] * motion.zoom
        shear = u[2, 0] * motion.shear
        cos, sin = xp.cos(angle) / size, xp.sin(angle) / size
        result: Array = xp.empty((index.shape[0], 6), xp.float64)
        # Rotation times shear: columns move along with rows, then the image turns.
        result[:, 0], result[:, 1] = cos - sin * shear, -sin
        result[:, 2], result[:, 3] = sin + cos * shear, cos
        result[:, 4], result[:, 5] = u[3, 0] * motion.shift, u[0, 1] * motion.shift
        return result

    def interpolate(self, x: Array, maps: Array, shape: tuple[int, int], out: Array) -> None:
        """Write images seen through affine maps (equation 2, geometric noise).

        A pixel of the result has the value that the image has at the mapped place, interpolated
        between the four nearest pixels; outside of the image it is 0. See
        ``derivations/02-noise.md``.

        Parameters
        ----------
        x : ndarray of shape (n, height * width)
            Images, one a row.
        maps : ndarray of shape (n, 6), float64
            As `maps` returns them; places and weights are computed in float64.
        shape : tuple of two ints
            Height and width.
        out : ndarray of shape (n, height * width)
            Overwritten; must not share memory with `x`.

        Notes
        -----
        The one operation that allocates: up to 15 float64 arrays of the size of the batch, 12 MB
        for 128 images of 28 x 28, which take 14 ms. Its twin in Numba takes no memory and 1.7 ms.
        """
        xp = self.xp
        (height, width), (n, size) = shape, x.shape
        place = xp.arange(size)
        row = place // width - (height - 1) / 2
        column = place % width - (width - 1) / 2
        a, b, c, d, s, t = (maps[:, k, None] for k in range(6))
        y = a * row + b * column + s + (height - 1) / 2
        z = c * row + d * column + t + (width - 1) / 2
        top, left = xp.floor(y), xp.floor(z)
        down, right = y - top, z - left
        value = xp.zeros((n, size))
        for y1, wy in ((top, 1.0 - down), (top + 1.0, down)):
            for z1, wz in ((left, 1.0 - right), (left + 1.0, right)):
                inside = (y1 >= 0.0) & (y1 < height) & (z1 >= 0.0) & (z1 < width)
                source = xp.where(inside, y1 * width + z1, 0.0).astype(xp.int64)
                part = wy * wz * xp.take_along_axis(x, source, axis=1)
                value += xp.where(inside, part, 0.0)
        out[...] = value

    # -- equation 1: h = f(x W^T + b) -----------------------------------------------------

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``out = a @ b``."""
        self.xp.matmul(a, b, out=out)

    def activate(self, kind: str, z: Array, b: Array | None = None) -> None:
        """Overwrite ``z`` with ``f(z + b)`` (equation 1; without bias, equation 3).

        Parameters
        ----------
        kind : str
            One of ``ACTIVATIONS``.
        z : ndarray of shape (n, width)
            Read as ``x W^T``, left as ``h``.
        b : ndarray of shape (width,), optional
            Added to every row.
        """
        xp = self.xp
        if b is not None:
            xp.add(z, b, out=z)  # (n, width) + (width,)
        match kind:
            case "identity":  # f(z) = z
                pass
            case "relu":  # f(z) = max(z, 0)
                xp.maximum(z, 0.0, out=z)
            case "sigmoid":  # f(z) = 1 / (1 + exp(-z))
                xp.negative(z, out=z)
                xp.minimum(z, sigmoid_bound(z.dtype), out=z)
                xp.exp(z, out=z)
                xp.add(z, 1.0, out=z)
                xp.reciprocal(z, out=z)
            case "tanh":  # f(z) = tanh(z)
                xp.tanh(z, out=z)
            case "softplus":  # f(z) = log(1 + exp(z))
                xp.logaddexp(z, 0.0, out=z)
            case _:
                raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")

    # -- equations 9 and 10: delta = f'(z) g ----------------------------------------------

    def delta(
        self,
        kind: str,
        h: Array,
        dh: Array,
        direct: Sequence[DirectGradient],
        work: Array,
        db: Array | None,
    ) -> None:
        """Overwrite the signal ``dh`` from above with ``delta``, and ``db`` with its sum.

        ``g = W^T delta(above) + Grad[h]``, ``delta = f'(z) g``, ``db = sum over rows of delta``
        (equation 9, equation 10), and the distances of the direct gradients for equations 4 to 6:
        all that a layer's backward pass has besides its two matrix products. The steps are the
        four operations below; a faster form does them in one pass.

        Parameters
        ----------
        kind : str
            One of ``ACTIVATIONS``.
        h : ndarray of shape (n, width)
            Output of the layer.
        dh : ndarray of shape (n, width)
            Read as what comes from the layer above, left as ``delta``.
        direct : sequence of DirectGradient
            ``Grad[h]``, the direct gradients at this layer.
        work : ndarray of shape (n, width)
            Overwritten.
        db : ndarray of shape (width,) or None
            Overwritten; None for a layer without bias.
        """
        for ref, c, total in direct:
            if total is not None:
                self.squared_distance(h, ref, work, out=total)
            self.add_direct(h, ref, c, dh, work)
        self.dactivate(kind, h, dh, work)  # equation 9, equation 10: delta = f'(z) g
        if db is not None:
            self.sum_rows(dh, out=db)

    def dactivate(self, kind: str, h: Array, dh: Array, work: Array) -> None:
        """Overwrite the signal ``dh = g`` with ``delta = f'(z) g`` (equation 9, equation 10).

        The paper's ``f'`` is a diagonal matrix; its product with ``g`` is element by element.

        Parameters
        ----------
        kind : str
            One of ``ACTIVATIONS``.
        h : ndarray of shape (n, width)
            Output of the layer. ``f'`` is written as a function of ``h``; at the kink of ReLU
            it is 0.
        dh : ndarray of shape (n, width)
            Read as ``g``, left as ``delta``.
        work : ndarray of shape (n, width)
            Overwritten.
        """
        xp = self.xp
        match kind:
            case "identity":  # f' = 1
                pass
            case "relu":  # f' = 1 where h > 0, else 0
                xp.greater(h, 0.0, out=work)
                xp.multiply(dh, work, out=dh)
            case "sigmoid":  # f' = h (1 - h)
                xp.subtract(1.0, h, out=work)
                xp.multiply(work, h, out=work)
                xp.multiply(dh, work, out=dh)
            case "tanh":  # f' = 1 - h^2
                xp.multiply(h, h, out=work)
                xp.subtract(1.0, work, out=work)
                xp.multiply(dh, work, out=dh)
            case "softplus":  # f' = 1 - exp(-h)
                xp.negative(h, out=work)
                xp.expm1(work, out=work)
                xp.negative(work, out=work)
                xp.multiply(dh, work, out=dh)
            case _:
                raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")

    def sum_outer(self, delta: Array, x: Array, out: Array) -> None:
        """Compute ``out = sum_i delta_i x_i^T``, ``dW`` of equation 9 and equation 10.

        A product of matrices like any other, but one that no other gradient waits for: a device
        computes it beside the signal that goes down to the next layer.
        """
        self.matmul(delta.T, x, out=out)  # (out, n) @ (n, in) -> (out, in)

    def sum_rows(self, delta: Array, out: Array) -> None:
        """Compute ``out = sum over rows of delta``, ``db`` of equation 9 and equation 10."""
        self.xp.sum(delta, axis=0, out=out)  # (n, width) -> (width,)

    # -- equations 4, 5, 6: a loss and its direct gradient, side by side ------------------

    def squared_distance(self, a: Array, b: Array, work: Array, out: Array) -> None:
        """Compute ``out += ||a - b||^2``, the sum in equation 4, equation 5 and equation 6.

        See ``derivations/04-symmetric-loss.md`` and the two after it.

        Parameters
        ----------
        a, b : ndarray of shape (n, width)
            The two sides of a loss term.
        work : ndarray of shape (n, width)
            Overwritten.
        out : ndarray of shape (1,), float64
            Added to, so that an epoch is summed where it is computed. One call's own sum is
            made in the precision of ``a`` (by CuPy's twin in float64).
        """
        self.xp.subtract(a, b, out=work)
        self.xp.add(out, self.xp.vdot(work, work), out=out)  # equation 4, equation 5, equation 6

    def add_direct(self, h: Array, ref: Array, c: float, dh: Array, work: Array) -> None:
        """Compute ``dh += c (h - ref)``, the Grad[h] of equation 10 (and g(L) of equation 9).

        See ``derivations/10-student-gradient.md``.

        Parameters
        ----------
        h, ref : ndarray of shape (n, width)
            Layer output and what the loss compares it with.
        c : float
            ``2 weight / N``.
        dh : ndarray of shape (n, width)
            Added to.
        work : ndarray of shape (n, width)
            Overwritten.
        """
        self.xp.subtract(h, ref, out=work)
        self.xp.multiply(work, c, out=work)
        self.xp.add(dh, work, out=dh)  # equation 10: + Grad[h]; equation 9: g(L)

    # -- equation 8: theta <- theta - rho dL/dtheta ---------------------------------------

    def descend(self, p: Array, g: Array, lr: Rate, work: Array) -> None:
        """Compute ``p -= lr g`` (equation 8).

        See ``derivations/08-descent.md``.

        Parameters
        ----------
        p, g : ndarray of shape (size,)
            Parameters, updated, and their gradients.
        lr : float, or ndarray of shape (1,)
            The learning rate rho. Recorded work reads an array anew at every step.
        work : ndarray of shape (block,)
            Overwritten; its length is the number of elements treated at a time.
        """
        xp = self.xp
        for at in range(0, p.size, work.size):
            pk, gk = p[at : at + work.size], g[at : at + work.size]
            s = work[: pk.size]
            xp.multiply(gk, lr, out=s)
            xp.subtract(pk, s, out=pk)  # equation 8

    def momentum(self, p: Array, g: Array, v: Array, lr: Rate, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v`` (Polyak's heavy ball).

        Parameters
        ----------
        p, g, v : ndarray of shape (size,)
            Parameters, updated; gradients; velocity, updated.
        lr : float, or ndarray of shape (1,)
            Learning rate, as for `descend`.
        mu : float
            Momentum.
        work : ndarray of shape (block,)
            Overwritten; its length is the number of elements treated at a time.
        """
        xp = self.xp
        big = flush_constant(p.dtype)
        for at in range(0, p.size, work.size):
            pk, gk, vk = (a[at : at + work.size] for a in (p, g, v))
            s = work[: pk.size]
            xp.multiply(vk, mu, out=vk)
            xp.add(vk, gk, out=vk)
            xp.add(vk, big, out=vk)
            xp.subtract(vk, big, out=vk)
            xp.multiply(vk, lr, out=s)
            xp.subtract(pk, s, out=pk)

    def adam(
        self,
        p: Array,
        g: Array,
        m: Array,
        v: Array,
        scales: Scales,
        adam_b1: float,
        adam_b2: float,
        work: Array,
    ) -> None:
        """Do a step of Adam (Kingma and Ba, 2015, algorithm 1).

        ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, then
        ``p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)``.

        Parameters
        ----------
        p, g, m, v : ndarray of shape (size,)
            Parameters, updated; gradients; first and second moments, updated.
        scales : tuple of two floats, or ndarray of shape (2,)
            Step size and epsilon of step ``t``, see `adam_scales`. Recorded work reads an array
            anew at every step.
        adam_b1, adam_b2 : float
            Decay of each moment.
        work : ndarray of shape (block,)
            Overwritten; its length is the number of elements treated at a time.
        """
        xp = self.xp
        rate, eps_t = scales
        big, big_v = flush_constant(p.dtype), flush_constant(p.dtype, for_root=True)
        for at in range(0, p.size, work.size):
            pk, gk, mk, vk = (a[at : at + work.size] for a in (p, g, m, v))
            s = work[: pk.size]
            xp.multiply(gk, 1.0 - adam_b1, out=s)
            xp.multiply(mk, adam_b1, out=mk)
            xp.add(mk, s, out=mk)
            xp.add(mk, big, out=mk)
            xp.subtract(mk, big, out=mk)
            xp.multiply(gk, gk, out=s)
            xp.multiply(s, 1.0 - adam_b2, out=s)
            xp.multiply(vk, adam_b2, out=vk)
            xp.add(vk, s, out=vk)
            xp.add(vk, big_v, out=vk)
            xp.subtract(vk, big_v, out=vk)
            xp.sqrt(vk, out=s)
            xp.add(s, eps_t, out=s)
            xp.divide(mk, s, out=s)
            xp.multiply(s, rate, out=s)
            xp.subtract(pk, s, out=pk)

    def write(self, out: Array, *numbers: float) -> None:
        """Write numbers of the host where work that is recorded reads them.

        Parameters
        ----------
        out : ndarray of shape (2,)
            Overwritten.
        *numbers : float
            Two of them.
        """
        out[...] = numbers

    def project_nonnegative(self, p: Array) -> None:
        """Compute ``p = max(p, 0)``, the nearest non-negative point."""
        self.xp.maximum(p, 0.0, out=p)


def _do(work: Callable[..., object], *arrays: Array) -> None:
    work(*arrays)


def adam_scales(
    t: int, lr: float, adam_b1: float, adam_b2: float, adam_eps: float
) -> tuple[float, float]:
    """Return Adam's step size and epsilon with the bias corrections of step ``t`` moved in.

    ``lr (m / c1) / (sqrt(v / c2) + eps) = (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))`` with
    ``c = 1 - b^t``: the same quotient with two passes over the parameters less.
    """
    root_c2 = float((1.0 - adam_b2**t) ** 0.5)
    return lr * root_c2 / (1.0 - adam_b1**t), adam_eps * root_c2


def optimizer_work(ops: Ops, size: int, dtype: Any) -> Array:
    """Return the scratch block that the three descent rules take."""
    return ops.empty((min(size, _BLOCK),), dtype)


def sigmoid_bound(dtype: Any) -> float:
    """Return a bound for ``-z`` that keeps the sigmoid ``h``, and ``h (1 - h)``, normal numbers."""
    return float(-np.log(np.finfo(dtype).tiny)) - 1.0


@cache
def flush_constant(dtype: Any, *, for_root: bool = False) -> float:
    """Return the number that, added and taken away again, keeps moments out of the denormals.

    The moments of a dead unit decay for ever; below the smallest normal number, ``tiny``, each
    multiply of theirs would be some ten times slower. Beside the constant, floating-point numbers
    are at least ``2^41 tiny`` apart (2.6e-26 in float32, nothing beside any weight), so what
    remains after the round trip is zero, or so large that its product with a learning rate above
    1e-12 is normal as well. A second moment meets only its own decay and a root: for it
    (``for_root``) a spacing of ``2 tiny`` is enough, and a larger one would be felt beside a
    small ``adam_eps``.
    """
    info = np.finfo(dtype)
    return float((4.0 if for_root else 2.0**42) * info.tiny / info.eps)
