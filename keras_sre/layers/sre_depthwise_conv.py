"""A ring kernel of its own for each channel."""

import keras

from keras_sre import validation
from keras_sre.layers.base_ring_layer import BaseRingLayer
from keras_sre.layers.base_sre_conv import check_same_padding
from keras_sre.layers.base_sre_conv import convolved_sizes
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.ring_depthwise_conv import ring_depthwise_conv


@keras.saving.register_keras_serializable(package="keras_sre")
class SREDepthwiseConv2D(BaseRingLayer):
    """2D depthwise convolution with kernels made of rings.

    Replaces `keras.layers.DepthwiseConv2D`: each channel is convolved with
    kernels of its own. A separable convolution is this and a `Conv2D` of one
    tap. Exactness is that of `keras_sre.SREConv2D`.

    Args:
        kernel_size: int or tuple of 2 ints, at least 1; even sizes need
            `padding="valid"`.
        strides: int or tuple of 2 ints, at least 1.
        padding: `"valid"` or `"same"`.
        depth_multiplier: int, the number of kernels for each channel.
        data_format: as in `keras_sre.SREConv2D`, as all that follow.
        dilation_rate: int or tuple of 2 ints, not together with strides.
        activation: activation function or its name; `None` applies none.
        use_bias: bool, whether to add a trainable bias for each output channel.
        depthwise_initializer: initializer of an ordinary depthwise kernel.
        bias_initializer: initializer of the bias.
        depthwise_regularizer: regularizer of the ring weights.
        bias_regularizer: regularizer of the bias.
        activity_regularizer: regularizer of the output.
        depthwise_constraint: constraint on the ring weights.
        bias_constraint: constraint on the bias.
        num_rings: int or `None`.
        circular: bool.
        ring_profile: `"hard"`, `"area"`, `"linear"`, `"cosine"` or
            `"gaussian"`.
        spacing: `None`, or a tuple of 2 floats.
        implementation: `"slices"`; `"dense"` or `"depthwise"`, both the
            backend's own depthwise convolution; or `"auto"`: slices where XLA
            fuses them (forward 0.4 to 0.9 times the time of
            `DepthwiseConv2D`, a training step about the same).
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Attributes:
        ring_kernel: the ring weights, `(num_rings, channels,
            depth_multiplier)`.
        log_sigma: with `"gaussian"`, the logarithm of how far each ring's
            weights reach, in rings, of shape `(num_rings,)`; else `None`.
        kernel: the ordinary kernel that they stand for, of shape
            `kernel_size + (channels, depth_multiplier)`, as in Keras.

    Input shape:
        `(batch_size, height, width, channels)`, or channels first.

    Output shape:
        `(batch_size, new_height, new_width, channels * depth_multiplier)`, or
        channels first.

    Raises:
        ValueError: if an argument is outside the range above, or the input
            does not fit.

    Example:

    >>> x = np.ones((4, 28, 28, 16), "float32")
    >>> layer = SREDepthwiseConv2D(5, padding="same")
    >>> tuple(layer(x).shape), tuple(layer.ring_kernel.shape)
    ((4, 28, 28, 16), (3, 16, 1))
    """

    rank = 2

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        bias_constraint=None,
        *,
        num_rings=None,
        circular=True,
        ring_profile="hard",
        spacing=None,
        implementation="auto",
        **kwargs,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            circular=circular,
            ring_profile=ring_profile,
            spacing=spacing,
            implementation=implementation,
            **kwargs,
        )
        self.depth_multiplier = validation.positive_int(
            depth_multiplier, "depth_multiplier"
        )
        check_same_padding(self.kernel_size, self.padding)
        self._config = RingConvConfig(
            kernel_size=self.kernel_size,
            num_rings=num_rings,
            circular=self.circular,
            ring_profile=self.ring_profile,
            spacing=self.spacing,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        self._config.check()

    def build(self, input_shape):
        channels = self._fix_channels(input_shape)
        self.compute_output_shape(input_shape)  # is there any output?
        self._add_ring_weights(
            channels,
            {0: self.depth_multiplier},
            channels * self.depth_multiplier,
        )

    def call(self, inputs):
        # A layer built for maps of any size meets them here.
        convolved_sizes(self._spatial(inputs.shape), self._config)
        (ring_kernel,) = self._mixed_kernels()
        outputs = ring_depthwise_conv(
            inputs,
            ring_kernel,
            self._config,
            data_format=self.data_format,
            implementation=self.implementation,
        )
        return self._finish(outputs)

    def compute_output_shape(self, input_shape):
        filters = self._channels(input_shape) * self.depth_multiplier
        sizes = convolved_sizes(self._spatial(input_shape), self._config)
        return self._output_shape(input_shape, sizes, filters)

    def get_config(self):
        config = {
            key.replace("kernel_", "depthwise_")
            if key.startswith("kernel_") and key != "kernel_size"
            else key: value
            for key, value in super().get_config().items()
        }
        return {**config, "depth_multiplier": self.depth_multiplier}
