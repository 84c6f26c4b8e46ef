"""Writes a model in each format, its ring layers in the form that suits it.

| format | ring layers are |
|---|---|
| LiteRT, ONNX | small depthwise convolutions and pointwise ones |
| SavedModel | as in Keras: slices and adds, which TensorFlow compiles by XLA |
"""

import contextlib
import io
import logging
import warnings

import keras

from keras_sre.layers.base_ring_layer import BaseRingLayer
from keras_sre.ops.backend import uncompiled
from keras_sre.ops.ring_maps import composed

INPUT_BATCH = 1  # of LiteRT: with an unknown one dilated windows do not convert


@contextlib.contextmanager
def lowered(model, implementation):
    """Lets all ring layers of a model, nested ones too, run in one form.

    Nothing is compiled: what comes of the model is for other runtimes.
    """
    layers = [
        x for x in model._flatten_layers() if isinstance(x, BaseRingLayer)
    ]
    before = [layer.implementation for layer in layers]
    try:
        for layer in layers:
            layer.implementation = implementation
        with uncompiled():
            yield
    finally:
        for layer, earlier in zip(layers, before, strict=True):
            layer.implementation = earlier


def write_saved_model(model, path):
    with quiet():
        model.export(str(path), format="tf_saved_model", verbose=False)


def write_litert(model, path):
    import tensorflow as tf

    require("ai_edge_litert")
    signature = [_signature(model, INPUT_BATCH)]
    with lowered(model, "depthwise"), composed(), quiet():
        try:
            model.export(
                str(path),
                format="litert",
                verbose=False,
                input_signature=signature,
                target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
            )
        except OSError:  # a full disk
            raise
        except Exception as error:  # the converter has no class of its own
            raise ValueError(
                "LiteRT has no built-in operation for a part of this model: "
                f"{_first_line(error)}"
            ) from error


def write_onnx(model, path):
    with lowered(model, "depthwise"), quiet():
        require("tf2onnx", "onnx")
        model.export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=[_signature(model, None)],
        )


WRITERS = {
    "saved_model": write_saved_model,
    "litert": write_litert,
    "onnx": write_onnx,
}


def require(*packages):
    """Imports packages of the extra `export`, or says how to get them.

    Raises:
        ValueError: if one is missing.
    """
    import importlib

    try:
        return [importlib.import_module(package) for package in packages]
    except ImportError as error:
        raise ValueError(
            f"export needs {' and '.join(packages)}: {error}. "
            'Install them with pip install "keras-sre[export]".'
        ) from error


def input_structure(model):
    """Returns the inputs of a model as it takes them: one, or nested."""
    if isinstance(model, keras.Sequential):  # has no `input` before a call
        return model.inputs[0]
    return model.input


def input_names(model):
    return [tensor.name for tensor in model.inputs]


def _signature(model, batch):
    import tensorflow as tf

    return keras.tree.map_structure(
        lambda tensor: tf.TensorSpec(
            (batch, *tensor.shape[1:]), tensor.dtype, name=tensor.name
        ),
        input_structure(model),
    )


def _first_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def quiet():
    """Keeps what converters print and warn of to themselves."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
