"""The parameters of a neuron or an integrator as whole numbers of steps of its membrane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic, Lif
from neurocompile.ir.arrays import compact, compact_over_time
from neurocompile.ir.ops import Array, Gain, Integrator, Neuron
from neurocompile.quantization.bounds import Interval
from neurocompile.quantization.silicon import amount_grid, bias_exponents, reach_with

__all__ = ["aligned_unit", "in_silicon", "integer_gain", "integer_parameters", "met_above", "off_grid"]

# A current and a gain have at most so many bits together: their product, rounded, fits into as many.
_PRODUCT_BITS = 64
# Bits of a weight that subtracts.
_WEIGHT_BITS = 8
# A real this close to a whole number of steps is that number: the division left the rest.
_WHOLE = 1e-9


def integer_parameters(op: Any, unit: Array, shape: tuple[int, ...], shift: int, arithmetic: Arithmetic) -> Any:
    """A neuron or an integrator in steps of ``unit``, its comparison as >= (or <= where flipped)."""
    end = float(arithmetic.state_max)

    def steps(value: Array) -> Array:
        return compact(np.clip(np.rint(value / unit), -end, end).astype(np.int64), shape)

    def mantissa(value: Array) -> Array:
        return np.rint(value * 2.0**arithmetic.decay_fraction).astype(np.int64)

    if isinstance(op, Integrator):
        return replace(op, decay=mantissa(op.decay), gain=np.asarray(1), bias=steps(op.bias), shift=shift)
    return replace(
        op,
        threshold=compact(np.clip(_threshold(op.threshold, op, unit, op.flip), -end, end).astype(np.int64), shape),
        decay=mantissa(op.decay),
        current_decay=mantissa(op.current_decay),
        keep=mantissa(op.keep),
        gain=np.asarray(1),
        bias=steps(op.bias),
        input_bias=steps(op.input_bias),
        strict=False,
        v_reset=steps(op.v_reset),
        amount=np.maximum(steps(op.amount), 1) if op.max_spikes > 1 else steps(op.amount),
        v_init=steps(op.v_init),
        amplitude=np.asarray(1),
        negative_threshold=(
            None
            if op.negative_threshold is None
            else compact(
                np.clip(_threshold(op.negative_threshold, op, unit, np.asarray(True)), -end, end).astype(np.int64),
                shape,
            )
        ),
        shift=shift,
    )


def integer_gain(op: Gain, unit: Array, arithmetic: Arithmetic) -> Gain:
    """A gain in mantissas as wide as those of decays, with all of their bits used; its bias in steps of a weight.

    Where accumulators are so wide that 64 bits would not hold a product, mantissas have fewer bits.

    Args:
        op: with real gains.
        unit: the real value of a step of a weight, for each neuron ``[*shape]``.
        arithmetic: of the target.
    """
    width = min(arithmetic.decay_bits, _PRODUCT_BITS - arithmetic.accumulator_bits) - 1
    top = float(np.abs(op.gains).max())
    fraction = width - 1 - int(np.floor(np.log2(top))) if top > 0 else 0
    fraction = min(max(fraction, 0), _PRODUCT_BITS - 2)
    most = 2**width - 1
    gains = np.clip(np.rint(op.gains * 2.0**fraction), -most, most).astype(np.int64)
    bias = compact_over_time(np.rint(op.bias / unit).astype(np.int64)) if op.bias.ndim else np.asarray(0)
    return Gain(gains, bias, fraction)


def _threshold(threshold: Array, op: Neuron, unit: Array, flip: Array) -> Array:
    """The integer threshold with the same meaning: h >= t is h_int >= ceil(t / unit), h > t is h_int >= floor + 1."""
    value = _steps(threshold, unit)
    if op.strict:
        return np.where(flip, np.ceil(value) - 1, np.floor(value) + 1)
    return np.where(flip, np.floor(value), np.ceil(value))


def _steps(threshold: Array, unit: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):  # beyond all numbers is out of reach
        value = threshold / unit
        near = np.rint(value)
        return np.where(np.abs(value - near) <= _WHOLE * np.maximum(1.0, np.abs(near)), near, value)


def aligned_unit(op: Any, unit: float, lif: Lif) -> float:
    """The least step from ``unit`` up in which the threshold of a population lies on the chip's grid.

    The scale of a population is free; taken so, the threshold loses nothing. What a soft reset subtracts is then a
    single weight if it is a threshold, or two: a step that is 0.8 % longer at most.
    """
    if not isinstance(op, Neuron) or op.threshold <= 0:
        return unit
    above = _above(op)
    threshold = float(op.threshold)
    mantissa = int((threshold / unit - above) // 2**lif.threshold_shift)
    if _stays_on_grid(op) and float(op.amount) in (threshold, 2 * threshold):
        spare = max(0, mantissa.bit_length() - _WEIGHT_BITS)
        mantissa = mantissa >> spare << spare
    return threshold / ((mantissa << lif.threshold_shift) + above) if mantissa >= 1 else unit


def off_grid(op: Any, unit: float, lif: Lif) -> float:
    """By how much of itself a population's threshold misses the chip's grid, for a membrane in steps of ``unit``."""
    if not isinstance(op, Neuron) or op.threshold <= 0:
        return 0.0
    grid, wanted = 2.0**lif.threshold_shift, [float(op.threshold) / unit - _above(op)]
    if op.reset == "by":
        wanted.append(float(op.amount) / unit)
    return max(float(abs(np.rint(steps / grid) * grid - steps)) / max(steps, 1.0) for steps in wanted)


def _above(op: Neuron) -> int:
    """By how many steps of the membrane a threshold that loses nothing is above the grid: the chip compares by >."""
    return 0 if op.strict or _stays_on_grid(op) else 1


def _stays_on_grid(op: Neuron) -> bool:
    """Whether all membranes of a real neuron with a soft reset are on the grid of thresholds."""
    return op.reset == "by" and bool(np.all(op.decay == 1))


def met_above(op: Neuron, lif: Lif) -> int:
    """How many steps of the membrane above its mantissa's the threshold of a real neuron is met first."""
    if op.strict:
        return 0
    return 1 << lif.threshold_shift if _stays_on_grid(op) else 1


def in_silicon(op: Any, real: Any, unit: float, arithmetic: Arithmetic, written: Interval | None = None) -> Any | None:
    """Integer parameters rounded to the grids of the chip's neuron; None where one is beyond its range.

    Args:
        op: with integer parameters.
        real: the same neuron with real ones.
        unit: of the membrane.
        arithmetic: of a target that describes its neuron.
        written: the range of what the host adds to its biases, in steps of the membrane; None: nothing.
    """
    lif = arithmetic.lif
    assert lif is not None
    bias = _on_bias_grid(op, lif, written)
    if bias is None:
        return None
    if isinstance(op, Integrator):
        return replace(op, bias=bias)
    vth = _mantissa(op, float(_steps(real.threshold, np.asarray(unit))), real.strict, arithmetic)
    if not 0 <= vth <= lif.threshold_max:
        return None
    op = replace(
        op,
        bias=bias,
        threshold=np.asarray((vth << lif.threshold_shift) + 1),
        decay=np.clip(op.decay, lif.decay_min, lif.decay_max),
        current_decay=np.clip(op.current_decay, 0, lif.current_decay_max),
    )
    return replace(op, amount=_on_amount_grid(op, float(real.amount) / unit, arithmetic)) if op.reset == "by" else op


def _on_amount_grid(op: Any, steps: float, arithmetic: Arithmetic) -> Array:
    """What a soft reset subtracts, ``steps`` as a real: whole weights, and with a decay no more than the threshold."""
    one = 2.0**arithmetic.decay_fraction
    grid = amount_grid(op, arithmetic, one)
    amount = max(int(np.rint(steps / grid)), 1) * grid
    if op.decay < one:
        amount = min(amount, int(op.threshold) // grid * grid)
    return np.asarray(amount)


def _on_bias_grid(op: Any, lif: Lif, written: Interval | None) -> Array | None:
    most = 2 ** (lif.bias_bits - 1) - 1
    for exponent in bias_exponents(lif, op, written):
        mantissa = np.rint(op.bias / 2.0**exponent).astype(np.int64)
        bias = np.asarray(mantissa << exponent)
        if reach_with(bias, written) >> exponent <= most:
            return bias
    return None


def _mantissa(op: Any, steps: float, strict: bool, arithmetic: Arithmetic) -> int:
    """The threshold's mantissa, for a threshold of so many steps of the membrane."""
    lif = arithmetic.lif
    assert lif is not None
    grid = 2.0**lif.threshold_shift
    on_grid = np.all(op.decay == 2**arithmetic.decay_fraction) and not np.any(op.current_decay)
    if on_grid:  # then so are all membranes, and the comparison keeps its meaning
        return int(np.floor(steps / grid) if strict else np.ceil(steps / grid) - 1)
    return int(np.rint((steps - (0.0 if strict else 1.0)) / grid))
