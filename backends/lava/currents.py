"""What run.py computes of a layer's current, as it reads it: sums of weighted inputs, and gains of single steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from neurocompile.backends.lava.arrays import Arrays
from neurocompile.backends.lava.layout import lava_order, rank_of
from neurocompile.ir.form import Layer, Synapse, form_of
from neurocompile.ir.ops import WEIGHT_OPS, Array, Gain, MaxPool
from neurocompile.mapping.host import host_pools
from neurocompile.program import Program

__all__ = ["host_current", "windows_of"]

Term = dict[str, Any]


def host_current(program: Program, name: str, arrays: Arrays, *, written: bool) -> Term:
    """A layer's current in steps of its weights, its neurons in Lava's order; their arrays are kept beside it.

    Args:
        program: compiled.
        name: of the layer.
        arrays: of the bundle.
        written: whether only that part is meant which does not come from spikes.

    Returns:
        ``{"weights", "reads", "delay", "inputs"}``, ``{"gain", "of", "fraction"}`` or ``{"sum"}``.
    """
    layer = form_of(program.integer).layers[name]
    return _Current(program, layer, arrays, written).of(layer.current) or {"sum": []}


@dataclass(frozen=True)
class _Current:
    program: Program
    layer: Layer
    arrays: Arrays
    written: bool

    def of(self, name: str) -> Term | None:
        """What a node gives; None: nothing of it is meant."""
        node = self.program.integer[name]
        if isinstance(node.op, WEIGHT_OPS):
            synapse = next(each for each in self.layer.synapses if each.name == name)
            return None if self.written and synapse.reads.carries != "real" else self._weighted(synapse)
        terms = [term for source in node.inputs if (term := self.of(source)) is not None]
        if isinstance(node.op, Gain):
            return self._gained(name, node.op, terms) if terms or node.op.bias.ndim else None
        return {"sum": terms} if len(terms) > 1 else terms[0] if terms else None

    def _weighted(self, synapse: Synapse) -> Term:
        source = self.program.integer.edges[synapse.source].shape
        neurons, elements, weights = synapse.listed()
        rows, columns = rank_of(self.layer.shape)[neurons], rank_of(source)[elements]
        order = np.lexsort((columns, rows))
        self.arrays.keep_sparse(synapse.name, rows[order], columns[order], weights[order], prod(self.layer.shape))
        about = {"weights": synapse.name, "reads": synapse.source, "delay": synapse.delay}
        return {**about, "inputs": prod(source), "outputs": prod(self.layer.shape)}

    def _gained(self, name: str, op: Gain, terms: list[Term]) -> Term:
        self.arrays.keep(f"{name}.gains", op.gains)
        bias = np.zeros((), np.int64)
        if op.bias.ndim:
            steps, lands = len(op.gains), self._lands(name)
            each = np.broadcast_to(op.bias, (steps, *self.program.integer.edges[name].shape)).reshape(steps, -1)
            bias = np.zeros((steps, prod(self.layer.shape)), np.int64)
            bias[:, lands] = each
            bias = bias[:, lava_order(self.layer.shape)]
        self.arrays.keep(f"{name}.bias", bias)
        return {"gain": name, "of": terms[0] if terms else {"sum": []}, "fraction": op.fraction}

    def _lands(self, name: str) -> Array:
        """The number of the neuron (row-major) that each output of a gain feeds."""
        way = next(s.way for s in self.layer.synapses if any(wire.node.name == name for wire in s.way))
        numbers: Array = np.arange(prod(self.layer.shape))
        for wire in reversed(way):
            if wire.node.name == name:
                break
            numbers = wire.taken(numbers.reshape(wire.shape))
        return numbers.ravel()


def windows_of(program: Program, arrays: Arrays) -> list[dict[str, Any]]:
    """The max-pools that the host computes, each with the places of its windows ``[outputs, window]``, -1 outside."""
    graph, by_host = program.integer, host_pools(program)
    found = []
    for name, (source, delay) in form_of(graph).pools.items():
        if name not in by_host:
            continue
        op: Any = graph[name].op
        assert isinstance(op, MaxPool)
        reads = graph.edges[graph[name].inputs[0]].shape
        arrays.keep(f"{name}.windows", _windows(op, reads, graph.edges[name].shape, graph.edges[source].shape))
        found.append({"name": name, "reads": source, "delay": delay})
    return found


def _windows(op: MaxPool, reads: tuple[int, ...], gives: tuple[int, ...], source: tuple[int, ...]) -> Array:
    """For each output in Lava's order the elements of its source, in Lava's order, that it is the largest of."""
    numbers = np.pad(
        np.arange(prod(reads)).reshape(reads), ((0, 0), *((a, b) for a, b in op.padding)), constant_values=-1
    )
    reach = tuple(d * (k - 1) + 1 for k, d in zip(op.kernel, op.dilation))
    axes = tuple(range(1, len(reads)))
    windows = np.lib.stride_tricks.sliding_window_view(numbers, reach, axes)
    windows = windows[(slice(None), *(slice(None, None, s) for s in op.stride))]
    windows = windows[(slice(None), *(slice(0, n) for n in gives[1:]), *(slice(None, None, d) for d in op.dilation))]
    flat = windows.reshape(prod(gives), -1)[lava_order(gives)]
    return np.where(flat < 0, -1, rank_of(source)[flat])
