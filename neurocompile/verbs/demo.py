"""``neurocompile demo``: compile, simulate, price and check a bundled network on real data."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data, arrange_inputs
from neurocompile.files import check_output, content_of, pack_arrays, write_file
from neurocompile.ir.ops import Add, SumPool
from neurocompile.program import Program
from neurocompile.reports.demo import Chip, Conventional, DemoReport, DigitsReport
from neurocompile.simulator.base import RunnerSettings
from neurocompile.simulator.counts import fanouts
from neurocompile.simulator.timing.nc1 import timing_missing
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.targets import Target, load_target, target_names
from neurocompile.typed import Typed
from neurocompile.verbs.networks import DEMOS
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.progress import Progress, silent
from neurocompile.verbs.report import ReportRequest
from neurocompile.verbs.report import report as write_report
from neurocompile.verbs.running import Run, run_program
from neurocompile.verbs.validate import opened_for, validate_program

if TYPE_CHECKING:
    from neurocompile.frontends import Model

__all__ = ["DemoRequest", "demo"]

_TIMED = 64
_IN_LAVA = 4
_PLACEMENTS = ("in-order", "hilbert", "refined", "balanced")


@dataclass(frozen=True, kw_only=True)
class DemoRequest(Typed):
    """What is shown.

    Attributes:
        targets: chips to price; none: every priced one.
        write_data: only write the held-out digits there, as x and y.
        report: the page to write (:mod:`neurocompile.verbs.report`); None: none.
        write_model: only write the bundled network there, as a model file.
        bits: of a weight; None: the target's.
        overwrite: replace these files.
    """

    targets: tuple[str, ...] = ()
    report: Path | None = None
    write_data: Path | None = None
    write_model: Path | None = None
    bits: int | None = None
    overwrite: bool = False


def demo(request: DemoRequest, progress: Progress | None = None) -> DemoReport | DigitsReport:
    """Compile, simulate, price and check a bundled MPBN network on real handwritten digits.

    Raises:
        UsageError: for a chip that does not exist, or a file that does.
        ToolFailed: if the disk does not take the digits, or the network.
    """
    for option, path in (
        ("--report", request.report), ("--write-data", request.write_data), ("--write-model", request.write_model)
    ):  # fmt: skip
        if path is not None:
            check_output(path, option, overwrite=request.overwrite)
    x, y = DEMOS["digits"].data()
    if request.write_data is not None:
        write_file(request.write_data, pack_arrays({"x": x, "y": y}), request.overwrite)
    if request.write_model is not None:
        with DEMOS["digits"].model() as file:
            write_file(request.write_model, content_of(file), request.overwrite)
    if request.write_data is not None or request.write_model is not None:
        return DigitsReport(request.write_data, len(x), request.write_model)
    started, shown = time.perf_counter(), progress or silent
    names = request.targets or [name for name in target_names() if load_target(name).priced]
    chosen, options = [load_target(name) for name in names], Options(bits=request.bits)
    model = _bundled()
    program = compile_graph(model.graph, "generic", model.timesteps, options, example=model.example)
    data = arrange_inputs({"x": x, "y": y}, program.input_shapes, program.timesteps, "the held-out digits")
    with shown("comparing with PyTorch", len(data)) as step:
        validation = validate_program(program, data, model, progress=step)
    with shown("simulating", len(data)) as step:
        run = run_program(program, data, progress=step)
    runs = {target.name: _own(target, model, options, data, shown) or run for target in chosen}
    target = load_target("loihi")
    loihi = compile_graph(model.graph, target.name, model.timesteps, options, example=model.example)
    few = data.part(0, _IN_LAVA)
    with shown("running in Lava", len(few)) as step:
        lava = validate_program(loihi, few, model, progress=step, opened=opened_for(loihi, RunnerSettings()))
    if request.report is not None:
        page = ReportRequest(
            program=loihi, data=x, labels=y, reference=model, backend_samples=_IN_LAVA, out=request.report,
            overwrite=request.overwrite, title="The digits network",
        )  # fmt: skip
        write_report(page, progress)
    return DemoReport(
        accuracy_reference=validation.accuracy_reference,
        accuracy_program=validation.accuracy_program,
        targets={name: priced(found, name) for name, found in runs.items()},
        loihi=_on_loihi(loihi, target),
        nc1=_on_nc1(model, data, options),
        validation=validation,
        lava=lava,
        report=request.report,
        passed=validation.passed and lava.passed,
        seconds=round(time.perf_counter() - started, 3),
        timed_samples=_TIMED,
        weight_bits=program.settings["bits"],
        summary=priced(run, chosen[0].name),
        chips={target.name: _chip(target) for target in chosen},
        conventional=tuple(_conventional(run)),
    )


def _bundled() -> Model:
    from neurocompile.frontends import load_model

    with DEMOS["digits"].model() as file:
        return load_model(file)


def _own(target: Target, model: Model, options: Options, data: Data, shown: Progress) -> Run | None:
    """A chip with neurons of its own counts what a program for it does; None: it counts what any program does."""
    if not target.code.encodings(target):
        return None
    program = compile_graph(model.graph, target.name, model.timesteps, options, example=model.example)
    with shown(f"simulating {target.name}", len(data)) as step:
        return run_program(program, data, progress=step)


def _on_loihi(program: Program, target: Target) -> dict[str, int]:
    """The cores that it takes, and without each of the ways that save some."""
    limits = target.limits
    ways = {
        "as compiled": limits,
        "without packing": replace(limits, packing=False),
        "without halos": replace(limits, halos=False),
        "an axon for each neuron": replace(limits, population_atoms=None),
        "without any of these": replace(limits, packing=False, halos=False, population_atoms=None),
    }
    placed = {name: replace(target, limits=each).place(program) for name, each in ways.items()}
    return {name: len(found.cores) for name, found in placed.items() if found is not None}


def _on_nc1(model: Model, data: Data, options: Options) -> dict[str, TimingReport]:
    """Cycles of a few samples on nc1, for each placement of its cores; nothing without the compiled simulator."""
    if timing_missing():
        return {}
    program = compile_graph(model.graph, "nc1", model.timesteps, options, example=model.example)
    few = data.part(0, _TIMED)
    clocks = {placement: run_program(program, few, timing=True, placement=placement).clock for placement in _PLACEMENTS}
    return {placement: clock.report() for placement, clock in clocks.items() if clock is not None}


def _chip(target: Target) -> Chip:
    price = target.prices.get("sop")
    return Chip("" if price is None else price.basis, target.arithmetic is not None)


def _conventional(run: Run) -> list[Conventional]:
    macs, found = _ann_macs(run.program), []
    for name in ("arith45", "arith45-int8"):
        snn = priced(run, name).per_sample.energy_pj
        assert snn is not None
        found.append(Conventional(name, snn, macs * load_target(name).prices["mac"].nominal))
    return found


def _ann_macs(program: Program) -> int:
    """The multiply-accumulates of one pass of the same network as a conventional one: every weight's synapses, once."""
    sums = {node.name for node in program.integer.of(SumPool, Add)}
    return sum(int(fanout.stored.sum()) for fanout in fanouts(program.integer) if fanout.layer not in sums)
