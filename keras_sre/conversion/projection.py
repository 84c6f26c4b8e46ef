"""The ring kernel nearest to an ordinary one."""

import numpy as np
from keras import ops

from keras_sre.ops.ring_mixing import mixing_matrix


def project(kernel, layer, offset):
    """Sets a ring layer's weights to those nearest to an ordinary kernel.

    Nearest by least squares over all taps, for each pair of channel and filter.
    Of a layer with harmonics, which are not linear, only the ordinary filters
    are set: those at the same places in the output.

    Args:
        kernel: array in Keras' layout, `(*kernel_size, inputs, outputs)`.
        layer: built ring layer.
        offset: tuple of ints, where the first tap of `kernel` is in that of
            `layer`, along each axis. What has no place is cut off.

    Returns:
        Float, the part of the kernel (root of the sum of squares, relative)
        that rings cannot express; 0 for a kernel that is 0.
    """
    config = layer._config
    if 0 not in config.orders:
        return 1.0
    bank = config.banks[config.orders.index(0)][0]
    if layer.log_sigma is not None:
        matrix = ops.convert_to_numpy(mixing_matrix(layer.log_sigma.value))
        rings = list(config.carrying_rings[config.orders.index(0)])
        bank = np.tensordot(matrix[:, rings], bank, axes=1)
    ordinary = _ordinary_filters(np.asarray(kernel, "float64"), layer)
    placed = _place(ordinary, layer.kernel_size, offset)
    rings = bank.reshape(len(bank), -1).T  # (taps, num_rings)
    flat = placed.reshape(len(rings), -1)  # (taps, inputs * outputs)
    weights = np.linalg.lstsq(rings, flat, rcond=None)[0]
    layer.ring_kernel.assign(weights.reshape(layer.ring_kernel.shape))
    energy = np.square(ordinary).sum()
    cut_off = energy - np.square(flat).sum()
    lost = np.square(flat - rings @ weights).sum() + max(cut_off, 0.0)
    return float(np.sqrt(lost / energy)) if energy else 0.0


def _ordinary_filters(kernel, layer):
    """Returns the filters that are not harmonic: the first of each group."""
    groups = layer._config.groups
    per_group = layer.ring_kernel.shape[-1] // groups
    shape = kernel.shape[:-1]
    grouped = kernel.reshape(*shape, groups, -1)[..., :per_group]
    return grouped.reshape(*shape, -1)


def _place(kernel, kernel_size, offset):
    """Returns the kernel in a window of another size, zeros around it."""
    placed = np.zeros((*kernel_size, *kernel.shape[-2:]))
    into, of = [], []
    for size, old, first in zip(
        kernel_size, kernel.shape, offset, strict=False
    ):
        into.append(slice(max(first, 0), min(first + old, size)))
        of.append(slice(max(-first, 0), min(old, size - first)))
    placed[tuple(into)] = kernel[tuple(of)]
    return placed
