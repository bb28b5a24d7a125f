"""A chip's TOML file from an architecture of SANA-FE's, with what is missing there as comments."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from decimal import Decimal

from neurocompile.printable import printable
from neurocompile.targets.events import EVENTS
from neurocompile.targets.sanafe.architecture import Architecture, Cost, Note

__all__ = ["missing_of", "toml_for"]

_WIDTH = 118
_LINK_CYCLE_NS = "0.001"
"""The shortest time that is simulated: in SANA-FE, too, links carry any number of messages at once."""
_ARITHMETIC = (
    Note("weight bits, rounding, ends of registers", "[arithmetic]: as generic has them, not this chip's own"),
    Note("thresholds, biases and decays in silicon", "no [arithmetic.lif]: every neuron of the neuron equation"),
)
_MEMORY = (
    Note("synapse memory", "no synapse_bytes_per_core: it binds nothing"),
    Note("how lists of synapses lie in it", "no list_word_bits and what belongs to it: words are not counted"),
    Note("axons", "no input_axons_per_core, output_axons_per_core: they bind nothing"),
    Note("axons that neurons share", "no population_atoms: every axon is a neuron's own"),
    Note("delays of synapses", "no delay: programs have none"),
)
_PRICES = Note("bounds, basis and sources of numbers", 'the number alone, as "derived", from this file')


def missing_of(architecture: Architecture) -> tuple[Note, ...]:
    """What a target's file says, the architecture does not, and what the file that is made of it has instead."""
    notes = [*_ARITHMETIC, *_MEMORY]
    if not architecture.priced:
        notes.append(Note("energies: all are 0", "no [prices]: they are unpriced, not free"))
    if not architecture.priced and not architecture.timed:
        notes.append(Note("times: all are 0", "no [events]: nothing times it"))
        return tuple(notes)
    if not architecture.barrier_us:
        notes.append(Note("the time between steps (latency_sync)", "[barrier]: 0, as in SANA-FE"))
    return (
        *notes,
        Note("how fast messages follow each other on a link", f"link_cycle: {_LINK_CYCLE_NS} ns, next to nothing"),
        Note("messages that wait in front of a core", "core_depth: as many as in front of a link"),
        Note("messages within a tile", "tile: 0, as in SANA-FE"),
        Note("the power of a chip that does nothing", "no [static]: it is in no energy"),
        _PRICES,
    )


def toml_for(architecture: Architecture) -> str:
    """The file of a target."""
    return "\n".join(_lines(architecture)) + "\n"


def _lines(it: Architecture) -> Iterator[str]:
    events = it.priced or it.timed
    yield from _comment(f"{it.name}, from SANA-FE's {it.file}. Say below what is known better (docs/targets.md).")
    yield from _noted("Not in that file, and what stands here:", missing_of(it))
    yield from _noted("In that file, and not here:", it.unsaid)
    yield ""
    yield 'family = "generic"'
    yield f"description = {_text(f'{it.name}, an architecture of SANA-FE ({it.file})')}"
    if events:
        yield 'clock = "events"'
    yield from ("", "[arithmetic]", 'same_as = "generic"')
    if events:
        yield "event_sums = false  # a message is one spike: pools and sums become synapses"
    yield from ("", "[limits]")
    yield f"cores = {it.width * it.height * it.cores_per_tile}"
    yield f"neurons_per_core = {it.neurons_per_core}"
    yield f"cores_per_tile = {it.cores_per_tile}"
    yield f"mesh = [{it.width}, {it.height}]"
    yield f"source = {_source(it, 'width, height, max_neurons_supported')}"
    if it.priced:
        costs = it.costs
        access, update = costs["neuron_access"], costs["neuron_update"]
        dense, spike = costs["synapse_dense"], costs["neuron_spike"]
        yield from _constant(it, "prices.sop", dense.energy_pj, "pJ", f"{dense.keys[0]} of its dense synapses")
        active, keys = access.energy_pj + update.energy_pj, f"{access.keys[0]} and {update.keys[0]}"
        yield from _constant(it, "prices.neuron_active", active, "pJ", keys)
        yield from _constant(it, "prices.neuron_inactive", access.energy_pj, "pJ", access.keys[0])
        keys = f"{spike.keys[0]}; messages and hops are in [events]"
        yield from _constant(it, "prices.spike", spike.energy_pj, "pJ", keys)
    if events:
        yield from _events(it)


def _events(it: Architecture) -> Iterator[str]:
    yield from ("", "[mesh]")
    for key, value in (("width", it.width), ("height", it.height), ("cores_per_tile", it.cores_per_tile)):
        yield f"{key} = {value}"
    for key in ("link_depth", "core_depth"):
        yield f"{key} = {it.link_depth}"
    yield f"source = {_source(it, 'width, height, link_buffer_size; as many messages wait in front of a core')}"
    nothing = Cost(Decimal(0), Decimal(0), ("where a message within a tile costs nothing", "where it takes no time"))
    for name in EVENTS:
        cost = it.costs.get(name, nothing)
        yield from _constant(it, f"events.{name}.energy", cost.energy_pj, "pJ", cost.keys[0])
        yield from _constant(it, f"events.{name}.latency", cost.latency_ns, "ns", cost.keys[1])
    cycle = "which does not say it: links carry any number of messages at once there"
    yield from _constant(it, "events.link_cycle.latency", Decimal(_LINK_CYCLE_NS), "ns", cycle)
    barrier = it.barrier_us or {1: Decimal(0)}
    yield from ("", "[barrier]")
    yield f"tiles = [{', '.join(map(str, barrier))}]"
    yield f"latency = [{', '.join(map(_number, barrier.values()))}]"
    yield from ('unit = "us"', 'basis = "derived"', 'scope = "per step, from so many tiles in use on"')
    yield f"source = {_source(it, 'latency_sync' if it.barrier_us else 'which has no latency_sync: 0 there')}"


def _constant(it: Architecture, name: str, value: Decimal, unit: str, keys: str) -> Iterator[str]:
    yield from ("", f"[{name}]", f"nominal = {_number(value)}", f'unit = "{unit}"', 'basis = "derived"')
    yield from ('scope = "per event"', f"source = {_source(it, keys)}")


def _source(it: Architecture, keys: str) -> str:
    return _text(f"SANA-FE architecture {it.name} ({it.file}), {keys}")


def _number(value: Decimal) -> str:
    return repr(float(value))


def _text(text: str) -> str:
    """A text of TOML's."""
    return json.dumps(printable(text), ensure_ascii=False)


def _comment(text: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(printable(text), _WIDTH, initial_indent="# ", subsequent_indent=f"# {hanging}")


def _noted(head: str, notes: tuple[Note, ...]) -> Iterator[str]:
    if notes:
        yield from ("#", f"# {head}")
    for note in notes:
        yield from _comment(f"- {note.what}: {note.instead}", "  ")
