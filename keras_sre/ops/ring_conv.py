"""Ring convolution: ring sums, one pointwise product, and their gradient.

With `S[r] = ring sum r of x` (no weights) a ring convolution is

    y = sum_r S[r] @ weight[r]

one product with `num_rings * channels` inputs instead of a kernel of `k**rank`
taps. At stride 1 a ring filter is its own adjoint, so with the ring sums
`G[r]` of the upstream gradient `dy`

    d_weight[r] = x.T @ G[r]        dx = sum_r G[r] @ weight[r].T

and training keeps only `x`: no activation is `num_rings` times wider. With a
stride, zeros are put between the cells of the upstream gradient first.

| implementation | what runs |
|---|---|
| `"slices"` | shifted slices and adds and one product (XLA if available) |
| `"depthwise"` | a depthwise convolution, one product |
| `"dense"` | the expanded kernel, an ordinary convolution |

`"auto"` is `"slices"`, which on the CPU was the fastest in nearly all cases
measured, but `"dense"` for single taps, which are a product alone, and for
grouped kernels where nothing fuses the slices (torch). A few strided layers on
torch are faster by another one.

The first is in `factorised.py`: where there are fewer channels than filters the
ring sums are those of `x`, else (stride 1) those of the product, whichever is
narrower. On the CPU large maps are worked on a few images at a time
(`tiling.py`).
"""

import math

import numpy as np
from keras import ops

from keras_sre.ops.backend import as_tensor
from keras_sre.ops.backend import has_compiler
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.factorised import depthwise_ring_conv
from keras_sre.ops.factorised import pad
from keras_sre.ops.factorised import slices_ring_conv

__all__ = [
    "IMPLEMENTATIONS",
    "RingConvConfig",
    "expand_kernel",
    "fastest_implementation",
    "ring_conv",
]

IMPLEMENTATIONS = ("auto", "dense", "slices", "depthwise")


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
    kernel = ops.take(distinct, which.reshape(-1), axis=0)
    return ops.reshape(kernel, (*kernel_size, *ring_kernel.shape[1:]))


def ring_conv(
    inputs,
    ring_kernel,
    config,
    data_format="channels_last",
    implementation="auto",
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
    >>> x, ring_kernel = ops.ones((1, 8, 2)), ops.ones((3, 2, 4))
    >>> tuple(ring_conv(x, ring_kernel, config).shape)
    (1, 8, 4)
    """
    inputs, ring_kernel = as_tensor(inputs), as_tensor(ring_kernel)
    if implementation == "auto":
        implementation = fastest_implementation(config)
    if implementation == "dense":
        return _dense(inputs, ring_kernel, config, data_format)
    if data_format == "channels_first":
        inputs = ops.moveaxis(inputs, 1, -1)
    if implementation == "depthwise":
        outputs = depthwise_ring_conv(inputs, ring_kernel, config)
    else:
        outputs = slices_ring_conv(inputs, ring_kernel, config)
    if data_format == "channels_first":
        outputs = ops.moveaxis(outputs, -1, 1)
    return outputs


def fastest_implementation(config):
    """Returns what `"auto"` stands for.

    Example:

    >>> fastest_implementation(RingConvConfig((9, 9)))
    'slices'
    """
    single_tap = math.prod(config.kernel_size) == 1
    if single_tap or (config.groups > 1 and not has_compiler()):
        return "dense"
    return "slices"


def _dense(inputs, ring_kernel, config, data_format):
    kernel = expand_kernel(ring_kernel, config.filters)
    channels_last = data_format == "channels_last"
    first_axis = 1 if channels_last else 2
    strides, padding = config.strides, config.padding
    if math.prod(config.kernel_size) == 1:
        # A strided convolution would read the same cells, but TensorFlow's
        # gradient of it crashes with 3 threads and few channels.
        steps = [slice(None, None, stride) for stride in strides]
        inputs = inputs[(slice(None),) * first_axis + tuple(steps)]
        strides = 1
        if config.groups == 1 and channels_last:
            # A product: backends are slower when they call it a convolution.
            *shape, channels = ops.shape(inputs)
            kernel = ops.reshape(kernel, kernel.shape[-2:])
            outputs = ops.matmul(ops.reshape(inputs, (-1, channels)), kernel)
            return ops.reshape(outputs, (*shape, kernel.shape[-1]))
    if padding == "causal":
        inputs = pad(inputs, config.paddings(inputs.shape[1:-1]), first_axis)
        padding = "valid"
    return ops.conv(
        inputs,
        kernel,
        strides=strides,
        padding=padding,
        dilation_rate=config.dilation_rate,
        data_format=data_format,
    )
