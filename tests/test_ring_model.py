"""Networks predict by one program, and are Keras models in all else."""

import copy

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import to_numpy

from keras_sre import SREConv2D
from keras_sre.applications.ring_model import RingModel

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras compiles elsewhere"
)


def network():
    inputs = keras.Input((8, 8, 1))
    x = SREConv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return RingModel(inputs, keras.layers.Dense(2)(x), name="network")


@pytest.fixture
def compiled_by_xla(monkeypatch):
    """Returns which functions of TensorFlow's were to be compiled by XLA."""
    import tensorflow as tf

    found, function = [], tf.function

    def recorded(*args, **options):
        found.append(bool(options.get("jit_compile")))
        return function(*args, **options)

    monkeypatch.setattr(tf, "function", recorded)
    return found


@on_tensorflow
@pytest.mark.parametrize("compiled", [False, True])
def test_predictions_are_compiled(compiled, compiled_by_xla):
    for model, expected in (
        (network(), True),
        (keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]), False),
    ):
        if compiled:
            model.compile("sgd", "mse")
        chosen = model.jit_compile
        del compiled_by_xla[:]
        model.make_predict_function()
        assert any(compiled_by_xla) == expected
        assert model.jit_compile == chosen  # training stays as it was
        function = model.predict_function
        assert model.make_predict_function() is function


@on_tensorflow
def test_eager_predictions_are_not(compiled_by_xla):
    model = network()
    model.compile("sgd", "mse", run_eagerly=True)
    del compiled_by_xla[:]
    model.make_predict_function()
    assert not any(compiled_by_xla)


@on_tensorflow
@pytest.mark.parametrize("how", ["fit", "train_on_batch"])
@pytest.mark.parametrize("metrics", [None, ["accuracy", "mae"]])
def test_the_first_step_is_traced_once(how, metrics, rng):
    model = network()
    model.layers[1].trainable = False
    model.compile("adam", "mse", metrics=metrics)
    traced, train_step = [], model.train_step
    model.train_step = lambda data: traced.append(data) or train_step(data)
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    before = model.get_weights()
    getattr(model, how)(x, np.ones((4, 2), "float32"))
    assert len(traced) == 1
    changed = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.get_weights(), strict=True)
    ]
    assert changed == [False, False, True, True]  # a frozen layer stays


def test_an_output_may_have_no_target(rng):
    inputs = keras.Input((4,))
    heads = [
        keras.layers.Dense(n, name=name)(inputs)
        for n, name in ((3, "a"), (1, "b"))
    ]
    model = RingModel(inputs, heads)
    model.get_layer("b").trainable = False
    model.compile("sgd", ["mse", None], metrics=[["mae"], None])
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
    history = model.fit(x, [y, None], verbose=0).history
    (mae,) = (history[name] for name in history if name.endswith("mae"))
    assert np.isfinite(mae).all()


@on_tensorflow
def test_targets_of_unknown_size_have_the_metrics_of_keras(rng):
    """One-hot labels whose number of classes the data do not tell."""
    import tensorflow as tf

    x, y = rng.normal(size=(8, 4)), np.eye(3)[np.arange(8) % 3]
    unknown = tf.TensorSpec((None, 4)), tf.TensorSpec((None, None))
    data = tf.data.Dataset.from_generator(
        lambda: iter([(x, y)]), output_signature=unknown
    ).repeat()
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, "softmax")(inputs)
    found = []
    for cls in (keras.Model, RingModel):
        model = cls(inputs, outputs)
        sgd, loss = keras.optimizers.SGD(0.0), "categorical_crossentropy"
        model.compile(sgd, loss, metrics=["accuracy"])
        options = {"steps_per_epoch": 1, "shuffle": False, "verbose": 0}
        found += model.fit(data, **options).history["accuracy"]
    assert (
        found[0]
        == found[1]
        == np.mean(to_numpy(model(x)).argmax(-1) == y.argmax(-1))
    )


def test_predictions_are_the_outputs(rng):
    model = network()
    x = rng.normal(size=(5, 8, 8, 1)).astype("float32")
    assert_close(model.predict(x, batch_size=2, verbose=0), model(x))


def test_copies_are_of_the_class(rng, tmp_path):
    model = network()
    x = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for other in (loaded, copy.deepcopy(model)):
        assert type(other) is RingModel
        np.testing.assert_array_equal(to_numpy(other(x)), to_numpy(model(x)))
    assert loaded.compiled
    assert type(keras.models.clone_model(model)) is RingModel
