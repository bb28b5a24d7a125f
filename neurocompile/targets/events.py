"""What single events cost on an asynchronous chip, as a target's TOML file has it (docs/timing.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from neurocompile.errors import Problem, UsageError
from neurocompile.targets.target import Constant

__all__ = ["AsyncEvents", "AsyncMesh", "load_events"]


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
        energy: of each of the events of :data:`neurocompile.simulator.timing.asynchronous.EVENTS`, in pJ.
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


@cache
def load_events(target: str) -> AsyncEvents:
    """The events of a target.

    Raises:
        UsageError: for a target without any.
    """
    file = resources.files("neurocompile.targets").joinpath(f"{target}.toml")
    data = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    if "events" not in data:
        fix = "use loihi-sanafe"
        raise UsageError(Problem("this target says nothing of the time of single events", "target", target, fix=fix))
    mesh = {name: value for name, value in data["mesh"].items() if name != "source"}
    latency = {name: _constant(event["latency"]) for name, event in data["events"].items()}
    energy = {name: _constant(event["energy"]) for name, event in data["events"].items() if "energy" in event}
    scale = {"us": 1000.0, "ns": 1.0}[data["barrier"]["unit"]]
    barrier = {n: scale * each for n, each in zip(data["barrier"]["tiles"], data["barrier"]["latency"])}
    static = _constant(data["static"]) if "static" in data else None
    return AsyncEvents(AsyncMesh(**mesh), energy, latency, barrier, static)


def _constant(data: Mapping[str, Any]) -> Constant:
    nominal = float(data["nominal"])
    low, high = float(data.get("min", nominal)), float(data.get("max", nominal))
    return Constant(nominal, low, high, data["unit"], data["basis"], data["scope"], data["source"])
