"""What a case may be given: models, data, files of any kind."""

from __future__ import annotations

import inspect
import json
import pickle
import random
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile.models.temporal import TemporalGain
from neurocompile.models.zoo import ZOO
from tests.cli.helpers import small_net
from tests.idioms.cases import Case as Idiom
from tests.random_networks.modules import arranged, random_network
from tests.recorded.case import Given

__all__ = [
    "altered",
    "arrays",
    "biased_net",
    "big_net",
    "chip_net",
    "copied",
    "current_net",
    "damaged",
    "fan_in_net",
    "gains_net",
    "held",
    "idiom",
    "later_version",
    "pickled",
    "random_model",
    "saved",
    "sinking_net",
    "small",
    "with_nan",
    "zoo_data",
]

# -- files -------------------------------------------------------------------------------------------------------------


def saved(name: str, make: Callable[[], nn.Module], *shape: int, **options: Any) -> Given:
    """A model as neurocompile.save writes it, with a random example of a shape."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        net = make().eval()
        torch.manual_seed(1)
        neurocompile.save(net, path, torch.rand(*shape), **options)

    return Given(name, write)


def small(name: str = "m.pt") -> Given:
    """4 inputs, 6 and 3 neurons, 5 steps."""
    return saved(name, small_net, 5, 8, 4)


def pickled(name: str, make: Callable[[], Any]) -> Given:
    """What torch.save writes."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        torch.save(make(), path)

    return Given(name, write)


def held(name: str, content: bytes | str) -> Given:
    """A file with this in it."""
    return Given(name, lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode()))


def arrays(name: str, *shape: int, labels: int = 0, **others: Any) -> Given:
    """x of a shape, labels y below a number, and other arrays."""

    def write(path: Path) -> None:
        draw = np.random.default_rng(3)
        found = {"x": draw.random(shape)} if shape else {}
        if labels:
            found["y"] = draw.integers(0, labels, shape[0])
        np.savez(path, **found, **others)

    return Given(name, write)


def altered(name: str, source: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Given:
    """The arrays of another file with a change."""

    def write(path: Path) -> None:
        with np.load(source) as found:
            np.savez(path, **change({key: found[key] for key in found.files}))

    return Given(name, write)


def damaged(name: str, change: Callable[[bytes], bytes]) -> Given:
    """A file that is there already, changed."""
    return Given(name, lambda path: path.write_bytes(change(path.read_bytes())))


def copied(name: str, source: str) -> Given:
    """A copy of a file."""
    return Given(name, lambda path: path.write_bytes(Path(source).read_bytes()))


# -- networks ----------------------------------------------------------------------------------------------------------


def chip_net() -> nn.Module:
    """The small network with neurons that Loihi has."""
    net = small_net()
    net[3] = neuron.LIFNode(tau=2.0, decay_input=False, v_reset=0.0, step_mode="m")
    return net


def current_net() -> nn.Module:
    """The small network with a synaptic current that decays."""
    net = small_net()
    net[3] = neuron.CUBALIFNode(0.5, 0.8, v_reset=0.0, step_mode="m")
    return net


def gains_net() -> nn.Module:
    """The small network with a number for each step."""
    net = small_net()
    gain = TemporalGain(5)
    gain.gain.data = torch.tensor([0.6, 1.4, 1.0, 0.9, 1.1])
    return nn.Sequential(*net[:3], gain, net[3])


def big_net() -> nn.Module:
    """More than async28 holds: 300 and 310 neurons behind 20 inputs."""
    wide = [layer.Linear(20, 300, step_mode="m"), neuron.IFNode(step_mode="m")]
    return nn.Sequential(*wide, layer.Linear(300, 310, step_mode="m"), neuron.IFNode(step_mode="m")).eval()


def fan_in_net() -> nn.Module:
    """More sources for a neuron than a core of nc1 or Loihi has axons."""
    first = [layer.Linear(5000, 16, step_mode="m"), neuron.IFNode(v_reset=0.0, step_mode="m")]
    return nn.Sequential(*first, layer.Linear(16, 3, step_mode="m"), neuron.IFNode(v_reset=0.0, step_mode="m")).eval()


def biased_net() -> nn.Module:
    """Biases that no register of Loihi holds."""
    net = chip_net()
    nn.init.constant_(net[2].bias, 1e6)
    return net


def sinking_net() -> nn.Module:
    """Membranes that only fall, and neither leak nor fire."""
    net = nn.Sequential(nn.Linear(400, 3), neuron.IFNode()).eval()
    nn.init.uniform_(net[0].weight, -1.0, -0.9)
    nn.init.zeros_(net[0].bias)
    return net


def with_nan() -> nn.Module:
    """A weight that is no number."""
    net = small_net()
    net.state_dict()["2.weight"][0, 1] = float("nan")
    return net


def random_model(seed: int, wanted: str = "") -> tuple[Given, Given]:
    """A random network of torch and SpikingJelly as ``m.pt``, and inputs for it as ``x.npz``."""

    def model(path: Path) -> None:
        network = random_network(random.Random(seed), wanted)
        dtype = next(network.module.parameters()).dtype
        loop = network.layout == "loop"
        example = {
            name: (torch.from_numpy(x[:, 0]) if loop else arranged(x, network.layout)).to(dtype)
            for name, x in network.inputs.items()
        }
        settings: Any = {"layout": network.layout, "readout": network.read, "carries": network.carries}
        neurocompile.save(network.module, path, example, timesteps=network.timesteps, **settings)

    def data(path: Path) -> None:
        np.savez(path, **random_network(random.Random(seed), wanted).inputs)

    return Given("m.pt", model), Given("x.npz", data)


def zoo_data(name: str) -> Given:
    """Two samples for a network of the zoo."""

    def write(path: Path) -> None:
        network = ZOO[name]
        inputs = network.samples(2, torch.Generator().manual_seed(7))
        names = inspect.signature(network.make().forward).parameters
        first = {"TN": lambda x: x.transpose(0, 1), "N": lambda x: x}[network.layout]
        np.savez(path, **{key: first(x).numpy() for key, x in zip(names, inputs)})

    return Given("x.npz", write)


def idiom(case: Idiom) -> Given:
    """A case of tests.idioms: a pickled module, or what can only be saved while something holds, or not be pickled."""

    def write(path: Path) -> None:
        with suppress(pickle.PickleError, AttributeError, RuntimeError):
            if case.around is nullcontext:
                torch.save(case.build(), path)
                return
        settings: Any = {"layout": case.layout, "timesteps": None if case.layout in ("TN", "NT") else case.timesteps}
        with case.around():
            neurocompile.save(case.build(), path, case.inputs()[0], **settings)

    return Given("m.pt", write)


# -- programs ----------------------------------------------------------------------------------------------------------


def later_version(content: bytes) -> bytes:
    """program.json as a later version would write it."""
    body = json.loads(content)
    body["version"] += 1
    return json.dumps(body).encode()
