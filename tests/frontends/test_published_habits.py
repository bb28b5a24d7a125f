"""What published code does besides keeping time somewhere: loops over time in forward that call neurons, outputs that
are membranes, whole numbers as inputs, axes of size one that come and go, spikes made float32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import BadInput, UnsupportedModel
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import interpret
from neurocompile.vocabulary.feedback import Feedback
from tests.frontends.test_published_layouts import MemUpdate, hold, made

T, N = 5, 7


@neurocompile.neuron(lambda m: neurocompile.membrane(decay=1 - 1 / m.tau, gain=1 / m.tau), layout="loop")
class Accumulate(nn.Module):
    """One step a call; it never fires, and gives its membrane."""

    def __init__(self, tau: float = 2.0) -> None:
        super().__init__()
        self.tau = tau
        self.mem: Any = 0.0

    def reset(self) -> None:
        self.mem = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.mem = self.mem + (x - self.mem) / self.tau
        return self.mem


class Loop(nn.Module):
    """forward walks through time, and reads the last membrane, or all of them."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last
        self.conv, self.bn, self.act1 = nn.Conv2d(2, 6, 3, 1, 1), nn.BatchNorm2d(6), MemUpdate()
        self.pool, self.max = nn.AvgPool2d(2), nn.MaxPool2d(2)
        self.fc1, self.act2 = nn.Linear(6 * 4, 12), MemUpdate()
        self.fc2, self.out = nn.Linear(12, 4), Accumulate()

    def forward(self, x_seq: Tensor) -> Tensor:
        membranes = []
        for x in x_seq:
            x = nn.functional.max_pool2d(self.max(self.act1(self.bn(self.conv(x)))), 1)
            x = self.pool(x)
            x = self.act2(self.fc1(x.view(x.shape[0], -1)))
            membranes.append(self.out(self.fc2(x)))
        return membranes[-1] / len(membranes) if self.last else torch.stack(membranes).mean(0)


@pytest.mark.parametrize("last", [True, False])
def test_a_loop_over_time_in_forward(last: bool, tmp_path: Path) -> None:
    x = torch.rand(N, T, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    net = made(lambda: Loop(last))
    hold(net, x.float().double(), "TN", None, tmp_path, silent=["out"])
    names = [node.name for node in load_model(tmp_path / "model.pt").graph]
    layers = ("conv", "bn", "act1", "max", "max_pool2d", "pool", "view", "fc1", "act2", "fc2", "out")
    assert [name for name in names if not name.startswith("output") and name.partition(".")[0] in layers] == [
        *("conv", "bn", "act1", "max", "max_pool2d", "pool.sum", "pool", "view", "fc1", "act2", "fc2", "out")
    ]


def test_a_loop_over_single_step_nodes(tmp_path: Path) -> None:
    """SpikingJelly's nodes, whose reference is torch itself."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.act1 = nn.Linear(6, 20), neuron.LIFNode(v_threshold=0.3)
            self.fc2, self.act2 = nn.Linear(20, 3), neuron.IFNode(v_threshold=0.3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.act2(self.fc2(self.act1(self.fc1(x)))) for _ in range(T)]).mean(0)

    net, x = made(Net), torch.rand(N, 6)
    neurocompile.save(net, tmp_path / "model.pt", x, layout="N", timesteps=T)
    program = neurocompile.compile(tmp_path / "model.pt")
    validation = neurocompile.validate(program, x.numpy(), reference=tmp_path / "model.pt")
    assert validation.stages[0].passed
    assert validation.stages[0].compared == N * T * 23
    functional.reset_net(net)
    with torch.no_grad():
        expected = net.double()(x.double()).numpy()
    np.testing.assert_allclose(neurocompile.simulate(program, x.numpy(), real=True).outputs["output"], expected)
    assert 0.02 < expected.mean() < 0.8


# -- loops that are no steps of one neuron -----------------------------------------------------------------------------


def _by_step(call: Callable[[Any, list[Tensor]], Tensor]) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other, self.act = nn.Linear(3, 3), nn.Linear(3, 3), MemUpdate()

        def forward(self, x: Tensor) -> Tensor:
            return call(self, list(x))

    return Net().eval()


_NOT_EACH_STEP = "a registered neuron is not called once for each step, in order"

NOT_ALIKE: dict[str, tuple[Callable[[Any, list[Tensor]], Tensor], str, str]] = {
    "backwards": (
        lambda net, x: torch.stack([net.act(step) for step in x[::-1]]),
        "act",
        "its steps read others than the same step",
    ),
    "the last alone": (lambda net, x: net.act(x[-1]), "act", _NOT_EACH_STEP),
    "twice a step": (lambda net, x: torch.stack([net.act(net.act(step)) for step in x]), "act", _NOT_EACH_STEP),
    "two loops": (lambda net, x: torch.stack([net.act(step) for step in (*x, *x)][T:]), "act", _NOT_EACH_STEP),
    "every other": (lambda net, x: torch.stack([net.act(step) for step in x[::2]]), "act", _NOT_EACH_STEP),
    "another layer at the end": (
        lambda net, x: torch.stack([*(net.act(net.fc(step)) for step in x[:-1]), net.act(net.other(x[-1]))]),
        "other",
        "a layer has other weights or settings at one step than at another",
    ),
}


@pytest.mark.parametrize("name", NOT_ALIKE)
def test_a_neuron_that_is_not_called_for_one_step_after_the_other(name: str) -> None:
    call, layer, message = NOT_ALIKE[name]
    with pytest.raises(UnsupportedModel, match=message) as caught:
        TorchModel.from_module(_by_step(call), (3,), T, "TN")
    assert sum(problem.where.endswith(f"({layer})") for problem in caught.value.problems) == 1


def test_what_is_wrong_in_a_loop_is_said_once() -> None:
    net = _by_step(lambda net, x: torch.stack([net.act(step) for step in x]))
    net.act = neurocompile.neuron(lambda m: neurocompile.equation(0.9), layout="loop")(type("My", (MemUpdate,), {}))()
    with pytest.raises(UnsupportedModel, match="does not compute its equation") as caught:
        TorchModel.from_module(net, (3,), T, "TN")
    assert sum(problem.where.startswith("act") for problem in caught.value.problems) == 1
    net = _by_step(lambda net, x: torch.stack([torch.special.bessel_j0(net.fc(step)) for step in x]))
    with pytest.raises(UnsupportedModel, match="bessel_j0 is not supported") as caught:
        TorchModel.from_module(net, (3,), T, "TN")
    assert sum("bessel_j0" in problem.what for problem in caught.value.problems) == 1


def test_a_membrane_that_is_another() -> None:
    wrong = neurocompile.neuron(lambda m: neurocompile.membrane(decay=0.6, gain=0.5), layout="loop")
    net = nn.Sequential(wrong(type("My", (Accumulate,), {}))()).eval()
    with pytest.raises(UnsupportedModel, match=r"does not compute its equation.*first at step 1"):
        TorchModel.from_module(net, (3,), T, "loop")


# -- time last, with norms of five axes (FSVAE) ------------------------------------------------------------------------


@neurocompile.neuron(lambda m: neurocompile.equation(0.2, decay=0.25, strict=True), layout="N..T")
class Spike(nn.Module):
    """Makes float32 of whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        u, out = torch.zeros(x.shape[:-1]), torch.zeros(x.shape)
        for t in range(x.shape[-1]):
            u = 0.25 * u * (1 - out[..., max(t - 1, 0)]) + x[..., t]
            out[..., t] = (u > 0.2).float()
        return out


class Norm(nn.BatchNorm2d):
    """Of its own, for five axes."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = (v[None, :, None, None, None] for v in (self.running_mean, self.running_var))
        y = 0.4 * (x - mean) / torch.sqrt(var + self.eps)
        return y * self.weight[None, :, None, None, None] + self.bias[None, :, None, None, None]


class TimeLastFunctions(nn.Module):
    """The layers' weights, given to functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn1, self.act1 = nn.Conv3d(2, 4, (3, 3, 1)), Norm(4), Spike()
        self.up, self.bn2, self.act2 = nn.ConvTranspose3d(4, 3, (2, 2, 1)), Norm(3), Spike()
        self.fc, self.bn3, self.act3 = nn.Linear(3 * 3 * 3, 8), Norm(8), Spike()

    def forward(self, x: Tensor) -> Tensor:
        f = nn.functional
        x = self.act1(self.bn1(f.conv3d(x, self.conv.weight, self.conv.bias, (2, 2, 1))))
        x = f.avg_pool3d(f.conv_transpose3d(x, self.up.weight, self.up.bias), (1, 1, 1))
        x = f.max_pool3d(self.act2(self.bn2(x)), (2, 2, 1), (1, 1, 1))
        x = f.linear(x.flatten(1, 3).transpose(1, 2), self.fc.weight, self.fc.bias).transpose(1, 2)
        return self.act3(self.bn3(x[:, :, None, None, :])[:, :, 0, 0, :]).sum(-1)


def test_functions_over_five_axes(tmp_path: Path) -> None:
    x = torch.rand(N, T, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    hold(made(TimeLastFunctions), x, "N..T", -1, tmp_path)


class Part(nn.Module):
    def __init__(self, index: Any) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[self.index]


@pytest.mark.parametrize("index", [(slice(None), 1, None), (slice(None), slice(0, 2), None)])
def test_parts_that_are_no_axes_of_size_one(index: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 3), Part(index)).double().eval()
    x = np.random.default_rng(0).standard_normal((N, T, 3))
    model = TorchModel.from_module(net, (3,), T, "loop")
    found = interpret(model.graph, {"input": x}, T).outputs["output"]
    with torch.no_grad():
        expected = torch.stack([net(step) for step in torch.from_numpy(x).unbind(1)]).mean(0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_one_sample_of_the_batch() -> None:
    with pytest.raises(UnsupportedModel, match="depends on the other samples"):
        TorchModel.from_module(nn.Sequential(nn.Linear(3, 3), Part((0, None))).eval(), (3,), T, "loop")


# -- an embedding of a whole number, added everywhere (SDDPM) ----------------------------------------------------------


@neurocompile.host
class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class Embedded(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6), Swish())
        self.fc = nn.Linear(6, 4)
        self.conv, self.act = nn.Conv2d(2, 4, 3, 1, 1), neuron.IFNode(step_mode="m")
        self.out = nn.Linear(4 * side * side, 3)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = x.unsqueeze(0).repeat(T, 1, 1, 1, 1)
        steps, batch, _, height, width = x.shape
        h = self.conv(x.flatten(0, 1)).reshape(steps, batch, -1, height, width)
        e = self.fc(self.embed(t)).unsqueeze(-1).unsqueeze(-1).repeat(1, 1, 1, h.shape[-2], h.shape[-1])
        return self.out(self.act(torch.add(h, e)).flatten(2)).mean(0)


@pytest.mark.parametrize("side", [pytest.param(4, marks=pytest.mark.slow), T])  # as many rows as there are steps, too
def test_a_whole_number_that_is_embedded_and_added_everywhere(side: int, tmp_path: Path) -> None:
    net = made(lambda: Embedded(side))
    x, t = torch.randn(N, 2, side, side), torch.randint(10, (N,))
    neurocompile.save(net, tmp_path / "model.pt", (x, t), layout="N", timesteps=T)
    program = neurocompile.compile(tmp_path / "model.pt")
    data = {"x": x.numpy(), "t": t.numpy()}
    stage = neurocompile.validate(program, data, reference=tmp_path / "model.pt").stages[0]
    assert stage.passed
    assert stage.compared == N * T * 4 * side * side
    functional.reset_net(net)
    with torch.no_grad():
        expected = net.double()(x.double(), t).numpy()
    found = neurocompile.simulate(program, data, real=True).outputs["output"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_whole_numbers_are_what_forward_calls_them() -> None:
    """They are given in order, and recorded by their names."""
    net = made(lambda: Embedded(4))
    example = {"0": torch.randn(N, 2, 4, 4).numpy(), "1": torch.randint(10, (N,)).numpy()}
    shapes = {"0": (2, 4, 4), "1": ()}
    found = TorchModel.from_module(net, shapes, T, "N", example=example, whole=["1"], by_class=False)
    assert found.trace.whole == {"t"}


def test_the_first_thing_in_the_way_of_whole_numbers() -> None:
    """What cannot run either way is told as it is without them."""
    net = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(BadInput, match="shapes cannot be multiplied"):
        TorchModel.from_module(net.eval(), (4,), T, "loop", whole=[""])


# -- others ------------------------------------------------------------------------------------------------------------


@neurocompile.neuron(lambda m: neurocompile.equation(0.3, decay=0.5, strict=True), layout="loop")
class FloatStep(MemUpdate):
    def forward(self, x: Tensor) -> Tensor:
        self.mem = x if self.mem is None else self.mem * 0.5 * (1 - self.spike) + x
        self.spike = (self.mem > 0.3).float()
        return self.spike


class FedBack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act1, self.fc2, self.act2 = nn.Linear(8, 5), FloatStep(), nn.Linear(5, 4), FloatStep()

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        return self.act2(self.fc2(self.act1(self.fc1(torch.cat((x, last), 1)))))


def test_float32_spikes_that_are_fed_back(tmp_path: Path) -> None:
    x = torch.rand(N, T, 4, generator=torch.Generator().manual_seed(1)).double()
    net = made(lambda: nn.Sequential(Feedback(FedBack(), (4,)), nn.Linear(4, 2)))
    neurocompile.save(net, tmp_path / "model.pt", x.transpose(0, 1).float(), layout="TN")
    program = neurocompile.compile(tmp_path / "model.pt")
    stage = neurocompile.validate(program, x.numpy(), reference=net, layout="TN").stages[0]
    assert stage.passed
    assert stage.compared == N * T * 9


def test_arguments_without_names() -> None:
    class Any_(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return torch.cat(inputs, 1)

    model = TorchModel.from_module(Any_().eval(), {"a": (3,), "b": (2,)}, T, "loop")
    assert list(model.input_shapes.values()) == [(3,), (2,)]
    first, second = (np.random.default_rng(size).random((N, T, size)) for size in (3, 2))
    found = interpret(model.graph, dict(zip(model.input_shapes, (first, second))), T).outputs["output"]
    np.testing.assert_allclose(found, np.concatenate((first, second), 2).mean(1), rtol=1e-12, atol=1e-12)
