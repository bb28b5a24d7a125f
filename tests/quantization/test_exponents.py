"""Sources of very different sizes that meet in one neuron: each has an exponent, and keeps its own steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurocompile.arithmetic import Arithmetic
from neurocompile.compiler import Options, compile_graph
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Add, Conv, Delay, Input, Linear, Neuron, Output, Reshape
from neurocompile.program import Program
from neurocompile.quantization import quantize
from neurocompile.simulator import simulate_integers
from neurocompile.simulator.engine import Engine
from tests.random_networks.graphs import arithmetic_of
from tests.simulator.engine_sweep import compare
from tests.simulator.test_engine import needs_engine

GENERIC = arithmetic_of()
STEPS, INPUTS, NEURONS = 6, 5, 7


def recurrent(ratio: float, seed: int = 0) -> Graph:
    """Neurons that hear an input, and themselves through weights so many times as large."""
    numbers = np.random.default_rng(seed)
    own = numbers.uniform(-1, 1, (NEURONS, NEURONS)) * ratio
    own[:, 0] = ratio  # each row reaches that far
    into = numbers.uniform(-1, 1, (NEURONS, INPUTS))
    into[:, 0] = 1.0
    return Graph(
        [
            Node("x", Input((INPUTS,), "real", 1.0, 0, 15)),
            Node("into", Linear(into), ("x",)),
            Node("before", Delay((NEURONS,), 1), ("n",)),
            Node("own", Linear(own), ("before",)),
            Node("sum", Add(), ("into", "own")),
            Node("n", Neuron(np.asarray(10.0), decay=np.asarray(0.5)), ("sum",)),
            Node("output", Output("sum"), ("n",)),
        ]
    )


def weights(graph: Graph, name: str) -> np.ndarray:
    op: Any = graph[name].op
    return np.asarray(op.weight)


def inputs(samples: int = 20) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).integers(0, 16, (samples, STEPS, INPUTS))}


@pytest.mark.parametrize(("ratio", "exponent"), [(1.0, 0), (1.3, 0), (1.9, 1), (16.0, 4), (23.0, 5), (1 / 16, 4)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_each_source_keeps_its_own_steps(ratio: float, exponent: int, bits: int) -> None:
    done = quantize(recurrent(ratio), GENERIC, STEPS, bits=bits)
    most = 2 ** (bits - 1) - 1
    into, own = weights(done.graph, "into"), weights(done.graph, "own")
    small, large = (into, own) if ratio >= 1 else (own, into)
    assert not np.any(large % 2**exponent)
    for mantissas in (np.abs(large) >> exponent, np.abs(small)):
        assert 0.7 * most - 0.5 <= mantissas.max() <= most, "within a factor of 2**0.5 of all that it could have"
    assert any(f"times 2**{exponent}" in line for line in done.log) == (exponent > 0)
    assert not any("PRECISION LOST" in line for line in done.log)


def test_without_exponents_the_small_source_is_lost_and_the_message_says_what_has_them() -> None:
    without = arithmetic_of(weight_exponent_max=0)
    done = quantize(recurrent(16.0), without, STEPS, bits=4)
    assert np.abs(weights(done.graph, "into")).max() <= 1
    (line,) = [line for line in done.log if "PRECISION LOST" in line]
    assert "into keeps at most" in line
    assert "use more --bits (up to 16), or --target generic or loihi2" in line


def by_hand(graph: Graph, x: np.ndarray, done: Graph, arithmetic: Arithmetic) -> np.ndarray:
    """The integer neurons ``[N, T, neurons]``, one by one and in Python's own numbers."""
    into, own = weights(done, "into").tolist(), weights(done, "own").tolist()
    op: Any = done["n"].op
    thresholds = np.broadcast_to(op.threshold, (NEURONS,)).tolist()
    fired = np.zeros((*x.shape[:2], NEURONS), np.int64)
    for sample in range(len(x)):
        v = [0] * NEURONS
        for t in range(x.shape[1]):
            heard = x[sample, t].tolist()
            spikes = fired[sample, t - 1].tolist() if t else [0] * NEURONS
            for n in range(NEURONS):
                total = sum(w * k for w, k in zip(into[n], heard)) + sum(w * k for w, k in zip(own[n], spikes))
                total = total << op.shift if op.shift >= 0 else (total + (1 << -op.shift - 1)) >> -op.shift
                half = 1 << arithmetic.decay_fraction - 1
                h = ((v[n] * int(op.decay) + half) >> arithmetic.decay_fraction) + total
                fired[sample, t, n] = h >= thresholds[n]
                v[n] = 0 if fired[sample, t, n] else h
    return fired


@pytest.mark.parametrize("bits", [3, 8])
def test_the_reference_computes_them_exactly(bits: int) -> None:
    graph, x = recurrent(37.0, seed=bits), inputs()
    done = quantize(graph, GENERIC, STEPS, bits=bits)
    spikes = simulate_integers(done.graph, GENERIC, x).spikes["n"]
    np.testing.assert_array_equal(spikes, by_hand(graph, x["x"], done.graph, GENERIC))
    assert 0.02 < spikes.mean() < 0.9


@needs_engine
@pytest.mark.parametrize("bits", [2, 4, 8, 12])
@pytest.mark.parametrize("ratio", [5.0, 900.0, 1e5])
def test_the_engine_computes_them_as_the_reference_does(bits: int, ratio: float) -> None:
    done, x = quantize(recurrent(ratio), GENERIC, STEPS, bits=bits), inputs()
    known = simulate_integers(done.graph, GENERIC, x, membranes=True)
    assert compare(Engine(done.graph, GENERIC).run(x, membranes=True), known).where == []
    assert known.overflows == 0


def test_mantissa_and_exponent_have_at_most_the_widest_weight() -> None:
    for bits in (4, 12, 15, 16):
        done = quantize(recurrent(1e6), GENERIC, STEPS, bits=bits)
        assert np.abs(weights(done.graph, "own")).max() < 2 ** (GENERIC.weight_bits_max - 1)


def test_exponents_give_way_where_sums_would_overflow() -> None:
    """The bounds hold for the weights as they are, exponents in them; smaller exponents come before a refusal."""
    narrow = arithmetic_of(accumulator_bits=14)
    done = quantize(recurrent(256.0), narrow, STEPS, bits=6)
    both = np.concatenate((weights(done.graph, "own"), 15 * weights(done.graph, "into")), axis=1)
    for sign in (1, -1):
        assert np.maximum(sign * both, 0).sum(1).max() <= narrow.accumulator_max
    own = np.abs(weights(done.graph, "own"))
    wide = quantize(recurrent(256.0), GENERIC, STEPS, bits=6)
    assert np.abs(weights(wide.graph, "own")).max() > own.max() >= 31 << 1


def test_a_program_needs_nothing_new_to_be_read_or_run() -> None:
    program = compile_graph(recurrent(16.0), "generic", STEPS, Options(bits=4))
    assert any("own times 2**" in note for note in program.notes)
    assert "weight_exponent_max" not in program.arithmetic.plain()
    assert Arithmetic.of(program.arithmetic.plain()) == program.arithmetic
    assert isinstance(program, Program)


def test_weights_on_one_grid_stay_exact_without_exponents() -> None:
    numbers = np.random.default_rng(0)
    graph = recurrent(1.0)
    into, own = numbers.integers(-1, 2, (NEURONS, INPUTS)) * 0.5, numbers.integers(-7, 8, (NEURONS, NEURONS)) * 0.5
    own[:, 0] = 3.5
    nodes = {"into": Node("into", Linear(into), ("x",)), "own": Node("own", Linear(own), ("before",))}
    done = quantize(graph.rewritten(nodes), GENERIC, STEPS, bits=4)
    np.testing.assert_array_equal(weights(done.graph, "into"), into * 2)
    np.testing.assert_array_equal(weights(done.graph, "own"), own * 2)


def test_on_loihi_kernels_have_no_exponent() -> None:
    """Where smaller weights follow a convolution, it is the convolution that the others are shifted against."""
    kernel = np.full((1, 1, 3, 3), 0.7)
    small = np.random.default_rng(0).uniform(-0.03, 0.03, (16, 16))
    graph = Graph(
        [
            Node("x", Input((1, 4, 4), "spikes")),
            Node("first", Neuron(np.asarray(0.5)), ("x",)),
            Node("conv", Conv(kernel, None, (1, 1), ((1, 1), (1, 1)), (1, 1)), ("first",)),
            Node("flat", Reshape((16,)), ("first",)),
            Node("linear", Linear(small), ("flat",)),
            Node("rows", Reshape((1, 4, 4)), ("linear",)),
            Node("sum", Add(), ("conv", "rows")),
            Node("n", Neuron(np.asarray(1.0)), ("sum",)),
            Node("y", Output("sum"), ("n",)),
        ]
    )
    program = compile_graph(graph, "loihi", STEPS, Options())
    (said,) = (note for note in program.notes if note.startswith("quantize: n: 8-bit weights"))
    assert "conv times" not in said
    assert "linear keeps at most" in said
