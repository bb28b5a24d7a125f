"""The engine beside SpikingJelly, PyTorch and ONNX Runtime, all on this machine in one interleaved run, and beneath the roof.

``python -m benchmarks.engine [--json] [--quick] [--seed S] [--repeats N] [--plot FILE.png]``; docs/engine.md holds what
it printed. The engine counts every synaptic operation while it is timed; it cannot do without.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks import onnx_runtime
from benchmarks.networks import TIMESTEPS, build, calibrate, compiled, images, integers
from benchmarks.peers import KINDS, Peer, peers
from benchmarks.roof import layer_rows, measure_roof, summary
from neurocompile.ir.ops import Array, Neuron
from neurocompile.program import Program
from neurocompile.simulator.engine import Engine

__all__ = ["Contest", "Setup", "calls", "frames", "interleaved", "machine", "measure", "prepare"]

NETWORKS = ("resnet20", "resnet20-wide", "preact-resnet18", "vgg16")
LAYERS_OF = ("resnet20", "resnet20-wide")
BATCHES = (1, 16)
THREADS = (1, 2)
TORCH = ("eager", "jit", "compile")
FRAMES = 24
"""So many different batches there are at least: no branch predictor knows them by heart."""
FEWEST = 5
"""Rounds of a row, however long they take."""
BUSY = 0.15
"""Cores that others keep busy, from which on a row is marked: torch's threads wait for one another by spinning."""


@dataclass
class Setup:
    """A network in all its forms."""

    name: str
    module: nn.Module
    program: Program
    engine: Engine


@dataclass
class Contest:
    """Seconds of every timed call, what the calls returned, and how many cores others kept busy (None: unknown)."""

    seconds: dict[str, list[float]]
    results: dict[str, list[Any]]
    others: float | None = None

    def ms(self, name: str) -> float:
        """The median."""
        return statistics.median(self.seconds[name]) * 1e3

    def ms_range(self, name: str) -> list[float]:
        """The fastest and the slowest."""
        return [min(self.seconds[name]) * 1e3, max(self.seconds[name]) * 1e3]


def machine(isa: str) -> dict[str, Any]:
    """What the figures are of."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {"cpu": model, "isa": isa, **versions, "python": platform.python_version()}


def prepare(name: str, seed: int) -> Setup:
    """Build, calibrate and compile a network, and plan it for the engine."""
    torch.set_num_threads(1)
    module = build(name, seed)
    calibrate(module, images(name, 8, seed + 1))
    program = compiled(name, module, images(name, 1, seed))
    return Setup(name, module, program, Engine(program.integer, program.arithmetic))


def frames(setup: Setup, batch: int, count: int, seed: int) -> tuple[list[torch.Tensor], list[dict[str, Array]]]:
    """Batches of images, no image twice: for torch, and as the engine takes them (one step stands for all)."""
    x = images(setup.name, batch * count, seed)
    whole = {name: v[:, :1] for name, v in integers(setup.program, x).items()}
    parts = [slice(k * batch, (k + 1) * batch) for k in range(count)]
    return [x[part].clone() for part in parts], [
        {name: np.ascontiguousarray(v[part]) for name, v in whole.items()} for part in parts
    ]


def interleaved(contenders: dict[str, Callable[[int], Any]], repeats: int, budget: float = 60.0) -> Contest:
    """Call contenders in turn, round after round; no contender is shown a frame twice.

    Calls before the first round are not timed. In a round each waits until the threads of the one before it sleep,
    then calls once untimed if that is quick (its weights come back to the caches), then once timed.

    Args:
        contenders: functions of the number of a frame, below ``calls(repeats)``.
        repeats: rounds at most.
        budget: seconds that they may take, but for :data:`FEWEST` rounds.
    """

    def call(name: str, frame: int) -> tuple[float, Any]:
        start = time.perf_counter()
        result = contenders[name](frame)
        return time.perf_counter() - start, result

    quick = {}
    for name in contenders:
        call(name, 0)
        quick[name] = call(name, 1)[0] < 0.05
    contest = Contest({name: [] for name in contenders}, {name: [] for name in contenders})
    start, before = time.perf_counter(), _others_seconds()
    for done in range(repeats):
        if done >= min(FEWEST, repeats) and time.perf_counter() - start > budget:
            break
        for name in contenders:
            time.sleep(0.005)
            if quick[name]:
                call(name, 2 * done + 2)
            seconds, result = call(name, 2 * done + 3)
            contest.seconds[name].append(seconds)
            contest.results[name].append(result)
    after = _others_seconds()
    if before is not None and after is not None:
        contest.others = max(0.0, after - before) / (time.perf_counter() - start)
    return contest


def _others_seconds() -> float | None:
    """Processor time that everything but this process has used since the machine was started, where Linux says so."""
    try:
        spent = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, *interrupts = map(int, spent[:8])
    own = os.times()
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def calls(repeats: int) -> int:
    """How many frames :func:`interleaved` shows, untimed ones included."""
    return max(FRAMES, 2 * repeats + 2)


def measure(
    setup: Setup, found: dict[str, Peer], batch: int, threads: int, repeats: int, seed: int, roof: float, budget: float
) -> dict[str, Any]:
    """One row. ``roof_fraction`` is of the roof of as many cores as the engine has samples for, up to ``threads``.

    Args:
        setup: the network.
        found: of :func:`benchmarks.peers.peers`, made for so many threads.
        batch: samples a call.
        threads: of torch and of the engine.
        repeats: rounds.
        seed: of the images.
        roof: giga-additions a second of one core.
        budget: seconds for all rounds.
    """
    given, whole = frames(setup, batch, calls(repeats), seed)

    def ours(k: int) -> Any:
        return setup.engine.run(whole[k], threads=threads, steps=TIMESTEPS, spikes=False)

    contenders: dict[str, Callable[[int], Any]] = {"engine": ours}
    for kind, peer in found.items():
        contenders[kind] = partial(_call, peer, given)
    contenders |= onnx_runtime.contenders(setup.program, threads, onnx_runtime.given(setup.program, given))
    contest = interleaved(contenders, repeats, budget)
    counts = [run.counts for run in contest.results["engine"]]
    sops = statistics.mean(float(each.total("sops").sum()) for each in counts)
    sizes = {node.name: setup.program.integer.edges[node.name].size for node in setup.program.integer.of(Neuron)}
    rates = [
        statistics.mean(float(each.layers[name].spikes.mean()) for each in counts) / size / TIMESTEPS
        for name, size in sizes.items()
    ]
    rate = float(np.average(rates, weights=list(sizes.values())))
    engine_ms = contest.ms("engine")
    torch_ms = {kind: contest.ms(kind) for kind in TORCH if kind in found}
    best = min(torch_ms, key=lambda kind: torch_ms[kind])
    spikingjelly_ms = contest.ms("spikingjelly")
    onnx_ms = {kind: contest.ms(kind) for kind in onnx_runtime.KINDS}
    best_onnx = min(onnx_ms, key=lambda kind: onnx_ms[kind])
    gsop = sops / engine_ms / 1e6
    return {
        "network": setup.name,
        "batch": batch,
        "threads": threads,
        "rounds": len(contest.seconds["engine"]),
        "firing_rate": rate,
        "firing_rate_range": [min(rates), max(rates)],
        "engine_ms": engine_ms,
        "engine_ms_range": contest.ms_range("engine"),
        "spikingjelly_ms": spikingjelly_ms,
        "spikingjelly_ms_range": contest.ms_range("spikingjelly"),
        "best_torch": best,
        "best_torch_ms": torch_ms[best],
        "best_torch_ms_range": contest.ms_range(best),
        "torch_ms": torch_ms,
        "best_onnx": best_onnx,
        "best_onnx_ms_range": contest.ms_range(best_onnx),
        "onnx_ms": onnx_ms,
        "ratio_to_best_onnx": onnx_ms[best_onnx] / engine_ms,
        "ratio_to_best_torch": torch_ms[best] / engine_ms,
        "ratio_to_eager": torch_ms["eager"] / engine_ms,
        "ratio_to_spikingjelly": spikingjelly_ms / engine_ms,
        "sops": sops,
        "gsop_per_s": gsop,
        "roof_fraction": gsop / (roof * min(threads, batch)),
        "others_cores": contest.others,
    }


def _call(peer: Peer, given: list[torch.Tensor], frame: int) -> torch.Tensor:
    return peer(given[frame])


def measure_network(
    setup: Setup,
    kinds: Collection[str],
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int,
    seed: int,
    roof: float,
    budget: float,
) -> list[dict[str, Any]]:
    """All rows of a network."""
    rows = []
    for count in threads:
        if "compile" in kinds:
            torch._dynamo.reset()
        found = peers(setup.program, setup.module, count, kinds)
        for k, batch in enumerate(batches):
            rows.append(measure(setup, found, batch, count, repeats, seed + 100 + k, roof, budget))
            click.echo(_line(rows[-1]), err=True)
        del found
        gc.collect()
    torch.set_num_threads(1)
    return sorted(rows, key=lambda row: (row["batch"], row["threads"]))


def measure_layers(setup: Setup, seed: int, roof: float, batch: int = 16, batches: int = 7) -> list[dict[str, Any]]:
    """Every layer of a network beneath the roof, with one thread."""
    _, whole = frames(setup, batch, batches, seed + 200)
    return layer_rows(setup.name, setup.engine, whole, TIMESTEPS, roof)


def collect(quick: bool, seed: int, repeats: int) -> dict[str, Any]:
    """Everything that is printed."""
    names = NETWORKS[:1] if quick else NETWORKS
    kinds = tuple(kind for kind in KINDS if kind != "compile" or not quick)
    batches, threads = (BATCHES[:1], THREADS[:1]) if quick else (BATCHES, THREADS)
    isa = Engine.isas()[0]
    # One core's roof, looked for at several times of the run: what disturbs the machine only lowers it.
    roofs = [measure_roof(isa) for _ in range(5)]
    roof = statistics.median(roofs)
    rows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for name in names:
        setup = prepare(name, seed)
        rows += measure_network(setup, kinds, batches, threads, repeats, seed, roof, 3.0 if quick else 10.0)
        if name in LAYERS_OF:
            layers += measure_layers(setup, seed, roof)
        roofs += [measure_roof(isa) for _ in range(5)]
        del setup
        gc.collect()
    final = max(roofs)
    for row in rows + layers:
        for key in ("roof_fraction", "events_roof_fraction"):
            if key in row:
                row[key] *= roof / final
    return {
        "seed": seed,
        "machine": machine(isa),
        "timesteps": TIMESTEPS,
        "roof_gadd_per_s": final,
        "roof_gadd_per_s_range": [min(roofs), max(roofs)],
        "rows": rows,
        "layers": layers,
        "layers_summary": {
            name: summary([row for row in layers if row["network"] == name])
            for name in dict.fromkeys(row["network"] for row in layers)
        },
    }


_ROW = "{:16} {:>5} {:>7} {:>6}  {:>26} {:>30} {:>34} {:>7} {:>7} {:>9} {:>6}"


def _span(row: dict[str, Any], key: str) -> str:
    low, high = row[f"{key}_range"]
    return f"{row[key]:.2f} [{low:.2f}, {high:.2f}]"


def _line(row: dict[str, Any]) -> str:
    return _ROW.format(
        row["network"],
        row["batch"],
        row["threads"],
        f"{row['firing_rate']:.1%}",
        _span(row, "engine_ms"),
        _span(row, "spikingjelly_ms"),
        f"{row['best_torch']} {_span(row, 'best_torch_ms')}",
        f"{row['ratio_to_best_torch']:.2f}x",
        f"{row['ratio_to_spikingjelly']:.1f}x",
        f"{row['gsop_per_s']:.1f}",
        f"{row['roof_fraction']:.1%}",
    )


def _print(found: dict[str, Any]) -> None:
    where, roof = found["machine"], found["roof_gadd_per_s"]
    low, high = found["roof_gadd_per_s_range"]
    print(f"{where['cpu']}, {where['isa']}, torch {where['torch']}, T = {found['timesteps']}, 8-bit weights")
    print(f"roof of one core: {roof:.1f} giga-additions of 16 bits a second (measured {low:.1f} to {high:.1f})")
    print("\nmedian [fastest, slowest] in ms; the engine counts SOPs, the others do not")
    columns = ("network", "batch", "threads", "fires", "engine", "SpikingJelly", "best torch")
    print(_ROW.format(*columns, "ratio", "to SJ", "GSOP/s", "roof"))
    for row in found["rows"]:
        print(_line(row))
    for row in found["rows"]:
        if (row["others_cores"] or 0) > BUSY:
            where = f"{row['network']}, batch {row['batch']}, threads {row['threads']}"
            print(f"{where}: other processes kept {row['others_cores']:.2f} cores busy; this row is worth nothing")
    print("\nfastest to slowest torch, median ms")
    for row in found["rows"]:
        ordered = sorted(row["torch_ms"].items(), key=lambda item: item[1])
        ways = ", ".join(f"{kind} {ms:.2f}" for kind, ms in ordered)
        print(f"{row['network']:16} batch {row['batch']:2}, threads {row['threads']}: {ways}")
    print("\nONNX Runtime, median ms; how many times as fast as the fastest the engine is")
    for row in found["rows"]:
        ways = ", ".join(f"{kind.removeprefix('onnx ')} {ms:.2f}" for kind, ms in row["onnx_ms"].items())
        where = f"{row['network']:16} batch {row['batch']:2}, threads {row['threads']}"
        print(f"{where}: {ways}; {row['ratio_to_best_onnx']:.2f}x")
    if not found["layers"]:
        return
    print("\nlayers, batch 16, one thread")
    line = "{:14} {:18} {:>8} {:>10} {:>8} {:>9} {:>8} {:>7} {:>12}"
    print(line.format("network", "layer", "channels", "MSOPs", "ms", "silent", "GSOP/s", "roof", "events alone"))
    for row in found["layers"]:
        print(
            line.format(
                row["network"], row["layer"], row["channels"], f"{row['sops'] / 1e6:.2f}", f"{row['ms']:.3f}",
                f"{row['silent_ms']:.3f}", f"{row['gsop_per_s']:.1f}", f"{row['roof_fraction']:.1%}",
                f"{row['events_roof_fraction']:.1%}",
            )
        )  # fmt: skip
    for name, groups in found["layers_summary"].items():
        for label, group in groups.items():
            print(
                f"{name}, layers with {label} input channels ({group['layers']}): median {group['roof_fraction']:.1%}"
                f" of the roof; {group['silent_share']:.0%} of their time remains when nothing fires (membranes,"
                f" looking for spikes), the rest adds at a median {group['events_roof_fraction']:.1%} of the roof."
            )


def _plot(found: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row["network"] for row in found["rows"]))
    groups = list(dict.fromkeys((row["batch"], row["threads"]) for row in found["rows"]))
    figure, axes = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
    width = 0.8 / len(groups)
    colours = ("#9ecae1", "#3182bd", "#fdae6b", "#e6550d")
    for k, (batch, threads) in enumerate(groups):
        rows = {row["network"]: row for row in found["rows"] if (row["batch"], row["threads"]) == (batch, threads)}
        places = [i + (k - (len(groups) - 1) / 2) * width for i, name in enumerate(names) if name in rows]
        heights = [rows[name]["ratio_to_best_torch"] for name in names if name in rows]
        label = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
        bars = axes.bar(places, heights, width * 0.92, label=label, color=colours[k % len(colours)])
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("times as fast as the best of eager, jit, compile")
    rates = [row["firing_rate"] for row in found["rows"]]
    where = found["machine"]
    axes.set_title(
        f"The engine beside PyTorch: T = {found['timesteps']}, 8-bit weights,"
        f" {min(rates):.1%} to {max(rates):.1%} firing\n{where['cpu']}, {where['isa']}, torch {where['torch']}",
        fontsize=10,
    )
    axes.legend(fontsize=8, ncols=2)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--quick", is_flag=True, help="ResNet-20, one image at a time, one thread, without torch.compile.")
@click.option("--seed", default=0, show_default=True, help="Of weights and images.")
@click.option("--repeats", default=0, help="Rounds (24, or 9 with --quick); slow rows have fewer, but at least 5.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the ratios into this file.")
def main(as_json: bool, quick: bool, seed: int, repeats: int, plot: Path | None) -> None:
    """Time the engine, SpikingJelly, torch and ONNX Runtime in turn; then each layer."""
    found = collect(quick, seed, repeats or (9 if quick else 24))
    if plot is not None:
        _plot(found, plot)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)


if __name__ == "__main__":
    main()
