"""Points that are beaten on few samples get no more, with a test before anything is dropped.

There are two rounds, after an eighth and a quarter of the samples, evenly spread over the data; each drops at most half
of the points, and what is left goes on with the other samples. A point is dropped where another takes no more energy
and time, and has more of the same samples right by more than chance: McNemar's exact test, at a level of 5 % divided by
all comparisons that could drop one (Bonferroni). So the chance that any point is dropped for one that is no more
accurate, where samples are as good as drawn at random, is 5 % a sweep at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.recordings.outputs import SIGNIFICANT
from neurocompile.reports.explore import Dropped, Halving, Illegal, Point
from neurocompile.verbs.exploring.front import beats, mcnemar
from neurocompile.verbs.exploring.picked import picked
from neurocompile.verbs.exploring.space import Design
from neurocompile.verbs.exploring.sweep import Sweep
from neurocompile.verbs.exploring.tasks import Samples, in_one_piece

__all__ = ["halved", "lost", "rounds_of"]

_SHARES = (8, 4)
_FEWEST = 16
"""Samples of a round: fewer tell nothing."""


def halved(sweep: Sweep, designs: Sequence[Design], data: Data) -> tuple[list[Point], list[Illegal], Halving]:
    """The points that are left on all of the data, what turned out illegal, and what was dropped."""
    order, stops = rounds_of(len(data))
    samples = Samples(picked(data, order) if stops else data, stops)
    left, illegal, dropped = list(designs), list[Illegal](), list[Dropped]()
    level = SIGNIFICANT / max(1, len(stops) * len(left) * (len(left) - 1))
    begun = ran = 0
    for stop in stops:
        ran += _new(sweep, left, begun, stop)
        points, wrong = sweep.points(left, samples, stop)
        illegal += wrong
        beaten = lost(points, level, stop)[: len(points) // 2]
        dropped += beaten
        there = {point.name for point in points} - {each.point for each in beaten}
        left = [design for design in left if design.name in there]
        begun = stop
    ran += _new(sweep, left, begun, len(data))
    points, wrong = sweep.points(left, samples)
    back = np.argsort(order)
    points = [replace(point, right=point.right[back]) for point in points]
    note = "" if stops else f"{len(data)} samples are too few: a round has {_FEWEST} at least"
    return points, illegal + wrong, Halving(stops, level, tuple(dropped), ran, len(data) * len(designs), note)


def rounds_of(samples: int) -> tuple[Array, tuple[int, ...]]:
    """The samples in the order in which they are run, and after how many of them each round ends."""
    shares = [share for share in _SHARES if samples // share >= _FEWEST]
    number = np.arange(samples)
    first = np.select([number % share == 0 for share in shares], range(len(shares)), len(shares)) if shares else number
    return np.argsort(first, kind="stable"), tuple(-(-samples // share) for share in shares)


def _new(sweep: Sweep, designs: Sequence[Design], begun: int, stop: int) -> int:
    """The samples of a round: those that are new, or all where the chip's clock wants them in one piece."""
    return sum(stop if in_one_piece(design.target, sweep.timing) else stop - begun for design in designs)


def lost(points: Sequence[Point], level: float, samples: int) -> list[Dropped]:
    """The points that others beat by more than chance, the worst first."""
    found = []
    for point in points:
        beaten = [(mcnemar(other, point), other) for other in points if beats(other, point)]
        sure = [(p, other) for p, other in beaten if p < level and other.accuracy > point.accuracy]
        if sure:
            p, other = min(sure, key=lambda each: (each[0], each[1].name))
            found.append(Dropped(point.name, samples, point.accuracy, other.name, other.accuracy, p))
    return sorted(found, key=lambda each: (each.accuracy, each.point))
