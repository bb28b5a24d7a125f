"""What a validation says of a layer that did something else than it should."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.reports.plain import HIDDEN

__all__ = ["UNKNOWN", "Cause", "Course", "Reason"]

UNKNOWN = "unknown"
"""The name of what no hypothesis explains, or of what too few places differ to tell."""


@dataclass(frozen=True)
class Reason:
    """A hypothesis that explains every place of a layer: its kind, in words, and how many numbers were fitted."""

    name: str
    detail: str
    free: int = field(default=0, metadata=HIDDEN)


@dataclass(frozen=True)
class Course:
    """A neuron over the steps of a sample: membranes before the reset, and spikes.

    Attributes:
        membrane: by the program, for what its layer heard.
        explained: by the first hypothesis; None without one.
        spikes: by the program.
        recorded: spikes that were recorded.
    """

    membrane: tuple[float, ...]
    explained: tuple[float, ...] | None
    spikes: tuple[int, ...]
    recorded: tuple[int, ...]


@dataclass(frozen=True)
class Cause:
    """A layer whose inputs agree (as they were recorded) and whose outputs do not, and what explains that.

    Attributes:
        layer: by name.
        sample: of the first place that differs.
        step: of it.
        neuron: of it.
        expected: what the program fires there, for what the layer heard.
        actual: what was recorded.
        names: of the hypotheses that explain all places; they explain the same, and are one class. "unknown" is among
            them where there is none, or where too few places differ to be sure of any.
        reasons: the same in words.
        places: that differ: neurons at steps of samples.
        neurons: of which some place does.
        membrane_expected: before the reset, in the program's units.
        potential_expected: what the reset leaves.
        potential_actual: the same, as recorded; None: not known.
        threshold: of the neuron.
        currents: what the neuron heard at that step, by source of weights.
        unrecorded: layers before it that were not recorded, and may be where it began.
        course: of the neuron in that sample.
        read_wrong: whether the layers behind it heard what it should have fired: then it was read wrong.
    """

    layer: str
    sample: int
    step: int
    neuron: tuple[int, ...]
    expected: int
    actual: int
    names: tuple[str, ...]
    reasons: tuple[Reason, ...]
    places: int
    neurons: int
    membrane_expected: float
    potential_expected: float
    potential_actual: float | None
    threshold: float
    currents: dict[str, float]
    course: Course
    unrecorded: tuple[str, ...] = ()
    read_wrong: bool = False
    detail: str = field(init=False)
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", "; or: ".join(reason.detail for reason in self.reasons))
        object.__setattr__(self, "verdict", self._verdict())

    def _verdict(self) -> str:
        where = f"{self.layer}: its inputs agree, and its outputs do not"
        if self.unrecorded:
            where = f"{self.layer}, or before it {', '.join(self.unrecorded)} (not recorded)"
        many = f"{self.places:,} place{'s' * (self.places > 1)} of {self.neurons:,} neuron{'s' * (self.neurons > 1)}"
        if not self.reasons:
            why = "unknown cause: no hypothesis explains all of them"
        elif UNKNOWN in self.names:
            why = f"too few to tell the cause: {self.detail}, or something else"
        else:
            why = self.detail
        read = "; the layers behind it heard what it should have fired: it was read wrong" * self.read_wrong
        return f"{where}, at {many}: {why}{read}"
