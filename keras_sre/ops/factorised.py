"""The factorised form: ring sums, one pointwise product, and the gradient.

Within a tile maps are `(..., groups, channels of a group)` and weights
`(groups, inputs, outputs)`.
"""

import dataclasses
import functools
import operator

import keras
from keras import ops

from keras_sre.ops.backend import compiled
from keras_sre.ops.ring_sum import depthwise_ring_sums
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.ring_sum import sum_of_ring_sums
from keras_sre.ops.tiling import exceeds_cache
from keras_sre.ops.tiling import map_tiles


def depthwise_ring_conv(x, ring_kernel, config):
    """Ring convolution by the backend's depthwise convolution."""
    x = pad(x, config.paddings(ops.shape(x)[1:-1]))
    sums = depthwise_ring_sums(
        x, config.filters, config.strides, config.dilation_rate
    )  # (..., rings * channels)
    groups = config.groups
    if groups == 1:
        return ops.matmul(sums, _weights(ring_kernel, 1, "bcf")[0])
    sums = ops.concatenate(
        [
            _split_groups(ring, groups)
            for ring in ops.split(sums, ring_kernel.shape[0], axis=-1)
        ],
        axis=-1,
    )  # (..., groups, rings * channels)
    return _merge_groups(_product(sums, _weights(ring_kernel, groups, "bcf")))


def slices_ring_conv(x, ring_kernel, config):
    """Ring convolution of slices and adds, with its self-adjoint gradient.

    Both directions are compiled by XLA.
    """

    @ops.custom_gradient
    def convolve(x, ring_kernel):
        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            return compiled(_backward, config, x, ring_kernel, upstream)

        # The gradient is ours: nothing in here is to be recorded for another.
        inputs = ops.stop_gradient(x), ops.stop_gradient(ring_kernel)
        return compiled(_forward, config, *inputs), gradient

    return convolve(x, ring_kernel)


def _forward(config, x, ring_kernel):
    num_rings, _, num_filters = ring_kernel.shape
    groups, channels = config.groups, x.shape[-1]
    paddings = config.paddings(ops.shape(x)[1:-1])
    product_first = channels > num_filters and max(config.strides) == 1
    apart = exceeds_cache(x, num_rings * channels)

    def rings_first_tile(x):
        x = pad(_split_groups(x, groups), paddings)
        if not apart:
            sums = _ring_sums(ring_sums, x, config)
            weights = _weights(ring_kernel, groups, "bcf")
            return (_merge_groups(_product(sums, weights)),)
        # One product for each ring: side by side they would be copied.
        products = [
            _product(
                _ring_sums(ring_sums, x, config, slice(ring, ring + 1)),
                _weights(ring_kernel[ring : ring + 1], groups, "bcf"),
            )
            for ring in range(num_rings)
        ]
        return (_merge_groups(functools.reduce(operator.add, products)),)

    def product_first_tile(x):
        x = _split_groups(x, groups)
        maps = pad(_product(x, _weights(ring_kernel, groups, "cbf")), paddings)
        return (_merge_groups(_ring_sums(sum_of_ring_sums, maps, config)),)

    (outputs,) = map_tiles(
        product_first_tile if product_first else rings_first_tile,
        x,
        width=num_rings * min(channels, num_filters),
    )
    return outputs


def _backward(config, x, ring_kernel, upstream):
    num_rings, group_channels, num_filters = ring_kernel.shape
    groups, channels = config.groups, x.shape[-1]
    paddings = config.paddings(ops.shape(x)[1:-1])
    # What makes ring sums of the upstream gradient as large as the input.
    adjoint = [
        (span - before, size + before - 1 - (steps - 1) * stride)
        for span, (before, _), size, steps, stride in zip(
            config.spans,
            paddings,
            ops.shape(x)[1:-1],
            ops.shape(upstream)[1:-1],
            config.strides,
            strict=True,
        )
    ]
    stride_1 = dataclasses.replace(config, strides=(1,) * len(config.strides))
    sum_input = 4 * channels <= num_filters or max(config.strides) > 1

    def sum_input_tile(x, dy):
        x, dy = _split_groups(x, groups), _split_groups(dy, groups)
        maps = _product(dy, _weights(ring_kernel, groups, "fbc"))
        maps = pad(_spread(maps, config.strides), adjoint)
        dx = _ring_sums(sum_of_ring_sums, maps, stride_1)
        sums = _ring_sums(ring_sums, pad(x, paddings), config)
        # (groups, rings * channels, filters)
        return _merge_groups(dx), _outer(sums, dy)

    def sum_upstream_tile(x, dy):
        x, dy = _split_groups(x, groups), _split_groups(dy, groups)
        sums = _ring_sums(ring_sums, pad(dy, adjoint), config)
        dx = _product(sums, _weights(ring_kernel, groups, "bfc"))
        # (groups, channels, rings * filters)
        return _merge_groups(dx), _outer(x, sums)

    dx, d_weights = map_tiles(
        sum_input_tile if sum_input else sum_upstream_tile,
        x,
        upstream,
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
    return dx, d_ring_kernel


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


def pad(x, paddings, first_axis=1):
    """Pads spatial axes, from `first_axis` on, with `(before, after)` zeros."""
    if all(
        isinstance(pad, int) and pad == 0 for pads in paddings for pad in pads
    ):
        return x
    unpadded = len(x.shape) - first_axis - len(paddings)
    widths = [(0, 0)] * first_axis + list(paddings) + [(0, 0)] * unpadded
    return ops.pad(x, widths)


def _spread(x, strides):
    """Puts `stride - 1` zeros between neighbours along each spatial axis."""
    for axis, stride in enumerate(strides, start=1):
        if stride > 1:
            shape = list(ops.shape(x))
            x = ops.expand_dims(x, axis + 1)
            widths = [(0, 0)] * len(x.shape)
            widths[axis + 1] = (0, stride - 1)
            shape[axis] *= stride
            x = ops.reshape(ops.pad(x, widths), shape)
            x = x[(slice(None),) * axis + (slice(None, 1 - stride),)]
    return x


def _split_groups(x, groups):
    shape = tuple(ops.shape(x)[:-1])
    return ops.reshape(x, (*shape, groups, x.shape[-1] // groups))


def _merge_groups(x):
    *shape, groups, channels = ops.shape(x)
    return ops.reshape(x, (*shape, groups * channels))
