"""ONNX graphs under construction: nodes, named constants, and what is known of every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from neurocompile.ir.ops import Array

__all__ = ["DOMAIN", "IR_VERSION", "OPSET", "Value", "Writer", "code_of"]

OPSET, IR_VERSION = 21, 10
"""What ONNX Runtime 1.18 and onnx 1.16 read already; nothing newer is needed."""
DOMAIN = "neurocompile"
"""Of the functions, one for each kind of neuron."""


def code_of(dtype: Any) -> int:
    """ONNX's number of a type of NumPy's."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@dataclass(frozen=True)
class Value:
    """A tensor in the graph: its name, its type, its shape with the batch (and what else is symbolic) as text."""

    name: str
    dtype: Any
    shape: tuple[int | str, ...]

    @property
    def info(self) -> onnx.ValueInfoProto:
        """As ONNX tells it."""
        return helper.make_tensor_value_info(self.name, code_of(self.dtype), list(self.shape))


class Writer:
    """A graph of which nodes are written one after the other; no name is given twice.

    Args:
        prefix: of the names of values, which a graph within a graph may not share with it.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: list[Value] = []
        self._names: set[str] = set()
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def fresh(self, stem: str) -> str:
        """A name like this that nothing has yet."""
        stem = stem if stem.startswith(self.prefix) else self.prefix + stem
        name = next(n for k in range(1, 1_000_000) if (n := stem if k == 1 else f"{stem}.{k}") not in self._names)
        self._names.add(name)
        return name

    def named(self, stem: str, array: Array) -> str:
        """An array under a name like this."""
        name = self.fresh(stem)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def constant(self, stem: str, value: Any, dtype: Any) -> str:
        """An array; what is a single number, or a list of some, is there once."""
        array = np.asarray(value).astype(dtype)
        if array.size > 8 or array.ndim > 1:
            return self.named(stem, array)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._small:
            self._small[key] = self.named(stem, array)
        return self._small[key]

    def call(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        stem: str,
        *,
        domain: str = "",
        doc: str = "",
        **attributes: Any,
    ) -> None:
        """A node with several outputs, whose names are known."""
        self.nodes.append(
            helper.make_node(
                kind, list(inputs), list(outputs), stem, doc_string=doc or None, domain=domain, **attributes
            )
        )

    def node(
        self, kind: str, inputs: Sequence[str], stem: str, *, domain: str = "", doc: str = "", **attributes: Any
    ) -> str:
        """The output of a node; ``stem`` names both."""
        name, doc_string = self.fresh(stem), doc or None
        own = name.removeprefix(self.prefix)
        self.nodes.append(
            helper.make_node(kind, list(inputs), [name], own, doc_string=doc_string, domain=domain, **attributes)
        )
        return name

    def known(self, name: str, dtype: Any, shape: Sequence[int | str]) -> Value:
        """A value whose type and shape are told to the reader of the file."""
        value = Value(name, np.dtype(dtype), tuple(shape))
        self.values.append(value)
        return value

    def cast(self, value: Value, dtype: Any, stem: str = "") -> Value:
        """The same numbers in another type."""
        if value.dtype == np.dtype(dtype):
            return value
        name = self.node("Cast", [value.name], stem or f"{value.name}.{np.dtype(dtype).name}", to=code_of(dtype))
        return Value(name, np.dtype(dtype), value.shape)

    def renamed(self, value: Value, stem: str) -> Value:
        """The same value under another name."""
        return Value(self.node("Identity", [value.name], stem), value.dtype, value.shape)

    def graph(self, name: str, inputs: Sequence[Value], outputs: Sequence[Value], doc: str = "") -> onnx.GraphProto:
        """What was written, as a graph."""
        told = {value.name for value in (*inputs, *outputs)}
        infos = [value.info for value in self.values if value.name not in told]
        return helper.make_graph(
            self.nodes,
            name,
            [value.info for value in inputs],
            [value.info for value in outputs],
            self.constants,
            doc_string=doc or None,
            value_info=infos,
        )
