"""Where something began to differ, and why: layer by layer in the order of cause.

A layer is looked at by itself, driven by what its sources are recorded to have fired. Where it then fires what was
recorded of it, it is as it should be. Where it does not, every hypothesis is tried on it, and those that leave nothing
unexplained, at any step of any sample, are what may have happened. Several that do are one class: nothing that was
recorded tells them apart. None: an unknown cause, in a known place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Neuron
from neurocompile.reports.causes import UNKNOWN, Cause, Course, Reason
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.driven import Driven
from neurocompile.validation.causes.events import constant, damage, event_hypotheses, noise
from neurocompile.validation.causes.neurons import neuron_hypotheses
from neurocompile.validation.causes.rules import Rule
from neurocompile.validation.causes.weights import weight_hypotheses

__all__ = ["Evidence", "diagnose"]

# On so many samples a hypothesis is tried before all others are run: those that differ most, and a few that do not.
_FEW = 6
# So many differing places are asked for, and so many more for each number that was fitted to them, to be sure of a
# name; and where more names than these explain a layer, it says too little.
_PLACES = 6
_PLACES_FITTED = 12
_NAMES = 6
_SOURCES = 4


@dataclass(frozen=True, eq=False)
class Evidence:
    """What two executors of one network did with some samples, by name ``[N, T, *shape]``.

    Attributes:
        given: inputs, and what hosts fed.
        expected: the program's own spikes, of all layers.
        observed: spikes of the layers that were recorded.
        left: their membranes after the reset, as far as known.
        first_sample: the number of the first.
    """

    given: Mapping[str, Array]
    expected: Mapping[str, Array]
    observed: Mapping[str, Array]
    left: Mapping[str, Array]
    first_sample: int = 0

    def of(self, samples: Array) -> Evidence:
        """Some samples."""
        given, expected, observed, left = (
            {name: x[samples] for name, x in part.items()}
            for part in (self.given, self.expected, self.observed, self.left)
        )
        return Evidence(given, expected, observed, left, self.first_sample)


def diagnose(graph: Graph, rule: Rule, evidence: Evidence) -> list[Cause]:
    """The layers in which something went wrong, in the order of cause, each with what explains it.

    Args:
        graph: the program's, in synaptic form.
        rule: its arithmetic.
        evidence: what was recorded of it; where that is what the program does, there are no causes.
    """
    return _Diagnosis(graph, rule, evidence).causes()


class _Diagnosis:
    def __init__(self, graph: Graph, rule: Rule, evidence: Evidence) -> None:
        self.graph, self.rule, self.evidence = graph, rule, evidence
        self.driven = Driven(graph, rule, evidence.given, evidence.observed, evidence.expected)
        self.order = [
            name for name in self.driven.form.layers if name in evidence.observed and isinstance(graph[name].op, Neuron)
        ]
        # Of layers that are not as they should be: what they would have fired for what they heard.
        self.instead: dict[str, Array] = {}
        # Of these, whether those who read them hear what was recorded (True), or what they would have fired (False).
        self.heard: dict[str, set[bool]] = {}

    def causes(self) -> list[Cause]:
        wrong = [cases for name in self.order if (cases := self._wrong(name))]
        causes = [self._cause(*self._likeliest(cases)) for cases in wrong]
        return sorted(causes, key=lambda cause: (cause.sample, cause.step, self.order.index(cause.layer)))

    # -- where ---------------------------------------------------------------------------------------------------------

    def _likeliest(self, cases: list[Case]) -> tuple[Case, list[Hypothesis]]:
        """Of several ways to take a layer, the first that something explains."""
        for case in cases:
            if found := self._explained(case):
                return case, found
        return cases[0], []

    def _wrong(self, name: str) -> list[Case]:
        """A layer that is not as the program says, whichever way its wrong sources are taken; none if it is."""
        first = None
        for heard in self._ways(name):
            instead = {source: self.instead[source] for source, recorded in heard.items() if not recorded}
            case = self._case(self.driven.with_fired(instead) if instead else self.driven, name, self.evidence)
            if not case.differs.any():
                for source, recorded in heard.items():
                    self.heard.setdefault(source, set()).add(recorded)
                return []
            first = first or case
        assert first is not None
        again = name in self.driven.sources(name)
        self.instead[name] = self.evidence.expected[name] if again else first.own.spikes
        if not again or name in self.evidence.left:
            return [first]
        # It may have heard itself as it should, and have been read wrong.
        alone = self._case(self.driven.with_fired({name: self.instead[name]}), name, self.evidence)
        right = not replace(alone, observed=self.instead[name]).differs.any()
        return [first, alone] if right and alone.differs.any() else [first]

    def _ways(self, name: str) -> Iterator[dict[str, bool]]:
        """For each wrong source whether its readers heard what was recorded of it."""
        wrong = [source for source in self.driven.sources(name) if source in self.instead][:_SOURCES]
        for ways in product((True, False), repeat=len(wrong)):
            yield dict(zip(wrong, ways))

    def _case(self, driven: Driven, name: str, evidence: Evidence) -> Case:
        return Case(driven, driven.form.layers[name], evidence.observed[name], evidence.left.get(name))

    # -- why -----------------------------------------------------------------------------------------------------------

    def _explained(self, case: Case) -> list[Hypothesis]:
        """What explains a layer, or the channels or neurons that may be concerned; chance, if nothing else does."""
        few = self._few(case)
        one, small = self._part(case, few[:1]), self._part(case, few)
        silent = {each.name: each for each in constant(case) if _explains(each, case)}
        for where in _places(case):
            found: dict[str, Hypothesis] = {}
            for hypothesis in _hypotheses(small, where):
                if hypothesis.name in found and found[hypothesis.name].free <= hypothesis.free:
                    continue
                if not hypothesis.across and not (_explains(hypothesis, one) and _explains(hypothesis, small)):
                    continue
                whole = _again(hypothesis, small, case, where)
                if whole is None:
                    continue
                found[hypothesis.name] = whole
            if found:
                return list((found | silent).values())
        if silent:
            return list(silent.values())
        found = {}
        for each in (*damage(case), *noise(case)):
            if each.name not in found and _explains(each, case):
                found[each.name] = each
        return list(found.values())

    def _few(self, case: Case) -> Array:
        wrong = case.differs.reshape(len(case.differs), -1).sum(1)
        order = np.argsort(-wrong, kind="stable")
        return np.concatenate((order[: _FEW - 2], order[_FEW - 2 :][-2:]))

    def _part(self, case: Case, samples: Array) -> Case:
        evidence = self.evidence.of(samples)
        fired = {name: spikes[samples] for name, spikes in case.driven.fired.items()}
        driven = Driven(self.graph, self.rule, evidence.given, fired, evidence.expected)
        return self._case(driven, case.layer.name, evidence)

    # -- in words ------------------------------------------------------------------------------------------------------

    def _cause(self, case: Case, found: Sequence[Hypothesis]) -> Cause:
        name = case.layer.name
        # Of spikes, if any differ: a membrane shows it earlier, and many more of them do.
        fired = case.differs & (case.own.spikes != case.observed)
        sample, step, *neuron = place = tuple(map(int, np.argwhere(fired if fired.any() else case.differs)[0]))
        places = int(case.differs.sum())
        enough = any(places >= _PLACES + _PLACES_FITTED * each.free for each in found)
        sure = enough and len(found) <= _NAMES
        threshold = np.broadcast_to(case.op.threshold, case.neurons.shape)[tuple(neuron)]
        at: Any = (sample, slice(None), *neuron)
        explained = found[0].apply(case) if found else None
        course = Course(
            membrane=tuple(map(float, case.own.membranes[at])),
            explained=None if explained is None else tuple(map(float, explained.membranes[at])),
            spikes=tuple(map(int, case.own.spikes[at])),
            recorded=tuple(map(int, case.observed[at])),
        )
        return Cause(
            layer=name,
            sample=self.evidence.first_sample + sample,
            step=step,
            neuron=tuple(neuron),
            expected=int(case.own.spikes[place]),
            actual=int(case.observed[place]),
            names=tuple(reason.name for reason in found) + (() if sure else (UNKNOWN,)),
            reasons=tuple(Reason(each.name, each.detail, each.free) for each in found),
            places=places,
            neurons=int(case.neurons.sum()),
            membrane_expected=float(case.own.membranes[place]),
            potential_expected=float(case.own.left[place]),
            potential_actual=None if case.left is None else float(case.left[place]),
            threshold=float(threshold),
            course=course,
            currents={key or "gains": float(part[place]) for key, part in case.parts.items()},
            unrecorded=case.driven.between(name),
            read_wrong=self.heard.get(name) == {False},
        )


def _places(case: Case) -> Iterator[Array]:
    """Where something may be wrong: the whole layer, the channels, the neurons that do not do what they should."""
    told: list[Array] = []
    for where in (np.ones_like(case.neurons), case.channels, case.neurons):
        if not any(np.array_equal(where, each) for each in told):
            told.append(where)
            yield where


def _hypotheses(case: Case, where: Array) -> Iterator[Hypothesis]:
    yield from event_hypotheses(case, where)
    yield from neuron_hypotheses(case, where)
    yield from weight_hypotheses(case, where)


def _explains(hypothesis: Hypothesis, case: Case) -> bool:
    """Whether nothing differs any more, in most of the steps at least, and some of what differed is among these."""
    run = hypothesis.apply(case)
    steps = case.observed.shape[1]
    told = len(range(*run.known.indices(steps)))
    return not case.differing(run).any() and 2 * told >= steps and bool(case.differs[:, run.known].any())


def _again(hypothesis: Hypothesis, small: Case, case: Case, where: Array) -> Hypothesis | None:
    """A hypothesis that explains some samples, if it explains all; fitted to all of them, where it has a number."""
    if _explains(hypothesis, case):
        return hypothesis
    if not hypothesis.free:
        return None
    for other in _hypotheses(case, where):
        if other.name == hypothesis.name and _explains(other, case):
            return other
    return None
