"""Which core goes to which place of a mesh, whoever cut the network into cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.limits import Limits

__all__ = ["PLACEMENTS", "Place", "along_hilbert_curve", "hops", "in_order", "refined", "snake", "spread"]

_ROUNDS = 40


def in_order(cores: int, mesh: tuple[int, int]) -> Array:
    """Row after row, west to east: ``place[core]``, places numbered likewise."""
    _check(cores, mesh)
    return np.arange(cores)


def snake(cores: int, mesh: tuple[int, int]) -> Array:
    """Row after row, west to east, then east to west: cores that follow one another lie side by side."""
    _check(cores, mesh)
    row, along = np.divmod(np.arange(cores), mesh[0])
    return np.asarray(row * mesh[0] + np.where(row % 2 == 0, along, mesh[0] - 1 - along))


def along_hilbert_curve(cores: int, mesh: tuple[int, int]) -> Array:
    """Along a Hilbert curve, cut to the mesh: cores that follow one another lie side by side, their neighbours near.

    (D. Hilbert, Mathematische Annalen 38, 1891.)
    """
    _check(cores, mesh)
    order = max(mesh[0] - 1, mesh[1] - 1).bit_length()
    distance = np.arange(4**order)
    x, y = np.zeros_like(distance), np.zeros_like(distance)
    for level in range(order):
        side = 1 << level
        to_x = 1 & (distance >> (2 * level + 1))
        to_y = 1 & ((distance >> (2 * level)) ^ to_x)
        turned, mirrored = to_y == 0, (to_y == 0) & (to_x == 1)
        x, y = np.where(mirrored, side - 1 - x, x), np.where(mirrored, side - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
        x, y = x + side * to_x, y + side * to_y
    inside = (x < mesh[0]) & (y < mesh[1])
    return np.asarray((y * mesh[0] + x)[inside][:cores])


Place = tuple[int, tuple[int, int] | None, int]
"""The chip, the tile on it (steps east, steps south), and the core in the tile."""


def spread(cores: int, limits: Limits, placement: str) -> list[Place]:
    """Cores over as many chips as they take, tile after tile in the order of a placement.

    Args:
        cores: how many.
        limits: with the cores of a chip (None: all are on one) and its mesh; without a mesh there are no tiles, and
            cores are numbered on the chip.
        placement: of :data:`PLACEMENTS`.
    """
    held, mesh, own = limits.cores, limits.mesh, limits.cores_per_tile
    chips = [divmod(number, held) if held is not None else (0, number) for number in range(cores)]
    if mesh is None or own is None:
        return [(chip, None, here) for chip, here in chips]
    order = PLACEMENTS[placement](mesh[0] * mesh[1], mesh).tolist()
    found: list[Place] = []
    for chip, here in chips:
        row, along = divmod(order[here // own], mesh[0])
        found.append((chip, (along, row), here % own))
    return found


def hops(traffic: Array, place: Array, mesh: tuple[int, int]) -> int:
    """How many links the flits cross: ``traffic[from, to]`` of them, a further row and column for the host.

    The host is one link to the west of place 0.
    """
    x, y = _coordinates(place, mesh)
    apart = np.abs(x[:, None] - x) + np.abs(y[:, None] - y)
    return int((traffic * apart).sum())


def refined(traffic: Array, place: Array, mesh: tuple[int, int]) -> Array:
    """Swap cores, or move them to free places, as long as that saves hops: the best exchange of each core in turn.

    Args:
        traffic: flits from core to core, ``[cores + 1, cores + 1]``, the host last: measured, or synapses.
        place: to start with.
        mesh: columns and rows.
    """
    cores, places = len(place), mesh[0] * mesh[1]
    both = (traffic + traffic.T).astype(np.float64)
    np.fill_diagonal(both, 0)
    weight = np.zeros((places + 1, places + 1))
    weight[:cores, :cores], weight[:cores, -1], weight[-1, :cores] = (
        both[:cores, :cores],
        both[:cores, -1],
        both[-1, :cores],
    )
    # A free place is a core without traffic.
    at = np.concatenate([place, np.setdiff1d(np.arange(places), place)])
    x, y = _coordinates(at, mesh)
    for _ in range(_ROUNDS):
        moved = False
        for core in range(cores):
            apart = np.abs(x[:, None] - x) + np.abs(y[:, None] - y)
            mine, theirs = weight[core], weight[:-1]
            # What core pays at the place of each other, and each other at the place of core.
            now = mine @ apart[core] + (theirs * apart[:-1]).sum(1)
            then = apart[:-1] @ mine + theirs @ apart[core] + 2 * weight[core, :-1] * apart[core, :-1]
            gain = now - then
            gain[core] = 0
            best = int(gain.argmax())
            if gain[best] > 1e-9:
                for each in (at, x, y):
                    each[core], each[best] = each[best], each[core]
                moved = True
        if not moved:
            break
    return at[:cores]


def _coordinates(place: Array, mesh: tuple[int, int]) -> tuple[Array, Array]:
    """Of some places, and of the host."""
    return np.append(place % mesh[0], -1), np.append(place // mesh[0], 0)


def _check(cores: int, mesh: tuple[int, int]) -> None:
    if cores > mesh[0] * mesh[1]:
        raise ValueError(f"{cores} cores do not fit into {mesh[0]} x {mesh[1]} places")


PLACEMENTS: Mapping[str, Callable[[int, tuple[int, int]], Array]] = {
    "in-order": in_order,
    "snake": snake,
    "hilbert": along_hilbert_curve,
}
"""Placements that need no traffic."""
