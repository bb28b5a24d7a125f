"""The stage of a validation that runs ONNX Runtime."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import neurocompile
from neurocompile.backends.onnx.executor import OnnxExecutor
from neurocompile.backends.onnx.folder import OnnxFolder
from neurocompile.backends.onnx.runner import ONNX
from neurocompile.data import Data
from neurocompile.errors import BadInput, DoesNotFit
from neurocompile.hosted.worker import MEMORY, the_worker
from neurocompile.program import Program, load_program
from neurocompile.simulator.base import RunnerSettings
from neurocompile.verbs.validate import validate_program
from tests.backends.onnx.against import of_drawn
from tests.cli.helpers import done, refused, run, says
from tests.random_networks.engine import random_integer_network
from tests.test_hosted import given, in_torch_layout, mixed

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


def test_it_runs_beside_the_targets_own(tmp_path: Path) -> None:
    done("demo", "--write-data", tmp_path / "d.npz", "--write-model", tmp_path / "m.pt")
    done("export", tmp_path / "m.pt", "--no-validate", "-o", tmp_path / "chip")
    args = "validate", tmp_path / "chip", "--data", tmp_path / "d.npz", "--backend-samples", "3", "--json"
    body = done(*args, "--require", "onnx").json
    names = [stage["name"] for stage in body["stages"]]
    assert names == ["lowering", "quantization", "backend", "onnx"]
    stage = body["stages"][3]
    assert (stage["passed"], stage["samples_run"], stage["mismatches"], stage["membrane_mismatches"]) == (True, 3, 0, 0)
    assert stage["compared"] > 30_000
    assert stage["against"] == "ONNX Runtime (scan.onnx, int)"  # nothing was written for it
    says(refused(2, *args[:4])[0], fix="--reference")  # it is no reason to validate on its own
    ran = run(*args[:4], "--backend-samples", "0", "--require", "onnx", "--json")
    assert ran.code == 5
    assert ran.json["unmet"] == {"onnx": "did not run: left out (--backend-samples 0)"}


@pytest.mark.parametrize("name", ["_kept", "_floor"])
def test_one_that_computes_something_else_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "_kept": lambda self, value, how, least, most: self._node("Add", value, self._number(1)),
        "_floor": lambda self, value, divisor: self._node("Add", value, self._number(1)),
    }
    monkeypatch.setattr(f"neurocompile.backends.onnx.functions._Body.{name}", others[name])
    drawn = random_integer_network(random.Random(5), 200, 20_000)
    program, inputs = of_drawn(drawn)
    found = validate_program(program, Data(inputs, None, "the samples"), opened=[(ONNX, OnnxExecutor(program))])
    stage = next(stage for stage in found.stages if stage.name == "onnx")
    assert stage.passed is False
    assert not found.passed


def test_why_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = of_drawn(random_integer_network(random.Random(5), 200, 20_000))
    assert isinstance(ONNX.open(program, RunnerSettings()), OnnxExecutor)
    monkeypatch.setattr("onnxruntime.__version__", "1.23.2")
    assert ONNX.open(program, RunnerSettings()) == (
        "ONNX Runtime 1.23.2 has no convolution of bytes with a sign; pip install 'onnxruntime>=1.24'"
    )
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert "pip install 'neurocompile[onnx]'" in str(ONNX.open(program, RunnerSettings()))


def test_networks_with_a_host_run_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neurocompile.save(mixed(), tmp_path / "m.pt", in_torch_layout(given()), layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    executor = OnnxExecutor(program)
    found = validate_program(program, Data(given(seed=2), None, "the samples"), opened=[(ONNX, executor)])
    stage = next(stage for stage in found.stages if stage.name == "onnx")
    assert (stage.passed, stage.mismatches, stage.samples_run) == (True, 0, 16)
    with pytest.raises(DoesNotFit, match="of all steps at once"):
        OnnxExecutor(program, "step")
    monkeypatch.setenv(MEMORY, "1")
    monkeypatch.setattr("neurocompile.hosted.worker._PER_BYTE", 0)  # what is sent would allow it more
    the_worker().close()
    many = {name: np.repeat(x, 400, 0) for name, x in given().items()}
    with pytest.raises(BadInput, match="does not run this network"):
        OnnxExecutor(program).run(many)
    the_worker().close()


# -- the files of a folder ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "chip"
    neurocompile.export(
        CHECKPOINTS / "digits-2bit.pt", folder, emit=("onnx",), onnx_arithmetic="float32", validate=False
    )
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> tuple[Program, Path]:
    shutil.copytree(exported / "onnx", tmp_path / "onnx")
    return load_program(exported), tmp_path / "onnx"


def altered(path: Path, how: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    how(model)
    path.write_bytes(model.SerializeToString())


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for each in node.attribute:
            if each.HasField("g"):
                yield from graphs_in(each.g)


def other_weight(model: onnx.ModelProto) -> None:
    weights = [t for graph in graphs_in(model.graph) for t in graph.initializer if len(t.dims) == 4]
    values = numpy_helper.to_array(weights[0]).copy()
    values.flat[3] += 1
    weights[0].CopyFrom(numpy_helper.from_array(values, weights[0].name))


def test_the_files_of_the_folder_are_what_runs(exported: Path) -> None:
    """Those that were written: products in float32, say. Membranes are those of step.onnx."""
    done("demo", "--write-data", exported.parent / "d.npz")
    args = "--data", exported.parent / "d.npz", "--backend-samples", "3", "--require", "onnx"
    body = done("validate", exported, *args, "--json").json
    stage = body["stages"][3]
    assert (stage["passed"], stage["mismatches"], stage["membrane_mismatches"]) == (True, 0, 0)
    assert stage["membranes_compared"] > 30_000
    assert stage["against"] == "ONNX Runtime (scan.onnx and step.onnx of the folder, float32)"


def test_a_file_that_others_wrote_runs_apart_and_a_fault_in_it_is_found(
    copied: tuple[Program, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, folder = copied
    example = program.example_data()
    assert example is not None
    data = example.part(0, 3)
    with monkeypatch.context() as patched:  # what is as it was written needs no process of its own
        patched.setattr("neurocompile.backends.onnx.executor._Apart", None)
        assert OnnxFolder(program, folder).run(data.inputs, membranes=True).membranes
    for name in ("scan.onnx", "step.onnx"):
        altered(folder / name, lambda model: setattr(model, "doc_string", "as others tell it"))
    with monkeypatch.context() as patched:
        patched.setattr("neurocompile.backends.onnx.executor.session_of", None)
        same = validate_program(program, data, opened=[(ONNX, OnnxFolder(program, folder))])
    stage = next(stage for stage in same.stages if stage.name == "onnx")
    assert (stage.passed, stage.mismatches, stage.samples_run) == (True, 0, 3)
    altered(folder / "scan.onnx", other_weight)
    with pytest.raises(BadInput, match=r"scan\.onnx and step\.onnx of this folder do not compute the same"):
        OnnxFolder(program, folder).run(data.inputs, membranes=True)
    altered(folder / "step.onnx", other_weight)
    found = validate_program(program, data, opened=[(ONNX, OnnxFolder(program, folder))])
    stage = next(stage for stage in found.stages if stage.name == "onnx")
    assert stage.passed is False


def outside(model: onnx.ModelProto) -> None:
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (body,) = [each.g for each in scan.attribute if each.HasField("g")]
    body.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    body.initializer[0].external_data.add(key="location", value="/etc/hostname")


def without_scores(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


def another_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1]))


def numbers_without_a_sign(model: onnx.ModelProto) -> None:
    """And back again, so that the rest of the file is as it was."""
    (given_,) = model.graph.input
    given_.type.tensor_type.elem_type = onnx.TensorProto.UINT64
    for node in model.graph.node:
        node.input[:] = ["as.before" if name == given_.name else name for name in node.input]
    back = onnx.helper.make_node("Cast", [given_.name], ["as.before"], to=onnx.TensorProto.DOUBLE)
    model.graph.node.insert(0, back)


FOREIGN: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "outside": (outside, "wants to read other files"),
    "outputs": (without_scores, "this file gives something else than its program"),
    "inputs": (another_input, "this file takes something else than its program"),
    "types": (numbers_without_a_sign, r"takes something else than its program.*tensor\(uint64\) for x_seq"),
    "graph": (lambda model: setattr(model.graph.output[0], "name", "scores"), "does not run this file"),
    "program": (lambda model: setattr(model.metadata_props[-1], "value", "0" * 64), "was written for another program"),
}


@pytest.mark.parametrize("how", FOREIGN)
def test_files_that_are_not_the_programs_are_refused(how: str, copied: tuple[Program, Path]) -> None:
    program, folder = copied
    alter, said = FOREIGN[how]
    altered(folder / "scan.onnx", alter)
    data = program.example_data()
    assert data is not None
    with pytest.raises(BadInput, match=said):
        OnnxFolder(program, folder).run(data.part(0, 1).inputs)


def test_damaged_files_are_refused(copied: tuple[Program, Path]) -> None:
    program, folder = copied
    (folder / "step.onnx").write_bytes(b"\x08\x07\xff")
    with pytest.raises(BadInput, match=r"this is no ONNX model.*step\.onnx|step\.onnx.*this is no ONNX model"):
        OnnxFolder(program, folder)
    (folder / "step.onnx").unlink()
    data = program.example_data()
    assert data is not None
    alone = OnnxFolder(program, folder)
    assert alone.name == "ONNX Runtime (scan.onnx of the folder, float32)"
    assert alone.run(data.part(0, 1).inputs, membranes=True).membranes == {}
