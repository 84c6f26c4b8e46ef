"""Ring filters that vary around the ring (NumPy only).

A ring filter times an angular function of order `m` sees direction: order 1 is
a gradient, order 2 a line or a curvature. The functions of one order span a
space that rotations and reflections map onto itself by an orthogonal matrix, so
that the norm of their responses does not change when the image turns: exactly
for the symmetries of the grid.

| rank | functions of order `m` | how many |
|---|---|---|
| 1 | the sign (order 1 alone) | 1 |
| 2 | `cos(m * angle)`, `sin(m * angle)` | 2 |
| 3 | real spherical harmonics of degree `m` | `2 * m + 1` |

They are scaled so that their squares add up to 1 everywhere but in the centre,
where they are 0. Order 0 is the constant 1: an ordinary ring kernel.

References:
    - [Worrall et al., 2017](https://arxiv.org/abs/1612.04642): harmonic
      filters and the norm of their responses.
    - [Weiler and Cesa, 2019](https://arxiv.org/abs/1911.08251): aliasing of
      high orders on small rings.
"""

import functools
import math

import numpy as np

from keras_sre.geometry import ring_filters
from keras_sre.taps import tap_coordinates
from keras_sre.taps import tap_distances

# A ring carries an order if at least half of its energy is off the centre, and
# if its taps leave each of the functions, after all that lower orders explain,
# this share of what it has on a continuous ring.
CARRIED_SHARE = 0.2


def angular_functions(kernel_size, order, spacing=None):
    """Returns the functions of one order at every tap.

    Each is even or odd along every axis, bit for bit. In 3D they are, with `P`
    the Legendre polynomial of degree `l` and `z` along the last axis,
    `sqrt((2 - [m = 0]) (l - m)! / (l + m)!) P^(m)(z) Re or Im (x + i y)^m`.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        order: int of at least 0.
        spacing: tuple of positive floats or `None` (1 everywhere).

    Returns:
        float64 array of shape `(num_functions, *kernel_size)`.

    Example:

    >>> angular_functions((3, 3), 1)[1]
    array([[-0.70710678,  0.        ,  0.70710678],
           [-1.        ,  0.        ,  1.        ],
           [-0.70710678,  0.        ,  0.70710678]])
    """
    if order == 0:
        return np.ones((1, *kernel_size))
    rank = len(kernel_size)
    distances = tap_distances(kernel_size, spacing)
    centre = distances == 0
    unit = tap_coordinates(kernel_size, spacing) / np.where(
        centre, 1.0, distances
    )
    if rank == 1:
        functions = [unit[0] ** order]
    elif rank == 2:
        functions = _circular(unit, order)
    else:
        functions = _spherical(unit, order)
    functions = np.where(centre, 0.0, np.stack(functions))
    return np.round(functions, 15) + 0.0  # no remnants, no negative zeros


def harmonic_filters(
    kernel_size,
    order,
    num_rings=None,
    circular=True,
    ring_profile="hard",
    spacing=None,
):
    """Returns the fixed filters of one order: ring times angular function.

    Rings whose taps are too few or too unevenly spread for an order (there it
    could not be told from lower ones) are left out.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        order: int of at least 0; 0 is `ring_filters`.
        num_rings: as in `keras_sre.geometry.ring_filters`.
        circular: likewise.
        ring_profile: likewise.
        spacing: likewise.

    Returns:
        Read-only float64 array of shape
        `(num_functions, num_carrying_rings, *kernel_size)`.

    Raises:
        ValueError: if no ring carries the order.

    Example:

    >>> harmonic_filters((5, 5), 1).shape, harmonic_filters((5, 5), 4).shape
    ((2, 2, 5, 5), (2, 1, 5, 5))
    """
    carried = carrying_rings(
        kernel_size, order, num_rings, circular, ring_profile, spacing
    )
    rings = ring_filters(
        kernel_size, num_rings, circular, ring_profile, spacing
    )
    functions = angular_functions(tuple(kernel_size), order, spacing)
    filters = functions[:, None] * rings[list(carried)]
    filters.setflags(write=False)
    return filters


def carrying_rings(
    kernel_size,
    order,
    num_rings=None,
    circular=True,
    ring_profile="hard",
    spacing=None,
):
    """Returns the numbers of the rings that carry an order.

    For order 0 these are all that hold a tap. Args and errors are those of
    `harmonic_filters`.

    Example:

    >>> carrying_rings((5, 5), 0), carrying_rings((5, 5), 4)
    ((0, 1, 2), (2,))
    """
    kernel_size = tuple(kernel_size)
    spacing = tuple(map(float, spacing)) if spacing else None
    rings = ring_filters(
        kernel_size, num_rings, circular, ring_profile, spacing
    )
    if order == 0:
        taps = rings.reshape(len(rings), -1).any(axis=1)
        return tuple(np.flatnonzero(taps).tolist())
    carried = tuple(
        number
        for number, ring in enumerate(rings)
        if _carries(ring.tobytes(), kernel_size, order, spacing)
    )
    if not carried:
        raise ValueError(
            f"Received harmonics with order {order} for kernel_size="
            f"{kernel_size}: no ring of it has the taps for that order. "
            f"{_advice(rings, kernel_size, spacing)}"
        )
    return carried


def _advice(rings, kernel_size, spacing):
    usable = [
        order
        for order in range(1, sum(kernel_size))
        if any(
            _carries(ring.tobytes(), kernel_size, order, spacing)
            for ring in rings
        )
    ]
    if not usable:
        return "Use a larger kernel, or harmonics=()."
    larger = "" if len(kernel_size) == 1 else ", or a larger kernel"
    return f"Use orders out of {', '.join(map(str, usable))}{larger}."


@functools.cache
def _carries(ring, kernel_size, order, spacing):
    ring = np.frombuffer(ring)
    taps = np.flatnonzero(ring)
    ring = ring[taps]
    # The functions of lower orders take any values at as many taps as there are
    # orders. (A Gaussian ring may hold none.)
    if order >= len(taps):
        return False

    def columns(order):
        functions = angular_functions(kernel_size, order, spacing)
        return (functions.reshape(len(functions), -1)[:, taps] * ring).T

    own = columns(order)  # (taps, functions)
    if 2 * np.square(own).sum() < np.square(ring).sum():
        return False
    lower = np.concatenate([columns(m) for m in range(order)], axis=1)
    explained = lower @ np.linalg.lstsq(lower, own, rcond=1e-9)[0]
    energy = np.square(own - explained).sum(axis=0)
    continuous = np.square(ring).sum() / own.shape[1]
    return bool(energy.min() >= CARRIED_SHARE * continuous)


def _circular(unit, order):
    powers = _power(unit[0] + 1j * unit[1], order)
    return [powers.real, powers.imag]


def _spherical(unit, degree):
    x_iy, z = unit[0] + 1j * unit[1], unit[2]
    legendre = np.polynomial.Legendre.basis(degree)
    functions = [legendre(z)]
    for m in range(1, degree + 1):
        scale = math.sqrt(
            2 * math.factorial(degree - m) / math.factorial(degree + m)
        )
        around = _power(x_iy, m) * (scale * legendre.deriv(m)(z))
        functions += [around.real, around.imag]
    return functions


def _power(z, exponent):
    """Repeated products keep signs exact where `**` need not."""
    return functools.reduce(np.multiply, [z] * exponent)
