"""Asynchronous chips (Loihi) event by event: when each message is sent, received and worked on, and what that costs.

docs/timing.md says what happens when. Times are in picoseconds, energies in picojoules; both come from a target's
``[events]``, each with its source (``neurocompile/targets/loihi-sanafe.toml``). The published constants are averages,
so this is a timing model, and no cycle-exact simulation: there is no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from neurocompile.errors import DoesNotFit, Problem, ToolFailed
from neurocompile.ir.ops import Array
from neurocompile.targets import load_events
from neurocompile.targets.events import EVENTS, HOPS, PARTS, AsyncEvents, AsyncMesh

_native: Any = None
with suppress(ImportError):
    _native = import_module("neurocompile.simulator.timing._native")

__all__ = [
    "EVENTS", "PARTS", "AsyncChip", "AsyncEvents", "AsyncMesh", "AsyncTimer", "AsyncTiming", "Energy",
    "IntegrateAndFire", "Leg", "Routing", "critical_path", "load_events", "map_synapses",
]  # fmt: skip

Routing = Literal["links", "density", "sanafe"]

PORTS = ("north", "east", "south", "west")
"""Outputs of a router; those that follow lead into the cores of its tile. North is where y grows."""

KINDS = PARTS["synapse"]
"""Kinds of synapses, by how a core stores them."""


@dataclass(frozen=True, eq=False)
class AsyncChip:
    """Neurons and their axons on cores, as far as time and energy depend on them.

    A message goes to one core and carries the number of an axon there; the core then works on all its synapses.

    Attributes:
        mesh: of the chip.
        place: of each core that is used, ``tile * cores_per_tile + port``.
        neuron_first: divides neurons, which are numbered core after core in the order of their update, ``[cores + 1]``.
        axon_first: divides axons, ``[neurons + 1]``; a neuron sends its messages in their order.
        axon_core: where each axon leads, an index into ``place``.
        axon_synapses: how many synapses of each of :data:`KINDS` a message meets there, writes into halos among them,
            ``[axons, kinds]``.
        number: of each neuron, in the caller's order.
        axon_halo: how many of the writes are into halos, ``[axons]``.
    """

    mesh: AsyncMesh
    place: Array
    neuron_first: Array
    axon_first: Array
    axon_core: Array
    axon_synapses: Array
    number: Array
    axon_halo: Array

    @property
    def cores(self) -> int:
        """How many are used."""
        return len(self.place)

    @property
    def neurons(self) -> int:
        """How many, on all cores."""
        return int(self.neuron_first[-1])

    @property
    def core_of(self) -> Array:
        """The core of each neuron, by its number."""
        return np.repeat(np.arange(self.cores), np.diff(self.neuron_first))

    @property
    def x(self) -> Array:
        """The column of each core's tile."""
        return np.asarray(self.place // self.mesh.cores_per_tile // self.mesh.height)

    @property
    def y(self) -> Array:
        """The row of each core's tile."""
        return np.asarray(self.place // self.mesh.cores_per_tile % self.mesh.height)

    @property
    def tiles(self) -> int:
        """How many have a core that is used."""
        return len(np.unique(self.place // self.mesh.cores_per_tile))

    def synapses(self) -> Array:
        """Synapses that each axon meets, of any kind."""
        return np.asarray(self.axon_synapses.sum(1))

    def hops(self) -> Array:
        """Links that a message of each axon crosses, by :data:`PORTS`, ``[axons, 4]``."""
        source = np.repeat(self.core_of, np.diff(self.axon_first))
        dx, dy = (each[self.axon_core] - each[source] for each in (self.x, self.y))
        return np.stack([dy.clip(0), dx.clip(0), (-dy).clip(0), (-dx).clip(0)], 1)


def map_synapses(
    mesh: AsyncMesh,
    core: Array,
    pre: Array,
    post: Array,
    kind: str | Array = "synapse_dense",
    place: Array | None = None,
    part: Array | None = None,
    beside: tuple[Array, Array, Array] | None = None,
    turn: Array | None = None,
) -> AsyncChip:
    """Axons for synapses: one from each neuron to each core that it reaches, cores in their order.

    Args:
        mesh: of the chip.
        core: of each neuron; neurons of one core are updated in their order here.
        pre: the neuron that each synapse comes from.
        post: the neuron that each leads to.
        kind: of all synapses, or of each (an index into :data:`KINDS`).
        place: of each core; in order if None.
        part: of each neuron, parts of cores in their order: an axon leads to one of them.
        beside: neurons, parts that they reach, and what they write there beside synapses: into halos.
        turn: of each neuron; those of one core are updated by rising turns, and in their order here if None.

    Raises:
        DoesNotFit: for more cores than places.
    """
    core = np.asarray(core)
    part = core if part is None else np.asarray(part)
    cores = int(core.max(initial=-1)) + 1
    if place is None:
        place = np.arange(cores)
    if cores > mesh.cores or len(place) < cores:
        raise DoesNotFit(Problem("more cores than the mesh has", "mesh", str(cores), str(mesh.cores)))
    order = np.argsort(core, kind="stable") if turn is None else np.lexsort((turn, core))
    number = np.empty(len(core), np.int64)
    number[order] = np.arange(len(core))
    parts = max(int(part.max(initial=-1)) + 1, 1)
    core_of_part = np.zeros(parts, np.int64)
    core_of_part[part] = core
    key = number[pre] * parts + part[post]
    kinds = np.full(len(key), KINDS.index(kind)) if isinstance(kind, str) else np.asarray(kind)
    axon, inverse = np.unique(key, return_inverse=True)
    synapses = np.zeros((len(axon), len(KINDS)), np.int64)
    for k in np.unique(kinds):
        synapses[:, k] = np.bincount(inverse[kinds == k], minlength=len(axon))
    halo = np.zeros(len(axon), np.int64)
    if beside is not None:
        neuron, reached, writes = beside
        np.add.at(halo, np.searchsorted(axon, number[neuron] * parts + reached), writes)
        synapses[:, KINDS.index("synapse_dense")] += halo
    return AsyncChip(
        mesh,
        np.asarray(place)[:cores],
        np.searchsorted(core[order], np.arange(cores + 1)),
        np.searchsorted(axon // parts, np.arange(len(core) + 1)),
        core_of_part[axon % parts],
        synapses,
        number,
        halo,
    )


@dataclass(frozen=True, eq=False)
class IntegrateAndFire:
    """Neurons that the timer computes itself, in integers: no decay, fire above the threshold.

    Attributes:
        threshold: of each neuron, in the order that the chip was mapped from.
        pre: where each synapse comes from.
        post: where it leads.
        weight: added to the membrane in the step after.
        bias: added in every step.
        reset: what the membrane becomes after a spike.
        subtracts: where the threshold is subtracted instead.
        start: the membrane at first.
        order: of neurons in memory, any permutation of them: fast where targets of one neuron follow one another.
    """

    threshold: Array
    pre: Array
    post: Array
    weight: Array
    bias: Array | int = 0
    reset: Array | int = 0
    subtracts: Array | bool = False
    start: Array | int = 0
    order: Array | None = None

    @property
    def growth(self) -> tuple[float, float]:
        """How far a membrane can be from 0 at first, and how much farther each step can take it."""
        n = len(self.threshold)
        inflow = np.bincount(self.post, np.abs(self.weight), n) + np.abs(np.broadcast_to(self.bias, n))
        most = [float(np.abs(each).max(initial=0)) for each in (self.threshold, self.start, self.reset)]
        return sum(most), float(inflow.max(initial=0))


@dataclass(frozen=True)
class Energy:
    """Joules by part of the chip, in pJ: (min, nominal, max) of each of :data:`PARTS`, and their total."""

    parts: Mapping[str, tuple[float, float, float]]

    @property
    def total(self) -> tuple[float, float, float]:
        """All parts together."""
        low, nominal, high = np.sum(list(self.parts.values()), 0).tolist()
        return low, nominal, high


@dataclass(frozen=True, eq=False)
class AsyncTiming:
    """When things happened, in ps from the first moment.

    Attributes:
        start: of each step.
        quiet: when each step has nothing left to do; the barrier follows.
        idle: since when each core had been, at the end of each step, ``[steps, cores]``.
        counts: of each of :data:`EVENTS`, ``[steps]``.
        fires: of each neuron, by its number on the chip.
        fired: of all neurons, ``[steps]``.
        computing: time that each core spent on neurons and on sending.
        working: time that each core spent on what it received.
        blocked: time that each core's messages waited to be sent.
        messages: that left each router by each output, ``[tiles, ports]``.
        busy: time that each output was.
        waiting: time that each output had a message, but no room behind it.
        events: of each message its step, neuron and axon; when it was ready, left its core, reached the other, was
            taken by it, and had been worked on, ``[messages, 8]``. Empty unless kept.
        spikes: step and neuron of each, ``[spikes, 2]``. Empty unless kept.
        barrier: the time after each step.
    """

    start: Array
    quiet: Array
    idle: Array
    counts: Mapping[str, Array]
    fires: Array
    fired: Array
    computing: Array
    working: Array
    blocked: Array
    messages: Array
    busy: Array
    waiting: Array
    events: Array
    spikes: Array
    barrier: int

    @property
    def latency(self) -> Array:
        """Of each step, its barrier included, in ps."""
        return np.asarray(self.quiet - self.start + self.barrier)

    @property
    def synaptic_events(self) -> Array:
        """Synapses that were met, ``[steps]``."""
        met: Array = np.sum([self.counts[name] for name in KINDS], 0)
        return met

    def energy(self, events: AsyncEvents, steps: slice = slice(None)) -> Energy:
        """What happened in some steps, times what each event costs."""
        parts: dict[str, tuple[float, float, float]] = {}
        for part, names in PARTS.items():
            found = np.zeros(3)
            for name in names:
                each = events.energy[name]
                found += int(self.counts[name][steps].sum()) * np.array([each.min, each.nominal, each.max])
            parts[part] = (float(found[0]), float(found[1]), float(found[2]))
        return Energy(parts)


class AsyncTimer:
    """Times a chip, step after step: with spikes from elsewhere, or with neurons that it computes itself.

    Args:
        chip: what is on its cores.
        events: what each event costs.
        routing: what happens between cores. "links": each message moves from FIFO to FIFO, links carry one after the
            other, full FIFOs stop what is behind them. "density": no single link is simulated; a message is late by
            what is on its route at that moment, times the mean time that receivers need (SANA-FE's "detailed" model,
            ``src/schedule.cpp``). "sanafe": the same in SANA-FE's arithmetic, floating point and the order of a heap,
            which is many times slower, and the same to the last digit.
        threads: that work on different steps at the same time. The result is the same.

    Raises:
        ToolFailed: without the compiled simulator.
    """

    def __init__(self, chip: AsyncChip, events: AsyncEvents, routing: Routing = "links", threads: int = 1) -> None:
        if _native is None:
            what = "the compiled timing simulator is not installed: install a C++17 compiler and then the package again"
            raise ToolFailed(Problem(what, "neurocompile.simulator.timing", fix="pip install ."))
        self.chip, self.barrier = chip, events.barrier_picoseconds(chip.tiles)
        costs = {
            "access": "neuron_access", "update": "neuron_update", "spike": "neuron_spike", "message_out": "message_out",
            "tile": "tile", "link_cycle": "link_cycle", **{name: name for name in HOPS},
        }  # fmt: skip
        self._growth: tuple[float, float] = (0.0, 0.0)
        self._steps = 0
        self._native = _native.Asynchronous(
            {**{name: events.picoseconds(event) for name, event in costs.items()}, "barrier": self.barrier},
            vars(chip.mesh),
            _memories(chip, events, routing),
            routing,
            threads,
        )

    def simulate(self, network: IntegrateAndFire) -> None:
        """Compute these neurons in each :meth:`run`, which goes on from the last."""
        n, order = self.chip.neurons, network.order if network.order is not None else np.arange(self.chip.neurons)
        rank = np.empty(n, np.int32)
        rank[order] = np.arange(n, dtype=np.int32)
        pre, post = rank[network.pre], rank[network.post]
        sort = np.argsort(pre.astype(np.int64) * n + post, kind="stable")
        each = {name: np.broadcast_to(getattr(network, name), n)[order] for name in _EACH}
        self._growth, self._steps = network.growth, 0
        self._native.simulate(
            {
                **each,
                "number": self.chip.number[order],
                "synapse_first": np.concatenate([[0], np.cumsum(np.bincount(pre, minlength=n))]),
                "target": post[sort],
                "weight": np.asarray(network.weight)[sort],
            }
        )

    def run(self, steps: int, *, keep: bool = False) -> AsyncTiming:
        """Some steps of the network that is simulated.

        Args:
            steps: how many.
            keep: every single message and spike.

        Raises:
            DoesNotFit: for membranes that could overflow.
        """
        most = self._growth[0] + self._growth[1] * (self._steps + steps + 1)
        if most >= 2**31:
            raise DoesNotFit(Problem("a membrane could leave 32 bits", "neurons", f"{most:.3g}", f"{2**31}"))
        self._steps += steps
        return self._timing(self._native.run(steps, keep))

    def replay(
        self, steps: int, fired: tuple[Array, Array], active: tuple[Array, Array] | None = None, *, keep: bool = False
    ) -> AsyncTiming:
        """Some steps in which neurons fire that are known.

        Args:
            steps: how many.
            fired: step and neuron (in the order that the chip was mapped from) of each spike.
            active: the same of each neuron that has something to update; all have in all steps if None.
            keep: every single message and spike.
        """
        given: dict[str, Any] = {"count": steps}
        for name, pairs in (("fired", fired), ("active", active)):
            if pairs is None:
                continue
            step, neuron = np.asarray(pairs[0], np.int64), self.chip.number[pairs[1]]
            order = np.lexsort((neuron, step))
            given[name] = neuron[order]
            given[f"{name}_first"] = np.searchsorted(step[order], np.arange(steps + 1))
        return self._timing(self._native.replay(given, keep))

    def _timing(self, found: dict[str, Array]) -> AsyncTiming:
        causes = dict(zip(_CAUSES, found.pop("causes").T))
        steps = len(found["fired"])
        counts = {
            **causes,
            "message_in": causes["message_out"], "tile": causes["message_out"],
            "neuron_access": np.full(steps, self.chip.neurons), "neuron_update": found.pop("updated"),
            "neuron_spike": found["fired"],
        }  # fmt: skip
        return AsyncTiming(counts=counts, barrier=self.barrier, **found)


_EACH = ("threshold", "bias", "reset", "subtracts", "start")
_CAUSES = ("message_out", *KINDS, *HOPS)


def _memories(chip: AsyncChip, events: AsyncEvents, routing: Routing) -> dict[str, Any]:
    times = np.array([events.picoseconds(name) for name in KINDS])
    each = np.concatenate([np.ones((len(chip.axon_core), 1), np.int64), chip.axon_synapses, chip.hops()], 1)
    sums = np.concatenate([np.zeros((1, each.shape[1]), np.int64), np.cumsum(each, 0)])
    return {
        "core_x": chip.x,
        "core_y": chip.y,
        "core_port": chip.place % chip.mesh.cores_per_tile,
        "neuron_first": chip.neuron_first,
        "axon_first": chip.axon_first,
        "axon_core": chip.axon_core,
        "axon_time": events.picoseconds("message_in") + chip.axon_synapses @ times,
        "axon_seconds": _seconds(chip, events) if routing == "sanafe" else np.zeros(0),
        "columns": each.shape[1],
        "causes": sums[chip.axon_first[1:]] - sums[chip.axon_first[:-1]],
    }


def _seconds(chip: AsyncChip, events: AsyncEvents) -> Array:
    """How long a message of each axon keeps its core busy, added up synapse by synapse in floating point."""
    found = np.full(len(chip.axon_core), events.picoseconds("message_in") / 1e12)
    for kind, name in enumerate(KINDS):
        left = chip.axon_synapses[:, kind].copy()
        while left.any():
            found[left > 0] += events.picoseconds(name) / 1e12
            left -= left > 0
    return found


@dataclass(frozen=True)
class Leg:
    """A part of what a step waited for: what happened, in which core, from one moment to another (in ps)."""

    what: Literal["neurons", "blocked", "network", "queue", "synapses"]
    core: int
    start: int
    stop: int


def critical_path(chip: AsyncChip, timing: AsyncTiming, step: int) -> list[Leg]:
    """What the end of a step waited for, from its first moment to its last.

    The last core to rest either worked on messages: then on those that kept it busy without a break, the first of which
    came over the network from a core that had to update neurons first; or it updated neurons itself.

    Args:
        chip: that was timed.
        timing: with events.
        step: counted from the first that was timed.
    """
    start, quiet = int(timing.start[step]), int(timing.quiet[step])
    events = timing.events[(timing.events[:, 3] >= start) & (timing.events[:, 3] <= quiet)]
    core = chip.axon_core[events[:, 2]]
    last = int(timing.idle[step].argmax())
    own = events[core == last]
    own = own[np.argsort(own[:, 6], kind="stable")]
    if not len(own) or own[-1, 7] < quiet:
        return [Leg("neurons", last, start, quiet)]
    k = len(own) - 1
    while k > 0 and own[k, 6] == own[k - 1, 7]:
        k -= 1
    ready, entered, arrived, taken = own[k, 3:7].tolist()
    sender = int(chip.core_of[own[k, 1]])
    legs = [
        Leg("neurons", sender, start, ready),
        Leg("blocked", sender, ready, entered),
        Leg("network", sender, entered, arrived),
        Leg("queue", last, arrived, taken),
        Leg("synapses", last, taken, quiet),
    ]
    return [leg for leg in legs if leg.stop > leg.start]
