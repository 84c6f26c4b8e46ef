"""Pooling that is centred at every size."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import gradients
from helpers import to_numpy

from keras_sre import SymmetricPooling1D
from keras_sre import SymmetricPooling2D
from keras_sre import SymmetricPooling3D


def pool_by_hand(x, stride, mode):
    """One axis, window by window, from the definition."""
    size = len(x)
    count = -(-size // stride)
    width = stride + (count * stride - size) % 2
    start = -((count - 1) * stride + width - size) / 2
    assert start == int(start)
    pooled = []
    for window in range(count):
        taps, weights = [], []
        for i in range(width):
            position = int(start) + window * stride + i
            if 0 <= position < size:
                end = width > stride and i in (0, width - 1)
                taps.append(x[position])
                weights.append(0.5 if end else 1.0)
        average = np.dot(taps, weights) / sum(weights)
        pooled.append(max(taps) if mode == "max" else average)
    return np.array(pooled)


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", range(1, 13))
def test_equals_the_definition_at_every_size(size, stride, mode, rng):
    layer = SymmetricPooling1D(stride, mode=mode)
    x = rng.normal(size=(1, size, 2)).astype("float32")
    y = to_numpy(layer(x))
    steps = int(np.ceil(size / stride))
    assert y.shape == layer.compute_output_shape(x.shape) == (1, steps, 2)
    for channel in range(2):
        expected = pool_by_hand(x[0, :, channel], stride, mode)
        assert_close(y[0, :, channel], expected)
    assert_close(layer(np.flip(x, 1)), np.flip(y, 1))


def test_even_sizes_are_the_mean_of_two(rng):
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    expected = x.reshape(2, 3, 2, 4, 2, 3).mean(axis=(2, 4))
    assert_close(SymmetricPooling2D()(x), expected)


@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        (SymmetricPooling1D, (2, 7, 3)),
        (SymmetricPooling2D, (2, 7, 6, 3)),
        (SymmetricPooling3D, (2, 5, 4, 3, 2)),
    ],
)
@pytest.mark.parametrize("mode", ["average", "max"])
def test_keras_contract(cls, shape, mode):
    options = {"pool_size": 2, "mode": mode}
    assert_layer_contract(cls, options, shape, num_weights=0)


def test_known_weights():
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0], "float32").reshape(1, 5, 1)
    y = to_numpy(SymmetricPooling1D()(x)).ravel()
    # [2, 1] / 3 at the border, [1, 2, 1] / 4 inside.
    assert_close(y, np.array([4 / 3, (2 + 8 + 8) / 4, 40 / 3]))


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("pool_size", [2, 3])
@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (5, 8)], ids=str)
def test_2d_commutes_with_the_grid(shape, pool_size, mode, rng):
    x = rng.normal(size=(2, *shape, 3)).astype("float32")
    assert_equivariant(SymmetricPooling2D(pool_size, mode=mode), x, 2)


@pytest.mark.parametrize("mode", ["average", "max"])
def test_3d_commutes_with_the_cube(mode, rng):
    x = rng.normal(size=(1, 5, 5, 5, 2)).astype("float32")
    assert_equivariant(SymmetricPooling3D(mode=mode), x, 3)


def test_ordinary_pooling_does_not():
    x = np.random.default_rng(0).normal(size=(1, 7, 7, 1)).astype("float32")
    with pytest.raises(AssertionError):
        assert_equivariant(keras.layers.AveragePooling2D(2), x, 2)


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("pool_size", [2, 3, 4])
def test_constant_maps_stay_constant(pool_size, mode):
    layer = SymmetricPooling2D(pool_size, mode=mode)
    y = to_numpy(layer(np.full((1, 7, 10, 2), -3.0, "float32")))
    assert_close(y, np.full(y.shape, -3.0))


@pytest.mark.parametrize("mode", ["average", "max"])
def test_gradients_are_symmetric_too(mode, rng):
    x = rng.normal(size=(1, 7, 1)).astype("float32")
    layer = SymmetricPooling1D(mode=mode)
    upstream = np.ones((1, 4, 1), "float32")
    (dx,) = gradients(layer, x, upstream=upstream)
    (mirrored,) = gradients(layer, x[:, ::-1].copy(), upstream=upstream)
    assert_close(mirrored, dx[:, ::-1])
    assert_close(dx.sum(), np.array(4.0))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("mode", ["average", "max"])
def test_unknown_sizes_give_the_same(size, mode, rng):
    x = rng.normal(size=(2, size, size, 1)).astype("float32")
    layer = SymmetricPooling2D(mode=mode)
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 1)
    assert_close(model.predict(x, verbose=0), layer(x))


@pytest.mark.parametrize("size", [6, 7])
def test_channels_first_gives_the_same(size, rng):
    x = rng.normal(size=(2, size, size, 3)).astype("float32")
    first = SymmetricPooling2D(data_format="channels_first")
    y = to_numpy(first(np.moveaxis(x, -1, 1)))
    assert y.shape == first.compute_output_shape((2, 3, size, size))
    assert_close(np.moveaxis(y, 1, -1), SymmetricPooling2D()(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("mode", ["average", "max"])
def test_half_precision(policy, mode):
    layer = SymmetricPooling2D(mode=mode, dtype=policy)
    y = layer(np.ones((1, 5, 5, 1), "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == policy[6:]
    assert np.all(to_numpy(keras.ops.cast(y, "float32")) == 1)


def test_config_round_trip():
    layer = SymmetricPooling2D((2, 3), mode="max", name="pool")
    again = SymmetricPooling2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.compute_output_shape((1, 5, 7, 2)) == (1, 3, 3, 2)


def test_shapes_of_another_rank_are_an_error():
    with pytest.raises(ValueError, match=r"shape \(2, 3\). Expected 4 axes"):
        SymmetricPooling2D().compute_output_shape((2, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_size": 0}, "pool_size=0"),
        ({"pool_size": (2, 2, 2)}, "pool_size=.*tuple of 2"),
        ({"mode": "median"}, "'median'.*'average', 'max'"),
        ({"data_format": "nhwc"}, "'nhwc'"),
    ],
    ids=str,
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SymmetricPooling2D(**options)


def test_max_keeps_what_is_lowest():
    layer = SymmetricPooling2D(mode="max")
    lowest = np.full((1, 3, 3, 1), -np.inf, "float32")
    assert np.all(to_numpy(layer(lowest)) == -np.inf)
    whole = np.arange(-9, 0).reshape(1, 3, 3, 1).astype("int32")
    pooled = SymmetricPooling2D(mode="max", dtype="int32")(whole)
    assert to_numpy(pooled).ravel().tolist() == [-5, -4, -2, -1]


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_means_of_integers_are_fractions(dtype):
    for size, expected in ((4, [0.5, 2.5]), (5, [1 / 3, 2, 11 / 3])):
        x = np.arange(size, dtype=dtype).reshape(1, size, 1)
        for layer in (SymmetricPooling1D(), SymmetricPooling1D(dtype="int32")):
            y = layer(x)
            assert keras.backend.standardize_dtype(y.dtype) == "float32"
            np.testing.assert_allclose(to_numpy(y).ravel(), expected, 1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="has no 64 bits by default"
)
def test_largest_of_large_integers():
    x = 2**40 + np.array([7, 1, 3, 5, 2])
    for size, expected in ((4, [7, 5]), (5, [7, 5, 5])):
        given = keras.ops.array(x[:size].reshape(1, size, 1), "int64")
        y = to_numpy(SymmetricPooling1D(2, mode="max")(given))
        np.testing.assert_array_equal(y.ravel() - 2**40, expected)


def test_largest_of_booleans():
    for row, expected in (([1, 0, 0, 0], [1, 0]), ([0, 0, 0, 0, 1], [0, 0, 1])):
        x = np.array(row, bool).reshape(1, -1, 1)
        y = SymmetricPooling1D(2, mode="max")(x)
        assert keras.backend.standardize_dtype(y.dtype) == "bool"
        assert to_numpy(y).ravel().tolist() == expected


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_largest_of_integers(dtype):
    for row, expected in (([7, 1, 3, 5], [7, 5]), ([7, 1, 3, 5, 2], [7, 5, 5])):
        x = np.array(row, dtype)
        for cls in (SymmetricPooling1D, SymmetricPooling2D, SymmetricPooling3D):
            shape = (1, x.size, *(1,) * cls.rank)
            y = cls((2, *(1,) * (cls.rank - 1)), mode="max")(x.reshape(shape))
            assert keras.backend.standardize_dtype(y.dtype) == dtype
            assert to_numpy(y).ravel().tolist() == expected


def test_an_empty_batch_stays_one_and_an_empty_map_is_an_error():
    for cls in (SymmetricPooling1D, SymmetricPooling2D, SymmetricPooling3D):
        for mode in ("average", "max"):
            sizes = (6, 5, 4)[: cls.rank]
            y = cls(mode=mode)(np.ones((0, *sizes, 1), "float32"))
            assert tuple(y.shape) == (0, *(3, 3, 2)[: cls.rank], 1)
            with pytest.raises(ValueError, match=r"size \(0,.*at least one"):
                cls(mode=mode)(np.ones((1, 0, *sizes[1:], 1), "float32"))


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="has no float64 by default"
)
@pytest.mark.parametrize("mode", ["average", "max"])
def test_volumes_in_float64(mode, rng):
    x = rng.normal(size=(1, 4, 6, 8, 2))
    layer = SymmetricPooling3D(mode=mode, dtype="float64")
    blocks = x.reshape(1, 2, 2, 3, 2, 4, 2, 2)
    expected = getattr(blocks, {"average": "mean"}.get(mode, mode))((2, 4, 6))
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)
