"""A program on nc1, in clock cycles (docs/nc1.md): when each neuron fires, each event arrives, each core rests."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from neurocompile.errors import Problem, ToolFailed
from neurocompile.ir.ops import Array
from neurocompile.targets.nc1.chip import Nc1, Steps

_native: Any = None
with suppress(ImportError):
    _native = import_module("neurocompile.simulator.timing._native")

__all__ = ["PORTS", "Nc1Timer", "Timing", "time_on_nc1", "timing_missing"]

PORTS = ("north", "east", "south", "west", "local")
_LIMIT = 1 << 40


@dataclass(frozen=True, eq=False)
class Timing:
    """When things happened, in cycles from the first; places are those of the mesh.

    Attributes:
        start: the first cycle of each step, ``[steps]``.
        quiet: the cycle of each step in which nothing moves any more.
        idle: the cycle since which each place has been idle at the end of each step, ``[steps, places]``.
        fired: cycle, place and group of each spike vector, ``[vectors, 3]``, sorted by cycle, then place.
        events: of each flit the cycle in which it enters its first FIFO, the cycle in which its core (or the host, -1)
            takes it, where it comes from (-1: the host), where it goes, its axon and its step, ``[flits, 6]``.
        crossings: cycle, router and output of every flit that left a router, ``[crossings, 3]``.
        words: synapse words that each place read.
        stalled: cycles that its sweep lost to a full spike FIFO.
        blocked: cycles in which a flit of its own waited for its router.
        flits: sent by each router through each of :data:`PORTS`, ``[places, 5]``.
        waiting: cycles in which an output had a flit but no credit.
        fullest: the most flits in each of a router's FIFOs.
        hops: links crossed.
    """

    start: Array
    quiet: Array
    idle: Array
    fired: Array
    events: Array
    crossings: Array
    words: Array
    stalled: Array
    blocked: Array
    flits: Array
    waiting: Array
    fullest: Array
    hops: int

    @property
    def cycles(self) -> int:
        """All of them, up to the one in which the last step is seen to be quiet."""
        return int(self.quiet[-1]) + 1


def timing_missing() -> str:
    """Why there is no compiled timing simulator; empty if there is one."""
    if _native is not None:
        return ""
    return "the compiled timing simulator is not installed: install a C++17 compiler and then the package again"


class Nc1Timer:
    """A chip that goes on, from one run to the next, as the RTL does.

    Args:
        chip: a mapped program.
        limit: the most cycles that one step may take.

    Raises:
        ToolFailed: without the compiled simulator.
    """

    def __init__(self, chip: Nc1, limit: int = _LIMIT) -> None:
        if timing_missing():
            raise ToolFailed(Problem(timing_missing(), "neurocompile.simulator.timing", fix="pip install ."))
        given = {name: value for name, value in asdict(chip.parameters).items() if name in _PARAMETERS}
        self._limit = limit
        self._simulator = _native.Nc1(given, _memories(chip))

    def run(self, steps: Steps, *, events: bool = True) -> Timing:
        """When what happens in some steps happens.

        Args:
            steps: of :meth:`Nc1.steps_of`.
            events: whether to keep every single spike vector, flit and crossing.

        Raises:
            ToolFailed: for a step that does not end.
        """
        happens = {"count": steps.samples * steps.steps, **{name: getattr(steps, name) for name in _HAPPENS}}
        try:
            found = self._simulator.run(happens, events, self._limit)
        except _native.Stuck as error:
            fix = "spread the network over more cores, or raise the limit"
            raise ToolFailed(Problem(str(error), "nc1", fix=fix)) from None
        order = np.lexsort((found["fired"][:, 1], found["fired"][:, 0]))
        return Timing(
            start=found["step_start"], quiet=found["step_quiet"], idle=found["idle"], fired=found["fired"][order],
            **{name: found[name] for name in _FOUND},
        )  # fmt: skip


def time_on_nc1(chip: Nc1, steps: Steps, *, events: bool = True, limit: int = _LIMIT) -> Timing:
    """What :class:`Nc1Timer` says of a chip that has just been reset."""
    return Nc1Timer(chip, limit).run(steps, events=events)


_PARAMETERS = ("mesh_x", "mesh_y", "lanes", "router_depth", "input_depth", "spike_depth", "barrier")
_HAPPENS = ("vector_first", "group", "bits", "host_first", "host_core", "host_axon")
_FOUND = ("events", "crossings", "words", "stalled", "blocked", "flits", "waiting", "fullest", "hops")


def _memories(chip: Nc1) -> dict[str, Array]:
    """What of the memories time depends on, place by place."""
    routes, cores = chip.routes, chip.partition.cores
    groups = np.zeros(chip.parameters.cores, np.int64)
    groups[chip.place] = chip.partition.groups
    sizes, axons = np.zeros((2, chip.parameters.cores), np.int64)
    none = np.zeros(0, np.int64)
    counts, rows, words = [none], [none], [none]
    for place, core in enumerate(chip.core_at):
        if core < 0:
            continue
        first, own = chip.fanout_of(core)
        counts.append(np.diff(first))
        rows.append(own)
        words.append(routes.axon_words[chip.axons_of(core)])
        sizes[place], axons[place] = len(first) - 1, len(words[-1])
    row = np.concatenate(rows)
    to = routes.entry_core[row]
    return {
        "groups": groups,
        "neuron_first": np.cumsum([0, *sizes]),
        "axon_first": np.cumsum([0, *axons]),
        "entry_first": np.cumsum(np.concatenate([[0], *counts])),
        "words": np.concatenate(words),
        "entry_core": np.where(to == cores, -1, np.append(chip.place, -1)[to]),
        "entry_axon": routes.entry_axon[row],
    }
