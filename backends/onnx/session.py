"""A host region in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem, ToolFailed
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Array

__all__ = ["HostSession", "sessions"]


class HostSession:
    """Runs a region's ONNX on arrays; the same inputs give the same numbers (one thread).

    Raises:
        ToolFailed: if ONNX Runtime is not installed.
        BadInput: if it does not take the region's model.
    """

    def __init__(self, region: HostRegion) -> None:
        self.region = region
        try:
            import onnxruntime
        except ImportError as error:
            what = "this network has host regions, which ONNX Runtime computes, and it is not installed"
            raise ToolFailed(Problem(what, region.name, fix="pip install onnxruntime")) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            providers = ["CPUExecutionProvider"]
            self._session: Any = onnxruntime.InferenceSession(region.model, options, providers=providers)
        except Exception as error:
            what = f"ONNX Runtime does not take this host region: {str(error).splitlines()[0]}"
            raise BadInput(Problem(what, region.name, fix="export the model again")) from error
        self._names = [given.name for given in self._session.get_inputs()]
        if len(self._names) != len(region.reads):
            what, limit = "the ONNX of this host region has another number of inputs", str(len(region.reads))
            raise BadInput(Problem(what, region.name, str(len(self._names)), limit, "export the model again"))

    def __call__(self, values: Sequence[Array]) -> Array:
        """The result ``[N, (T,) *shape]`` in float64, for one array for each read ``[N, (T,) *shape]``."""
        steps = values[0].shape[1] if self.region.per_step else 1
        samples = len(values[0])
        given = {}
        for name, value in zip(self._names, values):
            flat = value.reshape(samples * steps, *value.shape[2:]) if self.region.per_step else value
            given[name] = np.ascontiguousarray(flat, self.region.precision)
        (result,) = self._session.run(None, given)
        result = np.asarray(result, np.float64)
        return result.reshape(samples, steps, *result.shape[1:]) if self.region.per_step else result


def sessions(regions: Iterable[HostRegion]) -> dict[str, HostSession]:
    """A session for each region, by name."""
    return {region.name: HostSession(region) for region in regions}
