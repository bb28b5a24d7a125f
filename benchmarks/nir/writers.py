"""Networks as their frameworks have them: the .nir file that each writes, what it was given and what it fired.

``python writers.py FRAMEWORK FOLDER``, in an environment that has the framework, and nir. All in float64, so that a
spike is a matter of the equation. Each configuration becomes NAME.nir and NAME.npz (``x[N, T, ...]``, ``spikes[N, T,
...]`` of the last layer), and a line on stdout: a JSON object with its name and dialect, or why it cannot be written.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH, STEPS, WIDTH = 4, 60, 12
FLAT, IMAGE = (WIDTH,), (2, 8, 8)


@dataclass
class Config:
    """One network: its name, the dialect that it has to be read in, what makes it, and the inputs that it gets."""

    name: str
    dialect: str
    make: Callable[[], Any]
    shape: tuple[int, ...] = FLAT
    gain: float = 1.0

    def given(self, seed: int) -> Any:
        """Normal inputs ``[N, T, *shape]``, in 64ths: files of them are small."""
        x = self.gain * np.random.default_rng(seed).normal(0.25, 1.0, (BATCH, STEPS, *self.shape))
        return np.rint(64 * x) / 64


Runs = Callable[[Any, Any], Any]
"""What a network ``[N, T, ...]`` fires for inputs ``[N, T, ...]``."""
Writes = Callable[[Any, Any], Any]
"""The nir.NIRGraph of a network, for one frame ``[1, ...]``."""


def main() -> int:
    """Write everything of one framework."""
    framework, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    import nir
    import torch

    torch.set_default_dtype(torch.float64)
    configs, run, graph_of = FRAMEWORKS[framework]()
    for seed, config in enumerate(configs):
        told = {"name": config.name, "framework": framework, "dialect": config.dialect}
        try:
            torch.manual_seed(seed)
            net, x = config.make(), config.given(seed)
            fired = run(net, torch.from_numpy(x)).detach().numpy()
            nir.write(folder / f"{config.name}.nir", graph_of(net, torch.from_numpy(x[:1, 0])))
            np.savez_compressed(folder / f"{config.name}.npz", x=x, spikes=fired.astype(np.int8))
        except Exception as error:
            told["failed"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(told), flush=True)
    return 0


def full(value: float, *shape: int) -> Any:
    """One number for every neuron: nir 1.0.8 cannot write single ones."""
    import torch

    return torch.full(shape or FLAT, value)


# -- snnTorch ----------------------------------------------------------------------------------------------------------


def snntorch() -> tuple[Iterator[Config], Runs, Writes]:
    """Leaky and Synaptic, with each reset at each moment, alone, in depth, with recurrence and with convolutions."""
    import snntorch as snn
    import torch
    from snntorch.export_nir import export_to_nir

    torch.Tensor.float = torch.Tensor.double  # what its surrogate functions give

    def forget(net: Any) -> None:
        for module in net.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()

    def run(net: Any, x: Any) -> Any:
        forget(net)
        fired = []
        for t in range(STEPS):
            y = x[:, t]
            for part in net:
                y = part(y)
                y = y[0] if isinstance(y, tuple) else y
            fired.append(y)
        return torch.stack(fired, 1)

    def graph_of(net: Any, frame: Any) -> Any:
        forget(net)
        return export_to_nir(net, frame, ignore_dims=[0])

    def configs() -> Iterator[Config]:
        for reset, late in (("subtract", True), ("subtract", False), ("zero", True), ("zero", False), ("none", True)):
            word = f"{reset}-{'late' if late else 'once'}"
            plain = {"subtract": "snntorch-late" if late else "snntorch", "zero": "snntorch-zero"}.get(reset)
            dialect = plain or "snntorch-none"
            lossy = "snntorch-zero-late" if (reset, late) == ("zero", True) else dialect
            yield from _snntorch(snn, word, dialect, lossy, reset_mechanism=reset, reset_delay=late, init_hidden=True)

    return configs(), run, graph_of


def _snntorch(snn: Any, word: str, dialect: str, lossy: str, **how: Any) -> Iterator[Config]:
    from torch import nn

    def leaky(beta: float, threshold: float, *shape: int) -> Any:
        return snn.Leaky(beta=full(beta, *shape), threshold=full(threshold, *shape), **how)

    def deep() -> Any:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), leaky(0.8, 0.7), nn.Linear(WIDTH, 8), leaky(0.95, 1.0, 8))

    def synaptic() -> Any:
        return nn.Sequential(
            nn.Linear(WIDTH, WIDTH), snn.Synaptic(alpha=full(0.8), beta=full(0.9), threshold=full(1.0), **how)
        )

    def conv() -> Any:
        return nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=2, padding=1), leaky(0.9, 0.3, 3, 4, 4), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(12, 5), leaky(0.9, 0.2, 5),
        )  # fmt: skip

    def recurrent() -> Any:
        return nn.Sequential(
            nn.Linear(WIDTH, WIDTH), snn.RLeaky(beta=0.9, all_to_all=True, linear_features=WIDTH, **how)
        )

    for beta in (0.9, 0.5):
        yield Config(
            f"leaky-{word}-{beta}", dialect, lambda beta=beta: nn.Sequential(nn.Linear(WIDTH, WIDTH), leaky(beta, 1.0))
        )
    yield Config(f"deep-{word}", dialect, deep, gain=4.0)
    yield Config(f"synaptic-{word}", lossy, synaptic)
    yield Config(f"conv-{word}", dialect, conv, IMAGE)
    if how["reset_mechanism"] != "none":
        yield Config(f"recurrent-{word}", lossy, recurrent)


# -- Norse -------------------------------------------------------------------------------------------------------------


def norse() -> tuple[Iterator[Config], Runs, Writes]:
    """LIFBoxCell, LIFCell and IAFCell, one and two layers."""
    import norse.torch as nt
    import torch
    from torch import nn

    def run(net: Any, x: Any) -> Any:
        state, fired = None, []
        for t in range(STEPS):
            y, state = net(x[:, t], state)
            fired.append(y)
        return torch.stack(fired, 1)

    def box(tau: float, threshold: float, width: int = WIDTH) -> Any:
        return nt.LIFBoxCell(
            nt.LIFBoxParameters(
                tau_mem_inv=full(tau, width),
                v_th=full(threshold, width),
                v_leak=full(0.0, width),
                v_reset=full(0.0, width),
            )
        )

    def lif(tau: float, threshold: float) -> Any:
        return nt.LIFCell(
            nt.LIFParameters(
                tau_syn_inv=full(200.0),
                tau_mem_inv=full(tau),
                v_th=full(threshold),
                v_leak=full(0.0),
                v_reset=full(0.0),
            )
        )

    def layers(*cells: Any) -> Any:
        parts: list[Any] = []
        for number, cell in enumerate(cells):
            parts += [nn.Linear(WIDTH, WIDTH if number + 1 < len(cells) or number == 0 else 6), cell]
        return nt.SequentialState(*parts)

    def configs() -> Iterator[Config]:
        for tau, threshold in ((100.0, 0.3), (200.0, 0.5), (50.0, 0.2)):
            given = tau, threshold
            yield Config(f"box-{tau:g}", "norse-1.1", lambda given=given: layers(box(*given)), gain=4.0)
            yield Config(
                f"box-deep-{tau:g}", "norse-1.1",
                lambda given=given: layers(box(*given), box(given[0], given[1] / 2, 6)), gain=16.0,
            )  # fmt: skip
            yield Config(f"lif-{tau:g}", "norse-1.1", lambda given=given: layers(lif(*given)))
        own = nt.IAFParameters(v_th=full(1.0), v_reset=full(0.0))
        yield Config("iaf", "norse-1.1", lambda: layers(nt.IAFCell(own)))

    return configs(), run, nt.to_nir


# -- SpikingJelly ------------------------------------------------------------------------------------------------------


def spikingjelly() -> tuple[Iterator[Config], Runs, Writes]:
    """IFNode and LIFNode with both kinds of input, alone and with convolutions."""
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir
    from torch import nn

    def run(net: Any, x: Any) -> Any:
        functional.set_step_mode(net, "m")
        fired = net(x.movedim(1, 0)).movedim(0, 1)
        functional.reset_net(net)
        functional.set_step_mode(net, "s")
        return fired

    def flat(cell: Any) -> Any:
        return nn.Sequential(layer.Linear(WIDTH, WIDTH), cell())

    def conv(cell: Any) -> Any:
        last = layer.Linear(48, 5)
        last.weight.data *= 6  # so that the last layer fires as well
        return nn.Sequential(
            layer.Conv2d(2, 3, 3, padding=1), cell(), layer.AvgPool2d(2), layer.Flatten(), last, cell()
        )

    cells = {
        "if": lambda: neuron.IFNode(),
        "if-reset": lambda: neuron.IFNode(v_threshold=0.7, v_reset=-0.2),
        "lif": lambda: neuron.LIFNode(tau=2.0, v_threshold=0.5),
        "lif-tau": lambda: neuron.LIFNode(tau=5.0, v_threshold=0.3),
        "lif-whole": lambda: neuron.LIFNode(tau=2.0, decay_input=False),
        "lif-reset": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.5, v_reset=0.1),
    }

    def configs() -> Iterator[Config]:
        for name, cell in cells.items():
            yield Config(name, "spikingjelly", lambda cell=cell: flat(cell), gain=2.0)
            yield Config(f"conv-{name}", "spikingjelly", lambda cell=cell: conv(cell), IMAGE, 8.0)

    return configs(), run, lambda net, frame: export_to_nir(net, frame, dt=1e-4)


FRAMEWORKS = {"snntorch": snntorch, "norse": norse, "spikingjelly": spikingjelly}

if __name__ == "__main__":
    sys.exit(main())
