"""SRE-ResNet: official sizes and outputs, invariance, conventions."""

import keras
import models
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import equivariance_error
from helpers import golden_cases

from keras_sre.applications import SREResNet18
from keras_sre.applications import SREResNet34
from keras_sre.applications import SREResNet50
from keras_sre.layers import FusedBatchNormalization

SMALL = {"width": 8, "kernel_sizes": (5, 5, 3, 3), "classes": 3}


def random_statistics(model, rng):
    """Gives batch normalisation something to do at inference."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, channels),
                    0.2 * rng.normal(size=channels),
                    0.2 * rng.normal(size=channels),
                    rng.uniform(2.0, 20.0, channels),
                ]
            )
    return model


@pytest.mark.parametrize(
    ("build", "kernel_sizes", "count"),
    [
        (SREResNet18, (9, 9, 5, 5), 3_995_592),
        (SREResNet18, (3, 3, 3, 3), 2_627_528),
        (SREResNet34, (9, 9, 5, 5), 7_517_384),
        (SREResNet50, (9, 9, 5, 5), 16_126_408),
    ],
)
def test_as_many_parameters_as_the_official_models(build, kernel_sizes, count):
    model = build(input_shape=(32, 32, 3), classes=8, kernel_sizes=kernel_sizes)
    sizes = [int(np.prod(w.shape)) for w in model.trainable_weights]
    assert sum(sizes) == count


@pytest.mark.parametrize("stem", ["small", "large"])
@pytest.mark.parametrize("size", [28, 29, 32, 33, 45, 64, 224])
def test_invariant_at_every_size(size, stem, rng):
    kernel_sizes = (9, 9, 5, 5) if size == 29 else (5, 5, 3, 3)
    model = SREResNet18(
        input_shape=(size, size, 1),
        classes=3,
        classifier_activation=None,
        width=4,
        kernel_sizes=kernel_sizes,
        stem=stem,
    )
    random_statistics(model, rng)
    x = rng.normal(size=(1, size, size, 1)).astype("float32")

    def predict(x):
        return model.predict_on_batch(x)

    assert_equivariant(predict, x, 2, invariant=True)


def test_the_plain_twin_is_not(rng):
    model = models.build_model("resnet18", (29, 29, 1), 3, 4)
    random_statistics(model, rng)
    x = rng.normal(size=(1, 29, 29, 1)).astype("float32")
    error, _ = equivariance_error(model.predict_on_batch, x, 2, invariant=True)
    assert error > 1e-3


OFFICIAL = {
    "sre_resnet18": (SREResNet18, 2),
    "sre_resnet50": (SREResNet50, 3),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_logits_equal_the_official_models(golden, name):
    build, convolutions = OFFICIAL[name]
    ((config, arrays),) = golden_cases(golden(name))
    options = config["kwargs"]
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    model = build(
        input_shape=x.shape[1:],
        classes=options["num_classes"],
        classifier_activation=None,
        width=options["inplanes"],
        kernel_sizes=options["sre_conv_size"],
        stem="small",
    )
    state = {
        key.removeprefix("state/"): value.astype("float32")
        for key, value in arrays.items()
        if key.startswith("state/")
    }
    load(model.get_layer("stem_conv"), state, "conv1")
    load(model.get_layer("stem_bn"), state, "bn1")
    for layer in model.layers:
        if not layer.name.startswith("stage") or not layer.weights:
            continue
        stage, block, part, *norm = layer.name.split("_")
        prefix = f"layer{stage[5:]}.{int(block[5:]) - 1}."
        if part == "shortcut":
            # The official module pools before it convolves.
            keys = sorted(
                {
                    k.removeprefix(prefix + "downsample.").split(".")[0]
                    for k in state
                    if k.startswith(prefix + "downsample.")
                }
            )
            load(layer, state, f"{prefix}downsample.{keys[1 if norm else 0]}")
        else:
            kind = "bn" if norm else "conv"
            load(layer, state, f"{prefix}{kind}{part[-1]}")
    load(model.get_layer("predictions"), state, "fc")
    assert_close(model.predict_on_batch(x), arrays["logits_eval"], 1e-4)


def load(layer, state, prefix):
    if isinstance(layer, keras.layers.BatchNormalization):
        names = ("weight", "bias", "running_mean", "running_var")
        layer.set_weights([state[f"{prefix}.{name}"] for name in names])
        return
    # The official strided convolution is a pair: [pooling, convolution].
    name = next(n for n in (prefix, f"{prefix}.1") if f"{n}.weight" in state)
    weight = state[f"{name}.weight"]
    if weight.ndim == 4:
        weight = weight[..., 0]  # a 1x1 convolution is one ring
    if weight.ndim == 2:
        layer.set_weights([weight.T, state[f"{prefix}.bias"]])
    else:
        layer.set_weights([np.transpose(weight, (2, 1, 0))])


def test_unknown_size_and_headless():
    model = SREResNet18(
        include_top=False, input_shape=(None, None, 1), pooling="avg", **SMALL
    )
    assert model.output_shape == (None, 64)
    assert model.predict_on_batch(np.ones((1, 40, 33, 1))).shape == (1, 64)
    model = SREResNet18(include_top=False, input_shape=(28, 28, 1), **SMALL)
    assert model.output_shape == (None, 4, 4, 64)


def test_defaults_are_those_of_keras_applications():
    model = SREResNet18(width=2)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)
    assert model.name == "sre_resnet18"
    assert any("stem_pool" in layer.name for layer in model.layers)


def test_input_tensor():
    inputs = keras.Input((28, 28, 1))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    model = SREResNet18(input_tensor=scaled, **SMALL)
    assert model.inputs[0] is inputs
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_from_a_file(suffix, tmp_path, rng):
    model = SREResNet18(input_shape=(28, 28, 1), **SMALL)
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    again = SREResNet18(weights=path, input_shape=(28, 28, 1), **SMALL)
    x = rng.normal(size=(2, 28, 28, 1)).astype("float32")
    assert_close(again.predict_on_batch(x), model.predict_on_batch(x))


def test_saved_model_reloads_with_registered_layers_alone(tmp_path, rng):
    model = SREResNet18(input_shape=(28, 28, 1), **SMALL)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model) is keras.Model or isinstance(
        again, keras.Model
    )
    x = rng.normal(size=(2, 28, 28, 1)).astype("float32")
    assert_close(again.predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_sizes": (9, 9)}, "kernel_sizes=.*one per stage"),
        ({"kernel_sizes": (4, 3, 3, 3)}, "half a cell"),
        ({"num_rings": (9, 1, 1, 1)}, "num_rings=9"),
        ({"width": 0}, "width=0"),
        ({"classes": 0}, "classes=0"),
        ({"pooling": "median"}, "'median'"),
        ({"stem": "huge"}, "'huge'.*'auto', 'small', 'large'"),
        ({"weights": "imagenet"}, "'imagenet'.*none so far"),
        ({"weights": "missing.keras"}, "no such file"),
        ({"input_shape": (28, 28)}, "input_shape=.*3 numbers"),
        ({"input_tensor": np.zeros((1, 28, 28, 1))}, "input_tensor of type"),
    ],
    ids=str,
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SREResNet18(**{"input_shape": (28, 28, 1), **SMALL, **options})


@pytest.mark.parametrize("training", [True, False])
def test_fused_normalisation_equals_keras(training, rng):
    x = rng.normal(3.0, 2.0, size=(4, 5, 6, 3)).astype("float32")
    layers = [
        cls(epsilon=1e-5, momentum=0.9)
        for cls in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    for layer in layers:
        layer.build(x.shape)
        random_statistics(keras.Sequential([layer]), np.random.default_rng(1))
    expected, found = (layer(x, training=training) for layer in layers)
    assert_close(found, expected)
    for old, new in zip(*(w.get_weights() for w in layers), strict=True):
        assert_close(new, old)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(policy, rng):
    keras.config.set_dtype_policy(policy)
    model = SREResNet18(input_shape=(28, 28, 1), **SMALL)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rng.normal(size=(4, 28, 28, 1)).astype("float32")
    assert np.isfinite(model.train_on_batch(x, np.array([0, 1, 2, 0])))
    assert model.output.dtype == "float32"
