"""Networks of snnTorch's neurons, their loops over time as in its tutorials."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import snntorch as snn
import torch
from snntorch import surrogate, utils
from torch import Tensor, nn
from torch.nn import functional as F

from tests.peers.check import Case

SPIKING = (snn.Leaky, snn.Synaptic, snn.RLeaky, snn.RSynaptic, snn.Lapicque)
RESETS = ("subtract", "zero", "none")
INPUTS, HIDDEN, OUTPUTS = 8, 13, 11


class Each:
    """An option that differs from neuron to neuron, from low to high."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def of(self, size: int) -> Tensor:
        return torch.linspace(self.low, self.high, size)


class Size:
    """The number of the layer's neurons."""

    def of(self, size: int) -> int:
        return size


def neuron(kind: type[nn.Module], size: int, options: dict[str, Any]) -> Any:
    return kind(**{k: v.of(size) if isinstance(v, Each | Size) else v for k, v in options.items()})


class Net(nn.Module):
    """Two layers of one kind of neuron; ``at`` is the input of a step."""

    kind: type[nn.Module]

    def __init__(self, layout: str = "TN", steps: int = 6, returns: str = "spikes", **options: Any) -> None:
        super().__init__()
        self.layout, self.steps, self.returns = layout, steps, returns
        self.fc1 = nn.Linear(INPUTS, HIDDEN)
        self.lif1 = neuron(self.kind, HIDDEN, options)
        self.fc2 = nn.Linear(HIDDEN, OUTPUTS)
        self.lif2 = neuron(self.kind, OUTPUTS, options)

    def at(self, x: Tensor, step: int) -> Tensor:
        match self.layout:
            case "TN":
                return x[step]
            case "NT":
                return x[:, step]
        return x

    def recorded(self, spk1_rec: list[Tensor], spk2_rec: list[Tensor], mem2_rec: list[Tensor]) -> Any:
        dim = 1 if self.layout == "NT" else 0
        spk2, mem2 = torch.stack(spk2_rec, dim=dim), torch.stack(mem2_rec, dim=dim)
        match self.returns:
            case "spikes":
                return torch.stack(spk1_rec, dim=dim), spk2, mem2
            case "tutorial":
                return spk2, mem2
            case "sum":
                return spk2.sum(dim)
            case "mean and last":
                return spk2.mean(dim), mem2_rec[-1]
            case "mem":
                return mem2
        raise ValueError(self.returns)


class LeakyNet(Net):
    kind = snn.Leaky

    def forward(self, x: Tensor) -> Any:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(self.steps):
            cur1 = self.fc1(self.at(x, step))
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class OwnZeros(LeakyNet):
    """The first membrane is the user's, not the neuron's."""

    def forward(self, x: Tensor) -> Any:
        mem1 = torch.zeros(x.size(1), HIDDEN)
        mem2 = torch.zeros(x.size(1), OUTPUTS)
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class Charged(LeakyNet):
    """The membranes do not start at zero."""

    def forward(self, x: Tensor) -> Any:
        mem1 = torch.full((x.size(1), HIDDEN), 0.75)
        mem2 = torch.full((x.size(1), OUTPUTS), 1.25)
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class LapicqueNet(Net):
    kind = snn.Lapicque

    def forward(self, x: Tensor) -> Any:
        mem1 = self.lif1.init_lapicque()
        mem2 = self.lif2.init_lapicque()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(self.steps):
            spk1, mem1 = self.lif1(self.fc1(self.at(x, step)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class SynapticNet(Net):
    kind = snn.Synaptic

    def forward(self, x: Tensor) -> Any:
        syn1, mem1 = self.lif1.init_synaptic()
        syn2, mem2 = self.lif2.init_synaptic()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(self.steps):
            cur1 = self.fc1(self.at(x, step))
            spk1, syn1, mem1 = self.lif1(cur1, syn1, mem1)
            cur2 = self.fc2(spk1)
            spk2, syn2, mem2 = self.lif2(cur2, syn2, mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class RLeakyNet(Net):
    kind = snn.RLeaky

    def forward(self, x: Tensor) -> Any:
        spk1, mem1 = self.lif1.init_rleaky()
        spk2, mem2 = self.lif2.init_rleaky()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(self.steps):
            cur1 = self.fc1(self.at(x, step))
            spk1, mem1 = self.lif1(cur1, spk1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, spk2, mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class RSynapticNet(Net):
    kind = snn.RSynaptic

    def forward(self, x: Tensor) -> Any:
        spk1, syn1, mem1 = self.lif1.init_rsynaptic()
        spk2, syn2, mem2 = self.lif2.init_rsynaptic()
        spk1_rec, spk2_rec, mem2_rec = [], [], []
        for step in range(self.steps):
            cur1 = self.fc1(self.at(x, step))
            spk1, syn1, mem1 = self.lif1(cur1, spk1, syn1, mem1)
            cur2 = self.fc2(spk1)
            spk2, syn2, mem2 = self.lif2(cur2, spk2, syn2, mem2)
            spk1_rec.append(spk1)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return self.recorded(spk1_rec, spk2_rec, mem2_rec)


class LeakyConv(nn.Module):
    """The convolutional tutorial's network, smaller."""

    def __init__(self, pool: Any = F.max_pool2d, norm: bool = False, **options: Any) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.lif1 = snn.Leaky(**options)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.lif2 = snn.Leaky(**options)
        self.fc1 = nn.Linear(4 * 2 * 2, OUTPUTS)
        self.lif3 = snn.Leaky(**options)
        if norm:
            with torch.no_grad():
                self.bn1.running_mean.uniform_(-0.3, 0.3)
                self.bn1.running_var.uniform_(0.5, 1.5)
                self.bn1.weight.uniform_(0.8, 1.4)
                self.bn1.bias.uniform_(-0.2, 0.4)

    def forward(self, x: Tensor) -> Any:
        mem1 = self.lif1.reset_mem()
        mem2 = self.lif2.reset_mem()
        mem3 = self.lif3.reset_mem()
        spk3_rec, mem3_rec = [], []
        for step in range(x.size(0)):
            cur1 = self.pool(self.bn1(self.conv1(x[step])), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.pool(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.flatten(1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec), torch.stack(mem3_rec)


class RecurrentConv(nn.Module):
    """Feedback of spikes through a convolution."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.lif1: Any = kind(conv2d_channels=3, kernel_size=3, **options)
        self.fc1 = nn.Linear(3 * 5 * 5, OUTPUTS)
        self.lif2 = snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Any:
        state = self.lif1.reset_mem()
        mem2 = self.lif2.reset_mem()
        spk1_rec, spk2_rec = [], []
        for step in range(x.size(0)):
            state = self.lif1(self.conv1(x[step]), *state)
            spk2, mem2 = self.lif2(self.fc1(state[0].flatten(1)), mem2)
            spk1_rec.append(state[0])
            spk2_rec.append(spk2)
        return torch.stack(spk1_rec), torch.stack(spk2_rec)


class Residual(nn.Module):
    """Spikes of two layers added, and the neuron's currents have constants."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(INPUTS, HIDDEN), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(HIDDEN, HIDDEN), snn.Leaky(beta=0.8, reset_mechanism="zero")
        self.fc3, self.lif3 = nn.Linear(HIDDEN, OUTPUTS), snn.Leaky(beta=0.7)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        spk_rec = []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(0.5 * self.fc2(spk1) + 0.1, mem2)
            spk3, mem3 = self.lif3(self.fc3(spk1 + spk2), mem3)
            spk_rec.append(spk3)
        return torch.stack(spk_rec)


class Sequences(nn.Module):
    """Neurons with hidden states in a Sequential; forward clears them and runs the steps."""

    def __init__(self, kind: type[nn.Module], clear: str, **options: Any) -> None:
        super().__init__()
        self.clear = clear
        self.net = hidden(kind, **options)

    def forward(self, x: Tensor) -> Any:
        if self.clear == "utils":
            utils.reset(self.net)
        else:
            for module in self.net:
                if isinstance(module, SPIKING):
                    module.reset_mem()
        spk_rec, mem_rec = [], []
        for step in range(x.size(0)):
            spk_out, *_, mem_out = self.net(x[step])
            spk_rec.append(spk_out)
            mem_rec.append(mem_out)
        return torch.stack(spk_rec), torch.stack(mem_rec)


def hidden(kind: type[nn.Module], output: bool = True, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(INPUTS, HIDDEN),
        neuron(kind, HIDDEN, {**options, "init_hidden": True}),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, OUTPUTS),
        neuron(kind, OUTPUTS, {**options, "init_hidden": True, "output": output}),
    )


NETS = {
    snn.Leaky: LeakyNet,
    snn.Synaptic: SynapticNet,
    snn.RLeaky: RLeakyNet,
    snn.RSynaptic: RSynapticNet,
    snn.Lapicque: LapicqueNet,
}
USUAL: dict[type[nn.Module], dict[str, Any]] = {
    snn.Leaky: {"beta": 0.9},
    snn.Synaptic: {"alpha": 0.7, "beta": 0.85},
    snn.RLeaky: {"beta": 0.9},
    snn.RSynaptic: {"alpha": 0.6, "beta": 0.8},
    snn.Lapicque: {"beta": 0.85},
}
RECURRENCES: dict[str, dict[str, Any]] = {
    "all_to_all": {"linear_features": Size()},
    "one_to_one": {"all_to_all": False, "V": -0.4},
    "one_to_one each": {"all_to_all": False, "V": Each(-0.6, 0.3)},
}


def _case(name: str, make: Any, **how: Any) -> Case:
    return Case(f"snntorch {name}", make, SPIKING, **how)


def _net(
    kind: type[nn.Module],
    name: str,
    steps: int = 6,
    layout: str = "TN",
    unread: tuple[str, ...] = (),
    **options: Any,
) -> Case:
    own = {**USUAL[kind], **options}
    make = partial(NETS[kind], layout, steps, **own)
    return _case(f"{kind.__name__} {name}", make, layout=layout, steps=steps, unread=unread)


def cases() -> Iterator[Case]:
    """Every configuration."""
    for reset, delay in product(RESETS, (True, False)):
        name = f"{reset} {'delayed' if delay else 'at once'}"
        how = {"reset_mechanism": reset, "reset_delay": delay}
        yield _net(snn.Leaky, name, **how)
        yield _net(snn.Synaptic, name, **how)
        yield _net(snn.RLeaky, f"{name} all_to_all", **how, **RECURRENCES["all_to_all"])
        yield _net(snn.RLeaky, f"{name} one_to_one", **how, **RECURRENCES["one_to_one"])
    for reset in RESETS:
        for recurrence in ("all_to_all", "one_to_one"):
            yield _net(snn.RSynaptic, f"{reset} {recurrence}", reset_mechanism=reset, **RECURRENCES[recurrence])
        yield _net(snn.Lapicque, reset, reset_mechanism=reset)

    leaky = partial(_net, snn.Leaky)
    yield leaky("learn_beta", learn_beta=True)
    yield leaky("learn_threshold", learn_threshold=True, threshold=0.7)
    tensors = {"beta": Each(0.3, 0.95), "threshold": Each(0.5, 1.4)}
    yield leaky("learned tensors", **tensors, learn_beta=True, learn_threshold=True)
    yield leaky("beta each", beta=Each(0.0, 1.0))
    yield leaky("threshold each", threshold=Each(0.4, 1.6))
    yield leaky("both each, zero", beta=Each(0.2, 0.9), threshold=Each(0.5, 1.5), reset_mechanism="zero")
    yield leaky("both each, at once", beta=Each(0.2, 0.9), threshold=Each(0.5, 1.5), reset_delay=False)
    yield leaky("beta of one element", beta=torch.tensor([0.75]), threshold=torch.tensor([0.9]))
    yield leaky("beta clamped at one", beta=1.3, reset_mechanism="zero")
    yield leaky("beta clamped at zero", beta=-0.2)
    yield leaky("no leak", beta=1.0)
    yield leaky("graded spikes", graded_spikes_factor=1.5)
    yield leaky(
        "graded spikes, learned, at once", graded_spikes_factor=0.5, learn_graded_spikes_factor=True, reset_delay=False
    )
    yield leaky("no surrogate", surrogate_disable=True)
    for surrogates in (surrogate.fast_sigmoid, surrogate.sigmoid, surrogate.straight_through_estimator):
        yield leaky(surrogates.__name__, spike_grad=surrogates())
    yield leaky("an image at every step", layout="N", steps=8, returns="tutorial")
    yield leaky("batch first", layout="NT", steps=7)
    yield leaky("long", steps=12)
    yield leaky("short", steps=4)
    yield leaky("spikes summed", returns="sum")
    yield leaky("image, spikes summed", layout="N", steps=10, returns="sum")
    yield leaky("mean and last membrane", returns="mean and last")
    yield leaky("membranes", returns="mem", reset_mechanism="none", steps=8, unread=("lif2",))
    yield _case("Leaky with zeros of the user's", partial(OwnZeros, beta=0.9))
    yield _case("Leaky charged", partial(Charged, beta=0.9))
    yield _case("Leaky charged zero", partial(Charged, beta=0.9, reset_mechanism="zero"))
    yield _case("Leaky residual", Residual)
    yield Case("snntorch Leaky rates", partial(LeakyNet, beta=0.9), SPIKING, readout=None)
    conv = {"shape": (2, 8, 8), "steps": 4}
    yield _case("Leaky conv", partial(LeakyConv, beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25)), **conv)
    yield _case("Leaky conv zero", partial(LeakyConv, F.avg_pool2d, beta=0.9, reset_mechanism="zero"), **conv)
    yield _case("Leaky conv norm", partial(LeakyConv, norm=True, beta=0.9, learn_beta=True, reset_delay=False), **conv)

    synaptic = partial(_net, snn.Synaptic)
    yield synaptic("learned", learn_alpha=True, learn_beta=True, learn_threshold=True)
    yield synaptic("each", alpha=Each(0.1, 0.8), beta=Each(0.3, 0.9), threshold=Each(0.8, 1.5))
    yield synaptic("each, zero", alpha=Each(0.1, 0.8), beta=Each(0.3, 0.9), reset_mechanism="zero")
    yield synaptic("alpha clamped", alpha=1.2, beta=0.5)
    yield synaptic("image", layout="N", steps=9, returns="tutorial")
    yield synaptic("batch first, summed", layout="NT", returns="sum")

    yield _net(snn.RLeaky, "each", beta=Each(0.4, 0.95), threshold=Each(0.6, 1.3), **RECURRENCES["one_to_one each"])
    yield _net(snn.RLeaky, "learned", learn_beta=True, learn_threshold=True, **RECURRENCES["all_to_all"])
    yield _net(snn.RLeaky, "not learned", learn_recurrent=False, **RECURRENCES["one_to_one each"])
    yield _net(snn.RLeaky, "image", layout="N", steps=8, returns="tutorial", **RECURRENCES["all_to_all"])
    yield _net(snn.RSynaptic, "each", alpha=Each(0.1, 0.7), beta=Each(0.2, 0.8), **RECURRENCES["one_to_one each"])
    yield _net(snn.RSynaptic, "learned", learn_alpha=True, learn_beta=True, **RECURRENCES["all_to_all"])
    yield _net(snn.RSynaptic, "long", steps=12, learn_recurrent=False, **RECURRENCES["one_to_one"])
    conv = {"shape": (2, 5, 5), "steps": 6}
    yield _case("RLeaky conv", partial(RecurrentConv, snn.RLeaky, beta=0.8), **conv)
    yield _case("RLeaky conv zero", partial(RecurrentConv, snn.RLeaky, beta=0.8, reset_mechanism="zero"), **conv)
    yield _case("RSynaptic conv", partial(RecurrentConv, snn.RSynaptic, alpha=0.4, beta=0.7), **conv)

    lapicque = partial(_net, snn.Lapicque)
    yield lapicque("R and C", beta=False, R=2.0, C=1.5)
    yield lapicque("beta and R", R=3.0)
    yield lapicque("beta and C", C=2.0)
    yield lapicque("time_step", beta=False, R=1.5, C=2.0, time_step=0.5, reset_mechanism="zero")
    yield lapicque("learned", learn_beta=True, learn_threshold=True, threshold=0.6)
    yield lapicque("image", layout="N", steps=8, returns="tutorial")

    for kind, usual in USUAL.items():
        options = {**usual, **(RECURRENCES["all_to_all"] if kind in (snn.RLeaky, snn.RSynaptic) else {})}
        name = f"{kind.__name__} hidden"
        yield _case(f"{name} in a loop", partial(hidden, kind, **options), layout="loop")
        yield _case(
            f"{name} zero in a loop",
            partial(hidden, kind, output=False, **options, reset_mechanism="zero"),
            layout="loop",
            steps=7,
        )
        yield _case(f"{name} utils.reset", partial(Sequences, kind, "utils", **options))
    yield _case("Leaky hidden reset_mem", partial(Sequences, snn.Leaky, "own", beta=0.8, learn_beta=True))
    yield _case("Leaky hidden at once", partial(Sequences, snn.Leaky, "own", beta=0.8, reset_delay=False))
    one_to_one = {**USUAL[snn.RLeaky], **RECURRENCES["one_to_one each"]}
    yield _case("RLeaky hidden one_to_one", partial(hidden, snn.RLeaky, **one_to_one), layout="loop", steps=8)
    yield Case("snntorch Leaky hidden rates", partial(hidden, snn.Leaky, beta=0.9), SPIKING, "loop", readout=None)


CASES = {case.name: case for case in cases()}
