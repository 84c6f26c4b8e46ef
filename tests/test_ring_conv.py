"""The operation: recorded outputs, a slow reference, numerical gradients."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import dense_conv
from helpers import golden_cases
from helpers import gradients
from helpers import in_one_program
from helpers import keras_padding
from helpers import official_input
from helpers import per_axis
from helpers import to_numpy
from hypothesis import assume
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops
from scipy import ndimage

from keras_sre.geometry import ring_filters
from keras_sre.harmonics import harmonic_filters
from keras_sre.ops.backend import compiled
from keras_sre.ops.backend import slice_axis
from keras_sre.ops.config import RingConvConfig
from keras_sre.ops.depthwise_ring_sum import _windows
from keras_sre.ops.expansion import expand_kernel
from keras_sre.ops.expansion import expand_kernels
from keras_sre.ops.ring_conv import fastest_implementation
from keras_sre.ops.ring_conv import ring_conv
from keras_sre.ops.ring_maps import composed
from keras_sre.ops.ring_maps import ring_maps
from keras_sre.ops.ring_sum import ring_sums
from keras_sre.ops.tiling import map_tiles

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
        kernel = expand_kernel(ops.convert_to_tensor(weight), geometry.rings)
        assert_close(
            kernel, np.moveaxis(arrays["dense_kernel"], (0, 1), (-1, -2))
        )
        x, gather = official_input(config, arrays["x"], kernel_size)
        upstream = np.moveaxis(arrays["g"], 1, -1)

        def convolve(x, w, c=geometry, i=implementation):
            return ring_conv(x, (w,), c, implementation=i)

        y = to_numpy(in_one_program(convolve)(x, weight))
        if config["bias"]:
            y = y + arrays["bias"]
        assert_close(y, np.moveaxis(arrays["y_train"], 1, -1))
        dx, dw = gradients(convolve, x, weight, upstream=upstream)
        assert_close(np.transpose(dw, (2, 1, 0)), arrays["grad_weight"])
        assert_close(gather(dx), np.moveaxis(arrays["grad_x"], 1, -1))
    assert found == count


@st.composite
def problems(draw, harmonic=False):
    rank = draw(st.integers(1, 3))
    one_to_three = st.tuples(*[st.integers(1, 3)] * rank)
    sizes = st.integers(2 if harmonic else 1, 5)  # one tap has no direction
    size = draw(st.tuples(*[sizes] * rank))
    strides = draw(one_to_three)
    dilation_rate = draw(one_to_three) if max(strides) == 1 else (1,) * rank
    groups = draw(st.integers(1, 2))
    paddings = ["valid", "same", "causal"][: 3 if rank == 1 else 2]
    profile = draw(st.sampled_from(["hard", "area", "linear", "cosine"]))
    circular = draw(st.booleans())
    orders = (0,)
    if harmonic:
        carried = [
            orders
            for orders in ((0, 1), (1,), (0, 1, 2), (2, 1), (2, 0, 1))
            if carries(size, orders, circular, profile)
        ]
        assume(carried)
        orders = draw(st.sampled_from(carried))
    return (
        RingConvConfig(
            size,
            circular=circular,
            ring_profile=profile,
            strides=strides,
            padding=draw(st.sampled_from(paddings)),
            dilation_rate=dilation_rate,
            groups=groups,
            orders=orders,
        ),
        groups * draw(st.integers(1, 3)),  # channels
        groups * draw(st.sampled_from([1, 2, 6])),  # filters
    )


def carries(size, orders, circular, profile):
    try:
        for order in orders:
            harmonic_filters(size, order, None, circular, profile)
    except ValueError:
        return False
    return True


@given(problems(), st.integers(0, 2**32 - 1))
@example((RingConvConfig((1,), circular=False, ring_profile="area"), 1, 1), 0)
@settings(max_examples=25, deadline=None)
def test_every_implementation_equals_the_reference(problem, seed):
    config, x, *weights = sample(*problem, np.random.default_rng(seed))
    expected = reference(config, x, *weights)
    for implementation in IMPLEMENTATIONS:
        y = convolved(x, weights, config, implementation)
        assert_close(y, expected)


@given(problems(harmonic=True), st.integers(0, 2**32 - 1))
@example(
    (
        RingConvConfig(
            (3, 3),
            None,
            *(True, "hard", None, (1, 1), "same"),
            dilation_rate=(2, 1),
            groups=2,
            orders=(2, 1),
        ),
        4,
        4,
    ),
    0,
)
@settings(max_examples=25, deadline=None)
def test_harmonics_equal_the_reference(problem, seed):
    config, x, *weights = sample(*problem, np.random.default_rng(seed))
    expected = reference(config, x, *weights)
    for implementation in IMPLEMENTATIONS:
        y = convolved(x, weights, config, implementation)
        assert_close(y, expected, 3e-5)  # a root, where responses cancel


@pytest.mark.parametrize("orders", [(0,), (2, 0, 1)], ids=str)
@pytest.mark.parametrize(
    ("size", "profile"),
    [
        ((9, 9), "hard"),
        ((8, 8), "hard"),
        ((7, 11), "linear"),
        ((7, 7), "cosine"),
    ],
)
def test_large_rings_are_sums_of_small_windows(size, profile, orders, rng):
    """On edge devices, where large windows are slow."""
    config = RingConvConfig(
        size,
        ring_profile=profile,
        strides=(1, 1),
        padding="valid" if size == (8, 8) else "same",
        dilation_rate=(2, 1),
        orders=orders,
    )
    x = rng.normal(size=(1, 17, 12, 2)).astype("float32")
    weights = sample_weights(config, 2, 3, rng)
    y = convolved(x, weights, config, "depthwise")
    assert_close(y, reference(config, x, *weights), 3e-5)
    for ring in config.banks[0][0]:
        windows = [w for mirrored in _windows(ring) for w, _ in mirrored]
        assert max(window.size for window in windows) <= 25
        if len(windows) > 1:  # none has a row of zeros
            for window in windows:
                assert window.any(axis=0).all() and window.any(axis=1).all()


@pytest.mark.parametrize("size", [(7, 12), (8, 8), (17, 9)], ids=str)
@pytest.mark.parametrize("dilation_rate", [(1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("kernel_size", [5, 7, 9])
def test_rings_are_made_of_each_other(kernel_size, size, dilation_rate, rng):
    """On edge devices; on small maps they are windows as any others."""
    filters = ring_filters((kernel_size, kernel_size))
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    with composed():
        maps, matrix = ring_maps(
            ops.convert_to_tensor(x), filters, dilation_rate
        )
    spans = [(kernel_size - 1) * rate for rate in dilation_rate]
    spread = np.zeros((len(filters), *[span + 1 for span in spans]))
    spread[:, :: dilation_rate[0], :: dilation_rate[1]] = filters
    sums = [
        ndimage.correlate(x, ring[None, ..., None], mode="constant")
        for ring in spread
    ]
    for ring_map, parts in zip(maps, matrix, strict=True):
        assert_close(ring_map, np.tensordot(parts, sums, 1))
    made_of_windows = np.array_equal(matrix, np.diag(np.diag(matrix)))
    assert made_of_windows == any(np.less(size, np.multiply(8, dilation_rate)))


@pytest.mark.parametrize("size", [5, 7, 9])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid"},
        {"strides": (2, 3)},
        {"groups": 2},
        {"dilation_rate": (1, 2)},
    ],
    ids=str,
)
def test_composed_rings_equal_the_reference(size, options, rng):
    plain = {"strides": (1, 1), "padding": "same", "dilation_rate": (1, 1)}
    config = RingConvConfig((size, size), **plain | options)
    x = rng.normal(size=(1, 19, 20, 4)).astype("float32")
    weights = sample_weights(config, 4, 6, rng)
    with composed():
        y = convolved(x, weights, config, "depthwise")
    assert_close(y, reference(config, x, *weights))


@given(problems(), st.sampled_from(IMPLEMENTATIONS), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_gradients_are_adjoint_to_the_reference(problem, implementation, seed):
    """The operation is linear in each argument, so one direction tells all."""
    rng = np.random.default_rng(seed)
    config, x, weights = sample(*problem, rng)
    y = reference(config, x, weights)
    upstream = rng.normal(size=y.shape).astype("float32")
    dx, dw = gradients(
        lambda x, w: ring_conv(x, (w,), config, implementation=implementation),
        *(x, weights),
        upstream=upstream,
    )
    assert dx.shape == x.shape and dw.shape == weights.shape
    moved_x, moved_w = rng.normal(size=x.shape), rng.normal(size=weights.shape)
    for gradient, direction, change in (
        (dx, moved_x, reference(config, moved_x, weights)),
        (dw, moved_w, reference(config, x, moved_w)),
    ):
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        error = np.vdot(gradient, direction) - np.vdot(change, upstream)
        assert abs(error) <= 1e-5 * max(scale, 1e-3)


def convolved(x, weights, config, implementation):
    return in_one_program(
        lambda x, *w: ring_conv(x, w, config, implementation=implementation)
    )(x, *weights)


def sample(config, channels, num_filters, rng):
    """Returns the config, a small input and weights of each order for it."""
    spatial = [
        span + int(rng.integers(1, 5)) if config.padding == "valid" else size
        for span, size in zip(
            config.spans, rng.integers(1, 8, len(config.spans)), strict=True
        )
    ]
    return (
        config,
        rng.normal(size=(2, *spatial, channels)).astype("float32"),
        *sample_weights(config, channels, num_filters, rng),
    )


def sample_weights(config, channels, num_filters, rng):
    shape = channels // config.groups, num_filters
    return [
        rng.normal(size=(bank.shape[1], *shape)).astype("float32")
        for bank in config.banks
    ]


def reference(config, x, *weights):
    """The same operation in NumPy: zeros, the expanded kernel, a loop."""
    outputs = []
    for order, bank, weight in zip(
        config.orders, config.banks, weights, strict=True
    ):
        parts = [
            linear_reference(config, x, weight, filters) for filters in bank
        ]
        part = np.sqrt(np.square(parts).sum(axis=0)) if order else parts[0]
        *shape, num_filters = part.shape
        grouped = (*shape, config.groups, num_filters // config.groups)
        outputs.append(part.reshape(grouped))
    outputs = np.concatenate(outputs, axis=-1)  # orders within each group
    return outputs.reshape(*outputs.shape[:-2], -1)


def linear_reference(config, x, weights, filters):
    widths = keras_padding(
        *(x.shape[1:-1], config.kernel_size, config.strides),
        *(config.dilation_rate, config.padding),
    )
    return dense_conv(
        np.pad(x, [(0, 0), *widths, (0, 0)]),
        np.tensordot(filters, weights, axes=(0, 0)),
        config.strides,
        config.dilation_rate,
        config.groups,
    )


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
    "harmonic": ((5, 5), {"padding": "same", "orders": (0, 1, 2)}, 3, 3),
    "harmonic-many-filters": ((5, 5), {"orders": (1, 2)}, 1, 9),
    "harmonic-many-channels": (
        (5, 5),
        {"padding": "same", "orders": (2, 0, 1)},
        *(9, 1),
    ),
    "harmonic-groups": (
        (5, 5),
        {"padding": "same", "groups": 2, "orders": (0, 1, 2)},
        *(4, 4),
    ),
    "harmonic-groups-many-filters": (
        (3, 3),
        {"groups": 2, "orders": (0, 1)},
        *(2, 12),
    ),
    "harmonic-groups-many-channels": (
        (3, 3),
        {"padding": "same", "groups": 2, "orders": (1, 2)},
        *(8, 2),
    ),
    "harmonic-stride-same": (
        (5, 5),
        {"padding": "same", "strides": (2, 2), "orders": (1, 0)},
        *(2, 3),
    ),
    "harmonic-stride-groups": (
        (3, 3),
        {"strides": (2, 1), "groups": 2, "orders": (0, 1)},
        *(4, 4),
    ),
    "harmonic-dilation": (
        (3, 3),
        {"dilation_rate": (2, 2), "orders": (2,)},
        2,
        2,
    ),
    "harmonic-causal": ((4,), {"padding": "causal", "orders": (0, 1)}, 2, 3),
    "harmonic-even": ((4, 4), {"orders": (0, 1, 2)}, 2, 3),
    "harmonic-3d": (
        (3, 3, 3),
        {"padding": "same", "ring_profile": "area", "orders": (0, 1, 2)},
        *(2, 2),
    ),
}


@functools.cache  # it is slow, and the same for all implementations
def numerical_gradients(case):
    """Returns a problem and its gradients by differences of the reference.

    Returns:
        The config, its arguments, the upstream gradient and for each argument
        some of its entries with the numerical gradient there.
    """
    rng = np.random.default_rng(3)
    size, options, channels, num_filters = GRADIENT_CASES[case]
    rank = len(size)
    options = {"strides": (1,) * rank, "dilation_rate": (1,) * rank, **options}
    config = RingConvConfig(size, **options)
    x = rng.normal(size=(2, *(7, 6, 5)[:rank], channels)).astype("float32")
    arguments = [x, *sample_weights(config, channels, num_filters, rng)]
    upstream = rng.normal(size=reference(config, *arguments).shape)

    def loss_at(which, entry, step):
        moved = [argument.astype("float64") for argument in arguments]
        moved[which].flat[entry] += step
        return np.sum(reference(config, *moved) * upstream)

    expected = []
    for which, argument in enumerate(arguments):
        entries = rng.integers(0, argument.size, 12)
        slopes = [
            (loss_at(which, entry, 1e-4) - loss_at(which, entry, -1e-4)) / 2e-4
            for entry in entries
        ]
        expected.append((entries, slopes))
    return config, arguments, upstream.astype("float32"), expected


@pytest.mark.parametrize(
    ("implementation", "training"),
    # Where harmonics fuse, what the gradient takes is kept in training.
    [*((name, False) for name in IMPLEMENTATIONS), ("slices", True)],
    ids=[*IMPLEMENTATIONS, "slices-training"],
)
@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradients_equal_numerical_ones(case, implementation, training):
    config, arguments, upstream, expected = numerical_gradients(case)

    def convolve(x, *weights):
        return ring_conv(
            *(x, weights, config),
            implementation=implementation,
            training=training,
        )

    found = gradients(convolve, *arguments, upstream=upstream)
    for gradient, (entries, slopes) in zip(found, expected, strict=True):
        error = np.abs(gradient.ravel()[entries] - slopes).max()
        assert error <= 1e-4 * np.abs(gradient).max()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_of_an_empty_map_are_finite(implementation, rng):
    """The norm of nothing has no slope of its own."""
    config = RingConvConfig(
        (3, 3),
        padding="same",
        strides=(1, 1),
        dilation_rate=(1, 1),
        orders=(0, 1, 2),
    )
    x = np.zeros((2, 6, 6, 3), "float32")
    weights = sample_weights(config, 3, 4, rng)
    upstream = rng.normal(size=(2, 6, 6, 12)).astype("float32")
    dx, *d_weights = gradients(
        lambda x, *w: ring_conv(x, w, config, implementation=implementation),
        *(x, *weights),
        upstream=upstream,
    )
    for gradient in d_weights:
        np.testing.assert_array_equal(gradient, 0)
    # Only the filters of order 0 are left: those are linear.
    moved = rng.normal(size=x.shape)
    rings = dataclasses.replace(config, orders=(0,))
    change = reference(rings, moved, weights[0])
    expected = np.vdot(change, upstream[..., :4])
    scale = np.linalg.norm(dx) * np.linalg.norm(moved)
    assert abs(np.vdot(dx, moved) - expected) <= 1e-5 * scale


@pytest.mark.parametrize(
    "config",
    [
        RingConvConfig((5,), groups=2, orders=(0, 1)),
        RingConvConfig((5, 5), groups=2, orders=(2, 0, 1)),
        RingConvConfig((4, 4), orders=(1, 3)),
        RingConvConfig((3, 3, 3), groups=2, orders=(0, 1, 2)),
    ],
    ids=["1d", "2d", "2d-even", "3d"],
)
def test_expanded_kernels_hold_the_responses_group_by_group(config, rng):
    rank = len(config.kernel_size)
    strides = dilation_rate = (1,) * rank
    config = dataclasses.replace(
        config, strides=strides, dilation_rate=dilation_rate
    )
    channels, num_filters = 2 * config.groups, 3 * config.groups
    x = rng.normal(size=(2, *(7, 6, 5)[:rank], channels)).astype("float32")
    weights = sample_weights(config, channels, num_filters, rng)
    kernel = to_numpy(
        expand_kernels([ops.convert_to_tensor(w) for w in weights], config)
    )
    counts = [
        {1: 1, 2: min(m, 1) + 1, 3: 2 * m + 1}[rank] for m in config.orders
    ]
    shape = (*config.kernel_size, 2, 3 * config.groups * sum(counts))
    assert kernel.shape == shape
    responses = dense_conv(x, kernel, strides, dilation_rate, config.groups)
    y = to_numpy(ring_conv(x, weights, config))
    responses, y = iter(np.moveaxis(responses, -1, 0)), np.moveaxis(y, -1, 0)
    found = []
    for _ in range(config.groups):
        for order, count in zip(config.orders, counts, strict=True):
            parts = np.stack([next(responses) for _ in range(3 * count)])
            parts = parts.reshape(count, 3, *parts.shape[1:])
            found.append(np.linalg.norm(parts, axis=0) if order else parts[0])
    assert_close(np.concatenate(found), y)


@pytest.mark.parametrize(
    ("batch", "channels"),
    [(8, (4, 4)), (13, (4, 4)), (5, (2, 12)), (13, (8, 2))],
    ids=str,
)
@pytest.mark.parametrize("orders", [(0,), (0, 1, 2)], ids=str)
def test_tiles_change_nothing(batch, channels, orders, monkeypatch, rng):
    """Large maps are worked on a few images at a time, remainders too."""
    from keras_sre.ops import backend
    from keras_sre.ops import tiling

    config = RingConvConfig(
        (5, 5),
        padding="same",
        strides=(1, 1),
        dilation_rate=(1, 1),
        orders=orders,
    )
    x = rng.normal(size=(batch, 8, 8, channels[0])).astype("float32")
    weights = sample_weights(config, *channels, rng)
    shape = (batch, 8, 8, len(orders) * channels[1])
    upstream = rng.normal(size=shape).astype("float32")

    def all_of_it():
        backend._program.cache_clear()
        y = to_numpy(ring_conv(x, weights, config))
        return y, *gradients(
            lambda x, *w: ring_conv(x, w, config, training=True),
            *(x, *weights),
            upstream=upstream,
        )

    whole = all_of_it()
    monkeypatch.setattr(tiling, "WHOLE_BYTES", 0)
    monkeypatch.setattr(tiling, "IMAGE_BYTES", 0)
    monkeypatch.setattr(tiling, "TILE_BYTES", 3 * 8 * 8 * 6 * 4 * 3)
    tiled = all_of_it()
    backend._program.cache_clear()
    for found, expected in zip(tiled, whole, strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("shape", [(0, 4, 5, 2), (3, 0, 5, 2)], ids=str)
def test_there_are_tiles_of_nothing(shape):
    x = ops.zeros(shape)
    (y,) = map_tiles(lambda x: (x + 1,), x, width=2, num_outputs=1)
    assert tuple(y.shape) == shape


@pytest.mark.parametrize(
    "window", [(0, 4), (1, -1), (2, None), (-3, None, 2), (1, -2, 2), (0, -4)]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_one_axis(axis, window, rng):
    x = rng.normal(size=(5, 4, 6)).astype("float32")
    expected = x[(slice(None),) * axis + (slice(*window),)]

    def run(_, x):
        return slice_axis(x, axis, *window)

    for found in (run(None, ops.array(x)), compiled(run, None, ops.array(x))):
        np.testing.assert_array_equal(to_numpy(found), expected)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its graph")
def test_slices_of_one_graph_share_their_constants():
    import tensorflow as tf

    filters = ring_filters((9, 9))
    graph = tf.function(
        lambda x: ring_sums(x, filters, (1, 1), (1, 1)), autograph=False
    ).get_concrete_function(tf.TensorSpec((None, 12, 12, 2)))
    kinds = [operation.type for operation in graph.graph.get_operations()]
    # 9 offsets along 2 axes, each with a start and an end, the strides of both,
    # and the axis to join along.
    assert kinds.count("StridedSlice") > 30
    assert kinds.count("Const") <= 2 * 9 * 2 + 2 + 1


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("strides", [1, 2])
def test_a_single_tap_is_a_product(strides, groups, rng):
    config = RingConvConfig(
        (1, 1), strides=(strides,) * 2, dilation_rate=(1, 1), groups=groups
    )
    x = rng.normal(size=(2, 5, 4, 6)).astype("float32")
    (weight,) = sample_weights(config, 6, 4, rng)
    cells = x[:, ::strides, ::strides].reshape(-1, groups, 6 // groups)
    expected = np.einsum(
        "ngi,igo->ngo", cells, weight[0].reshape(6 // groups, groups, -1)
    )
    for implementation in ("auto", "dense", "slices"):
        y = ring_conv(x, (weight,), config, implementation=implementation)
        assert_close(to_numpy(y).reshape(-1, 4), expected.reshape(-1, 4))


def test_what_auto_stands_for_on_a_cpu():
    def fastest(*kernel_size, groups=1, dtype="float32"):
        config = RingConvConfig(kernel_size, groups=groups)
        return fastest_implementation(ops.ones((1, 9, 4), dtype), config)

    assert fastest(3, dtype="bfloat16") == "slices"
    fused = keras.backend.backend() != "torch"
    assert fastest(1) == fastest(1, groups=2) == "dense"
    assert fastest(3) == fastest(9) == "slices"
    assert fastest(3, groups=2) == ("slices" if fused else "dense")


@pytest.mark.parametrize("profile", ["hard", "area", "linear", "cosine"])
@pytest.mark.parametrize("kernel_size", [(9, 9), (6, 6), (5, 5, 5)], ids=str)
def test_expanded_kernel_is_symmetric_bit_for_bit(kernel_size, profile, rng):
    filters = ring_filters(kernel_size, ring_profile=profile)
    weights = rng.normal(size=(len(filters), 3, 4)).astype("float32")
    kernel = to_numpy(expand_kernel(ops.convert_to_tensor(weights), filters))
    for axis in range(len(kernel_size)):
        np.testing.assert_array_equal(np.flip(kernel, axis), kernel)
        np.testing.assert_array_equal(np.swapaxes(kernel, 0, axis), kernel)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "config",
    [
        RingConvConfig((3,), padding="causal", dilation_rate=(2,)),
        RingConvConfig(
            (3, 3),
            padding="same",
            strides=(2, 2),
            dilation_rate=(1, 1),
            groups=2,
        ),
        RingConvConfig((3, 3, 3), strides=(1,) * 3, dilation_rate=(1,) * 3),
        RingConvConfig(
            (3, 3),
            strides=(1, 1),
            dilation_rate=(1, 1),
            groups=2,
            orders=(0, 1, 2),
        ),
    ],
    ids=["1d-causal", "2d-stride-groups", "3d", "harmonics"],
)
def test_channels_first_equals_the_reference(config, implementation, rng):
    config, x, *weights = sample(config, 4, 6, rng)
    y = ring_conv(
        np.moveaxis(x, -1, 1),
        weights,
        config,
        data_format="channels_first",
        implementation=implementation,
    )
    expected = np.moveaxis(reference(config, x, *weights), -1, 1)
    assert_close(y, expected)
