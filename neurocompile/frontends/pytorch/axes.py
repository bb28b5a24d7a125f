"""Which axis of a tensor is time, which is the batch, which are features.

An axis is named by one letter or two: ``T`` time, ``N`` batch, ``TN`` both folded with time outermost, ``NT`` with the
batch outermost, ``F`` a feature (channel, row, column), ``1`` an axis of size one that may still become any of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch

from neurocompile.frontends.base import Layout

__all__ = [
    "LAYOUTS",
    "Axes",
    "Layout",
    "MixedAxes",
    "axes_of",
    "features",
    "from_layout",
    "regroup",
    "shown_layout",
    "to_layout",
]

Axes = tuple[str, ...]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class MixedAxes(Exception):
    """An operation that mixes time or batch with features: no step of one sample could compute it."""


def axes_of(rank: int, layout: Layout) -> Axes:
    """The names of the axes of a tensor in a layout, where its features have ``rank`` axes."""
    f = ("F",) * rank
    return {
        "TN": ("T", "N", *f),
        "NT": ("N", "T", *f),
        "N..T": ("N", *f, "T"),
        "NCT..": ("N", *f[:1], "T", *f[1:]),
        "fold": ("TN", *f),
        "loop": ("N", *f),
        "N": ("N", *f),
    }[layout]


def shown_layout(layout: Layout) -> str:
    """A layout as messages give it."""
    return {
        "TN": "[T, N, ...]",
        "NT": "[N, T, ...]",
        "N..T": "[N, ..., T]",
        "NCT..": "[N, C, T, ...]",
        "fold": "[T * N, ...]",
    }.get(layout, "[N, ...]")


def to_layout(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """``x[N, T, ...]`` in another layout; those without time (``loop``, ``N``) leave it as it is."""
    match layout:
        case "TN":
            return x.transpose(0, 1)
        case "N..T":
            return x.movedim(1, -1)
        case "NCT..":
            return x.movedim(1, 2)
        case "fold":
            return x.transpose(0, 1).flatten(0, 1)
    return x


def from_layout(x: torch.Tensor, layout: Layout, timesteps: int) -> torch.Tensor:
    """The reverse of :func:`to_layout`: ``[N, T, ...]``."""
    match layout:
        case "TN":
            return x.transpose(0, 1)
        case "N..T":
            return x.movedim(-1, 1)
        case "NCT..":
            return x.movedim(2, 1)
        case "fold":
            return x.reshape(timesteps, -1, *x.shape[1:]).transpose(0, 1)
    return x


def features(axes: Axes, shape: Sequence[int]) -> tuple[int, ...]:
    """The sizes of the feature axes."""
    return tuple(size for name, size in zip(axes, shape, strict=True) if name == "F")


def regroup(axes: Axes, before: Sequence[int], after: Sequence[int], timesteps: int) -> Axes:
    """The names of the axes after a row-major reshape from sizes ``before`` to ``after``.

    Walks both shapes and matches the smallest runs of axes that hold equally many numbers.

    Raises:
        MixedAxes: if a run holds time or batch beside features.
    """
    names: list[str] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if j == len(after):  # axes of size one that fall away
            i += 1
            continue
        folded = i < len(before) and axes[i] in ("TN", "NT")
        if i == len(before) or (after[j] == 1 and before[i] != 1 and not folded):
            names.append("1")
            j += 1
            continue
        i_end, j_end = i + 1, j + 1
        left, right = before[i], after[j]
        while left != right:
            if left < right:
                left *= before[i_end]
                i_end += 1
            else:
                right *= after[j_end]
                j_end += 1
        names += _names(axes[i:i_end], tuple(after[j:j_end]), timesteps)
        i, j = i_end, j_end
    return tuple(names)


def _names(run: Axes, sizes: tuple[int, ...], timesteps: int) -> Axes:
    kinds = tuple(name for name in run if name != "1")
    if all(name == "F" for name in kinds):
        return ("F",) * len(sizes) if kinds else ("1",) * len(sizes)
    if len(sizes) == 1 and len(kinds) == 1:
        return kinds
    if len(sizes) == 1 and kinds in (("T", "N"), ("N", "T")):
        return ("".join(kinds),)
    if kinds == ("TN",) and len(sizes) == 2 and sizes[0] == timesteps:
        return ("T", "N")
    if kinds == ("NT",) and len(sizes) == 2 and sizes[1] == timesteps:
        return ("N", "T")
    raise MixedAxes(f"a reshape of axes {'x'.join(run)} into {len(sizes)}")
