"""SOPs and MACs against SpikingJelly's op counters: equal where both count the same, and by how much they differ.

Weights lie on a grid and thresholds between its points, so that the integer program fires exactly as torch does.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import ACCounter, DispatchCounterMode, MACCounter, SynOpCounter
from torch import Tensor, nn

from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.simulator.reference import simulate_integers

STEPS, SAMPLES = 4, 3
IMAGE = (2, 6, 6)


def on_grid(module: nn.Module, seed: int) -> nn.Module:
    """Weights and biases in eighths."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(getattr(part, "weight", None), nn.Parameter):
            part.weight.data = torch.randint(-7, 8, part.weight.shape, generator=generator) / 8
            if part.bias is not None:
                part.bias.data = torch.randint(-2, 3, part.bias.shape, generator=generator) / 8
    return module.double().eval()


def fires() -> nn.Module:
    return neuron.IFNode(v_threshold=0.8125, step_mode="m")


def spikes(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((SAMPLES, STEPS, *shape)) < 0.4).astype(np.float64)


def reals(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, size=(SAMPLES, STEPS, *shape)) / 256


def ours(module: nn.Module, x: np.ndarray, layout: Any = "TN", carries: Any = "spikes") -> dict[str, dict[str, int]]:
    """Counts by layer of the int8 program, which fires as the module does."""
    model = TorchModel.from_module(module, x.shape[2:], STEPS, layout, None, carries)
    (name,) = model.input_shapes
    program = compile_graph(model.graph, "generic", STEPS, Options(bits=8), calibration={name: x})
    run = simulate_integers(program.integer, program.arithmetic, program.integers({name: x})[0])
    for path, fired in model.run({name: x}).spikes.items():
        assert (run.spikes[path] == fired).all()
    return {
        path: {name: int(getattr(counts, name).sum()) for name in ("sops", "macs")}
        for path, counts in run.counts.layers.items()
    }


def theirs(module: nn.Module, x: np.ndarray, layout: str = "TN") -> tuple[int, int, int]:
    """SynOpCounter's, MACCounter's and ACCounter's totals of the same run."""
    counters = [SynOpCounter(), MACCounter(), ACCounter()]
    functional.reset_net(module)
    seq = torch.from_numpy(x).transpose(0, 1)
    with DispatchCounterMode(counters), torch.no_grad():
        for part in seq if layout == "loop" else [seq]:
            module(part)
    functional.reset_net(module)
    return tuple(counter.get_total() for counter in counters)  # type: ignore[return-value]


def totals(counts: dict[str, dict[str, int]]) -> tuple[int, int]:
    return sum(c["sops"] for c in counts.values()), sum(c["macs"] for c in counts.values())


def conv(*args: Any, **named: Any) -> nn.Module:
    return layer.Conv2d(*args, **named, step_mode="m")


def flat(features: int) -> tuple[nn.Module, ...]:
    """A readout: what it meets are weights, in both counts."""
    return layer.Flatten(step_mode="m"), layer.Linear(features, 3, step_mode="m")


# -- the same number ---------------------------------------------------------------------------------------------------

SAME: dict[str, tuple[tuple[int, ...], list[nn.Module]]] = {
    "linear": ((7,), [nn.Linear(7, 6), fires(), nn.Linear(6, 5), fires(), nn.Linear(5, 3)]),
    "linear without bias": ((7,), [nn.Linear(7, 6, bias=False), fires(), nn.Linear(6, 3, bias=False)]),
    "convolution": (IMAGE, [conv(2, 3, 3), fires(), conv(3, 4, 2, bias=False), fires(), *flat(36)]),
    "convolution with a padded border": (IMAGE, [conv(2, 3, 3, padding=1), fires(), *flat(108)]),
    "convolution padded by more than its reach": (IMAGE, [conv(2, 3, 2, padding=2), fires(), *flat(243)]),
    "stride, dilation, groups": (IMAGE, [conv(2, 4, 3, 2, 2, 2, 2), fires(), *flat(36)]),
    "padding=same, even kernel": (IMAGE, [conv(2, 3, 4, padding="same"), fires(), *flat(108)]),
    "1-d": ((2, 9), [layer.Conv1d(2, 4, 3, 2, 2, 2, 2, step_mode="m"), fires(), *flat(20)]),
    "transposed": (IMAGE, [layer.ConvTranspose2d(2, 4, 3, 2, 1, 1, 2, step_mode="m"), fires(), *flat(576)]),
    "max-pooling": (IMAGE, [layer.MaxPool2d(2, step_mode="m"), conv(2, 3, 2), fires(), *flat(12)]),
    "upsampling": ((2, 3, 3), [layer.Upsample(scale_factor=2, step_mode="m"), conv(2, 3, 3), fires(), *flat(48)]),
}


@pytest.mark.parametrize("name", SAME)
def test_sops_are_synops_where_spikes_meet_linear_layers(name: str) -> None:
    shape, modules = SAME[name]
    module, x = on_grid(nn.Sequential(*modules), 1), spikes(shape)
    synops, macs, _ = theirs(module, x)
    assert synops > 0
    assert totals(ours(module, x)) == (synops, macs) == (synops, 0)


@pytest.mark.parametrize("seed", range(12))
def test_sops_are_synops_on_random_convolutional_networks(seed: int) -> None:
    draw = random.Random(seed)
    shape: tuple[int, ...] = (draw.randint(1, 3), draw.randint(4, 7), draw.randint(4, 7))
    first, channels, modules = shape, shape[0], []
    for _ in range(draw.randint(1, 3)):
        outputs, kernel = draw.randint(1, 5), draw.randint(1, 3)
        stride, padding = draw.choice(((1, kernel // 2), (1, "same"), (2, 1)))
        modules += [conv(channels, outputs, kernel, stride, padding, bias=draw.random() < 0.5), fires()]
        channels = outputs
    zeros = torch.zeros(1, 1, *first)
    size = nn.Sequential(*modules)(zeros).numel()
    functional.reset_net(nn.Sequential(*modules))
    module, x = on_grid(nn.Sequential(*modules, *flat(size)), seed), spikes(first, seed)
    synops, macs, _ = theirs(module, x)
    assert totals(ours(module, x)) == (synops, macs)


REAL: dict[str, tuple[tuple[int, ...], list[nn.Module]]] = {
    "linear": ((7,), [nn.Linear(7, 6), fires(), nn.Linear(6, 3)]),
    "convolution": (IMAGE, [conv(2, 3, 3), fires(), *flat(48)]),
    "strided, grouped": (IMAGE, [conv(2, 4, 2, 2, groups=2), fires(), *flat(36)]),
    "transposed, nothing cropped": (IMAGE, [layer.ConvTranspose2d(2, 4, 3, 2, step_mode="m"), fires(), *flat(676)]),
}


@pytest.mark.parametrize("name", REAL)
def test_macs_are_macs_without_borders(name: str) -> None:
    shape, modules = REAL[name]
    module, x = on_grid(nn.Sequential(*modules), 2), reals(shape)
    synops, macs, _ = theirs(module, x)
    assert macs > 0
    assert totals(ours(module, x, carries="real")) == (synops, macs)


# -- other numbers, and why --------------------------------------------------------------------------------------------


def test_macs_at_a_border_are_theirs_too_but_not_ours() -> None:
    """A weight over padding multiplies a zero: SpikingJelly counts it, we do not store it."""
    module, x = on_grid(nn.Sequential(conv(2, 3, 3, padding=1, bias=False), fires(), *flat(108)), 3), reals(IMAGE)
    inside = 16 * 16  # of 6 * 3 places by axis 2 are over the border: (6 * 3 - 2) ** 2
    assert totals(ours(module, x, carries="real"))[1] == SAMPLES * STEPS * 2 * 3 * inside
    assert theirs(module, x)[1] == SAMPLES * STEPS * 2 * 3 * (6 * 3) ** 2


def test_macs_that_a_transposed_convolution_crops_are_theirs_too_but_not_ours() -> None:
    shape = (2, 4, 4)
    module = on_grid(nn.Sequential(layer.ConvTranspose2d(2, 3, 3, 2, 1, step_mode="m"), fires(), *flat(147)), 3)
    inside = (4 * 3 - 2) ** 2
    x = reals(shape)
    assert totals(ours(module, x, carries="real"))[1] == SAMPLES * STEPS * 2 * 3 * inside
    assert theirs(module, x)[1] == SAMPLES * STEPS * 2 * 3 * (4 * 3) ** 2


def test_they_look_at_values_where_we_look_at_what_an_input_carries() -> None:
    """Zeros and ones given as real numbers are MACs for us at every step, spikes for them."""
    module, x = on_grid(nn.Sequential(nn.Linear(7, 6)), 4), spikes((7,))
    assert totals(ours(module, x, carries="real")) == (0, SAMPLES * STEPS * 7 * 6)
    assert theirs(module, x)[:2] == (int(x.sum()) * 6, 0)


def test_a_step_of_zeros_is_spikes_to_them() -> None:
    """So a step in which all of a batch's real inputs are zero costs them nothing, and us its MACs."""
    module, x = on_grid(nn.Sequential(nn.Linear(7, 6)), 4), reals((7,))
    x[:, 1] = 0
    assert totals(ours(module, x, "loop", "real"))[1] == SAMPLES * STEPS * 7 * 6
    assert theirs(module, x, "loop")[1] == SAMPLES * (STEPS - 1) * 7 * 6


class Skip(nn.Module):
    """Sums of spikes, or a spike beside a current."""

    def __init__(self, of_spikes: bool) -> None:
        super().__init__()
        self.main, self.first, self.second, self.last = nn.Linear(6, 6), fires(), fires(), nn.Linear(6, 3)
        self.of_spikes = of_spikes

    def forward(self, x: Tensor) -> Tensor:
        if self.of_spikes:
            return self.last(self.first(self.main(x)) + x)
        return self.last(self.second(self.main(x) + x))


def test_graded_events_are_sops_to_us_and_macs_to_them() -> None:
    """And adding spikes costs us one weight a spike."""
    module, x = on_grid(Skip(of_spikes=True), 5), spikes((6,))
    model = TorchModel.from_module(module, (6,), STEPS, "TN", None, "spikes")
    fired = model.run({"x": x}).spikes["first"]
    total = fired + x
    assert total.max() == 2
    counts = ours(module, x)
    synops, macs, _ = theirs(module, x)
    assert counts["first"]["sops"] == synops == int(x.sum()) * 6
    assert counts["add"]["sops"] == int(fired.sum() + x.sum())
    assert counts["output.integrator"]["sops"] == int((total != 0).sum()) * 3
    assert macs == SAMPLES * STEPS * 6 * 3


def test_a_skip_into_a_current_is_one_weight_a_spike_to_us_and_nothing_to_them() -> None:
    module, x = on_grid(Skip(of_spikes=False), 6), spikes((6,))
    counts, (synops, macs, _) = ours(module, x), theirs(module, x)
    assert totals(counts) == (synops + int(x.sum()), macs)


def test_average_pooling_is_a_sum_of_spikes_to_us_and_makes_macs_of_what_follows_to_them() -> None:
    module = on_grid(nn.Sequential(layer.AvgPool2d(2, step_mode="m"), *flat(18)), 7)
    x = spikes(IMAGE)
    sums = x.reshape(SAMPLES, STEPS, 2, 3, 2, 3, 2).sum((4, 6))
    counts, (synops, macs, _) = ours(module, x), theirs(module, x)
    assert totals(counts) == (int(x.sum()) + int((sums != 0).sum()) * 3, 0)
    assert (synops, macs) == (0, SAMPLES * STEPS * 18 * 3)


def test_batch_norm_is_folded_and_costs_us_nothing() -> None:
    module = on_grid(nn.Sequential(conv(2, 3, 2), layer.BatchNorm2d(3, step_mode="m"), fires(), *flat(75)), 8)
    module[1].running_var.fill_(1 - module[1].eps)
    x = spikes(IMAGE)
    counts, (synops, macs, _) = ours(module, x), theirs(module, x)
    assert totals(counts) == (synops, 0)
    assert macs == SAMPLES * STEPS * 75


def test_layers_without_a_neuron_between_them_are_one_matrix_to_us() -> None:
    module, x = on_grid(nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False)), 9), spikes((6,))
    synops, macs, _ = theirs(module, x)
    assert totals(ours(module, x)) == (int(x.sum()) * 4, 0)
    assert (synops, macs) == (int(x.sum()) * 5, SAMPLES * STEPS * 5 * 4)


def test_weights_of_zeros_and_ones_count_as_spikes_to_them() -> None:
    """Where weights, too, are all 0 or 1 they count pairs of ones: our sops_nonzero."""
    linear = nn.Linear(6, 5, bias=False).double()
    linear.weight.data = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (5, 6)).astype(np.float64))
    module, x = nn.Sequential(linear).eval(), spikes((6,))
    model = TorchModel.from_module(module, (6,), STEPS, "TN", None, "spikes")
    program = compile_graph(model.graph, "generic", STEPS, Options())
    counts = simulate_integers(program.integer, program.arithmetic, program.integers({"input": x})[0]).counts
    assert theirs(module, x)[0] == counts.total("sops_nonzero").sum() < counts.total("sops").sum()


def test_spikes_that_leave_the_network_meet_one_weight_each() -> None:
    """A network that ends in a neuron is read by an accumulator an output: one SOP a spike."""
    module, x = on_grid(nn.Sequential(nn.Linear(6, 5), fires()), 10), spikes((6,))
    counts, (synops, _, _) = ours(module, x), theirs(module, x)
    fired = TorchModel.from_module(module, (6,), STEPS, "TN").run({"input": x}).spikes["1"]
    assert fired.sum() > 0
    assert counts["1"]["sops"] == synops
    assert counts["output.integrator"]["sops"] == fired.sum()


def test_their_acs_hold_the_additions_inside_neurons_and_biases_too() -> None:
    """ACCounter is no count of synaptic operations: it adds what neurons and sums add, element by element."""
    module, x = on_grid(nn.Sequential(nn.Linear(6, 5), fires()), 11), spikes((6,))
    synops, _, acs = theirs(module, x)
    assert acs > synops
