"""Random networks for nc1, with inputs, and chips of random sizes for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit
from neurocompile.ir.ops import Input, Integrator, Neuron, Output, Scale
from neurocompile.mapping.placement import in_order
from neurocompile.program import Program
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1, usual
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import Drawn, IntegerBuild, arithmetic_of, sizes, whole_neuron

__all__ = ["random_case", "random_chip"]


def random_case(r: random.Random, large: bool = False) -> Drawn:
    """Draw a network of one to four layers; convolutions, matrices, skips, loops, delays, pools, several readers.

    Every layer of an ordinary one fires now and then, of a "burst" always, of a "silent" one never. Large ones have
    some hundred neurons at least, to fill a mesh of 16 cores.
    """
    mood = r.choices(("", "burst", "silent"), (10, 1, 1))[0]
    timesteps, samples = r.randint(1, 6), r.randint(1, 3)
    spikes_in = r.random() < 0.4
    low, high = (0, 1) if spikes_in else r.choice(((0, 31), (-20, 20), (0, 255)))
    rows, columns = ((6, 8), (5, 7)) if large else ((3, 4, 6), (3, 5))
    shape = (r.choice((1, 2, 3)), r.choice(rows), r.choice(columns))
    b = _Build(r, np.random.default_rng(r.getrandbits(64)))
    last = b.add("x", Input(shape, "spikes" if spikes_in else "real", 1.0, low, high))
    size = (samples, timesteps, *shape)
    x = b.numbers.integers(low, high + 1, size) * (b.numbers.random(size) < b.pick((0.2, 0.6, 1.0)))
    b.inputs["x"] = x.astype(np.int64)
    for number in range(b.whole(2 if large else 1, 4)):
        last = b.layer(f"layer{number}", last)
        if len(b.shapes[last]) == 3 and min(b.shapes[last][1:]) >= 2 and b.chance(25):
            last = b.max_pool(f"{last}.pool", last, 2, 2)
    if b.chance(70):
        current = b.linear("out.w", last, b.whole(2, 10))
        decay = np.asarray(b.pick((0, b.one, 50_000)))
        op = Integrator(decay, np.asarray(1), np.asarray(b.whole(-99, 99)), b.pick((0, 3)))
        b.add("output", Output("mean"), b.add("out", op, current))
    else:
        b.add("output", Output("sum"), last)
    for name in b.named(Neuron):
        b.calibrate(name, mood)
    return b.drawn(mood, "nc1")


def random_chip(r: random.Random, program: Program, mesh: tuple[int, int], parameters: Mapping[str, Any]) -> Nc1:
    """The program on a mesh, spread over as many cores as there are (or nearly), in a random order."""
    base = usual(mesh_x=mesh[0], mesh_y=mesh[1], **parameters)
    held, found = base.neurons // 2, map_to_nc1(program, base)
    while r.random() >= 0.15 and held >= base.lanes:
        try:
            found = map_to_nc1(program, replace(base, neurons=held))
        except DoesNotFit:
            break
        held //= 2
    places = list(range(base.cores))
    if r.random() < 0.7:
        r.shuffle(places)
    place = in_order(found.partition.cores, base.mesh)
    return replace(found, parameters=base).moved(np.asarray(places)[place])


class _Build(IntegerBuild):
    arithmetic = arithmetic_of("nc1")

    def layer(self, name: str, last: str) -> str:
        earlier = self.named(Neuron)
        current = self.current(name, last)
        shape = self.shapes[current]
        terms = [current]
        for other in earlier:
            if self.shapes[other] == shape and self.chance(50):
                if self.chance(30):
                    other = self.delay(f"{name}.late.{other}", other, self.whole(1, 2))
                terms.append(self.scale(f"{name}.skip", other))
        if self.chance(30):  # each neuron hears itself, or all all
            back = self.delay(f"{name}.back", name, self.whole(1, 2), shape)
            alone = len(shape) > 1 or self.chance(50)
            own = f"{name}.own"
            terms.append(self.scale(own, back) if alone else self.linear(own, back, shape[0]))
        return self.add(name, self.neuron(shape), self.sum(f"{name}.sum", *terms))

    def scale(self, name: str, event: str) -> str:
        return self.add(name, Scale(self.weights((), 1)), event)

    def current(self, name: str, event: str) -> str:
        shape = self.shapes[event]
        if len(shape) == 1 or self.chance(30):
            return self.linear(f"{name}.w", event, self.pick((3, 8, 17, 40)))
        channels, rows, columns = shape
        groups = channels if self.chance(20) else 1
        out = groups * self.whole(1, 2) if groups > 1 else self.pick((2, 4, 9, 16))
        kernel = min(self.pick((1, 2, 3)), rows, columns)
        stride = self.pick((1, 1, 2))
        pads = ((self.whole(0, 1), 1), (1, self.whole(0, 1))) if kernel > 1 else 0
        return self.conv(f"{name}.w", event, out, kernel, stride, pads, groups=groups)

    def neuron(self, shape: Shape) -> Neuron:
        """One that nc1 has, its threshold still to be set."""
        each = self.pick(sizes(shape))

        def drawn(low: int, high: int, percent: int = 50) -> Any:
            return self.numbers.integers(low, high + 1, each) if self.chance(percent) else 0

        reset = self.pick(("to", "by", "none"))
        return whole_neuron(
            1,
            self.one,
            decay=self.pick((0, self.one, self.one // 2, self.one // 4, 60_000, -20_000, 90_000)),
            bias=drawn(-300, 300),
            strict=self.chance(30),
            flip=self.numbers.random(each) < 0.3 if self.chance(30) else False,
            reset=reset,
            v_reset=drawn(-200, 200, 30),
            amount=self.numbers.integers(0, 400, each) if reset == "by" else 0,
            v_init=drawn(-200, 200, 30),
            shift=self.pick((-3, -1, 0, 0, 2)),
        )

    def calibrate(self, name: str, mood: str) -> None:
        """A threshold between the membranes that occur, for all or for each neuron; or below or above them all."""
        op: Any = self.nodes[name].op
        if mood:
            threshold = np.asarray(-(1 << 23) if mood == "burst" else (1 << 23) - 1)
            flipped = -threshold
        else:
            seen = self.simulated(name).membranes[name]
            axes = (0, 1) if self.chance(50) else None
            threshold, flipped = np.quantile(seen, self.source.uniform(0.4, 0.9), axis=axes), np.quantile(seen, 0.3)
        threshold = np.where(op.flip, flipped, threshold) if np.any(op.flip) else threshold
        self.change(name, threshold=np.rint(threshold).astype(np.int64))
