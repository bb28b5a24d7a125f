"""The network in a file: graphs within graphs become one, every edge leads somewhere, every node knows its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import networkx as nx
import numpy as np

from neurocompile.errors import BadInput, Problem, UnsupportedModel
from neurocompile.frontends.nir.hdf5 import Raw
from neurocompile.frontends.nir.nodes import (
    Cell,
    Convolution,
    Delayed,
    Flatten,
    Node,
    Pool,
    Port,
    Scaling,
    Threshold,
    Weights,
    node_of,
)
from neurocompile.printable import printable

__all__ = ["Network", "network_of", "parts_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """Nodes by name, what each reads, and the shape of what each gives (without time and batch).

    Attributes:
        nodes: without the borders of graphs within graphs; names of these are prefixes, with a dot.
        sources: for each node, in the order of names: the nodes that it reads; what comes from several adds up.
        shapes: of what each node gives.
        notes: what was taken in another way than it is written.
        metadata: of the whole file.
    """

    nodes: Mapping[str, Node]
    sources: Mapping[str, tuple[str, ...]]
    shapes: Mapping[str, Shape]
    notes: tuple[str, ...]
    metadata: Mapping[str, object]

    @property
    def inputs(self) -> dict[str, Shape]:
        """The shapes of what a user gives."""
        return {name: self.shapes[name] for name, node in self.nodes.items() if _is_port(node, "Input")}

    @property
    def outputs(self) -> list[str]:
        """The nodes that a user reads."""
        return [name for name, node in self.nodes.items() if _is_port(node, "Output")]

    def past_recurrence(self) -> Network:
        """The same, where what leads into weights that a neuron has to itself leads into that neuron, as Spyx means it.

        It writes input -> w_rec, w_rec -> lif, lif -> w_rec, and adds its input to what w_rec gives.
        """
        sources = dict(self.sources)
        for name, node in self.nodes.items():
            read = [reader for reader, heard in self.sources.items() if name in heard]
            if isinstance(node, Weights) and len(read) == 1 and read[0] in self.sources[name]:
                (cell,) = read
                if self.sources[cell] == (name,) and _fires(self.nodes[cell]):
                    others = [each for each in self.sources[name] if each != cell]
                    sources |= {name: (cell,), cell: tuple(sorted([name, *others]))}
        return replace(self, sources=sources)

    def back_edges(self) -> frozenset[tuple[str, str]]:
        """One edge of every cycle, out of a node that fires: what passes it arrives one step later."""
        return _back_edges(self.nodes, self.sources)


def network_of(raw: Raw, where: str) -> Network:
    """A file's graph as one network.

    Args:
        raw: the graph.
        where: the file.

    Raises:
        BadInput: with everything in it that is damaged or contradicts itself.
        UnsupportedModel: for a cycle in which nothing waits, or keeps a state.
    """
    if raw.kind != "NIRGraph":
        raise BadInput(Problem("the file holds one node, and no graph", where, raw.kind, "NIRGraph"))
    problems: list[Problem] = []
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    _collect(raw, "", where, nodes, edges, problems)
    if problems:
        raise BadInput(problems)
    nodes, edges = _without_borders(nodes, edges)
    nodes, edges, notes = _with_ports(nodes, edges)
    sources = {name: tuple(sorted(a for a, b in edges if b == name)) for name in nodes}
    _check_cycles(nodes, sources, where)
    shapes, chosen, more = _shaped(nodes, sources, where)
    return Network(chosen, sources, shapes, (*notes, *more), raw.metadata)


def parts_of(raw: Raw, where: str) -> dict[str, Node]:
    """The nodes of a file that can be read, whatever the others and the edges are."""
    nodes: dict[str, Node] = {}
    _collect(raw, "", where, nodes, [], [])
    return nodes


# -- graphs within graphs ----------------------------------------------------------------------------------------------


def _collect(
    raw: Raw, prefix: str, where: str, nodes: dict[str, Node], edges: list[tuple[str, str]], problems: list[Problem]
) -> None:
    """Every node under its whole name, and edges between these; ports of inner graphs are borders."""
    ports: dict[str, dict[str, list[str]]] = {}
    for name, each in raw.nodes.items():
        whole = prefix + name
        if each.kind == "NIRGraph":
            _collect(each, f"{whole}.", where, nodes, edges, problems)
            ports[name] = {
                kind: [f"{whole}.{inner}" for inner, node in each.nodes.items() if node.kind == kind]
                for kind in ("Input", "Output")
            }
            continue
        made, wrong = node_of(each, f"{where}: {printable(whole)}")
        problems += wrong
        if made is not None:
            nodes[whole] = replace(made, kind="border") if isinstance(made, Port) and prefix else made
    for (source, target), times in Counter(raw.edges).items():
        ends = _end(source, raw, ports, "Output", prefix), _end(target, raw, ports, "Input", prefix)
        lost = [name for name, end in zip((source, target), ends) if end is None]
        for name in lost:
            what = f"the edge {printable(source)} -> {printable(target)} leads to no node"
            if name in ports:
                what = f"the graph {printable(name)} has not one {'Output' if name == source else 'Input'}"
            near = ", ".join(map(printable, sorted(raw.nodes)[:12]))
            problems.append(Problem(what, f"{where}: {printable(prefix + name)}", printable(name), near,
                                    "name a node of the same graph"))  # fmt: skip
        for port, kind, way in ((source, "Output", "leaves"), (target, "Input", "enters")):
            if not prefix and port in raw.nodes and raw.nodes[port].kind == kind:
                what = f"the edge {printable(source)} -> {printable(target)} {way} the network's {kind.lower()}"
                problems.append(Problem(what, f"{where}: {printable(port)}", fix="leave it out, or name another node"))
        if not lost and times > 1:
            often = "twice" if times == 2 else f"{times:,} times"
            what = f"the edge {printable(source)} -> {printable(target)} is there {often}"
            problems.append(Problem(what, where, fix="keep one; for twice the weight, double the weight"))
        if not lost:
            edges.append((str(ends[0]), str(ends[1])))


def _end(name: str, raw: Raw, ports: Mapping[str, Mapping[str, list[str]]], kind: str, prefix: str) -> str | None:
    if name not in raw.nodes:
        return None
    if name not in ports:
        return prefix + name
    found = ports[name][kind]
    return found[0] if len(found) == 1 else None


def _without_borders(
    nodes: dict[str, Node], edges: list[tuple[str, str]]
) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    for name in [name for name, node in nodes.items() if _is_port(node, "border")]:
        before, after = [a for a, b in edges if b == name], [b for a, b in edges if a == name]
        edges = [edge for edge in edges if name not in edge]
        edges += [edge for edge in product(before, after) if edge not in edges]
        del nodes[name]
    return nodes, edges


def _is_port(node: Node, kind: str) -> bool:
    return isinstance(node, Port) and node.kind == kind


def _with_ports(
    nodes: dict[str, Node], edges: list[tuple[str, str]]
) -> tuple[dict[str, Node], list[tuple[str, str]], list[str]]:
    """An Input before what nothing leads to, and an Output after what leads nowhere, where a file has none."""
    notes = []
    for kind, end, place in (("Input", 1, 0), ("Output", 0, 1)):
        if any(_is_port(node, kind) for node in nodes.values()):
            continue
        free = sorted(set(nodes) - {edge[end] for edge in edges})
        for number, name in enumerate(free):
            port = kind.lower() + (f"_{number}" if len(free) > 1 else "")
            nodes[port] = Port(kind, None)  # type: ignore[arg-type]
            edges.append((port, name) if place == 0 else (name, port))
            notes.append(f"the file has no {kind}: {name} is {'given' if place == 0 else 'read'} as {port}")
    return nodes, edges, notes


# -- cycles ------------------------------------------------------------------------------------------------------------


def _check_cycles(nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]], where: str) -> None:
    broken = _back_edges(nodes, sources)
    left = nx.DiGraph((a, b) for b, read in sources.items() for a in read if (a, b) not in broken)
    if not nx.is_directed_acyclic_graph(left):
        around = " -> ".join(a for a, _ in nx.find_cycle(left))
        fix = "let it pass a neuron or a Delay"
        raise UnsupportedModel(Problem("a cycle in which nothing fires or waits", where, around, fix=fix))
    ports = [name for name, read in sources.items() if not read and not _is_port(nodes[name], "Input")]
    silent = [name for name in ports if not isinstance(nodes[name], Port)]
    if silent:
        raise BadInput([Problem("no edge leads to this node", f"{where}: {name}") for name in silent])
    unread = [name for name in ports if isinstance(nodes[name], Port)]
    if unread:
        raise BadInput([Problem("nothing leads to this output", f"{where}: {name}") for name in unread])


def _back_edges(nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]]) -> frozenset[tuple[str, str]]:
    """Edges out of neurons by which a walk from the inputs would come back to where it was: these wait for a step.

    An edge that closes a cycle may lead out of weights; what waits is then the spikes that these weigh, so that a bias
    acts from the first step on.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(nodes))
    graph.add_edges_from(sorted((a, b) for b, read in sources.items() for a in read))
    groups = {name: number for number, group in enumerate(nx.strongly_connected_components(graph)) for name in group}
    starts = sorted(nodes, key=lambda name: (not _is_port(nodes[name], "Input"), name))
    found: set[tuple[str, str]] = set()
    for source, target in _closing(graph, starts):
        waiting, seen = [(source, target)], set()
        while waiting:
            edge = waiting.pop()
            if edge in seen or groups[edge[0]] != groups[edge[1]]:
                continue
            seen.add(edge)
            if _fires(nodes[edge[0]]):
                found.add(edge)
            else:
                waiting += [(before, edge[0]) for before in graph.predecessors(edge[0])]
    return frozenset(found)


def _fires(node: Node) -> bool:
    return isinstance(node, Cell) and node.v_threshold is not None


def _closing(graph: nx.DiGraph, starts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Edges to a node that a walk, depth first, is still within."""
    within: set[str] = set()
    done: set[str] = set()
    for start in starts:
        stack = [] if start in done else [(start, iter(graph.successors(start)))]
        within |= {name for name, _ in stack}
        while stack:
            name, after = stack[-1]
            following = next(after, None)
            if following is None:
                stack.pop()
                within.discard(name)
                done.add(name)
            elif following in within:
                yield name, following
            elif following not in done:
                within.add(following)
                stack.append((following, iter(graph.successors(following))))


# -- shapes ------------------------------------------------------------------------------------------------------------


class _Misfit(Exception):
    def __init__(self, name: str, what: str, actual: str, limit: str) -> None:
        super().__init__(what)
        self.problem = name, what, actual, limit


def _shaped(
    nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]], where: str
) -> tuple[dict[str, Shape], dict[str, Node], list[str]]:
    """The shape of every node, with what of a file's habits makes them fit.

    An Input may say batch and time ([1, N], [1, 1, N]), or have a channel alone; a Flatten may count the batch among
    its axes.
    """
    first: _Misfit | None = None
    for ones, batched in product(("of vectors", "one", "none"), (False, True)):
        tried = dict(nodes)
        notes = []
        for name, node in nodes.items():
            if isinstance(node, Port) and node.shape is not None and (short := _short(node.shape, ones)) != node.shape:
                tried[name] = replace(node, shape=short)
                if node.kind == "Input":
                    notes.append(f"{name}: its shape {list(node.shape)} is taken without batch and time: {list(short)}")
            if isinstance(node, Flatten) and batched and node.start > 0:
                tried[name] = Flatten(node.start - 1, node.end - 1 if node.end > 0 else node.end)
                notes.append(f"{name}: start_dim {node.start} is taken to count the batch")
        try:
            return _propagated(tried, sources), tried, notes
        except _Misfit as misfit:
            first = first or misfit
    assert first is not None
    name, what, actual, limit = first.problem
    raise BadInput(Problem(what, f"{where}: {name}", actual, limit, "see what leads to it"))


def _short(shape: Shape, ones: str) -> Shape:
    """A shape without leading ones: all of them where a vector is left, else ("one") the first; "none": as it is."""
    bare = shape
    if ones == "none":
        return shape
    while len(bare) > 1 and bare[0] == 1:
        bare = bare[1:]
    if len(bare) == 1:
        return bare
    return shape[1:] if ones == "one" and shape[0] == 1 else shape


def _propagated(nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, node in nodes.items():
        if _is_port(node, "Input"):
            readers = (_taken_shape(nodes[reader]) for reader, read in sources.items() if name in read)
            known = _own_shape(node) or next((shape for shape in readers if shape), None)
            if known is not None:
                shapes[name] = known
    while True:
        while _grown(nodes, sources, shapes):
            pass
        # In a cycle nothing may be known yet but what a neuron says of itself.
        free = ((name, _own_shape(node)) for name, node in nodes.items() if name not in shapes)
        name, own = next(((name, own) for name, own in free if own), ("", None))
        if own is None:
            break
        shapes[name] = own
    for name in nodes:
        if name not in shapes:
            raise _Misfit(name, "nothing tells its shape", "", "an Input with a shape")
    for name, node in nodes.items():
        for source in sources[name]:
            found = _given_shape(name, node, shapes[source])
            if found != shapes[name]:
                raise _Misfit(
                    name, "what it is given does not fit it", str(list(shapes[source])), str(list(shapes[name]))
                )
    return shapes


def _grown(nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]], shapes: dict[str, Shape]) -> bool:
    """Tell the shapes of nodes whose sources are known; whether there was one."""
    made = False
    for name, node in nodes.items():
        given = {shapes[source] for source in sources[name] if source in shapes}
        if len(given) > 1:
            raise _Misfit(name, "what is added up in it has different shapes", str(sorted(map(list, given))), "one")
        if name not in shapes and given:
            shapes[name] = _given_shape(name, node, given.pop())
            made = True
    return made


def _own_shape(node: Node) -> Shape | None:
    """What a node says of its shape itself."""
    if isinstance(node, Port):
        return node.shape if node.kind == "Input" else None
    if isinstance(node, Cell):
        return _bare(node.shape) or None
    return None


def _taken_shape(node: Node) -> Shape | None:
    """What a node says of what it is given."""
    return (node.weight.shape[1],) if isinstance(node, Weights) else _own_shape(node)


def _bare(shape: Shape) -> Shape:
    return _short(shape, "of vectors") if shape else shape


def _given_shape(name: str, node: Node, given: Shape) -> Shape:
    """The shape of what a node gives, for what it is given."""
    match node:
        case Port():
            return given
        case Weights():
            if given != (node.weight.shape[1],):
                raise _Misfit(
                    name, "weight does not fit what it is given", str(list(given)), f"[{node.weight.shape[1]}]"
                )
            return (node.weight.shape[0],)
        case Convolution():
            return _convolved(name, node, given)
        case Pool():
            if len(given) != 3:
                raise _Misfit(name, "a pool wants channels, rows and columns", str(list(given)), "[C, H, W]")
            pads = tuple((n, n) for n in node.padding)
            return (given[0], *_windows(name, given[1:], node.kernel, node.stride, pads, (1, 1)))
        case Flatten():
            return _flattened(name, node, given)
        case Cell():
            return _same(name, node.shape, given)
        case Scaling():
            return _same(name, node.scale.shape, given)
        case Delayed():
            return _same(name, node.delay.shape, given)
        case Threshold():
            return _same(name, node.threshold.shape, given)


def _same(name: str, own: Shape, given: Shape) -> Shape:
    fits = own in ((), (1,), given) or _bare(own) in ((1,), _bare(given))
    if fits or (len(own) == len(given) and all(a in (1, b) for a, b in zip(own, given))):
        return given
    raise _Misfit(name, "its parameters do not fit what it is given", str(list(given)), str(list(own)))


def _convolved(name: str, node: Convolution, given: Shape) -> Shape:
    axes = node.weight.ndim - 2
    wanted = node.weight.shape[1] * node.groups
    if len(given) != axes + 1 or given[0] != wanted:
        raise _Misfit(name, "weight does not fit what it is given", str(list(given)), f"[{wanted}{', n' * axes}]")
    return (
        node.weight.shape[0],
        *_windows(name, given[1:], node.weight.shape[2:], node.stride, node.padding, node.dilation),
    )


def _windows(
    name: str, sizes: Shape, kernel: Shape, stride: Shape, padding: Sequence[tuple[int, int]], dilation: Shape
) -> Iterator[int]:
    found = [(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation)]
    if any(n < 1 for n in found):
        raise _Misfit(name, "its kernel is larger than what it is given", str(list(sizes)), str(list(kernel)))
    return iter(found)


def _flattened(name: str, node: Flatten, given: Shape) -> Shape:
    start, end = (n + len(given) if n < 0 else n for n in (node.start, node.end))
    if not 0 <= start <= end < len(given):
        raise _Misfit(name, "there are no such axes to flatten", f"{node.start} to {node.end}", f"of {list(given)}")
    return (*given[:start], int(np.prod(given[start : end + 1])), *given[end + 1 :])
