"""SRE-ResNet: residual networks that do not notice a turned image or volume.

Every spatial convolution is a ring convolution and every down-sampling a
symmetric one, so after global pooling the output is invariant under all
symmetries of the grid, 8 in 2D and 48 in 3D, at every input size.

References:
    - [Du et al., 2025](https://arxiv.org/abs/2501.09753): SRE-ResNet.
    - [He et al., 2015](https://arxiv.org/abs/1512.03385): ResNet.
"""

import dataclasses

import keras
from keras import layers

from keras_sre import validation
from keras_sre.applications import blocks
from keras_sre.applications import official
from keras_sre.applications.families import DEPTHS
from keras_sre.applications.families import FAMILIES
from keras_sre.applications.families import family_of
from keras_sre.applications.inputs import make_inputs
from keras_sre.applications.ring_model import RingModel
from keras_sre.applications.ring_parts import ring_parts
from keras_sre.applications.weights import WEIGHTS
from keras_sre.applications.weights import check_weights
from keras_sre.applications.weights import load_weights

STEMS = ("auto", "small", "large", "official")
WIDTH = 64  # filters of the first stage
NUM_STAGES = 4

_DOC = """{name} in {rank}D, as a functional `keras.Model`.

    The output is invariant under 90-degree turns and flips of the input, all
    {symmetries} of them, exactly (up to rounding) at every input size, with
    equal sides or not, if `include_top` or `pooling` is used and `stem` is not
    `"official"`; other angles approximately.

    Args:
        include_top: bool, whether to add global average pooling and a dense
            classifier.
        weights: `None` (random), the path of a `.keras` or `.weights.h5` file
            of this architecture, or the name of a data set whose trained
            network is shipped ({weights}). Those
            take values in -1..1 (see `saved_models/README.md`); an error gives
            the call that makes their architecture where this one differs.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: tuple such as `{example_shape}`, without the batch.
            `None` is `{input_shape}` with `include_top`, else the same with
            unknown sizes (channels first where Keras is set so). Sizes may be
            `None`.
        pooling: `None`, `"avg"` or `"max"`: the global pooling that ends the
            network where `include_top` is `False`.
        classes: int, the number of classes.
        classifier_activation: activation of the classifier; `None` returns
            logits.
        kernel_sizes: tuple of {num_stages} odd ints, one per stage (default:
            {kernel_sizes}), or one int for all.
        num_rings: `None` (the paper's default for each kernel), or a tuple of
            {num_stages} ints, one per stage.
        ring_profile: as in `keras_sre.SREConv{rank}D`.
        harmonics: as in `keras_sre.SREConv{rank}D`, in every convolution of
            more than one tap.
        harmonic_fraction: as in `keras_sre.SREConv{rank}D`, for all stages or
            a tuple of {num_stages}, one per stage; `(0.5, 0.5, 0, 0)` leaves
            the last two without. The stem goes with the first.
        width: int, filters of the first stage; each further stage has twice
            as many (default: {width}).
        stem: `"small"` (the official one: a {stem_kernel} ring convolution at
            full size), `"large"` (the same, then down-sampled by 4) or
            `"auto"`: `"small"` where the shorter known side is below
            {large_from} {cells}. `"official"` is for official weights only
            (`keras_sre.load_torch_weights`) and NOT exactly invariant, except
            at sizes that its poolings divide: after the small stem, in 2D, a
            3x3 max pooling of stride 2 (2x2 average pooling where
            `ring_profile` is `"gaussian"`), and in the stages average pooling
            that drops what is odd at the end of an axis.
        name: str, the name of the model.

    Input shape:
        `(batch_size, {axes}, channels)`, or channels first.
        Floats; centred around 0 is best. Nothing is rescaled inside the model.

    Output shape:
        `(batch_size, classes)`; without `include_top` the last map, or
        `(batch_size, features)` with `pooling`.

    Raises:
        ValueError: if an argument is outside the range above, `weights` names
            no file, or the input is too small for `stem="official"`.

    Example:

    >>> model = {name}(input_shape={example_shape}, classes=2, width=8)
    >>> model.output_shape
    (None, 2)
    """


def _variant(rank, depth):
    """Returns the public function that builds one SRE-ResNet."""
    family = FAMILIES[rank]
    block, num_blocks = DEPTHS[depth]
    variant = f"{depth}" if rank == 2 else f"{rank}D{depth}"
    function_name = f"SREResNet{variant}"
    model_name = f"sre_resnet{variant.lower()}"

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        *,
        kernel_sizes=family.kernel_sizes,
        num_rings=None,
        ring_profile="hard",
        harmonics=(),
        harmonic_fraction=0.5,
        width=WIDTH,
        stem="auto",
        name=model_name,
    ):
        # === Validation ===
        weights_path = check_weights(weights)
        validation.one_of(pooling, (None, "avg", "max"), "pooling")
        validation.one_of(stem, STEMS, "stem")
        width = validation.positive_int(width, "width")
        classes = validation.positive_int(classes, "classes")
        kernel_sizes = _per_stage(kernel_sizes, "kernel_sizes")
        if num_rings is None:
            num_rings = (None,) * NUM_STAGES
        else:
            num_rings = _per_stage(num_rings, "num_rings")
        fractions = validation.fractions_per_stage(
            harmonic_fraction, NUM_STAGES, "harmonic_fraction"
        )
        options = {"ring_profile": ring_profile, "harmonics": harmonics}

        # === Functional Model ===
        default_shape = family.input_shape
        if not include_top:
            default_shape = (*[None] * rank, default_shape[-1])
        inputs = make_inputs(input_tensor, input_shape, default_shape)
        stem_parts = ring_parts(family.stem_size, None, fractions[0], options)
        x = apply_stem(inputs, width, stem, stem_parts)
        if stem == "official":
            x = official.apply_stem_pooling(x, ring_profile)
        for stage, repeats in enumerate(num_blocks):
            parts = ring_parts(
                kernel_sizes[stage],
                num_rings[stage],
                fractions[stage],
                options,
            )
            if stem == "official":
                parts = dataclasses.replace(
                    parts, downsample=official.downsample
                )
            x = blocks.apply_stack(
                x,
                filters=width * 2**stage,
                num_blocks=repeats,
                strides=1 if stage == 0 else 2,
                block=block,
                parts=parts,
                name=f"stage{stage + 1}",
            )
        outputs = apply_head(
            x, include_top, pooling, classes, classifier_activation
        )
        if input_tensor is not None:
            inputs = keras.utils.get_source_inputs(inputs)
        model = RingModel(inputs, outputs, name=name)
        load_weights(model, weights, weights_path)
        return model

    build.__name__ = build.__qualname__ = function_name
    build.__doc__ = _DOC.format(
        name=function_name,
        rank=rank,
        num_stages=NUM_STAGES,
        example_shape=(28,) * rank + (1,),
        input_shape=family.input_shape,
        kernel_sizes=family.kernel_sizes,
        width=WIDTH,
        stem_kernel="x".join([str(family.stem_size)] * rank),
        large_from=family.large_from,
        weights=_names_of_weights(function_name),
        **family.words,
    )
    return build


def _names_of_weights(function_name):
    """Returns the names of the weights shipped for a network, as docs say."""
    names = [
        f'`"{name}"`'
        for name, call in WEIGHTS.items()
        if call.startswith(f"{function_name}(")
    ]
    return ", ".join(names) or "none for this network"


def apply_stem(x, filters, stem, parts):
    pooling = family_of(x).pooling
    if stem == "auto":
        stem = _choose_stem(x)
    x = parts.convolve(x, filters, 1, "stem_conv")
    if stem == "large":
        x = pooling(2, name="stem_pool1")(x)
    x = blocks.apply_norm(x, parts, "stem")
    if stem == "large":
        x = pooling(2, mode="max", name="stem_pool2")(x)
    return x


def apply_head(x, include_top, pooling, classes, classifier_activation):
    if include_top:
        pooling = "avg"
    if pooling is not None:
        pool = family_of(x).global_pooling[pooling]
        x = pool(name=f"{pooling}_pool")(x)
    if include_top:
        x = layers.Dense(
            classes,
            activation=classifier_activation,
            dtype=blocks.probabilities_dtype(),
            name="predictions",
        )(x)
    return x


def _per_stage(values, name):
    return validation.ints_per_axis(values, NUM_STAGES, name, axis="stage")


def _choose_stem(x):
    sizes = x.shape[1:-1] if blocks.channels_axis() == -1 else x.shape[2:]
    known = [size for size in sizes if size is not None]
    small = known and min(known) < family_of(x).large_from
    return "small" if small else "large"


SREResNet18 = _variant(2, 18)
SREResNet34 = _variant(2, 34)
SREResNet50 = _variant(2, 50)
SREResNet3D18 = _variant(3, 18)
SREResNet3D34 = _variant(3, 34)
SREResNet3D50 = _variant(3, 50)
