"""What a model or a program is, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.program import cores, host_regions, placement, sizes

if TYPE_CHECKING:
    from neurocompile.reports.inspect import InspectReport
    from neurocompile.reports.text.parts import Part

__all__ = ["text"]


def text(report: InspectReport) -> Iterator[Part]:
    """Both graphs, what was done for the target, and where it runs."""
    yield from (f"the network, folded (T = {report.timesteps}):", "", *report.graph)
    yield from ("", f"what was done for {report.target}:", "", *(f"  {note}" for note in report.notes))
    if report.integer_graph is not None:
        yield from ("", f"in the target's integers ({sizes(report.sizes)}):", "", *report.integer_graph)
        yield from host_regions(report.host_regions)
    if report.mapping is not None:
        yield ""
        if report.placement is not None:
            yield from placement(report.placement)
        yield from cores(report.mapping)
    for problem in report.does_not_fit:
        yield from ("", *f"does not fit: {problem}".split("\n"))
