"""The neuron equation of a bundle against the simulator, at the ends of the registers too, without Lava."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Input, Integrator, Neuron, Output, Scale
from neurocompile.simulator.reference import State, simulate_integers
from tests.random_networks.graphs import arithmetic_of

RUNTIME = Path(__file__).parents[3] / "backends" / "lava" / "runtime"


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"bundle_{name}", RUNTIME / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


EQUATION = module("equation")


def parameters(op: Neuron) -> dict[str, Any]:
    names = ("decay", "current_decay", "threshold", "flip", "bias", "input_bias", "v_reset", "amount", "keep", "v_init")
    found: dict[str, Any] = {name: getattr(op, name) for name in names}
    signed = op.negative_threshold is not None
    found["negative_threshold"] = op.negative_threshold if signed else np.asarray(0)
    whole = {"refractory": op.refractory, "deaf": op.deaf, "max_spikes": op.max_spikes, "reset": op.reset}
    return {**found, "signed": signed, **whole}


@pytest.mark.parametrize("reset", ["to", "by", "none"])
@pytest.mark.parametrize("refractory", [0, 1, 3, -1])
@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize(("signed", "most"), [(False, 1), (True, 1), (False, 3), (False, 127)])
def test_it_is_the_simulators(reset: Any, refractory: int, signed: bool, most: int, deaf: bool) -> None:
    if (deaf and (refractory or reset != "to")) or (refractory and most > 1):
        pytest.skip("no such neuron")
    rng = np.random.default_rng([len(reset), refractory + 1, signed])
    neurons, steps, samples = 12, 40, 3
    whole = rng.integers
    op = Neuron(
        whole(-(2**15), 2**22, neurons),
        decay=whole(-2000, 4300, neurons),
        current_decay=whole(0, 4097, neurons),
        bias=whole(-(2**18), 2**18, neurons),
        input_bias=whole(-(2**18), 2**18, neurons),
        flip=rng.random(neurons) < (0.2 if most == 1 else 0),
        reset=reset,
        v_reset=whole(-1000, 1000, neurons),
        amount=whole(0 if most == 1 else 2**16, 2**22, neurons),
        keep=whole(3000, 4097, neurons),
        v_init=whole(-1000, 1000, neurons),
        negative_threshold=np.asarray(-(2**20)) if signed else None,
        refractory=refractory,
        deaf=deaf,
        max_spikes=most,
        shift=6,
    )
    graph = Graph(
        [
            Node("x", Input((neurons,), "real", low=-(2**16), high=2**16)),
            Node("w", Scale(np.asarray(1)), ("x",)),
            Node("n", op, ("w",)),
            Node("s", Scale(np.asarray(1)), ("n",)),
            Node("y", Integrator(np.asarray(0), bias=np.asarray(0)), ("s",)),
            Node("output", Output("sum"), ("y",)),
        ]
    )
    x = whole(-(2**16), 2**16, (samples, steps, neurons))
    left: State = {}
    known = simulate_integers(graph, arithmetic_of("loihi"), {"x": x}, membranes=True, state=left)
    assert known.overflows > 0
    state = EQUATION.at_rest(parameters(op), (samples, neurons))
    for t in range(steps):
        spikes = EQUATION.step(state, x[:, t] << 6, parameters(op))
        np.testing.assert_array_equal(spikes, known.spikes["n"][:, t], err_msg=f"spikes of step {t}")
        np.testing.assert_array_equal(state["v"], known.potentials["n"][:, t], err_msg=f"membranes of step {t}")
    np.testing.assert_array_equal(state["u"], left["n"]["i"])
