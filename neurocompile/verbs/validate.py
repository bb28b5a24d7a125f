"""``neurocompile validate``: a Program against its model, against what else runs it, against what hardware did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from neurocompile.data import Data
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.base import Model
from neurocompile.ir.compare import tolerance_of
from neurocompile.ir.ops import Array, Neuron
from neurocompile.labels import check_labels
from neurocompile.program import Program
from neurocompile.registry import Table
from neurocompile.reports.validation import Stage, Validation
from neurocompile.simulator.base import Executor, Runner, RunnerSettings
from neurocompile.simulator.execution import IntegerExecutor, RealExecutor
from neurocompile.simulator.execution import Recording as Replay
from neurocompile.targets import target_of
from neurocompile.typed import Positive, Range
from neurocompile.validation import BitExact, Exact, Faithful, Pair, Recorded, compare_pairs
from neurocompile.validation.causes import Examine, IntegersExamined, RealsExamined
from neurocompile.verbs.given import EXAMPLES, Inputs, ModelOptions, check_carried, data_of, program_of
from neurocompile.verbs.progress import Progress, Step, silent
from neurocompile.verbs.recorded import Recording, RecordingOptions, bring, recording_of

if TYPE_CHECKING:
    from neurocompile.verbs.given import Source

__all__ = ["ValidateRequest", "not_opened", "opened_for", "validate", "validate_program"]

EXECUTORS: Table[Runner] = Table(
    "neurocompile.executors",
    {
        "lava": "neurocompile.backends.lava.executor:LAVA",
        "rtl": "neurocompile.backends.rtl.executor:RTL",
        "onnx": "neurocompile.backends.onnx.runner:ONNX",
    },
)
"""What runs programs besides the simulator, by name."""

_STAGES = ("lowering", "quantization", "recorded", "backend")

Opened = tuple[Runner, Executor | str]
"""An entry of the table of executors with what runs a program, or why it does not."""


@dataclass(frozen=True, kw_only=True)
class ValidateRequest(ModelOptions, RecordingOptions):
    """What is compared with what; what a reference may not say about itself is as for any model.

    What hardware did, and how it is read: :class:`neurocompile.verbs.recorded.RecordingOptions`.

    Attributes:
        program: compiled, or its folder (then the files in it are what other tools run).
        reference: the model that the program was made from; None: the lowering is not checked.
        data: samples; None: those that the program brought along.
        labels: of the samples, if any; an npz file has its own.
        hardware: run on Loihi itself, where the machine has one.
        time_limit_s: that one run of another tool may take before it is killed.
        backend_samples: how many samples other tools run, at most; None: as many as each says (Lava 128, the RTL 4,
            ONNX Runtime 16).
        lava_python: Python 3.10 with Lava, or its environment; None: the one that is found.
        require: stages that have to run and to pass: lowering, quantization, recorded, or an executor (lava, rtl,
            onnx).
        trust: also run a bundle that is not what this package writes.
    """

    program: Program | Path
    reference: Source | None = None
    data: Inputs | None = None
    labels: Array | None = None
    hardware: bool = False
    time_limit_s: Positive = 600.0
    backend_samples: Annotated[int, Range(0)] | None = None
    lava_python: Path | None = None
    require: tuple[str, ...] = ()


def validate(request: ValidateRequest, progress: Progress | None = None) -> Validation:
    """Run every stage that can run.

    Raises:
        UsageError: if there is nothing to compare with, or no data, or what is required is no stage.
        BadInput: if data, reference or recording do not belong to the program.
        ToolFailed: if Lava or the RTL fails, or takes too long.
    """
    _check_required(request.require)
    program = program_of(request.program)
    left_out = "left out (--backend-samples 0)"
    opened = not_opened(program, left_out) if request.backend_samples == 0 else opened_for(program, _settings(request))
    given = request.reference is not None or request.has_recording or bool(request.require)
    if not given and not _running(opened):
        fix = "give --reference MODEL, --recorded SPIKES.npz, or both"
        reasons = "; ".join(why for _, why in opened if isinstance(why, str))
        raise UsageError(Problem("nothing to compare with", actual=reasons, fix=fix))
    data = _data(request, program)
    recorded = recording_of(request, program)
    reference = _reference(request, program, data)
    with (progress or silent)("comparing", len(data)) as step:
        return validate_program(program, data, reference, recorded, step, opened=opened, required=request.require)


def opened_for(program: Program, settings: RunnerSettings) -> list[Opened]:
    """What runs a program besides the simulator, and what would if it could.

    Raises:
        LavaMissing: if an interpreter was named, and is none.
    """
    found = []
    for name in EXECUTORS:
        runner = EXECUTORS[name]
        executor = runner.open(program, settings)
        if executor != "":
            most = runner.samples if settings.samples is None else settings.samples
            found.append((replace(runner, samples=most), executor))
    return found


def not_opened(program: Program, why: str = "") -> list[Opened]:
    """What could run a program of this target besides the simulator, and why it does not now.

    Args:
        program: compiled.
        why: it does not; "": it does later, and says where.
    """
    named = target_of(program).backends
    runners = [EXECUTORS[name] for name in EXECUTORS if name in named or (why and EXECUTORS[name].of_any)]
    hosted = "parts of this network are computed by the host" if program.integer.hosts else ""
    return [(runner, why or ("" if runner.hosts else hosted) or runner.later) for runner in runners]


def validate_program(
    program: Program,
    data: Data,
    reference: Model | None = None,
    recorded: Recording | Mapping[str, Array] | None = None,
    progress: Step | None = None,
    *,
    opened: Sequence[Opened] = (),
    required: Sequence[str] = (),
) -> Validation:
    """Compare a program that is at hand; the rule of each stage is in :mod:`neurocompile.validation.rules`.

    Args:
        program: compiled.
        data: inputs ``[N, T, ...]`` and labels, if any.
        reference: the model that the program was made from; None: the lowering is not checked.
        recorded: what hardware did for these data: read (:func:`neurocompile.verbs.recorded.recording_of`), or spikes
            ``[N, T, ...]`` by layer.
        progress: called with the number of samples done since the last call.
        opened: what else runs the program (:func:`opened_for`).
        required: the stages that have to pass.

    Raises:
        BadInput: if the reference or the recording does not belong to this program.
    """
    check_labels(program, data)
    order, target = tuple(node.name for node in program.real.of(Neuron)), program.target
    real, integers = RealExecutor(program), IntegerExecutor(program)
    planned: list[Pair | Stage] = []
    if reference is None:
        reason = "no reference model was given"
        planned.append(Stage("lowering", target, "pytorch, float64", reason=reason))
    else:
        _check_reference(program, reference)
        rule = Exact(order, tolerance_of(program.real))
        planned.append(Pair("lowering", real, reference, rule, examine=RealsExamined(program, reference.graph)))
    planned.append(Pair("quantization", integers, real, Faithful(order)))
    examine = IntegersExamined(program)
    planned += _runner_stages(integers, order, target, opened, examine)
    brought = None if recorded is None else bring(recorded, program, data)
    if brought is not None:
        spikes = brought.recorded.spikes
        pair = Pair("recorded", integers, Replay(spikes), Recorded(order), examine=examine)
        planned.append(pair if spikes else brought.stage(target))
    planned += _absent(required, planned, target)
    stages = compare_pairs(planned, target, data, progress)
    if brought is not None:
        stages = [brought.told(stage) if stage.name == "recorded" else stage for stage in stages]
    (_, of_reference), (after, before) = (stage.accuracies for stage in stages[:2])
    before = before if of_reference is None else of_reference
    return Validation(stages, before, after, samples=len(data), timesteps=program.timesteps, required=tuple(required))


def _running(opened: Sequence[Opened]) -> bool:
    """Whether the target's own is among what runs: what runs any program is asked for, or runs beside others."""
    return any(not (isinstance(executor, str) or runner.of_any) for runner, executor in opened)


def _runner_stages(
    integers: Executor, order: tuple[str, ...], target: str, opened: Sequence[Opened], examine: Examine
) -> list[Pair | Stage]:
    """A stage for each that runs the program, or would; "backend" stands for the target's own if it has none."""
    stages: list[Pair | Stage] = []
    if all(runner.of_any for runner, _ in opened):
        stages = [Stage("backend", target, "", reason=f"target {target} has no executor besides the simulator")]
    return stages + [
        Stage(runner.stage, target, "", reason=executor, executor=runner.executor)
        if isinstance(executor, str)
        else Pair(runner.stage, integers, executor, BitExact(order), runner.samples, runner.executor, examine)
        for runner, executor in opened
    ]


def _check_required(required: Sequence[str]) -> None:
    """That what is required is a stage of some program.

    Raises:
        UsageError: with all that is none.
    """
    known = (*_STAGES, *EXECUTORS)
    fix = "name one of these, once for each stage"
    problems = [
        Problem("no such stage", "--require", name, ", ".join(known), fix) for name in required if name not in known
    ]
    if problems:
        raise UsageError(problems)


def _absent(required: Sequence[str], planned: Sequence[Pair | Stage], target: str) -> list[Stage]:
    """Stages that are required, and for which nothing was given or that this target does not have."""
    there = {name for each in planned for name in (each.name, each.executor)}
    why = {"recorded": "no recording was given (--recorded SPIKES.npz)"}
    return [
        Stage(name, target, "", reason=why.get(name, f"nothing of that name runs programs for {target}"))
        for name in dict.fromkeys(required)
        if name not in there
    ]


# -- what is given -----------------------------------------------------------------------------------------------------


def _settings(request: ValidateRequest) -> RunnerSettings:
    return RunnerSettings(
        samples=request.backend_samples,
        time_limit_s=request.time_limit_s,
        lava_python=request.lava_python,
        hardware=request.hardware,
        folder=request.program if isinstance(request.program, Path) else None,
        trust=request.trust,
    )


def _data(request: ValidateRequest, program: Program) -> Data:
    if request.data is not None:
        data = data_of(request.data, program.input_shapes, program.timesteps, request.labels, program.lines)
    elif (own := program.example_data()) is not None:
        data = own
    else:
        raise UsageError(Problem("the program brought no samples of its own", fix="give --data X.npz"))
    check_carried(program.integer, data)
    return data


def _reference(request: ValidateRequest, program: Program, data: Data) -> Model | None:
    """The model; what it does not say of its inputs and steps is as in the program."""
    if request.reference is None:
        return None
    from neurocompile.frontends import live_model, load_model

    said = {field.name: getattr(request, field.name) for field in fields(ModelOptions)}
    if not request.said:
        said |= program.settings.get("reading", {})
    if isinstance(request.reference, Path):
        return load_model(
            request.reference, **said, otherwise=(next(iter(program.input_shapes.values())), program.timesteps)
        )
    if isinstance(request.reference, Model):
        return request.reference
    said |= {"input_shape": dict(program.input_shapes), "timesteps": program.timesteps}
    return live_model(request.reference, data.part(0, EXAMPLES).inputs, **said)


def _check_reference(program: Program, reference: Model) -> None:
    pairs = (
        ("a number of steps", reference.timesteps, program.timesteps),
        ("inputs", dict(reference.graph.given_inputs), program.input_shapes),
    )
    fix = "give the model that was exported"
    problems = [
        Problem(f"the reference has {what} that the program has not", "--reference", str(a), str(b), fix)
        for what, a, b in pairs
        if a != b
    ]
    if problems:
        raise BadInput(problems)
