"""A network on a mesh of nc1 cores: what every memory holds (docs/nc1.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Gain, Input, Integrator, Neuron
from neurocompile.ir.placed import Placed
from neurocompile.limits import Limits
from neurocompile.mapping.lists import (
    Partition,
    Routes,
    partition_balanced,
    partition_in_order,
    placed_lists,
    routes_of,
)
from neurocompile.mapping.netlist import Netlist, Population, netlist_of
from neurocompile.mapping.placement import PLACEMENTS
from neurocompile.program import Program
from neurocompile.targets.base import Target
from neurocompile.targets.reading import load_target, target_of

__all__ = ["KINDS", "Nc1", "Parameters", "Steps", "illegal", "map_to", "map_to_nc1", "parameters_of", "usual"]

KINDS = 16
_STEP_BITS = 16
"""Kinds of neurons in a core, bits of a step's number: no parameters of the RTL."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of the RTL, as docs/nc1.md names them."""

    mesh_x: int
    mesh_y: int
    lanes: int
    neurons: int
    axons: int
    words: int
    fanout: int
    router_depth: int
    input_depth: int
    spike_depth: int
    weight_bits: int
    payload_bits: int
    acc_bits: int
    state_bits: int
    barrier: int

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
    def groups(self) -> int:
        """Of neurons that a core updates together."""
        return self.neurons // self.lanes

    @property
    def limits(self) -> Limits:
        """What a core holds."""
        return Limits(
            neurons_per_core=self.neurons,
            input_axons_per_core=self.axons,
            output_axons_per_core=self.fanout,
            synapse_words_per_core=self.words,
            lanes=self.lanes,
            cores=self.cores,
            cores_per_tile=1,
            mesh=self.mesh,
        )


def parameters_of(target: Target, mesh: tuple[int, int] | None = None) -> Parameters:
    """The RTL's parameters for a chip of this family.

    Args:
        target: of the family nc1.
        mesh: columns and rows; None: the target's own, else those that the RTL has by itself, 2 x 2.
    """
    limits, arithmetic = target.limits, target.arithmetic
    assert arithmetic is not None
    columns, rows = mesh or limits.mesh or (2, 2)
    held = {
        "lanes": limits.lanes,
        "neurons": limits.neurons_per_core,
        "axons": limits.input_axons_per_core,
        "words": limits.synapse_words_per_core,
        "fanout": limits.output_axons_per_core,
    }
    return Parameters(
        mesh_x=columns,
        mesh_y=rows,
        weight_bits=arithmetic.weight_bits_max,
        acc_bits=arithmetic.accumulator_bits,
        state_bits=arithmetic.state_bits,
        **{name: limit for name, limit in held.items() if limit is not None},
        **target.parameters,
    )


def usual(mesh_x: int = 2, mesh_y: int = 2, **others: int) -> Parameters:
    """The parameters of the target nc1, but for some."""
    return replace(parameters_of(load_target("nc1")), mesh_x=mesh_x, mesh_y=mesh_y, **others)


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

    @cached_property
    def placed(self) -> Placed:
        """Where every neuron is, and what each core holds."""
        where = [(0, (int(at % self.parameters.mesh_x), int(at // self.parameters.mesh_x)), 0) for at in self.place]
        target = self.program.target
        return placed_lists(self.netlist, self.partition, where, target, self.parameters.weight_bits)

    def moved(self, place: Array) -> Nc1:
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
        groups, lanes, cores = self.parameters.groups, self.parameters.lanes, self.parameters.cores
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
        program: compiled for a chip of this family.
        parameters: of the chip; None: the target's cores, and its mesh, or the smallest square (or one row less) that
            holds them.
        placement: of :data:`neurocompile.mapping.placement.PLACEMENTS`.

    Raises:
        DoesNotFit: with everything that nc1 does not do, or that its memories do not hold.
    """
    if parameters is not None:
        return _mapped(program, parameters, placement, grows=False)
    return map_to(target_of(program), program, placement)


def map_to(target: Target, program: Program, placement: str = "in-order") -> Nc1:
    """As :func:`map_to_nc1`, on a chip that need not be the one that the program was compiled for."""
    return _mapped(program, parameters_of(target), placement, grows=target.limits.mesh is None)


def _mapped(program: Program, given: Parameters, placement: str, grows: bool) -> Nc1:
    graph = program.integer
    problems = [*_hosted(graph), *illegal(graph, given, 1 << program.arithmetic.decay_fraction)]
    try:
        netlist = netlist_of(graph, program.timesteps)
        partition = partition_in_order(netlist, given.limits)
        if grows:
            side = max(1, int(np.ceil(np.sqrt(partition.cores))))
            given = replace(given, mesh_x=side, mesh_y=-(-partition.cores // side))
        if partition.cores > given.cores:
            what, fix = "the network takes more cores than the mesh has", "use a larger mesh or larger cores"
            mesh = f"{given.mesh_x} x {given.mesh_y}"
            raise DoesNotFit(Problem(what, "the network", str(partition.cores), mesh, fix))
        place = PLACEMENTS[placement](partition.cores, given.mesh)
        found = Nc1(program, given, netlist, partition, routes_of(netlist, partition), place)
        _check_tables(found)
    except DoesNotFit as error:
        raise DoesNotFit(list(dict.fromkeys([*problems, *error.problems]))) from error
    if problems:
        raise DoesNotFit(problems)
    return found


def _hosted(graph: Graph) -> list[Problem]:
    """Regions of a host, which the chip is exported without."""
    if not graph.hosts:
        return []
    what = "parts of this network are computed by the host, and nc1 is exported without one"
    return [Problem(what, ", ".join(graph.hosts), fix="neurocompile simulate runs chip and host in turns")]


# -- rules -------------------------------------------------------------------------------------------------------------


def illegal(graph: Graph, parameters: Parameters, one: float) -> list[Problem]:
    """Everything in a graph in synaptic form that nc1's neurons and events do not do.

    Args:
        graph: real, or in integers.
        parameters: of the chip.
        one: what a decay of 1 is in it.
    """
    found = []
    for node in graph.of(Neuron, Integrator):
        op: Any = node.op
        rules = (*(_NEURONS if isinstance(op, Neuron) else ()), *((_biases,) if one != 1 else ()))
        found += [Problem(what, node.name, fix=fix) for rule in rules for what, fix in rule(op, parameters, one)]
    payloads = 1 << parameters.payload_bits - 1
    found += [
        Problem("its numbers are wider than the payload of an event", node.name, f"{node.op.low:g} to {node.op.high:g}",
                f"{-payloads} to {payloads - 1}", "use --input-bits 8")
        for node in graph.of(Input) if isinstance(node.op, Input)
        if max(-node.op.low - 1, node.op.high) >= payloads
    ]  # fmt: skip
    found += [
        Problem("its gain differs from step to step, which no synapse's does", node.name, fix="use another target")
        for node in graph.of(Gain)
    ]
    return found


_Broken = Iterator[tuple[str, str]]


def _current(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if np.any(op.current_decay) or np.any(op.input_bias):
        yield "it has a synaptic current", "use neurons without one, or --target generic"


def _refractory(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if op.refractory:
        yield "it has a refractory time", "use --target generic"


def _deaf(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if op.deaf:
        what = "it does not hear its current in the step after a spike (a reset that falls one step late)"
        yield what, "reset in the step of the spike, or use --target generic"


def _signed(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if op.negative_threshold is not None:
        yield "it fires negative spikes", "use --target generic"


def _many(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if op.max_spikes > 1:
        yield "it fires several spikes a step", "use neurons that fire once, or --target generic"


def _partial_reset(op: Neuron, parameters: Parameters, one: float) -> _Broken:
    if op.reset == "by" and np.any(op.keep != one):
        yield "its reset leaves a part of the membrane", "use --target generic"


_NEURONS = (_current, _refractory, _deaf, _signed, _many, _partial_reset)
"""What nc1's neurons do not do of the neuron equation, a rule each."""


def _biases(op: Neuron | Integrator, parameters: Parameters, one: float) -> _Broken:
    """Registers, which only integers have."""
    least, most = -(1 << parameters.state_bits - 1), (1 << parameters.state_bits - 1) - 1
    values = [op.bias]
    if isinstance(op, Neuron):
        values += [op.v_init, op.amount if op.reset == "by" else op.v_reset]
    if any(np.min(value) < least or np.max(value) > most for value in values):
        yield f"a bias or reset exceeds its register of {parameters.state_bits} bits", "scale the layer down"


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
