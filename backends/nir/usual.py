"""The same network in numbers that readers take: what only some know of goes where all of them look (docs/nir.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Array, Conv, Linear, Neuron

__all__ = ["usual"]


def usual(graph: Graph) -> Graph:
    """A network that fires alike.

    1. A membrane that starts where it is reset to is counted from there: some reset to 0 whatever a file says.
    2. What a neuron hears times another gain than those that are known (all of it; of a membrane that leaks alike in
       all neurons, what it leaks as well), and a threshold that differs from neuron to neuron, go into the weights
       before it, where nobody else hears these.
    """
    changed: dict[str, Node | None] = {}
    for node in graph.of(Neuron):
        op = node.op
        assert isinstance(op, Neuron)
        if op.reset != "to" or op.norm is not None or op.negative_threshold is not None or np.any(op.flip):
            continue
        op = _from_reset(op)
        before = _weights_before(graph, node)
        if before is not None:
            known, factor = _known(op, graph.edges[node.name].shape)
            scaled = [_scaled(each, factor, graph.edges[each.name].shape) for each in before]
            told = [each for each in scaled if each is not None]
            if (factor != 1).any() and len(told) == len(before):
                op = known
                changed |= {each.name: each for each in told}
        changed[node.name] = replace(node, op=op)
    return graph.rewritten(changed)


def _from_reset(op: Neuron) -> Neuron:
    """Counted from where it is reset to, if it starts there."""
    if not np.all(op.v_init == op.v_reset) or not np.any(op.v_reset):
        return op
    zero, bias = np.asarray(0.0), op.bias - (1 - op.decay) * op.v_reset
    return replace(op, threshold=op.threshold - op.v_reset, bias=bias, v_reset=zero, v_init=zero)


def _known(op: Neuron, shape: tuple[int, ...]) -> tuple[Neuron, Array]:
    """With a gain that is known and one threshold, and times what that makes of the weights before it."""
    decay, gain, threshold = (np.broadcast_to(value, shape) for value in (op.decay, op.gain, op.threshold))
    leak = 1 - decay
    known = [np.ones(shape), leak] if leak.all() and not np.any(op.current_decay) else [np.ones(shape)]
    if not any(np.allclose(gain, each, 1e-9, 0) for each in known):
        wanted = known[-1] if _alike(leak) else known[0]
        op, factor = replace(op, gain=wanted), gain / wanted
    else:
        factor = np.ones(shape)
    if _alike(threshold) or (threshold <= 0).any() or not np.isfinite(threshold).all():
        return op, factor
    told = {name: getattr(op, name) / threshold for name in ("threshold", "bias", "v_reset", "v_init")}
    return replace(op, **told), factor / threshold


def _alike(values: Array) -> bool:
    return bool((values == values.flat[0]).all())


def _weights_before(graph: Graph, node: Node) -> list[Node] | None:
    """The layers that a node hears, through sums; None where it hears something else, or somebody else hears them."""
    found: list[Node] = []
    for name in node.inputs:
        source = graph[name]
        if any(reader.name != node.name for reader in graph.consumers[name]):
            return None
        if isinstance(source.op, Linear | Conv):
            found.append(source)
        elif isinstance(source.op, Add) and (more := _weights_before(graph, source)) is not None:
            found += more
        else:
            return None
    return found


def _scaled(node: Node, factor: Array, shape: tuple[int, ...]) -> Node | None:
    """A layer that gives so many times as much; None where no weights do."""
    op = node.op
    assert isinstance(op, Linear | Conv)
    each = factor.reshape(len(factor), -1)
    if (each != each[:, :1]).any() or (isinstance(op, Linear) and len(shape) != 1):
        return None
    rows = each[:, 0]
    weight = op.weight * rows.reshape(-1, *(1,) * (op.weight.ndim - 1))
    bias = None if op.bias is None else op.bias * rows.reshape(-1, *(1,) * (len(shape) - 1))
    return replace(node, op=replace(op, weight=weight, bias=bias))
