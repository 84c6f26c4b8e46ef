"""Turns any CNN into an equivariant one: `convert`."""

import keras

from keras_sre import validation
from keras_sre.conversion.converter import Converter
from keras_sre.conversion.converter import has_graph
from keras_sre.conversion.replacements import Settings
from keras_sre.conversion.report import ConversionReport
from keras_sre.geometry import RING_PROFILES

WEIGHTS = ("project", "reinitialize")


def convert(
    model,
    *,
    kernel_size=None,
    num_rings=None,
    ring_profile="hard",
    weights="project",
    symmetric_pooling=True,
    harmonics=(),
    harmonic_fraction=0.5,
):
    """Returns a model like `model` whose convolutions are made of rings.

    Each `Conv1D/2D/3D`, `DepthwiseConv1D/2D`, `SeparableConv1D/2D` and
    `Conv1D/2D/3DTranspose` with a kernel of more than one tap becomes its ring
    counterpart (a separable one that and a pointwise `Conv`, named after it
    with `_pointwise`). What samples a map of that size off-centre, a strided
    convolution or pooling, runs at stride 1 and a symmetric pooling by the
    stride follows, named after it with `_pool`; what does not stays as it is.
    Maps keep their sizes (where the size is not known, a pooling that leaves
    out an incomplete last window no longer does) and layers their names; all
    other layers are copied with their weights. `model` itself is left alone.

    The result is exact for the grid's symmetries up to what is not a
    convolution or pooling: `Flatten` before `Dense`, layers of your own, or
    kernels whose axes differ. `keras_sre.equivariance_report` tells.

    Args:
        model: functional or Sequential `keras.Model`, built; also with nested
            models, layers called several times, several inputs and outputs.
        kernel_size: int, the new size along all axes, or `None` (keep it). A
            `"valid"` convolution keeps its size where an odd difference would
            change that of its output, in 1D also with channels first; so do
            transposed ones.
        num_rings: int, or `None`: the default of each kernel.
        ring_profile: as in `keras_sre.SREConv2D`.
        weights: `"project"`: the ring weights nearest to each trained kernel
            (least squares over its taps); `"reinitialize"`: fresh ones.
        symmetric_pooling: bool, whether to make strides symmetric.
        harmonics: as in `keras_sre.SREConv2D`, for ordinary convolutions. Such
            filters start from fresh weights.
        harmonic_fraction: as in `keras_sre.SREConv2D`.

    Returns:
        A new `keras.Model`, compiled if `model` was. Its attribute
        `conversion_report` (not saved with it) is a `ConversionReport`: what
        became of each layer, and the share of its kernel that was lost.

    Raises:
        ValueError: if `model` is no built functional or Sequential model, or
            an argument is outside the range above.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((28, 28, 1)),
    ...     keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first"),
    ...     keras.layers.GlobalAveragePooling2D(),
    ... ])
    >>> converted = convert(model)
    >>> [layer.name for layer in converted.layers][:2]
    ['first', 'first_pool']
    >>> converted.conversion_report.layers[0].after
    'SREConv2D 3x3 + SymmetricPooling2D 2x2'
    """
    _check_model(model)
    if kernel_size is not None:
        kernel_size = validation.positive_int(kernel_size, "kernel_size")
    if num_rings is not None:
        num_rings = validation.positive_int(num_rings, "num_rings")
    settings = Settings(
        kernel_size=kernel_size,
        weights=validation.one_of(weights, WEIGHTS, "weights"),
        symmetric_pooling=symmetric_pooling,
        ring_arguments={
            "num_rings": num_rings,
            "ring_profile": validation.one_of(
                ring_profile, RING_PROFILES, "ring_profile"
            ),
            "harmonics": validation.distinct_ints(harmonics, "harmonics"),
            "harmonic_fraction": validation.fraction(
                harmonic_fraction, "harmonic_fraction"
            ),
        },
    )
    converter = Converter(settings)
    converted = converter.convert(model)
    converted.conversion_report = ConversionReport(tuple(converter.rows))
    return converted


def _check_model(model):
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Received a {type(model).__name__}. Expected a keras.Model."
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            f"Received the Sequential model {model.name!r}, which is not built."
            " Call it on data, or begin it with keras.Input(shape)."
        )
    if not has_graph(model):
        raise ValueError(
            f"Received the subclassed model {model.name!r}: how its layers are "
            "connected is not known. Expected a functional or Sequential model."
        )
