"""From the linear responses of a layer to its outputs, and back.

A filter of angular order 0 is its response. A filter of a higher order is the
norm of its responses to the functions of that order,

    y = sqrt(sum_i a_i**2 + EPSILON)        dy / d a_i = a_i / y

whose gradient is finite, also where all are 0. *Responses* are lists: for each
order one tensor for each function, channels last.
"""

import itertools

import numpy as np
from keras import ops

from keras_sre.ops.backend import at_least_float32

EPSILON = 1e-8


def to_outputs(responses, orders):
    """Returns the filters of all orders side by side."""
    return join(
        _norm(parts) if order else parts[0]
        for order, parts in zip(orders, responses, strict=True)
    )


def to_gradients(upstream, responses, sizes):
    """Returns the gradient with respect to each of the responses.

    Args:
        upstream: gradient with respect to `to_outputs`.
        responses: as there, but none (an empty list) for order 0, whose
            gradient does not depend on them.
        sizes: the number of filters of each order.
    """
    gradients = []
    for parts, dy in zip(responses, split(upstream, sizes), strict=True):
        if parts:
            scale = at_least_float32(dy) / at_least_float32(_norm(parts))
            dy = [
                ops.cast(at_least_float32(part) * scale, part.dtype)
                for part in parts
            ]
        gradients.append(dy if parts else [dy])
    return gradients


def split_responses(joined, sizes, counts):
    """Returns responses that are side by side as lists.

    Args:
        joined: tensor; those of one order stay together.
        sizes: the number of filters of each order.
        counts: how many responses each order has in `joined`.
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
    ends = list(itertools.accumulate(sizes))
    return ops.split(x, ends[:-1], axis=-1)


def _norm(parts):
    squares = sum(ops.square(at_least_float32(part)) for part in parts)
    return ops.cast(ops.sqrt(squares + EPSILON), parts[0].dtype)
