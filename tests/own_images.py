"""Images as users have them: folders of classes, `.npz` files."""

import numpy as np
from data import load_dataset
from PIL import Image


def save(path, values, mode=None, **options):
    """Writes an array as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    (image.convert(mode) if mode else image).save(path, **options)


def class_folder(path):
    """Writes two classes of ten grey images, each of one brightness."""
    for row, name in enumerate(("round", "long")):
        for i in range(10):
            brightness = np.full((8, 8), 20 * i + row, "uint8")
            save(path / name / f"{i}.png", brightness)
    return path


def npz(path, counts=(10, 4, 4), shape=(8, 8), dtype="uint8", **changes):
    """Writes a file of random images and labels that alternate."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        if count:
            images = rng.integers(0, 256, (count, *shape)).astype(dtype)
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.arange(count) % 2
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def read_lines(path, size=None):
    return "\n".join(load_dataset(str(path), size=size).found.lines)
