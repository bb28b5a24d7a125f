"""Random graphs of operations as modules of torch, one step a call: networks that are drawn as graphs become models."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base
from torch import Tensor, nn

import neurocompile
from neurocompile.ir import Graph, ops
from tests.random_networks.engine import random_graph
from tests.random_networks.loihi import deep_network
from tests.random_networks.nc1 import random_case
from tests.recorded.case import Given

__all__ = ["OfGraph", "chip", "deep", "wired"]


class Stateful(base.MemoryModule):
    """An operation with a state, by its equation."""

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op = op
        self.register_memory("state", None)

    def single_step_forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@neurocompile.neuron(lambda m: m.op, layout="loop")
class General(Stateful):
    """Any neuron of the equation."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        op, zero = self.op, torch.zeros_like(x)
        v, i, wait, fired = self.state or (zero + _tensor(op.v_init, x), zero, zero, zero > 0)
        i = _tensor(op.current_decay, x) * i + x + _tensor(op.input_bias, x)
        heard = torch.where(fired, zero, i) if op.deaf else i
        h = _tensor(op.decay, x) * v + _tensor(op.gain, x) * heard + _tensor(op.bias, x)
        threshold = _tensor(op.threshold, x)
        up, down = (h > threshold, h < threshold) if op.strict else (h >= threshold, h <= threshold)
        spikes = torch.where(torch.from_numpy(np.asarray(op.flip)), down, up).to(x.dtype)
        if op.negative_threshold is not None:
            low = _tensor(op.negative_threshold, x)
            spikes = torch.where((h < low if op.strict else h <= low) & (spikes == 0), -1.0, spikes)
        if op.refractory:
            spikes = torch.where(wait != 0, 0.0, spikes)
            rest = torch.maximum(wait - 1, torch.minimum(wait, zero))
            wait = torch.where(spikes != 0, float(op.refractory), rest)
        fired = spikes != 0
        if op.reset == "to":
            v = torch.where(fired, _tensor(op.v_reset, x), h)
        elif op.reset == "by":
            v = torch.where(fired, _tensor(op.keep, x) * h - _tensor(op.amount, x) * spikes, h)
        else:
            v = h
        self.state = v, i, wait, fired
        return _tensor(op.amplitude, x) * spikes


@neurocompile.neuron(lambda m: m.op, layout="loop")
class Membrane(Stateful):
    """An integrator."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        before = torch.zeros_like(x) if self.state is None else self.state
        self.state = _tensor(self.op.decay, x) * before + _tensor(self.op.gain, x) * x + _tensor(self.op.bias, x)
        return self.state


class Late(Stateful):
    """What came some steps ago: read before this step's value is known."""

    def before(self, x: Tensor) -> Tensor:
        kept = self.state or ()
        return kept[0] if len(kept) == self.op.steps else x.new_zeros(x.shape[0], *self.op.shape)

    def keep(self, x: Tensor) -> None:
        self.state = (*(self.state or ()), x)[-self.op.steps :]


class OfGraph(nn.Module):
    """One step of a graph: ``[N, ...]`` of its input to ``[N, ...]`` of its output."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.nodes = [(_word(node.name), node.op, [_word(name) for name in node.inputs]) for node in graph]
        kinds: dict[type, Any] = {ops.Neuron: General, ops.Integrator: Membrane, ops.Delay: Late}
        for name, op, _ in self.nodes:
            if type(op) in kinds:
                self.add_module(name, kinds[type(op)](op))

    def forward(self, x: Tensor) -> Tensor:
        now: dict[str, Tensor] = {}
        for name, op, sources in self.nodes:
            match op:
                case ops.Input():
                    now[name] = x
                case ops.Output():
                    out = now[sources[0]]
                case ops.Delay():
                    now[name] = self.get_submodule(name).before(x)
                case ops.Neuron() | ops.Integrator():
                    now[name] = self.get_submodule(name)(now[sources[0]])
                case _:
                    now[name] = _applied(op, [now[source] for source in sources])
        for name, op, sources in self.nodes:
            if isinstance(op, ops.Delay):
                self.get_submodule(name).keep(now[sources[0]])
        return out


def _word(name: str) -> str:
    """A name that a module may have."""
    return "layer_" + name.replace(".", "_")


def _tensor(value: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(value, np.float64)).to(like.dtype)


def _applied(op: Any, given: list[Tensor]) -> Tensor:
    """An operation without a state, on ``[N, ...]``."""
    x = given[0]
    match op:
        case ops.Add():
            return torch.stack(given).sum(0) if len(given) > 9 else sum(given[1:], x)
        case ops.Concat():
            return torch.cat(given, 1 + op.axis)
        case ops.Reshape():
            return x.reshape(x.shape[0], *op.shape)
        case ops.Scale():
            return _tensor(op.scale, x) * x + _tensor(op.shift, x)
        case ops.Upsample():
            for axis, factor in enumerate(op.factors):
                x = x.repeat_interleave(factor, 2 + axis)
            return x
        case ops.Linear():
            y = F.linear(x, _tensor(op.weight, x))
        case ops.Conv():
            rank = len(op.stride)
            y = (F.conv1d, F.conv2d)[rank - 1](
                _padded(x, op.padding), _tensor(op.weight, x), None, op.stride, 0, op.dilation, op.groups
            )
        case ops.ConvTranspose():
            rank = len(op.stride)
            y = (F.conv_transpose1d, F.conv_transpose2d)[rank - 1](
                x, _tensor(op.weight, x), None, op.stride, op.padding, op.output_padding, op.groups, op.dilation
            )
        case ops.SumPool():
            size = int(np.prod(op.kernel))
            pool: Any = (F.avg_pool1d, F.avg_pool2d)[len(op.kernel) - 1]
            return pool(_padded(x, op.padding), op.kernel, op.stride) * size
        case ops.MaxPool():
            pool = (F.max_pool1d, F.max_pool2d)[len(op.kernel) - 1]
            return pool(_padded(x, op.padding), op.kernel, op.stride, 0, op.dilation)
        case _:
            raise NotImplementedError(op)
    return y if op.bias is None else y + _tensor(op.bias, x)


def _padded(x: Tensor, padding: ops.Pairs) -> Tensor:
    return F.pad(x, tuple(chain(*reversed(padding)))) if np.any(padding) else x


# -- drawn networks ----------------------------------------------------------------------------------------------------


def _files(draw: Callable[[], tuple[Graph, Any, int]]) -> tuple[Given, Given]:
    """A network that is drawn, as ``m.pt``, and inputs for it as ``x.npz``."""

    def model(path: Path) -> None:
        graph, x, timesteps = draw()
        (given,), (read,) = graph.of(ops.Input), graph.of(ops.Output)
        module, example = OfGraph(graph).double().eval(), torch.from_numpy(x[:, 0])
        settings: Any = {"readout": read.op.read, "carries": given.op.carries}
        neurocompile.save(module, path, example, layout="loop", timesteps=timesteps, **settings)

    return Given("m.pt", model), Given("x.npz", lambda path: np.savez(path, x=draw()[1]))


def deep(seed: int) -> tuple[Given, Given]:
    """One of the networks that Lava is held against."""

    def draw() -> tuple[Graph, Any, int]:
        drawn = deep_network(random.Random(seed))
        return drawn.graph, drawn.inputs["x"], drawn.timesteps

    return _files(draw)


def wired(seed: int) -> tuple[Given, Given]:
    """One of the networks that are mapped to cores."""

    def draw() -> tuple[Graph, Any, int]:
        graph = random_graph(random.Random(seed))
        (given,) = graph.of(ops.Input)
        return graph, np.random.default_rng(seed).random((6, 4, *given.op.shape)), 4

    return _files(draw)


def chip(seed: int) -> tuple[Given, Given]:
    """One of the networks that run on nc1's RTL, its integers taken as real numbers."""

    def draw() -> tuple[Graph, Any, int]:
        drawn = random_case(random.Random(seed))
        fraction = 2.0**drawn.program.arithmetic.decay_fraction
        nodes = [replace(node, op=_real(node.op, fraction)) for node in drawn.program.integer]
        return Graph(nodes), drawn.inputs["x"].astype(float), drawn.program.timesteps

    return _files(draw)


def _real(op: Any, fraction: float) -> Any:
    """An operation of an integer graph with real decays, and no shift."""
    if isinstance(op, ops.Neuron | ops.Integrator):
        op = replace(op, decay=op.decay / fraction, gain=op.gain * 2.0**op.shift, shift=0)
    if isinstance(op, ops.Neuron):
        op = replace(op, keep=op.keep / fraction, current_decay=op.current_decay / fraction)
    return replace(op, low=-np.inf, high=np.inf) if isinstance(op, ops.Input) else op
