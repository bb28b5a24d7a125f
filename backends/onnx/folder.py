"""The ONNX files of a program's folder, run as they stand there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from neurocompile.backends.onnx.build import has_step
from neurocompile.backends.onnx.executor import ModelFile, OnnxExecutor
from neurocompile.backends.onnx.files import arithmetic_of
from neurocompile.errors import BadInput, Problem
from neurocompile.files import content_of
from neurocompile.files.onnxmodel import onnx_model
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.program import Program

__all__ = ["OnnxFolder"]

_MOST = 2 << 30
"""Bytes: protobuf has no larger messages."""
_FIX = "export the program again"


class OnnxFolder:
    """Spikes and outputs are those of scan.onnx, membranes those of step.onnx, which has to fire the same.

    A file that is not, byte for byte, what this package writes runs in a process whose memory and time are bounded.

    Args:
        program: compiled.
        folder: of its ONNX files.

    Raises:
        BadInput: if they are no ONNX models, want to read other files, or are another program's.
    """

    def __init__(self, program: Program, folder: Path) -> None:
        self._folder = folder
        self._scan = _opened(program, folder, "scan")
        stepped = has_step(program.integer) and (folder / "step.onnx").exists()
        self._step = _opened(program, folder, "step") if stepped else None

    @property
    def name(self) -> str:
        """What it is."""
        names = "scan.onnx" if self._step is None else "scan.onnx and step.onnx"
        return f"ONNX Runtime ({names} of the folder, {self._scan.arithmetic})"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units."""
        found = self._scan.run(inputs)
        if self._step is not None and membranes:
            other = self._step.run(inputs, membranes=True)
            self._hold(found.spikes, other.spikes)
            self._hold(found.outputs, other.outputs)
            found.membranes, found.potentials = other.membranes, other.potentials
        return found

    def _hold(self, whole: Mapping[str, Array], stepped: Mapping[str, Array]) -> None:
        for name, values in whole.items():
            if differs := int(np.sum(values != stepped[name])):
                what = "scan.onnx and step.onnx of this folder do not compute the same"
                raise BadInput(
                    Problem(what, str(self._folder), f"{differs} of {values.size} values of {name}", fix=_FIX)
                )


def _opened(program: Program, folder: Path, form: Literal["scan", "step"]) -> OnnxExecutor:
    path = folder / f"{form}.onnx"
    content = content_of(path, _MOST)
    model = onnx_model(content, str(path), _FIX)
    properties = {each.key: each.value for each in model.metadata_props}
    made_of = properties.get("neurocompile.arrays_sha256", program.arrays_sum)
    if made_of != program.arrays_sum:
        what = "this file was written for another program"
        raise BadInput(Problem(what, str(path), f"arrays {made_of[:12]}", f"arrays {program.arrays_sum[:12]}", _FIX))
    return OnnxExecutor(program, form, arithmetic_of(properties), file=ModelFile(path, content))
