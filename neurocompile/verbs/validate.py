"""``neurocompile validate``: a Program against its model, against what else runs it, against what hardware did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from neurocompile.data import Data
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.base import Model
from neurocompile.ir.ops import Array, Neuron
from neurocompile.labels import check_labels
from neurocompile.printable import printable
from neurocompile.program import Program
from neurocompile.registry import Table
from neurocompile.reports.validation import Stage, Validation
from neurocompile.simulator.base import Executor, Runner, RunnerSettings
from neurocompile.simulator.execution import IntegerExecutor, RealExecutor
from neurocompile.simulator.execution import Recording as Replay
from neurocompile.targets import target_of
from neurocompile.typed import Positive, Range
from neurocompile.validation import BitExact, Pair, Recorded, compare_pairs
from neurocompile.validation.causes import Examine, IntegersExamined
from neurocompile.verbs.comparing import compare_sharded, model_whole_because, shards_to_compare, usual_stages
from neurocompile.verbs.given import EXAMPLES, Inputs, ModelOptions, check_carried, data_of, program_of
from neurocompile.verbs.progress import Progress, Step, silent
from neurocompile.verbs.recorded import Recording, RecordingOptions, bring, recording_of
from neurocompile.verbs.shards import WorkOptions, check_workers, working
from neurocompile.work import Engine, key_of

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
class ValidateRequest(ModelOptions, RecordingOptions, WorkOptions):
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
        tolerance: ``STAGE=NUMBER``: how much a stage may find. Of lowering, outputs may differ by this part of the
            largest (1e-9); of quantization, accuracy may fall by so many points (0.5), or, without labels, F1 of the
            spikes lack so many percent; of all others, so many spikes may differ, in percent of those expected (0).
        workers, scheduler, cache: who compares model, folded graph and integers; the rest is compared in this process
            (:class:`neurocompile.verbs.shards.WorkOptions`).
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
    tolerance: tuple[str, ...] = ()
    require: tuple[str, ...] = ()


def validate(request: ValidateRequest, progress: Progress | None = None) -> Validation:
    """Run every stage that can run.

    Raises:
        UsageError: if there is nothing to compare with, or no data, or what is required is no stage.
        BadInput: if data, reference or recording do not belong to the program.
        ToolFailed: if Lava or the RTL fails, or takes too long.
    """
    _check_required(request.require)
    tolerances = _tolerances(request.tolerance)
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
    shards = shards_to_compare(program, len(data))
    why = model_whole_because(reference) if request.shared or len(shards) > 1 else ""
    check_workers(request, why)
    with working(request, 0 if why else len(shards)) as engine, (progress or silent)("comparing", len(data)) as step:
        return validate_program(
            program, data, reference, recorded, step, opened=opened, required=request.require, tolerances=tolerances,
            engine=engine, known=_known(request) if engine is not None else "",
        )  # fmt: skip


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
    tolerances: Mapping[str, float] | None = None,
    engine: Engine | None = None,
    known: str = "",
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
        tolerances: by stage (:class:`ValidateRequest`), where they are not the usual ones.
        engine: shares lowering and quantization, shard by shard; None: all is compared here, in one piece.
        known: the checksum of the reference, as far as results are kept; "": of what is sent.

    Raises:
        BadInput: if the reference or the recording does not belong to this program.
    """
    check_labels(program, data)
    order, target = tuple(node.name for node in program.real.of(Neuron)), program.target
    allowed = tolerances or {}
    real, integers = RealExecutor(program), IntegerExecutor(program)
    if reference is not None:
        _check_reference(program, reference)
    usual = usual_stages(program, reference, integers, real, allowed)
    examine = IntegersExamined(program)
    own, for_all = ([each for each in opened if each[0].of_any is any_] for any_ in (False, True))
    missing = Stage("backend", target, "", reason=f"target {target} has no executor besides the simulator")
    others = _runner_stages(integers, order, target, own, examine, allowed) or [missing]
    others += _runner_stages(integers, order, target, for_all, examine, allowed)
    brought = None if recorded is None else bring(recorded, program, data)
    if brought is not None:
        spikes = brought.recorded.spikes
        as_told = Recorded(order, allowed.get("recorded", 0.0))
        pair = Pair("recorded", integers, Replay(spikes), as_told, examine=examine)
        others.append(pair if spikes else brought.stage(target))
    others += _absent(required, [*usual, *others], target)
    if engine is None:
        stages = compare_pairs([*usual, *others], target, data, progress)
    else:
        step = progress or (lambda done: None)
        stages = compare_sharded(usual, program, reference, data, engine, step, known, allowed)
        stages += compare_pairs(others, target, data)
    if brought is not None:
        stages = [brought.told(stage) if stage.name == "recorded" else stage for stage in stages]
    (_, of_reference), (after, before) = (stage.accuracies for stage in stages[:2])
    before = before if of_reference is None else of_reference
    return Validation(stages, before, after, samples=len(data), timesteps=program.timesteps, required=tuple(required))


def _running(opened: Sequence[Opened]) -> bool:
    """Whether the target's own is among what runs: what runs any program is asked for, or runs beside others."""
    return any(not (isinstance(executor, str) or runner.of_any) for runner, executor in opened)


def _runner_stages(
    integers: Executor, order: tuple[str, ...], target: str, opened: Sequence[Opened], examine: Examine,
    allowed: Mapping[str, float],
) -> list[Pair | Stage]:  # fmt: skip
    """A stage for each that runs the program, or would."""

    def rule(runner: Runner) -> BitExact:
        return BitExact(order, allowed.get(runner.executor or runner.stage, 0.0))

    return [
        Stage(runner.stage, target, "", reason=executor, executor=runner.executor)
        if isinstance(executor, str)
        else Pair(runner.stage, integers, executor, rule(runner), runner.samples, runner.executor, examine)
        for runner, executor in opened
    ]


def _tolerances(given: Sequence[str]) -> dict[str, float]:
    """``STAGE=NUMBER`` as both.

    Raises:
        UsageError: with all that is not.
    """
    known = [name for name in (*_STAGES, *EXECUTORS) if name != "backend"]
    found, problems = {}, []
    for text in given:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = -1.0
        if name not in known:
            fix = "name one of these"
            problems.append(Problem("no such stage", "--tolerance", printable(name), ", ".join(known), fix))
        elif not 0 <= found[name] < np.inf:
            fix = "write it as recorded=1.5, without a unit"
            problems.append(Problem("no number from 0 on", "--tolerance", printable(text), f"{name}=NUMBER", fix))
    if problems:
        raise UsageError(problems)
    return found


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


def _known(request: ValidateRequest) -> str:
    """The checksum of a reference that is in a file, with how that is read; "": code of the user's is in it, too."""
    if not isinstance(request.reference, Path) or request.arch or request.trust:
        return ""
    said = {field.name: getattr(request, field.name) for field in fields(ModelOptions)}
    return key_of(request.reference, repr(sorted(said.items())))


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
