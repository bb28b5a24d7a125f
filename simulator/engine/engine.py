"""Running a graph in the compiled engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import BadInput, Problem, ToolFailed
from neurocompile.ir.counts import Counts, LayerCounts
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output
from neurocompile.ir.trace import Trace
from neurocompile.simulator.engine.plan import Machine, Plan, make_plan

_native: Any = None
with suppress(ImportError):
    _native = import_module("neurocompile.simulator.engine._native")

__all__ = ["Engine", "EngineMissing", "Stream", "engine_missing"]

_COUNTS = ("sops", "sops_nonzero", "spikes", "active", "inactive")


class EngineMissing(ToolFailed):
    """The compiled part of the engine is not installed."""


def engine_missing() -> str:
    """Why there is no compiled engine; empty if there is one."""
    if _native is not None:
        return ""
    return "the compiled engine is not installed: install a C++17 compiler and then the package again"


@dataclass
class Stream:
    """A state that goes on from one run to the next: samples follow one another in time."""

    steps: int
    native: Any


class Engine:
    """An integer graph, planned once, to be run on any number of samples.

    Args:
        graph: the integer graph of a Program.
        arithmetic: of its target.
        isa: the instruction set, one of :meth:`isas`; None: the best that this machine has.

    Raises:
        EngineMissing: if the compiled part is not installed.
        ValueError: if this machine has no such instruction set.
    """

    def __init__(self, graph: Graph, arithmetic: Arithmetic, isa: str | None = None) -> None:
        if _native is None:
            raise EngineMissing(Problem(engine_missing(), "neurocompile.simulator.engine", fix="pip install ."))
        if isa is not None and isa not in self.isas():
            raise ValueError(f"this machine has no {isa}; it has {', '.join(self.isas())}")
        self.graph = graph
        self.arithmetic = arithmetic
        self.isa = isa or self.isas()[0]
        self._machine = Machine(_native.LANES[self.isa], _native.MAX_VECTORS, _native.NARROW[self.isa])
        self._ready: dict[tuple[int, bool], tuple[Plan, Any]] = {}

    @staticmethod
    def isas() -> list[str]:
        """The instruction sets that this machine has and the engine was built for, best first."""
        return [] if _native is None else list(_native.ISAS)

    def ways(self, steps: int) -> dict[str, str]:
        """How each neuron and integrator is computed."""
        return self._planned(steps, False)[0].ways

    def stream(self, steps: int) -> Stream:
        """A state at rest, for samples of so many steps that follow one another in time."""
        return Stream(steps, self._planned(steps, True)[1].stream())

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        threads: int = 1,
        spikes: bool = True,
        membranes: bool = False,
        stream: Stream | None = None,
        steps: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Trace:
        """Run samples, each from rest unless there is a ``stream``.

        Args:
            inputs: integers ``inputs[name][N, T, *shape]``; one step stands for all of them, if ``steps`` is given.
            threads: how many samples run at once.
            spikes: whether to keep what every neuron fired.
            membranes: whether to keep every membrane and potential.
            stream: go on from where it stands, and leave it where this run ends.
            steps: T, where no input says it.
            progress: called with the number of samples done since the last call.

        Raises:
            BadInput: for a missing or unknown input, a wrong shape, numbers outside the input's range.
        """
        given, samples, steps = self._arranged(inputs, steps)
        plan, native = self._planned(steps, stream is not None)
        if stream is not None and stream.steps != steps:
            what = "the stream was made for another number of steps"
            raise BadInput(Problem(what, "stream", str(steps), str(stream.steps), "make another"))

        def room(name: str, kind: Any) -> Array:
            return np.empty((samples, steps, *self.graph.edges[name].shape), kind)

        sequences = {node.name: room(node.name, np.int64) for node in self.graph.of(Output)}
        fired = {node.name: room(node.name, np.int8) for node in self.graph.of(Neuron)} if spikes else {}
        stateful = self.graph.of(Neuron, Integrator) if membranes else []
        held, left = ({node.name: room(node.name, np.int64) for node in stateful} for _ in range(2))
        counted, overflows = np.zeros((samples, len(plan.layers), 5), np.int64), np.zeros(samples, np.int64)
        into = {
            "numbers": [(plan.index[self.graph[name].inputs[0]], x) for name, x in sequences.items()],
            "spikes": [(plan.index[name], x) for name, x in fired.items()],
            "traces": [(plan.index[name], held[name], left[name]) for name in held],
            "layers": [plan.index[name] for name in plan.layers],
            "counted": counted,
            "overflows": overflows,
        }
        if samples:
            native.run(given, into, threads, None if stream is None else stream.native, progress)
        counts = _counts(plan, counted, steps)
        return Trace(
            outputs={name: _read(self.graph, name, x) for name, x in sequences.items()},
            spikes=fired,
            membranes=held,
            potentials=left,
            fired={node.name: int(counts.layers[node.name].spikes.sum()) for node in self.graph.of(Neuron)},
            counts=counts,
            overflows=int(overflows.sum()),
        )

    def profile(
        self, inputs: Mapping[str, Array], *, steps: int | None = None, threads: int = 1, repeats: int = 1
    ) -> dict[str, float]:
        """Where the time of a run goes: seconds by the name of the node, the mean of some runs.

        Synapses are part of the neurons that they feed. Threads are added up. What no node does is left out: arranging
        inputs, copying results.

        Args:
            inputs: as :meth:`run` takes them.
            steps: T, where no input says it.
            threads: how many samples run at once.
            repeats: how many runs.
        """
        _, _, count = self._arranged(inputs, steps)
        plan, native = self._planned(count, False)
        native.timing = True
        try:
            for _ in range(repeats):
                self.run(inputs, threads=threads, spikes=False, steps=count)
            elapsed = native.elapsed()
        finally:
            native.timing = False
        return {name: elapsed[k] / repeats / 1e9 for name, k in plan.index.items()}

    def _planned(self, steps: int, streaming: bool) -> tuple[Plan, Any]:
        if (steps, streaming) not in self._ready:
            plan = make_plan(self.graph, self.arithmetic, steps, self._machine, streaming)
            self._ready[steps, streaming] = plan, _native.Engine(plan.data, self.isa)
        return self._ready[steps, streaming]

    def _arranged(self, inputs: Mapping[str, Array], steps: int | None) -> tuple[list[Array], int, int]:
        wanted = {node.name: node.op for node in self.graph.of(Input)}
        problems = [
            Problem("there is no such input", name, fix=f"the inputs are {', '.join(wanted)}")
            for name in inputs
            if name not in wanted
        ]
        problems += [Problem("this input is missing", name, fix="give it") for name in wanted if name not in inputs]
        if problems:
            raise BadInput(problems)
        lengths = {x.shape[:2] for x in inputs.values() if x.ndim >= 2}
        steps = max((t for _, t in lengths), default=0) if steps is None else steps
        samples = max((n for n, _ in lengths), default=0)
        arranged = []
        for name, op in wanted.items():
            assert isinstance(op, Input)
            x = inputs[name]
            said = f"[{samples}, {steps}, {', '.join(map(str, op.shape))}]"
            if x.shape not in ((samples, steps, *op.shape), (samples, 1, *op.shape)) or not steps:
                problems.append(Problem("the shape is wrong", name, str(list(x.shape)), said, "see docs/engine.md"))
                continue
            if x.dtype.kind not in "iub":
                problems.append(Problem("the numbers are not integers", name, str(x.dtype), fix="see Program.integers"))
                continue
            if x.shape[1] > 1 and x.strides[1] == 0:
                x = x[:, :1]
            if x.size and (x.min() < op.low or x.max() > op.high):
                actual, limit = f"{x.min()} to {x.max()}", f"{op.low:g} to {op.high:g}"
                what = "numbers are outside the input's range"
                problems.append(Problem(what, name, actual, limit, "see Program.integers"))
                continue
            arranged.append(np.ascontiguousarray(x, np.int64))
        if problems:
            raise BadInput(problems)
        return arranged, samples, steps


def _counts(plan: Plan, counted: Array, steps: int) -> Counts:
    """Of each layer, out of ``counted[N, layers, 5]`` in the order of ``_COUNTS``."""
    layers = {}
    for k, name in enumerate(plan.layers):
        each = {which: counted[:, k, i].copy() for i, which in enumerate(_COUNTS)}
        macs, none = np.full(len(counted), plan.macs[name] * steps, np.int64), np.zeros(len(counted), np.int64)
        layers[name] = LayerCounts(macs=macs, bias_writes=none, **each)
    return Counts(layers)


def _read(graph: Graph, name: str, sequence: Array) -> Array:
    op = graph[name].op
    assert isinstance(op, Output)
    return read_out(op, sequence.astype(np.float64))
