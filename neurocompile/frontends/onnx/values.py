"""The values of an ONNX file as nodes of a graph, or as constants."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from neurocompile.frontends.onnx.tensors import value_of
from neurocompile.ir.graph import Node
from neurocompile.ir.ops import Array, Integrator, Op, Output
from neurocompile.ir.shapes import output_shape

__all__ = ["Attributes", "No", "Shape", "Values", "needed", "stem_of"]

Shape = tuple[int, ...]
Attributes = dict[str, Any]

_MOST = 1 << 24
"""Numbers of a value, of one sample: far more than networks for chips have, and no more than fits into memory."""


class No(Exception):
    """Why a node is none of a graph's."""


class Values:
    """What a file's values are here: nodes, of which the shapes are known, or constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {each.name: value_of(each) for each in model.graph.initializer}
        self.opsets = list(model.opset_import)
        self.version = max((each.version for each in self.opsets if each.domain in ("", "ai.onnx")), default=0)
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self.names: dict[str, str] = {}  # the node that gives a value of the file

    def node(self, stem: str, op: Op, *inputs: str, shape: Shape | None = None) -> str:
        """A node by a name like this."""
        name = next(n for k in range(1, 1_000_000) if (n := stem if k == 1 else f"{stem}.{k}") not in self.nodes)
        shapes = [self.shapes[each] for each in inputs]
        same = isinstance(op, Integrator | Output)
        made = shape if shape is not None else shapes[0] if same else output_shape(op, shapes)
        if prod(made) > _MOST:
            raise No(f"it gives {prod(made):,} numbers a sample, and {_MOST:,} are the most")
        self.shapes[name] = made
        self.nodes[name] = Node(name, op, inputs)
        return name

    def given(self, value: str, stem: str, op: Op, *inputs: str, shape: Shape | None = None) -> None:
        """A value of the file, and the node that gives it."""
        self.names[value] = self.node(stem, op, *inputs, shape=shape)

    def value(self, name: str) -> str:
        """The node that gives a value that is no constant."""
        if name in self.constants:
            raise No(f"it reads the constant {name} where values belong")
        return self.names[name]

    def constant(self, node: onnx.NodeProto, number: int) -> Array | None:
        """A constant in float64; None where the file gives none there."""
        if number >= len(node.input) or not node.input[number]:
            return None
        if node.input[number] not in self.constants:
            raise No(f"{node.input[number]} is no constant")
        value = self.constants[node.input[number]]
        return value.astype(np.float64) if value.dtype.kind == "f" else value


def needed(constant: Array | None, what: str) -> Array:
    """A constant that has to be there."""
    if constant is None:
        raise No(f"it has no {what}")
    return constant


def stem_of(node: onnx.NodeProto) -> str:
    """What nodes are called that stand for one of the file."""
    return (node.name or node.output[0]).strip("/").replace("/", ".") or node.op_type
