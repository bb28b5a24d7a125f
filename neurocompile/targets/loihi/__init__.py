"""Loihi and Loihi 2: neurons in silicon, one threshold a population, cores that hold boxes of a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import Problem
from neurocompile.targets.base import Encode, Family, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neurocompile.ir.form import Synapse
    from neurocompile.ir.graph import Graph, Node
    from neurocompile.ir.ops import Op
    from neurocompile.passes import Pass

__all__ = ["FAMILY", "Loihi"]


class Loihi(Family):
    """What Loihi's silicon asks of a compiler."""

    backends: tuple[str, ...] = ("lava", "netx", "nir")

    def faults(self, target: Target) -> list[Problem]:
        """Neurons of two compartments are counted where lists of synapses are known word by word, each for a core."""
        joins = target.arithmetic is not None and target.arithmetic.lif is not None and target.arithmetic.lif.joins
        if not joins or (target.limits.list_word_bits is not None and not target.limits.kernels_once):
            return []
        what = "arithmetic.lif.joins needs lists of synapses that are known word by word"
        limit = "limits.list_word_bits, without kernels_once"
        return [Problem(what, actual="none", limit=limit, fix="say how lists lie in memory, or joins = false")]

    def encodings(self, target: Target) -> tuple[Encode, ...]:
        """Graded spikes where the chip has them; spikes that the host makes everywhere."""
        graded = target.arithmetic is not None and target.arithmetic.graded_spikes
        return ("graded", "host") if graded else ("host",)

    def arithmetic(self, arithmetic: Arithmetic, bits: int, plain_weights: bool) -> Arithmetic:
        """Plain weights have no exponents, and biases then count in steps of a weight."""
        lif = arithmetic.lif
        if not plain_weights or lif is None:
            return arithmetic
        lif = replace(lif, weight_exponent_max=0, bias_exponent_max=lif.bias_exponent_min, populations=1, joins=False)
        return replace(arithmetic, lif=lif, max_shift=arithmetic.shifts(bits, exponent=None).stop - 1)

    def onto_neurons(self, arithmetic: Arithmetic, host: frozenset[str]) -> tuple[Pass, ...]:
        """Max-pools become neurons; and all neurons of a population have one threshold."""
        from neurocompile.passes import CommonThreshold, OrNeurons

        return OrNeurons(), CommonThreshold(arithmetic, host)

    def illegal(self, target: Target, graph: Graph, one: float, encode: Encode | None = None) -> list[Problem]:
        """Gains of single steps: no synapse of the chip has one. What the host computes may have them."""
        return _gained_spikes(graph) if encode == "host" else _gains(graph)


_ONE_GAIN = "one gain for all steps"
_INSTEAD = "compile for a target without a neuron of its own (generic), or train without temporal gains"


def _gains(graph: Graph) -> list[Problem]:
    from neurocompile.ir.ops import Gain

    what = "its currents have another gain at each step, and the neurons of this chip take synapses as they are"
    return [
        Problem(what, node.name, _range(node.op), _ONE_GAIN, _INSTEAD)
        for node in graph.of(Gain)
        if isinstance(node.op, Gain)
    ]


def _gained_spikes(graph: Graph) -> list[Problem]:
    """The layers of the chip with gains on spikes that they hear: each would be left to the host."""
    from neurocompile.mapping.host import chip_gains

    found: dict[str, list[tuple[Node, Sequence[Synapse]]]] = {}
    for layer, node, synapses in chip_gains(graph):
        found.setdefault(layer.name, []).append((node, synapses))
    problems = []
    for name, gained in found.items():
        spikes = ", ".join(dict.fromkeys(synapse.event for _, synapses in gained for synapse in synapses))
        what = (
            f"it hears spikes ({spikes}) with another gain at each step, which no synapse has: it would be "
            "left to the host, step by step"
        )
        ranges = ", ".join(dict.fromkeys(_range(node.op) for node, _ in gained))
        problems.append(Problem(what, name, ranges, _ONE_GAIN, _INSTEAD))
    return problems


def _range(op: Op) -> str:
    from neurocompile.ir.ops import Gain

    assert isinstance(op, Gain)
    gains = op.gains / 2.0**op.fraction
    return f"{gains.min():.4g} to {gains.max():.4g} over {len(gains)} steps"


FAMILY = Loihi()
