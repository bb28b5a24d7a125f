"""The README of a bundle: how to run it, and what runs where."""

from __future__ import annotations

from neurocompile.backends.lava.plan import Plan
from neurocompile.program import Program

__all__ = ["readme"]


def readme(program: Program, plan: Plan, has_samples: bool) -> str:
    """Markdown."""
    try_it = "    python run.py\n" if has_samples else "    python run.py --data X.npz\n"
    lines = [
        f"# A network for {program.target}, in Lava",
        "",
        "Made by neurocompile. It needs Python 3.10 and what requirements.txt names:",
        "",
        "    python3.10 -m venv venv && venv/bin/pip install -r requirements.txt",
        f"    venv/bin/{try_it.strip()}",
        "",
        "`run.py --help` says how to give it data, record membranes, and run it on hardware (`--hardware`, where Lava",
        "finds a Loihi). network.py is the network; arrays.npz its numbers; bundle.json what run.py knows about it.",
        "",
        f"Every sample has {program.timesteps} steps. The last layer lags behind by {plan.latency} steps; run.py",
        "removes that from what it records.",
        "" if plan.streams else "\nDelays reach from one step into later ones, so each sample is a run of its own.",
        "| layer | runs as | lag |",
        "|---|---|---|",
    ]
    kinds = {"stock": "Lava's LIF", "own": "own/neuron.py, CPU simulation only", "host": "run.py, on the host"}
    lines += [f"| {p.name} | {kinds[p.kind]} | {p.depth} |" for p in plan.populations]
    lines += [f"| {p.name} | own/pool.py, CPU simulation only | {p.depth} |" for p in plan.pools]
    for population in plan.own:
        lines += ["", f"{population.name} is no neuron of the chip:"]
        lines += [f"- {each.what}; to make it one: {each.fix}" for each in population.missing]
    return "\n".join(lines) + "\n"
