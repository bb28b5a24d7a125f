"""Pools in front of convolutions, as convolutions: what they compute, and each connection once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import (
    Conv,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Pairs,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.passes import Synapses
from neurocompile.passes.compose import as_weights, compose
from neurocompile.program import Program, load_program
from neurocompile.simulator.reference import simulate_integers
from neurocompile.targets import load_target
from tests.mapping.brute_force import Expected, elements
from tests.mapping.test_cores import chip, plan_cores
from tests.simulator.brute_force import walk
from tests.simulator.engine_sweep import compare
from tests.simulator.test_counts import check_walk
from tests.simulator.test_engine import ISAS, needs_engine

Shape = tuple[int, ...]


def drawn(seed: int) -> tuple[Shape, SumPool, Conv] | None:
    """A pool and a convolution behind it, of one or two axes; None where nothing is left of the input."""
    r, rng = random.Random(seed), np.random.default_rng(seed)
    rank, channels, groups = r.choice((1, 2, 2)), 2, r.choice((1, 1, 2))
    shape = (channels, *(r.randint(4, 12) for _ in range(rank)))
    kernel = tuple(r.choice((2, 3)) for _ in range(rank))
    stride = tuple(r.randint(1, 3) for _ in range(rank))
    pads: Pairs = tuple((r.randint(0, 1), r.randint(0, 1)) for _ in range(rank))
    wide = tuple(r.choice((1, 3, 5)) for _ in range(rank))
    conv = Conv(
        rng.normal(size=(2 * groups, channels // groups, *wide)),
        None,
        tuple(r.randint(1, 2) for _ in range(rank)),
        tuple((r.randint(0, 2), r.randint(0, 2)) for _ in range(rank)),
        tuple(r.choice((1, 1, 2)) for _ in range(rank)),
        groups,
    )
    pool = SumPool(kernel, stride, pads)
    try:
        output_shape(conv, [output_shape(pool, [shape])])
    except ValueError:
        return None
    return shape, pool, conv


def network(shape: Shape, *layers: Op) -> Graph:
    """Spikes, pooled and so on, into neurons."""
    nodes = [Node("x", Input(shape, "spikes"))]
    for number, op in enumerate(layers):
        nodes.append(Node(f"layer{number}", op, (nodes[-1].name,)))
    return Graph(
        [
            *nodes,
            Node("n", Neuron(np.asarray(0.8), decay=np.asarray(0.5)), (nodes[-1].name,)),
            Node("w", Scale(np.asarray(1.0)), ("n",)),
            Node("y", Integrator(), ("w",)),
            Node("output", Output(), ("y",)),
        ]
    )


def spikes(shape: Shape, seed: int) -> dict[str, np.ndarray]:
    return {"x": (np.random.default_rng(seed).random((2, 4, *shape)) < 0.4).astype(float)}


def connected(graph: Graph) -> list[tuple[int, int, float]]:
    """Every stored synapse of the neurons."""
    found: list[tuple[int, int, float]] = []
    for synapse in form_of(graph).layers["n"].synapses:
        neurons, elements, weights = synapse.listed()
        found += zip(neurons.tolist(), elements.tolist(), weights.round(9).tolist())
    return sorted(found)


def by_hand(shape: Shape, pool: SumPool, conv: Conv) -> list[tuple[int, int, float]]:
    """The same from the two layers: the windows that each output reads, their elements, one by one."""
    middle = output_shape(pool, [shape])
    out = output_shape(conv, [middle])
    outs, per_group = conv.weight.shape[0] // conv.groups, conv.weight.shape[1]
    weights: dict[tuple[int, int], float] = {}
    for neuron, (channel, *place) in enumerate(np.ndindex(*out)):
        for part, *tap in np.ndindex(*conv.weight.shape[1:]):
            source = channel // outs * per_group + part
            at = [o * s + t * d - a for o, s, t, d, (a, _) in zip(place, conv.stride, tap, conv.dilation, conv.padding)]
            if not all(0 <= p < n for p, n in zip(at, middle[1:])):
                continue
            for inner in np.ndindex(*pool.kernel):
                here = [p * s + k - a for p, s, k, (a, _) in zip(at, pool.stride, inner, pool.padding)]
                if all(0 <= p < n for p, n in zip(here, shape[1:])):
                    pair = neuron, int(np.ravel_multi_index((source, *here), shape))
                    weights[pair] = weights.get(pair, 0.0) + conv.weight[(channel, part, *tap)]
    return sorted((*pair, round(weight, 9)) for pair, weight in weights.items())


@pytest.mark.parametrize("seed", range(150))
def test_pools_are_part_of_convolutions(seed: int) -> None:
    layers = drawn(seed)
    if layers is None:
        return
    shape, pool, conv = layers
    graph = network(shape, pool, conv)
    after, log = Synapses(event_sums=False).run(graph)
    assert not list(after.of(SumPool, Linear)), log
    before, then = (interpret(each, spikes(shape, seed), 4).spikes["n"] for each in (graph, after))
    assert (before != then).sum() == 0
    made, expected = connected(after), by_hand(shape, pool, conv)
    assert len({pair[:2] for pair in made}) == len(made), "two synapses between the same two"
    assert [pair[:2] for pair in made] == [pair[:2] for pair in expected]
    np.testing.assert_allclose([w for *_, w in made], [w for *_, w in expected], atol=1e-8)


def test_most_draws_are_tiled_and_some_have_gaps() -> None:
    tiled = gaps = 0
    for seed in range(150):
        if layers := drawn(seed):
            shape, pool, conv = layers
            made: Any = compose(as_weights(pool, shape[0]), conv, shape)
            tiled += not isinstance(made, Conv) and len(made.tiles) > 1
            gaps += not isinstance(made, Conv) and any(len(tile) > 1 for tile in made.tiles.values())
    assert tiled > 30
    assert gaps > 10


def test_the_stem_of_a_resnet_has_one_more_kernel_an_axis() -> None:
    pool = SumPool((3, 3), (2, 2), ((1, 1), (1, 1)))
    conv = Conv(np.ones((4, 2, 3, 3)), None, (1, 1), ((1, 1), (1, 1)), (1, 1))
    made: Any = compose(as_weights(pool, 2), conv, (2, 112, 112))
    sizes = {place: each.weight.shape[2:] for place, (each,) in made.tiles.items()}
    assert sizes == {(0, 0): (7, 7), (0, 1): (7, 5), (1, 0): (5, 7), (1, 1): (5, 5)}
    assert {each.stride for each in made.convolutions} == {(2, 2)}


def test_scales_and_layers_of_one_place_keep_the_tiles() -> None:
    rng = np.random.default_rng(0)
    shape, pool = (2, 9, 8), SumPool((3, 3), (2, 2), ((1, 1), (1, 1)))
    conv = Conv(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=(3, 1, 1)), (1, 1), ((1, 1), (1, 1)), (1, 1))
    point = Conv(rng.normal(size=(4, 3, 1, 1)), None, (1, 1), ((0, 0), (0, 0)), (1, 1))
    graph = network(shape, pool, conv, Scale(rng.normal(size=(3, 1, 1))), point)
    after, _ = Synapses(event_sums=False).run(graph)
    assert not list(after.of(Linear))
    before, then = (interpret(each, spikes(shape, 1), 4).spikes["n"] for each in (graph, after))
    np.testing.assert_array_equal(before, then)


def test_a_matrix_is_as_wide_as_what_comes_out_at_the_end() -> None:
    rng = np.random.default_rng(1)
    shape = (4, 4, 4)
    middle = 4 * 14 * 14
    fc = Linear(rng.normal(size=(3, middle)))
    graph = network(shape, SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), Upsample((7, 7)), Reshape((middle,)), fc)
    after, log = Synapses(largest_matrix=3 * 64, event_sums=False).run(graph)
    assert [op.weight.shape for op in (node.op for node in after.of(Linear)) if isinstance(op, Linear)] == [(3, 64)]
    assert len(log) == 1
    before, then = (interpret(each, spikes(shape, 2), 4).spikes["n"] for each in (graph, after))
    np.testing.assert_array_equal(before, then)


# -- compiled ----------------------------------------------------------------------------------------------------------


def compiled(seed: int) -> tuple[Program, dict[str, np.ndarray]]:
    """The first network from a seed on that is tiled and fires, for Loihi."""
    while True:
        layers = drawn(seed)
        made: Any = layers and compose(as_weights(layers[1], 2), layers[2], layers[0])
        if layers and not isinstance(made, Conv):
            graph, x = network(*layers), spikes(layers[0], seed)
            if interpret(graph, x, 4).spikes["n"].mean() > 0.05:
                program = compile_graph(graph, "loihi", 4, Options(), calibration=x)
                return program, {name: each.astype(np.int64) for name, each in x.items()}
        seed += 1000


@pytest.mark.parametrize("seed", range(10))
def test_every_connection_is_counted_once(seed: int) -> None:
    program, x = compiled(seed)
    run = simulate_integers(program.integer, program.arithmetic, x, membranes=True)
    one = walk(program.integer, program.arithmetic, {name: each[0] for name, each in x.items()})
    check_walk(program.integer, run, one, 0)


@needs_engine
@pytest.mark.parametrize("seed", range(10))
def test_the_engine_runs_tiles_as_the_reference_does(seed: int) -> None:
    from neurocompile.simulator.engine import Engine

    program, x = compiled(seed)
    known = simulate_integers(program.integer, program.arithmetic, x, membranes=True)
    assert known.spikes["n"].any()
    for isa in ISAS:
        run = Engine(program.integer, program.arithmetic, isa=isa).run(x, membranes=True)
        assert compare(run, known).where == []


def test_a_program_with_tiles_is_read_again(tmp_path: Path) -> None:
    program, x = compiled(0)
    program.save(tmp_path / "program")
    again = load_program(tmp_path / "program")
    runs = [simulate_integers(each.integer, each.arithmetic, x) for each in (program, again)]
    np.testing.assert_array_equal(runs[0].spikes["n"], runs[1].spikes["n"])


@pytest.mark.parametrize("seed", range(10))
def test_tiles_take_of_cores_what_a_count_of_every_connection_says(seed: int) -> None:
    graph = compiled(seed)[0].integer
    mapping = plan_cores(graph, chip(neurons=random.Random(seed).choice((7, 20, 1000))), weight_bits=8)
    expected = Expected(graph, frozenset(), 8)
    shapes = {layer.layer: layer.shape for layer in mapping.layers}
    for core in mapping.cores:
        ids = elements(shapes[core.layer], core.blocks[0])
        assert core.input_axons == expected.input_axons(core.layer, ids)
        assert core.synapse_bytes == expected.memory_bytes(core.layer, shapes[core.layer], ids)


def test_a_tiled_stem_takes_the_cores_of_one_kernel() -> None:
    fires = Neuron(np.asarray(100))

    def cores(size: int) -> int:
        """Of a pooled layer that an odd ``size`` leaves in one piece."""
        nodes = [
            Node("x", Input((16, size, size), "spikes")),
            Node("pool", SumPool((3, 3), (2, 2), ((1, 1), (1, 1))), ("x",)),
            Node("conv", Conv(weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1)), ("pool",)),
            Node("n", fires, ("conv",)),
            Node("out", Output(), ("n",)),
        ]
        graph, _ = Synapses(event_sums=False).run(Graph(nodes))
        placed = plan_cores(graph, load_target("loihi"), weight_bits=8)
        assert not placed.excesses
        return len(placed.cores)

    weight = np.random.default_rng(0).integers(-99, 99, size=(64, 16, 3, 3))
    assert cores(64) <= cores(65)


def test_windows_of_padding_alone_are_refused() -> None:
    """torch gives minus infinity there; no integer is that."""
    graph = Graph(
        [
            Node("x", Input((1, 1), "spikes")),
            Node("pool", MaxPool((2,), (1,), ((1, 1),), (2,)), ("x",)),
            Node("n", Neuron(np.asarray(1.0)), ("pool",)),
            Node("output", Output("sum"), ("n",)),
        ]
    )
    with pytest.raises(DoesNotFit, match="see nothing but padding"):
        compile_graph(graph, "generic", 2, Options())
