"""Shapes that are told are the shapes that are computed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from neurocompile.ir import Graph, InvalidGraph, Node
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    Neuron,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from tests.exactness import lowered
from tests.random_networks.modules import random_network


def test_every_operation_of_random_networks() -> None:
    kinds = set()
    for seed in range(20):
        graph = lowered(random_network(random.Random(seed))).graph
        for node in graph:
            if not isinstance(node.op, Input | Output | Delay | Neuron | Integrator | Gain):
                given = [np.zeros((1, *graph.edges[name].shape)) for name in node.inputs]
                assert apply(node.op, given).shape[1:] == graph.edges[node.name].shape, node
                kinds.add(type(node.op).__name__)
    assert len(kinds) >= 9, kinds


@pytest.mark.parametrize(
    "op",
    [
        Linear(np.ones((3, 5))),
        Conv(np.ones((3, 2, 3, 3)), None, (1, 1), ((0, 0), (0, 0)), (1, 1)),
        Conv(np.ones((3, 1, 9, 9)), None, (1, 1), ((0, 0), (0, 0)), (1, 1)),
        Scale(np.ones((2, 1, 1))),
        SumPool((5, 5), (5, 5), ((0, 0), (0, 0))),
        Upsample((2,)),
        Reshape((7,)),
    ],
    ids=lambda op: type(op).__name__,
)
def test_what_does_not_fit_is_no_graph(op: object) -> None:
    with pytest.raises(InvalidGraph, match="bad"):
        Graph([Node("x", Input((1, 4, 4))), Node("bad", op, ("x",))])  # type: ignore[arg-type]


@pytest.mark.parametrize("op", [Add(), Concat(1)])
def test_what_does_not_go_together_is_no_graph(op: object) -> None:
    with pytest.raises(InvalidGraph, match="bad"):
        Graph([Node("x", Input((1, 4))), Node("y", Input((2, 4))), Node("bad", op, ("x", "y"))])  # type: ignore[arg-type]


def test_cycles_need_a_delay_and_names_must_be_unique() -> None:
    x = Node("x", Input((2,)))
    with pytest.raises(InvalidGraph, match="without a delay"):
        Graph([x, Node("a", Add(), ("x", "b")), Node("b", Neuron(np.asarray(1.0)), ("a",))])
    looped = Graph(
        [x, Node("a", Add(), ("x", "b")), Node("b", Delay((2,)), ("n",)), Node("n", Neuron(np.ones(2)), ("a",))]
    )
    assert looped.edges["b"].carries == "spikes"
    assert looped.edges["a"].carries == "real"
    with pytest.raises(InvalidGraph, match="two nodes"):
        Graph([x, x])
    with pytest.raises(InvalidGraph, match="does not exist"):
        Graph([Node("a", Add(), ("nobody",))])
    with pytest.raises(InvalidGraph, match="delays"):
        Graph([x, Node("a", Delay((3,)), ("x",))])
    with pytest.raises(InvalidGraph, match="threshold"):
        Graph([x, Node("a", Neuron(np.ones(3)), ("x",))])
