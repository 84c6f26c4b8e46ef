"""Saves a model that later releases have to load, and what it returns.

Run it once at each release, from the repository root:

    python tests/data/record.py

Writes `<version>.keras` and `<version>.npz` beside itself. Delete neither:
`tests/test_keras_contract.py` loads all that are here.
"""

import pathlib

import keras
import numpy as np

import keras_sre

FOLDER = pathlib.Path(__file__).parent


def build():
    """Returns a model of one layer of each kind, in two dimensions."""
    inputs = keras.Input((None, None, 2), name="image")
    x = keras_sre.SREConv2D(4, 5, padding="same", name="hard")(inputs)
    skip = x = keras_sre.SREConv2D(
        4, 3, padding="same", ring_profile="gaussian", groups=2, name="gaussian"
    )(x)
    x = keras_sre.SymmetricPooling2D(name="pool")(x)
    x = keras_sre.SREDepthwiseConv2D(
        3, padding="same", ring_profile="area", spacing=(1.5, 1.0), name="area"
    )(x)
    x = keras_sre.SREConv2D(
        6,
        5,
        padding="same",
        ring_profile="linear",
        circular=False,
        harmonics=(1, 2),
        activation="relu",
        name="harmonics",
    )(x)
    x = keras_sre.SREConv2DTranspose(4, 3, padding="same", name="spread")(x)
    x = keras_sre.SymmetricUpsampling(name="up")([x, skip])
    return keras.Model(inputs, keras.layers.Add()([x, skip]), name="recorded")


def main():
    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) / 2 for w in model.weights])
    x = rng.normal(size=(2, 7, 8, 2)).astype("float32")
    path = FOLDER / f"{keras_sre.__version__}.keras"
    model.save(path)
    np.savez_compressed(path.with_suffix(".npz"), x=x, y=model(x))


if __name__ == "__main__":
    main()
