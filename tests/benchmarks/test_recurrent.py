"""A recurrent network of few bits stays within three points of its float accuracy."""

from __future__ import annotations

import pytest
import torch

from benchmarks.recurrent import accuracies, trained
from neurocompile.compiler import Options


@pytest.mark.parametrize("epochs", [8, pytest.param(30, marks=pytest.mark.slow)])
def test_pixels_and_spikes_that_meet_keep_their_accuracy_at_four_bits(epochs: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = trained(epochs, seed=0)
    finally:
        torch.set_num_threads(threads)
    real, whole = accuracies(network, "generic", Options(bits=4))
    assert real > 0.6
    assert whole >= real - 0.03
