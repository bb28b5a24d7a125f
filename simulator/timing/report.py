"""What a clock reports: how long samples took, and where that went. Counts and sums are over all samples."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BusyCore", "BusyLink", "BusyPlace", "Cycles", "Events", "Figures", "Spread", "TimingReport"]


@dataclass(frozen=True)
class Spread:
    """Of one sample: on average, least, most."""

    mean: float
    min: float
    max: float


@dataclass(frozen=True)
class BusyLink:
    """The link that most flits left by: its router (x, y) and output, the share of the time that it was busy."""

    place: tuple[int, int] = field(metadata={"json": "from"})
    output: str
    flits: int
    busy: float


@dataclass(frozen=True)
class BusyPlace:
    """The core (x, y) with the most to do, and the share of the time that it did it."""

    place: tuple[int, int]
    busy: float


@dataclass(frozen=True)
class BusyCore:
    """The core with the most to do, by its number, and the share of the time that it did it."""

    core: int
    busy: float


@dataclass(frozen=True)
class Cycles:
    """What only a clock knows that counts cycles.

    Attributes:
        mesh: columns and rows.
        placement: how cores were placed.
        flits: that were sent.
        words: synapse words that were read.
        stalled: cycles that sweeps lost to full spike FIFOs.
        blocked: cycles in which flits waited for their own router.
    """

    mesh: tuple[int, int]
    placement: str
    cycles: int
    cycles_per_sample: Spread
    flits: int
    words: int
    heaviest_link: BusyLink
    fullest_core: BusyPlace
    stalled: int
    blocked: int


@dataclass(frozen=True)
class Events:
    """What only a clock knows that adds up what single events take and cost; no energy holds the static one.

    ``halo_writes``, and the ``reset_writes`` of neurons that subtract from a compartment of their own, are beside the
    ``synaptic_events``; what all three take and cost is in times and energies.
    """

    chips: int
    latency_ns: float
    latency_ns_per_sample: Spread
    energy_pj: float
    energy_pj_bounds: tuple[float, float]
    static_pj: float | None
    energy_pj_by_part: dict[str, float]
    messages: int
    synaptic_events: int
    halo_writes: int
    reset_writes: int
    fullest_core: BusyCore


@dataclass(frozen=True)
class Figures:
    """What any other clock knows: how long it took, in cycles or in time, and whatever else it says, by name."""

    cycles: int | None = None
    latency_ns: float | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TimingReport:
    """What a clock reports.

    Attributes:
        basis: how far it can be believed, and where that is written down.
        cores: in use.
        steps: of the chip for one sample.
        hops: links that were crossed.
        own: what only this kind of clock knows.
    """

    basis: str
    cores: int
    steps: int
    hops: int
    own: Cycles | Events | Figures = field(metadata={"json": "**"})

    @property
    def cycles(self) -> int | None:
        """Of all samples; None where there is no global clock."""
        return None if isinstance(self.own, Events) else self.own.cycles

    @property
    def latency_ns(self) -> float | None:
        """Of all samples; None where the length of a cycle is the user's."""
        return None if isinstance(self.own, Cycles) else self.own.latency_ns
