"""Lowering held against torch on random networks: ``python -m tests.exactness --networks 300 --seed 0 --json``.

The reference is the user's model in float64 under forward hooks that are written here, not the project's recorder;
SpikingJelly's DSR nodes, which give float32 whatever they are given, are transcribed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import neuron as sj
from torch import Tensor, nn

from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir import Graph, interpret
from neurocompile.passes import REAL_PASSES, run_passes
from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.versions import classes
from tests.random_networks import modules
from tests.random_networks.choices import calibrated
from tests.random_networks.modules import WANTED, Network, random_network
from tests.random_networks.neurons import Own
from tests.random_networks.spellings import Function

__all__ = ["Recorded", "Tally", "check", "compare", "record", "sweep"]

TIE = 1e-9
OUTPUT = 1e-9
SPIKING = (sj.BaseNode, MPBNLIF, Own)


# -- the reference -----------------------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """What torch did: outputs ``[N, ...]`` or ``[N, T, ...]``, spikes and margins ``[N, T, ...]`` in order of call."""

    outputs: list[np.ndarray]
    spikes: dict[str, np.ndarray]
    margins: dict[str, np.ndarray]
    thresholds: dict[str, float]


class TranscribedDsr(nn.Module):
    """DSRIFNode and DSRLIFNode line by line, without their casts to float32."""

    step_mode = "m"

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.leaky = isinstance(node, classes(sj, "DSRLIFNode"))
        self.v_threshold = node.v_threshold.detach().double().clamp(min=node.v_threshold_lower_bound)
        self.alpha = node.alpha
        self.delta_t = node.delta_t if self.leaky else 1.0
        self.beta = math.exp(-node.delta_t / node.tau) if self.leaky else 1.0
        self.surrogate_function = Function(lambda x: (x >= 0).to(x.dtype))

    def forward(self, x_seq: Tensor) -> Tensor:
        mem_potential = torch.zeros_like(x_seq[0])
        out = []
        for x in x_seq:
            mem_potential = self.beta * mem_potential + ((1 - self.beta) * x if self.leaky else x)
            spike = self.surrogate_function(mem_potential - self.alpha * self.v_threshold) * self.v_threshold
            mem_potential = mem_potential - spike
            out.append(spike / self.delta_t if self.leaky else spike)
        return torch.stack(out)


def record(network: Network) -> Recorded:
    """Run a copy of the model in float64, listening to every neuron."""
    functional.reset_net(network.module)
    model = copy.deepcopy(network.module).double().eval()
    for path, module in list(model.named_modules()):
        if isinstance(module, classes(sj, "DSRIFNode", "DSRLIFNode")):
            model.set_submodule(path, TranscribedDsr(module))
    fired: dict[str, list[Tensor]] = {}
    margins: dict[str, list[Tensor]] = {}
    running: list[str] = []
    nodes = {p: m for p, m in model.named_modules() if isinstance(m, (*SPIKING, TranscribedDsr))}
    for path, node in nodes.items():
        node.register_forward_pre_hook(lambda module, args, path=path: running.append(path))
        node.register_forward_hook(
            lambda module, args, out, path=path: fired.setdefault(running.pop(), []).append(out.clone())
        )
    for surrogate in {id(n.surrogate_function): n.surrogate_function for n in nodes.values()}.values():
        surrogate.register_forward_hook(lambda module, args, out: margins.setdefault(running[-1], []).append(args[0]))
    returned = modules.forward(model, network)
    steps, batch = network.timesteps, len(next(iter(network.inputs.values())))
    found = Recorded(_outputs(returned, network), {}, {}, {})
    for path, outs in fired.items():
        whole = len(outs) == 1 and getattr(nodes[path], "step_mode", "m") == "m"
        seq = outs[0] if whole else torch.stack(outs)
        assert seq.shape[:2] == (steps, batch), (path, seq.shape)
        found.spikes[path] = torch.sign(seq).transpose(0, 1).numpy().astype(np.int8)
        near = torch.stack(margins[path]).unflatten(0, (steps, -1)).abs().amin(1)
        found.margins[path] = near.transpose(0, 1).numpy()
        found.thresholds[path] = float(torch.as_tensor(nodes[path].v_threshold).abs().min())
    return found


def _outputs(returned: list[Any], network: Network) -> list[np.ndarray]:
    """Each output, an output that still has time read as the network says."""
    steps, batch = network.timesteps, len(next(iter(network.inputs.values())))
    if network.layout == "loop":
        parts = [_flat(out) for out in returned]
        sequences = [torch.stack(values) for values in zip(*parts)]
    else:
        (out,) = returned
        sequences = []
        for value in _flat(out):
            value = torch.stack(value) if isinstance(value, list) else value
            if network.sequence:
                assert value.shape[:2] == (steps, batch)
                sequences.append(value)
            else:
                assert value.shape[0] == batch
                sequences.append(value.unsqueeze(0))
    read = network.read or "mean"
    match read if network.layout == "loop" or network.sequence else "last":
        case "mean":
            return [s.mean(0).numpy() for s in sequences]
        case "sum":
            return [s.sum(0).numpy() for s in sequences]
        case "last":
            return [s[-1].numpy() for s in sequences]
        case "max":
            return [s.amax(0).numpy() for s in sequences]
    return [s.transpose(0, 1).numpy() for s in sequences]


def _flat(out: Any) -> tuple[Any, ...]:
    return tuple(out.values()) if isinstance(out, dict) else out if isinstance(out, tuple) else (out,)


# -- comparing ---------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How much was compared and what differs; ``calibrated``: networks with every layer between 2 and 80 %."""

    networks: int = 0
    edge_cases: int = 0
    samples: int = 0
    spikes_compared: int = 0
    mismatches: int = 0
    ties: int = 0
    calibrated: int = 0
    largest_output_error: float = 0.0
    by_case: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def share_calibrated(self) -> float:
        """Of the networks that are not edge cases on purpose."""
        return self.calibrated / max(self.networks - self.edge_cases, 1)


def compare(expected: Recorded, spikes: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int, list[str]]:
    """Per sample whether it is a tie; the number of differing spikes in all other samples; where they differ first."""
    batch = len(next(iter(expected.spikes.values()), np.zeros(0)))
    tied, mismatches, where = np.zeros(batch, bool), 0, []
    differs = {name: expected.spikes[name] != spikes[name] for name in expected.spikes}
    for sample in range(batch):
        places = [
            (int(step), order, name)
            for order, (name, d) in enumerate(differs.items())
            for step in np.flatnonzero(d[sample].reshape(d.shape[1], -1).any(1))
        ]
        if not places:
            continue
        step, _, name = min(places)
        margins = expected.margins[name][sample, step][differs[name][sample, step]]
        if (margins <= TIE * max(1.0, expected.thresholds[name])).all():
            tied[sample] = True
            continue
        mismatches += sum(int(d[sample].sum()) for d in differs.values())
        where.append(f"sample {sample} step {step} {name}: margins {margins[:3]}")
    return tied, mismatches, where


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Check that what happens inside leaves parameters, buffers, training flags, memories and hooks as they are."""
    before = _snapshot(module)
    yield
    after = _snapshot(module)
    assert list(before) == list(after)
    for key, value in before.items():
        same = torch.equal(value, after[key]) if isinstance(value, Tensor) else value == after[key]
        assert same, f"{key} was changed"


def _snapshot(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, part in module.named_modules():
        found[f"{path}:training"] = part.training
        found[f"{path}:hooks"] = len(part._forward_hooks) + len(part._forward_pre_hooks)
        found[f"{path}:id"] = id(part)
        for name, value in (*vars(part).items(), *part._parameters.items(), *part._buffers.items()):
            if isinstance(value, Tensor):
                found[f"{path}.{name}"] = value.detach().clone()
                found[f"{path}.{name}:dtype"] = value.dtype
        for name, value in getattr(part, "_memories", {}).items():
            found[f"{path}:memory {name}"] = value.detach().clone() if isinstance(value, Tensor) else value
    return found


def lowered(network: Network) -> TorchModel:
    """The network as the compiler sees it."""
    shapes: Any = network.shapes if len(network.shapes) > 1 else next(iter(network.shapes.values()))
    return TorchModel.from_module(
        network.module, shapes, network.timesteps, network.layout, network.read, network.carries
    )  # type: ignore[arg-type]


def leave_states(network: Network) -> None:
    """As after a training step: memories of another batch, with gradients."""
    inputs = {name: x[:1] for name, x in network.inputs.items()}
    given = [modules.arranged(x, network.layout) for x in inputs.values()]
    dtype = next(network.module.parameters()).dtype
    given = [(x[0] if network.layout == "loop" else x).to(dtype) for x in given]
    network.module(*given)


def check(network: Network, tally: Tally, states: bool = False) -> TorchModel:
    """Hold one network's graph, before and after the passes, against torch; add to the tally, and note what differs."""
    expected = record(network)
    if states:
        leave_states(network)
    with untouched(network.module):
        model = lowered(network)
        model.run(network.inputs)
    folded, _ = run_passes(model.graph, REAL_PASSES)
    tally.networks += 1
    tally.samples += len(next(iter(network.inputs.values())))
    tally.by_case.update(network.cases)
    tally.edge_cases += bool(network.edge)
    tally.calibrated += not network.edge and calibrated(expected.spikes)
    for stage, graph in (("lowered", model.graph), ("folded", folded)):
        _compare_graph(stage, graph, network, expected, tally)
    return model


def _compare_graph(stage: str, graph: Graph, network: Network, expected: Recorded, tally: Tally) -> None:
    run = interpret(graph, network.inputs, network.timesteps)
    assert set(run.spikes) == set(expected.spikes), f"{stage}: layers {set(run.spikes)} of {set(expected.spikes)}"
    tied, mismatches, where = compare(expected, run.spikes)
    tally.spikes_compared += sum(s.size for s in expected.spikes.values())
    tally.mismatches += mismatches
    tally.ties += int(tied.sum())
    tally.failures += [f"{stage}: {line}" for line in where]
    if modules.GRID in network.cases and tied.any():  # there a tie is >= taken for >, or the reverse
        tally.failures.append(f"{stage}: {int(tied.sum())} ties where all sums are exact")
    names = ["output", *(f"output.{n}" for n in range(2, len(expected.outputs) + 1))]
    assert set(run.outputs) == set(names)
    followed = ~tied if tied.size else slice(None)
    for name, values in zip(names, expected.outputs):
        assert run.outputs[name].shape == values.shape, f"{stage}: {run.outputs[name].shape}, torch {values.shape}"
        known, ours = values[followed], run.outputs[name][followed]
        if known.size and not mismatches:
            error = float(np.abs(known - ours).max()) / max(1.0, float(np.abs(known).max()))
            tally.largest_output_error = max(tally.largest_output_error, error)
            if error > OUTPUT:
                tally.failures.append(f"{stage}: {name} differs by {error:.3g}")


def sweep(count: int, seed: int = 0) -> Tally:
    """Networks with seeds from ``seed`` on, each with a wanted case in turn."""
    tally = Tally()
    for number in range(seed, seed + count):
        network = random_network(random.Random(number), WANTED[number % len(WANTED)])
        known = len(tally.failures)
        try:
            check(network, tally, states=number % 2 == 0)
        except Exception as error:
            kind = type(error).__name__
            tally.failures.append(f"{kind}: {str(error).splitlines()[0] if str(error) else ''}")
        wanted = WANTED[number % len(WANTED)]
        tally.failures[known:] = [f"seed {number} ({wanted}): {line}" for line in tally.failures[known:]]
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally = sweep(options.networks, options.seed)
    body = {"seed": options.seed, **asdict(tally), "share_calibrated": tally.share_calibrated}
    body["by_case"] = dict(sorted(tally.by_case.items()))
    if options.json:
        print(json.dumps(body))
    else:
        for name, value in body.items():
            lines = value if isinstance(value, list) else [value]
            print(f"{name}:", *lines, sep="\n  " if isinstance(value, list) else " ")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
