"""Membranes: where they start, who holds them, how they leak and are reset, and who reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from tests.idioms.cases import Net, T, adds, case, several, static, step, times, vote

# -- where they start --------------------------------------------------------------------------------------------------


@case()
def starts_at_a_number(m: Net, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(m)
    m.two.v = 0.07
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case()
def starts_at_a_tensor(m: Net, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(m)
    m.one.v = torch.full((x.shape[0], 6, 8, 8), 0.1, dtype=x.dtype)
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case(init=adds(start=lambda: nn.Parameter(torch.linspace(0.0, 0.14, 5))))
def starts_apart_by_channel(m: Net, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(m)
    m.two.v = m.start.expand(x.shape[0], 5)
    return torch.stack([m.two(m.fc(m.conv(x).flatten(1))) for _ in range(T)]).mean(0)


@case(exact=False)
def starts_from_the_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    current = m.conv(x)
    functional.reset_net(m)
    m.one.v = 0.5 * current
    return sum(m.fc(m.one(current).flatten(1)) for _ in range(T)) / T


@case()
def reset_at_the_start(m: Net, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(m)
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case()
def reset_at_the_end(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = torch.stack([step(m, x) for _ in range(T)]).mean(0)
    functional.reset_net(m)
    return out


@case()
def each_neuron_reset_by_itself(m: Net, x: torch.Tensor) -> torch.Tensor:
    for module in m.modules():
        if isinstance(module, neuron.BaseNode):
            module.reset()
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


def trained_before(m: Net) -> None:
    """A training step of another batch leaves its membranes behind."""
    m.train()
    step(m, torch.rand(2, 2, 8, 8)).sum().backward()
    m.zero_grad()


@case(init=trained_before)
def membranes_of_an_earlier_call(m: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


# -- who holds them ----------------------------------------------------------------------------------------------------


@case()
def carried_in_a_tuple(m: Net, x: torch.Tensor) -> torch.Tensor:
    def cell(current: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        v, s = state
        v = v * 0.5 * (1 - s) + current
        return v, (v > 0.3).to(current)

    state = (torch.zeros(x.shape[0], 6, 8, 8).to(x), torch.zeros(x.shape[0], 6, 8, 8).to(x))
    total = 0
    for _ in range(T):
        state = cell(m.conv(x), state)
        total = total + m.fc(state[1].flatten(1))
    return total / T


class Membranes(NamedTuple):
    v: torch.Tensor
    i: torch.Tensor


@case()
def carried_in_a_namedtuple(m: Net, x: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    state, total = Membranes(zeros, zeros), 0
    for _ in range(T):
        i = 0.5 * state.i + m.conv(x)
        v = 0.8 * state.v + i
        s = (v >= 0.4).to(x.dtype)
        state = state._replace(v=v - 0.4 * s, i=i)
        total = total + m.fc(s.flatten(1))
    return total / T


@dataclass
class Held:
    v: torch.Tensor
    spikes: torch.Tensor


@case()
def carried_in_a_dataclass(m: Net, x: torch.Tensor) -> torch.Tensor:
    held = Held(x.new_zeros(x.shape[0], 6, 8, 8), x.new_zeros(x.shape[0], 6, 8, 8))
    total = x.new_zeros(x.shape[0], 5)
    for _ in range(T):
        held.v = 0.75 * held.v + 0.5 * m.conv(x)
        held.spikes = (held.v >= 0.15).type_as(x)
        held.v = held.v.masked_fill(held.spikes.bool(), 0.0)
        total += m.fc(held.spikes.flatten(1))
    return total / T


@case()
def an_attribute_that_is_none_at_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.v, out = None, []
    for _ in range(T):
        current = m.conv(x)
        m.v = current if m.v is None else 0.5 * m.v + current
        s = (m.v >= 0.3).to(x.dtype)
        m.v = m.v - 0.3 * s
        out.append(m.fc(s.flatten(1)))
    return torch.stack(out).mean(0)


class Cell(nn.Module):
    """Its state is made at the first step after `clear`."""

    def __init__(self) -> None:
        super().__init__()
        self.v: torch.Tensor | None = None

    def clear(self) -> None:
        self.v = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None or self.v.shape != x.shape:
            self.v = torch.zeros_like(x)
        self.v = self.v + (x - self.v) / 2
        s = (self.v >= 0.2).to(x.dtype)
        self.v = (1 - s) * self.v
        return s


@case(init=adds(cells=lambda: nn.ModuleList([Cell(), Cell()])))
def cells_cleared_by_forward(m: Net, x: torch.Tensor) -> torch.Tensor:
    for cell in m.cells:
        cell.clear()
    out = 0
    for _ in range(T):
        h = m.cells[0](m.conv(x))
        out = out + m.cells[1](m.fc(h.flatten(1)) + 0.2)
    return out / T


@case(init=lambda m: m.register_buffer("membrane", torch.zeros(1)))
def held_by_a_buffer(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.membrane = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    out = 0
    for _ in range(T):
        m.membrane = 0.5 * m.membrane + m.conv(x)
        s = (m.membrane >= 0.3).to(x.dtype)
        m.membrane = m.membrane * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def changed_in_place_in_the_loop(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v.mul_(0.5).add_(m.conv(x))
        s = v.ge(0.3).to(x.dtype)
        v[s.bool()] = 0.0
        out += m.fc(s.flatten(1))
    return out / T


@case()
def all_steps_of_a_membrane_kept(m: Net, x: torch.Tensor) -> torch.Tensor:
    """v[t + 1] is written from v[t]."""
    v = x.new_zeros(T + 1, x.shape[0], 6, 8, 8)
    s = x.new_zeros(T + 1, x.shape[0], 6, 8, 8)
    for t in range(T):
        v[t + 1] = 0.5 * v[t] * (1 - s[t]) + m.conv(x)
        s[t + 1] = (v[t + 1] >= 0.3).to(x.dtype)
    return m.fc(s[1:].flatten(2)).mean(0)


@case()
def all_steps_kept_with_the_batch_first(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, s = (x.new_zeros(x.shape[0], T + 1, 6, 8, 8) for _ in range(2))
    for t in range(1, T + 1):
        v[:, t] = 0.5 * v[:, t - 1] - 0.3 * s[:, t - 1] + m.conv(x)
        s[:, t] = (v[:, t] >= 0.3).to(x.dtype)
    return m.fc(s[:, 1:].flatten(2)).mean(1)


@case()
def all_steps_kept_and_the_last_read(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, s = (x.new_zeros(T + 1, x.shape[0], 6, 8, 8) for _ in range(2))
    for t in range(T):
        v[t + 1] = 0.5 * v[t] * (1 - s[t]) + m.conv(x)
        s[t + 1] = (v[t + 1] >= 0.3).to(x.dtype)
    return m.fc(s[-1].flatten(1))


@case()
def all_steps_kept_and_summed(m: Net, x: torch.Tensor) -> torch.Tensor:
    """With the silent one before the first."""
    v, s = (x.new_zeros(T + 1, x.shape[0], 6, 8, 8) for _ in range(2))
    for t in range(T):
        v[t + 1] = 0.5 * v[t] * (1 - s[t]) + m.conv(x)
        s[t + 1] = (v[t + 1] >= 0.3).to(x.dtype)
    return m.fc(s.sum(0).flatten(1))


@case(layout="TN", averaged=0)
def membranes_of_all_steps_returned(m: Net, x: torch.Tensor) -> torch.Tensor:
    v = x.new_zeros(len(x) + 1, x.shape[1], 5)
    for t in range(len(x)):
        v[t + 1] = 0.9 * v[t] + m.fc(m.one(m.conv(x[t])).flatten(1))
    return v[1:]


@case()
def detached_between_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.9 * v + 0.5 * m.conv(x)
        s = (v.detach() >= 0.25).to(x.dtype)
        v = (v - 0.25 * s).detach()
        out = out + m.fc(s.flatten(1))
    return out


# -- leak and reset ----------------------------------------------------------------------------------------------------


@case()
def reset_by_subtraction(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = v + m.conv(x)
        s = (v >= 0.5).to(x.dtype)
        v = v - s * 0.5
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def reset_below_rest(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x)
        s = v >= 0.3
        v = torch.where(s, torch.tensor(-0.125, dtype=x.dtype), v)
        out = out + m.fc(s.to(x.dtype).flatten(1))
    return out / T


@case()
def leaks_to_a_resting_potential(m: Net, x: torch.Tensor) -> torch.Tensor:
    rest, tau = 0.1, 2.5
    v, out = torch.full((x.shape[0], 6, 8, 8), rest, dtype=x.dtype), 0
    for _ in range(T):
        v = v + (-(v - rest) + m.conv(x)) / tau
        s = (v > 0.2).to(x.dtype)
        v = s * rest + (1 - s) * v
        out = out + m.fc(s.flatten(1))
    return out / T


@case(init=adds(leak=lambda: nn.Parameter(torch.tensor(0.4))))
def leak_through_a_sigmoid(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = torch.sigmoid(m.leak) * v + m.conv(x)
        s = (v >= 0.3).to(x.dtype)
        v = v * (1.0 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(init=adds(leak=lambda: nn.Parameter(torch.linspace(-1, 1, 6).view(6, 1, 1))))
def leak_apart_by_channel(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out, keep = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0, torch.exp(-torch.exp(m.leak))
    for _ in range(T):
        v = keep * v + (1 - keep) * m.conv(x)
        s = (v >= 0.15).to(x.dtype)
        v = v - 0.15 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def synapse_and_membrane(m: Net, x: torch.Tensor) -> torch.Tensor:
    i = v = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    out = 0
    for _ in range(T):
        i = 0.6 * i + m.conv(x)
        v = 0.9 * v + 0.5 * i
        s = (v >= 0.35).to(x.dtype)
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def late_reset_by_subtraction(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, s, out = 0.0, 0.0, 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x) - 0.4 * s
        s = (v > 0.4).to(x.dtype)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def late_reset_to_zero(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, s, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0.0, 0
    for _ in range(T):
        v = 0.8 * v * (1 - s) + m.conv(x)
        s = (v > 0.4).to(x.dtype)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def soft_and_leaky_reset(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What is left after a spike is a quarter of the membrane."""
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x)
        s = (v >= 0.3).to(x.dtype)
        v = v * (1 - 0.75 * s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(init=adds(level=lambda: nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).view(1, 6, 1, 1))))
def threshold_apart_by_channel(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.75 * v + m.conv(x)
        s = (v - m.level >= 0).to(x.dtype)
        v = v - m.level * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def fires_on_a_normalized_membrane(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + 0.5 * m.conv(x)
        s = (v / 0.2 - 1.0 > 0).to(x.dtype)
        v = (1 - s) * v
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def threshold_falls_from_step_to_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for t in range(T):
        v = 0.5 * v + m.conv(x)
        s = (v >= 0.45 - 0.1 * t).to(x.dtype)
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def leak_changes_from_step_to_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for keep in (0.9, 0.7, 0.5, 0.3):
        v = keep * v + m.conv(x)
        s = (v >= 0.4).to(x.dtype)
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def reset_before_the_last_steps(m: Net, x: torch.Tensor) -> torch.Tensor:
    for t in range(T):
        if t == T - 2:
            m.one.reset()
        out = m.fc(m.one(m.conv(x)).flatten(1))
    return out


@case(exact=False)
def state_of_another_neuron_is_taken(m: Net, x: torch.Tensor) -> torch.Tensor:
    for _ in range(T):
        m.one(m.conv(x))
    m.lif.v = m.one.v
    return static(m, m.conv(x))


# -- who reads them ----------------------------------------------------------------------------------------------------


@case()
def membrane_at_the_end(m: Net, x: torch.Tensor) -> torch.Tensor:
    v = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for _ in range(T):
        v = 0.9 * v + m.fc(m.one(m.conv(x)).flatten(1))
    return v


@case()
def membrane_in_the_mean(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, seen = torch.zeros(x.shape[0], 5, dtype=x.dtype), []
    for _ in range(T):
        v = v + (m.fc(m.one(m.conv(x)).flatten(1)) - v) / 2
        seen.append(v)
    return torch.stack(seen).mean(0)


@case(exact=False)
def membrane_at_its_highest(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, seen = torch.zeros(x.shape[0], 5, dtype=x.dtype), []
    for _ in range(T):
        v = 0.9 * v + m.fc(m.one(m.conv(x)).flatten(1))
        seen.append(v)
    return torch.stack(seen).max(0).values


@case(exact=False)
def membrane_of_a_neuron_that_fires(m: Net, x: torch.Tensor) -> torch.Tensor:
    for _ in range(T):
        step(m, x)
    return m.two.v


INTEGRATOR = {"tau": 3.0, "v_threshold": float("inf"), "step_mode": "m", "store_v_seq": True}


@case(init=adds(out=lambda: neuron.LIFNode(**INTEGRATOR)))
def stored_membranes_in_the_mean(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.out(m.fc(m.lif(times(m.conv(x))).flatten(2)))
    return m.out.v_seq.mean(0)


@case(init=lambda m: setattr(m.lif, "store_v_seq", True))
def stored_membranes_that_nobody_reads(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=adds(out=lambda: neuron.NonSpikingLIFNode(tau=2.0, decode="mean-mem")))
def a_node_that_never_fires(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.out(m.fc(m.lif(times(m.conv(x))).flatten(2)))


# -- parameters of the neurons -----------------------------------------------------------------------------------------


def sluggish(m: Net) -> None:
    m.lif.tau, m.lif.v_threshold, m.lif.v_reset = 4.0, 0.1, None


@case(init=sluggish)
def neuron_changed_after_it_was_made(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case()
def threshold_set_before_the_loop(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.one.v_threshold = 0.15
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@case(init=lambda m: setattr(m.lif, "v_threshold", nn.Parameter(torch.tensor(0.25))))
def threshold_of_a_node_is_learned(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: setattr(m.lif, "v_threshold", torch.linspace(0.05, 0.3, 6).view(6, 1, 1)))
def thresholds_of_a_node_by_channel(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: setattr(m, "lif", neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.15, step_mode="m")))
def decay_learned_by_a_node(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=lambda m: setattr(m, "lif", neuron.LIFNode(v_threshold=0.2, v_reset=-0.1, decay_input=False, step_mode="m")))
def undecayed_input_and_negative_reset(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@case(init=several(lambda m: functional.set_step_mode(m, "m"), adds(plus=lambda: nn.Identity())))
def step_mode_set_for_all(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.one(m.plus(times(m.conv(x))))
    return m.two(m.fc(s.flatten(2))).mean(0)


@case()
def step_mode_changed_by_forward(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.one.step_mode = "m"
    out = m.fc(m.one(times(m.conv(x))).flatten(2)).mean(0)
    m.one.step_mode = "s"
    return out


@case(exact=False, init=lambda m: setattr(m, "lif", neuron.QIFNode(v_threshold=0.6, v_c=0.3, step_mode="m")))
def quadratic_neuron(m: Net, x: torch.Tensor) -> torch.Tensor:
    return vote(m, times(m.conv(x) + 0.4))


@case()
def membrane_starts_from_the_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Every sample starts from another membrane, and from a spike that was never fired."""
    v, s, out = m.conv(x) * 0.5, 0.25 * x.mean((1, 2, 3), keepdim=True), 0
    for _ in range(T):
        v = 0.8 * (v - 0.3 * s) + m.conv(x)
        s = (v > 0.3).to(x.dtype)
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def readout_starts_from_the_input(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A membrane that never fires, and what a softmax makes of it at every step."""
    s, y, out = m.lif(times(m.conv(x))), m.fc(m.conv(x).flatten(1)), 0
    for t in range(T):
        y = 0.9 * y + 0.1 * m.fc(s[t].flatten(1))
        out = out + torch.softmax(y, 1)
    return out


class ForgetsByItsOwnName(nn.Module):
    """Its membrane stays between calls, until ``reset_mem``."""

    def __init__(self) -> None:
        super().__init__()
        self.mem = torch.zeros(0)

    def reset_mem(self) -> None:
        self.mem = torch.zeros_like(self.mem)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mem.shape != x.shape:
            self.mem = torch.zeros_like(x)
        self.mem = 0.8 * self.mem + x
        spikes = (self.mem > 0.3).to(x.dtype)
        self.mem = self.mem - 0.3 * spikes
        return spikes


@case(init=adds(cell=ForgetsByItsOwnName), layout="loop")
def cleared_by_reset_mem(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.cell(m.fc(m.conv(x).flatten(1)))


@case(init=adds(norms=lambda: nn.ModuleList([nn.BatchNorm2d(6) for _ in range(T)])))
def a_norm_for_each_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Each step has weights and statistics of its own, by channel."""
    v, out = torch.zeros(len(x), 6, 8, 8, dtype=x.dtype), 0
    for t in range(T):
        norm, channels = m.norms[t], torch.linspace(0.2, 1.0 + t, 6, dtype=x.dtype)
        y = nn.functional.batch_norm(m.conv(x), channels * 0.1, channels, norm.weight, channels.flip(0) * 0.1)
        v = 0.9 * v + y
        s = (v > 0.3).to(x.dtype)
        v = v - 0.3 * s
        out = out + m.fc(s.flatten(1))
    return out / T
