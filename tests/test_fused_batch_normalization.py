"""Batch normalisation that gives what Keras' own layer gives."""

import functools

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import gradients
from helpers import to_numpy

from keras_sre.layers import FusedBatchNormalization

# Rounding of float16 is 2**-11, of bfloat16 2**-8, a few times over.
TOLERANCES = {"float32": 1e-5, "mixed_float16": 4e-3, "mixed_bfloat16": 0.03}
if keras.backend.backend() != "jax":  # which knows none unless told to
    TOLERANCES["float64"] = 1e-5


def _layers(shape, rng, **options):
    """Returns Keras' layer and ours, with the same random weights."""
    layers = [
        cls(epsilon=1e-5, momentum=0.9, **options)
        for cls in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    for layer in layers:
        layer.build(shape)
    weights = [rng.uniform(0.5, 1.5, w.shape) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((7, 3), -1),
        ((4, 6, 3), -1),
        ((4, 5, 6, 3), -1),
        ((4, 5, 6, 3), 3),
        ((4, 3, 6, 5), 1),
        ((4, 3, 5, 6, 2), -1),
        ((4, 2, 5, 6, 3), 1),
    ],
)
def test_equals_keras(shape, axis, policy, training, rng):
    x = rng.normal(3.0, 2.0, size=shape).astype("float32")
    tolerance = TOLERANCES[policy]
    keras_layer, layer = _layers(shape, rng, axis=axis, dtype=policy)
    expected = keras_layer(x, training=training)
    found = layer(x, training=training)
    assert found.dtype == expected.dtype
    expected, found = (to_numpy(y).astype(float) for y in (expected, found))
    assert_close(found, expected, tolerance)
    for new, old in zip(
        layer.get_weights(), keras_layer.get_weights(), strict=True
    ):
        assert_close(new, old, tolerance)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (2, 3, 4, 5, 3)])
def test_gradients_equal_keras(shape, rng):
    x = rng.normal(3.0, 2.0, size=shape).astype("float32")
    upstream = rng.normal(size=shape).astype("float32")
    for training in (True, False):
        expected, found = (
            gradients(
                functools.partial(layer, training=training),
                x,
                upstream=upstream,
            )
            for layer in _layers(shape, rng)
        )
        # In training what is left is a small difference of large numbers.
        assert_close(found[0], expected[0], 1e-4)


def test_a_frozen_layer_infers(rng):
    x = rng.normal(3.0, 2.0, size=(4, 5, 6, 3)).astype("float32")
    keras_layer, layer = _layers(x.shape, rng)
    before = layer.get_weights()
    layer.trainable = False
    assert_close(layer(x, training=True), keras_layer(x, training=False))
    for new, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}])
def test_unscaled_is_that_of_keras(options, training, rng):
    x = rng.normal(3.0, 2.0, size=(4, 5, 6, 3)).astype("float32")
    keras_layer, layer = _layers(x.shape, rng, **options)
    assert_close(layer(x, training=training), keras_layer(x, training=training))


def test_masked_statistics_are_those_of_keras(rng):
    x = rng.normal(3.0, 2.0, size=(4, 6, 3)).astype("float32")
    mask = rng.uniform(size=(4, 6)) > 0.5
    keras_layer, layer = _layers(x.shape, rng)
    assert_close(
        layer(x, training=True, mask=mask),
        keras_layer(x, training=True, mask=mask),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_integers_are_normalised_as_by_keras(dtype, policy, training, rng):
    x = rng.integers(0, 2 if dtype == "bool" else 256, (4, 5, 6, 3))
    keras_layer, layer = _layers(x.shape, rng, dtype=policy)
    expected, found = (
        each(x.astype(dtype), training=training)
        for each in (keras_layer, layer)
    )
    assert found.dtype == expected.dtype
    assert_close(found, expected)


def test_keeps_unknown_sizes():
    inputs = keras.Input((None, 5, None, 2))
    outputs = FusedBatchNormalization()(inputs)
    assert outputs.shape == inputs.shape
