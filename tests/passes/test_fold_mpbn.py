"""Folding the batch norm of a membrane: the same spikes, whatever gamma is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.ops import Input, Integrator, MembraneNorm, Neuron, Output
from neurocompile.passes import FoldMpbn

SHAPE = (6, 3, 3)


def _graph(op: Neuron) -> Graph:
    return Graph(
        [
            Node("x", Input(SHAPE)),
            Node("neuron", op, ("x",)),
            Node("output.integrator", Integrator(), ("neuron",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )


def _norm(rng: np.random.Generator, on: str, element_wise: bool) -> MembraneNorm:
    shape = SHAPE if element_wise else (SHAPE[0], 1, 1)
    gamma = rng.normal(size=shape)
    gamma.flat[0], gamma.flat[1], gamma.flat[2] = 0.0, -1e-9, 1e-9
    return MembraneNorm(gamma, rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.5, 2, shape), on)


@pytest.mark.parametrize("on", ["compare", "membrane"])
@pytest.mark.parametrize("element_wise", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("reset", ["to", "by", "none"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_same_spikes(on: str, element_wise: bool, strict: bool, reset: str, flip: bool) -> None:
    rng = np.random.default_rng(0)
    op = Neuron(
        threshold=np.asarray(0.3),
        decay=np.asarray(0.7),
        bias=np.asarray(0.1),
        gain=np.asarray(1.3),
        strict=strict,
        flip=np.asarray(flip),
        reset=reset,  # type: ignore[arg-type]
        amount=np.asarray(0.4),
        v_reset=np.asarray(-0.2),
        norm=_norm(rng, on, element_wise),
    )
    graph = _graph(op)
    folded, log = FoldMpbn().run(graph)
    assert isinstance(folded["neuron"].op, Neuron)
    assert folded["neuron"].op.norm is None
    assert len(log) == 1
    x = {"x": rng.normal(size=(20, 7, *SHAPE))}
    before, after = interpret(graph, x, 7), interpret(folded, x, 7)
    np.testing.assert_array_equal(before.spikes["neuron"], after.spikes["neuron"])
    assert 0.02 < before.spikes["neuron"].mean() < 0.98


def test_without_the_flip_it_would_be_wrong() -> None:
    """The equation of the paper as printed (Eq. 10) does not hold for negative gammas: the flip is needed."""
    rng = np.random.default_rng(1)
    graph = _graph(Neuron(np.asarray(0.3), np.asarray(0.25), strict=True, norm=_norm(rng, "compare", False)))
    folded, _ = FoldMpbn().run(graph)
    op = folded["neuron"].op
    assert isinstance(op, Neuron)
    x = {"x": rng.normal(size=(20, 4, *SHAPE))}
    right = interpret(graph, x, 4).spikes["neuron"]
    unflipped = interpret(_graph(replace(op, flip=np.asarray(False))), x, 4).spikes["neuron"]
    assert (right != unflipped).mean() > 0.1


def test_gamma_zero_always_or_never_fires() -> None:
    gamma, beta = np.zeros((2, 1, 1)), np.array([0.4, 0.2]).reshape(2, 1, 1)
    norm = MembraneNorm(gamma, beta, np.zeros_like(gamma), np.ones_like(gamma), "compare")
    graph = Graph(
        [
            Node("x", Input((2, 1, 1))),
            Node("neuron", Neuron(np.asarray(0.3), norm=norm), ("x",)),
            Node("output.integrator", Integrator(), ("neuron",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )
    folded, _ = FoldMpbn().run(graph)
    spikes = interpret(folded, {"x": np.random.default_rng(0).normal(size=(3, 5, 2, 1, 1))}, 5).spikes["neuron"]
    assert spikes[:, :, 0].all()
    assert not spikes[:, :, 1].any()
