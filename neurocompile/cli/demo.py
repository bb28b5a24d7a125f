"""``neurocompile demo``."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path
from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command"]

_TIMED = 64


@click.command("demo")
@click.option("--target", "targets", multiple=True, help="A chip to price (repeatable; default: every priced one).")
@click.option("--write-data", type=path, metavar="FILE.npz", help="Only write the held-out digits, as x and y.")
@click.option("--bits", type=int, help="Width of a weight (default: 8).")
@output_options
def command(**options: Any) -> int:
    """Compile, simulate, price and check a bundled MPBN network on real handwritten digits."""
    from neurocompile.cli import console
    from neurocompile.data import pack_arrays, write_file
    from neurocompile.models.digits import load_digits_split

    _, _, x, y = load_digits_split()
    if options["write_data"]:
        target = Path(options["write_data"])
        write_file(target, pack_arrays({"x": x, "y": y}))
        if options["as_json"]:
            console.print_json("demo", {"data": str(target), "samples": len(x)})
        else:
            console.show(f"wrote {len(x)} held-out digits to {target}")
        return 0
    return _run(options, x, y)


def _run(options: dict[str, Any], x: Any, y: Any) -> int:
    from neurocompile.cli import console
    from neurocompile.compiler import Options, compile_graph
    from neurocompile.data import arrange_inputs
    from neurocompile.frontends import load_model
    from neurocompile.simulation import run_program, summary
    from neurocompile.targets import load_target, target_names
    from neurocompile.validation import validate_program

    started = time.perf_counter()
    names = options["targets"] or [name for name in target_names() if load_target(name).priced]
    chosen = [load_target(name) for name in names]
    quiet = options["as_json"]
    with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / "digits.pt") as file:
        model = load_model(file)
    program = compile_graph(
        model.graph, "generic", model.timesteps, Options(bits=options["bits"]), example=model.example
    )
    data = arrange_inputs({"x": x, "y": y}, program.input_shapes, program.timesteps, "the held-out digits")
    with console.progress("comparing with PyTorch", len(data), quiet) as step:
        validation = validate_program(program, data, model, progress=step)
    with console.progress("simulating", len(data), quiet) as step:
        result = run_program(program, data, progress=step)
    results = {target.name: result for target in chosen}
    for target in chosen:
        if target.arithmetic is not None and target.arithmetic.lif is not None:
            # A chip with neurons of its own counts what a program for it does.
            own = compile_graph(
                model.graph, target.name, model.timesteps, Options(bits=options["bits"]), example=model.example
            )
            with console.progress(f"simulating {target.name}", len(data), quiet) as step:
                results[target.name] = run_program(own, data, progress=step)
    on_nc1 = _on_nc1(model, data, Options(bits=options["bits"]))
    body = {
        "accuracy_reference": validation.accuracy_reference,
        "accuracy_program": validation.accuracy_program,
        "targets": {name: summary(found, name) for name, found in results.items()},
        "nc1": on_nc1,
        "validate": validation.as_json(),
        "passed": validation.passed,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if quiet:
        console.print_json("demo", body, ok=validation.passed)
    else:
        _show(program, result, validation, body, chosen)
    return 0 if validation.passed else 5


def _on_nc1(model: Any, data: Any, chosen: Any) -> dict[str, Any]:
    """Cycles of a few samples on nc1, for each placement of its cores; nothing without the compiled simulator."""
    from neurocompile.compiler import compile_graph
    from neurocompile.simulation import run_program
    from neurocompile.simulator.timing.clock import PLACED
    from neurocompile.simulator.timing.nc1 import timing_missing

    if timing_missing():
        return {}
    program = compile_graph(model.graph, "nc1", model.timesteps, chosen, example=model.example)
    few = data.part(0, _TIMED)
    found: dict[str, Any] = {}
    for placement in PLACED:
        clock = run_program(program, few, timing=True, placement=placement).clock
        assert clock is not None
        found[placement] = clock.summary()
    return found


def _show(program: Any, result: Any, validation: Any, body: dict[str, Any], chosen: list[Any]) -> None:
    from neurocompile.cli import console
    from neurocompile.cli.simulate import show_summary, unpriced
    from neurocompile.cli.validate import stages_table
    from neurocompile.simulation import ann_macs, summary
    from neurocompile.targets import load_target

    console.show(
        f"An MPBN network trained on handwritten digits: {len(result.labels)} held-out digits, T = {program.timesteps}",
        f"accuracy in PyTorch {console.percent(body['accuracy_reference'])}, "
        f"as a program of {program.settings['bits']}-bit weights {console.percent(body['accuracy_program'])}",
        "",
    )
    show_summary({**summary(result, chosen[0].name), "unpriced": {}} if chosen else summary(result))
    bills = console.table(
        "energy per inference",
        "chip", "energy", "pJ/SOP", "basis", "unpriced there", "fits",
        words=("chip", "basis", "unpriced there", "fits"),
    )  # fmt: skip
    for target in chosen:
        priced = body["targets"][target.name]
        terms = "; ".join(f"{name}: {unpriced(term, result.samples)}" for name, term in priced["unpriced"].items())
        unknown = "-" if target.arithmetic is None else "unknown"
        fits = unknown if priced["fits"] is None else "yes" if priced["fits"] else "no"
        if priced["fits"] is False:
            fits = f"priced only; would need at least {priced['chips_needed']} chips"
        price = target.prices.get("sop")
        bills.add_row(
            target.name,
            console.energy(priced["per_sample"]["energy_pj"], priced["energy_is_lower_bound"]),
            console.number(priced["pj_per_sop"]),
            "" if price is None else price.basis,
            terms or "-",
            fits,
        )
    console.show(bills)
    if body["nc1"]:
        cycles = console.table(
            f"clock cycles on nc1, {_TIMED} samples",
            "cores placed", "cores", "cycles an inference", "links a flit crosses", "heaviest link", "fullest core",
        )  # fmt: skip
        for placement, timing in body["nc1"].items():
            cycles.add_row(
                placement,
                console.number(timing["cores"]),
                console.number(timing["cycles_per_sample"]["mean"]),
                f"{timing['hops'] / timing['flits']:.2f}",
                console.percent(timing["heaviest_link"]["busy"]),
                console.percent(timing["fullest_core"]["busy"]),
            )
        console.show(cycles)
    mac = {name: load_target(name).prices["mac"].nominal for name in ("arith45", "arith45-int8")}
    ann = ann_macs(program)
    versus = console.table(
        "against the same network as a conventional one (45 nm arithmetic alone, memory left out)",
        "arithmetic", "SNN", "ANN, one pass", "ANN / SNN",
    )  # fmt: skip
    for name, each in mac.items():
        snn = summary(result, name)["per_sample"]["energy_pj"]
        versus.add_row(name, console.energy(snn), console.energy(ann * each), f"{ann * each / snn:.2f}")
    console.show(versus)
    console.show(stages_table(validation, "checked"))
    for stage in validation.stages:
        if stage.passed is not None:
            console.show(f"[bold]{stage.name}[/]: {console.verdict(stage.passed)}")
    console.show(f"{body['seconds']:.1f} s")
