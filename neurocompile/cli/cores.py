"""Which cores a network takes, and what bounds it."""

from __future__ import annotations

from typing import Any

__all__ = ["cores_of", "show_cores"]


def cores_of(program: Any) -> Any | None:
    """The mapping of a program to its target's cores; None where these are not published."""
    from neurocompile.errors import naming_lines
    from neurocompile.mapping import plan_cores
    from neurocompile.mapping.host import host_layers
    from neurocompile.targets import load_target

    target = load_target(program.target)
    if target.limits.cores is None:
        return None
    with naming_lines(program.lines):
        return plan_cores(program.integer, target, weight_bits=program.settings["bits"], host=host_layers(program))


def show_cores(mapping: Any) -> None:
    """The mapping for a person."""
    from neurocompile.cli import console

    made = console.table(
        "cores", "layer", "cores", "block", "neurons", "synapse memory", "input axons", "output axons", "bound by",
        words=("layer", "block", "bound by"),
    )  # fmt: skip
    for layer in mapping.layers:
        bound = "-" if layer.bound is None else f"{layer.bound} ({layer.percent:.0f}%)"
        made.add_row(
            layer.layer,
            console.number(layer.cores),
            " x ".join(map(str, layer.block)),
            console.number(layer.neurons),
            f"{layer.synapse_bytes / 1024:,.1f} KiB",
            console.number(layer.input_axons),
            console.number(layer.output_axons),
            bound,
        )
    console.show(made)
    limit = mapping.limits.cores
    chips = f"{mapping.chips} chip{'s' if mapping.chips > 1 else ''} of {limit}"
    console.show(f"{len(mapping.cores)} cores on {chips}; axons are the most of any core of a layer")
    full = mapping.fullest
    if full is not None:
        tile = "" if full.core.tile is None else f" of tile {full.core.tile[0]},{full.core.tile[1]}"
        console.show(
            f"the fullest: core {full.core.core}{tile}, chip {full.core.chip} ({full.core.layer}), "
            f"{full.percent:.0f}% of its {full.resource}"
        )
