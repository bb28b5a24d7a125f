"""What of a program runs where, and which cores it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import number, percent, table

if TYPE_CHECKING:
    from neurocompile.ir.placed import Placed
    from neurocompile.reports.program import HostRegionReport, Placement, Sizes
    from neurocompile.reports.text.parts import Part

__all__ = ["cores", "host_regions", "placement", "readouts", "sizes"]


def readouts(layers: Iterable[str]) -> list[str]:
    """What the layers are that the compiler adds for outputs without neurons."""
    added = [name for name in layers if name.endswith(".integrator")]
    several = "these add" if len(added) > 1 else "it adds"
    return [f"{', '.join(added)}: the readout; {several} up what arrives, and never fires"] if added else []


_MACS = "MACs: multiply-accumulates"


def sizes(found: Sizes) -> str:
    """In a line."""
    return f"{found.neurons:,} neurons, {found.synapses:,} synapses from {found.weights:,} stored weights"


def cores(mapping: Placed) -> Iterator[Part]:
    """The cores of each layer, and the fullest of them."""
    made = table(
        "cores", "layer", "cores", "block", "neurons", "synapse memory", "input axons", "output axons", "bound by",
        words=("layer", "block", "bound by"), optional=("output axons", "input axons", "block"),
    )  # fmt: skip
    for layer in mapping.layers:
        made.add_row(
            layer.layer,
            number(layer.cores),
            " x ".join(map(str, layer.block)),
            number(layer.neurons),
            f"{layer.synapse_bytes / 1024:,.1f} KiB",
            number(layer.input_axons),
            number(layer.output_axons),
            "-" if layer.bound is None else f"{layer.bound} ({layer.percent:.0f}%)",
        )
    yield made
    chips = f"{mapping.chips} chip{'s' if mapping.chips > 1 else ''} of {mapping.limits.cores}"
    many = "1 core" if len(mapping.cores) == 1 else f"{len(mapping.cores)} cores"
    yield f"{many} on {chips}; axons are the most of any block of a layer"
    if shared := [core for core in mapping.cores if len(core.layers) > 1]:
        blocks = sum(len(core.layers) for core in shared)
        yield f"packing: {len(shared)} of them shared by {blocks} blocks of several layers"
    if mapping.crossing:
        every = sum(core.output_axons for core in mapping.cores)
        yield f"the cut: {number(mapping.crossing)} axons lead from one chip to another; {number(every)} slots in all"
    yield from _axons_and_halos(mapping)
    full = mapping.fullest
    if full is not None:
        tile = "" if full.core.tile is None else f" of tile {full.core.tile[0]},{full.core.tile[1]}"
        where = f"core {full.core.core}{tile}, chip {full.core.chip} ({full.core.layer})"
        yield f"the fullest: {where}, {full.percent:.0f}% of its {full.resource}"


def _axons_and_halos(mapping: Placed) -> Iterator[Part]:
    """What a chip with several kinds of axons hears by which, and the compartments that are no neurons."""
    shared = [name for name, kind in mapping.axons.items() if kind != "discrete"]
    if mapping.axons:
        others = len(mapping.axons) - len(shared)
        yield f"axons: of {len(shared)} sources one for all channels at a place, of {others} one a neuron"
    halos = [layer for layer in mapping.layers if any(layer.halo)]
    if halos:
        beside = sum(layer.beside for layer in halos)
        yield f"halos: {number(beside)} compartments beside the neurons of {len(halos)} layers, for kernels kept once"
    if mapping.soft_resets:
        neurons = sum(layer.neurons for layer in mapping.layers if layer.layer in mapping.soft_resets)
        yield (
            f"soft reset: {number(neurons)} neurons of {len(mapping.soft_resets)} layers have two compartments each, "
            "and an axon to themselves"
        )


# So many layers of a list are named.
_SHOWN = 6


def placement(found: Placement) -> Iterator[Part]:
    """Which layers are not the chip's own neurons and why, and what the host does first."""
    if not found.runs_on or found.silicon is None:
        return
    made = table("where it runs", "layer", "on", "because", words=3)
    names = {"simulation": "CPU simulation only", "host": "the host"}
    elsewhere = {name: about for name, about in found.runs_on.items() if about.where != "chip"}
    many = len(found.runs_on) - len(elsewhere)
    made.add_row(f"{many} of {len(found.runs_on)} layers", "the chip's own neurons", "")
    for name, about in elsewhere.items():
        reasons = [f"{why}; to run it on the chip: {fix}" for why, fix in zip(about.why, about.fix)]
        if about.where == "host":
            reasons = ["it turns real-valued inputs into spikes"]
        made.add_row(name, names[about.where], ". ".join(reasons))
    yield made
    host, graded = found.silicon.host, found.silicon.graded_events_meet
    if host.macs:
        work = [f"{host.macs:,} multiply-accumulates", f"{host.neuron_updates:,} neuron updates, and sends spikes"]
        said = " and ".join(work[: 2 if host.neuron_updates else 1])
        yield f"--encode host: per inference the host does up to {said}; none of that is in the chip's energy"
        written = found.silicon.written
        if written:
            which = ", ".join(written[:_SHOWN]) + (", ..." if len(written) > _SHOWN else "")
            yield (
                f"real-valued inputs that {len(written)} layers of the chip hear beside spikes ({which}): the host "
                f"computes what they add, and writes it as biases, up to {host.bias_writes:,} per inference"
            )
    elif graded:
        yield (
            f"--encode graded: inputs are graded spikes; those that are not zero meet up to {graded:,} weights per "
            "inference on the chip (counted as MACs)"
        )


def host_regions(regions: Sequence[HostRegionReport], on_chip: float | None = None) -> Iterator[Part]:
    """What the host computes between the turns of the chip, for one inference.

    Args:
        regions: in their order.
        on_chip: what the chip does for one inference (SOPs and MACs), where that is known.
    """
    if not regions:
        return
    columns = ("region", "what", "when", "MACs", "numbers from the chip", "to the chip")
    made = table("the host computes, for each inference", *columns, words=3, legend=[_MACS])
    for region in regions:
        made.add_row(
            region.name,
            region.kind + (f", which is {region.output}" if region.output else ""),
            "at each step" if region.per_step else "once",
            *map(number, (region.macs, region.from_chip, region.to_chip)),
        )
    yield made
    macs = sum(region.macs for region in regions)
    if on_chip:
        yield f"{percent(macs / (macs + on_chip))} of the operations are the host's; they are not priced"
