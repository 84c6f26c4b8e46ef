"""Rotation and reflection of images, against recorded official outputs."""

import numpy as np
import pytest
import transforms
from helpers import golden_cases


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_rotation_equals_torchvision(golden, interpolation):
    for config, arrays in golden_cases(golden("rotate2d"), [interpolation]):
        images = np.moveaxis(arrays["x"], 0, -1)[None]
        for i, angle in enumerate(config["angles_deg"]):
            turned = transforms.rotate(images, angle, interpolation)[0]
            expected = np.moveaxis(arrays["y"][i], 0, -1)
            difference = np.abs(turned - expected)
            if interpolation == "nearest":  # ties fall to either side
                difference = difference[arrays["tie_margin"][i] > 2e-3]
            assert difference.max(initial=0) < 1e-3, (config, angle)


def test_flips_equal_the_official_protocol(golden):
    for config, arrays in golden_cases(golden("protocol2d"), ["flip"]):
        name = {"vflip": "vertical", "hflip": "horizontal"}.get(
            config.get("flip")
        )
        images = arrays["x"]
        if name is None or images.shape[1] == 28:  # 28 is resized first
            continue
        images = images.reshape(*images.shape[:3], -1) / 127.5 - 1
        expected = np.moveaxis(arrays["y"], 1, -1)
        np.testing.assert_allclose(
            transforms.flip(images, name), expected, atol=1e-6
        )


@pytest.mark.parametrize("size", [4, 5])
def test_right_angles_are_exact(size, rng):
    images = rng.normal(size=(2, size, size, 3))
    for quarter in range(5):
        np.testing.assert_array_equal(
            transforms.rotate(images, 90 * quarter),
            np.rot90(images, quarter, (1, 2)),
        )
