"""A host region in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.extras import needing
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Array

__all__ = ["HostSession", "sessions"]

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
            import onnx
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, too
        try:
            outside = [tensor.name for tensor in _tensors(onnx.load_model_from_string(region.model))
                       if tensor.data_location == onnx.TensorProto.EXTERNAL]  # fmt: skip
            if outside:  # a program could read any file of the machine that it is run on
                what = "the ONNX of this host region wants to read other files; nothing was read"
                raise BadInput(Problem(what, region.name, ", ".join(outside[:5]), "weights in the model itself", _FIX))
            providers = ["CPUExecutionProvider"]
            self._session: Any = onnxruntime.InferenceSession(region.model, options, providers=providers)
        except BadInput:
            raise
        except Exception as error:
            what = f"ONNX Runtime does not take this host region: {_first_line(error)}"
            raise BadInput(Problem(what, region.name, fix=_FIX)) from error
        self._names = [given.name for given in self._session.get_inputs()]
        kind = _TYPES.get(region.precision, region.precision)
        for side, found, count in (
            ("inputs", self._session.get_inputs(), len(region.reads)),
            ("outputs", self._session.get_outputs(), 1),
        ):
            if len(found) != count:
                what = f"the ONNX of this host region has another number of {side}"
                raise BadInput(Problem(what, region.name, str(len(found)), str(count), _FIX))
            other = next((value.type for value in found if value.type != kind), None)
            if other is not None:
                what = f"the ONNX of this host region has {side} of another type"
                raise BadInput(Problem(what, region.name, other, kind, _FIX))

    def __call__(self, values: Sequence[Array]) -> Array:
        """The result ``[N, (T,) *shape]`` in float64, for one array for each read ``[N, (T,) *shape]``.

        Raises:
            BadInput: if the model cannot be run on them, or if the result has another shape.
        """
        region, samples = self.region, len(values[0])
        steps = values[0].shape[1] if region.per_step else self._timesteps
        given = {}
        for name, value in zip(self._names, values):
            flat = value.reshape(samples * steps, *value.shape[2:]) if region.per_step else value
            given[name] = np.ascontiguousarray(flat, region.precision)
        try:
            (result,) = self._session.run(None, given)
        except Exception as error:
            shapes = ", ".join(str(list(value.shape)) for value in given.values())
            what = f"ONNX Runtime cannot run this host region: {_first_line(error)}"
            raise BadInput(Problem(what, region.name, f"input {shapes}", fix=_FIX)) from error
        result = np.asarray(result, np.float64)
        if region.per_step and result.shape[:1] == (samples * steps,):
            result = result.reshape(samples, steps, *result.shape[1:])
        expected = (samples, *((steps,) if region.timed else ()), *region.shape)
        if result.shape != expected:
            what = "this host region gives a result of another shape than it says"
            raise BadInput(Problem(what, region.name, str(list(result.shape)), str(list(expected)), _FIX))
        return result


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors in a model, wherever they stand."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            if hasattr(part, "data_location"):
                yield part
            elif hasattr(part, "ListFields"):
                yield from _tensors(part)


def sessions(regions: Iterable[HostRegion], timesteps: int) -> dict[str, HostSession]:
    """A session for each region, by name."""
    return {region.name: HostSession(region, timesteps) for region in regions}
