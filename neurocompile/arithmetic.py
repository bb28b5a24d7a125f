"""What a target computes with: the widths of its integers and what happens at their ends, and its neuron in silicon."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Arithmetic", "Lif", "Rounding"]

Rounding: TypeAlias = Literal["nearest", "floor", "zero"]
"""What becomes of the bits that a shift to the right drops."""


@dataclass(frozen=True)
class Lif:
    """A leaky integrate-and-fire neuron in silicon: what of the neuron equation it can do, with which mantissas.

    It fires where ``v > vth << threshold_shift``, with ``0 <= vth < 2**threshold_bits``, one vth for all neurons of a
    population, and is reset to 0. A bias is a signed mantissa of ``bias_bits`` times 2 to an exponent from
    ``bias_exponent_min`` to ``bias_exponent_max``, one for the population; it acts on the membrane. Decays are
    mantissas from ``decay_min`` to ``decay_max`` (membrane) and from 0 to ``current_decay_max`` (current), one of each
    for a population; a layer may become up to ``populations`` of them. A weight is a mantissa times 2 to an exponent
    that its layer shares, at most ``weight_exponent_max``; convolutions, whose kernels are shared, have none.

    ``joins``: a compartment may take the membrane of another to its own; two of them then make a neuron with a soft
    reset (:class:`neurocompile.ir.placed.SoftReset`).
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
    joins: bool = False

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

    Where a neuron hears sources of very different sizes, the weights of one source may be mantissas times 2 to an
    exponent that they share, from 0 to ``weight_exponent_max`` (0: the chip has none); mantissa and exponent together
    have at most ``weight_bits_max`` bits. In an integer graph a weight is that product. Neurons in silicon say it in
    ``lif``.

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
    rounding: Rounding
    overflow: Literal["saturate", "wrap"]
    graded_spikes: bool
    published: bool
    current_overflow: Literal["", "saturate", "wrap", "wrap-once"] = ""
    symmetric: bool = False
    event_sums: bool = True
    weight_exponent_max: int = 0
    lif: Lif | None = None

    @staticmethod
    def of(data: dict[str, Any]) -> Arithmetic:
        """From plain data, as TOML and a Program's JSON hold it."""
        lif = data.get("lif")
        return Arithmetic(**{**data, "lif": Lif(**lif) if isinstance(lif, dict) else lif})

    def plain(self) -> dict[str, Any]:
        """As plain data, for a Program: all that running it needs. Exponents are in its weights."""
        return {name: value for name, value in asdict(self).items() if name != "weight_exponent_max"}

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
