"""How the engine's time and memory grow: with the firing rate, with the steps, with the network; what counting costs.

``python -m benchmarks.engine_growth [--json] [--quick] [--seed S] [--plot FILE.png]``; docs/engine.md holds what it
printed. One sample at a time, one thread. Contenders of a comparison are called in turn, on frames that differ.
"""

from __future__ import annotations

import gc
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import ACCounter, DispatchCounterMode, MACCounter, SynOpCounter
from torch import nn

from benchmarks.engine import Setup, calls, frames, interleaved, machine, prepare
from benchmarks.networks import TIMESTEPS
from benchmarks.peers import peers
from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Array, Conv, Input, Integrator, Linear, Neuron, Output, Reshape
from neurocompile.simulator.engine import Engine
from neurocompile.targets import load_target

__all__ = ["conv_layer", "counting", "networks", "rates", "steps"]

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
STEPS = (1, 2, 4, 8, 16, 32, 64)
NETWORKS = ("resnet20", "resnet20-wide", "preact-resnet18", "vgg16", "resnet34")
MEMORY_MB = 1500
"""No network may need more."""

# A process of its own that loads an integer graph and inputs, and runs them. The peak is the kernel's for this memory
# image (VmHWM): what getrusage says also has the parent's, from before exec.
_WORKER = """
import json, pickle, resource, sys, time
import numpy
from neurocompile.ir import Graph
from neurocompile.simulator.engine import Engine

def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1000 * 1.024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000 * 1.024

with open(sys.argv[1], "rb") as file:
    nodes, arithmetic, batches, steps = pickle.load(file)
graph = Graph(nodes)
loaded = peak()
seconds = []
engine = Engine(graph, arithmetic)
for inputs in batches:
    start = time.perf_counter()
    run = engine.run(inputs, steps=steps, spikes=False)
    seconds.append(time.perf_counter() - start)
sops = int(run.counts.total("sops").sum())
print(json.dumps({"loaded_mb": loaded, "peak_mb": peak(), "seconds": seconds, "sops": sops}))
"""


# -- the firing rate ---------------------------------------------------------------------------------------------------


def conv_layer(seed: int, channels: int = 64, size: int = 16) -> tuple[Graph, Arithmetic]:
    """Spikes in, one layer of leaky neurons behind a 3x3 convolution of random 8-bit weights, ten sums out."""
    random = np.random.default_rng(seed)
    arithmetic = load_target("generic").arithmetic
    assert arithmetic is not None
    shape = (channels, size, size)
    weight = random.integers(-127, 128, (channels, channels, 3, 3))
    # Membranes are sums of 9 * channels weights that rarely fire together.
    threshold = random.integers(600, 1200, (channels, 1, 1)) * channels // 64
    one = 2**arithmetic.decay_fraction
    leaky = _whole(Neuron(threshold, decay=np.asarray(one // 2), keep=np.asarray(one), reset="to"))
    none = np.asarray(0)
    nodes = [
        Node("x", Input(shape, "spikes", 1.0, 0, 1), ()),
        Node("conv", Conv(weight, None, (1, 1), ((1, 1), (1, 1)), (1, 1)), ("x",)),
        Node("neuron", leaky, ("conv",)),
        Node("flat", Reshape((channels * size * size,)), ("neuron",)),
        Node("fc", Linear(random.integers(-127, 128, (10, channels * size * size))), ("flat",)),
        Node("sum", Integrator(none, np.asarray(1), none), ("fc",)),
        Node("output", Output("sum"), ("sum",)),
    ]
    return Graph(nodes), arithmetic


def _whole(op: Neuron) -> Neuron:
    """The operation with whole numbers for parameters, as integer graphs have them."""
    changed: dict[str, Any] = {}
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            changed[field.name] = value.astype(np.int64)
    return replace(op, **changed)


def _spikingjelly_layer(graph: Graph, arithmetic: Arithmetic) -> nn.Module:
    """The convolution and its neurons alone; thresholds of one number, as SpikingJelly has them."""
    conv, fires = graph["conv"].op, graph["neuron"].op
    assert isinstance(conv, Conv)
    assert isinstance(fires, Neuron)
    channels = len(conv.weight)
    module = nn.Sequential(
        layer.Conv2d(channels, channels, 3, padding=1, bias=False, step_mode="m"),
        neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=float(fires.threshold.mean()), step_mode="m"),
    )
    module[0].weight.data = torch.from_numpy(conv.weight).float()
    return module.eval().requires_grad_(False)


def rates(wanted: Sequence[float], seed: int, repeats: int, batch: int = 1) -> list[dict[str, Any]]:
    """One layer fed with spikes of different rates: ms of its own, of the whole run, and of SpikingJelly's layer.

    The whole run also makes bits of the inputs, and sums up what the layer fires. The first row has no spike at all.
    """
    torch.set_num_threads(1)
    graph, arithmetic = conv_layer(seed)
    engine = Engine(graph, arithmetic)
    module = _spikingjelly_layer(graph, arithmetic)
    shape = graph.edges["x"].shape
    rows = []
    for rate in (0.0, *wanted):
        random = np.random.default_rng(seed + 1)
        given = [
            (random.random((batch, TIMESTEPS, *shape), np.float32) < rate).astype(np.int64)
            for _ in range(calls(repeats))
        ]
        seqs = [torch.from_numpy(x).transpose(0, 1).float().contiguous() for x in given]

        @torch.inference_mode()
        def theirs(k: int, seqs: list[torch.Tensor] = seqs) -> Any:
            functional.reset_net(module)
            return module(seqs[k])

        def profiled(k: int, given: list[Array] = given) -> float:
            seconds: float = engine.profile({"x": given[k]})["neuron"]
            return seconds

        def ours(k: int, given: list[Array] = given) -> Any:
            return engine.run({"x": given[k]}, spikes=False)

        contenders: dict[str, Callable[[int], Any]] = {
            "engine": ours,
            "layer": profiled,
            "spikingjelly": theirs,
        }
        contest = interleaved(contenders, repeats)
        counts = [run.counts.layers["neuron"] for run in contest.results["engine"]]
        sops = statistics.mean(float(each.sops.sum()) for each in counts)
        layer_ms = statistics.median(contest.results["layer"]) * 1e3
        rows.append(
            {
                "rate": rate,
                "output_rate": statistics.mean(float(each.spikes.mean()) for each in counts)
                / graph.edges["neuron"].size
                / TIMESTEPS,
                "sops": sops,
                "layer_ms": layer_ms,
                "layer_ms_range": [f(contest.results["layer"]) * 1e3 for f in (min, max)],
                "engine_ms": contest.ms("engine"),
                "spikingjelly_ms": contest.ms("spikingjelly"),
                "gsop_per_s": sops / layer_ms / 1e6,
            }
        )
    return rows


# -- steps -------------------------------------------------------------------------------------------------------------


def steps(setup: Setup, wanted: Sequence[int], seed: int, repeats: int) -> list[dict[str, Any]]:
    """The same network over more and more steps, beside its SpikingJelly module."""
    torch.set_num_threads(1)
    given, whole = frames(setup, 1, calls(repeats), seed + 300)
    rows = []
    for count in wanted:

        @torch.inference_mode()
        def theirs(k: int, count: int = count) -> Any:
            functional.reset_net(setup.module)
            return setup.module(given[k].expand(count, *given[k].shape))

        def ours(k: int, count: int = count) -> Any:
            return setup.engine.run(whole[k], steps=count, spikes=False)

        contenders: dict[str, Callable[[int], Any]] = {"engine": ours, "spikingjelly": theirs}
        contest = interleaved(contenders, repeats, 10.0)
        sops = statistics.mean(float(run.counts.total("sops").sum()) for run in contest.results["engine"])
        rows.append(
            {
                "steps": count,
                "engine_ms": contest.ms("engine"),
                "engine_ms_range": contest.ms_range("engine"),
                "spikingjelly_ms": contest.ms("spikingjelly"),
                "engine_ms_per_step": contest.ms("engine") / count,
                "sops": sops,
                "gsop_per_s": sops / contest.ms("engine") / 1e6,
            }
        )
    return rows


# -- the network -------------------------------------------------------------------------------------------------------


def size_of(setup: Setup, seed: int, repeats: int) -> dict[str, Any]:
    """Time and peak memory of a fresh process that loads the integer graph and runs one image after the other."""
    _, whole = frames(setup, 1, repeats + 2, seed + 400)
    graph = setup.program.integer
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.pickle"
        file.write_bytes(pickle.dumps((list(graph), setup.program.arithmetic, whole, TIMESTEPS)))
        root = Path(__file__).resolve().parents[1]
        command = [sys.executable, "-c", _WORKER, str(file)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    found = json.loads(said.stdout)
    seconds = found["seconds"]
    weights = sum(node.op.weight.size for node in graph if isinstance(node.op, Conv | Linear))
    return {
        "network": setup.name,
        "neurons": setup.program.neurons,
        "weights": weights,
        "sops": found["sops"],
        "first_s": seconds[0],
        "engine_ms": statistics.median(seconds[2:]) * 1e3,
        "engine_ms_range": [min(seconds[2:]) * 1e3, max(seconds[2:]) * 1e3],
        "gsop_per_s": found["sops"] / statistics.median(seconds[2:]) / 1e9,
        "loaded_mb": found["loaded_mb"],
        "peak_mb": found["peak_mb"],
        "within_memory": found["peak_mb"] < MEMORY_MB,
    }


def networks(names: Sequence[str], seed: int, repeats: int) -> list[dict[str, Any]]:
    """:func:`size_of` each."""
    rows = []
    for name in names:
        click.echo(f"compiling {name}", err=True)
        rows.append(size_of(prepare(name, seed), seed, repeats))
        gc.collect()
    return rows


# -- counting ----------------------------------------------------------------------------------------------------------


def counting(setup: Setup, seed: int, repeats: int) -> dict[str, Any]:
    """The engine, which counts, beside SpikingJelly without counters, with its SOP counter, and with three of them."""
    given, whole = frames(setup, 1, calls(repeats), seed + 500)
    plain = peers(setup.program, setup.module, 1, ("spikingjelly",))["spikingjelly"]
    module = setup.module

    def counted(kinds: Sequence[type[Any]]) -> Callable[[int], Any]:
        def run(k: int) -> Any:
            counters = [kind() for kind in kinds]
            functional.reset_net(module)
            with torch.no_grad(), DispatchCounterMode(counters):  # in inference mode they see nothing
                module(given[k].expand(TIMESTEPS, *given[k].shape))
            return counters[0].get_total()

        return run

    contenders: dict[str, Callable[[int], Any]] = {
        "engine": lambda k: setup.engine.run(whole[k], steps=TIMESTEPS, spikes=False),
        "spikingjelly": lambda k: plain(given[k]),
        "spikingjelly, SOPs counted": counted((SynOpCounter,)),
        "spikingjelly, SOPs, MACs and ACs counted": counted((SynOpCounter, MACCounter, ACCounter)),
    }
    contest = interleaved(contenders, repeats, 20.0)
    ours = statistics.mean(float(run.counts.total("sops").sum()) for run in contest.results["engine"])
    theirs = statistics.mean(contest.results["spikingjelly, SOPs counted"])
    assert theirs > 0, "SpikingJelly counted nothing"
    return {
        "network": setup.name,
        "rows": [
            {
                "contender": name,
                "ms": contest.ms(name),
                "ms_range": contest.ms_range(name),
                "ratio_to_engine": contest.ms(name) / contest.ms("engine"),
                "ratio_to_uncounted": None if name == "engine" else contest.ms(name) / contest.ms("spikingjelly"),
            }
            for name in contenders
        ],
        "sops": ours,
        "spikingjelly_synops": theirs,
    }


# -- all of it ---------------------------------------------------------------------------------------------------------


def collect(quick: bool, seed: int) -> dict[str, Any]:
    """Everything that is printed."""
    setup = prepare("resnet20", seed)
    repeats = 5 if quick else 24
    found = {
        "seed": seed,
        "machine": machine(setup.engine.isa),
        "rates": rates(RATES[::3] if quick else RATES, seed, repeats),
        "steps": steps(setup, STEPS[:3] if quick else STEPS, seed, repeats),
        "counting": counting(setup, seed, repeats),
    }
    found["networks"] = networks(NETWORKS[:1] if quick else NETWORKS, seed, repeats)
    return found


def _print(found: dict[str, Any]) -> None:
    where = found["machine"]
    print(f"{where['cpu']}, {where['isa']}, torch {where['torch']}; one sample, one thread, medians")
    print(f"\na layer of 64 channels, 16x16, 3x3, T = {TIMESTEPS}, fed with random spikes")
    line = "{:>8} {:>10} {:>10} {:>10} {:>10} {:>14} {:>8}"
    print(line.format("rate", "fires", "SOPs", "layer ms", "run ms", "SpikingJelly", "GSOP/s"))
    for row in found["rates"]:
        numbers = (f"{row[key]:.3f}" for key in ("layer_ms", "engine_ms", "spikingjelly_ms"))
        rate, fires = f"{row['rate']:.1%}", f"{row['output_rate']:.2%}"
        print(line.format(rate, fires, f"{row['sops']:,.0f}", *numbers, f"{row['gsop_per_s']:.1f}"))
    print("\nResNet-20 over T steps")
    line = "{:>4} {:>28} {:>14} {:>14} {:>8}"
    print(line.format("T", "engine ms", "ms a step", "SpikingJelly", "GSOP/s"))
    for row in found["steps"]:
        low, high = row["engine_ms_range"]
        ms = f"{row['engine_ms']:.3f} [{low:.3f}, {high:.3f}]"
        per, theirs = f"{row['engine_ms_per_step']:.3f}", f"{row['spikingjelly_ms']:.2f}"
        print(line.format(row["steps"], ms, per, theirs, f"{row['gsop_per_s']:.1f}"))
    counted = found["counting"]
    print(f"\n{counted['network']}, T = {TIMESTEPS}: {counted['sops']:,.0f} SOPs to the engine,", end=" ")
    print(f"{counted['spikingjelly_synops']:,.0f} to SpikingJelly (what differs: docs/counts.md)")
    for row in counted["rows"]:
        low, high = row["ms_range"]
        ms = f"{row['ms']:.2f} [{low:.2f}, {high:.2f}] ms"
        print(f"{row['contender']:42} {ms:>30} {row['ratio_to_engine']:8.1f}x the engine's")
    print(f"\nnetworks in a process of their own, T = {TIMESTEPS} (resnet34: 224x224)")
    line = "{:16} {:>10} {:>12} {:>14} {:>9} {:>26} {:>7} {:>10} {:>9}"
    print(line.format("network", "neurons", "weights", "SOPs", "first s", "then ms", "GSOP/s", "loaded MB", "peak MB"))
    for row in found["networks"]:
        low, high = row["engine_ms_range"]
        ms = f"{row['engine_ms']:.2f} [{low:.2f}, {high:.2f}]"
        sizes = (f"{row[key]:,}" for key in ("neurons", "weights", "sops"))
        memory = (f"{row[key]:,.0f}" for key in ("loaded_mb", "peak_mb"))
        print(line.format(row["network"], *sizes, f"{row['first_s']:.2f}", ms, f"{row['gsop_per_s']:.1f}", *memory))
        if not row["within_memory"]:
            print(f"{row['network']} needs more than {MEMORY_MB:,} MB")


def _plot(found: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    where = found["machine"]
    figure.suptitle(f"{where['cpu']}, {where['isa']}, torch {where['torch']}; one sample, one thread", fontsize=10)
    ours, theirs = {"color": "#e6550d", "marker": "o"}, {"color": "#3182bd", "marker": "s"}

    axes = panels[0, 0]
    rows = [row for row in found["rates"] if row["rate"]]
    x = [100 * row["rate"] for row in rows]
    axes.loglog(x, [row["layer_ms"] for row in rows], label="engine, counting", **ours)
    axes.loglog(x, [row["spikingjelly_ms"] for row in rows], label="SpikingJelly", **theirs)
    silent = [row["layer_ms"] for row in found["rates"] if not row["rate"]]
    for ms in silent[:1]:
        axes.axhline(ms, color="grey", linestyle=":", linewidth=1, label="engine, nothing fires")
    axes.set(xlabel="input neurons that fire in a step, %", ylabel="ms", title="64 channels, 16x16, 3x3, T = 4")

    axes = panels[0, 1]
    x = [row["steps"] for row in found["steps"]]
    axes.loglog(x, [row["engine_ms"] for row in found["steps"]], base=2, label="engine, counting", **ours)
    axes.loglog(x, [row["spikingjelly_ms"] for row in found["steps"]], base=2, label="SpikingJelly", **theirs)
    axes.set_yscale("log", base=10)
    axes.set_xticks(x, [str(count) for count in x])
    axes.set(xlabel="steps T", ylabel="ms", title="ResNet-20")

    axes = panels[1, 0]
    rows = found["networks"]
    axes.loglog([row["sops"] / 1e6 for row in rows], [row["engine_ms"] for row in rows], linestyle="none", **ours)
    for k, row in enumerate(sorted(rows, key=lambda row: row["sops"])):
        above = k % 2  # neighbours do not write over one another
        axes.annotate(
            f"{row['network']}\n{row['peak_mb']:,.0f} MB",
            (row["sops"] / 1e6, row["engine_ms"]),
            (-5, 3) if above else (5, -3),
            textcoords="offset points",
            fontsize=8,
            ha="right" if above else "left",
            va="bottom" if above else "top",
        )
    axes.margins(x=0.25, y=0.25)
    axes.set(xlabel="million SOPs", ylabel="ms", title="Networks, and the peak memory of their process")

    axes = panels[1, 1]
    rows = found["counting"]["rows"]
    names = ("engine,\ncounting", "SpikingJelly", "SpikingJelly,\nSOPs", "SpikingJelly,\nSOPs, MACs, ACs")
    bars = axes.bar(names, [row["ms"] for row in rows], color=["#e6550d", "#3182bd", "#9ecae1", "#9ecae1"])
    axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.set_yscale("log")
    axes.tick_params(axis="x", labelsize=8)
    axes.set(ylabel="ms", title="Counting, ResNet-20, T = 4")

    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    for axes in panels[0]:
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    panels[1, 0].grid(alpha=0.3)
    figure.savefig(file, dpi=150)
    plt.close(figure)


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--quick", is_flag=True, help="Fewer sizes, and ResNet-20 alone.")
@click.option("--seed", default=0, show_default=True, help="Of weights and images.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw four panels into this file.")
def main(as_json: bool, quick: bool, seed: int, plot: Path | None) -> None:
    """Measure all of it."""
    found = collect(quick, seed)
    if plot is not None:
        _plot(found, plot)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)


if __name__ == "__main__":
    main()
