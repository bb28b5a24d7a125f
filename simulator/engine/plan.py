"""From an integer graph to what the compiled engine runs: which layers are fast, with which proof, in which layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.form import Wire, form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    WEIGHT_OPS,
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.simulator.counts import Fanout, fanouts
from neurocompile.simulator.engine.events import Range, binary, ranges
from neurocompile.simulator.engine.neurons import Bounds, by_channel, in_registers, parameters, whole
from neurocompile.simulator.engine.scatter import (
    Class,
    Geometry,
    classes_of,
    limits,
    neighbours,
    part_sizes,
    pixel_bytes,
    planes,
    safe_events,
    tables,
)

__all__ = ["Machine", "Plan", "make_plan"]

_KINDS = (
    *("linear", "conv", "conv_transpose", "scale", "sum_pool", "max_pool", "upsample", "copy", "concat", "add", "gain"),
)
_ROUNDINGS = ("nearest", "floor", "zero")
_OVERFLOWS = ("saturate", "wrap", "wrap-once")
_SKIPS = 8
_INT32 = 2**31 - 1
_INT16 = 2**15 - 1


@dataclass(frozen=True)
class Machine:
    """What the kernels of an instruction set want: sums in a register, registers at a time, weights as bytes."""

    lanes: int
    vectors: int
    narrow: bool


@dataclass
class Plan:
    """The engine's network as plain data, and where to find things in it.

    ``index`` numbers the nodes by name, ``layers`` are those that are counted, ``macs`` are the multiply-accumulates a
    step of each. ``ways`` says for each neuron and integrator how it is computed.
    """

    data: dict[str, Any]
    index: dict[str, int]
    layers: list[str]
    macs: dict[str, int]
    ways: dict[str, str]


@dataclass
class _Leaf:
    """A layer of weights that feeds a neuron: the node, what it reads (before any reshape), its first output."""

    node: Node
    source: str
    first: int
    fan: Fanout


@dataclass(frozen=True)
class _Term:
    """A layer of weights in a sum: its classes of units, the least and most a source adds, how many units abreast."""

    leaf: _Leaf
    classes: list[Class]
    least: Array
    most: Array
    abreast: int


@dataclass
class _Sum:
    """What a layer's currents are summed of, each channel between ``low`` and ``high``; ``counted`` are told apart."""

    low: Array
    high: Array
    terms: list[_Term] = field(default_factory=list)
    skips: list[dict[str, Any]] = field(default_factory=list)
    counted: list[_Leaf] = field(default_factory=list)


@dataclass
class _Narrow:
    """The layers of weights that are summed in 16 bits, and between what these sums stay if they are never moved on."""

    low: Array
    high: Array
    leaves: list[_Leaf] = field(default_factory=list)


@dataclass
class _Planner:
    graph: Graph
    arithmetic: Arithmetic
    steps: int
    machine: Machine
    streaming: bool
    nodes: list[dict[str, Any]] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    bits: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    ways: dict[str, str] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.binary = binary(self.graph)
        self.ranges = ranges(self.graph)
        found = fanouts(self.graph)
        self.fan_of = {fan.node: fan for fan in found}
        self.fans = [(fan, fan.event) for fan in found if fan.node == fan.layer]
        self.macs = dict.fromkeys(form_of(self.graph).counted, 0)
        for fan in found:
            self.macs[fan.layer] += fan.macs_per_step
        self.layer_of = {name: layer for layer in form_of(self.graph).layers.values() for name in layer.currents}
        self.cyclic = {
            name
            for group in nx.strongly_connected_components(_wiring(self.graph))
            if len(group) > 1 or any(name in self.graph[name].inputs for name in group)
            for name in group
        }

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        planned = {node.name: self._layer(node) for node in self.graph.of(Neuron, Integrator)}
        needed = self._needed(planned)
        for node in self.graph:
            if node.name in needed and not isinstance(node.op, Output):
                self.index[node.name] = len(self.index)
        for node in self.graph:
            if node.name not in self.index:
                continue
            match node.op:
                case _ if node.name in planned:
                    data = planned[node.name]
                case Input():
                    data = {"node": "input"}
                case Delay():
                    self.numbers.add(node.inputs[0])
                    data = {"node": "delay", "source": node.inputs[0], "delay": node.op.steps}
                case _:
                    data = self._stateless(node)
            self.nodes.append({"name": node.name, **data})
        self.numbers |= {node.inputs[0] for node in self.graph.of(Output)}
        layers = [name for name in self.macs if name in self.index]
        for data in self.nodes:
            self._finish(data)
        data = {
            "steps": self.steps,
            "arithmetic": _arithmetic(self.arithmetic),
            "nodes": self.nodes,
            "fans": [self._fan(fan, event) for fan, event in self.fans if fan.layer in self.index],
            "schedule": self._schedule(),
        }
        return Plan(data, self.index, layers, self.macs, self.ways)

    def _needed(self, planned: dict[str, dict[str, Any]]) -> set[str]:
        """The nodes whose values are computed: what a fast layer's weights do is in that layer.

        Currents that others read than a fast layer become sums, ``planned`` here.
        """
        needed: set[str] = set()
        waiting = [*(node.name for node in self.graph.of(Input, Output)), *form_of(self.graph).counted]
        # Synapses are counted at events that no sum may read: their weights see only padding.
        while waiting or (waiting := [event for _, event in self.fans if event not in needed]):
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            if summed := self._summed(self.graph[name]):
                planned[name] = summed
            waiting += planned[name]["reads"] if name in planned else self.graph[name].inputs
        return needed

    def _finish(self, data: dict[str, Any]) -> None:
        """Numbers for names, and in which forms a node is wanted."""
        name = data["name"]
        channels, rows, columns = planes(self.graph.edges[name].shape)
        makes_bits = bool(data.get("makes_bits", False))
        data |= {"channels": channels, "pixels": rows * columns, "bytes": pixel_bytes(channels)}
        data |= {"makes_bits": makes_bits, "bits": name in self.bits, "numbers": name in self.numbers}
        for key in ("source", "current"):
            if isinstance(data.get(key), str):
                data[key] = self.index[data[key]]
        if "sources" in data:
            data["sources"] = [self.index[source] for source in data["sources"]]
        for part in [*data.get("synapses", ()), *data.get("skips", ())]:
            part["source"] = self.index[part["source"]]

    def _fan(self, fan: Fanout, event: str) -> dict[str, Any]:
        stored, nonzero = (np.where(fan.real, 0, each).reshape(-1) for each in (fan.stored, fan.nonzero))
        uniform = bool(stored.size) and bool((stored == stored[0]).all() and (nonzero == nonzero[0]).all())
        return {
            "source": self.index[event],
            "layer": self.index[fan.layer],
            "stored": whole(stored),
            "nonzero": whole(nonzero),
            "uniform": uniform,
        }

    def _schedule(self) -> list[tuple[list[int], bool]]:
        """Groups of nodes in an order in which all steps of one can be computed before the next; loops step by step."""
        condensed = nx.condensation(_wiring(self.graph))
        order = {node.name: k for k, node in enumerate(self.graph)}
        first = {g: min(order[name] for name in condensed.nodes[g]["members"]) for g in condensed}
        groups = []
        for g in nx.lexicographical_topological_sort(condensed, key=first.__getitem__):
            names = condensed.nodes[g]["members"]
            members = sorted(self.index[name] for name in names if name in self.index)
            if members:
                groups.append((members, any(name in self.cyclic for name in names)))
        return groups

    def _stateless(self, node: Node) -> dict[str, Any]:
        op, sources = node.op, list(node.inputs)
        _, *inside = planes(self.graph.edges[sources[0]].shape)
        _, *outside = planes(self.graph.edges[node.name].shape)
        data: dict[str, Any] = {
            "node": "stateless", "kind": "copy", "sources": sources, "weight": None, "bias": None, "groups": 1,
            "outer": 1, "inner": [], "in": inside, "out": outside, "kernel": [1, 1], "stride": [1, 1], "pad": [0, 0],
            "dilation": [1, 1], "fraction": 0,
        }  # fmt: skip
        if isinstance(op, MaxPool) and sources[0] in self.binary:
            data["makes_bits"] = True
            self.bits.add(sources[0])
        else:
            self.numbers |= set(sources)
        match op:
            case Linear():
                data |= {"kind": "linear", "weight": op.weight}
            case Conv() | ConvTranspose():
                kind = "conv" if isinstance(op, Conv) else "conv_transpose"
                pad = tuple(p if isinstance(p, int) else p[0] for p in op.padding)
                data |= {"kind": kind, "weight": op.weight, "groups": op.groups, "pad": _pair(pad, 0)}
                data |= {"kernel": _pair(op.weight.shape[2:]), "stride": _pair(op.stride)}
                data |= {"dilation": _pair(op.dilation)}
            case Scale():
                shape = self.graph.edges[node.name].shape
                data |= {"kind": "scale", "weight": np.broadcast_to(op.scale, shape)}
            case SumPool() | MaxPool():
                kind = "sum_pool" if isinstance(op, SumPool) else "max_pool"
                data |= {"kind": kind, "kernel": _pair(op.kernel), "stride": _pair(op.stride)}
                data |= {"pad": _pair(tuple(first for first, _ in op.padding), 0)}
                data["dilation"] = _pair(op.dilation) if isinstance(op, MaxPool) else [1, 1]
            case Upsample():
                data |= {"kind": "upsample", "stride": _pair(op.factors)}
            case Concat():
                shapes = [self.graph.edges[source].shape for source in sources]
                data |= {"kind": "concat", "outer": int(np.prod(shapes[0][: op.axis], dtype=int))}
                data["inner"] = [int(np.prod(shape[op.axis :], dtype=int)) for shape in shapes]
            case Add():
                data["kind"] = "add"
            case Gain():
                if len(op.gains) < self.steps:
                    raise ValueError(f"{node.name} has gains for {len(op.gains)} steps, not for {self.steps}")
                data |= {"kind": "gain", "weight": op.gains, "fraction": op.fraction}
                if op.bias.ndim:
                    shape = self.graph.edges[node.name].shape
                    data["bias"] = np.broadcast_to(op.bias[: self.steps], (self.steps, *shape))
        data["kind"] = _KINDS.index(data["kind"])
        for key in ("weight", "bias"):
            if data[key] is not None:
                data[key] = whole(data[key])
        if isinstance(op, WEIGHT_OPS):
            self._count(node.name, sources[0])
        return data

    def _count(self, name: str, source: str) -> None:
        """Counts what a layer of weights meets from its source on its own, unless a layer of neurons does already."""
        if name not in self.counted:
            self.counted.add(name)
            self.fans.append((self.fan_of[name], source))

    # -- layers --------------------------------------------------------------------------------------------------------

    def _layer(self, node: Node) -> dict[str, Any]:
        data = self._frame(node) | parameters(node.op, self.graph.edges[node.name].shape)
        leaves = self._leaves(node.inputs[0])
        sums = None if leaves is None else self._sums(node, leaves, data)
        if sums is None:
            data |= {"current": node.inputs[0], "reads": list(node.inputs), "skips": [], "synapses": []}
            self.numbers.add(node.inputs[0])
            self.ways[node.name] = "one by one, its current in 64 bits"
            return data
        data["reads"] = [part["source"] for part in [*data["synapses"], *data["skips"]]]
        wide = any(part["wide"] for part in data["synapses"])
        sums_of = "32" if wide else "16 or, where events are many, 32" if data["may_flush"] else "16"
        if isinstance(node.op, Neuron):
            width, loops = data["block"] * data["blocks"], node.name in self.cyclic
            shape = self.graph.edges[node.name].shape
            bounds = Bounds(node.op, self.arithmetic, sums, self.steps)
            data |= in_registers(node.op, shape, width, self.arithmetic, bounds, not self.streaming)
            data["keep"] = self.streaming or loops
        way = "all steps in registers" if data["fast"] else "one by one"
        self.ways[node.name] = f"{way}, sums of {sums_of} bits"
        return data

    def _frame(self, node: Node) -> dict[str, Any]:
        """A layer before its synapses are known."""
        channels, rows, columns = planes(self.graph.edges[node.name].shape)
        return {
            "node": "layer", "sums": False, "fires": isinstance(node.op, Neuron), "fast": False, "current": -1,
            "synapses": [], "skips": [], "rows": rows, "columns": columns, "top": 0, "before": 0, "block": 16,
            "blocks": -(-channels // 16), "padded_rows": rows, "padded_columns": columns,
            "may_flush": False, "safe_events": 0, "makes_bits": node.name in self.binary,
        }  # fmt: skip

    def _summed(self, node: Node) -> dict[str, Any] | None:
        """A current as a layer that only adds up events; None for what is no sum of weights, or needs 64 bits."""
        if not isinstance(node.op, Linear | Conv | ConvTranspose | Add) or self.graph.edges[node.name].is_event:
            return None
        leaves = self._leaves(node.name)
        if leaves is None:
            return None
        data = self._frame(node) | {"sums": True}
        if self._sums(node, leaves, data) is None:
            return None
        for leaf in leaves:
            self._count(leaf.node.name, leaf.source)
        return data | {"reads": [part["source"] for part in [*data["synapses"], *data["skips"]]]}

    def _leaves(self, current: str) -> list[_Leaf] | None:
        """The layers of weights that make up a current; None if something else stands between."""
        found: list[_Leaf] = []
        for synapse in self.layer_of[current].synapses:
            nodes = [synapse.name, *(wire.node.name for wire in synapse.way)]
            if current not in nodes:
                continue
            first = _first_channel(synapse.op, synapse.way[: nodes.index(current)])
            if first is None:
                return None
            source = synapse.event
            while isinstance(synapse.op, Linear) and isinstance(self.graph[source].op, Reshape):
                (source,) = self.graph[source].inputs
            found.append(_Leaf(synapse.node, source, first, self.fan_of[synapse.name]))
        return found

    def _sums(self, node: Node, leaves: list[_Leaf], data: dict[str, Any]) -> Range | None:
        """Plan how the currents are summed, and return their range; None where 32 bits could not hold them."""
        channels, rows, columns = planes(self.graph.edges[node.name].shape)
        block = self._block(channels, leaves)
        total = _Sum(np.zeros(channels), np.zeros(channels))
        if not all(self._adds(leaf, node.name, block, total) for leaf in leaves):
            return None
        least, most = float(total.low.min(initial=0)), float(total.high.max(initial=0))
        if max(-least, most) > _INT32:
            return None
        geometry = Geometry(channels, rows, columns, block)
        geometry.surround([each for term in total.terms for each in term.classes])
        if self.steps * geometry.padded_rows * geometry.padded_columns * block > _INT32:
            return None
        self._tables(node.name, total.terms, geometry, data)
        data |= {key: getattr(geometry, key) for key in ("block", "blocks", "top", "before")}
        data |= {key: getattr(geometry, key) for key in ("padded_rows", "padded_columns")}
        data["skips"] = [_skip(skip, channels, rows * columns, geometry.blocks * block) for skip in total.skips]
        self.bits |= {skip["source"] for skip in total.skips}
        for leaf in leaves:
            if leaf.fan.layer == node.name:
                if leaf in total.counted:
                    self._count(leaf.node.name, leaf.source)
                self.counted.add(leaf.node.name)
        return least, most

    def _adds(self, leaf: _Leaf, layer: str, block: int, total: _Sum) -> bool:
        """Add a layer of weights to the sum of a layer; False where 32 bits could not hold it."""
        shape = self.graph.edges[layer].shape
        channels, rows, columns = planes(shape)
        op: Any = leaf.node.op
        source = planes(self.graph.edges[leaf.source].shape)
        binary = leaf.source in self.binary
        if isinstance(op, Scale):
            if binary and source == (channels, rows, columns) and len(total.skips) < _SKIPS:
                weight = np.broadcast_to(op.scale, shape).reshape(channels, -1)
                if np.abs(weight).max(initial=0) > _INT32:
                    return False
                total.low, total.high = (
                    total.low + np.minimum(weight, 0).min(1), total.high + np.maximum(weight, 0).max(1)
                )  # fmt: skip
                total.skips.append({"source": leaf.source, "weight": weight})
                total.counted.append(leaf)
                return True
            shape = self.graph.edges[leaf.source].shape
            if not by_channel(op.scale, shape):
                return False
            op = Scale(np.broadcast_to(op.scale, shape).reshape(source[0], -1)[:, :1, None])
        least, most = self.ranges[leaf.source]
        negative, positive = limits(op, source, rows * columns)
        if not np.isfinite(max(abs(least), abs(most))):
            return False
        ours = slice(leaf.first, leaf.first + negative.shape[1])
        total.low[ours] += np.minimum(negative * most, positive * least).sum(0)
        total.high[ours] += np.maximum(positive * most, negative * least).sum(0)
        abreast = self._abreast(op, source, block) if binary else 1
        out = (negative.shape[1], rows, columns) if not isinstance(op, Linear) else None
        inner = out or (len(op.weight) // (rows * columns), rows, columns)
        classes = classes_of(op, source, inner, abreast)
        if classes:  # else it sees nothing but padding
            total.terms.append(_Term(leaf, classes, negative, positive, abreast))
            total.counted += [] if binary else [leaf]
        return True

    def _block(self, channels: int, leaves: list[_Leaf]) -> int:
        """How many channels are summed at a time: few distances leave registers for more of them."""
        lanes = max(self.machine.lanes, 16)
        if channels <= 16 or lanes == 16 == channels:
            return 16
        most = 1
        for leaf in leaves:
            op = leaf.node.op
            if isinstance(op, Conv):
                each = [-(-k // s) for k, s in zip(op.weight.shape[2:], op.stride)]
                most = max(most, int(np.prod(each)))
            elif isinstance(op, ConvTranspose):
                most = max(most, int(np.prod(op.weight.shape[2:])))
        times = max(1, min(8, self.machine.vectors // most, -(-channels // lanes)))
        return lanes * times

    def _abreast(self, op: Any, source: tuple[int, int, int], block: int) -> int:
        """As many neighbours as a word has bits for and registers have sums for: their surroundings overlap."""
        if not isinstance(op, Conv):
            return 1
        kernel, stride, dilation = op.weight.shape[-1], op.stride[-1], op.dilation[-1]
        rows = int(np.prod([-(-k // s) for k, s in zip(op.weight.shape[2:-1], op.stride)], dtype=int))
        times = 8 // pixel_bytes(source[0])
        while times > 1:
            met = neighbours(times, kernel, stride, op.padding[-1][0], dilation)
            far = [d for _, _, d in met]
            every = {j for j, _, _ in met} == set(range(times))  # no pixel that meets nothing
            if source[2] % times == 0 and times % stride == 0 and every:
                registers = rows * -(-(max(far) - min(far) + 1) * block // self.machine.lanes)
                if registers <= self.machine.vectors:
                    return times
            times //= 2
        return 1

    def _tables(self, layer: str, terms: list[_Term], geometry: Geometry, data: dict[str, Any]) -> None:
        """Weights in the kernels' layout; 16-bit sums wherever the weights themselves prove that they suffice."""
        narrow = _Narrow(np.zeros(geometry.channels), np.zeros(geometry.channels))
        data["synapses"] += [self._table(layer, term, geometry, narrow) for term in terms]
        data["may_flush"] = bool((narrow.low < -_INT16).any() or (narrow.high > _INT16).any())
        if data["may_flush"]:
            data["safe_events"] = safe_events([leaf.node.op for leaf in narrow.leaves], _INT16)

    def _table(self, layer: str, term: _Term, geometry: Geometry, narrow: _Narrow) -> dict[str, Any]:
        lanes, block, leaf, classes, abreast = self.machine.lanes, geometry.block, term.leaf, term.classes, term.abreast
        source = planes(self.graph.edges[leaf.source].shape)
        binary = leaf.source in self.binary
        bits = 8 * pixel_bytes(source[0]) * (abreast - 1) + source[0]
        biggest = max((int(np.abs(each.weights.astype(np.int64)).max(initial=0)) for each in classes), default=0)
        as_bytes = biggest <= 127 and self.machine.narrow
        size = part_sizes(classes, bits, block, 1 if as_bytes else 2)
        piece = _piece(term, bits, size, source[0], narrow) if binary and biggest <= _INT16 else None
        wide = piece is None
        if piece is None:  # 32-bit sums are never moved on
            size = piece = part_sizes(classes, bits, block, 4) if binary else 256
        parts = [(begin, min(begin + size, bits)) for begin in range(0, bits, size)]
        kind: Any = np.int32 if wide else np.int8 if as_bytes else np.int16
        shifted = [_moved(each, leaf.first, geometry.channels) for each in classes]
        made = tables(shifted, geometry, lanes // 2 if wide else lanes, parts, kind, self.machine.vectors)
        fans = self._fan_classes(leaf, source, abreast, binary and leaf.fan.layer == layer)
        if fans["fan_class"] is not None:  # units that are counted together stand together
            for each in classes:
                order = np.argsort(fans["fan_class"][each.units], kind="stable")
                each.units, each.rows, each.columns = (a[order] for a in (each.units, each.rows, each.columns))
        places = [
            ((each.rows + geometry.top) * geometry.padded_columns + each.columns + geometry.before) * block
            for each in classes
        ]
        (self.bits if binary else self.numbers).add(leaf.source)
        return {
            "source": leaf.source,
            "wide": wide,
            "values": not binary,
            "weight_bytes": np.dtype(kind).itemsize,
            "unit_bytes": pixel_bytes(source[0]) * abreast,
            "channels": -(-bits // 64) * 64,
            "classes": len(classes),
            "blocks": geometry.blocks,
            "units": _joined([each.units for each in classes]),
            "places": _joined(places),
            "class_start": np.cumsum([0, *(len(each.units) for each in classes)]).astype(np.int32),
            "part_first": np.array([b if not binary else b // 8 for b, _ in parts], np.int32),
            "part_bytes": np.array([e - b if not binary else -(-(e - b) // 8) for b, e in parts], np.int32),
            "piece_bytes": piece // 8,
            "distances": [[dy * geometry.padded_columns + dx for dy, dx in each.distances] for each in classes],
            "table": made.table,
            "table_at": made.at,
            "chunks": made.chunks,
            "offsets": made.offsets,
            **fans,
        }

    def _fan_classes(self, leaf: _Leaf, source: tuple[int, int, int], abreast: int, counted: bool) -> dict[str, Any]:
        """How many weights each bit of a unit meets; units that meet the same number of them are counted together."""
        if not counted:
            return {"fan_classes": 0, "fan_class": None, "fan_stored": None, "fan_nonzero": None}
        channels, rows, columns = source
        stride = 8 * pixel_bytes(channels)
        bits = stride * (abreast - 1) + channels
        room = -(-bits // 64) * 64
        units = rows * columns // abreast
        both = np.zeros((units, 2, room), np.int64)
        real = leaf.fan.real.reshape(channels, units, abreast)
        for which, met in enumerate((leaf.fan.stored, leaf.fan.nonzero)):
            each = np.where(real, 0, met.reshape(channels, units, abreast))
            for j in range(abreast):
                both[:, which, j * stride : j * stride + channels] = each[:, :, j].T
        flat = np.ascontiguousarray(both.reshape(units, -1))
        _, first, which_class = np.unique(
            flat.view([("", flat.dtype, flat.shape[1])]).ravel(), return_index=True, return_inverse=True
        )
        kept = both[first]
        return {
            "fan_classes": len(first),
            "fan_class": which_class.reshape(-1).astype(np.int32),
            "fan_stored": np.ascontiguousarray(kept[:, 0]),
            "fan_nonzero": np.ascontiguousarray(kept[:, 1]),
        }


def _first_channel(op: Any, way: Sequence[Wire]) -> int | None:
    """Where the outputs of weights stand among the channels of a current; None if they are moved any other way."""
    first = 0
    for number, wire in enumerate(way):
        match wire.node.op:
            case Add():
                pass
            case Concat(axis=0):
                first += wire.start
            case Reshape() if isinstance(op, Linear) and not number:
                pass
            case _:
                return None
    return first


def _piece(term: _Term, bits: int, size: int, source_channels: int, narrow: _Narrow) -> int | None:
    """How many bits of a unit 16-bit sums hold for certain, and the layer among ``narrow``; None: not even eight."""
    negative, positive = (np.zeros((source_channels, len(narrow.low))) for _ in range(2))
    ours = slice(term.leaf.first, term.leaf.first + term.least.shape[1])
    negative[:, ours], positive[:, ours] = term.least, term.most
    stride, piece = 8 * pixel_bytes(source_channels), size
    while not _fit(bits, size, piece, stride, negative, positive):
        if piece <= 8:
            return None
        piece = max(8, piece // 2 // 8 * 8)
    narrow.leaves.append(term.leaf)
    narrow.low, narrow.high = narrow.low + negative.sum(0), narrow.high + positive.sum(0)
    return piece


def _skip(skip: dict[str, Any], channels: int, pixels: int, width: int) -> dict[str, Any]:
    """A scaled copy of the source's spikes in the kernels' layout: one row where all pixels of a channel are alike."""
    weight = skip["weight"]
    same = weight.shape[1] == 1 or bool((weight == weight[:, :1]).all())
    values = np.zeros((1 if same else pixels, width), np.int32)
    values[:, :channels] = weight[:, :1].T if same else weight.T
    return {"source": skip["source"], "weight": np.ascontiguousarray(values), "stride": 0 if same else width}


def _fit(bits: int, size: int, piece: int, stride: int, negative: Array, positive: Array) -> bool:
    """Whether 16-bit sums hold all that pieces of the parts of a unit give them; ``stride`` bits are a pixel's."""
    for begin in range(0, bits, size):
        for first in range(begin, min(begin + size, bits), piece):
            met = np.unique(np.arange(first, min(first + piece, begin + size, bits)) % stride)
            met = met[met < len(negative)]
            if (negative[met].sum(0) < -_INT16).any() or (positive[met].sum(0) > _INT16).any():
                return False
    return True


def _moved(each: Class, first: int, channels: int) -> Class:
    """A class whose outputs are some of the layer's channels."""
    rows, distances, outs = each.weights.shape
    if not first and outs == channels:
        return each
    weights = np.zeros((rows, distances, channels), each.weights.dtype)
    weights[:, :, first : first + outs] = each.weights
    return Class(each.units, each.rows, each.columns, each.distances, weights)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int32)


def _pair(values: Any, fill: int = 1) -> list[int]:
    values = [int(v) for v in values]
    return [fill, *values] if len(values) == 1 else values


def _wiring(graph: Graph) -> Any:
    wiring = nx.DiGraph()
    wiring.add_nodes_from(node.name for node in graph)
    wiring.add_edges_from((source, node.name) for node in graph for source in node.inputs)
    return wiring


def _arithmetic(a: Arithmetic) -> dict[str, Any]:
    current = a.current_overflow or a.overflow
    most = a.state_max
    return {
        "fraction": a.decay_fraction,
        "rounding": _ROUNDINGS.index(a.rounding),
        "overflow": _OVERFLOWS.index(a.overflow),
        "current_overflow": _OVERFLOWS.index(current),
        "current_held": bool(a.current_overflow),
        "least": a.state_min,
        "most": most,
        "current_least": -most if current == "wrap-once" else -most - 1,
        "current_most": most + 1 if current == "wrap-once" else most,
        "graded": a.graded_spikes,
    }


def make_plan(graph: Graph, arithmetic: Arithmetic, steps: int, machine: Machine, streaming: bool = False) -> Plan:
    """Plan an integer graph.

    Args:
        graph: of a Program.
        arithmetic: of its target.
        steps: of a sample.
        machine: the instruction set's kernels.
        streaming: whether samples follow one another in time, so that nothing is proved by starting from rest.
    """
    return _Planner(graph, arithmetic, steps, machine, streaming).plan()
