"""A file beside Keras: how much they differ, and what may not differ."""

import contextlib
import dataclasses
import pathlib

import keras
import numpy as np

from keras_sre.exporting import formats
from keras_sre.exporting import runtimes
from keras_sre.exporting.samples import samples_of_odd_sizes

# The largest difference from Keras that an export may have, relative to the
# largest output.
TOLERANCES = {None: 1e-4, "float16": 0.03, "dynamic": 0.2, "int8": 0.3}
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


def verified(report, model, path, samples):
    """Returns the report with what running the file shows."""
    names, expected = _predict(model, samples)
    with _as_export_errors(report):
        runtime = runtimes.RUNTIMES[report.format](
            path, formats.input_names(model), names
        )
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
    difference = _difference(report, found, expected)
    if (odd := samples_of_odd_sizes(model)) is not None:
        if (expected_of_odd := _predict_if_taken(model, odd)) is not None:
            with _as_export_errors(report):
                found_of_odd = runtime.run(odd, batch_size=1)
            of_odd = _difference(report, found_of_odd, expected_of_odd)
            difference = float(np.max([difference, of_odd]))
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


def _predict(model, samples):
    """Returns the names of outputs, if they have any, and the outputs."""
    structure = formats.input_structure(model)
    inputs = keras.tree.pack_sequence_as(structure, samples)
    outputs = model.predict(inputs, batch_size=PREDICTED, verbose=0)
    if isinstance(outputs, dict):  # files list them in an order of their own
        return list(outputs), keras.tree.flatten(list(outputs.values()))
    return None, keras.tree.flatten(outputs)


def _predict_if_taken(model, samples):
    """Returns the outputs, `None` if a model does not take these sizes."""
    try:
        return _predict(model, samples)[1]
    except Exception:  # each backend has errors of its own
        return None


@contextlib.contextmanager
def _as_export_errors(report):
    """Makes one line of what a runtime raises, each of which has its own."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ExportError(
            f"The {report.format} file does not run: {reason} Nothing was "
            f"written to {report.path}."
        ) from error


def _difference(report, found, expected):
    """Returns the largest difference, relative to the largest output.

    Raises:
        ExportError: if shapes differ.
    """
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape:
            raise ExportError(
                f"The {report.format} file returns shape {ours.shape} where "
                f"Keras returns {theirs.shape}. Nothing was written to "
                f"{report.path}. Please report this with the model."
            )
    differences = [
        np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return float(np.max(differences))  # NaN, if one of them is
