"""What defines a ring convolution, apart from its tensors."""

import dataclasses

import numpy as np
from keras import ops

from keras_sre.geometry import ring_filters
from keras_sre.harmonics import carrying_rings
from keras_sre.harmonics import harmonic_filters


@dataclasses.dataclass(frozen=True)
class RingConvConfig:
    """Everything that defines a ring convolution but its tensors.

    `kernel_size`, `strides` and `dilation_rate` are tuples of one int per
    spatial axis, `spacing` one of floats or `None`; `orders` are the angular
    orders of its filters, one ring kernel for each, where 0 is an ordinary
    ring kernel; `scaled` divides the filters by `scales`; the rest is as in
    `keras_sre.SREConv2D`.
    """

    kernel_size: tuple
    num_rings: int | None = None
    circular: bool = True
    ring_profile: str = "hard"
    spacing: tuple | None = None
    strides: tuple = (1,)
    padding: str = "valid"
    dilation_rate: tuple = (1,)
    groups: int = 1
    orders: tuple = (0,)
    scaled: bool = False

    @property
    def rings(self):
        """The fixed ring filters, shape `(num_rings, *kernel_size)`."""
        return ring_filters(self.kernel_size, *self._ring_arguments())

    @property
    def filled_rings(self):
        """As `rings`, without those of `"gaussian"` that hold no tap."""
        (filters,) = self._bank(0)
        return filters

    @property
    def banks(self):
        """The fixed filters of each order.

        Arrays of shape `(num_functions, num_rings, *kernel_size)`.
        """
        return tuple(map(self._bank, self.orders))

    def check(self):
        """Raises a ValueError if there are no such rings, or for an order."""
        _ = self.banks

    @property
    def carrying_rings(self):
        """The numbers of the rings that each order's filters are made of."""
        return tuple(
            carrying_rings(self.kernel_size, order, *self._ring_arguments())
            for order in self.orders
        )

    @property
    def scales(self):
        """Powers of two, not below what each ring's taps add up to.

        Divided by them, ring sums are no larger than the map, which float16
        holds; a power of two costs no precision. One array for each order.
        """
        return tuple(map(self._scales, self.orders))

    def _bank(self, order):
        filters = harmonic_filters(
            self.kernel_size, order, *self._ring_arguments()
        )
        if self.scaled:
            axes = (1,) * len(self.kernel_size)
            filters = filters / self._scales(order).reshape(-1, *axes)
        return filters

    def _scales(self, order):
        filters = harmonic_filters(
            self.kernel_size, order, *self._ring_arguments()
        )
        sums = np.abs(filters).sum(axis=tuple(range(2, filters.ndim)))
        return 2 ** np.ceil(np.log2(sums.max(axis=0)))

    def _ring_arguments(self):
        return self.num_rings, self.circular, self.ring_profile, self.spacing

    @property
    def spans(self):
        """How many cells each kernel axis reaches beyond its first tap."""
        return tuple(
            (size - 1) * rate
            for size, rate in zip(
                self.kernel_size, self.dilation_rate, strict=True
            )
        )

    def paddings(self, spatial_shape):
        """Returns `(before, after)` zeros for each axis, as Keras pads."""
        if self.padding == "valid":
            return [(0, 0) for _ in self.spans]
        if self.padding == "causal":
            return [(span, 0) for span in self.spans]
        paddings = []
        for size, span, stride in zip(
            spatial_shape, self.spans, self.strides, strict=True
        ):
            total = span
            if stride > 1:
                # Of no negative number: ONNX rounds towards zero.
                total = span + 1 - size + (size - 1) // stride * stride
                total = (
                    max(total, 0)
                    if isinstance(total, int)
                    else ops.maximum(total, 0)
                )
            paddings.append((total // 2, total - total // 2))
        return paddings
