"""Data sets by name: the built-in textures and MedMNIST v2, 2D and 3D.

All facts of MedMNIST (addresses, MD5, classes, splits, licence) come from
`medmnist.INFO`. Images stay in uint8 until a batch is made of them (`scale`).
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import zipfile

import numpy as np
import textures
from download import fetch
from PIL import Image
from scipy import ndimage
from tasks import Task

SPLITS = ("train", "val", "test")
RESIZED = 32  # what 28 pixels become: the protocol of the SRE-Conv paper
# Arrays above this size are read from disk batch by batch.
STREAMED_BYTES = 2**30


class ArrayOnDisk:
    """A `.npy` file of images that only what is asked for is read from.

    The file is mapped anew for every batch: pages of a lasting map would stay
    in memory as long as there is room.
    """

    def __init__(self, path, new_axis):
        self.path, self.new_axis = path, new_axis
        array = self._map()
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return np.array(self._map()[index])

    def _map(self):
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return array[..., None] if self.new_axis else array


@dataclasses.dataclass
class Dataset:
    """Images and labels of three splits.

    `splits` maps `"train"`, `"val"`, `"test"` to a pair of arrays: images
    `(n, *spatial, channels)`, either uint8 in 0..255 or float32 around 0, in
    memory or an `ArrayOnDisk`, and labels as `Task` describes.
    """

    name: str
    splits: dict
    classes: tuple
    task: Task = Task()
    md5: str | None = None
    licence: str | None = None

    @property
    def image_shape(self):
        return self.splits["train"][0].shape[1:]


def dataset_names():
    """Returns the names that `--dataset` takes."""
    return ("textures", *_medmnist_info())


def medmnist_names(rank):
    """Returns the names of all MedMNIST sets of images (2) or volumes (3)."""
    return tuple(n for n in _medmnist_info() if rank_of(n) == rank)


def rank_of(name):
    """Returns the number of spatial axes of a data set, 2 or 3."""
    return 3 if name.endswith("3d") else 2


def scale(images):
    """Returns images as float32 around 0: uint8 becomes -1..1.

    Example:

    >>> scale(np.array([0, 255], "uint8"))
    array([-1.,  1.], dtype=float32)
    """
    if images.dtype == np.uint8:
        return images.astype("float32") / np.float32(127.5) - 1
    return np.asarray(images, "float32")


def num_images(name, split="train"):
    """Returns how many images a split of a MedMNIST set has."""
    return _medmnist_info()[name]["n_samples"][split]


def load_dataset(name, root=None, size=28, limit=None, progress=False):
    """Returns the `Dataset` of that name, downloaded if it is missing.

    Arrays larger than 1 GiB are unpacked beside their file, once, and then
    read from disk batch by batch: whatever the size of the file, the data take
    1 GiB for each of the splits at most.

    Args:
        name: one of `dataset_names()`.
        root: folder of the MedMNIST `.npz` files; `None` takes the
            environment variable `MEDMNIST_ROOT`, then `~/.medmnist`.
        size: int, height and width (and depth) of the published file in
            pixels. MedMNIST's 28 pixels are resized to 32, bilinear.
        limit: int, the most images to keep of each split, for a quick look.
        progress: bool, whether a download shows a progress bar.

    Raises:
        ValueError: one line, if the name is unknown, or the file cannot be
            had, is damaged or is not the published one.
    """
    if name == "textures":
        dataset = Dataset(name, textures.load_textures(size), textures.CLASSES)
    elif name in _medmnist_info():
        dataset = _load_medmnist(name, root, size, progress)
    else:
        known = ", ".join(dataset_names())
        raise ValueError(f"Received --dataset {name}. Choose from: {known}.")
    for split, (images, labels) in dataset.splits.items():
        if limit and limit < len(images):
            keep = np.random.default_rng(0).permutation(len(images))[:limit]
            images, labels = images[np.sort(keep)], labels[np.sort(keep)]
        if name != "textures" and size == 28:
            images = resize(images)
        dataset.splits[split] = images, labels
    return dataset


def _load_medmnist(name, root, size, progress):
    info = _medmnist_info()[name]
    suffix = "" if size == 28 else f"_{size}"
    if f"MD5{suffix}" not in info:
        sizes = ", ".join(k[4:] or "28" for k in info if k.startswith("MD5"))
        raise ValueError(
            f"Received --size {size}. MedMNIST has {name} at {sizes}."
        )
    root = pathlib.Path(root or os.environ.get("MEDMNIST_ROOT", "~/.medmnist"))
    path = root.expanduser() / f"{name}{suffix}.npz"
    md5 = info[f"MD5{suffix}"]
    fetch(info[f"url{suffix}"], path, md5, progress)
    task, grey = Task(info["task"]), info["n_channels"] == 1
    splits = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for split in SPLITS:
                labels = arrays[f"{split}_labels"].astype("int64")
                images = _images(path, arrays, f"{split}_images", grey)
                if not task.multi_label:
                    labels = labels.reshape(len(images))
                splits[split] = images, labels
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as e:
        raise ValueError(f"Cannot read {path}: {e}.") from e
    classes = tuple(info["label"].values())
    return Dataset(name, splits, classes, task, md5, info["license"])


def _images(path, arrays, key, grey):
    member = f"{key}.npy"
    if arrays.zip.getinfo(member).file_size <= STREAMED_BYTES:
        return arrays[key][..., None] if grey else arrays[key]
    unpacked = path.parent / f"{path.stem}_unpacked" / member
    if not unpacked.exists():
        _unpack(arrays.zip, member, unpacked)
    return ArrayOnDisk(unpacked, new_axis=grey)


def _unpack(archive, member, path):
    """Copies one array out of a `.npz`, a little at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with archive.open(member) as source, open(partial, "wb") as target:
            while chunk := source.read(2**20):
                target.write(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def resize(images):
    """Resizes 28 pixels to 32, as the official protocol does in 2D and 3D."""
    if images.ndim == 4:
        side = (RESIZED, RESIZED)
        planes = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3])
        resized = [
            np.asarray(
                Image.fromarray(p).resize(side, Image.Resampling.BILINEAR)
            )
            for p in planes
        ]
        resized = np.reshape(resized, (len(images), images.shape[-1], *side))
        return np.ascontiguousarray(np.moveaxis(resized, 1, -1))
    factors = [RESIZED / size for size in images.shape[1:4]]
    return np.stack(
        [
            ndimage.zoom(
                volume, [*factors, 1], order=1, mode="nearest", grid_mode=True
            )
            for volume in scale(images)
        ]
    )


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
