"""``neurocompile export``: a model as a Program's folder, with the files of backends, compared with PyTorch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from neurocompile.backends.base import check_emitters, emitted_files
from neurocompile.backends.wanted import Wanted
from neurocompile.compiler import PASS_NAMES
from neurocompile.data import Data
from neurocompile.errors import DoesNotFit, Problem, UsageError
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Integrator, Neuron
from neurocompile.program import Program, check_free
from neurocompile.reports.export import ExportReport, LayerUnits
from neurocompile.reports.validation import Validation
from neurocompile.targets import load_target
from neurocompile.validation import silence
from neurocompile.verbs.compile import CompileRequest, calibration_of, compiled
from neurocompile.verbs.given import check_carried, model_of
from neurocompile.verbs.program import host_regions, placement_of, sizes_of
from neurocompile.verbs.progress import Progress, silent
from neurocompile.verbs.validate import not_opened, validate_program

if TYPE_CHECKING:
    from neurocompile.frontends import Model

__all__ = ["ExportRequest", "export"]


@dataclass(frozen=True, kw_only=True)
class ExportRequest(CompileRequest):
    """How a model is compiled, and what is written.

    Attributes:
        out: the folder to write; None: one with the name of the model's file, here.
        emit: backends to write files for; None: the target's.
        integers: for --emit nir: the program's integers, in the target's units, instead of the folded reals.
        approximate: for --emit nir: what NIR cannot say is written as near as can be, with a warning.
        onnx_arithmetic: for --emit onnx: products as integers, or in float32 where that is proved exact.
        onnx_reals: for --emit onnx: the folded reals as well, in float32.
        stock_only: refuse layers that Lava's own processes (and Loihi) cannot do.
        overwrite: replace the folder if it is a program.
        dry_run: compile and report, but write nothing.
        validate: whether to compare the result with PyTorch, where there are samples.
        print_ir_after: a pass after which the graph is printed on stderr; "all": after each.
    """

    out: Path | None = None
    emit: tuple[str, ...] | None = None
    integers: bool = False
    approximate: bool = False
    onnx_arithmetic: Literal["int", "float32"] = "int"
    onnx_reals: bool = False
    stock_only: bool = False
    overwrite: bool = False
    dry_run: bool = False
    validate: bool = True
    print_ir_after: str | None = None


def export(request: ExportRequest, progress: Progress | None = None) -> ExportReport:
    """Compile a model for a target and write the program.

    Raises:
        UnsupportedModel, DoesNotFit, BadInput, UsageError, ToolFailed: see :mod:`neurocompile.errors`. What exceeds
            the target is reported by a dry run, not raised.
    """
    target = load_target(request.target)
    losses: list[str] = []
    wanted = Wanted(
        request.integers, request.approximate, request.onnx_arithmetic, request.onnx_reals, tell=losses.append
    )
    emit = check_emitters(target, target.emits if request.emit is None else request.emit, wanted)
    printed = _printer(request.print_ir_after)
    out = None if request.dry_run else _folder(request)
    model = model_of(request.model, request, request.calibrate)
    given = calibration_of(request, model)
    program = compiled(request, model, given, plain_weights="netx" in emit, after=printed, check=False)
    fit = target.fit(program, request.chips)
    if fit.problems and out is not None:
        raise DoesNotFit(fit.problems)
    placement = placement_of(program, request.stock_only)
    emitted = emitted_files(program, () if program.integer.hosts and request.emit is None else emit, wanted)
    if fit.placed is not None:
        emitted["cores.json"] = (json.dumps(fit.placed.as_json(), indent=1) + "\n").encode()
    data = program.example_data() if given is None else given
    if data is not None:
        check_carried(program.integer, data)
    validation = _validated(program, data, model, progress) if data is not None and request.validate else None
    files = [] if out is None else program.save(out, request.overwrite, emitted)
    return ExportReport(
        target=target.name,
        program=out,
        sizes=sizes_of(program),
        weight_bits=program.settings["bits"],
        cores=None if fit.placed is None else len(fit.placed.cores),
        chips=fit.chips or 1,
        mapping=fit.placed,
        host_regions=host_regions(program),
        files=tuple(files),
        notes=program.notes,
        placement=placement,
        inputs={name: op.carries for name, op in program.inputs.items()},
        warnings=(
            *model.notes,
            *losses,
            *_drawn(model, program),
            *silence(program, None if validation is None else validation.stages[1]),
        ),
        validation=validation,
        errors=fit.problems,
        timesteps=program.timesteps,
        layers=tuple(_layers(program)),
        compared_on="the model's own samples" if given is None else given.where,
    )


def _printer(wanted: str | None) -> Callable[[str, Graph], None]:
    """What prints the graph after a pass, as soon as it is done."""
    if wanted and wanted != "all" and wanted not in PASS_NAMES:
        raise UsageError(Problem("no such pass", "--print-ir-after", wanted, ", ".join(PASS_NAMES), "name one, or all"))

    def after(name: str, graph: Graph) -> None:
        if wanted in (name, "all"):
            print(f"-- after {name}\n{graph}\n", file=sys.stderr)

    return after


def _folder(request: ExportRequest) -> Path:
    """Where to write, if it is free."""
    out = request.out
    if out is None:
        if not isinstance(request.model, Path):
            raise UsageError(Problem("a live module has no file to name the folder after", "out", fix="give out"))
        out = Path(request.model.stem)
    read = [given for given in (request.model, request.calibrate) if isinstance(given, Path)]
    if os.path.lexists(out) and any(out.resolve() in given.resolve().parents for given in read):
        what, fix = "the output would replace a folder with what is read in it", "write into another folder"
        raise UsageError(Problem(what, str(out), ", ".join(map(str, read)), fix=fix))
    check_free(out, request.overwrite)
    return out


def _validated(program: Program, data: Data, model: Model, progress: Progress | None) -> Validation:
    with (progress or silent)("validating", len(data)) as step:
        return validate_program(program, data, model, progress=step, opened=not_opened(program))


def _drawn(model: Model, program: Program) -> Iterator[str]:
    """What forward draws at random is an input: it is nowhere frozen, and nowhere drawn again."""
    for name in program.input_shapes:
        if name not in model.input_shapes:
            where = program.lines.get(name, "forward")
            yield f"{where}: the random numbers drawn there are an input of the program, {name}, for whoever runs it"


def _layers(program: Program) -> Iterator[LayerUnits]:
    one = 2.0**program.arithmetic.decay_fraction
    for name, signed in program.units.items():
        op, unit = program.integer[name].op, abs(signed)
        assert isinstance(op, Neuron | Integrator)
        ends = ((float(each.min()), float(each.max())) for each in (unit, np.asarray(op.decay) / one))
        yield LayerUnits(name, program.integer.edges[name].shape, *ends)
