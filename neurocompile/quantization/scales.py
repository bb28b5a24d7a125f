"""How large one integer step of a weight is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from neurocompile.ir.arrays import uniform_grid
from neurocompile.ir.ops import Array

__all__ = ["FEW_BITS", "METHODS", "SCALES", "Method", "Scales", "chosen_method", "group_scales"]

Method = Literal["max", "percentile", "membrane"]
METHODS: tuple[Method, ...] = get_args(Method)

Scales = Literal["auto", "max", "percentile", "membrane"]
SCALES: tuple[Scales, ...] = get_args(Scales)

FEW_BITS = 6
"""From so many bits of a weight up all methods are the same within noise (docs/quantization.md)."""

_PERCENTILE = 99.9
# Least squares tries these parts of the largest weight as the end of the range.
_FRACTIONS = np.linspace(1.0, 0.4, 31)


_AUTO_SAMPLES = 8
_AUTO_PRODUCTS = 5e9
"""So many samples, and products in all (some seconds of a core), at most choose scales that nobody asked for."""


def chosen_method(scales: Scales, bits: int, samples: int, products: float) -> tuple[Method, int]:
    """What "auto" stands for, and how many samples choose the scales.

    It is "membrane" for weights of fewer than 6 bits, on up to 8 samples: as many as do not take long, and "max" where
    one alone would, or there are none.

    Args:
        scales: as the user said.
        bits: of a weight, sign included.
        samples: how many calibration data there are, or examples.
        products: of a weight and an event in a run of one sample, events that are 0 included.
    """
    if scales != "auto":
        return scales, samples
    few = min(samples, _AUTO_SAMPLES, int(_AUTO_PRODUCTS / max(products * len(_FRACTIONS), 1.0)))
    return ("membrane", few) if few and bits < FEW_BITS else ("max", 0)


def group_scales(
    rows: Sequence[Array],
    groups: Sequence[Array],
    bits: int,
    method: Method,
    membrane_error: Callable[[Sequence[Array]], Sequence[Array]] | None,
) -> tuple[Array, Array]:
    """One scale for each group of rows, and whether its weights lie on a grid and are kept exactly.

    Args:
        rows: for each synapse its weights ``[row, weight]``.
        groups: for each synapse the group of each row.
        bits: of a weight, sign included; integers reach from ``-(2**(bits-1) - 1)`` to its negative.
        method: "max" (no weight is clipped), "percentile" (the 99.9th of the absolute weights), or "membrane" (the
            scale with the least squared error of the membrane on calibration data).
        membrane_error: for "membrane": from quantized rows to the squared error of each row of each synapse.

    Returns:
        ``scales[group]`` (positive) and ``exact[group]``.
    """
    largest = 2 ** (bits - 1) - 1
    count = max(int(g.max(initial=-1)) for g in groups) + 1
    members = [
        np.concatenate([r[g == number].ravel() for r, g in zip(rows, groups)] or [np.zeros(0)])
        for number in range(count)
    ]
    grids = [uniform_grid(weights, largest) for weights in members]
    exact = np.array([grid is not None for grid in grids])
    tops = np.array([np.abs(weights).max(initial=0.0) for weights in members])
    if method == "percentile":
        tops = np.array([np.percentile(np.abs(weights), _PERCENTILE) if weights.size else 0.0 for weights in members])
    elif method == "membrane":
        assert membrane_error is not None
        best, found = np.full(count, np.inf), tops.copy()
        for fraction in _FRACTIONS:
            scales = np.where(tops > 0, tops * fraction / largest, 1.0)
            clipped = [_rounded(r, scales[g], largest) * scales[g][:, None] for r, g in zip(rows, groups)]
            error = np.zeros(count)
            for e, g in zip(membrane_error(clipped), groups):
                np.add.at(error, g, e)
            found = np.where(error < best, tops * fraction, found)
            best = np.minimum(error, best)
        tops = found
    scales = np.where(tops > 0, tops / largest, 1.0)
    scales = np.array([scale if grid is None else grid for scale, grid in zip(scales, grids)])
    return scales, exact


def _rounded(rows: Array, scales: Array, largest: int) -> Array:
    return np.clip(np.rint(rows / scales[:, None]), -largest, largest)
