"""Residual blocks: functions on symbolic maps, for any spatial convolution.

Blocks are told what they are made of (`Parts`), so that equivariant networks
and their plain twins share one definition.
"""

import collections.abc
import dataclasses

import keras
from keras import layers


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a residual network is made of.

    - `convolve(x, filters, strides, name)` returns a spatial convolution;
    - `pointwise(x, filters, strides, name)` returns a convolution of 1 tap;
    - `downsample(x, strides, name)` returns `(x, strides)`: either a smaller
      map and 1, or the map as it is and the strides left to the convolution;
    - `normalization` is a batch normalisation layer class.
    """

    convolve: collections.abc.Callable
    pointwise: collections.abc.Callable
    downsample: collections.abc.Callable
    normalization: type = layers.BatchNormalization


def convolution_options(strides, name):
    """Returns what every convolution of these networks has in common."""
    return {
        "strides": strides,
        "padding": "same",
        "use_bias": False,
        "kernel_initializer": keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        "name": name,
    }


def channels_axis():
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def probabilities_dtype():
    """Returns the type of probabilities: mixed precision leaves them as is."""
    policy = keras.config.dtype_policy()
    return policy.variable_dtype if policy.name.startswith("mixed") else policy


def apply_norm(x, parts, name, activation="relu"):
    x = parts.normalization(
        axis=channels_axis(), epsilon=1e-5, momentum=0.9, name=f"{name}_bn"
    )(x)
    if activation is None:
        return x
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def apply_basic_block(x, filters, strides, parts, name):
    """Two spatial convolutions and a shortcut (He et al., 2015, figure 5)."""
    x, strides = parts.downsample(x, strides, f"{name}_pool")
    y = parts.convolve(x, filters, strides, f"{name}_conv1")
    y = apply_norm(y, parts, f"{name}_conv1")
    y = parts.convolve(y, filters, 1, f"{name}_conv2")
    y = apply_norm(y, parts, f"{name}_conv2", activation=None)
    return _add_shortcut(x, y, filters, strides, parts, name)


def apply_bottleneck_block(x, filters, strides, parts, name):
    """A spatial convolution between pointwise ones; 4 times the filters."""
    y = parts.pointwise(x, filters, 1, f"{name}_conv1")
    y = apply_norm(y, parts, f"{name}_conv1")
    y, rest = parts.downsample(y, strides, f"{name}_pool")
    y = parts.convolve(y, filters, rest, f"{name}_conv2")
    y = apply_norm(y, parts, f"{name}_conv2")
    y = parts.pointwise(y, 4 * filters, 1, f"{name}_conv3")
    y = apply_norm(y, parts, f"{name}_conv3", activation=None)
    x, strides = parts.downsample(x, strides, f"{name}_shortcut_pool")
    return _add_shortcut(x, y, 4 * filters, strides, parts, name)


def _add_shortcut(x, y, filters, strides, parts, name):
    if strides > 1 or x.shape[channels_axis()] != filters:
        x = parts.pointwise(x, filters, strides, f"{name}_shortcut")
        x = apply_norm(x, parts, f"{name}_shortcut", activation=None)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation("relu", name=f"{name}_relu")(y)


def apply_stack(x, filters, num_blocks, strides, block, parts, name):
    """Applies one stage: blocks of equal width, the first down-samples."""
    for i in range(num_blocks):
        x = block(
            x,
            filters,
            strides if i == 0 else 1,
            parts,
            name=f"{name}_block{i + 1}",
        )
    return x
