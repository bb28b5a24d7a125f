"""``neurocompile targets``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

import click

from neurocompile.cli.options import output_options

__all__ = ["command"]


@click.command("targets")
@click.argument("name", required=False)
@output_options
def command(**options: Any) -> int:
    """List the chips; with NAME, everything that is known of one and where it comes from."""
    from neurocompile.cli import console
    from neurocompile.targets import load_target, target_names

    names = [options["name"]] if options["name"] else target_names()
    targets = [load_target(name) for name in names]
    if options["as_json"]:
        console.print_json("targets", {"targets": {target.name: _as_json(target) for target in targets}})
    elif options["name"]:
        _show_one(targets[0])
    else:
        listed = console.table("targets", "name", "pJ/SOP", "neurons a chip", "synapses a chip", "")
        for target in targets:
            price = target.prices.get("sop")
            known = target.limits
            listed.add_row(
                target.name,
                "unpriced" if price is None else f"{price.nominal:g} ({price.basis})",
                _limit(target, known.neurons),
                _limit(target, known.synapses),
                target.description,
            )
        console.show(listed)
    return 0


def _limit(target: Any, value: int | None) -> str:
    if value is not None:
        return f"{value:,}"
    if target.arithmetic is None:
        return "prices only"
    return "no limit" if target.is_unlimited else "unknown"


def _as_json(target: Any) -> dict[str, Any]:
    events = _events(target.name)
    return {**asdict(target), "events": None if events is None else asdict(events)}


def _show_one(target: Any) -> None:
    from neurocompile.cli import console
    from neurocompile.targets.target import COUNTS

    console.show(f"{target.name}: {target.description}")
    if target.arithmetic is not None:
        arithmetic = console.table(
            "arithmetic" if target.arithmetic.published else "arithmetic (unpublished; taken as generic's)", "", ""
        )
        for key, value in vars(target.arithmetic).items():
            if key != "published":
                arithmetic.add_row(key.replace("_", " "), str(value))
        console.show(arithmetic)
    else:
        console.show("a price list only: nothing can be compiled for it")
    limits = console.table("limits of a chip", "", "")
    limits.add_row("neurons", _limit(target, target.limits.neurons))
    limits.add_row("synapses", _limit(target, target.limits.synapses))
    console.show(limits, *([f"  {target.limits.source}"] if target.limits.source else []))
    prices = console.table("prices", "count", "min", "nominal", "max", "unit", "basis", "scope")
    for count, name in COUNTS.items():
        price = target.prices.get(count)
        if price is not None:
            prices.add_row(
                name, f"{price.min:g}", f"{price.nominal:g}", f"{price.max:g}", price.unit, price.basis, price.scope
            )
        else:
            prices.add_row(name, "", "included" if count in target.covered else "unpriced", "", "", "", "")
    console.show(prices)
    for count, price in target.prices.items():
        console.show(f"  {COUNTS[count]}: {price.source}")
    if (events := _events(target.name)) is not None:
        _show_events(events)


def _events(name: str) -> Any:
    """What single events of a target cost, if it says so."""
    from neurocompile.errors import UsageError
    from neurocompile.targets.events import load_events

    with suppress(UsageError):
        return load_events(name)
    return None


def _show_events(events: Any) -> None:
    from neurocompile.cli import console

    mesh = events.mesh
    made = console.table(
        f"events of the timing simulator ({mesh.width} x {mesh.height} tiles of {mesh.cores_per_tile} cores)",
        "event", "pJ, min", "pJ", "pJ, max", "ns", "basis",
    )  # fmt: skip
    sources: dict[str, list[str]] = {}
    for name, latency in events.latency.items():
        energy = events.energy.get(name)
        shown = ["-"] * 3 if energy is None else [f"{getattr(energy, b):g}" for b in ("min", "nominal", "max")]
        made.add_row(name, *shown, f"{latency.nominal:g}", latency.basis)
        sources.setdefault(latency.source, []).append(name)
    for tiles, latency in events.barrier.items():
        made.add_row(f"barrier, from {tiles} tiles on", "-", "-", "-", f"{latency:g}", "")
    if events.static is not None:
        made.add_row(
            f"idle power of a chip: {events.static.nominal:g} {events.static.unit}",
            "-",
            "-",
            "-",
            "-",
            events.static.basis,
        )
        sources.setdefault(events.static.source, []).append("idle power")
    console.show(made)
    for source, names in sources.items():
        console.show(f"  {', '.join(names)}: {source}")
