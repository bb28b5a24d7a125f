"""What there is to choose from, and what to take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import Styled, energy, number, percent, table

if TYPE_CHECKING:
    from neurocompile.reports.explore import ExploreReport, Halving, Illegal, Point
    from neurocompile.reports.text.parts import Part, Table

__all__ = ["text"]

_LEGEND = (
    "*: on the front: no other point is nowhere worse and somewhere better in accuracy, energy and latency",
    "accuracy: with its 95 % interval; energy and latency: of an inference; >=: something has no published price",
)


def text(report: ExploreReport) -> Iterator[Part]:
    """The points, the widths by layer, what is missing, and the sentence."""
    yield _points(report)
    if report.mixed:
        yield from _mixed(report)
    if report.halving is not None:
        yield from _halving(report.halving)
    if report.illegal:
        yield _illegal(report)
    for what, path in (("page", report.page), ("table", report.csv), ("picture", report.picture)):
        if path is not None:
            yield f"wrote the {what} to {path}"
    if report.choice.met is False:
        nearest = table("nearest points", "point", "misses", words=2)
        for near in report.choice.nearest:
            misses = (f"{name} {'unknown' if by is None else f'{by:.3g} times'}" for name, by in near.misses.items())
            nearest.add_row(near.point, ", ".join(misses))
        yield nearest
    yield Styled(report.choice.sentence, "bold" if report.choice.met is not False else "bold red")


def _points(report: ExploreReport) -> Table:
    timed = any(point.latency_ns is not None for point in report.points)
    counted = any(point.cycles is not None for point in report.points)
    made = table(
        f"{report.model}: {len(report.points)} points, {report.samples:,} samples, T = {report.timesteps}",
        "", "point", "accuracy", "SOPs", "energy", *["latency"] * timed, *["cycles"] * counted, "cores", "weights",
        words=2, optional=("SOPs", "cores", "weights"), legend=_LEGEND,
    )  # fmt: skip
    front = set(report.front)
    for point in report.points:
        latency = "-" if point.latency_ns is None else f"{point.latency_ns / 1e6:.4g} ms"
        made.add_row(
            "*" if point.name in front else "", point.name, _accuracy(point), number(point.run.per_sample.sops),
            energy(point.energy_pj, bool(point.unpriced)), *[latency] * timed,
            *[number(None if point.cycles is None else round(point.cycles))] * counted, number(point.cores),
            f"{point.weight_bytes / 1024:.4g} KB",
        )  # fmt: skip
    return made


def _accuracy(point: Point) -> str:
    low, high = point.accuracy_bounds
    return f"{percent(point.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"


def _mixed(report: ExploreReport) -> Iterator[Part]:
    made = table(
        "widths by layer, against one width of all", "point", "beside", "bits by layer", "weights", "accuracy", "p",
        "differ", words=("point", "beside", "bits by layer", "weights", "accuracy", "differ"), optional=("beside",),
        legend=[
            f"chosen on {report.mixed[0].chosen_on} samples, reported on {report.samples} others; first its own, then "
            "the uniform width's",
            "p: McNemar's exact test: how likely two equally good ones differ as much; differ: p below 5 %",
        ],
    )  # fmt: skip
    for each in report.mixed:
        mine, its = (f"{size / 1024:.4g}" for size in each.weight_bytes)
        made.add_row(
            each.point, each.uniform, ",".join(f"{name}={bits}" for name, bits in each.bits.items()),
            f"{mine}, {its} KB", f"{percent(each.accuracy[0])}, {percent(each.accuracy[1])}", f"{each.p:.2g}",
            "yes" if each.significant else "no",
        )  # fmt: skip
    yield made


def _halving(halving: Halving) -> Iterator[Part]:
    if halving.note:
        yield f"nothing was dropped early: {halving.note}"
        return
    rounds = ", ".join(map(str, halving.rounds))
    yield (
        f"dropped early: {len(halving.dropped)} points, after {rounds} samples; {halving.samples_run:,} samples were "
        f"run for all points, {halving.samples_without:,} would have been"
    )
    if halving.dropped:
        made = table(
            "dropped", "point", "samples", "accuracy", "beaten by", "its accuracy", "p", words=("point", "beaten by"),
            legend=[f"by another that takes no more energy and time, McNemar's p below {halving.level:.2g}"],
        )  # fmt: skip
        for each in halving.dropped:
            made.add_row(each.point, str(each.samples), percent(each.accuracy), each.by, percent(each.accuracy_by),
                         f"{each.p:.1g}")  # fmt: skip
        yield made


def _illegal(report: ExploreReport) -> Table:
    """What a chip has not got, each reason once."""
    made = table("what there cannot be", "chip", "what", "why", "points", words=3)
    reasons: dict[tuple[str, tuple[tuple[str, str], ...]], list[Illegal]] = {}
    for each in report.illegal:
        key = each.target, tuple((problem.what, problem.limit) for problem in each.problems)
        reasons.setdefault(key, []).append(each)
    for (target, problems), of in reasons.items():
        why = "; ".join(f"{what} (has: {limit})" if limit else what for what, limit in problems)
        missing = sum(each.combinations for each in of)
        made.add_row(target, ", ".join(dict.fromkeys(map(_missing, of))), why, str(missing))
    return made


def _missing(each: Illegal) -> str:
    mapping = each.mapping
    width = "" if each.bits is None else f"{each.bits}-bit" if isinstance(each.bits, int) else "bits by layer"
    return " ".join(filter(None, (width, mapping.scale, mapping.per, mapping.placement))) or "all"
