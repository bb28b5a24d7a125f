"""`simulate --real --spikes` against forward hooks in float64, as anyone can repeat it from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from tests.cli.helpers import done, npz, pickled, result, run

N, T = 16, 6


def _hooked(net: nn.Module, x: Any, step_mode: str) -> dict[str, Any]:
    """What every neuron module fires in float64, [N, T, ...], by module path."""
    net = net.double().eval()
    functional.reset_net(net)
    heard: dict[str, list[torch.Tensor]] = {}

    def listen(path: str) -> Callable[..., None]:
        return lambda module, args, out: heard.setdefault(path, []).append(out.detach())

    for path, module in net.named_modules():
        if isinstance(module, neuron.BaseNode | neuron.MPBNLIFNode):
            module.register_forward_hook(listen(path))
    x_seq = torch.from_numpy(x.astype(np.float64)).transpose(0, 1)
    with torch.no_grad():
        if step_mode == "m":
            net(x_seq)
        else:
            for step in x_seq:
                net(step)
    joined = {path: parts[0] if step_mode == "m" else torch.stack(parts) for path, parts in heard.items()}
    return {path: spikes.transpose(0, 1).numpy() for path, spikes in joined.items()}


def _dense(mode: str) -> tuple[nn.Module, tuple[int, ...]]:
    net = nn.Sequential(
        layer.Linear(10, 16, step_mode=mode),
        layer.BatchNorm1d(16, step_mode=mode),
        neuron.LIFNode(tau=1.7, step_mode=mode),
        layer.Dropout(0.3, step_mode=mode),
        nn.Sequential(
            layer.Linear(16, 12, bias=False, step_mode=mode), neuron.IFNode(v_reset=None, step_mode=mode)
        ),
        layer.Linear(12, 5, step_mode=mode),
        neuron.ParametricLIFNode(init_tau=1.5, v_reset=-0.1, decay_input=False, step_mode=mode),
    )  # fmt: skip
    return net, (10,)


def _conv(mode: str) -> tuple[nn.Module, tuple[int, ...]]:
    net = nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, step_mode=mode),
        layer.BatchNorm2d(6, step_mode=mode),
        neuron.IFNode(step_mode=mode),
        layer.AvgPool2d(2, step_mode=mode),
        layer.BatchNorm2d(6, step_mode=mode),
        layer.Conv2d(6, 8, 3, stride=2, padding=1, step_mode=mode),
        neuron.LIFNode(step_mode=mode),
        layer.MaxPool2d(2, step_mode=mode),
        layer.Flatten(step_mode=mode),
        layer.Linear(8, 4, step_mode=mode),
        neuron.LIFNode(tau=3.0, decay_input=False, v_threshold=0.4, step_mode=mode),
    )
    return net, (2, 8, 8)


def _mpbn(mode: str) -> tuple[nn.Module, tuple[int, ...]]:
    net = nn.Sequential(
        layer.Linear(10, 16, step_mode=mode),
        neuron.MPBNLIFNode(out_features=16, tau=4 / 3, step_mode=mode),
        layer.Linear(16, 6, step_mode=mode),
        neuron.MPBNLIFNode(out_features=6, tau=2.0, v_reset=None, step_mode=mode),
    )
    return net, (10,)


NETWORKS = {"dense": _dense, "conv": _conv, "mpbn": _mpbn}


def _trained(net: nn.Module, seed: int) -> nn.Module:
    """Statistics and signs that only training gives, with every layer firing."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            with torch.no_grad():
                module.weight[::3] *= -1
            nn.init.uniform_(module.bias, -0.2, 0.8)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.1, 1.0)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            with torch.no_grad():
                module.weight.mul_(2.5)
                module.weight.add_(0.1)
    return net.eval()


@pytest.mark.parametrize("repeated", [False, True], ids=["sequence", "frames"])
@pytest.mark.parametrize("mode", ["s", "m"], ids=["single-step", "multi-step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike(name: str, mode: str, repeated: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, shape = NETWORKS[name](mode)
    model = pickled(_trained(net, 2), tmp_path / "model.pt")
    draw = np.random.default_rng(4)
    x = draw.normal(0.3, 1.0, (N, *shape) if repeated else (N, T, *shape))
    sizes = ",".join(map(str, shape))
    done("export", model, "--input-shape", sizes, "--timesteps", T, "-o", tmp_path / "out", "--no-validate")
    data, fired = npz(tmp_path / "x.npz", x=x), tmp_path / "fired.npz"
    body = result("simulate", tmp_path / "out", "--data", data, "--real", "--spikes", fired)
    expected = _hooked(net, x if not repeated else np.repeat(x[:, None], T, 1), mode)
    with np.load(fired) as spikes:
        actual = {path: spikes[path] for path in spikes}
    assert set(actual) == set(expected)
    for path, out in expected.items():
        assert 0.01 < out.mean() < 0.95, f"{path} shows nothing: it fires at {out.mean():.2f}"
        assert actual[path].shape == out.shape
        assert int((actual[path] != out).sum()) == 0, path
    assert body["spikes"] == sum(int(out.sum()) for out in expected.values())
    # `validate` says so too (its stage quantization may fail for a network that nobody trained).
    ran = run("validate", tmp_path / "out", "--reference", model, "--data", data, "--json")
    assert ran.json["stages"][0]["passed"] is True
    assert ran.json["stages"][0]["compared"] == sum(out.size for out in expected.values())


def test_x_stays_float64(tmp_path: Path) -> None:
    """A membrane that meets its threshold in float64, and misses it in float32 and in the 8 bits of the input."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), neuron.IFNode(v_threshold=1.0)).eval()
    net[0].weight.data.fill_(1.0)
    model = pickled(net, tmp_path / "model.pt")
    done("export", model, "--input-shape", "1", "--timesteps", "1", "-o", tmp_path / "out")
    x = np.array([[1.0], [1.0 - 1e-12], [1.0 + 1e-12], [1.0 - 1e-9]])
    done("simulate", tmp_path / "out", "--data", npz(tmp_path / "x.npz", x=x), "--real", "--spikes", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as spikes:
        assert spikes["1"].ravel().tolist() == [1, 0, 1, 0]


def test_the_reals_do_not_depend_on_bits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, _ = _dense("m")
    model = pickled(_trained(net, 2), tmp_path / "model.pt")
    data = npz(tmp_path / "x.npz", x=np.random.default_rng(0).normal(0.3, 1, (N, 10)))
    bodies = []
    for bits in (2, 8):
        out = tmp_path / str(bits)
        done("export", model, "--input-shape", "10", "--timesteps", T, "-o", out, "--bits", bits, "--no-validate")
        bodies.append(result("simulate", out, "--data", data, "--real", "--spikes", tmp_path / f"{bits}.npz"))
    assert (tmp_path / "2.npz").read_bytes() == (tmp_path / "8.npz").read_bytes()
    assert bodies[0]["spikes"] == bodies[1]["spikes"]
