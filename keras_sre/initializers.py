"""Initial ring weights with the variance of the dense kernel they stand for."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_sre")
class DenseKernelVariance(keras.initializers.Initializer):
    """Draws ring weights as an initializer would draw an ordinary kernel.

    An ordinary kernel is drawn at its own shape, so that every Keras
    initializer keeps its meaning (fans, gain, seed), and each ring takes the
    values at one of its taps. Their spread is then scaled so that the expanded
    kernel has the energy of the ordinary one, and the layer's output its
    variance: rings hold unequal numbers of taps and leave the corners out.
    Constant kernels stay what they are.

    A filter of a higher angular order is the norm of several responses: there
    it is the mean square of the output, summed over them, that is kept.

    Args:
        initializer: Keras initializer of the ordinary kernel.
        bank: array of shape `(num_functions, num_rings, *kernel_size)`,
            `harmonic_filters`.
        filters: int, how many the ordinary kernel has; `None` takes as many as
            are asked for.
        first: int, the first of those to take.

    Example:

    >>> from keras_sre.harmonics import harmonic_filters
    >>> init = DenseKernelVariance("he_normal", harmonic_filters((5, 5), 0))
    >>> tuple(init((3, 16, 32)).shape)
    (3, 16, 32)
    """

    def __init__(self, initializer, bank, filters=None, first=0):
        self.initializer = keras.initializers.get(initializer)
        self.bank = np.asarray(bank)
        self.filters, self.first = filters, first

    def __call__(self, shape, dtype=None):
        num_rings, channels, num_filters = shape
        kernel_size = self.bank.shape[2:]
        kernel = self.initializer(
            (*kernel_size, channels, self.filters or num_filters), dtype=dtype
        )
        kernel = kernel[..., self.first : self.first + num_filters]
        flat = ops.reshape(kernel, (-1, channels, num_filters))
        weights = ops.take(flat, self._representatives(), axis=0)
        mean = ops.mean(kernel)
        gain = np.sqrt(np.prod(kernel_size) / np.sum(self.bank**2))
        return mean + float(gain) * (weights - mean)

    def _representatives(self):
        """Returns one tap for each ring, no tap twice."""
        taken = []
        energy = np.square(self.bank).sum(axis=0)  # (num_rings, *kernel_size)
        for ring in energy.reshape(len(energy), -1):
            order = np.argsort(-ring, kind="stable")
            taken.append(next(int(tap) for tap in order if tap not in taken))
        return taken

    def get_config(self):
        return {
            "initializer": keras.saving.serialize_keras_object(
                self.initializer
            ),
            "bank": self.bank.tolist(),
            "filters": self.filters,
            "first": self.first,
        }
