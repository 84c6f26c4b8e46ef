"""An `.npz` file: what is read, how it is split, what is refused."""

import zipfile

import data
import numpy as np
import own_data
import pytest
from config import RunConfig
from data import load_dataset
from own_images import npz
from own_images import read_lines
from recipes import recipe_for


@pytest.mark.parametrize(
    ("shape", "rank", "expected"),
    [
        ((8, 8), 2, (8, 8, 1)),
        ((8, 8, 1), 2, (8, 8, 1)),
        ((8, 8, 3), 2, (8, 8, 3)),
        ((6, 6, 6), 3, (6, 6, 6, 1)),
        ((6, 6, 6, 1), 3, (6, 6, 6, 1)),
        ((6, 6, 6, 3), 3, (6, 6, 6, 3)),
    ],
    ids=lambda value: (
        "x".join(map(str, value)) if isinstance(value, tuple) else ""
    ),
)
def test_axes_are_told_apart(tmp_path, shape, rank, expected):
    path = str(npz(tmp_path / "cells.npz", shape=shape))
    assert data.rank_of(path) == rank
    assert data.num_images(path) == 10
    dataset = load_dataset(path)
    assert dataset.name == "cells" and dataset.image_shape == expected
    with np.load(path) as arrays:
        for split, (images, labels) in dataset.splits.items():
            raw = arrays[f"{split}_images"]
            np.testing.assert_array_equal(images, raw.reshape(images.shape))
            assert labels.tolist() == arrays[f"{split}_labels"].tolist()
    config = RunConfig(dataset=path).resolve()
    assert config.size == shape[0]
    assert config.model == ("sre_resnet18" if rank == 2 else "sre_resnet3d18")
    best = recipe_for("breastmnist" if rank == 2 else "adrenalmnist3d", "best")
    assert config.kernel_sizes == best.kernel_sizes
    kind = "images" if rank == 2 else "volumes"
    assert f"Read as: {kind} of" in dataset.found.lines[0]


@pytest.mark.parametrize("dtype", ["int16", "float16", "float64", ">u4"])
def test_the_training_range_becomes_minus_one_to_one(tmp_path, dtype):
    values = np.array([20, 30, 60, 40, 20], dtype).reshape(5, 1, 1)
    images = np.broadcast_to(values, (5, 4, 4))
    path = npz(
        tmp_path / "a.npz",
        (5, 2, 2),
        train_images=images,
        val_images=images[:2],
        test_images=(images[1:3] * 2).astype(dtype),
    )
    dataset = load_dataset(str(path))
    assert dataset.value_range == (20, 60)
    expected = {"train": [-1, -0.5, 1, 0, -1], "val": [-1, -0.5]}
    expected["test"] = [1, 4]  # 60 and 120 by the same map
    for split, (images, _) in dataset.splits.items():
        assert images.dtype == "float32"
        np.testing.assert_allclose(
            images[:, 3, 3, 0], expected[split], atol=1e-6
        )
    assert "Values: 20 and 60, the range of the" in dataset.found.lines[1]


@pytest.mark.parametrize(("dtype", "black"), [("uint8", 0), ("float32", -1)])
def test_arrays_are_padded_to_the_longest_side(tmp_path, dtype, black):
    path = str(npz(tmp_path / "a.npz", shape=(4, 7, 5), dtype=dtype))
    dataset = load_dataset(path)
    assert dataset.image_shape == (7, 7, 7, 1)
    assert RunConfig(dataset=path).resolve().size == 7
    image = dataset.splits["train"][0][0, ..., 0]
    # One before, two after along depth; one on both sides along the width.
    outside = np.ones((7, 7, 7), bool)
    outside[1:5, :, 1:6] = False
    assert (image[outside] == black).all()
    with np.load(path) as arrays:
        raw = arrays["train_images"].astype("float64")
        if dtype == "float32":
            raw = 2 * (raw - raw.min()) / np.ptp(raw) - 1
    np.testing.assert_allclose(image[1:5, :, 1:6], raw[0], atol=1e-6)


def test_a_tenth_of_each_class_stands_for_a_missing_val(tmp_path):
    labels = np.array([0] * 30 + [1] * 10)[:, None]
    images = np.arange(40, dtype="uint8").repeat(64).reshape(40, 8, 8)
    path = npz(
        tmp_path / "a.npz", (40, 0, 4), train_images=images, train_labels=labels
    )
    dataset = load_dataset(str(path))
    assert data.num_images(str(path)) == 36
    assert dataset.found.counts["train"] == [27, 9]
    assert dataset.found.counts["val"] == [3, 1]
    seen = []
    for split in ("train", "val"):
        images, classes = dataset.splits[split]
        numbers = images[:, 0, 0, 0]
        np.testing.assert_array_equal(classes, numbers >= 30)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(40))
    assert "val is a tenth" in dataset.found.lines[-1]


def test_columns_of_zeros_and_ones_are_several_labels(tmp_path):
    some = np.array([[1, 0, 1], [0, 1, 1]])
    path = npz(
        tmp_path / "a.npz",
        train_labels=np.tile(some, (5, 1)),
        val_labels=np.tile(some, (2, 1)).astype(bool),
        test_labels=np.tile(some, (2, 1)),
    )
    dataset = load_dataset(str(path))
    assert dataset.task.multi_label and dataset.classes == ("0", "1", "2")
    assert dataset.found.counts["train"] == [5, 5, 10]
    assert dataset.found.num_images == {"train": 10, "val": 4, "test": 4}
    one = np.eye(2, dtype=int)[np.arange(10) % 2]
    npz(path, train_labels=one, val_labels=one[:4], test_labels=one[:4])
    assert "has just one" in read_lines(path)


NAN = np.full((10, 8, 8), np.nan, "float32")
FLOATS = {
    f"{s}_images": np.ones((n, 8, 8), "float32")
    for s, n in (("train", 10), ("val", 4), ("test", 4))
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": None}, "there is no test_images but test_labels"),
        ({"val_labels": None}, "there is no val_labels but"),
        ({"train_images": np.zeros((0, 8, 8), "uint8")}, "hold 0 images"),
        ({"test_images": np.zeros((4, 9, 8), "uint8")}, "of one type and size"),
        ({"test_images": np.zeros((4, 8, 8))}, "of one type and size"),
        (
            {"train_images": np.zeros((10, 8), "uint8")},
            "have the shape (10, 8)",
        ),
        ({"train_images": np.uint8(3)}, "have the shape ()"),
        ({"train_images": np.zeros((10, 4, 4, 4, 2))}, "of 1 or 3 channels"),
        ({"train_images": np.array(["a"] * 10)}, "type <U1. Expected numbers"),
        ({"train_images": np.zeros((10, 8, 8), complex)}, "Expected numbers"),
        (FLOATS | {"train_images": NAN}, "train_images hold values that are"),
        (FLOATS | {"test_images": NAN[:4]}, "test_images hold values that are"),
        (FLOATS, "go from 1.0 to 1.0. Expected values that differ"),
        ({"train_labels": np.arange(9)}, "10 train_images, but 9 train_labels"),
        (
            {"train_labels": np.arange(10) + 1},
            "10 different values from 1 to 10",
        ),
        (
            {"train_labels": np.arange(10) * 2},
            "10 different values from 0 to 18",
        ),
        ({"train_labels": np.zeros(10, int)}, "1 different values from 0 to 0"),
        ({"test_labels": np.array([0, 1, 2, 1])}, "test_labels go from 0 to 2"),
        ({"test_labels": np.array([0, -1, 0, 1])}, "test_labels go from -1 to"),
        ({"train_labels": np.zeros(10)}, "are float64 of shape (10,)"),
        ({"train_labels": np.zeros((10, 2), int)}, "but train_labels of shape"),
        (
            {
                f"{s}_labels": np.full((n, 2), 2)
                for s, n in (("train", 10), ("val", 4), ("test", 4))
            },
            "train_labels of shape (10, 2) are not all 0 or 1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arrays_are_one_line(tmp_path, changes, message):
    path = npz(tmp_path / "a.npz", **changes)
    with pytest.raises(ValueError) as error:
        load_dataset(str(path))
    assert message in str(error.value) and "\n" not in str(error.value)


HEADER = {"descr": "|u1", "fortran_order": False}


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((10, 10**9, 10**9), 64, "takes 10000000000000000000 bytes"),
        ((10, 8, 8), 64, "takes 640 bytes, and there are 64"),
        ((10, 8, 8), 10**6, "takes 640 bytes, and there are 1000000"),
        ((10, 8, 8), 640, "its 18 images need"),
    ],
    ids=["huge", "short", "long", "bomb"],
)
def test_claims_are_checked_before_reading(
    tmp_path, monkeypatch, shape, size, message
):
    path = npz(tmp_path / "a.npz", train_images=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w") as file:
            header = {**HEADER, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(size))
    monkeypatch.setattr(own_data, "MOST_BYTES", 18 * 64 - 1)
    monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing is read
    with pytest.raises(ValueError) as error:
        load_dataset(str(path))
    assert message in str(error.value)


def test_objects_are_never_unpickled(tmp_path):
    path = npz(tmp_path / "a.npz", train_images=np.array([print] * 10))
    with pytest.raises(ValueError, match="of type object. Expected numbers"):
        load_dataset(str(path))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99], ids=str)
def test_truncated_files_are_one_line(tmp_path, keep):
    path = npz(tmp_path / "a.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="^Cannot read .*a.npz: .*[.]$"):
        load_dataset(str(path))


def test_a_changed_byte_is_noticed(tmp_path):
    path = npz(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"train_images.npy") + 250] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Cannot read train_images of .*CRC"):
        load_dataset(str(path))
