"""Ring convolutions in one, two and three dimensions."""

import keras

from keras_sre.layers.base_sre_conv import BaseSREConv


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv2D(BaseSREConv):
    """2D rotation-equivariant convolution with a kernel made of rings.

    Replaces `keras.layers.Conv2D` where images have no natural "up". The kernel
    is constant on `num_rings` concentric rings, one weight for each ring, input
    channel and filter, so that turning or mirroring the input turns or mirrors
    the output. A 9x9 kernel has 5 weights where `Conv2D` has 81, and costs
    fewer operations than a 3x3 `Conv2D`: it is computed as ring sums, which
    have no weights, and one pointwise product.

    Exactness: at stride 1 the layer commutes with the eight symmetries of the
    square grid (90-degree turns and flips) exactly, up to rounding, with
    `"same"` and `"valid"` padding. At other angles it does up to sampling
    error, which the profile `"linear"` makes 2 to 3 times smaller and
    `"cosine"` 4 to 7 times (`training/benchmark.py --suite equivariance`). A
    stride keeps exactness only if it samples symmetrically: on a map of side
    `n`, if `(n - kernel_size) % strides == 0` (`"valid"`), or if
    `(ceil(n / strides) - 1) * strides + kernel_size - n` is even and not
    negative (`"same"`). `SymmetricPooling2D` down-samples exactly at every
    size. Half-precision types are symmetric up to their own rounding.

    Args:
        filters: int, the number of output channels, a multiple of `groups`.
        kernel_size: int or tuple of 2 ints, at least 1. Even sizes are
            symmetric about the point between the middle taps and need
            `padding="valid"`. Unequal sizes keep the taps inside the inscribed
            ellipse.
        strides: int or tuple of 2 ints, at least 1.
        padding: `"valid"` (no padding) or `"same"` (zeros all around, so that
            stride 1 keeps the size).
        data_format: `"channels_last"` or `"channels_first"`; `None` takes
            `keras.config.image_data_format()`.
        dilation_rate: int or tuple of 2 ints, at least 1. Not together with
            strides above 1.
        groups: int, the number of groups that channels and filters are split
            into; each group of filters sees its own group of channels.
        activation: activation function or its name; `None` applies none.
        use_bias: bool, whether to add a trainable bias for each filter.
        kernel_initializer: initializer of an ordinary kernel. The ring weights
            are drawn so that the output has the variance that `Conv2D` with
            this initializer has.
        bias_initializer: initializer of the bias.
        kernel_regularizer: regularizer of the ring weights.
        bias_regularizer: regularizer of the bias.
        activity_regularizer: regularizer of the output.
        kernel_constraint: constraint on the ring weights.
        bias_constraint: constraint on the bias.
        num_rings: int, 1 or more; `None` takes the paper's
            `kernel_size // 2 + 1` (one more if not `circular`), or fewer where
            a ring would be empty (an even or one-dimensional kernel).
        circular: bool. `True` leaves the corners of the kernel out, `False`
            gives the corners a ring of their own (the paper's text).
        ring_profile: `"hard"` (the paper: a tap is in one ring), `"area"` (the
            part of a tap's square that the annulus covers), `"linear"` (hats
            between ring radii), `"cosine"` (wider raised cosines, which turn
            best) or `"gaussian"` (GMR-Conv: hard rings that share their
            weights with neighbours, how far is trained).
            `keras_sre.geometry.ring_filters` has the formulas.
        spacing: `None`, or a tuple of 2 floats: the physical size of a pixel
            along each axis, so that rings are round in the patient rather
            than in the array.
        harmonics: tuple of distinct ints of at least 1, the angular orders of
            filters that see direction; `()`, the paper, has none. Rings alone
            cannot tell an edge from a spot. A filter of order `m` is the norm
            `sqrt(a**2 + b**2)` of two responses with the same weights, one to
            rings times `cos(m * angle)` and one to rings times
            `sin(m * angle)`: 1 learns a size of gradients, 2 of lines and
            curvature. It is exactly as equivariant as a ring filter, and not
            linear. Rings whose taps cannot tell an order from lower ones have
            no weight for it (a 3x3 kernel carries 1 to 3).
        harmonic_fraction: float in 0..1, the share of the filters (of each
            group) that `harmonics` divide evenly among themselves. What is
            left over is ordinary.
        implementation: `"auto"` (the fastest where the layer runs),
            `"slices"`, `"depthwise"` or `"dense"`. All give the same numbers
            up to rounding.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Attributes:
        ring_kernel: the trainable ring weights, of shape
            `(num_rings, channels // groups, filters)`. With harmonics, those
            of the ordinary filters, which come first in the output (of each
            group); `None` if there are none.
        harmonic_kernels: dict from order to its weights, of shape
            `(rings that carry it, channels // groups, filters of the order)`;
            with `"gaussian"`, whose rings share, of all rings.
        log_sigma: with `"gaussian"`, the logarithm of how far each ring's
            weights reach, in rings, of shape `(num_rings,)`; else `None`.
        kernel: the ordinary kernel that they stand for, of shape
            `kernel_size + (channels // groups, filters)`. With harmonics, that
            of all responses: for each group the filters of each order and,
            within an order, those of each angular function.

    Input shape:
        `(batch_size, height, width, channels)` if `data_format` is
        `"channels_last"`, else `(batch_size, channels, height, width)`.

    Output shape:
        `(batch_size, new_height, new_width, filters)`, or channels first.

    Raises:
        ValueError: if an argument is outside the range above, `num_rings` is
            so large that a ring would hold no tap, no ring carries one of
            `harmonics` or there is no filter for it, an even kernel is combined
            with `"same"`, strides with dilation, or the input has the wrong
            number of axes, a number of channels that `groups` does not
            divide, or less extent than a `"valid"` kernel.

    Example:

    >>> x = np.ones((4, 28, 28, 3), "float32")
    >>> layer = SREConv2D(8, 5, padding="same")
    >>> tuple(layer(x).shape)
    (4, 28, 28, 8)
    >>> tuple(layer.ring_kernel.shape), tuple(layer.kernel.shape)
    ((3, 3, 8), (5, 5, 3, 8))

    Half of the filters see direction:

    >>> layer = SREConv2D(8, 5, padding="same", harmonics=(1, 2))
    >>> tuple(layer(x).shape), tuple(layer.ring_kernel.shape)
    ((4, 28, 28, 8), (3, 3, 4))
    >>> {m: tuple(w.shape) for m, w in layer.harmonic_kernels.items()}
    {1: (2, 3, 2), 2: (2, 3, 2)}

    References:
        - [Worrall et al., 2017](https://arxiv.org/abs/1612.04642): the norm of
          responses to circular harmonics.
        - [Du et al., 2025](https://arxiv.org/abs/2504.02819): GMR-Conv, the
          profile `"gaussian"`.
        - [Du et al., 2025](https://arxiv.org/abs/2501.09753), section 2: the
          kernel. The factorised computation and its gradient are described in
          `keras_sre/ops/ring_conv.py`.
    """

    rank = 2


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv1D(BaseSREConv):
    """1D convolution whose kernel is symmetric: `SREConv2D` with one axis.

    Equivariant under reversal, exactly at stride 1 with `"same"` and `"valid"`
    padding. `"causal"` padding looks back only, so it cannot be.

    Args:
        *args: as in `SREConv2D`, with `padding` one of `"valid"`, `"same"`,
            `"causal"` and tuples of 1.
        **kwargs: as in `SREConv2D`.

    Input shape:
        `(batch_size, steps, channels)`, or `(batch_size, channels, steps)`.

    Output shape:
        `(batch_size, new_steps, filters)`, or channels first.

    Raises:
        ValueError: as `SREConv2D`.

    Example:

    >>> x = np.ones((4, 100, 3), "float32")
    >>> tuple(SREConv1D(8, 5, padding="same")(x).shape)
    (4, 100, 8)
    """

    rank = 1
    paddings = ("valid", "same", "causal")


@keras.saving.register_keras_serializable(package="keras_sre")
class SREConv3D(BaseSREConv):
    """3D convolution with a kernel made of shells: `SREConv2D` with 3 axes.

    Equivariant under the 48 symmetries of the cube, exactly at stride 1. With
    `spacing` the shells are round in physical space: for a volume whose
    slices are thicker than its pixels the layer is isotropic in the patient.

    Args:
        *args: as in `SREConv2D`, with tuples of 3.
        **kwargs: as in `SREConv2D`.

    Input shape:
        `(batch_size, depth, height, width, channels)`, or
        `(batch_size, channels, depth, height, width)`.

    Output shape:
        `(batch_size, new_depth, new_height, new_width, filters)`, or channels
        first.

    Raises:
        ValueError: as `SREConv2D`.

    Example:

    >>> x = np.ones((1, 8, 16, 16, 2), "float32")
    >>> layer = SREConv3D(4, (3, 7, 7), spacing=(2.5, 1, 1), padding="same")
    >>> tuple(layer(x).shape)
    (1, 8, 16, 16, 4)
    """

    rank = 3
