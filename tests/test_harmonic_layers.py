"""Layers with harmonics: Keras' contract, symmetry, what they see."""

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import assert_layer_contract
from helpers import dense_conv
from helpers import equivariance_error
from helpers import to_numpy

from keras_sre import SREConv1D
from keras_sre import SREConv2D
from keras_sre import SREConv3D
from keras_sre.geometry import RING_PROFILES
from keras_sre.harmonics import harmonic_filters
from keras_sre.ops import factorised_depthwise
from keras_sre.ops import products as products_module

# Class, options, input, shapes of the weights.
LAYERS = {
    "1d": (
        SREConv1D,
        {"filters": 4, "kernel_size": 5, "harmonics": (1,)},
        (2, 12, 3),
        [(3, 3, 2), (2, 3, 2), (4,)],
    ),
    "2d": (
        SREConv2D,
        {"filters": 8, "kernel_size": 5, "harmonics": (1, 2)},
        (2, 9, 8, 3),
        [(3, 3, 4), (2, 3, 2), (2, 3, 2), (8,)],
    ),
    "2d-groups": (
        SREConv2D,
        {
            "filters": 8,
            "kernel_size": 3,
            "strides": 2,
            "padding": "same",
            "groups": 2,
            "activation": "tanh",
            "kernel_regularizer": "l2",
            "harmonics": [2, 1],
            "use_bias": False,
            "implementation": "dense",
        },
        (2, 8, 9, 4),
        [(2, 2, 4), (1, 2, 2), (1, 2, 2)],
    ),
    "2d-all-harmonic": (
        SREConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "dilation_rate": 2,
            "harmonics": 3,
            "harmonic_fraction": 1,
            "ring_profile": "linear",
            "implementation": "depthwise",
        },
        (2, 9, 8, 2),
        [(1, 2, 4), (4,)],
    ),
    "3d": (
        SREConv3D,
        {
            "filters": 8,
            "kernel_size": 3,
            "harmonics": (1, 2),
            "spacing": (1.5, 1.0, 1.0),
        },
        (2, 5, 6, 7, 2),
        [(2, 2, 4), (1, 2, 2), (1, 2, 2), (8,)],
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_keras_contract(case):
    cls, options, shape, weights = LAYERS[case]
    assert_layer_contract(cls, options, shape, len(weights))


@pytest.mark.parametrize("case", LAYERS)
def test_weights_are_what_the_documentation_says(case):
    cls, options, shape, weights = LAYERS[case]
    layer = cls(**options)
    layer.build(shape)
    assert [tuple(w.shape) for w in layer.trainable_weights] == weights
    assert tuple(layer.harmonic_kernels) == layer.harmonics
    has_rings = options.get("harmonic_fraction") != 1
    assert (layer.ring_kernel is not None) == has_rings


@pytest.mark.parametrize(
    ("filters", "harmonics", "fraction", "expected"),
    [
        (16, (1, 2), 0.5, {0: 8, 1: 4, 2: 4}),
        (10, (1, 2), 0.5, {0: 6, 1: 2, 2: 2}),
        (16, (2,), 0.25, {0: 12, 2: 4}),
        (6, (1, 2, 3), 1.0, {1: 2, 2: 2, 3: 2}),
        (6, (1, 2, 3), 0.0, {0: 6}),
        (6, (), 0.5, {0: 6}),
    ],
)
def test_shares_of_the_filters(filters, harmonics, fraction, expected):
    layer = SREConv2D(
        filters, 5, harmonics=harmonics, harmonic_fraction=fraction
    )
    layer.build((None, 8, 8, 1))
    found = {m: w.shape[-1] for m, w in layer.harmonic_kernels.items()}
    if layer.ring_kernel is not None:
        found[0] = layer.ring_kernel.shape[-1]
    assert found == expected


def test_layer_equals_the_formula(rng):
    layer = SREConv2D(
        4, 5, padding="same", harmonics=(2,), bias_initializer="normal"
    )
    x = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    y = to_numpy(layer(x)) - to_numpy(layer.bias)
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    # phi times cosine and sine of twice the angle, on rings 1 and 2.
    offsets = np.arange(5) - 2
    angle = 2 * np.arctan2(*np.meshgrid(offsets, offsets))
    radius = np.hypot(*np.meshgrid(offsets, offsets))
    ring = np.digitize(radius, [5 / 6, 5 / 3, 5 / 2])
    phi = np.zeros((4, 3, 2))
    phi[1:3] = to_numpy(layer.harmonic_kernels[2])
    a, b = (
        dense_conv(
            padded, phi[ring] * function[..., None, None], (1, 1), (1, 1)
        )
        for function in (np.cos(angle), np.sin(angle))
    )
    assert_close(y[..., 2:], np.sqrt(a**2 + b**2))


def test_kernel_holds_all_responses(rng):
    layer = SREConv2D(8, 3, harmonics=(1, 2), groups=2, use_bias=False)
    x = rng.normal(size=(2, 7, 6, 4)).astype("float32")
    y = to_numpy(layer(x))
    kernel = to_numpy(layer.kernel)
    assert kernel.shape == (3, 3, 2, 2 * (2 + 2 + 2))
    responses = dense_conv(x, kernel, (1, 1), (1, 1), groups=2)
    for group in range(2):
        rings, first, second = np.split(
            responses[..., 6 * group : 6 * group + 6], 3, axis=-1
        )
        norms = [
            np.linalg.norm(parts, axis=-1, keepdims=True)
            for parts in (first, second)
        ]
        expected = np.concatenate([rings, *norms], axis=-1)
        assert_close(y[..., 4 * group : 4 * group + 4], expected)


def test_groups_are_layers_side_by_side(rng):
    options = {"kernel_size": 3, "harmonics": (1, 2), "padding": "same"}
    grouped = SREConv2D(8, groups=2, **options)
    x = rng.normal(size=(2, 6, 7, 4)).astype("float32")
    y = to_numpy(grouped(x))
    for half in range(2):
        single = SREConv2D(4, **options)
        channels = x[..., 2 * half : 2 * half + 2]
        single.build(channels.shape)
        single.set_weights(
            [np.split(w, 2, axis=-1)[half] for w in grouped.get_weights()]
        )
        assert_close(y[..., 4 * half : 4 * half + 4], single(channels))


EXACT = {
    "1d": (SREConv1D, 5, (1,), "same", (2, 11, 3)),
    "1d-even": (SREConv1D, 4, (1,), "valid", (2, 10, 3)),
    "2d-k5": (SREConv2D, 5, (1, 2, 3), "same", (2, 9, 9, 3)),
    "2d-k3": (SREConv2D, 3, (1, 2), "same", (2, 8, 8, 2)),
    "2d-k7": (SREConv2D, 7, (4, 5), "same", (1, 8, 8, 2)),
    "2d-even": (SREConv2D, 4, (1, 2), "valid", (2, 9, 9, 3)),
    "3d-k3": (SREConv3D, 3, (1, 2), "same", (1, 5, 5, 5, 2)),
    "3d-k5": (SREConv3D, 5, (3,), "same", (1, 6, 6, 6, 1)),
}


@pytest.mark.parametrize(
    ("case", "profile"),
    [
        *((case, profile) for case in EXACT for profile in ("hard", "linear")),
        *((case, "area") for case in ("1d-even", "2d-k7", "3d-k3")),
        *((case, "gaussian") for case in ("1d", "2d-even", "3d-k5")),
    ],
)
def test_exactly_equivariant(case, profile, rng):
    cls, size, harmonics, padding, shape = EXACT[case]
    layer = cls(
        8, size, padding=padding, ring_profile=profile, harmonics=harmonics
    )
    x = rng.normal(size=shape).astype("float32")
    assert_equivariant(layer, x, layer.rank)


@pytest.mark.parametrize(("side", "exact"), [(9, True), (8, False)])
def test_strides_are_exact_where_they_are_centred(side, exact, rng):
    layer = SREConv2D(8, 5, 2, "same", groups=2, harmonics=(1, 2))
    x = rng.normal(size=(1, side, side, 2)).astype("float32")
    error, _ = equivariance_error(layer, x, 2)
    assert error < 1e-5 if exact else error > 0.1


def test_responses_alone_are_not_equivariant(rng):
    layer = SREConv2D(4, 3, harmonics=(1,), harmonic_fraction=1.0)
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    layer.build(x.shape)
    cosine = to_numpy(layer.kernel)[..., :4]
    error, _ = equivariance_error(
        lambda x: dense_conv(x, cosine, (1, 1), (1, 1)), x, 2
    )
    assert error > 0.5


def test_approximately_equivariant_at_other_angles():
    """Turned by 45 degrees a smooth pattern responds as before."""
    layer = SREConv2D(
        6, 7, harmonics=(1, 2), harmonic_fraction=1.0, ring_profile="linear"
    )
    y, x = np.mgrid[-3:4, -3:4].astype("float32")
    responses = []
    for angle in np.deg2rad([0, 45]):
        u = np.cos(angle) * x + np.sin(angle) * y
        v = np.cos(angle) * y - np.sin(angle) * x
        pattern = np.exp(-(u**2) / 8) * (1 + 0.3 * v)
        responses.append(to_numpy(layer(pattern[None, ..., None])))
    # 8 % is what the outer ring's taps miss of a circle.
    assert_close(*responses, tolerance=0.08)


def test_harmonics_see_edges_and_no_constants():
    layer = SREConv2D(8, 3, harmonics=(1, 2), use_bias=False)
    flat = np.ones((1, 8, 8, 1), "float32")
    edge = flat * (np.arange(8) > 3).reshape(1, 1, 8, 1)
    rings, harmonic = np.split(to_numpy(layer(flat)), 2, axis=-1)
    assert harmonic.max() < 2e-4  # the root of epsilon
    assert (np.abs(rings) > 1e-2).all()
    _, harmonic = np.split(to_numpy(layer(edge)), 2, axis=-1)
    assert (harmonic[0, 0, 2] > 1e-2).all() and harmonic[0, 0, 0].max() < 2e-4


def test_first_order_tells_an_edge_from_a_line():
    """At their centres: the one is odd there, the other even."""
    layer = SREConv2D(4, 3, harmonics=(1, 2), harmonic_fraction=1.0)
    across = np.arange(3).reshape(1, 1, 3, 1) - np.ones((1, 3, 1, 1))
    slope, line = across.astype("float32"), (across == 0).astype("float32")
    first, second = np.split(to_numpy(layer(slope)).ravel(), 2)
    assert (first > 1e-2).all() and (second < 2e-4).all()
    first, second = np.split(to_numpy(layer(line)).ravel(), 2)
    assert (first < 2e-4).all() and (second > 1e-2).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_in_half_precision_on_an_empty_map(policy):
    layer = SREConv2D(4, 3, harmonics=(1, 2), dtype=policy)
    model = keras.Sequential([keras.Input((8, 8, 2)), layer])
    model.compile("sgd", "mse")
    before = model.get_weights()
    x = np.zeros((2, 8, 8, 2))
    x[0, 4, 4] = 1
    model.fit(x, np.ones((2, 6, 6, 4)), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all() and (new != old).any()


@pytest.mark.parametrize(
    ("channels", "filters", "count"),
    [(12, 48, 43), (48, 32, 40)],
    ids=["rings", "products"],
)
def test_batches_that_are_worked_on_in_tiles(
    channels, filters, count, monkeypatch, rng
):
    """40 maps of 32x32 exceed the cache; of 43 the batches differ in size."""
    from keras_sre.ops import backend
    from keras_sre.ops import tiling

    widths = []

    def plan(x, width, function=tiling._plan):
        widths.append(width)
        return function(x, width)

    monkeypatch.setattr(tiling, "_plan", plan)
    backend._program.cache_clear()
    inputs = keras.Input((32, 32, channels))
    x = rng.normal(size=(count, 32, 32, channels)).astype("float32")
    models = {}
    for implementation in ("slices", "dense"):
        keras.utils.set_random_seed(7)
        layer = SREConv2D(
            filters,
            5,
            padding="same",
            harmonics=(1, 2),
            implementation=implementation,
        )
        model = keras.Model(inputs, layer(inputs))
        model.compile(keras.optimizers.SGD(1.0), "mse")
        models[implementation] = model
    tiled, whole = models.values()
    y = tiled.predict(x, batch_size=40, verbose=0)
    assert_close(y, whole.predict(x, batch_size=40, verbose=0))
    for model in models.values():
        model.fit(x, 0 * y, batch_size=40, shuffle=False, verbose=0)
    for found, expected in zip(
        tiled.get_weights(), whole.get_weights(), strict=True
    ):
        assert_close(found, expected)
    # Else nothing was tested: forward and back, all exceeds the cache.
    assert len(widths) >= 2
    assert 40 * 32 * 32 * 4 * min(widths) > tiling.WHOLE_BYTES


UNKNOWN = {
    "1d": (SREConv1D, {"harmonics": (1,)}, (3, 12, 2)),
    "2d": (SREConv2D, {"harmonics": (1, 2)}, (3, 9, 10, 2)),
    "2d-stride": (SREConv2D, {"harmonics": (1,), "strides": 2}, (3, 9, 10, 2)),
    "3d": (SREConv3D, {"harmonics": (1, 2)}, (2, 5, 6, 7, 2)),
}


@pytest.mark.parametrize(
    ("case", "implementation"),
    [
        *((case, "slices") for case in UNKNOWN),
        *(("2d", "dense"), ("3d", "dense")),
        *(("1d", "depthwise"), ("2d-stride", "depthwise")),
    ],
)
def test_unknown_sizes_give_the_same(case, implementation, rng):
    cls, options, shape = UNKNOWN[case]
    layer = cls(8, 3, padding="same", implementation=implementation, **options)
    x = rng.normal(size=shape).astype("float32")
    inputs = keras.Input((*(None,) * layer.rank, shape[-1]))
    model = keras.Model(inputs, layer(inputs))
    expected = to_numpy(layer(x))
    assert_close(model.predict(x, verbose=0), expected)
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(x, 0 * expected, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all() and (new != old).any()


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (SREConv1D, {"kernel_size": 5, "padding": "causal"}),
        (SREConv2D, {"kernel_size": 5, "padding": "same"}),
        (SREConv2D, {"kernel_size": 4, "padding": "valid"}),
        (SREConv2D, {"kernel_size": 3, "dilation_rate": 2}),
        (SREConv2D, {"kernel_size": 5, "data_format": "channels_first"}),
        (SREConv3D, {"kernel_size": 5, "padding": "same"}),
        (SREConv3D, {"kernel_size": 3, "padding": "valid"}),
    ],
)
def test_products_come_first_where_filters_are_few(
    cls, options, rng, monkeypatch
):
    """8 channels and fewer filters of each order, by depthwise convolutions."""
    products = []

    def pointwise(x, weights):
        products.append(weights)
        return products_module.pointwise(x, weights)

    monkeypatch.setattr(factorised_depthwise, "pointwise", pointwise)
    layer = cls(8, harmonics=(1,), ring_profile="linear", **options)
    shape = [7, 6, 8][: layer.rank]
    channels_first = layer.data_format == "channels_first"
    shape.insert(0 if channels_first else layer.rank, 8)
    x = rng.normal(size=(2, *shape)).astype("float32")
    layer.implementation = "dense"
    expected = to_numpy(layer(x))
    layer.implementation = "depthwise"
    assert_close(layer(x), expected)
    # One for each ring, for whatever many functions.
    kernels = layer.ring_kernel, *layer.harmonic_kernels.values()
    assert len(products) == sum(len(to_numpy(kernel)) for kernel in kernels)


def test_weights_have_the_layers_initializer_regularizer_and_constraint():
    layer = SREConv2D(
        4,
        3,
        harmonics=(1,),
        kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint="non_neg",
    )
    layer.build((None, 8, 8, 1))
    kernel = layer.harmonic_kernels[1]
    np.testing.assert_allclose(to_numpy(kernel), 1)
    assert kernel.constraint is not None
    # 2 rings and 1 ring, 2 filters each.
    assert to_numpy(sum(layer.losses)) == pytest.approx(0.5 * (4 + 2))


@pytest.mark.parametrize("profile", RING_PROFILES)
@pytest.mark.parametrize(
    ("cls", "size", "harmonics", "shape"),
    [
        (SREConv1D, 5, (1,), (1, 4000, 32)),
        (SREConv2D, 3, (1, 2, 3), (1, 48, 48, 32)),
        (SREConv2D, 4, (1, 2), (1, 48, 48, 32)),
        (SREConv2D, 7, (1, 2, 4), (1, 48, 48, 32)),
        (SREConv3D, 3, (1, 2), (1, 16, 16, 16, 32)),
    ],
    ids=["1d", "2d-k3", "2d-k4", "2d-k7", "3d"],
)
def test_mean_square_of_every_order_is_that_of_a_dense_layer(
    cls, size, harmonics, shape, profile, rng
):
    x = rng.normal(size=shape).astype("float32")
    parts = 1 + len(harmonics)
    filters = 128 * parts
    layer = cls(
        filters,
        size,
        harmonics=harmonics,
        harmonic_fraction=1 - 1 / parts,
        ring_profile=profile,
        implementation="dense",
    )
    y = to_numpy(layer(x))
    dense = getattr(keras.layers, f"Conv{layer.rank}D")(filters, size)
    expected = np.mean(to_numpy(dense(x)) ** 2)
    for part in np.split(y, parts, axis=-1):
        assert 0.95 < np.mean(part**2) / expected < 1.05


@pytest.mark.parametrize("groups", [1, 2])
def test_no_filter_is_a_copy_of_another(groups):
    """A seeded initializer draws the same kernel for every order."""
    layer = SREConv2D(
        32,
        5,
        groups=groups,
        harmonics=(1, 2),
        kernel_initializer=keras.initializers.HeNormal(seed=1),
    )
    layer.build((None, 8, 8, 256 * groups))
    drawn = [  # for each ring and filter its weights of 256 channels
        to_numpy(w).swapaxes(0, 1).reshape(256, -1)
        for w in layer.trainable_weights[:3]
    ]
    drawn = np.concatenate(drawn, axis=1)
    correlation = np.corrcoef(drawn, rowvar=False)
    assert len(correlation) == 3 * 16 + 2 * 8 + 2 * 8
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.4


def test_spacing_makes_directions_physical():
    filters = harmonic_filters((3, 3), 1, spacing=(2.0, 1.0))
    # The diagonal tap is at (2, 1): more down than across.
    down, across = filters[:, -1, 2, 2]
    assert down / across == pytest.approx(2)
