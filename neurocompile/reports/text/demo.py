"""The bundled network on real data: what it does on every chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from neurocompile.reports.demo import DigitsReport
from neurocompile.reports.text import simulate
from neurocompile.reports.text.parts import energy, number, percent, table
from neurocompile.reports.text.validation import stages
from neurocompile.simulator.timing.report import Cycles

if TYPE_CHECKING:
    from neurocompile.reports.demo import Chip, DemoReport
    from neurocompile.reports.simulate import SimulateReport
    from neurocompile.reports.text.parts import Part, Table

__all__ = ["text"]


def text(report: DemoReport | DigitsReport) -> Iterator[Part]:
    """What the network does, what that costs on each chip, and whether PyTorch does the same."""
    if isinstance(report, DigitsReport):
        if report.data is not None:
            yield f"wrote {report.samples} held-out digits to {report.data}"
        if report.model is not None:
            yield f"wrote the network, trained on other digits, to {report.model}"
        return
    summary = report.summary
    network = "An MPBN network trained on handwritten digits"
    yield f"{network}: {summary.samples} held-out digits, T = {summary.timesteps}"
    before, after = percent(report.accuracy_reference), percent(report.accuracy_program)
    yield f"accuracy in PyTorch {before}, as a program of {report.weight_bits}-bit weights {after}"
    yield ""
    yield from simulate.text(replace(summary, bill=replace(summary.bill, unpriced={})))
    yield _bills(report)
    yield _cores(report)
    if report.nc1:
        yield _cycles(report)
    yield _conventional(report)
    yield from stages(report.validation, "checked")
    yield from stages(report.lava, f"for Loihi, {report.lava.samples} digits")
    if report.report is not None:
        yield f"all of it as a page: {report.report}"
    yield f"{report.seconds:.1f} s"


def _bills(report: DemoReport) -> Table:
    made = table(
        "energy per inference", "chip", "energy", "pJ/SOP", "basis", "unpriced there", "fits",
        words=("chip", "basis", "unpriced there", "fits"), optional=("basis",),
        legend=[">=: something has no published price there; what it is stands under 'unpriced there'"],
    )  # fmt: skip
    for name, chip in report.chips.items():
        priced = report.targets[name]
        bill, samples = priced.bill, report.summary.samples
        terms = "; ".join(f"{term}: {simulate.unpriced(count, samples)}" for term, count in bill.unpriced.items())
        made.add_row(
            name,
            energy(priced.per_sample.energy_pj, bool(bill.is_lower_bound)),
            number(bill.pj_per_sop),
            chip.basis,
            terms or "-",
            _fits(priced, chip),
        )
    return made


def _fits(priced: SimulateReport, chip: Chip) -> str:
    if priced.fits is None:
        return "unknown" if chip.compiles else "-"
    return "yes" if priced.fits else f"priced only; would need at least {priced.chips_needed} chips"


def _cores(report: DemoReport) -> Table:
    made = table(
        "cores of Loihi", "mapped", "cores", "saved", words=1,
        legend=[
            "packing: blocks of several layers share a core; halos: compartments beside a block, for one kernel;",
            "all channels at a place share an axon, or each neuron has its own",
        ],
    )  # fmt: skip
    least = report.loihi["as compiled"]
    for name, cores in report.loihi.items():
        made.add_row(name, number(cores), "-" if name == "as compiled" else number(cores - least))
    return made


def _cycles(report: DemoReport) -> Table:
    made = table(
        f"clock cycles on nc1, {report.timed_samples} samples",
        "cores placed", "cores", "cycles an inference", "links a flit crosses", "heaviest link", "fullest core",
        legend=["heaviest link, fullest core: the share of the cycles in which the busiest one is busy"],
    )  # fmt: skip
    for placement, timing in report.nc1.items():
        own = timing.own
        assert isinstance(own, Cycles)
        made.add_row(
            placement,
            number(timing.cores),
            number(own.cycles_per_sample.mean),
            f"{timing.hops / own.flits:.2f}",
            percent(own.heaviest_link.busy),
            percent(own.fullest_core.busy),
        )
    return made


def _conventional(report: DemoReport) -> Table:
    made = table(
        "against the same network as a conventional one (45 nm arithmetic alone, memory left out)",
        "arithmetic", "SNN", "ANN, one pass", "ANN / SNN",
    )  # fmt: skip
    for each in report.conventional:
        ann, snn = each.conventional_pj, each.spiking_pj
        made.add_row(each.arithmetic, energy(snn), energy(ann), f"{ann / snn:.2f}")
    return made
