"""Norse's own modules beside their programs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("norse")

from tests.peers.check import EXAMPLES, FRESH, HIGH, LOW, compare, live
from tests.peers.norse_nets import CASES


@pytest.mark.parametrize("name", CASES)
def test_every_layer_fires(name: str) -> None:
    case = CASES[name]
    model = case.model()
    for batch in (EXAMPLES, FRESH):
        rates = live(case, model, case.inputs(batch)).rates
        assert rates
        assert all(LOW <= rate <= HIGH for rate in rates.values()), rates


@pytest.mark.parametrize("name", CASES)
def test_the_program_does_the_same(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tally = compare(case, case.model(), tmp_path)
    assert tally.passed, tally


def test_there_are_enough() -> None:
    assert len(CASES) >= 60
