"""neurocompile.save: the file stands for the model, and the model stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import neurocompile
from neurocompile.errors import NotTheSame, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.hosted import run_graph
from tests.cli.helpers import done, npz, one, refused, result, run, says

T, N = 5, 6
DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the second version: of models that their classes do not tell."""
    monkeypatch.setattr("neurocompile.frontends.pytorch.model._symbolic", lambda *given: None)


@neurocompile.neuron(lambda m: neurocompile.equation(threshold=m.level, decay=m.keep, reset="by", amount=m.level))
class Leaky(nn.Module):
    """A neuron of the user's own, in multi-step mode, without a state between calls."""

    def __init__(self, keep: float = 0.5, level: float = 0.8) -> None:
        super().__init__()
        self.keep = nn.Parameter(torch.tensor(keep))
        self.level = level

    def forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        v, out = torch.zeros_like(x_seq[0]), []
        for x in x_seq:
            v = self.keep * v + x
            s = (v >= self.level).to(v.dtype)
            v = v - self.level * s
            out.append(s)
        return torch.stack(out)


@neurocompile.neuron(lambda m: neurocompile.equation(threshold=1.5, decay=0.5, reset="by", amount=1.5))
class Liar(Leaky):
    """Its equation is not what its forward computes."""


@neurocompile.neuron(lambda m: neurocompile.equation(threshold=m.level, decay=m.keep, reset="by", amount=m.level))
class SometimesLiar(Leaky):
    """It computes its equation on all currents that change over time."""

    def forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        return super().forward(x_seq + 1 if torch.equal(x_seq[0], x_seq[1]) else x_seq)


class Residual(nn.Module):
    """A class that only the user's own program has."""

    def __init__(self, own: type[nn.Module] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = layer.Linear(4, 6, step_mode="m")
        self.fire = own() if own else neuron.LIFNode(tau=2.0, step_mode="m", decay_input=False)
        self.second = layer.Linear(6, 6, step_mode="m")
        self.last = neuron.IFNode(v_reset=None, step_mode="m")
        self.read = layer.Linear(6, 3, step_mode="m")
        with torch.no_grad():
            for part in (self.first, self.second):
                part.weight.normal_(0.2, 0.6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.fire(self.first(x))
        return self.read(self.last(self.second(s) + s)).mean(0)


def _example(*shape: int) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.rand(*shape)


def _state(model: nn.Module) -> list[Any]:
    """All that a model is: weights, modes, memories, hooks, attributes."""
    parts: list[Any] = [model.training]
    for path, module in model.named_modules():
        parts.append((path, type(module), module.training, len(module._forward_hooks)))
        for name, value in {**vars(module), **getattr(module, "_memories", {})}.items():
            if isinstance(value, int | float | str | bool | None):
                parts.append((path, name, value))
            elif isinstance(value, torch.Tensor):
                parts.append((path, name, value.tolist(), value.dtype))
    parts += [(name, value.tolist(), value.dtype) for name, value in model.state_dict().items()]
    return parts


@pytest.mark.parametrize("own", [None, Leaky], ids=["spikingjelly", "registered"])
def test_the_model_stays_as_it_is(own: type[nn.Module] | None, tmp_path: Path) -> None:
    model = Residual(own).eval()
    model(_example(T, N, 4))  # leaves membranes that are not zero, on a graph of gradients
    before = copy.deepcopy(_state(model))
    expected = model.last.v.clone()
    for _ in range(2):
        neurocompile.save(model, tmp_path / "model.pt", _example(T, N, 4))
        assert _state(model) == before
        assert torch.equal(model.last.v, expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_in_training_mode_without_batch_norm_keeps_its_flag(tmp_path: Path) -> None:
    model = Residual().train()
    neurocompile.save(model, tmp_path / "model.pt", _example(T, N, 4))
    assert all(module.training for module in model.modules())


def test_a_model_that_is_refused_stays_as_it_is(tmp_path: Path) -> None:
    model = nn.Sequential(layer.Linear(4, 6, step_mode="m"), nn.PReLU(), neuron.IFNode(step_mode="m")).eval()
    before = copy.deepcopy(_state(model))
    with pytest.raises(UnsupportedModel, match="PReLU"):
        neurocompile.save(model, tmp_path / "model.pt", _example(T, N, 4))
    assert _state(model) == before
    assert not (tmp_path / "model.pt").exists()


def test_the_random_numbers_of_the_user_are_not_used_up(tmp_path: Path) -> None:
    model, x = Residual().eval(), _example(T, N, 4)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    neurocompile.save(model, tmp_path / "model.pt", x)
    assert torch.equal(torch.rand(3), expected)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        neurocompile.save(Residual().eval(), tmp_path / name, _example(T, N, 4))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("own", [None, Leaky], ids=["spikingjelly", "registered"])
def test_the_file_needs_none_of_the_users_classes(own: type[nn.Module] | None, tmp_path: Path) -> None:
    import subprocess
    import sys

    neurocompile.save(Residual(own).eval(), tmp_path / "model.pt", _example(T, N, 4))
    torch.load(tmp_path / "model.pt", weights_only=True)  # tensors, numbers and texts: it names no class at all
    script = "from neurocompile.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "export", "model.pt", "-o", "out", "--json", "--no-validate"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended


def test_it_holds_torch_and_not_our_graph(tmp_path: Path) -> None:
    neurocompile.save(Residual().eval(), tmp_path / "model.pt", _example(T, N, 4))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    operations = {call["operation"] for call in content["calls"]}
    assert {"addmm", "ge", "sub"} <= operations <= set(OPERATIONS)
    modules = {call["module"] for call in content["calls"]}
    assert {"first", "fire", "second", "last", "read"} <= modules
    assert "neurocompile.ir" not in str((tmp_path / "model.pt").read_bytes())


# -- files of the first version -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model-v1", "model-v1-loop", "model-v1-hosts", "model-v1-registered"])
def test_files_of_the_first_version_still_load(name: str) -> None:
    """They hold torch modules; what they compute is what the version that wrote them computed."""
    model = load_model(DATA / f"{name}.pt")
    with np.load(DATA / "model-v1-expected.npz") as arrays:
        expected = {key.removeprefix(f"{name}/"): x for key, x in arrays.items() if key.startswith(f"{name}/")}
    inputs = {key.removeprefix("input/"): x for key, x in expected.items() if key.startswith("input/")}
    assert set(inputs) == set(model.input_shapes)
    run, reference = run_graph(model.graph, inputs, model.timesteps), model.run(inputs)
    for found in (run, reference):
        assert set(found.spikes) == {key.removeprefix("spikes/") for key in expected if key.startswith("spikes/")}
        for layer_name, spikes in found.spikes.items():
            np.testing.assert_array_equal(spikes, expected[f"spikes/{layer_name}"])
        np.testing.assert_allclose(found.outputs["output"], expected["output/output"], rtol=0, atol=1e-9)


# -- registered neurons ----------------------------------------------------------------------------------------------


def _program(model: nn.Module, folder: Path) -> tuple[Path, Path]:
    file, out = folder / "model.pt", folder / "out"
    neurocompile.save(model.eval(), file, _example(T, N, 4))
    done("export", file, "-o", out, "--no-validate")
    return file, out


def test_a_registered_neuron_is_compared_on_any_data(tmp_path: Path) -> None:
    """The file holds its equation, which was held against the class when the model was saved."""
    file, out = _program(Residual(Leaky), tmp_path)
    data = npz(tmp_path / "x.npz", x=np.random.default_rng(0).random((9, 4)), y=np.zeros(9, int))
    for samples, given in ((N, ()), (9, ("--data", data))):
        lowering = run("validate", out, "--reference", file, *given, "--json").json["stages"][0]
        assert lowering["passed"] is True
        assert lowering["compared"] == samples * T * 12
        assert set(lowering["firing_rates"]) == {"fire", "last"}
        assert all(rate > 0 for rate in lowering["firing_rates"].values())


def test_a_wrong_equation_is_found_out(tmp_path: Path) -> None:
    """What the live module did is compared, not what its equation says."""
    with pytest.raises(UnsupportedModel, match="does not compute its equation"):
        _program(Residual(Liar), tmp_path)
    with pytest.raises(NotTheSame, match="fire"):
        _program(Residual(SometimesLiar), tmp_path)
    assert not (tmp_path / "model.pt").exists()


def _exact(model: nn.Module, layers: Sequence[str], folder: Path) -> None:
    """Check that the program fires as the live module does in float64, on the example."""
    _, out = _program(model, folder)
    live = copy.deepcopy(model).double()
    heard: dict[str, torch.Tensor] = {}
    for name in layers:
        live.get_submodule(name).register_forward_hook(lambda m, a, o, name=name: heard.update({name: o}))
    functional.reset_net(live)
    with torch.no_grad():
        live(_example(T, N, 4).double())
    x = npz(folder / "x.npz", x=_example(T, N, 4).double().transpose(0, 1).numpy())
    done("simulate", out, "--data", x, "--real", "--spikes", folder / "s.npz")
    with np.load(folder / "s.npz") as spikes:
        assert set(spikes) == set(heard)
        for name, expected in heard.items():
            assert expected.any()
            np.testing.assert_array_equal(spikes[name], expected.transpose(0, 1).numpy())


def test_the_program_of_a_registered_neuron_fires_as_the_live_module_in_float64(tmp_path: Path) -> None:
    _exact(Residual(Leaky).eval(), ("fire", "last"), tmp_path)


def test_a_class_that_nobody_registered(tmp_path: Path) -> None:
    """Its equation is read off what it does."""

    class Own(neuron.LIFNode):
        def neuronal_charge(self, x: torch.Tensor) -> None:
            self.v = self.v * 0.3 + x

    torch.manual_seed(0)
    model = nn.Sequential(layer.Linear(4, 6, step_mode="m"), Own(v_threshold=0.3, step_mode="m")).eval()
    _exact(model, ("1",), tmp_path)


# -- layouts ---------------------------------------------------------------------------------------------------------


class AsLaidOut(nn.Module):
    """The same network for every layout of its input."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layout = layout
        mode = "s" if layout == "loop" else "m"
        self.first = layer.Linear(4, 6, step_mode=mode)
        self.fire = neuron.LIFNode(tau=2.0, decay_input=False, step_mode=mode)
        self.second = layer.Linear(6, 3, step_mode=mode)
        self.last = neuron.IFNode(step_mode=mode)
        with torch.no_grad():
            for part in (self.first, self.second):
                part.weight.normal_(0.3, 0.6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == "NT":
            x = x.transpose(0, 1)
        elif self.layout == "N..T":
            x = x.permute(2, 0, 1)
        elif self.layout == "fold":
            x = x.unflatten(0, (T, -1))
        elif self.layout == "N":
            x = x.unsqueeze(0).repeat(T, 1, 1)
        return self.last(self.second(self.fire(self.first(x))))


def _laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """x[N, T, 4] as forward takes it."""
    return {
        "TN": lambda: x.transpose(0, 1),
        "NT": lambda: x,
        "N..T": lambda: x.permute(0, 2, 1),
        "fold": lambda: x.transpose(0, 1).flatten(0, 1),
        "loop": lambda: x[:, 0],
        "N": lambda: x[:, 0],
    }[layout]()


LAYOUTS = ("TN", "NT", "N..T", "fold", "loop", "N")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(layout: str, tmp_path: Path) -> None:
    x = _example(N, 1, 4).repeat(1, T, 1)
    file = tmp_path / "model.pt"
    neurocompile.save(AsLaidOut(layout).eval(), file, _laid_out(x, layout), layout=layout, timesteps=T)
    done("export", file, "-o", tmp_path / "out", "--no-validate")
    data = npz(tmp_path / "x.npz", x=x[:, 0].numpy())
    done("simulate", tmp_path / "out", "--data", data, "--real", "--spikes", tmp_path / "s.npz")
    live = AsLaidOut("TN").double().eval()
    heard: dict[str, torch.Tensor] = {}
    for name in ("fire", "last"):
        live.get_submodule(name).register_forward_hook(lambda m, a, o, name=name: heard.update({name: o}))
    with torch.no_grad():
        live(x.double().transpose(0, 1))
    with np.load(tmp_path / "s.npz") as spikes:
        assert set(spikes) == set(heard)
        for name, expected in heard.items():
            assert expected.any()
            np.testing.assert_array_equal(spikes[name], expected.transpose(0, 1).numpy())
    assert run("validate", tmp_path / "out", "--reference", file, "--json").json["stages"][0]["passed"] is True


@pytest.mark.parametrize("layout", ["TN", "NT", "N..T"])
def test_steps_are_read_from_the_example(layout: str, tmp_path: Path) -> None:
    x = _example(N, T, 4)
    neurocompile.save(AsLaidOut(layout).eval(), tmp_path / "model.pt", _laid_out(x, layout), layout=layout)
    model = load_model(tmp_path / "model.pt")
    assert model.timesteps == T
    assert list(model.input_shapes.values()) == [(4,)]
    (example,) = model.example.values()
    np.testing.assert_array_equal(example, x.numpy())


@pytest.mark.parametrize("layout", ["fold", "loop", "N"])
def test_steps_that_the_layout_does_not_tell(layout: str, tmp_path: Path) -> None:
    x = _laid_out(_example(N, T, 4), layout)
    with pytest.raises(UsageError, match="timesteps"):
        neurocompile.save(AsLaidOut(layout).eval(), tmp_path / "model.pt", x, layout=layout)
    assert not (tmp_path / "model.pt").exists()


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NTC"):
        neurocompile.save(AsLaidOut("TN").eval(), tmp_path / "m.pt", _example(T, N, 4), layout="NTC")  # type: ignore[arg-type]


def test_steps_that_contradict_the_example(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        neurocompile.save(AsLaidOut("TN").eval(), tmp_path / "m.pt", _example(T, N, 4), layout="TN", timesteps=T + 1)


def test_a_folded_batch_that_is_no_multiple_of_the_steps(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiple"):
        neurocompile.save(AsLaidOut("fold").eval(), tmp_path / "m.pt", _example(13, 4), layout="fold", timesteps=T)


def test_an_input_that_changes_where_the_model_repeats_it(tmp_path: Path) -> None:
    neurocompile.save(AsLaidOut("N").eval(), tmp_path / "model.pt", _example(N, 4), layout="N", timesteps=T)
    done("export", tmp_path / "model.pt", "-o", tmp_path / "out", "--no-validate")
    changing = npz(tmp_path / "x.npz", x=_example(N, T, 4).numpy())
    error = one(refused(6, "validate", tmp_path / "out", "--reference", tmp_path / "model.pt", "--data", changing))
    says(error, what="change over time")


def test_another_layout_than_the_file_was_saved_with(tmp_path: Path) -> None:
    neurocompile.save(AsLaidOut("TN").eval(), tmp_path / "model.pt", _example(T, N, 4), layout="TN")
    error = one(refused(2, "inspect", tmp_path / "model.pt", "--layout", "NT"))
    says(error, what="layout", actual="NT", limit="TN")


# -- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["NaN", "integers", "float64", "bool"])
def test_examples_of_all_kinds(kind: str, tmp_path: Path) -> None:
    x = _example(T, N, 4)
    if kind == "NaN":
        x[2, 1, 0] = float("nan")
        with pytest.raises(neurocompile.errors.BadInput, match="NaN"):
            neurocompile.save(Residual().eval(), tmp_path / "model.pt", x)
        return
    x = {"integers": (x * 3).long(), "float64": x.double(), "bool": x > 0.5}[kind]
    neurocompile.save(Residual().eval(), tmp_path / "model.pt", x)
    assert result("export", tmp_path / "model.pt", "-o", tmp_path / "out", "--no-validate")["neurons"] > 0


def test_spikes_as_input(tmp_path: Path) -> None:
    x = (_example(T, N, 4) > 0.5).float()
    neurocompile.save(Residual().eval(), tmp_path / "model.pt", x, carries="spikes")
    done("export", tmp_path / "model.pt", "-o", tmp_path / "out", "--no-validate")
    data = npz(tmp_path / "x.npz", x=x.transpose(0, 1).numpy())
    body = result("simulate", tmp_path / "out", "--data", data)
    assert body["macs"] == 0, "events, not numbers"
    assert body["sops"] >= int(x.sum()) * 6


def test_two_named_inputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.left, self.right = layer.Linear(4, 6, step_mode="m"), layer.Linear(3, 6, step_mode="m")
            self.fire = neuron.IFNode(step_mode="m")

        def forward(self, eyes: torch.Tensor, ears: torch.Tensor) -> torch.Tensor:
            return self.fire(self.left(eyes) + self.right(ears))

    eyes, ears = _example(T, N, 4) * 3, _example(T, N, 3) * 2
    for number, example in enumerate(((eyes, ears), {"eyes": eyes, "ears": ears})):
        file, out = tmp_path / f"{number}.pt", tmp_path / str(number)
        neurocompile.save(Two().eval(), file, example)
        done("export", file, "-o", out, "--no-validate")
        data = npz(tmp_path / "x.npz", eyes=eyes.transpose(0, 1).numpy(), ears=ears.transpose(0, 1).numpy())
        assert result("simulate", out, "--data", data)["spikes"] > 0
        missing = npz(tmp_path / "y.npz", eyes=eyes.transpose(0, 1).numpy())
        says(one(refused(6, "simulate", out, "--data", missing)), what="ears")
