"""Figures as SVG: the same numbers give the same bytes. Text is text, in the colour of the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurocompile.reports.page import LayerFacts, PageReport, Raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurocompile.ir.placed import Placed
    from neurocompile.reports.causes import Cause
    from neurocompile.reports.simulate import SimulateReport
    from neurocompile.reports.validation import Stage

__all__ = [
    "BLUE", "GREEN", "INK", "ORANGE", "RED", "bare", "cores", "course", "element", "energy", "faithful", "latency",
    "layers", "network", "rasters", "spent", "svg_of",
]  # fmt: skip

# Seen on white and on black alike; told apart by those who see few colours (Okabe and Ito's blue, orange, green).
BLUE, ORANGE, GREEN, RED = "#2f7fc1", "#d98c00", "#1f9a78", "#d0532b"
INK = "#010203"
_INCHES = 7.2
_CORES_A_CHIP = 12


def rasters(found: Sequence[Raster], steps: int) -> str:
    """A row for each layer: which neurons fired in which step of the first sample."""
    heights = [min(1.6, max(0.35, 0.012 * raster.shown)) for raster in found]
    figure, axes = _rows(heights, sharex=True)
    for axis, raster in zip(axes, found):
        _ticks(axis, raster.steps, raster.fired)
        axis.set_xlim(-0.5, steps - 0.5)
        axis.set_ylim(-0.5, raster.shown - 0.5)
        axis.set_ylabel(raster.layer, rotation=0, ha="right", va="center", fontsize=7)
        axis.set_yticks([])
    axes[-1].set_xlabel("step")
    axes[-1].locator_params(axis="x", integer=True)
    return element(figure)


def _ticks(axis: Axes, steps: Any, neurons: Any) -> None:
    """All events as one path: thousands of marks would be thousands of elements."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not len(steps):
        return
    points = np.empty((2 * len(steps), 2))
    points[0::2], points[1::2] = np.stack((steps - 0.38, neurons), 1), np.stack((steps + 0.38, neurons), 1)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(steps))
    axis.add_patch(PathPatch(Path(points, codes), edgecolor=BLUE, facecolor="none", linewidth=1.1))


def layers(run: SimulateReport) -> str:
    """Firing rates and synaptic operations, layer by layer."""
    found = [layer for layer in run.layers if layer.neurons or layer.totals.sops]
    figure, (left, right) = _columns(2, 0.26 * len(found) + 0.7)
    names, places = [layer.name for layer in found], np.arange(len(found))
    left.barh(places, [100 * (layer.firing_rate or 0) for layer in found], color=BLUE)
    left.set_yticks(places, names)
    left.set_xlabel("firing rate, % of neurons a step")
    right.barh(places, [(layer.totals.sops or 0) / run.samples for layer in found], color=ORANGE)
    right.set_yticks(places, [""] * len(found))
    right.set_xlabel("synaptic operations an inference")
    for axis in (left, right):
        axis.invert_yaxis()
    return element(figure)


def energy(runs: Mapping[str, SimulateReport]) -> str:
    """What an inference costs on each chip, with its bounds; an open end where something has no price there."""
    found = {name: run for name, run in runs.items() if run.bill.energy_pj}
    figure, axis = _single(0.3 * len(found) + 0.7)
    for place, run in enumerate(found.values()):
        nominal = (run.bill.energy_pj or 0) / run.samples / 1e6
        low, high = (each / run.samples / 1e6 for each in run.bill.bounds_pj or (0, 0))
        axis.plot([low, high], [place, place], color=BLUE, linewidth=5, alpha=0.45, solid_capstyle="butt")
        axis.plot([nominal], [place], ">" if run.bill.is_lower_bound else "o", color=BLUE)
    axis.set_yticks(range(len(found)), list(found))
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("energy an inference, µJ (bar: published bounds; arrow: something has no price, it is more)")
    return element(figure)


def spent(run: SimulateReport) -> str:
    """The energy of an inference by what it is for."""
    parts = {name: pj / run.samples for name, pj in run.bill.by_term_pj.items() if pj}
    figure, axis = _single(0.28 * len(parts) + 0.7)
    axis.barh(range(len(parts)), [pj / 1e3 for pj in parts.values()], color=ORANGE)
    axis.set_yticks(range(len(parts)), [name.replace("_", " ") for name in parts])
    axis.invert_yaxis()
    axis.set_xlabel("nJ an inference")
    return element(figure)


def faithful(stage: Stage) -> str:
    """What quantization did: spikes that agree, layer by layer."""
    names = list(stage.agreement)
    figure, axis = _single(0.3 * len(names) + 0.9)
    places = np.arange(len(names))
    for offset, (values, label, colour) in enumerate(
        ((stage.layer_precision, "precision", BLUE), (stage.layer_recall, "recall", ORANGE))
    ):
        axis.barh(places + 0.36 * (offset - 0.5), [100 * values.get(name, 0) for name in names], 0.34,
                  label=label, color=colour)  # fmt: skip
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    least = min(
        [0.0 if v is None else v for d in (stage.layer_precision, stage.layer_recall) for v in d.values()] or [0]
    )
    axis.set_xlim(max(0.0, 100 * least - 5), 100)
    axis.set_xlabel("of the integers' spikes, % that float64 has (precision); of float64's, % that they have (recall)")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)
    return element(figure)


def cores(placed: Placed, percents: Sequence[float]) -> str:
    """Every core on the mesh of its chip, as dark as its fullest resource is full."""
    chips = min(placed.chips, _CORES_A_CHIP)
    columns = min(chips, 4)
    lines = -(-chips // columns)
    figure, axes = _grid(lines, columns, 1.25 * lines + 0.5)
    for chip, axis in enumerate(axes):
        axis.set_axis_off()
        if chip >= chips:
            continue
        held = [(core, percent) for core, percent in zip(placed.cores, percents) if core.chip == chip]
        image = _mesh(held)
        shown = axis.imshow(image, vmin=0, vmax=100, cmap="viridis", interpolation="nearest", aspect="equal")
        axis.set_title(f"chip {chip}", fontsize=7)
    bar = figure.colorbar(shown, ax=list(axes), shrink=0.8, pad=0.02)
    bar.set_label("% of the nearest limit", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return element(figure)


def _mesh(held: Sequence[tuple[Any, float]]) -> Any:
    """The cores of a chip as an image: tiles of two by two cores, or one after the other where there are no tiles."""
    places = []
    for core, percent in held:
        if core.tile is None:
            places.append((core.core % 16, core.core // 16, percent))
        else:
            places.append((2 * core.tile[0] + core.core % 2, 2 * core.tile[1] + core.core // 2, percent))
    width, height = max(x for x, _, _ in places) + 1, max(y for _, y, _ in places) + 1
    image = np.full((height, width), np.nan)
    for x, y, percent in places:
        image[y, x] = percent
    return image


def latency(report: PageReport) -> str:
    """How long each step of the first sample took."""
    assert report.times is not None
    steps = report.times.steps
    figure, axis = _single(1.9)
    axis.bar(range(len(steps)), steps, color=GREEN, width=0.8)
    axis.set_xlabel("step of the chip")
    axis.set_ylabel(report.times.unit)
    axis.locator_params(axis="x", integer=True)
    return element(figure)


def course(cause: Cause) -> str:
    """The membrane of the first neuron that differs, what explains it, and the spikes on both sides."""
    found = cause.course
    figure, axis = _single(2.3)
    steps = np.arange(len(found.membrane))
    axis.plot(steps, found.membrane, "o-", color=BLUE, markersize=3, linewidth=1.2, label="by the program")
    if found.explained is not None:
        axis.plot(steps, found.explained, "s--", color=ORANGE, markersize=3, linewidth=1.2, label="as explained")
    axis.axhline(cause.threshold, color=INK, linewidth=0.8, linestyle=":", label="threshold")
    axis.axvline(cause.step, color=RED, linewidth=0.8, label="first difference")
    low, high = axis.get_ylim()
    room = 0.09 * (high - low)
    for row, (spikes, colour, name) in enumerate(
        ((found.spikes, BLUE, "fires by the program"), (found.recorded, RED, "fired as recorded"))
    ):
        fired = np.flatnonzero(spikes)
        axis.plot(fired, np.full(len(fired), low - (row + 1) * room), "|", color=colour, markersize=8, label=name)
    axis.set_ylim(low - 3 * room, high)
    axis.set_xlabel("step")
    axis.set_ylabel("membrane before the reset")
    axis.locator_params(axis="x", integer=True)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)
    return element(figure)


def network(found: Sequence[LayerFacts]) -> str:
    """The layers as they went to the chip, from the inputs down, and who hears whom."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    rows: dict[int, list[LayerFacts]] = {}
    for layer in found:
        rows.setdefault(layer.depth, []).append(layer)
    widest = max(len(row) for row in rows.values())
    step = 0.62
    figure, axis = _single(step * len(rows) + 0.2)
    axis.set_axis_off()
    width = min(4.2, _INCHES / max(widest, 1) - 0.3)
    places: dict[str, tuple[float, float]] = {}
    for depth, row in sorted(rows.items()):
        for column, layer in enumerate(row):
            places[layer.name] = (_INCHES / len(row) * (column + 0.5), -step * depth)
    for layer in found:
        x, y = places[layer.name]
        colour = {"input": GREEN, "host": GREEN, "simulation": RED}.get(
            layer.kind if layer.kind == "input" else layer.runs_on, BLUE
        )
        box = FancyBboxPatch((x - width / 2, y - 0.17), width, 0.34, boxstyle="round,pad=0.02")
        box.set(edgecolor=colour, facecolor="none", linewidth=1.1)
        axis.add_patch(box)
        size = "x".join(map(str, layer.shape))
        axis.text(x, y, f"{layer.name}  {size}", ha="center", va="center", fontsize=7, color=INK)
    for layer in found:
        x, y = places[layer.name]
        for source, delay, _ in layer.sources:
            if source not in places:
                continue
            sx, sy = places[source]
            near = abs((sy - y) - step) < 1e-6
            bend = 0.0 if near else 0.35 if sy > y else -0.5
            start, end = ((sx, sy - 0.19), (x, y + 0.19)) if near else ((sx + width / 2, sy), (x + width / 2, y))
            axis.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={-bend}", arrowstyle="-|>",
                                           mutation_scale=7, color=INK, linewidth=0.7,
                                           linestyle="--" if delay else "-"))  # fmt: skip
    axis.set_xlim(0, _INCHES)
    axis.set_ylim(-step * max(rows) - 0.35, 0.35)
    return element(figure)


# -- matplotlib --------------------------------------------------------------------------------------------------------


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_INCHES, height), layout="constrained")


def _single(height: float) -> tuple[Figure, Axes]:
    figure = _figure(height)
    return figure, bare(figure.add_subplot())


def _columns(count: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = _figure(height)
    return figure, [bare(axis) for axis in figure.subplots(1, count)]


def _rows(heights: Sequence[float], sharex: bool) -> tuple[Figure, list[Axes]]:
    figure = _figure(sum(heights) + 0.5)
    axes = figure.subplots(len(heights), 1, sharex=sharex, squeeze=False, height_ratios=list(heights))
    return figure, [bare(axis) for axis in axes.ravel()]


def _grid(lines: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = _figure(height)
    return figure, list(figure.subplots(lines, columns, squeeze=False).ravel())


def bare(axis: Axes) -> Axes:
    """The axes with small labels, in ink, and without a frame."""
    axis.tick_params(labelsize=7, colors=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(INK)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set_fontsize(7.5)
        label.set_color(INK)
    return axis


def svg_of(figure: Figure) -> bytes:
    """The figure as a file: text is text, and there is no date in it."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "neurocompile", "text.color": INK}):
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_color() in ("black", "k"):
                text.set_color(INK)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def element(figure: Figure) -> str:
    """The figure as an element of a page: no prolog, no size of its own; ink in the colour of the text."""
    svg = svg_of(figure).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui")
