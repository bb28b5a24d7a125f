"""Random small networks of torch and SpikingJelly: any layer, any neuron, any spelling, any layout of time.

:func:`random_network` draws one from a ``random.Random``: a seeded one, or one that Hypothesis controls (and shrinks).
Its layers are calibrated one after the other, until each fires neither hardly nor nearly always.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.versions import classes
from tests.random_networks.blocks import BLOCKS, Build
from tests.random_networks.choices import HIGH, LOW, Shape
from tests.random_networks.neurons import NEURONS
from tests.random_networks.spellings import Draw, Function, fill

__all__ = ["GRID", "WANTED", "Network", "arranged", "calibrate", "forward", "inputs", "random_network"]

LAYOUTS = ("TN", "TN", "TN", "loop", "loop", "NT", "N..T", "fold", "N")
GRID = "on a grid: membranes that equal their thresholds"


@dataclass
class Network:
    """A module in eval mode and inputs ``[N, T, ...]`` for it; ``cases`` names what it was built from."""

    module: nn.Module
    shapes: dict[str, Shape]
    timesteps: int
    layout: str
    read: str | None
    inputs: dict[str, np.ndarray]
    cases: frozenset[str]
    carries: str = "real"
    edge: str = ""
    sequence: bool = False  # whether what forward returns still has time


# -- whole networks ----------------------------------------------------------------------------------------------------


class Whole(nn.Module):
    """A body over ``[T, N, ...]`` (or one step), what comes before it and what reads it."""

    def __init__(
        self, body: nn.Module, head: nn.Module, layout: str, timesteps: int, encoder: nn.Module, repeat: str
    ) -> None:
        super().__init__()
        self.encoder, self.body, self.head = encoder, body, head
        self.layout, self.timesteps, self.repeat = layout, timesteps, repeat

    def forward(self, x: Tensor) -> Any:
        x = self.encoder(x)
        match self.layout:
            case "NT":
                x = x.transpose(0, 1)
            case "N..T":
                x = x.movedim(-1, 0)
            case "fold":
                x = x.unflatten(0, (self.timesteps, -1))
            case "N":
                x = self._repeated(x)
        return self.head(self.body(x))

    def _repeated(self, x: Tensor) -> Tensor:
        match self.repeat:
            case "repeat":
                return x.unsqueeze(0).repeat(self.timesteps, *(1 for _ in x.shape))
            case "expand":
                return x.unsqueeze(0).expand(self.timesteps, *(-1 for _ in x.shape))
            case "stack":
                return torch.stack([x] * self.timesteps, dim=0)
        raise ValueError(self.repeat)


class Parallel(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self, left: nn.Module, right: nn.Module, merged: nn.Module) -> None:
        super().__init__()
        self.left, self.right, self.merged = left, right, merged

    def forward(self, image: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        y = self.left(image)
        return self.merged(y + self.right(context)), y


def _input_shape(draw: Draw, wanted: str) -> Shape:
    stem = draw.pick(("2-d", "2-d", "1-d", "flat", "flat"))
    if wanted in ("transpose", "upsample", "channel mean") or "-pool" in wanted:
        stem = draw.pick(("1-d", "2-d"))
    elif wanted.startswith("MPBN"):
        stem = draw.pick(("flat", "2-d"))
    elif wanted == "linear recurrent":
        stem = "flat"
    elif wanted == "3-d":
        stem = wanted
    return STEMS[stem](draw)


def _series(b: Build, shape: Shape, layout: str) -> tuple[nn.Module, str | None]:
    """Blocks one after the other, and a head."""
    draw, modules = b.draw, []
    encoder: nn.Module = nn.Identity()
    if layout == "N" and len(shape) in (1, 3) and draw.chance(50):
        draw.mark("a layer before time begins")
        if len(shape) == 1:
            encoder, shape = nn.Sequential(nn.Linear(shape[0], 4), nn.BatchNorm1d(4)), (4,)
        else:
            encoder = nn.Sequential(nn.Conv2d(shape[0], 2, 3, padding=1), nn.BatchNorm2d(2))
            shape = (2, *shape[1:])
        fill(encoder.double(), draw)
    if len(shape) == 4:
        norm, source = b.batch_norm(shape)
        modules += [norm, b.neuron(shape, [source]), b.flatten(shape)]
        shape = (int(np.prod(shape)),)
    for number in range(draw.whole(1, 3)):
        kind = b.wanted if number == 0 and b.wanted in BLOCKS else draw.pick(tuple(BLOCKS))
        block = BLOCKS[kind](b, shape) or BLOCKS["plain"](b, shape)
        shape = b.shape_after(block, shape)
        modules.append(block)
        if len(shape) > 1 and draw.chance(20):
            modules.append(b.flatten(shape))
            shape = (int(np.prod(shape)),)
        if min(shape) == 0 or int(np.prod(shape)) > 400:
            break
    head, read = _head(b, shape)
    repeat = draw.pick(("repeat", "expand", "stack"))
    return Whole(nn.Sequential(*modules), head, layout, b.timesteps, encoder, repeat), read


def _parallel(b: Build, shape: Shape) -> tuple[nn.Module, dict[str, Shape]]:
    b.draw.mark("two inputs, two outputs")
    left, first = b.synapses(shape, outputs=shape[0], same_size=True)
    right, second = b.synapses(shape, outputs=shape[0], same_size=True)
    return Parallel(left, right, b.neuron(shape, [first, second])), {"image": shape, "context": shape}


STEMS: dict[str, Callable[[Draw], Shape]] = {
    "flat": lambda draw: (draw.whole(2, 8),),
    "1-d": lambda draw: (draw.whole(1, 4), draw.whole(4, 9)),
    "2-d": lambda draw: (draw.whole(1, 4), draw.whole(3, 6), draw.whole(3, 6)),
    "3-d": lambda draw: (draw.whole(1, 3), 2, draw.whole(2, 3), 2),
}


def _head(b: Build, shape: Shape) -> tuple[nn.Module, str | None]:
    """What reads the body, and how the reader of a sequence takes it."""
    draw = b.draw
    modules: list[nn.Module] = []
    if len(shape) > 1:
        modules.append(b.flatten(shape))
        shape = (int(np.prod(shape)),)
    plain = HEADS[:4]
    kind = b.wanted if b.wanted in HEADS else draw.pick(HEADS[:6] if not b.multi_step else HEADS)
    if not b.multi_step and kind not in plain:
        kind = draw.pick(plain)
    draw.mark(f"head: {kind}")
    if kind != "spikes" and kind != "voting":
        modules.append(b.linear(shape[0], 3)[0])
    if kind == "voting":
        votes = draw.pick((2, 3))
        modules += [b.linear(shape[0], 2 * votes)[0], layer.VotingLayer(votes, step_mode="m" if b.multi_step else "s")]
    if kind == "neuron":
        modules.append(b.neuron((3,), [modules[-1]] if hasattr(modules[-1], "weight") else []))
    read = draw.pick((None, "mean", "sum", "last", "max", "sequence")) if kind in plain else None
    if kind in OVER_TIME:
        modules.append(Function(OVER_TIME[kind]))
    if kind.startswith("linear"):
        modules.append(nn.Linear(3, 2))
        fill(modules[-1], draw)
    if kind.startswith("NonSpiking"):
        decode = draw.pick(("max-mem", "max-abs-mem", "mean-mem", "last_mem", None))
        draw.mark(f"decode: {decode}")
        leak = {"tau": draw.number(1.2, 4.0)} if kind == "NonSpikingLIFNode" else {}
        modules.append(getattr(neuron, kind)(**leak, decode=decode))
    return nn.Sequential(*modules), read


OVER_TIME: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(0),
    "sum": lambda x: torch.sum(x, dim=0),
    "last": lambda x: x[-1],
    "linear after mean": lambda x: x.mean(dim=0),
    "linear after sum": lambda x: x.sum(0),
}
HEADS = ("currents", "spikes", "voting", "neuron", *OVER_TIME,
         *(name for name in ("NonSpikingIFNode", "NonSpikingLIFNode") if hasattr(neuron, name)))  # fmt: skip

WANTED = (*BLOCKS, *NEURONS, *HEADS, "3-d", "two inputs, two outputs")
"""Cases that a caller may ask for, so that a sweep meets all of them."""


def random_network(source: random.Random, wanted: str = "") -> Network:
    """Draw a network; ``wanted`` names a block, a neuron or a head that it has, where the rest allows it."""
    draw = Draw(source)
    layout = draw.pick(LAYOUTS)
    if layout == "loop" and (wanted.startswith(("DSR", "MPBNLIF:")) or wanted in HEADS[4:]):
        layout = "TN"
    if wanted == "two inputs, two outputs":
        layout = draw.pick(("TN", "loop"))
    timesteps = draw.pick((1, 2, 3, 4, 4, 5, 6))
    b = Build(draw, layout != "loop", timesteps, wanted)
    draw.mark(f"layout: {layout}")
    shape = _input_shape(draw, wanted)
    if wanted == "two inputs, two outputs":
        module, shapes = _parallel(b, shape)
        read = None
    else:
        module, read = _series(b, shape, layout)
        shapes = {"x": shape}
    module = module.double().eval()
    given = inputs(draw, shapes, timesteps, layout, draw.whole(2, 4))
    network = Network(module, shapes, timesteps, layout, read, given, frozenset())
    heads = {*(f"head: {head}" for head in HEADS[:4]), "decode: None"}
    network.sequence = isinstance(module, Parallel) or bool(heads & draw.cases)
    if all(set(np.unique(x)) <= {0.0, 1.0} for x in given.values()) and draw.chance(50):
        draw.mark("spikes as input")
        network.carries = "spikes"
    grid = draw.chance(20)
    if grid:
        draw.mark(GRID)
        put_on_grid(module)
    calibrate(network, b.feeding, grid)
    if draw.chance(5):
        network.edge = draw.pick(("silent", "saturated"))
        for sources in b.feeding.values():
            for weights in (s for s in sources if getattr(s, "bias", None) is not None):
                weights.bias.data += 50.0 if network.edge == "saturated" else -50.0
    for cast in b.casts:
        cast.remove()
    if b.casts or draw.chance(50):
        module.float()
    network.cases = frozenset(draw.cases)
    return network


def put_on_grid(module: nn.Module) -> None:
    """Round everything to few binary digits: sums are exact, and a membrane often is exactly its threshold."""
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None and tensor.is_floating_point():
                tensor.data = (tensor.data * 4).round() / 4
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_var.data = torch.ones_like(part.running_var) - part.eps
        if isinstance(part, classes(neuron, "LIFNode", "MPBNLIFNode")):
            part.tau = 4.0 if part.tau > 2.5 else 2.0
        if isinstance(part, MPBNLIF):
            part.tau = 0.25
        if isinstance(part, neuron.ParametricLIFNode):
            part.w.data = torch.zeros_like(part.w)
        names = ("v_threshold", "c_decay", "v_decay", "decay", "current_decay", "amount", "negative", "v_reset")
        for name in (*names, "bias", "gain", "v_init", "amplitude"):
            value = vars(part).get(name)
            if isinstance(value, float):
                vars(part)[name] = round(value * 4) / 4
        for name, value in vars(part).get("_memories_rv", {}).items():
            if isinstance(value, float):
                part._memories[name] = part._memories_rv[name] = round(value * 4) / 4


def inputs(draw: Draw, shapes: dict[str, Shape], timesteps: int, layout: str, samples: int) -> dict[str, np.ndarray]:
    """Spikes, pixels or reals ``[N, T, ...]`` for each argument; the same at every step where forward repeats them."""
    found = {}
    for name, shape in shapes.items():
        size = (samples, timesteps, *shape)
        match draw.pick(("spikes", "real", "positive", "pixels")):
            case "spikes":
                x = (draw.uniform(0, 1, *size) < 0.4).double()
            case "real":
                x = draw.normal(*size)
            case "pixels":
                x = (draw.uniform(0, 16, *size)).round() / 16
            case _:
                x = draw.uniform(0, 1, *size)
        if layout == "N":
            x = x[:, :1].expand(size)
        found[name] = x.numpy().copy()
    return found


# -- calibration -------------------------------------------------------------------------------------------------------


def arranged(x: np.ndarray, layout: str) -> Tensor:
    """``x[N, T, ...]`` as the forward takes it (for "loop" as ``[T, N, ...]``)."""
    tensor = torch.from_numpy(x)
    match layout:
        case "NT":
            return tensor
        case "N..T":
            return tensor.movedim(1, -1)
        case "N":
            return tensor[:, 0]
        case "fold":
            return tensor.transpose(0, 1).flatten(0, 1)
    return tensor.transpose(0, 1)


def forward(module: nn.Module, network: Network) -> list[Any]:
    """What forward returns, once or once a step, states cleared before."""
    functional.reset_net(module)
    given = [arranged(x, network.layout) for x in network.inputs.values()]
    with torch.no_grad():
        if network.layout == "loop":
            return [module(*(x[t] for x in given)) for t in range(network.timesteps)]
        return [module(*given)]


def calibrate(network: Network, feeding: dict[nn.Module, list[Any]], grid: bool = False) -> None:
    """Scale and shift what feeds each neuron, in their order, until it fires neither hardly nor nearly always."""
    for node, sources in feeding.items():
        for _ in range(2):
            currents, fired = _currents(network, node)
            if not sources or currents is None or LOW * 2 < fired < HIGH * 0.8:
                break
            spread, mean = float(currents.std()) or 1.0, float(currents.mean())
            shiftable = next((s for s in sources if getattr(s, "bias", None) is not None), None)
            best = (abs(fired - 0.3), 1.0, 0.0)
            for target in (spread, 0.3, 1.0, 3.0, 10.0, 60.0):
                for center in (mean * target / spread, 0.0, 0.5, -0.5, 2.0, -2.0, 0.2 * target):
                    gain = target / spread
                    if grid:
                        gain, center = 2.0 ** round(np.log2(gain)), round(center * 8) / 8
                    shift = center - mean * gain if shiftable is not None else 0.0
                    if grid:
                        shift = round(shift * 8) / 8
                    rate = _rate(node, gain * currents + shift)
                    best = min(best, (abs(rate - 0.3), gain, shift))
            _, gain, shift = best
            for source in sources:
                source.weight.data *= gain
                if source.bias is not None:
                    source.bias.data *= gain
            if shiftable is not None:
                shiftable.bias.data += shift


def _currents(network: Network, node: nn.Module) -> tuple[Tensor | None, float]:
    seen: list[Tensor] = []
    fired: list[Tensor] = []

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.append(args[0])
        fired.append(output)

    handle = node.register_forward_hook(hook)
    forward(network.module, network)
    handle.remove()
    functional.reset_net(network.module)
    if not seen:
        return None, 0.0
    currents = seen[0] if len(seen) == 1 and getattr(node, "step_mode", "m") == "m" else torch.stack(seen)
    return currents, float((torch.cat([f.flatten() for f in fired]) != 0).double().mean())


def _rate(node: nn.Module, currents: Tensor) -> float:
    alone = copy.deepcopy(node)
    functional.reset_net(alone)
    with torch.no_grad():
        if getattr(alone, "step_mode", "m") == "m":
            fired = alone(currents)
        else:
            fired = torch.stack([alone(x) for x in currents])
    return float((fired != 0).double().mean())
