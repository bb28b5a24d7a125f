"""What changes nothing (shift, flip, scale) gives every population one threshold, above a reset to 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.arrays import compact
from neurocompile.ir.form import Layer, form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Gain, Integrator, Neuron
from neurocompile.quantization.rows import Rows, rows_of
from neurocompile.quantization.silicon import Shortfall, shortfalls

__all__ = ["CommonThreshold", "membrane_factors"]


# So many thresholds is the bias of a neuron that always fires: enough for any rounding, little for the register.
_ABOVE = 1.5


@dataclass(frozen=True)
class CommonThreshold:
    """Bring neurons into the form that the chip's neuron holds, exactly, where that can be done.

    1. Shift: ``v_reset`` is subtracted from the membrane; biases take ``(decay - 1) * v_reset``.
    2. Flip: where the comparison is flipped, the neuron and its weights are negated.
    3. Scale: each neuron and its weights are multiplied so that all thresholds of a population are one; what a soft
       reset subtracts is multiplied, too. A neuron that
       never fires gets no weights, one that always fires a bias above the threshold and none.

    It leaves layers on the ``host`` as they are, and any that the chip's neuron could not hold all the same (the log
    says why, and what would mend it) or in which neurons that share weights would want different signs or scales.
    """

    arithmetic: Arithmetic
    host: frozenset[str] = frozenset()
    name: str = "common-threshold"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Rewrite all neurons that the chip can hold afterwards."""
        changed: dict[str, Node | None] = {}
        log = []
        for layer in (each for each in form_of(graph).layers.values() if each.name not in self.host):
            if isinstance(layer.op, Integrator):
                log += _said(layer.node, shortfalls(layer.op, self.arithmetic))
                continue
            nodes, missing = self._normalized(layer)
            changed |= {made.name: made for made in nodes}
            log += _said(layer.node, missing)
            if len(nodes) > 1:
                log.append(f"{layer.name}: {_rewritten(layer.op)}")
            if not missing and layer.op.reset == "by":
                log.append(f"{layer.name}: a soft reset by two compartments a neuron: one integrates, one fires")
        return graph.rewritten(changed), log

    def _normalized(self, layer: Layer) -> tuple[list[Node], list[Shortfall]]:
        node, shape = layer.node, layer.shape
        moved = _shifted(layer.op, shape)
        parts = rows_of(layer)
        factor = _factors(moved, parts, shape)
        candidate = moved if factor is None else _scaled(moved, factor, shape)
        missing = shortfalls(candidate, self.arithmetic)
        if missing:
            return [], missing
        if factor is None:
            return [replace(node, op=candidate)], []
        return [*_rescaled(parts, factor), *_gains(layer, factor), replace(node, op=candidate)], []


def membrane_factors(before: Neuron, after: Neuron) -> Array:
    """What each membrane was multiplied by on its way from ``before`` to ``after`` (1 where it is constant)."""
    if after is before:
        return np.asarray(1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = after.threshold / (before.threshold - before.v_reset)
    return np.where(np.isfinite(factor) & (factor != 0), factor, 1.0)


def _said(node: Node, missing: list[Shortfall]) -> list[str]:
    return [f"{node.name}: not a neuron of the chip: {each.what}; to make it one: {each.fix}" for each in missing]


def _rewritten(op: Any) -> str:
    """What became of thresholds that were not one."""
    height = np.where(op.flip, -1.0, 1.0) * (op.threshold - op.v_reset)
    finite = height[np.isfinite(height)]
    said = f"thresholds {finite.min():.4g}..{finite.max():.4g} above the reset become one" if finite.size else ""
    flipped, constant = int(np.sum(op.flip)), int(np.sum(~np.isfinite(height)))
    parts = [said, f"{flipped} negated" if flipped else "", f"{constant} made constant" if constant else ""]
    return ", ".join(filter(None, parts))


def _shifted(op: Neuron, shape: tuple[int, ...]) -> Neuron:
    """The same neuron with its membrane counted from ``v_reset``."""
    if op.reset != "to" or not np.any(op.v_reset):
        return op
    start = op.v_reset
    negative = op.negative_threshold
    return replace(
        op,
        threshold=compact(op.threshold - start, shape),
        bias=compact(op.bias + (op.decay - 1.0) * start, shape),
        v_init=compact(op.v_init - start, shape),
        v_reset=np.asarray(0.0),
        negative_threshold=None if negative is None else compact(negative - start, shape),
    )


def _factors(op: Neuron, parts: list[Rows], shape: tuple[int, ...]) -> Array | None:
    """What each neuron is to be multiplied by, ``[*shape]``; None where that is nothing, or cannot be done."""
    if op.reset == "none" or op.negative_threshold is not None or op.max_spikes > 1:
        return None
    if op.threshold.ndim == 0 and op.flip.ndim == 0 and not op.flip and np.isfinite(op.threshold):
        return None
    sign = np.where(op.flip, -1.0, 1.0)
    height = np.broadcast_to(sign * op.threshold, shape)
    finite = np.isfinite(height)
    if not np.all(height[finite] > 0) or (op.reset == "by" and (np.any(op.flip) or not finite.all())):
        return None
    common = float(np.median(height[finite])) if finite.any() else 1.0
    factor = np.where(finite, np.broadcast_to(sign, shape) * common / np.where(finite, height, 1.0), 0.0)
    return factor if _shared(parts, factor) else None


def _shared(parts: list[Rows], factor: Array) -> bool:
    """Whether every set of weights that is shared between neurons wants one factor."""
    for part in parts:
        met = part.reaches >= 0
        if np.any(met & (_of_rows(part, factor)[np.maximum(part.reaches, 0)] != factor)):
            return False
    return True


def _of_rows(part: Rows, factor: Array) -> Array:
    found = np.ones(len(part.rows))
    met = part.reaches >= 0
    found[part.reaches[met]] = factor[met]
    return found


def _scaled(op: Neuron, factor: Array, shape: tuple[int, ...]) -> Neuron:
    height = np.broadcast_to(np.where(op.flip, -1.0, 1.0) * op.threshold, shape)
    finite = np.isfinite(height)
    common = float(np.median(height[finite])) if finite.any() else 1.0
    # One that never fires would stay at 0 < threshold; one that always does starts each step above it.
    constant = np.where(height == -np.inf, _ABOVE * common, 0.0)
    return replace(
        op,
        threshold=np.asarray(common),
        flip=np.asarray(False),
        bias=compact(np.where(finite, factor * op.bias, constant), shape),
        amount=_alike(compact(factor * op.amount, shape)) if op.reset == "by" else op.amount,
        input_bias=compact(factor * op.input_bias, shape),
        v_init=compact(factor * op.v_init, shape),
    )


def _alike(amount: Array) -> Array:
    """One number for many that differ by rounding alone."""
    middle = np.asarray(np.median(amount))
    return middle if np.all(np.abs(amount - middle) <= 1e-12 * np.abs(middle)) else amount


def _gains(layer: Layer, factor: Array) -> list[Node]:
    """The gains of single steps whose biases the neurons' factors act on."""
    found = {}
    for synapse in layer.synapses:
        here = factor
        for wire in reversed(synapse.way):
            here = here.reshape(wire.shape)
            if isinstance(wire.node.op, Gain) and wire.node.op.bias.ndim:
                found[wire.node.name] = replace(wire.node, op=replace(wire.node.op, bias=wire.node.op.bias * here))
            here = wire.taken(here)
    return list(found.values())


def _rescaled(parts: list[Rows], factor: Array) -> list[Node]:
    return [part.with_rows(part.rows * _of_rows(part, factor)[:, None]) for part in parts]
