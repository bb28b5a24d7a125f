"""Blocks of random networks: a few layers that end in a neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from neurocompile.vocabulary.temporal import TemporalGain
from tests.random_networks.choices import Shape
from tests.random_networks.neurons import COMMON, NEURONS, fits
from tests.random_networks.spellings import (
    Constants,
    Draw,
    Function,
    Normed,
    StepConstants,
    Weighted,
    fill,
    stateless_in_time,
)

__all__ = ["BLOCKS", "Build"]

# -- building ----------------------------------------------------------------------------------------------------------


class Build:
    """What is drawn so far: the case that must occur, the neurons, and the layers that feed each of them."""

    def __init__(self, draw: Draw, multi_step: bool, timesteps: int, wanted: str) -> None:
        self.draw, self.multi_step, self.timesteps = draw, multi_step, timesteps
        self.wanted = wanted
        self.feeding: dict[nn.Module, list[Any]] = {}
        self.casts: list[Any] = []  # SpikingJelly's DSR nodes give float32 whatever they are given

    def shape_after(self, module: nn.Module, shape: Shape) -> Shape:
        lead = (self.timesteps, 2) if self.multi_step else (2,)
        with torch.no_grad():
            functional.reset_net(module)
            out = module.double().eval()(torch.zeros(*lead, *shape, dtype=torch.float64))
            functional.reset_net(module)
        return tuple(out.shape[len(lead) :])

    def spell(self, name: str, *args: Any, function: str = "", own: Any = None, **settings: Any) -> tuple[Any, Any]:
        """A layer by the name of its class, in time, in some spelling; and the module that holds its weights.

        Its function in torch.nn.functional takes the settings; those of its ``own`` only the class takes.
        """
        draw, named = self.draw, {**settings, **(own or {})}
        plain = getattr(nn, name)(*args, **named)
        fill(plain, draw)
        draw.mark(name)
        if hasattr(layer, name) and draw.chance(50):
            spelled = getattr(layer, name)(*args, **named, step_mode="m" if self.multi_step else "s")
            spelled.load_state_dict(plain.state_dict())
            draw.mark("spikingjelly.layer")
            return spelled, spelled
        if function and draw.chance(40):
            draw.mark(f"F.{function}")
            if isinstance(plain, nn.modules.batchnorm._BatchNorm):
                plain = Normed(plain)
            elif getattr(plain, "weight", None) is not None:
                plain = Weighted(getattr(F, function), plain, **settings)
            else:
                plain = Function(getattr(F, function), **settings)
        if not self.multi_step or (name == "Linear" and draw.chance(50)):
            return plain, plain
        return stateless_in_time(draw, plain), plain

    def neuron(self, shape: Shape, feeding: list[Any]) -> nn.Module:
        draw = self.draw
        kinds = [kind for kind in NEURONS if fits(kind, shape, self.multi_step)]
        kind = self.wanted if self.wanted in kinds else draw.pick((*kinds, *COMMON))
        if self.wanted == kind:
            self.wanted = ""
        draw.mark(kind)
        node = NEURONS[kind](draw, shape)
        self.feeding[node] = [source for source in feeding if source is not None]
        if kind.startswith("DSR"):
            self.casts.append(node.register_forward_hook(lambda module, args, output: output.double()))
        if not self.multi_step or kind.startswith(("DSR", "MPBNLIF:")):
            return node
        if draw.chance(75):
            node.step_mode = "m"
            return node
        if draw.chance(50):
            draw.mark("StepModeContainer")
            return layer.StepModeContainer(True, "m", node)
        draw.mark("MultiStepContainer")
        return layer.MultiStepContainer(node)

    def synapses(self, shape: Shape, outputs: int | None = None, same_size: bool = False) -> tuple[Any, Any]:
        """Some layer with weights for this shape."""
        if len(shape) == 1:
            return self.linear(shape[0], outputs)
        return self.conv(shape, outputs, same_size)

    def linear(self, inputs: int, outputs: int | None = None) -> tuple[Any, Any]:
        outputs = outputs or self.draw.whole(2, 6)
        return self.spell("Linear", inputs, outputs, function="linear", own=self.bias())

    def bias(self) -> dict[str, bool]:
        return {"bias": self.draw.chance(70)}

    def conv(self, shape: Shape, outputs: int | None = None, same_size: bool = False) -> tuple[Any, Any]:
        draw, rank = self.draw, len(shape) - 1
        inputs = shape[0]
        groups = draw.pick([g for g in (1, 1, 2, 3) if inputs % g == 0 and (outputs or 6) % g == 0])
        outputs = outputs or groups * draw.whole(1, 6 // groups)
        smallest = min(shape[1:])
        kernel = tuple(draw.whole(1, min(4, smallest)) for _ in range(rank))
        dilation = tuple(draw.pick((1, 1, 2)) if (k - 1) * 2 < smallest else 1 for k in kernel)
        if same_size:
            stride, padding = (1,) * rank, "same"
        else:
            stride = tuple(draw.pick((1, 1, 2)) for _ in range(rank))
            padding: Any = tuple(draw.whole(0, k) for k in kernel)
            if draw.chance(30):
                padding, stride = "same", (1,) * rank
            elif draw.chance(10):
                padding = "valid"
        if padding == "same":
            draw.mark("padding:same")
            if any((k - 1) * d % 2 for k, d in zip(kernel, dilation)):
                draw.mark("padding:same, even kernel")
        for name, value in (("groups", groups), ("dilation", max(dilation)), ("stride", max(stride))):
            if value > 1:
                draw.mark(f"conv:{name}")
        settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        sizes = (inputs, outputs, kernel)
        return self.spell(f"Conv{rank}d", *sizes, function=f"conv{rank}d", own=self.bias(), **settings)

    def conv_transpose(self, shape: Shape) -> tuple[Any, Any]:
        draw, rank = self.draw, len(shape) - 1
        inputs = shape[0]
        groups = draw.pick([g for g in (1, 1, 2) if inputs % g == 0])
        outputs = groups * draw.whole(1, 4 // groups)
        kernel = tuple(draw.whole(2, 3) for _ in range(rank))
        stride = tuple(draw.whole(1, 2) for _ in range(rank))
        dilation = tuple(draw.pick((1, 1, 2)) for _ in range(rank))
        padding = tuple(draw.whole(0, 1) for _ in range(rank))
        extra = tuple(draw.whole(0, max(s, d) - 1) for s, d in zip(stride, dilation))
        for name, value in (("groups", groups > 1), ("output_padding", any(extra)), ("dilation", max(dilation) > 1)):
            if value:
                draw.mark(f"conv_transpose:{name}")
        settings = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups}
        settings["dilation"] = dilation
        sizes, function = (inputs, outputs, kernel), f"conv_transpose{rank}d"
        return self.spell(f"ConvTranspose{rank}d", *sizes, function=function, own=self.bias(), **settings)

    def batch_norm(self, shape: Shape) -> tuple[Any, Any]:
        draw = self.draw
        rank = {1: 1, 2: 1, 3: 2, 4: 3}[len(shape)]
        if self.multi_step and draw.chance(30):
            name = f"ThresholdDependentBatchNorm{rank}d"
            draw.mark(name)
            node = getattr(layer, name)(draw.number(0.5, 1.5), draw.number(0.5, 1.5), shape[0])
            weight = node.weight.data.clone()
            fill(node, draw)
            if draw.chance(50):
                node.weight.data = weight.double()
            return node, node
        if draw.chance(15):
            draw.mark("batch norm: not affine")
            return self.spell(f"BatchNorm{rank}d", shape[0], affine=False, eps=draw.pick((1e-5, 0.1)))[0], None
        return self.spell(f"BatchNorm{rank}d", shape[0], function="batch_norm", eps=draw.pick((1e-5, 1e-5, 0.1)))

    def pool(self, shape: Shape, kinds: Sequence[str] = ("avg", "adaptive", "max")) -> nn.Module:
        draw, rank = self.draw, len(shape) - 1
        kind = draw.pick(kinds)
        if kind == "adaptive":
            outs = tuple(draw.whole(1, min(n, 3)) for n in shape[1:])
            even = all(n % o == 0 for n, o in zip(shape[1:], outs))
            draw.mark("adaptive: dividing" if even else "adaptive: not dividing")
            return self.spell(f"AdaptiveAvgPool{rank}d", function=f"adaptive_avg_pool{rank}d", output_size=outs)[0]
        smallest = min(shape[1:])
        kernel = tuple(draw.whole(1, min(3, smallest)) for _ in range(rank))
        settings: dict[str, Any] = {"kernel_size": kernel, "padding": tuple(draw.whole(0, k // 2) for k in kernel)}
        if draw.chance(60):
            settings["stride"] = tuple(draw.whole(1, 3) for _ in range(rank))
        settings["ceil_mode"] = draw.chance(40)
        if settings["ceil_mode"]:
            draw.mark(f"{kind}: ceil_mode")
        if any(settings["padding"]):
            draw.mark(f"{kind}: padding")
        if kind == "max":
            dilated = tuple(draw.pick((1, 1, 2)) if (k - 1) * 2 < smallest else 1 for k in kernel)
            settings["dilation"] = dilated
            if max(dilated) > 1:
                draw.mark("max: dilation")
            return self.spell(f"MaxPool{rank}d", function=f"max_pool{rank}d", **settings)[0]
        settings["count_include_pad"] = draw.chance(50)
        draw.mark(f"avg: count_include_pad={settings['count_include_pad']}")
        if rank == 2 and draw.chance(25):
            settings["divisor_override"] = draw.whole(1, 5)
            draw.mark("avg: divisor_override")
        return self.spell(f"AvgPool{rank}d", function=f"avg_pool{rank}d", **settings)[0]

    def upsample(self, shape: Shape) -> nn.Module:
        factor = self.draw.pick((2, 3)) if max(shape[1:]) < 4 else 2
        self.draw.mark("upsample")
        size = tuple(n * factor for n in shape[1:])
        how = {"scale_factor": factor} if self.draw.chance(50) else {"size": size if len(size) > 1 else size[0]}
        return self.spell("Upsample", function="interpolate", mode="nearest", **how)[0]

    def flatten(self, shape: Shape) -> nn.Module:
        draw, lead = self.draw, 2 if self.multi_step else 1
        match draw.pick(("module", "flatten", "view", "reshape", "torch")):
            case "module":
                return self.spell("Flatten")[0] if draw.chance(60) else nn.Flatten(lead)
            case "flatten":
                return Function(lambda x: x.flatten(lead))
            case "view":
                draw.mark("view")
                return Function(lambda x: x.contiguous().view(*x.shape[:lead], -1))
            case "reshape":
                draw.mark("reshape")
                size = int(np.prod(shape))
                return Function(lambda x: x.reshape(*(x.size(i) for i in range(lead)), size))
        return Function(lambda x: torch.flatten(x, lead))


# -- blocks: [*shape] in, events out -----------------------------------------------------------------------------------


class Residual(nn.Module):
    """``after(main(x) + skip(x))``."""

    def __init__(self, main: nn.Module, skip: nn.Module, after: nn.Module, spelling: str) -> None:
        super().__init__()
        self.main, self.skip, self.after = main, skip, after
        self.spelling = spelling

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.main(x), self.skip(x)
        match self.spelling:
            case "+":
                return self.after(y + z)
            case "torch.add":
                return self.after(torch.add(y, z))
            case "add":
                return self.after(y.add(z))
        y += z
        return self.after(y)


class Branches(nn.Module):
    """``after(cat(left(x), right(x)))`` over channels."""

    def __init__(self, left: nn.Module, right: nn.Module, after: nn.Module, axis: int) -> None:
        super().__init__()
        self.left, self.right, self.after, self.axis = left, right, after, axis

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.cat((self.left(x), self.right(x)), dim=self.axis))


def _layers(*modules: nn.Module | None) -> nn.Module:
    return nn.Sequential(*(m for m in modules if m is not None))


def _plain_block(b: Build, shape: Shape) -> nn.Module:
    synapse, source = b.synapses(shape)
    after = b.shape_after(synapse, shape)
    norm = None
    if b.draw.chance(40):
        norm, source = b.batch_norm(after)
    return _layers(synapse, norm, b.neuron(after, [source]))


def _transpose_block(b: Build, shape: Shape) -> nn.Module | None:
    if len(shape) == 1 or max(shape[1:]) > 6:
        return None
    synapse, source = b.conv_transpose(shape)
    try:
        after = b.shape_after(synapse, shape)
    except RuntimeError:  # more padding than the output has
        return None
    return _layers(synapse, b.neuron(after, [source]))


def _norm_first_block(b: Build, shape: Shape) -> nn.Module:
    """Batch norm right before a convolution, whose zero padding then lies outside of it."""
    b.draw.mark("batch norm before a layer")
    norm, _ = b.batch_norm(shape)
    synapse, source = b.synapses(shape)
    return _layers(norm, synapse, b.neuron(b.shape_after(synapse, shape), [source]))


def _norm_only_block(b: Build, shape: Shape) -> nn.Module:
    """Batch norm, and nothing else, before a neuron."""
    norm, source = b.batch_norm(shape)
    return _layers(norm, b.neuron(shape, [source]))


def _pool_block(b: Build, shape: Shape, kind: str, of: str) -> nn.Module | None:
    """Pooling of spikes before a layer, of spikes before a neuron, of currents before a neuron."""
    if len(shape) == 1 or min(shape[1:]) < 2:
        return None
    b.draw.mark(f"{kind}-pool of {of}")
    if of == "currents":
        synapse, source = b.conv(shape)
        between = b.shape_after(synapse, shape)
        if min(between[1:]) < 2:
            return None
        pool = b.pool(between, (kind,))
        return _layers(synapse, pool, b.neuron(b.shape_after(pool, between), [source]))
    first, source = b.synapses(shape, same_size=True)
    between = b.shape_after(first, shape)
    fires = b.neuron(between, [source])
    pool = b.pool(between, (kind,))
    after = b.shape_after(pool, between)
    if b.draw.chance(20):
        return _layers(first, fires, pool, b.neuron(after, []))
    last, source = b.synapses(after)
    return _layers(first, fires, pool, last, b.neuron(b.shape_after(last, after), [source]))


def _upsample_block(b: Build, shape: Shape) -> nn.Module | None:
    if len(shape) == 1 or max(shape[1:]) > 6:
        return None
    up = b.upsample(shape)
    after = b.shape_after(up, shape)
    synapse, source = b.conv(after, outputs=2)
    return _layers(up, synapse, b.neuron(b.shape_after(synapse, after), [source]))


def _residual_block(b: Build, shape: Shape, kind: str) -> nn.Module:
    b.draw.mark(f"residual: {kind}")
    spelling = b.draw.pick(("+", "torch.add", "add", "+="))
    main, source = b.synapses(shape, outputs=shape[0], same_size=True)
    identity = nn.Identity()
    if kind == "spike+spike":
        fires = _layers(main, b.neuron(shape, [source]))
        second, other = b.synapses(shape)
        if b.draw.chance(50):
            identity = nn.Sequential()
        return Residual(fires, identity, _layers(second, b.neuron(b.shape_after(second, shape), [other])), spelling)
    if kind == "spike+current":
        return Residual(main, identity, b.neuron(shape, [source]), spelling)
    if b.draw.chance(60):
        norm, source = b.batch_norm(shape)
        main = _layers(main, norm)
    skip, other = b.synapses(shape, outputs=shape[0], same_size=True)
    return Residual(main, skip, b.neuron(shape, [source, other]), spelling)


def _shared_current_block(b: Build, shape: Shape) -> nn.Module:
    """One current read by a neuron and by a sum behind it (a pre-activation residual block)."""
    b.draw.mark("a current that fans out")
    first, source = b.synapses(shape, outputs=shape[0], same_size=True)
    second, other = b.synapses(shape, outputs=shape[0], same_size=True)
    inner = _layers(b.neuron(shape, [source]), second)
    return _layers(first, Residual(inner, nn.Identity(), b.neuron(shape, [other]), "+"))


def _cat_block(b: Build, shape: Shape, kind: str) -> nn.Module:
    b.draw.mark(f"cat: {kind}")
    left, first = b.synapses(shape, outputs=b.draw.whole(1, 3), same_size=True)
    right, second = b.synapses(shape, outputs=b.draw.whole(1, 3), same_size=True)
    axis = b.draw.pick(((2 if b.multi_step else 1), -len(shape)))
    left_shape, right_shape = b.shape_after(left, shape), b.shape_after(right, shape)
    if kind == "spikes":
        left = _layers(left, b.neuron(left_shape, [first]))
        right = _layers(right, b.neuron(right_shape, [second])) if b.draw.chance(60) else nn.Identity()
    joined = Branches(left, right, nn.Identity(), axis)
    after = b.shape_after(joined, shape)
    if kind == "spikes":
        last, source = b.synapses(after)
        return _layers(joined, last, b.neuron(b.shape_after(last, after), [source]))
    joined.after = b.neuron(after, [first, second])
    return joined


def _one_step_neuron(b: Build, shape: Shape, feeding: list[Any]) -> nn.Module:
    """A neuron for the inside of a recurrent container."""
    whole = b.multi_step
    b.multi_step = False
    try:
        return b.neuron(shape, feeding)
    finally:
        b.multi_step = whole


def _linear_recurrent_block(b: Build, shape: Shape) -> nn.Module | None:
    if len(shape) != 1:
        return None
    b.draw.mark("LinearRecurrentContainer")
    outputs = b.draw.whole(2, 4)
    inner, source = nn.Linear(shape[0], outputs), None
    fill(inner, b.draw)
    source = inner
    sub: nn.Module = nn.Sequential(inner, _one_step_neuron(b, (outputs,), [source]))
    if b.draw.chance(40):
        outputs = shape[0]
        sub = _one_step_neuron(b, shape, [])
    held = layer.LinearRecurrentContainer(
        sub, shape[0], outputs, bias=b.draw.chance(70), step_mode="m" if b.multi_step else "s"
    )
    fill(held.rc, b.draw)
    if not isinstance(sub, nn.Sequential):
        b.feeding[sub] = [held.rc]
    return held


def _element_wise_recurrent_block(b: Build, shape: Shape) -> nn.Module:
    b.draw.mark("ElementWiseRecurrentContainer")
    synapse, source = b.synapses(shape, outputs=shape[0], same_size=True)
    weight = b.draw.number(-0.7, 0.7)
    function = b.draw.pick(
        (lambda y, x: x + y, lambda y, x: x - weight * y, lambda y, x: torch.add(x, y, alpha=weight))
    )
    node = _one_step_neuron(b, shape, [source])
    return _layers(synapse, layer.ElementWiseRecurrentContainer(node, function, step_mode="m" if b.multi_step else "s"))


def _arithmetic_block(b: Build, shape: Shape) -> nn.Module:
    """Constants on the way to a neuron."""
    b.draw.mark("constants")
    synapse, source = b.synapses(shape)
    after = b.shape_after(synapse, shape)
    if b.draw.chance(40):
        b.draw.mark("parameters as constants")
        constants = Constants(b.draw, after)
        return _layers(synapse, constants, b.neuron(after, [constants]))
    a, c = b.draw.number(0.5, 1.5), b.draw.number(-0.3, 0.3)
    function = b.draw.pick(
        (
            lambda x: a * x + c,
            lambda x: (x - c) / a,
            lambda x: c - x * a,
            lambda x: -x,
            lambda x: torch.sub(x, c, alpha=a),
        )
    )
    return _layers(synapse, Function(function), b.neuron(after, [source]))


def _step_gain(b: Build) -> nn.Module:
    draw = b.draw
    gain = draw.uniform(0.4, 1.6, b.timesteps)
    if draw.chance(15):
        gain[draw.whole(0, b.timesteps - 1)] *= draw.pick((0.0, -1.0))
    if draw.chance(40):
        draw.mark("a parameter for each step")
        return StepConstants(gain, draw.chance(50))
    module = TemporalGain(b.timesteps)
    module.gain.data = gain
    return module


def _step_gain_block(b: Build, shape: Shape, kind: str) -> nn.Module | None:
    """A current times another number at each step: behind a layer, on both sides of a sum, on a current that is read
    twice, behind another gain, or of spikes."""
    if not b.multi_step:
        return None
    b.draw.mark(f"gains of steps: {kind}")
    if kind == "chain":
        first = _step_gain(b) if b.draw.chance(30) else None
        synapse, source = b.synapses(shape)
        after = b.shape_after(synapse, shape)
        norm = None
        if b.draw.chance(60):
            norm, source = b.batch_norm(after)
        return _layers(first, synapse, _step_gain(b), norm, b.neuron(after, [source]))
    main, source = b.synapses(shape, outputs=shape[0], same_size=True)
    skip, other = b.synapses(shape, outputs=shape[0], same_size=True)
    if kind == "sum":
        norm, source = b.batch_norm(shape)
        main = _layers(main, _step_gain(b), norm)
        skip = _layers(skip, _step_gain(b) if b.draw.chance(70) else None)
        return Residual(main, skip, b.neuron(shape, [source, other]), "+")
    inner = _layers(b.neuron(shape, [source]), skip, _step_gain(b))
    through = _layers(*((_step_gain(b), b.batch_norm(shape)[0]) if b.draw.chance(50) else ()))
    return _layers(main, _step_gain(b), Residual(inner, through, b.neuron(shape, [other]), "+"))


def _shared_layer_block(b: Build, shape: Shape) -> nn.Module:
    """One layer with weights in two places."""
    b.draw.mark("a layer in two places")
    synapse, source = b.synapses(shape, outputs=shape[0], same_size=True)
    return _layers(synapse, b.neuron(shape, [source]), synapse, b.neuron(shape, []))


def _quiet_block(b: Build, shape: Shape) -> nn.Module:
    """What does nothing in eval mode, nested."""
    b.draw.mark("dropout, identity, nesting")
    inside = _plain_block(b, shape)
    mode = "m" if b.multi_step else "s"
    return nn.Sequential(
        nn.Identity(),
        nn.Sequential(nn.Dropout(0.3), nn.Sequential(inside, nn.Sequential())),
        layer.Dropout(0.2, step_mode=mode),
        Function(lambda x: F.dropout(x, 0.5, training=False)),
    )


def _functional_block(b: Build, shape: Shape) -> nn.Module | None:
    """The mean of each channel before a neuron."""
    if len(shape) == 1:
        return None
    b.draw.mark("mean over places")
    synapse, source = b.conv(shape)
    after = b.shape_after(synapse, shape)
    dims = tuple(range(-len(after) + 1, 0))
    mean = b.draw.chance(50)
    over = Function(lambda x: x.mean(dims) if mean else torch.sum(x, dims))
    return _layers(synapse, over, b.neuron((after[0],), [source]))


BLOCKS: dict[str, Callable[[Build, Shape], nn.Module | None]] = {
    "plain": _plain_block,
    "transpose": _transpose_block,
    "norm first": _norm_first_block,
    "norm only": _norm_only_block,
    **{
        f"{kind}-pool of {of}": lambda b, shape, kind=kind, of=of: _pool_block(b, shape, kind, of)
        for kind in ("avg", "adaptive", "max")
        for of in ("spikes", "currents")
    },
    "upsample": _upsample_block,
    "spike+spike": lambda b, shape: _residual_block(b, shape, "spike+spike"),
    "spike+current": lambda b, shape: _residual_block(b, shape, "spike+current"),
    "current+current": lambda b, shape: _residual_block(b, shape, "current+current"),
    "fan-out": _shared_current_block,
    "cat spikes": lambda b, shape: _cat_block(b, shape, "spikes"),
    "cat currents": lambda b, shape: _cat_block(b, shape, "currents"),
    "linear recurrent": _linear_recurrent_block,
    "element-wise recurrent": _element_wise_recurrent_block,
    "constants": _arithmetic_block,
    **{
        f"gains of steps: {kind}": lambda b, shape, kind=kind: _step_gain_block(b, shape, kind)
        for kind in ("chain", "sum", "read twice")
    },
    "shared layer": _shared_layer_block,
    "quiet": _quiet_block,
    "channel mean": _functional_block,
}
