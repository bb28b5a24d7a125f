"""Scales, thresholds and bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit, UsageError
from neurocompile.ir import Graph, Node, interpret
from neurocompile.ir.arrays import uniform_grid
from neurocompile.ir.form import form_of
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Input,
    Integrator,
    Linear,
    Neuron,
    Output,
    Reshape,
    Scale,
)
from neurocompile.passes.synapses import Synapses
from neurocompile.quantization import chosen_method, event_ranges, membrane_bounds, quantize
from neurocompile.quantization.bounds import _pushed, bounded_spikes, current_ranges
from neurocompile.quantization.rows import row_groups, rows_of
from neurocompile.simulator import simulate_integers
from neurocompile.simulator.execution import IntegerExecutor
from tests.random_networks.graphs import arithmetic_of, whole_neuron

GENERIC = arithmetic_of()


def _layer(weight: np.ndarray, op: Neuron, high: int = 1) -> Graph:
    """Spikes (or small whole numbers), one Linear, one neuron layer."""
    return Graph(
        [
            Node("x", Input((weight.shape[1],), "spikes", low=0, high=high)),
            Node("fc", Linear(weight), ("x",)),
            Node("neuron", op, ("fc",)),
            Node("skip", Linear(np.eye(len(weight))), ("neuron",)),
            Node("output.integrator", Integrator(), ("skip",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 127), st.floats(1e-4, 1e4), st.integers(0, 2**32 - 1))
def test_a_grid_is_found(parts: int, step: float, seed: int) -> None:
    whole = np.random.default_rng(seed).integers(-parts, parts + 1, 40)
    whole[0] = parts
    found = uniform_grid((whole * step).astype(np.float32).astype(np.float64), 127)
    assert found is not None
    steps = whole * step / found
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert found >= step * 0.999


def test_random_weights_are_on_no_grid() -> None:
    rng = np.random.default_rng(0)
    assert not any(uniform_grid(rng.normal(size=64), 127) for _ in range(200))
    assert not any(uniform_grid(rng.normal(size=12), 2**15 - 1) for _ in range(20))
    assert uniform_grid(np.zeros(5), 127) is None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("threshold", [1.0, 0.3, -0.5, 0.0, 2 / 3])
def test_thresholds_keep_their_meaning_on_whole_membranes(strict: bool, flip: bool, threshold: float) -> None:
    """Weights on a grid, no leak: every membrane is whole, and the integers must fire exactly when the reals do."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-7, 8, (16, 12)) * 0.05
    weight[:, 0] = 0.35
    op = Neuron(np.asarray(threshold), strict=strict, flip=np.asarray(flip), reset="none")
    quantized = quantize(_layer(weight, op), GENERIC, 6, bits=4)
    x = rng.integers(0, 2, (50, 6, 12))
    spikes = simulate_integers(quantized.graph, GENERIC, {"x": x}).spikes["neuron"]
    membrane = np.cumsum(np.rint(x @ weight.T * 20), axis=1) / 20
    compare = {
        (False, False): membrane >= threshold,
        (True, False): membrane > threshold,
        (False, True): membrane <= threshold,
        (True, True): membrane < threshold,
    }
    np.testing.assert_array_equal(spikes, compare[strict, flip])


def test_infinite_thresholds_always_or_never_fire() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 5))
    threshold = np.array([-np.inf, np.inf, 1e30])
    quantized = quantize(_layer(weight, Neuron(threshold, decay=np.asarray(0.5))), GENERIC, 4, bits=8)
    spikes = simulate_integers(quantized.graph, GENERIC, {"x": np.ones((2, 4, 5), int)}).spikes["neuron"]
    assert spikes[..., 0].all()
    assert not spikes[..., 1:].any()


def test_synapses_that_meet_share_a_scale() -> None:
    """A convolution and a Linear behind a Reshape meet channel by channel: one scale for each channel of the first."""
    rng = np.random.default_rng(0)
    graph = Graph(
        [
            Node("x", Input((1, 4, 4), "spikes", low=0, high=1)),
            Node(
                "conv",
                Conv(rng.normal(size=(3, 1, 1, 1)), padding=((0, 0),) * 2, stride=(1, 1), dilation=(1, 1)),
                ("x",),
            ),
            Node("flat", Reshape((48,)), ("conv",)),
            Node("z", Input((5,), "spikes", low=0, high=1)),
            Node("fc", Linear(rng.normal(size=(48, 5))), ("z",)),
            Node("add", Add(), ("flat", "fc")),
            Node("neuron", Neuron(np.asarray(1.0)), ("add",)),
            Node("skip", Linear(np.eye(48)), ("neuron",)),
            Node("output.integrator", Integrator(), ("skip",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )
    conv, fc = row_groups(rows_of(form_of(graph).layers["neuron"]), together=False)
    assert len(set(conv)) == 3
    np.testing.assert_array_equal(fc, np.repeat(conv, 16))
    units = quantize(graph, GENERIC, 4, bits=8).units["neuron"]
    assert len(np.unique(units)) == 3
    assert len(np.unique(quantize(graph, GENERIC, 4, bits=8, per_channel=False).units["neuron"])) == 1


def test_the_membrane_method_is_never_worse_on_its_own_measure() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_t(2, (8, 40))
    x = {"x": rng.integers(0, 2, (30, 5, 40))}
    graph = _layer(weight, Neuron(np.asarray(3.0), decay=np.asarray(0.5)))

    def error(method: str) -> float:
        done = quantize(graph, GENERIC, 5, bits=3, method=method, calibration=x)  # type: ignore[arg-type]
        scale = done.units["neuron"] * 2.0 ** done.graph["neuron"].op.shift  # type: ignore[union-attr]
        off = x["x"] @ (done.graph["fc"].op.weight * scale[:, None] - weight).T  # type: ignore[union-attr]
        v, total = np.zeros((30, 8)), 0.0
        for t in range(5):
            v = 0.5 * v + off[:, t]
            total += float((v**2).sum())
        return total

    assert error("membrane") < error("max")


def test_a_decay_beyond_the_target_names_its_channels() -> None:
    op = Neuron(np.asarray(1.0), decay=np.array([0.5, 9e4, -2e5]))
    with pytest.raises(DoesNotFit, match="channels 1, 2"):
        quantize(_layer(np.ones((3, 4)), op), GENERIC, 4, bits=8)


def test_an_overflow_is_refused_and_its_way_out_works() -> None:
    graph = _layer(np.random.default_rng(0).uniform(-1, -0.5, (3, 400)), Neuron(np.asarray(1.0)), high=255)
    with pytest.raises(DoesNotFit, match=r"(?s)could overflow within 100 steps.*use --bits \d+") as caught:
        quantize(graph, GENERIC, 100, bits=16)
    bits = int(caught.value.problems[0].fix.split("--bits ")[1].split()[0])
    done = quantize(graph, GENERIC, 100, bits=bits)
    run = simulate_integers(done.graph, GENERIC, {"x": np.full((1, 100, 400), 255)}, membranes=True)
    assert run.overflows == 0
    with pytest.raises(DoesNotFit):
        quantize(graph, GENERIC, 100, bits=bits + 1)


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_widths_that_the_target_has_not(bits: int) -> None:
    with pytest.raises(UsageError, match="2 to 16"):
        quantize(_layer(np.ones((2, 2)), Neuron(np.asarray(1.0))), GENERIC, 4, bits=bits)


def test_long_runs_are_bounded_quickly() -> None:
    """A million steps: what still grows after a few hundred is extrapolated."""
    graph = _layer(np.full((2, 3), 0.5), Neuron(np.asarray(1.0)))
    done = quantize(graph, GENERIC, 1_000_000, bits=8)
    assert done.graph["neuron"].op.shift >= 0  # type: ignore[union-attr]
    with pytest.raises(DoesNotFit, match="100000000 steps"):
        quantize(
            _layer(np.random.default_rng(0).normal(size=(2, 3)), Neuron(np.asarray(1.0))), GENERIC, 100_000_000, bits=16
        )


def test_amplifying_membranes_still_fit() -> None:
    """A batch norm on the membrane may make its decay larger than one: the membrane takes coarser steps."""
    rng = np.random.default_rng(0)
    op = Neuron(np.asarray(0.5), decay=np.asarray(2.5), reset="to")
    graph = _layer(rng.normal(size=(5, 30)), op)
    done = quantize(graph, GENERIC, 12, bits=8)
    assert done.graph["neuron"].op.shift < 0  # type: ignore[union-attr]
    x = rng.integers(0, 2, (40, 12, 30))
    run = simulate_integers(done.graph, GENERIC, {"x": x}, membranes=True)
    assert run.overflows == 0
    real = interpret(graph, {"x": x}, 12)
    assert (run.spikes["neuron"] == real.spikes["neuron"]).mean() > 0.95


@pytest.mark.parametrize("reset", ["to", "by", "none"])
@pytest.mark.parametrize("flip", [False, True])
def test_bounds_hold_over_long_runs(reset: str, flip: bool) -> None:
    """Longer than what is followed step by step, with first values far from where the membranes go."""
    rng, steps, neurons = np.random.default_rng(0), 900, 40
    one = 2**GENERIC.decay_fraction
    op = whole_neuron(
        rng.integers(-500, 500, neurons),
        one,
        decay=rng.choice([one, -one, one // 2, int(0.999 * one)], neurons),
        bias=rng.integers(-20, 20, neurons),
        flip=flip,
        reset=reset,
        v_reset=rng.integers(-3000, 3000, neurons),
        amount=rng.integers(-50, 50, neurons),
        v_init=rng.integers(-20000, 20000, neurons),
    )
    graph = Graph(
        [
            Node("x", Input((neurons,), "spikes", low=-3, high=9)),
            Node("w", Linear(np.diag(rng.integers(-9, 10, neurons))), ("x",)),
            Node("neuron", op, ("w",)),
            Node("skip", Linear(np.eye(neurons, dtype=int)), ("neuron",)),
            Node("output.integrator", Integrator(decay=np.asarray(0), bias=np.asarray(0)), ("skip",)),
            Node("output", Output(), ("output.integrator",)),
        ]
    )
    current = current_ranges(form_of(graph).layers["neuron"], event_ranges(graph))["w"]
    reach = membrane_bounds(op, current, (neurons,), GENERIC, steps)
    ends = np.stack([np.full((steps, neurons), end) for end in (-3, 9)])
    x = {"x": np.concatenate((ends, rng.integers(-3, 10, (6, steps, neurons))))}
    seen = simulate_integers(graph, GENERIC, x, membranes=True).membranes["neuron"]
    assert (seen >= reach.low).all()
    assert (seen <= reach.high).all()


def test_neurons_fire_no_more_often_than_was_bounded() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        width = int(rng.integers(2, 9))
        one = np.asarray(1.0)
        ops = [
            Neuron(one * rng.uniform(0.2, 2), decay=one * rng.uniform(0.3, 1), reset="by", amount=one * amount,
                   current_decay=one * rng.choice((0.0, 0.5)), max_spikes=127)
            for amount in rng.uniform(0.1, 1, 2)
        ]  # fmt: skip
        weights = [Linear(rng.normal(0, 0.5, (width, width)), rng.normal(0, 0.3, width)) for _ in ops]
        graph = Graph(
            [
                Node("x", Input((width,), "spikes", low=0, high=1)),
                Node("w0", weights[0], ("x",)),
                Node("n0", ops[0], ("w0",)),
                Node("w1", weights[1], ("n0",)),
                Node("n1", ops[1], ("w1",)),
                Node("y", Integrator(), ("n1",)),
                Node("output", Output(), ("y",)),
            ]
        )
        synaptic, _ = Synapses().run(graph)
        bounded = bounded_spikes(synaptic)
        ran = interpret(graph, {"x": (rng.random((8, 30, width)) < 0.7).astype(float)}, 30).spikes
        for name, spikes in ran.items():
            op: Any = bounded[name].op
            assert spikes.max() <= op.max_spikes
        first: Any = bounded["n0"].op
        assert first.max_spikes < 127


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_ends_that_are_alike_all_over_a_channel_give_the_same_bounds(transposed: bool, alike: bool) -> None:
    numbers = np.random.default_rng(int(transposed) * 2 + int(alike))
    weight = numbers.integers(-127, 128, (3, 4, 3, 2) if not transposed else (4, 3, 3, 2)).astype(np.float64)
    op: Any = (
        ConvTranspose(weight, None, (2, 1), (1, 0), (1, 0), (1, 1))
        if transposed
        else Conv(weight, None, (2, 1), ((1, 0), (0, 1)), (1, 2))
    )
    end = numbers.integers(-3, 4, (4, 1, 1) if alike else (4, 6, 7)) * np.ones((4, 6, 7))
    known = apply(op, [end[None]])[0]
    assert np.array_equal(_pushed(op, end, known.shape), known)
    assert np.array_equal(_pushed(op, end * 0, known.shape), known * 0)


@pytest.mark.parametrize(
    ("asked", "bits", "samples", "products", "chosen"),
    [
        ("auto", 8, 64, 1e6, ("max", 0)),
        ("auto", 6, 64, 1e6, ("max", 0)),
        ("auto", 5, 64, 1e6, ("membrane", 8)),
        ("auto", 2, 3, 1e6, ("membrane", 3)),
        ("auto", 4, 0, 1e6, ("max", 0)),
        ("auto", 4, 64, 5e7, ("membrane", 3)),  # 31 ranges are tried: 1.55e9 products a sample
        ("auto", 4, 64, 1e9, ("max", 0)),
        ("membrane", 8, 64, 1e12, ("membrane", 64)),
        ("percentile", 2, 0, 1.0, ("percentile", 0)),
    ],
)
def test_what_auto_stands_for(asked: Any, bits: int, samples: int, products: float, chosen: tuple[str, int]) -> None:
    assert chosen_method(asked, bits, samples, products) == chosen


def test_the_default_is_recorded_and_said() -> None:
    rng = np.random.default_rng(0)
    graph = _layer(rng.standard_t(2, (8, 40)), Neuron(np.asarray(3.0), decay=np.asarray(0.5)))
    x = {"x": rng.integers(0, 2, (30, 5, 40)).astype(float)}

    def of(options: Options, **given: Any) -> Any:
        return compile_graph(graph, "generic", 5, options, **given)

    few = of(Options(bits=3), calibration=x)
    assert few.settings["method"] == "membrane"
    assert [note for note in few.notes if "on 8 samples (--scale auto)" in note]
    asked = of(Options(bits=3, method="membrane"), calibration={"x": x["x"][:8]})
    np.testing.assert_array_equal(few.integer["fc"].op.weight, asked.integer["fc"].op.weight)
    assert of(Options(bits=3), calibration=x).files() == few.files()
    without = of(Options(bits=3))
    assert without.settings["method"] == "max"
    assert [note for note in without.notes if "few bits gain from --scale membrane" in note]
    wide = of(Options(bits=8), calibration=x)
    assert wide.settings["method"] == "max"
    assert not [note for note in wide.notes if "auto" in note]


@pytest.mark.parametrize(("input_bits", "lost"), [(12, True), (2, False)])
def test_numbers_beside_spikes_in_one_layer_say_what_rounding_takes(input_bits: int, lost: bool) -> None:
    """The unit of a number of 12 bits goes into its weights; beside those of spikes nothing is left of them."""
    rng = np.random.default_rng(0)
    graph = Graph(
        [
            Node("x", Input((2,))),
            Node("s", Input((2,), "spikes")),
            Node("both", Concat(0), ("x", "s")),
            Node("fc", Linear(rng.uniform(-2, 2, (3, 4))), ("both",)),
            Node("n", Neuron(np.asarray(1.0)), ("fc",)),
            Node("output", Output("sum"), ("n",)),
        ]
    )
    inputs = {"x": rng.random((2, 4, 2)), "s": (rng.random((2, 4, 2)) < 0.5).astype(float)}
    options = Options(bits=8, input_bits=input_bits, per_channel=False)
    program = compile_graph(graph, "generic", 4, options, calibration=inputs)
    notes = [note for note in program.notes if "PRECISION LOST" in note]
    assert bool(notes) == lost
    if lost:
        assert "of the current of 3 of 3 neurons" in notes[0]
        assert "--input-bits" in notes[0]


def test_a_channel_without_weights_keeps_its_bias() -> None:
    """What a pruned channel (or a gamma of 0) has left moves in steps of its own, however small it is."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 6))
    weight[1] = 0
    bias = np.asarray([0.1, 0.0031, -0.2, 0.05])
    graph = Graph(
        [
            Node("x", Input((6,), "spikes")),
            Node("fc", Linear(weight), ("x",)),
            Node("n", Neuron(np.asarray([1.0, 0.01, 1.0, 1.0]), bias=bias), ("fc",)),
            Node("output", Output("sequence"), ("n",)),
        ]
    )
    x = (rng.random((3, 16, 6)) < 0.4).astype(float)
    program = compile_graph(graph, "generic", 16, Options(bits=8), calibration={"x": x})
    known = interpret(program.real, {"x": x}, 16, membranes=True)
    found = simulate_integers(program.integer, program.arithmetic, program.integers({"x": x})[0], membranes=True)
    assert known.spikes["n"][:, :, 1].mean() == 0.25
    np.testing.assert_array_equal(found.spikes["n"][:, :, 1], known.spikes["n"][:, :, 1])
    off = np.abs(found.membranes["n"] * program.units["n"] - known.membranes["n"])[:, :, 1]
    assert off.max() < 0.01 / 1000


def test_weights_on_a_grid_are_no_step_of_a_membrane_beside_wide_inputs() -> None:
    """Inputs of 16 bits leave no shift; a neuron with one weight still has a bias, a threshold and a leak."""
    rng = np.random.default_rng(0)
    graph = Graph(
        [
            Node("x", Input((6,))),
            Node("s", Input((2,), "spikes")),
            Node("fc", Linear(rng.normal(size=(3, 6))), ("x",)),
            Node("scale", Scale(np.asarray([2.0, -1.5])), ("s",)),
            Node("both", Concat(0), ("fc", "scale")),
            Node("n", Neuron(np.asarray(1.7), decay=np.asarray(0.4), bias=np.asarray(0.3)), ("both",)),
            Node("output", Output("sequence"), ("n",)),
        ]
    )
    inputs = {"x": rng.uniform(-1, 1, (3, 12, 6)), "s": (rng.random((3, 12, 2)) < 0.5).astype(float)}
    options = Options(bits=16, input_bits=16, method="max")
    program = compile_graph(graph, "generic", 12, options, calibration=inputs)
    exact = {name: program.integers(inputs)[0][name] * program.inputs[name].unit for name in inputs}
    known = interpret(program.real, exact, 12, membranes=True)
    found = simulate_integers(program.integer, program.arithmetic, program.integers(inputs)[0], membranes=True)
    for channel in (3, 4):
        off = np.abs(found.membranes["n"] * program.units["n"] - known.membranes["n"])[:, :, channel]
        assert off.max() < 0.02, channel
        np.testing.assert_array_equal(found.spikes["n"][:, :, channel], known.spikes["n"][:, :, channel])
    (line,) = [note for note in program.notes if note.startswith("quantize: n: 16-bit")]
    assert "2 on their own grid and kept exactly" in line


@pytest.mark.parametrize("weight", [-(2.0**-9), -0.01, -0.001])
@pytest.mark.parametrize("target", ["generic", "async28"])
def test_a_bias_that_no_register_holds_is_no_smaller_one(target: str, weight: float) -> None:
    """Its first value keeps the membrane below the end of the register, though the bias alone is beyond it."""
    x, below = np.ones((1, 1, 1)), np.asarray(-0.25)
    op = Neuron(np.asarray(1.25), decay=np.asarray(0.375), bias=np.asarray(1.7), v_reset=below, v_init=below)
    graph = Graph(
        [
            Node("x", Input((1,), "spikes")),
            Node("fc", Linear(np.array([[weight]])), ("x",)),
            Node("n", op, ("fc",)),
            Node("output", Output("sum"), ("n",)),
        ]
    )
    program = compile_graph(graph, target, 1, Options(bits=16), calibration={"x": x})
    whole: Any = program.integer["n"].op
    np.testing.assert_allclose(whole.bias * program.units["n"], 1.7, rtol=1e-4)
    assert IntegerExecutor(program).run({"x": x}).outputs["output"] == 1
