"""Options and targets that are not there, networks that do not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from tests.cli.helpers import done, nothing_in, npz, one, pickled, refused, result, run, says, small_net

BIG = ("--input-shape", "20", "--timesteps", "3", "--target", "async28")


# -- options and targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [("anpi", "anp-i"), ("ANP-I", "anp-i"), ("async-28", "async28"), ("asinc28", "async28"), ("generc", "generic")],
)
def test_an_unknown_target_with_a_suggestion(given: str, meant: str, model: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", model, "--target", given, "-o", tmp_path / "out"))
    says(error, what="unknown target", where="--target", actual=given, limit="async28", fix=f"did you mean {meant}?")
    nothing_in(tmp_path)


def test_an_unknown_target_wherever_one_is_named(model: Path, program: Path, tmp_path: Path) -> None:
    for arguments in (
        ("simulate", program, "--data", tmp_path / "none.npz", "--price-as", "async29"),
        ("targets", "async29"),
        ("demo", "--target", "async29"),
        ("inspect", model, "--target", "async29"),
    ):
        says(one(refused(2, *arguments)), what="unknown target", actual="async29", fix="did you mean async28?")


@pytest.mark.parametrize("given", ["loihi-17-that-nobody-has-built", "", "../generic", "generic.toml"])
def test_an_unknown_target_like_nothing(given: str, model: Path) -> None:
    says(one(refused(2, "export", model, "--target", given)), what="unknown target", limit="generic", fix="targets")


def test_a_price_list_is_no_target(model: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", model, "--target", "arith45", "-o", tmp_path / "out"))
    says(error, what="price list", fix="--price-as arith45")
    nothing_in(tmp_path)


@pytest.mark.parametrize("verb", ["export", "simulate", "validate", "check", "inspect", "targets", "demo"])
def test_an_unknown_option(verb: str) -> None:
    says(one(refused(2, verb, "--frobnicate")), what="--frobnicate", fix=f"neurocompile {verb} --help")


@pytest.mark.parametrize("verb", ["export", "simulate", "validate", "check", "inspect"])
def test_a_missing_argument(verb: str) -> None:
    says(one(refused(2, verb)), what="Missing argument", fix="--help")


def test_an_unknown_verb() -> None:
    error = one(refused(2, "exprot"))
    says(error, what="exprot", fix="--help")


@pytest.mark.parametrize(
    "option", [("--per", "row"), ("--scale", "min"), ("--layout", "XY"), ("--readout", "loudest"), ("--chips", "0"),
               ("--bits", "many"), ("--input", "currents")],
    ids=lambda option: option[0],
)  # fmt: skip
def test_a_value_that_an_option_does_not_have(option: tuple[str, str], model: Path) -> None:
    says(one(refused(2, "export", model, *option)), what=option[0])


@pytest.mark.parametrize("bits", [1, 17, 0, -4, 1000])
def test_a_width_of_weights_that_the_target_does_not_have(bits: int, model: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", model, f"--bits={bits}", "-o", tmp_path / "out"))
    says(error, where="--bits", actual=str(bits))
    assert "2" in error["limit"]
    assert "16" in error["limit"]
    nothing_in(tmp_path)


@pytest.mark.parametrize("bits", [0, 17, -1])
def test_a_width_of_inputs_that_there_is_not(bits: int, model: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", model, f"--input-bits={bits}", "-o", tmp_path / "out"))
    says(error, where="--input-bits", actual=str(bits), limit="16")
    nothing_in(tmp_path)


@pytest.mark.parametrize("bits", [2, 3, 16])
def test_widths_that_it_has(bits: int, model: Path, tmp_path: Path) -> None:
    ran = run("export", model, "--bits", bits, "-o", tmp_path / "out", "--json")
    assert ran.code in (0, 5)
    assert ran.json["weight_bits"] == bits


def test_an_unknown_pass(model: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", model, "--print-ir-after", "fold", "-o", tmp_path / "out"))
    says(error, actual="fold", limit="fold-mpbn")
    nothing_in(tmp_path)


# -- networks that do not fit ----------------------------------------------------------------------------------------


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """300 + 310 neurons, 6000 + 93000 weights: three chips of 256 neurons."""
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(20, 300, step_mode="m"),
        neuron.IFNode(step_mode="m"),
        layer.Linear(300, 310, step_mode="m"),
        neuron.IFNode(step_mode="m"),
    )
    return pickled(net.eval(), tmp_path / "big.pt")


def test_too_many_neurons(big: Path, tmp_path: Path) -> None:
    error = one(refused(4, "export", big, *BIG, "-o", tmp_path / "out"))
    says(error, what="async28 does not hold so many neurons", limit="256 a chip", fix="--chips")
    assert int(error["actual"].replace(",", "")) >= 610
    nothing_in(tmp_path, ["big.pt"])


def test_the_number_of_chips_that_is_named_is_enough_and_one_less_is_not(big: Path, tmp_path: Path) -> None:
    fix = one(refused(4, "export", big, *BIG, "-o", tmp_path / "out"))["fix"]
    chips = int(fix.split("--chips ")[1].split()[0])
    assert chips >= 3
    error = one(refused(4, "export", big, *BIG, "-o", tmp_path / "out", "--chips", chips - 1))
    says(error, limit=f"{256 * (chips - 1)} on {chips - 1} chips", fix=f"--chips {chips}")
    assert result("export", big, *BIG, "-o", tmp_path / "out", "--chips", chips)["chips"] == chips


def test_too_many_weights_and_neurons_are_both_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(20, 400), neuron.IFNode(), nn.Linear(400, 500), neuron.IFNode()).eval()
    errors = refused(4, "export", pickled(net, tmp_path / "big.pt"), *BIG, "-o", tmp_path / "out")
    assert [word in error["what"] for word, error in zip(("neurons", "weights"), errors, strict=True)] == [True, True]
    nothing_in(tmp_path, ["big.pt"])


def test_inspect_tells_what_does_not_fit(big: Path) -> None:
    body = result("inspect", big, *BIG)
    assert "neurons" in one(body["does_not_fit"])["what"]
    assert "does not fit" in done("inspect", big, *BIG).out


def test_a_small_network_fits(model: Path, tmp_path: Path) -> None:
    assert result("export", model, "--target", "async28", "-o", tmp_path / "out")["chips"] == 1


def test_another_target_prices_what_does_not_fit_on_it(big: Path, tmp_path: Path) -> None:
    done("export", big, *BIG[:4], "-o", tmp_path / "out")
    x = npz(tmp_path / "x.npz", x=torch.rand(2, 20).numpy())
    body = result("simulate", tmp_path / "out", "--data", x, "--price-as", "async28")
    assert body["fits"] is False
    assert "would need at least" in done("simulate", tmp_path / "out", "--data", x, "--price-as", "async28").out


def _sinking() -> nn.Sequential:
    """Membranes that only fall, and neither leak nor fire."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(400, 3), neuron.IFNode()).eval()
    with torch.no_grad():
        net[0].weight.uniform_(-1.0, -0.9)
        net[0].bias.zero_()
    return net


@pytest.mark.parametrize(("steps", "bits"), [(20, 16), (1000, 16)])
def test_a_possible_overflow_says_where_and_by_how_much_and_the_way_out_works(
    steps: int, bits: int, tmp_path: Path
) -> None:
    model, out = pickled(_sinking(), tmp_path / "model.pt"), tmp_path / "out"
    options = ("--input-shape", "400", "--timesteps", steps, "-o", out)
    error = one(refused(4, "export", model, *options, "--bits", bits))
    says(error, what="overflow", limit="2147483647 (32 bits)", fix="--bits")
    assert error["where"].startswith("1")
    assert f"{steps} steps" in error["what"]
    assert int(error["actual"].lstrip("+-")) > 2147483647
    nothing_in(tmp_path, ["model.pt"])
    enough = int(error["fix"].split("--bits ")[1].split()[0])
    assert 2 <= enough < bits
    assert run("export", model, *options, "--bits", enough).code == 0


class _SideBySide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = _sinking(), _sinking()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.left(x), self.right(x)), -1)


def test_all_layers_that_could_overflow_are_named(tmp_path: Path) -> None:
    neurocompile.save(_SideBySide().eval(), tmp_path / "model.pt", torch.rand(5, 400), layout="loop", timesteps=20)
    errors = refused(4, "export", tmp_path / "model.pt", "-o", tmp_path / "out", "--bits", "16")
    assert {error["where"].split("[")[0] for error in errors} == {"left.1", "right.1"}


# -- what the targets are --------------------------------------------------------------------------------------------


def _prices(body: dict[str, object]) -> Iterator[dict[str, object]]:
    for target in body["targets"].values():  # type: ignore[attr-defined]
        yield from target["prices"].values()


def test_targets_lists_them_all() -> None:
    body = result("targets")
    assert {"generic", "anp-i", "async28", "arith45"} <= set(body["targets"])
    shown = done("targets").out
    for name in body["targets"]:
        assert name in shown


def test_every_price_has_value_unit_bounds_basis_scope_and_source() -> None:
    prices = list(_prices(result("targets")))
    assert len(prices) >= 4
    for price in prices:
        assert price["min"] <= price["nominal"] <= price["max"]  # type: ignore[operator]
        assert price["unit"] == "pJ"
        assert price["basis"] in ("measured", "simulated", "derived")
        assert price["scope"] in ("per event", "all-in")
        assert "doi:10." in str(price["source"])


@pytest.mark.parametrize(("name", "price"), [("anp-i", 1.5), ("async28", 3.97)])
def test_one_target_shows_where_its_numbers_come_from(name: str, price: float) -> None:
    body = result("targets", name)
    assert list(body["targets"]) == [name]
    assert body["targets"][name]["prices"]["sop"]["nominal"] == price
    shown = done("targets", name).out
    assert str(price) in shown
    assert "doi:10." in shown.replace("\n", "")


def test_generic_has_no_price() -> None:
    assert result("targets", "generic")["targets"]["generic"]["prices"] == {}
    assert "unpriced" in done("targets", "generic").out


def test_unpublished_arithmetic_and_limits_are_marked_so() -> None:
    shown = done("targets", "anp-i").out
    assert "unpublished" in shown
    assert "unknown" in shown


def test_json_of_targets_is_plain(tmp_path: Path) -> None:
    assert json.loads(done("targets", "--json").out) == result("targets")


def test_small_net_is_small() -> None:
    assert sum(p.numel() for p in small_net().parameters()) == 51
