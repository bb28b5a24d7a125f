"""A Program on data of any length: what it did, and when, if anything times it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from neurocompile.data import Data
from neurocompile.errors import DoesNotFit, Problem, UsageError, naming_lines
from neurocompile.hosted import run_graph
from neurocompile.ir.counts import Counts
from neurocompile.ir.ops import Array, Neuron
from neurocompile.ir.trace import Trace, joined
from neurocompile.labels import check_labels
from neurocompile.program import Program
from neurocompile.simulator.counts import stored_synapses
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.simulator.timing.clock import CLOCKS, Clock
from neurocompile.targets import target_of
from neurocompile.verbs.progress import Step

__all__ = ["Run", "begun", "clock_for", "ended", "parts_of", "run_program"]

# Samples that are simulated at a time: enough for many threads, few enough that memory does not grow with the data.
_CHUNK = 128

# Every synapse is listed for a timing model, so that larger networks are timed only if that is asked for.
_TIMED_SYNAPSES = 5_000_000


@dataclass
class Run:
    """What a program did with some data.

    ``outputs[name][N, ...]`` are in real units; ``spikes[layer][N, T, ...]`` only if they were asked for. ``counts``
    is empty for a run in float64. ``clipped`` counts input values outside the range of the program's inputs. ``engine``
    says what computed it. ``clock`` has the time it took, on a target with a timing model; ``untimed`` says why not.
    ``given`` is how often each element of a real-valued input of the user's was not 0, over all samples and steps,
    ``[*shape]``; it is empty for a run in float64.
    """

    program: Program
    samples: int
    labels: Array | None
    arithmetic: Literal["integers", "float64"]
    engine: str
    spike_counts: dict[str, int]
    clock: Clock | None = None
    untimed: str = ""
    counts: Counts = field(default_factory=Counts)
    overflows: int = 0
    clipped: int = 0
    outputs: dict[str, Array] = field(default_factory=dict)
    spikes: dict[str, Array] = field(default_factory=dict)
    given: dict[str, Array] = field(default_factory=dict)

    def places(self, layer: str) -> int:
        """How many spikes a layer could have fired."""
        return self.program.integer.edges[layer].size * self.program.timesteps * self.samples


def run_program(
    program: Program,
    data: Data,
    *,
    real: bool = False,
    keep_spikes: bool = False,
    stream: bool = False,
    threads: int | None = None,
    reference: bool = False,
    timing: bool | None = None,
    placement: str | None = None,
    timeline: bool = False,
    progress: Step | None = None,
) -> Run:
    """Simulate a program, as :class:`neurocompile.verbs.simulate.SimulateRequest` says.

    Args:
        program: compiled.
        data: inputs ``[N, T, *shape]``.
        real: in float64.
        keep_spikes: whether the result holds every spike.
        stream: keep the state from one sample to the next.
        threads: how many samples run at once.
        reference: by the NumPy reference.
        timing: whether to time it.
        placement: of the cores.
        timeline: keep the events of the first sample in ``clock``.
        progress: called with the number of samples done since the last call.

    Raises:
        DoesNotFit: for what the mesh of a target with a timing model cannot hold.
        UsageError: with ``stream`` and ``real`` together, which are not simulated; with ``timing`` or ``timeline`` for
            what cannot be timed.
        BadInput: if labels do not match the outputs.
    """
    run, executor = begun(
        program, data, real=real, stream=stream, reference=reference, timing=timing, placement=placement,
        timeline=timeline,
    )  # fmt: skip
    return ended(run, list(parts_of(run, executor, data, keep_spikes, threads, progress)))


def begun(
    program: Program,
    data: Data,
    *,
    real: bool = False,
    stream: bool = False,
    reference: bool = False,
    timing: bool | None = None,
    placement: str | None = None,
    timeline: bool = False,
) -> tuple[Run, IntegerExecutor | None]:
    """A run of which nothing is done yet, and what does it (None: float64); as :func:`run_program`."""
    check_labels(program, data)
    if real and stream:
        raise UsageError(Problem("the float64 graph starts anew for every sample", "--stream", fix="leave out --real"))
    executor = None if real else IntegerExecutor(program, reference=reference, stream=stream)
    silent = {node.name: 0 for node in program.integer.of(Neuron)}
    engine = "float64" if executor is None else executor.name
    run = Run(program, len(data), data.labels, "float64" if real else "integers", engine, silent)
    if not (real or stream):
        with naming_lines(program.lines):
            run.clock, run.untimed = clock_for(program, timing, placement, timeline)
    return run, executor


def ended(run: Run, parts: Sequence[Trace]) -> Run:
    """The run with what its samples did, one part after the other."""
    whole = joined(parts)
    return replace(
        run, spike_counts={**run.spike_counts, **whole.fired}, counts=whole.counts, overflows=whole.overflows,
        clipped=whole.clipped, outputs=whole.outputs, spikes=whole.spikes,
    )  # fmt: skip


def parts_of(
    run: Run,
    executor: IntegerExecutor | None,
    data: Data,
    keep_spikes: bool,
    threads: int | None,
    progress: Step | None,
) -> Iterator[Trace]:
    """What the program does with so many samples at a time; its clock sees every spike, the result those it keeps."""
    chunk = _CHUNK if executor is None else executor.chunk or _CHUNK
    for start in range(0, len(data), chunk):
        inputs = data.part(start, start + chunk).inputs
        if executor is None:
            found = _in_reals(run.program, inputs, progress)
        else:
            wanted = keep_spikes or run.clock is not None
            found = executor.run(inputs, spikes=wanted, threads=threads, progress=progress)
            for name, often in _active(run.program, inputs):
                run.given[name] = run.given.get(name, 0) + often
            if run.clock is not None:
                run.clock.take(run.program.integers(inputs)[0], found.spikes)
        yield replace(found, spikes=found.spikes if keep_spikes else {}, values={})


def _active(program: Program, inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """How often each element of a real-valued input that the user gives is not 0, over samples and steps."""
    for name, op in program.inputs.items():
        if op.carries == "real" and name in inputs:
            whole, _ = program.integers_of(name, inputs[name])
            yield name, (whole != 0).sum((0, 1)) * (program.timesteps // whole.shape[1])


def _in_reals(program: Program, inputs: Mapping[str, Array], progress: Step | None) -> Trace:
    found = run_graph(program.real, inputs, program.timesteps)
    if progress:
        progress(len(next(iter(inputs.values()))))
    return found


# -- when things happen ------------------------------------------------------------------------------------------------


def clock_for(program: Program, timing: bool | None, placement: str | None, timeline: bool) -> tuple[Clock | None, str]:
    """What times a program; or why nothing does."""
    name = target_of(program).clock
    if not name:
        return None, ""
    kind, asked = CLOCKS[name], timing or timeline
    why = kind.missing()
    if timing is False:
        why = "it was not asked for"
    elif program.integer.hosts:
        why = "parts of this network are computed by the host"
    elif not asked and (synapses := stored_synapses(program.integer)) > _TIMED_SYNAPSES:
        why = f"{synapses:,} synapses are listed one by one for it: --timing does so"
    if why and asked:
        raise UsageError(Problem(f"it cannot be timed: {why}", program.target, fix="leave out --timing and --timeline"))
    if why:
        return None, why
    if placement is not None and placement not in kind.placements:
        fix = "leave out --placement for the usual one"
        raise UsageError(Problem("cores are not placed so", "--placement", placement, ", ".join(kind.placements), fix))
    try:
        return kind(program, placement, timeline), ""
    except DoesNotFit as error:
        if asked:
            raise
        return None, str(error.problems[0])
