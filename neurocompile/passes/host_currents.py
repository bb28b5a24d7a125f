"""What a real-valued input adds to a layer of the chip passes a gain of its own, which a host multiplies by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Gain

__all__ = ["HostCurrents"]


@dataclass(frozen=True)
class HostCurrents:
    """Put a Gain by one behind weights that read a real-valued input, in layers that the chip computes.

    Their current is known before the chip starts: the host computes it. Behind a gain, the weights need share neither
    the scale nor the width of the layer's other ones; what comes out is rounded to steps of these.

    It leaves layers on the ``host`` as they are, and weights that have a Gain right behind them already.
    """

    timesteps: int
    host: frozenset[str] = frozenset()
    name: str = "host-currents"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Add the gains."""
        changed: dict[str, Node | None] = {}
        added, log = [], []
        for layer in form_of(graph).layers.values():
            for synapse in layer.synapses:
                first = synapse.way[0].node if synapse.way else None
                gained = first is not None and isinstance(first.op, Gain)
                if layer.name in self.host or synapse.reads.carries != "real" or gained:
                    continue
                gain = Node(graph.fresh(f"{synapse.name}.host"), Gain(np.ones(self.timesteps)), (synapse.name,))
                added.append(gain)
                reader = graph[layer.name] if first is None else first
                reader = changed.get(reader.name) or reader
                reads = tuple(gain.name if read == synapse.name else read for read in reader.inputs)
                changed[reader.name] = Node(reader.name, reader.op, reads, reader.line)
                log.append(f"{layer.name}: the host computes what {synapse.name} gives it")
        return graph.rewritten(changed, added), log
