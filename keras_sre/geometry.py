"""Which ring each tap of a kernel belongs to (NumPy only).

A ring kernel of size `k` is a sum of `num_rings` fixed filters, one weight for
each: `K[p] = sum_r filter[r, p] * weight[r]`, where the filter of ring `r` is
a function of the distance of tap `p` from the kernel's centre alone. A *ring*
is called a band in the SRE-Conv paper and `sre_k` counts them in its code.

Distances are in taps, or in the unit of `spacing` where that is given. The
centre of an even kernel lies between its two middle taps, so that even kernels
are symmetric as well.

References:
    - [Du et al., 2025](https://arxiv.org/abs/2501.09753): hard rings.
"""

import functools
import math

import numpy as np

RING_PROFILES = ("hard", "area", "linear", "cosine", "gaussian")

# Half the width of a raised cosine, in taps, or in distances between rings
# where those are larger: narrower ones alias, wider ones hardly differ.
COSINE_WIDTH = 1.5


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


def default_num_rings(kernel_size, circular=True):
    """Returns the paper's number of rings for the largest kernel axis.

    `k // 2 + 1` for a circular kernel, one more for a full square.

    Example:

    >>> default_num_rings((9, 9)), default_num_rings((9, 9), circular=False)
    (5, 6)
    """
    return max(kernel_size) // 2 + (1 if circular else 2)


def ring_index(kernel_size, num_rings=None, circular=True, spacing=None):
    """Returns the number of the hard ring that each tap belongs to.

    With `b` rings and radius `R` (half the kernel, rounded down, plus half a
    tap, of the longest axis), ring `r` of a circular kernel holds the taps
    with `r * R / b <= distance < (r + 1) * R / b`. Kernels whose axes differ
    in length are cut to the ellipsoid inscribed in them. A full-square kernel
    (`circular=False`) has `b - 1` such bands up to the farthest tap, and its
    last ring holds the taps at that largest distance: the corners.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        num_rings: positive int; `None` is `default_num_rings`.
        circular: bool, whether to leave the corners out.
        spacing: tuple of positive floats or `None` (1 everywhere).

    Returns:
        int array of shape `kernel_size`; -1 marks taps outside every ring.

    Example:

    >>> ring_index((5, 5))
    array([[-1,  2,  2,  2, -1],
           [ 2,  1,  1,  1,  2],
           [ 2,  1,  0,  1,  2],
           [ 2,  1,  1,  1,  2],
           [-1,  2,  2,  2, -1]])
    """
    if num_rings is None:
        num_rings = default_num_rings(kernel_size, circular)
    distances = tap_distances(kernel_size, spacing)
    edges = _ring_edges(kernel_size, num_rings, circular, spacing)
    index = np.searchsorted(edges, distances, "right") - 1
    index[distances > edges[-1]] = -1
    if circular:
        index[~_inscribed(kernel_size)] = -1
    return index


def ring_filters(
    kernel_size,
    num_rings=None,
    circular=True,
    ring_profile="hard",
    spacing=None,
):
    """Returns the fixed filter of every ring.

    Profiles, with `d` the distance of a tap from the centre:

    - `"hard"`: 1 for the taps of the ring (`ring_index`), else 0.
    - `"area"`: the fraction of the tap's square (cube) that the annulus
      (shell) between the ring's two radii covers.
    - `"linear"`: the hat `max(0, 1 - |d - radius[r]| / step)` around equally
      spaced ring radii, of which the first is 0 and the last reaches the
      outermost tap on an axis (`circular`) or in the corner. Outside the last
      radius the hat falls to zero within one tap.
    - `"cosine"`: the raised cosine `(1 + cos(pi (d - radius[r]) / w)) / 2`
      where `|d - radius[r]| < w`, around equally spaced ring radii of which
      the first is 0. The last ends where the first tap is that the kernel
      lacks on its longest axis (`circular`), or a tap beyond the corner. The
      half-width `w` is 1.5 taps, or 1.5 distances between rings if these are
      farther apart.
    - `"gaussian"`: as `"hard"`. What is smooth there is how rings share their
      weights, which is trained: `keras_sre.ops.ring_mixing`. So a ring may
      hold no tap.

    All are symmetric under the grid's reflections, and under exchanges of axes
    of equal size and spacing, bit for bit.

    Args:
        kernel_size: tuple of positive ints, one per axis.
        num_rings: positive int. `None` takes `default_num_rings`, or the
            largest smaller number for which no ring is empty (`"cosine"`: a
            sum of others): an even or one-dimensional kernel has fewer
            distinct distances.
        circular: bool, whether to leave the corners out.
        ring_profile: one of those above.
        spacing: tuple of positive floats, the physical size of a voxel per
            axis, or `None` (1 everywhere).

    Returns:
        Read-only float64 array of shape `(num_rings, *kernel_size)`.

    Raises:
        ValueError: if `ring_profile` is unknown, `num_rings` is not a positive
            int, or a ring would hold no tap, so that its weight had no effect
            (`"cosine"`: or be a sum of others).

    Example:

    >>> ring_filters((9, 9)).sum(axis=(1, 2))
    array([ 1.,  8., 12., 16., 32.])
    """
    if ring_profile not in RING_PROFILES:
        raise ValueError(
            f"Received ring_profile={ring_profile!r}. Expected one of "
            f"{', '.join(map(repr, RING_PROFILES))}."
        )
    spacing = tuple(map(float, spacing)) if spacing else None
    kernel_size = tuple(kernel_size)

    def filters_for(count):
        return _ring_filters(
            kernel_size, count, bool(circular), ring_profile, spacing
        )

    def has_dead_ring(count):
        filters = filters_for(count).reshape(count, -1)
        if ring_profile == "cosine":  # so wide that none is ever empty
            return np.linalg.matrix_rank(filters) < count
        return not filters.any(axis=1).all()

    default = default_num_rings(kernel_size, circular)
    if num_rings is None:
        most = min(default, math.prod(kernel_size))
        return filters_for(
            next(n for n in range(most, 0, -1) if not has_dead_ring(n))
        )
    if (
        isinstance(num_rings, bool)
        or not isinstance(num_rings, (int, np.integer))
        or num_rings < 1
    ):
        raise ValueError(
            f"Received num_rings={num_rings!r}. Expected an int of at least 1,"
            f" or None for the default ({default} for this kernel)."
        )
    if ring_profile != "gaussian" and (
        num_rings > math.prod(kernel_size) or has_dead_ring(num_rings)
    ):
        usable = [
            n
            for n in range(1, min(num_rings, 2 * sum(kernel_size)))
            if not has_dead_ring(n)
        ]
        raise ValueError(
            f"Received num_rings={num_rings} for kernel_size={kernel_size}: "
            "some rings would hold no tap of their own, so their weights would "
            "do nothing. "
            f"Use {_spoken(usable)}, or a larger kernel."
        )
    return filters_for(int(num_rings))


@functools.cache
def _ring_filters(kernel_size, num_rings, circular, ring_profile, spacing):
    build = {"area": _area, "linear": _linear, "cosine": _cosine}.get(
        ring_profile, _hard
    )
    filters = build(kernel_size, num_rings, circular, spacing)
    filters.setflags(write=False)
    return filters


def _hard(kernel_size, num_rings, circular, spacing):
    index = ring_index(kernel_size, num_rings, circular, spacing)
    rings = np.arange(num_rings).reshape(-1, *(1,) * len(kernel_size))
    return (index == rings).astype("float64")


def _area(kernel_size, num_rings, circular, spacing):
    if circular:
        edges = _ring_edges(kernel_size, num_rings, True, spacing)
        inside = _inscribed(kernel_size)
        if len(set(kernel_size)) == 1 and len(set(spacing or (1,))) == 1:
            inside = True  # the outermost circle cuts the corners already
    else:  # the outermost circle passes through the corners of the square
        reach = _half_widths(kernel_size, spacing)
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


def _linear(kernel_size, num_rings, circular, spacing):
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


def _cosine(kernel_size, num_rings, circular, spacing):
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
        filters *= _inscribed(kernel_size)
    return filters


def _half_widths(kernel_size, spacing):
    steps = spacing or (1.0,) * len(kernel_size)
    return [
        (size // 2 + 0.5) * step
        for size, step in zip(kernel_size, steps, strict=True)
    ]


def _ring_edges(kernel_size, num_rings, circular, spacing):
    if circular:
        radius = max(_half_widths(kernel_size, spacing))
        return np.linspace(0, radius, num_rings + 1)
    distances = tap_distances(kernel_size, spacing)
    if num_rings == 1:  # the innermost taps alone
        return np.array([distances.min()])
    return np.linspace(0, distances.max(), num_rings)


def _inscribed(kernel_size):
    """Marks the taps inside the ellipsoid inscribed in the kernel's box.

    They are the same ones whatever the spacing.
    """
    coordinates = tap_coordinates(kernel_size, None)
    widths = _half_widths(kernel_size, None)
    shape = (-1, *(1,) * len(kernel_size))
    scaled = (coordinates / np.reshape(widths, shape)) ** 2
    return np.sort(scaled, axis=0).sum(axis=0) < 1 - 1e-9


def _spoken(numbers):
    """Returns `1, 2 or 3` for `[1, 2, 3]`."""
    *head, last = map(str, numbers)
    return f"{', '.join(head)} or {last}" if head else last
