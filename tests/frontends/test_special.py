"""Networks as people write them, and forms that are easily got wrong: held exact like the random ones."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from neurocompile.errors import UnsupportedModel
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir.ops import Neuron
from neurocompile.vocabulary.mpbn import MPBNLIF
from tests.exactness import Tally, check, lowered
from tests.random_networks.modules import Network, calibrate, inputs
from tests.random_networks.neurons import Own
from tests.random_networks.spellings import Draw, fill

T = 4


def lif(**named: Any) -> nn.Module:
    return neuron.LIFNode(tau=2.5, **named)


class DirectEncoding(nn.Module):
    """A convolution and a batch norm once, then repeated; a static skip added at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fires = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), lif(step_mode="m")
        self.second, self.last = layer.Conv2d(2, 2, 3, padding=1, step_mode="m"), lif(step_mode="m")
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        static = self.bn(self.conv(x))
        x_seq = static.unsqueeze(0).repeat(T, 1, 1, 1, 1)
        y = self.last(self.second(self.fires(x_seq)) + static)
        return self.fc(y.flatten(2).mean(0))


class StackedEncoding(nn.Module):
    """torch.stack of T copies, and the sum of rates read by a layer with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fires, self.out = nn.Linear(5, 6), neuron.IFNode(step_mode="m", v_reset=None), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x_seq = torch.stack([x for _ in range(T)])
        return self.out(self.fires(self.fc(x_seq)).sum(0))


class AllInOne(nn.Module):
    """MultiStepContainer around a whole network of single-step modules with residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = layer.MultiStepContainer(
            nn.Conv2d(2, 3, 3, padding=1), lif(), _Basic(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4), lif()
        )

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.net(x_seq).mean(0)


class _Basic(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.sn1, self.sn2 = neuron.IFNode(), neuron.ParametricLIFNode(v_reset=None)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.sn1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.sn2(out)


class SewBlock(nn.Module):
    """Spike-element-wise residual, twice: events of up to three."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fires = nn.Conv1d(2, 3, 3, padding=1), lif()
        self.a, self.sa = nn.Conv1d(3, 3, 3, padding=1), lif(v_reset=None)
        self.b, self.sb = nn.Conv1d(3, 3, 2, padding="same"), lif(v_reset=-0.3)
        self.pool, self.fc, self.out = nn.AvgPool1d(2, ceil_mode=True), nn.Linear(12, 3), lif()

    def forward(self, x: Tensor) -> Tensor:
        x = self.fires(self.stem(x))
        x = self.sa(self.a(x)) + x
        x = x + self.sb(self.b(x))
        return self.out(self.fc(self.pool(x).flatten(1)))


class TimeLast(nn.Module):
    """[N, ..., T] all the way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layer.TLastSeqToANNContainer(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3))
        self.fires = layer.TLastMultiStepContainer(lif(), nn.Flatten(), nn.Linear(27, 3), neuron.IFNode())

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.fires(self.conv(x_seq)).mean(-1)


class Folded(nn.Module):
    """[T * N, ...] between the neurons, which see [T, N, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.sn1 = nn.Conv2d(2, 3, 3, 2, 1), lif(step_mode="m")
        self.conv2, self.sn2 = nn.Conv2d(3, 4, 2), lif(step_mode="m", decay_input=False)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.sn1(x.view(T, -1, *x.shape[1:])).flatten(0, 1)
        x = self.conv2(x)
        x = self.sn2(x.reshape(T, x.shape[0] // T, *x.shape[1:]))
        return self.fc(x.mean((0, 3, 4)))


class DeepRecurrence(nn.Module):
    """A recurrent container in a recurrent container's way, with a batch norm inside one of them."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), lif())
        self.first = layer.LinearRecurrentContainer(inner, 5, 4)
        held = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), neuron.CUBALIFNode())
        self.second = layer.ElementWiseRecurrentContainer(held, lambda y, x: 0.5 * y + x)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.second(self.first(x)))


class TwoReads(nn.Module):
    """Several outputs from one neuron, read in different ways, and a mapping returned."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fires, self.out = nn.Linear(5, 4), lif(step_mode="m"), nn.Linear(4, 3)
        self.membrane = neuron.NonSpikingLIFNode(tau=3.0, decode="max-abs-mem")

    def forward(self, x_seq: Tensor) -> Any:
        y = self.fires(self.fc(x_seq))
        return {"rate": y.mean(0), "count": y.sum(0), "last": self.out(y)[-1], "membrane": self.membrane(self.out(y))}


class MembraneOfConv(nn.Module):
    """A readout with leak directly behind a padded convolution with batch norm before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fires = layer.Conv2d(1, 2, 3, padding=1, step_mode="m"), lif(step_mode="m")
        self.bn = layer.BatchNorm2d(2, step_mode="m")
        self.last = layer.Conv2d(2, 2, 4, padding="same", step_mode="m")
        self.read = neuron.NonSpikingLIFNode(tau=1.7, decode="max-mem")

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.read(self.last(self.bn(self.fires(self.conv(x_seq)))))


class UpAndDown(nn.Module):
    """An auto-encoder: strided down, transposed up, with a skip by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.s1 = nn.Conv2d(2, 3, 3, 2, 1), lif()
        self.up, self.s2 = nn.ConvTranspose2d(3, 2, 3, 2, 1, 1), lif()
        self.mix, self.s3 = nn.Conv2d(4, 1, 1), lif()

    def forward(self, x: Tensor) -> Tensor:
        y = self.s2(self.up(self.s1(self.down(x))))
        return self.s3(self.mix(torch.cat((x, y), dim=1)))


class MpbnPool(nn.Module):
    """Element-wise MPBN of an image, pooled by OR, then channel-wise MPBN of features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.s1 = layer.Conv2d(1, 2, 3, padding=1, step_mode="m"), MPBNLIF(element_wise_shape=(2, 4, 4))
        self.pool, self.fc = layer.MaxPool2d(2, step_mode="m"), nn.Linear(8, 5)
        self.s2 = MPBNLIF(out_features=5)

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.s2(self.fc(self.pool(self.s1(self.conv(x_seq))).flatten(2)))


class DsrChain(nn.Module):
    """DSR neurons behind one another: spikes of height V_th, and of V_th / dt."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.s1 = nn.Linear(5, 6), neuron.DSRIFNode(T=T, v_threshold=1.5)
        self.pool = layer.VotingLayer(2, step_mode="m")
        self.fc2, self.s2 = nn.Linear(3, 4), neuron.DSRLIFNode(T=T, v_threshold=0.5, delta_t=0.5)

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.s2(self.fc2(self.pool(self.s1(self.fc1(x_seq))))).mean(0)


class Unread(nn.Module):
    """A branch that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fires, self.spare = nn.Linear(5, 4), lif(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fires(self.fc(x))
        self.spare(y)
        return y * 2


class SameSizes(nn.Module):
    """T, N, channels and places all of one size, so that no axis can be told by its length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fires = layer.Conv2d(T, T, 3, padding=1, step_mode="m"), lif(step_mode="m")
        self.last, self.out = layer.Conv2d(T, T, 1, step_mode="m"), lif(step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.last(self.fires(self.conv(x.transpose(0, 1))))).flatten(2)


SPECIAL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "direct encoding with a static skip": (DirectEncoding, (1, 4, 4), "N"),
    "stacked encoding": (StackedEncoding, (5,), "N"),
    "one container for all": (AllInOne, (2, 4, 4), "TN"),
    "residual block": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), lif(), _Basic(3)), (2, 5, 5), "loop"),
    "SEW blocks": (SewBlock, (2, 7), "loop"),
    "time last": (TimeLast, (2, 4, 4), "N..T"),
    "folded": (Folded, (2, 6, 5), "fold"),
    "deep recurrence": (DeepRecurrence, (5,), "loop"),
    "several reads": (TwoReads, (5,), "TN"),
    "membrane behind a padded convolution": (MembraneOfConv, (1, 5, 4), "TN"),
    "up and down": (UpAndDown, (2, 4, 4), "loop"),
    "MPBN, pooled": (MpbnPool, (1, 4, 4), "TN"),
    "DSR chain": (DsrChain, (5,), "TN"),
    "a branch that nobody reads": (Unread, (5,), "loop"),
    "axes of one size": (SameSizes, (T, T, T), "NT"),
}


def special(name: str, seed: int, batch: int = 3) -> Network:
    make, shape, layout = SPECIAL[name]
    draw = Draw(random.Random(seed))
    module = make().double().eval()
    fill(module, draw)
    # What feeds a neuron: the nearest layer with weights that stands before it among the modules.
    feeding: dict[nn.Module, list[Any]] = {}
    source = None
    for part in module.modules():
        if isinstance(part, neuron.BaseNode | MPBNLIF | Own | neuron.DSRIFNode | neuron.DSRLIFNode):
            feeding[part] = [] if source is None else [source]
        elif isinstance(getattr(part, "weight", None), nn.Parameter) and source not in feeding:
            source = part
    casts = [
        part.register_forward_hook(lambda module, args, out: out.double())
        for part in module.modules()
        if isinstance(part, neuron.DSRIFNode | neuron.DSRLIFNode)
    ]
    shapes = {next(iter(inspect.signature(module.forward).parameters)): shape}
    network = Network(module, shapes, T, layout, None, inputs(draw, shapes, T, layout, batch), frozenset())
    network.sequence = isinstance(module, MpbnPool | SameSizes)
    calibrate(network, feeding)
    for cast in casts:
        cast.remove()
    return network


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPECIAL)
def test_exact(name: str, seed: int) -> None:
    tally = Tally()
    check(special(name, seed, batch=T if name == "axes of one size" else 3), tally)
    assert tally.failures == []
    assert tally.spikes_compared > 0
    assert tally.ties == 0


@pytest.mark.parametrize("name", [name for name, (_, _, layout) in SPECIAL.items() if layout in ("TN", "loop", "N")])
def test_the_layout_is_found_out(name: str) -> None:
    network = special(name, 0)
    layout, network.layout = network.layout, None  # type: ignore[assignment]
    assert lowered(network).layout == layout


def test_a_neuron_in_two_places_is_refused() -> None:
    node = lif()
    module = nn.Sequential(nn.Linear(4, 4), node, nn.Linear(4, 4), node).eval()
    network = Network(module, {"x": (4,)}, T, "loop", None, {}, frozenset())
    with pytest.raises(UnsupportedModel, match="share its state"):
        lowered(network)


def test_axes_that_are_mixed_are_refused() -> None:
    """Time flattened into the features is one layer over all steps, not one a step."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fires, self.fc = neuron.IFNode(step_mode="m"), nn.Linear(T * 4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.fires(x).transpose(0, 1).flatten(1))

    with pytest.raises(UnsupportedModel, match=r"test_special.py:\d+ \(fc\): .*time and features"):
        lowered(Network(Mixed().eval(), {"x": (4,)}, T, "TN", None, {}, frozenset()))


def test_a_norm_with_time_as_its_channel_is_another_at_each_step() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn, self.fires = nn.BatchNorm1d(T), neuron.IFNode(step_mode="m", v_threshold=0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fires(self.bn(x.transpose(0, 1)).transpose(0, 1))

    net = Swapped().eval()
    nn.init.uniform_(net.bn.weight, 0.5, 1.5)
    nn.init.uniform_(net.bn.bias, -0.2, 0.4)
    nn.init.uniform_(net.bn.running_var, 0.5, 2.0)
    tally, given = Tally(), {"x": np.random.default_rng(0).random((3, T, 4))}
    check(Network(net, {"x": (4,)}, T, "TN", None, given, frozenset(), sequence=True), tally)
    assert not tally.failures
    assert tally.spikes_compared > 0


def test_reset_net_is_not_needed_by_the_user() -> None:
    """Whatever a model remembers from before, the program starts at rest."""
    network = special("SEW blocks", 1)
    with torch.no_grad():
        network.module(torch.rand(2, 2, 7, dtype=torch.float64))
    before = network.module.fires.v.clone()  # type: ignore[union-attr, operator]
    model = lowered(network)
    first = model.run(network.inputs)
    second = model.run(network.inputs)
    assert all((first.spikes[name] == second.spikes[name]).all() for name in first.spikes)
    assert torch.equal(network.module.fires.v, before)  # type: ignore[union-attr, arg-type]
    functional.reset_net(network.module)


def test_a_layer_called_output_is_not_the_network_output() -> None:
    class Named(nn.Module):
        def __init__(self, last: nn.Module) -> None:
            super().__init__()
            self.fires, self.output = neuron.IFNode(step_mode="m"), last

        def forward(self, x_seq: Tensor) -> Tensor:
            return self.output(self.fires(x_seq)).mean(0)

    def network(last: nn.Module) -> Network:
        return Network(Named(last).eval(), {"x": (5,)}, T, "TN", None, {}, frozenset())

    graph = lowered(network(nn.Linear(5, 3))).graph
    assert "output.layer" in {source for node in graph for source in node.inputs}
    with pytest.raises(UnsupportedModel, match="cannot be called so"):
        lowered(network(neuron.IFNode(step_mode="m")))


@pytest.mark.parametrize("steps", [2, 4])
def test_a_threshold_of_nothing_by_nothing_is_never_reached(steps: int) -> None:
    """(threshold - beta) / gamma, of a channel whose gamma is 0 and whose beta is the threshold: no number."""
    node = neuron.MPBNLIFNode(tau=2.0, v_threshold=0.5, v_reset=0.0, out_features=4, step_mode="m").eval()
    node.vbn.weight.data[0], node.vbn.bias.data[0] = 0.0, 0.5
    node.re_parameterize_v_threshold()
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(3, 4, step_mode="m"), node, layer.Linear(4, 2, step_mode="m")).eval()
    model = TorchModel.from_module(net, (3,), steps, layout="TN", by_class=False)
    (own,) = model.graph.of(Neuron)
    assert np.isposinf(np.broadcast_to(own.op.threshold, (4,))[0])
    assert not model.proof.mismatches
