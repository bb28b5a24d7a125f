"""What no program can stand for: values that steer Python, samples that see each other, chance, memory."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.idioms.cases import Net, T, adds, case, static, step

# -- values that steer Python ------------------------------------------------------------------------------------------


@case(exact="refused")
def branch_on_a_sum(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    if y.sum() > 0:
        y = y * 0.5
    return static(m, y)


@case(exact="refused")
def branch_on_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for _ in range(T):
        s = m.one(m.conv(x))
        if s.any():
            out = out + m.fc(s.flatten(1))
    return out / T


@case(exact="refused")
def loop_until_enough(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for _ in range(T):
        out = out + step(m, x)
        if out.max() >= 2:
            break
    return out


@case(exact="refused")
def scaled_by_an_item(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y / y.abs().max().item())


@case(exact="refused")
def threshold_from_the_activations(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    m.lif.v_threshold = float(y.mean()) + 0.1
    return static(m, y)


@case(exact="refused")
def through_numpy(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = np.maximum(m.conv(x).detach().cpu().numpy(), -0.1)
    return static(m, torch.from_numpy(y).to(x.dtype))


@case(exact="refused")
def through_a_list(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = torch.tensor(m.conv(x).tolist(), dtype=x.dtype)
    return static(m, y + 0.1)


@case(exact="refused")
def python_reads_a_pixel(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    shift = int(y[0, 0, 0, 0] * 10)
    return static(m, torch.roll(y, shift, 3))


@case(exact="refused")
def formatted_and_parsed(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y - float(f"{y.max():.3f}") + 0.9)


# -- samples that see each other ---------------------------------------------------------------------------------------


@case(exact="refused")
def mean_of_the_batch_taken_off(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x - x.mean(0)) + 0.2)


@case(exact="refused")
def batch_norm_by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
    return static(m, (y - mean) / torch.sqrt(var + 1e-5))


@case(exact="refused", init=adds(bn=lambda: nn.BatchNorm2d(6, track_running_stats=False)))
def batch_norm_without_statistics(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.bn(m.conv(x)))


@case(exact="refused")
def batch_norm_told_to_train(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, F.batch_norm(m.conv(x), None, None, training=True))


@case(exact="refused")
def scaled_by_the_largest_of_all(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y / y.abs().max())


@case(exact="refused")
def first_sample_added_to_all(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return static(m, y + y[:1])


@case(exact="refused")
def batch_in_another_order(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) + m.conv(x).flip(0))


@case(exact="refused")
def softmax_over_the_batch(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x)).softmax(0)


@case(exact="refused")
def divided_by_the_batch_size(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x)) / x.shape[0]


@case(exact="refused")
def mean_over_time_and_batch(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The mean over both is taken off."""
    out = torch.stack([step(m, x) for _ in range(T)])
    return out.mean(0) - out.mean((0, 1))


# -- order and place by value ------------------------------------------------------------------------------------------


@case(exact="refused")
def sorted_by_value(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x).flatten(2).sort(-1).values
    return static(m, y.view(-1, 6, 8, 8))


@case(exact="refused")
def only_the_largest_fire(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    level = y.flatten(1).topk(40, dim=1).values[:, -1]
    return m.fc((y >= level[:, None, None, None]).to(x.dtype).flatten(1))


@case(exact="refused")
def channel_chosen_by_value(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    best = y.mean((2, 3)).argmax(1)
    return static(m, y + y[torch.arange(len(y)), best][:, None])


@case(exact="refused")
def written_where_it_is_negative(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    places = torch.nonzero(y < 0)
    y[tuple(places.t())] = places.shape[0] / y.numel()
    return static(m, y)


# -- chance ------------------------------------------------------------------------------------------------------------


@case(exact="refused")
def dropout_that_never_stops(m: Net, x: torch.Tensor) -> torch.Tensor:
    """F.dropout trains unless it is told not to."""
    return static(m, F.dropout(m.bn(m.conv(x)), 0.3))


@case(exact="refused")
def dice_of_python(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x) * random.uniform(0.5, 1.5))


# -- state beyond a call -----------------------------------------------------------------------------------------------


@case(exact="refused", init=lambda m: setattr(m, "calls", 0))
def counts_its_calls(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.calls += 1
    return static(m, m.conv(x) * (1 + 0.25 * m.calls))


@case(exact="refused", init=lambda m: m.register_buffer("average", torch.zeros(6)))
def moving_average_of_its_inputs(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    m.average.mul_(0.9).add_(0.1 * y.mean((0, 2, 3)))
    return static(m, y - m.average.view(6, 1, 1))
