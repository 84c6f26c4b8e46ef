"""SRE-UNet: its segmentation turns with the image, at every size."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import to_numpy

from keras_sre.applications import SREUNet

SMALL = {"kernel_sizes": (5, 3, 3), "width": 4}


@pytest.mark.parametrize(
    ("side", "harmonics"),
    # Halved once, 16 and 19 become even, 17 and 18 odd.
    [*((side, ()) for side in (16, 17, 18, 19)), (18, (1, 2)), (19, (1, 2))],
    ids=str,
)
def test_is_equivariant_at_every_size(side, harmonics, rng):
    model = SREUNet(
        input_shape=(side, side, 2),
        classifier_activation=None,  # probabilities hide changes
        harmonics=harmonics,
        **SMALL,
    )
    x = rng.normal(size=(1, side, side, 2)).astype("float32")
    assert model.output_shape == (None, side, side, 2)
    assert_equivariant(model, x, 2)


def test_unequal_and_unknown_sizes(rng):
    options = {"classes": 3, "classifier_activation": None, **SMALL}
    model = SREUNet(input_shape=(None, None, 1), **options)
    x = rng.normal(size=(1, 21, 14, 1)).astype("float32")
    assert to_numpy(model(x)).shape == (1, 21, 14, 3)
    assert_equivariant(model, x, 2)
    known = SREUNet(input_shape=(21, 14, 1), **options)
    known.set_weights(model.get_weights())
    assert_close(known(x), model(x))


@pytest.mark.parametrize("side", [8, 9])
def test_is_equivariant_in_3d(side, rng):
    model = SREUNet(
        input_shape=(side, side, side, 1),
        classifier_activation=None,
        kernel_sizes=(3, 3),
        width=2,
    )
    x = rng.normal(size=(1, side, side, side, 1)).astype("float32")
    assert model.output_shape == (None, side, side, side, 2)
    assert_equivariant(model, x, 3)


def test_a_network_of_keras_poolings_is_not(rng):
    """The same check tells an ordinary U-Net from this one."""
    inputs = keras.Input((17, 17, 1))
    x = keras.layers.MaxPooling2D(2, padding="same")(inputs)
    x = keras.layers.UpSampling2D(2)(x)
    model = keras.Model(inputs, keras.layers.Cropping2D(((0, 1), (0, 1)))(x))
    image = rng.normal(size=(1, 17, 17, 1)).astype("float32")
    with pytest.raises(AssertionError, match="error"):
        assert_equivariant(model, image, 2)


def test_learns_to_segment_and_keeps_its_symmetry(rng):
    """Bright squares on noise: after training better than all background."""
    x = rng.normal(size=(16, 17, 17, 1)).astype("float32")
    y = np.zeros((16, 17, 17), "int32")
    for image, mask in zip(x, y, strict=True):
        row, column = rng.integers(0, 11, 2)
        image[row : row + 6, column : column + 6] += 3
        mask[row : row + 6, column : column + 6] = 1
    # Logits: torch cannot differentiate Keras' softmax of a map.
    model = SREUNet(
        input_shape=(17, 17, 1),
        classifier_activation=None,
        kernel_sizes=(3, 3),
        width=8,
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(x, y, epochs=20, batch_size=8, verbose=0)
    assert history.history["accuracy"][-1] > 0.95 > 1 - y.mean()
    assert_equivariant(model, x[:1], 2)


def test_saves_loads_and_reads_weights(rng, tmp_path):
    x = rng.normal(size=(1, 16, 16, 1)).astype("float32")
    model = SREUNet(input_shape=(16, 16, 1), **SMALL)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_close(again(x), model(x))
    weights = tmp_path / "model.weights.h5"
    read = SREUNet(input_shape=(16, 16, 1), weights=weights, **SMALL)
    assert_close(read(x), model(x))


def test_options_reach_the_layers():
    tensor = keras.Input((16, 16, 1))
    model = SREUNet(
        include_top=False,
        input_tensor=tensor,
        kernel_sizes=(5, 3),
        num_rings=(2, 1),
        ring_profile="linear",
        harmonics=1,
        harmonic_fraction=(1, 0),
        width=4,
    )
    assert model.output_shape == (None, 16, 16, 4)
    assert model.get_layer("down0_conv1").num_rings == 2
    assert model.get_layer("up0_conv2").kernel_size == (5, 5)
    assert model.get_layer("down1_conv2").ring_profile == "linear"
    assert model.get_layer("down1_conv2").filters == 8
    assert list(model.get_layer("up0_conv1").harmonic_kernels) == [1]
    assert not model.get_layer("down1_conv1").harmonic_kernels


@pytest.mark.parametrize("sequence", [list, np.array])
@pytest.mark.parametrize("shape", [(9, 8, 1), (6, 7, 8, 2)], ids=str)
def test_shapes_and_sizes_of_other_kinds(sequence, shape):
    model = SREUNet(
        input_shape=sequence(shape), kernel_sizes=sequence((5, 3)), width=2
    )
    assert model.input_shape == (None, *shape)
    assert model.get_layer("down1_conv1").kernel_size == (3,) * (len(shape) - 1)


def test_mixed_precision_keeps_float32_probabilities():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = SREUNet(input_shape=(16, 16, 1), kernel_sizes=(3, 3), width=4)
    y = model(np.ones((1, 16, 16, 1)))
    assert keras.backend.standardize_dtype(y.dtype) == "float32"


@pytest.mark.parametrize("sizes", [(9, 9), (7, 7, 7)])
def test_probabilities_of_channels_first_are_of_the_classes(sizes, rng):
    arguments = {"classes": 3, "width": 2, "kernel_sizes": (3, 3)}
    last = SREUNet(input_shape=(*sizes, 1), **arguments)
    keras.config.set_image_data_format("channels_first")
    first = SREUNet(input_shape=(1, *sizes), **arguments)
    first.set_weights(last.get_weights())
    x = rng.normal(size=(2, *sizes, 1))
    found = to_numpy(first(np.moveaxis(x, -1, 1)))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert_close(np.moveaxis(found, 1, -1), last(x))


@pytest.mark.parametrize("activation", ["log_softmax", "sparsemax"])
def test_activations_that_know_no_other_axis_are_refused(activation):
    keras.config.set_image_data_format("channels_first")
    with pytest.raises(ValueError, match=f"{activation}' with channels first"):
        SREUNet(
            input_shape=(1, 8, 8), classifier_activation=activation, width=2
        )


def test_a_level_of_single_taps_has_no_harmonics():
    model = SREUNet(
        input_shape=(8, 8, 1), kernel_sizes=(5, 1), harmonics=(1,), width=2
    )
    assert model.get_layer("down0_conv1").harmonics == (1,)
    assert model.get_layer("down1_conv1").kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (16, 1)}, "input_shape=\\(16, 1\\)"),
        ({"input_shape": (16, 16, None)}, "only sizes may be None"),
        ({"input_tensor": np.zeros((1, 8, 8, 1))}, "input_tensor of type"),
        ({"width": 0}, "width=0"),
        ({"classes": 0}, "classes=0"),
        ({"kernel_sizes": (4, 4)}, "half a cell"),
        ({"kernel_sizes": ()}, "kernel_sizes="),
        ({"kernel_sizes": 5}, "kernel_sizes=5.*one per level"),
        ({"kernel_sizes": None}, "kernel_sizes=None.*one per level"),
        ({"kernel_sizes": np.int64(3)}, "kernel_sizes=.*3.*one per level"),
        ({"input_shape": 28}, "input_shape=28"),
        ({"input_shape": "abc"}, "input_shape='abc'.*3 numbers"),
        ({"num_rings": (2, 2)}, "num_rings=.*level"),
        ({"harmonic_fraction": (1,)}, "harmonic_fraction=.*one per level"),
        ({"weights": "nothing"}, "weights='nothing'"),
        ({"harmonics": (4,), "kernel_sizes": (3, 3)}, "order 4"),
    ],
    ids=str,
)
def test_bad_arguments_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        SREUNet(**options)
