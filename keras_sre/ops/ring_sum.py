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
    pairs = window.last_axis_pairs(x)
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
    return _sum_tensors(
        window.weighted_sum(window.last_axis_pairs(x), ring)
        for x, ring in zip(
            ops.split(maps, len(filters), axis=-1), filters, strict=True
        )
    )


def depthwise_ring_sums(x, filters, strides, dilation_rate):
    """As `ring_sums`, by the backend's depthwise convolution.

    The form for runtimes with a good depthwise kernel and no fusion. A third
    spatial axis, for which no backend has one, is summed slice by slice.

    Args:
        x: tensor of shape `(batch, *spatial, channels)`, padded, rank 1 to 3.
        filters: array of shape `(num_rings, *kernel_size)`.
        strides: tuple of ints, one per spatial axis.
        dilation_rate: tuple of ints, one per spatial axis.

    Returns:
        Tensor of shape `(batch, *new_spatial, num_rings * channels)`, rings
        outermost.
    """
    rank = filters.ndim - 1
    if rank < 3:
        return _depthwise(x, filters, strides, dilation_rate)
    window = _Window(filters, strides, dilation_rate)
    total = 0
    for index in range(len(window.pairs[0])):
        if not filters[:, index].any():
            continue
        slices = window.pair(x, 0, index)
        batch, new_depth, *rest = ops.shape(slices)
        flat = ops.reshape(slices, (batch * new_depth, *rest))
        sums = _depthwise(
            flat, filters[:, index], strides[1:], dilation_rate[1:]
        )
        total = total + ops.reshape(
            sums, (batch, new_depth, *ops.shape(sums)[1:])
        )
    return total


def _depthwise(x, filters, strides, dilation_rate):
    num_rings, channels = len(filters), x.shape[-1]
    kernel = np.moveaxis(filters, 0, -1)[..., None, :]  # (*kernel, 1, rings)
    kernel = np.repeat(kernel, channels, axis=-2)
    # Some backends take one stride for all axes only: thin out afterwards.
    step = strides[0] if len(set(strides)) == 1 else 1
    sums = ops.depthwise_conv(
        x,
        ops.cast(kernel, x.dtype),
        strides=step,
        padding="valid",
        dilation_rate=dilation_rate,
        data_format="channels_last",
    )  # (..., channels * rings), rings innermost
    if step == 1:
        sums = sums[(slice(None), *(slice(None, None, s) for s in strides))]
    shape = tuple(ops.shape(sums)[:-1])
    sums = ops.reshape(sums, (*shape, channels, num_rings))
    return ops.reshape(ops.swapaxes(sums, -1, -2), (*shape, -1))


class _Window:
    """Shifted slices of a padded map, one for each tap of a kernel."""

    def __init__(self, filters, strides, dilation_rate):
        kernel_size = filters.shape[1:]
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
        window = slice(offset, stop, self.strides[axis])
        return x[(slice(None),) * (axis + 1) + (window,)]

    def pair(self, x, axis, index):
        first, *second = (
            self.slice(x, axis, offset) for offset in self.pairs[axis][index]
        )
        if not second:
            return first
        return first - second[0] if self.odd[axis] else first + second[0]

    def last_axis_pairs(self, x):
        last = len(self.spans) - 1
        return [self.pair(x, last, i) for i in range(len(self.pairs[last]))]

    def weighted_sum(self, pairs, ring):
        """Returns one ring sum from the pair sums along the last axis."""
        half = tuple(slice(0, len(pairs)) for pairs in self.pairs)
        return self._fold(pairs, ring[half], axis=0)

    def _fold(self, pairs, weights, axis):
        if axis == len(self.spans) - 1:
            return _weighted(zip(weights, pairs, strict=True))
        sums = []
        for index, plane in enumerate(weights):
            if plane.any():
                inner = self._fold(pairs, plane, axis + 1)
                sums.append(self.pair(inner, axis, index))
        return _sum_tensors(sums)


def _weighted(terms):
    """Returns `sum(weight * x)`, multiplying once for each distinct weight."""
    terms = sorted(
        ((w, i, x) for i, (w, x) in enumerate(terms) if w),
        key=lambda term: term[:2],
    )
    sums = []
    for weight, group in itertools.groupby(terms, key=lambda term: term[0]):
        total = _sum_tensors(x for _, _, x in group)
        sums.append(total if weight == 1 else total * float(weight))
    return _sum_tensors(sums)


def _sum_tensors(tensors):
    """Returns the sum of one or more tensors (without a leading zero)."""
    first, *rest = tensors
    return sum(rest, start=first)
