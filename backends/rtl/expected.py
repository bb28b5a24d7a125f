"""What the testbench of nc1 is to log, from the timing simulator and the functional engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.nc1 import Timing
from neurocompile.targets.nc1.chip import Nc1, Steps

__all__ = ["log_lines"]


def log_lines(chip: Nc1, steps: Steps, timing: Timing, left: Mapping[str, Array]) -> Iterator[str]:
    """Every line of the log with membranes, in the order of the testbench.

    Args:
        chip: the mapped program.
        steps: what happens.
        timing: when it happens.
        left: what each step leaves on the membrane of every neuron and integrator, ``[N, T, *shape]``.
    """
    cores = chip.parameters.cores
    lines: list[tuple[int, int, int, str]] = []  # cycle, place, order among those of one cycle and place, text
    lines += _updates(chip, steps, timing, left)
    events = timing.events
    payload = _payloads(steps, events)
    for (_, leaves, _, to, axon, _), value in zip(events.tolist(), payload.tolist()):
        if to < 0:
            lines.append((leaves, cores, 2, f"h {leaves} {axon} {value}"))
        else:
            lines.append((leaves, to, 1, f"e {leaves} {to} {axon} {value}"))
    lines.sort(key=lambda line: line[:3])
    at = 0
    for k, (start, quiet) in enumerate(zip(timing.start.tolist(), timing.quiet.tolist())):
        sample, step = divmod(k, steps.steps)
        yield f"t {start} {sample} {step}"
        while at < len(lines) and lines[at][0] <= quiet:
            yield lines[at][3]
            at += 1
        for place, idle in enumerate(timing.idle[k].tolist()):
            yield f"i {sample} {step} {place} {idle}"
    yield f"d {int(timing.quiet[-1])}"


def _payloads(steps: Steps, events: Array) -> Array:
    """What each flit carries: of the host's in its order, of all others 1."""
    payload = np.ones(len(events), np.int64)
    payload[events[:, 2] < 0] = steps.payload
    return payload


def _updates(chip: Nc1, steps: Steps, timing: Timing, left: Mapping[str, Array]) -> Iterator[tuple[int, int, int, str]]:
    """A line for each group that is updated: its cycle, its spikes, its membranes."""
    p, lanes = chip.parameters, chip.parameters.lanes
    digits, of_spikes = -(-lanes * p.state_bits // 4), -(-lanes // 4)
    mask = (1 << p.state_bits) - 1
    fired = _by_step(timing, p.cores)
    vectors = {}
    for k in range(steps.samples * steps.steps * p.cores):
        rows = slice(steps.vector_first[k], steps.vector_first[k + 1])
        vectors[k] = dict(zip(steps.group[rows].tolist(), steps.bits[rows].tolist()))
    for core, owners in enumerate(chip.partition.owner):
        place = int(chip.place[core])
        members = {name: _members(chip, core, name) for name in dict.fromkeys(owners)}
        for k in range(steps.samples * steps.steps):
            sample, step = divmod(k, steps.steps)
            bits, when = vectors[k * p.cores + place], fired.get((k, place), {})
            late = int(timing.start[k]) + 2  # the cycle in which group 0 would be updated
            for group, name in enumerate(owners):
                late = when.get(group, late + group) - group
                population = chip.netlist.populations[name]
                t = step - population.depth
                if not 0 <= t < chip.netlist.timesteps:
                    continue
                value: Any = 0
                of_layer = left[name][sample, t].ravel() if name in left else None
                for lane, neuron in members[name].get(group, ()):
                    v = 0 if of_layer is None else int(of_layer[neuron])
                    value |= (v & mask) << (lane * p.state_bits)
                cycle = late + group
                yield (
                    cycle,
                    place,
                    0,
                    f"u {cycle} {place} {group} {bits.get(group, 0):0{of_spikes}x} {value:0{digits}x}",
                )


def _members(chip: Nc1, core: int, name: str) -> dict[int, list[tuple[int, int]]]:
    """For each group of a core the lanes and neurons of one population."""
    found: dict[int, list[tuple[int, int]]] = {}
    lanes = chip.parameters.lanes
    for neuron in np.flatnonzero(chip.partition.core[name] == core).tolist():
        group, lane = divmod(int(chip.partition.slot[name][neuron]), lanes)
        found.setdefault(group, []).append((lane, neuron))
    return found


def _by_step(timing: Timing, cores: int) -> dict[tuple[int, int], dict[int, int]]:
    """The cycle of each vector, by step and place, then group."""
    found: dict[tuple[int, int], dict[int, int]] = {}
    step = np.searchsorted(timing.start, timing.fired[:, 0], side="right") - 1
    for k, (cycle, place, group) in zip(step.tolist(), timing.fired.tolist()):
        found.setdefault((k, place), {})[group] = cycle
    return found
