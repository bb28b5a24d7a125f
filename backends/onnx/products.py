"""Weights times events as ONNX says them: products of bytes, or float32 where the bounds prove that it is exact.

A number of more than eight bits is ``256 * high + low``, both bytes with a sign: u8 x s8 saturates on processors
without VNNI, s8 x s8 does not. What float32 sums stays exact while no partial sum can pass 2**24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurocompile.backends.onnx.ranges import FLOAT32_MAX
from neurocompile.backends.onnx.writing import Value, Writer
from neurocompile.ir.graph import Node
from neurocompile.ir.kernels import without_bias
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, SumPool

__all__ = ["FAN_IN", "Products", "bytes_of", "cropped", "fan_in_of"]

FAN_IN = 2**17
"""Fewer products of bytes than these fit into 32 bits, whatever they are."""


class Products:
    """Writes layers of weights into a graph."""

    def __init__(self, writer: Writer, floats: bool) -> None:
        self.w, self.floats = writer, floats

    def weighted(self, node: Node, x: Value, dtype: Any, partial: float, count: int, doc: str) -> Value:
        """What a Linear, Conv, ConvTranspose or SumPool makes of an event, in a type of integers.

        Args:
            node: in question.
            x: the event.
            dtype: of the result.
            partial: the largest of its partial sums.
            count: how many bytes the event has.
            doc: what a reader of the file is told.
        """
        op = _as_conv(node.op, x)
        weight = op.weight
        if self.floats and partial <= FLOAT32_MAX:
            given = self.w.cast(x, np.float32)
            total = self._product(op, given, f"{node.name}.weight", weight.astype(np.float32), f"{node.name}.sum", doc)
            return self.w.cast(total, dtype, node.name)
        wide = dtype == np.int64
        parts: list[Value] = []
        for i, of_x in enumerate(self._bytes(x, count)):
            for j, of_weight in enumerate(bytes_of(weight)):
                if not of_weight.any() and weight.any():
                    continue
                name = f"{node.name}.weight" if j == 0 else f"{node.name}.weight.high{j}"
                each = self._product(
                    op, of_x, name, of_weight, f"{node.name}.{'conv' if weight.ndim > 2 else 'matmul'}", doc
                )
                each = self.w.cast(each, np.int64 if wide else np.int32)
                parts.append(self._times(each, 256 ** (i + j)))
        total = parts[0]
        for part in parts[1:]:
            total = Value(self.w.node("Add", [total.name, part.name], f"{node.name}.add"), total.dtype, total.shape)
        if total.dtype != np.dtype(dtype):
            return self.w.cast(total, dtype, node.name)
        return total

    def real(self, node: Node, x: Value, doc: str) -> Value:
        """The same in float32, with what bias there is."""
        op = _as_conv(node.op, x)
        weight = op.weight.astype(np.float32)
        total = self._product(op, x, f"{node.name}.weight", weight, node.name, doc)
        bias = getattr(node.op, "bias", None)
        if bias is None:
            return total
        given = self.w.constant(f"{node.name}.bias", bias, np.float32)
        return Value(self.w.node("Add", [total.name, given], f"{node.name}.biased"), total.dtype, total.shape)

    def _bytes(self, x: Value, count: int) -> list[Value]:
        """An event in bytes with a sign, the lowest first."""
        if x.dtype == np.int8:
            return [x]
        found: list[Value] = []
        w, rest = self.w, x
        half, base = w.constant("128", 128, x.dtype), w.constant("256", 256, x.dtype)
        for _ in range(count):
            raised = w.node("Add", [rest.name, half], f"{x.name}.raised")
            low = w.node("Sub", [w.node("Mod", [raised, base], f"{x.name}.mod"), half], f"{x.name}.low")
            found.append(w.cast(Value(low, x.dtype, x.shape), np.int8, f"{x.name}.byte"))
            over = w.node("Div", [w.node("Sub", [rest.name, low], f"{x.name}.less"), base], f"{x.name}.high")
            rest = Value(over, x.dtype, x.shape)
        return found

    def _times(self, value: Value, factor: int) -> Value:
        if factor == 1:
            return value
        by = self.w.constant(str(factor), factor, value.dtype)
        return Value(self.w.node("Mul", [value.name, by], f"{value.name}.times"), value.dtype, value.shape)

    def _product(self, op: Any, x: Value, name: str, weight: Array, stem: str, doc: str) -> Value:
        whole = x.dtype == np.int8
        if isinstance(op, Linear):
            given = self.w.constant(name, weight.T, x.dtype)
            kind = "MatMulInteger" if whole else "MatMul"
            total = self.w.node(kind, [x.name, given], stem, doc=doc)
            return Value(total, np.dtype(np.int32 if whole else np.float32), (*x.shape[:-1], len(weight)))
        if isinstance(op, ConvTranspose):
            return self._transposed(op, x, name, weight, stem, doc)
        x, padding = cropped(self.w, x, op.padding)
        given = self.w.constant(name, weight, x.dtype)
        attributes = {
            "strides": list(op.stride),
            "dilations": list(op.dilation),
            "group": op.groups,
            "pads": [a for a, _ in padding] + [b for _, b in padding],
            "kernel_shape": list(weight.shape[2:]),
        }
        total = self.w.node("ConvInteger" if whole else "Conv", [x.name, given], stem, doc=doc, **attributes)
        size = (
            (n + a + b - d * (k - 1) - 1) // s + 1
            for n, (a, b), d, k, s in zip(x.shape[2:], padding, op.dilation, weight.shape[2:], op.stride)
        )
        return Value(total, np.dtype(np.int32 if whole else np.float32), (x.shape[0], len(weight), *size))

    def _transposed(self, op: ConvTranspose, x: Value, name: str, weight: Array, stem: str, doc: str) -> Value:
        """A convolution of the event with zeros between its rows, with the kernel turned round."""
        inputs, outputs, *kernel = weight.shape
        grouped = weight.reshape(op.groups, inputs // op.groups, outputs, *kernel)
        turned = np.flip(np.moveaxis(grouped, 1, 2), range(3, weight.ndim + 1))
        spread = self._spread(x, op.stride)
        padding = tuple(
            (d * (k - 1) - p, d * (k - 1) - p + extra)
            for d, k, p, extra in zip(op.dilation, kernel, op.padding, op.output_padding)
        )
        ones = (1,) * len(kernel)
        conv = Conv(weight, None, ones, padding, op.dilation, op.groups)
        flat = turned.reshape(op.groups * outputs, inputs // op.groups, *kernel)
        return self._product(conv, spread, name, flat, stem, doc)

    def _spread(self, x: Value, stride: tuple[int, ...]) -> Value:
        """With ``s - 1`` zeros between neighbours: each becomes a row of s, and what stands behind the last is cut."""
        if all(s == 1 for s in stride):
            return x
        w, (batch, channels, *size) = self.w, x.shape
        within = [n for each in size for n in (each, 1)]
        name = w.node("Reshape", [x.name, w.constant("shape", [0, channels, *within], np.int64)], f"{x.name}.columns")
        first = np.zeros([n for s in stride for n in (1, s)])
        first[(0,) * first.ndim] = 1
        name = w.node("Mul", [name, w.constant("first", first, x.dtype)], f"{x.name}.spaced")
        full = [n * s for n, s in zip(size, stride)]
        name = w.node("Reshape", [name, w.constant("shape", [0, channels, *full], np.int64)], f"{x.name}.spread")
        wide = Value(name, x.dtype, (batch, channels, *full))
        return cropped(w, wide, tuple((0, 1 - s) for s in stride))[0]


def cropped(w: Writer, x: Value, padding: tuple[tuple[int, int], ...]) -> tuple[Value, tuple[tuple[int, int], ...]]:
    """An event without the rows that a negative padding leaves out, and what padding is left."""
    if all(n >= 0 for pair in padding for n in pair):
        return x, padding
    batch, channels, *size = x.shape
    starts = [max(0, -a) for a, _ in padding]
    stops = [n + min(0, b) for n, (_, b) in zip(size, padding)]  # type: ignore[operator]
    axes = list(range(2, 2 + len(size)))
    given = [w.constant(name, value, np.int64) for name, value in (("starts", starts), ("ends", stops), ("axes", axes))]
    name = w.node("Slice", [x.name, *given], f"{x.name}.within")
    left = (max(0, stop - start) for start, stop in zip(starts, stops))
    return Value(name, x.dtype, (batch, channels, *left)), tuple((max(0, a), max(0, b)) for a, b in padding)


def bytes_of(weight: Array) -> list[Array]:
    """Whole numbers in bytes with a sign, the lowest first: ``sum_k 256**k * bytes[k]``."""
    found, rest = [], weight.astype(np.int64)
    while True:
        low = (rest + 128) % 256 - 128
        found.append(low.astype(np.int8))
        rest = (rest - low) // 256
        if not rest.any():
            return found


def fan_in_of(op: Any) -> int:
    """How many products one sum of a layer of weights has, at most."""
    weight = op.weight
    return int(weight.size // (weight.shape[1] * op.groups if isinstance(op, ConvTranspose) else len(weight)))


def _as_conv(op: Any, x: Value) -> Any:
    """A sum pool as the convolution that it is; other weights without their bias."""
    if not isinstance(op, SumPool):
        return without_bias(op)
    channels = int(x.shape[1])
    ones = np.ones((channels, 1, *op.kernel), np.int64)
    return Conv(ones, None, op.stride, op.padding, (1,) * len(op.kernel), channels)
