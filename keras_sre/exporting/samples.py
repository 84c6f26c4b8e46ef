"""The inputs that a file is calibrated and compared with."""

import keras
import numpy as np

NUM_SAMPLES = 8  # random ones, where there are no real ones
MOST_SAMPLES = 100  # of the real ones


def samples_of(model, data):
    """Returns one float32 array for each input, with equal first axes."""
    if data is None:
        return _random_ones(model, NUM_SAMPLES, 32)
    arrays = isinstance(data, (dict, list, tuple)) or hasattr(data, "__array__")
    if hasattr(data, "__iter__") and not arrays:
        data = _first_of_batches(data)
    samples = [np.asarray(array) for array in keras.tree.flatten(data)]
    expected = [(None, *tensor.shape[1:]) for tensor in model.inputs]
    fits = len(samples) == len(expected) and all(
        array.ndim == len(shape)
        and len(array) > 0
        and all(
            size in (None, n)
            for n, size in zip(array.shape, shape, strict=True)
        )
        for array, shape in zip(samples, expected, strict=True)
    )
    if not fits or len({len(array) for array in samples}) > 1:
        raise ValueError(
            "Received representative_data of shapes "
            f"{[array.shape for array in samples]}. Expected {expected}."
        )
    step = -(-len(samples[0]) // MOST_SAMPLES)
    samples = [
        array[::step].astype(keras.backend.standardize_dtype(tensor.dtype))
        for array, tensor in zip(samples, model.inputs, strict=True)
    ]
    for array in samples:
        if not np.isfinite(array).all():
            raise ValueError(
                "Received representative_data with NaN or infinite values. "
                "Expected inputs as the model will see them, all of them "
                "numbers: drop or repair the others."
            )
    return samples


def _first_of_batches(batches):
    """Returns the first inputs of batches, one array for each input."""
    parts, count = [], 0
    for batch in batches:  # there may be no end to them
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        parts.append([np.atleast_1d(x) for x in keras.tree.flatten(inputs)])
        count += len(parts[-1][0])
        if count >= MOST_SAMPLES:
            break
    shapes = [[(None, *x.shape[1:]) for x in part] for part in parts]
    for shape in shapes:
        if shape != shapes[0]:
            raise ValueError(
                "Received representative_data whose batches hold inputs of "
                f"shapes {shapes[0]} and of shapes {shape}. Expected the same "
                "shapes, but for the first axis, in all batches."
            )
    return [
        np.concatenate(arrays)[:MOST_SAMPLES]
        for arrays in zip(*parts, strict=True)
    ]


def samples_of_odd_sizes(model):
    """Returns random samples, 29 cells wide where a model takes any width.

    `None` if it takes one only.
    """
    if all(None not in tensor.shape[1:] for tensor in model.inputs):
        return None
    return _random_ones(model, 1, 29)


def _random_ones(model, count, size):
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(count, *(n or size for n in tensor.shape[1:]))).astype(
            keras.backend.standardize_dtype(tensor.dtype)
        )
        for tensor in model.inputs
    ]
