"""Accuracy and spike agreement of the digits networks at 8, 6, 4, 3 and 2 bits, after training and fine-tuned.

``python -m benchmarks.quantization [--json] [--markdown]``; docs/quantization.md holds what it printed.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import click
import numpy as np

from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends import load_model
from neurocompile.ir import interpret
from neurocompile.models.digits import load_digits_split
from neurocompile.quantization import METHODS, Method
from neurocompile.simulator import simulate_integers

_AFTER_TRAINING = ("digits", "digits-spikingjelly")
_FINE_TUNED = {"digits-4bit": 4, "digits-2bit": 2}


@click.command()
@click.option("--samples", default=450, show_default=True, help="Of the held-out digits.")
@click.option("--seed", default=0, help="Nothing here is random; for the common form of benchmarks.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--markdown", is_flag=True, help="As a table for the docs.")
def main(samples: int, seed: int, as_json: bool, markdown: bool) -> None:
    """Compile and simulate every combination."""
    rows: list[dict[str, Any]] = []
    for name in _AFTER_TRAINING:
        for per_channel in (True, False):
            for bits in (8, 6, 4, 3, 2):
                rows += [measure(name, bits, per_channel, method, samples) for method in METHODS]
    for name, bits in _FINE_TUNED.items():
        rows += [measure(name, bits, per_channel, "max", samples) for per_channel in (True, False)]
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "rows": rows}, indent=1))
        return
    layers = list(rows[0]["agreement"])
    columns = ["network", "bits", "per", "scale", "float", "integers", *layers]
    plain = "{:20} {:>4} {:8} {:11} {:>8} {:>8}" + " {:>9}" * len(layers)
    line = "| " + " | ".join("{}" for _ in columns) + " |" if markdown else plain
    print(line.format(*columns))
    if markdown:
        print("|" + "---|" * len(columns))
    for row in rows:
        agreement = [f"{row['agreement'][layer]:.2%}" for layer in layers]
        accuracies = f"{row['accuracy_real']:.2%}", f"{row['accuracy']:.2%}"
        print(line.format(row["network"], row["bits"], row["per"], row["scale"], *accuracies, *agreement))


def measure(name: str, bits: int, per_channel: bool, method: Method, samples: int) -> dict[str, Any]:
    """One row: accuracy in float64 and in integers, and the share of spikes that agree in each layer."""
    _, _, x, y = load_digits_split()
    with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / f"{name}.pt") as file:
        model = load_model(file)
    (argument,) = model.input_shapes
    inputs = {argument: np.repeat(x[:samples, None].astype(np.float64), model.timesteps, axis=1)}
    options = Options(bits=bits, per_channel=per_channel, method=method)
    program = compile_graph(model.graph, "generic", model.timesteps, options, example=model.example)
    real = interpret(program.real, inputs, program.timesteps)
    run = simulate_integers(program.integer, program.arithmetic, program.integers(inputs)[0], found=[])
    return {
        "network": name,
        "bits": bits,
        "per": "channel" if per_channel else "tensor",
        "scale": method,
        "accuracy_real": float((real.outputs["output"].argmax(1) == y[:samples]).mean()),
        "accuracy": float((run.outputs["output"].argmax(1) == y[:samples]).mean()),
        "agreement": {layer: float((run.spikes[layer] == real.spikes[layer]).mean()) for layer in real.spikes},
        "overflows": run.overflows,
    }


if __name__ == "__main__":
    main()
