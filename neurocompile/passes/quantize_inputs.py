"""Real-valued inputs become integers of a stated number of bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from neurocompile.ir.arrays import uniform_grid
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Input, Scale

__all__ = ["QuantizeInputs"]


@dataclass(frozen=True)
class QuantizeInputs:
    """``x`` becomes ``round(x / unit)`` with a Scale by ``unit`` behind it, which folds into the first weights.

    ``seen[name]`` holds values from calibration data; an input without any is taken to lie in ``otherwise``. A range
    from 0 up uses all ``bits`` for the magnitude; a range with negative values is symmetric. Values that lie on a
    uniform grid already (pixels) keep it, and are then exact; their range ends below the next power of two.
    """

    seen: Mapping[str, Array]
    bits: int
    otherwise: tuple[float, float] = (0.0, 1.0)
    name: str = "quantize-inputs"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Give every real-valued input its unit."""
        changed: dict[str, Node | None] = {}
        added, log = [], []
        for node in graph.of(Input):
            assert isinstance(node.op, Input)
            if node.op.carries == "spikes":
                changed[node.name] = replace(node, op=replace(node.op, low=0, high=1))
                continue
            values = self.seen.get(node.name, np.asarray(self.otherwise))
            low, high = float(values.min()), float(values.max())
            most = 2**self.bits - 1 if low >= 0 else max(2 ** (self.bits - 1) - 1, 1)
            grid = uniform_grid(values, most) if node.name in self.seen else None
            unit = grid or max(abs(low), abs(high)) / most or 1.0
            if grid:  # what was never seen needs no room in the registers
                most = min(most, 2 ** int(np.rint(max(abs(low), abs(high)) / grid)).bit_length() - 1)
            least = 0 if low >= 0 else -most
            changed[node.name] = replace(node, op=replace(node.op, unit=unit, low=least, high=most))
            name = graph.fresh(f"{node.name}.unit")
            added.append(Node(name, Scale(np.asarray(unit)), (node.name,)))
            for reader in graph.consumers[node.name]:
                current = changed.get(reader.name) or reader
                reads = tuple(name if read == node.name else read for read in current.inputs)
                changed[reader.name] = replace(current, inputs=reads)
            kind = (
                "the grid of the data" if grid else "seen" if node.name in self.seen else "assumed: no calibration data"
            )
            log.append(f"{node.name}: {low:.6g}..{high:.6g} ({kind}) in {self.bits} bits, one step is {unit:.6g}")
        return graph.rewritten(changed, added), log
