"""SRE-UNet: segmentation that turns with the image or volume.

References:
    - [Ronneberger et al., 2015](https://arxiv.org/abs/1505.04597): U-Net.
    - [Cicek et al., 2016](https://arxiv.org/abs/1606.06650): in 3D.
    - [Du et al., 2025](https://arxiv.org/abs/2501.09753): the ring kernels.
"""

import keras
from keras import layers

from keras_sre import validation
from keras_sre.applications import blocks
from keras_sre.applications.families import family_of
from keras_sre.applications.inputs import make_inputs
from keras_sre.applications.ring_model import RingModel
from keras_sre.applications.ring_parts import ring_parts
from keras_sre.applications.weights import check_weights
from keras_sre.applications.weights import load_weights
from keras_sre.layers import SymmetricUpsampling


def SREUNet(
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    classes=2,
    classifier_activation="softmax",
    *,
    kernel_sizes=(5, 5, 3, 3),
    num_rings=None,
    ring_profile="hard",
    harmonics=(),
    harmonic_fraction=0.5,
    width=32,
    name="sre_unet",
):
    """U-Net of ring convolutions in 2D or 3D, as a functional `keras.Model`.

    Each level has two ring convolutions on the way down and two on the way up,
    symmetric pooling by 2 between levels, and linear up-sampling back to
    exactly the size there was, after a pointwise convolution on the small map.

    The output turns and flips with the input: exactly (up to rounding) for the
    8 symmetries of the grid (48 in 3D), at every input size, odd ones too.

    Args:
        include_top: bool, whether to add the pointwise classifier.
        weights: `None` (random) or the path of a `.keras` or `.weights.h5`
            file of this architecture.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: tuple without the batch: `(height, width, channels)`, or
            `(depth, height, width, channels)` for a network in 3D (channels
            first where Keras is set so). Sizes may be `None`. `None` is
            `(None, None, 1)`.
        classes: int, the number of classes, or of maps where there are none.
        classifier_activation: activation of the classifier: `"softmax"`,
            `"sigmoid"` for classes that overlap, `None` for logits.
        kernel_sizes: tuple of odd ints, one per level, the full size first.
        num_rings: `None` (the paper's default for each kernel), or a tuple of
            ints, one per level.
        ring_profile: as in `keras_sre.SREConv2D`.
        harmonics: as in `keras_sre.SREConv2D`, for filters that see edges and
            lines. Boundaries are oriented, so `(1, 2)` is worth a try.
        harmonic_fraction: as in `keras_sre.SREConv2D`, for all levels or a
            tuple of one per level.
        width: int, filters of the first level; each further one has twice as
            many.
        name: str, the name of the model.

    Input shape:
        `(batch_size, *spatial, channels)`, or channels first. Floats; centred
        around 0 is best.

    Output shape:
        `(batch_size, *spatial, classes)`; without `include_top` `width` maps.

    Raises:
        ValueError: if an argument is outside the range above, or `weights`
            names no file.

    Example:

    >>> model = SREUNet(input_shape=(45, 32, 1), kernel_sizes=(5, 3), width=4)
    >>> model.output_shape
    (None, 45, 32, 2)
    """
    # === Validation ===
    weights_path = check_weights(weights)
    width = validation.positive_int(width, "width")
    classes = validation.positive_int(classes, "classes")
    try:
        num_levels = max(1, len(kernel_sizes))
    except TypeError:
        raise ValueError(
            f"Received kernel_sizes={kernel_sizes!r}. Expected a tuple of odd "
            "ints, one per level."
        ) from None
    kernel_sizes = validation.ints_per_axis(
        kernel_sizes, num_levels, "kernel_sizes", axis="level"
    )
    if num_rings is None:
        num_rings = (None,) * num_levels
    else:
        num_rings = validation.ints_per_axis(
            num_rings, num_levels, "num_rings", axis="level"
        )
    fractions = validation.fractions_per_stage(
        harmonic_fraction, num_levels, "harmonic_fraction", axis="level"
    )
    options = {"ring_profile": ring_profile, "harmonics": harmonics}

    # === Functional Model ===
    inputs = make_inputs(
        input_tensor, input_shape, _default_shape(input_tensor, input_shape)
    )
    parts = [
        ring_parts(*of_level, options)
        for of_level in zip(kernel_sizes, num_rings, fractions, strict=True)
    ]
    x, skips = inputs, []
    for level, part in enumerate(parts):
        if level:
            x, _ = part.downsample(x, 2, f"down{level}_pool")
        x = _apply_convolutions(x, width * 2**level, part, f"down{level}")
        skips.append(x)
    for level in reversed(range(num_levels - 1)):
        filters, part = width * 2**level, parts[level]
        # A product and an interpolation commute: the small map is cheaper.
        x = part.pointwise(x, filters, 1, f"up{level}_pointwise")
        x = SymmetricUpsampling(2, name=f"up{level}")([x, skips[level]])
        x = layers.Concatenate(blocks.channels_axis(), name=f"up{level}_skip")(
            [skips[level], x]
        )
        x = _apply_convolutions(x, filters, part, f"up{level}")
    if include_top:
        # Keras' softmax runs along the last axis, wherever channels are.
        activation = keras.activations.get(classifier_activation)
        axis, dtype = blocks.channels_axis(), blocks.probabilities_dtype()
        apart = axis == 1 and activation is keras.activations.softmax
        if axis == 1 and activation in (
            keras.activations.log_softmax,
            keras.activations.sparsemax,
        ):
            raise ValueError(
                f"Received classifier_activation={classifier_activation!r} "
                "with channels first. Keras applies it along the last axis "
                "alone: give None, and apply it to the logits."
            )
        x = family_of(x).convolution(
            classes,
            1,
            activation=None if apart else classifier_activation,
            dtype=dtype,
            name="predictions",
        )(x)
        if apart:
            x = layers.Softmax(axis, dtype=dtype, name="probabilities")(x)
    if input_tensor is not None:
        inputs = keras.utils.get_source_inputs(inputs)
    model = RingModel(inputs, x, name=name)
    load_weights(model, weights, weights_path)
    return model


def _apply_convolutions(x, filters, parts, name):
    for i in (1, 2):
        x = parts.convolve(x, filters, 1, f"{name}_conv{i}")
        x = blocks.apply_norm(x, parts, f"{name}_conv{i}")
    return x


def _default_shape(input_tensor, input_shape):
    """Returns a shape of as many axes as there are in the arguments."""
    rank = 2
    if input_tensor is not None:
        rank = len(getattr(input_tensor, "shape", ())) - 2
    elif hasattr(input_shape, "__len__"):
        rank = len(input_shape) - 1
    return (*[None] * (3 if rank == 3 else 2), 1)
