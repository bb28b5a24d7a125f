"""What happened when, as slices on tracks: the Chrome trace-event format, which Perfetto (ui.perfetto.dev) opens.

(Format: "Trace Event Format", Chromium project; complete events "X" and metadata events "M".) One cycle of nc1 is shown
as a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.asynchronous import AsyncChip, AsyncTiming
from neurocompile.simulator.timing.asynchronous import critical_path as async_critical_path
from neurocompile.simulator.timing.nc1 import PORTS, Timing
from neurocompile.targets.nc1.chip import Nc1

__all__ = ["Leg", "as_trace", "critical_path", "trace_async_events", "trace_events"]

_STEPS, _CORES, _LINKS = range(3)
_UNITS = ("sweep", "sending", "synapses")


@dataclass(frozen=True)
class Leg:
    """A part of what a step waited for: what happened, at which place (-1: the host), from one cycle to another."""

    what: str
    place: int
    start: int
    stop: int


def critical_path(chip: Nc1, timing: Timing, step: int) -> list[Leg]:
    """What the end of a step waited for: the last event of the core that rested last, back to the neuron that sent it.

    Args:
        chip: the mapped program.
        timing: with events.
        step: counted over all samples.
    """
    start, quiet = int(timing.start[step]), int(timing.quiet[step])
    place = int(timing.idle[step].argmax())
    rests = int(timing.idle[step][place])
    own = (timing.events[:, 3] == place) & (timing.events[:, 1] >= start) & (timing.events[:, 1] <= quiet)
    if rests < quiet or not own.any():
        # A flit for the host was the last to move, or nothing but the sweep.
        return [Leg("network" if rests < quiet else "sweep", place, start, quiet)]
    entered, left, sender, _, axon, _ = timing.events[np.flatnonzero(own)[timing.events[own, 1].argmax()]].tolist()
    legs = [Leg("network", place, entered, left), Leg("synapses", place, left, rests)]
    if sender < 0:
        return [Leg("sending", -1, start, entered), *legs]
    row = chip.routes.axon_first[chip.core_at[place]] + axon
    population = list(chip.netlist.populations)[chip.routes.axon_source[row]]
    group = int(chip.partition.slot[population][chip.routes.axon_neuron[row]]) // chip.parameters.lanes
    fired = timing.fired[(timing.fired[:, 1] == sender) & (timing.fired[:, 2] == group) & (timing.fired[:, 0] >= start)]
    cycle = int(fired[0, 0])
    return [Leg("sweep", sender, start, cycle), Leg("sending", sender, cycle, entered), *legs]


def trace_events(chip: Nc1, timing: Timing) -> Iterator[dict[str, Any]]:
    """The slices of all steps; tracks for the steps, for the units of every core and for every link that was used."""
    yield from _named(_STEPS, "steps", {0: "step"})
    for step, (start, quiet) in enumerate(zip(timing.start.tolist(), timing.quiet.tolist())):
        sample, own = divmod(step, chip.steps)
        legs = [
            f"{leg.what} at {_place(chip, leg.place)}: {leg.stop - leg.start}"
            for leg in critical_path(chip, timing, step)
        ]
        yield _slice(_STEPS, 0, f"sample {sample}, step {own}", start, quiet + 1 - start, waits_for=legs)
    used = np.flatnonzero(chip.core_at >= 0).tolist()
    yield from _named(
        _CORES, "cores", {3 * p + k: f"core {_place(chip, p)} {unit}" for p in used for k, unit in enumerate(_UNITS)}
    )
    words = chip.routes.axon_words
    for place in used:
        groups = int(chip.partition.groups[chip.core_at[place]])
        fired = timing.fired[timing.fired[:, 1] == place, 0]
        for start, quiet in zip(timing.start.tolist(), timing.quiet.tolist()):
            mine = fired[(fired >= start) & (fired <= quiet)]
            end = max(start + groups + 2, int(mine.max(initial=0)) + 1)
            yield _slice(_CORES, 3 * place, "sweep", start, end - start, vectors=len(mine))
        sent = timing.events[timing.events[:, 2] == place, 0]
        for start, stop in _runs(sent, np.ones(len(sent), np.int64)):
            yield _slice(_CORES, 3 * place + 1, "flits", start, stop - start)
        taken = timing.events[timing.events[:, 3] == place]
        taken = taken[np.argsort(taken[:, 1], kind="stable")]
        count = words[chip.axons_of(int(chip.core_at[place]))][taken[:, 4]]
        for start, stop in _runs(_begins(taken[:, 1], count), np.maximum(count, 1)):
            yield _slice(_CORES, 3 * place + 2, "words", start, stop - start)
    links = sorted({(p, o) for p, o in np.unique(timing.crossings[:, 1:], axis=0).tolist() if PORTS[o] != "local"})
    yield from _named(_LINKS, "links", {5 * p + o: f"{_place(chip, p)} {PORTS[o]}" for p, o in links})
    for place, output in links:
        cycles = timing.crossings[(timing.crossings[:, 1] == place) & (timing.crossings[:, 2] == output), 0]
        for start, stop in _runs(cycles, np.ones(len(cycles), np.int64)):
            yield _slice(_LINKS, 5 * place + output, "flits", start, stop - start)


def _begins(popped: Array, words: Array) -> Array:
    """The cycle in which each event's first word is read: after its axon is, and after the words before."""
    begins = np.empty(len(popped), np.int64)
    free = 0
    for k, (cycle, count) in enumerate(zip(popped.tolist(), words.tolist())):
        taken = max(cycle + 1, free)
        begins[k], free = taken + 1, taken + max(count, 1)
    return begins


def _runs(starts: Array, lengths: Array) -> Iterator[tuple[int, int]]:
    """Slices that touch, as one."""
    if not len(starts):
        return
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], starts[order] + lengths[order]
    breaks = np.flatnonzero(starts[1:] > ends[:-1]) + 1
    for first, last in zip([0, *breaks], [*breaks, len(starts)]):
        yield int(starts[first]), int(ends[last - 1])


def _place(chip: Nc1, place: int) -> str:
    return "the host" if place < 0 else f"({place % chip.parameters.mesh_x}, {place // chip.parameters.mesh_x})"


def as_trace(events: Iterator[dict[str, Any]], unit: str) -> dict[str, Any]:
    """A whole file: the events, and what a unit of their time is."""
    return {"displayTimeUnit": "ns", "otherData": {"unit": unit}, "traceEvents": list(events)}


def _named(process: int, name: str, tracks: dict[int, str]) -> Iterator[dict[str, Any]]:
    yield {"name": "process_name", "ph": "M", "pid": process, "tid": 0, "args": {"name": name}}
    for number, track in tracks.items():
        yield {"name": "thread_name", "ph": "M", "pid": process, "tid": number, "args": {"name": track}}


def _slice(process: int, track: int, name: str, start: float, duration: float, **about: Any) -> dict[str, Any]:
    found = {"name": name, "ph": "X", "ts": start, "dur": duration, "pid": process, "tid": track}
    return {**found, "args": about} if about else found


def trace_async_events(chip: AsyncChip, timing: AsyncTiming) -> Iterator[dict[str, Any]]:
    """The slices of an asynchronous chip, in true microseconds: steps, what each core works on, who waits for whom.

    Args:
        chip: the program on its cores; the last of them stands for the host.
        timing: with events.
    """
    unit = 1e-6  # of picoseconds
    yield from _named(_STEPS, "steps", {0: "step", 1: "waits for"})
    for step, (start, quiet) in enumerate(zip(timing.start.tolist(), timing.quiet.tolist())):
        yield _slice(_STEPS, 0, f"step {step}", start * unit, (quiet - start) * unit)
        for leg in async_critical_path(chip, timing, step):
            yield _slice(_STEPS, 1, f"{leg.what} of core {leg.core}", leg.start * unit, (leg.stop - leg.start) * unit)
    names = {
        2 * c + k: f"core {c} {unit}" for c in range(chip.cores - 1) for k, unit in enumerate(("sends", "receives"))
    }
    yield from _named(_CORES, "cores", names)
    sender, receiver = chip.core_of[timing.events[:, 1]], chip.axon_core[timing.events[:, 2]]
    for core in range(chip.cores - 1):
        sent = timing.events[sender == core]
        for start, stop in _runs(sent[:, 3], np.maximum(sent[:, 4] - sent[:, 3], 1)):
            yield _slice(_CORES, 2 * core, "messages", start * unit, (stop - start) * unit)
        taken = timing.events[receiver == core]
        for start, stop in _runs(taken[:, 6], np.maximum(taken[:, 7] - taken[:, 6], 1)):
            yield _slice(_CORES, 2 * core + 1, "synapses", start * unit, (stop - start) * unit)
