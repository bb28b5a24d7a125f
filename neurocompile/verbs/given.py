"""What a request is given: models, programs and data, as files or as they are in memory."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurocompile.data import Data, arrange_inputs, load_data
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.base import Carries, Layout, Reading
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Input, Read
from neurocompile.printable import printable
from neurocompile.program import Program, load_program
from neurocompile.typed import Count, Steps

if TYPE_CHECKING:
    from torch import nn

    from neurocompile.frontends import Model

    Source = nn.Module | Model | Path
    """A file that :func:`neurocompile.save` or torch.save wrote; or a live module in eval mode."""

__all__ = [
    "EXAMPLES",
    "Inputs",
    "ModelOptions",
    "SourceOptions",
    "as_arrays",
    "check_carried",
    "data_of",
    "model_of",
    "program_of",
]

Inputs = Array | Mapping[str, Array] | Path
"""An array, arrays by input name, an npz file, or a folder of files (:func:`neurocompile.data.load_data`)."""

# So many samples are looked at at a time.
_CHECKED = 1024

EXAMPLES = 64
"""So many samples show what the inputs of a live module are."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Reading):
    """What a model may not say about itself.

    Attributes:
        input_shape: without batch and time.
        timesteps: T.
        layout: how forward takes time and batch (:func:`neurocompile.save`); None: found out.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1; None: what the file says, or as they are in samples.
        arch: ``package.module:factory``, which makes the module that a state_dict belongs to.
        trust: unpickle anything, which runs whatever code the file holds.

    What a .nir file leaves open is told as for :class:`neurocompile.frontends.base.Reading`.
    """

    input_shape: tuple[Count, ...] | None = None
    timesteps: Steps | None = None
    layout: Layout | None = None
    readout: Read | None = None
    carries: Carries | None = None
    arch: str | None = None
    trust: bool = False


@dataclass(frozen=True, kw_only=True)
class SourceOptions(ModelOptions):
    """What a verb may be told of the model that it reads.

    Attributes:
        recording: what the network of a .nir file fired where it was made, with what went in, by name (or an npz or
            NIRGraphData file): it chooses the dialect.
    """

    recording: Path | Mapping[str, Array] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """As frontends take it (:class:`neurocompile.frontends.base.Settings`)."""
        return {field.name: getattr(self, field.name) for field in fields(SourceOptions)}


def model_of(source: Source, options: SourceOptions, samples: Inputs | None = None) -> Model:
    """A model to be compiled; ``samples`` show what the inputs of a live module are.

    Raises:
        UnsupportedModel, BadInput, UsageError: see :mod:`neurocompile.errors`; the last also for a live module whose
            input shape or number of steps is not said.
    """
    from neurocompile.frontends import Model, live_model, load_model

    settings = options.settings
    if isinstance(source, Path):
        return load_model(source, **settings)
    if isinstance(source, Model):
        return source
    shape, timesteps = options.input_shape, options.timesteps
    unsaid = {"input_shape": shape, "timesteps": timesteps}
    missing = [
        Problem("a live module does not say this", name, fix=f"give {name}") for name, v in unsaid.items() if v is None
    ]
    if missing:
        raise UsageError(missing)
    assert shape is not None
    assert timesteps is not None
    shown = None
    if samples is not None:
        argument = next(iter(inspect.signature(source.forward).parameters))
        shown = data_of(samples, {argument: tuple(shape)}, timesteps).part(0, EXAMPLES).inputs
    model = live_model(source, shown, **settings)
    model.example = {}  # a program keeps no sample that nobody gave as an example
    return model


def program_of(program: Program | Path) -> Program:
    """A program, read if it is a folder.

    Raises:
        BadInput: if it cannot be read.
    """
    return load_program(program) if isinstance(program, Path) else program


def data_of(
    x: Inputs, shapes: Mapping[str, tuple[int, ...]], timesteps: int, labels: Array | None = None,
    lines: Mapping[str, str] | None = None,
) -> Data:  # fmt: skip
    """Samples, as a network with inputs of ``shapes`` takes them (:func:`neurocompile.data.arrange_inputs`).

    Raises:
        BadInput: with everything that does not match.
    """
    if isinstance(x, str | os.PathLike):
        return load_data(Path(x), shapes, timesteps, lines)
    arrays = as_arrays(x if isinstance(x, Mapping) else {"x": x}, "x")
    if labels is not None:
        arrays |= as_arrays({"y": labels}, "y")
    return arrange_inputs(arrays, shapes, timesteps, "x", lines)


def as_arrays(given: Mapping[str, Any], where: str) -> dict[str, Array]:
    """What was given for arrays, as NumPy has it.

    Raises:
        BadInput: with everything that NumPy makes no array of.
    """
    arrays, problems = {}, []
    for name, value in given.items():
        try:
            arrays[name] = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        except (TypeError, ValueError, RuntimeError) as error:
            fix = "give a NumPy array, a tensor, or nested lists of one length"
            problems.append(Problem(f"{name} is no array", where, printable(str(error))[:120], fix=fix))
    if problems:
        raise BadInput(problems)
    return arrays


def check_carried(graph: Graph, data: Data) -> None:
    """That inputs which carry spikes are 0 or 1: anything else would be rounded to that, and nobody told.

    Args:
        graph: with the inputs.
        data: samples, as that network takes them.

    Raises:
        BadInput: with every array that is not, how many of its values are not, and the first of them.
    """
    problems = []
    for node in graph.of(Input):
        assert isinstance(node.op, Input)
        if node.op.carries != "spikes" or node.name not in data.inputs:
            continue
        wrong, of, first = 0, 0, ""
        for start in range(0, len(data), _CHECKED):
            x = data.part(start, start + _CHECKED).inputs[node.name]
            x = x[:, :1] if x.strides[1] == 0 else x  # one frame, which repeats
            odd = (x != 0) & (x != 1)
            if not first and odd.any():
                place = tuple(int(i) for i in np.argwhere(odd)[0])
                where = f"sample {start + place[0]}, step {place[1]}, place {list(place[2:])}"
                first = f"{x[place]:g} first, in {where}"
            wrong, of = wrong + int(odd.sum()), of + x.size
        if not wrong:
            continue
        what = f"{node.name} carries spikes, and {wrong:,} of {of:,} values are neither 0 nor 1"
        fix = "give 0 and 1; or export the model with --input real (in Python: carries='real'), which takes any number"
        problems.append(Problem(what, data.where, first, "0 or 1", fix))
    if problems:
        raise BadInput(problems)
