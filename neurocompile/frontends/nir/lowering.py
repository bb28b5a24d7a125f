"""A network of NIR as a graph: every cell a neuron, every reading an equation that chips know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.nir.dialects import Dialect
from neurocompile.frontends.nir.network import Network
from neurocompile.frontends.nir.nodes import (
    Cell,
    Convolution,
    Delayed,
    Flatten,
    Pool,
    Port,
    Scaling,
    Threshold,
    Weights,
)
from neurocompile.frontends.nir.running import Runner
from neurocompile.frontends.nir.steps import Step, step_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.graph import Node as Placed
from neurocompile.ir.ops import (
    MOST_SPIKES,
    Add,
    Array,
    Conv,
    Delay,
    Input,
    Integrator,
    Linear,
    Neuron,
    Op,
    Output,
    Read,
    Reshape,
    Scale,
    SumPool,
)

__all__ = ["lowered", "neuron_alone", "surveyed"]


def lowered(network: Network, dialect: Dialect, carries: str, read: Read | None) -> Graph:
    """The graph of a network, read by a dialect.

    Args:
        network: the file.
        dialect: how it is read.
        carries: "real" or "spikes": what its inputs are.
        read: how outputs are read; None: their mean.

    Raises:
        UnsupportedModel: with everything that no chip's equation says.
    """
    graph, problems = surveyed(network, dialect, carries, read)
    if problems:
        raise UnsupportedModel(problems)
    return graph


def surveyed(network: Network, dialect: Dialect, carries: str, read: Read | None) -> tuple[Graph, list[Problem]]:
    """As :func:`lowered`, with ordinary neurons in place of those that no equation says, and why that is so."""
    making = _Making(network, dialect, carries, read)
    for name in making.runner.order:
        making.add(name)
    return Graph(making.nodes.values()), making.problems


def neuron_alone(cell: Cell, dialect: Dialect, where: str) -> Neuron | None:
    """A cell that fires as a neuron, whatever stands around it; None for what never does.

    Raises:
        UnsupportedModel: if no equation says it.
    """
    step = step_of(cell, dialect, where)
    if step.many and (problem := _no_many(where, step)):
        raise UnsupportedModel(problem)
    return None if step.threshold is None else _neuron(step, cell.shape)


class _Making:
    def __init__(self, network: Network, dialect: Dialect, carries: str, read: Read | None) -> None:
        self.carries, self.read = carries, read
        self.problems: list[Problem] = []
        self.runner = Runner(network, dialect, self.problems)
        self.network = self.runner.network
        self.late = self.network.back_edges()
        self.nodes: dict[str, Placed] = {}
        self.given: dict[str, str] = {}  # the graph's node that gives what a node of the file gives

    def put(self, name: str, op: Op, *inputs: str) -> str:
        """A node of the graph, under a name that is free."""
        free = name
        while free in self.nodes:
            free += "_"
        self.nodes[free] = Placed(free, op, inputs)
        return free

    def add(self, name: str) -> None:
        node, shape = self.network.nodes[name], self.network.shapes[name]
        if isinstance(node, Port) and node.kind == "Input":
            self.given[name] = self.put(name, Input(shape, "spikes" if self.carries == "spikes" else "real"))
            return
        x = self._heard(name)
        match node:
            case Port():
                self.put(name, Output(self.read or "mean"), self.put(f"{name}.integrator", Integrator(), x))
                self.given[name] = x
            case Weights():
                self.given[name] = self.put(name, Linear(node.weight, node.bias), x)
            case Scaling():
                self.given[name] = self.put(name, Scale(_reaching(node.scale, shape)), x)
            case Convolution():
                bias = None if node.bias is None else node.bias.reshape(-1, *(1,) * (len(shape) - 1))
                conv = Conv(node.weight, bias, node.stride, node.padding, node.dilation, node.groups)
                self.given[name] = self.put(name, conv, x)
            case Pool():
                self.given[name] = self._pool(name, node, x)
            case Flatten():
                self.given[name] = self.put(name, Reshape(shape), x)
            case Delayed():
                steps = self.runner.delays.get(name, np.ones((), np.int64))
                self.given[name] = self._delay(name, steps, x)
            case Threshold():
                above = Neuron(_reaching(node.threshold, shape), decay=np.asarray(0.0), strict=True, reset="none")
                self.given[name] = self.put(name, above, x)
            case Cell() if name in self.runner.steps:
                self.given[name] = self._cell(name, self.runner.steps[name], x)
            case Cell():
                self.given[name] = self._ordinary(name, x)

    def _ordinary(self, name: str, x: str) -> str:
        """In place of a neuron that is refused, so that what stands around it can be judged."""
        return self.put(name, Neuron(np.asarray(1.0), strict=True), x)

    def _heard(self, name: str) -> str:
        """All that a node reads, added up."""
        read = []
        for source in self.network.sources[name]:
            if (source, name) in self.late and self._is_after(source):
                read.append(f"{source}.after")
            elif (source, name) in self.late:
                waiting = f"{source}.before"
                if waiting not in self.nodes:
                    # What is read will be there: a delay may stand before it.
                    self.nodes[waiting] = Placed(waiting, Delay(self.network.shapes[source]), (self._fires(source),))
                read.append(waiting)
            else:
                read.append(self.given[source])
        return read[0] if len(read) == 1 else self.put(f"{name}.sum", Add(), *read)

    def _fires(self, name: str) -> str:
        """What a node gives, by the name that it will have."""
        return self.given.get(name, f"{name}.after" if self._is_after(name) else name)

    def _is_after(self, name: str) -> bool:
        return name in self.runner.steps and bool(self.runner.steps[name].after)

    def _pool(self, name: str, node: Pool, x: str) -> str:
        op = SumPool(node.kernel, node.stride, tuple((n, n) for n in node.padding))
        if not node.mean:
            return self.put(name, op, x)
        return self.put(name, Scale(np.asarray(1.0 / np.prod(node.kernel))), self.put(f"{name}.window", op, x))

    def _delay(self, name: str, steps: Array, x: str) -> str:
        shape = self.network.shapes[name]
        each = np.broadcast_to(_reaching(steps, shape), shape)
        parts = []
        for count in np.unique(each):
            late = x if count == 0 else self.put(f"{name}.by{count}", Delay(shape, int(count)), x)
            whole = bool((each == count).all())
            parts.append(late if whole else self.put(f"{name}.of{count}", Scale((each == count).astype(float)), late))
        return parts[0] if len(parts) == 1 else self.put(name, Add(), *parts)

    # -- cells -----------------------------------------------------------------------------------------------------

    def _cell(self, name: str, step: Step, x: str) -> str:
        shape = self.network.shapes[name]
        if step.many and (problem := _no_many(name, step)):
            self.problems.append(problem)
            return self._ordinary(name, x)
        if (step.current_gain != 1).any() and step.filters:
            x = self.put(f"{name}.current", Scale(_reaching(step.current_gain, shape)), x)
        if step.threshold is None:
            return self._membrane(name, step, x)
        if step.twice:
            return self._twice(name, step, x)
        found = self.put(name, _neuron(step, shape), x)
        return self.put(f"{name}.after", Delay(shape), found) if step.after else found

    def _membrane(self, name: str, step: Step, x: str) -> str:
        """A membrane that never fires starts at 0: where it starts elsewhere, it is counted from there."""
        shape = self.network.shapes[name]
        if step.filters:
            x = self.put(f"{name}.synapse", Integrator(_reaching(step.current_decay, shape)), x)
        decay, gain, bias = (_reaching(value, shape) for value in (step.decay, step.gain, step.bias))
        if not np.any(step.start):
            return self.put(name, Integrator(decay, gain, bias), x)
        start = _reaching(step.start, shape)
        shifted = self.put(f"{name}.shifted", Integrator(decay, gain, bias + (decay - 1) * start), x)
        return self.put(name, Scale(np.ones(()), start), shifted)

    def _twice(self, name: str, step: Step, x: str) -> str:
        """Two neurons: one that fires, and one that tells whether its membrane is above the threshold all the same.

        The first compares ``u - R thr``, where R is what the second said a step ago; what R took off is given back in
        the step after. A synaptic current would go on with what is given to it, and is given the rest of that back.
        """
        shape = self.network.shapes[name]
        assert step.threshold is not None
        threshold, decay = _reaching(step.threshold, shape), _reaching(step.decay, shape)
        driven = self.put(f"{name}.heard", Scale(_reaching(step.gain, shape)), x) if (step.gain != 1).any() else x
        filtered = _reaching(step.current_decay, shape) if step.filters else np.asarray(0.0)
        again = f"{name}.again"
        taken = self._past(again, again, shape, {1: -threshold, 2: (decay + filtered) * threshold,
                                                 3: -filtered * decay * threshold})  # fmt: skip
        heard = self.put(f"{name}.sum_", Add(), driven, *taken)
        bias, start = _reaching(step.bias, shape), _reaching(step.start, shape)
        told = Neuron(
            threshold, decay=decay, current_decay=filtered, bias=bias, strict=step.strict, reset="none", v_init=start
        )
        fires = self.put(name, replace(told, reset="by", amount=threshold), heard)
        spent = self._past(f"{again}.spent", fires, shape, {0: -threshold, 1: filtered * threshold})
        left = self.put(f"{again}.sum", Add(), driven, *spent)
        self.nodes[again] = Placed(again, told, (left,))
        return fires

    def _past(self, name: str, source: str, shape: Sequence[int], weights: Mapping[int, Array]) -> list[str]:
        """What a source gave so many steps ago, each times a weight."""
        found = []
        for steps, weight in weights.items():
            if np.any(weight):
                late = self.put(f"{name}.{steps}", Delay(tuple(shape), steps), source) if steps else source
                found.append(self.put(f"{name}.by{steps}", Scale(weight), late))
        return found


def _no_many(name: str, step: Step) -> Problem | None:
    """Why a neuron that fires several spikes a step cannot be one of a graph."""
    one = "--spikes one"
    if step.threshold is not None and np.any(step.threshold <= 0):
        least = f"{float(np.min(step.threshold)):g}"
        return Problem("a threshold that is not above 0 fits any number of times", name, least, "above 0", one)
    if step.twice or step.reset == "soft-late" or (step.after == "leaked" and step.reset == "soft"):
        return Problem("it fires several spikes a step, and takes them off in the next one", name, fix=one)
    return None


def _neuron(step: Step, shape: Sequence[int]) -> Neuron:
    assert step.threshold is not None
    threshold, decay = _reaching(step.threshold, shape), _reaching(step.decay, shape)
    late = step.reset == "soft-late" or (step.after == "leaked" and step.reset == "soft")
    soft = step.reset in ("soft", "soft-late")
    return Neuron(
        threshold,
        decay=decay,
        current_decay=_reaching(step.current_decay, shape),
        gain=_reaching(step.gain, shape),
        bias=_reaching(step.bias, shape),
        strict=step.strict,
        reset="none" if step.reset == "none" else "by" if soft else "to",
        v_reset=_reaching(step.v_reset, shape),
        amount=threshold / decay if late else threshold if soft or step.many else np.asarray(0.0),
        v_init=_reaching(step.start, shape),
        deaf=step.reset == "hard-late",
        max_spikes=MOST_SPIKES if step.many else 1,
    )


def _reaching(value: Array, shape: Sequence[int]) -> Array:
    """A parameter as wide as its layer; one number stays one."""
    value = np.asarray(value)
    if value.size == 1:
        return value.reshape(())
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    return np.ascontiguousarray(np.broadcast_to(value, tuple(shape)))
