"""Scores of a classifier on upright, turned and mirrored test images.

    python training/evaluate.py RUN_DIR

tests the model of a run directory again and prints the table; the angles and
the split can be chosen. The protocol is the SRE-Conv paper's: 37 angles (3D: 13
about each of three axes), nearest neighbour, gaps filled with 0 after scaling,
which is mid-grey. Corners of a turned square are lost, so there is a second
table in which all but the inscribed disc (ball) is set to 0, at every angle.
"""

import argparse
import contextlib
import io
import math
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import report
import tqdm
from data import SPLITS
from data import scale
from distribute import ONE_DEVICE
from finished_run import read_data
from finished_run import read_run
from run_directory import MODEL

from keras_sre import transforms

ANGLES = {2: tuple(range(0, 361, 10)), 3: tuple(range(0, 361, 30))}
BATCH_PIXELS = 2**17  # of all images of a batch: 128 of 32x32, 4 of 32x32x32
INVARIANT = 1e-4  # largest change of a probability that counts as rounding
NUM_CHECKED = 256  # images that quarter turns are tried on


def _unchanged(images):
    return images


def evaluate(
    model,
    images,
    labels,
    task,
    interpolation="nearest",
    masked=False,
    angles=None,
    progress=True,
    devices=ONE_DEVICE,
):
    """Returns the scores that `metrics.json` holds.

    Images that differ by a quarter turn are the same pixels in another order.
    Where the model does not notice quarter turns of the first upright images,
    each such set of angles is therefore tested once.

    Args:
        model: Keras classifier with probabilities as output.
        images: array of shape `(n, *spatial, channels)`, as in `Dataset`.
        labels: array as `Task` describes.
        task: `Task`.
        interpolation: `"nearest"` or `"bilinear"`.
        masked: bool, whether to set all but the inscribed disc to 0.
        angles: degrees to turn by; `None` is the paper's.
        progress: bool, whether to show a progress bar.
        devices: as of `distribute.devices_for`.

    Returns:
        Dict of `"upright"`, `"rotated"` and `"flipped"`; all scores are
        fractions in 0..1.
    """
    rank = images.ndim - 2
    angles = ANGLES[rank] if angles is None else angles
    axes = (None,) if rank == 2 else tuple(transforms.PLANES)
    prepare = transforms.mask_ball if masked else _unchanged

    def scores_of(images, transform, *arguments):
        return predict(
            model,
            images,
            lambda batch: prepare(transform(batch, *arguments)),
            devices,
        )

    upright = scores_of(images, _unchanged)
    some = images[:NUM_CHECKED]
    quarter_turns = len(set(images.shape[1:-1])) == 1 and all(
        np.abs(
            scores_of(some, transforms.rotate, 90, interpolation, axis)
            - upright[: len(some)]
        ).max()
        < INVARIANT
        for axis in axes
    )
    period = 90 if quarter_turns else 360
    accuracies, aucs, known = {}, [], {(None, 0): upright}
    for axis, angle in tqdm.tqdm(
        [(axis, angle) for axis in axes for angle in angles],
        desc=f"{model.name}: testing",
        unit="angle",
        disable=not progress,
    ):
        turn = angle % period
        pose = (axis, turn) if turn else (None, 0)
        if pose not in known:
            known[pose] = scores_of(
                images, transforms.rotate, turn, interpolation, axis
            )
        accuracies[f"{axis or ''}{angle}"] = task.accuracy(labels, known[pose])
        aucs.append(task.auc(labels, known[pose]))
    flips = {
        direction: task.accuracy(
            labels, scores_of(images, transforms.flip, direction)
        )
        for direction in transforms.FLIPS[rank]
    }
    values = list(accuracies.values())
    return {
        "upright": task.scores(labels, upright),
        "rotated": {
            "mean_accuracy": float(np.mean(values)),
            "std_accuracy": float(np.std(values)),
            "min_accuracy": float(np.min(values)),
            "mean_auc": float(np.mean(aucs)),
            "per_angle": accuracies,
        },
        "flipped": {
            "mean_accuracy": float(np.mean(list(flips.values()))),
            "per_flip": flips,
        },
    }


def predict(model, images, transform=_unchanged, devices=ONE_DEVICE):
    """Returns probabilities `(n, classes)` for images as in `Dataset`.

    They are scaled and transformed batch by batch; all batches have one
    shape, since each shape costs a compilation.
    """
    count = len(images)
    batch_size = max(1, BATCH_PIXELS // math.prod(images.shape[1:-1]))
    batch_size = devices.fill_up(batch_size)
    outputs = []
    for first in range(0, count, batch_size):
        batch = scale(images[first : first + batch_size])
        batch = transform(batch)
        missing = batch_size - len(batch)
        batch = np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)])
        outputs.append(devices.predict(model, batch))
    return np.concatenate(outputs)[:count].astype("float64")


def all_right(models, images, labels):
    """Returns a mask of the images whose one label all models get right."""
    guesses = [predict(model, images).argmax(axis=1) for model in models]
    return np.logical_and.reduce([guess == labels for guess in guesses])


def official_scores(labels, scores, task):
    """Returns AUC and accuracy by MedMNIST's own evaluator."""
    with contextlib.redirect_stdout(io.StringIO()):
        from medmnist.evaluator import getACC
        from medmnist.evaluator import getAUC
    try:
        auc = float(getAUC(labels, scores, task.kind))
    except ValueError:  # a class is absent
        auc = float("nan")
    return {"accuracy": float(getACC(labels, scores, task.kind)), "auc": auc}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=pathlib.Path, metavar="RUN_DIR")
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--root", help="folder of the MedMNIST .npz files")
    parser.add_argument("--angles", type=float, nargs="+", metavar="DEGREES")
    parser.add_argument("--interpolation", choices=("nearest", "bilinear"))
    parser.add_argument("--masked", action="store_true", help="disc only")
    args = parser.parse_args(argv)
    try:
        results = [
            _evaluate_again(folder, args)
            for folder in (args.run, args.run / "plain")
            if folder == args.run or (folder / MODEL).is_file()
        ]
        title = f"{args.run}: accuracy, split {args.split}"
        report.print_table(results, title)
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate.py: {error}")
    except KeyboardInterrupt:
        sys.exit("evaluate.py: interrupted.")


def _evaluate_again(folder, args):
    config, metrics, model = read_run(folder)
    dataset = read_data(folder, config, args.root)
    tested = evaluate(
        model,
        *dataset.splits[args.split],
        dataset.task,
        args.interpolation or config["interpolation"],
        args.masked,
        args.angles and [int(a) if a % 1 == 0 else a for a in args.angles],
    )
    metrics.update(tested)
    return metrics


if __name__ == "__main__":
    main()
