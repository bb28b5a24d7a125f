"""What an asynchronous chip does, in plain Python that looks everywhere all the time: slow, and easy to believe."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.asynchronous import KINDS, AsyncChip, AsyncEvents

Move = tuple[int, int]
MOVES: dict[int, Move] = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}
"""North, east, south and west."""


@dataclass
class Message:
    neuron: int
    axon: int
    to: int
    time: int
    ready: int = 0
    entered: int = 0
    arrived: int = 0
    taken: int = 0
    done: int = 0


@dataclass
class Done:
    """One step: when it was quiet, since when cores were idle, and its messages; all from its first moment on."""

    quiet: int
    idle: list[int]
    messages: list[Message]
    crossed: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    """Messages by tile and output."""


def plan(
    chip: AsyncChip, events: AsyncEvents, fired: set[int], active: set[int]
) -> list[list[tuple[int, Message | None]]]:
    """What each core does: how long it works before each of its messages, and, with None, after the last."""
    ps = {name: events.picoseconds(name) for name in events.latency}
    found = []
    for core in range(chip.cores):
        mine: list[tuple[int, Message | None]] = []
        wait = 0
        for neuron in range(chip.neuron_first[core], chip.neuron_first[core + 1]):
            wait += ps["neuron_access"]
            wait += ps["neuron_update"] if neuron in active or neuron in fired else 0
            wait += ps["neuron_spike"] if neuron in fired else 0
            if neuron not in fired:
                continue
            for axon in range(chip.axon_first[neuron], chip.axon_first[neuron + 1]):
                synapses = [int(n) * ps[kind] for n, kind in zip(chip.axon_synapses[axon], KINDS)]
                message = Message(neuron, axon, int(chip.axon_core[axon]), ps["message_in"] + sum(synapses))
                mine.append((wait + ps["message_out"], message))
                wait = 0
        found.append([*mine, (wait, None)])
    return found


def by_links(chip: AsyncChip, events: AsyncEvents, plans: list[list[tuple[int, Message | None]]]) -> Done:
    """Each moment, do what can be done: arrivals first, then cores that finish, then outputs, then senders."""
    ps = {name: events.picoseconds(name) for name in events.latency}
    mesh, ports = chip.mesh, 4 + chip.mesh.cores_per_tile
    x, y, port = chip.x.tolist(), chip.y.tolist(), (chip.place % mesh.cores_per_tile).tolist()
    hop = [ps[f"hop_{name}"] for name in ("north", "east", "south", "west")]

    def output_of(tile: int, message: Message) -> int:
        tx, ty, core = tile // mesh.height, tile % mesh.height, message.to
        if tx != x[core]:
            return tile * ports + (1 if tx < x[core] else 3)
        if ty != y[core]:
            return tile * ports + (0 if ty < y[core] else 2)
        return tile * ports + 4 + port[core]

    inputs: dict[int, deque[Message]] = defaultdict(deque)
    wanted: dict[int, list[int]] = defaultdict(list)  # by output: inputs whose head wants it
    flying: list[tuple[int, int, Message]] = []  # arrival, output, message
    free_at: dict[int, int] = defaultdict(int)
    waiting: list[deque[Message]] = [deque() for _ in range(chip.cores)]
    working: list[Message | None] = [None] * chip.cores
    local = [(x[c] * mesh.height + y[c]) * ports + 4 + port[c] for c in range(chip.cores)]
    core_at = {output: core for core, output in enumerate(local)}
    left = [deque(each) for each in plans]
    ready = [each[0][0] for each in plans]
    done = Done(0, [0] * chip.cores, [])
    finished = [False] * chip.cores

    def behind(output: int) -> int:
        """The input that an output leads to."""
        tile, way = divmod(output, ports)
        dx, dy = MOVES[way]
        return ((tile // mesh.height + dx) * mesh.height + tile % mesh.height + dy) * ports + way

    def room(output: int) -> bool:
        ahead = sum(each == output for _, each, _ in flying)
        if output in core_at:
            return len(waiting[core_at[output]]) + ahead < mesh.core_depth
        return len(inputs[behind(output)]) + ahead < mesh.link_depth

    def enter(number: int, message: Message) -> None:
        inputs[number].append(message)
        if len(inputs[number]) == 1:
            wanted[output_of(number // ports, message)].append(number)

    def take(core: int, now: int) -> None:
        if working[core] is None and waiting[core]:
            message = waiting[core].popleft()
            message.taken, message.done = now, now + message.time
            working[core] = message
            done.idle[core] = max(done.idle[core], message.done)

    def act(now: int) -> bool:
        """The first thing that can be done at this moment."""
        for arrival in sorted((each for each in flying if each[0] == now), key=lambda each: each[1]):
            flying.remove(arrival)
            _, output, message = arrival
            if output in core_at:
                waiting[core_at[output]].append(message)
                take(core_at[output], now)
            else:
                enter(behind(output), message)
            return True
        for core, message in enumerate(working):
            if message is not None and message.done == now:
                done.messages.append(message)
                working[core] = None
                take(core, now)
                return True
        for output in sorted(wanted):
            if wanted[output] and free_at[output] <= now and room(output):
                number = wanted[output].pop(0)
                message = inputs[number].popleft()
                if inputs[number]:
                    wanted[output_of(number // ports, inputs[number][0])].append(number)
                free_at[output] = now + ps["link_cycle"]
                done.crossed[divmod(output, ports)] += 1
                message.arrived = now + (ps["tile"] if output in core_at else hop[output % ports])
                flying.append((message.arrived, output, message))
                return True
        for core in range(chip.cores):
            if finished[core] or ready[core] > now:
                continue
            message = left[core][0][1]
            if message is None:
                finished[core] = True
                done.idle[core] = max(done.idle[core], ready[core])
            elif len(inputs[local[core]]) < mesh.link_depth:
                message.ready, message.entered = ready[core], now
                enter(local[core], message)
                left[core].popleft()
                ready[core] = now + left[core][0][0]
            else:
                continue
            return True
        return False

    now = 0
    while True:
        while act(now):
            pass
        later = [each[0] for each in flying] + [message.done for message in working if message is not None]
        later += [free_at[output] for output in wanted if wanted[output]]
        later += [ready[core] for core in range(chip.cores) if not finished[core]]
        later = [each for each in later if each > now]
        if not later:
            break
        now = min(later)
    assert not flying
    assert all(finished)
    assert not any(inputs.values())
    done.quiet = max(done.idle, default=0)
    return done


def by_density(chip: AsyncChip, events: AsyncEvents, plans: list[list[tuple[int, Message | None]]]) -> Done:
    """The messages in the order in which they are sent, each of which looks at all that are still on their way."""
    ps = {name: events.picoseconds(name) for name in events.latency}
    x, y = chip.x.tolist(), chip.y.tolist()

    def route(source: int, to: int) -> list[Any]:
        """Where a message enters each tile on its way from."""
        found: list[Any] = [(x[source], y[source], "core", source)]
        at = [x[source], y[source]]
        for axis in (0, 1):
            while at[axis] != (x, y)[axis][to]:
                step = 1 if at[axis] < (x, y)[axis][to] else -1
                at[axis] += step
                found.append((*at, axis, step))
        return found

    left = [deque(each) for each in plans]
    ready = [each[0][0] for each in plans]
    free = [0] * chip.cores
    done = Done(0, [0] * chip.cores, [])
    under_way: list[tuple[Message, list[Any]]] = []
    while any(each[0][1] is not None for each in left):
        core = min((ready[c], c) for c in range(chip.cores) if left[c][0][1] is not None)[1]
        message = left[core].popleft()[1]
        assert message is not None
        message.ready = ready[core]
        under_way = [(other, links) for other, links in under_way if other.taken > message.ready]
        links = route(core, message.to)
        hops = len(links) - 1
        part = 1 << 30
        along = sum(part // (len(other) + 1) for _, other in under_way for link in other if link in links)
        each = Fraction(sum(other.time for other, _ in under_way), max(len(under_way), 1))
        messages = Fraction(along, part)
        capacity = chip.mesh.link_depth * (hops + 1)
        message.entered = message.ready + max(0, int((messages - capacity) * each))
        least = sum(
            ps["hop_" + {(0, 1): "east", (0, -1): "west", (1, 1): "north", (1, -1): "south"}[link[2:]]]
            for link in links[1:]
        )
        message.arrived = message.entered + max(least, int(messages * each / (hops + 1)))
        message.taken = max(free[message.to], message.arrived)
        message.done = free[message.to] = message.taken + message.time
        under_way.append((message, links))
        done.messages.append(message)
        ready[core] = message.entered + left[core][0][0]
    done.idle = [max(ready[c], free[c]) for c in range(chip.cores)]
    done.quiet = max(done.idle, default=0)
    return done


def integrate_and_fire(
    steps: int, threshold: Array, pre: Array, post: Array, weight: Array, bias: Array, reset: Array, subtracts: Array
) -> tuple[list[set[int]], list[set[int]]]:
    """Who fires in each step, and who is active."""
    n = len(threshold)
    v, current, touched = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, bool)
    fired, active = [], []
    for _ in range(steps):
        active.append(set(np.flatnonzero((v != 0) | touched | (bias != 0)).tolist()))
        v = v + current + bias
        fires = v > threshold
        v = np.where(fires, np.where(subtracts, v - threshold, reset), v)
        fired.append(set(np.flatnonzero(fires).tolist()))
        meets = fires[pre]
        current, touched = np.zeros(n, np.int64), np.zeros(n, bool)
        np.add.at(current, post[meets], weight[meets])
        touched[post[meets]] = True
    return fired, active
