"""What the ring convolution layers of every rank share."""

from keras_sre import validation
from keras_sre.layers.base_ring_layer import BaseRingLayer
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.ring_conv import ring_conv


class BaseSREConv(BaseRingLayer):
    """Ring convolution over `rank` spatial axes; see `SREConv2D`."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=1,
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
        harmonics=(),
        harmonic_fraction=0.5,
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
        self.groups = validation.positive_int(groups, "groups")
        if self.filters % self.groups:
            raise ValueError(
                f"Received filters={self.filters} and groups={self.groups}. "
                "The number of filters must be divisible by groups."
            )
        check_same_padding(self.kernel_size, self.padding)
        self.harmonics = validation.distinct_ints(harmonics, "harmonics")
        self.harmonic_fraction = validation.fraction(
            harmonic_fraction, "harmonic_fraction"
        )
        self._num_filters = self._filters_by_order()
        self._config = RingConvConfig(
            kernel_size=self.kernel_size,
            num_rings=num_rings,
            circular=self.circular,
            ring_profile=self.ring_profile,
            spacing=self.spacing,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
            orders=tuple(self._num_filters),
        )
        self._config.check()

    def _filters_by_order(self):
        """Returns a dict from angular order to the number of its filters."""
        per_group = self.filters // self.groups
        harmonic = round(per_group * self.harmonic_fraction)
        if not self.harmonics or not self.harmonic_fraction:
            return {0: self.filters}
        each = harmonic // len(self.harmonics)
        if not each:
            raise ValueError(
                f"Received harmonics={self.harmonics} and harmonic_fraction="
                f"{self.harmonic_fraction} for {per_group} filters (per group)"
                ", which leaves none for some order. Use more filters, fewer "
                "orders or a larger fraction."
            )
        rest = per_group - each * len(self.harmonics)
        counts = {0: rest, **dict.fromkeys(self.harmonics, each)}
        return {m: n * self.groups for m, n in counts.items() if n}

    def build(self, input_shape):
        channels = self._fix_channels(input_shape)
        self.compute_output_shape(input_shape)  # is there any output?
        self._add_ring_weights(
            channels // self.groups, self._num_filters, self.filters
        )

    @property
    def harmonic_kernels(self):
        """A dict from each order to the weights of its filters."""
        kernels = self._kernels_by_order()
        return {order: kernels[order] for order in kernels if order}

    def call(self, inputs, training=None):
        # A layer built for maps of any size meets them here.
        convolved_sizes(self._spatial(inputs.shape), self._config)
        outputs = ring_conv(
            inputs,
            self._mixed_kernels(),
            self._config,
            data_format=self.data_format,
            implementation=self.implementation,
            training=bool(training),
        )
        return self._finish(outputs)

    def compute_output_shape(self, input_shape):
        self._channels(input_shape)
        sizes = convolved_sizes(self._spatial(input_shape), self._config)
        return self._output_shape(input_shape, sizes, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
            "harmonics": self.harmonics,
            "harmonic_fraction": self.harmonic_fraction,
        }


def check_same_padding(kernel_size, padding):
    """Raises a ValueError for kernels that padding would put off-centre."""
    if padding == "same" and any(size % 2 == 0 for size in kernel_size):
        raise ValueError(
            f"Received kernel_size={kernel_size} with padding='same'."
            " Even kernels shift such a map by half a cell, so the layer "
            "could not be equivariant. Use odd sizes, or padding='valid'."
        )


def convolved_sizes(sizes, config):
    """Returns the size of the output along each axis, `None` if unknown."""
    outputs = []
    for size, span, stride in zip(
        sizes, config.spans, config.strides, strict=True
    ):
        if size is not None and config.padding == "valid":
            size -= span
        if isinstance(size, int) and size < 1:  # `jax.export` has symbols
            raise ValueError(
                f"Received a map of size {tuple(sizes)}. Kernels of "
                f"{config.kernel_size} (dilation {config.dilation_rate}) do "
                "not fit in it. Use larger inputs, smaller kernels, or "
                "padding='same'."
            )
        outputs.append(None if size is None else -(-size // stride))
    return outputs
