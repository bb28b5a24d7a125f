"""Whether a program does what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import number, percent, table, verdict

if TYPE_CHECKING:
    from rich.table import Table

    from neurocompile.ir.compare import Divergence
    from neurocompile.reports.text.parts import Part
    from neurocompile.reports.validation import Stage, Validation

__all__ = ["stages", "text"]


def text(report: Validation) -> Iterator[Part]:
    """The stages, the layers, the accuracy, and what differs first, or why something did not run."""
    yield stages(report, f"{report.samples} samples, {report.timesteps} steps")
    yield _rates(report)
    if report.accuracy_program is not None:
        before, after = percent(report.accuracy_reference), percent(report.accuracy_program)
        yield f"accuracy: reference {before}, program {after}"
    for stage in report.stages:
        for line in _lines(stage):
            yield f"{stage.name}: {line}"


def stages(validation: Validation, title: str) -> Table:
    """A row for each stage."""
    made = table(title, "stage", "against", "spikes compared", "differing", "ties", "", words=2)
    for stage in validation.stages:
        share = stage.mismatches / stage.compared if stage.compared else 0.0
        made.add_row(
            stage.name,
            stage.against or stage.reason,
            number(stage.compared),
            number(stage.mismatches) if stage.name != "quantization" else f"{share:.2%}",
            number(stage.ties),
            verdict(stage.passed),
        )
    return made


def _rates(validation: Validation) -> Table:
    lowering, quantization = validation.stages[:2]
    made = table("layers", "layer", "firing rate", "integers agree")
    for name, rate in (lowering if lowering.compared else quantization).firing_rates.items():
        made.add_row(name, percent(rate), percent(quantization.agreement.get(name)))
    return made


def _lines(stage: Stage) -> Iterator[str]:
    if stage.membranes_compared:
        differing = f"{stage.membrane_mismatches:,} of {stage.membranes_compared:,} membranes differ"
        yield f"{stage.samples} samples, {differing}"
    if stage.cycles_compared:
        what = "spike vectors, events and rests are in another cycle than the simulator's"
        yield f"{stage.cycle_mismatches:,} of {stage.cycles_compared:,} {what}"
    if stage.first_membrane is not None:
        yield f"first membrane that differs: {_place(stage.first_membrane)}"
    first = stage.first_divergence
    if first is not None and stage.passed is False:
        margin = "" if first.margin is None else f", {first.margin:+.3g} from the threshold"
        yield f"first difference in {_place(first)}{margin}"
    elif stage.passed is not True and stage.reason:
        yield stage.reason


def _place(d: Divergence) -> str:
    where = f"sample {d.sample}, step {d.step}, layer {d.layer}, neuron {list(d.neuron)}"
    return f"{where}: expected {d.expected}, got {d.actual}"
