"""The neuron that a chip has in silicon, beside the neuron equation: what it cannot do, and what its registers hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from neurocompile.arithmetic import Arithmetic, Lif
from neurocompile.ir.ops import Array, Integrator, Neuron
from neurocompile.ir.placed import SoftReset
from neurocompile.quantization.bounds import Interval

__all__ = [
    "Registers",
    "Shortfall",
    "amount_grid",
    "bias_exponents",
    "reach_with",
    "registers_of",
    "shortfalls",
    "soft_reset_of",
    "written_bias",
]

_TIE = 1e-9
"""By so much of itself a threshold may be below what is subtracted, and means the same number."""
_COARSEST = 8
"""A soft reset moves in so many steps of the threshold at most: coarser ones would lose what weights keep."""


@dataclass(frozen=True)
class Shortfall:
    """One thing that a layer needs and the chip's neuron does not have, and what would do without it.

    ``normal`` marks what shifting, flipping and scaling would have mended, had nothing else stood in the way.
    """

    what: str
    fix: str
    normal: bool = False


@dataclass(frozen=True)
class Registers:
    """A layer of the chip's neurons, as :class:`neurocompile.targets.Lif` describes them.

    ``decay`` and ``current_decay`` are what is kept of a register in a step, in 1 / 2**decay_fraction; ``vth`` is the
    mantissa of the threshold; the bias of a neuron is ``bias_mantissa << bias_exponent``. Arrays are one number, or
    broadcast to the layer's shape; neurons whose decays differ are populations of their own.
    """

    decay: Array
    current_decay: Array
    vth: int
    bias_mantissa: Array
    bias_exponent: int


def shortfalls(
    op: Neuron | Integrator, arithmetic: Arithmetic, one: float = 1.0, *, written: bool = False
) -> list[Shortfall]:
    """Why the chip's neuron cannot hold a layer; nothing if it can. What is mended along with the rest is left out.

    Args:
        op: a real neuron whose comparison and reset were normalized (:class:`neurocompile.passes.CommonThreshold`), or
            an integer one.
        arithmetic: of a target that describes its neuron.
        one: what a decay of 1 is in ``op``: 1 for a real neuron, ``2**decay_fraction`` for an integer one.
        written: whether the host writes a part of its current, as biases.
    """
    lif = arithmetic.lif
    assert lif is not None
    found = _decay_shortfalls(op, arithmetic, one)
    if isinstance(op, Integrator):
        return found
    if op.reset == "by":
        found += _soft_reset_shortfalls(op, arithmetic, one)
    elif op.reset == "none":
        found.append(Shortfall("its membrane is not reset where it fires", "use a hard reset"))
    elif np.any(op.v_reset != 0):
        found.append(Shortfall("it is not reset to 0", "use one v_reset", normal=True))
    low = _channels_below_reset(op, arithmetic, one)
    if low:
        channels = ", ".join(map(str, low[:8])) + (", ..." if len(low) > 8 else "")
        what = f"its threshold is not above its reset value (channels {channels})"
        found.append(Shortfall(what, "train thresholds above v_reset"))
    if np.any(op.flip):
        found.append(Shortfall("its comparison is flipped for single neurons (gamma < 0, element-wise)",
                               "use channel-wise MPBN, or keep gamma positive", normal=True))  # fmt: skip
    elif np.ndim(op.threshold):
        found.append(Shortfall("its thresholds differ between neurons that share weights", "use channel-wise MPBN",
                               normal=True))  # fmt: skip
    if np.any(op.v_init != 0):
        found.append(Shortfall("its membrane does not start where it is reset to", "start from v_reset", normal=True))
    if op.refractory:
        found.append(Shortfall("it stays silent after a spike (refractory)", "train without a refractory period"))
    if op.deaf:
        what = "it does not hear its current in the step after a spike (a reset that falls one step late)"
        found.append(Shortfall(what, "reset in the step of the spike"))
    if op.max_spikes > 1:
        found.append(Shortfall("it fires several spikes a step", "use neurons that fire once"))
    if op.negative_threshold is not None:
        found.append(Shortfall("it fires signed spikes", "use two layers of ordinary neurons"))
    if np.any(op.input_bias != 0):
        found.append(Shortfall("a bias acts on its synaptic current", "use layers without bias before it"))
    if written and np.any(op.current_decay != 0):
        what = "the host writes what it hears of a real-valued input as biases, and it has a synaptic current, which "
        fix = "put a layer without a synaptic current behind the input, or use --encode graded on loihi2"
        found.append(Shortfall(what + "no bias of the chip reaches", fix))
    return [each for each in found if not each.normal] or found


def _channels_below_reset(op: Neuron, arithmetic: Arithmetic, one: float) -> list[int]:
    """The channels that fire at their reset value, so that no shift, flip or scale gives them a threshold above it."""
    assert arithmetic.lif is not None
    if op.reset != "to" and not (op.reset == "by" and arithmetic.lif.joins):
        return []
    height = np.atleast_1d(np.where(op.flip, -1.0, 1.0) * (op.threshold - op.v_reset))
    # An infinite threshold (in integers: the end of the register) never or always fires, which can be done.
    end = np.inf if one == 1.0 else float(arithmetic.state_max - 1)
    least = 0.0 if op.strict else 1e-12
    low = (height < least) & (np.abs(np.broadcast_to(op.threshold, height.shape)) < end)
    return sorted({int(place[0]) for place in np.argwhere(low)})


def _soft_reset_shortfalls(op: Neuron, arithmetic: Arithmetic, one: float) -> list[Shortfall]:
    """Why no two compartments make a neuron with a soft reset (:class:`neurocompile.ir.placed.SoftReset`).

    What a spike takes from the first compartment arrives with the next input, when the membrane ``h`` has decayed: the
    chip has ``round(d * h) - w + x`` for ``round(d * (h - amount)) + x``, rounded towards zero. Without a decay that is
    the same for w = amount. With one it is for ``w = d * amount`` if that is a whole number, and if ``h >= amount``
    wherever the neuron fires: both membranes are then rounded down.
    """
    lif = arithmetic.lif
    assert lif is not None
    what, hard = "it subtracts from the membrane where it fires (soft reset)", "use a hard reset"
    if not lif.joins:
        return [Shortfall(what, hard)]
    found = []
    if np.any(op.current_decay != 0):
        why = "and its synaptic current would bring back what is subtracted, and decay it step by step"
        found.append(Shortfall(f"{what}, {why}", f"{hard}, or no synaptic current"))
    if np.any(op.keep != one):
        found.append(Shortfall(f"{what} and keeps a part of it", hard))
    if np.size(op.amount) > 1 or op.max_spikes > 1 or np.any(op.amount <= 0):
        why = "not one amount above 0 for all of its neurons"
        found.append(Shortfall(f"{what}, {why}", f"{hard}, or one amount"))
    decays = np.unique(np.rint(np.asarray(op.decay) / one * 2.0**arithmetic.decay_fraction))
    leaks = bool(np.any(decays != 2**arithmetic.decay_fraction))
    if len(decays) > 1 or (leaks and amount_grid(op, arithmetic, one) > _COARSEST << lif.threshold_shift):
        why = "and its decay would round what is subtracted"
        found.append(Shortfall(f"{what}, {why}", f"{hard}, no decay, or one in eighths"))
    elif leaks and np.any(op.amount > op.threshold * (1 + _TIE)):
        why = "below 0 where it fires, and its decay would round that to the other side"
        found.append(Shortfall(f"{what}, {why}", f"{hard}, no decay, or subtract no more than the threshold"))
    return found


def amount_grid(op: Neuron, arithmetic: Arithmetic, one: float) -> int:
    """In how many steps of the membrane the amount of a soft reset moves, of which a decay leaves whole weights."""
    lif = arithmetic.lif
    assert lif is not None
    kept = int(np.clip(np.rint(np.max(op.decay) / one * 2.0**arithmetic.decay_fraction), lif.decay_min, lif.decay_max))
    whole = 1 << (arithmetic.decay_fraction + arithmetic.min_shift)
    return whole // gcd(kept, whole)


def soft_reset_of(op: Neuron, arithmetic: Arithmetic) -> SoftReset | None:
    """The two compartments of an integer neuron with a soft reset; None if its amount is no sum of weights."""
    lif = arithmetic.lif
    assert lif is not None
    one = 2.0**arithmetic.decay_fraction
    if int(op.amount) % amount_grid(op, arithmetic, one):
        return None
    left = (int(op.amount) * int(np.max(op.decay)) >> arithmetic.decay_fraction) >> arithmetic.min_shift
    most = (1 << arithmetic.weight_bits_max) - 1  # weights of one sign have no bit for it
    weights: list[tuple[int, int]] = []
    while left:
        exponent = min(max(0, left.bit_length() - arithmetic.weight_bits_max), lif.weight_exponent_max)
        mantissa = min(left >> exponent, most)
        weights.append((mantissa, exponent))
        left -= mantissa << exponent
    return SoftReset(tuple(weights))


def _decay_shortfalls(op: Neuron | Integrator, arithmetic: Arithmetic, one: float) -> list[Shortfall]:
    lif = arithmetic.lif
    assert lif is not None
    unit = 2.0**arithmetic.decay_fraction
    kept = np.asarray(op.decay, np.float64) / one * unit
    current = np.asarray(op.current_decay if isinstance(op, Neuron) else 0.0, np.float64) / one * unit
    found = []
    for name, values, most in (("decay", kept, lif.decay_max), ("current decay", current, lif.current_decay_max)):
        if values.min() < 0 or values.max() > most + 0.5:
            ends = f"{values.min() / unit:.4g}..{values.max() / unit:.4g}"
            what = f"its {name} ({ends}) is outside 0 to {most / unit:.4g}"
            found.append(Shortfall(what, "train a decay inside that range"))
    pairs = np.stack([each.ravel() for each in np.broadcast_arrays(np.rint(kept), np.rint(current))])
    distinct = np.unique(pairs, axis=1)
    if distinct.shape[1] > lif.populations:
        what = f"its neurons have {distinct.shape[1]} different decays, and the chip one for a population"
        fix = "use MPBN that leaves the membrane as it is (the paper's), or one decay"
        found.append(Shortfall(what, fix))
    elif isinstance(op, Integrator) and distinct.shape[1] > 1 and not distinct[0].all():
        found.append(Shortfall("only some of its membranes keep anything from step to step", "use one decay"))
    return found


def registers_of(op: Neuron | Integrator, arithmetic: Arithmetic, written: Interval | None = None) -> Registers | None:
    """The registers of an integer layer on the chip's neuron; None if it does not lie on their grids.

    ``h >= threshold`` of an integer graph is ``v > vth << threshold_shift`` where the threshold is one above a step of
    the grid. An integrator is a neuron that cannot reach its threshold.

    Args:
        op: with integer parameters.
        arithmetic: of the target.
        written: the range of the current that the host writes, before the layer's shift; None: it writes none.
    """
    lif = arithmetic.lif
    if lif is None or shortfalls(op, arithmetic, 2.0**arithmetic.decay_fraction, written=written is not None):
        return None
    bias = np.asarray(op.bias)
    exponent = _bias_exponent(op, lif, written_bias(op, written))
    if exponent is None:
        return None
    if isinstance(op, Integrator):
        return Registers(op.decay, np.asarray(0), lif.threshold_max, bias >> exponent, exponent)
    if op.reset == "by" and soft_reset_of(op, arithmetic) is None:
        return None
    threshold = int(op.threshold) - 1
    if threshold % (1 << lif.threshold_shift) or not 0 <= threshold >> lif.threshold_shift <= lif.threshold_max:
        return None
    return Registers(op.decay, op.current_decay, threshold >> lif.threshold_shift, bias >> exponent, exponent)


def written_bias(op: Neuron | Integrator, written: Interval | None) -> Interval | None:
    """The range of what the host adds to the biases of a layer, in steps of its membrane; None: nothing.

    Of a membrane that keeps nothing the host reads the current, and adds its own part to that.
    """
    if written is None or (isinstance(op, Integrator) and not np.any(op.decay)):
        return None
    return Interval(*(end.astype(np.int64) << op.shift for end in (written.low, written.high)))


def bias_exponents(lif: Lif, op: Neuron | Integrator, written: Interval | None) -> range:
    """The exponents that biases may have: what the host writes has steps of a weight, ``2**op.shift``."""
    most = lif.bias_exponent_max if written is None else min(op.shift, lif.bias_exponent_max)
    return range(lif.bias_exponent_min, most + 1)


def reach_with(bias: Array, written: Interval | None) -> int:
    """The largest bias, with what the host adds to it."""
    if written is None:
        return int(np.abs(bias).max(initial=0))
    return Interval(bias + written.low, bias + written.high).magnitude


def _bias_exponent(op: Neuron | Integrator, lif: Lif, written: Interval | None) -> int | None:
    """The exponent with which all biases are whole mantissas in range."""
    bias, most = np.asarray(op.bias), 2 ** (lif.bias_bits - 1) - 1
    for exponent in bias_exponents(lif, op, written):
        if np.array_equal(bias >> exponent << exponent, bias) and reach_with(bias, written) >> exponent <= most:
            return exponent
    return None
