"""A folder of class folders of images, in any format that Pillow reads.

All of them become grey if each is, else RGB.
"""

import collections
import dataclasses
import hashlib
import pathlib

import numpy as np
import tqdm
from dataset import SPLITS
from dataset import Dataset
from dataset import Found
from image_file import describe_pictures
from image_file import read_picture
from own_data import check_size
from own_data import hold_out
from own_data import listed
from own_data import printable
from own_data import reason_of
from PIL import Image

DEFAULT_SIZE = 64
MIN_IMAGES = 5  # of a class
EXPECTED = (
    "Expected PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE with PATH/test and "
    f"perhaps PATH/val alike: 2 classes or more of {MIN_IMAGES} images or more."
)


@dataclasses.dataclass(frozen=True)
class _File:
    path: pathlib.Path
    folder: str  # of the class
    split: str | None  # None if the folder is not split yet

    @property
    def name(self):
        """What decides its split."""
        return f"{self.folder}/{self.path.name}"


def num_images(path, split):
    """Returns how many files a split has, those included that are damaged."""
    path = pathlib.Path(path)
    files, folders, left_out = _list(path)
    _check(path, files, folders, left_out)
    return len(_split(files)[split])


def checksum(path):
    """Returns the MD5 of the names and sizes of all images."""
    files, _, _ = _list(pathlib.Path(path))
    return _md5(pathlib.Path(path), files)


def load(path, size, progress=False):
    """Returns the `Dataset` of a folder.

    Args:
        path: of the folder: `PATH/CLASS/IMAGE`, of which 10 % of each class
            become the validation split and 20 % the test split, by a hash of
            the file names; or `PATH/{train,val,test}/CLASS/IMAGE`, where a
            tenth of `train` stands for a `val` that is missing. Hidden files
            are ignored.
        size: int, height and width in pixels.
        progress: bool, whether to show a progress bar.

    Raises:
        ValueError: one line, if the folder holds something else.
    """
    path = pathlib.Path(path)
    files, folders, left_out = _list(path)
    _check(path, files, folders, left_out)
    check_size(path, len(files), len(files) * size**2 * 3, "Lower --size.")
    pictures = {}
    for file in tqdm.tqdm(
        files, desc="reading images", unit="image", disable=not progress
    ):
        try:
            pictures[file] = read_picture(file.path, size)
        except Exception as error:  # whatever a decoder makes of a bad file
            left_out[file.path] = reason_of(error).replace(
                f" {str(file.path)!r}", ""
            )
    _check(path, list(pictures), folders, left_out)
    grey = all(picture.pixels.ndim == 2 for picture in pictures.values())
    lines = [
        f"Images: {'grey' if grey else 'RGB'}, {size} x {size} pixels.",
        *describe_pictures(list(pictures.values()), size),
        _describe_split(pictures),
        *_describe_left_out(path, left_out),
    ]
    splits, counts = {}, {}
    for split, members in _split(pictures).items():
        images = np.empty((len(members), size, size, 1 if grey else 3), "uint8")
        for image, member in zip(images, members, strict=True):
            image[...] = np.atleast_3d(pictures.pop(member).pixels)
        labels = np.array([folders.index(m.folder) for m in members])
        splits[split] = images, labels
        counts[split] = np.bincount(labels, minlength=len(folders)).tolist()
    totals = {split: len(labels) for split, (_, labels) in splits.items()}
    return Dataset(
        path.name,
        splits,
        tuple(map(printable, folders)),
        md5=_md5(path, files),
        found=Found(totals, counts, lines),
    )


def _list(path):
    """Returns `_File`s, names of classes, and what else there is, and why."""
    files, folders, others = [], set(), {}
    suffixes = {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in Image.OPEN
    }
    try:
        for split, root in _roots(path).items():
            for folder in _visible(root):
                if not folder.is_dir():
                    others[folder] = "not in the folder of a class"
                    continue
                folders.add(folder.name)
                for file in _visible(folder):
                    if file.is_dir():
                        others[file] = "a folder within that of a class"
                    elif not file.exists():
                        others[file] = "a link to what is not there"
                    elif file.suffix.lower() in suffixes or not file.suffix:
                        files.append(_File(file, folder.name, split))
                    else:
                        others[file] = "no image, by its name"
    except OSError as error:
        raise ValueError(
            f"Cannot read {printable(path)}: {reason_of(error)}."
        ) from error
    return files, sorted(folders), others


def _roots(path):
    names = {entry.name for entry in _visible(path) if entry.is_dir()}
    if names and names <= set(SPLITS):
        return {split: path / split for split in SPLITS if split in names}
    if {"train", "test"} <= names:
        strangers = sorted(names - set(SPLITS))
        raise ValueError(
            f"{_received(path)} has train and test, and beside them "
            f"{printable(listed(strangers))}. {EXPECTED}"
        )
    return {None: path}


def _visible(folder):
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def _check(path, files, folders, left_out):
    """Raises `ValueError` unless every class has enough images."""

    def refuse(found):
        raise ValueError(f"{_received(path)} {found}. {EXPECTED}")

    if not files:
        refuse(f"holds no readable image{_example(path, left_out)}")
    if splits := {file.split for file in files} - {None}:
        for split in ("train", "test"):
            if split not in splits:
                refuse(f"has no image in {split}{_example(path, left_out)}")
    if len(folders) < 2:
        refuse(f"has one class only, {printable(folders[0])}")
    counts = collections.Counter(file.folder for file in files)
    trained = {file.folder for file in files if file.split in (None, "train")}
    for name in folders:
        if counts[name] < MIN_IMAGES:
            example = _example(path / name, left_out)
            refuse(f"has {counts[name]} images of {printable(name)}{example}")
        if name not in trained:
            refuse(f"has no image of {printable(name)} in train")


def _received(path):
    return f"Received --dataset {printable(path)}, which"


def _example(path, left_out):
    """Returns the first reason to leave out a file of a folder, if any."""
    for other, reason in left_out.items():
        if other.parent == path or path in other.parents:
            return f" ({printable(other.name)}: {reason})"
    return ""


def _split(files):
    """Returns a dict of the files of each split, in the order given."""
    given = {file.split for file in files}
    by_class = collections.defaultdict(list)
    for file in files:
        if file.split in (None, "train"):
            by_class[file.folder].append(file.name)
    split_of = {}  # of the names that are held out
    for names in by_class.values():
        if None in given:
            test = hold_out(names, 0.2)
            names = [name for name in names if name not in test]
            split_of |= dict.fromkeys(test, "test")
            # An eighth of the rest is a tenth of all.
            split_of |= dict.fromkeys(hold_out(names, 1 / 8), "val")
        elif "val" not in given:
            split_of |= dict.fromkeys(hold_out(names, 0.1), "val")
    members = {split: [] for split in SPLITS}
    for file in files:
        split = file.split
        if split in (None, "train"):
            split = split_of.get(file.name, "train")
        members[split].append(file)
    return members


def _describe_split(files):
    given = {file.split for file in files}
    if None in given:
        return (
            "Split: 70 % train, 10 % val, 20 % test of each class, by a hash "
            "of the file names: the same on every machine, for every --seed."
        )
    if "val" not in given:
        return (
            "Split: as the folders; val is a tenth of each class of train, by "
            "a hash of the file names."
        )
    return "Split: as the folders."


def _describe_left_out(path, left_out):
    names = [
        f"{printable(other.relative_to(path))} ({reason})"
        for other, reason in left_out.items()
    ]
    return [f"Left out, {len(names)}: {listed(names)}."] if names else []


def _md5(path, files):
    """Returns the MD5 of the names and sizes of all images, sorted."""
    names = sorted(
        f"{file.path.relative_to(path).as_posix()}\t{file.path.stat().st_size}"
        for file in files
    )
    return hashlib.md5("\n".join(names).encode("utf-8", "replace")).hexdigest()
