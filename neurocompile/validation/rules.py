"""The rules: when two traces of the same samples are as alike as they have to be.

Each rule says which of the two it holds for right: a reference is held against for what was made of it, a program's
integers for whatever else runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.ir.compare import TIE, Comparison, Divergence, compare_spikes, output_error
from neurocompile.ir.trace import Trace

__all__ = ["Accuracies", "BitExact", "Exact", "Faithful", "Findings", "Recorded", "Rule"]

# How far quantization may change the result. Why these: docs/quantization.md.
_ACCURACY_POINTS = 0.5
_AGREEMENT = 0.95
_F1 = 0.80

Accuracies = tuple[float | None, float | None]
"""Of what was compared, and of what it was compared with; None without labels."""

Verdict = tuple[bool | None, str]
"""Whether it passed (None: there was nothing to compare), and why, where that is worth a word."""


@dataclass
class Findings:
    """What a rule found so far; ``samples`` counts those of which every state was compared."""

    spikes: Comparison = field(default_factory=Comparison)
    output_error: float = 0.0
    samples: int = 0
    membranes: int = 0
    membranes_differing: int = 0
    first_membrane: Divergence | None = None
    moments: int = 0
    moments_differing: int = 0

    def add(self, more: Findings) -> None:
        """What was found in the samples that come next."""
        self.spikes.add(more.spikes)
        self.output_error = max(self.output_error, more.output_error)
        self.first_membrane = self.first_membrane or more.first_membrane
        for name in ("samples", "membranes", "membranes_differing", "moments", "moments_differing"):
            setattr(self, name, getattr(self, name) + getattr(more, name))


class Rule(Protocol):
    """Compares traces chunk by chunk, and judges at the end."""

    @property
    def membranes(self) -> bool:
        """Whether it needs every membrane."""

    def compare(self, found: Findings, what: Trace, against: Trace, start: int) -> None:
        """Add a chunk of samples, the first of which has the number ``start``."""

    def judge(self, found: Findings, accuracies: Accuracies) -> Verdict:
        """What comes of it."""

    def asked(self, accuracies: Accuracies) -> str:
        """What has to hold for it to pass, in a line."""


@dataclass(frozen=True)
class Exact:
    """The spikes of the reference, every one, but for ties; its outputs but for the last digits.

    ``order`` names the layers in the order of a step; ``tolerance`` is how far outputs may differ, as a part of the
    largest, and membranes of ties from their threshold.
    """

    order: tuple[str, ...]
    tolerance: float = TIE
    membranes: ClassVar[bool] = False

    def compare(self, found: Findings, what: Trace, against: Trace, start: int) -> None:
        """Spikes, and the outputs of the samples that are no ties.

        Raises:
            BadInput: if the reference lacks a layer.
        """
        told, fix = "the reference has no such neuron layer", "give the model that was exported"
        missing = [Problem(told, name, fix=fix) for name in self.order if name not in against.spikes]
        if missing:
            raise BadInput(missing)
        tied = np.zeros(len(next(iter(against.outputs.values()))), bool)
        if self.order:
            tied = compare_spikes(
                found.spikes, against.spikes, what.spikes, self.order, start, against.margins, against.thresholds,
                self.tolerance, against.untold,
            )  # fmt: skip
        errors = [output_error(values[~tied], what.outputs[name][~tied]) for name, values in against.outputs.items()]
        found.output_error = max([found.output_error, *errors])

    def judge(self, found: Findings, accuracies: Accuracies) -> Verdict:
        """No spike may differ, and no output by more than the tolerance."""
        passed = found.spikes.mismatches == 0 and found.output_error <= self.tolerance
        if found.output_error > self.tolerance:
            return passed, f"outputs differ by {found.output_error:.3g} of the largest (allowed: {self.tolerance:g})"
        if not found.spikes.compared:
            return passed, "no neuron spikes in this network: outputs alone were compared"
        if self.tolerance > TIE:
            return passed, f"a host region has float32 only: outputs and ties were held to {self.tolerance:g}"
        return passed, ""

    def asked(self, accuracies: Accuracies) -> str:
        """All that it compares."""
        return f"no spike differs, and no output by more than {self.tolerance:g} of the largest"


@dataclass(frozen=True)
class Faithful:
    """The accuracy of the real graph, but for half a point; without labels, nearly all of its spikes.

    Most places never fire, and agree whatever becomes of the others: so the places that fire are asked for, too, by F1,
    the harmonic mean of precision (of the program's spikes, those that are the graph's) and recall (of the graph's
    spikes, those that are the program's).
    """

    order: tuple[str, ...]
    membranes: ClassVar[bool] = False

    def compare(self, found: Findings, what: Trace, against: Trace, start: int) -> None:
        """Spikes."""
        if self.order:
            compare_spikes(found.spikes, against.spikes, what.spikes, self.order, start)

    def judge(self, found: Findings, accuracies: Accuracies) -> Verdict:
        """By accuracy if there are labels, else by the spikes that agree."""
        after, before = accuracies
        if before is not None and after is not None:
            return (before - after) * 100 <= _ACCURACY_POINTS + 1e-9, f"accuracy {before:.2%} to {after:.2%}"
        f1 = found.spikes.f1
        if not found.spikes.compared:
            return None, "no labels and no spikes to compare"
        if f1 is None:
            return None, "no labels, and no neuron fires on either side: there is nothing to judge by"
        share = 1.0 - sum(found.spikes.differing.values()) / found.spikes.compared
        return (
            share >= _AGREEMENT and f1 >= _F1,
            f"no labels: {share:.2%} of the positions agree, F1 of spikes {f1:.2%}",
        )

    def asked(self, accuracies: Accuracies) -> str:
        """Of accuracy if there are labels, else of the spikes."""
        if None not in accuracies:
            return f"accuracy falls by at most {_ACCURACY_POINTS:g} points"
        return (
            f"no labels: at least {_AGREEMENT:.0%} of the positions agree, and F1 of the spikes is at least {_F1:.0%}"
        )


@dataclass(frozen=True)
class BitExact:
    """The program's own integers: every spike, every membrane after the reset, and every moment that is foreseen.

    An executor that knows no membranes at all is compared by its spikes alone.
    """

    order: tuple[str, ...]
    membranes: ClassVar[bool] = True

    def compare(self, found: Findings, what: Trace, against: Trace, start: int) -> None:
        """Spikes, membranes of neurons and readouts, and what the other executor says of its moments."""
        if self.order:
            compare_spikes(found.spikes, what.spikes, against.spikes, self.order, start)
        found.samples += len(next(iter(what.outputs.values())))
        found.moments += against.moments
        found.moments_differing += against.moments_differing
        for name, known in what.potentials.items() if against.potentials else ():
            differs = known != against.potentials[name]
            found.membranes += differs.size
            found.membranes_differing += int(differs.sum())
            if found.first_membrane is None and differs.any():
                sample, step, *neuron = place = tuple(int(i) for i in np.argwhere(differs)[0])
                values = int(known[place]), int(against.potentials[name][place])
                found.first_membrane = Divergence(start + sample, step, name, tuple(neuron), *values, None)

    def judge(self, found: Findings, accuracies: Accuracies) -> Verdict:
        """Nothing may differ."""
        if not found.spikes.compared and not found.membranes:
            return None, "no spikes and no membranes to compare"
        return (found.spikes.mismatches, found.membranes_differing, found.moments_differing) == (0, 0, 0), ""

    def asked(self, accuracies: Accuracies) -> str:
        """All that it compares."""
        return "no spike, no membrane and no moment that is foreseen differs"


@dataclass(frozen=True)
class Recorded:
    """The program's own spikes, in the layers that were recorded."""

    order: tuple[str, ...]
    membranes: ClassVar[bool] = False

    def compare(self, found: Findings, what: Trace, against: Trace, start: int) -> None:
        """Spikes."""
        layers = [name for name in self.order if name in against.spikes]
        compare_spikes(found.spikes, what.spikes, against.spikes, layers, start)

    def judge(self, found: Findings, accuracies: Accuracies) -> Verdict:
        """Nothing may differ."""
        return found.spikes.mismatches == 0, ""

    def asked(self, accuracies: Accuracies) -> str:
        """All that it compares."""
        return "no spike differs in the layers that were recorded"
