"""``neurocompile report``: all that is known of a program, as one page to look at and to show around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem, UsageError
from neurocompile.extras import require
from neurocompile.files import check_output, write_file, write_folder
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Array, Integrator, Neuron
from neurocompile.program import Program
from neurocompile.reports.page import LayerFacts, PageReport, Raster, StepTimes
from neurocompile.reports.program import Placement
from neurocompile.simulator.timing.clock import Clock
from neurocompile.targets import load_target, target_names, target_of
from neurocompile.verbs.given import data_of, program_of
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.program import placement_of, sizes_of
from neurocompile.verbs.progress import Progress, silent
from neurocompile.verbs.running import run_program
from neurocompile.verbs.validate import ValidateRequest, validate

__all__ = ["ReportRequest", "report"]

# Of a layer's neurons so many are drawn at most, evenly chosen; of all layers so many.
_NEURONS_SHOWN = 96
_LAYERS_SHOWN = 24


@dataclass(frozen=True, kw_only=True)
class ReportRequest(ValidateRequest):
    """What is shown, and where; what is compared is as for ``validate``.

    Attributes:
        out: the page to write; None: it is not written.
        csv: a folder for the same numbers; None: they are only in the page.
        targets: chips whose prices stand side by side, beside the program's own; none: every priced one.
        title: of the page; None: the program's name.
        overwrite: replace what exists.
    """

    out: Path | None = None
    csv: Path | None = None
    targets: tuple[str, ...] = ()
    title: str | None = None
    overwrite: bool = False


def report(request: ReportRequest, progress: Progress | None = None) -> PageReport:
    """Validate, simulate, price and place a program, and write the page.

    Raises:
        UsageError: for a chip that does not exist, or a file that does; without any data.
        BadInput, ToolFailed: see :func:`neurocompile.verbs.validate.validate`.
    """
    require("report")
    names = request.targets or tuple(name for name in target_names() if load_target(name).priced)
    for name in names:
        load_target(name)
    _check_outputs(request)
    program = program_of(request.program)
    validation = validate(request, progress)
    data = _data(request, program)
    with (progress or silent)("simulating", len(data)) as step:
        timed = run_program(program, data, timeline=_timed(program), progress=step)
        few = run_program(program, data.part(0, 1), keep_spikes=True, timing=False)
    own = priced(timed)
    runs = {own.target: own, **{name: priced(timed, name) for name in names if name != own.target}}
    chips = {name: load_target(name) for name in runs if name in target_names()}
    placement = placement_of(program)
    fit = target_of(program).fit(program)
    made = PageReport(
        program=request.title or _name(request.program),
        target=program.target,
        path=request.out,
        csv=request.csv,
        bytes=0,
        samples=len(data),
        timesteps=program.timesteps,
        weight_bits=program.settings["bits"],
        sizes=sizes_of(program),
        validation=validation,
        runs=runs,
        placement=placement,
        placed=fit.placed,
        layers=tuple(_layers(program, placement)),
        rasters=tuple(_rasters(few.spikes)),
        times=None if timed.clock is None else _times(timed.clock),
        sources={name: chip.prices for name, chip in chips.items() if chip.prices},
        notes=program.notes,
    )
    return _written(request, made)


def _written(request: ReportRequest, made: PageReport) -> PageReport:
    from neurocompile.reports.html import html, tables

    page = html(made)
    if request.out is not None:
        write_file(request.out, page, request.overwrite)
    if request.csv is not None:
        write_folder(request.csv, tables(made), request.overwrite)
    return replace(made, bytes=len(page))


def _check_outputs(request: ReportRequest) -> None:
    """Before anything is computed."""
    inputs = [
        Path(given) for given in (request.program, request.reference, request.data) if isinstance(given, str | Path)
    ]
    if request.out is not None:
        check_output(request.out, "-o", inputs, request.overwrite)
    if request.csv is not None and request.csv.exists() and not request.overwrite:
        fix = "give another folder, or --overwrite"
        raise UsageError(Problem("the folder exists already", "--csv", str(request.csv), fix=fix))


def _data(request: ReportRequest, program: Program) -> Any:
    if request.data is not None:
        return data_of(request.data, program.input_shapes, program.timesteps, request.labels, program.lines)
    data = program.example_data()
    assert data is not None  # or there was nothing to validate with
    return data


def _name(program: Program | Path) -> str:
    return program.resolve().name if isinstance(program, Path) else "a program"


def _timed(program: Program) -> bool:
    """Whether the events of the first sample can be kept: where it is timed without being asked for."""
    from neurocompile.verbs.running import clock_for

    try:
        clock, _ = clock_for(program, None, None, False)
    except DoesNotFit:
        return False
    return clock is not None


# -- layers ------------------------------------------------------------------------------------------------------------


def _layers(program: Program, placement: Placement) -> Iterator[LayerFacts]:
    """Inputs, then layers in the order of a step, and sums of events."""
    graph, form = program.integer, form_of(program.integer)
    depths: dict[str, int] = {}
    for name in program.inputs:
        depths[name] = 0
        by = "host" if name in graph.hosts else "input"
        yield LayerFacts(name, "input", graph.edges[name].shape, (), 0, None, by, "")
    for name, layer in form.layers.items():
        sources, largest = [], 0
        for synapse in layer.synapses:
            heard = _heard(program, synapse.event)
            weights = np.asarray(getattr(synapse.op, "weight", getattr(synapse.op, "scale", 0)))
            largest = max(largest, int(np.abs(weights).max(initial=0)))
            sources += [
                (source, synapse.delay, int(weights.size) if count == 0 else 0) for count, source in enumerate(heard)
            ]
        depths[name] = 1 + max((depths[source] for source, _, _ in sources if source in depths), default=0)
        where = placement.runs_on.get(name)
        yield LayerFacts(
            name, "neurons" if isinstance(layer.op, Neuron) else "readout", layer.shape, tuple(sources), depths[name],
            largest.bit_length() + 1 if largest else None,
            where.where if where is not None else "chip", program.lines.get(name, ""),
        )  # fmt: skip


def _heard(program: Program, event: str) -> list[str]:
    """The neurons and inputs behind an event."""
    graph, found, waiting, seen = program.integer, [], [event], set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if isinstance(graph[name].op, Neuron | Integrator) or name in program.inputs:
            found.append(name)
        else:
            waiting += graph[name].inputs
    return found


def _rasters(spikes: Mapping[str, Array]) -> Iterator[Raster]:
    """The first sample of each layer; of many neurons some, evenly chosen."""
    for name, fired in list(spikes.items())[:_LAYERS_SHOWN]:
        flat = fired[0].reshape(fired.shape[1], -1)
        chosen = np.unique(np.linspace(0, flat.shape[1] - 1, _NEURONS_SHOWN).astype(int))
        steps, neurons = np.nonzero(flat[:, chosen])
        yield Raster(name, flat.shape[1], len(chosen), steps, neurons)


def _times(clock: Clock) -> StepTimes | None:
    """How long the steps of the first sample took, and how long cores worked in it, as its timeline says."""
    timeline = clock.timeline()
    unit = "cycles" if "cycle" in str(timeline.get("otherData", {}).get("unit", "")) else "µs"
    names: dict[tuple[int, int], str] = {}
    steps: list[float] = []
    busy: dict[str, float] = {}
    for event in timeline["traceEvents"]:
        place = event["pid"], event["tid"]
        if event["ph"] == "M" and event["name"] == "thread_name":
            names[place] = event["args"]["name"]
        elif event["ph"] == "X" and place == (0, 0):
            steps.append(event["dur"])
        elif event["ph"] == "X" and event["pid"] == 1:
            busy[names[place]] = busy.get(names[place], 0.0) + event["dur"]
    whole = sum(steps)
    if not steps or not whole:
        return None
    return StepTimes(unit, tuple(steps), {name: time / whole for name, time in busy.items()})
