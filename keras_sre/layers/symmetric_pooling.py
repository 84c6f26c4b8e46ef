"""Down-sampling that is exactly symmetric at every size."""

import keras
import numpy as np
from keras import ops

from keras_sre import validation
from keras_sre.ops.backend import as_float
from keras_sre.ops.backend import for_converters
from keras_sre.ops.backend import is_float
from keras_sre.ops.maps import check_not_empty


class BaseSymmetricPooling(keras.layers.Layer):
    """Centred pooling over `rank` spatial axes; see `SymmetricPooling2D`."""

    rank = None  # the number of spatial axes, set by each subclass

    def __init__(
        self, pool_size=2, *, mode="average", data_format=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.pool_size = validation.ints_per_axis(
            pool_size, self.rank, "pool_size"
        )
        self.mode = validation.one_of(mode, ("average", "max"), "mode")
        self.data_format = validation.one_of(
            data_format or keras.config.image_data_format(),
            ("channels_last", "channels_first"),
            "data_format",
        )
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        if self.mode == "average":  # means are fractions
            dtype = keras.backend.result_type(self.compute_dtype, float)
            inputs = as_float(inputs, dtype)
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if dtype == "bool":  # neither padded nor compared by every backend
            inputs = ops.cast(inputs, "uint8")
        first_axis = 1 if self.data_format == "channels_last" else 2
        sizes = inputs.shape[first_axis : first_axis + self.rank]
        check_not_empty(sizes, sizes)
        # Ordinary pooling is symmetric where it divides the size. Not every
        # backend has it for integers.
        if is_float(inputs) and all(
            size is not None and size % pool == 0
            for size, pool in zip(sizes, self.pool_size, strict=True)
        ):
            return self._pool_evenly(inputs)
        axes = list(enumerate(self.pool_size, start=first_axis))
        outputs = self._pool_axes(inputs, axes)
        if self.mode == "average" and self.rank == 2 and for_converters():
            # Integers round what lies between: in both orders, turned or not.
            outputs = (outputs + self._pool_axes(inputs, axes[::-1])) / 2
        return ops.cast(outputs, dtype)

    def _pool_axes(self, x, axes):
        for axis, stride in axes:
            x = _pool_axis(x, axis, stride, self.mode)
        return x

    def _pool_evenly(self, x):
        pool = ops.average_pool if self.mode == "average" else ops.max_pool
        if self.rank < 3:
            return pool(
                x,
                self.pool_size,
                strides=self.pool_size,
                data_format=self.data_format,
            )
        # Planes, then depth: edge runtimes pool no volumes.
        channels_first = self.data_format == "channels_first"
        if channels_first:
            x = ops.moveaxis(x, 1, -1)
        _, depth, height, width, channels = x.shape
        before, inside = self.pool_size[0], self.pool_size[1:]
        x = ops.reshape(x, (-1, height, width, channels))
        x = pool(x, inside, strides=inside, data_format="channels_last")
        _, height, width, _ = x.shape
        x = ops.reshape(x, (-1, depth, height * width, channels))
        x = pool(
            x, (before, 1), strides=(before, 1), data_format="channels_last"
        )
        x = ops.reshape(x, (-1, depth // before, height, width, channels))
        return ops.moveaxis(x, -1, 1) if channels_first else x

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if len(shape) != self.rank + 2:
            raise ValueError(
                f"Received an input of shape {tuple(shape)}. Expected "
                f"{self.rank + 2} axes: batch, {self.rank} spatial, channels."
            )
        first_axis = 1 if self.data_format == "channels_last" else 2
        for axis, stride in enumerate(self.pool_size, start=first_axis):
            if shape[axis] is not None:
                shape[axis] = -(-shape[axis] // stride)
        return tuple(shape)

    @classmethod
    def from_config(cls, config):
        mode = config.get("mode", "average")
        # Of HDF5 files Keras takes "average" for the function of that name.
        mode = getattr(mode, "__name__", mode)
        return super().from_config({**config, "mode": mode})

    def get_config(self):
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "mode": self.mode,
            "data_format": self.data_format,
        }


def _pool_axis(x, axis, stride, mode):
    """Pools one axis with `ceil(size / stride)` centred windows.

    The windows are `stride` wide where they can be centred so, else
    `stride + 1` wide with half weight on both ends. What lies outside the map
    does not count.
    """
    if stride == 1:
        return x
    size = ops.shape(x)[axis]
    num_windows = (size + stride - 1) // stride  # ONNX rounds towards zero
    # 1 where `stride` taps are too few to be centred, else 0.
    extra = (num_windows * stride - size) % 2
    # All windows get stride + 1 taps; the first may have no weight.
    before = (num_windows * stride - size + extra) // 2 + 1 - extra
    after = (num_windows - 1) * stride + stride + 1 - size - before
    end_weights = (extra / 2, 1 - extra / 2)
    if mode == "max":
        empty = _lowest(keras.backend.standardize_dtype(x.dtype))
        taps = _taps(x, axis, stride, before, after, empty)
        first = ops.where(ops.equal(extra, 1), taps[0], empty)
        result = ops.cast(first, x.dtype)
        for tap in taps[1:]:
            if is_float(x):
                result = ops.maximum(result, tap)
            else:  # torch's would be of 32 bits
                result = ops.where(tap > result, tap, result)
        return result

    def weighted(x, axis):
        first, *inner, last = _taps(x, axis, stride, before, after, 0)
        last = last * ops.cast(end_weights[1], x.dtype)
        if isinstance(extra, int) and not extra:
            return _sum_mirrored([*inner, last])
        first = first * ops.cast(end_weights[0], x.dtype)
        return _sum_mirrored([first, *inner, last])

    counts = weighted(ops.ones((size,), dtype=x.dtype), 0)
    shape = [1] * len(x.shape)
    shape[axis] = -1
    return weighted(x, axis) / ops.reshape(counts, shape)


def _sum_mirrored(taps):
    """Sums pairs from the ends inwards: integers round alike either way."""
    half = len(taps) // 2
    pairs = [taps[i] + taps[-1 - i] for i in range(half)]
    first, *rest = pairs + taps[half : len(taps) - half]
    return sum(rest, start=first)


def _taps(x, axis, stride, before, after, empty):
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (before, after)
    x = ops.pad(x, widths, constant_values=empty)
    rows = (slice(None),) * axis
    return [
        x[(*rows, slice(offset, offset - stride or None, stride))]
        for offset in range(stride + 1)
    ]


def _lowest(dtype):
    if "float" in dtype:
        return float("-inf")
    return np.iinfo(dtype).min


@keras.saving.register_keras_serializable(package="keras_sre")
class SymmetricPooling2D(BaseSymmetricPooling):
    """2D pooling that commutes with the grid's symmetries at every size.

    Ordinary strided pooling samples off-centre on some sizes (3x3 at stride 2
    on even maps, 2x2 on odd ones), which breaks the symmetry of everything
    after it. Here windows are always centred: where `ceil(size / pool_size) *
    pool_size - size` is even they are `pool_size` wide, else one tap wider with
    half weight on their ends. At `pool_size=2` these are the mean of two taps
    on even sizes and the weights `[1, 2, 1] / 4` on odd ones. Taps outside the
    map do not count, so that constant maps stay constant.

    Args:
        pool_size: int or tuple of 2 ints, at least 1: the down-sampling
            factor of each axis.
        mode: `"average"` (of integers too, as floats) or `"max"`, the largest
            value in the same windows.
        data_format: `"channels_last"` or `"channels_first"`; `None` takes
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` of `keras.layers.Layer`.

    Input shape:
        `(batch_size, height, width, channels)`, or channels first.

    Output shape:
        `(batch_size, ceil(height / pool_size), ceil(width / pool_size),
        channels)`, or channels first.

    Raises:
        ValueError: if `pool_size` is not positive, `mode` or `data_format` is
            unknown, or the map is empty.

    Example:

    >>> tuple(SymmetricPooling2D()(np.ones((1, 7, 8, 3), "float32")).shape)
    (1, 4, 4, 3)
    """

    rank = 2


@keras.saving.register_keras_serializable(package="keras_sre")
class SymmetricPooling1D(BaseSymmetricPooling):
    """1D pooling that commutes with reversal at every size.

    Args:
        *args: as in `SymmetricPooling2D`, with tuples of 1.
        **kwargs: as in `SymmetricPooling2D`.

    Input shape:
        `(batch_size, steps, channels)`, or channels first.

    Output shape:
        `(batch_size, ceil(steps / pool_size), channels)`, or channels first.

    Raises:
        ValueError: as in `SymmetricPooling2D`.

    Example:

    >>> x = np.arange(5, dtype="float32").reshape(1, 5, 1)
    >>> np.ravel(SymmetricPooling1D(mode="max")(x)).tolist()
    [1.0, 3.0, 4.0]
    """

    rank = 1


@keras.saving.register_keras_serializable(package="keras_sre")
class SymmetricPooling3D(BaseSymmetricPooling):
    """3D pooling that commutes with the cube's 48 symmetries at every size.

    Args:
        *args: as in `SymmetricPooling2D`, with tuples of 3.
        **kwargs: as in `SymmetricPooling2D`.

    Input shape:
        `(batch_size, depth, height, width, channels)`, or channels first.

    Output shape:
        As the input, each spatial axis divided by its `pool_size` and rounded
        up.

    Raises:
        ValueError: as in `SymmetricPooling2D`.

    Example:

    >>> tuple(SymmetricPooling3D()(np.ones((1, 7, 8, 9, 3), "float32")).shape)
    (1, 4, 4, 5, 3)
    """

    rank = 3
