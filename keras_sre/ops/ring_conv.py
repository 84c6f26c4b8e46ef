"""Ring convolution: ring sums, one pointwise product, and their gradient.

With `S[r] = ring sum r of x` (no weights) a ring convolution is

    y = sum_r S[r] @ weight[r]

one product with `num_rings * channels` inputs instead of a kernel of `k**rank`
taps. At stride 1 a ring filter is its own adjoint, so with the ring sums
`G[r]` of the upstream gradient `dy`

    d_weight[r] = x.T @ G[r]        dx = sum_r G[r] @ weight[r].T

and training keeps only `x`: no activation is `num_rings` times wider. With a
stride, zeros are put between the cells of the upstream gradient first.

Filters of a higher angular order (`keras_sre.harmonics`) go the same way, with
one ring sum for each function of the order and the same weights for all, and
their outputs are the norms of what comes out (`responses.py`).

| implementation | what runs |
|---|---|
| `"slices"` | shifted slices and adds and one product (XLA if available) |
| `"depthwise"` | small depthwise convolutions and products |
| `"dense"` | the expanded kernel, an ordinary convolution |

`"auto"` is `"slices"`, which on the CPU was the fastest in nearly all cases
measured, but `"dense"` for single taps, which are a product alone, and for
grouped kernels where nothing fuses the slices (torch). A few strided layers on
torch are faster by another one. On a GPU it is `"slices"` where their sums have
a kernel of their own (JAX, `ring_sum_kernel.py`), and `"dense"` for half
precision where they have not: with XLA's a step takes 1.6 to 3.3 times as long.

The first is in `factorised.py`, the second in `factorised_depthwise.py`. In the
first the ring sums are those of `x` where there are fewer channels than
filters, else (stride 1) those of the product, whichever is narrower. On the CPU
large maps are worked on a few images at a time (`tiling.py`).
"""

import math

from keras import ops

from keras_sre.ops.backend import as_float
from keras_sre.ops.backend import as_tensor
from keras_sre.ops.backend import has_compiler
from keras_sre.ops.backend import is_half
from keras_sre.ops.backend import never_empty
from keras_sre.ops.backend import on_cpu
from keras_sre.ops.backend import untraced
from keras_sre.ops.expansion import expand_kernels
from keras_sre.ops.factorised import slices_ring_conv
from keras_sre.ops.factorised_depthwise import depthwise_ring_conv
from keras_sre.ops.maps import pad
from keras_sre.ops.responses import split_parts
from keras_sre.ops.responses import to_outputs
from keras_sre.ops.ring_depthwise_conv import ring_depthwise_conv
from keras_sre.ops.ring_sum_kernel import has_kernel

__all__ = [
    "IMPLEMENTATIONS",
    "fastest_implementation",
    "ring_conv",
]

IMPLEMENTATIONS = ("auto", "dense", "slices", "depthwise")


@untraced
@never_empty
def ring_conv(
    inputs,
    ring_kernels,
    config,
    data_format="channels_last",
    implementation="auto",
    training=False,
):
    """Convolves a map with the kernels that `ring_kernels` stand for.

    Args:
        inputs: tensor of shape `(batch, *spatial, channels)`, or
            `(batch, channels, *spatial)` for `"channels_first"`.
        ring_kernels: tuple of tensors of shape
            `(num_rings, channels // groups, num_filters)`, one for each of
            `config.orders`; `num_rings` is that of its bank of filters.
        config: `RingConvConfig`.
        data_format: `"channels_last"` or `"channels_first"`.
        implementation: one of `"auto"`, `"dense"`, `"slices"`, `"depthwise"`:
            how it is computed. All agree to rounding.
        training: bool, whether a gradient will be asked for: then harmonics
            keep what it takes, else they compute it again if it is.

    Returns:
        Tensor of shape `(batch, *new_spatial, num_filters)`, or channels
        first: for each group the filters of each order in turn.

    Example:

    >>> from keras_sre.ops.config import RingConvConfig
    >>> config = RingConvConfig((5,), padding="same")
    >>> x, ring_kernel = ops.ones((1, 8, 2)), ops.ones((3, 2, 4))
    >>> tuple(ring_conv(x, (ring_kernel,), config).shape)
    (1, 8, 4)
    """
    ring_kernels = [as_tensor(ring_kernel) for ring_kernel in ring_kernels]
    inputs = as_float(inputs, ring_kernels[0].dtype)
    if data_format == "channels_first":
        # TensorFlow has no convolution of such maps on every CPU.
        inputs = ops.moveaxis(inputs, 1, -1)
    if implementation == "auto":
        implementation = fastest_implementation(inputs, config)
    if implementation == "dense":
        outputs = _dense(inputs, ring_kernels, config)
    elif implementation == "depthwise":
        outputs = depthwise_ring_conv(inputs, ring_kernels, config)
    elif 1 < config.groups == inputs.shape[-1] and not any(config.orders):
        # No channel sees another: products of one channel would cost most.
        (ring_kernel,) = ring_kernels
        shape = (ring_kernel.shape[0], config.groups, -1)
        outputs = ring_depthwise_conv(
            inputs,
            ops.reshape(ring_kernel, shape),
            config,
            implementation="slices",
        )
    else:
        outputs = slices_ring_conv(inputs, ring_kernels, config, training)
    if data_format == "channels_first":
        outputs = ops.moveaxis(outputs, -1, 1)
    return outputs


def fastest_implementation(inputs, config):
    """Returns what `"auto"` stands for.

    Args:
        inputs: tensor of shape `(batch, *spatial, channels)`.
        config: `RingConvConfig`.

    Example:

    >>> from keras_sre.ops.config import RingConvConfig
    >>> config = RingConvConfig((9,), padding="same")
    >>> fastest_implementation(ops.ones((1, 8, 2)), config)
    'slices'
    """
    if math.prod(config.kernel_size) == 1:
        return "dense"
    if config.groups > 1 and not has_compiler():
        return "dense"
    if is_half(inputs) and not (on_cpu() or has_kernel(inputs, config)):
        return "dense"
    return "slices"


def _dense(inputs, ring_kernels, config):
    kernel = expand_kernels(ring_kernels, config)
    strides, padding = config.strides, config.padding
    if math.prod(config.kernel_size) == 1:
        # A strided convolution would read the same cells, but TensorFlow's
        # gradient of it crashes with 3 threads and few channels.
        steps = [slice(None, None, stride) for stride in strides]
        inputs = inputs[(slice(None), *steps)]
        strides = (1,) * len(strides)
        if config.groups == 1:
            # A product: backends are slower when they call it a convolution.
            *shape, channels = ops.shape(inputs)
            kernel = ops.reshape(kernel, kernel.shape[-2:])
            outputs = ops.matmul(ops.reshape(inputs, (-1, channels)), kernel)
            return ops.reshape(outputs, (*shape, kernel.shape[-1]))
    # TensorFlow reads the wrong cells of a volume if "same" windows leave gaps.
    gaps = any(
        stride > size
        for stride, size in zip(strides, config.kernel_size, strict=True)
    )
    if padding == "causal" or gaps:
        inputs = pad(inputs, config.paddings(ops.shape(inputs)[1:-1]))
        padding = "valid"
    outputs = ops.conv(
        inputs,
        kernel,
        strides=strides,
        padding=padding,
        dilation_rate=config.dilation_rate,
        data_format="channels_last",
    )
    if not any(config.orders):
        return outputs
    shape = ops.shape(outputs)[:-1]
    per_group = outputs.shape[-1] // config.groups
    grouped = ops.reshape(outputs, (*shape, config.groups, per_group))
    responses = split_parts(
        grouped,
        sizes=[k.shape[-1] // config.groups for k in ring_kernels],
        counts=[len(bank) for bank in config.banks],
    )
    outputs = to_outputs(responses, config.orders)
    num_filters = sum(k.shape[-1] for k in ring_kernels)
    return ops.reshape(outputs, (*shape, num_filters))
