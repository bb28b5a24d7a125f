"""What a live network fires, seen below Python: its comparisons; and weights set so that every layer of it fires."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["HIGHEST", "LOWEST", "Meter", "Site", "calibrate", "in_float64"]

LOWEST, HIGHEST = 0.02, 0.8
"""The share of its chances to fire that every layer is brought between."""

_COMPARISONS = {"gt": True, "ge": True, "heaviside": True, "lt": False, "le": False}  # what of them fires
_NUMBERS = {"_to_copy", "where", "mul"}  # what makes numbers of a comparison
_WEIGHTS = {
    "convolution", "mm", "addmm", "bmm", "native_batch_norm", "t", "transpose", "permute", "view", "unsqueeze", "mean",
}  # fmt: skip
_RANDOM = {"rand", "rand_like", "randn", "randn_like", "bernoulli", "normal", "poisson"}
_TRIES = 14
_PASSES = 400


@dataclass
class Site:
    """Where a forward compares a tensor of one shape: usually the spikes of one layer."""

    source: str | None  # the module whose weights came last before the first of them
    shape: tuple[int, ...]
    fired: list[torch.Tensor] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Spikes a neuron and step."""
        return float(np.mean([fired.double().mean().item() for fired in self.fired]))

    def candidates(self, samples: int, timesteps: int) -> Iterator[np.ndarray]:
        """What may be the spikes of one layer, ``[N, T, ...]``: comparisons may be made more than once a step."""
        for fired in self.fired:
            if fired.shape[:2] == (timesteps, samples):
                yield fired.transpose(0, 1).numpy()
            if fired.shape[:2] == (samples, timesteps):
                yield fired.numpy()
        times, rest = divmod(len(self.fired), timesteps)
        if rest or self.fired[0].shape[0] != samples:
            return
        for j in range(times):
            yield torch.stack(self.fired[j * timesteps : (j + 1) * timesteps], 1).numpy()
            if times > 1:
                yield torch.stack(self.fired[j::times], 1).numpy()


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the comparisons of what runs within it, by the weights that came before them.

    Those that numbers are made of are spikes; the others count where a network has none of these.
    """

    def __init__(self, net: nn.Module, samples: int, timesteps: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batches = {samples, timesteps, samples * timesteps}
        self._owners: dict[int, tuple[str, bool]] = {}
        for name, module in net.named_modules():
            for own, parameter in module.named_parameters(recurse=False):
                norm = isinstance(module, _BatchNorm)
                if parameter.ndim >= 2 or norm:
                    whole = f"{name}.{own}" if isinstance(module, nn.ParameterList | nn.ParameterDict) else name
                    self._owners[parameter.untyped_storage().data_ptr()] = whole, norm
        self._source: str | None = None
        self._seen: list[tuple[str | None, Any, torch.Tensor, bool]] = []
        self._numbers: set[int] = set()
        self._draws: dict[Any, list[torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _RANDOM:
            self._draws.setdefault(_place(), []).append(out.detach().clone())
        for x in args:
            if isinstance(x, torch.Tensor):
                owner, norm = self._owners.get(x.untyped_storage().data_ptr(), (None, False))
                if owner is not None and (norm or name in _WEIGHTS):
                    self._source = owner
                if x.dtype is torch.bool and name in _NUMBERS:
                    self._numbers.add(id(x))
        if name in _COMPARISONS and _is_real(args[0]) and out.ndim >= 2 and out.shape[0] in self._batches:
            self._seen.append((self._source, _place(), out, _COMPARISONS[name]))
            if name == "heaviside":
                self._numbers.add(id(out))
        return out

    @property
    def draws(self) -> dict[str, list[torch.Tensor]]:
        """What was drawn at random, by the names that a program has for it: each place in the code is an input."""
        names = ["random", *(f"random.{k}" for k in range(2, len(self._draws) + 1))]
        return dict(zip(names, self._draws.values()))

    @property
    def sites(self) -> list[Site]:
        """Where spikes were, in order: behind the same weights."""
        return self._grouped(lambda source, place: source)

    @property
    def places(self) -> list[Site]:
        """The same by the place in the code: a neuron may fire before its weights are read."""
        return self._grouped(lambda source, place: place)

    def _grouped(self, key: Callable[[Any, Any], Any]) -> list[Site]:
        found: dict[Any, Site] = {}
        for source, place, out, fires in self._seen:
            if id(out) in self._numbers or not self._numbers:
                site = found.setdefault((key(source, place), tuple(out.shape)), Site(source, tuple(out.shape)))
                site.fired.append(out.bool() if fires else ~out.bool())
        return list(found.values())


def _place() -> Any:
    """The innermost module that runs, and the calls on the way there."""
    calls, module, frame = [], None, sys._getframe(2)
    while frame is not None:
        calls.append((frame.f_code.co_filename, frame.f_lasti))
        if module is None and frame.f_code.co_argcount:
            owner = frame.f_locals.get(frame.f_code.co_varnames[0])
            module = id(owner) if isinstance(owner, nn.Module) else None
        frame = frame.f_back
    return module, tuple(calls)


def _is_real(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


class _Float64(TorchFunctionMode):
    """What is made float32 on the way is made float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        return func(*map(_wide, args), **{key: _wide(x) for key, x in (kwargs or {}).items()})


def _wide(x: Any) -> Any:
    """Float64 for float32; also of weights that no list of modules knows of."""
    if x is torch.float32:
        return torch.float64
    return x.double() if isinstance(x, nn.Parameter) and x.dtype is torch.float32 else x


@contextmanager
def in_float64() -> Iterator[None]:
    """Forwards in float64 also where their code says float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(before)


def calibrate(
    net: nn.Module, run: Callable[[nn.Module], Any], samples: int, timesteps: int, seed: int
) -> dict[str, float]:
    """Set batch norms to what they meet, then scale weights layer by layer until every layer fires within bounds.

    Args:
        net: in eval mode, at rest; its weights are changed in place.
        run: runs a network that is at rest, and leaves it in any state.
        samples: N of what it is run on.
        timesteps: T.
        seed: of the random scales and shifts of the batch norms.

    Returns:
        The firing rate of each layer (spikes a neuron and step), by the path of the weights before it.
    """

    def fired() -> list[Site]:
        at_rest = copy.deepcopy(net)
        with torch.no_grad(), Meter(at_rest, samples, timesteps) as meter:
            run(at_rest)
        sites: list[Site] = meter.sites
        return sites

    _set_norms(net, run, seed)
    tries: dict[Any, list[float]] = {}
    for _ in range(_PASSES):
        wrong = [
            site
            for site in fired()
            if site.source is not None and not LOWEST <= site.rate <= HIGHEST
            and len(tries.get((site.source, site.shape), ())) < _TRIES
        ]  # fmt: skip
        if not wrong:
            break
        before = tries.setdefault((wrong[0].source, wrong[0].shape), [])
        before.append(wrong[0].rate)
        _scale(net, wrong[0].source or "", _factor(before))
    return {f"{site.source or 'input'} {list(site.shape[1:])}": site.rate for site in fired()}


def _factor(rates: list[float]) -> float:
    """Larger weights fire more, unless the last tries say that they fire less."""
    up = rates[-1] < LOWEST
    if len(rates) >= 4 and abs(rates[-1] - 0.4) > abs(rates[-4] - 0.4):
        up = not up
    return 1.5 if up else 0.62


def _scale(net: nn.Module, source: str, factor: float) -> None:
    above, _, last = source.rpartition(".")
    listed = isinstance(net.get_submodule(above), nn.ParameterList | nn.ParameterDict)
    module = net.get_submodule(above if listed else source)
    with torch.no_grad():
        for name, parameter in module.named_parameters(recurse=False):
            if name == last if listed else parameter.ndim >= 2 or isinstance(module, _BatchNorm) or name == "bias":
                parameter.mul_(factor)


def _set_norms(net: nn.Module, run: Callable[[nn.Module], Any], seed: int) -> None:
    """Running statistics of what each batch norm meets; scales and shifts that differ from channel to channel."""
    numbers = torch.Generator().manual_seed(seed)
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        if norm.affine and norm.weight is not None:
            with torch.no_grad():
                norm.weight.mul_(torch.rand(norm.weight.shape, generator=numbers) * 0.5 + 0.75)
                if not norm.weight.any():  # many start a residual branch at zero
                    norm.weight.copy_(torch.rand(norm.weight.shape, generator=numbers) * 0.5 + 0.25)
                if norm.bias is not None:
                    norm.bias.add_(torch.randn(norm.bias.shape, generator=numbers) * 0.2 * norm.weight.abs().mean())
    copied = copy.deepcopy(net)
    for module in copied.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        run(copied)
    met = [module for module in copied.modules() if isinstance(module, _BatchNorm)]
    for norm, other in zip(norms, met, strict=True):
        if norm.track_running_stats and other.num_batches_tracked is not None and int(other.num_batches_tracked):
            norm.running_mean, norm.running_var = copy.deepcopy((other.running_mean, other.running_var))
