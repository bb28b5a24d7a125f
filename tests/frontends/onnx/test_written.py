"""Plain networks as people write them, in the words that torch's exporters have for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from neurocompile.backends.onnx.executor import session_of
from neurocompile.errors import BadInput, UnsupportedModel
from neurocompile.frontends import load_model
from neurocompile.ir import interpret
from neurocompile.ir.ops import Conv, Linear, SumPool, Upsample

SHAPE = (2, 8, 8)


class Written(nn.Module):
    """A forward, and the layers that it calls."""

    def __init__(self, forward: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.written, self.layers = forward, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.written(x, *self.layers)


def conv(channels: int = 4, **settings: Any) -> nn.Module:
    return nn.Conv2d(2, channels, 3, **settings)


def normalized() -> nn.Module:
    norm = nn.BatchNorm2d(2, eps=0.01)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(norm, nn.MaxPool2d(2))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "normalized": normalized,
    "view": lambda: Written(lambda x, fc: fc(x.view(x.size(0), -1)), nn.Linear(128, 5)),
    "reshape": lambda: Written(lambda x, fc: fc(x.reshape(-1, 128)), nn.Linear(128, 5)),
    "flatten the image alone": lambda: nn.Sequential(conv(), nn.Flatten(2), nn.Conv1d(4, 3, 3)),
    "pad": lambda: Written(lambda x, c: c(F.pad(x, (1, 2, 0, 1))), conv()),
    "padding same": lambda: nn.Conv2d(2, 4, (3, 4), padding="same"),
    "average of what is inside": lambda: nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "largest of all": lambda: nn.Sequential(conv(), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "upsample": lambda: nn.Sequential(conv(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 2, 3)),
    "interpolate to a size": lambda: Written(lambda x, c: F.interpolate(c(x), size=(12, 18)), conv()),
    "chunks": lambda: Written(lambda x, c: torch.cat(c(x).chunk(2, 1)[::-1], 1), conv()),
    "some channels": lambda: Written(lambda x, c: c(x)[:, 1:3], conv()),
    "one channel": lambda: Written(lambda x, c: c(x)[:, 1], conv()),
    "crop": lambda: Written(lambda x, c: c(x[:, :, 1:-1, 2:]), conv()),
    "flip": lambda: Written(lambda x, c: c(x.flip(3)), conv()),
    "roll": lambda: Written(lambda x, c: c(x).roll(1, 1), conv()),
    "channels last": lambda: Written(
        lambda x, c, fc: fc(c(x).permute(0, 2, 3, 1).flatten(1)), conv(), nn.Linear(144, 3)
    ),
    "shuffled channels": lambda: Written(
        lambda x, c: c(x).view(x.shape[0], 2, 2, 6, 6).transpose(1, 2).reshape(x.shape[0], 4, 6, 6), conv()
    ),
    "pixels from channels": lambda: nn.Sequential(conv(), nn.PixelShuffle(2)),
    "means, squeezed": lambda: Written(lambda x, c: c(x).mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1), conv()),
    "unsqueezed": lambda: Written(lambda x, c: c(x.flatten(1).unsqueeze(1)), nn.Conv1d(1, 3, 5)),
    "a difference": lambda: Written(lambda x, c, d: -c(x) - d(x), conv(), conv()),
    "whitened": lambda: Written(lambda x, c: c((x - 0.1) / torch.tensor([0.3, 0.4]).view(1, 2, 1, 1)), conv()),
}  # fmt: skip


_WRITER: dict[str, Any] = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}}


def _exported(name: str, path: Path, **how: Any) -> nn.Module:
    torch.manual_seed(0)
    net = NETWORKS[name]().double().eval()
    torch.onnx.export(net, (torch.rand(3, *SHAPE, dtype=torch.float64),), str(path), **how)
    return net


def _same(net: nn.Module, path: Path, off: float = 1e-9) -> None:
    model = load_model(path)
    (given,) = model.input_shapes
    x = np.random.default_rng(1).normal(size=(5, 1, *SHAPE))
    wanted = net(torch.from_numpy(x[:, 0])).detach().numpy()
    found = interpret(model.graph, {given: x}, 1).outputs["output"]
    np.testing.assert_allclose(found, wanted, atol=off)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("opset", [11, 17])
def test_what_torch_wrote_is_what_it_computes(opset: int, name: str, tmp_path: Path) -> None:
    _same(_exported(name, tmp_path / "n.onnx", **_WRITER, opset_version=opset), tmp_path / "n.onnx")


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("name", ["normalized", "view", "upsample", "chunks"])
def test_what_older_versions_wrote(name: str, opset: int, tmp_path: Path) -> None:
    """Before opset 14 a BatchNormalization did not say whether it trains; the evaluator thinks that it does."""
    _same(_exported(name, tmp_path / "n.onnx", **_WRITER, opset_version=opset), tmp_path / "n.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_what_torch_export_wrote(name: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False}
    net = _exported(name, tmp_path / "n.onnx", **how, dynamic_shapes=({0: torch.export.Dim("batch")},))
    _same(net, tmp_path / "n.onnx", off=1e-7)  # it writes some numbers of a float64 network in float32


# -- nodes that torch does not write -----------------------------------------------------------------------------------


def _file(tmp_path: Path, *nodes: onnx.NodeProto, shape: tuple[Any, ...], opset: int = 21, **constants: Any) -> Path:
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    told = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", given, told, weights)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0])
    model.graph.output[0].type.tensor_type.shape.SetInParent()  # where it follows from nothing
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "n.onnx"


def _same_as_onnxruntime(path: Path, *shape: int) -> Any:
    model = load_model(path)
    x = np.random.default_rng(0).normal(size=(3, 1, *shape))
    told = session_of(path.read_bytes()).run(None, {"x": x[:, 0].astype(np.float32)})[0]
    np.testing.assert_allclose(interpret(model.graph, {"x": x}, 1).outputs["output"], told, rtol=1e-4, atol=1e-4)
    return model.graph


@pytest.mark.parametrize("where", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_in_words(where: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 4)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", auto_pad=where, strides=[2, 3])
    graph = _same_as_onnxruntime(_file(tmp_path, node, shape=("N", 2, 7, 9), w=weight), 2, 7, 9)
    assert any(isinstance(each.op, Conv) for each in graph)
    pool = helper.make_node("AveragePool", ["x"], ["y"], "pool", auto_pad=where, kernel_shape=[3, 2], strides=[2, 2])
    _same_as_onnxruntime(_file(tmp_path, pool, shape=("N", 2, 7, 9)), 2, 7, 9)


@pytest.mark.parametrize(
    ("how", "places"),
    [({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, ["x", "", "s"]),
     ({}, ["x", "", "s"]), ({"nearest_mode": "round_prefer_ceil"}, ["x", "", "s"]), ({}, ["x", "", "", "sizes"])],
)  # fmt: skip
def test_the_nearest_pixel(how: dict[str, Any], places: list[str], tmp_path: Path) -> None:
    constants = {"s": np.array([1, 1, 2, 3], np.float32), "sizes": np.array([1, 2, 8, 15])}
    node = helper.make_node("Resize", places, ["y"], "up", mode="nearest", **how)
    path = _file(tmp_path, node, shape=(1 if "sizes" in places else "N", 2, 4, 5), **constants)
    model = load_model(path)
    (up,) = model.graph.of(Upsample)
    assert up.op.factors == (2, 3)
    x = np.random.default_rng(0).normal(size=(1, 1, 2, 4, 5))
    told = session_of(path.read_bytes()).run(None, {"x": x[:, 0].astype(np.float32)})[0]
    np.testing.assert_allclose(interpret(model.graph, {"x": x}, 1).outputs["output"], told, rtol=1e-6)


@pytest.mark.parametrize(
    ("how", "scales", "said"),
    [({"mode": "linear"}, [1, 1, 2, 2], "linear"), ({"mode": "nearest"}, [1, 1, 1.5, 2], "whole numbers"),
     ({"mode": "nearest"}, [1, 2, 1, 1], "1 for batch and channels"),
     ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}, [1, 1, 2, 2], "asymmetric"),
     ({"mode": "nearest", "nearest_mode": "ceil"}, [1, 1, 2, 2], "half_pixel, ceil"),
     ({"mode": "nearest", "coordinate_transformation_mode": "align_corners"}, [1, 1, 2, 2], "align_corners")],
)  # fmt: skip
def test_other_sizes_are_named(how: dict[str, Any], scales: list[float], said: str, tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], "up", **how)
    path = _file(tmp_path, node, shape=("N", 2, 4, 4), s=np.asarray(scales, np.float32))
    with pytest.raises(UnsupportedModel, match=f"Resize: .*{said}"):
        load_model(path)


def test_sizes_are_computed_of_sizes(tmp_path: Path) -> None:
    """``x.view(N, C * 2, -1)``, word by word; and in an opset in which axes are attributes."""
    for opset in (11, 21):
        nodes = [
            helper.make_node("Shape", ["x"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "zero"], ["batch"], axis=0),
            helper.make_node("Gather", ["sizes", "one"], ["channels"], axis=0),
            helper.make_node("Mul", ["channels", "two"], ["more"]),
            *(
                helper.make_node("Unsqueeze", [name], [f"{name}.1"], axes=[0])
                if opset < 13
                else helper.make_node("Unsqueeze", [name, "axes"], [f"{name}.1"])
                for name in ("batch", "more")
            ),
            helper.make_node("Concat", ["batch.1", "more.1", "rest"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"], "view"),
        ]
        constants = {"zero": 0, "one": 1, "two": 2, "axes": [0], "rest": [-1]}
        path = _file(tmp_path, *nodes, shape=("N", 3, 4), opset=opset, **constants)
        _same_as_onnxruntime(path, 3, 4)


def test_constants_that_are_computed_have_64_bits(tmp_path: Path) -> None:
    """A third is another number in float32, and the file is run in float64."""
    nodes = [
        helper.make_node("Constant", [], ["three"], value_floats=[3.0, 7.0, 11.0]),
        helper.make_node("Cast", ["one"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "three"], ["third"]),
        helper.make_node("Mul", ["x", "third"], ["y"]),
    ]
    _same_as_onnxruntime(_file(tmp_path, *nodes, shape=("N", 3), one=1), 3)


def test_numbers_that_are_moved_one_by_one_are_stored_ones(tmp_path: Path) -> None:
    node = helper.make_node("Transpose", ["x"], ["y"], "turned", perm=[0, 2, 1])
    graph = _same_as_onnxruntime(_file(tmp_path, node, shape=("N", 3, 4)), 3, 4)
    (moved,) = graph.of(Linear)
    assert moved.op.stored is not None
    assert moved.op.stored.sum() == 12
    channels = helper.make_node("Slice", ["x", "from", "to", "axes"], ["y"], "two")
    constants = {"from": [1], "to": [3], "axes": [1]}
    graph = _same_as_onnxruntime(_file(tmp_path, channels, shape=("N", 3, 4), **constants), 3, 4)
    (one,) = graph.of(Conv)
    assert one.op.weight.shape == (2, 3, 1)
    padded = helper.make_node("Pad", ["x", "pads"], ["y"], "around")
    graph = _same_as_onnxruntime(_file(tmp_path, padded, shape=("N", 3, 4), pads=[0, 0, 1, 0, 0, 2]), 3, 4)
    (around,) = graph.of(SumPool)
    assert (around.op.kernel, around.op.padding) == ((1,), ((1, 2),))


def test_a_batch_that_is_written_as_one(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "to"], ["y"], "view")
    with pytest.raises(UnsupportedModel, match="batch as its first axis"):
        load_model(_file(tmp_path, node, shape=("N", 3, 4), to=[1, -1]))
    model = load_model(_file(tmp_path, node, shape=(1, 3, 4), to=[1, -1]))  # a file for one sample at a time
    assert model.graph.edges["output"].shape == (12,)


def test_two_versions_of_the_same_operators(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model = onnx.load(_file(tmp_path, node, shape=("N", 3)))
    model.opset_import.append(helper.make_opsetid("", 13))
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="two versions"):
        load_model(tmp_path / "n.onnx")


@pytest.mark.parametrize(
    ("kind", "attributes", "more", "said"),
    [("Transpose", {"perm": [1, 0, 2]}, {}, "from one sample to another"),
     ("Slice", {}, {"from": [0], "to": [1], "axes": [0]}, "from one sample to another"),
     ("Gather", {"axis": 0}, {"which": [1, 0]}, "from one sample to another"),
     ("Pad", {"mode": "reflect"}, {"pads": [0, 0, 1, 0, 0, 1]}, "something else than zeros"),
     ("Pad", {}, {"pads": [0, 1, 0, 0, 0, 0]}, "behind the channels"),
     ("Unsqueeze", {}, {"axes": [0]}, "the batch among them"), ("Squeeze", {}, {"axes": [2]}, "is not 1"),
     ("Squeeze", {}, {}, "no axes"), ("Cast", {"to": TensorProto.INT32}, {}, "rounds"),
     ("Expand", {}, {"to": [1, 3, 4]}, "no such operation")],
)  # fmt: skip
def test_what_a_graph_cannot_say_is_named(
    kind: str, attributes: dict[str, Any], more: dict[str, list[int]], said: str, tmp_path: Path
) -> None:
    node = helper.make_node(kind, ["x", *more], ["y"], "here", **attributes)
    with pytest.raises(UnsupportedModel, match=f"{kind}: .*{said}"):
        load_model(_file(tmp_path, node, shape=("N", 3, 4), **more))
