"""Real networks held against each other: exact in every spike, but for ties (design: the words for correct)."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurocompile.hosted import run_graph
from neurocompile.ir import Graph, interpret
from neurocompile.ir.ops import Array, Neuron
from neurocompile.ir.trace import Trace
from tests import exactness
from tests.exactness import Recorded, record
from tests.fuzz.graphs.cases import Case
from tests.simulator.engine_sweep import Compared

__all__ = ["exact", "hold", "known_of", "ran"]

OUTPUT = 1e-9
"""Of the largest number of an output."""


def ran(graph: Graph, inputs: dict[str, Array], timesteps: int) -> Trace:
    """A real graph in float64, and the host's parts."""
    if graph.hosts:
        return run_graph(graph, inputs, timesteps)
    return interpret(graph, inputs, timesteps, membranes=True)


def known_of(case: Case) -> Recorded:
    """What the live module did; of a graph that has none, the oracle."""
    if case.network is not None:
        return record(case.network)
    assert case.real is not None
    return recorded(case.real, ran(case.real, case.inputs, case.timesteps))


def recorded(graph: Graph, trace: Trace) -> Recorded:
    """A run with how far each membrane was from where its neuron does otherwise."""
    margins, thresholds = {}, {}
    for node in graph.of(Neuron):
        op: Any = node.op
        if node.name in trace.membranes:
            margins[node.name] = margins_of(op, trace.membranes[node.name])
        else:  # nothing is known of it: no tie
            margins[node.name] = np.full(trace.spikes[node.name].shape, np.inf)
        thresholds[node.name] = float(np.abs(op.threshold).min())
    return Recorded(list(trace.outputs.values()), trace.spikes, margins, thresholds)


def margins_of(op: Neuron, h: Array) -> Array:
    """The distance of membranes ``[N, T, *shape]`` from the nearest threshold."""
    compared = h
    if op.norm is not None and op.norm.on == "compare":
        compared = op.norm.gamma * (h - op.norm.mean) / op.norm.std + op.norm.beta
    margin = np.abs(compared - op.threshold)
    if op.negative_threshold is not None:
        margin = np.minimum(margin, np.abs(compared - op.negative_threshold))
    if op.max_spikes > 1:
        parts = (compared - op.threshold) / op.amount
        margin = np.minimum(margin, np.abs(parts - np.rint(parts)) * op.amount)
    return margin


def exact(case: Case, found: Trace, what: str) -> Compared:
    """Some run of the same network held against what is known of it."""
    return hold(case.of(known_of), found, what)


def hold(known: Recorded, found: Trace, what: str) -> Compared:
    """Every spike of every sample that is no tie, and the outputs of these."""
    done = Compared()
    if missing := set(known.spikes) - set(found.spikes):  # it may have others: what takes the largest of spikes
        done.where.append(f"{what}: without the layers {sorted(missing)}")
        return done
    done.values["spikes"] += sum(fired.size for fired in known.spikes.values())
    tied, mismatches, where = exactness.compare(known, found.spikes)
    done.values["ties"] += int(tied.sum())
    done.mismatches["spikes"] += mismatches
    done.where += [f"{what}: {line}" for line in where]
    if len(found.outputs) != len(known.outputs):
        done.where.append(f"{what}: {len(found.outputs)} outputs, not {len(known.outputs)}")
    followed = ~tied if tied.size else slice(None)
    for (name, ours), theirs in zip(found.outputs.items(), known.outputs):
        if ours.shape != theirs.shape:
            done.where.append(f"{what}: {name} has shape {ours.shape}, not {theirs.shape}")
            continue
        ours, theirs = ours[followed], theirs[followed]
        done.values["outputs"] += theirs.size
        if theirs.size and not mismatches:
            error = float(np.abs(ours - theirs).max()) / max(1.0, float(np.abs(theirs).max()))
            if not error <= OUTPUT:
                done.where.append(f"{what}: {name} differs by {error:.3g}")
    return done
