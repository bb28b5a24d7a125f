"""Random integer programs that netx can hold: chains, their thresholds set to fire."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output
from tests.random_networks.choices import Numbers, Shape, firing_rates
from tests.random_networks.graphs import Drawn, IntegerBuild, arithmetic_of, sizes, whole_neuron

__all__ = ["KINDS", "random_case"]

KINDS = ("dense", "conv", "conv-dense", "recurrent")


@cache
def random_case(seed: int, kind: str) -> Drawn:
    """A network of one kind with 1 to 5 layers."""
    b = _Build(np.random.default_rng([seed, KINDS.index(kind)]), kind)
    timesteps = b.whole(5, 9)
    last = b.input(3, timesteps)
    layers = b.whole(1, 5)
    b.mark(f"{layers} layers")
    reads_out = b.chance(50)
    for number in range(layers):
        final = number == layers - 1
        last = b.synapses(number, last, final)
        last = b.readout(last) if final and reads_out else b.population(f"neurons{number}", last)
    b.add("output", Output(), last)
    return b.drawn(target="loihi2")


class _Build(IntegerBuild):
    arithmetic = arithmetic_of("loihi2")

    def __init__(self, numbers: np.random.Generator, kind: str) -> None:
        super().__init__(Numbers(numbers), numbers)
        self.kind = kind
        self.bits, self.shift, self.sign = 8, 0, ""

    def input(self, samples: int, timesteps: int) -> str:
        maps = self.kind.startswith("conv")
        shape = (self.pick((1, 2, 4)), self.whole(4, 7), self.whole(4, 7)) if maps else (self.whole(3, 12),)
        if not maps and self.chance(30):
            shape = (2, 2, 3)
            self.mark("flattened input")
        size = (samples, timesteps, *shape)
        if self.chance(30):
            self.mark("graded input")
            low, high = self.pick(((0, 15), (-8, 7), (-128, 127)))
            op, x = Input(shape, "real", 1.0, low, high), self.numbers.integers(low, high + 1, size)
        else:
            op, rate = Input(shape, "spikes"), self.pick((0.2, 0.5))
            x = np.asarray(self.numbers.random(size) < rate, np.int64)
        self.inputs["input"] = x
        return self.add("input", op)

    # -- synapses ------------------------------------------------------------------------------------------------------

    def synapses(self, number: int, event: str, final: bool) -> str:
        shape, name = self.shapes[event], f"synapses{number}"
        maps = len(shape) == 3 and self.kind.startswith("conv") and not (final and self.kind == "conv-dense")
        self.range_of_weights(maps)
        if maps and min(shape[1:]) > 1:
            return self.kernels(name, event)
        self.mark("flatten", len(shape) > 1)
        out = self.whole(3, 14)
        current = self.linear(name, event, out)
        if self.kind != "recurrent" or final:
            return current
        self.mark("recurrent")
        before = self.delay(f"before{number}", f"neurons{number}", 1, (out,))
        return self.sum(f"sum{number}", current, self.linear(f"loop{number}", before, out))

    def range_of_weights(self, maps: bool) -> None:
        """What netx can hold with the shift that is chosen for the population."""
        self.bits = self.pick((2, 4, 8))
        # Negative weights of two bits would all be powers of two, which netx loses.
        negative = self.bits > 2 and self.kind != "recurrent"
        self.sign = self.pick(("mixed", "mixed", "positive", "negative" if negative else "mixed"))
        self.mark(f"{self.bits}-bit")
        self.mark(self.sign)
        # Signed kernels are even, since they have no exponent; no weight may reach beyond 8 bits.
        self.shift = self.whole(7 if maps and self.sign == "mixed" else 6, 15 - self.bits)

    def weights(self, shape: Shape, fan_in: int) -> Array:
        largest = 2 ** (self.bits - 1) - 1
        drawn = self.numbers.integers(-largest, largest + 1, shape)
        if self.sign != "mixed":
            drawn = np.abs(drawn) * (1 if self.sign == "positive" else -1)
        # A layer whose weights are all 0, or negative down to a power of two, is lost in netx.
        drawn.flat[0] = -largest if self.sign == "negative" else largest
        if self.sign == "mixed":
            drawn.flat[-1] = -largest
        return drawn

    def kernels(self, name: str, event: str) -> str:
        channels, *places = self.shapes[event]
        groups = self.pick([g for g in (1, 2, 4) if channels % g == 0])
        drawn = []
        for size in places:
            d, s, p = self.pick((1, 1, 2)), self.pick((1, 1, 2)), self.whole(0, 2)
            drawn.append((self.whole(1, min((size + 2 * p - 1) // d + 1, 3)), s, (p, p), d))
        kernel, stride, padding, dilation = zip(*drawn)
        for case, when in (
            ("conv", True),
            ("groups", groups > 1),
            ("dilation", max(dilation) > 1),
            ("stride", max(stride) > 1),
            ("padding", max(padding) > (0, 0)),
        ):
            self.mark(case, when)
        return self.conv(name, event, groups * self.pick((1, 2, 3)), kernel, stride, padding, dilation, groups)

    # -- populations ---------------------------------------------------------------------------------------------------

    def readout(self, current: str) -> str:
        self.mark("readout")
        return self.add("readout", Integrator(self.decay(), bias=self.bias(current), shift=self.shift), current)

    def population(self, name: str, current: str) -> str:
        self.add(name, Neuron(np.asarray(0)), current)
        for _ in range(5):
            if 0.04 < self.firing(name, current) < 0.6:
                break
        op: Any = self.nodes[name].op
        self.mark("current decay", op.current_decay)
        return name

    def decay(self) -> Array:
        return np.asarray(self.pick((0, self.one, self.one - 1, self.whole(1, self.one))))

    def firing(self, name: str, current: str) -> float:
        """Draw a population; its firing rate, which is nearest to one that is drawn."""
        resting = whole_neuron(
            2**30,
            self.one,
            decay=self.decay(),
            current_decay=self.pick((0, 0, self.whole(1, self.one - 1))),
            bias=self.bias(current),
            shift=self.shift,
        )
        self.change(name, **vars(resting))
        membranes = self.simulated(name).membranes[name]
        # Levels that a share of the membranes reach while none is reset, on the steps of the threshold's register.
        wanted, found = self.numbers.uniform(0.1, 0.5), []
        for share in (0.6, 0.75, 0.85, 0.93, 0.98):
            threshold = (int(np.clip(np.quantile(membranes, share) // 64, 0, 2**17 - 1)) << 6) + 1
            self.change(name, threshold=np.asarray(threshold))
            found.append((firing_rates(self.simulated(name).spikes)[name], threshold))
        rate, threshold = min(found, key=lambda pair: abs(pair[0] - wanted))
        self.change(name, threshold=np.asarray(threshold))
        return rate

    def bias(self, current: str) -> Array:
        """Mantissas of 13 bits times 2**6: for all, by channel or by place."""
        how = self.pick(("none", "one", "channel", "place"))
        if self.sign == "negative":
            how = "place"
        if how == "none":
            return np.asarray(0)
        self.mark(f"bias by {how}")
        most = min(40 << (self.shift - 6), 4000)
        size = dict(zip(("one", "channel", "place"), sizes(self.shapes[current])))[how]
        bias = self.numbers.integers(-most, most + 1, size)
        if self.sign == "negative":
            bias = np.abs(bias) * 2
        elif self.kind == "recurrent":
            # What its bias alone can make fire is refused.
            bias = -np.abs(bias) // 8
        if self.chance(20):
            self.mark("bias exponent 7")
            bias = bias >> 1 << 1
        return np.asarray(np.clip(bias, -4095, 4095)) << 6
