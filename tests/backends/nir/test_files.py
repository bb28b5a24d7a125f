"""Programs as .nir files: what is read back fires as they do, nir takes them, and what NIR lacks is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import neurocompile
from neurocompile.backends.nir import nir_files
from neurocompile.backends.wanted import Wanted
from neurocompile.errors import DoesNotFit
from neurocompile.frontends import load_model
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.ir.ops import Neuron
from neurocompile.program import Program
from tests.cli.helpers import done, one, refused
from tests.frontends.nir.files import affine, chain, lif

STEPS = 6


def held(program: Program, x: np.ndarray, folder: Path) -> int:
    """The spikes that were compared: of the program in float64, and of the file, read back."""
    file = folder / "network.nir"
    file.write_bytes(nir_files(program)["network.nir"])
    nir.read(file, type_check=True)
    model = load_model(file, timesteps=program.timesteps)
    assert model.notes == []  # its metadata say how it is read
    wanted = neurocompile.simulate(program, x, real=True).spikes
    given = np.broadcast_to(x[:, None], (len(x), program.timesteps, *x.shape[1:])) if x.ndim == 2 else x
    told = model.run({next(iter(model.input_shapes)): given}).spikes
    for name, spikes in wanted.items():
        assert np.array_equal(told[name], spikes), name
    return int(sum(spikes.sum() for spikes in wanted.values()))


NEURONS = {
    "if": lambda: neuron.IFNode(v_threshold=0.5),
    "lif": lambda: neuron.LIFNode(tau=2.0, v_threshold=0.3),
    "reset": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.4, v_reset=-0.1),
    "whole": lambda: neuron.LIFNode(tau=4.0, decay_input=False, v_threshold=0.8),
}


@pytest.mark.parametrize("name", NEURONS)
def test_read_back_it_fires_alike(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(2, 3, 3, padding=1, step_mode="m"), NEURONS[name](), layer.AvgPool2d(2, step_mode="m"),
        layer.Flatten(step_mode="m"), layer.Linear(12, 8, step_mode="m"), NEURONS[name](),
        layer.LinearRecurrentContainer(NEURONS[name](), 8, 8, step_mode="m"), layer.Linear(8, 3, step_mode="m"),
        NEURONS[name](),
    ).eval()  # fmt: skip
    functional.set_step_mode(net, "m")
    x = 4 * np.random.default_rng(0).random((10, STEPS, 2, 4, 4))
    program = neurocompile.compile(net, input_shape=(2, 4, 4), timesteps=STEPS, calibrate=x)
    assert held(program, x, tmp_path) > 100


def test_files_of_other_frameworks_once_more(tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "data" / "nir"
    for name, dialect in (("norse-lif-100", "norse-1.1"), ("spikingjelly-lif-whole", "spikingjelly")):
        with np.load(data / f"{name}.npz") as arrays:
            x = arrays["x"]
        program = neurocompile.compile(data / f"{name}.nir", dialect=dialect, timesteps=x.shape[1], calibrate=x)
        assert held(program, x, tmp_path) > 100


@pytest.mark.parametrize("axes", ["flat", "image"])
@pytest.mark.parametrize(
    "fields",
    [
        {"v_reset": -0.25, "v_leak": -0.25},  # counted from there
        {"r": 7.5},  # into the weights
        {"v_threshold": np.linspace(0.2, 0.9, 3)},
        {"v_threshold": np.linspace(0.2, 0.9, 3), "r": 2.0, "v_leak": -0.25, "v_reset": -0.25},
        {"r": np.linspace(2.0, 9.0, 3)},
    ],
)
def test_what_readers_do_not_know_of_is_written_in_another_way(
    fields: dict[str, np.ndarray], axes: str, tmp_path: Path
) -> None:
    shape = (3,) if axes == "flat" else (3, 4, 4)
    draw = np.random.default_rng(3)
    plain = {"tau": 5e-4, "r": 5.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0} | fields
    cells = {
        key: np.broadcast_to(np.reshape(value, (-1, *(1,) * (len(shape) - 1))), shape).copy()
        for key, value in plain.items()
    }
    weights = nir.Affine(draw.normal(0, 1, (3, 4)), draw.normal(0, 0.3, 3))
    if axes == "image":
        weight, bias = draw.normal(0, 0.3, (3, 2, 3, 3)), draw.normal(0, 0.3, 3)
        weights = nir.Conv2d((4, 4), weight, 1, 1, 1, 1, bias)
    given = (4,) if axes == "flat" else (2, 4, 4)
    file = chain(tmp_path / "given.nir", weights, nir.LIF(**cells), into=given, out=shape)
    told = {"dialect": "text", "dt": 1e-4, "start": "reset", "timesteps": 20}
    x = draw.normal(0.3, 1.0, (4, 20, *given))
    program = neurocompile.compile(file, calibrate=x, **told)
    assert held(program, x, tmp_path) > 20
    written = nir.read(tmp_path / "network.nir").nodes["n1"]
    assert not written.v_reset.any()
    assert not written.v_leak.any()
    assert np.unique(written.v_threshold).size == 1
    assert np.allclose(written.r, 1) or np.allclose(written.r, written.tau / 1e-4)


def test_weights_that_others_hear_stay_as_they_are(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input(np.array([3])), "w": affine(seed=1), "a": lif(r=3.0), "b": lif(),
        "output": nir.Output(np.array([3])),
    }  # fmt: skip
    edges = [("input", "w"), ("w", "a"), ("w", "b"), ("a", "output"), ("b", "output")]
    nir.write(tmp_path / "given.nir", nir.NIRGraph(nodes, edges))
    x = np.random.default_rng(0).normal(0.5, 2.0, (4, 20, 3))
    told = {"dialect": "text", "dt": 1e-4, "timesteps": 20}
    program = neurocompile.compile(tmp_path / "given.nir", calibrate=x, **told)
    assert held(program, x, tmp_path) > 20
    assert np.allclose(nir.read(tmp_path / "network.nir").nodes["a"].r, 3.0)


def test_what_nir_cannot_say_is_all_told() -> None:
    net = nn.Sequential(
        layer.Conv2d(1, 2, 3, step_mode="m"), neuron.IFNode(v_reset=None, step_mode="m"),
        layer.MaxPool2d(2, step_mode="m"), layer.ConvTranspose2d(2, 1, 2, step_mode="m"),
        neuron.LIFNode(v_reset=None, step_mode="m"),
    ).eval()  # fmt: skip
    program = neurocompile.compile(net, input_shape=(1, 6, 6), timesteps=3)
    with pytest.raises(DoesNotFit) as caught:
        nir_files(program)
    told = [problem.what.removeprefix("NIR cannot say this: ") for problem in caught.value.problems]
    subtracts = "a reset that subtracts from the membrane"
    assert told == [subtracts, "MaxPool", "ConvTranspose", subtracts]
    assert all(problem.fix for problem in caught.value.problems)


def test_by_the_command_line(tmp_path: Path) -> None:
    torch.manual_seed(0)
    random.seed(0)
    net = nn.Sequential(layer.Linear(4, 6, step_mode="m"), neuron.LIFNode(v_threshold=0.2, step_mode="m")).eval()
    neurocompile.save(net, tmp_path / "m.pt", torch.rand(STEPS, 5, 4))
    for target in ("generic", "loihi"):
        out = tmp_path / target
        done("export", tmp_path / "m.pt", "--target", target, "--emit", "nir", "-o", out)
        assert set(nir.read(out / "nir" / "network.nir").nodes) == {"input", "0", "1", "output"}
    again = neurocompile.export(tmp_path / "m.pt", tmp_path / "again", emit="nir").program
    assert again is not None
    first, second = ((folder / "nir" / "network.nir").read_bytes() for folder in (tmp_path / "generic", again))
    assert first == second


def _two_layers(cell: Any, shape: tuple[int, ...] = (4,)) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        layer.Linear(4, 12, step_mode="m"), cell(), layer.Linear(12, 6, step_mode="m"), cell(),
    ).eval()  # fmt: skip


def _multi(net: nn.Module) -> nn.Module:
    functional.set_step_mode(net, "m")
    return net


@pytest.mark.parametrize("target", ["generic", "loihi2", "nc1"])
def test_integers_of_neurons_without_a_leak_fire_as_the_program_does(target: str, tmp_path: Path) -> None:
    net = _multi(_two_layers(lambda: neuron.IFNode(v_threshold=0.6)))
    x = (np.random.default_rng(0).random((10, STEPS, 4)) < 0.4).astype(float)
    program = neurocompile.compile(net, target, input_shape=(4,), timesteps=STEPS, calibrate=x, carries="spikes")
    (tmp_path / "net.nir").write_bytes(nir_files(program, Wanted(integers=True))["network.nir"])
    for name, node in nir.read(tmp_path / "net.nir", type_check=True).nodes.items():
        for field in ("weight", "v_threshold", "bias"):
            if hasattr(node, field):
                assert np.array_equal(getattr(node, field), np.rint(getattr(node, field))), (name, field)
    model = load_model(tmp_path / "net.nir", timesteps=STEPS)
    told = model.run({"input": x}).spikes
    wanted = neurocompile.simulate(program, x).spikes
    assert sum(spikes.sum() for spikes in wanted.values()) > 100
    for name, spikes in wanted.items():
        assert np.array_equal(told[name], spikes), name
    metadata = read_nir(tmp_path / "net.nir").metadata
    for name, unit in program.units.items():
        if name in metadata["scale"]:
            threshold = np.asarray(nir.read(tmp_path / "net.nir").nodes[name].v_threshold)
            assert np.allclose((threshold + 1) * metadata["scale"][name], 0.6, atol=2 * np.max(unit)), name


LOST = {
    "a soft reset": lambda: neuron.IFNode(v_reset=None, v_threshold=0.6),
    "a soft reset that leaks": lambda: neuron.LIFNode(v_reset=None, v_threshold=0.3),
}


@pytest.mark.parametrize("name", LOST)
def test_approximate_files_say_what_they_are_to_those_who_look(name: str, tmp_path: Path) -> None:
    """The reader of this project looks into the metadata: nothing is lost for it."""
    cell, what, told = LOST[name], "subtracts", {"reset": "soft", "fire": "ge"}
    x = np.random.default_rng(0).random((10, STEPS, 4))
    program = neurocompile.compile(_multi(_two_layers(cell)), input_shape=(4,), timesteps=STEPS, calibrate=x)
    with pytest.raises(DoesNotFit, match="--approximate"):
        nir_files(program)
    said: list[str] = []
    (tmp_path / "net.nir").write_bytes(nir_files(program, Wanted(approximate=True, tell=said.append))["network.nir"])
    assert len(said) == 2
    assert all(what in line and "hard reset" in line for line in said)
    metadata = read_nir(tmp_path / "net.nir").metadata
    assert {key: metadata[key] for key in told} == told
    fired = load_model(tmp_path / "net.nir", timesteps=STEPS).run({"input": x}).spikes
    for layer_, spikes in neurocompile.simulate(program, x, real=True).spikes.items():
        assert spikes.any()
        assert np.array_equal(fired[layer_], spikes)


def test_a_reset_by_another_amount_is_lost_for_all() -> None:
    """No reading of a file has it: nobody is told that the metadata would say it."""
    x = np.random.default_rng(0).random((10, STEPS, 4))
    program = neurocompile.compile(
        _multi(_two_layers(LOST["a soft reset"])), input_shape=(4,), timesteps=STEPS, calibrate=x
    )
    layers = {node.name: node for node in program.real.of(Neuron)}
    changed: dict[str, Any] = {}
    for name, node in layers.items():
        assert isinstance(node.op, Neuron)
        changed[name] = replace(node, op=replace(node.op, amount=2 * node.op.threshold))
    other = replace(program, real=program.real.rewritten(changed))
    said: list[str] = []
    nir_files(other, Wanted(approximate=True, tell=said.append))
    assert len(said) == len(layers)
    assert all("another amount" in line and "metadata" not in line for line in said)


def test_several_spikes_a_step_and_back(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "data" / "nir" / "sinabs-iaf-deep.nir"
    with np.load(file.with_suffix(".npz")) as held_:
        x = held_["x"]
    program = neurocompile.compile(file, dialect="sinabs", timesteps=x.shape[1], calibrate=x)
    (tmp_path / "net.nir").write_bytes(nir_files(program, Wanted(approximate=True))["network.nir"])
    fired = load_model(tmp_path / "net.nir", timesteps=x.shape[1]).run({"input": x}).spikes
    for name, spikes in neurocompile.simulate(program, x, real=True).spikes.items():
        assert spikes.max() > 1
        assert np.array_equal(fired[name], spikes)


def test_a_max_pool_becomes_a_sum_and_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = _multi(nn.Sequential(
        layer.Conv2d(1, 3, 3, padding=1), neuron.IFNode(), layer.MaxPool2d(2), layer.Flatten(), layer.Linear(12, 4),
        neuron.IFNode(),
    ).eval())  # fmt: skip
    neurocompile.save(net, tmp_path / "m.pt", torch.rand(STEPS, 3, 1, 4, 4))
    refusals = refused(4, "export", tmp_path / "m.pt", "--emit", "nir", "-o", tmp_path / "no")
    assert any("--approximate" in each["fix"] for each in refusals)
    ran = done("export", tmp_path / "m.pt", "--emit", "nir", "--approximate", "-o", tmp_path / "out")
    assert "MaxPool is written as a sum" in ran.out + ran.err
    assert "SumPool2d" in {node.kind for node in read_nir(tmp_path / "out" / "nir" / "network.nir").nodes.values()}


def test_the_choices_are_nirs_alone(tmp_path: Path) -> None:
    net = _multi(_two_layers(neuron.IFNode))
    neurocompile.save(net, tmp_path / "m.pt", torch.rand(STEPS, 3, 4))
    for option in ("--integers", "--approximate"):
        assert one(refused(2, "export", tmp_path / "m.pt", option, "-o", tmp_path / "o"))["where"] == option
