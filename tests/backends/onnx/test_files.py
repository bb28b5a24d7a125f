"""The files: what they hold, who takes them, what is said of them, and what is refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import neurocompile
from neurocompile.backends.base import emitted_files
from neurocompile.backends.onnx import onnx_files
from neurocompile.backends.onnx.products import bytes_of
from neurocompile.backends.wanted import Wanted
from neurocompile.errors import DoesNotFit, UsageError
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Input, Integrator, Linear, Neuron, Output
from neurocompile.program import Program, load_program
from neurocompile.simulator.execution import IntegerExecutor
from tests.backends.onnx.against import of_drawn
from tests.cli.helpers import done, refused, says
from tests.random_networks.engine import random_integer_network
from tests.random_networks.graphs import arithmetic_of, whole_neuron
from tests.test_hosted import given, in_torch_layout, mixed

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "chip"
    done("export", CHECKPOINTS / "digits.pt", "--emit", "onnx", "--onnx-reals", "--no-validate", "-o", out)
    return out


def test_the_checker_takes_them_and_they_are_of_opset_21(exported: Path) -> None:
    names = {"scan.onnx", "step.onnx", "reals-scan.onnx", "reals-step.onnx"}
    assert {file.name for file in (exported / "onnx").iterdir()} == names
    for name in names:
        model = onnx.load(exported / "onnx" / name)
        onnx.checker.check_model(model, full_check=True)
        assert {each.domain: each.version for each in model.opset_import} == {"": 21, "neurocompile": 1}
        assert model.ir_version == 10


def test_standard_operators_and_functions_named_after_neurons(exported: Path) -> None:
    model = onnx.load(exported / "onnx" / "step.onnx")
    own = {function.name for function in model.functions}
    calls = [node for node in model.graph.node if node.domain]
    assert {node.op_type for node in calls} == own
    assert [node.name for node in calls] == [
        *(f"neuron{k}.neuron" for k in (1, 2, 3, 4)), "output.integrator.neuron",
    ]  # fmt: skip
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        assert node.domain in ("", "neurocompile")
    given, told = ({each.name for each in side} for side in (model.graph.input, model.graph.output))
    states = {f"neuron{k}.v" for k in (1, 2, 3, 4)} | {"output.integrator.v"}
    assert given == {"x_seq", *states}
    assert told >= {"output", "neuron1", "neuron1.h", *(f"{state}.next" for state in states)}
    batch = {dim.dim_param or dim.dim_value for each in model.graph.input for dim in each.type.tensor_type.shape.dim}
    assert "N" in batch


def test_products_are_of_bytes_with_a_sign(exported: Path) -> None:
    """u8 x s8 is wrong on processors without VNNI: nothing unsigned is in any file."""
    for seed in range(12):
        program, _ = of_drawn(random_integer_network(random.Random(seed), 200, 20_000))
        for content in onnx_files(program).values():
            model = onnx.load_model_from_string(content)
            kinds = {tensor.data_type for tensor in _tensors(model)}
            assert not kinds & {onnx.TensorProto.UINT8, onnx.TensorProto.UINT16, onnx.TensorProto.UINT32}
            assert not any(node.op_type in ("Conv", "MatMul") for node in _nodes(model.graph))


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.node:
        found.append(node)
        found += [inner for each in node.attribute for inner in (_nodes(each.g) if each.HasField("g") else [])]
    return found


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    bodies = [each.g for node in model.graph.node for each in node.attribute if each.HasField("g")]
    return [tensor for graph in (model.graph, *bodies) for tensor in graph.initializer]


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_wide_weights_are_the_sum_of_their_bytes(bits: int) -> None:
    numbers = np.random.default_rng(bits)
    end = 1 << (bits - 1)
    weight = np.concatenate([numbers.integers(-end, end, 500), [-end, end - 1, 0, 127, -128]])
    parts = bytes_of(weight)
    assert all(part.dtype == np.int8 for part in parts)
    assert len(parts) == (1 if bits == 8 else 3 if bits == 16 else 2)  # 32,767 is 128 * 256 - 1: no byte
    np.testing.assert_array_equal(sum(256**k * part.astype(int) for k, part in enumerate(parts)), weight)


def test_what_a_reader_is_told(exported: Path) -> None:
    program = load_program(exported)
    model = onnx.load(exported / "onnx" / "scan.onnx")
    told = {each.key.removeprefix("neurocompile."): each.value for each in model.metadata_props}
    assert told["version"] == neurocompile.__version__
    assert (told["target"], told["timesteps"], told["weight_bits"]) == ("generic", "4", "8")
    assert json.loads(told["inputs"])["x_seq"]["unit"] == program.inputs["x_seq"].unit
    assert told["arrays_sha256"] == json.loads((exported / "program.json").read_text())["sha256"]["arrays.npz"]
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    docs = {node.name: node.doc_string for node in scan.attribute[0].g.node if node.domain}
    assert "spikes = h >= threshold" in docs["neuron1.neuron"]
    assert "one step of v is" in docs["neuron1.neuron"]
    assert all("rounded to the nearest" in function.doc_string for function in model.functions)
    assert "generic" in model.doc_string


def test_the_same_bytes_each_time(exported: Path) -> None:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    for name, content in onnx_files(program, Wanted(onnx_reals=True)).items():
        assert (exported / "onnx" / name).read_bytes() == content


def test_ten_lines_run_it_alone(exported: Path, tmp_path: Path) -> None:
    """The lines of docs/onnx.md, in a process that cannot import this package."""
    page = (Path(neurocompile.__file__).parents[1] / "docs" / "onnx.md").read_text()
    lines = page.split("```python\n", 1)[1].split("```", 1)[0]
    done("demo", "--write-data", tmp_path / "digits.npz")
    blocked = "import sys; sys.modules['neurocompile'] = None\n"
    (tmp_path / "chip").symlink_to(exported)
    ran = subprocess.run(
        [sys.executable, "-c", blocked + lines], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    with np.load(tmp_path / "digits.npz") as data:
        known = neurocompile.simulate(load_program(exported), data["x"][:100], data["y"][:100])
    assert ran.stdout.split() == [f"{known.accuracy:.2%}", str(int(known.spikes["neuron1"].sum()))]


def test_float32_is_told_where_it_would_not_be_exact() -> None:
    """A layer whose partial sums can pass 2**24 stays in integers, and equal."""
    weight = np.full((2, 600), 127)
    events = Input((600,), "real", 1.0, -128, 255)
    nodes = [
        Node("x", events),
        Node("fc", Linear(weight), ("x",)),
        Node("n", whole_neuron(8_000_000, 1 << 16), ("fc",)),
        Node("small", Linear(np.array([[3, -5]])), ("n",)),
        Node("out", Integrator(*(np.asarray(k) for k in (1 << 16, 1, 0))), ("small",)),
        Node("output", Output("sum"), ("out",)),
    ]
    program = Program("generic", arithmetic_of(), 3, Graph(nodes), Graph(nodes), {})
    told: list[str] = []
    files = onnx_files(program, Wanted(onnx_arithmetic="float32", tell=told.append))
    assert told == ["ONNX: fc stays in integers: its partial sums can reach 19,431,000, and float32 is exact up to"
                    " 16,777,216 only"]  # fmt: skip
    model = onnx.load_model_from_string(files["step.onnx"])
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert kinds["fc.matmul"] == "MatMulInteger"
    assert kinds["small.sum"] == "MatMul"
    x = {"x": np.random.default_rng(0).integers(-128, 256, (4, 3, 600)).astype(float)}
    x["x"][0] = 255
    wanted = IntegerExecutor(program, reference=True).run(x)
    (output, spikes) = onnxruntime.InferenceSession(files["scan.onnx"]).run(["output", "n"], x)
    np.testing.assert_array_equal(spikes, wanted.spikes["n"])
    np.testing.assert_array_equal(output, wanted.outputs["output"])
    assert wanted.spikes["n"].any()


def test_everything_that_cannot_be_said_is_refused_at_once() -> None:
    drawn = random_integer_network(random.Random(1), 200, 20_000)
    program, _ = of_drawn(drawn)
    without = {
        node.name: replace(node, op=replace(node.op, low=-np.inf))  # type: ignore[type-var]
        for node in program.integer.of(Input)
    }
    with pytest.raises(DoesNotFit) as error:
        onnx_files(replace(program, integer=program.integer.rewritten(without)))
    assert [problem.where for problem in error.value.problems] == list(without)


def test_what_a_host_computes_stands_in_the_same_file(tmp_path: Path) -> None:
    neurocompile.save(mixed(), tmp_path / "m.pt", in_torch_layout(given()), layout="TN")
    said: list[str] = []
    program = neurocompile.compile(tmp_path / "m.pt")
    files = emitted_files(program, ["onnx"], Wanted(tell=said.append))
    assert list(files) == ["onnx/scan.onnx"]
    assert said == ["ONNX: there is no step.onnx, as the host computes mix, generate, sigmoid of all steps at once"]
    names = {node.name for node in _nodes(onnx.load_model_from_string(files["onnx/scan.onnx"]).graph)}
    assert any(name.startswith("mix/") for name in names)
    with pytest.raises(DoesNotFit, match="such a bundle has no host"):
        emitted_files(program, ["onnx", "nir"])


def test_choices_belong_to_those_who_have_them(tmp_path: Path) -> None:
    model = CHECKPOINTS / "digits.pt"
    (error,) = refused(2, "export", model, "--onnx-arithmetic", "float32", "--emit", "nir", "-o", tmp_path / "a")
    says(error, what="only --emit onnx", where="--onnx-arithmetic")
    (error,) = refused(2, "export", model, "--integers", "--emit", "onnx", "-o", tmp_path / "a")
    says(error, what="only --emit nir", where="--integers")
    with pytest.raises(UsageError):
        neurocompile.export(model, tmp_path / "a", onnx_reals=True)


def test_steps_by_hand_are_what_the_scan_does(exported: Path) -> None:
    """States that are handed on by the caller, from zeros."""
    program = load_program(exported)
    data = program.example_data()
    assert data is not None
    x = data.part(0, 5).inputs["x_seq"].astype(float)
    scan = onnxruntime.InferenceSession(exported / "onnx" / "scan.onnx")
    step = onnxruntime.InferenceSession(exported / "onnx" / "step.onnx")
    (spikes,) = scan.run(["neuron4"], {"x_seq": x})
    states: dict[str, Any] = {}
    for each in step.get_inputs():
        if each.name != "x_seq":
            dtype = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}[each.type]
            first = program.integer[each.name.rpartition(".")[0]].op
            v_init = first.v_init if isinstance(first, Neuron) else 0
            states[each.name] = np.broadcast_to(v_init, (5, *each.shape[1:])).astype(dtype)
    for t in range(4):
        names = ["neuron4", *(f"{name}.next" for name in states)]
        fired, *after = step.run(names, {"x_seq": x[:, t], **states})
        np.testing.assert_array_equal(fired, spikes[:, t])
        states = dict(zip(states, after))
    assert spikes.any()
