"""The generators' benchmark: what a row says is what its images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.generators import compare, plot, row
from neurocompile.models.generators import digit_images
from neurocompile.models.quality import digit_features, frechet_distance


def test_rows_and_a_picture(tmp_path: Path) -> None:
    comparisons = compare("fsvae", 10, 5)
    assert [comparison.task for comparison in comparisons] == ["reconstruct", "sample"]
    held_out = digit_images(8)[1].double().numpy()
    for comparison in comparisons:
        found, images = row(comparison), comparison.images
        assert found["images"] == len(images["torch"]) == len(images["program"]) == 10
        assert found["mse_between"] == pytest.approx(np.mean((images["torch"] - images["program"]) ** 2))
        for executor, made in images.items():
            expected = frechet_distance(digit_features(made), digit_features(held_out))
            assert found[f"frechet_{executor}"] == pytest.approx(expected)
            if comparison.task == "reconstruct":
                assert found[f"mse_{executor}"] == pytest.approx(np.mean((made - held_out[:10]) ** 2))
    assert ("mse_torch" in found, found["frechet_training_digits"] < 0.1) == (False, True)
    plot(comparisons, tmp_path / "generators.png")
    assert (tmp_path / "generators.png").stat().st_size > 1000
