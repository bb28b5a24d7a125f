"""How a layer's neurons answer a current, step by step, in integers or in reals, and with what a chip may do otherwise.

A rule runs one layer for all samples at once. A :class:`Habit` says in what a suspected chip departs from the neuron
equation, where no field of the operation can say it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from neurocompile.arithmetic import Arithmetic, Rounding
from neurocompile.ir.compare import TIE
from neurocompile.ir.interpret import fire, reset, spikes_of
from neurocompile.ir.ops import Array, Neuron
from neurocompile.simulator.reference import Registers

__all__ = ["USUAL", "Habit", "IntegerRule", "RealRule", "Rule", "Run"]

_Fire = Callable[[Array, dict[str, Array]], tuple[Array, Array]]
_Reset = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Habit:
    """What a chip may do that no field of a neuron says.

    Attributes:
        early: steps that the neurons integrate their bias before the first input arrives.
        late: the reset falls one step late: on the membrane that was not yet compared ("before" the comparison), or
            on the one that was ("after" it).
        kept: the state of a sample is where the next one starts.
        rounding: of decays, if it is not the target's.
    """

    early: int = 0
    late: Literal["", "before", "after"] = ""
    kept: bool = False
    rounding: Rounding | Literal[""] = ""


USUAL = Habit()
"""None of it."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a layer did: spikes, h, and what the reset leaves of it, ``[N, T, *shape]`` each.

    ``known`` are the steps that are told: not those at the end of a sample whose input came from behind it.
    """

    spikes: Array
    membranes: Array
    left: Array
    known: slice = field(default_factory=lambda: slice(None))

    def changed(self, change: Callable[..., Array], *others: Run) -> Run:
        """Each of the three arrays changed, beside those of others."""
        runs = (self, *others)
        three = ((run.spikes, run.membranes, run.left) for run in runs)
        spikes, membranes, left = (np.asarray(change(*arrays)) for arrays in zip(*three))
        return replace(self, spikes=spikes, membranes=membranes, left=left)


class Rule(Protocol):
    """The arithmetic of a layer."""

    def run(self, op: Neuron, current: Array, habit: Habit = USUAL) -> Run:
        """Run neurons on a current ``[N, T, *shape]``, from rest."""

    def undecided(self, op: Neuron, run: Run) -> Array:
        """Where a membrane is so near to its threshold that either answer is right."""

    def decays(self, op: Neuron) -> tuple[Array, Array, Array]:
        """Of membrane and current, and what a soft reset keeps, as real numbers."""

    def slack(self, op: Neuron, steps: int) -> float:
        """How far a membrane may be from what real numbers would make it after so many steps."""


@dataclass(frozen=True)
class IntegerRule:
    """A target's integers."""

    arithmetic: Arithmetic

    def run(self, op: Neuron, current: Array, habit: Habit = USUAL) -> Run:
        """As :mod:`neurocompile.simulator.reference` does, but for the habit.

        A current may be in finer steps than a program's, as far as membranes hold them.
        """
        if op.shift > 0 and np.any(current % 1):
            op, current = replace(op, shift=0), np.rint(current * 2.0**op.shift)
        arithmetic = replace(self.arithmetic, rounding=habit.rounding) if habit.rounding else self.arithmetic
        registers = Registers(arithmetic)

        def fires(x: Array, state: dict[str, Array]) -> tuple[Array, Array]:
            return registers.fire(op, x, state)

        def resets(h: Array, spikes: Array) -> Array:
            return registers.reset(op, h, spikes)

        return _steps(op, current.astype(np.int64), fires, resets, habit)

    def undecided(self, op: Neuron, run: Run) -> Array:
        """Nowhere."""
        return np.zeros((), bool)

    def decays(self, op: Neuron) -> tuple[Array, Array, Array]:
        """Mantissas in units of one."""
        one = 2.0**self.arithmetic.decay_fraction
        return op.decay / one, op.current_decay / one, op.keep / one

    def slack(self, op: Neuron, steps: int) -> float:
        """A step of the membrane and one of the current, for each step that something was rounded in."""
        one = 2**self.arithmetic.decay_fraction
        rounded = [*(bool(np.any(decay % one != 0)) for decay in (op.decay, op.current_decay)), op.shift < 0]
        return float(steps * sum(rounded) + 1) if any(rounded) else 0.0


@dataclass(frozen=True)
class RealRule:
    """The neuron equation in float64.

    Attributes:
        gains: what weights were multiplied with, by layer: ``[]``, or one for each channel, ``[C, 1, ...]``.
    """

    gains: Mapping[str, Array] = field(default_factory=dict)

    def run(self, op: Neuron, current: Array, habit: Habit = USUAL) -> Run:
        """As :mod:`neurocompile.ir.interpret` does, but for the habit."""

        def fires(x: Array, state: dict[str, Array]) -> tuple[Array, Array]:
            return fire(op, x, state)

        def resets(h: Array, spikes: Array) -> Array:
            return reset(op, h, spikes)

        return _steps(op, np.asarray(current, np.float64), fires, resets, habit)

    def undecided(self, op: Neuron, run: Run) -> Array:
        """Within a tie of the threshold."""
        scale = TIE * np.maximum(1.0, np.abs(op.threshold))
        return np.asarray(np.abs(run.membranes - op.threshold) <= scale)

    def decays(self, op: Neuron) -> tuple[Array, Array, Array]:
        """As they are."""
        return op.decay, op.current_decay, op.keep

    def slack(self, op: Neuron, steps: int) -> float:
        """A tie."""
        return TIE * max(1.0, float(np.abs(op.threshold).max()))


def _steps(op: Neuron, current: Array, fires: _Fire, resets: _Reset, habit: Habit) -> Run:
    """All steps of all samples; of a sample after another, where the state is kept."""
    if habit.kept:
        whole = np.concatenate(list(current))[None]  # one sample of N * T steps
        one = _steps(op, whole, fires, resets, replace(habit, kept=False))
        return one.changed(lambda part: part.reshape(current.shape))
    if habit.early:
        silence = np.zeros((len(current), habit.early, *current.shape[2:]), current.dtype)
        current = np.concatenate((silence, current), axis=1)
    state: dict[str, Any] = {}
    told: tuple[list[Array], ...] = ([], [], [])
    before = np.zeros(current.shape[:1] + current.shape[2:], current.dtype)
    for t in range(current.shape[1]):
        spikes, h = fires(current[:, t], state)
        if habit.late == "before":
            h = state["v"] = np.where(before != 0, resets(h, before), h)
            spikes = before = spikes_of(op, h, {"wait": np.zeros_like(h)})
        elif habit.late:
            state["v"] = np.where(before != 0, resets(h, before), h)
            before = spikes
        else:
            state["v"] = resets(h, spikes)
        for kept, value in zip(told, (spikes, h, state["v"])):
            kept.append(value)
    spikes, h, left = (np.stack(kept[habit.early :], axis=1) for kept in told)
    return Run(spikes, h, left)
