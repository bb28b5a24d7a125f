"""Points that are beaten on few samples get no more: successive halving, with a test before anything is dropped.

Each round has twice the samples of the one before it, evenly spread over the data, and drops at most half of the
points. A point is dropped where another takes no more energy and time, and has more of the same samples right by more
than chance: McNemar's exact test, at a level of 5 % divided by all comparisons that could drop it, so that in at most
one sweep of twenty any point is dropped that is no worse on all data.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurocompile.data import Data
from neurocompile.recordings.outputs import SIGNIFICANT
from neurocompile.reports.explore import Dropped, Halving, Illegal, Point
from neurocompile.verbs.exploring.front import beats, mcnemar
from neurocompile.verbs.exploring.space import Design
from neurocompile.verbs.exploring.sweep import Sweep

__all__ = ["every", "halved"]

_SHARES = (8, 4)
_FEWEST = 16
"""Samples of a round: fewer tell nothing."""


def halved(sweep: Sweep, designs: Sequence[Design], data: Data) -> tuple[list[Design], list[Illegal], Halving]:
    """The designs that are left for all of the data, what turned out illegal, and what was dropped."""
    left, illegal, dropped = list(designs), list[Illegal](), list[Dropped]()
    rounds = [share for share in _SHARES if len(data) // share >= _FEWEST]
    level = SIGNIFICANT / max(1, len(rounds) * len(left) * (len(left) - 1))
    ran = 0
    for share in rounds:
        part = every(data, share)
        ran += len(part) * len(left)
        points, wrong = sweep.points(left, part)
        illegal += wrong
        lost = _lost(points, level, len(part))[: len(points) // 2]
        dropped += lost
        gone = {each.point for each in lost}
        there = {point.name for point in points}
        left = [design for design in left if design.name in there and design.name not in gone]
    note = "" if rounds else f"{len(data)} samples are too few: a round has {_FEWEST} at least"
    ran += len(data) * len(left)
    sizes = tuple(len(every(data, share)) for share in rounds)
    return left, illegal, Halving(sizes, level, tuple(dropped), ran, len(data) * len(designs), note)


def every(data: Data, step: int, first: int = 0) -> Data:
    """One sample of so many, from the first on."""
    data = data.part(0, len(data))  # in memory, if it was not
    labels = None if data.labels is None else data.labels[first::step]
    return Data({name: x[first::step] for name, x in data.inputs.items()}, labels, data.where)


def _lost(points: Sequence[Point], level: float, samples: int) -> list[Dropped]:
    """The points that others beat by more than chance, the worst first."""
    found = []
    for point in points:
        beaten = [(mcnemar(other, point), other) for other in points if beats(other, point)]
        sure = [(p, other) for p, other in beaten if p < level and other.accuracy > point.accuracy]
        if sure:
            p, other = min(sure, key=lambda each: (each[0], each[1].name))
            found.append(Dropped(point.name, samples, point.accuracy, other.name, other.accuracy, p))
    return sorted(found, key=lambda each: (each.accuracy, each.point))
