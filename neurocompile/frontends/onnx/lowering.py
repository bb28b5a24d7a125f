"""The operations of an ONNX graph as a graph's own, and everything in it that is none.

Values are ``[N, ...]``; the first axis is the batch. Known are Conv, ConvTranspose, Gemm, MatMul, BatchNormalization,
Add, Sub, Mul and Div (with constants, or Add of values), AveragePool, GlobalAveragePool, MaxPool, Flatten, Reshape,
Concat, Identity and Dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.onnx.tensors import value_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Op,
    Output,
    Read,
    Reshape,
    Scale,
    SumPool,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.printable import printable

__all__ = ["lowered"]

Shape = tuple[int, ...]

_MOST = 1 << 24
"""Numbers of a value, of one sample: far more than networks for chips have, and no more than fits into memory."""

_EPSILON = float(np.float32(1e-5))
"""Of a BatchNormalization that says none: attributes are float32."""


class _No(Exception):
    """Why a node is none of a graph's."""


def lowered(model: onnx.ModelProto, inputs: dict[str, Shape], carries: Any, read: Read) -> Graph:
    """The graph of a model, whose outputs are read of membranes that forget everything at once.

    Args:
        model: of ONNX.
        inputs: their shapes, without the batch.
        carries: what they carry.
        read: how outputs are read over time.

    Raises:
        UnsupportedModel: with every node that has no operation here.
    """
    lowering = _Lowering(model)
    ends = (0.0, 1.0) if carries == "spikes" else (-np.inf, np.inf)
    for name, shape in inputs.items():
        try:
            lowering.given(name, name, Input(shape, carries, low=ends[0], high=ends[1]), shape=shape)
        except _No as error:
            fix = "give it in parts"
            raise UnsupportedModel(Problem(f"an input is too large: {error}", printable(name), fix=fix)) from error
    for node in model.graph.node:
        lowering.take(node)
    if lowering.problems:
        raise UnsupportedModel(lowering.problems)
    unknown = [printable(each.name) for each in model.graph.output if each.name not in lowering.names]
    if unknown:
        what, fix = "an output is given by no node", "export it again"
        raise UnsupportedModel([Problem(what, name, fix=fix) for name in unknown])
    for number, output in enumerate(model.graph.output):
        name = "output" if not number else f"output.{number + 1}"
        source = lowering.names[output.name]
        membrane = lowering.node(f"{name}.membrane", Integrator(), source)
        lowering.node(name, Output(read), membrane)
    return Graph(lowering.nodes.values())


class _Lowering:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {each.name: value_of(each) for each in model.graph.initializer}
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self.names: dict[str, str] = {}  # the node that gives a value of the file
        self.lost: set[str] = set()
        self.problems: list[Problem] = []

    def node(self, stem: str, op: Op, *inputs: str, shape: Shape | None = None) -> str:
        """A node by a name like this."""
        name = next(n for k in range(1, 1_000_000) if (n := stem if k == 1 else f"{stem}.{k}") not in self.nodes)
        shapes = [self.shapes[each] for each in inputs]
        same = isinstance(op, Integrator | Output)
        made = shape if shape is not None else shapes[0] if same else output_shape(op, shapes)
        if prod(made) > _MOST:
            raise _No(f"it gives {prod(made):,} numbers a sample, and {_MOST:,} are the most")
        self.shapes[name] = made
        self.nodes[name] = Node(name, op, inputs)
        return name

    def given(self, value: str, stem: str, op: Op, *inputs: str, shape: Shape | None = None) -> None:
        """A value of the file, and the node that gives it."""
        self.names[value] = self.node(stem, op, *inputs, shape=shape)

    def take(self, node: onnx.NodeProto) -> None:
        """One node of the file; what reads what is lost is lost, and not told."""
        if any(name in self.lost for name in node.input):
            self.lost.update(node.output)
            return
        where = node.name or (node.output[0] if node.output else node.op_type)
        try:
            handler = _HANDLERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if handler is None:
                raise _No("there is no such operation in a graph")
            handler(self, node, {each.name: helper.get_attribute_value(each) for each in node.attribute})
        except (_No, ValueError, KeyError, IndexError, TypeError) as error:
            self.lost.update(node.output)
            said = str(error) if isinstance(error, _No) else f"what it says contradicts itself: {error}"
            what = f"{f'{node.domain}.' if node.domain else ''}{node.op_type}: {said}"
            fix = "plain networks of linear operations and pools can be read; neurons come in as .pt or .nir"
            self.problems.append(Problem(what, where, ", ".join(node.input), ", ".join(_HANDLERS), fix))

    def value(self, name: str) -> str:
        """The node that gives a value that is no constant."""
        if name in self.constants:
            raise _No(f"it reads the constant {name} where values belong")
        return self.names[name]

    def constant(self, node: onnx.NodeProto, number: int) -> Array | None:
        """A constant in float64; None where the file gives none there."""
        if number >= len(node.input) or not node.input[number]:
            return None
        if node.input[number] not in self.constants:
            raise _No(f"{node.input[number]} is no constant")
        value = self.constants[node.input[number]]
        return value.astype(np.float64) if value.dtype.kind == "f" else value


def _need(constant: Array | None, what: str) -> Array:
    if constant is None:
        raise _No(f"it has no {what}")
    return constant


def _stem(node: onnx.NodeProto) -> str:
    return (node.name or node.output[0]).strip("/").replace("/", ".") or node.op_type


def _constant(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    if set(attributes) != {"value"}:
        raise _No("it is no tensor")
    to.constants[node.output[0]] = value_of(attributes["value"])


def _same(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    if node.op_type == "Dropout" and len(node.input) > 2 and np.any(to.constant(node, 2)):
        raise _No("it drops values: this is a model in training mode")
    if node.input[0] in to.constants:
        to.constants[node.output[0]] = to.constants[node.input[0]]
    else:
        to.names[node.output[0]] = to.value(node.input[0])


def _linear(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    source = to.value(node.input[0])
    weight = _need(to.constant(node, 1), "weights")
    bias = None
    if len(to.shapes[source]) != 1 or weight.ndim != 2:
        raise _No(f"it multiplies {to.shapes[source]} by {weight.shape}: only vectors by matrices are known")
    if node.op_type == "Gemm":
        if attributes.get("transA", 0):
            raise _No("its input is transposed, and the batch with it")
        weight = weight if attributes.get("transB", 0) else weight.T
        weight = weight * attributes.get("alpha", 1.0)
        bias = to.constant(node, 2)
        if bias is not None:
            bias = np.broadcast_to(bias * attributes.get("beta", 1.0), (1, len(weight)))[0].copy()
    else:
        weight = weight.T
    to.given(node.output[0], _stem(node), Linear(np.ascontiguousarray(weight), bias), source)


def _geometry(node: onnx.NodeProto, attributes: dict[str, Any], rank: int) -> tuple[Shape, Any, Shape]:
    """Strides, padding by axis, dilations."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise _No(f"its padding is {attributes['auto_pad'].decode()}: write it in numbers")
    if attributes.get("ceil_mode", 0):
        raise _No("it rounds sizes up (ceil_mode)")
    if rank not in (1, 2):
        raise _No(f"it has {rank} axes: 1 or 2 are known")
    usual = {"pads": [0] * 2 * rank, "strides": [1] * rank, "dilations": [1] * rank}
    given = {name: list(attributes.get(name, value)) for name, value in usual.items()}
    for name, value in given.items():
        least = 0 if name == "pads" else 1
        if len(value) != len(usual[name]) or min(value) < least:
            raise _No(f"its {name} are {value[:8]}: {len(usual[name])} numbers from {least} on are wanted")
    padding = tuple((given["pads"][k], given["pads"][k + rank]) for k in range(rank))
    return tuple(given["strides"]), padding, tuple(given["dilations"])


def _conv(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    source, weight = to.value(node.input[0]), _need(to.constant(node, 1), "weights")
    rank = weight.ndim - 2
    if list(attributes.get("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
        raise _No(f"its kernel is said to be {attributes['kernel_shape']}, and is {list(weight.shape[2:])}")
    stride, padding, dilation = _geometry(node, attributes, rank)
    bias = to.constant(node, 2)
    groups = attributes.get("group", 1)
    channels = len(weight) if node.op_type == "Conv" else weight.shape[1] * groups
    if bias is not None and bias.shape != (channels,):
        raise _No(f"its bias is {bias.shape}, for {channels} channels")
    bias = None if bias is None else bias.reshape(-1, *(1,) * rank)
    if node.op_type == "Conv":
        op: Op = Conv(weight, bias, stride, padding, dilation, groups)
    else:
        if "output_shape" in attributes or any(a != b for a, b in padding):
            raise _No("its padding differs between the two sides, or follows from output_shape")
        extra = tuple(attributes.get("output_padding", [0] * rank))
        op = ConvTranspose(weight, bias, stride, tuple(a for a, _ in padding), extra, dilation, groups)
    to.given(node.output[0], _stem(node), op, source)


def _norm(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    if attributes.get("training_mode", 0):
        raise _No("it is in training mode")
    source = to.value(node.input[0])
    gamma, beta, mean, var = (_need(to.constant(node, k), "parameters") for k in (1, 2, 3, 4))
    channels = to.shapes[source][0]
    sizes = [each.shape for each in (gamma, beta, mean, var)]
    if any(size != (channels,) for size in sizes):
        raise _No(f"its parameters are {sizes}, for {channels} channels")
    spread = var + attributes.get("epsilon", _EPSILON)
    if np.any(spread <= 0):
        raise _No("a variance of it is below zero")
    scale = gamma / np.sqrt(spread)
    shape = (-1, *(1,) * (len(to.shapes[source]) - 1))
    op = Scale(scale.reshape(shape), (beta - mean * scale).reshape(shape))
    to.given(node.output[0], _stem(node), op, source)


def _elementwise(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    first, second = node.input
    if first not in to.constants and second not in to.constants:
        sources = to.value(first), to.value(second)
        if node.op_type != "Add" or to.shapes[sources[0]] != to.shapes[sources[1]]:
            raise _No("of two values that are no constants, only sums of the same shape are known")
        to.given(node.output[0], _stem(node), Add(), *sources)
        return
    turned = first in to.constants
    source, number = to.value(second if turned else first), 0 if turned else 1
    value = _need(to.constant(node, number), "constant").astype(np.float64)
    shape = to.shapes[source]
    value = value[0] if value.ndim == len(shape) + 1 and value.shape[0] == 1 else value
    if np.broadcast_shapes(value.shape, shape) != shape:
        raise _No(f"its constant {value.shape} makes another shape of {shape}")
    one = np.asarray(1.0)
    if node.op_type == "Div" and turned:
        raise _No("it divides by a value")
    op = {
        "Add": lambda: Scale(one, value),
        "Sub": lambda: Scale(-one, value) if turned else Scale(one, -value),
        "Mul": lambda: Scale(value),
        "Div": lambda: Scale(1 / value),
    }[node.op_type]()
    to.given(node.output[0], _stem(node), op, source)


def _pool(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    source = to.value(node.input[0])
    size = to.shapes[source][1:]
    whole = node.op_type == "GlobalAveragePool"
    kernel = tuple(size if whole else attributes["kernel_shape"])
    if len(kernel) != len(size) or min(kernel, default=1) < 1:
        raise _No(f"its kernel is {list(kernel)}, for {len(size)} axes")
    stride, padding, dilation = _geometry(node, {} if whole else attributes, len(kernel))
    if node.op_type == "MaxPool":
        if len(node.output) > 1:
            raise _No("its second output, where the largest were, is unknown")
        to.given(node.output[0], _stem(node), MaxPool(kernel, stride, padding, dilation), source)
        return
    if any(n for pair in padding for n in pair) and not attributes.get("count_include_pad", 0):
        raise _No("it averages over what lies inside of the padding only (count_include_pad = 0)")
    if any(d != 1 for d in dilation):
        raise _No("it is dilated")
    total = to.node(f"{_stem(node)}.sum", SumPool(kernel, stride, padding), source)
    to.given(node.output[0], _stem(node), Scale(np.asarray(1 / prod(kernel))), total)


def _reduced(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Sums and means over axes of an image: pools as large as these."""
    source = to.value(node.input[0])
    channels, *size = to.shapes[source]
    given = attributes["axes"] if "axes" in attributes else to.constant(node, 1)
    rank = len(size) + 2
    axes = sorted({int(axis) + rank * (axis < 0) for axis in (() if given is None else np.ravel(given))})
    if not axes or axes[0] < 2 or axes[-1] >= rank or rank > 4:
        raise _No(
            f"it goes over the axes {axes or 'all'} of {rank}: those behind the channels, of one or two, are known"
        )
    kernel = tuple(n if k in axes else 1 for k, n in enumerate(size, 2))
    made = node.output[0], _stem(node)
    last = to.node(f"{made[1]}.sum", SumPool(kernel, kernel, ((0, 0),) * len(size)), source)
    if node.op_type == "ReduceMean":
        last = to.node(f"{made[1]}.mean", Scale(np.asarray(1 / prod(kernel))), last)
    kept = tuple(1 if k in axes else n for k, n in enumerate(size, 2))
    left = tuple(n for k, n in enumerate(size, 2) if k not in axes)
    to.given(*made, Reshape((channels, *(kept if attributes.get("keepdims", 1) else left))), last)


def _reshape(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    source = to.value(node.input[0])
    size = prod(to.shapes[source])
    if node.op_type == "Flatten":
        if attributes.get("axis", 1) != 1:
            raise _No("it flattens the batch, too")
        to.given(node.output[0], _stem(node), Reshape((size,)), source)
        return
    batch, *wanted = (int(n) for n in _need(to.constant(node, 1), "shape"))
    own = to.shapes[source]
    wanted = [own[k] if n == 0 and not attributes.get("allowzero", 0) else n for k, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = size // max(1, -prod(wanted))
    if batch not in (-1, 0, 1) or prod(wanted) != size or min(wanted, default=1) < 1:
        raise _No(f"it does not keep the batch: {own} becomes {(batch, *wanted)}")
    to.given(node.output[0], _stem(node), Reshape(tuple(wanted)), source)


def _concat(to: _Lowering, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    sources = [to.value(name) for name in node.input]
    axis = attributes["axis"]
    axis = axis + len(to.shapes[sources[0]]) + 1 if axis < 0 else axis
    if axis < 1:
        raise _No("it joins samples")
    to.given(node.output[0], _stem(node), Concat(axis - 1), *sources)


_HANDLERS: dict[str, Callable[[_Lowering, onnx.NodeProto, dict[str, Any]], None]] = {
    "Constant": _constant,
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **dict.fromkeys(("Gemm", "MatMul"), _linear),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    "BatchNormalization": _norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _elementwise),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("ReduceMean", "ReduceSum"), _reduced),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    "Concat": _concat,
}
