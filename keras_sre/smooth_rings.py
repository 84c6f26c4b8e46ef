"""Filters of smooth rings: `"area"`, `"linear"`, `"cosine"` (NumPy only).

Each function takes the arguments of `keras_sre.geometry.ring_filters`, which
has the formulas, and returns an array of shape `(num_rings, *kernel_size)`.
"""

import functools

import numpy as np

from keras_sre.taps import half_widths
from keras_sre.taps import inscribed
from keras_sre.taps import ring_edges
from keras_sre.taps import tap_coordinates
from keras_sre.taps import tap_distances

# Half the width of a raised cosine, in taps, or in distances between rings
# where those are larger: narrower ones alias, wider ones hardly differ.
COSINE_WIDTH = 1.5


def area(kernel_size, num_rings, circular, spacing):
    if circular:
        edges = ring_edges(kernel_size, num_rings, True, spacing)
        inside = inscribed(kernel_size)
        if len(set(kernel_size)) == 1 and len(set(spacing or (1,))) == 1:
            inside = True  # the outermost circle cuts the corners already
    else:  # the outermost circle passes through the corners of the square
        reach = half_widths(kernel_size, spacing)
        edges = np.linspace(0, np.linalg.norm(reach), num_rings + 1)
        inside = True
    coordinates = np.abs(tap_coordinates(kernel_size, spacing))
    steps = spacing or (1.0,) * len(kernel_size)
    covered = np.empty((num_rings + 1, *kernel_size))
    for tap in np.ndindex(*kernel_size):
        cell = sorted(zip(coordinates[(slice(None), *tap)], steps, strict=True))
        for i, edge in enumerate(edges):
            covered[(i, *tap)] = _ball_fraction(float(edge), tuple(cell))
    return np.diff(covered, axis=0) * inside


@functools.cache
def _ball_fraction(radius, cell):
    """Returns the fraction of a box that a ball around the origin covers.

    `cell` holds `(centre, width)` for each axis. The chord along the last axis
    is exact; the others are integrated by the midpoint rule.
    """
    num_points = 128 if len(cell) == 2 else 48
    squared = np.zeros(())
    for centre, width in cell[:-1]:
        points = centre + width * (
            (np.arange(num_points) + 0.5) / num_points - 0.5
        )
        squared = squared[..., None] + points**2
    half_chord = np.sqrt(np.maximum(radius**2 - squared, 0.0))
    centre, width = cell[-1]
    low, high = centre - width / 2, centre + width / 2
    covered = np.clip(half_chord, low, high) - np.clip(-half_chord, low, high)
    return float(np.mean(covered) / width)


def linear(kernel_size, num_rings, circular, spacing):
    distances = tap_distances(kernel_size, spacing)
    steps = spacing or (1.0,) * len(kernel_size)
    if circular:
        outermost = max(
            (size - 1) / 2 * step
            for size, step in zip(kernel_size, steps, strict=True)
        )
    else:
        outermost = distances.max()
    tap = max(steps)
    radii = np.linspace(0, outermost, num_rings)
    width = radii[1] if num_rings > 1 and radii[1] else outermost + tap
    offset = distances - radii.reshape(-1, *(1,) * distances.ndim)
    filters = np.maximum(0.0, 1 - np.abs(offset) / width)
    outside = np.maximum(0.0, 1 - offset[-1] / min(width, tap))
    if num_rings > 1:
        filters[-1] = np.where(offset[-1] > 0, outside, filters[-1])
    return _cut(filters, kernel_size, circular)


def cosine(kernel_size, num_rings, circular, spacing):
    distances = tap_distances(kernel_size, spacing)
    steps = spacing or (1.0,) * len(kernel_size)
    tap = min(steps)
    if circular:
        end = max(
            (size + 1) / 2 * step
            for size, step in zip(kernel_size, steps, strict=True)
        )
    else:
        end = distances.max() + tap
    # The last radius is `end - width`, and radii are `width / 1.5` apart.
    width = COSINE_WIDTH * max(tap, end / (num_rings - 1 + COSINE_WIDTH))
    radii = np.linspace(0, max(end - width, 0.0), num_rings)
    offset = distances - radii.reshape(-1, *(1,) * distances.ndim)
    within = np.minimum(np.abs(offset) / width, 1.0)
    return _cut((1 + np.cos(np.pi * within)) / 2, kernel_size, circular)


def _cut(filters, kernel_size, circular):
    """Leaves out remnants of rounding, and what is outside the ellipsoid."""
    filters[filters < 1e-9] = 0.0
    if circular and len(set(kernel_size)) > 1:
        filters *= inscribed(kernel_size)
    return filters
