"""Pairs of executors, run on the same data chunk by chunk: each pair is a stage of a validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace, joined
from neurocompile.labels import accuracy_of
from neurocompile.reports.validation import Stage
from neurocompile.simulator.base import Executor
from neurocompile.validation.causes import Examine
from neurocompile.validation.rules import Accuracies, Findings, Rule

__all__ = ["Evidence", "Outcome", "Pair", "compare_pairs", "evidence_of", "judged", "run_pairs"]

# Samples that are compared at a time.
_CHUNK = 64
# What is kept of two executors, for a stage that fails to be looked into.
_KEPT_BYTES = 1 << 29


@dataclass(frozen=True)
class Pair:
    """What is compared, against what, by which rule, and on how many samples at most (None: on all).

    ``executor`` is what a person calls the stage, where that is not its name. ``examine`` is asked for the causes, if
    it fails.
    """

    name: str
    what: Executor
    against: Executor
    rule: Rule
    samples: int | None = None
    executor: str = ""
    examine: Examine | None = None

    def within(self, start: int, samples: int) -> int:
        """How many of a chunk of samples it compares."""
        return samples if self.samples is None else max(0, min(samples, self.samples - start))


@dataclass
class Outcome:
    """What a pair came to: what its rule found, and what both executors read out, ``[N, ...]`` by name, in parts."""

    found: Findings = field(default_factory=Findings)
    outputs: tuple[list[dict[str, Array]], list[dict[str, Array]]] = field(default_factory=lambda: ([], []))

    def add(self, more: Outcome) -> None:
        """The same pair on the samples that come next."""
        self.found.add(more.found)
        for mine, its in zip(self.outputs, more.outputs):
            mine += its


def compare_pairs(
    planned: Sequence[Pair | Stage], target: str, data: Data, progress: Callable[[int], None] | None = None
) -> list[Stage]:
    """Run all pairs.

    Args:
        planned: the pairs in their order, and among them the stages that cannot run, which stay as they are.
        target: of the program.
        data: inputs ``[N, T, ...]`` and labels, if any.
        progress: called with the number of samples done since the last call.
    """
    pairs = [each for each in planned if isinstance(each, Pair)]
    kept = [_Kept() for _ in pairs]
    outcomes = run_pairs(pairs, data, progress=progress, kept=kept)
    ran = iter(
        [judged(pair, target, outcome, data, evidence.joined) for pair, outcome, evidence in zip(pairs, outcomes, kept)]
    )
    return [next(ran) if isinstance(each, Pair) else each for each in planned]


def run_pairs(
    pairs: Sequence[Pair],
    data: Data,
    start: int = 0,
    progress: Callable[[int], None] | None = None,
    kept: Sequence[_Kept] = (),
) -> list[Outcome]:
    """What pairs come to, chunk by chunk.

    Args:
        pairs: in their order.
        data: some samples.
        start: the number of the first of them; a multiple of a chunk, or what is computed differs in the last digits.
        progress: called with the number of samples done since the last call.
        kept: for each pair, what is told of its samples.
    """
    outcomes = [Outcome() for _ in pairs]
    for first in range(0, len(data), _CHUNK):
        size = min(_CHUNK, len(data) - first)
        if not any(pair.within(start + first, size) for pair in pairs):
            break
        part = data.part(first, first + _CHUNK)
        traces = _run(pairs, part, start + first)
        for number, (pair, outcome) in enumerate(zip(pairs, outcomes)):
            if samples := pair.within(start + first, len(part)):
                what, against = (traces[id(executor)].first(samples) for executor in (pair.what, pair.against))
                pair.rule.compare(outcome.found, what, against, start + first)
                if kept and pair.examine is not None:
                    kept[number].add(part.part(0, samples).inputs, what, against)
            for outputs, executor in zip(outcome.outputs, (pair.what, pair.against)):
                if id(executor) in traces:
                    outputs.append(traces[id(executor)].outputs)
        if progress:
            progress(size)
    return outcomes


def judged(pair: Pair, target: str, outcome: Outcome, data: Data, evidence: Callable[[], Evidence | None]) -> Stage:
    """The stage that a pair makes.

    Args:
        pair: that was run.
        target: of the program.
        outcome: of all samples.
        data: these.
        evidence: the first samples again, if it failed and somebody is to look into it.
    """
    samples_run = pair.within(0, len(data))
    stage = replace(_stage(pair, target, outcome.found, _accuracies(outcome, data)), samples_run=samples_run)
    if stage.passed is not False or pair.examine is None or (found := evidence()) is None:
        return stage
    return replace(stage, causes=tuple(pair.examine(*found)))


def evidence_of(pair: Pair, data: Data) -> Evidence | None:
    """The first samples of a pair, run again: those that are kept while all are run in one piece."""
    kept = _Kept()
    for first in range(0, len(data), _CHUNK):
        part = data.part(first, first + _CHUNK)
        traces = _run([pair], part, first)
        if not (samples := pair.within(first, len(part))):
            break
        what, against = (traces[id(executor)].first(samples) for executor in (pair.what, pair.against))
        kept.add(part.part(0, samples).inputs, what, against)
        if kept.full:
            break
    return kept.joined()


Evidence = tuple[Mapping[str, Array], Trace, Trace]
"""Inputs, and what both executors did with them."""


class _Kept:
    """The samples of a pair that are kept: the first ones, as far as there is room."""

    def __init__(self) -> None:
        self.parts: list[tuple[Mapping[str, Array], Trace, Trace]] = []
        self._room = _KEPT_BYTES

    @property
    def full(self) -> bool:
        """Whether nothing more is kept."""
        return self._room < 0

    def add(self, inputs: Mapping[str, Array], what: Trace, against: Trace) -> None:
        """A chunk."""
        arrays = [x for trace in (what, against) for x in (*trace.spikes.values(), *trace.potentials.values())]
        self._room -= sum(x.nbytes for x in (*inputs.values(), *arrays))
        if self._room >= 0 or not self.parts:
            self.parts.append((inputs, what, against))

    def joined(self) -> Evidence | None:
        """All that is kept, in one; None: nothing is."""
        if not self.parts:
            return None
        inputs, what, against = zip(*self.parts)
        return (
            {name: np.concatenate([part[name] for part in inputs]) for name in inputs[0]},
            joined(what),
            joined(against),
        )


def _run(pairs: Sequence[Pair], part: Data, start: int) -> dict[int, Trace]:
    """What each executor does, by its id: it runs once, on as many samples as any of its pairs compares."""
    wanted: dict[int, tuple[Executor, int, bool]] = {}
    for pair in pairs:
        samples = pair.within(start, len(part))
        for executor in (pair.what, pair.against) if samples else ():
            _, most, membranes = wanted.get(id(executor), (executor, 0, False))
            wanted[id(executor)] = executor, max(most, samples), membranes or pair.rule.membranes
    return {
        key: executor.run(part.part(0, samples).inputs, membranes=membranes)
        for key, (executor, samples, membranes) in wanted.items()
    }


def _accuracies(outcome: Outcome, data: Data) -> Accuracies:
    """Of both executors, on the samples that each of them ran."""

    def accuracy(parts: Sequence[Mapping[str, Array]]) -> float | None:
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        labels = None if data.labels is None or not whole else data.labels[: len(next(iter(whole.values())))]
        return accuracy_of(whole, labels)

    what, against = outcome.outputs
    return accuracy(what), accuracy(against)


def _stage(pair: Pair, target: str, found: Findings, accuracies: Accuracies) -> Stage:
    passed, reason = pair.rule.judge(found, accuracies)
    spikes = found.spikes
    came, expected, met = (sum(each.values()) for each in (spikes.answered, spikes.fired, spikes.met))
    return Stage(
        name=pair.name,
        target=target,
        against=pair.against.name,
        compared=spikes.compared,
        mismatches=spikes.mismatches,
        ties=spikes.ties,
        first_divergence=spikes.first,
        firing_rates=spikes.firing_rates,
        agreement=spikes.agreement,
        output_error=found.output_error,
        samples=found.samples,
        membranes_compared=found.membranes,
        membrane_mismatches=found.membranes_differing,
        first_membrane=found.first_membrane,
        cycles_compared=found.moments,
        cycle_mismatches=found.moments_differing,
        passed=passed,
        reason=reason,
        silenced=tuple(spikes.silenced),
        accuracies=accuracies,
        executor=pair.executor,
        asked=pair.rule.asked(accuracies),
        positions=spikes.compared,
        spikes_expected=expected,
        spikes_found=came,
        precision=met / came if came else None,
        recall=met / expected if expected else None,
        f1=spikes.f1,
        layer_precision=spikes.precision,
        layer_recall=spikes.recall,
    )
