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

    seeded, given = _jax() if framework == "spyx" else _torch()
    configs, run, graph_of = FRAMEWORKS[framework]()
    for seed, config in enumerate(configs):
        told = {"name": config.name, "framework": framework, "dialect": config.dialect}
        try:
            seeded(seed)
            net, x = config.make(), config.given(seed)
            fired = _numbers(run(net, given(x)))
            nir.write(folder / f"{config.name}.nir", graph_of(net, given(x[:1, 0])))
            np.savez_compressed(folder / f"{config.name}.npz", x=x, spikes=fired)
        except Exception as error:
            told["failed"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(told), flush=True)
    return 0


def _torch() -> tuple[Callable[[int], Any], Callable[[Any], Any]]:
    """What seeds torch, in float64, and what makes an array one of its own."""
    import torch

    torch.set_default_dtype(torch.float64)
    return torch.manual_seed, torch.from_numpy


def _jax() -> tuple[Callable[[int], Any], Callable[[Any], Any]]:
    """The same for jax, whose networks bring seeds of their own."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return lambda seed: None, jax.numpy.asarray


def _numbers(fired: Any) -> Any:
    """Spikes as small integers: of several a step, as large as they are."""
    found = np.asarray(fired.detach() if hasattr(fired, "detach") else fired)
    assert (found == np.rint(found)).all(), "spikes are whole numbers"
    return found.astype(np.int8 if np.abs(found).max() < 128 else np.int32)


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


# -- sinabs ------------------------------------------------------------------------------------------------------------


def sinabs() -> tuple[Iterator[Config], Runs, Writes]:
    """IAF and LIF with each gain of its input, alone, in depth, and with convolutions; several spikes a step."""
    import sinabs as package
    import sinabs.layers as sl
    import torch
    from torch import nn

    torch.Tensor.float = torch.Tensor.double  # what its activations give

    def run(net: Any, x: Any) -> Any:
        package.reset_states(net)
        return net(x.flatten(0, 1)).unflatten(0, (BATCH, STEPS))

    def graph_of(net: Any, frame: Any) -> Any:
        package.reset_states(net)
        graph = package.to_nir(net, frame.expand(BATCH, *frame.shape[1:]))
        graph.infer_types()  # before, its convolutions have no input_shape, and nir.write takes none of them
        return graph

    def iaf(threshold: float, *shape: int) -> Any:
        return sl.IAFSqueeze(spike_threshold=full(threshold, *shape), batch_size=BATCH)

    def lif(tau: float, threshold: float, norm: bool, *shape: int) -> Any:
        # One number for all would be written as 0-d, which nir.write refuses. It keeps tau in float32.
        parameters = {"tau_mem": full(tau, *shape), "spike_threshold": full(threshold, *shape)}
        return sl.LIFSqueeze(**parameters, norm_input=norm, batch_size=BATCH).double()

    def flat(cell: Any) -> Any:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), cell)

    def deep(first: Any, second: Any) -> Any:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), first, nn.Linear(WIDTH, 8), second)

    def conv(first: Any, second: Any) -> Any:
        return nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), first, sl.SumPool2d(2), nn.Flatten(),
            nn.Linear(12, 5), second,
        )  # fmt: skip

    def configs() -> Iterator[Config]:
        yield Config("iaf", "sinabs", lambda: flat(iaf(1.0)), gain=2.0)
        yield Config("iaf-low", "sinabs", lambda: flat(iaf(0.3)), gain=2.0)
        yield Config("iaf-deep", "sinabs", lambda: deep(iaf(0.7), iaf(0.5, 8)), gain=2.0)
        yield Config("conv-iaf", "sinabs", lambda: conv(iaf(0.4, 3, 4, 4), iaf(0.6, 5)), IMAGE, 2.0)
        for norm, dialect, gain in ((True, "sinabs", 8.0), (False, "sinabs-nonorm", 2.0)):
            word = "norm" if norm else "nonorm"
            for tau in (10.0, 2.5):
                yield Config(
                    f"lif-{word}-{tau:g}", dialect, lambda tau=tau, norm=norm: flat(lif(tau, 0.6, norm)), gain=gain
                )
            yield Config(
                f"lif-{word}-deep", dialect,
                lambda norm=norm: deep(lif(5.0, 0.5, norm), lif(7.0, 0.4, norm, 8)), gain=gain,
            )  # fmt: skip
            yield Config(
                f"conv-lif-{word}", dialect,
                lambda norm=norm: conv(lif(5.0, 0.5, norm, 3, 4, 4), lif(7.0, 0.5, norm, 5)), IMAGE, gain / 2,
            )  # fmt: skip

    return configs(), run, graph_of


# -- Rockpool ----------------------------------------------------------------------------------------------------------


def rockpool() -> tuple[Iterator[Config], Runs, Writes]:
    """LIFNeuronTorch and LIFTorch without bias, which it does not write; several spikes a step."""
    import torch

    torch.Tensor.float = torch.Tensor.double  # what its spike functions give
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LIFNeuronTorch, LIFTorch, LinearTorch
    from rockpool.nn.modules.torch.nir import to_nir

    def run(net: Any, x: Any) -> Any:
        return net.reset_state()(x)[0]

    def linear(into: int, out: int, scale: float = 1.0) -> Any:
        layer = LinearTorch((into, out), has_bias=False)
        layer.weight.data *= scale
        return layer

    def lif(tau: float, threshold: float, width: int = WIDTH, dt: float = 1e-3) -> Any:
        return LIFNeuronTorch(width, tau_mem=full(tau, width), threshold=full(threshold, width), dt=dt)

    def cuba(tau: float, synapse: float, threshold: float, width: int = WIDTH, dt: float = 1e-3) -> Any:
        taus = {"tau_mem": full(tau, width), "tau_syn": full(synapse, width, 1)}
        return LIFTorch(width, **taus, threshold=full(threshold, width), bias=full(0.0, width), dt=dt)

    def layers(*cells: Any) -> Any:
        parts: list[Any] = []
        for cell in cells:
            parts += [linear(WIDTH, cell.size_in), cell]
        return Sequential(*parts).double()

    def configs() -> Iterator[Config]:
        for tau in (0.02, 0.005):
            yield Config(f"neuron-{tau:g}", "rockpool", lambda tau=tau: layers(lif(tau, 1.0)), gain=2.0)
        yield Config("neuron-deep", "rockpool", lambda: layers(lif(0.02, 0.8), lif(0.01, 0.5, 8)), gain=2.0)
        for tau, synapse in ((0.02, 0.01), (0.01, 0.004), (0.005, 0.02)):
            yield Config(
                f"lif-{tau:g}-{synapse:g}", "rockpool", lambda each=(tau, synapse): layers(cuba(*each, 1.0)), gain=0.5
            )
        yield Config(
            "lif-deep", "rockpool", lambda: layers(cuba(0.02, 0.01, 2.0), cuba(0.01, 0.005, 2.0, 8)), gain=0.25
        )

    return configs(), run, lambda net, frame: to_nir(net, frame)


# -- Spyx --------------------------------------------------------------------------------------------------------------


def spyx() -> tuple[Iterator[Config], Runs, Writes]:
    """IF, LIF and CuBaLIF, alone, in depth, and with a convolution; a spike comes out one step late, as in the file."""
    import jax
    import spyx as package
    from flax import nnx
    from spyx import nn

    def run(net: Any, x: Any) -> Any:
        last = x.ndim > 3  # channels stand last in it, and first in what it writes
        fired, _ = nn.run(net, jax.numpy.moveaxis(x, 2, -1) if last else x, batch_major=True)
        return jax.numpy.moveaxis(fired, -1, 2) if last else fired

    def graph_of(net: Any, frame: Any) -> Any:
        shape = np.array(frame.shape[1:])
        return package.nir.to_nir(net, {"input": shape}, {"output": np.array(outs[id(net)])}, dt=1)

    outs: dict[int, tuple[int, ...]] = {}

    def layers(seed: int, *cells: Any) -> Any:
        """Linear layers and cells in turn."""
        rngs, width, parts = nnx.Rngs(seed), WIDTH, []
        for cell in cells:
            (out,) = cell.hidden_shape
            parts += [nnx.Linear(width, out, rngs=rngs, param_dtype=jax.numpy.float64), cell]
            width = out
        net = nn.Sequential(*parts)
        outs[id(net)] = (width,)
        return net

    def recurrent(kind: str, **told: float) -> Any:
        rngs = nnx.Rngs(8)
        layer = getattr(nn, kind)((WIDTH,), rngs=rngs, **told)
        layer.recurrent_w[...] = 0.3 * jax.random.normal(rngs.params(), (WIDTH, WIDTH), jax.numpy.float64)
        return layers(6, layer)

    def conv() -> Any:
        rngs = nnx.Rngs(7)
        first = nnx.Conv(2, 3, (3, 3), rngs=rngs, param_dtype=jax.numpy.float64)
        net = nn.Sequential(first, nn.LIF((8, 8, 3), beta=0.75, threshold=0.8, rngs=rngs))
        outs[id(net)] = (3, 8, 8)
        return net

    def lif(beta: float, threshold: float = 1.0, width: int = WIDTH) -> Any:
        return nn.LIF((width,), beta=beta, threshold=threshold, rngs=nnx.Rngs(0))

    def cuba(alpha: float, beta: float, threshold: float = 1.0, width: int = WIDTH) -> Any:
        return nn.CuBaLIF((width,), alpha=alpha, beta=beta, threshold=threshold, rngs=nnx.Rngs(0))

    def configs() -> Iterator[Config]:
        yield Config("if", "spyx", lambda: layers(0, nn.IF((WIDTH,))))
        for beta in (0.9, 0.5):
            yield Config(f"lif-{beta:g}", "spyx", lambda beta=beta: layers(1, lif(beta)))
        for alpha, beta in ((0.8, 0.9), (0.5, 0.75)):
            yield Config(f"cuba-{alpha:g}-{beta:g}", "spyx", lambda each=(alpha, beta): layers(2, cuba(*each, 1.5)))
        yield Config("if-deep", "spyx", lambda: layers(3, nn.IF((WIDTH,), 0.7), nn.IF((8,), 0.5)))
        yield Config("lif-deep", "spyx", lambda: layers(4, lif(0.9, 0.7), lif(0.75, 0.5, 8)), gain=2.0)
        yield Config("cuba-deep", "spyx", lambda: layers(5, cuba(0.8, 0.9), cuba(0.5, 0.75, 0.5, 8)))
        yield Config("conv-lif", "spyx", conv, IMAGE)
        for kind, told in (("RIF", {}), ("RLIF", {"beta": 0.75}), ("RCuBaLIF", {"alpha": 0.5, "beta": 0.75})):
            yield Config(
                f"recurrent-{kind[1:].lower()}", "spyx", lambda kind=kind, told=told: recurrent(kind, **told), gain=1.0
            )

    return configs(), run, graph_of


FRAMEWORKS = {
    "snntorch": snntorch, "norse": norse, "spikingjelly": spikingjelly, "sinabs": sinabs, "rockpool": rockpool,
    "spyx": spyx,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
