"""Every neuron that can be lowered, with random parameters; four of them are users' own, registered by decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import base, neuron, surrogate
from torch import Tensor, nn

import neurocompile
from neurocompile.vocabulary.mpbn import MPBNLIF
from tests.random_networks.choices import Shape
from tests.random_networks.spellings import Draw, fill

__all__ = ["COMMON", "NEURONS", "Own", "fits"]

# -- users' own neurons ------------------------------------------------------------------------------------------------


class Own(base.MemoryModule):
    """A neuron of a user's: state ``v`` (and ``i``), one step at a time or all of them."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.register_memory("v", 0.0)
        self.register_memory("i", 0.0)
        self.register_memory("wait", 0.0)
        self.decay = draw.number(0.4, 0.95)
        self.v_threshold = draw.number(0.5, 1.0)
        self.surrogate_function = surrogate.Sigmoid()

    def single_step_forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([self.single_step_forward(x) for x in x_seq])


@neurocompile.neuron(lambda m: neurocompile.equation(m.v_threshold, decay=m.decay, refractory=m.steps))
class Refractory(Own):
    """Silent for some steps after a spike, while the membrane goes on; ``steps`` of -1: one spike at most."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self.steps = draw.pick((1, 2, 3, -1))

    def single_step_forward(self, x: Tensor) -> Tensor:
        h = self.decay * self.v + x
        wait = torch.zeros_like(x) + self.wait
        spike = self.surrogate_function(h - self.v_threshold) * (wait <= 0)
        self.wait = torch.where(spike > 0, 1e9 if self.steps < 0 else float(self.steps), wait - 1)
        self.v = torch.where(spike > 0, 0.0, h)
        return spike


@neurocompile.neuron(
    lambda m: neurocompile.equation(
        m.v_threshold, decay=m.decay, reset="by", amount=m.amount, negative_threshold=m.negative
    )
)
class Signed(Own):
    """Fires -1 below a negative threshold; the reset takes the sign of the spike."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self.negative = -draw.number(0.5, 1.0)
        self.amount = draw.number(0.3, 1.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        h = self.decay * self.v + x
        spike = self.surrogate_function(h - self.v_threshold) - self.surrogate_function(self.negative - h)
        self.v = h - self.amount * spike
        return spike


@neurocompile.neuron(
    lambda m: neurocompile.equation(
        m.v_threshold,
        decay=m.decay,
        current_decay=m.current_decay,
        input_bias=m.input_bias,
        bias=m.bias,
        gain=m.gain,
        v_reset=m.v_reset,
        v_init=m.v_init,
        amplitude=m.amplitude,
    )
)
class Current(Own):
    """A synaptic current with biases on both sides of it, a first value, a gain, a height, and a reset to a value."""

    def __init__(self, draw: Draw, features: int) -> None:
        super().__init__(draw)
        self.current_decay, self.gain = draw.number(0.2, 0.9), draw.number(0.3, 1.5)
        self.register_buffer("input_bias", draw.normal(features) * 0.2)
        self.register_buffer("bias", draw.normal(features) * 0.1)
        self.v_reset, self.v_init, self.amplitude = draw.number(-0.5, 0.3), draw.number(-0.3, 0.3), draw.number(0.5, 2)
        self._memories["v"] = self._memories_rv["v"] = self.v_init

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.i = self.current_decay * self.i + x + self.input_bias
        h = self.decay * self.v + self.gain * self.i + self.bias
        spike = self.surrogate_function(h - self.v_threshold)
        self.v = spike * self.v_reset + (1 - spike) * h
        return self.amplitude * spike


@neurocompile.neuron(
    lambda m: neurocompile.equation(m.v_threshold, decay=m.decay, reset="none", strict=True, flip=m.flip)
)
class Unreset(Own):
    """No reset, > instead of >=, and half of the features fire below the threshold."""

    def __init__(self, draw: Draw, features: int) -> None:
        super().__init__(draw)
        self.register_buffer("flip", draw.normal(features) > 0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        h = self.v = self.decay * self.v + x
        margin = h - self.v_threshold
        self.surrogate_function(margin)
        return torch.where(self.flip, margin < 0, margin > 0).to(x.dtype)


# -- neurons -----------------------------------------------------------------------------------------------------------


def _reset(draw: Draw) -> float | None:
    kind = draw.pick(("soft", "zero", "nonzero"))
    draw.mark(f"reset:{kind}")
    return {"soft": None, "zero": 0.0, "nonzero": draw.number(-0.6, 0.4)}[kind]


def _common(draw: Draw) -> dict[str, Any]:
    return {
        "v_threshold": draw.number(0.4, 1.3),
        "v_reset": _reset(draw),
        "surrogate_function": draw.pick(
            (surrogate.Sigmoid, surrogate.ATan, getattr(surrogate, "Rect", surrogate.Erf))
        )(),
    }


def _if(draw: Draw, shape: Shape) -> nn.Module:
    settings = _common(draw)
    if draw.chance(10):
        settings["v_threshold"] = draw.pick((0.0, -draw.number(0.1, 0.5)))
        draw.mark("v_threshold<=0")
    if draw.chance(15):
        settings.pop("surrogate_function")  # then all nodes of a class share one
    return neuron.IFNode(**settings)


def _lif(draw: Draw, shape: Shape) -> nn.Module:
    decay_input = draw.chance(50)
    draw.mark(f"LIFNode:decay_input={decay_input}")
    return neuron.LIFNode(tau=draw.number(1.2, 4.0), decay_input=decay_input, **_common(draw))


def _parametric_lif(draw: Draw, shape: Shape) -> nn.Module:
    return neuron.ParametricLIFNode(init_tau=draw.number(1.2, 4.0), decay_input=draw.chance(50), **_common(draw))


def _cuba(draw: Draw, shape: Shape) -> nn.Module:
    return neuron.CUBALIFNode(draw.number(0.1, 0.9), draw.number(0.1, 0.95), **_common(draw))


def _gammas(draw: Draw, size: int) -> Tensor:
    """Positive, negative, zero and tiny ones."""
    values = draw.normal(size) * 0.4 + draw.pick((1.0, 1.0, 0.3))
    for kind in ("negative", "zero", "tiny"):
        if draw.chance(35):
            at = draw.whole(0, size - 1)
            values[at] = {"negative": -values[at].abs(), "zero": 0.0, "tiny": 1e-9 * draw.pick((1, -1))}[kind]
            draw.mark(f"gamma:{kind}")
    return values


def _spread(draw: Draw, vbn: Any) -> None:
    fill(vbn, draw)
    vbn.weight.data = _gammas(draw, vbn.num_features)


def _mpbn(draw: Draw, shape: Shape, kind: str) -> nn.Module:
    settings = _common(draw)
    folded = kind in ("folded", "folded+residual", "learnable+folded", "learnable+folded+residual")
    learnable = kind.startswith("learnable")
    if folded and learnable and len(shape) == 3:
        settings["v_reset"] = settings["v_reset"] or 0.0
    node = neuron.MPBNLIFNode(
        tau=draw.number(1.2, 3.0),
        decay_input=draw.chance(50),
        mpbn=kind != "off",
        learnable_vth=learnable,
        **{"out_channels" if len(shape) == 3 else "out_features": shape[0]},
        **settings,
    )
    if kind != "off":
        _spread(draw, node.vbn)
    if learnable:
        node.a.data = (draw.normal(shape[0]) * 0.3).float()  # what folds to a plain tensor, which no cast reaches
    if folded:
        node.eval().re_parameterize_v_threshold(normalize_residual="residual" in kind)
    return node


def _paper(draw: Draw, shape: Shape, element_wise: bool) -> nn.Module:
    size = {"element_wise_shape": shape} if element_wise else {"out_channels": shape[0]}
    if len(shape) == 1 and not element_wise:
        size = {"out_features": shape[0]}
    node = MPBNLIF(tau=draw.number(0.1, 0.6), v_threshold=draw.pick((0.5, draw.number(-0.2, 0.7))), **size)
    _spread(draw, node.vbn)
    return node


def _dsr_if(draw: Draw, shape: Shape) -> nn.Module:
    return neuron.DSRIFNode(
        v_threshold=draw.number(0.5, 2.0),
        alpha=draw.pick((0.5, 1.0, 0.3)),
        v_threshold_training=draw.chance(50),
        v_threshold_lower_bound=draw.pick((0.01, 0.4)),
    )


def _dsr_lif(draw: Draw, shape: Shape) -> nn.Module:
    node = neuron.DSRLIFNode(
        v_threshold=draw.number(0.3, 1.0),
        tau=draw.number(0.5, 2.0),
        delta_t=draw.pick((0.05, 0.5)),
        alpha=draw.pick((0.3, 0.5)),
        v_threshold_training=True,
    )
    if draw.chance(20):
        node.v_threshold.data -= 0.5  # below its lower bound, as training may leave it
    return node


NEURONS: dict[str, Callable[[Draw, Shape], nn.Module]] = {
    "IFNode": _if,
    "LIFNode": _lif,
    "ParametricLIFNode": _parametric_lif,
    "CUBALIFNode": _cuba,
    **{
        f"MPBNLIFNode:{kind}": lambda draw, shape, kind=kind: _mpbn(draw, shape, kind)
        for kind in (
            "plain",
            "off",
            "learnable",
            "folded",
            "folded+residual",
            "learnable+folded",
            "learnable+folded+residual",
        )
    },
    "MPBNLIF:channel": lambda draw, shape: _paper(draw, shape, False),
    "MPBNLIF:element": lambda draw, shape: _paper(draw, shape, True),
    "DSRIFNode": _dsr_if,
    "DSRLIFNode": _dsr_lif,
    "own:refractory": lambda draw, shape: Refractory(draw),
    "own:signed": lambda draw, shape: Signed(draw),
    "own:current": lambda draw, shape: Current(draw, shape[-1]),
    "own:unreset": lambda draw, shape: Unreset(draw, shape[-1]),
}
_OWN = ("MPBNLIF:", "own:")
# SpikingJelly 0.0.0.0.14 lacks some.
NEURONS = {
    name: make for name, make in NEURONS.items() if hasattr(neuron, name.partition(":")[0]) or name.startswith(_OWN)
}
COMMON = tuple(name for name in ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode") if name in NEURONS)


def fits(kind: str, shape: Shape, multi_step: bool) -> bool:
    if kind.startswith(("DSR", "MPBNLIF:")) and not multi_step:
        return False
    return not kind.startswith(("MPBNLIFNode", "MPBNLIF:channel")) or len(shape) in (1, 3)
