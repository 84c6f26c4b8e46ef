"""Checkpoint files: every format, every wrapping, every kind of damage."""

import json
import pickle
import sys

import numpy as np
import pytest

from keras_sre.checkpoints import read_checkpoint
from keras_sre.checkpoints import to_array

# Half types hold these exactly.
STATE = {
    "conv1.weight": np.arange(-12, 12, dtype="float32").reshape(4, 2, 3) / 8,
    "bn1.num_batches_tracked": np.array(7, "float32"),
    "fc.bias": np.array([0.5, -1.25, 3.0], "float32"),
}


def prefixed(prefix, state=STATE):
    return {prefix + name: array for name, array in state.items()}


def assert_state(found, state=STATE):
    __tracebackhide__ = True
    assert list(found) == list(state)
    for name, expected in state.items():
        array = to_array(found[name], name)
        assert array.dtype == "float64"
        np.testing.assert_array_equal(array, expected, strict=False)
        assert array.shape == expected.shape


def write_safetensors(path, state, dtype="F32"):
    """Writes the format from its definition."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in state.items():
        if dtype == "BF16":
            raw = (array.view("<u4") >> 16).astype("<u2").tobytes()
        else:
            kind = f"<{dtype[0].lower()}{int(dtype[1:]) // 8}"
            raw = array.astype(kind).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write(path, state=STATE):
    if path.suffix == ".npz":
        np.savez(path, **state)
    elif path.suffix == ".safetensors":
        write_safetensors(path, state)
    else:
        torch = pytest.importorskip("torch")
        torch.save({n: torch.tensor(a) for n, a in state.items()}, path)


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "cur_ep": 3},
        {"model": STATE, "optimizer": {"lr": 0.1}},
        {"model": {"model_state_dict": STATE}},
        prefixed("module."),
        {"state_dict": prefixed("model.")},
        prefixed("_orig_mod.module."),
    ],
    ids=[
        "bare",
        "official",
        "model",
        "twice",
        "parallel",
        "lightning",
        "compiled",
    ],
)
def test_wrappings_are_undone(wrapped):
    assert_state(read_checkpoint(wrapped))


def test_only_beginnings_are_cut():
    state = {"layer1.model.weight": np.ones(2), "modules.bias": np.ones(3)}
    assert_state(read_checkpoint(state), state)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "path"])
@pytest.mark.parametrize(
    "suffix", [".pt", ".pth", ".ckpt", ".npz", ".safetensors"]
)
def test_files(suffix, kind, prefix, tmp_path):
    path = tmp_path / f"model{suffix}"
    write(path, prefixed(prefix))
    assert_state(read_checkpoint(kind(path)))


def test_nested_pytorch_file(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(array) for name, array in STATE.items()}
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": prefixed("module.", tensors), "cur_ep": 3}, path)
    assert_state(read_checkpoint(path))


def test_open_npz(tmp_path):
    write(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        assert_state(read_checkpoint(arrays))


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_safetensors_dtypes(dtype, tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, STATE, dtype)
    assert_state(read_checkpoint(path))


def test_safetensors_integers(tmp_path):
    path, state = tmp_path / "model.safetensors", {"n": np.array([3, -(2**40)])}
    write_safetensors(path, state, "I64")
    assert_state(read_checkpoint(path), state)


@pytest.mark.parametrize("dtype", ["I32", "I16", "I8", "U8"])
def test_safetensors_of_smaller_integers(dtype, tmp_path):
    path, state = tmp_path / "model.safetensors", {"n": np.array([3, 100])}
    write_safetensors(path, state, dtype)
    assert_state(read_checkpoint(path), state)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_pytorch_tensors(dtype):
    torch = pytest.importorskip("torch")
    tensors = {
        name: torch.tensor(array, dtype=getattr(torch, dtype))
        for name, array in STATE.items()
    }
    tensors["fc.bias"].requires_grad_()
    assert_state(read_checkpoint(tensors))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.array([None]), "ndarray"),
        ("half", "str"),
        (["a", "b"], "list"),
        (np.ones(3, complex), "ndarray"),
        ([[1], [1, 2]], "list"),
        ({}, "dict"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_what_is_no_array_of_numbers(value, kind):
    with pytest.raises(ValueError, match=f"'fc.bias' of type {kind}. Expected"):
        to_array(value, "fc.bias")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (3, "of type int. Expected a path, or a mapping"),
        (None, "of type NoneType. Expected a path, or a mapping"),
        ([np.ones(3)], "of type list. Expected a path, or a mapping"),
        ("weights.h5", "'weights.h5'. .* suffixes .pt, .pth, .ckpt, .npz"),
        ("weights", "'weights'. .* suffixes"),
        ("missing.npz", "checkpoint='missing.npz'. There is no such file"),
        ({**STATE, **prefixed("module.")}, "holds several networks"),
    ],
    ids=str,
)
def test_what_is_no_checkpoint(checkpoint, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint(checkpoint)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "model.ckpt").mkdir()
    with pytest.raises(ValueError, match="model.ckpt'. There is no such file"):
        read_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04 cut off", b"\xff" * 64, b"\x80\x02."],
    ids=["empty", "text", "zip", "ones", "pickle"],
)
def test_damaged_files_are_refused(content, suffix, tmp_path):
    if suffix == ".pt":
        pytest.importorskip("torch")
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    message = rf"model{suffix}' cannot be read \(\w+: .*\). It is damaged"
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_truncated_files_are_refused(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    write(path)
    content = path.read_bytes()
    for size in (len(content) - 4, len(content) // 2, 12):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="cannot be read"):
            read_checkpoint(path)


class Touch:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


def test_code_in_a_file_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    trace, path = tmp_path / "trace", tmp_path / "model.pt"
    pickled = pickle.dumps(Touch(trace))
    pickle.loads(pickled)
    assert trace.exists()  # that is what it would do
    trace.unlink()
    torch.save({**STATE, "code": Touch(trace)}, path)
    with pytest.raises(ValueError, match=r"\(UnpicklingError: Weights only"):
        read_checkpoint(path)
    path.write_bytes(pickled)
    with pytest.raises(ValueError, match="In PyTorch, save model.state_dict"):
        read_checkpoint(path)
    assert not trace.exists()


def test_npz_with_objects_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, **{**STATE, "fc.bias": np.array([None, {}, ""])})
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        read_checkpoint(path)


def test_files_of_single_arrays_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="model.npz' cannot be read"):
        read_checkpoint(path)
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(3)], tmp_path / "model.pt")
    with pytest.raises(ValueError, match="checkpoint of type list. Expected"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"data_offsets": [0, 99]}, "cut off or of another size"),
        ({"data_offsets": [-12, 0]}, "cut off or of another size"),
        ({"data_offsets": [12, 0]}, "cut off or of another size"),
        ({"data_offsets": [0]}, "cannot be read"),
        ({"shape": [4]}, "cut off or of another size"),
        ({"shape": [-1]}, "cut off or of another size"),
        ({"shape": "3"}, "cannot be read"),
        ({"dtype": "F8_E4M3"}, "unknown dtype 'F8_E4M3'"),
        ({"dtype": []}, "cannot be read"),
        (None, "cannot be read"),
    ],
    ids=str,
)
def test_disordered_safetensors_are_refused(entry, message, tmp_path):
    header = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
    header = entry and {**header, **entry}
    text = json.dumps({"fc.bias": header}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_safetensors_with_too_long_a_header_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, STATE)
    content = path.read_bytes()
    path.write_bytes((2**63).to_bytes(8, "little") + content[8:])
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(path)


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "model.pt"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="needs PyTorch .*pip install torch"):
        read_checkpoint(path)
