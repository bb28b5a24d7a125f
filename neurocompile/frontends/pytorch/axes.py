"""Which axis of a tensor is time, which is the batch, which are features.

An axis is named by one letter or two: ``T`` time, ``N`` batch, ``TN`` both folded with time outermost, ``NT`` with the
batch outermost, ``F`` a feature (channel, row, column), ``1`` an axis of size one that may still become any of these.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Axes", "MixedAxes", "features", "regroup"]

Axes = tuple[str, ...]


class MixedAxes(Exception):
    """An operation that mixes time or batch with features: no step of one sample could compute it."""


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
