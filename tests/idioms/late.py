"""Neurons that hear nothing, or numbers alone, in their first steps; steps that are written apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from spikingjelly.activation_based import neuron
from torch import nn

from tests.idioms.cases import Net, T, adds, case, step

Between = Callable[[Net, int, torch.Tensor], torch.Tensor]


def _unbiased(m: Net, layer: int, x: torch.Tensor) -> torch.Tensor:
    """What a layer hears of spikes, and nothing else."""
    return nn.functional.conv2d(x, (m.conv6 if layer else m.conv).weight, None, 1, 1)


def _biased(m: Net, layer: int, x: torch.Tensor) -> torch.Tensor:
    return m.conv6(x) if layer else m.conv(x)


def _raised(m: Net, layer: int, x: torch.Tensor) -> torch.Tensor:
    return _unbiased(m, layer, x) * 1.5 + 0.02


def _normed(m: Net, layer: int, x: torch.Tensor) -> torch.Tensor:
    return m.bn(_biased(m, layer, x)) * 0.5


def _read_before_they_hear(m: Net, x: torch.Tensor, steps: int, layers: int, between: Between, leak: float = 0.8,
                           to_zero: bool = False) -> torch.Tensor:  # fmt: skip
    """Every layer fires what was there before, so that each hears its first spikes a step later than the one before."""
    batch, timed = x.shape[-4], x.dim() == 5
    membranes = [torch.zeros(batch, 6, 8, 8, dtype=x.dtype) for _ in range(layers)]
    last = torch.zeros(batch, 5, dtype=x.dtype)
    for t in range(steps):
        passed = x[t] if timed else x
        for layer, membrane in enumerate(membranes):
            spikes = (membrane > 0.3).to(x.dtype)
            current = between(m, layer, passed)
            if to_zero:
                membrane.mul_(leak).mul_(1 - spikes).add_(current)
            else:
                membrane.mul_(leak).add_(current).sub_(spikes * 0.3)
            passed = spikes
        last = last + m.fc(passed.flatten(1))
    return last


@case(timesteps=T + 2)
def membranes_read_before_they_hear(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, T + 2, 2, _unbiased)


@case(timesteps=2, exact=False)
def read_before_it_hears_two_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 2, 1, _unbiased)


@case(timesteps=3)
def read_before_it_hears_three_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 3, 1, _unbiased)


@case(timesteps=3, exact=False)
def read_before_they_hear_three_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 3, 2, _unbiased)


@case(timesteps=8)
def three_layers_read_before_they_hear(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 3, _unbiased)


@case(timesteps=8, layout="TN")
def read_before_they_hear_frames(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 2, _unbiased)


@case(timesteps=8)
def read_before_they_hear_and_set_to_zero(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 2, _unbiased, to_zero=True)


@case(timesteps=8)
def read_before_they_hear_without_a_leak(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 3, _unbiased, leak=1.0)


@case(timesteps=8)
def read_before_they_hear_a_number(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The first steps hear a number alone, which does not make a neuron fire."""
    return _read_before_they_hear(m, x, 8, 3, _raised)


@case(timesteps=8, layout="TN")
def read_before_they_hear_a_number_and_frames(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 3, _raised)


@case(timesteps=8)
def read_before_they_hear_a_bias(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 3, _biased)


@case(timesteps=8)
def read_before_they_hear_a_norm(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 8, 3, _normed)


@case(timesteps=3)
def read_before_it_hears_a_norm_three_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _read_before_they_hear(m, x, 3, 1, _normed)


@case(timesteps=8, exact=False)
def fires_before_it_hears(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Numbers alone make the second layer fire."""
    return _read_before_they_hear(m, x, 8, 2, lambda m, layer, x: _unbiased(m, layer, x) + 0.35)


def _pipeline(m: Net, x: torch.Tensor, steps: int, start: torch.Tensor | None) -> torch.Tensor:
    """Each layer hears what the one before fired a step ago."""
    frames = [x[t] if x.dim() == 5 else x for t in range(steps)]
    nothing = torch.zeros(len(frames[0]), 6, 8, 8, dtype=x.dtype)
    first, out = nothing if start is None else start, 0
    second = nothing
    for frame in frames:
        out = out + m.fc(m.three(m.conv6(second) * 0.5).flatten(1))
        second = m.two(nn.functional.conv2d(first, m.conv6.weight, None, 1, 1))
        first = m.one(m.conv(frame))
    return out / steps


third = adds(three=lambda: neuron.LIFNode(v_threshold=0.3))


@case(init=third, timesteps=8)
def a_pipeline_of_layers(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _pipeline(m, x, 8, None)


@case(init=third, timesteps=8, layout="TN")
def a_pipeline_of_frames(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _pipeline(m, x, 8, None)


@case(init=third, timesteps=3, exact=False)
def a_pipeline_of_three_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _pipeline(m, x, 3, None)


def _joins(m: Net, x: torch.Tensor, steps: int, late: int, norm: bool = False) -> torch.Tensor:
    out = 0
    for t in range(steps):
        s = m.one(m.bn(m.conv(x)) if norm else m.conv(x))
        if t >= late:
            out = out + m.two(m.fc(s.flatten(1)))
    return out / steps


@case()
def second_layer_joins_late(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _joins(m, x, T, 1)


@case(exact=False, timesteps=2)
def second_layer_joins_at_the_last_of_two(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _joins(m, x, 2, 1)


@case(timesteps=3)
def second_layer_joins_late_three_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _joins(m, x, 3, 1)


@case(timesteps=8)
def second_layer_joins_two_steps_late(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _joins(m, x, 8, 2)


@case(timesteps=8)
def second_layer_joins_late_behind_a_norm(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _joins(m, x, 8, 3, norm=True)


@case(timesteps=8, init=third)
def each_layer_joins_a_step_later(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t in range(8):
        s = m.one(m.conv(x))
        if t >= 1:
            s = m.three(m.conv6(s))
            if t >= 2:
                out = out + m.two(m.fc(s.flatten(1)))
    return out / 6


def _first_apart(m: Net, x: torch.Tensor, steps: int, fires: bool) -> torch.Tensor:
    """The first step is written by itself: it starts from the current, and fires at once or not at all."""
    v, out = m.conv(x), 0
    s = (v > 0.3).to(x.dtype) if fires else torch.zeros_like(v)
    for t in range(steps):
        if t:
            v = 0.8 * (v - 0.3 * s) + m.conv(x)
            s = (v >= 0.3).to(x.dtype) if not fires else (v > 0.3).to(x.dtype)
        out = out + m.two(m.fc(s.flatten(1)))
    return out / steps


@case()
def first_step_apart(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _first_apart(m, x, T, True)


@case(timesteps=2)
def first_step_apart_of_two(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _first_apart(m, x, 2, True)


@case(timesteps=8)
def first_step_apart_of_eight(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _first_apart(m, x, 8, True)


@case(timesteps=8, exact=False)
def first_step_apart_never_fires(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _first_apart(m, x, 8, False)


@case(exact=False)
def first_step_apart_never_fires_four_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return _first_apart(m, x, T, False)


@case(timesteps=8)
def hears_a_bias_alone_at_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A layer whose first two steps hear nothing of the input, by a gain of 0."""
    out = 0
    for t in range(8):
        out = out + m.fc(m.one(m.conv(x * float(t >= 2)) * 0.5).flatten(1))
    return out / 8


@case(timesteps=8, exact=False)
def fires_of_a_bias_alone_at_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t in range(8):
        out = out + step(m, x * float(t >= 2))
    return out / 8


@case(timesteps=8)
def remembers_nothing_and_hears_nothing_at_times(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for gain in (0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0):
        out = out + m.fc((m.conv(x * gain) * gain > 0.3).to(x.dtype).flatten(1))
    return out / 8


@case(timesteps=8)
def gains_of_nothing_in_the_middle(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for gain in (1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0):
        out = out + step(m, x * gain)
    return out / 8
