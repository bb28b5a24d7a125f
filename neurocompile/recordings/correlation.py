"""Which recorded addresses fire with which neurons."""

from __future__ import annotations

import numpy as np

from neurocompile.extras import needing
from neurocompile.ir.ops import Array

__all__ = ["together"]


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
