"""The way from a model to a file that has been checked."""

import os
import pathlib
import tempfile

from keras_sre import validation
from keras_sre.data_format import data_format_of
from keras_sre.exporting import formats
from keras_sre.exporting import quantization as quantizer
from keras_sre.exporting.arguments import check
from keras_sre.exporting.samples import samples_of
from keras_sre.exporting.verification import TOLERANCES
from keras_sre.exporting.verification import ExportReport
from keras_sre.exporting.verification import verified

SUFFIXES = {".tflite": "litert", ".onnx": "onnx"}
# What a file is called until it is complete: writers look at the suffix.
PARTIAL_NAMES = {
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "saved_model": "model",
}


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
    convolutions, or slices and adds, and pointwise products, into which batch
    normalisation is folded, but for that of harmonics. LiteRT files hold
    built-in operations only.
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
            sizes where the format allows, and compare it with Keras; models of
            unknown sizes at an odd size, too, if they take it.

    Returns:
        `ExportReport`.

    Raises:
        ExportError: if the file differs from Keras by more than its format
            allows (relative to the largest output: 1e-4, float16 0.03,
            dynamic 0.2, int8 0.3).
        ValueError: if an argument is outside the range above, a package is
            missing, or the model cannot be expressed in the format.

    Example:

    >>> import keras
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
    check(model, path, format, quantization, representative_data)
    samples = samples_of(model, representative_data)
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
                formats.input_names(model),
                data_format_of(model) == "channels_last",
            )
        report = ExportReport(path, format, quantization, _size(partial))
        if verify:
            report = verified(report, model, partial, samples)
        if path.is_dir():
            path.rename(pathlib.Path(folder, "earlier"))
        partial.replace(path)
    return report


def _size(path):
    if path.is_file():
        return os.path.getsize(path)
    return sum(os.path.getsize(p) for p in path.rglob("*") if p.is_file())
