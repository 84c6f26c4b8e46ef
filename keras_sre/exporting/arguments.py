"""What can be exported, and to where."""

import keyword
import re

import keras


def check(model, path, format, quantization, representative_data):
    """Raises a ValueError for what cannot be exported, or not to there."""
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
    for layer in model._flatten_layers(include_self=False):
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"Received a model whose layer {layer.name!r} has the dtype "
                f"policy {layer.dtype_policy.name!r}. Load the weights into a "
                "model that is float32 throughout and export that."
            )
    for tensor in model.inputs:
        if format != "onnx" and not _is_argument(tensor.name):
            raise ValueError(
                f"Received a model with an input named {tensor.name!r}. In "
                "these files a name is a letter, then letters, digits and any "
                "of _.-, and no keyword of Python. Rename the input: "
                "keras.Input(..., name=...)."
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


def _is_argument(name):
    """Returns whether TensorFlow takes a name for an argument of a file."""
    fits = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name)
    return bool(fits) and not keyword.iskeyword(name)


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
