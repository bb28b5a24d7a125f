"""``step.onnx`` and ``scan.onnx`` of a Program, or what of it they cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from neurocompile.backends.wanted import USUAL, Wanted
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.extras import needing
from neurocompile.program import Program

__all__ = ["about", "arithmetic_of", "onnx_files"]

_COMPUTES: dict[str, Literal["int", "float32", "reals"]] = {
    "whole numbers, as the chip computes": "int",
    "whole numbers, as the chip computes; sums of products in float32 where that is proved exact": "float32",
    "the folded network in float32": "reals",
}
"""What a file says that it computes with."""


def onnx_files(program: Program, wanted: Wanted = USUAL) -> dict[str, bytes]:
    """One step, with its states as inputs and outputs, and all steps by Scan.

    Args:
        program: compiled.
        wanted: whether products are integers or float32, where that is exact; and whether the folded reals are written
            as well (``reals-step.onnx``, ``reals-scan.onnx``).

    Raises:
        DoesNotFit: with everything that the files cannot say.
        ToolFailed: without onnx.
    """
    with needing("--emit onnx", "onnx"):
        from neurocompile.backends.onnx.build import built_scan, built_step, graph_of, has_step
        from neurocompile.backends.onnx.refusals import problems_with

    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for arithmetic in (wanted.onnx_arithmetic, *(("reals",) if wanted.onnx_reals else ())):
        graph, prefix = graph_of(program, arithmetic), "reals-" if arithmetic == "reals" else ""
        wrong = problems_with(graph, arithmetic)
        problems += [problem for problem in wrong if problem not in problems]
        if wrong:
            continue
        said_of_it = about(program, arithmetic)
        told: list[str] = []
        scan = built_scan(program, arithmetic, about=said_of_it, tell=told.append)
        found[f"{prefix}scan.onnx"] = scan.model.SerializeToString(deterministic=True)
        for said in told:
            wanted.tell(f"ONNX: {said}")
        if has_step(graph):
            step = built_step(program, arithmetic, about=said_of_it)
            found[f"{prefix}step.onnx"] = step.model.SerializeToString(deterministic=True)
        else:
            regions = ", ".join(name for name, region in graph.hosts.items() if not region.per_step)
            wanted.tell(f"ONNX: there is no {prefix}step.onnx, as the host computes {regions} of all steps at once")
    if problems:
        raise DoesNotFit(problems)
    return found


def arithmetic_of(properties: Mapping[str, str]) -> Literal["int", "float32", "reals"]:
    """What a file computes with, by its properties; "int" if they do not say it."""
    return _COMPUTES.get(properties.get("neurocompile.computes", ""), "int")


def about(program: Program, arithmetic: str) -> dict[str, str]:
    """What a reader of the file is told of the whole, and of its numbers."""
    from neurocompile import __version__

    inputs = {
        name: {"unit": op.unit, "low": op.low, "high": op.high}
        for name, op in program.inputs.items()
        if name in program.input_shapes
    }
    (computes,) = [said for said, each in _COMPUTES.items() if each == arithmetic]
    described = (
        f"A spiking network that neurocompile {__version__} compiled for {program.target}: {computes}. Inputs are real"
        " numbers, one for each step; neurons give what they fire."
    )
    told = {
        "neurocompile.version": __version__,
        "neurocompile.target": program.target,
        "neurocompile.timesteps": str(program.timesteps),
        "neurocompile.computes": computes,
        "neurocompile.weight_bits": str(program.settings.get("bits", program.arithmetic.weight_bits)),
        "neurocompile.arithmetic": json.dumps(program.arithmetic.plain(), sort_keys=True),
        "neurocompile.inputs": json.dumps(inputs, sort_keys=True),
        "neurocompile.arrays_sha256": program.arrays_sum,
    }
    return {"description": described, **told}
