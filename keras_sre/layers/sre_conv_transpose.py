"""Transposed ring convolutions in one, two and three dimensions."""

import keras

from keras_sre import validation
from keras_sre.layers.base_ring_layer import BaseRingLayer
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.maps import check_not_empty
from keras_sre.ops.ring_conv_transpose import ring_conv_transpose


class BaseSREConvTranspose(BaseRingLayer):
    """Transposed ring convolution; see `SREConv2DTranspose`."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        output_padding=None,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
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
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            circular=circular,
            ring_profile=ring_profile,
            spacing=spacing,
            implementation=implementation,
            **kwargs,
        )
        self.filters = validation.positive_int(filters, "filters")
        self.output_padding = _check_output_padding(output_padding, self.rank)
        self._config = RingConvConfig(
            kernel_size=self.kernel_size,
            num_rings=num_rings,
            circular=self.circular,
            ring_profile=self.ring_profile,
            spacing=self.spacing,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
        )
        self._config.check()
        self._crops = self._centred_crops()

    def _centred_crops(self):
        """Returns how many cells each axis loses at either end, as in Keras."""
        totals = []
        for span, stride in zip(self._config.spans, self.strides, strict=True):
            size = span + 1
            if self.output_padding is not None:
                total = 2 * (size // 2) if self.padding == "same" else 0
            elif self.padding == "same":
                total = size - stride
            else:
                total = min(size - stride, 0)
            totals.append(total)
        if any(total % 2 for total in totals):
            raise ValueError(
                f"Received kernel_size={self.kernel_size} and strides="
                f"{self.strides} with padding={self.padding!r}. The output "
                "could not be centred on the input, so the layer could not be "
                "equivariant. Use kernel sizes that are even where strides are "
                "and odd where they are, at least as large as the strides, or "
                "output_padding=0."
            )
        return tuple(total // 2 for total in totals)

    def build(self, input_shape):
        channels = self._fix_channels(input_shape)
        self.compute_output_shape(input_shape)  # is there any output?
        self._add_ring_weights(self.filters, {0: channels}, self.filters)

    def call(self, inputs):
        # A layer built for maps of any size meets them here.
        self._output_sizes(self._spatial(inputs.shape))
        (ring_kernel,) = self._mixed_kernels()
        outputs = ring_conv_transpose(
            inputs,
            ring_kernel,
            self._config,
            self._crops,
            data_format=self.data_format,
            implementation=self.implementation,
        )
        return self._finish(outputs)

    def compute_output_shape(self, input_shape):
        self._channels(input_shape)
        outputs = self._output_sizes(self._spatial(input_shape))
        return self._output_shape(input_shape, outputs, self.filters)

    def _output_sizes(self, sizes):
        outputs = [
            None if size is None else (size - 1) * stride + span + 1 - 2 * crop
            for size, stride, span, crop in zip(
                sizes,
                self.strides,
                self._config.spans,
                self._crops,
                strict=True,
            )
        ]
        check_not_empty(sizes, outputs)
        return outputs

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_padding": self.output_padding,
        }


def _check_output_padding(value, rank):
    if value is None:
        return None
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) not in (1, rank) or any(v != 0 for v in values):
        raise ValueError(
            f"Received output_padding={value!r}. Expected None or 0: cells "
            "that are added at one end only break the symmetry."
        )
    return 0


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv2DTranspose(BaseSREConvTranspose):
    """2D transposed convolution with a kernel made of rings.

    Replaces `keras.layers.Conv2DTranspose` in decoders and generators. Its
    product runs on the small map, before the map is spread.

    Exactness: equivariant under the eight symmetries of the square grid at
    every size. For that the output must be centred on the input: with
    `"same"` padding kernel sizes have to be even where strides are even and
    odd where they are odd (4 at stride 2), or `output_padding=0`, which gives
    `strides * (size - 1) + 1` cells with an odd kernel. All else is an error.

    Args:
        filters: int, the number of output channels.
        kernel_size: int or tuple of 2 ints, at least 1.
        strides: int or tuple of 2 ints, at least 1, by which the map grows.
        padding: `"valid"` (all that the kernel reaches) or `"same"` (`strides`
            times the size).
        output_padding: `None`, or 0 as in Keras; more would be off-centre.
        data_format: as in `keras_sre.SREConv2D`, as all that follow.
        dilation_rate: int or tuple of 2 ints, not together with strides.
        activation: activation function or its name; `None` applies none.
        use_bias: bool, whether to add a trainable bias for each filter.
        kernel_initializer: initializer of an ordinary kernel.
        bias_initializer: initializer of the bias.
        kernel_regularizer: regularizer of the ring weights.
        bias_regularizer: regularizer of the bias.
        activity_regularizer: regularizer of the output.
        kernel_constraint: constraint on the ring weights.
        bias_constraint: constraint on the bias.
        num_rings: int or `None`.
        circular: bool.
        ring_profile: `"hard"`, `"area"`, `"linear"`, `"cosine"` or
            `"gaussian"`.
        spacing: `None`, or a tuple of 2 floats.
        implementation: `"auto"`, `"slices"`, `"depthwise"` or `"dense"`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Attributes:
        ring_kernel: the ring weights, `(num_rings, filters, channels)`.
        log_sigma: with `"gaussian"`, the logarithm of how far each ring's
            weights reach, in rings, of shape `(num_rings,)`; else `None`.
        kernel: the ordinary kernel that they stand for, of shape
            `kernel_size + (filters, channels)`, as in Keras.

    Input shape:
        `(batch_size, height, width, channels)`, or channels first.

    Output shape:
        `(batch_size, new_height, new_width, filters)`, or channels first.

    Raises:
        ValueError: if an argument is outside the range above, the output
            cannot be centred on the input, or there would be none.

    Example:

    >>> x = np.ones((4, 7, 7, 3), "float32")
    >>> layer = SREConv2DTranspose(8, 4, strides=2, padding="same")
    >>> tuple(layer(x).shape), tuple(layer.ring_kernel.shape)
    ((4, 14, 14, 8), (3, 8, 3))
    """

    rank = 2


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv1DTranspose(BaseSREConvTranspose):
    """1D transposed convolution, symmetric: `SREConv2DTranspose`, one axis.

    Args:
        *args: as in `SREConv2DTranspose`, with tuples of 1.
        **kwargs: as in `SREConv2DTranspose`.

    Input shape:
        `(batch_size, steps, channels)`, or `(batch_size, channels, steps)`.

    Output shape:
        `(batch_size, new_steps, filters)`, or channels first.

    Raises:
        ValueError: as `SREConv2DTranspose`.

    Example:

    >>> x = np.ones((4, 10, 3), "float32")
    >>> tuple(SREConv1DTranspose(8, 4, 2, "same")(x).shape)
    (4, 20, 8)
    """

    rank = 1


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv3DTranspose(BaseSREConvTranspose):
    """3D transposed convolution with shells: `SREConv2DTranspose`, 3 axes.

    Equivariant under the 48 symmetries of the cube at every size.

    Args:
        *args: as in `SREConv2DTranspose`, with tuples of 3, but, as in Keras,
            `data_format` before `output_padding`.
        **kwargs: as in `SREConv2DTranspose`.

    Input shape:
        `(batch_size, depth, height, width, channels)`, or channels first.

    Output shape:
        `(batch_size, new_depth, new_height, new_width, filters)`, or channels
        first.

    Raises:
        ValueError: as `SREConv2DTranspose`.

    Example:

    >>> x = np.ones((1, 4, 4, 4, 2), "float32")
    >>> tuple(SREConv3DTranspose(3, 2, strides=2)(x).shape)
    (1, 8, 8, 8, 3)
    """

    rank = 3

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,  # Keras has it before the next, for volumes alone
        output_padding=None,
        *args,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            output_padding,
            data_format,
            *args,
            **kwargs,
        )
