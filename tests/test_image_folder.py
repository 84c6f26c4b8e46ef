"""A folder of images: what is read, how it is split, what is refused."""

import data
import numpy as np
import own_data
import plots
import pytest
from data import load_dataset
from own_data import hold_out
from own_images import class_folder
from own_images import save
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    return class_folder(tmp_path / "cells")


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
    (folder / "long" / "link.png").symlink_to(folder / "nowhere.png")
    dataset = load_dataset(str(folder))
    assert sum(map(sum, dataset.found.counts.values())) == 20
    (line,) = (n for n in dataset.found.lines if n.startswith("Left out, 6"))
    names = "broken.png", "cut.png", "notes.txt", "deeper", "readme", "link.png"
    for name in names:
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
