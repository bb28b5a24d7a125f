"""Everything in a graph that its files cannot say."""

from __future__ import annotations

import numpy as np

from neurocompile.backends.onnx.build import Arithmetics
from neurocompile.backends.onnx.hosts import region_problems
from neurocompile.backends.onnx.products import FAN_IN, fan_in_of
from neurocompile.backends.onnx.ranges import Ranges
from neurocompile.errors import Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Conv, ConvTranspose, Linear, Neuron

__all__ = ["problems_with"]


def problems_with(graph: Graph, arithmetic: Arithmetics) -> list[Problem]:
    """All at once; [] for what can be written."""
    problems = [problem for region in graph.hosts.values() for problem in region_problems(region)]
    for node in graph.of(Neuron):
        op = node.op
        assert isinstance(op, Neuron)
        if arithmetic == "reals" and op.deaf and op.refractory:
            what = "a neuron that is deaf and silent after a spike, for different times, has no function in ONNX"
            problems.append(Problem(what, node.name, fix="write the integers alone (without --onnx-reals)"))
    if arithmetic == "reals":
        return problems
    ranges = graph.kept(Ranges.of)
    problems += ranges.problems
    for node in graph.of(Linear, Conv, ConvTranspose):
        count = fan_in_of(node.op)
        if ranges.types.get(node.name) == np.int64 and count >= FAN_IN:
            what = "sums of so many products of bytes can leave 32 bits, which is what ONNX has for them"
            problems.append(Problem(what, node.name, f"{count:,} products", f"{FAN_IN - 1:,}", "split the layer"))
    return problems
