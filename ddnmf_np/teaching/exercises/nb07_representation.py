"""Exercises of notebook 7: scores, and the meaning of the units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.evaluation.interpret import Decoder, decode_parts, unit_effects
from ddnmf_np.evaluation.metrics import assign_clusters, clustering_accuracy
from ddnmf_np.teaching.exercise import Exercise, Floats, pencil

Ints = npt.NDArray[np.int64]

_SIZES = ((17, 3, 7), (23, 4, 5), (11, 2, 9))
"""(n, rank, D) of each problem."""

_CONFUSIONS = (
    ((0, 10, 9), (0, 9, 1), (6, 0, 2)),
    ((0, 12, 11, 0), (2, 11, 2, 0), (6, 0, 0, 2), (3, 0, 0, 4)),
    ((0, 6, 5), (1, 5, 0), (3, 0, 2)),
)
"""Counts of classes by clusters. The best matching scores differently from the greedy one, and
from the largest entries of the rows or of the columns."""


def _clusters_problem(seed: int) -> tuple[Ints, Ints]:
    counts = np.array(_CONFUSIONS[seed])
    y, clusters = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    order = np.random.default_rng([seed, 15]).permutation(len(y))
    return y[order], clusters[order]


def _greedy(y: Any, clusters: Any) -> float:
    counts = assign_clusters(y, clusters).matrix.astype(float)
    right, total = 0.0, counts.sum()
    for _ in range(len(counts)):
        row, column = np.unravel_index(np.argmax(counts), counts.shape)
        right += counts[row, column]
        counts[row], counts[:, column] = -1.0, -1.0
    return right / float(total)


def _purity(y: Any, clusters: Any) -> float:
    counts = assign_clusters(y, clusters).matrix
    return float(counts.max(axis=0).sum() / counts.sum())


def _decoder(seed: int) -> tuple[Decoder, Floats]:
    """Return a nonlinear decoder, and codes."""
    n, rank, width = _SIZES[seed]
    rng = np.random.default_rng([seed, 16])
    W, b = rng.normal(size=(width, rank)), rng.normal(size=width)
    H = rng.beta(0.6, 1.1, size=(n, rank))
    return lambda codes: np.asarray(np.logaddexp(0.0, codes @ W.T + b)), H


def _effects_between(decode: Any, H: Any, ends: tuple[float, float], middle: Any) -> Floats:
    """Return the effects between other percentiles, or around another code."""
    low, high = np.quantile(H, ends, axis=0)
    rows = []
    for k in range(H.shape[1]):
        up, down = middle(H, axis=0), middle(H, axis=0)
        up[k], down[k] = high[k], low[k]
        rows.append(decode(up[None])[0] - decode(down[None])[0])
    return np.array(rows)


def _swap(H_a: Floats, H_b: Floats) -> Floats:
    return np.where(np.eye(len(H_a)) == 1, H_b, H_a)


def _gap(decode: Decoder, H: Floats) -> Floats:
    parts = np.asarray(decode_parts(decode, H.shape[1], H.dtype))
    whole = decode(H)
    return np.asarray(np.linalg.norm(whole - H @ parts, axis=1) / np.linalg.norm(whole, axis=1))


EXERCISES = (
    Exercise(
        name="clustering-accuracy",
        nudge=(
            "the number of a cluster means nothing. Count first, then look for the best way "
            "to name the clusters."
        ),
        task=(
            "a function that returns ACC, a number: the share of samples whose cluster is matched "
            "to their class, under the best one-to-one matching. Classes and clusters are "
            "numbered from 0, and there are equally many of both."
        ),
        hint=(
            "count the samples of each class in each cluster; then try every matching with "
            "itertools.permutations, or use scipy.optimize.linear_sum_assignment."
        ),
        blocks=("acc",),
        problem=_clusters_problem,
        reference=lambda y, clusters: clustering_accuracy(y, clusters),
        mistakes={
            "You compared the numbers of classes and clusters, but a cluster's number means "
            "nothing.": lambda y, clusters: np.mean(y == clusters),
            "That is the purity: in a matching, two clusters cannot share a class.": _purity,
            "Taking the largest entry first does not give the best matching.": _greedy,
        },
    ),
    Exercise(
        name="unit-effects",
        nudge=(
            "one unit moves, the others stay at their median. How many codes do you need to decode?"
        ),
        task=(
            "a function that returns the effect of each unit, shape (rank, D): row k is "
            "decode(median code with unit k at its 95th percentile) minus decode(the same with "
            "unit k at its 5th percentile). decode takes codes (any number, rank) and returns "
            "as many images, (the same number, D)."
        ),
        hint=(
            "np.quantile(H, [0.05, 0.5, 0.95], axis=0) gives low, median and high of every unit; "
            "copy the median before you change an entry."
        ),
        blocks=("effects",),
        problem=_decoder,
        reference=unit_effects,
        mistakes={
            "You moved the unit between its extremes; use the 5th and 95th percentiles.": (
                lambda decode, H: _effects_between(decode, H, (0.0, 1.0), np.median)
            ),
            "You left the other units at their mean; use their median.": (
                lambda decode, H: _effects_between(decode, H, (0.05, 0.95), np.mean)
            ),
            "You subtracted high from low; subtract low from high.": (
                lambda decode, H: -unit_effects(decode, H)
            ),
        },
    ),
    Exercise(
        name="swap-units",
        nudge="begin with rank copies of H_a. Which single entry of each row changes?",
        task=(
            "a function that returns codes of shape (rank, rank): row k is H_a, with only unit k "
            "taken from H_b."
        ),
        hint="start from np.tile(H_a, (rank, 1)) and write H_b on its diagonal.",
        blocks=("codes",),
        problem=lambda seed: tuple(_decoder(seed)[1][:2]),
        reference=_swap,
        mistakes={
            "That is H_b with one unit of H_a; swap the two.": lambda H_a, H_b: _swap(H_b, H_a),
        },
    ),
    Exercise(
        name="additivity-gap",
        nudge=(
            "decode the unit vectors to get the parts. What would an additive decoder make of "
            "the code?"
        ),
        task=(
            "a function that returns, for each code in H (n, rank), how far the decoded image is "
            "from the sum of its parts: ||decode(H) - H @ parts|| / ||decode(H)||, shape (n,). "
            "Row k of parts (rank, D) is the decoded unit vector k."
        ),
        hint="parts = decode(np.eye(rank)); take norms along axis 1, one for each sample.",
        blocks=("gap",),
        problem=_decoder,
        reference=_gap,
        mistakes={
            "You divided by the norm of the sum; divide by the norm of the image.": (
                lambda decode, H: (
                    _gap(decode, H)
                    * np.linalg.norm(decode(H), axis=1)
                    / np.linalg.norm(H @ decode(np.eye(H.shape[1])), axis=1)
                )
            ),
            "You forgot to divide by the norm of the image.": lambda decode, H: (
                _gap(decode, H) * np.linalg.norm(decode(H), axis=1)
            ),
        },
    ),
    pencil(
        "pencil-purity",
        {"ACC": 0.5, "purity": 0.7},
        {
            "You took the largest count of each row; purity asks each cluster, a column.": (
                0.5,
                0.6,
            ),
        },
        task="a function without arguments that returns ACC and purity, computed by hand.",
        nudge="ACC gives each class to one cluster; purity lets two clusters have the same class.",
        hint="ACC is max(40 + 10, 30 + 20) / 100; purity is (40 + 30) / 100.",
    ),
)
