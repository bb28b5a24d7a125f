"""What the commands give: the keys that scripts rely on, in the types that they rely on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
import neurocompile.models
from tests.cli.helpers import SAMPLES, STEPS, Data, done, npz, pickled, result, small_net

Number = (int, float)
MaybeNumber = (int, float, type(None))

EXPORT: dict[str, Any] = {
    "target": str,
    "program": str,
    "neurons": int,
    "synapses": int,
    "weight_bits": int,
    "cores": (int, type(None)),
    "on_chip_fraction": float,
    "files": list,
    "notes": list,
}
LAYER: dict[str, Any] = {
    "sops": int,
    "sops_nonzero": int,
    "macs": int,
    "spikes": int,
    "neuron_updates": dict,
    "firing_rate": MaybeNumber,
    "energy_pj": MaybeNumber,
}
SIMULATE: dict[str, Any] = {
    **LAYER,
    "samples": int,
    "timesteps": int,
    "accuracy": MaybeNumber,
    "firing_rate": float,
    "energy_pj_bounds": (list, type(None)),
    "pj_per_sop": MaybeNumber,
    "latency_ns": MaybeNumber,
    "cycles": MaybeNumber,
    "unpriced": dict,
    "fits": (bool, type(None)),
    "layers": list,
    "per_sample": dict,
}
STAGE: dict[str, Any] = {
    "name": str,
    "target": str,
    "against": str,
    "compared": int,
    "mismatches": int,
    "ties": int,
    "first_divergence": (dict, type(None)),
    "passed": (bool, type(None)),
}
VALIDATE: dict[str, Any] = {
    "stages": list,
    "accuracy_reference": MaybeNumber,
    "accuracy_program": MaybeNumber,
    "passed": bool,
}
DEMO: dict[str, Any] = {
    "accuracy_reference": float,
    "accuracy_program": float,
    "targets": dict,
    "validate": dict,
    "passed": bool,
}


def has(body: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """Check that an object has these keys with values of these types."""
    missing = sorted(set(keys) - set(body))
    assert not missing, f"missing: {missing}"
    for key, kind in keys.items():
        assert isinstance(body[key], kind), f"{key} is {body[key]!r}"


def is_simulation(body: Mapping[str, Any]) -> None:
    """Check everything that a simulate object must be, sums included."""
    has(body, SIMULATE)
    for layer in body["layers"]:
        has(layer, LAYER)
    for name in ("sops", "sops_nonzero", "macs", "spikes"):
        assert sum(layer[name] for layer in body["layers"]) == body[name]
        assert body["per_sample"][name] == pytest.approx(body[name] / body["samples"])
    for name in ("active", "inactive"):
        assert sum(layer["neuron_updates"][name] for layer in body["layers"]) == body["neuron_updates"][name]
    assert 0 <= body["firing_rate"] <= 1
    assert body["sops_nonzero"] <= body["sops"]
    if body["energy_pj"] is None:
        assert body["energy_pj_bounds"] is None
        assert body["pj_per_sop"] is None
    else:
        low, high = body["energy_pj_bounds"]
        assert low <= body["energy_pj"] <= high
        assert body["per_sample"]["energy_pj"] == pytest.approx(body["energy_pj"] / body["samples"])


def is_validation(body: Mapping[str, Any]) -> None:
    """Check everything that a validate object must be."""
    has(body, VALIDATE)
    assert [stage["name"] for stage in body["stages"]][:3] == ["lowering", "quantization", "backend"]
    for stage in body["stages"]:
        has(stage, STAGE)
        if stage["passed"] is None:
            assert stage["reason"]
        else:
            assert stage["compared"] > 0


# -- export ----------------------------------------------------------------------------------------------------------


def test_export(model: Path, tmp_path: Path) -> None:
    body = result("export", model, "-o", tmp_path / "out")
    has(body, EXPORT)
    assert body["program"] == str(tmp_path / "out")
    assert body["target"] == "generic"
    assert body["weight_bits"] == 8
    assert body["synapses"] == 4 * 6 + 6 * 3 + 3
    assert body["neurons"] == 6 + 3 + 3
    assert sorted(body["files"]) == sorted(file.name for file in (tmp_path / "out").iterdir())
    assert all(isinstance(note, str) for note in body["notes"])
    is_validation(body["validate"])
    assert body["validate"]["passed"] is True


def test_export_for_people(model: Path, tmp_path: Path) -> None:
    ran = done("export", model, "-o", tmp_path / "out")
    assert str(tmp_path / "out") in ran.out
    assert "PASSED" in ran.out
    assert "quantize" in ran.err


@pytest.mark.parametrize("shown", ["fold-mpbn", "quantize", "all"])
def test_print_ir_after_goes_to_stderr(shown: str, model: Path, tmp_path: Path) -> None:
    ran = done("export", model, "-o", tmp_path / "out", "--print-ir-after", shown, "--json")
    assert json.loads(ran.out)["ok"]
    assert "-- after" in ran.err
    assert ran.err.count("-- after") == (1 if shown != "all" else 7)


def test_the_options_of_export_are_kept(model: Path, tmp_path: Path) -> None:
    done("export", model, "-o", tmp_path / "out", "--per", "tensor", "--scale", "percentile", "--input-bits", "4")
    settings = neurocompile.load(tmp_path / "out").settings
    assert settings["per_channel"] is False
    assert settings["method"] == "percentile"
    assert settings["input_bits"] == 4
    assert settings["bits"] == 8


# -- simulate --------------------------------------------------------------------------------------------------------


def test_simulate(program: Path, data: Data) -> None:
    body = result("simulate", program, "--data", data.path)
    is_simulation(body)
    assert body["samples"] == SAMPLES
    assert body["timesteps"] == STEPS
    assert 0 <= body["accuracy"] <= 1
    assert body["energy_pj"] is None
    assert body["latency_ns"] is None
    assert body["cycles"] is None
    assert body["macs"] == SAMPLES * STEPS * 4 * 6
    assert set(body["unpriced"]) >= {"sop", "mac"}


def test_accuracy_is_null_without_labels(program: Path, data: Data, tmp_path: Path) -> None:
    with_labels = result("simulate", program, "--data", data.path)
    body = result("simulate", program, "--data", npz(tmp_path / "x.npz", x=data.x))
    assert body["accuracy"] is None
    assert {**body, "accuracy": 0} == {**with_labels, "accuracy": 0}


@pytest.mark.parametrize(("target", "price"), [("anp-i", 1.5), ("async28", 3.97)])
def test_priced_as_another_target(target: str, price: float, program: Path, data: Data) -> None:
    own = result("simulate", program, "--data", data.path)
    body = result("simulate", program, "--data", data.path, "--price-as", target)
    is_simulation(body)
    assert body["pj_per_sop"] == pytest.approx(price)
    assert body["energy_pj"] == pytest.approx(price * body["sops"])
    assert "mac" in body["unpriced"], "real inputs have no price there"
    for name in ("sops", "sops_nonzero", "macs", "spikes", "neuron_updates", "accuracy", "firing_rate"):
        assert body[name] == own[name], "what is counted does not depend on the price"
    shown = done("simulate", program, "--data", data.path, "--price-as", target).out
    assert ">=" in shown, "a sum with unpriced terms"


def test_spikes_are_written_by_module_path(program: Path, data: Data, tmp_path: Path) -> None:
    file = tmp_path / "spikes.npz"
    body = result("simulate", program, "--data", data.path, "--spikes", file)
    with np.load(file) as spikes:
        assert {name: spikes[name].shape for name in spikes} == {"1": (SAMPLES, STEPS, 6), "3": (SAMPLES, STEPS, 3)}
        assert sum(int((spikes[name] != 0).sum()) for name in spikes) == body["spikes"]
        for layer in body["layers"]:
            if layer["name"] in spikes:
                assert int((spikes[layer["name"]] != 0).sum()) == layer["spikes"]
        assert all(set(np.unique(spikes[name])) <= {0, 1} for name in spikes)


def test_spikes_are_written_over_and_twice_the_same(program: Path, data: Data, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz", "a.npz"):
        done("simulate", program, "--data", data.path, "--spikes", tmp_path / name, "--overwrite")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_simulating_twice_gives_the_same(program: Path, data: Data) -> None:
    assert done("simulate", program, "--data", data.path, "--json") == done(
        "simulate", program, "--data", data.path, "--json"
    )


def _spikes(program: Path, x: Any, folder: Path, *options: str) -> dict[str, Any]:
    file = folder / "spikes.npz"
    done("simulate", program, "--data", npz(folder / "x.npz", x=x), "--spikes", file, "--overwrite", *options)
    with np.load(file) as spikes:
        return {name: spikes[name] for name in spikes}


def test_stream_keeps_the_state_between_samples(program: Path, data: Data, tmp_path: Path) -> None:
    """Two samples in a stream fire as one sample of twice the length would."""
    x = np.round(data.x * 16) / 16
    streamed = _spikes(program, x, tmp_path, "--stream")
    apart = _spikes(program, x, tmp_path)
    assert any((streamed[name] != apart[name]).any() for name in apart)
    for name, spikes in streamed.items():
        np.testing.assert_array_equal(spikes[0], apart[name][0])
    again = _spikes(program, x[:3], tmp_path, "--stream")
    for name, spikes in again.items():
        np.testing.assert_array_equal(spikes, streamed[name][:3])


def test_a_long_sample_is_a_stream_of_short_ones(data: Data, tmp_path: Path) -> None:
    net = pickled(small_net(), tmp_path / "model.pt")
    for steps in (5, 15):
        done("export", net, "--input-shape", "4", "--timesteps", steps, "-o", tmp_path / str(steps))
    short = _spikes(tmp_path / "5", data.x[:3], tmp_path, "--stream")
    long = _spikes(tmp_path / "15", data.x[:3].reshape(1, 15, 4), tmp_path)
    for name, spikes in long.items():
        np.testing.assert_array_equal(short[name].reshape(spikes.shape), spikes)


def test_real_says_so_and_counts_only_spikes(program: Path, data: Data) -> None:
    body = result("simulate", program, "--data", data.path, "--real")
    assert body["arithmetic"] == "float64"
    assert body["spikes"] > 0
    assert body["energy_pj"] is None
    assert isinstance(body["accuracy"], float)


def test_nothing_but_results_on_stdout(program: Path, data: Data) -> None:
    ran = done("simulate", program, "--data", data.path, "--json")
    assert ran.err == ""
    ran = done("simulate", program, "--data", data.path)
    assert "firing rate" in ran.out
    assert "\x1b" not in ran.out, "colours only on a terminal"


# -- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_a_model_and_its_program(model: Path, program: Path) -> None:
    bodies = [result("inspect", what) for what in (model, program)]
    for body in bodies:
        has(body, {"target": str, "timesteps": int, "neurons": int, "synapses": int, "graph": list, "notes": list})
        assert body["timesteps"] == STEPS
        assert any("Neuron" in line for line in body["graph"])
    assert bodies[0]["graph"] == bodies[1]["graph"]
    assert bodies[0]["integer_graph"] == bodies[1]["integer_graph"]
    assert "Neuron" in done("inspect", program).out


# -- the demo --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("digits") / "digits.npz"
    done("demo", "--write-data", file)
    return file


def test_the_demo_writes_its_data(digits: Path) -> None:
    with np.load(digits) as arrays:
        assert arrays["x"].shape == (450, 1, 8, 8)
        assert arrays["y"].shape == (450,)
        assert arrays["x"].min() == 0
        assert arrays["x"].max() == 1
        assert set(arrays["y"]) == set(range(10))
        assert ((arrays["x"] * 16) % 1 == 0).all()


def test_data_that_is_written_twice_is_the_same(digits: Path, tmp_path: Path) -> None:
    done("demo", "--write-data", tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == digits.read_bytes()


@pytest.fixture(scope="module")
def demo() -> dict[str, Any]:
    return result("demo", "--target", "anp-i", "--target", "async28")


def test_the_demo(demo: dict[str, Any]) -> None:
    has(demo, DEMO)
    assert demo["passed"] is True
    assert demo["accuracy_reference"] >= 0.98
    assert demo["accuracy_reference"] - demo["accuracy_program"] <= 0.005
    assert list(demo["targets"]) == ["anp-i", "async28"]
    for name, simulation in demo["targets"].items():
        is_simulation(simulation)
        assert simulation["target"] == name
        assert simulation["energy_pj"] > 0
        assert simulation["samples"] == 450
    is_validation(demo["validate"])
    lowering = demo["validate"]["stages"][0]
    assert lowering["passed"] is True
    assert lowering["mismatches"] == 0
    assert lowering["ties"] == 0
    assert lowering["compared"] == 450 * 4 * (16 * 64 + 32 * 64 + 32 * 16 + 64)


@pytest.mark.slow
def test_the_demo_for_people() -> None:
    shown = done("demo").out
    for word in ("accuracy in PyTorch", "anp-i", "async28", "pJ/SOP", "PASSED", "proved: lowering, quantization;"):
        assert word in shown
    assert "FAILED" not in shown


def test_the_way_of_a_new_user(digits: Path, tmp_path: Path, demo: dict[str, Any]) -> None:
    model = Path(neurocompile.models.__file__).parent / "checkpoints" / "digits.pt"
    out = tmp_path / "out"
    assert result("export", model, "--target", "generic", "-o", out)["validate"]["passed"]
    body = result("simulate", out, "--data", digits, "--price-as", "anp-i")
    assert body["accuracy"] == demo["accuracy_program"]
    assert {**body, "arithmetic": ""} == {
        **body, **demo["targets"]["anp-i"], "arithmetic": ""
    }, "simulate and the demo say the same"  # fmt: skip


def test_export_compares_with_pytorch_on_the_calibration_data(tmp_path: Path) -> None:
    """A pickled module brings no samples of its own; --calibrate puts some at hand."""
    model, data = (
        pickled(small_net(), tmp_path / "model.pt"),
        npz(tmp_path / "x.npz", x=np.random.default_rng(0).random((20, 4))),
    )
    options = ("--input-shape", "4", "--timesteps", STEPS, "-o", tmp_path / "out")
    assert "validate" not in result("export", model, *options)
    stages = result("export", model, *options, "--overwrite", "--calibrate", data)["validate"]["stages"]
    assert stages[0]["name"] == "lowering"
    assert stages[0]["compared"] > 0
    assert stages[0]["passed"] is True
