"""SpikingJelly's own ``re_parameterize_v_threshold`` beside the fold of this compiler, on the same trained network.

Both take the bundled ``digits-spikingjelly`` network (MPBNLIFNode, trained on handwritten digits) and are compared with
the network as it was trained, in float64, on the held-out digits. ``python -m benchmarks.mpbn_folding [--json]``
"""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import click
import numpy as np
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch.pickles import unpickle
from neurocompile.frontends.pytorch.symbolic.plain import module_of
from neurocompile.ir import Trace, interpret
from neurocompile.ir.ops import Array
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
        model, module = load_model(file), module_of(unpickle(file, trust=False))
    (name,) = model.input_shapes
    inputs = {name: np.repeat(x[:samples, None].astype(np.float64), model.timesteps, axis=1)}
    trained = model.run(inputs)
    runs: list[tuple[str, Any]] = [("as trained (torch)", trained)]
    for normalize in (False, True):
        folded = _run_with_spikingjelly_fold(module, inputs[name], normalize)
        runs.append((f"re_parameterize_v_threshold({normalize=})", folded))
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


def _run_with_spikingjelly_fold(module: nn.Module, x: Array, normalize_residual: bool) -> Trace:
    """What the folded torch module gives in float64 for ``x[N, T, ...]``."""
    folded = copy.deepcopy(module).double()
    fired: dict[str, Array] = {}

    def hear(path: str) -> Any:
        return lambda node, args, output: fired.update({path: output.transpose(0, 1).numpy().astype(np.int8)})

    for path, node in folded.named_modules():
        if isinstance(node, neuron.MPBNLIFNode):
            node.re_parameterize_v_threshold(normalize_residual=normalize_residual)
            node.register_forward_hook(hear(path))
    with torch.no_grad():
        output = folded(torch.from_numpy(x).transpose(0, 1))
    return Trace(outputs={"output": output.numpy()}, spikes=fired)


if __name__ == "__main__":
    main()
