"""The synaptic form of random graphs, against every connection, found by pushing unit vectors; and what has no form."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import FrozenInstanceError, replace
from math import prod
from typing import Any

import numpy as np
import pytest

from neurocompile.ir import Graph, InvalidGraph, Node, form
from neurocompile.ir.form import form_of
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    WEIGHT_OPS,
    Add,
    Array,
    Concat,
    Conv,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from tests.random_networks.engine import random_graph, random_integer_network


def graphs() -> list[Graph]:
    drawn = [random_graph(random.Random(seed)) for seed in range(20)]
    return drawn + [random_integer_network(random.Random(seed), largest=100, work=3000).graph for seed in range(20)]


def between(graph: Graph, name: str) -> set[str]:
    """All nodes from the weights to the neurons that read ``name``."""
    node = graph[name]
    above = set() if isinstance(node.op, WEIGHT_OPS) else set().union(*(between(graph, n) for n in node.inputs))
    return {name} | above


def reached(graph: Graph, name: str, weights: str) -> Array:
    """What one layer of weights gives to a current, ``[elements of its event, *shape]``, without any gain."""
    node, elements = graph[name], graph.edges[graph[weights].inputs[0]]
    if name == weights:
        op = node.op
        if isinstance(op, Linear) and op.stored is not None:
            op = replace(op, weight=np.where(op.stored, op.weight, 0))
        return apply(op, [np.eye(elements.size).reshape(-1, *elements.shape)])
    if isinstance(node.op, WEIGHT_OPS):
        return np.zeros((elements.size, *graph.edges[name].shape))
    inner = [reached(graph, source, weights) for source in node.inputs]
    return inner[0] if isinstance(node.op, Gain) else apply(node.op, inner)


def test_a_form_lists_the_connections_that_the_graph_has() -> None:
    moved = 0
    for graph in graphs():
        assert list(form_of(graph).layers) == [node.name for node in graph.of(Neuron, Integrator)]
        for layer in form_of(graph).layers.values():
            nodes = between(graph, layer.current)
            order = [node for node in graph if node.name in nodes]
            assert [synapse.node for synapse in layer.synapses] == [n for n in order if isinstance(n.op, WEIGHT_OPS)]
            assert list(layer.wiring) == [n for n in order if not isinstance(n.op, WEIGHT_OPS)]
            assert layer.shape == graph.edges[layer.name].shape
            for synapse in layer.synapses:
                known = reached(graph, layer.current, synapse.name).reshape(synapse.reads.size, -1)
                neurons, elements, weights = synapse.listed()
                found = np.zeros((synapse.reads.size, prod(layer.shape)))
                np.add.at(found, (elements, neurons), weights)
                np.testing.assert_array_equal(found, known)
                moved += synapse.lands is not None
    assert moved > 10


def test_a_way_leads_from_weights_to_neurons_and_says_which_part_of_a_concatenation_it_is() -> None:
    longest = 0
    for graph in graphs():
        for layer in form_of(graph).layers.values():
            for synapse in layer.synapses:
                names = [synapse.name, *(wire.node.name for wire in synapse.way)]
                assert names[-1] == layer.current
                for inner, wire in zip(names, synapse.way):
                    assert inner in wire.node.inputs
                    assert wire.shape == graph.edges[wire.node.name].shape
                    if isinstance(wire.node.op, Concat):
                        before = wire.node.inputs[: wire.node.inputs.index(inner)]
                        axis = wire.node.op.axis
                        assert wire.start == sum(graph.edges[name].shape[axis] for name in before)
                        assert wire.stop == wire.start + graph.edges[inner].shape[axis]
                longest = max(longest, len(synapse.way))
    assert longest > 2


def test_sources_are_what_is_behind_reshapes_and_delays() -> None:
    delayed = 0
    for graph in graphs():
        for layer in form_of(graph).layers.values():
            for synapse in layer.synapses:
                name, delay = synapse.event, 0
                while isinstance(op := graph[name].op, Delay | Reshape):
                    delay += op.steps if isinstance(op, Delay) else 0
                    name = graph[name].inputs[0]
                assert (synapse.source, synapse.delay) == (name, delay) == form_of(graph).origins[synapse.event]
                delayed += delay > 0
        events = [node for node in graph if graph.edges[node.name].is_event]
        assert set(form_of(graph).pools) == {node.name for node in events if isinstance(node.op, MaxPool)}
        assert [*form_of(graph).sums] == [node for node in events if isinstance(node.op, SumPool | Add)]
    assert delayed > 20


def layer(*nodes: tuple[str, Op, str], shape: tuple[int, ...] = (4,)) -> Graph:
    """An input ``x``, and nodes: name, operation, what it reads."""
    return Graph([Node("x", Input(shape, "spikes")), *(Node(n, op, tuple(reads.split())) for n, op, reads in nodes)])


W = Linear(np.arange(12).reshape(3, 4))
FIRES = Neuron(np.asarray(1))


def test_pools_of_pools_hand_on_one_neurons_spikes() -> None:
    pool = MaxPool((2,), (2,), ((0, 0),), (1,))
    graph = layer(
        ("w", Scale(np.asarray(2)), "x"), ("n", FIRES, "w"), ("p", pool, "n"), ("later", Delay((3, 4), 2), "p"),
        ("q", pool, "later"), ("v", Scale(np.asarray(1)), "q"), ("m", FIRES, "v"), shape=(3, 8),
    )  # fmt: skip
    assert form_of(graph).pools == {"p": ("n", 0), "q": ("p", 2)}
    assert [form_of(graph).emitter(name) for name in ("q", "p", "n", "x")] == ["n", "n", "n", "x"]
    assert form_of(graph).layers["m"].synapses[0].source == "q"


def test_a_form_is_found_once_and_nothing_of_it_can_be_changed() -> None:
    graph = layer(("w", W, "x"), ("v", W, "x"), ("c", Concat(0), "w v"), ("n", FIRES, "c"))
    found = form_of(graph)
    assert form_of(graph) is found
    (first, second) = found.layers["n"].synapses
    assert second.lands is second.lands is not None
    assert second.lands.tolist() == [3, 4, 5]
    for thing, name in ((found, "layers"), (found.layers["n"], "synapses"), (first, "node"), (second.way[0], "start")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, None)
    with pytest.raises(ValueError, match="read-only"):
        second.lands[0] = 1


def test_other_numbers_make_another_layer_of_the_same_shape() -> None:
    gain = Gain(np.ones(3))
    old = form_of(layer(("w", W, "x"), ("g", gain, "w"), ("n", FIRES, "g"))).layers["n"]
    nodes = {
        "w": replace(old.synapses[0].node, op=replace(W, weight=W.weight * 2)),
        "g": replace(old.wiring[0], op=Gain(np.full(3, 7))),
        "n": replace(old.node, op=Neuron(np.asarray(9))),
    }
    new = old.rewritten(nodes)
    assert new.synapses[0].node is nodes["w"]
    assert new.wiring[0] is new.gains[0] is new.synapses[0].way[0].node is nodes["g"]
    assert new.node is nodes["n"]
    assert old.synapses[0].op is W
    assert old.rewritten({}).node is old.node
    np.testing.assert_array_equal(new.synapses[0].listed()[2], old.synapses[0].listed()[2] * 2)


@pytest.mark.parametrize(
    ("said", "nodes"),
    {
        "n reads x .Input. through no weights": [("n", FIRES, "x")],
        "n reads y .Integrator. through no weights": [("w", W, "x"), ("y", Integrator(), "w"), ("n", FIRES, "y")],
        "n reads d .Delay. through no weights": [("w", W, "x"), ("d", Delay((3,), 1), "w"), ("n", FIRES, "d")],
        "n reads sum .Add. through no weights": [("sum", Add(), "x x"), ("n", FIRES, "sum")],
        "v has weights, and reads w, a current": [("w", W, "x"), ("v", Scale(np.ones(())), "w"), ("n", FIRES, "v")],
        "v has weights, and reads y, a current": [
            ("w", W, "x"), ("y", Integrator(), "w"), ("v", Scale(np.ones(())), "y"), ("n", FIRES, "v"),
        ],
        "w has a bias": [("w", replace(W, bias=np.ones(3)), "x"), ("n", FIRES, "w")],
        "s has a bias": [("s", Scale(np.ones(()), np.ones(4)), "x"), ("n", FIRES, "s")],
        "w is a current that goes 2 ways": [("w", W, "x"), ("n", FIRES, "w"), ("m", FIRES, "w")],
        "w is a current that goes 2 ways ": [("w", W, "x"), ("twice", Add(), "w w"), ("n", FIRES, "twice")],
        "w is a current that goes 0 ways": [("w", W, "x"), ("o", Output(), "w")],
    }.items(),
)  # fmt: skip
def test_what_is_no_synaptic_form_is_named(said: str, nodes: list[Any]) -> None:
    graph = layer(*nodes)
    for _ in range(2):
        with pytest.raises(InvalidGraph, match=said.strip()):
            _ = form_of(graph)


def test_an_output_may_look_at_a_current() -> None:
    graph = layer(("w", W, "x"), ("n", FIRES, "w"), ("seen", Output("sequence"), "w"))
    assert form_of(graph).layers["n"].synapses[0].name == "w"


def deep(stages: int = 34) -> Graph:
    """A residual network at 224 x 224, as large as ResNet-34, whose weights take no memory."""
    nodes = [Node("x", Input((3, 224, 224)))]
    event, given, size = "x", 3, 224
    for k in range(stages):
        out, stride = min(512, 64 << k * 4 // stages), 2 if k * 4 % stages < 4 else 1
        size = -(-size // stride)
        weight = np.broadcast_to(np.int8(1), (out, given, 3, 3))
        nodes.append(Node(f"w{k}", Conv(weight, None, (stride, stride), ((1, 1), (1, 1)), (1, 1)), (event,)))
        fed = f"w{k}"
        if stride == 1 and given == out:
            nodes += [Node(f"s{k}", Scale(np.asarray(1)), (event,)), Node(f"a{k}", Add(), (fed, f"s{k}"))]
            fed = f"a{k}"
        nodes.append(Node(f"n{k}", FIRES, (fed,)))
        event, given = f"n{k}", out
    return Graph(nodes)


def test_the_form_of_a_large_network_lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(*_: Any) -> None:
        raise AssertionError("connections were listed")

    monkeypatch.setattr(form, "connections", listed)
    graph = deep()
    assert sum(graph.edges[name].size for name in (f"n{k}" for k in range(34))) > 2_000_000
    tracemalloc.start()
    try:
        found = form_of(graph)
        assert all(synapse.lands is None for each in found.layers.values() for synapse in each.synapses)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.layers) == 34
    assert peak < 1_000_000
