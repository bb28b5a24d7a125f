"""The networks trained in snnTorch and Norse: their files and programs beside what these frameworks fired.

``tests/data/nir/digits-*.npz`` hold the frameworks' spikes in float64, of each layer, for all held-out digits:
``python -m neurocompile.models.train_nir --framework NAME --record FILE`` trains a network, writes its file and these.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.backends.onnx.executor import OnnxExecutor
from neurocompile.frontends import load_model
from neurocompile.ir.ops import Array
from neurocompile.models import train_nir
from neurocompile.models.handwriting import ORDER, digits_spikes, load_digits_split
from tests.backends.lava.against import need_lava
from tests.backends.onnx.against import Compared, compare
from tests.backends.rtl.test_rtl import need
from tests.cli.helpers import done, result
from tests.cli.test_extras import python

RECORDED = Path(__file__).parents[1] / "data" / "nir"
NAMES = ["digits-snntorch", "digits-norse"]
TARGETS = ["loihi", "nc1"]
OTHERS = {"digits-snntorch": {"dialect": "snntorch-late"}, "digits-norse": {"reset": "soft"}}
"""How the files are not meant."""


def facts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((train_nir.CHECKPOINTS / f"{name}.json").read_text())
    return found


def told(name: str) -> dict[str, Any]:
    return {"dialect": facts(name)["dialect"], "timesteps": facts(name)["timesteps"]}


def recorded(name: str) -> dict[str, Array]:
    with np.load(RECORDED / f"{name}.npz") as held:
        return {layer: held[layer] for layer in held.files}


def held_out() -> tuple[Array, Array]:
    _, _, images, labels = load_digits_split()
    return digits_spikes(images), labels


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_framework(name: str) -> None:
    """Else the comparisons below would be with something else, or with nothing."""
    fired, (x, y) = recorded(name), held_out()
    assert {layer: spikes.shape for layer, spikes in fired.items()} == {"1": (450, 16, 48), "3": (450, 16, 10)}
    assert len(x) == facts(name)["held_out"]
    assert np.mean(fired["3"].sum(1).argmax(1) == y) == pytest.approx(facts(name)["accuracy"], abs=1e-6)
    assert facts(name)["accuracy"] >= 0.96
    for layer, rate in facts(name)["firing_rates"].items():
        assert fired[layer].mean() == pytest.approx(rate, abs=1e-6)
        assert 0.04 < rate < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_the_file_fires_as_its_framework_did(name: str) -> None:
    x, y = held_out()
    model = load_model(train_nir.CHECKPOINTS / f"{name}.nir", **told(name))
    run = model.run({next(iter(model.input_shapes)): x})
    assert set(run.spikes) == set(recorded(name))
    for layer, spikes in recorded(name).items():
        assert np.array_equal(run.spikes[layer], spikes), layer
    (out,) = run.outputs.values()
    assert np.mean(out.argmax(1) == y) == pytest.approx(facts(name)["accuracy"], abs=1e-6)
    other = load_model(train_nir.CHECKPOINTS / f"{name}.nir", **(told(name) | OTHERS[name]))
    fired = other.run({next(iter(other.input_shapes)): x}).spikes
    assert all(np.mean(fired[layer] != spikes) > 0.01 for layer, spikes in recorded(name).items())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_so_does_its_program_and_the_integers_tell_digits_as_well(name: str, target: str) -> None:
    x, y = held_out()
    program = neurocompile.compile(train_nir.CHECKPOINTS / f"{name}.nir", target=target, carries="spikes", **told(name))
    real = neurocompile.simulate(program, x, y, real=True)
    found = neurocompile.simulate(program, x, y)
    for layer, spikes in recorded(name).items():
        assert np.array_equal(real.spikes[layer], spikes), layer
        assert 0 < np.mean(found.spikes[layer] != spikes) < 0.02, layer
    assert real.accuracy == pytest.approx(facts(name)["accuracy"], abs=1e-6)
    assert real.accuracy - found.accuracy <= 0.005
    assert found.overflows == found.clipped == 0


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_fires_as_its_program_and_its_reals_as_the_framework(name: str) -> None:
    """All 450 digits: as step and Scan, in both arithmetics; then the graph in float32, but for what is near a tie."""
    x, y = held_out()
    program = neurocompile.compile(train_nir.CHECKPOINTS / f"{name}.nir", carries="spikes", **told(name))
    (given,) = program.inputs
    found = Compared()
    compare(program, {given: x}, found)
    assert (found.wrong, found.compared["spikes"]) == ([], 4 * 450 * 16 * 58)
    reals = OnnxExecutor(program, arithmetic="reals").run({given: x})
    for layer, spikes in recorded(name).items():
        assert np.mean(reals.spikes[layer] != spikes) < 1e-3, layer
    (out,) = reals.outputs.values()
    assert np.mean(out.argmax(1) == y) == pytest.approx(facts(name)["accuracy"], abs=0.005)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_on_the_command_line_and_in_the_chip(
    name: str, target: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of docs/nir.md."""
    if target == "loihi":
        need_lava()
    else:
        need("iverilog")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    stage = {"loihi": "lava", "nc1": "rtl"}[target]
    x, y = held_out()
    np.savez(tmp_path / "x.npz", x=x, y=y)
    file, out, dialect = train_nir.CHECKPOINTS / f"{name}.nir", tmp_path / "out", ("--dialect", told(name)["dialect"])
    done("export", file, *dialect, "--timesteps", len(ORDER), "--input", "spikes", "--target", target,
         *(["--stock-only"] if target == "loihi" else []), "-o", out)  # fmt: skip
    body = result("validate", out, "--reference", file, *dialect, "--data", tmp_path / "x.npz",
                  "--backend-samples", 4, "--require", "lowering", "--require", stage)  # fmt: skip
    lowering, _, backend, *_ = body["stages"]
    assert (lowering["mismatches"], lowering["ties"], lowering["compared"]) == (0, 0, 450 * 16 * 58)
    assert stage in (backend["name"], backend["executor"])
    assert (backend["mismatches"], backend["membrane_mismatches"]) == (0, 0)
    assert (backend["compared"], backend["membranes_compared"]) == (4 * 16 * 58, 4 * 16 * 68)
    assert body["passed"] is True


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_a_pixel_fires_as_often_as_it_has_sixteenths() -> None:
    assert sorted(ORDER) == list(range(16))
    images = np.arange(17, dtype=np.float32).reshape(17, 1, 1, 1).repeat(8, 2).repeat(8, 3) / 16
    spikes = digits_spikes(images)
    assert spikes.shape == (17, 16, 64)
    assert np.array_equal(spikes.sum(1), np.arange(17)[:, None].repeat(64, 1))
    for half in (spikes[:, :8], spikes[:, 8:]):  # spread evenly
        assert np.all(np.abs(half.sum(1) - np.arange(17)[:, None] / 2) <= 0.5)


def test_data_need_neither_framework_nor_spikingjelly(tmp_path: Path) -> None:
    missing = {"snntorch", "norse", "nir", "nirtorch", "spikingjelly"}
    ran = python(missing, "from neurocompile.models.train_nir import main; main(['--data', 'x.npz'])", tmp_path)
    assert ran.returncode == 0, ran.stderr
    x, y = held_out()
    with np.load(tmp_path / "x.npz") as held:
        assert np.array_equal(held["x"], x)
        assert np.array_equal(held["y"], y)


def test_a_framework_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "norse", None)
    with pytest.raises(SystemExit) as ended:
        train_nir.main(["--framework", "norse", "--output", str(tmp_path / "out")])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "norse is not installed" in said
    assert "pip install norse" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["snntorch", "norse"])
def test_it_trains(name: str, tmp_path: Path) -> None:
    """One epoch, where the framework is there (make test-peers): what it writes fires as it does."""
    pytest.importorskip(name)
    with pytest.raises(SystemExit) as ended:
        train_nir.main(["--framework", name, "--epochs", "1", "--output", str(tmp_path),
                        "--record", str(tmp_path / "fired.npz")])  # fmt: skip
    assert ended.value.code == 0
    written = json.loads((tmp_path / f"digits-{name}.json").read_text())
    model = load_model(tmp_path / f"digits-{name}.nir", dialect=written["dialect"], timesteps=written["timesteps"])
    run = model.run({next(iter(model.input_shapes)): held_out()[0]})
    with np.load(tmp_path / "fired.npz") as fired:
        assert all(np.array_equal(run.spikes[layer], fired[layer]) for layer in fired.files)
