"""The data set of a user's `.npz` file: images or volumes, and their labels."""

import hashlib
import pathlib

import numpy as np
from dataset import SPLITS
from dataset import Dataset
from dataset import Found
from npz_archive import Archive
from own_data import hold_out
from own_data import printable
from tasks import Task

PIXELS = (0, 255)  # what becomes -1 and 1, if images are uint8


def rank_of(path):
    """Returns 2 for images, 3 for volumes."""
    with Archive(path) as archive:
        return archive.rank


def size_of(path):
    """Returns the longest side of the images in pixels."""
    with Archive(path) as archive:
        return max(archive.sides)


def num_images(path, split):
    """Returns how many images a split has."""
    with Archive(path) as archive:
        return len(_labels(archive)[split][-1])


def checksum(path):
    """Returns the MD5 of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def load(path, size, progress=False):
    """Returns the `Dataset` of a file.

    Args:
        path: of a file of `train_images`, `train_labels`, `test_images`,
            `test_labels`, and perhaps `val_images` and `val_labels`, for which
            a tenth of each training class stands if they are missing. Images
            are `(n, height, width)` or volumes `(n, depth, height, width)`,
            with or without a last axis of 1 or 3 channels. Labels are ints
            from 0, `(n,)` or `(n, 1)`, or 0 and 1, `(n, classes)`.
        size: int, the longest side, which is left as it is.
        progress: bool, not used: there is little to wait for.

    Raises:
        ValueError: one line, if the file is damaged or holds something else.
    """
    with Archive(path) as archive:
        side = max(archive.sides)
        if size != side:
            raise ValueError(
                f"Received --size {size} for {printable(path)}, whose images "
                f"have {side} pixels and are not resized. Leave --size out."
            )
        labels = _labels(archive)
        images = {
            name: archive.read(f"{name}_images") for name in archive.given
        }
    for name, array in images.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            archive.refuse(f"{name}_images hold values that are not finite")
    value_range, splits = PIXELS, {}
    for split in SPLITS:
        source, chosen, split_labels = labels[split]
        part = images[source][chosen]
        if archive.dtype != np.uint8:
            if split == "train":
                value_range = _range_of(part, archive)
            part = _scale(part, *value_range)
        splits[split] = _make_square(part), split_labels
    return _describe(archive, splits, value_range)


def _labels(archive):
    """Returns for each split: name of the images, which of them, labels."""
    labels = {name: archive.read(f"{name}_labels") for name in archive.given}
    if labels["train"].ndim == 1:
        _check_classes(labels, archive)
    for name, array in labels.items():
        if array.ndim == 2 and not np.isin(array, (0, 1)).all():
            archive.refuse(
                f"{name}_labels of shape {array.shape} are not all 0 or 1. "
                "Expected that of several labels, and shape (n,) of one"
            )
        labels[name] = array.astype("int64")
    found = {n: (n, slice(None), array) for n, array in labels.items()}
    if "val" not in found:
        train = labels["train"]
        held_out = _held_out(train)
        if not held_out.any():
            archive.refuse(
                "each class has a single training image. Expected more, of "
                "which a part is for validation"
            )
        found["train"] = "train", ~held_out, train[~held_out]
        found["val"] = "train", held_out, train[held_out]
    return found


def _check_classes(labels, archive):
    classes = np.unique(labels["train"])
    count = len(classes)
    if count < 2 or classes[0] != 0 or classes[-1] != count - 1:
        archive.refuse(
            f"train_labels have {count} different values from {classes[0]} to "
            f"{classes[-1]}. Expected two or more, 0, 1, 2 and so on, each of "
            "them there"
        )
    for name, array in labels.items():
        if array.min() < 0 or array.max() >= count:
            archive.refuse(
                f"{name}_labels go from {array.min()} to {array.max()}, but "
                f"train_labels from 0 to {count - 1}"
            )


def _held_out(labels):
    """Returns where, by position, a tenth of each class is."""
    held_out = np.zeros(len(labels), bool)
    classes = [labels == label for label in np.unique(labels)]
    if labels.ndim == 2:
        classes = [~held_out]
    for is_member in classes:
        members = np.flatnonzero(is_member)
        chosen = hold_out([str(member) for member in members], 0.1)
        held_out[[int(member) for member in chosen]] = True
    return held_out


def _range_of(images, archive):
    low, high = float(images.min()), float(images.max())
    if not 0 < high - low < float("inf"):
        archive.refuse(
            f"train_images go from {low} to {high}. Expected values that "
            "differ, and float64 or less"
        )
    return low, high


def _scale(images, low, high):
    """Returns float32 such that `low` and `high` become -1 and 1."""
    scaled = np.empty(images.shape, "float32")
    for target, image in zip(scaled, images, strict=True):  # little at a time
        target[...] = (image.astype("float64") - low) * (2 / (high - low)) - 1
    return scaled


def _make_square(images):
    """Pads sides to the longest, both ends alike, with black."""
    sides = images.shape[1:-1]
    margins = [max(sides) - side for side in sides]
    if not any(margins):
        return images
    padding = [(margin // 2, margin - margin // 2) for margin in margins]
    black = 0 if images.dtype == np.uint8 else -1
    return np.pad(images, [(0, 0), *padding, (0, 0)], constant_values=black)


def _describe(archive, splits, value_range):
    """Returns the `Dataset`, with what there is to tell of it."""
    train = splits["train"][1]
    several = train.ndim == 2
    count = train.shape[1] if several else int(train.max()) + 1
    counts = {
        split: (
            labels.sum(axis=0) if several else np.bincount(labels, None, count)
        ).tolist()
        for split, (_, labels) in splits.items()
    }
    sides = " x ".join(map(str, archive.sides))
    kind = "images" if archive.rank == 2 else "volumes"
    colour = "grey" if archive.channels == 1 else "3 channels"
    low, high = value_range
    of = "" if value_range == PIXELS else ", the range of the training split,"
    lines = [
        f"Read as: {kind} of {sides} pixels, {colour}, {archive.dtype}.",
        f"Values: {low:g} and {high:g}{of} become -1 and 1.",
    ]
    if len(set(archive.sides)) > 1:
        lines.append(
            f"Padded with black to {max(archive.sides)} pixels each way."
        )
    if several:
        lines.append(f"Labels: any of {count} at a time (multi-label).")
        if (train.sum(axis=1) == 1).all():
            lines.append(
                "Each image has just one: if that is so by nature, give labels "
                "of shape (n,), 0 to classes - 1."
            )
    lines.append(
        "Split: as the arrays."
        if "val" in archive.given
        else "Split: as the arrays; val is a tenth of each class of train, the "
        "same on every machine, for every --seed."
    )
    totals = {split: len(labels) for split, (_, labels) in splits.items()}
    return Dataset(
        pathlib.Path(archive.path).stem,
        splits,
        tuple(map(str, range(count))),
        Task("multi-label, binary-class") if several else Task(),
        checksum(archive.path),
        value_range=value_range,
        found=Found(totals, counts, lines),
    )
