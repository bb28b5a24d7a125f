"""The neuron that a chip has in silicon, beside the neuron equation: what it cannot do, and what its registers hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.ir.ops import Array, Integrator, Neuron
from neurocompile.targets import Arithmetic, Lif

__all__ = ["Registers", "Shortfall", "registers_of", "shortfalls"]


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
    """A population of the chip's neurons, as :class:`neurocompile.targets.Lif` describes them.

    ``decay`` and ``current_decay`` are what is kept of a register in a step, in 1 / 2**decay_fraction; ``vth`` is the
    mantissa of the threshold; the bias of a neuron is ``bias_mantissa << bias_exponent`` (a number or ``[*shape]``).
    """

    decay: int
    current_decay: int
    vth: int
    bias_mantissa: Array
    bias_exponent: int


def shortfalls(op: Neuron | Integrator, arithmetic: Arithmetic, one: float = 1.0) -> list[Shortfall]:
    """Why the chip's neuron cannot hold a layer; nothing if it can. What is mended along with the rest is left out.

    Args:
        op: a real neuron whose comparison and reset were normalized (:class:`neurocompile.passes.CommonThreshold`), or
            an integer one.
        arithmetic: of a target that describes its neuron.
        one: what a decay of 1 is in ``op``: 1 for a real neuron, ``2**decay_fraction`` for an integer one.
    """
    lif = arithmetic.lif
    assert lif is not None
    unit = 2.0**arithmetic.decay_fraction
    found = _decay_shortfalls("decay", op.decay, one, lif.decay_max / unit)
    if isinstance(op, Integrator):
        return found
    found += _decay_shortfalls("current decay", op.current_decay, one, lif.current_decay_max / unit)
    if op.reset == "by":
        found.append(Shortfall("it subtracts from the membrane where it fires (soft reset)", "use a hard reset"))
    elif op.reset == "none":
        found.append(Shortfall("its membrane is not reset where it fires", "use a hard reset"))
    elif np.any(op.v_reset != 0):
        found.append(Shortfall("it is not reset to 0", "use one v_reset", normal=True))
    if np.any(op.flip):
        found.append(Shortfall("its comparison is flipped for single neurons (gamma < 0, element-wise)",
                               "use channel-wise MPBN, or keep gamma positive", normal=True))  # fmt: skip
    elif np.ndim(op.threshold):
        found.append(Shortfall("its thresholds differ between neurons that share weights", "use channel-wise MPBN",
                               normal=True))  # fmt: skip
    elif op.threshold < (0 if op.strict else 1e-12):
        found.append(Shortfall("its threshold is not above its reset value", "train a threshold above v_reset"))
    if np.any(op.v_init != 0):
        found.append(Shortfall("its membrane does not start where it is reset to", "start from v_reset", normal=True))
    if op.refractory:
        found.append(Shortfall("it stays silent after a spike (refractory)", "train without a refractory period"))
    if op.negative_threshold is not None:
        found.append(Shortfall("it fires signed spikes", "use two layers of ordinary neurons"))
    if np.any(op.input_bias != 0):
        found.append(Shortfall("a bias acts on its synaptic current", "use layers without bias before it"))
    return [each for each in found if not each.normal] or found


def _decay_shortfalls(name: str, decay: Array, one: float, most: float) -> list[Shortfall]:
    values = np.asarray(decay, np.float64) / one
    found = []
    if values.min() < 0 or values.max() > most + 1e-9:
        ends = f"{values.min():.4g}..{values.max():.4g}"
        found.append(Shortfall(f"its {name} ({ends}) is outside 0 to {most:g}", "train a decay inside that range"))
    elif np.ndim(values) and np.any(values != values.flat[0]):
        distinct = len(np.unique(values))
        found.append(Shortfall(f"{name}: {distinct} different values in one population",
                               "use MPBN that leaves the membrane as it is (the paper's), or one decay"))  # fmt: skip
    return found


def registers_of(op: Neuron | Integrator, arithmetic: Arithmetic) -> Registers | None:
    """The registers of an integer layer on the chip's neuron; None if it does not lie on their grids.

    ``h >= threshold`` of an integer graph is ``v > vth << threshold_shift`` where the threshold is one above a step of
    the grid. An integrator is a neuron that cannot reach its threshold.
    """
    lif = arithmetic.lif
    if lif is None or shortfalls(op, arithmetic, 2.0**arithmetic.decay_fraction):
        return None
    bias = np.asarray(op.bias)
    exponent = _bias_exponent(bias, lif)
    if exponent is None:
        return None
    if isinstance(op, Integrator):
        return Registers(int(np.max(op.decay)), 0, lif.threshold_max, bias >> exponent, exponent)
    threshold = int(op.threshold) - 1
    if threshold % (1 << lif.threshold_shift) or not 0 <= threshold >> lif.threshold_shift <= lif.threshold_max:
        return None
    current_decay = int(np.max(op.current_decay))
    vth = threshold >> lif.threshold_shift
    return Registers(int(np.max(op.decay)), current_decay, vth, bias >> exponent, exponent)


def _bias_exponent(bias: Array, lif: Lif) -> int | None:
    """The exponent with which all biases are whole mantissas in range."""
    most = 2 ** (lif.bias_bits - 1) - 1
    for exponent in range(lif.bias_exponent_min, lif.bias_exponent_max + 1):
        whole = bias >> exponent
        if np.array_equal(whole << exponent, bias) and np.abs(whole).max(initial=0) <= most:
            return exponent
    return None
