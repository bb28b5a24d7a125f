"""What a chip holds: one type for those that are cut into boxes and for those that are cut into lists."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What one chip holds, and each of its cores; None where it was never published, or nothing binds.

    ``mesh`` is the number of tiles (east-west, north-south), each of ``cores_per_tile`` cores. Synapse memory is in
    bytes, or in words of ``lanes`` weights, where neurons are updated ``lanes`` at a time; an output axon is an entry
    that leads from a neuron to a core. Where lists of synapses are known word by word (``list_word_bits``:
    :mod:`neurocompile.mapping.words`), an entry has a header and at most ``entry_synapses``, a list at most
    ``list_words``, and an axon names one of ``base_compartments``; with ``halos`` blocks may have compartments beyond
    their borders; an index has ``index_bits``, or as many as the
    compartments of a core ask for. ``kernels_once``: the cores know convolutions, whose kernels they store once and
    whose events take no axons. ``population_atoms`` neurons may share an axon; one that leaves its chip takes
    ``leaving_slots`` more. With ``packing`` layers share cores, as far as their ``compartment_profiles`` (decays and
    refractory times), ``threshold_profiles`` and ``synapse_formats`` (one a set of weights) do for all of them.
    ``delay`` is the longest synaptic delay in steps beyond the one that every synapse takes.
    """

    neurons: int | None = None
    synapses: int | None = None
    cores: int | None = None
    neurons_per_core: int | None = None
    synapse_bytes_per_core: int | None = None
    synapse_words_per_core: int | None = None
    input_axons_per_core: int | None = None
    output_axons_per_core: int | None = None
    lanes: int | None = None
    cores_per_tile: int | None = None
    mesh: tuple[int, int] | None = None
    list_word_bits: int | None = None
    entry_header_bits: int | None = None
    entry_synapses: int | None = None
    list_words: int | None = None
    base_compartments: int | None = None
    halos: bool = False
    index_bits: int | None = None
    kernels_once: bool = False
    population_atoms: int | None = None
    leaving_slots: int | None = None
    packing: bool = False
    compartment_profiles: int | None = None
    threshold_profiles: int | None = None
    synapse_formats: int | None = None
    delay: int | None = None
    source: str = ""

    @property
    def bound_chips(self) -> bool:
        """Whether a network can be too large for one chip: something of a whole chip is limited."""
        return any(each is not None for each in (self.neurons, self.synapses, self.cores))
