"""Constants with their sources; and what single events cost on an asynchronous chip (docs/timing.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EVENTS", "HOPS", "PARTS", "AsyncEvents", "AsyncMesh", "Constant", "constant", "events_of"]


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
class AsyncMesh:
    """Tiles of cores, a router each, joined by links. ``tile = x * height + y``, as in SANA-FE.

    Attributes:
        width: columns of tiles.
        height: rows of tiles.
        cores_per_tile: cores that share a router.
        link_depth: messages that an input of a router holds.
        core_depth: messages that wait in front of a core.
    """

    width: int
    height: int
    cores_per_tile: int
    link_depth: int = 16
    core_depth: int = 16

    @property
    def cores(self) -> int:
        """Places for cores."""
        return self.width * self.height * self.cores_per_tile


@dataclass(frozen=True)
class AsyncEvents:
    """What each event on an asynchronous chip costs.

    Attributes:
        mesh: of the chip.
        energy: of each of the events of :data:`EVENTS`, in pJ.
        latency: of each of them and of ``link_cycle``, the time from one message on a link to the next, in ns.
        barrier: the time between two steps in ns, by the number of tiles in use: from that many on.
        static: the power of a chip that does nothing, in mW, if it was published.
    """

    mesh: AsyncMesh
    energy: Mapping[str, Constant]
    latency: Mapping[str, Constant]
    barrier: Mapping[int, float]
    static: Constant | None = None

    def picoseconds(self, event: str) -> int:
        """The nominal time of an event."""
        return round(self.latency[event].nominal * 1000)

    def barrier_picoseconds(self, tiles: int) -> int:
        """The time between two steps of a chip that uses so many tiles."""
        return round(1000 * self.barrier[max((n for n in self.barrier if n <= tiles), default=min(self.barrier))])


HOPS = ("hop_north", "hop_east", "hop_south", "hop_west")
PARTS: Mapping[str, tuple[str, ...]] = {
    "synapse": ("synapse_dense", "synapse_sparse", "synapse_conv"),
    "soma": ("neuron_access", "neuron_update", "neuron_spike"),
    "network": ("message_out", "message_in", "tile", *HOPS),
}
"""The parts of an asynchronous chip, and the events that cost energy in them."""

EVENTS = tuple(name for names in PARTS.values() for name in names)


def constant(data: Mapping[str, Any]) -> Constant:
    """A published number, as a file has it; the bounds are the nominal value where the file has none."""
    nominal = float(data["nominal"])
    low, high = float(data.get("min", nominal)), float(data.get("max", nominal))
    covers = tuple(data.get("covers", ()))
    return Constant(nominal, low, high, data["unit"], data["basis"], data["scope"], data["source"], covers)


def events_of(data: Mapping[str, Any]) -> AsyncEvents | None:
    """The events of a target's file; None if it has none."""
    if "events" not in data:
        return None
    mesh = {name: value for name, value in data["mesh"].items() if name != "source"}
    latency = {name: constant(event["latency"]) for name, event in data["events"].items()}
    energy = {name: constant(event["energy"]) for name, event in data["events"].items() if "energy" in event}
    scale = {"us": 1000.0, "ns": 1.0}[data["barrier"]["unit"]]
    barrier = {n: scale * each for n, each in zip(data["barrier"]["tiles"], data["barrier"]["latency"])}
    static = constant(data["static"]) if "static" in data else None
    return AsyncEvents(AsyncMesh(**mesh), energy, latency, barrier, static)
