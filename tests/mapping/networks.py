"""Integer graphs in synaptic form: small random ones, and a ResNet-20."""

from __future__ import annotations

import random

import numpy as np

from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Concat,
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
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.ir.shapes import output_shape

__all__ = ["random_graph", "resnet20"]

Shape = tuple[int, ...]


def random_graph(r: random.Random) -> Graph:
    """A few layers that read inputs, each other and themselves, wired in every way that the form allows."""
    return _Draw(r).graph()


class _Draw:
    def __init__(self, r: random.Random) -> None:
        self.r = r
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self.events: list[str] = []

    def graph(self) -> Graph:
        rank = self.r.choice([0, 1, 2, 2])
        for k in range(self.r.choice([1, 1, 2])):
            self.events.append(self.add(f"input{k}", Input((self.r.randint(1, 3), *self.sizes(rank)))))
        names = [self.layer(f"n{k}") for k in range(self.r.randint(1, 4))]
        read = self.r.choice(names)
        weights = self.add("last", Linear(self.numbers(3, int(np.prod(self.shapes[read])))), self.flat(read))
        self.add("membrane", Integrator(), weights)
        self.add("output", Output(), "membrane")
        return Graph(self.nodes)

    def sizes(self, rank: int) -> Shape:
        return tuple(self.r.randint(2, 6) for _ in range(rank))

    def numbers(self, *shape: int) -> np.ndarray:
        return np.asarray([self.r.randint(-3, 3) for _ in range(int(np.prod(shape)))]).reshape(shape)

    def add(self, name: str, op: Op, *inputs: str, shape: Shape | None = None) -> str:
        while name in self.shapes:
            name += "_"
        self.nodes.append(Node(name, op, inputs))
        if shape is None:
            if isinstance(op, Input | Delay):
                shape = op.shape
            elif isinstance(op, Neuron | Integrator | Output):
                shape = self.shapes[inputs[0]]
            else:
                shape = output_shape(op, [self.shapes[given] for given in inputs])
        self.shapes[name] = shape
        return name

    # -- a layer: currents that add up -------------------------------------------------------------------------------

    def layer(self, name: str) -> str:
        first = self.current(name, self.event())
        if self.r.random() < 0.2:
            first = self.beside(name, first)
        shape = self.shapes[first]
        terms = [first, *(self.fitting(name, shape, self.event()) for _ in range(self.r.choice([0, 0, 1, 2])))]
        loop = self.r.random() < 0.3
        if loop:
            # What the layer fired before; the neuron itself follows below.
            self.nodes.append(Node(f"{name}.before", Delay(shape, self.r.randint(1, 2)), (name,)))
            self.shapes[f"{name}.before"] = shape
            terms.append(self.fitting(name, shape, f"{name}.before"))
        fed = terms[0] if len(terms) == 1 else self.add(f"{name}.add", Add(), *terms)
        if self.r.random() < 0.3:
            fed = self.add(f"{name}.reshaped", Reshape(self.other_shape(shape)), fed)
        if loop and self.shapes[fed] != shape:
            fed = self.add(f"{name}.back", Reshape(shape), fed)
        self.nodes.append(Node(name, Neuron(np.asarray(1)), (fed,)))
        self.shapes[name] = self.shapes[fed]
        self.events.append(name)
        return name

    def beside(self, name: str, first: str) -> str:
        shape = self.shapes[first]
        axis = self.r.randrange(len(shape))
        parts = [first, self.fitting(name, shape, self.event())]
        self.r.shuffle(parts)
        return self.add(f"{name}.concat", Concat(axis), *parts)

    def current(self, name: str, event: str) -> str:
        shape = self.shapes[event]
        kind = self.r.choice(["linear", "conv", "conv", "conv", "transposed", "scale"])
        if kind == "scale":
            own = tuple(self.r.choice([1, n]) for n in shape)
            return self.add(f"{name}.w", Scale(self.numbers(*own)), event)
        if kind == "linear" or len(shape) == 1:
            return self.linear(name, event, self.r.randint(1, 12))
        op = self.convolution(shape) if kind == "conv" else self.transposed(shape)
        return self.add(f"{name}.w", op, event)

    def fitting(self, name: str, shape: Shape, event: str) -> str:
        """Some current of a given shape: the events one by one if they have it, else a matrix."""
        if self.shapes[event] == shape and self.r.random() < 0.7:
            if len(shape) > 1 and self.r.random() < 0.5:
                k = self.r.choice([1, 3])
                rank = len(shape) - 1
                weight = self.numbers(shape[0], shape[0], *(k,) * rank)
                ones, pads = (1,) * rank, ((k // 2, k // 2),) * rank
                return self.add(f"{name}.w", Conv(weight, None, ones, pads, ones), event)
            return self.add(f"{name}.w", Scale(self.numbers(shape[0], *(1,) * (len(shape) - 1))), event)
        found = self.linear(name, event, int(np.prod(shape)))
        return self.add(f"{name}.shaped", Reshape(shape), found) if len(shape) > 1 else found

    def linear(self, name: str, event: str, outputs: int) -> str:
        event = self.flat(event)
        weight = self.numbers(outputs, self.shapes[event][0])
        stored = None
        if self.r.random() < 0.5:
            stored = np.asarray([self.r.random() < 0.4 for _ in range(weight.size)]).reshape(weight.shape)
            stored[:, 0] = True
        return self.add(f"{name}.w", Linear(weight, None, stored), event)

    def convolution(self, shape: Shape) -> Conv:
        rank = len(shape) - 1
        groups = self.r.choice([1, shape[0]])
        kernel = tuple(self.r.randint(1, min(3, n)) for n in shape[1:])
        pads = tuple((self.r.randint(0, 1), self.r.randint(0, 1)) for _ in range(rank))
        stride = tuple(self.r.choice([1, 1, 2, 3]) for _ in range(rank))
        dilation = tuple(2 if n >= 2 * k - 1 and self.r.random() < 0.3 else 1 for n, k in zip(shape[1:], kernel))
        weight = self.numbers(groups * self.r.randint(1, 2), shape[0] // groups, *kernel)
        return Conv(weight, None, stride, pads, dilation, groups)

    def transposed(self, shape: Shape) -> ConvTranspose:
        rank = len(shape) - 1
        groups = self.r.choice([1, shape[0]])
        kernel = tuple(self.r.randint(1, 3) for _ in range(rank))
        stride = tuple(self.r.choice([1, 2]) for _ in range(rank))
        padding = tuple(self.r.randint(0, (k - 1) // 2) for k in kernel)
        extra = tuple(self.r.randint(0, s - 1) for s in stride)
        weight = self.numbers(shape[0], self.r.randint(1, 2), *kernel)
        return ConvTranspose(weight, None, stride, padding, extra, (1,) * rank, groups)

    # -- events --------------------------------------------------------------------------------------------------------

    def event(self) -> str:
        name = self.r.choice(self.events)
        shape = self.shapes[name]
        rank = len(shape) - 1
        match self.r.choice(["", "", "", "max", "sum", "up", "delay", "reshape", "concat", "add"]):
            case "max" if rank and min(shape[1:]) >= 2:
                pads = ((self.r.randint(0, 1), 0),) * rank
                op: Op = MaxPool((2,) * rank, (self.r.randint(1, 2),) * rank, pads, (1,) * rank)
            case "sum" if rank and min(shape[1:]) >= 2:
                op = SumPool((2,) * rank, (self.r.randint(1, 3),) * rank, ((0, 0),) * rank)
            case "up" if rank and np.prod(shape) <= 40:
                op = Upsample((self.r.randint(1, 2),) * rank)
            case "delay":
                op = Delay(shape, self.r.randint(1, 3))
            case "reshape":
                op = Reshape(self.other_shape(shape))
            case "concat" if np.prod(shape) <= 40:
                others = [other for other in self.events if self.shapes[other] == shape]
                return self.add("joined", Concat(self.r.randrange(rank + 1)), name, self.r.choice(others))
            case "add":
                others = [other for other in self.events if self.shapes[other] == shape]
                return self.add("sum", Add(), name, self.r.choice(others))
            case _:
                return name
        made = self.add("event", op, name)
        self.events.append(made)
        return made

    def flat(self, event: str) -> str:
        shape = self.shapes[event]
        return event if len(shape) == 1 else self.add("flat", Reshape((int(np.prod(shape)),)), event)

    def other_shape(self, shape: Shape) -> Shape:
        size = int(np.prod(shape))
        whole = [k for k in (2, 3) if size % k == 0]
        return self.r.choice([(size,), *((k, size // k) for k in whole), *((size // k, k) for k in whole)])


def resnet20(widths: tuple[int, int, int], size: int = 32) -> Graph:
    """A ResNet-20 with residual blocks of spikes: skips are scales, or strided 1x1 convolutions."""
    numbers = np.random.default_rng(0)
    nodes = [Node("input", Input((3, size, size)))]

    def conv(name: str, event: str, out: int, given: int, kernel: int, stride: int) -> str:
        weight = numbers.integers(-127, 128, (out, given, kernel, kernel))
        pads = ((kernel // 2, kernel // 2),) * 2
        nodes.append(Node(name, Conv(weight, None, (stride, stride), pads, (1, 1)), (event,)))
        return name

    def neuron(name: str, *currents: str) -> str:
        if len(currents) > 1:
            nodes.append(Node(f"{name}.add", Add(), currents))
            currents = (f"{name}.add",)
        nodes.append(Node(name, Neuron(np.asarray(100)), currents))
        return name

    event, given = neuron("stem", conv("stem.conv", "input", widths[0], 3, 3, 1)), widths[0]
    for stage, width in enumerate(widths):
        for block in range(3):
            name, stride = f"stage{stage}.{block}", 2 if stage and not block else 1
            first = neuron(f"{name}.first", conv(f"{name}.conv1", event, width, given, 3, stride))
            currents = [conv(f"{name}.conv2", first, width, width, 3, 1)]
            if stride == 2:
                currents.append(conv(f"{name}.skip", event, width, given, 1, 2))
            else:
                nodes.append(Node(f"{name}.skip", Scale(np.asarray(3)), (event,)))
                currents.append(f"{name}.skip")
            event, given = neuron(f"{name}.second", *currents), width
    features = given * (size // 4) ** 2
    nodes += [
        Node("flat", Reshape((features,)), (event,)),
        Node("classes", Linear(numbers.integers(-127, 128, (10, features))), ("flat",)),
        Node("membrane", Integrator(), ("classes",)),
        Node("output", Output(), ("membrane",)),
    ]
    return Graph(nodes)
