"""Which layers of a chip have neurons of two compartments, for a soft reset."""

from __future__ import annotations

from collections.abc import Mapping

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Neuron
from neurocompile.ir.placed import SoftReset
from neurocompile.quantization.silicon import registers_of, shortfalls, soft_reset_of

__all__ = ["planned_soft_resets", "soft_resets"]


def soft_resets(graph: Graph, arithmetic: Arithmetic, host: frozenset[str] = frozenset()) -> Mapping[str, SoftReset]:
    """Those of an integer graph, by name.

    Args:
        graph: ``Program.integer``.
        arithmetic: with which it was compiled: where its neurons are not joined, there are none.
        host: names of layers that the chip does not hold.
    """
    if arithmetic.lif is None or not arithmetic.lif.joins:
        return {}
    found = {}
    for name, layer in form_of(graph).layers.items():
        op = layer.op
        if name not in host and isinstance(op, Neuron) and op.reset == "by" and registers_of(op, arithmetic):
            made = soft_reset_of(op, arithmetic)
            assert made is not None  # it has registers
            found[name] = made
    return found


def planned_soft_resets(
    graph: Graph, arithmetic: Arithmetic, host: frozenset[str] = frozenset()
) -> Mapping[str, SoftReset]:
    """Those that a graph of reals, with common thresholds, will have: as if each amount was a single weight."""
    one_weight = SoftReset(((1, 0),))
    return {
        name: one_weight
        for name, layer in form_of(graph).layers.items()
        if name not in host
        and isinstance(layer.op, Neuron)
        and layer.op.reset == "by"
        and not shortfalls(layer.op, arithmetic)
    }
