"""What has to be proved: ``--require``, and the line that says what is proved and what did not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from tests.backends.rtl.test_rtl import need
from tests.cli.helpers import Data, done, exported, npz, refused, run, says


@pytest.fixture(scope="module")
def nc1(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, tmp_path_factory.mktemp("nc1") / "core", "--target", "nc1")


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has neither Lava nor a simulator of Verilog."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NEUROCOMPILE_LAVA_PYTHON", str(tmp_path / "python"))


def _unmet(code: int, *arguments: object) -> dict[str, Any]:
    """What a validation lacks; people are told the same."""
    ran = run("validate", *arguments, "--json")
    assert ran.code == code, ran
    assert ran.json["ok"] is ran.json["passed"] is (code == 0)
    shown = run("validate", *arguments)
    assert shown.code == code
    said = "".join(shown.out.split())  # a path may be longer than a line
    assert "".join(ran.json["summary"].split()) in said
    for name, why in ran.json["unmet"].items():
        assert "".join(f"required: {name} {why}".split()) in said
    unmet: dict[str, Any] = ran.json["unmet"]
    return unmet


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(
    ("target", "executor", "why"), [("nc1", "rtl", "neither Verilator"), ("loihi", "lava", "no Python with Lava")]
)
def test_a_tool_that_is_missing(target: str, executor: str, why: str, model: Path, data: Data, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out", "--target", target)
    given = out, "--data", data.path, "--reference", model
    body = done("validate", *given, "--json").json
    assert body["summary"].startswith(f"proved: lowering, quantization, onnx; not run: {executor} (there is n")
    unmet = _unmet(5, *given, "--require", executor)
    assert set(unmet) == {executor}
    assert unmet[executor].startswith("did not run: ")
    assert why in unmet[executor]
    assert _unmet(0, *given, "--require", "lowering", "--require", "quantization") == {}
    # Nothing else is given: what is required is told all the same.
    assert set(_unmet(5, out, "--data", data.path, "--require", executor)) == {executor}


def test_what_ran_on_a_few_samples_is_told_where_it_stands(nc1: Path, model: Path, data: Data) -> None:
    need("iverilog")
    given = nc1, "--data", data.path, "--reference", model, "--backend-samples", "2"
    assert _unmet(0, *given, "--require", "rtl", "--require", "lowering") == {}
    body = done("validate", *given, "--json").json
    assert body["summary"] == "proved: lowering, quantization, rtl (2 of 12 samples), onnx (2 of 12 samples)"
    assert [stage["samples_run"] for stage in body["stages"]] == [12, 12, 2, 2]
    assert body["samples"] == 12
    (row,) = (line for line in done("validate", *given).out.splitlines() if line.startswith(" rtl  "))
    assert "2 of 12" in row


def test_a_stage_that_this_program_does_not_have(program: Path, model: Path, data: Data) -> None:
    given = program, "--data", data.path, "--reference", model
    assert _unmet(5, *given, "--require", "lava") == {
        "lava": "did not run: nothing of that name runs programs for generic"
    }
    assert "target generic has no executor" in _unmet(5, *given, "--require", "backend")["backend"]
    assert "no recording was given" in _unmet(5, *given, "--require", "recorded")["recorded"]
    assert "no reference model" in _unmet(5, program, "--data", data.path, "--require", "lowering")["lowering"]


def test_a_stage_that_was_left_out(nc1: Path, model: Path) -> None:
    unmet = _unmet(5, nc1, "--reference", model, "--backend-samples", "0", "--require", "rtl")
    assert unmet == {"rtl": "did not run: left out (--backend-samples 0)"}


def test_a_stage_that_fails(program: Path, data: Data, tmp_path: Path) -> None:
    fired = dict(neurocompile.simulate(program, data.path).spikes)
    fired["3"] = 1 - fired["3"]
    file = npz(tmp_path / "fired.npz", **fired)
    given = program, "--data", data.path, "--recorded", file
    assert _unmet(5, *given, "--require", "recorded") == {"recorded": "did not pass"}
    report = neurocompile.validate(program, data.path, recorded=fired, require="recorded")
    assert (report.passed, report.exit_code, set(report.unmet)) == (False, 5, {"recorded"})
    assert report.summary.startswith("proved: quantization, onnx; failed: recorded; not run: lowering (")
    fired["3"] = 1 - fired["3"]
    report = neurocompile.validate(program, data.path, recorded=fired, require=["recorded", "quantization"])
    assert (report.passed, report.unmet, report.required) == (True, {}, ("recorded", "quantization"))


def test_what_is_no_stage(program: Path, data: Data) -> None:
    errors = refused(
        2, "validate", program, "--data", data.path, "--require", "lawa", "--require", "rtl", "--require", "x"
    )
    assert [error["actual"] for error in errors] == ["lawa", "x"]
    for error in errors:
        says(error, what="no such stage", where="--require", limit="lava")


def test_export_names_what_is_left_to_validate(nc1: Path, model: Path, tmp_path: Path) -> None:
    for target, name in (("nc1", "rtl"), ("loihi2", "lava")):
        body = done("export", model, "-o", tmp_path / target, "--target", target, "--json").json["validate"]
        assert body["summary"].startswith(f"proved: lowering, quantization; not run: {name} (`neurocompile validate`")


# -- positions and spikes ----------------------------------------------------------------------------------------------


def test_positions_are_not_spikes(program: Path, model: Path, data: Data) -> None:
    body = done("validate", program, "--data", data.path, "--reference", model, "--json").json
    lowering, quantization = body["stages"][:2]
    simulated = neurocompile.simulate(program, data.path)
    assert lowering["positions"] == lowering["compared"] == 12 * 5 * 9
    assert lowering["spikes_expected"] == lowering["spikes_found"] == quantization["spikes_expected"]
    assert 0 < lowering["spikes_expected"] < lowering["positions"]
    assert (
        quantization["spikes_found"] == simulated.totals.spikes == sum(int(x.sum()) for x in simulated.spikes.values())
    )
    assert (lowering["precision"], lowering["recall"], lowering["f1"]) == (1.0, 1.0, 1.0)
    assert 0.9 < quantization["f1"] <= 1.0
    shown = done("validate", program, "--data", data.path, "--reference", model).out
    for word in (
        "positions",
        "spikes",
        "precision",
        "recall",
        "quantization asks: accuracy falls by at most 0.5 points",
    ):
        assert word in shown
    assert quantization["asked"] == "accuracy falls by at most 0.5 points"


def test_without_labels_more_is_asked(program: Path, model: Path, tmp_path: Path) -> None:
    x = npz(tmp_path / "x.npz", x=np.random.default_rng(5).random((8, 4)))
    body = done("validate", program, "--data", x, "--reference", model, "--json").json
    asked = body["stages"][1]["asked"]
    assert "95% of the positions agree" in asked
    assert "F1 of the spikes is at least 80%" in asked
    assert asked in " ".join(done("validate", program, "--data", x, "--reference", model).out.split())
