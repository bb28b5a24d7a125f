"""When each layer sees the first step of the network, where every synapse takes one step of the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neurocompile.errors import DoesNotFit, Problem

__all__ = ["Hop", "layer_depths"]


@dataclass(frozen=True)
class Hop:
    """A way from one layer to another: ``synapses`` (1, or 0 through a pool), and a delay that the network asks for."""

    source: str
    target: str
    synapses: int = 1
    delay: int = 0


def layer_depths(layers: Sequence[str], hops: Sequence[Hop], inputs: Mapping[str, int]) -> dict[str, int]:
    """The least number of steps by which each layer lags behind the network, so that no hop comes too late.

    A layer at depth d does step t of the network in step t + d of the chip. A hop with delay k from depth a to depth b
    takes b - a + k steps, which must be at least one for each synapse; what is more is an extra delay of the synapse.

    Args:
        layers: all layers.
        hops: between layers, and from inputs.
        inputs: the depth of each input, 0.

    Raises:
        DoesNotFit: for loops that are shorter than their synapses, each named.
    """
    depth = {**dict.fromkeys(layers, 0), **inputs}
    because: dict[str, str] = {}
    for _ in range(len(depth) + 1):
        moved = []
        for hop in hops:
            least = depth[hop.source] + hop.synapses - hop.delay
            if hop.target not in inputs and least > depth[hop.target]:
                depth[hop.target] = least
                because[hop.target] = hop.source
                moved.append(hop.target)
        if not moved:
            return depth
    raise DoesNotFit([_loop(name, because, hops) for name in _first_in_each_loop(moved, because)])


def _first_in_each_loop(moved: Sequence[str], because: Mapping[str, str]) -> list[str]:
    seen: set[str] = set()
    found = []
    for name in moved:
        members = _members(name, because)
        if not seen & set(members):
            found.append(members[0])
        seen |= set(members)
    return found


def _members(name: str, because: Mapping[str, str]) -> list[str]:
    """The loop that lies behind a layer which moves for ever, in the order in which spikes run."""
    way: list[str] = []
    while name not in way:
        way.append(name)
        name = because[name]
    return way[way.index(name) :][::-1]


def _loop(name: str, because: Mapping[str, str], hops: Sequence[Hop]) -> Problem:
    members = _members(name, because)
    pairs = list(zip(members, members[1:] + members[:1]))
    synapses = sum(max(h.synapses for h in hops if (h.source, h.target) == pair) for pair in pairs)
    delay = sum(min(h.delay for h in hops if (h.source, h.target) == pair) for pair in pairs)
    return Problem(
        "this loop is shorter than its synapses: each of them takes a step on the chip",
        " -> ".join([*members, members[0]]),
        f"a delay of {delay}",
        f"at least {synapses}, one for each synapse",
        "delay the feedback by more steps, or close it around a single layer",
    )
