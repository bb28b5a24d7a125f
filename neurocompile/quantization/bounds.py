"""Bounds on every integer of a program, from its actual weights: interval arithmetic over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.form import Layer, Synapse, form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.kernels import apply, without_bias
from neurocompile.ir.ops import (
    Array,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Input,
    Integrator,
    Neuron,
    Output,
    Scale,
)

__all__ = [
    "Interval",
    "bounded_spikes",
    "current_ranges",
    "event_ranges",
    "membrane_bounds",
    "weighted_range",
    "written_range",
]


@dataclass(frozen=True)
class Interval:
    """Everything between two arrays, ends included."""

    low: Array
    high: Array

    @property
    def magnitude(self) -> int:
        """The largest absolute value in it."""
        return int(max(np.abs(self.low).max(initial=0), np.abs(self.high).max(initial=0)))


def event_ranges(graph: Graph) -> dict[str, Interval]:
    """The range of every event in an integer graph, without batch and time."""
    ranges: dict[str, Interval] = {}
    for node in graph:
        edge = graph.edges[node.name]
        if not edge.is_event or node.name in ranges or isinstance(node.op, Output):
            continue
        _range_of(graph, node, ranges)
    return ranges


def _range_of(graph: Graph, node: Node, ranges: dict[str, Interval]) -> Interval:
    if node.name in ranges:
        return ranges[node.name]
    shape = graph.edges[node.name].shape
    op = node.op
    if isinstance(op, Input):
        found = Interval(np.full(shape, float(op.low)), np.full(shape, float(op.high)))
    elif isinstance(op, Neuron):
        least = 0.0 if op.negative_threshold is None else -1.0
        found = Interval(np.full(shape, least), np.full(shape, float(op.max_spikes)))
    elif isinstance(op, Delay):
        inner = _range_of(graph, graph[node.inputs[0]], ranges)
        found = Interval(np.minimum(inner.low, 0), np.maximum(inner.high, 0))
    else:
        inner_ranges = [_range_of(graph, graph[name], ranges) for name in node.inputs]
        low, high = (
            apply(op, [end[None].astype(np.float64) for end in ends])[0]
            for ends in ([r.low for r in inner_ranges], [r.high for r in inner_ranges])
        )
        found = Interval(low, high)
    ranges[node.name] = found
    return found


def bounded_spikes(graph: Graph) -> Graph:
    """A real graph whose neurons that fire several spikes a step fire no more than their inputs can make them.

    What is left of a membrane is less than a threshold, so that a step adds at most what all weights above 0 bring. An
    eighth is added for weights that are rounded up; a neuron that fires more often all the same is counted.
    """
    for layer in form_of(graph).layers.values():
        op: Any = graph[layer.name].op
        if getattr(op, "max_spikes", 1) == 1:
            continue
        x = current_ranges(layer, event_ranges(graph))[layer.current].high + np.maximum(op.input_bias, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            i = np.where(op.current_decay < 1, x / (1 - op.current_decay), np.inf)
            left = np.maximum(op.threshold, np.maximum(op.v_init, op.v_reset if op.reset == "to" else 0))
            most = np.max((np.abs(op.decay) * left + np.maximum(op.gain * i, 0) + op.bias) / op.amount)
        within = op.reset != "none" and np.all(op.gain > 0) and np.isfinite(most)
        bound = min(op.max_spikes, int(1.125 * most) + 2) if within else op.max_spikes
        graph = graph.rewritten({layer.name: replace(graph[layer.name], op=replace(op, max_spikes=max(bound, 2)))})
    return graph


def current_ranges(layer: Layer, events: Mapping[str, Interval]) -> dict[str, Interval]:
    """The range of each current of a layer with integer weights, by node; ``[layer.current]`` is what the neurons read.

    Args:
        layer: of an integer graph, or with integers in its nodes.
        events: the ranges of all events.
    """
    found = {synapse.name: weighted_range(synapse, events[synapse.event]) for synapse in layer.synapses}
    for node in layer.wiring:
        inner = [found[name] for name in node.inputs]
        if isinstance(node.op, Gain):
            found[node.name] = _gained(node.op, inner[0])
            continue
        low, high = (apply(node.op, [end[None] for end in ends])[0] for ends in zip(*((r.low, r.high) for r in inner)))
        found[node.name] = Interval(low, high)
    return found


def written_range(layer: Layer, events: Mapping[str, Interval]) -> Interval:
    """The range of what real-valued inputs, and biases of single steps, give a layer: its current without spikes."""
    silent = {
        synapse.event: event if synapse.reads.carries == "real" else Interval(event.low * 0, event.high * 0)
        for synapse in layer.synapses
        for event in (events[synapse.event],)
    }
    return current_ranges(layer, silent)[layer.current]


def weighted_range(synapse: Synapse, event: Interval) -> Interval:
    """The range of what a layer of weights gives for an event."""
    more, less = _part(synapse.op, 1), _part(synapse.op, -1)
    low, high = (
        _pushed(more, a, synapse.gives) + _pushed(less, b, synapse.gives)
        for a, b in ((event.low, event.high), (event.high, event.low))
    )
    return Interval(low, high)


def _pushed(op: Any, end: Array, shape: tuple[int, ...]) -> Array:
    """An operation on an end of an interval; ends that are the same all over each channel need one channel only."""
    if not end.any():
        return np.zeros(shape)
    by_channel = end.reshape(len(end), -1)[:, 0]
    alike = isinstance(op, Conv | ConvTranspose) and op.groups == 1
    if alike and bool((end == by_channel.reshape(-1, *(1,) * (end.ndim - 1))).all()):
        inputs = 1 if isinstance(op, Conv) else 0  # the axis of the kernel
        each = by_channel.reshape(*(1,) * inputs, -1, *(1,) * (op.weight.ndim - inputs - 1))
        op = replace(op, weight=(op.weight * each).sum(inputs, keepdims=True))
        end = np.ones((1, *end.shape[1:]))
    pushed: Array = apply(op, [end[None]])[0]
    return pushed


def _gained(op: Gain, x: Interval) -> Interval:
    """All that a gain of mantissas gives at any step, with one step of rounding either way unless it is whole."""
    gains = op.gains.reshape(-1, *(1,) * x.low.ndim) / 2.0**op.fraction
    products = _times(x, gains)
    return Interval((products.low + op.bias).min(0), (products.high + op.bias).max(0))


def _part(op: Any, sign: int) -> Any:
    """The positive or the negative weights alone, in float64 (exact below 2**53)."""
    bare: Any = without_bias(op)
    name = "scale" if isinstance(bare, Scale) else "weight"
    weight = getattr(bare, name).astype(np.float64)
    return replace(bare, **{name: np.maximum(weight, 0.0) if sign > 0 else np.minimum(weight, 0.0)})


def membrane_bounds(
    op: Neuron | Integrator,
    current: Interval,
    shape: tuple[int, ...],
    arithmetic: Arithmetic,
    timesteps: int,
    *,
    saturates_below: bool = False,
) -> Interval:
    """The range of everything a neuron's or an integrator's registers hold within ``timesteps`` steps from rest.

    Args:
        op: with integer parameters.
        current: the range of its synaptic sum, before the shift.
        shape: of the layer.
        arithmetic: of the target.
        timesteps: T.
        saturates_below: the membrane stays at its smallest value where it would fall below; the range then ends there.
    """
    one = 2.0**arithmetic.decay_fraction
    slack = 0 if op.shift >= 0 else 1
    x = Interval(np.floor(current.low * 2.0**op.shift) - slack, np.ceil(current.high * 2.0**op.shift) + slack)
    start = np.zeros(shape) if isinstance(op, Integrator) else np.broadcast_to(op.v_init, shape).astype(np.float64)
    v, i = Interval(start, start), Interval(np.zeros(shape), np.zeros(shape))
    worst = _hull(_hull(v, x), i)
    steady = not any(np.any(np.abs(getattr(op, name, 0)) > one) for name in ("decay", "keep"))
    steady = steady and not np.any(getattr(op, "current_decay", 0))
    for step in range(timesteps):
        before = v, i
        if isinstance(op, Integrator):
            kept = _times(v, op.decay / one)
            v = Interval(kept.low + x.low + op.bias, kept.high + x.high + op.bias)
            worst = _hull(worst, v)
        else:
            kept_i = _times(i, op.current_decay / one)
            i = Interval(kept_i.low + x.low + op.input_bias, kept_i.high + x.high + op.input_bias)
            kept = _times(v, op.decay / one)
            heard = Interval(np.minimum(i.low, 0), np.maximum(i.high, 0)) if op.deaf else i
            h = Interval(kept.low + heard.low + op.bias, kept.high + heard.high + op.bias)
            if saturates_below:
                h = Interval(np.maximum(h.low, arithmetic.state_min), np.maximum(h.high, arithmetic.state_min))
            v = _after(op, h, one)
            worst = _hull(_hull(worst, h), _hull(i, v))
        if _same(before[0], v) and _same(before[1], i):
            return worst
        if worst.magnitude > arithmetic.state_max or (steady and step + 1 == _EXACT_STEPS):
            return _extrapolated(op, worst, x, timesteps - step - 1)
    return worst


# So many steps are followed one by one; what has not settled by then is extrapolated.
_EXACT_STEPS = 256


def _same(a: Interval, b: Interval) -> bool:
    return np.array_equal(a.low, b.low) and np.array_equal(a.high, b.high)


def _extrapolated(op: Neuron | Integrator, worst: Interval, x: Interval, steps: int) -> Interval:
    """A bound after more steps, for a membrane that does not amplify itself.

    A step adds at most its input, its biases, a reset by ``amount`` and two roundings; a reset to a value goes there.
    """
    step = np.maximum(np.abs(x.low), np.abs(x.high)) + np.abs(op.bias) + 2
    once = np.zeros(())
    if isinstance(op, Neuron):
        step = step + np.abs(op.input_bias) + (np.abs(op.amount) if op.reset == "by" else 0)
        once = np.abs(op.v_reset)
    more = step * steps + once
    return Interval(worst.low - more, worst.high + more)


def _hull(a: Interval, b: Interval) -> Interval:
    return Interval(np.minimum(a.low, b.low), np.maximum(a.high, b.high))


def _times(value: Interval, factor: Array) -> Interval:
    """A product with a decay or a gain, with one step of rounding either way unless the factor is whole."""
    a, b = value.low * factor, value.high * factor
    slack = np.mod(factor, 1) != 0
    return Interval(np.floor(np.minimum(a, b)) - slack, np.ceil(np.maximum(a, b)) + slack)


def _after(op: Neuron, h: Interval, one: float) -> Interval:
    """What the membrane can be after the reset."""
    if op.reset == "none":
        return h
    if op.max_spikes > 1:
        return _after_many(op, h)
    certain = op.refractory == 0 and op.negative_threshold is None
    silent_high = np.where(op.flip, h.high, np.minimum(h.high, op.threshold - 1)) if certain else h.high
    silent_low = np.where(op.flip, np.maximum(h.low, op.threshold + 1), h.low) if certain else h.low
    fires = np.where(op.flip, h.low <= op.threshold, h.high >= op.threshold)
    if op.negative_threshold is not None:
        fires = fires | (h.low <= op.negative_threshold)
    silent = silent_low <= silent_high
    if op.reset == "to":
        reset = Interval(np.broadcast_to(op.v_reset, h.low.shape), np.broadcast_to(op.v_reset, h.low.shape))
    else:
        fired_low = np.where(op.flip, h.low, np.maximum(h.low, op.threshold)) if certain else h.low
        fired_high = np.where(op.flip, np.minimum(h.high, op.threshold), h.high) if certain else h.high
        kept = _times(Interval(fired_low, np.maximum(fired_low, fired_high)), op.keep / one)
        least = np.abs(op.amount) if op.negative_threshold is not None else op.amount
        reset = Interval(kept.low - least, kept.high - (op.amount if op.negative_threshold is None else -least))
    low = np.where(fires & silent, np.minimum(silent_low, reset.low), np.where(fires, reset.low, silent_low))
    high = np.where(fires & silent, np.maximum(silent_high, reset.high), np.where(fires, reset.high, silent_high))
    return Interval(low.astype(np.float64), high.astype(np.float64))


def _after_many(op: Neuron, h: Interval) -> Interval:
    """Of neurons that fire several times a step: less than a threshold is left, but for what is more than they can."""
    fires, silent = h.high >= op.threshold, h.low < op.threshold
    if op.reset == "to":
        low, high = op.v_reset, op.v_reset
    else:
        low, high = op.threshold - op.amount, np.maximum(op.threshold - 1, h.high - op.max_spikes * op.amount)
    low = np.where(fires, np.where(silent, np.minimum(h.low, low), low), h.low)
    high = np.where(fires, np.where(silent, np.maximum(op.threshold - 1, high), high), h.high)
    return Interval(low.astype(np.float64), high.astype(np.float64))
