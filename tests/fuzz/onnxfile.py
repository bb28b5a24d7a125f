"""How an .onnx file is altered: numbers, shapes, types, operators, attributes, names, links to elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["altered_onnx", "network"]

_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, np.nan, np.inf, -np.inf, 3.0)
_WHOLE = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 1000, 2**20, 2**31, 2**40, 2**63 - 1)
_WORDS = (
    "", "x", "y", "c", "w", "Relu", "Conv", "ConvTranspose", "Gemm", "MatMul", "Reshape", "Expand", "Tile", "Loop",
    "If", "Scan", "Concat", "Dropout", "AveragePool", "MaxPool", "BatchNormalization", "Constant", "ConstantOfShape",
    "Range", "ai.onnx", "com.microsoft", "../x", "\x1b[31m", "[bold]x[/]", "é\u202e", "a" * 3000,
)  # fmt: skip


def network(rank: int) -> bytes:
    """A plain network without neurons: of an image (2), of a row (1), or of numbers (0)."""
    r = np.random.default_rng(rank)
    weights: dict[str, Any] = {}

    def weight(name: str, *shape: int) -> str:
        weights[name] = r.normal(size=shape).astype(np.float32)
        return name

    size = (6,) * rank
    if rank:
        kernel = (3,) * rank
        norm = [weight(name, 4) for name in ("s", "o", "m")]
        nodes = [
            helper.make_node("Conv", ["x", weight("w", 4, 2, *kernel), weight("b", 4)], ["c"], pads=[1] * 2 * rank),
            helper.make_node("BatchNormalization", ["c", *norm, "v"], ["n"], "bn"),
            helper.make_node("AveragePool", ["n"], ["p"], "pool", kernel_shape=[2] * rank, strides=[2] * rank),
            helper.make_node("ConvTranspose", ["p", weight("t", 4, 3, *kernel)], ["u"], "up", strides=[2] * rank),
            helper.make_node("Add", ["u", "u"], ["a"], "add"),
            helper.make_node("Flatten", ["a"], ["f"], "flat"),
            helper.make_node("Gemm", ["f", weight("g", 5, 3 * 7**rank), weight("h", 5)], ["y"], "fc", transB=1),
        ]  # fmt: skip
        weights["v"] = np.ones(4, np.float32)
        shape = (2, *size)
    else:
        nodes = [
            helper.make_node("MatMul", ["x", weight("w", 4, 6)], ["c"], "one"),
            helper.make_node("Mul", ["c", weight("s", 6)], ["n"], "scale"),
            helper.make_node("Reshape", ["n", "to"], ["q"], "shape"),
            helper.make_node("Concat", ["q", "q"], ["f"], "twice", axis=1),
            helper.make_node("Flatten", ["f"], ["g"], "flat"),
            helper.make_node("MatMul", ["g", weight("h", 12, 5)], ["y"], "two"),
        ]
        weights["to"] = np.array([0, 2, 3], np.int64)
        shape = (4,)
    return _file(nodes, shape, weights)


def written() -> bytes:
    """A network of an image in the words of exporters: sizes that are computed, parts of values, zeros around them."""
    r = np.random.default_rng(3)
    weights = {
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "w": r.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "from": np.array([1]), "to": np.array([3]), "axes": np.array([1]), "scales": np.array([1, 1, 2, 2], np.float32),
        "zero": np.array(0), "at": np.array([0]), "rest": np.array([-1]), "half": np.array([64, 64]),
        "g": r.normal(size=(5, 64)).astype(np.float32), "shape": np.array([1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], "pad"),
        helper.make_node("Conv", ["p", "w"], ["c"], "conv", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Slice", ["c", "from", "to", "axes"], ["s"], "slice"),
        helper.make_node("Resize", ["s", "", "scales"], ["u"], "up", mode="nearest"),
        helper.make_node("Transpose", ["u"], ["t"], "turn", perm=[0, 2, 3, 1]),
        helper.make_node("Shape", ["t"], ["sizes"], "sizes"),
        helper.make_node("Gather", ["sizes", "zero"], ["n"], "samples"),
        helper.make_node("Unsqueeze", ["n", "at"], ["m"], "one"),
        helper.make_node("Concat", ["m", "rest"], ["all"], "both", axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["nothing"], "nothing"),
        helper.make_node("Reshape", ["t", "all"], ["f"], "view"),
        helper.make_node("Split", ["f", "half"], ["a", "b"], "halves", axis=1),
        helper.make_node("Sub", ["a", "b"], ["d"], "difference"),
        helper.make_node("Add", ["d", "nothing"], ["e"], "more"),
        helper.make_node("Gemm", ["e", "g"], ["y"], "fc", transB=1),
    ]
    return _file(nodes, (2, 8, 7), weights)


def _file(nodes: list[onnx.NodeProto], shape: tuple[int, ...], weights: dict[str, Any]) -> bytes:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", [given], [told], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def altered_onnx(content: bytes, draw: random.Random) -> bytes:
    """The same file with one thing in it, or a few, otherwise; protobuf writes what stays legal protobuf."""
    model = onnx.load_model_from_string(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        way = draw.choice(_WAYS)
        try:
            way(model, draw)
        except (LookupError, ValueError, TypeError, OverflowError, StopIteration):
            continue  # such a change cannot be had here
    return bytes(model.SerializeToString())


def _number(model: onnx.ModelProto, draw: random.Random) -> None:
    """One number of a weight, or all."""
    tensor = draw.choice([each for each in model.graph.initializer if not each.external_data])
    value = numpy_helper.to_array(tensor).copy()
    value.reshape(-1)[slice(None) if draw.random() < 0.4 else draw.randrange(max(value.size, 1))] = draw.choice(
        _WHOLE if value.dtype.kind == "i" else _NUMBERS
    )
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _shape(model: onnx.ModelProto, draw: random.Random) -> None:
    """What a weight says of its shape: not what it holds."""
    dims = draw.choice(model.graph.initializer).dims
    if draw.random() < 0.5 and dims:
        dims[draw.randrange(len(dims))] = draw.choice(_WHOLE)
    else:
        dims.extend([draw.choice(_WHOLE)] * draw.choice((1, 1, 60)))


def _type(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(model.graph.initializer).data_type = draw.choice((*range(0, 24), 99, -1))


def _elsewhere(model: onnx.ModelProto, draw: random.Random) -> None:
    """A weight that stands in another file, which nobody may read."""
    tensor = draw.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", draw.choice(("/etc/passwd", "../../RAN", "m.bin"))), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _attribute(model: onnx.ModelProto, draw: random.Random) -> None:
    """A number of an attribute; more of them; another attribute; of another type."""
    node = draw.choice(model.graph.node)
    if node.attribute and draw.random() < 0.7:
        attribute = draw.choice(node.attribute)
        match draw.randrange(4):
            case 0 if attribute.ints:
                attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(_WHOLE)
            case 1:
                attribute.ints.extend([draw.choice(_WHOLE)] * draw.choice((1, 5)))
            case 2:
                attribute.i = draw.choice(_WHOLE)
            case _:
                attribute.type = draw.randrange(1, 15)
    else:
        name = draw.choice(
            ("pads", "strides", "dilations", "group", "axis", "transA", "alpha", "perm", "auto_pad", "to")
        )
        value: Any = draw.choice(([draw.choice(_WHOLE)] * 4, draw.choice(_WHOLE), 1e30, "SAME_UPPER", float("nan")))
        node.attribute.append(helper.make_attribute(name, value))


def _operator(model: onnx.ModelProto, draw: random.Random) -> None:
    node = draw.choice(model.graph.node)
    node.op_type = draw.choice(_WORDS)
    if draw.random() < 0.2:
        node.domain = draw.choice(_WORDS)


def _names(model: onnx.ModelProto, draw: random.Random) -> None:
    """Who reads what: nobody, itself, what comes later, what there is not."""
    node = draw.choice(model.graph.node)
    known = [name for each in model.graph.node for name in (*each.input, *each.output)]
    field = node.input if draw.random() < 0.6 else node.output
    match draw.randrange(3):
        case 0:
            field[draw.randrange(len(field))] = draw.choice((*known, *_WORDS))
        case 1:
            field.append(draw.choice((*known, *_WORDS)))
        case 2:
            del field[draw.randrange(len(field))]


def _gone(model: onnx.ModelProto, draw: random.Random) -> None:
    field = draw.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    del field[draw.randrange(len(field))]


def _twice(model: onnx.ModelProto, draw: random.Random) -> None:
    field = draw.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    each = draw.choice(list(field))
    field.extend([each] * draw.choice((1, 1, 300)))


def _given(model: onnx.ModelProto, draw: random.Random) -> None:
    """What the input, or the output, is said to be."""
    told = draw.choice((*model.graph.input, *model.graph.output)).type.tensor_type
    match draw.randrange(4):
        case 0:
            told.elem_type = draw.randrange(0, 24)
        case 1:
            draw.choice(told.shape.dim).dim_value = draw.choice(_WHOLE)
        case 2:
            draw.choice(told.shape.dim).dim_param = draw.choice(_WORDS)
        case _:
            told.shape.dim.add().dim_value = draw.choice(_WHOLE)


def _version(model: onnx.ModelProto, draw: random.Random) -> None:
    if draw.random() < 0.5:
        model.ir_version = draw.choice(_WHOLE)
    else:
        model.opset_import.append(helper.make_opsetid(draw.choice(("", *_WORDS)), draw.choice((0, 1, 7, 13, 28, 99))))


def _within(model: onnx.ModelProto, draw: random.Random) -> None:
    """Graphs within attributes, one in the other; functions of the file's own that call themselves."""
    node = draw.choice(model.graph.node)
    if draw.random() < 0.5:
        inner = helper.make_graph([], "inner", [], [])
        for _ in range(draw.choice((1, 24))):
            inner = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "inner", [], [])
        node.attribute.append(helper.make_attribute("body", inner))
        return
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [call], [helper.make_opsetid("own", 1)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    node.op_type, node.domain = "F", "own"


def _bomb(model: onnx.ModelProto, draw: random.Random) -> None:
    """Little that says that it is much: a padding, a shape, an upsampling by strides, a constant of a shape."""
    big = draw.choice((2**20, 2**27, 2**40))
    match draw.randrange(3):
        case 0:
            node = next(each for each in model.graph.node if each.op_type in ("Conv", "AveragePool", "ConvTranspose"))
            name = draw.choice(("pads", "strides", "output_padding", "dilations", "kernel_shape", "output_shape"))
            node.attribute.append(helper.make_attribute(name, [big] * draw.choice((1, 2, 4))))
        case 1:
            shape = numpy_helper.from_array(np.array([big, big]), "many")
            model.graph.initializer.append(shape)
            model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
        case 2:
            draw.choice(model.graph.input).type.tensor_type.shape.dim[-1].dim_value = big


_WAYS: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    _number, _number, _shape, _type, _elsewhere, _attribute, _attribute, _attribute, _operator, _names, _names, _gone,
    _twice, _given, _given, _version, _within, _bomb, _bomb,
)  # fmt: skip
