"""What Lava's fixed-point processes do at the ends of their ranges; the facts that the backend relies on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurocompile.backends.lava import plan_of
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Conv, Input, Integrator, Linear, Neuron, Output, Reshape
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers
from tests.backends.lava.against import Compared, Worker, compare
from tests.random_networks.graphs import program_of, whole_neuron

NEVER = np.asarray((131071 << 6) + 1)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


def one_layer(neuron: Neuron, weights: np.ndarray, steps: int, low: float = 0, high: float = 1) -> Program:
    """An input, a layer and a readout, in integers."""
    carries: Any = "spikes" if (low, high) == (0, 1) else "real"
    graph = Graph(
        [
            Node("x", Input((weights.shape[1],), carries, low=low, high=high)),
            Node("fc", Linear(weights), ("x",)),
            Node("n", neuron, ("fc",)),
            Node("out", Linear(np.full((1, len(weights)), 3)), ("n",)),
            Node("y", Integrator(np.asarray(4096), bias=np.asarray(0), shift=7), ("out",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    return replace(program_of(graph, steps, "loihi2"), units={"n": np.ones(()), "y": np.ones(())})


def neuron(**settings: Any) -> Neuron:
    return whole_neuron(one=4096, **{"threshold": NEVER, "shift": 7, **settings})


def held(worker: Worker, program: Program, x: np.ndarray) -> tuple[Compared, int]:
    """The comparison, and how many registers overflowed in the simulator."""
    into = Compared()
    compare(worker, program, {"x": x}, into)
    whole, _ = program.integers({"x": x})
    run = simulate_integers(program.integer, program.arithmetic, whole)
    return into, run.overflows


def test_the_current_wraps_once_and_the_membrane_saturates(worker: Worker) -> None:
    weights = np.array([[127], [-127], [100], [-64]])
    program = one_layer(neuron(current_decay=np.asarray(4000), shift=12), weights << 6, 60)
    into, overflows = held(worker, program, np.ones((1, 60, 1)))
    assert overflows > 20
    assert into.wrong == []


def test_the_membrane_saturates_on_both_sides(worker: Worker) -> None:
    bias = np.array([4095 << 7, -4095 << 7, 0, 4095 << 7])
    program = one_layer(neuron(bias=bias), np.array([[0], [0], [1], [-1]]), 40)
    into, overflows = held(worker, program, np.ones((1, 40, 1)))
    assert overflows > 20
    assert into.wrong == []


def test_a_current_of_exactly_two_to_the_23_stays(worker: Worker) -> None:
    # 64 spikes' worth of 1 << 17 make 2**23, which Lava's wrap leaves alone on the upper side only.
    program = one_layer(neuron(shift=13), np.array([[64 << 3], [-64 << 3]]), 2, low=0, high=3)
    into, overflows = held(worker, program, np.full((1, 2, 1), 2.0))
    assert overflows > 0
    assert into.wrong == []


@pytest.mark.parametrize("decay", [1, 7, 1024, 4095, 4096])
def test_decays_round_towards_zero(worker: Worker, decay: int) -> None:
    rng = np.random.default_rng(decay)
    threshold = np.asarray((300 << 6) + 1)
    op = neuron(decay=np.asarray(decay), current_decay=np.asarray(min(decay, 4095)), threshold=threshold)
    program = one_layer(op, rng.integers(-127, 128, (6, 5)), 30)
    into, _ = held(worker, program, (rng.random((2, 30, 5)) < 0.4).astype(float))
    assert into.wrong == []


@pytest.mark.parametrize("weights", [[[127, 1, 3]], [[-127, -1, -3]], [[127, -127, 1]], [[0, 0, 0]], [[1, 0, -1]]])
def test_odd_weights_of_either_sign_are_exact(worker: Worker, weights: list[list[int]]) -> None:
    rng = np.random.default_rng(3)
    for shift in (6, 7, 13):
        program = one_layer(neuron(shift=shift), np.array(weights), 12)
        into, _ = held(worker, program, (rng.random((2, 12, 3)) < 0.5).astype(float))
        assert into.wrong == []


def test_a_threshold_is_met_strictly(worker: Worker) -> None:
    # Membranes of 64, 128, 192 ... against vth = 2 (128): the third step fires.
    op = neuron(threshold=np.asarray((2 << 6) + 1), shift=6, decay=np.asarray(4096))
    program = one_layer(op, np.array([[1]]), 9)
    whole, _ = program.integers({"x": np.ones((1, 9, 1))})
    fired = simulate_integers(program.integer, program.arithmetic, whole).spikes["n"].ravel()
    assert fired.tolist() == [0, 0, 1] * 3
    into, _ = held(worker, program, np.ones((1, 9, 1)))
    assert into.wrong == []


def test_graded_inputs_of_both_signs(worker: Worker) -> None:
    rng = np.random.default_rng(5)
    program = one_layer(neuron(threshold=np.asarray((900 << 6) + 1)), rng.integers(-9, 10, (5, 4)), 10, -127, 127)
    into, _ = held(worker, program, rng.integers(-127, 128, (3, 10, 4)).astype(float))
    assert into.wrong == []


def test_kernels_keep_odd_weights_by_being_doubled(worker: Worker) -> None:
    rng = np.random.default_rng(6)
    program = one_layer(neuron(), np.ones((1, 1), np.int64), 6)
    shape = (2, 5, 4)
    weight = rng.integers(-127, 128, (3, 2, 3, 2))
    conv = Conv(weight, None, (1, 2), ((1, 1), (0, 0)), (1, 1))
    op = neuron(threshold=np.asarray((400 << 6) + 1), decay=np.asarray(2048))
    out = int(np.prod((3, 5, 2)))
    graph = Graph(
        [
            Node("x", Input(shape, "spikes", low=0, high=1)),
            Node("conv", conv, ("x",)),
            Node("n", op, ("conv",)),
            Node("flat", Reshape((out,)), ("n",)),
            Node("out", Linear(np.full((1, out), 3)), ("flat",)),
            Node("y", Integrator(np.asarray(4096), bias=np.asarray(0), shift=7), ("out",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    program = replace(program, real=graph, integer=graph)
    into, _ = held(worker, program, (rng.random((3, 6, *shape)) < 0.4).astype(float))
    assert into.wrong == []


def test_a_layer_with_two_decays_is_two_populations(worker: Worker) -> None:
    rng = np.random.default_rng(8)
    decays = np.array([1024, 4096, 1024, 2048])
    op = neuron(decay=decays, threshold=np.asarray((200 << 6) + 1), bias=np.array([640, 0, -640, 1280]))
    program = one_layer(op, rng.integers(-127, 128, (4, 6)), 12)
    plan = plan_of(program)
    assert plan.own == []
    assert [part.neurons.tolist() for part in plan.parts_of("n")] == [[0, 2], [3], [1]]
    into, _ = held(worker, program, (rng.random((3, 12, 6)) < 0.4).astype(float))
    assert into.wrong == []
