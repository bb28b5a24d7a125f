"""Reading a target's TOML file."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from neurocompile.errors import Problem, UsageError

__all__ = ["COUNTS", "Arithmetic", "Constant", "Limits", "Target", "load_target", "target_names"]

COUNTS = {
    "sop": "synaptic operations",
    "mac": "multiply-accumulates",
    "neuron_active": "active neuron updates",
    "neuron_inactive": "inactive neuron updates",
    "spike": "spikes",
}
"""What a price list can price: the counts of a simulation, by the names that price lists use."""


@dataclass(frozen=True)
class Constant:
    """A published number: nominal value with bounds (equal to it where none are known), unit, basis and source.

    ``basis`` is measured, simulated or derived; ``scope`` is "per event" or "all-in" (with ``covers`` in it).
    """

    nominal: float
    min: float
    max: float
    unit: str
    basis: str
    scope: str
    source: str
    covers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arithmetic:
    """How the target computes: widths in bits, and what happens at their ends.

    A synaptic sum is a signed integer of ``accumulator_bits``, a membrane or a current one of ``state_bits``. A decay d
    is the mantissa ``round(d * 2**decay_fraction)``, signed, of ``decay_bits``; a product with it is divided by
    ``2**decay_fraction`` and rounded as ``rounding`` says. A synaptic sum is multiplied by 2 to the layer's shift, from
    ``min_shift`` to ``max_shift``, and rounded likewise.
    """

    weight_bits_min: int
    weight_bits_max: int
    weight_bits: int
    accumulator_bits: int
    state_bits: int
    decay_bits: int
    decay_fraction: int
    min_shift: int
    max_shift: int
    rounding: Literal["nearest", "floor", "zero"]
    overflow: Literal["saturate", "wrap"]
    graded_spikes: bool
    published: bool

    @property
    def state_max(self) -> int:
        """The largest membrane; the smallest is one less than its negative."""
        return int(2 ** (self.state_bits - 1) - 1)

    @property
    def accumulator_max(self) -> int:
        """The largest synaptic sum."""
        return int(2 ** (self.accumulator_bits - 1) - 1)


@dataclass(frozen=True)
class Limits:
    """What one chip holds; None where it was never published."""

    neurons: int | None = None
    synapses: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Target:
    """One chip, or one way to price."""

    name: str
    description: str
    arithmetic: Arithmetic | None
    limits: Limits
    prices: dict[str, Constant] = field(default_factory=dict)

    @property
    def priced(self) -> bool:
        """Whether anything on it has a published price."""
        return bool(self.prices)

    @property
    def is_unlimited(self) -> bool:
        """Whether it is as large as the network: its arithmetic is its own, and it has no limits."""
        own = self.arithmetic is not None and self.arithmetic.published
        return own and self.limits.neurons is None and self.limits.synapses is None

    @property
    def covered(self) -> frozenset[str]:
        """The counts that its prices pay for, directly or as part of an all-in price."""
        return frozenset(self.prices) | {name for price in self.prices.values() for name in price.covers}


def target_names() -> list[str]:
    """All targets, by name."""
    folder = resources.files("neurocompile.targets")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load_target(name: str) -> Target:
    """One target.

    Raises:
        UsageError: if there is none of that name, with the nearest names.
    """
    known = target_names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        fix = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            Problem("unknown target", "--target", name, ", ".join(known), fix + "see neurocompile targets")
        )
    data = tomllib.loads(resources.files("neurocompile.targets").joinpath(f"{name}.toml").read_text("utf-8"))
    arithmetic = data.get("arithmetic")
    if arithmetic is not None and "same_as" in arithmetic:
        like = load_target(arithmetic["same_as"]).arithmetic
        assert like is not None
        arithmetic = {**vars(like), "published": False}
    return Target(
        name=name,
        description=data["description"],
        arithmetic=None if arithmetic is None else Arithmetic(**{"published": True, **arithmetic}),
        limits=Limits(**data.get("limits", {})),
        prices={count: _constant(price) for count, price in data.get("prices", {}).items()},
    )


def _constant(data: dict[str, Any]) -> Constant:
    nominal = float(data["nominal"])
    low, high = float(data.get("min", nominal)), float(data.get("max", nominal))
    return Constant(
        nominal, low, high, data["unit"], data["basis"], data["scope"], data["source"], tuple(data.get("covers", ()))
    )
