"""How far layers and trained networks are from equivariance, on real images.

One random layer on pictures:

    error = |f(turned x) - turned f(x)| / |turned f(x)|

in the disc that no turn takes out of the frame, its norm the root of the sum of
squares, mean over pictures, angles of 5 to 85 degrees and seeds. Pictures and
maps are turned by cubic splines, whose own error is in all figures alike. The
grid's own symmetries come beside it: largest difference to largest value.

Trained networks (`--runs`): how much their logits change between test images
upright and turned, `keras_sre.equivariance_report`, mean over the angles that
are no quarter turns and over the runs of one data set and ring profile.
"""

import pathlib

import keras
import numpy as np
import textures
from data import scale
from finished_run import read_data
from finished_run import read_run
from run_directory import CONFIG
from scipy import ndimage
from skimage import transform
from tqdm import tqdm

import keras_sre
from keras_sre.geometry import RING_PROFILES

KERNEL_SIZES = (5, 7, 9)
SIDE, RADIUS = 96, 30
SCALES = {"fine detail": 1, "half scale": 0.5}
FILTERS = 16
NUM_IMAGES = 64  # of a test set, that trained networks are asked about
LAYERS = {
    "plain": None,
    **{profile: {"ring_profile": profile} for profile in RING_PROFILES},
    **{
        f"harmonics, {profile}": {
            "ring_profile": profile,
            "harmonics": (1, 2),
            "harmonic_fraction": 1.0,
        }
        for profile in RING_PROFILES
    },
}


def run(repeats, runs=()):
    """Returns one row, a dict, for each kernel and layer.

    Args:
        repeats: int, how many angles and seeds the mean is over.
        runs: paths of run directories. If there are any, only their networks
            are asked.
    """
    return _trained(runs) if runs else _layers(repeats)


def _layers(repeats):
    angles = np.random.default_rng(0).uniform(5, 85, repeats)
    rows = []
    for detail, factor in SCALES.items():
        pictures = _pictures(factor)
        for size in KERNEL_SIZES:
            case = f"{size} x {size}, {detail}"
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
            rows += _rows(case, errors)
    return rows


def _trained(runs):
    errors = {}
    for folder in tqdm(list(map(pathlib.Path, runs)), "networks", leave=False):
        config, model = read_run(folder, [CONFIG])
        dataset = read_data(folder, config)
        images, _ = dataset.splits["test"]
        # Logits: probabilities hide changes.
        model.get_layer("predictions").activation = keras.activations.linear
        report = keras_sre.equivariance_report(
            model, scale(images[:NUM_IMAGES]), angles=range(10, 90, 10)
        )
        what = config["ring_profile"]
        if not config["model"].startswith("sre"):
            what = "plain"
        case = errors.setdefault(f"{config['dataset']}, trained", {})
        case.setdefault(what, []).append(
            (np.mean(list(report.per_angle.values())), report.grid_error)
        )
    return [row for case, found in errors.items() for row in _rows(case, found)]


def _rows(case, errors):
    """Returns rows of mean errors, and their ratios to hard and GMR rings."""
    means = {name: np.mean(found, axis=0)[0] for name, found in errors.items()}
    rows = []
    for name, found in errors.items():
        row = {"case": case, "what": name, "error": float(means[name])}
        for rings in ("hard", "gaussian"):
            if rings in means:
                row[f"{rings}_ratio"] = float(means[name] / means[rings])
        row["grid_error"] = float(np.max(found, axis=0)[1])
        rows.append(row)
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
