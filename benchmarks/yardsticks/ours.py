"""The networks of the yardsticks as modules of torch and SpikingJelly, lowered and cut by this project."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from benchmarks.mapping import soft_resets_of
from benchmarks.yardsticks.networks import Network, Part, shapes
from neurocompile.frontends import live_model
from neurocompile.ir.ops import Integrator
from neurocompile.ir.placed import Placed
from neurocompile.mapping import cut_boxes
from neurocompile.passes import REAL_PASSES, FoldScale, Synapses, run_passes
from neurocompile.targets import load_target
from neurocompile.vocabulary.feedback import Feedback

__all__ = ["counted", "cut", "module"]

BITS = 8
_CONV = {1: layer.Conv1d, 2: layer.Conv2d}
_POOL = {1: layer.AvgPool1d, 2: layer.AvgPool2d}


class _Heard(nn.Module):
    """A layer of neurons that reads what it fired at the step before, by a matrix of its own; one step."""

    def __init__(self, inputs: int, size: int, fire: nn.Module) -> None:
        super().__init__()
        self.forth, self.back, self.fire = nn.Linear(inputs, size, bias=False), nn.Linear(size, size, bias=False), fire

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """One step."""
        fired: Tensor = self.fire(self.forth(x) + self.back(last))
        return fired


def module(network: Network) -> nn.Module:
    """The network with random weights, in eval mode, for inputs ``[T, N, ...]``."""
    reset = None if network.compartments == 2 else 0.0
    parts: list[nn.Module] = []
    if network.input_neurons:
        parts.append(neuron.IFNode(v_reset=reset, step_mode="m"))
    given = network.given
    for part, shape in zip(network.parts, shapes(network)):
        parts += _part(part, given, reset)
        given = shape
    net = nn.Sequential(*parts).eval().requires_grad_(False)
    random = np.random.default_rng(0)
    for weight in net.parameters():
        weight.copy_(torch.from_numpy(random.normal(0.1, 1.0, tuple(weight.shape))))
    return net


def _part(part: Part, given: tuple[int, ...], reset: float | None) -> list[nn.Module]:
    if part.recurrent:
        fire = neuron.IFNode(v_reset=reset, step_mode="s")
        return [Feedback(_Heard(prod(given), part.size, fire), (part.size,))]
    before: list[nn.Module] = []
    feeds: nn.Module
    if part.pool:
        feeds = _POOL[len(part.kernel)](part.kernel, part.stride, step_mode="m")
    elif part.kernel:
        feeds = _CONV[len(part.kernel)](
            given[0], part.size, part.kernel, part.stride, part.padding,
            groups=given[0] if part.depthwise else 1, bias=False, step_mode="m",
        )  # fmt: skip
    else:
        before = [layer.Flatten(step_mode="m")] if len(given) > 1 else []
        feeds = layer.Linear(prod(given), part.size, bias=False, step_mode="m")
    return [*before, feeds, neuron.IFNode(v_reset=reset, step_mode="m")]


def cut(network: Network, target: str) -> tuple[Placed, Placed]:
    """The network in synaptic form, on cores: one layer a core, as for others, and packed. Its inputs are spikes."""
    torch.set_num_threads(1)
    spikes = (np.random.default_rng(1).random((1, 1, *network.given)) < 0.1).astype(np.float64)
    model = live_model(
        module(network), {"0": spikes}, input_shape={"0": network.given}, timesteps=1, layout="TN", carries="spikes"
    )
    graph, _ = run_passes(model.graph, REAL_PASSES)
    graph, _ = run_passes(graph, (FoldScale("fold-scale-2"), Synapses(event_sums=False)))
    sums = frozenset(node.name for node in graph.of(Integrator))  # what a reader outside makes of the last spikes
    chip = load_target(target)
    limits, soft = chip.limits, soft_resets_of(graph, chip, sums)
    assert bool(soft) == (network.compartments == 2)
    alone, packed = (
        cut_boxes(graph, replace(limits, packing=packing), target, weight_bits=BITS, host=sums, soft_resets=soft)
        for packing in (False, limits.packing)
    )
    return alone, packed


def counted(network: Network, target: str) -> dict[str, Any]:
    """How many cores it takes, in all and layer by layer, and what binds."""
    before = time.process_time()
    placed, packed = cut(network, target)
    bound: Counter[str] = Counter()
    for each in placed.layers:
        bound[each.bound or "nothing"] += each.cores
    return {
        "name": network.name,
        "cores": len(placed.cores),
        "packed": len(packed.cores),
        "neurons": sum(core.neurons for core in placed.cores),
        "by_layer": [each.cores for each in placed.layers],
        "blocks": [list(each.block) for each in placed.layers],
        "bound": dict(bound),
        "too_large": [f"{each.layer} ({each.resource})" for each in placed.excesses],
        "seconds": time.process_time() - before,
    }
