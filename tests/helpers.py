"""References and judgements that the tests share."""

import importlib.util
import inspect
import itertools
import json
import pathlib
import tempfile

import jax
import keras
import numpy as np
import pytest

HAS_EXPORT = keras.backend.backend() == "tensorflow" and all(
    map(importlib.util.find_spec, ("ai_edge_litert", "litert_quantizer"))
)
needs_export = pytest.mark.skipif(
    not HAS_EXPORT, reason="exports by TensorFlow, with the extra `export`"
)
names_its_backends = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="is about the backends that it names: once is enough",
)
needs_multi_host = pytest.mark.skipif(
    "heartbeat_timeout_seconds"
    not in inspect.signature(jax.distributed.initialize).parameters,
    reason="this version of JAX is too old for --distribute multi-host",
)
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


def keras_padding(sizes, kernel_size, strides, dilation_rate, padding):
    """Returns Keras' `(before, after)` zeros per axis, from the definition."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    widths = []
    for n, k, s, d in zip(
        sizes, kernel_size, strides, dilation_rate, strict=True
    ):
        span = (k - 1) * d
        if padding == "causal":
            widths.append((span, 0))
            continue
        last = (int(np.ceil(n / s)) - 1) * s  # where the last window starts
        total = max(last + span + 1 - n, 0)
        widths.append((total // 2, total - total // 2))
    return widths


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
    """Returns the largest relative error over the grid's symmetries.

    All copies of one shape are one batch: a call can cost a compilation.
    """
    if isinstance(function, keras.Layer):
        if not function.built:
            function.build(x.shape)
        function = in_one_program(function)
    copies = {}
    for name, transform in grid_transforms(rank):
        turned = transform(x)
        copies.setdefault(turned.shape, []).append((name, transform, turned))
    outputs = []
    for group in copies.values():
        names, transforms, turned = zip(*group, strict=True)
        batch = to_numpy(function(np.concatenate(turned)))
        parts = np.split(batch, len(group))
        outputs += zip(names, transforms, parts, strict=True)
    _, _, y = outputs[0]  # the identity comes first
    worst = (0.0, "identity")
    for name, transform, found in outputs:
        expected = y if invariant else transform(y)
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


def assert_layer_contract(cls, init_kwargs, input_shape, num_weights):
    """Checks what Keras promises of every layer.

    Configuration and file round trips, symbolic and eager shapes, the number
    of weights, a training step that reaches each of them, half precision.
    """
    __tracebackhide__ = True
    x = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    layer = cls(**init_kwargs)
    config = layer.get_config()
    again = cls.from_config(config).get_config()
    assert again == config, f"config changes: {again} is not {config}"
    y = layer(x)
    promised = layer.compute_output_shape(input_shape)
    assert tuple(y.shape) == promised, f"output {y.shape}, not {promised}"
    count = len(layer.trainable_weights)
    assert count == num_weights, f"{count} weights, not {num_weights}"
    inputs = keras.Input(input_shape[1:])
    outputs = layer(inputs)
    assert outputs.shape[1:] == y.shape[1:], f"symbolic {outputs.shape}"
    model = keras.Model(inputs, outputs)
    for policy in ("mixed_float16", "mixed_bfloat16"):
        _assert_half_precision(cls, init_kwargs, policy, x, layer)
    if num_weights:
        _assert_trains(model, x)
    _assert_saves(model, x)


def _assert_half_precision(cls, init_kwargs, policy, x, layer):
    __tracebackhide__ = True
    half = cls(**init_kwargs, dtype=policy)
    y = half(x)
    dtype = keras.backend.standardize_dtype(y.dtype)
    assert dtype == policy.removeprefix("mixed_"), f"{policy} gives {dtype}"
    assert all(w.dtype == "float32" for w in half.weights), "half weights"
    half.set_weights(layer.get_weights())
    # Rounding of bfloat16 is 2**-8, a few times over.
    assert_close(keras.ops.cast(half(x), "float32"), layer(x), 0.03)


def _assert_trains(model, x):
    __tracebackhide__ = True
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(x, 1 + to_numpy(model(x)), verbose=0)
    for variable, old, new in zip(
        model.weights, before, model.get_weights(), strict=True
    ):
        assert np.isfinite(new).all(), f"{variable.name} is not finite"
        assert (new != old).any(), f"{variable.name} does not train"


def _assert_saves(model, x):
    __tracebackhide__ = True
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        model.save(path)
        again = keras.models.load_model(path)
    assert_close(again(x), model(x))


def load_or_skip(path):
    """Loads a network from a file in the tree."""
    try:
        return keras.models.load_model(path, safe_mode=True)
    except TypeError:
        pytest.skip("this version of Keras cannot read what a newer one wrote")


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

        found = in_one_program(
            jax.grad(
                lambda *a: (function(*a) * upstream).sum(),
                argnums=tuple(range(len(arguments))),
            )
        )(*arguments)
    else:
        import torch

        arguments = [torch.tensor(a, requires_grad=True) for a in arguments]
        (function(*arguments) * torch.tensor(upstream)).sum().backward()
        found = [a.grad for a in arguments]
    return [to_numpy(g) for g in found]


def in_one_program(function):
    """Returns a function that JAX compiles whole, else each operation alone."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    # A new function each time: JAX would know a layer again, weights and all.
    return jax.jit(lambda *arguments: function(*arguments))


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


def official_input(config, x, kernel_size):
    """Pads a recorded input, channels first, as the official layer does.

    Returns:
        The padded input, channels last, and the function that brings a
        gradient with respect to it back to the input.
    """
    rank, padding = len(kernel_size), config["padding"]
    if padding == "valid":
        widths = [(0, 0)] * rank
    elif padding == "same":
        dilation = per_axis(config["dilation"], rank)
        totals = [
            (k - 1) * d for k, d in zip(kernel_size, dilation, strict=True)
        ]
        widths = [(total // 2, total - total // 2) for total in totals]
    else:
        widths = [(p, p) for p in per_axis(padding, rank)]
    x = np.moveaxis(x, 1, -1)
    padded, source = _pad_with_source(x, widths, config["padding_mode"])

    def gather(gradient):
        # Each input gathers the gradients of all its copies in the padding.
        inside = source >= 0
        gathered = np.bincount(source[inside], gradient[inside], padded.size)
        return gathered[: x.size].reshape(x.shape)

    return padded, gather


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _pad_with_source(x, widths, padding_mode):
    """Returns the padded map and where in `x` each cell is from (-1: zero)."""
    widths = [(0, 0), *widths, (0, 0)]
    source = np.arange(x.size).reshape(x.shape)
    if padding_mode == "zeros":
        return np.pad(x, widths), np.pad(source, widths, constant_values=-1)
    mode = {"replicate": "edge", "circular": "wrap"}.get(
        padding_mode, padding_mode
    )
    return np.pad(x, widths, mode), np.pad(source, widths, mode)


def write_run(folder, dataset="textures", root=None):
    """Writes the run directory of a network that was not trained."""
    from data import load_dataset

    from keras_sre import SREConv2D

    folder.mkdir(exist_ok=True)
    settings = {"root": root and str(root), "size": 28, "limit": 12}
    found = load_dataset(dataset, **settings)
    inputs = keras.Input(found.image_shape)
    x = SREConv2D(8, 5, padding="same", activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(len(found.classes), activation="softmax")(x)
    keras.Model(inputs, x).save(folder / "model.keras")
    config = {
        "dataset": dataset,
        "model": "sre_resnet18",
        **settings,
        "dataset_md5": found.md5,
        "dataset_licence": found.licence,
        "task": found.task.kind,
        "classes": list(found.classes),
        "interpolation": "nearest",
    }
    scores = {"accuracy": 0.5, "mean_accuracy": 0.5, "min_accuracy": 0.5}
    metrics = {"upright": scores, "rotated": scores}
    for name, content in (("config", config), ("metrics", metrics)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
