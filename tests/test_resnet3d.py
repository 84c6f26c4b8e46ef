"""SRE-ResNet in 3D: official outputs, 48 symmetries, twins, conventions."""

import keras
import models
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import equivariance_error
from helpers import golden_cases
from helpers import gradients
from helpers import grid_transforms
from helpers import to_numpy
from test_resnet import assert_batch_statistics
from test_resnet import assert_harmonics_where_there_are_taps
from test_resnet import load
from test_resnet import official_name
from test_resnet import random_statistics

from keras_sre.applications import SREResNet3D18
from keras_sre.applications import SREResNet3D34
from keras_sre.applications import SREResNet3D50
from keras_sre.applications import SREResNet18

SMALL = {"width": 4, "kernel_sizes": (3, 3, 3, 3), "classes": 3}


def draw(model, rng, sizes=None):
    """Gives the model random statistics and returns four random volumes."""
    random_statistics(model, rng)
    *known, channels = model.input_shape[1:]
    shape = (4, *(sizes or known), channels)
    return rng.normal(size=shape).astype("float32")


def assert_told_apart(outputs):
    """Outputs of the volumes differ by 100 times the tolerance at least."""
    __tracebackhide__ = True
    assert outputs.std(axis=0).max() > 1e-3 * np.abs(outputs).max()


@pytest.mark.parametrize(
    ("kernel_size", "count"), [(5, 3_847_688), (3, 2_627_080)]
)
def test_as_many_parameters_as_the_official_models(kernel_size, count):
    model = SREResNet3D18(
        input_shape=(32, 32, 32, 1),
        classes=8,
        kernel_sizes=(kernel_size,) * 4,
    )
    sizes = [int(np.prod(w.shape)) for w in model.trainable_weights]
    assert sum(sizes) == count


@pytest.mark.parametrize(
    ("size", "stem"),
    [(8, "small"), (9, "small"), (13, "small")]
    + [(9, "large"), (12, "large"), (16, "large")],
)
def test_invariant_at_every_size(size, stem, rng):
    kernel_sizes = (5, 5, 3, 3) if size == 9 else (3, 3, 3, 3)
    assert_invariant(SREResNet3D18, size, stem, rng, kernel_sizes=kernel_sizes)


@pytest.mark.parametrize(
    ("build", "profile"),
    [(SREResNet3D34, "hard"), (SREResNet3D50, "area")],
)
def test_invariant_at_every_depth(build, profile, rng):
    assert_invariant(build, 8, "small", rng, ring_profile=profile)


def test_invariant_with_harmonics(rng):
    """Of 10 voxels the maps are even and odd: 10, 5, 3, 2."""
    options = {"harmonics": (1, 2), "kernel_sizes": (5, 3, 3, 3)}
    model = assert_invariant(SREResNet3D18, 10, "small", rng, **options)
    assert_harmonics_where_there_are_taps(model, (1, 2))


def assert_invariant(build, size, stem, rng, **options):
    """Returns the model."""
    __tracebackhide__ = True
    model = build(
        input_shape=(size, size, size, 1),
        classifier_activation=None,
        stem=stem,
        **{**SMALL, **options},
    )
    assert_invariant_model(model, draw(model, rng))
    return model


def assert_invariant_model(model, x):
    __tracebackhide__ = True
    outputs = []

    def run(batch):
        outputs.append(to_numpy(model(batch)))
        return outputs[-1]

    assert_equivariant(run, x, 3, invariant=True)
    assert_told_apart(outputs[0][: len(x)])  # those of the identity


@pytest.mark.parametrize("stem", ["small", "large"])
def test_invariant_under_flips_of_any_box(stem, rng):
    model = SREResNet3D18(
        input_shape=(7, 10, 13, 1),
        classifier_activation=None,
        stem=stem,
        **SMALL,
    )
    x = draw(model, rng)
    expected = model.predict_on_batch(x)
    assert_told_apart(expected)
    flips = [
        transform
        for name, transform in grid_transforms(3)
        if name.startswith("axes (1, 2, 3)")
    ]
    assert len(flips) == 8
    for flip in flips:
        assert_close(model.predict_on_batch(flip(x)), expected)


def test_invariant_under_turns_of_any_box(rng):
    """A turned box has other sides, so the sizes are unknown here."""
    model = SREResNet3D18(
        input_shape=(None, None, None, 1),
        classifier_activation=None,
        stem="small",
        **SMALL,
    )
    assert_invariant_model(model, draw(model, rng, sizes=(5, 5, 8)))


@pytest.mark.parametrize(("size", "stem"), [(8, "small"), (9, "large")])
def test_the_plain_twin_is_not(size, stem, rng):
    shape = (size, size, size, 1)
    model = models.build_model("resnet3d18", shape, 3, 4, stem=stem)
    model.get_layer("predictions").activation = keras.activations.linear
    x = draw(model, rng)
    with pytest.raises(AssertionError, match="error .* under axes"):
        assert_equivariant(model.predict_on_batch, x, 3, invariant=True)
    error, _ = equivariance_error(model.predict_on_batch, x, 3, invariant=True)
    assert error > 1e-2


@pytest.mark.parametrize(
    ("name", "shape", "width"),
    [
        ("sre_resnet3d18", (28, 28, 28, 1), 4),
        ("sre_resnet3d50", (28, 30, 33, 2), 4),
        ("sre_resnet3d18", (64, 64, 64, 1), 4),
        ("sre_resnet50", (128, 128, 3), 8),
    ],
)
def test_twins_differ_in_convolutions_alone(name, shape, width):
    """The same maps of the same widths, at every stage, by both rules."""
    ours = models.build_model(name, shape, 3, width)
    twin = models.build_model(models.twin_of(name), shape, 3, width)
    assert (ours.name, twin.name) == (name, name.removeprefix("sre_"))

    def maps(model):
        ends = ("_add", "stem_relu", "predictions")
        return [
            (layer.name, layer.output.shape)
            for layer in model.layers
            if layer.name.endswith(ends)
        ]

    assert len(maps(ours)) > 8
    assert maps(ours) == maps(twin)


def test_twins_are_listed():
    assert set(models.PLAIN_MODELS) == set(map(models.twin_of, models.MODELS))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("sre_resnet18", (28, 28, 1), (9, 9)),
        ("sre_resnet3d18", (28, 28, 28, 1), (5, 5, 5)),
    ],
)
def test_default_kernels_are_those_of_the_rank(name, shape, expected):
    for given in ({}, {"kernel_sizes": None, "num_rings": None}):
        model = models.build_model(name, shape, 3, 2, **given)
        layer = model.get_layer("stage1_block1_conv1")
        assert layer.kernel_size == expected


def test_outputs_equal_the_official_model(golden):
    model, arrays, _ = official_model(golden)
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    turned = np.rot90(x, 1, (2, 3)).copy()
    assert_close(model(turned), arrays["logits_eval_rot90"], 1e-4)
    flipped = np.flip(x, 3).copy()
    assert_close(model(flipped), arrays["logits_eval_flip_last"], 1e-4)
    ends = {f"layer{i}": f"stage{i}_block2_relu" for i in range(1, 5)}
    ends["stem"] = "stem_relu"
    outputs = {k: model.get_layer(v).output for k, v in ends.items()}
    outputs["logits"] = model.output
    outputs = keras.Model(model.input, outputs)(x)
    assert_close(outputs["logits"], arrays["logits_eval"], 1e-4)
    for stage in ends:
        mean = to_numpy(outputs[stage]).mean(axis=(1, 2, 3))
        assert_close(mean, arrays[f"feat_eval_mean/{stage}"], 1e-4)


def test_batch_statistics_equal_the_official_model(golden):
    assert_batch_statistics(*official_model(golden))


def test_gradients_equal_the_official_model(golden):
    """In float32, as TensorFlow pools no volumes in float64: so rounding flips
    a few ReLUs, here and there."""
    model, arrays, names = official_model(golden)
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    statistics = [to_numpy(v) for v in model.non_trainable_variables]
    weights = [to_numpy(v) for v in model.trainable_variables]

    def forward(*weights):
        return model.stateless_call(weights, statistics, x, training=True)[0]

    found = gradients(forward, *weights, upstream=arrays["g"])
    recorded = {key for key in arrays if key.startswith("grad_norm/")}
    for variable, gradient in zip(
        model.trainable_variables, found, strict=True
    ):
        layer, kind = variable.path.split("/")[-2:]
        suffix = "bias" if kind in ("bias", "beta") else "weight"
        key = f"grad_norm/{names[layer]}.{suffix}"
        assert_close(np.linalg.norm(gradient), arrays[key], 1e-3)
        recorded.remove(key)
    assert not recorded
    first = np.transpose(found[0], (2, 1, 0))
    assert_close(first, arrays["grad/stem.0.weight"], 1e-3)
    assert_close(found[-2].T, arrays["grad/fc.weight"], 1e-3)


def official_model(golden):
    """Returns our model with the recorded weights, all that was recorded with
    them, and the official name of each of our layers.

    The official stem is a (3, 7, 7) kernel of which only the central 3x3x3
    is not zero: it has our stem's two rings.
    """
    ((config, arrays),) = golden_cases(golden("sre_r3d_18"))
    options = config["kwargs"]
    model = SREResNet3D18(
        input_shape=(*arrays["x"].shape[2:], options["in_channels"]),
        classes=options["num_classes"],
        classifier_activation=None,
        kernel_sizes=options["sre_conv_size"],
        stem="small",
    )
    state = {
        key.removeprefix("state/"): value.astype("float32")
        for key, value in arrays.items()
        if key.startswith("state/")
    }
    pointwise = {k: v[..., 0] for k, v in state.items() if v.ndim == 5}
    state.update(pointwise)
    names = {}
    used = set()
    for layer in model.layers:
        if layer.weights:
            names[layer.name] = official_name_3d(layer.name)
            used |= load(layer, state, names[layer.name])
    constants = ("num_batches_tracked", "weight_index_mat")
    assert used == {key for key in state if not key.endswith(constants)}
    return model, arrays, names


def official_name_3d(name):
    """Translates `stage2_block1_conv1_bn` to `layer2.0.conv1.2`.

    There, what is one step is one module: `conv1` is pooling, convolution and
    normalisation, `conv2` the latter two.
    """
    if name.startswith("stem"):
        return {"stem_conv": "stem.0", "stem_bn": "stem.1"}[name]
    source = official_name(name.removesuffix("_bn"))
    if name == "predictions":
        return source
    if not source.endswith(("conv1", "conv2")):
        return official_name(name)  # a shortcut, as in 2D
    number = name.endswith("_bn") + source.endswith("conv1")
    return f"{source}.{number}"


def test_channels_first_gives_the_same(rng):
    shape = (8, 9, 10)
    last = SREResNet3D18(input_shape=(*shape, 2), stem="large", **SMALL)
    x = draw(last, rng)
    keras.config.set_image_data_format("channels_first")
    first = SREResNet3D18(input_shape=(2, *shape), stem="large", **SMALL)
    first.set_weights(last.get_weights())
    y = to_numpy(last(x))
    assert_told_apart(y)
    assert_close(first(np.moveaxis(x, -1, 1)), y)


def test_channels_first_of_unknown_size():
    keras.config.set_image_data_format("channels_first")
    for build, shape in ((SREResNet3D18, (1,)), (SREResNet18, (3,))):
        model = build(include_top=False, **SMALL)
        sizes = (None,) * (len(model.input_shape) - 2)
        assert model.input_shape == (None, *shape, *sizes)
        with pytest.raises(ValueError, match="only sizes may be None"):
            build(input_shape=(None, *(8,) * len(sizes)), **SMALL)


def test_headless():
    shape = (28, 28, 28, 1)
    model = SREResNet3D18(include_top=False, input_shape=shape, **SMALL)
    assert model.output_shape == (None, 4, 4, 4, 32)
    for pooling, layer in (("avg", "avg_pool"), ("max", "max_pool")):
        model = SREResNet3D18(
            include_top=False, input_shape=shape, pooling=pooling, **SMALL
        )
        assert model.output_shape == (None, 32)
        assert model.layers[-1].name == layer


def test_defaults():
    model = SREResNet3D18(width=2)
    assert model.input_shape == (None, 64, 64, 64, 1)
    assert model.output_shape == (None, 1000)
    assert model.name == "sre_resnet3d18"
    assert SREResNet3D50.__name__ == "SREResNet3D50"
    assert model.get_layer("stage4_block1_conv1").kernel_size == (5, 5, 5)


@pytest.mark.parametrize(
    ("sizes", "large"),
    [((63, 80, 80), False), ((64, 64, 64), True), ((None,) * 3, True)],
    ids=str,
)
def test_automatic_stem(sizes, large):
    model = SREResNet3D18(input_shape=(*sizes, 1), **SMALL)
    assert large == any("stem_pool" in layer.name for layer in model.layers)


def test_input_tensor():
    inputs = keras.Input((12, 12, 12, 1))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    model = SREResNet3D18(input_tensor=scaled, **SMALL)
    assert model.inputs[0] is inputs
    assert model.output_shape == (None, 3)


def test_trains_and_saves(tmp_path, rng):
    options = {"input_shape": (9, 9, 9, 1), **SMALL}
    model = SREResNet3D18(**options)
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    x = rng.normal(size=(4, 9, 9, 9, 1)).astype("float32")
    assert np.isfinite(model.train_on_batch(x, np.array([0, 1, 2, 0])))
    after = model.get_weights()
    for old, new in zip(before, after, strict=True):
        assert np.isfinite(new).all() and (new != old).any()

    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_close(again.predict_on_batch(x), model.predict_on_batch(x))
    for path in tmp_path.iterdir():
        again = SREResNet3D18(weights=path, **options)
        for found, expected in zip(again.get_weights(), after, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_sizes": (5, 5, 5)}, "kernel_sizes=.*one per stage"),
        ({"num_rings": (2, 2)}, "num_rings=.*one per stage"),
        ({"kernel_sizes": (4, 3, 3, 3)}, "half a cell"),
        ({"width": 0}, "width=0"),
        ({"classes": 0}, "classes=0"),
        ({"pooling": "median"}, "'median'"),
        ({"stem": "huge"}, "'huge'.*'auto', 'small', 'large'"),
        ({"weights": "imagenet"}, "'imagenet'.*or one of 'breastmnist'"),
        ({"weights": "missing.keras"}, "no such file"),
        ({"input_shape": (28, 28, 1)}, "input_shape=.*4 numbers.*28, 28, 28"),
        ({"input_shape": (8, 8, 8, None)}, "only sizes may be None"),
        ({"input_tensor": np.zeros((1, 8, 8, 8, 1))}, "input_tensor of type"),
    ],
    ids=str,
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SREResNet3D18(**{"input_shape": (8, 8, 8, 1), **SMALL, **options})


def test_input_tensors_of_the_other_rank():
    with pytest.raises(ValueError, match=r"\(None, 8, 8, 1\).*5 axes"):
        SREResNet3D18(input_tensor=keras.Input((8, 8, 1)), **SMALL)
    with pytest.raises(ValueError, match=r"\(None, 8, 8, 8, 1\).*4 axes"):
        SREResNet18(input_tensor=keras.Input((8, 8, 8, 1)), **SMALL)
