"""Classifies images with an exported `.tflite` file, without Keras.

    python predict.py MODEL.tflite IMAGE [IMAGE ...]
    python predict.py MODEL.tflite ../pneumoniamnist.npz --limit 5 --json

needs NumPy, Pillow and `ai-edge-litert`, and the `.json` file that
`training/export.py` wrote beside the model. Images may have any size and mode:
they become grey or RGB and are resized. An `.npz` file holds an array `images`,
or `test_images` as MedMNIST's do: `(n, height, width)` or `(n, height, width,
3)`, volumes `(n, depth, height, width)`, 8-bit.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from PIL import ImageOps

KEYS = ("images", "test_images")


class Classifier:
    """An exported model and what its `.json` file says of it."""

    def __init__(self, path, threads=1):
        path = pathlib.Path(path)
        try:
            described = json.loads(path.with_suffix(".json").read_text())
            self.labels = described["labels"]
            self.shape = tuple(described["input_shape"])
            self.normalisation = described["normalisation"]
            self.multi_label = described["task"].startswith("multi-label")
            self.padded = described.get("padded", False)
            expected = described["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path.with_suffix('.json')} does not describe a model: "
                f"{error!r}. It is written by training/export.py."
            ) from error
        if self.normalisation is None:
            raise ValueError(
                f"{path} takes images that are standardised one by one, or "
                "have another range than 8-bit pixels."
            )
        _check(path, expected)
        try:
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is no LiteRT model: {error}") from error
        self._interpreter = interpreter
        (self._input,) = interpreter.get_input_details()
        (self._output,) = interpreter.get_output_details()

    def __call__(self, pixels):
        """Returns the probabilities for one image as `fit` returns it."""
        scale, zero = self._input["quantization"]
        dtype = self._input["dtype"]
        x = pixels
        if dtype != np.uint8:
            x = x * np.float32(self.normalisation["scale"])
            x = x + np.float32(self.normalisation["offset"])
        if dtype == np.int8:
            x = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127)
        self._interpreter.set_tensor(
            self._input["index"], x[None].astype(dtype)
        )
        self._interpreter.invoke()
        (y,) = self._interpreter.get_tensor(self._output["index"])
        if y.dtype == np.int8:
            scale, zero = self._output["quantization"]
            y = (y.astype("float32") - zero) * np.float32(scale)
        return y

    def fit(self, pixels):
        """Returns an 8-bit image or volume in the model's shape."""
        *sizes, channels = self.shape
        if pixels.ndim == len(sizes):
            pixels = np.repeat(pixels[..., None], channels, axis=-1)
        if pixels.dtype != np.uint8 or pixels.ndim != len(self.shape):
            raise ValueError(
                f"an array of shape {pixels.shape} and type {pixels.dtype}; "
                f"expected 8-bit of {len(sizes)} axes (and channels)"
            )
        if pixels.shape[-1] != channels:
            raise ValueError(
                f"{pixels.shape[-1]} channels; expected {channels}"
            )
        if 0 in pixels.shape:
            raise ValueError(f"an empty array of shape {pixels.shape}")
        if self.padded:
            pixels = _pad(pixels)
        for axis in reversed(range(len(sizes))):  # as Pillow: width first
            pixels = _resize(pixels, axis, sizes[axis])
        return pixels


def _check(path, expected):
    """Raises ValueError if a file is not the one that was described."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}.") from error
    if found != expected:
        raise ValueError(
            f"{path} is not the file that {path.with_suffix('.json')} is "
            "about, or was damaged. Export it again."
        )


def _pad(pixels):
    """Adds black to the shorter sides, as `training/own_data.py` says."""
    *sizes, _ = pixels.shape
    missing = [max(sizes) - size for size in sizes]
    widths = [(count // 2, count - count // 2) for count in missing]
    return np.pad(pixels, [*widths, (0, 0)])


def _resize(pixels, axis, size):
    """Resizes one axis, bilinear."""
    lines = np.moveaxis(pixels, axis, -1)
    rows = np.ascontiguousarray(lines).reshape(-1, lines.shape[-1])
    rows = Image.fromarray(rows).resize(
        (size, len(rows)), Image.Resampling.BILINEAR
    )
    resized = np.asarray(rows).reshape(*lines.shape[:-1], size)
    return np.moveaxis(resized, -1, axis)


def read(path, classifier, limit):
    """Yields `(name, pixels)` for each image of a file.

    Raises:
        ValueError: or `OSError`, if it holds none.
    """
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            key = next((key for key in KEYS if key in arrays), None)
            if key is None:
                raise ValueError(f"it holds no array {' or '.join(KEYS)}")
            for index, pixels in enumerate(arrays[key][:limit]):
                yield f"{path.name}[{index}]", classifier.fit(pixels)
        return
    if len(classifier.shape) != 3:
        raise ValueError("the model takes volumes: give an .npz file")
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        mode = "L" if classifier.shape[-1] == 1 else "RGB"
        if image.mode.startswith(("I", "F")):  # 16 bits and more: full range
            values = np.asarray(image, "float64")
            if not np.isfinite(values).all():
                raise ValueError("values that are not finite")
            span = np.ptp(values) or 1.0
            values = np.rint(255 * (values - values.min()) / span)
            image = Image.fromarray(values.astype("uint8"))
        pixels = np.asarray(image.convert(mode))
    yield str(path), classifier.fit(pixels)


def classify(classifier, paths, limit=None):
    """Returns a list of results and one of lines on what could not be read."""
    results, complaints = [], []
    for path in map(pathlib.Path, paths):
        try:
            for name, pixels in read(path, classifier, limit):
                start = time.perf_counter()
                scores = classifier(pixels)
                seconds = time.perf_counter() - start
                best = int(np.argmax(scores))
                found = {
                    "image": name,
                    "label": classifier.labels[best],
                    "probability": float(scores[best]),
                    "probabilities": {
                        label: float(score)
                        for label, score in zip(
                            classifier.labels, scores, strict=True
                        )
                    },
                    "milliseconds": 1e3 * seconds,
                }
                if classifier.multi_label:
                    found["labels"] = [
                        label
                        for label, score in found["probabilities"].items()
                        if score > 0.5
                    ]
                results.append(found)
        except Exception as error:  # whatever a decoder makes of a bad file
            reason = " ".join(str(error).split()) or type(error).__name__
            complaints.append(f"{path}: {reason}")
    return results, complaints


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="a .tflite file, its .json beside it")
    parser.add_argument("inputs", nargs="+", metavar="IMAGE")
    parser.add_argument("--limit", type=int, help="images of each .npz file")
    parser.add_argument("--threads", type=int, default=1, help="(1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    for name in ("threads", "limit"):
        value = getattr(args, name)
        if value is not None and value < 1:
            sys.exit(f"predict.py: --{name} {value}; use 1 or more.")
    for stream in (sys.stdout, sys.stderr):  # names of files may be any bytes
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(args)
    except ValueError as error:
        sys.exit(f"predict.py: {error}")
    except KeyboardInterrupt:
        sys.exit("predict.py: interrupted.")
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args):
    classifier = Classifier(args.model, args.threads)
    results, complaints = classify(classifier, args.inputs, args.limit)
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        for found in results:
            print(
                f"{found['image']:32} {found['label']:28} "
                f"{100 * found['probability']:5.1f} % "
                f"{found['milliseconds']:7.2f} ms"
            )
        if results:
            median = np.median([found["milliseconds"] for found in results])
            print(f"{len(results)} images, median {median:.2f} ms each")
    sys.stdout.flush()
    for line in complaints:
        print(f"predict.py: {line}", file=sys.stderr)
    if complaints:
        sys.exit(1)


if __name__ == "__main__":
    main()
