"""How sure a choice between candidates is."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, erfc, sqrt

from neurocompile.ir.ops import Array

__all__ = ["CHANCE", "Choice", "beats", "choice", "sign_test"]

CHANCE = 1e-4
"""A candidate is better than another where equally good ones would differ as much less often than this."""

_EXACT = 500


@dataclass(frozen=True)
class Choice:
    """What was chosen, against the best of the others.

    Attributes:
        f1: harmonic mean of precision and recall of the spikes, as chosen; None if there are none to judge by.
        runner_up: the best of the others, in words; "" if there is none.
        f1_runner_up: likewise.
        margin: the difference of both.
        chance: how likely two equally good candidates differ at least as much, times the number of candidates (at
            most 1): a sign test over the events that one of them explains and the other does not.
        decided: whether ``chance`` is below 1e-4; else what is written (the identity) was taken, and may be wrong.
    """

    f1: float | None
    runner_up: str
    f1_runner_up: float | None
    margin: float
    chance: float
    decided: bool


def sign_test(more: int, less: int) -> float:
    """How likely heads and tails of a fair coin are at least so unequal."""
    thrown = more + less
    if not thrown:
        return 1.0
    if thrown > _EXACT:
        return erfc(max(abs(more - less) - 1, 0) / sqrt(2 * thrown))
    tail = sum(comb(thrown, k) for k in range(min(more, less) + 1))
    return min(1.0, float(2 * tail / 2**thrown))


def _chance(one: Array, other: Array, weight: Array, candidates: int) -> float:
    more, less = (int(weight[one & ~other].sum()), int(weight[other & ~one].sum()))
    return min(1.0, candidates * sign_test(more, less))


def beats(one: Array, other: Array, weight: Array, candidates: int) -> bool:
    """Whether one candidate explains more events ``[E]`` than the other, and not by chance."""
    better = int(weight[one].sum()) > int(weight[other].sum())
    return better and _chance(one, other, weight, candidates) < CHANCE


def choice(hits: dict[str, Array], chosen: str, weight: Array, expected: int) -> Choice:
    """How sure it is.

    Args:
        hits: by candidate, which events ``[E]`` meet an expected spike.
        chosen: one of them.
        weight: of each event, how many spikes it stands for.
        expected: how many spikes should be there.
    """
    found = int(weight.sum())
    if not found or not expected:
        return Choice(None, "", None, 0.0, 1.0, False)

    def f1(name: str) -> float:
        return 2 * int(weight[hits[name]].sum()) / (found + expected)

    others = sorted((name for name in hits if name != chosen), key=f1, reverse=True)
    if not others:
        return Choice(f1(chosen), "", None, f1(chosen), 0.0, True)
    second = others[0]
    chance = _chance(hits[chosen], hits[second], weight, len(hits))
    margin = f1(chosen) - f1(second)
    return Choice(f1(chosen), second, f1(second), margin, chance, chance < CHANCE and margin > 0)
