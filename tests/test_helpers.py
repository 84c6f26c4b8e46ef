"""The helpers judge: they have to be able to say no."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import dense_conv
from helpers import grid_transforms


def test_dense_conv_by_hand():
    x = np.arange(4.0).reshape(1, 4, 1)
    kernel = np.array([1.0, 10.0]).reshape(2, 1, 1)
    y = dense_conv(x, kernel, (1,), (1,))
    assert y.ravel().tolist() == [10.0, 21.0, 32.0]
    assert dense_conv(x, kernel, (2,), (1,)).ravel().tolist() == [10.0, 32.0]
    assert dense_conv(x, kernel, (1,), (3,)).ravel().tolist() == [30.0]


@pytest.mark.parametrize(("rank", "count"), [(1, 2), (2, 8), (3, 48)])
def test_all_symmetries_of_the_grid(rank, count, rng):
    x = rng.normal(size=(1, *(3,) * rank, 1))
    images = {t(x).tobytes() for _, t in grid_transforms(rank)}
    assert len(images) == count


def test_plain_convolution_is_not_equivariant(rng):
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    with pytest.raises(AssertionError, match="error .* under axes"):
        assert_equivariant(keras.layers.Conv2D(3, 3, padding="same"), x, 2)


def test_assert_close_refuses():
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(np.array([1.0, 2.0]), np.array([1.0, 2.001]))
    with pytest.raises(AssertionError):
        assert_close(np.ones(2), np.ones(3))
