"""The passes for chips with neurons of their own are exact: the same spikes before and after."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Input,
    Integrator,
    Linear,
    Neuron,
    Output,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.passes import CommonThreshold, Synapses
from neurocompile.passes.common_threshold import membrane_factors
from neurocompile.passes.compose import Tiled, as_weights, compose
from tests.random_networks.graphs import arithmetic_of
from tests.random_networks.loihi import deep_network

ARITHMETIC = arithmetic_of("loihi2")


def rewritten(graph: Graph) -> Graph:
    synaptic, _ = Synapses(event_sums=False).run(graph)
    common, _ = CommonThreshold(ARITHMETIC).run(synaptic)
    return common


def same_spikes(graph: Graph, inputs: dict[str, np.ndarray], steps: int) -> Graph:
    after = rewritten(graph)
    before, then = interpret(graph, inputs, steps), interpret(after, inputs, steps)
    assert list(before.spikes) == list(then.spikes)
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(spikes, then.spikes[name], err_msg=name)
    for name, values in before.outputs.items():
        np.testing.assert_allclose(values, then.outputs[name], rtol=1e-9, atol=1e-9)
    sums = [node.name for node in after.of(SumPool, Upsample, Add, Concat) if after.edges[node.name].is_event]
    assert sums == [], "events are still added up on their way"
    return after


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_random_networks(source: random.Random) -> None:
    drawn = deep_network(source)
    try:
        same_spikes(drawn.graph, drawn.inputs, drawn.timesteps)
    except DoesNotFit:
        assume(False)


def one_layer(shape: tuple[int, ...], current: list[Node], neuron: Neuron) -> Graph:
    return Graph(
        [
            Node("x", Input(shape, "spikes")),
            *current,
            Node("n", neuron, (current[-1].name,)),
            Node("out", Scale(np.asarray(1.0)), ("n",)),
            Node("y", Integrator(), ("out",)),
            Node("output", Output(), ("y",)),
        ]
    )


def spikes(shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": (np.random.default_rng(seed).random((3, 5, *shape)) < 0.4).astype(float)}


def test_branches_of_a_concatenation_of_which_one_becomes_a_matrix() -> None:
    rng = np.random.default_rng(1)
    current = [
        Node("up", Upsample((2, 2)), ("x",)),
        # A stride behind upsampling composes into a matrix; the other branch stays a convolution.
        Node("a", Conv(rng.normal(size=(2, 2, 3, 3)), None, (2, 2), ((1, 1), (1, 1)), (1, 1)), ("up",)),
        Node("b", Conv(rng.normal(size=(1, 2, 3, 3)), None, (1, 1), ((1, 1), (1, 1)), (1, 1)), ("x",)),
        Node("cat", Concat(0), ("a", "b")),
    ]
    same_spikes(one_layer((2, 4, 4), current, Neuron(np.asarray(0.8), decay=np.asarray(0.5))), spikes((2, 4, 4)), 5)


def test_thresholds_of_any_sign_and_neurons_that_never_or_always_fire() -> None:
    rng = np.random.default_rng(2)
    neuron = Neuron(
        np.array([0.5, 1.5, -0.7, np.inf, -np.inf, 0.9]),
        decay=np.asarray(0.6),
        bias=rng.normal(size=6) * 0.2,
        flip=np.array([False, False, True, False, False, False]),
        strict=True,
    )
    graph = one_layer((4,), [Node("fc", Linear(rng.normal(size=(6, 4))), ("x",))], neuron)
    after = same_spikes(graph, spikes((4,)), 5)
    op: Any = after["n"].op
    assert op.threshold.ndim == 0
    assert not np.any(op.flip)
    fired = interpret(after, spikes((4,)), 5).spikes["n"].mean((0, 1))
    assert fired[3] == 0
    assert fired[4] == 1


def test_a_reset_to_a_value_becomes_one_to_zero() -> None:
    neuron = Neuron(np.asarray(0.7), decay=np.asarray(0.5), v_reset=np.asarray(-0.4), v_init=np.asarray(-0.4))
    weights = np.random.default_rng(3).normal(size=(5, 4))
    after = same_spikes(one_layer((4,), [Node("fc", Linear(weights), ("x",))], neuron), spikes((4,)), 5)
    op: Any = after["n"].op
    assert op.v_reset == op.v_init == 0
    assert op.threshold == pytest.approx(1.1)


def test_what_would_not_become_a_neuron_of_the_chip_stays_as_it_is() -> None:
    neuron = Neuron(np.array([0.5, 1.0]), reset="by", amount=np.asarray(1.0))
    graph = one_layer((4,), [Node("fc", Linear(np.ones((2, 4))), ("x",))], neuron)
    synaptic, _ = Synapses(event_sums=False).run(graph)
    after, log = CommonThreshold(ARITHMETIC).run(synaptic)
    assert after["n"].op is synaptic["n"].op
    assert log == [
        "n: not a neuron of the chip: it subtracts from the membrane where it fires (soft reset); "
        "to make it one: use a hard reset"
    ]


def test_the_factors_of_membranes_are_found_again() -> None:
    neuron = Neuron(np.array([0.5, 2.0]), v_reset=np.asarray(-0.5), v_init=np.asarray(-0.5))
    graph = one_layer((4,), [Node("fc", Linear(np.ones((2, 4))), ("x",))], neuron)
    synaptic, _ = Synapses(event_sums=False).run(graph)
    after, _ = CommonThreshold(ARITHMETIC).run(synaptic)
    before, then = synaptic["n"].op, after["n"].op
    assert isinstance(before, Neuron)
    assert isinstance(then, Neuron)
    np.testing.assert_allclose(membrane_factors(before, then), [1.75, 0.7])
    # A neuron that always or never fires has no scale that could be told: units stay finite.
    endless = Neuron(np.array([np.inf, -np.inf, 2.0]))
    np.testing.assert_array_equal(membrane_factors(endless, Neuron(np.asarray(2.0))), [1.0, 1.0, 1.0])


@pytest.mark.parametrize("seed", range(80))
def test_composed_layers_do_what_the_two_did(seed: int) -> None:
    r, rng = random.Random(seed), np.random.default_rng(seed)
    rank, channels = r.choice((1, 2)), r.choice((2, 4))
    shape = (channels, *(r.randint(5, 9) for _ in range(rank)))
    if r.random() < 0.6:
        kernel = tuple(r.randint(1, 3) for _ in range(rank))
        stride = tuple(r.randint(1, 3) for _ in range(rank))
        first: Any = as_weights(SumPool(kernel, stride, ((0, 0),) * rank), channels)
    else:
        first = as_weights(Upsample(tuple(r.randint(1, 3) for _ in range(rank))), channels)
    groups = r.choice((1, 2, channels))
    weight = rng.normal(size=(groups * r.randint(1, 2), channels // groups, *(r.randint(1, 3) for _ in range(rank))))
    second = Conv(
        weight,
        None,
        tuple(r.choice((1, 1, 2)) for _ in range(rank)),
        tuple((r.randint(0, 1), r.randint(0, 1)) for _ in range(rank)),
        tuple(r.choice((1, 1, 2)) for _ in range(rank)),
        groups,
    )
    middle = output_shape(first, [shape])
    try:
        output_shape(second, [middle])
    except ValueError:
        return
    made = compose(first, second, shape)
    x = rng.normal(size=(2, *shape))
    expected = apply(second, [apply(first, [x])])
    if made is not None:
        actual = tiles_of(made, x) if isinstance(made, Tiled) else apply(made, [x])
        np.testing.assert_allclose(actual, expected, atol=1e-9)


def tiles_of(made: Tiled, x: np.ndarray) -> np.ndarray:
    """What all convolutions make, one beside the other."""
    found = {place: sum(apply(each, [x]) for each in tile) for place, tile in made.tiles.items()}
    ends = [1 + max(along) for along in zip(*found)]
    rows: Any = [found[place] for place in np.ndindex(*ends[:1])] if len(ends) == 1 else [
        np.concatenate([found[i, j] for j in range(ends[1])], 3) for i in range(ends[0])
    ]  # fmt: skip
    return np.concatenate(rows, 2)


@pytest.mark.parametrize("seed", range(40))
def test_pointwise_layers_mix_what_stands_before_or_behind(seed: int) -> None:
    r, rng = random.Random(seed), np.random.default_rng(seed)
    rank, channels, between, outputs = r.choice((1, 2)), r.randint(1, 4), r.randint(1, 4), r.randint(1, 4)
    shape = (channels, *(r.randint(4, 8) for _ in range(rank)))
    sizes = [tuple(r.randint(1, 3) for _ in range(rank)) for _ in range(3)]
    none, one = (0,) * rank, (1,) * rank
    pads = tuple((r.randint(0, 1), r.randint(0, 1)) for _ in range(rank))
    wide = Conv(rng.normal(size=(between, channels, *sizes[0])), None, sizes[1], pads, sizes[2])
    transposed = ConvTranspose(rng.normal(size=(channels, between, *sizes[0])), None, sizes[1], none, none, one)
    point = Conv(rng.normal(size=(outputs, between, *one)), None, one, ((0, 0),) * rank, one)
    before = Conv(rng.normal(size=(channels, channels, *one)), None, one, ((0, 0),) * rank, one)
    x = rng.normal(size=(2, *shape))
    for first, second in ((wide, point), (transposed, point), (before, wide), (before, before)):
        try:
            expected = apply(second, [apply(first, [x])])
            output_shape(second, [output_shape(first, [shape])])
        except ValueError:
            continue
        made = compose(first, second, shape)
        assert made is not None
        np.testing.assert_allclose(apply(made, [x]), expected, atol=1e-9)


def test_the_usual_pools_and_upsamplings_stay_convolutions() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 2, 3, 3))
    conv = Conv(weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1))
    pooled = compose(as_weights(SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), 2), conv, (2, 8, 8))
    assert isinstance(pooled, Conv)
    assert pooled.weight.shape == (4, 2, 6, 6)
    assert pooled.stride == (2, 2)
    assert pooled.padding == ((2, 2), (2, 2))
    upsampled = compose(as_weights(Upsample((2, 2)), 2), conv, (2, 4, 4))
    assert upsampled is not None
    assert not isinstance(upsampled, Conv)
    assert upsampled.weight.shape == (2, 4, 4, 4)
