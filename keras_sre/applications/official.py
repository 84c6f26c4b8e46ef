"""How the official networks down-sample, for their weights only.

Ordinary pooling is not centred on the map, so networks with it are not exactly
invariant, except where it divides the sizes.
"""

import keras
from keras import layers

AVERAGE_POOLING = {2: layers.AveragePooling2D, 3: layers.AveragePooling3D}


def downsample(x, strides, name):
    """Drops what is odd at the end of an axis. See `blocks.Parts`."""
    if strides > 1:
        _check_sizes(x, strides, name)
        x = AVERAGE_POOLING[len(x.shape) - 2](strides, name=name)(x)
    return x, 1


def _check_sizes(x, strides, name):
    """Raises a ValueError if nothing would be left, as newer Keras does."""
    channels_first = keras.config.image_data_format() == "channels_first"
    sizes = x.shape[2:] if channels_first else x.shape[1:-1]
    if any(size is not None and size < strides for size in sizes):
        raise ValueError(
            f"Received an input that is too small for stem='official': its map "
            f"of {sizes} would be zero or negative after {name!r}. Use a "
            "larger input_shape, or another stem."
        )


def apply_stem_pooling(x, ring_profile):
    """Applies what an official stem with pooling ends in, in 2D."""
    if len(x.shape) == 5:
        return x
    if ring_profile == "gaussian":
        return layers.AveragePooling2D(2, name="stem_pool")(x)
    # Zeros do not count: nothing is below them after a ReLU.
    x = layers.ZeroPadding2D(1, name="stem_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
