"""The operations of an ONNX graph as a graph's own, and everything in it that is none.

Values are ``[N, ...]``; the first axis is the batch. Known is what ``_HANDLERS`` names, as far as it is linear, or a
pool; and what is computed of constants and sizes alone (:mod:`.folding`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.onnx.folding import FOLDED
from neurocompile.frontends.onnx.moves import MOVING, fold
from neurocompile.frontends.onnx.operations import COMPUTING
from neurocompile.frontends.onnx.values import Attributes, No, Shape, Values
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Input, Integrator, Output, Read
from neurocompile.printable import printable

__all__ = ["lowered"]

_HANDLERS: dict[str, Callable[[Values, onnx.NodeProto, Attributes], None]] = {**COMPUTING, **MOVING}


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
    values = lowering.values
    ends = (0.0, 1.0) if carries == "spikes" else (-np.inf, np.inf)
    for name, shape in inputs.items():
        try:
            values.given(name, name, Input(shape, carries, low=ends[0], high=ends[1]), shape=shape)
        except No as error:
            fix = "give it in parts"
            raise UnsupportedModel(Problem(f"an input is too large: {error}", printable(name), fix=fix)) from error
    for node in model.graph.node:
        lowering.take(node)
    if lowering.problems:
        raise UnsupportedModel(lowering.problems)
    unknown = [printable(each.name) for each in model.graph.output if each.name not in values.names]
    if unknown:
        what, fix = "an output is given by no node", "export it again"
        raise UnsupportedModel([Problem(what, name, fix=fix) for name in unknown])
    for number, output in enumerate(model.graph.output):
        name = "output" if not number else f"output.{number + 1}"
        source = values.names[output.name]
        membrane = values.node(f"{name}.membrane", Integrator(), source)
        values.node(name, Output(read), membrane)
    return Graph(values.nodes.values())


class _Lowering:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.values = Values(model)
        self.lost: set[str] = set()
        self.problems: list[Problem] = []

    def take(self, node: onnx.NodeProto) -> None:
        """One node of the file; what reads what is lost is lost, and not told."""
        if any(name in self.lost for name in node.input):
            self.lost.update(node.output)
            return
        where = node.name or (node.output[0] if node.output else node.op_type)
        try:
            handler = _HANDLERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if node.op_type in FOLDED and node.input and all(n in self.values.constants for n in node.input if n):
                handler = fold
            if handler is None:
                raise No("there is no such operation in a graph")
            handler(self.values, node, {each.name: helper.get_attribute_value(each) for each in node.attribute})
        except (No, ValueError, KeyError, IndexError, TypeError) as error:
            self.lost.update(node.output)
            said = str(error) if isinstance(error, No) else f"what it says contradicts itself: {error}"
            what = f"{f'{node.domain}.' if node.domain else ''}{node.op_type}: {said}"
            fix = "plain networks of linear operations and pools can be read; neurons come in as .pt or .nir"
            self.problems.append(Problem(what, where, ", ".join(node.input), ", ".join(_HANDLERS), fix))
