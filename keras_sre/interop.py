"""Weights of the official PyTorch networks, in the networks of this package.

Each variable of a model is given its official name; names, shapes and values
are compared with those of a checkpoint before anything is assigned.

References:
    - [SRE-Conv](https://github.com/XYPB/SRE-Conv) and
      [GMR-Conv](https://github.com/XYPB/GMR-Conv): the official packages.
"""

import re

import keras
import numpy as np

from keras_sre.checkpoints import read_checkpoint
from keras_sre.checkpoints import to_array
from keras_sre.geometry import ring_filters
from keras_sre.layers import SREConv2D
from keras_sre.layers import SREConv3D

CLASSIFIER = ("fc.weight", "fc.bias")
CONSTANTS = ("index_mat", ".mus", ".num_batches_tracked")
MOST_LISTED = 3  # names of each kind in an error

_STEM_AND_HEAD = {
    2: {"stem_conv": "conv1", "stem_bn": "bn1", "predictions": "fc"},
    3: {"stem_conv": "stem.0", "stem_bn": "stem.1", "predictions": "fc"},
}
_BLOCK_LAYER = re.compile(r"stage(\d)_block(\d+)_(conv\d|shortcut)(_bn)?")


def load_torch_weights(model, checkpoint):
    """Loads the weights of an official SRE-ResNet or GMR-ResNet.

    The model must be the same network: as deep, with the `kernel_sizes`,
    `num_rings`, `width` (official `inplanes`), `classes` and input channels
    that the weights were trained with, `harmonics=()`, and

    - `ring_profile="hard"` for SRE-Conv, `"gaussian"` for GMR-Conv;
    - `stem="official"` for 2D networks with the first pooling
      (`skip_first_maxpool=False`), `"small"` for those without it, as the
      official MedMNIST networks are, and for volumes.

    Its outputs are then those of the official network, up to rounding, with
    one exception: with `stem="small"` they differ where 8 does not divide the
    input's sizes, as official networks drop the last row of an odd map.
    (Volumes: `stem="official"` drops it too.) Channels come last here.

    Everything is checked first; after an error the model is as it was.

    Args:
        model: one of `keras_sre.applications.SREResNet*`. With
            `include_top=False` the official classifier is left out. Layers
            around the network keep their weights.
        checkpoint: path of a `.pt`, `.pth` or `.ckpt` file (needs PyTorch; no
            code in it is run), of an `.npz` or `.safetensors` file; or a
            mapping from the names of the official state dict to arrays or
            PyTorch tensors. It may be wrapped as `"state_dict"`,
            `"model_state_dict"` or `"model"`, and names may begin with
            `"module."`, `"model."` or `"_orig_mod."`.

    Returns:
        `model`.

    Raises:
        ValueError: if the model is none of those above, the checkpoint cannot
            be read, PyTorch is needed and missing, or the two do not fit:
            weights are missing, left over, of another shape, for other rings
            or not finite.

    Example:

    >>> from keras_sre.applications import SREResNet18
    >>> model = SREResNet18(input_shape=(32, 32, 3), classes=8, width=8)
    >>> try:
    ...     load_torch_weights(model, {"fc.bias": np.zeros(9)})
    ... except ValueError as error:
    ...     print(str(error).splitlines()[2])
    Of another shape (1): fc.bias (9,) instead of (8,)

    References:
        - [Du et al., 2025](https://arxiv.org/abs/2501.09753): SRE-Conv.
        - [Du et al., 2025](https://arxiv.org/abs/2504.02819): GMR-Conv.
    """
    variables, rings = _official_names(model)
    found = read_checkpoint(checkpoint)
    if CLASSIFIER[0] not in variables:
        found = {n: v for n, v in found.items() if n not in CLASSIFIER}
    arrays = _checked(model, found, variables, rings)
    for name, variable in variables.items():
        # PyTorch's order of axes is the reverse of ours.
        reverse = tuple(variable.shape)[::-1]
        variable.assign(np.reshape(arrays[name], reverse).T)
    return model


def _official_names(model):
    """Returns the variables of a network by their official names.

    Returns:
        Dict from names to variables, and a dict from the names of ring weights
        to their layers.
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    _check_model(model, layers)
    rank = layers["stem_conv"].rank
    # The convolution of a block that may come after pooling.
    pooled = "conv2" if "stage1_block1_conv3" in layers else "conv1"
    variables, ring_layers = {}, {}
    for name, layer in layers.items():
        module = _official_module(name, rank, pooled)
        if module is None:
            continue
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = {
                "weight": layer.gamma,
                "bias": layer.beta,
                "running_mean": layer.moving_mean,
                "running_var": layer.moving_variance,
            }
        elif name == "predictions":
            parts = {"weight": layer.kernel, "bias": layer.bias}
        else:
            parts = {"weight": layer.ring_kernel}
            if layer.ring_profile == "gaussian":
                parts["log_sigmas"] = layer.log_sigma
            ring_layers[f"{module}.weight"] = layer
        variables.update((f"{module}.{k}", v) for k, v in parts.items())
    # The official stem of volumes is our kernel in a frame of zeros.
    ring_layers.pop("stem.0.weight", None)
    return variables, ring_layers


def _check_model(model, layers):
    stem = layers.get("stem_conv")
    if not isinstance(stem, (SREConv2D, SREConv3D)):
        raise ValueError(
            f"Received a model of type {type(model).__name__} (name "
            f"{getattr(model, 'name', None)!r}). Expected one of "
            "keras_sre.applications.SREResNet*; where that is a layer of "
            "another model, the layer."
        )
    large = "stem_pool1" in layers
    profile, harmonics = stem.ring_profile, stem.harmonics
    if large or harmonics or profile not in ("hard", "gaussian"):
        raise ValueError(
            f"Received a model with ring_profile={profile!r}, harmonics="
            f"{harmonics} and {'' if large else 'not '}stem='large'. Official "
            "networks are built with ring_profile='hard' (SRE-Conv) or "
            "'gaussian' (GMR-Conv), harmonics=(), and stem='small' "
            "(skip_first_maxpool=True, and volumes) or 'official'."
        )


def _official_module(name, rank, pooled):
    """Translates `"stage2_block1_conv1_bn"` to `"layer2.0.bn1"`.

    Returns `None` for layers that are not the network's own.
    """
    if name in _STEM_AND_HEAD[rank]:
        return _STEM_AND_HEAD[rank][name]
    match = _BLOCK_LAYER.fullmatch(name)
    if match is None:
        return None
    stage, block, part, norm = match.groups()
    prefix = f"layer{stage}.{int(block) - 1}"
    if part == "shortcut":  # [pooling, convolution, normalisation]
        return f"{prefix}.downsample.{2 if norm else 1}"
    if rank == 3:  # [pooling or nothing, convolution, normalisation]
        return f"{prefix}.{part}.{(part == pooled) + bool(norm)}"
    if norm:
        return f"{prefix}.bn{part[-1]}"
    strided = part == pooled and stage != "1" and block == "1"
    return f"{prefix}.{part}.1" if strided else f"{prefix}.{part}"


def _as_float32(array):
    with np.errstate(over="ignore"):  # becomes infinite
        return array.astype("float32")


def _checked(model, found, variables, ring_layers):
    """Returns an array for each variable, or lists all that does not fit."""
    problems = {
        "Missing in the checkpoint": [n for n in variables if n not in found],
        "Not in the model": [
            name
            for name in found
            if name not in variables and not name.endswith(CONSTANTS)
        ],
        "Of another shape": [],
        "For other rings": [],
        "NaN or infinite": [],
    }
    arrays = {}
    for name, variable in variables.items():
        if name not in found:
            continue
        array, same_rings = to_array(found[name], name), True
        matrix = found.get(f"{name}_index_mat")
        if name in ring_layers and matrix is not None:
            matrix = to_array(matrix, f"{name}_index_mat")
            array, same_rings = _on_rings(array, matrix, ring_layers[name])
        expected = tuple(variable.shape)[::-1]
        # Pointwise kernels have axes of size 1 in the place of rings.
        more = (1,) * (array.ndim - len(expected))
        if array.shape != expected + more:
            problems["Of another shape"].append(
                f"{name} {array.shape} instead of {expected}"
            )
        elif not same_rings:
            problems["For other rings"].append(name)
        elif not np.isfinite(_as_float32(array)).all():
            problems["NaN or infinite"].append(name)
        arrays[name] = array
    lines = [
        f"{problem} ({len(names)}): {_few(names)}"
        for problem, names in problems.items()
        if names
    ]
    if lines:
        lines = "\n".join(lines)
        raise ValueError(
            f"The checkpoint does not fit the model {model.name!r}; nothing "
            f"was loaded.\n{lines}\nBuild the model that was trained: "
            "SREResNet18, 34 or 50 (SREResNet3D* for volumes) with its "
            "kernel_sizes, num_rings, width, classes, input channels and "
            "ring_profile ('gaussian' where there are log_sigmas), or with "
            "include_top=False to leave its classifier (fc) out."
        )
    return arrays


def _on_rings(weight, matrix, layer):
    """Returns ring weights, and whether they are for the rings of a layer.

    Args:
        weight: array of shape `(filters, channels, rings)`.
        matrix: array of shape `(1, 1, rings, taps)`, 1 where a tap is in a
            ring.
        layer: the layer that they are for.
    """
    if matrix.ndim != 4 or matrix.shape[:2] != (1, 1):
        return weight, False
    matrix = matrix[0, 0]
    ours = ring_filters(layer.kernel_size, layer.num_rings, layer.circular)
    if layer.ring_profile == "hard" and weight.shape[-1:] == matrix.shape[:1]:
        # Official rings can be empty. Their weights do nothing.
        held = matrix.any(axis=-1)
        weight, matrix = weight[..., held], matrix[held]
    return weight, np.array_equal(matrix, ours.reshape(len(ours), -1))


def _few(names):
    more = ["..."] if len(names) > MOST_LISTED else []
    return ", ".join([*names[:MOST_LISTED], *more])
