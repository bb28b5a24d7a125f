"""A layer that does not do what the program says, and what may be tried on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from neurocompile.ir.form import Layer, Synapse
from neurocompile.ir.ops import Array, Neuron, Op
from neurocompile.validation.causes.driven import Driven
from neurocompile.validation.causes.fits import PARAMETERS, Responses, at, responses
from neurocompile.validation.causes.membranes import Steps, steps_of
from neurocompile.validation.causes.rules import USUAL, Habit, IntegerRule, Rule, Run

__all__ = ["Case", "Hypothesis"]


@dataclass(frozen=True, eq=False)
class Case:
    """A layer, what drives it, what it should fire for that and what was recorded of it.

    Attributes:
        driven: the network, with what the layer's sources fired.
        layer: that is looked at.
        observed: its recorded spikes ``[N, T, *shape]``.
        left: its recorded membranes after the reset, likewise; None: not recorded.
    """

    driven: Driven
    layer: Layer
    observed: Array
    left: Array | None = None
    _values: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def op(self) -> Neuron:
        """The neurons, with arrays for all their numbers."""
        neurons: Neuron = self.layer.op
        numbers: dict[str, Any] = {name: np.asarray(getattr(neurons, name)) for name in PARAMETERS}
        return replace(neurons, **numbers)

    @property
    def rule(self) -> Rule:
        """Their arithmetic."""
        return self.driven.rule

    @cached_property
    def current(self) -> Array:
        """What they read, ``[N, T, *shape]``."""
        return self.driven.current(self.layer)

    @cached_property
    def own(self) -> Run:
        """What they do by the program."""
        return self.rule.run(self.op, self.current)

    @cached_property
    def differs(self) -> Array:
        """Where they do something else, ``[N, T, *shape]``."""
        return self.differing(self.own)

    @cached_property
    def neurons(self) -> Array:
        """Which of them do, ``[*shape]``."""
        return np.asarray(self.differs.any(axis=(0, 1)))

    @cached_property
    def channels(self) -> Array:
        """The neurons of channels of which some do, ``[*shape]``."""
        shape = self.neurons.shape
        one = self.neurons.reshape(shape[0], -1).any(1)
        return np.broadcast_to(one.reshape(-1, *(1,) * (len(shape) - 1)), shape)

    def differing(self, run: Run) -> Array:
        """Where a run is not what was recorded."""
        wrong = run.spikes != self.observed
        if self.left is not None:
            wrong = wrong | (run.left != self.left)
        wrong &= ~self.rule.undecided(self.op, run)
        hidden = np.ones(wrong.shape[1], bool)
        hidden[run.known] = False
        wrong[:, hidden] = False
        return np.asarray(wrong)

    def run(self, op: Neuron | None = None, current: Array | None = None, habit: Habit = USUAL) -> Run:
        """The layer with other neurons, another current, another habit."""
        return self.rule.run(self.op if op is None else op, self.current if current is None else current, habit)

    def with_weights(self, ops: Mapping[str, Op]) -> Array:
        """The current that other weights give, by node."""
        return self.driven.current(self.layer, ops)

    def with_values(self, given: Mapping[str, Array]) -> Array:
        """The current, where weights give what they are said to."""
        return self.driven.current(self.layer, given=given)

    def given(self, synapse: Synapse) -> Array:
        """What weights give ``[N, T, *gives]``."""
        if synapse.name not in self._values:
            self._values[synapse.name] = self.driven.synapse(synapse.name)
        return self._values[synapse.name]

    @cached_property
    def parts(self) -> dict[str, Array]:
        """The current of each synapse, as the neurons read it, and what gains add to these ("")."""
        silent = {each.name: np.zeros_like(self.given(each)) for each in self.layer.synapses}
        base = self.with_values(silent)
        found = {
            each.name: self.with_values({**silent, each.name: self.given(each)}) - base for each in self.layer.synapses
        }
        return {**found, "": base} if base.any() else found

    @cached_property
    def responses(self) -> Responses | None:
        """How the membranes answer to each part, with the resets that were recorded."""
        return responses(self.op, self.rule, self.parts, self.observed)

    def answer(self, current: Array, where: Array) -> Array:
        """How the membranes of a place answer to a current ``[N, T, neurons]``, with the resets that were recorded."""
        found = responses(at(self.op, where), self.rule, {"": current}, self.observed[..., where])
        assert found is not None
        return found.parts[""]

    @cached_property
    def steps(self) -> Steps | None:
        """Single steps from the membranes that were recorded, where these say all; None elsewhere."""
        if self.left is None or self.responses is None or not isinstance(self.rule, IntegerRule):
            return None
        return steps_of(self.op, self.rule.arithmetic, self.current, self.observed, self.left)

    @cached_property
    def slack(self) -> float:
        """How far off that may be."""
        return self.rule.slack(self.op, self.observed.shape[1])


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What may have gone wrong in a layer.

    Attributes:
        name: of its kind.
        detail: which of these it is, in words.
        apply: what the layer would do then.
        free: how many numbers were fitted to what was recorded.
        across: whether it is one of a sample after another, and says nothing of some of them.
    """

    name: str
    detail: str
    apply: Callable[[Case], Run]
    free: int = 0
    across: bool = False
