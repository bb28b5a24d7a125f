"""What a target's file may say beside its arithmetic: every key and what its value may be."""

from __future__ import annotations

from collections.abc import Mapping

from neurocompile.keys import Key, Keys, whole

__all__ = ["LIMITS", "MESH", "MOST_PLACES", "NEEDS", "TABLES", "TOP", "UNITS", "Key", "constant_keys"]

_TEXT = Key("text")
_COUNT = Key("number", 1)

TOP: Keys = {
    "family": _TEXT, "like": _TEXT, "description": _TEXT, "emits": Key("texts"), "backends": Key("texts"),
    "clock": _TEXT, "timed_as": _TEXT,
}  # fmt: skip
"""Keys outside of any table."""
TABLES = ("arithmetic", "limits", "prices", "parameters", "events", "mesh", "barrier", "static")
"""The tables of a file."""

LIMITS: Keys = {
    **dict.fromkeys(("neurons", "synapses", "cores", "neurons_per_core", "synapse_bytes_per_core"), _COUNT),
    **dict.fromkeys(("synapse_words_per_core", "input_axons_per_core", "output_axons_per_core"), _COUNT),
    **dict.fromkeys(("cores_per_tile", "lanes", "list_word_bits", "entry_header_bits", "entry_synapses"), _COUNT),
    **dict.fromkeys(("list_words", "base_compartments", "index_bits", "population_atoms"), _COUNT),
    **dict.fromkeys(("compartment_profiles", "threshold_profiles", "synapse_formats"), _COUNT),
    **dict.fromkeys(("halos", "kernels_once", "packing"), Key("flag")),
    "leaving_slots": whole(0, 1 << 10, needed=False),
    "mesh": Key("pair", 1, 1 << 12),
    "delay": whole(0, 1 << 16, needed=False),
    "source": _TEXT,
}
MESH: Keys = {
    **dict.fromkeys(("width", "height", "cores_per_tile"), whole(1, 1 << 12)),
    **dict.fromkeys(("link_depth", "core_depth"), whole(1, 1 << 16, needed=False)),
    "source": _TEXT,
}
MOST_PLACES = 1 << 20
"""So many cores a mesh may have places for."""

_LISTS = ("list_word_bits", "entry_header_bits", "entry_synapses")
_OF_LISTS = (
    "list_words", "base_compartments", "index_bits", "halos", "kernels_once", "population_atoms", "leaving_slots",
)  # fmt: skip
NEEDS: Mapping[str, tuple[str, ...]] = {
    **{key: tuple(other for other in _LISTS if other != key) for key in _LISTS},
    **dict.fromkeys(_OF_LISTS, _LISTS),
    **dict.fromkeys(("compartment_profiles", "threshold_profiles", "synapse_formats"), ("packing",)),
    "packing": ("neurons_per_core",),
    "cores_per_tile": ("mesh",),
    "synapse_words_per_core": ("lanes",),
    "lanes": ("synapse_words_per_core",),
}
"""Limits that say nothing alone, and those that they need beside them; families have more (``Family.needs``)."""

UNITS: Mapping[str, Mapping[str, float]] = {
    "pJ": {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "mJ": 1e9, "J": 1e12},
    "ns": {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9},
    "mW": {"nW": 1e-6, "uW": 1e-3, "mW": 1.0, "W": 1e3},
}
"""The unit of energies, of times and of powers, and how much of it others are."""


def constant_keys(unit: str, low: float = 0, high: float = 1e15) -> Keys:
    """What a constant says: a number from ``low`` to ``high`` in a unit of :data:`UNITS`, and where it comes from."""
    number = Key("number", low, high, whole=False)
    return {
        "nominal": Key("number", low, high, whole=False, needed=True),
        "min": number,
        "max": number,
        "unit": Key("text", choices=(unit,), needed=True),
        "basis": Key("text", choices=("measured", "simulated", "derived"), needed=True),
        "scope": Key("text", choices=("per event", "all-in"), needed=True),
        "source": Key("text", 1, needed=True),
        "covers": Key("texts"),
    }
