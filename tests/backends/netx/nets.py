"""Random integer programs that netx can hold, built from the graph's operations, their thresholds set to fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Array, Conv, Delay, Input, Integrator, Linear, Neuron, Output, Reshape
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.reference import simulate_integers
from neurocompile.targets import load_target

__all__ = ["KINDS", "Case", "program_of", "random_case"]

KINDS = ("dense", "conv", "conv-dense", "recurrent")
LOIHI2 = load_target("loihi2").arithmetic
assert LOIHI2 is not None
WHOLE = 2**LOIHI2.decay_fraction


@dataclass
class Case:
    """A program, integer inputs ``x[N, T, *shape]``, and what it contains."""

    program: Program
    x: Array
    marks: set[str]


def program_of(graph: Graph, timesteps: int, target: str = "loihi2") -> Program:
    """The program of an integer graph."""
    arithmetic = load_target(target).arithmetic
    assert arithmetic is not None
    return Program(target, arithmetic, timesteps, graph, graph, {})


@cache
def random_case(seed: int, kind: str) -> Case:
    """A network of one kind with 1 to 5 layers."""
    return _Draw(np.random.default_rng([seed, KINDS.index(kind)]), kind).case()


@dataclass
class _Draw:
    """A chain under construction: its nodes, the last of them, and what a run of it gives."""

    random: np.random.Generator
    kind: str
    nodes: list[Node] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    shape: tuple[int, ...] = ()
    shift: int = 0
    sign: str = ""

    def case(self) -> Case:
        samples, timesteps = 3, int(self.random.integers(5, 10))
        x = self._input(samples, timesteps)
        layers = int(self.random.integers(1, 6))
        self.marks.add(f"{layers} layers")
        reads_out = self.chance(0.5)
        for number in range(layers):
            last = number == layers - 1
            self._synapses(number, last)
            self._population(number, last and reads_out, x)
        graph = Graph([*self.nodes, Node("output", Output(), (self.nodes[-1].name,))])
        return Case(program_of(graph, timesteps), x, self.marks)

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def pick(self, *options: Any) -> Any:
        return options[self.random.integers(len(options))]

    def whole(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    # -- inputs and synapses -------------------------------------------------------------------------------------------

    def _input(self, samples: int, timesteps: int) -> Array:
        maps = self.kind.startswith("conv")
        shape = (self.pick(1, 2, 4), self.whole(4, 7), self.whole(4, 7)) if maps else (self.whole(3, 12),)
        if not maps and self.chance(0.3):
            shape = (2, 2, 3)
            self.marks.add("flattened input")
        self.shape = shape
        if self.chance(0.3):
            self.marks.add("graded input")
            low, high = self.pick((0, 15), (-8, 7), (-128, 127))
            self.nodes.append(Node("input", Input(shape, "real", 1.0, low, high)))
            return self.random.integers(low, high + 1, (samples, timesteps, *shape))
        self.nodes.append(Node("input", Input(shape, "spikes")))
        rate = self.pick(0.2, 0.5)
        return np.asarray(self.random.random((samples, timesteps, *shape)) < rate, np.int64)

    def _synapses(self, number: int, last: bool) -> None:
        maps = len(self.shape) == 3 and self.kind.startswith("conv") and not (last and self.kind == "conv-dense")
        weights = self._weights(maps)
        if maps and min(self.shape[1:]) > 1:
            self._conv(number, weights)
            return
        if len(self.shape) > 1:
            self.nodes.append(Node(f"flat{number}", Reshape((prod(self.shape),)), (self.nodes[-1].name,)))
            self.marks.add("flatten")
        out = self.whole(3, 14)
        self.nodes.append(Node(f"synapses{number}", Linear(weights(out, prod(self.shape))), (self.nodes[-1].name,)))
        self.shape = (out,)
        if self.kind == "recurrent" and not last:
            self.marks.add("recurrent")
            forward = self.nodes[-1]
            loop = Linear(weights(out, out))
            self.nodes += [
                Node(f"before{number}", Delay((out,)), (f"neurons{number}",)),
                Node(f"loop{number}", loop, (f"before{number}",)),
                Node(f"sum{number}", Add(), (forward.name, f"loop{number}")),
            ]

    def _weights(self, maps: bool) -> Callable[..., Array]:
        """A function from shapes to weights that netx can hold with the shift that is chosen for the population."""
        bits = self.pick(2, 4, 8)
        largest = 2 ** (bits - 1) - 1
        # Negative weights of two bits would all be powers of two, which netx loses.
        negative = bits > 2 and self.kind != "recurrent"
        sign = self.pick("mixed", "mixed", "positive", "negative" if negative else "mixed")
        self.marks |= {f"{bits}-bit", sign}
        # Signed kernels are even, since they have no exponent; no weight may reach beyond 8 bits.
        self.sign, self.shift = sign, self.whole(7 if maps and sign == "mixed" else 6, 15 - bits)

        def weights(*shape: int) -> Array:
            drawn = self.random.integers(-largest, largest + 1, shape)
            if sign != "mixed":
                drawn = np.abs(drawn) * (1 if sign == "positive" else -1)
            # A layer whose weights are all 0, or negative down to a power of two, is lost in netx.
            drawn.flat[0] = -largest if sign == "negative" else largest
            if sign == "mixed":
                drawn.flat[-1] = -largest
            return drawn

        return weights

    def _conv(self, number: int, weights: Callable[..., Array]) -> None:
        channels, *sizes = self.shape
        groups = self.pick(*(g for g in (1, 2, 4) if channels % g == 0))
        dilation, stride, padding, kernel = [], [], [], []
        for size in sizes:
            d, s, p = self.pick(1, 1, 2), self.pick(1, 1, 2), self.whole(0, 2)
            most = (size + 2 * p - 1) // d + 1
            dilation.append(d)
            stride.append(s)
            padding.append((p, p))
            kernel.append(self.whole(1, min(most, 3)))
        out = groups * self.pick(1, 2, 3)
        op = Conv(
            weights(out, channels // groups, *kernel), None, tuple(stride), tuple(padding), tuple(dilation), groups
        )
        self.marks.add("conv")
        self.marks |= {
            name
            for name, there in (
                ("groups", groups > 1),
                ("dilation", max(dilation) > 1),
                ("stride", max(stride) > 1),
                ("padding", max(padding) > (0, 0)),
            )
            if there
        }
        self.nodes.append(Node(f"synapses{number}", op, (self.nodes[-1].name,)))
        self.shape = Graph(self.nodes).edges[f"synapses{number}"].shape

    # -- populations ---------------------------------------------------------------------------------------------------

    def _population(self, number: int, reads_out: bool, x: Array) -> None:
        name, source = f"neurons{number}", self.nodes[-1].name
        if reads_out:
            self.marks.add("readout")
            op = Integrator(self._decay(), bias=self._bias(), shift=self.shift)
            self.nodes.append(Node(name, op, (source,)))
            return
        for _ in range(5):
            rate, node = self._firing(name, source, x)
            if 0.04 < rate < 0.6:
                break
        assert isinstance(node.op, Neuron)
        self.marks |= {"current decay"} if node.op.current_decay else set()
        self.nodes.append(node)

    def _decay(self) -> Array:
        return np.asarray(self.pick(0, WHOLE, WHOLE - 1, self.whole(1, WHOLE)))

    def _firing(self, name: str, source: str, x: Array) -> tuple[float, Node]:
        """A population and its firing rate, which is nearest to one that is drawn."""
        zero = np.asarray(0)
        resting = Neuron(
            threshold=np.asarray(2**30),
            decay=self._decay(),
            current_decay=np.asarray(self.pick(0, 0, self.whole(1, WHOLE - 1))),
            input_bias=zero,
            v_reset=zero,
            v_init=zero,
            bias=self._bias(),
            shift=self.shift,
        )
        membranes = self._run(Node(name, resting, (source,)), x).membranes[name]
        # Levels that a share of the membranes reach while none is reset, on the steps of the threshold's register.
        wanted, found = self.random.uniform(0.1, 0.5), []
        for share in (0.6, 0.75, 0.85, 0.93, 0.98):
            vth = int(np.clip(np.quantile(membranes, share) // 64, 0, 2**17 - 1))
            node = Node(name, replace(resting, threshold=np.asarray((vth << 6) + 1)), (source,))
            found.append((float(self._run(node, x).spikes[name].mean()), node))
        return min(found, key=lambda pair: abs(pair[0] - wanted))

    def _bias(self) -> Array:
        """Mantissas of 13 bits times 2**6: for all, by channel or by place."""
        how = self.pick("none", "one", "channel", "place")
        if self.sign == "negative":
            how = "place"
        if how == "none":
            return np.asarray(0)
        self.marks.add(f"bias by {how}")
        most = min(40 << (self.shift - 6), 4000)
        sizes = {"one": (), "channel": (self.shape[0], *(1,) * (len(self.shape) - 1)), "place": self.shape}[how]
        bias = self.random.integers(-most, most + 1, sizes)
        if self.sign == "negative":
            bias = np.abs(bias) * 2
        elif self.kind == "recurrent":
            # What its bias alone can make fire is refused.
            bias = -np.abs(bias) // 8
        if self.chance(0.2):
            self.marks.add("bias exponent 7")
            bias = bias >> 1 << 1
        return np.asarray(np.clip(bias, -4095, 4095)) << 6

    def _run(self, node: Node, x: Array) -> Trace:
        graph = Graph([*self.nodes, node, Node("output", Output(), (node.name,))])
        assert LOIHI2 is not None
        return simulate_integers(graph, LOIHI2, {"input": x}, membranes=True)
