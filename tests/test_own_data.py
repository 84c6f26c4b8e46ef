"""A user's own images: what is read, how it is split, what is refused."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import zipfile

import data
import evaluate
import export
import fit
import keras
import numpy as np
import own_data
import plots
import pytest
from config import RunConfig
from data import load_dataset
from own_data import hold_out
from PIL import Image
from recipes import recipe_for

PREDICT = pathlib.Path(__file__).parents[1] / "saved_models" / "predict.py"


def save(path, values, mode=None, **options):
    """Writes an array as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    (image.convert(mode) if mode else image).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten grey images, each of one brightness."""
    path = tmp_path / "cells"
    for row, name in enumerate(("round", "long")):
        for i in range(10):
            brightness = np.full((8, 8), 20 * i + row, "uint8")
            save(path / name / f"{i}.png", brightness)
    return path


def npz(path, counts=(10, 4, 4), shape=(8, 8), dtype="uint8", **changes):
    """Writes a file of random images and labels that alternate."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        if count:
            images = rng.integers(0, 256, (count, *shape)).astype(dtype)
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.arange(count) % 2
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def read_lines(path, size=None):
    return "\n".join(load_dataset(str(path), size=size).found.lines)


# Folders


def test_a_folder_is_split_by_class(folder):
    dataset = load_dataset(str(folder))
    assert dataset.name == "cells" and dataset.classes == ("long", "round")
    assert dataset.licence is None and not dataset.official
    assert dataset.found.counts == {
        "train": [7, 7],
        "val": [1, 1],
        "test": [2, 2],
    }
    seen = []
    for images, labels in dataset.splits.values():
        assert images.shape[1:] == (64, 64, 1) and images.dtype == "uint8"
        assert labels.dtype == "int64"
        # The brightness names the image: the long ones are odd.
        brightness = images[:, 0, 0, 0]
        np.testing.assert_array_equal(brightness % 2 == 0, labels == 1)
        seen += brightness.tolist()
    assert sorted(seen) == sorted(20 * i + r for i in range(10) for r in (0, 1))


def test_the_split_is_of_the_names_alone(folder):
    before = load_dataset(str(folder), size=28)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        save(path, np.full((9, 9), 12 * i, "uint8"))
    moved = folder.rename(folder.with_name("elsewhere"))
    after = load_dataset(str(moved), size=28)
    for split, (images, labels) in after.splits.items():
        was = [
            ("long" if v % 2 else "round", v // 20)
            for v in before.splits[split][0][:, 0, 0, 0].tolist()
        ]
        names = [("long", v // 12) for v in images[:, 0, 0, 0] if v < 120]
        names += [
            ("round", v // 12 - 10) for v in images[:, 0, 0, 0] if v >= 120
        ]
        assert sorted(was) == sorted(names)
        np.testing.assert_array_equal(labels, before.splits[split][1])
    assert before.md5 != after.md5


def test_held_out_names_are_those_of_the_first_md5():
    # From `printf NAME | md5sum`: a 0cc1, b 92eb, c 4a8a, d 8277.
    assert hold_out(["a", "b", "c", "d"], 0.5) == {"a", "c"}
    assert hold_out(["a"], 0.5) == set()
    assert hold_out(["a", "b"], 0.99) == {"a"}


@pytest.mark.parametrize("with_val", [True, False])
def test_splits_may_be_given(folder, with_val):
    for split in ("train", "val", "test") if with_val else ("train", "test"):
        for name in ("long", "round"):
            path = folder / split / name
            path.mkdir(parents=True)
            for i, file in enumerate(sorted((folder / name).iterdir())):
                if split == "train" or i < 2:
                    (path / file.name).write_bytes(file.read_bytes())
    for name in ("long", "round"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    found = load_dataset(str(folder)).found
    val, train = ([2, 2], [10, 10]) if with_val else ([1, 1], [9, 9])
    assert found.counts == {"train": train, "val": val, "test": [2, 2]}
    assert data.num_images(str(folder)) == sum(train)


def test_what_is_not_square_is_padded(folder):
    save(folder / "long" / "0.png", np.full((4, 2), 200, "uint8"))
    for path in folder.rglob("*.png"):
        if path.name != "0.png":
            save(path, np.zeros((4, 4), "uint8"))
    save(folder / "round" / "0.png", np.full((3, 4), 100, "uint8"))
    dataset = load_dataset(str(folder), size=32)
    images = np.concatenate([s[0] for s in dataset.splits.values()])[..., 0]
    tall, wide = (images[images.max(axis=(1, 2)) == v][0] for v in (200, 100))
    # 8 columns of black, 16 of the image, 8 of black; edges are blurred.
    np.testing.assert_array_equal(tall[:, :4], 0)
    np.testing.assert_array_equal(tall[:, 12:20], 200)
    np.testing.assert_array_equal(tall[:, 28:], 0)
    # One row is missing: it is added below.
    np.testing.assert_array_equal(wide[:20], 100)
    np.testing.assert_array_equal(wide[28:], 0)
    lines = "\n".join(dataset.found.lines)
    assert "Padded with black to a square: 2 of 20." in lines
    assert "2 x 4 to 4 x 4 pixels" in lines


RAMP = np.arange(64).reshape(8, 8)


@pytest.mark.parametrize(
    ("values", "mode", "ending", "channels", "expected"),
    [
        (RAMP.astype("uint8"), None, "png", 1, RAMP),
        (RAMP.astype("uint8"), None, "bmp", 1, RAMP),
        (RAMP.astype("uint8"), None, "gif", 1, RAMP),
        (RAMP.astype("uint8"), "P", "png", 1, RAMP),
        (RAMP.astype("uint8"), "LA", "png", 1, RAMP),
        (RAMP > 31, None, "png", 1, 255 * (RAMP > 31)),
        ((RAMP * 65 + 5).astype("uint16"), None, "png", 1, RAMP / 63 * 255),
        ((RAMP / 9 - 2).astype("float32"), None, "tif", 1, RAMP / 63 * 255),
        (RAMP.astype("uint8"), "RGB", "png", 3, RAMP),
        (RAMP.astype("uint8"), "RGBA", "tif", 3, RAMP),
    ],
    ids="8-bit bmp gif palette alpha 1-bit 16-bit float rgb rgba".split(),
)
def test_modes_and_formats(folder, values, mode, ending, channels, expected):
    for path in folder.rglob("*.png"):
        save(path.with_suffix(f".{ending}"), values, mode)
        if ending != "png":
            path.unlink()
    images, _ = load_dataset(str(folder), size=8).splits["train"]
    assert images.shape[1:] == (8, 8, channels)
    for channel in range(channels):
        np.testing.assert_array_equal(
            images[0, ..., channel], np.rint(expected)
        )


def test_one_coloured_image_makes_all_rgb(folder):
    save(folder / "long" / "0.png", np.full((8, 8, 3), (9, 8, 7), "uint8"))
    dataset = load_dataset(str(folder))
    assert dataset.image_shape == (64, 64, 3)
    assert "19 L, 1 RGB" in "\n".join(dataset.found.lines)


def test_alpha_is_dropped_not_composed(folder):
    pixel = np.full((8, 8, 4), (9, 8, 7, 0), "uint8")
    for path in folder.rglob("*.png"):
        save(path, pixel)
    images, _ = load_dataset(str(folder)).splits["val"]
    assert images[0, 5, 5].tolist() == [9, 8, 7]


def test_exif_says_what_is_upright(folder):
    values = np.zeros((8, 8), "uint8")
    values[0] = 255  # the top row; turned by 90 degrees it is at the right
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in folder.rglob("*.png"):
        save(path, values, exif=exif)
    dataset = load_dataset(str(folder), size=8)
    image = dataset.splits["val"][0][0, ..., 0]
    assert image[:, 7].tolist() == [255] * 8 and not image[:, :7].any()
    assert "Turned upright as EXIF says: 20 of 20." in dataset.found.lines


def test_what_is_left_out_is_named(folder):
    (folder / "long" / "broken.png").write_bytes(b"no image")
    whole = (folder / "long" / "0.png").read_bytes()
    (folder / "long" / "cut.png").write_bytes(whole[:50])
    (folder / "long" / "notes.txt").write_text("x")
    (folder / "long" / ".hidden.png").write_text("x")
    (folder / "long" / "deeper").mkdir()
    (folder / "readme").write_text("x")
    dataset = load_dataset(str(folder))
    assert sum(map(sum, dataset.found.counts.values())) == 20
    (line,) = (n for n in dataset.found.lines if n.startswith("Left out, 5"))
    for name in ("broken.png", "cut.png", "notes.txt", "deeper", "readme"):
        assert name in line
    assert "hidden" not in line and "\n" not in line


def refuse_none(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")


def refuse_one_class(folder):
    (folder / "long").rename(folder / ".long")


def refuse_empty_class(folder):
    (folder / "extra").mkdir()


def refuse_few(folder):
    for i in range(6):
        (folder / "long" / f"{i}.png").unlink()


def refuse_broken_class(folder):
    for path in (folder / "long").iterdir():
        path.write_bytes(b"no image")


def refuse_no_class(folder):
    for name in ("long", "round"):
        (folder / name).rename(folder / f".{name}")
    (folder / "a.png").write_bytes(b"x")


def refuse_no_test(folder):
    for split, name in (("train", "long"), ("val", "round")):
        (folder / split).mkdir()
        (folder / name).rename(folder / split / name)


def refuse_third_split(folder):
    for name in ("train", "test"):
        (folder / name).mkdir()


def refuse_strange_class(folder):
    for split, name in (("train", "long"), ("test", "round")):
        (folder / split).mkdir()
        (folder / name).rename(folder / split / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (refuse_none, "holds no readable image"),
        (refuse_one_class, "has one class only, round"),
        (refuse_empty_class, "has 0 images of extra"),
        (refuse_few, "has 4 images of long"),
        (refuse_broken_class, "has 0 images of long (0.png: cannot identify"),
        (refuse_no_class, "(a.png: not in the folder of a class)"),
        (refuse_no_test, "has no image in test"),
        (refuse_third_split, "beside them long, round"),
        (refuse_strange_class, "has no image of round in train"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[7:],
)
def test_a_folder_that_is_none_is_one_line(folder, change, message):
    change(folder)
    with pytest.raises(ValueError) as error:
        load_dataset(str(folder))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "Expected PATH/CLASS/IMAGE" in str(error.value)


def test_more_than_fits_is_refused(folder, monkeypatch):
    monkeypatch.setattr(own_data, "MOST_BYTES", 20 * 64 * 64 * 3 - 1)
    with pytest.raises(ValueError, match="its 20 images need .* Lower --size"):
        load_dataset(str(folder))
    assert load_dataset(str(folder), size=32)


def test_names_of_any_kind_are_shown(folder, capsys):
    (folder / "long").rename(folder / "[b]$x\n")
    dataset = load_dataset(str(folder))
    own_data.print_found(dataset)
    assert dataset.classes == ("[b]$x?", "round")
    assert "[b]$x?" in capsys.readouterr().out
    assert plots._named(0, dataset) == r"[b]\$x?"  # $ is not mathematics


# Files


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


# Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/cells"], "cells, which does not exist. Expected a folder"),
        (["cells.npz"], "cells.npz, which does not exist"),
        (["./a.txt"], "a.txt, which is neither"),
        (["cels"], "--dataset cels. Choose from: textures"),
        (["cels"], "or give the path of a folder"),
        (["a.npz", "--size", "64"], "--size 64. Choose from: 8."),
        (["a.npz", "--model", "resnet3d18"], "which has 2 spatial axes"),
        (["photos", "--size", "50"], "--size 50. Choose from: 28, 32"),
        (["photos"], "photos, which holds no readable image"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_settings_are_one_line(arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "a.npz")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "photos").mkdir()
    with pytest.raises(SystemExit) as error:
        fit.main(["--dataset", *arguments])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "saved_models").exists()


def test_known_names_come_before_folders(tmp_path, monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.chdir(tmp_path)
    for name in ("breastmnist", "textures", "mine"):
        (tmp_path / name).mkdir()
    assert not data.is_path("breastmnist") and not data.is_path("textures")
    assert data.is_path("mine") and data.is_path("./breastmnist")
    assert RunConfig(dataset="mine").dataset == str(tmp_path / "mine")
    assert data.short_name("mine/") == data.short_name("a/mine.npz") == "mine"


def test_a_folder_has_the_size_asked_for(folder):
    settings = RunConfig(dataset=str(folder))
    assert settings.resolve().size == 64
    assert RunConfig(dataset=str(folder), size=28).resolve().size == 28
    assert load_dataset(str(folder), size=28).image_shape == (28, 28, 1)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A network trained on twelve images, and what `fit.py` printed."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        for i in range(6):
            shape = (32, 21 if i == 0 else 32)  # one of them is padded
            values = rng.integers(0, 128, shape) + 127 * (name == "light")
            save(root / "photos" / name / f"{i}.png", values.astype("uint8"))
    settings = "--width 2 --epochs 1 --size 28 --batch-size 4 --recipe quick"
    settings += " --model resnet18"  # compiles sooner
    printed = io.StringIO()
    with contextlib.chdir(root), contextlib.redirect_stdout(printed):
        fit.main(["--dataset", "photos", *settings.split()])
    return root / "saved_models" / "photos_resnet18", printed.getvalue()


def test_a_run_is_named_by_the_end_of_its_path(finished_run):
    run, printed = finished_run
    assert "all images" in printed and "Files: 12 L" in printed
    config, metrics = (
        json.loads((run / name).read_text())
        for name in ("config.json", "metrics.json")
    )
    assert config["dataset"] == str(run.parents[1] / "photos")
    assert config["num_images"] == {"train": 8, "val": 2, "test": 2}
    assert config["classes"] == ["dark", "light"]
    assert config["dataset_licence"] is None
    assert metrics["dataset"] == "photos"
    assert "masked" in metrics and "medmnist_evaluator" not in metrics


def test_a_run_is_evaluated_from_anywhere(finished_run, capsys):
    run, _ = finished_run
    evaluate.main([str(run), "--angles", "0", "45"])
    metrics = json.loads((run / "metrics.json").read_text())
    shown = f"{100 * metrics['upright']['accuracy']:.1f} %"
    assert shown in capsys.readouterr().out


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports by TensorFlow"
)
def test_predictions_are_those_of_the_network(finished_run):
    run, _ = finished_run
    photos = run.parents[1] / "photos"
    model = export.run(run, "litert")
    assert model["dataset"] == "photos"
    assert model["labels"] == ["dark", "light"]
    assert model["normalisation"] == {"scale": 1 / 127.5, "offset": -1}
    files = sorted(photos.glob("*/*.png"))
    arguments = [sys.executable, PREDICT, run / "model.tflite", *files]
    found = subprocess.run(
        [*arguments, "--json"], capture_output=True, text=True, check=True
    )
    network = keras.models.load_model(run / "model.keras")
    splits = load_dataset(str(photos), size=28).splits.values()
    ours = [evaluate.predict(network, images) for images, _ in splits]
    theirs = [
        result["probabilities"]["dark"] for result in json.loads(found.stdout)
    ]
    np.testing.assert_allclose(
        sorted(theirs), sorted(np.concatenate(ours)[:, 0]), atol=1e-4
    )
