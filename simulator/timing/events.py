"""A program on an asynchronous chip (Loihi), in picoseconds and picojoules, by the timing model of docs/timing.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.ops import Array, Integrator, MaxPool
from neurocompile.ir.placed import Placed
from neurocompile.mapping.halos import halo_writes
from neurocompile.mapping.host import chip_graph, host_layers, host_pools
from neurocompile.mapping.netlist import Netlist, netlist_of
from neurocompile.mapping.placement import PLACEMENTS
from neurocompile.program import Program
from neurocompile.simulator.timing.asynchronous import (
    PARTS,
    PORTS,
    AsyncChip,
    AsyncTimer,
    AsyncTiming,
    map_synapses,
)
from neurocompile.simulator.timing.nc1 import timing_missing
from neurocompile.simulator.timing.report import BusyCore, Events, Spread, TimingReport
from neurocompile.simulator.timing.slices import Timeline
from neurocompile.simulator.timing.timeline import as_trace, async_timeline, trace_async_events
from neurocompile.targets import Target, load_events, target_of
from neurocompile.targets.events import AsyncEvents, AsyncMesh

__all__ = ["EventClock", "OnCores", "on_cores"]


@dataclass(frozen=True, eq=False)
class OnCores:
    """Populations on cores, numbered one after the other: neuron n of a population is ``first[population] + n``.

    Inputs (of the network, and layers that the host computes) send from a core of their own, which stands for the
    host: their spikes cost what messages and synapses cost, but no update of a neuron. ``chips`` is how many chips the
    cores take; a second chip's mesh goes on where the first one's ends, as if its links were no others. A spike of a
    population in ``resets`` also goes to a compartment of its own, and meets so many synapses there.
    """

    program: Program
    netlist: Netlist
    first: Mapping[str, int]
    chip: AsyncChip
    chips: int
    resets: Mapping[str, int]

    @property
    def steps(self) -> int:
        """Steps of the chip for one sample."""
        return self.netlist.timesteps + self.netlist.latency


def _events_of(target: Target) -> AsyncEvents:
    """What single events cost: as the target says, or the one that it names."""
    return target.events or load_events(target.timed_as or target.name)


def on_cores(program: Program, placement: str | None = None) -> OnCores:
    """A program on the cores where its target places it, synapse by synapse.

    Args:
        program: compiled for an asynchronous chip.
        placement: of :data:`neurocompile.mapping.placement.PLACEMENTS`; None: the target's usual one.

    Raises:
        DoesNotFit: for what no core holds, and for max-pools, which no core has.
        UsageError: if nothing is known of the events of the target.
    """
    graph, target = chip_graph(program), target_of(program)
    host = host_layers(program) | host_pools(program)
    if pools := [node.name for node in graph.of(MaxPool) if node.name not in host]:
        what = f"no core of {target.name} does a max-pool"
        raise DoesNotFit(Problem(what, ", ".join(pools), fix="use average pooling"))
    netlist = netlist_of(graph, program.timesteps, relays=False, host=host)
    placed = target.place(program, placement)
    assert placed is not None  # a target with a clock has cores
    if placed.excesses:
        raise DoesNotFit(placed.problems(placed.chips))
    sizes = [population.size for population in netlist.populations.values()]
    first = dict(zip(netlist.populations, np.cumsum([0, *sizes]).tolist()))
    neurons, blocks, empty = sum(sizes), sum(len(core.blocks) for core in placed.cores), np.zeros(0, np.int64)
    resets = {name: len(each.weights) for name, each in placed.soft_resets.items()}
    core, block = np.full(neurons, len(placed.cores)), np.full(neurons, blocks)
    for layer in placed.layers:
        own = slice(first[layer.layer], first[layer.layer] + netlist.populations[layer.layer].size)
        core[own], block[own] = placed.of(layer.layer)[0], placed.blocks_of(layer.layer)
    # Compartments that integrate for others, right before these, and those of halos are updated as neurons are, and
    # never fire. A neuron sends to its own by an axon that leads nowhere else: to a part of its core beside the block.
    soft = np.concatenate([empty, *(first[name] + np.arange(netlist.populations[name].size) for name in resets)])
    weights = np.concatenate([empty, *(np.full(netlist.populations[name].size, n) for name, n in resets.items())])
    halos = np.array([each.needs.get("compartments", each.neurons) - each.neurons for each in placed.cores], np.int64)
    halos -= np.bincount(core[soft], minlength=len(placed.cores))
    blocks_before = np.cumsum([0, *(len(each.blocks) for each in placed.cores)])[:-1]
    part = np.concatenate([2 * block, 2 * block[soft] + 1, np.repeat(2 * blocks_before, halos)])
    core = np.concatenate([core, core[soft], np.repeat(np.arange(len(placed.cores)), halos)])
    turn = np.concatenate([2 * np.arange(neurons) + 1, 2 * soft, np.full(halos.sum(), 2 * neurons)])
    wide, place = _on_mesh(placed, _events_of(target).mesh)
    pre = np.concatenate([empty, *(first[each.source] + each.pre for each in netlist.projections)])
    post = np.concatenate([empty, *(first[each.target] + each.post for each in netlist.projections)])
    pre = np.append(pre, np.repeat(soft, weights))
    post = np.append(post, np.repeat(neurons + np.arange(len(soft)), weights))
    found = [
        (first[each.source] + each.pre, np.full(len(each.pre), 2 * each.block), each.writes)
        for each in halo_writes(graph, placed)
    ]
    neuron, reached, writes = (np.concatenate([empty, *each]) for each in (zip(*found) if found else ((), (), ())))
    beside = (neuron, reached, writes)
    chip = map_synapses(wide, core, pre, post, place=place, part=part, beside=beside, turn=turn)
    return OnCores(program, netlist, first, chip, placed.chips, resets)


def _on_mesh(placed: Placed, mesh: AsyncMesh) -> tuple[AsyncMesh, Array]:
    """The meshes of all chips side by side, and the place of each core there; the host's is the first that is free."""
    tiles = [core.tile or (0, 0) for core in placed.cores]
    x = np.array([tile[0] + core.chip * mesh.width for tile, core in zip(tiles, placed.cores)], np.int64)
    y = np.array([mesh.height - 1 - tile[1] for tile in tiles], np.int64)
    place = (x * mesh.height + y) * mesh.cores_per_tile + np.array([core.core for core in placed.cores], np.int64)
    chips = placed.chips
    free = np.setdiff1d(np.arange(mesh.cores * chips + 1), place)[0]
    if free == mesh.cores * chips:  # no core is left for what the host sends
        chips += 1
    return replace(mesh, width=mesh.width * chips), np.append(place, free)


class EventClock:
    """Times the samples of a program, in as many turns as they come; each starts when the one before has ended.

    Args:
        program: compiled for an asynchronous chip.
        placement: of its cores, one of ``placements``; None: as the target places them.
        keep: keep the events of the first sample, for a timeline.

    Raises:
        DoesNotFit: for what no core holds.
        ToolFailed: without the compiled timing simulator.
    """

    placements = tuple(PLACEMENTS)
    """How cores can be placed."""

    def __init__(self, program: Program, placement: str | None = None, keep: bool = False) -> None:
        self.mapped = on_cores(program, placement)
        target = target_of(program)
        self._events = _events_of(target)
        self._constants = target.name if target.events is not None else target.timed_as
        self._timer = AsyncTimer(self.mapped.chip, self._events)
        self._keep = keep
        self.first: AsyncTiming | None = None
        self._begin()
        chip = self.mapped.chip
        sender = np.repeat(np.arange(chip.neurons), np.diff(chip.axon_first))
        self._halo = np.bincount(sender, chip.axon_halo, chip.neurons).astype(np.int64)[chip.number]

    def _begin(self) -> None:
        """Nothing is timed. Energies are summed in the end, turn by turn, whoever timed these."""
        self._latencies: list[Array] = []
        self._parts: dict[str, list[Array]] = {name: [] for name in PARTS}
        self._counts = {"messages": 0, "hops": 0, "synaptic_events": 0, "halo_writes": 0, "reset_writes": 0}
        self._working = np.zeros(self.mapped.chip.cores, np.int64)

    def taken(self) -> dict[str, Any]:
        """What was timed since this was last asked for: a step waits for nothing of another sample."""
        parts = {name: np.array(each).reshape(-1, 3) for name, each in self._parts.items()}
        latencies = np.concatenate([np.zeros(0, np.int64), *self._latencies])
        taken = {"latencies": latencies, "parts": parts, "counts": self._counts, "working": self._working}
        self._begin()
        return taken

    def add(self, taken: Mapping[str, Any]) -> None:
        """Samples that another such clock has timed come next."""
        self._latencies.append(taken["latencies"])
        for name, each in taken["parts"].items():
            self._parts[name] += list(each)
        for name, count in taken["counts"].items():
            self._counts[name] += count
        self._working += taken["working"]

    @staticmethod
    def missing() -> str:
        """Why there is no such clock here."""
        return timing_missing()

    def take(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> None:
        """Time some samples.

        Args:
            inputs: integers of the program, ``[N, T or 1, *shape]``.
            spikes: of every layer of neurons, ``[N, T, *shape]``.
        """
        if self._keep and self.first is None:
            self.first = self._take({n: x[:1] for n, x in inputs.items()}, {n: x[:1] for n, x in spikes.items()}, True)
            inputs, spikes = ({name: x[1:] for name, x in arrays.items()} for arrays in (inputs, spikes))
        if len(next(iter(inputs.values()))):
            self._take(inputs, spikes, False)

    def _take(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array], keep: bool) -> AsyncTiming:
        mapped, timesteps = self.mapped, self.mapped.netlist.timesteps
        samples = len(next(iter(inputs.values())))
        steps, neurons, resets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        for name, population in mapped.netlist.populations.items():
            if isinstance(population.op, Integrator):
                continue
            events = spikes.get(population.layer)
            if events is None:
                given = inputs[population.layer]
                events = np.broadcast_to(given, (samples, timesteps, *given.shape[2:]))
            sample, t, neuron = np.nonzero(events.reshape(samples, timesteps, -1))
            resets += len(neuron) * mapped.resets.get(name, 0)
            steps.append(sample * mapped.steps + t + population.depth)
            neurons.append(mapped.first[name] + neuron)
        total = samples * mapped.steps
        timing = self._timer.replay(total, (np.concatenate(steps), np.concatenate(neurons)), keep=keep)
        self._latencies.append(timing.latency.reshape(samples, mapped.steps).sum(1))
        for name, found in timing.energy(self._events).parts.items():
            self._parts[name].append(np.array(found))
        self._parts["soma"].append(-total * self._of_inputs())
        self._counts["messages"] += int(timing.counts["message_out"].sum())
        self._counts["hops"] += int(sum(timing.counts[f"hop_{port}"].sum() for port in PORTS))
        halo = int(self._halo[np.concatenate(neurons)].sum())
        self._counts["halo_writes"] += halo
        self._counts["reset_writes"] += resets
        self._counts["synaptic_events"] += int(timing.synaptic_events.sum()) - halo - resets
        self._working += timing.working
        return timing

    def _of_inputs(self) -> Array:
        """What a step of the neurons would cost that stand for what the host sends."""
        inputs = sum(each.size for each in self.mapped.netlist.populations.values() if each.op is None)
        each = [self._events.energy[name] for name in ("neuron_access", "neuron_update")]
        return inputs * np.array([sum(getattr(c, bound) for c in each) for bound in ("min", "nominal", "max")])

    def _static_pj(self, picoseconds: int) -> float | None:
        """What all chips take while nothing happens on them; in no other energy."""
        if self._events.static is None:
            return None
        return self._events.static.nominal * 1e-3 * picoseconds * self.mapped.chips  # mW ps = 1e-3 pJ

    def timeline(self) -> dict[str, Any]:
        """What happened when in the first sample, in the Chrome trace-event format."""
        assert self.first is not None  # it was kept
        return as_trace(trace_async_events(self.mapped.chip, self.first), "microseconds")

    def slices(self) -> Timeline:
        """The same, what layers did and what each step waited for, piece by piece."""
        assert self.first is not None  # it was kept
        mapped = self.mapped
        layers = {
            name: mapped.chip.number[mapped.first[name] : mapped.first[name] + population.size]
            for name, population in mapped.netlist.populations.items()
        }
        return async_timeline(mapped.chip, self.first, layers)

    def report(self) -> TimingReport:
        """Latency and energy, and where they went."""
        latency = np.concatenate([np.zeros(0, np.int64), *self._latencies])
        parts = {name: sum(each, np.zeros(3)) for name, each in self._parts.items()}
        total = np.sum(list(parts.values()), 0)
        busiest = int(self._working.argmax())
        own = Events(
            chips=self.mapped.chips,
            latency_ns=float(latency.sum() / 1000),
            latency_ns_per_sample=Spread(
                float(latency.mean() / 1000), float(latency.min() / 1000), float(latency.max() / 1000)
            ),
            energy_pj=float(total[1]),
            energy_pj_bounds=(float(total[0]), float(total[2])),
            static_pj=self._static_pj(int(latency.sum())),
            energy_pj_by_part={name: float(found[1]) for name, found in parts.items()},
            messages=self._counts["messages"],
            synaptic_events=self._counts["synaptic_events"],
            halo_writes=self._counts["halo_writes"],
            reset_writes=self._counts["reset_writes"],
            fullest_core=BusyCore(busiest, float(self._working[busiest] / latency.sum())),
        )
        basis = f"timing model: published constants of {self._constants}, event by event (docs/timing.md)"
        return TimingReport(basis, self.mapped.chip.cores - 1, self.mapped.steps, self._counts["hops"], own)
