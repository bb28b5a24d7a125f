"""Random graphs of reals over everything that a graph may hold: any operation, on events and on currents, any neuron.

Wider than ``loihi.py``, on which it builds: currents fan out, are delayed, pooled, put beside others; one, two and no
axes; two inputs; norms of the membrane, several spikes a step, resets that leave a part; every way to read an output.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.ir.ops import (
    Add,
    Concat,
    Delay,
    Gain,
    Input,
    Integrator,
    MaxPool,
    MembraneNorm,
    Neuron,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import Drawn, shape_of, sizes
from tests.random_networks.loihi import DeepBuild

__all__ = ["random_real_graph"]

READS = ("mean", "mean", "sum", "last", "max", "max-abs", "weighted", "sequence")
LARGEST = 160
"""So many numbers a node emits a step at most."""


def random_real_graph(source: random.Random) -> Drawn:
    """Draw a graph, calibrated layer by layer, and inputs ``[N, T, *shape]`` for it."""
    b = _Build(source, np.random.default_rng(source.getrandbits(32)))
    steps, samples = b.whole(1, 6), b.whole(1, 3)
    shape = b.shape()
    for k in range(b.pick((1, 1, 1, 2))):
        b.given("xy"[k], (samples, steps, *(shape if b.chance(60) or k == 0 else b.shape())))
    for _ in range(b.whole(1, 4)):
        b.one_layer()
    b.readouts()
    return Drawn(b.graph(), b.inputs, frozenset(b.cases))


class _Build(DeepBuild):
    """``events`` are what a layer may read."""

    def __init__(self, source: random.Random, numbers: np.random.Generator) -> None:
        super().__init__(source, numbers)
        self.events: list[str] = []
        self.currents: list[str] = []

    def shape(self) -> Shape:
        rank = self.pick((0, 1, 2, 2))
        return (self.whole(1, 4 if rank else 9), *(self.whole(2, 6) for _ in range(rank)))

    def given(self, name: str, size: tuple[int, ...]) -> None:
        if self.chance(60):
            self.mark("real input")
            self.add(name, Input(size[2:]))
            low = self.pick((0.0, 0.0, -1.0))
            self.inputs[name] = np.round(self.numbers.uniform(low, 1, size) * 16) / 16
        else:
            self.add(name, Input(size[2:], "spikes"))
            self.inputs[name] = (self.numbers.random(size) < self.pick((0.2, 0.5))).astype(float)
        self.events.append(name)

    # -- layers --------------------------------------------------------------------------------------------------------

    def one_layer(self) -> None:
        name = f"n{len(self.named(Neuron)) + 1}"
        fed = self.current(self.event())
        if self.currents and self.chance(15):
            self.mark("a current that fans out")
            fed = self.pick(self.currents)
        for _ in range(self.pick((0, 0, 0, 1, 2))):
            fed = self.joined(fed, self.current(self.event(), self.shapes[fed]))
        if self.chance(15):
            fed = self.altered_and_moved(fed)
        for _ in range(self.pick((0, 0, 1, 1, 2))):
            fed = self.altered(fed)
        shape = self.shapes[fed]
        if self.chance(25):
            self.mark("own loop")
            back = self.delay("before", name, self.pick((1, 1, 2, 3)), shape)
            fed = self.joined(fed, self.current(back, shape))
        self.currents.append(fed)
        self.add(name, self.neuron(shape), fed)
        self.calibrate(name)
        self.events.append(name)
        alike = [event for event in self.events[:-1] if self.shapes[event] == shape]
        if alike and self.chance(20):
            self.mark("Add of events")
            self.events.append(self.add("summed", Add(), self.pick(alike), name))

    def joined(self, fed: str, other: str) -> str:
        if self.shapes[fed] != self.shapes[other]:
            return fed
        return self.sum("add", *((fed, other) if self.chance(50) else (other, fed)))

    def event(self, name: str = "") -> str:
        """Something to read: pooled, upsampled, delayed, reshaped, beside another, or as it is."""
        name = name or self.pick(self.events[-3:])
        for _ in range(self.pick((0, 0, 0, 1, 1, 2))):
            name = self.moved(name, currents=False)
        return name

    def moved(self, name: str, currents: bool) -> str:
        """What has no weights: of events and of currents alike."""
        shape, kind = self.shapes[name], self.pick(("max", "sum", "up", "delay", "reshape", "concat", "again"))
        rank, what = len(shape) - 1, "currents" if currents else "events"
        op: Any = None
        match kind:
            case "max" if rank and not currents:
                kernel = self.several(rank, 1, 2, 2, 3)
                pads = tuple((self.whole(0, k // 2), self.whole(0, k // 2)) for k in kernel)
                op = MaxPool(kernel, self.several(rank, 1, 2, 2), pads, self.several(rank, 1, 1, 2))
            case "sum" if rank:
                kernel = self.several(rank, 1, 2, 2, 3)
                pads = tuple(
                    (self.whole(0, k - 1), self.whole(0, k - 1)) if self.chance(30) else (0, 0) for k in kernel
                )
                op = SumPool(kernel, self.several(rank, 1, 2, 2), pads)
            case "up" if rank:
                op = Upsample(self.several(rank, 1, 2, 2, 3))
            case "delay":
                op = Delay(shape, self.pick((1, 1, 2)))
            case "reshape":
                op = Reshape(
                    self.pick(((prod(shape),), (1, prod(shape)), shape[::-1], (prod(shape[:1]), prod(shape[1:]))))
                )
            case "concat":
                axis = self.whole(0, rank)
                others = [n for n in (self.currents if currents else self.events)
                          if _but(self.shapes[n], axis) == _but(shape, axis)]  # fmt: skip
                parts = (name, self.pick(others or [name]))
                if prod(shape) * 2 <= LARGEST:
                    self.mark(f"Concat of {what}")
                    return self.add("cat", Concat(axis), *(parts if self.chance(50) else parts[::-1]))
            case "again" if prod(shape) <= LARGEST and not currents:
                self.mark("an event with itself")
                return self.add("twice", Add(), name, name)
        if op is None:
            return name
        out = shape_of(op, shape) if not isinstance(op, Delay) else shape
        if out is None or min(out) < 1 or prod(out) > LARGEST:
            return name
        self.mark(f"{type(op).__name__} of {what}")
        return self.add(kind, op, name)

    def altered(self, fed: str) -> str:
        """What happens to a current on its way: a scale with a shift, gains of steps, another layer, a move."""
        shape = self.shapes[fed]
        match self.pick(("scale", "scale", "gain", "moved", "moved", "weights")):
            case "scale":
                self.mark("a scale of currents")
                size = self.pick(sizes(shape))
                shift = self.numbers.normal(size=size) * 0.2 if self.chance(60) else np.asarray(0.0)
                return self.add("norm", Scale(self.numbers.uniform(-0.4, 1.5, size), shift), fed)
            case "gain":
                self.mark("Gain")
                steps = next(iter(self.inputs.values())).shape[1]
                bias = self.numbers.normal(size=(steps, *self.pick(sizes(shape))[:])) * 0.2
                if bias.ndim != len(shape) + 1 or self.chance(50):
                    bias = np.asarray(0.0)
                return self.add("gain", Gain(self.numbers.uniform(-0.5, 2.0, steps), bias), fed)
            case "weights":
                self.mark("weights upon currents")
                return self.current(fed)
        return self.moved(fed, currents=True)

    def altered_and_moved(self, fed: str) -> str:
        """What must go past what stands behind it: a scale past a Concat or a MaxPool, gains of steps past a Delay."""
        numbers, shape = self.numbers, self.shapes[fed]
        match self.pick(("concat", "max", "delay")):
            case "concat" if prod(shape) * 2 <= LARGEST:
                other = self.current(self.event(), shape)
                if self.shapes[other] == shape:
                    self.mark("a scale, then Concat")
                    scale = Scale(numbers.uniform(-0.4, 1.5, self.pick(sizes(shape))), numbers.normal(size=shape) * 0.3)
                    parts = [self.add("norm", scale, fed), other]
                    self.source.shuffle(parts)
                    return self.add("cat", Concat(0), *parts)
            case "max":
                event = self.event()
                shape = self.shapes[event]
                if len(shape) > 1 and min(shape[1:]) > 1:
                    self.mark("a scale, then MaxPool")
                    channel = sizes(shape)[1]
                    low = -0.4 if self.chance(40) else 0.3
                    scale = Scale(numbers.uniform(low, 1.5, channel), numbers.normal(size=channel) * 0.3)
                    rank = len(shape) - 1
                    largest = MaxPool((2,) * rank, self.several(rank, 1, 2), ((0, 0),) * rank, (1,) * rank)
                    return self.add("largest", largest, self.add("norm", scale, event))
            case "delay":
                self.mark("Gain, then Delay")
                steps = next(iter(self.inputs.values())).shape[1]
                gained = self.add("gain", Gain(numbers.uniform(-0.5, 2.0, steps), np.asarray(0.0)), fed)
                return self.add("delay", Delay(shape, self.pick((1, 1, 2))), gained)
        return fed

    def current(self, event: str, wanted: Shape | None = None) -> str:
        """Weights; for a shape that is wanted, or for any."""
        shape = self.shapes[event]
        rank = len(shape) - 1
        if wanted is not None:
            if shape == wanted and self.chance(50):
                return self.add(
                    "skip", Scale(self.numbers.normal(size=self.pick(sizes(shape))), np.asarray(0.0)), event
                )
            return self.shaped("unflat", self.linear("far", event, prod(wanted)), wanted)
        kind = self.pick(("linear", "conv", "conv", "transposed", "scale"))
        if kind == "scale":
            size = self.pick(sizes(shape))
            shift = self.numbers.normal(size=size) * 0.2 if self.chance(30) else np.asarray(0.0)
            return self.add("scale", Scale(self.numbers.normal(size=size), shift), event)
        if kind != "linear" and rank:
            groups = self.pick([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])
            kernel, stride = self.several(rank, 1, 2, 3), self.several(rank, 1, 1, 2)
            dilation = self.several(rank, 1, 1, 2)
            if kind == "conv":
                pads = tuple((self.whole(0, k - 1), self.whole(0, k - 1)) for k in kernel)
                op: Any = self.convolution(shape, groups * self.whole(1, 3), kernel, stride, pads, dilation, groups)
            else:
                pads_out = tuple(self.whole(0, (k - 1) * d) for k, d in zip(kernel, dilation))
                extra = tuple(self.whole(0, max(s, d) - 1) for s, d in zip(stride, dilation))
                op = self.transposition(shape, self.whole(1, 2), kernel, stride, pads_out, extra, dilation, groups)
            out = shape_of(op, shape)
            if out is not None and min(out) >= 1 and prod(out) <= LARGEST:
                self.mark(f"{type(op).__name__} {rank}-d")
                return self.biased(self.add(kind, op, event))
        return self.biased(self.linear("fc", event, self.whole(1, 8)))

    def several(self, count: int, *options: int) -> tuple[int, ...]:
        return tuple(self.pick(options) for _ in range(count))

    def readouts(self) -> None:
        for k in range(self.pick((1, 1, 2))):
            name = "output" if k == 0 else f"output.{k + 1}"
            read = self.pick(READS)
            self.mark(f"read {read}")
            if self.chance(25):
                fed = self.pick(self.named(Neuron))
            else:
                fed = self.current(self.events[-1])
                if self.chance(20):
                    fed = self.altered(fed)
                one = {"decay": np.asarray(self.pick((0.0, 0.0, 1.0, 0.7, -0.5)))}
                if self.chance(30):
                    size = self.pick(sizes(self.shapes[fed]))
                    one |= {"bias": self.numbers.normal(size=size) * 0.2, "gain": self.numbers.uniform(0.3, 2, size)}
                fed = self.add("readout", Integrator(**one), fed)
            steps = next(iter(self.inputs.values())).shape[1]
            weights = self.numbers.normal(size=steps) if read == "weighted" else None
            unit = np.asarray(self.pick((1.0, 0.5))) if self.chance(30) else np.asarray(1.0)
            self.add(name, Output(read, unit, weights), fed)

    # -- neurons -------------------------------------------------------------------------------------------------------

    def neuron(self, shape: Shape) -> Neuron:
        """One of those of the deep networks, or one with what these lack."""
        op = super().neuron(shape)
        if self.chance(45):
            return op
        numbers, channel = self.numbers, sizes(shape)[1]
        each = self.pick(sizes(shape))

        def norm(on: Any) -> MembraneNorm:
            gamma = numbers.normal(size=each) * 0.4 + self.pick((1.0, 1.0, 0.3))
            if self.chance(30):
                self.mark("gamma: zero")
                gamma = np.where(numbers.random(each) < 0.3, 0.0, gamma)
            beta, mean = numbers.normal(size=each) * 0.2, numbers.normal(size=each) * 0.2
            return MembraneNorm(gamma, beta, mean, numbers.uniform(0.5, 1.5, each), on)

        plain = Neuron(np.asarray(1.0), decay=op.decay, strict=op.strict)
        by = replace(plain, reset="by", amount=numbers.uniform(0.4, 1.2, each))
        kinds: dict[str, Callable[[], Neuron]] = {
            "norm of the comparison": lambda: replace(plain, norm=norm("compare")),
            "norm of the membrane": lambda: replace(
                plain, norm=norm("membrane"), v_reset=np.asarray(self.pick((0.0, -0.2)))
            ),
            "norm, soft reset": lambda: replace(by, norm=norm(self.pick(("compare", "membrane")))),
            "several spikes": lambda: replace(
                by, max_spikes=self.pick((2, 3, 127)), amount=numbers.uniform(0.3, 1.0, each)
            ),
            "keep": lambda: replace(by, keep=numbers.uniform(0.2, 1.1, channel)),
            "amplitude": lambda: replace(plain, amplitude=numbers.uniform(0.4, 1.6, self.pick(((), channel)))),
            "gain": lambda: replace(
                plain, gain=numbers.uniform(0.3, 1.5, each), v_reset=numbers.normal(size=each) * 0.2
            ),
            "signed, soft": lambda: replace(by, negative_threshold=np.asarray(-0.8)),
            "none": lambda: replace(plain, reset="none", flip=numbers.random(each) < 0.3),
            "current": lambda: replace(
                by, current_decay=numbers.uniform(0.1, 0.9, each), input_bias=numbers.normal(size=each) * 0.1
            ),
            "refractory, soft": lambda: replace(by, refractory=self.pick((1, 2, -1))),
            "no decay": lambda: replace(by, decay=np.asarray(0.0)),
            "flipped per neuron": lambda: replace(
                plain, flip=numbers.random(each) < 0.3, v_init=numbers.normal(size=each) * 0.2
            ),
        }  # fmt: skip
        kind = self.pick(tuple(kinds))
        self.mark(f"neuron: {kind}")
        return kinds[kind]()


def _but(shape: Shape, axis: int) -> Any:
    return (len(shape), shape[:axis], shape[axis + 1 :])
