"""The grid's own symmetries: exact rearrangements of the cells of a map."""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """Reorders the spatial axes of an array, then reverses some of them.

    Attributes:
        axes: tuple of ints, the old spatial axis at each new place.
        flipped: tuple of ints, the new spatial axes that are reversed.
    """

    axes: tuple
    flipped: tuple

    def __call__(self, x, first_axis=1):
        """Returns `x`, whose spatial axes begin at `first_axis`, turned."""
        rank = len(self.axes)
        order = list(range(x.ndim))
        order[first_axis : first_axis + rank] = [
            axis + first_axis for axis in self.axes
        ]
        flipped = [axis + first_axis for axis in self.flipped]
        return np.ascontiguousarray(np.flip(np.transpose(x, order), flipped))

    @property
    def exchanges(self):
        """Whether it brings an axis to the place of another."""
        return self.axes != tuple(sorted(self.axes))

    def keeps(self, sizes):
        """Returns whether a grid of these sides keeps its shape."""
        return tuple(sizes[axis] for axis in self.axes) == tuple(sizes)

    @property
    def is_proper(self):
        """Whether it is a rotation, without reflection."""
        inversions = sum(
            first > second
            for first, second in itertools.combinations(self.axes, 2)
        )
        return (inversions + len(self.flipped)) % 2 == 0


def grid_symmetries(rank, flips):
    """Returns all symmetries of a square grid, the identity first.

    Args:
        rank: int, the number of spatial axes.
        flips: bool, whether reflections are among them.

    Returns:
        List of `Symmetry`: 2, 8 and 48 for rank 1, 2 and 3; without `flips`
        1, 4 and 24.

    Example:

    >>> [len(grid_symmetries(rank, flips=False)) for rank in (1, 2, 3)]
    [1, 4, 24]
    """
    every = [
        Symmetry(axes, tuple(np.flatnonzero(flipped).tolist()))
        for axes in itertools.permutations(range(rank))
        for flipped in itertools.product((False, True), repeat=rank)
    ]
    return [symmetry for symmetry in every if flips or symmetry.is_proper]


def grid_poses(x, rank, first_axis=1):
    """Yields an array in all poses of the grid that leave its shape.

    Args:
        x: array.
        rank: int, the number of spatial axes.
        first_axis: int, the first of them.

    Example:

    >>> len(list(grid_poses(np.zeros((1, 32, 32, 3)), rank=2)))
    8
    """
    sizes = x.shape[first_axis : first_axis + rank]
    for symmetry in grid_symmetries(rank, flips=True):
        if symmetry.keeps(sizes):
            yield symmetry(x, first_axis)


def generators(rank, flips):
    """Returns a few symmetries of which all others are products.

    Those of them that keep a grid of unequal sides in shape generate all that
    do.

    Args:
        rank: as in `grid_symmetries`.
        flips: as in `grid_symmetries`.

    Returns:
        List of `Symmetry`: reversals and exchanges of axes, or rotations by 90
        and 180 degrees.

    Example:

    >>> [len(generators(rank, flips=True)) for rank in (1, 2, 3)]
    [1, 3, 6]
    """
    straight = tuple(range(rank))
    found = [Symmetry(straight, (axis,)) for axis in straight if flips]
    for first, second in itertools.combinations(straight, 2):
        axes = list(straight)
        axes[first], axes[second] = second, first
        if flips:
            found.append(Symmetry(tuple(axes), ()))
        else:
            found.append(Symmetry(tuple(axes), (first,)))
            found.append(Symmetry(straight, (first, second)))
    return found
