"""Neurons of other libraries and papers, written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.idioms.cases import Net, T, adds, case

# -- state goes in and comes out ---------------------------------------------------------------------------------------


class Leaky(nn.Module):
    """The reset of step t is decided by the membrane before it (delayed) or by the one of t itself."""

    def __init__(self, beta: float, threshold: float, mechanism: str = "subtract", *, delayed: bool = True) -> None:
        super().__init__()
        self.beta, self.threshold, self.mechanism, self.delayed = beta, threshold, mechanism, delayed

    def fire(self, mem: torch.Tensor) -> torch.Tensor:
        return (mem - self.threshold > 0).to(mem.dtype)

    def after(self, mem: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        if self.mechanism == "subtract":
            return mem - by * self.threshold
        if self.mechanism == "zero":
            return mem - by * mem
        return mem

    def forward(self, x: torch.Tensor, mem: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        late = self.fire(mem)
        mem = self.beta * mem + x
        if self.delayed:
            mem = self.after(mem, late)
            return self.fire(mem), mem
        spikes = self.fire(mem)
        return spikes, self.after(mem, spikes)


def leaky(*args: Any, **options: Any) -> Any:
    return adds(cell=lambda: Leaky(*args, **options))


def run_leaky(m: Net, x: torch.Tensor) -> torch.Tensor:
    mem, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), []
    for _ in range(T):
        spikes, mem = m.cell(m.conv(x), mem)
        out.append(m.fc(spikes.flatten(1)))
    return torch.stack(out).mean(0)


@case(init=leaky(0.8, 0.3))
def leaky_subtract_delayed(m: Net, x: torch.Tensor) -> torch.Tensor:
    return run_leaky(m, x)


@case(init=leaky(0.8, 0.3, delayed=False))
def leaky_subtract_at_once(m: Net, x: torch.Tensor) -> torch.Tensor:
    return run_leaky(m, x)


@case(exact=False, init=leaky(0.8, 0.3, "zero"))
def leaky_zero_delayed(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The current of the step after a spike is lost with the membrane."""
    return run_leaky(m, x)


@case(init=leaky(0.8, 0.3, "zero", delayed=False))
def leaky_zero_at_once(m: Net, x: torch.Tensor) -> torch.Tensor:
    return run_leaky(m, x)


@case(init=leaky(0.6, 0.4, "none"))
def leaky_never_reset(m: Net, x: torch.Tensor) -> torch.Tensor:
    return run_leaky(m, x)


class LearnedLeaky(nn.Module):
    """Beta is kept between 0 and 1, and the membrane between calls is the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.beta, self.threshold = nn.Parameter(torch.tensor(1.2)), nn.Parameter(torch.tensor(0.35))
        self.mem = torch.zeros(0)

    def init_leaky(self) -> torch.Tensor:
        self.mem = torch.zeros(0)
        return self.mem

    def forward(self, x: torch.Tensor, mem: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if mem.shape != x.shape:
            mem = torch.zeros_like(x)
        late = (mem > self.threshold).to(x.dtype).detach()
        self.mem = self.beta.clamp(0, 1) * mem + x - late * self.threshold
        return (self.mem > self.threshold).to(x.dtype), self.mem


@case(init=adds(cell=LearnedLeaky))
def leaky_that_makes_its_own_state(m: Net, x: torch.Tensor) -> torch.Tensor:
    mem, out = m.cell.init_leaky(), []
    for _ in range(T):
        spikes, mem = m.cell(m.conv(x), mem)
        out.append(m.fc(spikes.flatten(1)))
    return torch.stack(out).sum(0)


@case()
def synaptic(m: Net, x: torch.Tensor) -> torch.Tensor:
    alpha, beta, level = 0.5, 0.7, 0.4
    syn = mem = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    out = 0
    for _ in range(T):
        late = (mem > level).to(x.dtype)
        syn = alpha * syn + m.conv(x)
        mem = beta * mem + syn - late * level
        out = out + m.fc((mem > level).to(x.dtype).flatten(1))
    return out / T


@case()
def lapicque(m: Net, x: torch.Tensor) -> torch.Tensor:
    resistance, capacity, dt, level = 5.0, 0.8, 1.0, 0.4
    mem, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        late = (mem > level).to(x.dtype)
        mem = (1 - dt / (resistance * capacity)) * mem + dt / capacity * m.conv(x) - late * level
        out = out + m.fc((mem > level).to(x.dtype).flatten(1))
    return out / T


@case(exact=False)
def two_exponentials(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A membrane that is the difference of two traces."""
    rise = fall = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype)
    out = 0
    for _ in range(T):
        current = m.conv(x)
        rise, fall = 0.3 * rise + current, 0.9 * fall + current
        s = (fall - rise + 0.5 * current > 0.3).to(x.dtype)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def voltage_takes_the_old_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    dt, tau_mem_inv, tau_syn_inv, leak, level, reset = 0.001, 300.0, 400.0, 0.0, 0.1, 0.0
    v, i, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0.0, 0
    for _ in range(T):
        v = v + dt * tau_mem_inv * ((leak - v) + i)
        z = (v - level > 0).to(x.dtype)
        v = (1 - z) * v + z * reset
        i = i - dt * tau_syn_inv * i + m.conv(x)
        out = out + m.fc(z.flatten(1))
    return out / T


@case(exact=False)
def recurrent_with_the_old_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    v = i = z = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    out = 0
    for _ in range(T):
        v = v + 0.3 * (i - v)
        now = (v > 0.05).to(x.dtype)
        v = (1 - now) * v
        i = 0.8 * i + m.fc(m.conv(x).flatten(1)) + m.mix(z)
        z = now
        out = out + z
    return out / T


@case()
def box(m: Net, x: torch.Tensor) -> torch.Tensor:
    tau_inv, leak, level = 0.5, 0.05, 0.15
    v, out = torch.full((x.shape[0], 6, 8, 8), leak, dtype=x.dtype), 0
    for _ in range(T):
        v = v + tau_inv * ((leak - v) + m.conv(x))
        z = torch.heaviside(v - level, torch.zeros(1, dtype=x.dtype))
        v = v - z * (v - 0.0)
        out = out + m.fc(z.flatten(1))
    return out / T


@case()
def leaky_integrator_reads_out(m: Net, x: torch.Tensor) -> torch.Tensor:
    v = i = torch.zeros(x.shape[0], 5, dtype=x.dtype)
    for _ in range(T):
        jump = i + m.fc(m.one(m.conv(x)).flatten(1))
        v = v + 0.1 * (0.0 - v + jump)
        i = jump - 0.2 * jump
    return v


# -- how a spike is made -----------------------------------------------------------------------------------------------


class FastSigmoid(torch.autograd.Function):
    """A step, with the gradient of a fast sigmoid."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (u,) = ctx.saved_tensors
        return grad / (1 + 25 * u.abs()) ** 2


@case()
def surrogate_gradient(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.6 * v + m.conv(x)
        s = FastSigmoid.apply(v - 0.3)
        v = v * (1 - s.detach())
        out = out + m.fc(s.flatten(1))
    return out / T


class Window(torch.autograd.Function):
    """A step with two arguments, the second no tensor; written into an empty result."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, level: float) -> torch.Tensor:
        ctx.level = level
        ctx.save_for_backward(u)
        out = torch.zeros_like(u)
        out[u >= level] = 1.0
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (u,) = ctx.saved_tensors
        return grad * ((u - ctx.level).abs() < 0.5), None


@case()
def surrogate_with_a_level(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        s = Window.apply(v, 0.3)
        v = v - 0.3 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def heaviside(m: Net, x: torch.Tensor) -> torch.Tensor:
    one = torch.tensor(1.0, dtype=x.dtype)
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = v + m.conv(x)
        s = torch.heaviside(v - 0.4, one)
        v = v - 0.4 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def ones_where_it_fires(m: Net, x: torch.Tensor) -> torch.Tensor:
    """No leak, and a hard reset, both by where."""
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = v + m.conv(x)
        fires = torch.ge(v, 0.4)
        s = torch.where(fires, 1.0, 0.0).to(x.dtype)
        v = torch.where(fires, torch.zeros_like(v), v)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def sign_of_the_membrane(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        s = (torch.sign(v - 0.3) + 1) / 2
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def straight_through(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        soft = torch.sigmoid(5 * (v - 0.3))
        s = ((v > 0.3).to(x.dtype) - soft).detach() + soft
        v = v - 0.3 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def soft_while_training(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        s = torch.sigmoid(5 * (v - 0.3)) if m.training else v.gt(0.3).to(x.dtype)
        v = v - 0.3 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def amplitude_is_the_threshold(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Starts at half, gives its threshold, as networks converted from ReLU do."""
    v, out = torch.full((x.shape[0], 6, 8, 8), 0.25, dtype=x.dtype), 0
    for _ in range(T):
        v = v + m.conv(x)
        s = (v >= 0.5).to(x.dtype) * 0.5
        v = v - s
        out = out + m.fc(s.flatten(1))
    return out / T


# -- learned leaks -----------------------------------------------------------------------------------------------------


class ParametricLIF(nn.Module):
    """All steps in one call, with w.sigmoid() for 1 / tau."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(-0.3))

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        v, spikes = torch.zeros_like(current[0]), []
        for x in current:
            v = v + (x - v) * self.w.sigmoid()
            s = (v >= 0.15).to(x.dtype)
            v = v * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)


@case(init=adds(cell=ParametricLIF))
def parametric_leak(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(m.cell(m.conv(x).expand(T, -1, -1, -1, -1)).flatten(2)).mean(0)


@case(exact=False, init=adds(k=lambda: nn.Parameter(torch.tensor(1.4))))
def klif(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The membrane is scaled and cut at zero before it is compared."""
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = F.relu(m.k * (v + (m.conv(x) - v) / 2))
        s = (v >= 0.25).to(x.dtype)
        v = v - 0.25 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(init=adds(k=lambda: nn.Parameter(torch.tensor(1.4))))
def klif_without_its_cut(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = m.k * (v + (m.conv(x) - v) / 2)
        s = (v >= 0.25).to(x.dtype)
        v = v - 0.25 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def membrane_kept_above_a_floor(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = (0.8 * v + m.conv(x)).clamp(min=-0.1)
        s = (v >= 0.3).to(x.dtype)
        v = v - 0.3 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case()
def normalized_before_it_fires(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Batch norm on what is compared; the membrane itself stays as it is."""
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        s = (m.bn(v) > 0.25).to(x.dtype)
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


# -- what one update does not hold -------------------------------------------------------------------------------------


@case(exact=False)
def several_spikes_a_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.9 * v + m.conv(x)
        s = torch.floor(v / 0.2).clamp(0, 3)
        v = v - 0.2 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def threshold_rises_with_each_spike(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, a, out = 0.0, 0.0, 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x)
        s = (v >= 0.25 + 0.2 * a).to(x.dtype)
        v = v * (1 - s)
        a = 0.9 * a + s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def current_adapts(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, w, out = 0.0, 0.0, 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x) - w
        s = (v >= 0.25).to(x.dtype)
        v = v - 0.25 * s
        w = 0.7 * w + 0.1 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def spikes_of_three_values(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = 0.0, 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x)
        s = (v >= 0.25).to(x.dtype) - (v <= -0.25).to(x.dtype)
        v = v - 0.25 * s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False, layout="TN")
def sigma_delta(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What has changed by enough since it was last sent."""
    sent, total, out = 0.0, 0.0, 0
    for frame in x:
        delta = m.conv(frame) - sent
        s = delta * (delta.abs() > 0.2).to(delta.dtype)
        sent = sent + s
        total = total + m.fc(s.flatten(1))
        out = out + total
    return out / len(x)


@case(exact=False)
def silent_for_a_step_after_a_spike(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, rest, out = 0.0, 0.0, 0
    for _ in range(T):
        v = 0.9 * v + m.conv(x)
        s = (v >= 0.25).to(x.dtype) * (1 - rest)
        v = v * (1 - s)
        rest = s
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def neighbours_inhibit(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.8 * v + m.conv(x)
        s = (v >= 0.3).to(x.dtype)
        v = v * (1 - s) - 0.05 * s.sum(1, keepdim=True)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(exact=False)
def attention_over_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(m.conv(x).expand(T, -1, -1, -1, -1)).flatten(3)
    weights = (s @ s.transpose(2, 3) / 8).softmax(-1)
    return m.fc((weights @ s).flatten(2)).mean(0)


@case(exact=False)
def softmax_of_a_membrane(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(x.shape[0], 5, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.9 * v + m.fc(m.one(m.conv(x)).flatten(1))
        out = out + F.softmax(v, dim=1)
    return out


# -- neurons and membranes of libraries, with another input at every step ----------------------------------------------

STEPS = 6


def heard(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The current of 5 neurons at one step."""
    return m.fc(m.conv(x).flatten(1))


def rest(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(x.shape[1], 5, dtype=x.dtype)


def above(x: torch.Tensor, threshold: float) -> torch.Tensor:
    return (x > threshold).to(x.dtype)


@case(layout="TN", timesteps=STEPS)
def subtracted_at_once_and_compared_again(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What a reset left over is compared once more a step later, and the reset of then is taken back."""
    mem, out = rest(x), []
    for now in x:
        again = above(mem, 0.15)
        mem = 0.8 * mem + heard(m, now) - again * 0.15
        out.append(above(mem, 0.15))
        mem = mem - (out[-1] - again) * 0.15
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def read_before_what_feeds_back(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The output reads the neurons that hear others a step later; these hear them at once."""
    v = w = s = u = rest(x)
    out = []
    for now in x:
        v = 0.8 * v + heard(m, now) - 0.3 * m.mix(u)
        s = above(v, 0.15)
        v = v - 0.15 * s
        w = 0.7 * w + m.mix(s)
        u = above(w, 0.1)
        w = w * (1 - u)
        out.append(s)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def inhibited_by_the_next_layer(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Both layers are read."""
    v = w = u = rest(x)
    out = 0
    for now in x:
        v = 0.8 * v + heard(m, now) - 0.1 * u
        s = above(v, 0.15)
        v = v * (1 - s)
        w = 0.7 * w + m.mix(s)
        u = above(w, 0.1)
        w = w - 0.1 * u
        out = out + s + 2 * u
    return out / STEPS


@case(layout="TN", timesteps=STEPS)
def two_spikes_a_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What the first reset leaves over may fire again: two neurons of one membrane."""
    v, out = rest(x), []
    for now in x:
        v = 0.8 * v + heard(m, now)
        first = above(v, 0.1)
        v = v - 0.1 * first
        second = above(v, 0.1)
        v = v - 0.1 * second
        out.append(first + second)
    return torch.stack(out).mean(0)


@case(exact=False, layout="TN", timesteps=STEPS)
def spikes_of_a_loop_within_a_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = rest(x), []
    for now in x:
        v = 0.8 * v + heard(m, now)
        n = rest(x)
        for _ in range(3):
            s = above(v, 0.1)
            v = v - 0.1 * s
            n = n + s
        out.append(n)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def cleared_at_once_and_compared_again(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Nothing is left over: the second comparison never holds."""
    mem, out = rest(x), []
    for now in x:
        again = above(mem, 0.15)
        mem = 0.8 * (1 - again) * mem + heard(m, now)
        out.append(above(mem, 0.15))
        mem = mem - (out[-1] - again) * mem
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def remembers_its_spike_alone(m: Net, x: torch.Tensor) -> torch.Tensor:
    mem, out = rest(x), []
    for now in x:
        late = above(mem, 0.15)
        mem = heard(m, now) - late * 0.2
        out.append(above(mem, 0.15))
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def own_spike_in_its_synaptic_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    syn = mem = spikes = rest(x)
    out = []
    for now in x:
        syn = 0.6 * syn + heard(m, now) - 0.1 * spikes
        mem = 0.8 * mem + syn - above(mem, 0.15) * 0.15
        spikes = above(mem, 0.15)
        out.append(spikes)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def synaptic_current_of_three_summands(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The input and the other neurons' spikes are added one after the other."""
    syn = mem = spikes = rest(x)
    out = []
    for now in x:
        jump = syn + heard(m, now) + m.mix(spikes)
        mem = mem + 0.2 * (jump - mem)
        syn = jump - 0.4 * jump
        spikes = above(mem, 0.1)
        mem = (1 - spikes) * mem
        out.append(spikes)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def soft_reset_as_a_choice(m: Net, x: torch.Tensor) -> torch.Tensor:
    mem, out = rest(x), []
    for now in x:
        mem = mem + 0.4 * (heard(m, now) - mem)
        over = mem - 0.1
        spikes = above(over, 0.0)
        mem = (1 - spikes) * mem + spikes * over
        out.append(spikes)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def current_that_is_gone_after_a_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A time constant of one step leaves nothing of the synaptic current."""
    syn, mem, out = rest(x), rest(x), []
    for now in x:
        jump = syn + heard(m, now)
        mem = mem + 0.4 * (jump - mem)
        syn = jump - 1.0 * jump
        spikes = above(mem, 0.1)
        mem = (1 - spikes) * mem
        out.append(spikes)
    return torch.stack(out).mean(0)


@case(layout="TN", timesteps=STEPS)
def last_membrane_after_its_reset(m: Net, x: torch.Tensor) -> torch.Tensor:
    mem = rest(x)
    for now in x:
        mem = mem + 0.4 * (heard(m, now) - mem)
        mem = (1 - above(mem, 0.1)) * mem
    return mem


@case(layout="TN", timesteps=STEPS, averaged=0)
def membrane_of_a_synaptic_current(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Neither fires, and the membrane does not start from 0."""
    syn, mem, out = rest(x), rest(x) + 0.3, []
    for now in x:
        jump = syn + heard(m, now)
        mem = mem + 0.2 * ((0.3 - mem) + jump)
        syn = jump - 0.4 * jump
        out.append(mem)
    return torch.stack(out)


@case(layout="TN", timesteps=STEPS, averaged=0)
def membrane_of_a_synaptic_current_cleared_by_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    syn = mem = rest(x)
    out = []
    for now in x:
        syn = 0.6 * syn + heard(m, now)
        mem = (1 - m.two(heard(m, now))) * (0.8 * mem + syn)
        out.append(mem)
    return torch.stack(out)


@case(init=adds(rate=lambda: torch.tensor(70.0)), layout="TN", timesteps=STEPS)
def constants_in_float32(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Numbers that are no buffers stay in float32, and what is made of them alone is rounded so."""
    mem = rest(x)
    for now in x:
        mem = mem + 0.001 * m.rate * (heard(m, now) - mem)
    return 1000 * mem


@case()
def spike_with_the_gradient_of_a_soft_one(m: Net, x: torch.Tensor) -> torch.Tensor:
    """What is taken away and added again is computed from the membrane, and cancels."""
    v, out = torch.zeros(len(x), 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.5 * v + m.conv(x)
        soft = (torch.tanh(3 * (v.clamp(0, 1) - 0.5)) + 0.9) / 1.8
        s = ((v / 0.6 > 0.5).to(x.dtype) - soft).detach() + soft
        v = v * (1 - s)
        out = out + m.fc(s.flatten(1))
    return out / T


@case(layout="TN", timesteps=STEPS)
def layers_hear_filtered_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Every step of the first layer, and then every step of the second, which hears what is left of earlier spikes."""
    v, trace, traces = torch.zeros(x.shape[1], 6, 8, 8, dtype=x.dtype), torch.zeros(x.shape[1], 6, 8, 8).to(x), []
    for now in x:
        v = v + (-0.2 * v + m.conv(now))
        s = (v > 0.3).to(x.dtype)
        v = v * (1 - s)
        trace = trace + (s - trace) / 3
        traces.append(trace)
    mem, out = rest(x), 0
    for passed in traces:
        mem = 0.8 * mem + nn.functional.linear(passed.flatten(1), m.fc.weight)
        fired = above(mem, 0.1)
        mem = mem * (1 - fired)
        out = out + fired
    return out
