"""Random deep networks of which Loihi has most neurons: up to six layers, skips, concatenations, loops, any neuron.

Graphs of reals; each layer's threshold is set so that it fires neither hardly nor nearly always.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.ir import interpret
from neurocompile.ir.ops import Array, Concat, Gain, Input, Integrator, Neuron, Output, Scale, Upsample
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import Build, Drawn, sizes

__all__ = ["DeepBuild", "deep_network"]


def deep_network(source: random.Random, *, mixed: bool = False) -> Drawn:
    """Draw a network of one to six layers of neurons and a readout.

    Args:
        source: of everything that is drawn.
        mixed: its input is real, and most layers hear it beside spikes.
    """
    b = DeepBuild(source, np.random.default_rng(source.getrandbits(32)))
    b.mixed = mixed
    steps, samples = b.whole(3, 6), b.whole(2, 3)
    image = (b.whole(1, 3), b.whole(4, 6), b.whole(4, 6))
    shape = b.pick((image, image, (b.whole(4, 10),)))
    size = (samples, steps, *shape)
    if mixed or b.chance(60):
        b.mark("real input")
        b.add("x", Input(shape))
        b.inputs["x"] = np.round(b.numbers.uniform(b.pick((0.0, -1.0)), 1, size) * 16) / 16
    else:
        b.add("x", Input(shape, "spikes"))
        b.inputs["x"] = (b.numbers.random(size) < 0.4).astype(float)
    events = ["x"]
    for _ in range(b.whole(1, 6)):
        events.append(b.layer(events))
    if len(events) > 3 and b.chance(25):
        b.long_loop(events)
    b.readout(events[-1])
    return Drawn(b.graph(), b.inputs, frozenset(b.cases))


class DeepBuild(Build):
    """Layers upon layers, each calibrated when it is there."""

    mixed = False

    def weights(self, shape: Shape, fan_in: int, scale: float | None = None) -> Array:
        drawn = self.numbers.normal(size=shape)
        return drawn / np.sqrt(fan_in) if scale is None else scale * drawn

    def bias(self, shape: Shape) -> Array | None:
        """None, one a channel, or one a neuron."""
        none, channel, neuron = range(3)
        kind = self.pick((none, channel, channel, neuron))
        self.mark("a bias for each neuron", kind == neuron)
        return self.weights(sizes(shape)[kind], 1, 0.3) if kind else None

    def biased(self, name: str) -> str:
        self.change(name, bias=self.bias(self.shapes[name]))
        return name

    # -- layers --------------------------------------------------------------------------------------------------------

    def layer(self, events: list[str]) -> str:
        """Synapses, possibly a second way in, and neurons that fire at a sensible rate."""
        terms = [self.synapses(events[-1])]
        shape, name = self.shapes[terms[0]], f"n{len(events)}"
        same = [event for event in events[1:-1] if self.shapes[event] == shape]
        if same and self.chance(60):
            self.mark("skip")
            terms.append(self.add("skip", Scale(np.asarray(self.pick((1.0, 0.5, -2.0)))), self.pick(same)))
        if len(events) > 2 and self.chance(20):
            self.mark("skip through weights")
            terms.append(self.to_shape(self.pick(events[1:-1]), shape))
        if self.mixed and self.chance(70):
            terms.append(self.of_input(shape))
        feeds = self.sum("add", *terms)
        loop = self.pick(("", "", "", "", "self", "self conv"))
        if loop and (self.mixed or not (events == ["x"] and "real input" in self.cases)):
            feeds = self.sum("sum", feeds, self.loop(loop, name, shape))
        self.add(name, self.neuron(shape), feeds)
        self.calibrate(name)
        if self.chance(10) and len(shape) == 3 and min(shape[1:]) > 2:
            self.mark("max-pool")
            return self.max_pool("pool", name, 2, self.pick((1, 2)))
        return name

    def loop(self, kind: str, name: str, shape: Shape) -> str:
        """Feedback from the layer itself."""
        self.mark(f"recurrent: {kind}")
        delay = self.delay("delay", name, self.pick((1, 1, 2, 3)), shape)
        if kind == "self conv" and len(shape) == 3:
            return self.conv("back", delay, shape[0], 3, padding=1, scale=0.5)
        if len(shape) == 1:
            return self.linear("back", delay, shape[0], scale=0.5)
        return self.add("back", Scale(np.asarray(self.pick((0.5, -0.5)))), delay)

    def of_input(self, shape: Shape) -> str:
        """What the network's input adds to a layer behind others: as it is, pooled, late, with gains."""
        self.mark("mixed")
        event = "x"
        if len(shape) == 3 and self.chance(20):
            self.mark("mixed: max-pool")
            event = self.max_pool("widest", event, 2, 1)
        if self.chance(20):
            self.mark("mixed: late")
            event = self.delay("late", event, self.pick((1, 2)))
        here = self.shapes[event]
        if len(shape) == 3 and here[1:] == shape[1:]:
            term = self.conv("given", event, shape[0], 3, padding=1)
        else:
            term = self.to_shape(event, shape)
        if self.chance(40):
            self.mark("mixed: gains")
            steps = self.inputs["x"].shape[1]
            bias = self.weights((steps, *shape), 1, 0.2) if self.chance(50) else np.asarray(0.0)
            term = self.add("gain", Gain(self.numbers.uniform(-0.5, 2.0, steps), bias), term)
        return term

    def long_loop(self, events: list[str]) -> None:
        """Feedback from a later layer into an earlier one, delayed by as many steps as there are synapses between."""
        self.mark("recurrent: over layers")
        first = self.whole(2, len(events) - 2)
        last = self.whole(first + 1, len(events) - 1)
        back = self.to_shape(self.delay("delay", events[last], last - first + 1), (1,))
        neuron = f"n{first}"
        shape = self.shapes[neuron]
        spread = self.shaped("shaped", self.linear("spread", back, prod(shape), scale=0.3), shape)
        joined = self.sum("joined", *self.nodes[neuron].inputs, spread)
        self.nodes[neuron] = replace(self.nodes[neuron], inputs=(joined,))

    def to_shape(self, event: str, shape: Shape) -> str:
        """A matrix from an earlier layer into this one."""
        return self.shaped("unflat", self.linear("far", event, prod(shape)), shape)

    def readout(self, last: str) -> None:
        out = self.biased(self.linear("out", last, 3, scale=1.0))
        if self.mixed and self.chance(40):
            self.mark("mixed: readout")
            out = self.sum("total", out, self.of_input((3,)))
        decay = self.pick((0.0, 0.0, 0.5, 1.0))
        self.mark(f"readout: decay {decay}")
        read = self.add("read", Integrator(np.asarray(decay)), out)
        how = self.pick(("mean", "sum", "last", "max", "max-abs", "weighted", "sequence"))
        steps = next(iter(self.inputs.values())).shape[1]
        weights = self.numbers.normal(size=steps) if how == "weighted" else None
        self.add("output", Output(how, weights=weights), read)

    # -- synapses ------------------------------------------------------------------------------------------------------

    def synapses(self, event: str) -> str:
        shape = self.shapes[event]
        kind = "linear"
        if len(shape) > 1 and min(shape[1:]) > 2:
            large = max(shape[1:]) > 6 or prod(shape) > 120
            few = ("conv", "pooled", "linear")
            more = ("conv", "conv", "conv", "pooled", "transposed", "upsampled", "concatenated", "linear")
            kind = self.pick(few if large else more)
        self.mark(kind)
        return getattr(self, f"of_{kind}")(event)

    def of_linear(self, event: str) -> str:
        return self.biased(self.linear("fc", event, self.whole(4, 10)))

    def of_conv(self, event: str) -> str:
        channels = self.shapes[event][0]
        groups = self.pick((1, 1, channels))
        kernel = (self.whole(1, 3), self.whole(1, 3))
        dilation = (self.pick((1, 1, 2)) if kernel[0] < 3 else 1, 1)
        padding = tuple((p, p + self.chance(10)) for p in (self.whole(0, 1), self.whole(0, 1)))
        outputs = groups * self.whole(1, max(1, 4 // groups))
        stride = (self.pick((1, 1, 2)), self.pick((1, 1, 2)))
        return self.biased(self.conv("conv", event, outputs, kernel, stride, padding, dilation, groups))

    def of_pooled(self, event: str) -> str:
        size = self.pick((2, 2, 3)) if min(self.shapes[event][1:]) > 2 else 2
        pool = self.sum_pool("sum", event, size, self.pick((size, size, 1)))
        mean = self.add("mean", Scale(np.asarray(1.0 / size**2)), pool)
        return self.of_conv(mean) if min(self.shapes[mean][1:]) > 2 else mean

    def of_transposed(self, event: str) -> str:
        stride = self.pick((1, 2))
        outputs, kernel = self.whole(1, 3), (self.whole(1, 3), 2)
        extra = (stride - 1 if self.chance(30) else 0, 0)
        return self.add("up", self.transposition(self.shapes[event], outputs, kernel, stride, 0, extra), event)

    def of_upsampled(self, event: str) -> str:
        return self.conv("conv", self.add("up", Upsample((2, 2)), event), 2, 3, padding=1)

    def of_concatenated(self, event: str) -> str:
        """Of two layers of currents, or of an event with itself, before a convolution."""
        if self.chance(50):
            return self.of_conv(self.add("cat", Concat(0), event, event))
        both = [self.conv("conv", event, self.whole(1, 2), 3, padding=1) for _ in range(2)]
        return self.add("cat", Concat(0), *both)

    # -- neurons -------------------------------------------------------------------------------------------------------

    def neuron(self, shape: Shape) -> Neuron:
        """Mostly one that the chip has, its threshold still to be set (1)."""
        numbers, channel = self.numbers, sizes(shape)[1]
        bias = self.bias(shape)
        op = Neuron(
            np.asarray(1.0),
            decay=np.asarray(self.pick((1.0, 0.25, float(numbers.uniform(0.1, 0.99))))),
            bias=np.asarray(0.0) if bias is None else 0.5 * bias,
            strict=self.chance(50),
        )
        kinds: dict[str, Callable[[], dict[str, Any]]] = {
            "plain": dict,
            "two decays": lambda: {"decay": numbers.choice([0.25, 0.5, 1.0], channel)},
            "current": lambda: {"current_decay": np.asarray(numbers.uniform(0.1, 0.9))},
            "thresholds": lambda: {"threshold": numbers.uniform(0.5, 2.0, channel)},
            "reset to a value": lambda: {"v_reset": np.asarray(-0.3), "v_init": np.asarray(-0.3)},
            "soft reset": lambda: {"reset": "by", "amount": np.asarray(1.0)},
            "decays": lambda: {"decay": numbers.uniform(-0.3, 1.05, channel)},
            "first value": lambda: {"v_init": self.weights(shape, 1, 0.2)},
            "refractory": lambda: {"refractory": self.pick((1, 2, -1))},
            "deaf": lambda: {"deaf": True},
            "signed": lambda: {"negative_threshold": np.asarray(-1.0)},
            "thresholds in a map": lambda: {"threshold": numbers.uniform(0.7, 1.5, shape)},
            "flipped": lambda: {"flip": numbers.random(channel) < 0.3},
            "input bias": lambda: {"input_bias": self.weights(channel, 1, 0.1), "current_decay": np.asarray(0.5)},
        }
        stock = (*("plain",) * 3, "current", "thresholds", "reset to a value", "two decays")
        kind = self.pick(stock if self.chance(75) else tuple(kinds)[1:])
        self.mark(f"neuron: {kind}")
        return replace(op, **kinds[kind]())

    def calibrate(self, name: str) -> None:
        """Scale thresholds and what belongs to them until the layer fires in about a quarter of its steps."""
        op: Any = self.nodes[name].op
        fields = ("threshold", "amount", "v_reset", "v_init", "negative_threshold")
        known = {field: value for field in fields if (value := getattr(op, field)) is not None}

        def off(scale: float) -> float:
            self.change(name, **{field: value * scale for field, value in known.items()})
            run = interpret(self.graph(name), self.inputs, self.inputs["x"].shape[1])
            return abs(float((run.spikes[name] != 0).mean()) - 0.25)

        best = min(np.geomspace(0.02, 30.0, 24), key=off)
        self.change(name, **{field: value * best for field, value in known.items()})
