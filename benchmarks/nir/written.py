"""Networks that are written as .nir files here, for others to read: each with inputs, and what it fires in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import neurocompile

BATCH, STEPS, WIDTH = 4, 60, 12
DT = 1e-4

Makes = Callable[[Any, Path], tuple[Any, dict[str, Any]]]
"""For inputs, and a folder to write in: a model, and what is said of it when it is compiled."""


@dataclass
class Case:
    """One network, the shape of its inputs, and how strong they are."""

    name: str
    made: Makes
    shape: tuple[int, ...] = (WIDTH,)
    gain: float = 1.0
    step: float = 1 / 64
    """Inputs are multiples of it."""

    def write(self, folder: Path, stem: str) -> tuple[int, int]:
        """STEM.nir as ``export --emit nir`` has it, and STEM.npz: ``x[N, T, ...]``, ``spikes[N, T, ...]``.

        Returns:
            Its spikes, and its positions: neurons of the last layer times steps.
        """
        seed = sum(self.name.encode())
        torch.manual_seed(seed)
        x = self.gain * np.random.default_rng(seed).normal(0.25, 1.0, (BATCH, STEPS, *self.shape))
        x = np.rint(x / self.step) * self.step
        model, told = self.made(x, folder)
        said = {"timesteps": STEPS, "readout": "sequence", "calibrate": x, "validate": False, **told}
        out = neurocompile.export(model, folder / "out" / "program", emit=["nir"], overwrite=True, **said).program
        assert out is not None
        (out / "nir" / "network.nir").replace(folder / f"{stem}.nir")
        (found,) = (neurocompile.simulate(out, x, real=True).outputs or {}).values()
        np.savez_compressed(folder / f"{stem}.npz", x=x, spikes=np.asarray(found))
        return int(np.asarray(found).sum()), np.asarray(found).size


def spikingjelly(*parts: Callable[[], Any]) -> Makes:
    """A network of SpikingJelly, which fires from its threshold on."""

    def made(x: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
        net = nn.Sequential(*(part() for part in parts)).eval()
        functional.set_step_mode(net, "m")
        return net, {"input_shape": x.shape[2:]}

    return made


def by_hand(
    *parts: Callable[[], Any], back: Callable[[], Any] | None = None, fire: Any = "gt", start: Any = "zero"
) -> Makes:
    """A .nir file of one node after another, read as NIR's text says.

    Args:
        parts: make the nodes.
        back: makes weights from the last node to itself.
        fire: as in a dialect.
        start: as in a dialect.
    """

    def made(x: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
        nodes: dict[str, Any] = {"input": nir.Input(np.array(x.shape[2:]))}
        nodes |= {str(number): part() for number, part in enumerate(parts)}
        last = str(len(parts) - 1)
        nodes["output"] = nir.Output(nodes[last].output_type["output"])
        edges = list(pairwise(nodes))
        if back is not None:
            nodes["back"] = back()
            edges += [(last, "back"), ("back", last)]
        file = folder / "out" / "by_hand.nir"
        file.parent.mkdir(exist_ok=True)
        nir.write(file, nir.NIRGraph(nodes, edges, type_check=False))
        return file, {"dialect": "text", "dt": DT, "fire": fire, "start": start}

    return made


def dense(out: int = WIDTH, into: int = WIDTH, scale: float = 0.3, step: float = 0.0) -> Callable[[], Any]:
    """Random weights, or multiples of a step, so that membranes meet their threshold."""

    def make() -> Any:
        weight = np.random.default_rng(out + into).normal(0, scale, (out, into))
        return nir.Linear(np.rint(weight / step) * step if step else weight)

    return make


def cell(kind: str, width: int = WIDTH, **fields: Any) -> Callable[[], Any]:
    """Neurons of one kind; one number is every neuron's."""
    return lambda: getattr(nir, kind)(**{key: np.broadcast_to(value, width).copy() for key, value in fields.items()})


def lif(
    tau: Any, gain: Any, threshold: Any = 0.3, leak: float = 0.0, reset: float = 0.0, width: int = WIDTH
) -> Callable[[], Any]:
    """LIF whose tau is in steps, and which hears its input times a gain."""
    told = {"v_leak": leak, "v_threshold": threshold, "v_reset": reset}
    return cell("LIF", width, tau=np.multiply(tau, DT), r=np.multiply(gain, tau), **told)


def cuba(synapse: float, tau: float, w_in: float, gain: float) -> Callable[[], Any]:
    """CubaLIF, whose current hears spikes times w_in, and whose membrane hears it times a gain."""
    told = {"v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    return cell("CubaLIF", tau_syn=synapse * DT, tau_mem=tau * DT, r=gain * tau, w_in=w_in * synapse, **told)


def sums(threshold: float, gain: float = 1.0) -> Callable[[], Any]:
    """IF, which hears its input times a gain."""
    return cell("IF", r=gain / DT, v_threshold=threshold, v_reset=0.0)


def _linear(out: int = WIDTH, into: int = WIDTH) -> Callable[[], Any]:
    return lambda: layer.Linear(into, out)


def _image(last: Callable[[], Any]) -> Makes:
    return spikingjelly(
        lambda: layer.Conv2d(2, 3, 3, padding=1), last, lambda: layer.AvgPool2d(2), layer.Flatten, _linear(6, 48), last
    )


_TAUS, _THRESHOLDS = np.linspace(2, 8, WIDTH), np.linspace(0.1, 0.4, WIDTH)
CASES = (
    Case("IF", spikingjelly(_linear(), lambda: neuron.IFNode(v_threshold=0.5))),
    Case("IF, another r", by_hand(dense(), sums(0.5, 0.5))),
    Case("IF, reset to -0.2", spikingjelly(_linear(), lambda: neuron.IFNode(v_threshold=0.5, v_reset=-0.2))),
    Case("IF that fires from its threshold on", by_hand(dense(step=0.25), sums(1.0), fire="ge"), step=1.0),
    Case("IF that fires above its threshold", by_hand(dense(step=0.25), sums(1.0)), step=1.0),
    Case("LIF, r = 1", spikingjelly(_linear(), lambda: neuron.LIFNode(tau=2.0, v_threshold=0.3))),
    Case("LIF, r = tau / dt", spikingjelly(_linear(), lambda: neuron.LIFNode(tau=4.0, decay_input=False))),
    Case("LIF, another r", by_hand(dense(), lif(5.0, 0.5))),
    Case("LIF, a tau for each neuron", by_hand(dense(), lif(_TAUS, 1 / _TAUS))),
    Case("LIF, a threshold for each neuron", by_hand(dense(), lif(5.0, 0.2, _THRESHOLDS))),
    Case("LIF, leak and reset to 0.1", by_hand(dense(), lif(5.0, 0.2, 0.3, 0.1, 0.1), start="reset")),
    Case("LIF, reset to -0.2", by_hand(dense(), lif(5.0, 0.2, 0.2, 0.0, -0.2))),
    Case("CubaLIF", by_hand(dense(), cuba(3.0, 5.0, 1.0, 1.0)), gain=0.5),
    Case("CubaLIF, another w_in and r", by_hand(dense(), cuba(3.0, 5.0, 0.5, 0.2)), gain=4.0),
    Case("convolutions, pool, IF", _image(lambda: neuron.IFNode(v_threshold=0.25)), (2, 8, 8), 6.0),
    Case("convolutions, pool, LIF", _image(lambda: neuron.LIFNode(tau=2.0, v_threshold=0.2)), (2, 8, 8), 2.0),
    Case("two layers of LIF", by_hand(dense(scale=0.5), lif(5.0, 0.2), dense(8, scale=1.0), lif(3.0, 1 / 3, width=8))),
    Case("recurrent LIF", by_hand(dense(), lif(5.0, 0.2, 0.2), back=dense(scale=0.6))),
)
