"""Whether a program does what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import Styled, number, percent, table, verdict
from neurocompile.reports.text.recording import recording

if TYPE_CHECKING:
    from neurocompile.ir.compare import Divergence
    from neurocompile.reports.causes import Cause
    from neurocompile.reports.text.parts import Part, Table
    from neurocompile.reports.validation import Stage, Validation

__all__ = ["stages", "text"]


def text(report: Validation) -> Iterator[Part]:
    """The stages, the layers, the accuracy, what differs first or did not run, and what of it is proved."""
    yield _stages(report, f"{report.samples:,} samples, {report.timesteps} steps")
    yield _rates(report)
    if report.accuracy_program is not None:
        before, after = percent(report.accuracy_reference), percent(report.accuracy_program)
        yield f"accuracy: reference {before}, program {after}"
    yield from _told(report)


def stages(validation: Validation, title: str) -> Iterator[Part]:
    """The stages, what was asked of them, and what of it is proved."""
    yield _stages(validation, title)
    yield from _told(validation)


def _stages(validation: Validation, title: str) -> Table:
    """A row for each stage, and what was asked of each."""
    few = any(stage.samples_run < validation.samples for stage in validation.stages if stage.passed is not None)
    made = table(
        title,
        "stage", "against", "samples", "positions compared", "spikes fired", "positions differing", "ties", "",
        words=("stage", "against", "samples", ""), optional=_spare(validation, few),
        legend=["positions: each neuron at each step of each sample, whether it fires or not"],
    )  # fmt: skip
    for stage in validation.stages:
        ran = stage.passed is not None
        share = stage.mismatches / stage.compared if stage.compared else 0.0
        differing = number(stage.mismatches) if stage.name != "quantization" else f"{share:.2%}"
        made.add_row(
            stage.title,
            stage.against or stage.reason,
            _ran_on(stage, validation.samples),
            *(number(each if ran else None) for each in (stage.positions, stage.spikes_expected)),
            differing if ran else "-",
            number(stage.ties if ran else None),
            verdict(stage.passed),
        )
        if stage.asked:
            made.legend.append(f"{stage.title} asks: {stage.asked}")
    return made


def _spare(validation: Validation, few: bool) -> list[str]:
    """What a narrow page may leave out: ties, if there are none; samples, if each stage ran on all; what is against."""
    ties = any(stage.ties for stage in validation.stages)
    return ["ties"] * (not ties) + ["samples"] * (not few) + ["against"]


def _ran_on(stage: Stage, samples: int) -> str:
    """How many samples; of how many, where it did not run on all."""
    if stage.passed is None and not stage.samples_run:
        return "-"
    return f"{stage.samples_run:,}" if stage.samples_run == samples else f"{stage.samples_run:,} of {samples:,}"


def _rates(validation: Validation) -> Table:
    lowering, quantization = validation.stages[:2]
    made = table(
        "layers", "layer", "firing rate", "positions agree", "precision", "recall",
        legend=["agree, precision, recall: of the integers, against the folded graph in float64",
                "precision: the share of their spikes that are the graph's; recall: of the graph's that are theirs"],
    )  # fmt: skip
    for name, rate in (lowering if lowering.compared else quantization).firing_rates.items():
        of_layer = quantization.agreement, quantization.layer_precision, quantization.layer_recall
        made.add_row(name, percent(rate), *(percent(each.get(name)) for each in of_layer))
    return made


def _told(validation: Validation) -> Iterator[Part]:
    """What each stage found, in lines; what is required and not there; what is proved, in one."""
    for stage in validation.stages:
        for line in _lines(stage):
            yield f"{stage.title}: {line}"
    for name, why in validation.unmet.items():
        yield Styled(f"required: {name} {why}", "bold red")
    yield validation.summary


def _lines(stage: Stage) -> Iterator[str]:
    if stage.name == "quantization" and stage.passed is not None:
        yield from _faithful(stage)
    if stage.ties:
        yield f"{stage.ties:,} ties: samples that first differ where a membrane is its threshold, and go no further"
    if stage.membranes_compared:
        differing = f"{stage.membrane_mismatches:,} of {stage.membranes_compared:,} membranes differ"
        yield f"{stage.samples} samples, {differing}"
    if stage.cycles_compared:
        what = "spike vectors, events and rests are in another cycle than the simulator's"
        yield f"{stage.cycle_mismatches:,} of {stage.cycles_compared:,} {what}"
    if stage.first_membrane is not None:
        yield f"first membrane that differs: {_place(stage.first_membrane)}"
    yield from recording(stage)
    first = stage.first_divergence
    if first is not None and stage.passed is False:
        margin = "" if first.margin is None else f", {first.margin:+.3g} from the threshold"
        yield f"first difference in {_place(first)}{margin}"
    if stage.reason and (stage.passed is False if first is None else stage.passed and stage.name != "quantization"):
        yield stage.reason
    for cause in stage.causes:
        yield from _cause(cause)


def _cause(cause: Cause) -> Iterator[str]:
    """What went wrong in a layer, and what it heard where that is first seen."""
    yield f"cause: {cause.verdict}"
    place = f"sample {cause.sample}, step {cause.step}, neuron {list(cause.neuron)}"
    heard = ", ".join(f"{value:+.6g} from {name}" for name, value in cause.currents.items())
    yield (
        f"    first at {place}: fired {cause.actual}, not {cause.expected}; the membrane should be "
        f"{cause.membrane_expected:.6g} against a threshold of {cause.threshold:.6g}, having heard {heard or 'nothing'}"
    )
    if cause.potential_actual is not None:
        yield f"    it left {cause.potential_actual:.6g} on the membrane, not {cause.potential_expected:.6g}"


def _faithful(stage: Stage) -> Iterator[str]:
    """How many of the spikes are the same, whatever was asked."""
    spikes = f"{stage.spikes_found:,} spikes where {stage.spikes_expected:,} are expected"
    shares = f"precision {percent(stage.precision)}, recall {percent(stage.recall)}, F1 {percent(stage.f1)}"
    yield f"{spikes}: {shares}{f'; {stage.reason}' if stage.reason else ''}"


def _place(d: Divergence) -> str:
    where = f"sample {d.sample}, step {d.step}, layer {d.layer}, neuron {list(d.neuron)}"
    return f"{where}: expected {d.expected}, got {d.actual}"
