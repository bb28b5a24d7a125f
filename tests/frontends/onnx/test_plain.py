"""Plain networks as .onnx files: they compute what torch does, and what is no operation of a graph is named."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn

import neurocompile
from neurocompile.backends.onnx.executor import session_of
from neurocompile.errors import BadInput, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from neurocompile.frontends.onnx import operations
from neurocompile.ir import interpret
from neurocompile.ir.ops import Conv, Linear, Scale, SumPool
from tests.cli.helpers import done, refused, run

SHAPE = (2, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.Dropout(), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.double().eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "net.onnx"
    args: dict[str, Any] = {"dynamo": False, "input_names": ["image"], "dynamic_axes": {"image": {0: "N"}}}
    torch.onnx.export(network(), (torch.rand(1, *SHAPE, dtype=torch.float64),), str(path), **args)
    return path


def test_it_computes_what_torch_does(file: Path) -> None:
    model = load_model(file)
    x = np.random.default_rng(0).normal(size=(5, 1, *SHAPE))
    wanted = network()(torch.from_numpy(x[:, 0])).detach().numpy()
    np.testing.assert_allclose(model.run({"image": x}).outputs["output"], wanted, atol=1e-9)
    assert {type(node.op) for node in model.graph} >= {Conv, Linear, SumPool}
    program = neurocompile.compile(file, bits=16, calibrate=x)
    np.testing.assert_allclose(neurocompile.simulate(program, x, real=True).outputs["output"], wanted, atol=1e-9)
    whole = neurocompile.simulate(program, x).outputs["output"]
    assert np.abs(whole - wanted).max() < 0.05 * np.abs(wanted).max()


def test_the_commands_take_it(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(6, *SHAPE)))
    done("export", file, "-o", tmp_path / "out", "--calibrate", tmp_path / "x.npz", "--emit", "onnx")
    body = done("validate", tmp_path / "out", "--reference", file, "--data", tmp_path / "x.npz", "--json").json
    lowering = body["stages"][0]
    assert (lowering["passed"], lowering["against"]) == (True, load_model(file).name)
    assert body["stages"][3]["membrane_mismatches"] == 0
    assert body["stages"][3]["membranes_compared"] == 6 * 3
    (error,) = refused(2, "inspect", file, "--layout", "TN")
    assert error["where"] == "--layout"


def made(*nodes: onnx.NodeProto, shape: tuple[Any, ...] = ("N", 4), **constants: np.ndarray) -> onnx.ModelProto:
    given_ = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    told = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", "M"])]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", given_, told, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_all_that_it_does_not_know_is_named_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Tanh", ["a"], ["b"], "hidden"),  # reads what is lost: not told
        helper.make_node("Softmax", ["x"], ["c"], "second"),
        helper.make_node("Flatten", ["x"], ["d"], "third", axis=0),
        helper.make_node("Add", ["b", "c"], ["y"], "sum"),
    ]
    (tmp_path / "m.onnx").write_bytes(made(*nodes).SerializeToString())
    with pytest.raises(UnsupportedModel) as error:
        load_model(tmp_path / "m.onnx")
    assert [problem.where for problem in error.value.problems] == ["first", "second", "third"]
    assert [problem.what.partition(":")[0] for problem in error.value.problems] == ["Relu", "Softmax", "Flatten"]
    assert run("check", tmp_path / "m.onnx", "--target", "generic").code == 3


CASES: dict[str, tuple[tuple[Any, ...], list[tuple[Any, ...]], dict[str, Any]]] = {
    "norm": (("N", 3, 4), [("BatchNormalization", "x scale shift mean var", {"epsilon": 1e-3})],
             {"scale": (3,), "shift": (3,), "mean": (3,), "var": (3,)}),
    "transposed": (("N", 2, 4, 4), [("ConvTranspose", "x w b", {"strides": [2, 2], "pads": [1, 1, 1, 1],
                   "output_padding": [1, 1]})], {"w": (2, 3, 3, 3), "b": (3,)}),
    "matmul": (("N", 4), [("MatMul", "x w", {}), ("Sub", "c v1", {}), ("Mul", "v2 f", {}), ("Div", "v3 d", {})],
               {"w": (4, 3), "c": (3,), "f": (1, 3), "d": ()}),
    "gemm": (("N", 4), [("Gemm", "x w c", {"transB": 1, "alpha": 0.5, "beta": 2.0})], {"w": (3, 4), "c": (3,)}),
    "pools": ((1, 2, 6, 6), [("MaxPool", "x", {"kernel_shape": [2, 2], "strides": [2, 2]}),
              ("AveragePool", "v1", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1}),
              ("GlobalAveragePool", "v2", {})], {}),
    "means": (("N", 3, 4, 6), [("ReduceMean", "x rows", {"keepdims": 1}), ("ReduceSum", "v1 last", {"keepdims": 0}),
              ("ReduceMean", "v2 first", {"keepdims": 0})],
              {"rows": np.array([2]), "last": np.array([-1]), "first": np.array([2])}),
    "a mean of both axes": (("N", 3, 4, 6), [("ReduceMean", "x both", {"keepdims": 0}), ("Mul", "v1 f", {})],
                            {"both": np.array([-1, 2]), "f": (3,)}),
    "shapes": (("N", 2, 6), [("Reshape", "x to", {}), ("Concat", "v1 v1", {"axis": -1}), ("Flatten", "v2", {}),
               ("Add", "v3 v3", {})], {"to": np.array([0, 3, -1])}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_operation_is_what_the_evaluator_has(name: str, tmp_path: Path) -> None:
    """The proof at loading, in float64; and ONNX Runtime, in float32."""
    shape, chain, sizes = CASES[name]
    numbers = np.random.default_rng(0)
    constants = {
        key: size if isinstance(size, np.ndarray) else numbers.uniform(0.5, 2, size).astype(np.float32)
        for key, size in sizes.items()
    }
    nodes = [
        helper.make_node(kind, read.split(), ["y" if k == len(chain) else f"v{k}"], f"n{k}", **attributes)
        for k, (kind, read, attributes) in enumerate(chain, start=1)
    ]
    source = made(*nodes, shape=shape, **constants)
    del source.graph.output[0].type.tensor_type.shape.dim[:]
    source.graph.output[0].type.CopyFrom(onnx.shape_inference.infer_shapes(made_without(source)).graph.output[0].type)
    (tmp_path / "m.onnx").write_bytes(source.SerializeToString())
    model = load_model(tmp_path / "m.onnx", timesteps=2)
    x = numbers.normal(size=(1, 1, *shape[1:])).repeat(2, 1)
    told = session_of(source.SerializeToString()).run(None, {"x": x[:, 0].astype(np.float32)})[0]
    np.testing.assert_allclose(interpret(model.graph, {"x": x}, 2).outputs["output"], told, rtol=1e-4, atol=1e-4)


def made_without(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, without the shape of its output."""
    bare = onnx.ModelProto()
    bare.CopyFrom(source)
    bare.graph.output[0].type.tensor_type.ClearField("shape")
    return bare


def test_inputs_of_unknown_size(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    said = "the shape of this input"
    for shape, what in ((("N", "W"), said), (("N",), said), ((8, 4), "takes 8 samples at a time")):
        (tmp_path / "m.onnx").write_bytes(made(node, shape=shape).SerializeToString())
        with pytest.raises(UnsupportedModel, match=what):
            load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("axes", [None, [0, 2], [1], [5]])
def test_means_over_samples_and_channels_are_named(axes: list[int] | None, tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["x"] if axes is None else ["x", "axes"], ["y"], "mean")
    constants = {} if axes is None else {"axes": np.array(axes)}
    (tmp_path / "m.onnx").write_bytes(made(node, shape=("N", 3, 4), **constants).SerializeToString())
    with pytest.raises(UnsupportedModel, match=r"ReduceMean: it goes over the axes .*those behind the channels"):
        load_model(tmp_path / "m.onnx")


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    model = made(helper.make_node("Add", ["x", "w"], ["y"]), w=np.ones(4, np.float32))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    (tmp_path / "secret").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="other files"):
        load_model(tmp_path / "m.onnx")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model at all")
    with pytest.raises(BadInput, match=r"this is no \.onnx file: it does not begin as a model in ONNX does"):
        load_model(tmp_path / "m.onnx")


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    model = made(helper.make_node("Add", ["x", "w"], ["y"]), w=np.array([1, np.nan, 0, 0], np.float32))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="no number"):
        load_model(tmp_path / "m.onnx")


def test_a_lowering_that_differs_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "Scale", lambda scale, *shift: Scale(scale * 1.001, *shift))
    with pytest.raises(neurocompile.errors.NotTheSame):
        load_model(file)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_refused(file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(bytes(content[: data.draw(st.integers(20, len(content)))]))
    with contextlib.suppress(BadInput, UnsupportedModel, UsageError):
        load_model(path)


# -- found by altered files --------------------------------------------------------------------------------------------


def norm(var: float) -> onnx.ModelProto:
    """A batch norm that says no epsilon."""
    names = ("gamma", "beta", "mean", "var")
    values = {**{name: np.ones(2, np.float32) for name in names}, "var": np.full(2, var, np.float32)}
    return made(helper.make_node("BatchNormalization", ["x", *names], ["y"], "bn"), shape=("N", 2, 3), **values)


def test_an_epsilon_that_is_not_said_is_a_float32(tmp_path: Path) -> None:
    onnx.save(norm(0.0), tmp_path / "n.onnx")
    (scale,) = [node.op for node in load_model(tmp_path / "n.onnx").graph if isinstance(node.op, Scale)]
    assert np.ravel(scale.scale)[0] == 1 / np.sqrt(float(np.float32(1e-5)))


def test_a_variance_below_zero(tmp_path: Path) -> None:
    onnx.save(norm(-1.0), tmp_path / "n.onnx")
    with pytest.raises(UnsupportedModel, match="variance"):
        load_model(tmp_path / "n.onnx")


@pytest.mark.parametrize(("dims", "said"), [([2**40], "holds 12 numbers"), ([-3, -4], "holds 12 numbers"), ([], "12")])
def test_a_weight_that_says_another_shape_than_it_has(dims: list[int], said: str, tmp_path: Path) -> None:
    model = made(helper.make_node("MatMul", ["x", "w"], ["y"]), w=np.ones((4, 3), np.float32))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=f"ONNX model|{said}"):
        load_model(tmp_path / "w.onnx")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"pads": [1]}, "pads"), ({"strides": [0, 1]}, "strides"), ({"dilations": [1, 1, 1]}, "dilations"),
     ({"kernel_shape": [2, 2]}, "kernel"), ({"pads": [2**20] * 4}, "numbers a sample")],
)  # fmt: skip
def test_attributes_that_cannot_be(attributes: dict[str, Any], said: str, tmp_path: Path) -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv", **attributes)
    model = made(conv, shape=("N", 1, 5, 5), w=np.ones((2, 1, 3, 3), np.float32))
    (tmp_path / "c.onnx").write_bytes(model.SerializeToString())
    with pytest.raises((UnsupportedModel, BadInput), match=said):
        load_model(tmp_path / "c.onnx")


def test_numbers_for_other_channels(tmp_path: Path) -> None:
    names = ("gamma", "beta", "mean", "var")
    node = helper.make_node("BatchNormalization", ["x", *names], ["y"], "bn")
    onnx.save(made(node, shape=("N", 3, 2), **{name: np.ones(4, np.float32) for name in names}), tmp_path / "n.onnx")
    with pytest.raises((UnsupportedModel, BadInput), match="channels"):
        load_model(tmp_path / "n.onnx")
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")
    weights = {"w": np.ones((2, 1, 3, 3), np.float32), "b": np.ones(5, np.float32)}
    onnx.save(made(conv, shape=("N", 1, 5, 5), **weights), tmp_path / "c.onnx")
    with pytest.raises((UnsupportedModel, BadInput), match="bias"):
        load_model(tmp_path / "c.onnx")


def test_a_network_of_values_that_are_none(tmp_path: Path) -> None:
    """Weights of which each is a number, and no sum is."""
    most = np.full((4, 3), 1.7e308)
    onnx.save(made(helper.make_node("MatMul", ["x", "w"], ["y"]), w=most), tmp_path / "m.onnx")
    with pytest.raises(BadInput, match="infinite"):
        load_model(tmp_path / "m.onnx")


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    model = made(helper.make_node("MatMul", ["x", "weight"], ["y"]), weight=np.ones((4, 3), np.float32))
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString().replace(b"weight", b"w\xff\xfeght"))
    with pytest.raises(BadInput):
        load_model(tmp_path / "n.onnx")
