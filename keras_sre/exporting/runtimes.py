"""Runs an exported file in its own runtime."""

import inspect
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import weakref

import numpy as np

from keras_sre.exporting.formats import require

REPEATS = 15  # calls whose median is the latency; three more warm up


def by_name(names, arrays, order=None):
    """Returns the arrays for the inputs of these names, as a dict.

    Files list their inputs in an order of their own.

    Args:
        names: list of str, the inputs as the file lists them.
        arrays: list of arrays.
        order: list of str, the names of the arrays. `None`, or other names
            than those of the file: they come as the file lists them.
    """
    known = order is not None and set(order) == set(names)
    return dict(zip(order if known else names, arrays, strict=True))


def in_order(names, order=None):
    """Returns the names of a file's outputs in the order that Keras has.

    Args:
        names: the outputs as the file lists them.
        order: list of str, as Keras has them. `None`, or other names than
            those of the file: they are numbered.
    """
    if order is not None and set(order) == set(names):
        return order
    return sorted(names, key=lambda name: (len(name), name))


class LiteRT:
    """A `.tflite` file on one thread; floats in and out, also of integers."""

    def __init__(self, path, input_names=None, output_names=None):
        self._input_names, self._output_names = input_names, output_names
        (module,) = require("ai_edge_litert.interpreter")
        self._make = lambda: module.Interpreter(str(path), num_threads=1)
        self._runner = self._new_runner()

    def _new_runner(self):
        interpreter = self._make()
        signature, *_ = interpreter.get_signature_list()
        return interpreter.get_signature_runner(signature)

    def run(self, arrays, batch_size):
        """Returns the outputs for all samples, `batch_size` at a time."""
        count = len(arrays[0])
        batches = [
            self._run_batch([a[i : i + batch_size] for a in arrays])
            for i in range(0, count, batch_size)
        ]
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    def run_if_possible(self, arrays, batch_size):
        """As `run`, or `None` where the file is for one batch size only."""
        try:
            return self.run(arrays, batch_size)
        except (RuntimeError, ValueError):  # some reshapes hold the batch
            self._runner = self._new_runner()
            return None

    def latency_ms(self, arrays):
        feed = self._feed(arrays)
        return median_ms(lambda: self._runner(**feed))

    def _feed(self, arrays):
        details = self._runner.get_input_details()
        named = by_name(list(details), arrays, self._input_names)
        return {
            name: to_integers(array, details[name])
            for name, array in named.items()
        }

    def _run_batch(self, arrays):
        outputs = self._runner(**self._feed(arrays))
        details = self._runner.get_output_details()
        return [
            to_floats(outputs[name], details[name])
            for name in in_order(outputs, self._output_names)
        ]


def to_integers(array, detail):
    """Returns floats as the integers that a tensor of a LiteRT file takes."""
    scale, zero = detail["quantization"]
    if np.issubdtype(detail["dtype"], np.floating) or not scale:
        return array.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    integers = np.rint(array / np.float32(scale)) + zero
    return np.clip(integers, limits.min, limits.max).astype(detail["dtype"])


def to_floats(array, detail):
    """Undoes `to_integers`."""
    scale, zero = detail["quantization"]
    if np.issubdtype(array.dtype, np.floating) or not scale:
        return array
    return (array.astype("float32") - zero) * np.float32(scale)


class ONNX:
    """An `.onnx` file on one thread."""

    def __init__(self, path, input_names=None, output_names=None):
        self._input_names, self._output_names = input_names, output_names
        (module,) = require("onnxruntime")
        options = module.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = module.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def run(self, arrays, batch_size):
        names = [tensor.name for tensor in self._session.get_inputs()]
        outputs = [tensor.name for tensor in self._session.get_outputs()]
        if set(outputs) == set(self._output_names or ()):
            outputs = self._output_names
        batches = []
        for i in range(0, len(arrays[0]), batch_size):
            batch = [array[i : i + batch_size] for array in arrays]
            feed = by_name(names, batch, self._input_names)
            batches.append(self._session.run(outputs, feed))
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    run_if_possible = run

    def latency_ms(self, arrays):
        return median_ms(lambda: self.run(arrays, 1))


# Answers each line of JSON: a folder with inputs, a batch size, repeats.
_SERVE = """
import json, sys, time
import numpy as np
import tensorflow as tf
assert "keras_sre" not in sys.modules
tf.config.threading.set_intra_op_parallelism_threads(1)
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
def run(some):
    names = [t.name.split(":")[0] for t in serve.inputs[: len(some)]]
    feed = by_name(names, map(tf.constant, some), json.loads(sys.argv[2]))
    found = serve(**feed)
    order = in_order(found, json.loads(sys.argv[3]))
    return [found[name].numpy() for name in order]
for line in sys.stdin:
    folder, batch_size, repeats = json.loads(line)
    with np.load(f"{folder}/inputs.npz") as arrays:
        arrays = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    batches = [
        run([a[i : i + batch_size] for a in arrays])
        for i in range(0, len(arrays[0]), batch_size)
    ]
    outputs = [np.concatenate(parts) for parts in zip(*batches)]
    times = []
    for _ in range(3 + repeats if repeats else 0):
        start = time.perf_counter()
        run([a[:1] for a in arrays])
        times.append(1e3 * (time.perf_counter() - start))
    np.savez(f"{folder}/outputs.npz", *outputs)
    median = float(np.median(times[3:])) if times else None
    print(json.dumps(median), flush=True)
"""


class SavedModel:
    """A SavedModel in a process of its own that knows TensorFlow alone."""

    def __init__(self, path, input_names=None, output_names=None):
        self._errors = tempfile.TemporaryFile("w+")
        script = "".join(map(inspect.getsource, (by_name, in_order))) + _SERVE
        names = map(json.dumps, (input_names, output_names))
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(path), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        weakref.finalize(self, _end, self._process, self._errors)

    def run(self, arrays, batch_size):
        return self._serve(arrays, batch_size, repeats=0)[0]

    run_if_possible = run

    def latency_ms(self, arrays):
        return self._serve(arrays, 1, REPEATS)[1]

    def _serve(self, arrays, batch_size, repeats):
        with tempfile.TemporaryDirectory() as folder:
            np.savez(pathlib.Path(folder, "inputs.npz"), *arrays)
            request = json.dumps([folder, batch_size, repeats])
            try:
                print(request, file=self._process.stdin, flush=True)
            except BrokenPipeError:  # it ended, and says why below
                pass
            answer = self._process.stdout.readline()
            if not answer:
                self._process.wait()
                self._errors.seek(0)
                *_, reason = self._errors.read().splitlines() or [""]
                raise RuntimeError(f"The SavedModel does not run: {reason}")
            with np.load(pathlib.Path(folder, "outputs.npz")) as found:
                outputs = [found[f"arr_{i}"] for i in range(len(found.files))]
        return outputs, json.loads(answer)


def _end(process, errors):
    process.kill()
    process.communicate()
    errors.close()


RUNTIMES = {"litert": LiteRT, "onnx": ONNX, "saved_model": SavedModel}


def median_ms(call):
    times = []
    for _ in range(3 + REPEATS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[3:]))
