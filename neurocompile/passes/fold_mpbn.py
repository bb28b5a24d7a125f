"""Membrane-potential batch norm disappears into the neuron's own parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neurocompile.ir.arrays import compact
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Neuron

__all__ = ["FoldMpbn", "folded"]


@dataclass(frozen=True)
class FoldMpbn:
    """Fold the norm of every neuron, exactly.

    1. The norm feeds the comparison only (Guo et al. 2023, Eq. 10, channel-wise; Eq. 13, element-wise): the threshold
       becomes ``(V_th - beta) * std / gamma + mean``. Where gamma < 0 the comparison flips, which Eq. 10 leaves out.
       Where gamma = 0 the norm is beta whatever the membrane: the neuron always or never fires.
    2. The normalized value stays on the membrane: with ``k = gamma / std`` the decay, the gain and the bias become
       ``k * decay``, ``k * gain`` and ``k * (bias - mean) + beta``; threshold and reset stay.
    """

    name: str = "fold-mpbn"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Fold all neurons that have a norm."""
        changed: dict[str, Node | None] = {}
        log = []
        for node in graph.of(Neuron):
            if isinstance(node.op, Neuron) and node.op.norm is not None:
                op = folded(node.op, graph.edges[node.name].shape)
                changed[node.name] = replace(node, op=op)
                log.append(f"{node.name}: {_said(node.op, op)}")
        return graph.rewritten(changed), log


def folded(op: Neuron, shape: tuple[int, ...]) -> Neuron:
    """One neuron layer of ``shape`` without its norm."""
    norm = op.norm
    assert norm is not None
    gamma = norm.gamma
    if norm.on == "membrane":
        k = gamma / norm.std
        bias = k * (op.bias - norm.mean) + norm.beta
        return replace(op, decay=k * op.decay, gain=k * op.gain, bias=bias, norm=None)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        threshold = (op.threshold - norm.beta) * norm.std / gamma + norm.mean
    up = norm.beta > op.threshold if op.strict else norm.beta >= op.threshold
    down = norm.beta < op.threshold if op.strict else norm.beta <= op.threshold
    always = np.where(op.flip, down, up)
    flip = np.logical_xor(op.flip, gamma < 0)
    threshold = np.where(gamma == 0, np.where(always, -np.inf, np.inf), threshold)
    return replace(
        op, threshold=compact(threshold, shape), flip=compact(np.where(gamma == 0, False, flip), shape), norm=None
    )


def _said(before: Neuron, after: Neuron) -> str:
    assert before.norm is not None
    if before.norm.on == "membrane":
        return f"into decay {_range(after.decay)}, gain {_range(after.gain)} and bias {_range(after.bias)}"
    gamma = before.norm.gamma
    said = f"into {gamma.size} thresholds {_range(after.threshold)}"
    if np.any(gamma < 0):
        said += f", {int((gamma < 0).sum())} of them with the comparison flipped (gamma < 0)"
    if np.any(gamma == 0):
        said += f", {int((gamma == 0).sum())} infinite (gamma = 0)"
    return said


def _range(values: Array) -> str:
    return f"{values.min():.4g}..{values.max():.4g}"
