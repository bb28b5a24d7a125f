"""Recordings in npz files: dense spikes, events and counts by layer, outputs, and where samples begin.

``LAYER`` is dense, ``[N, T, *shape]``. ``LAYER:t`` and ``LAYER:neuron`` (or ``:x``, ``:y``, ``:p``), ``[E]``, are
events, with ``LAYER:sample`` if they are told apart; ``:t`` has its unit in its name where it is known (``:t_us``).
``LAYER:counts`` is ``[N, *shape]``. ``output`` is what the network said, ``markers`` when each sample began. Events
without ``LAYER:``, and a single array in an npy file, name no layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.files import begins_with, read_arrays
from neurocompile.ir.ops import Array
from neurocompile.recordings.base import Events, Found, Hints, Reader, bad, check_count, whole
from neurocompile.recordings.columns import TIMES, checked

__all__ = ["NUMPY", "arrays_found"]

_PARTS = ("neuron", "x", "y", "p", "sample")


def arrays_found(arrays: Mapping[str, Array], where: str, hints: Hints) -> Found:
    """What arrays by name hold.

    Args:
        arrays: as in an npz file.
        where: that they come from, for messages.
        hints: what the user says of them.

    Raises:
        BadInput: for arrays that do not belong together.
    """
    dense: dict[str, Array] = {}
    counts: dict[str, Array] = {}
    parts: dict[str, dict[str, Array]] = {}
    outputs = markers = None
    unnamed = any(name in TIMES and array.ndim == 1 for name, array in arrays.items())
    for name, array in arrays.items():
        layer, colon, part = name.rpartition(":")
        part = part if colon or unnamed else ""
        if part in TIMES or part in _PARTS:
            parts.setdefault(layer, {})[part] = array
        elif part == "counts":
            counts[layer] = whole(array, f"{where}, {name}", "a count")
        elif name == "output":
            outputs = array
        elif name == "markers":
            markers = array
        else:
            dense[name] = array
    if markers is not None and (markers.ndim != 1 or markers.dtype.kind not in "iuf"):
        raise bad("markers are no times", f"{where}, markers", f"{markers.dtype} {list(markers.shape)}", "[N]")
    events = {layer: _events(held, f"{where}, {layer or 'events'}", hints) for layer, held in parts.items()}
    check_count(sum(len(each) for each in events.values()), where)
    return Found(dense, {}, events, counts, outputs, markers)


def _events(parts: Mapping[str, Array], where: str, hints: Hints) -> Events:
    flat = [Problem("events are lists", f"{where}:{name}", str(list(x.shape)), "[E]", "give one value for each event")
            for name, x in parts.items() if x.ndim != 1]  # fmt: skip
    if flat:
        raise BadInput(flat)
    times = [name for name in parts if name in TIMES]
    if len(times) != 1:
        found = ", ".join(parts)
        raise bad("events need their times, once", where, found, "one of " + ", ".join(TIMES), "add LAYER:t_us, say")
    columns = {name: np.asarray(parts[name]) for name in parts if name not in TIMES}
    return checked(np.asarray(parts[times[0]]), columns, TIMES[times[0]] or hints.time_unit, where)


def _read(path: Path, hints: Hints) -> Found:
    arrays = read_arrays(path)
    if begins_with(path, b"\x93NUMPY"):
        return Found(spikes={"": arrays["x"]})
    return arrays_found(arrays, str(path), hints)


NUMPY = Reader(lambda start, path: start.startswith((b"PK", b"\x93NUMPY")), _read)
