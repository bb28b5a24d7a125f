"""What a run cost on a target: the report of a simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from neurocompile.ir.counts import LayerCounts
from neurocompile.ir.graph import Node
from neurocompile.ir.ops import Integrator, Neuron
from neurocompile.labels import accuracy_of
from neurocompile.mapping.host import host_layers, written_layers
from neurocompile.program import Program
from neurocompile.reports.neurobench import neurobench
from neurocompile.reports.simulate import LayerReport, PerSample, SimulateReport, Totals, Updates
from neurocompile.simulator.energy import Bill, price
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.targets import Target, load_target, target_of
from neurocompile.verbs.program import host_regions
from neurocompile.verbs.running import Run

__all__ = ["fit_on_one", "priced"]


def priced(
    run: Run, price_as: str | None = None, timeline: dict[str, object] | None = None,
    fit: tuple[bool | None, int | None] | None = None,
) -> SimulateReport:  # fmt: skip
    """The report of a run: counts summed over all samples, and their price on a target (None: the program's own).

    ``fit`` is :func:`fit_on_one`, where that is known.
    """
    program, counts = run.program, run.counts.layers
    target = load_target(price_as) if price_as else target_of(program)
    totals = _summed(counts.values(), sum(run.spike_counts.values()))
    on_host = [counts[name] for name in sorted(host_layers(program)) if name in counts]
    on_host += [_written(counts[name]) for name in sorted(written_layers(program)) if name in counts]
    host = _summed(on_host, sum(int(layer.spikes.sum()) for layer in on_host)) if on_host else None
    bill = _bill(_without(totals, host), target) if counts else Bill()
    timing = run.clock.report() if run.clock is not None and target.name == program.target else None
    fits, chips = fit or fit_on_one(program, target)
    places = sum(run.places(name) for name in run.spike_counts)
    return SimulateReport(
        target=target.name,
        samples=run.samples,
        timesteps=program.timesteps,
        engine=run.engine,
        accuracy=accuracy_of(run.outputs, run.labels),
        totals=totals,
        firing_rate=totals.spikes / places if places else 0.0,
        overflows=run.overflows,
        clipped=run.clipped,
        bill=bill,
        latency_ns=None if timing is None else timing.latency_ns,
        cycles=None if timing is None else timing.cycles,
        fits=fits,
        chips_needed=chips,
        host=host,
        host_regions=host_regions(program),
        timing=timing,
        untimed=run.untimed,
        layers=tuple(_layers(run, target)),
        per_sample=_per_sample(totals, bill, timing, run.samples),
        neurobench=neurobench(program, run.counts, run.spike_counts, run.samples, run.given),
        arithmetic=run.arithmetic,
        outputs=run.outputs,
        spikes=run.spikes,
        labels=run.labels,
        counts=run.counts,
        spike_counts=run.spike_counts,
        timeline=timeline,
    )


def _written(layer: LayerCounts) -> LayerCounts:
    """What the host does for a layer of the chip: the multiplications of its real-valued inputs, and writing biases."""
    return replace(LayerCounts.zero(len(layer.macs)), macs=layer.macs, bias_writes=layer.bias_writes)


def _summed(layers: Iterable[LayerCounts], spikes: int) -> Totals:
    """Counts of some layers over all samples; of no layer nothing was counted but spikes."""
    parts = list(layers)
    if not parts:
        return Totals(spikes=spikes)
    sops, nonzero, macs, active, inactive, writes = (
        sum(int(getattr(part, name).sum()) for part in parts)
        for name in ("sops", "sops_nonzero", "macs", "active", "inactive", "bias_writes")
    )
    updates = Updates(active, inactive)
    return Totals(sops=sops, sops_nonzero=nonzero, macs=macs, spikes=spikes, neuron_updates=updates, bias_writes=writes)


def _without(totals: Totals, host: Totals | None) -> Totals:
    """What the chip is to be paid for. The host's multiplications stay, as unpriced ones."""
    if host is None:
        return totals
    mine, its = totals.neuron_updates, host.neuron_updates
    updates = Updates(_less(mine.active, its.active), _less(mine.inactive, its.inactive))
    return replace(
        totals, spikes=totals.spikes - host.spikes, sops=_less(totals.sops, host.sops), neuron_updates=updates
    )


def _less(count: int | None, part: int | None) -> int:
    return (count or 0) - (part or 0)


def _bill(totals: Totals, target: Target) -> Bill:
    named = {
        "sop": totals.sops,
        "mac": totals.macs,
        "neuron_active": totals.neuron_updates.active,
        "neuron_inactive": totals.neuron_updates.inactive,
        "spike": totals.spikes,
        "bias_write": totals.bias_writes,
    }
    return price({name: count or 0 for name, count in named.items()}, target)


def _per_sample(totals: Totals, bill: Bill, timing: TimingReport | None, samples: int) -> PerSample:
    def each(value: float | None) -> float | None:
        return None if value is None else value / samples

    updates = totals.neuron_updates
    return PerSample(
        sops=each(totals.sops),
        sops_nonzero=each(totals.sops_nonzero),
        macs=each(totals.macs),
        spikes=totals.spikes / samples,
        energy_pj=each(bill.energy_pj),
        cycles=each(None if timing is None else timing.cycles),
        latency_ns=each(None if timing is None else timing.latency_ns),
        neuron_updates={"active": each(updates.active), "inactive": each(updates.inactive)},
    )


def fit_on_one(program: Program, target: Target) -> tuple[bool | None, int | None]:
    """Whether it fits on one chip (None where the limits are not known), and how many chips it takes at least."""
    if target.is_unlimited:
        return True, 1
    fit = target.fit(program)
    return None if fit.chips is None else not fit.problems, fit.chips


def _layers(run: Run, target: Target) -> Iterable[LayerReport]:
    graph, host = run.program.integer, host_layers(run.program)
    for node in graph:
        counts, fired = run.counts.layers.get(node.name), run.spike_counts.get(node.name)
        if fired is None and counts is None and not isinstance(node.op, Integrator):
            continue
        totals = _summed([] if counts is None else [counts], fired or 0)
        yield LayerReport(
            name=node.name,
            kind=type(node.op).__name__,
            neurons=_neurons(run.program, node),
            totals=totals,
            firing_rate=None if fired is None else fired / run.places(node.name),
            energy_pj=None if counts is None or node.name in host else _bill(totals, target).energy_pj,
        )


def _neurons(program: Program, node: Node) -> int:
    return program.integer.edges[node.name].size if isinstance(node.op, Neuron | Integrator) else 0
