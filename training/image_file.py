"""One image file as an array: 8 bits, grey or RGB, upright, square.

What is not square is padded with black and then resized: nothing is cut off
and nothing is stretched. Alpha is dropped, and EXIF data say what is upright.
"""

import collections
import dataclasses
import warnings

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps

# Pillow's modes of more than 8 bits, and with transparency.
DEEP = ("I", "F")
ALPHA = ("LA", "PA", "RGBA")


@dataclasses.dataclass(frozen=True)
class Picture:
    """The pixels of a file, `(size, size)` or `(size, size, 3)` uint8.

    `mode` (Pillow's name), `shape` (width and height), `turned` (by EXIF) and
    `animated` (the first picture of several) are of the file.
    """

    pixels: np.ndarray
    mode: str
    shape: tuple
    turned: bool
    animated: bool


def read_picture(path, size):
    """Returns the `Picture` of a file.

    Raises:
        Exception: any, by which Pillow says that it cannot read the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what does not keep it from reading
        with Image.open(path) as image:
            mode = image.mode
            animated = getattr(image, "n_frames", 1) > 1
            image.seek(0)
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            upright = ImageOps.exif_transpose(image)
            pixels = _square(_as_8_bit(upright), size)
    return Picture(pixels, mode, upright.size, turned, animated)


def _as_8_bit(image):
    """Returns a grey or RGB image of 8 bits.

    More bits are stretched from the least to the largest value of the image,
    as `saved_models/predict.py` does: files of 12 bits use a part of 16.
    """
    if image.mode.startswith(DEEP):
        values = np.asarray(image, "float64")
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        span = np.ptp(values) or 1.0
        values = np.rint(255 * (values - values.min()) / span)
        return Image.fromarray(values.astype("uint8"))
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    rgb = image.convert("RGB")
    if image.mode in ("P", "PA"):  # grey, if its palette is
        red, green, blue = (rgb.getchannel(c).tobytes() for c in "RGB")
        if red == green == blue:
            return rgb.getchannel("R")
    return rgb


def _square(image, size):
    """Returns the pixels of an image in the middle of a black square."""
    side = max(image.size)
    square = Image.new(image.mode, (side, side))
    left, top = ((side - length) // 2 for length in image.size)
    square.paste(image, (left, top))
    resized = square.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def describe_pictures(pictures, size):
    """Returns sentences on a list of `Picture`s and what was done to them."""
    modes = collections.Counter(picture.mode for picture in pictures)
    kinds = ", ".join(f"{n} {mode}" for mode, n in sorted(modes.items()))
    shapes = sorted({p.shape for p in pictures}, key=np.prod)
    sides = " to ".join(
        f"{width} x {height}"
        for width, height in dict.fromkeys((shapes[0], shapes[-1]))
    )
    changes = {
        "Padded with black to a square": lambda p: len(set(p.shape)) > 1,
        "Resized": lambda p: max(p.shape) != size,
        "Stretched from more than 8 bits": lambda p: p.mode.startswith(DEEP),
        "Without their alpha channel": lambda p: p.mode in ALPHA,
        "Turned upright as EXIF says": lambda p: p.turned,
        "The first of several in their file": lambda p: p.animated,
    }
    counts = {
        what: sum(map(is_so, pictures)) for what, is_so in changes.items()
    }
    return [
        f"Files: {kinds} (Pillow's modes), {sides} pixels.",
        *(
            f"{what}: {n} of {len(pictures)}."
            for what, n in counts.items()
            if n
        ),
    ]
