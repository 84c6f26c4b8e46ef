"""Depthwise and separable convolutions in terms of others."""

from keras import layers

from keras_sre.conversion.configuration import configuration
from keras_sre.conversion.configuration import like
from keras_sre.conversion.kinds import SEPARABLE


def as_grouped(layer, input_shape):
    """A depthwise convolution is one of as many groups as channels."""
    first = layer.data_format == "channels_first"
    channels = input_shape[1 if first else -1]
    config = {
        key.replace("depthwise_", "kernel_"): value
        for key, value in configuration(layer).items()
        if key != "depth_multiplier"
    }
    config["filters"] = channels * layer.depth_multiplier
    return layers.Conv1D.from_config({**config, "groups": channels})


def parts_of_separable(layer):
    """Returns the depthwise and the pointwise layer of a separable one."""
    config = configuration(layer)
    depthwise = like(
        layer,
        SEPARABLE[type(layer)],
        {"use_bias": False, "activation": None, "activity_regularizer": None},
        without=("filters", *(k for k in config if k.startswith("pointwise_"))),
    )
    pointwise = {
        key.replace("pointwise_", "kernel_"): value
        for key, value in config.items()
        if key != "depth_multiplier" and not key.startswith("depthwise_")
    }
    pointwise |= {
        "name": f"{layer.name}_pointwise",
        "kernel_size": 1,
        "strides": 1,
        "dilation_rate": 1,
        "padding": "valid",
    }
    kind = {1: layers.Conv1D, 2: layers.Conv2D}[len(layer.kernel_size)]
    return depthwise, kind.from_config(pointwise)
