"""What stands between a layer's name and what it computes: hooks, patches, subclasses, parametrizations."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from tests.idioms.cases import Net, T, adds, case, removed, several, static, step, times, vote

# -- hooks -------------------------------------------------------------------------------------------------------------


@case(init=lambda m: m.conv.register_forward_pre_hook(lambda module, given: (given[0] * 2 - 0.5,)))
def input_of_a_layer_scaled(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def add_the_input(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: torch.Tensor) -> torch.Tensor:
    return out + 0.5 * given[0]


@case(init=lambda m: m.conv6.register_forward_hook(add_the_input, with_kwargs=True))
def residual_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv6(m.conv(x)))


class Scale(nn.Module):
    def forward(self, x: torch.Tensor, *, by: float = 1.0) -> torch.Tensor:
        return x * by


def doubled(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return given, {"by": 2 * named["by"]}


def with_doubled_scale(m: Net) -> None:
    m.scale = Scale()
    m.scale.register_forward_pre_hook(doubled, with_kwargs=True)


@case(init=with_doubled_scale)
def keyword_changed_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.scale(m.conv(x), by=0.8))


def halved(module: nn.Module, given: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor | None:
    return out * 0.5 if isinstance(module, nn.Conv2d) else None


@case(around=lambda: removed(nn.modules.module.register_module_forward_hook, halved))
def hook_of_all_modules(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) * 2.4)


def shifted(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return (given[0] + 0.25,) if isinstance(module, nn.Conv2d) else None


@case(around=lambda: removed(nn.modules.module.register_module_forward_pre_hook, shifted))
def pre_hook_of_all_modules(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: m.lif.register_forward_hook(lambda module, given, out: out * 0.7))
def spikes_scaled_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: m.one.register_forward_pre_hook(lambda module, given: given[0] * 1.5))
def current_of_a_step_scaled_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case(init=lambda m: m.register_forward_hook(lambda module, given, out: out * 10 - 1))
def logits_scaled_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: m.register_forward_pre_hook(lambda module, given: (given[0].flip(-1),)))
def image_flipped_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def recording(m: Net) -> None:
    m.seen = []
    m.lif.register_forward_hook(lambda module, given, out: m.seen.append(out.detach()))


@case(init=recording)
def recorded_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: m.conv.register_forward_hook(lambda module, given, out: out * 9).remove())
def hook_that_was_removed(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: m.conv.register_full_backward_hook(lambda module, given, got: None))
def hook_of_the_backward_pass(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def written_by_a_hook(module: nn.Module, given: tuple[Any, ...], out: torch.Tensor) -> None:
    out.add_(0.2)


@case(init=lambda m: m.conv.register_forward_hook(written_by_a_hook))
def output_written_by_a_hook(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


# -- patches and subclasses --------------------------------------------------------------------------------------------


def patched_with_a_function(m: Net) -> None:
    conv = m.conv
    conv.forward = lambda x: F.conv2d(x, conv.weight * 2, conv.bias, padding=1)


@case(init=patched_with_a_function)
def forward_patched_with_a_function(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def patched_with_a_method(m: Net) -> None:
    def forward(self: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
        return type(self).forward(self, x) + x

    m.bn.forward = types.MethodType(forward, m.bn)


@case(init=patched_with_a_method)
def forward_patched_with_a_method(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)))


def wrapped(m: Net) -> None:
    before = m.fc.forward

    @functools.wraps(before)
    def forward(x: torch.Tensor) -> torch.Tensor:
        return before(x * 0.5)

    m.fc.forward = forward


@case(init=wrapped)
def forward_wrapped(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class WSConv2d(nn.Conv2d):
    """Standardizes its weights each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        w = w - w.mean((1, 2, 3), keepdim=True)
        w = w / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, 0.3 * w, self.bias, self.stride, self.padding, self.dilation, self.groups)


@case(init=adds(conv=lambda: WSConv2d(2, 6, 3, padding=1)))
def weights_standardized(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class RoundedLinear(nn.Linear):
    """Eight levels, with gradients that go straight through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight.detach().abs().max() / 4
        levels = torch.clamp(torch.round(self.weight / scale), -4, 3) * scale
        return F.linear(x, self.weight + (levels - self.weight).detach(), self.bias)


@case(init=adds(fc=lambda: RoundedLinear(6 * 64, 5)))
def weights_rounded(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class BinaryConv2d(nn.Conv2d):
    """One bit a weight, and a scale a channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight.sign() * self.weight.abs().mean((1, 2, 3), keepdim=True), self.bias)


@case(init=adds(conv6=lambda: BinaryConv2d(6, 6, 3, padding=1)))
def weights_of_one_bit(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv6(m.conv(x)))


class ScaledConv2d(nn.Conv2d):
    """Super's forward, and something after it."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.gain = nn.Parameter(torch.rand(sizes[1], 1, 1) + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.gain


@case(init=adds(conv=lambda: ScaledConv2d(2, 6, 3, padding=1)))
def subclass_that_scales(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class EagerLIF(neuron.LIFNode):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


@case(exact=False, init=adds(lif=lambda: EagerLIF(v_threshold=0.4, step_mode="m")))
def neuron_with_a_forward_of_its_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class ConstantLeak(neuron.SimpleBaseNode):
    def neuronal_charge(self, x: torch.Tensor) -> None:
        self.v = self.v * 0.75 + x


@case(exact=False, init=adds(lif=lambda: ConstantLeak(v_threshold=0.3, step_mode="m")))
def neuron_with_a_charge_of_its_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class ResetByHalf(neuron.SimpleLIFNode):
    def neuronal_reset(self, spike: torch.Tensor) -> None:
        self.v = self.v - 0.5 * self.v_threshold * spike


@case(exact=False, init=adds(lif=lambda: ResetByHalf(tau=2.0, decay_input=True, v_threshold=0.2, step_mode="m")))
def neuron_with_a_reset_of_its_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class FiresLate(neuron.SimpleIFNode):
    def neuronal_fire(self) -> torch.Tensor:
        return self.surrogate_function(self.v - 2 * self.v_threshold)


@case(exact=False, init=adds(lif=lambda: FiresLate(v_threshold=0.2, v_reset=None, step_mode="m")))
def neuron_with_a_fire_of_its_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class Renamed(neuron.LIFNode):
    """Adds nothing but a default."""

    def __init__(self) -> None:
        super().__init__(tau=3.0, v_threshold=0.15, step_mode="m")


@case(exact=False, init=adds(lif=Renamed))
def neuron_with_a_name_of_its_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class Skipping(nn.Sequential):
    """A Sequential that adds its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x


@case(init=lambda m: setattr(m, "body", Skipping(m.conv6, m.bn)))
def sequential_that_skips(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.body(m.conv(x)))


def kept_by_key(m: Net) -> None:
    m.parts = nn.ModuleDict({"conv": m.conv, "norms": nn.ModuleList([m.bn, nn.Identity()])})


@case(init=kept_by_key)
def parts_found_by_key(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.parts["conv"](x)
    for norm in m.parts["norms"]:
        y = norm(y)
    return static(m, y)


# -- parametrizations --------------------------------------------------------------------------------------------------


@case(init=lambda m: nn.utils.weight_norm(m.conv))
def weight_norm_of_old(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def norm_with_larger_gain(m: Net) -> None:
    parametrizations.weight_norm(m.fc, dim=1)
    with torch.no_grad():
        m.fc.parametrizations.weight.original0.mul_(2)


@case(init=norm_with_larger_gain)
def weight_norm_along_the_inputs(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: parametrizations.spectral_norm(m.conv))
def spectral_norm(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: nn.utils.spectral_norm(m.conv))
def spectral_norm_of_old(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: parametrizations.orthogonal(m.mix))
def orthogonal_weights(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.mix(static(m, m.conv(x)))


@case(init=lambda m: prune.l1_unstructured(m.conv, "weight", amount=0.4))
def pruned_by_size(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


def pruned_for_good(m: Net) -> None:
    prune.ln_structured(m.conv, "weight", amount=2, n=2, dim=0)
    prune.remove(m.conv, "weight")


@case(
    init=several(
        pruned_for_good, lambda m: prune.custom_from_mask(m.fc, "weight", torch.arange(5 * 384).view(5, 384) % 3 > 0)
    )
)
def pruned_by_channel_and_by_a_mask(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class Symmetric(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return (weight + weight.flip(-1)) / 2


class Enlarged(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 2


def parametrized_twice(m: Net) -> None:
    parametrize.register_parametrization(m.conv, "weight", Symmetric())
    parametrize.register_parametrization(m.conv, "weight", Enlarged())
    parametrize.register_parametrization(m.conv, "bias", Enlarged())


@case(init=parametrized_twice)
def parametrized_twice_and_the_bias(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: parametrize.register_parametrization(m.conv, "weight", Enlarged()))
def parametrization_cached(m: Net, x: torch.Tensor) -> torch.Tensor:
    with parametrize.cached():
        return torch.stack([step(m, x) for _ in range(T)]).mean(0)


# -- weights that are shared, computed or replaced ---------------------------------------------------------------------


def tied(m: Net) -> None:
    m.other = nn.Conv2d(2, 6, 3, padding=1)
    m.other.weight = m.conv.weight


@case(init=tied)
def two_layers_share_a_weight(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) + m.other(x.flip(1)))


@case()
def one_layer_used_twice(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv6(m.conv6(m.conv(x))) + m.conv(x))


@case(init=adds(decoder=lambda: nn.Parameter(torch.zeros(6))))
def weight_used_transposed(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.head(m.lif(times(m.conv(x))).mean((3, 4)))
    return F.linear(y, m.head.weight.t(), m.decoder).mean(0)


@case(init=adds(gain=lambda: nn.Parameter(torch.linspace(0.5, 2.5, 6))))
def weight_scaled_in_the_call(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.conv2d(x, m.conv.weight * m.gain.view(-1, 1, 1, 1), m.conv.bias, padding=1))


@case(init=lambda m: m.register_buffer("mask", (torch.arange(9).view(3, 3) % 2 == 0).float()))
def weight_masked_in_the_call(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.conv2d(x, m.conv.weight * m.mask, m.conv.bias, padding=1))


@case(init=adds(a=lambda: nn.Parameter(torch.randn(5, 2) / 4), b=lambda: nn.Parameter(torch.randn(2, 384) / 4)))
def low_rank_update(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.conv(x))).flatten(2)
    return (m.fc(s) + 0.5 * (s @ m.b.t() @ m.a.t())).mean(0)


@case()
def called_with_other_parameters(m: Net, x: torch.Tensor) -> torch.Tensor:
    swapped = {"weight": m.conv.weight.flip(0) * 1.5, "bias": m.conv.bias + 0.1}
    return static(m, torch.func.functional_call(m.conv, swapped, (x,)))


def calibrated(m: Net) -> None:
    with torch.no_grad():
        m.bn.running_mean.fill_(-0.1)
        m.bn.running_var.copy_(torch.linspace(0.1, 0.6, 6))


@case(init=calibrated)
def buffers_set_by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)))


def without_gamma(m: Net) -> None:
    m.bn = nn.BatchNorm2d(6, affine=False, eps=1e-3)
    m.bn.running_mean.uniform_(-0.2, 0.1)
    m.bn.running_var.uniform_(0.2, 0.5)


@case(init=without_gamma)
def batch_norm_without_gamma(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)))


@case()
def batch_norm_folded_by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    k = m.bn.weight / torch.sqrt(m.bn.running_var + m.bn.eps)
    bias = (m.conv.bias - m.bn.running_mean) * k + m.bn.bias
    return static(m, F.conv2d(x, m.conv.weight * k[:, None, None, None], bias, padding=1))


@case(init=lambda m: setattr(m, "conv", nn.utils.fuse_conv_bn_eval(m.eval().conv, m.bn)))
def fused_before(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case()
def functional_batch_norm(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.batch_norm(m.conv(x), m.bn.running_mean, m.bn.running_var, m.bn.weight, None)
    return static(m, y + 0.1)


def made_lazily(m: Net) -> None:
    m.lazy = nn.LazyLinear(5)
    m.lazy(torch.zeros(1, 384))


@case(init=made_lazily)
def lazy_layer(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.lazy(m.lif(times(m.conv(x))).flatten(2)).mean(0)


@case(init=adds(parts=lambda: nn.ParameterList([torch.randn(6, 1, 1) * 0.1 for _ in range(3)])))
def sum_of_a_parameter_list(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) + sum(m.parts))


@case(init=lambda m: m.conv.weight.requires_grad_(False))
def some_parameters_are_frozen(m: Net, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = m.conv(x)
    return static(m, y)


@case(init=adds(scale=lambda: nn.Parameter(torch.tensor(1.3))))
def scaled_by_an_exponential(m: Net, x: torch.Tensor) -> torch.Tensor:
    return vote(m, times(m.conv(x)) * torch.exp(m.scale) * F.softplus(m.scale))
