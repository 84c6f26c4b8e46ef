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


def test_turned_images_show_every_angle_and_both_hands(rng):
    # A bright spot off the diagonal tells angle and hand of its picture.
    images = np.full((400, 33, 33, 1), -1, "float32")
    images[:, 4:7, 15:18] = 1  # above the centre
    images[:, 15:18, 22:25] = 0.5  # to the right of it, and closer
    outputs = augment.turn_and_mirror(images, rng)
    assert outputs.shape == images.shape and outputs.dtype == images.dtype
    angles, hands = [], []
    for image in outputs[..., 0]:
        (up, across), (y, x) = (
            np.argwhere(image == value).mean(axis=0) - 16 for value in (1, 0.5)
        )
        angles.append(np.arctan2(up, across))
        hands.append(up * x - across * y)
    counts, _ = np.histogram(angles, 8, (-np.pi, np.pi))
    assert counts.min() > 25
    assert 0.4 < np.mean(np.array(hands) > 0) < 0.6


def test_turned_volumes_keep_one_axis_each(rng):
    volumes = np.full((60, 9, 9, 9, 1), -1, "float32")
    for axis in range(3):  # a spot on each axis
        spot = [4, 4, 4]
        spot[axis] = 7
        volumes[(slice(None), *spot)] = 0.25 * (axis + 1)
    outputs = augment.turn_and_mirror(volumes, rng)
    kept = []
    for volume in outputs[..., 0]:
        for axis in range(3):
            line = np.moveaxis(volume, axis, 0)[:, 4, 4]
            kept += [axis] if 0.25 * (axis + 1) in line[[1, 7]] else []
    assert set(kept) == {0, 1, 2}
    assert not np.array_equal(outputs[0], outputs[1])


def test_turns_come_from_the_generator():
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1))
    images = images.astype("float32")
    first, again = (
        augment.turn_and_mirror(images, np.random.default_rng(5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


def test_as_if_turned_every_other_batch_is_not_blurred():
    images = np.full((8, 33, 33, 1), 0.5, "float32")
    images[:, ::2, ::2] = -0.5  # a pattern that interpolation would blur
    sharp = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        outputs = augment.augment(images, rng, as_if_turned=True)
        # A nearest pixel is one of the two values (with one brightness).
        centres = outputs[:, 12:21, 12:21].reshape(8, -1)
        sharp.append(all(len(np.unique(centre)) <= 2 for centre in centres))
    assert 2 <= sum(sharp) <= 10


@pytest.mark.parametrize("shape", [(64, 33, 33, 2), (32, 13, 13, 13, 1)])
def test_corners_are_lost_and_nothing_else(shape, rng):
    images = rng.uniform(0.1, 1, shape).astype("float32")
    outputs = augment.lose_corners(images, rng)
    kept = outputs != 0
    np.testing.assert_array_equal(outputs[kept], images[kept])
    untouched = kept.all(axis=tuple(range(1, images.ndim)))
    assert 0.25 < untouched.mean() < 0.75
    middle = shape[1] // 2
    inside = np.moveaxis(kept, 0, -1)[middle, 2:-2]  # the middle row or plane
    assert inside[middle - 2].all()


def test_volumes_as_if_turned_keep_their_directions(rng):
    for axis in (1, 2, 3):
        volumes = _ramp(axis, (8, 24, 24, 24, 1))
        outputs = augment.augment(volumes, rng, as_if_turned=True)
        inner = outputs[:, 8:-8, 8:-8, 8:-8]
        assert np.diff(inner, axis=axis).min() >= -1e-6
