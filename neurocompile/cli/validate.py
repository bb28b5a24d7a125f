"""``neurocompile validate``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.backend import lava_options
from neurocompile.cli.options import model_arguments, model_options, output_options, path

__all__ = ["command"]


@click.command("validate")
@click.argument("program", type=path)
@click.option("--reference", type=path, metavar="MODEL", help="The model that the program was made from.")
@click.option("--recorded", type=path, metavar="SPIKES.npz", help="What hardware fired, [N, T, ...] by layer.")
@click.option("--data", type=path, metavar="X.npz", help="x and labels y (default: the program's own samples).")
@lava_options
@model_options
@output_options
def command(**options: Any) -> int:
    """Compare PROGRAM with PyTorch, with Lava or RTL, and with spikes that hardware really fired.

    Stages: lowering (PyTorch against the folded graph, float64, every spike), quantization (the folded graph against
    the integers), backend (for Loihi: the integers against Lava, every spike and every membrane), rtl (for nc1: the
    integers and the timing simulator against the Verilog, every spike, membrane and cycle), recorded (the integers
    against the hardware, every spike).
    """
    from neurocompile.cli import console
    from neurocompile.cli.backend import executor_for
    from neurocompile.data import load_arrays, load_data
    from neurocompile.errors import Problem, UsageError
    from neurocompile.program import load_program
    from neurocompile.reports.text.validation import details, stages
    from neurocompile.validation import validate_program
    from neurocompile.verbs.progress import silent

    program = load_program(options["program"])
    backend, without = executor_for(program, options["program"], options)
    if options["reference"] is None and options["recorded"] is None and backend is None:
        fix = "give --reference MODEL, --recorded SPIKES.npz, or both"
        raise UsageError(Problem("nothing to compare with", actual=without, fix=fix))
    data = (
        load_data(options["data"], program.input_shapes, program.timesteps, program.lines)
        if options["data"]
        else program.example_data()
    )
    if data is None:
        raise UsageError(Problem("the program brought no samples of its own", fix="give --data X.npz"))
    recorded = load_arrays(options["recorded"]) if options["recorded"] else None
    model = None
    if options["reference"]:
        from neurocompile.frontends import load_model

        otherwise = next(iter(program.input_shapes.values())), program.timesteps
        model = load_model(options["reference"], **model_arguments(options), otherwise=otherwise)
    with (console.watching(options["as_json"]) or silent)("comparing", len(data)) as step:
        validation = validate_program(
            program,
            data,
            model,
            recorded,
            step,
            backend=backend,
            backend_samples=options["backend_samples"],
            without_backend=without,
        )
    if options["as_json"]:
        console.print_json("validate", validation.as_json(), ok=validation.passed)
    else:
        console.show([stages(validation, f"{len(data)} samples, {program.timesteps} steps"), *details(validation)])
    return 0 if validation.passed else 5
