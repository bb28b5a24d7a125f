"""How the cost of timing nc1 grows: with cores and with events, each point in a process of its own.

``python -m benchmarks.timing_growth [--quick] [--seed S] [--json]``. A network of three layers, each neuron connected
to random ones of the next, is spread over 1 to 128 cores and fires at random, 5 % of its neurons a step; the last line
is what steps cost in which nothing fires. Times are those of the timing simulator alone, events are flits that reached
a core, memory is the peak of the process.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Input, Linear, Neuron, Output
from neurocompile.program import Program
from neurocompile.simulator.timing.nc1 import Nc1Timer
from neurocompile.targets import load_target
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1, usual

__all__ = ["measure"]

CORES = (1, 4, 16, 64, 128)
EVENTS = (10**4, 10**5, 10**6, 10**7, 10**8)
QUICK = 10**5
_MESHES = {1: (1, 1), 4: (2, 2), 16: (4, 4), 64: (8, 8), 128: (16, 8)}
_LAYERS, _NEURONS, _FAN_OUT, _RATE = 3, 64, 16, 0.05
_TURN = 500  # steps of a turn, so that spikes of few steps are in memory at a time


def network(cores: int, timesteps: int, numbers: Any) -> Nc1:
    """Layers of random connections that fill so many cores."""
    size = max(1, cores // _LAYERS) * _NEURONS
    arithmetic = load_target("nc1").arithmetic
    assert arithmetic is not None
    zero = np.asarray(0)
    neuron = Neuron(
        zero + 1, zero, current_decay=zero, gain=zero + 1, bias=zero, input_bias=zero, v_reset=zero, v_init=zero
    )
    nodes, last, wide = [Node("x", Input((4,), "spikes", 1.0, 0, 1))], "x", 4
    for k in range(_LAYERS):
        stored = np.zeros((size, wide), bool)
        for each in range(wide):
            stored[numbers.choice(size, min(_FAN_OUT, size), replace=False), each] = True
        weight = np.where(stored, numbers.integers(-127, 128, stored.shape), 0)
        nodes += [Node(f"w{k}", Linear(weight, None, stored), (last,)), Node(f"n{k}", neuron, (f"w{k}",))]
        last, wide = f"n{k}", size
    graph = Graph([*nodes, Node("output", Output("sum"), (last,))])
    columns, rows = _MESHES[cores]
    held = _NEURONS if cores > 1 else _NEURONS * _LAYERS
    parameters = usual(columns, rows, neurons=held)
    return map_to_nc1(Program("nc1", arithmetic, timesteps, graph, graph, {}), parameters)


def measure(cores: int, events: int, seed: int) -> dict[str, Any]:
    """One point, in this process: at least so many flits, unless ``events`` is 0."""
    numbers = np.random.default_rng(seed)
    chip = network(cores, _TURN, numbers)
    timer = Nc1Timer(chip)
    before = _peak_mb()
    flits = hops = words = cycles = steps = 0
    spent = 0.0
    while True:
        rate = _RATE if events else 0.0
        spikes = {
            name: (numbers.random((1, _TURN, each.size)) < rate).astype(np.int8)
            for name, each in chip.netlist.populations.items()
            if each.kind == "neurons"
        }
        happens = chip.steps_of({"x": np.zeros((1, _TURN, 4), np.int64)}, spikes)
        start = time.perf_counter()
        timing = timer.run(happens, events=False)
        spent += time.perf_counter() - start
        flits += int(timing.flits[:, -1].sum())
        hops += timing.hops
        words += int(timing.words.sum())
        cycles += int(timing.quiet[-1] - timing.start[0]) + 1
        steps += happens.steps
        if flits >= events:
            break
    return {
        "cores": cores,
        "cores_used": chip.partition.cores,
        "events": flits,
        "hops": hops,
        "words": words,
        "cycles": cycles,
        "steps": steps,
        "seconds": spent,
        "events_per_s": flits / spent,
        "cycles_per_s": cycles / spent,
        "memory_mb": _peak_mb(),
        "memory_before_mb": before,
    }


def _peak_mb() -> int:
    """Of this process; what getrusage says also has its parent's, from before exec."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@click.command()
@click.option("--quick", is_flag=True, help="Up to 100,000 events.")
@click.option("--seed", default=0, show_default=True)
@click.option("--here", nargs=2, type=int, hidden=True, help="One point, in this process.")
@click.option("--json", "as_json", is_flag=True)
def main(quick: bool, seed: int, here: tuple[int, int] | None, as_json: bool) -> None:
    """Measure every point."""
    if here is not None:
        print(json.dumps(measure(*here, seed)))
        return
    most = QUICK if quick else EVENTS[-1]
    points = [(cores, min(10**6, most)) for cores in CORES]
    points += [(16, events) for events in EVENTS if events <= most]
    points += [(128, 0)]
    rows = []
    line = "{:>6} {:>12} {:>12} {:>12} {:>9} {:>12} {:>12} {:>8}"
    if not as_json:
        print(line.format("cores", "events", "hops", "cycles", "seconds", "events/s", "cycles/s", "MB"))
    for cores, events in dict.fromkeys(points):
        command = [
            sys.executable,
            "-m",
            "benchmarks.timing_growth",
            "--seed",
            str(seed),
            "--here",
            str(cores),
            str(events),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout)
        rows.append(row)
        if not as_json:
            counts = (f"{row[name]:,}" for name in ("cores_used", "events", "hops", "cycles"))
            speeds = (f"{row[name]:,.0f}" for name in ("events_per_s", "cycles_per_s"))
            print(line.format(*counts, f"{row['seconds']:.2f}", *speeds, f"{row['memory_mb']:,}"), flush=True)
    if as_json:
        print(json.dumps({"seed": seed, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
