"""What netx and Lava make of the weights of a layer: which of them arrive as they are.

netx scales a dense layer's weights to the full 8 bits, with a negative exponent for it, and counts how many bits they
need; Lava then clips them and drops the lowest bits, by the signs that it finds. Between the two some weights are lost:
all of them where the largest is 0, or where those of a negative layer reach a power of two. Nothing is said when
that happens. So both are followed here, and what does not arrive exactly is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["dense_fault", "kernel_fault"]

_BITS = 8


def dense_fault(parts: Sequence[Array]) -> str:
    """Why the weights of a dense layer do not arrive exactly; "" if they do.

    Args:
        parts: the weights as they shall act on Lava's ``a_in``, ``[out, in]``: those of the input and, in a recurrent
            layer, those of the layer itself, which share exponent and width.
    """
    weights = np.concatenate([part.ravel() for part in parts])
    low, high = int(weights.min()), int(weights.max())
    if low == high == 0:
        return "they are all 0, which lava-dl's loader divides by"
    signed = low < 0 <= high
    least, most = (-256, 254) if signed else (-255, 255)
    if low < least or high > most:
        return f"they reach from {low} to {high}, and netx holds {least} to {most}"
    scale = _scale_bits(low, high, signed)
    width = _BITS - scale - _zero_bits(weights) + signed
    if not 1 <= width <= _BITS:
        return f"they need {width} bits at one exponent, and a synapse has 1 to {_BITS}"
    for part in parts:
        mantissas = part << scale
        lost = _kept(mantissas, width) != mantissas
        if lost.any():
            weight = int(part[lost][0])
            kept = _kept(mantissas, width)[lost][0] / 2.0**scale
            return f"{weight} becomes {kept:g} (in all, {int(lost.sum())} are altered)"
    return ""


def kernel_fault(weight: Array) -> str:
    """Why the weights of a convolution do not fit the chip's 8 bits; "" if they do (kernels have no exponent)."""
    low, high = int(weight.min()), int(weight.max())
    signed = low < 0 < high
    least, most = (-256, 254) if signed else (-255, 255)
    if low < least or high > most:
        return f"they reach from {low} to {high}, and a synapse holds {least} to {most}"
    if signed and np.any(weight % 2):
        return "some are odd, and signed weights lose their lowest bit"
    return ""


def _scale_bits(low: int, high: int, signed: bool) -> int:
    """By how many bits netx shifts the weights left, so that they fill the mantissa."""
    if not signed:
        return int(np.floor(np.log2(255 / high if high > 0 else -256 / low)))
    room = min(127 / high if high else np.inf, -128 / low)
    return int(np.floor(np.log2(room))) + 1


def _zero_bits(weights: Array) -> int:
    """How many of the lowest bits are 0 in all weights; netx looks at 8."""
    return next(bits for bits in range(_BITS, -1, -1) if not np.any(weights % (1 << bits)))


def _kept(mantissas: Array, width: int) -> Array:
    """What Lava keeps of the mantissas that it is given, as 24-bit sums see them."""
    if mantissas.min() >= 0:
        return _dropped(np.clip(mantissas, 0, 255), _BITS - width)
    if mantissas.max() <= 0:
        return -_dropped(np.clip(-mantissas, 0, 255), _BITS - width)
    return _dropped(np.clip(mantissas, -256, 255), _BITS - width + 1)


def _dropped(mantissas: Array, bits: int) -> Array:
    return (mantissas >> bits) << bits
