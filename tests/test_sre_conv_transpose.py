"""Transposed ring convolutions: Keras' own with the expanded kernel."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import gradients
from helpers import to_numpy
from keras import ops

from keras_sre import SREConv1DTranspose
from keras_sre import SREConv2DTranspose
from keras_sre import SREConv3DTranspose
from keras_sre.geometry import RING_PROFILES
from keras_sre.ops import backend
from keras_sre.ops import tiling
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.ring_conv_transpose import ring_conv_transpose

IMPLEMENTATIONS = ("slices", "dense", "depthwise")
PLAIN = {
    1: keras.layers.Conv1DTranspose,
    2: keras.layers.Conv2DTranspose,
    3: keras.layers.Conv3DTranspose,
}
RINGS = {1: SREConv1DTranspose, 2: SREConv2DTranspose, 3: SREConv3DTranspose}
SHAPES = {1: (2, 5, 3), 2: (2, 5, 4, 3), 3: (2, 3, 4, 2, 3)}
CASES = {
    "k4-s2-same": {"kernel_size": 4, "strides": 2, "padding": "same"},
    "k3-s1-same": {"kernel_size": 3, "padding": "same"},
    "k5-s3-same": {"kernel_size": 5, "strides": 3, "padding": "same"},
    "k1-s3-same": {"kernel_size": 1, "strides": 3, "padding": "same"},
    "k3-s2-same-output-padding-0": {
        "kernel_size": 3,
        "strides": 2,
        "padding": "same",
        "output_padding": 0,
    },
    "k2-s2-valid": {"kernel_size": 2, "strides": 2},
    "k5-s2-valid": {"kernel_size": 5, "strides": 2},
    "k3-s1-valid": {"kernel_size": 3},
}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("rank", RINGS)
@pytest.mark.parametrize("case", CASES)
def test_equals_keras(case, rank, implementation, rng):
    options = {"filters": 4, "bias_initializer": "normal", **CASES[case]}
    layer = RINGS[rank](**options, implementation=implementation)
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    y = layer(x)
    assert tuple(y.shape) == layer.compute_output_shape(x.shape)
    plain = PLAIN[rank](**options)
    plain.build(x.shape)
    plain.set_weights([to_numpy(layer.kernel), to_numpy(layer.bias)])
    expected = to_numpy(plain(x))
    if case == "k1-s3-same":  # Keras puts the cell first, not in the middle
        shifts, axes = (1,) * rank, tuple(range(1, rank + 1))
        bias = to_numpy(layer.bias)
        expected = np.roll(expected - bias, shifts, axes) + bias
    assert_close(y, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dilation_spreads_the_taps(implementation, rng):
    options = {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}
    layer = SREConv2DTranspose(2, **options, implementation=implementation)
    x = np.zeros((1, 7, 7, 1), "float32")
    x[0, 3, 3] = 1
    kernel = to_numpy(layer(x))[0, 1:6, 1:6]
    np.testing.assert_allclose(
        kernel[::2, ::2], to_numpy(layer.kernel)[..., 0], atol=1e-6
    )
    assert not kernel[1::2].any() and not kernel[:, 1::2].any()


@pytest.mark.parametrize(
    ("case", "rank", "profile"),
    [  # every profile in every rank, twice
        (case, rank, RING_PROFILES[(number + rank) % len(RING_PROFILES)])
        for number, case in enumerate(CASES)
        for rank in RINGS
    ],
)
def test_is_equivariant(case, rank, profile, rng):
    layer = RINGS[rank](3, **CASES[case], ring_profile=profile)
    shape = (2, *(5, 5, 5)[:rank], 2)
    x = rng.normal(size=shape).astype("float32")
    assert_equivariant(layer, x, rank)


def test_keras_is_not_equivariant(rng):
    x = rng.normal(size=(2, 5, 5, 2)).astype("float32")
    layer = keras.layers.Conv2DTranspose(3, 4, 2, "same")
    with pytest.raises(AssertionError, match="error"):
        assert_equivariant(layer, x, 2)


@pytest.mark.parametrize("rank", RINGS)
def test_keras_contract(rank):
    options = {"filters": 4, "kernel_size": 4, "strides": 2}
    assert_layer_contract(RINGS[rank], options, SHAPES[rank], 2)


def test_keras_contract_with_everything():
    options = {
        "filters": 4,
        "kernel_size": (3, 4),
        "strides": (1, 2),
        "padding": "same",
        "activation": "tanh",
        "kernel_regularizer": "l2",
        "bias_constraint": "non_neg",
        "ring_profile": "gaussian",
        "spacing": (1.5, 1.0),
        "implementation": "slices",
    }
    assert_layer_contract(SREConv2DTranspose, options, (2, 5, 4, 3), 3)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("rank", RINGS)
def test_gradients_of_all_implementations_agree(rank, strides, rng):
    size = 2 + strides
    config = RingConvConfig(
        (size,) * rank,
        strides=(strides,) * rank,
        dilation_rate=(1,) * rank,
    )
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    weight = rng.normal(size=(len(config.rings), 4, 3)).astype("float32")

    def run(x, weight, implementation="dense"):
        return ring_conv_transpose(
            x, weight, config, (1,) * rank, implementation=implementation
        )

    upstream = rng.normal(size=run(x, weight).shape).astype("float32")
    expected = gradients(run, x, weight, upstream=upstream)
    for implementation in ("slices", "depthwise"):
        found = gradients(
            lambda x, w, i=implementation: run(x, w, i),
            *(x, weight),
            upstream=upstream,
        )
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)


def test_gradient_equals_numerical_differences(rng):
    config = RingConvConfig((4,), strides=(2,))
    x = rng.normal(size=(1, 4, 2))
    weight = rng.normal(size=(len(config.rings), 3, 2))
    upstream = rng.normal(size=(1, 8, 3))

    def run(x, weight):
        x, weight = (ops.convert_to_tensor(a, "float32") for a in (x, weight))
        return ring_conv_transpose(x, weight, config, (1,))

    arguments = [a.astype("float32") for a in (x, weight)]
    found = gradients(run, *arguments, upstream=upstream.astype("float32"))
    for which, gradient in enumerate(found):
        direction = rng.normal(size=gradient.shape)
        moved = []
        for step in (0.5, -0.5):  # linear in each argument
            changed = [x, weight]
            changed[which] = changed[which] + step * direction
            moved.append((to_numpy(run(*changed)) * upstream).sum())
        assert_close((gradient * direction).sum(), moved[0] - moved[1], 1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_unknown_sizes_and_channels_first(implementation, rng):
    x = rng.normal(size=(2, 5, 4, 3)).astype("float32")
    options = {"strides": 2, "implementation": implementation}
    layer = SREConv2DTranspose(4, 4, **options)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 4)
    assert_close(model.predict(x, verbose=0), layer(x))
    first = SREConv2DTranspose(4, 4, data_format="channels_first", **options)
    first.build((2, 3, 5, 4))
    first.set_weights(layer.get_weights())
    assert_close(
        np.moveaxis(to_numpy(first(np.moveaxis(x, -1, 1))), 1, -1), layer(x)
    )


def test_initial_variance_is_that_of_keras(rng):
    x = rng.normal(size=(1, 20, 20, 128)).astype("float32")
    options = {"filters": 128, "kernel_size": 4, "strides": 2}
    ring = SREConv2DTranspose(**options, ring_profile="linear")
    plain = keras.layers.Conv2DTranspose(**options)
    ratio = to_numpy(ring(x)).var() / to_numpy(plain(x)).var()
    assert 0.95 < ratio < 1.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kernel_size": 3, "strides": 2, "padding": "same"},
            "kernel_size=\\(3, 3\\).*strides=\\(2, 2\\).*centred",
        ),
        ({"kernel_size": 1, "strides": 2}, "at least as large as the strides"),
        ({"kernel_size": 3, "output_padding": 1}, "output_padding=1.*one end"),
        ({"kernel_size": 3, "output_padding": (0, 0, 0)}, "output_padding="),
        ({"kernel_size": 3, "filters": 0}, "filters=0"),
        ({"kernel_size": 3, "padding": "causal"}, "'causal'"),
        ({"kernel_size": 3, "strides": 2, "dilation_rate": 2}, "must be 1"),
        ({"kernel_size": 3, "num_rings": 3}, "num_rings=3.*no tap"),
    ],
    ids=str,
)
def test_bad_arguments_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        SREConv2DTranspose(**{"filters": 4, **options})


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("size", "options"),
    [(0, {}), (1, {"padding": "same", "output_padding": 0})],
    ids=["of-nothing", "to-nothing"],
)
def test_empty_maps_get_one_clear_error(size, options, implementation):
    """Also where a layer is built for any size."""
    layer = SREConv2DTranspose(
        2, 4, 2, implementation=implementation, **options
    )
    shape, message = (1, 7, size, 2), rf"\(7, {size}\).*at least one"
    with pytest.raises(ValueError, match=message):
        layer.build(shape)
    layer.build((None, None, None, 2))
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape, "float32"))


@pytest.mark.parametrize("strides", [1, 2])
def test_tiles_change_nothing(strides, monkeypatch, rng):
    """Large maps are worked on a few images at a time, remainders too."""
    config = RingConvConfig(
        (4, 4), strides=(strides,) * 2, dilation_rate=(1, 1)
    )
    x = rng.normal(size=(7, 5, 4, 3)).astype("float32")
    weight = rng.normal(size=(len(config.rings), 2, 3)).astype("float32")

    def run(x, weight):
        return ring_conv_transpose(
            x, weight, config, (1, 1), implementation="slices"
        )

    upstream = rng.normal(size=run(x, weight).shape).astype("float32")

    def all_of_it():
        backend._program.cache_clear()
        found = gradients(run, x, weight, upstream=upstream)
        return to_numpy(run(x, weight)), *found

    whole = all_of_it()
    monkeypatch.setattr(tiling, "WHOLE_BYTES", 0)
    monkeypatch.setattr(tiling, "TILE_BYTES", 0)
    tiled = all_of_it()
    backend._program.cache_clear()
    for found, expected in zip(tiled, whole, strict=True):
        assert_close(found, expected)
