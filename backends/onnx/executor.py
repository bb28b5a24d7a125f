"""ONNX Runtime as an executor of a program's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from neurocompile.backends.onnx.build import Arithmetics, Built, built_scan, built_step, graph_of
from neurocompile.backends.onnx.models import Told
from neurocompile.extras import needing
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Output
from neurocompile.ir.trace import Trace
from neurocompile.program import Program

__all__ = ["OnnxExecutor", "session_of"]


def session_of(model: bytes, threads: int = 1) -> Any:
    """ONNX Runtime with a model, on the CPU.

    Raises:
        ToolFailed: if it is not installed.
    """
    with needing("", "onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxExecutor:
    """Runs ``scan.onnx``, or ``step.onnx`` step by step.

    Args:
        program: compiled.
        form: which of the two.
        arithmetic: integers of bytes, float32 where it is exact, or the folded graph in float32.
        threads: of ONNX Runtime.
    """

    def __init__(
        self, program: Program, form: Literal["scan", "step"] = "scan", arithmetic: Arithmetics = "int", threads: int = 1
    ) -> None:
        self.program, self.form, self.arithmetic, self._threads = program, form, arithmetic, threads
        self._opened: dict[bool, tuple[Built, Any]] = {}

    @property
    def name(self) -> str:
        """What it is."""
        return f"ONNX Runtime ({self.form}.onnx, {self.arithmetic})"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units."""
        built, session = self._open(membranes)
        run = self._by_steps if self.form == "step" else self._at_once
        return run(built, session, inputs, membranes)

    def _open(self, membranes: bool) -> tuple[Built, Any]:
        key = membranes and self.form == "scan"
        if key not in self._opened:
            if self.form == "step":
                built = built_step(self.program, self.arithmetic)
            else:
                built = built_scan(self.program, self.arithmetic, Told(membranes=membranes))
            self._opened[key] = built, session_of(built.model.SerializeToString(), self._threads)
        return self._opened[key]

    def _at_once(self, built: Built, session: Any, inputs: Mapping[str, Array], membranes: bool) -> Trace:
        kinds = {"outputs": built.outputs, "spikes": built.spikes}
        kinds |= {"membranes": built.membranes, "potentials": built.potentials} if membranes else {}
        wanted = [name for names in kinds.values() for name in names.values()]
        given = _given(session, inputs)
        results = dict(zip(wanted, session.run(wanted, given))) if wanted else {}
        return Trace(**{kind: {layer: results[name] for layer, name in names.items()} for kind, names in kinds.items()})

    def _by_steps(self, built: Built, session: Any, inputs: Mapping[str, Array], membranes: bool) -> Trace:
        samples, timesteps = next(iter(inputs.values())).shape[:2]
        states = {}
        for state in built.states:
            batch = (samples,) if state.now.shape[0] == "N" else ()
            states[state.now.name] = np.broadcast_to(state.rest, (*batch, *state.rest.shape))
        kinds = {"outputs": built.outputs, "spikes": built.spikes}
        kinds |= {"membranes": built.membranes, "potentials": built.potentials} if membranes else {}
        wanted = dict.fromkeys(name for names in kinds.values() for name in names.values())
        wanted |= dict.fromkeys(state.after.name for state in built.states)
        found: dict[str, list[Array]] = {name: [] for name in wanted}
        for t in range(timesteps):
            given = _given(session, {name: x[:, t] for name, x in inputs.items()} | states)
            results = dict(zip(wanted, session.run(list(wanted), given)))
            for name, result in results.items():
                found[name].append(result)
            states = {state.now.name: results[state.after.name] for state in built.states}
        told = {
            kind: {layer: np.stack(found[name], axis=1) for layer, name in names.items()}
            for kind, names in kinds.items()
        }
        told["outputs"] = {name: self._read(name, values) for name, values in told["outputs"].items()}
        return Trace(**told)

    def _read(self, name: str, values: Array) -> Array:
        """What an output reads of all steps ``[N, T, *shape]``."""
        graph = graph_of(self.program, self.arithmetic)
        if name in graph:
            op: Any = graph[name].op
            return read_out(op, values)
        (region,) = (region for region in graph.hosts.values() if region.output == name)
        return read_out(Output(region.read), values)


def _given(session: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays in the types that a model takes, for the inputs that it has."""
    types = {each.name: _TYPES[each.type] for each in session.get_inputs()}
    return {name: np.ascontiguousarray(inputs[name], dtype) for name, dtype in types.items()}


_TYPES = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
