"""The neurons of a layer: one by one in 64 bits, or all steps in registers of 32 bits, where that is proved."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.ops import Array, Neuron
from neurocompile.simulator.engine.events import Range
from neurocompile.simulator.engine.scatter import planes

__all__ = ["Bounds", "by_channel", "in_registers", "parameters", "whole"]

_INT32 = 2**31 - 1
_RESETS = ("to", "by", "none")


def parameters(op: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """The parameters of neurons or integrators as 64-bit numbers, one for all or one for each."""

    def each(value: Any) -> Array:
        value = np.asarray(value)
        return whole(value if value.size == 1 else np.broadcast_to(value, shape))

    found = {"shift": op.shift, "decay": each(op.decay), "bias": each(op.bias), "reset": 0}
    if isinstance(op, Neuron):
        found |= {
            "threshold": each(op.threshold), "flip": each(op.flip), "current_decay": each(op.current_decay),
            "input_bias": each(op.input_bias), "rest": each(op.v_reset), "amount": each(op.amount),
            "keep_after": each(op.keep), "init": each(op.v_init), "strict": op.strict,
            "refractory": op.refractory, "deaf": op.deaf, "max_spikes": op.max_spikes, "reset": _RESETS.index(op.reset),
            "negative": None if op.negative_threshold is None else each(op.negative_threshold),
        }  # fmt: skip
    return found


class Bounds:
    """Interval arithmetic over a layer's registers: whether 32 bits hold every intermediate, whether none overflows."""

    def __init__(self, op: Neuron, arithmetic: Arithmetic, sums: Range, steps: int) -> None:
        fraction = arithmetic.decay_fraction
        scale = 2.0**op.shift
        low, high = sums[0] * scale - 1, sums[1] * scale + 1
        first, bias = _span(op.input_bias), _span(op.bias)
        decay = tuple(d / 2.0**fraction for d in _span(op.decay))
        held = float(arithmetic.state_max + 1)
        current = low + first[0], high + first[1]
        largest = max(-current[0], current[1])
        room = held * max(-decay[0], decay[1], 1) + max(largest, 0) + max(-bias[0], bias[1]) + 2
        values = [_span(p) for p in (op.v_reset, op.v_init, op.amount, op.input_bias, op.bias)]
        mantissa = max(abs(m) for m in _span(op.decay))
        self.in_32_bits = (
            room + max(-values[2][0], values[2][1]) < _INT32
            and max(-sums[0], sums[1]) * max(scale, 1) + 2.0 ** max(-op.shift, 0) < _INT32
            and -op.shift < 31
            and all(max(-a, b) < held for a, b in values[:2])
            and held * mantissa < 2.0**52
        )
        most = float(arithmetic.state_max)
        least = float(arithmetic.state_min)
        proved = -most - 1 <= current[0] and current[1] <= most
        v = values[1]
        flips = bool(np.any(op.flip))
        top = float(np.max(op.threshold))
        for _ in range(steps):
            ends = [d * x for d in decay for x in v]
            h = min(ends) - 1 + current[0] + bias[0], max(ends) + 1 + current[1] + bias[1]
            proved = proved and least <= h[0] and h[1] <= most
            stays = h if flips or op.reset == "none" else (h[0], min(h[1], top))
            if op.reset == "to":
                new = min(stays[0], values[0][0]), max(stays[1], values[0][1])
            elif op.reset == "by":
                amount = values[2]
                new = min(stays[0], h[0] - amount[1]), max(stays[1], h[1] - amount[0])
            else:
                new = stays
            proved = proved and least <= new[0] and new[1] <= most
            v = min(v[0], new[0]), max(v[1], new[1])
            if not proved:
                break
        self.proved = proved


def _span(value: Any) -> Range:
    return float(np.min(value)), float(np.max(value))


def _log2(power: int) -> int:
    return power.bit_length() - 1


def by_channel(value: Array, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is the same at all pixels of a channel."""
    if value.size == 1 or len(shape) == 1:
        return True
    whole = np.broadcast_to(value, shape).reshape(shape[0], -1)
    return value.shape[-len(shape) + 1 :] == (1,) * (len(shape) - 1) or bool((whole == whole[:, :1]).all())


def in_registers(
    op: Neuron,
    shape: tuple[int, ...],
    width: int,
    arithmetic: Arithmetic,
    bounds: Bounds,
    from_rest: bool,
) -> dict[str, Any]:
    """The parameters of neurons whose steps run in registers; none where 32 bits cannot hold every intermediate.

    Args:
        op: the neurons.
        shape: of their layer.
        width: its channels, padded to whole blocks.
        arithmetic: of the target.
        bounds: of their registers.
        from_rest: whether every sample starts from rest, as the bounds assume.
    """
    one = 1 << arithmetic.decay_fraction
    if not _fits_registers(op, arithmetic, bounds, from_rest):
        return {}
    channels, rows, columns = planes(shape)
    parameters = (op.threshold, op.flip, op.bias, op.input_bias, op.amount, op.v_reset, op.v_init, op.decay)
    same = all(by_channel(np.asarray(p), shape) for p in parameters)
    pixels = 1 if same else rows * columns

    def each(value: Any, kind: Any, fill: float) -> Array:
        whole = np.broadcast_to(value, shape).reshape(channels, -1)[:, :pixels]
        padded = np.full((pixels, width), fill, kind)
        padded[:, :channels] = whole.T
        return np.ascontiguousarray(padded)

    how, by = _decay_by(op, one)
    return {
        "fast": True,
        "stride": 0 if same else width,
        "width": width,
        "fast_threshold": each(_limit(op, shape), np.int32, _INT32),
        "fast_flip": each(np.where(op.flip, -1, 0), np.int32, 0),
        "fast_bias": each(op.bias, np.int32, 0),
        "fast_input_bias": each(op.input_bias, np.int32, 0),
        "fast_amount": each(op.amount, np.int32, 0),
        "fast_rest": each(op.v_reset, np.int32, 0),
        "fast_init": each(op.v_init, np.int32, 0),
        "fast_decay": each(np.asarray(op.decay) / one, np.float64, 0),
        "how": how,
        "decay_shift": by,
        "may_overflow": not (bounds.proved and from_rest),
    }


def _fits_registers(op: Neuron, arithmetic: Arithmetic, bounds: Bounds, from_rest: bool) -> bool:
    plain = op.refractory == 0 and not op.deaf and op.negative_threshold is None and not np.any(op.current_decay)
    if (
        not plain
        or op.max_spikes > 1
        or (op.reset == "by" and np.any(op.keep != 1 << arithmetic.decay_fraction))
        or arithmetic.state_bits > 30
    ):
        return False
    saturates = arithmetic.overflow == "saturate" == (arithmetic.current_overflow or "saturate")
    return bounds.in_32_bits and (saturates or (bounds.proved and from_rest))


def _limit(op: Neuron, shape: tuple[int, ...]) -> Array:
    """Fires where (h ^ flip) is above it: h >= t is h > t - 1, h <= t is ~h > ~t - 1 = -t - 2."""
    flip = np.broadcast_to(op.flip, shape).astype(bool)
    threshold = np.broadcast_to(op.threshold, shape).astype(np.int64)
    limit = np.where(flip, -threshold - (1 if op.strict else 2), threshold - (0 if op.strict else 1))
    return np.clip(limit, -_INT32 - 1, _INT32)


def _decay_by(op: Neuron, one: int) -> tuple[int, int]:
    """How the membrane decays: 0 not at all, 1 by a shift of so many bits, 2 by a product."""
    mantissas = np.unique(op.decay)
    if len(mantissas) == 1:
        (mantissa,) = mantissas.tolist()
        if mantissa == one:
            return 0, 0
        if mantissa > 0 and mantissa & (mantissa - 1) == 0 and 0 < (by := _log2(one) - _log2(mantissa)) < 30:
            return 1, by
    return 2, 0


def whole(value: Any) -> Array:
    """As a flat array of 64-bit numbers."""
    return np.ascontiguousarray(value, dtype=np.int64).reshape(-1)
