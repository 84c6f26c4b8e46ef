"""The report on equivariance: its numbers, and the layers that it blames."""

import json
import sys

import keras
import numpy as np
import pytest
from helpers import equivariance_error
from helpers import grid_transforms
from keras import layers

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv3D
from keras_sre import SymmetricPooling2D
from keras_sre import transforms
from keras_sre.applications import SREResNet18
from keras_sre.applications import SREUNet
from keras_sre.equivariance import equivariance_report
from keras_sre.equivariance.symmetries import generators
from keras_sre.equivariance.symmetries import grid_symmetries

BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


def noise(*shape):
    return np.random.default_rng(5).normal(size=shape).astype("float32")


def chain(*parts, shape=(8, 8, 3), name="model"):
    return keras.Sequential([keras.Input(shape), *parts], name=name)


def report_on(*parts, shape=(8, 8, 3), **options):
    """Returns the report on a chain of layers, without angles."""
    options = {"angles": (), **options}
    return equivariance_report(
        chain(*parts, shape=shape), noise(2, *shape), **options
    )


def names(report):
    return [offender.name for offender in report.offenders]


def constant_conv(kernel, **options):
    """Returns a convolution from one channel to one, of a given kernel."""
    kernel = np.asarray(kernel, "float32")[..., None, None]
    return layers.Conv2D(
        1,
        kernel.shape[:2],
        use_bias=False,
        kernel_initializer=lambda shape, dtype=None: (
            keras.ops.convert_to_tensor(kernel)
        ),
        **options,
    )


# === Symmetries ===


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_symmetries_are_those_of_the_grid(rank):
    x = noise(1, *[3] * rank, 2)
    expected = {y(x).tobytes() for _, y in grid_transforms(rank)}
    found = [s(x).tobytes() for s in grid_symmetries(rank, flips=True)]
    assert len(found) == len(expected) == {1: 2, 2: 8, 3: 48}[rank]
    assert set(found) == expected


def test_proper_symmetries_of_images_are_quarter_turns():
    x = noise(1, 3, 3, 2)
    expected = {np.rot90(x, k, (1, 2)).tobytes() for k in range(4)}
    found = {s(x).tobytes() for s in grid_symmetries(2, flips=False)}
    assert found == expected


@pytest.mark.parametrize("flips", [True, False], ids=["flips", "no-flips"])
@pytest.mark.parametrize(
    "sizes", [(3,), (3, 3), (3, 4), (3, 3, 3), (3, 4, 3), (3, 4, 5)], ids=str
)
def test_generators_generate_all_that_keep_the_shape(sizes, flips):
    rank = len(sizes)
    x = noise(1, *sizes, 1)

    def images(symmetries, arrays):
        return {
            s(y).tobytes(): s(y)
            for y in arrays
            for s in symmetries
            if s.keeps(sizes)
        }

    reached = {x.tobytes(): x}
    while True:
        more = images(generators(rank, flips), reached.values())
        if more.keys() <= reached.keys():
            break
        reached |= more
    expected = images(grid_symmetries(rank, flips), [x])
    assert reached.keys() == expected.keys()


# === Errors ===


def test_grid_error_worked_by_hand():
    # y[i, j] = x[i, j] - x[i, j + 1], zeros outside.
    layer = constant_conv([[0, 0, 0], [0, 1, -1], [0, 0, 0]], padding="same")
    x = np.array([[3.0, 1.0], [0.0, 2.0]], "float32").reshape(1, 2, 2, 1)
    # y = [[2, 1], [-2, 2]]. Mirrored left to right, x = [[1, 3], [2, 0]] gives
    # [[-2, 3], [2, 0]] and not [[1, 2], [2, -2]]: differences up to 3. The
    # half turn, x = [[2, 0], [1, 3]], gives [[2, 0], [-2, 3]] and not
    # [[2, -2], [1, 2]]: up to 3. Transposed, x = [[3, 0], [1, 2]] gives
    # [[3, 0], [-1, 2]] and not [[2, -2], [1, 2]]: up to 2.
    report = equivariance_report(layer, x, angles=())
    assert report.grid_error == pytest.approx(3 / 2)
    assert report.num_symmetries == 8


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grid_error_equals_that_of_the_test_helpers(rank):
    conv = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    model = chain(conv(2, 3, padding="same"), shape=(*[4] * rank, 2))
    x = noise(2, *[4] * rank, 2)
    expected, _ = equivariance_error(model, x, rank)
    report = equivariance_report(model, x, angles=())
    assert report.grid_error == pytest.approx(expected, rel=1e-4)


def test_vectors_should_stay_as_they_are():
    total = [layers.GlobalAveragePooling2D()]
    assert report_on(*total).grid_error < 1e-6
    report = report_on(layers.Cropping2D(((1, 0), (0, 0))), *total)
    assert report.grid_error > 0.01


def test_without_flips_reflections_are_not_tested():
    # A kernel with the quarter turns but without the reflections.
    spoke = np.zeros((5, 5))
    spoke[0, 1:3] = 1, 2
    wheel = sum(np.rot90(spoke, k) for k in range(4))
    model = chain(constant_conv(wheel, name="wheel"), shape=(8, 8, 1))
    x = noise(2, 8, 8, 1)
    turned = equivariance_report(model, x, angles=(), flips=False)
    assert turned.exact and turned.num_symmetries == 4
    assert turned.grid_error < 1e-6
    reflected = equivariance_report(model, x, angles=())
    assert names(reflected) == ["wheel"]
    assert "5x5 kernel differs" in reflected.offenders[0].reason


def test_unequal_sides():
    conv = SREConv2D(2, 3, padding="same")
    x = noise(2, 6, 9, 1)
    fixed = chain(conv, shape=(6, 9, 1))
    assert equivariance_report(fixed, x, angles=()).num_symmetries == 4
    free = chain(conv, shape=(None, None, 1))
    report = equivariance_report(free, x, angles=())
    assert report.num_symmetries == 8
    assert report.exact


def test_quarter_turns_agree_with_the_grid():
    model = chain(layers.Conv2D(2, 3), shape=(7, 7, 1))
    x = noise(2, 7, 7, 1)
    report = equivariance_report(model, x, angles=(0, 90))
    y = np.asarray(model.predict(x, verbose=0))
    expected = np.rot90(y, 1, (1, 2))
    found = model.predict(np.rot90(x, 1, (1, 2)).copy(), verbose=0)
    # Of the 5x5 map the disc through the centres of the border cells.
    disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    error = np.linalg.norm((found - expected)[:, disc])
    error /= np.linalg.norm(expected[:, disc])
    assert report.per_angle[0] == 0
    assert report.per_angle[90] == pytest.approx(error, rel=1e-5)


def test_other_angles_turn_images_and_maps_alike():
    # A pointwise linear map commutes with every resampling.
    model = chain(constant_conv([[-2.0]]), shape=(9, 9, 1))
    x = noise(2, 9, 9, 1)
    report = equivariance_report(model, x, angles=(-20, 37.5))
    assert list(report.per_angle) == [-20, 37.5]
    assert max(report.per_angle.values()) < 1e-6


def test_angle_error_of_vectors():
    model = chain(
        layers.Conv2D(3, 3), layers.GlobalMaxPooling2D(), shape=(9, 9, 1)
    )
    x = noise(2, 9, 9, 1)
    report = equivariance_report(model, x, angles=(30,))
    y = model.predict(x, verbose=0)
    turned = transforms.rotate(x, 30, "bilinear")
    error = np.linalg.norm(model.predict(turned, verbose=0) - y)
    expected = error / np.linalg.norm(y)
    assert report.per_angle[30] == pytest.approx(expected, rel=1e-4)


def test_isotropic_kernels_turn_better_at_every_angle():
    x = keras.ops.convert_to_numpy(
        keras.ops.average_pool(noise(4, 24, 24, 1), 5, strides=1)
    )
    angles = range(15, 90, 15)
    blurred, plain = (
        equivariance_report(
            chain(constant_conv(kernel, padding="same"), shape=x.shape[1:]),
            x,
            angles=angles,
        ).per_angle
        for kernel in (BLUR, np.diag([1.0, 0.0, -1.0]))
    )
    assert all(blurred[angle] < 0.3 * plain[angle] for angle in angles)


def test_volumes_turn_about_three_axes():
    kernel = np.zeros((3, 3, 3, 1, 1), "float32")
    kernel[1, 1, 2] = 1  # takes the next cell along the last axis
    layer = layers.Conv3D(1, 3, padding="same", use_bias=False)
    model = chain(layer, shape=(5, 5, 5, 1))
    model.set_weights([kernel])
    x = noise(1, 5, 5, 5, 1)
    about_each = []
    for axis in "xyz":
        y = transforms.rotate(model.predict(x, verbose=0), 90, axis=axis)
        turned = transforms.rotate(x, 90, axis=axis)
        found = model.predict(turned, verbose=0)
        i, j, k = np.mgrid[-2:3, -2:3, -2:3]
        ball = i**2 + j**2 + k**2 <= 4
        about_each.append(
            np.linalg.norm((found - y)[:, ball]) / np.linalg.norm(y[:, ball])
        )
    report = equivariance_report(model, x, angles=(90,))
    assert min(about_each) < 1e-6 < max(about_each)  # along z it is at rest
    assert report.per_angle[90] == pytest.approx(np.mean(about_each), rel=1e-4)


def test_steps_have_no_angles():
    report = report_on(SREConv1D(2, 3), shape=(8, 1), angles=(30,))
    assert report.per_angle == {}
    assert report.exact and report.num_symmetries == 2


# === Whole networks ===


@pytest.mark.parametrize(
    ("build", "input_shape", "shape", "num_symmetries"),
    [
        (SREResNet18, (28, 28, 1), (2, 28, 28, 1), 8),
        (SREUNet, (None, None, 1), (2, 29, 33, 1), 8),
        (SREUNet, (6, 6, 6, 1), (2, 6, 6, 6, 1), 48),
    ],
    ids=["28x28", "29x33-free", "6x6x6"],
)
def test_exact_networks(build, input_shape, shape, num_symmetries):
    model = build(
        input_shape=input_shape,
        width=4,
        kernel_sizes=(3,) * (4 if build is SREResNet18 else 2),
        classifier_activation=None,
    )
    for layer in model.layers:
        if hasattr(layer, "beta"):  # so few units may all be dead, else
            layer.beta.assign(np.ones(layer.beta.shape))
    report = equivariance_report(model, noise(*shape), angles=(30,))
    assert report.per_angle[30] > 1e-4  # it sees its input
    assert report.grid_error <= 1e-5
    assert report.offenders == ()
    assert report.exact
    assert report.num_symmetries == num_symmetries


def test_a_plain_network_names_its_convolutions():
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    y = layers.Conv2D(4, 3, padding="same", name="conv2")(x)
    x = layers.Add(name="add")([x, y])
    x = layers.MaxPooling2D(3, 2, "same", name="pool")(x)
    x = layers.Conv2D(4, 1, name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, layers.Dense(2, name="dense")(x))
    report = equivariance_report(model, noise(2, 16, 16, 1), angles=())
    assert names(report) == ["conv1", "conv2", "pool"]
    assert not report.exact


# === Offenders, each cause alone ===

CAUSES = {
    "kernel": (
        lambda: layers.Conv2D(2, 3),
        "its 3x3 kernel differs from its turned copies",
        "SREConv2D, or keras_sre.convert",
    ),
    "depthwise-kernel": (
        lambda: layers.DepthwiseConv2D(3),
        "its 3x3 kernel differs from its turned copies",
        "SREDepthwiseConv2D",
    ),
    "transposed": (
        lambda: layers.Conv2DTranspose(
            2, 3, strides=2, padding="same", kernel_initializer="ones"
        ),
        "Conv2DTranspose 3x3 at stride 2 samples 8x8 maps off-centre",
        "kernel_size even at even strides, odd at odd ones",
    ),
    "max-pooling": (
        lambda: layers.MaxPooling2D(3, 2, "same"),
        "max pooling 3x3 at stride 2 samples 8x8 maps off-centre",
        "SymmetricPooling2D",
    ),
    "even-pooling": (
        lambda: layers.AveragePooling2D(2, 1, "same"),
        "average pooling 2x2 at stride 1 samples 8x8 maps off-centre",
        "windows of odd size",
    ),
    "pointwise-stride": (
        lambda: layers.Conv2D(2, 1, strides=2),
        "Conv2D 1x1 at stride 2 samples 8x8 maps off-centre",
        "SymmetricPooling2D before it, and strides=1",
    ),
    "ring-stride": (
        lambda: SREConv2D(2, 3, strides=2, padding="same"),
        "SREConv2D 3x3 at stride 2 samples 8x8 maps off-centre",
        "SymmetricPooling2D before it, and strides=1",
    ),
    "ring-spacing": (
        lambda: SREConv2D(2, 3, spacing=(1, 2)),
        "spacing=(1.0, 2.0) treats the axes differently",
        "equal spacing",
    ),
    "unequal-kernel": (
        lambda: SREConv2D(2, (3, 5), padding="same"),
        "kernel_size=(3, 5) treats the axes differently",
        "equal kernel_size",
    ),
    "zero-padding": (
        lambda: layers.ZeroPadding2D(((0, 1), (0, 1))),
        "ZeroPadding2D pads ((0, 1), (0, 1)): more on one side",
        "the same on all sides",
    ),
    "zero-padding-of-one-axis": (
        lambda: layers.ZeroPadding2D((1, 2)),
        "ZeroPadding2D pads ((1, 1), (2, 2)): more along one axis",
        "the same on all sides",
    ),
    "cropping": (
        lambda: layers.Cropping2D(((1, 0), (1, 0))),
        "Cropping2D crops ((1, 0), (1, 0)): more on one side",
        "the same on all sides",
    ),
    "flatten": (
        lambda: layers.Flatten(),
        "Flatten keeps positions apart",
        "GlobalAveragePooling2D",
    ),
    "reshape": (
        lambda: layers.Reshape((4, 16, 3)),
        "Reshape keeps positions apart",
        "GlobalAveragePooling2D",
    ),
    "permute": (
        lambda: layers.Permute((2, 1, 3)),
        "Permute reorders the axes as (2, 1, 3)",
        "leave it out",
    ),
    "up-sampling": (
        lambda: layers.UpSampling2D((1, 2)),
        "size=(1, 2) treats the axes differently",
        "equal size",
    ),
    "unknown": (
        lambda: layers.Lambda(lambda x: x - keras.ops.roll(x, 1, axis=1)),
        "its output does not turn with its input",
        "a layer that treats all directions alike",
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_cause_and_cure(cause):
    build, reason, cure = CAUSES[cause]
    layer = build()
    before = SREConv2D(3, 3, padding="same")
    report = report_on(before, layer, layers.ReLU())
    (offender,) = report.offenders
    assert offender.name == layer.name
    assert (offender.reason, offender.cure) == (reason, cure)
    assert offender.error > 0.1
    assert not report.exact


@pytest.mark.parametrize(
    "build",
    [
        lambda: SREConv2D(2, 3, padding="same"),
        lambda: SREConv2D(2, 2, strides=2),
        lambda: SREConv2D(4, 3, harmonics=(1,)),
        lambda: layers.Conv2D(2, 3, kernel_initializer="ones"),
        lambda: layers.DepthwiseConv2D(3, depthwise_initializer="ones"),
        lambda: layers.Conv2DTranspose(
            2, 2, strides=2, padding="same", kernel_initializer="ones"
        ),
        lambda: layers.MaxPooling2D(2),
        lambda: layers.AveragePooling2D(2, 1),
        lambda: SymmetricPooling2D(3),
        lambda: layers.ZeroPadding2D(1),
        lambda: layers.Cropping2D(1),
        lambda: layers.GlobalMaxPooling2D(),
        lambda: layers.UpSampling2D(2),
        lambda: layers.Dense(2),
    ],
    ids=[
        "ring",
        "ring-stride-centred",
        "harmonics",
        "even-kernel",
        "even-depthwise-kernel",
        "transposed-centred",
        "max-pooling-centred",
        "valid-pooling",
        "symmetric-pooling",
        "zero-padding-all-round",
        "cropping-all-round",
        "global-pooling",
        "up-sampling",
        "dense-per-cell",
    ],
)
def test_no_cause(build):
    report = report_on(build())
    assert report.exact
    assert report.offenders == ()


def test_two_causes_in_one_layer():
    report = report_on(layers.Conv2D(2, 3, strides=2, padding="same"))
    reason = report.offenders[0].reason
    assert "kernel differs" in reason and "off-centre" in reason


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda: layers.Conv1D(
                2, 3, padding="causal", kernel_initializer="ones"
            ),
            "causal padding adds zeros on one side only",
        ),
        (
            lambda: layers.Conv1D(2, 3),
            "its 3-cell kernel differs from its turned copies",
        ),
        (
            lambda: layers.MaxPooling1D(3, 2),
            "max pooling 3-cell at stride 2 samples 8-cell maps off-centre",
        ),
        (
            lambda: layers.ZeroPadding1D((0, 1)),
            "ZeroPadding1D pads (0, 1): more on one side",
        ),
    ],
    ids=["causal", "kernel", "pooling", "zero-padding"],
)
def test_causes_along_steps(build, reason):
    report = report_on(build(), shape=(8, 2))
    assert [offender.reason for offender in report.offenders] == [reason]


def test_sampling_depends_on_the_size():
    pool = layers.MaxPooling2D(3, 2, "same")
    model = chain(pool, shape=(None, None, 1))
    even = equivariance_report(model, noise(2, 8, 8, 1), angles=())
    odd = equivariance_report(model, noise(2, 9, 9, 1), angles=())
    assert names(even) == [pool.name]
    assert odd.exact


def test_volumes():
    parts = [SREConv3D(2, 3, name="ring"), layers.MaxPooling3D(2, name="pool")]
    report = report_on(*parts, shape=(5, 5, 5, 1))
    assert report.num_symmetries == 48
    assert names(report) == ["pool"]
    assert report.offenders[0].reason == (
        "max pooling 2x2x2 at stride 2 samples 3x3x3 maps off-centre"
    )


# === Graphs ===


def test_nested_models_are_looked_into():
    inner = chain(
        layers.Conv2D(2, 3, name="conv"), name="inner", shape=(6, 6, 2)
    )
    inputs = keras.Input((6, 6, 2))
    x = layers.ReLU(name="relu")(inner(inputs, training=False))
    middle = keras.Model(inputs, x, name="middle")
    report = report_on(middle, layers.ReLU(name="last"), shape=(6, 6, 2))
    assert names(report) == ["middle/inner/conv"]


def test_several_inputs_and_outputs():
    image = keras.Input((8, 8, 1), name="image")
    mask = keras.Input((8, 8, 1), name="mask")
    age = keras.Input((1,), name="age")
    x = layers.Multiply(name="masked")([image, mask])
    smaller = SymmetricPooling2D(name="smaller")(x)
    larger = layers.UpSampling2D(2, name="larger")(x)
    features = layers.GlobalAveragePooling2D(name="mean")(smaller)
    features = layers.Concatenate(name="joined")([features, age])
    outputs = {"smaller": smaller, "larger": larger, "vector": features}
    data = {
        "image": noise(3, 8, 8, 1),
        "mask": noise(3, 8, 8, 1) + 1,
        "age": noise(3, 1),
    }
    inputs = {"image": image, "mask": mask, "age": age}
    model = keras.Model(inputs, outputs)
    report = equivariance_report(model, data, angles=(90,))
    assert report.exact
    assert report.per_angle[90] < 1e-5
    outputs["larger"] = layers.Conv2D(1, 3, name="conv")(larger)
    model = keras.Model(inputs, outputs)
    report = equivariance_report(model, data, angles=(90,))
    assert names(report) == ["conv"]
    assert report.grid_error > 0.1 and report.per_angle[90] > 0.1


def test_constants_do_not_turn():
    ramp = np.arange(36, dtype="float32").reshape(1, 6, 6, 1)
    inputs = keras.Input((6, 6, 1))
    outputs = keras.ops.add(inputs, keras.ops.convert_to_tensor(ramp))
    model = keras.Model(inputs, outputs)
    report = equivariance_report(model, noise(1, 6, 6, 1), angles=())
    assert len(report.offenders) == 1
    flat = keras.ops.convert_to_tensor(np.ones_like(ramp))
    model = keras.Model(inputs, keras.ops.add(inputs, flat))
    assert equivariance_report(model, noise(1, 6, 6, 1), angles=()).exact


def test_a_shared_layer_is_named_once():
    conv = layers.Conv2D(1, 3, padding="same", name="conv")
    report = report_on(
        keras.Sequential([conv]), keras.Sequential([conv]), shape=(6, 6, 1)
    )
    assert len(report.offenders) == 2  # by two paths
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, conv(conv(inputs)))
    report = equivariance_report(model, noise(1, 6, 6, 1), angles=())
    assert names(report) == ["conv"]


def test_layers_run_as_in_predict():
    report = report_on(
        layers.RandomTranslation(0.5, 0.5), layers.Dropout(0.5), layers.ReLU()
    )
    assert report.exact


class Subclassed(keras.Model):
    def __init__(self, conv):
        super().__init__(name="subclassed")
        self.conv = conv

    def call(self, inputs):
        return self.conv(inputs)


def test_subclassed_models_are_named_as_a_whole():
    x = noise(2, 6, 6, 1)
    exact = equivariance_report(Subclassed(SREConv2D(1, 3)), x, angles=(0,))
    assert exact.exact
    assert exact.per_angle == {0: 0.0}
    report = equivariance_report(Subclassed(layers.Conv2D(1, 3)), x, angles=())
    assert names(report) == ["subclassed"]
    assert "no graph" in report.offenders[0].reason


def test_unbuilt_models_and_single_layers():
    x = noise(40, 6, 6, 1)
    unbuilt = keras.Sequential([layers.Conv2D(1, 3, name="conv")])
    assert names(equivariance_report(unbuilt, x, angles=())) == ["conv"]
    pool = layers.MaxPooling2D(3, 2, name="pool")
    report = equivariance_report(pool, x, angles=(90,))
    assert names(report) == ["pool"]
    assert report.per_angle[90] > 0.1


def test_a_saturated_output_hides_no_offender():
    report = report_on(
        layers.Conv2D(2, 3, name="conv"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, "sigmoid", bias_initializer=lambda *_, **__: [100.0]),
    )
    assert report.grid_error == 0
    assert names(report) == ["conv"]
    assert not report.exact


def test_tokens_in_another_order_are_no_offence_where_all_is_exact():
    report = report_on(
        layers.Reshape((64, 3)), layers.Dense(2), layers.GlobalMaxPooling1D()
    )
    assert report.exact


def test_channels_first():
    first = {"data_format": "channels_first"}
    ring = SREConv2D(2, 3, padding="same", name="ring", **first)
    # Turned as if channels were last, it would be no map of equal sides.
    x = noise(2, 3, 8, 8)
    model = chain(ring, shape=(3, 8, 8))
    report = equivariance_report(model, x, angles=(0, 90))
    assert report.exact and report.num_symmetries == 8
    assert report.per_angle[90] < 1e-5
    model = chain(ring, layers.Dense(8, name="dense"), shape=(3, 8, 8))
    (offender,) = equivariance_report(model, x, angles=()).offenders
    assert offender.name == "dense"
    assert "spatial" in offender.reason


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    ring = SREConv2D(2, 3, padding="same", dtype=policy)
    assert report_on(ring).exact
    pool = layers.MaxPooling2D(3, 2, "same", name="pool", dtype=policy)
    assert names(report_on(ring, pool)) == ["pool"]


# === The report ===


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(7)
    return report_on(layers.Conv2D(2, 3, name="conv"), angles=range(0, 360, 45))


def test_table(plain):
    text = str(plain)
    title, grid, *_, last = text.splitlines()
    assert title == "model: not exact on the grid's own symmetries"
    assert f"{plain.grid_error:.2g}" in grid and "8 symmetries" in grid
    assert last.split()[:2] == ["conv", f"{plain.offenders[0].error:.2g}"]
    assert "3x3 kernel" in last and "SREConv2D" in last
    exact = str(report_on(layers.ReLU()))
    assert exact.startswith("model: exact on") and "layers" not in exact


def test_dict_is_json(plain):
    found = json.loads(json.dumps(plain.as_dict(), allow_nan=False))
    assert found == plain.as_dict()
    assert found["per_angle"]["45"] == plain.per_angle[45]
    assert found["offenders"][0]["name"] == "conv"
    assert found["exact"] is False


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a", b"\x89PNG")],
)
def test_plot(plain, tmp_path, name, start):
    assert plain.plot(str(tmp_path / name)) == tmp_path / name
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_plot_errors(plain, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="suffix of .*png"):
        plain.plot(tmp_path / "a.docx")
    with pytest.raises(ValueError, match="no folder"):
        plain.plot(tmp_path / "missing" / "a.png")
    with pytest.raises(ValueError, match="without angles"):
        report_on(layers.ReLU()).plot(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plain.plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


IMAGES = noise(2, 8, 8, 3)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (IMAGES[..., 0], {}, r"\(2, 8, 8\).*Expected 1 array\(s\) of 4 axes"),
        (noise(2, 3), {}, r"\(2, 3\).*axes"),
        (IMAGES[:0], {}, "empty batch"),
        (IMAGES * np.nan, {}, "NaN"),
        (np.array(["a"]), {}, "array of numbers"),
        ([], {}, "array of numbers"),
        (noise(2, 8, 8, 4), {}, r"\(2, 8, 8, 4\), on which the model fails"),
        (IMAGES, {"angles": ["ten"]}, r"angles=\['ten'\].*degrees"),
        (IMAGES, {"angles": 30}, "Expected finite numbers"),
        (IMAGES, {"angles": [np.inf]}, "Expected finite numbers"),
    ],
    ids=[
        "no-channels",
        "no-images",
        "empty",
        "nan",
        "text",
        "nothing",
        "channels",
        "angle-text",
        "angle-number",
        "angle-infinite",
    ],
)
def test_bad_input(x, options, message):
    model = chain(layers.Conv2D(1, 3))
    with pytest.raises(ValueError, match=message):
        equivariance_report(model, x, **options)


def two_inputs():
    first, second = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([first, second], first + second)


def test_inputs_of_different_batches():
    with pytest.raises(ValueError, match="batches of different sizes"):
        equivariance_report(
            two_inputs(), [noise(3, 8, 8, 1), noise(1, 8, 8, 1)]
        )
    with pytest.raises(ValueError, match=r"Expected 2 array\(s\) of 4, 4 axes"):
        equivariance_report(two_inputs(), noise(3, 8, 8, 1))


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_a_fixed_batch(batch):
    """It is filled up with the first samples, which count once."""
    inputs = keras.Input(batch_shape=(batch, 6, 6, 1))
    x = keras.ops.reshape(layers.ReLU()(inputs), (batch, 36))
    flat = keras.Model(inputs, x)
    x = noise(4, 6, 6, 1)
    loose = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.ReLU(), layers.Flatten()]
    )
    found = equivariance_report(flat, x, angles=(20,))
    expected = equivariance_report(loose, x, angles=(20,))
    assert found.grid_error == pytest.approx(expected.grid_error)
    assert found.per_angle == pytest.approx(expected.per_angle)
    exact = keras.Model(inputs, layers.ReLU()(inputs))
    assert equivariance_report(exact, x, angles=()).exact


def test_bad_model():
    inputs = keras.Input((6,))
    tokens = keras.Model(inputs, layers.Embedding(4, 3)(inputs))
    with pytest.raises(ValueError, match="inputs have 2 axes. Expected one"):
        equivariance_report(tokens, np.ones((2, 6)))
    with pytest.raises(ValueError, match="type function. Expected a Keras"):
        equivariance_report(noise, IMAGES)


def test_bad_output():
    inputs = keras.Input((8, 8, 1))
    mean = keras.Model(inputs, keras.ops.mean(inputs))
    with pytest.raises(ValueError, match="returns one number for a batch"):
        equivariance_report(mean, noise(2, 8, 8, 1))
    with pytest.raises(ValueError, match="returns NaN"):
        report_on(layers.Rescaling(np.nan))
