"""Networks of Norse's neurons, their loops over time as in its tutorials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import norse.torch as norse
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.peers.check import Case

SPIKING = (
    norse.LIFCell,
    norse.LIF,
    norse.LIFBoxCell,
    norse.LIFRecurrentCell,
    norse.LIFRecurrent,
    norse.IAFCell,
    norse.IAF,
)
INPUTS, HIDDEN, OUTPUTS = 8, 13, 11
STEPS = 9

Parameters = Callable[[int], Any]  # of a number of neurons


def lif(**fields: Any) -> Parameters:
    return lambda size: norse.LIFParameters(**{k: _value(v, size) for k, v in fields.items()})


def box(**fields: Any) -> Parameters:
    return lambda size: norse.LIFBoxParameters(**{k: _value(v, size) for k, v in fields.items()})


def iaf(**fields: Any) -> Parameters:
    return lambda size: norse.IAFParameters(**{k: _value(v, size) for k, v in fields.items()})


def li(**fields: Any) -> Parameters:
    return lambda size: norse.LIParameters(**{k: _value(v, size) for k, v in fields.items()})


def _value(value: Any, size: int) -> Any:
    """A number as a tensor, and (low, high) as one that differs from neuron to neuron."""
    if isinstance(value, tuple):
        return torch.linspace(*value, size)
    return torch.as_tensor(value) if isinstance(value, float) else value


class CellNet(nn.Module):
    """Cells, one step a call, and a leaky integrator that reads out."""

    def __init__(self, cell: Any, p: Parameters, reads: Any, returns: str = "all", **options: Any) -> None:
        super().__init__()
        self.returns = returns
        self.fc1 = nn.Linear(INPUTS, HIDDEN)
        self.lif1 = cell(p=p(HIDDEN), **options)
        self.fc2 = nn.Linear(HIDDEN, OUTPUTS)
        self.lif2 = cell(p=p(OUTPUTS), **options)
        self.out = reads()

    def forward(self, x: Tensor) -> Any:
        s1 = s2 = so = None
        spikes1, spikes2, voltages = [], [], []
        for ts in range(x.shape[0]):
            z1, s1 = self.lif1(self.fc1(x[ts]), s1)
            z2, s2 = self.lif2(self.fc2(z1), s2)
            vo, so = self.out(z2, so)
            spikes1.append(z1)
            spikes2.append(z2)
            voltages.append(vo)
        match self.returns:
            case "last":
                return voltages[-1]
            case "mean":
                return torch.stack(voltages).mean(0)
            case "sum":
                return torch.stack(spikes2).sum(0)
            case "state":
                return torch.stack(spikes2), s1.v, s2.v
        return torch.stack(spikes1), torch.stack(spikes2), torch.stack(voltages)


class StillNet(CellNet):
    """The same input at every step."""

    def forward(self, x: Tensor) -> Any:
        s1 = s2 = so = None
        spikes, voltages = [], []
        for _ in range(STEPS):
            z1, s1 = self.lif1(self.fc1(x), s1)
            z2, s2 = self.lif2(self.fc2(z1), s2)
            vo, so = self.out(z2, so)
            spikes.append(z2)
            voltages.append(vo)
        return torch.stack(spikes), torch.stack(voltages)


class Plain(nn.Module):
    """A network in a SequentialState; spikes between its layers are returned, too, where it keeps them."""

    def __init__(self, make: Callable[[], tuple[nn.Module, ...]], keep: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.keep = keep
        self.net = norse.SequentialState(*make(), return_hidden=bool(keep))

    def forward(self, x: Tensor) -> Any:
        out, _ = self.net(x)
        return tuple(out[k] for k in self.keep) if self.keep else out


class Stepped(Plain):
    """The same with cells, the state handed on from step to step."""

    def forward(self, x: Tensor) -> Any:
        state, outputs = None, []
        for ts in range(x.shape[0]):
            out, state = self.net(x[ts], state)
            outputs.append(out)
        return torch.stack(outputs)


class ConvCells(nn.Module):
    """The convolutional tutorial's network, smaller."""

    def __init__(self, p: Parameters) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.lif0 = norse.LIFCell(p=p(4))
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.lif1 = norse.LIFCell(p=p(6))
        self.fc1 = nn.Linear(6, HIDDEN)
        self.lif2 = norse.LIFCell(p=p(HIDDEN))
        self.out = norse.LILinearCell(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Any:
        s0 = s1 = s2 = so = None
        spikes, voltages = [], []
        for ts in range(x.shape[0]):
            z = self.conv1(x[ts])
            z, s0 = self.lif0(z, s0)
            z = F.max_pool2d(z, 2, 2)
            z = 10 * self.conv2(z)
            z, s1 = self.lif1(z, s1)
            z = F.max_pool2d(z, 2, 2)
            z = z.flatten(1)
            z = self.fc1(z)
            z, s2 = self.lif2(z, s2)
            v, so = self.out(z, so)
            spikes.append(z)
            voltages.append(v)
        return torch.stack(spikes), torch.stack(voltages)


class RecurrentCells(nn.Module):
    """Input and recurrent weights within the cell."""

    def __init__(self, p: Parameters, **options: Any) -> None:
        super().__init__()
        self.l1 = norse.LIFRecurrentCell(INPUTS, HIDDEN, p=p(HIDDEN), **options)
        self.fc_out = nn.Linear(HIDDEN, OUTPUTS, bias=False)
        self.out = norse.LICell()
        with torch.no_grad():
            self.l1.recurrent_weights.mul_(2.0)

    def forward(self, x: Tensor) -> Any:
        s1 = so = None
        spikes, voltages = [], []
        for ts in range(x.shape[0]):
            z, s1 = self.l1(x[ts], s1)
            vo, so = self.out(self.fc_out(z), so)
            spikes.append(z)
            voltages.append(vo)
        return torch.stack(spikes), torch.stack(voltages)


class States(nn.Module):
    """Membranes of every step, as the layer itself records them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(INPUTS, HIDDEN), norse.LIF(record_states=True)
        self.fc2, self.out = nn.Linear(HIDDEN, OUTPUTS), norse.LI()

    def forward(self, x: Tensor) -> Any:
        z, s = self.lif1(self.fc1(x))
        v, _ = self.out(self.fc2(z))
        return z, s.v, v


class Rate(nn.Module):
    """Mean voltage of a readout over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.net = norse.SequentialState(nn.Linear(INPUTS, HIDDEN), norse.LIF(), nn.Linear(HIDDEN, OUTPUTS), norse.LI())

    def forward(self, x: Tensor) -> Tensor:
        voltages, _ = self.net(x)
        return voltages.mean(0)


def _dense(p: Parameters, last: Any = None, **options: Any) -> tuple[nn.Module, ...]:
    return (
        nn.Linear(INPUTS, HIDDEN),
        norse.LIF(p(HIDDEN), **options),
        nn.Linear(HIDDEN, OUTPUTS),
        norse.LIF(p(OUTPUTS), **options),
        nn.Linear(OUTPUTS, 4),
        last() if last else norse.LI(),
    )


def _cells(cell: Any, p: Parameters) -> tuple[nn.Module, ...]:
    return nn.Linear(INPUTS, HIDDEN), cell(p(HIDDEN)), nn.Linear(HIDDEN, OUTPUTS), cell(p(OUTPUTS))


def _recurrent(p: Parameters, **options: Any) -> tuple[nn.Module, ...]:
    layer = norse.LIFRecurrent(INPUTS, HIDDEN, p=p(HIDDEN), **options)
    with torch.no_grad():
        layer.recurrent_weights.mul_(2.0)
    return layer, nn.Linear(HIDDEN, OUTPUTS), norse.LIF(p(OUTPUTS)), norse.LI()


def _conv(p: Parameters, last: str) -> tuple[nn.Module, ...]:
    head = {
        "recurrent": lambda: (norse.LIFRecurrent(36, HIDDEN), nn.Linear(HIDDEN, OUTPUTS), norse.LI()),
        "dense": lambda: (nn.Linear(36, OUTPUTS), norse.LIF(), norse.LI()),
    }[last]()
    return norse.Lift(nn.Conv2d(2, 4, 3)), norse.LIF(p(4)), norse.Lift(nn.AvgPool2d(2)), nn.Flatten(2), *head


def _conv_cells(p: Parameters) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(2, 4, 3),
        norse.LIFCell(p(4)),
        nn.MaxPool2d(2),
        nn.Flatten(1),
        nn.Linear(36, OUTPUTS),
        norse.LIFCell(),
        norse.LICell(),
    )


def _iaf_sequence(p: Parameters) -> tuple[nn.Module, ...]:
    return nn.Linear(INPUTS, HIDDEN), norse.IAF(p(HIDDEN)), nn.Linear(HIDDEN, OUTPUTS), norse.IAF(p(OUTPUTS))


LIFS: dict[str, Parameters] = {
    "default": lif(),
    "slow synapse": lif(tau_syn_inv=50.0, tau_mem_inv=200.0),
    "fast synapse": lif(tau_syn_inv=900.0, tau_mem_inv=400.0),
    "no memory of current": lif(tau_syn_inv=1000.0, tau_mem_inv=250.0),
    "low threshold": lif(v_th=0.4),
    "v_reset below": lif(v_reset=-0.5),
    "v_reset above": lif(v_reset=0.3, tau_mem_inv=300.0),
    "v_leak": lif(v_leak=0.25),
    "v_leak and v_reset": lif(v_leak=-0.2, v_reset=-0.4, v_th=0.6),
    "exact": lif(tau_syn_inv=500.0, tau_mem_inv=250.0, v_th=0.75),
    "thresholds each": lif(v_th=(0.4, 1.4)),
    "time constants each": lif(tau_syn_inv=(100.0, 600.0), tau_mem_inv=(80.0, 400.0)),
    "v_reset each": lif(v_reset=(-0.6, 0.4), tau_mem_inv=200.0),
}
METHODS = ("heaviside", "triangle", "tanh", "circ", "heavi_erfc")


def _case(name: str, make: Any, **how: Any) -> Case:
    return Case(f"norse {name}", make, SPIKING, **{"steps": STEPS, **how})


def cases() -> Iterator[Case]:
    """Every configuration."""
    for name, p in LIFS.items():
        yield _case(f"LIFCell {name}", partial(CellNet, norse.LIFCell, p, norse.LICell))
        yield _case(f"LIF {name}", partial(Plain, partial(_dense, p), (1, 3, 5)))
    yield _case("LIFCell v_leak each", partial(CellNet, norse.LIFCell, lif(v_leak=(-0.3, 0.3)), norse.LICell))
    for method in METHODS:
        yield _case(f"LIFCell {method}", partial(CellNet, norse.LIFCell, lif(method=method), norse.LICell))
    yield _case("LIFCell dt", partial(CellNet, norse.LIFCell, lif(), norse.LICell, dt=0.002))
    yield _case("LIF dt", partial(Plain, partial(_dense, lif(), dt=0.0005), (1, 3, 5)), steps=12)
    for returns in ("last", "mean", "sum", "state"):
        yield _case(f"LIFCell {returns}", partial(CellNet, norse.LIFCell, lif(), norse.LICell, returns))
    yield _case("LIFCell still", partial(StillNet, norse.LIFCell, lif(tau_mem_inv=200.0), norse.LICell), layout="N")
    yield _case("LIF and LI", partial(Plain, partial(_dense, lif())))
    yield _case("LIF long", partial(Plain, partial(_dense, lif()), (1, 3, 5)), steps=12)
    yield _case("LIF states", States)
    yield _case("LIF mean voltage", Rate)
    yield _case("LIF rates", partial(Plain, partial(_dense, lif()), (1, 3, 5)), readout=None)

    reads = {
        "LICell": lambda: norse.LICell(li(tau_syn_inv=300.0, tau_mem_inv=50.0, v_leak=0.1)(OUTPUTS)),
        "LICell each": lambda: norse.LICell(li(tau_mem_inv=(50.0, 300.0))(OUTPUTS), dt=0.002),
        "LIBoxCell": norse.LIBoxCell,
        "LILinearCell": lambda: norse.LILinearCell(OUTPUTS, 4),
    }
    for name, read in reads.items():
        yield _case(f"read by {name}", partial(CellNet, norse.LIFCell, lif(tau_mem_inv=200.0), read))
    last = partial(norse.LI, norse.LIParameters(tau_mem_inv=torch.tensor(50.0), v_leak=torch.tensor(-0.2)))
    yield _case("read by LI", partial(Plain, partial(_dense, lif(), last), (1, 3, 5)))

    boxes = {
        "default": box(),
        "hard, v_reset": box(v_reset=-0.4, tau_mem_inv=300.0),
        "soft": box(reset_method=norse.reset_subtract),
        "soft, fast": box(reset_method=norse.reset_subtract, tau_mem_inv=500.0, v_th=0.6),
        "v_leak": box(v_leak=0.3, tau_mem_inv=200.0),
        "soft, v_leak": box(v_leak=-0.2, reset_method=norse.reset_subtract),
        "each": box(v_th=(0.4, 1.2), tau_mem_inv=(100.0, 600.0), v_reset=(-0.3, 0.2)),
        "soft each": box(v_th=(0.4, 1.2), tau_mem_inv=(100.0, 600.0), reset_method=norse.reset_subtract),
        "heaviside": box(method="heaviside", tau_mem_inv=300.0),
    }
    for name, p in boxes.items():
        yield _case(f"LIFBoxCell {name}", partial(CellNet, norse.LIFBoxCell, p, norse.LIBoxCell))
    yield _case("LIFBoxCell dt", partial(CellNet, norse.LIFBoxCell, box(), norse.LIBoxCell, dt=0.004))
    yield _case("LIFBoxCell in a SequentialState", partial(Stepped, partial(_cells, norse.LIFBoxCell, box())))

    recurrent = {
        "default": lif(),
        "v_reset": lif(v_reset=-0.3, tau_mem_inv=200.0),
        "thresholds each": lif(v_th=(0.5, 1.5)),
    }
    for name, p in recurrent.items():
        for autapses in (False, True):
            full = f"{name}{', autapses' if autapses else ''}"
            yield _case(f"LIFRecurrentCell {full}", partial(RecurrentCells, p, autapses=autapses))
            yield _case(f"LIFRecurrent {full}", partial(Plain, partial(_recurrent, p, autapses=autapses), (0, 2, 3)))
    yield _case("LIFRecurrentCell v_leak", partial(RecurrentCells, lif(v_leak=0.3)))
    yield _case("LIFRecurrentCell dt", partial(RecurrentCells, lif(), dt=0.002))

    for name, p in {"default": iaf(), "v_reset": iaf(v_reset=-0.4), "each": iaf(v_th=(0.6, 1.8))}.items():
        yield _case(f"IAFCell {name}", partial(CellNet, norse.IAFCell, p, norse.LICell))
        yield _case(f"IAF {name}", partial(Plain, partial(_iaf_sequence, p), (1, 3)))

    yield _case("cells in a SequentialState", partial(Stepped, partial(_cells, norse.LIFCell, lif())))
    yield _case("IAFCell in a SequentialState", partial(Stepped, partial(_cells, norse.IAFCell, iaf())))
    small = {"shape": (2, 8, 8)}
    yield _case("lifted convolution", partial(Plain, partial(_conv, lif(), "dense"), (1, 5, 6)), **small)
    yield _case("lifted convolution, recurrent", partial(Plain, partial(_conv, lif(), "recurrent"), (1, 4, 6)), **small)
    yield _case("convolution and cells", partial(Stepped, partial(_conv_cells, lif())), **small)
    yield _case("ConvCells", partial(ConvCells, lif(tau_mem_inv=300.0)), **small)
    yield _case("ConvCells low", partial(ConvCells, lif(v_th=0.5, tau_mem_inv=200.0)), **small)


CASES = {case.name: case for case in cases()}
