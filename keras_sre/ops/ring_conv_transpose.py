"""Transposed ring convolution: what undoes the shape of a strided one.

A cell of a small map spreads over the taps around it. With `W[r]` the weights
of ring `r` and `R[r]` its fixed filter, which is its own adjoint,

    y = sum_r R[r] spread(x @ W[r])

where `spread` puts `stride - 1` zeros between cells: the product, which is what
costs, is done on the small map. With the ring sums `S[r]` of the upstream
gradient at that stride, the gradient is

    d_W[r] = x.T @ S[r]        dx = sum_r S[r] @ W[r].T
"""

import dataclasses

import numpy as np
from keras import ops

from keras_sre.ops.backend import as_float
from keras_sre.ops.backend import as_tensor
from keras_sre.ops.backend import compiled_with_gradient
from keras_sre.ops.backend import never_empty
from keras_sre.ops.backend import untraced
from keras_sre.ops.depthwise_ring_sum import depthwise_ring_sums
from keras_sre.ops.depthwise_ring_sum import ring_means
from keras_sre.ops.depthwise_ring_sum import tap_sums
from keras_sre.ops.expansion import expand_kernel
from keras_sre.ops.factorised import apply_rings
from keras_sre.ops.maps import pad
from keras_sre.ops.maps import spread
from keras_sre.ops.products import weights_of_maps
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.ring_sum import sum_of_ring_sums
from keras_sre.ops.tiling import map_tiles


@untraced
@never_empty
def ring_conv_transpose(
    inputs,
    ring_kernel,
    config,
    crops,
    data_format="channels_last",
    implementation="auto",
):
    """Spreads a map with the kernel that `ring_kernel` stands for.

    Args:
        inputs: tensor of shape `(batch, *spatial, channels)`, or
            `(batch, channels, *spatial)` for `"channels_first"`.
        ring_kernel: tensor of shape `(num_rings, filters, channels)`.
        config: `RingConvConfig` of order 0; its padding does not count.
        crops: tuple of ints, for each spatial axis how many cells of the whole
            output, `(size - 1) * stride + span + 1`, are cut off at either
            end. Negative: that many zeros are added.
        data_format: `"channels_last"` or `"channels_first"`.
        implementation: one of `"dense"`, `"slices"`, `"depthwise"`, or
            `"auto"`: slices, which were the fastest in all cases measured.

    Returns:
        Tensor of shape `(batch, *new_spatial, filters)`, or channels first.

    Example:

    >>> from keras_sre.ops.config import RingConvConfig
    >>> config = RingConvConfig((4,), strides=(2,))
    >>> x, ring_kernel = ops.ones((1, 8, 3)), ops.ones((2, 5, 3))
    >>> tuple(ring_conv_transpose(x, ring_kernel, config, (1,)).shape)
    (1, 16, 5)
    """
    ring_kernel = as_tensor(ring_kernel)
    x = as_float(inputs, ring_kernel.dtype)
    if data_format == "channels_first":
        x = ops.moveaxis(x, 1, -1)
    run = {"dense": _dense, "depthwise": _depthwise}.get(
        implementation, _slices
    )
    outputs = run(x, ring_kernel, config, crops)
    if data_format == "channels_first":
        outputs = ops.moveaxis(outputs, -1, 1)
    return outputs


def _dense(x, ring_kernel, config, crops):
    kernel = expand_kernel(ring_kernel, config.filled_rings)
    if max(config.strides) > 1:
        outputs = ops.conv_transpose(
            x, kernel, config.strides, "valid", data_format="channels_last"
        )
        smallest = [
            stride - span - 1
            for stride, span in zip(config.strides, config.spans, strict=True)
        ]
        # Keras appends zeros where a kernel is shorter than the stride.
        ends = [(0, -max(excess, 0)) for excess in smallest]
        outputs = _grow(outputs, ends)
        return _grow(outputs, [(-crop, -crop) for crop in crops])
    x = pad(x, _borders(config, crops))
    return ops.conv(
        x,
        ops.swapaxes(kernel, -1, -2),
        padding="valid",
        dilation_rate=config.dilation_rate,
        data_format="channels_last",
    )


def _depthwise(x, ring_kernel, config, crops):
    filters = config.filled_rings
    of_means = np.diag(1 / tap_sums(filters))
    maps = _products(x, weights_of_maps(ring_kernel, of_means))
    maps = pad(spread(maps, config.strides), _borders(config, crops))
    inside = tuple(
        slice(span // 2, span // 2 - span or None) for span in config.spans
    )
    means = [
        depthwise_ring_sums(ring_map, ring[None], config.dilation_rate)[0]
        for ring_map, ring in zip(
            ops.split(maps, len(filters), axis=-1),
            ring_means(filters),
            strict=True,
        )
    ]
    return sum(mean[(slice(None), *inside)] for mean in means)


def _slices(x, ring_kernel, config, crops):
    return compiled_with_gradient(
        _forward, _backward, (config, crops), x, ring_kernel
    )


def _forward(static, x, ring_kernel):
    config, crops = static
    stride_1 = dataclasses.replace(config, strides=(1,) * len(crops))

    def tile(x):
        maps = spread(_products(x, ring_kernel), config.strides)
        maps = pad(maps, _borders(config, crops))
        return (
            apply_rings(sum_of_ring_sums, maps, config.filled_rings, stride_1),
        )

    width = _width(ring_kernel, config)
    (outputs,) = map_tiles(tile, x, width=width, num_outputs=1)
    return outputs


def _backward(static, x, ring_kernel, upstream):
    config, crops = static
    num_rings, filters, channels = ring_kernel.shape
    weights = ops.reshape(ring_kernel, (num_rings * filters, channels))

    def tile(x, upstream):
        upstream = _grow(upstream, [(crop, crop) for crop in crops])
        sums = apply_rings(ring_sums, upstream, config.filled_rings, config)
        rows = ops.reshape(sums, (-1, num_rings * filters))
        dx = ops.reshape(ops.matmul(rows, weights), ops.shape(x))
        inputs = ops.reshape(x, (-1, channels))
        return dx, ops.matmul(ops.transpose(rows), inputs)

    dx, d_weights = map_tiles(
        tile,
        x,
        upstream,
        width=_width(ring_kernel, config),
        num_outputs=2,
        summed=(1,),
    )
    return dx, ops.reshape(d_weights, ring_kernel.shape)


def _products(x, ring_kernel):
    """Returns the product with each ring's weights, side by side."""
    num_rings, filters, channels = ring_kernel.shape
    weights = ops.reshape(ring_kernel, (num_rings * filters, channels))
    rows = ops.matmul(ops.reshape(x, (-1, channels)), ops.transpose(weights))
    return ops.reshape(rows, (*ops.shape(x)[:-1], num_rings * filters))


def _borders(config, crops):
    """Returns the zeros around a spread map, for each axis."""
    return [
        (span - crop, span - crop)
        for span, crop in zip(config.spans, crops, strict=True)
    ]


def _width(ring_kernel, config):
    """Returns the channels of a small map as large as what is made of it."""
    width = ring_kernel.shape[0] * ring_kernel.shape[1]
    for stride in config.strides:
        width *= stride
    return width


def _grow(x, amounts):
    """Pads each spatial axis with `(before, after)` zeros, or cuts them off."""
    x = pad(x, [(max(a, 0), max(b, 0)) for a, b in amounts])
    inside = [slice(max(-a, 0), min(b, 0) or None) for a, b in amounts]
    return x[(slice(None), *inside)]
