"""Which recorded addresses fire with which neurons, and the order that follows from it (SciPy)."""

from __future__ import annotations

import numpy as np

from neurocompile.extras import needing
from neurocompile.ir.ops import Array

__all__ = ["assigned", "together"]


def together(row: Array, address: Array, weight: Array, fires: Array, addresses: int) -> Array:
    """How many events of each address fall on spikes of each neuron, ``[addresses, neurons]``.

    Args:
        row: of each event, ``[E]``: sample and step as one number.
        address: likewise.
        weight: how many spikes it stands for.
        fires: what is expected, ``[N, T, neurons]``.
        addresses: how many there are.

    Raises:
        ToolFailed: if SciPy is not installed.
    """
    with needing(extra="recordings"):
        from scipy import sparse

    samples, steps, neurons = fires.shape
    events = sparse.csr_matrix((weight.astype(np.float32), (address, row)), (addresses, samples * steps))
    used = np.unique(row)
    return np.asarray(events[:, used] @ fires.reshape(-1, neurons)[used].astype(np.float32))


def assigned(together: Array, before: Array) -> Array:
    """The order ``[addresses]`` in which most events meet expected spikes; where nothing tells, as ``before``.

    Args:
        together: how many events of each address fall on spikes of each neuron, ``[addresses, neurons]``.
        before: the order without this.

    Raises:
        ToolFailed: if SciPy is not installed.
    """
    with needing(extra="recordings"):
        from scipy.optimize import linear_sum_assignment

    weight = together.astype(np.float64)
    weight[np.arange(len(before)), before] += 0.5  # less than one event
    _, order = linear_sum_assignment(weight, maximize=True)
    return np.asarray(order, np.int64)
