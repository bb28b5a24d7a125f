"""What happened when, on nc1 and on asynchronous chips; and as JSON, which Perfetto (ui.perfetto.dev) opens.

(Format: "Trace Event Format", Chromium project; complete events "X" and metadata events "M".) One cycle of nc1 is shown
as a microsecond. What layers did and what each step waited for are told beside that, in formats for large traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.asynchronous import AsyncChip, AsyncTiming
from neurocompile.simulator.timing.asynchronous import critical_path as async_critical_path
from neurocompile.simulator.timing.nc1 import PORTS, Timing
from neurocompile.simulator.timing.slices import Piece, Slices, Timeline, Tracks, merged
from neurocompile.targets.nc1.chip import Nc1

__all__ = [
    "Leg", "as_chrome", "as_trace", "async_timeline", "critical_path", "nc1_timeline", "trace_async_events",
    "trace_events",
]  # fmt: skip

_STEPS, _CORES, _LINKS, _LAYERS, _PATH = "steps", "cores", "links", "layers", "critical path"
_PROCESSES = {_STEPS: 0, _CORES: 1, _LINKS: 2}
"""What is in JSON, and the numbers of these groups there."""
_UNITS = ("sweep", "sending", "synapses")
_CYCLES, _PICOSECONDS = 1, 1_000_000
"""In a microsecond."""


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


# -- nc1 ---------------------------------------------------------------------------------------------------------------


def trace_events(chip: Nc1, timing: Timing) -> Iterator[dict[str, Any]]:
    """The slices of all steps; tracks for the steps, for the units of every core and for every link that was used."""
    return as_chrome(Timeline(_CYCLES, _on_nc1(chip, timing)))


def nc1_timeline(chip: Nc1, timing: Timing) -> Timeline:
    """The same, the layers, and the critical path of every step.

    Args:
        chip: the mapped program.
        timing: with events.
    """
    legs = [critical_path(chip, timing, step) for step in range(len(timing.start))]
    paths = [[(leg.what, leg.place, leg.start, leg.stop) for leg in found] for found in legs]
    names = {place: _place(chip, place) for place in range(-1, chip.parameters.cores)}
    return Timeline(_CYCLES, chain(_on_nc1(chip, timing), _nc1_layers(chip, timing), _paths(paths, names)))


def _on_nc1(chip: Nc1, timing: Timing) -> Iterator[Piece]:
    yield Tracks(_STEPS, {0: "step"})
    for step, (start, quiet) in enumerate(zip(timing.start.tolist(), timing.quiet.tolist())):
        sample, own = divmod(step, chip.steps)
        legs = [
            f"{leg.what} at {_place(chip, leg.place)}: {leg.stop - leg.start}"
            for leg in critical_path(chip, timing, step)
        ]
        yield Slices.one(_STEPS, 0, f"sample {sample}, step {own}", start, quiet + 1, waits_for=legs)
    used = np.flatnonzero(chip.core_at >= 0).tolist()
    yield Tracks(_CORES, {3 * p + k: f"core {_place(chip, p)} {unit}" for p in used for k, unit in enumerate(_UNITS)})
    for place in used:
        groups = int(chip.partition.groups[chip.core_at[place]])
        fired = timing.fired[timing.fired[:, 1] == place, 0]
        for start, quiet in zip(timing.start.tolist(), timing.quiet.tolist()):
            mine = fired[(fired >= start) & (fired <= quiet)]
            end = max(start + groups + 2, int(mine.max(initial=0)) + 1)
            yield Slices.one(_CORES, 3 * place, "sweep", start, end, vectors=len(mine))
        sent = timing.events[timing.events[:, 2] == place, 0]
        yield Slices(_CORES, 3 * place + 1, "flits", *merged(sent, sent + 1))
        _, begins, ends = _words(chip, timing, place)
        yield Slices(_CORES, 3 * place + 2, "words", *merged(begins, ends))
    links = sorted({(p, o) for p, o in np.unique(timing.crossings[:, 1:], axis=0).tolist() if PORTS[o] != "local"})
    yield Tracks(_LINKS, {5 * p + o: f"{_place(chip, p)} {PORTS[o]}" for p, o in links})
    for place, output in links:
        cycles = timing.crossings[(timing.crossings[:, 1] == place) & (timing.crossings[:, 2] == output), 0]
        yield Slices(_LINKS, 5 * place + output, "flits", *merged(cycles, cycles + 1))


def _nc1_layers(chip: Nc1, timing: Timing) -> Iterator[Piece]:
    """In each step when a layer fired, and when any core read words of its spikes."""
    names = list(chip.netlist.populations)
    heard: dict[int, list[tuple[Array, Array]]] = {number: [] for number in range(len(names))}
    for core, place in enumerate(chip.place.tolist()):
        axons, begins, ends = _words(chip, timing, place)
        sources = chip.routes.axon_source[chip.axons_of(core)][axons]
        for number in np.unique(sources).tolist():
            heard[number].append(merged(begins[sources == number], ends[sources == number]))
    owner = np.full((chip.parameters.cores, chip.parameters.groups), -1)
    for core, groups in enumerate(chip.partition.owner):
        owner[chip.place[core], : len(groups)] = [names.index(name) for name in groups]
    by = owner[timing.fired[:, 1], timing.fired[:, 2]]
    yield _layer_tracks(names)
    for number in range(len(names)):
        cycles = timing.fired[by == number, 0]
        yield from _fires(number, timing.start, timing.quiet, cycles, cycles + 1, "vectors")
        yield _heard(number, heard[number])


def _words(chip: Nc1, timing: Timing, place: int) -> tuple[Array, Array, Array]:
    """The axon of each event that a core takes, in their order, and from when to when it reads words of it, ``[n]``.

    An event's first word is read after its axon is, and after the words of those before.
    """
    taken = timing.events[timing.events[:, 3] == place]
    taken = taken[np.argsort(taken[:, 1], kind="stable")]
    words = chip.routes.axon_words[chip.axons_of(int(chip.core_at[place]))]
    count = np.maximum(words[taken[:, 4]], 1)
    read = np.cumsum(count)
    ends = read + np.maximum.accumulate(taken[:, 1] + 1 - (read - count)) + 1
    return taken[:, 4], ends - count, ends


def _place(chip: Nc1, place: int) -> str:
    return "the host" if place < 0 else f"({place % chip.parameters.mesh_x}, {place // chip.parameters.mesh_x})"


# -- asynchronous chips ------------------------------------------------------------------------------------------------


def trace_async_events(chip: AsyncChip, timing: AsyncTiming) -> Iterator[dict[str, Any]]:
    """The slices of an asynchronous chip, in true microseconds: steps, what each core works on, who waits for whom.

    Args:
        chip: the program on its cores; the last of them stands for the host.
        timing: with events.
    """
    return as_chrome(Timeline(_PICOSECONDS, _on_cores(chip, timing)))


def async_timeline(chip: AsyncChip, timing: AsyncTiming, layers: Mapping[str, Array]) -> Timeline:
    """The same, the layers, and the critical path of every step.

    Args:
        chip: the program on its cores; the last of them stands for the host.
        timing: with events.
        layers: the neurons of each, by their numbers on the chip.
    """
    legs = [async_critical_path(chip, timing, step) for step in range(len(timing.start))]
    paths = [[(leg.what, leg.core, leg.start, leg.stop) for leg in found] for found in legs]
    names = {core: f"core {core}" for core in range(chip.cores - 1)} | {chip.cores - 1: "the host"}
    pieces = chain(_on_cores(chip, timing), _async_layers(chip, timing, layers), _paths(paths, names))
    return Timeline(_PICOSECONDS, pieces)


def _on_cores(chip: AsyncChip, timing: AsyncTiming) -> Iterator[Piece]:
    yield Tracks(_STEPS, {0: "step", 1: "waits for"})
    for step, (start, quiet) in enumerate(zip(timing.start.tolist(), timing.quiet.tolist())):
        yield Slices.one(_STEPS, 0, f"step {step}", start, quiet)
        for leg in async_critical_path(chip, timing, step):
            yield Slices.one(_STEPS, 1, f"{leg.what} of core {leg.core}", leg.start, leg.stop)
    names = {
        2 * c + k: f"core {c} {unit}" for c in range(chip.cores - 1) for k, unit in enumerate(("sends", "receives"))
    }
    yield Tracks(_CORES, names)
    sender, receiver = chip.core_of[timing.events[:, 1]], chip.axon_core[timing.events[:, 2]]
    for core in range(chip.cores - 1):
        sent = timing.events[sender == core]
        yield Slices(_CORES, 2 * core, "messages", *merged(sent[:, 3], np.maximum(sent[:, 4], sent[:, 3] + 1)))
        taken = timing.events[receiver == core]
        yield Slices(_CORES, 2 * core + 1, "synapses", *merged(taken[:, 6], np.maximum(taken[:, 7], taken[:, 6] + 1)))


def _async_layers(chip: AsyncChip, timing: AsyncTiming, layers: Mapping[str, Array]) -> Iterator[Piece]:
    """In each step when a layer sent messages, and when any core worked on them."""
    by = np.full(chip.neurons, -1)
    for number, neurons in enumerate(layers.values()):
        by[neurons] = number
    sender = by[timing.events[:, 1]]
    yield _layer_tracks(layers)
    for number in range(len(layers)):
        own = timing.events[sender == number]
        yield from _fires(number, timing.start, timing.quiet, own[:, 3], own[:, 4], "messages")
        yield _heard(number, [(own[:, 6], own[:, 7])])


# -- both --------------------------------------------------------------------------------------------------------------


def _layer_tracks(names: Iterable[str]) -> Tracks:
    return Tracks(_LAYERS, {2 * n + k: f"{name} {did}" for n, name in enumerate(names) for k, did in enumerate(_DID)})


_DID = ("fires", "is heard")


def _fires(number: int, start: Array, quiet: Array, begins: Array, ends: Array, what: str) -> Iterator[Slices]:
    """In each step one slice, from the first to the last that a layer sends; ``what`` counts it."""
    step = np.searchsorted(start, begins, "right") - 1
    for k in np.unique(step).tolist():
        own = step == k
        first, last = int(begins[own].min()), int(ends[own].max())
        yield Slices.one(_LAYERS, 2 * number, "fires", first, last, **{what: int(own.sum())})


def _heard(number: int, parts: list[tuple[Array, Array]]) -> Slices:
    """When any core worked on what a layer sent; ``parts`` are starts and stops."""
    none = np.zeros(0, np.int64)
    starts, stops = (np.concatenate([none, *each]) for each in zip(*parts)) if parts else (none, none)
    return Slices(_LAYERS, 2 * number + 1, "synapses", *merged(starts, stops))


def _paths(steps: Sequence[Sequence[tuple[str, int, int, int]]], names: Mapping[int, str]) -> Iterator[Piece]:
    """What each step waited for: what, where, from when to when; arrows lead along the way."""
    there = sorted({where for legs in steps for _, where, _, _ in legs})
    yield Tracks(_PATH, {number: names[where] for number, where in enumerate(there)})
    for flow, legs in enumerate(steps, 1):
        for what, where, start, stop in legs:
            yield Slices.one(_PATH, there.index(where), what, start, stop, flow)


# -- JSON --------------------------------------------------------------------------------------------------------------


def as_trace(events: Iterator[dict[str, Any]], unit: str) -> dict[str, Any]:
    """A whole file: the events, and what a unit of their time is."""
    return {"displayTimeUnit": "ns", "otherData": {"unit": unit}, "traceEvents": list(events)}


def as_chrome(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """The steps, cores and links of a timeline as events of the trace-event format, one by one."""
    us = 1 if timeline.ticks_per_us == 1 else 1 / timeline.ticks_per_us
    for piece in timeline:
        process = _PROCESSES[piece.group]
        if isinstance(piece, Tracks):
            yield _named("process_name", process, 0, piece.group)
            for number, name in piece.names.items():
                yield _named("thread_name", process, number, name)
            continue
        about = {"args": dict(piece.about)} if piece.about else {}
        for start, stop in zip(piece.start.tolist(), piece.stop.tolist()):
            found = {"name": piece.name, "ph": "X", "ts": start * us, "dur": (stop - start) * us}
            yield {**found, "pid": process, "tid": piece.track, **about}


def _named(kind: str, process: int, track: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": track, "args": {"name": name}}
