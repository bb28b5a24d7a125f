"""Networks that SpikingJelly 0.0.0.0.14 pickled, and what it computed with them.

    python -m tests.versions.old_pickles

writes them into ``tests/data/spikingjelly-0.0.0.0.14``, where that version is installed.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "data" / "spikingjelly-0.0.0.0.14"
TIMESTEPS, SHAPE = 4, (2, 6, 6)


def convolutions(first: nn.Module, second: nn.Module) -> nn.Module:
    """Two layers of neurons behind a convolution and a linear layer, and a third that is read."""
    return nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(4, step_mode="m"),
        first,
        layer.AvgPool2d(2, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(36, 12, step_mode="m"),
        second,
        layer.Dropout(0.5, step_mode="m"),
        layer.Linear(12, 5, step_mode="m"),
    )


def one_step(first: nn.Module, second: nn.Module) -> nn.Module:
    """One step a call."""
    conv = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), first)
    return nn.Sequential(conv, nn.Flatten(), nn.Linear(16, 8), second)


NETWORKS = {
    "if-hard": lambda: convolutions(neuron.IFNode(step_mode="m"), neuron.IFNode(v_reset=-0.1, step_mode="m")),
    "if-soft": lambda: convolutions(
        neuron.IFNode(v_reset=None, step_mode="m", surrogate_function=surrogate.ATan()),
        neuron.IFNode(v_threshold=0.7, v_reset=None, step_mode="m", surrogate_function=surrogate.PiecewiseQuadratic()),
    ),
    "lif": lambda: convolutions(
        neuron.LIFNode(tau=2.0, step_mode="m", surrogate_function=surrogate.PiecewiseLeakyReLU()),
        neuron.LIFNode(tau=4.0, decay_input=False, v_reset=None, step_mode="m", surrogate_function=surrogate.Erf()),
    ),
    "parametric-lif": lambda: convolutions(
        neuron.ParametricLIFNode(init_tau=2.0, step_mode="m"),
        neuron.ParametricLIFNode(init_tau=3.0, decay_input=False, v_reset=None, step_mode="m", detach_reset=True),
    ),
    "one-step": lambda: one_step(neuron.LIFNode(tau=1.5), neuron.IFNode(v_reset=None)),
    "surrogates": lambda: convolutions(
        neuron.LIFNode(step_mode="m", surrogate_function=surrogate.NonzeroSignLogAbs()),
        neuron.IFNode(step_mode="m", surrogate_function=surrogate.QPseudoSpike()),
    ),
}
"""By name; all that 0.0.0.0.14 has and 2.x lowers."""


def made(name: str) -> nn.Module:
    """A network that fires, in eval mode, the same each time."""
    torch.manual_seed(len(name))
    network: nn.Module = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.005, 0.03)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.1, 0.5)
    return network.eval()


def inputs(samples: int = 8) -> Tensor:
    """``[T, N, ...]`` in sixteenths."""
    numbers = torch.Generator().manual_seed(14)
    return torch.randint(0, 17, (TIMESTEPS, samples, *SHAPE), generator=numbers) / 16


@torch.no_grad()
def fired(network: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """What each layer of neurons fires in float64, ``[T, N, ...]`` by its path, with the output itself."""
    network = network.double()
    found: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _x, y, path=path: found.setdefault(path, []).append(y.clone()))
        for path, module in network.named_modules()
        if isinstance(module, neuron.BaseNode)
    ]
    functional.reset_net(network)
    steps = getattr(next(m for m in network.modules() if isinstance(m, neuron.BaseNode)), "step_mode", "s") == "s"
    output = torch.stack([network(step) for step in x.double()]) if steps else network(x.double())
    functional.reset_net(network)
    for hook in hooks:
        hook.remove()
    spikes = {path: torch.stack(parts) if steps else parts[0] for path, parts in found.items()}
    return {"output": output.numpy(), **{path: y.numpy() for path, y in spikes.items()}}


def write() -> None:
    """Write all of them."""
    import neurocompile

    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name in NETWORKS:
        torch.save(made(name), FOLDER / f"{name}.pt")
        for path, array in fired(made(name), inputs()).items():
            expected[f"{name}/{path}"] = array if path == "output" else array.astype(np.int8)
            print(name, path, array.shape, round(float((array != 0).mean()), 3))
    np.savez_compressed(FOLDER / "expected.npz", **expected)
    neurocompile.save(made("lif"), FOLDER / "saved.pt", inputs(), layout="TN")


if __name__ == "__main__":
    installed = version("spikingjelly")
    if installed != "0.0.0.0.14":
        raise SystemExit(f"SpikingJelly {installed} is installed; it takes 0.0.0.0.14")
    write()
