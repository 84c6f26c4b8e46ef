"""Turned and mirrored copies of images, for evaluation."""

import numpy as np
from keras import ops

ANGLES = tuple(range(0, 361, 10))
FLIPS = {"vertical": 1, "horizontal": 2}


def rotate(images, angle, interpolation="nearest"):
    """Turns images about their centre; what lies outside becomes 0.

    Args:
        images: array of shape `(n, height, width, channels)`.
        angle: float, degrees; positive turns counter-clockwise as seen with
            row 0 at the top.
        interpolation: `"nearest"` (the protocol of the SRE-Conv paper) or
            `"bilinear"`.

    Returns:
        Array of the shape and dtype of `images`.

    Example:

    >>> rotate(np.arange(4.0).reshape(1, 2, 2, 1), 90)[0, ..., 0]
    array([[1., 3.],
           [0., 2.]])
    """
    if angle % 90 == 0 and images.shape[1] == images.shape[2]:
        return np.ascontiguousarray(np.rot90(images, angle // 90, (1, 2)))
    height, width = images.shape[1:3]
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    row, column = (height - 1) / 2, (width - 1) / 2
    # Output (x, y) reads input (a0 x + a1 y + a2, b0 x + b1 y + b2).
    matrix = [
        [cosine, -sine, column - cosine * column + sine * row],
        [sine, cosine, row - sine * column - cosine * row],
    ]
    transform = np.append(np.ravel(matrix), [0, 0]).astype("float32")
    turned = ops.image.affine_transform(
        images,
        np.tile(transform, (len(images), 1)),
        interpolation=interpolation,
        fill_mode="constant",
        fill_value=0.0,
        data_format="channels_last",
    )
    return ops.convert_to_numpy(turned)


def flip(images, direction):
    """Mirrors images: `"vertical"` reverses rows, `"horizontal"` columns."""
    return np.flip(images, FLIPS[direction])
