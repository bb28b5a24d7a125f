"""Files that frameworks wrote, and what these fired: tests/data/nir, made by benchmarks/nir/writers.py."""

from __future__ import annotations

import json
from pathlib import Path

import nir
import numpy as np
import pytest

import neurocompile
from neurocompile.errors import DoesNotFit, UnsupportedModel
from neurocompile.frontends import load_model
from neurocompile.frontends.nir.dialects import DIALECTS as READINGS
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.frontends.nir.network import network_of
from neurocompile.frontends.nir.running import Runner
from neurocompile.ir.ops import Array
from tests.cli.helpers import done, one, refused, result
from tests.frontends.nir.files import N, affine, chain, lif

DATA = Path(__file__).parents[2] / "data" / "nir"
DIALECTS: dict[str, str] = json.loads((DATA / "dialects.json").read_text())
MANY = {name for name, dialect in DIALECTS.items() if READINGS[dialect].spikes == "many"}


def _given(name: str) -> tuple[Array, Array]:
    with np.load(DATA / f"{name}.npz") as held:
        return held["x"], held["spikes"]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_file_fires_as_its_framework_does(name: str) -> None:
    x, fired = _given(name)
    assert 0.01 < fired.mean() < 0.8
    assert (fired.max() > 1) == (name in MANY)
    network = network_of(read_nir(DATA / f"{name}.nir"), name)
    ((port, shape),) = network.inputs.items()
    network = network.past_recurrence() if READINGS[DIALECTS[name]].after else network
    ran = Runner(network, READINGS[DIALECTS[name]]).run({port: x.reshape(*x.shape[:2], *shape)}, x.shape[1])
    (given,) = ran.outputs.values()
    assert np.array_equal(given, fired.reshape(given.shape))


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_so_does_its_program(name: str) -> None:
    x, fired = _given(name)
    told = {"dialect": DIALECTS[name], "timesteps": x.shape[1]}
    file = DATA / f"{name}.nir"
    shape = next(iter(load_model(file, **told).input_shapes.values()))
    given = x.reshape(*x.shape[:2], *shape)
    program = neurocompile.compile(file, calibrate=given, readout="sequence", **told)
    (found,) = (neurocompile.simulate(program, given, real=True).outputs or {}).values()
    assert np.array_equal(np.asarray(found).reshape(fired.shape), fired)
    validation = neurocompile.validate(program, given, reference=file, dialect=DIALECTS[name])
    assert validation.stages[0].name == "lowering"
    assert validation.stages[0].mismatches == 0


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect in ("snntorch", "norse-1.1")])
def test_read_as_the_text_says_it_fires_otherwise(name: str) -> None:
    """Where it would not matter, the comparisons above would show nothing."""
    if name == "norse-box-100":
        pytest.skip("a reset to 0 and no leak: the text, with the dt that was multiplied into tau, is right")
    x, fired = _given(name)
    dt = 1e-4 if name.startswith("snntorch") else 1e-6
    model = load_model(DATA / f"{name}.nir", timesteps=x.shape[1], dialect="text", dt=dt, readout="sequence")
    ((port, shape),) = model.input_shapes.items()
    (given,) = model.run({port: x.reshape(*x.shape[:2], *shape)}).outputs.values()
    assert not np.array_equal(given, fired.reshape(given.shape))


def test_what_cannot_be_compiled_is_said_where_it_is(tmp_path: Path) -> None:
    leaky = nir.LI(*(np.full(N, value) for value in (1e-3, 10.0, 0.0)))
    path = chain(tmp_path / "net.nir", affine(), leaky, affine(seed=1), lif())
    with pytest.raises(DoesNotFit, match="a membrane that never fires stands before another layer"):
        neurocompile.compile(path, dialect="snntorch", timesteps=5)


def test_two_readings_that_fire_otherwise_are_both_told() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        load_model(DATA / "snntorch-leaky-subtract-late-0.9.nir", timesteps=20)
    told = {problem.fix.split()[-1]: problem.what for problem in caught.value.problems}
    assert set(told) == {"snntorch-late", "snntorch", "snntorch-zero", "snntorch-none"}
    assert "snntorch-zero's and spikingjelly's" in told["snntorch-zero"]  # no membrane of noise meets its threshold
    assert "on noise" in told["snntorch"]
    assert "r = tau / 1e-4" in told["snntorch-late"]


def test_parts_are_told_by_themselves() -> None:
    whole = load_model(DATA / "snntorch-leaky-subtract-late-0.9.nir", timesteps=20, dialect="snntorch-late")
    parts = load_model(DATA / "snntorch-leaky-subtract-late-0.9.nir", timesteps=20, dt=1e-4, reset="soft-late")
    assert parts.graph.same_as(whole.graph)


def test_on_the_command_line(tmp_path: Path) -> None:
    name = "spikingjelly-if-reset"
    x, _ = _given(name)
    np.savez(tmp_path / "x.npz", x=x)
    file, out = DATA / f"{name}.nir", tmp_path / "out"
    done("export", file, "--dialect", "spikingjelly", "--timesteps", x.shape[1], "--calibrate", tmp_path / "x.npz",
         "--target", "loihi2", "-o", out)  # fmt: skip
    body = result("validate", out, "--reference", file, "--dialect", "spikingjelly", "--data", tmp_path / "x.npz")
    assert body["stages"][0]["mismatches"] == 0
    error = one(refused(2, "inspect", file))
    assert "number of steps" in error["what"]
