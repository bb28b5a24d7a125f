"""Recordings of decisions and counts alone: accuracy with its interval, and whether it is the program's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import neurocompile
from neurocompile.errors import BadInput
from neurocompile.recordings import Recorded, said
from neurocompile.recordings.outputs import wilson
from neurocompile.reports.validation import Stage, Validation
from tests.cli.helpers import run
from tests.recordings.conftest import Digits


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilson_is_scipys(right: int, more: int) -> None:
    of = right + more
    if not of:
        return
    wanted = stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert (wilson(right, of).low, wilson(right, of).high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_intervals_cover_what_they_should(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = [wilson(int(rng.binomial(450, 0.97)), 450) for _ in range(400)]
    assert sum(each.low <= 0.97 <= each.high for each in inside) / len(inside) > 0.91


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 100))
def test_mcnemar_is_the_exact_test(less: int, more: int, both: int) -> None:
    program = np.concatenate([np.zeros(less), np.ones(more), np.zeros(both)])
    recorded = np.concatenate([np.ones(less), np.zeros(more), np.zeros(both)])
    found = said(recorded, program, np.zeros(less + more + both))
    wanted = stats.binomtest(less, less + more).pvalue if less + more else 1.0
    assert found.p_mcnemar == pytest.approx(wanted)
    assert (found.only_program_right, found.only_recording_right) == (less, more)


def decided(digits: Digits) -> Any:
    """The program's own class of each sample."""
    return neurocompile.simulate(digits.program, digits.file).outputs["output"].argmax(1)


def validated(digits: Digits, recorded: Any, labelled: bool = True) -> tuple[Validation, Stage]:
    x = next(iter(digits.data.inputs.values()))[:, 0]
    report = neurocompile.validate(digits.program, x, digits.data.labels if labelled else None, recorded=recorded)
    return report, next(stage for stage in report.stages if stage.name == "recorded")


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("kind", ["classes", "values"])
def test_the_programs_own_decisions(digits: Digits, kind: str, labelled: bool) -> None:
    classes = decided(digits)
    outputs = classes if kind == "classes" else np.eye(10)[classes] * 3 + 1
    _, stage = validated(digits, Recorded(outputs=outputs), labelled)
    assert stage.passed
    assert (stage.compared, stage.mismatches) == (len(classes), 0)
    assert stage.outputs is not None
    assert stage.outputs.agreement.share == 1.0
    if labelled:
        assert stage.outputs.accuracy is not None
        assert stage.outputs.accuracy.share == stage.outputs.accuracy_program
        assert stage.outputs.p_mcnemar == 1.0


def test_a_few_errors_are_compatible_and_many_are_not(digits: Digits) -> None:
    for wrong, passes in ((2, True), (25, False)):
        classes = decided(digits)
        classes[:wrong] = (classes[:wrong] + 1) % 10
        report, stage = validated(digits, {"output": classes})
        assert stage.passed is passes
        assert report.exit_code == (0 if passes else 5)
        assert stage.outputs is not None
        assert stage.outputs.compatible is passes
        assert stage.outputs.differing == wrong
    _, stage = validated(digits, {"output": decided(digits)[::-1].copy()}, labelled=False)
    assert stage.passed is False


def test_counts_of_layers(digits: Digits) -> None:
    counts = {name: spikes.sum(1, dtype=np.int64) for name, spikes in digits.spikes.items()}
    _, stage = validated(digits, {f"{name}:counts": each for name, each in counts.items()})
    assert stage.passed
    assert stage.compared == sum(each.size for each in counts.values())
    counts[digits.last][3, 5] += 2
    _, stage = validated(digits, Recorded(counts=counts))
    assert stage.passed is False
    assert stage.mismatches == 1
    assert stage.counts[digits.last].largest_difference == 2


def test_spikes_counts_and_outputs_together(digits: Digits, tmp_path: Path) -> None:
    name = digits.last
    counts = digits.spikes[name].sum(1)
    np.savez(tmp_path / "a.npz", **{name: digits.spikes[name], f"{name}:counts": counts, "output": decided(digits)})
    report, stage = validated(digits, tmp_path / "a.npz")
    assert stage.passed
    assert stage.damage[name].missing_share == 0
    assert report.exit_code == 0
    np.savez(tmp_path / "b.npz", **{name: digits.spikes[name], f"{name}:counts": counts + 1})
    assert validated(digits, tmp_path / "b.npz")[1].passed is False


def test_outputs_that_do_not_belong(digits: Digits) -> None:
    samples = len(digits.data)
    for outputs in (np.zeros(samples - 1), np.full(samples, 10), np.full(samples, 0.5), np.zeros((samples, 3)),
                    np.full((samples, 10), np.nan), np.array(["one"] * samples)):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            validated(digits, Recorded(outputs=outputs))
        assert all(problem.fix for problem in caught.value.problems)


def test_what_a_person_reads(digits: Digits, tmp_path: Path) -> None:
    program = tmp_path / "out"
    neurocompile.export(Path(neurocompile.__file__).parents[1] / "models" / "checkpoints" / "digits.pt", program,
                        validate=False)  # fmt: skip
    classes = decided(digits)
    classes[:9] = (classes[:9] + 1) % 10
    name = digits.last
    np.savez(tmp_path / "a.npz", **{name: np.roll(digits.spikes[name], 1, 0), "output": classes})
    shown = " ".join(
        run("validate", program, "--data", digits.file, "--recorded", tmp_path / "a.npz", "--align", "all").out.split()
    )
    steps = digits.program.timesteps
    assert f"aligned: {name}: moved by -{steps} steps" in shown
    assert f"9 of {len(classes)} decisions differ" in shown
    assert "not compatible" in shown
    assert "McNemar" in shown
