"""A Program on data of any length, shard by shard: the same Run as in one piece, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.counts import Counts, LayerCounts
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.timing.clock import Clock, Cuttable
from neurocompile.verbs.progress import Step
from neurocompile.verbs.running import Run, begun, ended, parts_of
from neurocompile.verbs.shards import Border, borders, held, part_of, part_sum, program_sum, source_of
from neurocompile.work import Engine, Kept, Shared, Task, key_of

__all__ = ["in_integers", "run_sharded", "shard", "shards_of", "whole_because"]

# Seconds that a synapse takes in a step, measured on the digits' network (docs/cluster.md).
_IN_INTEGERS, _TIMED, _IN_REALS = 5e-11, 6e-10, 2e-9


def shards_of(run: Run) -> list[Border]:
    """Where the samples of a run are cut."""
    if run.arithmetic == "float64":
        return borders(run.program, run.samples, _IN_REALS)
    return in_integers(run.program, run.samples, run.clock is not None)


def in_integers(program: Program, samples: int, timed: bool) -> list[Border]:
    """The same for a run in integers of which nothing has begun."""
    return borders(program, samples, _TIMED if timed else _IN_INTEGERS)


def whole_because(clock: Clock | None, stream: bool, timeline: bool) -> str:
    """Why samples cannot be cut; "": they can.

    Args:
        clock: that times them.
        stream: whether state goes from one sample to the next.
        timeline: whether the events of the first sample are kept.
    """
    if stream:
        return "--stream keeps the state from one to the next"
    if timeline:
        return "--timeline wants the first one here"
    if clock is not None and not isinstance(clock, Cuttable):
        return "this chip's routers remember one in the next, and so does its clock (--no-timing counts without it)"
    return ""


def run_sharded(
    run: Run,
    data: Data,
    engine: Engine,
    cut: Sequence[Border],
    keep_spikes: bool,
    threads: int | None,
    reference: bool,
    placement: str | None,
    progress: Step,
) -> Run:
    """A run that has begun, shard by shard.

    Args:
        run: of which nothing is done yet.
        data: its samples.
        engine: does the shards.
        cut: their borders.
        keep_spikes: whether the result holds every spike.
        threads: how many samples run at once; None: one for each processor, or one where processes share them.
        reference: by the NumPy reference.
        placement: of the cores.
        progress: called with the number of samples done since the last call.

    Raises:
        NeurocompileError: what a shard raises, or the engine.
    """
    shared, name = Shared(run.program), program_sum(run.program)
    options = {
        "real": run.arithmetic == "float64", "keep_spikes": keep_spikes, "reference": reference,
        "timed": run.clock is not None, "placement": placement,
    }  # fmt: skip
    common = {"program": shared, "name": name, "threads": threads or (1 if engine.workers > 1 else None), **options}
    sums = [part_sum(data.part(*border)) if isinstance(engine, Kept) else "" for border in cut]
    tasks = [
        Task(
            "neurocompile.verbs.sharded:shard",
            {**common, "border": border, **source_of(data, border, known)},
            key_of(name, options, known) if known else "",
            f"samples {border[0]} to {border[1] - 1}",
        )
        for border, known in zip(cut, sums)
    ]
    parts, given = [], dict(run.given)
    for (start, stop), found in zip(cut, engine.run(tasks)):
        parts.append(_trace(found))
        for each, often in found["given"].items():
            given[each] = given.get(each, 0) + often
        if isinstance(run.clock, Cuttable):
            run.clock.add(found["clock"])
        progress(stop - start)
    return ended(replace(run, given=given), parts)


def shard(
    program: Program,
    name: str,
    border: Border,
    *,
    real: bool,
    keep_spikes: bool,
    reference: bool,
    timed: bool,
    placement: str | None,
    threads: int | None,
    folder: Path | None = None,
    **source: Any,
) -> dict[str, Any]:
    """What a program does with the samples of a shard, in plain values: a task.

    Args:
        program: compiled.
        name: its checksum: what is made of it is made once.
        border: of the shard.
        real: in float64.
        keep_spikes: whether the result holds every spike.
        reference: by the NumPy reference.
        timed: whether to time it.
        placement: of the cores.
        threads: how many samples run at once.
        folder: of the data, if they are in files.
        source: of the samples (:func:`neurocompile.verbs.shards.source_of`).
    """
    data = part_of({"folder": folder, **source}, border, program.timesteps)
    how = f"{name} {real} {reference} {timed} {placement}"
    run, executor = held(
        "run", how, lambda: begun(program, data, real=real, reference=reference, timing=timed, placement=placement)
    )
    run.given = {}
    parts = list(parts_of(run, executor, data, keep_spikes, threads, None))
    whole = ended(replace(run, clock=None), parts)
    return {
        "outputs": whole.outputs,
        "spikes": whole.spikes,
        "fired": {layer: int(count) for layer, count in whole.spike_counts.items()},
        "counts": {layer: np.stack(list(vars(each).values())) for layer, each in whole.counts.layers.items()},
        "overflows": int(whole.overflows),
        "clipped": int(whole.clipped),
        "given": run.given,
        "clock": run.clock.taken() if isinstance(run.clock, Cuttable) else None,
    }


def _trace(found: Mapping[str, Any]) -> Trace:
    counts = Counts({layer: LayerCounts(*each) for layer, each in found["counts"].items()})
    return Trace(
        outputs=found["outputs"],
        spikes=found["spikes"],
        fired=found["fired"],
        counts=counts,
        overflows=found["overflows"],
        clipped=found["clipped"],
    )
