"""A program's integers as a network of whole numbers, for chips that take thresholds and weights as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Array, Conv, ConvTranspose, Input, Integrator, Linear, Neuron, Output, Scale
from neurocompile.program import Program

__all__ = ["in_numbers", "units_of"]


def in_numbers(program: Program) -> Graph:
    """The integer graph, its decays as shares, its comparisons as ``v > threshold``.

    Weights of a membrane in finer steps than theirs are told in its steps; of one in coarser steps, everything else is
    told in steps of the weights. So all weights and thresholds are whole, and neurons without a leak compute as the
    program does; those with one round their membranes, and readers do not.
    """
    graph = program.integer
    shifts = _shifts(graph)
    changed: dict[str, Node | None] = {}
    for node in graph:
        op = node.op
        if isinstance(op, Neuron | Integrator):
            changed[node.name] = replace(node, op=_membrane(op, 2.0**program.arithmetic.decay_fraction))
        elif isinstance(op, Linear | Conv | ConvTranspose):
            weight = op.weight.astype(np.float64) * 2.0 ** max(0, shifts.get(node.name, 0))
            changed[node.name] = replace(node, op=replace(op, weight=weight))
        elif isinstance(op, Scale):
            scale = np.asarray(op.scale, np.float64) * 2.0 ** max(0, shifts.get(node.name, 0))
            changed[node.name] = replace(node, op=replace(op, scale=scale))
        elif isinstance(op, Input):
            changed[node.name] = replace(node, op=replace(op, unit=1.0))
        elif isinstance(op, Output):
            changed[node.name] = replace(node, op=replace(op, unit=np.asarray(1.0)))
    return _with_biases(graph.rewritten(changed))


def _with_biases(graph: Graph) -> Graph:
    """What neurons add at each step is added by the weights before them, where these can: NIR has biases there."""
    changed: dict[str, Node | None] = {}
    for node in graph.of(Neuron, Integrator):
        op = node.op
        assert isinstance(op, Neuron | Integrator)
        if not np.any(op.bias) or np.any(getattr(op, "current_decay", 0)):
            continue
        shape = graph.edges[node.name].shape
        for before in _added(graph, node):
            biased = _biased(before, np.broadcast_to(op.bias, shape))
            if biased is not None and len(graph.consumers[before.name]) == 1:
                changed |= {before.name: biased, node.name: replace(node, op=replace(op, bias=np.asarray(0.0)))}
                break
    return graph.rewritten(changed)


def _added(graph: Graph, node: Node) -> Iterator[Node]:
    """The layers whose sum a node hears."""
    for name in node.inputs:
        if isinstance(graph[name].op, Add):
            yield from _added(graph, graph[name])
        else:
            yield graph[name]


def _biased(node: Node, bias: Array) -> Node | None:
    """A layer of weights with a bias; None for what has no such."""
    op = node.op
    if isinstance(op, Linear) and bias.ndim == 1:
        return replace(node, op=replace(op, bias=bias + (0 if op.bias is None else op.bias)))
    each = bias.reshape(len(bias), -1)
    if isinstance(op, Conv) and op.bias is None and bool((each == each[:, :1]).all()):
        return replace(node, op=replace(op, bias=each[:, :1].reshape(-1, *(1,) * (bias.ndim - 1))))
    return None


def _shifts(graph: Graph) -> dict[str, int]:
    """Of every layer of weights, the shift of the membrane that it feeds."""
    found = {}
    for layer in form_of(graph).layers.values():
        found.update({synapse.name: layer.op.shift for synapse in layer.synapses})
    return found


def _membrane(op: Neuron | Integrator, one: float) -> Neuron | Integrator:
    finer = 2.0 ** max(0, -op.shift)

    def real(value: Any) -> Array:
        return np.asarray(value, np.float64)

    decay, bias, gain = real(op.decay) / one, finer * real(op.bias), np.asarray(1.0)
    if isinstance(op, Integrator):
        return replace(op, decay=decay, bias=bias, gain=gain, shift=0)
    return replace(
        op,
        decay=decay,
        bias=bias,
        gain=gain,
        shift=0,
        current_decay=real(op.current_decay) / one,
        keep=real(op.keep) / one,
        threshold=finer * real(op.threshold) - 1,
        strict=True,
        input_bias=finer * real(op.input_bias),
        v_reset=finer * real(op.v_reset),
        amount=finer * real(op.amount),
        v_init=finer * real(op.v_init),
        amplitude=real(op.amplitude),
    )


def units_of(program: Program) -> Mapping[str, Array]:
    """The real value of 1: of each input, and of each membrane."""
    graph = program.integer
    found: dict[str, Array] = {
        node.name: np.asarray(node.op.unit) for node in graph.of(Input) if isinstance(node.op, Input)
    }
    for name, unit in program.units.items():
        shift = getattr(graph[name].op, "shift", 0)
        found[name] = np.asarray(unit, np.float64) * 2.0 ** min(0, shift)
    return found
