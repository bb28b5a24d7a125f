"""Random networks in Lava and in the simulator: ``python -m tests.backends.lava.sweep --networks 200 --seed 0 --json``.

Every second one comes from torch and SpikingJelly through the frontend (:mod:`tests.random_networks.modules`), the
others are deep graphs (:mod:`tests.random_networks.loihi`). Some refuse to compile for Loihi; why is counted, and
others are drawn instead. Those that netx can load are also compiled for it, and run through lava-dl's own loader.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.backends.lava import plan_of
from neurocompile.backends.netx import problems_with, write_net
from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import NeurocompileError
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers
from tests.backends.lava.against import Compared, Worker, compare, count
from tests.backends.netx.lava import need_lava, run_in_lava
from tests.random_networks.choices import HIGH, LOW
from tests.random_networks.graphs import Drawn
from tests.random_networks.loihi import deep_network
from tests.random_networks.modules import WANTED, random_network

__all__ = ["Sweep", "compiled", "sweep"]


@dataclass
class Sweep:
    """What a sweep met."""

    compared: Compared = field(default_factory=Compared)
    netx: Compared = field(default_factory=Compared)
    calibrated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        c = self.compared
        counters = {name: dict(sorted(getattr(self, name).items())) for name in ("refused", "kinds", "depths", "cases")}
        return {
            "networks": c.programs,
            "spikes_compared": c.spikes,
            "spike_mismatches": c.spikes_differing,
            "membranes_compared": c.membranes,
            "membrane_mismatches": c.membranes_differing,
            "output_mismatches": c.outputs_differing,
            "firing_rate": float(np.mean(c.fired)) if c.fired else None,
            "networks_with_every_layer_calibrated": self.calibrated,
            "netx_networks": self.netx.programs,
            "netx_spikes_compared": self.netx.spikes,
            "netx_mismatches": self.netx.spikes_differing + self.netx.membranes_differing,
            "wrong": [*c.wrong, *self.netx.wrong],
            **counters,
        }


def compiled(drawn: Drawn, source: random.Random) -> Program:
    """A program for one of the Loihis, with a width of weights and a way for its inputs that are drawn."""
    target = source.choice(("loihi", "loihi2"))
    encode: Any = None if target == "loihi" else source.choice(("graded", "graded", "host"))
    options = Options(bits=source.choice((8, 8, 8, 6, 4)), encode=encode)
    return compile_graph(drawn.graph, target, drawn.timesteps, options, calibration=drawn.inputs)


def loadable(drawn: Drawn) -> Program | None:
    """The same network as netx can load it; None if it cannot."""
    options = Options(encode="graded", plain_weights=True)
    try:
        program = compile_graph(drawn.graph, "loihi2", drawn.timesteps, options, calibration=drawn.inputs)
    except NeurocompileError:
        return None
    return None if problems_with(program) else program


def sweep(networks: int, seed: int, log: Any = None) -> Sweep:
    """So many networks that compile."""
    found, number = Sweep(), 0
    chains: dict[str, tuple[Program, Mapping[str, np.ndarray]]] = {}
    with Worker() as worker:
        while found.compared.programs < networks:
            source = random.Random(seed * 1_000_003 + number)
            number += 1
            try:
                drawn = _drawn(source, number)
                program = compiled(drawn, source)
                plan = plan_of(program)
            except NeurocompileError as error:
                found.refused[error.problems[0].what.partition(" (")[0]] += 1
                continue
            found.kinds.update(population.kind for population in plan.populations)
            found.kinds.update("max-pool" for _ in plan.pools)
            found.depths[plan.latency] += 1
            found.cases.update(drawn.cases)
            before, wrong = len(found.compared.fired), len(found.compared.wrong)
            compare(worker, program, drawn.inputs, found.compared)
            if (chain := loadable(drawn)) is not None:
                chains[f"network{number - 1}"] = chain, drawn.inputs
            found.calibrated += all(LOW < rate < HIGH for rate in found.compared.fired[before:])
            if log:
                log(found, [f"network {number - 1}: {line}" for line in found.compared.wrong[wrong:]])
    _through_netx(chains, found.netx)
    return found


def _through_netx(chains: Mapping[str, tuple[Program, Mapping[str, np.ndarray]]], into: Compared) -> None:
    if not chains:
        return
    need_lava()
    whole = {name: program.integers(inputs)[0] for name, (program, inputs) in chains.items()}
    jobs = {name: (write_net(program), next(iter(whole[name].values()))) for name, (program, _) in chains.items()}
    with tempfile.TemporaryDirectory() as folder:
        ran = run_in_lava(Path(folder), jobs, 60.0 + 20.0 * len(jobs))
    for name, (program, _) in chains.items():
        known = simulate_integers(program.integer, program.arithmetic, whole[name], membranes=True)
        into.programs += 1
        for layer, spikes in known.spikes.items():
            count(into, "spikes", f"{name}, {layer} (netx)", spikes, ran[name][f"spikes/{layer}"])
        for layer, values in known.potentials.items():
            if f"potentials/{layer}" in ran[name]:  # a sum of spikes that leave the chip is none of its layers
                count(into, "membranes", f"{name}, {layer} (netx)", values, ran[name][f"potentials/{layer}"])


def _drawn(source: random.Random, number: int) -> Drawn:
    if number % 2:
        return deep_network(source)
    network = random_network(source, WANTED[number // 2 % len(WANTED)])
    settings: dict[str, Any] = {"carries": network.carries}
    model = TorchModel.from_module(
        network.module, network.shapes, network.timesteps, network.layout, network.read, **settings
    )
    return Drawn(model.graph, network.inputs, network.cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()

    def log(found: Sweep, wrong: list[str]) -> None:
        for line in wrong:
            print(line, file=sys.stderr)
        print(f"{found.compared.programs} of {options.networks}", file=sys.stderr, end="\r")

    body = {"seed": options.seed, **sweep(options.networks, options.seed, log).as_json()}
    body["seconds"] = round(time.perf_counter() - started, 1)
    if options.json:
        print(json.dumps(body, indent=1))
    else:
        for name, value in body.items():
            print(f"{name}: {value}")
    sys.exit(1 if body["wrong"] else 0)


if __name__ == "__main__":
    main()
