"""Neurons whose spikes are worth something other than one get a plain spike and a scale behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Neuron, Scale

__all__ = ["UnitAmplitude"]


@dataclass(frozen=True)
class UnitAmplitude:
    """``y = amplitude * s`` becomes ``y = s`` and a Scale, which :class:`FoldScale` moves into the next weights."""

    name: str = "unit-amplitude"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Split the amplitude off every neuron that has one."""
        changed: dict[str, Node | None] = {}
        added, log = [], []
        for node in graph.of(Neuron):
            assert isinstance(node.op, Neuron)
            if np.all(node.op.amplitude == 1):
                continue
            name = graph.fresh(f"{node.name}.amplitude")
            added.append(Node(name, Scale(node.op.amplitude), (node.name,)))
            changed[node.name] = replace(node, op=replace(node.op, amplitude=np.asarray(1.0)))
            for reader in graph.consumers[node.name]:
                reads = (changed.get(reader.name) or reader).inputs
                changed[reader.name] = replace(
                    changed.get(reader.name) or reader, inputs=tuple(name if r == node.name else r for r in reads)
                )
            log.append(f"{node.name}: an amplitude of {node.op.amplitude.flat[0]:.6g} moves behind the spike")
        return graph.rewritten(changed, added), log
