"""The engine held against the reference on random integer graphs: ``python -m tests.simulator.engine_sweep --json``.

Each network runs with every instruction set of this machine, and every fourth one as a stream too; every spike,
membrane, potential, count and output is compared.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph
from neurocompile.ir.ops import Neuron
from neurocompile.ir.trace import Trace, joined
from neurocompile.simulator.reference import State, simulate_integers
from tests.random_networks.choices import firing_rates
from tests.random_networks.engine import CASES, random_integer_network
from tests.random_networks.graphs import Drawn

__all__ = ["Compared", "Tally", "check", "compare", "network_of", "streamed", "sweep"]

KINDS = ("spikes", "membranes", "counts", "outputs")


def network_of(seed: int) -> Drawn:
    """The network of a seed; every eighth may be larger."""
    largest, work = (6000, 3_000_000) if seed % 8 == 7 else (1500, 400_000)
    return random_integer_network(random.Random(seed), largest, work)


@dataclass
class Compared:
    """How many values of each kind were compared, how many differ, and where first."""

    values: Counter[str] = field(default_factory=Counter)
    mismatches: Counter[str] = field(default_factory=Counter)
    where: list[str] = field(default_factory=list)

    def hold(self, kind: str, name: str, ours: Any, known: Any) -> None:
        """Compare two arrays of the same shape."""
        ours, known = np.asarray(ours), np.asarray(known)
        self.values[kind] += known.size
        if ours.shape != known.shape:
            self.mismatches[kind] += known.size
            self.where.append(f"{kind} of {name}: shape {ours.shape}, reference {known.shape}")
            return
        differs = ours != known
        if differs.any():
            self.mismatches[kind] += int(differs.sum())
            place = tuple(int(k) for k in np.argwhere(differs)[0])
            what = f"{int(differs.sum())} of {known.size} differ, first at {place}"
            self.where.append(f"{kind} of {name}: {what}: {ours[place]}, reference {known[place]}")

    def hold_all(self, kind: str, ours: Any, known: Any, what: str = "") -> None:
        """Compare two mappings of arrays."""
        if set(ours) != set(known):
            self.mismatches[kind] += 1
            self.where.append(f"{kind}{what}: {sorted(ours)}, reference {sorted(known)}")
        for name in known:
            if name in ours:
                self.hold(kind, name + what, ours[name], known[name])


def compare(run: Any, known: Trace) -> Compared:
    """Everything that an engine's run holds against the reference's."""
    done = Compared()
    done.hold_all("spikes", run.spikes, known.spikes)
    done.hold_all("membranes", run.membranes, known.membranes)
    done.hold_all("membranes", run.potentials, known.potentials, " after the reset")
    layers = {name: vars(layer) for name, layer in run.counts.layers.items()}
    known_layers = {name: vars(layer) for name, layer in known.counts.layers.items()}
    done.hold_all("counts", *({f"{n} ({c})": a for n, each in x.items() for c, a in each.items()}
                              for x in (layers, known_layers)))  # fmt: skip
    done.hold("counts", "overflows", run.overflows, known.overflows)
    done.hold_all("outputs", run.outputs, known.outputs)
    return done


def streamed(graph: Graph, arithmetic: Arithmetic, inputs: dict[str, Any]) -> Trace:
    """The reference with its state carried from one sample to the next."""
    state: State = {}
    runs = []
    for k in range(len(next(iter(inputs.values())))):
        part = {name: x[k : k + 1] for name, x in inputs.items()}
        runs.append(simulate_integers(graph, arithmetic, part, membranes=True, state=state))
    return joined(runs)


def check(network: Drawn, isas: Sequence[str], threads: int = 1, stream: bool = False) -> list[Compared]:
    """Run a network with each instruction set."""
    from neurocompile.simulator.engine import Engine

    graph, arithmetic, inputs = network.graph, network.arithmetic, network.inputs
    steps = next(iter(inputs.values())).shape[1]
    known_stream = streamed(graph, arithmetic, inputs) if stream else None
    found = []
    for isa in isas:
        engine = Engine(graph, arithmetic, isa=isa)
        done = [("", compare(engine.run(inputs, threads=threads, membranes=True), network.known))]
        if known_stream:
            run = engine.run(inputs, membranes=True, stream=engine.stream(steps))
            done.append((" as a stream", compare(run, known_stream)))
        for how, compared in done:
            compared.where = [f"{isa}{how}: {line}" for line in compared.where]
            found.append(compared)
    return found


@dataclass
class Tally:
    """Of a sweep; ``wrong`` are the seeds of networks in which anything differs."""

    seed: int = 0
    networks: int = 0
    networks_calibrated: int = 0
    edge_cases: int = 0
    isas: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    mismatches: Counter[str] = field(default_factory=Counter)
    spikes: int = 0
    places: int = 0
    layers: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    by_case: Counter[str] = field(default_factory=Counter)
    by_op: Counter[str] = field(default_factory=Counter)
    wrong: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """What no network had."""
        return [case for case in CASES if not self.by_case[case]]

    def take(self, network: Drawn) -> None:
        """Note what there is to compare."""
        self.networks += 1
        self.edge_cases += bool(network.edge)
        self.networks_calibrated += not network.edge and network.is_calibrated
        self.by_case.update(network.cases)
        self.by_op.update(type(node.op).__name__ for node in network.graph)
        self.layers += len(network.graph.of(Neuron))
        self.spikes += sum(int((fired != 0).sum()) for fired in network.known.spikes.values())
        self.places += sum(fired.size for fired in network.known.spikes.values())

    def add(self, seed: int, done: Sequence[Compared]) -> None:
        """Note what was compared."""
        lines = [line for compared in done for line in compared.where]
        for compared in done:
            self.compared += compared.values
            self.mismatches += compared.mismatches
        if lines:
            self.wrong.append(seed)
            self.failures += [f"seed {seed}: {line}" for line in lines[:6]]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        plain = self.networks - self.edge_cases
        return {
            "seed": self.seed,
            "networks": self.networks,
            "isas": self.isas,
            **{f"{kind}_compared": self.compared[kind] for kind in KINDS},
            **{f"{kind.removesuffix('s')}_mismatches": self.mismatches[kind] for kind in KINDS},
            "networks_calibrated": self.networks_calibrated,
            "edge_cases": self.edge_cases,
            "share_calibrated": self.networks_calibrated / max(plain, 1),
            "firing_rate": self.spikes / max(self.places, 1),
            "wrong": self.wrong,
            "failures": self.failures,
            "neuron_layers": self.layers,
            "ways": dict(self.ways.most_common()),
            "ops": dict(sorted(self.by_op.items())),
            "cases": dict(sorted(self.by_case.items())),
            "cases_missed": self.missed,
        }


def _checked(number: int, network: Drawn, isas: Sequence[str], threads: int) -> tuple[list[Compared], list[str]]:
    """What was compared, and how each layer was computed; an error is something that differs."""
    from neurocompile.simulator.engine import Engine

    try:
        done = check(network, isas, threads, stream=number % 4 == 0)
        steps = next(iter(network.inputs.values())).shape[1]
        return done, list(Engine(network.graph, network.arithmetic).ways(steps).values())
    except Exception as error:
        said = str(error).splitlines()
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return [Compared(where=[f"{type(error).__name__} in {where}: {said[0] if said else ''}"])], []


def _apart(number: int, network: Drawn, isas: Sequence[str], threads: int) -> tuple[list[Compared], list[str]]:
    """The same in a process of its own, which may crash."""
    come, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(come)
        with os.fdopen(go, "wb") as file:
            pickle.dump(_checked(number, network, isas, threads), file)
        os._exit(0)
    os.close(go)
    with os.fdopen(come, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return [Compared(where=[f"crashed with {signal.Signals(os.WTERMSIG(status)).name}"])], []
    found: tuple[list[Compared], list[str]] = pickle.loads(said)
    return found


def sweep(count: int, seed: int = 0, threads: int = 1, show: bool = False, apart: bool = False) -> Tally:
    """Networks with seeds from ``seed`` on; ``show`` prints the first that is wrong, ``apart`` survives crashes."""
    from neurocompile.simulator.engine import Engine

    tally = Tally(seed=seed, isas=Engine.isas())
    for number in range(seed, seed + count):
        network = network_of(number)
        tally.take(network)
        known = len(tally.wrong)
        done, ways = (_apart if apart else _checked)(number, network, tally.isas, threads)
        tally.add(number, done)
        tally.ways.update(ways)
        if show and not known and tally.wrong:
            rates = {name: round(rate, 3) for name, rate in firing_rates(network.known.spikes).items()}
            click.echo(f"{network}\nfiring rates: {rates}\n", err=True)
    return tally


@click.command()
@click.option("--networks", default=300, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the first network; the others follow.")
@click.option("--threads", default=1, show_default=True)
@click.option("--show", is_flag=True, help="Print the first network that is wrong.")
@click.option("--apart", is_flag=True, help="Each network in a process of its own, so that a crash is one failure.")
@click.option("--json", "as_json", is_flag=True)
def main(networks: int, seed: int, threads: int, show: bool, apart: bool, as_json: bool) -> None:
    """Compare the engine with the reference on random integer graphs."""
    from neurocompile.simulator.engine import Engine

    if not Engine.isas():
        raise click.ClickException("the compiled engine is not installed")
    body = sweep(networks, seed, threads, show, apart).as_json()
    if as_json:
        click.echo(json.dumps(body))
    else:
        for name, value in body.items():
            lines = value if isinstance(value, list) and name == "failures" else [value]
            click.echo("\n  ".join([f"{name}:", *map(str, lines)]) if len(lines) != 1 else f"{name}: {lines[0]}")
    sys.exit(bool(body["wrong"]))


if __name__ == "__main__":
    main()
