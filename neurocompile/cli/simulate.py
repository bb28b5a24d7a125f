"""``neurocompile simulate``."""

from __future__ import annotations

import json
from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command", "show_summary"]


@click.command("simulate")
@click.argument("program", type=path)
@click.option("--data", type=path, required=True, metavar="X.npz", help="x [N, ...] or [N, T, ...], and labels y.")
@click.option("--spikes", type=path, metavar="FILE.npz", help="Write what every layer fired, [N, T, ...] by layer.")
@click.option("--real", is_flag=True, help="Run the folded graph in float64 instead of the integers.")
@click.option("--price-as", metavar="TARGET", help="Price the counts as another target would.")
@click.option("--timing/--no-timing", default=None, help="Time it on nc1 or Loihi (default: up to 5 million synapses).")
@click.option(
    "--placement",
    type=click.Choice(["in-order", "hilbert", "refined", "balanced"]),
    default="in-order",
    show_default=True,
    help="Of nc1's cores; balanced also cuts layers anew.",
)
@click.option(
    "--timeline",
    type=path,
    metavar="FILE.json",
    help="Write when what of the first sample happened, for ui.perfetto.dev.",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Samples at once (default: one a processor).")
@click.option("--reference", is_flag=True, help="Run the NumPy reference instead of the compiled engine.")
@click.option("--stream", is_flag=True, help="Keep the state from one sample to the next.")
@output_options
def command(**options: Any) -> int:
    """Run PROGRAM (a folder that export wrote) on data."""
    from neurocompile.cli import console
    from neurocompile.data import load_data, pack_arrays, write_file
    from neurocompile.errors import Problem, UsageError
    from neurocompile.program import load_program
    from neurocompile.simulation import TIMED, run_program, summary
    from neurocompile.targets import load_target

    if options["price_as"]:
        load_target(options["price_as"])
    program = load_program(options["program"])
    data = load_data(options["data"], program.input_shapes, program.timesteps, program.lines)
    wanted, timeline = options["spikes"], options["timeline"]
    if timeline is not None and (program.target not in TIMED or options["real"] or options["stream"]):
        fix = "export for one of these, and leave out --real and --stream"
        raise UsageError(
            Problem("there is no timing model for this", "--timeline", program.target, ", ".join(TIMED), fix)
        )
    with console.progress("simulating", len(data), options["as_json"]) as step:
        result = run_program(
            program,
            data,
            real=options["real"],
            keep_spikes=wanted is not None,
            stream=options["stream"],
            threads=options["threads"],
            reference=options["reference"],
            timing=options["timing"],
            placement=options["placement"],
            timeline=timeline is not None,
            progress=step,
        )
    if wanted is not None:
        write_file(wanted, pack_arrays(result.spikes))
    if timeline is not None and result.clock is not None:
        write_file(timeline, json.dumps(_trace(result.clock)).encode())
    body = summary(result, options["price_as"])
    body["arithmetic"] = "float64" if options["real"] else "integers"
    if options["as_json"]:
        console.print_json("simulate", body)
    else:
        show_summary(body)
    return 0


def _trace(clock: Any) -> dict[str, Any]:
    """The first sample's timeline, in the Chrome trace-event format."""
    from neurocompile.simulator.timing.clock import Clock
    from neurocompile.simulator.timing.timeline import trace_events, trace_events_on_loihi

    first: Any = clock.first
    if isinstance(clock, Clock):
        unit, events = "one cycle is shown as a microsecond", trace_events(clock.chip, first)
    else:
        unit, events = "microseconds", trace_events_on_loihi(clock.mapped, first)
    return {"displayTimeUnit": "ns", "otherData": {"unit": unit}, "traceEvents": list(events)}


def show_summary(body: dict[str, Any]) -> None:
    """The tables of a simulation, for a person."""
    from neurocompile.cli import console
    from neurocompile.cli.placement import show_host_regions

    layers = console.table(
        f"per inference (mean of {body['samples']:,} samples, {body['timesteps']} steps)",
        "layer", "neurons", "firing rate", "spikes", "SOPs", "MACs", "updates",
    )  # fmt: skip
    for layer in body["layers"]:
        counts = (layer["spikes"], layer["sops"], layer["macs"], layer["neuron_updates"]["active"])
        layers.add_row(
            layer["name"],
            console.number(layer["neurons"]),
            console.percent(layer["firing_rate"]),
            *(console.number(None if count is None else count / body["samples"]) for count in counts),
        )
    each = body["per_sample"]
    totals = console.table(f"in all, priced as {body['target']}", "", "")
    totals.add_row("computed by", body["engine"])
    totals.add_row("accuracy", console.percent(body["accuracy"]))
    totals.add_row("firing rate", console.percent(body["firing_rate"]))
    totals.add_row("spikes", console.number(each["spikes"]))
    if body["sops"] is not None:
        totals.add_row(
            "SOPs (weight not zero)", f"{console.number(each['sops'])} ({console.number(each['sops_nonzero'])})"
        )
        totals.add_row("MACs of real-valued inputs", console.number(each["macs"]))
        totals.add_row("energy", console.energy(each["energy_pj"], bool(body["energy_is_lower_bound"])))
        totals.add_row("pJ/SOP", console.number(body["pj_per_sop"]))
        for name, term in body["unpriced"].items():
            totals.add_row(f"unpriced: {name}", unpriced(term, body["samples"]))
    if body["timing"] is not None:
        _add_timing(totals, body["timing"], body["samples"])
    elif body["untimed"]:
        totals.add_row("not timed", body["untimed"])
    if body["host"]:
        updates = sum(body["host"]["neuron_updates"].values()) / body["samples"]
        totals.add_row("on the host, not in the energy", f"{console.number(updates)} neuron updates")
    if body["chips_needed"] and body["chips_needed"] > 1:
        totals.add_row("fits", f"priced only; would need at least {body['chips_needed']} chips")
    if body["overflows"] or body["clipped_inputs"]:
        totals.add_row("overflows / clipped inputs", f"{body['overflows']:,} / {body['clipped_inputs']:,}")
    console.show(layers, totals)
    show_host_regions(body["host_regions"], None if body["sops"] is None else each["sops"] + each["macs"])


def _add_timing(totals: Any, timing: dict[str, Any], samples: int) -> None:
    """How long an inference takes, and what it waits for."""
    from neurocompile.cli import console

    if "cycles" in timing:
        cycles, full, link = (timing[name] for name in ("cycles_per_sample", "fullest_core", "heaviest_link"))
        totals.add_row("cycles", f"{console.number(cycles['mean'])} ({cycles['min']:,} to {cycles['max']:,})")
        x, y = full["place"]
        totals.add_row("fullest core", f"({x}, {y}) of {timing['cores']}: synapses busy {full['busy']:.0%}")
        x, y = link["from"]
        totals.add_row("heaviest link", f"{link['output']} of ({x}, {y}): busy {link['busy']:.0%}")
        hops = timing["hops"] / max(timing["flits"], 1)
        totals.add_row("flits, links each crosses", f"{console.number(timing['flits'] / samples)}, {hops:.2f}")
        return
    latency = timing["latency_ns_per_sample"]
    each = [f"{latency[name] / 1000:,.1f}" for name in ("mean", "min", "max")]
    totals.add_row("latency (timing model)", f"{each[0]} us ({each[1]} to {each[2]})")
    parts = ", ".join(f"{name} {console.energy(e / samples)}" for name, e in timing["energy_pj_by_part"].items())
    totals.add_row("energy (timing model)", f"{console.energy(timing['energy_pj'] / samples)}: {parts}")
    if timing["static_pj"] is not None:
        totals.add_row("idle power meanwhile, not in it", console.energy(timing["static_pj"] / samples))
    hops = timing["hops"] / max(timing["messages"], 1)
    totals.add_row("messages, links each crosses", f"{console.number(timing['messages'] / samples)}, {hops:.2f}")
    totals.add_row("fullest core", f"of {timing['cores']}: receiving {timing['fullest_core']['busy']:.0%} of the time")


def unpriced(term: dict[str, Any], samples: int) -> str:
    """An unpriced count for one inference, with its 45 nm estimate."""
    from neurocompile.cli import console

    said = console.number(term["count"] / samples)
    if term["estimate_45nm_pj"] is not None:
        said += f" (as 45 nm int8 arithmetic: {console.energy(term['estimate_45nm_pj'] / samples)})"
    return said
