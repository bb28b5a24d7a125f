"""Comparing: what passes, what fails, and where it points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spikingjelly.activation_based import layer as sj_layer

import neurocompile
from tests.cli.helpers import (
    SAMPLES,
    STEPS,
    Data,
    done,
    exported,
    npz,
    one,
    pickled,
    refused,
    run,
    saved,
    says,
    small_net,
)
from tests.cli.test_results import is_validation


def _failed(*arguments: object) -> dict[str, Any]:
    """A validation that must fail: exit 5, and the same for people."""
    ran = run(*arguments, "--json")
    assert ran.code == 5, ran
    assert ran.json["ok"] is False
    is_validation(ran.json)
    assert ran.json["passed"] is False
    plain = run(*arguments)
    assert plain.code == 5
    assert "FAILED" in plain.out
    return ran.json


def _stage(body: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in body["stages"] if stage["name"] == name)


@pytest.fixture
def spikes(program: Path, data: Data, tmp_path: Path) -> dict[str, Any]:
    """What the program fires, by layer."""
    done("simulate", program, "--data", data.path, "--spikes", tmp_path / "fired.npz")
    with np.load(tmp_path / "fired.npz") as arrays:
        return {name: arrays[name].copy() for name in arrays}


def test_the_model_that_was_exported(program: Path, model: Path, data: Data) -> None:
    ran = done("validate", program, "--reference", model, "--data", data.path, "--json")
    is_validation(ran.json)
    lowering = _stage(ran.json, "lowering")
    assert lowering["passed"] is True
    assert lowering["compared"] == SAMPLES * STEPS * 9
    assert lowering["mismatches"] == lowering["ties"] == 0
    assert lowering["first_divergence"] is None
    assert "pytorch" in lowering["against"]
    assert set(lowering["firing_rates"]) == {"1", "3"}
    assert all(0 < rate < 1 for rate in lowering["firing_rates"].values())


def test_on_the_samples_that_the_model_brought(program: Path, model: Path) -> None:
    body = done("validate", program, "--reference", model, "--json").json
    assert _stage(body, "lowering")["compared"] == 8 * STEPS * 9
    assert body["accuracy_program"] is None


def test_a_backend_that_could_not_run_says_why(program: Path, model: Path) -> None:
    stage = _stage(done("validate", program, "--reference", model, "--json").json, "backend")
    assert stage["passed"] is None
    assert stage["reason"]


def test_another_model(program: Path, data: Data, tmp_path: Path) -> None:
    other = saved(small_net(seed=5), tmp_path / "other.pt")
    body = _failed("validate", program, "--reference", other, "--data", data.path)
    lowering = _stage(body, "lowering")
    assert lowering["passed"] is False
    assert lowering["mismatches"] > 0
    first = lowering["first_divergence"]
    assert set(first) >= {"sample", "step", "layer", "neuron", "expected", "actual"}
    assert first["layer"] in ("1", "3")


def test_a_model_with_one_weight_changed(program: Path, data: Data, tmp_path: Path) -> None:
    net = small_net()
    net[2].weight.data[1, 4] += 0.5
    body = _failed("validate", program, "--reference", saved(net, tmp_path / "other.pt"), "--data", data.path)
    assert _stage(body, "lowering")["first_divergence"]["layer"] == "3"
    assert _stage(body, "lowering")["first_divergence"]["neuron"] == [1]


def test_a_model_with_one_threshold_changed(program: Path, data: Data, tmp_path: Path) -> None:
    net = small_net()
    net[1].v_threshold = 1.3
    body = _failed("validate", program, "--reference", saved(net, tmp_path / "other.pt"), "--data", data.path)
    assert _stage(body, "lowering")["first_divergence"]["layer"] == "1"


def test_a_model_whose_spikes_agree_but_not_its_outputs(program: Path, data: Data, tmp_path: Path) -> None:
    other = saved(small_net(), tmp_path / "other.pt", readout="sum")
    body = _failed("validate", program, "--reference", other, "--data", data.path)
    assert _stage(body, "lowering")["mismatches"] == 0
    assert _stage(body, "lowering")["output_error"] > 0.1


@pytest.mark.parametrize("kind", ["other layers", "other shapes", "other steps"])
def test_a_model_that_cannot_be_the_reference(kind: str, program: Path, data: Data, tmp_path: Path) -> None:
    net = small_net()
    if kind == "other layers":
        net = net[:2]
    if kind == "other shapes":
        net[0] = sj_layer.Linear(7, 6, step_mode="m")
    file = pickled(net, tmp_path / "other.pt")
    options = {"other shapes": ("--input-shape", "7"), "other steps": ("--timesteps", "9")}.get(kind, ())
    errors = refused(6, "validate", program, "--reference", file, "--data", data.path, *options)
    says(errors[0])


def test_nothing_to_compare_with(program: Path, data: Data) -> None:
    says(one(refused(2, "validate", program, "--data", data.path)), fix="--reference")


# -- recordings ------------------------------------------------------------------------------------------------------


def test_a_recording_that_may_differ_a_little(
    program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path
) -> None:
    recorded = {name: fired.copy() for name, fired in spikes.items()}
    last = list(recorded)[-1]
    place = tuple(np.argwhere(recorded[last])[0])
    recorded[last][place] = 0
    given = program, "--recorded", npz(tmp_path / "recorded.npz", **recorded), "--data", data.path, "--align", "none"
    all_fired = sum(int((fired != 0).sum()) for fired in spikes.values())
    share = 100 / all_fired
    assert _stage(_failed("validate", *given), "recorded")["mismatches"] == 1
    assert _stage(_failed("validate", *given, "--tolerance", f"recorded={0.9 * share}"), "recorded")["causes"]
    body = done("validate", *given, "--tolerance", f"recorded={1.1 * share}", "--json").json
    stage = _stage(body, "recorded")
    assert stage["passed"] is True
    assert stage["mismatches"] == 1
    assert f"1 spikes are missing or too many where {all_fired:,} are expected" in stage["reason"]
    assert stage["causes"][0]["layer"] == last
    shown = done("validate", *given, "--tolerance", f"recorded={1.1 * share}").out
    assert "missing or too many" in shown
    same = neurocompile.validate(
        program, data.path, recorded=recorded, align="none", tolerance={"recorded": 1.1 * share}
    )
    assert same.passed


@pytest.mark.parametrize(
    "wrong", ["recorded", "recorded=", "recorded=-1", "recorded=nan", "backend=1", "=1", "rtl=inf"]
)
def test_a_tolerance_that_is_none(
    wrong: str, program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path
) -> None:
    file = npz(tmp_path / "recorded.npz", **spikes)
    error = one(refused(2, "validate", program, "--recorded", file, "--data", data.path, "--tolerance", wrong))
    says(error, where="--tolerance", actual=wrong.partition("=")[0])


def test_a_recording_of_the_same(program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path) -> None:
    file = npz(tmp_path / "recorded.npz", **spikes)
    body = done("validate", program, "--recorded", file, "--data", data.path, "--json").json
    recorded = _stage(body, "recorded")
    assert recorded["passed"] is True
    assert recorded["compared"] == SAMPLES * STEPS * 9
    assert _stage(body, "lowering")["passed"] is None


@pytest.mark.parametrize(
    ("layer", "sample", "step", "neuron"),
    [("1", 0, 0, 0), ("1", SAMPLES - 1, STEPS - 1, 5), ("3", 0, STEPS - 1, 2), ("3", 7, 2, 1)],
)
def test_one_flipped_spike_is_found(
    layer: str, sample: int, step: int, neuron: int, program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path
) -> None:
    expected = int(spikes[layer][sample, step, neuron])
    spikes[layer][sample, step, neuron] = 1 - expected
    body = _failed("validate", program, "--recorded", npz(tmp_path / "recorded.npz", **spikes), "--data", data.path)
    recorded = _stage(body, "recorded")
    assert recorded["mismatches"] == 1
    first = recorded["first_divergence"]
    found = {key: first[key] for key in ("sample", "step", "layer", "neuron", "expected", "actual")}
    assert found == {
        "sample": sample,
        "step": step,
        "layer": layer,
        "neuron": [neuron],
        "expected": expected,
        "actual": 1 - expected,
    }
    shown = run("validate", program, "--recorded", tmp_path / "recorded.npz", "--data", data.path).out
    assert f"sample {sample}, step {step}, layer {layer}" in " ".join(shown.split())


def test_the_first_of_many_is_the_earliest_step(
    program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path
) -> None:
    for layer, step, neuron in (("1", 4, 0), ("3", 2, 1), ("1", 3, 2)):
        spikes[layer][5, step, neuron] ^= 1
    spikes["1"][6, 0, 0] ^= 1
    body = _failed("validate", program, "--recorded", npz(tmp_path / "recorded.npz", **spikes), "--data", data.path)
    first = _stage(body, "recorded")["first_divergence"]
    assert (first["sample"], first["step"], first["layer"], first["neuron"]) == (5, 2, "3", [1])
    assert _stage(body, "recorded")["mismatches"] == 4


def test_a_recording_of_one_layer_only(program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path) -> None:
    file = npz(tmp_path / "recorded.npz", **{"3": spikes["3"]})
    body = done("validate", program, "--recorded", file, "--data", data.path, "--json").json
    assert _stage(body, "recorded")["compared"] == SAMPLES * STEPS * 3


@pytest.mark.parametrize("dtype", ["bool", "float32", "int64", "uint8"])
def test_recordings_of_all_kinds(dtype: str, program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path) -> None:
    file = npz(tmp_path / "recorded.npz", **{name: array.astype(dtype) for name, array in spikes.items()})
    done("validate", program, "--recorded", file, "--data", data.path)


BAD_RECORDINGS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an unknown layer": lambda spikes: {**spikes, "7": spikes["3"]},
    "too few steps": lambda spikes: {**spikes, "3": spikes["3"][:, :-1]},
    "too few samples": lambda spikes: {**spikes, "3": spikes["3"][:-1]},
    "time first": lambda spikes: {**spikes, "3": spikes["3"].swapaxes(0, 1)},
    "nothing": lambda spikes: {},
    "words": lambda spikes: {**spikes, "3": spikes["3"].astype(str)},
    "NaN": lambda spikes: {**spikes, "3": np.full(spikes["3"].shape, np.nan)},
}


@pytest.mark.parametrize("kind", BAD_RECORDINGS)
def test_recordings_that_do_not_belong(
    kind: str, program: Path, data: Data, spikes: dict[str, Any], tmp_path: Path
) -> None:
    file = npz(tmp_path / "recorded.npz", **BAD_RECORDINGS[kind](spikes))
    for error in refused(6, "validate", program, "--recorded", file, "--data", data.path):
        says(error)


def test_two_bits_fail_and_the_program_is_still_written(tmp_path: Path) -> None:
    """Export validates by default; --no-validate leaves it out."""
    model = saved(small_net(), tmp_path / "model.pt")
    codes = {bits: run("export", model, "-o", tmp_path / str(bits), "--bits", bits, "--json") for bits in (2, 16)}
    assert codes[16].code == 0
    assert codes[2].code == 5, "if two bits are enough here, choose another network"
    assert codes[2].json["ok"] is False
    assert codes[2].json["validate"]["passed"] is False
    exported(model, tmp_path / "unchecked", "--bits", "2", "--no-validate")
