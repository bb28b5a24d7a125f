"""Exact counts of what a run makes a chip do.

One synaptic operation (SOP) is one non-zero event meeting one stored weight, zero weights included; weights outside a
padded border are not stored. An event that is added to others (a sum pool, a sum of spikes) meets one weight for each
sum that it is in. Real-valued inputs cost multiply-accumulates (MACs) instead, at every step whatever their value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.ir.counts import Counts
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    Add,
    Array,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Linear,
    Neuron,
    Scale,
    SumPool,
)

__all__ = ["Fanout", "count_events", "fanouts", "stored_in", "stored_synapses"]


@dataclass(frozen=True)
class Fanout:
    """How many stored weights (and how many of them non-zero) each element of an event meets in one node.

    ``layer`` is what they count for: the layer that the node's weights feed, or the node itself, a sum of events.
    """

    node: str
    layer: str
    event: str
    stored: Array
    nonzero: Array
    real: Array

    @property
    def macs_per_step(self) -> int:
        """What the real-valued elements cost at every step."""
        return int(self.stored[self.real].sum())


def fanouts(graph: Graph, *, real_only: bool = False) -> list[Fanout]:
    """Every place where events (or only those that are real numbers, at least in part) meet weights."""
    real = _real_elements(graph)
    found = []
    for layer in form_of(graph).layers.values():
        for synapse in layer.synapses:
            if real_only and not real[synapse.event].any():
                continue
            ones = _stored(synapse.op), _nonzero(synapse.op)
            stored, nonzero = (_adjoint(each, synapse.reads.shape, synapse.gives) for each in ones)
            found.append(Fanout(synapse.name, layer.name, synapse.event, stored, nonzero, real[synapse.event]))
    for node in form_of(graph).sums:
        for event in node.inputs:
            if real_only and not real[event].any():
                continue
            stored = _adjoint(node.op, graph.edges[event].shape, graph.edges[node.name].shape)
            found.append(Fanout(node.name, node.name, event, stored, stored, real[event]))
    return found


def stored_synapses(graph: Graph) -> int:
    """How many synapses (pairs of an event's element and a neuron) the network has; shared weights count each time."""
    return sum(int(fanout.stored.sum()) for fanout in fanouts(graph))


def stored_in(op: Any, reads: tuple[int, ...], gives: tuple[int, ...]) -> int:
    """How many synapses an operation has, what :func:`fanouts` sums up to: counted by its shapes alone.

    Args:
        op: Linear, Conv, ConvTranspose or Scale.
        reads: the shape of the event.
        gives: the shape of the current.
    """
    if isinstance(op, Linear):
        return int(op.weight.size if op.stored is None else np.count_nonzero(op.stored))
    if isinstance(op, Scale):
        return int(np.prod(reads, dtype=int))
    few, many = (reads, gives) if isinstance(op, ConvTranspose) else (gives, reads)
    before = op.padding if isinstance(op, ConvTranspose) else [pad for pad, _ in op.padding]
    pairs = int(np.prod(op.weight.shape[:2]))
    for axis, (stride, dilation, pad) in enumerate(zip(op.stride, op.dilation, before)):
        at = np.arange(few[1 + axis])[:, None] * stride + np.arange(op.weight.shape[2 + axis]) * dilation - pad
        pairs *= int(((at >= 0) & (at < many[1 + axis])).sum())
    return pairs


def _real_elements(graph: Graph) -> dict[str, Array]:
    """Which elements of each event are real numbers rather than spikes."""
    found, again = _told_real(graph, {}), True
    while again:  # a delay may stand before what it reads
        before, found = found, _told_real(graph, found)
        again = any(not np.array_equal(each, before[name]) for name, each in found.items())
    return found


def _told_real(graph: Graph, before: Mapping[str, Array]) -> dict[str, Array]:
    """The same, where of what a delay reads this is known ``before``."""
    real: dict[str, Array] = {}
    for node in graph:
        edge = graph.edges[node.name]
        if not edge.is_event:
            continue
        if isinstance(node.op, Input):
            real[node.name] = np.full(edge.shape, edge.carries == "real")
        elif isinstance(node.op, Neuron) or edge.carries == "spikes":
            real[node.name] = np.zeros(edge.shape, bool)
        elif isinstance(node.op, Delay):
            nothing = np.zeros(edge.shape, bool)
            real[node.name] = real.get(node.inputs[0], before.get(node.inputs[0], nothing))
        else:
            inputs = [real[name][None].astype(np.float64) for name in node.inputs]
            real[node.name] = apply(node.op, inputs)[0] > 0
    return real


def _stored(op: Any) -> Any:
    if isinstance(op, Linear):
        return Linear(np.ones(op.weight.shape) if op.stored is None else op.stored.astype(np.float64))
    return _with_weight(op, np.ones(op.scale.shape if isinstance(op, Scale) else op.weight.shape))


def _nonzero(op: Any) -> Any:
    return _with_weight(op, ((op.scale if isinstance(op, Scale) else op.weight) != 0).astype(np.float64))


def _with_weight(op: Any, weight: Array) -> Any:
    return replace(op, **{"scale" if isinstance(op, Scale) else "weight": weight})


def _adjoint(ones: Any, shape: tuple[int, ...], out: tuple[int, ...]) -> Array:
    """For each input element the sum of the weights that it meets, where the weights are 0 or 1."""
    match ones:
        case Scale():
            met = np.broadcast_to(ones.scale, shape)
        case Add():
            met = np.ones(shape)
        case Linear():
            met = ones.weight.sum(0)
        case SumPool():
            rank = len(ones.kernel)
            kernel = np.ones((shape[0], 1, *ones.kernel))
            met = _adjoint_conv(Conv(kernel, None, ones.stride, ones.padding, (1,) * rank, shape[0]), shape, out)
        case Conv():
            met = _adjoint_conv(ones, shape, out)
        case _:
            pads = tuple((p, p) for p in ones.padding)
            conv = Conv(ones.weight, None, ones.stride, pads, ones.dilation, ones.groups)
            met = apply(conv, [np.ones((1, *out))])[0][(slice(None), *(slice(0, n) for n in shape[1:]))]
    whole: Array = np.rint(met).astype(np.int64)
    return whole


def _adjoint_conv(op: Conv, shape: tuple[int, ...], out: tuple[int, ...]) -> Array:
    none = (0,) * len(op.stride)
    transposed = ConvTranspose(op.weight, None, op.stride, none, none, op.dilation, op.groups)
    full = apply(transposed, [np.ones((1, *out))])[0]
    met = np.zeros(shape)
    inside, source = [], []
    for n, size, (before, _) in zip(shape[1:], full.shape[1:], op.padding):
        start = max(0, -before)
        stop = max(start, min(n, size - before))
        inside.append(slice(start, stop))
        source.append(slice(start + before, stop + before))
    met[(slice(None), *inside)] = full[(slice(None), *source)]
    return met


def count_events(counts: Counts, events: Mapping[str, Array], found: list[Fanout], graded: bool) -> None:
    """Add one step's events ``[N, *shape]`` to the counts. Without graded spikes a value of n is n events."""
    for fanout in found:
        event = events[fanout.event]
        times = (event != 0).astype(np.int64) if graded else np.abs(event).astype(np.int64)
        times = np.where(fanout.real, 0, times)
        axes = tuple(range(1, event.ndim))
        layer = counts.layers[fanout.layer]
        layer.sops += (times * fanout.stored).sum(axes)
        layer.sops_nonzero += (times * fanout.nonzero).sum(axes)
        layer.macs += fanout.macs_per_step
