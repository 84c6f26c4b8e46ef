"""Data sets by name: the built-in textures and MedMNIST v2."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import zipfile

import numpy as np
import textures

MEDMNIST = (
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)
DATASETS = ("textures", *MEDMNIST)
SPLITS = ("train", "val", "test")


@dataclasses.dataclass
class Dataset:
    """Images `(n, height, width, channels)` float32 around 0, labels `(n,)`."""

    name: str
    splits: dict
    classes: tuple
    md5: str | None = None

    @property
    def image_shape(self):
        return self.splits["train"][0].shape[1:]


def load_dataset(name, root=None, size=28, limit=None):
    """Returns the `Dataset` of that name.

    Args:
        name: one of `DATASETS`.
        root: folder of the MedMNIST `.npz` files; `None` takes the
            environment variable `MEDMNIST_ROOT`, then `~/.medmnist`.
        size: int, height and width in pixels.
        limit: int, the most images to keep of each split, for a quick look.

    Raises:
        ValueError: one line, if the name is unknown, or the file is missing,
            damaged or not the published one.
    """
    if name == "textures":
        dataset = Dataset(name, textures.load_textures(size), textures.CLASSES)
    elif name in MEDMNIST:
        dataset = _load_medmnist(name, root, size)
    else:
        raise ValueError(
            f"Received --dataset {name}. Choose from: {', '.join(DATASETS)}."
        )
    if limit:
        rng = np.random.default_rng(0)
        for split, (images, labels) in dataset.splits.items():
            keep = rng.permutation(len(images))[:limit]
            dataset.splits[split] = images[keep], labels[keep]
    return dataset


def _load_medmnist(name, root, size):
    info = _medmnist_info()[name]
    if info["task"] == "multi-label, binary-class":
        raise ValueError(
            f"Received --dataset {name}. Its images have several labels each, "
            "which this release cannot train on yet."
        )
    suffix = "" if size == 28 else f"_{size}"
    root = pathlib.Path(root or os.environ.get("MEDMNIST_ROOT", "~/.medmnist"))
    path = root.expanduser() / f"{name}{suffix}.npz"
    if f"MD5{suffix}" not in info:
        raise ValueError(
            f"Received --size {size}. MedMNIST has {name} at 28, 64, 128, 224."
        )
    md5 = _checked_md5(path, info[f"MD5{suffix}"], info[f"url{suffix}"])
    splits = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for split in SPLITS:
                images = arrays[f"{split}_images"].astype("float32")
                labels = arrays[f"{split}_labels"].reshape(len(images))
                if images.ndim == 3:
                    images = images[..., None]
                splits[split] = images / 127.5 - 1, labels.astype("int64")
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(f"Cannot read {path}: {error}.") from error
    return Dataset(name, splits, tuple(info["label"].values()), md5)


def _medmnist_info():
    try:
        # Without torch, of which nothing is needed here, it prints advice.
        with contextlib.redirect_stdout(io.StringIO()):
            from medmnist.info import INFO
    except ImportError as error:
        raise ValueError(
            "MedMNIST data sets need the medmnist package. Install it with: "
            "pip install --no-deps medmnist"
        ) from error
    return INFO


def _checked_md5(path, expected, url):
    if not path.is_file():
        raise ValueError(
            f"There is no file {path}. Download {url} to it, or give its "
            "folder with --root or the environment variable MEDMNIST_ROOT."
        )
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}.") from error
    if found != expected:
        raise ValueError(
            f"{path} is damaged or not the published file: its MD5 is {found},"
            f" expected {expected}. Download it again from {url}."
        )
    return found
