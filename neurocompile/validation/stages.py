"""Pairs of executors, run on the same data chunk by chunk: each pair is a stage of a validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace, joined
from neurocompile.labels import accuracy_of
from neurocompile.reports.validation import Stage
from neurocompile.simulator.base import Executor
from neurocompile.validation.causes import Examine
from neurocompile.validation.rules import Accuracies, Findings, Rule

__all__ = ["Pair", "compare_pairs"]

# Samples that are compared at a time.
_CHUNK = 64
# What is kept of two executors, for a stage that fails to be looked into.
_KEPT_BYTES = 1 << 29

Outputs = dict[int, list[dict[str, Array]]]
"""Of each executor, by its id, chunk by chunk."""


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
    found = [Findings() for _ in pairs]
    kept = [_Kept() for _ in pairs]
    outputs: Outputs = {}
    for start in range(0, len(data), _CHUNK):
        part = data.part(start, start + _CHUNK)
        traces = _run(pairs, part, start)
        for key, trace in traces.items():
            outputs.setdefault(key, []).append(trace.outputs)
        for pair, findings, evidence in zip(pairs, found, kept):
            if samples := pair.within(start, len(part)):
                what, against = (traces[id(executor)].first(samples) for executor in (pair.what, pair.against))
                pair.rule.compare(findings, what, against, start)
                if pair.examine is not None:
                    evidence.add(part.part(0, samples).inputs, what, against)
        if progress:
            progress(len(part))
    ran = iter(
        [
            _examined(
                replace(
                    _stage(pair, target, each, _accuracies(pair, outputs, data)),
                    samples_run=pair.within(0, len(data)),
                ),
                pair,
                evidence,
            )
            for pair, each, evidence in zip(pairs, found, kept)
        ]
    )
    return [next(ran) if isinstance(each, Pair) else each for each in planned]


class _Kept:
    """The samples of a pair that are kept: the first ones, as far as there is room."""

    def __init__(self) -> None:
        self.parts: list[tuple[Mapping[str, Array], Trace, Trace]] = []
        self._room = _KEPT_BYTES

    def add(self, inputs: Mapping[str, Array], what: Trace, against: Trace) -> None:
        """A chunk."""
        arrays = [x for trace in (what, against) for x in (*trace.spikes.values(), *trace.potentials.values())]
        self._room -= sum(x.nbytes for x in (*inputs.values(), *arrays))
        if self._room >= 0 or not self.parts:
            self.parts.append((inputs, what, against))

    def joined(self) -> tuple[Mapping[str, Array], Trace, Trace]:
        """All that is kept, in one."""
        inputs, what, against = zip(*self.parts)
        return (
            {name: np.concatenate([part[name] for part in inputs]) for name in inputs[0]},
            joined(what),
            joined(against),
        )


def _examined(stage: Stage, pair: Pair, kept: _Kept) -> Stage:
    """A stage that failed, or passed in spite of what differs, with what caused that."""
    fine = stage.passed is None or (stage.passed and not stage.mismatches)
    if fine or pair.examine is None or not kept.parts:
        return stage
    return replace(stage, causes=tuple(pair.examine(*kept.joined())))


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


def _accuracies(pair: Pair, outputs: Outputs, data: Data) -> Accuracies:
    """Of both executors, on the samples that each of them ran."""

    def accuracy(executor: Executor) -> float | None:
        parts = outputs[id(executor)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        labels = None if data.labels is None or not whole else data.labels[: len(next(iter(whole.values())))]
        return accuracy_of(whole, labels)

    return accuracy(pair.what), accuracy(pair.against)


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
