"""``export --target loihi`` and what Lava says of it, as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from neurocompile.models.digits import load_digits_split
from neurocompile.models.resnet import ResNet20
from neurocompile.vocabulary.mpbn import MPBNLIF
from tests.backends.lava.against import need_lava
from tests.cli.helpers import Data, done, exported, npz, one, pickled, refused, result, run, saved, says, small_net

CHECKPOINTS = Path(__file__).parents[2] / "models" / "checkpoints"
STAGES = ["lowering", "quantization", "backend", "onnx"]


def hard_net() -> nn.Sequential:
    """4 inputs, 6 and 3 neurons that the chip has."""
    net = small_net()
    net[3] = neuron.LIFNode(tau=2.0, decay_input=False, v_reset=0.0, step_mode="m")
    return net.eval()


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(hard_net(), tmp_path_factory.mktemp("hard") / "hard.pt")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, _, x, y = load_digits_split()
    return npz(tmp_path_factory.mktemp("digits") / "digits.npz", x=x, y=y)


def stage(body: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in body["stages"] if each["name"] == name)


# -- what is written ---------------------------------------------------------------------------------------------------


def test_export_writes_a_program_and_a_bundle(hard: Path, tmp_path: Path) -> None:
    body = result("export", hard, "--target", "loihi", "-o", tmp_path / "out")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert set(body["files"]) == written
    assert {"program.json", "cores.json", "lava/network.py", "lava/run.py", "lava/requirements.txt"} <= written
    assert body["weight_bits"] == 8
    assert body["cores"] == 1  # the second layer and the readout share it; the first runs on the host
    assert body["encode"] == "host"
    assert 0 < body["on_chip_fraction"] < 1
    assert body["runs_on"]["1"]["where"] == "host"
    assert body["runs_on"]["3"] == {"where": "chip", "why": [], "fix": []}
    placed = json.loads((tmp_path / "out" / "cores.json").read_text())
    assert placed["cores"] == 1
    assert [each["layer"] for each in placed["placement"][0]["blocks"]] == ["3", "output.integrator"]


def test_loihi2_takes_graded_inputs(hard: Path, tmp_path: Path) -> None:
    body = result("export", hard, "--target", "loihi2", "-o", tmp_path / "out")
    assert body["encode"] == "graded"
    assert body["on_chip_fraction"] == 1
    assert body["graded_events_meet"] == 4 * 6 * 5
    host = result("export", hard, "--target", "loihi2", "--encode", "host", "-o", tmp_path / "host")
    assert host["host"] == {"macs": 4 * 6 * 5, "neuron_updates": 6 * 5, "bias_writes": 0}
    shown = done("export", hard, "--target", "loihi2", "--encode", "host", "-o", tmp_path / "shown").out
    told = "--encode host: per inference the host does up to 120 multiply-accumulates and 30 neuron updates"
    assert told in " ".join(shown.split())


def test_a_dry_run_reports_and_writes_nothing(hard: Path, tmp_path: Path) -> None:
    ran = done("export", hard, "--target", "loihi", "-o", tmp_path / "out", "--dry-run")
    assert "the fullest: core" in ran.out
    assert not (tmp_path / "out").exists()


def test_a_net_file_where_it_is_asked_for(hard: Path, tmp_path: Path) -> None:
    done("export", hard, "--target", "loihi2", "-o", tmp_path / "out", "--emit", "netx")
    assert not (tmp_path / "out" / "lava").exists()
    with h5py.File(tmp_path / "out" / "netx" / "network.net") as file:
        assert len(file["layer"]) >= 3


# -- validate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["loihi", "loihi2"])
def test_validate_runs_lava(hard: Path, data: Data, target: str, tmp_path: Path) -> None:
    need_lava()
    out = exported(hard, tmp_path / "out", "--target", target)
    body = result("validate", out, "--reference", hard, "--data", data.path)
    assert [each["name"] for each in body["stages"]] == STAGES
    lava = stage(body, "backend")
    assert lava["against"] == "Lava, fixed-point simulation"
    assert lava["passed"] is True
    assert lava["samples"] == len(data.x)
    assert lava["compared"] == len(data.x) * 5 * 9
    assert lava["mismatches"] == lava["membrane_mismatches"] == 0
    assert lava["membranes_compared"] == len(data.x) * 5 * (9 + 3)


def test_lava_alone_is_enough_to_validate(hard: Path, data: Data, tmp_path: Path) -> None:
    need_lava()
    out = exported(hard, tmp_path / "out", "--target", "loihi")
    ran = done("validate", out, "--data", data.path, "--backend-samples", 3)
    assert "lava: 3 samples, 0 of 180 membranes differ" in ran.out


def test_a_bundle_that_does_something_else_fails(hard: Path, data: Data, tmp_path: Path) -> None:
    need_lava()
    out = exported(hard, tmp_path / "out", "--target", "loihi")
    path = out / "lava" / "arrays.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["3.bias_mantissa"] = arrays["3.bias_mantissa"] + 40
    np.savez(path, **arrays)
    ran = run("validate", out, "--reference", hard, "--data", data.path, "--json")
    assert ran.code == 5
    lava = stage(ran.json, "backend")
    assert lava["passed"] is False
    assert lava["membrane_mismatches"] > 0
    assert lava["first_membrane"]["layer"] == "3"
    assert lava["first_membrane"]["step"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["loihi", "loihi2"])
@pytest.mark.parametrize("name", ["digits", "digits-spikingjelly"])
def test_the_demo_networks_in_lava(name: str, target: str, digits: Path, tmp_path: Path) -> None:
    need_lava()
    model = CHECKPOINTS / f"{name}.pt"
    stock = ("--stock-only",) if name == "digits" else ()
    out = exported(model, tmp_path / "out", "--target", target, *stock)
    body = result("validate", out, "--reference", model, "--data", digits, "--backend-samples", 100)
    lava = stage(body, "backend")
    assert lava["samples"] == 100
    assert lava["compared"] == 100 * 4 * 3648
    assert lava["mismatches"] == lava["membrane_mismatches"] == 0
    assert all(0.02 < rate < 0.8 for rate in lava["firing_rates"].values())
    assert body["accuracy_reference"] - body["accuracy_program"] <= 0.005


def test_a_few_digits_in_lava(digits: Path, tmp_path: Path) -> None:
    need_lava()
    model = CHECKPOINTS / "digits.pt"
    out = exported(model, tmp_path / "out", "--target", "loihi", "--stock-only")
    body = result("validate", out, "--reference", model, "--data", digits, "--backend-samples", 2)
    assert stage(body, "backend")["passed"] is True
    assert stage(body, "lowering")["mismatches"] == stage(body, "lowering")["ties"] == 0
    assert body["accuracy_reference"] - body["accuracy_program"] <= 0.005


# -- what does not work ------------------------------------------------------------------------------------------------


def test_layers_that_the_chip_has_not_are_refused_by_name(tmp_path: Path) -> None:
    model = CHECKPOINTS / "digits-spikingjelly.pt"
    errors = refused(4, "export", model, "--target", "loihi2", "-o", tmp_path / "out", "--stock-only")
    assert [error["where"] for error in errors] == ["neuron1", "neuron2", "neuron3", "neuron4"]
    says(errors[0], what="no process of Lava's own can do this layer: its neurons have 15 different decays", fix="MPBN")
    assert not (tmp_path / "out").exists()


def test_a_soft_reset_is_shown_to_run_in_simulation_only(model: Path, tmp_path: Path) -> None:
    body = result("export", model, "--target", "loihi2", "-o", tmp_path / "out")
    about = body["runs_on"]["3"]
    assert about["where"] == "simulation"
    assert "soft reset" in about["why"][0]
    assert about["fix"] == ["use a hard reset"]


def test_biases_beyond_the_registers(tmp_path: Path) -> None:
    net = hard_net()
    with torch.no_grad():
        net[2].bias.fill_(1e6)
    error = one(refused(4, "export", saved(net, tmp_path / "m.pt"), "--target", "loihi", "-o", tmp_path / "out"))
    says(error, what="biases are too large for the chip's registers", where="3", limit="524160", fix="smaller biases")


def test_a_layer_with_weights_a_thousand_times_the_others(tmp_path: Path) -> None:
    net = hard_net()
    with torch.no_grad():
        net[2].weight[0] *= 1000
    model = saved(net, tmp_path / "m.pt")
    body = result("export", model, "--target", "loihi", "-o", tmp_path / "out", "--no-validate")
    lost = [note for note in body["notes"] if "PRECISION LOST" in note]
    assert len(lost) == 1
    assert "of 3 rows" in lost[0]
    assert "times as far" in lost[0]


def test_a_network_too_large_for_the_chip_names_every_reason(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(8, 640, 3, padding=1, bias=False, step_mode="m"),
        MPBNLIF(out_channels=640),
        layer.Conv2d(640, 128, 3, padding=1, bias=False, step_mode="m"),
        MPBNLIF(out_channels=128),
        layer.Flatten(step_mode="m"),
        layer.Linear(128 * 16 * 16, 2, step_mode="m"),
    ).eval()
    given = ("--input-shape", "8,16,16", "--timesteps", "2", "--input", "spikes")
    errors = refused(4, "export", pickled(net, tmp_path / "m.pt"), *given, "--target", "loihi", "-o", tmp_path / "out")
    text = json.dumps(errors)
    assert "128 a chip" in text
    assert "do not fit into a core's synapse memory" in text
    assert {error["where"] for error in errors} >= {"the network", "output.integrator"}
    ran = run("export", tmp_path / "m.pt", *given, "--target", "loihi", "-o", tmp_path / "out", "--dry-run", "--json")
    assert ran.code == 4
    assert ran.json["mapping"]["cores"] > 128
    assert ran.json["errors"]
    assert not (tmp_path / "out").exists()


def test_resnet_20_takes_two_chips(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = saved(ResNet20().eval(), tmp_path / "m.pt", example=torch.rand(2, 1, 3, 32, 32))
    given = ("--target", "loihi", "-o", tmp_path / "out", "--no-validate")
    (error,) = refused(4, "export", model, *given)
    says(error, what="does not have so many cores", limit="128 a chip", fix="--chips 2")
    body = result("export", model, *given, "--chips", "2", "--dry-run")
    assert body["chips"] == 2
    assert 128 < body["cores"] <= 256
    assert all(core["neurons"] <= 1024 for core in body["mapping"]["placement"])


def test_a_loop_that_is_shorter_than_its_synapses(tmp_path: Path) -> None:
    class Loop(nn.Module):
        """Two layers of neurons in one loop of one step."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = layer.LinearRecurrentContainer(
                nn.Sequential(neuron.IFNode(v_reset=0.0), layer.Linear(4, 4), neuron.IFNode(v_reset=0.0)),
                4,
                4,
            )
            self.out = layer.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.inner(x))

    torch.manual_seed(0)
    model = saved(Loop().eval(), tmp_path / "m.pt", layout="loop", timesteps=5, example=torch.rand(8, 4))
    errors = refused(4, "export", model, "--target", "loihi2", "--encode", "graded", "-o", tmp_path / "out")
    says(errors[0], what="this loop is shorter than its synapses", where=" -> ", fix="delay the feedback")


def test_graded_spikes_are_not_for_loihi_1(hard: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", hard, "--target", "loihi", "--encode", "graded", "-o", tmp_path / "out"))
    says(error, what="loihi has no graded spikes", fix="--encode host")
    error = one(refused(2, "export", hard, "--target", "generic", "--encode", "host", "-o", tmp_path / "out"))
    says(error, what="no choice of encodings")


def test_backends_that_there_are_not(hard: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", hard, "--target", "loihi", "--emit", "lava,nxsdk", "-o", tmp_path / "out"))
    says(error, what="no such backend", actual="nxsdk", limit="lava, netx")
    error = one(refused(2, "export", hard, "--target", "generic", "--emit", "lava", "-o", tmp_path / "out"))
    says(error, what="lava does not run programs for generic", fix="loihi")


def test_what_netx_cannot_load_is_refused(tmp_path: Path) -> None:
    model = CHECKPOINTS / "digits-spikingjelly.pt"
    errors = refused(4, "export", model, "--target", "loihi2", "--emit", "netx", "-o", tmp_path / "out")
    assert {error["where"] for error in errors} == {"neuron1", "neuron2", "neuron3", "neuron4"}
    assert not (tmp_path / "out").exists()


def test_an_interpreter_that_is_not_there(hard: Path, data: Data, tmp_path: Path, monkeypatch: Any) -> None:
    out = exported(hard, tmp_path / "out", "--target", "loihi")
    given = ("validate", out, "--reference", hard, "--data", data.path)
    error = one(refused(1, *given, "--lava-python", tmp_path / "none"))
    says(error, what="there is no Python with Lava", fix="make setup-lava")
    monkeypatch.setattr("neurocompile.backends.lava.runner.Path.cwd", lambda: tmp_path)
    monkeypatch.setenv("NEUROCOMPILE_LAVA_PYTHON", str(tmp_path / "nothing"))
    lava = stage(result(*given), "backend")
    assert lava["passed"] is None
    assert "there is no Python with Lava" in lava["reason"]
    assert "pip install lava-nc" in lava["reason"]


def test_lava_that_hangs_is_killed_and_reported(hard: Path, data: Data, tmp_path: Path) -> None:
    need_lava()
    out = exported(hard, tmp_path / "out", "--target", "loihi")
    run_py = out / "lava" / "run.py"
    run_py.write_text(run_py.read_text().replace("def main():\n", "def main():\n    time.sleep(3600)\n"))
    error = one(refused(6, "validate", out, "--data", data.path, "--time-limit", "2"))
    says(error, what="this code is not what neurocompile writes", where="run.py", fix="--trust")
    error = one(refused(1, "validate", out, "--data", data.path, "--time-limit", "2", "--trust"))
    says(error, what="did not finish within 2 s and was killed", fix="--time-limit")


def test_what_lava_raises_is_shown(hard: Path, data: Data, tmp_path: Path) -> None:
    need_lava()
    out = exported(hard, tmp_path / "out", "--target", "loihi")
    network = out / "lava" / "network.py"
    network.write_text(network.read_text().replace("du=4095,", "du=4095.5,"))
    error = one(refused(1, "validate", out, "--data", data.path, "--trust"))
    says(error, what="TypeError: ufunc 'right_shift' not supported")
