"""A validation is a list of pairs: what joins the list is run and judged, whatever it is."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.reports import plain
from neurocompile.reports.validation import Stage, Validation
from neurocompile.simulator.base import Executor
from neurocompile.simulator.execution import IntegerExecutor, RealExecutor, Recording
from neurocompile.validation import BitExact, Faithful, Pair, Recorded, compare_pairs
from tests.cli.helpers import STEPS, small_net

ORDER = ("1", "3")
SAMPLES = 150


@dataclass
class Watched:
    """An executor that writes down how often, on how many samples and for what it was called."""

    inner: Executor
    calls: list[tuple[int, bool]] = field(default_factory=list)
    spoil: Any = None

    @property
    def name(self) -> str:
        return self.inner.name

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        self.calls.append((len(next(iter(inputs.values()))), membranes))
        found = self.inner.run(inputs, membranes=membranes)
        if self.spoil is not None:
            self.spoil(found)
        return found


@pytest.fixture(scope="module")
def program() -> Program:
    return neurocompile.compile(small_net(), input_shape=(4,), timesteps=STEPS)


@pytest.fixture(scope="module")
def data() -> Data:
    draw = np.random.default_rng(0)
    return Data({"input": draw.random((SAMPLES, STEPS, 4))}, draw.integers(0, 3, SAMPLES))


def test_another_engine_joins_by_being_one_of_a_pair(program: Program, data: Data) -> None:
    fast, slow, real = (Watched(each) for each in (
        IntegerExecutor(program), IntegerExecutor(program, reference=True), RealExecutor(program)
    ))  # fmt: skip
    quantization = Pair("quantization", fast, real, Faithful(ORDER))
    waits = Stage("elsewhere", "generic", "", reason="it is not here")
    engines = Pair("engines", fast, slow, BitExact(ORDER), 70)
    found = compare_pairs([quantization, waits, engines], "generic", data)
    assert [stage.name for stage in found] == ["quantization", "elsewhere", "engines"]
    assert found[1] is waits
    assert found[2].against == "NumPy reference"
    assert (found[2].passed, found[2].samples, found[2].compared) == (True, 70, 70 * STEPS * 9)
    assert found[2].membranes_compared == 70 * STEPS * (9 + 3)
    assert found[0].compared == SAMPLES * STEPS * 9
    # Each runs once a chunk, on no more samples than are compared, and keeps membranes where these are compared.
    assert fast.calls == [(64, True), (64, True), (22, False)]
    assert slow.calls == [(64, True), (6, True)]
    assert real.calls == [(64, False), (64, False), (22, False)]


def _flip(found: Trace) -> None:
    found.spikes["3"][0, 2, 1] ^= 1


def _raise(found: Trace) -> None:
    found.potentials["3"][0, 2, 1] += 1


def _late(found: Trace) -> None:
    found.moments, found.moments_differing = 9, 1


@pytest.mark.parametrize(
    ("spoil", "differs"),
    [(_flip, "mismatches"), (_raise, "membrane_mismatches"), (_late, "cycle_mismatches")],
)
def test_one_difference_of_any_kind_is_enough(spoil: Any, differs: str, program: Program, data: Data) -> None:
    wrong = Watched(IntegerExecutor(program, reference=True), spoil=spoil)
    (stage,) = compare_pairs([Pair("engines", IntegerExecutor(program), wrong, BitExact(ORDER), 10)], "generic", data)
    assert stage.passed is False
    assert [getattr(stage, name) for name in ("mismatches", "membrane_mismatches", "cycle_mismatches")].count(1) == 1
    assert getattr(stage, differs) == 1
    first = stage.first_membrane if spoil is _raise else stage.first_divergence
    if spoil is not _late:
        assert first is not None
        assert (first.sample, first.step, first.layer, first.neuron) == (0, 2, "3", (1,))


def test_an_executor_that_knows_no_membranes_is_compared_by_spikes(program: Program, data: Data) -> None:
    blind = Watched(IntegerExecutor(program), spoil=lambda found: found.potentials.clear())
    (stage,) = compare_pairs([Pair("blind", IntegerExecutor(program), blind, BitExact(ORDER))], "generic", data)
    assert (stage.passed, stage.compared, stage.membranes_compared) == (True, SAMPLES * STEPS * 9, 0)
    (stage,) = compare_pairs([Pair("blind", IntegerExecutor(program), blind, BitExact(()))], "generic", data)
    assert (stage.passed, stage.reason) == (None, "no spikes and no membranes to compare")


def test_a_recording_is_told_from_chunk_to_chunk(program: Program, data: Data) -> None:
    fired = {name: x.copy() for name, x in IntegerExecutor(program).run(data.inputs).spikes.items()}
    fired["1"][140, 1, 5] ^= 1
    pair = Pair("recorded", IntegerExecutor(program), Recording({"1": fired["1"]}), Recorded(ORDER))
    (stage,) = compare_pairs([pair], "generic", data)
    assert (stage.compared, stage.mismatches) == (SAMPLES * STEPS * 6, 1)
    assert stage.first_divergence is not None
    assert stage.first_divergence.sample == 140


def test_a_report_is_data(program: Program, data: Data) -> None:
    stages = compare_pairs([Pair("quantization", IntegerExecutor(program), RealExecutor(program), Faithful(ORDER))],
                           "generic", data)  # fmt: skip
    report = Validation([*stages, Stage("backend", "generic", "", reason="none")], None, 0.5)
    again = pickle.loads(pickle.dumps(report))
    assert plain(again) == plain(report)
    assert list(plain(report)) == [
        "stages", "accuracy_reference", "accuracy_program", "passed", "samples", "required", "unmet", "summary",
    ]  # fmt: skip
    assert list(plain(report)["stages"][1]) == list(plain(stages[0]))
    assert plain(report)["stages"][1]["first_divergence"] is None
    assert not Validation([Stage("backend", "generic", "", reason="none")], None, None).passed
