"""One step of a graph as ONNX nodes: what goes in, what comes out, and the states between one step and the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.backends.onnx.functions import Functions
from neurocompile.backends.onnx.kinds import unit_of
from neurocompile.backends.onnx.products import Products, cropped
from neurocompile.backends.onnx.ranges import FLOAT32_MAX, Ranges
from neurocompile.backends.onnx.writing import DOMAIN, Value, Writer
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
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
    Op,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.ir.text import node_text

__all__ = ["BATCH", "Network", "State", "Step", "Writing"]

BATCH = "N"


@dataclass(frozen=True)
class State:
    """What a layer keeps: its value in this step, that for the next, and what it is at rest (without the batch)."""

    now: Value
    after: Value
    rest: Array


@dataclass
class Step:
    """A step that was written: values by the names of layers, and states.

    ``membranes`` are h of neurons and y of integrators, ``potentials`` what is left after the spikes.
    """

    outputs: dict[str, Value] = field(default_factory=dict)
    spikes: dict[str, Value] = field(default_factory=dict)
    membranes: dict[str, Value] = field(default_factory=dict)
    potentials: dict[str, Value] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)


@dataclass
class Network:
    """How graphs of one program are written.

    ``arithmetic`` is None for a real graph: everything is float32. ``floats``: integers are multiplied in float32 where
    that is exact; ``tell`` is told where it is not. ``units`` are the real values of a step of membranes.
    """

    arithmetic: Arithmetic | None
    floats: bool = False
    functions: Functions = field(default_factory=Functions)
    units: Mapping[str, Array] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda said: None

    def writing(self, w: Writer, graph: Graph, given: Mapping[str, Value]) -> Writing:
        """A step of a graph that is to be written.

        Args:
            w: where.
            graph: in synaptic form.
            given: what its inputs are, in whole numbers of their own types (of a real graph float32).
        """
        return Writing(self, w, graph, dict(given))


class Writing:
    """One step of a graph, as it is written."""

    def __init__(self, network: Network, w: Writer, graph: Graph, given: dict[str, Value]) -> None:
        self.network, self.w, self.graph = network, w, graph
        self.fed: Callable[[str], Value] | None = None
        self.whole_numbers = network.arithmetic is not None
        self.ranges = graph.kept(Ranges.of) if self.whole_numbers else None
        self.products = Products(w, network.floats)
        self.step = Step()
        self.values = given
        self.clock: Value | None = None

    def whole(self, fed: Callable[[str], Value] | None = None) -> Step:
        """All nodes, in the order of a step; then what delays hand on.

        Args:
            fed: makes the value of an Input that is not given, of what this step has computed so far.
        """
        self.fed = fed
        for node in self.graph:
            self.value(node.name)
        for node in self.graph.of(Delay):
            self._hand_on(node)
        if self.clock is not None:
            one = self.w.constant("1", 1, np.int64)
            after = self.w.node("Add", [self.clock.name, one], "timestep.next")
            self.step.states.append(State(self.clock, self.w.known(after, np.int64, (1,)), np.zeros(1, np.int64)))
        return self.step

    def value(self, name: str) -> Value:
        """What a node gives in this step, which is written when it is first asked for."""
        if name not in self.values:
            self.values[name] = self._written(self.graph[name])
        return self.values[name]

    def _written(self, node: Node) -> Value:
        op, shape = node.op, self.graph.edges[node.name].shape
        if isinstance(op, Input):
            assert self.fed is not None
            return self.fed(node.name)
        if isinstance(op, Delay):
            return self._delayed(node, op)
        inputs = [self.value(name) for name in node.inputs]
        match op:
            case Output():
                self.step.outputs[node.name] = inputs[0]
                return inputs[0]
            case Neuron() | Integrator():
                return self._neurons(node, op, inputs[0])
            case Linear() | Conv() | ConvTranspose() | SumPool():
                found = self._weighted(node, inputs[0])
            case Scale():
                found = self._scaled(node, op, inputs[0])
            case Gain():
                found = self._gained(node, op, inputs[0])
            case MaxPool():
                found = self._pooled(node, op, inputs[0])
            case _:
                found = self._moved(node, op, inputs)
        return self.w.known(found.name, found.dtype, (BATCH, *shape))

    def type_of(self, name: str) -> Any:
        """Of a value of the graph."""
        return np.dtype(np.float32 if self.ranges is None else self.ranges.types[name])

    def told(self, node: Node) -> str:
        """What a reader of the file is told of a node."""
        edge = self.graph.edges[node.name]
        return node_text(node.name, node.op, node.inputs, edge.carries, edge.shape)

    # -- layers --------------------------------------------------------------------------------------------------------

    def _weighted(self, node: Node, x: Value) -> Value:
        doc = self.told(node)
        if self.ranges is None:
            return self.products.real(node, x, doc)
        partial = self.ranges.partial[node.name]
        if self.network.floats and partial > FLOAT32_MAX:
            self.network.tell(
                f"{node.name} stays in integers: its partial sums can reach {partial:,.0f}, and float32 is exact up to"
                f" {FLOAT32_MAX:,} only"
            )
        count = self.ranges.count[node.inputs[0]]
        return self.products.weighted(node, x, self.type_of(node.name), partial, count, doc)

    def _scaled(self, node: Node, op: Scale, x: Value) -> Value:
        dtype = self.type_of(node.name)
        x = self.w.cast(x, dtype)
        scale = self.w.constant(f"{node.name}.scale", op.scale, dtype)
        name = self.w.node("Mul", [x.name, scale], node.name, doc=self.told(node))
        if np.any(op.shift):
            shift = self.w.constant(f"{node.name}.shift", op.shift, dtype)
            name = self.w.node("Add", [name, shift], f"{node.name}.shifted")
        return Value(name, dtype, x.shape)

    def _gained(self, node: Node, op: Gain, x: Value) -> Value:
        w, wide = self.w, np.dtype(np.int64 if self.whole_numbers else np.float32)
        now = self._timestep().name
        gains = w.node("Gather", [w.constant(f"{node.name}.gains", op.gains, wide), now], f"{node.name}.gain")
        name = w.node("Mul", [w.cast(x, wide).name, gains], f"{node.name}.times", doc=self.told(node))
        if op.fraction:
            name = self._rounded(name, op.fraction, node.name)
        if op.bias.ndim:
            bias = w.node("Gather", [w.constant(f"{node.name}.biases", op.bias, wide), now], f"{node.name}.bias")
            name = w.node("Add", [name, bias], f"{node.name}.biased")
        return w.cast(Value(name, wide, x.shape), self.type_of(node.name), node.name)

    def _rounded(self, name: str, fraction: int, stem: str) -> str:
        """A quotient by a power of two, rounded as the target does."""
        assert self.network.arithmetic is not None
        w, rounding = self.w, self.network.arithmetic.rounding
        one = w.constant(f"{1 << fraction}", 1 << fraction, np.int64)
        if rounding == "zero":
            return w.node("Div", [name, one], f"{stem}.quotient")
        if rounding == "nearest":
            half = w.constant(f"{1 << (fraction - 1)}", 1 << (fraction - 1), np.int64)
            name = w.node("Add", [name, half], f"{stem}.raised")
        rest = w.node("Mod", [name, one], f"{stem}.rest")
        return w.node("Div", [w.node("Sub", [name, rest], f"{stem}.less"), one], f"{stem}.quotient")

    def _pooled(self, node: Node, op: MaxPool, x: Value) -> Value:
        w, dtype = self.w, x.dtype
        x, padding = cropped(w, x, op.padding)
        # There is no MaxPool of int32; float64 has all whole numbers up to 2**53.
        x = x if x.dtype in (np.int8, np.float32) else w.cast(x, np.float64)
        if any(n >= size for pair, size in zip(padding, op.kernel) for n in pair):  # which ONNX Runtime refuses
            x, padding = self._bordered(node.name, x, padding), ((0, 0),) * len(padding)
        sizes: dict[str, Any] = {"pads": [a for a, _ in padding] + [b for _, b in padding]}
        sizes |= {"kernel_shape": list(op.kernel), "strides": list(op.stride), "dilations": list(op.dilation)}
        name = w.node("MaxPool", [x.name], f"{node.name}.max", doc=self.told(node), **sizes)
        return w.cast(Value(name, x.dtype, x.shape), dtype, node.name)

    def _bordered(self, stem: str, x: Value, padding: tuple[tuple[int, int], ...]) -> Value:
        """An event between rows of the least that there is, which no maximum takes."""
        w, least = self.w, np.iinfo(x.dtype).min if x.dtype.kind == "i" else -np.inf
        low = w.constant("least", least, x.dtype)
        for axis, counts in enumerate(padding, start=2):
            joined = [x.name]
            for count, side in zip(counts, ("before", "behind")):
                if not count:
                    continue
                copies = w.constant("copies", np.zeros(count), np.int64)
                row = w.node("Gather", [x.name, copies], f"{stem}.{side}", axis=axis)
                size_of = w.node("Shape", [row], f"{stem}.{side}.shape")
                border = w.node("Expand", [low, size_of], f"{stem}.{side}.least")
                joined = [border, *joined] if side == "before" else [*joined, border]
            size = (*x.shape[:axis], int(x.shape[axis]) + sum(counts), *x.shape[axis + 1 :])
            x = Value(w.node("Concat", joined, f"{stem}.bordered", axis=axis), x.dtype, size)
        return x

    def _moved(self, node: Node, op: Op, inputs: list[Value]) -> Value:
        """What adds, joins, copies or rearranges numbers."""
        w, dtype, shape = self.w, self.type_of(node.name), self.graph.edges[node.name].shape
        inputs = [w.cast(value, dtype) for value in inputs]
        match op:
            case Reshape():
                to = w.constant(f"{node.name}.shape", [0, *shape], np.int64)
                name = w.node("Reshape", [inputs[0].name, to], node.name)
            case Concat(axis=axis):
                name = w.node("Concat", [value.name for value in inputs], node.name, axis=axis + 1)
            case Add():
                name = inputs[0].name
                for value in inputs[1:]:
                    name = w.node("Add", [name, value.name], node.name)
            case Upsample(factors=factors):
                name = self._upsampled(node.name, inputs[0], factors)
            case _:
                raise TypeError(f"{type(op).__name__} is no operation of a step")
        return Value(name, dtype, (BATCH, *shape))

    def _upsampled(self, stem: str, x: Value, factors: tuple[int, ...]) -> str:
        w, (_, channels, *size) = self.w, x.shape
        apart = [n for each in size for n in (each, 1)]
        name = w.node("Reshape", [x.name, w.constant("shape", [0, channels, *apart], np.int64)], f"{stem}.apart")
        each = [1, 1, *(n for factor in factors for n in (1, factor))]
        name = w.node("Expand", [name, w.constant("factors", each, np.int64)], f"{stem}.copied")
        full = [n * factor for n, factor in zip(size, factors)]
        return w.node("Reshape", [name, w.constant("shape", [0, channels, *full], np.int64)], stem)

    # -- states --------------------------------------------------------------------------------------------------------

    def _neurons(self, node: Node, op: Neuron | Integrator, x: Value) -> Value:
        w, own, name = self.w, self.graph.edges[node.name].shape, node.name
        shape: tuple[int | str, ...] = (BATCH, *own)
        unit = unit_of(op, self.network.arithmetic, 0 if self.ranges is None else self.ranges.reach[name])
        dtype = np.dtype(unit.kind.dtype)
        fires = isinstance(op, Neuron)
        states = {kind: Value(w.fresh(f"{name}.{kind}"), dtype, shape) for kind in unit.states}
        given = [w.named(f"{name}.{kind}", value) for kind, value in unit.parameters.items()]
        spikes = w.fresh(name if self.whole_numbers else f"{name}.spikes") if fires else ""
        h = w.fresh(f"{name}.h") if fires else w.fresh(name)
        after = [w.fresh(f"{name}.{kind}.next") for kind in unit.states]
        outputs = [spikes, h, *after] if fires else [h, *after]
        read = [w.cast(x, dtype).name, *(state.name for state in states.values()), *given]
        told = f"{unit.kind.equation}{self._scale(name)}\n{self.told(node)}"
        w.call(self.network.functions.named(unit), read, outputs, f"{name}.neuron", domain=DOMAIN, doc=told)
        for (kind, state), next_name in zip(states.items(), after):
            rest = np.broadcast_to(unit.states[kind], own)
            self.step.states.append(State(state, w.known(next_name, dtype, shape), rest))
        self.step.membranes[name] = w.known(h, dtype, shape)
        self.step.potentials[name] = self.step.states[-len(after)].after
        if not isinstance(op, Neuron):
            return self.step.membranes[name]
        self.step.spikes[name] = w.known(spikes, np.int8, shape)
        return self._worth(node, op, self.step.spikes[name])

    def _worth(self, node: Node, op: Neuron, spikes: Value) -> Value:
        if self.whole_numbers:
            return self.w.cast(spikes, self.type_of(node.name))
        value = self.w.cast(spikes, np.float32)
        if np.all(op.amplitude == 1):
            return value
        amplitude = self.w.constant(f"{node.name}.amplitude", op.amplitude, np.float32)
        return Value(self.w.node("Mul", [value.name, amplitude], node.name), value.dtype, value.shape)

    def _scale(self, name: str) -> str:
        unit = self.network.units.get(name)
        if unit is None or not self.whole_numbers:
            return ""
        low, high = float(np.min(unit)), float(np.max(unit))
        return f"\none step of v is {low:.6g}" + (f" to {high:.6g}" if high != low else "") + " in the user's numbers"

    def _delayed(self, node: Node, op: Delay) -> Value:
        """The oldest of a row of states."""
        return Value(self.w.fresh(f"{node.name}.1"), self.type_of(node.name), (BATCH, *op.shape))

    def _hand_on(self, node: Node) -> None:
        op: Any = node.op
        line = [self.value(node.name)]
        line += [Value(self.w.fresh(f"{node.name}.{k}"), line[0].dtype, line[0].shape) for k in range(2, op.steps + 1)]
        newest = self.w.cast(self.value(node.inputs[0]), line[0].dtype)
        for now, source in zip(line, [*line[1:], newest]):
            after = self.w.node("Identity", [source.name], f"{now.name}.next")
            known = self.w.known(after, now.dtype, now.shape)
            self.step.states.append(State(now, known, np.zeros(op.shape, now.dtype)))

    def _timestep(self) -> Value:
        if self.clock is None:
            self.clock = Value(self.w.fresh("timestep"), np.dtype(np.int64), (1,))
        return self.clock
