"""Why a layer breaks the symmetry of the grid, and what to use instead."""

import keras
import numpy as np

from keras_sre.centring import is_centred
from keras_sre.layers.base_ring_layer import BaseRingLayer

_POOLINGS = {
    keras.layers.MaxPooling1D: "max pooling",
    keras.layers.MaxPooling2D: "max pooling",
    keras.layers.MaxPooling3D: "max pooling",
    keras.layers.AveragePooling1D: "average pooling",
    keras.layers.AveragePooling2D: "average pooling",
    keras.layers.AveragePooling3D: "average pooling",
}
_PADDINGS = (
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
)
_CROPPINGS = (
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
)
_PER_AXIS = ("kernel_size", "pool_size", "strides", "dilation_rate", "size")


def explain(operation, sizes, symmetries, channels_first):
    """Returns why a layer that was measured to break the symmetry does so.

    Args:
        operation: Keras layer, or an operation of a functional graph.
        sizes: tuple of ints, the spatial sizes of its first map.
        symmetries: list of `Symmetry`, those it was tested with.
        channels_first: bool, whether the spatial axes come last.

    Returns:
        Tuple of two strings, the reason and the cure.
    """
    found = [
        *_of_options(operation, sizes, symmetries),
        *_of_kernel(operation, len(sizes), symmetries),
        *_of_sampling(operation, sizes),
    ]
    found = found or [_of_kind(operation, len(sizes), channels_first)]
    reasons, cures = zip(*found, strict=True)
    return "; ".join(reasons), "; ".join(cures)


def _of_options(operation, sizes, symmetries):
    """Yields what is wrong where axes are exchanged but not treated alike."""
    if not any(symmetry.exchanges for symmetry in symmetries):
        return
    for option in _PER_AXIS:
        values = _per_axis(operation, option, len(sizes))
        if values and len(set(values)) > 1:
            yield (
                f"{option}={values} treats the axes differently",
                f"equal {option}",
            )


def _of_kernel(operation, rank, symmetries):
    """Yields what is wrong with the weights of a convolution."""
    if isinstance(operation, BaseRingLayer):
        # Symmetric by construction, unless cells are longer in one direction.
        if len(set(operation.spacing or (1,))) > 1:
            yield (
                f"spacing={operation.spacing} treats the axes differently",
                "equal spacing",
            )
        return
    size = _per_axis(operation, "kernel_size", rank)
    weights = [
        getattr(operation, name, None)
        for name in ("kernel", "depthwise_kernel")
    ]
    for weight in weights:
        # Dense and recurrent layers have kernels too, but not per tap.
        if size and weight is not None and len(weight.shape) == rank + 2:
            kernel = keras.ops.convert_to_numpy(weight)
            if not all(
                np.allclose(kernel, symmetry(kernel, first_axis=0))
                for symmetry in symmetries
                if symmetry.keeps(size)
            ):
                yield (
                    f"its {_times(size)} kernel differs from its turned copies",
                    _ring_layer(operation),
                )


def _ring_layer(operation):
    rank, name = len(operation.kernel_size), type(operation).__name__
    if _is_transposed(operation):
        return f"SREConv{rank}DTranspose"
    if "Depthwise" in name or "Separable" in name:
        if rank == 2:
            return "SREDepthwiseConv2D"
        return f"SREConv{rank}D with groups"
    return f"SREConv{rank}D, or keras_sre.convert"


def _of_sampling(operation, sizes):
    """Yields what is wrong with where the windows are."""
    rank = len(sizes)
    padding = getattr(operation, "padding", None)
    window = _per_axis(operation, "pool_size", rank) or _per_axis(
        operation, "kernel_size", rank
    )
    strides = _per_axis(operation, "strides", rank)
    if not window or not strides:
        return
    if padding == "causal":
        yield "causal padding adds zeros on one side only", "padding='same'"
        return
    dilation = _per_axis(operation, "dilation_rate", rank) or (1,) * rank
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if all(
        _is_centred(size, span, stride, padding, _is_transposed(operation))
        for size, span, stride in zip(sizes, spans, strides, strict=True)
    ):
        return
    name = _POOLINGS.get(type(operation), type(operation).__name__)
    if _is_transposed(operation):
        cure = "kernel_size even at even strides, odd at odd ones"
    elif max(strides) == 1:
        cure = "windows of odd size"
    elif type(operation) in _POOLINGS:
        cure = f"SymmetricPooling{rank}D"
    else:
        cure = f"SymmetricPooling{rank}D before it, and strides=1"
    stride = strides[0] if len(set(strides)) == 1 else strides
    yield (
        f"{name} {_times(window)} at stride {stride} samples {_times(sizes)} "
        "maps off-centre",
        cure,
    )


def _is_centred(size, span, stride, padding, transposed):
    """Returns whether windows along one axis are at mirrored places."""
    if not transposed:
        return is_centred(size, span, stride, padding)
    # The adjoint of windows on `size * stride` cells.
    return span >= stride and (
        padding == "valid" or is_centred(size * stride, span, stride, padding)
    )


def _of_kind(operation, rank, channels_first):
    """Returns what is wrong with a layer that has no windows."""
    name = type(operation).__name__
    if isinstance(operation, _PADDINGS):
        return _of_margins(f"{name} pads", operation.padding)
    if isinstance(operation, _CROPPINGS):
        return _of_margins(f"{name} crops", operation.cropping)
    if isinstance(operation, (keras.layers.Flatten, keras.layers.Reshape)):
        return f"{name} keeps positions apart", f"GlobalAveragePooling{rank}D"
    if isinstance(operation, keras.layers.Permute):
        return f"Permute reorders the axes as {operation.dims}", "leave it out"
    if isinstance(operation, keras.layers.Dense) and channels_first:
        return (
            "Dense mixes the last axis, which is spatial here",
            f"SREConv{rank}D of kernel_size 1",
        )
    if isinstance(operation, keras.Model):
        return (
            "this model has no graph, so its layers cannot be told apart",
            "a functional model, or a report on each of its layers",
        )
    return (
        "its output does not turn with its input",
        "a layer that treats all directions alike",
    )


def _of_margins(does, margins):
    margins = [tuple(map(int, ends)) for ends in np.reshape(margins, (-1, 2))]
    if any(start != end for start, end in margins):
        where = "more on one side"
    else:
        where = "more along one axis"
    shown = tuple(margins) if len(margins) > 1 else margins[0]
    return f"{does} {shown}: {where}", "the same on all sides"


def _is_transposed(operation):
    return "Transpose" in type(operation).__name__


def _per_axis(operation, option, rank):
    """Returns an option as a tuple of one int per axis, or `None`."""
    value = getattr(operation, option, None)
    if isinstance(value, int):
        return (value,) * rank
    is_per_axis = isinstance(value, (tuple, list)) and len(value) == rank
    return tuple(value) if is_per_axis else None


def _times(values):
    """Returns sizes as in "3x3" or, along a single axis, "3-cell"."""
    if len(values) == 1:
        return f"{values[0]}-cell"
    return "x".join(map(str, values))
