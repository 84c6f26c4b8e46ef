"""The factorised form: ring sums, one pointwise product, and the gradient.

Within a tile maps are `(..., groups, channels of a group)`; for the weights see
`products.py`.
"""

import dataclasses
import itertools

import keras
from keras import ops

from keras_sre.ops.backend import at_least_float32
from keras_sre.ops.backend import attached
from keras_sre.ops.backend import compiled
from keras_sre.ops.backend import unrecorded
from keras_sre.ops.maps import merge_groups
from keras_sre.ops.maps import pad
from keras_sre.ops.maps import split_groups
from keras_sre.ops.maps import spread
from keras_sre.ops.products import outer
from keras_sre.ops.products import product
from keras_sre.ops.products import to_ring_kernel
from keras_sre.ops.products import weight_matrices
from keras_sre.ops.products import weights_of_rings
from keras_sre.ops.responses import join
from keras_sre.ops.responses import split
from keras_sre.ops.responses import split_parts
from keras_sre.ops.responses import to_directions
from keras_sre.ops.responses import to_gradients
from keras_sre.ops.responses import to_parts
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.ring_sum import sum_of_ring_sums
from keras_sre.ops.ring_sum import sum_tensors
from keras_sre.ops.ring_sum_kernel import has_kernel
from keras_sre.ops.ring_sum_kernel import ring_sums_by_kernel
from keras_sre.ops.tiling import exceeds_cache
from keras_sre.ops.tiling import map_tiles

# The GPU's kernel makes ring sums, but no sums of them: about so much narrower
# must a map be for those to be sooner made by XLA (estimated, not measured).
KERNEL_GAIN = 8


def slices_ring_conv(x, ring_kernels, config, training):
    """Ring convolution of slices and adds, with its self-adjoint gradient.

    Both directions are compiled by XLA.
    """
    if keras.backend.standardize_dtype(x.dtype) == "float16":
        # Sums of many taps are beyond its range long before the outputs are.
        config = dataclasses.replace(config, scaled=True)
        ring_kernels = [
            ring_kernel * ops.cast(scale[:, None, None], "float16")
            for ring_kernel, scale in zip(
                ring_kernels, config.scales, strict=True
            )
        ]
    harmonic = any(config.orders)
    forward = _forward_in_training if harmonic and training else _forward

    @ops.custom_gradient
    def convolve(x, *ring_kernels):
        # The gradient is ours: nothing in here is to be recorded for another.
        inputs = unrecorded((x, *ring_kernels))
        outputs, *saved = compiled(forward, config, *inputs)

        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            tensors, directions = (x, *ring_kernels), saved
            if harmonic and not training:
                _, *directions = compiled(
                    _forward_in_training, config, *tensors
                )
            elif harmonic:
                directions = [attached(*saved, _directions, config, *tensors)]
            return compiled(
                _backward, config, x, upstream, *ring_kernels, *directions
            )

        return outputs, gradient

    return convolve(x, *ring_kernels)


def _forward_in_training(config, x, *ring_kernels):
    """Returns the outputs, and all directions as one map."""
    return _forward(config, x, *ring_kernels, with_directions=True)


def _directions(config, x, *ring_kernels):
    _, directions = _forward_in_training(config, x, *ring_kernels)
    return directions


def _forward(config, x, *ring_kernels, with_directions=False):
    banks, groups, channels = config.banks, config.groups, x.shape[-1]
    paddings = config.paddings(ops.shape(x)[1:-1])
    input_width, output_width = _widths(config, channels, ring_kernels)
    narrower = KERNEL_GAIN if has_kernel(x, config) else 1
    product_first = (
        input_width > narrower * output_width and max(config.strides) == 1
    )
    apart = exceeds_cache(x, input_width)

    # Weights are made here, once, and not for each tile.
    if product_first:
        parts = [weight_matrices(k, groups, "cbf") for k in ring_kernels]
        weights, sizes = join(parts), [part.shape[-1] for part in parts]
    else:
        weights = [weights_of_rings(k, groups, apart) for k in ring_kernels]

    def rings_first(x):
        sums_of = _ring_sums_of(x, paddings, config)
        for bank, some_rings in zip(banks, weights, strict=True):
            yield [
                sum_tensors(
                    product(sums_of(filters[rings]), matrix)
                    for rings, matrix in some_rings
                )
                for filters in bank
            ]

    def products_first(x):
        maps = split(pad(product(x, weights), paddings), sizes)
        for bank, x in zip(banks, maps, strict=True):
            yield [
                apply_rings(sum_of_ring_sums, x, filters, config)
                for filters in bank
            ]

    def tile(x):
        respond = products_first if product_first else rings_first
        responses = list(respond(split_groups(x, groups)))
        parts, norms = to_parts(responses, config.orders)
        if with_directions:
            parts += itertools.chain(*to_directions(responses, norms))
        return tuple(parts)

    # Parts are joined afterwards: XLA would make all of a tile in one loop,
    # which for large kernels takes up to three times as long.
    num_parts = len(banks)
    if with_directions:
        num_parts += sum(
            len(bank)
            for order, bank in zip(config.orders, banks, strict=True)
            if order
        )
    parts = map_tiles(
        tile,
        x,
        width=output_width if product_first else input_width,
        num_outputs=num_parts,
    )
    outputs = merge_groups(join(parts[: len(banks)]))
    if not with_directions:
        return (outputs,)
    return outputs, merge_groups(join(parts[len(banks) :]))


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
    weights = [weight_matrices(k, groups, order) for k in ring_kernels]
    if not sum_input:
        weights = ops.concatenate(weights, axis=1)

    def sum_input_tile(x, gradients):
        sums_of, dx, d_weights = _ring_sums_of(x, paddings, config), [], []
        for order, bank, matrix, parts in zip(
            orders, banks, weights, gradients, strict=True
        ):
            d_weight = []
            for filters, dy in zip(bank, parts, strict=True):
                maps = spread(product(dy, matrix), config.strides)
                maps = pad(maps, adjoint)
                # The adjoint of a filter is the filter turned by 180 degrees.
                flipped = (-1) ** order * filters
                dx.append(
                    apply_rings(sum_of_ring_sums, maps, flipped, stride_1)
                )
                d_weight.append(outer(sums_of(filters), dy))
            d_weights.append(sum_tensors(d_weight))
        return sum_tensors(dx), d_weights  # (groups, rings * channels, filters)

    def sum_upstream_tile(x, gradients):
        sums = [
            sum_tensors(
                _ring_sums_of(dy, adjoint, config)((-1) ** order * filters)
                for filters, dy in zip(bank, parts, strict=True)
            )
            for order, bank, parts in zip(orders, banks, gradients, strict=True)
        ]
        joined = join(sums)
        dx = product(joined, weights)
        d_weights = outer(x, joined)  # (groups, channels, rings * filters)
        return dx, split(d_weights, [s.shape[-1] for s in sums])

    def tile(x, upstream, *saved):
        x, dy = split_groups(x, groups), split_groups(upstream, groups)
        sizes = [k.shape[-1] // groups for k in ring_kernels]
        directions = [[]]
        if saved:
            counts = [
                len(bank) if order else 0
                for order, bank in zip(orders, banks, strict=True)
            ]
            joined = split_groups(saved[0], groups)
            directions = split_parts(joined, sizes, counts)
        gradients = to_gradients(dy, directions, sizes)
        run = sum_input_tile if sum_input else sum_upstream_tile
        dx, d_weights = run(x, gradients)
        return merge_groups(dx), *d_weights

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
        to_ring_kernel(d_weight, ring_kernel.shape, order)
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


def _ring_sums_of(x, paddings, config):
    """Returns the function of filters that returns their ring sums of a map."""
    if has_kernel(x, config):

        def by_kernel(filters):
            def by_xla(x):
                return apply_rings(ring_sums, pad(x, paddings), filters, config)

            sums = ring_sums_by_kernel(x[..., 0, :], filters, paddings, by_xla)
            return sums[..., None, :]

        return by_kernel
    padded = pad(x, paddings)
    return lambda filters: apply_rings(ring_sums, padded, filters, config)


def apply_rings(function, x, filters, config):
    """Runs `ring_sums` or `sum_of_ring_sums`, adding in at least float32."""
    dtype = x.dtype
    sums = function(
        at_least_float32(x), filters, config.strides, config.dilation_rate
    )
    return ops.cast(sums, dtype)
