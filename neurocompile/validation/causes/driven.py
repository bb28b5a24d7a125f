"""Each layer of a network by itself, driven by what its sources are recorded to have fired, not what they should have.

A layer that then fires what is recorded of it does what the program says, whatever happened before it. One that does
not is where something went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from neurocompile.ir.form import Layer, SynapticForm, form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Delay, Gain, Input, Neuron, Op
from neurocompile.simulator.reference import shifted
from neurocompile.validation.causes.rules import IntegerRule, Rule, Run

__all__ = ["Driven", "later"]


class Driven:
    """A graph in synaptic form, and what its inputs and its recorded layers gave.

    Args:
        graph: in synaptic form.
        rule: its arithmetic.
        given: inputs ``[N, T, *shape]`` by name, and what hosts fed.
        fired: of each layer that was recorded, its spikes ``[N, T, *shape]``.
        expected: the program's own spikes of every layer, for loops of layers of which none was recorded.
    """

    def __init__(
        self, graph: Graph, rule: Rule, given: Mapping[str, Array], fired: Mapping[str, Array],
        expected: Mapping[str, Array],
    ) -> None:  # fmt: skip
        self.graph = graph
        self.rule = rule
        self.given = given
        self.fired = fired
        self.expected = expected
        self._events: dict[str, Array] = {}
        self._open: set[str] = set()
        self._whole = isinstance(rule, IntegerRule)

    @cached_property
    def form(self) -> SynapticForm:
        """The layers."""
        return form_of(self.graph)

    def with_fired(self, fired: Mapping[str, Array]) -> Driven:
        """The same, where some layers are taken to have fired something else."""
        return Driven(self.graph, self.rule, self.given, {**self.fired, **fired}, self.expected)

    def sources(self, name: str) -> tuple[str, ...]:
        """The recorded layers whose spikes a layer hears, through layers that were not recorded, too."""
        return tuple(dict.fromkeys(self._heard(name, {name})))

    def between(self, name: str) -> tuple[str, ...]:
        """The layers that were not recorded, and stand between a layer and what was."""
        seen = {name}
        for _ in self._heard(name, seen):
            pass
        return tuple(each for each in self.form.layers if each in seen - {name})

    def _heard(self, name: str, seen: set[str]) -> Iterator[str]:
        for synapse in self.form.layers[name].synapses:
            for source in self._emitters(synapse.event):
                if source in self.fired:
                    yield source
                elif source in self.form.layers and source not in seen:
                    seen.add(source)
                    yield from self._heard(source, seen)

    def _emitters(self, event: str) -> list[str]:
        """The neurons behind an event."""
        found, waiting, seen = [], [event], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if isinstance(self.graph[name].op, Neuron):
                found.append(name)
            else:
                waiting += self.graph[name].inputs
        return found

    # -- what runs along the edges ------------------------------------------------------------------------------------

    def run(self, name: str) -> Run:
        """What a layer does by the program, driven by what was recorded."""
        layer = self.form.layers[name]
        return self.rule.run(layer.op, self.current(layer))

    def current(
        self, layer: Layer, ops: Mapping[str, Op] | None = None, given: Mapping[str, Array] | None = None
    ) -> Array:
        """What the neurons of a layer read, ``[N, T, *shape]``.

        Args:
            layer: of this graph.
            ops: other weights (or gains) for nodes of the layer, by name.
            given: the outputs of nodes of the layer, where they are not what these weights give.
        """
        return self._value(layer.current, frozenset(layer.currents), ops or {}, given or {})

    def synapse(self, name: str, op: Op | None = None) -> Array:
        """What weights give ``[N, T, *gives]``; ``op``: other weights."""
        return self._value(name, frozenset({name}), {} if op is None else {name: op}, {})

    def events(self, name: str) -> Array:
        """What a node that hands on events gives, ``[N, T, *shape]``."""
        return self._value(name, frozenset(), {}, {})

    def _value(self, name: str, inside: frozenset[str], ops: Mapping[str, Op], given: Mapping[str, Array]) -> Array:
        if name in given:
            return given[name]
        if name not in inside and name in self._events:
            return self._events[name]
        node = self.graph[name]
        match ops.get(name, node.op):
            case Input():
                value = np.asarray(self.given[name], np.float64)
            case Neuron() as op:
                value = self._spikes(name) * (1.0 if self._whole else op.amplitude)
            case Delay(steps=steps):
                value = later(self._value(node.inputs[0], inside, ops, given), steps)
            case Gain() as op:
                value = self._gained(op, self._value(node.inputs[0], inside, ops, given))
            case op:
                parts = [self._value(source, inside, ops, given) for source in node.inputs]
                samples, steps = parts[0].shape[:2]
                flat = apply(op, [part.reshape(samples * steps, *part.shape[2:]) for part in parts])
                value = flat.reshape(samples, steps, *flat.shape[1:])
        if name not in inside:
            self._events[name] = value
        return value

    def _spikes(self, name: str) -> Array:
        if name in self.fired:
            return self.fired[name].astype(np.float64)
        if name in self._open:  # a loop of layers that nobody recorded
            return self.expected[name].astype(np.float64)
        self._open.add(name)
        try:
            return self.run(name).spikes.astype(np.float64)
        finally:
            self._open.discard(name)

    def _gained(self, op: Gain, current: Array) -> Array:
        gains = op.gains.reshape(-1, *(1,) * (current.ndim - 2))[: current.shape[1]]
        bias = op.bias[: current.shape[1]] if op.bias.ndim else op.bias
        if not self._whole:
            return np.asarray(gains * current + bias)
        assert isinstance(self.rule, IntegerRule)
        product = current.astype(np.int64) * gains.astype(np.int64)
        return np.asarray(shifted(product, -op.fraction, self.rule.arithmetic.rounding) + bias, np.float64)


def later(values: Array, steps: int) -> Array:
    """``values[N, T, ...]`` so many steps later (earlier, if negative), and 0 where nothing is known."""
    moved = np.zeros_like(values)
    if steps == 0:
        return values
    if abs(steps) < values.shape[1]:
        if steps > 0:
            moved[:, steps:] = values[:, :-steps]
        else:
            moved[:, :steps] = values[:, -steps:]
    return moved
