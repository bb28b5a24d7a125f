"""Graphs under construction: one strategy for each kind of operation, on which the wrappers build."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Array,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    SumPool,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers
from neurocompile.targets import load_target
from tests.random_networks.choices import Choices, Numbers, Shape, calibrated

__all__ = ["Build", "Drawn", "IntegerBuild", "arithmetic_of", "program_of", "shape_of", "sizes", "whole_neuron"]


def arithmetic_of(target: str = "generic", **changes: Any) -> Arithmetic:
    found = load_target(target).arithmetic
    assert found is not None
    return replace(found, **changes)


def program_of(graph: Graph, timesteps: int, target: str) -> Program:
    """The program of an integer graph."""
    return Program(target, arithmetic_of(target), timesteps, graph, graph, {})


@dataclass(frozen=True)
class Drawn:
    """A graph and inputs ``[N, T, *shape]`` for it; ``cases`` names what it was built from.

    ``edge`` names the edge case that it is on purpose. Of an integer graph ``known`` is what the reference says.
    """

    graph: Graph
    inputs: dict[str, Array]
    cases: frozenset[str]
    arithmetic: Arithmetic | None = None
    known: Trace | None = None
    edge: str = ""
    target: str = ""

    @property
    def timesteps(self) -> int:
        return next(iter(self.inputs.values())).shape[1]

    @property
    def is_calibrated(self) -> bool:
        """Whether every layer fires neither hardly nor nearly always."""
        return calibrated(self.known.spikes)

    @property
    def mood(self) -> str:
        return self.edge or "ordinary"

    @cached_property
    def program(self) -> Program:
        return program_of(self.graph, self.timesteps, self.target)

    def __str__(self) -> str:
        return f"{self.graph}\n{self.arithmetic}\nedge case: {self.edge or 'none'}"


def whole_neuron(threshold: Any, one: int, **settings: Any) -> Neuron:
    """A neuron in integers, whose decay is ``one`` (that is 1) and all else nothing, unless it is said."""
    zero = dict.fromkeys(("current_decay", "bias", "input_bias", "v_reset", "amount", "v_init"), 0)
    given = {"threshold": threshold, "decay": one, "keep": one, "gain": 1, "amplitude": 1, **zero, **settings}
    plain = ("strict", "reset", "refractory", "shift", "deaf", "negative_threshold", "max_spikes")
    return Neuron(**{name: value if name in plain else np.asarray(value) for name, value in given.items()})


def shape_of(op: Op, *shapes: Shape) -> Shape | None:
    """What an operation gives; None if it cannot be had of these."""
    try:
        return output_shape(op, shapes)
    except ValueError:
        return None


def sizes(shape: Shape) -> tuple[Shape, Shape, Shape]:
    """Of a parameter: one number for all, for each channel, for each neuron."""
    return (), (shape[0], *(1,) * (len(shape) - 1)), shape


def _each(value: Any, rank: int) -> Any:
    return value if isinstance(value, tuple) else (value,) * rank


def _pairs(value: Any, rank: int) -> Any:
    return value if isinstance(value, tuple) else ((value, value),) * rank


class Build(Choices):
    """The nodes that there are; ``inputs`` are samples for them."""

    def __init__(self, source: random.Random | Numbers, numbers: np.random.Generator) -> None:
        super().__init__(source)
        self.numbers = numbers
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self.inputs: dict[str, Array] = {}

    def add(self, stem: str, op: Op, *inputs: str) -> str:
        """A node by this name, or one like it; a delay may read a node that is still to come."""
        name = next(n for k in range(1, 10_000) if (n := stem if k == 1 else f"{stem}.{k}") not in self.nodes)
        self.nodes[name] = Node(name, op, inputs)
        match op:
            case Input() | Delay():
                self.shapes[name] = op.shape
            case Neuron() | Integrator() | Output():
                self.shapes[name] = self.shapes[inputs[0]]
            case _:
                self.shapes[name] = output_shape(op, [self.shapes[given] for given in inputs])
        return name

    def change(self, name: str, **settings: Any) -> None:
        """Other parameters for a node."""
        self.nodes[name] = replace(self.nodes[name], op=replace(self.nodes[name].op, **settings))

    def graph(self, *wanted: str) -> Graph:
        """The nodes that some node needs (all outputs, if none is said), and all inputs."""
        needed = [*(wanted or self.named(Output)), *self.named(Input)]
        seen: set[str] = set()
        while needed:
            name = needed.pop()
            if name not in seen:
                seen.add(name)
                needed += self.nodes[name].inputs
        return Graph(node for name, node in self.nodes.items() if name in seen)

    def named(self, *kinds: type[Any]) -> list[str]:
        return [name for name, node in self.nodes.items() if isinstance(node.op, kinds)]

    # -- layers with weights -------------------------------------------------------------------------------------------

    def weights(self, shape: Shape, fan_in: int, **how: Any) -> Array:
        """Of a byte, unless a wrapper wants others."""
        return np.asarray(self.numbers.integers(-127, 128, shape))

    def linear(self, name: str, event: str, outputs: int, **how: Any) -> str:
        """A matrix, behind a reshape where the event is no vector."""
        event = self.flat(event)
        (size,) = self.shapes[event]
        return self.add(name, Linear(self.weights((outputs, size), size, **how)), event)

    def convolution(
        self, shape: Shape, outputs: int, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, **how: Any,
    ) -> Conv:  # fmt: skip
        """A convolution for this shape; a single number holds for all axes."""
        rank, inputs = len(shape) - 1, shape[0] // groups
        kernel = _each(kernel, rank)
        weight = self.weights((outputs, inputs, *kernel), inputs * prod(kernel), **how)
        return Conv(weight, None, _each(stride, rank), _pairs(padding, rank), _each(dilation, rank), groups)

    def transposition(
        self, shape: Shape, outputs: int, kernel: Any, stride: Any = 1, padding: Any = 0, extra: Any = 0,
        dilation: Any = 1, groups: int = 1, **how: Any,
    ) -> ConvTranspose:  # fmt: skip
        """A transposed convolution for this shape; ``outputs`` are those of a group."""
        rank = len(shape) - 1
        weight = self.weights((shape[0], outputs, *_each(kernel, rank)), shape[0], **how)
        geometry = (_each(value, rank) for value in (stride, padding, extra, dilation))
        return ConvTranspose(weight, None, *geometry, groups)

    def conv(self, name: str, event: str, *sizes: Any, **how: Any) -> str:
        return self.add(name, self.convolution(self.shapes[event], *sizes, **how), event)

    # -- everything else -----------------------------------------------------------------------------------------------

    def flat(self, event: str) -> str:
        return self.shaped(f"{event}.flat", event, (prod(self.shapes[event]),))

    def shaped(self, name: str, given: str, shape: Shape) -> str:
        """The same numbers in this shape."""
        return given if self.shapes[given] == shape else self.add(name, Reshape(shape), given)

    def sum(self, name: str, *terms: str) -> str:
        return self.add(name, Add(), *terms) if len(terms) > 1 else terms[0]

    def delay(self, name: str, event: str, steps: int, shape: Shape | None = None) -> str:
        return self.add(name, Delay(shape or self.shapes[event], steps), event)

    def max_pool(self, name: str, event: str, kernel: Any, stride: Any) -> str:
        rank = len(self.shapes[event]) - 1
        op = MaxPool(_each(kernel, rank), _each(stride, rank), _pairs(0, rank), (1,) * rank)
        return self.add(name, op, event)

    def sum_pool(self, name: str, event: str, kernel: Any, stride: Any) -> str:
        rank = len(self.shapes[event]) - 1
        return self.add(name, SumPool(_each(kernel, rank), _each(stride, rank), _pairs(0, rank)), event)


class IntegerBuild(Build):
    """An integer graph, and its runs in the reference."""

    arithmetic: Arithmetic

    @property
    def one(self) -> int:
        """A decay of 1."""
        return 2**self.arithmetic.decay_fraction

    def chance(self, percent: float) -> bool:
        """By a number between 0 and 1, as seeds of integer graphs have always been read."""
        return self.source.random() * 100 < percent

    def simulated(self, *wanted: str, counts: bool = False) -> Trace:
        """A run of what some nodes need, with membranes."""
        found = None if counts else []
        return simulate_integers(self.graph(*wanted), self.arithmetic, self.inputs, membranes=True, found=found)

    def drawn(self, edge: str = "", target: str = "") -> Drawn:
        """The finished graph with its run."""
        known = self.simulated(counts=True)
        return Drawn(self.graph(), self.inputs, frozenset(self.cases), self.arithmetic, known, edge, target)
