"""The factorised form for edge runtimes: depthwise convolutions, a product."""

from keras import ops

from keras_sre.ops.maps import merge_groups
from keras_sre.ops.maps import pad
from keras_sre.ops.maps import split_groups
from keras_sre.ops.products import mean_weights
from keras_sre.ops.products import pointwise
from keras_sre.ops.products import product
from keras_sre.ops.responses import join
from keras_sre.ops.responses import to_outputs
from keras_sre.ops.ring_sum import depthwise_ring_means


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
            return pointwise(join(means), weights[0])
        return product(join(split_groups(m, groups) for m in means), weights)

    responses = [
        [
            respond(filters, mean_weights(ring_kernel, filters, groups))
            for filters in bank
        ]
        for bank, ring_kernel in zip(config.banks, ring_kernels, strict=True)
    ]
    outputs, _ = to_outputs(responses, config.orders)
    return outputs if groups == 1 else merge_groups(outputs)
