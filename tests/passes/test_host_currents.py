"""Gains behind weights that read inputs, in layers of the chip: what they change, and that nothing else does."""

from __future__ import annotations

import random

import numpy as np

from neurocompile.compiler import Options, synaptic_passes
from neurocompile.ir import interpret
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Gain, Input, Integrator, Linear, Neuron, Output
from neurocompile.mapping.host import encoders, without_written, written_to
from neurocompile.passes import REAL_PASSES, CommonThreshold, HostCurrents, run_passes
from neurocompile.targets import load_target
from tests.random_networks.loihi import deep_network

STEPS = 3


def mixed() -> Graph:
    """A layer behind an input, and one that hears that input, too."""
    return Graph(
        [
            Node("x", Input((2,))),
            Node("in", Linear(np.eye(2)), ("x",)),
            Node("first", Neuron(np.asarray(0.5)), ("in",)),
            Node("fc", Linear(np.ones((2, 2))), ("first",)),
            Node("given", Linear(np.ones((2, 2))), ("x",)),
            Node("both", Add(), ("fc", "given")),
            Node("second", Neuron(np.asarray(0.5)), ("both",)),
            Node("out", Linear(np.ones((1, 2))), ("second",)),
            Node("read", Integrator(), ("out",)),
            Node("output", Output(), ("read",)),
        ]
    )


def test_a_gain_stands_behind_what_the_host_computes() -> None:
    graph = mixed()
    assert (encoders(graph), written_to(graph)) == ({"first"}, {"second"})
    gained, log = HostCurrents(STEPS, encoders(graph)).run(graph)
    assert log == ["second: the host computes what given gives it"]
    (gain,) = gained.of(Gain)
    assert (gain.name, gain.inputs, gained["both"].inputs) == ("given.host", ("given",), ("fc", "given.host"))
    again, log = HostCurrents(STEPS, encoders(gained)).run(gained)
    assert (again.same_as(gained), log) == (True, [])
    assert without_written(gained)["second"].inputs == ("fc",)
    assert {"given", "given.host", "both"}.isdisjoint(node.name for node in without_written(gained))


def test_spikes_stay_the_same_on_the_way_to_the_chip() -> None:
    """Shifts, flips and scales of neurons act on what the host computes, gains and their biases included."""
    arithmetic = load_target("loihi").arithmetic
    assert arithmetic is not None
    compared, scaled = 0, 0
    for seed in range(40):
        drawn = deep_network(random.Random(seed), mixed=True)
        graph, _ = run_passes(drawn.graph, (*REAL_PASSES, *synaptic_passes(arithmetic, Options(), drawn.inputs)))
        host, steps = encoders(graph), drawn.timesteps
        passes = (CommonThreshold(arithmetic, host), HostCurrents(steps, host))
        moved, log = run_passes(graph, passes)
        scaled += any("become one" in line for line in log) and "mixed: gains" in drawn.cases
        units = {node.name: node.op.unit for node in graph.of(Input) if isinstance(node.op, Input)}
        whole = {name: np.rint(x / units[name]) for name, x in drawn.inputs.items()}
        before, after = (interpret(each, whole, steps).spikes for each in (graph, moved))
        for name, fired in before.items():
            assert np.array_equal(fired, after[name]), (seed, name)
            compared += fired.size
    assert compared > 10_000
    assert scaled >= 2


def test_biases_of_single_steps_are_scaled_with_their_neurons() -> None:
    arithmetic = load_target("loihi").arithmetic
    assert arithmetic is not None
    numbers = np.random.default_rng(0)
    gain = Gain(np.array([1.0, 0.5, 2.0]), numbers.normal(size=(STEPS, 2)))
    op = Neuron(np.array([0.5, 4.0]), np.asarray(0.5))
    graph = mixed().rewritten(
        {"both": Node("both", Add(), ("fc", "gain")), "second": Node("second", op, ("both",))},
        [Node("gain", gain, ("given",))],
    )
    moved, log = CommonThreshold(arithmetic, encoders(graph)).run(graph)
    assert log == ["second: thresholds 0.5..4 above the reset become one"]
    x = {"x": numbers.normal(size=(50, STEPS, 2))}
    before, after = (interpret(each, x, STEPS).spikes["second"] for each in (graph, moved))
    assert np.array_equal(before, after)
    assert 0.1 < before.mean() < 0.9
