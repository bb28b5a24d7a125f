"""How good generated images of digits are: squared error, SSIM, and a Frechet distance of a classifier's features.

Images are [N, channels, H, W], scaled to 0 .. 1; all is computed in float64.
"""

from functools import cache
from importlib import resources

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from neurocompile.frontends import Model, load_model
from neurocompile.ir.ops import Array

__all__ = ["CLASSIFIER", "digit_features", "frechet_distance", "mean_squared_error", "ssim"]

CLASSIFIER = "digits"
"""The checkpoint whose last hidden layer gives the features of the Frechet distance."""
_HIDDEN = "neuron4"
_WINDOW, _SIGMA = 5, 1.0


def mean_squared_error(x: Array, y: Array) -> float:
    """The mean over samples and pixels of (x - y)**2."""
    return float(np.mean((np.asarray(x, np.float64) - y) ** 2))


def ssim(x: Array, y: Array) -> float:
    """The mean structural similarity of pairs of images, 1 where they are the same.

        (2 mu_x mu_y + C1) (2 sigma_xy + C2) / ((mu_x**2 + mu_y**2 + C1) (sigma_x**2 + sigma_y**2 + C2))

    with C1 = 0.01**2 and C2 = 0.03**2, as pixels go from 0 to 1: Eq. 13 of Wang, Bovik, Sheikh and Simoncelli, IEEE
    Trans. Image Processing 13(4), 2004, doi:10.1109/TIP.2003.819861. Means, variances and covariance are weighed by a
    Gaussian window (Eqs. 14 to 16), whose sum is 1, and the index is averaged over all its places (Eq. 17). Wang's
    window of 11 x 11 with a standard deviation of 1.5 pixels is larger than images of 8 x 8: here it is 5 x 5 with a
    standard deviation of 1, and stays inside the image (4 x 4 places in 8 x 8 pixels, 12 x 12 in 16 x 16).
    """
    line = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    weights = np.outer(line, line) / line.sum() ** 2

    def local(values: Array) -> Array:
        windows = sliding_window_view(values, (_WINDOW, _WINDOW), axis=(-2, -1))
        mean: Array = np.einsum("...ij,ij->...", windows, weights)
        return mean

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = local(x), local(y)
    variances = local(x**2) - mean_x**2 + local(y**2) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))))


def frechet_distance(x: Array, y: Array) -> float:
    """The squared Frechet distance of two sets of features [N, F], [M, F], each taken for normally distributed.

        |m_x - m_y|**2 + Tr(C_x + C_y - 2 (C_x C_y)**(1/2))

    Dowson and Landau, J. Multivariate Analysis 12(3), 1982; Eq. 6 of Heusel et al., NeurIPS 2017, arXiv:1706.08500. The
    trace of the root is the sum of the roots of the eigenvalues of C_x**(1/2) C_y C_x**(1/2), which is symmetric.
    """
    cov_x, cov_y = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    between = np.sqrt(np.linalg.eigvalsh(root @ cov_y @ root).clip(0)).sum()
    apart = np.sum((np.mean(x, 0) - np.mean(y, 0)) ** 2)
    return float(apart + np.trace(cov_x) + np.trace(cov_y) - 2 * between)


@cache
def _classifier() -> Model:
    with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / f"{CLASSIFIER}.pt") as file:
        return load_model(file)


def digit_features(images: Array) -> Array:
    """What the bundled digits network makes of images [N, 1, 8 k, 8 k]: the rates of its 64 last hidden neurons.

    This is no FID: that one's features come from an Inception network, which was trained on photographs. Larger images
    are averaged over squares of k x k pixels; values beyond 0 and 1 are clipped.

    Returns:
        Spikes per time step [N, 64].
    """
    model = _classifier()
    (name,) = model.input_shapes
    k = images.shape[2] // 8
    small = np.asarray(images, np.float64).reshape(-1, 1, 8, k, 8, k).mean((3, 5)).clip(0, 1)
    over_time = np.repeat(small[:, None], model.timesteps, axis=1)
    rates: Array = model.run({name: over_time}).spikes[_HIDDEN].mean(1)
    return rates
