"""Ring convolution: ring sums, one pointwise product, and their gradient.

With `S[r] = ring sum r of x` (no weights) a ring convolution is

    y = sum_r S[r] @ weight[r]

one product with `num_rings * channels` inputs instead of a kernel of `k**rank`
taps. At stride 1 a ring filter is its own adjoint, so with the ring sums
`G[r]` of the upstream gradient `dy`

    d_weight[r] = x.T @ G[r]        dx = sum_r G[r] @ weight[r].T

and training keeps only `x`: no activation is `num_rings` times wider.

| implementation | what runs | where `"auto"` takes it |
|---|---|---|
| `"slices"` | shifted slices and adds, one product | TensorFlow and JAX: XLA |
| `"depthwise"` | a depthwise convolution, one product | torch, large kernels |
| `"dense"` | the expanded kernel, an ordinary convolution | single taps |

Where there are fewer channels than filters the ring sums are those of `x`,
else (stride 1) those of the product: whichever is narrower. On the CPU large
maps are worked on a few images at a time (`tiling.py`).
"""

import dataclasses
import functools
import math
import operator

import keras
import numpy as np
from keras import ops

from keras_sre.geometry import ring_filters
from keras_sre.ops.compilation import compiled
from keras_sre.ops.ring_sum import depthwise_ring_sums
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.ring_sum import sum_of_ring_sums
from keras_sre.ops.tiling import exceeds_cache
from keras_sre.ops.tiling import map_tiles

IMPLEMENTATIONS = ("auto", "dense", "slices", "depthwise")


@dataclasses.dataclass(frozen=True)
class RingConvConfig:
    """Everything that defines a ring convolution but its tensors.

    `kernel_size`, `strides` and `dilation_rate` are tuples of one int per
    spatial axis, `spacing` one of floats or `None`; the rest is as in
    `keras_sre.SREConv2D`.
    """

    kernel_size: tuple
    num_rings: int | None = None
    circular: bool = True
    ring_profile: str = "hard"
    spacing: tuple | None = None
    strides: tuple = (1,)
    padding: str = "valid"
    dilation_rate: tuple = (1,)
    groups: int = 1

    @property
    def filters(self):
        """The fixed ring filters, shape `(num_rings, *kernel_size)`."""
        return ring_filters(
            self.kernel_size,
            self.num_rings,
            self.circular,
            self.ring_profile,
            self.spacing,
        )

    @property
    def spans(self):
        """How many cells each kernel axis reaches beyond its first tap."""
        return tuple(
            (size - 1) * rate
            for size, rate in zip(
                self.kernel_size, self.dilation_rate, strict=True
            )
        )

    def paddings(self, spatial_shape):
        """Returns `(before, after)` zeros for each axis, as Keras pads."""
        if self.padding == "valid":
            return [(0, 0) for _ in self.spans]
        if self.padding == "causal":
            return [(span, 0) for span in self.spans]
        paddings = []
        for size, span, stride in zip(
            spatial_shape, self.spans, self.strides, strict=True
        ):
            total = span
            if stride > 1:
                total = span + 1 - size + (-(-size // stride) - 1) * stride
                total = (
                    max(total, 0)
                    if isinstance(total, int)
                    else ops.maximum(total, 0)
                )
            paddings.append((total // 2, total - total // 2))
        return paddings


def expand_kernel(ring_kernel, filters):
    """Returns the ordinary kernel that a ring kernel stands for.

    Symmetric taps are copies of one another, bit for bit.

    Args:
        ring_kernel: tensor of shape
            `(num_rings, channels // groups, num_filters)`.
        filters: array of shape `(num_rings, *kernel_size)`, `ring_filters`.

    Returns:
        Tensor of shape `(*kernel_size, channels // groups, num_filters)`.

    Example:

    >>> expand_kernel(np.ones((2, 3, 4)), ring_filters((3, 3))).shape
    TensorShape([3, 3, 3, 4])
    """
    num_rings, *kernel_size = filters.shape
    mixes, which = np.unique(
        filters.reshape(num_rings, -1), axis=1, return_inverse=True
    )
    mixes = ops.cast(np.ascontiguousarray(mixes.T), ring_kernel.dtype)
    distinct = ops.tensordot(mixes, ring_kernel, axes=1)
    kernel = ops.take(distinct, which.reshape(-1), axis=0)
    return ops.reshape(kernel, (*kernel_size, *ring_kernel.shape[1:]))


def ring_conv(
    inputs, ring_kernel, config, data_format="channels_last", implementation="auto"
):
    """Convolves a map with the kernel that `ring_kernel` stands for.

    Args:
        inputs: tensor of shape `(batch, *spatial, channels)`, or
            `(batch, channels, *spatial)` for `"channels_first"`.
        ring_kernel: tensor of shape
            `(num_rings, channels // groups, num_filters)`.
        config: `RingConvConfig`.
        data_format: `"channels_last"` or `"channels_first"`.
        implementation: one of `"auto"`, `"dense"`, `"slices"`, `"depthwise"`:
            how it is computed. All agree to rounding.

    Returns:
        Tensor of shape `(batch, *new_spatial, num_filters)`, or channels
        first.

    Example:

    >>> config = RingConvConfig((5,), padding="same")
    >>> ring_conv(np.ones((1, 8, 2)), np.ones((3, 2, 4)), config).shape
    TensorShape([1, 8, 4])
    """
    inputs = ops.convert_to_tensor(inputs)
    ring_kernel = ops.convert_to_tensor(ring_kernel)
    if implementation == "auto":
        implementation = fastest_implementation(config)
    if implementation == "dense":
        return _dense(inputs, ring_kernel, config, data_format)
    if data_format == "channels_first":
        inputs = ops.moveaxis(inputs, 1, -1)
    if implementation == "depthwise":
        outputs = _depthwise(inputs, ring_kernel, config)
    elif max(config.strides) > 1:
        outputs = compiled(_forward, config, inputs, ring_kernel)
    else:
        outputs = _self_adjoint(inputs, ring_kernel, config)
    if data_format == "channels_first":
        outputs = ops.moveaxis(outputs, -1, 1)
    return outputs


def fastest_implementation(config):
    """Returns what `"auto"` stands for on the present backend.

    Example:

    >>> fastest_implementation(RingConvConfig((9, 9)))
    'slices'
    """
    if math.prod(config.kernel_size) == 1:
        return "dense"
    if keras.backend.backend() in ("tensorflow", "jax"):
        return "slices"
    return "dense"


def _dense(inputs, ring_kernel, config, data_format):
    kernel = expand_kernel(ring_kernel, config.filters)
    padding = config.padding
    if padding == "causal":
        channels_last = data_format == "channels_last"
        paddings = config.paddings(inputs.shape[1:-1])
        inputs = _pad(inputs, paddings, first_axis=1 if channels_last else 2)
        padding = "valid"
    return ops.conv(
        inputs,
        kernel,
        strides=config.strides,
        padding=padding,
        dilation_rate=config.dilation_rate,
        data_format=data_format,
    )


def _depthwise(x, ring_kernel, config):
    x = _pad(x, config.paddings(_spatial_shape(x)))
    sums = depthwise_ring_sums(
        x, config.filters, config.strides, config.dilation_rate
    )  # (..., rings * channels)
    groups = config.groups
    if groups == 1:
        return ops.matmul(sums, _weights(ring_kernel, 1, "bcf")[0])
    sums = ops.concatenate(
        [
            _split_groups(ring, groups)
            for ring in ops.split(sums, len(ring_kernel), axis=-1)
        ],
        axis=-1,
    )  # (..., groups, rings * channels)
    return _merge_groups(_product(sums, _weights(ring_kernel, groups, "bcf")))


def _self_adjoint(x, ring_kernel, config):
    """Stride-1 ring convolution whose gradient is ring sums once more."""

    @ops.custom_gradient
    def convolve(x, ring_kernel):
        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            return compiled(_backward, config, x, ring_kernel, upstream)

        return compiled(_forward, config, x, ring_kernel), gradient

    return convolve(x, ring_kernel)


def _forward(config, x, ring_kernel):
    num_rings, _, num_filters = ring_kernel.shape
    groups, channels = config.groups, x.shape[-1]
    paddings = config.paddings(_spatial_shape(x))
    product_first = channels > num_filters and max(config.strides) == 1

    def rings_first_tile(x):
        x = _pad(x, paddings)
        if not exceeds_cache(x, num_rings * channels):
            sums = _ring_sums(ring_sums, x, config)
            return (_product(sums, _weights(ring_kernel, groups, "bcf")),)
        # One product for each ring: side by side they would be copied.
        products = [
            _product(
                _ring_sums(ring_sums, x, config, slice(ring, ring + 1)),
                _weights(ring_kernel[ring : ring + 1], groups, "bcf"),
            )
            for ring in range(num_rings)
        ]
        return (functools.reduce(operator.add, products),)

    def product_first_tile(x):
        maps = _product(x, _weights(ring_kernel, groups, "cbf"))
        return (_ring_sums(sum_of_ring_sums, _pad(maps, paddings), config),)

    (outputs,) = map_tiles(
        product_first_tile if product_first else rings_first_tile,
        _split_groups(x, groups),
        width=num_rings * min(channels, num_filters),
    )
    return _merge_groups(outputs)


def _backward(config, x, ring_kernel, upstream):
    num_rings, group_channels, num_filters = ring_kernel.shape
    groups, channels = config.groups, x.shape[-1]
    paddings = config.paddings(_spatial_shape(x))
    adjoint = [
        (span - before, span - after)
        for span, (before, after) in zip(config.spans, paddings, strict=True)
    ]
    sum_input = 4 * channels <= num_filters

    def sum_input_tile(x, dy):
        maps = _product(dy, _weights(ring_kernel, groups, "fbc"))
        dx = _ring_sums(sum_of_ring_sums, _pad(maps, adjoint), config)
        sums = _ring_sums(ring_sums, _pad(x, paddings), config)
        return dx, _outer(sums, dy)  # (groups, rings * channels, filters)

    def sum_upstream_tile(x, dy):
        sums = _ring_sums(ring_sums, _pad(dy, adjoint), config)
        dx = _product(sums, _weights(ring_kernel, groups, "bfc"))
        return dx, _outer(x, sums)  # (groups, channels, rings * filters)

    dx, d_weights = map_tiles(
        sum_input_tile if sum_input else sum_upstream_tile,
        _split_groups(x, groups),
        _split_groups(upstream, groups),
        width=num_rings * (channels if sum_input else num_filters),
        summed=(1,),
    )
    if sum_input:
        shape, order = (num_rings, group_channels, -1), (1, 2, 0, 3)
    else:
        shape, order = (group_channels, num_rings, -1), (2, 1, 0, 3)
    d_weights = ops.reshape(d_weights, (groups, *shape))
    d_ring_kernel = ops.reshape(
        ops.transpose(d_weights, order), ring_kernel.shape
    )
    return _merge_groups(dx), d_ring_kernel


# Inside these functions maps are (..., groups, channels of a group) and
# weights (groups, inputs, outputs).


def _weights(ring_kernel, groups, order):
    """Returns ring weights as matrices, `(groups, inputs, outputs)`.

    `order` names the last three axes before two are merged: rings `b`,
    channels `c` and filters `f`. Rings stay with their neighbour: `"bcf"` is
    `(groups, b * c, f)`, `"cbf"` is `(groups, c, b * f)`.
    """
    num_rings, channels, _ = ring_kernel.shape
    axes = {"b": 0, "c": 1, "f": 3}
    split = ops.reshape(ring_kernel, (num_rings, channels, groups, -1))
    split = ops.transpose(split, (2, *(axes[axis] for axis in order)))
    first, second, third = split.shape[1:]
    if order[0] == "b":
        return ops.reshape(split, (groups, first * second, third))
    return ops.reshape(split, (groups, first, second * third))


def _product(x, weights):
    groups, num_inputs, num_outputs = weights.shape
    if groups == 1:
        outputs = ops.matmul(ops.reshape(x, (-1, num_inputs)), weights[0])
    else:
        rows = ops.reshape(x, (-1, groups, num_inputs))
        outputs = ops.einsum("ngi,gio->ngo", rows, weights)
    return ops.reshape(outputs, (*ops.shape(x)[:-1], num_outputs))


def _outer(x, y):
    """Returns `x.T @ y` over all positions, `(groups, inputs, outputs)`."""
    x, y = (ops.reshape(t, (-1, *t.shape[-2:])) for t in (x, y))
    if x.shape[1] == 1:
        return ops.matmul(ops.transpose(x[:, 0]), y[:, 0])[None]
    return ops.einsum("ngi,ngo->gio", x, y)


def _ring_sums(function, x, config, rings=slice(None)):
    """Runs `ring_sums` or `sum_of_ring_sums`, adding in at least float32."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype in ("float16", "bfloat16"):
        x = ops.cast(x, "float32")
    filters = config.filters[rings]
    sums = function(x, filters, config.strides, config.dilation_rate)
    return ops.cast(sums, dtype)


def _pad(x, paddings, first_axis=1):
    if all(
        isinstance(pad, int) and pad == 0 for pads in paddings for pad in pads
    ):
        return x
    unpadded = len(x.shape) - first_axis - len(paddings)
    widths = [(0, 0)] * first_axis + list(paddings) + [(0, 0)] * unpadded
    return ops.pad(x, widths)


def _split_groups(x, groups):
    shape = tuple(ops.shape(x)[:-1])
    return ops.reshape(x, (*shape, groups, x.shape[-1] // groups))


def _merge_groups(x):
    *shape, groups, channels = ops.shape(x)
    return ops.reshape(x, (*shape, groups * channels))


def _spatial_shape(x):
    return tuple(ops.shape(x)[1:-1])
