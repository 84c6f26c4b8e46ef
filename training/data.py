"""Data sets by name or path: textures, MedMNIST v2 (2D and 3D), a user's own.

All facts of MedMNIST (addresses, MD5, classes, splits, licence) come from
`medmnist.INFO`. Images stay in uint8 until a batch is made of them (`scale`).
"""

import contextlib
import io
import os
import pathlib
import zipfile

import image_folder
import npz_file
import numpy as np
import textures
from dataset import SPLITS
from dataset import Dataset
from download import fetch
from own_data import printable
from PIL import Image
from scipy import ndimage
from tasks import Task

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


def dataset_names():
    """Returns the names that `--dataset` takes."""
    return ("textures", *_medmnist_info())


def medmnist_names(rank):
    """Returns the names of all MedMNIST sets of images (2) or volumes (3)."""
    return tuple(n for n in _medmnist_info() if rank_of(n) == rank)


def is_path(name):
    """Returns whether a name, which no other data set has, can be a path."""
    if name.endswith(".npz") or os.sep in name or "/" in name:
        return True
    if name == "textures" or not os.path.isdir(name):
        return False
    try:
        return name not in dataset_names()
    except ValueError:  # no medmnist, and so no other names
        return True


def check_name(name):
    """Raises `ValueError` unless there is a data set of that name."""
    if name not in dataset_names():
        known = ", ".join(dataset_names())
        raise ValueError(
            f"Received --dataset {printable(name)}. Choose from: {known}; or "
            "give the path of a folder of class folders, or of an .npz file."
        )


def short_name(name):
    """Returns what files and tables call a data set: of a path, its end.

    Example:

    >>> short_name("/data/cells.npz")
    'cells'
    """
    return os.path.basename(os.path.abspath(name)).removesuffix(".npz")


def rank_of(name):
    """Returns the number of spatial axes of a data set, 2 or 3."""
    if is_path(name):
        return 2 if _reader(name) is image_folder else npz_file.rank_of(name)
    return 3 if name.endswith("3d") else 2


def own_size(name):
    """Returns the only size, in pixels, of an `.npz` file, else `None`."""
    if is_path(name) and _reader(name) is npz_file:
        return npz_file.size_of(name)
    return None


def default_size(name):
    """Returns the size of a user's data in pixels, `None` if it has a name."""
    if is_path(name):
        return own_size(name) or image_folder.DEFAULT_SIZE
    return None


def own_checksum(name):
    """Returns the MD5 that a user's data have now, `None` of a known set."""
    return _reader(name).checksum(name) if is_path(name) else None


def _reader(path):
    """Returns the module that reads a user's data."""
    if os.path.isdir(path):
        return image_folder
    if os.path.isfile(path) and path.endswith(".npz"):
        return npz_file
    found = "is neither" if os.path.exists(path) else "does not exist"
    raise ValueError(
        f"Received --dataset {printable(path)}, which {found}. Expected a "
        "folder of class folders of images, or an .npz file."
    )


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
    """Returns how many images a split of a data set has, not of textures."""
    if is_path(name):
        return _reader(name).num_images(name, split)
    return _medmnist_info()[name]["n_samples"][split]


def load_dataset(name, root=None, size=None, limit=None, progress=False):
    """Returns the `Dataset` of that name or path, downloaded if it is missing.

    Arrays larger than 1 GiB are unpacked beside their file, once, and then
    read from disk batch by batch: whatever the size of the file, the data take
    1 GiB for each of the splits at most.

    Args:
        name: one of `dataset_names()`, or the path of a folder or `.npz` file
            as `image_folder.load` and `npz_file.load` take it.
        root: folder of the MedMNIST `.npz` files; `None` takes the
            environment variable `MEDMNIST_ROOT`, then `~/.medmnist`.
        size: int, height and width (and depth) of the published file in
            pixels (28). MedMNIST's 28 pixels are resized to 32, bilinear. A
            folder's images are resized to it (64).
        limit: int, the most images to keep of each split, for a quick look.
        progress: bool, whether to show a progress bar of what takes long.

    Raises:
        ValueError: one line, if the name is unknown, or the file cannot be
            had, is damaged or is not the published one.
    """
    size = size or default_size(name) or 28
    if name == "textures":
        dataset = Dataset(
            name,
            textures.load_textures(size),
            textures.CLASSES,
            value_range=None,
        )
    elif is_path(name):
        dataset = _reader(name).load(os.path.abspath(name), size, progress)
    else:
        check_name(name)
        dataset = _load_medmnist(name, root, size, progress)
    for split, (images, labels) in dataset.splits.items():
        if limit and limit < len(images):
            keep = np.random.default_rng(0).permutation(len(images))[:limit]
            images, labels = images[np.sort(keep)], labels[np.sort(keep)]
        if dataset.official and size == 28:
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
    return Dataset(
        name, splits, classes, task, md5, info["license"], official=True
    )


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
