"""Faults in a program: what it then fires, and where that differs first; found by running it, and by nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Array
from tests.faults.chip import Cell, Spikes, fired
from tests.faults.faults import Change, Fault, Place
from tests.faults.networks import Base

__all__ = ["Planted", "Spot", "alone", "first", "forced", "in_integers", "in_reals"]

Spot = tuple[int, int, tuple[int, ...]]
"""Sample, step, neuron."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Faults, by their layers, and what the network fires with them."""

    names: Mapping[str, frozenset[str]]
    spikes: Spikes


def first(expected: Array, actual: Array) -> Spot | None:
    """The first place where spikes ``[N, T, *shape]`` differ, of the first sample that has one."""
    found = np.argwhere(expected != actual)
    if not len(found):
        return None
    sample, step, *neuron = map(int, found[0])
    return sample, step, tuple(neuron)


def in_reals(base: Base, layer: str, fault: Fault, r: np.random.Generator) -> tuple[Graph, Planted] | None:
    """A fault in the real graph of a program."""
    change = fault(Place(base.program.real, layer, 1.0, r))
    if change is None or change.cell is not None:
        return None
    graph = base.program.real.rewritten(change.nodes)
    spikes = interpret(graph, base.inputs, base.program.timesteps).spikes
    return graph, Planted({layer: change.names}, dict(spikes))


def in_integers(base: Base, faults: list[tuple[str, Fault]], r: np.random.Generator) -> Planted | None:
    """Faults in the integers of a program, one upon the other; None where one of them cannot be."""
    arithmetic, graph = base.program.arithmetic, base.program.integer
    changes: list[tuple[str, Change]] = []
    for layer, fault in faults:
        change = fault(Place(graph, layer, 2.0**arithmetic.decay_fraction, r))
        if change is None or (change.cell and any(other.cell and name == layer for name, other in changes)):
            return None
        graph = graph.rewritten(change.nodes)
        changes.append((layer, change))
    names: dict[str, frozenset[str]] = {}
    for layer, change in changes:
        names[layer] = names.get(layer, frozenset()) | change.names
    return Planted(names, _run(graph, arithmetic, base.whole, changes))


def _run(graph: Graph, arithmetic: Arithmetic, whole: Mapping[str, Array], changes: list[tuple[str, Change]]) -> Spikes:
    cells = {layer: change.cell() for layer, change in changes if change.cell}
    if not any(change.alone for _, change in changes):
        return fired(graph, arithmetic, whole, cells)
    samples = len(next(iter(whole.values())))
    parts = [fired(graph, arithmetic, {n: x[k : k + 1] for n, x in whole.items()}, cells) for k in range(samples)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def forced(base: Base, recorded: Spikes) -> Spikes:
    """What every layer should have fired of what was recorded of all of them."""
    return fired(base.program.integer, base.program.arithmetic, base.whole, heard=recorded)


def alone(base: Base, layer: str, fault: Fault, recorded: Spikes, r: np.random.Generator) -> Array | None:
    """What a layer with another fault would have made of what was recorded."""
    arithmetic = base.program.arithmetic
    change = fault(Place(base.program.integer, layer, 2.0**arithmetic.decay_fraction, r))
    if change is None or change.alone:
        return None
    cell = change.cell() if change.cell else Cell
    graph = base.program.integer.rewritten(change.nodes)
    return fired(graph, arithmetic, base.whole, {layer: cell}, heard=recorded)[layer]
