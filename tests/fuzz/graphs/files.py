"""Executors that are files, written and read back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from neurocompile.backends.nir import nir_files
from neurocompile.backends.wanted import Wanted
from neurocompile.errors import DoesNotFit
from neurocompile.frontends import load_model
from neurocompile.ir import interpret
from neurocompile.ir.ops import Array, Neuron
from neurocompile.ir.trace import Trace
from tests.fuzz.graphs import alike
from tests.fuzz.graphs.cases import Case
from tests.fuzz.graphs.executors import reference_of, whole_of
from tests.simulator.engine_sweep import Compared

__all__ = ["nir_numbers", "nir_reals"]


def nir_reals(case: Case) -> Compared | None:
    """What a file of the folded graph fires, read back, against the folded graph; None where NIR cannot say it."""
    program = case.program
    assert program is not None
    if program.real.hosts or len(case.inputs) > 1 or not program.real.of(Neuron):
        return None
    said: list[str] = []
    try:
        content = nir_files(program, Wanted(approximate=True, tell=said.append))["network.nir"]
    except DoesNotFit:
        return None
    if not all("look into the metadata" in line for line in said):  # as this project's reader does
        return None
    found = _read_back(content, case.inputs, case.timesteps)
    known = alike.recorded(program.real, interpret(program.real, case.inputs, case.timesteps, membranes=True))
    done = Compared()
    if set(known.spikes) <= set(found.spikes):
        known.outputs.clear()
        return alike.hold(known, Trace(spikes=found.spikes), "nir")
    done.where.append(f"nir: layers {sorted(found.spikes)}, not {sorted(known.spikes)}")
    return done


def nir_numbers(case: Case) -> Compared | None:
    """The same with the program's integers, against the reference."""
    program = case.program
    assert program is not None
    if program.integer.hosts or len(case.inputs) > 1 or not program.integer.of(Neuron):
        return None
    try:
        content = nir_files(program, Wanted(integers=True))["network.nir"]
    except DoesNotFit:
        return None
    whole = {name: x.astype(float) for name, x in case.of(whole_of).items()}
    found, known, done = _read_back(content, whole, case.timesteps), case.of(reference_of), Compared()
    done.hold_all("spikes", found.spikes, known.spikes)
    done.where = [f"nir in integers: {line}" for line in done.where]
    return done


def _read_back(content: bytes, inputs: dict[str, Array], timesteps: int) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.nir"
        file.write_bytes(content)
        model = load_model(file, timesteps=timesteps)
        (x,) = inputs.values()
        return model.run({next(iter(model.input_shapes)): np.asarray(x, np.float64)})
