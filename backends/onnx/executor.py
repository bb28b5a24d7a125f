"""ONNX Runtime as an executor of a program's files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from neurocompile.backends.onnx.build import Arithmetics, Built, built_scan, built_step, graph_of, has_step
from neurocompile.backends.onnx.models import Told
from neurocompile.backends.onnx.network import BATCH
from neurocompile.backends.onnx.refusals import problems_with
from neurocompile.errors import BadInput, DoesNotFit, Problem
from neurocompile.hosted.worker import MEMORY, SECONDS, Refusal, the_worker
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Output
from neurocompile.ir.trace import Trace, joined
from neurocompile.program import Program

__all__ = ["OnnxExecutor", "session_of"]


_SAMPLES = 16
"""So many are run at once: a Scan holds every step of every layer."""


class OnnxExecutor:
    """Runs ``scan.onnx``, or ``step.onnx`` step by step.

    Args:
        program: compiled.
        form: which of the two.
        arithmetic: integers of bytes, float32 where it is exact, or the folded graph in float32.
        threads: of ONNX Runtime.

    Raises:
        DoesNotFit: with everything that the files cannot say.
    """

    def __init__(
        self,
        program: Program,
        form: Literal["scan", "step"] = "scan",
        arithmetic: Arithmetics = "int",
        threads: int = 1,
    ) -> None:
        self.program, self.form, self.arithmetic, self._threads = program, form, arithmetic, threads
        self._graph = graph_of(program, arithmetic)
        self._opened: dict[bool, tuple[Built, _Session]] = {}
        problems = problems_with(self._graph, arithmetic)
        if form == "step" and not has_step(self._graph):
            names = ", ".join(name for name, region in self._graph.hosts.items() if not region.per_step)
            what = "one step does not stand for all: the host computes this of all steps at once"
            problems.append(Problem(what, names, fix="run scan.onnx"))
        if problems:
            raise DoesNotFit(problems)

    @property
    def name(self) -> str:
        """What it is."""
        return f"ONNX Runtime ({self.form}.onnx, {self.arithmetic})"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units."""
        built, session = self._open(membranes)
        run = self._by_steps if self.form == "step" else self._at_once
        samples = len(next(iter(inputs.values())))
        parts = [slice(start, start + _SAMPLES) for start in range(0, samples, _SAMPLES)]
        return joined([run(built, session, {name: x[part] for name, x in inputs.items()}, membranes) for part in parts])

    def _open(self, membranes: bool) -> tuple[Built, _Session]:
        key = membranes and self.form == "scan"
        if key not in self._opened:
            if self.form == "step":
                built = built_step(self.program, self.arithmetic)
            else:
                built = built_scan(self.program, self.arithmetic, Told(membranes=membranes))
            model = built.model.SerializeToString()
            # What a host computes may ask for any amount of memory and time.
            session = _Apart(model) if self._graph.hosts else session_of(model, self._threads)
            self._opened[key] = built, session
        return self._opened[key]

    def _at_once(self, built: Built, session: _Session, inputs: Mapping[str, Array], membranes: bool) -> Trace:
        kinds = _kinds(built, membranes)
        wanted = [name for names in kinds.values() for name in names.values()]
        given = _given(session, inputs)
        results = dict(zip(wanted, session.run(wanted, given))) if wanted else {}
        return Trace(**{kind: {layer: results[name] for layer, name in names.items()} for kind, names in kinds.items()})

    def _by_steps(self, built: Built, session: _Session, inputs: Mapping[str, Array], membranes: bool) -> Trace:
        samples, timesteps = next(iter(inputs.values())).shape[:2]
        states = {}
        for state in built.states:
            batch = (samples,) if state.now.shape[0] == BATCH else ()
            states[state.now.name] = np.broadcast_to(state.rest, (*batch, *state.rest.shape))
        kinds = _kinds(built, membranes)
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
        if name in self._graph:
            op: Any = self._graph[name].op
            return read_out(op, values)
        (region,) = (region for region in self._graph.hosts.values() if region.output == name)
        return read_out(Output(region.read), values)


def _kinds(built: Built, membranes: bool) -> dict[str, dict[str, str]]:
    kinds = {"outputs": built.outputs, "spikes": built.spikes}
    return kinds | ({"membranes": built.membranes, "potentials": built.potentials} if membranes else {})


# -- sessions ----------------------------------------------------------------------------------------------------------


class _Session(Protocol):
    """What there is of ONNX Runtime's own."""

    def get_inputs(self) -> Sequence[Any]:
        """What the model takes, each with name and type."""

    def run(self, wanted: Sequence[str], given: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs of these names."""


def session_of(model: bytes, threads: int = 1) -> Any:
    """ONNX Runtime with a model, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass
class _Tensor:
    name: str
    type: str


class _Apart:
    """A session in a process whose memory and time are bounded.

    Raises:
        BadInput: if the model cannot be run within the bounds.
    """

    def __init__(self, model: bytes) -> None:
        self._model, self._key = model, hashlib.sha256(model).hexdigest()
        try:
            sides = the_worker().open(self._key, model)
        except Refusal as refusal:
            raise _failed(refusal) from refusal
        self._inputs = [_Tensor(*each) for each in sides["inputs"]]
        self._outputs = [name for name, _ in sides["outputs"]]

    def get_inputs(self) -> Sequence[_Tensor]:
        return self._inputs

    def run(self, wanted: Sequence[str], given: Mapping[str, Array]) -> Sequence[Array]:
        try:
            results = the_worker().run_all(self._key, self._model, [given[each.name] for each in self._inputs])
        except Refusal as refusal:
            raise _failed(refusal) from refusal
        found = dict(zip(self._outputs, results))
        return [found[name] for name in wanted]


def _failed(refusal: Refusal) -> BadInput:
    more = {"memory": f"allow it more: {MEMORY}=8192 (MiB)", "time": f"allow it more: {SECONDS}=3600"}
    what = f"ONNX Runtime does not run this network with its host regions: {refusal.text}"
    return BadInput(Problem(what, fix=more.get(refusal.kind, "export the model again")))


def _given(session: _Session, inputs: Mapping[str, Array]) -> dict[str, Array]:
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
