"""``neurocompile inspect``: the graph of a model or a program, its sizes, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.passes import REAL_PASSES, run_passes
from neurocompile.program import Program, is_program, load_program
from neurocompile.reports.inspect import InspectReport
from neurocompile.reports.program import Sizes
from neurocompile.targets import load_target, target_of
from neurocompile.typed import Count
from neurocompile.verbs.given import SourceOptions, model_of
from neurocompile.verbs.program import host_regions, placement_of, sizes_of

if TYPE_CHECKING:
    from neurocompile.ir.placed import Placed
    from neurocompile.verbs.given import Source

__all__ = ["InspectRequest", "inspect"]


@dataclass(frozen=True, kw_only=True)
class InspectRequest(SourceOptions):
    """What is looked at.

    Attributes:
        what: a model, or a program (or its folder).
        target: for a model: what it is to be compiled for.
        chips: how many chips it may take.
    """

    what: Source | Program
    target: str = "generic"
    chips: Count = 1


def inspect(request: InspectRequest) -> InspectReport:
    """Show the graph of a model or a program, its sizes, what folds into what, and what does not fit.

    Raises:
        UnsupportedModel, BadInput, UsageError: see :mod:`neurocompile.errors`.
    """
    found = _of_program(request.what) or _of_model(request)
    program, problems, placement, mapping = found.program, list(found.problems), None, found.placed
    if program is not None and mapping is not None:
        try:
            placement = placement_of(program)
        except DoesNotFit as error:
            problems += error.problems
    return InspectReport(
        target=request.target if program is None else program.target,
        timesteps=found.timesteps,
        sizes=Sizes() if program is None else sizes_of(program),
        graph=tuple(str(found.graph).split("\n")),
        integer_graph=None if program is None else tuple(str(program.integer).split("\n")),
        notes=found.notes,
        host_regions=() if program is None else host_regions(program),
        mapping=mapping,
        does_not_fit=tuple(problems),
        placement=placement,
    )


@dataclass(frozen=True)
class _Found:
    """The folded graph; the program that was made of it, if it could be, where it is, and what does not fit."""

    graph: Graph
    notes: tuple[str, ...]
    timesteps: int
    program: Program | None
    problems: tuple[Problem, ...] = ()
    placed: Placed | None = None


def _of_program(what: Source | Program) -> _Found | None:
    """Of a program; None if it is none."""
    if isinstance(what, Path) and is_program(what.resolve()):
        what = load_program(what)
    if not isinstance(what, Program):
        return None
    fit = target_of(what).fit(what, what.settings.get("chips", 1))
    return _Found(what.real, what.notes, what.timesteps, what, fit.problems, fit.placed)


def _of_model(request: InspectRequest) -> _Found:
    assert not isinstance(request.what, Program)
    model = model_of(request.what, request)
    graph, notes = run_passes(model.graph, REAL_PASSES)
    try:
        options, example = Options(chips=request.chips), model.example
        program = compile_graph(model.graph, request.target, model.timesteps, options, example=example, check=False)
    except DoesNotFit as error:
        return _Found(graph, tuple(notes), model.timesteps, None, error.problems)
    fit = load_target(request.target).fit(program, request.chips)
    return _Found(graph, program.notes, model.timesteps, program, fit.problems, fit.placed)
