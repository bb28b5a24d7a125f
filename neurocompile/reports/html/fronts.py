"""The points of an exploration and their front, drawn, and as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from neurocompile.extras import needing
from neurocompile.reports.html.figures import BLUE, GREEN, INK, ORANGE, RED, bare, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurocompile.reports.explore import ExploreReport, Point

__all__ = ["as_csv", "drawn", "picture"]

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#8a63b8", "#6b7280", "#b0578d", "#7a8a1e")
_MARKERS = "osD^vPX*"
_PANEL = 3.1


def as_csv(report: ExploreReport) -> bytes:
    """All points, unrounded, in their order; what is not known is empty."""
    rows, out = report.rows, io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: "" if cell is None else cell for name, cell in row.items()} for row in rows])
    return out.getvalue().encode()


def picture(report: ExploreReport, kind: str) -> bytes:
    """The drawing as a file: "svg", "png" or "pdf"; the same numbers give the same bytes."""
    figure = drawn(report)
    if kind == "svg":
        return svg_of(figure)
    buffer = io.BytesIO()
    dates = {"CreationDate": None, "Creator": None, "Producer": None} if kind == "pdf" else {"Software": None}
    figure.savefig(buffer, format=kind, dpi=150, metadata=dates)
    return buffer.getvalue()


def drawn(report: ExploreReport) -> Figure:
    """Accuracy against energy, and against time where there is one: full marks are the front, a ring the one to take.

    Raises:
        ToolFailed: without matplotlib.
    """
    with needing("plot()", "report"):
        from matplotlib.figure import Figure
    panels: list[tuple[str, Callable[[Point], float | None]]] = [
        ("energy an inference, uJ (arrow: at least)", lambda point: _scaled(point.energy_pj, 1e6)),
        ("latency an inference, ms", lambda point: _scaled(point.latency_ns, 1e6)),
        ("cycles an inference", lambda point: point.cycles),
        ("weight memory, KB", lambda point: point.weight_bytes / 1024),
    ]
    there = [(label, of) for label, of in panels if any(of(point) is not None for point in report.points)]
    lines = -(-len(there) // 2)
    figure = Figure(figsize=(7.2, _PANEL * lines + 0.6), layout="constrained")
    axes = [bare(axis) for axis in figure.subplots(lines, 2, squeeze=False).ravel()]
    targets = list(dict.fromkeys(point.target for point in report.points))
    for axis, (label, of) in zip(axes, there, strict=False):
        _panel(axis, report, targets, label, of)
    for axis in axes[len(there) :]:
        axis.set_axis_off()
    handles, names = axes[-1 if lines * 2 == len(there) else len(there) - 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return figure


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _panel(
    axis: Axes, report: ExploreReport, targets: Sequence[str], label: str, of: Callable[[Point], float | None]
) -> None:
    """One cost against accuracy, with its interval."""
    front, energy = set(report.front), "uJ" in label
    for place, target in enumerate(targets):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        points = [point for point in report.points if point.target == target]
        for point in points:
            x = of(point)
            if x is None:
                continue
            low, high = (100 * each for each in point.accuracy_bounds)
            axis.plot([x, x], [low, high], color=colour, linewidth=0.8, alpha=0.4)
            shape = ">" if energy and point.unpriced else marker
            full = point.name in front
            axis.plot([x], [100 * point.accuracy], shape, color=colour, markersize=4.5,
                      markerfacecolor=colour if full else "none")  # fmt: skip
            if point.name == report.choice.point:
                axis.plot([x], [100 * point.accuracy], "o", color=INK, markersize=9, markerfacecolor="none")
        axis.plot([], [], marker, color=colour, markersize=4.5, label=target)
    _scale(axis, [x for point in report.points if (x := of(point))])
    axis.set_xlabel(label)
    axis.set_ylabel("accuracy, %")


def _scale(axis: Axes, found: Sequence[float]) -> None:
    """By powers, with numbers as one says them, where what is drawn differs by more than a factor of three."""
    if max(found) < 3 * min(found):
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(found) < 300 * min(found) else (1.0,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
