"""Widths by layer: the integers stay within them, every executor computes with them, and programs remember them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neurocompile
from neurocompile.errors import UsageError
from neurocompile.ir.form import form_of
from neurocompile.program import program_from
from neurocompile.targets import load_target
from tests.backends.lava.against import need_lava
from tests.cli.helpers import done, refused, saved, small_net

CHECKPOINT = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints" / "digits.pt"


def largest(program: neurocompile.Program) -> dict[str, int]:
    """The largest weight of each layer."""
    layers = form_of(program.integer).layers
    weights = {name: [getattr(s.op, "weight", 0) for s in layer.synapses] for name, layer in layers.items()}
    return {name: max(int(np.abs(each).max()) for each in some) for name, some in weights.items()}


@settings(max_examples=8)
@given(st.lists(st.integers(2, 8), min_size=2, max_size=2), st.sampled_from(["generic", "nc1"]), st.integers(0, 9))
def test_no_weight_is_wider_and_the_engine_is_the_reference(widths: list[int], target: str, seed: int) -> None:
    bits = {"0": widths[0], "3": widths[1]}
    program = neurocompile.compile(small_net(seed=seed), target, input_shape=(4,), timesteps=5, bits=bits)
    assert program.settings["layer_bits"] == {"1": widths[0], "3": widths[1], "output.integrator": 8}
    assert program.settings["bits"] == 8
    assert all(most < 2 ** (program.bits_of(name) - 1) for name, most in largest(program).items())
    x = np.random.default_rng(seed).random((6, 4))
    one, other = (neurocompile.simulate(program, x, reference=reference) for reference in (False, True))
    assert all(np.array_equal(one.spikes[name], other.spikes[name]) for name in one.spikes)
    assert program_from(program.files()).files() == program.files()


@pytest.mark.parametrize(
    ("target", "width"),
    [
        ("generic", 4), ("loihi", 6), pytest.param("generic", 6, marks=pytest.mark.slow),
        pytest.param("loihi", 4, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_all_layers_in_one_width_are_that_width(target: str, width: int) -> None:
    """Said by layer or at once, it is the same network of integers, below and above the widths that data choose."""
    names = ("conv1", "conv2", "conv3", "fc4", "fc5")
    each = neurocompile.compile(CHECKPOINT, target, bits=dict.fromkeys(names, width))
    once = neurocompile.compile(CHECKPOINT, target, bits=width)
    assert str(each.integer) == str(once.integer)
    assert all(np.array_equal(each.units[name], once.units[name]) for name in once.units)
    mine, its = (form_of(program.integer).layers for program in (each, once))
    for name in its:
        for a, b in zip(mine[name].synapses, its[name].synapses, strict=True):
            assert np.array_equal(a.op.weight, b.op.weight)


def test_layers_without_a_width_have_the_targets() -> None:
    program = neurocompile.compile(CHECKPOINT, bits={"conv2": 3})
    assert program.settings["layer_bits"] == {
        "neuron1": 8, "neuron2": 3, "neuron3": 8, "neuron4": 8, "output.integrator": 8,
    }  # fmt: skip
    usual = neurocompile.compile(CHECKPOINT)
    less = neurocompile.simulate(program, program.example).neurobench.footprint
    more = neurocompile.simulate(usual, usual.example).neurobench.footprint
    assert more - less == 16 * 32 * 9 * 5 // 8


def test_cores_hold_each_layer_in_its_own_width() -> None:
    """A layer's lists of synapses are as long as where all layers have that width."""

    def held(bits: Any) -> tuple[dict[str, int | None], int]:
        program = neurocompile.compile(CHECKPOINT, "loihi", bits=bits)
        placed = load_target("loihi").place(program)
        assert placed is not None
        memory = sum(core.needs["synapse memory"] for core in placed.cores)
        return {layer.layer: layer.synapse_bytes for layer in placed.layers}, memory

    narrow, wide = held(2), held(8)
    mixed = held({"conv2": 8, "conv3": 2, "fc4": 8, "fc5": 2})
    of = {"neuron2": wide, "neuron3": narrow, "neuron4": wide, "output.integrator": narrow}
    assert mixed[0] == {name: whose[0][name] for name, whose in of.items()}
    assert narrow[1] < mixed[1] < wide[1]


@pytest.mark.parametrize("network", ["small", pytest.param("digits", marks=pytest.mark.slow)])
def test_export_writes_them_and_lava_agrees(network: str, tmp_path: Path) -> None:
    model, bits, layer = {
        "small": (saved(small_net(), tmp_path / "m.pt"), "0=8,3=2", "3"),
        "digits": (CHECKPOINT, "conv1=8,conv2=4,conv3=3,fc4=2,fc5=6", "neuron4"),
    }[network]
    body = done("export", model, "-o", tmp_path / "out", "--target", "loihi", "--bits", bits, "--no-validate",
                "--json").json  # fmt: skip
    assert body["weight_bits"] == 8
    assert body["layer_bits"][layer] == 2
    program = neurocompile.load(tmp_path / "out")
    assert program.settings["layer_bits"] == body["layer_bits"]
    again = done("export", model, "-o", tmp_path / "again", "--target", "loihi", "--bits", bits, "--no-validate")
    assert "2- to 8-bit weights" in again.out
    need_lava()
    validation = neurocompile.validate(tmp_path / "out", reference=model, backend_samples=2)
    lava = validation.stages[2]
    assert lava.passed
    assert lava.membranes_compared > 0


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ("conv1=4,conv9=3", ["no such layer", "did you mean conv3"]),
        ("conv1=4,neuron1=3", ["meet in one layer, neuron1", "one width"]),
        ("conv1=1,conv2=17", ["conv1=1" , "neuron2=17"]),
        ("conv1=4,", ["no list of widths"]),
        ("conv1=four", ["no list of widths"]),
    ],
)  # fmt: skip
def test_what_is_no_width(bits: str, words: list[str], tmp_path: Path) -> None:
    errors = refused(2, "export", CHECKPOINT, "-o", tmp_path / "out", "--bits", bits)
    said = str(errors)
    assert all(word.replace("conv1=1", "neuron1=1") in said for word in words), said


def test_what_is_no_width_in_python() -> None:
    for bits in ({"conv1": 4.5}, {"conv1": "4"}, {"conv1": True}):
        wrong: Any = bits
        with pytest.raises(UsageError, match="whole number"):
            neurocompile.compile(CHECKPOINT, bits=wrong)


def test_net_files_have_one_width(tmp_path: Path) -> None:
    model = saved(small_net(), tmp_path / "m.pt")
    errors = refused(2, "export", model, "-o", tmp_path / "out", "--target", "loihi", "--emit", "netx", "--bits", "0=4")
    assert "one width" in str(errors)
