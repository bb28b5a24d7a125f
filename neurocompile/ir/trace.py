"""What an executor did with some samples, whichever it is: PyTorch, the real graph, an engine, Lava, a chip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurocompile.ir.counts import Counts
from neurocompile.ir.ops import Array

__all__ = ["Trace", "beside", "joined"]

_ARRAYS = ("outputs", "spikes", "membranes", "potentials", "values", "margins")
_SUMS = ("overflows", "clipped", "moments", "moments_differing")


@dataclass
class Trace:
    """What some samples did, in network time; by layer ``[N, T, *shape]``, an executor tells what it knows.

    Attributes:
        outputs: what each output reads, in real units, ``[N, *shape]`` unless it is a sequence.
        spikes: 0 or 1 (or -1; several where neurons fire several a step).
        membranes: h, the membrane before the reset (of an integrator y), in the executor's own units.
        potentials: what the reset leaves of it, likewise.
        values: what else was asked for by name, and what the host gave the chip.
        margins: the membrane minus the threshold in the user's units, where the model lets it be seen.
        thresholds: by layer, the size of that threshold.
        fired: by layer, how many spikes there were, also where they were not kept.
        untold: by layer, the steps of which it does not know the spikes: a source that does not run them.
        counts: of operations, by layer and sample.
        overflows: how many register values met the end of their range.
        clipped: how many input values lay outside the range of the inputs.
        moments: how many moments in time were held against a timing model.
        moments_differing: how many of these are other ones there.
    """

    outputs: dict[str, Array] = field(default_factory=dict)
    spikes: dict[str, Array] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)
    potentials: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    margins: dict[str, Array] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    untold: dict[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    overflows: int = 0
    clipped: int = 0
    moments: int = 0
    moments_differing: int = 0

    def __post_init__(self) -> None:
        self.fired = self.fired or {
            name: int(np.abs(spikes).sum(dtype=np.int64)) for name, spikes in self.spikes.items()
        }

    def first(self, samples: int) -> Trace:
        """The arrays of the first samples, with the spikes in them; what else is counted stays that of all."""
        cut: dict[str, Any] = {kind: {name: x[:samples] for name, x in getattr(self, kind).items()} for kind in _ARRAYS}
        return replace(self, **cut, fired={} if self.spikes else self.fired)


def joined(parts: Sequence[Trace]) -> Trace:
    """Samples and then the next ones, of one executor."""
    if len(parts) == 1:
        return parts[0]
    start, whole = parts[0], Trace(thresholds=parts[0].thresholds, untold=parts[0].untold)
    for kind in _ARRAYS:
        for name in getattr(start, kind):
            getattr(whole, kind)[name] = np.concatenate([getattr(part, kind)[name] for part in parts])
    for name in start.fired:
        whole.fired[name] = sum(part.fired[name] for part in parts)
    whole.counts = Counts.joined([part.counts for part in parts])
    for part in parts:
        _add(whole, part)
    return whole


def beside(parts: Iterable[Trace]) -> Trace:
    """The layers of several parts of one network, which were given the same samples."""
    whole = Trace()
    for part in parts:
        for kind in (*_ARRAYS, "thresholds", "fired", "untold"):
            getattr(whole, kind).update(getattr(part, kind))
        whole.counts.layers.update(part.counts.layers)
        _add(whole, part)
    return whole


def _add(whole: Trace, part: Trace) -> None:
    for name in _SUMS:
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
