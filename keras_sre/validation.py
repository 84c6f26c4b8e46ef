"""Checks of layer arguments, each with one clear error."""

import math
import numbers


def ints_per_axis(value, rank, name, axis="spatial axis"):
    """Returns `value`, an int or one int per axis, as a tuple of `rank` ints.

    Raises:
        ValueError: if it is anything else, or an entry is below 1.

    Example:

    >>> ints_per_axis(3, 2, "kernel_size")
    (3, 3)
    """
    values = (value,) * rank if isinstance(value, numbers.Integral) else value
    try:
        values = tuple(values)
    except TypeError:
        values = ()
    if len(values) != rank or not all(map(is_positive_int, values)):
        raise ValueError(
            f"Received {name}={value!r}. Expected a positive int, or "
            f"{_count(rank)} of them, one per {axis}."
        )
    return tuple(map(int, values))


def positive_int(value, name):
    """Returns `value` as an int, or raises a `ValueError` if it is below 1."""
    if not is_positive_int(value):
        raise ValueError(f"Received {name}={value!r}. Expected a positive int.")
    return int(value)


def distinct_ints(value, name):
    """Returns `value`, an int or any number of them, as a tuple.

    Raises:
        ValueError: if it is anything else, an entry is below 1 or comes twice.

    Example:

    >>> distinct_ints([1, 2], "harmonics")
    (1, 2)
    """
    values = (value,) if isinstance(value, numbers.Integral) else value
    try:
        values = tuple(values)
    except TypeError:
        values = (None,)
    if not all(map(is_positive_int, values)) or len(set(values)) < len(values):
        raise ValueError(
            f"Received {name}={value!r}. Expected a tuple of distinct positive "
            "ints such as (1, 2), or ()."
        )
    return tuple(map(int, values))


def positive_floats(value, rank, name):
    """Returns `None`, or `value` as a tuple of `rank` positive floats.

    Raises:
        ValueError: if it is anything else.
    """
    if value is None:
        return None
    try:
        values = () if isinstance(value, str) else tuple(map(float, value))
    except (TypeError, ValueError):
        values = ()
    if len(values) != rank or not all(1e-30 < v < 1e30 for v in values):
        raise ValueError(
            f"Received {name}={value!r}. Expected None, or {_count(rank)} "
            "positive float(s): the size of a voxel along each spatial axis, "
            "between 1e-30 and 1e30."
        )
    return values


def finite_float(value, name):
    """Returns `value` as a float, or raises a `ValueError` if it is none.

    Tensors and arrays without an axis are numbers, too.
    """
    try:
        is_one = not isinstance(value, str) and not getattr(value, "ndim", 0)
        number = float(value) if is_one else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"Received {name}={value!r}. Expected a finite number."
        )
    return number


def fraction(value, name):
    """Returns `value`, or raises a `ValueError` if it is not in 0..1."""
    if not _is_fraction(value):
        raise ValueError(f"Received {name}={value!r}. Expected 0 to 1.")
    return float(value)


def fractions_per_stage(value, count, name, axis="stage"):
    """Returns `value`, one number or `count` of them, as a tuple of floats.

    Raises:
        ValueError: if it is anything else, or a number is not in 0..1.

    Example:

    >>> fractions_per_stage(0.5, 2, "harmonic_fraction")
    (0.5, 0.5)
    """
    values = (value,) * count if isinstance(value, numbers.Real) else value
    try:
        values = tuple(values)
    except TypeError:
        values = ()
    if len(values) != count or not all(map(_is_fraction, values)):
        raise ValueError(
            f"Received {name}={value!r}. Expected 0 to 1, or {_count(count)} "
            f"such numbers, one per {axis}."
        )
    return tuple(map(float, values))


def one_of(value, allowed, name):
    """Returns `value`, or raises a `ValueError` if it is not in `allowed`."""
    if not any(isinstance(value, type(x)) and value == x for x in allowed):
        raise ValueError(
            f"Received {name}={value!r}. Expected one of "
            f"{', '.join(map(repr, allowed))}."
        )
    return value


def _is_fraction(value):
    return isinstance(value, numbers.Real) and 0 <= value <= 1


def is_positive_int(value):
    """Returns whether `value` is an int of at least 1, and no bool."""
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and value >= 1
    )


def _count(rank):
    return "a tuple of one" if rank == 1 else f"a tuple of {rank}"
