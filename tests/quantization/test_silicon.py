"""Integers on the grids of a chip's own neuron."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Add, Input, Integrator, Linear, Neuron, Output, Scale
from neurocompile.program import Program
from neurocompile.quantization.silicon import registers_of, shortfalls
from neurocompile.simulator.reference import State, simulate_integers
from tests.random_networks.loihi import deep_network


def compiled(weights: np.ndarray, neuron: Neuron, steps: int = 4, skip: float = 0.0, **options: Any) -> Program:
    """One layer of neurons and a readout, for Loihi 2."""
    size = weights.shape[1]
    current = [Node("fc", Linear(weights), ("x",))]
    if skip:
        current += [Node("skip", Scale(np.asarray(skip)), ("x",)), Node("add", Add(), ("fc", "skip"))]
    graph = Graph(
        [
            Node("x", Input((size,), "spikes")),
            *current,
            Node("n", neuron, (current[-1].name,)),
            Node("out", Linear(np.ones((1, len(weights)))), ("n",)),
            Node("y", Integrator(), ("out",)),
            Node("output", Output(), ("y",)),
        ]
    )
    return compile_graph(graph, "loihi2", steps, Options(**options))


def test_a_common_threshold_lies_exactly_on_the_grid() -> None:
    rng = np.random.default_rng(0)
    for strict in (True, False):
        neuron = Neuron(np.array([0.37, 1.9, 0.81]), decay=np.asarray(0.5), strict=strict)
        program = compiled(rng.normal(size=(3, 5)), neuron)
        op: Any = program.integer["n"].op
        real: Any = program.real["n"].op
        assert (int(op.threshold) - 1) % 64 == 0
        # h > t on the chip is h >= t + 1 there: in real units the threshold of each neuron comes out as it went in.
        met = (int(op.threshold) - (1 if strict else 0)) * program.units["n"]
        np.testing.assert_allclose(met, real.threshold, rtol=1e-12)


def test_registers_say_what_the_integers_say() -> None:
    found = 0
    for seed in range(15):
        drawn = deep_network(random.Random(seed))
        try:
            program = compile_graph(drawn.graph, "loihi2", drawn.timesteps, Options(), calibration=drawn.inputs)
        except DoesNotFit:
            continue
        for node in program.integer.of(Neuron):
            op: Any = node.op
            registers = registers_of(op, program.arithmetic)
            assert (registers is None) == bool(shortfalls(op, program.arithmetic, 4096.0))
            if registers is None:
                continue
            found += 1
            assert (registers.vth << 6) + 1 == op.threshold
            np.testing.assert_array_equal(registers.bias_mantissa << registers.bias_exponent, op.bias)
            assert np.abs(registers.bias_mantissa).max(initial=0) <= 4095
            assert 0 <= registers.vth < 2**17
            assert registers.bias_exponent in (6, 7)
            assert registers.decay.min() >= 1
            assert registers.decay.max() <= 4096
    assert found > 18


def test_a_large_skip_gets_an_exponent_and_leaves_the_others_their_bits() -> None:
    weights = np.random.default_rng(1).uniform(-0.02, 0.02, (4, 4))
    program = compiled(weights, Neuron(np.asarray(1.0)), skip=1.0)
    ops: Any = {node.name: node.op for node in program.integer}
    assert np.abs(ops["fc"].weight).max() == pytest.approx(127, abs=2)
    skip = next(op for name, op in ops.items() if name.endswith("skip"))
    assert np.all(skip.scale % 32 == 0)
    assert np.abs(skip.scale).max() <= 127 << 7
    assert any("times 2**" in note for note in program.notes)


def test_weights_that_are_small_beside_others_are_reported() -> None:
    weights = np.random.default_rng(2).uniform(-1, 1, (4, 6))
    weights[1:] /= 1000
    program = compiled(weights, Neuron(np.asarray(1.0), decay=np.asarray(0.5)))
    (note,) = [note for note in program.notes if "PRECISION LOST" in note]
    assert "fc keeps at most" in note
    assert "in 3 of 4 rows" in note


def test_decays_outside_the_registers_are_rounded_or_refused_as_neurons_of_the_chip() -> None:
    weights = np.random.default_rng(3).normal(size=(4, 4))
    zero = compiled(weights, Neuron(np.asarray(1.0), decay=np.asarray(0.0)))
    assert registers_of(zero.integer["n"].op, zero.arithmetic) is not None  # type: ignore[arg-type]
    assert any("decays by at most 0.00024" in note for note in zero.notes)
    above = compiled(weights, Neuron(np.asarray(1.0), decay=np.asarray(1.2)))
    assert registers_of(above.integer["n"].op, above.arithmetic) is None  # type: ignore[arg-type]
    assert any("its decay (1.2..1.2) is outside 0 to 1" in note for note in above.notes)


def test_membranes_without_a_leak_may_rest_far_below_and_keep_their_weights() -> None:
    weights = np.full((2, 40), -1.0)
    weights[:, :2] = 0.9
    program = compiled(weights, Neuron(np.asarray(1.0)), steps=400)
    notes = "\n".join(program.notes)
    assert "n: a membrane may saturate" in notes
    assert "n: 8-bit weights, 1 scales" in notes
    assert "of their bits" not in notes
    run = simulate_integers(program.integer, program.arithmetic, {"x": np.ones((1, 400, 40), np.int64)}, membranes=True)
    assert run.overflows > 0
    assert run.potentials["n"].min() == 1 - 2**23
    # Above, where it would fire too late, nothing is left to chance.
    assert run.membranes["n"].max() < 2**23 - 1


def test_a_current_is_never_allowed_to_wrap() -> None:
    weights = -np.random.default_rng(4).uniform(0.01, 1.0, (2, 3000))
    neuron = Neuron(np.asarray(1.0), decay=np.asarray(0.5), current_decay=np.asarray(0.9))
    program = compiled(weights, neuron, steps=50)
    assert "of their bits" in "\n".join(program.notes)
    left: State = {}
    simulate_integers(program.integer, program.arithmetic, {"x": np.ones((1, 50, 3000), np.int64)}, state=left)
    op: Any = program.integer["n"].op
    layer: Any = program.integer["fc"].op
    expected = np.zeros(2, np.int64)
    for _ in range(50):
        kept = expected * int(op.current_decay)
        expected = np.sign(kept) * (np.abs(kept) >> 12) + (layer.weight.sum(1) << op.shift)
    np.testing.assert_array_equal(left["n"]["i"][0], expected)
    assert np.abs(expected).max() < 2**23
