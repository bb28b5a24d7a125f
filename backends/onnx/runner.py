"""ONNX Runtime as a stage of a validation, where it is installed."""

from __future__ import annotations

from neurocompile.errors import DoesNotFit, Problem, ToolFailed
from neurocompile.extras import require
from neurocompile.program import Program
from neurocompile.simulator.base import Executor, Runner, RunnerSettings

__all__ = ["ONNX"]

_OLDEST = (1, 24)
"""The first ONNX Runtime that multiplies bytes with a sign in convolutions."""


def _open(program: Program, settings: RunnerSettings) -> Executor | str:
    """ONNX Runtime for a program, or why it does not run it."""
    try:
        _check_version()
        from neurocompile.backends.onnx.executor import OnnxExecutor
        from neurocompile.backends.onnx.folder import OnnxFolder

        files = None if settings.folder is None else settings.folder / "onnx"
        return (
            OnnxExecutor(program) if files is None or not (files / "scan.onnx").exists() else OnnxFolder(program, files)
        )
    except (DoesNotFit, ToolFailed) as error:
        first = error.problems[0]
        return f"{first.where}: {first.what}" if first.where else f"{first.what}; {first.fix}"


def _check_version() -> None:
    require("onnx")
    import onnxruntime

    version, oldest = str(onnxruntime.__version__), ".".join(map(str, _OLDEST))
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        what = f"ONNX Runtime {version} has no convolution of bytes with a sign"
        raise ToolFailed(Problem(what, fix=f"pip install 'onnxruntime>={oldest}'"))


ONNX = Runner("onnx", 16, _open, executor="onnx", hosts=True, of_any=True)
"""Runs programs for any chip."""
