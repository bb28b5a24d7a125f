"""The stages of a validation: PyTorch against the reals, the reals against the integers, a recording against these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from neurocompile.data import Data
from neurocompile.errors import BadInput, Problem
from neurocompile.execution import Execution, Executor
from neurocompile.hosted import run_graph
from neurocompile.ir.interpret import Run
from neurocompile.ir.ops import Array, Neuron
from neurocompile.labels import accuracy_of, check_labels
from neurocompile.program import Program
from neurocompile.validation.compare import Comparison, Divergence, compare_spikes

__all__ = ["Backend", "Reference", "ReferenceModel", "Stage", "Validation", "validate_program"]

# Samples that are compared at a time.
_CHUNK = 64
# Outputs of two float64 computations may differ by this part of the largest.
_OUTPUT_TOLERANCE = 1e-9
# So may whatever comes after a host region that ONNX Runtime has in float32 only.
_IN_FLOAT32 = 1e-5
# How far quantization may change the result.
_ACCURACY_POINTS = 0.5
_AGREEMENT = 0.95


class Reference(Protocol):
    """What a reference computed; see :class:`neurocompile.frontends.pytorch.Reference`."""

    outputs: dict[str, Array]
    spikes: dict[str, Array]
    margins: dict[str, Array]
    thresholds: dict[str, float]


class ReferenceModel(Protocol):
    """What can be run for reference; see :class:`neurocompile.frontends.pytorch.TorchModel`."""

    timesteps: int
    input_shapes: dict[str, tuple[int, ...]]
    example: dict[str, Array]

    def run(self, inputs: Mapping[str, Array]) -> Reference:
        """Run on ``inputs[name][N, T, ...]``."""


class Backend(Protocol):
    """What runs a program besides the simulator; see :class:`neurocompile.backends.lava.LavaExecutor`.

    ``stage`` is what its comparison is called, ``samples`` how many it runs if nobody says, ``cycles`` how many
    moments it compared with the timing simulator so far, and how many of them differ.
    """

    stage: str
    samples: int
    cycles: tuple[int, int]

    @property
    def name(self) -> str:
        """What it is."""

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Spikes, and membranes after the reset, ``[N, T, ...]`` by layer, for integers ``inputs[name][N, T, ...]``."""


@dataclass
class Stage:
    """One comparison; ``passed`` is None where it could not run, for the ``reason`` given.

    Executors of the same integers are compared in every membrane too (after the reset).
    """

    name: str
    target: str
    against: str
    comparison: Comparison = field(default_factory=Comparison)
    passed: bool | None = None
    reason: str = ""
    output_error: float = 0.0
    samples: int = 0
    membranes_compared: int = 0
    membrane_mismatches: int = 0
    first_membrane: Divergence | None = None
    cycles_compared: int = 0
    cycle_mismatches: int = 0

    def as_json(self) -> dict[str, Any]:
        """One of ``stages``."""
        c = self.comparison
        return {
            "name": self.name,
            "target": self.target,
            "against": self.against,
            "compared": c.compared,
            "mismatches": c.mismatches,
            "ties": c.ties,
            "first_divergence": None if c.first is None else c.first.as_json(),
            "firing_rates": c.firing_rates,
            "agreement": c.agreement,
            "output_error": self.output_error,
            "samples": self.samples,
            "membranes_compared": self.membranes_compared,
            "membrane_mismatches": self.membrane_mismatches,
            "first_membrane": None if self.first_membrane is None else self.first_membrane.as_json(),
            "cycles_compared": self.cycles_compared,
            "cycle_mismatches": self.cycle_mismatches,
            "passed": self.passed,
            "reason": self.reason,
        }


@dataclass
class Validation:
    """All stages, with the accuracy of the reference and of the program (None without labels)."""

    stages: list[Stage]
    accuracy_reference: float | None
    accuracy_program: float | None

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing failed."""
        ran = [stage.passed for stage in self.stages if stage.passed is not None]
        return bool(ran) and all(ran)

    def as_json(self) -> dict[str, Any]:
        """The object that ``validate --json`` prints."""
        return {
            "stages": [stage.as_json() for stage in self.stages],
            "accuracy_reference": self.accuracy_reference,
            "accuracy_program": self.accuracy_program,
            "passed": self.passed,
        }


def validate_program(
    program: Program,
    data: Data,
    reference: ReferenceModel | None = None,
    recorded: Mapping[str, Array] | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    backend: Backend | None = None,
    backend_samples: int | None = None,
    without_backend: str = "",
) -> Validation:
    """Compare a program with its reference, with what runs it besides the simulator, and with what hardware did.

    Args:
        program: compiled.
        data: inputs ``[N, T, ...]`` and labels, if any.
        reference: the torch model; None: the lowering is not checked.
        recorded: spikes ``[N, T, ...]`` by layer that hardware fired for these data.
        progress: called with the number of samples done since the last call.
        backend: an executor of the same integers.
        backend_samples: how many samples it runs, at most; None: as many as it says.
        without_backend: why there is no executor.

    Raises:
        BadInput: if the reference or the recording does not belong to this program.
    """
    order = [node.name for node in program.real.of(Neuron)]
    check_labels(program, data)
    if reference is not None:
        _check_reference(program, reference)
    if recorded is not None:
        _check_recording(program, data, recorded)
    lowering = Stage("lowering", program.target, "pytorch, float64")
    quantization = Stage("quantization", program.target, "the folded graph in float64")
    executed = Stage("backend", program.target, "")
    if backend is not None:
        executed = Stage(backend.stage, program.target, backend.name)
    if backend is None:
        executed.reason = without_backend or f"target {program.target} has no executor besides the simulator"
    hardware = Stage("recorded", program.target, "the recording")
    scores: dict[str, list[dict[str, Array]]] = {"pytorch": [], "real": [], "integer": []}
    executor = Executor(program)
    for start in range(0, len(data), _CHUNK):
        part = data.part(start, start + _CHUNK)
        real = run_graph(program.real, part.inputs, program.timesteps)
        wanted = backend_samples
        if wanted is None:
            wanted = 0 if backend is None else backend.samples
        runs_backend = backend is not None and start < wanted
        integer = executor.run(part.inputs, membranes=runs_backend)
        scores["real"].append(real.outputs)
        scores["integer"].append(integer.outputs)
        if reference is not None:
            expected = reference.run(part.inputs)
            scores["pytorch"].append(expected.outputs)
            _compare_lowering(lowering, expected, real, order, start, _tolerance(program))
        if order:
            compare_spikes(quantization.comparison, real.spikes, integer.spikes, order, start)
        if backend is not None and runs_backend:
            whole, _ = program.integers(part.inputs)
            few = {name: x[: wanted - start] for name, x in whole.items()}
            _compare_backend(executed, integer, *backend.run(few), order, start)
        if recorded is not None:
            fired = {name: spikes[start : start + _CHUNK] for name, spikes in recorded.items()}
            names = [name for name in order if name in fired]
            compare_spikes(hardware.comparison, integer.spikes, fired, names, start)
        if progress:
            progress(len(part))
    accuracies = {name: accuracy_of(_joined(parts), data.labels) if parts else None for name, parts in scores.items()}
    _judge_lowering(lowering, reference, _tolerance(program))
    _judge_quantization(quantization, accuracies["real"], accuracies["integer"])
    if backend is not None:
        executed.cycles_compared, executed.cycle_mismatches = backend.cycles
        differing = executed.comparison.mismatches, executed.membrane_mismatches, executed.cycle_mismatches
        executed.passed = differing == (0, 0, 0)
    stages = [lowering, quantization, executed]
    if recorded is not None:
        hardware.passed = hardware.comparison.mismatches == 0
        stages.append(hardware)
    before = accuracies["real"] if accuracies["pytorch"] is None else accuracies["pytorch"]
    return Validation(stages, before, accuracies["integer"])


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_reference(program: Program, reference: ReferenceModel) -> None:
    pairs = (
        ("a number of steps", reference.timesteps, program.timesteps),
        ("inputs", dict(reference.input_shapes), program.input_shapes),
    )
    fix = "give the model that was exported"
    problems = [
        Problem(f"the reference has {what} that the program has not", "--reference", str(a), str(b), fix)
        for what, a, b in pairs
        if a != b
    ]
    if problems:
        raise BadInput(problems)


def _check_recording(program: Program, data: Data, recorded: Mapping[str, Array]) -> None:
    layers = {node.name for node in program.integer.of(Neuron)}
    problems = []
    for name, spikes in recorded.items():
        if name not in layers:
            fix = "name recorded layers as `simulate --spikes` does"
            problems.append(Problem("the program has no such layer", name, limit=", ".join(sorted(layers)), fix=fix))
            continue
        if spikes.dtype.kind not in "fiub" or not np.isin(spikes, (-1, 0, 1)).all():
            fix = "record 1 for a spike and 0 for none"
            problems.append(Problem("what was recorded are no spikes", name, str(spikes.dtype), "-1, 0 or 1", fix))
            continue
        shape = (len(data), program.timesteps, *program.integer.edges[name].shape)
        if spikes.shape != shape:
            fix = "record [samples, steps, ...] in network time"
            problems.append(Problem("recorded spikes have the wrong shape", name, str(spikes.shape), str(shape), fix))
    if not recorded:
        fix = "record at least one layer"
        problems.append(Problem("the recording is empty", "--recorded", limit=", ".join(sorted(layers)), fix=fix))
    if problems:
        raise BadInput(problems)


def _tolerance(program: Program) -> float:
    """How far outputs may differ, as a part of the largest, and membranes of ties from their threshold."""
    rough = any(region.precision == "float32" for region in program.real.hosts.values())
    return _IN_FLOAT32 if rough else _OUTPUT_TOLERANCE


def _compare_lowering(
    stage: Stage, expected: Reference, actual: Run, order: list[str], start: int, tolerance: float
) -> None:
    missing = [name for name in order if name not in expected.spikes]
    if missing:
        raise BadInput(
            [
                Problem("the reference has no such neuron layer", name, fix="give the model that was exported")
                for name in missing
            ]
        )
    if order:
        tied = compare_spikes(
            stage.comparison, expected.spikes, actual.spikes, order, start, expected.margins, expected.thresholds,
            tolerance,
        )  # fmt: skip
    else:
        tied = np.zeros(len(next(iter(expected.outputs.values()))), bool)
    for name, values in expected.outputs.items():
        known, found = np.asarray(values[~tied], np.float64), actual.outputs[name][~tied]
        same = (known == found) | (np.isnan(known) & np.isnan(found))  # infinite, or no number, in both
        if not same.all():
            size = max(1.0, float(np.abs(known[np.isfinite(known)]).max(initial=0.0)))
            error = float(np.abs(known[~same] - found[~same]).max()) / size
            stage.output_error = max(stage.output_error, np.inf if np.isnan(error) else error)


def _compare_backend(
    stage: Stage,
    integer: Execution,
    spikes: Mapping[str, Array],
    membranes: Mapping[str, Array],
    order: list[str],
    start: int,
) -> None:
    """Every spike of every neuron, and every membrane of these and of the readouts."""
    samples = len(next(iter(membranes.values())))
    stage.samples += samples
    expected = {name: integer.spikes[name][:samples] for name in order}
    if order:
        compare_spikes(stage.comparison, expected, spikes, order, start)
    for name, known in integer.potentials.items():
        differs = known[:samples] != membranes[name]
        stage.membranes_compared += differs.size
        stage.membrane_mismatches += int(differs.sum())
        if stage.first_membrane is None and differs.any():
            sample, step, *neuron = (int(i) for i in np.argwhere(differs)[0])
            place = (sample, step, *neuron)
            values = int(known[place]), int(membranes[name][place])
            stage.first_membrane = Divergence(start + sample, step, name, tuple(neuron), *values, None)


def _judge_lowering(stage: Stage, reference: ReferenceModel | None, tolerance: float) -> None:
    if reference is None:
        stage.reason = "no reference model was given"
        return
    stage.passed = stage.comparison.mismatches == 0 and stage.output_error <= tolerance
    if not stage.comparison.compared:
        stage.reason = "no neuron spikes in this network: outputs alone were compared"
    elif tolerance > _OUTPUT_TOLERANCE:
        stage.reason = f"a host region has float32 only: outputs and ties were held to {tolerance:g}"
    if stage.output_error > tolerance:
        stage.reason = f"outputs differ by {stage.output_error:.3g} of the largest (allowed: {tolerance:g})"


def _judge_quantization(stage: Stage, before: float | None, after: float | None) -> None:
    agreement = stage.comparison.agreement
    if before is not None and after is not None:
        fall = (before - after) * 100
        stage.passed = fall <= _ACCURACY_POINTS + 1e-9
        stage.reason = f"accuracy {before:.2%} to {after:.2%}"
    elif agreement:
        least = 1.0 - sum(stage.comparison.differing.values()) / stage.comparison.compared
        stage.passed = least >= _AGREEMENT
        stage.reason = f"no labels: {least:.2%} of the spikes agree"
    else:
        stage.reason = "no labels and no spikes to compare"
