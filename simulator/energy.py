"""Counts times a price list, with what has no price said rather than left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neurocompile.targets import COUNTS, Target, load_target

__all__ = ["Bill", "Unpriced", "price"]

# What an operation without a price on the chip would cost as bare 8-bit arithmetic: printed beside it, never added.
_ESTIMATES = "arith45-int8"


@dataclass(frozen=True)
class Unpriced:
    """A count that has no price, and what it would be as 45 nm arithmetic in pJ (None: that has no price for it)."""

    count: int
    estimate_45nm_pj: float | None


@dataclass(frozen=True)
class Bill:
    """The energy of counted events on one target.

    ``energy_pj`` is None if the target prices nothing; with ``unpriced`` terms it is a lower bound. Of what was not
    counted nothing is known, not even that: ``Bill()``.
    """

    energy_pj: float | None = None
    bounds_pj: tuple[float, float] | None = field(default=None, metadata={"json": "energy_pj_bounds"})
    is_lower_bound: bool | None = field(default=None, metadata={"json": "energy_is_lower_bound"})
    by_term_pj: dict[str, float] = field(default_factory=dict, metadata={"json": "energy_pj_by_term"})
    pj_per_sop: float | None = None
    unpriced: dict[str, Unpriced] = field(default_factory=dict)


def price(counts: Mapping[str, int], target: Target) -> Bill:
    """What ``counts`` (by the names of :data:`neurocompile.targets.COUNTS`) cost on a target."""
    unpriced: dict[str, Unpriced] = {}
    estimates = load_target(_ESTIMATES)
    for name in COUNTS:
        count = counts.get(name, 0)
        if count and name not in target.covered:
            each = estimates.prices.get(name)
            unpriced[name] = Unpriced(count, None if each is None else count * each.nominal)
    if not target.priced:
        return Bill(is_lower_bound=bool(unpriced), unpriced=unpriced)
    terms = {name: counts.get(name, 0) * constant.nominal for name, constant in target.prices.items()}
    low = sum(counts.get(name, 0) * constant.min for name, constant in target.prices.items())
    high = sum(counts.get(name, 0) * constant.max for name, constant in target.prices.items())
    energy, sops = sum(terms.values()), counts.get("sop", 0)
    return Bill(energy, (low, high), bool(unpriced), terms, energy / sops if sops else None, unpriced)
