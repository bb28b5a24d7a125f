"""What the rule of quantization asks, on spikes that are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurocompile.ir.compare import Comparison, compare_spikes
from neurocompile.ir.trace import Trace
from neurocompile.validation import BitExact, Faithful, Recorded
from neurocompile.validation.rules import Findings

SHAPE = (1, 10, 100)


def _judged(expected: Any, actual: Any, accuracies: Any = (None, None)) -> tuple[bool | None, str]:
    found, rule = Findings(), Faithful(("a",))
    for part in range(len(expected)):
        one, other = (Trace(spikes={"a": x[part : part + 1]}, outputs={}) for x in (expected, actual))
        rule.compare(found, other, one, part)
    return rule.judge(found, accuracies)


def _fires(places: range) -> Any:
    x = np.zeros(SHAPE, np.int8)
    x.reshape(-1)[list(places)] = 1
    return x


@pytest.mark.parametrize(
    ("expected", "actual", "passed"),
    [
        (range(10), range(10), True),
        (range(10), range(0), False),  # 99 % of the positions agree
        (range(0), range(10), False),
        (range(10), range(10, 20), False),  # 98 %
        (range(10), range(2, 10), True),  # recall 80 %, precision 100 %: F1 89 %
        (range(10), range(3, 13), False),  # both 70 %
        (range(10), range(2, 12), True),  # both 80 %
        (range(600), range(60, 600), False),  # F1 95 %, and 94 % of the positions agree
        (range(0), range(0), None),  # silent on both sides
    ],
)
def test_without_labels_the_places_that_fire_count(expected: range, actual: range, passed: bool | None) -> None:
    found, why = _judged(_fires(expected), _fires(actual))
    assert found is passed, why
    assert why


@pytest.mark.parametrize(
    ("before", "after", "passed"), [(0.9, 0.9, True), (0.9, 0.895, True), (0.9, 0.894, False), (0.9, 1.0, True)]
)
def test_with_labels_accuracy_counts(before: float, after: float, passed: bool) -> None:
    found, _ = _judged(_fires(range(10)), _fires(range(0)), (after, before))
    assert found is passed


@pytest.mark.parametrize(("points", "passed"), [(0.4, False), (0.6, True), (0.0, False)])
def test_other_points_may_be_asked(points: float, passed: bool) -> None:
    assert Faithful(("a",), points).judge(Findings(), (0.894, 0.9))[0] is passed


@pytest.mark.parametrize(("lacking", "passed"), [(29.0, False), (30.0, True), (31.0, True)])
def test_other_spikes_may_be_asked(lacking: float, passed: bool) -> None:
    found, one, other = Findings(), _fires(range(10)), _fires(range(3, 13))  # both 70 %
    rule = Faithful(("a",), lacking)
    rule.compare(found, Trace(spikes={"a": other}, outputs={}), Trace(spikes={"a": one}, outputs={}), 0)
    assert rule.judge(found, (None, None))[0] is passed


@pytest.mark.parametrize("rule", [BitExact, Recorded])
@pytest.mark.parametrize(("percent", "passed"), [(0.0, False), (9.9, False), (10.0, True), (11.0, True)])
def test_so_many_spikes_may_differ(rule: Any, percent: float, passed: bool) -> None:
    one, other = _fires(range(20)), _fires(range(1, 21))  # one missing, one too many
    found, asked = Findings(), rule(("a",), percent)
    asked.compare(found, *(Trace(spikes={"a": x}, outputs={"o": np.zeros((1, 1))}) for x in (one, other)), 0)
    verdict, why = asked.judge(found, (None, None))
    assert verdict is passed
    assert not percent or "2 spikes" in why
    assert (f"{percent:g} %" in asked.asked((None, None))) is bool(percent)


def test_where_nothing_is_expected_nothing_may_come() -> None:
    found = Findings()
    Recorded(("a",)).compare(found, *(Trace(spikes={"a": _fires(range(n))}, outputs={}) for n in (0, 1)), 0)
    assert Recorded(("a",), 50.0).judge(found, (None, None))[0] is False


def test_spikes_have_signs() -> None:
    found = Comparison()
    expected = {"a": np.array([[[1, -1, 0, 1, 0]]]), "b": np.zeros((1, 1, 2))}
    actual = {"a": np.array([[[1, 1, 1, 0, 0]]]), "b": np.zeros((1, 1, 2))}
    compare_spikes(found, expected, actual, ("a", "b"))
    assert found.precision == {"a": 1 / 3}
    assert found.recall == {"a": 1 / 3}
    assert found.f1 == 1 / 3
    assert found.agreement == {"a": 2 / 5, "b": 1.0}
