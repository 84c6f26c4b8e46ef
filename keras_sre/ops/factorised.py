"""The factorised form: ring sums, one pointwise product, and the gradient.

Within a tile maps are `(..., groups, channels of a group)` and weights
`(groups, inputs, outputs)`.
"""

import dataclasses
import functools
import itertools
import operator

from keras import ops

from keras_sre.ops.backend import at_least_float32
from keras_sre.ops.backend import compiled
from keras_sre.ops.responses import join
from keras_sre.ops.responses import split
from keras_sre.ops.responses import split_parts
from keras_sre.ops.responses import to_directions
from keras_sre.ops.responses import to_gradients
from keras_sre.ops.responses import to_outputs
from keras_sre.ops.ring_sum import depthwise_ring_means
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.ring_sum import sum_of_ring_sums
from keras_sre.ops.ring_sum import tap_sums
from keras_sre.ops.tiling import exceeds_cache
from keras_sre.ops.tiling import map_tiles


def depthwise_ring_conv(x, ring_kernels, config):
    """Ring convolution by the backend's depthwise convolution."""
    groups, inside = config.groups, None
    if config.padding != "same" or max(config.strides) > 1:
        x = pad(x, config.paddings(ops.shape(x)[1:-1]))
        inside = (slice(None),) + tuple(
            slice(span // 2, span // 2 - span or None, stride)
            for span, stride in zip(config.spans, config.strides, strict=True)
        )

    def respond(filters, weights):
        means = depthwise_ring_means(x, filters, config.dilation_rate)
        if inside:
            means = [mean[inside] for mean in means]
        if groups == 1:
            return _pointwise(join(means), weights[0])
        return _product(join(_split_groups(m, groups) for m in means), weights)

    responses = [
        [
            respond(filters, _mean_weights(ring_kernel, filters, groups))
            for filters in bank
        ]
        for bank, ring_kernel in zip(config.banks, ring_kernels, strict=True)
    ]
    outputs, _ = to_outputs(responses, config.orders)
    return outputs if groups == 1 else _merge_groups(outputs)


def slices_ring_conv(x, ring_kernels, config, training):
    """Ring convolution of slices and adds, with its self-adjoint gradient.

    Both directions are compiled by XLA.
    """
    harmonic = any(config.orders)
    forward = _forward_in_training if harmonic and training else _forward

    @ops.custom_gradient
    def convolve(x, *ring_kernels):
        # The gradient is ours: nothing in here is to be recorded for another.
        inputs = [ops.stop_gradient(t) for t in (x, *ring_kernels)]
        outputs, *saved = compiled(forward, config, *inputs)

        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            directions = saved
            if harmonic and not training:
                _, *directions = compiled(_forward_in_training, config, *inputs)
            return compiled(
                _backward, config, x, upstream, *ring_kernels, *directions
            )

        return outputs, gradient

    return convolve(x, *ring_kernels)


def _forward_in_training(config, x, *ring_kernels):
    """Returns the outputs, and all directions as one map."""
    return _forward(config, x, *ring_kernels, with_directions=True)


def _forward(config, x, *ring_kernels, with_directions=False):
    banks, groups, channels = config.banks, config.groups, x.shape[-1]
    paddings = config.paddings(ops.shape(x)[1:-1])
    input_width, output_width = _widths(config, channels, ring_kernels)
    product_first = input_width > output_width and max(config.strides) == 1
    apart = exceeds_cache(x, input_width)

    # Weights are made here, once, and not for each tile.
    if product_first:
        parts = [_weights(k, groups, "cbf") for k in ring_kernels]
        weights, sizes = join(parts), [part.shape[-1] for part in parts]
    else:
        weights = [_weights_of_rings(k, groups, apart) for k in ring_kernels]

    def rings_first(x):
        x = pad(x, paddings)
        for bank, weights_of_rings in zip(banks, weights, strict=True):
            yield [
                _add(
                    _product(
                        apply_rings(ring_sums, x, filters[rings], config),
                        matrix,
                    )
                    for rings, matrix in weights_of_rings
                )
                for filters in bank
            ]

    def products_first(x):
        maps = split(pad(_product(x, weights), paddings), sizes)
        for bank, x in zip(banks, maps, strict=True):
            yield [
                apply_rings(sum_of_ring_sums, x, filters, config)
                for filters in bank
            ]

    def tile(x):
        respond = products_first if product_first else rings_first
        responses = list(respond(_split_groups(x, groups)))
        outputs, norms = to_outputs(responses, config.orders)
        if not with_directions:
            return (_merge_groups(outputs),)
        directions = join(itertools.chain(*to_directions(responses, norms)))
        return _merge_groups(outputs), _merge_groups(directions)

    width = output_width if product_first else input_width
    num_outputs = 2 if with_directions else 1
    return map_tiles(tile, x, width=width, num_outputs=num_outputs)


def _backward(config, x, upstream, *tensors):
    banks, orders, groups = config.banks, config.orders, config.groups
    ring_kernels, saved = tensors[: len(banks)], tensors[len(banks) :]
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
    input_width, output_width = _widths(config, x.shape[-1], ring_kernels)
    sum_input = 4 * input_width <= output_width or max(config.strides) > 1
    order = "fbc" if sum_input else "bfc"
    weights = [_weights(k, groups, order) for k in ring_kernels]
    if not sum_input:
        weights = ops.concatenate(weights, axis=1)

    def sum_input_tile(x, gradients):
        x, dx, d_weights = pad(x, paddings), [], []
        for order, bank, matrix, parts in zip(
            orders, banks, weights, gradients, strict=True
        ):
            d_weight = []
            for filters, dy in zip(bank, parts, strict=True):
                maps = spread(_product(dy, matrix), config.strides)
                maps = pad(maps, adjoint)
                # The adjoint of a filter is the filter turned by 180 degrees.
                flipped = (-1) ** order * filters
                dx.append(
                    apply_rings(sum_of_ring_sums, maps, flipped, stride_1)
                )
                sums = apply_rings(ring_sums, x, filters, config)
                d_weight.append(_outer(sums, dy))
            d_weights.append(_add(d_weight))
        return _add(dx), d_weights  # (groups, rings * channels, filters)

    def sum_upstream_tile(x, gradients):
        sums = [
            _add(
                apply_rings(
                    ring_sums, pad(dy, adjoint), (-1) ** order * filters, config
                )
                for filters, dy in zip(bank, parts, strict=True)
            )
            for order, bank, parts in zip(orders, banks, gradients, strict=True)
        ]
        joined = join(sums)
        dx = _product(joined, weights)
        d_weights = _outer(x, joined)  # (groups, channels, rings * filters)
        return dx, split(d_weights, [s.shape[-1] for s in sums])

    def tile(x, upstream, *saved):
        x, dy = _split_groups(x, groups), _split_groups(upstream, groups)
        sizes = [k.shape[-1] // groups for k in ring_kernels]
        directions = [[]]
        if saved:
            counts = [
                len(bank) if order else 0
                for order, bank in zip(orders, banks, strict=True)
            ]
            joined = _split_groups(saved[0], groups)
            directions = split_parts(joined, sizes, counts)
        gradients = to_gradients(dy, directions, sizes)
        run = sum_input_tile if sum_input else sum_upstream_tile
        dx, d_weights = run(x, gradients)
        return _merge_groups(dx), *d_weights

    dx, *d_weights = map_tiles(
        tile,
        x,
        upstream,
        *saved,
        width=input_width if sum_input else output_width,
        num_outputs=1 + len(banks),
        summed=range(1, 1 + len(banks)),
    )
    order = "bcf" if sum_input else "cbf"
    return dx, *(
        _to_ring_kernel(d_weight, ring_kernel.shape, order)
        for d_weight, ring_kernel in zip(d_weights, ring_kernels, strict=True)
    )


def _widths(config, channels, ring_kernels):
    """Returns the channels of all ring sums of the input and of the output."""
    counts = [len(bank) * bank.shape[1] for bank in config.banks]
    output_width = sum(
        count * ring_kernel.shape[-1]
        for count, ring_kernel in zip(counts, ring_kernels, strict=True)
    )
    return channels * sum(counts), output_width


def _weights(ring_kernel, groups, order):
    """Returns ring weights as matrices, `(groups, inputs, outputs)`.

    `order` names the last three axes before two are merged: rings `b`,
    channels `c` and filters `f`. Rings stay with their neighbour: `"bcf"` is
    `(groups, b * c, f)`, `"cbf"` is `(groups, c, b * f)`.
    """
    num_rings, channels, _ = ring_kernel.shape
    axes = {"b": 0, "c": 1, "f": 3}
    axis_by_axis = ops.reshape(ring_kernel, (num_rings, channels, groups, -1))
    axis_by_axis = ops.transpose(
        axis_by_axis, (2, *(axes[axis] for axis in order))
    )
    first, second, third = axis_by_axis.shape[1:]
    if order[0] == "b":
        return ops.reshape(axis_by_axis, (groups, first * second, third))
    return ops.reshape(axis_by_axis, (groups, first, second * third))


def _weights_of_rings(ring_kernel, groups, apart):
    """Returns `(rings, weights)`, of all rings or of one at a time.

    One product for each is faster where, side by side, they would be copied.
    """
    num_rings = ring_kernel.shape[0]
    step = 1 if apart else num_rings
    some_rings = [slice(i, i + step) for i in range(0, num_rings, step)]
    return [
        (rings, _weights(ring_kernel[rings], groups, "bcf"))
        for rings in some_rings
    ]


def _to_ring_kernel(weights, shape, order):
    """Undoes `_weights` of order `"bcf"` or `"cbf"`."""
    num_rings, channels, _ = shape
    first, axes = num_rings, (1, 2, 0, 3)
    if order == "cbf":
        first, axes = channels, (2, 1, 0, 3)
    second = num_rings * channels // first
    axis_by_axis = ops.reshape(weights, (weights.shape[0], first, second, -1))
    return ops.reshape(ops.transpose(axis_by_axis, axes), shape)


def _product(x, weights):
    groups, num_inputs, num_outputs = weights.shape
    if groups == 1:
        outputs = ops.matmul(ops.reshape(x, (-1, num_inputs)), weights[0])
    else:
        rows = ops.reshape(x, (-1, groups, num_inputs))
        outputs = ops.einsum("ngi,gio->ngo", rows, weights)
    return ops.reshape(outputs, (*ops.shape(x)[:-1], num_outputs))


def _mean_weights(ring_kernel, filters, groups):
    """Returns `_weights` of ring means instead of ring sums."""
    scale = ops.cast(tap_sums(filters), ring_kernel.dtype)
    return _weights(ring_kernel * scale[:, None, None], groups, "bcf")


def _pointwise(x, weights):
    """As `_product` for one group, by a convolution: edge runtimes like it."""
    shape = ops.shape(x)
    if len(shape) == 5:  # they have no good one in 3D
        x = ops.reshape(x, (-1, *shape[2:]))
    kernel = ops.reshape(weights, (1,) * (len(x.shape) - 2) + weights.shape)
    outputs = ops.conv(x, kernel, data_format="channels_last")
    if len(shape) == 5:
        outputs = ops.reshape(outputs, (-1, *shape[1:-1], weights.shape[-1]))
    return outputs


def _outer(x, y):
    """Returns `x.T @ y` over all positions, `(groups, inputs, outputs)`."""
    x, y = (ops.reshape(t, (-1, *t.shape[-2:])) for t in (x, y))
    if x.shape[1] == 1:
        return ops.matmul(ops.transpose(x[:, 0]), y[:, 0])[None]
    return ops.einsum("ngi,ngo->gio", x, y)


def apply_rings(function, x, filters, config):
    """Runs `ring_sums` or `sum_of_ring_sums`, adding in at least float32."""
    dtype = x.dtype
    sums = function(
        at_least_float32(x), filters, config.strides, config.dilation_rate
    )
    return ops.cast(sums, dtype)


def _add(tensors):
    return functools.reduce(operator.add, tensors)


def pad(x, paddings):
    """Pads spatial axes with `(before, after)` zeros."""
    if all(
        isinstance(pad, int) and pad == 0 for pads in paddings for pad in pads
    ):
        return x
    unpadded = len(x.shape) - 1 - len(paddings)
    return ops.pad(x, [(0, 0), *paddings] + [(0, 0)] * unpadded)


def spread(x, strides):
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
