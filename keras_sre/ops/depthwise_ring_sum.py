"""The fixed ring filters applied to a map, by depthwise convolutions.

The form for runtimes with a good depthwise kernel and no fusion, as on edge
devices. Those are fast for windows of up to 25 taps: a ring that needs a larger
one is the sum of several small, dilated ones.
"""

import itertools

import numpy as np
from keras import ops

from keras_sre.ops.maps import pad
from keras_sre.ops.ring_sum import Window
from keras_sre.ops.ring_sum import sum_tensors

FAST_WINDOW = 25  # taps


def depthwise_ring_sums(x, filters, dilation_rate):
    """Returns all ring sums; a third spatial axis is summed slice by slice.

    Args:
        x: tensor of shape `(batch, *spatial, channels)`, rank 1 to 3.
        filters: array of shape `(num_rings, *kernel_size)`.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        List of tensors of the shape of `x`: there are zeros around it.
    """
    rank = filters.ndim - 1
    if rank < 3:
        return [planar_sum(x, ring, dilation_rate) for ring in filters]
    window = Window(filters, (1, 1, 1), dilation_rate)
    before, after = window.spans[0] // 2, -(-window.spans[0] // 2)
    x = ops.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    terms = [[] for _ in filters]
    for index in range(len(window.pairs[0])):
        if not filters[:, index].any():
            continue
        slices = window.pair(x, 0, index)
        shape = ops.shape(slices)
        slices = ops.reshape(slices, (-1, *shape[2:]))
        for term, plane in zip(terms, filters[:, index], strict=True):
            if plane.any():
                term.append(planar_sum(slices, plane, dilation_rate[1:]))
    return [ops.reshape(sum_tensors(t), (-1, *shape[1:])) for t in terms]


def ring_means(filters):
    """Returns filters whose sums are *means*: over `tap_sums`.

    Sums of 1 and of 32 taps would not share the range of an 8-bit integer.
    """
    return filters / tap_sums(filters).reshape(-1, *[1] * (filters.ndim - 1))


def tap_sums(filters):
    """Returns the sum of the absolute taps of each ring."""
    return np.abs(filters).sum(axis=tuple(range(1, filters.ndim)))


def planar_sum(x, ring, dilation_rate, border=0):
    """A ring sum along one or two axes, of small windows (`depthwise`)."""
    sums = [
        sum_tensors(
            depthwise(x, window, np.multiply(steps, dilation_rate), border)
            for window, steps in mirror_images
        )
        for mirror_images in _windows(ring)
    ]
    return sum_tensors(sums)


def _windows(ring):
    """Returns small windows that add up to a ring, each with its dilation.

    The ring in the smallest centred window, if that is small. Else windows of
    the taps at `-a, 0, a` of one axis and `-b, 0, b` of the other, for all
    distances `a` and `b` at which the ring has taps. Where all taps in the
    middle are zeros there is none: four taps take two thirds of the time of
    nine (a float32 map of 32x32x64 on one core: 10.5 and 16 us).

    Returns:
        List of lists of `(window, dilation_rate)`. An inner list holds the
        windows of `(a, b)` and of `(b, a)`: summed first, they make the order
        of the axes no matter, also for integers, which round every sum.
    """
    margins = np.argwhere(ring).min(axis=0)
    trimmed = ring[tuple(slice(m, -m or None) for m in margins)]
    if trimmed.size <= FAST_WINDOW:
        return [[(trimmed, (1,) * ring.ndim)]]
    left, groups = ring.copy(), {}
    firsts = itertools.product(*(range((n + 1) // 2) for n in ring.shape))
    # Diagonal ones first: they hold the same taps of either axis.
    for first in sorted(firsts, key=lambda first: len(set(first)) > 1):
        if not left[first]:
            continue
        taps = [
            sorted({i, n // 2, n - 1 - i} if n % 2 else {i, n - 1 - i})
            for i, n in zip(first, ring.shape, strict=True)
        ]
        steps = [np.diff(t).max(initial=1) for t in taps]
        grid = np.ix_(*taps)
        mirror_images = groups.setdefault(tuple(sorted(first)), [])
        mirror_images.append(_without_empty_middles(left[grid], steps))
        left[grid] = 0
    return list(groups.values())


def _without_empty_middles(window, steps):
    """Returns a window and its dilation without a middle row of zeros."""
    for axis in range(window.ndim):
        middle = np.take(window, [1], axis) if window.shape[axis] == 3 else 1
        if not np.any(middle):
            window = np.delete(window, 1, axis)
            steps = [n * (1 + (i == axis)) for i, n in enumerate(steps)]
    return window, steps


def depthwise(x, window, dilation_rate, border=0):
    """Applies a window to each channel of a map.

    Args:
        x: tensor of shape `(batch, *spatial, channels)`.
        window: array with one axis for each spatial one.
        dilation_rate: one int for each of them.
        border: int or one for each axis: of how many cells outside the map
            there are sums as well, at each end; if negative, how many inside
            have none. Windows are then odd, or their dilation is even.

    Returns:
        Tensor of the shape of `x`, but for the border.
    """
    if window.size == 1 and not np.any(border):
        return x if window.item() == 1 else x * window.item()
    kernel = np.repeat(window[..., None, None], x.shape[-1], axis=-2)
    spans = np.subtract(window.shape, 1) * dilation_rate
    widths = spans // 2 + border
    if np.any(border):
        x = pad(x, [(int(width), int(width)) for width in widths])
    return ops.depthwise_conv(
        x,
        ops.cast(kernel, x.dtype),
        padding="valid" if np.any(border) else "same",
        dilation_rate=tuple(map(int, dilation_rate)),
        data_format="channels_last",
    )
