"""What a program is and did, by the names of NeuroBench's metrics (docs/counts.md says where the two differ).

(Yik et al., "The neurobench framework for benchmarking neuromorphic computing algorithms and systems", Nature
Communications 16, 2025, doi:10.1038/s41467-025-56739-4.) All of it comes from the program and from what a run counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from neurocompile.ir.counts import Counts
from neurocompile.ir.form import Layer, Synapse, form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Add, Array, Linear, Neuron, Reshape, Scale, SumPool
from neurocompile.mapping.host import host_layers
from neurocompile.program import Program
from neurocompile.simulator.counts import fanouts, stored_in

__all__ = ["NeuroBench", "SynapticOperations", "neurobench"]

_HOST_BITS = 16
"""Of the weights of layers that the host computes, at least."""


@dataclass(frozen=True)
class SynapticOperations:
    """Of one sample, on average: what is not 0 meeting weights that are not 0, and what there could be at most.

    Attributes:
        macs: effective multiply-accumulates: inputs in numbers, and sums of spikes (behind an average pool).
        acs: effective accumulates: spikes.
        dense: both, if every input and every weight were another number than 0.
    """

    macs: float = field(metadata={"json": "Effective_MACs"})
    acs: float = field(metadata={"json": "Effective_ACs"})
    dense: float = field(metadata={"json": "Dense"})


@dataclass(frozen=True)
class NeuroBench:
    """Figures by NeuroBench's names.

    Attributes:
        footprint: bytes of the weights and of all that differs from neuron to neuron.
        connection_sparsity: the share of weights that are 0, shared ones counted once.
        parameter_count: weights, shared ones counted once, and numbers that differ from neuron to neuron.
        activation_sparsity: the share of neurons and steps that do not fire; without neurons that fire several spikes a
            step, and None if there are no others.
        synaptic_operations: None where nothing was counted (a run in float64).
        membrane_updates: of one sample, on average: neurons and steps whose input or state is not 0; likewise.
    """

    footprint: int = field(metadata={"json": "Footprint"})
    connection_sparsity: float = field(metadata={"json": "ConnectionSparsity"})
    parameter_count: int = field(metadata={"json": "ParameterCount"})
    activation_sparsity: float | None = field(metadata={"json": "ActivationSparsity"})
    synaptic_operations: SynapticOperations | None = field(metadata={"json": "SynapticOperations"})
    membrane_updates: float | None = field(metadata={"json": "MembraneUpdates"})


def neurobench(
    program: Program, counts: Counts, fired: Mapping[str, int], samples: int, given: Mapping[str, Array]
) -> NeuroBench:
    """The figures of a run.

    Args:
        program: that was run.
        counts: of the run; empty if nothing was counted.
        fired: spikes of each layer of neurons, over all samples.
        samples: how many.
        given: how often each element of a real-valued input was not 0, over all samples and steps, ``[*shape]``; of
            inputs that are missing (a host makes them) every step counts.
    """
    graph, layers = program.integer, form_of(program.integer).layers
    weights = [weight for layer in layers.values() for weight in _weights(layer)]
    # Of neurons that fire several spikes a step, counts do not tell in how many steps they did.
    several = {name for name, layer in layers.items() if isinstance(layer.op, Neuron) and layer.op.max_spikes > 1}
    fired = {name: spikes for name, spikes in fired.items() if name not in several}
    places = sum(graph.edges[name].size for name in fired) * program.timesteps * samples
    updated = [counts.layers[node.name].active for node in graph.of(Neuron) if node.name in counts.layers]
    number = sum(weight.size for weight in weights)
    return NeuroBench(
        footprint=_bytes(program, layers),
        connection_sparsity=1 - sum(int(np.count_nonzero(weight)) for weight in weights) / number if number else 0.0,
        parameter_count=number + sum(each.size for layer in layers.values() for each in _beside(layer)),
        activation_sparsity=1 - sum(fired.values()) / places if places else None,
        synaptic_operations=_operations(program, counts, fired, samples, given) if counts.layers else None,
        membrane_updates=sum(int(each.sum()) for each in updated) / samples if counts.layers else None,
    )


# -- the program -------------------------------------------------------------------------------------------------------


def _weights(layer: Layer) -> Iterator[Array]:
    """What is stored of each connection, shared weights once; a scale from one neuron to one is none."""
    for synapse in layer.synapses:
        op = synapse.op
        if isinstance(op, Linear) and op.stored is not None:
            yield op.weight[op.stored]
        elif not isinstance(op, Scale):
            yield op.weight


def _beside(layer: Layer) -> Iterator[Array]:
    """What else a layer has in more than one number: thresholds, biases, gains, scales."""
    for node in (layer.node, *layer.wiring, *(each.node for each in layer.synapses if isinstance(each.op, Scale))):
        yield from (value for value in vars(node.op).values() if isinstance(value, np.ndarray) and value.size > 1)


def _bytes(program: Program, layers: Mapping[str, Layer]) -> int:
    """Weights in the program's bits (the host's in its own), numbers beside them in a membrane's, flips in one."""
    on_host, size = host_layers(program), 0
    for name, layer in layers.items():
        bits = program.bits_of(name)
        size += sum(each.size for each in _weights(layer)) * (max(bits, _HOST_BITS) if name in on_host else bits)
        size += sum(each.size * (1 if each.dtype == bool else program.arithmetic.state_bits) for each in _beside(layer))
    return -(-size // 8)


# -- what it did -------------------------------------------------------------------------------------------------------


def _operations(
    program: Program, counts: Counts, fired: Mapping[str, int], samples: int, given: Mapping[str, Array]
) -> SynapticOperations:
    """Counts by layer, less what NeuroBench has no connection for: sums of events, and scales from neuron to neuron."""
    graph, steps = program.integer, program.timesteps * samples
    macs = acs = dense = 0
    for name, layer in form_of(graph).layers.items():
        connected = [synapse for synapse in layer.synapses if not isinstance(synapse.op, Scale)]
        scaled = [synapse for synapse in layer.synapses if isinstance(synapse.op, Scale)]
        met = int(counts.layers[name].sops_nonzero.sum()) - sum(_passed(graph, each, fired) for each in scaled)
        if any(_is_graded(graph, synapse.event) for synapse in connected):
            macs += met
        else:
            acs += met
        dense += sum(stored_in(each.op, each.reads.shape, each.gives) for each in connected) * steps
    for fanout in fanouts(graph, real_only=True):
        active = _active(graph, fanout.event, given)
        of_real = np.where(fanout.real, fanout.nonzero, 0)
        macs += int((of_real * (steps if active is None else active)).sum())
    return SynapticOperations(macs / samples, acs / samples, dense / samples)


def _passed(graph: Graph, synapse: Synapse, fired: Mapping[str, int]) -> int:
    """The spikes that pass a scale, as far as the counts tell: those that come straight from neurons."""
    if synapse.event not in fired or not np.all(synapse.op.scale):
        return 0
    return fired[synapse.event]


def _is_graded(graph: Graph, name: str) -> bool:
    """Whether an event can be more than one: a sum of spikes, or several of one neuron."""
    node = graph[name]
    match node.op:
        case SumPool() | Add():
            return True
        case Neuron():
            return node.op.max_spikes > 1
    return any(_is_graded(graph, source) for source in node.inputs)


def _active(graph: Graph, name: str, given: Mapping[str, Array]) -> Array | None:
    """How often each element of an event was not 0; None for what is no input (all of its steps count then)."""
    node = graph[name]
    if isinstance(node.op, Reshape):
        active = _active(graph, node.inputs[0], given)
        return None if active is None else active.reshape(node.op.shape)
    return given.get(name)
