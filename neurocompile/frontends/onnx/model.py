"""An .onnx file as a model: read within limits, lowered, and run by the onnx package's reference evaluator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from neurocompile.errors import BadInput, NotTheSame, Problem, UnsupportedModel, UsageError
from neurocompile.files import content_of
from neurocompile.files.onnxmodel import onnx_model
from neurocompile.frontends.base import Settings
from neurocompile.frontends.onnx.lowering import lowered
from neurocompile.frontends.onnx.tensors import FLOATS, all_tensors, value_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import interpret, read_out
from neurocompile.ir.ops import Array, Output, Read
from neurocompile.ir.trace import Trace
from neurocompile.printable import first_line, printable

__all__ = ["OnnxModel", "load"]

_MOST = 1 << 31
"""Bytes of a file: more, protobuf does not take."""
_CLOSE = 1e-9
"""How far what the graph gives may be from what the file gives, as a part of the largest value."""


class BatchNormalization(OpRun):
    """As the standard has it where nothing is trained, in every version of it."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, shift: Array, mean: Array, var: Array, epsilon: float = 0.0, **_: Any
    ) -> tuple[Array]:
        shape = (-1, *(1,) * (x.ndim - 2))
        scale, shift, mean, var = (each.reshape(shape) for each in (scale, shift, mean, var))
        return (scale * (x - mean) / np.sqrt(var + epsilon) + shift,)


@dataclass
class OnnxModel:
    """A network without neurons (:class:`neurocompile.frontends.base.Model`)."""

    source: onnx.ModelProto
    graph: Graph
    input_shapes: dict[str, tuple[int, ...]]
    timesteps: int
    read: Read
    alone: bool
    example: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    where: str = "the .onnx file"
    name: str = "the .onnx file, by the reference evaluator of the onnx package, float64"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run the file itself, each step as a sample of its own, in float64; there are no membranes."""
        samples, steps = next(iter(inputs.values())).shape[:2]
        flat = {
            name: np.asarray(inputs[name], np.float64).reshape(-1, *shape) for name, shape in self.input_shapes.items()
        }
        # Before opset 14 the evaluator normalizes by the batch, as in training.
        old = any(each.version < 14 for each in self.source.opset_import if each.domain in ("", "ai.onnx"))
        evaluator = ReferenceEvaluator(self.source, new_ops=[BatchNormalization] if old else None)
        size = 1 if self.alone else samples * steps
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is no number is told below
                parts = [
                    [np.asarray(y) for y in evaluator.run(None, {n: x[start : start + size] for n, x in flat.items()})]
                    for start in range(0, samples * steps, size)
                ]
        except Exception as error:  # whatever the evaluator's own code makes of a file that contradicts itself
            what = f"the reference evaluator cannot run this file: {type(error).__name__}: {first_line(error)}"
            fix = "hold it against onnx.reference.ReferenceEvaluator, and write it again"
            raise BadInput(Problem(what, self.where, fix=fix)) from error
        if any(value.shape[:1] != (size,) for values in parts for value in values):
            what = "what it gives does not have the batch as its first axis, whatever its size"
            raise UnsupportedModel(Problem(what, self.where, fix="keep the batch in every Reshape: 0 or -1 there"))
        whole = [np.concatenate(values).reshape(samples, steps, *values[0].shape[1:]) for values in zip(*parts)]
        names = ["output" if not k else f"output.{k + 1}" for k in range(len(whole))]
        return Trace(outputs={name: read_out(Output(self.read), value) for name, value in zip(names, whole)})


def load(path: Path, settings: Settings) -> OnnxModel:
    """Read an .onnx file.

    Args:
        path: of the file.
        settings: the number of steps (else 1), how outputs are read over time (else their mean).

    Raises:
        BadInput: for a file that is damaged, or wants to read others.
        UsageError: for what such a file says itself.
        UnsupportedModel: with every input and node that has no place in a graph.
        NotTheSame: if the graph does not compute what the file does.
    """
    given = {"--layout": settings.layout, "--arch": settings.arch, "--input-shape": settings.input_shape}
    told = [
        Problem("an .onnx file says this itself", option, str(value), fix=f"leave out {option}")
        for option, value in given.items()
        if value is not None
    ]
    if told:
        raise UsageError(told)
    source = _read(path)
    inputs, alone = _inputs(source, str(path))
    steps = settings.timesteps or (settings.otherwise[1] if settings.otherwise else 1)
    read = settings.readout or "mean"
    graph = lowered(source, inputs, settings.carries or "real", read)
    model = OnnxModel(_in_doubles(source), graph, inputs, steps, read, alone, where=str(path))
    _check_same(model, settings.carries == "spikes", str(path))
    return model


def _read(path: Path) -> onnx.ModelProto:
    content = content_of(path, _MOST)
    fix = "write the file again, weights in it"
    source: onnx.ModelProto = onnx_model(content, str(path), fix)
    try:
        if any(isinstance(name, bytes) for name in _names(source)):  # what protobuf makes of no UTF-8
            raise ValueError("a name in it is no text")
        domains = [each.domain for each in source.opset_import]
        if len(set(domains)) < len(domains):
            raise ValueError("it asks for two versions of the same operators")
        onnx.checker.check_model(source)
    except Exception as error:  # protobuf's, the checker's: whatever a damaged file makes of them
        raise BadInput(Problem(f"this is no ONNX model: {first_line(error)}", str(path), fix=fix)) from error
    wrong = []
    for each in all_tensors(source):
        where = f"{path}: {printable(each.name)}"
        try:
            value = value_of(each)
        except ValueError as error:
            wrong.append(Problem(f"a tensor is damaged: {error}", where, fix=fix))
            continue
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            wrong.append(Problem("a weight is no number (NaN or infinite)", where, fix="train it again"))
    if wrong:
        raise BadInput(wrong)
    return source


def _names(source: onnx.ModelProto) -> Iterator[str | bytes]:
    """All that something is called."""
    graph = source.graph
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (each.name for each in node.attribute)
    yield from (each.name for each in (*graph.initializer, *graph.input, *graph.output))
    yield from (dim.dim_param for each in graph.input for dim in each.type.tensor_type.shape.dim)


def _inputs(source: onnx.ModelProto, where: str) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Shapes without the batch, and whether samples can only be given one at a time."""
    constants = {each.name for each in source.graph.initializer}
    found: dict[str, tuple[int, ...]] = {}
    alone, problems = False, []
    for each in source.graph.input:
        if each.name in constants:
            continue
        dims = each.type.tensor_type.shape.dim
        batch, *shape = dims or [None]
        known = batch is not None and all(dim.dim_value > 0 for dim in shape) and len(shape) > 0
        if not known or (batch is not None and batch.dim_value > 1):
            told = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims)
            what, fix = "the shape of this input is not known", "export it with fixed sizes"
            if known and batch is not None:
                what = f"this input takes {batch.dim_value} samples at a time, no fewer and no more"
                fix = "export it with one sample as its example, or with a batch of any size (dynamic_axes)"
            limit = "a batch of any size (or 1), and numbers"
            problems.append(Problem(what, f"{where}: {each.name}", f"[{told}]", limit, fix))
            continue
        found[each.name] = tuple(dim.dim_value for dim in shape)
        alone = alone or (batch is not None and batch.dim_value == 1)
    if not found and not problems:
        problems = [Problem("this network has no input", where, fix="export it again")]
    if problems:
        raise UnsupportedModel(problems)
    return found, alone


def _in_doubles(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with all its constants in float64, as the evaluator computes in what it is given."""
    double = onnx.ModelProto()
    double.CopyFrom(source)
    for each in double.graph.initializer:
        if (value := value_of(each)).dtype.kind == "f":
            each.CopyFrom(numpy_helper.from_array(value.astype(np.float64), each.name))
    for node in double.graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:  # a zero in float32
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = np.asarray(helper.get_attribute_value(attribute), np.float64)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(numbers)))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = onnx.TensorProto.DOUBLE
            if attribute.HasField("t") and (value := value_of(attribute.t)).dtype.kind == "f":
                attribute.t.CopyFrom(numpy_helper.from_array(value.astype(np.float64)))
    return double


def _check_same(model: OnnxModel, spikes: bool, where: str) -> None:
    """The graph gives what the file gives, on noise.

    Raises:
        NotTheSame: if it does not.
    """
    numbers = np.random.default_rng(0)
    steps = min(model.timesteps, 2)
    x: dict[str, Any] = {name: numbers.normal(size=(2, steps, *s)) for name, s in model.input_shapes.items()}
    x = {name: (value > 0).astype(float) for name, value in x.items()} if spikes else x
    wanted = model.run(x).outputs
    infinite = [name for name, value in wanted.items() if not np.isfinite(value).all()]
    if infinite:
        what, fix = "the network makes NaN or infinite values of small numbers", "look at its weights and variances"
        raise BadInput(Problem(what, where, ", ".join(infinite), fix=fix))
    found = interpret(model.graph, x, steps).outputs
    for name, value in wanted.items():
        far = float(np.abs(found[name] - value).max(initial=0)) / max(float(np.abs(value).max(initial=0)), 1e-30)
        if found[name].shape != value.shape or far > _CLOSE:
            what = "the graph of this file does not compute what the file computes"
            raise NotTheSame(Problem(what, f"{where}: {name}", f"{far:.3g}", f"{_CLOSE:g}", "tell its makers"))
