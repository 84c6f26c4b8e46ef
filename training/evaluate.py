"""Scores of a classifier on upright, turned and mirrored test images."""

import keras
import numpy as np
import tqdm
import transforms
from sklearn import metrics

BATCH_SIZE = 120


def evaluate(model, images, labels, num_classes, progress=True):
    """Returns the scores that `metrics.json` holds.

    Args:
        model: Keras classifier with probabilities as output.
        images: array of shape `(n, height, width, channels)`.
        labels: int array of shape `(n,)`.
        num_classes: int.
        progress: bool, whether to show a progress bar.

    Returns:
        Dict of `"upright"`, `"rotated"` and `"flipped"`; all scores are
        fractions in 0..1.
    """
    upright = predict(model, images)
    accuracies, aucs = {}, []
    bar = tqdm.tqdm(
        transforms.ANGLES,
        desc=f"{model.name}: testing",
        unit="angle",
        disable=not progress,
    )
    for angle in bar:
        scores = predict(model, transforms.rotate(images, angle))
        accuracies[str(angle)] = _accuracy(labels, scores)
        aucs.append(_auc(labels, scores, num_classes))
    flips = {
        name: _accuracy(labels, predict(model, transforms.flip(images, name)))
        for name in transforms.FLIPS
    }
    values = list(accuracies.values())
    predicted = upright.argmax(axis=-1)
    return {
        "upright": {
            "accuracy": _accuracy(labels, upright),
            "auc": _auc(labels, upright, num_classes),
            "f1": float(metrics.f1_score(labels, predicted, average="macro")),
            "balanced_accuracy": float(
                metrics.recall_score(
                    labels, predicted, average="macro", zero_division=0
                )
            ),
        },
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


def predict(model, images):
    """Returns probabilities; all batches have one shape: one compilation."""
    batch_size = min(BATCH_SIZE, len(images))
    missing = -len(images) % batch_size
    padded = np.concatenate([images, images[:missing]])
    outputs = [
        keras.ops.convert_to_numpy(model.predict_on_batch(batch))
        for batch in np.split(padded, len(padded) // batch_size)
    ]
    return np.concatenate(outputs)[: len(images)].astype("float64")


def _accuracy(labels, scores):
    return float(metrics.accuracy_score(labels, scores.argmax(axis=-1)))


def _auc(labels, scores, num_classes):
    """Returns the mean area under the curve, one class against the rest.

    As MedMNIST's evaluator; classes absent from `labels` do not count.
    """
    if num_classes == 2:
        classes = [1]
    else:
        classes = range(num_classes)
    areas = [
        metrics.roc_auc_score(labels == label, scores[:, label])
        for label in classes
        if 0 < np.sum(labels == label) < len(labels)
    ]
    return float(np.mean(areas)) if areas else float("nan")
