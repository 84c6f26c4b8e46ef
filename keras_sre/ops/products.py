"""Ring weights as matrices, and the products of maps with them.

Maps are `(..., groups, channels of a group)` and matrices `(groups, inputs,
outputs)`.
"""

import numpy as np
from keras import ops

from keras_sre.ops.ring_sum import sum_tensors


def weight_matrices(ring_kernel, groups, order):
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


def weights_of_rings(ring_kernel, groups, apart):
    """Returns `(rings, weights)`, of all rings or of one at a time.

    One product for each is faster where, side by side, they would be copied.
    """
    num_rings = ring_kernel.shape[0]
    step = 1 if apart else num_rings
    some_rings = [slice(i, i + step) for i in range(0, num_rings, step)]
    return [
        (rings, weight_matrices(ring_kernel[rings], groups, "bcf"))
        for rings in some_rings
    ]


def weights_of_maps(ring_kernel, matrix):
    """Returns the ring kernel for maps that are `matrix @ ring sums`."""
    rings = ops.unstack(ring_kernel)
    of_maps = np.linalg.inv(matrix)  # (rings, maps)
    return ops.stack(
        [
            sum_tensors(
                weights * float(part)
                for weights, part in zip(rings, parts, strict=True)
                if part
            )
            for parts in of_maps.T
        ]
    )


def to_ring_kernel(weights, shape, order):
    """Undoes `weight_matrices` of order `"bcf"` or `"cbf"`."""
    num_rings, channels, _ = shape
    first, axes = num_rings, (1, 2, 0, 3)
    if order == "cbf":
        first, axes = channels, (2, 1, 0, 3)
    second = num_rings * channels // first
    axis_by_axis = ops.reshape(weights, (weights.shape[0], first, second, -1))
    return ops.reshape(ops.transpose(axis_by_axis, axes), shape)


def product(x, weights):
    groups, num_inputs, num_outputs = weights.shape
    if groups == 1:
        outputs = ops.matmul(ops.reshape(x, (-1, num_inputs)), weights[0])
    else:
        rows = ops.reshape(x, (-1, groups, num_inputs))
        outputs = ops.einsum("ngi,gio->ngo", rows, weights)
    return ops.reshape(outputs, (*ops.shape(x)[:-1], num_outputs))


def pointwise(x, weights):
    """As `product` for one group, by a convolution: edge runtimes like it."""
    shape = ops.shape(x)
    if len(shape) == 5:  # they have no good one in 3D
        x = ops.reshape(x, (-1, *shape[2:]))
    kernel = ops.reshape(weights, (1,) * (len(x.shape) - 2) + weights.shape)
    outputs = ops.conv(x, kernel, data_format="channels_last")
    if len(shape) == 5:
        outputs = ops.reshape(outputs, (-1, *shape[1:-1], weights.shape[-1]))
    return outputs


def outer(x, y):
    """Returns `x.T @ y` over all positions, `(groups, inputs, outputs)`."""
    x, y = (ops.reshape(t, (-1, *t.shape[-2:])) for t in (x, y))
    if x.shape[1] == 1:
        return ops.matmul(ops.transpose(x[:, 0]), y[:, 0])[None]
    return ops.einsum("ngi,ngo->gio", x, y)
