"""What runs a program's integers: the compiled engine or the NumPy reference, and the host between their turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from neurocompile.errors import Problem, UsageError
from neurocompile.hosted import Hosted, Stage
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Neuron
from neurocompile.program import Program
from neurocompile.simulator.counts import Counts, Fanout, LayerCounts, fanouts
from neurocompile.simulator.engine import Engine, Stream, engine_missing
from neurocompile.simulator.reference import State, simulate_integers

__all__ = ["Execution", "Executor"]

Progress = Callable[[int], None]


@dataclass
class Execution:
    """What some samples did; ``[N, T, *shape]`` by layer, outputs ``[N, *shape]`` in real units.

    ``fired`` counts the spikes of each layer, ``overflows`` the register values that met the end of their range, and
    ``clipped`` the input values outside the range of the program's inputs.
    """

    outputs: dict[str, Array] = field(default_factory=dict)
    spikes: dict[str, Array] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)
    potentials: dict[str, Array] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    overflows: int = 0
    clipped: int = 0


@dataclass(frozen=True)
class _Wanted:
    """What a run is to keep, and how many samples run at once."""

    spikes: bool
    membranes: bool
    threads: int


class Executor:
    """Runs a program on real inputs, from rest or (``stream``) from where the sample before it ended.

    Args:
        program: compiled.
        reference: run the NumPy reference even where there is the compiled engine.
        stream: keep the state from one sample to the next.

    Raises:
        UsageError: for a stream through host regions, which see whole sequences.
    """

    def __init__(self, program: Program, *, reference: bool = False, stream: bool = False) -> None:
        self.program = program
        self._stream = stream
        self._by_reference = reference or bool(engine_missing())
        self._chips: dict[int, _OnReference | _OnEngine] = {}
        self._hosted = Hosted(program.integer, program.timesteps) if program.integer.hosts else None
        if stream and self._hosted:
            what, fix = "host regions see whole sequences, no stream", "leave out --stream"
            raise UsageError(Problem(what, ", ".join(program.integer.hosts), fix=fix))
        if not self._hosted:
            self._chip(0, program.integer)

    @property
    def name(self) -> str:
        """What computes."""
        if self._by_reference:
            return "NumPy reference"
        return f"compiled ({Engine.isas()[0]})"

    @property
    def chunk(self) -> int | None:
        """How many samples may be given at a time; None: any number."""
        return 1 if self._by_reference and self._stream else None

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        spikes: bool = True,
        membranes: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Execution:
        """Run samples.

        Args:
            inputs: ``inputs[name][N, T, *shape]``, in real units.
            spikes: whether to keep what every neuron fired.
            membranes: whether to keep every membrane and potential.
            threads: how many samples run at once; None: one for each processor.
            progress: called with the number of samples done since the last call.
        """
        crew = len(os.sched_getaffinity(0)) if threads is None and hasattr(os, "sched_getaffinity") else threads
        wanted = _Wanted(spikes, membranes, crew or os.cpu_count() or 1)
        if self._hosted is None:
            return self._turn(0, self.program.integer, inputs, wanted, progress)
        kept = _Wanted(True, membranes, wanted.threads)
        clipped: dict[str, int] = {}  # by input, as several stages may read one

        def on_chip(stage: Stage, given: Mapping[str, Array]) -> Execution:
            assert stage.graph is not None
            return self._turn(stage.number, stage.graph, given, kept, None, clipped)

        done = self._hosted.run(inputs, on_chip)
        whole = Execution(outputs=done.outputs)
        layers: dict[str, LayerCounts] = {}
        for run in done.runs.values():
            assert isinstance(run, Execution)
            whole.spikes |= run.spikes if spikes else {}
            whole.fired |= run.fired
            whole.membranes |= run.membranes
            whole.potentials |= run.potentials
            layers |= run.counts.layers
            whole.overflows += run.overflows
        whole.clipped = sum(clipped.values())
        whole.counts = Counts(layers)
        if progress:
            progress(len(next(iter(inputs.values()))))
        return whole

    def _chip(self, number: int, graph: Graph) -> _OnReference | _OnEngine:
        if number not in self._chips:
            kind = _OnReference if self._by_reference else _OnEngine
            self._chips[number] = kind(self.program, graph, self._stream)
        return self._chips[number]

    def _turn(
        self,
        number: int,
        graph: Graph,
        inputs: Mapping[str, Array],
        wanted: _Wanted,
        progress: Progress | None,
        clipped: dict[str, int] | None = None,
    ) -> Execution:
        """Run a stage; ``clipped`` is told how many values of each input lay outside its range."""
        whole, outside = {}, {} if clipped is None else clipped
        for name, x in inputs.items():
            if name in self.program.inputs:
                whole[name], outside[name] = self.program.integers_of(name, x)
            else:  # what an earlier stage fired
                whole[name] = x.astype(np.int64)
        done = self._chip(number, graph).run(whole, wanted, progress)
        done.clipped = sum(outside.values())
        return done


class _OnEngine:
    def __init__(self, program: Program, graph: Graph, stream: bool) -> None:
        self._graph = graph
        self._engine = Engine(graph, program.arithmetic)
        self._stream: Stream | None = self._engine.stream(program.timesteps) if stream else None
        self._steps = program.timesteps

    def run(self, inputs: Mapping[str, Array], wanted: _Wanted, progress: Progress | None) -> Execution:
        done = self._engine.run(
            inputs,
            threads=wanted.threads,
            spikes=wanted.spikes,
            membranes=wanted.membranes,
            stream=self._stream,
            progress=progress,
        )
        fired = {node.name: int(done.counts.layers[node.name].spikes.sum()) for node in self._graph.of(Neuron)}
        return Execution(done.outputs, done.spikes, fired, done.membranes, done.potentials, done.counts, done.overflows)


class _OnReference:
    def __init__(self, program: Program, graph: Graph, stream: bool) -> None:
        self._graph = graph
        self._arithmetic = program.arithmetic
        self._found: list[Fanout] = fanouts(graph)
        self._streams = stream
        self._state: State | None = None

    def run(self, inputs: Mapping[str, Array], wanted: _Wanted, progress: Progress | None) -> Execution:
        done = simulate_integers(
            self._graph,
            self._arithmetic,
            inputs,
            membranes=wanted.membranes,
            state=self._state,
            found=self._found,
        )
        self._state = done.state if self._streams else None
        if progress:
            progress(len(next(iter(inputs.values()))))
        fired = {name: int((x != 0).sum()) for name, x in done.spikes.items()}
        return Execution(done.outputs, done.spikes, fired, done.membranes, done.potentials, done.counts, done.overflows)
