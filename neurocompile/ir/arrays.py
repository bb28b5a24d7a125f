"""Arrays as parameters: in the fewest numbers, on the coarsest grid."""

from __future__ import annotations

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["compact", "compact_over_time", "uniform_grid"]

# A number that differs from a whole number of steps by this part of it lies on the grid (float32 leaves about 1e-7).
_ON_GRID = 1e-6


def uniform_grid(values: Array, largest: int) -> float | None:
    """The step of the uniform grid ``step * {-largest..largest}`` that all values lie on, if there is one.

    Weights that were trained with quantization do, and pixels; they are then kept exactly. The coarsest step is given.
    """
    top = float(np.abs(values).max(initial=0.0))
    if top == 0.0:
        return None
    distinct = np.unique(np.abs(values))
    if len(distinct) > largest + 1:
        return None
    parts = np.arange(1, largest + 1)
    # A few of the values rule out most grids; those that are left must hold them all.
    for few in (distinct[:4], distinct):
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the end of what there is lie on no grid
            steps = few[:, None] * (parts / top)
            whole = np.rint(steps)
            parts = parts[np.all(np.abs(steps - whole) <= _ON_GRID * whole, axis=0)]
    return top / int(parts[0]) if parts.size else None


def compact(values: Array, shape: tuple[int, ...]) -> Array:
    """The smallest array that broadcasts to the same values over ``shape``: one number, one a channel, or all."""
    full = np.broadcast_to(values, shape)
    if full.size == 0 or np.all(full == full.flat[0]):
        return np.asarray(full.flat[0] if full.size else 0.0)
    first = full[(slice(None), *(slice(0, 1) for _ in shape[1:]))]
    return np.ascontiguousarray(first if np.array_equal(np.broadcast_to(first, shape), full) else full)


def compact_over_time(values: Array) -> Array:
    """``values[T, *shape]``, or at each step one number a channel (``[T, C, 1, ...]``) where that is all."""
    first = values[(slice(None), slice(None), *(slice(0, 1) for _ in values.shape[2:]))]
    return np.ascontiguousarray(first if np.array_equal(np.broadcast_to(first, values.shape), values) else values)
