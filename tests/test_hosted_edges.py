"""Host regions where names, shapes and calls coincide, where numbers are none, and in files that nobody wrote."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import BadInput, ToolFailed, UnsupportedModel, UsageError
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.hosted import run_graph
from neurocompile.hosted.session import HostSession
from neurocompile.ir.host import HostRead, HostRegion
from neurocompile.program import Program, load_program
from neurocompile.program.plain import digest_of
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.vocabulary.feedback import Feedback

STEPS = 4


def given(count: int = 12, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((count, STEPS, 5))


def in_time(x: Any) -> Tensor:
    return torch.from_numpy(x).transpose(0, 1)


def fc(inputs: int, outputs: int, mode: str = "m") -> nn.Module:
    made = layer.Linear(inputs, outputs, step_mode=mode)
    nn.init.normal_(made.weight, std=2.5 / inputs**0.5)
    nn.init.uniform_(made.bias, -0.2, 0.4)
    return made


def spikes(mode: str = "m") -> nn.Module:
    return neuron.IFNode(v_threshold=0.7, step_mode=mode)


def in_float64(net: nn.Module) -> nn.Module:
    again = copy.deepcopy(net).double()
    functional.reset_net(again)
    return again


def lowered(net: nn.Module, *shapes: tuple[int, ...]) -> TorchModel:
    net.eval().requires_grad_(False)
    named = {str(k): shape for k, shape in enumerate(shapes)} if shapes else (5,)
    return TorchModel.from_module(net, named, STEPS, "TN")


def exact(program: Program, inputs: Any, reference: Any, **options: Any) -> None:
    stage = neurocompile.validate(program, inputs, reference=reference, **options).stages[0]
    assert stage.passed, (stage.reason, stage.first_divergence)
    assert all(0.02 < rate < 0.95 for rate in stage.firing_rates.values()), stage.firing_rates


@neurocompile.host
class Bend(nn.Module):
    """Numbers that float32 does not have: they must not become float32 on their way."""

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.linspace(0.1, 0.7, x.shape[-1], dtype=x.dtype)
        return 1.9 * torch.sigmoid(3 * x - levels) - 0.7


@neurocompile.host
class Both(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(1.3 * a - b.flip(-1))


@neurocompile.host
class Mean(nn.Module):
    def forward(self, x_seq: Tensor) -> Tensor:
        return x_seq.mean(0) * 1.5 - 0.3


# -- names and calls ---------------------------------------------------------------------------------------------------


class Twice(nn.Module):
    """One module called for two shapes; a function's region that has the name of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.if1 = fc(5, 6), spikes()
        self.fc2, self.if2 = fc(6, 4), spikes()
        self.fc3, self.if3 = fc(4, 3), spikes()
        self.tanh = Bend()

    def forward(self, x_seq: Tensor) -> Tensor:
        first = self.if1(self.fc1(torch.tanh(x_seq)))
        second = self.if2(self.fc2(self.tanh(first)))
        result: Tensor = self.if3(self.fc3(self.tanh(second))).mean(0)
        return result


class Named(nn.Module):
    """A region that has the name of the input, one that has the name of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.if1 = fc(5, 6), spikes()
        self.fc2, self.if2 = fc(6, 4), spikes()
        self.fc3, self.if3 = fc(4, 4), spikes()
        self.gate, self.output = Bend(), Bend()

    def forward(self, gate: Tensor) -> Tensor:
        first = self.if1(self.fc1(gate))
        second = self.if2(self.fc2(self.gate(first)))
        result: Tensor = self.if3(self.fc3(self.output(second))).mean(0)
        return result


@pytest.mark.parametrize("kind", [Twice, Named])
def test_a_saved_region_is_that_of_its_call(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, x = kind().eval(), given()
    neurocompile.save(net, tmp_path / "m.pt", in_time(x), layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    exact(program, x, net, layout="TN")
    exact(program, x, tmp_path / "m.pt")
    live = neurocompile.compile(lowered(net), calibrate=x)
    assert str(live.integer) == str(program.integer)
    assert {region.precision for region in live.integer.hosts.values()} == {"float64"}


class Inputs(nn.Module):
    """Its first input is read by the host alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.if1, self.both = fc(5, 5), spikes(), Both()
        self.fc2, self.if2 = fc(5, 4), spikes()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = self.if2(self.fc2(self.both(a, self.if1(self.fc1(b))))).mean(0)
        return result


def test_inputs_go_by_their_names(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, a, b = Inputs().eval(), given(seed=1), given(seed=2)
    neurocompile.save(net, tmp_path / "m.pt", {"b": in_time(b), "a": in_time(a)}, layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    assert np.array_equal(program.example["a"], a)
    for inputs in ({"a": a, "b": b}, {"b": b, "a": a}):
        exact(program, inputs, tmp_path / "m.pt")
        exact(program, inputs, net, layout="TN")
        with torch.no_grad():
            expected = in_float64(net)(in_time(a), in_time(b)).numpy()
        assert np.allclose(neurocompile.simulate(program, inputs, real=True).outputs["output"], expected)


class Around(nn.Module):
    """A part behind spikes, and spikes behind the part, or nothing."""

    def __init__(self, part: Any, behind: bool = True) -> None:
        super().__init__()
        self.fc1, self.if1, self.part = fc(5, 6), spikes(), part
        self.fc2, self.if2 = fc(6, 4), spikes()
        self.behind = behind

    def forward(self, x_seq: Tensor) -> Any:
        y = self.part(self.if1(self.fc1(x_seq)))
        return self.if2(self.fc2(y)).mean(0) if self.behind else y


class Called(nn.Module):
    """What is no module of its own: a function is traced."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


TABLE = torch.from_numpy(np.random.default_rng(0).random((6, 6)))


@pytest.mark.parametrize("read", ["sum", "mean", "last"])
def test_what_is_read_of_a_region_is_not_quantized(read: str) -> None:
    torch.manual_seed(1)
    taken = {"sum": lambda y: y.sum(0), "mean": lambda y: y.mean(0), "last": lambda y: y[-1]}[read]
    net, x = Around(Called(lambda y: taken(torch.tanh(y))), behind=False), given()
    model = lowered(net)
    program = neurocompile.compile(model, calibrate=x)
    (region,) = program.integer.hosts.values()
    assert (region.output, region.read, len(program.inputs)) == ("output", read, 1)
    exact(program, x, model)


def test_indices_are_whole_numbers() -> None:
    torch.manual_seed(1)
    net, x = Around(Called(lambda y: F.embedding(y.argmax(2), TABLE))), given()
    model = lowered(net)
    exact(neurocompile.compile(model, calibrate=x), x, model)
    model = lowered(Around(Called(lambda y: F.embedding(y.sum(0).long(), TABLE)), behind=False))
    exact(neurocompile.compile(model, calibrate=x), x, model)


class OnlyHost(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = Mean()

    def forward(self, x_seq: Tensor) -> Tensor:
        made: Tensor = self.mean(x_seq)
        return made


def test_a_network_of_nothing_but_a_region(tmp_path: Path) -> None:
    x = given()
    neurocompile.compile(lowered(OnlyHost()), calibrate=x).save(tmp_path / "out")
    program = load_program(tmp_path / "out")
    assert np.allclose(neurocompile.simulate(program, x).outputs["output"], x.mean(1) * 1.5 - 0.3, atol=1e-12)
    with pytest.raises(BadInput, match="0 to 4"):
        neurocompile.simulate(program, x, np.full(12, 5))


def test_in_float32_where_there_is_nothing_else() -> None:
    torch.manual_seed(1)
    weights, x = torch.randn(6).double(), given()
    norm = Called(lambda y: F.group_norm(y.flatten(0, 1), 2, weights).unflatten(0, (STEPS, -1)).sum(0))
    model = lowered(Around(norm, behind=False))
    program = neurocompile.compile(model, calibrate=x)
    assert [region.precision for region in program.integer.hosts.values()] == ["float32"]
    stage = neurocompile.validate(program, x, reference=model).stages[0]
    assert stage.passed
    assert 0 < stage.output_error < 1e-5
    assert "float32" in stage.reason


# -- loops -------------------------------------------------------------------------------------------------------------


class Hears(nn.Module):
    """A region that reads what was fed back itself, and no neuron in between; its result has an axis of size one."""

    def __init__(self) -> None:
        super().__init__()
        self.both = Both()

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        made: Tensor = self.both(x, last.flatten(1))
        return made.unsqueeze(1)


class Loops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.if1, self.loop = fc(5, 6), spikes(), Feedback(Hears(), (1, 6))
        self.fc2, self.if2 = fc(6, 6), spikes()

    def forward(self, x_seq: Tensor) -> Tensor:
        first = self.if1(self.fc1(x_seq))
        second = self.if2(self.fc2(self.loop(first).flatten(2)))
        again: Tensor = self.loop(second).flatten(2).mean(0)
        return again


def test_a_loop_that_is_called_twice_and_read_by_its_region(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, x = Loops(), given()
    model = lowered(net)
    exact(neurocompile.compile(model, calibrate=x), x, model)
    with torch.no_grad():
        expected = in_float64(net)(in_time(x)).numpy()
    assert np.allclose(run_graph(model.graph, {"x_seq": x}, STEPS).outputs["output"], expected)
    with pytest.raises(UsageError, match="more than once"):
        neurocompile.save(net, tmp_path / "m.pt", in_time(x), layout="TN")


# -- what is refused ---------------------------------------------------------------------------------------------------


@neurocompile.host
class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


@neurocompile.host
class Counts(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (nn.Softmax(1), "depends on the other"),
        (Draws(), "called again"),
        (Counts(), "called again|second call"),
    ],
)
def test_no_function_of_a_sample(part: nn.Module, says: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"part.*({says})"):
        lowered(Around(part))


@neurocompile.host
class Log(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


@neurocompile.host(carries="spikes")
class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


@pytest.mark.parametrize(("part", "says"), [(Log(), "no number.*-inf"), (Half(), r"no spike.*0\.5")])
def test_the_chip_is_given_numbers_and_spikes(part: nn.Module, says: str) -> None:
    with pytest.raises(BadInput, match=f"part.*{says}"):
        neurocompile.compile(lowered(Around(part)), calibrate=given())


def test_infinite_in_both_is_the_same() -> None:
    model, x = lowered(Around(Log(), behind=False)), given()
    exact(neurocompile.compile(model, calibrate=x), x, model)


def test_a_container_with_a_region(tmp_path: Path) -> None:
    torch.manual_seed(1)
    held, x = layer.MultiStepContainer(fc(5, 5, "s"), neuron.IFNode(), Bend()), given()
    net = nn.Sequential(held, fc(5, 4), spikes()).eval()
    neurocompile.save(net, tmp_path / "m.pt", in_time(x), layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    exact(program, x, tmp_path / "m.pt")
    exact(program, x, net, layout="TN")


def test_an_output_and_a_layer_of_one_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = nn.Sequential(fc(5, 4), spikes(), fc(4, 4), spikes())
            self.output.add_module("2", spikes())

        def forward(self, x_seq: Tensor) -> Any:
            y = self.output[2](self.output[0](x_seq))
            return y.mean(0), y.sum(0)

    with pytest.raises(UnsupportedModel, match=r"output\.2.*called so"):
        lowered(Net())


def test_an_input_without_time_that_changes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bend, self.fc, self.spike = Bend(), fc(5, 4), spikes()

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.spike(self.fc(self.bend(x)).repeat(STEPS, 1, 1)).mean(0)
            return made

    model = TorchModel.from_module(Net().eval(), (5,), STEPS, "N")
    program = neurocompile.compile(model, calibrate=given()[:, 0])
    neurocompile.simulate(program, given()[:, 0])
    with pytest.raises(BadInput, match=r"x.*change over time"):
        neurocompile.simulate(program, given())


def test_a_clipped_input_counts_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.if1, self.bend = fc(5, 6), spikes(), Bend()
            self.fc2, self.if2 = fc(11, 4), spikes()

        def forward(self, x_seq: Tensor) -> Tensor:
            made = self.bend(self.if1(self.fc1(x_seq)))
            result: Tensor = self.if2(self.fc2(torch.cat([made, x_seq], 2))).mean(0)
            return result

    torch.manual_seed(1)
    program, x = neurocompile.compile(lowered(Net()), calibrate=given() / 2), given()
    outside = program.integers_of("x_seq", x)[1]
    assert outside > 0
    assert IntegerExecutor(program).run({"x_seq": x}).clipped == outside


def test_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    program = neurocompile.compile(lowered(OnlyHost()), calibrate=given())
    monkeypatch.setattr("neurocompile.hosted.session.find_spec", lambda name: None)
    with pytest.raises(ToolFailed, match=r"mean.*not installed[\s\S]*pip install"):
        neurocompile.simulate(program, given())
    with pytest.raises((ToolFailed, UnsupportedModel), match="not installed"):
        lowered(OnlyHost())


# -- forged files ------------------------------------------------------------------------------------------------------


def region(nodes: list[Any], weights: Any = (), outputs: tuple[str, ...] = ("y",), kind: Any = None) -> HostRegion:
    kind = kind or TensorProto.DOUBLE
    ends = [helper.make_tensor_value_info("x", kind, ["n", 3])]
    graph = helper.make_graph(
        nodes, "g", ends, [helper.make_tensor_value_info(name, kind, None) for name in outputs], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return HostRegion("r", "Forged", (HostRead("x", "input", (3,), False),), (3,), False, "real",
                      model.SerializeToString())  # fmt: skip


def outside(place: str) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", place), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    return tensor


node = helper.make_node
SEVEN = onnx.numpy_helper.from_array(np.array([7]), "s")


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        (region([node("Add", ["x", "w"], ["y"])], [outside("w.bin")]), "read other files"),
        (region([node("Add", ["x", "w"], ["y"])], [outside("../../../../../etc/passwd")]), "read other files"),
        (region([node("Constant", [], ["c"], value=outside("w.bin")), node("Add", ["x", "c"], ["y"])]), "other files"),
        (region([node("Identity", ["x"], ["y"]), node("Identity", ["x"], ["z"])], outputs=("y", "z")), "outputs.*2"),
        (region([node("Identity", ["x"], ["y"])], kind=TensorProto.INT64), "another type.*int64"),
        (region([node("ReduceSum", ["x"], ["y"], keepdims=0)]), r"another shape.*\[\].*\[2, 3\]"),
        (region([node("Concat", ["x", "x"], ["y"], axis=1)]), r"another shape.*\[2, 6\].*\[2, 3\]"),
        (
            region([node("Reshape", ["x", "s"], ["y"])], [SEVEN]),
            "cannot run",
        ),
    ],
)
def test_forged_onnx(forged: HostRegion, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(24))
    with pytest.raises(BadInput, match=f"r: .*{says}"):
        HostSession(forged, STEPS)([np.ones((2, 3))])


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(1)
    return neurocompile.compile(lowered(Twice()), calibrate=given())


@pytest.mark.parametrize(
    ("of_region", "of_read", "says"),
    [
        ({"precision": "object"}, {}, "precision"),
        ({"shape": [-1]}, {}, "shape"),
        ({"shape": [10**9]}, {}, "no such input"),
        ({"per_step": True, "timed": False}, {}, "per_step"),
        ({"timed": False}, {}, "another shape"),
        ({"more": 1}, {}, "damaged"),
        ({"reads": []}, {}, "reads"),
        ({}, {"kind": "file"}, "kind"),
        ({}, {"source": "tanh.2", "kind": "host"}, "cycle"),
        ({}, {"source": "tanh.2.2", "kind": "host"}, "no such host|cycle"),
    ],
)
def test_forged_regions(program: Program, of_region: Any, of_read: Any, says: str, tmp_path: Path) -> None:
    program.save(tmp_path / "out")
    file = tmp_path / "out" / "program.json"
    body = json.loads(file.read_text())
    body["hosts"][1].update(of_region)
    for read in body["hosts"][1]["reads"]:
        read.update(of_read)
    body["sha256"]["program.json"] = digest_of(body)
    file.write_text(json.dumps(body))
    with pytest.raises(BadInput, match=says):
        neurocompile.simulate(tmp_path / "out", given())


def test_another_region_in_its_place(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "out")
    hosts, file = tmp_path / "out" / "host", tmp_path / "out" / "program.json"
    (hosts / "1.onnx").write_bytes((hosts / "2.onnx").read_bytes())
    body = json.loads(file.read_text())
    body["sha256"]["host/1.onnx"] = hashlib.sha256((hosts / "1.onnx").read_bytes()).hexdigest()
    body["sha256"]["program.json"] = digest_of(body)
    file.write_text(json.dumps(body))
    with pytest.raises(BadInput, match="cannot run this host region"):
        neurocompile.simulate(tmp_path / "out", given())


@pytest.mark.parametrize("inside", [False, True])
def test_a_path_in_a_model_file_is_no_source_code(inside: bool, tmp_path: Path) -> None:
    """Of the first version, whose graphs (also those inside of loops) become source code."""
    content = torch.load(Path(__file__).parent / "data" / "model-v1-loop.pt", weights_only=False)
    part, known = (content["modules"]["2"]["inner"], "spike") if inside else (content, "0")
    forged = f'{known}" if open("{tmp_path / "ran"}", "w") else "{known}'.replace(".", "")
    part["modules"][forged] = part["modules"].pop(known)
    for each in part["nodes"]:
        each["target"] = forged if each["target"] == known else each["target"]
    torch.save(content, tmp_path / "forged.pt")
    with pytest.raises(BadInput, match="never writes; nothing was run"):
        neurocompile.validate(neurocompile.compile(tmp_path / "forged.pt"), given(), reference=tmp_path / "forged.pt")
    assert not (tmp_path / "ran").exists()
