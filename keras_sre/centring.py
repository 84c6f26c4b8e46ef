"""Which windows sample a map symmetrically, and what makes them."""


def is_centred(size, kernel_size, stride, padding):
    """Returns whether strided windows lie symmetrically along an axis.

    Args:
        size: int or `None`, the cells of the axis. Of an unknown size only
            windows that are centred on all are said to be.
        kernel_size: int, cells that a window spans, dilation included.
        stride: int.
        padding: `"valid"`, `"same"` or `"causal"`, as Keras pads.

    Example:

    >>> is_centred(28, 3, 2, "same"), is_centred(29, 3, 2, "same")
    (False, True)
    """
    if padding == "causal" and kernel_size > 1:
        return False
    if stride == 1:
        return padding == "valid" or kernel_size % 2 == 1
    if size is None:
        return False
    if padding == "valid":
        return (size - kernel_size) % stride == 0
    total = (-(-size // stride) - 1) * stride + kernel_size - size
    return total >= 0 and total % 2 == 0


def all_centred(sizes, kernel_size, strides, padding):
    """As `is_centred`, for all axes."""
    return all(
        is_centred(size, k, stride, padding)
        for size, k, stride in zip(sizes, kernel_size, strides, strict=True)
    )
