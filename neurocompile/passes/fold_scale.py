"""Scales (batch norms, amplitudes, the divisors of average pools) move into the weights or neurons beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.ir.arrays import compact
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.kernels import apply, without_bias
from neurocompile.ir.ops import (
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["FoldScale", "scale_inputs", "scale_outputs"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FoldScale:
    """Move every Scale, exactly, until none can move.

    1. Up: into the layer with weights that it reads, if nobody else reads that layer; through a Reshape between them,
       and through a Gain, behind which the shift is left (before it, it would differ from step to step). Or into the
       membrane that it reads, if it has no shift; an integrator that then only hands on a membrane goes.
    2. Down: into every reader, if every reader can take it. A layer with weights multiplies its columns and adds what
       the shift gives to its bias, place by place where zero padding makes the borders differ; a neuron or an
       integrator multiplies its gain; Reshape, Upsample, Concat, SumPool, MaxPool (positive scales only), Delay and
       Gain (no shift) let it pass.

    It does not fold where weights are shared over places and the scale is not, nor through an Add.
    """

    name: str = "fold-scale"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Apply the rules until nothing changes."""
        log: list[str] = []
        while True:
            for node in graph.of(Scale):
                moved = _up(graph, node) or _down(graph, node)
                if moved is not None:
                    graph, line = moved
                    log += [line] if line else []
                    break
            else:
                return _without_handing_on(graph, log)


def _without_handing_on(graph: Graph, log: list[str]) -> tuple[Graph, list[str]]:
    for node in graph.of(Integrator):
        op: Any = node.op
        source = graph[node.inputs[0]]
        same = not np.any(op.decay) and np.all(op.gain == 1) and not np.any(op.bias)
        if same and isinstance(source.op, Integrator):
            graph = graph.rewritten(_skipping(graph, node, source.name, {}))
            log = [*log, f"{node.name} is {source.name}"]
    return graph, log


def _up(graph: Graph, node: Node) -> tuple[Graph, str] | None:
    assert isinstance(node.op, Scale)
    scale, shift, shape = node.op.scale, node.op.shift, graph.edges[node.name].shape
    source = graph[node.inputs[0]]
    left: Array | None = None
    while len(graph.consumers[source.name]) == 1:
        if isinstance(source.op, Reshape):
            inner = graph.edges[source.inputs[0]].shape
            scale = compact(np.broadcast_to(scale, shape).reshape(inner), inner)
            shift = compact(np.broadcast_to(shift, shape).reshape(inner), inner)
            shape = inner
        elif isinstance(source.op, Gain) and not np.any(source.op.bias):
            left, shift = node.op.shift, np.zeros(())
        else:
            break
        source = graph[source.inputs[0]]
    if left is not None and np.all(scale == 1):
        return None
    if len(graph.consumers[source.name]) != 1:
        return None
    if isinstance(source.op, Integrator) and left is None and not np.any(shift):
        membrane = replace(source.op, gain=source.op.gain * scale, bias=source.op.bias * scale)
        taken: dict[str, Node | None] = {source.name: replace(source, op=membrane)}
        return graph.rewritten(taken | _skipping(graph, node, node.inputs[0], taken)), f"{node.name} into {source.name}"
    if not isinstance(source.op, Linear | Conv | ConvTranspose):
        return None
    op = scale_outputs(source.op, scale, shift, shape)
    if op is None:
        return None
    changed: dict[str, Node | None] = {source.name: replace(source, op=op)}
    if left is not None and np.any(left):
        changed[node.name] = replace(node, op=Scale(np.ones(()), left))
    else:
        changed |= _skipping(graph, node, node.inputs[0], changed)
    return graph.rewritten(changed), f"{node.name} into the weights of {source.name}"


def _skipping(graph: Graph, node: Node, instead: str, changed: dict[str, Node | None]) -> dict[str, Node | None]:
    """Let the readers of a node read another one, and drop the node."""
    rewired: dict[str, Node | None] = {node.name: None}
    for reader in graph.consumers[node.name]:
        current = changed.get(reader.name) or reader
        rewired[reader.name] = replace(
            current, inputs=tuple(instead if name == node.name else name for name in current.inputs)
        )
    return rewired


def scale_outputs(op: Any, scale: Array, shift: Array, shape: Shape) -> Any | None:
    """A layer with weights whose output ``[*shape]`` is scaled and shifted; None if it shares weights too widely."""
    if isinstance(op, Linear):
        weight = op.weight * np.broadcast_to(scale, shape)[:, None]
    else:
        rows = _per_channel(scale, shape)
        if rows is None:
            return None
        if isinstance(op, ConvTranspose):
            out = op.weight.shape[1]
            per_group = rows.reshape(op.groups, out)
            group_of = np.repeat(np.arange(op.groups), op.weight.shape[0] // op.groups)
            weight = op.weight * per_group[group_of].reshape(*op.weight.shape[:2], *(1,) * (op.weight.ndim - 2))
        else:
            weight = op.weight * rows.reshape(-1, *(1,) * (op.weight.ndim - 1))
    bias = shift if op.bias is None else scale * op.bias + shift
    return replace(op, weight=weight, bias=_bias(bias, shape))


def _bias(bias: Array, shape: Shape) -> Array | None:
    """A bias as the layers keep it: one a channel at least, None if zero."""
    if not np.any(bias):
        return None
    small = compact(bias, shape)
    return np.broadcast_to(small, (shape[0], *(1,) * (len(shape) - 1))).copy() if small.ndim == 0 else small


def _per_channel(scale: Array, shape: Shape) -> Array | None:
    """The scale as one number a channel, or None if it differs within a channel."""
    small = compact(scale, shape)
    if small.ndim and small.shape[1:] != (1,) * (len(shape) - 1):
        return None
    return np.broadcast_to(small.reshape(-1) if small.ndim else small, (shape[0],))


def _down(graph: Graph, node: Node) -> tuple[Graph, str] | None:
    assert isinstance(node.op, Scale)
    readers = {reader.name: reader for reader in graph.consumers[node.name]}
    changed: dict[str, Node | None] = {}
    added: list[Node] = []
    for reader in readers.values():
        rule = _RULES.get(type(reader.op))
        taken = rule(graph, node, reader) if rule else None
        if taken is None:
            return None
        op, behind = taken
        current = changed.get(reader.name) or reader  # it may read another reader, behind which a scale stands now
        inputs = tuple(node.inputs[0] if name == node.name else name for name in current.inputs)
        changed[reader.name] = Node(reader.name, op, inputs)
        if behind is not None:
            name = graph.fresh(f"{reader.name}.scale")
            added.append(Node(name, behind, (reader.name,)))
            for later in graph.consumers[reader.name]:
                current = changed.get(later.name) or later
                changed[later.name] = replace(
                    current, inputs=tuple(name if read == reader.name else read for read in current.inputs)
                )
    if len({new.name for new in added}) != len(added):
        return None
    return graph.rewritten(changed | {node.name: None}, added), f"{node.name} into {', '.join(readers)}"


# Each rule: the reader's new operation and, for one that only lets the scale pass, the scale behind it; or None.
Taken = tuple[Any, Scale | None]


def _full(op: Scale, shape: Shape) -> tuple[Array, Array]:
    return np.broadcast_to(op.scale, shape), np.broadcast_to(op.shift, shape)


def _into_weights(graph: Graph, node: Node, reader: Node) -> Taken | None:
    scale_op: Any = node.op
    shape, out = graph.edges[node.name].shape, graph.edges[reader.name].shape
    op: Any = scale_inputs(reader.op, scale_op.scale, shape)
    if op is None:
        return None
    bias = np.zeros(()) if op.bias is None else op.bias
    if np.any(scale_op.shift):
        bias = bias + apply(without_bias(reader.op), [np.broadcast_to(scale_op.shift, shape)[None]])[0]
    return replace(op, bias=_bias(bias, out)), None


def scale_inputs(op: Any, scale: Array, shape: Shape) -> Any | None:
    """A layer with weights whose input ``[*shape]`` is scaled; None if its weights are shared too widely."""
    if isinstance(op, Linear):
        return replace(op, weight=op.weight * np.broadcast_to(scale, shape))
    columns = _per_channel(scale, shape)
    if columns is None:
        return None
    each = (1,) * (op.weight.ndim - 2)
    if isinstance(op, ConvTranspose):
        return replace(op, weight=op.weight * columns.reshape(-1, 1, *each))
    per_group = columns.reshape(op.groups, -1)
    group_of = np.repeat(np.arange(op.groups), op.weight.shape[0] // op.groups)
    return replace(op, weight=op.weight * per_group[group_of].reshape(*op.weight.shape[:2], *each))


def _into_scale(graph: Graph, node: Node, reader: Node) -> Taken | None:
    first: Any = node.op
    then: Any = reader.op
    return Scale(then.scale * first.scale, then.scale * first.shift + then.shift), None


def _into_neuron(graph: Graph, node: Node, reader: Node) -> Taken | None:
    scale: Any = node.op
    op: Any = reader.op
    if not np.any(op.current_decay) and not op.deaf:
        bias = op.bias + op.gain * (op.input_bias + scale.shift)
        return replace(op, gain=op.gain * scale.scale, input_bias=np.zeros(()), bias=bias), None
    if np.any(scale.scale == 0):
        return None
    # i = scale * j: the current is kept in units of what comes in.
    input_bias = (op.input_bias + scale.shift) / scale.scale
    return replace(op, gain=op.gain * scale.scale, input_bias=input_bias), None


def _into_integrator(graph: Graph, node: Node, reader: Node) -> Taken | None:
    scale: Any = node.op
    op: Any = reader.op
    return replace(op, gain=op.gain * scale.scale, bias=op.bias + op.gain * scale.shift), None


def _past_wiring(graph: Graph, node: Node, reader: Node) -> Taken | None:
    """Operations that only move or copy numbers move and copy the scale likewise."""
    out = graph.edges[reader.name].shape
    scale, shift = _full(node.op, graph.edges[node.name].shape)  # type: ignore[arg-type]
    moved = [compact(apply(reader.op, [values[None]])[0], out) for values in (scale, shift)]
    return reader.op, Scale(*moved)


def _past_concat(graph: Graph, node: Node, reader: Node) -> Taken | None:
    out = graph.edges[reader.name].shape
    scales, shifts = [], []
    for name in reader.inputs:
        shape = graph.edges[name].shape
        scale, shift = _full(node.op if name == node.name else Scale(np.asarray(1.0)), shape)  # type: ignore[arg-type]
        scales.append(scale[None])
        shifts.append(shift[None])
    return reader.op, Scale(compact(apply(reader.op, scales)[0], out), compact(apply(reader.op, shifts)[0], out))


def _past_sum_pool(graph: Graph, node: Node, reader: Node) -> Taken | None:
    shape, out = graph.edges[node.name].shape, graph.edges[reader.name].shape
    scale: Any = node.op
    channels = _per_channel(scale.scale, shape)
    if channels is None:
        return None
    shift = apply(reader.op, [np.broadcast_to(scale.shift, shape)[None].astype(np.float64)])[0]
    return reader.op, Scale(compact(channels.reshape(-1, *(1,) * (len(out) - 1)), out), compact(shift, out))


def _past_max_pool(graph: Graph, node: Node, reader: Node) -> Taken | None:
    shape, out = graph.edges[node.name].shape, graph.edges[reader.name].shape
    scale: Any = node.op
    channels, shifts = _per_channel(scale.scale, shape), _per_channel(scale.shift, shape)
    if channels is None or shifts is None or np.any(channels <= 0):
        return None
    each = (-1, *(1,) * (len(out) - 1))
    return reader.op, Scale(compact(channels.reshape(each), out), compact(shifts.reshape(each), out))


def _past_delay(graph: Graph, node: Node, reader: Node) -> Taken | None:
    scale: Any = node.op
    return None if np.any(scale.shift) else (reader.op, Scale(scale.scale))


def _past_gain(graph: Graph, node: Node, reader: Node) -> Taken | None:
    scale: Any = node.op
    gain: Any = reader.op
    return None if np.any(scale.shift) or np.any(gain.bias) else (gain, Scale(scale.scale))


_RULES: dict[type[Any], Callable[[Graph, Node, Node], Taken | None]] = {
    Linear: _into_weights,
    Conv: _into_weights,
    ConvTranspose: _into_weights,
    Scale: _into_scale,
    Neuron: _into_neuron,
    Integrator: _into_integrator,
    Reshape: _past_wiring,
    Upsample: _past_wiring,
    Concat: _past_concat,
    SumPool: _past_sum_pool,
    MaxPool: _past_max_pool,
    Delay: _past_delay,
    Gain: _past_gain,
}
