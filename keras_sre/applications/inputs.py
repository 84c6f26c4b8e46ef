"""The inputs of networks, from the arguments of `keras.applications`."""

import keras
from keras import layers

from keras_sre.applications.blocks import channels_axis
from keras_sre.validation import is_positive_int


def make_inputs(input_tensor, input_shape, default_shape):
    """Returns the input of a network.

    Args:
        input_tensor: Keras tensor to use, or `None` for a new one.
        input_shape: tuple without the batch, or `None` for the default.
        default_shape: tuple without the batch, channels last; its length says
            how many axes are expected.

    Raises:
        ValueError: if either has another number of axes, the channels are not
            known, or `input_tensor` is no Keras tensor.
    """
    rank = len(default_shape) - 1
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                f"Received input_tensor of type {type(input_tensor).__name__}."
                " Expected a Keras tensor such as keras.Input(shape)."
            )
        if len(input_tensor.shape) != rank + 2:
            raise ValueError(
                f"Received input_tensor of shape {input_tensor.shape}. Expected"
                f" {rank + 2} axes: batch, {rank} spatial, channels."
            )
        return input_tensor
    channels_last = channels_axis() == -1
    if input_shape is None:
        *sizes, channels = default_shape
        if channels_last:
            input_shape = (*sizes, channels)
        else:
            input_shape = (channels, *sizes)
    try:
        shape = tuple(input_shape)  # of a TensorShape or an array, too
    except TypeError:
        shape = ()
    if (
        len(shape) != rank + 1
        or not all(size is None or is_positive_int(size) for size in shape)
        or shape[-1 if channels_last else 0] is None
    ):
        raise ValueError(
            f"Received input_shape={input_shape!r}. Expected {rank + 1} numbers"
            f" without the batch, such as {(28,) * rank + (1,)}; only sizes may"
            " be None."
        )
    return layers.Input(shape=shape)
