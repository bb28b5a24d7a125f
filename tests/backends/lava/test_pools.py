"""A pool whose windows reach across the border that a convolution pads, as Lava's synapses."""

from __future__ import annotations

import numpy as np

from neurocompile.compiler import Options, compile_graph
from neurocompile.ir import Graph, Node
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Conv, Input, Integrator, Linear, Neuron, Output, Reshape, SumPool
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
