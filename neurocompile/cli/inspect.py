"""``neurocompile inspect``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import model_arguments, model_options, output_options, path

__all__ = ["command"]


@click.command("inspect")
@click.argument("what", type=path, metavar="MODEL|PROGRAM")
@click.option("--target", default="generic", show_default=True, help="For a model: what it is to be compiled for.")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips it may take.")
@model_options
@output_options
def command(**options: Any) -> int:
    """Show the graph of a model or a program, its sizes, what folds into what, and what does not fit."""
    from neurocompile.cli import console
    from neurocompile.cli.cores import cores_of, show_cores
    from neurocompile.cli.placement import placement_of, show_host_regions, show_placement
    from neurocompile.compiler import Options, compile_graph
    from neurocompile.errors import DoesNotFit, Problem
    from neurocompile.mapping import fit_problems, needs_of
    from neurocompile.passes import REAL_PASSES, run_passes
    from neurocompile.program import is_program, load_program
    from neurocompile.simulation import host_regions
    from neurocompile.simulator.counts import stored_synapses
    from neurocompile.targets import load_target

    problems: list[Problem] = []
    program = None
    if is_program(options["what"].resolve()):
        program = load_program(options["what"])
        graph, notes, timesteps = program.real, list(program.notes), program.timesteps
    else:
        from neurocompile.frontends import load_model

        model = load_model(options["what"], **model_arguments(options))
        graph, notes = run_passes(model.graph, REAL_PASSES)
        timesteps = model.timesteps
        try:
            choices = Options(chips=options["chips"])
            settings: Any = {"example": model.example, "check": False}
            program = compile_graph(model.graph, options["target"], timesteps, choices, **settings)
            notes = list(program.notes)
            problems = fit_problems(program, load_target(program.target), options["chips"])
        except DoesNotFit as error:
            problems = list(error.problems)
    sizes: dict[str, Any] = {"neurons": None, "synapses": None, "weights": None}
    if program is not None:
        needs = needs_of(program.integer)
        sizes = {
            "neurons": needs.neurons,
            "synapses": stored_synapses(program.integer),
            "weights": needs.weights,
        }
    mapping = cores_of(program) if program is not None else None
    body = {
        "target": program.target if program else options["target"],
        "timesteps": timesteps,
        **sizes,
        "graph": str(graph).splitlines(),
        "integer_graph": str(program.integer).splitlines() if program else None,
        "notes": notes,
        "host_regions": [] if program is None else host_regions(program),
        "mapping": None if mapping is None else mapping.as_json(),
        "does_not_fit": [problem.as_json() for problem in problems],
    }
    if options["as_json"]:
        console.print_json("inspect", body)
        return 0
    print(f"the network, folded (T = {timesteps}):\n")
    print(graph)
    print(f"\nwhat was done for {body['target']}:\n")
    print("\n".join(f"  {note}" for note in notes))
    if program is not None:
        size = f"{sizes['neurons']:,} neurons, {sizes['synapses']:,} synapses from {sizes['weights']:,} stored weights"
        print(f"\nin the target's integers ({size}):\n\n{program.integer}")
    if program is not None:
        show_host_regions(body["host_regions"])
    if program is not None and mapping is not None:
        print()
        show_placement(placement_of(program))
        show_cores(mapping)
    for problem in problems:
        print(f"\ndoes not fit: {problem}")
    return 0
