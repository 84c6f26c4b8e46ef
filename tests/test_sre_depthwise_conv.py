"""Depthwise ring convolution: Keras' own with the expanded kernel."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import dense_conv
from helpers import equivariance_error
from helpers import gradients
from helpers import keras_padding
from helpers import to_numpy

from keras_sre import SREDepthwiseConv2D
from keras_sre.geometry import RING_PROFILES
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.ring_depthwise_conv import ring_depthwise_conv

CASES = {
    "k5-same": {"kernel_size": 5, "padding": "same"},
    "k3-valid-multiplier-2": {"kernel_size": 3, "depth_multiplier": 2},
    "k4-valid": {"kernel_size": 4},
    "k3-s2-same": {"kernel_size": 3, "strides": 2, "padding": "same"},
    "k3-s2-s1": {"kernel_size": 3, "strides": (2, 1), "padding": "same"},
    "k3-dilated": {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    "k3-k5": {"kernel_size": (3, 5), "padding": "same"},
}


@pytest.mark.parametrize("implementation", ["slices", "dense"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, implementation, rng):
    options = {"bias_initializer": "normal", **CASES[case]}
    layer = SREDepthwiseConv2D(**options, implementation=implementation)
    x = rng.normal(size=(2, 9, 8, 3)).astype("float32")
    y = layer(x)
    assert tuple(y.shape) == layer.compute_output_shape(x.shape)
    geometry = layer.strides, layer.dilation_rate
    widths = keras_padding(
        x.shape[1:-1], layer.kernel_size, *geometry, layer.padding
    )
    kernel = to_numpy(layer.kernel)
    # As an ordinary convolution of as many groups as channels.
    kernel = kernel.reshape(*layer.kernel_size, 1, -1)
    padded = np.pad(x, [(0, 0), *widths, (0, 0)])
    expected = dense_conv(padded, kernel, *geometry, groups=3)
    assert_close(y, expected + to_numpy(layer.bias))


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_both_implementations_agree(case, rng):
    options = dict(CASES[case])
    multiplier = options.pop("depth_multiplier", 1)
    layer = SREDepthwiseConv2D(**options)
    config = RingConvConfig(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
    )
    x = rng.normal(size=(2, 9, 8, 3)).astype("float32")
    weight = rng.normal(size=(layer.num_rings, 3, multiplier))
    weight = weight.astype("float32")

    def run(x, weight, implementation="dense"):
        return ring_depthwise_conv(
            x, weight, config, implementation=implementation
        )

    upstream = rng.normal(size=run(x, weight).shape).astype("float32")
    expected = gradients(run, x, weight, upstream=upstream)
    found = gradients(
        lambda x, w: run(x, w, "slices"), x, weight, upstream=upstream
    )
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("profile", RING_PROFILES)
def test_is_equivariant_and_keras_is_not(profile, rng):
    x = rng.normal(size=(2, 9, 9, 3)).astype("float32")
    layer = SREDepthwiseConv2D(5, padding="same", ring_profile=profile)
    assert_equivariant(layer, x, 2)
    plain = keras.layers.DepthwiseConv2D(5, padding="same")
    assert equivariance_error(plain, x, 2)[0] > 0.1


@pytest.mark.parametrize("implementation", ["slices", "auto"])
def test_keras_contract(implementation):
    options = {
        "kernel_size": 3,
        "depth_multiplier": 2,
        "implementation": implementation,
    }
    assert_layer_contract(SREDepthwiseConv2D, options, (2, 6, 5, 3), 2)


def test_keras_contract_with_everything():
    options = {
        "kernel_size": (3, 5),
        "strides": 2,
        "padding": "same",
        "activation": "tanh",
        "depthwise_regularizer": "l2",
        "depthwise_constraint": "non_neg",
        "depthwise_initializer": "he_normal",
        "ring_profile": "gaussian",
        "spacing": (1.5, 1.0),
    }
    assert_layer_contract(SREDepthwiseConv2D, options, (2, 6, 6, 3), 3)


def test_weights_are_what_the_documentation_says():
    layer = SREDepthwiseConv2D(5, depth_multiplier=2)
    layer.build((None, 8, 8, 3))
    assert layer.ring_kernel.shape == (3, 3, 2)
    kernel = to_numpy(layer.kernel)
    assert kernel.shape == (5, 5, 3, 2)
    np.testing.assert_array_equal(np.rot90(kernel), kernel)
    assert layer.bias.shape == (6,)


def test_unknown_sizes_and_channels_first(rng):
    x = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    for implementation in ("slices", "dense"):
        layer = SREDepthwiseConv2D(3, 2, "same", implementation=implementation)
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, layer(inputs))
        assert_close(model.predict(x, verbose=0), layer(x))
        first = SREDepthwiseConv2D(
            *(3, 2, "same"),
            data_format="channels_first",
            implementation=implementation,
        )
        first.build((2, 3, 7, 6))
        first.set_weights(layer.get_weights())
        y = np.moveaxis(to_numpy(first(np.moveaxis(x, -1, 1))), 1, -1)
        assert_close(y, layer(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4, "padding": "same"}, "half a cell"),
        ({"kernel_size": 3, "depth_multiplier": 0}, "depth_multiplier=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"kernel_size": 3, "num_rings": 3}, "num_rings=3.*no tap"),
        ({"kernel_size": 3, "strides": 2, "dilation_rate": 2}, "must be 1"),
    ],
    ids=str,
)
def test_bad_arguments_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        SREDepthwiseConv2D(**options)


def test_bad_input_gets_one_clear_error():
    with pytest.raises(ValueError, match="do not fit"):
        SREDepthwiseConv2D(5).build((None, 4, 8, 3))
    with pytest.raises(ValueError, match="Expected 4 axes"):
        SREDepthwiseConv2D(5).build((None, 8, 3))
