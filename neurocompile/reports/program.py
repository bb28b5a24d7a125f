"""What is known of a Program before it runs: its sizes, and what of it runs where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from neurocompile.reports.plain import INLINED

__all__ = ["HostRegionReport", "HostWork", "LayerPlace", "OnSilicon", "Placement", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Neurons and integrators, synapses (shared weights count each time), stored weights; None without a program."""

    neurons: int | None = None
    synapses: int | None = None
    weights: int | None = None


@dataclass(frozen=True)
class HostRegionReport:
    """What the host computes of one inference, and what crosses to it and back: bits for spikes, numbers otherwise.

    Attributes:
        reads: what it is given, by name.
        output: the network's output that it is, if it is one.
        per_step: whether it is computed at each step, or once.
        macs: multiply-accumulates.
        numbers_in: that it reads.
        numbers_out: that it gives.
        from_chip: of what it reads, what the chip sends.
        to_chip: of what it gives, what the chip reads.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    output: str | None
    per_step: bool
    macs: int
    numbers_in: int
    numbers_out: int
    from_chip: int
    to_chip: int


@dataclass(frozen=True)
class LayerPlace:
    """Where a layer runs; why not on the chip, and what would put it there."""

    where: Literal["chip", "simulation", "host"]
    why: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostWork:
    """The most that the host does of one inference to turn real-valued inputs into spikes, and into biases."""

    macs: int
    neuron_updates: int
    bias_writes: int


@dataclass(frozen=True)
class OnSilicon:
    """What only a chip with neurons of its own has.

    Attributes:
        latency_steps: from a step of the network to the same step on the chip, at its last layer.
        host: what the host does first.
        graded_events_meet: weights that real-valued inputs meet in one inference, if none of them is 0.
        written: layers of the chip of whose current the host writes a part, as biases.
    """

    latency_steps: int
    host: HostWork
    graded_events_meet: int
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """Where each layer runs, and the share of the synapses that is on the chip."""

    on_chip_fraction: float = 1.0
    runs_on: dict[str, LayerPlace] = field(default_factory=dict)
    encode: str | None = None
    silicon: OnSilicon | None = field(default=None, metadata=INLINED)
