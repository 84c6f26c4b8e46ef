"""From the linear responses of a layer to its outputs, and back.

A filter of angular order 0 is its response. A filter of a higher order is the
norm of its responses to the functions of that order,

    y = sqrt(sum_i a_i**2 + EPSILON)        dy / d a_i = a_i / y

whose gradient, a *direction*, is finite, also where all are 0. Responses and
directions are lists: for each order one tensor for each function, channels
last. Those of order 0 have no direction: an empty list.
"""

import itertools

import keras
import numpy as np
from keras import ops

from keras_sre.ops.backend import at_least_float32
from keras_sre.ops.backend import slice_axis

EPSILON = 1e-8
NORM_SCOPE = "harmonic_norm"  # names what computes a norm in exported graphs


def to_parts(responses, orders):
    """Returns the filters of each order, a list, and the norms among them.

    The list of norms, in float32 at least, has `None` for order 0.
    """
    outputs, norms = [], []
    with keras.name_scope(NORM_SCOPE):
        for order, parts in zip(orders, responses, strict=True):
            if not order:
                outputs += parts
                norms.append(None)
                continue
            squares = [ops.square(at_least_float32(part)) for part in parts]
            norms.append(ops.sqrt(sum(squares) + EPSILON))
            outputs.append(ops.cast(norms[-1], parts[0].dtype))
    return outputs, norms


def to_outputs(responses, orders):
    """Returns the filters of all orders side by side."""
    outputs, _ = to_parts(responses, orders)
    with keras.name_scope(NORM_SCOPE):
        return join(outputs)


def to_directions(responses, norms):
    """Returns the directions, given the norms of `to_parts`."""
    return [
        []
        if norm is None
        else [
            ops.cast(at_least_float32(part) / norm, part.dtype)
            for part in parts
        ]
        for parts, norm in zip(responses, norms, strict=True)
    ]


def to_gradients(upstream, directions, sizes):
    """Returns the gradient with respect to each response.

    Args:
        upstream: gradient with respect to the outputs.
        directions: as `to_directions` returns them.
        sizes: the number of filters of each order.
    """
    return [
        [dy * part for part in parts] if parts else [dy]
        for dy, parts in zip(split(upstream, sizes), directions, strict=True)
    ]


def split_parts(joined, sizes, counts):
    """Returns responses or directions that are side by side as lists.

    Args:
        joined: tensor; those of one order stay together.
        sizes: the number of filters of each order.
        counts: how many tensors each order has in `joined`.
    """
    pieces = iter(split(joined, np.repeat(sizes, counts).tolist()))
    return [[next(pieces) for _ in range(count)] for count in counts]


def join(tensors):
    """Returns tensors side by side along the last axis."""
    first, *rest = tensors
    return ops.concatenate([first, *rest], axis=-1) if rest else first


def split(x, sizes):
    """Returns the pieces of these sizes along the last axis."""
    if len(sizes) == 1:
        return [x]
    last = len(x.shape) - 1
    ends = itertools.accumulate(sizes, initial=0)
    return [slice_axis(x, last, *ends) for ends in itertools.pairwise(ends)]
