"""Quantizes a LiteRT file, so that integers are as symmetric as floats.

By `litert-quantizer`, not by TensorFlow's converter: it takes a file, needs
seconds, lets each operation be treated by itself, and leaves the scales to us
(`ranges.py`).
"""

import collections
import functools
import re

from keras_sre.exporting.formats import quiet
from keras_sre.exporting.formats import require
from keras_sre.exporting.graphs import graphs_of
from keras_sre.exporting.ranges import ranges_of
from keras_sre.ops.responses import NORM_SCOPE

# What works on each value of a map by itself, as the quantizer names it.
ELEMENTWISE = (
    *("ADD", "SUB", "MUL", "DIV", "SQRT", "RSQRT", "MAXIMUM"),
    *("RELU", "HARD_SWISH", "GELU", "TANH", "LOGISTIC"),
    *("CONCATENATION", "RESHAPE", "TRANSPOSE"),
)


def quantize(path, mode, samples, input_names, channels_last=True):
    """Replaces a float32 `.tflite` file by a quantized one.

    Args:
        path: of the file, with inputs of batch size 1.
        mode: `"float16"`, `"dynamic"` or `"int8"`.
        samples: list of arrays, one for each input, with equal first axes.
        input_names: list of str, the names of those inputs.
        channels_last: bool, whether their last axis is that of the channels,
            else the first after the batch.
    """
    require("litert_quantizer")
    with quiet():
        from litert_quantizer import quantizer

        recipes = {
            "float16": _float16,
            "dynamic": _dynamic,
            "int8": functools.partial(_int8, path),
        }
        ranges = None
        if mode == "int8":
            ranges = ranges_of(path, samples, input_names, channels_last)
        quantized = quantizer.Quantizer(str(path), recipes[mode]()).quantize(
            ranges, enable_progress_bar=False, enable_progress_report=False
        )
    path.write_bytes(quantized.quantized_model)


def _float16():
    from litert_quantizer import algorithm_manager
    from litert_quantizer import qtyping

    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    manager = _recipe_manager()
    for operation in _products():
        manager.add_quantization_config(
            ".*",
            operation,
            config,
            algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    return manager.get_quantization_recipe()


def _dynamic():
    manager = _recipe_manager()
    for operation in _products():  # depthwise ones would be slow
        manager.add_dynamic_config(".*", operation, num_bits=8)
    return manager.get_quantization_recipe()


def _int8(path):
    from litert_quantizer import algorithm_manager
    from litert_quantizer import qtyping

    names, no = qtyping.TFLOperationName, algorithm_manager.AlgorithmName
    manager = _recipe_manager()
    manager.add_static_config(
        ".*",
        names.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    # All channels of a ring sum have the same taps, hence one scale.
    manager.add_static_config(
        ".*",
        names.DEPTHWISE_CONV_2D,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )
    for operation, scopes in _scopes_of_floats(path).items():
        manager.add_quantization_config(
            f"^({'|'.join(map(re.escape, scopes))})$",
            operation,
            algorithm_key=no.NO_QUANTIZE,
        )
    return manager.get_quantization_recipe()


def _scopes_of_floats(path):
    """Returns which operations are not to be quantized: scopes by name.

    Squares have twice the range in decades: 8 bits do not hold them. From
    there on to the next product or pooling (the norm, its normalisation, which
    norms keep from being folded, the sum with a shortcut, the activation) a map
    would be rounded at each step; it stays floats. Means over a map are taken
    of integers, whose sum is the same in every order.
    """
    scopes = collections.defaultdict(list)
    for operations, _ in graphs_of(path):
        floats = set()
        for name, inputs, outputs, scope in operations:
            if name is not None and name not in ELEMENTWISE:
                continue
            # Beside ring sums, which are integers, a map is rounded with them.
            enough = all if name == "CONCATENATION" else any
            if NORM_SCOPE in scope or enough(
                tensor in floats for tensor in inputs
            ):
                floats.update(outputs)
                if name is not None:
                    scopes[name].append(scope)
    return scopes


def _recipe_manager():
    from litert_quantizer import recipe_manager

    return recipe_manager.RecipeManager()


def _products():
    from litert_quantizer import qtyping

    names = qtyping.TFLOperationName
    return names.CONV_2D, names.FULLY_CONNECTED
