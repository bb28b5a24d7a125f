"""An integer graph run and counted in plain Python: every spike walks every weight that it meets.

Numbers are Python's own, so that nothing can overflow unseen; a layer is a list of synapses (from, to, weight).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["Walk", "neuron_step", "walk"]

Place = tuple[int, ...]
Values = dict[Place, int]
NAMES = ("sops", "sops_nonzero", "macs", "spikes", "active", "inactive")


@dataclass
class Walk:
    """What one sample did: emitted values by node and step, h by neuron and step, counts by layer."""

    emitted: dict[str, list[Values]] = field(default_factory=lambda: defaultdict(list))
    membranes: dict[str, list[Values]] = field(default_factory=lambda: defaultdict(list))
    counts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: dict.fromkeys(NAMES, 0)))


def walk(graph: Graph, arithmetic: Arithmetic, inputs: dict[str, np.ndarray]) -> Walk:
    """Run one sample, ``inputs[name][T, ...]``."""
    done = Walk()
    synapses = {node.name: _synapses(graph, node) for node in graph if isinstance(node.op, _LINEAR)}
    steps = len(next(iter(inputs.values())))
    state: dict[str, dict[Place, dict[str, int]]] = {}
    real: dict[str, set[Place]] = _real_places(graph)
    for t in range(steps):
        now: dict[str, Values] = {}
        for node in graph:
            op, places = node.op, list(np.ndindex(*graph.edges[node.name].shape))
            if isinstance(op, Input):
                now[node.name] = {p: int(inputs[node.name][t][p]) for p in places}
            elif isinstance(op, Output):
                now[node.name] = now[node.inputs[0]]
            elif isinstance(op, Delay):
                before = done.emitted[node.inputs[0]]
                now[node.name] = before[t - op.steps] if t >= op.steps else dict.fromkeys(places, 0)
            elif isinstance(op, Gain):
                given = now[node.inputs[0]]
                now[node.name] = {p: _gained(op, given[p], t, p, arithmetic, places) for p in places}
            elif isinstance(op, MaxPool):
                now[node.name] = _max_pool(op, now[node.inputs[0]], places)
            elif isinstance(op, Neuron | Integrator):
                rest = state.setdefault(
                    node.name, {p: {"v": _at(_rest(op), p, places), "i": 0, "wait": 0} for p in places}
                )
                now[node.name] = _update(node, arithmetic, now[node.inputs[0]], rest, done, places)
            else:
                now[node.name] = _meet(graph, node, now, synapses[node.name], real, arithmetic, done, places)
        for name, values in now.items():
            done.emitted[name].append(values)
    return done


# -- synapses ----------------------------------------------------------------------------------------------------------

_WEIGHTS = (Linear, Conv, ConvTranspose, Scale)
_LINEAR = (*_WEIGHTS, SumPool, Add, Concat, Reshape, Upsample)
Synapses = list[dict[Place, list[tuple[Place, int]]]]


def _at(array: Any, place: Place, places: list[Place]) -> int:
    """An array's value at a place of the layer that it broadcasts over."""
    array = np.asarray(array)
    shape = tuple(n + 1 for n in places[-1])
    return int(np.broadcast_to(array, shape)[place])


def _synapses(graph: Graph, node: Node) -> Synapses:
    """For each input of a node, for each of its places: where it goes, with which weight."""
    op: Any = node.op
    out = graph.edges[node.name].shape
    tables: Synapses = []
    start = 0
    for number, source in enumerate(node.inputs):
        shape = graph.edges[source].shape
        table: dict[Place, list[tuple[Place, int]]] = {p: [] for p in np.ndindex(*shape)}
        match op:
            case Linear():
                for i, j in product(range(len(op.weight)), range(shape[0])):
                    if op.stored is None or op.stored[i, j]:
                        table[(j,)].append(((i,), int(op.weight[i, j])))
            case Scale():
                scale = np.broadcast_to(op.scale, shape)
                for p in table:
                    table[p].append((p, int(scale[p])))
            case Conv():
                _conv(op, shape, out, table)
            case ConvTranspose():
                _conv_transpose(op, shape, out, table)
            case SumPool():
                for to in np.ndindex(*out):
                    for tap in product(*map(range, op.kernel)):
                        rest = [o * s + k - a for o, s, k, (a, _) in zip(to[1:], op.stride, tap, op.padding)]
                        if (to[0], *rest) in table:
                            table[(to[0], *rest)].append((to, 1))
            case Add():
                for p in table:
                    table[p].append((p, 1))
            case Concat():
                for p in table:
                    moved = list(p)
                    moved[op.axis] += start
                    table[p].append((tuple(moved), 1))
                start += shape[op.axis]
            case Reshape():
                for p, to in zip(np.ndindex(*shape), np.ndindex(*out)):
                    table[p].append((to, 1))
            case Upsample():
                for to in np.ndindex(*out):
                    table[(to[0], *(o // f for o, f in zip(to[1:], op.factors)))].append((to, 1))
        assert number == 0 or isinstance(op, Add | Concat)
        tables.append(table)
    return tables


def _conv(op: Conv, shape: Place, out: Place, table: dict[Place, list[tuple[Place, int]]]) -> None:
    outputs, per_group, *kernel = op.weight.shape
    for to in np.ndindex(*out):
        group = to[0] // (outputs // op.groups)
        for c, *tap in product(range(per_group), *map(range, kernel)):
            places = [o * s + k * d - a for o, s, k, d, (a, _) in zip(to[1:], op.stride, tap, op.dilation, op.padding)]
            source = (group * per_group + c, *places)
            if source in table:
                table[source].append((to, int(op.weight[(to[0], c, *tap)])))


def _conv_transpose(op: ConvTranspose, shape: Place, out: Place, table: dict[Place, list[tuple[Place, int]]]) -> None:
    inputs, per_group, *kernel = op.weight.shape
    for source in table:
        group = source[0] // (inputs // op.groups)
        for c, *tap in product(range(per_group), *map(range, kernel)):
            places = [i * s + k * d - p for i, s, k, d, p in zip(source[1:], op.stride, tap, op.dilation, op.padding)]
            to = (group * per_group + c, *places)
            if all(0 <= o < n for o, n in zip(to, out)):
                table[source].append((to, int(op.weight[(source[0], c, *tap)])))


def _meet(
    graph: Graph,
    node: Node,
    now: dict[str, Values],
    tables: Synapses,
    real: dict[str, set[Place]],
    arithmetic: Arithmetic,
    done: Walk,
    places: list[Place],
) -> Values:
    """Let every event meet every weight; count where it is a weight or a sum of events."""
    total = dict.fromkeys(places, 0)
    weights = isinstance(node.op, _WEIGHTS)
    counted = weights or (isinstance(node.op, SumPool | Add) and graph.edges[node.name].is_event)
    counts = done.counts[_layer(graph, node)] if counted else None
    for source, table in zip(node.inputs, tables):
        for place, value in now[source].items():
            for to, weight in table[place]:
                total[to] += weight * value
                if counts is None:
                    continue
                if place in real.get(source, ()):
                    counts["macs"] += 1
                elif value != 0:
                    events = 1 if arithmetic.graded_spikes else abs(value)
                    counts["sops"] += events
                    counts["sops_nonzero"] += events if weight != 0 else 0
    return total


def _layer(graph: Graph, node: Node) -> str:
    """The neuron or integrator that a layer of weights ends in; a sum of events counts for itself."""
    if not isinstance(node.op, _WEIGHTS):
        return node.name
    while not isinstance(node.op, Neuron | Integrator):
        (node,) = graph.consumers[node.name]
    return node.name


def _real_places(graph: Graph) -> dict[str, set[Place]]:
    """Which places of events hold real numbers, which cost a multiplication whatever they are."""
    found: dict[str, set[Place]] = {}
    for _ in range(2):  # twice: a delay may stand before what it reads
        for node in graph:
            if not graph.edges[node.name].is_event:
                continue
            op, places = node.op, set(np.ndindex(*graph.edges[node.name].shape))
            if isinstance(op, Input):
                found[node.name] = places if op.carries == "real" else set()
            elif isinstance(op, Neuron):
                found[node.name] = set()
            elif isinstance(op, Delay):
                found[node.name] = found.get(node.inputs[0], set())
            elif isinstance(op, MaxPool):
                inside = found[node.inputs[0]]
                found[node.name] = {p for p in places if any(q in inside for q in _window(op, p))}
            else:
                tables = _synapses(graph, node)
                found[node.name] = {
                    to for source, table in zip(node.inputs, tables) for p in found[source] for to, _ in table[p]
                }
    return found


def _window(op: MaxPool, to: Place) -> list[Place]:
    return [
        (to[0], *(o * s + k * d - a for o, s, k, d, (a, _) in zip(to[1:], op.stride, tap, op.dilation, op.padding)))
        for tap in product(*map(range, op.kernel))
    ]


def _max_pool(op: MaxPool, values: Values, places: list[Place]) -> Values:
    return {to: max(values[p] for p in _window(op, to) if p in values) for to in places}


def _gained(op: Gain, value: int, t: int, place: Place, arithmetic: Arithmetic, places: list[Place]) -> int:
    bias = _at(op.bias[t] if op.bias.ndim else op.bias, place, places)
    return _shifted(value * int(op.gains[t]), -op.fraction, arithmetic) + bias


# -- neurons -----------------------------------------------------------------------------------------------------------


def _rest(op: Any) -> Any:
    return op.v_init if isinstance(op, Neuron) else 0


def _decayed(value: int, mantissa: int, arithmetic: Arithmetic) -> int:
    """``value * mantissa / 2**fraction``, rounded as the target rounds."""
    return _divided(value * mantissa, 2**arithmetic.decay_fraction, arithmetic)


def _shifted(value: int, shift: int, arithmetic: Arithmetic) -> int:
    return value * 2**shift if shift >= 0 else _divided(value, 2**-shift, arithmetic)


def _divided(value: int, whole: int, arithmetic: Arithmetic) -> int:
    match arithmetic.rounding:
        case "floor":
            return value // whole
        case "nearest":  # halves upwards
            return (2 * value + whole) // (2 * whole)
    return abs(value) // whole * (1 if value >= 0 else -1)


def _above(h: int, threshold: int, strict: bool) -> bool:
    return h > threshold if strict else h >= threshold


def neuron_step(
    op: Any, place: Place, places: list[Place], x: int, state: dict[str, int], arithmetic: Arithmetic
) -> tuple[int, int]:
    """One step of one neuron: h and the spike. The state is changed in place."""

    def of(name: str) -> int:
        return _at(getattr(op, name), place, places)

    state["i"] = (
        _decayed(state["i"], of("current_decay"), arithmetic) + _shifted(x, op.shift, arithmetic) + of("input_bias")
    )
    heard = 0 if op.deaf and state["wait"] else state["i"]
    h = _decayed(state["v"], of("decay"), arithmetic) + heard + of("bias")
    threshold = of("threshold")
    if of("flip"):
        spike = int(h < threshold if op.strict else h <= threshold)
    else:
        spike = int(h > threshold if op.strict else h >= threshold)
    while 0 < spike < op.max_spikes and _above(h - spike * of("amount"), threshold, op.strict):
        spike += 1
    if op.negative_threshold is not None and not spike:
        below = of("negative_threshold")
        spike = -int(h < below if op.strict else h <= below)
    if op.refractory and state["wait"]:
        spike = 0
        state["wait"] -= 1 if state["wait"] > 0 else 0
    elif spike and op.refractory:
        state["wait"] = op.refractory
    if op.deaf:
        state["wait"] = abs(spike)
    if not spike or op.reset == "none":
        state["v"] = h
    elif op.reset == "to":
        state["v"] = of("v_reset")
    else:
        state["v"] = _decayed(h, of("keep"), arithmetic) - of("amount") * spike
    return h, spike


def _update(
    node: Node,
    arithmetic: Arithmetic,
    x: Values,
    state: dict[Place, dict[str, int]],
    done: Walk,
    places: list[Place],
) -> Values:
    op: Any = node.op
    counts = done.counts[node.name]
    out: Values = {}
    membranes: Values = {}
    for p in places:
        rest = state[p]
        current = rest["i"] * int(_at(op.current_decay, p, places)) if isinstance(op, Neuron) else 0
        counts["active" if x[p] or rest["v"] or current else "inactive"] += 1
        if isinstance(op, Integrator):
            decayed = _decayed(rest["v"], _at(op.decay, p, places), arithmetic)
            rest["v"] = out[p] = membranes[p] = decayed + _shifted(x[p], op.shift, arithmetic) + _at(op.bias, p, places)
            continue
        membranes[p], out[p] = neuron_step(op, p, places, x[p], rest, arithmetic)
        counts["spikes"] += abs(out[p])
    done.membranes[node.name].append(membranes)
    return out
