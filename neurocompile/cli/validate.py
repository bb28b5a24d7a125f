"""``neurocompile validate``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.backend import lava_options
from neurocompile.cli.options import model_arguments, model_options, output_options, path

__all__ = ["command", "stages_table"]


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
    from neurocompile.validation import validate_program

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
    with console.progress("comparing", len(data), options["as_json"]) as step:
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
        console.show(stages_table(validation, f"{len(data)} samples, {program.timesteps} steps"))
        console.show(*_details(validation))
    return 0 if validation.passed else 5


def stages_table(validation: Any, title: str) -> Any:
    """The stages of a validation, for a person."""
    from neurocompile.cli import console

    made = console.table(title, "stage", "against", "spikes compared", "differing", "ties", "", words=2)
    for stage in validation.stages:
        c = stage.comparison
        made.add_row(
            stage.name,
            stage.against or stage.reason,
            console.number(c.compared),
            console.number(c.mismatches) if stage.name != "quantization" else _differing(c),
            console.number(c.ties),
            console.verdict(stage.passed),
        )
    return made


def _differing(comparison: Any) -> str:
    share = sum(comparison.differing.values()) / comparison.compared if comparison.compared else 0.0
    return f"{share:.2%}"


def _details(validation: Any) -> list[Any]:
    from neurocompile.cli import console

    first = (
        validation.stages[0].comparison if validation.stages[0].comparison.compared else validation.stages[1].comparison
    )
    rates = console.table("layers", "layer", "firing rate", "integers agree")
    agreement = validation.stages[1].comparison.agreement
    for name, rate in first.firing_rates.items():
        rates.add_row(name, console.percent(rate), console.percent(agreement.get(name)))
    lines: list[Any] = [rates]
    if validation.accuracy_program is not None:
        before, after = console.percent(validation.accuracy_reference), console.percent(validation.accuracy_program)
        lines.append(f"accuracy: reference {before}, program {after}")
    for stage in validation.stages:
        if stage.membranes_compared:
            lines.append(
                f"{stage.name}: {stage.samples} samples, {stage.membrane_mismatches:,} of "
                f"{stage.membranes_compared:,} membranes differ"
            )
        if stage.cycles_compared:
            lines.append(
                f"{stage.name}: {stage.cycle_mismatches:,} of {stage.cycles_compared:,} spike vectors, events and rests"
                " are in another cycle than the simulator's"
            )
        if stage.first_membrane is not None:
            lines.append(f"{stage.name}: first membrane that differs: {_place(stage.first_membrane)}")
        if stage.comparison.first is not None and stage.passed is False:
            d = stage.comparison.first
            margin = "" if d.margin is None else f", {d.margin:+.3g} from the threshold"
            lines.append(f"{stage.name}: first difference in {_place(d)}{margin}")
        elif stage.passed is not True and stage.reason:
            lines.append(f"{stage.name}: {stage.reason}")
    return lines


def _place(d: Any) -> str:
    return (
        f"sample {d.sample}, step {d.step}, layer {d.layer}, neuron {list(d.neuron)}: "
        f"expected {d.expected}, got {d.actual}"
    )
