"""A `.npz` file with the keys of MedMNIST's, read with distrust.

What the file says of itself is checked before any of it is read: an array may
neither claim more than is there nor more than fits in memory, and nothing is
ever unpickled.
"""

import pathlib
import warnings
import zipfile

import numpy as np
from dataset import SPLITS
from numpy.lib import format as npy
from own_data import check_size
from own_data import printable
from own_data import reason_of

KINDS = ("images", "labels")
SHAPES = (
    "(n, height, width) or (n, depth, height, width), of 1 or 3 channels if "
    "there is one axis more"
)


class Archive:
    """An open file: what its images are, and its arrays one by one.

    Attributes:
        given: names of the splits that it holds, with or without `"val"`.
        counts: dict of the number of images of each.
        sides: tuple, the sizes of an image or volume in pixels.
        channels: int, 1 or 3.
        dtype: of the images.

    Raises:
        ValueError: one line, if anything is missing, damaged or too large.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except Exception as error:
            raise self._unreadable(error) from error
        try:
            self._check_keys()
            self._check_images()
            self._check_labels()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._zip.close()

    @property
    def rank(self):
        return len(self.sides)

    def read(self, key):
        """Returns an array: images with channels last, labels `(n, ...)`."""
        try:
            with self._zip.open(f"{key}.npy") as file:
                array = npy.read_array(file, allow_pickle=False)
        except Exception as error:
            raise self._unreadable(error, key) from error
        if key.endswith("_images"):
            return array.reshape(len(array), *self.sides, self.channels)
        return array.reshape(-1) if array.shape[1:] == (1,) else array

    def refuse(self, found):
        """Raises the `ValueError` of what is wrong with the file."""
        raise ValueError(
            f"Received --dataset {printable(self.path)}, in which {found}."
        )

    def _check_keys(self):
        names = self._zip.namelist()
        keys = {n.removesuffix(".npy") for n in names if n.endswith(".npy")}
        has_val = keys & {f"val_{kind}" for kind in KINDS}
        self.given = SPLITS if has_val else ("train", "test")
        wanted = [f"{split}_{kind}" for split in self.given for kind in KINDS]
        if missing := [key for key in wanted if key not in keys]:
            found = printable(", ".join(sorted(keys)[:10])) or "no array"
            self.refuse(
                f"there is no {', '.join(missing)} but {found}. Expected "
                "train_images, train_labels, test_images, test_labels, and "
                "val_images and val_labels or neither of them"
            )
        self._headers = {key: self._read_header(key) for key in wanted}

    def _check_images(self):
        shape, self.dtype = self._headers["train_images"]
        with_channels = len(shape) in (4, 5) and shape[-1] in (1, 3)
        self.channels = shape[-1] if with_channels else 1
        self.sides = shape[1:-1] if with_channels else shape[1:]
        if self.rank not in (2, 3) or 0 in self.sides:
            self.refuse(
                f"train_images have the shape {shape}. Expected {SHAPES}"
            )
        self.counts = {}
        for name in self.given:
            other, dtype = self._headers[f"{name}_images"]
            if (other[1:], dtype) != (shape[1:], self.dtype):
                self.refuse(
                    f"{name}_images are {dtype} of shape {other}, but "
                    f"train_images {self.dtype} of shape {shape}. Expected "
                    "images of one type and size"
                )
            if other[0] == 0:
                self.refuse(f"{name}_images hold 0 images")
            self.counts[name] = other[0]
        count = sum(self.counts.values())
        num_bytes = 1 if self.dtype == np.uint8 else max(4, self.dtype.itemsize)
        num_bytes *= count * self.channels * max(self.sides) ** self.rank
        check_size(self.path, count, num_bytes, "Use fewer, smaller or uint8.")

    def _check_labels(self):
        train, _ = self._headers["train_labels"]
        for name, count in self.counts.items():
            shape, dtype = self._headers[f"{name}_labels"]
            if dtype.kind == "f" or len(shape) not in (1, 2) or 0 in shape:
                self.refuse(
                    f"{name}_labels are {dtype} of shape {shape}. Expected "
                    "ints of shape (n,) or (n, 1), or 0 and 1 of shape "
                    "(n, classes)"
                )
            if shape[0] != count:
                self.refuse(
                    f"there are {count} {name}_images, but {shape[0]} "
                    f"{name}_labels"
                )
            if (shape[1:] or (1,)) != (train[1:] or (1,)):
                self.refuse(
                    f"{name}_labels are of shape {shape}, but train_labels of "
                    f"shape {train}"
                )
            num_bytes = 8 * int(np.prod(shape, dtype=object))
            check_size(self.path, count, num_bytes, "Use fewer classes.")

    def _read_header(self, key):
        """Returns shape and type of an array that is as large as it says."""
        try:
            info = self._zip.getinfo(f"{key}.npy")
            with self._zip.open(info) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                version = npy.read_magic(file)
                read = {
                    (1, 0): npy.read_array_header_1_0,
                    (2, 0): npy.read_array_header_2_0,
                }[version]
                shape, _, dtype = read(file)
                available = info.file_size - file.tell()
        except Exception as error:
            raise self._unreadable(error, key) from error
        if dtype.kind not in "buif":
            self.refuse(f"{key} are of type {dtype}. Expected numbers")
        num_bytes = dtype.itemsize * int(np.prod(shape, dtype=object))
        if num_bytes != available:
            self.refuse(
                f"{key} are damaged: {dtype} of shape {shape} takes "
                f"{num_bytes} bytes, and there are {available}"
            )
        return shape, dtype

    def _unreadable(self, error, key=None):
        what = f"{key} of {self.path}" if key else str(self.path)
        return ValueError(f"Cannot read {printable(what)}: {reason_of(error)}.")
