"""What an inference takes on each chip: latency, energy with its parts and bounds, pJ/SOP, and how it is known.

``python -m benchmarks.chips [--json] [--markdown] [--samples N] [--seed S]``. The demo's network (trained, held-out
digits) and an MPBN ResNet-20 for 32 x 32 images (synthetic: untrained, its norms set so that layers fire at 10 to
15 %). nc1 is cycle-exact (docs/nc1.md) and has no price; loihi is a timing model (docs/timing.md); all others are
priced only.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import click
import numpy as np
import torch

from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data, arrange_inputs
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.frontends.pytorch.layouts import separate
from neurocompile.models.digits import load_digits_split
from neurocompile.models.zoo import ZOO
from neurocompile.reports import plain
from neurocompile.targets import load_target
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.running import run_program

__all__ = ["CHIPS", "NETWORKS", "measure"]

CHIPS = ("loihi", "nc1", "truenorth", "odin", "anp-i", "async28")
NETWORKS = ("digits", "mpbn-resnet20")


def _model(name: str, samples: int, seed: int) -> tuple[TorchModel, dict[str, Any]]:
    if name == "digits":
        with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / "digits.pt") as file:
            model = load_model(file)
        _, _, x, y = load_digits_split()
        return model, {"x": x[:samples], "y": y[:samples]}
    network = ZOO[name]
    module, inputs = network.synthetic(seed, samples)
    example = [separate(x, network.layout, network.timesteps) for x in inputs]
    lead = 1 if network.layout == "N" else 2
    shapes = {str(k): tuple(x.shape[lead:]) for k, x in enumerate(inputs)}
    model = TorchModel.from_module(
        module, shapes, network.timesteps, network.layout, None, "real", dict(zip(shapes, example, strict=True))
    )
    return model, model.example


def measure(name: str, samples: int, seed: int) -> list[dict[str, Any]]:
    """A row for each chip."""
    model, given = _model(name, samples, seed)
    results: dict[str, Any] = {}
    for target in ("generic", "loihi", "nc1"):
        program = compile_graph(model.graph, target, model.timesteps, Options(), example=model.example, check=False)
        data: Data = arrange_inputs(given, program.input_shapes, program.timesteps, "the samples")
        results[target] = run_program(program, data, timing=True)
    rows = []
    for chip in CHIPS:
        result = results.get(chip, results["generic"])
        body = plain(priced(result, chip))
        timing, each = body["timing"], body["per_sample"]
        bounds = body["energy_pj_bounds"]
        row = {
            "network": name,
            "chip": chip,
            "how": "priced only",
            "accuracy": body["accuracy"],
            "sops": each["sops"],
            "latency_ns": None,
            "cycles": None,
            "energy_pj": each["energy_pj"],
            "energy_pj_bounds": None if bounds is None else [bound / result.samples for bound in bounds],
            "energy_is_lower_bound": body["energy_is_lower_bound"],
            "energy_pj_by_part": {k: v / result.samples for k, v in (body["energy_pj_by_term"] or {}).items()},
            "pj_per_sop": body["pj_per_sop"],
            "chips_needed": body["chips_needed"],
            "sources": {term: price.source for term, price in load_target(chip).prices.items()},
        }
        if chip == "nc1":
            row |= {"how": "cycle-exact", "cycles": timing["cycles_per_sample"]["mean"], "cores": timing["cores"]}
        elif chip == "loihi":
            row |= {
                "how": "timing model",
                "latency_ns": timing["latency_ns_per_sample"]["mean"],
                "energy_pj": timing["energy_pj"] / result.samples,
                "energy_pj_bounds": [bound / result.samples for bound in timing["energy_pj_bounds"]],
                "energy_pj_by_part": {k: v / result.samples for k, v in timing["energy_pj_by_part"].items()},
                "pj_per_sop": timing["energy_pj"] / timing["synaptic_events"],
                "cores": timing["cores"],
                "sources": {"events": "neurocompile targets loihi-sanafe"},
            }
        rows.append(row)
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    micro = "-" if row["energy_pj"] is None else f"{row['energy_pj'] / 1e6:.3g}"
    if row["energy_is_lower_bound"] and row["how"] == "priced only":
        micro = f">= {micro}"
    low, high = row["energy_pj_bounds"] or (None, None)
    bounds = "-" if low is None or low == high else f"{low / 1e6:.3g} to {high / 1e6:.3g}"
    parts = ", ".join(f"{name} {energy / 1e6:.3g}" for name, energy in row["energy_pj_by_part"].items() if energy)
    latency = "-"
    if row["cycles"] is not None:
        latency = f"{row['cycles']:,.0f} cycles"
    elif row["latency_ns"] is not None:
        latency = f"{row['latency_ns'] / 1000:,.0f} us"
    per_sop = "-" if row["pj_per_sop"] is None else f"{row['pj_per_sop']:.3g}"
    return [row["network"], row["chip"], row["how"], latency, micro, bounds, parts or "-", per_sop]


_COLUMNS = ("network", "chip", "how known", "latency", "energy, uJ", "bounds, uJ", "parts, uJ", "pJ/SOP")


@click.command()
@click.option("--samples", default=64, show_default=True, help="Digits; of the synthetic network an eighth.")
@click.option("--seed", default=0, show_default=True)
@click.option("--markdown", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def main(samples: int, seed: int, markdown: bool, as_json: bool) -> None:
    """Measure both networks on every chip."""
    torch.set_num_threads(1)
    rows = [
        row for name in NETWORKS for row in measure(name, samples if name == "digits" else max(2, samples // 8), seed)
    ]
    if as_json:
        print(json.dumps({"seed": seed, "rows": rows}, indent=1, default=_plain))
        return
    lines = [_COLUMNS, *map(_cells, rows)]
    if markdown:
        lines.insert(1, ["---"] * len(_COLUMNS))
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
