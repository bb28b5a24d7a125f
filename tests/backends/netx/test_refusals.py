"""What netx cannot load is refused, all of it at once; and what it would get wrong without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.backends.netx import layers, problems_with, write_net
from neurocompile.errors import DoesNotFit
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.program import Program
from neurocompile.simulator.reference import simulate_integers
from tests.backends.netx.lava import need_lava, run_in_lava
from tests.random_networks.graphs import program_of, whole_neuron

ZERO = np.asarray(0)
LIF = whole_neuron((40 << 6) + 1, 4096, shift=6)
WEIGHTS = np.array([[3, -5, 20, 64], [9, 31, -7, 2], [-11, 8, 127, -127]])
KERNEL = np.array([[[[2, -4], [6, 126]]]])


def lif(**changes: Any) -> Neuron:
    """The neuron with other integers."""
    changed: dict[str, Any] = {name: v if name == "shift" else np.asarray(v) for name, v in changes.items()}
    return replace(LIF, **changed)


def program(*nodes: tuple[str, Any, str], shape: tuple[int, ...] = (4,), target: str = "loihi2") -> Program:
    """A network from the input ``x``; each node is its name, its operation, and what it reads; the last is read out."""
    graph = [Node("x", Input(shape, "spikes")), *(Node(name, op, tuple(reads.split())) for name, op, reads in nodes)]
    return program_of(Graph([*graph, Node("y", Output(), (nodes[-1][0],))]), 6, target)


def dense(neuron: Any = LIF, weights: Array = WEIGHTS) -> Program:
    return program(("w", Linear(weights), "x"), ("n", neuron, "w"))


def conv(**changes: Any) -> Program:
    op = Conv(KERNEL, None, (1, 1), ((0, 0), (0, 0)), (1, 1))
    return program(("w", replace(op, **changes), "x"), ("n", LIF, "w"), shape=(1, 4, 4))


def around(op: Any, shape: tuple[int, ...] = (1, 4, 4)) -> Program:
    """An operation between the input and a dense layer."""
    size = int(np.prod(Graph([Node("x", Input(shape)), Node("op", op, ("x",))]).edges["op"].shape))
    weights = np.arange(1, 2 * size + 1).reshape(2, size) % 100
    return program(
        ("op", op, "x"), ("r", Reshape((size,)), "op"), ("w", Linear(weights), "r"), ("n", LIF, "w"), shape=shape
    )


def loop(bias: int = 0, steps: int = 1, weights: Array | None = None) -> Program:
    """A dense layer that reads its own spikes."""
    own = np.array([[9, -60, 1], [-50, 2, 33], [60, -41, 12]]) if weights is None else weights
    return program(
        ("d", Delay((3,), steps), "n"),
        ("w", Linear(WEIGHTS), "x"),
        ("r", Linear(own), "d"),
        ("a", Add(), "w r"),
        ("n", lif(bias=bias << 6), "a"),
    )


def skip() -> Program:
    return program(
        ("w", Linear(WEIGHTS[[0, 1, 2, 0]]), "x"),
        ("n", LIF, "w"),
        ("v", Linear(WEIGHTS), "n"),
        ("u", Linear(WEIGHTS), "x"),
        ("a", Add(), "v u"),
        ("m", LIF, "a"),
    )


def two_inputs() -> Program:
    nodes = [
        Node("x", Input((4,), "spikes")),
        Node("z", Input((4,), "spikes")),
        Node("c", Concat(0), ("x", "z")),
        Node("w", Linear(np.hstack((WEIGHTS, WEIGHTS))), ("c",)),
        Node("n", LIF, ("w",)),
        Node("y", Output(), ("n",)),
    ]
    return program_of(Graph(nodes), 6, "loihi2")


def graded(low: float, high: float, target: str) -> Program:
    nodes = [
        Node("x", Input((4,), "real", 1.0, low, high)),
        Node("w", Linear(WEIGHTS), ("x",)),
        Node("n", LIF, ("w",)),
        Node("y", Output(), ("n",)),
    ]
    return program_of(Graph(nodes), 6, target)


UNSHAPED = program(
    ("w", Linear(WEIGHTS[[0, 1, 2, 0]]), "x"),
    ("n", LIF, "w"),
    ("r", Reshape((1, 2, 2)), "n"),
    ("c", Conv(KERNEL, None, (1, 1), ((0, 0), (0, 0)), (1, 1)), "r"),
    ("m", LIF, "c"),
)
FAR = program(
    ("w", Linear(WEIGHTS[[0, 1, 2, 0]]), "x"),
    ("n", LIF, "w"),
    ("v", Linear(WEIGHTS), "x"),
    ("m", LIF, "v"),
)
NEGATIVE = -np.array([[64, 3, 5, 1], [64, 64, 64, 2], [1, 64, 8, 64]])
POOL = ((2, 2), (2, 2), ((0, 0), (0, 0)))

REFUSED: dict[str, tuple[Program, str, str]] = {
    "another target": (program(("w", Linear(WEIGHTS), "x"), ("n", LIF, "w"), target="generic"), "generic", "Loihi's"),
    "two inputs": (two_inputs(), "x, z", "one input"),
    "concatenation": (two_inputs(), "c", "concatenation"),
    "max-pool": (around(MaxPool(*POOL, (1, 1))), "op", "pooling"),
    "sum-pool": (around(SumPool(*POOL)), "op", "pooling"),
    "upsampling": (around(Upsample((2, 2))), "op", "upsampling"),
    "transposed": (
        program(
            ("w", ConvTranspose(KERNEL, None, (1, 1), (0, 0), (0, 0), (1, 1)), "x"), ("n", LIF, "w"), shape=(1, 4, 4)
        ),
        "w",
        "transposed",
    ),
    "scale": (program(("w", Scale(np.full(4, 2), ZERO), "x"), ("n", LIF, "w")), "w", "skip"),
    "skip": (skip(), "a", "own spikes"),
    "delay": (program(("d", Delay((4,), 1), "x"), ("w", Linear(WEIGHTS), "d"), ("n", LIF, "w")), "d", "delays"),
    "longer loop": (loop(steps=2), "a", "own spikes"),
    "echo": (loop(bias=41), "n", "recurrent layer hears"),
    "graded, Loihi 1": (graded(0, 15, "loihi"), "x", "graded"),
    "unbounded": (graded(-np.inf, np.inf, "loihi2"), "x", "range"),
    "not the one before": (FAR, "v", "the one before"),
    "unflattened": (UNSHAPED, "c", "does not make 1 x 2 x 2 of 4"),
    "1-d": (
        program(("w", Conv(np.array([[[2, -4]]])), "x"), ("n", LIF, "w"), shape=(1, 4)),
        "w",
        "two axes",
    ),
    "one-sided padding": (conv(padding=((0, 1), (0, 0))), "w", "before and after"),
    "many groups": (
        program(
            ("w", Conv(np.full((128, 1, 1, 1), 2), None, (1, 1), ((0, 0), (0, 0)), (1, 1), 128), "x"),
            ("n", LIF, "w"),
            shape=(128, 1, 1),
        ),
        "w",
        "signed byte",
    ),
    "odd kernel": (conv(weight=KERNEL + 1), "w", "lowest bit"),
    "wide kernel": (conv(weight=KERNEL * 4), "w", "from -16 to 504"),
    "wide weights": (dense(lif(shift=8)), "w", "from -508 to 508"),
    "wide odd weights": (dense(weights=np.where(WEIGHTS == 127, 129, WEIGHTS)), "w", "9 bits"),
    "wide positive weights": (dense(weights=np.abs(WEIGHTS) * 4), "w", "from 8 to 508"),
    "no weights but 0": (dense(weights=WEIGHTS * 0), "w", "divides by"),
    "negative power of two": (dense(weights=NEGATIVE), "w", "-64 becomes -63"),
    "shift": (dense(lif(shift=5)), "n", "further"),
    "threshold between": (dense(lif(threshold=100)), "n", "steps of Loihi's registers"),
    "threshold by neuron": (dense(lif(threshold=[65, 129, 193])), "n", "thresholds differ"),
    "bias between": (dense(lif(bias=65)), "n", "steps of Loihi's registers"),
    "large bias": (dense(lif(bias=4096 << 6)), "n", "exponent 6"),
    "decays": (dense(lif(decay=[1, 2, 3])), "n", "different decays"),
    "soft reset": (dense(replace(LIF, reset="by", amount=np.asarray(65))), "n", "soft reset"),
    "amplitude": (dense(lif(amplitude=2)), "n", "other than 1"),
    "deaf": (dense(replace(LIF, deaf=True)), "n", "one step late"),
    "refractory": (dense(replace(LIF, refractory=1)), "n", "refractory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    refused, where, what = REFUSED[name]
    problems = problems_with(refused)
    assert any(p.where == where and what in p.what for p in problems), problems
    assert all(p.fix for p in problems)
    with pytest.raises(DoesNotFit) as caught:
        write_net(refused)
    assert list(caught.value.problems) == problems


def test_all_at_once() -> None:
    refused = program(
        ("p", MaxPool(*POOL, (1, 1)), "x"),
        ("r", Reshape((4,)), "p"),
        ("w", Linear(WEIGHTS * 0), "r"),
        ("n", lif(shift=7, bias=65, v_init=3), "w"),
        shape=(1, 4, 4),
    )
    assert {problem.where for problem in problems_with(refused)} == {"p", "w", "n"}


@pytest.mark.parametrize("accepted", [dense(), conv(), loop(), loop(bias=40), graded(-8, 7, "loihi2")])
def test_accepted(accepted: Program) -> None:
    assert problems_with(accepted) == []


def test_spikes_that_are_only_counted() -> None:
    """A readout that gives back the last spikes, each by itself, is no layer of the chip."""
    counted = program(
        ("w", Linear(WEIGHTS), "x"),
        ("n", LIF, "w"),
        ("s", Scale(np.asarray(1), ZERO), "n"),
        ("i", Integrator(ZERO, bias=ZERO, shift=7), "s"),
    )
    assert problems_with(counted) == []
    assert write_net(counted) == write_net(dense())


def test_refused_for_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the refusal, Lava would do something else: weights are altered, a loop hears itself too early."""
    need_lava()
    monkeypatch.setattr(layers, "dense_fault", lambda parts: "")
    monkeypatch.setattr(layers, "_geometry_problems", lambda name, op: [])
    monkeypatch.setattr(layers, "_echoes", lambda *given: [])
    negative = program(("w", Linear(NEGATIVE), "x"), ("n", lif(bias=70 << 6), "w"))
    x = (np.random.default_rng(0).random((4, 6, 4)) < 0.6).astype(np.int64)
    cases = {
        "weights": (negative, x),
        "echo": (loop(bias=41), x),
        "groups": (REFUSED["many groups"][0], np.ones((1, 6, 128, 1, 1), np.int64)),
    }
    found = run_in_lava(tmp_path, {name: (write_net(wrong), x) for name, (wrong, x) in cases.items()}, 60)
    for name, (wrong, x) in cases.items():
        right = simulate_integers(wrong.integer, wrong.arithmetic, {"x": x}, membranes=True).potentials["n"]
        assert np.any(found[name]["potentials/n"] != right), name
