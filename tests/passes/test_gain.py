"""Gains of single steps on their way through the passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.ops import Add, Concat, Conv, Delay, Gain, Input, Integrator, Linear, Neuron, Op, Output, Scale
from neurocompile.passes import FoldScale, Synapses

STEPS = 4
GAINS = {name: np.random.default_rng(k).uniform(0.5, 1.5, STEPS) for k, name in enumerate("abc")}


def graph_of(shape: tuple[int, ...], *nodes: tuple[str, Op, tuple[str, ...]], end: str) -> Graph:
    """An input of spikes ``x``, some nodes, a neuron that reads ``end``."""
    return Graph(
        [
            Node("x", Input(shape, "spikes", low=0, high=1)),
            *(Node(*each) for each in nodes),
            Node("neuron", Neuron(np.asarray(1.0), decay=np.asarray(0.75), gain=np.asarray(1.25)), (end,)),
            Node("output.integrator", Integrator(), ("neuron",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )


def same(before: Graph, after: Graph) -> None:
    """The same spikes and membranes."""
    (given,) = before.of(Input)
    size = (30, STEPS, *before.edges[given.name].shape)
    x = {given.name: np.random.default_rng(9).integers(0, 2, size).astype(float)}
    first, then = (interpret(graph, x, STEPS, membranes=True) for graph in (before, after))
    np.testing.assert_array_equal(first.spikes["neuron"], then.spikes["neuron"])
    np.testing.assert_allclose(first.membranes["neuron"], then.membranes["neuron"], atol=1e-12)
    assert 0.02 < first.spikes["neuron"].mean() < 0.98


def linear(outputs: int, inputs: int, bias: bool = True) -> Linear:
    rng = np.random.default_rng(outputs * inputs)
    return Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs) / 3 if bias else None)


def conv(outputs: int, inputs: int, kernel: int) -> Conv:
    rng = np.random.default_rng(outputs * inputs + kernel)
    weight = rng.normal(size=(outputs, inputs, kernel, kernel)) / kernel
    return Conv(weight, rng.normal(size=(outputs, 1, 1)) / 3, (1, 1), ((kernel // 2,) * 2,) * 2, (1, 1))


# -- scales ------------------------------------------------------------------------------------------------------------


def test_a_norm_behind_a_gain_leaves_its_shift_there() -> None:
    norm = Scale(np.asarray([1.5, -0.5, 2.0]), np.asarray([0.25, 0.5, -0.25]))
    graph = graph_of((5,), ("fc", linear(3, 5), ("x",)), ("gain", Gain(GAINS["a"]), ("fc",)),
                     ("bn", norm, ("gain",)), end="bn")  # fmt: skip
    folded, log = FoldScale().run(graph)
    assert log == ["bn into the weights of fc", "bn into neuron"]
    assert [node.name for node in folded] == ["x", "fc", "gain", "neuron", "output.integrator", "output"]
    same(graph, folded)


def test_before_a_sum_the_shift_stays() -> None:
    norm = Scale(np.asarray([1.5, -0.5, 2.0]), np.asarray([0.25, 0.5, -0.25]))
    graph = graph_of((5,), ("fc", linear(3, 5), ("x",)), ("gain", Gain(GAINS["a"]), ("fc",)), ("bn", norm, ("gain",)),
                     ("skip", linear(3, 5, bias=False), ("x",)), ("sum", Add(), ("bn", "skip")), end="sum")  # fmt: skip
    folded, _ = FoldScale().run(graph)
    assert str(folded["bn"].op.scale) == "1.0"  # type: ignore[union-attr]
    same(graph, folded)


def test_an_amplitude_passes_a_gain_and_a_bias_does_not() -> None:
    for shift, names in ((0.0, ["x", "gain", "fc"]), (0.5, ["x", "scale", "gain", "fc"])):
        graph = graph_of((5,), ("scale", Scale(np.asarray(2.0), np.asarray(shift)), ("x",)),
                         ("gain", Gain(GAINS["a"]), ("scale",)), ("fc", linear(3, 5), ("gain",)), end="fc")  # fmt: skip
        folded, _ = FoldScale().run(graph)
        assert [node.name for node in folded][: len(names)] == names
        same(graph, folded)


# -- synapses ----------------------------------------------------------------------------------------------------------


def synaptic(graph: Graph) -> Graph:
    made, _ = Synapses().run(graph)
    same(graph, made)
    return made


def test_a_bias_before_a_gain_differs_from_step_to_step() -> None:
    made = synaptic(graph_of((5,), ("fc", linear(3, 5), ("x",)), ("gain", Gain(GAINS["a"]), ("fc",)), end="gain"))
    assert [node.name for node in made][:4] == ["x", "fc", "gain", "neuron"]
    gain: Any = made["gain"].op
    np.testing.assert_array_equal(gain.gains, GAINS["a"])
    np.testing.assert_allclose(gain.bias.sum(0), 0, atol=1e-12)
    assert gain.bias.shape == (STEPS, 3)
    assert np.any(made["neuron"].op.bias)  # type: ignore[union-attr]


def test_gains_on_one_way_multiply() -> None:
    """And the bias of a layer behind the first knows the second alone."""
    graph = graph_of((2, 4, 4), ("one", conv(3, 2, 3), ("x",)), ("a", Gain(GAINS["a"]), ("one",)),
                     ("two", conv(4, 3, 1), ("a",)), ("b", Gain(GAINS["b"]), ("two",)), end="b")  # fmt: skip
    made = synaptic(graph)
    (gain,) = made.of(Gain)
    np.testing.assert_allclose(gain.op.gains, GAINS["a"] * GAINS["b"])  # type: ignore[union-attr]
    assert gain.op.bias.shape == (STEPS, 4, 1, 1) or gain.op.bias.shape == (STEPS, 4, 4, 4)  # type: ignore[union-attr]
    assert len(made.of(Conv)) == 1


def test_branches_of_a_concatenation_have_gains_of_their_own() -> None:
    graph = graph_of(
        (2, 4, 4),
        *(("one", conv(3, 2, 3), ("x",)), ("a", Gain(GAINS["a"]), ("one",))),
        *(("two", conv(2, 2, 3), ("x",)), ("b", Gain(GAINS["b"]), ("two",))),
        *(("cat", Concat(), ("a", "b")), ("skip", conv(5, 2, 1), ("x",)), ("sum", Add(), ("cat", "skip"))),
        end="sum",
    )
    made = synaptic(graph)
    ones = [node for node in made.of(Gain) if np.all(node.op.gains == 1)]  # type: ignore[union-attr]
    assert [node.name for node in ones] == ["neuron.bias"]
    assert len(made.of(Gain)) == 3
    assert not made.of(Linear)


def test_replicated_currents_keep_their_gain() -> None:
    graph = graph_of(
        (2, 4, 4),
        *(("one", conv(3, 2, 3), ("x",)), ("a", Gain(GAINS["a"]), ("one",)), ("two", conv(3, 3, 1), ("a",))),
        *(("b", Gain(GAINS["b"]), ("two",)), ("sum", Add(), ("a", "b"))),
        end="sum",
    )
    made = synaptic(graph)
    assert sorted(node.name for node in made.of(Gain)) == ["a", "b"]


def test_a_delayed_current_has_the_gain_of_its_step() -> None:
    graph = graph_of((5,), ("fc", linear(3, 5, bias=False), ("x",)), ("a", Gain(GAINS["a"]), ("fc",)),
                     ("late", Delay((3,), 2), ("a",)), ("b", Gain(GAINS["b"]), ("late",)),
                     ("sum", Add(), ("b", "fc")), end="sum")  # fmt: skip
    (gain,) = synaptic(graph).of(Gain)
    expected = np.concatenate((np.zeros(2), GAINS["a"][:-2])) * GAINS["b"]
    np.testing.assert_allclose(gain.op.gains, expected)  # type: ignore[union-attr]


def test_a_gain_on_spikes_gets_one_weight() -> None:
    made = synaptic(graph_of((5,), ("gain", Gain(GAINS["a"]), ("x",)), end="gain"))
    assert [type(node.op).__name__ for node in made][:4] == ["Input", "Scale", "Gain", "Neuron"]


def test_a_chip_with_neurons_of_its_own_refuses() -> None:
    graph = graph_of((5,), ("fc", linear(3, 5), ("x",)), ("gain", Gain(GAINS["a"]), ("fc",)), end="gain")
    with pytest.raises(DoesNotFit) as caught:
        compile_graph(graph, "loihi2", STEPS, Options())
    (problem,) = caught.value.problems
    assert problem.where == "gain"
    assert "gain at each step" in problem.what
    assert problem.actual == f"{GAINS['a'].min():.4g} to {GAINS['a'].max():.4g} over 4 steps"
    assert problem.limit
    assert "generic" in problem.fix
