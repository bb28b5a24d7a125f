"""The compiled engine equals the reference in every spike, membrane, count and output, integer for integer."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import BadInput
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Integrator,
    Linear,
    Output,
    Reshape,
    Scale,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.models.digits import load_digits_split
from neurocompile.simulator.counts import fanouts
from neurocompile.simulator.reference import simulate_integers
from tests.backends.lava.test_bundle import program_of
from tests.random_networks.engine import random_integer_network, samples
from tests.random_networks.graphs import Drawn, arithmetic_of, whole_neuron
from tests.simulator.brute_force import walk
from tests.simulator.engine_sweep import Tally, check, compare, network_of, streamed
from tests.simulator.test_counts import check_walk

if TYPE_CHECKING or os.environ.get("CI") == "true":
    from neurocompile.simulator.engine import Engine
else:
    try:
        from neurocompile.simulator.engine import Engine
    except ImportError:  # no such package, or nothing compiled in it
        Engine = None
ISAS: list[str] = Engine.isas() if Engine else []
SLICE = 60
# In CI there is a compiler, so that the engine is there or the tests fail.
needs_engine = pytest.mark.skipif(
    not ISAS and os.environ.get("CI") != "true", reason="neurocompile.simulator.engine was not compiled here"
)


@pytest.fixture(scope="module")
def networks() -> dict[int, Drawn]:
    return {seed: network_of(seed) for seed in range(SLICE)}


# -- the generator and the reference themselves ------------------------------------------------------------------------


def test_random_graphs_meet_every_case_and_fire_sensibly(networks: dict[int, Drawn]) -> None:
    tally = Tally()
    for network in networks.values():
        tally.take(network)
    assert tally.missed == []
    assert tally.edge_cases > 2
    assert tally.networks_calibrated > 0.85 * (tally.networks - tally.edge_cases)


def test_reference_agrees_with_a_walk_on_random_integer_graphs() -> None:
    """The walk knows no registers' ends."""
    compared = 0
    for seed in range(20):
        network = random_integer_network(random.Random(seed), largest=60, work=2000)
        if not network.known.overflows:
            one = walk(network.graph, network.arithmetic, {name: x[0] for name, x in network.inputs.items()})
            check_walk(network.graph, network.known, one, 0)
            compared += 1
    assert compared > 10


# -- random graphs -----------------------------------------------------------------------------------------------------


@needs_engine
@pytest.mark.parametrize("isa", ISAS or ["none"])
@pytest.mark.parametrize("start", range(0, SLICE, 20))
def test_engine_equals_the_reference(networks: dict[int, Drawn], start: int, isa: str) -> None:
    tally = Tally()
    for seed in range(start, start + 20):
        network = networks[seed]
        assert Engine(network.graph, network.arithmetic, isa=isa).isa == isa
        tally.add(seed, check(network, [isa]))
    assert tally.failures == []
    assert all(tally.compared[kind] > 100 for kind in ("spikes", "membranes", "counts", "outputs"))


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_engine_equals_the_reference_at_length(start: int) -> None:
    tally = Tally()
    for seed in range(start, start + 100):
        tally.add(seed, check(network_of(seed), ISAS, threads=1 + seed % 3, stream=seed % 4 == 0))
    assert tally.failures == []


@needs_engine
@pytest.mark.parametrize("seed", range(300, 308))
def test_threads_change_nothing(seed: int) -> None:
    network = random_integer_network(random.Random(seed))
    inputs = samples(random.Random(seed), network.graph, 9, 4)
    graph = without_weighted_reads(network.graph)
    known = simulate_integers(graph, network.arithmetic, inputs, membranes=True)
    engine = Engine(graph, network.arithmetic)
    for threads in (1, 2, 4):
        assert compare(engine.run(inputs, threads=threads, membranes=True), known).where == []


@needs_engine
@pytest.mark.parametrize("seed", range(400, 412))
def test_a_stream_goes_on_where_it_stood(seed: int) -> None:
    """In one call, and in pieces of several samples."""
    network = random_integer_network(random.Random(seed))
    steps = 3
    inputs = samples(random.Random(seed), network.graph, 5, steps)
    graph = without_weighted_reads(network.graph)
    known = streamed(graph, network.arithmetic, inputs)
    engine = Engine(graph, network.arithmetic)
    whole = engine.run(inputs, membranes=True, stream=engine.stream(steps))
    assert compare(whole, known).where == []
    stream = engine.stream(steps)
    for start, end in ((0, 1), (1, 3), (3, 5)):
        part = {name: x[start:end] for name, x in inputs.items()}
        run = engine.run(part, membranes=True, stream=stream)
        there = slice(start, end)
        assert all((run.spikes[name] == fired[there]).all() for name, fired in known.spikes.items())
        assert all((run.membranes[name] == h[there]).all() for name, h in known.membranes.items())
        assert all((run.potentials[name] == v[there]).all() for name, v in known.potentials.items())
        assert all((run.outputs[name] == y[there]).all() for name, y in known.outputs.items())
        for name, layer in known.counts.layers.items():
            for count, each in vars(layer).items():
                assert (getattr(run.counts.layers[name], count) == each[there]).all(), f"{name}: {count}"


def without_weighted_reads(graph: Graph) -> Graph:
    """Outputs that any number of steps can be read with."""
    reads = {n.name: n for n in graph.of(Output) if isinstance(n.op, Output) and n.op.read == "weighted"}
    return graph.rewritten({name: replace(node, op=Output("sum", node.op.unit)) for name, node in reads.items()})


@needs_engine
def test_a_run_after_a_stream_starts_at_rest() -> None:
    network = random_integer_network(random.Random(5))
    engine = Engine(network.graph, network.arithmetic)
    steps = next(iter(network.inputs.values())).shape[1]
    engine.run(network.inputs, stream=engine.stream(steps))
    for _ in range(2):
        assert compare(engine.run(network.inputs, membranes=True), network.known).where == []


@needs_engine
def test_what_is_not_asked_for_is_not_kept() -> None:
    network = random_integer_network(random.Random(6))
    engine = Engine(network.graph, network.arithmetic)
    run = engine.run(network.inputs, spikes=False)
    assert run.spikes == run.membranes == run.potentials == {}
    silent = replace(network.known, spikes={}, membranes={}, potentials={})
    assert compare(run, silent).where == []


# -- programs ----------------------------------------------------------------------------------------------------------


@needs_engine
@pytest.mark.parametrize("target", ["generic", "loihi"])
@pytest.mark.parametrize("name", ["digits", "digits-spikingjelly", "digits-4bit", "digits-2bit"])
def test_demo_networks(name: str, target: str) -> None:
    program = program_of(name, target)
    _, _, x, _ = load_digits_split()
    (given, shape), *_ = program.input_shapes.items()
    batch = np.broadcast_to(x[:30, None], (30, program.timesteps, *shape))
    whole, _ = program.integers({given: batch})
    found = fanouts(program.integer)
    known = simulate_integers(program.integer, program.arithmetic, whole, membranes=True, found=found)
    for isa in ISAS:
        engine = Engine(program.integer, program.arithmetic, isa=isa)
        assert compare(engine.run(whole, membranes=True), known).where == []
        assert compare(engine.run(whole, threads=2, membranes=True), known).where == []


# -- extremes ----------------------------------------------------------------------------------------------------------


def small_network(weights: Any, shape: tuple[int, ...], carries: Any, **parameters: Any) -> Graph:
    """An input, weights, neurons that integrate, all of whose spikes are summed up."""
    size = prod(output_shape(weights, [shape]))
    neuron = whole_neuron(one=1 << 16, **parameters)
    zero = np.asarray(0)
    return Graph(
        [
            Node("x", Input(shape, carries, 1.0, 0, 1 if carries == "spikes" else 255)),
            Node("w", weights, ("x",)),
            Node("n", neuron, ("w",)),
            Node("flat", Reshape((size,)), ("n",)),
            Node("last", Linear(np.ones((2, size), np.int64)), ("flat",)),
            Node("membrane", Integrator(zero, zero + 1, zero), ("last",)),
            Node("output", Output("sum"), ("membrane",)),
        ]
    )


def held(graph: Graph, inputs: dict[str, Any], arithmetic: Arithmetic) -> None:
    known = simulate_integers(graph, arithmetic, inputs, membranes=True)
    for isa in ISAS:
        assert compare(Engine(graph, arithmetic, isa=isa).run(inputs, membranes=True), known).where == []


@st.composite
def weights_and_input(draw: Any) -> tuple[int, Any, Any, Any]:
    """The width of weights; a layer of extreme ones; its input's shape and kind; a seed, and how many spikes."""
    bits = draw(st.integers(2, 16))
    top = 2 ** (bits - 1) - 1
    carries = draw(st.sampled_from(("spikes", "spikes", "real")))
    one = draw(st.sampled_from(("all", "mixed")))
    values = (draw(st.sampled_from((top, -top, -top - 1))),) if one == "all" else (-top - 1, -top, -1, 0, 1, top)
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        # As many as a sum of 32 bits can take: 2**15 * 255 * 250 < 2**31.
        inputs, outputs = draw(st.sampled_from((1, 7, 33, 129, 250, *((2000,) if carries == "spikes" else ())))), 17
        return bits, Linear(numbers.choice(np.asarray(values), (outputs, inputs))), ((inputs,), carries), numbers
    channels, outputs = draw(st.sampled_from((1, 3, 16, 27))), draw(st.sampled_from((1, 16, 33)))
    k = draw(st.sampled_from((1, 3, 5) if channels < 16 else (1, 3)))
    weight = numbers.choice(np.asarray(values), (outputs, channels, k, k))
    op = Conv(weight, None, (1, 1), ((k // 2, k // 2),) * 2, (1, 1))
    return bits, op, ((channels, 6, 5), carries), numbers


@needs_engine
@given(
    drawn=weights_and_input(),
    share=st.sampled_from((1.0, 1.0, 0.5, 0.0)),
    shift=st.sampled_from((0, 0, -16, -3, 12)),
    threshold=st.sampled_from((1, 0, -1, 1000, 2**23 - 1, -(2**23), 2**24, -(2**33), 2**40)),
    state_bits=st.sampled_from((24, 24, 30, 32, 8)),
    current_overflow=st.sampled_from(("", "wrap", "saturate")),
)
@settings(max_examples=60, deadline=None)
def test_extreme_weights(
    drawn: Any, share: float, shift: int, threshold: int, state_bits: int, current_overflow: Any
) -> None:
    """All weights at an end of their range, all inputs on: no sum on the way may overflow unseen."""
    _, weights, (shape, carries), numbers = drawn
    graph = small_network(weights, shape, carries, threshold=np.asarray(threshold), shift=shift)
    size = (1, 3, *shape)
    x = numbers.integers(0, 256, size) if carries == "real" and share < 1 else (numbers.random(size) < share) * 1
    x = x * 255 if carries == "real" and share == 1 else x
    held(graph, {"x": x}, arithmetic_of(state_bits=state_bits, current_overflow=current_overflow))


@needs_engine
@given(values=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=40), bits=st.integers(8, 32))
@settings(max_examples=40, deadline=None)
def test_any_weights_of_sixteen_bits(values: list[int], bits: int) -> None:
    weights = Linear(np.asarray([values, values[::-1]], np.int64))
    graph = small_network(weights, (len(values),), "spikes", threshold=np.asarray(values[0]), reset="by")
    x = np.random.default_rng(len(values)).integers(0, 2, (2, 5, len(values)))
    held(graph, {"x": x}, arithmetic_of(state_bits=bits, overflow="wrap" if bits % 2 else "saturate"))


WEIGHTS = np.asarray([-127, -127, -90, -3, 0, 1, 64, 127, 127, 127])


def wide_layer(kind: str, inputs: int, outputs: int, one: int | None = None) -> tuple[Any, tuple[int, ...]]:
    """A layer whose weights alone do not prove that 16 bits hold its sums, and the shape of what it reads."""
    numbers = np.random.default_rng(inputs * outputs)

    def weights(*shape: int) -> Any:
        return np.full(shape, one) if one is not None else numbers.choice(WEIGHTS, shape)

    match kind:
        case "matrix":
            return Linear(weights(outputs, inputs)), (inputs,)
        case "conv":
            return Conv(weights(outputs, inputs, 3, 3), None, (1, 1), ((1, 1),) * 2, (1, 1)), (inputs, 5, 4)
        case "strided":
            return Conv(weights(outputs, inputs, 3, 3), None, (2, 2), ((1, 1),) * 2, (1, 1)), (inputs, 5, 6)
    return ConvTranspose(weights(inputs, outputs, 3, 3), None, (2, 2), (1, 1), (1, 1), (1, 1)), (inputs, 3, 3)


@needs_engine
@pytest.mark.parametrize("kind", ["matrix", "conv", "strided", "transposed"])
@pytest.mark.parametrize(("inputs", "outputs"), [(150, 33), (300, 20), (520, 16)])
def test_sums_are_moved_on_where_events_are_many(kind: str, inputs: int, outputs: int) -> None:
    """Samples that need it at no part, at some, at every one, and within one: side by side, and of both signs."""
    op, shape = wide_layer(kind, inputs, outputs)
    numbers = np.random.default_rng(0)
    rates = np.asarray([0.02, 0.1, 0.3, 0.7, 1.0, 0.0, 0.15]).reshape(-1, *(1,) * (len(shape) + 1))
    x = (numbers.random((7, 3, *shape)) < rates) * 1
    x[4, 1] = numbers.random(shape) < 0.05
    graph = small_network(op, shape, "spikes", threshold=np.asarray(500), reset="by")
    held(graph, {"x": x}, arithmetic_of())
    held(graph, {"x": x[:, :1]}, arithmetic_of())


@needs_engine
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("events", [256, 257, 258, 259, 260, 515, 516, 517, 518, 700])
def test_sums_at_the_end_of_16_bits(sign: int, events: int) -> None:
    """258 weights of 127 are 32,766: one more does not fit."""
    op, shape = wide_layer("matrix", 700, 17, sign * 127)
    graph = small_network(op, shape, "spikes", threshold=np.asarray(1))
    x = np.zeros((3, 2, 700), np.int64)
    x[0, :, :events] = 1
    x[1, :, -events:] = 1
    x[2, :, np.random.default_rng(events).permutation(700)[:events]] = 1
    held(graph, {"x": x}, arithmetic_of())


@needs_engine
@pytest.mark.parametrize("kind", ["matrix", "conv", "strided", "transposed"])
def test_any_so_many_events_are_safe(kind: str) -> None:
    """Against all ways to choose events greedily: the heaviest of each output, and no more of them."""
    from neurocompile.simulator.engine.scatter import safe_events

    op, shape = wide_layer(kind, 150, 9)
    outputs = output_shape(op, [shape])
    each = np.eye(prod(shape), dtype=np.int64).reshape(-1, 1, *shape)
    columns = linear_of(op, each).reshape(-1, prod(outputs)).T
    for most in (1000, 5000, 32767):
        fewest = 10**9
        for column in columns:
            for way in (column, -column):
                sums = np.cumsum(np.maximum(np.sort(way)[::-1], 0))
                fewest = min(fewest, int((sums <= most).sum()))
        assert safe_events([op], most) <= fewest
        if fewest < 100:
            assert safe_events([op], most) == fewest


def linear_of(op: Any, x: Any) -> Any:
    return simulate_integers(
        Graph([Node("x", Input(x.shape[2:], "spikes", 1.0, 0, 1)), Node("w", op, ("x",)),
               Node("m", Integrator(np.asarray(0), np.asarray(1), np.asarray(0)), ("w",)),
               Node("o", Output("sequence"), ("m",))]),
        arithmetic_of(), {"x": x},
    ).outputs["o"]  # fmt: skip


@needs_engine
@pytest.mark.parametrize("kind", ["conv", "matrix"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_samples_that_share_weights_are_as_they_are_alone(kind: str, threads: int) -> None:
    op, shape = wide_layer(kind, 130 if kind == "conv" else 1100, 130)
    graph = small_network(op, shape, "spikes", threshold=np.asarray(300), reset="to")
    numbers = np.random.default_rng(threads)
    x = (numbers.random((19, 2, *shape)) < numbers.random((19, 1, *(1,) * len(shape))) ** 2) * 1
    x[3], x[8] = x[3, :1], 0
    engine = Engine(graph, arithmetic_of())
    together = engine.run({"x": x}, threads=threads, membranes=True)
    assert compare(together, simulate_integers(graph, arithmetic_of(), {"x": x}, membranes=True)).where == []
    for k in range(19):
        alone = engine.run({"x": x[k : k + 1]})
        assert np.array_equal(alone.spikes["n"][0], together.spikes["n"][k])
        for name, counts in alone.counts.layers.items():
            for kind, counted in vars(counts).items():
                assert counted[0] == vars(together.counts.layers[name])[kind][k], (name, kind)


# -- small graphs, one thing each --------------------------------------------------------------------------------------


@needs_engine
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 12])
def test_a_neuron_that_hears_itself_later(steps: int) -> None:
    zero = np.asarray(0)
    graph = Graph(
        [
            Node("x", Input((1,), "spikes", 1.0, 0, 1)),
            Node("before", Delay((1,), steps), ("n",)),
            Node("a", Scale(zero + 1), ("x",)),
            Node("b", Scale(zero + 10), ("before",)),
            Node("sum", Add(), ("a", "b")),
            Node("n", whole_neuron(1, 0), ("sum",)),
            Node("output", Output("sequence"), ("n",)),
        ]
    )
    x = np.zeros((1, 9, 1), np.int64)
    x[0, 0] = 1
    held(graph, {"x": x}, arithmetic_of())


@needs_engine
@pytest.mark.parametrize("steps", [1, 5, 6, 20, 300])
@pytest.mark.parametrize("shape", [(2, 9, 5), (70, 16, 16), (3,)])
def test_counts_of_neurons_that_always_fire(shape: tuple[int, ...], steps: int) -> None:
    """More events of a channel than a byte counts."""
    if prod(shape) * steps > 10**6:
        pytest.skip("slow")
    zero = np.asarray(0)
    weights = np.random.default_rng(0).integers(-2, 3, (3, prod(shape)))
    graph = Graph(
        [
            Node("x", Input(shape, "spikes", 1.0, 0, 1)),
            Node("flat", Reshape((prod(shape),)), ("x",)),
            Node("w", Linear(weights), ("flat",)),
            Node("membrane", Integrator(zero, zero + 1, zero), ("w",)),
            Node("output", Output("sum"), ("membrane",)),
        ]
    )
    held(graph, {"x": np.ones((2, steps, *shape), np.int64)}, arithmetic_of())
    changing = np.ones((2, steps, *shape), np.int64)
    changing[:, ::2, 0] = 0
    held(graph, {"x": changing}, arithmetic_of())


@needs_engine
@pytest.mark.parametrize("scale", [np.asarray(3), np.asarray([[3], [-2], [0]]), np.arange(-5, 7).reshape(3, 4)])
@pytest.mark.parametrize("carries", ["spikes", "real"])
def test_scales_of_any_shape(scale: Any, carries: Any) -> None:
    x = np.random.default_rng(0).integers(0, 2 if carries == "spikes" else 256, (2, 4, 3, 4))
    held(small_network(Scale(scale), (3, 4), carries, threshold=np.asarray(3)), {"x": x}, arithmetic_of())


@needs_engine
@pytest.mark.parametrize("shape", [(2, 3, 4), (24,), (1, 24), (24, 1, 1), (6, 4)])
def test_a_matrix_into_a_layer_of_any_shape(shape: tuple[int, ...]) -> None:
    graph = small_network(Linear(np.random.default_rng(0).integers(-9, 9, (24, 11))), (11,), "spikes",
                          threshold=np.asarray(3))  # fmt: skip
    shaped = Node("w.shaped", Reshape(shape), ("w",))
    graph = graph.rewritten({"n": replace(graph["n"], inputs=("w.shaped",))}, [shaped])
    held(graph, {"x": np.random.default_rng(1).integers(0, 2, (2, 4, 11))}, arithmetic_of())


@needs_engine
def test_a_convolution_that_sees_nothing_but_padding() -> None:
    op = Conv(np.ones((5, 3, 2, 1), np.int64), None, (3, 1), ((1, 1), (0, 0)), (2, 1))
    graph = small_network(op, (3, 1, 1), "spikes", threshold=np.asarray(0))
    held(graph, {"x": np.ones((2, 4, 3, 1, 1), np.int64)}, arithmetic_of())


# -- what is refused, and interrupted ----------------------------------------------------------------------------------


def two_inputs() -> Graph:
    one, zero = np.ones((2, 3), np.int64), np.asarray(0)
    return Graph(
        [
            Node("left", Input((3,), "spikes", 1.0, 0, 1)),
            Node("right", Input((2,), "real", 1.0, -7, 7)),
            Node("a", Linear(one), ("left",)),
            Node("b", Scale(zero + 2), ("right",)),
            Node("sum", Add(), ("a", "b")),
            Node("membrane", Integrator(zero, zero + 1, zero), ("sum",)),
            Node("output", Output("sum"), ("membrane",)),
        ]
    )


@needs_engine
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"right": None}, "right"),
        ({"middle": np.ones((4, 5, 2), int)}, "middle"),
        ({"left": np.ones((4, 5, 4), int)}, "left"),
        ({"left": np.ones((4, 5, 3, 1), int)}, "left"),
        ({"left": np.ones((4,), int)}, "left"),
        ({"left": np.ones((3, 5, 3), int)}, "left"),
        ({"right": np.ones((5, 5, 2), int)}, "left|right"),
        ({"right": np.ones((4, 6, 2), int)}, "left|right"),
        ({"right": np.full((4, 5, 2), 0.5)}, "right"),
        ({"right": np.full((4, 5, 2), 8)}, "right"),
        ({"left": np.full((4, 5, 3), -1)}, "left"),
    ],
)
def test_wrong_inputs_are_named(changed: dict[str, Any], said: str) -> None:
    engine = Engine(two_inputs(), arithmetic_of())
    good = {"left": np.ones((4, 5, 3), int), "right": np.ones((4, 5, 2), int)}
    bad = {name: x for name, x in {**good, **changed}.items() if x is not None}
    with pytest.raises((BadInput, ValueError), match=said):
        engine.run(bad)
    known = simulate_integers(engine.graph, engine.arithmetic, good, membranes=True)
    assert compare(engine.run(good, membranes=True), known).where == []


@needs_engine
def test_no_such_instruction_set() -> None:
    with pytest.raises(ValueError, match="sse9"):
        Engine(two_inputs(), arithmetic_of(), isa="sse9")


@needs_engine
def test_a_stream_of_another_length_is_refused() -> None:
    engine = Engine(two_inputs(), arithmetic_of())
    good = {"left": np.ones((4, 5, 3), int), "right": np.ones((4, 5, 2), int)}
    with pytest.raises((BadInput, ValueError), match="steps"):
        engine.run(good, stream=engine.stream(6))


@needs_engine
def test_numbers_of_any_integer_type_and_layout() -> None:
    engine = Engine(two_inputs(), arithmetic_of())
    left = np.random.default_rng(0).integers(0, 2, (4, 5, 3))
    right = np.random.default_rng(1).integers(-7, 8, (4, 5, 2))
    known = simulate_integers(engine.graph, engine.arithmetic, {"left": left, "right": right}, membranes=True)
    backwards = np.ascontiguousarray(right.transpose(2, 1, 0)).transpose(2, 1, 0)
    for a, b in ((left.astype(np.uint8), right.astype(np.int8)), (left.astype(bool), np.asfortranarray(right)),
                 (np.repeat(left, 2, 0)[::2], backwards)):  # fmt: skip
        assert compare(engine.run({"left": a, "right": b}, membranes=True), known).where == []


@needs_engine
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_can_be_interrupted(threads: int) -> None:
    """Ctrl-C ends a run of many samples soon, and the engine still works."""
    weights = Linear(np.random.default_rng(0).integers(-127, 128, (2048, 512)))
    graph = small_network(weights, (512,), "spikes", threshold=np.asarray(100))
    engine = Engine(graph, arithmetic_of())
    x = np.ones((1, 100, 512), np.int64)
    engine.run({"x": x}, spikes=False)
    start = time.process_time()  # of this process, whatever else the machine does
    engine.run({"x": np.repeat(x[:, :1], 20, 0).repeat(100, 1)}, spikes=False)
    one = (time.process_time() - start) / 20
    many = {"x": np.broadcast_to(x[:, :1], (min(int(4.0 / one), 200_000), 100, 512))}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.process_time()
        with pytest.raises(KeyboardInterrupt):
            engine.run(many, threads=threads, spikes=False)
        assert time.process_time() - start < 0.75 * one * len(many["x"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    known = simulate_integers(graph, engine.arithmetic, {"x": x}, membranes=True)
    assert compare(engine.run({"x": x}, threads=threads, membranes=True), known).where == []


@needs_engine
def test_one_engine_serves_several_python_threads() -> None:
    rng = np.random.default_rng(0)
    program = program_of("digits", "generic")
    engine = Engine(program.integer, program.arithmetic)
    inputs = [{"x_seq": rng.integers(0, 17, (6, 4, 1, 8, 8))} for _ in range(8)]
    alone = [engine.run(each).spikes for each in inputs]
    with ThreadPoolExecutor(4) as crew:
        together = list(crew.map(lambda k: engine.run(inputs[k % 8], membranes=k % 2 == 0).spikes, range(64)))
    for k, spikes in enumerate(together):
        for name, fired in spikes.items():
            np.testing.assert_array_equal(fired, alone[k % 8][name])
