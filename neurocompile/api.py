"""The same verbs as the command line's, for Python."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neurocompile.compiler import Encode, Options, compile_graph
from neurocompile.data import Data, arrange_inputs, load_data
from neurocompile.ir.ops import Array, Read
from neurocompile.program import Program, load_program
from neurocompile.quantization import Method
from neurocompile.simulation import Result, run_program
from neurocompile.validation import Validation, validate_program

if TYPE_CHECKING:
    from torch import nn

    from neurocompile.frontends import Model
    from neurocompile.frontends.base import Layout

__all__ = ["compile", "load", "simulate", "validate"]

Path_ = str | os.PathLike[str]
Inputs = Array | Mapping[str, Array] | Path_

# So many samples show what the inputs of a live module are.
_EXAMPLES = 64


def compile(
    model: nn.Module | Model | Path_,
    target: str = "generic",
    *,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Literal["real", "spikes"] | None = None,
    bits: int | None = None,
    per_channel: bool = True,
    scale: Method = "max",
    input_bits: int = 8,
    calibrate: Inputs | None = None,
    chips: int = 1,
    encode: Encode | None = None,
) -> Program:
    """Compile a model for a target.

    Args:
        model: a live module in eval mode (it stays as it is), or a file that :func:`neurocompile.save` or torch.save
            wrote.
        target: a name from ``neurocompile targets``.
        input_shape: without batch and time; a file of :func:`neurocompile.save` knows it.
        timesteps: T; a file of :func:`neurocompile.save` knows it.
        layout: how forward takes time and batch (:func:`neurocompile.save`); None: found out.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1; None: what the file says, or as they are in ``calibrate``.
        bits: of a weight; None: the target's.
        per_channel: one weight scale for each output channel, or one for each layer.
        scale: how scales are chosen: "max", "percentile" or "membrane".
        input_bits: of a real-valued input.
        calibrate: samples that choose the ranges of inputs and, with "membrane", of weights.
        chips: how many chips the network may take.
        encode: how real-valued inputs reach a Loihi: as "graded" spikes, or turned into spikes on the "host"; None:
            graded, where the chip has such spikes.

    Raises:
        UnsupportedModel, DoesNotFit, BadInput, UsageError: see :mod:`neurocompile.errors`.
    """
    from neurocompile.frontends import Model, live_model, load_model

    settings: Any = {"timesteps": timesteps, "layout": layout, "readout": readout, "carries": carries}
    if isinstance(model, str | os.PathLike):
        model = load_model(Path(model), input_shape=input_shape, **settings)
    elif not isinstance(model, Model):
        if input_shape is None or timesteps is None:
            raise TypeError("compiling a live module needs input_shape and timesteps")
        shown = None
        if calibrate is not None:
            argument = next(iter(inspect.signature(model.forward).parameters))
            shown = _data(calibrate, {argument: tuple(input_shape)}, timesteps).part(0, _EXAMPLES).inputs
        model = live_model(model, shown, input_shape=input_shape, **settings)
        model.example = {}  # a program keeps no sample that nobody gave as an example
    given = model.graph.given_inputs
    seen = None if calibrate is None else _data(calibrate, given, model.timesteps, lines=model.graph.lines).inputs
    options = Options(bits, per_channel, scale, input_bits, chips, encode)
    return compile_graph(model.graph, target, model.timesteps, options, calibration=seen, example=model.example)


def load(folder: Path_) -> Program:
    """Read a Program that :meth:`Program.save` or ``neurocompile export`` wrote."""
    return load_program(Path(folder))


def simulate(program: Program | Path_, x: Inputs, y: Any = None, *, real: bool = False, stream: bool = False) -> Result:
    """Run a program on ``x`` (an array, arrays by input name, or an npz file), with labels ``y``, if any."""
    program = load(program) if isinstance(program, str | os.PathLike) else program
    data = _data(x, program.input_shapes, program.timesteps, y, program.lines)
    return run_program(program, data, real=real, keep_spikes=True, stream=stream)


def validate(
    program: Program | Path_,
    x: Inputs,
    y: Any = None,
    *,
    reference: nn.Module | Model | Path_ | None = None,
    recorded: Mapping[str, Array] | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    lava_python: Path_ | None = None,
    backend_samples: int = 128,
) -> Validation:
    """Compare a program with the torch model that it was made from, with Lava, and with recorded spikes.

    Args:
        program: compiled for any target, or its folder (then the bundle in it is run).
        x: samples (:func:`simulate`).
        y: labels, if any.
        reference: the torch model, or its file; None: the lowering is not checked.
        recorded: what hardware fired, ``[N, T, ...]`` by layer.
        layout: how the reference takes time and batch.
        readout: how its output is read.
        lava_python: Python 3.10 with Lava, for programs for Loihi; None: ``.venv-lava``, if there is one.
        backend_samples: how many samples Lava runs, at most.
    """
    from neurocompile.backends.lava.executor import lava_for
    from neurocompile.frontends import Model, live_model, load_model

    folder = Path(program) if isinstance(program, str | os.PathLike) else None
    program = load(program) if isinstance(program, str | os.PathLike) else program
    python = None if lava_python is None else Path(lava_python)
    backend, without = lava_for(program, python, folder) if backend_samples else (None, "left out")
    shapes, steps = program.input_shapes, program.timesteps
    data = _data(x, shapes, steps, y, program.lines)
    if isinstance(reference, str | os.PathLike):
        otherwise = next(iter(shapes.values())), steps
        reference = load_model(Path(reference), layout=layout, readout=readout, otherwise=otherwise)
    elif reference is not None and not isinstance(reference, Model):
        example = data.part(0, _EXAMPLES).inputs
        reference = live_model(
            reference, example, input_shape=dict(shapes), timesteps=steps, layout=layout, readout=readout
        )
    settings: Any = {"backend": backend, "backend_samples": backend_samples, "without_backend": without}
    return validate_program(program, data, reference, recorded, **settings)


def _data(
    x: Inputs, shapes: Mapping[str, tuple[int, ...]], timesteps: int, y: Any = None,
    lines: Mapping[str, str] | None = None,
) -> Data:  # fmt: skip
    if isinstance(x, str | os.PathLike):
        return load_data(Path(x), shapes, timesteps, lines)
    arrays = {name: np.asarray(value) for name, value in x.items()} if isinstance(x, Mapping) else {"x": np.asarray(x)}
    if y is not None:
        arrays["y"] = np.asarray(y)
    return arrange_inputs(arrays, shapes, timesteps, "x", lines)
