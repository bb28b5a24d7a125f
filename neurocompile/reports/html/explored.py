"""The page of an exploration: what to take, the front, every point, widths by layer, what was dropped or cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neurocompile.reports.explore import ExploreReport, Point
from neurocompile.reports.html.figures import element
from neurocompile.reports.html.fronts import drawn
from neurocompile.reports.html.parts import Figure, Section, Table, Verdict, rendered
from neurocompile.reports.text.parts import number, percent

__all__ = ["explored"]


def explored(report: ExploreReport) -> bytes:
    """The page, in one file; the same report gives the same bytes.

    Raises:
        ToolFailed: if Jinja2 or matplotlib is not installed.
    """
    title = f"{report.model}: widths, chips, mappings"
    return rendered(title, report.samples, report.timesteps, [_verdict(report)], lambda: list(_sections(report)))


def _verdict(report: ExploreReport) -> Verdict:
    choice = report.choice
    if not choice.wanted:
        return Verdict("what to take", "chosen", choice.sentence)
    how = {True: "passed", False: "failed", None: "not wholly priced"}[choice.met]
    return Verdict("a point that keeps to what was wanted", how, choice.sentence)


def _sections(report: ExploreReport) -> Iterator[Section]:
    made = Section("front", "The front")
    made.text.append(
        f"{len(report.points)} points, {len(report.front)} that no other beats: nowhere worse and somewhere better in "
        "accuracy, energy and latency, as far as these are known."
    )
    words = "; ".join(f"{name} {percent(report[name].accuracy)}" for name in report.front)
    caption = "Accuracy with its 95 % interval against what it costs; full marks: the front; ring: the one to take."
    made.figures.append(Figure(element(drawn(report)), caption, f"{words}."))
    front = set(report.front)
    made.tables.append(_points("front", [point for point in report.points if point.name in front]))
    yield made
    yield Section("points", "Every point", tables=[_points("points", report.points)])
    if report.mixed:
        yield _mixed(report)
    if report.halving is not None:
        yield _halving(report)
    if report.illegal:
        columns = ("chip", "bits", "scale", "per", "placement", "points missing", "why")
        rows = tuple(
            (each.target, _width(each.bits), each.mapping.scale, each.mapping.per, each.mapping.placement,
             each.combinations, "; ".join(str(problem).replace("\n", " ") for problem in each.problems))
            for each in report.illegal
        )  # fmt: skip
        yield Section("illegal", "What there cannot be", tables=[Table("illegal", columns, rows)])


def _points(name: str, points: Any) -> Table:
    columns = ("point", "bits", "accuracy", "low", "high", "SOPs", "pJ an inference", "least", "most", "no price for",
               "ns an inference", "cycles", "cores", "chips", "weights, bytes")  # fmt: skip
    return Table(name, columns, tuple(map(_row, points)), ("an inference, on average; low and high: 95 % interval",))


def _row(point: Point) -> tuple[Any, ...]:
    low, high = point.energy_bounds_pj or (None, None)
    return (
        point.name, _width(point.bits), percent(point.accuracy), *map(percent, point.accuracy_bounds),
        point.run.per_sample.sops, point.energy_pj, low, high, ", ".join(sorted(point.unpriced)), point.latency_ns,
        point.cycles, point.cores, point.chips, point.weight_bytes,
    )  # fmt: skip


def _width(bits: Any) -> Any:
    return bits if bits is None or isinstance(bits, int) else ", ".join(f"{name} {each}" for name, each in bits.items())


def _mixed(report: ExploreReport) -> Section:
    made = Section("mixed", "Widths by layer")
    made.text.append(
        f"Chosen on {report.mixed[0].chosen_on} samples, reported on {report.samples} others; the uniform width beside "
        "each takes as much memory or more."
    )
    columns = ("point", "beside", "bits", "bytes", "bytes, uniform", "accuracy", "accuracy, uniform", "only it right",
               "only uniform right", "McNemar p", "differ")  # fmt: skip
    rows = tuple(
        (each.point, each.uniform, _width(each.bits), *each.weight_bytes, *map(percent, each.accuracy),
         each.only_mixed_right, each.only_uniform_right, each.p, each.significant)
        for each in report.mixed
    )  # fmt: skip
    made.tables.append(Table("mixed", columns, rows))
    return made


def _halving(report: ExploreReport) -> Section:
    halving = report.halving
    assert halving is not None
    made = Section("halving", "What was dropped early")
    made.text.append(
        f"{number(halving.samples_run)} samples were run, {number(halving.samples_without)} without dropping any. "
        f"{halving.note}".strip()
    )
    columns = ("point", "after samples", "accuracy", "beaten by", "its accuracy", "McNemar p")
    rows = tuple(
        (each.point, each.samples, percent(each.accuracy), each.by, percent(each.accuracy_by), each.p)
        for each in halving.dropped
    )
    made.tables.append(Table("dropped", columns, rows))
    return made
