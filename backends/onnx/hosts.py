"""What a host computes, as nodes of the same file: a region's own ONNX, under names of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import compose, inliner, version_converter

from neurocompile.backends.onnx.writing import OPSET, Value, Writer
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.hosted.session import checked_model
from neurocompile.ir.host import HostRegion

__all__ = ["computed", "region_problems"]


def region_problems(region: HostRegion) -> list[Problem]:
    """Why a region's ONNX cannot be part of another file."""
    try:
        _model_of(region)
    except Exception as error:  # the converter's own, of any kind
        what = f"the ONNX of this host region cannot be had in opset {OPSET}: {str(error).strip().splitlines()[0]}"
        return [Problem(what, region.name, fix="leave out --emit onnx: `neurocompile simulate` runs chip and host")]
    return []


def computed(w: Writer, region: HostRegion, values: Sequence[Value], timesteps: int = 0) -> Value:
    """What a region makes of values ``[N, (T,) *shape]``, in its own precision.

    Args:
        w: where it is written.
        region: in question.
        values: one for each that it reads.
        timesteps: T; 0: the values are ``[N, *shape]``, of one step, and so is the result.
    """
    stem = f"{w.prefix}{region.name}"
    flat = region.per_step and timesteps > 0
    given = []
    for k, value in enumerate(values):
        value = w.cast(value, region.precision, f"{stem}.given{k}")
        if flat:
            shape = w.constant("shape", [-1, *value.shape[2:]], np.int64)
            value = Value(w.node("Reshape", [value.name, shape], f"{stem}.steps{k}"), value.dtype, value.shape)
        given.append(value)
    model = compose.add_prefix(_model_of(region), f"{stem}/")
    for value, its in zip(given, model.graph.input, strict=True):
        w.nodes.append(onnx.helper.make_node("Identity", [value.name], [its.name]))
    w.nodes.extend(model.graph.node)
    w.constants.extend(model.graph.initializer)
    name = model.graph.output[0].name
    shape = (values[0].shape[0], *((timesteps,) if timesteps and region.timed else ()), *region.shape)
    if flat:
        name = w.node("Reshape", [name, w.constant("shape", [-1, *shape[1:]], np.int64)], f"{stem}.over_time")
    return Value(name, np.dtype(region.precision), shape)


def _model_of(region: HostRegion) -> onnx.ModelProto:
    model = inliner.inline_local_functions(checked_model(region))
    (opset,) = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign:
        what = "this host region has operations of other domains"
        raise DoesNotFit(Problem(what, region.name, ", ".join(foreign)))
    return model if opset == OPSET else version_converter.convert_version(model, OPSET)
