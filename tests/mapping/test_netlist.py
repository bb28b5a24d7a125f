"""A netlist, its partition and its routes do what the graph does, on networks that are walked synapse by synapse."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Add, Array, Delay, Input, Linear, Neuron, Output
from neurocompile.mapping.netlist import netlist_of
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1, usual
from tests.random_networks.graphs import Drawn, arithmetic_of, program_of, whole_neuron
from tests.random_networks.nc1 import random_case, random_chip

SMALL = {"lanes": 4, "neurons": 64, "axons": 600, "words": 2048, "fanout": 512}


def drawn(seed: int, mesh: tuple[int, int] = (8, 8)) -> tuple[Drawn, Nc1]:
    """The first network from a seed on that fits."""
    while True:
        r = random.Random(seed)
        case = random_case(r)
        try:
            return case, random_chip(r, case.program, mesh, SMALL)
        except DoesNotFit:
            seed += 1_000_003


def walk(chip: Nc1, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the chip fires, [N, T, size] in network time, event by event through its axons and words.

    Nothing of the graph is used but the neurons' parameters.
    """
    p, routes, populations = chip.parameters, chip.routes, chip.netlist.populations
    samples, timesteps = next(iter(inputs.values())).shape[:2]
    fired = {name: np.zeros((samples, timesteps, each.size), np.int64) for name, each in populations.items()}
    for sample in range(samples):
        sums = np.zeros((chip.partition.cores + 1, p.neurons), np.int64)
        v: dict[str, Array] = {}
        for step in range(chip.steps):
            coming = np.zeros_like(sums)
            for name, population in populations.items():
                t = step - population.depth
                if not 0 <= t < timesteps:
                    continue
                if population.op is None:
                    events = inputs[population.layer][sample, t].ravel()
                else:
                    core, slot = chip.partition.core[name], chip.partition.slot[name]
                    events = _update(population.op, population.shape, sums[core, slot], v, name, arithmetic_of("nc1"))
                fired[name][sample, t] = events
                for neuron in np.flatnonzero(events):
                    for entry in range(routes.first[name][neuron], routes.first[name][neuron + 1]):
                        to = routes.entry_core[entry]
                        row = routes.axon_first[to] + routes.entry_axon[entry]
                        assert list(populations)[routes.axon_source[row]] == name
                        assert routes.axon_neuron[row] == neuron
                        if to == chip.partition.cores:
                            continue
                        for number in range(routes.axon_words[row]):
                            word = routes.word_first[to] + routes.axon_word[row] + number
                            at = (routes.axon_group[row] + routes.word_offset[word]) * p.lanes
                            coming[to, at : at + p.lanes] += events[neuron] * routes.word_weights[word].astype(np.int64)
            sums = coming
    return fired


def _update(op: Any, shape: tuple[int, ...], x: Array, v: dict[str, Array], name: str, a: Arithmetic) -> Array:
    def each(value: Any) -> Array:
        return np.broadcast_to(value, shape).ravel().astype(np.int64)

    def rounded(value: Array, by: int) -> Array:
        return value << -by if by <= 0 else (value + (1 << (by - 1))) >> by

    def held(value: Array) -> Array:
        return np.clip(value, a.state_min, a.state_max)

    neuron = isinstance(op, Neuron)
    before = v.get(name, each(op.v_init) if neuron else each(0))
    h = held(rounded(before * each(op.decay), a.decay_fraction) + held(rounded(x, -op.shift)) + each(op.bias))
    if not neuron:
        v[name] = h
        return np.zeros_like(h)
    threshold, flip = each(op.threshold), each(op.flip).astype(bool)
    up = h > threshold if op.strict else h >= threshold
    down = h < threshold if op.strict else h <= threshold
    s = np.where(flip, down, up)
    after = {"to": each(op.v_reset), "by": held(h - each(op.amount)), "none": h}[op.reset]
    v[name] = np.where(s, after, h)
    return s.astype(np.int64)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_events_through_axons_and_words_do_what_the_graph_does(seed: int) -> None:
    case, chip = drawn(seed)
    fired = walk(chip, case.inputs)
    for name, spikes in case.known.spikes.items():
        assert np.array_equal(fired[name], spikes.reshape(*spikes.shape[:2], -1)), name
    said = chip.fired(case.inputs, case.known.spikes)
    for name, events in said.items():
        assert np.array_equal(fired[name], events), name


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_every_neuron_has_one_place_and_no_core_holds_too_much(seed: int) -> None:
    _, chip = drawn(seed)
    limits, partition, routes = chip.parameters, chip.partition, chip.routes
    places: set[tuple[int, int]] = set()
    for name, core in partition.core.items():
        here = set(zip(core.tolist(), partition.slot[name].tolist()))
        assert len(here) == chip.netlist.populations[name].size
        assert not here & places
        places |= here
        for c, s in here:
            assert partition.owner[c][s // limits.lanes] == name
    for core in range(partition.cores):
        axons = chip.axons_of(core)
        assert partition.groups[core] == len(partition.owner[core]) <= limits.groups
        assert axons.stop - axons.start <= limits.axons
        words = routes.word_first[core + 1] - routes.word_first[core]
        assert words == partition.words[core] <= limits.words
        assert axons.stop - axons.start == partition.axons[core]
        assert np.all(routes.axon_word[axons] + routes.axon_words[axons] <= words)
        assert len(chip.fanout_of(core)[1]) <= limits.fanout


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_balanced_cut_does_the_same_and_its_busiest_core_reads_no_more_words(seed: int) -> None:
    case, chip = drawn(seed)
    cut = chip.balanced(case.inputs, case.known.spikes)
    assert cut.partition.cores <= chip.parameters.cores
    fired = walk(cut, case.inputs)
    for name, spikes in case.known.spikes.items():
        assert np.array_equal(fired[name], spikes.reshape(*spikes.shape[:2], -1)), name

    def busiest(of: Nc1) -> int:
        words, done = of.routes.axon_words, np.zeros(of.partition.cores + 1, np.int64)
        for name, events in of.fired(case.inputs, case.known.spikes).items():
            times = (events != 0).sum((0, 1))
            first = of.routes.first[name]
            entries = np.arange(first[0], first[-1])
            core = of.routes.entry_core[entries]
            row = of.routes.axon_first[core] + of.routes.entry_axon[entries]
            np.add.at(done, core, np.repeat(times, np.diff(first)) * words[row])
        return int(done.max())

    plain = map_to_nc1(case.program, chip.parameters)
    assert busiest(cut) <= busiest(plain) + 1


def loop(delay: int, layers: int) -> Graph:
    """Layers one behind the other, the last of which feeds the first."""
    neuron = whole_neuron(1, 1, decay=0)
    matrix = np.eye(2, dtype=np.int64)
    nodes = [Node("x", Input((2,), "spikes", 1.0, 0, 1)), Node("w", Linear(matrix), ("x",))]
    nodes += [Node("back", Delay((2,), delay), (f"n{layers - 1}",)), Node("w.back", Linear(matrix), ("back",))]
    nodes.append(Node("sum", Add(), ("w", "w.back")))
    nodes.append(Node("n0", neuron, ("sum",)))
    for k in range(1, layers):
        nodes += [Node(f"w{k}", Linear(matrix), (f"n{k - 1}",)), Node(f"n{k}", neuron, (f"w{k}",))]
    nodes.append(Node("output", Output("sum"), (f"n{layers - 1}",)))
    return Graph(nodes)


def test_a_loop_of_more_layers_than_its_delay_is_refused_and_others_wait_in_relays() -> None:
    with pytest.raises(DoesNotFit, match="shorter than its synapses"):
        netlist_of(loop(1, 2), 4)
    assert not [p for p in netlist_of(loop(2, 2), 4).populations.values() if p.kind == "relay"]
    relays = [p.name for p in netlist_of(loop(4, 2), 4).populations.values() if p.kind == "relay"]
    assert relays == ["n1.later1", "n1.later2"]


def test_what_a_core_cannot_hold_is_refused_by_name() -> None:
    graph = loop(2, 2)
    program = program_of(graph, 4, "nc1")
    with pytest.raises(DoesNotFit, match=r"n0: 2 of its neurons need more input axons.*got 4; allowed: 3"):
        map_to_nc1(program, usual(lanes=2, axons=3))
    with pytest.raises(DoesNotFit, match=r"n0: 2 of its neurons need more synapse words"):
        map_to_nc1(program, usual(lanes=2, words=1))
    with pytest.raises(DoesNotFit, match="takes more cores than the mesh has"):
        map_to_nc1(program, usual(lanes=2, neurons=2, mesh_x=1, mesh_y=1))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"current_decay": np.asarray(5)}, "synaptic current"),
        ({"refractory": 2}, "refractory"),
        ({"deaf": True}, "one step late"),
        ({"negative_threshold": np.asarray(-5)}, "negative spikes"),
        ({"reset": "by", "keep": np.asarray(3)}, "a part of the membrane"),
        ({"bias": np.asarray(1 << 23)}, "register of 24 bits"),
    ],
)
def test_neurons_that_nc1_does_not_have_are_refused(changed: dict[str, Any], says: str) -> None:
    graph = loop(2, 2)
    nodes = [replace(n, op=replace(n.op, **changed)) if n.name == "n1" else n for n in graph]
    with pytest.raises(DoesNotFit, match=f"n1: .*{says}"):
        map_to_nc1(program_of(Graph(nodes), 4, "nc1"))
