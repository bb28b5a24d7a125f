"""scikit-learn's handwritten digits (8x8 pixels, 10 classes), as images and as spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurocompile.extras import needing

__all__ = ["ORDER", "digits_spikes", "load_digits_split"]

ORDER = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)
"""What a pixel of 0 to 16 has to exceed to fire in each of 16 steps: halves before quarters before eighths."""


def load_digits_split() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """x_train [1347, 1, 8, 8], y_train [1347], x_test [450, 1, 8, 8], y_test [450]; pixels from 0 to 1.

    A fixed, stratified split of scikit-learn's 1797 digits, a quarter held out.
    """
    with needing():
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = labels.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return x_train, y_train, x_test, y_test


def digits_spikes(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spikes [N, 16, 64] of images [N, 1, 8, 8]: a pixel fires as often in 16 steps as it has sixteenths.

    The digits' pixels are whole sixteenths: nothing is rounded and nothing drawn. The spikes of one are spread evenly.
    """
    order = np.array(ORDER)[:, None]
    return (16 * images.reshape(len(images), 1, 64) > order).astype(np.float32)
