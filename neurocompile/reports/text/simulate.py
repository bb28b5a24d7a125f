"""What a program did, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import energy, number, percent, table
from neurocompile.reports.text.program import host_regions, readouts
from neurocompile.simulator.timing.report import Cycles, Events

if TYPE_CHECKING:
    from neurocompile.reports.neurobench import NeuroBench
    from neurocompile.reports.simulate import SimulateReport
    from neurocompile.reports.text.parts import Part, Table
    from neurocompile.simulator.energy import Unpriced
    from neurocompile.simulator.timing.report import Figures, TimingReport

__all__ = ["text", "unpriced"]


_LEGEND = (
    "SOPs: spikes meeting stored weights; MACs: real-valued inputs meeting them",
    "updates: neurons, step by step, whose input or state is not 0 (docs/counts.md)",
)


def text(report: SimulateReport) -> Iterator[Part]:
    """The layers, what they sum to, and what the host does beside them."""
    yield _layers(report)
    yield _totals(report)
    yield _neurobench(report.neurobench)
    each = report.per_sample
    yield from host_regions(report.host_regions, None if each.sops is None else each.sops + (each.macs or 0))


def unpriced(term: Unpriced, samples: int) -> str:
    """An unpriced count for one inference, with its 45 nm estimate."""
    said = number(term.count / samples)
    if term.estimate_45nm_pj is not None:
        said += f" (as 45 nm int8 arithmetic: {energy(term.estimate_45nm_pj / samples)})"
    return said


def _layers(report: SimulateReport) -> Table:
    made = table(
        f"per inference (mean of {report.samples:,} samples, {report.timesteps} steps)",
        "layer", "neurons", "firing rate", "spikes", "SOPs", "MACs", "updates",
        optional=("MACs", "neurons"), legend=_LEGEND,
    )  # fmt: skip
    for layer in report.layers:
        totals = layer.totals
        counts = (totals.spikes, totals.sops, totals.macs, totals.neuron_updates.active)
        means = [None if count is None else count / report.samples for count in counts]
        made.add_row(layer.name, number(layer.neurons), percent(layer.firing_rate), *map(number, means))
    if any(not layer.neurons for layer in report.layers):
        made.legend.append("layers of 0 neurons: sums of a pool or of branches, which a chip has to store and to do")
    made.legend += readouts(layer.name for layer in report.layers)
    return made


def _totals(report: SimulateReport) -> Table:
    each, bill = report.per_sample, report.bill
    made = table(f"in all, priced as {report.target}", "", "")
    made.add_row("computed by", report.engine)
    made.add_row("accuracy", percent(report.accuracy))
    made.add_row("firing rate", percent(report.firing_rate))
    made.add_row("spikes", number(each.spikes))
    if each.sops is not None:
        made.add_row("SOPs (weight not zero)", f"{number(each.sops)} ({number(each.sops_nonzero)})")
        made.add_row("MACs of real-valued inputs", number(each.macs))
        made.add_row("energy", energy(each.energy_pj, bool(bill.is_lower_bound)))
        made.add_row("pJ/SOP", number(bill.pj_per_sop))
        for name, term in bill.unpriced.items():
            made.add_row(f"unpriced: {name}", unpriced(term, report.samples))
    if report.timing is not None:
        for row in _timing(report.timing, report.samples):
            made.add_row(*row)
    elif report.untimed:
        made.add_row("not timed", report.untimed)
    if report.host:
        updates = report.host.neuron_updates.all / report.samples
        writes = (report.host.bias_writes or 0) / report.samples
        said = [f"{number(updates)} neuron updates"] if updates else []
        said += [f"{number(writes)} biases written to the chip"] if writes else []
        made.add_row("on the host, not in the energy", ", ".join(said) or "no neuron updates")
    if report.chips_needed and report.chips_needed > 1:
        made.add_row("fits", f"priced only; would need at least {report.chips_needed} chips")
    if report.overflows or report.clipped:
        made.add_row("overflows / clipped inputs", f"{report.overflows:,} / {report.clipped:,}")
    return made


def _neurobench(found: NeuroBench) -> Table:
    made = table("by NeuroBench's names (docs/counts.md)", "", "")
    made.add_row("Footprint", f"{found.footprint:,} bytes")
    made.add_row("ParameterCount", f"{found.parameter_count:,}")
    made.add_row("ConnectionSparsity", percent(found.connection_sparsity))
    made.add_row("ActivationSparsity", percent(found.activation_sparsity))
    if (done := found.synaptic_operations) is not None:
        said = f"{number(done.macs)} MACs, {number(done.acs)} ACs, effective; dense {number(done.dense)}"
        made.add_row("SynapticOperations", said)
        made.add_row("MembraneUpdates", number(found.membrane_updates))
    return made


def _timing(timing: TimingReport, samples: int) -> Iterator[tuple[str, str]]:
    """How long an inference takes, and what it waits for."""
    if isinstance(timing.own, Cycles):
        return _cycles(timing, timing.own, samples)
    if isinstance(timing.own, Events):
        return _events(timing, timing.own, samples)
    return _figures(timing.own, samples)


def _cycles(timing: TimingReport, own: Cycles, samples: int) -> Iterator[tuple[str, str]]:
    cycles, full, link = own.cycles_per_sample, own.fullest_core, own.heaviest_link
    yield "cycles", f"{number(cycles.mean)} ({cycles.min:,} to {cycles.max:,})"
    yield "fullest core", f"({full.place[0]}, {full.place[1]}) of {timing.cores}: synapses busy {full.busy:.0%}"
    yield "heaviest link", f"{link.output} of ({link.place[0]}, {link.place[1]}): busy {link.busy:.0%}"
    yield "flits, links each crosses", f"{number(own.flits / samples)}, {timing.hops / max(own.flits, 1):.2f}"


def _figures(own: Figures, samples: int) -> Iterator[tuple[str, str]]:
    if own.cycles is not None:
        yield "cycles", number(own.cycles / samples)
    if own.latency_ns is not None:
        yield "latency", f"{own.latency_ns / samples / 1000:,.1f} us"
    for name, value in own.figures.items():
        yield name, number(value)


def _events(timing: TimingReport, own: Events, samples: int) -> Iterator[tuple[str, str]]:
    latency = own.latency_ns_per_sample
    mean, least, most = (f"{each / 1000:,.1f}" for each in (latency.mean, latency.min, latency.max))
    yield "latency (timing model)", f"{mean} us ({least} to {most})"
    parts = ", ".join(f"{name} {energy(each / samples)}" for name, each in own.energy_pj_by_part.items())
    yield "energy (timing model)", f"{energy(own.energy_pj / samples)}: {parts}"
    if own.static_pj is not None:
        yield "idle power meanwhile, not in it", energy(own.static_pj / samples)
    hops = timing.hops / max(own.messages, 1)
    yield "messages, links each crosses", f"{number(own.messages / samples)}, {hops:.2f}"
    if own.halo_writes:
        yield "writes into halos, beside SOPs", number(own.halo_writes / samples)
    if own.reset_writes:
        yield "writes of soft resets, beside SOPs", number(own.reset_writes / samples)
    yield "fullest core", f"of {timing.cores}: receiving {own.fullest_core.busy:.0%} of the time"
