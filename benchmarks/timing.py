"""The simulator of asynchronous chips held against SANA-FE: time and energy of a network on Loihi, speed and memory.

``python -m benchmarks.timing [--json] [--steps N] [--rounds R] [--threads T] [--scheduler-threads S]
[--sanafe PYTHON] [--install]``. The network is SANA-FE's own, with its Loihi architecture and with input and mapping of
its tutorial 5: DVS gestures, four convolutions and a dense layer on 42 cores (SANA-FE 2.2.9,
``tutorial/tutorial_5_dvs.ipynb``; Boyle et al., IEEE TCAD 44(8), 2025, doi:10.1109/TCAD.2025.3537971). Each simulator
computes neurons, time and energy, in a process of its own; they take turns on the same cores of the machine. SANA-FE's
wheel installs a package named ``tests``, so it wants an environment of its own, named by ``--sanafe`` or
``$NEUROCOMPILE_SANAFE_PYTHON``; ``--install`` makes one.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.asynchronous import (
    AsyncChip,
    AsyncTimer,
    IntegrateAndFire,
    Routing,
    load_events,
    map_synapses,
)

__all__ = ["CORES", "ROUTINGS", "TARGET", "compare", "dvs_gesture", "measure", "sanafe_python"]

TARGET = "loihi-sanafe"
CORES = (1, 4, 16, 16, 4, 1)
"""Cores of each layer, in the tutorial."""
VERSION = "2.2.9"
ROUTINGS: Mapping[str, Routing] = {"density": "density", "exact": "sanafe", "links": "links"}
"""Our sides: SANA-FE's estimate in integers, the same in its own arithmetic, and links one by one."""

# What SANA-FE runs, the tutorial's network with its Python interface: a line of JSON for each line of JSON.
_THEIRS = """
import json, resource, sys, time
import numpy as np
import sanafe, sanafe.layers as layers, sanafe.tutorial

began = time.perf_counter()
arch, net = sanafe.load_loihi(), sanafe.Network()
with sanafe.tutorial.get_dvs_data() as file:
    data = dict(np.load(file))
limit = data["thresholds"]
made = [layers.Input2D(net, 32, 32, threshold=limit[0])]
for k in range(1, 5):
    stride = 2 if k == 1 else 1
    made.append(layers.Conv2D(net, made[-1], data[f"conv{k}"], stride_width=stride, stride_height=stride,
                              threshold=limit[k]))
made.append(layers.Dense(net, made[-1], 11, data["dense1"], threshold=limit[5]))
for neuron, bias in zip(made[0], data["inputs"]):
    neuron.set_attributes(model_attributes={"bias": bias})
cores, used = arch.cores(), 0
for layer, count in zip(made, CORES):
    each = len(layer) // count
    for k in range(count):
        for neuron in layer[k * each:] if k == count - 1 else layer[k * each:(k + 1) * each]:
            neuron.map_to_core(cores[used])
        used += 1
chip = sanafe.SpikingChip(arch)
chip.load(net)
ready = time.perf_counter() - began
out = sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    chip.reset()
    wall, cpu = time.perf_counter(), time.process_time()
    found = chip.sim(asked["steps"], timing_model="detailed", scheduler_threads=asked["threads"],
                     perf_trace=True if asked["trace"] else None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    trace = found["perf_trace"] or {}
    print(json.dumps({
        "ready_s": ready, "wall_s": wall, "cpu_s": cpu, "firings": found["neurons_fired"],
        "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "synaptic_events": found["spikes"], "energy_j": found["energy"], "time_s": found["sim_time"],
        "trace": {name: [float(value) for value in values] for name, values in trace.items()},
    }), file=out, flush=True)
"""
_OURS = "import sys; from benchmarks.timing import serve; serve(*sys.argv[1:])"
_WHERE = "import sanafe.tutorial as t\nwith t.get_dvs_data() as f: print(getattr(f, 'name', f))"


def dvs_gesture(file: str | Path) -> tuple[AsyncChip, IntegrateAndFire]:
    """The network that SANA-FE comes with, on the cores of its tutorial.

    Neurons are numbered as there (layer, channel, row, column); in memory, channels of one place lie side by side.

    Args:
        file: ``dvs_challenge.npz`` in SANA-FE's wheel: kernels ``[y, x, in, out]``, thresholds, and a bias for each
            neuron of the first layer.
    """
    data = np.load(file)
    shapes: list[tuple[int, int, int]] = [(1, 32, 32)]
    pre: list[Array] = []
    post: list[Array] = []
    weight: list[Array] = []
    first = [0, 1024]
    for name, stride in (("conv1", 2), ("conv2", 1), ("conv3", 1), ("conv4", 1)):
        kernel = data[name].astype(np.int32)
        (_, height, width), (size_y, size_x, channels, filters) = shapes[-1], kernel.shape
        rows, columns = (height - size_y) // stride + 1, (width - size_x) // stride + 1
        # One axis each for output channel, row and column, and input channel, row and column in the kernel.
        every = (filters, rows, columns, channels, size_y, size_x)
        o, y, x, i, ky, kx = np.ogrid[tuple(slice(n) for n in every)]
        source = (i * height + y * stride + ky) * width + x * stride + kx + first[-2]
        target = (o * rows + y) * columns + x + first[-1]
        pre.append(np.broadcast_to(source, every).astype(np.int32).ravel())
        post.append(np.broadcast_to(target, every).astype(np.int32).ravel())
        weight.append(np.broadcast_to(kernel.transpose(3, 2, 0, 1)[:, None, None], every).ravel())
        shapes.append((filters, rows, columns))
        first.append(first[-1] + filters * rows * columns)
    inputs, outputs = data["dense1"].shape
    pre.append(np.repeat(np.arange(first[-2], first[-1], dtype=np.int32), outputs))
    post.append(np.tile(np.arange(first[-1], first[-1] + outputs, dtype=np.int32), inputs))
    weight.append(data["dense1"].astype(np.int32).ravel())
    shapes.append((outputs, 1, 1))
    sizes = [int(np.prod(shape)) for shape in shapes]
    core, used = [], 0
    for size, count in zip(sizes, CORES):
        core.append(used + np.minimum(np.arange(size) // (size // count), count - 1))
        used += count
    bias = np.zeros(sum(sizes), np.int32)
    bias[: sizes[0]] = data["inputs"]
    order = [f + np.arange(n).reshape(shape).transpose(1, 2, 0).ravel() for f, n, shape in zip(first, sizes, shapes)]
    synapses = np.concatenate(pre), np.concatenate(post)
    # The tutorial names no kind of synapse, and so gets the first one, a dense one.
    chip = map_synapses(load_events(TARGET).mesh, np.concatenate(core), *synapses, "synapse_dense")
    threshold = np.repeat(data["thresholds"], sizes)
    network = IntegrateAndFire(threshold, *synapses, np.concatenate(weight), bias, order=np.concatenate(order))
    return chip, network


def serve(file: str, routing: str, threads: str) -> None:
    """Our side, in a process of its own: a line of JSON on stdout for each line of JSON on stdin."""
    began = time.perf_counter()
    chip, network = dvs_gesture(file)
    events = load_events(TARGET)
    ready = time.perf_counter() - began
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        timer = AsyncTimer(chip, events, routing, int(threads))  # type: ignore[arg-type]
        timer.simulate(network)
        compiled = time.perf_counter() - began
        wall, cpu = time.perf_counter(), time.process_time()
        timing = timer.run(asked["steps"])
        energy = timing.energy(events)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found: dict[str, Any] = {
            "ready_s": ready + compiled, "wall_s": wall, "cpu_s": cpu, "firings": int(timing.fired.sum()),
            "peak_kb": _peak_kb(), "synaptic_events": int(timing.synaptic_events.sum()),
            "energy_j": {name: nominal * 1e-12 for name, (_, nominal, _) in energy.parts.items()},
            "energy_j_bounds": [energy.total[0] * 1e-12, energy.total[2] * 1e-12],
            "time_s": float(timing.latency.sum()) * 1e-12, "trace": {},
        }  # fmt: skip
        found["energy_j"]["total"] = energy.total[1] * 1e-12
        if asked["trace"]:
            steps = [timing.energy(events, slice(k, k + 1)) for k in range(asked["steps"])]
            found["trace"] = {
                "fired": timing.fired.tolist(), "spikes": timing.synaptic_events.tolist(),
                "updated": timing.counts["neuron_update"].tolist(), "sim_time": (timing.latency * 1e-12).tolist(),
                **{f"{part}_energy": [step.parts[part][1] * 1e-12 for step in steps] for part in energy.parts},
                "total_energy": [step.total[1] * 1e-12 for step in steps],
            }  # fmt: skip
        print(json.dumps(found), flush=True)


def _peak_kb() -> int:
    """Of this process: unlike getrusage, without what its parent had before it became this one."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


class _Worker:
    def __init__(self, command: list[str], cores: set[int] | None, threads: int) -> None:
        self._threads = threads
        pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=pin
        )

    def run(self, steps: int, trace: bool) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"steps": steps, "trace": trace, "threads": self._threads}) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return dict(json.loads(line))
        raise click.ClickException("a simulator has ended without an answer")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def sanafe_python(given: str | None, install: bool = False) -> str | None:
    """The interpreter of an environment that has SANA-FE, or None.

    Args:
        given: by the caller; else ``$NEUROCOMPILE_SANAFE_PYTHON``, else the one that ``install`` makes.
        install: make one with pip if there is none.
    """
    own = Path.home() / ".cache" / "neurocompile" / f"sanafe-{VERSION}"
    found = given or os.environ.get("NEUROCOMPILE_SANAFE_PYTHON") or str(own / "bin" / "python")
    if not Path(found).exists() and install and not given:
        subprocess.run([sys.executable, "-m", "venv", str(own)], check=True)
        found = str(own / "bin" / "python")
        wanted = [f"sanafe=={VERSION}", "numpy", "pyyaml"]
        subprocess.run([found, "-m", "pip", "install", "--quiet", *wanted], check=True, stdout=sys.stderr)
    return found if Path(found).exists() else None


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Two runs with traces: what is equal, and by how much the rest differs, relative to theirs."""
    mine, other = ours["trace"], theirs["trace"]
    late = np.array(mine["sim_time"]) / np.array(other["sim_time"]) - 1
    parts = [part for part in theirs["energy_j"] if theirs["energy_j"][part]]
    active = np.array(other["fired"]) > 0
    per_step = {
        part: np.abs(np.array(mine[f"{part}_energy"])[active] / np.array(other[f"{part}_energy"])[active] - 1)
        for part in parts
    }
    return {
        "steps": len(late),
        "steps_with_other_firings": int(np.sum(np.array(mine["fired"]) != np.array(other["fired"]))),
        "steps_with_other_updates": int(np.sum(np.array(mine["updated"]) != np.array(other["updated"]))),
        "steps_with_other_synaptic_events": int(np.sum(np.array(mine["spikes"]) != np.array(other["spikes"]))),
        "energy_ratio": {part: ours["energy_j"][part] / theirs["energy_j"][part] for part in parts},
        "energy_per_step_error_max": {part: float(each.max(initial=0)) for part, each in per_step.items()},
        "time_ratio": ours["time_s"] / theirs["time_s"],
        "latency_error": {
            "mean": float(np.abs(late).mean()), "median": float(np.median(np.abs(late))),
            "p99": float(np.quantile(np.abs(late), 0.99)), "max": float(np.abs(late).max()),
            "steps_over_5_percent": int(np.sum(np.abs(late) > 0.05)),
        },
    }  # fmt: skip


def measure(python: str, steps: int, rounds: int, threads: int = 1, scheduler_threads: int = 0) -> dict[str, Any]:
    """Both simulators in turn: a run with traces, which are compared, then ``rounds`` that are timed.

    Args:
        python: that has SANA-FE.
        steps: of the network.
        rounds: that are timed.
        threads: of ours, and cores of the machine for both.
        scheduler_threads: of SANA-FE, for its timing; the tutorial has it use none beside the first. (More than one for
            neurons, which it also offers, make it several times slower on this network.)
    """
    where = subprocess.run([python, "-c", _WHERE], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = set(available[:threads]) or None
    command = [sys.executable, "-c", _OURS, where]
    workers = {
        "sanafe": _Worker([python, "-c", f"CORES = {CORES}\n{_THEIRS}"], cores, scheduler_threads),
        **{name: _Worker([*command, routing, str(threads)], cores, threads) for name, routing in ROUTINGS.items()},
    }
    try:
        traced = {name: worker.run(steps, True) for name, worker in workers.items()}
        timed: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                timed[name].append(worker.run(steps, False))
    finally:
        for worker in workers.values():
            worker.close()
    sides = {}
    for name, found in timed.items():
        wall = statistics.median(each["wall_s"] for each in found)
        sides[name] = {
            **{key: value for key, value in traced[name].items() if key not in ("trace", "wall_s", "cpu_s", "peak_kb")},
            "wall_s": wall, "cpu_s": statistics.median(each["cpu_s"] for each in found),
            "firings_per_s": traced[name]["firings"] / wall,
            "memory_mb": max(each["peak_kb"] for each in found) / 1024,
        }  # fmt: skip
    sanafe = sides["sanafe"]
    for name in ROUTINGS:
        each = sides[name]
        each["against_sanafe"] = compare(traced[name], traced["sanafe"])
        pairs = zip(timed["sanafe"], timed[name])
        each["speed_ratio"] = statistics.median(theirs["wall_s"] / ours["wall_s"] for theirs, ours in pairs)
        each["memory_ratio"] = sanafe["memory_mb"] / each["memory_mb"]
    return {
        "seed": 0, "steps": steps, "rounds": rounds, "threads": threads,
        "scheduler_threads": scheduler_threads, "cores": sorted(cores or ()),
        "cpu": _cpu(), "sanafe_version": VERSION, "sides": sides,
    }  # fmt: skip


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _show(found: Mapping[str, Any]) -> None:
    sides = found["sides"]
    click.echo(f"{found['steps']} steps, {found['rounds']} rounds, {found['threads']} core(s) of {found['cpu']}")
    rows: list[tuple[str, str, float]] = [
        ("firings", "firings", 1), ("synaptic events", "synaptic_events", 1), ("simulated time, ms", "time_s", 1e3),
        ("wall, s", "wall_s", 1), ("firings per s", "firings_per_s", 1), ("memory, MB", "memory_mb", 1),
        ("speed, SANA-FE = 1", "speed_ratio", 1), ("memory, SANA-FE over it", "memory_ratio", 1),
    ]  # fmt: skip
    click.echo(f"{'':26}{'SANA-FE':>16}" + "".join(f"{'ours, ' + name:>16}" for name in ROUTINGS))
    for name, key, scale in rows:
        cells = [f"{scale * sides[side][key]:,.6g}" if key in sides[side] else "1" for side in sides]
        click.echo(f"{name:26}" + "".join(f"{cell:>16}" for cell in cells))
    for part in sides["sanafe"]["energy_j"]:
        cells = [f"{1e3 * sides[side]['energy_j'].get(part, 0):.4f}" for side in sides]
        click.echo(f"{'energy, mJ: ' + part:26}" + "".join(f"{cell:>16}" for cell in cells))
    for name in ROUTINGS:
        error = sides[name]["against_sanafe"]["latency_error"]
        shown = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in error.items())
        click.echo(f"latency of a step, {name}, relative to SANA-FE's detailed model: {shown}")


@click.command()
@click.option("--steps", default=1000, show_default=True, help="Steps of the network.")
@click.option("--rounds", default=3, show_default=True, help="Timed rounds, in turns.")
@click.option("--threads", default=1, show_default=True, help="Threads of ours, and cores for both.")
@click.option("--scheduler-threads", default=0, show_default=True, help="SANA-FE's, beside its first thread.")
@click.option("--seed", default=0, help="Nothing is drawn; for scripts that give one to every benchmark.")
@click.option("--sanafe", "python", default=None, help="The Python that has SANA-FE.")
@click.option("--install", is_flag=True, help="Make an environment with SANA-FE if there is none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    steps: int, rounds: int, threads: int, scheduler_threads: int, seed: int, python: str | None, install: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Time, energy, speed and memory against SANA-FE."""
    found = sanafe_python(python, install)
    if found is None:
        raise click.ClickException("there is no SANA-FE: --install, or name its Python with --sanafe")
    result = {**measure(found, steps, rounds, threads, scheduler_threads), "seed": seed}
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(result)


if __name__ == "__main__":
    main()
