"""From a Keras model to a file that runs without Keras, checked by running it.

`formats.py` writes SavedModel, LiteRT and ONNX, with each ring layer in the
form that is fastest there; `quantization.py` shrinks a LiteRT file;
`runtimes.py` runs what came out.
"""

import dataclasses
import os
import pathlib
import tempfile

import keras
import numpy as np

from keras_sre import validation
from keras_sre.data_format import data_format_of
from keras_sre.exporting import formats
from keras_sre.exporting import quantization as quantizer
from keras_sre.exporting import runtimes

__all__ = ["ExportError", "ExportReport", "export"]

SUFFIXES = {".tflite": "litert", ".onnx": "onnx"}
# What a file is called until it is complete: writers look at the suffix.
PARTIAL_NAMES = {
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "saved_model": "model",
}

# The largest difference from Keras that an export may have, relative to the
# largest output.
TOLERANCES = {None: 1e-4, "float16": 0.03, "dynamic": 0.2, "int8": 0.3}
NUM_SAMPLES = 8  # random ones, where there are no real ones
MOST_SAMPLES = 100  # of the real ones
PREDICTED = 10  # samples at a time by Keras
BATCH_SIZE = 3  # the second one that a file is tried at; the first is 1


class ExportError(RuntimeError):
    """An exported file does not do what the Keras model does."""


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `export` wrote, and how it compares with Keras.

    Attributes:
        path: `pathlib.Path` of the file (SavedModel: the directory).
        format: `"litert"`, `"onnx"` or `"saved_model"`.
        quantization: as given to `export`.
        bytes: int, the size of the file or of all files.
        latency_ms: float, median milliseconds for one sample on one thread;
            `None` if it was not run.
        difference: float, the largest difference from Keras' outputs, relative
            to the largest of them; `None` if it was not run.
        agreement: float, the share of samples for which the largest output is
            the same one as in Keras; `None` if outputs are no class scores.
        batch_sizes: tuple of ints, those it ran at.
    """

    path: pathlib.Path
    format: str
    quantization: str | None
    bytes: int
    latency_ms: float | None = None
    difference: float | None = None
    agreement: float | None = None
    batch_sizes: tuple = ()

    def __str__(self):
        size = f"{self.bytes / 1e6:.2f} MB"
        parts = [f"{self.path}: {self.format}", self.quantization, size]
        if self.difference is not None:
            parts.append(f"difference from Keras {self.difference:.1g}")
        if self.agreement is not None:
            parts.append(f"the same class for {100 * self.agreement:.1f} %")
        if self.latency_ms is not None:
            parts.append(f"{self.latency_ms:.2f} ms a sample")
        return ", ".join(filter(None, parts))


def export(
    model,
    path,
    *,
    format=None,
    quantization=None,
    representative_data=None,
    verify=True,
):
    """Writes a model for a runtime without Keras, and checks it there.

    Ring layers keep their parameter count: they become small depthwise
    convolutions, or slices and adds, and one pointwise product; batch
    normalisation is folded into it. LiteRT files hold built-in operations only.
    An `"int8"` file is as exactly symmetric as the float one: the ring sums of
    a turned image round as those of the upright one. (With harmonics: as long
    as maps stay in the range that calibration saw. Beyond it 8 bits clip at
    -128 and 127, and harmonics change sign when they turn. Volumes are summed
    along depth first, so those are symmetric to 8-bit rounding only.)

    The file takes its name when it is complete and checked: if anything fails,
    what was at `path` before is still there.

    Args:
        model: functional or Sequential Keras model, float32, with weights.
        path: str or path. `.tflite` is LiteRT, `.onnx` ONNX, all else the
            directory of a SavedModel.
        format: `"litert"`, `"onnx"`, `"saved_model"` or `None`, by the suffix.
        quantization: LiteRT only. `None`; `"float16"`: weights of half the
            size; `"dynamic"`: 8-bit weights, products in integers;
            `"int8"`: 8-bit weights and maps, inputs and outputs included. (What
            is elementwise after the squares of harmonics, up to the next
            product or pooling, stays in floats.)
        representative_data: inputs as the model will see them, an array of
            shape `(n, *input_shape)`, or one for each input in the structure of
            `model.input`; or batches as `model.predict` takes them, such as a
            generator or a `tf.data.Dataset`, with or without labels. For
            calibration (`"int8"`, where it is needed) and for the check. Of
            arrays of more than a hundred, about as many are chosen evenly, of
            batches the first hundred; calibration turns images to all 8 poses
            of the grid, and volumes to 8 of the 48, each to others. `None`
            checks with normal noise.
        verify: bool, whether to run the file in its own runtime, at two batch
            sizes where the format allows, and compare it with Keras.

    Returns:
        `ExportReport`.

    Raises:
        ExportError: if the file differs from Keras by more than its format
            allows (relative to the largest output: 1e-4, float16 0.03,
            dynamic 0.2, int8 0.3).
        ValueError: if an argument is outside the range above, a package is
            missing, or the model cannot be expressed in the format.

    Example:

    >>> from keras_sre import SREConv2D
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), SREConv2D(4, 3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = export(model, f"{folder}/model.tflite", verify=False)
    >>> report.format
    'litert'
    """
    path = pathlib.Path(path)
    format = validation.one_of(
        format or SUFFIXES.get(path.suffix, "saved_model"),
        ("litert", "onnx", "saved_model"),
        "format",
    )
    validation.one_of(quantization, tuple(TOLERANCES), "quantization")
    _check(model, path, format, quantization, representative_data)
    samples = _samples(model, representative_data)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}."
    ) as folder:
        partial = pathlib.Path(folder, PARTIAL_NAMES[format])
        formats.WRITERS[format](model, partial)
        if quantization:
            quantizer.quantize(
                partial,
                quantization,
                samples,
                _input_names(model),
                data_format_of(model) == "channels_last",
            )
        report = ExportReport(path, format, quantization, _size(partial))
        if verify:
            report = _verified(report, model, partial, samples)
        if path.is_dir():
            path.rename(pathlib.Path(folder, "earlier"))
        partial.replace(path)
    return report


def _check(model, path, format, quantization, representative_data):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export needs the TensorFlow backend, not "
            f"{keras.backend.backend()!r}. Save the model as .keras, and load "
            "and export it in a process with KERAS_BACKEND=tensorflow."
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"Received a model of type {type(model).__name__} without known "
            "inputs. Expected a functional or Sequential model that is built."
        )
    if _is_nested(model):
        raise ValueError(
            f"Received a model with outputs {model.output}. Expected one "
            "tensor, or a list or dict of tensors: files know no nested ones."
        )
    if quantization and format != "litert":
        raise ValueError(
            f"Received quantization={quantization!r} with format={format!r}. "
            "Only LiteRT files (.tflite) can be quantized."
        )
    if quantization == "int8" and representative_data is None:
        raise ValueError(
            "Received quantization='int8' without representative_data. Give "
            "about a hundred inputs, scaled as in training, to calibrate with."
        )
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        raise ValueError(
            f"Received a model of dtype policy {model.dtype_policy.name!r}. "
            "Load its weights into a float32 model and export that."
        )
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if format == "litert" and any(None in shape[1:] for shape in shapes):
        raise ValueError(
            f"Received a model with inputs of shape {shapes}. LiteRT needs all "
            "sizes but the batch: build the model with a full input_shape."
        )
    if not path.parent.is_dir():
        raise ValueError(f"Received path={path}: no folder {path.parent}.")
    if path.is_dir() and not (
        format == "saved_model" and (path / "saved_model.pb").exists()
    ):
        raise ValueError(
            f"Received path={path}, a folder that is no SavedModel. It would "
            "be lost: choose a new name."
        )
    if path.is_file() and format == "saved_model":
        raise ValueError(
            f"Received path={path}, a file, for a SavedModel, which is a "
            "directory. Choose a new name."
        )


def _is_nested(model):
    """Returns whether outputs hold lists or dicts of tensors."""
    if isinstance(model, keras.Sequential):
        return False
    outputs = model.output
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return isinstance(outputs, (list, tuple)) and any(
        isinstance(part, (dict, list, tuple)) for part in outputs
    )


def _samples(model, data):
    """Returns one float32 array for each input, with equal first axes."""
    if data is None:
        rng = np.random.default_rng(0)
        return [
            rng.normal(size=(NUM_SAMPLES, *_known(tensor.shape[1:]))).astype(
                keras.backend.standardize_dtype(tensor.dtype)
            )
            for tensor in model.inputs
        ]
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
    return [
        array[::step].astype(keras.backend.standardize_dtype(tensor.dtype))
        for array, tensor in zip(samples, model.inputs, strict=True)
    ]


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


def _input_names(model):
    return [tensor.name for tensor in model.inputs]


def _known(shape):
    return tuple(32 if size is None else size for size in shape)


def _verified(report, model, path, samples):
    """Returns the report with what running the file shows."""
    structure = formats.input_structure(model)
    inputs = keras.tree.pack_sequence_as(structure, samples)
    outputs = model.predict(inputs, batch_size=PREDICTED, verbose=0)
    names = None
    if isinstance(outputs, dict):  # files list them in an order of their own
        names, outputs = list(outputs), list(outputs.values())
    expected = keras.tree.flatten(outputs)
    runtime = runtimes.RUNTIMES[report.format](path, _input_names(model), names)
    found = runtime.run(samples, batch_size=1)
    sizes = [1]
    if min(len(array) for array in samples) >= BATCH_SIZE:
        first = [array[:BATCH_SIZE] for array in samples]
        if again := runtime.run_if_possible(first, BATCH_SIZE):
            sizes.append(BATCH_SIZE)
            found = [
                np.concatenate([ours, more])
                for ours, more in zip(found, again, strict=True)
            ]
            expected = [np.concatenate([y, y[:BATCH_SIZE]]) for y in expected]
    scales = [max(np.abs(y).max(), 1e-30) for y in expected]
    differences = [
        np.abs(ours - theirs).max() / scale
        for ours, theirs, scale in zip(found, expected, scales, strict=True)
    ]
    difference = float(np.max(differences))  # NaN, if one of them is
    tolerance = TOLERANCES[report.quantization]
    if not difference <= tolerance:  # as NaN is not
        raise ExportError(
            f"The {report.format} file (quantization={report.quantization!r}) "
            f"differs from Keras by {difference:.2g} of the largest output, "
            f"more than {tolerance:g}. Nothing was written to {report.path}. "
            + (
                "Give more, or more typical, representative_data."
                if report.quantization == "int8"
                else "Please report this with the model."
            )
        )
    agreement = None
    if expected[0].ndim == 2 and expected[0].shape[1] > 1:
        same = found[0].argmax(axis=1) == expected[0].argmax(axis=1)
        agreement = float(same.mean())
    return dataclasses.replace(
        report,
        latency_ms=runtime.latency_ms([array[:1] for array in samples]),
        difference=difference,
        agreement=agreement,
        batch_sizes=tuple(sizes),
    )


def _size(path):
    if path.is_file():
        return os.path.getsize(path)
    return sum(os.path.getsize(p) for p in path.rglob("*") if p.is_file())
