"""Modules that a host computes: how users mark them, what stands for one in a file; tensors with the batch first."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from neurocompile.frontends.base import Carries
from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.hosted.session import HostSession
from neurocompile.ir.host import HostRegion

__all__ = ["Carries", "OnHost", "arranged", "batch_first", "carries_of", "host", "is_host", "time_of"]

Class = TypeVar("Class", bound=type[nn.Module])
_marked: dict[type[nn.Module], tuple[Carries, int | None]] = {}


def host(cls: Class | None = None, *, carries: Carries = "real", time: int | None = None) -> Any:
    """Mark a class of modules that a host computes: ``@neurocompile.host`` or ``@neurocompile.host(carries="spikes")``.

    Its forward takes tensors and returns one; it keeps no state between calls, draws no random numbers (these are
    inputs of the network), and torch.onnx can export it. Where it is called for one step at a time (layout "loop", or
    within a :class:`neurocompile.vocabulary.feedback.Feedback`) it is a region of one step.

    Args:
        cls: the class.
        carries: "spikes" if what it returns is 0 or 1 and goes to synapses as spikes.
        time: which axis of its result is time; only needed where it makes the steps itself and the batch comes first.
    """

    def mark(cls: Class) -> Class:
        _marked[cls] = carries, time
        return cls

    return mark if cls is None else mark(cls)


def is_host(module: nn.Module) -> bool:
    """Whether a module's class was marked with :func:`host` (or stands for such a one in a loaded file)."""
    return type(module) in _marked or isinstance(module, OnHost)


class OnHost(nn.Module):
    """Stands for a marked module in a model that was loaded: its ONNX is known, its code is not."""

    def __init__(self, region: HostRegion, axes: Sequence[Axes], result_axes: Axes, steps: int) -> None:
        super().__init__()
        self.region = region
        self.axes = [tuple(names) for names in axes]
        self.result_axes = tuple(result_axes)
        self.steps = steps
        self._session: list[HostSession] = []

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """What ONNX Runtime computes."""
        if not self._session:
            self._session.append(HostSession(self.region, self.steps))
        whole = [batch_first(v, a, self.steps).detach().double().numpy() for v, a in zip(values, self.axes)]
        alone = self.region.per_step and not any("T" in name for name in self.result_axes)
        if alone:  # one step a call
            whole = [x[:, None] for x in whole]
        result = torch.from_numpy(self._session[0](whole))
        return arranged(result[:, 0] if alone else result, self.result_axes)

    def __deepcopy__(self, memo: Any) -> OnHost:
        made = OnHost(self.region, self.axes, self.result_axes, self.steps)
        for name, child in self.named_children():  # later calls of the same module
            made.add_module(name, copy.deepcopy(child, memo))
        return made


def carries_of(module: nn.Module) -> Carries:
    """What a marked module returns; "real" for others."""
    return module.region.carries if isinstance(module, OnHost) else _marked.get(type(module), ("real", None))[0]


def time_of(module: Any) -> int | None:
    """Which axis of a marked module's result is time, where its author says so."""
    if isinstance(module, OnHost):
        names = module.result_axes
        return next((i for i, name in enumerate(names) if name in ("T", "TN")), None)
    return _marked.get(type(module), ("real", None))[1]


def _apart(axes: Axes) -> list[str]:
    """The names of the axes once time and batch are apart and axes of size one are gone."""
    return [part for name in axes if name != "1" for part in (("T", "N") if name == "TN" else (name,))]


def batch_first(x: torch.Tensor, axes: Axes, steps: int) -> torch.Tensor:
    """``[N, (T,) *features]`` from a tensor with these axes; time only if there is any."""
    for i in reversed([i for i, name in enumerate(axes) if name == "1"]):
        x = x.squeeze(i)
    names = [name for name in axes if name != "1"]
    if "TN" in names:
        x = torch.unflatten(x, names.index("TN"), (steps, -1))
    names = _apart(axes)
    lead = [names.index(name) for name in ("N", "T") if name in names]
    return x.permute(*lead, *(i for i, name in enumerate(names) if name == "F"))


def arranged(x: torch.Tensor, axes: Axes) -> torch.Tensor:
    """A tensor ``[N, (T,) *features]`` with these axes."""
    names = _apart(axes)
    lead = [name for name in ("N", "T") if name in names]
    feature = iter(range(len(lead), x.ndim))
    x = x.permute(*(lead.index(name) if name in lead else next(feature) for name in names))
    for i, name in enumerate(axes):
        if name == "TN":
            x = x.flatten(i, i + 1)
        elif name == "1":
            x = x.unsqueeze(i)
    return x
