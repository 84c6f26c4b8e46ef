"""The fixed ring filters applied to a map, by shifted slices and adds.

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
    window = Window(filters, strides, dilation_rate)
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
    window = Window(filters, strides, dilation_rate)
    return sum_tensors(
        window.weighted_sum(window.first_pairs(x), ring)
        for x, ring in zip(
            ops.split(maps, len(filters), axis=-1), filters, strict=True
        )
    )


class Window:
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
