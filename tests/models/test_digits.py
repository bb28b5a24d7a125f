"""The bundled networks: exact on every held-out digit, as accurate as their records say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import neurocompile
from benchmarks.mpbn_folding import compare
from neurocompile.data import arrange_inputs
from neurocompile.frontends import load_model
from neurocompile.models import digits
from neurocompile.verbs.validate import validate_program
from neurocompile.vocabulary.mpbn import MPBNLIF

CHECKPOINTS = Path(digits.__file__).parent / "checkpoints"
NAMES = ["digits", "digits-spikingjelly", "digits-4bit", "digits-2bit"]


@pytest.mark.parametrize("name", NAMES)
def test_every_held_out_digit(name: str) -> None:
    """0 differing spikes in float64, no ties; the record beside the checkpoint tells the accuracy."""
    record = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    model = load_model(CHECKPOINTS / f"{name}.pt")
    bits = record["weight_bits"] if record["weight_bits"] <= 8 else 8
    program = neurocompile.compile(model, bits=bits)
    _, _, x, y = digits.load_digits_split()
    assert len(x) == record["held_out"] == 450
    data = arrange_inputs({"x": x, "y": y}, program.input_shapes, program.timesteps, "digits")
    validation = validate_program(program, data, model)
    lowering, quantization, _ = validation.stages
    assert (lowering.mismatches, lowering.ties) == (0, 0)
    assert lowering.compared == 6_566_400
    assert validation.accuracy_reference == pytest.approx(record["accuracy"], abs=1e-6)
    assert validation.accuracy_reference >= 0.98
    assert validation.passed
    if name in ("digits-4bit", "digits-2bit"):
        # Trained with quantized weights, on inputs of a grid: only thresholds, biases and decays are rounded.
        assert quantization.mismatches <= 1e-6 * quantization.compared
    rates = lowering.firing_rates
    assert all(0.05 < rate < 0.3 for rate in rates.values()), rates


def test_spikingjellys_own_fold_is_not_exact_and_ours_is() -> None:
    trained, theirs, _, ours = compare(100)
    assert trained["mismatches"] == ours["mismatches"] == 0
    assert theirs["mismatches"] > 0.01 * theirs["compared"]


def test_digits_have_negative_gammas() -> None:
    """Else the flip would not be tried on a trained network."""
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    assert all(np.any(node.op.flip) for node in program.real if type(node.op).__name__ == "Neuron")  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(4,), (4, 3, 3)])
@pytest.mark.parametrize("element_wise", [False, True])
def test_the_neuron_is_the_papers(shape: tuple[int, ...], element_wise: bool) -> None:
    """MPBNLIF against Eqs. 1, 2, 7 and 8 written out in NumPy."""
    if element_wise:
        node = MPBNLIF(element_wise_shape=shape)
    else:
        node = MPBNLIF(out_channels=4) if len(shape) == 3 else MPBNLIF(out_features=4)
    torch.manual_seed(0)
    for values in (node.vbn.weight, node.vbn.bias, node.vbn.running_mean):
        torch.nn.init.normal_(values)
    torch.nn.init.uniform_(node.vbn.running_var, 0.5, 2.0)
    node = node.double().eval()
    c = torch.randn(6, 10, *shape, dtype=torch.float64)
    per = shape if element_wise else (4, *(1,) * (len(shape) - 1))
    gamma, beta, mean, var = (
        p.detach().numpy().reshape(per)
        for p in (node.vbn.weight, node.vbn.bias, node.vbn.running_mean, node.vbn.running_var)
    )
    u, expected = np.zeros((10, *shape)), []
    for step in c.numpy():
        u = 0.25 * u + step
        o = gamma * (u - mean) / np.sqrt(var + node.vbn.eps) + beta > 0.5
        u = u * (1 - o)
        expected.append(o)
    spikes = node(c).detach().numpy()
    np.testing.assert_array_equal(spikes, np.stack(expected))
    assert 0.05 < spikes.mean() < 0.95
