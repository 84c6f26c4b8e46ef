"""Rings that share their weights with neighbours (GMR-Conv).

With `ring_profile="gaussian"` the weight of ring `r` acts on all rings, most on
its own: ring `s` gets, of ring number distance `s - r`, the share

    P[r, s] = exp(-((s - r) / sigma[r])**2 / 2) / (sigma[r] * sqrt(2 pi))

with a trainable `log_sigma`. So hard rings stay what they are and a small
matrix stands in front of their weights, `P.T @ ring_kernel`.

References:
    - [Du et al., 2025](https://arxiv.org/abs/2504.02819): GMR-Conv.
"""

import math

from keras import ops

# The official package's rounding, so that its weights mean the same here.
SQRT_2_PI = 2.5066
FULL_WIDTH_PER_SIGMA = 2.355  # at half maximum
SMALLEST_SIGMA = 0.01


def initial_log_sigma(kernel_size, num_rings):
    """Returns the float that every ring's `log_sigma` starts from.

    The full width at half maximum is the distance between rings, in units of
    half the kernel: `kernel_size / (2 * (num_rings - 1))`.

    Example:

    >>> round(initial_log_sigma((9, 9), 5), 4)
    -0.7388
    """
    width = max(kernel_size) / (2 * max(num_rings - 1, 1))
    return math.log(width / FULL_WIDTH_PER_SIGMA)


def mixing_matrix(log_sigma):
    """Returns `P`, of shape `(num_rings, num_rings)`.

    Args:
        log_sigma: tensor of shape `(num_rings,)`. Sigma is clipped to 0.01 to
            `2 * num_rings`, in ring numbers.

    Example:

    >>> np.round(np.array(mixing_matrix(np.zeros(2, "float32"))), 3)
    array([[0.399, 0.242],
           [0.242, 0.399]], dtype=float32)
    """
    num_rings = log_sigma.shape[0]
    sigma = ops.clip(ops.exp(log_sigma), SMALLEST_SIGMA, 2 * num_rings)[:, None]
    # Not made in that type: TensorFlow counts in no half.
    rings = ops.cast(ops.arange(num_rings), sigma.dtype)
    offsets = (rings[None] - rings[:, None]) / sigma
    return ops.exp(-ops.square(offsets) / 2) / (sigma * SQRT_2_PI)


def mix_rings(ring_kernel, log_sigma, rings):
    """Returns the weights of hard rings that mixed ones stand for.

    Args:
        ring_kernel: tensor of shape `(num_rings, channels, filters)`.
        log_sigma: tensor of shape `(num_rings,)`.
        rings: tuple of ints, the numbers of the hard rings asked for: those
            that hold a tap, or carry an angular order.

    Returns:
        Tensor of shape `(len(rings), channels, filters)`.
    """
    matrix = ops.take(mixing_matrix(log_sigma), list(rings), axis=1)
    _, *shape = ring_kernel.shape
    flat = ops.reshape(ring_kernel, (matrix.shape[0], -1))
    mixed = ops.matmul(ops.transpose(matrix), flat)
    # Keras on torch makes float32 of products in float64.
    mixed = ops.cast(mixed, ring_kernel.dtype)
    return ops.reshape(mixed, (len(rings), *shape))
