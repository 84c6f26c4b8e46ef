"""Rotation and reflection of images, against recorded official outputs."""

import data
import keras
import numpy as np
import pytest
from helpers import golden_cases

from keras_sre import transforms

FLIP_NAMES = {"vflip": "vertical", "hflip": "horizontal", "dflip": "depth"}


def _rotation_error(turned, expected, interpolation, tie_margin):
    """Returns the largest difference, ties of nearest neighbour left out."""
    difference = np.abs(turned - expected)
    if interpolation == "nearest":  # ties fall to either side
        difference = difference * (tie_margin >= 1e-3)
    return difference.max()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_rotation_equals_torchvision(golden, interpolation):
    for config, arrays in golden_cases(golden("rotate2d"), [interpolation]):
        images = np.moveaxis(arrays["x"], 0, -1)[None]
        for i, angle in enumerate(config["angles_deg"]):
            turned = transforms.rotate(images, angle, interpolation)[0]
            ties = arrays.get("tie_margin", [None] * (i + 1))[i]
            error = _rotation_error(
                np.moveaxis(turned, -1, 0), arrays["y"][i], interpolation, ties
            )
            bound = 0 if interpolation == "nearest" else 4e-5
            assert error <= bound, (config, angle)


def test_rotation_about_an_axis_equals_the_official_one(golden):
    kinds = ["fix_rotate_axis"]
    for config, arrays in golden_cases(golden("rotate3d"), kinds):
        axis, interpolation = config["axis"], config["interpolation"]
        volumes = np.moveaxis(arrays["x"], 0, -1)[None]
        for i, angle in enumerate(config["angles_deg"]):
            turned = transforms.rotate(volumes, angle, interpolation, axis)[0]
            ties = None
            if interpolation == "nearest":
                fixed = "xyz".index(axis)
                ties = np.expand_dims(arrays["tie_margin"][i], fixed)
            error = _rotation_error(
                np.moveaxis(turned, -1, 0), arrays["y"][i], interpolation, ties
            )
            assert error < 4e-5, (config, angle)


def test_flips_of_volumes_equal_the_official_ones(golden):
    for config, arrays in golden_cases(golden("rotate3d"), ["flip3d"]):
        axis = config["spatial_axis"]
        direction = list(transforms.FLIPS[3])[axis]
        volumes = np.moveaxis(arrays["x"], 0, -1)[None]
        flipped = np.moveaxis(transforms.flip(volumes, direction)[0], -1, 0)
        np.testing.assert_array_equal(flipped, arrays["y"])


def test_rotation_of_padded_images_equals_the_official_wrapper(golden):
    for config, arrays in golden_cases(golden("rotate2d_padded")):
        size = arrays["x"].shape[1]
        mode = config["padding"]
        half = size // 2
        images = np.moveaxis(arrays["x"], 0, -1)
        widths = [(half, half), (half, half), (0, 0)]
        padded = np.pad(images, widths, mode=mode)[None]
        for i, angle in enumerate(config["angles_deg"]):
            turned = transforms.rotate(padded, angle, config["interpolation"])
            cropped = turned[0, half : half + size, half : half + size]
            ties = arrays.get("tie_margin", [None] * (i + 1))[i]
            error = _rotation_error(
                np.moveaxis(cropped, -1, 0),
                arrays["y"][i],
                config["interpolation"],
                ties,
            )
            assert error < 4e-5, (config, angle)


def _prepared(images, size):
    """Applies what comes before a rotation: resizing, then scaling."""
    images = images.reshape(*images.shape[:3], -1)
    return data.scale(data.resize(images) if size == 28 else images)


def test_whole_protocol_in_2d(golden):
    arrays = golden("protocol2d")
    for config, case in golden_cases(arrays, ["rotate"]):
        if config["padding"] != "zeros":
            continue
        images = _prepared(case["x"], config["medmnist_size"])
        for i, angle in enumerate(config["angles_deg"]):
            interpolation = config["interpolation"]
            turned = transforms.rotate(images, angle, interpolation)
            error = _rotation_error(
                np.moveaxis(turned, -1, 1),
                case["y"][i],
                interpolation,
                case["tie_margin"][i] if "tie_margin" in case else None,
            )
            bound = 0 if interpolation == "nearest" else 1e-5
            assert error <= bound, (config, angle)
    for config, case in golden_cases(arrays, ["flip"]):
        images = _prepared(case["x"], config["medmnist_size"])
        if config["name"] in FLIP_NAMES:
            images = transforms.flip(images, FLIP_NAMES[config["name"]])
        np.testing.assert_array_equal(np.moveaxis(images, -1, 1), case["y"])


def test_whole_protocol_in_3d(golden):
    for config, case in golden_cases(golden("protocol3d")):
        volumes = data.scale(data.resize(case["x"][..., None]))
        if "aug_axis" in config:
            volumes = transforms.rotate(
                volumes, config["degree"], axis=config["aug_axis"]
            )
        elif config["name"] in FLIP_NAMES:
            volumes = transforms.flip(volumes, FLIP_NAMES[config["name"]])
        kept = volumes[0, ::2, ::2, ::2, 0]
        np.testing.assert_allclose(kept, case["y"][0], atol=1e-6)


def test_rotation_matrices_equal_tensorflow_addons(golden):
    for config, case in golden_cases(golden("tfa_matrices"), ["angles"]):
        for angle, expected in zip(
            case["angles"], case["transforms"], strict=True
        ):
            height, width = config["size"]
            found = transforms.rotation_matrix(np.rad2deg(angle), height, width)
            np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    "name", ["tfa_rotate", "tfa_translate", "tfa_transform"]
)
def test_resampling_equals_tensorflow_addons(golden, name):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends wrap, and round halves, in their own way")
    compared = 0
    for config, case in golden_cases(golden(name)):
        if case["x"].ndim != 4 or config.get("output_shape"):
            continue
        rows, expected = case["transforms"].reshape(-1, 8), case["y"]
        stable = case["stable"]
        if expected.ndim == 4:  # a row for each image, else for all of them
            rows, expected, stable = rows[None], expected[None], stable[None]
        for matrices, y, mask in zip(rows, expected, stable, strict=True):
            found = transforms.affine(
                case["x"],
                matrices,
                config["interpolation"],
                config["fill_mode"],
                config["fill_value"],
            )
            mask = np.broadcast_to(mask[..., None], y.shape)
            np.testing.assert_array_equal(found[mask], y[mask])
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("size", [4, 5])
def test_right_angles_are_exact(size, rng):
    images = rng.normal(size=(2, size, size, 3))
    for quarter in range(5):
        np.testing.assert_array_equal(
            transforms.rotate(images, 90 * quarter),
            np.rot90(images, quarter, (1, 2)),
        )


def test_a_quarter_turn_more_is_the_same_pixels_turned(rng):
    images = rng.normal(size=(2, 7, 7, 1)).astype("float32")
    np.testing.assert_array_equal(
        transforms.rotate(images, 120),
        np.rot90(transforms.rotate(images, 30), 1, (1, 2)),
    )


def test_translation_moves_right_and_down(rng):
    images = rng.normal(size=(1, 4, 5, 2)).astype("float32")
    moved = transforms.translate(images, (2, 1))
    np.testing.assert_array_equal(moved[:, 1:, 2:], images[:, :-1, :-2])
    assert not moved[:, 0].any() and not moved[:, :, :2].any()


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int64"]
)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_integers_are_moved_as_they_are(dtype, interpolation, rng):
    images = rng.integers(0, 100, (2, 4, 5, 3)).astype(dtype)
    moved = transforms.translate(images.tolist(), (1, 0), interpolation)
    np.testing.assert_array_equal(moved[:, :, 1:], images[:, :, :-1])
    moved = transforms.translate(images, (1, 0), interpolation)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved[:, :, 1:], images[:, :, :-1])
    turned = transforms.rotate(images, 180, interpolation)
    np.testing.assert_array_equal(turned, images[:, ::-1, ::-1])


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("fill_value", [0, 7])
def test_integers_that_no_float_holds_are_moved_too(dtype, fill_value):
    largest = np.iinfo(dtype).max
    images = (largest - np.arange(40, dtype=dtype)).reshape(2, 4, 5, 1)
    images[0, 0, 0] = np.iinfo(dtype).min
    right = np.array([1, 0, -2, 0, 1, -1, 0, 0])
    moved = transforms.affine(images, right, "nearest", "constant", fill_value)
    expected = np.full_like(images, fill_value)
    expected[:, 1:, 2:] = images[:, :-1, :-2]
    np.testing.assert_array_equal(moved, expected)
    assert moved.dtype == dtype
    edges = transforms.translate(images, (2, 1), fill_mode="nearest")
    widths = [(0, 0), (1, 0), (2, 0), (0, 0)]
    expected = np.pad(images, widths, mode="edge")[:, :-1, :-2]
    np.testing.assert_array_equal(edges, expected)


def test_integers_turn_as_floats_do(rng):
    images = rng.integers(0, 256, (2, 11, 14, 3)).astype("uint8")
    for angle in (17, 133, -45.5):
        np.testing.assert_array_equal(
            transforms.rotate(images, angle),
            transforms.rotate(images.astype("float32"), angle),
        )


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint16"])
def test_integers_lose_no_more_than_their_fraction(dtype):
    images = np.full((1, 9, 9, 1), 200, dtype)
    turned = transforms.rotate(images, 30, "bilinear", fill_mode="nearest")
    np.testing.assert_array_equal(turned, images)
    moved = transforms.translate(
        np.array([[[[10], [15]]]], dtype), (0.5, 0), "bilinear"
    )
    np.testing.assert_array_equal(moved.ravel(), [5, 12])


def test_masks_are_true_from_a_half_on():
    mask = np.array([True, True, False, False]).reshape(1, 1, 4, 1)
    for shift, expected in ((0.75, [0, 1, 1, 0]), (0.25, [1, 1, 0, 0])):
        moved = transforms.translate(mask, (shift, 0), "bilinear")
        np.testing.assert_array_equal(moved.ravel(), expected)


def test_angles_may_be_arrays_without_axes(rng):
    images = rng.normal(size=(2, 5, 5, 1)).astype("float32")
    expected = transforms.rotate(images, 30.0)
    for angle in (np.array(30.0), np.float32(30), keras.ops.array(30.0)):
        np.testing.assert_array_equal(
            transforms.rotate(images, angle), expected
        )


def test_there_may_be_nothing_to_turn():
    for shape, axis in (((0, 4, 4, 1), None), ((0, 3, 4, 5, 1), "x")):
        turned = transforms.rotate(np.zeros(shape), 30, axis=axis)
        assert turned.shape == shape


def test_lists_are_arrays():
    image = [[[[1], [2]], [[3], [4]]]]
    np.testing.assert_array_equal(
        transforms.rotate(image, 90), [[[[2], [4]], [[1], [3]]]]
    )
    np.testing.assert_array_equal(
        transforms.flip(image, "vertical"), [[[[3], [4]], [[1], [2]]]]
    )
    np.testing.assert_array_equal(transforms.mask_ball(image), image)


@pytest.mark.parametrize("rank", [2, 3])
def test_mask_is_the_inscribed_ball(rank):
    size = 32
    masked = transforms.mask_ball(np.ones((1, *[size] * rank, 1), "float32"))
    assert masked[(0, *[0] * rank)] == 0
    assert masked[(0, *[size // 2] * rank)] == 1
    for axis in range(rank):  # it touches every side
        assert masked[0].take(0, axis).max() == 1
    volume = {2: np.pi / 4, 3: np.pi / 6}[rank]
    assert masked.mean() == pytest.approx(volume, rel=0.03)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_masked_too(value):
    masked = transforms.mask_ball(np.full((1, 4, 4, 1), value))
    assert masked[0, 0, 0, 0] == 0 and not np.isfinite(masked[0, 1, 1, 0])


def filled(images, value):
    right = transforms.rotation_matrix(45, 3, 4)
    return transforms.affine(images, right, "nearest", "constant", value)


def by_matrices(images, matrices):
    return transforms.affine(images, matrices, "nearest", "constant")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: transforms.rotate(x, 90, "cubic"), "interpolation='cubic'"),
        (
            lambda x: transforms.rotate(x, 90, fill_mode="zero"),
            "fill_mode='zero'",
        ),
        (lambda x: transforms.rotate(x, 90, axis="x"), "axis='x' for an arr"),
        (lambda x: transforms.rotate(x[None], 90), "axis=None for an array"),
        (
            lambda x: transforms.rotate(x[None], 90, axis="w"),
            "axis='w' for an array",
        ),
        (lambda x: transforms.flip(x, "depth"), "direction='depth'"),
        (lambda x: transforms.flip(x[0], "vertical"), "direction='vertical'"),
        (
            lambda x: transforms.translate(x[0], (1, 0)),
            r"shape \(3, 4, 1\). Expected images",
        ),
        (lambda x: transforms.rotate(x, "a"), "angle='a'"),
        (lambda x: transforms.rotate(x, np.inf), "angle=inf"),
        (lambda x: transforms.translate(x, (1, None)), "shift=None"),
        (lambda x: transforms.translate(x, 5), "shift=5.*a pair"),
        (lambda x: transforms.translate(x, (1, 2, 3)), "2, 3.*a pair"),
        (lambda x: transforms.rotate(x[0, ..., 0], 90), r"shape \(3, 4\)"),
        (lambda x: transforms.rotate(x[0], 0), r"shape \(3, 4, 1\)"),
        (lambda x: transforms.rotate(x, np.ones(1)), r"angle=array\(\[1"),
        (lambda x: filled(x.astype("uint8"), -1), "fill_value=-1.*0 to 255"),
        (
            lambda x: filled(x.astype("int8"), 128),
            "fill_value=128.*-128 to 127",
        ),
        (lambda x: filled(x.astype("int64"), np.nan), "fill_value=nan"),
        (lambda x: filled(x, "a"), "fill_value='a'"),
        (lambda x: filled(x > 0, None), "fill_value=None"),
        (lambda x: by_matrices(x, None), "matrices=None.*finite numbers"),
        (lambda x: by_matrices(x, np.ones(6)), r"matrices=.*shape \(8,\)"),
        (lambda x: by_matrices(x, np.ones((3, 8))), r"or \(2, 8\), one"),
        (lambda x: by_matrices(x, [np.inf] * 8), "finite numbers"),
        (lambda x: transforms.flip(x, ["vertical"]), r"direction=\['vert"),
        (lambda x: transforms.mask_ball(x[0, 0]), r"shape \(4, 1\). Expected"),
    ],
    ids=range(27),
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((2, 3, 4, 1), "float32"))
