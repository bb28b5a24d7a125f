"""Programs in ONNX Runtime held against the NumPy reference, integer for integer, in every form that they can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import inliner, version_converter
from onnx.reference import ReferenceEvaluator

from neurocompile.backends.onnx.build import Built
from neurocompile.backends.onnx.executor import OnnxExecutor, session_of
from neurocompile.ir.ops import Array, Input, MaxPool
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor
from tests.random_networks.graphs import Drawn

__all__ = ["FORMS", "OPSETS", "Compared", "compare", "evaluated", "given_to", "in_opset", "of_drawn", "rerun"]

FORMS: tuple[tuple[Any, Any], ...] = (("scan", "int"), ("scan", "float32"), ("step", "int"), ("step", "float32"))
KINDS = ("spikes", "membranes", "potentials", "outputs")
_OLD = onnx.__version__.startswith("1.19.")
OPSETS = (*(() if _OLD else (17,)), onnx.defs.onnx_opset_version())
"""What the files, which are of opset 21, are converted to; onnx 1.19 cannot convert a Shape downwards."""


@dataclass
class Compared:
    """What was held against the reference, and what differed; ``fired`` are the rates of layers."""

    programs: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    fired: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        return sum(self.differing.values())


def of_drawn(drawn: Drawn) -> tuple[Program, dict[str, Array]]:
    """A random graph as a program, and its inputs in real units."""
    assert drawn.arithmetic is not None
    program = Program("generic", drawn.arithmetic, drawn.timesteps, drawn.graph, drawn.graph, {})
    units: dict[str, Any] = {node.name: node.op for node in drawn.graph.of(Input)}
    return program, {name: x * units[name].unit for name, x in drawn.inputs.items()}


def compare(
    program: Program,
    inputs: Mapping[str, Array],
    into: Compared,
    forms: Iterable[tuple[Any, Any]] = FORMS,
    known: Trace | None = None,
) -> None:
    """Run a program in the reference and in ONNX Runtime, in each form."""
    if known is None:
        known = IntegerExecutor(program, reference=True).run(inputs, membranes=True)
    into.programs += 1
    into.fired += [float((spikes != 0).mean()) for spikes in known.spikes.values()]
    for form, arithmetic in forms:
        told = OnnxExecutor(program, form, arithmetic).run(inputs, membranes=True)
        for kind in KINDS:
            wanted, found = getattr(known, kind), getattr(told, kind)
            if set(wanted) != set(found):
                into.differing["layers"] += 1
                into.wrong.append(f"{form}, {arithmetic}: other {kind}: {sorted(set(wanted) ^ set(found))}")
            for layer in set(wanted) & set(found):
                differs = int((wanted[layer] != found[layer]).sum())
                into.compared[kind] += wanted[layer].size
                into.differing[kind] += differs
                if differs:
                    into.wrong.append(f"{form}, {arithmetic}: {kind} of {layer}: {differs} of {wanted[layer].size}")


def given_to(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs as a scan takes them."""
    return {each.name: np.ascontiguousarray(inputs[each.name]) for each in model.graph.input}


def rerun(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """Everything that a scan gives."""
    found: list[Array] = session_of(model.SerializeToString()).run(None, given_to(model, inputs))
    return found


def in_opset(built: Built, opset: int) -> onnx.ModelProto:
    """A model in another opset. The converter drops functions, which therefore become nodes before."""
    return version_converter.convert_version(inliner.inline_local_functions(built.model), opset)


def evaluated(program: Program, built: Built, inputs: Mapping[str, Array]) -> list[Array] | None:
    """The same by the reference evaluator of the onnx package; None where it cannot: its MaxPool (in 1.23.2) leaves
    the padding out of its loops, and its Scan (in 1.19) what the outer graph knows."""
    if _OLD:
        return None
    pools: list[Any] = [node.op for node in program.integer.of(MaxPool)]
    if any(n for pool in pools for pair in pool.padding for n in pair):
        return None
    found: list[Array] = ReferenceEvaluator(built.model).run(None, given_to(built.model, inputs))
    return found
