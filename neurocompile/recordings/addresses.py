"""Addresses of events become numbers of neurons."""

from __future__ import annotations

from math import prod

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.recordings.base import Events, bad

__all__ = ["neurons_of"]

_FIX = "is it this layer? name it with --recorded LAYER=FILE, or number its neurons in a column `neuron`"


def neurons_of(events: Events, shape: tuple[int, ...]) -> Array:
    """The number of each event's neuron in a layer of ``shape``, rows first, ``[E]``.

    Pixels x and y are column and row of a map; polarity is the channel where there are two. A layer without a map, or
    with more channels, is numbered through the sensor's rows: y * columns + x.

    Raises:
        BadInput: for addresses that the layer does not have.
    """
    size = prod(shape)
    if events.neuron is not None:
        flat = events.neuron
    else:
        assert events.x is not None
        assert events.y is not None
        flat = _pixels(events, events.x, events.y, shape)
    outside = (flat < 0) | (flat >= size)
    if outside.any():
        actual = f"{int(outside.sum()):,} of {len(flat):,} events, the first at {int(flat[outside.argmax()])}"
        raise bad("events have addresses that the layer has not", events.where, actual, f"0 to {size - 1}", _FIX)
    return flat


def _pixels(events: Events, x: Array, y: Array, shape: tuple[int, ...]) -> Array:
    channels = shape[0] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels > 2:
        width = events.size[0] if events.size else int(x.max(initial=0)) + 1 if not y.any() else 0
        if not width:
            raise bad("nothing says how wide the sensor is", events.where, f"a layer of shape {list(shape)}", fix=_FIX)
        return y * width + x
    rows, columns = shape[-2:]
    channel = np.zeros(len(x), np.int64)
    if channels == 2:
        if events.p is None:
            raise bad("the layer has two channels, and events no polarity", events.where, fix="add a column p: 0 or 1")
        channel = events.p.clip(0, 1)
    if (x.max(initial=0) < columns) and (y.max(initial=0) < rows):
        return (channel * rows + y) * columns + x
    if (x.max(initial=0) < rows) and (y.max(initial=0) < columns):  # a map that is turned: nothing else fits
        return (channel * rows + x) * columns + y
    actual = f"x to {int(x.max())}, y to {int(y.max())}"
    raise bad("events lie outside the layer", events.where, actual, f"x < {columns}, y < {rows}", _FIX)
