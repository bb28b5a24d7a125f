"""A .nir file run as its dialect runs it, step by step in float64: the reference that its graph is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.nir.dialects import Dialect
from neurocompile.frontends.nir.network import Network
from neurocompile.frontends.nir.nodes import (
    Cell,
    Convolution,
    Delayed,
    Flatten,
    Node,
    Pool,
    Port,
    Scaling,
    Threshold,
    Weights,
)
from neurocompile.frontends.nir.steps import Step, step_of, steps_of_delay
from neurocompile.ir.ops import Array

__all__ = ["Ran", "Runner"]


@dataclass
class Ran:
    """What was seen, ``[N, T, *shape]`` by node: what outputs read, spikes, and the membrane above its threshold.

    Spikes are those of the membrane at each step; in a dialect whose comparison sees the step before, the node gives
    them one step later. Where a threshold counts twice, ``NAME.again`` tells that the membrane stays above it.
    """

    outputs: dict[str, Array] = field(default_factory=dict)
    spikes: dict[str, Array] = field(default_factory=dict)
    margins: dict[str, Array] = field(default_factory=dict)


class Runner:
    """One reading of a network.

    Args:
        network: the file.
        dialect: how it is read.
        problems: where all goes that the reading makes no step of; None: it is raised.

    Raises:
        UnsupportedModel: with all of that.
    """

    def __init__(self, network: Network, dialect: Dialect, problems: list[Problem] | None = None) -> None:
        self.network, self.dialect = network.past_recurrence() if dialect.after else network, dialect
        self.steps: dict[str, Step] = {}
        self.delays: dict[str, Array] = {}
        raised = problems is None
        problems = [] if problems is None else problems
        for name, node in network.nodes.items():
            try:
                if isinstance(node, Cell):
                    self.steps[name] = step_of(node, dialect, name)
                elif isinstance(node, Delayed):
                    self.delays[name] = steps_of_delay(node.delay, dialect, name)
            except UnsupportedModel as error:
                problems += error.problems
        if problems and raised:
            raise UnsupportedModel(problems)

    def threshold(self, name: str) -> float:
        """The size of a neuron's threshold."""
        node = self.network.nodes[name.removesuffix(".again") if name not in self.network.nodes else name]
        value = node.threshold if isinstance(node, Threshold) else getattr(node, "v_threshold", None)
        return float(np.max(np.abs(value))) if value is not None else 0.0

    @cached_property
    def order(self) -> Sequence[str]:
        """Nodes after those that they read in the same step."""
        late = self.network.back_edges()
        graph: nx.DiGraph = nx.DiGraph()
        graph.add_nodes_from(sorted(self.network.nodes))
        graph.add_edges_from((a, b) for b, read in self.network.sources.items() for a in read if (a, b) not in late)
        return list(nx.lexicographical_topological_sort(graph))

    def run(self, inputs: Mapping[str, Array], timesteps: int) -> Ran:
        """From rest, on ``inputs[name][N, T, *shape]``."""
        batch = len(next(iter(inputs.values())))
        late = self.network.back_edges()
        shapes = {name: (batch, *shape) for name, shape in self.network.shapes.items()}
        state = {name: _State(step, shapes[name]) for name, step in self.steps.items()}
        state |= {
            name: _State(_of_threshold(node), shapes[name])
            for name, node in self.network.nodes.items() if isinstance(node, Threshold)
        }  # fmt: skip
        before = {name: np.zeros(shapes[name]) for name in self.network.nodes}
        heard: dict[str, list[Array]] = {name: [] for name in self.delays}
        ran = Ran()
        for t in range(timesteps):
            now: dict[str, Array] = {}
            soon = {name: each.fired for name, each in state.items() if each.step_.after}  # which these give anyhow
            for name in self.order:
                node = self.network.nodes[name]
                parts = [
                    (now if (a, name) not in late else soon if a in soon else before)[a]
                    for a in self.network.sources[name]
                ]
                x = np.asarray(inputs[name][:, t], np.float64) if not parts else sum(parts[1:], start=parts[0])
                if name in state:
                    now[name] = state[name].step(x)
                elif name in heard:
                    heard[name].append(x)
                    now[name] = _past(heard[name], np.broadcast_to(self.delays[name], shapes[name][1:]))
                else:
                    now[name] = _stateless(node, x, shapes[name])
                if isinstance(node, Port) and node.kind == "Output":
                    ran.outputs.setdefault(name, np.zeros((batch, timesteps, *shapes[name][1:])))[:, t] = now[name]
            before = now
        for name, each in state.items():
            if each.step_.threshold is not None:
                ran.spikes[name] = np.stack(each.spikes, 1)
                ran.margins[name] = np.stack(each.margins, 1)
            if each.again:
                again = np.stack(each.again, 1)
                ran.spikes[f"{name}.again"], ran.margins[f"{name}.again"] = (again > 0).astype(float), again
        return ran


class _State:
    """What a cell keeps from step to step, and what was seen of it."""

    def __init__(self, step: Step, shape: tuple[int, ...]) -> None:
        self.step_ = step
        self.i = np.zeros(shape)
        self.v = np.broadcast_to(step.start, shape).astype(np.float64)
        self.fired = np.zeros(shape)
        self.spikes: list[Array] = []
        self.margins: list[Array] = []
        self.again: list[Array] = []  # of a threshold that counts twice: how far above it the membrane stays

    def step(self, x: Array) -> Array:
        """What the cell gives for what it hears."""
        s = self.step_
        if s.filters:
            self.i = s.current_decay * self.i + s.current_gain * x
        drive = s.gain * (self.i if s.filters else x) + s.bias
        if s.threshold is None:
            self.v = s.decay * self.v + drive
            return self.v
        if s.after:
            return self._seen_before(drive)
        if s.reset == "hard-late":
            heard = np.where(self.fired != 0, s.bias, drive)
            h = s.decay * np.where(self.fired != 0, s.v_reset, self.v) + heard
        else:
            h = s.decay * self.v + drive
            h = h - self.fired * s.threshold if s.reset == "soft-late" else h
        compared = h - s.threshold * (self.v > s.threshold) if s.twice else h
        self.fired = self._compared(compared)
        self.v = h
        if s.reset == "soft":
            self.v = h - self.fired * s.threshold
        elif s.reset == "hard":
            self.v = np.where(self.fired != 0, s.v_reset, h)
        if s.twice:
            self.again.append(self.v - s.threshold)
        return self.fired

    def _seen_before(self, drive: Array) -> Array:
        """The comparison saw the membrane of the step before; what is kept is what the next one will see."""
        s, fired = self.step_, self.fired
        assert s.threshold is not None
        if s.reset == "soft":
            taken = fired * s.threshold
            self.v = s.decay * self.v + drive - taken if s.after == "leaked" else s.decay * (self.v - taken) + drive
        else:
            self.v = s.decay * (np.where(fired != 0, s.v_reset, self.v) if s.reset == "hard" else self.v) + drive
        self.fired = self._compared(self.v)
        return fired

    def _compared(self, h: Array) -> Array:
        s = self.step_
        assert s.threshold is not None
        fired = (h > s.threshold if s.strict else h >= s.threshold).astype(np.float64)
        nearest = s.threshold
        if s.many:
            held = h / s.threshold
            fired = np.where(h > 0, np.ceil(held) - 1 if s.strict else np.trunc(held), 0.0)
            nearest = s.threshold * np.maximum(np.rint(held), 1)
        self.spikes.append(fired)
        self.margins.append(h - nearest)
        return fired


def _of_threshold(node: Threshold) -> Step:
    zero, one = np.asarray(0.0), np.asarray(1.0)
    return Step(False, zero, one, zero, one, zero, zero, node.threshold, zero, True, "none", False, False, "")


def _past(heard: Sequence[Array], steps: Array) -> Array:
    found = np.zeros_like(heard[-1])
    for each in np.unique(steps):
        if each < len(heard):
            found = np.where(steps == each, heard[len(heard) - 1 - int(each)], found)
    return found


def _stateless(node: Node, x: Array, shape: tuple[int, ...]) -> Array:
    match node:
        case Weights():
            y = x @ node.weight.T
            return y if node.bias is None else y + node.bias
        case Scaling():
            return x * node.scale
        case Convolution():
            return _convolved(node, x)
        case Pool():
            windows: Array = _windows(x, node.kernel, node.stride, [(n, n) for n in node.padding], (1, 1))
            return np.asarray(windows.mean((-2, -1)) if node.mean else windows.sum((-2, -1)))
        case Flatten():
            return x.reshape(shape)
        case _:
            return x


def _windows(
    x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> Array:
    """``[N, C, *places, *kernel]``."""
    axes = len(kernel)
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    seen = sliding_window_view(x, reach, tuple(range(2, 2 + axes)))
    return seen[
        (slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    ]


def _convolved(node: Convolution, x: Array) -> Array:
    kernel = node.weight.shape[2:]
    windows = _windows(x, kernel, node.stride, node.padding, node.dilation)
    axes, width = len(kernel), node.weight.shape[1]
    parts = []
    for group, weight in enumerate(np.split(node.weight, node.groups)):
        of_group = windows[:, group * width : (group + 1) * width]
        summed = tuple(range(of_group.ndim - axes, of_group.ndim))
        parts.append(np.tensordot(of_group, weight, ((1, *summed), (1, *range(2, 2 + axes)))))
    y = np.moveaxis(np.concatenate(parts, -1), -1, 1)
    return y if node.bias is None else y + node.bias.reshape(-1, *(1,) * axes)
