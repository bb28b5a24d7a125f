"""The trained generators in PyTorch and as programs of 8-bit integers, given the same inputs and random numbers.

``python -m benchmarks.generators [NAME ...] [--json] [--samples N] [--seed S] [--plot FILE.png]``. Reconstructions are
measured against the held-out digits, pixels from 0 to 1, by mean squared error and SSIM; samples by the Frechet
distance of the bundled digit classifier's features (:mod:`neurocompile.models.quality`; no FID) to the held-out digits.
Beside it ("digits") stands that of the training digits: about the least that a generator can reach.
Diffusions run the program at each of their steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from neurocompile.ir.ops import Array
from neurocompile.models.generators import GENERATORS, Networks, compiled, digit_images, in_program, in_torch
from neurocompile.models.quality import digit_features, frechet_distance, mean_squared_error, ssim

__all__ = ["Comparison", "compare", "row"]

_SHOWN = 12


@dataclass(frozen=True)
class Comparison:
    """Images of one generator, [N, 1, H, W] by executor ("torch", "program"), and the digits it was to reconstruct."""

    name: str
    task: str
    digits: Array | None
    images: dict[str, Array]
    seconds: dict[str, float]


def compare(name: str, samples: int, seed: int) -> list[Comparison]:
    """Reconstructions of held-out digits and samples, as far as the generator makes them."""
    generator = GENERATORS[name]
    parts = generator.parts()
    executors = {
        "torch": {key: in_torch(part) for key, part in parts.items()},
        "program": {key: in_program(compiled(part)) for key, part in parts.items()},
    }
    digits = digit_images(generator.image_size)[1][:samples].double().numpy()
    tasks: dict[str, Callable[[Networks, np.random.Generator], Array]] = {}
    if reconstruct := generator.reconstruct:
        tasks["reconstruct"] = lambda networks, random: reconstruct(networks, digits, random)
    if sample := generator.sample:
        tasks["sample"] = lambda networks, random: sample(networks, samples, random)
    found = []
    for task, make in tasks.items():
        images, seconds = {}, {}
        for executor, networks in executors.items():
            start = time.perf_counter()
            images[executor] = make(networks, np.random.default_rng(seed))
            seconds[executor] = time.perf_counter() - start
        found.append(Comparison(name, task, digits if task == "reconstruct" else None, images, seconds))
    return found


@cache
def _digits(size: int) -> tuple[Array, float]:
    """Features of the held-out digits, and the distance of the training digits to them."""
    of_train, of_test = (digit_features(x.double().numpy()) for x in digit_images(size))
    return of_test, frechet_distance(of_train, of_test)


def row(comparison: Comparison) -> dict[str, Any]:
    """The measures of both executors, and of one's images against the other's."""
    torchs, program = comparison.images["torch"], comparison.images["program"]
    real, floor = _digits(torchs.shape[2])
    found: dict[str, Any] = {
        "generator": comparison.name,
        "task": comparison.task,
        "images": len(torchs),
        "mse_between": mean_squared_error(torchs, program),
        "ssim_between": ssim(torchs, program),
        "frechet_training_digits": floor,
    }
    for executor, images in comparison.images.items():
        if comparison.digits is not None:
            found[f"mse_{executor}"] = mean_squared_error(comparison.digits, images)
            found[f"ssim_{executor}"] = ssim(comparison.digits, images)
        found[f"frechet_{executor}"] = frechet_distance(digit_features(images), real)
        found[f"seconds_{executor}"] = round(comparison.seconds[executor], 2)
    return found


def plot(comparisons: Sequence[Comparison], file: Path) -> None:
    """Each generator's images in PyTorch above the program's, below the digits that were to be reconstructed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines: list[tuple[str, Array]] = []
    for comparison in comparisons:
        if comparison.digits is not None:
            lines.append(("held-out digits", comparison.digits))
        lines.append((f"{comparison.name} {comparison.task}: PyTorch", comparison.images["torch"]))
        lines.append((f"{comparison.name} {comparison.task}: program", comparison.images["program"]))
    figure, axes = plt.subplots(len(lines), 1, figsize=(9, 0.62 * len(lines)), squeeze=False)
    for axis, (label, images) in zip(axes[:, 0], lines):
        size = images.shape[2]
        framed = np.pad(images[:_SHOWN, 0].clip(0, 1), ((0, 0), (1, 1), (1, 1)), constant_values=0.5)
        axis.imshow(framed.transpose(1, 0, 2).reshape(size + 2, -1), cmap="gray", vmin=0, vmax=1)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout(h_pad=0.1)
    figure.savefig(file, dpi=120, bbox_inches="tight", metadata={"Software": None})


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(GENERATORS)))
@click.option("--samples", default=450, show_default=True, help="Images of each task; at most 450 are reconstructed.")
@click.option("--seed", default=0, show_default=True)
@click.option("--plot", "file", type=click.Path(path_type=Path), help="Where to draw the first images of each.")
@click.option("--json", "as_json", is_flag=True)
def main(names: Sequence[str], samples: int, seed: int, file: Path | None, as_json: bool) -> None:
    """Compile every trained generator and run it beside PyTorch."""
    torch.set_num_threads(1)
    comparisons = [comparison for name in names or GENERATORS for comparison in compare(name, samples, seed)]
    rows = [row(comparison) for comparison in comparisons]
    if file is not None:
        plot(comparisons, file)
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "rows": rows}, indent=1))
        return
    line = "{:12} {:12}" + " {:>17}" * 3 + " {:>8}" + " {:>12}" * 2
    print("PyTorch / program\n")
    print(line.format("generator", "task", "mse", "ssim", "Frechet", "digits", "mse between", "ssim between"))
    for found in rows:
        pairs = [
            f"{found[f'{measure}_torch']:.4f} / {found[f'{measure}_program']:.4f}"
            if f"{measure}_torch" in found
            else ""
            for measure in ("mse", "ssim", "frechet")
        ]
        others = (
            f"{found['frechet_training_digits']:.4f}",
            f"{found['mse_between']:.5f}",
            f"{found['ssim_between']:.4f}",
        )
        print(line.format(found["generator"], found["task"], *pairs, *others))


if __name__ == "__main__":
    main()
