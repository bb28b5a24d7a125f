"""The files of a bundle: Verilog, memory images, a few samples, and the log that the testbench expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from neurocompile.backends.rtl.expected import log_lines
from neurocompile.backends.rtl.image import event_lines, image_lines, sample_lines
from neurocompile.backends.rtl.runner import parameter_names, sources
from neurocompile.ir.ops import Array
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.simulator.timing.nc1 import Timing, time_on_nc1
from neurocompile.targets.nc1.chip import Nc1, Steps, map_to_nc1

__all__ = ["Foreseen", "bundle_files", "foresee", "run_files"]

_SAMPLES = 2
_MAKEFILE = """\
# make check: build the chip with this network and compare every event with what was foreseen, cycle by cycle.
# make check SIM=iverilog does the same in Icarus Verilog, more slowly.
SIM ?= verilator
PARAMETERS := {parameters}
FILES := {files}

RUN := $(if $(filter iverilog,$(SIM)),vvp) ./nc1_$(SIM)

check: nc1_$(SIM)
\t$(RUN) +dir=. +log=log.txt +membranes +expected=expected.txt

nc1_verilator: $(FILES)
\tverilator --binary --timing -O3 -j 2 -Wno-fatal --top-module nc1_testbench --Mdir obj \\
\t\t-MAKEFLAGS "VM_PARALLEL_BUILDS=0 OPT_FAST=-O1" \\
\t\t$(addprefix -G,$(PARAMETERS)) -o ../nc1_verilator $(FILES)

nc1_iverilog: $(FILES)
\tiverilog -g2005 -s nc1_testbench $(addprefix -Pnc1_testbench.,$(PARAMETERS)) -o $@ $(FILES)

clean:
\trm -rf obj nc1_verilator nc1_iverilog log.txt

.PHONY: check clean
"""
_README = """\
# {title}

nc1, a mesh of {x} x {y} neurocores in Verilog, and what their memories hold for one network: {cores} cores in use,
{neurons:,} neurons, {words:,} words of {lanes} weights.

`make check` builds it with Verilator (`SIM=iverilog`: Icarus Verilog), runs {samples} sample(s) and compares
the cycle of every spike, every event and every core's rest, and every membrane, with `expected.txt`. It prints
`PASS` and the number of lines, or the first line that differs.

| file | what |
|---|---|
| `nc1.v`, `nc1_*.v` | the design; `nc1_testbench.v` drives it |
| `image.txt` | what is written into the memories: place, memory, address, data (hexadecimal) |
| `samples.txt` | number of samples, steps of each |
| `events.txt` | what the host sends: sample, step, x, y, axon, payload (hexadecimal) |
| `expected.txt` | the log that the testbench has to produce |

A sample takes {steps} steps of the chip for {timesteps} of the network: each layer lags one behind what it reads.
"""


def bundle_files(program: Program, samples: Mapping[str, Array] | None = None) -> dict[str, bytes]:
    """Everything in the folder of a bundle, by file name; the same Program gives the same bytes.

    Args:
        program: for nc1.
        samples: inputs ``[n, T, ...]`` in real units that come along; None: the first of the Program's own example, or
            one sample of zeros if it has none.

    Raises:
        DoesNotFit: for what nc1 does not do or hold.
        ToolFailed: without the compiled timing simulator.
    """
    chip = map_to_nc1(program)
    named = [f"{name}={value}" for name, value in parameter_names(chip.parameters).items()]
    design = [name for name in sources() if name != "nc1_testbench.v"]
    given = samples or _example(program)
    files = run_files(chip, foresee(chip, given))
    makefile = _MAKEFILE.format(parameters=" ".join(named), files=" ".join([*design, "nc1_testbench.v"]))
    readme = _README.format(
        title=f"{', '.join(program.inputs)} on nc1",
        x=chip.parameters.mesh_x,
        y=chip.parameters.mesh_y,
        cores=chip.partition.cores,
        neurons=program.neurons,
        words=len(chip.routes.word_offset),
        lanes=chip.parameters.lanes,
        samples=len(next(iter(given.values()))),
        steps=chip.steps,
        timesteps=program.timesteps,
    )
    return {**sources(), **files, "Makefile": makefile.encode(), "README.md": readme.encode()}


@dataclass(frozen=True)
class Foreseen:
    """What some samples do on a chip, when, and what each step leaves on every membrane, ``[N, T, *shape]``."""

    steps: Steps
    timing: Timing
    left: Mapping[str, Array]


def foresee(chip: Nc1, samples: Mapping[str, Array]) -> Foreseen:
    """Run samples ``[n, T, ...]``, in real units, in the functional engine and the timing simulator."""
    program = chip.program
    done = IntegerExecutor(program).run(samples, membranes=True)
    inputs, _ = program.integers(samples)
    inputs = {name: np.broadcast_to(x, (len(x), program.timesteps, *x.shape[2:])) for name, x in inputs.items()}
    steps = chip.steps_of(inputs, done.spikes)
    return Foreseen(steps, time_on_nc1(chip, steps), done.potentials)


def run_files(chip: Nc1, foreseen: Foreseen) -> dict[str, bytes]:
    """Image, samples, events and the expected log."""
    steps = foreseen.steps
    return {
        "image.txt": _text(image_lines(chip)),
        "samples.txt": _text(sample_lines(steps)),
        "events.txt": _text(event_lines(chip, steps)),
        "expected.txt": _text(log_lines(chip, steps, foreseen.timing, foreseen.left)),
    }


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _example(program: Program) -> dict[str, Array]:
    data = program.example_data()
    if data is not None:
        return dict(data.part(0, _SAMPLES).inputs)
    return {name: np.zeros((1, program.timesteps, *op.shape)) for name, op in program.inputs.items()}
