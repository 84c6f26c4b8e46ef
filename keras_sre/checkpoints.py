"""PyTorch checkpoints as arrays by name, without running code from a file."""

import collections.abc
import json
import math
import os
import pathlib
import re

import numpy as np

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = re.compile(r"^((module|model|_orig_mod)\.)+")
SAFETENSORS_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_checkpoint(checkpoint):
    """Returns the arrays of a state dict by their bare names.

    Args:
        checkpoint: path of a `.pt`, `.pth`, `.ckpt` (all by PyTorch), `.npz` or
            `.safetensors` file, or a mapping from names to arrays. It may be
            wrapped as `"state_dict"`, `"model_state_dict"` or `"model"`, and
            names may begin with `"module."`, `"model."` or `"_orig_mod."`.

    Returns:
        Dict from names to NumPy arrays, PyTorch tensors, or what else the
        mapping held: see `to_array`.

    Raises:
        ValueError: if there is no such file, it cannot be read, PyTorch is
            needed and missing, or names are ambiguous.

    Example:

    >>> read_checkpoint({"state_dict": {"module.fc.bias": 0.5}, "epoch": 3})
    {'fc.bias': 0.5}
    """
    if isinstance(checkpoint, (str, os.PathLike)):
        checkpoint = _read_file(pathlib.Path(checkpoint))
    if not isinstance(checkpoint, collections.abc.Mapping):
        raise ValueError(
            f"Received a checkpoint of type {type(checkpoint).__name__}. "
            "Expected a path, or a mapping such as PyTorch's "
            "model.state_dict()."
        )
    for key in WRAPPERS:
        if isinstance(checkpoint.get(key), collections.abc.Mapping):
            return read_checkpoint(checkpoint[key])
    bare = {PREFIXES.sub("", str(key)): checkpoint[key] for key in checkpoint}
    if len(bare) < len(checkpoint):
        raise ValueError(
            "The checkpoint holds several networks: without the beginnings "
            "'module.', 'model.' and '_orig_mod.' some names are the same. "
            "Pass the mapping of one of them."
        )
    return bare


def to_array(value, name):
    """Returns an array, or a PyTorch tensor of any device, as float64.

    Raises:
        ValueError: if `value` does not hold real numbers; it says `name`.

    Example:

    >>> to_array([1, 2], "fc.bias")
    array([1., 2.])
    """
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().double().numpy()
        return np.asarray(value).astype("float64", casting="same_kind")
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"Received {name!r} of type {type(value).__name__}. Expected an "
            "array of numbers."
        ) from error


def _read_file(path):
    if path.suffix not in _READERS:
        raise ValueError(
            f"Received checkpoint={str(path)!r}. Expected a mapping, or a file "
            f"with one of the suffixes {', '.join(_READERS)}."
        )
    if not path.is_file():
        raise ValueError(
            f"Received checkpoint={str(path)!r}. There is no such file."
        )
    try:
        return _READERS[path.suffix](path)
    except ImportError as error:
        raise ValueError(
            f"Reading {str(path)!r} needs PyTorch ({error}). Install it with "
            "pip install torch, or convert the file to .npz or .safetensors "
            "where PyTorch is."
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {reason})."
            " It is damaged, or holds more than arrays of numbers. In PyTorch, "
            "save model.state_dict() alone."
        ) from error


def _read_torch(path):
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _read_npz(path):
    # Opened here, as NumPy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path):
    """Reads the length of a header, the header (JSON) and raw data."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:start]), content[start:]
    header.pop("__metadata__", None)
    return {name: _tensor(name, entry, data) for name, entry in header.items()}


def _tensor(name, entry, data):
    dtype, shape = entry["dtype"], entry["shape"]
    if dtype not in SAFETENSORS_DTYPES:
        raise ValueError(f"{name!r} is of the unknown dtype {dtype!r}")
    stored = np.dtype(SAFETENSORS_DTYPES[dtype])
    begin, end = entry["data_offsets"]
    size = math.prod(shape) * stored.itemsize
    if not 0 <= begin <= end <= len(data) or end - begin != size:
        raise ValueError(f"the data of {name!r} is cut off or of another size")
    array = np.frombuffer(data[begin:end], stored).reshape(shape)
    if dtype == "BF16":
        upper = np.left_shift(array.astype("<u4"), np.uint32(16))
        array = np.asarray(upper, "<u4").view("<f4")
    return array


_READERS = {
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".ckpt": _read_torch,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
