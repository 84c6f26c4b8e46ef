"""Trains a classifier on upright images and tests it on turned ones.

    python training/fit.py

trains an SRE-ResNet-18 and its plain twin on real textures that ship with
scikit-image (about three minutes on two cores, no network), prints one table
and writes `saved_models/textures_sre_resnet18/`: `model.keras`, `config.json`,
`history.csv`, `metrics.json`, `plots/accuracy_by_angle.png`, and the twin's
files in `plain/`. Training sees no rotation and no reflection.

    python training/fit.py --dataset breastmnist --root FOLDER

does the same on a MedMNIST v2 file. The epoch is selected on the validation
split; the test split is used once.
"""

import argparse
import csv
import dataclasses
import os
import pathlib
import platform
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import report
from config import RunConfig
from data import DATASETS
from data import load_dataset
from evaluate import evaluate
from loop import Batches
from loop import EpochClock
from loop import even_batch
from models import MODELS
from models import build_model
from models import twin_of
from run_directory import complete_directory
from run_directory import write_json
from tqdm.keras import TqdmCallback

import keras_sre


def run(config, output, twin=True, progress=True):
    """Trains, evaluates and writes one run directory.

    Args:
        config: `RunConfig`.
        output: path of the run directory. An earlier run there is replaced,
            once the new one is complete.
        twin: bool, whether to train the plain network beside an SRE one.
        progress: bool, whether to show progress bars.

    Returns:
        List of the contents of `metrics.json`: the model's, then its twin's.
    """
    config = config.resolve()
    with complete_directory(pathlib.Path(output)) as folder:
        dataset = load_dataset(
            config.dataset, config.root, config.size, config.limit
        )
        results = [train_and_test(config, dataset, folder, progress)]
        if twin and twin_of(config.model) != config.model:
            plain = dataclasses.replace(config, model=twin_of(config.model))
            (folder / "plain").mkdir()
            results.append(
                train_and_test(plain, dataset, folder / "plain", progress)
            )
        (folder / "plots").mkdir()
        report.plot_angles(
            results,
            folder / "plots" / "accuracy_by_angle.png",
            f"{config.dataset}: trained upright, tested at every angle",
        )
    return results


def train_and_test(config, dataset, folder, progress):
    """Trains one model, writes its files into `folder`, returns its metrics."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    model = build_model(
        config.model,
        dataset.image_shape,
        len(dataset.classes),
        config.width,
        kernel_sizes=config.kernel_sizes,
        num_rings=config.num_rings,
        ring_profile=config.ring_profile,
    )
    history, seconds = train(model, config, dataset, folder, progress)
    metrics = {
        "dataset": config.dataset,
        "model": config.model,
        "params": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "seed": config.seed,
        "epochs": config.epochs,
        **evaluate(
            model, *dataset.splits["test"], len(dataset.classes), progress
        ),
        "train_seconds": sum(seconds),
        # The first epoch compiles, so it is not typical.
        "seconds_per_epoch": float(np.median(seconds[1:] or seconds)),
    }
    model.save(folder / "model.keras", include_optimizer=False)
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history, "seconds"])
        rows = zip(*history.values(), seconds, strict=True)
        writer.writerows([i, *row] for i, row in enumerate(rows, start=1))
    write_json(folder / "config.json", _describe(config, dataset))
    write_json(folder / "metrics.json", metrics)
    return metrics


def train(model, config, dataset, folder, progress):
    """Fits the model; returns its history and the seconds of every epoch."""
    images, labels = dataset.splits["train"]
    batch_size = min(config.batch_size, len(images))
    batches = Batches(images, labels, batch_size, config.seed)
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(
                config.learning_rate, config.epochs * len(batches), 1e-4
            ),
            momentum=0.9,
            weight_decay=1e-3,
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    best = folder / "checkpoint.weights.h5"
    clock = EpochClock()
    callbacks = [
        clock,
        keras.callbacks.ModelCheckpoint(
            best,
            monitor="val_loss",
            save_best_only=True,
            save_weights_only=True,
        ),
    ]
    if progress:
        callbacks.append(
            TqdmCallback(
                verbose=0, desc=f"{model.name}: training", dynamic_ncols=True
            )
        )
    history = model.fit(
        batches,
        epochs=config.epochs,
        validation_data=dataset.splits["val"],
        validation_batch_size=even_batch(len(dataset.splits["val"][0])),
        callbacks=callbacks,
        verbose=0,
    )
    if best.exists():
        model.load_weights(best)
        best.unlink()
    return history.history, clock.seconds


def _describe(config, dataset):
    return {
        **dataclasses.asdict(config),
        "dataset_md5": dataset.md5,
        "classes": list(dataset.classes),
        "num_images": {k: len(v[1]) for k, v in dataset.splits.items()},
        "backend": keras.backend.backend(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "keras_sre": keras_sre.__version__,
            "numpy": np.__version__,
        },
    }


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dataset", default="textures", help=f"one of {', '.join(DATASETS)}")
    add("--root", help="folder of the MedMNIST .npz files (~/.medmnist)")
    add("--size", type=int, help="pixels per side (textures 32, else 28)")
    add(
        "--model",
        help=f"one of {', '.join(MODELS)}; trained without its "
        "plain twin if given (default: sre_resnet18 and its twin)",
    )
    add("--width", type=int, help="filters of stage 1 (textures 16, else 64)")
    add(
        "--kernel-sizes",
        type=int,
        nargs="+",
        metavar="K",
        help="odd ring kernel sizes, one per stage (textures 5 5 3 3, else "
        "9 9 5 5)",
    )
    add(
        "--num-rings",
        type=int,
        nargs="+",
        metavar="B",
        help="rings per kernel, one per stage (k // 2 + 1)",
    )
    add("--ring-profile", default="hard", help="hard, area or linear")
    add("--epochs", type=int, help="(textures 16, else 20)")
    add("--batch-size", type=int, default=32, help="(32)")
    add("--learning-rate", type=float, default=0.02, help="(0.02)")
    add("--seed", type=int, default=1, help="(1)")
    add("--precision", default="float32", help="float32, mixed_bfloat16, ...")
    add("--limit", type=int, help="keep this many images of each split")
    add("--output", help="run directory (saved_models/DATASET_MODEL)")
    return parser.parse_args(argv)


def main(argv=None):
    args = vars(parse_args(argv))
    # A stopped run cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output, model = args.pop("output"), args.pop("model")
    try:
        config = RunConfig(**args, model=model or "sre_resnet18")
        output = output or f"saved_models/{config.dataset}_{config.model}"
        results = run(config, output, twin=model is None)
    except (ValueError, OSError) as error:
        sys.exit(f"fit.py: {error}")
    except KeyboardInterrupt:
        sys.exit("fit.py: interrupted; nothing was written.")
    report.print_table(
        results, f"{config.dataset}: trained upright only; test accuracy"
    )
    print(f"Model, metrics and plots: {output}")


if __name__ == "__main__":
    main()
