"""What a network is refused for is said in its writer's words: the line, what is wrong there, what to write instead."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn
from torch.nn import functional as F

import neurocompile
from neurocompile.errors import BadInput, NeurocompileError, UnsupportedModel, UsageError

T = 4
INTERNAL = re.compile(r"aten|dispatch|\bfx\b|prims|_kernel|c2c|native_|Proxy|\bterm\b|\batom|0x[0-9a-f]{4}|Traceback")
HOST = "@neurocompile.host"
CASES: dict[str, tuple[type[nn.Module], str, str]] = {}


class Net(nn.Module):
    """Layers for 2 x 4 x 4 inputs; ``layers`` are more of them."""

    layers: dict[str, Callable[[], nn.Module]] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(48, 5)
        self.lif = neuron.LIFNode(v_threshold=0.2)
        for name, make in self.layers.items():
            setattr(self, name, make())

    def step(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.lif(x).flatten(1))


def refused(what: str, fix: str, **layers: Callable[[], nn.Module]) -> Callable[[Any], Any]:
    """Keep a body of forward; the line to be named ends in a here, in a comment."""

    def keep(forward: Callable[[Any, torch.Tensor], Any]) -> Any:
        made = type(forward.__name__, (Net,), {"forward": forward, "layers": layers})
        CASES[forward.__name__] = (made, what, fix)
        return forward

    return keep


@refused("Python reads the value", "torch.where")
def branch(self: Any, x: torch.Tensor) -> Any:
    y = self.conv(x)
    if y.sum() > 0:  # here
        y = y * 0.5
    return self.step(y)


@refused("Python reads the value", "torch.where")
def any_spike(self: Any, x: torch.Tensor) -> Any:
    s = self.lif(self.conv(x))
    if s.any():  # here
        s = s * 0.5
    return self.fc(s.flatten(1))


@refused(".numpy() takes values", "with torch")
def numpy_inside(self: Any, x: torch.Tensor) -> Any:
    y = np.clip(self.conv(x).detach().numpy(), 0, 1)  # here
    return self.step(torch.from_numpy(y).to(x))


@refused("depends on the other samples", "every sample alike")
def statistics_of_the_batch(self: Any, x: torch.Tensor) -> Any:
    y = self.conv(x)
    y = (y - y.mean((0, 2, 3), keepdim=True)) / y.std((0, 2, 3), keepdim=True)  # here
    return self.step(y)


@refused("torch.nn.functional.batch_norm is not supported", "nn.BatchNorm and model.eval()")
def batch_norm_that_trains(self: Any, x: torch.Tensor) -> Any:
    return self.step(F.batch_norm(self.conv(x), None, None, training=True))  # here


@refused("torch.nn.functional.prelu is not supported", HOST, act=nn.PReLU)
def prelu(self: Any, x: torch.Tensor) -> Any:
    return self.step(self.act(self.conv(x)))  # here


@refused("torch.nn.functional.interpolate is not supported", 'mode="nearest"')
def smooth_upsampling(self: Any, x: torch.Tensor) -> Any:
    y = F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear")  # here
    return self.step(y[..., :4, :4])


@refused("torch.fft.fft2 is not supported", HOST)
def complex_numbers(self: Any, x: torch.Tensor) -> Any:
    f = torch.fft.fft2(self.conv(x))  # here
    return self.step(f.abs())


@refused("dropout is on", "training=self.training")
def dropout(self: Any, x: torch.Tensor) -> Any:
    return self.fc(F.dropout(self.lif(self.conv(x)), 0.3).flatten(1))  # here


@refused("how bernoulli draws depends on the input", "torch.rand_like(p) < p")
def drawn_spikes(self: Any, x: torch.Tensor) -> Any:
    s = torch.bernoulli(torch.sigmoid(self.conv(x)))  # here
    return self.fc(s.flatten(1))


@refused("how poisson draws depends on the input", "torch.rand_like(p) < p")
def drawn_counts(self: Any, x: torch.Tensor) -> Any:
    return self.fc(torch.poisson(self.conv(x).abs()).flatten(1))  # here


@refused("draws random numbers with Python's random or with NumPy", "draw random numbers with torch")
def noise_of_numpy(self: Any, x: torch.Tensor) -> Any:
    noise = torch.from_numpy(np.random.randn(3, 4, 4)).to(x)
    return self.step(self.conv(x) + 0.1 * noise)  # here


@refused("it multiplies two values that both depend on the input", HOST)
def product_of_currents(self: Any, x: torch.Tensor) -> Any:
    return sum(self.step(self.conv(x) * self.conv(x.flip(2))) for _ in range(T))  # here


@refused("a cast to float16 rounds", "leave the cast out")
def half(self: Any, x: torch.Tensor) -> Any:
    return self.step(self.conv(x).half().to(x))  # here


@refused("the range of int8, which wraps round", "torch.int64")
def overflow(self: Any, x: torch.Tensor) -> Any:
    s = self.lif(self.conv(x)).to(torch.int8)
    s = s * 100 + s * 100  # here
    return self.fc(s.to(x).flatten(1))


@refused("forward returns no tensor", "return what is to be read")  # here
def nothing_returned(self: Any, x: torch.Tensor) -> Any:
    self.step(self.conv(x))


@refused("torch cannot run it", "check forward")
def shapes_that_do_not_fit(self: Any, x: torch.Tensor) -> Any:
    return self.fc(self.lif(self.conv(x)).flatten(2))  # here


@refused("the batch too", "name axes without the batch")
def rate_of_everything(self: Any, x: torch.Tensor) -> Any:
    s = self.lif(self.conv(x))
    return self.fc(s.flatten(1)), s.mean()  # here


@refused("1 of the 4 steps of this neuron", 'layout="loop"')
def one_step_for_all(self: Any, x: torch.Tensor) -> Any:
    return self.fc(self.lif(self.conv(x)).flatten(1))  # here


@refused("the membrane of a neuron that fires is read", "read its spikes", pool=lambda: nn.MaxPool2d(2, 1, 1))
def pooled_membranes(self: Any, x: torch.Tensor) -> Any:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + self.conv(x)
        s = (v > 0.3).to(x)
        v = v - 0.3 * s
        out = out + self.fc(self.pool(v)[..., 1:, 1:].flatten(1))  # here
    return out


@refused("its step applies round to what it remembers", "@neurocompile.neuron")
def several_levels(self: Any, x: torch.Tensor) -> Any:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + self.conv(x)
        s = torch.round(torch.clamp(v, -2, 2))  # here
        v = v - s
        out = out + self.fc(s.flatten(1))
    return out


@refused("compares its membrane with something that is computed as well", "@neurocompile.neuron")
def threshold_that_adapts(self: Any, x: torch.Tensor) -> Any:
    v, a, out = 0.0, 0.0, 0
    for _ in range(T):
        v = 0.5 * v + self.conv(x)
        s = (v > 0.2 + a).to(x)  # here
        a, v = 0.9 * a + 0.1 * s, v * (1 - s)
        out = out + self.fc(s.flatten(1))
    return out


@refused("LSTM: ", "as an input", lstm=lambda: nn.LSTM(32, 48, batch_first=True))
def gates(self: Any, x: torch.Tensor) -> Any:
    y, _ = self.lstm(x.flatten(1).unsqueeze(1).repeat(1, T, 1))  # here
    return self.fc((y > 0.05).to(x)).mean(1)


@pytest.mark.parametrize("name", CASES)
def test_a_refusal(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, what, fix = CASES[name]
    lines, first = inspect.getsourcelines(made.forward)
    (line,) = (first + k for k, text in enumerate(lines) if text.rstrip().endswith("# here"))
    torch.manual_seed(0)
    with pytest.raises((UnsupportedModel, BadInput)) as caught:
        neurocompile.save(made().eval(), tmp_path / "model.pt", torch.rand(3, 2, 4, 4), layout="N", timesteps=T)
    check(caught.value, f"{Path(__file__).name}:{line}", what, fix)
    assert list(tmp_path.iterdir()) == []


def check(error: NeurocompileError, place: str, what: str, fix: str) -> None:
    problem = error.problems[0]
    assert place in problem.where, problem
    assert what in problem.what, problem
    assert fix in problem.fix, problem
    assert not INTERNAL.search(str(error)), error


class Whole(Net):
    def forward(self, x: torch.Tensor) -> Any:
        return sum(self.step(self.conv(x)) for _ in range(T)) / T


X = torch.rand(3, 2, 4, 4)
MISUSES: dict[str, tuple[Callable[[Path], None], type[NeurocompileError], str]] = {
    "a function": (lambda path: save(lambda x: x, path), UsageError, "a function is no model"),
    "a class": (lambda path: save(Whole, path), UsageError, "the class Whole is no model"),
    "weights": (lambda path: save(Whole().state_dict(), path), UsageError, "a OrderedDict is no model"),
    "a script": (lambda path: save(torch.jit.script(nn.ReLU()), path), UsageError, "no model"),
    "steps as text": (lambda path: save(Whole().eval(), path, timesteps="4"), UsageError, "timesteps cannot be this"),
    "no steps": (lambda path: save(Whole().eval(), path, timesteps=0), UsageError, "timesteps cannot be this"),
    "no sample": (lambda path: save(Whole().eval(), path, X[:0]), BadInput, "has no sample"),
    "no tensor": (lambda path: save(Whole().eval(), path, 1.0), BadInput, "a float is no example"),
    "one too many": (lambda path: save(Whole().eval(), path, (X, X)), BadInput, "2 tensors, and forward takes 1"),
}


def save(model: Any, path: Path, x: Any = X, timesteps: Any = T) -> None:
    neurocompile.save(model, path, x, layout="N", timesteps=timesteps)


@pytest.mark.parametrize("name", MISUSES)
def test_what_is_no_model_no_example_and_no_number_of_steps(name: str, tmp_path: Path) -> None:
    misuse, kind, what = MISUSES[name]
    with pytest.raises(kind, match=what) as caught:
        misuse(tmp_path / "model.pt")
    assert all(problem.fix for problem in caught.value.problems)
    assert list(tmp_path.iterdir()) == []


def test_an_example_of_numpy(tmp_path: Path) -> None:
    save(Whole().eval(), tmp_path / "model.pt", X.numpy())
    assert (tmp_path / "model.pt").exists()
