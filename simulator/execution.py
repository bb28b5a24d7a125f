"""The executors of a Program here: its integers, its real graph, and what was recorded of it elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from neurocompile.errors import Problem, UsageError
from neurocompile.hosted import Hosted, Stage, run_graph
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.mapping.host import written_layers
from neurocompile.program import Program
from neurocompile.simulator.counts import fanouts
from neurocompile.simulator.engine import Engine, engine_missing
from neurocompile.simulator.reference import State, simulate_integers
from neurocompile.simulator.writes import bias_writes

__all__ = ["IntegerExecutor", "RealExecutor", "Recording"]

Progress = Callable[[int], None]
# Runs a graph on integers [N, T, *shape]; then as IntegerExecutor.run: spikes, membranes, threads, progress.
Chip = Callable[[Mapping[str, Array], bool, bool, int, Progress | None], Trace]


class IntegerExecutor:
    """A program's integers, by the compiled engine or the NumPy reference, and the host between their turns.

    Samples start from rest or (``stream``) from where the sample before ended.

    Args:
        program: compiled.
        reference: run the NumPy reference even where there is the compiled engine.
        stream: keep the state from one sample to the next.
        threads: how many samples run at once, unless a run says it; None: one for each processor.

    Raises:
        UsageError: for a stream through host regions, which see whole sequences.
    """

    def __init__(
        self, program: Program, *, reference: bool = False, stream: bool = False, threads: int | None = None
    ) -> None:
        self.program = program
        self._threads = threads
        self._stream = stream
        self._by_reference = reference or bool(engine_missing())
        self._chips: dict[int, Chip] = {}
        self._hosted = Hosted(program.integer, program.timesteps) if program.integer.hosts else None
        if stream and self._hosted:
            what, fix = "host regions see whole sequences, no stream", "leave out --stream"
            raise UsageError(Problem(what, ", ".join(program.integer.hosts), fix=fix))
        if not self._hosted:
            self._chip(0, program.integer)

    @property
    def name(self) -> str:
        """What computes."""
        return "NumPy reference" if self._by_reference else f"compiled ({Engine.isas()[0]})"

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
    ) -> Trace:
        """Run samples.

        Args:
            inputs: ``inputs[name][N, T, *shape]``, in real units.
            spikes: whether to keep what every neuron fired.
            membranes: whether to keep every membrane and potential.
            threads: how many samples run at once; None: as the executor was told.
            progress: called with the number of samples done since the last call.
        """
        crew = (
            threads
            or self._threads
            or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        )
        clipped: dict[str, int] = {}  # by input, as several stages may read one

        def on_chip(stage: Stage, given: Mapping[str, Array]) -> Trace:
            assert stage.graph is not None
            chip, whole = self._chip(stage.number, stage.graph), self._integers(given, clipped)
            # Later stages read spikes.
            return self._with_writes(chip(whole, True, membranes, crew, None), stage.graph, whole)

        if self._hosted is None:
            given = self._integers(inputs, clipped)
            whole = self._chip(0, self.program.integer)(given, spikes, membranes, crew, progress)
            whole = self._with_writes(whole, self.program.integer, given)
        else:
            whole = self._hosted.run(inputs, on_chip)
            whole.spikes = whole.spikes if spikes else {}
            if progress:
                progress(len(next(iter(inputs.values()))))
        whole.clipped = sum(clipped.values())
        return whole

    def _chip(self, number: int, graph: Graph) -> Chip:
        if number not in self._chips:
            made = _on_reference if self._by_reference else _on_engine
            self._chips[number] = made(self.program, graph, self._stream)
        return self._chips[number]

    def _with_writes(self, trace: Trace, graph: Graph, given: Mapping[str, Array]) -> Trace:
        """What the host writes to the layers of the chip is counted with what they do."""
        layers = sorted(written_layers(self.program))
        for name, writes in bias_writes(graph, self.program.arithmetic, layers, given).items():
            trace.counts.layers[name].bias_writes = writes
        return trace

    def _integers(self, inputs: Mapping[str, Array], clipped: dict[str, int]) -> dict[str, Array]:
        """What a chip is given; ``clipped`` is told how many values of each input lay outside its range."""
        whole = {}
        for name, x in inputs.items():
            if name in self.program.inputs:
                whole[name], clipped[name] = self.program.integers_of(name, x)
            else:  # what an earlier stage fired
                whole[name] = x.astype(np.int64)
        return whole


def _processors() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_engine(program: Program, graph: Graph, streams: bool) -> Chip:
    engine = Engine(graph, program.arithmetic)
    stream = engine.stream(program.timesteps) if streams else None

    def run(
        inputs: Mapping[str, Array], spikes: bool, membranes: bool, threads: int, progress: Progress | None
    ) -> Trace:
        kept = {"spikes": spikes, "membranes": membranes}
        return engine.run(inputs, **kept, threads=threads, stream=stream, progress=progress)

    return run


def _on_reference(program: Program, graph: Graph, streams: bool) -> Chip:
    found = fanouts(graph)
    state: State | None = {} if streams else None

    def run(inputs: Mapping[str, Array], _: bool, membranes: bool, __: int, progress: Progress | None) -> Trace:
        done = simulate_integers(graph, program.arithmetic, inputs, membranes=membranes, state=state, found=found)
        if progress:
            progress(len(next(iter(inputs.values()))))
        return done

    return run


class RealExecutor:
    """A program's real graph in float64, and the host between its turns; it keeps spikes, and no membranes."""

    name = "the folded graph in float64"

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units."""
        return run_graph(self._program.real, inputs, self._program.timesteps)


class Recording:
    """What hardware fired, ``[N, T, *shape]`` by layer, told sample after sample as their inputs are given."""

    name = "the recording"

    def __init__(self, spikes: Mapping[str, Array]) -> None:
        self._spikes = spikes
        self._told = 0

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """The next samples, as many as inputs are given."""
        start, self._told = self._told, self._told + len(next(iter(inputs.values())))
        return Trace(spikes={name: spikes[start : self._told] for name, spikes in self._spikes.items()})
