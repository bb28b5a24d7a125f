"""The same network run by PyTorch, as well as PyTorch can: what the engines are compared with.

:func:`peers` gives functions of images in float32: the SpikingJelly module as it is, and the folded graph of the
program as a plain module, run eagerly, by TorchScript, and by ``torch.compile``.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn import functional as F

from neurocompile.ir import interpret
from neurocompile.ir.ops import (
    Add,
    Array,
    Conv,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Pairs,
    Reshape,
    Scale,
    SumPool,
)
from neurocompile.program import Program

__all__ = ["KINDS", "Agreement", "Folded", "Peer", "compare", "peers"]

Peer = Callable[[Tensor], Tensor]
KINDS = ("spikingjelly", "eager", "jit", "compile")


def peers(program: Program, module: nn.Module, threads: int, kinds: Collection[str] = KINDS) -> dict[str, Peer]:
    """Functions of constant images [N, C, H, W] in float32 that give scores [N, classes].

    "jit" and "compile" are made anew for each batch size, at the first call with it; time later calls.

    Args:
        program: of the module; the folded ones are made of ``program.real``.
        module: calibrated, of SpikingJelly modules over [T, N, C, H, W]; it stays as it is.
        threads: of torch from now on, in the whole process.
        kinds: which of :data:`KINDS`. "compile" is left out, with a warning, where torch.compile does not work.
    """
    torch.set_num_threads(threads)
    found: dict[str, Peer] = {}
    if "spikingjelly" in kinds:
        found["spikingjelly"] = _spikingjelly(module, program.timesteps)
    if "eager" in kinds:
        found["eager"] = _eager(program)
    if "jit" in kinds:
        found["jit"] = _jit(program)
    if "compile" in kinds:
        compiled = _compile(program)
        (shape,) = program.input_shapes.values()
        try:
            compiled(torch.zeros(1, *shape))
        except Exception as error:  # a missing compiler, a platform that inductor does not know
            warnings.warn(f"torch.compile does not work here: {type(error).__name__}: {error}", stacklevel=2)
        else:
            found["compile"] = compiled
    return found


def _spikingjelly(module: nn.Module, timesteps: int) -> Peer:
    module = copy.deepcopy(module).float().eval()

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        functional.reset_net(module)
        scores: Tensor = module(x.expand(timesteps, *x.shape))
        return scores

    return run


def _eager(program: Program) -> Peer:
    folded = Folded(program, inplace=True)

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        scores: Tensor = folded(x)
        return scores

    return run


def _jit(program: Program) -> Peer:
    made: dict[tuple[int, ...], Any] = {}

    def make(x: Tensor) -> Any:
        """Whichever is faster: frozen in-place code (often), or what optimize_for_inference makes of the other form."""
        in_place, functional = (
            torch.jit.freeze(torch.jit.trace(Folded(program, inplace), x, check_trace=False))  # type: ignore[no-untyped-call]
            for inplace in (True, False)
        )
        return min((in_place, torch.jit.optimize_for_inference(functional)), key=lambda run: _fastest(run, x))

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        if tuple(x.shape) not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[tuple(x.shape)] = make(x)
        scores: Tensor = made[tuple(x.shape)](x)
        return scores

    return run


def _fastest(run: Peer, x: Tensor, times: int = 5) -> float:
    """Seconds of the fastest of a few calls, once the first few are over."""
    seconds = []
    for _ in range(3 + times):
        start = time.perf_counter()
        run(x)
        seconds.append(time.perf_counter() - start)
    return min(seconds[3:])


def _compile(program: Program) -> Peer:
    # Without gradients, inductor's freezing lays the weights out for oneDNN once and for all.
    compiled = torch.compile(Folded(program), dynamic=False, fullgraph=True, options={"freezing": True})

    @torch.no_grad()
    def run(x: Tensor) -> Tensor:
        scores: Tensor = compiled(x)
        return scores

    return run


class Folded(nn.Module):
    """A folded real graph as a module, layer by layer over all steps: images [N, C, H, W] -> the output [N, ...].

    Time is folded into the batch (time outermost) in channels_last memory, and what does not change over time is
    computed once. In float32 a membrane within rounding of its threshold may fall on the other side.

    Args:
        program: its real graph is used: one input, one output, neurons without refractoriness or second threshold.
        inplace: write membranes and sums where the currents were (best eagerly; torch.compile does better without).
        dtype: of weights and membranes; images must have it, too.
    """

    def __init__(self, program: Program, inplace: bool = False, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        graph, steps = program.real, program.timesteps
        (source,), (output,) = graph.of(Input), graph.of(Output)
        self.timesteps = steps
        self.source, self.output = source.name, output.name
        self.layers = nn.ModuleList()
        self.plan: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        nodes = [node for node in graph if not isinstance(node.op, Input)]
        last = {name: node.name for node in nodes for name in node.inputs}
        constant = {source.name}
        for node in nodes:
            still = tuple(name in constant for name in node.inputs)
            if all(still) and not isinstance(node.op, Neuron | Integrator):
                constant.add(node.name)
            first = node.inputs[0]
            free = (
                inplace
                and isinstance(graph[first].op, Conv | Linear | Add)
                and len(graph.consumers[first]) == 1
                and first not in constant
            )
            shapes = [graph.edges[name].shape for name in node.inputs]
            self.layers.append(_layer(node.op, shapes, still, steps, inplace, free))
            dead = tuple(sorted({name for name in node.inputs if last[name] == node.name}))
            self.plan.append((node.name, node.inputs, dead))
        self.eval().requires_grad_(False).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the output as it is read."""
        return self._run(x, {})

    def spikes(self, x: Tensor) -> dict[str, Tensor]:
        """The spikes [T, N, ...] of every layer of neurons for images [N, C, H, W]."""
        heard: dict[str, Tensor] = {}
        self._run(x, heard, listen=True)
        return heard

    def _run(self, x: Tensor, heard: dict[str, Tensor], listen: bool = False) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        values = {self.source: x}
        for layer, (name, sources, dead) in zip(self.layers, self.plan):
            values[name] = layer(*[values[source] for source in sources])
            if listen and isinstance(layer, _Neuron):
                heard[name] = _over_time(values[name], self.timesteps).clone()
            for done in dead:
                del values[done]
        return values[self.output]


def _over_time(x: Tensor, steps: int) -> Tensor:
    """[T * N, ...] -> [T, N, ...], a view."""
    seq: Tensor = x.unflatten(0, (steps, -1))  # type: ignore[no-untyped-call]
    return seq


def _number(values: Array) -> float | Tensor:
    """A parameter as a number, if it is one, else as a tensor that broadcasts to the layer."""
    return float(values.reshape(-1)[0]) if values.size == 1 else nn.Buffer(torch.from_numpy(values.astype(np.float64)))


def _layer(
    op: Any, shapes: list[tuple[int, ...]], still: tuple[bool, ...], steps: int, inplace: bool, free: bool
) -> nn.Module:
    match op:
        case Conv():
            return _Conv(op)
        case Linear():
            return _Linear(op)
        case Scale():
            return _Scale(op)
        case SumPool() | MaxPool():
            return _Pool(op, shapes[0])
        case Add():
            return _Add(still, steps, free)
        case Reshape():
            return _Reshape(op.shape)
        case Neuron():
            return _Neuron(op, steps, still[0], inplace, free)
        case Integrator():
            return _Integrator(op, steps, still[0])
        case Output():
            return _Output(op, steps, still[0])
    raise NotImplementedError(f"{type(op).__name__} has no counterpart here")


def _padded(x: Tensor, padding: Pairs, value: float = 0.0) -> Tensor:
    return F.pad(x, [side for pair in reversed(padding) for side in pair], value=value)


def _even(padding: Pairs) -> bool:
    return all(before == after for before, after in padding)


class _Conv(nn.Module):
    def __init__(self, op: Conv) -> None:
        super().__init__()
        if op.weight.ndim != 4:
            raise NotImplementedError("convolutions over one axis")
        weight = torch.from_numpy(op.weight.astype(np.float64)).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias: nn.Parameter | None = None
        self.place: nn.Parameter | None = None  # a bias that differs from place to place
        if op.bias is not None:
            bias = torch.from_numpy(op.bias.astype(np.float64))
            if bias.numel() in (1, len(weight)):
                self.bias = nn.Parameter(bias.reshape(-1).expand(len(weight)).clone(), requires_grad=False)
            else:
                self.place = nn.Parameter(bias, requires_grad=False)
        self.stride, self.dilation, self.groups = tuple(op.stride), tuple(op.dilation), op.groups
        self.pads = None if _even(op.padding) else op.padding
        self.padding = tuple(0 if self.pads else before for before, _ in op.padding)

    def forward(self, x: Tensor) -> Tensor:
        if self.pads:
            x = _padded(x, self.pads)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return y if self.place is None else y + self.place


class _Linear(nn.Module):
    def __init__(self, op: Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(op.weight.astype(np.float64)), requires_grad=False)
        self.bias: nn.Parameter | None = None
        if op.bias is not None:
            bias = np.broadcast_to(op.bias, len(op.weight)).astype(np.float64)
            self.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Scale(nn.Module):
    def __init__(self, op: Scale) -> None:
        super().__init__()
        self.scale, self.shift = _number(op.scale), _number(op.shift)

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.scale
        return y if isinstance(self.shift, float) and not self.shift else y + self.shift


class _Pool(nn.Module):
    def __init__(self, op: SumPool | MaxPool, shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(op.kernel) != 2:
            raise NotImplementedError("pools over one axis")
        self.kernel, self.stride = tuple(op.kernel), tuple(op.stride)
        self.dilation = tuple(op.dilation) if isinstance(op, MaxPool) else (1, 1)
        self.largest = isinstance(op, MaxPool)
        self.pads = None if _even(op.padding) else op.padding
        self.padding = tuple(0 if self.pads else before for before, _ in op.padding)
        self.whole = not self.largest and self.kernel == shape[1:] and not any(map(any, op.padding))

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            return x.sum((2, 3), keepdim=True)
        if self.pads:
            x = _padded(x, self.pads, -torch.inf if self.largest else 0.0)
        if self.largest:
            return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation)
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding, divisor_override=1)


class _Add(nn.Module):
    def __init__(self, still: tuple[bool, ...], steps: int, free: bool) -> None:
        super().__init__()
        self.still, self.steps, self.free = still, steps, free
        self.mixed = any(still) and not all(still)

    def forward(self, *terms: Tensor) -> Tensor:
        if self.mixed:
            terms = tuple(x if still else _over_time(x, self.steps) for x, still in zip(terms, self.still))
        total, *others = terms
        for number, term in enumerate(others):
            total = total.add_(term) if self.free or number else total + term
        return total.flatten(0, 1) if self.mixed else total


class _Reshape(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if len(self.shape) == 1 else x.reshape(-1, *self.shape)


class _Neuron(nn.Module):
    """The neuron equation, divided by its gain: the current is added as it comes."""

    def __init__(self, op: Neuron, steps: int, still: bool, inplace: bool, free: bool) -> None:
        super().__init__()
        if (
            np.any(op.current_decay)
            or op.refractory
            or op.negative_threshold is not None
            or op.norm is not None
            or not np.all(op.gain)
            or op.shift
        ):
            raise NotImplementedError("a neuron with more than a membrane, a threshold and a reset")
        self.steps, self.still, self.inplace, self.free = steps, still, inplace, free
        self.strict, self.reset = op.strict, op.reset
        self.threshold, self.decay = _number(op.threshold / op.gain), _number(op.decay)
        self.bias = _number(op.input_bias + op.bias / op.gain)
        self.v_init, self.v_reset = _number(op.v_init / op.gain), _number(op.v_reset / op.gain)
        self.keep, self.amount = _number(op.keep), _number(op.amount / op.gain)
        self.amplitude = _number(op.amplitude)
        flip = np.logical_xor(op.flip, op.gain < 0)
        self.flip = nn.Buffer(torch.from_numpy(np.array(flip))) if flip.any() else None
        simple = not self._has(self.bias) and not self._has(self.v_init) and self.flip is None
        known = op.reset == "none" or (op.reset == "to" and not self._has(self.v_reset)) or op.reset == "by"
        self.plain = simple and known and isinstance(self.decay, float) and not self._has(self.keep, 1.0)

    @staticmethod
    def _has(value: float | Tensor, other: float = 0.0) -> bool:
        return isinstance(value, Tensor) or value != other

    def forward(self, x: Tensor) -> Tensor:
        seq = [x] * self.steps if self.still else _over_time(x, self.steps).unbind()
        if self.inplace and self.plain:
            out = self._in_place(x, seq)
        else:
            out = torch.cat(self._functional(seq))
        return out * self.amplitude if self._has(self.amplitude, 1.0) else out

    def _functional(self, seq: Any) -> list[Tensor]:
        """Spikes of each step, one expression after the other: a compiler makes one loop of it."""
        out: list[Tensor] = []
        v: Any = self.v_init
        for t, x in enumerate(seq):
            h = x if t == 0 and not self._has(v) else x + self.decay * v
            if self._has(self.bias):
                h = h + self.bias
            fired = h > self.threshold if self.strict else h >= self.threshold
            if self.flip is not None:
                other = h < self.threshold if self.strict else h <= self.threshold
                fired = torch.where(self.flip, other, fired)
            out.append(fired.to(h.dtype))
            if self.reset == "to":
                v = torch.where(fired, self.v_reset, h)
            elif self.reset == "by":
                v = torch.where(fired, self.keep * h - self.amount, h)
            else:
                v = h
        return out

    def _in_place(self, x: Tensor, seq: Any) -> Tensor:
        """The same in as few passes over memory as eager torch takes; the currents' memory serves as the membranes'."""
        batch = len(seq[0])
        format_ = torch.channels_last if x.dim() == 4 else torch.contiguous_format
        out = torch.empty((self.steps * batch, *x.shape[1:]), dtype=x.dtype, memory_format=format_)
        above, below = (torch.gt, torch.le) if self.strict else (torch.ge, torch.lt)
        silent = torch.empty_like(seq[0])
        h = seq[0]
        for t, fired in enumerate(_over_time(out, self.steps).unbind()):
            above(h, self.threshold, out=fired)
            if t + 1 == self.steps:
                break
            now = seq[t + 1]
            if self.reset == "to":
                below(h, self.threshold, out=silent)
                h = now.addcmul_(h, silent, value=self.decay) if self.free else now.addcmul(h, silent, value=self.decay)
                continue
            h = now.add_(h, alpha=self.decay) if self.free else now.add(h, alpha=self.decay)
            if self.reset == "by" and isinstance(self.amount, Tensor):
                h.addcmul_(fired, self.amount, value=-self.decay)
            elif self.reset == "by":
                h.add_(fired, alpha=-self.decay * self.amount)
        return out


class _Integrator(nn.Module):
    def __init__(self, op: Integrator, steps: int, still: bool) -> None:
        super().__init__()
        self.steps, self.still = steps, still
        self.decay, self.gain, self.bias = _number(op.decay), _number(op.gain), _number(op.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.gain, float) or self.gain != 1.0:
            x = x * self.gain
        if not isinstance(self.bias, float) or self.bias:
            x = x + self.bias
        seq = [x] * self.steps if self.still else _over_time(x, self.steps).unbind()
        if isinstance(self.decay, float) and not self.decay:
            return torch.cat(seq) if self.still else x
        out = [seq[0]]
        for now in seq[1:]:
            out.append(now + self.decay * out[-1])
        return torch.cat(out)


class _Output(nn.Module):
    def __init__(self, op: Output, steps: int, still: bool) -> None:
        super().__init__()
        if op.read not in ("mean", "sum", "last"):
            raise NotImplementedError(f"an output that is read by its {op.read}")
        self.read, self.steps, self.still, self.unit = op.read, steps, still, _number(op.unit)

    def forward(self, x: Tensor) -> Tensor:
        seq = x.expand(self.steps, *x.shape) if self.still else _over_time(x, self.steps)
        y = seq[-1] if self.read == "last" else seq.mean(0) if self.read == "mean" else seq.sum(0)
        return y if isinstance(self.unit, float) and self.unit == 1.0 else y * self.unit


@dataclass(frozen=True)
class Agreement:
    """How close peers are to the float64 interpretation of the same graph.

    ``classes`` is for each peer the share of samples with the same largest score; ``scores`` the median, over samples,
    of the largest difference of a score, as a part of the largest score. ``spikes`` is for each way to run the folded
    graph the share of samples of which every spike is the same, ``rates`` the largest difference of a layer's rate.
    One membrane that float32 rounds to the other side of its threshold may change all later layers of its sample (in
    a network of millions of neurons there is one in nearly every sample). ``exact`` has no such excuse: whether the
    folded graph in float64 gives every spike.
    """

    classes: dict[str, float]
    scores: dict[str, float]
    spikes: dict[str, float]
    rates: dict[str, float]
    exact: dict[str, bool]

    @property
    def close(self) -> bool:
        """Whether float64 agrees entirely, and float32 for most samples (of a small network)."""
        return (
            all(self.exact.values())
            and min(self.classes.values(), default=1.0) >= 0.8
            and max(self.scores.values(), default=0.0) < 1e-4
            and min(self.spikes.values()) > 0.5
            and max(self.rates.values()) < 0.005
        )


def compare(program: Program, found: dict[str, Peer], x: Tensor) -> Agreement:
    """Run peers and the float64 interpretation on images [N, C, H, W] (slow for large networks)."""
    (source,), (output,) = program.real.of(Input), program.real.of(Output)
    seq = np.repeat(x.numpy()[:, None].astype(np.float64), program.timesteps, axis=1)
    oracle = interpret(program.real, {source.name: seq}, program.timesteps)
    wanted = oracle.outputs[output.name]
    agreement = Agreement({}, {}, {}, {}, {})
    for kind, run in found.items():
        given = run(x).numpy()
        agreement.classes[kind] = float((given.argmax(1) == wanted.argmax(1)).mean())
        agreement.scores[kind] = float(np.median(np.abs(given - wanted).max(1)) / np.abs(wanted).max())
    for way, inplace in (("functional", False), ("in place", True)):
        heard = {name: s.transpose(0, 1).numpy() for name, s in Folded(program, inplace).spikes(x).items()}
        same = [(heard[name] == s).reshape(len(s), -1).all(1) for name, s in oracle.spikes.items()]
        agreement.spikes[way] = float(np.all(same, axis=0).mean())
        agreement.rates[way] = max(abs(float(heard[name].mean() - s.mean())) for name, s in oracle.spikes.items())
        doubles = Folded(program, inplace, torch.float64).spikes(x.double())
        agreement.exact[way] = all(
            np.array_equal(doubles[name].transpose(0, 1).numpy(), s) for name, s in oracle.spikes.items()
        )
    return agreement
