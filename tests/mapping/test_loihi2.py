"""Loihi 2's synapse memory, as far as logs of its compiler tell it: those of lava-dl's notebooks (docs/mapping.md)."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Conv, Input, Linear, Neuron, Output
from neurocompile.mapping import cut_boxes
from neurocompile.mapping.boxes import silicon_of
from neurocompile.mapping.layers import layers_of
from neurocompile.targets import load_target

LOIHI2 = load_target("loihi2").limits
FIRE = Neuron(np.asarray(1))
PERCENT = 160
"""Words of 16,000."""


def _layer(inputs: int, outputs: int, kernel: int) -> Graph:
    weight = np.random.default_rng(0).integers(-3, 4, (outputs, inputs, kernel, kernel))
    conv = Conv(weight, None, (1, 1), ((0, 0),) * 2, (1, 1))
    return Graph(
        [Node("x", Input((inputs, 6, 6), "spikes")), Node("c", conv, ("x",)), Node("n", FIRE, ("c",)),
         Node("out", Output(), ("n",))]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "bits", "words"),
    [
        # PilotNet, sigma-delta and spiking
        (3, 24, 3, 6, 81), (24, 36, 3, 6, 864), (36, 48, 3, 6, 1620), (48, 64, 3, 5, 2592), (64, 64, 3, 4, 2880),
        (48, 64, 3, 4, 2160),
        # YOLO-KP, of whose layers a core has so many output channels; not its last, whose neurons are two groups
        (3, 16, 3, 6, 0.34 * PERCENT), (16, 32, 3, 6, 3.6 * PERCENT), (32, 64, 3, 5, 10.8 * PERCENT),
        (64, 128, 3, 5, 39.6 * PERCENT), (128, 128, 3, 5, 79.2 * PERCENT), (256, 64, 3, 4, 72.0 * PERCENT),
        (256, 64, 3, 5, 86.4 * PERCENT), (512, 256, 1, 5, 67.2 * PERCENT),
    ],
)  # fmt: skip
def test_a_kernel_takes_the_words_of_the_logs(inputs: int, outputs: int, kernel: int, bits: int, words: float) -> None:
    silicon = silicon_of(LOIHI2, bits)
    assert silicon.format is not None
    (layer,) = layers_of(_layer(inputs, outputs, kernel), frozenset(), silicon.format)
    for block in ([(0, 2)], [(1, 4)]):  # whatever its places are
        intervals = [[(0, outputs)], block, block]
        region = layer.region(intervals, (False,) * 3)
        found, _ = layer.words(intervals, region, (False,) * 3, silicon.format, bits, ())
        assert found.item() == pytest.approx(words, abs=1)


@pytest.mark.parametrize(("inputs", "outputs", "percent"), [(64, 10, 1.6), (128, 64, 16.8), (784, 50, 78.4)])
def test_sparse_entries_of_a_matrix_take_the_words_of_the_logs(inputs: int, outputs: int, percent: float) -> None:
    """MNIST: weights of 8 bits, indices of 12."""
    format = silicon_of(LOIHI2, 8).format
    assert format is not None
    index = int(format.index(np.array([outputs]))[0])
    bits = outputs * (8 + index) + -(-outputs // format.entry_synapses) * format.header_bits
    assert inputs * int(format.words(np.array([bits]))[0]) == pytest.approx(percent * PERCENT)


def test_what_a_matrix_hears_takes_axons_and_a_convolution_none() -> None:
    graph = _layer(4, 8, 3)
    (core,) = cut_boxes(graph, LOIHI2, "loihi2", weight_bits=8).cores
    assert (core.input_axons, core.output_axons) == (0, 0)
    dense = Graph(
        [Node("x", Input((300,), "spikes")), Node("d", Linear(np.arange(1200).reshape(4, 300) % 17 - 8, None), ("x",)),
         Node("n", FIRE, ("d",)), Node("out", Output(), ("n",))]
    )  # fmt: skip
    (core,) = cut_boxes(dense, LOIHI2, "loihi2", weight_bits=8).cores
    assert core.input_axons == 300
