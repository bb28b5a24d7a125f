"""A network of NIR as a graph: every cell a neuron, every reading an equation that chips know."""

from __future__ import annotations

from collections.abc import Sequence
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
from neurocompile.frontends.nir.steps import Step
from neurocompile.ir.graph import Graph
from neurocompile.ir.graph import Node as Placed
from neurocompile.ir.ops import (
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

__all__ = ["lowered"]


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
    making = _Making(network, dialect, carries, read)
    for name in making.runner.order:
        making.add(name)
    if making.problems:
        raise UnsupportedModel(making.problems)
    return Graph(making.nodes.values())


class _Making:
    def __init__(self, network: Network, dialect: Dialect, carries: str, read: Read | None) -> None:
        self.network, self.carries, self.read = network, carries, read
        self.runner = Runner(network, dialect)
        self.late = network.back_edges()
        self.nodes: dict[str, Placed] = {}
        self.given: dict[str, str] = {}  # the graph's node that gives what a node of the file gives
        self.problems: list[Problem] = []

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
                self.given[name] = self._delay(name, self.runner.delays[name], x)
            case Threshold():
                above = Neuron(_reaching(node.threshold, shape), decay=np.asarray(0.0), strict=True, reset="none")
                self.given[name] = self.put(name, above, x)
            case Cell():
                self.given[name] = self._cell(name, self.runner.steps[name], x)

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
        if step.many:
            what = "it fires several spikes a step, which no neuron of a program does yet"
            self.problems.append(Problem(what, name, fix="read it with --spikes one, and see how far that is"))
            return x
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
        the step after.
        """
        shape = self.network.shapes[name]
        if step.filters:  # what one neuron takes off the other passes by the current
            x = self.put(f"{name}.synapse", Integrator(_reaching(step.current_decay, shape)), x)
        assert step.threshold is not None
        threshold, decay = _reaching(step.threshold, shape), _reaching(step.decay, shape)
        driven = self.put(f"{name}.heard", Scale(_reaching(step.gain, shape)), x) if (step.gain != 1).any() else x
        again = f"{name}.again"
        last, before = (
            self.put(f"{again}.{count}", Delay(shape, count), again) for count in (1, 2)
        )  # fmt: skip
        taken = self.put(f"{name}.taken", Scale(-threshold), last)
        returned = self.put(f"{name}.returned", Scale(decay * threshold), before)
        heard = self.put(f"{name}.sum_", Add(), driven, taken, returned)
        bias, start = _reaching(step.bias, shape), _reaching(step.start, shape)
        told = Neuron(threshold, decay=decay, bias=bias, strict=step.strict, reset="none", v_init=start)
        fires = self.put(name, replace(told, reset="by", amount=threshold), heard)
        spent = self.put(f"{again}.spent", Scale(-threshold), fires)
        left = self.put(f"{again}.sum", Add(), driven, spent)
        self.nodes[again] = Placed(again, told, (left,))
        return fires


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
        amount=threshold / decay if late else threshold if soft else np.asarray(0.0),
        v_init=_reaching(step.start, shape),
        deaf=step.reset == "hard-late",
    )


def _reaching(value: Array, shape: Sequence[int]) -> Array:
    """A parameter as wide as its layer; one number stays one."""
    value = np.asarray(value)
    if value.size == 1:
        return value.reshape(())
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    return np.ascontiguousarray(np.broadcast_to(value, tuple(shape)))
