"""What stands between a source and a target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import Styled, table

if TYPE_CHECKING:
    from neurocompile.reports.check import CheckReport
    from neurocompile.reports.text.parts import Part

__all__ = ["text"]


def text(report: CheckReport) -> Iterator[Part]:
    """A line for each node, everything that was found, and what it comes to."""
    if report.nodes:
        nodes = table(f"for {report.target}", "node", "what it is", "", words=3)
        for node in report.nodes:
            said = ", ".join(str(number + 1) for number in node.findings)
            nodes.add_row(node.name, node.operation, "fits" if node.fits else Styled(f"see {said}", "bold red"))
        yield nodes
    yield from report.notes
    for number, problem in enumerate(report.findings, 1):
        yield from (f"{number}. {problem}").split("\n")
    fitting = sum(node.fits for node in report.nodes)
    of_nodes = f"{fitting} of {len(report.nodes)} nodes fit {report.target}; " if report.nodes else ""
    count = len(report.findings)
    found = {0: "nothing is", 1: "one thing is"}.get(count, f"{count} things are")
    yield f"{of_nodes}{found} in the way"
