"""Max-pools of spikes as neurons: the same spikes, on a chip without pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from spikingjelly.activation_based.neuron import LIFNode

import neurocompile
from neurocompile.ir import Graph, Node
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Input, Integrator, Linear, MaxPool, Neuron, Output, Reshape
from neurocompile.passes import OrNeurons


def _pooled(kernel: int, stride: int, padding: int, source: Neuron | None, carries: str = "spikes") -> Graph:
    pool = MaxPool((kernel, kernel), (stride, stride), ((padding, padding),) * 2, (1, 1))
    size = (6 + 2 * padding - kernel) // stride + 1
    nodes = [Node("x", Input((2, 6, 6), carries))]  # type: ignore[arg-type]
    nodes += [] if source is None else [Node("n", source, ("x",))]
    nodes += [
        Node("pool", pool, ("x" if source is None else "n",)),
        Node("flat", Reshape((2 * size * size,)), ("pool",)),
        Node("fc", Linear(np.arange(3.0 * 2 * size * size).reshape(3, -1) % 7 - 3, None), ("flat",)),
        Node("read", Integrator(), ("fc",)),
        Node("out", Output(), ("read",)),
    ]
    return Graph(nodes)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1), st.floats(0, 1), st.integers(0, 999))
def test_the_neurons_fire_as_the_pool_does(kernel: int, stride: int, padding: int, rate: float, seed: int) -> None:
    graph = _pooled(kernel, stride, min(padding, kernel // 2), None)
    found, log = OrNeurons().run(graph)
    assert not found.of(MaxPool)
    assert "a max-pool becomes" in log[0]
    x = {"x": (np.random.default_rng(seed).random((2, 5, 2, 6, 6)) < rate).astype(np.float64)}
    runs = [interpret(each, x, 5) for each in (graph, found)]
    np.testing.assert_array_equal(runs[0].outputs["out"], runs[1].outputs["out"])


@pytest.mark.parametrize(
    "graph",
    [
        _pooled(2, 2, 0, None, "real"),
        _pooled(2, 2, 0, Neuron(np.asarray(0.5), amplitude=np.asarray(2.0))),
        _pooled(2, 2, 0, Neuron(np.asarray(0.5), negative_threshold=np.asarray(-0.5), reset="by")),
        _pooled(2, 2, 0, Neuron(np.asarray(0.5), reset="by", amount=np.asarray(0.5), max_spikes=3)),
    ],
)
def test_pools_of_other_than_ones_stay(graph: Graph) -> None:
    found, log = OrNeurons().run(graph)
    assert len(found.of(MaxPool)) == 1
    assert log == []


def test_a_network_with_pools_runs_on_the_chips_own_neurons(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, step_mode="m"), LIFNode(step_mode="m", v_threshold=0.3),
        layer.MaxPool2d(3, 2, 1, step_mode="m"), layer.Conv2d(4, 4, 3, padding=1, step_mode="m"),
        LIFNode(step_mode="m", v_threshold=0.1), layer.MaxPool2d(2, step_mode="m"),
        layer.Flatten(step_mode="m"), layer.Linear(16, 5, step_mode="m"),
    ).eval()  # fmt: skip
    neurocompile.save(network, tmp_path / "m.pt", torch.rand(6, 3, 1, 8, 8))
    report = neurocompile.export(tmp_path / "m.pt", tmp_path / "out", target="loihi")
    assert {name: about.where for name, about in report.placement.runs_on.items()} == {
        "1": "host", "2": "chip", "4": "chip", "5": "chip", "output.integrator": "chip"
    }  # fmt: skip
    found = neurocompile.validate(tmp_path / "out", reference=tmp_path / "m.pt")
    assert found.stages[0].mismatches == 0
