"""Layers: Keras' contract, symmetry, and one clear error for bad input."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import dense_conv
from helpers import equivariance_error
from helpers import to_numpy

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv3D

RANKED = {
    "1d": (SREConv1D, {"filters": 4, "kernel_size": 5}, (2, 12, 3)),
    "2d": (SREConv2D, {"filters": 4, "kernel_size": 5}, (2, 9, 8, 3)),
    "3d": (SREConv3D, {"filters": 4, "kernel_size": 3}, (2, 5, 6, 7, 3)),
    "2d-all": (
        SREConv2D,
        {
            "filters": 4,
            "kernel_size": (3, 5),
            "strides": 2,
            "padding": "same",
            "groups": 2,
            "activation": "tanh",
            "kernel_regularizer": "l2",
            "bias_constraint": "non_neg",
            "ring_profile": "linear",
            "spacing": (1.5, 1.0),
            "implementation": "dense",
        },
        (2, 8, 9, 2),
    ),
}


@pytest.mark.parametrize("case", RANKED)
def test_keras_contract(case):
    cls, options, shape = RANKED[case]
    assert_layer_contract(cls, options, shape, num_weights=2)


@pytest.mark.parametrize("case", RANKED)
def test_weights_and_kernel_are_what_the_documentation_says(case):
    cls, options, shape = RANKED[case]
    layer = cls(**options)
    layer.build(shape)
    channels = shape[-1] // layer.groups
    assert [w.name for w in layer.trainable_weights] == ["ring_kernel", "bias"]
    assert layer.ring_kernel.shape == (layer.num_rings, channels, 4)
    kernel = to_numpy(layer.kernel)
    assert kernel.shape == (*layer.kernel_size, channels, 4)
    for axis in range(layer.rank):
        np.testing.assert_array_equal(np.flip(kernel, axis), kernel)
        if layer.kernel_size[axis] == layer.kernel_size[0]:
            swapped = np.swapaxes(kernel, 0, axis)
            np.testing.assert_array_equal(swapped, kernel)


def test_no_bias_is_one_weight_less():
    assert_layer_contract(
        SREConv2D, {**RANKED["2d"][1], "use_bias": False}, (2, 9, 8, 3), 1
    )


def test_layer_equals_the_reference(rng):
    layer = SREConv2D(
        4, 5, padding="same", bias_initializer="normal", activation="relu"
    )
    x = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    y = layer(x)
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    expected = dense_conv(padded, to_numpy(layer.kernel), (1, 1), (1, 1))
    assert_close(y, np.maximum(expected + to_numpy(layer.bias), 0))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_in_half_precision(policy, rng):
    layer = SREConv2D(4, 5, dtype=policy)
    model = keras.Sequential([keras.Input((8, 8, 2)), layer])
    model.compile("sgd", "mse")
    before = model.get_weights()
    x = rng.normal(size=(2, 8, 8, 2)).astype("float32")
    model.fit(x, np.ones((2, 4, 4, 4)), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all() and (new != old).any()


@pytest.mark.parametrize("options", [{}, {"harmonics": (1,)}], ids=str)
@pytest.mark.parametrize("profile", ["hard", "linear"])
@pytest.mark.parametrize("value", [1500.0, 20000.0])
def test_float16_holds_what_its_output_holds(value, profile, options, rng):
    """CT values: sums of 62 voxels are beyond 65504, weighted ones are not."""
    options |= {"ring_profile": profile, "padding": "same", "use_bias": False}
    layer = SREConv3D(4, 5, dtype="mixed_float16", **options)
    x = np.full((1, 5, 5, 5, 1), value)
    layer.build(x.shape)
    layer.set_weights([1e-3 * rng.normal(size=w.shape) for w in layer.weights])
    full = SREConv3D(4, 5, **options)
    full.build(x.shape)
    full.set_weights(layer.get_weights())
    assert np.abs(to_numpy(full(x))).max() < 65504
    assert_close(layer(x), full(x), 0.01)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the others compile in any case"
)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # Keras'
@pytest.mark.parametrize("profile", ["hard", "gaussian"])
def test_torch_compiles_what_is_around_ring_layers(profile):
    layer = SREConv2D(4, 3, ring_profile=profile, harmonics=(1,))
    model = keras.Sequential([keras.Input((6, 6, 2)), layer])
    model.compile("sgd", "mse", jit_compile=True)
    history = model.fit(np.ones((2, 6, 6, 2)), np.ones((2, 4, 4, 4)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_replaces_conv2d_in_a_sequential_model(rng):
    model = keras.Sequential([keras.Input((12, 12, 1))])
    model.add(SREConv2D(4, (3, 3), activation="relu"))
    model.add(SREConv2D(4, 3, 2, "same", name="second"))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse")
    x = rng.normal(size=(10, 12, 12, 1))
    history = model.fit(
        x, x.std(axis=(1, 2)), batch_size=4, epochs=3, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("eager", [True, False])
def test_trains_eagerly_and_compiled_alike(eager, rng):
    x = rng.normal(size=(4, 8, 8, 2)).astype("float32")
    model = keras.Sequential([keras.Input((8, 8, 2)), SREConv2D(3, 5)])
    model.compile("sgd", "mse", run_eagerly=eager)
    model.fit(x, np.ones((4, 4, 4, 3)), verbose=0)
    weights = model.get_weights()[0]
    keras.utils.set_random_seed(7)
    other = keras.Sequential([keras.Input((8, 8, 2)), SREConv2D(3, 5)])
    other.compile("sgd", "mse", jit_compile=True)
    other.fit(x, np.ones((4, 4, 4, 3)), verbose=0)
    assert_close(weights, other.get_weights()[0])


@pytest.mark.parametrize("implementation", ["slices", "dense", "depthwise"])
@pytest.mark.parametrize("strides", [1, 2])
def test_unknown_sizes_give_the_same(implementation, strides, rng):
    x = rng.normal(size=(3, 9, 10, 2)).astype("float32")
    layer = SREConv2D(
        3, 5, strides, "same", implementation=implementation, groups=1
    )
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 3)
    assert_close(model.predict(x, verbose=0), layer(x))
    model.compile("sgd", "mse")
    model.fit(x, np.zeros(layer(x).shape), verbose=0)


@pytest.mark.parametrize("case", ["1d", "3d"])
def test_unknown_sizes_in_other_ranks(case, rng):
    cls, options, shape = RANKED[case]
    x = rng.normal(size=shape).astype("float32")
    layer = cls(**options)
    inputs = keras.Input((*(None,) * layer.rank, shape[-1]))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, *(None,) * layer.rank, 4)
    assert_close(model.predict(x, verbose=0), layer(x))


@pytest.mark.parametrize("case", ["1d", "2d", "3d"])
def test_channels_first_gives_the_same(case, rng):
    cls, options, shape = RANKED[case]
    x = rng.normal(size=shape).astype("float32")
    last = cls(**options)
    y = to_numpy(last(x))
    first = cls(**options, data_format="channels_first")
    x = np.moveaxis(x, -1, 1)
    first.build(x.shape)
    first.set_weights(last.get_weights())
    found = to_numpy(first(x))
    assert found.shape == first.compute_output_shape(x.shape)
    assert_close(np.moveaxis(found, 1, -1), y)


@pytest.mark.parametrize("profile", ["hard", "area", "linear", "cosine"])
@pytest.mark.parametrize(
    ("cls", "size", "padding", "shape"),
    [
        (SREConv1D, 5, "same", (2, 11, 3)),
        (SREConv2D, 5, "same", (2, 9, 9, 3)),
        (SREConv2D, 9, "same", (1, 8, 8, 2)),
        (SREConv2D, 4, "valid", (2, 9, 9, 3)),
        (SREConv2D, (3, 5), "same", (2, 7, 7, 1)),
        (SREConv3D, 3, "same", (1, 5, 5, 5, 2)),
    ],
    ids=["1d", "2d-k5", "2d-k9", "2d-even", "2d-k3x5", "3d"],
)
def test_exactly_equivariant(cls, size, padding, shape, profile, rng):
    layer = cls(4, size, padding=padding, ring_profile=profile)
    x = rng.normal(size=shape).astype("float32")
    if not isinstance(size, tuple):
        assert_equivariant(layer, x, layer.rank)
        return
    y = to_numpy(layer(x))  # an oblong kernel knows flips, not turns
    for axis in range(1, layer.rank + 1):
        flipped = np.ascontiguousarray(np.flip(x, axis))
        assert_close(layer(flipped), np.flip(y, axis))


def test_full_square_kernels_are_equivariant_too(rng):
    layer = SREConv2D(4, 5, padding="same", circular=False)
    assert layer.num_rings == 4
    x = rng.normal(size=(2, 9, 9, 3)).astype("float32")
    assert_equivariant(layer, x, 2)
    corner = to_numpy(layer.kernel)[0, 0]
    assert (corner != 0).all()


@pytest.mark.parametrize(
    ("side", "padding", "exact"),
    [(28, "valid", False), (29, "valid", True)]
    + [(28, "same", False), (29, "same", True)],
)
@pytest.mark.parametrize("implementation", ["slices", "dense"])
def test_strides_are_exact_where_they_are_centred(
    side, padding, exact, implementation, rng
):
    layer = SREConv2D(2, 5, 2, padding, implementation=implementation)
    x = rng.normal(size=(1, side, side, 1)).astype("float32")
    error, _ = equivariance_error(layer, x, 2)
    assert error < 1e-5 if exact else error > 0.1


@pytest.mark.parametrize("side", [12, 13, 15, 28, 29])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_documented_rule_for_strides(size, stride, padding, side, rng):
    if padding == "valid":
        exact = (side - size) % stride == 0
    else:
        overhang = (-(-side // stride) - 1) * stride + size - side
        exact = overhang >= 0 and overhang % 2 == 0
    layer = SREConv2D(2, size, stride, padding, implementation="dense")
    x = rng.normal(size=(1, side, side, 1)).astype("float32")
    error, _ = equivariance_error(layer, x, 2)
    assert error < 1e-5 if exact else error > 0.1


def test_two_by_two_windows_are_exact_on_even_maps(rng):
    x = rng.normal(size=(1, 28, 28, 2)).astype("float32")
    assert_equivariant(SREConv2D(2, 2, 2, implementation="dense"), x, 2)


def test_causal_sees_the_past_only(rng):
    layer = SREConv1D(2, 4, padding="causal")
    x = rng.normal(size=(1, 10, 1)).astype("float32")
    y = to_numpy(layer(x))
    x[:, 6:] = 0
    np.testing.assert_allclose(to_numpy(layer(x))[:, :6], y[:, :6], atol=1e-6)


def test_new_weights_count_at_once(rng):
    # The official package keeps a stale kernel in evaluation mode.
    layer = SREConv2D(2, 3)
    x = rng.normal(size=(1, 6, 6, 1)).astype("float32")
    before = to_numpy(layer(x, training=False))
    layer.set_weights([2 * w for w in layer.get_weights()])
    assert_close(layer(x, training=False), 2 * before)


@pytest.mark.parametrize("implementation", ["slices", "dense"])
def test_new_weights_count_in_compiled_prediction(
    implementation, tmp_path, rng
):
    layer = SREConv2D(2, 3, implementation=implementation)
    model = keras.Sequential([keras.Input((6, 6, 1)), layer])
    x = rng.normal(size=(1, 6, 6, 1)).astype("float32")
    before = model.predict(x, verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    model.set_weights([2 * w for w in model.get_weights()])
    assert_close(model.predict(x, verbose=0), 2 * before)
    model.load_weights(tmp_path / "a.weights.h5")
    assert_close(model.predict(x, verbose=0), before)


def test_default_rings():
    assert SREConv2D(1, 9).num_rings == 5
    assert SREConv2D(1, 9, circular=False).num_rings == 6
    assert SREConv2D(1, 2).num_rings == 1  # a second ring would be empty


ERRORS = [
    ({"filters": 0}, "filters=0"),
    ({"filters": 2.0}, "filters=2.0"),
    ({"kernel_size": 0}, "kernel_size=0"),
    ({"kernel_size": (3, -1)}, "kernel_size=.*one per spatial axis"),
    ({"kernel_size": (3, 3, 3)}, "kernel_size=.*tuple of 2"),
    ({"kernel_size": "3"}, "kernel_size='3'"),
    ({"kernel_size": "a"}, "kernel_size='a'.*positive int"),
    ({"kernel_size": -1}, "kernel_size=-1"),
    ({"kernel_size": (3,)}, "kernel_size=.*tuple of 2"),
    ({"strides": 0}, "strides=0"),
    ({"dilation_rate": -1}, "dilation_rate=-1"),
    ({"strides": 2, "dilation_rate": 2}, "one of them must be 1"),
    ({"groups": 0}, "groups=0"),
    ({"groups": 3}, "filters=4 and groups=3"),
    ({"padding": "causal"}, "'causal'.*'valid', 'same'"),
    ({"padding": "reflect"}, "'reflect'"),
    ({"data_format": "NHWC"}, "'NHWC'"),
    ({"kernel_size": 4, "padding": "same"}, "half a cell.*odd sizes"),
    ({"num_rings": 0}, "num_rings=0"),
    ({"num_rings": 3}, "num_rings=3.*no tap.*Use 1 or 2"),
    ({"ring_profile": "round"}, "'round'.*'hard', 'area', 'linear', 'cosine'"),
    ({"implementation": "fft"}, "'fft'.*'auto'"),
    ({"spacing": (1.0,)}, "spacing=.*tuple of 2"),
    ({"spacing": (1.0, 0.0)}, "spacing="),
    ({"spacing": 2.0}, "spacing=2.0"),
    ({"harmonics": None}, "harmonics=None.*distinct positive"),
    ({"harmonics": (0,)}, "harmonics=\\(0,\\)"),
    ({"harmonics": (1, 1)}, "harmonics=\\(1, 1\\).*distinct"),
    ({"harmonics": (1.5,)}, "harmonics=\\(1.5,\\)"),
    ({"harmonics": "a"}, "harmonics='a'"),
    ({"harmonics": (4,)}, "order 4 .*Use orders out of 1, 2, 3"),
    ({"harmonics": (1,), "kernel_size": 1}, "order 1 .*larger kernel"),
    ({"harmonics": (1,), "kernel_size": (1, 5)}, "order 1 .*\\(1, 5\\)"),
    ({"harmonics": (1, 2, 3)}, "4 filters .*leaves none"),
    ({"harmonics": (1, 2), "filters": 1}, "1 filters .*leaves none"),
    ({"harmonics": (1, 2), "groups": 2}, "2 filters \\(per group\\)"),
    ({"harmonics": True}, "harmonics=True"),
    ({"harmonic_fraction": 5}, "harmonic_fraction=5"),
    ({"spacing": "12"}, "spacing='12'"),
    ({"spacing": (1e-320, 1e-320)}, "spacing=.*between 1e-30 and 1e30"),
    ({"padding": np.array(["same"])}, "padding=array.*Expected one of 'valid'"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS, ids=str)
def test_bad_arguments_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message) as error:
        SREConv2D(**{"filters": 4, "kernel_size": 3, **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 8, 8), "ndim=4|4 axes"),
        ((2, 8, 8, 8, 4), "ndim=4|4 axes"),
        ((2, 8, 8, 3), "groups=2.*divisible"),
        ((2, 8, 8, 0), "at least 1"),
        ((2, 2, 8, 4), "do not fit"),
    ],
    ids=str,
)
def test_bad_inputs_get_one_clear_error(shape, message):
    with pytest.raises(ValueError, match=message):
        SREConv2D(4, 3, groups=2)(np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SREConv1D, {"kernel_size": (3, 3)}, "tuple of one"),
        (SREConv1D, {"kernel_size": 4, "padding": "same"}, "half a cell"),
        (SREConv1D, {"kernel_size": 5, "harmonics": (2,)}, "out of 1\\."),
        (SREConv3D, {"kernel_size": 3, "harmonics": (3,)}, "out of 1, 2"),
        (SREConv3D, {"kernel_size": (3, 3)}, "tuple of 3"),
        (SREConv3D, {"kernel_size": 3, "padding": "causal"}, "'causal'"),
        (SREConv3D, {"kernel_size": 3, "num_rings": 3}, "Use 1 or 2"),
        (SREConv3D, {"kernel_size": 3, "spacing": (1, 1)}, "tuple of 3"),
    ],
    ids=str,
)
def test_other_ranks_check_their_arguments(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(4, **options)


def test_channels_cannot_change_once_built(rng):
    layer = SREConv2D(4, 3)
    layer.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="axis -1.*value 3"):
        layer(np.zeros((1, 8, 8, 2), "float32"))


def test_kernel_before_build_says_what_to_do():
    with pytest.raises(AttributeError, match="Build it first|has no attribute"):
        _ = SREConv2D(4, 3).kernel


@pytest.mark.parametrize("profile", ["area", "linear", "cosine"])
def test_a_single_tap_has_a_single_default_ring(profile):
    layer = SREConv2D(3, 1, circular=False, ring_profile=profile)
    assert layer(np.ones((1, 4, 4, 2), "float32")).shape == (1, 4, 4, 3)
    config = layer.get_config()
    assert SREConv2D.from_config(config).get_config() == config
