"""The measures of images against other computations of the same equations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from neurocompile.frontends import load_model
from neurocompile.ir.ops import Linear
from neurocompile.models.digits import load_digits_split
from neurocompile.models.generators import CHECKPOINTS
from neurocompile.models.quality import CLASSIFIER, digit_features, frechet_distance, mean_squared_error, ssim

RANDOM = np.random.default_rng(0)


def ssim_at(x: np.ndarray, y: np.ndarray, row: int, column: int) -> float:
    """Wang et al., Eqs. 13 to 16, for one window of one image: pixel by pixel."""
    places = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    density = multivariate_normal([0, 0], np.eye(2))
    weights = np.array([density.pdf(place) for place in places])
    weights /= weights.sum()
    a = np.array([x[row + i, column + j] for i, j in places])
    b = np.array([y[row + i, column + j] for i, j in places])
    mean_a, mean_b = weights @ a, weights @ b
    deviation_a = np.sqrt(weights @ (a - mean_a) ** 2)
    deviation_b = np.sqrt(weights @ (b - mean_b) ** 2)
    covariance = weights @ ((a - mean_a) * (b - mean_b))
    c1, c2 = (0.01 * 1) ** 2, (0.03 * 1) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * deviation_a * deviation_b + c2) / (deviation_a**2 + deviation_b**2 + c2)
    structure = (covariance + c2 / 2) / (deviation_a * deviation_b + c2 / 2)
    return float(luminance * contrast * structure)


@pytest.mark.parametrize("size", [8, 16])
def test_ssim_is_wangs(size: int) -> None:
    """As luminance, contrast and structure (Eqs. 6, 9, 10), window by window."""
    x = RANDOM.random((3, 1, size, size))
    y = np.clip(x + 0.3 * RANDOM.standard_normal(x.shape), 0, 1)
    expected = [ssim_at(a[0], b[0], i, j) for a, b in zip(x, y) for i in range(2, size - 2) for j in range(2, size - 2)]
    assert len(expected) == 3 * (size - 4) ** 2
    assert ssim(x, y) == pytest.approx(np.mean(expected), abs=1e-12)
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-12)
    assert 0.1 < ssim(x, y) < 0.95


def test_ssim_with_scipys_gaussian_filter() -> None:
    """Which cuts its window off at the same place, and whose border is left out."""
    x, y = RANDOM.random((2, 16, 16))

    def local(values: np.ndarray) -> np.ndarray:
        filtered: np.ndarray = gaussian_filter(values, 1.0, truncate=2.0)[2:-2, 2:-2]
        return filtered

    mean_x, mean_y = local(x), local(y)
    of_x, of_y, of_both = local(x * x) - mean_x**2, local(y * y) - mean_y**2, local(x * y) - mean_x * mean_y
    index = (2 * mean_x * mean_y + 1e-4) * (2 * of_both + 9e-4)
    index /= (mean_x**2 + mean_y**2 + 1e-4) * (of_x + of_y + 9e-4)
    assert ssim(x[None, None], y[None, None]) == pytest.approx(index.mean(), abs=1e-12)


def test_the_squared_error() -> None:
    x, y = RANDOM.random((2, 4, 1, 8, 8))
    expected = sum((float(a) - float(b)) ** 2 for a, b in zip(x.ravel(), y.ravel())) / x.size
    assert mean_squared_error(x, y) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("samples", "features"), [(400, 6), (300, 64)])
def test_the_frechet_distance_with_scipys_matrix_root(samples: int, features: int) -> None:
    x = RANDOM.standard_normal((samples, features)) @ RANDOM.standard_normal((features, features))
    y = RANDOM.standard_normal((samples + 7, features)) @ RANDOM.standard_normal((features, features)) + 0.3
    first, second = np.cov(x.T), np.cov(y.T)
    root = sqrtm(first @ second)
    expected = np.linalg.norm(x.mean(0) - y.mean(0)) ** 2 + np.trace(first + second - 2 * root.real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4 * expected)


def test_the_frechet_distance_of_one_feature() -> None:
    """(m_x - m_y)**2 + (s_x - s_y)**2."""
    x, y = RANDOM.normal(1.0, 2.0, (500, 1)), RANDOM.normal(3.0, 0.5, (500, 1))
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_features_are_rates_of_the_last_hidden_layer() -> None:
    """The classifier's scores are its last layer's weights times them."""
    _, _, x, _ = load_digits_split()
    model = load_model(CHECKPOINTS / f"{CLASSIFIER}.pt")
    (name,) = model.input_shapes
    scores = model.run({name: np.repeat(x[:20, None], model.timesteps, axis=1)}).outputs["output"]
    features = digit_features(x[:20])
    last = model.graph["fc5"].op
    assert isinstance(last, Linear)
    np.testing.assert_allclose(features @ last.weight.T + last.bias, scores, atol=1e-9)
    assert features.shape == (20, 64)
    doubled = x[:20].repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(digit_features(doubled), features)


def test_worse_digits_are_farther() -> None:
    train, _, held_out, _ = load_digits_split()
    held_out = held_out[:300]
    real = digit_features(held_out)
    distances = [
        frechet_distance(digit_features(train[:300] + noise * RANDOM.standard_normal(held_out.shape)), real)
        for noise in (0.0, 0.2, 0.4)
    ]
    assert distances[0] < distances[1] / 2 < distances[2] / 4
