"""What disagrees, made small: fewer samples, steps, nodes, parameters and weights, as long as it disagrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from neurocompile.compiler import Options
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Add, Array, Delay, Gain, Input, Integrator, Neuron, Output, Reshape
from tests.fuzz.graphs.cases import Case, Plan, compiled, of_integers

__all__ = ["shrunk"]

Fails = Callable[[Case], bool]
Smaller = tuple[Graph, dict[str, Array]]


def shrunk(case: Case, fails: Fails, seconds: float = 60.0) -> Case:
    """The smallest case that was found within the time for which ``fails`` is still true.

    A torch module becomes the graph that it is lowered to, unless only the module fails; what the host computes stays.
    """
    ends = time.monotonic() + seconds
    if case.graph.hosts:
        return case
    if case.network is not None:
        alone = _again(case, case.graph, case.inputs, case.plan)
        if alone is None or not _safely(fails, alone):
            return case
        case = alone
    going = True
    while going and time.monotonic() < ends:
        going = False
        for step in (_plans, _inputs, _nodes, _parameters, _weights):
            for candidate in step(case):
                if time.monotonic() > ends:
                    break
                if candidate is not None and _safely(fails, candidate):
                    case, going = replace(candidate, recipe=""), True
                    break
            if going:
                break
    return case if case.recipe == "" else _again(case, case.graph, case.inputs, case.plan) or case


def _safely(fails: Fails, case: Case) -> bool:
    try:
        return fails(case)
    except Exception:
        return False


def _again(case: Case, graph: Graph, inputs: dict[str, Array], plan: Plan | None) -> Case | None:
    """The same with another graph; None if that is none."""
    try:
        if case.integer:
            assert case.program is not None
            units = {node.name: node.op.unit for node in graph.of(Input) if isinstance(node.op, Input)}
            whole = {name: np.rint(x / units[name]).astype(np.int64) for name, x in inputs.items()}
            return of_integers(graph, case.program.arithmetic, whole, case.program.target)
        timesteps = next(iter(inputs.values())).shape[1]
        alone = Case("", inputs, timesteps, real=graph)
        return alone if plan is None else compiled(alone, plan)
    except Exception:
        return None


def _with(case: Case, graph: Graph, inputs: dict[str, Array] | None = None) -> Case | None:
    given = case.inputs if inputs is None else inputs
    wanted = {node.name for node in graph.of(Input)}
    return _again(case, graph, {name: x for name, x in given.items() if name in wanted}, case.plan)


def _plans(case: Case) -> Iterator[Case | None]:
    """Other options, and the plainest target."""
    if case.plan is None or case.integer:
        return
    for field in fields(Options):
        plain = getattr(Options(), field.name)
        if getattr(case.plan.options, field.name) != plain:
            yield _again(
                case,
                case.graph,
                case.inputs,
                replace(case.plan, options=replace(case.plan.options, **{field.name: plain})),
            )
    if case.plan.target != "generic":
        yield _again(case, case.graph, case.inputs, Plan("generic", replace(case.plan.options, encode=None)))


def _inputs(case: Case) -> Iterator[Case | None]:
    """One sample; fewer steps; zeros."""
    samples = case.samples
    if samples > 1:
        for k in range(samples):
            yield _with(case, case.graph, {name: x[k : k + 1] for name, x in case.inputs.items()})
    if case.timesteps > 1 and not any(node.op.weights is not None for node in case.graph.of(Output)):  # type: ignore[union-attr]
        for steps in sorted({1, case.timesteps // 2, case.timesteps - 1}):
            yield _with(case, case.graph, {name: x[:, :steps] for name, x in case.inputs.items()})
    for name, x in case.inputs.items():
        for part in _halves(x):
            yield _with(case, case.graph, {**case.inputs, name: part})


def _halves(x: Array) -> Iterator[Array]:
    """With zeros in a half, a quarter, an eighth of the places that are not zero."""
    places = np.flatnonzero(x)
    for parts in (1, 2, 4, 8):
        if len(places) >= parts:
            for chosen in np.array_split(places, parts):
                fewer = x.copy()
                fewer.reshape(-1)[chosen] = 0
                yield fewer


def _nodes(case: Case) -> Iterator[Case | None]:
    """Fewer outputs, terms and nodes; what a layer fired given as an input instead."""
    graph = case.graph
    outputs = graph.of(Output)
    for node in outputs if len(outputs) > 1 else ():
        yield _rebuilt(case, [each for each in graph if each.name != node.name])
    fired = _fired(case)
    for node in graph.of(Neuron):
        if node.name in fired and any(not isinstance(each.op, Output) for each in graph.consumers[node.name]):
            yield _given(case, node, fired[node.name])
    for node in graph:
        if isinstance(node.op, Add) and len(node.inputs) > 1:
            for k in range(len(node.inputs)):
                yield _changed(case, replace(node, inputs=node.inputs[:k] + node.inputs[k + 1 :]))
    for node in graph:
        if isinstance(node.op, Input | Output):
            continue
        for source in dict.fromkeys(node.inputs):
            if graph.edges[source].shape == graph.edges[node.name].shape and source != node.name:
                yield _skipped(case, node.name, source)
    neurons = graph.of(Neuron, Integrator)
    if len(neurons) > 1:
        for node in neurons:  # read here, and nothing behind it
            if not (len(outputs) == 1 and outputs[0].inputs == (node.name,)):
                yield _rebuilt(case, [*(each for each in graph if not isinstance(each.op, Output)),
                                      Node("output", Output("sum"), (node.name,))])  # fmt: skip


def _fired(case: Case) -> dict[str, Array]:
    for known in case.kept.values():
        if getattr(known, "spikes", None):
            found: dict[str, Array] = known.spikes
            return found
    return {}


def _given(case: Case, node: Node, fired: Array) -> Case | None:
    low, high = min(0, int(fired.min())), max(1, int(fired.max()))
    spikes = (low, high) == (0, 1)
    op = Input(case.graph.edges[node.name].shape, "spikes" if spikes else "real", 1.0, low, high)
    if not case.integer:
        op = Input(op.shape, op.carries)
        amplitude: Any = node.op
        if np.any(amplitude.amplitude != 1):
            return None
    nodes = [Node(node.name, op) if each.name == node.name else each for each in case.graph]
    return _rebuilt(case, nodes, {**case.inputs, node.name: fired.astype(np.float64)})


def _skipped(case: Case, name: str, instead: str) -> Case | None:
    nodes = [replace(each, inputs=tuple(instead if read == name else read for read in each.inputs))
             for each in case.graph if each.name != name]  # fmt: skip
    return _rebuilt(case, nodes)


def _changed(case: Case, node: Node) -> Case | None:
    return _rebuilt(case, [node if each.name == node.name else each for each in case.graph])


def _rebuilt(case: Case, nodes: list[Node], inputs: dict[str, Array] | None = None) -> Case | None:
    """A graph of what outputs need of these nodes."""
    known = {node.name: node for node in nodes}
    needed, seen = [node.name for node in nodes if isinstance(node.op, Output)], set()
    while needed:
        name = needed.pop()
        if name not in seen and name in known:
            seen.add(name)
            needed += known[name].inputs
    if not any(isinstance(known[name].op, Input) for name in seen):
        return None
    try:
        graph = Graph(node for node in nodes if node.name in seen)
    except Exception:
        return None
    return _with(case, graph, inputs)


def _parameters(case: Case) -> Iterator[Case | None]:
    """Fields of neurons and layers as they are by themselves; biases gone."""
    one = 2**case.program.arithmetic.decay_fraction if case.integer and case.program else 1.0
    for node in case.graph:
        op: Any = node.op
        if isinstance(op, Input | Reshape | Delay | Gain):
            continue
        for field in fields(op):
            value = getattr(op, field.name)
            plain: Any = field.default_factory() if callable(field.default_factory) else field.default
            if field.name in ("decay", "keep") and isinstance(op, Neuron):
                plain = np.asarray(one)
            elif isinstance(plain, np.ndarray) and case.integer and plain.dtype.kind == "f":
                plain = plain.astype(np.int64)
            elif field.name == "bias" and value is not None:
                plain = None if plain is None else plain
            if not isinstance(plain, np.ndarray | str | int | float | bool | None) or field.name in ("stride", "unit"):
                continue
            if isinstance(plain, np.ndarray) and isinstance(value, np.ndarray):
                if value.shape == plain.shape and np.all(value == plain):
                    continue
            elif value is plain or (not isinstance(value, np.ndarray) and value == plain):
                continue
            yield _changed(case, replace(node, op=replace(op, **{field.name: plain})))


def _weights(case: Case) -> Iterator[Case | None]:
    """Weights that are 0, or 1."""
    for node in case.graph:
        for name in ("weight", "scale", "bias", "gains", "threshold", "v_reset", "amount"):
            value = getattr(node.op, name, None)
            if not isinstance(value, np.ndarray) or value.dtype == bool:
                continue
            if name in ("weight", "scale", "bias"):
                for fewer in _halves(value):
                    yield _changed(case, replace(node, op=replace(node.op, **{name: fewer})))
            if value.size > 1 and np.any(value != value.flat[0]):
                same = np.full(value.shape if name in ("weight", "gains") else (), value.flat[0], value.dtype)
                yield _changed(case, replace(node, op=replace(node.op, **{name: same})))
            if not case.integer and np.any(value != np.round(value, 2)):
                yield _changed(case, replace(node, op=replace(node.op, **{name: np.round(value, 2)})))
