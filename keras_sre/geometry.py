"""Which ring each tap of a kernel belongs to (NumPy only).

A ring kernel of size `k` is a sum of `num_rings` fixed filters, one weight for
each: `K[p] = sum_r filter[r, p] * weight[r]`, where the filter of ring `r` is
a function of the distance of tap `p` from the kernel's centre alone. A *ring*
is called a band in the SRE-Conv paper and `sre_k` counts them in its code.

Distances are those of `taps.py`; the filters of rings that are not hard are
made in `smooth_rings.py`.

References:
    - [Du et al., 2025](https://arxiv.org/abs/2501.09753): hard rings.
"""

import functools
import math

import numpy as np

from keras_sre import smooth_rings
from keras_sre.taps import inscribed
from keras_sre.taps import ring_edges
from keras_sre.taps import tap_distances

RING_PROFILES = ("hard", "area", "linear", "cosine", "gaussian")


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
    edges = ring_edges(kernel_size, num_rings, circular, spacing)
    index = np.searchsorted(edges, distances, "right") - 1
    index[distances > edges[-1]] = -1
    if circular:
        index[~inscribed(kernel_size)] = -1
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
            int, there are more rings than taps, or a ring would hold no tap, so
            that its weight had no effect (`"cosine"`: or be a sum of others).

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

    def filters_for(count, build=_ring_filters):
        return build(kernel_size, count, bool(circular), ring_profile, spacing)

    def has_dead_ring(filters):
        flat = filters.reshape(len(filters), -1)
        if ring_profile == "cosine":  # so wide that none is ever empty
            return np.linalg.matrix_rank(flat) < len(flat)
        return not flat.any(axis=1).all()

    default = default_num_rings(kernel_size, circular)
    if num_rings is None:
        most = min(default, math.prod(kernel_size))
        candidates = map(filters_for, range(most, 0, -1))
        return next(each for each in candidates if not has_dead_ring(each))
    if (
        isinstance(num_rings, bool)
        or not isinstance(num_rings, (int, np.integer))
        or num_rings < 1
    ):
        raise ValueError(
            f"Received num_rings={num_rings!r}. Expected an int of at least 1,"
            f" or None for the default ({default} for this kernel)."
        )

    taps = math.prod(kernel_size)
    if ring_profile == "gaussian":
        # A ring may hold no tap: its weights act on its neighbours.
        if num_rings > taps:
            raise ValueError(
                f"Received num_rings={num_rings} for kernel_size={kernel_size}:"
                f" these are more rings than taps. Use 1 to {taps}, or a larger"
                " kernel."
            )
    elif num_rings > taps or has_dead_ring(filters_for(num_rings)):
        # More than twice the default is no advice, and all would be slow.
        usable = [
            n
            for n in range(1, min(num_rings, 2 * default + 1))
            if not has_dead_ring(filters_for(n, _build))
        ]
        raise ValueError(
            f"Received num_rings={num_rings} for kernel_size={kernel_size}: "
            "some rings would hold no tap of their own, so their weights would "
            "do nothing. "
            f"Use {_spoken(usable)}, or a larger kernel."
        )
    return filters_for(int(num_rings))


@functools.cache
def _ring_filters(*arguments):
    filters = _build(*arguments)
    filters.setflags(write=False)
    return filters


def _build(kernel_size, num_rings, circular, ring_profile, spacing):
    smooth = {
        "area": smooth_rings.area,
        "linear": smooth_rings.linear,
        "cosine": smooth_rings.cosine,
    }
    build = smooth.get(ring_profile, _hard)
    return build(kernel_size, num_rings, circular, spacing)


def _hard(kernel_size, num_rings, circular, spacing):
    index = ring_index(kernel_size, num_rings, circular, spacing)
    rings = np.arange(num_rings).reshape(-1, *(1,) * len(kernel_size))
    return (index == rings).astype("float64")


def _spoken(numbers):
    """Returns `1, 2 or 3` for `[1, 2, 3]`."""
    *head, last = map(str, numbers)
    return f"{', '.join(head)} or {last}" if head else last
