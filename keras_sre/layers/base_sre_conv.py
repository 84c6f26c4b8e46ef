"""What the ring convolution layers of every rank share."""

import keras
from keras import ops

from keras_sre import validation
from keras_sre.geometry import RING_PROFILES
from keras_sre.initializers import DenseKernelVariance
from keras_sre.ops.ring_conv import IMPLEMENTATIONS
from keras_sre.ops.ring_conv import RingConvConfig
from keras_sre.ops.ring_conv import expand_kernels
from keras_sre.ops.ring_conv import ring_conv


class BaseSREConv(keras.layers.Layer):
    """Ring convolution over `rank` spatial axes; see `SREConv2D`."""

    rank = None  # the number of spatial axes, set by each subclass

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
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        check, rank = validation, self.rank
        self.filters = check.positive_int(filters, "filters")
        self.kernel_size = check.ints_per_axis(kernel_size, rank, "kernel_size")
        self.strides = check.ints_per_axis(strides, rank, "strides")
        paddings = ("valid", "same", "causal")[: 3 if rank == 1 else 2]
        padding = padding.lower() if isinstance(padding, str) else padding
        self.padding = check.one_of(padding, paddings, "padding")
        self.data_format = check.one_of(
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
            "data_format",
        )
        self.dilation_rate = check.ints_per_axis(
            dilation_rate, rank, "dilation_rate"
        )
        self.groups = check.positive_int(groups, "groups")
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
        self.harmonics = check.distinct_ints(harmonics, "harmonics")
        self.harmonic_fraction = check.fraction(
            harmonic_fraction, "harmonic_fraction"
        )
        self.implementation = check.one_of(
            implementation, IMPLEMENTATIONS, "implementation"
        )
        self._check_combinations()
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
        self.num_rings = len(self._config.rings)
        self._banks = self._config.banks  # raises if no ring carries an order
        self.input_spec = keras.layers.InputSpec(ndim=rank + 2)

    def _check_combinations(self):
        if self.filters % self.groups:
            raise ValueError(
                f"Received filters={self.filters} and groups={self.groups}. "
                "The number of filters must be divisible by groups."
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"Received strides={self.strides} and dilation_rate="
                f"{self.dilation_rate}. As in Keras, one of them must be 1."
            )
        if self.padding == "same" and any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(
                f"Received kernel_size={self.kernel_size} with padding='same'."
                " Even kernels shift such a map by half a cell, so the layer "
                "could not be equivariant. Use odd sizes, or padding='valid'."
            )

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
        channels = self._channels(input_shape)
        self.compute_output_shape(input_shape)  # is there any output?
        channels_axis = -1 if self.data_format == "channels_last" else 1
        self.input_spec = keras.layers.InputSpec(
            ndim=self.rank + 2, axes={channels_axis: channels}
        )
        kernels, first = [], 0
        for (order, count), bank in zip(
            self._num_filters.items(), self._banks, strict=True
        ):
            weight = self.add_weight(
                name=f"harmonic_kernel_{order}" if order else "ring_kernel",
                shape=(bank.shape[1], channels // self.groups, count),
                initializer=DenseKernelVariance(
                    self.kernel_initializer, bank, self.filters, first
                ),
                regularizer=self.kernel_regularizer,
                constraint=self.kernel_constraint,
            )
            kernels.append(weight)
            first += count
        # A list: TensorFlow refuses to save dicts whose keys are no strings.
        self._ring_kernels = kernels
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    @property
    def ring_kernel(self):
        """The weights of the ordinary filters, `None` if there are none."""
        return self._kernels_by_order().get(0)

    @property
    def harmonic_kernels(self):
        """A dict from each order to the weights of its filters."""
        kernels = self._kernels_by_order()
        return {order: kernels[order] for order in kernels if order}

    def _kernels_by_order(self):
        kernels = getattr(self, "_ring_kernels", ())
        return dict(zip(self._num_filters, kernels, strict=False))

    @property
    def kernel(self):
        """The ordinary kernel that the ring weights stand for.

        Shape `kernel_size + (channels // groups, filters)`, as in Keras. With
        harmonics it is that of all linear responses: for each group the
        filters of each order, and of an order those of each of its functions.
        """
        if not self.built:
            raise AttributeError(
                f"Layer {self.name!r} has no kernel yet. Build it first, for "
                "example by calling it on data."
            )
        kernels = map(ops.convert_to_tensor, self._ring_kernels)
        return expand_kernels(list(kernels), self._config)

    def call(self, inputs, training=None):
        outputs = ring_conv(
            inputs,
            self._ring_kernels,
            self._config,
            data_format=self.data_format,
            implementation=self.implementation,
            training=bool(training),
        )
        if self.use_bias:
            shape = [1] * (self.rank + 2)
            shape[-1 if self.data_format == "channels_last" else 1] = -1
            outputs = outputs + ops.reshape(self.bias, shape)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        self._channels(input_shape)
        first = self.data_format == "channels_first"
        spatial = input_shape[2:] if first else input_shape[1:-1]
        outputs = []
        for size, span, stride in zip(
            spatial, self._config.spans, self.strides, strict=True
        ):
            if size is not None and self.padding == "valid":
                size -= span
                if size < 1:
                    raise ValueError(
                        f"Received an input of shape {tuple(input_shape)}. "
                        f"Kernels of {self.kernel_size} (dilation "
                        f"{self.dilation_rate}) do not fit in it. Use larger "
                        "inputs, smaller kernels, or padding='same'."
                    )
            outputs.append(None if size is None else -(-size // stride))
        if first:
            return (input_shape[0], self.filters, *outputs)
        return (input_shape[0], *outputs, self.filters)

    def _channels(self, input_shape):
        """Returns the number of input channels, or raises a ValueError."""
        if len(input_shape) != self.rank + 2:
            raise ValueError(
                f"Received an input of shape {tuple(input_shape)}. Expected "
                f"{self.rank + 2} axes: batch, {self.rank} spatial, channels."
            )
        first = self.data_format == "channels_first"
        channels = input_shape[1 if first else -1]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"Received an input of shape {tuple(input_shape)} "
                f"({self.data_format}) with groups={self.groups}. The number "
                "of channels must be known and divisible by groups."
            )
        return channels

    def get_config(self):
        keras_arguments = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "activity_regularizer": keras.regularizers.serialize(
                self.activity_regularizer
            ),
        }
        for kind, module in (
            ("initializer", keras.initializers),
            ("regularizer", keras.regularizers),
            ("constraint", keras.constraints),
        ):
            for weight in ("kernel", "bias"):
                value = getattr(self, f"{weight}_{kind}")
                keras_arguments[f"{weight}_{kind}"] = module.serialize(value)
        ring_arguments = {
            "num_rings": self.num_rings,
            "circular": self.circular,
            "ring_profile": self.ring_profile,
            "spacing": self.spacing,
            "harmonics": self.harmonics,
            "harmonic_fraction": self.harmonic_fraction,
            "implementation": self.implementation,
        }
        return {**super().get_config(), **keras_arguments, **ring_arguments}
