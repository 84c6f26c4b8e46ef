"""GMR-Conv: rings that share their weights with neighbours."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import golden_cases
from helpers import gradients
from helpers import in_one_program
from helpers import official_input
from helpers import per_axis
from helpers import to_numpy
from keras import ops

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv3D
from keras_sre.harmonics import carrying_rings
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.expansion import expand_kernels
from keras_sre.ops.ring_conv import ring_conv
from keras_sre.ops.ring_mixing import initial_log_sigma
from keras_sre.ops.ring_mixing import mix_rings
from keras_sre.ops.ring_mixing import mixing_matrix

IMPLEMENTATIONS = ("dense", "slices", "depthwise")
# The others: no mixture, sigma not clipped, kernels that are wrong there.
KINDS = (
    "default_initial",
    "default_random",
    "dense_random",
    "no_circular",
    "num_rings",
    "clip",
    "sigma_scale",
    "stride2",
    "dilation2",
    "no_bias",
    "groups",
    "padding_mode",
    "padding_string",
)


@pytest.mark.parametrize(
    ("name", "rank", "count"), [("gmr_conv2d", 2, 43), ("gmr_conv3d", 3, 14)]
)
def test_equals_the_official_package(golden, name, rank, count):
    """Kernels, outputs and all gradients; the implementations take turns."""
    found = 0
    for config, arrays in golden_cases(golden(name), KINDS):
        found += 1
        implementation = IMPLEMENTATIONS[found % 3]
        weight = np.transpose(arrays["weight"], (2, 1, 0))
        geometry = RingConvConfig(
            per_axis(config["kernel_size"], rank),
            weight.shape[0],
            config["force_circular"],
            "gaussian",
            strides=per_axis(config["stride"], rank),
            dilation_rate=per_axis(config["dilation"], rank),
            groups=config["groups"],
        )
        (rings,) = geometry.carrying_rings
        kernel = expand_kernels(
            [mix_rings(weight, arrays["log_sigmas"], rings)], geometry
        )
        assert_close(
            kernel, np.moveaxis(arrays["dense_kernel"], (0, 1), (-1, -2))
        )
        x, gather = official_input(config, arrays["x"], geometry.kernel_size)

        def convolve(x, w, s, c=geometry, r=rings, i=implementation):
            return ring_conv(x, (mix_rings(w, s, r),), c, implementation=i)

        sigmas = arrays["log_sigmas"]
        y = to_numpy(in_one_program(convolve)(x, weight, sigmas))
        if config["bias"]:
            y = y + arrays["bias"]
        assert_close(y, np.moveaxis(arrays["y_eval"], 1, -1))
        dx, dw, ds = gradients(
            convolve,
            x,
            weight,
            sigmas,
            upstream=np.moveaxis(arrays["g"], 1, -1),
        )
        assert_close(gather(dx), np.moveaxis(arrays["grad_x"], 1, -1))
        assert_close(np.transpose(dw, (2, 1, 0)), arrays["grad_weight"])
        assert_close(ds, arrays["grad_log_sigmas"], 5e-5)
    assert found == count


@pytest.mark.parametrize(
    "kernel_size", [3, 5, 7, 9], ids=lambda size: f"k{size}"
)
def test_starts_where_the_official_package_does(golden, kernel_size):
    layer = SREConv2D(2, kernel_size, ring_profile="gaussian")
    layer.build((None, 12, 12, 1))
    recorded = [
        config["log_sigmas_initial"]
        for config, _ in golden_cases(golden("gmr_conv2d"))
        if config["kernel_size"] == kernel_size
        and config["num_rings"] is None
        and config["force_circular"]
        and config["gaussian_mixture_ring"]
        and config["gaussian_sigma_scale"] == 2.355
    ]
    assert recorded
    assert_close(layer.log_sigma, np.array(recorded[0]))


def test_one_ring_has_a_width():
    """The official package divides by zero."""
    assert np.isfinite(initial_log_sigma((3, 3), 1))
    layer = SREConv2D(2, 3, ring_profile="gaussian", num_rings=1)
    assert np.isfinite(to_numpy(layer(np.ones((1, 5, 5, 1))))).all()


def test_narrow_rings_are_hard_rings_times_a_constant():
    """Sigma at its lower bound: each ring keeps its weight to itself."""
    matrix = to_numpy(mixing_matrix(np.full(4, -20.0, "float32")))
    assert_close(matrix, np.eye(4) / (0.01 * 2.5066))


def test_a_ring_without_taps_acts_through_its_neighbours():
    layer = SREConv2D(1, 3, ring_profile="gaussian", num_rings=3)
    layer.build((None, 8, 8, 1))
    assert carrying_rings((3, 3), 0, 3, True, "gaussian") == (0, 2)
    for order in (1, 2):  # of which the centre has nothing either
        assert carrying_rings((3, 3), order, 3, True, "gaussian") == (2,)
    assert layer.num_rings == layer.ring_kernel.shape[0] == 3
    layer.ring_kernel.assign(np.array([0, 1, 0]).reshape(3, 1, 1))
    assert (to_numpy(layer.kernel) > 0).all()


def test_there_are_no_more_rings_than_taps():
    assert SREConv1D(1, 3, ring_profile="gaussian", num_rings=3).num_rings == 3
    assert (
        SREConv2D(1, 9, ring_profile="gaussian", num_rings=81).num_rings == 81
    )
    with pytest.raises(ValueError, match="num_rings=82.*Use 1 to 81,"):
        SREConv2D(1, 9, ring_profile="gaussian", num_rings=82)
    with pytest.raises(ValueError, match="num_rings=4.*Use 1 to 3,"):
        SREConv1D(1, 3, ring_profile="gaussian", num_rings=4)


CASES = {
    "1d": (SREConv1D, {"filters": 4, "kernel_size": 7}, (2, 12, 2)),
    "2d": (SREConv2D, {"filters": 4, "kernel_size": 5}, (2, 9, 9, 2)),
    "3d": (SREConv3D, {"filters": 4, "kernel_size": 5}, (2, 6, 6, 6, 2)),
    "groups": (
        SREConv2D,
        {"filters": 4, "kernel_size": 7, "groups": 2, "strides": 2},
        (2, 9, 9, 2),
    ),
    "harmonics": (
        SREConv2D,
        {"filters": 4, "kernel_size": 5, "harmonics": (1, 2)},
        (2, 9, 9, 2),
    ),
    "ring-without-taps": (
        SREConv2D,
        {"filters": 4, "kernel_size": 3, "num_rings": 3, "harmonics": (1, 2)},
        (2, 9, 9, 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_keras_contract_and_symmetry(case, rng):
    cls, options, shape = CASES[case]
    options = {**options, "ring_profile": "gaussian", "padding": "same"}
    count = 5 if "harmonics" in options else 3
    assert_layer_contract(cls, options, shape, count)
    layer = cls(**options)
    x = rng.normal(size=shape).astype("float32")
    assert_equivariant(layer, x, len(shape) - 2)
    kernel = to_numpy(layer.kernel)
    if count == 3:
        for axis in range(layer.rank):
            np.testing.assert_array_equal(np.flip(kernel, axis), kernel)


@pytest.mark.parametrize("case", CASES)
def test_implementations_agree(case, rng):
    cls, options, shape = CASES[case]
    options = {**options, "ring_profile": "gaussian", "padding": "same"}
    x = rng.normal(size=shape).astype("float32")
    dense = cls(**options, implementation="dense")
    expected = dense(x)
    for implementation in ("slices", "depthwise"):
        layer = cls(**options, implementation=implementation)
        layer.build(shape)
        layer.set_weights(dense.get_weights())
        assert_close(layer(x), expected)


def test_how_far_rings_share_is_trained(rng):
    x = rng.normal(size=(8, 9, 9, 1)).astype("float32")
    layer = SREConv2D(1, 7, ring_profile="gaussian")
    model = keras.Sequential([keras.Input((9, 9, 1)), layer])
    model.compile("sgd", "mse")
    before = to_numpy(layer.log_sigma)
    model.fit(x, rng.normal(size=(8, 3, 3, 1)), epochs=2, verbose=0)
    assert (to_numpy(layer.log_sigma) != before).all()
    plain = SREConv2D(1, 7)
    plain.build(x.shape)
    assert plain.log_sigma is None


def test_mixture_by_hand():
    """The mixture of known weights, by hand."""
    log_sigma = np.log([1.0, 2.0])
    weights = np.array([3.0, 5.0]).reshape(2, 1, 1)
    near, far = np.exp(-0.5), np.exp(-1 / 8)
    by_hand = [3 + 5 * far / 2, 3 * near + 5 / 2]
    found = mix_rings(
        ops.convert_to_tensor(weights), ops.convert_to_tensor(log_sigma), (0, 1)
    )
    assert_close(found, np.reshape(by_hand, (2, 1, 1)) / 2.5066, 1e-6)
