"""ONNX Runtime as an executor of a program's models, built for it or read from its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnx

from neurocompile.backends.onnx.build import Arithmetics, Built, built_scan, built_step, graph_of, has_step
from neurocompile.backends.onnx.files import about
from neurocompile.backends.onnx.models import Told
from neurocompile.backends.onnx.network import BATCH
from neurocompile.backends.onnx.refusals import problems_with
from neurocompile.errors import BadInput, DoesNotFit, Problem
from neurocompile.hosted.worker import MEMORY, SECONDS, Refusal, the_worker
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Output
from neurocompile.ir.trace import Trace, joined
from neurocompile.program import Program

__all__ = ["ModelFile", "OnnxExecutor", "session_of"]


_SAMPLES = 16
"""So many are run at once: a Scan holds every step of every layer."""


@dataclass(frozen=True)
class ModelFile:
    """A file of a folder, and what is in it."""

    path: Path
    content: bytes


class OnnxExecutor:
    """Runs ``scan.onnx``, or ``step.onnx`` step by step.

    Args:
        program: compiled.
        form: which of the two.
        arithmetic: integers of bytes, float32 where it is exact, or the folded graph in float32.
        threads: of ONNX Runtime.
        file: what is run instead of a model that is built now; it has to give what that gives, but for a Scan's
            membranes, which no file has.

    Raises:
        DoesNotFit: with everything that the files cannot say.
    """

    def __init__(
        self,
        program: Program,
        form: Literal["scan", "step"] = "scan",
        arithmetic: Arithmetics = "int",
        threads: int = 1,
        file: ModelFile | None = None,
    ) -> None:
        self.program, self.form, self.arithmetic, self._threads = program, form, arithmetic, threads
        self._graph, self._file = graph_of(program, arithmetic), file
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
        key = membranes and self.form == "scan" and self._file is None
        if key not in self._opened:
            said = about(self.program, self.arithmetic)
            if self.form == "step":
                built = built_step(self.program, self.arithmetic, said)
            else:
                built = built_scan(self.program, self.arithmetic, Told(membranes=key), said)
            model = built.model.SerializeToString(deterministic=True)
            given = model if self._file is None else self._file.content
            # What a host computes, and what others wrote, may ask for any amount of memory and time.
            apart = bool(self._graph.hosts) or given != model
            where = "" if self._file is None else str(self._file.path)
            session: _Session = _Apart(given, where) if apart else session_of(given, self._threads)
            self._opened[key] = built, session if given == model else _Checked(session, built.model, where)
        return self._opened[key]

    def _at_once(self, built: Built, session: _Session, inputs: Mapping[str, Array], membranes: bool) -> Trace:
        kinds = _kinds(built, membranes)
        wanted = [name for names in kinds.values() for name in names.values()]
        given = _given(session, inputs)
        results = dict(zip(wanted, session.run(wanted, given))) if wanted else {}
        told: dict[str, Any] = {
            kind: {layer: results[name] for layer, name in names.items()} for kind, names in kinds.items()
        }
        return Trace(**told)

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
        told: dict[str, Any] = {
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

    def get_outputs(self) -> Sequence[Any]:
        """What it gives, likewise."""

    def run(self, wanted: Sequence[str], given: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs of these names."""


def session_of(model: bytes, threads: int = 1) -> Any:
    """ONNX Runtime with a model, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if threads > 1:  # which else go on spinning for a while, on cores that others want
        options.add_session_config_entry("session.force_spinning_stop", "1")
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

    def __init__(self, model: bytes, where: str = "") -> None:
        self._model, self._where, self._key = model, where, hashlib.sha256(model).hexdigest()
        try:
            sides = the_worker().open(self._key, model)
        except Refusal as refusal:
            raise _failed(refusal, where) from refusal
        self._inputs = [_Tensor(*each) for each in sides["inputs"]]
        self._outputs = [_Tensor(*each) for each in sides["outputs"]]

    def get_inputs(self) -> Sequence[_Tensor]:
        return self._inputs

    def get_outputs(self) -> Sequence[_Tensor]:
        return self._outputs

    def run(self, wanted: Sequence[str], given: Mapping[str, Array]) -> Sequence[Array]:
        try:
            results = the_worker().run_all(self._key, self._model, [given[each.name] for each in self._inputs])
        except Refusal as refusal:
            raise _failed(refusal, self._where) from refusal
        found = dict(zip((each.name for each in self._outputs), results))
        return [found[name] for name in wanted]


class _Checked:
    """A session of a file that others may have changed.

    Raises:
        BadInput: if the file does not take and give what the program's own model does, here or when it runs.
    """

    def __init__(self, session: _Session, own: onnx.ModelProto, where: str) -> None:
        self._session, self._where = session, where
        self._first = own.graph.input[0].name  # [N, ...]
        self._shapes: dict[str, list[int]] = {  # 0: N
            each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in own.graph.output
        }
        sides = (session.get_inputs(), own.graph.input, "takes"), (session.get_outputs(), own.graph.output, "gives")
        for found, wanted, how in sides:
            names = {each.name for each in found}
            missing = [each.name for each in wanted if each.name not in names]
            more = sorted(names - {each.name for each in wanted}) if how == "takes" else []
            more += [f"{each.type} for {each.name}" for each in found if how == "takes" and each.type not in _TYPES]
            if missing or more:
                what = f"this file {how} something else than its program"
                told = [*(f"no {name}" for name in missing), *more]
                raise BadInput(Problem(what, self._where, ", ".join(told[:5]), fix=_EXPORT))

    def get_inputs(self) -> Sequence[Any]:
        return self._session.get_inputs()

    def get_outputs(self) -> Sequence[Any]:
        return self._session.get_outputs()

    def run(self, wanted: Sequence[str], given: Mapping[str, Array]) -> Sequence[Array]:
        results = self._session.run(wanted, given)
        for name, result in zip(wanted, results):
            shape = [n or len(given[self._first]) for n in self._shapes[name]]
            if list(result.shape) != shape:
                what = f"this file gives {name} in another shape than its program"
                raise BadInput(Problem(what, self._where, str(list(result.shape)), str(shape), _EXPORT))
        return results


_EXPORT = "export the program again"


def _failed(refusal: Refusal, where: str) -> BadInput:
    more = {"memory": f"allow it more: {MEMORY}=8192 (MiB)", "time": f"allow it more: {SECONDS}=3600"}
    what = "ONNX Runtime does not run this " + ("file" if where else "network with its host regions")
    return BadInput(Problem(f"{what}: {refusal.text}", where, fix=more.get(refusal.kind, _EXPORT)))


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
