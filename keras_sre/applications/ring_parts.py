"""What equivariant networks are made of."""

from keras_sre.applications import blocks
from keras_sre.applications.families import family_of
from keras_sre.layers import FusedBatchNormalization


def ring_parts(kernel_size, num_rings, harmonic_fraction, options):
    """Returns the `blocks.Parts` of an equivariant network."""
    if kernel_size == 1:  # around a single tap nothing varies
        options = {**options, "harmonics": ()}

    def convolve(x, filters, strides, name):
        return family_of(x).convolution(
            filters,
            kernel_size,
            num_rings=num_rings,
            harmonic_fraction=harmonic_fraction,
            **blocks.convolution_options(strides, name),
            **options,
        )(x)

    def pointwise(x, filters, strides, name):
        return family_of(x).convolution(
            filters, 1, **blocks.convolution_options(strides, name)
        )(x)

    def downsample(x, strides, name):
        if strides > 1:
            x = family_of(x).pooling(strides, name=name)(x)
        return x, 1

    return blocks.Parts(
        convolve, pointwise, downsample, FusedBatchNormalization
    )
