"""Rings: against the official package, symmetry, coverage, errors."""

import itertools
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import ring_reference
from helpers import golden_cases
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_sre import geometry
from keras_sre.geometry import ring_filters
from keras_sre.geometry import ring_index
from keras_sre.taps import inscribed


def test_ring_maps_equal_the_official_ones(golden):
    count = 0
    for config, arrays in golden_cases(
        golden("sre_index_maps"), ["2d_odd", "3d_odd"]
    ):
        found = ring_index(
            tuple(config["kernel_size"]),
            config["sre_k_effective"],
            config["force_circular"],
        )
        np.testing.assert_array_equal(found, arrays["ring"], err_msg=config)
        count += 1
    assert count == 136


@pytest.mark.parametrize(
    ("kernel_size", "taps"),
    [
        ((3, 3), [1, 8]),
        ((5, 5), [1, 8, 12]),
        ((7, 7), [1, 8, 12, 16]),
        ((9, 9), [1, 8, 12, 16, 32]),
        ((3, 3, 3), [1, 18]),
        ((5, 5, 5), [1, 18, 62]),
        ((5,), [1, 2, 2]),
    ],
    ids=str,
)
def test_taps_per_ring(kernel_size, taps):
    filters = ring_filters(kernel_size)
    assert filters.reshape(len(filters), -1).sum(axis=1).tolist() == taps


KERNEL_SIZES = st.one_of(
    st.tuples(st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 9).map(lambda k: (k, k)),
    st.integers(1, 6).map(lambda k: (k, k, k)),
)


@given(KERNEL_SIZES, st.booleans(), st.sampled_from(geometry.RING_PROFILES))
@settings(deadline=None)
def test_filters_are_symmetric_bit_for_bit(kernel_size, circular, profile):
    filters = ring_filters(kernel_size, None, circular, profile)
    for axis in range(1, filters.ndim):
        np.testing.assert_array_equal(np.flip(filters, axis), filters)
    for i, j in itertools.combinations(range(1, filters.ndim), 2):
        if filters.shape[i] == filters.shape[j]:
            swapped = np.swapaxes(filters, i, j)
            np.testing.assert_array_equal(swapped, filters)
    assert filters.any(axis=tuple(range(1, filters.ndim))).all()
    assert filters.min() >= 0 and filters.max() <= 1 + 1e-12


def test_filters_are_shared_and_read_only():
    filters = ring_filters((5, 5))
    assert ring_filters((5, 5)) is filters
    with pytest.raises(ValueError, match="read-only"):
        filters[:] = 0


def test_even_kernels_are_centred_between_their_middle_taps():
    # The official package centres them on cell k // 2: not symmetric.
    assert ring_index((4, 4)).tolist() == [
        [2, 1, 1, 2],
        [1, 0, 0, 1],
        [1, 0, 0, 1],
        [2, 1, 1, 2],
    ]


@pytest.mark.parametrize("profile", geometry.RING_PROFILES)
@pytest.mark.parametrize("kernel_size", [(3, 7, 7), (3, 5), (5, 3), (9, 5, 7)])
def test_unequal_sizes_keep_the_inscribed_ellipsoid(kernel_size, profile):
    # The official package looks at the first size only.
    filters = ring_filters(kernel_size, ring_profile=profile)
    grid = np.meshgrid(
        *[(np.arange(k) - (k - 1) / 2) / (k / 2) for k in kernel_size],
        indexing="ij",
    )
    inside = sum(axis**2 for axis in grid) < 1
    np.testing.assert_array_equal(filters.any(axis=0), inside)


def test_spacing_measures_rings_in_physical_units():
    index = ring_index((3, 7), spacing=(2.0, 1.0))
    # Two pixels along the fine axis are as far as one along the coarse one.
    assert index[1, 3 + 2] == index[2, 3] == index[0, 3]
    assert index[1, 3 + 1] < index[2, 3]


@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    st.booleans(),
)
@settings(deadline=None)
def test_farther_taps_are_never_in_nearer_rings(size, spacing, circular):
    num_rings = len(ring_filters(size, None, circular, "hard", spacing))
    index = ring_index(size, num_rings, circular, spacing)
    axes = [
        (np.arange(k) - (k - 1) / 2) * step
        for k, step in zip(size, spacing, strict=True)
    ]
    distances = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    inside = index >= 0
    order = np.argsort(distances[inside], kind="stable")
    rings, sorted_distances = index[inside][order], distances[inside][order]
    nearer = np.diff(rings) < 0
    assert np.all(np.diff(sorted_distances)[nearer] < 1e-9)


@pytest.mark.parametrize("kernel_size", [(5,), (5, 5), (3, 3, 3), (4, 4)])
def test_area_is_the_covered_fraction(kernel_size):
    filters = ring_filters(kernel_size, ring_profile="area")
    num_rings, rank = len(filters), len(kernel_size)
    fine = {1: 4000, 2: 200, 3: 40}[rank]
    k = kernel_size[0]
    points = (np.arange(k * fine) + 0.5) / fine - k / 2
    grid = np.meshgrid(*[points] * rank, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    edges = np.linspace(0, k // 2 + 0.5, num_rings + 1)
    for ring in range(num_rings):
        covered = (radius >= edges[ring]) & (radius < edges[ring + 1])
        shape = [n for _ in range(rank) for n in (k, fine)]
        expected = covered.reshape(shape).mean(
            axis=tuple(range(1, 2 * rank, 2))
        )
        np.testing.assert_allclose(filters[ring], expected, atol=3e-3)


@pytest.mark.parametrize("kernel_size", [(5,), (7, 7), (6, 6), (5, 5, 5)])
def test_areas_add_up_to_one_inside(kernel_size):
    filters = ring_filters(kernel_size, ring_profile="area")
    axes = [np.abs(np.arange(k) - (k - 1) / 2) + 0.5 for k in kernel_size]
    farthest = np.sqrt(sum(np.square(np.meshgrid(*axes, indexing="ij"))))
    inside = farthest <= kernel_size[0] // 2 + 0.5
    assert inside.any()
    np.testing.assert_allclose(filters.sum(axis=0)[inside], 1, atol=1e-12)
    square = ring_filters(kernel_size, None, False, "area")
    np.testing.assert_allclose(square.sum(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [(5,), (7, 7), (6, 6), (5, 5, 5)])
def test_linear_hats_add_up_to_one_inside(kernel_size):
    filters = ring_filters(kernel_size, ring_profile="linear")
    axes = [np.arange(k) - (k - 1) / 2 for k in kernel_size]
    distances = np.sqrt(sum(np.square(np.meshgrid(*axes, indexing="ij"))))
    inside = distances <= (kernel_size[0] - 1) / 2 + 1e-9
    np.testing.assert_allclose(filters.sum(axis=0)[inside], 1)
    square = ring_filters(kernel_size, None, False, "linear")
    np.testing.assert_allclose(square.sum(axis=0), 1)


@pytest.mark.parametrize(
    ("kernel_size", "num_rings", "advice"),
    [
        ((3, 3), 3, "Use 1 or 2"),
        ((5, 5), 6, "Use 1, 2, 3 or 4"),
        ((1,), 9, "Use 1"),
    ],
)
def test_empty_rings_are_refused(kernel_size, num_rings, advice):
    # The official package accepts them: weights without effect.
    with pytest.raises(ValueError, match=f"no tap.*{advice}"):
        ring_filters(kernel_size, num_rings)
    for usable in map(int, re.findall(r"\d+", advice)):
        assert len(ring_filters(kernel_size, usable)) == usable


def test_refusing_many_rings_keeps_nothing():
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="58, 59 or 60, or a larger"):
            ring_filters((61, 61), 10**9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6  # the filters of all those advised take 54 MB


@pytest.mark.parametrize(
    ("kernel_size", "num_rings", "advice"),
    [((3, 3), 4, "Use 1, 2 or 3"), ((5,), 4, "Use 1, 2 or 3"), ((1,), 2, "1")],
)
def test_overlapping_rings_that_add_nothing_are_refused(
    kernel_size, num_rings, advice
):
    """There are three distances in a 3x3 kernel, and three in one of 5."""
    with pytest.raises(ValueError, match=f"of their own.*{advice}"):
        ring_filters(kernel_size, num_rings, ring_profile="cosine")
    for usable in map(int, re.findall(r"\d+", advice)):
        filters = ring_filters(kernel_size, usable, ring_profile="cosine")
        flat = filters.reshape(usable, -1)
        assert np.linalg.matrix_rank(flat) == usable


@pytest.mark.parametrize("profile", ["hard", "area", "linear", "cosine"])
@pytest.mark.parametrize(
    ("kernel_size", "num_rings", "spacing"),
    [
        ((5, 5), 2, None),
        ((7, 7), 3, None),
        ((9, 9), 2, (0.5, 0.5)),
        ((3, 7), 2, (2.0, 1.0)),
        ((7, 3), 1, (0.5, 3.0)),
        ((9,), 3, None),
        ((5, 5, 5), 2, None),
        ((3, 5, 5), 2, (2.5, 1.0, 1.0)),
    ],
    ids=str,
)
def test_filters_equal_the_reference(kernel_size, num_rings, spacing, profile):
    for circular in (True, False):
        arguments = kernel_size, num_rings, circular, profile, spacing
        np.testing.assert_allclose(
            ring_filters(*arguments),
            ring_reference.ring_filters(*arguments),
            atol=0.02 if profile == "area" else 1e-9,
        )


def test_ring_index_of_a_square():
    """The corners are the last of four rings; one ring is the centre."""
    corners = ring_index((5, 5), circular=False)
    assert corners[0, 0] == 3 == corners.max() and corners[2, 2] == 0
    assert np.count_nonzero(corners == 3) == 4
    centre = ring_index((3, 3), 1, circular=False)
    assert centre.tolist() == [[-1, -1, -1], [-1, 0, -1], [-1, -1, -1]]


@pytest.mark.parametrize("num_rings", [0, -1, 2.5, True, "3"])
def test_num_rings_must_be_a_positive_int(num_rings):
    with pytest.raises(ValueError, match="num_rings=.*int of at least 1"):
        ring_filters((5, 5), num_rings)


def test_unknown_profile_lists_the_known():
    with pytest.raises(ValueError, match="'round'.*'hard', 'area', 'linear'"):
        ring_filters((5, 5), ring_profile="round")


@pytest.mark.parametrize("kernel_size", [(4, 5), (12, 13), (3, 3, 2)], ids=str)
def test_taps_on_the_ellipsoid_are_outside(kernel_size):
    """In fractions, which know when a sum of squares is 1."""
    found, sums = inscribed(kernel_size), []
    for tap in itertools.product(*map(range, kernel_size)):
        scaled = (
            Fraction(2 * i - n + 1, 2) / (n // 2 + Fraction(1, 2))
            for i, n in zip(tap, kernel_size, strict=True)
        )
        sums.append(sum(distance**2 for distance in scaled))
        assert found[tap] == (sums[-1] < 1)
    assert 1 in sums


def test_cosine_rings_of_the_smallest_kernel():
    """Around 0 and 1/2, from 1 and 1/2 taps away on nothing."""
    np.testing.assert_allclose(
        ring_filters((3,), 2, ring_profile="cosine"),
        [[0.25, 1, 0.25], [0.75, 0.75, 0.75]],
    )
