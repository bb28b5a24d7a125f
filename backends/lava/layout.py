"""The order of a layer's neurons in Lava: width, height, channel, as its convolutions want them."""

from __future__ import annotations

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["lava_order", "lava_shape", "rank_of"]

Shape = tuple[int, ...]


def lava_shape(shape: Shape) -> Shape:
    """``(C, H, W)`` becomes ``(W, H, C)``, ``(C, L)`` becomes ``(L, 1, C)``; anything else becomes flat."""
    match shape:
        case (channels, height, width):
            return (width, height, channels)
        case (channels, length):
            return (length, 1, channels)
    return (int(np.prod(shape)),)


def lava_order(shape: Shape) -> Array:
    """For each neuron in Lava's order (row-major) its number in the network's order (row-major)."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    if len(shape) in (2, 3):
        numbers = numbers.transpose(tuple(range(len(shape)))[::-1])
    return numbers.ravel()


def rank_of(shape: Shape) -> Array:
    """For each neuron in the network's order its number in Lava's."""
    order = lava_order(shape)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks
