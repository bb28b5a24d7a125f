"""``neurocompile simulate``: a Program on data of any length, what it did, and what that costs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from neurocompile.data import Data
from neurocompile.errors import Problem, UsageError
from neurocompile.files import check_output, completed, pack_arrays, write_file
from neurocompile.ir.ops import Array
from neurocompile.program import Program
from neurocompile.reports.simulate import SimulateReport
from neurocompile.simulator.timing.perfetto import SUFFIXES, write_perfetto
from neurocompile.targets import load_target, target_names, target_of
from neurocompile.typed import Count
from neurocompile.verbs.given import Inputs, check_carried, data_of, program_of
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.progress import Progress, silent
from neurocompile.verbs.running import Run, begun, ended, parts_of
from neurocompile.verbs.sharded import run_sharded, shards_of, whole_because
from neurocompile.verbs.shards import WorkOptions, check_workers, working

__all__ = ["SimulateRequest", "simulate"]


@dataclass(frozen=True, kw_only=True)
class SimulateRequest(WorkOptions):
    """How a program is run; who shares the samples: :class:`neurocompile.verbs.shards.WorkOptions`.

    Attributes:
        program: compiled, or its folder.
        data: inputs ``[N, ...]`` or ``[N, T, ...]``; an npz file may have labels, y, too.
        labels: ``[N]``, if any.
        spikes: whether to keep what every layer fired; a file: write it there, too.
        real: run the folded graph in float64 instead of the integers (nothing is counted then but spikes).
        price_as: a target whose prices are taken; None: the program's own.
        timing: whether to time it, on a target with a timing model; None: if it is not too large.
        placement: of the cores, as the clock of the target takes it; None: the usual one.
        timeline: whether to keep when what of the first sample happened, for ui.perfetto.dev; a file: write it there,
            too. One that is called .pftrace or .perfetto-trace is written piece by piece, and nothing kept.
        threads: how many samples run at once; None: one for each processor.
        reference: run the NumPy reference instead of the compiled engine.
        stream: keep the state from one sample to the next, as if they followed one another in time.
        overwrite: replace files that exist.
    """

    program: Program | Path
    data: Inputs
    labels: Array | None = None
    spikes: Path | bool | None = None
    real: bool = False
    price_as: str | None = None
    timing: bool | None = None
    placement: str | None = None
    timeline: Path | bool | None = None
    threads: Count | None = None
    reference: bool = False
    stream: bool = False
    overwrite: bool = False


def simulate(request: SimulateRequest, progress: Progress | None = None) -> SimulateReport:
    """Run a program on data, price what it did, and write the files that were asked for.

    Raises:
        DoesNotFit: for what the mesh of a target with a timing model cannot hold.
        UsageError: for a target that does not exist; for a file that exists or is read; with ``stream`` and ``real``
            together, which are not simulated; with ``timing`` or ``timeline`` for what cannot be timed; for workers
            that cannot share the samples.
        BadInput: for a program or data that cannot be read, or labels that no output stands for.
        ToolFailed: if a disk does not take a file; if there is no cluster, or another version on it.
    """
    if request.price_as:
        load_target(request.price_as)
    _check_outputs(request)
    program = program_of(request.program)
    data = data_of(request.data, program.input_shapes, program.timesteps, request.labels, program.lines)
    check_carried(program.integer, data)
    wants_timeline = bool(request.timeline)
    if wants_timeline and (not target_of(program).clock or request.real or request.stream):
        timed = [name for name in target_names() if load_target(name).clock]
        what, fix = "there is no timing model for this", "export for one of these, and leave out --real and --stream"
        raise UsageError(Problem(what, "--timeline", program.target, ", ".join(timed), fix))
    run = _run(request, program, data, progress or silent)
    timeline = None
    if wants_timeline and run.clock is not None:
        if isinstance(request.timeline, Path) and request.timeline.suffix in SUFFIXES:
            with completed(request.timeline, request.overwrite) as partial, open(partial, "wb") as file:
                write_perfetto(file, run.clock.slices())
        else:
            timeline = run.clock.timeline()
    if isinstance(request.spikes, Path):
        write_file(request.spikes, pack_arrays(run.spikes), request.overwrite)
    if isinstance(request.timeline, Path) and timeline is not None:
        write_file(request.timeline, json.dumps(timeline).encode(), request.overwrite)
    return priced(run, request.price_as, timeline)


def _run(request: SimulateRequest, program: Program, data: Data, progress: Progress) -> Run:
    """In one piece or in shards: the same run."""
    run, executor = begun(
        program, data, real=request.real, stream=request.stream, reference=request.reference, timing=request.timing,
        placement=request.placement, timeline=bool(request.timeline),
    )  # fmt: skip
    why = whole_because(run.clock, request.stream, bool(request.timeline))
    check_workers(request, why)
    kept, threads = bool(request.spikes), request.threads
    shards = [] if why else shards_of(run)
    with working(request, len(shards)) as engine, progress("simulating", len(data)) as step:
        if engine is None:
            return ended(run, list(parts_of(run, executor, data, kept, threads, step)))
        return run_sharded(run, data, engine, shards, kept, threads, request.reference, request.placement, step)


def _check_outputs(request: SimulateRequest) -> None:
    """Before anything is computed: what is to be written can be, and is not what is read."""
    inputs = [Path(given) for given in (request.program, request.data) if isinstance(given, str | os.PathLike)]
    for option, path in (("--spikes", request.spikes), ("--timeline", request.timeline)):
        if isinstance(path, Path):
            check_output(path, option, inputs, request.overwrite)
            inputs.append(path)
