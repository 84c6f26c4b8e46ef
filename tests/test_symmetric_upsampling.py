"""Up-sampling to the size of another map: centred at every size."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import to_numpy

from keras_sre import SymmetricPooling1D
from keras_sre import SymmetricPooling2D
from keras_sre import SymmetricPooling3D
from keras_sre import SymmetricUpsampling

POOLING = {1: SymmetricPooling1D, 2: SymmetricPooling2D, 3: SymmetricPooling3D}


def there_and_back(rank, size=2):
    pool, grow = POOLING[rank](size), SymmetricUpsampling(size)
    return lambda x: grow([pool(x), x])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("side", [6, 7, 8, 9])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_is_symmetric_and_of_the_size_wanted(rank, side, size, rng):
    x = rng.normal(size=(2, *(side,) * rank, 3)).astype("float32")
    run = there_and_back(rank, size)
    assert run(x).shape == x.shape
    assert_equivariant(run, x, rank)


@pytest.mark.parametrize("side", [8, 9])
def test_straight_lines_stay_where_they_are(side):
    """A pooled ramp comes back as it was, ends apart: nothing is shifted."""
    ramp = np.arange(float(side), dtype="float32").reshape(1, side, 1)
    inside = slice(2, -2)
    back = to_numpy(there_and_back(1)(ramp))
    np.testing.assert_allclose(back[:, inside], ramp[:, inside], atol=1e-6)


def test_even_sizes_are_bilinear_resizing(rng):
    """As Keras interpolates, with half-pixel centres."""
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    like = np.zeros((2, 8, 10, 1), "float32")
    expected = keras.ops.image.resize(
        x, (8, 10), "bilinear", data_format="channels_last"
    )
    assert_close(SymmetricUpsampling()([x, like]), expected)


def test_unknown_sizes_and_channels_first(rng):
    x = rng.normal(size=(2, 4, 3, 3)).astype("float32")
    like = rng.normal(size=(2, 7, 6, 1)).astype("float32")
    layer = SymmetricUpsampling()
    expected = layer([x, like])
    inputs = keras.Input((None, None, 3)), keras.Input((None, None, 1))
    model = keras.Model(inputs, layer(list(inputs)))
    assert model.output_shape == (None, None, None, 3)
    assert_close(model.predict([x, like], verbose=0), expected)
    first = SymmetricUpsampling(data_format="channels_first")
    y = first([np.moveaxis(x, -1, 1), np.moveaxis(like, -1, 1)])
    assert_close(np.moveaxis(to_numpy(y), 1, -1), expected)


def test_saves_and_loads(tmp_path, rng):
    inputs = keras.Input((9, 9, 2))
    small = SymmetricPooling2D(3)(inputs)
    outputs = SymmetricUpsampling(3, name="grow")([small, inputs])
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("grow").size == 3
    x = rng.normal(size=(1, 9, 9, 2)).astype("float32")
    assert_close(again(x), model(x))


def test_bad_arguments_get_one_clear_error():
    with pytest.raises(ValueError, match="size=0"):
        SymmetricUpsampling(0)
    with pytest.raises(ValueError, match="'NHWC'"):
        SymmetricUpsampling(data_format="NHWC")
    with pytest.raises(ValueError, match="list of two"):
        SymmetricUpsampling()(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="list of two"):
        SymmetricUpsampling()([np.zeros((1, 4, 1)), np.zeros((1, 4, 4, 1))])
    for sizes in ((0, 5), (3, 0)):
        maps = [np.zeros((1, size, 1), "float32") for size in sizes]
        with pytest.raises(ValueError, match=rf"\({sizes[0]},\).*at least one"):
            SymmetricUpsampling()(maps)


def test_an_empty_batch_stays_one():
    maps = [np.zeros((0, size, 1), "float32") for size in (3, 5)]
    assert tuple(SymmetricUpsampling()(maps).shape) == (0, 5, 1)
