"""Augmentations: what they may change, and what never."""

import augment
import numpy as np
import pytest


def _ramp(axis, shape=(8, 32, 32, 3)):
    values = np.linspace(-0.9, 0.9, shape[axis], dtype="float32")
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return np.broadcast_to(values.reshape(sizes), shape).copy()


@pytest.mark.parametrize("axis", [1, 2])
def test_images_are_neither_turned_nor_mirrored(axis, rng):
    # A picture that brightens along one axis still does, within its frame.
    outputs = augment.augment(_ramp(axis), rng)
    assert not np.array_equal(outputs[0], outputs[1])
    inner = outputs[:, 8:-8, 8:-8]
    assert np.diff(inner, axis=axis).min() > 0
    assert np.abs(np.diff(inner, axis=3 - axis)).max() < 1e-5


def test_volumes_are_neither_turned_nor_mirrored(rng):
    for axis in (1, 2, 3):
        outputs = augment.augment(_ramp(axis, (4, 24, 24, 24, 1)), rng)
        inner = outputs[:, 8:-8, 8:-8, 8:-8]
        assert np.diff(inner, axis=axis).min() > 0
        others = [i for i in (1, 2, 3) if i != axis]
        assert max(np.abs(np.diff(inner, axis=i)).max() for i in others) < 1e-4


def test_crops_are_half_the_area_or_more(rng):
    # The slope of a ramp tells how far the picture was enlarged.
    images = _ramp(2, (300, 32, 32, 1))
    outputs = augment._crop_and_shift(images, rng)
    slopes = np.diff(outputs[:, 16, 14:18, 0], axis=1).mean(axis=1)
    widths = slopes / np.diff(images[0, 0, :2, 0])
    # Area 0.5 at the widest aspect 4:3 is 0.61 wide.
    assert 0.60 < widths.min() < 0.7 and 0.95 < widths.max() <= 1.001


def test_what_moves_in_is_black(rng):
    outputs = augment._crop_and_shift(np.ones((200, 16, 16, 1), "float32"), rng)
    assert outputs.min() == pytest.approx(-1) and outputs.max() <= 1.0001


def test_jitter_changes_half_of_the_images_a_little(rng):
    images = np.full((2000, 2, 2, 1), 0.2, "float32")
    outputs = augment._jitter(images, rng)
    changed = np.abs(outputs - images).max(axis=(1, 2, 3)) > 1e-6
    assert 0.45 < changed.mean() < 0.55
    # Brightness 0.6 of 1 by 10 % is 0.06, on the scale -1..1 twice that.
    assert np.abs(outputs - images).max() <= 0.12 + 1e-6


def test_saturation_keeps_grey_grey(rng):
    grey = np.repeat(rng.uniform(-1, 1, (50, 4, 4, 1)), 3, -1).astype("float32")
    outputs = augment._jitter(grey, rng)
    assert np.ptp(outputs, axis=-1).max() < 1e-6


def test_same_generator_same_images(rng):
    images = rng.uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
    first, second = (
        augment.augment(images, np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.dtype == "float32" and first.shape == images.shape
