"""The augmentations of the recipes, and the turns that plain networks need.

Each function takes scaled images (float32, -1 is black) and a NumPy generator,
and returns new ones of the same shape. They run in the input pipeline.
"""

import numpy as np
from scipy import ndimage

from keras_sre import transforms

BLACK = np.float32(-1)


def augment(images, rng, as_if_turned=False):
    """Augments a batch of images `(n, height, width, channels)` or volumes.

    With `as_if_turned` every other batch is resampled as turned test images
    are: by the nearest pixel.
    """
    nearest = as_if_turned and rng.random() < 0.5
    if images.ndim == 5:
        return np.stack([_augment_volume(v, rng, nearest) for v in images])
    return _crop_and_shift(_jitter(images, rng), rng, nearest)


def lose_corners(images, rng):
    """Blanks in half of the images what a turn by some angle would lose."""
    angles = rng.uniform(0, 90, len(images))
    angles[rng.random(len(images)) < 0.5] = 0
    return images * _turn(np.ones_like(images[..., :1]), angles, rng)


def turn_and_mirror(images, rng):
    """Turns each image by its own angle, of a full turn, and mirrors half.

    A volume turns about one of its three axes.
    """
    images = _turn(images, rng.uniform(0, 360, len(images)), rng)
    mirrored = rng.random(len(images)) < 0.5
    mirrored = mirrored.reshape(-1, *(1,) * (images.ndim - 1))
    return np.where(mirrored, np.flip(images, axis=1), images)


def _turn(images, angles, rng):
    """Turns as the tests do: nearest pixel, what lies outside becomes 0."""
    if images.ndim == 5:
        axes = rng.choice(list(transforms.PLANES), len(images))
        turned = [
            transforms.rotate(volume[None], angle, axis=axis)
            for volume, angle, axis in zip(images, angles, axes, strict=True)
        ]
        return np.concatenate(turned)
    height, width = images.shape[1:3]
    matrices = [transforms.rotation_matrix(a, height, width) for a in angles]
    return transforms.affine(images, np.stack(matrices), "nearest", "constant")


def _crop_and_shift(images, rng, nearest=False, scale=(0.5, 1.0), shift=0.1):
    """Random resized crop and translation, resampled once (else bilinear).

    The crop has a share of the area in `scale` and an aspect in 3/4..4/3; the
    translation is up to `shift` of the side.
    """
    count, height, width, _ = images.shape
    area = rng.uniform(*scale, count)
    aspect = np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3), count))
    # Sides of the crop as shares of the image's.
    across = np.minimum(1, np.sqrt(area * aspect))
    down = np.minimum(1, np.sqrt(area / aspect))
    left, top = (
        rng.uniform(0, 1 - s) * n for s, n in ((across, width), (down, height))
    )
    right_by, down_by = (
        rng.uniform(-shift, shift, count) * side for side in (width, height)
    )
    zero = np.zeros(count)
    # Pixel centres: 0 in the crop is at left + 0.5 * across - 0.5.
    x = left + across * (0.5 - right_by) - 0.5
    y = top + down * (0.5 - down_by) - 0.5
    matrices = [across, zero, x, zero, down, y, zero, zero]
    interpolation = "nearest" if nearest else "bilinear"
    return transforms.affine(
        images, np.stack(matrices, axis=1), interpolation, "constant", BLACK
    )


def _jitter(images, rng, strength=0.1, probability=0.5):
    """Changes brightness, then saturation (colour only) by up to 10 %."""
    images = images.copy()
    count, channels = len(images), images.shape[-1]
    for change in ("brightness", "saturation")[:channels]:
        chosen = np.flatnonzero(rng.random(count) < probability)
        factors = rng.uniform(1 - strength, 1 + strength, len(chosen))
        factors = factors.astype("float32").reshape(-1, 1, 1, 1)
        some = images[chosen]
        pivot = BLACK
        if change == "saturation":
            pivot = some.mean(axis=-1, keepdims=True)
        images[chosen] = np.clip(pivot + factors * (some - pivot), -1, 1)
    return images


def _augment_volume(volume, rng, nearest, scale=0.1, shift=0.1, blur=1.0):
    """Random scale and translation of 10 %, and a blur, in half the cases."""
    factor = rng.uniform(1 - scale, 1 + scale)
    sides = np.array(volume.shape[:3])
    centre = (sides - 1) / 2
    moved = rng.uniform(-shift, shift, 3) * sides
    sigma = rng.uniform(0, blur) if rng.random() < 0.5 else 0.0
    channels = []
    for channel in np.moveaxis(volume, -1, 0):
        channel = ndimage.affine_transform(
            channel,
            np.full(3, 1 / factor),
            centre - (centre + moved) / factor,
            order=0 if nearest else 1,
            cval=BLACK,
        )
        if sigma:
            channel = ndimage.gaussian_filter(channel, sigma, mode="nearest")
        channels.append(channel)
    return np.stack(channels, axis=-1)
