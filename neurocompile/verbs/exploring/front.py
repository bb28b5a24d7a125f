"""Which points no other beats, and which of them to take.

A point is better where it is more accurate, takes less energy or less time. One beats another if it is nowhere worse
and somewhere better. What is not known is not guessed: latencies are compared where both are times, or both are cycles;
an energy that is a lower bound is at most another's only where both leave out the same; one that is complete is at most
a lower bound if the numbers say so. Where neither can be said, neither point beats the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

from neurocompile.recordings.outputs import SIGNIFICANT
from neurocompile.recordings.sure import sign_test
from neurocompile.reports.explore import Choice, Near, Neighbour, Point, Wanted
from neurocompile.reports.text.parts import energy, percent

__all__ = ["beats", "chosen", "front_of", "mcnemar"]

_NEAREST = 3


def front_of(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats, in their order; of those of a chip that are equal in all, the first."""
    return [
        point
        for number, point in enumerate(points)
        if not any(beats(other, point) for other in points) and not any(_same(each, point) for each in points[:number])
    ]


def _same(one: Point, other: Point) -> bool:
    costs = all(at_most(one, other) and at_most(other, one) for at_most in (_energy, _time))
    return one.target == other.target and one.accuracy == other.accuracy and costs


def beats(one: Point, other: Point) -> bool:
    """Whether a point is nowhere worse than another, and somewhere better."""
    costs = (_energy, _time)
    if one.accuracy < other.accuracy or not all(at_most(one, other) for at_most in costs):
        return False
    return one.accuracy > other.accuracy or not all(at_most(other, one) for at_most in costs)


def _energy(one: Point, other: Point) -> bool:
    """Whether the first certainly takes no more energy."""
    if one.energy_pj is None or other.energy_pj is None:
        return one.energy_pj is other.energy_pj
    return one.energy_pj <= other.energy_pj and (not one.unpriced or one.unpriced == other.unpriced)


def _time(one: Point, other: Point) -> bool:
    """Whether the first certainly takes no more time."""
    for mine, its in ((one.latency_ns, other.latency_ns), (one.cycles, other.cycles)):
        if (mine is None) != (its is None):
            return False
        if mine is not None and its is not None and mine > its:
            return False
    return True


def mcnemar(one: Point, other: Point) -> float:
    """How likely two equally good designs differ as much in the samples that only one of them has right."""
    return sign_test(int((one.right & ~other.right).sum()), int((other.right & ~one.right).sum()))


# -- what to take ------------------------------------------------------------------------------------------------------


def chosen(points: Sequence[Point], wanted: Wanted) -> Choice:
    """The point of the front to take.

    Of those that keep to what is wanted, the one that is best at what was not named: the most accurate, else the one
    with the least energy, else with the least latency. Where nothing is wanted, the one with the least energy among
    those that are not worse than the most accurate by more than chance.
    """
    front = front_of(points)
    if not wanted:
        best = max(front, key=lambda point: point.accuracy)
        alike = [point for point in front if mcnemar(best, point) >= SIGNIFICANT or point.accuracy >= best.accuracy]
        return _taken(min(alike, key=_costs), front, wanted, True)
    for met, sure in ((True, True), (None, False)):
        fitting = [point for point in front if _keeps(point, wanted, sure)]
        if fitting:
            return _taken(min(fitting, key=_order(wanted)), front, wanted, met)
    return _none(points, wanted)


def _costs(point: Point) -> tuple[float, ...]:
    """What is known to cost less comes first."""
    return (_or_inf(point.energy_pj), _or_inf(point.latency_ns), _or_inf(point.cycles), -point.accuracy)


def _or_inf(value: float | None) -> float:
    return inf if value is None else value


def _order(wanted: Wanted) -> Callable[[Point], tuple[float, ...]]:
    """The least of this is the best: what is bounded already comes last."""

    def key(point: Point) -> tuple[float, ...]:
        values = {
            "min_accuracy": -point.accuracy,
            "max_energy_uj": _or_inf(point.energy_pj),
            "max_latency_ms": _or_inf(point.latency_ns),
        }
        free = [value for name, value in values.items() if getattr(wanted, name) is None]
        return (*free, *(value for name, value in values.items() if getattr(wanted, name) is not None))

    return key


def _keeps(point: Point, wanted: Wanted, sure: bool) -> bool:
    """Whether a point keeps to what is wanted; unless ``sure``, as far as it is priced."""
    missed = _misses(point, wanted)
    return not missed and not (sure and wanted.max_energy_uj is not None and point.unpriced)


def _misses(point: Point, wanted: Wanted) -> dict[str, float | None]:
    """What a point does not keep to, and by which factor; None where it is not known."""
    found: dict[str, float | None] = {}
    if wanted.min_accuracy is not None and point.accuracy < wanted.min_accuracy:
        found["accuracy"] = wanted.min_accuracy / point.accuracy if point.accuracy else inf
    for name, value, most in (
        ("energy", point.energy_pj, None if wanted.max_energy_uj is None else wanted.max_energy_uj * 1e6),
        ("latency", point.latency_ns, None if wanted.max_latency_ms is None else wanted.max_latency_ms * 1e6),
    ):
        if most is not None and (value is None or value > most):
            found[name] = None if value is None else value / most
    return found


def _none(points: Sequence[Point], wanted: Wanted) -> Choice:
    """The points that miss least, by the worst factor; what is not known is the farthest."""
    missing = [Near(point.name, _misses(point, wanted)) for point in points]
    missing.sort(key=lambda near: max(inf if by is None else by for by in near.misses.values()))
    nearest, by_name = tuple(missing[:_NEAREST]), {point.name: point for point in points}
    first = by_name[nearest[0].point]
    misses = ", ".join(
        f"{name} is not known there" if by is None else f"{name} by a factor of {by:.3g}"
        for name, by in nearest[0].misses.items()
    )
    sentence = (
        f"No point keeps to {_in_words(wanted)}. The nearest is {first.name}: {_figures(first)}; it misses {misses}."
    )
    return Choice(wanted, None, False, sentence, (), nearest)


def _in_words(wanted: Wanted) -> str:
    said = []
    if wanted.min_accuracy is not None:
        said.append(f"an accuracy of at least {percent(wanted.min_accuracy)}")
    if wanted.max_energy_uj is not None:
        said.append(f"at most {wanted.max_energy_uj:g} uJ")
    if wanted.max_latency_ms is not None:
        said.append(f"at most {wanted.max_latency_ms:g} ms")
    return " and ".join(said)


def _figures(point: Point) -> str:
    low, high = point.accuracy_bounds
    said = [f"accuracy {percent(point.accuracy)} ({percent(low)} to {percent(high)})"]
    said.append(f"energy {energy(point.energy_pj, bool(point.unpriced))}")
    if point.latency_ns is not None:
        said.append(f"latency {point.latency_ns / 1e6:.4g} ms")
    if point.cycles is not None:
        said.append(f"{point.cycles:,.0f} cycles")
    return ", ".join(said)


def _taken(point: Point, front: Sequence[Point], wanted: Wanted, met: bool | None) -> Choice:
    neighbours = tuple({each.point: each for each in reversed(list(_neighbours(point, front)))}.values())[::-1]
    why = f"for {_in_words(wanted)}" if wanted else (
        "which takes the least of those that are not worse than the most accurate by more than chance"
    )  # fmt: skip
    sentence = f"Take {point.name}{' ' if wanted else ', '}{why}: {_figures(point)}."
    if met is None:
        left_out = ", ".join(sorted(point.unpriced))
        sentence += f" That is as far as it is priced: it has no price for {left_out}."
    by_name = {each.name: each for each in front}
    sentence += "".join(f" {_gives_up(each, point, by_name[each.point])}." for each in neighbours)
    return Choice(wanted, point.name, met, sentence, neighbours)


def _neighbours(point: Point, front: Sequence[Point]) -> Iterator[Neighbour]:
    """Points of the front that are better at something: the cheapest that is more accurate, and the most accurate that
    takes less energy, and less time."""
    more = [each for each in front if each.accuracy > point.accuracy]
    if more:
        yield _beside(min(more, key=_costs), point, "accuracy")
    for name, of in (("energy", _energy_of), ("latency", _latency_of)):
        mine = of(point)
        less = [each for each in front if mine is not None and _or_inf(of(each)) < mine]
        if less:
            yield _beside(max(less, key=lambda each: (each.accuracy, -_or_inf(of(each)))), point, name)


def _energy_of(point: Point) -> float | None:
    return point.energy_pj


def _latency_of(point: Point) -> float | None:
    return point.latency_ns


def _beside(other: Point, point: Point, better: str) -> Neighbour:
    def ratio(its: float | None, mine: float | None) -> float | None:
        return None if not its or not mine else its / mine

    return Neighbour(
        other.name, better, other.accuracy - point.accuracy, ratio(other.energy_pj, point.energy_pj),
        ratio(other.latency_ns, point.latency_ns), mcnemar(other, point),
    )  # fmt: skip


def _gives_up(neighbour: Neighbour, point: Point, other: Point) -> str:
    """What one would have beside the point, and for what."""
    points = f"{abs(neighbour.accuracy) * 100:.2f} points"
    sure = "" if neighbour.p < SIGNIFICANT else f" (within chance, p = {neighbour.p:.2g})"
    if not neighbour.accuracy:
        accuracy = "is as accurate"
    else:
        accuracy = f"is {points} {'more' if neighbour.accuracy > 0 else 'less'} accurate{sure}"
    costs = []
    if neighbour.energy is not None and other.energy_pj != point.energy_pj:
        costs.append(f"{energy(other.energy_pj, bool(other.unpriced))} ({_times(neighbour.energy)})")
    if neighbour.latency is not None and other.latency_ns != point.latency_ns:
        costs.append(f"{(other.latency_ns or 0) / 1e6:.4g} ms ({_times(neighbour.latency)})")
    way = "more" if neighbour.better == "accuracy" else "less"
    return f"For {way} {neighbour.better}: {other.name} {accuracy}{_joined(costs)}"


def _joined(costs: Sequence[str]) -> str:
    return f", takes {' and '.join(costs)}" if costs else ""


def _times(ratio: float) -> str:
    change = (ratio - 1) * 100
    if ratio < 0.5:
        return f"1/{1 / ratio:.3g} of it"
    return f"{ratio:.3g} times" if ratio >= 2 else f"{change:+.2g} %"
