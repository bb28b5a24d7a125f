"""What runs where: on the chip, in Lava's CPU simulation only, on the host; and what that costs."""

from __future__ import annotations

from typing import Any

__all__ = ["placement_of", "show_host_regions", "show_placement"]


def placement_of(program: Any, stock_only: bool = False) -> dict[str, Any]:
    """For each layer where it runs and why; the share of the synapses that is on the chip.

    Raises:
        DoesNotFit: with ``stock_only``, for layers that the chip's own neurons cannot do.
    """
    if program.arithmetic.lif is None:
        return {"on_chip_fraction": 1.0, "runs_on": {}, "encode": None}
    from neurocompile.backends.lava import check_stock, plan_of
    from neurocompile.errors import naming_lines
    from neurocompile.simulator.counts import fanouts

    with naming_lines(program.lines):
        plan = plan_of(program)
        if stock_only:
            check_stock(plan)
    where = {"stock": "chip", "own": "simulation", "host": "host"}
    layers: dict[str, Any] = {
        p.name: {"where": where[p.kind], "why": [m.what for m in p.missing], "fix": [m.fix for m in p.missing]}
        for p in plan.populations
    }
    for pool in plan.pools:
        layers[pool.name] = {"where": "simulation", "why": ["max-pooling"], "fix": ["use average pooling"]}
    stored: dict[str, int] = dict.fromkeys(layers, 0)
    real = 0
    for fanout in fanouts(program.integer):
        stored[fanout.layer] = stored.get(fanout.layer, 0) + int(fanout.stored.sum())
        real += fanout.macs_per_step
    on_chip = sum(count for name, count in stored.items() if layers.get(name, {}).get("where") != "host")
    neurons = sum(program.integer.edges[name].size for name, about in layers.items() if about["where"] == "host")
    return {
        "on_chip_fraction": on_chip / max(1, sum(stored.values())),
        "runs_on": layers,
        "encode": program.settings["encode"],
        "latency_steps": plan.latency,
        "host": {"macs": real * program.timesteps if neurons else 0, "neuron_updates": neurons * program.timesteps},
        "graded_events_meet": 0 if neurons else real * program.timesteps,
    }


def show_placement(placed: dict[str, Any]) -> None:
    """The same for a person."""
    from neurocompile.cli import console

    if not placed["runs_on"]:
        return
    made = console.table("where it runs", "layer", "on", "because", words=3)
    names = {"simulation": "CPU simulation only", "host": "the host"}
    elsewhere = {name: about for name, about in placed["runs_on"].items() if about["where"] != "chip"}
    many = len(placed["runs_on"]) - len(elsewhere)
    made.add_row(f"{many} of {len(placed['runs_on'])} layers", "the chip's own neurons", "")
    for name, about in elsewhere.items():
        reasons = [f"{why}; to run it on the chip: {fix}" for why, fix in zip(about["why"], about["fix"])]
        if about["where"] == "host":
            reasons = ["it turns real-valued inputs into spikes"]
        made.add_row(name, names[about["where"]], ". ".join(reasons))
    console.show(made)
    host, graded = placed["host"], placed["graded_events_meet"]
    if host["neuron_updates"]:
        console.show(
            f"--encode host: per inference the host does up to {host['macs']:,} multiply-accumulates and "
            f"{host['neuron_updates']:,} neuron updates, and sends spikes; none of that is in the chip's energy"
        )
    elif graded:
        console.show(
            f"--encode graded: inputs are graded spikes; those that are not zero meet up to {graded:,} weights per "
            "inference on the chip (counted as MACs)"
        )


def show_host_regions(regions: list[dict[str, Any]], on_chip: float | None = None) -> None:
    """What the host computes between the turns of the chip, for one inference.

    Args:
        regions: of :func:`neurocompile.simulation.host_regions`.
        on_chip: what the chip does for one inference (SOPs and MACs), where that is known.
    """
    from neurocompile.cli import console

    if not regions:
        return
    columns = ("region", "what", "when", "MACs", "numbers from the chip", "to the chip")
    made = console.table("the host computes, for each inference", *columns, words=3)
    for region in regions:
        made.add_row(
            region["name"],
            region["kind"] + (f", which is {region['output']}" if region["output"] else ""),
            "at each step" if region["per_step"] else "once",
            *(console.number(region[name]) for name in ("macs", "from_chip", "to_chip")),
        )
    console.show(made)
    macs = sum(region["macs"] for region in regions)
    if on_chip:
        share = console.percent(macs / (macs + on_chip))
        console.show(f"{share} of the operations are the host's; they are not priced")
