"""What a target's file may say beside its arithmetic: every key and what its value may be."""

from __future__ import annotations

from neurocompile.keys import Key, Keys, whole

__all__ = ["CONSTANT", "LIMITS", "MESH", "TABLES", "TOP", "Key"]

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
CONSTANT: Keys = {
    "nominal": Key("number", 0, 1e15, whole=False, needed=True),
    "min": Key("number", 0, 1e15, whole=False),
    "max": Key("number", 0, 1e15, whole=False),
    "unit": Key("text", needed=True),
    "basis": Key("text", choices=("measured", "simulated", "derived"), needed=True),
    "scope": Key("text", choices=("per event", "all-in"), needed=True),
    "source": Key("text", needed=True),
    "covers": Key("texts"),
}
