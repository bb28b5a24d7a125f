"""What an .onnx file's tensors hold, once it is sure that they hold as much as they say."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from neurocompile.ir.ops import Array

__all__ = ["FLOATS", "all_tensors", "value_of"]

FLOATS = frozenset((onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE))
"""The types of numbers that are computed with in float64 here."""

_SHARED = {1: 4, 2: 4, 3: 4, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
"""Bytes of a number, by the code of its type: those that weights, sizes and switches have."""


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Those of the graph, and of its nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (each.t for each in node.attribute if each.HasField("t"))


def value_of(tensor: onnx.TensorProto) -> Array:
    """What a tensor holds.

    Raises:
        ValueError: if it does not hold what it says, or something that is no number.
    """
    if tensor.data_type not in _SHARED:
        raise ValueError(f"its numbers are of type {tensor.data_type}")
    size = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data) // _SHARED[tensor.data_type]
    else:
        held = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    if any(n < 0 for n in tensor.dims) or len(tensor.dims) > 32 or size != held:
        shape = ", ".join(map(str, tensor.dims[:8])) + (", ..." if len(tensor.dims) > 8 else "")
        raise ValueError(f"it holds {held:,} numbers, and says that it is [{shape}]")
    return np.asarray(numpy_helper.to_array(tensor))
