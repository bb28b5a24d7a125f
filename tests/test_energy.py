"""Prices: what is priced, what is not, and where constants come from."""

from __future__ import annotations

import pytest

from neurocompile.errors import UsageError
from neurocompile.simulator import price
from neurocompile.simulator.energy import Unpriced
from neurocompile.targets import load_target, target_names

COUNTS = {"sop": 1000, "mac": 10, "neuron_active": 7, "neuron_inactive": 5, "spike": 3}


def test_an_all_in_price_covers_what_it_names() -> None:
    bill = price(COUNTS, load_target("anp-i"))
    assert bill.energy_pj == 1500.0
    assert set(bill.unpriced) == {"mac"}
    assert bill.unpriced["mac"] == Unpriced(10, pytest.approx(2.3))
    assert bill.is_lower_bound
    assert not price({**COUNTS, "mac": 0}, load_target("anp-i")).is_lower_bound


def test_a_target_without_prices_is_unpriced_and_not_free() -> None:
    bill = price(COUNTS, load_target("generic"))
    assert bill.energy_pj is None
    assert bill.bounds_pj is None
    assert set(bill.unpriced) == set(COUNTS)


def test_45_nm() -> None:
    assert price(COUNTS, load_target("arith45")).energy_pj == pytest.approx(1000 * 0.9 + 10 * 4.6)
    assert price(COUNTS, load_target("arith45-int8")).energy_pj == pytest.approx(1000 * 0.03 + 10 * 0.23)


@pytest.mark.parametrize("name", target_names())
def test_every_constant_says_where_it_comes_from(name: str) -> None:
    target = load_target(name)
    for constant in target.prices.values():
        assert constant.min <= constant.nominal <= constant.max
        assert constant.basis in ("measured", "simulated", "derived")
        assert constant.scope in ("per event", "all-in")
        assert constant.unit == "pJ"
        assert "doi:" in constant.source
    if target.limits.neurons or target.limits.synapses:
        assert "doi:" in target.limits.source


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean generic"):
        load_target("genric")
