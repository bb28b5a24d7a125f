"""The papers' networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.plain import plain
from neurocompile.reports.text.parts import energy, number, table

if TYPE_CHECKING:
    from neurocompile.reports.text.parts import Part, Table
    from neurocompile.reports.zoo import Measured, NetworkReport, Written, ZooReport

__all__ = ["text"]


def text(report: ZooReport) -> Iterator[Part]:
    """A list of networks; or what one of them takes, or where it was written."""
    first = report.networks[0] if report.networks else None
    if first is not None and report.written is not None:
        yield _written(first, report.written)
    elif first is not None and first.measured is not None:
        yield _measured(first, first.measured)
    else:
        yield _listed(report)


def _written(network: NetworkReport, written: Written) -> str:
    rates = written.firing_rates.values()
    return (
        f"wrote {written.model}: {network.name}, synthetic, {written.parameters:,} parameters, layers firing at "
        f"{min(rates):.1%} to {max(rates):.1%}; next: neurocompile export {written.model} --target loihi"
    )


def _measured(network: NetworkReport, measured: Measured) -> Table:
    shown = table(f"{network.name}, synthetic", "", "")
    for key, value in plain(network).items():
        if key == "energy_pj":
            for chip, pj in measured.energy_pj.items():
                shown.add_row(f"energy, {chip}", energy(pj, bool(measured.energy_is_lower_bound[chip])))
        elif key not in ("name", "energy_is_lower_bound"):
            counts = isinstance(value, int | float) and not isinstance(value, bool)
            shown.add_row(key.replace("_", " "), number(value) if counts else str(value))
    return shown


def _listed(report: ZooReport) -> Table:
    words = ("name", "paper", "size", "inputs", "sizes from")
    title = "networks of the papers (what they cost: docs/zoo.md)"
    listed = table(
        title, "name", "paper", "size", "T", "inputs", "sizes from", words=words, optional=("sizes from", "paper")
    )
    for each in report.networks:
        shapes = ", ".join("x".join(map(str, shape)) or "1" for shape in each.inputs)
        listed.add_row(each.name, each.paper, each.size, str(each.timesteps), shapes, each.source)
    return listed
