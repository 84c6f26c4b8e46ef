"""Initial weights: the variance of the dense layer they replace."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv3D
from keras_sre.geometry import RING_PROFILES
from keras_sre.initializers import DenseKernelVariance


@pytest.mark.parametrize("profile", RING_PROFILES)
@pytest.mark.parametrize("size", [3, 5, 9])
@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal"])
def test_output_variance_is_that_of_conv2d(size, profile, initializer, rng):
    x = rng.normal(size=(1, 40, 40, 64)).astype("float32")
    options = {"kernel_initializer": initializer, "padding": "valid"}
    ring = SREConv2D(256, size, ring_profile=profile, **options)
    dense = keras.layers.Conv2D(256, size, **options)
    ratio = to_numpy(ring(x)).var() / to_numpy(dense(x)).var()
    assert 0.95 < ratio < 1.05


@pytest.mark.parametrize("profile", RING_PROFILES)
@pytest.mark.parametrize(
    ("ring_class", "dense_class", "shape"),
    [
        (SREConv1D, keras.layers.Conv1D, (1, 800, 64)),
        (SREConv3D, keras.layers.Conv3D, (1, 14, 14, 14, 32)),
    ],
    ids=["1d", "3d"],
)
def test_output_variance_in_other_ranks(
    ring_class, dense_class, shape, profile, rng
):
    x = rng.normal(size=shape).astype("float32")
    ring = ring_class(256, 5, ring_profile=profile, implementation="dense")
    ratio = to_numpy(ring(x)).var() / to_numpy(dense_class(256, 5)(x)).var()
    assert 0.95 < ratio < 1.05


def test_fresh_layers_differ():
    weights = []
    for _ in range(2):
        layer = SREConv2D(4, 5)
        layer.build((None, 8, 8, 3))
        weights.append(to_numpy(layer.ring_kernel))
    assert not np.array_equal(*weights)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
def test_constants_stay_constant(value):
    layer = SREConv2D(
        2, 5, kernel_initializer=keras.initializers.Constant(value)
    )
    layer.build((None, 8, 8, 3))
    np.testing.assert_allclose(to_numpy(layer.ring_kernel), value, atol=1e-7)


def test_rings_are_drawn_independently():
    layer = SREConv2D(64, 5, ring_profile="linear")
    layer.build((None, 8, 8, 32))
    weights = to_numpy(layer.ring_kernel).reshape(3, -1)
    assert np.abs(np.corrcoef(weights) - np.eye(3)).max() < 0.1


def test_config_round_trip():
    bank = np.ones((1, 1, 3))
    seeded = keras.initializers.HeNormal(seed=1)
    initializer = DenseKernelVariance(seeded, bank, 8, 3)
    config = initializer.get_config()
    assert config["bank"] == bank.tolist()
    again = keras.initializers.deserialize(
        keras.initializers.serialize(initializer)
    )
    weights = to_numpy(again((1, 2, 4)))
    np.testing.assert_array_equal(weights, to_numpy(initializer((1, 2, 4))))
