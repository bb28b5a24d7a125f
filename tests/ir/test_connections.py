"""The synapses of a layer, one by one, against what the layer does to unit vectors."""

from __future__ import annotations

import random

import numpy as np
import pytest

from neurocompile.ir.connections import connections
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Conv, ConvTranspose, Linear, Op, Scale
from neurocompile.ir.shapes import output_shape


def _case(seed: int) -> tuple[Op, tuple[int, ...]]:
    r = random.Random(seed)
    n = np.random.default_rng(seed)
    kind = r.choice(["linear", "scale", "conv", "conv", "transposed", "transposed"])
    if kind == "linear":
        weight = n.normal(size=(r.randint(1, 5), r.randint(1, 6)))
        return Linear(weight, None, n.random(weight.shape) < 0.6 if r.random() < 0.5 else None), weight.shape[1:]
    if kind == "scale":
        return Scale(n.normal(size=(3, 1))), (3, 4)
    rank, groups = r.choice([1, 2]), r.choice([1, 1, 2])
    ins, outs = groups * r.randint(1, 2), groups * r.randint(1, 3)
    kernel = tuple(r.randint(1, 3) for _ in range(rank))
    stride, dilation = (tuple(r.randint(1, 2) for _ in range(rank)) for _ in range(2))
    size = tuple(r.randint(5, 7) for _ in range(rank))
    if kind == "conv":
        padding = tuple((r.randint(0, 2), r.randint(0, 2)) for _ in range(rank))
        weight = n.normal(size=(outs, ins // groups, *kernel))
        return Conv(weight, None, stride, padding, dilation, groups), (ins, *size)
    padding_ = tuple(r.randint(0, 1) for _ in range(rank))
    extra = tuple(r.randint(0, s - 1) for s in stride)
    weight = n.normal(size=(ins, outs // groups, *kernel))
    return ConvTranspose(weight, None, stride, padding_, extra, dilation, groups), (ins, *size)


@pytest.mark.parametrize("seed", range(60))
def test_connections_are_what_the_layer_does(seed: int) -> None:
    op, shape = _case(seed)
    inputs = int(np.prod(shape))
    outputs = int(np.prod(output_shape(op, [shape])))
    expected = apply(op, [np.eye(inputs).reshape(inputs, *shape)]).reshape(inputs, outputs).T
    rows, columns, weights = connections(op, shape)
    assert len(set(zip(rows.tolist(), columns.tolist()))) == len(rows), "a synapse is listed twice"
    matrix = np.zeros((outputs, inputs))
    matrix[rows, columns] = weights
    if isinstance(op, Linear) and op.stored is not None:
        expected = np.where(op.stored, expected, 0.0)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
