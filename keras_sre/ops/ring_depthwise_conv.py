"""Depthwise ring convolution: ring kernels of its own for each channel.

There is no product to save, since no channel sees another:

    y[c] = sum_r weight[r, c] * S[r][c]     S[r] = ring sum r of x

and with the ring sums `G[r]` of the upstream gradient `dy`, at stride 1,

    d_weight[r, c] = sum over positions of x[c] * G[r][c]
    dx[c] = sum_r weight[r, c] * G[r][c]

With a stride, zeros are put between the cells of the upstream gradient first.
"""

import dataclasses

from keras import ops

from keras_sre.ops.backend import as_float
from keras_sre.ops.backend import as_tensor
from keras_sre.ops.backend import at_least_float32
from keras_sre.ops.backend import compiled_with_gradient
from keras_sre.ops.backend import has_compiler
from keras_sre.ops.backend import never_empty
from keras_sre.ops.backend import untraced
from keras_sre.ops.expansion import expand_kernel
from keras_sre.ops.maps import pad
from keras_sre.ops.maps import spread
from keras_sre.ops.ring_sum import ring_sums


@untraced
@never_empty
def ring_depthwise_conv(
    inputs,
    ring_kernel,
    config,
    data_format="channels_last",
    implementation="auto",
):
    """Convolves each channel with the kernels that `ring_kernel` stands for.

    Args:
        inputs: tensor of shape `(batch, *spatial, channels)`, or
            `(batch, channels, *spatial)` for `"channels_first"`.
        ring_kernel: tensor of shape `(num_rings, channels, depth_multiplier)`.
        config: `RingConvConfig` of order 0 and one group.
        data_format: `"channels_last"` or `"channels_first"`.
        implementation: `"slices"`; `"dense"` or `"depthwise"`, both the
            backend's own depthwise convolution; or `"auto"`: slices where XLA
            fuses them.

    Returns:
        Tensor of shape `(batch, *new_spatial, channels * depth_multiplier)`,
        or channels first; the filters of a channel stay together.

    Example:

    >>> from keras_sre.ops.config import RingConvConfig
    >>> config = RingConvConfig((3, 3), strides=(1, 1), dilation_rate=(1, 1))
    >>> x, ring_kernel = ops.ones((1, 8, 8, 4)), ops.ones((2, 4, 1))
    >>> tuple(ring_depthwise_conv(x, ring_kernel, config).shape)
    (1, 6, 6, 4)
    """
    ring_kernel = as_tensor(ring_kernel)
    x = as_float(inputs, ring_kernel.dtype)
    if data_format == "channels_first":
        x = ops.moveaxis(x, 1, -1)
    if implementation == "auto":
        implementation = "slices" if has_compiler() else "dense"
    run = _slices if implementation == "slices" else _dense
    outputs = run(x, ring_kernel, config)
    if data_format == "channels_first":
        outputs = ops.moveaxis(outputs, -1, 1)
    return outputs


def _dense(x, ring_kernel, config):
    x = pad(x, config.paddings(ops.shape(x)[1:-1]))
    # TensorFlow knows one stride for both axes.
    together = len(set(config.strides)) == 1
    outputs = ops.depthwise_conv(
        x,
        expand_kernel(ring_kernel, config.filled_rings),
        strides=config.strides[0] if together else 1,
        padding="valid",
        dilation_rate=config.dilation_rate,
        data_format="channels_last",
    )
    if together:
        return outputs
    steps = [slice(None, None, stride) for stride in config.strides]
    return outputs[(slice(None), *steps)]


def _slices(x, ring_kernel, config):
    return compiled_with_gradient(_forward, _backward, config, x, ring_kernel)


def _forward(config, x, ring_kernel):
    x = pad(x, config.paddings(ops.shape(x)[1:-1]))
    sums = _separate_ring_sums(x, config)
    _, channels, depth_multiplier = ring_kernel.shape
    outputs = [
        _weigh(sums, ring_kernel[:, :, i]) for i in range(depth_multiplier)
    ]
    outputs = ops.stack(outputs, axis=-1)
    shape = (*ops.shape(outputs)[:-2], channels * depth_multiplier)
    return ops.cast(ops.reshape(outputs, shape), x.dtype)


def _backward(config, x, ring_kernel, upstream):
    num_rings, channels, depth_multiplier = ring_kernel.shape
    paddings = config.paddings(ops.shape(x)[1:-1])
    stride_1 = dataclasses.replace(config, strides=(1,) * len(paddings))
    upstream = spread(upstream, config.strides)
    # What makes ring sums of the upstream gradient as large as the input.
    adjoint = [
        (span - before, size + before - steps)
        for span, (before, _), size, steps in zip(
            config.spans,
            paddings,
            ops.shape(x)[1:-1],
            ops.shape(upstream)[1:-1],
            strict=True,
        )
    ]
    shape = (*ops.shape(upstream)[:-1], channels, depth_multiplier)
    upstream = ops.reshape(upstream, shape)
    axes = tuple(range(len(shape) - 2))
    inputs, dx, d_weights = at_least_float32(x), 0, []
    for i in range(depth_multiplier):
        sums = _separate_ring_sums(pad(upstream[..., i], adjoint), stride_1)
        dx = dx + _weigh(sums, ring_kernel[:, :, i])
        d_weights.append([ops.sum(inputs * s, axis=axes) for s in sums])
    d_weights = ops.stack([ops.stack(d) for d in d_weights], axis=-1)
    return (
        ops.cast(dx, x.dtype),
        ops.cast(d_weights, ring_kernel.dtype),
    )


def _separate_ring_sums(x, config):
    """Returns a list of ring sums, in at least float32."""
    sums = ring_sums(
        at_least_float32(x),
        config.filled_rings,
        config.strides,
        config.dilation_rate,
    )
    return ops.split(sums, len(config.filled_rings), axis=-1)


def _weigh(sums, weights):
    weights = ops.cast(weights, sums[0].dtype)
    terms = [ring * weights[i] for i, ring in enumerate(sums)]
    return sum(terms[1:], start=terms[0])
