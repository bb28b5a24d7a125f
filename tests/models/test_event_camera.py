"""The simulated event camera against one pixel at a time, written as the equations say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.errors import BadInput
from neurocompile.models import event_camera
from neurocompile.models.digits import load_digits_split
from neurocompile.models.event_camera import (
    DARK,
    SHARE_OF_SENSOR,
    SPAN_OF_SENSOR,
    Trajectory,
    digits_events,
    film,
    fire,
    record,
    saccades,
    thresholds,
)
from neurocompile.models.loaders import EVENT, Events, frames


def one_pixel(levels: list[float], times_us: list[int], threshold: float) -> list[tuple[int, int]]:
    """The events (t, p) of one pixel with these log intensities."""
    found, last = [], levels[0]
    for before, after, start, stop in zip(levels, levels[1:], times_us, times_us[1:]):
        while abs(after - last) >= threshold:
            polarity = 1 if after > last else -1
            last += polarity * threshold
            share = min(max((last - before) / (after - before), 0.0), 1.0)
            found.append((start + math.floor(share * (stop - start)), int(polarity > 0)))
    return found


def slow_events(levels: np.ndarray, times_us: np.ndarray, threshold: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The events (t, y, x, p) of one sample `[K, H, W]`, sorted."""
    return sorted(
        (t, y, x, p)
        for y in range(levels.shape[1])
        for x in range(levels.shape[2])
        for t, p in one_pixel(levels[:, y, x].tolist(), times_us.tolist(), float(threshold[y, x]))
    )


def listed(events: Events) -> list[tuple[int, int, int, int]]:
    return sorted(zip(*(events[name].tolist() for name in ("t", "y", "x", "p"))))


def interpolated(image: np.ndarray, y: float, x: float) -> float:
    """The image at a point between its pixels, 0 outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return total


def straight(offsets: list[tuple[float, float]], step_us: int = 1000) -> Trajectory:
    return Trajectory(np.array(offsets, float), np.arange(len(offsets)) * step_us)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_events_are_those_of_each_pixel_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, samples, height, width = rng.integers(2, 6), rng.integers(1, 3), rng.integers(1, 5), rng.integers(1, 5)
    levels = rng.normal(size=(count, samples, height, width)) * rng.choice([0.1, 1, 3])
    levels[rng.random(levels.shape) < 0.2] = 0.5  # pixels that stay where they are
    times = np.cumsum(rng.integers(1, 50_000, count))
    threshold = rng.uniform(0.1, 0.7, (height, width))
    found = list(fire(iter(levels), times, threshold))
    for sample in range(samples):
        events = np.concatenate([events[owners == sample] for owners, events in found])
        assert listed(events) == slow_events(levels[:, sample], times, threshold)
        assert (np.diff(events["t"]) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_film_is_bilinear(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.random((2, rng.integers(1, 9), rng.integers(1, 9)))
    height, width = (int(n) for n in rng.integers(1, 12, 2))
    path = straight([tuple(rng.uniform(-4, 4, 2)) for _ in range(3)])
    share = float(rng.uniform(0.3, 1.2))
    middle = (path.offsets.min(0) + path.offsets.max(0)) / 2
    for offset, frame in zip(path.offsets - middle, film(images, path, (height, width), share)):
        expected = np.empty((2, height, width))
        for n, y, x in np.ndindex(2, height, width):
            # The centre of the sensor sees the centre of the image; `share` of the sensor is as wide as the image.
            down = (y + 0.5 - height / 2 + offset[0]) / (share * height) + 0.5
            right = (x + 0.5 - width / 2 + offset[1]) / (share * width) + 0.5
            value = interpolated(images[n], down * images.shape[1] - 0.5, right * images.shape[2] - 0.5)
            expected[n, y, x] = math.log(DARK + (1 - DARK) * value)
        np.testing.assert_allclose(frame, expected, rtol=0, atol=1e-12)


def test_whole_pixel_shifts_show_the_image_itself() -> None:
    image = np.random.default_rng(0).random((5, 6))
    path = straight([(-1, 0), (0, 0), (1, 0)])
    up, level, down = (np.exp(frame[0]) for frame in film(image[None], path, (5, 6)))
    np.testing.assert_allclose(level, DARK + (1 - DARK) * image)
    np.testing.assert_allclose(up[1:], level[:-1])  # the camera looks one pixel further up
    np.testing.assert_allclose(down[:-1], level[1:])
    np.testing.assert_allclose(up[0], DARK)


def test_an_edge_fires_as_often_as_its_contrast_holds_the_threshold() -> None:
    """A bright half comes from the right: ln(1 / 0.1) = 2.303 holds 0.25 nine times, all of them ON, in order."""
    image = np.array([[0.0, 0.0, 1.0, 1.0]])
    path = straight([(0, -0.5), (0, 0.5)], 1000)
    events = record(image, path, (1, 4), 0.25)
    # The second pixel sees half of the edge before, and after; at the borders half of the image leaves.
    assert np.all(events["y"] == 0)
    assert np.all(events["p"][events["x"] == 1] == 1)
    half = math.log(DARK + (1 - DARK) * 0.5)
    assert np.sum(events["x"] == 1) == math.floor((half - math.log(DARK)) / 0.25)
    assert np.sum(events["x"] == 2) == math.floor((0 - half) / 0.25)
    assert np.all(events["p"][events["x"] == 3] == 0)


def test_what_does_not_change_does_not_fire() -> None:
    assert not len(record(np.full((8, 8), 0.5), straight([(0, 0)] * 5), (8, 8), 0.01))
    assert not len(record(np.zeros((8, 8)), saccades(3), (8, 8), 0.01))
    assert record(np.zeros((8, 8)), saccades(3), (8, 8), 0.01).dtype == EVENT


def test_saccades_go_around_a_triangle() -> None:
    path = saccades(7)
    assert path.times_us[0] == 0
    assert path.times_us[-1] == 300_000
    corners = [path.offsets[np.flatnonzero(path.times_us == t)[0]].tolist() for t in (0, 100_000, 200_000, 300_000)]
    assert corners == [[0, 0], [7, 3.5], [0, 7], [0, 0]]
    assert (np.diff(path.times_us) > 0).all()
    assert np.abs(np.diff(path.offsets, axis=0)).max() <= 1 / 8 + 1e-12
    speeds = np.linalg.norm(np.diff(path.offsets, axis=0), axis=1).reshape(3, -1)
    np.testing.assert_allclose(speeds, np.broadcast_to(speeds[:, :1], speeds.shape))


def test_digits_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two digits from the image to the counts, by the slow way."""
    monkeypatch.setattr(event_camera, "SACCADE_US", 3000)
    images = load_digits_split()[2][:2]
    size, steps = 10, 4
    counts = digits_events(images, 3, size=size, timesteps=steps)
    path, threshold = saccades(SPAN_OF_SENSOR * size), thresholds((size, size), 3)
    middle = (path.offsets.min(0) + path.offsets.max(0)) / 2
    expected = np.zeros_like(counts)
    for n, image in enumerate(images[:, 0].astype(float)):
        for y, x in np.ndindex(size, size):
            levels = []
            for offset in path.offsets - middle:
                at = ((np.array([y, x]) + 0.5 - size / 2 + offset) / (SHARE_OF_SENSOR * size) + 0.5) * 8 - 0.5
                levels.append(math.log(DARK + (1 - DARK) * interpolated(image, *at)))
            for t, p in one_pixel(levels, path.times_us.tolist(), float(threshold[y, x])):
                expected[n, min(t * steps // 9000, steps - 1), p, y, x] += 1
    assert counts.sum() > 500
    # The interpolations differ in their last bit, which may carry an event across the border of a part.
    assert np.abs(counts - expected).sum() <= 0.002 * counts.sum()


def test_digits_are_the_same_alone_and_together_and_follow_the_seed() -> None:
    images = load_digits_split()[2][:5]
    together = digits_events(images, 0)
    assert together.shape == (5, 10, 2, 16, 16)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, digits_events(images, 0))
    np.testing.assert_array_equal(together[3:4], digits_events(images[3:4, 0], 0))
    assert (together != digits_events(images, 1)).any()
    assert digits_events(images[:1], 0, size=34, timesteps=3).shape == (1, 3, 2, 34, 34)


def test_digits_are_a_recording_in_frames() -> None:
    """Without borders between parts of time both ways count the same."""
    image = load_digits_split()[2][0, 0].astype(float)
    path, threshold = saccades(SPAN_OF_SENSOR * 16), thresholds((16, 16), 0)
    seen = film(image[None], path, (16, 16), SHARE_OF_SENSOR)
    events = np.concatenate([events for _, events in fire(seen, path.times_us, threshold)])
    np.testing.assert_array_equal(frames(events, 1, (16, 16)), digits_events(image[None], 0, timesteps=1)[0])


def test_digits_stay_apart() -> None:
    """The nearest mean of 200 training digits finds most of 100 held-out ones: the events show what the image was."""
    x_train, y_train, x_test, y_test = load_digits_split()
    seen, unseen = (digits_events(x, 0, timesteps=3).reshape(len(x), -1) for x in (x_train[:200], x_test[:100]))
    means = np.stack([seen[y_train[:200] == digit].mean(0) for digit in range(10)])
    nearest = ((unseen[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == y_test[:100]).mean() > 0.8


def test_thresholds_vary_as_asked() -> None:
    drawn = thresholds((200, 200), 0, 0.4, 0.05)
    assert drawn.mean() == pytest.approx(0.4, rel=1e-2)
    assert drawn.std() == pytest.approx(0.02, rel=5e-2)
    assert thresholds((50, 50), 0, 0.4, 5.0).min() == 0.2


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 3, 8, 8)), np.zeros((8, 8)), np.zeros((0, 8, 8)), np.full((1, 8, 8), 1.5), np.full((1, 8, 8), np.nan),
     np.full((1, 8, 8), -1.0)],
)  # fmt: skip
def test_images_that_are_none(images: np.ndarray) -> None:
    with pytest.raises(BadInput):
        digits_events(images, 0)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(BadInput, match="above 0"):
        record(np.ones((2, 2)), saccades(1), (2, 2), 0.0)
    with pytest.raises(BadInput, match="no time steps"):
        digits_events(np.ones((1, 2, 2)), 0, timesteps=0)
