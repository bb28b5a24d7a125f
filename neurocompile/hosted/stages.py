"""A network of which the host computes parts: which part runs when, and what crosses between them.

Chip and host take turns. A stage of the chip runs over all steps as a graph of its own; what earlier stages fired is
fed into it. Where a host region stands in a loop (what it gives comes back, a step later, to the neurons that it
reads), the stage is run once for each step: what lies after that step cannot matter yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.hosted.session import HostSession, sessions
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.host import HostRegion
from neurocompile.ir.interpret import interpret, read_out
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Op, Output
from neurocompile.ir.trace import Trace, beside

__all__ = ["Hosted", "Stage", "run_graph"]


@dataclass(frozen=True)
class Stage:
    """One turn: a graph for the chip (None: there is nothing for it to do), then regions for the host.

    ``loop``: the regions feed the graph again, a step later.
    """

    number: int
    graph: Graph | None
    regions: tuple[HostRegion, ...]
    loop: bool = False


OnChip = Callable[[Stage, Mapping[str, Array]], Trace]


class Hosted:
    """The stages of a graph with host regions, ready to be run.

    Args:
        graph: real or integer.
        timesteps: T.
    """

    def __init__(self, graph: Graph, timesteps: int) -> None:
        self.graph = graph
        self.timesteps = timesteps
        self.stages = _stages(graph)

    @cached_property
    def _sessions(self) -> dict[str, HostSession]:
        return sessions(self.graph.hosts.values(), self.timesteps)

    def run(self, inputs: Mapping[str, Array], on_chip: OnChip) -> Trace:
        """Run all stages; ``values`` of the trace has what host regions fed, by name.

        Args:
            inputs: what the user gives, ``[N, T, *shape]``, real.
            on_chip: runs a stage's graph on real inputs ``[N, T, *shape]`` for all its inputs (spikes of earlier
                stages among them). In a loop it is called again and again, the last time with everything in place.

        Raises:
            BadInput: if a region cannot be run, or gives the chip what is no number, or no spike.
        """
        self._check_inputs(inputs)
        done: dict[int, Trace] = {}
        known: dict[str, Array] = dict(inputs)
        for stage in self.stages:
            if stage.loop:
                self._loop(stage, known, done, on_chip)
                continue
            if stage.graph is not None:
                self._turn(stage, known, done, on_chip)
            for region in stage.regions:
                known[region.name] = self._computed(region, self._given(region, known))
        whole = beside(done.values())
        for region in self.graph.hosts.values():
            value = known[region.name]
            if region.name in self.graph:
                whole.values[region.name] = self._over_time(region, value)
            if region.output:
                whole.outputs[region.output] = read_out(Output(region.read), value) if region.timed else value
        for name in self.graph.host_reads:
            whole.outputs.pop(name, None)
        return whole

    def _turn(self, stage: Stage, known: dict[str, Array], done: dict[int, Trace], on_chip: OnChip) -> None:
        assert stage.graph is not None
        given = {}
        for node in stage.graph.of(Input):
            region = self.graph.hosts.get(node.name)
            given[node.name] = known[node.name] if region is None else self._over_time(region, known[node.name])
        run = on_chip(stage, given)
        done[stage.number] = run
        known |= run.outputs
        known |= {name: _worth(self.graph[name].op, fired) for name, fired in run.spikes.items()}

    def _loop(self, stage: Stage, known: dict[str, Array], done: dict[int, Trace], on_chip: OnChip) -> None:
        samples = len(next(iter(known.values())))
        for region in stage.regions:
            known[region.name] = np.zeros((samples, self.timesteps, *region.shape))
        for t in range(self.timesteps):
            for region in stage.regions:
                self._turn(stage, known, done, on_chip)
                at = [value[:, t : t + 1] for value in self._given(region, known)]
                known[region.name][:, t : t + 1] = self._computed(region, at)
        self._turn(stage, known, done, on_chip)

    def _computed(self, region: HostRegion, values: list[Array]) -> Array:
        """What a region gives: what goes to the chip must be what the chip can be given."""
        result = self._sessions[region.name](values)
        if region.name not in self.graph:
            return result
        spikes = region.carries == "spikes"
        wrong = (result != 0) & (result != 1) if spikes else ~np.isfinite(result)
        if wrong.any():
            what = "this host region gives the chip what is no spike" if spikes else "this host region gives no number"
            fix = 'let it give 0 or 1, or mark it without carries="spikes"' if spikes else "keep its result finite"
            actual = f"{result[wrong][0]:g}, and in all {wrong.sum()} of {wrong.size} values"
            limit = "0 or 1" if spikes else "finite numbers"
            raise BadInput(Problem(what, f"{region.name} ({region.kind})", actual, limit, fix))
        return result

    def _check_inputs(self, inputs: Mapping[str, Array]) -> None:
        """A region that reads an input without time gets what is the same at every step."""
        whole = {r.source for region in self.graph.hosts.values() for r in region.reads if not r.timed}
        for name in sorted(whole & set(inputs)):
            if not np.array_equal(inputs[name], np.broadcast_to(inputs[name][:, :1], inputs[name].shape)):
                what, fix = (
                    "the model takes this input without time, and the data change over time",
                    "give it as [N, ...]",
                )
                raise BadInput(Problem(what, name, fix=fix))

    def _given(self, region: HostRegion, known: Mapping[str, Array]) -> list[Array]:
        found = []
        for read in region.reads:
            value = known[read.source]
            found.append(value[:, 0] if read.kind == "input" and not read.timed else value)
        return found

    def _over_time(self, region: HostRegion, value: Array) -> Array:
        if region.timed:
            return value
        return np.broadcast_to(value[:, None], (len(value), self.timesteps, *value.shape[1:]))


def run_graph(graph: Graph, inputs: Mapping[str, Array], timesteps: int) -> Trace:
    """:func:`neurocompile.ir.interpret.interpret`, with what the host computes in between."""
    if not graph.hosts:
        return interpret(graph, inputs, timesteps)

    def on_chip(stage: Stage, given: Mapping[str, Array]) -> Trace:
        assert stage.graph is not None
        return interpret(stage.graph, given, timesteps)

    return Hosted(graph, timesteps).run(inputs, on_chip)


def _worth(op: Op, fired: Array) -> Array:
    """What spikes are worth to those who read them."""
    assert isinstance(op, Neuron)
    return fired if np.all(op.amplitude == 1) else fired * op.amplitude


# -- stages ------------------------------------------------------------------------------------------------------------

_DOES = (Neuron, Integrator, Output)


def _stages(graph: Graph) -> list[Stage]:
    """Everything in the first stage that it can be in."""
    way: nx.DiGraph = nx.DiGraph()
    way.add_nodes_from(("chip", node.name) for node in graph)
    for node in graph:
        way.add_edges_from((("chip", source), ("chip", node.name)) for source in node.inputs)
    for region in graph.hosts.values():
        way.add_node(("host", region.name))
        for read in region.reads:
            if read.kind != "input":
                way.add_edge((read.kind, read.source), ("host", region.name))
        if region.name in graph:
            way.add_edge(("host", region.name), ("chip", region.name))
    number: dict[tuple[str, str], int] = {}
    groups = nx.condensation(way)
    for group in nx.lexicographical_topological_sort(groups):
        members = groups.nodes[group]["members"]
        before = {source for member in members for source in way.predecessors(member)} - members
        kinds = {kind for kind, _ in members}
        loops = kinds == {"chip", "host"}
        stage = max((_after(source, number[source], "loop" if loops else min(kinds)) for source in before), default=0)
        number |= dict.fromkeys(members, stage | loops)
    rank = {name: place for place, name in enumerate(_host_order(graph))}
    found = []
    for stage in sorted(set(number.values())):
        nodes = {name for (kind, name), n in number.items() if n == stage and kind == "chip"}
        regions = [graph.hosts[name] for (kind, name), n in number.items() if n == stage and kind == "host"]
        regions.sort(key=lambda region: rank[region.name])
        works = any(isinstance(graph[name].op, _DOES) for name in nodes)
        found.append(Stage(stage, _part(graph, nodes) if works else None, tuple(regions), stage % 2 == 1))
    return found


def _after(source: tuple[str, str], stage: int, kind: str) -> int:
    """The first stage for something that reads what came in a stage; stages of loops have odd numbers."""
    if stage % 2:
        return stage + 1
    return stage + 2 if source[0] == "host" and kind == "chip" else stage


def _host_order(graph: Graph) -> list[str]:
    """Regions so that each comes after those that it reads."""
    reads: nx.DiGraph = nx.DiGraph()
    reads.add_nodes_from(graph.hosts)
    for region in graph.hosts.values():
        reads.add_edges_from((read.source, region.name) for read in region.reads if read.kind == "host")
    return list(nx.lexicographical_topological_sort(reads, key=list(graph.hosts).index))


def _part(graph: Graph, names: set[str]) -> Graph:
    """Some nodes as a graph of their own: it is given what neurons fired that are not among them.

    Whatever only moves or weighs events stands in every stage that wants its result.
    """
    nodes: dict[str, Node] = {}
    wanted = [node.name for node in graph if node.name in names and isinstance(node.op, _DOES)]
    while wanted:
        name = wanted.pop()
        if name in nodes:
            continue
        node = graph[name]
        if name not in names and isinstance(node.op, Neuron):
            least = 0 if node.op.negative_threshold is None else -1
            nodes[name] = Node(name, Input(graph.edges[name].shape, "spikes", 1.0, least, node.op.max_spikes))
            continue
        nodes[name] = node
        wanted += node.inputs
    order = [node.name for node in graph if node.name in nodes]
    return Graph(nodes[name] for name in order)
