"""References and judgements that the tests share."""

import itertools
import json

import keras
import numpy as np

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def dense_conv(x, kernel, strides, dilation_rate, groups=1):
    """Plain valid cross-correlation in NumPy: slow and obvious.

    `x` is `(n, *spatial, c)`, `kernel` `(*size, c // groups, f)`.
    """
    size = kernel.shape[:-2]
    steps = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(
            x.shape[1:-1], size, strides, dilation_rate, strict=True
        )
    ]
    num_filters = kernel.shape[-1]
    y = np.zeros((len(x), *steps, num_filters))
    inputs, outputs = x.shape[-1] // groups, num_filters // groups
    for tap in itertools.product(*map(range, size)):
        window = x[
            (slice(None),)
            + tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(
                    tap, dilation_rate, steps, strides, strict=True
                )
            )
        ]
        for g in range(groups):
            into = slice(g * outputs, (g + 1) * outputs)
            y[..., into] += (
                window[..., g * inputs : (g + 1) * inputs]
                @ kernel[tap][:, into]
            )
    return y


def grid_transforms(rank):
    """Yields `(name, function)` for the symmetries of the grid.

    Functions take and return `(n, *spatial, c)`.
    """
    for axes in itertools.permutations(range(1, rank + 1)):
        for flips in itertools.product((False, True), repeat=rank):
            flipped = [i + 1 for i, flip in enumerate(flips) if flip]
            order = (0, *axes, rank + 1)
            yield (
                f"axes {axes} flipped {flipped}",
                lambda x, order=order, flipped=flipped: np.flip(
                    np.transpose(x, order), flipped
                ),
            )


def equivariance_error(function, x, rank, invariant=False):
    """Returns the largest relative error over the grid's symmetries."""
    y = to_numpy(function(x))
    worst = (0.0, "identity")
    for name, transform in grid_transforms(rank):
        expected = y if invariant else transform(y)
        found = to_numpy(function(np.ascontiguousarray(transform(x))))
        error = np.abs(found - expected).max() / np.abs(y).max()
        worst = max(worst, (float(error), name))
    return worst


def assert_equivariant(function, x, rank, invariant=False, tolerance=1e-5):
    __tracebackhide__ = True
    error, name = equivariance_error(function, x, rank, invariant)
    assert error <= tolerance, f"error {error:.2g} under {name}"


def assert_close(found, expected, tolerance=1e-5):
    """Relative to the largest expected value."""
    __tracebackhide__ = True
    found, expected = to_numpy(found), to_numpy(expected)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    error = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)
    assert error <= tolerance, f"relative error {error:.2g}"


def gradients(function, *arguments, upstream):
    """Returns the gradients of `sum(function(*arguments) * upstream)`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        arguments = [tf.constant(a) for a in arguments]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.reduce_sum(function(*arguments) * upstream)
        found = tape.gradient(loss, arguments)
    elif backend == "jax":
        import jax

        found = jax.grad(
            lambda *a: (function(*a) * upstream).sum(),
            argnums=tuple(range(len(arguments))),
        )(*arguments)
    else:
        import torch

        arguments = [torch.tensor(a, requires_grad=True) for a in arguments]
        (function(*arguments) * torch.tensor(upstream)).sum().backward()
        found = [a.grad for a in arguments]
    return [to_numpy(g) for g in found]


def to_numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x))


def golden_cases(arrays, kinds=None):
    """Yields `(config, arrays)` for each recorded case of these kinds."""
    for i, text in enumerate(arrays["configs"]):
        config = json.loads(str(text))
        if kinds is None or config.get("kind") in kinds:
            prefix = f"{i:03d}/"
            yield (
                config,
                {
                    key.removeprefix(prefix): arrays[key]
                    for key in arrays.files
                    if key.startswith(prefix)
                },
            )
