"""Turned, mirrored, shifted and masked images and volumes.

Built on `keras.ops.image.affine_transform`. What TensorFlow Addons offered as
`tfa.image.rotate` and `translate` is here, with the same results: on TensorFlow
to the last bit.
"""

import numpy as np
from keras import ops

# Reversed axis of `(n, *spatial, channels)`, counted in spatial axes.
FLIPS = {
    2: {"vertical": 0, "horizontal": 1},
    3: {"depth": 0, "vertical": 1, "horizontal": 2},
}
# The plane that turns, for each axis of rotation of a volume.
PLANES = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}


def rotate(
    images, angle, interpolation="nearest", axis=None, fill_mode="constant"
):
    """Turns images about their centre, or volumes about an axis.

    Args:
        images: array of shape `(n, height, width, channels)`, or
            `(n, depth, height, width, channels)` if `axis` is given.
        angle: float, degrees; positive turns counter-clockwise as seen with
            row 0 at the top.
        interpolation: `"nearest"` (the protocol of the SRE-Conv paper) or
            `"bilinear"`.
        axis: `None`, or the axis that stays: `"x"` (width and height turn),
            `"y"` (width and depth) or `"z"` (height and depth).
        fill_mode: what lies outside: `"constant"` (0), `"nearest"`,
            `"reflect"` or `"wrap"`.

    Returns:
        Array of the shape and dtype of `images`.

    Example:

    >>> rotate(np.arange(4.0).reshape(1, 2, 2, 1), 90)[0, ..., 0]
    array([[1., 3.],
           [0., 2.]])
    """
    if axis is not None:
        plane = tuple(i + 1 for i in PLANES[axis])
        slabs = np.moveaxis(images, plane, (1, 2))  # (n, rows, columns, ...)
        flat = slabs.reshape(*slabs.shape[:3], -1)
        turned = rotate(flat, angle, interpolation, fill_mode=fill_mode)
        return np.moveaxis(turned.reshape(slabs.shape), (1, 2), plane)
    height, width = images.shape[1:3]
    quarters = 0
    if height == width:
        # A quarter turn moves pixels and is exact; only the rest is resampled.
        quarters, angle = divmod(angle, 90)
    if angle:
        matrix = rotation_matrix(angle, height, width)
        images = affine(images, matrix, interpolation, fill_mode)
    return np.ascontiguousarray(np.rot90(images, int(quarters), (1, 2)))


def translate(images, shift, interpolation="nearest", fill_mode="constant"):
    """Moves images by `shift = (right, down)` pixels; gaps become 0.

    Example:

    >>> translate(np.arange(4.0).reshape(1, 2, 2, 1), (1, 0))[0, ..., 0]
    array([[0., 0.],
           [0., 2.]])
    """
    right, down = shift
    matrix = np.array([1, 0, -right, 0, 1, -down, 0, 0])
    return affine(images, matrix, interpolation, fill_mode)


def rotation_matrix(angle, height, width):
    """Returns `(a0, a1, a2, b0, b1, b2, 0, 0)` for `affine`."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    row, column = (height - 1) / 2, (width - 1) / 2
    x = [cosine, -sine, column - cosine * column + sine * row]
    y = [sine, cosine, row - sine * column - cosine * row]
    return np.array([*x, *y, 0, 0])


def affine(images, matrices, interpolation, fill_mode, fill_value=0.0):
    """Resamples images: output `(x, y)` reads `(a0 x + a1 y + a2, ...)`.

    Args:
        images: array of shape `(n, height, width, channels)`.
        matrices: array of shape `(8,)` or `(n, 8)`, see `rotation_matrix`.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: as in `rotate`.
        fill_value: float, the constant.

    Returns:
        Array of the shape and dtype of `images`.
    """
    matrices = np.broadcast_to(matrices, (len(images), 8)).astype("float32")
    outputs = ops.image.affine_transform(
        images,
        matrices,
        interpolation=interpolation,
        fill_mode=fill_mode,
        fill_value=fill_value,
        data_format="channels_last",
    )
    return ops.convert_to_numpy(outputs).astype(images.dtype, copy=False)


def flip(images, direction):
    """Mirrors: `"vertical"` reverses rows, `"horizontal"` columns.

    Volumes also know `"depth"`.
    """
    return np.flip(images, FLIPS[images.ndim - 2][direction] + 1)


def mask_ball(images):
    """Sets all outside the inscribed disc (of a volume: ball) to 0.

    What is left holds at every angle the same piece of the picture.
    """
    spatial = images.shape[1:-1]
    distances = [
        (np.arange(size) - (size - 1) / 2) / (size / 2) for size in spatial
    ]
    squares = np.square(np.meshgrid(*distances, indexing="ij")).sum(axis=0)
    return images * (squares <= 1).astype(images.dtype)[..., None]
