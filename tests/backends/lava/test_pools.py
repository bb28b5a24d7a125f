"""Pools: of windows that reach across the border that a convolution pads, and of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.compiler import Options, compile_graph
from neurocompile.ir import Graph, Node
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Conv, Delay, Input, Integrator, Linear, MaxPool, Neuron, Output, Reshape, SumPool
from tests.backends.lava.against import Compared, Worker, compare


def test_tiles_of_a_convolution_behind_a_padded_pool() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((2, 6, 2, 8, 6)) < 0.4).astype(float)
    graph = Graph(
        [
            Node("x", Input((2, 8, 6), "spikes")),
            Node("pool", SumPool((3, 3), (2, 2), ((1, 1), (1, 1))), ("x",)),
            Node("conv", Conv(rng.normal(size=(3, 2, 3, 3)), None, (1, 1), ((1, 1), (1, 1)), (1, 1)), ("pool",)),
            Node("n", Neuron(np.asarray(0.8), decay=np.asarray(0.5)), ("conv",)),
            Node("flat", Reshape((36,)), ("n",)),
            Node("out", Linear(rng.normal(size=(2, 36))), ("flat",)),
            Node("y", Integrator(np.asarray(1.0)), ("out",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    program = compile_graph(graph, "loihi", 6, Options(), calibration={"x": x})
    assert len(form_of(program.integer).layers["n"].synapses) == 4
    into = Compared()
    with Worker() as worker:
        compare(worker, program, {"x": x}, into)
    assert into.fired[0] > 0.1
    assert into.wrong == []
    assert into.spikes_differing == into.membranes_differing == into.outputs_differing == 0


@pytest.mark.parametrize("encode", [None, "host"])
def test_a_max_pool_of_a_real_valued_input(encode: str | None) -> None:
    """Sent as graded spikes, whose largest a process of ours takes; or kept by the host, as is what reads it."""
    rng = np.random.default_rng(3)
    x = np.round(rng.uniform(-1, 1, (2, 7, 2, 5, 4)) * 16) / 16
    graph = Graph(
        [
            Node("x", Input((2, 5, 4))),
            Node("max", MaxPool((2, 2), (1, 2), ((0, 0), (1, 1)), (1, 1)), ("x",)),
            Node("late", Delay((2, 4, 3), 2), ("max",)),
            Node("flat", Reshape((24,)), ("late",)),
            Node("fc", Linear(rng.normal(size=(12, 24))), ("flat",)),
            Node("n", Neuron(np.asarray(0.9), decay=np.asarray(0.5)), ("fc",)),
            Node("out", Linear(rng.normal(size=(3, 12))), ("n",)),
            Node("y", Integrator(np.asarray(1.0)), ("out",)),
            Node("output", Output("weighted", weights=rng.normal(size=7)), ("y",)),
        ]
    )
    options = Options(encode=encode)  # type: ignore[arg-type]
    program = compile_graph(graph, "loihi2", 7, options, calibration={"x": x})
    into = Compared()
    with Worker() as worker:
        compare(worker, program, {"x": x}, into)
    assert 0.1 < into.fired[0] < 0.9
    assert into.wrong == []
    assert into.spikes_differing == into.membranes_differing == into.outputs_differing == 0
