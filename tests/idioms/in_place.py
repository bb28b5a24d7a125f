"""Tensors that change in place, that have two names, and that are seen through views."""

from __future__ import annotations

import torch

from tests.idioms.cases import Net, case, static, times, vote


@case()
def subtracted_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.sub_(-0.2)
    return static(m, y)


@case()
def scaled_and_divided_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.mul_(3.0).div_(1.5)
    return static(m, y)


@case()
def negated_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    before = y - 0.1
    y.neg_()
    return static(m, y + 3 * before)


@case()
def added_with_alpha_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.add_(m.conv(x * 0.5), alpha=0.5)
    return static(m, y)


@case()
def two_channels_zeroed(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, :2].zero_()
    return static(m, y)


@case()
def one_channel_filled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, 0].fill_(0.35)
    return static(m, y)


@case()
def one_pixel_set(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, :, 3, 4] = 0.6
    return static(m, y)


@case()
def copied_into_a_buffer(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    buffer = torch.empty_like(y)
    buffer.copy_(y)
    y.add_(5.0)
    return static(m, buffer + 0.1)


@case()
def some_channels_raised(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y[:, 1:4] += 0.4
    return static(m, y)


@case()
def every_other_row_scaled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x) + 0.2
    y[:, :, ::2] *= 0.5
    return static(m, y)


@case()
def last_columns_lowered(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x) + 0.3
    y[..., -3:] -= 0.25
    return static(m, y)


@case()
def sum_into_an_out_argument(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    total = torch.zeros_like(y)
    torch.add(y, 0.3, out=total)
    return static(m, total)


@case()
def product_into_itself(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    z = y
    torch.mul(y, 2.0, out=y)
    return static(m, z)


@case()
def out_argument_that_is_a_view(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    torch.add(y[:, :3], y[:, 3:], out=y[:, :3])
    return static(m, y)


@case()
def squeezed_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x)).unsqueeze(0)
    y.squeeze_(0)
    return static(m, y)


@case()
def transposed_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.transpose_(2, 3)
    return static(m, y)


@case()
def matrix_transposed_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.fc(m.conv(x).flatten(1)) + 0.1
    y.t_()
    return m.mix(m.lif(times(y.t()))).mean(0)


@case()
def first_chunk_added_to(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    a, b = y.chunk(2, 1)
    a += b
    return static(m, y)


@case()
def second_part_of_a_split_negated(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    parts = y.split([2, 4], 1)
    parts[1].mul_(-1)
    return static(m, y)


@case()
def selected_channel_added_to(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.select(1, 3).add_(y.select(1, 0))
    return static(m, y)


@case()
def narrowed_rows_lowered(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.narrow(2, 0, 4).sub_(0.2)
    return static(m, y)


@case()
def bias_through_a_permuted_view(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.permute(0, 2, 3, 1).add_(torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.0]))
    return static(m, y)


@case()
def group_scaled_through_unflatten(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    groups = y.unflatten(1, (2, 3))
    groups[:, 0] *= 0.5
    return static(m, y)


@case()
def diagonal_filled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.diagonal(dim1=2, dim2=3).fill_(0.5)
    return static(m, y)


@case()
def channels_set_by_a_list_of_indices(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, torch.tensor([0, 3])] = 0.45
    return static(m, y)


@case()
def checkerboard_filled(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 0
    y.masked_fill_(board, -0.5)
    return static(m, y)


@case()
def pixels_set_by_a_mask(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, :, torch.eye(8, dtype=torch.bool)] = 0.5
    return static(m, y)


@case()
def halves_swapped_by_writing(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y[:, :3], y[:, 3:] = y[:, 3:].clone(), y[:, :3].clone()
    return static(m, y)


@case()
def half_overwritten_by_the_other(m: Net, x: torch.Tensor) -> torch.Tensor:
    """No clone: the second write reads what the first has written."""
    y = m.bn(m.conv(x))
    y[:, :3] = y[:, 3:]
    y[:, 3:] = y[:, :3] * 0.5
    return static(m, y)


@case()
def two_names_swapped(m: Net, x: torch.Tensor) -> torch.Tensor:
    a, b = m.conv(x), m.conv6(x.repeat(1, 3, 1, 1))
    a, b = b, a
    a += 0.2
    b *= 0.5
    return static(m, a - b)


@case()
def held_in_a_dict(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    features = {"low": y}
    y *= 2
    return static(m, features["low"] + 0.1)


@case()
def held_by_the_module(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    m.features = y
    y += 0.3
    return static(m, m.features)


@case()
def item_of_a_list_changed(m: Net, x: torch.Tensor) -> torch.Tensor:
    kept = [m.conv(x), m.conv(x) * 0.5]
    alias = kept[1]
    kept[1] += 0.4
    return static(m, alias + kept[0])


@case()
def view_read_after_the_write(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    flat = y.view(y.shape[0], -1)
    y.add_(0.3)
    return m.fc(m.lif(times(flat))).mean(0)


@case()
def view_of_a_view_written(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.flatten(2).transpose(1, 2)[:, 8:24].add_(0.3)
    return static(m, y)


@case()
def a_clone_stays(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    kept = y.clone()
    y.zero_()
    return static(m, kept + y)


@case()
def detached_shares(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.detach().mul_(0.5)
    return static(m, y)


@case(exact=False)
def data_shares(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    y.data.add_(0.1)
    return static(m, y)


@case()
def contiguous_is_the_same(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    z = y.contiguous()
    z += 0.3
    return static(m, y)


@case()
def reshape_that_copies(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    z = y.transpose(2, 3).reshape(y.shape[0], 6, 64)
    z.zero_()
    return static(m, y)


@case()
def cast_to_its_own_type(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    z = y.to(x.dtype)
    z.add_(0.25)
    return static(m, y)


@case()
def a_channel_of_spikes_silenced(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    s[:, :, 0] = 0.0
    return m.fc(s.flatten(2)).mean(0)


@case()
def a_step_of_spikes_dropped(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.bn(m.conv(x))))
    out = m.fc(s.flatten(2))
    out[0] = 0.0
    return out.mean(0)


@case()
def a_step_of_current_raised(m: Net, x: torch.Tensor) -> torch.Tensor:
    current = times(m.conv(x))
    current[1] += 0.5
    return vote(m, current)


@case(exact=False)
def the_input_is_changed(m: Net, x: torch.Tensor) -> torch.Tensor:
    x.mul_(2.0)
    return static(m, m.conv(x))


@case()
def accumulated_in_a_preset_buffer(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = x.new_zeros(x.shape[0], 6, 8, 8)
    out += m.conv(x)
    out[:, 3:] += 0.2
    return static(m, out)


@case(exact=False)
def written_while_expanded(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The bias is a tensor of its own; only its expanded copy is changed."""
    offset = torch.full((6, 1, 1), 0.1, dtype=x.dtype)
    wide = offset.expand(6, 8, 8).clone()
    wide[2:4] += 0.3
    return static(m, m.conv(x) + wide)
