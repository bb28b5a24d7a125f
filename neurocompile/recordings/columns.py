"""Events as columns, whatever kind of table they stand in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array
from neurocompile.recordings.base import Events, bad, check_count, whole

__all__ = ["NAMES", "TIMES", "checked", "column_of"]

TIMES = {
    "t": "", "time": "", "timestamp": "", "step": "step",
    **{f"{name}_{unit}": unit for name in ("t", "time", "timestamp") for unit in ("s", "ms", "us", "ns")},
}  # fmt: skip
"""Names of the column of times, and the unit that each says."""

NAMES = {
    "neuron": "neuron", "address": "neuron", "addr": "neuron", "id": "neuron", "unit": "neuron",
    "x": "x", "y": "y", "p": "p", "on": "p", "polarity": "p", "sample": "sample", "layer": "layer",
}  # fmt: skip
"""Names of the other columns, and what they are."""


def column_of(heading: str) -> tuple[str, str]:
    """What a column is by its heading ("time", "neuron", ...; "" for none), and its unit: ``t [us]``, ``Time_ms``."""
    plain = heading.strip().lower().replace("µs", "us")
    for opening, closing in (("[", "]"), ("(", ")")):
        if plain.endswith(closing) and opening in plain:
            name, _, unit = plain[:-1].partition(opening)
            plain = f"{name.strip()}_{unit.strip()}"
    plain = plain.partition("@")[0]  # faery writes x@WIDTH
    if plain in TIMES:
        return "time", TIMES[plain]
    return NAMES.get(plain, ""), ""


def checked(
    time: Array, columns: Mapping[str, Array], unit: str, where: str, size: tuple[int, int] | None = None
) -> Events:
    """Events of columns that fit together.

    Args:
        time: of each, ``[E]``.
        columns: neuron, or x and y; p and sample, if any: ``[E]``.
        unit: of the times; "": nothing says.
        where: they stand, for messages.
        size: columns and rows of the sensor, if known.

    Raises:
        BadInput: if columns are missing, of different lengths, or hold no such numbers.
    """
    events = len(time)
    check_count(events, where)
    if ("neuron" in columns) == ("x" in columns):
        found = ", ".join(["t", *columns])
        raise bad("events have no address", where, found, "neuron; or x and y", "name one of the columns so")
    problems = [
        Problem(f"{name} and t have different lengths", where, f"{len(each):,}", f"{events:,}", "write them again")
        for name, each in columns.items()
        if len(each) != events
    ]
    if problems:
        raise BadInput(problems)
    if time.dtype.kind not in "iuf" or (time.dtype.kind == "f" and not np.isfinite(time).all()):
        raise bad("times are no numbers", where, str(time.dtype), "finite numbers")
    if time.dtype.kind == "u" and events and int(time.max()) > np.iinfo(np.int64).max:
        raise bad("a time is too large", where, str(time.max()), str(np.iinfo(np.int64).max))
    whole_columns = {name: whole(each, where, name) for name, each in columns.items()}
    below = [name for name, each in whole_columns.items() if name != "p" and len(each) and each.min() < 0]
    if below:
        raise bad(f"{below[0]} is below 0", where, str(whole_columns[below[0]].min()), "0 or more")
    if "x" in whole_columns:
        whole_columns.setdefault("y", np.zeros(events, np.int64))
    time = time.astype(np.float64 if time.dtype.kind == "f" else np.int64)
    return Events(time, **whole_columns, unit=unit, size=size, where=where)
