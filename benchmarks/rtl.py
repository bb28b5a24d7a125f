"""The timing simulator held against nc1's RTL on random networks, event by event.

``python -m benchmarks.rtl [--networks N] [--seed S] [--tool verilator|iverilog] [--json]``. Every network is drawn with
its inputs and mapped at random onto a mesh; the RTL (built once for each set of parameters, networks are memory images)
logs the cycle of every spike, event and core's rest, and every membrane; so does the simulator; the logs are compared
line by line. Networks are of three moods: ordinary ones fire 2 to 80 % of the time in every layer, bursts fire always,
silent ones never.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.runner import Tool, build, run
from neurocompile.errors import DoesNotFit
from neurocompile.targets.nc1.chip import Nc1
from tests.random_networks.graphs import Drawn
from tests.random_networks.nc1 import random_case, random_chip

__all__ = ["SETS", "Tally", "compare_logs", "sweep"]

_CORE = {"axons": 512, "words": 4096, "fanout": 1024}
SETS: tuple[tuple[tuple[int, int], dict[str, int]], ...] = (
    ((1, 1), {"lanes": 4, "neurons": 512, "axons": 1024, "words": 8192, "fanout": 2048, "spike_depth": 2}),
    (
        (2, 2),
        {"lanes": 4, "neurons": 256, **_CORE, "router_depth": 1, "input_depth": 1, "spike_depth": 1, "barrier": 0},
    ),
    ((4, 4), {"lanes": 4, "neurons": 128, **_CORE, "router_depth": 1, "input_depth": 1, "spike_depth": 1}),
    ((4, 4), {"lanes": 2, "neurons": 64, **_CORE, "router_depth": 2, "input_depth": 4, "spike_depth": 2}),
)
"""Meshes and parameters: roomy and with the smallest FIFOs, in which everything is full most of the time."""

_KINDS = {"t": "steps", "u": "updates", "e": "events", "h": "events for the host", "i": "rests", "d": "ends"}


@dataclass
class Tally:
    """What was compared so far; ``firing_rates`` has one of each layer of the ordinary networks."""

    networks: int = 0
    moods: Counter[str] = field(default_factory=Counter)
    meshes: Counter[str] = field(default_factory=Counter)
    cores: Counter[int] = field(default_factory=Counter)
    calibrated: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    spikes_compared: int = 0
    membranes_compared: int = 0
    cycles: int = 0
    spike_mismatches: int = 0
    cycle_mismatches: int = 0
    state_mismatches: int = 0
    full_fifos: int = 0
    stalled_cycles: int = 0
    first: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        counters = {
            name: dict(sorted(value.items(), key=str))
            for name, value in vars(self).items()
            if isinstance(value, Counter)
        }
        return {**vars(self), **counters}


def compare_logs(expected: str, got: str, lanes: int, tally: Tally) -> None:
    """Count what two logs with membranes agree on, line by line."""
    theirs, ours = got.splitlines(), expected.splitlines()
    for number in range(max(len(theirs), len(ours))):
        want = ours[number].split() if number < len(ours) else []
        have = theirs[number].split() if number < len(theirs) else []
        kind = (want or have)[0]
        tally.lines[_KINDS.get(kind, kind)] += 1
        if kind == "u" and len(want) == 6:
            tally.spikes_compared += lanes
            tally.membranes_compared += lanes
        if want == have:
            continue
        if not tally.first:
            tally.first = f"line {number + 1}: {' '.join(have)!r} instead of {' '.join(want)!r}"
        same_place = len(want) == len(have) == 6 and want[2:4] == have[2:4]
        if kind == "u" and same_place:
            tally.cycle_mismatches += want[1] != have[1]
            tally.spike_mismatches += want[4] != have[4]
            tally.state_mismatches += want[5] != have[5]
        else:
            tally.cycle_mismatches += 1


def one(case: Drawn, chip: Nc1, folder: Path, builds: Path, tool: Tool, tally: Tally) -> None:
    """Run a network in the RTL and compare."""
    given = {name: x.astype(np.float64) for name, x in case.inputs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    foreseen = foresee(chip, given)
    files = run_files(chip, foreseen)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    run(build(chip.parameters, builds, tool), folder, options=["+membranes"])
    compare_logs(files["expected.txt"].decode(), (folder / "log.txt").read_text(), chip.parameters.lanes, tally)
    tally.networks += 1
    tally.moods[case.mood] += 1
    tally.meshes[f"{chip.parameters.mesh_x} x {chip.parameters.mesh_y}"] += 1
    tally.cores[chip.partition.cores] += 1
    tally.cycles += foreseen.timing.cycles
    tally.full_fifos += int((foreseen.timing.fullest == chip.parameters.router_depth).sum())
    tally.stalled_cycles += int(foreseen.timing.stalled.sum())
    tally.calibrated += case.mood == "ordinary" and case.is_calibrated


def sweep(networks: int, seed: int, builds: Path, tool: Tool = "verilator", sets: int = len(SETS)) -> Tally:
    """Draw networks that fit, in turn for each set of parameters, and compare."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch:
        number = 0
        while tally.networks < networks:
            r = random.Random(f"{seed} {number}")
            mesh, parameters = SETS[tally.networks % sets]
            number += 1
            case = random_case(r, large=mesh[0] > 2)
            try:
                chip = random_chip(r, case.program, mesh, parameters)
            except DoesNotFit:
                continue
            one(case, chip, Path(scratch) / "run", builds, tool, tally)
            if tally.networks % 20 == 0:
                print(f"{tally.networks}/{networks}", file=sys.stderr)
    return tally


@click.command()
@click.option("--networks", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--tool", type=click.Choice(["verilator", "iverilog"]), default="verilator", show_default=True)
@click.option("--builds", type=click.Path(path_type=Path), default=Path("build/nc1"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(networks: int, seed: int, tool: Tool, builds: Path, as_json: bool) -> None:
    """Compare the timing simulator with the RTL on random networks."""
    start = time.perf_counter()
    tally = sweep(networks, seed, builds.resolve(), tool)
    found = {"seed": seed, "tool": tool, **tally.as_json(), "seconds": round(time.perf_counter() - start, 1)}
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for name, value in found.items():
            print(f"{name:>20}  {value}")
    failed = tally.spike_mismatches or tally.cycle_mismatches or tally.state_mismatches
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
