"""Random integer graphs in the form that the compiler gives a Program, with inputs and an arithmetic to run them in.

Nothing is trained or quantized: weights, decays, shifts and registers are drawn. What layers fire is measured with the
reference, and thresholds are set between the membranes that were seen, so that most layers fire 2 to 80 % of the time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import gcd, prod
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
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
from neurocompile.ir.trace import Trace
from tests.random_networks.choices import HIGH, LOW, Shape, firing_rates
from tests.random_networks.graphs import Drawn, IntegerBuild, shape_of, sizes, whole_neuron

__all__ = ["CASES", "random_graph", "random_integer_network", "samples"]

CHANNELS = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 63, 64, 65, 70)
WIDE = (96, 127, 128, 130, 257, 300)
_STEPS = (1, 2, 3, 4, 5, 6, 8, 16)

CASES = (
    *("Linear", "Linear with stored", "Linear to 1", "Linear above 100", "Scale", "Scale per neuron", "Scale scalar"),
    *("Conv 1-d", "Conv 2-d", "ConvTranspose 1-d", "ConvTranspose 2-d", "depthwise", "groups", "stride", "dilation"),
    *("asymmetric padding", "output padding", "1x1", "kernel above 3", "all-max weights", "weights above 8 bits"),
    *("SumPool", "MaxPool", "Upsample", "Reshape of events", "Reshape of currents", "Concat of events"),
    *("Concat of currents", "Concat along another axis", "Add of events", "Add of currents", "Delay", "own loop"),
    *("loop through layers", "fan-out of spikes", "two inputs", "real input", "spikes as input"),
    *("Gain", "Gain with a bias", "real beside spikes", "negative input", "reset to", "reset by", "reset none"),
    *("strict", "flip", "decay 0"),
    *("decay 1", "decay power of two", "decay between", "decay negative", "decay above 1", "current decay"),
    *("input bias", "bias", "v_reset", "v_init", "amount", "keep", "refractory", "refractory for ever", "deaf"),
    "several spikes",
    *("negative threshold", "threshold at most 0", "threshold beyond the register", "threshold per neuron"),
    *("threshold per channel", "threshold scalar", "shift negative", "shift 0", "shift positive", "overflow"),
    *("rounding nearest", "rounding floor", "rounding zero", "overflow saturate", "overflow wrap"),
    *("current saturate", "current wrap", "current wrap-once", "symmetric", "graded spikes", "counted spikes"),
    *(f"read {read}" for read in ("mean", "sum", "last", "max", "max-abs", "weighted", "sequence")),
)
"""What a sweep of some hundred graphs meets."""


def random_integer_network(r: random.Random, largest: int = 1500, work: int = 400_000) -> Drawn:
    """Draw a network.

    Args:
        r: all that is drawn is drawn from it.
        largest: how many numbers a node emits a step at most (WIDE channels and weights as ``work`` allows).
        work: how many multiplications a layer costs a step at most.
    """
    return _Build(r, largest, work).network()


def random_graph(r: random.Random) -> Graph:
    """Only a graph, small enough that its synapses can be counted one by one, of neurons that are not tuned."""
    b = _Build(r, 90, 2500, gains=False)
    b.structure()
    return b.graph(*b.nodes)


def samples(r: random.Random, graph: Graph, batch: int, steps: int) -> dict[str, Array]:
    """Inputs ``[N, T, *shape]`` within the graph's ranges: dense, sparse, constant over time, or at their ends."""
    numbers = np.random.default_rng(r.getrandbits(64))
    found: dict[str, Array] = {}
    for node in graph.of(Input):
        op: Any = node.op
        low, high, size = int(op.low), int(op.high), (batch, steps, *op.shape)
        if op.carries == "spikes":
            x = (numbers.random(size) < r.choice((0.05, 0.3, 0.5, 0.9))).astype(np.int64)
        else:
            x = numbers.integers(low, high + 1, size)
            match r.choice(("dense", "dense", "sparse", "ends")):
                case "sparse":
                    x = np.where(numbers.random(size) < 0.6, np.clip(0, low, high), x)
                case "ends":
                    x = numbers.choice(np.asarray((low, high, np.clip(0, low, high))), size)
        found[node.name] = np.repeat(x[:, :1], steps, 1) if r.random() < 0.2 else x
    return found


class _Build(IntegerBuild):
    """Of every event also how large it can become, and whether anybody reads it yet."""

    def __init__(self, r: random.Random, largest: int, work: int, gains: bool = True) -> None:
        super().__init__(r, np.random.default_rng(r.getrandbits(64)))
        (self.of_gains,) = self.numbers.spawn(1)
        self.r, self.largest, self.work, self.gains = r, largest, work, gains
        self.reach: dict[str, int] = {}
        self.carries: dict[str, frozenset[str]] = {}
        self.events: list[str] = []
        self.unread: list[str] = []
        self.bits = 8
        self.crowds: dict[str, str] = {}
        # As most programs are: neurons without extras, registers that saturate, weights of a byte.
        self.plain = self.chance(45)
        edge = r.random() * 100
        self.edge = next((n for n, top in (("silent", 3), ("saturated", 6), ("overflowing", 12)) if edge < top), "")
        self.arithmetic = self.some_arithmetic()

    def add_event(self, stem: str, op: Op, *inputs: str, reach: int) -> str:
        name = self.add(stem, op, *inputs)
        for given in inputs:
            self.mark("fan-out of spikes", given not in self.unread and isinstance(self.nodes[given].op, Neuron))
            self.was_read(given)
        return self.happens(name, reach, frozenset().union(*(self.carries[given] for given in inputs)))

    def happens(self, name: str, reach: int, carries: frozenset[str]) -> str:
        self.reach[name], self.carries[name] = reach, carries
        self.events.append(name)
        self.unread.append(name)
        return name

    def was_read(self, name: str) -> None:
        if name in self.unread:
            self.unread.remove(name)

    # -- the whole -----------------------------------------------------------------------------------------------------

    def network(self) -> Drawn:
        self.structure()
        graph = self.graph()
        steps, batch = self.pick(_STEPS), self.pick((1, 2, 2, 3))
        self.inputs = samples(self.r, graph, batch, steps)
        for node in graph.of(Output):
            if node.op.read == "weighted":
                self.change(node.name, weights=self.numbers.normal(size=steps))
        self.tune()
        done = self.drawn(self.edge)
        assert all(np.isfinite(out).all() for out in done.known.outputs.values())
        self.count_cases(done.graph, done.known)
        return replace(done, cases=frozenset(self.cases))

    def structure(self) -> None:
        """Inputs, layers, and what reads them; neurons are tuned later."""
        rank = self.pick((0, 1, 2, 2))
        for k in range(self.pick((1, 1, 1, 2))):
            self.mark("two inputs", k == 1)
            self.input("xy"[k], rank if k == 0 or self.chance(60) else self.pick((0, 1, 2)))
        layers: list[str] = []
        for k in range(self.pick((1, 2, 2, 3, 3, 4))):
            layers.append(self.layer(f"n{k}", layers))
            if not self.plain and self.chance(12):
                layers.append(self.crowd(layers[-1]))
        self.readouts()

    def some_arithmetic(self) -> Arithmetic:
        r = self.r
        saturates = self.plain and self.chance(75)
        return Arithmetic(
            weight_bits_min=2,
            weight_bits_max=16,
            weight_bits=8,
            accumulator_bits=32,
            state_bits=r.choice((24, 24, 16, 20, 30)) if saturates else r.choice((24, 16, 32, r.randint(8, 32))),
            decay_bits=32,
            decay_fraction=r.choice((16, 12, 12, r.randint(4, 16), r.randint(4, 16))),
            min_shift=-16,
            max_shift=12,
            rounding=r.choice(("nearest", "floor", "zero")),
            overflow="saturate" if saturates else r.choice(("saturate", "saturate", "wrap")),
            graded_spikes=self.chance(50),
            published=True,
            current_overflow=r.choice(("", "", "saturate", *(() if saturates else ("wrap", "wrap-once", "wrap-once")))),
            symmetric=self.chance(30),
        )

    def count_cases(self, graph: Graph, known: Trace) -> None:
        arithmetic = self.arithmetic
        self.mark(f"rounding {arithmetic.rounding}")
        self.mark(f"overflow {arithmetic.overflow}")
        self.mark(f"current {arithmetic.current_overflow or 'as the membrane'}")
        self.mark("symmetric", arithmetic.symmetric)
        self.mark("graded spikes" if arithmetic.graded_spikes else "counted spikes")
        self.mark("overflow", known.overflows > 0)
        for node in graph:
            op: Any = node.op
            event = graph.edges[node.name].is_event
            kind = type(op).__name__
            self.mark(kind, isinstance(op, SumPool | MaxPool | Upsample | Delay | Integrator | Gain))
            self.mark("Gain with a bias", isinstance(op, Gain) and np.any(op.bias))
            self.mark(f"{kind} of {'events' if event else 'currents'}", isinstance(op, Reshape | Concat | Add))
            self.mark("Concat along another axis", isinstance(op, Concat) and op.axis > 0)
            if isinstance(op, Output):
                self.mark(f"read {op.read}")
                self.mark("output of events", graph.edges[node.inputs[0]].is_event)
            elif isinstance(op, Neuron):
                self.count_neuron(op, graph.edges[node.name].shape)
            elif isinstance(op, Input):
                self.mark("negative input", op.low < 0)
                self.mark("real input" if op.carries == "real" else "spikes as input")

    def count_neuron(self, op: Neuron, shape: Shape) -> None:
        one, decay, most = self.one, np.abs(op.decay), self.arithmetic.state_max
        between = (decay > 0) & (decay < one)
        power = between & ((decay & (decay - 1)) == 0)
        size = np.asarray(op.threshold).size
        for case, when in (
            (f"reset {op.reset}", True),
            ("strict", op.strict),
            ("flip", np.any(op.flip)),
            ("decay 0", np.any(decay == 0)),
            ("decay 1", np.any(op.decay == one)),
            ("decay power of two", np.any(power)),
            ("decay between", np.any(between & ~power)),
            ("decay negative", np.any(op.decay < 0)),
            ("decay above 1", np.any(decay > one)),
            ("current decay", np.any(op.current_decay)),
            ("input bias", np.any(op.input_bias)),
            ("bias", np.any(op.bias)),
            ("v_reset", op.reset == "to" and np.any(op.v_reset)),
            ("v_init", np.any(op.v_init)),
            ("amount", op.reset == "by" and np.any(op.amount)),
            ("keep", op.reset == "by" and np.any(op.keep != one)),
            ("refractory", op.refractory > 0),
            ("refractory for ever", op.refractory < 0),
            ("deaf", op.deaf),
            ("several spikes", op.max_spikes > 1),
            ("negative threshold", op.negative_threshold is not None),
            ("threshold at most 0", np.any(op.threshold <= 0)),
            ("threshold beyond the register", np.any(np.abs(op.threshold) > most + 1)),
            ("threshold scalar", size == 1),
            ("threshold per channel", size > 1 and size == shape[0] < prod(shape)),
            ("threshold per neuron", size == prod(shape) > 1),
            ("shift negative", op.shift < 0),
            ("shift 0", op.shift == 0),
            ("shift positive", op.shift > 0),
        ):
            self.mark(case, when)

    # -- inputs and readouts -------------------------------------------------------------------------------------------

    def input(self, name: str, rank: int) -> None:
        r = self.r
        sizes = tuple(r.choice((1, 2, 3, 4, 5, 6, 7, 8, 9)) for _ in range(rank))
        room = max(1, min(400, self.largest) // prod(sizes))
        channels = r.choice([c for c in (*CHANNELS, *(WIDE if rank == 0 else ())) if c <= room])
        shape = (channels, *sizes)
        if self.chance(55 if self.plain else 40):
            op = Input(shape, "spikes", 1.0, 0, 1)
        else:
            ranges = ((0, 255), (0, 255), (-128, 127), (0, 31), (-7, 7), (0, 1), (-32768, 32767), (0, 65535))
            low, high = r.choice(ranges)
            op = Input(shape, "real", r.choice((1.0, 0.0625, 0.1)), low, high)
        self.happens(self.add(name, op), int(max(abs(op.low), abs(op.high))), frozenset((op.carries,)))

    def readouts(self) -> None:
        r = self.r
        reads = ("mean", "mean", "sum", "last", "max", "max-abs", "weighted", "sequence")
        for k in range(r.choice((1, 1, 1, 2))):
            fed = self.gained("out", self.current("out", self.event()), 0.05)
            shape = self.shapes[fed]
            terms = [fed]
            for name in [n for n in self.unread if isinstance(self.nodes[n].op, Neuron)][-2:]:
                terms += self.fitting("out", shape, name)
            fed = self.reshaped("out", self.sum("out.add", *terms), 15)
            shape = self.shapes[fed]
            membrane = self.add("output.integrator", Integrator(), fed)
            name = "output" if k == 0 else f"output.{k + 1}"
            unit = np.exp(self.numbers.normal(size=self.broadcast(shape)) - 3)
            self.add(name, Output(r.choice(reads), np.asarray(unit)), membrane)
            if self.chance(10):
                self.add(f"{name}.again", Output(r.choice(reads)), membrane)
        fired = [n for n in self.unread if isinstance(self.nodes[n].op, Neuron)]
        if fired and self.chance(70):
            name = r.choice(fired)
            self.add("output.events", Output(r.choice(reads)), name)

    # -- layers --------------------------------------------------------------------------------------------------------

    def layer(self, name: str, before: Sequence[str]) -> str:
        """A neuron with its synapses, possibly in a loop; its name."""
        r = self.r
        self.bits = r.choice((2, 4, 8, 8) if self.plain else (2, 3, 4, 8, 8, 8, 8, 9, 12, 16, r.randint(2, 16)))
        fed = self.gained(name, self.current(name, self.event()), 0.05)
        if self.chance(15):
            fed = self.beside(name, fed)
            fed = self.gained(name, fed, 0.1)
        terms = [fed]
        for _ in range(r.choice((0, 0, 0, 1, 2))):
            terms += self.fitting(name, self.shapes[fed], self.event(self.shapes[fed]))
        if len(terms) > 1:
            r.shuffle(terms)
            fed = self.gained(name, self.sum(f"{name}.add", *terms), 0.05)
        fed = self.reshaped(name, fed, 12)
        if self.chance(5):
            fed = self.beside(name, fed)
        self.spikes(name, fed)
        if self.chance(25) and self.loop(name, name):
            self.mark("own loop")
        if before and self.chance(20) and self.loop(r.choice(before), name):
            self.mark("loop through layers")
        return name

    def spikes(self, name: str, fed: str) -> str:
        return self.happens(self.add(name, Neuron(np.asarray(0)), fed), 1, frozenset(("spikes",)))

    def crowd(self, source: str) -> str:
        """A neuron for each of a layer; several spikes a step of those alone make these registers overflow."""
        name = f"{source}.crowd"
        self.crowds[name] = source
        return self.spikes(name, self.scale(name, source))

    def loop(self, fed: str, source: str) -> bool:
        """Let a neuron be fed by what another, or itself, fired before."""
        op = Delay(self.shapes[source], self.pick((1, 1, 2, 3)))
        delayed = self.add_event(f"{source}.before", op, source, reach=1)
        if self.chance(25):
            delayed = self.changed(delayed, alone=True)
        terms = self.fitting(f"{fed}.loop", self.shapes[fed], delayed)
        if not terms:
            return False
        self.was_read(delayed)
        both = [*self.nodes[fed].inputs, *terms]
        self.r.shuffle(both)
        self.nodes[fed] = replace(self.nodes[fed], inputs=(self.sum(f"{fed}.loop.add", *both),))
        return True

    def beside(self, name: str, fed: str) -> str:
        """Another current next to one."""
        shape = self.shapes[fed]
        axis = self.r.randrange(len(shape))
        size = self.r.choice((1, 2, shape[axis]))
        other = (*shape[:axis], size, *shape[axis + 1 :])
        if prod(shape) + prod(other) > self.largest:
            return fed
        parts = [fed, *self.fitting(name, other, self.event())]
        self.r.shuffle(parts)
        return self.add(f"{name}.concat", Concat(axis), *parts)

    def reshaped(self, name: str, fed: str, percent: float) -> str:
        other = self.other_shape(self.shapes[fed]) if self.chance(percent) else None
        return self.add(f"{name}.shaped", Reshape(other), fed) if other else fed

    def gained(self, name: str, fed: str, share: float) -> str:
        """A current times another number at each step (of as many as there can be), now and then with a bias.

        What is drawn here is drawn apart, so that graphs without gains are those that they were before there were any.
        """
        numbers, shape = self.of_gains, self.shapes[fed]
        if not self.gains or numbers.random() >= share:
            return fed
        fraction = int(numbers.choice((0, 1, 7, 16, 24, 30)))
        gains = numbers.integers(-(1 << fraction), 2 << fraction, _STEPS[-1], endpoint=True)
        if numbers.random() < 0.2:
            gains = np.where(numbers.random(len(gains)) < 0.4, 0, gains)
        bias = np.asarray(0)
        if numbers.random() < 0.5:
            size = (shape, sizes(shape)[1], (1,) * len(shape))[numbers.integers(3)]
            bias = numbers.integers(-200, 201, (len(gains), *size))
        return self.add(f"{name}.gain", Gain(gains, bias, fraction), fed)

    def other_shape(self, shape: Shape) -> Shape:
        size = prod(shape)
        factors = [k for k in range(2, 10) if size % k == 0]
        options: list[Shape] = [(size,), (1, size)]
        options += [pair for k in factors for pair in ((k, size // k), (size // k, k))]
        options += [(size // (k * m), k, m) for k in factors for m in factors if size % (k * m) == 0]
        return self.r.choice(options)

    def broadcast(self, shape: Shape) -> Shape:
        """One number, one a channel, one a neuron, now and then something between."""
        scalar, channel, neuron = sizes(shape)
        size = self.pick((scalar, channel, channel, neuron, None))
        return tuple(self.pick((1, n)) for n in shape) if size is None else size

    # -- currents ------------------------------------------------------------------------------------------------------

    def current(self, name: str, event: str) -> str:
        """Weights on an event, of any kind."""
        for _ in range(20):
            shape = self.shapes[event]
            kind = self.r.choice(("linear", "conv", "conv", "conv", "transposed", "scale"))
            if kind == "scale":
                return self.scale(name, event)
            if kind == "linear" or len(shape) == 1:
                outputs = [c for c in (*CHANNELS, *WIDE) if c * prod(shape) <= self.work and c <= self.largest]
                if outputs:
                    return self.linear(name, event, self.r.choice(outputs))
            elif done := self.geometry(name, event, kind == "transposed", None):
                return done
        return self.scale(name, event)

    def fitting(self, name: str, shape: Shape, event: str) -> list[str]:
        """Some current of a given shape, if one can be had."""
        given = self.shapes[event]
        if given == shape and self.chance(50):
            return [self.scale(name, event)]
        if len(given) == len(shape) > 1:
            for _ in range(8):
                if done := self.geometry(name, event, self.chance(30), shape):
                    return [done]
        if prod(given) * prod(shape) <= self.work:
            return [self.shaped(f"{name}.shaped", self.linear(name, event, prod(shape)), shape)]
        return [self.scale(name, event)] if given == shape else []

    def emit(self, name: str, op: Any, event: str) -> str:
        """Weights; halved until no sum of some such layers leaves its accumulator."""
        field = "scale" if isinstance(op, Scale) else "weight"
        weight, most = getattr(op, field), (2**31 - 1) // 8
        fan_in = np.abs(weight)
        if isinstance(op, ConvTranspose):
            fan_in = fan_in.reshape(op.groups, -1, *weight.shape[1:]).sum((1, *range(3, weight.ndim + 1)))
        elif not isinstance(op, Scale):
            fan_in = fan_in.sum(tuple(range(1, weight.ndim)))
        while int(np.max(fan_in)) * self.reach[event] > most and np.any(weight):
            weight, fan_in = np.sign(weight) * (np.abs(weight) >> 1), fan_in / 2
        self.mark("all-max weights", weight.size > 1 and np.all(weight == weight.flat[0]))
        self.mark("weights above 8 bits", np.abs(weight).max(initial=0) > 128)
        self.mark("fan-out of spikes", event not in self.unread and isinstance(self.nodes[event].op, Neuron))
        self.mark("real beside spikes", len(self.carries[event]) > 1)
        self.was_read(event)
        return self.add(f"{name}.w", replace(op, **{field: weight}), event)

    def weights(self, shape: Shape, fan_in: int = 0) -> Array:
        top = 2 ** (self.bits - 1) - 1
        styles = ("uniform",) * 6 + ("normal",) * 4 + ("extreme", "all-max", "sparse", "ends")
        match self.r.choice(styles):
            case "uniform":
                found = self.numbers.integers(-top, top + 1, shape)
            case "normal":
                found = np.clip(np.rint(self.numbers.normal(size=shape) * top / 3), -top, top)
            case "extreme":
                found = self.numbers.choice(np.asarray((-top - 1, -top, 0, top)), shape)
            case "all-max":
                found = np.full(shape, self.r.choice((top, top, -top, -top - 1)))
            case "sparse":
                found = np.where(self.numbers.random(shape) < 0.8, 0, self.numbers.integers(-top, top + 1, shape))
            case _:
                found = self.numbers.choice(np.asarray((-top, top)), shape)
        return np.asarray(found).astype(np.int64)

    def scale(self, name: str, event: str) -> str:
        shape = self.broadcast(self.shapes[event])
        weight = self.weights(shape)
        self.mark("Scale")
        self.mark("Scale scalar", shape == ())
        self.mark("Scale per neuron", prod(shape) == prod(self.shapes[event]) > 1)
        return self.emit(name, Scale(weight), event)

    def linear(self, name: str, event: str, outputs: int) -> str:
        size = prod(self.shapes[event])
        if self.shapes[event] != (size,):
            event = self.add_event(f"{event}.flat", Reshape((size,)), event, reach=self.reach[event])
        weight = self.weights((outputs, size))
        stored = None
        if self.chance(35):
            self.mark("Linear with stored")
            stored = self.numbers.random(weight.shape) < self.r.choice((0.1, 0.4, 0.9))
            weight = np.where(stored, weight, 0)
        self.mark("Linear")
        self.mark("Linear to 1", outputs == 1)
        self.mark("Linear above 100", outputs > 100)
        return self.emit(name, Linear(weight, None, stored), event)

    def geometry(self, name: str, event: str, transposed: bool, wanted: Shape | None) -> str | None:
        """A convolution, if one that was drawn fits and is no more work than allowed."""
        given = self.shapes[event]
        rank = len(given) - 1
        channels = wanted[0] if wanted else self.pick((*CHANNELS, *CHANNELS, *WIDE))
        op = self.kernels(given, channels, transposed)
        out = shape_of(op, given)
        if out is None:
            return None
        near = given if transposed else out
        cost = prod(near[1:]) * op.weight.size
        if cost > self.work or prod(out) > self.largest or (wanted is not None and out != wanted):
            return None
        kernel = op.weight.shape[2:]
        if transposed:
            self.mark("output padding", any(op.output_padding))
        else:
            self.mark("asymmetric padding", any(a != b for a, b in op.padding))
        self.mark(f"{type(op).__name__} {rank}-d")
        self.mark("depthwise", op.groups == given[0] > 1)
        self.mark("groups", 1 < op.groups < given[0])
        self.mark("stride", any(s > 1 for s in op.stride))
        self.mark("dilation", any(d > 1 for d in op.dilation))
        self.mark("1x1", rank == 2 and prod(kernel) == 1)
        self.mark("kernel above 3", any(k > 3 for k in kernel))
        return self.emit(name, op, event)

    def kernels(self, given: Shape, channels: int, transposed: bool) -> Any:
        r, rank = self.r, len(given) - 1
        common = gcd(given[0], channels)
        groups = r.choice((1, 1, 1, common, common, r.choice([g for g in range(1, common + 1) if common % g == 0])))
        if self.chance(20):  # depthwise, whatever the channels are
            groups = given[0] if channels % given[0] == 0 else groups
        plain = self.chance(40)
        k = r.choice((1, 2, 3, 3, 5))
        kernel = (k,) * rank if plain else self.several(rank, 1, 2, 3, 3, 4, 5, 6)
        stride = (1,) * rank if plain and self.chance(70) else self.several(rank, 1, 1, 2, 3)
        dilation = (1,) * rank if plain else self.several(rank, 1, 1, 1, 2, 3)
        if transposed:
            padding = tuple(r.randint(0, d * (k - 1)) if self.chance(50) else 0 for k, d in zip(kernel, dilation))
            extra = tuple(r.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation))
            return self.transposition(given, channels // groups, kernel, stride, padding, extra, dilation, groups)
        if plain:
            pads = tuple((k // 2, k // 2) for k in kernel)
        else:
            pads = tuple((r.randint(0, d * (k - 1)), r.randint(0, d * (k - 1))) for k, d in zip(kernel, dilation))
        return self.convolution(given, channels, kernel, stride, pads, dilation, groups)

    def several(self, count: int, *options: int) -> tuple[int, ...]:
        return tuple(self.pick(options) for _ in range(count))

    # -- events --------------------------------------------------------------------------------------------------------

    def event(self, like: Shape | None = None) -> str:
        """Something to read: what nobody reads yet more often, or what has a given shape."""
        options = self.events
        if like is not None and self.chance(60):
            options = [n for n in self.events if self.shapes[n] == like] or options
        elif self.unread and self.chance(60):
            options = self.unread
        name = self.r.choice(options)
        for _ in range(self.r.choice((0, 0, 0, 1, 1, 2))):
            name = self.changed(name)
        return name

    def changed(self, name: str, alone: bool = False) -> str:
        """An event that is pooled, moved, delayed or, unless it must stay alone, added to or put beside others."""
        r = self.r
        shape, reach = self.shapes[name], self.reach[name]
        rank = len(shape) - 1
        if reach > 1 << 20:
            return name
        kinds = ("max", "reshape", "up", *(() if self.plain and self.chance(70) else ("sum", "delay")))
        match r.choice((*kinds, *(() if alone else ("concat", *(("add",) if "sum" in kinds else ()))))):
            case "max" if rank:
                kernel, stride = self.several(rank, 1, 2, 2, 3), self.several(rank, 1, 2, 2, 3)
                pads = tuple((r.randint(0, k // 2), r.randint(0, k // 2)) for k in kernel)
                op = MaxPool(kernel, stride, pads, self.several(rank, 1, 1, 1, 2))
                # Every window sees something.
                if self.fits(op, shape) and np.isfinite(apply(op, [np.zeros((1, *shape))])).all():
                    return self.add_event(f"{name}.max", op, name, reach=reach)
            case "sum" if rank:
                kernel, stride = self.several(rank, 1, 2, 2, 3), self.several(rank, 1, 2, 2, 3)
                pads = tuple((r.randint(0, k - 1), r.randint(0, k - 1)) if self.chance(30) else (0, 0) for k in kernel)
                op = SumPool(kernel, stride, pads)
                if self.fits(op, shape):
                    return self.add_event(f"{name}.sum", op, name, reach=reach * prod(kernel))
            case "up" if rank:
                op = Upsample(self.several(rank, 1, 2, 2, 3))
                if self.fits(op, shape, 600):
                    return self.add_event(f"{name}.up", op, name, reach=reach)
            case "delay":
                op = Delay(shape, r.choice((1, 1, 2, 3, 9)))
                return self.add_event(f"{name}.delay", op, name, reach=reach)
            case "reshape":
                return self.add_event(f"{name}.reshape", Reshape(self.other_shape(shape)), name, reach=reach)
            case "concat":
                return self.concat(name)
            case "add":
                others = [n for n in self.events if self.shapes[n] == shape]
                parts = [name, *(r.choice(others) for _ in range(r.choice((1, 1, 2))))]
                r.shuffle(parts)
                return self.add_event(f"{name}.add", Add(), *parts, reach=sum(self.reach[n] for n in parts))
        return name

    def fits(self, op: Op, shape: Shape, largest: int = 10**9) -> bool:
        out = shape_of(op, shape)
        return out is not None and prod(out) <= min(self.largest, largest)

    def concat(self, name: str) -> str:
        shape = self.shapes[name]
        axis = self.r.randrange(len(shape))
        rest = (*shape[:axis], *shape[axis + 1 :])
        there = [(n, self.shapes[n]) for n in self.events if len(self.shapes[n]) == len(shape)]
        others = [n for n, other in there if (*other[:axis], *other[axis + 1 :]) == rest]
        parts = [name, *(self.r.choice(others) for _ in range(self.r.choice((1, 1, 2))))]
        self.r.shuffle(parts)
        if sum(prod(self.shapes[n]) for n in parts) > self.largest:
            return name
        return self.add_event(f"{name}.concat", Concat(axis), *parts, reach=max(self.reach[n] for n in parts))

    # -- neurons: parameters from what was seen ------------------------------------------------------------------------

    def tune(self) -> None:
        """Parameters for all, one after the other, on the scale of the currents that reach them."""
        stateful = [node.name for node in self.graph().of(Neuron, Integrator)]
        neurons = [name for name in stateful if isinstance(self.nodes[name].op, Neuron)]
        for name in stateful:
            # Until its turn comes (in a loop) a neuron fires where it gets more than nothing.
            none = np.asarray(0)
            rough = whole_neuron(1, self.one, decay=0) if name in neurons else Integrator(none, none, none)
            self.change(name, **vars(rough))
        for name in stateful:
            x = self.seen(name)
            if name in neurons:
                self.neuron(name, x)
            else:
                self.integrator(name, x)
        for _ in range(3):  # what feeds back has changed since
            rates = firing_rates(self.simulated().spikes)
            off = [name for name, rate in rates.items() if not LOW <= rate <= HIGH]
            if self.edge or not off:
                break
            for name in off:
                self.calibrate(name, self.broadcast(self.shapes[name]))
        for name in neurons:
            self.spread(name)

    def seen(self, name: str) -> Array:
        """The synaptic sums that reach a neuron ``[N, T, *shape]``."""
        probe = self.add("probe", Output("sequence"), *self.nodes[name].inputs)
        x = self.simulated(probe, name).outputs[probe]
        del self.nodes[probe]
        return x

    def shift(self, x: Array) -> int:
        """Mostly one that brings the sums some way below the end of the register; now and then beyond, or any."""
        top, room = max(1.0, float(np.abs(x).max())), self.room(x)
        left = self.r.choice((-1, 0, 1)) if self.edge == "overflowing" else self.r.choice((1, 2, 3, 3, 4, 5, 6))
        shift = int(np.clip(np.floor(room - left), -16, 12))
        if self.chance(25) and room > 8:  # small beside the register, as most programs are
            shift = int(np.clip(shift - self.r.randint(4, 8), -16, 12))
        if self.chance(4):
            shift = self.r.randint(-16, 12)
        # The reference's own words have 64 bits, and a current that wraps once may stay above its register.
        while shift > -16 and top * 2.0**shift > 2.0**36:
            shift -= 1
        return shift

    def room(self, x: Array) -> float:
        """How many bits the sums are below the end of the register."""
        return float(np.log2(self.arithmetic.state_max / max(1.0, float(np.abs(x).max()))))

    def numbers_near(self, shape: Shape, scale: float) -> Array:
        """Numbers around a scale, for the layer, a channel or a neuron."""
        size = self.broadcast(shape)
        most = self.arithmetic.state_max
        return np.clip(np.rint(self.numbers.normal(size=size) * scale), -most, most).astype(np.int64)

    def mantissa(self, shape: Shape, kinds: Sequence[str]) -> Array:
        one, r = self.one, self.r

        def of(kind: str) -> int:
            match kind:
                case "0":
                    return 0
                case "1":
                    return one
                case "power":
                    return one >> r.randint(1, min(6, self.arithmetic.decay_fraction))
                case "between":
                    return r.randint(1, one - 1)
                case "high":
                    return r.randint(one * 3 // 4, one)
                case "negative":
                    return r.choice((-r.randint(1, one), -one, -(one >> 1)))
            return r.choice((one + 1, r.randint(one, 2 * one), r.randint(one, one + one // 4)))

        size = self.broadcast(shape) if self.chance(50) else ()
        pool = [of(r.choice(kinds)) for _ in range(r.choice((1, 3, 5)))] if self.chance(30) else None
        if size == ():
            return np.asarray(of(r.choice(kinds)), np.int64)
        kind = r.choice(kinds)
        values = [r.choice(pool) if pool else of(kind) for _ in range(min(prod(size), 64))]
        return np.resize(np.asarray(values, np.int64), size)

    def integrator(self, name: str, x: Array) -> None:
        shift = self.shift(x)
        scale = max(1.0, float(np.abs(x).mean()) * 2.0**shift)
        kinds = ("0", "0", "1", "1", "power", "between", "high", "negative", "above")
        decay = self.mantissa(x.shape[2:], kinds)
        bias = self.numbers_near(x.shape[2:], scale) if self.chance(50) else np.asarray(0)
        self.change(name, decay=decay, gain=np.asarray(1), bias=bias, shift=shift)

    def neuron(self, name: str, x: Array) -> None:
        r, shape = self.r, x.shape[2:]
        crowded = name in self.crowds
        shift = int(np.clip(self.shift(x) if not crowded else self.room(x) + 1, -16, 12))
        s = max(1.0, float(np.abs(x).mean()) * 2.0**shift)
        most = self.arithmetic.state_max
        kinds = ("0", "1", "1", "power", "power", "between", "high", "high", "high", "negative", "above")
        kinds = ("0", "power") if crowded else kinds
        once = self.arithmetic.current_overflow == "wrap-once"
        current = ("power", "between", "high", *(() if once else ("1", "negative", "above")))
        zero = np.asarray(0)

        def maybe(percent: int, scale: float = s) -> Array:
            percent = percent // 4 if crowded else percent
            return self.numbers_near(shape, scale) if self.chance(percent) else zero

        flip = np.asarray(False)
        if self.chance(15):
            flip = np.asarray(self.numbers.random(self.broadcast(shape)) < 0.5)
        plain = crowded or (self.plain and self.chance(85))
        op = whole_neuron(
            0,
            self.one,
            decay=self.mantissa(shape, kinds),
            current_decay=self.mantissa(shape, current) if not plain and self.chance(40) else zero,
            bias=maybe(40),
            input_bias=maybe(25),
            strict=self.chance(25),
            flip=flip,
            reset=r.choice(("to", "to", "by", "by", "none")),
            v_reset=maybe(40),
            amount=np.abs(maybe(85)) if self.chance(80) else maybe(100),
            keep=self.mantissa(shape, kinds) if not plain and self.chance(45) else self.one,
            v_init=maybe(30),
            refractory=0 if plain else r.choice((0, 0, 0, 0, 0, 0, 1, 2, 3, -1)),
            shift=shift,
        )
        if not plain and op.reset == "to" and not op.refractory and self.chance(25):
            op = replace(op, deaf=True)
        if not plain and not np.any(op.flip) and not op.refractory and self.chance(30):
            each = r.choice((s, s, s / 8, s / 64))  # the smaller, the more spikes in a step
            op = replace(op, max_spikes=r.choice((2, 3, 7, 127)), amount=np.abs(maybe(90, each)) + 1)
        if name in self.crowds.values():
            op = replace(op, flip=np.asarray(False), refractory=0, deaf=False)
            op = replace(op, max_spikes=r.choice((2, 3, 7, 127)), amount=np.abs(maybe(90, s / 16)) + 1)
        if plain and self.chance(8):  # a bias that takes the membrane to an end of its register, and no further
            end = r.choice((1, 1, -1)) * (most - int(r.choice((0, 1, 3)) * s))
            op = replace(op, bias=np.asarray(end), flip=np.asarray(False), reset=r.choice(("to", op.reset)))
        shifted = plain and self.chance(20)
        if shifted:
            op = replace(op, decay=np.asarray(self.one >> r.randint(1, min(6, self.arithmetic.decay_fraction))))
        if plain and op.reset == "by" and self.chance(10):  # what is left of it leaves the register
            op = replace(op, amount=np.asarray(r.choice((1, -1)) * (most - int(s))))
        if op.reset == "to" and self.chance(3):
            op = replace(op, v_reset=np.asarray(r.choice((most, -most, most + 2, -most - 2))))
        self.change(name, **vars(op))
        if self.edge in ("silent", "saturated"):
            beyond = r.choice((most + 1, 2 * most + 3, 2**40)) * (1 if self.edge == "silent" else -1)
            self.change(name, threshold=np.where(flip, -beyond, beyond).astype(np.int64))
            return
        if not plain and op.max_spikes == 1 and self.chance(30):
            below = np.quantile(self.membranes(name), r.choice((0.02, 0.1, 0.3)), method="lower")
            size = self.broadcast(shape)
            spread = np.abs(below) // 8 + 1
            off = self.numbers.integers(-spread, spread + 1, size) if size else 0
            self.change(name, negative_threshold=np.asarray(below + off).astype(np.int64))
        # As many thresholds as there can be that are a membrane: of those, the last bit tells.
        self.calibrate(name, sizes(shape)[1] if shifted else self.broadcast(shape))

    def membranes(self, name: str) -> Array:
        return self.simulated(name).membranes[name]

    def calibrate(self, name: str, size: Shape) -> None:
        """Thresholds between the membranes, a few times: they change with what fires."""
        flip = self.nodes[name].op.flip
        wanted = self.r.uniform(0.08, 0.45)
        best: tuple[float, Array] | None = None
        membranes = self.membranes(name)
        for _ in range(6):
            threshold = self.thresholds(membranes, size, wanted, flip)
            self.change(name, threshold=threshold)
            run = self.simulated(name)
            membranes, rate = run.membranes[name], firing_rates(run.spikes)[name]
            off = abs(rate - 0.25)
            if best is None or off < best[0]:
                best = off, threshold
            if 0.04 < rate < 0.7:
                break
            wanted = min(0.95, 2 * wanted) if rate <= 0.04 else max(0.01, wanted / 3)
            size = self.r.choice((size, size, self.shapes[name]))
        assert best is not None
        self.change(name, threshold=best[1])

    def thresholds(self, membranes: Array, size: Shape, rate: float, flip: Array) -> Array:
        """For each part of a layer the membrane that this share of all lies above (below, where flipped)."""
        shape = membranes.shape[2:]
        full = (1,) * (len(shape) - len(size)) + size
        axes = (0, 1, *(k + 2 for k, n in enumerate(full) if n == 1))
        up = np.quantile(membranes, 1 - rate, axis=axes, method="higher", keepdims=True)[0, 0]
        if not np.any(flip):
            return up.reshape(size).astype(np.int64)
        down = np.quantile(membranes, rate, axis=axes, method="lower", keepdims=True)[0, 0]
        return np.asarray(np.where(flip, down, up)).astype(np.int64)

    def spread(self, name: str) -> None:
        """Now and then a neuron among others with a threshold at or beyond an end of the register, or at 0."""
        known = self.nodes[name].op.threshold
        if known.size < 8 or not self.chance(15):
            return
        most = self.arithmetic.state_max
        ends = np.asarray((0, -1, most, -most, -most - 1, most + 1, 2**33, -(2**33), 2**40, -(2**40)))
        chosen = self.numbers.random(known.shape) < 0.06
        self.change(name, threshold=np.where(chosen, self.numbers.choice(ends, known.shape), known))
