"""What ring layers compute, from the definition: slow and obvious.

NumPy and exact fractions only; nothing here knows `keras_sre`.
"""

import functools
import itertools
import math
from fractions import Fraction

import numpy as np
from helpers import dense_conv
from helpers import keras_padding


@functools.cache
def ring_filters(kernel_size, num_rings, circular, ring_profile, spacing):
    """Returns the fixed filter of every ring, `(num_rings, *kernel_size)`.

    `num_rings=None` is the paper's number, or the next smaller one of which
    no ring is empty or, where they overlap, a sum of others.
    """
    if num_rings is None:
        default = max(kernel_size) // 2 + (1 if circular else 2)
        return next(
            filters
            for count in range(min(default, math.prod(kernel_size)), 0, -1)
            if not has_dead_ring(
                filters := ring_filters(
                    kernel_size, count, circular, ring_profile, spacing
                ),
                ring_profile,
            )
        )
    steps = spacing or (1,) * len(kernel_size)
    build = {"area": _area, "linear": _linear, "cosine": _cosine}.get(
        ring_profile, _hard
    )
    return np.stack(
        [
            np.reshape(
                [
                    build(tap, r, num_rings, circular, kernel_size, steps)
                    for tap in np.ndindex(*kernel_size)
                ],
                kernel_size,
            )
            for r in range(num_rings)
        ]
    ).astype("float64")


def has_dead_ring(filters, ring_profile):
    if ring_profile != "cosine":
        return not all(ring.any() for ring in filters)
    # Rings are apart if no vector but 0 is orthogonal to all others.
    gram = np.tensordot(filters, filters, (range(1, filters.ndim),) * 2)
    return bool(np.linalg.eigvalsh(gram)[0] < 1e-12)


def _offset(tap, kernel_size, steps):
    return [
        (i - Fraction(k - 1, 2)) * Fraction(step)
        for i, k, step in zip(tap, kernel_size, steps, strict=True)
    ]


@functools.cache
def _squared_distances(kernel_size, steps):
    return [
        sum(o**2 for o in _offset(tap, kernel_size, steps))
        for tap in np.ndindex(*kernel_size)
    ]


def _half_widths(kernel_size, steps):
    return [
        (k // 2 + Fraction(1, 2)) * Fraction(step)
        for k, step in zip(kernel_size, steps, strict=True)
    ]


def _is_inscribed(tap, kernel_size, steps):
    offset = _offset(tap, kernel_size, steps)
    widths = _half_widths(kernel_size, steps)
    return sum((o / w) ** 2 for o, w in zip(offset, widths, strict=True)) < 1


def _hard(tap, r, num_rings, circular, kernel_size, steps):
    square = sum(o**2 for o in _offset(tap, kernel_size, steps))
    if circular:
        edge = max(_half_widths(kernel_size, steps)) / num_rings
        inside = (r * edge) ** 2 <= square < ((r + 1) * edge) ** 2
        return inside and _is_inscribed(tap, kernel_size, steps)
    squares = _squared_distances(kernel_size, steps)
    if num_rings == 1:
        return square == min(squares)
    # Edges may meet taps. On which side is up to float64, as it was when the
    # official package's maps were recorded.
    edges = np.linspace(0, math.sqrt(max(squares)), num_rings)
    return np.searchsorted(edges, math.sqrt(square), "right") - 1 == r


def _area(tap, r, num_rings, circular, kernel_size, steps):
    widths = _half_widths(kernel_size, steps)
    radius = float(max(widths))
    if not circular:
        radius = math.sqrt(sum(w**2 for w in widths))
    elif len(
        set(zip(kernel_size, steps, strict=True))
    ) > 1 and not _is_inscribed(tap, kernel_size, steps):
        return 0.0
    num_points = {1: 20001, 2: 201, 3: 33}[len(tap)]
    within = (np.arange(num_points) + 0.5) / num_points - 0.5
    axes = [
        float(o) + within * step
        for o, step in zip(_offset(tap, kernel_size, steps), steps, strict=True)
    ]
    distance = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, sparse=True)))
    ring = np.floor(distance / (radius / num_rings))
    return np.mean(ring == r)


def _linear(tap, r, num_rings, circular, kernel_size, steps):
    if circular and len(set(kernel_size)) > 1:
        if not _is_inscribed(tap, kernel_size, steps):
            return 0.0
    distance = math.sqrt(sum(o**2 for o in _offset(tap, kernel_size, steps)))
    if circular:
        outermost = max(
            (k - 1) / 2 * step
            for k, step in zip(kernel_size, steps, strict=True)
        )
    else:
        outermost = math.sqrt(max(_squared_distances(kernel_size, steps)))
    tap_width = max(steps)
    if num_rings == 1:
        return max(0.0, 1 - distance / (outermost + tap_width))
    between = outermost / (num_rings - 1)
    beyond = distance - r * between
    if beyond > 0 and r == num_rings - 1:
        between = min(between, tap_width)
    weight = max(0.0, 1 - abs(beyond) / between)
    return weight if weight > 1e-9 else 0.0


def _cosine(tap, r, num_rings, circular, kernel_size, steps):
    if circular and len(set(kernel_size)) > 1:
        if not _is_inscribed(tap, kernel_size, steps):
            return 0.0
    distance = math.sqrt(sum(o**2 for o in _offset(tap, kernel_size, steps)))
    if circular:
        end = max(
            (k + 1) / 2 * step
            for k, step in zip(kernel_size, steps, strict=True)
        )
    else:
        end = math.sqrt(max(_squared_distances(kernel_size, steps)))
        end += min(steps)
    between = end / (num_rings + 0.5)
    if between < min(steps):  # then the width stays and the rings are closer
        width = 1.5 * min(steps)
        between = max(end - width, 0) / max(num_rings - 1, 1)
    else:
        width = 1.5 * between
    phase = math.pi * (distance - r * between) / width
    weight = (1 + math.cos(phase)) / 2 if abs(phase) < math.pi else 0.0
    return weight if weight > 1e-9 else 0.0


def mixed(ring_kernel, log_sigma):
    """Returns the weights of hard rings for those of Gaussian ones."""
    weights = np.zeros(ring_kernel.shape)
    for r, s in itertools.product(range(len(log_sigma)), repeat=2):
        sigma = np.clip(np.exp(log_sigma[r]), 0.01, 2 * len(log_sigma))
        share = np.exp(-((s - r) ** 2) / (2 * sigma**2)) / (sigma * 2.5066)
        weights[s] += share * ring_kernel[r]
    return weights


def conv(x, kernel, strides, padding, dilation_rate, groups):
    size = kernel.shape[:-2]
    x = _padded(x, size, strides, padding, dilation_rate)
    return dense_conv(x, kernel, strides, dilation_rate, groups)


def harmonic_conv(x, kernel, order, strides, padding, dilation_rate):
    """Returns the norm of the responses of one angular order.

    The squares of the functions of an order add up to a polynomial of the
    cosine of the angle between two taps, so no function is needed: with `z[p]`
    what tap `p` contributes, `y**2 = sum_pq z[p] z[q] polynomial(cos(p, q))`.
    """
    size = kernel.shape[:-2]
    x = _padded(x, size, strides, padding, dilation_rate)
    parts = []
    for tap in np.ndindex(*size):
        alone = np.zeros_like(kernel)
        alone[tap] = kernel[tap]
        parts.append(dense_conv(x, alone, strides, dilation_rate))
    offsets = [
        np.array(tap) - (np.array(size) - 1) / 2 for tap in np.ndindex(*size)
    ]
    polynomial = {
        1: np.polynomial.Chebyshev,
        2: np.polynomial.Chebyshev,
        3: np.polynomial.Legendre,
    }[len(size)].basis(order)
    square = np.zeros(parts[0].shape)
    for (p, z), (q, w) in itertools.product(
        zip(offsets, parts, strict=True), repeat=2
    ):
        if p.any() and q.any():  # the centre has no direction
            cosine = p @ q / np.sqrt((p @ p) * (q @ q))
            square += z * w * polynomial(cosine)
    return np.sqrt(np.maximum(square, 0) + 1e-8)


def _padded(x, size, strides, padding, dilation_rate):
    widths = keras_padding(x.shape[1:-1], size, strides, dilation_rate, padding)
    return np.pad(x, [(0, 0), *widths, (0, 0)])


def transposed_sizes(
    sizes, kernel_size, strides, padding, dilation_rate, output_padding
):
    """Returns, for each axis, the cells before and after cutting, as Keras."""
    found = []
    for n, k, s, d in zip(
        sizes, kernel_size, strides, dilation_rate, strict=True
    ):
        span = (k - 1) * d + 1
        full = (n - 1) * s + span
        if output_padding is not None:
            kept = full - (2 * (span // 2) if padding == "same" else 0)
        else:
            kept = n * s if padding == "same" else max(full, n * s)
        found.append((full, kept))
    return found


def conv_transpose(x, kernel, strides, padding, dilation_rate, output_padding):
    """Spreads each cell over the taps, and keeps the middle."""
    size = kernel.shape[:-2]
    sizes = transposed_sizes(
        x.shape[1:-1], size, strides, padding, dilation_rate, output_padding
    )
    y = np.zeros((len(x), *(full for full, _ in sizes), kernel.shape[-2]))
    for cell in np.ndindex(*x.shape[1:-1]):
        for tap in np.ndindex(*size):
            at = tuple(
                i * s + t * d
                for i, s, t, d in zip(
                    cell, strides, tap, dilation_rate, strict=True
                )
            )
            y[(slice(None), *at)] += x[(slice(None), *cell)] @ kernel[tap].T
    for axis, (full, kept) in enumerate(sizes, start=1):
        cut = (full - kept) // 2
        widths = [(0, 0)] * y.ndim
        widths[axis] = (max(-cut, 0),) * 2
        y = np.pad(y, widths)
        y = np.take(y, range(max(cut, 0), max(cut, 0) + kept), axis)
    return y


def symmetric_pool(x, pool_size, mode):
    for axis, stride in enumerate(pool_size, start=1):
        x = np.moveaxis(x, axis, 0)
        pooled = []
        for cells, weights in pooling_windows(len(x), stride):
            if mode == "max":
                pooled.append(x[cells].max(axis=0))
            else:
                pooled.append(np.average(x[cells], axis=0, weights=weights))
        x = np.moveaxis(np.stack(pooled), 0, axis)
    return x


def pooling_windows(size, stride):
    """Returns the cells and weights of each centred window of an axis."""
    count = -(-size // stride)
    width = stride + (count * stride - size) % 2
    first = -((count - 1) * stride + width - size) // 2
    windows = []
    for start in range(first, first + count * stride, stride):
        cells = range(start, start + width)
        weights = [
            0.5 if width > stride and cell in (cells[0], cells[-1]) else 1.0
            for cell in cells
        ]
        inside = [i for i, cell in enumerate(cells) if 0 <= cell < size]
        windows.append(
            ([cells[i] for i in inside], [weights[i] for i in inside])
        )
    return windows
