"""``neurocompile zoo``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command"]


@click.command("zoo")
@click.argument("name", required=False)
@click.option("-o", "--output", "out", type=path, metavar="MODEL.pt", help="With NAME: write it as a model file.")
@click.option("--size", type=click.Choice(["paper", "small"]), help="List only these.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of its weights and of its example.")
@click.option("--samples", type=click.IntRange(1), default=8, show_default=True, help="How many examples it brings.")
@click.option("--measure", is_flag=True, help="With NAME: what it takes and costs (seconds to minutes; docs/zoo.md).")
@click.option("--overwrite", is_flag=True, help="Replace the model file.")
@output_options
def command(**options: Any) -> int:
    """List the papers' networks, or make one of them (NAME) as a model file that export takes.

    A network made here is synthetic: untrained, with batch norms set so that its layers fire at 10 to 15 %.
    """
    from neurocompile.cli import console
    from neurocompile.errors import Problem, UsageError
    from neurocompile.models.zoo import ZOO

    name, out = options["name"], options["out"]
    if name is not None and name not in ZOO:
        near = [known for known in ZOO if name.split("-")[0] in known] or list(ZOO)
        raise UsageError(Problem("there is no such network", "NAME", name, ", ".join(near), "see neurocompile zoo"))
    if name is None and out is not None:
        fix = "name it: neurocompile zoo NAME"
        raise UsageError(Problem("a model file holds one network", "-o", str(out), fix=fix))
    if out is not None and out.exists() and not options["overwrite"]:
        raise UsageError(Problem("the output exists already", str(out), fix="give another file, or --overwrite"))
    chosen = [ZOO[name]] if name is not None else [n for n in ZOO.values() if options["size"] in (None, n.size)]
    if name is not None and out is not None:
        written = _write(ZOO[name], out, options["seed"], options["samples"])
        if options["as_json"]:
            console.print_json("zoo", {"networks": [_row(ZOO[name])], "model": str(out), **written})
        else:
            rates = written["firing_rates"].values()
            console.show(
                f"wrote {out}: {name}, synthetic, {written['parameters']:,} parameters, layers firing at "
                f"{min(rates):.1%} to {max(rates):.1%}; next: neurocompile export {out} --target loihi"
            )
        return 0
    if options["measure"]:
        if name is None:
            fix = "name one: neurocompile zoo NAME --measure"
            raise UsageError(Problem("all of them take an hour", "--measure", fix=fix))
        return _measure(name, options["seed"], options["as_json"])
    if options["as_json"]:
        console.print_json("zoo", {"networks": [_row(network) for network in chosen]})
        return 0
    words = ("name", "paper", "size", "inputs", "sizes from")
    title = "networks of the papers (what they cost: docs/zoo.md)"
    listed = console.table(title, "name", "paper", "size", "T", "inputs", "sizes from", words=words)
    for network in chosen:
        row = _row(network)
        shapes = ", ".join("x".join(map(str, shape)) or "1" for shape in row["inputs"])
        listed.add_row(row["name"], row["paper"], row["size"], str(row["timesteps"]), shapes, row["source"])
    console.show(listed)
    return 0


def _measure(name: str, seed: int, as_json: bool) -> int:
    from neurocompile.cli import console
    from neurocompile.models.measurement import measure
    from neurocompile.models.zoo import ZOO

    row = {**_row(ZOO[name]), **measure(name, seed)}
    failed = bool(row["spikes_differing"] or row["integers_differing"])
    if as_json:
        console.print_json("zoo", {"networks": [row]}, ok=not failed)
    else:
        shown = console.table(f"{name}, synthetic", "", "")
        for key, value in row.items():
            if key == "energy_pj":
                lower = row["energy_is_lower_bound"]
                for chip, energy in value.items():
                    shown.add_row(f"energy, {chip}", console.energy(energy, lower[chip]))
            elif key not in ("name", "energy_is_lower_bound"):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                shown.add_row(key.replace("_", " "), console.number(value) if number else str(value))
        console.show(shown)
    return 5 if failed else 0


def _row(network: Any) -> dict[str, Any]:
    """What is known of a network without building it."""
    import torch

    lead = 1 if network.layout == "N" else 2
    inputs = network.samples(1, torch.Generator().manual_seed(0))
    return {
        "name": network.name,
        "paper": network.paper,
        "size": network.size,
        "timesteps": network.timesteps,
        "layout": network.layout,
        "inputs": [list(x.shape[lead:]) for x in inputs],
        "source": network.source,
    }


def _write(network: Any, out: Any, seed: int, samples: int) -> dict[str, Any]:
    from neurocompile.frontends.pytorch import save
    from neurocompile.models.calibration import firing_rates
    from neurocompile.models.zoo import synthetic

    module, inputs = synthetic(network, seed, samples)
    save(module, out, inputs, layout=network.layout, timesteps=network.timesteps if network.layout == "N" else None)
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "firing_rates": firing_rates(module, inputs),
        "synthetic": True,
    }
