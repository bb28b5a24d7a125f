"""A program's folded graph in NIR's primitives, and everything in it that NIR cannot say.

NIR's equations are read by forward Euler: ``decay = 1 - dt / tau``, what a leaking membrane hears times ``r dt / tau``,
what a current hears times ``w_in dt / tau_syn``. dt is 1e-4, which three readers have fixed; where inputs count as they
are, r is tau / dt and w_in is tau_syn / dt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurocompile.backends.nir.integers import in_numbers, units_of
from neurocompile.backends.nir.usual import usual
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
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
)
from neurocompile.program import Program

__all__ = ["DT", "Network", "network_of"]

DT = 1e-4
_FURTHEST = float(np.finfo(np.float32).max) / 2
Fields = dict[str, Any]


@dataclass
class Network:
    """Nodes with their kinds and fields, edges, what only metadata can say, and what of the program is not in it."""

    nodes: dict[str, tuple[str, Fields]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    metadata: Fields = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)


def network_of(program: Program, integers: bool = False, approximate: bool = False) -> Network:
    """The network of a program.

    Args:
        program: compiled.
        integers: whether numbers are the program's integers, in the target's units, instead of the folded reals.
        approximate: whether what NIR cannot say is written as near as can be, and told; else it is refused.

    Raises:
        DoesNotFit: with everything that NIR cannot say.
    """
    graph = in_numbers(program) if integers else usual(program.real)
    making = _Making(graph, approximate)
    for node in graph:
        making.add(node)
    making.check()
    if making.problems:
        raise DoesNotFit(making.problems)
    told = {"dialect": "text", "dt": DT, **making.read_as()}
    told |= {"timesteps": program.timesteps, "target": program.target}
    if integers:
        units = {making.named(name): unit for name, unit in units_of(program).items()}
        told["scale"] = {name: unit for name, unit in units.items() if name in making.nodes}
    return Network(making.nodes, sorted(making.edges), told, making.losses)


class _Making:
    def __init__(self, graph: Graph, approximate: bool = False) -> None:
        self.graph, self.approximate = graph, approximate
        self.losses: list[str] = []
        self.nodes: dict[str, tuple[str, Fields]] = {}
        self.edges: set[tuple[str, str]] = set()
        self.given: dict[str, tuple[str, ...]] = {}  # the nodes of the file that give what a node of the graph gives
        self.problems: list[Problem] = []
        inputs, outputs = graph.of(Input), graph.of(Output)
        self.ports = {node.name: "input" for node in inputs} if len(inputs) == 1 else {}
        self.ports |= {node.name: "output" for node in outputs} if len(outputs) == 1 else {}

    def refuse(self, name: str, what: str, fix: str = "", actual: str = "", instead: str = "") -> None:
        """Something that NIR cannot say; with ``instead`` it can be written so, where that is wanted."""
        if instead and self.approximate:
            self.losses.append(f"{name}: {what} is written as {instead}")
            return
        way = "or write it all the same: --approximate" if instead else ""
        ways = "; ".join(filter(None, (fix, way)))
        self.problems.append(Problem(f"NIR cannot say this: {what}", name, actual, "", ways))

    def named(self, name: str) -> str:
        """The name in the file: a slash would be a path, and one port is called as readers want it."""
        return self.ports.get(name, name.replace("/", "_"))

    def put(self, name: str, kind: str, fields: Fields, sources: Sequence[str]) -> tuple[str, ...]:
        here = self.named(name)
        self.nodes[here] = kind, fields
        self.edges |= {(source, here) for source in sources}
        return (here,)

    def heard(self, node: Node) -> list[str]:
        """What a node reads, in the file; what comes back from later is known by its name."""
        return [found for source in node.inputs for found in self.given.get(source, (self.named(source),))]

    def add(self, node: Node) -> None:
        shape = self.graph.edges[node.name].shape
        making = _MAKERS.get(type(node.op))
        if making is None:
            self.refuse(node.name, f"{type(node.op).__name__}", "leave it out, or emit for Lava or ONNX")
            self.given[node.name] = self.put(node.name, "Scale", {"scale": np.ones(shape)}, self.heard(node))
        else:
            self.given[node.name] = making(self, node, shape)

    def check(self) -> None:
        """Comparisons and starts are one for a whole file."""
        neurons = [(node.name, node.op) for node in self.graph.of(Neuron) if isinstance(node.op, Neuron)]
        kinds = {op.strict for _, op in neurons}
        if len(kinds) > 1:
            what = "some neurons fire at their threshold, others only above"
            self.refuse(neurons[0][0], what, "let all do the same", instead="all of them from the threshold on")
        starts = {"zero" if not np.any(op.v_init) else "reset" for _, op in neurons}
        wrong = [name for name, op in neurons if np.any(op.v_init) and not np.all(op.v_init == op.v_reset)]
        wrong += [name for name, op in neurons if len(starts) > 1 and np.any(op.v_reset) and not np.any(op.v_init)]
        for name in wrong:
            what = "a membrane that starts neither at 0 nor where it is reset to"
            self.refuse(name, what, "let it start at v_reset", instead="one that starts at 0")
        resets = {_reset(op) for _, op in neurons}
        if len(resets - {"hard"}) > 0 and len(resets) > 1:
            self.losses.append(f"resets differ from layer to layer ({', '.join(sorted(resets))}): metadata say none")

    def read_as(self) -> Fields:
        """The parts of a reading that are the same for all neurons, as the reader of this project takes them."""
        neurons = [node.op for node in self.graph.of(Neuron) if isinstance(node.op, Neuron)]
        resets = {_reset(op) for op in neurons}
        start = "reset" if neurons and all(np.all(op.v_init == op.v_reset) for op in neurons) else "zero"
        moved = any(np.any(op.v_init) for op in neurons)
        return {
            "fire": "gt" if all(op.strict for op in neurons) else "ge",
            "start": start if moved else "zero",
            "reset": next(iter(resets)) if len(resets) == 1 else "hard",
            **({"spikes": "many"} if any(op.max_spikes > 1 for op in neurons) else {}),
        }

    # -- what has no state -------------------------------------------------------------------------------------------

    def port(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        return self.put(node.name, "Input", {"shape": np.array(shape)}, ())

    def output(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        return self.put(node.name, "Output", {"shape": np.array(shape)}, self.heard(node))

    def linear(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Linear)
        weight = np.where(op.stored, op.weight, 0.0) if op.stored is not None else np.asarray(op.weight, np.float64)
        fields = {} if op.bias is None else {"bias": np.broadcast_to(op.bias, shape).astype(np.float64)}
        source = self.graph[node.inputs[0]]
        if not isinstance(source.op, Concat):
            return self.put(node.name, "Affine" if fields else "Linear", {"weight": weight, **fields}, self.heard(node))
        found: tuple[str, ...] = ()
        ends = np.cumsum([self.graph.edges[part].size for part in source.inputs])
        for number, (part, columns) in enumerate(zip(source.inputs, np.split(weight, ends[:-1], 1))):
            here = f"{node.name}.{number}" if number else node.name
            given = list(self.given.get(part, (self.named(part),)))
            found += self.put(here, "Affine" if fields else "Linear", {"weight": columns, **fields}, given)
            fields = {}
        return found

    def beside(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        """NIR adds up and never concatenates; but weights of vectors one after the other are weights of each."""
        if len(shape) != 1 or any(not isinstance(reader.op, Linear) for reader in self.graph.consumers[node.name]):
            self.refuse(node.name, "layers one after the other", "let a linear layer read them, or add them up")
        return ()

    def conv(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Conv)
        given = self.graph.edges[node.inputs[0]].shape
        if any(before != after or before < 0 for before, after in op.padding):
            self.refuse(node.name, "a border that is wider on one side", "pad both sides alike", str(op.padding))
        bias = np.zeros(shape[0]) if op.bias is None else np.asarray(op.bias, np.float64)
        if bias.size not in (1, shape[0]):
            self.refuse(node.name, "a bias that differs from place to place", "give one a channel")
            bias = np.zeros(1)
        fields: Fields = {
            "input_shape": np.array(given[1:]) if len(given) == 3 else given[1],
            "weight": np.asarray(op.weight, np.float64),
            "stride": np.array(op.stride), "padding": np.array([before for before, _ in op.padding]),
            "dilation": np.array(op.dilation), "groups": op.groups,
            "bias": np.broadcast_to(bias.ravel(), shape[0]).copy(),
        }  # fmt: skip
        if len(given) == 2:
            fields |= {name: int(fields[name][0]) for name in ("stride", "padding", "dilation")}
        return self.put(node.name, f"Conv{len(given) - 1}d", fields, self.heard(node))

    def scale(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Scale)
        if np.any(op.shift):
            self.refuse(node.name, "a shift of each element", "put it into the bias of a layer")
        scale = np.broadcast_to(op.scale, shape).astype(np.float64)
        return self.put(node.name, "Scale", {"scale": scale.copy()}, self.heard(node))

    def pool(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, SumPool)
        if len(op.kernel) != 2 or any(before != after for before, after in op.padding):
            self.refuse(node.name, "a pool that is not of two axes, with a border alike on both sides")
        fields = {
            "kernel_size": np.array(op.kernel), "stride": np.array(op.stride),
            "padding": np.array([before for before, _ in op.padding]),
        }  # fmt: skip
        return self.put(node.name, "SumPool2d", fields, self.heard(node))

    def largest(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, MaxPool)
        if len(op.kernel) != 2 or any(n != 1 for n in op.dilation):
            self.refuse(node.name, "MaxPool", "pool by the mean or the sum")
        else:
            what = "a sum, which is larger where several of its spikes meet"
            self.refuse(node.name, "MaxPool", "pool by the mean or the sum", instead=what)
        pool = SumPool(op.kernel, op.stride, op.padding)
        return self.pool(replace(node, op=pool), shape) if len(op.kernel) == 2 else tuple(self.heard(node))

    def gain(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Gain)
        fix = "train without gains of single steps, or emit for Lava"
        mean = float(np.mean(op.gains))
        self.refuse(
            node.name, "Gain", fix, instead=f"the mean of its gains, {mean:.4g}, without a bias of single steps"
        )
        return self.put(node.name, "Scale", {"scale": _full(np.asarray(mean), shape)}, self.heard(node))

    def reshape(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        given = self.graph.edges[node.inputs[0]].shape
        if len(shape) != 1:
            self.refuse(node.name, "a reshape that is no flatten", "flatten only", f"{list(given)} to {list(shape)}")
        fields = {"input_type": np.array(given), "start_dim": 0, "end_dim": len(given) - 1}
        return self.put(node.name, "Flatten", fields, self.heard(node))

    def together(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Several edges into one node add up; the same one twice needs a node of its own."""
        found: list[str] = []
        for number, name in enumerate(self.heard(node)):
            if name in found:
                again = f"{node.name}.again{number}"
                (name,) = self.put(again, "Scale", {"scale": np.ones(shape)}, [name])
            found.append(name)
        return tuple(found)

    def delay(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Delay)
        if self._comes_back(node):
            if op.steps != 1:
                self.refuse(node.name, "a way back that takes several steps", "let it take one", str(op.steps))
            return tuple(self.heard(node))
        return self.put(node.name, "Delay", {"delay": np.full(shape, op.steps * DT)}, self.heard(node))

    def _comes_back(self, node: Node) -> bool:
        """Whether what is delayed depends on it: a cycle of the file waits one step by itself."""
        waiting, seen = [node.name], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            waiting += [reader.name for reader in self.graph.consumers[name]]
        return node.inputs[0] in seen

    # -- membranes ---------------------------------------------------------------------------------------------------

    def integrator(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Integrator)
        if not np.any(op.decay) and np.all(op.gain == 1) and not np.any(op.bias):
            return tuple(self.heard(node))
        return self._membrane(node, shape, op.decay, op.gain, op.bias, None, {})

    def neuron(self, node: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
        op = node.op
        assert isinstance(op, Neuron)
        soft = "train it with a hard reset (in SpikingJelly v_reset=0.0), or emit for Lava"
        to = "a hard reset, to 0, for all who do not look into the metadata"
        other = "a reset that subtracts another amount than the threshold"
        for wrong, what, fix, instead in (
            (_reset(op) == "soft", "a reset that subtracts from the membrane", soft, to),
            (op.reset == "by" and _reset(op) != "soft", other, soft, "a hard reset, to 0"),
            (op.reset == "none", "a neuron without a reset", "let it reset", to),
            (bool(np.any(op.flip)), "a neuron that fires below its threshold", "negate its weights", ""),
            (op.negative_threshold is not None, "negative spikes", "", "none"),
            (op.max_spikes > 1, "several spikes a step", "", "one, for all who do not look into the metadata"),
            (op.refractory != 0, "a refractory time", "leave it out", "none"),
            (op.deaf, "a reset that falls one step late", "let it reset at once", "one at once"),
            (bool(np.any(op.input_bias)), "a bias of the current", "put it into the bias of a layer", "none"),
        ):
            if wrong:
                self.refuse(node.name, what, fix, instead=instead)
        # Of a neuron that never (or always) fires it is infinite, which readers refuse.
        threshold = np.clip(_full(op.threshold, shape), -_FURTHEST, _FURTHEST)
        spikes = {"v_threshold": threshold, "v_reset": _full(op.v_reset, shape)}
        current = op.current_decay if np.any(op.current_decay) else None
        found = self._membrane(node, shape, op.decay, op.gain, op.bias, current, spikes)
        if np.all(op.amplitude == 1):
            return found
        return self.put(f"{node.name}.amplitude", "Scale", {"scale": _full(op.amplitude, shape)}, found)

    def _membrane(
        self, node: Node, shape: tuple[int, ...], decay: Array, gain: Array, bias: Array, current: Array | None,
        spikes: Fields,
    ) -> tuple[str, ...]:  # fmt: skip
        decay, gain, bias = (_full(value, shape) for value in (decay, gain, bias))
        end = "F" if spikes else ""
        if (decay == 1).all() and current is None:
            if np.any(bias):
                self.refuse(node.name, "a bias on a membrane without leak", "put it into the bias of its layer")
            return self.put(node.name, f"I{end}", {"r": gain / DT, **spikes}, self.heard(node))
        if ((decay >= 1) | (decay < 0)).any():
            actual = f"{decay.min():g} to {decay.max():g}"
            self.refuse(node.name, "a membrane that does not decay", "let its decay be below 1", actual)
            decay = np.clip(decay, 0, 0.5)
        tau = DT / (1 - decay)
        fields = {"r": gain * tau / DT, "v_leak": bias / (1 - decay), **spikes}
        if current is None:
            return self.put(node.name, f"LI{end}", {"tau": tau, **fields}, self.heard(node))
        kept = _full(current, shape)
        if ((kept >= 1) | (kept < 0)).any():
            self.refuse(node.name, "a current that does not decay", "", f"{kept.max():g}")
            kept = np.clip(kept, 0, 0.5)
        slow = DT / (1 - kept)
        fields |= {"tau_mem": tau, "tau_syn": slow, "w_in": slow / DT}
        return self.put(node.name, f"CubaLI{end}", fields, self.heard(node))


def _reset(op: Neuron) -> str:
    """As readings call it; a reset by another amount than the threshold is none of them."""
    if op.reset == "by" and np.array_equal(op.amount, op.threshold) and np.all(op.keep == 1):
        return "soft"
    return "none" if op.reset == "none" else "hard"


def _full(value: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.asarray(value, np.float64), shape).copy()


_MAKERS: dict[type[Any], Callable[[_Making, Node, tuple[int, ...]], tuple[str, ...]]] = {
    Input: _Making.port, Output: _Making.output, Linear: _Making.linear, Conv: _Making.conv, Scale: _Making.scale,
    SumPool: _Making.pool, Reshape: _Making.reshape, Add: _Making.together, Delay: _Making.delay,
    Integrator: _Making.integrator, Neuron: _Making.neuron, Concat: _Making.beside, MaxPool: _Making.largest,
    Gain: _Making.gain,
}  # fmt: skip
