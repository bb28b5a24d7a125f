"""Random deep networks, built from the graph's operations: up to six layers, skips, concatenations, loops, any neuron.

:func:`deep_network` draws one from a ``random.Random``; each layer's threshold is set so that it fires neither hardly
nor nearly always.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurocompile.ir import Graph, Node, interpret
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

__all__ = ["Drawn", "deep_network"]

Shape = tuple[int, ...]


@dataclass
class Drawn:
    """A network and inputs ``[N, T, ...]`` for it; ``cases`` names what it was built from."""

    graph: Graph
    inputs: dict[str, np.ndarray]
    timesteps: int
    cases: frozenset[str]


@dataclass
class _Build:
    source: random.Random
    numbers: np.random.Generator
    nodes: list[Node] = field(default_factory=list)
    cases: set[str] = field(default_factory=set)

    def chance(self, percent: int) -> bool:
        return self.source.randrange(100) < percent

    def pick(self, options: Any) -> Any:
        return options[self.source.randrange(len(options))]

    def weights(self, *shape: int) -> np.ndarray:
        return self.numbers.normal(size=shape)

    def add(self, stem: str, op: Op, *inputs: str) -> str:
        name = f"{stem}{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs))
        return name

    def shape(self, name: str) -> Shape:
        return Graph(self.nodes).edges[name].shape

    def bias(self, shape: Shape) -> np.ndarray | None:
        """None, one a channel, or one a neuron."""
        match self.pick(("none", "channel", "channel", "neuron")):
            case "channel":
                return 0.3 * self.weights(shape[0], *(1,) * (len(shape) - 1))
            case "neuron":
                self.cases.add("a bias for each neuron")
                return 0.3 * self.weights(*shape)
        return None


def deep_network(source: random.Random) -> Drawn:
    """Draw a network of one to six layers of neurons and a readout."""
    b = _Build(source, np.random.default_rng(source.getrandbits(32)))
    steps, samples = source.randint(3, 6), source.randint(2, 3)
    image = (source.randint(1, 3), source.randint(4, 6), source.randint(4, 6))
    shape = b.pick((image, image, (source.randint(4, 10),)))
    if b.chance(60):
        b.cases.add("real input")
        b.nodes.append(Node("x", Input(shape)))
        x = np.round(b.numbers.uniform(b.pick((0.0, -1.0)), 1, (samples, steps, *shape)) * 16) / 16
    else:
        b.nodes.append(Node("x", Input(shape, "spikes")))
        x = (b.numbers.random((samples, steps, *shape)) < 0.4).astype(float)
    events, inputs = ["x"], {"x": x}
    for _ in range(source.randint(1, 6)):
        events.append(_layer(b, events, inputs, steps))
    if len(events) > 3 and b.chance(25):
        _long_loop(b, events)
    _readout(b, events)
    return Drawn(Graph(b.nodes), inputs, steps, frozenset(b.cases))


def _layer(b: _Build, events: list[str], inputs: dict[str, np.ndarray], steps: int) -> str:
    """Synapses, possibly a second way in, and neurons that fire at a sensible rate."""
    last = events[-1]
    current = _synapses(b, last)
    shape = b.shape(current)
    terms = [current]
    same = [name for name in events[1:-1] if b.shape(name) == shape]
    if same and b.chance(60):
        b.cases.add("skip")
        terms.append(b.add("skip", Scale(np.asarray(b.pick((1.0, 0.5, -2.0)))), b.pick(same)))
    if len(events) > 2 and b.chance(20):
        b.cases.add("skip through weights")
        terms.append(_to_shape(b, b.pick(events[1:-1]), shape))
    feeds = current if len(terms) == 1 else b.add("add", Add(), *terms)
    name = f"n{len(b.nodes) + 8}"
    loop = b.pick(("", "", "", "", "self", "self conv"))
    if loop and not (events == ["x"] and "real input" in b.cases):  # the host could not compute it beforehand
        feeds = _loop(b, loop, name, feeds, shape)
    op = _neuron(b, shape)
    b.nodes.append(Node(name, op, (feeds,)))
    _calibrate(b, name, inputs, steps)
    if b.chance(10) and len(shape) == 3 and min(shape[1:]) > 2:
        b.cases.add("max-pool")
        return b.add("pool", MaxPool((2, 2), (b.pick((1, 2)),) * 2, ((0, 0), (0, 0)), (1, 1)), name)
    return name


def _loop(b: _Build, kind: str, name: str, feeds: str, shape: Shape) -> str:
    """Feedback from the layer itself."""
    b.cases.add(f"recurrent: {kind}")
    delay = b.add("delay", Delay(shape, b.pick((1, 1, 2, 3))), name)
    if kind == "self conv" and len(shape) == 3:
        weight = 0.5 * b.weights(shape[0], shape[0], 3, 3)
        back = b.add("back", Conv(weight, None, (1, 1), ((1, 1),) * 2, (1, 1)), delay)
    elif len(shape) == 1:
        back = b.add("back", Linear(0.5 * b.weights(shape[0], shape[0])), delay)
    else:
        back = b.add("back", Scale(np.asarray(b.pick((0.5, -0.5)))), delay)
    return b.add("sum", Add(), feeds, back)


def _long_loop(b: _Build, events: list[str]) -> None:
    """Feedback from a later layer into an earlier one, delayed by as many steps as there are synapses on the way."""
    b.cases.add("recurrent: over layers")
    first = b.source.randint(2, len(events) - 2)
    last = b.source.randint(first + 1, len(events) - 1)
    back = _to_shape(b, b.add("delay", Delay(b.shape(events[last]), last - first + 1), events[last]), (1,))
    neuron = events[first]
    while not isinstance(_node(b, neuron).op, Neuron):
        (neuron,) = _node(b, neuron).inputs
    shape = b.shape(neuron)
    spread = b.add("spread", Linear(0.3 * b.weights(int(np.prod(shape)), 1)), back)
    shaped = b.add("shaped", Reshape(shape), spread) if len(shape) > 1 else spread
    place = b.nodes.index(_node(b, neuron))
    (feeds,) = b.nodes[place].inputs
    joined = b.add("joined", Add(), feeds, shaped)
    b.nodes[place] = replace(b.nodes[place], inputs=(joined,))


def _node(b: _Build, name: str) -> Node:
    return next(node for node in b.nodes if node.name == name)


def _to_shape(b: _Build, event: str, shape: Shape) -> str:
    """A matrix from an earlier layer into this one."""
    size = int(np.prod(b.shape(event)))
    flat = b.add("flat", Reshape((size,)), event) if len(b.shape(event)) > 1 else event
    out = b.add("far", Linear(b.weights(int(np.prod(shape)), size) / np.sqrt(size)), flat)
    return b.add("unflat", Reshape(shape), out) if len(shape) > 1 else out


def _synapses(b: _Build, event: str) -> str:
    shape = b.shape(event)
    if len(shape) == 1:
        return _linear(b, event)
    kinds: dict[str, Callable[[_Build, str], str]] = {
        "conv": _conv,
        "pooled": _pooled,
        "transposed": _transposed,
        "upsampled": _upsampled,
        "concatenated": _concatenated,
        "linear": _flat_linear,
    }
    large = max(shape[1:]) > 6 or int(np.prod(shape)) > 120
    allowed = ("conv", "pooled", "linear") if large else ("conv", "conv", *kinds)
    kind = b.pick(allowed) if min(shape[1:]) > 2 else "linear"
    b.cases.add(kind)
    return kinds[kind](b, event)


def _linear(b: _Build, event: str) -> str:
    (size,) = b.shape(event)
    outputs = b.source.randint(4, 10)
    b.cases.add("linear")
    return b.add("fc", Linear(b.weights(outputs, size) / np.sqrt(size), b.bias((outputs,))), event)


def _flat_linear(b: _Build, event: str) -> str:
    return _linear(b, b.add("flat", Reshape((int(np.prod(b.shape(event))),)), event))


def _conv(b: _Build, event: str) -> str:
    channels = b.shape(event)[0]
    groups = b.pick((1, 1, channels))
    kernel = (b.source.randint(1, 3), b.source.randint(1, 3))
    dilation = (b.pick((1, 1, 2)) if kernel[0] < 3 else 1, 1)
    padding = tuple((p, p + (1 if b.chance(10) else 0)) for p in (b.source.randint(0, 1), b.source.randint(0, 1)))
    outputs = groups * b.source.randint(1, max(1, 4 // groups))
    weight = b.weights(outputs, channels // groups, *kernel) / np.sqrt(channels // groups * np.prod(kernel))
    stride = (b.pick((1, 1, 2)), b.pick((1, 1, 2)))
    out = b.add("conv", Conv(weight, None, stride, padding, dilation, groups), event)
    bias = b.bias(b.shape(out))
    b.nodes[-1] = replace(b.nodes[-1], op=replace(b.nodes[-1].op, bias=bias))  # type: ignore[type-var]
    return out


def _pooled(b: _Build, event: str) -> str:
    size = b.pick((2, 2, 3)) if min(b.shape(event)[1:]) > 2 else 2
    stride = b.pick((size, size, 1))
    pool = b.add("sum", SumPool((size, size), (stride, stride), ((0, 0), (0, 0))), event)
    mean = b.add("mean", Scale(np.asarray(1.0 / size**2)), pool)
    return _conv(b, mean) if min(b.shape(mean)[1:]) > 2 else mean


def _transposed(b: _Build, event: str) -> str:
    channels = b.shape(event)[0]
    stride = b.pick((1, 2))
    weight = b.weights(channels, b.source.randint(1, 3), b.source.randint(1, 3), 2) / np.sqrt(channels)
    extra = (stride - 1 if b.chance(30) else 0, 0)
    return b.add("up", ConvTranspose(weight, None, (stride, stride), (0, 0), extra, (1, 1)), event)


def _upsampled(b: _Build, event: str) -> str:
    up = b.add("up", Upsample((2, 2)), event)
    channels = b.shape(up)[0]
    weight = b.weights(2, channels, 3, 3) / np.sqrt(9 * channels)
    return b.add("conv", Conv(weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1)), up)


def _concatenated(b: _Build, event: str) -> str:
    """Of two layers of currents, or of an event with itself, before a convolution."""
    if b.chance(50):
        both = b.add("cat", Concat(0), event, event)
        return _conv(b, both)
    return b.add("cat", Concat(0), _conv_like(b, event), _conv_like(b, event))


def _conv_like(b: _Build, event: str) -> str:
    channels = b.shape(event)[0]
    weight = b.weights(b.source.randint(1, 2), channels, 3, 3) / np.sqrt(9 * channels)
    return b.add("conv", Conv(weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1)), event)


def _neuron(b: _Build, shape: Shape) -> Neuron:
    """Mostly one that the chip has, its threshold still to be set (1)."""
    per_channel = (shape[0], *(1,) * (len(shape) - 1))
    bias = b.bias(shape)
    op = Neuron(
        np.asarray(1.0),
        decay=np.asarray(b.pick((1.0, 0.25, float(b.numbers.uniform(0.1, 0.99))))),
        bias=np.asarray(0.0) if bias is None else 0.5 * bias,
        strict=b.chance(50),
    )
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "two decays": lambda: {"decay": b.numbers.choice([0.25, 0.5, 1.0], per_channel)},
        "current": lambda: {"current_decay": np.asarray(b.numbers.uniform(0.1, 0.9))},
        "thresholds": lambda: {"threshold": b.numbers.uniform(0.5, 2.0, per_channel)},
        "reset to a value": lambda: {"v_reset": np.asarray(-0.3), "v_init": np.asarray(-0.3)},
        "soft reset": lambda: {"reset": "by", "amount": np.asarray(1.0)},
        "decays": lambda: {"decay": b.numbers.uniform(-0.3, 1.05, per_channel)},
        "first value": lambda: {"v_init": 0.2 * b.weights(*shape)},
        "refractory": lambda: {"refractory": b.pick((1, 2, -1))},
        "deaf": lambda: {"deaf": True},
        "signed": lambda: {"negative_threshold": np.asarray(-1.0)},
        "thresholds in a map": lambda: {"threshold": b.numbers.uniform(0.7, 1.5, shape)},
        "flipped": lambda: {"flip": b.numbers.random(per_channel) < 0.3},
        "input bias": lambda: {"input_bias": 0.1 * b.weights(*per_channel), "current_decay": np.asarray(0.5)},
    }
    stock = ("", "", "", "current", "thresholds", "reset to a value", "two decays")
    kind = b.pick(stock) if b.chance(75) else b.pick(tuple(kinds))
    b.cases.add(f"neuron: {kind or 'plain'}")
    return replace(op, **kinds[kind]()) if kind else op


def _calibrate(b: _Build, name: str, inputs: dict[str, np.ndarray], steps: int) -> None:
    """Scale thresholds, biases and what belongs to them until the layer fires in 10 to 50 % of its steps."""
    node = b.nodes[-1]
    op: Any = node.op
    best: tuple[float, Any] = (np.inf, op)
    for scale in np.geomspace(0.02, 30.0, 24):
        scaled = {key: getattr(op, key) * scale for key in ("threshold", "amount", "v_reset", "v_init")}
        negative = None if op.negative_threshold is None else op.negative_threshold * scale
        tried = replace(op, **scaled, negative_threshold=negative)
        graph = Graph([*b.nodes[:-1], replace(node, op=tried), Node("seen", Output(), (name,))])
        rate = float((interpret(graph, inputs, steps).spikes[name] != 0).mean())
        best = min(best, (abs(rate - 0.25), tried), key=lambda pair: pair[0])
    b.nodes[-1] = replace(node, op=best[1])


def _readout(b: _Build, events: list[str]) -> None:
    last = events[-1]
    size = int(np.prod(b.shape(last)))
    flat = b.add("flat", Reshape((size,)), last) if len(b.shape(last)) > 1 else last
    out = b.add("out", Linear(b.weights(3, size), b.bias((3,))), flat)
    decay = b.pick((0.0, 0.0, 0.5, 1.0))
    b.cases.add(f"readout: decay {decay}")
    integrator = b.add("read", Integrator(np.asarray(decay)), out)
    b.nodes.append(Node("output", Output(b.pick(("mean", "sum", "last", "max"))), (integrator,)))
