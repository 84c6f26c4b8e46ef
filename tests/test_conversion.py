"""Any CNN, made of rings: exact, of the same shapes, near to what it was."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import equivariance_error
from helpers import to_numpy
from keras import layers

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv2DTranspose
from keras_sre import SREConv3D
from keras_sre import SREDepthwiseConv2D
from keras_sre import SymmetricPooling2D
from keras_sre import convert
from keras_sre.centring import is_centred
from keras_sre.geometry import RING_PROFILES
from keras_sre.geometry import ring_index

BACKBONES = (
    "ResNet50",
    "MobileNetV2",
    "EfficientNetB0",
    "ConvNeXtTiny",
    "VGG16",
    "DenseNet121",
)


def small_cnn(rank=2, size=9, **options):
    kinds = {
        1: (layers.Conv1D, layers.MaxPooling1D, layers.GlobalMaxPooling1D),
        2: (layers.Conv2D, layers.MaxPooling2D, layers.GlobalMaxPooling2D),
        3: (layers.Conv3D, layers.MaxPooling3D, layers.GlobalMaxPooling3D),
    }
    convolution, pooling, global_pooling = kinds[rank]
    inputs = keras.Input((size,) * rank + (2,))
    x = convolution(4, 3, padding="same", name="first", **options)(inputs)
    x = pooling(2, name="pooling")(x)
    x = convolution(4, 3, 2, "same", name="second", **options)(x)
    x = global_pooling()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def noise(rng, *shape):
    return rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_become_exact(name, rng):
    application = getattr(keras.applications, name)
    model = application(
        weights=None, input_shape=(64, 64, 3), include_top=False, pooling="avg"
    )
    converted = convert(model)
    x = 100 + 50 * noise(rng, 1, 64, 64, 3)
    assert_equivariant(converted, x, 2, invariant=True)
    assert equivariance_error(model, x, 2, invariant=True)[0] > 0.01
    assert converted.output_shape == model.output_shape
    new = {layer.name: layer for layer in converted.layers}
    old = {layer.name: layer for layer in model.layers}
    assert old.keys() <= new.keys()
    assert not any(row.reason for row in converted.conversion_report.layers)
    copied = 0
    for name, layer in old.items():
        nested = isinstance(layer, keras.Model)
        if type(layer) is type(new[name]) and not nested:
            for one, other in zip(
                layer.get_weights(), new[name].get_weights(), strict=True
            ):
                np.testing.assert_array_equal(one, other)
                copied += 1
    assert copied or application is keras.applications.VGG16


def test_a_converted_backbone_trains_saves_and_loads(rng, tmp_path):
    backbone = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), alpha=0.35, include_top=False
    )
    # Up to the first block with a residual: each block compiles for seconds.
    x = backbone.get_layer("block_2_add").output
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(2, activation="softmax")(x)
    converted = convert(keras.Model(backbone.input, x))
    x, y = noise(rng, 4, 32, 32, 3), np.array([0, 1, 0, 1])
    converted.compile("adam", "sparse_categorical_crossentropy")
    history = converted.fit(x, y, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    path = tmp_path / "model.keras"
    converted.save(path)
    again = keras.models.load_model(path)
    assert_close(again(x), converted(x))
    assert_equivariant(again, x[:1], 2, invariant=True)


def test_functions_need_not_be_registered(rng):
    """A kernel of ones is of rings already: the outputs have to be equal."""

    def curve(x):
        return keras.ops.tanh(2 * x)

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 7, 2)),
            layers.Conv2D(3, 3, activation=curve, kernel_initializer="ones"),
            layers.SeparableConv2D(
                *(4, 3),
                activation=lambda x: x**2,
                depthwise_initializer="ones",
            ),
            layers.Activation(curve),
            layers.Lambda(lambda x: x + 1),
            layers.Dense(2, activation=lambda x: -x),
        ]
    )
    converted = convert(model)
    assert type(converted.layers[0]) is SREConv2D
    x = noise(rng, 2, 6, 7, 2)
    assert_close(converted(x), model(x))


@pytest.mark.parametrize("size", [8, 9, 10, 11])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_is_exact_in_every_rank_at_every_size(rank, size, rng):
    converted = convert(small_cnn(rank, size))
    x = noise(rng, 2, *(size,) * rank, 2)
    assert_equivariant(converted, x, rank, invariant=True)


def test_layers_keep_their_names_and_the_old_model_its_weights():
    model = small_cnn(activation="relu", kernel_regularizer="l2")
    before = model.get_weights()
    converted = convert(model)
    names = [layer.name for layer in converted.layers]
    assert names[1:] == [
        *("first", "pooling", "pooling_pool", "second", "second_pool"),
        *(model.layers[-2].name, "head"),
    ]
    first = converted.get_layer("first")
    assert type(first) is SREConv2D
    assert first.activation is keras.activations.relu
    assert type(first.kernel_regularizer) is keras.regularizers.L2
    np.testing.assert_array_equal(
        converted.get_layer("head").get_weights()[0], before[-2]
    )
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert type(model.get_layer("first")) is layers.Conv2D


def test_projection_takes_the_mean_over_each_ring(rng):
    """The nearest ring kernel by hand: hard rings do not overlap."""
    model = keras.Sequential(
        [keras.Input((9, 9, 2)), layers.Conv2D(3, 5, name="conv")]
    )
    kernel, bias = noise(rng, 5, 5, 2, 3), noise(rng, 3)
    model.set_weights([kernel, bias])
    converted = convert(model)
    layer, index = converted.get_layer("conv"), ring_index((5, 5))
    for ring in range(3):
        expected = kernel[index == ring].mean(axis=0)
        assert_close(layer.ring_kernel[ring], expected)
    np.testing.assert_array_equal(to_numpy(layer.bias), bias)
    lost = kernel - to_numpy(layer.kernel)
    error = converted.conversion_report.projection_errors["conv"]
    assert error == pytest.approx(
        np.linalg.norm(lost) / np.linalg.norm(kernel), rel=1e-5
    )


CASES = {
    "conv": (
        layers.Conv2D(4, 5, padding="same", groups=2),
        SREConv2D(4, 5, padding="same", groups=2),
    ),
    "valid": (layers.Conv2D(4, 3), SREConv2D(4, 3)),
    "even": (layers.Conv2D(4, 4, 4), SREConv2D(4, 4, 4)),
    "depthwise": (
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        SREDepthwiseConv2D(3, depth_multiplier=2),
    ),
    "transposed": (
        layers.Conv2DTranspose(4, 4, 2, "same"),
        SREConv2DTranspose(4, 4, 2, "same"),
    ),
    "transposed-3-2": (
        layers.Conv2DTranspose(4, 3, 2),
        SREConv2DTranspose(4, 3, 2),
    ),
    "channels-first": (
        layers.Conv2D(4, 3, data_format="channels_first"),
        SREConv2D(4, 3, data_format="channels_first"),
    ),
}


@pytest.mark.parametrize(
    ("case", "profile"),
    [(c, p) for c in ("conv", "depthwise", "transposed") for p in RING_PROFILES]
    + [("valid", "linear"), ("even", "area"), ("channels-first", "linear")]
    + [("transposed-3-2", "hard"), ("transposed-3-2", "gaussian")],
)
def test_what_is_made_of_rings_stays_what_it_is(case, profile, rng):
    """An ordinary layer with a kernel of rings loses nothing."""
    plain, rings = CASES[case]
    plain = plain.from_config(plain.get_config())
    rings = rings.from_config(
        {**rings.get_config(), "ring_profile": profile, "num_rings": None}
    )
    shape = (2, 4, 8, 8) if case == "channels-first" else (2, 8, 8, 4)
    rings.build(shape)
    plain.build(shape)
    plain.set_weights([to_numpy(rings.kernel), noise(rng, *rings.bias.shape)])
    model = keras.Sequential([keras.Input(shape[1:]), plain])
    converted = convert(model, ring_profile=profile)
    (layer,) = converted.layers
    assert type(layer) is type(rings)
    assert_close(layer.kernel, rings.kernel)
    assert_close(layer.bias, plain.bias)
    errors = converted.conversion_report.projection_errors
    assert errors[plain.name] < 1e-5
    if case != "channels-first":  # TensorFlow has no such kernel on some CPUs
        x = noise(rng, *shape)
        assert_close(converted(x), model(x))


def test_depthwise_and_separable_in_1d(rng):
    """A symmetric kernel comes through both."""
    model = keras.Sequential(
        [
            keras.Input((9, 2)),
            layers.DepthwiseConv1D(3, depth_multiplier=2, name="depthwise"),
            layers.SeparableConv1D(3, 3, depth_multiplier=2, name="separable"),
        ]
    )
    for layer in model.layers:
        kernel, *rest = layer.get_weights()
        layer.set_weights([(kernel + kernel[::-1]) / 2, *rest])
    converted = convert(model)
    assert [type(layer) for layer in converted.layers] == [
        *(SREConv1D, SREConv1D, layers.Conv1D),
    ]
    x = noise(rng, 2, 9, 2)
    assert_close(converted(x), model(x))


def test_separable_in_2d(rng):
    model = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.SeparableConv2D(
                *(3, 3),
                strides=2,
                padding="same",
                activation="relu",
                depth_multiplier=2,
                name="separable",
            ),
        ]
    )
    depthwise, *rest = model.get_weights()
    depthwise = (depthwise + np.rot90(depthwise, 2)) / 2
    model.set_weights([(depthwise + np.rot90(depthwise)) / 2, *rest])
    converted = convert(model)
    names = [layer.name for layer in converted.layers]
    assert names == ["separable", "separable_pointwise"]  # 9 is centred
    x = noise(rng, 2, 9, 9, 2)
    assert_equivariant(converted, x, 2)
    assert converted.output_shape == model.output_shape
    # Corner, edge and centre: three values of which circular rings know two.
    three = convert(model, num_rings=2)
    assert three.get_layer("separable").num_rings == 2


def test_nested_shared_and_several_inputs_and_outputs(rng):
    block = keras.Sequential(
        [
            keras.Input((None, None, 2)),
            layers.Conv2D(2, 3, padding="same", name="inner"),
        ],
        name="block",
    )
    shared = layers.Conv2D(2, 3, padding="same", name="shared")
    one, two = keras.Input((8, 8, 2), name="one"), keras.Input((8, 8, 2))
    x = layers.Add()([block(shared(one)), shared(two)])
    pooled = layers.AveragePooling2D(2, name="even")(x)
    strided = layers.Conv2D(3, 3, 2, "same", name="strided")(block(x))
    model = keras.Model([one, two], {"map": strided, "pooled": pooled})
    converted = convert(model)
    assert [t.shape for t in converted.inputs] == [
        t.shape for t in model.inputs
    ]
    assert converted.output_shape == model.output_shape
    inner = converted.get_layer("block").get_layer("inner")
    assert type(inner) is SREConv2D
    # Each once: shared layers stay shared.
    count = len(converted.trainable_weights)
    assert count == len(model.trainable_weights) == 6
    assert type(converted.get_layer("even")) is layers.AveragePooling2D
    names = [row.name for row in converted.conversion_report.layers]
    assert sorted(names) == ["block/inner", "shared", "strided"]
    x = noise(rng, 2, 8, 8, 2)
    for key in ("map", "pooled"):
        assert_equivariant(
            lambda x, key=key: converted([x, x[..., ::-1]])[key], x, 2
        )


def test_a_layer_called_on_maps_of_several_sizes(rng):
    """One convolution for all, whose strides suit each; poolings for each."""
    conv = layers.Conv2D(3, 3, 2, "same", name="conv")
    pooling = layers.MaxPooling2D(2, name="pooling")
    inputs = [keras.Input((size, size, 2)) for size in (9, 8, 12)]
    model = keras.Model(inputs, [pooling(conv(x)) for x in inputs])
    converted = convert(model)
    assert converted.output_shape == model.output_shape
    assert len(converted.trainable_weights) == 2
    names = {layer.name for layer in converted.layers}
    assert {"conv", "conv_pool", "conv_pool_1", "conv_pool_2"} < names
    reported = [row.name for row in converted.conversion_report.layers]
    assert sorted(reported) == ["conv", "pooling"]
    xs = [noise(rng, 1, *x.shape[1:]) for x in inputs]
    for i, x in enumerate(xs):

        def output(x, i=i):
            outputs = converted([*xs[:i], x, *xs[i + 1 :]])
            return outputs[i]

        assert_equivariant(output, x, 2)


def test_what_is_made_beside_a_layer_takes_a_free_name():
    """Poolings called twice, strides that become poolings."""
    inputs = [keras.Input((size, size, 1)) for size in (16, 15)]
    first = layers.MaxPooling2D(2, padding="same", name="pooling")
    second = layers.MaxPooling2D(2, padding="same", name="pooling_1")
    conv = layers.Conv2D(2, 3, 2, "same", name="c")
    named = layers.Activation("relu", name="c_pool")
    a, b = (first(x) for x in inputs)
    model = keras.Model(inputs, [named(conv(second(a))), conv(b)])
    converted = convert(model)
    assert converted.output_shape == model.output_shape
    names = [layer.name for layer in converted.layers]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in model.layers} <= set(names)
    assert type(converted.get_layer("c_pool")) is layers.Activation


def test_zero_padding_suits_all_calls():
    padding = layers.ZeroPadding2D(((0, 1), (0, 1)))
    conv = layers.Conv2D(2, 3, strides=2)
    for sizes in ((16, 15), (15, 16)):
        inputs = [keras.Input((size, size, 1)) for size in sizes]
        model = keras.Model(inputs, [conv(padding(x)) for x in inputs])
        assert convert(model).output_shape == model.output_shape


def test_a_layer_called_by_keyword_is_replaced():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, layers.Conv2D(3, 3, name="c")(inputs=inputs))
    assert type(convert(model).get_layer("c")) is SREConv2D


@pytest.mark.parametrize(
    "part", [layers.Conv2D(3, 3), keras.Sequential([layers.Conv2D(3, 3)])]
)
def test_what_is_wrapped_is_named(part):
    inputs = keras.Input((4, 8, 8, 2))
    wrapped = layers.TimeDistributed(part, name="frames")
    report = convert(keras.Model(inputs, wrapped(inputs))).conversion_report
    (row,) = report.layers
    assert row.name == "frames" and "wraps" in row.reason


@pytest.mark.parametrize("channels", ["channels_first", "channels_last"])
def test_larger_kernels_keep_the_steps(channels, rng):
    inputs = keras.Input((12, 12))
    conv = layers.Conv1D(3, 3, data_format=channels)
    model = keras.Model(inputs, conv(inputs))
    assert convert(model, kernel_size=5).output_shape == model.output_shape


@pytest.mark.parametrize("kind", ["functional", "sequential", "wrapped"])
def test_what_normalization_has_learnt_stays(kind, rng):
    normalization = layers.Normalization()
    sizes = (6, 2) if kind == "wrapped" else (6, 6, 2)
    normalization.adapt(noise(rng, 20, *sizes) * 3 + 2)
    inputs = keras.Input((6, 6, 2))
    model = keras.Sequential([inputs, normalization])
    if kind == "functional":
        model = keras.Model(inputs, normalization(inputs))
    if kind == "wrapped":
        row_by_row = layers.TimeDistributed(normalization)
        model = keras.Model(inputs, row_by_row(inputs))
    x = noise(rng, 2, 6, 6, 2)
    expected = (x - to_numpy(normalization.mean)) / np.sqrt(
        to_numpy(normalization.variance)
    )
    assert_close(convert(model)(x), expected)


def test_unequal_zero_padding_before_a_stride(rng):
    inputs = keras.Input((8, 8, 2))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 3, 2)(x))
    converted = convert(model)
    assert converted.get_layer("pad").padding == ((1, 1), (1, 1))
    assert converted.output_shape == model.output_shape
    assert_equivariant(converted, noise(rng, 2, 8, 8, 2), 2)
    # Where something else reads it, its size matters: it stays.
    model = keras.Model(inputs, [layers.Conv2D(3, 3, 2)(x), x])
    assert convert(model).get_layer("pad").padding == ((0, 1), (0, 1))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pool_size", [2, 3])
@pytest.mark.parametrize("size", [8, 9, None])
@pytest.mark.parametrize("kind", ["AveragePooling2D", "MaxPooling2D"])
def test_poolings(kind, size, pool_size, padding, rng):
    inputs = keras.Input((size, size, 2))
    pooling = getattr(layers, kind)(pool_size, 2, padding, name="pooling")
    model = keras.Model(inputs, pooling(inputs))
    converted = convert(model)
    for side in (8, 9) if size is None else (size,):
        x = noise(rng, 2, side, side, 2)
        assert_equivariant(converted, x, 2)
        if size:
            assert converted(x).shape == model(x).shape
        if equivariance_error(model, x, 2)[0] < 1e-5 and (
            size or pool_size == 2
        ):
            assert_close(converted(x), model(x))


def test_pooling_as_it_was(rng):
    converted = convert(small_cnn(), symmetric_pooling=False)
    assert not any(
        isinstance(layer, SymmetricPooling2D) for layer in converted.layers
    )
    assert converted.get_layer("second").strides == (2, 2)
    error, _ = equivariance_error(converted, noise(rng, 2, 9, 9, 2), 2, True)
    assert error > 0.01


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_new_kernel_size(kernel_size, padding, rng):
    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            layers.Conv2D(3, 5, 1, padding, name="conv"),
            layers.Conv2D(3, 1, name="pointwise"),
        ]
    )
    converted = convert(model, kernel_size=kernel_size)
    assert converted.get_layer("conv").kernel_size == (kernel_size,) * 2
    assert converted.output_shape == model.output_shape
    assert type(converted.get_layer("pointwise")) is layers.Conv2D
    assert_equivariant(converted, noise(rng, 2, 12, 12, 2), 2)


def test_a_larger_kernel_can_be_what_the_smaller_was(rng):
    model = keras.Sequential([keras.Input((9, 9, 2)), layers.Conv2D(3, 3)])
    kernel = np.zeros((3, 3, 2, 3), "float32")
    kernel[1, 1] = noise(rng, 2, 3)
    model.set_weights([kernel, np.zeros(3)])
    converted = convert(model, kernel_size=5)
    x = noise(rng, 2, 9, 9, 2)
    assert_close(converted(x), model(x))
    (error,) = converted.conversion_report.projection_errors.values()
    assert error < 1e-6


def test_fresh_weights_and_harmonics(rng):
    model = keras.Sequential([keras.Input((9, 9, 2)), layers.Conv2D(8, 5)])
    fresh = convert(model, weights="reinitialize")
    assert not fresh.conversion_report.projection_errors
    assert np.abs(fresh.get_weights()[0]).max() > 0
    converted = convert(model, harmonics=(1, 2))
    (layer,) = converted.layers
    assert layer.ring_kernel.shape[-1] == 4
    plain = convert(model).layers[0]
    assert_close(layer.ring_kernel, to_numpy(plain.ring_kernel)[..., :4])
    assert_equivariant(converted, noise(rng, 2, 9, 9, 2), 2)


def test_arguments_reach_the_layers():
    converted = convert(small_cnn(rank=3), num_rings=1, ring_profile="area")
    layer = converted.get_layer("first")
    assert type(layer) is SREConv3D
    assert layer.num_rings == 1 and layer.ring_profile == "area"


def test_a_compiled_model_stays_compiled():
    for model in (small_cnn(), keras.Sequential(small_cnn().layers)):
        model.compile("adam", "mse")
        assert convert(model).compiled


def squares(y, predicted):
    return keras.ops.mean((y - predicted) ** 2)


@pytest.mark.parametrize("loss", [squares, lambda y, p: squares(y, p)])
def test_losses_need_not_be_registered(loss, rng):
    x, y = noise(rng, 2, 9, 9, 2), noise(rng, 2, 3)
    for model in (small_cnn(), keras.Sequential(small_cnn().layers)):
        optimizer = keras.optimizers.SGD(0.5)
        model.compile(optimizer, loss, metrics=[squares])
        converted = convert(model)
        assert model.compiled and converted.optimizer is not optimizer
        assert float(converted.optimizer.learning_rate) == 0.5
        found = converted.evaluate(x, y, verbose=0, return_dict=True)
        expected = np.mean((y - to_numpy(converted(x))) ** 2)
        assert found["squares"] == pytest.approx(expected, rel=1e-4)
        assert found["loss"] == pytest.approx(expected, rel=1e-4)


def test_an_optimizer_that_cannot_be_made_anew(rng):
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    model = small_cnn()
    model.compile(keras.optimizers.SGD(Schedule()), "mse")
    with pytest.warns(UserWarning, match="is not compiled: its optimizer"):
        converted = convert(model)
    assert model.compiled and not converted.compiled


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_is_added_keeps_the_precision(policy):
    inputs = keras.Input((8, 8, 2))
    options = {"dtype": policy}
    x = layers.Conv2D(4, 3, strides=2, padding="same", **options)(inputs)
    x = layers.Conv2D(4, 3, **options)(x)
    x = layers.MaxPooling2D(3, 2, padding="same", **options)(x)
    converted = convert(keras.Model(inputs, x), kernel_size=5)
    assert len(converted.layers) > 5
    for layer in converted.layers[1:]:
        assert layer.dtype_policy.name == policy


def test_lookups_know_their_words(rng):
    lookup = layers.IntegerLookup()
    lookup.adapt(np.array([3, 5, 7, 9]))
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 4)(lookup(inputs))
    x = layers.Conv1D(4, 3, padding="same", kernel_initializer="ones")(x)
    model = keras.Model(inputs, x)
    tokens = np.array([[3, 5, 7, 9, 1, 2]], "int32")
    assert_close(convert(model)(tokens), model(tokens))


def test_what_is_frozen_stays_frozen():
    nested = small_cnn()
    nested.trainable = False
    inputs = keras.Input(nested.input_shape[1:])
    converted = convert(keras.Model(inputs, nested(inputs)))
    assert not converted.layers[1].trainable
    assert not converted.trainable_weights


def test_inputs_of_a_sequential_model_keep_their_name():
    model = keras.Sequential(
        [keras.Input((8, 8, 1), name="image"), layers.Conv2D(2, 3)]
    )
    assert convert(model).inputs[0].name == "image"


def test_lora_is_named():
    layer = layers.Conv2D(4, 3)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    layer.enable_lora(2)
    assert "has LoRA weights" in str(convert(model).conversion_report)


def test_what_cannot_be_converted_is_named(rng):
    model = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.Conv2DTranspose(3, 3, 3, output_padding=1, name="odd"),
        ]
    )
    converted = convert(model)
    (row,) = converted.conversion_report.layers
    assert row.name == "odd" and "output_padding" in row.reason
    if "output_padding" not in model.layers[0].get_config():
        pytest.skip("this version of Keras forgets it when it copies a layer")
    x = noise(rng, 1, 9, 9, 2)
    assert_close(converted(x), model(x))
    assert "left: " in str(converted.conversion_report)


def test_the_report_is_a_table():
    lines = str(convert(small_cnn()).conversion_report).splitlines()
    assert lines[0].split() == ["layer", "was", "is", "projection", "error"]
    assert lines[3].startswith("second")
    assert "Conv2D 3x3 / 2" in lines[3]
    assert "SREConv2D 3x3 + SymmetricPooling2D 2x2" in lines[3]


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_centring_is_what_an_impulse_says(padding, stride):
    """Windows are centred if the reversed map gives the reversed output."""
    for size in range(6, 14):
        for kernel_size in range(1, 6):
            pooling = layers.AveragePooling1D(kernel_size, stride, padding)
            x = np.arange(float(size)).reshape(1, size, 1) ** 2
            y = to_numpy(pooling(x))
            turned = to_numpy(pooling(x[:, ::-1]))[:, ::-1]
            if kernel_size >= stride or padding == "valid":
                assert np.allclose(y, turned) == is_centred(
                    size, kernel_size, stride, padding
                )


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_a_nested_subclassed_model_is_copied(rng):
    class Scale(keras.Model):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

    inputs = keras.Input((9, 9, 2))
    model = keras.Model(inputs, Scale(name="mine")(inputs))
    converted = convert(model)
    (row,) = converted.conversion_report.layers
    assert row.name == "mine" and "subclassed" in row.reason
    x = noise(rng, 1, 9, 9, 2)
    before = to_numpy(model(x))
    assert_close(converted(x), before)
    converted.get_layer("mine").scale.assign([5.0, 5.0])
    np.testing.assert_array_equal(to_numpy(model(x)), before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: 3, "Received a int. Expected a keras.Model"),
        (lambda: layers.Conv2D(3, 3), "Received a Conv2D"),
        (lambda: Subclassed(name="mine"), "subclassed model 'mine'"),
        (
            lambda: keras.Sequential([layers.Conv2D(3, 3)], name="new"),
            "'new', which is not built",
        ),
    ],
    ids=["int", "layer", "subclassed", "unbuilt"],
)
def test_bad_models_get_one_clear_error(model, message):
    with pytest.raises(ValueError, match=message):
        convert(model())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"num_rings": 0}, "num_rings=0"),
        ({"num_rings": 4}, "num_rings=4.*no tap"),
        ({"ring_profile": "round"}, "'round'"),
        ({"weights": "keep"}, "'keep'.*'project', 'reinitialize'"),
        ({"harmonics": (0,)}, "harmonics="),
    ],
    ids=str,
)
def test_bad_arguments_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        convert(small_cnn(), **options)
