"""A Program as Lava's processes: its populations and synapses, what kind of process each is, and when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir import form
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Conv, Input, Integrator, MaxPool, Neuron
from neurocompile.mapping.depths import Hop, layer_depths
from neurocompile.mapping.host import chip_graph, host_layers, host_pools, written_layers
from neurocompile.program import Program
from neurocompile.quantization.bounds import Interval, event_ranges, written_range
from neurocompile.quantization.silicon import Registers, Shortfall, registers_of, shortfalls
from neurocompile.targets import target_of

__all__ = ["Part", "Plan", "Pool", "Population", "Source", "SynapseLayer", "check_stock", "plan_of"]

Shape = tuple[int, ...]
Kind = Literal["stock", "own", "host"]

QUIET = Shortfall(
    "it could fire before its first input arrives, and a delay would carry those spikes into the run",
    "train it so that its bias alone cannot make it fire",
)


JOINED = Shortfall(
    "its soft reset takes two compartments a neuron, and no process of Lava's own joins any",
    "build it of two compartments, as its cores are counted (docs/loihi.md), or use a hard reset",
)


@dataclass(frozen=True)
class Source:
    """An input; ``bits`` of a graded spike, 0 for ordinary spikes."""

    name: str
    shape: Shape
    bits: int


@dataclass(frozen=True)
class Part:
    """The neurons of a layer that share their decays: their numbers (flat, in the network's order)."""

    name: str
    neurons: Array
    decay: int
    current_decay: int


@dataclass(frozen=True)
class Population:
    """A layer of neurons or integrators. ``registers`` belong to stock ones; ``missing`` says why another is not.

    ``parts`` are its processes where its neurons have several decays; empty where it is one process. ``written`` says
    whether the host adds to its current.
    """

    name: str
    shape: Shape
    op: Any
    depth: int
    kind: Kind
    registers: Registers | None = None
    missing: tuple[Shortfall, ...] = ()
    parts: tuple[Part, ...] = ()
    written: bool = False

    @property
    def is_readout(self) -> bool:
        """Whether it never fires."""
        return isinstance(self.op, Integrator)

    @property
    def is_biased(self) -> bool:
        """Whether the host writes its biases; to a current that is read off, it adds them where it reads it."""
        return self.written and self.kind == "stock" and self.read == "v"

    @property
    def read(self) -> str:
        """The variable that the membrane is read from: the current, where nothing of the membrane stays."""
        return "u" if self.kind == "stock" and self.is_readout and not np.any(self.op.decay) else "v"


@dataclass(frozen=True)
class Pool:
    """A max-pool of spikes; it takes no step of its own, but holds spikes for ``wait`` steps."""

    name: str
    shape: Shape
    reads: Shape
    source: str
    op: MaxPool
    depth: int
    wait: int
    bits: int


@dataclass(frozen=True)
class SynapseLayer:
    """Weights between a source and a population.

    ``exponent`` is what the consumer's shift leaves to the layer's weights beyond Lava's own: a spike adds
    ``weight << exponent`` to Lava's ``a_in``, which it shifts left itself. ``is_kernel`` says whether Lava's
    convolution holds it, with shared weights: no delay, padding alike on both sides.
    """

    weights: form.Synapse
    target: str
    exponent: int
    delay: int
    bits: int
    is_kernel: bool

    @property
    def name(self) -> str:
        """Of the weights."""
        return self.weights.name

    @property
    def source(self) -> str:
        """Whose events they read."""
        return self.weights.source


@dataclass(frozen=True)
class Plan:
    """All processes of a network. ``streams``: whether samples may follow one another without a gap."""

    sources: tuple[Source, ...]
    populations: tuple[Population, ...]
    pools: tuple[Pool, ...]
    synapses: tuple[SynapseLayer, ...]
    streams: bool

    @property
    def latency(self) -> int:
        """How many steps after the network's last step Lava has done it in every layer."""
        return max((population.depth for population in self.populations), default=0)

    @property
    def own(self) -> list[Population]:
        """The layers that no process of Lava's own can do."""
        return [population for population in self.populations if population.kind == "own"]

    def parts_of(self, name: str) -> tuple[Part, ...]:
        """The processes of a layer that has several."""
        return next((population.parts for population in self.populations if population.name == name), ())

    def shape_of(self, name: str) -> Shape:
        """The shape of a source, population or pool."""
        everything: list[Source | Population | Pool] = [*self.sources, *self.populations, *self.pools]
        return next(each.shape for each in everything if each.name == name)


def plan_of(program: Program) -> Plan:
    """Plan a Program's processes.

    Raises:
        DoesNotFit: for loops that are shorter than their synapses, and delays that no synapse has.
    """
    graph = chip_graph(program)
    layers, host = form_of(graph).layers, host_layers(program)
    by_host = host_pools(program)
    pools = {name: origin for name, origin in form_of(graph).pools.items() if name not in by_host}
    on_chip = [layer for name, layer in layers.items() if name not in host]
    hops = [Hop(each.source, layer.name, 1, each.delay) for layer in on_chip for each in layer.synapses]
    hops += [Hop(source, name, 0, delay) for name, (source, delay) in pools.items()]
    still = {node.name: 0 for node in graph.of(Input)} | dict.fromkeys(host, 0)
    depths = layer_depths([*(layer.name for layer in on_chip), *pools], hops, still)
    written = _written(program)
    populations = [_population(program, layer, depths[name], host, written) for name, layer in layers.items()]
    if any(hop.delay for hop in hops):
        populations = _quieted(program, populations, hops)
    cut = frozenset(population.name for population in populations if population.parts)
    synapses = [_synapse(program, layer, each, depths, cut) for layer in on_chip for each in layer.synapses]
    _check_delays(synapses, program)
    return Plan(
        tuple(_source(graph, node) for node in graph.of(Input)),
        tuple(populations),
        tuple(_pool(graph, name, depths) for name in pools),
        tuple(synapses),
        not any(hop.delay for hop in hops),
    )


def _written(program: Program) -> dict[str, Interval]:
    """The range of what the host adds to the current of each layer to which it writes, before the layer's shift."""
    names, layers = written_layers(program), form_of(program.integer).layers
    events = event_ranges(program.integer) if names else {}
    return {name: written_range(layers[name], events) for name in sorted(names)}


def check_stock(plan: Plan) -> None:
    """Refuse what Lava's own processes (and so the chip) cannot do.

    Raises:
        DoesNotFit: with every layer, why, and what would make it legal.
    """
    problems = [
        Problem(f"no process of Lava's own can do this layer: {each.what}", population.name, fix=each.fix)
        for population in plan.own
        for each in population.missing
    ]
    problems += [
        Problem("no process of Lava's own can do this layer: max-pooling", pool.name, fix="use average pooling")
        for pool in plan.pools
    ]
    if problems:
        raise DoesNotFit(problems)


def _bits_of(graph: Graph, name: str) -> int:
    """How wide the graded spikes of a source are; 0 for ordinary ones."""
    op = graph[form_of(graph).emitter(name)].op
    if isinstance(op, Neuron):
        return 8 if op.negative_threshold is not None or op.max_spikes > 1 else 0
    assert isinstance(op, Input)
    if op.carries == "spikes" and op.low >= 0 and op.high <= 1:
        return 0
    return 8 if max(abs(op.low), abs(op.high)) < 256 else 16


def _source(graph: Graph, node: Node) -> Source:
    return Source(node.name, graph.edges[node.name].shape, _bits_of(graph, node.name))


def _pool(graph: Graph, name: str, depths: Mapping[str, int]) -> Pool:
    op: Any = graph[name].op
    source, delay = form_of(graph).pools[name]
    reads, shape = graph.edges[graph[name].inputs[0]].shape, graph.edges[name].shape
    depth = depths[name]
    return Pool(name, shape, reads, source, op, depth, depth - depths[source] + delay, _bits_of(graph, source))


def _synapse(
    program: Program, layer: form.Layer, synapse: form.Synapse, depths: Mapping[str, int], cut: frozenset[str]
) -> SynapseLayer:
    graph = program.integer
    delay = depths[layer.name] - depths[synapse.source] + synapse.delay - 1
    alike = graph.edges[synapse.source].shape == synapse.reads.shape and layer.shape == synapse.gives
    whole = not cut & {synapse.source, layer.name}
    return SynapseLayer(
        synapse,
        layer.name,
        layer.op.shift - program.arithmetic.min_shift,
        delay,
        _bits_of(graph, synapse.source),
        synapse.lands is None and alike and whole and not delay and _is_lava_kernel(synapse.op),
    )


def _is_lava_kernel(op: Any) -> bool:
    return isinstance(op, Conv) and all(before == after >= 0 for before, after in op.padding)


def _check_delays(synapses: list[SynapseLayer], program: Program) -> None:
    most = target_of(program).limits.delay
    problems = [
        Problem(
            "its spikes would have to wait longer than a synapse can delay them",
            synapse.name,
            f"{synapse.delay} steps",
            f"{most}",
            "use shorter delays, or neurons on the way",
        )
        for synapse in synapses
        if most is not None and synapse.delay > most
    ]
    if problems:
        raise DoesNotFit(problems)


def _population(
    program: Program, layer: form.Layer, depth: int, host: frozenset[str], written: Mapping[str, Interval]
) -> Population:
    name, op, shape, is_written = layer.name, layer.op, layer.shape, layer.name in written
    if name in host:
        return Population(name, shape, op, 0, "host")
    registers = registers_of(op, program.arithmetic, written.get(name))
    if registers is not None and isinstance(op, Neuron) and op.reset == "by":
        return Population(name, shape, op, depth, "own", None, (JOINED,), written=is_written)
    if registers is not None:
        parts = _parts(name, registers, shape)
        if not parts or name not in {source for source, _ in form_of(program.integer).pools.values()}:
            return Population(name, shape, op, depth, "stock", registers, (), parts, is_written)
        several = Shortfall("a max-pool reads its neurons, which have several decays", "use one decay")
        return Population(name, shape, op, depth, "own", None, (several,), written=is_written)
    missing = shortfalls(op, program.arithmetic, 2.0**program.arithmetic.decay_fraction, written=is_written)
    beyond = Shortfall("its parameters do not lie on the grids of the chip's registers", "export the model again")
    return Population(name, shape, op, depth, "own", None, tuple(missing) or (beyond,), written=is_written)


def _parts(name: str, registers: Registers, shape: Shape) -> tuple[Part, ...]:
    """The populations of a layer, by their decays; none if all are alike."""
    pairs = np.stack([np.broadcast_to(each, shape).ravel() for each in (registers.decay, registers.current_decay)])
    distinct, which = np.unique(pairs, axis=1, return_inverse=True)
    if distinct.shape[1] == 1:
        return ()
    return tuple(
        Part(f"{name}.{number}", np.flatnonzero(which.ravel() == number), int(decay), int(current))
        for number, (decay, current) in enumerate(distinct.T)
    )


def _quieted(program: Program, populations: list[Population], hops: list[Hop]) -> list[Population]:
    """Where delayed spikes of a stock population could be ones from before the run, a process that waits for it."""
    early = _early(program, populations, hops)
    delayed = {form_of(program.integer).emitter(hop.source) for hop in hops if hop.delay}
    return [
        replace(p, kind="own", registers=None, missing=(QUIET,), parts=()) if p.name in delayed & early else p
        for p in populations
    ]


def _early(program: Program, populations: list[Population], hops: list[Hop]) -> set[str]:
    """The stock populations that may fire before their first input arrives: by their bias, or because others do."""
    found = {p.name for p in populations if p.kind == "stock" and _fires_alone(p, program)}
    while True:
        more = {
            p.name
            for p in populations
            if p.kind == "stock" and any(hop.target == p.name and hop.source in found for hop in hops)
        }
        more |= {hop.target for hop in hops if not hop.synapses and hop.source in found}
        if more <= found:
            return found
        found |= more


def _fires_alone(population: Population, program: Program) -> bool:
    op, one = population.op, 2**program.arithmetic.decay_fraction
    if population.is_readout:
        return False
    v = np.zeros(np.broadcast_shapes(np.shape(op.bias), np.shape(op.decay)), np.int64)
    for _ in range(population.depth):
        v = np.sign(v) * (np.abs(v) * op.decay // one) + op.bias
        if np.any(v >= op.threshold):
            return True
    return False
