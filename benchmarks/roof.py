"""How near the engine comes to the most that a core can add: the roof, and each layer beneath it.

The roof is 16-bit additions a second from the first-level cache, in the widest registers that the engine uses. A
synaptic operation is one such addition; finding the spikes, and updating membranes, come on top.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Array, Neuron
from neurocompile.simulator.engine import Engine, engine

__all__ = ["input_channels", "layer_rows", "measure_roof", "silenced", "summary"]

WIDE = 64
"""From so many input channels on a layer is expected to be bound by the roof."""


def measure_roof(isa: str, seconds: float = 0.2) -> float:
    """Giga-additions of 16 bits a second of one core."""
    rate: float = engine._native.roof(isa, seconds)
    return rate


def input_channels(graph: Graph, name: str) -> int:
    """Of the event with the most channels that a neuron's synapses read."""
    waiting, most = list(graph[name].inputs), 0
    while waiting:
        source = waiting.pop()
        if graph.edges[source].is_event:
            most = max(most, graph.edges[source].shape[0])
        else:
            waiting += graph[source].inputs
    return most


def silenced(graph: Graph, arithmetic: Arithmetic) -> Graph:
    """The same network with thresholds that no membrane reaches: what it still costs is not the synapses' work."""

    def never(node: Node) -> Node:
        if not isinstance(node.op, Neuron):
            return node
        beyond = 2 * (arithmetic.state_max + 1)
        threshold = np.where(node.op.flip, -beyond, np.full_like(node.op.threshold, beyond))
        return replace(node, op=replace(node.op, threshold=threshold))

    return Graph(never(node) for node in graph)


def layer_rows(
    name: str, program_engine: Engine, batches: Sequence[dict[str, Array]], steps: int, roof: float
) -> list[dict[str, Any]]:
    """Each layer of neurons with synapses: SOPs a second in one thread, medians over batches that are all different.

    ``silent_ms`` is what the layer costs when nothing fires, ``events_roof_fraction`` the SOPs in what is left.

    Args:
        name: of the network.
        program_engine: its engine.
        batches: inputs, one run each.
        steps: T.
        roof: giga-additions a second.
    """
    silent = Engine(silenced(program_engine.graph, program_engine.arithmetic), program_engine.arithmetic)
    heard: list[dict[str, float]] = []
    quiet: list[dict[str, float]] = []
    counted: list[dict[str, int]] = []
    for one in (program_engine, silent):
        one.run(batches[0], steps=steps, spikes=False)
    for inputs in batches:
        run = program_engine.run(inputs, steps=steps, spikes=False)
        counted.append({layer: int(counts.sops.sum()) for layer, counts in run.counts.layers.items()})
        heard.append(program_engine.profile(inputs, steps=steps))
        quiet.append(silent.profile(inputs, steps=steps))
    rows = []
    for node in program_engine.graph.of(Neuron):
        layer = node.name
        sops = statistics.mean(each[layer] for each in counted)
        if not sops:
            continue  # fed by real numbers
        seconds = statistics.median(each[layer] for each in heard)
        fixed = statistics.median(each[layer] for each in quiet)
        events = sops / max(seconds - fixed, 1e-9) / 1e9
        rows.append(
            {
                "network": name,
                "layer": layer,
                "channels": input_channels(program_engine.graph, layer),
                "sops": sops,
                "ms": seconds * 1e3,
                "silent_ms": fixed * 1e3,
                "gsop_per_s": sops / seconds / 1e9,
                "roof_fraction": sops / seconds / 1e9 / roof,
                "events_roof_fraction": events / roof,
            }
        )
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Layers by how many input channels they have: median share of the roof, and where the rest of the time goes."""
    found = {}
    for label, wide in ((f">= {WIDE}", True), (f"< {WIDE}", False)):
        group = [row for row in rows if (row["channels"] >= WIDE) == wide]
        if not group:
            continue
        total, silent = (sum(row[key] for row in group) for key in ("ms", "silent_ms"))
        fraction = [row["roof_fraction"] for row in group]
        found[label] = {
            "layers": len(group),
            "roof_fraction": statistics.median(fraction),
            "roof_fraction_range": [min(fraction), max(fraction)],
            "silent_share": silent / total,
            "events_roof_fraction": statistics.median(row["events_roof_fraction"] for row in group),
        }
    return found
