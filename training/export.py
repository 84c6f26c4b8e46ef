"""Exports a finished run for a runtime without Keras, and tests the file.

    python training/export.py RUN_DIR --format litert
    python training/export.py RUN_DIR --format litert --quantization int8
    python training/export.py RUN_DIR --format onnx --output model.onnx

writes `RUN_DIR/model.tflite` (`model_int8.tflite`, `model.onnx`,
`saved_model/`) and a JSON file beside it (`model.json`, `model_int8.json`,
`model.onnx.json`, `saved_model.json`): labels, input, normalisation, scores,
licence of the data. The file is run in its own runtime:
compared with Keras on training images, which calibrate 8-bit integers as well,
and scored on the test split, upright and turned. `saved_models/predict.py` runs
a LiteRT file with its JSON.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import evaluate
import keras
import numpy as np
from data import scale
from finished_run import read_data
from finished_run import read_run
from report import tested_on
from rich import console
from rich import markup
from rich import table
from run_directory import checksum
from run_directory import read_json
from run_directory import write_json

import keras_sre
from keras_sre.equivariance.symmetries import grid_poses
from keras_sre.exporting import runtimes

FORMATS = {
    "litert": "model{}.tflite",
    "onnx": "model.onnx",
    "saved_model": "saved_model",
}
NUM_SAMPLES = 100  # training images, for calibration and comparison
NUM_TURNED = 32  # images whose class is looked at in all poses of the grid
ANGLES = {2: tuple(range(0, 90, 10)), 3: (0, 30, 60)}  # of a quarter turn


LARGE_BATCHES = ("onnx", "saved_model")  # run faster; LiteRT does not


class ExportedModel:
    """An exported file as `evaluate` takes a model.

    Args:
        path: of the file.
        format: one of `FORMATS`.
        uint8_input: bool, whether it takes pixels as they are.
    """

    def __init__(self, path, format, uint8_input):
        self.name = pathlib.Path(path).name
        self.uint8_input = uint8_input
        self._one_by_one = format not in LARGE_BATCHES
        self._runtime = runtimes.RUNTIMES[format](path)

    def predict_on_batch(self, images):
        """Returns the scores of images that are scaled to -1..1."""
        if self.uint8_input:
            images = np.rint((images + 1) * 127.5).astype("uint8")
        size = 1 if self._one_by_one else len(images)
        return self._runtime.run([images], batch_size=size)[0]


def run(
    folder,
    format,
    quantization=None,
    uint8_input=False,
    output=None,
    root=None,
    score=True,
):
    """Exports one run directory; returns the contents of the JSON file.

    Args:
        folder: run directory.
        format: one of `FORMATS`.
        quantization: as in `keras_sre.export`.
        uint8_input: bool, whether scaling becomes a part of the file.
        output: path of the file; `None` is one in `folder`.
        root: folder of the MedMNIST files; `None` is the run's.
        score: bool, whether to test the file on the test split. It is
            compared with Keras on training images in any case.
    """
    folder = pathlib.Path(folder)
    suffix = f"_{quantization}" if quantization else ""
    output = pathlib.Path(output or folder / FORMATS[format].format(suffix))
    side_car = _side_car(output, format)
    config, metrics, model = read_run(folder)
    dataset = read_data(folder, config, root)
    images = dataset.splits["train"][0]
    if uint8_input and images.dtype != np.uint8:
        raise ValueError(
            f"Received --uint8-input for {dataset.name}, whose images are "
            "no 8-bit pixels."
        )
    chosen = np.random.default_rng(0).permutation(len(images))[:NUM_SAMPLES]
    images = images[np.sort(chosen)]
    if uint8_input:
        pixels = keras.Input(dataset.image_shape, dtype="uint8", name="pixels")
        scaled = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
        model = keras.Model(pixels, model(scaled), name=model.name)
    report = keras_sre.export(
        model,
        output,
        format=format,
        quantization=quantization,
        representative_data=images if uint8_input else scale(images),
    )
    scores = {}
    if score:
        exported = ExportedModel(output, format, uint8_input)
        scores = _scores(exported, dataset, config)
    description = {
        "model": config["model"],
        "dataset": dataset.name,
        "licence_of_data": config["dataset_licence"],
        "task": config["task"],
        "labels": config["classes"],
        "input_shape": list(dataset.image_shape),
        "input_dtype": "uint8" if uint8_input else "float32",
        "normalisation": _normalisation(dataset, uint8_input),
        "value_range": dataset.value_range,
        "padded": dataset.found is not None,  # what is not square
        "resized_from": config["size"],
        "keras_sre": keras_sre.__version__,
        "format": format,
        "quantization": quantization,
        "sha256": checksum(output) if output.is_file() else None,
        "bytes": report.bytes,
        "latency_ms": report.latency_ms,
        "difference": report.difference,
        "agreement": report.agreement,
        **scores,
        "keras": {name: metrics[name] for name in ("upright", "rotated")},
        "keras_split": tested_on([metrics]),
    }
    write_json(side_car, description)
    return description


def _side_car(output, format):
    """Returns the path of the JSON file, which takes the place of no other.

    Raises:
        ValueError: if it would.
    """
    name = output.stem if format == "litert" else output.name
    path = output.with_name(f"{name}.json")
    try:
        foreign = read_json(path).get("format") != format
    except ValueError:  # there is none, or it is damaged
        foreign = False
    if foreign:
        raise ValueError(
            f"Received --output {output}, whose description would take the "
            f"place of {path}, which is of something else. Choose a new name."
        )
    return path


def _normalisation(dataset, uint8_input):
    """Returns what pixels 0..255 are scaled by, `None` if they are not."""
    if dataset.value_range != (0, 255):
        return None
    if uint8_input:
        return {"scale": 1, "offset": 0}
    return {"scale": 1 / 127.5, "offset": -1}


def _scores(exported, dataset, config):
    """Returns scores on the test split and the constancy of classes."""
    images, labels = dataset.splits["test"]
    rank = images.ndim - 2
    scores = evaluate.evaluate(
        exported,
        images,
        labels,
        dataset.task,
        config["interpolation"],
        angles=ANGLES[rank],
    )
    poses = grid_poses(scale(images[:NUM_TURNED]), rank)
    classes = [exported.predict_on_batch(pose).argmax(axis=1) for pose in poses]
    constant = (np.stack(classes) == classes[0]).all(axis=0)
    return {
        **scores,
        "constant_under_grid_symmetries": float(constant.mean()),
    }


def print_description(description):
    title = f"{description['dataset']}, test split"
    grid = table.Table(title=markup.escape(title))
    for column in ("", "upright", "rotated mean", "rotated worst"):
        grid.add_column(column, justify="left" if not column else "right")
    name = description["quantization"] or description["format"]
    keras_name = "Keras"
    if description["keras_split"] != "test":  # of a run with --split val
        keras_name = f"Keras, {description['keras_split']}"
    for row, scores in (
        (keras_name, description["keras"]),
        (name, description),
    ):
        grid.add_row(
            row,
            f"{100 * scores['upright']['accuracy']:.1f} %",
            f"{100 * scores['rotated']['mean_accuracy']:.1f} %",
            f"{100 * scores['rotated']['min_accuracy']:.1f} %",
        )
    console.Console(width=96).print(grid)
    constant = 100 * description["constant_under_grid_symmetries"]
    print(f"The same class in all poses of the grid: {constant:.1f} %")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=pathlib.Path, metavar="RUN_DIR")
    parser.add_argument("--format", choices=FORMATS, default="litert")
    parser.add_argument(
        "--quantization",
        choices=("float16", "dynamic", "int8"),
        help="LiteRT: 16-bit weights, 8-bit weights, 8-bit integers throughout",
    )
    parser.add_argument(
        "--uint8-input",
        action="store_true",
        help="scale within the file: it takes pixels 0..255 as they are",
    )
    parser.add_argument("--output", help="path of the file (in RUN_DIR)")
    parser.add_argument("--root", help="folder of the MedMNIST .npz files")
    args = parser.parse_args(argv)
    try:
        description = run(
            args.run,
            args.format,
            args.quantization,
            args.uint8_input,
            args.output,
            args.root,
        )
    except (ValueError, OSError, keras_sre.ExportError) as error:
        sys.exit(f"export.py: {error}")
    except KeyboardInterrupt:
        sys.exit("export.py: interrupted.")
    print_description(description)


if __name__ == "__main__":
    main()
