"""``neurocompile check``: every node of a source against a target, all findings at once, nothing compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurocompile.compiler import Options
from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.base import Judged
from neurocompile.judging import alone, judged
from neurocompile.reports.check import CheckReport, NodeVerdict
from neurocompile.typed import Count
from neurocompile.verbs.given import SourceOptions, model_of

if TYPE_CHECKING:
    from neurocompile.verbs.given import Source

__all__ = ["CheckRequest", "check"]


@dataclass(frozen=True, kw_only=True)
class CheckRequest(SourceOptions):
    """What is looked at.

    Attributes:
        model: a file, or a live module.
        target: what it is to be compiled for.
        chips: how many chips it may take.
    """

    model: Source
    target: str = "generic"
    chips: Count = 1


def check(request: CheckRequest) -> CheckReport:
    """Hold every node of a source against a target, without compiling it.

    Raises:
        BadInput: for a file that cannot be read at all.
        UsageError: see :mod:`neurocompile.errors`.
    """
    found = _source(request)
    options = Options(chips=request.chips)
    problems = list(found.problems)
    if found.graph is not None:
        problems += judged(found.graph, request.target, options)
    for name, (op, shape) in found.alone.items():
        problems += judged(alone(name, op, shape), request.target, options)
    problems = list(dict.fromkeys(problems))
    return CheckReport(request.target, _verdicts(found.nodes, problems), tuple(problems), found.notes)


def _source(request: CheckRequest) -> Judged:
    from neurocompile.frontends import judge_model

    if isinstance(request.model, Path):
        return judge_model(request.model, **request.settings)
    try:
        graph = model_of(request.model, request).graph
    except UnsupportedModel as error:
        return Judged({}, problems=error.problems)
    return Judged.of(graph)


def _verdicts(nodes: Mapping[str, str], problems: Sequence[Problem]) -> tuple[NodeVerdict, ...]:
    """Each finding stands beside the node that it names: the longest name that its place ends with."""
    places: dict[str, list[int]] = {name: [] for name in nodes}
    for number, problem in enumerate(problems):
        found = _node_of(problem.where, places)
        if found is not None:
            places[found].append(number)
    return tuple(NodeVerdict(name, kind, not places[name], tuple(places[name])) for name, kind in nodes.items())


def _node_of(where: str, nodes: dict[str, list[int]]) -> str | None:
    """``FILE: NAME``, ``FILE:LINE (NAME)``, or ``NAME``, of a layer or of a part of one (``NAME.current``)."""
    name = where.rpartition(": ")[2]
    name = name.partition(" (")[2].rstrip(")") or name
    while name and name not in nodes:
        name = name.rpartition(".")[0]
    return name or None
