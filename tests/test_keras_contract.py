"""What Keras does with layers and models, it does with ours."""

import concurrent.futures
import copy
import importlib.util
import inspect
import pathlib
import pickle
import re
import shutil
import warnings

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import load_or_skip
from helpers import to_numpy
from small_network import assert_same
from small_network import classifier
from small_network import images
from small_network import train

from keras_sre import SREConv1D
from keras_sre import SREConv1DTranspose
from keras_sre import SREConv2D
from keras_sre import SREConv2DTranspose
from keras_sre import SREConv3D
from keras_sre import SREConv3DTranspose
from keras_sre import SREDepthwiseConv2D
from keras_sre import SymmetricPooling2D
from keras_sre import SymmetricUpsampling
from keras_sre.applications.ring_model import RingModel

DATA = pathlib.Path(__file__).parent / "data"


# === Models ===


def test_a_clone_is_new_and_takes_the_weights(rng):
    model, (x, _) = classifier(), images(rng)
    clone = keras.models.clone_model(model)
    assert type(clone.layers[0]) is SREConv2D
    assert clone.get_config() == model.get_config()
    assert np.abs(to_numpy(clone(x)) - to_numpy(model(x))).max() > 1e-3
    clone.set_weights(model.get_weights())
    assert_same(clone(x), model(x))


def test_a_clone_may_have_other_layers(rng):
    def to_dense(layer):
        if not isinstance(layer, SREConv2D):
            return layer.__class__.from_config(layer.get_config())
        config = {**layer.get_config(), "implementation": "dense"}
        return SREConv2D.from_config(config)

    model, (x, _) = classifier(), images(rng)
    clone = keras.models.clone_model(model, clone_function=to_dense)
    clone.set_weights(model.get_weights())
    assert clone.get_layer("first").implementation == "dense"
    assert_close(clone(x), model(x))


def test_a_shared_layer_has_its_weights_once_and_sums_its_gradients(rng):
    layer = SREConv2D(2, 3, padding="same", use_bias=False)
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, layer(layer(inputs)))
    assert len(model.weights) == 1
    x = rng.normal(size=(2, 6, 6, 2)).astype("float32")
    once = layer(x)
    assert_close(model(x), layer(once))
    # A step of size 1 down the loss sum(y) takes the gradient off the weights.
    before = to_numpy(layer.ring_kernel)
    model.compile(keras.optimizers.SGD(1.0), lambda _, y: keras.ops.sum(y))
    model.train_on_batch(x, np.zeros(once.shape, "float32"))
    gradient = before - to_numpy(layer.ring_kernel)
    # The loss is of second degree in the weights, so this difference is exact.
    direction = rng.normal(size=before.shape).astype("float32")
    values = []
    for step in (0.5, -0.5):
        layer.ring_kernel.assign(before + step * direction)
        values.append(to_numpy(model(x)).sum(dtype="float64"))
    assert_close((gradient * direction).sum(), values[0] - values[1], 1e-3)


def test_nested_models_train_and_load(rng, tmp_path):
    body = keras.Sequential(
        [SREConv2D(4, 3, padding="same"), SymmetricPooling2D()], name="body"
    )
    inputs = keras.Input((9, 9, 1))
    x = keras.layers.GlobalMaxPooling2D()(body(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    before = model.get_weights()
    x, labels = images(rng)
    train(model, x, labels, epochs=1)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert (old != new).any()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("body").layers[0]) is SREConv2D
    assert_same(loaded(x), model(x))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("mode", ["average", "max"])
def test_models_load_from_hdf5(mode, rng, tmp_path):
    inputs = keras.Input((9, 9, 1))
    x = SREConv2D(4, 3, padding="same", ring_profile="linear")(inputs)
    x = SymmetricPooling2D(mode=mode)(x)
    model = RingModel(inputs, keras.layers.GlobalMaxPooling2D()(x))
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    assert type(loaded) is RingModel
    x = rng.normal(size=(2, 9, 9, 1))
    assert_same(loaded(x), model(x))


def test_a_subclassed_model_loads(rng, tmp_path):
    @keras.saving.register_keras_serializable(package="test_contract")
    class Residual(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.convolution = SREConv2D(1, 3, padding="same")

        def build(self, input_shape):
            self.convolution.build(input_shape)

        def call(self, x):
            return x + self.convolution(x)

    model, (x, _) = Residual(), images(rng)
    y = model(x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded(x), y)


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("*.keras")), ids=lambda path: path.stem
)
def test_models_of_previous_releases_load(path):
    model = load_or_skip(path)
    recorded = np.load(path.with_suffix(".npz"))
    assert_close(model(recorded["x"]), recorded["y"])
    # It tells: other weights give another output.
    model.set_weights([1.01 * w for w in model.get_weights()])
    with pytest.raises(AssertionError, match="error"):
        assert_close(model(recorded["x"]), recorded["y"], 1e-3)


def test_there_is_a_model_of_a_previous_release():
    assert list(DATA.glob("*.keras"))


@pytest.mark.parametrize(
    "copied",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        copy.deepcopy,
    ],
    ids=["pickle", "deepcopy"],
)
def test_copies_are_equal_and_apart(copied, rng):
    model, (x, labels) = classifier(), images(rng)
    train(model, x, labels, epochs=1)
    again = copied(model)
    y = to_numpy(model(x))
    assert_same(again(x), y)
    again.set_weights([0 * w for w in again.get_weights()])
    assert_same(model(x), y)


def test_threads_predict_at_once(rng):
    layer = SREConv2D(4, 5, padding="same", implementation="slices")
    layer.build((None, None, None, 2))
    # Shapes repeat, so that threads meet over the same program and over others.
    batches = [
        rng.normal(size=(1, side, side, 2)).astype("float32")
        for side in [6, 7, 8, 9] * 4
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: to_numpy(layer(x)), batches))
    for x, y in zip(batches, found, strict=True):
        assert_same(y, layer(x))


def test_threads_share_a_model(rng):
    model = classifier()
    batches = [images(rng)[0] for _ in range(12)]
    expected = [model.predict(x, verbose=0) for x in batches]
    # On JAX Keras' own prediction gives its state away: one thread at a time.
    is_jax = keras.backend.backend() == "jax"
    predict = model if is_jax else model.predict_on_batch
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predict, batches))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_summary_shows_ring_layers():
    lines = []
    classifier().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "first (SREConv2D)" in text
    assert "SymmetricPooling2D" in text
    # Rings x channels x filters and biases: 3 * 1 * 6, 2 * 6 * 8 + 8.
    rows = [line for line in text.splitlines() if "SREConv2D" in line]
    assert [row.split("│")[-2].split()[0] for row in rows] == ["18", "104"]


def test_plot_model_draws_or_says_what_it_lacks(tmp_path):
    path = tmp_path / "model.png"
    has_pydot = importlib.util.find_spec("pydot") is not None
    if has_pydot and shutil.which("dot"):
        keras.utils.plot_model(classifier(), path, show_shapes=True)
        assert path.stat().st_size
    else:
        with pytest.raises(ImportError, match="pydot|graphviz"):
            keras.utils.plot_model(classifier(), path)


# === Weights ===


def test_what_is_frozen_stays(rng):
    model, (x, labels) = classifier(), images(rng)
    frozen = model.get_layer("first")
    frozen.trainable = False
    assert not frozen.trainable_weights and len(frozen.weights) == 1
    before = to_numpy(frozen.ring_kernel)
    head = model.get_layer("head").get_weights()[0]
    train(model, x, labels, epochs=1)
    assert_same(frozen.ring_kernel, before)
    assert (model.get_layer("head").get_weights()[0] != head).any()
    frozen.trainable = True
    train(model, x, labels, epochs=1)
    assert (to_numpy(frozen.ring_kernel) != before).any()


LAYERS = {
    "1d": (SREConv1D, "kernel", {"filters": 3}, (2, 6, 2)),
    "2d": (SREConv2D, "kernel", {"filters": 3}, (2, 6, 6, 2)),
    "3d": (SREConv3D, "kernel", {"filters": 3}, (1, 4, 4, 4, 2)),
    "1d-transpose": (SREConv1DTranspose, "kernel", {"filters": 3}, (2, 4, 2)),
    "2d-transpose": (
        *(SREConv2DTranspose, "kernel", {"filters": 3}),
        (2, 4, 4, 2),
    ),
    "3d-transpose": (
        *(SREConv3DTranspose, "kernel", {"filters": 3}),
        (1, 3, 3, 3, 2),
    ),
    "depthwise": (SREDepthwiseConv2D, "depthwise", {}, (2, 6, 6, 2)),
}

HARMONICS = (
    *(SREConv2D, "kernel", {"filters": 4, "harmonics": (1,)}),
    (2, 6, 6, 2),
)
REPLACED = {
    cls: getattr(keras.layers, cls.__name__.removeprefix("SRE"))
    for cls, *_ in LAYERS.values()
}

POSITIONAL = {
    "filters": 2,
    "kernel_size": 3,
    "strides": 1,
    "padding": "valid",
    "depth_multiplier": 2,
    "data_format": "channels_first",
    "output_padding": 0,
    "dilation_rate": 2,
    "groups": 2,
    "activation": "tanh",
    "use_bias": False,
    "kernel_initializer": "he_normal",
    "depthwise_initializer": "he_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l1",
    "depthwise_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "L1L2",
    "kernel_constraint": "non_neg",
    "depthwise_constraint": "non_neg",
    "bias_constraint": "MaxNorm",
}


@pytest.mark.parametrize("cls", REPLACED)
def test_positional_arguments_are_those_of_keras(cls):
    """All of Keras' in its order, and none of ours."""
    values = [
        POSITIONAL[parameter.name]
        for parameter in inspect.signature(REPLACED[cls]).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    expected = REPLACED[cls](*values).get_config()
    found = cls(*values).get_config()
    for name in POSITIONAL.keys() & expected.keys():
        # One number stands for all axes.
        assert np.all(np.equal(found[name], expected[name])), name
    with pytest.raises(TypeError, match="positional arguments"):
        cls(*values, 2)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32"])
@pytest.mark.parametrize("implementation", ["slices", "depthwise", "dense"])
@pytest.mark.parametrize("case", [*LAYERS, "harmonics"])
def test_integers_are_what_they_are_as_floats(case, implementation, dtype, rng):
    cls, _, options, shape = {**LAYERS, "harmonics": HARMONICS}[case]
    layer = cls(**options, kernel_size=3, implementation=implementation)
    if dtype == "bool":
        x = rng.integers(0, 2, shape).astype(dtype)
    else:  # of a range whose sums wrap around
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    y = to_numpy(layer(x))
    assert y.dtype == "float32"
    # Keras' own layer with the same kernel, on floats.
    if case == "harmonics":  # 2 filters, and 2 responses for each of 2 others
        options = {"filters": 6}
    plain = REPLACED[cls](**options, kernel_size=3, use_bias=False)
    plain.build(shape)
    plain.set_weights([to_numpy(layer.kernel)])
    expected = to_numpy(plain(x.astype("float32")))
    if case == "harmonics":
        first, cosine, sine = np.split(expected, 3, axis=-1)
        norm = np.sqrt(cosine**2 + sine**2 + 1e-8)
        expected = np.concatenate([first, norm], axis=-1)
    assert_close(y, expected)


def test_integers_in_half_precision():
    options = {"kernel_initializer": "ones", "dtype": "mixed_float16"}
    y = to_numpy(
        SREConv2D(1, 3, **options)(np.full((1, 3, 3, 1), 200, "uint8"))
    )
    assert y.dtype == "float16" and y.item() == 9 * 200


def test_integers_are_interpolated_between():
    small = np.array([0, 201, 100], "uint8").reshape(1, 3, 1)
    y = SymmetricUpsampling()([small, np.zeros((1, 5, 1), "uint8")])
    assert to_numpy(y).ravel().tolist() == [0, 100.5, 201, 150.5, 100]


@pytest.mark.parametrize("implementation", ["slices", "depthwise", "dense"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("case", ["1d", "2d", "3d", "depthwise"])
def test_small_maps_of_layers_for_any_size(case, padding, implementation):
    cls, _, options, shape = LAYERS[case]
    layer = cls(
        **options,
        kernel_size=5,
        padding=padding,
        implementation=implementation,
    )
    rank = len(shape) - 2
    layer.build((None,) * (rank + 1) + (2,))
    sizes = ({"valid": 4, "same": 0}[padding], 9, 9)[:rank]
    message = rf"{re.escape(str(sizes))}.*do not fit"
    with pytest.raises(ValueError, match=message):
        layer(np.ones((1, *sizes, 2), "float32"))


@pytest.mark.parametrize("implementation", ["slices", "depthwise", "dense"])
@pytest.mark.parametrize("case", [*LAYERS, "harmonics"])
def test_an_empty_batch_stays_one(case, implementation):
    cls, _, options, shape = {**LAYERS, "harmonics": HARMONICS}[case]
    layer = cls(**options, kernel_size=3, implementation=implementation)
    expected = layer(np.ones(shape, "float32")).shape
    found = layer(np.ones((0, *shape[1:]), "float32")).shape
    assert tuple(found) == (0, *expected[1:])


@pytest.mark.parametrize("case", LAYERS)
def test_regularizers_see_the_ring_weights(case):
    cls, kernel, options, shape = LAYERS[case]
    layer = cls(
        **options,
        kernel_size=3,
        bias_initializer="ones",
        **{f"{kernel}_regularizer": keras.regularizers.L2(0.5)},
        bias_regularizer=keras.regularizers.L1(0.25),
        activity_regularizer=keras.regularizers.L1(0.125),
    )
    y = to_numpy(layer(np.ones(shape, "float32")))
    ring_kernel, bias = map(to_numpy, layer.weights)
    # For each sample, or, with older versions of Keras, of all.
    of_activity = keras.layers.ActivityRegularization(l1=0.125)
    of_activity(y)
    expected = [
        to_numpy(of_activity.losses[0]),
        0.5 * (ring_kernel**2).sum(),
        0.25 * bias.sum(),
    ]
    np.testing.assert_allclose(
        sorted(map(to_numpy, layer.losses)), sorted(expected), rtol=1e-5
    )


@pytest.mark.parametrize("case", LAYERS)
def test_constraints_hold_for_the_ring_weights(case):
    cls, kernel, options, shape = LAYERS[case]
    layer = cls(
        **options,
        kernel_size=3,
        **{f"{kernel}_constraint": keras.constraints.NonNeg()},
        bias_constraint=keras.constraints.MaxNorm(0.125),
    )
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = np.ones(shape, "float32")
    model.train_on_batch(x, to_numpy(model(x)) - 3)
    ring_kernel, bias = map(to_numpy, layer.weights)
    assert ring_kernel.min() == 0
    np.testing.assert_allclose(np.linalg.norm(bias), 0.125, rtol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda layer: layer.enable_lora(2), "no LoRA.*trainable=False"),
        (lambda layer: layer.quantize("int8"), "int8.*keras_sre.export"),
    ],
    ids=["lora", "quantize"],
)
def test_what_is_not_supported_says_so(case, call, message):
    cls, _, options, shape = LAYERS[case]
    layer = cls(**options, kernel_size=3, name="mine")
    layer.build(shape)
    before = layer.get_weights()
    with pytest.raises(NotImplementedError, match=f"'mine'.*{message}"):
        call(layer)
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert_same(old, new)


def test_quantizing_a_model_leaves_ring_layers_as_they_are(rng):
    model, (x, _) = classifier(), images(rng)
    expected = model.predict(x, verbose=0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.quantize("int8")
    messages = [str(warning.message) for warning in found]
    assert any("'first' of type SREConv2D cannot" in m for m in messages)
    assert model.get_layer("head").dtype_policy.name.startswith("int8")
    assert model.get_layer("first").dtype_policy.name == "float32"
    assert_close(model.predict(x, verbose=0), expected, 0.05)
