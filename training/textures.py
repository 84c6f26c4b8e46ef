"""The built-in data set: real textures that ship with scikit-image.

Photographs and micrographs are cut into three bands, far enough apart that no
crop of one split sees a pixel of another. Crops are grey, and each is
standardised, so that neither brightness nor contrast gives the class away.
"""

import numpy as np
from skimage import color
from skimage import data

# Name, loader, and the part of the picture that holds the texture.
SOURCES = (
    ("brick", data.brick, np.s_[:, :]),
    ("grass", data.grass, np.s_[:, :]),
    ("gravel", data.gravel, np.s_[:, :]),
    ("tissue", data.immunohistochemistry, np.s_[:, :]),
    ("cell", data.cell, np.s_[60:560, 60:500]),
    ("retina", data.retina, np.s_[300:1100, 300:1100]),
)
CLASSES = tuple(name for name, _, _ in SOURCES)
# Split: the band of rows it may use, in fractions, and crops per class.
SPLITS = {"train": ((0.0, 0.56), 200), "val": ((0.6, 0.76), 40)}
SPLITS["test"] = ((0.8, 1.0), 80)


def load_textures(size, seed=0):
    """Returns `{split: (images, labels)}`.

    Args:
        size: int, height and width of a crop in pixels, at most 64.
        seed: int, decides where crops are cut.

    Returns:
        Dict of `"train"`, `"val"`, `"test"` to a pair of arrays: images
        `(n, size, size, 1)` float32 of zero mean and unit deviation each, and
        labels `(n,)` int64.

    Raises:
        ValueError: if `size` is larger.
    """
    if size > 64:
        raise ValueError(
            f"Received --size {size}. The textures are too small for crops of "
            "more than 64 pixels: use 28, 32 or 64."
        )
    rng = np.random.default_rng(seed)
    loaded = pictures()
    splits = {}
    for split, (band, per_class) in SPLITS.items():
        images, labels = [], []
        for label, picture in enumerate(loaded):
            first, last = (round(edge * len(picture)) for edge in band)
            for _ in range(per_class):
                top = rng.integers(first, last - size + 1)
                left = rng.integers(0, picture.shape[1] - size + 1)
                crop = picture[top : top + size, left : left + size]
                images.append(standardise(crop))
                labels.append(label)
        splits[split] = np.stack(images)[..., None], np.array(labels)
    return splits


def pictures():
    """Returns the grey pictures, float64 in 0..1, in the order of `SOURCES`."""
    grey = []
    for _, load, part in SOURCES:
        picture = load()
        picture = (
            color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
        )
        grey.append(picture[part])
    return grey


def standardise(crop):
    """Returns a crop of zero mean and unit deviation, float32."""
    centred = crop - crop.mean()
    return (centred / max(centred.std(), 1e-6)).astype("float32")
