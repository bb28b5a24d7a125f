"""What lies between neurons: pads, shapes, masks, sums, products, pools and logic of spikes."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import layer
from torch import nn
from torch.nn import functional as F

import neurocompile
from tests.idioms.cases import Net, T, adds, case, static, step, times, vote

# -- pads, crops, moves ------------------------------------------------------------------------------------------------


@case()
def padded_more_on_one_side(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv_valid(F.pad(x, (2, 0, 0, 2))))


@case(exact=False)
def padded_with_ones(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv_valid(F.pad(x, (1, 1, 1, 1), value=1.0)))


@case(init=adds(pad=lambda: nn.ZeroPad2d((0, 2, 1, 1))))
def pad_of_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.conv(x)))
    y = m.conv6(m.pad(s.flatten(0, 1)))[:, :, 1:-1, 2:]
    return m.fc(y.reshape(T, -1, 384)).mean(0)


@case(exact=False, init=lambda m: setattr(m, "conv", nn.Conv2d(2, 6, 3, padding=1, padding_mode="circular")))
def circular_padding(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case()
def cropped_and_put_back(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, F.pad(y[:, :, 1:-1, 1:-1], (1, 1, 1, 1)))


@case()
def cropped_by_a_negative_pad(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.pad(m.bn(m.conv(x)), (-2, 2, -1, 1))
    return static(m, y)


@case()
def rolled_in_space(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.roll(m.bn(m.conv(x)), shifts=(1, -2), dims=(2, 3)))


@case()
def rolled_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return m.fc(s.roll(2, 2).flatten(2)).mean(0)


@case()
def mirrored(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x.flip(3)) + m.conv(x).flip(3))


@case()
def channels_reversed(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)).flip(1) + m.conv(x))


@case(exact=False)
def shifted_groups_of_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A third goes a row up, a third a row down, a third stays."""
    y = m.bn(m.conv(x))
    out = torch.zeros_like(y)
    out[:, :2, :-1] = y[:, :2, 1:]
    out[:, 2:4, 1:] = y[:, 2:4, :-1]
    out[:, 4:] = y[:, 4:]
    return static(m, out)


@case()
def strided_slice(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))[:, ::2]
    return static(m, torch.cat([y, y], 1))


@case()
def negative_index(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, y + y[:, -1:] * 0.5)


@case()
def ellipsis_and_none(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    row = y[..., 2, :][..., None, :]
    return static(m, 0.5 * y + row[:, :, [0]])


@case(init=lambda m: m.register_buffer("order", torch.tensor([4, 2, 0, 5, 3, 1])))
def channels_in_a_fixed_order(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, y[:, m.order] + y.index_select(1, torch.tensor([0, 0, 1, 1, 2, 2])))


# -- shapes ------------------------------------------------------------------------------------------------------------


@case()
def split_and_joined(m: Net, x: torch.Tensor) -> torch.Tensor:
    a, b, c = torch.split(m.bn(m.conv(x)), 2, dim=1)
    return static(m, torch.cat((c, a * 0.5, b), dim=1))


@case()
def first_half_of_the_channels_alone(m: Net, x: torch.Tensor) -> torch.Tensor:
    a, b = m.bn(m.conv(x)).chunk(2, 1)
    return static(m, torch.cat([a + b, a - b], 1))


@case()
def channels_shuffled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.lif(times(m.bn(m.conv(x)))).flatten(0, 1)
    n, c, h, w = y.shape
    y = y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
    return m.fc(m.conv6(y).view(T, -1, 384)).mean(0)


@case()
def layer_that_shuffles(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.channel_shuffle(m.bn(m.conv(x)), 3))


@case(init=adds(up=lambda: nn.Conv2d(2, 24, 3, stride=2, padding=1)))
def pixels_shuffled(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.pixel_shuffle(m.up(x), 2))


@case(init=adds(down=lambda: nn.PixelUnshuffle(2), narrow=lambda: nn.Conv2d(8, 6, 1)))
def pixels_unshuffled(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.narrow(m.down(x)) + 0.2))
    return m.head(s.mean((3, 4))).mean(0)


@case()
def swapped_axes(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)).swapaxes(2, 3))


@case()
def moved_axes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).movedim(2, -1)
    return m.head(s).mean((0, 2, 3))


@case()
def reshaped_with_minus_one(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x).reshape(x.shape[0], -1) + 0.1
    return m.fc(m.lif(times(y))).mean(0)


@case()
def unflattened(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x)).flatten(2).unflatten(2, (8, 8))
    return static(m, y)


@case()
def expanded_over_time(m: Net, x: torch.Tensor) -> torch.Tensor:
    return vote(m, m.bn(m.conv(x)).expand(T, -1, -1, -1, -1))


@case()
def tiled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)[:, :, :4].tile(1, 1, 2, 1)
    return static(m, y + 0.1)


@case()
def channels_repeated(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x))[:, :3].repeat_interleave(2, dim=1))


@case()
def features_stacked(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, torch.stack([y[:, :3], y[:, 3:]], 2).flatten(1, 2))


@case()
def features_stacked_and_summed(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.stack([m.conv(x), m.bn(m.conv(x)), m.conv(x) * 0.5]).sum(0))


# -- masks and constants -----------------------------------------------------------------------------------------------

BOARD = (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 0


@case()
def where_with_a_constant_mask(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, torch.where(BOARD, y, 0.5 * y + 0.2))


@case()
def masked_fill_of_features(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)).masked_fill(~BOARD, 0.3))


@case(init=lambda m: m.register_buffer("mask", (torch.arange(6) != 2).float().view(6, 1, 1)))
def spikes_times_a_mask(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))) * m.mask
    return m.fc(s.flatten(2)).mean(0)


@case()
def spikes_where_a_mask_says(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return m.fc(torch.where(BOARD, s, torch.zeros_like(s)).flatten(2)).mean(0)


@case()
def divided_by_a_constant_tensor(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)) / torch.tensor([0.5, 0.8, 1.0, 1.25, 1.5, 2.0]).view(6, 1, 1))


@case()
def normalized_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.45, 0.5]).view(1, 2, 1, 1), torch.tensor([0.25, 0.2]).view(1, 2, 1, 1)
    return static(m, m.conv((x - mean) / std))


@case()
def one_minus_the_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(1 - x))


@case()
def on_and_off(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Two maps of the same current, one of them reversed."""
    y = m.conv(x)[:, :3]
    return static(m, torch.cat((y, torch.rsub(y, 0.3)), 1))


@case()
def add_with_alpha(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.add(m.conv(x), m.bn(m.conv(x)), alpha=2))


@case()
def sub_with_alpha(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)).sub(m.conv(x.flip(1)), alpha=0.5))


@case(init=adds(slope=lambda: nn.Parameter(torch.rand(6, 1, 1))))
def addcmul_with_constants(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.addcmul(m.conv(x), m.slope, torch.full((8,), 0.5, dtype=x.dtype), value=0.6))


@case()
def lerp_of_two_paths(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.lerp(m.conv(x), m.bn(m.conv(x)), 0.7))


@case(init=adds(alpha=lambda: nn.Parameter(torch.tensor(0.3))))
def gated_sum_of_two_paths(m: Net, x: torch.Tensor) -> torch.Tensor:
    a = m.alpha.sigmoid()
    return static(m, a * m.bn(m.conv(x)) + (1 - a) * m.conv(x))


@case()
def constants_made_like_the_features(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y = y + 0.2 * torch.ones_like(y) - torch.full_like(y, 0.1)
    return static(m, y + y.new_zeros(y.shape) + y.new_full((1,), 0.05))


# -- sums and products with weights ------------------------------------------------------------------------------------


@case(init=adds(w=lambda: nn.Parameter(torch.randn(384, 5) / 20)))
def spikes_times_a_matrix(m: Net, x: torch.Tensor) -> torch.Tensor:
    return (m.lif(times(m.bn(m.conv(x)))).flatten(2) @ m.w).mean(0)


@case()
def functional_linear(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).flatten(2)
    return F.linear(s, m.fc.weight).mean(0) + m.fc.bias


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 5) / 3)))
def einsum_over_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return torch.einsum("tnchw,ck->tnkhw", s, m.w).mean((0, 3, 4))


@case(init=adds(w=lambda: nn.Parameter(torch.randn(5, 6) / 3)))
def einsum_as_a_pointwise_conv(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Its weights come first, and as a layer has them."""
    return torch.einsum("kc,tnchw->tnkhw", m.w, m.lif(times(m.bn(m.conv(x))))).mean((0, 3, 4))


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 6) / 3)))
def einsum_of_currents(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.einsum("nchw,ck->nkhw", m.bn(m.conv(x)), m.w))


@case(init=adds(w=lambda: nn.Parameter(torch.randn(5, 384) / 9)))
def einsum_as_a_linear_layer(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("...i,oi->...o", m.lif(times(m.bn(m.conv(x)))).flatten(2), m.w).mean(0)


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 8, 8, 5) / 9)))
def einsum_over_all_features(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("tnchw,chwk->tnk", m.lif(times(m.bn(m.conv(x)))), m.w).mean(0)


@case(init=adds(w=lambda: nn.Parameter(torch.randn(8, 8) / 3)))
def einsum_along_rows(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = torch.einsum("tnchw,wv->tnchv", m.lif(times(m.bn(m.conv(x)))), m.w)
    return m.fc(m.lif2(y).flatten(2)).mean(0)


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 3, 5) / 3)))
def einsum_for_each_head(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("tnchw,cdk->tndkhw", m.lif(times(m.bn(m.conv(x)))), m.w).mean((0, 2, 4, 5))


@case(exact=False, init=adds(w=lambda: nn.Parameter(torch.randn(2, 3, 4) / 3)))
def einsum_by_groups(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).unflatten(2, (2, 3))
    return torch.einsum("tngchw,gck->tngkhw", s, m.w).flatten(2, 3).mean((0, 3, 4))


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 5) / 3)))
def tensordot_over_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.tensordot(m.lif(times(m.bn(m.conv(x)))), m.w, ([2], [0])).mean((0, 2, 3))


@case(init=adds(w=lambda: nn.Parameter(torch.randn(6, 6) / 2)))
def matmul_from_the_left(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = torch.matmul(m.w, m.bn(m.conv(x)).flatten(2))
    return static(m, y.view(-1, 6, 8, 8))


@case(init=adds(line=lambda: nn.Parameter(torch.randn(6, 6, 3) / 4)))
def conv_along_the_features(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.conv1d(m.bn(m.conv(x)).flatten(2), m.line, padding=1)
    return m.fc(m.lif(times(y)).flatten(2)).mean(0)


@case(init=lambda m: setattr(m, "conv6", nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3)))
def grouped_and_dilated(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv6(m.bn(m.conv(x))) * 2)


@case(init=adds(deep=lambda: nn.Conv2d(6, 6, 3, padding="same", groups=6), point=lambda: nn.Conv2d(6, 6, 1)))
def depthwise_then_pointwise(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).flatten(0, 1)
    return m.fc(m.lif2(m.point(m.deep(s)).unflatten(0, (T, -1)) * 2).flatten(2)).mean(0)


@case(init=adds(up=lambda: nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1)))
def transposed_convolution(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))[:, :, ::2, ::2])).flatten(0, 1)
    return m.fc(m.lif2(m.up(s).view(T, -1, 6, 8, 8) * 2).flatten(2)).mean(0)


@case()
def functional_transposed_convolution(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.conv_transpose2d(m.bn(m.conv(x)), m.conv6.weight, stride=1, padding=1)
    return static(m, y)


@case()
def summed_over_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y + 0.2 * y.sum(1, keepdim=True))


@case()
def mean_over_space_added(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y - y.mean(dim=(2, 3), keepdim=True))


@case(exact=False)
def folded_patches(m: Net, x: torch.Tensor) -> torch.Tensor:
    patches = F.unfold(x, 3, padding=1)
    y = m.conv.weight.flatten(1) @ patches
    return static(m, y.view(-1, 6, 8, 8) + 0.1)


@case(exact=False)
def running_sum_of_channels(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x).cumsum(1))


# -- pools -------------------------------------------------------------------------------------------------------------


@case()
def average_pool_of_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).flatten(0, 1)
    return m.head(F.avg_pool2d(s, 2).mean((2, 3))).view(T, -1, 5).mean(0)


@case(init=adds(pool=lambda: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)))
def average_pool_that_leaves_the_pad_out(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.pool(m.conv(x)) + 0.1)


@case(init=adds(pool=lambda: nn.AdaptiveAvgPool2d(1)))
def adaptive_pool_to_one(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x)))).flatten(0, 1)
    return m.head(m.pool(s).squeeze(-1).squeeze(-1)).view(T, -1, 5).mean(0)


@case()
def mean_over_space(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.head(m.lif(times(m.bn(m.conv(x)))).mean(dim=[-2, -1])).mean(0)


@case()
def max_pool_of_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = F.max_pool2d(m.lif(times(m.conv(x))).flatten(0, 1), 2)
    y = F.interpolate(s, scale_factor=2, mode="nearest")
    return m.fc(y.view(T, -1, 384)).mean(0)


@neurocompile.host
class OnHost(nn.Module):
    """A pool that a host computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


@case(exact=False)
def max_pool_of_currents(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.max_pool2d(m.conv(x), 3, stride=1, padding=1)
    return static(m, y - 0.2)


@case(init=adds(pool=lambda: OnHost()))
def max_pool_of_currents_on_a_host(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.pool(m.conv(x)) - 0.2)


@case(exact=False)
def max_pool_of_currents_before_a_level(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.head((F.max_pool2d(m.conv(x), 2) > 0.2).to(x.dtype).mean((2, 3)))


@case()
def max_pool_behind_a_level(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The same numbers."""
    return m.head(F.max_pool2d((m.conv(x) > 0.2).to(x.dtype), 2).mean((2, 3)))


@case()
def upsampled_currents(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.interpolate(F.avg_pool2d(m.conv(x), 2), size=(8, 8))
    return static(m, y + 0.1)


@case(exact=False)
def upsampled_between_pixels(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = F.interpolate(F.avg_pool2d(m.conv(x), 2), scale_factor=2, mode="bilinear", align_corners=False)
    return static(m, y + 0.1)


# -- spikes among themselves -------------------------------------------------------------------------------------------


@case()
def spikes_beside_the_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    y = torch.cat([s[:, :, :4], times(x)], 2)
    return vote_of_two(m, y)


def vote_of_two(m: Net, y: torch.Tensor) -> torch.Tensor:
    return m.fc(m.lif2(m.conv6(y.flatten(0, 1)).unflatten(0, (T, -1))).flatten(2)).mean(0)


@case()
def spikes_added_to_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    r = m.lif2(m.conv6(s.flatten(0, 1)).unflatten(0, (T, -1)) * 2)
    return m.fc((s + r).flatten(2)).mean(0)


@case()
def spikes_added_to_the_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    current = times(m.bn(m.conv(x)))
    s = m.lif(current)
    return m.fc(m.lif2(0.5 * current + m.conv6(s.flatten(0, 1)).view_as(current)).flatten(2)).mean(0)


@case()
def every_earlier_layer_is_joined(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for _ in range(T):
        s = m.one(m.bn(m.conv(x)))
        r = m.two(m.conv6(s))
        out = out + m.fc((s + r * 0.5).flatten(1))
    return out / T


@case(exact=False)
def spikes_and_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, r = m.lif(times(m.bn(m.conv(x)))), m.lif2(times(m.bn(m.conv(x.flip(1)))))
    return m.fc((s * r).flatten(2)).mean(0)


@case(exact=False)
def spikes_and_not_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, r = m.lif(times(m.bn(m.conv(x)))), m.lif2(times(m.bn(m.conv(x.flip(1)))))
    return m.fc((s * (1.0 - r)).flatten(2)).mean(0)


@case(exact=False)
def spikes_or_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, r = m.lif(times(m.bn(m.conv(x)))), m.lif2(times(m.bn(m.conv(x.flip(1)))))
    return m.fc((s.bool() | r.bool()).to(x.dtype).flatten(2)).mean(0)


@case(exact=False)
def either_spikes_but_not_both(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, r = m.lif(times(m.bn(m.conv(x)))), m.lif2(times(m.bn(m.conv(x.flip(1)))))
    return m.fc(torch.logical_xor(s, r).to(x.dtype).flatten(2)).mean(0)


@case(exact=False)
def spikes_to_the_power_of_two(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return m.fc((s**2).flatten(2)).mean(0)


@case()
def one_minus_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return m.fc((1 - s).flatten(2)).mean(0)


@case(exact=False)
def channels_gated_by_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    gate = m.lif2(m.conv6(s.flatten(0, 1)).view_as(s).mean((3, 4), keepdim=True) * 3)
    return m.fc((s * gate).flatten(2)).mean(0)


@case(exact=False)
def currents_multiplied(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)) * (m.conv(x) + 0.5))


@case(exact=False)
def current_chosen_by_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    current = times(m.bn(m.conv(x)))
    return m.fc(m.lif2(torch.where(m.lif(current) > 0, current, -current)).flatten(2)).mean(0)


@case()
def spikes_compared_with_a_half(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    return m.fc((s > 0.5).to(x).flatten(2)).mean(0)


# -- comparisons, and layers that do nothing ---------------------------------------------------------------------------


@case()
def input_compared_with_a_level(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.head(m.lif(times(m.conv((x > 0.3).to(x)))).mean((3, 4))).mean(0)


@case()
def current_compared_with_a_level(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc((m.bn(m.conv(x)) >= 0.1).to(x.dtype).flatten(1))


class Level(nn.Module):
    """1 where a current is larger than a level, and no state."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0.1).to(x.dtype)


@case(init=adds(level=Level))
def level_in_a_module(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(m.level(m.conv(x)).flatten(1))


@case(exact="refused")
def one_step_of_a_neuron_for_all(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What a module keeps says that there are more steps than the one that forward computes."""
    return m.fc(m.one(m.conv(x)).flatten(1))


@case()
def heaviside_of_a_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(torch.heaviside(m.bn(m.conv(x)) - 0.1, x.new_ones(())).flatten(1))


@case()
def sign_of_a_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc((torch.sign(m.bn(m.conv(x)) - 0.1) + 1).flatten(1) / 2)


@case()
def where_of_a_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(torch.where(m.bn(m.conv(x)) > 0.3, 1.0, 0.0).to(x.dtype).flatten(1))


@case()
def levels_of_two_layers(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = (m.conv(x) > 0.2).to(x.dtype)
    return m.fc((m.conv6(s) > 0.1).to(x.dtype).flatten(1))


@case()
def level_beside_a_neuron(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return m.fc((y > 0.2).to(x.dtype).flatten(1)) + static(m, y)


@case(timesteps=2)
def two_steps_by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The first comparison stands alone until the second goes on from it."""
    y = m.conv(x)
    first = (y >= 0.2).to(x.dtype)
    second = (0.5 * y * (1 - first) + y >= 0.2).to(x.dtype)
    return m.fc(first.flatten(1)) + m.fc(second.flatten(1))


@case()
def ones_where_the_current_is_large(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    return static(m, m.conv6(torch.where(y > 0.2, torch.ones_like(y), torch.zeros_like(y))))


@case(exact=False)
def current_within_two_levels(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return m.fc(((y > -0.1) & (y < 0.3)).to(x.dtype).flatten(1))


@case(exact=False)
def negative_currents_cut_off(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.relu(m.bn(m.conv(x))))


@case(exact=False)
def currents_clamped(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)).clamp(-0.2, 0.4))


DROPS = {"drop": nn.Dropout, "drop2": lambda: nn.Dropout2d(0.2), "steps": lambda: layer.Dropout(0.3, step_mode="m")}


@case(init=adds(**DROPS))
def dropout_that_does_nothing(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.steps(m.lif(times(m.drop2(m.bn(m.conv(x))))))
    return m.fc(m.drop(F.dropout(s.flatten(2), 0.4, training=m.training))).mean(0)


@case()
def branch_of_the_mode(m: Net, x: torch.Tensor) -> torch.Tensor:
    if m.training:
        x = x + torch.randn_like(x)
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case()
def checks_of_shapes(m: Net, x: torch.Tensor) -> torch.Tensor:
    assert x.dim() == 4, x.shape
    if x.shape[1] != 2 or x.shape[-1] % 2:
        raise ValueError(f"2 channels and an even width, not {tuple(x.shape)}")
    return static(m, m.bn(m.conv(x)))


@case()
def several_layers_in_a_sequential(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, nn.Sequential(m.conv, m.bn, m.conv6)(x))


@case(exact=False, init=adds(norm=lambda: nn.GroupNorm(2, 6)))
def group_norm(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.norm(m.conv(x)))


@case(exact=False)
def softmax_of_the_output(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x)).softmax(-1)


@case()
def squashed_behind_a_layer_of_a_sum(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A function of what all steps give together, behind a layer."""
    total: torch.Tensor | float = 0.0
    for _ in range(T):
        total = total + m.one(m.conv(x))
    return torch.tanh(m.fc(torch.as_tensor(total).flatten(1) / T))


@case()
def channels_as_places_of_a_pool(m: Net, x: torch.Tensor) -> torch.Tensor:
    """[T, N, C, H, W] given to a pool over three axes, of which the channels are left as they are."""
    s = m.lif(times(m.conv(x)))
    pooled = F.adaptive_avg_pool3d(s, (None, 1, 1)) + F.avg_pool3d(s, (1, 8, 8))
    return m.head(pooled.view(T, -1, 6)).mean(0)


# -- chosen by value, drawn at random ----------------------------------------------------------------------------------


@case()
def gathered_by_value(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x)).flatten(2)
    index = (y.abs() * 20).long().clamp(max=63)
    return static(m, y.gather(2, index).view(-1, 6, 8, 8))


@case()
def noise_added(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) + 0.1 * torch.randn(x.shape[0], 6, 8, 8, dtype=x.dtype))


@case()
def noisy_membrane(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x) + 0.05 * torch.randn_like(v)
        s = (v >= 0.3).to(x.dtype)
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def poisson_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for _ in range(T):
        out = out + step(m, (torch.rand_like(x) < x).to(x.dtype))
    return out / T
