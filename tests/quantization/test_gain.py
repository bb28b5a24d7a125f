"""Gains of single steps in integers: mantissas, bounds, accumulators."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Add, Array, Gain, Input, Integrator, Linear, Neuron, Output
from neurocompile.quantization import event_ranges, quantize
from neurocompile.quantization.bounds import current_ranges
from neurocompile.quantization.integers import integer_gain
from neurocompile.simulator import simulate_integers
from tests.random_networks.graphs import arithmetic_of

GENERIC = arithmetic_of()
STEPS = 6


def layer(gains: Array, bias: Array, seed: int, high: int = 1) -> Graph:
    rng = np.random.default_rng(seed)
    return Graph(
        [
            Node("x", Input((12,), "spikes" if high == 1 else "real", low=-high if high > 1 else 0, high=high)),
            Node("fc", Linear(rng.normal(size=(8, 12))), ("x",)),
            Node("gain", Gain(gains, bias), ("fc",)),
            Node("plain", Linear(rng.normal(size=(8, 12)) / 4), ("x",)),
            Node("sum", Add(), ("gain", "plain")),
            Node("neuron", Neuron(np.asarray(0.9), decay=np.asarray(0.8)), ("sum",)),
            Node("skip", Linear(np.eye(8)), ("neuron",)),
            Node("output.integrator", Integrator(), ("skip",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )


@pytest.mark.parametrize("rounding", ["nearest", "floor", "zero"])
@pytest.mark.parametrize("seed", range(4))
def test_integers_follow_the_reals_and_their_bounds(seed: int, rounding: str) -> None:
    arithmetic = arithmetic_of(rounding=rounding)
    rng = np.random.default_rng(seed)
    gains = rng.uniform(0.4, 1.6, STEPS) * np.where(rng.random(STEPS) < 0.2, -1, 1)
    bias = rng.normal(size=(STEPS, 8)) / 4 if seed % 2 else np.asarray(0.0)
    graph = layer(gains, bias, seed)
    made = quantize(graph, arithmetic, STEPS, bits=12)
    x = rng.integers(0, 2, (40, STEPS, 12))
    done = simulate_integers(made.graph, arithmetic, {"x": x}, membranes=True)
    assert done.overflows == 0
    spikes = interpret(graph, {"x": x}, STEPS).spikes["neuron"]
    assert (done.spikes["neuron"] == spikes).mean() > 0.99
    assert 0.05 < spikes.mean() < 0.95
    ranges = current_ranges(form_of(made.graph).layers["neuron"], event_ranges(made.graph))
    for name in ("fc", "sum"):
        reach = ranges[name]
        probe = made.graph.rewritten({}, [Node("probe", Output("sequence"), (name,))])
        seen = simulate_integers(probe, arithmetic, {"x": x}).outputs["probe"]
        assert (reach.low <= seen.min((0, 1))).all()
        assert (seen.max((0, 1)) <= reach.high).all()
    assert any("1 gains with 30 bits behind the point or more, off by at most" in line for line in made.log)


@pytest.mark.parametrize("top", [1e-12, 3e-5, 0.5, 1.0, 1.9999999999, 2.0, 77.0, 3e9])
@pytest.mark.parametrize(("decay_bits", "accumulator_bits"), [(32, 32), (13, 24), (32, 40)])
def test_mantissas_use_their_bits_and_products_fit(top: float, decay_bits: int, accumulator_bits: int) -> None:
    arithmetic = arithmetic_of(decay_bits=decay_bits, accumulator_bits=accumulator_bits)
    gains = np.asarray([top, -top, top / 3, 0.0])
    op = integer_gain(Gain(gains), np.ones(2), arithmetic)
    width = min(decay_bits, 64 - accumulator_bits) - 1
    largest = int(np.abs(op.gains).max())
    assert largest < 2**width
    assert largest >= 2 ** (width - 2) or op.fraction in (0, 62)
    whole = arithmetic.accumulator_max * largest + (1 << max(op.fraction - 1, 0))
    assert whole < 2**63
    if op.fraction:
        np.testing.assert_allclose(op.gains / 2.0**op.fraction, gains, atol=2.0**-op.fraction)


def test_sums_before_a_small_gain_are_held_against_the_accumulator() -> None:
    graph = layer(np.linspace(1e-6, 1e-5, STEPS), np.asarray(0.0), 0, high=2**15)
    arithmetic = arithmetic_of(accumulator_bits=20)
    with pytest.raises(DoesNotFit) as caught:
        quantize(graph, arithmetic, STEPS, bits=8)
    assert "synaptic sum before its gain could overflow" in caught.value.problems[0].what
    assert quantize(graph, GENERIC, STEPS, bits=8).graph.of(Gain)


def test_a_large_gain_could_overflow() -> None:
    with pytest.raises(DoesNotFit, match="could overflow"):
        quantize(layer(np.full(STEPS, 1e9), np.asarray(0.0), 0), GENERIC, STEPS, bits=8)
