"""What computes: layers of weights, norms, sums, products with constants, pools."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from neurocompile.frontends.onnx.moves import axes_of
from neurocompile.frontends.onnx.tensors import FLOATS, value_of
from neurocompile.frontends.onnx.values import Attributes, No, Shape, Values, needed, stem_of
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Add, Conv, ConvTranspose, Linear, MaxPool, Op, Reshape, Scale, SumPool

__all__ = ["COMPUTING"]

_EPSILON = float(np.float32(1e-5))
"""Of a BatchNormalization that says none: attributes are float32."""


def _constant(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    (kind, value), *more = attributes.items()
    types = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    if more or kind not in ("value", *types):
        raise No("it holds no numbers")
    to.constants[node.output[0]] = value_of(value) if kind == "value" else np.asarray(value, types[kind])


def _same(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    if node.op_type == "Dropout" and len(node.input) > 2 and np.any(to.constant(node, 2)):
        raise No("it drops values: this is a model in training mode")
    if node.input[0] in to.constants:
        to.constants[node.output[0]] = to.constants[node.input[0]]
    else:
        to.names[node.output[0]] = to.value(node.input[0])


def _linear(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source = to.value(node.input[0])
    weight = needed(to.constant(node, 1), "weights")
    bias = None
    if len(to.shapes[source]) != 1 or weight.ndim != 2:
        raise No(f"it multiplies {to.shapes[source]} by {weight.shape}: only vectors by matrices are known")
    if node.op_type == "Gemm":
        if attributes.get("transA", 0):
            raise No("its input is transposed, and the batch with it")
        weight = weight if attributes.get("transB", 0) else weight.T
        weight = weight * attributes.get("alpha", 1.0)
        bias = to.constant(node, 2)
        if bias is not None:
            bias = np.broadcast_to(bias * attributes.get("beta", 1.0), (1, len(weight)))[0].copy()
    else:
        weight = weight.T
    to.given(node.output[0], stem_of(node), Linear(np.ascontiguousarray(weight), bias), source)


def _geometry(attributes: Attributes, size: Shape, kernel: Shape) -> tuple[Shape, Any, Shape]:
    """Strides, padding by axis, dilations, of windows of this kernel over images of this size."""
    rank = len(kernel)
    if attributes.get("ceil_mode", 0):
        raise No("it rounds sizes up (ceil_mode)")
    if rank not in (1, 2):
        raise No(f"it has {rank} axes: 1 or 2 are known")
    usual = {"pads": [0] * 2 * rank, "strides": [1] * rank, "dilations": [1] * rank}
    given = {name: list(attributes.get(name, value)) for name, value in usual.items()}
    for name, value in given.items():
        least = 0 if name == "pads" else 1
        if len(value) != len(usual[name]) or min(value) < least:
            raise No(f"its {name} are {value[:8]}: {len(usual[name])} numbers from {least} on are wanted")
    padding = tuple((given["pads"][k], given["pads"][k + rank]) for k in range(rank))
    how = attributes.get("auto_pad", b"NOTSET").decode()
    if how in ("SAME_UPPER", "SAME_LOWER"):
        spans = [d * (k - 1) + 1 for d, k in zip(given["dilations"], kernel)]
        strides = zip(size, spans, given["strides"])
        whole = [max(0, (-(-n // stride) - 1) * stride + span - n) for n, span, stride in strides]
        low = [n // 2 if how == "SAME_UPPER" else n - n // 2 for n in whole]
        padding = tuple((a, n - a) for a, n in zip(low, whole))
    elif how not in ("NOTSET", "VALID"):
        raise No(f"its padding is {how}: write it in numbers")
    return tuple(given["strides"]), padding, tuple(given["dilations"])


def _conv(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source, weight = to.value(node.input[0]), needed(to.constant(node, 1), "weights")
    rank = weight.ndim - 2
    if list(attributes.get("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
        raise No(f"its kernel is said to be {attributes['kernel_shape']}, and is {list(weight.shape[2:])}")
    size = to.shapes[source][1:]
    if len(size) != rank:
        raise No(f"its kernel has {rank} axes, and what it reads has {len(size)}")
    if node.op_type == "ConvTranspose" and b"SAME" in attributes.get("auto_pad", b""):
        raise No("its padding is not written in numbers (auto_pad)")
    stride, padding, dilation = _geometry(attributes, size, weight.shape[2:])
    bias = to.constant(node, 2)
    groups = attributes.get("group", 1)
    channels = len(weight) if node.op_type == "Conv" else weight.shape[1] * groups
    if bias is not None and bias.shape != (channels,):
        raise No(f"its bias is {bias.shape}, for {channels} channels")
    bias = None if bias is None else bias.reshape(-1, *(1,) * rank)
    if node.op_type == "Conv":
        op: Op = Conv(weight, bias, stride, padding, dilation, groups)
    else:
        if "output_shape" in attributes or any(a != b for a, b in padding):
            raise No("its padding differs between the two sides, or follows from output_shape")
        extra = tuple(attributes.get("output_padding", [0] * rank))
        op = ConvTranspose(weight, bias, stride, tuple(a for a, _ in padding), extra, dilation, groups)
    to.given(node.output[0], stem_of(node), op, source)


def _norm(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    if attributes.get("training_mode", 0):
        raise No("it is in training mode")
    source = to.value(node.input[0])
    gamma, beta, mean, var = (needed(to.constant(node, k), "parameters") for k in (1, 2, 3, 4))
    channels = to.shapes[source][0]
    sizes = [each.shape for each in (gamma, beta, mean, var)]
    if any(size != (channels,) for size in sizes):
        raise No(f"its parameters are {sizes}, for {channels} channels")
    spread = var + attributes.get("epsilon", _EPSILON)
    if np.any(spread <= 0):
        raise No("a variance of it is below zero")
    scale = gamma / np.sqrt(spread)
    shape = (-1, *(1,) * (len(to.shapes[source]) - 1))
    op = Scale(scale.reshape(shape), (beta - mean * scale).reshape(shape))
    to.given(node.output[0], stem_of(node), op, source)


def _cast(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    if attributes.get("to") not in FLOATS:
        raise No("it rounds to whole numbers, or to few bits")
    to.names[node.output[0]] = to.value(node.input[0])


def _sum(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    sources = [to.value(name) for name in node.input]
    to.given(node.output[0], stem_of(node), Add() if len(sources) > 1 else Scale(np.asarray(1.0)), *sources)


def _negative(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    to.given(node.output[0], stem_of(node), Scale(np.asarray(-1.0)), to.value(node.input[0]))


def _elementwise(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    first, second = node.input
    if first not in to.constants and second not in to.constants:
        sources = to.value(first), to.value(second)
        if node.op_type not in ("Add", "Sub") or to.shapes[sources[0]] != to.shapes[sources[1]]:
            raise No("of two values that are no constants, only sums and differences of the same shape are known")
        if node.op_type == "Sub":
            sources = sources[0], to.node(f"{stem_of(node)}.negative", Scale(np.asarray(-1.0)), sources[1])
        to.given(node.output[0], stem_of(node), Add(), *sources)
        return
    turned = first in to.constants
    source, number = to.value(second if turned else first), 0 if turned else 1
    value = needed(to.constant(node, number), "constant").astype(np.float64)
    shape = to.shapes[source]
    value = value[0] if value.ndim == len(shape) + 1 and value.shape[0] == 1 else value
    if np.broadcast_shapes(value.shape, shape) != shape:
        raise No(f"its constant {value.shape} makes another shape of {shape}")
    one = np.asarray(1.0)
    if node.op_type == "Div" and turned:
        raise No("it divides by a value")
    op = {
        "Add": lambda: Scale(one, value),
        "Sub": lambda: Scale(-one, value) if turned else Scale(one, -value),
        "Mul": lambda: Scale(value),
        "Div": lambda: Scale(1 / value),
    }[node.op_type]()
    to.given(node.output[0], stem_of(node), op, source)


def _pool(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source = to.value(node.input[0])
    size = to.shapes[source][1:]
    whole = node.op_type.startswith("Global")
    kernel = tuple(size if whole else attributes["kernel_shape"])
    if len(kernel) != len(size) or min(kernel, default=1) < 1:
        raise No(f"its kernel is {list(kernel)}, for {len(size)} axes")
    stride, padding, dilation = _geometry({} if whole else attributes, size, kernel)
    if node.op_type in ("MaxPool", "GlobalMaxPool"):
        if len(node.output) > 1:
            raise No("its second output, where the largest were, is unknown")
        to.given(node.output[0], stem_of(node), MaxPool(kernel, stride, padding, dilation), source)
        return
    if any(d != 1 for d in dilation):
        raise No("it is dilated")
    op = SumPool(kernel, stride, padding)
    total = to.node(f"{stem_of(node)}.sum", op, source)
    met = np.asarray(float(prod(kernel)))
    if any(n for pair in padding for n in pair) and not attributes.get("count_include_pad", 0):
        met = apply(op, [np.ones((1, 1, *size))])[0]
        if not met.all():
            raise No("a window of it sees nothing but padding")
    to.given(node.output[0], stem_of(node), Scale(1 / met), total)


def _reduced(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Sums, means and the largest over axes of an image: pools as large as these."""
    source = to.value(node.input[0])
    channels, *size = to.shapes[source]
    rank = len(size) + 2
    axes = sorted({axis + rank * (axis < 0) for axis in axes_of(to, node, attributes)})
    if not axes or axes[0] < 2 or axes[-1] >= rank or rank > 4:
        raise No(
            f"it goes over the axes {axes or 'all'} of {rank}: those behind the channels, of one or two, are known"
        )
    kernel = tuple(n if k in axes else 1 for k, n in enumerate(size, 2))
    made = node.output[0], stem_of(node)
    none = ((0, 0),) * len(size)
    largest = MaxPool(kernel, kernel, none, (1,) * len(size))
    pool, stem = (largest, "largest") if node.op_type == "ReduceMax" else (SumPool(kernel, kernel, none), "sum")
    last = to.node(f"{made[1]}.{stem}", pool, source)
    if node.op_type == "ReduceMean":
        last = to.node(f"{made[1]}.mean", Scale(np.asarray(1 / prod(kernel))), last)
    kept = tuple(1 if k in axes else n for k, n in enumerate(size, 2))
    left = tuple(n for k, n in enumerate(size, 2) if k not in axes)
    to.given(*made, Reshape((channels, *(kept if attributes.get("keepdims", 1) else left))), last)


COMPUTING = {
    "Constant": _constant,
    **dict.fromkeys(("Identity", "Dropout"), _same),
    **dict.fromkeys(("Gemm", "MatMul"), _linear),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    "BatchNormalization": _norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _elementwise),
    "Sum": _sum,
    "Neg": _negative,
    "Cast": _cast,
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool"), _pool),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), _reduced),
}
