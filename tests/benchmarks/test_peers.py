"""The networks of the benchmarks fire as they should, and PyTorch's ways to run them compute what the programs do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from benchmarks.networks import PreActResNet18, calibrate, compiled, firing_rates, images, integers, program_rates
from benchmarks.peers import KINDS, compare, peers
from neurocompile.models.resnet import ResNet20
from neurocompile.program import Program
from neurocompile.vocabulary.mpbn import MPBNLIF


def tiny_resnet() -> nn.Module:
    return ResNet20((4, 8, 8))


def tiny_resnet_with_flips() -> nn.Module:
    module = ResNet20((4, 8, 8))
    for part in module.modules():
        if isinstance(part, MPBNLIF):
            part.vbn.weight.data[0] = -1.0
    return module


def tiny_preact() -> nn.Module:
    return PreActResNet18((8, 8))


def tiny_vgg() -> nn.Module:
    return _Scores(
        layer.Conv2d(3, 8, 3, 2, 1, bias=False, step_mode="m"),
        layer.BatchNorm2d(8, step_mode="m"),
        neuron.LIFNode(tau=2.0, step_mode="m"),
        layer.MaxPool2d(2, 2, step_mode="m"),
        layer.Conv2d(8, 8, 3, 1, 1, bias=False, step_mode="m"),
        layer.BatchNorm2d(8, step_mode="m"),
        neuron.LIFNode(tau=2.0, v_reset=-0.5, step_mode="m"),
        layer.AvgPool2d(2, 2, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(128, 10, step_mode="m"),
    )


class _Scores(nn.Sequential):
    def forward(self, x_seq: Tensor) -> Tensor:
        scores: Tensor = super().forward(x_seq).mean(0)
        return scores


TINY = [tiny_resnet, tiny_resnet_with_flips, tiny_preact, tiny_vgg]


def prepared(make: Callable[[], nn.Module]) -> tuple[nn.Module, Program]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make().eval().requires_grad_(False)
    calibrate(module, images("resnet20", 8, seed=1))
    return module, compiled("resnet20", module, images("resnet20", 1))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", TINY)
def test_every_layer_fires_at_the_rate_it_was_calibrated_for(make: Callable[[], nn.Module]) -> None:
    module, program = prepared(make)
    seen, fresh = images("resnet20", 8, seed=1), images("resnet20", 8, seed=2)
    assert all(0.10 <= rate <= 0.15 for rate in firing_rates(module, seen).values())
    rates = program_rates(program, fresh)
    assert len(rates) == len(firing_rates(module, seen))
    assert all(0.05 <= rate <= 0.25 for rate in rates.values()), rates


@pytest.mark.parametrize("make", TINY)
def test_peers_compute_what_the_graph_says(make: Callable[[], nn.Module]) -> None:
    module, program = prepared(make)
    found = peers(program, module, 1, ("spikingjelly", "eager", "jit"))
    assert list(found) == ["spikingjelly", "eager", "jit"]
    agreement = compare(program, found, images("resnet20", 12, seed=3))
    assert agreement.close, agreement


@pytest.mark.slow
def test_torch_compile_computes_what_the_graph_says() -> None:
    module, program = prepared(tiny_resnet)
    found = peers(program, module, 1, ("compile",))
    if "compile" not in found:
        pytest.skip("torch.compile does not work here")
    assert set(found) <= set(KINDS)
    for count in (1, 12):
        agreement = compare(program, found, images("resnet20", count, seed=3))
        assert agreement.close, agreement


def test_images_are_pixels_and_all_different() -> None:
    x = images("resnet20", 64)
    assert x.shape == (64, 3, 32, 32)
    assert len(torch.unique(x.flatten(1), dim=0)) == 64
    assert torch.equal(x, (x * 255).round() / 255)
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1


def test_pixels_are_exact_in_the_program() -> None:
    _, program = prepared(tiny_vgg)
    x = images("resnet20", 2)
    (given,) = integers(program, x).values()
    assert torch.equal(torch.from_numpy(given[:, 0]), (x * 255).round().long())
