"""A case is a body of forward with what it adds to a module; here are its registry, its module and its reference."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

T = 4
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """exact: True, it has to come out exact; False, exact or refused; "refused", nothing but a refusal is right."""

    body: Callable[[Net, torch.Tensor], torch.Tensor]
    init: Callable[[Net], Any] | None
    exact: bool | Literal["refused"]
    layout: str  # one of docs/model-files.md
    timesteps: int
    shape: tuple[int, ...]
    averaged: int | None  # this axis of what forward returns is time, over which a program's output is the mean
    around: Callable[[], contextlib.AbstractContextManager[Any]]  # what holds while the live module runs and is saved

    @property
    def name(self) -> str:
        return self.body.__name__

    @property
    def file(self) -> str:
        return Path(self.body.__code__.co_filename).name

    def build(self) -> Net:
        torch.manual_seed(0)
        return Net(self.body, self.init).eval()

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The example that is saved, and a fresh batch of another size and range."""
        made = torch.Generator().manual_seed(1)
        return self._random(3, made), self._random(5, made) * 1.5

    def _random(self, batch: int, made: torch.Generator) -> torch.Tensor:
        first = {"TN": (self.timesteps, batch), "NT": (batch, self.timesteps), "fold": (self.timesteps * batch,)}
        return torch.rand(*first.get(self.layout, (batch,)), *self.shape, generator=made)

    def samples(self, x: torch.Tensor) -> np.ndarray:
        """The inputs as a program takes them: [N, T, ...], or [N, ...] where every step is given the same."""
        if self.layout == "fold":
            x = x.unflatten(0, (self.timesteps, -1))
        return (x.transpose(0, 1) if self.layout in ("TN", "fold") else x).contiguous().numpy()

    def live(self, x: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What a module of its own gives in float64, from rest; and the random numbers that it drew, as inputs."""
        net = self.build()
        functional.reset_net(net)
        net.double()
        draws = Draws()
        with torch.no_grad(), self.around(), draws:
            calls = self.timesteps if self.layout == "loop" else 1
            out = torch.stack([net(x.double().clone()) for _ in range(calls)])
            out = out.mean(0) if calls > 1 else out[0]
        return (out if self.averaged is None else out.mean(self.averaged)).numpy(), draws.inputs()


class Draws(TorchDispatchMode):
    """Keeps what is drawn, by the call in the case's code that draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[tuple[str, int], list[torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("rand", "rand_like", "randn", "randn_like", "bernoulli"):
            frame = sys._getframe(1)
            while Path(frame.f_code.co_filename).parent != Path(__file__).parent:
                assert frame.f_back is not None
                frame = frame.f_back
            self.drawn.setdefault((frame.f_code.co_name, frame.f_lasti), []).append(out.double().clone())
        return out

    def inputs(self) -> dict[str, np.ndarray]:
        """What each call drew under the name of a program's input: [N, ...], or [N, T, ...] if it ran at every step."""
        stacked = [(each[0] if len(each) == 1 else torch.stack(each, 1)).numpy() for each in self.drawn.values()]
        return {"random" if k == 0 else f"random.{k + 1}": x for k, x in enumerate(stacked)}


def case(
    exact: bool | Literal["refused"] = True,
    init: Callable[[Net], Any] | None = None,
    *,
    layout: str = "N",
    timesteps: int = T,
    shape: tuple[int, ...] = (2, 8, 8),
    averaged: int | None = None,
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]:
    """Keep a body of forward under its own name."""

    def keep(body: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        assert body.__name__ not in CASES, f"two cases are called {body.__name__}"
        CASES[body.__name__] = Case(body, init, exact, layout, timesteps, shape, averaged, around)
        return body

    return keep


class Net(nn.Module):
    """Layers for 2 x 8 x 8 inputs, neurons that take a step a call (`one`, `two`) or all steps (`lif`, `lif2`)."""

    def __init__(self, body: Callable[..., torch.Tensor], init: Callable[[Net], Any] | None) -> None:
        super().__init__()
        self.conv, self.conv6 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.conv_valid = nn.Conv2d(2, 6, 3)
        self.fc, self.mix, self.head = nn.Linear(6 * 64, 5), nn.Linear(5, 5), nn.Linear(6, 5)
        for layer, low, high in ((self.conv, 0.0, 0.4), (self.conv6, 0.0, 0.2), (self.fc, 0.05, 0.25)):
            nn.init.uniform_(layer.bias, low, high)
        nn.init.uniform_(self.fc.weight, -0.15, 0.15)
        self.bn = nn.BatchNorm2d(6)
        nn.init.uniform_(self.bn.weight, 0.5, 1.5)
        nn.init.normal_(self.bn.bias, 0.1, 0.2)
        self.bn.running_mean.uniform_(-0.1, 0.1)
        self.bn.running_var.uniform_(0.3, 0.9)
        self.lif, self.lif2 = (neuron.LIFNode(v_threshold=0.2, step_mode="m") for _ in range(2))
        self.one, self.two = neuron.LIFNode(v_threshold=0.2), neuron.IFNode(v_threshold=0.15)
        self._body = body
        if init is not None:
            init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._body(self, x)


def several(*inits: Callable[[Net], Any]) -> Callable[[Net], None]:
    """One init that does what all of these do."""

    def init(m: Net) -> None:
        for each in inits:
            each(m)

    return init


def adds(**made: Callable[[], Any]) -> Callable[[Net], None]:
    """An init that gives the module these attributes."""

    def init(m: Net) -> None:
        for name, make in made.items():
            setattr(m, name, make())

    return init


@contextlib.contextmanager
def removed(register: Callable[..., Any], hook: Callable[..., Any]) -> Iterator[None]:
    """A hook for as long as this context."""
    handle = register(hook)
    try:
        yield
    finally:
        handle.remove()


def times(x: torch.Tensor, steps: int = T) -> torch.Tensor:
    """[N, ...] -> [T, N, ...], every step the same."""
    return x.unsqueeze(0).repeat(steps, *[1] * x.dim())


def vote(m: Net, current: torch.Tensor) -> torch.Tensor:
    """[T, N, 6, 8, 8] -> spikes -> [N, 5], the mean over time."""
    return m.fc(m.lif(current).flatten(2)).mean(0)


def static(m: Net, y: torch.Tensor) -> torch.Tensor:
    """The same current at every step, [N, 6, 8, 8] -> [N, 5]."""
    return vote(m, times(y))


def step(m: Net, x: torch.Tensor) -> torch.Tensor:
    """One step of a network with two layers of neurons: [N, 2, 8, 8] -> [N, 5]."""
    return m.two(m.fc(m.one(m.conv(x)).flatten(1)))
