"""Faults in the words that are written into the memories of nc1."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from neurocompile.backends.rtl.bundle import Foreseen, run_files
from neurocompile.backends.rtl.executor import RTL
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Linear
from neurocompile.simulator.base import RunnerSettings
from neurocompile.targets.nc1.chip import Nc1, Parameters
from tests.faults.networks import Base
from tests.faults.tools import Ran, ToolFault, run_in

__all__ = ["FAULTS", "SAMPLES", "missing"]

SAMPLES = 4

_AXONS, _SYNAPSES, _NEURONS, _TABLE = 0, 1, 2, 4
_DECAY_BITS = 18
_NO_RESET = -2  # 2 in two bits, which are read as a signed number here


def missing() -> str:
    """Why the RTL does not run here, if it does not."""
    return "" if shutil.which("verilator") or shutil.which("iverilog") else "there is no Verilator: make system"


@dataclass(frozen=True, eq=False)
class Image:
    """The words of a chip by place, memory and address; ``layer`` is where they are altered."""

    chip: Nc1
    layer: str
    words: dict[tuple[int, int, int], int]
    r: np.random.Generator

    @property
    def sizes(self) -> Parameters:
        """Of the chip."""
        return self.chip.parameters

    @property
    def neurons(self) -> list[tuple[int, int, int]]:
        """Where those of the layer stand."""
        partition = self.chip.partition
        places = self.chip.place[partition.core[self.layer]]
        return [(int(p), _NEURONS, int(slot)) for p, slot in zip(places, partition.slot[self.layer])]

    @property
    def axons(self) -> list[tuple[int, range, int]]:
        """Place, words and first group of each: its list counts groups from that one."""
        bits = max(1, (self.sizes.words - 1).bit_length())
        mask, wide = (1 << bits) - 1, (1 << bits + 1) - 1
        return [
            (place, range(word & mask, (word & mask) + (word >> bits & wide)), word >> 2 * bits + 1)
            for (place, memory, _), word in self.words.items()
            if memory == _AXONS
        ]

    @property
    def synapses(self) -> list[tuple[int, int, int]]:
        """Where weights stand that the layer hears, and no other: lists are shared."""
        at, wrap = self.sizes.weight_bits * self.sizes.lanes, 1 << max(1, (self.sizes.groups - 1).bit_length())
        heard: dict[tuple[int, int, int], set[str]] = {}
        for place, addresses, first in self.axons:
            owner = self.chip.partition.owner[self._core(place)]
            for key in ((place, _SYNAPSES, address) for address in addresses):
                group = ((self.words[key] >> at) + first) % wrap
                heard.setdefault(key, set()).add(owner[group] if group < len(owner) else "")
        return [key for key, layers in heard.items() if layers == {self.layer}]

    @property
    def table(self) -> list[tuple[int, int, int]]:
        """What holds for all neurons of the layer in a core."""
        cores = sorted(set(self.chip.partition.core[self.layer].tolist()))
        kinds = {core: list(dict.fromkeys(self.chip.partition.owner[core])) for core in cores}
        return [(int(self.chip.place[core]), _TABLE, kinds[core].index(self.layer)) for core in cores]

    def _core(self, place: int) -> int:
        return int(self.chip.core_at[place])

    def value(self, key: tuple[int, int, int], widths: Mapping[str, int], name: str) -> int:
        """A signed field of a word."""
        at, width = _place_of(widths, name)
        sign = 1 << width - 1
        return ((self.words[key] >> at & (1 << width) - 1) ^ sign) - sign

    def change(
        self, key: tuple[int, int, int], widths: Mapping[str, int], name: str, new: Callable[[int], Any]
    ) -> bool:
        """Give a field another value, the nearest that it holds; returns whether it is another."""
        at, width = _place_of(widths, name)
        mask, sign, old = (1 << width) - 1, 1 << width - 1, self.value(key, widths, name)
        value = int(np.clip(int(new(old)), -sign, sign - 1))
        self.words[key] = self.words[key] & ~(mask << at) | (value & mask) << at
        return value != old

    def parameter(self, name: str, new: Callable[[int], Any], keys: list[tuple[int, int, int]] | None = None) -> bool:
        """A number of the layer's neurons, or of some."""
        state = self.sizes.state_bits
        widths = {"threshold": state + 1, "flip": 1, "bias": state, "decay": _DECAY_BITS, "rest": state, "init": state}
        return _some(self.change(key, widths, name, new) for key in keys or self.neurons)

    def kind(self, name: str, new: Callable[[int], int]) -> bool:
        """A number of all of them."""
        widths = {"first": 16, "stop": 16, "mode": 2, "shift": 6}
        return _some(self.change(key, widths, name, new) for key in self.table)

    def weights(self, new: Callable[[int], Any], keys: list[tuple[int, int, int]] | None = None) -> bool:
        """Weights of the layer, or those of some words."""
        return _some(self.change(key, self.lanes, lane, new) for key in keys or self.synapses for lane in self.lanes)

    @property
    def lanes(self) -> dict[str, int]:
        """The weights of a word, and how wide they are."""
        return {str(lane): self.sizes.weight_bits for lane in range(self.sizes.lanes)}

    def of_axon(self, key: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """The layer's words of a list that one of them stands in."""
        place, _, address = key
        words = next(words for where, words, _ in self.axons if where == place and address in words)
        return [other for other in self.synapses if other[0] == place and other[2] in words]


def _some(changed: Iterable[bool]) -> bool:
    """Whether any is true, once all are there."""
    return sum(changed) > 0


def _place_of(widths: Mapping[str, int], name: str) -> tuple[int, int]:
    """The first bit of a field, and its width."""
    return sum(list(widths.values())[: list(widths).index(name)]), widths[name]


def _fault(change: Callable[[Image, Base], bool], *names: str) -> ToolFault:
    """Both the neuron and the image are drawn from ``r``: the chip of each run is altered alike."""

    def fault(base: Base, layer: str, r: np.random.Generator) -> Ran | None:
        seed, changed = int(r.integers(2**32)), []
        executor = RTL.open(base.program, RunnerSettings())
        assert not isinstance(executor, str), executor

        def altered(chip: Nc1, foreseen: Foreseen) -> dict[str, bytes]:
            files = run_files(chip, foreseen)
            lines = ([int(field, 16) for field in line.split()] for line in files["image.txt"].decode().splitlines())
            image = Image(chip, layer, {(p, m, a): word for p, m, a, word in lines}, np.random.default_rng(seed))
            changed.append(change(image, base))
            text = "".join(f"{p:x} {m:x} {a:x} {word:x}\n" for (p, m, a), word in image.words.items())
            return {**files, "image.txt": text.encode()}

        with mock.patch("neurocompile.backends.rtl.executor.run_files", altered):
            ran = run_in(RTL, executor, base, frozenset(names))
        return ran if all(changed) else None

    return fault


def _one(name: str, value: int) -> Callable[[Image, Base], bool]:
    """A number of a single neuron."""
    return lambda image, base: image.parameter(
        name, lambda _: value, [image.neurons[int(image.r.integers(len(image.neurons)))]]
    )


def _threshold(image: Image, base: Base) -> bool:
    scale = (0.5, 0.7, 1.5, 2.0)[int(image.r.integers(4))]
    return image.parameter("threshold", lambda x: round(x * scale))


def _rest(image: Image, base: Base) -> bool:
    most = int(np.abs(form_of(base.program.integer).layers[image.layer].op.threshold).max())
    return image.parameter("rest", lambda x: x + most // 2)


def _one_weight(image: Image, base: Base) -> bool:
    """Of a layer of matrices, whose connections share none."""
    if not all(isinstance(s.op, Linear) for s in form_of(base.program.integer).layers[image.layer].synapses):
        return False
    there = [(k, lane) for k in image.synapses for lane in image.lanes if image.value(k, image.lanes, lane)]
    key, lane = there[int(image.r.integers(len(there)))]
    return image.change(key, image.lanes, lane, lambda w: 127 if w < 0 else -127)


def _one_source(image: Image, base: Base) -> bool:
    """What the layer hears of one neuron, or one input, in a core."""
    keys = image.synapses
    return image.weights(lambda _: 0, image.of_axon(keys[int(image.r.integers(len(keys)))]))


FAULTS: dict[str, ToolFault] = {
    "threshold-scaled": _fault(_threshold, "threshold-scaled"),
    "weights-scaled": _fault(lambda image, _: image.weights(lambda w: round(w / 2)), "weights-scaled"),
    "weights-scaled (shift)": _fault(lambda image, _: image.kind("shift", lambda shift: shift + 1), "weights-scaled"),
    "weights-rounded": _fault(lambda image, _: image.weights(lambda w: round(w / 64) * 64), "weights-rounded"),
    "weights-saturated": _fault(lambda image, _: image.weights(lambda w: np.clip(w, -31, 31)), "weights-saturated"),
    "weights-missing": _fault(_one_source, "weights-missing"),
    "weight-changed": _fault(_one_weight, "weight-changed"),
    "bias-missing": _fault(lambda image, _: image.parameter("bias", lambda _: 0), "bias-missing", "bias-scaled"),
    "decay-value": _fault(
        lambda image, _: image.parameter("decay", lambda d: d - 20_000 if d > 32_768 else d + 20_000), "decay-value"
    ),
    "reset-value": _fault(_rest, "reset-value"),
    "reset-missing": _fault(lambda image, _: image.kind("mode", lambda _: _NO_RESET), "reset-missing"),
    "neuron-dead": _fault(_one("threshold", 1 << 40), "neuron-dead"),
    "neuron-stuck": _fault(_one("threshold", -(1 << 40)), "neuron-stuck"),
}
