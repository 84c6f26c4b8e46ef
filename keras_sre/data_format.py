"""Where the maps of a model have their channels."""

import keras


def data_format_of(model):
    """Returns that of the first layer that has one, else Keras' setting.

    Example:

    >>> data_format_of(keras.Sequential([keras.layers.Flatten()]))
    'channels_last'
    """
    for layer in model._flatten_layers():
        data_format = getattr(layer, "data_format", None)
        if data_format in ("channels_last", "channels_first"):
            return data_format
    return keras.config.image_data_format()
