"""How maps are padded, spread and split into groups."""

import math

from keras import ops

from keras_sre.ops.backend import slice_axis


def check_not_empty(sizes, new_sizes):
    """Raises a ValueError if a map, or what it becomes, has no cell."""
    if any(isinstance(size, int) and size < 1 for size in (*sizes, *new_sizes)):
        raise ValueError(
            f"Received a map of size {tuple(sizes)}, to become one of size "
            f"{tuple(new_sizes)}. Expected at least one cell along each axis "
            "of both. Use larger inputs."
        )


def pad(x, paddings):
    """Pads spatial axes with `(before, after)` zeros."""
    if all(
        isinstance(pad, int) and pad == 0 for pads in paddings for pad in pads
    ):
        return x
    unpadded = len(x.shape) - 1 - len(paddings)
    return ops.pad(x, [(0, 0), *paddings] + [(0, 0)] * unpadded)


def spread(x, strides):
    """Puts `stride - 1` zeros between neighbours along each spatial axis."""
    for axis, stride in enumerate(strides, start=1):
        if stride > 1:
            shape = list(ops.shape(x))
            before, after = (
                math.prod(shape[:axis]),
                math.prod(shape[axis + 1 :]),
            )
            # Four axes: LiteRT pads no more than five.
            x = ops.reshape(x, (before, shape[axis], 1, after))
            x = ops.pad(x, [(0, 0), (0, 0), (0, stride - 1), (0, 0)])
            shape[axis] *= stride
            x = ops.reshape(x, shape)
            x = slice_axis(x, axis, 0, 1 - stride)
    return x


def split_groups(x, groups):
    shape = tuple(ops.shape(x)[:-1])
    return ops.reshape(x, (*shape, groups, x.shape[-1] // groups))


def merge_groups(x):
    *shape, groups, channels = ops.shape(x)
    return ops.reshape(x, (*shape, groups * channels))
