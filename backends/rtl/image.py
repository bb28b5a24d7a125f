"""What the memories of nc1 hold, word by word, as docs/nc1.md packs them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Neuron
from neurocompile.mapping.netlist import Population
from neurocompile.targets.nc1 import FIXED
from neurocompile.targets.nc1.chip import Nc1, Parameters, Steps

__all__ = ["event_lines", "image_lines", "sample_lines"]

_AXONS, _SYNAPSES, _NEURONS, _KINDS, _TABLE, _POINTERS, _ENTRIES, _SIZE = range(8)
_MODES = {"to": 0, "by": 1, "none": 2}
_INTEGRATES = 3


def _bits(number: int) -> int:
    """Of an index below ``number``."""
    return max(1, (number - 1).bit_length())


def _packed(*fields: tuple[int, int]) -> int:
    """Values with their widths, from bit 0 upwards; negative ones in two's complement."""
    word, at = 0, 0
    for value, width in fields:
        if not -(1 << width - 1) <= value < 1 << width:
            raise OverflowError(f"{value} does not fit into {width} bits")
        word |= (int(value) & ((1 << width) - 1)) << at
        at += width
    return word


def image_lines(chip: Nc1) -> Iterator[str]:
    """A line for each word: place, memory, address and data in hexadecimal."""
    for place, core in enumerate(chip.core_at):
        if core >= 0:
            for memory, address, word in _words(chip, int(core)):
                yield f"{place:x} {memory:x} {address:x} {word:x}"


def _words(chip: Nc1, core: int) -> Iterator[tuple[int, int, int]]:
    p, routes, partition = chip.parameters, chip.routes, chip.partition
    group_bits, word_bits, entry_bits = _bits(p.groups), _bits(p.words), _bits(p.fanout)
    axon_bits, x_bits, y_bits = _bits(p.axons), _bits(p.mesh_x), _bits(p.mesh_y)
    axons = chip.axons_of(core)
    held = zip(*(each[axons].tolist() for each in (routes.axon_word, routes.axon_words, routes.axon_group)))
    for axon, (first, count, group) in enumerate(held):
        where = group % (1 << group_bits), group_bits
        yield _AXONS, axon, _packed((first, word_bits), (count, word_bits + 1), where)
    words, lanes = slice(*routes.word_first[core : core + 2]), [p.weight_bits] * p.lanes
    stored = zip(routes.word_weights[words].tolist(), routes.word_offset[words].tolist())
    for number, (weights, offset) in enumerate(stored):
        yield _SYNAPSES, number, _packed(*zip(weights, lanes), (offset % (1 << group_bits), group_bits))
    kinds = list(dict.fromkeys(partition.owner[core]))
    silent = _packed(*zip((1 << (p.state_bits - 1), 0, 0, 0, 0, 0), _neuron_widths(p)))
    used: set[int] = set()
    for group, name in enumerate(partition.owner[core]):
        yield _KINDS, group, kinds.index(name)
    for kind, name in enumerate(kinds):
        population = chip.netlist.populations[name]
        op: Any = population.op
        mode = _MODES[op.reset] if isinstance(op, Neuron) else _INTEGRATES
        stop = population.depth + chip.netlist.timesteps
        yield _TABLE, kind, _packed((population.depth, 16), (stop, 16), (mode, 2), (op.shift, 6))
        mine = np.flatnonzero(partition.core[name] == core)
        slots = partition.slot[name][mine]
        for slot, values in zip(slots.tolist(), _neurons(population, p)[mine].tolist()):
            yield _NEURONS, slot, _packed(*zip(values, _neuron_widths(p)))
        used.update(slots)
    for slot in sorted(set(range(int(partition.groups[core]) * p.lanes)) - used):
        yield _NEURONS, slot, silent
    pointers, rows = chip.fanout_of(core)
    for neuron, (start, stop) in enumerate(pairwise(pointers.tolist())):
        if neuron < partition.groups[core] * p.lanes:
            yield _POINTERS, neuron, _packed((start, entry_bits), (stop - start, entry_bits + 1))
    for entry, row in enumerate(rows):
        to, axon = int(routes.entry_core[row]), int(routes.entry_axon[row])
        host = to == partition.cores
        x, y = (0, 0) if host else (int(chip.place[to]) % p.mesh_x, int(chip.place[to]) // p.mesh_x)
        yield _ENTRIES, entry, _packed((int(host), 1), (x, x_bits), (y, y_bits), (axon, axon_bits))
    yield _SIZE, 0, int(partition.groups[core])


def _neuron_widths(p: Parameters) -> tuple[int, ...]:
    """Threshold, flip, bias, decay, rest, init."""
    return p.state_bits + 1, 1, p.state_bits, int(FIXED["decay_bits"]), p.state_bits, p.state_bits


def _neurons(population: Population, p: Parameters) -> Array:
    """The six numbers of each neuron, ``[size, 6]``."""
    op: Any = population.op
    beyond = 1 << (p.state_bits - 1)
    values: tuple[Any, ...] = (beyond, 0, op.bias, op.decay, 0, 0)
    if isinstance(op, Neuron):
        flip = np.asarray(op.flip).astype(np.int64)
        strict = np.where(flip, -1, 1) if op.strict else 0
        threshold = np.clip(op.threshold + strict, -beyond - 1, beyond)
        values = threshold, flip, op.bias, op.decay, op.amount if op.reset == "by" else op.v_reset, op.v_init
    return np.stack([np.broadcast_to(value, population.shape).ravel() for value in values], axis=1)


def sample_lines(steps: Steps) -> Iterator[str]:
    """How many samples, and the steps of each."""
    yield f"{steps.samples:x} {steps.steps:x}"


def event_lines(chip: Nc1, steps: Steps) -> Iterator[str]:
    """A line for each event of the host: sample, step, x, y, axon, payload."""
    mask = (1 << chip.parameters.payload_bits) - 1
    step = np.repeat(np.arange(steps.samples * steps.steps), np.diff(steps.host_first))
    for k, place, axon, payload in zip(*(x.tolist() for x in (step, steps.host_core, steps.host_axon, steps.payload))):
        x, y = place % chip.parameters.mesh_x, place // chip.parameters.mesh_x
        yield f"{k // steps.steps:x} {k % steps.steps:x} {x:x} {y:x} {axon:x} {payload & mask:x}"
