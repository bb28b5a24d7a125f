"""Loops over time, and what becomes of the steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from tests.idioms.cases import Net, T, adds, case, step, times


@case()
def stacked_behind_the_batch(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = []
    for _ in range(T):
        out.append(step(m, x))
    return torch.stack(out, 1).mean(1)


@case()
def catenated_and_viewed(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = [m.fc(m.one(m.conv(x)).flatten(1)) for _ in range(T)]
    return torch.cat(out).view(T, -1, 5).mean(0)


@case()
def running_mean(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for t in range(T):
        out += (step(m, x) - out) / (t + 1)
    return out


@case()
def later_steps_weigh_more(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t in range(T):
        out = out + step(m, x) * (t + 1) / 10
    return out


@case(init=adds(when=lambda: nn.Parameter(torch.rand(T))))
def learned_weights_of_the_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.stack([step(m, x) for _ in range(T)])
    return torch.einsum("t,tnc->nc", m.when.softmax(0), out)


@case()
def only_the_last_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    for _ in range(T):
        y = m.fc(m.one(m.conv(x)).flatten(1))
    return y


@case()
def the_last_two_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = [m.fc(m.one(m.conv(x)).flatten(1)) for _ in range(T)]
    return (out[-1] + out[-2]) / 2


@case(timesteps=6)
def warm_up_is_left_out(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for t in range(6):
        y = step(m, x)
        if t >= 2:
            out += y
    return out / 4


@case()
def first_step_starts_the_sum(m: Net, x: torch.Tensor) -> torch.Tensor:
    for t in range(T):
        y = step(m, x)
        if t == 0:
            total = y
        else:
            total += y
    return total / T


@case()
def current_computed_once(m: Net, x: torch.Tensor) -> torch.Tensor:
    current, out = m.bn(m.conv(x)), 0
    for _ in range(T):
        out = out + m.two(m.fc(m.one(current).flatten(1)))
    return out / T


@case()
def while_loop(m: Net, x: torch.Tensor) -> torch.Tensor:
    t, out = 0, []
    while t < T:
        out.append(step(m, x))
        t += 1
    return sum(out) / len(out)


@case()
def loop_left_by_break(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = []
    for _ in range(100):
        out.append(step(m, x))
        if len(out) == T:
            break
    return torch.stack(out).mean(0)


@case(layout="TN")
def enumerated_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t, frame in enumerate(x):
        y = step(m, frame)
        out = y if t == 0 else out + y
    return out / len(x)


@case(layout="TN")
def zipped_with_gains(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = []
    for frame, gain in zip(x, (1.0, 0.8, 1.2, 0.9)):
        out.append(m.fc(m.one(m.conv(frame) * gain).flatten(1)))
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=3)
def indexed_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = []
    for t in range(x.shape[0]):
        out.append(m.fc(m.one(m.conv(x[t])).flatten(1)))
    return torch.stack(out, dim=0).mean(dim=0)


@case(layout="TN")
def unbound_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    return sum(step(m, frame) for frame in x.unbind(0)) / x.size(0)


@case(layout="NT")
def time_behind_the_batch(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for t in range(x.shape[1]):
        out = out + step(m, x[:, t])
    return out / x.shape[1]


@case(layout="NT")
def transposed_at_the_door(m: Net, x: torch.Tensor) -> torch.Tensor:
    x = x.transpose(0, 1)
    spikes = m.lif(functional.seq_to_ann_forward(x, [m.conv, m.bn]))
    return m.fc(spikes.flatten(2)).mean(0)


@case()
def written_into_columns(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], T, 5, dtype=x.dtype)
    for t in range(T):
        out[:, t] = m.fc(m.one(m.conv(x)).flatten(1))
    return out.mean(1)


@case()
def written_along_the_last_axis(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(x.shape[0], 5, T, dtype=x.dtype)
    for t in range(T):
        out[..., t] = step(m, x)
    return out.sum(-1)


@case()
def comprehension(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


class Stage(nn.Module):
    """A list of steps in, a list of steps out."""

    def __init__(self, layer: nn.Module, threshold: float) -> None:
        super().__init__()
        self.layer, self.fires = layer, neuron.LIFNode(v_threshold=threshold)

    def forward(self, steps: list[torch.Tensor]) -> list[torch.Tensor]:
        out = []
        for x in steps:
            out.append(self.fires(self.layer(x)))
        return out


@case(init=lambda m: (setattr(m, "a", Stage(m.conv, 0.2)), setattr(m, "b", Stage(m.conv6, 0.1))))
def stages_with_loops_of_their_own(m: Net, x: torch.Tensor) -> torch.Tensor:
    steps = m.b(m.a([x] * T))
    return torch.stack([m.fc(s.flatten(1)) for s in steps]).mean(0)


@case()
def second_loop_reads_the_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    hidden = []
    for _ in range(T):
        hidden.append(m.one(m.conv(x)))
    out = []
    for h in hidden:
        out.append(m.two(m.fc(h.flatten(1))))
    return torch.stack(out).mean(0)


@case()
def second_loop_averages_pairs(m: Net, x: torch.Tensor) -> torch.Tensor:
    hidden = [m.fc(m.one(m.conv(x)).flatten(1)) for _ in range(T)]
    total = 0
    for early, late in itertools.pairwise(hidden):
        total = total + (early + late) * 0.5
    return total / (T - 1)


@case()
def states_in_a_dict(m: Net, x: torch.Tensor) -> torch.Tensor:
    v = {"hidden": 0.0, "out": 0.0}
    total = 0.0
    for _ in range(T):
        v["hidden"] = 0.6 * v["hidden"] + m.conv(x)
        s = (v["hidden"] > 0.25).to(x.dtype)
        v["hidden"] = v["hidden"] - 0.25 * s
        v["out"] = 0.8 * v["out"] + m.fc(s.flatten(1))
        total = total + v["out"]
    return total / T


@case(exact=False)
def fired_at_any_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(T)]).amax(0)


@case(exact=False)
def spikes_or_over_time_in_the_loop(m: Net, x: torch.Tensor) -> torch.Tensor:
    ever = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    for _ in range(T):
        ever = torch.maximum(ever, m.one(m.conv(x)))
    return m.fc(ever.flatten(1))


@case(layout="TN", averaged=0)
def a_sequence_given_back(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, frame) for frame in x])


@case(exact=False, averaged=0)
def a_sequence_made_from_one_image(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(T)])


@case()
def folded_into_the_batch(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x.repeat(T, 1, 1, 1)))
    s = m.lif(y.view(T, -1, *y.shape[1:]))
    y = m.conv6(s.flatten(0, 1))
    s = m.lif2(y.unflatten(0, (T, -1)))
    return m.fc(s.flatten(0, 1).flatten(1)).view(T, -1, 5).mean(0)


@case()
def repeated_beside_each_other(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Each sample's steps are neighbours in the folded batch."""
    y = m.conv(x.repeat_interleave(T, 0))
    y = y.view(-1, T, *y.shape[1:]).transpose(0, 1)
    return m.fc(m.lif(y).flatten(2)).mean(0)


@case(layout="fold")
def folded_by_the_caller(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.conv(x))
    s = m.lif(y.view(T, -1, *y.shape[1:]))
    return m.fc(s.flatten(2)).mean(0)


@case(layout="loop")
def one_step_a_call(m: Net, x: torch.Tensor) -> torch.Tensor:
    return step(m, x)


@case()
def recurrent_none_at_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, out = None, []
    for _ in range(T):
        current = m.fc(m.conv(x).flatten(1)) + 0.1
        if s is not None:
            current = current + m.mix(s)
        s = m.two(current)
        out.append(s)
    return torch.stack(out).mean(0)


@case()
def recurrent_zeros_at_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        s = m.one(m.conv(x) + 0.5 * m.conv6(s))
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def recurrent_by_catenation(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, out = x.new_zeros(x.shape[0], 5), 0
    for _ in range(T):
        current = m.fc(m.conv(x).flatten(1)) + 0.1
        s = m.two(nn.functional.linear(torch.cat([current, s], 1), torch.eye(5).repeat(1, 2).to(x)))
        out = out + s
    return out / T


@case()
def output_fed_back(m: Net, x: torch.Tensor) -> torch.Tensor:
    fed, out = torch.zeros(x.shape[0], 5, dtype=x.dtype), 0
    for _ in range(T):
        hidden = m.one(m.conv(x) - 0.2 * (fed @ m.head.weight)[:, :, None, None])
        fed = m.two(m.fc(hidden.flatten(1)))
        out = out + fed
    return out / T


@case(timesteps=1)
def a_single_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(m.one(m.conv(x) * 2).flatten(1))


@case(timesteps=6)
def six_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(6)]).mean(0)


@case(timesteps=2)
def unrolled_by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x) * 1.5
    first = m.fc(m.one(y).flatten(1))
    second = m.fc(m.one(y).flatten(1))
    return 0.25 * first + 0.75 * second


def frames(x: torch.Tensor) -> Iterator[torch.Tensor]:
    for _ in range(T):
        yield x


@case()
def generator_of_frames(m: Net, x: torch.Tensor) -> torch.Tensor:
    return sum(step(m, frame) for frame in frames(x)) / T


@case()
def low_pass_of_the_output(m: Net, x: torch.Tensor) -> torch.Tensor:
    trace = 0.0
    for _ in range(T):
        trace = 0.7 * trace + 0.3 * step(m, x)
    return trace


@case()
def heads_after_every_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    early, late = 0, 0
    for _ in range(T):
        s = m.one(m.conv(x))
        early = early + m.head(s.mean((2, 3)))
        late = late + m.two(m.fc(s.flatten(1)))
    return torch.cat([early, late], 1) / T


@case(exact=False, layout="TN")
def time_runs_backwards(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = [step(m, x[t]) for t in reversed(range(len(x)))]
    return torch.stack(out).mean(0)


@case(exact=False, layout="TN")
def frames_minus_the_ones_before(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = [step(m, x[0])]
    for t in range(1, len(x)):
        out.append(step(m, x[t] - 0.5 * x[t - 1]))
    return torch.stack(out).mean(0)


@case(exact=False)
def called_twice_a_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for _ in range(T):
        m.one(m.conv(x))
        out = out + m.fc(m.one(m.conv(x)).flatten(1))
    return out / T


@case(exact=False)
def every_other_step_updates_the_head(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t in range(T):
        y = m.fc(m.one(m.conv(x)).flatten(1))
        if t % 2 == 1:
            out = out + m.two(y)
    return out


@case()
def multi_step_neuron_cut_in_slices(m: Net, x: torch.Tensor) -> torch.Tensor:
    """All steps at once, and then the steps one by one again."""
    spikes = m.lif(times(m.bn(m.conv(x))))
    out = 0
    for t in range(T):
        out = out + m.two(m.fc(spikes[t].flatten(1)))
    return out / T


@case()
def only_the_last_slice(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(m.lif(times(m.bn(m.conv(x))))[-1].flatten(1))


@case(init=adds(blocks=lambda: nn.ModuleList(neuron.LIFNode(v_threshold=0.1) for _ in range(3))))
def layers_inside_of_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for _ in range(T):
        h = m.conv(x)
        for fires in m.blocks:
            h = fires(m.conv6(h))
        out = out + m.head(h.mean((2, 3)))
    return out / T


@case(init=adds(p=lambda: nn.Linear(5, 5), q=lambda: nn.Linear(5, 5), r=lambda: nn.Linear(5, 5)))
def ring_of_three_layers(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The first hears the third a step later, and only the first is read."""
    h = m.fc(m.conv(x).flatten(1))
    v = w = u = last = torch.zeros_like(h)
    out = 0
    for _ in range(T):
        v = 0.5 * v + h + m.p(last)
        first = (v >= 0.3).to(x.dtype)
        v = v - 0.3 * first
        w = 0.5 * w + m.q(first)
        second = (w >= 0.2).to(x.dtype)
        w = w - 0.2 * second
        u = 0.5 * u + m.r(second)
        last = (u >= 0.2).to(x.dtype)
        u = u - 0.2 * last
        out = out + m.two(first)
    return out / T
