"""What was found between widths, chips and mappings, and what of it to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurocompile.errors import Problem
from neurocompile.ir.ops import Array
from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, INLINED, OMITTED
from neurocompile.reports.simulate import SimulateReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Choice", "Dropped", "ExploreReport", "Halving", "Illegal", "Mixed", "Near", "Neighbour", "Placing", "Point",
    "Wanted",
]  # fmt: skip


@dataclass(frozen=True)
class Placing:
    """How weights went to a chip: how scales were chosen ("max", ...), for each "channel" or "tensor", and how cores
    were placed ("usual": as the chip's clock does it unasked). None in what is illegal stands for all of them."""

    scale: str | None
    per: str | None
    placement: str | None


@dataclass(frozen=True)
class Point:
    """One design, and what it did with the data.

    Attributes:
        name: by which the front and the choice call it.
        bits: of a weight; or by layer.
        accuracy_bounds: where the accuracy lies with 95 % confidence (Wilson's interval).
        cores: in use, where they are known.
        chips: likewise.
        weight_bytes: of the weights that the chip stores, each once, in the bits that they have.
        run: as ``simulate`` reports it.
        right: of each sample ``[N]``, whether it was.
    """

    name: str
    bits: int | Mapping[str, int]
    mapping: Placing
    accuracy_bounds: tuple[float, float]
    cores: int | None
    chips: int | None
    weight_bytes: int
    run: SimulateReport = field(metadata=INLINED)
    right: Array = field(compare=False, repr=False, metadata=HIDDEN)

    @property
    def target(self) -> str:
        """The chip."""
        return self.run.target

    @property
    def accuracy(self) -> float:
        """The share of the samples that are right."""
        return float(self.run.accuracy or 0.0)

    @property
    def energy_pj(self) -> float | None:
        """Of an inference; None where nothing has a price."""
        return self.run.per_sample.energy_pj

    @property
    def energy_bounds_pj(self) -> tuple[float, float] | None:
        """The same by the least and the largest published prices."""
        bounds = self.run.bill.bounds_pj
        return None if bounds is None else (bounds[0] / self.run.samples, bounds[1] / self.run.samples)

    @property
    def unpriced(self) -> frozenset[str]:
        """What of it has no price: the energy is more."""
        return frozenset(self.run.bill.unpriced)

    @property
    def latency_ns(self) -> float | None:
        """Of an inference, where a timing model says it."""
        return self.run.per_sample.latency_ns

    @property
    def cycles(self) -> float | None:
        """Likewise, on a chip whose clock has no frequency yet."""
        return self.run.per_sample.cycles


@dataclass(frozen=True)
class Illegal:
    """Designs that there cannot be, and everything that is in the way; None stands for all that were asked for.

    ``combinations`` is how many points are missing for it.
    """

    target: str
    bits: int | Mapping[str, int] | None
    mapping: Placing
    combinations: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Wanted:
    """What a point has to keep to; None: anything."""

    max_energy_uj: float | None = None
    min_accuracy: float | None = None
    max_latency_ms: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class Neighbour:
    """A point of the front beside the one to take: what it is better at, and the differences to that.

    Attributes:
        better: "accuracy", "energy" or "latency".
        accuracy: difference, as a share.
        energy: its energy over that of the point to take, where both are known.
        latency: likewise.
        p: how likely two equally good designs differ as much in what they have right (McNemar's exact test).
    """

    point: str
    better: str
    accuracy: float
    energy: float | None
    latency: float | None
    p: float


@dataclass(frozen=True)
class Near:
    """A point that misses something of what was wanted: by which factor, each; None where it is not known."""

    point: str
    misses: Mapping[str, float | None]


@dataclass(frozen=True)
class Choice:
    """The point to take.

    Attributes:
        wanted: what it has to keep to.
        point: its name; None where none keeps to that.
        met: whether it does; None where it does as far as it is priced.
        sentence: all of this in words.
        neighbours: what it gives up.
        nearest: where none keeps to it: the points that miss least.
    """

    wanted: Wanted
    point: str | None
    met: bool | None
    sentence: str
    neighbours: tuple[Neighbour, ...] = ()
    nearest: tuple[Near, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """A point that was left after some samples: what it had right, and the point that beat it there."""

    point: str
    samples: int
    accuracy: float
    by: str
    accuracy_by: float
    p: float


@dataclass(frozen=True)
class Halving:
    """What was saved by dropping points on few samples.

    Attributes:
        rounds: the samples of each round before the last, which has all.
        level: of McNemar's test, below which a point was dropped.
        dropped: with what each lost against.
        samples_run: of all points together.
        samples_without: that would have been without.
        note: why there were no rounds, if so.
    """

    rounds: tuple[int, ...]
    level: float
    dropped: tuple[Dropped, ...]
    samples_run: int
    samples_without: int
    note: str = field(default="", metadata=OMITTED)


@dataclass(frozen=True)
class Mixed:
    """Widths by layer against one width of all, in no more memory.

    Attributes:
        point: of the widths by layer.
        uniform: the point that it stands beside.
        bits: what was chosen.
        chosen_on: samples that it was chosen on; the points are of the others.
        sensitivity: by layer and width, the squared error that it alone gives the outputs on these, as a part of
            their square.
        error: the same for what was chosen, and for the uniform width, measured.
        weight_bytes: of both.
        accuracy: of both.
        only_mixed_right: samples.
        only_uniform_right: likewise.
        p: McNemar's exact test.
        significant: whether they differ by more than chance (p below 5 %).
    """

    point: str
    uniform: str
    bits: Mapping[str, int]
    chosen_on: int
    sensitivity: Mapping[str, Mapping[int, float]]
    error: tuple[float, float]
    weight_bytes: tuple[int, int]
    accuracy: tuple[float, float]
    only_mixed_right: int
    only_uniform_right: int
    p: float
    significant: bool


@dataclass(frozen=True)
class ExploreReport(Report):
    """All designs, and what they did with the same data.

    Attributes:
        model: what it is called.
        samples: that every point is of.
        timesteps: T.
        front: the names of the points that no other beats (docs/explore.md).
        illegal: what there cannot be.
        choice: what to take of it.
        mixed: widths by layer, where they were searched.
        halving: what was dropped early, if that was asked for.
        stages: how many compilations and runs the points took; what several share is done once.
        page: where the page was written; None: it was not. Likewise ``csv`` and ``picture``.
    """

    model: str
    samples: int
    timesteps: int
    points: tuple[Point, ...]
    front: tuple[str, ...]
    illegal: tuple[Illegal, ...]
    choice: Choice
    mixed: tuple[Mixed, ...] = ()
    halving: Halving | None = None
    stages: Mapping[str, int] = field(default_factory=dict)
    page: Path | None = field(default=None, metadata=OMITTED)
    csv: Path | None = field(default=None, metadata=OMITTED)
    picture: Path | None = field(default=None, metadata=OMITTED)

    @property
    def exit_code(self) -> int:
        """5 if no point keeps to what was wanted: it was looked for, and what was found is not enough."""
        return 5 if self.choice.met is False else 0

    def __getitem__(self, name: str) -> Point:
        """The point of a name."""
        return next(point for point in self.points if point.name == name)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The points as rows of a table: numbers of one inference, with units in their names."""
        front = set(self.front)
        return [_row(point, point.name in front) for point in self.points]

    def table(self) -> Any:
        """The points as a pandas DataFrame, by name.

        Raises:
            ToolFailed: without pandas.
        """
        from neurocompile.extras import needing

        with needing("table()"):
            import pandas as pd
        return pd.DataFrame(self.rows).set_index("point")

    def plot(self) -> Figure:
        """The points and their front, drawn.

        Raises:
            ToolFailed: without matplotlib.
        """
        from neurocompile.reports.html.fronts import drawn

        return drawn(self)


def _row(point: Point, on_front: bool) -> dict[str, Any]:
    low, high = point.energy_bounds_pj or (None, None)
    bits = point.bits if isinstance(point.bits, int) else ",".join(f"{k}={v}" for k, v in point.bits.items())
    return {
        "point": point.name,
        "target": point.target,
        "bits": bits,
        "scale": point.mapping.scale,
        "per": point.mapping.per,
        "placement": point.mapping.placement,
        "front": on_front,
        "accuracy": point.run.accuracy,
        "accuracy_low": point.accuracy_bounds[0],
        "accuracy_high": point.accuracy_bounds[1],
        "sops": point.run.per_sample.sops,
        "energy_pj": point.energy_pj,
        "energy_pj_low": low,
        "energy_pj_high": high,
        "energy_is_lower_bound": point.run.bill.is_lower_bound,
        "latency_ns": point.latency_ns,
        "cycles": point.cycles,
        "cores": point.cores,
        "chips": point.chips,
        "weight_bytes": point.weight_bytes,
    }
