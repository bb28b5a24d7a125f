"""Random networks for nc1, with inputs, and chips of random sizes for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Array,
    Conv,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    Scale,
)
from neurocompile.ir.trace import Trace
from neurocompile.mapping.placement import in_order
from neurocompile.program import Program
from neurocompile.simulator.reference import simulate_integers
from neurocompile.targets import load_target
from neurocompile.targets.nc1.chip import Nc1, Parameters, map_to_nc1, usual

__all__ = ["MESHES", "Case", "random_case", "random_chip"]

LOW, HIGH = 0.02, 0.8
MESHES = ((1, 1), (2, 2), (4, 4))
_ONE = 1 << 16


@dataclass(frozen=True)
class Case:
    """A program, its inputs ``[N, T, *shape]``, what the reference says that it does, and what was meant by it.

    ``mood`` is "ordinary" (every layer fires now and then), "burst" (every neuron at every step) or "silent".
    """

    program: Program
    inputs: dict[str, Array]
    known: Trace
    mood: str

    @property
    def firing_rates(self) -> dict[str, float]:
        """The share of steps in which a neuron of each layer fires."""
        return {name: float((spikes != 0).mean()) for name, spikes in self.known.spikes.items()}

    @property
    def is_calibrated(self) -> bool:
        """Whether every layer fires neither hardly nor nearly always."""
        return all(LOW <= rate <= HIGH for rate in self.firing_rates.values())


def random_case(r: random.Random, large: bool = False) -> Case:
    """Draw a network of one to four layers; convolutions, matrices, skips, loops, delays, pools, several readers.

    Large ones have some hundred neurons at least, to fill a mesh of 16 cores.
    """
    mood = r.choices(("ordinary", "burst", "silent"), (10, 1, 1))[0]
    timesteps, samples = r.randint(1, 6), r.randint(1, 3)
    nodes: dict[str, Node] = {}
    spikes_in = r.random() < 0.4
    low, high = (0, 1) if spikes_in else r.choice(((0, 31), (-20, 20), (0, 255)))
    rows, columns = ((6, 8), (5, 7)) if large else ((3, 4, 6), (3, 5))
    shape = (r.choice((1, 2, 3)), r.choice(rows), r.choice(columns))
    nodes["x"] = Node("x", Input(shape, "spikes" if spikes_in else "real", 1.0, low, high))
    numbers = np.random.default_rng(r.getrandbits(64))
    size = (samples, timesteps, *shape)
    x = numbers.integers(low, high + 1, size) * (numbers.random(size) < r.choice((0.2, 0.6, 1.0)))
    inputs = {"x": x.astype(np.int64)}
    last = "x"
    shapes = {"x": shape}
    layers: list[str] = []
    for number in range(r.randint(2 if large else 1, 4)):
        name = f"layer{number}"
        current, shapes[name] = _current(r, numbers, nodes, shapes, name, last)
        extra = [current]
        for earlier in layers:
            if shapes[earlier] == shapes[name] and r.random() < 0.5:
                source = _delayed(r, nodes, name, earlier) if r.random() < 0.3 else earlier
                nodes[f"{name}.skip.{earlier}"] = Node(
                    f"{name}.skip.{earlier}", Scale(_weights(numbers, ())), (source,)
                )
                extra.append(f"{name}.skip.{earlier}")
        if r.random() < 0.3:
            extra.append(_loop(r, numbers, nodes, name, shapes[name]))
        if len(extra) > 1:
            nodes[f"{name}.sum"] = Node(f"{name}.sum", Add(), tuple(extra))
            current = f"{name}.sum"
        nodes[name] = Node(name, _neuron(r, numbers, shapes[name]), (current,))
        layers.append(name)
        last = name
        if len(shapes[name]) == 3 and min(shapes[name][1:]) >= 2 and r.random() < 0.25:
            pool = f"{name}.pool"
            nodes[pool] = Node(pool, MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)), (last,))
            channels, rows, columns = shapes[name]
            shapes[pool], last = (channels, rows // 2, columns // 2), pool
    if r.random() < 0.7:
        current, _ = _matrix(numbers, nodes, shapes, "out", last, r.randint(2, 10))
        decay = np.asarray(r.choice((0, _ONE, 50_000)))
        nodes["out"] = Node(
            "out", Integrator(decay, np.asarray(1), np.asarray(r.randint(-99, 99)), r.choice((0, 3))), (current,)
        )
        nodes["output"] = Node("output", Output("mean"), ("out",))
    else:
        nodes["output"] = Node("output", Output("sum"), (last,))
    return _calibrated(r, nodes, inputs, timesteps, mood)


def random_chip(r: random.Random, program: Program, mesh: tuple[int, int], parameters: Mapping[str, Any]) -> Nc1:
    """The program on a mesh, spread over as many cores as there are (or nearly), in a random order."""
    base = usual(mesh_x=mesh[0], mesh_y=mesh[1], **parameters)
    held, found = base.neurons, None
    while held >= base.lanes:
        try:
            found = map_to_nc1(program, replace(base, neurons=held))
        except DoesNotFit:
            break
        held //= 2
        if r.random() < 0.15:
            break
    if found is None:
        raise DoesNotFit(map_error(program, base))
    places = list(range(base.cores))
    if r.random() < 0.7:
        r.shuffle(places)
    place = in_order(found.partition.cores, base.mesh)
    return replace(found, parameters=base).moved(np.asarray(places)[place])


def map_error(program: Program, parameters: Parameters) -> Any:
    """Why it does not fit."""
    try:
        map_to_nc1(program, parameters)
    except DoesNotFit as error:
        return error.problems
    raise AssertionError("it fits")


def _weights(numbers: Any, shape: tuple[int, ...]) -> Array:
    return np.asarray(numbers.integers(-127, 128, shape))


def _current(
    r: random.Random, numbers: Any, nodes: dict[str, Node], shapes: dict[str, tuple[int, ...]], name: str, last: str
) -> tuple[str, tuple[int, ...]]:
    shape = shapes[last]
    if len(shape) == 1 or r.random() < 0.3:
        return _matrix(numbers, nodes, shapes, name, last, r.choice((3, 8, 17, 40)))
    channels, rows, columns = shape
    groups = channels if r.random() < 0.2 else 1
    out = groups * r.randint(1, 2) if groups > 1 else r.choice((2, 4, 9, 16))
    kernel = min(r.choice((1, 2, 3)), rows, columns)
    stride = r.choice((1, 1, 2))
    pad = ((r.randint(0, 1), 1), (1, r.randint(0, 1))) if kernel > 1 else ((0, 0), (0, 0))
    op = Conv(_weights(numbers, (out, channels // groups, kernel, kernel)), None, (stride, stride), pad, (1, 1), groups)
    nodes[f"{name}.w"] = Node(f"{name}.w", op, (last,))
    reach = [(n + sum(p) - kernel) // stride + 1 for n, p in zip((rows, columns), pad)]
    return f"{name}.w", (out, *reach)


def _matrix(
    numbers: Any, nodes: dict[str, Node], shapes: dict[str, tuple[int, ...]], name: str, last: str, out: int
) -> tuple[str, tuple[int, ...]]:
    size = int(np.prod(shapes[last]))
    if len(shapes[last]) > 1:
        nodes[f"{name}.flat"] = Node(f"{name}.flat", Reshape((size,)), (last,))
        last = f"{name}.flat"
    nodes[f"{name}.w"] = Node(f"{name}.w", Linear(_weights(numbers, (out, size))), (last,))
    return f"{name}.w", (out,)


def _delayed(r: random.Random, nodes: dict[str, Node], name: str, source: str) -> str:
    delay = f"{name}.late.{source}"
    nodes[delay] = Node(delay, Delay(_shape_of(nodes, source), r.randint(1, 2)), (source,))
    return delay


def _shape_of(nodes: dict[str, Node], name: str) -> tuple[int, ...]:
    found: tuple[int, ...] = Graph(nodes.values()).edges[name].shape
    return found


def _loop(r: random.Random, numbers: Any, nodes: dict[str, Node], name: str, shape: tuple[int, ...]) -> str:
    """A layer that hears itself: each neuron itself, or all all."""
    back, size = f"{name}.back", int(np.prod(shape))
    nodes[back] = Node(back, Delay(shape, r.randint(1, 2)), (name,))
    if len(shape) > 1 or r.random() < 0.5:
        nodes[f"{name}.own"] = Node(f"{name}.own", Scale(_weights(numbers, ())), (back,))
    else:
        nodes[f"{name}.own"] = Node(f"{name}.own", Linear(_weights(numbers, (size, size))), (back,))
    return f"{name}.own"


def _neuron(r: random.Random, numbers: Any, shape: tuple[int, ...]) -> Neuron:
    each = r.choice(((), (shape[0], *(1,) * (len(shape) - 1)), shape))

    def drawn(low: int, high: int, often: float = 0.5) -> Array:
        return numbers.integers(low, high + 1, each) if r.random() < often else np.asarray(0)

    reset = r.choice(("to", "by", "none"))
    return Neuron(
        threshold=np.asarray(1),
        current_decay=np.asarray(0),
        gain=np.asarray(1),
        input_bias=np.asarray(0),
        decay=np.asarray(r.choice((0, _ONE, _ONE // 2, _ONE // 4, 60_000, -20_000, 90_000))),
        bias=drawn(-300, 300),
        strict=r.random() < 0.3,
        flip=numbers.random(each) < 0.3 if r.random() < 0.3 else np.asarray(False),
        reset=reset,
        v_reset=drawn(-200, 200, 0.3),
        amount=numbers.integers(0, 400, each) if reset == "by" else np.asarray(0),
        keep=np.asarray(_ONE),
        v_init=drawn(-200, 200, 0.3),
        shift=r.choice((-3, -1, 0, 0, 2)),
    )


def _calibrated(r: random.Random, nodes: dict[str, Node], inputs: dict[str, Array], timesteps: int, mood: str) -> Case:
    """Thresholds, layer by layer, between the membranes that occur (some at most 0); or below or above all."""
    arithmetic = load_target("nc1").arithmetic
    assert arithmetic is not None
    for name, node in list(nodes.items()):
        if not isinstance(node.op, Neuron):
            continue
        graph = Graph(nodes.values())
        run = simulate_integers(graph, arithmetic, inputs, membranes=True)
        seen = run.membranes[name].astype(np.float64)
        flat = seen.reshape(-1, *seen.shape[2:])
        if mood == "ordinary":
            threshold = (
                np.quantile(flat, r.uniform(0.4, 0.9), axis=0)
                if r.random() < 0.5
                else np.quantile(flat, r.uniform(0.4, 0.9))
            )
            flipped = np.quantile(flat, 0.3)
        else:
            threshold = np.asarray(-(1 << 23) if mood == "burst" else (1 << 23) - 1)
            flipped = -threshold
        threshold = np.where(node.op.flip, flipped, threshold) if np.any(node.op.flip) else threshold
        nodes[name] = replace(node, op=replace(node.op, threshold=np.rint(threshold).astype(np.int64)))
    graph = Graph(nodes.values())
    known = simulate_integers(graph, arithmetic, inputs, membranes=True)
    return Case(Program("nc1", arithmetic, timesteps, graph, graph, {}), inputs, known, mood)
