"""A host region in ONNX Runtime, within bounds of memory and time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.extras import needing
from neurocompile.files.onnxmodel import onnx_model, parts_of
from neurocompile.hosted.worker import MEMORY, SECONDS, Refusal, the_worker
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Array

__all__ = ["HostSession", "checked_model", "sessions"]

_FIX = "export the model again"
_TYPES = {"float64": "tensor(double)", "float32": "tensor(float)"}


class HostSession:
    """Runs a region's ONNX on arrays; the same inputs give the same numbers (one thread).

    Args:
        region: what it computes.
        timesteps: T.

    Raises:
        ToolFailed: if ONNX Runtime is not installed.
        BadInput: if it does not take the region's model, or if that is not the function that the region says it is.
    """

    def __init__(self, region: HostRegion, timesteps: int) -> None:
        self.region = region
        self._timesteps = timesteps
        with needing(region.name):
            if find_spec("onnxruntime") is None:  # another process imports it
                raise ModuleNotFoundError("onnxruntime", name="onnxruntime")
            checked_model(region)
        self._key = hashlib.sha256(region.model).hexdigest()
        try:
            sides = the_worker().open(self._key, region.model)
        except Refusal as refusal:
            raise self._failed("ONNX Runtime does not take this host region", refusal, "") from refusal
        kind = _TYPES.get(region.precision, region.precision)
        for side, found, count in (
            ("inputs", sides["inputs"], len(region.reads)),
            ("outputs", sides["outputs"], 1),
        ):
            if len(found) != count:
                what = f"the ONNX of this host region has another number of {side}"
                raise BadInput(Problem(what, region.name, str(len(found)), str(count), _FIX))
            other = next((its for _, its in found if its != kind), None)
            if other is not None:
                what = f"the ONNX of this host region has {side} of another type"
                raise BadInput(Problem(what, region.name, other, kind, _FIX))

    def __call__(self, values: Sequence[Array]) -> Array:
        """The result ``[N, (T,) *shape]`` in float64, for one array for each read ``[N, (T,) *shape]``.

        Raises:
            BadInput: if the model cannot be run on them within the limits, or if the result has another shape.
        """
        region, samples = self.region, len(values[0])
        steps = values[0].shape[1] if region.per_step else self._timesteps
        given = []
        for value in values:
            flat = value.reshape(samples * steps, *value.shape[2:]) if region.per_step else value
            given.append(np.ascontiguousarray(flat, region.precision))
        try:
            result = np.asarray(the_worker().run(self._key, region.model, given), np.float64)
        except Refusal as refusal:
            if refusal.kind == "memory" and samples > 1:  # samples do not depend on one another
                half = samples // 2
                parts = ([value[:half] for value in values], [value[half:] for value in values])
                return np.concatenate([self(part) for part in parts])
            shapes = "input " + ", ".join(str(list(value.shape)) for value in given)
            raise self._failed("ONNX Runtime cannot run this host region", refusal, shapes) from refusal
        if region.per_step and result.shape[:1] == (samples * steps,):
            result = result.reshape(samples, steps, *result.shape[1:])
        expected = (samples, *((steps,) if region.timed else ()), *region.shape)
        if result.shape != expected:
            what = "this host region gives a result of another shape than it says"
            raise BadInput(Problem(what, region.name, str(list(result.shape)), str(list(expected)), _FIX))
        return result

    def _failed(self, what: str, refusal: Refusal, actual: str) -> BadInput:
        more = {"memory": f"allow it more: {MEMORY}=8192 (MiB)", "time": f"allow it more: {SECONDS}=3600"}
        fix = more.get(refusal.kind, _FIX)
        return BadInput(Problem(f"{what}: {refusal.text}", self.region.name, actual, fix=fix))


def checked_model(region: HostRegion) -> Any:
    """The ONNX of a region, which reads no other files, and has no loops, which may never end.

    Raises:
        BadInput: for one that does, or that is none.
    """
    model = onnx_model(region.model, region.name, _FIX, "the ONNX of this host region")
    loops = {x.op_type for x in parts_of(model) if getattr(x, "op_type", "") in ("Loop", "Scan")}
    if loops:
        what = "the ONNX of this host region has loops, of which nobody knows when they end"
        fix = "write the steps one by one in forward, and export the model again"
        raise BadInput(Problem(what, region.name, ", ".join(sorted(loops)), fix=fix))
    return model


def sessions(regions: Iterable[HostRegion], timesteps: int) -> dict[str, HostSession]:
    """A session for each region, by name."""
    return {region.name: HostSession(region, timesteps) for region in regions}
