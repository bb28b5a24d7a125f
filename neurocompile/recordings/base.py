"""What a recording is: address events as a file has them, and what they come to in network time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array

__all__ = [
    "MOST_EVENTS",
    "UNITS_S",
    "Events",
    "Found",
    "Hints",
    "Reader",
    "Recorded",
    "TimeUnit",
    "bad",
    "check_count",
    "whole",
]

TimeUnit = Literal["step", "s", "ms", "us", "ns"]

UNITS_S: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Seconds, by the name of the unit."""

MOST_EVENTS = 1 << 26
"""So many events of all layers are read: 2 GiB of them."""


@dataclass(frozen=True)
class Events:
    """Address events ``[E]`` of one layer, in the order of their file.

    Attributes:
        time: in ``unit``.
        neuron: index into the layer, rows first; None where pixels are told.
        x: column; None where neurons are told.
        y: row, likewise.
        p: polarity or channel, if any.
        sample: that an event belongs to, from 0; None: samples follow one another.
        unit: of the times; "": nothing says.
        size: columns and rows of the sensor; None: nothing says.
        where: file and layer, for messages.
    """

    time: Array
    neuron: Array | None = None
    x: Array | None = None
    y: Array | None = None
    p: Array | None = None
    sample: Array | None = None
    unit: str = ""
    size: tuple[int, int] | None = None
    where: str = "the recording"

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Found:
    """What files hold, by layer; the layer "" is that of a file which names none.

    Attributes:
        spikes: ``[N, T, *shape]``.
        gridded: how often each neuron fired in each step, ``[N, rows, neurons]``, with any number of rows.
        events: address events.
        counts: spikes of a whole sample, ``[N, *shape]``.
        outputs: of the network: values or counts ``[N, classes]``, or classes ``[N]``; None: not recorded.
        markers: when each sample begins, ``[N]``, in the unit of the events; None: not recorded.
    """

    spikes: Mapping[str, Array] = field(default_factory=dict)
    gridded: Mapping[str, Array] = field(default_factory=dict)
    events: Mapping[str, Events] = field(default_factory=dict)
    counts: Mapping[str, Array] = field(default_factory=dict)
    outputs: Array | None = None
    markers: Array | None = None

    @property
    def layers(self) -> set[str]:
        """That something is told of."""
        return {*self.spikes, *self.gridded, *self.events, *self.counts}


@dataclass(frozen=True)
class Hints:
    """What a user says of files that do not say it themselves.

    Attributes:
        time_unit: of the times in tables.
        step_s: length of a step.
        timesteps: T of the program.
    """

    time_unit: str = ""
    step_s: float | None = None
    timesteps: int = 1


@dataclass(frozen=True)
class Reader:
    """One format: an entry of the table in :mod:`neurocompile.recordings.reading`.

    Attributes:
        recognizes: whether a file with these first bytes and this name is of this kind.
        read: what is in it; raises BadInput for what is damaged.
    """

    recognizes: Callable[[bytes, Path], bool]
    read: Callable[[Path, Hints], Found]


@dataclass(frozen=True)
class Recorded:
    """What hardware did, in network time and in the order of the program's neurons.

    Attributes:
        spikes: by layer ``[N, T, *shape]``: how many each neuron fired in each step, or -1.
        counts: by layer ``[N, *shape]``: how many spikes in the whole sample.
        outputs: of the network: values or counts ``[N, classes]``, or classes ``[N]``; None: not recorded.
    """

    spikes: Mapping[str, Array] = field(default_factory=dict)
    counts: Mapping[str, Array] = field(default_factory=dict)
    outputs: Array | None = None


def bad(what: str, where: object, actual: str = "", limit: str = "", fix: str = "record it again") -> BadInput:
    """A refusal, to be raised."""
    return BadInput(Problem(what, str(where), actual, limit, fix))


def check_count(events: int, where: object) -> None:
    """Refuse more events than are read.

    Raises:
        BadInput: with how many there are.
    """
    if events > MOST_EVENTS:
        fix = "record fewer samples at a time"
        raise bad("there are too many events", where, f"{events:,}", f"{MOST_EVENTS:,}", fix)


def whole(values: Array, where: object, what: str) -> Array:
    """Numbers that have to be whole, as int64.

    Raises:
        BadInput: if some are not, or there are no numbers.
    """
    if values.dtype.kind not in "iubf" or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        raise bad(f"{what} is no whole number", where, str(values.dtype), fix=f"give {what} as whole numbers")
    taken = values.astype(np.int64)
    if (taken != values).any():
        first = int((taken != values).argmax())
        raise bad(f"{what} is no whole number", where, f"{values[first]} first, as number {first}")
    return taken
