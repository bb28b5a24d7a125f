"""How many cores of Loihi the papers' networks take.

``python -m benchmarks.mapping [NAME ...] [--json] [--write docs/mapping.md]``. Each network of the zoo at its paper's
size is brought into synaptic form for Loihi and cut, in a process of its own. "At least" is what no cut can be below:
neurons by a core's compartments, and the words of all kernels and matrices, stored once, by a core's memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.errors import DoesNotFit, NeurocompileError
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Scale
from neurocompile.mapping import cut_boxes
from neurocompile.mapping.host import encoders, without_written
from neurocompile.passes import REAL_PASSES, FoldScale, QuantizeInputs, Synapses, run_passes
from neurocompile.targets import load_target

BITS = 8
TIME_LIMIT_S = 900
_BEGIN, _END = "<!-- table: python -m benchmarks.mapping -->", "<!-- end of the table -->"


def row(name: str) -> dict[str, Any]:
    """A network, measured in this process."""
    import torch

    from neurocompile.models.measurement import lowered
    from neurocompile.models.zoo import ZOO

    torch.set_num_threads(1)
    module, inputs = ZOO[name].synthetic(0, 1)
    found: dict[str, Any] = {"name": name}
    try:
        graph, _ = run_passes(lowered(ZOO[name], module, inputs).graph, REAL_PASSES)
        before = time.process_time()
        graph, _ = run_passes(graph, (QuantizeInputs({}, 8), FoldScale("fold-scale-2"), Synapses(event_sums=False)))
        found["passes_s"] = time.process_time() - before
        before = time.process_time()
        loihi, host = load_target("loihi"), encoders(graph)
        if problems := loihi.code.illegal(loihi, graph, 1.0, "host"):
            raise DoesNotFit(problems)
        graph = without_written(graph)
        placed = cut_boxes(graph, loihi.limits, "loihi", weight_bits=BITS, host=host)
        found["cut_s"] = time.process_time() - before
    except NeurocompileError as error:
        problem = error.problems[0]
        return {**found, "refused": f"{problem.where}: {problem.what}"}
    neurons = sum(core.neurons for core in placed.cores)
    bound = Counter()
    for layer in placed.layers:
        bound[layer.bound] += layer.cores
    return {
        **found,
        "cores": len(placed.cores),
        "chips": placed.chips,
        "neurons": neurons,
        "least": max(-(-neurons // 1024), -(-_words(graph, host) // 16384)),
        "bound": dict(bound),
        "halo": sum(layer.compartments - layer.neurons for layer in placed.layers),
        "too_large": [f"{each.layer} ({each.resource})" for each in placed.excesses],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _words(graph: Graph, host: frozenset[str]) -> int:
    """Weights of all layers on the chip, each that differs stored once and bare, in words of 64 bits."""
    stored = 0
    for layer in form_of(graph).layers.values():
        for op in (synapse.op for synapse in layer.synapses if layer.name not in host):
            weight = op.scale if isinstance(op, Scale) else op.weight
            stored += (
                weight.shape[0] * np.unique(weight.reshape(len(weight), -1), axis=1).shape[1] if weight.ndim else 1
            )
    return -(-stored * BITS // 64)


def apart(name: str) -> dict[str, Any]:
    """The same in a process of its own; a row with its ``error`` if it fails."""
    command = [sys.executable, "-m", "benchmarks.mapping", name, "--here", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"name": name, "refused": f"not done after {TIME_LIMIT_S} s"}
    if done.returncode:
        return {"name": name, "refused": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)["rows"][0]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    heads = (
        *("network", "neurons on the chip", "cores", "chips", "at least", "bound by (cores)", "halo"),
        *("passes, s", "cut, s", "MB"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        if "refused" in row:
            lines.append(f"| {row['name']} | | refused: {row['refused']} | | | | | | | |")
            continue
        bound = ", ".join(f"{name} {cores:,}" for name, cores in row["bound"].items())
        too_large = f"; too large: {', '.join(row['too_large'])}" if row["too_large"] else ""
        numbers = (f"{row[key]:,}" for key in ("neurons", "cores", "chips", "least"))
        times = (f"{row[key]:.1f}" for key in ("passes_s", "cut_s"))
        cells = (row["name"], *numbers, bound + too_large, f"{row['halo']:,}", *times, f"{row['memory_mb']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--write", type=click.Path(path_type=Path), help="Put the table into this file, between its marks.")
@click.option("--here", is_flag=True, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(names: tuple[str, ...], write: Path | None, here: bool, as_json: bool) -> None:
    """Run it."""
    from neurocompile.models.zoo import ZOO

    chosen = names or tuple(name for name, network in ZOO.items() if network.size == "paper")
    rows = []
    for name in chosen:
        rows.append(row(name) if here else apart(name))
        if not as_json:
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if write:
        text = write.read_text()
        write.write_text(f"{text.split(_BEGIN)[0]}{_BEGIN}\n\n{table(rows)}\n\n{_END}{text.split(_END)[1]}")
    if as_json:
        print(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
