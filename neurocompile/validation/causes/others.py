"""The layer with other weights: what hypotheses on them are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.ir.form import Synapse
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, Op, Scale
from neurocompile.validation.causes.case import Case
from neurocompile.validation.causes.neurons import within
from neurocompile.validation.causes.rules import Run

__all__ = ["Change", "by_ops", "concerned", "other", "weights_of", "with_weights"]

Change = Callable[[Array], Array]
"""Weights to others of the same shape."""


def with_weights(synapses: tuple[Synapse, ...], change: Change, where: Array) -> Callable[[Case], Run]:
    """The layer with other weights."""
    return by_ops({synapse.name: other(synapse.op, change) for synapse in synapses}, where)


def by_ops(ops: Mapping[str, Op], where: Array) -> Callable[[Case], Run]:
    """The layer with other weights, by node."""
    return within(lambda case: case.run(current=case.with_weights(ops)), where)


def other(op: Op, change: Change) -> Op:
    """A layer of weights with others."""
    if isinstance(op, Scale):
        return replace(op, scale=change(op.scale))
    assert isinstance(op, Linear | Conv | ConvTranspose)
    return replace(op, weight=change(op.weight))


def weights_of(op: Any) -> Array:
    """Of a layer of weights, whatever it calls them."""
    return np.asarray(op.scale if isinstance(op, Scale) else op.weight)


def concerned(case: Case, synapse: Synapse) -> list[int]:
    """The outputs (channels) of weights that reach a neuron that does not do what it should."""
    neurons = case.neurons.ravel() if synapse.lands is None else case.neurons.ravel()[synapse.lands.ravel()]
    if neurons.size != np.prod(synapse.gives):
        return list(range(synapse.gives[0]))
    return list(map(int, np.flatnonzero(neurons.reshape(synapse.gives[0], -1).any(1))))
