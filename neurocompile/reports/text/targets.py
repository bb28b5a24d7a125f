"""What is known of chips, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import Verbatim, table
from neurocompile.targets import COUNTS

if TYPE_CHECKING:
    from neurocompile.reports.targets import Imported, TargetsReport
    from neurocompile.reports.text.parts import Part, Table
    from neurocompile.targets import Target
    from neurocompile.targets.events import AsyncEvents

__all__ = ["text"]


def text(report: TargetsReport) -> Iterator[Part]:
    """A line for each chip; of a single one everything."""
    if report.toml is not None:
        yield Verbatim(report.toml.rstrip())
        return
    if report.imported is not None:
        yield from _imported(report.imported)
        return
    if report.one:
        for target in report.targets.values():
            yield from _one(target)
        return
    listed = table(
        "targets", "name", "pJ/SOP", "neurons a chip", "synapses a chip", "what it is", words=("name", "what it is")
    )
    for target in report.targets.values():
        price = target.prices.get("sop")
        listed.add_row(
            target.name,
            "unpriced" if price is None else f"{price.nominal:g} ({price.basis})",
            _limit(target, target.limits.neurons),
            _limit(target, target.limits.synapses),
            target.description,
        )
    yield listed


def _imported(imported: Imported) -> Iterator[Part]:
    for title, notes in (("not in it", imported.missing), ("in it, and not in a target's file", imported.unsaid)):
        shown = table(f"{imported.source}: {title}", "what", "instead", words=2)
        for note in notes:
            shown.add_row(note.what, note.instead)
        if notes:
            yield shown
    yield f"wrote {imported.out}; next: neurocompile targets {imported.out}"


def _limit(target: Target, value: int | None) -> str:
    if value is not None:
        return f"{value:,}"
    if target.arithmetic is None:
        return "prices only"
    return "no limit" if target.is_unlimited else "unknown"


def _one(target: Target) -> Iterator[Part]:
    yield f"{target.name}: {target.description}"
    if target.arithmetic is not None:
        published = target.arithmetic.published
        made = table("arithmetic" if published else "arithmetic (unpublished; taken as generic's)", "", "")
        for key, value in vars(target.arithmetic).items():
            if key != "published":
                made.add_row(key.replace("_", " "), str(value))
        yield made
    else:
        yield "a price list only: nothing can be compiled for it"
    limits = table("limits of a chip", "", "")
    limits.add_row("neurons", _limit(target, target.limits.neurons))
    limits.add_row("synapses", _limit(target, target.limits.synapses))
    if target.limits.source:
        limits.legend.append(target.limits.source)
    yield limits
    yield _prices(target)
    if target.events is not None:
        yield from _events(target.events)


def _prices(target: Target) -> Table:
    made = table("prices", "count", "min", "nominal", "max", "unit", "basis", "scope")
    for count, name in COUNTS.items():
        price = target.prices.get(count)
        if price is None:
            made.add_row(name, "", "included" if count in target.covered else "unpriced", "", "", "", "")
            continue
        bounds = (f"{each:g}" for each in (price.min, price.nominal, price.max))
        made.add_row(name, *bounds, price.unit, price.basis, price.scope)
    made.legend += [f"{COUNTS[count]}: {price.source}" for count, price in target.prices.items()]
    return made


def _events(events: AsyncEvents) -> Iterator[Part]:
    mesh = events.mesh
    made = table(
        f"events of the timing simulator ({mesh.width} x {mesh.height} tiles of {mesh.cores_per_tile} cores)",
        "event", "pJ, min", "pJ", "pJ, max", "ns", "basis",
    )  # fmt: skip
    sources: dict[str, list[str]] = {}
    for name, latency in events.latency.items():
        energy = events.energy.get(name)
        shown = ["-"] * 3 if energy is None else [f"{each:g}" for each in (energy.min, energy.nominal, energy.max)]
        made.add_row(name, *shown, f"{latency.nominal:g}", latency.basis)
        sources.setdefault(latency.source, []).append(name)
    for tiles, time_ns in events.barrier.items():
        made.add_row(f"barrier, from {tiles} tiles on", "-", "-", "-", f"{time_ns:g}", "")
    if events.static is not None:
        idle = f"idle power of a chip: {events.static.nominal:g} {events.static.unit}"
        made.add_row(idle, "-", "-", "-", "-", events.static.basis)
        sources.setdefault(events.static.source, []).append("idle power")
    made.legend += [f"{', '.join(names)}: {source}" for source, names in sources.items()]
    yield made
