"""A gain for each time step: what it computes, as text, and where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.graph import InvalidGraph
from neurocompile.ir.ops import Gain, Input, Integrator, Linear, Neuron, Output

STEPS = 5


def network(gain: Gain) -> Graph:
    return Graph(
        [
            Node("x", Input((3,), "spikes")),
            Node("fc", Linear(np.random.default_rng(0).normal(size=(4, 3))), ("x",)),
            Node("gain", gain, ("fc",)),
            Node("neuron", Neuron(np.asarray(0.7), decay=np.asarray(0.5)), ("gain",)),
            Node("again", Gain(np.arange(STEPS) - 1.5), ("neuron",)),
            Node("membrane", Integrator(np.asarray(1.0)), ("again",)),
            Node("output", Output("last"), ("membrane",)),
        ]
    )


@pytest.mark.parametrize("bias", [np.asarray(0.0), np.linspace(-1, 1, STEPS)[:, None], np.ones((STEPS, 4)) / 3])
def test_each_step_has_its_gain(bias: np.ndarray) -> None:
    """Of currents, and of spikes, which it makes currents: number by number."""
    gains = np.asarray([1.5, 0.25, -1.0, 0.0, 2.0])
    graph = network(Gain(gains, bias))
    x = np.random.default_rng(1).integers(0, 2, (20, STEPS, 3)).astype(float)
    run = interpret(graph, {"x": x}, STEPS)
    weight = graph["fc"].op.weight  # type: ignore[union-attr]
    for n in range(len(x)):
        v, y = [0.0] * 4, [0.0] * 4
        for t in range(STEPS):
            for k in range(4):
                current = sum(weight[k, j] * x[n, t, j] for j in range(3))
                added = 0.0 if bias.ndim == 0 else bias[t, 0] if bias.shape[1] == 1 else bias[t, k]
                v[k] = 0.5 * v[k] + (gains[t] * current + added)
                spike = v[k] >= 0.7
                v[k] = 0.0 if spike else v[k]
                assert run.spikes["neuron"][n, t, k] == spike
                y[k] += (t - 1.5) * spike
        np.testing.assert_allclose(run.outputs["output"][n], y, atol=1e-12)
    assert 0.02 < run.spikes["neuron"].mean() < 0.98


def test_as_text() -> None:
    lines = str(network(Gain(np.linspace(0.5, 1.5, STEPS)))).splitlines()
    assert lines[2] == "gain : currents[4] = Gain(fc; gains=[5] in 0.5..1.5)"
    assert lines[4] == "again : currents[4] = Gain(neuron; gains=[5] in -1.5..2.5)"


@pytest.mark.parametrize(
    "gain",
    [
        Gain(np.asarray(1.0)),
        Gain(np.ones((STEPS, 4))),
        Gain(np.ones(STEPS), np.ones(4)),
        Gain(np.ones(STEPS), np.asarray(1.0)),
        Gain(np.ones(STEPS), np.ones((STEPS, 1, 4))),
        Gain(np.ones(STEPS), np.ones((STEPS, 3))),
        Gain(np.ones(STEPS), np.ones((STEPS + 1, 4))),
    ],
)
def test_what_does_not_fit(gain: Gain) -> None:
    with pytest.raises(InvalidGraph, match="gain: gains"):
        network(gain)
