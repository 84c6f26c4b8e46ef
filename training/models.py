"""The networks of the scripts: SRE-ResNets and their plain twins."""

import keras

from keras_sre import applications
from keras_sre.applications import blocks
from keras_sre.applications import resnet

SRE_MODELS = {
    "sre_resnet18": applications.SREResNet18,
    "sre_resnet34": applications.SREResNet34,
    "sre_resnet50": applications.SREResNet50,
}
PLAIN_MODELS = {
    "resnet18": (blocks.apply_basic_block, (2, 2, 2, 2)),
    "resnet34": (blocks.apply_basic_block, (3, 4, 6, 3)),
    "resnet50": (blocks.apply_bottleneck_block, (3, 4, 6, 3)),
}
MODELS = (*SRE_MODELS, *PLAIN_MODELS)


def build_model(name, input_shape, classes, width, **ring_options):
    """Returns a compiled-ready classifier by the name that `--model` takes.

    `ring_options` are those of `SREResNet18`; plain networks ignore them.
    """
    if name in SRE_MODELS:
        return SRE_MODELS[name](
            input_shape=input_shape,
            classes=classes,
            width=width,
            **ring_options,
        )
    return build_plain_resnet(name, input_shape, classes, width)


def twin_of(name):
    """Returns the name of the plain network of the same depth."""
    return name.removeprefix("sre_")


def build_plain_resnet(name, input_shape, classes, width=64):
    """The plain twin: 3x3 `Conv2D`, same depth, width, stem and map sizes."""
    block, num_blocks = PLAIN_MODELS[name]
    inputs = keras.Input(input_shape)
    x = resnet.apply_stem(inputs, width, "small", plain_parts(5))
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
    outputs = resnet.apply_head(x, True, None, classes, "softmax")
    return keras.Model(inputs, outputs, name=name)


def plain_parts(kernel_size):
    """Returns the `blocks.Parts` of an ordinary Keras network."""

    def convolve(x, filters, strides, name, size=kernel_size):
        options = blocks.convolution_options(strides, name)
        return keras.layers.Conv2D(filters, size, **options)(x)

    def pointwise(x, filters, strides, name):
        if strides > 1:
            # As a stride would. The gradient of TensorFlow's strided 1x1
            # convolution crashes with 3 threads and few channels.
            picked = f"{name}_stride"
            x = keras.layers.MaxPooling2D(1, strides, name=picked)(x)
        return convolve(x, filters, 1, name, size=1)

    def leave_to_strides(x, strides, name):
        return x, strides

    return blocks.Parts(convolve, pointwise, leave_to_strides)
