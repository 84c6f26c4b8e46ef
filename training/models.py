"""The networks of the scripts: SRE-ResNets and their plain twins."""

import keras

from keras_sre import applications
from keras_sre.applications import blocks
from keras_sre.applications import families
from keras_sre.applications import resnet

SRE_MODELS = {
    "sre_resnet18": applications.SREResNet18,
    "sre_resnet34": applications.SREResNet34,
    "sre_resnet50": applications.SREResNet50,
    "sre_resnet3d18": applications.SREResNet3D18,
    "sre_resnet3d34": applications.SREResNet3D34,
    "sre_resnet3d50": applications.SREResNet3D50,
}
PLAIN_MODELS = {  # rank and depth
    "resnet18": (2, 18),
    "resnet34": (2, 34),
    "resnet50": (2, 50),
    "resnet3d18": (3, 18),
    "resnet3d34": (3, 34),
    "resnet3d50": (3, 50),
}
MODELS = (*SRE_MODELS, *PLAIN_MODELS)


def build_model(
    name,
    input_shape,
    classes,
    width,
    stem="auto",
    classifier_activation="softmax",
    **ring_options,
):
    """Returns a classifier by the name that `--model` takes.

    `ring_options` are those of `SREResNet18`, where `None` is the default of
    the network named; plain networks ignore them.
    """
    if name in SRE_MODELS:
        given = {k: v for k, v in ring_options.items() if v is not None}
        return SRE_MODELS[name](
            input_shape=input_shape,
            classes=classes,
            width=width,
            stem=stem,
            classifier_activation=classifier_activation,
            **given,
        )
    return build_plain_resnet(
        name, input_shape, classes, width, stem, classifier_activation
    )


def model_of(config, image_shape, classes, activation="softmax"):
    """Returns the network that a resolved `RunConfig` describes."""
    return build_model(
        config.model,
        image_shape,
        classes,
        config.width,
        classifier_activation=activation,
        kernel_sizes=config.kernel_sizes,
        num_rings=config.num_rings,
        ring_profile=config.ring_profile,
        harmonics=config.harmonics,
        harmonic_fraction=config.harmonic_fraction,
    )


def twin_of(name):
    """Returns the name of the plain network of the same depth."""
    return name.removeprefix("sre_")


def has_twin(name):
    """Returns whether a network is not plain itself."""
    return twin_of(name) != name


def build_plain_resnet(
    name,
    input_shape,
    classes,
    width=64,
    stem="auto",
    classifier_activation="softmax",
):
    """The plain twin: 3-tap `Conv2D/3D`, same depth, width, stem, map sizes."""
    rank, depth = PLAIN_MODELS[name]
    block, num_blocks = families.DEPTHS[depth]
    inputs = keras.Input(input_shape)
    stem_parts = plain_parts(families.FAMILIES[rank].stem_size)
    x = resnet.apply_stem(inputs, width, stem, stem_parts)
    for stage, repeats in enumerate(num_blocks):
        x = blocks.apply_stack(
            x,
            filters=width * 2**stage,
            num_blocks=repeats,
            strides=1 if stage == 0 else 2,
            block=block,
            parts=plain_parts(3),
            name=f"stage{stage + 1}",
        )
    outputs = resnet.apply_head(x, True, None, classes, classifier_activation)
    return keras.Model(inputs, outputs, name=name)


def plain_parts(kernel_size):
    """Returns the `blocks.Parts` of an ordinary Keras network."""

    def convolve(x, filters, strides, name, size=kernel_size):
        options = blocks.convolution_options(strides, name)
        return _by_rank(x, "Conv")(filters, size, **options)(x)

    def pointwise(x, filters, strides, name):
        if strides > 1:
            # As a stride would. The gradient of TensorFlow's strided 1x1
            # convolution crashes with 3 threads and few channels.
            picked = f"{name}_stride"
            x = _by_rank(x, "MaxPooling")(1, strides, name=picked)(x)
        return convolve(x, filters, 1, name, size=1)

    def leave_to_strides(x, strides, name):
        return x, strides

    return blocks.Parts(convolve, pointwise, leave_to_strides)


def _by_rank(x, name):
    """Returns Keras' layer of this name for the rank of a map."""
    return getattr(keras.layers, f"{name}{len(x.shape) - 2}D")
