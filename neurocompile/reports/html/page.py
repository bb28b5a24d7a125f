"""The page: verdicts first, then what the network is, what it did, what that costs, and where it began to differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from neurocompile.ir.placed import bounds_of, nearest_limit
from neurocompile.reports.html import figures
from neurocompile.reports.html.parts import Figure, Section, Table, Verdict, rendered
from neurocompile.reports.page import PageReport
from neurocompile.reports.plain import plain
from neurocompile.reports.text.parts import energy, number, percent

if TYPE_CHECKING:
    from neurocompile.reports.causes import Cause
    from neurocompile.reports.simulate import SimulateReport
    from neurocompile.reports.validation import Stage, Validation

__all__ = ["html", "tables"]


def html(report: PageReport) -> bytes:
    """The page, in one file; the same report gives the same bytes.

    Raises:
        ToolFailed: if Jinja2 or matplotlib is not installed.
    """
    title = f"{report.program} on {report.target}"
    return rendered(title, report.samples, report.timesteps, list(_verdicts(report)), lambda: list(_sections(report)))


def tables(report: PageReport) -> dict[str, bytes]:
    """The numbers of the page as CSV, by file name."""
    found = [table for section in _sections(report, drawn=False) for table in section.tables]
    return {f"{table.name}.csv": table.csv.encode() for table in found}


# -- verdicts ----------------------------------------------------------------------------------------------------------


def _verdicts(report: PageReport) -> Iterator[Verdict]:
    if report.validation is not None:
        for stage in report.validation.stages:
            how = "not run" if stage.passed is None else "passed" if stage.passed else "failed"
            yield Verdict(stage.title, how, _why(stage))
    run = next(iter(report.runs.values()), None)
    if run is not None and run.fits is not None:
        how = "passed" if run.fits else "failed"
        yield Verdict("fits on one chip", how, "" if run.fits else f"at least {run.chips_needed} chips")


def _why(stage: Stage) -> str:
    if stage.passed is None:
        return stage.reason
    if stage.causes:
        return stage.causes[0].verdict
    if stage.name == "quantization":
        return stage.reason or f"F1 of the spikes {percent(stage.f1)}"
    compared = f"{stage.mismatches:,} of {stage.compared:,} positions differ, {stage.spikes_expected:,} of them fire"
    if stage.membranes_compared:
        compared += f"; {stage.membrane_mismatches:,} of {stage.membranes_compared:,} membranes"
    return compared


# -- sections ----------------------------------------------------------------------------------------------------------


def _sections(report: PageReport, drawn: bool = True) -> Iterator[Section]:
    run = next(iter(report.runs.values()), None)
    makers: list[tuple[bool, Callable[[], Section]]] = [
        (_fails(report.validation), lambda: _divergence(report.validation, drawn)),  # type: ignore[arg-type]
        (report.validation is not None, lambda: _stages(report.validation)),  # type: ignore[arg-type]
        (True, lambda: _network(report, drawn)),
        (run is not None, lambda: _activity(report, run, drawn)),  # type: ignore[arg-type]
        (run is not None, lambda: _energy(report, run, drawn)),  # type: ignore[arg-type]
        (report.validation is not None, lambda: _quantization(report, drawn)),
        (report.placed is not None, lambda: _cores(report, drawn)),
        (run is not None and run.timing is not None, lambda: _time(report, run, drawn)),  # type: ignore[arg-type]
        (bool(report.sources), lambda: _sources(report)),
    ]
    for there, make in makers:
        if there:
            yield make()


def _fails(validation: Validation | None) -> bool:
    return validation is not None and any(stage.causes for stage in validation.stages)


def _divergence(validation: Validation, drawn: bool) -> Section:
    made = Section("divergence", "Where it began to differ, and why", failed=True)
    rows = []
    for stage in validation.stages:
        for cause in stage.causes:
            made.text.append(f"{stage.title}: {cause.verdict}.")
            rows.append(
                (stage.title, cause.layer, cause.sample, cause.step, str(list(cause.neuron)), cause.expected,
                 cause.actual, cause.membrane_expected, cause.threshold, cause.places, "; ".join(cause.names),
                 cause.detail)
            )  # fmt: skip
            if drawn and len(made.figures) < 4:
                words = _course(cause)
                made.figures.append(Figure(figures.course(cause), words))
    columns = ("stage", "layer", "sample", "step", "neuron", "should fire", "fired", "membrane", "threshold",
               "places that differ", "named", "in words")  # fmt: skip
    made.tables.append(Table("divergence", columns, tuple(rows)))
    return made


def _course(cause: Cause) -> str:
    """What its figure shows."""
    found = cause.course
    explained = " and as explained" * (found.explained is not None)
    return (
        f"Layer {cause.layer}, neuron {list(cause.neuron)}, sample {cause.sample}: its membrane by the program"
        f"{explained}, the threshold {cause.threshold:g}; spikes by the program {list(found.spikes)}, as recorded "
        f"{list(found.recorded)}. The first difference is at step {cause.step}."
    )


def _stages(validation: Validation) -> Section:
    made = Section("checked", "What was checked, and against what", [validation.summary])
    rows = tuple(
        (
            stage.title, stage.against, stage.samples_run, stage.positions, stage.spikes_expected, stage.mismatches,
            stage.ties, stage.membranes_compared, stage.membrane_mismatches,
            {True: "passed", False: "FAILED", None: "not run"}[stage.passed],
        )
        for stage in validation.stages
    )  # fmt: skip
    columns = ("stage", "against", "samples", "positions compared", "spikes expected", "positions differing", "ties",
               "membranes compared", "membranes differing", "")  # fmt: skip
    notes = tuple(f"{stage.title} asks: {stage.asked}" for stage in validation.stages if stage.asked)
    made.tables.append(Table("checked", columns, rows, notes))
    return made


def _network(report: PageReport, drawn: bool) -> Section:
    sizes = report.sizes
    made = Section("network", "The network as it went to the chip")
    made.text.append(
        f"{number(sizes.neurons)} neurons, {number(sizes.synapses)} synapses, {number(sizes.weights)} stored weights "
        f"of {report.weight_bits} bits, {report.timesteps} steps an inference."
    )
    if drawn and report.layers:
        words = "; ".join(
            f"{layer.name} hears {', '.join(source for source, _, _ in layer.sources)}"
            for layer in report.layers
            if layer.sources
        )
        legend = (
            "Green: inputs and what the host computes; blue: on the chip; red: in simulation only; dashed: delayed."
        )
        made.figures.append(Figure(figures.network(report.layers), legend, f"{words}."))
    lines = any(layer.line for layer in report.layers)
    rows = tuple(
        (
            layer.name, layer.kind, "x".join(map(str, layer.shape)),
            "; ".join(f"{source}{f' ({delay} steps later)' if delay else ''}" for source, delay, _ in layer.sources),
            sum(weights for _, _, weights in layer.sources), layer.bits, layer.runs_on,
            *([layer.line] if lines else []),
        )
        for layer in report.layers
    )  # fmt: skip
    columns = ("layer", "kind", "shape", "hears", "weights", "bits used", "runs on", *(["your line"] if lines else []))
    made.tables.append(Table("network", columns, rows))
    return made


def _activity(report: PageReport, run: SimulateReport, drawn: bool) -> Section:
    made = Section("activity", "What it did")
    accuracy = "" if run.accuracy is None else f"Accuracy {percent(run.accuracy)}. "
    made.text.append(
        f"{accuracy}{run.samples:,} samples; per inference {number(run.per_sample.spikes)} spikes, "
        f"{number(run.per_sample.sops)} synaptic operations, firing rate {percent(run.firing_rate)}."
    )
    if drawn and report.rasters:
        words = "; ".join(f"{raster.layer}: {len(raster.steps)} spikes" for raster in report.rasters)
        some = any(raster.shown < raster.neurons for raster in report.rasters)
        caption = (
            f"Spikes of the first sample: a row of marks for each neuron{' (evenly chosen ones)' * some}. {words}."
        )
        made.figures.append(Figure(figures.rasters(report.rasters, report.timesteps), caption))
    if drawn:
        rates = "; ".join(
            f"{each.name} {percent(each.firing_rate)}" for each in run.layers if each.firing_rate is not None
        )
        made.figures.append(Figure(figures.layers(run), "Firing rates and synaptic operations by layer.", f"{rates}."))
    rows = tuple(
        (
            layer.name, layer.kind, layer.neurons, layer.firing_rate, layer.totals.spikes, layer.totals.sops,
            layer.totals.sops_nonzero, layer.totals.macs, layer.totals.neuron_updates.active,
            layer.totals.neuron_updates.inactive, layer.energy_pj,
        )
        for layer in run.layers
    )  # fmt: skip
    columns = ("layer", "kind", "neurons", "firing rate", "spikes", "SOPs", "SOPs of weights not 0", "MACs",
               "active updates", "inactive updates", "energy, pJ")  # fmt: skip
    made.tables.append(Table("layers", columns, rows, ("sums over all samples",)))
    found = plain(run.neurobench)
    found |= found.pop("SynapticOperations") or {}
    notes = ("by the names of NeuroBench's metrics, an inference",)
    made.tables.append(Table("neurobench", ("metric", "value"), tuple(found.items()), notes))
    return made


def _energy(report: PageReport, run: SimulateReport, drawn: bool) -> Section:
    made = Section("energy", "What it costs")
    if run.per_sample.energy_pj is None:
        made.text.append(f"{run.target} has no published price; others are below.")
    else:
        cost = energy(run.per_sample.energy_pj, bool(run.bill.is_lower_bound))
        made.text.append(f"On {run.target}: {cost} an inference, {number(run.bill.pj_per_sop)} pJ/SOP all in.")
    rows = []
    for name, each in report.runs.items():
        low, high = each.bill.bounds_pj or (None, None)
        unpriced = "; ".join(f"{term}: {count.count:,}" for term, count in each.bill.unpriced.items())
        rows.append((
            name, each.per_sample.energy_pj, *(None if x is None else x / each.samples for x in (low, high)),
            each.bill.pj_per_sop, "at least" if each.bill.is_lower_bound else "", unpriced, each.fits,
            each.chips_needed, None if each.latency_ns is None else each.latency_ns / each.samples,
        ))  # fmt: skip
    priced = {name: each for name, each in report.runs.items() if each.bill.energy_pj}
    if drawn and priced:
        words = "; ".join(
            f"{name} {energy(each.per_sample.energy_pj, bool(each.bill.is_lower_bound))}"
            for name, each in priced.items()
        )
        made.figures.append(Figure(figures.energy(priced), "Energy of an inference on each chip.", f"{words}."))
    if drawn and run.bill.by_term_pj and any(run.bill.by_term_pj.values()):
        parts = ", ".join(f"{name} {pj / run.samples:.4g} pJ" for name, pj in run.bill.by_term_pj.items() if pj)
        made.figures.append(Figure(figures.spent(run), f"On {run.target}, by what it is for: {parts}."))
    columns = ("chip", "pJ an inference", "least", "most", "pJ/SOP", "", "no price for", "fits on one chip",
               "chips, at least", "ns an inference")  # fmt: skip
    made.tables.append(Table("energy", columns, tuple(rows), ("no price: counted over all samples, and in no sum",)))
    return made


def _quantization(report: PageReport, drawn: bool) -> Section:
    assert report.validation is not None
    stage = next(stage for stage in report.validation.stages if stage.name == "quantization")
    made = Section("quantization", "What quantization did")
    before, after = percent(report.validation.accuracy_reference), percent(report.validation.accuracy_program)
    made.text.append(f"Accuracy {before} before, {after} as integers; F1 of the spikes {percent(stage.f1)}.")
    if drawn and stage.agreement:
        made.figures.append(
            Figure(figures.faithful(stage), "Spikes of the integers against those in float64, by layer.")
        )
    rows = tuple(
        (name, stage.firing_rates.get(name), share, stage.layer_precision.get(name), stage.layer_recall.get(name))
        for name, share in stage.agreement.items()
    )
    columns = ("layer", "firing rate", "positions that agree", "precision", "recall")
    made.tables.append(Table("quantization", columns, rows))
    made.log += [note for note in report.notes if note.startswith("quantize")]
    return made


def _cores(report: PageReport, drawn: bool) -> Section:
    placed = report.placed
    assert placed is not None
    bounds = bounds_of(placed.limits, placed.weight_bits)
    nearest = [nearest_limit(core, bounds) for core in placed.cores]
    percents = [0.0 if each is None else each.percent for each in nearest]
    made = Section("cores", "Cores")
    full = placed.fullest
    most = "" if full is None else f"; the fullest is at {full.percent:.0f} % of its {full.resource}"
    crossing = f"; {placed.crossing:,} axons lead from chip to chip" if placed.crossing else ""
    made.text.append(f"{len(placed.cores):,} cores on {placed.chips} chip{'s' * (placed.chips > 1)}{most}{crossing}.")
    if drawn and placed.cores:
        made.figures.append(Figure(figures.cores(placed, percents), f"{made.text[0]} Cores on the mesh of each chip."))
    rows = tuple(
        (each.layer, each.cores, "x".join(map(str, each.block)), each.neurons, each.compartments or None,
         each.synapse_bytes, each.input_axons, each.output_axons, each.bound, each.percent)
        for each in placed.layers
    )  # fmt: skip
    columns = ("layer", "cores", "largest block", "neurons", "compartments", "synapse memory, bytes", "input axons",
               "output axons", "bound by", "% of that")  # fmt: skip
    made.tables.append(Table("cores", columns, rows))
    if report.times is not None and report.times.cores:
        busy = sorted(report.times.cores.items(), key=lambda each: -each[1])
        made.tables.append(Table("busy", ("core", "busy, share of the time"), tuple(busy[:32]),
                                  ("in the first sample; the 32 busiest",)))  # fmt: skip
    return made


def _time(report: PageReport, run: SimulateReport, drawn: bool) -> Section:
    assert run.timing is not None
    made = Section("time", "How long it takes", [run.timing.basis + "."])
    if run.latency_ns is not None:
        made.text.append(f"{run.latency_ns / run.samples / 1e3:,.4g} µs an inference.")
    if run.cycles is not None:
        made.text.append(f"{run.cycles / run.samples:,.6g} cycles an inference.")
    if report.times is not None:
        if drawn:
            lengths = ", ".join(f"{length:.4g}" for length in report.times.steps)
            words = f"Steps of the first sample, in {report.times.unit}: {lengths}."
            made.figures.append(Figure(figures.latency(report), words))
        rows = tuple(enumerate(report.times.steps))
        made.tables.append(Table("steps", ("step of the chip", report.times.unit), rows))
    return made


def _sources(report: PageReport) -> Section:
    rows = tuple(
        (
            chip,
            name,
            constant.nominal,
            constant.min,
            constant.max,
            constant.unit,
            constant.basis,
            constant.scope,
            constant.source,
        )
        for chip, constants in report.sources.items()
        for name, constant in constants.items()
    )
    columns = ("chip", "of", "nominal", "least", "most", "unit", "basis", "scope", "source")
    return Section("sources", "Where the prices come from", tables=[Table("sources", columns, rows)])
