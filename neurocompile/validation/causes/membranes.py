"""What recorded membranes say that spikes only bound: what each neuron read, and what each reset took.

A step that starts from the membrane that was recorded, and not from what the program would have had by then, differs
from what was recorded by that step's own fault alone. Where a neuron did not fire, that is what it read too much or too
little; where it did, what the reset did otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.ops import Array, Neuron
from neurocompile.simulator.reference import Registers

__all__ = ["Steps", "fitted_share", "steps_of"]

_SHARES = 24
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Steps:
    """Single steps from the membranes that were recorded, ``[N, T, *shape]`` each.

    Attributes:
        surplus: how much more the membrane holds after the step than the program would leave of it.
        quiet: where the neuron did not fire: there it is what it read too much, whether it should have fired or not.
        fired: where it fired, and should have.
        unit: what one of a current is on the membrane.
    """

    surplus: Array
    quiet: Array
    fired: Array
    unit: float

    def constant(self, answer: Array, where: Array) -> float | None:
        """The number that the surplus is of an answer (a current ``[N, T, neurons]`` of a place); None if it is none.

        Args:
            answer: to one unit of what may be another.
            where: the neurons, ``[*shape]``.
        """
        quiet, surplus = self.quiet[..., where], self.surplus[..., where]
        heard = quiet & (answer != 0)
        if not heard.any() or np.any(surplus[quiet & (answer == 0)]):
            return None
        numbers = surplus[heard] / (answer[heard] * self.unit)
        return float(numbers[0]) if np.all(numbers == numbers[0]) else None


def steps_of(op: Neuron, arithmetic: Arithmetic, current: Array, observed: Array, left: Array) -> Steps | None:
    """The steps of a layer; None for neurons that remember more than their membranes.

    Args:
        op: the neurons.
        arithmetic: theirs.
        current: what they read, ``[N, T, *shape]``.
        observed: what they fired, likewise.
        left: their membranes after the reset, likewise.
    """
    if np.any(op.current_decay) or op.shift < 0:
        return None
    before = np.empty(left.shape, np.int64)
    before[:, 1:] = left[:, :-1]
    before[:, 0] = op.v_init
    registers = Registers(arithmetic)
    state = {"v": before, "i": np.zeros_like(before), "wait": np.zeros_like(before)}
    spikes, h = registers.fire(op, current.astype(np.int64), state)
    seen = observed != 0
    agree = (spikes != 0) == seen
    return Steps(left - registers.reset(op, h, observed.astype(np.int64)), ~seen, agree & seen, 2.0**op.shift)


def fitted_share(steps: Steps, where: Array, read: Callable[[float], Array]) -> float:
    """The share s, above 0 and up to 1, for which currents ``read(s)[N, T, *shape]`` are nearest to what was read.

    Args:
        steps: of the layer.
        where: the neurons that are looked at.
        read: the currents; those of 1 are the program's.
    """
    usual = read(1.0)
    quiet = steps.quiet & where

    def wrong(share: float) -> float:
        return float(np.abs(steps.surplus - steps.unit * (read(share) - usual))[quiet].sum())

    low, high = 0.0, 1.0
    best = 1.0
    for _ in range(_ROUNDS):
        shares = np.linspace(low, high, _SHARES + 1)[1:]
        wrongs = [wrong(float(share)) for share in shares]
        at = int(np.argmin(wrongs))
        best, step = float(shares[at]), (high - low) / _SHARES
        if not wrongs[at]:
            break
        low, high = max(0.0, best - step), min(1.0, best + step)
    return best
