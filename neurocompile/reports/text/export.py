"""What was compiled and written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import Aside, percent, table
from neurocompile.reports.text.program import cores, host_regions, placement, readouts, sizes
from neurocompile.reports.text.validation import stages

if TYPE_CHECKING:
    from neurocompile.reports.export import ExportReport
    from neurocompile.reports.text.parts import Part, Table

__all__ = ["text"]


_LEGEND = (
    "membrane step: what 1 of a membrane's integers is in the model, from the least to the most of a layer",
    "decay: the part of a membrane that is left from one step to the next; 1: all of it",
)


def text(report: ExportReport) -> Iterator[Part]:
    """The layers, where they run, whether they do what PyTorch does; on stderr how it came to that."""
    yield _layers(report)
    yield f"{sizes(report.sizes)}; {percent(report.placement.on_chip_fraction)} of the synapses on the chip"
    yield from placement(report.placement)
    yield from host_regions(report.host_regions)
    if report.mapping is not None:
        yield from cores(report.mapping)
    for note in report.notes:
        yield Aside(f"  {note}")
    for name, carries in report.inputs.items():
        yield Aside(f"  input {name}: {'spikes (0 or 1)' if carries == 'spikes' else 'real values'}")
    for warning in report.warnings:
        yield Aside(f"warning: {warning}")
    if report.validation is not None:
        yield from stages(report.validation, f"compared on {report.compared_on}")
    if report.program is not None:
        yield f"wrote {report.program}/: {', '.join(report.files)}"
    else:
        yield "dry run: nothing was written"
    for problem in report.errors:
        yield from f"does not fit: {problem}".split("\n")


def _layers(report: ExportReport) -> Table:
    of = report.layer_bits
    bits = f"{min(of.values())}- to {report.weight_bits}" if of else report.weight_bits
    title = f"{report.target}: {bits}-bit weights, T = {report.timesteps}"
    made = table(title, "layer", "shape", *["bits"] * bool(of), "membrane step", "decay", legend=_LEGEND)
    for layer in report.layers:
        (least, most), (low, high) = layer.unit, layer.decay
        decay = f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
        unit = f"{least:.3g}" if least == most else f"{least:.3g}..{most:.3g}"
        width = [str(of[layer.name])] if of else []
        made.add_row(layer.name, " x ".join(map(str, layer.shape)), *width, unit, decay)
    made.legend += readouts(layer.name for layer in report.layers)
    return made
