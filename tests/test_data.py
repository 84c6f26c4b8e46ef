"""Data sets: textures, MedMNIST files, and what is wrong with them."""

import hashlib

import data
import numpy as np
import pytest
import textures
from data import load_dataset


def test_textures_give_nothing_away():
    dataset = load_dataset("textures", size=32)
    for images, labels in dataset.splits.values():
        assert images.shape[1:] == (32, 32, 1) and images.dtype == "float32"
        assert np.abs(images.mean(axis=(1, 2, 3))).max() < 1e-4
        assert np.abs(images.std(axis=(1, 2, 3)) - 1).max() < 1e-3
        assert len(set(np.bincount(labels))) == 1  # as many of each class


def test_texture_splits_share_no_row():
    edges = [band for band, _ in textures.SPLITS.values()]
    assert edges[0][1] < edges[1][0] and edges[1][1] < edges[2][0]


def test_limit_keeps_that_many():
    splits = load_dataset("textures", size=28, limit=5).splits
    assert [len(labels) for _, labels in splits.values()] == [5, 5, 5]


@pytest.fixture
def medmnist_file(tmp_path, monkeypatch):
    """A small file in MedMNIST's format that `INFO` is told to expect."""
    rng = np.random.default_rng(0)
    path = tmp_path / "breastmnist.npz"
    arrays = {}
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        shape = (count, 28, 28)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, "uint8")
        arrays[f"{split}_labels"] = np.arange(count, dtype="uint8")[:, None] % 2
    np.savez(path, **arrays)

    def expect(content):
        info = {
            "task": "binary-class",
            "label": {"0": "malignant", "1": "benign"},
            "MD5": hashlib.md5(content).hexdigest(),
            "url": "http://127.0.0.1:9/breastmnist.npz",  # nobody answers
            "license": "CC BY 4.0",
            "n_channels": 1,
        }
        monkeypatch.setattr(
            data, "_medmnist_info", lambda: {"breastmnist": info}
        )

    expect(path.read_bytes())
    return path, expect


def test_medmnist_is_scaled_and_labelled(medmnist_file):
    path, _ = medmnist_file
    dataset = load_dataset("breastmnist", root=path.parent)
    images, labels = dataset.splits["train"]
    assert images.shape == (6, 32, 32, 1) and images.dtype == "uint8"
    np.testing.assert_allclose(
        data.scale(images), (images / 255.0 - 0.5) / 0.5, atol=1e-6
    )
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.classes == ("malignant", "benign")


def test_root_can_be_an_environment_variable(medmnist_file, monkeypatch):
    path, _ = medmnist_file
    monkeypatch.setenv("MEDMNIST_ROOT", str(path.parent))
    assert load_dataset("breastmnist").md5


@pytest.mark.parametrize("damage", ["bit flipped", "truncated", "empty"])
def test_damaged_file_is_refused_by_its_md5(medmnist_file, damage):
    path, _ = medmnist_file
    content = bytearray(path.read_bytes())
    if damage == "bit flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[0 if damage == "empty" else 100 :]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or not the published file"):
        load_dataset("breastmnist", root=path.parent)


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_unreadable_content_is_one_line(medmnist_file, content):
    path, expect = medmnist_file
    path.write_bytes(content)
    expect(content)
    with pytest.raises(ValueError, match="Cannot read") as error:
        load_dataset("breastmnist", root=path.parent)
    assert "\n" not in str(error.value)


def test_pickled_objects_are_never_loaded(medmnist_file):
    path, expect = medmnist_file
    np.savez(path, train_images=np.array([object()], dtype=object))
    expect(path.read_bytes())
    with pytest.raises(ValueError, match="Cannot read"):
        load_dataset("breastmnist", root=path.parent)


def test_missing_file_is_downloaded(medmnist_file, monkeypatch, tmp_path):
    path, _ = medmnist_file
    asked = []

    def fetch(url, target, md5, progress):
        asked.append((url, md5))
        target.parent.mkdir()
        target.write_bytes(path.read_bytes())

    monkeypatch.setattr(data, "fetch", fetch)
    dataset = load_dataset("breastmnist", root=tmp_path / "elsewhere")
    assert asked == [("http://127.0.0.1:9/breastmnist.npz", dataset.md5)]
    assert dataset.licence == "CC BY 4.0"


def test_unknown_size_says_which_there_are(medmnist_file):
    path, _ = medmnist_file
    with pytest.raises(ValueError, match="breastmnist at 28"):
        load_dataset("breastmnist", root=path.parent, size=64)


def test_large_arrays_are_read_from_disk(medmnist_file, monkeypatch):
    path, _ = medmnist_file
    expected = load_dataset("breastmnist", root=path.parent)
    monkeypatch.setattr(data, "STREAMED_BYTES", 1000)
    monkeypatch.setattr(data, "resize", lambda images: images)
    for _ in range(2):  # unpacked, then found
        dataset = load_dataset("breastmnist", root=path.parent)
        images, _ = dataset.splits["train"]
        assert isinstance(images, data.ArrayOnDisk)
        raw = np.load(path)["train_images"][..., None]
        assert images.shape == raw.shape and len(images) == 6
        np.testing.assert_array_equal(images[1:3], raw[1:3])
        np.testing.assert_array_equal(images[np.array([0, 4])], raw[[0, 4]])
    unpacked = {
        p.name for p in (path.parent / "breastmnist_unpacked").iterdir()
    }
    assert unpacked == {f"{split}_images.npy" for split in data.SPLITS}
    labels = expected.splits["train"][1]
    np.testing.assert_array_equal(dataset.splits["train"][1], labels)


def test_several_labels_stay_apart(medmnist_file, monkeypatch):
    path, _ = medmnist_file
    arrays = dict(np.load(path))
    for split in data.SPLITS:
        count = len(arrays[f"{split}_labels"])
        arrays[f"{split}_labels"] = np.eye(count, 14, dtype="uint8")
    np.savez(path, **arrays)
    info = {
        "task": "multi-label, binary-class",
        "label": {str(i): f"finding {i}" for i in range(14)},
        "MD5": hashlib.md5(path.read_bytes()).hexdigest(),
        "url": "http://127.0.0.1:9/",
        "license": "CC BY 4.0",
        "n_channels": 1,
    }
    monkeypatch.setattr(data, "_medmnist_info", lambda: {"breastmnist": info})
    dataset = load_dataset("breastmnist", root=path.parent)
    assert dataset.task.multi_label
    assert dataset.splits["train"][1].shape == (6, 14)


def test_all_eighteen_are_known():
    pytest.importorskip("medmnist.info")
    assert len(data.dataset_names()) == 19
    assert len(data.medmnist_names(2)) == 12
    assert len(data.medmnist_names(3)) == 6


def test_real_medmnist_files_load(medmnist_root, monkeypatch):
    """Whole as they are, and a few of each as they are trained on."""
    counts = {
        "breastmnist": (546, 78, 156),
        "pneumoniamnist": (4708, 524, 624),
        "retinamnist": (1080, 120, 400),
        "adrenalmnist3d": (1188, 98, 298),
    }
    for name, expected in counts.items():
        splits = load_dataset(name, root=medmnist_root, limit=2).splits
        shape = (32,) * data.rank_of(name)
        assert splits["train"][0].shape[1:-1] == shape
        with monkeypatch.context() as patch:
            patch.setattr(data, "resize", lambda images: images)
            splits = load_dataset(name, root=medmnist_root).splits
        for (images, labels), count in zip(
            splits.values(), expected, strict=True
        ):
            assert len(images) == len(labels) == count
