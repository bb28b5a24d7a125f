"""A Program before it runs: its sizes, what of it runs where, which cores it takes."""

from __future__ import annotations

from math import prod
from typing import Literal

from neurocompile.errors import naming_lines
from neurocompile.mapping import needs_of
from neurocompile.program import Program
from neurocompile.reports.program import HostRegionReport, HostWork, LayerPlace, OnSilicon, Placement, Sizes
from neurocompile.simulator.counts import fanouts, stored_synapses
from neurocompile.targets import target_of

__all__ = ["host_regions", "placement_of", "sizes_of"]


def sizes_of(program: Program) -> Sizes:
    """How large it is."""
    needs = needs_of(program.integer)
    return Sizes(needs.neurons, stored_synapses(program.integer), needs.weights)


def host_regions(program: Program) -> tuple[HostRegionReport, ...]:
    """What the host computes of one inference, and what crosses to it and back."""
    graph, steps = program.integer, program.timesteps
    return tuple(
        HostRegionReport(
            name=region.name,
            kind=region.kind,
            reads=tuple(read.source for read in region.reads),
            output=region.output or None,
            per_step=region.per_step,
            macs=region.macs,
            numbers_in=region.numbers_read(steps),
            numbers_out=region.numbers(steps),
            from_chip=sum(prod(r.shape) * (steps if r.timed else 1) for r in region.reads if r.kind == "chip"),
            to_chip=region.numbers(steps) if region.name in graph else 0,
        )
        for region in graph.hosts.values()
    )


def placement_of(program: Program, stock_only: bool = False) -> Placement:
    """For each layer where it runs and why; the share of the synapses that is on the chip.

    Raises:
        DoesNotFit: for what the chip's neurons cannot do at all; with ``stock_only``, for layers that they cannot do
            without help.
    """
    if "lava" not in target_of(program).backends:
        return Placement()
    from neurocompile.backends.lava import check_stock, plan_of

    with naming_lines(program.lines):
        plan = plan_of(program)
        if stock_only:
            check_stock(plan)
    where: dict[str, Literal["chip", "simulation", "host"]] = {"stock": "chip", "own": "simulation", "host": "host"}
    layers = {
        p.name: LayerPlace(where[p.kind], tuple(m.what for m in p.missing), tuple(m.fix for m in p.missing))
        for p in plan.populations
    }
    layers |= {pool.name: LayerPlace("simulation", ("max-pooling",), ("use average pooling",)) for pool in plan.pools}
    by_host = {name for name, about in layers.items() if about.where == "host"}
    written = tuple(population.name for population in plan.populations if population.written)
    stored, on_chip, real, graph = 0, 0, 0, program.integer
    for fanout in fanouts(graph):
        synapses, reals = int(fanout.stored.sum()), fanout.macs_per_step
        stored, real = stored + synapses, real + reals
        on_chip += 0 if fanout.layer in by_host else synapses - (reals if fanout.layer in written else 0)
    neurons = sum(graph.edges[name].size for name in by_host)
    biases = sum(graph.edges[population.name].size for population in plan.populations if population.is_biased)
    steps, on_host = program.timesteps, program.settings["encode"] == "host"
    silicon = OnSilicon(
        plan.latency,
        HostWork(real * steps if on_host else 0, neurons * steps, biases * steps),
        0 if on_host else real * steps,
        written,
    )
    return Placement(on_chip / max(1, stored), layers, program.settings["encode"], silicon)
