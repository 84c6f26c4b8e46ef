"""The fixed ring filters applied to a map: one function per lowering.

A *ring sum* has no weights: `S[r][i] = sum_p filter[r, p] * x[i + p]`, each
channel by itself. Filters are even or odd along every axis (ordinary ring
filters are even along all), so taps `+p` and `-p` are added or subtracted first
and each pair is used once. All functions take maps that are padded already and
keep channels last. The filters of one call are alike: even along the same axes.
"""

import itertools

import numpy as np
from keras import ops

from keras_sre.ops.backend import slice_axis

FAST_WINDOW = 25  # taps; beyond, depthwise kernels of edge runtimes are slow

# Which axis is paired first, second and third, by rank: with the last one
# first, a CPU takes up to a seventh longer for a whole network of volumes.
AXIS_ORDERS = {1: (0,), 2: (0, 1), 3: (1, 2, 0)}


def ring_sums(x, filters, strides, dilation_rate):
    """Returns all ring sums side by side, made of shifted slices and adds.

    This is the form that XLA fuses into one loop for each ring.

    Args:
        x: tensor of shape `(batch, *spatial, ..., channels)`, padded.
        filters: array of shape `(num_rings, *kernel_size)`.
        strides: tuple of ints, one per spatial axis.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        Tensor of shape `(batch, *new_spatial, ..., num_rings * channels)`:
        the channels of ring 0, then those of ring 1, and so on.
    """
    window = _Window(filters, strides, dilation_rate)
    pairs = window.first_pairs(x)
    sums = [window.weighted_sum(pairs, ring) for ring in filters]
    return ops.concatenate(sums, axis=-1)  # (..., num_rings * channels)


def sum_of_ring_sums(maps, filters, strides, dilation_rate):
    """Returns the sum over rings of ring `r` applied to the `r`-th map.

    Args:
        maps: tensor of shape `(batch, *spatial, ..., num_rings * channels)`,
            padded, one group of channels for each ring.
        filters: array of shape `(num_rings, *kernel_size)`.
        strides: tuple of ints, one per spatial axis.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        Tensor of shape `(batch, *new_spatial, ..., channels)`.
    """
    window = _Window(filters, strides, dilation_rate)
    return sum_tensors(
        window.weighted_sum(window.first_pairs(x), ring)
        for x, ring in zip(
            ops.split(maps, len(filters), axis=-1), filters, strict=True
        )
    )


def depthwise_ring_sums(x, filters, dilation_rate):
    """Returns all ring sums, by the backend's depthwise convolution.

    The form for runtimes with a good depthwise kernel and no fusion, as on
    edge devices. Those are fast for windows of up to 25 taps: a ring that needs
    a larger one is the sum of several small, dilated ones (`_windows`). A third
    spatial axis is summed slice by slice.

    Args:
        x: tensor of shape `(batch, *spatial, channels)`, rank 1 to 3.
        filters: array of shape `(num_rings, *kernel_size)`.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        List of tensors of the shape of `x`: there are zeros around it.
    """
    rank = filters.ndim - 1
    if rank < 3:
        return [_planar_sum(x, ring, dilation_rate) for ring in filters]
    window = _Window(filters, (1, 1, 1), dilation_rate)
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
                term.append(_planar_sum(slices, plane, dilation_rate[1:]))
    return [ops.reshape(sum_tensors(t), (-1, *shape[1:])) for t in terms]


def ring_means(filters):
    """Returns filters whose sums are *means*: over `tap_sums`.

    Sums of 1 and of 32 taps would not share the range of an 8-bit integer.
    """
    return filters / tap_sums(filters).reshape(-1, *[1] * (filters.ndim - 1))


def tap_sums(filters):
    """Returns the sum of the absolute taps of each ring."""
    return np.abs(filters).sum(axis=tuple(range(1, filters.ndim)))


def _planar_sum(x, ring, dilation_rate):
    """A ring sum along one or two axes."""
    sums = [
        sum_tensors(
            _depthwise(x, window, np.multiply(steps, dilation_rate))
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


def _depthwise(x, window, dilation_rate):
    if window.size == 1:
        return x if window.item() == 1 else x * window.item()
    kernel = np.repeat(window[..., None, None], x.shape[-1], axis=-2)
    return ops.depthwise_conv(
        x,
        ops.cast(kernel, x.dtype),
        padding="same",
        dilation_rate=tuple(map(int, dilation_rate)),
        data_format="channels_last",
    )


class _Window:
    """Shifted slices of a padded map, one for each tap of a kernel."""

    def __init__(self, filters, strides, dilation_rate):
        kernel_size = filters.shape[1:]
        self.order = AXIS_ORDERS[len(kernel_size)]
        self.strides = strides
        self.odd = [
            not np.array_equal(filters, np.flip(filters, axis + 1))
            for axis in range(len(kernel_size))
        ]
        self.spans = [
            (size - 1) * rate
            for size, rate in zip(kernel_size, dilation_rate, strict=True)
        ]
        # For each axis the offsets of the taps (p, -p), outermost first.
        self.pairs = [
            [
                sorted({i * rate, (size - 1 - i) * rate})
                for i in range((size + 1) // 2)
            ]
            for size, rate in zip(kernel_size, dilation_rate, strict=True)
        ]

    def slice(self, x, axis, offset):
        """Returns the map seen by the tap at `offset` along a spatial axis."""
        stop = offset - self.spans[axis] or None  # sizes may be unknown
        return slice_axis(x, axis + 1, offset, stop, self.strides[axis])

    def pair(self, x, axis, index):
        first, *second = (
            self.slice(x, axis, offset) for offset in self.pairs[axis][index]
        )
        if not second:
            return first
        return first - second[0] if self.odd[axis] else first + second[0]

    def first_pairs(self, x):
        """Returns the pair sums along the axis that is paired first."""
        axis = self.order[0]
        return [self.pair(x, axis, i) for i in range(len(self.pairs[axis]))]

    def weighted_sum(self, first_pairs, ring):
        """Returns one ring sum from the pair sums along the first axis."""
        half = tuple(slice(0, len(pairs)) for pairs in self.pairs)
        weights = np.transpose(ring[half], self.order)
        return self._fold(first_pairs, weights, len(self.order) - 1)

    def _fold(self, first_pairs, weights, position):
        """Sums along the axes of the order up to a position."""
        if position == 0:
            return _weighted(zip(weights, first_pairs, strict=True))
        sums = []
        for index, plane in enumerate(np.moveaxis(weights, -1, 0)):
            if plane.any():
                inner = self._fold(first_pairs, plane, position - 1)
                sums.append(self.pair(inner, self.order[position], index))
        return sum_tensors(sums)


def _weighted(terms):
    """Returns `sum(weight * x)`, multiplying once for each distinct weight."""
    terms = sorted(
        ((w, i, x) for i, (w, x) in enumerate(terms) if w),
        key=lambda term: term[:2],
    )
    sums = []
    for weight, group in itertools.groupby(terms, key=lambda term: term[0]):
        total = sum_tensors(x for _, _, x in group)
        sums.append(total if weight == 1 else total * float(weight))
    return sum_tensors(sums)


def sum_tensors(tensors):
    """Returns the sum of one or more tensors (without a leading zero)."""
    first, *rest = tensors
    return sum(rest, start=first)
