"""The operation: recorded outputs, a slow reference, numerical gradients."""

import numpy as np
import pytest
from helpers import assert_close
from helpers import dense_conv
from helpers import golden_cases
from helpers import gradients
from helpers import to_numpy
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from keras_sre.geometry import ring_filters
from keras_sre.ops.ring_conv import RingConvConfig
from keras_sre.ops.ring_conv import expand_kernel
from keras_sre.ops.ring_conv import ring_conv

IMPLEMENTATIONS = ("dense", "slices", "depthwise")
OFFICIAL_KINDS = (
    "default",
    "sre_k",
    "stride2",
    "padding_string",
    "padding_mode",
    "dilation2",
    "groups",
    "no_bias",
    "no_circular",
    "anisotropic",
    "square_input",
)


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def official_cases(golden, name, rank):
    """The recorded cases in which the official package is right."""
    for config, arrays in golden_cases(golden(name), OFFICIAL_KINDS):
        kernel_size = per_axis(config["kernel_size"], rank)
        index = arrays["weight_index_mat"][0, 0]
        if len(set(kernel_size)) == 1 and index.any(axis=1).all():
            yield config, kernel_size, arrays


@pytest.mark.parametrize(
    ("name", "rank", "count"), [("sre_conv2d", 2, 67), ("sre_conv3d", 3, 28)]
)
def test_equals_the_official_package(golden, name, rank, count):
    """Kernels, outputs and gradients; the implementations take turns."""
    found = 0
    for config, kernel_size, arrays in official_cases(golden, name, rank):
        found += 1
        implementation = IMPLEMENTATIONS[found % 3]
        weight = np.transpose(arrays["weight"], (2, 1, 0))
        geometry = RingConvConfig(
            kernel_size,
            weight.shape[0],
            config["force_circular"],
            strides=per_axis(config["stride"], rank),
            dilation_rate=per_axis(config["dilation"], rank),
            groups=config["groups"],
        )
        kernel = expand_kernel(ops.convert_to_tensor(weight), geometry.filters)
        assert_close(
            kernel, np.moveaxis(arrays["dense_kernel"], (0, 1), (-1, -2))
        )
        widths = official_padding(config, kernel_size, rank)
        x = np.pad(
            np.moveaxis(arrays["x"], 1, -1),
            [(0, 0), *widths, (0, 0)],
            mode={
                "zeros": "constant",
                "replicate": "edge",
                "circular": "wrap",
            }.get(config["padding_mode"], config["padding_mode"]),
        )
        upstream = np.moveaxis(arrays["g"], 1, -1)

        def convolve(x, w, c=geometry, i=implementation):
            return ring_conv(x, w, c, implementation=i)

        y = to_numpy(convolve(x, weight))
        if config["bias"]:
            y = y + arrays["bias"]
        assert_close(y, np.moveaxis(arrays["y_train"], 1, -1))
        dx, dw = gradients(convolve, x, weight, upstream=upstream)
        assert_close(np.transpose(dw, (2, 1, 0)), arrays["grad_weight"])
        if config["padding_mode"] == "zeros":
            inner = tuple(
                slice(low, n - high)
                for (low, high), n in zip(widths, dx.shape[1:-1], strict=True)
            )
            dx = dx[(slice(None), *inner)]
            assert_close(np.moveaxis(dx, -1, 1), arrays["grad_x"])
    assert found == count


def official_padding(config, kernel_size, rank):
    padding = config["padding"]
    if padding == "valid":
        return [(0, 0)] * rank
    if padding == "same":
        dilation = per_axis(config["dilation"], rank)
        totals = [
            (k - 1) * d for k, d in zip(kernel_size, dilation, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in per_axis(padding, rank)]


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 3))
    size = tuple(draw(st.integers(1, 5)) for _ in range(rank))
    stride = draw(st.integers(1, 3))
    dilation = 1 if stride > 1 else draw(st.integers(1, 2))
    groups = draw(st.integers(1, 2))
    return (
        RingConvConfig(
            size,
            circular=draw(st.booleans()),
            ring_profile=draw(st.sampled_from(["hard", "area", "linear"])),
            strides=(stride,) * rank,
            dilation_rate=(dilation,) * rank,
            groups=groups,
        ),
        groups * draw(st.integers(1, 3)),  # channels
        groups * draw(st.sampled_from([1, 2, 6])),  # filters
    )


@given(problems(), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_every_implementation_equals_the_reference(problem, seed):
    config, channels, num_filters = problem
    rng = np.random.default_rng(seed)
    spatial = [span + 4 for span in config.spans]
    x = rng.normal(size=(2, *spatial, channels)).astype("float32")
    filters = config.filters
    shape = (len(filters), channels // config.groups, num_filters)
    weights = rng.normal(size=shape).astype("float32")
    kernel = np.tensordot(filters, weights, axes=(0, 0))
    expected = dense_conv(
        x, kernel, config.strides, config.dilation_rate, config.groups
    )
    for implementation in IMPLEMENTATIONS:
        y = ring_conv(x, weights, config, implementation=implementation)
        assert_close(y, expected)


GRADIENT_CASES = {
    "same": ((5, 5), {"padding": "same"}, 3, 3),
    "valid-even": ((4, 4), {}, 2, 3),
    "many-filters": ((5, 5), {"padding": "same"}, 2, 9),
    "many-channels": ((5, 5), {"padding": "same"}, 6, 2),
    "groups": ((3, 3), {"padding": "same", "groups": 2}, 4, 6),
    "stride-same": ((5, 5), {"padding": "same", "strides": (2, 2)}, 2, 3),
    "stride-valid": ((3, 3), {"strides": (3, 2), "groups": 2}, 4, 4),
    "dilation": ((3, 3), {"dilation_rate": (2, 2)}, 2, 2),
    "causal": ((4,), {"padding": "causal"}, 2, 3),
    "3d-area": ((3, 3, 3), {"padding": "same", "ring_profile": "area"}, 2, 2),
}


@pytest.mark.parametrize("case", GRADIENT_CASES)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_equal_numerical_ones(case, implementation, rng):
    size, options, channels, num_filters = GRADIENT_CASES[case]
    rank = len(size)
    options = {"strides": (1,) * rank, "dilation_rate": (1,) * rank, **options}
    config = RingConvConfig(size, **options)
    x = rng.normal(size=(2, *(7, 6, 5)[:rank], channels)).astype("float32")
    shape = (len(config.filters), channels // config.groups, num_filters)
    weights = rng.normal(size=shape).astype("float32")

    def reference(x, weights):
        widths = config.paddings(x.shape[1:-1])
        x = np.pad(x, [(0, 0), *widths, (0, 0)])
        kernel = np.tensordot(config.filters, weights, axes=(0, 0))
        return dense_conv(
            x, kernel, config.strides, config.dilation_rate, config.groups
        )

    def convolve(x, weights):
        return ring_conv(x, weights, config, implementation=implementation)

    upstream = rng.normal(size=reference(x, weights).shape).astype("float32")
    found = gradients(convolve, x, weights, upstream=upstream)
    arguments = [x.astype("float64"), weights.astype("float64")]
    for i, gradient in enumerate(found):
        for entry in rng.integers(0, arguments[i].size, 12):
            values = []
            for step in (1e-3, -1e-3):
                moved = [a.copy() for a in arguments]
                moved[i].flat[entry] += step
                values.append(np.sum(reference(*moved) * upstream))
            numerical = (values[0] - values[1]) / 2e-3
            error = abs(gradient.flat[entry] - numerical)
            assert error <= 1e-4 * np.abs(gradient).max()


@pytest.mark.parametrize("batch", [5, 8, 13])
@pytest.mark.parametrize("channels", [(4, 4), (2, 12), (8, 2)])
def test_tiles_change_nothing(batch, channels, monkeypatch, rng):
    """Large maps are worked on a few images at a time, remainders too."""
    from keras_sre.ops import backend
    from keras_sre.ops import tiling

    config = RingConvConfig(
        (5, 5), padding="same", strides=(1, 1), dilation_rate=(1, 1)
    )
    x = rng.normal(size=(batch, 8, 8, channels[0])).astype("float32")
    weights = rng.normal(size=(3, *channels)).astype("float32")
    upstream = rng.normal(size=(batch, 8, 8, channels[1])).astype("float32")

    def all_of_it():
        backend._program.cache_clear()
        y = to_numpy(ring_conv(x, weights, config))
        return y, *gradients(
            lambda x, w: ring_conv(x, w, config), x, weights, upstream=upstream
        )

    whole = all_of_it()
    monkeypatch.setattr(tiling, "WHOLE_BYTES", 0)
    monkeypatch.setattr(tiling, "IMAGE_BYTES", 0)
    monkeypatch.setattr(tiling, "TILE_BYTES", 3 * 8 * 8 * 6 * 4 * 3)
    tiled = all_of_it()
    backend._program.cache_clear()
    for found, expected in zip(tiled, whole, strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("profile", ["hard", "area", "linear"])
@pytest.mark.parametrize("kernel_size", [(9, 9), (6, 6), (5, 5, 5)], ids=str)
def test_expanded_kernel_is_symmetric_bit_for_bit(kernel_size, profile, rng):
    filters = ring_filters(kernel_size, ring_profile=profile)
    weights = rng.normal(size=(len(filters), 3, 4)).astype("float32")
    kernel = to_numpy(expand_kernel(ops.convert_to_tensor(weights), filters))
    for axis in range(len(kernel_size)):
        np.testing.assert_array_equal(np.flip(kernel, axis), kernel)
        np.testing.assert_array_equal(np.swapaxes(kernel, 0, axis), kernel)
