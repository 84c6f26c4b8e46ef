"""Angular functions and which rings carry them."""

import itertools
import math

import numpy as np
import pytest
from helpers import grid_transforms
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from keras_sre.geometry import RING_PROFILES
from keras_sre.geometry import ring_filters
from keras_sre.harmonics import angular_functions
from keras_sre.harmonics import harmonic_filters
from keras_sre.taps import tap_coordinates


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("spacing", [None, (1.0, 2.5)], ids=str)
def test_in_the_plane_they_are_cosine_and_sine(order, spacing):
    x, y = tap_coordinates((7, 5), spacing)
    angle = order * np.arctan2(y, x)
    expected = np.stack([np.cos(angle), np.sin(angle)])
    expected[:, 3, 2] = 0  # the centre has no direction
    found = angular_functions((7, 5), order, spacing)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_in_space_they_obey_the_addition_theorem(degree):
    """`sum_i f_i(p) f_i(q)` is Legendre's polynomial of the angle between."""
    size = (4, 5, 3)
    spacing = (1.0, 1.0, 2.0)
    points = tap_coordinates(size, spacing).reshape(3, -1)
    functions = angular_functions(size, degree, spacing)
    assert functions.shape == (2 * degree + 1, *size)
    flat = functions.reshape(len(functions), -1)
    unit = points / np.linalg.norm(points, axis=0)
    expected = special.eval_legendre(degree, unit.T @ unit)
    np.testing.assert_allclose(flat.T @ flat, expected, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_in_space_they_are_spherical_harmonics(degree):
    """In the documented order, scale and sign, the last axis the polar one."""
    size, spacing = (4, 5, 3), (1.0, 1.5, 2.0)
    x, y, z = tap_coordinates(size, spacing)
    cosine = z / np.sqrt(x**2 + y**2 + z**2)
    azimuth = np.arctan2(y, x)
    expected = []
    for m in range(degree + 1):
        scale = math.factorial(degree - m) / math.factorial(degree + m)
        # SciPy's functions have the phase of Condon and Shortley.
        around = (-1) ** m * special.lpmv(m, degree, cosine) * math.sqrt(scale)
        if m == 0:
            expected.append(around)
        else:
            around = math.sqrt(2) * around
            expected += [f(m * azimuth) * around for f in (np.cos, np.sin)]
    found = angular_functions(size, degree, spacing)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("kernel_size", "spacing"),
    [
        ((5,), None),
        ((5, 7), (0.3, 2.0)),
        ((5, 5, 3), None),
        ((3, 5, 5), (2.5, 1.0, 0.7)),
    ],
    ids=str,
)
def test_squares_add_up_to_one_but_in_the_centre(kernel_size, spacing, order):
    squares = (angular_functions(kernel_size, order, spacing) ** 2).sum(axis=0)
    expected = np.ones(kernel_size)
    expected[tuple(k // 2 for k in kernel_size)] = 0
    np.testing.assert_allclose(squares, expected, atol=1e-12)


def test_in_space_their_last_axis_is_the_polar_one():
    x, y, z = tap_coordinates((5, 5, 5))
    radius = np.sqrt(x**2 + y**2 + z**2) + (x == y) * (y == z) * (z == 0)
    first = angular_functions((5, 5, 5), 1)
    np.testing.assert_allclose(first, [z / radius, x / radius, y / radius])


def test_on_a_line_they_are_the_sign():
    found = angular_functions((5,), 1)
    np.testing.assert_array_equal(found, [[-1, -1, 0, 1, 1]])
    assert harmonic_filters((5,), 1).shape == (1, 2, 5)


@pytest.mark.parametrize(
    "kernel_size", [(5,), (4, 4), (9, 9), (3, 5), (5, 5, 5), (4, 3, 5)], ids=str
)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_even_or_odd_along_every_axis_bit_for_bit(kernel_size, order):
    for function in angular_functions(kernel_size, order):
        for axis in range(len(kernel_size)):
            flipped = np.flip(function, axis)
            even = np.array_equal(flipped, function)
            assert even or np.array_equal(flipped, -function)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.floats(0.2, 4.0)),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 5),
)
def test_even_or_odd_with_voxels_of_any_shape(axes, order):
    """What lets ring sums add or subtract opposite taps first."""
    kernel_size, spacing = zip(*axes, strict=True)
    for function in angular_functions(kernel_size, order, spacing):
        for axis in range(len(kernel_size)):
            flipped = np.flip(function, axis)
            even = np.array_equal(flipped, function)
            assert even or np.array_equal(flipped, -function)


@pytest.mark.parametrize(
    ("rank", "order"), list(itertools.product((2, 3), (1, 2, 3, 4)))
)
def test_one_order_is_an_orthogonal_representation(rank, order):
    """Each symmetry of the grid mixes the functions by an orthogonal matrix."""
    functions = angular_functions((7,) * rank, order)
    flat = functions.reshape(len(functions), -1)
    count = 0
    for name, transform in grid_transforms(rank):
        moved = transform(functions[..., None]).reshape(flat.shape)
        mix = np.linalg.lstsq(flat.T, moved.T, rcond=None)[0].T
        np.testing.assert_allclose(mix @ flat, moved, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(
            mix @ mix.T, np.eye(len(mix)), atol=1e-9, err_msg=name
        )
        count += 1
    assert count == {2: 8, 3: 48}[rank]


# The number of rings of a hard default kernel that carry orders 1, 2, ...
CARRIED = {
    (3,): (1, 0, 0),
    (9,): (4, 0, 0),
    (3, 3): (1, 1, 1, 0, 0),  # 8 taps, 45 degrees apart
    (5, 5): (2, 2, 2, 1, 1, 0),  # 8 and 12
    (3, 3, 3): (1, 1, 0, 0),  # 18 taps, on each of which x, y or z is 0
    (5, 5, 5): (2, 2, 1, 1, 1, 0),
    (1, 5): (0, 0),  # cannot tell a direction from its mirror image
    (2, 2): (1, 0),  # 4 taps, on the diagonals, where the cosine of 2 is 0
    (1,): (0,),  # a centre alone
    (1, 1): (0,),
    (1, 1, 1): (0,),
}


@pytest.mark.parametrize("kernel_size", CARRIED, ids=str)
def test_rings_without_the_taps_for_an_order_are_left_out(kernel_size):
    for order, count in enumerate(CARRIED[kernel_size], start=1):
        if count:
            filters = harmonic_filters(kernel_size, order)
            assert filters.shape[1:] == (count, *kernel_size)
            assert np.abs(filters).sum(axis=tuple(range(2, filters.ndim))).all()
        else:
            with pytest.raises(ValueError, match=f"order {order} for kernel"):
                harmonic_filters(kernel_size, order)


@pytest.mark.parametrize(("order", "nearest"), [(3, 0.9), (4, 1.9), (5, 1.9)])
def test_high_orders_are_left_to_rings_of_many_taps(order, nearest):
    """Of the 8 and 12 taps of a 5x5 kernel only the 12 carry 4 and 5."""
    radius = np.hypot(*tap_coordinates((5, 5)))
    seen = harmonic_filters((5, 5), order).any(axis=(0, 1))
    np.testing.assert_array_equal(seen, (nearest < radius) & (radius < 2.5))
    assert seen.sum() == (20 if order == 3 else 12)


def test_eight_taps_cannot_tell_order_3_from_5():
    """Why a 3x3 ring has no order 5: it would be order 3 once more."""
    ring = ring_filters((3, 3))[1]
    third = (angular_functions((3, 3), 3) * ring).reshape(2, -1)
    fifth = (angular_functions((3, 3), 5) * ring).reshape(2, -1)
    assert np.linalg.matrix_rank(np.concatenate([third, fifth])) == 2


@pytest.mark.parametrize("profile", RING_PROFILES)
def test_filters_are_rings_times_functions(profile):
    filters = harmonic_filters((5, 5), 2, ring_profile=profile)
    rings = ring_filters((5, 5), ring_profile=profile)[1:]
    expected = angular_functions((5, 5), 2)[:, None] * rings
    np.testing.assert_array_equal(filters, expected)
    # No constant and no slope is left in what such a filter sees.
    x, y = tap_coordinates((5, 5))
    for pattern in (np.ones((5, 5)), x, y):
        assert np.abs((filters * pattern).sum(axis=(2, 3))).max() < 1e-12


def test_order_0_is_the_rings_themselves():
    np.testing.assert_array_equal(
        harmonic_filters((5, 5), 0)[0], ring_filters((5, 5))
    )


@pytest.mark.parametrize(
    ("kernel_size", "order", "advice"),
    [
        ((3, 3), 4, "Use orders out of 1, 2, 3, or a larger kernel"),
        ((5,), 2, "Use orders out of 1\\."),
        ((1, 1), 1, "Use a larger kernel, or harmonics=\\(\\)"),
        ((3, 3), 10**9, "1, 2, 3, or"),  # none of it is computed
        ((3, 3, 3), 10**9, "Use orders out of 1, 2"),
    ],
)
def test_error_says_which_orders_there_are(kernel_size, order, advice):
    with pytest.raises(ValueError, match=advice) as error:
        harmonic_filters(kernel_size, order)
    assert f"order {order} for kernel_size={kernel_size}" in str(error.value)
