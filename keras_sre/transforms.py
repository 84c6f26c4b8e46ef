"""Turned, mirrored, shifted and masked images and volumes.

Built on `keras.ops.image.affine_transform`. What TensorFlow Addons offered as
`tfa.image.rotate` and `translate` is here, with the same results: on TensorFlow
to the last bit.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_sre.validation import finite_float
from keras_sre.validation import one_of

__all__ = [
    "affine",
    "flip",
    "mask_ball",
    "rotate",
    "rotation_matrix",
    "translate",
]

# Reversed axis of `(n, *spatial, channels)`, counted in spatial axes.
FLIPS = {
    2: {"vertical": 0, "horizontal": 1},
    3: {"depth": 0, "vertical": 1, "horizontal": 2},
}
INTERPOLATIONS = ("nearest", "bilinear")
FILL_MODES = ("constant", "nearest", "reflect", "wrap")
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
        axis: `None`, or the spatial axis of the volume that stays: `"x"`, the
            first (height and width turn), `"y"`, the second (depth and width),
            or `"z"`, the third (depth and height).
        fill_mode: what lies outside: `"constant"` (0), `"nearest"`,
            `"reflect"` or `"wrap"`.

    Returns:
        NumPy array of the shape and dtype of `images`; what is interpolated
        between integers loses its fraction, and between booleans is true from
        a half on.

    Raises:
        ValueError: for volumes without an axis or images with one, for an
            angle that is no number, and for an unknown axis, interpolation or
            fill mode.

    Example:

    >>> rotate(np.arange(4.0).reshape(1, 2, 2, 1), 90)[0, ..., 0]
    array([[1., 3.],
           [0., 2.]])
    """
    one_of(interpolation, INTERPOLATIONS, "interpolation")
    one_of(fill_mode, FILL_MODES, "fill_mode")
    angle, images = finite_float(angle, "angle"), np.asarray(images)
    rank = images.ndim - 2
    if axis not in {2: (None,), 3: tuple(PLANES)}.get(rank, ()):
        raise ValueError(
            f"Received axis={axis!r} for an array of shape {images.shape}. "
            "Expected None for images, (n, height, width, channels), and 'x', "
            "'y' or 'z' for volumes, (n, depth, height, width, channels)."
        )
    if axis is not None:
        plane = tuple(i + 1 for i in PLANES[axis])
        slabs = np.moveaxis(images, plane, (1, 2))  # (n, rows, columns, ...)
        flat = slabs.reshape(*slabs.shape[:3], math.prod(slabs.shape[3:]))
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
    """Moves images; what enters is 0, or as `fill_mode` says.

    Args:
        images: array of shape `(n, height, width, channels)`.
        shift: pair of floats, pixels to the right and downwards.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: as in `rotate`.

    Returns:
        NumPy array of the shape and dtype of `images`.

    Raises:
        ValueError: for a shift that is no pair of numbers, and for an unknown
            interpolation or fill mode.

    Example:

    >>> translate(np.arange(4.0).reshape(1, 2, 2, 1), (1, 0))[0, ..., 0]
    array([[0., 0.],
           [0., 2.]])
    """
    if np.shape(shift) != (2,):
        raise ValueError(
            f"Received shift={shift!r}. Expected a pair of numbers, pixels to "
            "the right and downwards."
        )
    right, down = (finite_float(pixels, "shift") for pixels in shift)
    matrix = np.array([1, 0, -right, 0, 1, -down, 0, 0])
    return affine(images, matrix, interpolation, fill_mode)


def rotation_matrix(angle, height, width):
    """Returns what turns images about their centre.

    Args:
        angle: float, degrees, as in `rotate`.
        height: int, pixels.
        width: int, pixels.

    Returns:
        Array `(a0, a1, a2, b0, b1, b2, 0, 0)` for `affine`.

    Example:

    >>> rotation_matrix(180, 4, 4).round().astype(int)
    array([-1,  0,  3,  0, -1,  3,  0,  0])
    """
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    row, column = (height - 1) / 2, (width - 1) / 2
    x = [cosine, -sine, column - cosine * column + sine * row]
    y = [sine, cosine, row - sine * column - cosine * row]
    return np.array([*x, *y, 0, 0])


def affine(images, matrices, interpolation, fill_mode, fill_value=0.0):
    """Resamples images by a linear map of their coordinates.

    The output's pixel `(x, y)`, column and row, is read from the input at
    `(a0 x + a1 y + a2, b0 x + b1 y + b2)`.

    Args:
        images: array of shape `(n, height, width, channels)`.
        matrices: array of shape `(8,)` or `(n, 8)`, see `rotation_matrix`.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: as in `rotate`.
        fill_value: float, the constant; a value that the images can hold.

    Returns:
        NumPy array of the shape and dtype of `images`.

    Raises:
        ValueError: for an array that holds no images, matrices of another
            shape or that are no numbers, an unknown interpolation or fill
            mode, and a `fill_value` that is no number or that images of
            integers cannot hold.

    Example:

    >>> mirror = np.array([-1, 0, 1, 0, 1, 0, 0, 0])
    >>> images = np.arange(4.0).reshape(1, 2, 2, 1)
    >>> affine(images, mirror, "nearest", "constant")[0, ..., 0]
    array([[1., 0.],
           [3., 2.]])
    """
    one_of(interpolation, INTERPOLATIONS, "interpolation")
    one_of(fill_mode, FILL_MODES, "fill_mode")
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"Received an array of shape {images.shape}. Expected images, "
            "(n, height, width, channels)."
        )
    matrices = _check_matrices(matrices, len(images))
    fill_value = finite_float(fill_value, "fill_value")
    if not images.size:
        return images.copy()
    dtype = images.dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= fill_value <= limits.max:
            raise ValueError(
                f"Received fill_value={fill_value} for images of {dtype}. "
                f"Expected {limits.min} to {limits.max}."
            )
    if dtype.kind != "f":  # of integers each backend knows others
        if interpolation == "nearest":
            return _moved(images, matrices, fill_mode, fill_value)
        images = images.astype(np.result_type(dtype, np.float32))
    outputs = ops.image.affine_transform(
        images,
        matrices,
        interpolation=interpolation,
        fill_mode=fill_mode,
        fill_value=fill_value,
        data_format="channels_last",
    )
    outputs = ops.convert_to_numpy(outputs)
    if dtype.kind == "b":
        return outputs >= 0.5
    # The fraction goes, unless it is rounding's: the weights of an average add
    # up to 1 exactly in TensorFlow alone.
    if dtype.kind in "iu" and keras.backend.backend() != "tensorflow":
        whole = np.rint(outputs)
        near = np.isclose(outputs, whole, rtol=2e-7, atol=1e-4)
        outputs = np.where(near, whole, outputs)
    return outputs.astype(dtype, copy=False)


def _check_matrices(matrices, count):
    """Returns matrices as a float32 array of shape `(count, 8)`."""
    try:
        array = np.asarray(matrices, "float32")
        fits = array.shape in ((8,), (1, 8), (count, 8))
    except (TypeError, ValueError):
        fits = False
    if not fits or not np.isfinite(array).all():
        raise ValueError(
            f"Received matrices={matrices!r}. Expected finite numbers of shape "
            f"(8,) or ({count}, 8), one row for each image."
        )
    return np.broadcast_to(array, (count, 8))


def _moved(images, matrices, fill_mode, fill_value):
    """Resamples images to the nearest pixel, values of any type as they are."""
    count, height, width, _ = images.shape
    places = np.stack(np.indices((height, width), "float32"), axis=-1)
    places = np.broadcast_to(places, (count, *places.shape))
    places = affine(places, matrices, "nearest", fill_mode, fill_value=-1)
    rows, columns = np.moveaxis(places.astype(int), -1, 0)
    outputs = images[np.arange(count)[:, None, None], rows, columns]
    outputs[rows < 0] = fill_value
    return outputs


def flip(images, direction):
    """Mirrors images or volumes.

    Args:
        images: array of shape `(n, *spatial, channels)`.
        direction: `"vertical"` reverses rows, `"horizontal"` columns and, of
            volumes, `"depth"` slices.

    Returns:
        NumPy array of the shape and dtype of `images`.

    Raises:
        ValueError: for another direction.

    Example:

    >>> flip(np.arange(4.0).reshape(1, 2, 2, 1), "vertical")[0, ..., 0]
    array([[2., 3.],
           [0., 1.]])
    """
    axes = FLIPS.get(np.ndim(images) - 2, {})
    if not isinstance(direction, str) or direction not in axes:
        raise ValueError(
            f"Received direction={direction!r} for an array of shape "
            f"{np.shape(images)}. Expected 'vertical' or 'horizontal' and, "
            "for volumes, 'depth'."
        )
    return np.flip(images, axes[direction] + 1)


def mask_ball(images):
    """Sets all outside the inscribed disc (of a volume: ball) to 0.

    What is left holds at every angle the same piece of the picture.

    Args:
        images: array of shape `(n, *spatial, channels)`.

    Returns:
        NumPy array of the shape and dtype of `images`.

    Raises:
        ValueError: for an array without spatial axes.

    Example:

    >>> mask_ball(np.ones((1, 3, 3, 1)))[0, ..., 0]
    array([[1., 1., 1.],
           [1., 1., 1.],
           [1., 1., 1.]])
    >>> mask_ball(np.ones((1, 4, 4, 1)))[0, ..., 0]
    array([[0., 1., 1., 0.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [0., 1., 1., 0.]])
    """
    images = np.asarray(images)
    if images.ndim < 3:
        raise ValueError(
            f"Received an array of shape {images.shape}. Expected "
            "(n, *spatial, channels)."
        )
    spatial = images.shape[1:-1]
    distances = [
        (np.arange(size) - (size - 1) / 2) / (size / 2) for size in spatial
    ]
    squares = np.square(np.meshgrid(*distances, indexing="ij")).sum(axis=0)
    zero = np.zeros((), images.dtype)
    return np.where((squares <= 1)[..., None], images, zero)
