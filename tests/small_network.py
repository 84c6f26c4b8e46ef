"""Networks and data that train in a second."""

import keras
import numpy as np
from helpers import to_numpy

from keras_sre import SREConv2D
from keras_sre import SymmetricPooling2D
from keras_sre.layers import FusedBatchNormalization


def classifier(policy=None, convolution=SREConv2D):
    """Returns a small network that is invariant under the grid's symmetries.

    With `convolution=keras.layers.Conv2D` it is its plain twin.
    """
    layers = keras.layers
    options = {"padding": "same", "dtype": policy}
    return keras.Sequential(
        [
            keras.Input((9, 9, 1)),
            convolution(6, 5, use_bias=False, name="first", **options),
            layers.BatchNormalization(dtype=policy),
            layers.ReLU(dtype=policy),
            SymmetricPooling2D(dtype=policy),
            convolution(8, 3, name="second", **options),
            layers.ReLU(dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
            layers.Dense(2, dtype="float32", name="head"),
        ]
    )


def model_of(config, image_shape, classes, activation="softmax"):
    """Stands for `models.model_of`: two convolutions in place of eighteen."""
    return build_model(
        config.model, image_shape, classes, classifier_activation=activation
    )


def build_model(
    name, input_shape, classes, *_, classifier_activation="softmax", **options
):
    """Stands for `models.build_model`, for images."""
    layers = SREConv2D, FusedBatchNormalization
    if not name.startswith("sre"):
        layers = keras.layers.Conv2D, keras.layers.BatchNormalization
    convolution, normalization = layers
    x = inputs = keras.Input(input_shape)
    for stage, filters in enumerate((4, 8), 1):
        x = convolution(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU(name=f"stage{stage}_relu")(normalization()(x))
        x = keras.layers.AveragePooling2D(4, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(classes, classifier_activation)(x)
    return keras.Model(inputs, x)


def images(rng, count=16):
    """Returns noise, and whether it is rough or smooth."""
    x = rng.normal(size=(count, 9, 9, 1)).astype("float32")
    labels = np.arange(count) % 2
    x[labels == 1] = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2))[labels == 1]
    return x, labels


def train(model, x, labels, epochs=10):
    model.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(x, labels, batch_size=8, epochs=epochs, verbose=0)
    return history.history["loss"]


def assert_same(found, expected):
    """Bit for bit."""
    np.testing.assert_array_equal(to_numpy(found), to_numpy(expected))
