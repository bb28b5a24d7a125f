"""The passes together: golden text, purity, and the same function after each of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from neurocompile.errors import DoesNotFit
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.ops import (
    WEIGHT_OPS,
    Add,
    Concat,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    Scale,
)
from neurocompile.passes import REAL_PASSES, FoldScale, PassFailed, QuantizeInputs, Synapses, run_passes
from tests.exactness import lowered
from tests.random_networks.modules import GRID, random_network

GOLDEN = """\
input : real[1, 4, 4] = Input(shape=(1, 4, 4))
0 : currents[2, 4, 4] = Conv(input; weight=[2, 1, 3, 3] in -0.5..1.2, bias=0.25 x [2, 1, 1], stride=(1, 1), \
padding=((1, 1), (1, 1)), dilation=(1, 1))
2 : spikes[2, 4, 4] = Neuron(0; threshold=1)
3.sum : spikes[2, 2, 2] = SumPool(2; kernel=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
4 : spikes[8] = Reshape(3.sum; shape=(8,))
5 : currents[3] = Linear(4; weight=0.125 x [3, 8])
6 : spikes[3] = Neuron(5; threshold=1, decay=0.5, gain=0.5, reset=by, amount=1)
output.integrator : currents[3] = Integrator(6)
output : currents[3] = Output(output.integrator)"""


def _small() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2, eps=0.0),
        neuron.IFNode(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
        neuron.LIFNode(v_reset=None),
    ).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.linspace(-0.25, 0.6, 18).view(2, 1, 3, 3))
        net[0].bias.fill_(0.0)
        net[1].weight.fill_(2.0)
        net[1].bias.fill_(0.25)
        net[5].weight.fill_(0.5)
        net[5].bias.fill_(0.0)
    return net


def test_golden_text() -> None:
    model = TorchModel.from_module(_small(), (1, 4, 4), 4)
    before = str(model.graph)
    graph, log = run_passes(model.graph, REAL_PASSES)
    assert str(graph) == GOLDEN
    assert str(model.graph) == before
    assert log == [
        "fold-scale: 1 into the weights of 0",
        "fold-scale: 3 into 4",
        "fold-scale: 4.scale into 5",
    ]


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    class Breaks:
        name = "breaks"

        def run(self, graph: Graph) -> tuple[Graph, list[str]]:
            return Graph([*graph, Node("x", Add(), ("nobody",))]), []

    model = TorchModel.from_module(_small(), (1, 4, 4), 4)
    with pytest.raises(PassFailed, match=r"breaks failed \(passes before it: fold-mpbn, unit-amplitude, fold-scale\)"):
        run_passes(model.graph, [*REAL_PASSES, Breaks()])


def _is_synaptic(graph: Graph) -> None:
    """What the synapses pass promises."""
    wires = (Add, Concat, Gain, Reshape)
    for node in graph:
        sources = [graph[name] for name in node.inputs]
        if isinstance(node.op, WEIGHT_OPS):
            assert all(graph.edges[source.name].is_event for source in sources), node
            assert len(graph.consumers[node.name]) == 1, node
            assert getattr(node.op, "bias", None) is None
            assert not isinstance(node.op, Scale) or not np.any(node.op.shift)
        elif isinstance(node.op, Neuron | Integrator):
            assert np.all(node.op.gain == 1)
            assert all(isinstance(source.op, (*WEIGHT_OPS, *wires)) for source in sources), node
        elif isinstance(node.op, Gain):
            assert isinstance(sources[0].op, WEIGHT_OPS) or np.all(node.op.gains == 1), node
        elif isinstance(node.op, MaxPool | Delay):
            assert graph.edges[node.name].is_event


def _check_synapses(seed: int, wanted: str = "") -> str:
    network = random_network(random.Random(seed), wanted)
    if GRID in network.cases:  # full of ties on purpose
        return "skipped"
    graph, _ = run_passes(lowered(network).graph, REAL_PASSES)
    try:
        synaptic, _ = run_passes(graph, (FoldScale(), Synapses()))
    except DoesNotFit:
        return "refused"
    _is_synaptic(synaptic)
    inputs = {n.name: x for n, x in zip(graph.of(Input), network.inputs.values(), strict=True)}
    before, after = (interpret(g, inputs, network.timesteps) for g in (graph, synaptic))
    for name, spikes in before.spikes.items():
        # Composed weights are rounded otherwise; a membrane on its threshold may fall to the other side.
        assert (after.spikes[name] != spikes).mean() < 0.01, name
    if all(np.array_equal(after.spikes[name], spikes) for name, spikes in before.spikes.items()):
        for name, values in before.outputs.items():
            np.testing.assert_allclose(after.outputs[name], values, atol=1e-9 * max(1.0, np.abs(values).max()))
        return "equal"
    return "tie"


def test_synapses_compute_the_same() -> None:
    found = [_check_synapses(seed) for seed in range(20)]
    assert found.count("equal") >= 12, {kind: found.count(kind) for kind in set(found)}
    assert found.count("tie") <= 1, found


@pytest.mark.parametrize("kind", ["chain", "sum", "read twice"])
def test_synapses_with_a_gain_for_each_step(kind: str) -> None:
    found = [_check_synapses(seed, f"gains of steps: {kind}") for seed in range(8)]
    assert found.count("equal") >= 4, {name: found.count(name) for name in set(found)}
    assert found.count("tie") <= 1, found


@pytest.mark.slow
def test_synapses_compute_the_same_at_length() -> None:
    found = [_check_synapses(seed) for seed in range(20, 460)]
    assert found.count("equal") >= 275, {kind: found.count(kind) for kind in set(found)}
    assert found.count("tie") <= 8


def test_what_cannot_be_synapses_is_said_all_at_once() -> None:
    weight = np.ones((3, 3))
    graph = Graph(
        [
            Node("x", Input((3,))),
            Node("a", Linear(weight, np.ones(3)), ("x",)),
            Node("late", Delay((3,), 1), ("a",)),
            Node("first", Neuron(np.asarray(1.0)), ("late",)),
            Node("b", Linear(weight), ("first",)),
            Node("loop", Add(), ("b", "back")),
            Node("back", Delay((3,), 1), ("loop",)),
            Node("second", Neuron(np.asarray(1.0)), ("loop",)),
            Node("membrane", Integrator(), ("second",)),
            Node("behind", Linear(weight), ("membrane",)),
            Node("output", Output(), ("behind",)),
        ]
    )
    with pytest.raises(DoesNotFit) as caught:
        Synapses().run(graph)
    assert [(p.where, bool(p.fix)) for p in caught.value.problems] == [("late", True), ("loop", True), ("behind", True)]


def test_concatenations_that_are_cut_differently_add_up() -> None:
    rng = np.random.default_rng(0)
    sizes = {"a": 2, "b": 4, "c": 3, "d": 3}
    graph = Graph(
        [
            Node("x", Input((5,))),
            *(Node(name, Linear(rng.normal(size=(size, 5))), ("x",)) for name, size in sizes.items()),
            Node("ab", Concat(), ("a", "b")),
            Node("cd", Concat(), ("c", "d")),
            Node("sum", Add(), ("ab", "cd")),
            Node("neuron", Neuron(np.asarray(1.0), decay=np.asarray(0.5)), ("sum",)),
            Node("output.integrator", Integrator(), ("neuron",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )
    synaptic, _ = Synapses().run(graph)
    _is_synaptic(synaptic)
    x = {"x": rng.normal(size=(30, 6, 5))}
    before, after = interpret(graph, x, 6).spikes["neuron"], interpret(synaptic, x, 6).spikes["neuron"]
    np.testing.assert_array_equal(before, after)
    assert 0.02 < before.mean() < 0.98


def test_a_residual_network_says_what_replication_costs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = layer.Linear(6, 8, step_mode="m")
            self.n1 = neuron.IFNode(step_mode="m")
            self.fc = layer.Linear(8, 8, step_mode="m")
            self.n2 = neuron.IFNode(step_mode="m")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            current = self.stem(x)
            return self.n2(self.fc(self.n1(current)) + current)

    graph, _ = run_passes(TorchModel.from_module(Net().eval(), (6,), 4).graph, REAL_PASSES)
    synaptic, log = Synapses().run(graph)
    _is_synaptic(synaptic)
    assert "stem: replicated for 2 readers, 48 weights more" in log
    assert "stem@n2" in synaptic


def test_inputs_on_a_grid_are_exact() -> None:
    graph = Graph(
        [
            Node("x", Input((3,))),
            Node("a", Linear(np.eye(3)), ("x",)),
            Node("output.integrator", Integrator(), ("a",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )
    sixteenths = np.arange(17).reshape(17, 1, 1) / 16 * np.ones((1, 1, 3))
    quantized, log = QuantizeInputs({"x": sixteenths}, bits=8).run(graph)
    assert quantized["x"].op.unit == 1 / 16  # type: ignore[union-attr]
    assert "the grid of the data" in log[0]
    odd = np.random.default_rng(0).uniform(-1, 1, (17, 1, 3))
    quantized, log = QuantizeInputs({"x": odd}, bits=8).run(graph)
    assert quantized["x"].op.unit == np.abs(odd).max() / 127  # type: ignore[union-attr]
    assert quantized["x"].op.low == -127  # type: ignore[union-attr]
