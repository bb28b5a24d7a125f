"""A simulated event camera that looks at still images and moves: the small event sets that tests and examples need.

Each pixel follows the model of the dynamic vision sensor (Lichtsteiner, Posch and Delbruck, IEEE J. Solid-State
Circuits 43(2), 2008, doi:10.1109/JSSC.2007.914337): it remembers its log intensity L at its last event, and fires

    an event of polarity p at the first t where p * (L(t) - L_last) >= C,  p = +1 (brighter) or -1 (darker),

after which L_last moves on by p * C. As in ESIM (Rebecq, Gehrig and Scaramuzza, CoRL 2018, PMLR 87:969-982) L is linear
in time between rendered frames, so one interval can hold several events, each at its own time. The path is that of
N-MNIST (Orchard et al., Frontiers in Neuroscience 9:437, 2015, doi:10.3389/fnins.2015.00437): three saccades along the
sides of a triangle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurocompile.errors import BadInput, Problem
from neurocompile.models.loaders import EVENT, Events

__all__ = ["Trajectory", "digits_events", "film", "fire", "record", "saccades", "thresholds"]

SACCADE_US = 100_000  # N-MNIST: 100 ms each
SHARE_OF_SENSOR = 28 / 34  # N-MNIST: an image of 28 pixels on 34, and saccades that span 7 of them
SPAN_OF_SENSOR = 7 / 34
DARK = 0.1  # intensity where the image is 0 (1 where it is 1): what a screen and its surroundings still emit
THRESHOLD = 0.3  # C, in natural log units
MISMATCH = 0.03  # standard deviation of C between pixels, relative

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """Where the camera looks: offsets `[K, 2]` (down, right) [pixels] at ascending times `[K]` [us]."""

    offsets: Floats
    times_us: NDArray[np.int64]


def saccades(span: float, renders: int = 8) -> Trajectory:
    """Three saccades of constant speed around an isosceles triangle, from its corner at offset (0, 0) and back to it.

    The base, the last side, is `span` pixels and horizontal, and as long as the triangle is high: the sides that the
    `stabilize` of tonic/datasets/nmnist.py takes out of N-MNIST. There are `renders` frames for each pixel of height.
    """
    corners = np.array([[0, 0], [1, 0.5], [0, 1], [0, 0]]) * span
    steps = max(int(np.ceil(span * renders)), 1)
    ticks = np.arange(3 * steps + 1)
    offsets = np.stack([np.interp(ticks / steps, range(4), corners[:, axis]) for axis in (0, 1)], axis=1)
    return Trajectory(offsets, ticks * SACCADE_US // steps)


def thresholds(size: tuple[int, int], seed: int, mean: float = THRESHOLD, mismatch: float = MISMATCH) -> Floats:
    """C of every pixel `[H, W]`, normally distributed, and never under half the mean; the seed is the camera."""
    drawn = np.random.default_rng(seed).normal(mean, mismatch * mean, size)
    return np.maximum(drawn, mean / 2)


def film(images: NDArray[np.floating], path: Trajectory, size: tuple[int, int], share: float = 1.0) -> Iterator[Floats]:
    """Log intensities `[N, H, W]` on a sensor of `size` (H, W), one for each point of the path.

    The images `[N, R, S]`, from 0 to 1, fill `share` of the sensor's height and width where the path is half-way
    through its extent, and are 0 outside. Between their pixels they are bilinear: each frame is down @ image @ right.T
    with matrices of weights `[H, R]` and `[W, S]`.
    """
    middle = (path.offsets.min(0) + path.offsets.max(0)) / 2
    for offset in path.offsets - middle:
        down, right = (
            _bilinear(pixels, source, share, shift) for pixels, source, shift in zip(size, images.shape[1:], offset)
        )
        yield np.log(DARK + (1 - DARK) * (down @ images @ right.T))


def _bilinear(pixels: int, source: int, share: float, shift: float) -> Floats:
    """The weights `[pixels, source]` of an axis of the image in each pixel of the sensor, moved by `shift` pixels."""
    scale = source / (share * pixels)
    centres = (np.arange(pixels) + 0.5 + shift - pixels / 2) * scale + source / 2 - 0.5
    weights: Floats = np.maximum(1 - np.abs(centres[:, None] - np.arange(source)), 0.0)
    return weights


def fire(
    log_intensities: Iterable[Floats], times_us: NDArray[np.int64], threshold: Floats | float
) -> Iterator[tuple[NDArray[np.int64], Events]]:
    """The events between one frame `[N, H, W]` and the next, as pairs of sample numbers `[E]` and events `[E]`.

    Each pair is in order of time (rounded down to us), then sample, row and column. `threshold` is C, of every pixel
    `[H, W]` or one for all.

    Raises:
        BadInput: if a threshold is not above 0.
    """
    if not np.all(np.asarray(threshold) > 0):
        raise BadInput(Problem("a threshold is not above 0", actual=str(np.min(threshold)), limit="above 0"))
    frames = iter(log_intensities)
    before = next(frames)
    last = before.copy()
    threshold = np.broadcast_to(threshold, before.shape)
    for frame, start_us, stop_us in zip(frames, times_us[:-1], times_us[1:], strict=True):
        parts: list[tuple[NDArray[np.int64], Events]] = []
        for polarity in (1, -1):
            while len(crossed := np.flatnonzero(polarity * (frame - last) >= threshold)):
                level = last.flat[crossed] + polarity * threshold.flat[crossed]
                last.flat[crossed] = level
                share = (level - before.flat[crossed]) / (frame.flat[crossed] - before.flat[crossed])
                sample, row, column = np.unravel_index(crossed, frame.shape)
                events = np.empty(len(crossed), EVENT)
                share = np.clip(share, 0, 1)  # rounding may leave the interval by its last bit
                events["t"] = start_us + np.floor(share * (stop_us - start_us)).astype(np.int64)
                events["y"], events["x"], events["p"] = row, column, polarity > 0
                parts.append((sample, events))
        before = frame
        samples = np.concatenate([sample for sample, _ in parts] or [np.empty(0, np.int64)])
        events = np.concatenate([events for _, events in parts] or [np.empty(0, EVENT)])
        order = np.lexsort((events["x"], events["y"], samples, events["t"]))
        yield samples[order], events[order]


def record(image: NDArray[np.floating], path: Trajectory, size: tuple[int, int], threshold: Floats | float) -> Events:
    """The events `[E]` of a camera of `size` (H, W) that moves along a path over one image `[R, S]`, in order of time.

    Raises:
        BadInput: if the image is not one, or leaves the range 0 to 1, or a threshold is not above 0.
    """
    images = _checked(image[None])
    return np.concatenate([events for _, events in fire(film(images, path, size), path.times_us, threshold)])


def digits_events(
    images: NDArray[np.floating], seed: int, *, size: int = 16, timesteps: int = 10
) -> NDArray[np.float32]:
    """What a camera of `size` x `size` pixels sees of images `[N, 1, R, S]` or `[N, R, S]` (from 0 to 1).

    Event counts `[N, T, 2, size, size]` in T equal parts of the three saccades (300 ms); channel 0 is darker, channel
    1 brighter. Images fill as much of the sensor, and move as far, as in N-MNIST (size 34). The seed is the camera,
    with the thresholds of its pixels: training and test images want the same one. Same images and seed, same events.

    Raises:
        BadInput: if these are not such images, or there is no time step.
    """
    images = _checked(images[:, 0] if images.ndim == 4 and images.shape[1] == 1 else images)
    if size < 1 or timesteps < 1:
        raise BadInput(Problem("no pixels or no time steps", actual=f"{size}, {timesteps}", limit="1 or more"))
    path = saccades(SPAN_OF_SENSOR * size)
    counts = np.zeros((len(images), timesteps, 2, size, size), np.float32)
    seen = film(images, path, (size, size), SHARE_OF_SENSOR)
    for sample, events in fire(seen, path.times_us, thresholds((size, size), seed)):
        part = np.minimum(events["t"] * timesteps // path.times_us[-1], timesteps - 1)
        np.add.at(counts, (sample, part, events["p"], events["y"], events["x"]), 1)
    return counts


def _checked(images: NDArray[np.floating]) -> Floats:
    if images.ndim != 3 or not images.size:
        fix = "one channel, samples first"
        raise BadInput(Problem("not images for a camera", actual=str(list(images.shape)), limit="[N, R, S]", fix=fix))
    if not (images.min() >= 0 and images.max() <= 1):
        actual = f"{images.min()} to {images.max()}"
        raise BadInput(Problem("intensities out of range", actual=actual, limit="0 to 1", fix="scale them"))
    return images.astype(np.float64)
