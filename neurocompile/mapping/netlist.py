"""A Program as a chip has it whose every synapse takes one step: populations, and synapses one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.connections import connections
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Conv, Input, Integrator, MaxPool, Neuron, Output
from neurocompile.mapping.depths import Hop, layer_depths

__all__ = ["Netlist", "Population", "Projection", "netlist_of"]

Shape = tuple[int, ...]

_ZERO = np.asarray(0)
RELAY = Neuron(_ZERO + 1, _ZERO, current_decay=_ZERO, bias=_ZERO, input_bias=_ZERO, v_reset=_ZERO, v_init=_ZERO)
"""A neuron, in integers, that passes on whether any spike came."""


@dataclass(frozen=True)
class Population:
    """The neurons of a layer, of an input, or relays: neurons that only pass spikes on, a step later.

    ``depth`` says by how many steps it lags behind the network: it does step t in step t + depth. ``op`` is what a
    neuron does, None for an input. ``layer`` is the node of the graph that says what it fires, at the same step of the
    network: itself, a max-pool, or the layer whose spikes a relay passes on.
    """

    name: str
    layer: str
    shape: Shape
    depth: int
    op: Neuron | Integrator | None

    @property
    def size(self) -> int:
        """How many neurons."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def kind(self) -> Literal["input", "neurons", "relay"]:
        """What it is."""
        return "input" if self.op is None else "relay" if self.op is RELAY else "neurons"


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one population to another: ``weight[k]`` from neuron ``pre[k]`` to ``post[k]``, flat indices.

    A spike counts ``delay`` steps later: 1, unless the synapses themselves wait.
    """

    source: str
    target: str
    pre: Array
    post: Array
    weight: Array
    delay: int = 1


@dataclass(frozen=True)
class Netlist:
    """All populations, each behind those it reads (but for loops), and all synapses.

    ``timesteps`` of the network take ``latency`` steps more on the chip. ``to_host`` are the populations whose spikes
    the host reads.
    """

    populations: Mapping[str, Population]
    projections: tuple[Projection, ...]
    timesteps: int
    to_host: tuple[str, ...] = ()

    @property
    def latency(self) -> int:
        """By how many steps the last population lags behind."""
        return max(population.depth for population in self.populations.values())


@dataclass(frozen=True)
class _Wire:
    source: str
    target: str
    delay: int
    pre: Array
    post: Array
    weight: Array


def netlist_of(graph: Graph, timesteps: int, *, relays: bool = True, host: frozenset[str] = frozenset()) -> Netlist:
    """Every synapse of an integer graph without sums of events (``Synapses(event_sums=False)``).

    A max-pool becomes neurons that fire if any of their window does. Spikes that have to wait, for a delay or because
    another way to the same layer is longer, go through relays; an input that has to wait is a population of its own.

    Args:
        graph: of a Program.
        timesteps: T.
        relays: whether spikes wait in relays, one step in each; else synapses make them wait.
        host: layers (and max-pools of inputs) that the host computes: inputs of the chip.

    Raises:
        DoesNotFit: for loops that are shorter than their synapses, for max-pools of numbers, and for gains that differ
            from step to step; and where nothing is left for the chip.
    """
    form = form_of(graph)
    layers = [node.name for node in graph.of(Neuron, Integrator, MaxPool) if node.name not in host]
    wires = [wire for name in layers for wire in _into(graph, name)]
    problems = [
        Problem("its gain differs from step to step, which no synapse's does", node.name, fix="use another target")
        for layer in form.layers.values()
        if layer.name not in host
        for node in layer.gains
    ]
    problems += [
        Problem("it pools numbers, which no neuron does", wire.target, fix="pool the data beforehand")
        for wire in wires
        if wire.target in form.pools and graph.edges[wire.source].carries == "real"
    ]
    if problems:
        raise DoesNotFit(problems)
    hops = [Hop(wire.source, wire.target, 1, wire.delay) for wire in wires]
    given = host | {node.name for node in graph.of(Input)}
    depths = layer_depths(layers, hops, dict.fromkeys(given, 0))
    populations: dict[str, Population] = {}
    read_by_chip = {wire.source for wire in wires}
    for node in graph.of(Input, Neuron, Integrator, MaxPool):
        if host and not isinstance(node.op, Neuron) and node.name in given and node.name not in read_by_chip:
            continue  # the host keeps it to itself
        op: Any = RELAY if isinstance(node.op, MaxPool) else None if node.name in given else node.op
        populations[node.name] = Population(node.name, node.name, graph.edges[node.name].shape, depths[node.name], op)
    if not populations:
        names = ", ".join(node.name for node in graph.of(Output))
        what = "no layer of this network runs on the chip: the host computes what its outputs read"
        raise DoesNotFit(
            [Problem(what, names, fix="let an output read a layer of neurons that fire, or a layer behind one")]
        )
    projections: list[Projection] = []
    for wire in wires:
        wait = depths[wire.target] - depths[wire.source] + wire.delay - 1
        source = _later(populations, projections, wire.source, wait) if relays else wire.source
        delay = 1 if relays else wait + 1
        projections.append(Projection(source, wire.target, wire.pre, wire.post, wire.weight, delay))
    order = {node.name: number for number, node in enumerate(graph)}
    behind = sorted(populations.values(), key=lambda each: (each.depth, order[each.layer]))
    read = dict.fromkeys(form.origins[node.inputs[0]][0] for node in graph.of(Output))
    to_host = tuple(name for name in read if isinstance(graph[name].op, Neuron | MaxPool))
    return Netlist({each.name: each for each in behind}, tuple(projections), timesteps, to_host)


def _later(populations: dict[str, Population], projections: list[Projection], name: str, wait: int) -> str:
    """A population that fires what another does, some steps later."""
    for step in range(1, wait + 1):
        before = populations[name if step == 1 else f"{name}.later{step - 1}"]
        later = f"{name}.later{step}"
        if later in populations:
            continue
        populations[later] = replace(
            before, name=later, depth=before.depth + 1, op=None if before.op is None else RELAY
        )
        if before.op is not None:
            each = np.arange(before.size)
            projections.append(Projection(before.name, later, each, each, np.ones(before.size, np.int64)))
    return f"{name}.later{wait}" if wait else name


def _into(graph: Graph, name: str) -> Iterator[_Wire]:
    """The synapses that feed a layer, or a max-pool."""
    form = form_of(graph)
    if name in form.pools:
        op: Any = graph[name].op
        shape = graph.edges[graph[name].inputs[0]].shape
        window = Conv(np.ones((shape[0], 1, *op.kernel), np.int64), None, op.stride, op.padding, op.dilation, shape[0])
        post, pre, weight = connections(window, shape)
        source, delay = form.pools[name]
        yield _Wire(source, name, delay, pre, post, weight)
        return
    for synapse in form.layers[name].synapses:
        post, pre, weight = synapse.listed()
        yield _Wire(synapse.source, name, synapse.delay, pre, post, weight)
