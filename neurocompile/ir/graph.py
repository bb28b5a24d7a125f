"""The graph: named operations, what they read, and what runs along their edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import networkx as nx
import numpy as np

from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import (
    MOST_SPIKES,
    Add,
    Concat,
    Delay,
    Gain,
    Input,
    Integrator,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    SumPool,
    Upsample,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.ir.text import node_text, region_text

__all__ = ["Edge", "Graph", "InvalidGraph", "Node"]

Made = TypeVar("Made")

# Operations that hand events on as events: they only sum, pick, copy or move them.
_EVENT_OPS = (Add, Concat, Delay, MaxPool, Reshape, SumPool, Upsample)


class InvalidGraph(Exception):
    """A graph that breaks its own rules: a fault of the compiler, never of the user."""


@dataclass(frozen=True)
class Edge:
    """What a node emits at each step: its shape (no time, no batch) and what it carries.

    ``spikes`` are events whose value is a small whole number (0 or 1, or a sum of such); ``real`` is an input's value
    (or a sum, a selection of such, possibly beside spikes); ``currents`` is anything that met a weight.
    """

    shape: tuple[int, ...]
    carries: Literal["spikes", "real", "currents"]

    @property
    def size(self) -> int:
        """How many numbers a step."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def is_event(self) -> bool:
        """Whether this may be sent to a synapse."""
        return self.carries != "currents"


@dataclass(frozen=True)
class Node:
    """An operation in its place: its unique name, what it does, the names of the nodes that it reads.

    ``line`` is the user's file:line that it comes from, where a frontend knows it; nodes do not differ by it.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    line: str = field(default="", compare=False)


def _equal(a: Any, b: Any) -> bool:
    """Whether two operations (or what they hold) have the same numbers."""
    if is_dataclass(a) and type(a) is type(b):
        return all(_equal(value, vars(b)[name]) for name, value in vars(a).items())
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


class Graph:
    """An immutable set of nodes, in an order in which a step can be computed.

    Iterating gives the nodes in that order; ``graph[name]`` gives one. ``hosts`` are the regions that a host computes:
    each reads Outputs, and an Input of its name is fed with what it gives. Building a graph verifies it:
    :class:`InvalidGraph` says what is wrong.
    """

    def __init__(self, nodes: Iterable[Node], hosts: Iterable[HostRegion] = ()) -> None:
        given: dict[str, Node] = {}
        for node in nodes:
            if node.name in given:
                raise InvalidGraph(f"two nodes are named {node.name!r}")
            given[node.name] = node
        for node in given.values():
            for source in node.inputs:
                if source not in given:
                    raise InvalidGraph(f"{node.name} reads {source!r}, which does not exist")
        self._nodes = {name: given[name] for name in _step_order(given)}
        self._made: dict[Callable[[Graph], Any], Any] = {}
        self.edges: Mapping[str, Edge] = _infer_edges(self._nodes)
        self.hosts: Mapping[str, HostRegion] = {region.name: region for region in hosts}
        _check_hosts(self._nodes, self.edges, self.hosts)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def same_as(self, other: Graph) -> bool:
        """Whether both have the same nodes, in the same order, with the same numbers, and regions of the same names."""
        pairs = list(zip(self, other))
        alike = len(self) == len(other) and list(self.hosts) == list(other.hosts)
        return alike and all(
            (a.name, a.inputs, type(a.op)) == (b.name, b.inputs, type(b.op)) and _equal(a.op, b.op) for a, b in pairs
        )

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """For each node the nodes that read it, once for each time they do."""
        readers: dict[str, list[Node]] = {name: [] for name in self._nodes}
        for node in self:
            for source in node.inputs:
                readers[source].append(node)
        return {name: tuple(found) for name, found in readers.items()}

    def kept(self, made_of: Callable[[Graph], Made]) -> Made:
        """What a function makes of this graph, which never changes: made once."""
        if made_of not in self._made:
            self._made[made_of] = made_of(self)
        made: Made = self._made[made_of]
        return made

    @property
    def lines(self) -> dict[str, str]:
        """The user's file:line of each node, where it is known."""
        return {node.name: node.line for node in self if node.line}

    @cached_property
    def given_inputs(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of what the user gives: inputs that no host region feeds, and those that only hosts read."""
        shapes = {node.name: self.edges[node.name].shape for node in self.of(Input) if node.name not in self.hosts}
        for region in self.hosts.values():
            shapes |= {read.source: read.shape for read in region.reads if read.kind == "input"}
        return shapes

    @cached_property
    def host_reads(self) -> frozenset[str]:
        """The outputs that host regions read, and nobody else."""
        return frozenset(read.source for r in self.hosts.values() for read in r.reads if read.kind == "chip")

    def of(self, *kinds: type[Op]) -> list[Node]:
        """The nodes whose operation is one of ``kinds``, in order."""
        return [node for node in self if isinstance(node.op, kinds)]

    def rewritten(self, changed: Mapping[str, Node | None], added: Iterable[Node] = ()) -> Graph:
        """A graph with some nodes replaced (None: removed) and others added, without what no output needs any more."""
        nodes = {node.name: node for node in self}
        for name, node in changed.items():
            del nodes[name]
            if node is not None:
                nodes[node.name] = node
        for node in added:
            if node.name in nodes:
                raise InvalidGraph(f"two nodes are named {node.name!r}")
            nodes[node.name] = node
        needed = [node.name for node in nodes.values() if isinstance(node.op, Input | Output)]
        seen: set[str] = set()
        while needed:
            name = needed.pop()
            if name not in seen:
                seen.add(name)
                needed += nodes[name].inputs
        return Graph((node for name, node in nodes.items() if name in seen), self.hosts.values())

    def fresh(self, stem: str) -> str:
        """A name that no node has yet, starting with ``stem``."""
        if stem not in self._nodes:
            return stem
        return next(name for n in range(2, len(self) + 3) if (name := f"{stem}.{n}") not in self._nodes)

    def __str__(self) -> str:
        """One line an operation, in the order of a step; then the host's."""
        nodes = (
            node_text(node.name, node.op, node.inputs, self.edges[node.name].carries, self.edges[node.name].shape)
            for node in self
        )
        return "\n".join((*nodes, *map(region_text, self.hosts.values())))


def _check_hosts(nodes: Mapping[str, Node], edges: Mapping[str, Edge], hosts: Mapping[str, HostRegion]) -> None:
    for region in hosts.values():
        node = nodes.get(region.name)
        if node is not None and not (isinstance(node.op, Input) and edges[node.name].shape == region.shape):
            raise InvalidGraph(f"{region.name} is fed by a host region of shape {region.shape}, and is no such input")
        for read in region.reads:
            known = {"host": read.source in hosts, "input": True}.get(read.kind, read.source in nodes)
            if read.kind == "chip" and known:
                known = isinstance(nodes[read.source].op, Output) and edges[read.source].shape == read.shape
            if not known:
                raise InvalidGraph(f"the host region {region.name} reads {read.source!r}, which is no such {read.kind}")
    if hosts:
        _check_turns(nodes, hosts)


def _check_turns(nodes: Mapping[str, Node], hosts: Mapping[str, HostRegion]) -> None:
    """Chip and host can take turns: what a region gives comes back to it a step later, and step by step, if at all."""
    way: nx.DiGraph = nx.DiGraph()
    way.add_nodes_from(hosts)
    way.add_edges_from((source, node.name) for node in nodes.values() for source in node.inputs)
    way.add_edges_from((r.source, region.name) for region in hosts.values() for r in region.reads if r.kind != "input")
    same_step = way.copy()
    delays = [name for name, node in nodes.items() if isinstance(node.op, Delay)]
    same_step.remove_edges_from(list(same_step.in_edges(delays)))
    if not nx.is_directed_acyclic_graph(same_step):
        cycle = " -> ".join(source for source, _ in nx.find_cycle(same_step))
        raise InvalidGraph(f"a cycle without a delay: {cycle}")
    for group in nx.strongly_connected_components(way):
        whole = sorted(name for name in group & set(hosts) if not hosts[name].per_step)
        if len(group) > 1 and whole:
            raise InvalidGraph(f"the host region {whole[0]} stands in a loop, and is not computed step by step")


def _step_order(nodes: Mapping[str, Node]) -> list[str]:
    """An order in which every node comes after what it reads in the same step (a Delay reads earlier steps only)."""
    same_step: nx.DiGraph = nx.DiGraph()
    same_step.add_nodes_from(nodes)
    for node in nodes.values():
        if not isinstance(node.op, Delay):
            same_step.add_edges_from((source, node.name) for source in node.inputs)
    rank = {name: index for index, name in enumerate(nodes)}
    try:
        order = list(nx.lexicographical_topological_sort(same_step, key=rank.__getitem__))
        # Outputs come last, in the order of forward's: "output", "output.2", ..., "output.10".
        last = sorted((n for n in order if isinstance(nodes[n].op, Output)), key=lambda name: (len(name), name))
        return [n for n in order if not isinstance(nodes[n].op, Output)] + last
    except nx.NetworkXUnfeasible:
        cycle = " -> ".join(source for source, _ in nx.find_cycle(same_step))
        raise InvalidGraph(f"a cycle without a delay: {cycle}") from None


def _infer_edges(nodes: Mapping[str, Node]) -> dict[str, Edge]:
    # A delay may stand before what it reads: it says its shape itself, and what it carries is assumed, then corrected.
    carried: dict[str, Literal["spikes", "real", "currents"]] = {}
    while True:
        edges: dict[str, Edge] = {}
        for node in nodes.values():
            if isinstance(node.op, Delay):
                edges[node.name] = Edge(node.op.shape, carried.get(node.name, "spikes"))
            else:
                edges[node.name] = _edge(node, [edges[source] for source in node.inputs])
        delays = [node for node in nodes.values() if isinstance(node.op, Delay)]
        for node in delays:
            (source,) = node.inputs
            if edges[source].shape != edges[node.name].shape:
                raise InvalidGraph(f"{node.name}: delays {edges[node.name].shape}, reads {edges[source].shape}")
        found = {node.name: edges[node.inputs[0]].carries for node in delays}
        if all(edges[name].carries == carries for name, carries in found.items()):
            return edges
        carried = found


_ARITY = {"Input": (0, 0), "Add": (1, None), "Concat": (1, None)}


def _edge(node: Node, inputs: list[Edge]) -> Edge:
    op = node.op
    least, most = _ARITY.get(type(op).__name__, (1, 1))
    if len(inputs) < least or (most is not None and len(inputs) > most):
        raise InvalidGraph(f"{node.name}: {type(op).__name__} cannot read {len(inputs)} values")
    if isinstance(op, Input):
        return Edge(op.shape, op.carries)
    if isinstance(op, Output):
        return inputs[0]
    if isinstance(op, Neuron | Integrator):
        for name, value in vars(op).items():
            if isinstance(value, np.ndarray):
                try:
                    fits = np.broadcast_shapes(value.shape, inputs[0].shape) == inputs[0].shape
                except ValueError:
                    fits = False
                if not fits:
                    raise InvalidGraph(f"{node.name}: {name} has shape {value.shape}, the layer {inputs[0].shape}")
        if isinstance(op, Neuron) and op.max_spikes > 1:
            _check_many(node.name, op)
        return Edge(inputs[0].shape, "spikes" if isinstance(op, Neuron) else "currents")
    if isinstance(op, Gain):
        _check_gain(node.name, op, inputs[0].shape)
    try:
        shape = output_shape(op, [edge.shape for edge in inputs])
    except ValueError as error:
        shapes = ", ".join(str(edge.shape) for edge in inputs)
        raise InvalidGraph(
            f"{node.name}: {type(op).__name__} does not fit an input of shape {shapes}: {error}"
        ) from error
    if not isinstance(op, _EVENT_OPS) or any(edge.carries == "currents" for edge in inputs):
        return Edge(shape, "currents")
    return Edge(shape, "real" if any(edge.carries == "real" for edge in inputs) else "spikes")


def _check_many(name: str, op: Neuron) -> None:
    others = {
        "a flipped comparison": np.any(op.flip),
        "a negative threshold": op.negative_threshold is not None,
        "a refractory time": op.refractory,
        "a norm of the membrane": op.norm is not None,
        "an amount that is not above 0": not np.all(op.amount > 0),
        "a reset that leaves a part": np.asarray(op.keep).dtype.kind == "f" and np.any(op.keep != 1),
    }
    if wrong := [what for what, there in others.items() if there]:
        raise InvalidGraph(f"{name}: it fires several spikes a step, with {', '.join(wrong)}")
    if op.max_spikes > MOST_SPIKES:
        raise InvalidGraph(f"{name}: {op.max_spikes} spikes a step, at most {MOST_SPIKES}")


def _check_gain(name: str, op: Gain, shape: tuple[int, ...]) -> None:
    """A gain for each step, and a bias that has as many steps."""
    steps = op.gains.shape
    per_step = op.bias.shape[:1] == steps and op.bias.ndim == len(shape) + 1
    if per_step:
        per_step = all(size in (1, n) for size, n in zip(op.bias.shape[1:], shape))
    if len(steps) != 1 or not (per_step or (op.bias.ndim == 0 and op.bias == 0)):
        raise InvalidGraph(f"{name}: gains {steps} and biases {op.bias.shape} do not fit the layer {shape}")
