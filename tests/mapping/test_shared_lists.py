"""What nc1's memories hold is each synapse of a convolutional network, and each list once a core."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.backends.rtl.image import image_lines
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Add, Conv, Input, Linear, Neuron, Output
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1, usual
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import IntegerBuild, arithmetic_of, program_of, whole_neuron

Synapse = tuple[str, int, str, int, int]
"""Source and neuron, target and neuron, weight."""

_AXONS, _SYNAPSES = 0, 1
_WEIGHT_BITS = 8


class Network(IntegerBuild):
    arithmetic = arithmetic_of("nc1")

    def layer(self, name: str, current: str) -> str:
        return self.add(name, whole_neuron(1, 0), current)

    def ended(self, last: str) -> Graph:
        return self.graph(self.add("output", Output("sum"), last))


def network(r: random.Random) -> Network:
    return Network(r, np.random.default_rng(r.getrandbits(64)))


def convolutional(r: random.Random) -> Graph:
    """Two or three convolutions and a matrix; some hear a layer twice, or also one whose spikes have to wait."""
    b = network(r)
    last = before = b.add("x", Input((r.choice((1, 2, 3)), r.randint(4, 9), r.randint(4, 9)), "spikes", 1.0, 0, 1))
    for number in range(b.whole(2, 3)):
        channels, rows, columns = b.shapes[last]
        groups = channels if b.chance(20) else 1
        out = groups * b.whole(1, 3) if groups > 1 else b.pick((3, 4, 8, 16))
        kernel = min(b.pick((1, 2, 3, 3)), rows, columns)
        pads = ((b.whole(0, 1), 1), (1, b.whole(0, 1))) if kernel > 1 else 0
        current = b.conv(f"conv{number}", last, out, kernel, b.pick((1, 1, 1, 2)), pads, groups=groups)
        other = b.pick((before, last))
        if b.shapes[current][1:] == b.shapes[other][1:]:
            current = b.sum(f"sum{number}", current, b.conv(f"skip{number}", other, out, 1))
        before, last = last, b.layer(f"layer{number}", current)
    return b.ended(b.layer("last", b.linear("matrix", last, 5)))


def by_definition(graph: Graph) -> Counter[Synapse]:
    """Every synapse that is not 0, from the definitions of convolutions and matrices."""
    found: Counter[Synapse] = Counter()
    for node in graph.of(Neuron):
        current = graph[node.inputs[0]]
        for term in [graph[name] for name in current.inputs] if isinstance(current.op, Add) else [current]:
            if isinstance(term.op, Conv):
                source, shape = term.inputs[0], graph.edges[term.inputs[0]].shape
                synapses = of_conv(term.op, shape, graph.edges[node.name].shape)
            else:
                assert isinstance(term.op, Linear)
                source = graph[term.inputs[0]].inputs[0]  # before the reshape
                synapses = ((i, o, int(term.op.weight[o, i])) for o, i in np.ndindex(term.op.weight.shape))
            found.update((source, pre, node.name, post, weight) for pre, post, weight in synapses if weight)
    return found


def of_conv(op: Conv, inputs: Shape, outputs: Shape) -> Iterator[tuple[int, int, int]]:
    """Neuron, neuron, weight, tap by tap."""
    of_group, outs = op.weight.shape[1], op.weight.shape[0] // op.groups
    for o, y, x in np.ndindex(*outputs):
        for i, dy, dx in np.ndindex(*op.weight.shape[1:]):
            row = y * op.stride[0] + dy - op.padding[0][0]
            column = x * op.stride[1] + dx - op.padding[1][0]
            if 0 <= row < inputs[1] and 0 <= column < inputs[2]:
                pre = (o // outs * of_group + i) * inputs[1] * inputs[2] + row * inputs[2] + column
                yield pre, (o * outputs[1] + y) * outputs[2] + x, int(op.weight[o, i, dy, dx])


def of_relays(chip: Nc1) -> Counter[Synapse]:
    """A weight of 1 from each neuron whose spikes wait to the relay that they wait in."""
    return Counter(
        (each.layer, neuron, each.name, neuron, 1)
        for each in chip.netlist.populations.values()
        if each.kind == "relay"
        for neuron in range(each.size)
    )


def bits(number: int) -> int:
    return max(1, (number - 1).bit_length())


def in_memory(chip: Nc1) -> tuple[Counter[Synapse], int]:
    """Every synapse that is not 0, from the words of the image, and how many words the axons have."""
    p, routes = chip.parameters, chip.routes
    memory: dict[tuple[int, int], dict[int, int]] = {}
    for line in image_lines(chip):
        place, kind, address, word = (int(field, 16) for field in line.split())
        memory.setdefault((place, kind), {})[address] = word
    neuron_at = {}
    for name in chip.partition.core:
        for neuron, at in enumerate(zip(*(each.tolist() for each in chip.neurons_of(name)))):
            neuron_at[at] = name, neuron
    found: Counter[Synapse] = Counter()
    met, address_bits, group_bits = 0, bits(p.words), bits(p.groups)
    for name, population in chip.netlist.populations.items():
        for neuron in range(population.size):
            for entry in range(routes.first[name][neuron], routes.first[name][neuron + 1]):
                if routes.entry_core[entry] == chip.partition.cores:
                    continue
                place = int(chip.place[routes.entry_core[entry]])
                axon = memory[place, _AXONS][int(routes.entry_axon[entry])]
                first = axon & ((1 << address_bits) - 1)
                count = axon >> address_bits & ((1 << address_bits + 1) - 1)
                base = axon >> 2 * address_bits + 1
                met += count
                for address in range(first, first + count):
                    word = memory[place, _SYNAPSES][address]
                    group = (base + (word >> p.lanes * _WEIGHT_BITS)) % (1 << group_bits)
                    for lane in range(p.lanes):
                        weight = word >> lane * _WEIGHT_BITS & ((1 << _WEIGHT_BITS) - 1)
                        weight -= weight >> (_WEIGHT_BITS - 1) << _WEIGHT_BITS
                        if weight:
                            target, post = neuron_at[place, group * p.lanes + lane]
                            found[population.layer, neuron, target, post, weight] += 1
    return found, met


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_memories_hold_exactly_the_synapses_of_a_convolutional_network(seed: int) -> None:
    r = random.Random(seed)
    graph, lanes = convolutional(r), r.choice((2, 4, 8))
    chip = map_to_nc1(program_of(graph, 2, "nc1"), usual(40, 40, lanes=lanes, neurons=lanes * r.choice((4, 6, 8, 32))))
    found, met = in_memory(chip)
    assert found == by_definition(graph) + of_relays(chip)
    assert len(chip.routes.word_offset) == chip.partition.words.sum() <= met


def one_convolution(channels: int, stride: int, kernel: int = 3) -> Graph:
    """Eight channels at 8 x 8 places from some at as many, or at four times as many."""
    b = network(random.Random(0))
    last = b.add("x", Input((channels, 8 * stride, 8 * stride), "spikes", 1.0, 0, 1))
    return b.ended(b.layer("layer", b.conv("conv", last, 8, kernel, stride, kernel // 2)))


@pytest.mark.parametrize(
    ("stride", "kernel", "stored", "met"),
    [
        # Along each axis sources at the first border, within and at the last one meet 2, 3 and 2 taps.
        (1, 3, (2 + 3 + 2) ** 2, (8 * 3 - 2) ** 2),
        # Sources at even places meet one tap, at odd ones two, and one at the last place.
        (2, 3, (1 + 2 + 1) ** 2, (8 * 3 - 1) ** 2),
        (1, 1, 1, 64),
    ],
)
def test_a_core_stores_a_list_for_each_channel_and_set_of_taps(stride: int, kernel: int, stored: int, met: int) -> None:
    chip = map_to_nc1(program_of(one_convolution(3, stride, kernel), 1, "nc1"), usual(1, 1, neurons=512))
    assert chip.partition.words.tolist() == [3 * stored]
    assert in_memory(chip)[1] == 3 * met


def test_what_a_cut_leaves_of_a_list_is_a_run_of_the_whole() -> None:
    """Cores of half a row hear three rows of places, or two: from each, 2 taps of the border's and 3 of all others'."""
    chip = map_to_nc1(program_of(one_convolution(3, 1), 1, "nc1"), usual(4, 4, neurons=32))
    assert chip.partition.words.tolist() == [3 * rows * (2 + 3) for rows in (2, 2, *[3] * 12, 2, 2)]
    assert (chip.routes.axon_group < 0).any()
    found, met = in_memory(chip)
    assert found == by_definition(chip.program.integer)
    assert met == 3 * (8 * 3 - 2) ** 2
