"""Orders in which the neurons of a layer may have been numbered."""

from __future__ import annotations

from itertools import permutations, product
from math import prod

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["IDENTITY", "MOST_NEURONS", "cycles", "symmetric"]

IDENTITY = "as it is"
MOST_NEURONS = 4096
"""Layers with more are only held against the symmetric orders: what fires with what would take too much memory."""

_AXES = {1: ("neuron",), 2: ("row", "column"), 3: ("channel", "row", "column")}


def symmetric(shape: tuple[int, ...]) -> dict[str, Array]:
    """The orders that people number a map in: which neuron has each address, ``[neurons]``, by what it is called.

    Args:
        shape: of the layer; the identity is rows first (the last axis fastest).
    """
    size = prod(shape)
    names = _AXES.get(len(shape), tuple(f"axis {i}" for i in range(len(shape))))
    found = {IDENTITY: np.arange(size)}
    seen = {found[IDENTITY].tobytes()}
    mirrored = range(max(0, len(shape) - 2), len(shape))
    for axes in permutations(range(len(shape))) if len(shape) <= 4 else [tuple(range(len(shape)))]:
        for flips in product((False, True), repeat=len(mirrored)):
            flipped = tuple(axis for axis, flip in zip(mirrored, flips) if flip)
            order = np.flip(np.arange(size).reshape(shape), flipped).transpose(axes).ravel()
            if order.tobytes() in seen:
                continue
            seen.add(order.tobytes())
            words = [] if list(axes) == sorted(axes) else ["axes in the order " + ", ".join(names[i] for i in axes)]
            words += [f"{names[axis]}s mirrored" for axis in flipped]
            found["; ".join(words)] = order
    return found


def cycles(order: Array, before: Array) -> list[Array]:
    """The addresses that change places with one another between two orders, in groups."""
    inverse = np.empty(len(before), np.int64)
    inverse[before] = np.arange(len(before))
    follows = inverse[order]  # the address that had the neuron which this address has now
    left = set(np.flatnonzero(follows != np.arange(len(order))).tolist())
    found = []
    while left:
        at = start = min(left)
        group = []
        while True:
            left.discard(at)
            group.append(at)
            at = int(follows[at])
            if at == start:
                break
        found.append(np.array(group))
    return found
