"""SRE-ResNet: official sizes and outputs, invariance, conventions."""

import pathlib
import re

import keras
import models
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import equivariance_error
from helpers import golden_cases
from helpers import gradients
from helpers import load_or_skip
from helpers import to_numpy

from keras_sre import applications
from keras_sre.applications import SREResNet18
from keras_sre.applications import SREResNet34
from keras_sre.applications import SREResNet50
from keras_sre.applications import weights

ROOT = pathlib.Path(__file__).parents[1]
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
                    # More would damp the map until the offsets hide it.
                    rng.uniform(0.5, 2.0, channels),
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


@pytest.mark.parametrize(
    ("size", "stem"),
    [(28, "small"), (29, "small"), (32, "small"), (45, "small")]
    + [(28, "large"), (33, "large"), (64, "large"), (224, "large")],
)
def test_invariant_at_every_size(size, stem, rng):
    kernel_sizes = (9, 9, 5, 5) if size in (28, 29) else (5, 5, 3, 3)
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
    assert_equivariant(model.predict_on_batch, x, 2, invariant=True)


@pytest.mark.parametrize(
    ("build", "profile"), [(SREResNet34, "linear"), (SREResNet50, "area")]
)
def test_invariant_at_every_depth(build, profile, rng):
    model = build(
        input_shape=(29, 29, 1),
        classes=3,
        classifier_activation=None,
        width=2,
        kernel_sizes=(3, 3, 3, 3),
        ring_profile=profile,
    )
    random_statistics(model, rng)
    x = rng.normal(size=(1, 29, 29, 1)).astype("float32")
    assert_equivariant(model, x, 2, invariant=True)


@pytest.mark.parametrize("size", [28, 33])
def test_invariant_with_harmonics(size, tmp_path, rng):
    model = SREResNet18(
        input_shape=(size, size, 1),
        classes=3,
        classifier_activation=None,
        width=8,
        kernel_sizes=(5, 5, 3, 3),
        ring_profile="linear",
        harmonics=(1, 2),
    )
    random_statistics(model, rng)
    x = rng.normal(size=(1, size, size, 1)).astype("float32")
    assert_equivariant(model, x, 2, invariant=True)
    assert_harmonics_where_there_are_taps(model, (1, 2))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.repeat(x, 8, axis=0)  # a batch of the size that is compiled already
    assert_close(again(x), model(x))


def test_a_share_of_harmonics_for_each_stage(rng):
    shares = (0.5, 1, 0.25, 0)
    model = SREResNet18(
        input_shape=(21, 21, 1),
        classes=3,
        classifier_activation=None,
        width=8,
        kernel_sizes=(5, 5, 3, 3),
        harmonics=(1, 2),
        harmonic_fraction=shares,
    )
    for name, filters, share in (
        ("stem_conv", 8, 0.5),
        ("stage1_block2_conv2", 8, 0.5),
        ("stage2_block1_conv1", 16, 1),
        ("stage3_block1_conv2", 32, 0.25),
        ("stage4_block2_conv1", 64, 0),
    ):
        layer = model.get_layer(name)
        found = {m: k.shape[-1] for m, k in layer.harmonic_kernels.items()}
        each = int(filters * share / 2)
        assert found == (dict.fromkeys((1, 2), each) if share else {}), name
    random_statistics(model, rng)
    x = rng.normal(size=(1, 21, 21, 1)).astype("float32")
    assert_equivariant(model, x, 2, invariant=True)


def assert_harmonics_where_there_are_taps(model, harmonics):
    __tracebackhide__ = True
    found = {
        (max(layer.kernel_size) > 1, layer.harmonics)
        for layer in model.layers
        if hasattr(layer, "harmonics")
    }
    assert found == {(True, harmonics), (False, ())}


@pytest.mark.parametrize("size", [28, 29, 32])
def test_the_plain_twin_is_not(size, rng):
    model = models.build_plain_resnet("resnet18", (size, size, 1), 3, 8)
    model.get_layer("predictions").activation = keras.activations.linear
    random_statistics(model, rng)
    x = rng.normal(size=(1, size, size, 1)).astype("float32")
    with pytest.raises(AssertionError, match="error .* under axes"):
        assert_equivariant(model.predict_on_batch, x, 2, invariant=True)
    error, _ = equivariance_error(model.predict_on_batch, x, 2, invariant=True)
    assert error > 1e-2


def test_channels_first_gives_the_same(rng):
    options = {**SMALL, "kernel_sizes": (3, 3, 3, 3), "width": 4}
    last = SREResNet18(input_shape=(17, 18, 2), stem="large", **options)
    random_statistics(last, rng)
    keras.config.set_image_data_format("channels_first")
    first = SREResNet18(input_shape=(2, 17, 18), stem="large", **options)
    first.set_weights(last.get_weights())
    x = rng.normal(size=(2, 17, 18, 2)).astype("float32")
    assert_close(first(np.moveaxis(x, -1, 1)), last(x))


def test_unknown_size_gives_the_same(rng):
    options = {**SMALL, "kernel_sizes": (3, 3, 3, 3), "width": 4}
    known = SREResNet18(input_shape=(29, 30, 1), stem="small", **options)
    unknown = SREResNet18(input_shape=(None, None, 1), stem="small", **options)
    random_statistics(known, rng)
    x = rng.normal(size=(2, 29, 30, 1)).astype("float32")
    expected = to_numpy(known(x))
    before = np.abs(to_numpy(unknown(x)) - expected).max()
    assert before > 1e-3  # fresh models differ
    unknown.set_weights(known.get_weights())
    assert_close(unknown(x), expected)


OFFICIAL = {
    "sre_resnet18": SREResNet18,
    "sre_resnet50": SREResNet50,
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_outputs_equal_the_official_models(golden, name):
    model, arrays, _ = official_model(golden, name)
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    turned = np.rot90(x, 1, (1, 2)).copy()
    assert_close(model(turned), arrays["logits_eval_rot90"], 1e-4)
    ends = [
        [
            layer.output
            for layer in model.layers
            if layer.name.startswith(f"stage{stage}_block")
        ][-1]
        for stage in range(1, 5)
    ]
    *features, logits = keras.Model(model.input, [*ends, model.output])(x)
    assert_close(logits, arrays["logits_eval"], 1e-4)
    for stage, feature in enumerate(features, 1):
        expected = arrays[f"feat_eval_mean/layer{stage}"]
        assert_close(to_numpy(feature).mean(axis=(1, 2)), expected, 1e-4)


@pytest.fixture
def float64():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is switched on")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", OFFICIAL)
def test_gradients_equal_the_official_models(golden, name, float64):
    """In float64: in float32 rounding flips a few ReLUs, here and there."""
    if name == "sre_resnet50" and keras.backend.backend() == "torch":
        pytest.skip("Keras multiplies in float32 on torch, whatever the dtype")
    model, arrays, names = official_model(golden, name)
    x = np.moveaxis(arrays["x"].astype("float64"), 1, -1)
    statistics = [to_numpy(v) for v in model.non_trainable_variables]
    weights = [to_numpy(v) for v in model.trainable_variables]

    def forward(*weights):
        return model.stateless_call(weights, statistics, x, training=True)[0]

    assert_close(forward(*weights), arrays["logits_train"])
    upstream = arrays["g"].astype("float64")
    found = gradients(forward, *weights, upstream=upstream)
    checked = 0
    for variable, gradient in zip(
        model.trainable_variables, found, strict=True
    ):
        layer, kind = variable.path.split("/")[-2:]
        source = names[layer]
        suffix = "bias" if kind in ("bias", "beta") else "weight"
        expected = arrays[f"grad_norm/{source}.{suffix}"]
        assert_close(np.linalg.norm(gradient), expected, 2e-5)
        checked += 1
    assert checked == len([k for k in arrays if k.startswith("grad_norm/")])
    first = np.transpose(found[0], (2, 1, 0))
    assert_close(first, arrays["grad/conv1.weight"])
    assert_close(found[-2].T, arrays["grad/fc.weight"])


@pytest.mark.parametrize("name", OFFICIAL)
def test_batch_statistics_equal_the_official_models(golden, name):
    assert_batch_statistics(*official_model(golden, name))


def assert_batch_statistics(model, arrays, names):
    """Checks one training-mode call of a model with recorded weights."""
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    assert_close(model(x, training=True), arrays["logits_train"], 1e-4)
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        source = names[layer.name]
        mean = arrays[f"post_train/{source}.running_mean"]
        assert_close(layer.moving_mean, mean, 1e-4)
        # PyTorch stores the unbiased variance, Keras the biased one.
        count = len(x) * np.prod(layer.input.shape[1:-1])
        old = 0.9 * arrays[f"state/{source}.running_var"].astype("float32")
        batch = arrays[f"post_train/{source}.running_var"] - old
        expected = old + batch * (count - 1) / count
        assert_close(layer.moving_variance, expected, 1e-4)


def official_model(golden, name):
    """Returns our model with the recorded weights, all that was recorded with
    them, and the official name of each of our layers."""
    build = OFFICIAL[name]
    ((config, arrays),) = golden_cases(golden(name))
    options = config["kwargs"]
    model = build(
        input_shape=(*arrays["x"].shape[2:], 3),
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
    names = {}
    used = set()
    for layer in model.layers:
        if layer.weights:
            source = official_name(layer.name)
            if f"{source}.weight" not in state:
                source += ".1"  # a strided one: a pair [pooling, convolution]
            names[layer.name] = source
            used |= load(layer, state, source)
    constants = ("num_batches_tracked", "weight_index_mat")
    assert used == {key for key in state if not key.endswith(constants)}
    return model, arrays, names


def official_name(name):
    """Translates `stage2_block1_conv1_bn` to `layer2.0.bn1`."""
    ends = {"stem_conv": "conv1", "stem_bn": "bn1", "predictions": "fc"}
    if name in ends:
        return ends[name]
    stage, block, part, *norm = name.split("_")
    prefix = f"layer{stage[5:]}.{int(block[5:]) - 1}"
    if part == "shortcut":  # the official module pools first, as number 0
        return f"{prefix}.downsample.{2 if norm else 1}"
    return f"{prefix}.{'bn' if norm else 'conv'}{part[-1]}"


def load(layer, state, source):
    """Sets the weights of a layer; returns the keys of the state it used."""
    if isinstance(layer, keras.layers.BatchNormalization):
        keys = ("weight", "bias", "running_mean", "running_var")
    else:
        keys = ("weight", "bias")[: len(layer.weights)]
    keys = [f"{source}.{key}" for key in keys]
    first, *rest = (state[key] for key in keys)
    if first.ndim == 4:
        first = first[..., 0]  # a 1x1 convolution is one ring
    layer.set_weights([first.T, *rest])  # (out, in, rings) the other way round
    return set(keys)


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


def test_a_shape_of_a_data_set():
    """As `dataset.element_spec` and batches of TensorFlow's have it."""
    shape = pytest.importorskip("tensorflow").TensorShape((None, 28, 1))
    model = SREResNet18(input_shape=shape, **SMALL)
    assert model.input_shape == (None, None, 28, 1)


def test_input_tensor():
    inputs = keras.Input((28, 28, 1))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    model = SREResNet18(input_tensor=scaled, **SMALL)
    assert model.inputs[0] is inputs
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_from_a_file(suffix, tmp_path):
    model = SREResNet18(input_shape=(28, 28, 1), **SMALL)
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    again = SREResNet18(weights=path, input_shape=(28, 28, 1), **SMALL)
    for found, expected in zip(
        again.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def build_shipped(name, **changes):
    """Calls what the message of `weights=name` says, with other arguments."""
    call = weights.WEIGHTS[name].replace("(", "(**arguments, ", 1)
    for argument in changes:
        call = re.sub(rf", {argument}=('\w+'|\(.*?\)|\d+)", "", call)
    arguments = {"weights": name, **changes}
    return eval(call, {**vars(applications), "arguments": arguments})


@pytest.mark.parametrize("name", weights.WEIGHTS)
def test_weights_by_name(name):
    model = build_shipped(name)
    expected = load_shipped(name)
    assert [layer.name for layer in model.layers[1:]] == [
        layer.name for layer in expected.layers[1:]
    ]
    for found, weight in zip(
        model.get_weights(), expected.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, weight)


def load_shipped(name):
    return load_or_skip(ROOT / "saved_models" / name / "model.keras")


@pytest.mark.parametrize(
    "changes",
    [
        {"ring_profile": "hard"},  # of the same shapes
        {"harmonics": (2, 1)},
        {"kernel_sizes": (7, 5, 3, 3)},
        {"width": 16},
        {"classes": 3},
        {"input_shape": (32, 32, 3)},
        {"input_shape": (None, None, 1)},  # has another stem
        {"stem": "official"},
    ],
)
def test_weights_by_name_of_another_architecture(changes):
    message = r"'breastmnist' for another.*SREResNet18\(input_shape=\(32, 32"
    with pytest.raises(ValueError, match=message):
        build_shipped("breastmnist", **changes)


def test_weights_of_other_rings_in_a_file(tmp_path):
    path = tmp_path / "model.keras"
    SREResNet18(input_shape=(28, 28, 1), **SMALL).save(path)
    with pytest.raises(ValueError, match="ring_profile='hard', for.*'linear'"):
        SREResNet18(
            weights=path,
            input_shape=(28, 28, 1),
            ring_profile="linear",
            **SMALL,
        )


def test_a_share_of_no_harmonics_is_none(tmp_path):
    path = tmp_path / "model.keras"
    options = {"input_shape": (28, 28, 1), **SMALL}
    model = SREResNet18(**options)
    model.save(path)
    again = SREResNet18(weights=path, harmonic_fraction=0.25, **options)
    for found, expected in zip(
        again.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="harmonics"):
        SREResNet18(weights=path, harmonics=(1,), **options)


def test_weights_by_name_without_the_top():
    options = {"width": 32, "kernel_sizes": (5, 5, 3, 3), "harmonics": (1, 2)}
    options |= {"ring_profile": "linear", "weights": "pneumoniamnist"}
    model = SREResNet18(
        include_top=False, pooling="avg", input_shape=(45, 40, 1), **options
    )
    whole = load_shipped("pneumoniamnist")
    for found, expected in zip(
        model.get_weights(), whole.get_weights()[:-2], strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_named_weights_of_an_installation(monkeypatch, tmp_path):
    elsewhere = tmp_path / "keras_sre" / "applications" / "weights.py"
    monkeypatch.setattr(weights, "__file__", str(elsewhere))
    shared = tmp_path / "share" / "keras_sre" / "textures" / "model.keras"
    shared.parent.mkdir(parents=True)
    shared.touch()

    class File(pathlib.PurePosixPath):
        def locate(self):
            return tmp_path / self

    installed = [
        File("lib/keras_sre/__init__.py"),
        File("share/keras_sre/textures/model.keras"),
    ]
    metadata = weights.importlib.metadata
    monkeypatch.setattr(metadata, "files", {"keras-sre": installed}.get)
    assert weights.check_weights("textures") == str(shared)
    with pytest.raises(ValueError, match="'breastmnist', which this instal"):
        weights.check_weights("breastmnist")


def test_saved_model_reloads_with_registered_layers_alone(tmp_path, rng):
    model = SREResNet18(input_shape=(28, 28, 1), **SMALL)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, keras.Model)
    x = rng.normal(size=(2, 28, 28, 1)).astype("float32")
    assert_close(again(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_sizes": (9, 9)}, "kernel_sizes=.*one per stage"),
        ({"kernel_sizes": (9, 9, 5, 5, 5)}, "kernel_sizes=.*one per stage"),
        ({"num_rings": (2, 2)}, "num_rings=.*one per stage"),
        ({"kernel_sizes": (4, 3, 3, 3)}, "half a cell"),
        ({"num_rings": (9, 1, 1, 1)}, "num_rings=9"),
        ({"width": 0}, "width=0"),
        (
            {"harmonic_fraction": (0.5, 0.5)},
            "fraction=.*0 to 1, or a tuple of 4",
        ),
        ({"harmonic_fraction": (0, 0, 0, 2)}, "0, 2.*one per stage"),
        ({"harmonic_fraction": "half"}, "'half'. Expected 0 to 1"),
        ({"classes": 0}, "classes=0"),
        ({"pooling": "median"}, "'median'"),
        ({"stem": "huge"}, "'huge'.*'auto', 'small', 'large'"),
        ({"weights": "imagenet"}, "'imagenet'.*or one of 'breastmnist'"),
        ({"weights": "missing.keras"}, "no such file"),
        ({"weights": 5}, "weights=5"),
        ({"harmonics": [[1]]}, "harmonics=.*distinct positive ints"),
        ({"input_shape": (28, 28)}, "input_shape=.*3 numbers"),
        ({"input_shape": 28}, "input_shape=28.*3 numbers"),
        ({"input_shape": (28, "28", 1)}, "input_shape=.*3 numbers"),
        ({"input_tensor": np.zeros((1, 28, 28, 1))}, "input_tensor of type"),
    ],
    ids=str,
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SREResNet18(**{"input_shape": (28, 28, 1), **SMALL, **options})


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(policy, rng):
    keras.config.set_dtype_policy(policy)
    options = {**SMALL, "kernel_sizes": (3, 3, 3, 3)}
    model = SREResNet18(input_shape=(12, 12, 1), **options)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rng.normal(size=(4, 12, 12, 1)).astype("float32")
    assert np.isfinite(model.train_on_batch(x, np.array([0, 1, 2, 0])))
    assert model.output.dtype == "float32"
