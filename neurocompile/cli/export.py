"""``neurocompile export``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from neurocompile.cli.options import model_arguments, model_options, output_options, path

__all__ = ["command"]


@click.command("export")
@click.argument("model", type=path)
@click.option("--target", default="generic", show_default=True, help="A name from `neurocompile targets`.")
@click.option("-o", "--output", "out", type=path, help="The folder to write (default: MODEL's name).")
@click.option("--bits", type=int, help="Width of a weight, 2 to 16 (default: the target's).")
@click.option("--per", type=click.Choice(["channel", "tensor"]), default="channel", show_default=True,
              help="One weight scale for each output channel, or one for each layer.")  # fmt: skip
@click.option("--scale", type=click.Choice(["max", "percentile", "membrane"]), default="max", show_default=True,
              help="How weight scales are chosen.")  # fmt: skip
@click.option("--input-bits", type=int, default=8, show_default=True, help="Width of a real-valued input.")
@click.option("--calibrate", type=path, metavar="X.npz", help="Samples that choose ranges (default: the model's own).")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips it may take.")
@click.option("--encode", type=click.Choice(["graded", "host"]),
              help="How real inputs reach a chip: as graded spikes, or as spikes that the host makes.")  # fmt: skip
@click.option("--emit", metavar="NAME,NAME", help="Backends to write files for: lava, netx (default: the target's).")
@click.option("--stock-only", is_flag=True, help="Refuse layers that Lava's own processes (and Loihi) cannot do.")
@click.option("--overwrite", is_flag=True, help="Replace the folder if it is a program.")
@click.option("--dry-run", is_flag=True, help="Compile and report, but write nothing.")
@click.option("--no-validate", is_flag=True, help="Do not compare the result with PyTorch.")
@click.option("--print-ir-after", metavar="PASS", help="Print the graph after a pass on stderr (`all`: after each).")
@model_options
@output_options
def command(**options: Any) -> int:
    """Compile MODEL for a target and write the program.

    MODEL is a file of neurocompile.save, a pickled module (with --input-shape and --timesteps), or a state_dict (with
    --arch).
    """
    from neurocompile.backends.emit import check_emitters, emitted_files
    from neurocompile.cli import console
    from neurocompile.cli.cores import cores_of
    from neurocompile.cli.placement import placement_of
    from neurocompile.compiler import PASS_NAMES, Options, compile_graph
    from neurocompile.data import load_data
    from neurocompile.errors import DoesNotFit, Problem, UsageError
    from neurocompile.frontends import load_model
    from neurocompile.ir.ops import Input
    from neurocompile.mapping import fit_problems
    from neurocompile.program import check_free
    from neurocompile.targets import load_target
    from neurocompile.validation import silence, validate_program

    target = load_target(options["target"])
    named = target.emits if options["emit"] is None else options["emit"].split(",")
    emit = check_emitters(target.name, filter(None, named))
    shown = options["print_ir_after"]
    if shown and shown != "all" and shown not in PASS_NAMES:
        raise UsageError(Problem("no such pass", "--print-ir-after", shown, ", ".join(PASS_NAMES), "name one, or all"))
    out: Path = options["out"] or Path(options["model"].stem)
    if not options["dry_run"]:
        check_free(out, options["overwrite"])
    model = load_model(options["model"], **model_arguments(options))
    given = None
    if options["calibrate"]:
        given = load_data(options["calibrate"], model.graph.given_inputs, model.timesteps, model.graph.lines)

    def after(name: str, graph: Any) -> None:
        if shown in (name, "all"):
            print(f"-- after {name}\n{graph}\n", file=sys.stderr)

    choices = Options(
        options["bits"],
        options["per"] == "channel",
        options["scale"],
        options["input_bits"],
        options["chips"],
        options["encode"],
        "netx" in emit,
    )
    program = compile_graph(
        model.graph,
        target.name,
        model.timesteps,
        choices,
        calibration=None if given is None else given.inputs,
        example=model.example,
        after=after,
        check=False,
    )
    excess = fit_problems(program, target, choices.chips)
    if excess and not options["dry_run"]:
        raise DoesNotFit(excess)
    placed = placement_of(program, options["stock_only"])
    if program.integer.hosts and options["emit"] is None:
        emit = ()
    emitted = emitted_files(program, emit)
    mapping = cores_of(program)
    if mapping is not None:
        emitted["cores.json"] = (json.dumps(mapping.as_json(), indent=1) + "\n").encode()
    validation = None
    data = program.example_data() if given is None else given
    if data is not None and not options["no_validate"]:
        with console.progress("validating", len(data), options["as_json"]) as step:
            validation = validate_program(program, data, model, progress=step, without_backend=_later(program))
    failed = validation is not None and not validation.passed
    files = [] if options["dry_run"] else program.save(out, options["overwrite"], emitted)
    body = {**_summary(program, target, mapping, None if options["dry_run"] else out, files), **placed}
    body["inputs"] = {node.name: node.op.carries for node in program.integer.of(Input) if isinstance(node.op, Input)}
    body["warnings"] = model.notes + silence(program, None if validation is None else validation.stages[1].comparison)
    if validation is not None:
        body["validate"] = validation.as_json()
    if excess:
        body["errors"] = [problem.as_json() for problem in excess]
    if options["as_json"]:
        console.print_json("export", body, ok=not failed and not excess)
    else:
        samples = "the model's own samples" if given is None else str(options["calibrate"])
        _show(program, body, mapping, validation, f"compared with PyTorch on {samples}")
        for problem in excess:
            console.show(f"does not fit: {problem}")
    return 4 if excess else 5 if failed else 0


def _later(program: Any) -> str:
    """Where a program is compared with what runs it besides the simulator, if anything does."""
    if program.integer.hosts:
        return ""
    if program.target == "nc1":
        return "`neurocompile validate` runs its RTL"
    return "`neurocompile validate` runs it in Lava" if program.arithmetic.lif is not None else ""


def _summary(program: Any, target: Any, mapping: Any, out: Path | None, files: list[str]) -> dict[str, Any]:
    from neurocompile.mapping import chips_needed, needs_of
    from neurocompile.simulation import host_regions
    from neurocompile.simulator.counts import stored_synapses

    needs = needs_of(program.integer)
    return {
        "target": target.name,
        "program": None if out is None else str(out),
        "neurons": needs.neurons,
        "synapses": stored_synapses(program.integer),
        "weights": needs.weights,
        "weight_bits": program.settings["bits"],
        "cores": None if mapping is None else len(mapping.cores),
        "chips": chips_needed(program.integer, target) or 1 if mapping is None else mapping.chips,
        "mapping": None if mapping is None else mapping.as_json(),
        "host_regions": host_regions(program),
        "files": files,
        "notes": list(program.notes),
    }


def _show(program: Any, body: dict[str, Any], mapping: Any, validation: Any, title: str) -> None:
    from neurocompile.cli import console
    from neurocompile.cli.cores import show_cores
    from neurocompile.cli.placement import show_host_regions, show_placement
    from neurocompile.cli.validate import stages_table

    layers = console.table(f"{body['target']}: {body['weight_bits']}-bit weights, T = {program.timesteps}",
                           "layer", "shape", "membrane step", "decay")  # fmt: skip
    one = 2.0**program.arithmetic.decay_fraction
    for name, signed in program.units.items():
        unit = abs(signed)
        node, shape = program.integer[name], program.integer.edges[name].shape
        decay = node.op.decay / one
        ends = f"{decay.min():.4g}" if decay.min() == decay.max() else f"{decay.min():.4g}..{decay.max():.4g}"
        layers.add_row(name, " x ".join(map(str, shape)), f"{unit.min():.3g}..{unit.max():.3g}", ends)
    console.show(layers)
    console.show(
        f"{body['neurons']:,} neurons, {body['synapses']:,} synapses from {body['weights']:,} stored weights; "
        f"{console.percent(body['on_chip_fraction'])} of the synapses on the chip"
    )
    show_placement(body)
    show_host_regions(body["host_regions"])
    if mapping is not None:
        show_cores(mapping)
    for note in program.notes:
        console.say(f"  {note}")
    for name, carries in body["inputs"].items():
        how = "spikes (0 or 1)" if carries == "spikes" else "real values"
        console.say(f"  input {name}: {how}")
    for warning in body["warnings"]:
        console.say(f"warning: {warning}")
    if validation is not None:
        console.show(stages_table(validation, title))
    if body["program"]:
        console.show(f"wrote {body['program']}/: {', '.join(body['files'])}")
    else:
        console.show("dry run: nothing was written")
