"""Trains a classifier on upright images and tests it on turned ones.

    python training/fit.py

trains an SRE-ResNet-18 and its plain twin on real textures that ship with
scikit-image (about two minutes on two cores, no internet), prints one table
and writes `saved_models/textures_sre_resnet18/`: `model.keras`, `config.json`,
`history.csv`, `metrics.json`, `plots/*.png`, `model.tflite` for devices, and
the twin's files in `plain/`. Training sees no rotation and no reflection.

    python training/fit.py --dataset breastmnist --recipe paper

does the same on a MedMNIST v2 data set, downloaded if it is missing. The epoch
is selected on the validation split; the test split is used once. A run that was
stopped, by whatever, goes on with `--resume`.

    python training/fit.py --dataset PATH

does the same on your own images: a folder of class folders, already split or
not, or an `.npz` file with MedMNIST's keys. It says what it found.

    python training/fit.py --suite 2d --seeds 1 2 3

runs every MedMNIST set of images (or those named by `--dataset`), skips what is
finished and writes one table, `results.csv` and `results.md`. To choose between
settings add `--split val`: scores and plots are of the validation split then.

    python training/fit.py --distribute data

shares every batch among the devices of this machine, and `--distribute
multi-host` (JAX) among those of several, on each of which the same command is
started. `--batch-size` is that of all devices together.
"""

import dataclasses
import functools
import os
import pathlib
import platform
import shutil
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import child_process
import evaluate
import export
import keras
import numpy as np
import pandas as pd
import plots
import report
import suite
from config import RunConfig
from data import load_dataset
from data import short_name
from distribute import check_backend
from distribute import devices_for
from fit_flags import check_flags
from fit_flags import parse_args
from hosts import connect
from hosts import supervise
from loop import best_epoch
from loop import remove_progress
from loop import train
from models import has_twin
from models import model_of
from models import twin_of
from own_data import print_found
from run_directory import CONFIG
from run_directory import METRICS
from run_directory import complete_directory
from run_directory import finished_results
from run_directory import read_metrics
from run_directory import write_json

import keras_sre


def run(config, output, twin=True, progress=True, resume=False, logs=()):
    """Trains, evaluates and writes one run directory.

    Args:
        config: `RunConfig`.
        output: path of the run directory. An earlier run there is replaced,
            once the new one is complete.
        twin: bool, whether to train the plain network beside an SRE one.
        progress: bool, whether to show progress bars.
        resume: bool, whether to go on with an unfinished run, and to keep a
            finished one of the same settings.
        logs: any of `"tensorboard"`, `"wandb"`.

    Returns:
        List of the contents of `metrics.json`: the model's, then its twin's.
    """
    config = config.resolve()
    output = pathlib.Path(output)
    settings = config.settings()
    twin = twin and has_twin(config.model)
    devices = devices_for(config.distribute)
    if resume and (
        results := devices.from_chief(finished_results, output, settings, twin)
    ):
        return results
    directory = complete_directory(output, settings, resume)
    with devices.directory(directory) as folder:
        dataset = load_dataset(
            config.dataset, config.root, config.size, config.limit, progress
        )
        if dataset.found and progress and devices.is_chief:
            print_found(dataset)
        arguments = dataset, folder, progress, logs
        results = [train_and_test(config, *arguments)]
        if twin:
            plain = dataclasses.replace(config, model=twin_of(config.model))
            arguments = dataset, folder / "plain", progress, logs
            results.append(train_and_test(plain, *arguments))
        elif devices.is_chief:  # what may be left of a run with a twin
            shutil.rmtree(folder / "plain", ignore_errors=True)
        if devices.is_chief:
            plots.plot_run(results, dataset, folder)
    return results


def train_and_test(config, dataset, folder, progress, logs):
    """Trains one model, writes its files into `folder`, returns its metrics."""
    folder.mkdir(exist_ok=True)
    if not (folder / METRICS).exists():  # else finished before the run stopped
        devices = devices_for(config.distribute)
        if not devices.is_chief:
            progress, logs = False, ()
        with devices.scope():
            metrics = _train_and_test(
                config, dataset, folder, progress, logs, devices
            )
        write_json(folder / METRICS, metrics)
    remove_progress(folder)
    return read_metrics(folder)


def _train_and_test(config, dataset, folder, progress, logs, devices):
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    model = model_of(
        config,
        dataset.image_shape,
        len(dataset.classes),
        dataset.task.activation,
    )
    epochs = train(model, config, dataset, folder, progress, logs, devices)
    split = config.split or "test"
    images, labels = dataset.splits[split]
    test = images, labels, dataset.task, config.interpolation
    start = time.perf_counter()
    shown = {"progress": progress, "devices": devices}
    tested = evaluate.evaluate(model, *test, **shown)
    test_seconds = time.perf_counter() - start
    # The first epoch compiles, so it is not typical.
    typical = epochs[1:] or epochs
    metrics = {
        "dataset": dataset.name,
        "model": config.model,
        "params": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "seed": config.seed,
        "epochs": config.epochs,
        "augment_rotation": config.augment_rotation,
        "best_epoch": best_epoch(epochs),
        "split": split,
        **tested,
        "test_seconds": test_seconds,
        "train_seconds": sum(e["seconds"] for e in epochs),
        "seconds_per_epoch": _median(e["seconds"] for e in typical),
        "input_share": _median(
            e["input_seconds"] / e["seconds"] for e in typical
        ),
    }
    if config.dataset != "textures" and split == "test":
        metrics["masked"] = evaluate.evaluate(
            model, *test, masked=True, **shown
        )
    if dataset.official and split == "test":
        metrics["medmnist_evaluator"] = evaluate.official_scores(
            labels,
            evaluate.predict(model, images, devices=devices),
            dataset.task,
        )
    devices.inference_model(model).save(folder / "model.keras")
    history = pd.DataFrame(epochs, index=range(1, len(epochs) + 1))
    history.to_csv(folder / "history.csv", index_label="epoch")
    write_json(folder / CONFIG, _describe(config, dataset, devices))
    return metrics


def _median(values):
    return float(np.median(list(values)))


def _describe(config, dataset, devices):
    return {
        **dataclasses.asdict(config),
        "dataset_md5": dataset.md5,
        "dataset_licence": dataset.licence,
        "task": dataset.task.kind,
        "classes": list(dataset.classes),
        "num_images": {k: len(v[1]) for k, v in dataset.splits.items()},
        "num_devices": devices.num_devices,
        "backend": keras.backend.backend(),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "keras_sre": keras_sre.__version__,
            "numpy": np.__version__,
        },
    }


def main(argv=None):
    args = vars(parse_args(__doc__, argv))
    # A stopped run cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args["distribute"] == "multi-host":
        supervise(_run_or_exit, args)
    else:
        _run_or_exit(args)


def _run_or_exit(args):
    try:
        _run(args)
    except (
        *(ValueError, OSError),
        *(keras_sre.ExportError, child_process.ChildError),
    ) as error:
        sys.exit(f"fit.py: {error}")
    except KeyboardInterrupt:
        sys.exit(
            "fit.py: interrupted. Finished epochs are kept: give the same "
            "command with --resume to go on."
        )


def _run(args):
    output, resume, logs, datasets, seeds, which, compare = (
        args.pop(name)
        for name in (
            *("output", "resume", "log", "dataset", "seeds", "suite"),
            "compare",
        )
    )
    address = [
        args.pop(n) for n in ("coordinator", "num_processes", "process_id")
    ]
    twin = args["model"] is None
    check_flags(args, seeds)
    many = which or seeds or compare or len(datasets or ()) > 1
    if args["distribute"] == "multi-host":
        if many:
            raise ValueError(
                "Received --distribute multi-host with several runs. Start "
                "one for each data set and seed."
            )
        check_backend("multi-host")
        connect(*address)
    elif any(part is not None for part in address):
        raise ValueError(
            "Received --coordinator, --num-processes or --process-id without "
            "--distribute multi-host."
        )
    if many:
        configs = suite.make_configs(args, which, datasets, seeds)
        alone = functools.partial(child_process.run_alone, run)
        suite.run(configs, output, alone, twin, logs, compare)
        return
    config = RunConfig(dataset=(datasets or ["textures"])[0], **args)
    config = config.resolve()
    name = short_name(config.dataset)
    output = output or f"saved_models/{name}_{config.model}"
    results = run(config, output, twin, resume=resume, logs=logs)
    if devices_for(config.distribute).is_chief:
        report.print_results(results, name)
        print(f"Model, metrics and plots: {output}")
        if not config.split:
            print(f"For devices: {_export(pathlib.Path(output))}")


def _export(output):
    """Writes the LiteRT file of a finished run; returns what came of it."""
    path = output / export.FORMATS["litert"].format("")
    if path.exists():  # of a run that was finished before
        return path
    try:
        found = export.run(output, "litert", score=False)
    except ValueError as error:  # another backend, no extra `export`, ...
        return f"no {path.name}. {error}"
    return (
        f"{path}, {found['bytes'] / 1e6:.2f} MB, {found['latency_ms']:.1f} ms "
        f"an image, {found['difference']:.0g} from Keras"
    )


if __name__ == "__main__":
    main()
