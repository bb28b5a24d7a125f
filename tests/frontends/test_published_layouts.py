"""Networks as authors publish them, with time anywhere and neurons of their own: saved, loaded, compiled, and every
spike as the live torch module fires it; wrong registrations and layers that mix time are refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import NeurocompileError, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.frontends.pytorch.neurons import is_registered
from neurocompile.ir import interpret

T, N = 5, 7
DOCS = Path(__file__).parents[2] / "docs" / "layouts.md"


# -- neurons and networks in the styles of the literature -------------------------------------------------------------


class Rectangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float, width: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold, ctx.width = threshold, width
        return u.gt(threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Any:
        (u,) = ctx.saved_tensors
        return grad[0] * ((u - ctx.threshold).abs() < ctx.width) / (2 * ctx.width), None, None


@neurocompile.neuron(lambda m: neurocompile.equation(0.5, decay=0.25, strict=True), layout="TN")
class StraightThrough(nn.Module):
    """[T, N, ...]: the spike is written as (s - clamp(u)).detach() + clamp(u), the reset acts on the membrane."""

    def forward(self, x: Tensor) -> Tensor:
        u, out = torch.zeros_like(x[0]), []
        for t in range(x.shape[0]):
            u = 0.25 * u + x[t]
            soft = torch.clamp(u, 0, 1)
            spike = (torch.gt(u, 0.5).float() - soft).detach() + soft
            u = u * (1 - spike)
            out += [spike]
        return torch.stack(out)


class TimeFirst(nn.Module):
    """Layers in [T * N, ...], norms in [N, C, T, H, W], neurons in [T, N, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(2, 6, 3, 2, 1, bias=False), nn.BatchNorm3d(6), StraightThrough()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.BatchNorm3d(6), StraightThrough()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def layer(self, module: nn.Module, x: Tensor) -> Tensor:
        t, n, c, h, w = x.shape
        y = module(x.reshape(-1, c, h, w))
        return y.view(t, n, *y.shape[1:]).contiguous()

    def norm(self, module: nn.Module, x: Tensor) -> Tensor:
        return module(x.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.bn1, self.layer(self.conv1, x)))
        out = self.norm(self.bn2, self.layer(self.conv2, x))
        out += x
        out = self.layer(self.pool, self.act2(out))
        out = self.fc(out.view(out.size(0), out.size(1), -1))
        return out.mean([0])


class StepByStep(nn.Module):
    """Each layer in a loop over time of forward's own, put together in three ways; options that nobody gives."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(2, 6, 3, 2, 1), nn.BatchNorm2d(6), StraightThrough()
        self.conv2, self.act2, self.fc = nn.Conv2d(6, 6, 3), StraightThrough(), nn.Linear(24, 4)

    def forward(self, x: Tensor, features: Tensor | None = None, drop: bool = False) -> Tensor:
        if len(x.shape) == 4:
            x = x.unsqueeze(0).repeat(T, 1, 1, 1, 1)
        else:
            x = x.permute([1, 0, 2, 3, 4])
        out = []
        for i in range(T):
            out += [self.bn1(self.conv1(x[i]))]
        x = self.act1(torch.stack(out))
        x = self.act2(torch.cat([self.conv2(step).unsqueeze(0) for step in x], 0))
        x = torch.cat([x[t] for t in range(T)], 0).flatten(1)
        x = torch.stack([self.fc(step) for step in x.view(T, -1, 24)], dim=1)
        return x.mean(1) if features is None and not drop else x


@neurocompile.neuron(
    lambda m: neurocompile.equation(m.threshold[:, None, None], decay=m.decay.sigmoid(), reset="by", amount=m.drop),
    layout="NT",
)
class ChannelThresholds(nn.Module):
    """[N, T, C, H, W]: one threshold a channel, a trained decay, a soft reset by another number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.linspace(0.2, 0.8, channels))
        self.decay = nn.Parameter(torch.tensor(0.5))
        self.drop = 0.4

    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros(x.shape[0], *x.shape[2:], device=x.device)
        spikes = []
        for t in range(x.shape[1]):
            v = v * self.decay.sigmoid() + x[:, t, ...]
            s = (v - self.threshold.view(1, -1, 1, 1) >= 0).float()
            v = v - s * self.drop
            spikes.append(s.unsqueeze(1))
        return torch.cat(spikes, 1)


class BatchFirst(nn.Module):
    """Layers in [N * T, ...], the last step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), ChannelThresholds(6)
        self.fc = nn.Linear(6 * 6 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return self.fc(self.act(y).flatten(2))[:, -1]


@neurocompile.neuron(lambda m: neurocompile.equation(m.v_th, decay=m.tau, strict=True), layout="N..T")
class TimeLastSpike(nn.Module):
    """[N, ..., T]: the reset of a step is made with the spike of the step before."""

    tau, v_th = 0.25, 0.2

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[-1]
        u = torch.zeros(x.shape[:-1], device=x.device)
        out = torch.zeros(x.shape, device=x.device)
        for step in range(steps):
            u, out[..., step] = self.update(u, out[..., max(step - 1, 0)], x[..., step])
        return out

    def update(self, u: Tensor, o: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.tau * u * (1 - o) + x
        return u, Rectangle.apply(u, self.v_th, 0.5)


class TimeLast(nn.Module):
    """An image is repeated along a last axis; convolutions of k x k x 1, down and up again; linear over [N, C, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 6, (3, 3, 1), (2, 2, 1), (1, 1, 0))
        self.bn1, self.spike1 = nn.BatchNorm3d(6), TimeLastSpike()
        self.up = nn.ConvTranspose3d(6, 4, (3, 3, 1), (2, 2, 1), (1, 1, 0), (1, 1, 0))
        self.bn2, self.spike2 = nn.BatchNorm3d(4), TimeLastSpike()
        self.fc, self.bn3, self.spike3 = nn.Linear(4 * 64, 8), nn.BatchNorm1d(8), TimeLastSpike()

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1).repeat(1, 1, 1, 1, T)
        x = self.spike2(self.bn2(self.up(self.spike1(self.bn1(self.down(x))))))
        x = torch.flatten(x, 1, 3)
        x = self.fc(x.transpose(1, 2)).transpose(1, 2)
        return self.spike3(self.bn3(x)).mean(-1)


@neurocompile.neuron(
    lambda m: neurocompile.equation(
        m.threshold, current_decay=m.keep, decay=m.leak, v_reset=m.rest, v_init=m.rest, bias=(1 - m.leak) * m.rest
    ),
    layout="NCT..",
)
class Current(nn.Module):
    """[N, C, T, H, W]: a synaptic current, a membrane that rests at a value and is reset to it."""

    keep, leak, threshold, rest = 0.5, 0.8, 0.6, -0.1

    def forward(self, x: Tensor) -> Tensor:
        i = torch.zeros_like(x[:, :, 0])
        v = torch.full_like(i, self.rest)
        out = []
        for t in range(x.size(2)):
            i = self.keep * i + x[:, :, t]
            v = self.rest + self.leak * (v - self.rest) + i
            spike = (v >= self.threshold).type_as(x)
            v = torch.where(spike > 0, torch.full_like(v, self.rest), v)
            out.append(spike)
        return torch.stack(out, 2)


class TimeInTheMiddle(nn.Module):
    """Convolutions of 1 x k x k with groups and dilation, pools of 1 x 2 x 2, global pooling that keeps time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv3d(2, 6, (1, 3, 3), padding="same"), nn.BatchNorm3d(6), Current()
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2 = nn.Conv3d(6, 8, (1, 3, 3), dilation=(1, 2, 2), padding=(0, 2, 2), groups=2)
        self.act2, self.pool2 = Current(), nn.AdaptiveAvgPool3d((None, 1, 1))
        self.fc = nn.Conv3d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.act1(self.bn1(self.conv1(x))))
        x = self.pool2(self.act2(self.conv2(x)))
        return self.fc(x).squeeze(-1).squeeze(-1).mean(2)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, timesteps: int, tau: Tensor, v_th: Tensor) -> Tensor:
        membrane, spikes = 0.0, []
        keep = torch.exp(-1.0 / tau)
        for step in x.view(timesteps, -1, *x.shape[1:]):
            membrane = keep * membrane + (1 - keep) * step
            spike = (membrane >= 0.3 * v_th).to(x.dtype) * v_th
            membrane = membrane - spike
            spikes.append(spike / 0.5)
        return torch.cat(spikes, 0)


@neurocompile.neuron(
    lambda m: neurocompile.equation(
        0.3 * m.v_th,
        decay=torch.exp(-1 / m.tau),
        gain=1 - torch.exp(-1 / m.tau),
        reset="by",
        amount=m.v_th,
        amplitude=m.v_th / 0.5,
    ),
    layout="fold",
)
class Folded(nn.Module):
    """[T * N, ...]: all of the forward is in an autograd function; what is sent has a height."""

    def __init__(self) -> None:
        super().__init__()
        self.v_th = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("tau", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return Fire.apply(x, T, self.tau, self.v_th)


class FoldedNet(nn.Module):
    """Made for [T * N, ...]; with ``image``, forward folds an image into it."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self.image = image
        self.conv, self.bn, self.act = nn.Conv2d(2, 6, 3, 2, 1), nn.BatchNorm2d(6), Folded()
        self.pool, self.pooled = nn.AvgPool2d(2), Folded()
        self.fc, self.fc_bn, self.last = nn.Linear(24, 4), nn.BatchNorm1d(4), Folded()

    def forward(self, x: Tensor) -> Tensor:
        if self.image == "cat":
            x = torch.cat([x for _ in range(T)], 0)
        elif self.image == "repeat":
            x = x.repeat(T, 1, 1, 1)
        x = self.pooled(self.pool(self.act(self.bn(self.conv(x)))))
        x = self.last(self.fc_bn(self.fc(nn.functional.dropout(x.flatten(1), training=self.training))))
        return torch.mean(x.view(T, -1, *x.shape[1:]), 0)


@neurocompile.neuron(lambda m: neurocompile.equation(m.thresh, decay=m.decay, strict=True), layout="loop")
class MemUpdate(nn.Module):
    """One step a call; membrane and spike lie in the module."""

    decay, thresh = 0.5, 0.3

    def __init__(self) -> None:
        super().__init__()
        self.mem: Any = None
        self.spike: Any = None

    def reset(self) -> None:
        self.mem = self.spike = None

    def forward(self, x: Tensor) -> Tensor:
        self.mem = x if self.mem is None else self.mem * self.decay * (1 - self.spike) + x
        self.spike = Rectangle.apply(self.mem, self.thresh, 0.5)
        return self.spike


class StepNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mem1 = nn.Conv2d(2, 6, 3, 2, 1), MemUpdate()
        self.fc1, self.mem2, self.fc2 = nn.Linear(6 * 16, 12), MemUpdate(), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mem1(self.conv(x))
        return self.fc2(self.mem2(self.fc1(x.view(x.size(0), -1))))


# The network's layout, the network, and where time is in what its neurons give: an axis, -2: folded, None: a call.
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], int | None]] = {
    "time first": ("TN", TimeFirst, 0),
    "step by step": ("NT", StepByStep, 0),
    "step by step, from an image": ("N", StepByStep, 0),
    "batch first": ("NT", BatchFirst, 1),
    "time last, from an image": ("N", TimeLast, -1),
    "time in the middle": ("NCT..", TimeInTheMiddle, 2),
    "folded": ("fold", lambda: FoldedNet(""), -2),
    "folded by cat": ("N", lambda: FoldedNet("cat"), -2),
    "folded by repeat": ("N", lambda: FoldedNet("repeat"), -2),
    "one step a call": ("loop", StepNet, None),
}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """With random weights, norms and statistics; in eval mode."""
    torch.manual_seed(0)
    net = make()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.1, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.5)
    return net.eval()


def given(x: Tensor, layout: str) -> Tensor:
    """``x[N, T, ...]`` as forward takes it (all steps)."""
    match layout:
        case "TN":
            return x.transpose(0, 1)
        case "N..T":
            return x.permute(0, *range(2, x.ndim), 1)
        case "NCT..":
            return x.transpose(1, 2)
        case "fold":
            return x.transpose(0, 1).reshape(-1, *x.shape[2:])
        case "N":
            return x[:, 0]
    return x


@torch.no_grad()
def live(net: nn.Module, x: Tensor, layout: str, time: int | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs and spikes ``[N, T, ...]`` of the user's own module in float64, under hooks of this test."""
    net = copy.deepcopy(net).double()
    heard: dict[str, list[Tensor]] = {}
    for path, module in net.named_modules():
        if is_registered(module):

            def hook(module: nn.Module, args: Any, output: Tensor, path: str = path) -> Tensor:
                heard.setdefault(path, []).append(output.double())
                return output.double()

            module.register_forward_hook(hook)
    steps = x.shape[1]
    if layout == "loop":
        outputs = torch.stack([net(x[:, t]) for t in range(steps)]).mean(0)
    else:
        outputs = net(given(x, layout))
    spikes = {}
    for path, parts in heard.items():
        if time is None:
            seq = torch.stack(parts, 1)
        elif time == -2:
            seq = torch.stack(parts[0].chunk(steps), 1)
        else:
            seq = torch.stack(parts[0].unbind(time), 1)
        spikes[path] = (seq != 0).to(torch.int8).numpy()
    return outputs.numpy(), spikes


def hold(net: nn.Module, x: Tensor, layout: str, time: int | None, tmp_path: Path, silent: Sequence[str] = ()) -> None:
    """Save, load, compile; every spike (but ``silent`` never fire) and the outputs as the live module has them."""
    steps = x.shape[1]
    example = given(x, layout) if layout != "loop" else x[:, 0]
    known = {} if layout in ("TN", "NT", "N..T", "NCT..") else {"timesteps": steps}
    file = tmp_path / "model.pt"
    neurocompile.save(net, file, example.float(), layout=layout, **known)  # type: ignore[arg-type]
    program = neurocompile.compile(file)
    result = neurocompile.simulate(program, x.numpy(), real=True)
    outputs, spikes = live(net, x, layout, time)
    for path in silent:
        del spikes[path]
    assert set(result.spikes) == set(spikes)
    for path, expected in spikes.items():
        np.testing.assert_array_equal(result.spikes[path], expected, err_msg=path)
        assert 0.02 < expected.mean() < 0.8, (path, expected.mean())
    np.testing.assert_allclose(result.outputs["output"], outputs, rtol=1e-9, atol=1e-9)
    lowering = neurocompile.validate(program, x.numpy(), reference=net, layout=layout).stages[0]  # type: ignore[arg-type]
    assert lowering.passed
    assert (lowering.mismatches, lowering.ties) == (0, 0)
    assert lowering.compared == sum(s.size for s in spikes.values())
    (samples,) = load_model(file).example.values()
    recorded = neurocompile.validate(program, samples, reference=file).stages[0]
    assert recorded.passed
    assert recorded.mismatches == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_fires_as_it_does_live(name: str, tmp_path: Path) -> None:
    layout, make, time = NETWORKS[name]
    x = torch.rand(N, T, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x.float().double()
    if layout in ("N", "loop"):
        x = x[:, :1].expand(-1, T, -1, -1, -1).contiguous()
    hold(made(make), x, layout, time, tmp_path)


def _examples() -> list[tuple[str, str]]:
    return re.findall(r"^## [^\n]*`([^`\n]*)`\n.*?```python\n(.*?)```", DOCS.read_text(), re.S | re.M)


AXIS: dict[str, int | None] = {"TN": 0, "NT": 1, "N..T": -1, "NCT..": 2, "fold": -2, "loop": None}


def test_every_layout_of_a_neuron_has_an_example() -> None:
    assert [name for name, _ in _examples()] == list(AXIS)


@pytest.mark.parametrize(("name", "source"), _examples(), ids=list(AXIS))
def test_an_example_of_the_docs(name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most thirty lines; it writes a file that compiles to what its own network does."""
    assert len([line for line in source.splitlines() if line.strip()]) <= 30
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict[str, Any] = {}
    exec(source, space)
    saved = load_model(tmp_path / "model.pt")
    net = space.get("net") or made(space["Net"])
    x = torch.rand(N, saved.timesteps, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    if saved.layout in ("N", "loop"):
        x = x[:, :1].expand(-1, saved.timesteps, -1, -1, -1).contiguous()
    hold(net, x, saved.layout, AXIS[name], tmp_path)


# -- registrations that are wrong --------------------------------------------------------------------------------------


class Plain(nn.Module):
    """[T, N, ...], leaky, reset by its threshold."""

    decay, level, height = 0.5, 0.75, 1.0

    def forward(self, x: Tensor) -> Any:
        v, out = torch.zeros_like(x[0]), []
        for step in x:
            v = self.decay * v + step
            s = (v >= self.level).to(x.dtype)
            v = v - self.level * s
            out.append(s * self.height)
        return torch.stack(out)


class Strict(Plain):
    def forward(self, x: Tensor) -> Any:
        v, out = torch.zeros_like(x[0]), []
        for step in x:
            v = self.decay * v + step
            out.append((v > self.level).to(x.dtype))
            v = v - self.level * out[-1]
        return torch.stack(out)


class High(Plain):
    height = 2.0


class Remembers(Plain):
    """Without a reset, the membrane of the call before is still there."""

    before: Any = 0.0

    def forward(self, x: Tensor) -> Any:
        out = super().forward(torch.cat((x[:1] + self.before, x[1:])))
        self.before = self.before + 0.125
        return out


class OneForAll(Plain):
    """[T, N, ...] to [N, ...]."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).sum(0)


class SecondAxis(Plain):
    """It takes [N, T, ...]."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


EQUATION = {"threshold": 0.75, "decay": 0.5, "reset": "by", "amount": 0.75}


def equation(**changed: Any) -> Callable[[Any], Any]:
    return lambda m: neurocompile.equation(**{**EQUATION, **changed})


def registered(cls: type[nn.Module], lowering: Callable[[Any], Any], layout: Any = "TN") -> nn.Module:
    """A neuron of a class that was registered so."""
    mine = type(cls.__name__, (cls,), {})
    return neurocompile.neuron(lowering, layout=layout)(mine)()  # type: ignore[no-any-return]


def lowered(node: nn.Module, shape: tuple[int, ...] = (3, 4, 4)) -> TorchModel:
    return TorchModel.from_module(nn.Sequential(node).eval(), shape, T, "TN")


@pytest.mark.parametrize("layout", ["TN", None])
def test_a_right_registration(layout: Any) -> None:
    for cls, changed in ((Plain, {}), (Strict, {"strict": True}), (High, {"amplitude": 2.0})):
        lowered(registered(cls, equation(**changed), layout))


WRONG: dict[str, tuple[type[nn.Module], Callable[[Any], Any], str]] = {
    "decay": (Plain, equation(decay=0.45), "does not compute its equation.*values differ, first at step 1"),
    "threshold": (Plain, equation(threshold=0.8), "does not compute its equation"),
    "reset": (Plain, equation(reset="to"), "does not compute its equation"),
    "a synaptic current": (Plain, equation(current_decay=0.1), "does not compute its equation"),
    ">= for >": (Strict, equation(), "membrane equals the threshold"),
    "> for >=": (Plain, equation(strict=True), "membrane equals the threshold"),
    "height": (High, equation(), "another height: 2 where the equation has 1"),
    "too few thresholds": (Plain, equation(threshold=np.full(3, 0.75)), r"threshold of shape \[3\] does not broadcast"),
    "one threshold a column": (Plain, equation(threshold=np.array([0.75, 0.75, 0.75, 0.5])), "does not compute"),
    "a name that the class has not": (Plain, lambda m: neurocompile.equation(m.thresh), "AttributeError.*thresh"),
    "no equation": (Plain, lambda m: {"threshold": 1.0}, "returned a dict"),
    "no reset": (Remembers, equation(), "does not start anew"),
    "another shape": (OneForAll, equation(), "one value for each"),
    "another axis": (SecondAxis, equation(), "depends on the other samples"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_registration_is_refused(name: str) -> None:
    cls, lowering, message = WRONG[name]
    with pytest.raises(UnsupportedModel, match=f"(?s)^0( \\({cls.__name__}\\))?: .*{message}") as caught:
        lowered(registered(cls, lowering))
    assert all(problem.fix or problem.limit for problem in caught.value.problems)


def test_a_layout_that_nothing_has() -> None:
    for layout in ("T..N", "N"):
        with pytest.raises(UsageError, match="cannot have this layout"):
            registered(Plain, equation(), layout)


def test_another_layout_than_the_network_has() -> None:
    with pytest.raises(UnsupportedModel, match=r"(?s)takes \[N, T, ...\].*reads axes \[T, N, feature.*layout=.TN."):
        lowered(registered(Plain, equation(), "NT"))
    with pytest.raises(UnsupportedModel, match="one step"):
        lowered(registered(Plain, equation(), "loop"))


def test_a_class_for_one_step_that_has_no_reset() -> None:
    class Forgetful(nn.Module):
        v: Any = 0.0

        def forward(self, x: Tensor) -> Tensor:
            self.v = 0.5 * self.v + x
            s = (self.v >= 0.75).to(x.dtype)
            self.v = self.v - 0.75 * s
            return s

    node = registered(Forgetful, equation(), "loop")
    with pytest.raises(NeurocompileError, match=r"reset\(\)"):
        TorchModel.from_module(nn.Sequential(node).eval(), (3,), T, "loop")


# -- layers with time among their axes ---------------------------------------------------------------------------------

CONV: list[dict[str, Any]] = [
    {},
    {"bias": False, "groups": 2},
    {"stride": (2, 1), "padding": (1, 0)},
    {"dilation": (1, 2), "padding": (0, 2)},
]


def _along(sizes: tuple[int, int], alone: int, time: int) -> tuple[int, ...]:
    """Two sizes with a third for time among them."""
    return (*sizes[:time], alone, *sizes[time:])


def _at(settings: dict[str, Any], time: int) -> dict[str, Any]:
    alone = {"stride": 1, "dilation": 1, "padding": 0, "output_padding": 0}
    return {
        name: _along(value, alone[name], time) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }


def _layers() -> dict[str, tuple[nn.Module, int]]:
    """Layers over [N, C, H, W] and time, and where time is among the places."""
    found: dict[str, tuple[nn.Module, int]] = {}
    for time in (0, 1, 2):
        for number, settings in enumerate(CONV):
            kernel = _along((3, 2), 1, time)
            found[f"Conv3d {number}, time {time}"] = nn.Conv3d(4, 6, kernel, **_at(settings, time)), time
        up = {"stride": (2, 2), "padding": (1, 0), "output_padding": (1, 0)}
        kernel = _along((3, 2), 1, time)
        found[f"ConvTranspose3d, time {time}"] = nn.ConvTranspose3d(4, 6, kernel, **_at(up, time)), time
        pool, shifted = _along((2, 3), 1, time), _along((1, 1), 0, time)
        found[f"AvgPool3d, time {time}"] = nn.AvgPool3d(pool, ceil_mode=True), time
        found[f"AvgPool3d padded, time {time}"] = nn.AvgPool3d(pool, 1, shifted, count_include_pad=False), time
        found[f"MaxPool3d, time {time}"] = nn.MaxPool3d(pool, padding=shifted), time
        found[f"MaxPool3d dilated, time {time}"] = nn.MaxPool3d(pool, 1, dilation=_along((2, 1), 1, time)), time
        found[f"AdaptiveAvgPool3d, time {time}"] = nn.AdaptiveAvgPool3d(_along((2, 3), T, time)), time
        found[f"BatchNorm3d, time {time}"] = nn.BatchNorm3d(4), time
    found["Conv3d same"] = nn.Conv3d(4, 6, (3, 2, 1), padding="same"), 2
    found["Dropout3d"] = nn.Dropout3d(), 2
    return found


class InOut(nn.Module):
    """[N, T, C, H, W] with time moved among the places, and back."""

    def __init__(self, module: nn.Module, time: int) -> None:
        super().__init__()
        self.module, self.to = module, [[0, 2, 1, 3, 4], [0, 2, 3, 1, 4], [0, 2, 3, 4, 1]][time]

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.permute(self.to)).permute([self.to.index(i) for i in range(5)])


def exact(
    net: nn.Module, shape: tuple[int, ...], layout: Any, read: Any = None, of: Callable[[Tensor], Tensor] = lambda y: y
) -> TorchModel:
    """Lower a network with random weights; its graph gives ``of`` what torch gives."""
    torch.manual_seed(0)
    net = net.double().eval()
    x = torch.randn(3, T, *shape, dtype=torch.float64)
    for values in (*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())):
        nn.init.uniform_(values, 0.1, 1.0)
    with torch.no_grad():
        expected = of(net(given(x, layout))).numpy()
    model = TorchModel.from_module(net, shape, T, layout, read)
    found = interpret(model.graph, dict.fromkeys(model.input_shapes, x.numpy()), T).outputs["output"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    return model


@pytest.mark.parametrize("name", _layers())
def test_a_layer_with_time_among_its_axes(name: str) -> None:
    module, time = _layers()[name]
    exact(InOut(module, time), (4, 6, 6), "NT", "sequence")


REFUSED: dict[str, tuple[nn.Module, int, str]] = {
    "kernel": (nn.Conv3d(4, 4, (3, 3, 2)), 2, f"an output of {T - 1} steps of {T}"),
    "stride": (nn.Conv3d(4, 4, (1, 3, 3), stride=2), 0, f"an output of 3 steps of {T}"),
    "padding": (nn.Conv3d(4, 4, (3, 1, 3), padding=1), 1, f"an output of {T + 2} steps of {T}"),
    "transpose": (nn.ConvTranspose3d(4, 4, 2), 1, r"\(module\): it convolves over time and is transposed"),
    "transpose, padding": (nn.ConvTranspose3d(4, 4, 1, padding=1), 2, f"an output of {T - 2} steps of {T}"),
    "average": (nn.AvgPool3d(2), 0, r"\(module\): it pools over time"),
    "maximum": (nn.MaxPool3d((2, 2, 1), 2), 2, r"\(module\): it pools over time"),
    "linear": (nn.Linear(T, T), 2, r"\(module\): a reshape of axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_steps_is_refused(name: str) -> None:
    module, time, message = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=message) as caught:
        TorchModel.from_module(InOut(module, time).eval(), (4, 6, 6), T, "NT", "sequence")
    assert caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("module", "time"),
    [
        (nn.Conv3d(4, 4, (1, 3, 3), dilation=2), 0),
        (nn.Conv3d(4, 4, 1, padding_mode="circular"), 2),
        (nn.AdaptiveAvgPool3d(1), 0),
    ],
    ids=["dilation of a kernel of 1", "padding mode without padding", "mean over all steps"],
)
def test_what_takes_time_alike_comes_through(module: nn.Module, time: int) -> None:
    exact(InOut(module, time), (4, 6, 6), "NT", "sequence")


def _by_step(call: Callable[[Any, list[Tensor]], Tensor]) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other, self.act = nn.Linear(3, 3), nn.Linear(3, 3), MemUpdate()

        def forward(self, x: Tensor) -> Tensor:
            return call(self, list(x))

    return Net().eval()


STEPS: dict[str, tuple[Callable[[Any, list[Tensor]], Tensor], str]] = {
    "backwards": (lambda net, x: torch.stack(x[::-1]), "its steps read others than the same step"),
    "another layer": (
        lambda net, x: torch.stack([*(net.fc(step) for step in x[:-1]), net.other(x[-1])]),
        r"\(other\): a layer has other weights or settings at one step than at another",
    ),
    "a neuron on a sum of two": (
        lambda net, x: net.act(x[0] + x[1]),
        r"\(act\): a registered neuron is not called once for each step, in order",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_are_not_all_taken_alike_are_refused(name: str) -> None:
    call, message = STEPS[name]
    with pytest.raises(UnsupportedModel, match=f"(?s){message}"):
        TorchModel.from_module(_by_step(call), (3,), T, "TN")


@pytest.mark.parametrize(
    ("call", "of"),
    [
        (lambda net, x: net.fc(x[1]), lambda y: y),
        (lambda net, x: torch.stack([net.fc(step) for step in x[1:]]), lambda y: y.mean(0)),
        (lambda net, x: x[0] + x[1], lambda y: y),
    ],
    ids=["one alone", "all but one", "a sum of two"],
)
def test_steps_that_are_read_without_a_neuron(call: Any, of: Any) -> None:
    exact(_by_step(call), (3,), "TN", of=of)


def test_the_layers_of_a_loop_are_there_once() -> None:
    net = _by_step(lambda net, x: torch.stack([net.other(net.fc(step)) for step in x]))
    model = TorchModel.from_module(net, (3,), T, "TN")
    assert [node.name for node in model.graph] == ["x", "fc", "other", "output.integrator", "output"]


def test_convolutions_over_three_axes_of_features_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="over 3 axes of features"):
        TorchModel.from_module(nn.Sequential(nn.Conv3d(2, 2, 3)).eval(), (2, 4, 4, 4), T, "loop")


def test_a_norm_with_time_as_its_channels() -> None:
    exact(nn.Sequential(nn.BatchNorm3d(T)), (4, 6, 6), "NT", "sequence")
