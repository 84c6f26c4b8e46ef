"""Weights that networks load: from files, and those that are shipped."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import warnings
import zipfile

# The networks shipped, by the data set that they were trained on.
_IMAGES = "kernel_sizes=(5, 5, 3, 3), ring_profile='linear', harmonics=(1, 2)"
_VOLUMES = _IMAGES.replace("(5, 5, 3, 3)", "3")
_GREY = f"input_shape=(32, 32, 1), classes=2, width=32, {_IMAGES}"
WEIGHTS = {
    "breastmnist": f"SREResNet18({_GREY})",
    "pneumoniamnist": f"SREResNet18({_GREY})",
    "retinamnist": (
        f"SREResNet18(input_shape=(32, 32, 3), classes=5, width=32, {_IMAGES})"
    ),
    "textures": (
        f"SREResNet18(input_shape=(32, 32, 1), classes=6, width=16, {_IMAGES})"
    ),
    "adrenalmnist3d": (
        "SREResNet3D18(input_shape=(28, 28, 28, 1), classes=2, width=16, "
        f"{_VOLUMES})"
    ),
}
# What ring layers are apart from the shapes of their weights.
RING_ARGUMENTS = (
    *("kernel_size", "circular", "ring_profile", "spacing"),
    *("harmonics", "harmonic_fraction"),
)


def check_weights(weights):
    """Returns the path of weights, or `None` for none.

    Args:
        weights: `None`, the path of a `.keras` or `.weights.h5` file, or one of
            `WEIGHTS`, the names of the networks shipped.

    Raises:
        ValueError: if it is something else, or there is no such file.
    """
    if weights is None:
        return None
    path = os.fspath(weights) if _is_path(weights) else ""
    if path in WEIGHTS:
        return _shipped(path)
    if not path.endswith((".keras", ".weights.h5")):
        raise ValueError(
            f"Received weights={weights!r}. Expected None, the path of a "
            ".keras or .weights.h5 file, or one of "
            f"{', '.join(map(repr, WEIGHTS))}."
        )
    if not os.path.isfile(path):
        raise ValueError(f"Received weights={path!r}. There is no such file.")
    return path


def _is_path(weights):
    return isinstance(weights, (str, os.PathLike))


def _shipped(name):
    """Returns the path of a network in the source tree, or installed."""
    end = name, "model.keras"
    parent = pathlib.Path(__file__).parents[2]
    paths = [
        parent.joinpath("saved_models", *end),
        parent.joinpath("share", "keras_sre", *end),  # pip install --target
    ]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        paths += [
            file.locate()
            for file in importlib.metadata.files("keras-sre") or ()
            if file.parts[-4:] == ("share", "keras_sre", *end)
        ]
    for path in paths:
        if path.is_file():
            return str(path)
    raise ValueError(
        f"Received weights={name!r}, which this installation lacks. Install "
        f"keras-sre again, or give the path of saved_models/{name}/model.keras "
        "of its source."
    )


def load_weights(model, weights, path):
    """Loads weights into a network that should be of their architecture.

    Args:
        model: Keras model.
        weights: as the user gave them, for the message.
        path: what `check_weights` made of them, `None` for no weights.

    Raises:
        ValueError: if shapes differ, or what the rings of a `.keras` file are;
            for networks shipped, with the call that makes their architecture.
    """
    if path is None:
        return
    shipped = WEIGHTS.get(os.fspath(weights))
    try:
        if path.endswith(".keras"):
            _check_rings(model, path)
        with warnings.catch_warnings():
            if shipped:
                # Keras warns of layers that a file lacks, then shapes differ.
                warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (ValueError, UserWarning) as error:
        if not shipped:
            raise
        raise ValueError(
            f"Received weights={weights!r} for another architecture. They are "
            f"those of {shipped}."
        ) from error


def _check_rings(model, path):
    """Raises a ValueError if rings are others than those of a `.keras` file.

    Their weights would have the shapes of these, and mean something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        saved = {layer["config"]["name"]: layer["config"] for layer in layers}
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        return  # of another kind, or damaged: loading it says so
    theirs = sorted(name for name in saved if name.startswith("stem_p"))
    ours = sorted(n.name for n in model.layers if n.name.startswith("stem_p"))
    if theirs != ours:
        raise ValueError(
            f"Received weights={path!r}, whose network has the poolings "
            f"{theirs} in its stem, for one with {ours}. Give the stem, as "
            'stem="small", or the input_shape that they are of.'
        )
    for layer in model.layers:
        if not hasattr(layer, "ring_profile") or layer.name not in saved:
            continue
        config = json.loads(json.dumps(layer.get_config(), default=str))
        for name in RING_ARGUMENTS:
            if name == "harmonic_fraction" and not layer.harmonics:
                continue  # of nothing
            ours = config.get(name)
            theirs = saved[layer.name].get(name, ours)
            if ours != theirs:
                raise ValueError(
                    f"Received weights={path!r}, whose layer {layer.name} has "
                    f"{name}={theirs!r}, for one with {ours!r}. Build the "
                    "network that they are of."
                )
