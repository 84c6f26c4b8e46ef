"""A trial: the run of `fit.py` that a point of the search space stands for.

It runs in a process of its own, so that its memory goes with it, and that one
which the operating system kills does not take the search along.
"""

import dataclasses
import pathlib
import tempfile

import child_process
import fit
import keras
import numpy as np
from data import load_dataset
from models import model_of
from run_directory import complete_directory
from run_directory import finished_results

import keras_sre


class TrialError(Exception):
    """Says in one line why a trial has no score."""


@dataclasses.dataclass
class Bounds:
    """What a network may cost; `None` is no bound.

    `max_params` counts trainable weights. `max_latency_ms` is the median for
    one image of its float32 LiteRT file on one thread of this machine.
    """

    max_params: int | None = None
    max_latency_ms: float | None = None


def run_alone(config, folder, bounds, progress=True):
    """Trains and validates in a process of its own; returns its scores.

    Args:
        config: `RunConfig`, resolved.
        folder: path of the trial's run directory. A finished run of the same
            settings that is there is not repeated, an unfinished one goes on.
        bounds: `Bounds`. A network that exceeds them is not trained.
        progress: bool, whether to show progress bars.

    Returns:
        Dict of floats: `parameters`, `latency_ms` (if bounded), `over_bound`
        (1.0 or 0.0) and, unless that is 1.0, `val_rotated_accuracy`,
        `val_rotated_auc`, `val_accuracy`, `seconds`.

    Raises:
        TrialError: if training fails, diverges, or its process dies.
    """
    try:
        return child_process.run_alone(
            run_trial, config, folder, bounds, progress
        )
    except (ValueError, child_process.ChildError) as error:
        raise TrialError(str(error).splitlines()[0]) from error


def run_trial(config, folder, bounds, progress=True):
    """Does the work of `run_alone`, in this process."""
    dataset = load_dataset(
        config.dataset, config.root, config.size, config.limit, progress
    )
    costs = measure_costs(config, dataset, bounds)
    if exceeds(costs, bounds):
        return costs | {"over_bound": 1.0}
    config = dataclasses.replace(config, split="val")
    folder, settings = pathlib.Path(folder), config.settings()
    if finished := finished_results(folder, settings):
        (metrics,) = finished
    else:
        with complete_directory(folder, settings, resume=True) as partial:
            metrics = fit.train_and_test(
                config, dataset, partial, progress, logs=()
            )
    return costs | {
        "over_bound": 0.0,
        "val_rotated_accuracy": metrics["rotated"]["mean_accuracy"],
        "val_rotated_auc": metrics["rotated"]["mean_auc"],
        "val_accuracy": metrics["upright"]["accuracy"],
        "seconds": metrics["train_seconds"],
    }


def measure_costs(config, dataset, bounds):
    """Returns the parameters and, if it is bounded, the latency in ms."""
    model = model_of(config, dataset.image_shape, len(dataset.classes))
    weights = model.trainable_weights
    costs = {"parameters": float(sum(np.prod(w.shape) for w in weights))}
    if bounds.max_latency_ms is not None and not exceeds(costs, bounds):
        with tempfile.TemporaryDirectory() as folder:
            report = keras_sre.export(model, f"{folder}/model.tflite")
        costs["latency_ms"] = report.latency_ms
    keras.utils.clear_session()
    return costs


def exceeds(costs, bounds):
    """Returns whether a network costs more than it may."""
    return any(
        bound is not None and costs.get(name, 0) > bound
        for name, bound in (
            ("parameters", bounds.max_params),
            ("latency_ms", bounds.max_latency_ms),
        )
    )
