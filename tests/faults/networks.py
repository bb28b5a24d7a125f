"""Healthy networks: small ones of torch, drawn and calibrated, and the digits of the demo; each with what it fires."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends import load_model
from neurocompile.frontends.base import Model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir.form import form_of
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import WEIGHT_OPS, Array, Neuron
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers
from neurocompile.verbs.networks import DEMOS
from tests.faults.chip import Spikes, fired
from tests.random_networks.choices import calibrated
from tests.random_networks.spellings import Draw, fill

__all__ = ["DIGITS", "Base", "Network", "coarse", "digits", "drawn"]

DIGITS = -1
"""The number of the digits among networks."""

SAMPLES, STEPS = 10, 6
# So far is a firing rate from the one that is wanted.
_WANTED = 0.25
_GAINS = np.geomspace(0.1, 40.0, 16)


@dataclass(frozen=True, eq=False)
class Base:
    """A program and data, all of it as it should be.

    Attributes:
        number: of its network.
        model: the reference.
        program: compiled from it.
        inputs: real ones, ``[N, T, *shape]`` by name.
    """

    number: int
    model: Model
    program: Program
    inputs: Mapping[str, Array]

    @cached_property
    def whole(self) -> dict[str, Array]:
        """The inputs in integers."""
        return {name: self.program.integers_of(name, x)[0] for name, x in self.inputs.items()}

    @cached_property
    def spikes(self) -> Spikes:
        """What the program fires."""
        return fired(self.program.integer, self.program.arithmetic, self.whole)

    @cached_property
    def simulated(self) -> Spikes:
        """What the simulator fires; a cell knows no neuron that a small network has not."""
        return simulate_integers(self.program.integer, self.program.arithmetic, self.whole).spikes

    @cached_property
    def expected(self) -> Spikes:
        """What the reference fires; in steps that it does not run, what the real graph does."""
        told = self.model.run(self.inputs)
        spikes = dict(told.spikes)
        whole = interpret(self.program.real, self.inputs, self.program.timesteps).spikes if told.untold else {}
        for name, steps in told.untold.items():
            spikes[name] = spikes[name].copy()
            spikes[name][:, list(steps)] = whole[name][:, list(steps)]
        return spikes

    @property
    def layers(self) -> list[str]:
        """Its layers of neurons, in the order of a step."""
        return [node.name for node in self.program.integer.of(Neuron)]

    def first(self, samples: int) -> Base:
        """With fewer samples."""
        return replace(self, inputs={name: x[:samples] for name, x in self.inputs.items()})

    def __str__(self) -> str:
        name = "digits" if self.number == DIGITS else f"network {self.number}"
        return f"{name} for {self.program.target}"


@dataclass(frozen=True, eq=False)
class Network:
    """A model and samples for it, from which programs are compiled, once for each target."""

    number: int
    model: Model
    inputs: Mapping[str, Array]
    _made: dict[str, Base] = field(default_factory=dict, init=False, repr=False)

    def base(self, target: str, coarsened: bool = False) -> Base:
        """Its program for a target; see :func:`coarse`."""
        key = f"{target} {coarsened}"
        if key not in self._made:
            if coarsened:
                self._made[key] = coarse(self.base(target))
            else:
                samples = self.model.example if self.number == DIGITS else self.inputs
                program = compile_graph(self.model.graph, target, self.model.timesteps, Options(), calibration=samples)
                self._made[key] = Base(self.number, self.model, program, self.inputs)
        return self._made[key]


# -- drawn networks ----------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Three layers: a convolution (or a matrix), one that may hear itself, one that may hear late and hears a skip."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.image = draw.chance(60)
        self.shape = (2, 5, 5) if self.image else (9,)
        self.recurrent = draw.chance(50)
        self.delay = draw.whole(0, 2)
        self.skip = self.delay > 0 or draw.chance(60)  # where all come late, nobody is
        bias = draw.chance(75)
        if self.image:
            self.first: nn.Module = nn.Conv2d(2, 3, 3, padding=draw.whole(0, 1), bias=bias)
            self.second: nn.Module = nn.Conv2d(3, 4, (3, 3), padding=1, bias=bias)
            self.back: nn.Module = nn.Conv2d(4, 4, 1, bias=False)
            with torch.no_grad():
                middle = self.first(torch.zeros(1, *self.shape))
            wide = middle.numel()
            after = 4 * middle[0, 0].numel()
        else:
            self.first, self.second = nn.Linear(9, 10, bias=bias), nn.Linear(10, 8, bias=bias)
            self.back = nn.Linear(8, 8, bias=False)
            wide, after = 10, 8
        self.third, self.aside = nn.Linear(after, 7, bias=bias), nn.Linear(wide, 7, bias=False)
        self.out = nn.Linear(7, 3)
        fill(self, draw)
        self.n1, self.n2, self.n3 = (_neuron(draw) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """``[T, N, *shape]`` -> ``[N, 3]``."""
        first: list[Tensor] = []
        second: list[Tensor] = []
        total = x.new_zeros(x.shape[1], 3)
        for t in range(len(x)):
            first.append(self.n1(self.first(x[t])))
            current = self.second(first[t])
            if self.recurrent and t > 0:
                current = current + self.back(second[t - 1])
            second.append(self.n2(current))
            late = second[t - self.delay] if t >= self.delay else torch.zeros_like(second[t])
            current = self.third(late.flatten(1))
            if self.skip:
                current = current + self.aside(first[t].flatten(1))
            total = total + self.out(self.n3(current))
        return total / len(x)


def _neuron(draw: Draw) -> nn.Module:
    """Leaky or not, with a hard reset, also to a value, or a soft one."""
    reset = draw.pick((0.0, 0.0, -0.2, None, None))
    threshold = draw.number(0.6, 1.7)
    if draw.chance(35):
        return cast(nn.Module, neuron.IFNode(threshold, reset))
    tau = draw.number(1.3, 4.0)
    return cast(nn.Module, neuron.LIFNode(tau, draw.chance(50), threshold, reset))


def drawn(seed: int, number: int) -> Network:
    """A network that fires in every layer, now and then; drawn again until it does."""
    for attempt in range(100):
        draw = Draw(random.Random(f"{seed} {number} {attempt}"))
        module = Small(draw).double().eval()
        spikes = draw.chance(50)
        size = (STEPS, SAMPLES, *module.shape)
        uniform = draw.uniform(0, 1, *size)
        x = (uniform < 0.4).double() if spikes else (uniform * 16).round() / 16
        with torch.no_grad():
            _calibrate(module, x)
        inputs = {"x": np.ascontiguousarray(x.transpose(0, 1).numpy())}
        carries: Any = "spikes" if spikes else "real"
        model = TorchModel.from_module(module, {"x": module.shape}, STEPS, "TN", None, carries, inputs)
        network = Network(number, model, inputs)
        if calibrated(network.base("generic").spikes):
            return network
    raise RuntimeError(f"no network of seed {seed}, number {number} fires as it should")


def _calibrate(module: Small, x: Tensor) -> None:
    """Scale what feeds each layer until it fires in about a quarter of its steps."""
    for feeds, node in (
        ((module.first,), module.n1),
        ((module.second, module.back), module.n2),
        ((module.third, module.aside), module.n3),
    ):
        known = [(p, p.clone()) for feed in feeds for p in feed.parameters()]

        def off(gain: float, known: Any = known, node: nn.Module = node) -> float:
            for parameter, value in known:
                parameter.copy_(value * gain)
            return abs(_rate(module, node, x) - _WANTED)

        off(min(_GAINS, key=off))


def _rate(module: Small, node: nn.Module, x: Tensor) -> float:
    seen: list[Tensor] = []
    handle = node.register_forward_hook(lambda _, __, out: seen.append(out))
    functional.reset_net(module)
    module(x)
    handle.remove()
    functional.reset_net(module)
    return float(torch.stack(seen).mean())


def digits(samples: int = 6) -> Network:
    """The demo's network and its first held-out digits."""
    with DEMOS["digits"].model() as file:
        model = load_model(file)
    x = DEMOS["digits"].data()[0][:samples]
    (name,) = model.input_shapes
    return Network(DIGITS, model, {name: np.repeat(x[:, None], model.timesteps, 1)})


# -- coarse integers ---------------------------------------------------------------------------------------------------


def coarse(base: Base, bits: int = 4) -> Base:
    """The same with few bits left in its integers: its membranes meet thresholds, and roundings can be seen.

    What it fires is the truth for whatever is planted in it; with the model it has little to do any more.
    """
    graph = base.program.integer
    changed = {}
    for layer in form_of(graph).layers.values():
        if not isinstance(layer.op, Neuron):
            continue
        scale = max(float(np.abs(_weight(s.op)).max(initial=0)) for s in layer.synapses) / 2 ** (bits - 1)
        for synapse in layer.synapses:
            which = "scale" if hasattr(synapse.op, "scale") else "weight"
            weight = np.rint(getattr(synapse.op, which) / scale).astype(np.int64)
            changed[synapse.name] = replace(synapse.node, op=replace(synapse.op, **{which: weight}))
        unit = scale * 2.0**layer.op.shift
        numbers = {
            name: np.rint(np.asarray(getattr(layer.op, name)) / unit).astype(np.int64)
            for name in ("threshold", "bias", "input_bias", "v_reset", "amount", "v_init")
        }
        changed[layer.name] = replace(layer.node, op=replace(layer.op, shift=0, **numbers))
    return replace(base, program=replace(base.program, integer=graph.rewritten(changed)))


def _weight(op: Any) -> Array:
    assert isinstance(op, WEIGHT_OPS)
    return np.asarray(op.scale if hasattr(op, "scale") else op.weight)
