"""What a data set is to the scripts: images and labels of three splits."""

import dataclasses

from tasks import Task

SPLITS = ("train", "val", "test")


@dataclasses.dataclass
class Found:
    """What there is to tell of a user's own files.

    `num_images` maps each split to its images, `counts` to those of each
    class, `lines` are sentences for the user.
    """

    num_images: dict
    counts: dict
    lines: list


@dataclasses.dataclass
class Dataset:
    """Images and labels of three splits.

    `splits` maps `"train"`, `"val"`, `"test"` to a pair of arrays: images
    `(n, *spatial, channels)`, either uint8 in 0..255 or float32 around 0, in
    memory or an `ArrayOnDisk`, and labels as `Task` describes. `value_range`
    is the pair of values that became -1 and 1, `None` if each image has its
    own; `official` whether MedMNIST's evaluator is meant for it.
    """

    name: str
    splits: dict
    classes: tuple
    task: Task = Task()
    md5: str | None = None
    licence: str | None = None
    value_range: tuple | None = (0, 255)
    official: bool = False
    found: Found | None = None

    @property
    def image_shape(self):
        return self.splits["train"][0].shape[1:]
