"""Loihi and Loihi 2: neurons in silicon, one threshold a population, cores that hold boxes of a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import Problem
from neurocompile.targets.base import Encode, Family, Target

if TYPE_CHECKING:
    from neurocompile.ir.graph import Graph
    from neurocompile.passes import Pass

__all__ = ["FAMILY", "Loihi"]


class Loihi(Family):
    """What Loihi's silicon asks of a compiler."""

    backends: tuple[str, ...] = ("lava", "netx", "nir")

    def encodings(self, target: Target) -> tuple[Encode, ...]:
        """Graded spikes where the chip has them; spikes that the host makes everywhere."""
        graded = target.arithmetic is not None and target.arithmetic.graded_spikes
        return ("graded", "host") if graded else ("host",)

    def arithmetic(self, arithmetic: Arithmetic, bits: int, plain_weights: bool) -> Arithmetic:
        """Plain weights have no exponents, and biases then count in steps of a weight."""
        lif = arithmetic.lif
        if not plain_weights or lif is None:
            return arithmetic
        lif = replace(lif, weight_exponent_max=0, bias_exponent_max=lif.bias_exponent_min, populations=1)
        return replace(arithmetic, lif=lif, max_shift=arithmetic.shifts(bits, exponent=None).stop - 1)

    def onto_neurons(self, arithmetic: Arithmetic, host: frozenset[str]) -> tuple[Pass, ...]:
        """One threshold for all neurons of a population."""
        from neurocompile.passes import CommonThreshold

        return (CommonThreshold(arithmetic, host),)

    def illegal(self, target: Target, graph: Graph, one: float) -> list[Problem]:
        """Gains of single steps: no synapse of the chip has one."""
        return _gains(graph)


def _gains(graph: Graph) -> list[Problem]:
    from neurocompile.ir.ops import Gain

    what = "its currents have another gain at each step, and the neurons of this chip take synapses as they are"
    fix = "compile for a target without a neuron of its own (generic), or train without temporal gains"
    return [
        Problem(what, node.name, f"{g.min():.4g} to {g.max():.4g} over {len(g)} steps", "one gain for all steps", fix)
        for node in graph.of(Gain)
        if isinstance(node.op, Gain)
        for g in (node.op.gains / 2.0**node.op.fraction,)
    ]


FAMILY = Loihi()
