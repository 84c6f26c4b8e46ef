"""The ordinary kernel that ring kernels stand for."""

import numpy as np
from keras import ops


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

    >>> from keras_sre.geometry import ring_filters
    >>> ring_kernel = ops.ones((2, 3, 4))
    >>> tuple(expand_kernel(ring_kernel, ring_filters((3, 3))).shape)
    (3, 3, 3, 4)
    """
    num_rings, *kernel_size = filters.shape
    mixes, which = np.unique(
        filters.reshape(num_rings, -1), axis=1, return_inverse=True
    )
    mixes = ops.cast(np.ascontiguousarray(mixes.T), ring_kernel.dtype)
    distinct = ops.tensordot(mixes, ring_kernel, axes=1)
    # Keras on torch makes float32 of products in float64.
    distinct = ops.cast(distinct, ring_kernel.dtype)
    kernel = ops.take(distinct, which.reshape(-1), axis=0)
    return ops.reshape(kernel, (*kernel_size, *ring_kernel.shape[1:]))


def expand_kernels(ring_kernels, config):
    """Returns the ordinary kernel of all linear responses of a layer.

    Its last axis holds, for each group, the filters of each order in turn and,
    within an order, those of each angular function: `keras_sre.harmonics`.
    Without harmonics that is `expand_kernel`.

    Args:
        ring_kernels: tuple of tensors as in `ring_conv`.
        config: `RingConvConfig`.

    Returns:
        Tensor of shape `(*kernel_size, channels // groups, num_responses)`.
    """
    kernels = [
        expand_kernel(ring_kernel, filters)
        for bank, ring_kernel in zip(config.banks, ring_kernels, strict=True)
        for filters in bank
    ]
    if len(kernels) == 1:
        return kernels[0]
    shape = kernels[0].shape[:-1]
    grouped = [ops.reshape(k, (*shape, config.groups, -1)) for k in kernels]
    return ops.reshape(ops.concatenate(grouped, axis=-1), (*shape, -1))
