"""Untrained networks that fire as trained ones do, for measurements: batch norms set by what reaches them.

Such a network computes nothing sensible; its sizes, rates and costs are those of a trained one. What is made this way
is called synthetic wherever its figures are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from neurocompile.frontends.pytorch import is_registered
from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.versions import classes

__all__ = ["calibrate", "firing_rates", "randomize"]

# What fires: of SpikingJelly, and of the MPBN paper.
NEURONS = (*classes(neuron, "BaseNode", "SimpleBaseNode", "DSRIFNode", "DSRLIFNode"), MPBNLIF)


def randomize(module: nn.Module, seed: int) -> None:
    """Affine parameters of batch norms at random, so that channels differ in their rates."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
                part.weight.copy_(1 + 0.15 * torch.randn(part.weight.shape, generator=random)).abs_()
                part.bias.copy_(0.15 * torch.randn(part.bias.shape, generator=random))


def calibrate(
    module: nn.Module, inputs: Sequence[Tensor], low: float = 0.10, high: float = 0.15, rounds: int = 6
) -> dict[str, float]:
    """Set batch norms, one layer after the other, until every layer of neurons fires between ``low`` and ``high``.

    Each batch norm gets the mean and variance of what reaches it. Each layer of neurons then gets one number on top of
    its currents, which is added to the bias of the layer that they come from (MPBN: of the norm on the membrane);
    where none has as many channels (concatenated currents), its threshold is moved instead.

    Args:
        module: in eval mode; changed in place.
        inputs: as its forward takes them.
        low: the lowest share of spikes.
        high: the highest.
        rounds: through the whole network, at most. Parts that hear themselves are set one after the other, each by a
            run of its own.

    Returns:
        The firing rate of each layer, as measured at the end.
    """
    paths = _neurons(module)
    rates: dict[str, float] = {}
    stepped = sum(_stepped(p) for p in module.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm))
    stepped += sum(_stepped(node) for node in paths.values())
    for _ in range(rounds):
        for number in range(max(1, stepped)):
            with torch.no_grad():
                _Pass(module, paths, (low + high) / 2, (high - low) / 20).run([x.clone() for x in inputs], number)
        rates = firing_rates(module, inputs)
        if all(low <= rate <= high for rate in rates.values()):
            break
    return rates


def firing_rates(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, float]:
    """The share of places and steps that fired, of each layer of neurons."""
    fired: dict[str, list[float]] = {}

    def hear(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda node, args, output: fired.setdefault(path, []).append(float((output != 0).double().mean()))

    handles = [node.register_forward_hook(hear(path)) for path, node in _neurons(module).items()]
    with torch.no_grad():
        functional.reset_net(module)
        module(*inputs)
        functional.reset_net(module)
    for handle in handles:
        handle.remove()
    return {path: sum(rates) / len(rates) for path, rates in fired.items()}


def _neurons(module: nn.Module) -> dict[str, nn.Module]:
    return {p: m for p, m in module.named_modules() if isinstance(m, NEURONS) or is_registered(m)}


class _Pass:
    """One run through a network, in which every layer is set before the next one runs.

    Layers that are called once a step (in a loop) are set when the run is over, from all their steps together; of these
    only one, since it changes what all others hear.
    """

    def __init__(self, module: nn.Module, neurons: dict[str, nn.Module], middle: float, enough: float) -> None:
        self.module = module
        self.neurons = neurons
        self.middle, self.enough = middle, enough
        self.last: nn.Module | None = None  # with a bias that ran
        self.stepped: dict[nn.Module, list[Tensor]] = {}
        self.sources: dict[nn.Module, nn.Module | None] = {}

    def run(self, inputs: Sequence[Tensor], which: int) -> None:
        handles = []
        inside = {id(node) for layer in self.neurons.values() for node in layer.modules()}
        for part in self.module.modules():
            if id(part) in inside:
                continue
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                handles.append(part.register_forward_pre_hook(self._norm))
            if isinstance(getattr(part, "bias", None), nn.Parameter):
                handles.append(part.register_forward_hook(self._remember))
        handles += [node.register_forward_pre_hook(self._fire) for node in self.neurons.values()]
        functional.reset_net(self.module)
        self.module(*inputs)
        functional.reset_net(self.module)
        for handle in handles:
            handle.remove()
        for part, steps in list(self.stepped.items())[which : which + 1]:
            together = torch.stack(steps)
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                _statistics(part, together, 2)
            else:
                self._set(part, together)

    def _norm(self, part: nn.Module, args: Any) -> None:
        assert isinstance(part, nn.modules.batchnorm._BatchNorm)
        if _stepped(part):
            self.stepped.setdefault(part, []).append(args[0].clone())
        else:
            _statistics(part, args[0], _channels(part, args[0]))

    def _remember(self, part: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self.last = part

    def _fire(self, node: nn.Module, args: Any) -> None:
        (current,) = args
        axis = 1 if _stepped(node) else 2
        last: Any = self.last
        fits = last is not None and current.ndim > axis and last.bias.numel() == current.shape[axis]
        self.sources[node] = last if fits else None
        if _stepped(node):
            self.stepped.setdefault(node, []).append(current.clone())
        else:
            current += self._set(node, current)

    def _set(self, node: nn.Module, current: Tensor) -> float:
        """Move a layer's currents (or its threshold) until it fires; returns what was added to its currents."""
        if isinstance(node, MPBNLIF):
            u, seq = torch.zeros_like(current[0]), []
            for c in current:
                u = node.tau * u + c
                seq.append(u)
            membranes = torch.stack(seq)
            flat = membranes.flatten(2) if node.element_wise_shape is not None else membranes
            _statistics(node.vbn, flat, 2)
            start = node.vbn.bias.clone()

            def with_bias(c: float) -> Tensor:
                node.vbn.bias.copy_(start + c)
                return current

            with_bias(self._found(node, with_bias))
            return 0.0
        source = self.sources.get(node)
        if source is None:
            threshold = torch.as_tensor(node.v_threshold).clone()

            def with_threshold(c: float) -> Tensor:
                _put(node, threshold * 2.0**-c)
                return current

            with_threshold(self._found(node, with_threshold))
            return 0.0
        shift = self._found(node, lambda c: current + c)
        source.bias += shift  # type: ignore[operator, assignment]
        return shift

    def _found(self, node: nn.Module, given: Callable[[float], Tensor]) -> float:
        """By bisection: the firing rate grows with the number."""
        least, most, shift = -16.0, 16.0, 0.0
        for _ in range(30):
            shift = (least + most) / 2
            rate = self._rate(node, given(shift))
            if abs(rate - self.middle) < self.enough:
                break
            least, most = (shift, most) if rate < self.middle else (least, shift)
        return shift

    def _rate(self, node: nn.Module, current: Tensor) -> float:
        hooks, node._forward_pre_hooks = node._forward_pre_hooks, type(node._forward_pre_hooks)()
        functional.reset_net(node)
        mode = getattr(node, "step_mode", "m")
        if mode == "s":
            fired = torch.stack([node(c) for c in current])
        else:
            fired = node(current)
        functional.reset_net(node)
        node._forward_pre_hooks = hooks
        return float((fired != 0).double().mean())


def _stepped(part: nn.Module) -> bool:
    """Whether a part of a multi-step network takes one step a call."""
    return getattr(part, "step_mode", "m") == "s"


def _channels(part: nn.Module, x: Tensor) -> int:
    return 2 if getattr(part, "step_mode", "s") == "m" else 1


def _statistics(norm: Any, x: Tensor, axis: int) -> None:
    variance, mean = torch.var_mean(x, [d for d in range(x.ndim) if d != axis], correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance.clamp(min=1e-6))


def _put(node: Any, threshold: Tensor) -> None:
    if isinstance(node.v_threshold, nn.Parameter):
        node.v_threshold.data.copy_(threshold)
        return
    node.v_threshold = float(threshold) if not isinstance(node.v_threshold, Tensor) else threshold
