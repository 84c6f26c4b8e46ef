"""What takes the place of one layer: its equivariant counterpart.

A `Replacement` says how to make that and what comes before and after it. What
samples a map off-centre does so no longer: it runs at stride 1 and a symmetric
pooling follows. That gives the size there was before: of `n` windows at stride
1 a stride keeps `ceil(n / stride)`, and so does the pooling. A convolution of
one tap and a mean commute, so there the pooling comes first, and is cheaper.
"""

import dataclasses

from keras import layers

from keras_sre.centring import all_centred
from keras_sre.conversion.configuration import like
from keras_sre.conversion.kinds import CONVOLUTIONS
from keras_sre.conversion.kinds import CROPPING
from keras_sre.conversion.kinds import DEPTHWISE
from keras_sre.conversion.kinds import POOLINGS
from keras_sre.conversion.kinds import REPLACED
from keras_sre.conversion.kinds import SYMMETRIC_POOLING
from keras_sre.conversion.kinds import TRANSPOSED
from keras_sre.conversion.kinds import ZERO_PADDING
from keras_sre.conversion.separable import as_grouped
from keras_sre.layers import SREDepthwiseConv2D


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `convert`, apart from the model."""

    kernel_size: int | None
    weights: str
    symmetric_pooling: bool
    ring_arguments: dict


@dataclasses.dataclass
class Replacement:
    """Layers in the place of one, in the order in which they are called.

    `main` is made once, also for a layer that is called several times, unless
    it is a pooling; `before` and `after` are made for each call and have no
    weights. `offset` is where
    the first tap of the old kernel is in the new one.
    """

    main: layers.Layer
    before: list = dataclasses.field(default_factory=list)
    after: list = dataclasses.field(default_factory=list)
    offset: tuple | None = None


def replacement(layer, input_shape, settings):
    """Returns the `Replacement` of a layer, `None` if it may stay as it is.

    Args:
        layer: Keras layer.
        input_shape: the shape it is called on.
        settings: `Settings`.

    Raises:
        ValueError: why a layer that should be replaced cannot be.
    """
    kind = type(layer)
    if kind in REPLACED and getattr(layer, "lora_enabled", False):
        raise ValueError(
            "it has LoRA weights, which rings have not: merge them into the "
            "kernel before"
        )
    if kind in CONVOLUTIONS or kind in DEPTHWISE:
        return _convolution(layer, input_shape, settings)
    if kind in TRANSPOSED:
        return _transposed(layer, settings)
    if kind in POOLINGS and settings.symmetric_pooling:
        return _pooling(layer, input_shape)
    return None


def _convolution(layer, input_shape, settings):
    rank = len(layer.kernel_size)
    sizes = _spatial(input_shape, layer.data_format)
    strides, before, after = layer.strides, [], []
    kernel_size, offset = _new_kernel_size(layer, settings)
    spans = _spans(layer.kernel_size, layer.dilation_rate)
    new_spans = _spans(kernel_size, layer.dilation_rate)
    if layer.padding == "valid" and new_spans != spans:
        before += _resized(layer, new_spans, spans)
        sizes = [
            n if n is None else n + new - old
            for n, new, old in zip(sizes, new_spans, spans, strict=True)
        ]
    windows = [span + 1 for span in new_spans]
    pooled = (
        settings.symmetric_pooling
        and layer.padding != "causal"
        and max(strides) > 1
        and not all_centred(sizes, windows, strides, layer.padding)
    )
    if pooled:
        pooling = SYMMETRIC_POOLING[rank](
            strides,
            data_format=layer.data_format,
            dtype=layer.dtype_policy,
            name=f"{layer.name}_pool",
        )
        first = max(layer.kernel_size) == 1
        (before if first else after).append(pooling)
        strides = (1,) * rank
    changes = {"kernel_size": kernel_size, "strides": strides}
    if max(layer.kernel_size) == 1:
        if not pooled:
            return None
        main = like(layer, type(layer), changes)
        return Replacement(main, before, after)
    if type(layer) is layers.DepthwiseConv1D:
        layer = as_grouped(layer, input_shape)
    if type(layer) is layers.DepthwiseConv2D:
        ring_class = SREDepthwiseConv2D
        changes |= _without_harmonics(settings.ring_arguments)
    else:
        ring_class = CONVOLUTIONS[type(layer)]
        changes |= settings.ring_arguments
    return Replacement(like(layer, ring_class, changes), before, after, offset)


def _new_kernel_size(layer, settings):
    """Returns the new size, and the offset of the old kernel in the new."""
    old = layer.kernel_size
    new = list(old)
    if settings.kernel_size and max(old) > 1:
        wanted = settings.kernel_size
        # With "valid" padding an odd difference would move the map, and Keras
        # crops no steps that come after channels.
        last = len(old) > 1 or layer.data_format == "channels_last"
        if layer.padding != "valid" or (
            last
            and all(
                (wanted - k) * d % 2 == 0
                for k, d in zip(old, layer.dilation_rate, strict=True)
            )
        ):
            new = [wanted] * len(old)
    if layer.padding == "same":
        new = [k + 1 if k % 2 == 0 else k for k in new]
    # Keras puts the smaller half of "same" padding before the map.
    offsets = [
        (n - 1) // 2 - (k - 1) // 2 for n, k in zip(new, old, strict=True)
    ]
    if layer.padding == "causal":
        offsets = [n - k for n, k in zip(new, old, strict=True)]
    return tuple(new), tuple(offsets)


def _resized(layer, new_spans, old_spans):
    """Returns what keeps the output's size with kernels of another size."""
    rank = len(new_spans)
    margins = [
        (new - old) // 2 for new, old in zip(new_spans, old_spans, strict=True)
    ]
    options = {"name": f"{layer.name}_margin", "dtype": layer.dtype_policy}
    if rank > 1:
        options["data_format"] = layer.data_format
    if max(margins) > 0:
        kind, widths = ZERO_PADDING[rank], [max(m, 0) for m in margins]
    else:
        kind, widths = CROPPING[rank], [max(-m, 0) for m in margins]
    return [kind(widths[0] if rank == 1 else tuple(widths), **options)]


def _transposed(layer, settings):
    if max(layer.kernel_size) == 1 and max(layer.strides) == 1:
        return None
    ring_class = TRANSPOSED[type(layer)]
    changes = _without_harmonics(settings.ring_arguments)
    output_padding = layer.output_padding
    if output_padding is not None and _doubles(layer, output_padding):
        output_padding = None
    # In any case: older versions of Keras leave it out of the configuration.
    changes["output_padding"] = output_padding
    kernel_size, offset = list(layer.kernel_size), [0] * len(layer.strides)
    for axis, (k, stride) in enumerate(
        zip(layer.kernel_size, layer.strides, strict=True)
    ):
        excess = (k - 1) * layer.dilation_rate[axis] + 1 - stride
        off_centre = excess % 2 and output_padding is None
        if off_centre and (layer.padding == "same" or excess < 0):
            kernel_size[axis] += 1
            offset[axis] = int(excess > 0)
    changes["kernel_size"] = tuple(kernel_size)
    main = like(layer, ring_class, changes)
    return Replacement(main, offset=tuple(offset))


def _doubles(layer, output_padding):
    """Whether the output is the strides times the input, as without it."""
    paddings = output_padding
    if not isinstance(paddings, (tuple, list)):
        paddings = (paddings,) * len(layer.strides)
    return layer.padding == "same" and all(
        k - 2 * (k // 2) + extra == stride
        for k, stride, extra in zip(
            layer.kernel_size, layer.strides, paddings, strict=True
        )
    )


def _pooling(layer, input_shape):
    rank, mode = len(layer.pool_size), POOLINGS[type(layer)]
    sizes = _spatial(input_shape, layer.data_format)
    pool_size, strides = tuple(layer.pool_size), tuple(layer.strides)
    if all_centred(sizes, pool_size, strides, layer.padding):
        return None
    options = {
        "mode": mode,
        "data_format": layer.data_format,
        "dtype": layer.dtype_policy,
    }
    symmetric = SYMMETRIC_POOLING[rank]
    known = None not in sizes
    if pool_size == strides and (layer.padding == "same" or not known):
        main = symmetric(strides, name=layer.name, **options)
        return Replacement(main)
    if layer.padding == "same":
        pool_size = tuple(k + 1 if k % 2 == 0 else k for k in pool_size)
    main = like(
        layer, type(layer), {"pool_size": pool_size, "strides": (1,) * rank}
    )
    after = [symmetric(strides, name=f"{layer.name}_pool", **options)]
    return Replacement(main, after=after if max(strides) > 1 else [])


def equal_padding(layer):
    """Returns a zero padding of the same amount at both ends of each axis."""
    padding = layer.padding
    if type(layer) is layers.ZeroPadding1D:
        equal = max(padding)
        return like(layer, type(layer), {"padding": (equal, equal)})
    equal = tuple((max(pair), max(pair)) for pair in padding)
    return like(layer, type(layer), {"padding": equal})


def _without_harmonics(ring_arguments):
    return {
        key: value
        for key, value in ring_arguments.items()
        if not key.startswith("harmonic")
    }


def _spans(kernel_size, dilation_rate):
    return [
        (k - 1) * d for k, d in zip(kernel_size, dilation_rate, strict=True)
    ]


def _spatial(shape, data_format):
    return tuple(shape[2:] if data_format == "channels_first" else shape[1:-1])
