"""What all layers made of ring kernels share."""

import keras
import numpy as np
from keras import ops

from keras_sre import validation
from keras_sre.geometry import RING_PROFILES
from keras_sre.initializers import DenseKernelVariance
from keras_sre.ops.backend import untraced
from keras_sre.ops.expansion import expand_kernels
from keras_sre.ops.ring_conv import IMPLEMENTATIONS
from keras_sre.ops.ring_mixing import initial_log_sigma
from keras_sre.ops.ring_mixing import mix_rings
from keras_sre.ops.ring_mixing import mixing_matrix


class BaseRingLayer(keras.layers.Layer):
    """Arguments, ring weights, bias and activation of a ring layer.

    A subclass sets `_config`, a `RingConvConfig`, before it adds weights.
    """

    rank = None  # the number of spatial axes, set by each subclass
    paddings = ("valid", "same")

    def __init__(
        self,
        kernel_size,
        strides,
        padding,
        data_format,
        dilation_rate,
        activation,
        use_bias,
        kernel_initializer,
        bias_initializer,
        kernel_regularizer,
        bias_regularizer,
        activity_regularizer,
        kernel_constraint,
        bias_constraint,
        circular,
        ring_profile,
        spacing,
        implementation,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        check, rank = validation, self.rank
        self.kernel_size = check.ints_per_axis(kernel_size, rank, "kernel_size")
        self.strides = check.ints_per_axis(strides, rank, "strides")
        padding = padding.lower() if isinstance(padding, str) else padding
        self.padding = check.one_of(padding, self.paddings, "padding")
        self.data_format = check.one_of(
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
            "data_format",
        )
        self.dilation_rate = check.ints_per_axis(
            dilation_rate, rank, "dilation_rate"
        )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"Received strides={self.strides} and dilation_rate="
                f"{self.dilation_rate}. As in Keras, one of them must be 1."
            )
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.circular = bool(circular)
        self.ring_profile = check.one_of(
            ring_profile, RING_PROFILES, "ring_profile"
        )
        self.spacing = check.positive_floats(spacing, rank, "spacing")
        self.implementation = check.one_of(
            implementation, IMPLEMENTATIONS, "implementation"
        )
        self.input_spec = keras.layers.InputSpec(ndim=rank + 2)

    @property
    def num_rings(self):
        return len(self._config.rings)

    def _add_ring_weights(self, channels, filters_by_order, num_biases):
        """Adds the ring kernels, `log_sigma` and the bias.

        Args:
            channels: int, the second axis of each ring kernel.
            filters_by_order: dict from angular order to its last axis.
            num_biases: int.
        """
        num_filters = sum(filters_by_order.values())
        mixed = self.ring_profile == "gaussian"
        log_sigma = initial_log_sigma(self.kernel_size, self.num_rings)
        # A list: TensorFlow refuses to save dicts whose keys are no strings.
        self._ring_kernels, first = [], 0
        for (order, count), bank, rings in zip(
            filters_by_order.items(),
            self._config.banks,
            self._config.carrying_rings,
            strict=True,
        ):
            if mixed:
                matrix = mixing_matrix(ops.full((self.num_rings,), log_sigma))
                matrix = ops.convert_to_numpy(matrix)[:, rings]
                bank = np.einsum("rs,fs...->fr...", matrix, bank)
            self._ring_kernels.append(
                self.add_weight(
                    name=f"harmonic_kernel_{order}" if order else "ring_kernel",
                    shape=(bank.shape[1], channels, count),
                    initializer=DenseKernelVariance(
                        self.kernel_initializer, bank, num_filters, first
                    ),
                    regularizer=self.kernel_regularizer,
                    constraint=self.kernel_constraint,
                )
            )
            first += count
        self.log_sigma = self.bias = None
        if mixed:
            self.log_sigma = self.add_weight(
                name="log_sigma",
                shape=(self.num_rings,),
                initializer=keras.initializers.Constant(log_sigma),
            )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(num_biases,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    @property
    def ring_kernel(self):
        """The weights of the ordinary filters, `None` if there are none."""
        return self._kernels_by_order().get(0)

    def _kernels_by_order(self):
        kernels = getattr(self, "_ring_kernels", ())
        return dict(zip(self._config.orders, kernels, strict=False))

    @untraced
    def _mixed_kernels(self):
        """Returns the ring kernels as weights of fixed filters."""
        if self.log_sigma is None:
            return self._ring_kernels
        log_sigma = ops.convert_to_tensor(self.log_sigma)
        return [
            mix_rings(ops.convert_to_tensor(ring_kernel), log_sigma, rings)
            for ring_kernel, rings in zip(
                self._ring_kernels, self._config.carrying_rings, strict=True
            )
        ]

    @property
    def kernel(self):
        """The ordinary kernel that the ring weights stand for, as in Keras.

        With harmonics it is that of all linear responses: for each group the
        filters of each order and of an order those of each of its functions.
        """
        if not self.built:
            raise AttributeError(
                f"Layer {self.name!r} has no kernel yet. Build it first, for "
                "example by calling it on data."
            )
        kernels = map(ops.convert_to_tensor, self._mixed_kernels())
        return expand_kernels(list(kernels), self._config)

    def enable_lora(self, rank, **kwargs):
        raise NotImplementedError(
            f"Layer {self.name!r} of type {type(self).__name__} has no LoRA: "
            "ring kernels have few weights already. Train it in full, or set "
            "trainable=False."
        )

    def quantize(self, mode=None, **kwargs):
        raise NotImplementedError(
            f"Layer {self.name!r} of type {type(self).__name__} cannot be "
            f"quantized (mode={mode!r}) and stays as it is. Quantize a file "
            'instead: keras_sre.export(model, "model.tflite", quantization='
            '"int8", representative_data=x).'
        )

    def _finish(self, outputs):
        """Adds the bias and applies the activation."""
        if self.use_bias:
            shape = [1] * (self.rank + 2)
            shape[self._channels_axis] = -1
            outputs = outputs + ops.reshape(self.bias, shape)
        return self.activation(outputs)

    @property
    def _channels_axis(self):
        return -1 if self.data_format == "channels_last" else 1

    def _fix_channels(self, input_shape):
        """Returns the number of channels, from now on the only one accepted."""
        channels = self._channels(input_shape)
        self.input_spec = keras.layers.InputSpec(
            ndim=self.rank + 2, axes={self._channels_axis: channels}
        )
        return channels

    def _channels(self, input_shape):
        if len(input_shape) != self.rank + 2:
            raise ValueError(
                f"Received an input of shape {tuple(input_shape)}. Expected "
                f"{self.rank + 2} axes: batch, {self.rank} spatial, channels."
            )
        channels, groups = input_shape[self._channels_axis], self._config.groups
        if not channels or channels % groups:
            raise ValueError(
                f"Received an input of shape {tuple(input_shape)} "
                f"({self.data_format}) with groups={groups}. The number "
                "of channels must be known, at least 1 and divisible by groups."
            )
        return channels

    def _spatial(self, input_shape):
        if self.data_format == "channels_first":
            return tuple(input_shape[2:])
        return tuple(input_shape[1:-1])

    def _output_shape(self, input_shape, spatial, filters):
        if self.data_format == "channels_first":
            return (input_shape[0], filters, *spatial)
        return (input_shape[0], *spatial, filters)

    def get_config(self):
        config = {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "activity_regularizer": keras.regularizers.serialize(
                self.activity_regularizer
            ),
            "num_rings": self.num_rings,
            "circular": self.circular,
            "ring_profile": self.ring_profile,
            "spacing": self.spacing,
            "implementation": self.implementation,
        }
        for kind, module in (
            ("initializer", keras.initializers),
            ("regularizer", keras.regularizers),
            ("constraint", keras.constraints),
        ):
            for weight in ("kernel", "bias"):
                value = getattr(self, f"{weight}_{kind}")
                config[f"{weight}_{kind}"] = module.serialize(value)
        return {**super().get_config(), **config}
