"""The GPU kernel of ring sums, run step by step, beside sums in NumPy."""

import math

import numpy as np
import pytest
from helpers import assert_close
from helpers import dense_conv
from helpers import names_its_backends
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_sre.harmonics import harmonic_filters
from keras_sre.ops import ring_sum_kernel

triton = pytest.importorskip("jax.experimental.pallas.triton")
if not hasattr(triton, "CompilerParams"):
    pytest.skip("JAX is too old for the kernel", allow_module_level=True)
pytestmark = names_its_backends


def expected_sums(x, filters, paddings):
    x = np.pad(x, [(0, 0), *paddings, (0, 0)])
    ones = (1,) * len(paddings)
    channels = x.shape[-1]
    sums = []
    for ring in filters:
        kernel = np.repeat(ring[..., None, None], channels, axis=-1)
        sums.append(dense_conv(x, kernel, ones, ones, groups=channels))
    return np.concatenate(sums, axis=-1)


def sums_by_kernel(x, filters, paddings):
    import jax.numpy as jnp

    sums = ring_sum_kernel.ring_sums_by_kernel(
        jnp.asarray(x), filters, paddings, otherwise=None, interpret=True
    )
    assert sums.dtype == x.dtype
    return np.asarray(sums, "float32")


@st.composite
def cases(draw):
    rank = draw(st.integers(2, 3))
    kernel_size = draw(
        st.sampled_from([(9, 9), (5, 5), (3, 5), (2, 4), (1, 3), (7, 1)])
        if rank == 2
        else st.sampled_from([(3, 3, 3), (5, 3, 3), (2, 3, 4)])
    )
    profile = draw(
        st.sampled_from(["hard", "area", "linear", "cosine", "gaussian"])
    )
    order = 0
    if min(kernel_size) > 2 and len(set(kernel_size)) == 1:
        order = draw(st.integers(0, 2))
    bank = harmonic_filters(kernel_size, order, None, True, profile, None)
    filters = bank[draw(st.integers(0, len(bank) - 1))]
    paddings = [
        (draw(st.integers(0, size)), draw(st.integers(0, size)))
        for size in kernel_size
    ]
    sizes = [
        max(draw(st.integers(1, 20 if axis == 0 else 9)), taps - sum(padding))
        for axis, (taps, padding) in enumerate(
            zip(kernel_size, paddings, strict=True)
        )
    ]
    channels = draw(st.sampled_from([1, 2, 3, 8, 70]))
    return (draw(st.integers(1, 3)), *sizes, channels), filters, paddings


@settings(max_examples=20)
@given(cases(), st.integers(0, 2**32 - 1))
def test_sums_equal_the_reference(case, seed):
    shape, filters, paddings = case
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    found = sums_by_kernel(x, filters, paddings)
    assert_close(found, expected_sums(x, filters, paddings))


@pytest.mark.parametrize("planes", [1, 3, 50])
def test_programs_share_the_planes(planes, rng, monkeypatch):
    monkeypatch.setattr(ring_sum_kernel, "PLANES", planes)
    x = rng.normal(size=(2, 13, 6, 4)).astype("float32")
    filters = harmonic_filters((5, 5), 0, None, True, "hard", None)[0]
    plan = ring_sum_kernel._Plan(x.shape, filters, [(2, 2), (2, 2)])
    assert plan.num_planes <= planes
    assert plan.grid[1] == math.ceil(13 / plan.num_planes)
    found = sums_by_kernel(x, filters, [(2, 2), (2, 2)])
    assert_close(found, expected_sums(x, filters, [(2, 2), (2, 2)]))


def test_many_programs_take_all_planes_each():
    filters = harmonic_filters((5, 5), 0, None, True, "hard", None)[0]
    plan = ring_sum_kernel._Plan((512, 32, 32, 64), filters, [(2, 2)] * 2)
    assert plan.grid == (2048, 1, 1)


@pytest.mark.parametrize(("size", "cells"), [(9, 8), (11, 8), (13, 4), (19, 2)])
def test_large_kernels_take_smaller_tiles(size, cells, rng):
    """So that the sums begun fit in registers."""
    filters = harmonic_filters((size,) * 2, 0, None, True, "hard", None)[0]
    paddings = [(size // 2, size // 2)] * 2
    plan = ring_sum_kernel._Plan((64, 32, 32, 64), filters, paddings)
    assert math.prod(plan.tile) == cells
    x = rng.normal(size=(1, 9, 7, 2)).astype("float32")
    found = sums_by_kernel(x, filters, paddings)
    assert_close(found, expected_sums(x, filters, paddings))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_once(dtype, rng):
    import ml_dtypes

    x = rng.normal(size=(2, 9, 9, 4)).astype(getattr(ml_dtypes, dtype, dtype))
    filters = harmonic_filters((9, 9), 0, None, True, "hard", None)[0]
    paddings = [(4, 4), (4, 4)]
    expected = expected_sums(x.astype("float32"), filters, paddings)
    found = sums_by_kernel(x, filters, paddings)
    assert_close(found, expected.astype(x.dtype).astype("float32"), 2**-8)
    assert np.mean(found == expected.astype(x.dtype)) > 0.98
