"""A network on a mesh of nc1 cores: what every memory holds (docs/nc1.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.ops import Array, Input, Integrator, Neuron
from neurocompile.mapping.netlist import Netlist, Population, netlist_of
from neurocompile.mapping.partition import (
    CoreLimits,
    Partition,
    Routes,
    partition_balanced,
    partition_in_order,
    routes_of,
)
from neurocompile.mapping.placement import PLACEMENTS
from neurocompile.program import Program

__all__ = ["DECAY_BITS", "KINDS", "Nc1", "Parameters", "Steps", "map_to_nc1"]

DECAY_BITS = 18
KINDS = 16
_STEP_BITS = 16


@dataclass(frozen=True)
class Parameters:
    """The parameters of the RTL, as docs/nc1.md names them."""

    mesh_x: int = 2
    mesh_y: int = 2
    lanes: int = 8
    neurons: int = 256
    axons: int = 4096
    words: int = 16384
    fanout: int = 4096
    router_depth: int = 4
    input_depth: int = 8
    spike_depth: int = 4
    weight_bits: int = 8
    payload_bits: int = 9
    acc_bits: int = 24
    state_bits: int = 24
    barrier: int = 4

    def __post_init__(self) -> None:
        power = self.lanes & (self.lanes - 1) == 0
        if not (power and 2 <= self.lanes <= 16) or self.neurons % self.lanes:
            raise ValueError("lanes must be a power of two from 2 to 16 and divide the neurons of a core")
        if min(value for name, value in asdict(self).items() if name != "barrier") < 1 or self.barrier < 0:
            raise ValueError("nothing but the barrier can be 0")

    @property
    def mesh(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.mesh_x, self.mesh_y

    @property
    def cores(self) -> int:
        """Of the mesh."""
        return self.mesh_x * self.mesh_y

    @property
    def limits(self) -> CoreLimits:
        """What a core holds."""
        return CoreLimits(self.lanes, self.neurons, self.axons, self.words, self.fanout)


@dataclass(frozen=True, eq=False)
class Steps:
    """What some samples do on the chip, one after the other, ``steps`` of the chip each.

    In step k place p fires ``group[v]``, its lanes ``bits[v]``, for v from ``vector_first[k * cores + p]`` to the next;
    the host sends ``payload[h]`` to ``host_axon[h]`` of place ``host_core[h]``, for h from ``host_first[k]``.
    """

    samples: int
    steps: int
    vector_first: Array
    group: Array
    bits: Array
    host_first: Array
    host_core: Array
    host_axon: Array
    payload: Array


@dataclass(frozen=True)
class Nc1:
    """A program on a mesh: ``place[core]`` is where each core of the partition lies."""

    program: Program
    parameters: Parameters
    netlist: Netlist
    partition: Partition
    routes: Routes
    place: Array

    @property
    def steps(self) -> int:
        """Steps of the chip for one sample: until the last layer is done, and all spikes are swept up."""
        fires = [p.depth for p in self.netlist.populations.values() if not isinstance(p.op, Integrator)]
        return self.netlist.timesteps + max(self.netlist.latency, max(fires) + 1)

    @cached_property
    def core_at(self) -> Array:
        """The core at each place, -1 where there is none."""
        found = np.full(self.parameters.cores, -1)
        found[self.place] = np.arange(len(self.place))
        return found

    def placed(self, place: Array) -> Nc1:
        """The same cores elsewhere."""
        return replace(self, place=np.asarray(place))

    def balanced(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> Nc1:
        """The same program cut anew, so that no core has much more to do than others with these spikes.

        Cores are placed in order; the arguments are those of :meth:`fired`.
        """
        fired = {name: (events != 0).sum((0, 1)) for name, events in self.fired(inputs, spikes).items()}
        partition = partition_balanced(self.netlist, self.parameters.limits, self.parameters.cores, fired)
        place = PLACEMENTS["in-order"](partition.cores, self.parameters.mesh)
        found = Nc1(self.program, self.parameters, self.netlist, partition, routes_of(self.netlist, partition), place)
        _check_tables(found)
        return found

    def axons_of(self, core: int) -> slice:
        """The rows of ``routes.axon_source`` that are a core's."""
        return slice(int(self.routes.axon_first[core]), int(self.routes.axon_first[core + 1]))

    def neurons_of(self, name: str) -> tuple[Array, Array]:
        """The place and the slot of each neuron of a population."""
        return self.place[self.partition.core[name]], self.partition.slot[name]

    @cached_property
    def _fanout(self) -> tuple[Array, Array]:
        """The first entry of each slot of all cores in turn, ``[cores * neurons + 1]``, and the row of each entry."""
        slots = self.parameters.neurons
        counts = np.zeros(self.partition.cores * slots, np.int64)
        starts = np.zeros_like(counts)
        for name, core in self.partition.core.items():
            first, at = self.routes.first[name], core * slots + self.partition.slot[name]
            counts[at], starts[at] = np.diff(first), first[:-1]
        entries = np.concatenate([[0], np.cumsum(counts)])
        return entries, np.repeat(starts - entries[:-1], counts) + np.arange(entries[-1])

    def fanout_of(self, core: int) -> tuple[Array, Array]:
        """The first entry of each neuron of a core, ``[neurons + 1]``, and the row of ``routes`` of each entry."""
        slots, (entries, rows) = self.parameters.neurons, self._fanout
        first = entries[core * slots : (core + 1) * slots + 1]
        return first - first[0], rows[first[0] : first[-1]]

    # -- what happens --------------------------------------------------------------------------------------------------

    def fired(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> dict[str, Array]:
        """What each population does, in network time: ``[N, T, size]``; payloads of inputs, and 0 or 1.

        Args:
            inputs: integers ``[N, T, *shape]``.
            spikes: of every layer of neurons, ``[N, T, *shape]``.
        """
        found: dict[str, Array] = {}
        for name, population in self.netlist.populations.items():
            if population.kind == "relay":
                found[name] = self._relayed(population, found)
            elif not isinstance(population.op, Integrator):
                given = inputs[population.layer] if population.op is None else spikes[population.layer]
                found[name] = given.reshape(*given.shape[:2], -1)
        return found

    def _relayed(self, population: Population, found: Mapping[str, Array]) -> Array:
        """Whether any spike came in the step before."""
        samples, timesteps = next(iter(found.values())).shape[:2]
        fires = np.zeros((samples, timesteps, population.size), np.int8)
        for projection in self.netlist.projections:
            if projection.target != population.name:
                continue
            order = np.argsort(projection.post, kind="stable")
            post, first = np.unique(projection.post[order], return_index=True)
            source = found[projection.source]
            later = population.depth - 1 - self.netlist.populations[projection.source].depth
            for t in range(max(0, -later), min(timesteps, timesteps - later)):
                sent = source[:, t + later][:, projection.pre[order]] != 0
                fires[:, t, post] |= np.bitwise_or.reduceat(sent, first, axis=1)
        return fires

    def steps_of(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> Steps:
        """What samples do on the chip; the arguments are those of :meth:`fired`."""
        fired = self.fired(inputs, spikes)
        samples = len(next(iter(fired.values())))
        groups, lanes, cores = self.parameters.limits.groups, self.parameters.lanes, self.parameters.cores
        keys, lane, sent = [], [], []
        for name, events in fired.items():
            sample, t, neuron = np.nonzero(events)
            step = sample * self.steps + t + self.netlist.populations[name].depth
            if self.netlist.populations[name].op is None:
                first = self.routes.first[name]
                counts = np.diff(first)[neuron]
                row = np.repeat(first[neuron] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
                payload = np.repeat(events[sample, t, neuron].astype(np.int64), counts)
                sent.append((np.repeat(step, counts), row, payload))
            else:
                place, slot = (each[neuron] for each in self.neurons_of(name))
                keys.append((step * cores + place) * groups + slot // lanes)
                lane.append(slot % lanes)
        none = np.zeros(0, np.int64)
        key, bit = (np.concatenate([none, *each]) for each in (keys, lane))
        order = np.argsort(key, kind="stable")
        vectors, at = np.unique(key[order], return_index=True)
        bits = np.bitwise_or.reduceat(1 << bit[order], at) if len(at) else none
        host_step, row, payload = (np.concatenate([none, *each]) for each in (zip(*sent) if sent else ([], [], [])))
        by_step = np.argsort(host_step, kind="stable")
        total = samples * self.steps
        return Steps(
            samples, self.steps,
            np.searchsorted(vectors // groups, np.arange(total * cores + 1)), vectors % groups, bits,
            np.searchsorted(host_step[by_step], np.arange(total + 1)),
            self.place[self.routes.entry_core[row[by_step]]], self.routes.entry_axon[row[by_step]], payload[by_step],
        )  # fmt: skip


def map_to_nc1(program: Program, parameters: Parameters | None = None, placement: str = "in-order") -> Nc1:
    """Cut a program into cores and place them on a mesh.

    Args:
        program: compiled for nc1.
        parameters: of the chip; None: the usual cores, and the smallest square mesh (or one row less) that holds them.
        placement: of :data:`neurocompile.mapping.placement.PLACEMENTS`.

    Raises:
        DoesNotFit: with everything that nc1 does not do, or that its memories do not hold.
    """
    graph = program.integer
    if graph.hosts:
        what = "parts of this network are computed by the host, and nc1 is exported without one"
        raise DoesNotFit(Problem(what, ", ".join(graph.hosts), fix="neurocompile simulate runs chip and host in turns"))
    given = parameters or Parameters()
    problems = [problem for node in graph.of(Neuron, Integrator) for problem in _cannot(node.name, node.op, given)]
    problems += [
        Problem("its numbers are wider than the payload of an event", node.name, f"{node.op.low:g} to {node.op.high:g}",
                f"{-(1 << given.payload_bits - 1)} to {(1 << given.payload_bits - 1) - 1}", "use --input-bits 8")
        for node in graph.of(Input) if isinstance(node.op, Input)
        if max(-node.op.low - 1, node.op.high) >= 1 << given.payload_bits - 1
    ]  # fmt: skip
    if problems:
        raise DoesNotFit(problems)
    netlist = netlist_of(graph, program.timesteps)
    partition = partition_in_order(netlist, given.limits)
    if parameters is None:
        side = max(1, int(np.ceil(np.sqrt(partition.cores))))
        given = replace(given, mesh_x=side, mesh_y=-(-partition.cores // side))
    elif partition.cores > given.cores:
        raise DoesNotFit(Problem("the network takes more cores than the mesh has", "the network", str(partition.cores),
                                 f"{given.mesh_x} x {given.mesh_y}", "use a larger mesh or larger cores"))  # fmt: skip
    place = PLACEMENTS[placement](partition.cores, given.mesh)
    found = Nc1(program, given, netlist, partition, routes_of(netlist, partition), place)
    _check_tables(found)
    return found


def _cannot(name: str, op: Any, parameters: Parameters) -> list[Problem]:
    """What nc1's neurons do not do of the neuron equation."""
    one = 1 << 16
    least, most = -(1 << parameters.state_bits - 1), (1 << parameters.state_bits - 1) - 1
    found = []
    if isinstance(op, Neuron):
        if np.any(op.current_decay) or np.any(op.input_bias):
            found.append(("it has a synaptic current", "use neurons without one, or --target generic"))
        if op.refractory:
            found.append(("it has a refractory time", "use --target generic"))
        if op.deaf:
            what = "it does not hear its current in the step after a spike (a reset that falls one step late)"
            found.append((what, "reset in the step of the spike, or use --target generic"))
        if op.negative_threshold is not None:
            found.append(("it fires negative spikes", "use --target generic"))
        if op.reset == "by" and np.any(op.keep != one):
            found.append(("its reset leaves a part of the membrane", "use --target generic"))
        values = [op.bias, op.v_init, op.amount if op.reset == "by" else op.v_reset]
    else:
        values = [op.bias]
    if any(np.min(value) < least or np.max(value) > most for value in values):
        found.append((f"a bias or reset exceeds its register of {parameters.state_bits} bits", "scale the layer down"))
    return [Problem(what, name, fix=fix) for what, fix in found]


def _check_tables(chip: Nc1) -> None:
    problems = []
    for core, owners in enumerate(chip.partition.owner):
        kinds = len(dict.fromkeys(owners))
        if kinds > KINDS:
            problems.append(Problem("a core holds neurons of too many layers", f"core {core}", str(kinds), str(KINDS),
                                    "use cores with fewer neurons"))  # fmt: skip
    outputs = int(np.diff(chip.routes.axon_first)[-1])
    if outputs > chip.parameters.axons:
        problems.append(Problem("the host reads more neurons than a flit can name", "the outputs", str(outputs),
                                str(chip.parameters.axons), "read fewer neurons, or use more axons"))  # fmt: skip
    if chip.steps >= 1 << _STEP_BITS:
        problems.append(Problem("a sample takes more steps than a core can count", "the network", str(chip.steps),
                                str((1 << _STEP_BITS) - 1), "use fewer time steps"))  # fmt: skip
    if problems:
        raise DoesNotFit(problems)
