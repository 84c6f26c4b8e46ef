"""Up-sampling that undoes symmetric pooling at every size."""

import keras
from keras import ops

from keras_sre import validation
from keras_sre.ops.backend import as_float
from keras_sre.ops.maps import check_not_empty


@keras.saving.register_keras_serializable(package="keras_sre")
class SymmetricUpsampling(keras.layers.Layer):
    """Grows a map to the size of another, symmetrically at every size.

    The way back from `SymmetricPooling1D/2D/3D`, for decoders: both maps are
    centred on each other, their cells `size` apart, and what lies between cells
    is interpolated linearly (beyond the outermost ones: repeated). So odd sizes
    need no cropping, which would shift the map.

    Args:
        size: int of at least 1, how far apart the cells of the small map are in
            the large one: the `pool_size` before.
        data_format: `"channels_last"` or `"channels_first"`; `None` takes
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        A list of two maps of 1 to 3 spatial axes: `(batch_size, *spatial,
        channels)` (or channels first), and one of the size wanted.

    Output shape:
        As the first map, with the spatial axes of the second.

    Raises:
        ValueError: if `size` or `data_format` is outside the range above, or
            there are not two maps with as many axes, each with cells.

    Example:

    >>> small = np.array([0, 1, 2], "float32").reshape(1, 3, 1)
    >>> large = np.zeros((1, 5, 1), "float32")
    >>> np.ravel(SymmetricUpsampling()([small, large])).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """

    def __init__(self, size=2, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.size = validation.positive_int(size, "size")
        self.data_format = validation.one_of(
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
            "data_format",
        )

    def call(self, inputs):
        x, like = inputs
        dtype = keras.backend.result_type(self.compute_dtype, float)
        x = as_float(x, dtype)
        axes = self._spatial_axes(x.shape)
        check_not_empty(
            [x.shape[axis] for axis in axes],
            [like.shape[axis] for axis in axes],
        )
        for axis in axes:
            x = _stretch(x, axis, self.size, ops.shape(like)[axis])
        return x

    def compute_output_shape(self, input_shape):
        shapes = [
            tuple(shape) if isinstance(shape, (tuple, list)) else shape
            for shape in input_shape
        ]
        if not (
            len(shapes) == 2
            and all(isinstance(shape, tuple) for shape in shapes)
            and len(shapes[0]) == len(shapes[1])
        ):
            raise ValueError(
                f"Received maps of shapes {shapes}. Expected a list of two with"
                " as many axes: the map, and one of the size wanted."
            )
        shape = list(shapes[0])
        for axis in self._spatial_axes(shape):
            shape[axis] = shapes[1][axis]
        return tuple(shape)

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # are there two maps?

    def _spatial_axes(self, shape):
        first = 1 if self.data_format == "channels_last" else 2
        return range(first, first + len(shape) - 2)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "data_format": self.data_format,
        }


def _stretch(x, axis, step, size):
    """Interpolates `size` points along an axis, `1 / step` cells apart."""
    last = ops.shape(x)[axis] - 1
    # In units of half a step, so that all are whole numbers.
    doubled = 2 * ops.arange(size) - (size - 1) + step * last
    doubled = ops.clip(doubled, 0, 2 * step * last)
    below = doubled // (2 * step)
    above = ops.minimum(below + 1, last)
    shape = [1] * len(x.shape)
    shape[axis] = -1
    share = ops.cast(doubled % (2 * step), x.dtype) / (2 * step)
    share = ops.reshape(share, shape)
    return ops.take(x, below, axis=axis) * (1 - share) + (
        ops.take(x, above, axis=axis) * share
    )
