"""What has fired so far says the same as the spiking network, and its derivatives are those of the equations."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import nn

from neurocompile.models.spiking_gan import Generator, Sizes
from neurocompile.models.train_spiking_gan import fired_so_far, learn, through

TINY = Sizes(1, 6, 20, 30, 8)


@pytest.mark.parametrize("seed", [0, 1])
def test_neurons_stay_on_from_the_spike_of_the_spiking_network_on(seed: int) -> None:
    """With negative weights, too, which take membranes below the threshold again."""
    torch.manual_seed(seed)
    model = Generator(TINY).double()
    for linear in (model.layers[0], model.layers[2]):
        nn.init.normal_(linear.weight, 2 / linear.in_features, 1 / linear.in_features**0.5)
    noise = torch.randint(TINY.timesteps + 1, (40, TINY.noise)).double()
    with torch.no_grad():
        spikes = model.encode(noise)
        hidden, v = through(model.layers, spikes.cumsum(0))
        fired = fired_so_far(v)
        assert (fired.sum(0) > (v >= 1).sum(0)).any()
        functional.reset_net(model)
        torch.testing.assert_close(hidden, model.layers[:2](spikes).cumsum(0), rtol=0, atol=0)
        functional.reset_net(model)
        torch.testing.assert_close(fired, model.trains(noise).flatten(2).cumsum(0), rtol=0, atol=0)
        functional.reset_net(model)
        torch.testing.assert_close(fired.mean(0), model(noise).flatten(1))
    assert 0.1 < fired.mean() < 0.9


def test_derivatives_are_those_of_the_greatest_membrane() -> None:
    """Through a function whose derivative is the surrogate."""
    torch.manual_seed(0)
    v = torch.randn(9, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(v.shape, dtype=torch.float64)
    (found,) = torch.autograd.grad((fired_so_far(v) * weights).sum(), v)
    smooth = torch.atan(2 * (v.cummax(0).values - 1)) / 2
    (expected,) = torch.autograd.grad((smooth * weights).sum(), v)
    torch.testing.assert_close(found, expected)


def test_the_same_seed_trains_the_same_generator() -> None:
    x = torch.rand(5, *TINY.image, generator=torch.Generator().manual_seed(2))

    def trained(seed: int) -> list[torch.Tensor]:
        generator = Generator(TINY)
        learn(generator, TINY, x, 3, 1e-3, torch.Generator().manual_seed(seed))
        return list(generator.state_dict().values())

    first, again, other = trained(0), trained(0), trained(1)
    assert len(first) == 2
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
        assert not torch.equal(a, c)
