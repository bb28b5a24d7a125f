"""Delays on inputs that the host reads, and spikes from before a run that a delay behind pools could carry into it."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurocompile.backends.lava import plan_of
from neurocompile.compiler import Options, compile_graph
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Conv, Delay, Input, Integrator, Linear, MaxPool, Neuron, Output, Reshape
from neurocompile.program import Program
from tests.backends.lava.against import Compared, Worker, compare

POOL = MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))


def held(program: Program, x: np.ndarray) -> Compared:
    into = Compared()
    with Worker() as worker:
        compare(worker, program, {"x": x}, into)
    return into


def test_a_host_layer_that_reads_a_delayed_input() -> None:
    x = np.arange(24).reshape(2, 6, 2) / 24
    graph = Graph(
        [
            Node("x", Input((2,))),
            Node("late", Delay((2,), 2), ("x",)),
            Node("fc", Linear(np.eye(2)), ("late",)),
            Node("n", Neuron(np.asarray(0.4)), ("fc",)),
            Node("out", Linear(np.eye(2)), ("n",)),
            Node("y", Integrator(np.asarray(1.0)), ("out",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    into = held(compile_graph(graph, "loihi", 6, Options(), calibration={"x": x}), x)
    assert into.fired[0] > 0.1
    assert into.wrong == []


def test_a_delay_behind_two_pools_carries_no_spikes_from_before_the_run() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((2, 6, 1, 8, 8)) < 0.3).astype(float)
    graph = Graph(
        [
            Node("x", Input((1, 8, 8), "spikes")),
            Node("conv", Conv(np.full((1, 1, 1, 1), 0.5), None, (1, 1), ((0, 0), (0, 0)), (1, 1)), ("x",)),
            Node("n", Neuron(np.asarray(0.4), bias=np.asarray(0.5)), ("conv",)),
            Node("p1", POOL, ("n",)),
            Node("p2", POOL, ("p1",)),
            Node("late", Delay((1, 2, 2), 2), ("p2",)),
            Node("flat", Reshape((4,)), ("late",)),
            Node("fc", Linear(rng.normal(size=(3, 4))), ("flat",)),
            Node("m", Neuron(np.asarray(0.3)), ("fc",)),
            Node("out", Linear(rng.normal(size=(2, 3))), ("m",)),
            Node("y", Integrator(np.asarray(1.0)), ("out",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    program = compile_graph(graph, "loihi2", 6, Options(), calibration={"x": x})
    kinds: Any = {population.name: population.kind for population in plan_of(program).populations}
    # n fires on its bias alone, and the pools behind it for that: the one that is delayed waits for the run.
    assert kinds == {"n": "stock", "p1": "stock", "p2": "own", "m": "stock", "y": "stock"}
    into = held(program, x)
    assert into.wrong == []
