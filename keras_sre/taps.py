"""Where a kernel's taps are, and the edges of its rings (NumPy only).

Distances are in taps, or in the unit of `spacing` where that is given. The
centre of an even kernel lies between its two middle taps, so that even kernels
are symmetric as well.
"""

import numpy as np


def tap_coordinates(kernel_size, spacing=None):
    """Returns the position of every tap relative to the kernel's centre.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        spacing: tuple of positive floats, the physical distance between
            neighbouring taps along each axis; `None` means 1.

    Returns:
        float64 array of shape `(rank, *kernel_size)`.

    Example:

    >>> tap_coordinates((4,))
    array([[-1.5, -0.5,  0.5,  1.5]])
    """
    spacing = spacing or (1.0,) * len(kernel_size)
    axes = [
        (np.arange(size) - (size - 1) / 2) * step
        for size, step in zip(kernel_size, spacing, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def tap_distances(kernel_size, spacing=None):
    """Returns the distance of every tap from the kernel's centre.

    Taps that a reflection, or an exchange of two axes of equal size and
    spacing, maps onto each other get the same float, bit for bit: squares are
    summed in ascending order.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        spacing: tuple of positive floats or `None` (1 everywhere).

    Returns:
        float64 array of shape `kernel_size`.

    Example:

    >>> tap_distances((3, 3)).round(3)
    array([[1.414, 1.   , 1.414],
           [1.   , 0.   , 1.   ],
           [1.414, 1.   , 1.414]])
    """
    squares = np.sort(tap_coordinates(kernel_size, spacing) ** 2, axis=0)
    return np.sqrt(squares.sum(axis=0))


def half_widths(kernel_size, spacing):
    steps = spacing or (1.0,) * len(kernel_size)
    return [
        (size // 2 + 0.5) * step
        for size, step in zip(kernel_size, steps, strict=True)
    ]


def ring_edges(kernel_size, num_rings, circular, spacing):
    if circular:
        radius = max(half_widths(kernel_size, spacing))
        return np.linspace(0, radius, num_rings + 1)
    distances = tap_distances(kernel_size, spacing)
    if num_rings == 1:  # the innermost taps alone
        return np.array([distances.min()])
    return np.linspace(0, distances.max(), num_rings)


def inscribed(kernel_size):
    """Marks the taps inside the ellipsoid inscribed in the kernel's box.

    They are the same ones whatever the spacing.
    """
    coordinates = tap_coordinates(kernel_size, None)
    widths = half_widths(kernel_size, None)
    shape = (-1, *(1,) * len(kernel_size))
    scaled = (coordinates / np.reshape(widths, shape)) ** 2
    return np.sort(scaled, axis=0).sum(axis=0) < 1 - 1e-9
