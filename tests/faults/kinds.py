"""All kinds of faults: where each is planted, in what, and how it is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

import neurocompile
from neurocompile.ir.ops import Array
from neurocompile.reports.validation import Validation
from tests.faults import lava, rtl
from tests.faults.cases import Case, by_reals, case_of
from tests.faults.faults import FAULTS, OF_NUMBERS, Fault
from tests.faults.networks import Base, Network
from tests.faults.outside import OUTSIDE
from tests.faults.planted import Planted, in_integers, in_reals
from tests.faults.tools import ToolFault
from tests.random_networks.choices import calibrated

__all__ = ["KINDS", "Kind"]

Plant: TypeAlias = Callable[[Network, np.random.Generator], Case | None]
"""A case in a layer that is drawn; None where there is none, or where too little differs: draw again."""

# So many spikes have to differ: of fewer, nobody could tell what they come from.
_LEAST = 3


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: where it is planted, and what it is.
        plant: draws one.
        is_known: whether the vocabulary has a name for it.
        needs: the tool that its stage runs in, if any.
        cases: how many there are at least, whatever the number of networks.
    """

    name: str
    plant: Plant
    is_known: bool = True
    needs: str = ""
    cases: int = 0


def _layer(base: Base, r: np.random.Generator) -> str:
    return base.layers[int(r.integers(len(base.layers)))]


def _target(r: np.random.Generator) -> str:
    return ("generic", "nc1")[int(r.integers(2))]


def _recorded(base: Base, planted: Planted | None) -> Case | None:
    if planted is None:
        return None
    spikes = planted.spikes

    def validation() -> Validation:
        return neurocompile.validate(base.program, base.inputs, recorded=spikes, backend_samples=0)

    return case_of(base, planted.names, spikes, validation, least=_LEAST)


# -- in the graph ------------------------------------------------------------------------------------------------------


# Membranes in reals meet no threshold, of which a layer of torch has one.
_NOT_IN_REALS = frozenset({"comparison", "threshold-saturated"})


def _in_graph(fault: Fault) -> Plant:
    def plant(network: Network, r: np.random.Generator) -> Case | None:
        base = network.base("generic")
        found = in_reals(base, _layer(base, r), fault, r)
        if found is None:
            return None
        graph, planted = found
        program = replace(base.program, real=graph)

        def validation() -> Validation:
            return neurocompile.validate(program, base.inputs, reference=base.model, backend_samples=0)

        return case_of(
            base, planted.names, planted.spikes, validation, "lowering", _LEAST, base.expected,
            by_reals(base, planted.spikes),
        )  # fmt: skip

    return plant


# -- in integers -------------------------------------------------------------------------------------------------------

# Seen in coarse integers only: membranes that meet their thresholds, roundings.
_COARSE = frozenset({"comparison", "decay-rounding", "threshold-rounded"})


def _in_integers(name: str, fault: Fault, only: bool = False) -> Plant:
    """``only``: nothing but the faulty layer is recorded."""

    def plant(network: Network, r: np.random.Generator) -> Case | None:
        base = network.base(_target(r), name in _COARSE)
        if not calibrated(base.spikes):
            return None
        layer = _layer(base, r)
        planted = in_integers(base, [(layer, fault)], r)
        if planted is None or not only:
            return _recorded(base, planted)
        return _recorded(base, Planted(planted.names, {layer: planted.spikes[layer]}))

    return plant


_ALONE = ("threshold-scaled", "weights-missing (source)", "bias-missing", "decay-value", "neuron-dead", "events-lost")


def _pair(same: bool) -> Plant:
    """Two faults, in one layer or in two."""
    names = sorted(set(FAULTS) - _COARSE)

    def plant(network: Network, r: np.random.Generator) -> Case | None:
        base = network.base(_target(r))
        one, two = (base.layers[k] for k in r.choice(len(base.layers), 2, replace=False))
        a, b = (FAULTS[names[k]] for k in r.choice(len(names), 2, replace=False))
        return _recorded(base, in_integers(base, [(one, a), (one if same else two, b)], r))

    return plant


# -- in recordings -----------------------------------------------------------------------------------------------------


_Record: TypeAlias = Callable[[Array, np.random.Generator], Array]
"""What becomes of recorded spikes."""


def _in_recording(change: _Record, *names: str) -> Plant:
    """What was recorded is not what the chip did: of a layer that does not hear itself, and nobody after it."""

    def plant(network: Network, r: np.random.Generator) -> Case | None:
        base = network.base(_target(r))
        layer = _layer(base, r)
        after = _after(base, layer)
        if layer in after:
            return None
        recorded = {name: spikes for name, spikes in base.spikes.items() if name not in after}
        recorded[layer] = change(recorded[layer], r).astype(np.int8)
        return _recorded(base, Planted({layer: frozenset(names)}, recorded))

    return plant


def _after(base: Base, layer: str) -> set[str]:
    """The layers that what a layer fires can reach."""
    graph = base.program.integer
    found: set[str] = set()
    waiting = [layer]
    while waiting:
        more = [node.name for node in graph.consumers[waiting.pop()] if node.name not in found]
        found.update(more)
        waiting += more
    return found & set(base.layers)


def _thinned(spikes: Array, r: np.random.Generator) -> Array:
    return spikes * (r.random(spikes.shape) >= 0.2)


def _doubled(spikes: Array, r: np.random.Generator) -> Array:
    again = np.roll(spikes, 1, 1) * (r.random(spikes.shape) < 0.4)
    again[:, 0] = 0
    return np.asarray(np.maximum(spikes, again))


def _jittered(spikes: Array, r: np.random.Generator) -> Array:
    """By a step, to both sides."""
    by = np.where(r.random(spikes.shape) < 0.3, r.choice((-1, 1), spikes.shape), 0)
    found = np.zeros_like(spikes)
    sample, step, *neuron = np.nonzero(spikes)
    to = np.clip(step + by[spikes != 0], 0, spikes.shape[1] - 1)
    found[(sample, to, *neuron)] = 1
    return found


def _shifted(spikes: Array, r: np.random.Generator) -> Array:
    late = np.roll(spikes, 1, 1)
    late[:, 0] = 0
    return late


def _swapped(spikes: Array, r: np.random.Generator) -> Array:
    a, b = r.choice(spikes.shape[2], 2, replace=False)
    order = np.arange(spikes.shape[2])
    order[[a, b]] = order[[b, a]]
    return spikes[:, :, order]


def _of_one(change: _Record) -> _Record:
    def changed(spikes: Array, r: np.random.Generator) -> Array:
        where: tuple[Any, ...] = (slice(None), slice(None), *(int(r.integers(n)) for n in spikes.shape[2:]))
        spikes = spikes.copy()
        spikes[where] = change(spikes[where], r)
        return spikes

    return changed


_RECORDINGS: dict[str, Plant] = {
    "events-lost": _in_recording(_thinned, "events-lost"),
    "events-doubled": _in_recording(_doubled, "events-doubled"),
    "events-jittered": _in_recording(_jittered, "events-jittered"),
    "step late": _in_recording(_shifted, "delay-off", "events-jittered"),
    "channels-swapped": _in_recording(_swapped, "channels-swapped"),
    "neuron-dead": _in_recording(_of_one(lambda s, r: np.zeros_like(s)), "neuron-dead"),
    "neuron-stuck": _in_recording(_of_one(lambda s, r: np.ones_like(s)), "neuron-stuck"),
    "neuron-noisy": _in_recording(_of_one(lambda s, r: s ^ (r.random(s.shape) < 0.4)), "neuron-noisy"),
}


# -- where a tool runs what was altered --------------------------------------------------------------------------------


def _in_tool(fault: ToolFault, target: str) -> Plant:
    def plant(network: Network, r: np.random.Generator) -> Case | None:
        base = network.base(target).first(lava.SAMPLES if target == "loihi2" else rtl.SAMPLES)
        layer = _layer(base, r)
        ran = fault(base, layer, r)
        if ran is None:
            return None
        stage = "lava" if target == "loihi2" else "rtl"
        return case_of(base, {layer: ran.names}, ran.spikes, lambda: ran.validation, stage)

    return plant


def _kinds() -> list[Kind]:
    return [
        *(Kind(f"graph/{name}", _in_graph(fault)) for name, fault in OF_NUMBERS.items() if name not in _NOT_IN_REALS),
        *(Kind(f"integers/{name}", _in_integers(name, fault)) for name, fault in FAULTS.items()),
        *(Kind(f"one layer/{name}", _in_integers(name, FAULTS[name], only=True)) for name in _ALONE),
        *(Kind(f"recording/{name}", plant) for name, plant in _RECORDINGS.items()),
        *(Kind(f"lava/{name}", _in_tool(fault, "loihi2"), needs="lava") for name, fault in lava.FAULTS.items()),
        *(Kind(f"rtl/{name}", _in_tool(fault, "nc1"), needs="rtl") for name, fault in rtl.FAULTS.items()),
        *(Kind(f"outside/{name}", _in_integers(name, fault), False) for name, fault in OUTSIDE.items()),
        Kind("pairs/of layers", _pair(False), False, cases=10),
        Kind("pairs/in a layer", _pair(True), False, cases=10),
    ]


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _kinds()}
"""By name, in the order of a report."""
