"""The synapses of a layer, one by one, against what the layer does to unit vectors."""

from __future__ import annotations

import random

import numpy as np
import pytest

from neurocompile.ir.connections import connections
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import WEIGHT_OPS, Linear
from tests.random_networks.engine import random_graph


@pytest.mark.parametrize("seed", range(60))
def test_connections_are_what_the_layer_does(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    for node in graph.of(*WEIGHT_OPS):
        op, given = node.op, graph.edges[node.inputs[0]]
        inputs, outputs = given.size, graph.edges[node.name].size
        expected = apply(op, [np.eye(inputs).reshape(inputs, *given.shape)]).reshape(inputs, outputs).T
        rows, columns, weights = connections(op, given.shape)
        assert len(set(zip(rows.tolist(), columns.tolist()))) == len(rows), "a synapse is listed twice"
        matrix = np.zeros((outputs, inputs))
        matrix[rows, columns] = weights
        if isinstance(op, Linear) and op.stored is not None:
            expected = np.where(op.stored, expected, 0.0)
        np.testing.assert_allclose(matrix, expected, atol=1e-12)
