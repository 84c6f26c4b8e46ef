"""The helpers judge: they have to be able to say no."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import dense_conv
from helpers import gradients
from helpers import grid_transforms
from helpers import keras_padding


def test_dense_conv_by_hand():
    x = np.arange(4.0).reshape(1, 4, 1)
    kernel = np.array([1.0, 10.0]).reshape(2, 1, 1)
    y = dense_conv(x, kernel, (1,), (1,))
    assert y.ravel().tolist() == [10.0, 21.0, 32.0]
    assert dense_conv(x, kernel, (2,), (1,)).ravel().tolist() == [10.0, 32.0]
    assert dense_conv(x, kernel, (1,), (3,)).ravel().tolist() == [30.0]


@pytest.mark.parametrize(("rank", "count"), [(1, 2), (2, 8), (3, 48)])
def test_all_symmetries_of_the_grid(rank, count, rng):
    x = rng.normal(size=(1, *(3,) * rank, 1))
    images = {t(x).tobytes() for _, t in grid_transforms(rank)}
    assert len(images) == count


def test_plain_convolution_is_not_equivariant(rng):
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    with pytest.raises(AssertionError, match="error .* under axes"):
        assert_equivariant(keras.layers.Conv2D(3, 3, padding="same"), x, 2)


def test_assert_close_refuses():
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(np.array([1.0, 2.0]), np.array([1.0, 2.001]))
    with pytest.raises(AssertionError):
        assert_close(np.ones(2), np.ones(3))


def test_dense_conv_in_groups():
    x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4)
    kernel = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2)
    y = dense_conv(x, kernel, (1,), (1,), groups=2)
    assert y.ravel().tolist() == [201.0, 4030.0]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "widths"),
    [
        (6, 1, "valid", (0, 0)),
        (6, 1, "same", (1, 1)),
        (6, 2, "same", (0, 1)),
        (5, 2, "same", (1, 1)),
        (6, 4, "same", (0, 1)),
        (5, 4, "same", (1, 1)),
        (6, 1, "causal", (2, 0)),
    ],
)
def test_keras_padding_by_hand(size, stride, padding, widths):
    found = keras_padding((size,), (3,), (stride,), (1,), padding)
    assert found == [widths]


def test_gradients_by_hand():
    x, w = np.array([1.0, 2.0], "float32"), np.array([3.0, 5.0], "float32")
    upstream = np.array([1.0, 10.0], "float32")
    dx, dw = gradients(lambda x, w: x * w, x, w, upstream=upstream)
    assert dx.tolist() == [3.0, 50.0]
    assert dw.tolist() == [1.0, 20.0]


def test_equivariant_functions_pass(rng):
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    assert_equivariant(np.tanh, x, 2)
    assert_equivariant(lambda x: x.mean(axis=(1, 2)), x, 2, invariant=True)


class Good(keras.layers.Layer):
    """Scales its input by a weight."""

    def __init__(self, power=1, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return self.scale**self.power * inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "power": self.power}


class LosesItsConfig(Good):
    def get_config(self):
        return {**super().get_config(), "power": 1 + self.power}


class PromisesAnotherShape(Good):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 7)


class HasAnIdleWeight(Good):
    def build(self, input_shape):
        super().build(input_shape)
        self.idle = self.add_weight(shape=(2,), name="idle")

    def call(self, inputs):
        return super().call(inputs) + 0 * keras.ops.sum(self.idle)


class StaysInFloat32(Good):
    def call(self, inputs):
        return keras.ops.cast(super().call(inputs), "float32")


class ForgetsWeightsInFiles(Good):
    def load_own_variables(self, store):
        self.scale.assign(-1.0)


@pytest.mark.parametrize(
    ("cls", "num_weights", "message"),
    [
        (Good, 1, None),
        (Good, 2, "1 weights, not 2"),
        (LosesItsConfig, 1, "config changes"),
        (PromisesAnotherShape, 1, "output .*7"),
        (HasAnIdleWeight, 2, "idle does not train"),
        (StaysInFloat32, 1, "mixed_float16 gives float32"),
        (ForgetsWeightsInFiles, 1, "relative error"),
    ],
)
def test_layer_contract_refuses(cls, num_weights, message):
    with keras.saving.custom_object_scope({cls.__name__: cls}):
        if message is None:
            assert_layer_contract(cls, {}, (2, 3), num_weights)
            return
        with pytest.raises(AssertionError, match=message):
            assert_layer_contract(cls, {}, (2, 3), num_weights)
