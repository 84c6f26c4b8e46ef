"""How far one random layer is from equivariance, on real pictures.

    error = |f(turned x) - turned f(x)| / |turned f(x)|

in the disc that no turn takes out of the frame, its norm the root of the sum of
squares, mean over pictures, angles of 5 to 85 degrees and seeds. Pictures and
maps are turned by cubic splines, whose own error is in all figures alike. The
grid's own symmetries come beside it: largest difference to largest value.
"""

import keras
import numpy as np
import textures
from scipy import ndimage
from skimage import transform
from tqdm import tqdm

import keras_sre

KERNEL_SIZES = (5, 7, 9)
SIDE, RADIUS = 96, 30
SCALES = {"fine detail": 1, "half scale": 0.5}
FILTERS = 16
LAYERS = {
    "plain": None,
    **{profile: {"ring_profile": profile} for profile in ("hard", "area")},
    "linear": {"ring_profile": "linear"},
    **{
        f"harmonics, {profile}": {
            "ring_profile": profile,
            "harmonics": (1, 2),
            "harmonic_fraction": 1.0,
        }
        for profile in ("hard", "area", "linear")
    },
}


def run(repeats):
    """Returns one row, a dict, for each kernel and layer.

    Args:
        repeats: int, how many angles and seeds the mean is over.
    """
    angles = np.random.default_rng(0).uniform(5, 85, repeats)
    rows = []
    for scale, factor in SCALES.items():
        pictures = _pictures(factor)
        for size in KERNEL_SIZES:
            case = f"{size} x {size}, {scale}"
            errors = {name: [] for name in LAYERS}
            for seed, angle in enumerate(tqdm(angles, case, leave=False)):
                turned = _turn(pictures, angle)
                for name in LAYERS:
                    keras.utils.set_random_seed(seed)
                    layer = _layer(name, size)
                    errors[name].append(
                        (
                            _error(layer, pictures, turned, angle),
                            _grid_error(layer, pictures),
                        )
                    )
            hard, _ = np.mean(errors["hard"], axis=0)
            for name, found in errors.items():
                error, _ = np.mean(found, axis=0)
                rows.append(
                    {
                        "case": case,
                        "what": name,
                        "error": float(error),
                        "hard_ratio": float(error / hard),
                        "grid_error": float(np.max(found, axis=0)[1]),
                    }
                )
    return rows


def _pictures(factor):
    """Returns the middles of all pictures of the textures, standardised."""
    pictures = []
    for picture in textures.pictures():
        picture = transform.rescale(picture, factor, anti_aliasing=True)
        middle = [(n - SIDE) // 2 for n in picture.shape]
        crop = picture[tuple(slice(n, n + SIDE) for n in middle)]
        pictures.append(textures.standardise(crop))
    return np.stack(pictures)[..., None]


def _layer(name, size):
    options = {"padding": "same", "kernel_initializer": "he_normal"}
    if LAYERS[name] is None:
        layer = keras.layers.Conv2D(FILTERS, size, **options)
    else:
        layer = keras_sre.SREConv2D(FILTERS, size, **options, **LAYERS[name])
    return lambda x: keras.ops.convert_to_numpy(layer(x))


def _error(layer, x, turned_x, angle):
    inside = _distances() <= RADIUS
    expected = _turn(layer(x), angle)[:, inside]
    difference = layer(turned_x)[:, inside] - expected
    return np.linalg.norm(difference) / np.linalg.norm(expected)


def _grid_error(layer, x):
    y = layer(x)
    symmetries = (
        lambda x: np.rot90(x, axes=(1, 2)),
        lambda x: np.flip(x, axis=1),
    )
    # These two make all eight.
    differences = [layer(turn(x)) - turn(y) for turn in symmetries]
    return np.abs(differences).max() / np.abs(y).max()


def _turn(x, angle):
    return ndimage.rotate(
        x, angle, axes=(2, 1), reshape=False, order=3, mode="nearest"
    )


def _distances():
    offsets = np.arange(SIDE) - (SIDE - 1) / 2
    return np.hypot(*np.meshgrid(offsets, offsets))
