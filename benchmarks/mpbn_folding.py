"""SpikingJelly's own ``re_parameterize_v_threshold`` beside the fold of this compiler, on the same trained network.

Both take the bundled ``digits-spikingjelly`` network (MPBNLIFNode, trained on handwritten digits) and are compared with
the network as it was trained, in float64, on the held-out digits. ``python -m benchmarks.mpbn_folding [--json]``
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import click
import numpy as np
from spikingjelly.activation_based import neuron

from neurocompile.frontends.pytorch import TorchModel, load_model
from neurocompile.frontends.pytorch.trace import prepare
from neurocompile.ir import interpret
from neurocompile.models.digits import load_digits_split
from neurocompile.passes import REAL_PASSES, run_passes


@click.command()
@click.option("--samples", default=450, show_default=True, help="Of the held-out digits.")
@click.option("--seed", default=0, help="Nothing here is random; for the common form of benchmarks.")
@click.option("--json", "as_json", is_flag=True)
def main(samples: int, seed: int, as_json: bool) -> None:
    """Fold, run, compare spike by spike."""
    rows = compare(samples)
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "rows": rows}, indent=1))
        return
    print(f"digits-spikingjelly, {samples} held-out digits, against the network as trained (float64)\n")
    print(f"{'fold':46} {'spikes compared':>16} {'differing':>10} {'share':>8} {'accuracy':>9}")
    for row in rows:
        share = row["mismatches"] / row["compared"]
        print(f"{row['fold']:46} {row['compared']:16,} {row['mismatches']:10,} {share:8.3%} {row['accuracy']:9.2%}")


def compare(samples: int) -> list[dict[str, Any]]:
    """One row for each way to fold, the network as trained first."""
    _, _, x, y = load_digits_split()
    with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / "digits-spikingjelly.pt") as file:
        model = load_model(file)
    (name,) = model.input_shapes
    inputs = {name: np.repeat(x[:samples, None].astype(np.float64), model.timesteps, axis=1)}
    trained = model.run(inputs)
    runs: list[tuple[str, Any]] = [("as trained (torch)", trained)]
    for normalize in (False, True):
        folded = _with_spikingjelly_fold(model, normalize)
        runs.append((f"re_parameterize_v_threshold({normalize=})", folded.run(inputs)))
    graph, _ = run_passes(model.graph, REAL_PASSES)
    runs.append(("neurocompile", interpret(graph, inputs, model.timesteps)))
    return [
        {
            "fold": label,
            "compared": sum(spikes.size for spikes in trained.spikes.values()),
            "mismatches": sum(int((run.spikes[layer] != spikes).sum()) for layer, spikes in trained.spikes.items()),
            "accuracy": float((run.outputs["output"].argmax(1) == y[:samples]).mean()),
        }
        for label, run in runs
    ]


def _with_spikingjelly_fold(model: TorchModel, normalize_residual: bool) -> TorchModel:
    module: Any = prepare(model.traced)
    for node in module.modules():
        if isinstance(node, neuron.MPBNLIFNode):
            node.re_parameterize_v_threshold(normalize_residual=normalize_residual)
    return TorchModel(module, model.layout, model.timesteps, model.input_shapes, model.read)


if __name__ == "__main__":
    main()
