"""What the product of the depthwise form reads: as many maps as rings.

Any maps will do that ring sums are combinations of: `maps = matrix @ sums`, and
`sum_r sums[r] @ weight[r]` is a product of those as well. They are means, or of
about the size of means, as sums of 1 and of 32 taps would not share the range
of an 8-bit integer.

The rings of kernels of 5x5 to 9x9 are made of each other. With `N` and `D` the
sums of the four cells next to one, along the axes and along the diagonals, and
`N4` of four at a distance of 4 along the axes,

    (N - 2) sums[1] = sums[2] + 4 x
    (D - 2) (sums[2] + sums[3] - x) = sums[4] + 2 sums[1] + 2 x + N4 x

so that windows of 3x3 do for the second ring, instead of one of 5x5, and for
the fourth instead of seven. What they read beyond the map is not zero: where
they read sums these are those of a map with a border of one cell. That is for
LiteRT (`composed`), which pads at no cost; ONNX Runtime takes a tenth longer
than with windows of the rings themselves. In integers the second and the fourth
ring are rounded more often: their errors are about twice as large.
"""

import contextlib
import contextvars

import keras
import numpy as np

from keras_sre.geometry import ring_filters
from keras_sre.ops.depthwise_ring_sum import depthwise
from keras_sre.ops.depthwise_ring_sum import depthwise_ring_sums
from keras_sre.ops.depthwise_ring_sum import planar_sum
from keras_sre.ops.depthwise_ring_sum import ring_means
from keras_sre.ops.depthwise_ring_sum import tap_sums

CROP_SCOPE = "ring_crop"  # names what cuts a border off, in graphs

COMPOSED_SIZES = (5, 7, 9)
# Cells, times the dilation rate; on smaller maps the border outweighs the
# windows that are saved.
SMALLEST_COMPOSED = 8

_composing = contextvars.ContextVar("composing", default=False)

AXES = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
DIAGONALS = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]])
CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])


@contextlib.contextmanager
def composed():
    """Within, rings are made of each other where they can be."""
    token = _composing.set(True)
    try:
        yield
    finally:
        _composing.reset(token)


def ring_maps(x, filters, dilation_rate):
    """Returns maps that ring sums are combinations of, and how.

    Args:
        x: tensor of shape `(batch, *spatial, channels)`, rank 1 to 3.
        filters: array of shape `(num_rings, *kernel_size)`.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        List of `num_rings` tensors of the shape of `x` (there are zeros around
        it), and the array `(num_rings, num_rings)` that makes them of ring
        sums.
    """
    if (
        _composing.get()
        and _are_hard_rings(filters)
        and _is_large(x, dilation_rate)
    ):
        return _composed_maps(x, filters, dilation_rate)
    means = depthwise_ring_sums(x, ring_means(filters), dilation_rate)
    return means, np.diag(1 / tap_sums(filters))


def _are_hard_rings(filters):
    size, *others = filters.shape[1:]
    return (
        size in COMPOSED_SIZES
        and others == [size]
        and np.array_equal(filters, ring_filters((size, size)))
    )


def _is_large(x, dilation_rate):
    return all(
        size is None or size >= SMALLEST_COMPOSED * rate
        for size, rate in zip(x.shape[1:-1], dilation_rate, strict=True)
    )


def _composed_maps(x, filters, dilation_rate):
    border = np.array(dilation_rate)
    inside = (slice(None), *(slice(rate, -rate) for rate in dilation_rate))

    def apply(ring_map, window, border=0):
        return depthwise(ring_map, window, dilation_rate, border)

    def crop(ring_map):
        with keras.name_scope(CROP_SCOPE):
            return ring_map[inside]

    first = apply(x, (AXES + DIAGONALS) / 8, border)
    to_second = (AXES - 2 * CENTRE) * 8
    maps, sums = [x, crop(first)], np.eye(len(filters))
    sums[2, 0] = 4
    if len(filters) < 5:
        taps = [1, 8, 12 + 4, 16][: len(filters)]
        maps.append(apply(first, to_second / taps[2], -border))
        maps += depthwise_ring_sums(x, ring_means(filters[3:]), dilation_rate)
    else:
        # The second and third ring are added as they are: of as many taps.
        both_taps, last = 12 + 16 - 1, 32 + 16 + 2
        taps = [1, 8, both_taps, both_taps, last]
        second = apply(first, to_second / both_taps)
        third = (filters[3] - 5 * filters[0]) / both_taps
        both = second + planar_sum(x, third, dilation_rate, border)
        to_fourth = (DIAGONALS - 2 * CENTRE) * both_taps
        fourth = apply(both, to_fourth / last, -border)
        fourth += depthwise(x, -AXES / last, 4 * border)
        maps += [crop(second), crop(both), fourth]
        sums[3, [0, 2]] = -1, 1
        sums[4, [0, 1]] = 2, 2
    return maps, sums / np.array(taps)[:, None]
