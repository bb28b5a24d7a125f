"""Loihi's cores against cores that are built synapse by synapse, and what that finds when it should."""

from __future__ import annotations

import random
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

from neurocompile.ir import Graph
from neurocompile.ir.ops import Array, Concat, Conv, Input, Integrator, Linear, Neuron, Output, Scale, Upsample
from neurocompile.limits import Limits
from neurocompile.mapping import cut_boxes
from neurocompile.passes import Synapses
from neurocompile.targets import load_target
from tests.mapping.core_by_core import Report, check
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import Build, shape_of, sizes

FIRE = Neuron(np.asarray(1))
LOIHI = load_target("loihi").limits


class _Draw(Build):
    """A network of one to four layers of all kinds, with weights that are often equal."""

    def __init__(self, r: random.Random, largest: int = 120) -> None:
        super().__init__(r, np.random.default_rng(r.getrandbits(32)))
        self.largest = largest

    def weights(self, shape: Shape, fan_in: int, **how: Any) -> Array:
        most = self.pick((0, 1, 127, 127, 127))
        return np.asarray(self.numbers.integers(-most, most + 1, shape) if most else np.ones(shape))

    def network(self) -> Graph:
        rank = self.pick((0, 1, 1, 2, 2, 2, 2))
        image = (self.whole(1, 4), *(self.whole(3, 6 if rank == 2 else 16) for _ in range(rank)))
        events = [self.add("x", Input(image if rank else (self.whole(3, 20),), "spikes"))]
        for number in range(self.whole(1, 4)):
            terms = [self.current(events[-1] if self.chance(80) else self.pick(events))]
            shape, name = self.shapes[terms[0]], f"n{number}"
            if self.chance(25) and (same := [event for event in events if self.shapes[event] == shape]):
                terms.append(self.skip(self.pick(same)))
            if self.chance(20) and (like := self.convolved(self.pick(events), shape)):
                terms.append(like)
            if self.chance(15):
                event = self.delay("later", self.pick(events), self.whole(1, 3)) if self.chance(50) else events[0]
                terms.append(self.shaped("unflat", self.matrix(event, prod(shape)), shape))
            if self.chance(15):
                back = self.delay("back", name, self.whole(1, 3), shape)
                terms.append(self.skip(back) if self.chance(50) else self.convolved(back, shape) or self.skip(back))
            events.append(self.add(name, FIRE, self.sum("sum", *terms)))
        self.add("out", Output(), self.add("read", Integrator(), self.matrix(events[-1], self.whole(2, 5))))
        return self.graph()

    def skip(self, event: str) -> str:
        own = self.pick(sizes(self.shapes[event]))
        return self.add("skip", Scale(np.asarray(self.weights(own, 1))), event)

    def matrix(self, event: str, outputs: int) -> str:
        name = self.linear("matrix", event, outputs)
        if self.chance(30):
            op: Any = self.nodes[name].op
            stored = self.numbers.random(op.weight.shape) < 0.5
            self.nodes[name] = replace(self.nodes[name], op=Linear(op.weight * stored, None, stored))
        return name

    def current(self, event: str) -> str:
        """Of an event, however it can be had."""
        shape = self.shapes[event]
        if len(shape) == 1:
            return self.matrix(event, self.whole(2, 24)) if self.chance(80) else self.skip(event)
        for _ in range(20):
            match self.pick(("conv", "conv", "conv", "up", "sums", "max", "upsampled", "both", "flat", "scale")):
                case "conv":
                    found = self.convolved(event)
                case "up":
                    found = self.transposed(event)
                case "sums" if min(shape[1:]) > 2:
                    size = self.pick((2, 2, 3))
                    found = self.convolved(self.sum_pool("sums", event, size, self.pick((size, size, 1))))
                case "max" if min(shape[1:]) > 2:
                    found = self.convolved(self.max_pool("max", event, 2, self.pick((2, 2, 1))))
                case "upsampled" if prod(shape) < 40:
                    found = self.convolved(self.add("big", Upsample((2,) * (len(shape) - 1)), event))
                case "both":
                    found = self.concatenated(event)
                case "flat":
                    found = self.matrix(event, self.whole(2, 24))
                case "scale":
                    found = self.skip(event)
                case _:
                    continue
            if found:
                return found
        return self.skip(event)

    def convolved(self, event: str, wanted: Shape | None = None) -> str | None:
        """A convolution, such that it has a ``wanted`` shape, if one is met."""
        shape = self.shapes[event]
        rank = len(shape) - 1
        if not rank or (wanted and len(wanted) != len(shape)):
            return None
        for _ in range(20):
            groups = self.pick([g for g in (1, 1, 1, 2, shape[0]) if shape[0] % g == 0])
            outputs = groups * self.whole(1, max(1, 6 // groups))
            kernel, dilation, padding = (tuple(self.pick(of) for _ in range(rank)) for of in (
                (1, 2, 3, 3, 4), (1, 1, 2, 3), ((0, 0), (1, 1), (1, 1), (2, 2), (0, 1), (2, 1)),
            ))  # fmt: skip
            stride = tuple(self.pick((1, 1, 2, 3)) for _ in range(rank))
            outputs = wanted[0] if wanted else outputs
            if outputs % groups:
                continue
            op = self.convolution(shape, outputs, kernel, stride, padding, dilation, groups)
            made = shape_of(op, shape)
            if made and min(made) > 0 and prod(made) <= self.largest and wanted in (None, made):
                return self.add("conv", op, event)
        return None

    def transposed(self, event: str) -> str | None:
        shape = self.shapes[event]
        rank = len(shape) - 1
        groups = self.pick([g for g in (1, 1, shape[0]) if shape[0] % g == 0])
        kernel, stride, dilation, padding = (tuple(self.pick(of) for _ in range(rank)) for of in (
            (1, 2, 3, 3), (1, 2, 2, 3), (1, 1, 2), (0, 0, 1),
        ))  # fmt: skip
        extra = tuple(self.pick((0, s - 1)) for s in stride)
        op = self.transposition(shape, self.whole(1, 3), kernel, stride, padding, extra, dilation, groups)
        made = shape_of(op, shape)
        good = made and min(made) > 0 and prod(made) <= self.largest
        return self.add("up", op, event) if good else None

    def concatenated(self, event: str) -> str | None:
        """Of an event with itself, or two currents: along channels, or an axis in space."""
        axis = self.pick((0, 0, *range(1, len(self.shapes[event]))))
        if self.chance(30):
            return self.convolved(self.add("twice", Concat(axis), event, event))
        first = self.convolved(event)
        second = first and self.convolved(event, self.shapes[first])
        return self.add("both", Concat(axis), first, second) if first and second else None


def small_limits(r: random.Random) -> Limits:
    """Loihi's kind of limits, all of which bind small networks."""
    return Limits(
        neurons_per_core=r.choice((8, 20, 40, 100, 1024)),
        synapse_bytes_per_core=r.choice((1, 3, 10, 131072)) * 800,
        input_axons_per_core=r.choice((20, 50, 4096)),
        output_axons_per_core=r.choice((20, 50, 4096)),
        list_word_bits=64,
        entry_header_bits=10,
        entry_synapses=r.choice((2, 5, 60)),
        list_words=r.choice((8, 256)),
        base_compartments=r.choice((4, 16, 256)),
        population_atoms=r.choice((2, 3, 512)),
        delay=r.choice((7, 63)),
    )


def drawn(seed: int, largest: int = 120) -> tuple[Graph, Limits, int]:
    """A network in the form in which it is cut, limits, and bits of a weight."""
    r = random.Random(seed)
    graph, _ = Synapses(event_sums=False).run(_Draw(r, largest).network())
    return graph, LOIHI if r.random() < 0.3 else small_limits(r), r.choice((8, 8, 8, 4, 7))


def built(seed: int, largest: int = 120) -> Report:
    graph, limits, bits = drawn(seed, largest)
    return check(graph, cut_boxes(graph, limits, "loihi", weight_bits=bits))


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_cores_are_built_with_what_the_mapper_says(first: int) -> None:
    for seed in range(first, first + 10):
        assert built(seed).violations == [], seed
