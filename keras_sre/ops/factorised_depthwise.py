"""The factorised form for edge runtimes: depthwise convolutions, a product.

Rings come first, so that a normalisation after the product is folded into it.
Beside harmonics, whose norms keep it from that, an order with fewer filters
than channels takes its products first: one for all functions of the order,
whose ring sums are then of as few maps as there are filters.
"""

import keras
from keras import ops

from keras_sre.ops.depthwise_ring_sum import depthwise_ring_sums
from keras_sre.ops.maps import merge_groups
from keras_sre.ops.maps import pad
from keras_sre.ops.maps import split_groups
from keras_sre.ops.products import pointwise
from keras_sre.ops.products import product
from keras_sre.ops.products import weight_matrices
from keras_sre.ops.products import weights_of_maps
from keras_sre.ops.responses import NORM_SCOPE
from keras_sre.ops.responses import join
from keras_sre.ops.responses import to_outputs
from keras_sre.ops.ring_maps import ring_maps
from keras_sre.ops.ring_sum import sum_tensors


def depthwise_ring_conv(x, ring_kernels, config):
    """Ring convolution by the backend's depthwise convolution."""
    groups, inside = config.groups, None
    if config.padding != "same" or max(config.strides) > 1:
        x = pad(x, config.paddings(ops.shape(x)[1:-1]))
        inside = (slice(None),) + tuple(
            slice(span // 2, span // 2 - span or None, stride)
            for span, stride in zip(config.spans, config.strides, strict=True)
        )

    def cropped(maps):
        return [ring_map[inside] for ring_map in maps] if inside else maps

    def rings_first(bank, ring_kernel):
        for filters in bank:
            maps, matrix = ring_maps(x, filters, config.dilation_rate)
            maps = cropped(maps)
            weights = weight_matrices(
                weights_of_maps(ring_kernel, matrix), groups, "bcf"
            )
            if groups == 1:
                yield pointwise(join(maps), weights[0])
            else:
                parts = [split_groups(ring_map, groups) for ring_map in maps]
                yield product(join(parts), weights)

    def products_first(bank, ring_kernel):
        maps = [pointwise(x, weights) for weights in ops.unstack(ring_kernel)]
        for filters in bank:
            sums = [
                depthwise_ring_sums(ring_map, ring[None], config.dilation_rate)
                for ring_map, ring in zip(maps, filters, strict=True)
            ]
            sums = cropped([ring_sum for (ring_sum,) in sums])
            # Not rounded, where maps are quantized: norms are to follow.
            with keras.name_scope(NORM_SCOPE):
                response = sum_tensors(sums)
            yield response

    # With strides the product would be of more positions than there will be.
    may_swap = any(config.orders) and groups == max(config.strides) == 1
    responses = []
    for bank, ring_kernel in zip(config.banks, ring_kernels, strict=True):
        narrower = ring_kernel.shape[-1] < x.shape[-1]
        respond = products_first if may_swap and narrower else rings_first
        responses.append(list(respond(bank, ring_kernel)))
    outputs = to_outputs(responses, config.orders)
    return outputs if groups == 1 else merge_groups(outputs)
