"""What happened when, as slices on tracks: what every format of timelines is written from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["Piece", "Slices", "Timeline", "Tracks", "merged"]


@dataclass(frozen=True)
class Tracks:
    """The tracks of a group, by their numbers in it; they come before what lies on them."""

    group: str
    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of one name on one track, one after the other: they may touch, but none lies over another.

    Attributes:
        group: that the track is in.
        track: its number there.
        name: of all of them.
        start: of each, in ticks, ``[n]``.
        stop: likewise.
        about: what else is to be said of each of them: whole numbers, texts, lists of texts.
        flow: an arrow leads from each slice with this number to the next in time, wherever they lie; 0: none.
    """

    group: str
    track: int
    name: str
    start: Array
    stop: Array
    about: Mapping[str, Any] = field(default_factory=dict)
    flow: int = 0

    @staticmethod
    def one(group: str, track: int, name: str, start: int, stop: int, flow: int = 0, **about: Any) -> Slices:
        """A single slice."""
        return Slices(group, track, name, np.array([start]), np.array([stop]), about, flow)


Piece = Tracks | Slices


@dataclass(frozen=True, eq=False)
class Timeline:
    """Pieces as they are made, one at a time, and how many of their ticks are shown as a microsecond."""

    ticks_per_us: int
    pieces: Iterable[Piece]

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)


def merged(starts: Array, stops: Array) -> tuple[Array, Array]:
    """Slices that touch or overlap, as one: starts and stops in order, ``[m]`` each, of ``[n]``."""
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], np.maximum.accumulate(stops[order])
    breaks = np.flatnonzero(starts[1:] > stops[:-1])
    ends = np.append(breaks, len(starts) - 1) if len(starts) else breaks
    return starts[np.append(0, breaks + 1) if len(starts) else breaks], stops[ends]
