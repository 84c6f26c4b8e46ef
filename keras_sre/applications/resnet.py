"""SRE-ResNet: residual networks that do not notice a turned image.

Every spatial convolution is a ring convolution and every down-sampling a
symmetric one, so after global pooling the output is invariant under the eight
symmetries of the grid at every input size.

References:
    - [Du et al., 2025](https://arxiv.org/abs/2501.09753): SRE-ResNet.
    - [He et al., 2015](https://arxiv.org/abs/1512.03385): ResNet.
"""

import os

import keras
from keras import layers

from keras_sre import validation
from keras_sre.applications import blocks
from keras_sre.layers import FusedBatchNormalization
from keras_sre.layers import SREConv2D
from keras_sre.layers import SymmetricPooling2D

STEMS = ("auto", "small", "large")
SHIPPED_WEIGHTS = ()
NUM_STAGES = 4

_DOC = """{name} in 2D, as a functional `keras.Model`.

    The output is invariant under 90-degree turns and flips of the input,
    exactly (up to rounding) at every input size, square or not, if
    `include_top` or `pooling` is used; other angles approximately.

    Args:
        include_top: bool, whether to add global average pooling and a dense
            classifier.
        weights: `None` (random) or the path of a `.keras` or `.weights.h5`
            file of this architecture. (No named weights are shipped yet.)
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: tuple such as `(28, 28, 1)`, without the batch. `None` is
            `(224, 224, 3)` with `include_top`, else `(None, None, 3)`
            (channels first where Keras is set so). Sizes may be `None`.
        pooling: `None`, `"avg"` or `"max"`: the global pooling that ends the
            network where `include_top` is `False`.
        classes: int, the number of classes.
        classifier_activation: activation of the classifier; `None` returns
            logits.
        kernel_sizes: tuple of {num_stages} odd ints, one per stage.
        num_rings: `None` (the paper's default for each kernel), or a tuple of
            {num_stages} ints, one per stage.
        ring_profile: as in `keras_sre.SREConv2D`.
        harmonics: as in `keras_sre.SREConv2D`.
        harmonic_fraction: as in `keras_sre.SREConv2D`.
        width: int, filters of the first stage; each further stage has twice
            as many.
        stem: `"small"` (the paper's, for 28 to 64 pixels: a 5x5 ring
            convolution at full size), `"large"` (the same, then down-sampled
            four times, for 128 pixels and up) or `"auto"`: `"small"` where the
            shorter known side is below 96 pixels.
        name: str, the name of the model.

    Input shape:
        `(batch_size, height, width, channels)`, or channels first. Floats;
        centred around 0 is best. Nothing is rescaled inside the model.

    Output shape:
        `(batch_size, classes)`; without `include_top` the last map, or
        `(batch_size, features)` with `pooling`.

    Raises:
        ValueError: if an argument is outside the range above, or `weights`
            names no file.

    Example:

    >>> model = {name}(input_shape=(28, 28, 1), classes=2, width=8)
    >>> model.output_shape
    (None, 2)
    """


def _variant(depth, block, num_blocks):
    """Returns the public function that builds one depth of SRE-ResNet."""
    function_name, model_name = f"SREResNet{depth}", f"sre_resnet{depth}"

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        *,
        kernel_sizes=(9, 9, 5, 5),
        num_rings=None,
        ring_profile="hard",
        harmonics=(),
        harmonic_fraction=0.5,
        width=64,
        stem="auto",
        name=model_name,
    ):
        # === Validation ===
        weights = _check_weights(weights)
        validation.one_of(pooling, (None, "avg", "max"), "pooling")
        validation.one_of(stem, STEMS, "stem")
        width = validation.positive_int(width, "width")
        classes = validation.positive_int(classes, "classes")
        kernel_sizes = _per_stage(kernel_sizes, "kernel_sizes")
        if num_rings is None:
            num_rings = (None,) * NUM_STAGES
        else:
            num_rings = _per_stage(num_rings, "num_rings")
        options = {
            "ring_profile": ring_profile,
            "harmonics": harmonics,
            "harmonic_fraction": harmonic_fraction,
        }

        # === Functional Model ===
        inputs = _make_inputs(input_tensor, input_shape, include_top)
        if stem == "auto":
            stem = _choose_stem(inputs.shape)
        x = apply_stem(inputs, width, stem, ring_parts(5, None, options))
        for stage, repeats in enumerate(num_blocks):
            x = blocks.apply_stack(
                x,
                filters=width * 2**stage,
                num_blocks=repeats,
                strides=1 if stage == 0 else 2,
                block=block,
                parts=ring_parts(
                    kernel_sizes[stage], num_rings[stage], options
                ),
                name=f"stage{stage + 1}",
            )
        outputs = apply_head(
            x, include_top, pooling, classes, classifier_activation
        )
        if input_tensor is not None:
            inputs = keras.utils.get_source_inputs(inputs)
        model = keras.Model(inputs, outputs, name=name)
        if weights is not None:
            model.load_weights(weights)
        return model

    build.__name__ = build.__qualname__ = function_name
    build.__doc__ = _DOC.format(name=function_name, num_stages=NUM_STAGES)
    return build


def ring_parts(kernel_size, num_rings, options):
    """Returns the `blocks.Parts` of an equivariant network."""

    def convolve(x, filters, strides, name, size=kernel_size, rings=num_rings):
        return SREConv2D(
            filters,
            size,
            num_rings=rings,
            **blocks.convolution_options(strides, name),
            **options,
        )(x)

    def pointwise(x, filters, strides, name):
        return convolve(x, filters, strides, name, size=1, rings=None)

    def downsample(x, strides, name):
        if strides > 1:
            x = SymmetricPooling2D(strides, name=name)(x)
        return x, 1

    return blocks.Parts(
        convolve, pointwise, downsample, FusedBatchNormalization
    )


def apply_stem(x, filters, stem, parts):
    x = parts.convolve(x, filters, 1, "stem_conv")
    if stem == "large":
        x = SymmetricPooling2D(2, name="stem_pool1")(x)
    x = blocks.apply_norm(x, parts, "stem")
    if stem == "large":
        x = SymmetricPooling2D(2, mode="max", name="stem_pool2")(x)
    return x


def apply_head(x, include_top, pooling, classes, classifier_activation):
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        return layers.Dense(
            classes,
            activation=classifier_activation,
            dtype=_at_least_float32(),
            name="predictions",
        )(x)
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def _at_least_float32():
    """Probabilities keep float32 under mixed precision."""
    policy = keras.config.dtype_policy()
    return policy.variable_dtype if policy.name.startswith("mixed") else policy


def _per_stage(values, name):
    return validation.ints_per_axis(values, NUM_STAGES, name, axis="stage")


def _choose_stem(shape):
    sizes = shape[1:3] if blocks.channels_axis() == -1 else shape[2:4]
    known = [size for size in sizes if size is not None]
    return "small" if known and min(known) < 96 else "large"


def _make_inputs(input_tensor, input_shape, include_top):
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                f"Received input_tensor of type {type(input_tensor).__name__}."
                " Expected a Keras tensor such as keras.Input(shape)."
            )
        return input_tensor
    if input_shape is None:
        size = 224 if include_top else None
        input_shape = (size, size, 3)
        if blocks.channels_axis() == 1:
            input_shape = (3, size, size)
    if len(input_shape) != 3 or input_shape[blocks.channels_axis() % 3] is None:
        raise ValueError(
            f"Received input_shape={input_shape!r}. Expected 3 numbers without"
            " the batch, such as (28, 28, 1); only sizes may be None."
        )
    return layers.Input(shape=input_shape)


def _check_weights(weights):
    if weights is None:
        return None
    path = os.fspath(weights)
    if not path.endswith((".keras", ".weights.h5")):
        shipped = ", ".join(map(repr, SHIPPED_WEIGHTS)) or "none so far"
        raise ValueError(
            f"Received weights={path!r}. Expected None, the path of a .keras "
            f"or .weights.h5 file, or shipped weights ({shipped})."
        )
    if not os.path.isfile(path):
        raise ValueError(f"Received weights={path!r}. There is no such file.")
    return path


SREResNet18 = _variant(18, blocks.apply_basic_block, (2, 2, 2, 2))
SREResNet34 = _variant(34, blocks.apply_basic_block, (3, 4, 6, 3))
SREResNet50 = _variant(50, blocks.apply_bottleneck_block, (3, 4, 6, 3))
