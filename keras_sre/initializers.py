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

    Args:
        initializer: Keras initializer of the ordinary kernel.
        filters: array of shape `(num_rings, *kernel_size)`, `ring_filters`.

    Example:

    >>> from keras_sre.geometry import ring_filters
    >>> init = DenseKernelVariance("he_normal", ring_filters((5, 5)))
    >>> tuple(init((3, 16, 32)).shape)
    (3, 16, 32)
    """

    def __init__(self, initializer, filters):
        self.initializer = keras.initializers.get(initializer)
        self.filters = np.asarray(filters)

    def __call__(self, shape, dtype=None):
        num_rings, channels, num_filters = shape
        kernel_size = self.filters.shape[1:]
        kernel = self.initializer(
            (*kernel_size, channels, num_filters), dtype=dtype
        )
        flat = ops.reshape(kernel, (-1, channels, num_filters))
        weights = ops.take(flat, self._representatives(), axis=0)
        mean = ops.mean(kernel)
        gain = np.sqrt(np.prod(kernel_size) / np.sum(self.filters**2))
        return mean + float(gain) * (weights - mean)

    def _representatives(self):
        """Returns one tap for each ring, no tap twice."""
        taken = []
        for ring in self.filters.reshape(len(self.filters), -1):
            order = np.argsort(-ring, kind="stable")
            taken.append(next(int(tap) for tap in order if tap not in taken))
        return taken

    def get_config(self):
        return {
            "initializer": keras.saving.serialize_keras_object(
                self.initializer
            ),
            "filters": self.filters.tolist(),
        }
