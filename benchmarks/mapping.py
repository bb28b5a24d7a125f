"""How many cores of Loihi 1 and 2 the papers' networks take.

``python -m benchmarks.mapping [NAME ...] [--json] [--write docs/mapping.md]``. Each network of the zoo at its paper's
size is brought into synaptic form for Loihi and cut, in a process of its own. "At least" is what no cut can be below:
neurons by a core's compartments, and the words of all kernels and matrices, stored once, by a core's memory. "Before"
are the cores of Loihi 1 when every neuron had its own axons and a synapse took its bits alone.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.errors import DoesNotFit, NeurocompileError
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Integrator, Neuron, Scale
from neurocompile.ir.placed import SoftReset
from neurocompile.mapping import cut_boxes
from neurocompile.mapping.host import encoders, without_written
from neurocompile.mapping.resets import planned_soft_resets
from neurocompile.passes import REAL_PASSES, CommonThreshold, FoldScale, QuantizeInputs, Synapses, run_passes
from neurocompile.targets import Target, load_target

BITS = 8
TIME_LIMIT_S = 900
CHIPS = ("loihi", "loihi2")
RECORD = Path(__file__).parent / "mapping_record.json"
"""The rows of docs/mapping.md: those that a run does not measure stay."""
BEFORE = Path(__file__).parent / "mapping_before.json"
SHOWN = ("mpbn-resnet20-wide", "mpbn-vgg16")
"""How these are cut is shown layer by layer."""
_MARKS = "<!-- table: python -m benchmarks.mapping -->", "<!-- end of the table -->"
_CUTS = "<!-- cuts: python -m benchmarks.mapping -->", "<!-- end of the cuts -->"


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
    except NeurocompileError as error:
        return {**found, "chips": {chip: _refused(error) for chip in CHIPS}}
    found["chips"] = {chip: _cut(graph, load_target(chip)) for chip in CHIPS}
    found["neurons"] = sum(graph.edges[node.name].size for node in graph.of(Neuron, Integrator))
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _refused(error: NeurocompileError) -> dict[str, Any]:
    problem = error.problems[0]
    return {"refused": f"{problem.where}: {problem.what}"}


def _cut(graph: Graph, target: Target) -> dict[str, Any]:
    """The cores of a chip; real-valued inputs reach it as they usually do."""
    limits = target.limits
    started = time.process_time()
    try:
        encode, host = target.code.encodings(target)[0], frozenset[str]()
        if problems := target.code.illegal(target, graph, 1.0, encode):
            raise DoesNotFit(problems)
        if encode == "host":
            host, graph = frozenset(encoders(graph)), without_written(graph)
        soft = soft_resets_of(graph, target, host)
        placed = cut_boxes(graph, limits, target.name, weight_bits=BITS, host=host, soft_resets=soft)
    except NeurocompileError as error:
        return _refused(error)
    bound: Counter[str | None] = Counter()
    for layer in placed.layers:
        bound[layer.bound] += layer.cores
    neurons = sum(core.neurons for core in placed.cores)
    assert limits.neurons_per_core is not None
    assert limits.synapse_bytes_per_core is not None
    return {
        "cut_s": time.process_time() - started,
        "cores": len(placed.cores),
        "chips": placed.chips,
        "neurons": neurons,
        "least": max(
            -(-(sum(layer.compartments - layer.beside for layer in placed.layers)) // limits.neurons_per_core),
            -(-8 * _words(graph, host) // limits.synapse_bytes_per_core),
        ),
        "soft_resets": len(soft),
        "bound": dict(bound),
        "halo": sum(layer.beside for layer in placed.layers),
        "crossing": placed.crossing,
        "too_large": [f"{each.layer} ({each.resource})" for each in placed.excesses],
        "layers": [
            {"layer": each.layer, "shape": each.shape, "block": each.block, "cores": each.cores, "halo": each.halo,
             "bound": each.bound, "percent": each.percent}
            for each in placed.layers
        ],
    }  # fmt: skip


def soft_resets_of(graph: Graph, target: Target, host: frozenset[str]) -> Mapping[str, SoftReset]:
    """The layers of a graph in synaptic form whose neurons will have two compartments."""
    assert target.arithmetic is not None
    common, _ = CommonThreshold(target.arithmetic, host).run(graph)
    return planned_soft_resets(common, target.arithmetic, host)


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
        *("network", "neurons", "before", "Loihi 1: cores", "chips", "at least", "gap", "bound by (cores)", "halo"),
        *(
            "axons between chips",
            "Loihi 2: cores",
            "chips",
            "at least",
            "bound by (cores)",
            "passes, s",
            "cut, s",
            "MB",
        ),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    known: dict[str, int | None] = json.loads(BEFORE.read_text())
    for row in rows:
        if "refused" in row:
            lines.append(f"| {row['name']} | | | {row['refused']}" + " |" * (len(heads) - 3))
            continue
        before = known.get(row["name"])
        first, second = (row["chips"][chip] for chip in CHIPS)
        cells = [row["name"], f"{row.get('neurons', 0):,}", "refused" if before is None else f"{before:,}"]
        if "refused" in first:
            cells += [f"refused: {first['refused']}", *[""] * 6]
        else:
            gap = f"{100 * (first['cores'] / first['least'] - 1):.0f} %"
            cells += [f"{first['cores']:,}{_star(first)}", f"{first['chips']}", f"{first['least']:,}", gap]
            cells += [_bound(first), f"{first['halo']:,}", f"{first['crossing']:,}"]
        if "refused" in second:
            cells += [f"refused: {second['refused']}", *[""] * 3]
        else:
            cells += [
                f"{second['cores']:,}{_star(second)}",
                f"{second['chips']}",
                f"{second['least']:,}",
                _bound(second),
            ]
        times = " + ".join(f"{each['cut_s']:.1f}" for each in (first, second) if "cut_s" in each)
        cells += [f"{row.get('passes_s', 0):.1f}", times, f"{row.get('memory_mb', 0):,}"]
        lines.append(f"| {' | '.join(cells)} |")
    lost = [(row["name"], chip, what) for row in rows for chip in CHIPS for what in _too_large(row, chip)]
    return "\n".join([*lines, *(["", "\\* too large for a core: " + "; ".join(map(" ".join, lost))] if lost else [])])


def _too_large(row: dict[str, Any], chip: str) -> list[str]:
    found: list[str] = row.get("chips", {}).get(chip, {}).get("too_large", [])
    return found


def _star(chip: dict[str, Any]) -> str:
    return "\\*" if chip["too_large"] else ""


def _bound(chip: dict[str, Any]) -> str:
    return ", ".join(f"{name} {cores:,}" for name, cores in chip["bound"].items())


def layers(rows: list[dict[str, Any]]) -> str:
    """How networks are cut, layer by layer, on Loihi 1."""
    lines = []
    for row in rows:
        lines += [
            f"### {row['name']}",
            "",
            "| layer | neurons | blocks of | cores | halo along | bound by |",
            "|---" * 6 + "|",
        ]
        for each in row["chips"][CHIPS[0]]["layers"]:
            axes = ", ".join(name for name, wanted in zip(("channels", "rows", "columns"), each["halo"]) if wanted)
            shape, block = (" x ".join(map(str, each[key])) for key in ("shape", "block"))
            bound = f"{each['bound']} ({each['percent']:.0f} %)"
            lines.append(f"| {each['layer']} | {shape} | {block} | {each['cores']} | {axes or '-'} | {bound} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _keep(row: dict[str, Any]) -> None:
    """Write a row to the record; layers only where they are shown."""
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if row["name"] not in SHOWN:
        for chip in row.get("chips", {}).values():
            chip.pop("layers", None)
    kept[row["name"]] = row
    RECORD.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


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
            print(table(rows[-1:]).splitlines()[2], flush=True)
        if not here:
            _keep(rows[-1])
    if write:
        kept = json.loads(RECORD.read_text())
        rows = [kept[name] for name in ZOO if name in kept]
        text = write.read_text()
        parts = {_MARKS: table(rows), _CUTS: layers([row for row in rows if row["name"] in SHOWN])}
        for (begin, end), found in parts.items():
            text = f"{text.split(begin)[0]}{begin}\n\n{found}\n\n{end}{text.split(end)[1]}"
        write.write_text(text)
    if as_json:
        print(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
