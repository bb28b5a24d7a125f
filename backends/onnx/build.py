"""A program as a model of one step, or of all: its integers, or its folded graph in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx

from neurocompile.backends.onnx.hosts import computed
from neurocompile.backends.onnx.models import (
    Told,
    batch_first,
    integers,
    model_of,
    over_time,
    read_at_once,
    read_over_time,
    scan,
    time_first,
)
from neurocompile.backends.onnx.network import BATCH, Network, State
from neurocompile.backends.onnx.ranges import Ranges
from neurocompile.backends.onnx.writing import Value, Writer
from neurocompile.hosted import Hosted, Stage
from neurocompile.ir.graph import Graph
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Input, Output
from neurocompile.program import Program

__all__ = ["Arithmetics", "Built", "built_scan", "built_step", "graph_of", "has_step"]

Arithmetics = Literal["int", "float32", "reals"]
"""What is computed with: bytes into integers; float32 where that is exact; the folded graph, in float32."""


@dataclass
class Built:
    """A model, and the names of what it gives, by layer; ``states`` of one step, with what they are at rest."""

    model: onnx.ModelProto
    outputs: dict[str, str] = field(default_factory=dict)
    spikes: dict[str, str] = field(default_factory=dict)
    membranes: dict[str, str] = field(default_factory=dict)
    potentials: dict[str, str] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)


def graph_of(program: Program, arithmetic: Arithmetics) -> Graph:
    """The graph of a program that is written."""
    return program.real if arithmetic == "reals" else program.integer


def has_step(graph: Graph) -> bool:
    """Whether one step stands for all: no region of the host sees more than a step at once."""
    return all(region.per_step for region in graph.hosts.values())


def built_scan(
    program: Program,
    arithmetic: Arithmetics = "int",
    told: Told = Told(),  # noqa: B008
    about: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda said: None,
) -> Built:
    """All steps: inputs ``[N, T, *shape]`` in, what outputs read and what neurons fired ``[N, T, *shape]`` out."""
    return _Scan(program, arithmetic, told, tell).built(about or {})


def built_step(
    program: Program,
    arithmetic: Arithmetics = "int",
    about: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda said: None,
) -> Built:
    """One step: inputs ``[N, *shape]`` and states in; what outputs look at, spikes, membranes and states out."""
    return _Step(program, arithmetic, tell).built(about or {})


class _Building:
    """What both forms have in common. ``real`` is the type of what users give and get."""

    def __init__(self, program: Program, arithmetic: Arithmetics, tell: Callable[[str], None]) -> None:
        self.program, self.graph = program, graph_of(program, arithmetic)
        reals = arithmetic == "reals"
        self.real: Any = np.dtype(np.float32 if reals else np.float64)
        self.network = Network(
            None if reals else program.arithmetic, arithmetic == "float32", units=program.units, tell=tell
        )
        self.w = Writer()

    def taken(self, w: Writer, graph: Graph, name: str, x: Value) -> Value:
        """Real numbers as an Input of the graph takes them."""
        if self.network.arithmetic is None:
            return w.cast(x, np.float32, f"{x.name}.real")
        return integers(w, graph, name, x)

    def region_of_step(
        self,
        w: Writer,
        region: HostRegion,
        value: Callable[[str], Value],
        inputs: Mapping[str, Value],
        done: dict[str, Value],
    ) -> Value:
        """What a region gives in one step, in real numbers."""
        if region.name not in done:
            given = []
            for read in region.reads:
                if read.source in inputs:
                    given.append(inputs[read.source])
                elif read.kind == "host":
                    other = self.graph.hosts[read.source]
                    given.append(self.region_of_step(w, other, value, inputs, done))
                else:
                    op: Any = self.graph[read.source].op
                    given.append(read_at_once(w, op, value(read.source), f"{read.source}.real", self.real))
            done[region.name] = w.cast(computed(w, region, given), self.real)
        return done[region.name]


class _Step(_Building):
    def built(self, about: Mapping[str, str]) -> Built:
        w, graph = self.w, self.graph
        inputs = {name: Value(w.fresh(name), self.real, (BATCH, *shape)) for name, shape in graph.given_inputs.items()}
        given = {n.name: self.taken(w, graph, n.name, inputs[n.name]) for n in graph.of(Input) if n.name in inputs}
        regions: dict[str, Value] = {}
        writing = self.network.writing(w, graph, given)

        def fed(name: str) -> Value:
            region = graph.hosts[name]
            real = self.region_of_step(w, region, writing.value, inputs, regions)
            return self.taken(w, graph, name, real)

        step = writing.whole(fed)
        for region in graph.hosts.values():
            self.region_of_step(w, region, writing.value, inputs, regions)
        found = Built(onnx.ModelProto(), states=step.states)
        outputs: list[Value] = []

        def give(into: dict[str, str], name: str, stem: str, value: Value) -> None:
            outputs.append(value if value.name == stem else w.renamed(value, stem))
            into[name] = outputs[-1].name

        for name, value in step.outputs.items():
            if name not in graph.host_reads:
                give(found.outputs, name, name, value)
        for region in graph.hosts.values():
            if region.output:
                give(found.outputs, region.output, region.output, regions[region.name])
        for name, value in step.spikes.items():
            give(found.spikes, name, value.name, value)
        for name, value in step.membranes.items():
            give(found.membranes, name, f"{name}.h", value)
        found.potentials = {name: value.name for name, value in step.potentials.items()}
        outputs += [state.after for state in step.states]
        given_in = [*inputs.values(), *(state.now for state in step.states)]
        found.model = model_of(w, self.network, "step", given_in, outputs, about)
        return found


class _Scan(_Building):
    def __init__(self, program: Program, arithmetic: Arithmetics, told: Told, tell: Callable[[str], None]) -> None:
        super().__init__(program, arithmetic, tell)
        self.told = told
        self.found = Built(onnx.ModelProto())
        self.leaves: list[tuple[dict[str, str], str, Value]] = []

    def built(self, about: Mapping[str, str]) -> Built:
        w, graph, timesteps = self.w, self.graph, self.program.timesteps
        self.inputs = {
            name: Value(w.fresh(name), self.real, (BATCH, timesteps, *shape))
            for name, shape in graph.given_inputs.items()
        }
        first = next(iter(self.inputs.values()))
        self.batch = w.node("Shape", [first.name], "batch", start=0, end=1)
        self.known: dict[str, Value] = dict(self.inputs)  # real, [N, (T,) *shape]
        self.fired: dict[str, Value] = {}  # [T, N, *shape]
        for stage in _stages(graph, timesteps):
            loop = stage.regions if stage.loop else ()
            if stage.graph is not None:
                self._turn(stage.number, stage.graph, {region.name: region for region in loop})
            for region in () if stage.loop else stage.regions:
                self._region(region)
        for region in graph.hosts.values():
            if region.output:
                self._output_of(region)
        outputs = []
        for into, name, value in sorted(self.leaves, key=lambda leaf: leaf[0] is not self.found.outputs):
            outputs.append(value)
            into[name] = value.name
        self.found.model = model_of(w, self.network, "scan", list(self.inputs.values()), outputs, about)
        return self.found

    def _turn(self, number: int, graph: Graph, loop: Mapping[str, HostRegion]) -> None:
        """A graph of the chip over all steps, with the regions that stand in a loop with it."""
        w, body = self.w, Writer(f"step{number or ''}/")
        given: dict[str, Value] = {}
        scanned: list[tuple[Value, Value]] = []
        for node in graph.of(Input):
            if node.name not in loop:
                outside = self._over_time(graph, node.name)
                given[node.name] = Value(body.fresh(node.name), outside.dtype, outside.shape[1:])
                scanned.append((outside, given[node.name]))
        inputs: dict[str, Value] = {}
        reads = dict.fromkeys(read.source for region in loop.values() for read in region.reads)
        for name in [each for each in reads if each not in loop and each not in graph]:  # given, or of an earlier turn
            x = self.known[name]
            outside = time_first(w, x, f"{name}.real.steps")
            inputs[name] = Value(body.fresh(f"{name}.real"), x.dtype, outside.shape[1:])
            scanned.append((outside, inputs[name]))
        regions: dict[str, Value] = {}
        writing = self.network.writing(body, graph, given)

        def fed(name: str) -> Value:
            real = self.region_of_step(body, loop[name], writing.value, inputs, regions)
            return self.taken(body, graph, name, real)

        step = writing.whole(fed)
        for region in loop.values():
            self.region_of_step(body, region, writing.value, inputs, regions)
        turn, others = scan(w, body, step, scanned, self.batch, self.told, regions, self._read_later(graph))
        self.fired |= turn.spikes
        for name, steps in turn.outputs.items():
            op: Any = graph[name].op
            self.known[name] = read_over_time(w, op, steps, name, self.real)
            if name not in self.graph.host_reads:
                self.leaves.append((self.found.outputs, name, self.known[name]))
        self.known |= {name: batch_first(w, value, f"{name}.over_time") for name, value in others.items()}
        for into, values, suffix in (
            (self.found.spikes, turn.spikes if self.told.spikes else {}, ""),
            (self.found.membranes, turn.membranes, ".h"),
            (self.found.potentials, turn.potentials, ".v"),
        ):
            self.leaves += [(into, name, batch_first(w, value, f"{name}{suffix}")) for name, value in values.items()]

    def _read_later(self, graph: Graph) -> frozenset[str]:
        """The neurons of a turn whose spikes later turns are given."""
        return frozenset(
            node.name
            for stage in _stages(self.graph, self.program.timesteps)
            if stage.graph is not None
            for node in stage.graph.of(Input)
            if node.name in graph
        )

    def _over_time(self, graph: Graph, name: str) -> Value:
        """What an Input of a turn is given ``[T, N, *shape]``, in its type."""
        w = self.w
        if name in self.fired:  # of an earlier turn
            dtype = np.float32 if self.network.arithmetic is None else graph.kept(Ranges.of).types[name]
            return w.cast(self.fired[name], dtype, f"{name}.events")
        x = self.known[name]
        region = self.graph.hosts.get(name)
        if region is not None and not region.timed:
            x = over_time(w, x, self.program.timesteps)
        return time_first(w, self.taken(w, graph, name, x), f"{name}.steps")

    def _region(self, region: HostRegion) -> None:
        given = []
        for read in region.reads:
            value = self.known[read.source]
            if read.kind == "input" and not read.timed:
                first = self.w.constant("0", 0, np.int64)
                name = self.w.node("Gather", [value.name, first], f"{read.source}.first", axis=1)
                value = Value(name, value.dtype, (value.shape[0], *value.shape[2:]))
            given.append(value)
        self.known[region.name] = self.w.cast(computed(self.w, region, given, self.program.timesteps), self.real)

    def _output_of(self, region: HostRegion) -> None:
        """The output of the network that a region gives, and how its steps are read."""
        value, name = self.known[region.name], region.output
        if region.timed:
            op = Output(region.read)
            value = read_over_time(self.w, op, time_first(self.w, value, f"{region.name}.steps"), name, self.real)
        else:
            value = self.w.renamed(value, name)
        self.leaves.append((self.found.outputs, name, value))


def _stages(graph: Graph, timesteps: int) -> Iterable[Stage]:
    return Hosted(graph, timesteps).stages if graph.hosts else [Stage(0, graph, ())]
