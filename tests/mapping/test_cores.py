"""Layers cut into cores: against every connection counted one by one, and the sizes that must be quick."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    Scale,
)
from neurocompile.ir.placed import Placed
from neurocompile.limits import Limits
from neurocompile.mapping import cut_boxes
from neurocompile.targets import Target, load_target
from tests.mapping.brute_force import Expected, elements
from tests.random_networks.engine import random_graph
from tests.random_networks.graphs import Build

BITS = 5
FIRE = Neuron(np.asarray(1))
quickly = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def plan_cores(graph: Graph, target: Target, **options: Any) -> Placed:
    return cut_boxes(graph, target.limits, target.name, **options)


def map_to_cores(graph: Graph, target: Target, chips: int = 1, **options: Any) -> Placed:
    placed = plan_cores(graph, target, **options)
    if problems := placed.problems(chips):
        raise DoesNotFit(problems)
    return placed


def chip(
    neurons: int | None = None,
    memory: int | None = None,
    inputs: int | None = None,
    outputs: int | None = None,
    cores: int | None = None,
) -> Target:
    limits = Limits(
        cores=cores,
        neurons_per_core=neurons,
        synapse_bytes_per_core=memory,
        input_axons_per_core=inputs,
        output_axons_per_core=outputs,
    )
    return Target("small", "a small chip", None, limits)


def random_chip(r: random.Random) -> Target:
    def maybe(low: int, high: int) -> int | None:
        return r.randint(low, high) if r.random() < 0.6 else None

    return chip(r.randint(1, 30), maybe(10, 300), maybe(4, 60), maybe(4, 60))


def chain(shape: tuple[int, ...], *ops: Op) -> Graph:
    """Input and these operations one after the other, a neuron after each layer of weights."""
    nodes = [Node("input", Input(shape))]
    for number, op in enumerate(ops, start=1):
        nodes.append(Node(f"w{number}", op, (nodes[-1].name,)))
        if not isinstance(op, Reshape | MaxPool | Delay):
            nodes.append(Node(f"n{number}", FIRE, (nodes[-1].name,)))
    return Graph([*nodes, Node("out", Output(), (nodes[-1].name,))])


def conv(out: int, given: int, kernel: int = 3, stride: int = 1) -> Conv:
    pads = ((kernel // 2, kernel // 2),) * 2
    return Conv(np.ones((out, given, kernel, kernel)), None, (stride, stride), pads, (1, 1))


def dense(out: int, given: int) -> Linear:
    return Linear(np.ones((out, given)))


# -- against the slow and obvious way ----------------------------------------------------------------------------------


@quickly
@given(st.integers(0, 2**32 - 1))
def test_cores_hold_what_a_count_of_every_connection_says(seed: int) -> None:
    r = random.Random(seed)
    graph, target = random_graph(r), random_chip(r)
    neurons = [node.name for node in graph.of(Neuron)]
    host = frozenset(r.sample(neurons, r.choice([0, 0, 1]) if len(neurons) > 1 else 0))
    note(f"{graph}\n{target.limits}\nhost: {sorted(host)}")
    mapping = plan_cores(graph, target, weight_bits=BITS, host=host)
    expected = Expected(graph, host, BITS)
    shapes = {layer.layer: layer.shape for layer in mapping.layers}
    assert list(shapes) == expected.layers
    held = [elements(shapes[core.layer], core.blocks[0]) for core in mapping.cores]
    for name, shape in shapes.items():
        own = np.concatenate([ids for ids, core in zip(held, mapping.cores) if core.layer == name])
        assert sorted(own) == list(range(graph.edges[name].size))
        assert prod(shape) == own.size
    reached = {name: np.zeros(graph.edges[name].size, int) for name in shapes}
    for core, ids in zip(mapping.cores, held):
        for name in shapes:
            reached[name] += expected.reached(name, core.layer, ids)
    for core, ids in zip(mapping.cores, held):
        assert core.neurons == len(ids)
        assert core.input_axons == expected.input_axons(core.layer, ids)
        assert core.synapse_bytes == expected.memory_bytes(core.layer, shapes[core.layer], ids)
        assert core.output_axons == reached[core.layer][ids].sum()
    _check_limits(mapping, expected)


def _check_limits(mapping: Placed, expected: Expected) -> None:
    """What is over a limit is told, and single neurons are over it."""
    limits = mapping.limits
    bounds = {
        "neurons": limits.neurons_per_core,
        "synapse memory": limits.synapse_bytes_per_core,
        "input axons": limits.input_axons_per_core,
        "output axons": limits.output_axons_per_core,
    }
    told = {(excess.layer, excess.resource): excess.needed for excess in mapping.excesses}
    for core in mapping.cores:
        for resource, need in core.needs.items():
            bound = bounds[resource]
            assert bound is None or need <= bound or (core.layer, resource) in told
    for layer in mapping.layers:
        alone = [np.asarray([k]) for k in range(prod(layer.shape))]
        most = {
            "input axons": max(expected.input_axons(layer.layer, neuron) for neuron in alone),
            "synapse memory": max(expected.memory_bytes(layer.layer, layer.shape, neuron) for neuron in alone),
        }
        for resource, need in most.items():
            bound = bounds[resource]
            over = bound is not None and need > bound
            # A bound is only given up where some neuron is over it, and then all that are over are told.
            assert told.get((layer.layer, resource)) == (need if over else None)


@settings(quickly, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_no_layer_could_do_with_fewer_cores(seed: int) -> None:
    """Without a limit on output axons every layer is alone, and all its cuts into fewer blocks break a limit."""
    r = random.Random(seed)
    graph, full = random_graph(r), random_chip(r).limits
    target = chip(full.neurons_per_core, full.synapse_bytes_per_core, full.input_axons_per_core)
    mapping = plan_cores(graph, target, weight_bits=BITS)
    expected = Expected(graph, frozenset(), BITS)
    given_up = {(excess.layer, excess.resource) for excess in mapping.excesses}
    for layer in mapping.layers:
        if prod(layer.shape) > 60:
            continue
        kept = {
            "input axons": full.input_axons_per_core,
            "synapse memory": full.synapse_bytes_per_core,
        }
        kept = {what: bound for what, bound in kept.items() if bound and (layer.layer, what) not in given_up}
        for block in product(*(range(1, n + 1) for n in layer.shape)):
            parts = [[(a, min(a + b, n)) for a in range(0, n, b)] for n, b in zip(layer.shape, block)]
            if prod(map(len, parts)) < layer.cores:
                boxes = [elements(layer.shape, box) for box in product(*parts)]
                assert any(_breaks(expected, layer.layer, layer.shape, ids, full, kept) for ids in boxes), block


def _breaks(
    expected: Expected, name: str, shape: tuple[int, ...], ids: np.ndarray, limits: Limits, kept: dict[str, int]
) -> bool:
    assert limits.neurons_per_core is not None
    return (
        len(ids) > limits.neurons_per_core
        or expected.input_axons(name, ids) > kept.get("input axons", 10**9)
        or expected.memory_bytes(name, shape, ids) > kept.get("synapse memory", 10**9)
    )


@settings(quickly, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_the_same_network_is_mapped_the_same(seed: int) -> None:
    r = random.Random(seed)
    graph, target = random_graph(r), random_chip(r)
    first, again = (plan_cores(graph, target, weight_bits=BITS) for _ in range(2))
    assert first == again
    assert json.dumps(first.as_json()) == json.dumps(again.as_json())


# -- the model, by hand ------------------------------------------------------------------------------------------------


def test_a_convolution_stores_each_pattern_of_taps_once() -> None:
    """3 x 3 over 8 x 8, padded: along an axis sources meet taps {0, 1}, {0, 1, 2} or {1, 2}: 7 for 3."""
    (core,) = plan_cores(chain((2, 8, 8), conv(4, 2)), chip(), weight_bits=8).cores
    assert core.neurons == 256
    assert core.synapse_bytes == 7 * 7 * 2 * 4 * (8 + 8) // 8
    assert core.input_axons == 2 * 8 * 8
    # Under a stride of 2 they meet {1} or {0, 2}, at the far border {2}: 4.
    (core,) = plan_cores(chain((2, 8, 8), conv(4, 2, stride=2)), chip(), weight_bits=8).cores
    assert core.synapse_bytes == 4 * 4 * 2 * 4 * (8 + 6) // 8


def test_a_block_stores_the_patterns_of_its_own_borders() -> None:
    """A block of 2 x 2 outputs of a 3 x 3 kernel meets {0}, {0, 1}, {1, 2}, {2} along an axis, inside."""
    mapping = plan_cores(chain((1, 8, 8), conv(1, 1)), chip(neurons=4), weight_bits=8)
    inside = next(core for core in mapping.cores if core.blocks == (((0, 1), (2, 4), (2, 4)),))
    assert mapping.layers[0].block == (1, 2, 2)
    assert inside.input_axons == 4 * 4
    assert inside.synapse_bytes == ceil(6 * 6 * (8 + 2) / 8)


def test_a_full_matrix_needs_no_index() -> None:
    (core,) = plan_cores(chain((6,), dense(4, 6)), chip(), weight_bits=8).cores
    assert core.synapse_bytes == 24
    stored = np.ones((4, 6), bool)
    stored[0, 0] = False
    sparse = Linear(np.ones((4, 6)), None, stored)
    (core,) = plan_cores(chain((6,), sparse), chip(), weight_bits=8).cores
    assert core.synapse_bytes == ceil(23 * (8 + 2) / 8)


def test_a_scale_is_one_entry_a_channel_or_one_a_neuron() -> None:
    for own, entries in (((), 3), ((3, 1, 1), 3), ((1, 4, 4), 48), ((3, 4, 4), 48)):
        (core,) = plan_cores(chain((3, 4, 4), Scale(np.ones(own))), chip(), weight_bits=8).cores
        assert core.synapse_bytes == ceil(entries * (8 + 6) / 8), own


def test_an_output_axon_for_each_core_that_is_reached() -> None:
    graph = chain((4,), dense(8, 4), dense(10, 8))
    mapping = plan_cores(graph, chip(neurons=4), weight_bits=8)
    first, second = mapping.layers
    assert (first.cores, second.cores) == (2, 3)
    assert first.output_axons == 4 * 3
    assert second.output_axons == 0
    # With room for 6 output axons a core holds 2 neurons that reach 3 cores each.
    assert plan_cores(graph, chip(neurons=4, outputs=6), weight_bits=8).layers[0].cores == 4


def test_pools_and_delays_are_no_sources() -> None:
    pool = MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    graph = chain((1, 5, 4), Scale(np.ones(())), pool, Delay((1, 2, 2), 3), Reshape((4,)), dense(3, 4))
    mapping = plan_cores(graph, chip(), weight_bits=8)
    assert [core.layer for core in mapping.cores] == ["n1", "n5"]
    # The fifth row is in no window.
    assert mapping.cores[1].input_axons == mapping.cores[0].output_axons == 16
    # Computed on the host, the pool's own elements arrive.
    (_, last) = plan_cores(graph, chip(), weight_bits=8, host=frozenset({"w2"})).cores
    assert last.input_axons == 4


def test_what_the_host_computes_takes_no_core() -> None:
    graph = chain((4,), dense(8, 4), dense(5, 8), dense(2, 5))
    mapping = plan_cores(graph, chip(), weight_bits=8, host=frozenset({"n1"}))
    assert [core.layer for core in mapping.cores] == ["n2", "n3"]
    assert mapping.cores[0].input_axons == 8
    assert mapping.host == ("n1",)
    with pytest.raises(ValueError, match="not in the graph: conv9"):
        plan_cores(graph, chip(), weight_bits=8, host=frozenset({"conv9"}))


def test_two_ways_from_one_source_share_its_axon() -> None:
    nodes = [
        Node("input", Input((2, 4, 4))),
        Node("three", conv(2, 2), ("input",)),
        Node("one", conv(2, 2, kernel=1), ("input",)),
        Node("late", Delay((2, 4, 4), 2), ("input",)),
        Node("skip", Scale(np.ones(())), ("late",)),
        Node("add", Add(), ("three", "one", "skip")),
        Node("n", FIRE, ("add",)),
        Node("out", Output(), ("n",)),
    ]
    (core,) = plan_cores(Graph(nodes), chip(), weight_bits=8).cores
    assert core.input_axons == 32


def test_a_loop_is_cut_until_nothing_changes() -> None:
    """12 neurons that all reach each other: k cores of 12/k neurons, each of which needs 12 output axons."""
    nodes = [
        Node("input", Input((3,))),
        Node("in", dense(12, 3), ("input",)),
        Node("before", Delay((12,), 1), ("n",)),
        Node("again", dense(12, 12), ("before",)),
        Node("add", Add(), ("in", "again")),
        Node("n", FIRE, ("add",)),
        Node("out", Output(), ("n",)),
    ]
    graph = Graph(nodes)
    mapping = map_to_cores(graph, chip(neurons=4, outputs=12), weight_bits=8)
    assert len(mapping.cores) == 3
    assert all(core.output_axons == 12 for core in mapping.cores)
    with pytest.raises(DoesNotFit) as error:
        map_to_cores(graph, chip(neurons=4, outputs=11), weight_bits=8)
    (problem,) = error.value.problems
    assert problem.where == "n"
    assert "reaches more cores" in problem.what
    assert problem.actual == "12 output axons"


def test_convolutions_in_front_of_a_reshape_are_cut_along_their_own_axes() -> None:
    graph = Graph(
        [
            Node("input", Input((2, 6, 6))),
            Node("conv", conv(4, 2), ("input",)),
            Node("flat", Reshape((144,)), ("conv",)),
            Node("n", FIRE, ("flat",)),
            Node("out", Output(), ("n",)),
        ]
    )
    (layer,) = plan_cores(graph, chip(neurons=36), weight_bits=8).layers
    assert layer.shape == (4, 6, 6)
    assert layer.cores == 4


def test_a_concatenation_of_currents_is_one_layer() -> None:
    graph = Graph(
        [
            Node("a", Input((2, 4, 4))),
            Node("b", Input((3, 4, 4))),
            Node("left", conv(2, 2), ("a",)),
            Node("right", conv(4, 3), ("b",)),
            Node("both", Concat(0), ("left", "right")),
            Node("n", FIRE, ("both",)),
            Node("out", Output(), ("n",)),
        ]
    )
    mapping = plan_cores(graph, chip(neurons=32), weight_bits=8)
    assert [core.input_axons for core in mapping.cores] == [32, 48, 48]


# -- chips, tiles, limits ----------------------------------------------------------------------------------------------


def test_cores_run_along_a_snake_of_tiles_chip_after_chip() -> None:
    limits = Limits(cores=12, neurons_per_core=1, cores_per_tile=2, mesh=(3, 2))
    mapping = plan_cores(chain((1,), dense(15, 1)), Target("t", "", None, limits), weight_bits=8)
    assert mapping.chips == 2
    places = [(core.chip, core.tile, core.core) for core in mapping.cores]
    row = [(0, (x, 0), k) for x in (0, 1, 2) for k in (0, 1)]
    assert places[:6] == row
    assert places[6:12] == [(0, (x, 1), k) for x in (2, 1, 0) for k in (0, 1)]
    assert places[12:] == [(1, (0, 0), 0), (1, (0, 0), 1), (1, (1, 0), 0)]


def test_limits_that_are_not_published_do_not_bind() -> None:
    mapping = map_to_cores(chain((4,), dense(5000, 4)), chip(), weight_bits=8)
    (core,) = mapping.cores
    assert (core.chip, core.tile, core.core, core.neurons) == (0, None, 0, 5000)
    assert mapping.fullest is None
    assert mapping.layers[0].bound is None
    assert mapping.chips == 1


def test_all_that_does_not_fit_is_told_at_once() -> None:
    graph = chain((20,), dense(30, 20), dense(4, 30), dense(40, 4))
    with pytest.raises(DoesNotFit) as error:
        map_to_cores(graph, chip(neurons=2, memory=25, inputs=24, outputs=15, cores=10), weight_bits=8, chips=2)
    told = [(problem.where, problem.actual, problem.limit) for problem in error.value.problems]
    assert told == [
        ("n2", "30 bytes", "25 bytes a core"),
        ("n2", "30 input axons", "24 input axons a core"),
        ("n2", "20 output axons", "15 output axons a core"),
        ("the network", "52 cores", "10 a chip, 20 on 2 chips"),
        ("n1", "30 cores", "10 a chip, 20 on 2 chips"),
    ]
    assert "--chips 6" in error.value.problems[3].fix
    assert "--chips 3" in error.value.problems[4].fix


def test_as_many_chips_as_it_takes() -> None:
    graph = chain((20,), dense(30, 20))
    target = chip(neurons=3, cores=4)
    assert plan_cores(graph, target, weight_bits=8).chips == 3
    assert len(map_to_cores(graph, target, weight_bits=8, chips=3).cores) == 10
    with pytest.raises(DoesNotFit, match="--chips 3"):
        map_to_cores(graph, target, weight_bits=8, chips=2)


def test_the_fullest_core() -> None:
    mapping = plan_cores(chain((20,), dense(30, 20)), chip(neurons=20, memory=1000, inputs=25), weight_bits=8)
    full = mapping.fullest
    assert full is not None
    assert full.core == mapping.cores[0]
    assert (full.resource, full.percent) == ("input axons", 80.0)
    assert mapping.layers[0].percent == full.percent
    assert mapping.layers[0].bound == full.resource


# -- sizes -------------------------------------------------------------------------------------------------------------


def resnet20(widths: tuple[int, int, int], size: int = 32) -> Graph:
    """A ResNet-20 with residual blocks of spikes: skips are scales, or strided 1x1 convolutions."""
    b = Build(random.Random(0), np.random.default_rng(0))

    def neuron(name: str, *currents: str) -> str:
        return b.add(name, Neuron(np.asarray(100)), b.sum(f"{name}.add", *currents))

    event = b.add("input", Input((3, size, size)))
    event = neuron("stem", b.conv("stem.conv", event, widths[0], 3, padding=1))
    for stage, width in enumerate(widths):
        for block in range(3):
            name, stride = f"stage{stage}.{block}", 2 if stage and not block else 1
            first = neuron(f"{name}.first", b.conv(f"{name}.conv1", event, width, 3, stride, 1))
            second = b.conv(f"{name}.conv2", first, width, 3, padding=1)
            skip = f"{name}.skip"
            skip = b.conv(skip, event, width, 1, 2) if stride == 2 else b.add(skip, Scale(np.asarray(3)), event)
            event = neuron(f"{name}.second", second, skip)
    b.add("output", Output(), b.add("membrane", Integrator(), b.linear("classes", event, 10)))
    return b.graph()


def test_a_resnet20_fits_two_loihi_chips() -> None:
    mapping = plan_cores(resnet20((16, 32, 64)), load_target("loihi"), weight_bits=8)
    assert not mapping.excesses
    assert (len(mapping.cores), mapping.chips) == (185, 2)  # 184.01 by their neurons alone
    assert sum(core.neurons for core in mapping.cores) == 7 * 16384 + 6 * 8192 + 6 * 4096 + 10
    last = mapping.cores[127]
    assert (last.chip, last.tile, last.core) == (0, (0, 3), 3)


@pytest.mark.slow
def test_a_resnet20_eight_times_as_wide() -> None:
    mapping = plan_cores(resnet20((128, 256, 512)), load_target("loihi"), weight_bits=8)
    assert len(mapping.cores) <= 2500
    # Each of 8 x 8 x 512 neurons has a list of its own in a matrix: no number of chips mends that.
    assert {(each.layer, each.resource) for each in mapping.excesses} == {("membrane", "synapse memory")}
    assert sum(core.neurons for core in mapping.cores) == 8 * (7 * 16384 + 6 * 8192 + 6 * 4096) + 10


# -- Loihi, word by word -----------------------------------------------------------------------------------------------

LOIHI = load_target("loihi").limits


def on_loihi(*parts: tuple[str, Op], shape: tuple[int, ...], limits: Limits = LOIHI) -> dict[str, Any]:
    """The layers of a chain of weights, with neurons behind each; "axons" are the kinds."""
    nodes = [Node("x", Input(shape, "spikes"))]
    for name, op in parts:
        nodes += [Node(f"{name}.w", op, (nodes[-1].name,)), Node(name, FIRE, (f"{name}.w",))]
    nodes.append(Node("output", Output(), (nodes[-1].name,)))
    placed = cut_boxes(Graph(nodes), limits, "loihi", weight_bits=8)
    return {layer.layer: layer for layer in placed.layers} | {"axons": placed.axons}


def kernel(*shape: int) -> Any:
    """Weights, all of them others."""
    return np.random.default_rng(0).integers(1, 1 << 30, shape).astype(float)


def mixing(out: int, into: int) -> Conv:
    """3 x 3, of the same size."""
    return Conv(kernel(out, into, 3, 3), None, (1, 1), ((1, 1), (1, 1)), (1, 1))


def test_all_channels_at_a_place_share_an_axon() -> None:
    """An 8 x 8 map of 8 channels on one core: 64 places, and 2 slots for each core that a place reaches."""
    found = on_loihi(("n", mixing(8, 2)), ("m", mixing(4, 8)), shape=(2, 8, 8))
    assert found["axons"] == {"x": "pop32", "n": "pop32"}
    assert (found["n"].cores, found["n"].output_axons) == (1, 2 * 64)
    assert (found["m"].cores, found["m"].input_axons) == (1, 64)


def test_one_channel_has_axons_of_its_own() -> None:
    found = on_loihi(("n", mixing(4, 1)), shape=(1, 8, 8))
    assert found["axons"]["x"] == "discrete"
    assert found["n"].input_axons == 64


def test_lists_of_a_kernel_in_words() -> None:
    """A 1-d kernel of 3 taps, 2 channels in, 4 out, 8 places: with a halo one list a channel, of 12 synapses.

    10 compartments a channel: 6 bits of index. Numbered place by place the 12 are neighbours, a dense entry of 10 + 6 +
    12 * 8 = 112 bits, 2 words. Without a halo the two ends have lists of their own, of 8 synapses: 80 bits, 2 words.
    """
    weights = Conv(kernel(4, 2, 3), None, (1,), ((1, 1),), (1,))
    few = replace(LOIHI, synapse_bytes_per_core=2 * 2 * 8)
    layer = on_loihi(("n", weights), shape=(2, 8), limits=few)["n"]
    assert (layer.cores, layer.halo, layer.compartments, layer.synapse_bytes) == (1, (False, True), 40, 2 * 2 * 8)
    assert layer.encodings == {"n.w": "dense"}
    layer = on_loihi(("n", weights), shape=(2, 8))["n"]
    assert (layer.cores, layer.halo, layer.compartments) == (1, (False, False), 32)
    assert layer.synapse_bytes == 2 * (2 + 2 + 2) * 8


def test_a_matrix_in_words() -> None:
    """Each of 100 elements has a list of 70 weights: two entries of at most 60, 2 * (10 + 7) + 70 * 8 = 594 bits."""
    layer = on_loihi(("n", Linear(kernel(70, 100))), shape=(100,))["n"]
    assert layer.synapse_bytes == 100 * 10 * 8
    assert layer.encodings == {"n.w": "dense"}
    assert layer.input_axons == 1  # all of them are at one place


def test_the_windows_of_a_pool_share_their_lists() -> None:
    """A kernel of 4 taps that are two by two the same, with a stride of 2, takes what one of 2 taps takes."""
    plain = kernel(4, 2, 2)
    pooled = on_loihi(("n", Conv(np.repeat(plain, 2, axis=2), None, (2,), ((0, 0),), (1,))), shape=(2, 16))
    alone = on_loihi(("n", Conv(plain, None, (1,), ((0, 0),), (1,))), shape=(2, 8))
    assert pooled["n"].synapse_bytes == alone["n"].synapse_bytes


def test_an_axon_that_leaves_the_chip_takes_a_slot_more() -> None:
    chain = [("n", mixing(8, 2)), ("m", mixing(4, 8))]
    slots = [
        on_loihi(*chain, shape=(2, 8, 8), limits=replace(LOIHI, cores=cores, packing=False))["n"].output_axons
        for cores in (128, 1)
    ]
    assert slots == [2 * 64, 3 * 64]
