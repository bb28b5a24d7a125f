"""Counts times a price list, with what has no price said rather than left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neurocompile.targets import Target, load_target
from neurocompile.targets.target import COUNTS

__all__ = ["Bill", "price"]

# What an operation without a price on the chip would cost as bare 8-bit arithmetic: printed beside it, never added.
_ESTIMATES = "arith45-int8"


@dataclass(frozen=True)
class Bill:
    """The energy of counted events on one target.

    ``energy_pj`` is None if the target prices nothing; with ``unpriced`` terms it is a lower bound. For each unpriced
    term: its count, and the 45 nm arithmetic estimate for it in pJ (None if there is none).
    """

    target: str
    energy_pj: float | None
    bounds_pj: tuple[float, float] | None
    by_term_pj: dict[str, float]
    unpriced: dict[str, dict[str, float | int | None]]

    @property
    def is_lower_bound(self) -> bool:
        """Whether something that happened has no price."""
        return bool(self.unpriced)


def price(counts: Mapping[str, int], target: Target) -> Bill:
    """What ``counts`` (by the names of :data:`neurocompile.targets.target.COUNTS`) cost on a target."""
    unpriced: dict[str, dict[str, float | int | None]] = {}
    estimates = load_target(_ESTIMATES)
    for name in COUNTS:
        count = counts.get(name, 0)
        if count and name not in target.covered:
            each = estimates.prices.get(name)
            unpriced[name] = {"count": count, "estimate_45nm_pj": None if each is None else count * each.nominal}
    if not target.priced:
        return Bill(target.name, None, None, {}, unpriced)
    terms = {name: counts.get(name, 0) * constant.nominal for name, constant in target.prices.items()}
    low = sum(counts.get(name, 0) * constant.min for name, constant in target.prices.items())
    high = sum(counts.get(name, 0) * constant.max for name, constant in target.prices.items())
    return Bill(target.name, sum(terms.values()), (low, high), terms, unpriced)
