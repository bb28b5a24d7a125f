"""Whole models: a step with its states as inputs and outputs, and all steps by Scan."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from neurocompile import __version__
from neurocompile.backends.onnx.network import BATCH, Network, State, Step
from neurocompile.backends.onnx.ranges import Ranges
from neurocompile.backends.onnx.writing import DOMAIN, IR_VERSION, OPSET, Value, Writer
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Output

__all__ = [
    "Told",
    "Turn",
    "batch_first",
    "integers",
    "model_of",
    "over_time",
    "read_at_once",
    "read_over_time",
    "scan",
    "time_first",
]


@dataclass(frozen=True)
class Told:
    """What a Scan tells beside outputs."""

    spikes: bool = True
    membranes: bool = False


@dataclass
class Turn:
    """What a Scan gave: values ``[T, N, *shape]`` by layer; outputs are what the graph's Outputs look at."""

    outputs: dict[str, Value] = field(default_factory=dict)
    spikes: dict[str, Value] = field(default_factory=dict)
    membranes: dict[str, Value] = field(default_factory=dict)
    potentials: dict[str, Value] = field(default_factory=dict)


def integers(w: Writer, graph: Graph, name: str, x: Value) -> Value:
    """Real numbers as an Input takes them: what :meth:`neurocompile.program.Program.integers_of` makes of them."""
    op: Any = graph[name].op
    value = x.name
    if op.unit != 1:
        value = w.node("Div", [value, w.constant(f"{name}.unit", op.unit, np.float64)], f"{name}.in_units")
    value = w.node("Round", [value], f"{name}.rounded")
    ends = [w.constant(f"{end:g}", end, np.float64) for end in (op.low, op.high)]
    value = w.node("Clip", [value, *ends], f"{name}.clipped")
    return w.cast(w.known(value, np.float64, x.shape), graph.kept(Ranges.of).types[name], f"{name}.whole")


def scan(
    w: Writer,
    body: Writer,
    step: Step,
    scanned: Sequence[tuple[Value, Value]],
    batch: str,
    told: Told,
    more: Mapping[str, Value],
    later: Container[str],
) -> tuple[Turn, dict[str, Value]]:
    """Run a step that was written into ``body`` over all steps.

    Args:
        w: the graph around it.
        body: of the step.
        step: in question.
        scanned: what is read step by step: ``[T, N, *shape]`` outside, ``[N, *shape]`` inside.
        batch: the number of samples as a list of one, by name.
        told: what is wanted beside outputs.
        more: what else the body has that is wanted of all steps.
        later: the neurons whose spikes are wanted whatever is told.

    Returns:
        what it gave, and what else was wanted, both ``[T, N, *shape]``.
    """
    timesteps = scanned[0][0].shape[0]
    turn = Turn()
    others: dict[str, Value] = {}
    wanted: list[tuple[dict[str, Value], str, str, Value]] = []
    wanted += [(turn.outputs, name, f"{name}.steps", value) for name, value in step.outputs.items()]
    for name, value in step.spikes.items():
        if told.spikes or name in later:
            wanted.append((turn.spikes, name, f"{name}.steps", value))
    if told.membranes:
        wanted += [(turn.membranes, name, f"{name}.h.steps", value) for name, value in step.membranes.items()]
        wanted += [(turn.potentials, name, f"{name}.v.steps", value) for name, value in step.potentials.items()]
    wanted += [(others, name, f"{name}.steps", value) for name, value in more.items()]
    leaves: list[Value] = []
    for into, name, stem, value in wanted:
        leaves.append(body.renamed(value, f"{stem}.each"))
        into[name] = w.known(w.fresh(stem), value.dtype, (timesteps, *value.shape))
    inner_in = [*(state.now for state in step.states), *(inside for _, inside in scanned)]
    inner_out = [*(state.after for state in step.states), *leaves]
    graph = body.graph("step", inner_in, inner_out, "one time step")
    reads = [*(_at_rest(w, state, batch) for state in step.states), *(outside.name for outside, _ in scanned)]
    last = [w.fresh(f"{state.now.name.removeprefix(body.prefix)}.last") for state in step.states]
    gives = [into[name].name for into, name, _, _ in wanted]
    doc = f"{timesteps} time steps; states start at rest and are handed from each to the next"
    w.call("Scan", reads, [*last, *gives], w.fresh("steps"), doc=doc, body=graph, num_scan_inputs=len(scanned))
    return turn, others


def _at_rest(w: Writer, state: State, batch: str) -> str:
    """A state before the first step, for as many samples as there are."""
    stem = state.now.name.rpartition("/")[2]
    if state.now.shape[:1] != (BATCH,):
        return w.constant(f"{stem}.first", state.rest, state.now.dtype)
    shape = w.constant("shape", state.rest.shape, np.int64)
    full = w.node("Concat", [batch, shape], f"{stem}.shape", axis=0)
    rest = state.rest if state.rest.size and (state.rest != state.rest.flat[0]).any() else state.rest.flat[0]
    return w.node("Expand", [w.constant(f"{stem}.rest", rest, state.now.dtype), full], f"{stem}.first")


def batch_first(w: Writer, value: Value, name: str) -> Value:
    """``[T, N, *shape]`` as ``[N, T, *shape]``, or the other way."""
    order = [1, 0, *range(2, len(value.shape))]
    shape = (value.shape[1], value.shape[0], *value.shape[2:])
    return w.known(w.node("Transpose", [value.name], name, perm=order), value.dtype, shape)


time_first = batch_first


def over_time(w: Writer, value: Value, timesteps: int) -> Value:
    """``[N, *shape]`` as the same at every step, ``[N, T, *shape]``."""
    batch, *shape = value.shape
    name = w.node("Unsqueeze", [value.name, w.constant("1", [1], np.int64)], f"{value.name}.step")
    full = w.constant("shape", [1, timesteps, *shape], np.int64)
    return Value(w.node("Expand", [name, full], f"{value.name}.steps"), value.dtype, (batch, timesteps, *shape))


def read_at_once(w: Writer, op: Output, value: Value, name: str, dtype: Any) -> Value:
    """What an Output that reads every step gives for one of them, in real units."""
    real = w.cast(value, dtype, f"{name}.number")
    unit = w.constant(f"{name}.unit", op.unit, dtype)
    return Value(w.node("Mul", [real.name, unit], name), np.dtype(dtype), value.shape)


def read_over_time(w: Writer, op: Output, steps: Value, name: str, dtype: Any = np.float64) -> Value:
    """What an Output reads of ``[T, N, *shape]``, in real units; its last node is named ``name``."""
    timesteps, shape = int(steps.shape[0]), steps.shape[1:]
    value = w.cast(steps, dtype, f"{name}.real").name
    axis = w.constant("0", [0], np.int64)
    if op.read == "sequence":
        unit = w.constant(f"{name}.unit", op.unit, dtype)
        turned = batch_first(w, Value(value, np.dtype(dtype), steps.shape), f"{name}.sequence")
        return Value(w.node("Mul", [turned.name, unit], name), np.dtype(dtype), turned.shape)
    match op.read:
        case "mean" | "sum":
            if steps.dtype.kind == "i":  # exact in any order
                value = w.node("ReduceSum", [value, axis], f"{name}.sum", keepdims=0)
            else:
                value = _summed(w, Value(value, np.dtype(dtype), steps.shape), f"{name}.sum")
            if op.read == "mean":
                value = w.node("Div", [value, w.constant("timesteps", timesteps, dtype)], f"{name}.mean")
        case "last":
            value = w.node("Gather", [value, w.constant("last", -1, np.int64)], f"{name}.last")
        case "max":
            value = w.node("ReduceMax", [value, axis], f"{name}.max", keepdims=0)
        case "max-abs":
            high = w.node("ReduceMax", [value, axis], f"{name}.max", keepdims=0)
            low = w.node("ReduceMin", [value, axis], f"{name}.min", keepdims=0)
            sizes = [w.node("Abs", [each], f"{each}.size") for each in (high, low)]
            value = w.node("Where", [w.node("Greater", sizes, f"{name}.above"), high, low], f"{name}.largest")
        case "weighted":
            value = _summed(w, Value(value, np.dtype(dtype), steps.shape), f"{name}.sum", op.weights)
    unit = w.constant(f"{name}.unit", op.unit, dtype)
    return Value(w.node("Mul", [value, unit], name), np.dtype(dtype), shape)


def _summed(w: Writer, steps: Value, name: str, weights: Array | None = None) -> str:
    """The sum over T of reals ``[T, N, *shape]``, one step after the other, as :func:`read_out` adds them.

    In what order ReduceSum adds, and whether it rounds between a product and its sum, is the runtime's choice.
    """
    dtype, shape = steps.dtype, steps.shape[1:]
    body = Writer(f"{name}/")
    before, now = (Value(body.fresh(stem), dtype, shape) for stem in ("before", "now"))
    scanned, inside, term = [steps.name], [now], now.name
    if weights is not None:
        weight = Value(body.fresh("weight"), dtype, ())
        scanned.append(w.named(f"{name}.weights", np.asarray(weights).astype(dtype)))
        inside.append(weight)
        term = body.node("Mul", [now.name, weight.name], "weighted")
    after = Value(body.node("Add", [before.name, term], "after"), dtype, shape)
    graph = body.graph("sum", [before, *inside], [after], "a sum over time, step by step")
    first = w.node("Gather", [steps.name, w.constant("0", 0, np.int64)], f"{name}.one", axis=0)
    size = w.node("Shape", [first], f"{name}.shape")
    start = w.node("Expand", [w.constant("zero", 0, dtype), size], f"{name}.start")
    return w.node("Scan", [start, *scanned], name, body=graph, num_scan_inputs=len(scanned))


def model_of(
    w: Writer, network: Network, name: str, inputs: Sequence[Value], outputs: Sequence[Value], about: Mapping[str, str]
) -> onnx.ModelProto:
    """A graph with its functions as a model; ``about`` are its description and what else is told of it."""
    doc = about.get("description", "")
    model = helper.make_model(
        w.graph(name, inputs, outputs, doc),
        functions=list(network.functions.made.values()),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="neurocompile",
        producer_version=__version__,
        doc_string=doc,
    )
    helper.set_model_props(model, {key: value for key, value in about.items() if key != "description"})
    return model
