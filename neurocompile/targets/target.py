"""Reading a target's TOML file."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from neurocompile.errors import Problem, UsageError

__all__ = ["COUNTS", "Arithmetic", "Constant", "Lif", "Limits", "Target", "load_target", "target_names"]

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
class Lif:
    """A leaky integrate-and-fire neuron in silicon: what of the neuron equation it can do, with which mantissas.

    It fires where ``v > vth << threshold_shift``, with ``0 <= vth < 2**threshold_bits``, one vth for all neurons of a
    population, and is reset to 0. A bias is a signed mantissa of ``bias_bits`` times 2 to an exponent from
    ``bias_exponent_min`` to ``bias_exponent_max``, one for the population; it acts on the membrane. Decays are
    mantissas from ``decay_min`` to ``decay_max`` (membrane) and from 0 to ``current_decay_max`` (current), one of each
    for a population; a layer may become up to ``populations`` of them. A weight is a mantissa times 2 to an exponent
    that its layer shares, at most ``weight_exponent_max``; convolutions, whose kernels are shared, have none.
    """

    threshold_bits: int
    threshold_shift: int
    bias_bits: int
    bias_exponent_min: int
    bias_exponent_max: int
    decay_min: int
    decay_max: int
    current_decay_max: int
    populations: int
    weight_exponent_max: int

    @property
    def threshold_max(self) -> int:
        """The largest vth."""
        return int(2**self.threshold_bits - 1)

    @property
    def bias_max(self) -> int:
        """The largest bias, in steps of the membrane."""
        return int(2 ** (self.bias_bits - 1) - 1) << self.bias_exponent_max


@dataclass(frozen=True)
class Arithmetic:
    """How the target computes: widths in bits, and what happens at their ends.

    A synaptic sum is a signed integer of ``accumulator_bits``, a membrane or a current one of ``state_bits``. A decay d
    is the mantissa ``round(d * 2**decay_fraction)``, signed, of ``decay_bits``; a product with it is divided by
    ``2**decay_fraction`` and rounded as ``rounding`` says. A synaptic sum is multiplied by 2 to the layer's shift, from
    ``min_shift`` to ``max_shift``, and rounded likewise.

    A register that would leave its range saturates or wraps: the membrane as ``overflow`` says, the current as
    ``current_overflow`` ("" is the same; "wrap-once" adds or subtracts the range once, and holds its upper end, which
    two's complement does not). A ``symmetric`` membrane has no number below ``-state_max``.

    ``event_sums`` says whether events can be added up on their way (pools, spikes added to spikes); where they cannot,
    they become part of the weights. ``lif`` describes the neuron in silicon, where it is less than the neuron equation.
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
    current_overflow: Literal["", "saturate", "wrap", "wrap-once"] = ""
    symmetric: bool = False
    event_sums: bool = True
    lif: Lif | None = None

    @staticmethod
    def of(data: dict[str, Any]) -> Arithmetic:
        """From plain data, as TOML and a Program's JSON hold it."""
        lif = data.get("lif")
        return Arithmetic(**{**data, "lif": Lif(**lif) if isinstance(lif, dict) else lif})

    @property
    def state_max(self) -> int:
        """The largest membrane."""
        return int(2 ** (self.state_bits - 1) - 1)

    @property
    def state_min(self) -> int:
        """The smallest membrane."""
        return -self.state_max - (0 if self.symmetric else 1)

    @property
    def accumulator_max(self) -> int:
        """The largest synaptic sum."""
        return int(2 ** (self.accumulator_bits - 1) - 1)

    def shifts(self, bits: int, exponent: int | None) -> range:
        """The shifts that a layer of the chip's neurons (``lif``) may have, whose weights have so many bits.

        The chip itself shifts a sum by ``min_shift``. The lowest bit of its mantissas is lost where weights are signed,
        so that a step of a weight is at least ``2**(min_shift + 1)``, but where the exponent of the layer halves it.

        Args:
            bits: of a weight, sign included; mantissas have room for ``weight_bits_max``.
            exponent: the largest of the layer's; None for kernels, which have none.
        """
        least = self.min_shift + 1 if exponent is None else self.min_shift
        most = least + self.weight_bits_max - bits if exponent is None else self.max_shift + 1 - exponent
        return range(least, min(most, self.max_shift) + 1)


@dataclass(frozen=True)
class Limits:
    """What one chip holds, and each of its cores; None where it was never published.

    ``mesh`` is the number of tiles (east-west, north-south), each of ``cores_per_tile`` cores. Synapse memory is in
    bytes, ``delay`` the longest synaptic delay in steps beyond the one that every synapse takes.
    """

    neurons: int | None = None
    synapses: int | None = None
    cores: int | None = None
    neurons_per_core: int | None = None
    synapse_bytes_per_core: int | None = None
    input_axons_per_core: int | None = None
    output_axons_per_core: int | None = None
    cores_per_tile: int | None = None
    mesh: tuple[int, int] | None = None
    delay: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Target:
    """One chip, or one way to price; ``emits`` names the backends whose files an export writes by default."""

    name: str
    description: str
    arithmetic: Arithmetic | None
    limits: Limits
    prices: dict[str, Constant] = field(default_factory=dict)
    emits: tuple[str, ...] = ()

    @property
    def priced(self) -> bool:
        """Whether anything on it has a published price."""
        return bool(self.prices)

    @property
    def is_unlimited(self) -> bool:
        """Whether it is as large as the network: its arithmetic is its own, and it has no limits."""
        return self.arithmetic is not None and self.arithmetic.published and self.limits == Limits()

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
        arithmetic = {**vars(like), "published": False, **arithmetic}
        del arithmetic["same_as"]
    limits = data.get("limits", {})
    if "mesh" in limits:
        limits["mesh"] = tuple(limits["mesh"])
    return Target(
        name=name,
        description=data["description"],
        arithmetic=None if arithmetic is None else Arithmetic.of({"published": True, **arithmetic}),
        limits=Limits(**limits),
        prices={count: _constant(price) for count, price in data.get("prices", {}).items()},
        emits=tuple(data.get("emits", ())),
    )


def _constant(data: dict[str, Any]) -> Constant:
    nominal = float(data["nominal"])
    low, high = float(data.get("min", nominal)), float(data.get("max", nominal))
    return Constant(
        nominal, low, high, data["unit"], data["basis"], data["scope"], data["source"], tuple(data.get("covers", ()))
    )
