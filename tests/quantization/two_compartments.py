"""A neuron with a soft reset as two compartments of Loihi 1, register by register, in plain Python.

Nothing here is the compiler's but the numbers in the registers: weights and biases with their exponents, a threshold, a
decay, and the weights by which a spike comes back. Lava has no process of joined compartments: it is never run there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Compartment", "Pair"]

SHIFT = 6
"""The chip multiplies weights, biases and thresholds by so many powers of two itself."""
MEMBRANE = 2**23 - 1
NEVER = 2**17 - 1
"""The largest mantissa of a threshold."""
KEEPS_ALL, KEEPS_NOTHING = 4096, 0


@dataclass
class Compartment:
    """One compartment: its registers, its profile, and what arrived for the next step.

    ``decay`` is what is kept of the membrane, in 1/4096; nothing is kept of the current.
    """

    vth: int
    decay: int
    bias: int = 0
    u: int = 0
    v: int = 0
    arrived: int = 0

    def step(self, joined: int = 0) -> bool:
        """A step: the current is what arrived, the membrane takes it, its bias, and the ``joined`` membrane."""
        self.u, self.arrived = self.arrived, 0
        assert abs(self.u) <= MEMBRANE  # a current wraps
        kept = abs(self.v) * self.decay // 4096
        v = (kept if self.v >= 0 else -kept) + self.u + self.bias + joined
        self.v = max(-MEMBRANE, min(MEMBRANE, v))
        return self.v > self.vth << SHIFT


@dataclass
class Pair:
    """A neuron: one compartment integrates and never fires, one fires and keeps nothing.

    A spike comes back by ``synapses``, (mantissa, exponent) each, with the input of the next step.
    """

    vth: int
    synapses: Sequence[tuple[int, int]]
    bias: int = 0
    decay: int = KEEPS_ALL
    first: Compartment = field(init=False)
    second: Compartment = field(init=False)

    def __post_init__(self) -> None:
        assert 0 <= self.vth <= NEVER
        assert all(0 < mantissa < 2**8 and 0 <= exponent <= 7 for mantissa, exponent in self.synapses)
        self.first = Compartment(NEVER, self.decay, self.bias)
        self.second = Compartment(self.vth, KEEPS_NOTHING)

    def step(self, x: int) -> tuple[bool, int]:
        """A step with an input of x, which the chip has shifted: whether it fires, and the first one's membrane."""
        self.first.arrived += x
        assert not self.first.step()
        fires = self.second.step(self.first.v)
        if fires:
            self.first.arrived -= sum(mantissa << exponent + SHIFT for mantissa, exponent in self.synapses)
        return fires, self.first.v
