"""Layers with any arguments: the reference, exactness, shapes, files.

There are 300 examples, or as many as `KERAS_SRE_EXAMPLES` says:

    KERAS_SRE_EXAMPLES=5000 python -m pytest tests/test_properties.py
"""

import contextlib
import functools
import itertools
import json
import os
import pathlib
import re
import tempfile
from unittest import mock

import keras
import numpy as np
import ring_cases
import ring_reference
from helpers import assert_close
from helpers import in_one_program
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from ring_cases import FULL_PRECISION
from ring_cases import ring_layer_cases

from keras_sre import equivariance_report
from keras_sre.centring import all_centred
from keras_sre.geometry import ring_filters
from keras_sre.ops import backend

NUM_EXAMPLES = int(os.environ.get("KERAS_SRE_EXAMPLES", 300))
IMPLEMENTATIONS = ("slices", "depthwise", "dense")
NOT_FLOAT64 = ("float32", "mixed_float16", "mixed_bfloat16")  # by `predict`
# Keras multiplies in float32 at most on the other backends.
HAS_FLOAT64 = keras.backend.backend() == "tensorflow"
# Relative to the largest output; halves round to 2**-11 and 2**-8.
TOLERANCE = {
    "float32": 1e-5,
    "float64": 1e-12 if HAS_FLOAT64 else 1e-5,
    "float16": 0.01,
    "bfloat16": 0.05,
}
# A norm is a root, which is steep where responses cancel.
HARMONIC_TOLERANCE = {
    **TOLERANCE,
    "float32": 3e-5,
    "float64": 1e-10 if HAS_FLOAT64 else 3e-5,
}
AREA_TOLERANCE = 0.02  # of a filter: an integral, from points on both sides
SLIVER = 1e-3  # of a tap
REPORT_TOLERANCE = 1e-4


def share(fraction):
    """Returns settings for this share of all examples."""
    return settings(max_examples=max(1, round(fraction * NUM_EXAMPLES)))


@contextlib.contextmanager
def not_compiled():
    """Runs what XLA would compile as it is: each example has new shapes."""

    def program(function, config, signature):
        return functools.partial(function, config)

    with mock.patch.object(backend, "_program", program):
        yield


def tolerance(case, dtype):
    tolerances = HARMONIC_TOLERANCE if case.is_harmonic else TOLERANCE
    return tolerances[keras.backend.standardize_dtype(dtype)]


@given(ring_layer_cases())
@share(0.4)
def test_every_implementation_equals_the_reference(case):
    layer, x = ring_cases.make(case)
    expected = ring_cases.expected(case, layer, x)
    for implementation in IMPLEMENTATIONS:
        layer.implementation = implementation
        with not_compiled():
            y = in_one_program(layer)(x)
        found = ring_cases.from_layout(y, layer)
        assert_close(found, expected, tolerance(case, y.dtype))
        if case.kind == "pooling":
            return  # it has one implementation


@given(ring_layer_cases())
@share(0.1)
def test_compiled_layers_equal_the_reference(case):
    layer, x = ring_cases.make(case)
    y = layer(x)
    found = ring_cases.from_layout(y, layer)
    expected = ring_cases.expected(case, layer, x)
    assert_close(found, expected, tolerance(case, y.dtype))


@given(ring_layer_cases())
@share(0.1)
def test_shapes_agree(case):
    layer, x = ring_cases.make(case)
    with not_compiled():
        shape = tuple(layer(x).shape)
    assert layer.compute_output_shape(x.shape) == shape
    assert layer(keras.Input(batch_shape=x.shape)).shape == shape
    unknown = ring_cases.with_unknown_sizes(layer, x.shape)
    assert layer(keras.Input(batch_shape=unknown)).shape == (
        ring_cases.with_unknown_sizes(layer, shape)
    )


@given(ring_layer_cases(FULL_PRECISION))
@share(0.15)
def test_exact_where_declared(case):
    layer, x = ring_cases.make(case)
    error = grid_error(case, layer, x)
    if is_declared_exact(case):
        assert error <= tolerance(case, layer.dtype)
    elif fits(case):
        # Where kernels are larger than the map, all windows may be cut alike.
        assert error > 10 * REPORT_TOLERANCE
    if not case.treats_axes_alike:
        return
    with not_compiled():
        report = equivariance_report(layer, x, angles=())
    assert report.exact == (error <= REPORT_TOLERANCE), report
    if report.exact:
        assert not report.offenders, report
    else:
        (offender,) = report.offenders
        assert offender.name == layer.name
        assert any(
            word in offender.reason for word in ("off-centre", "one side")
        )


def is_declared_exact(case):
    return case.kind in ("transpose", "pooling") or all_centred(
        case.sizes,
        ring_cases.spans(case.options),
        case.options["strides"],
        case.options["padding"],
    )


def fits(case):
    spans = ring_cases.spans(case.options)
    return all(n >= k for n, k in zip(case.sizes, spans, strict=True))


def grid_error(case, layer, x):
    """Returns the largest error over the symmetries that the case keeps."""
    inputs = ring_cases.from_layout(x, layer)
    symmetries = list(kept_symmetries(case))
    turned = np.concatenate([symmetry(inputs) for symmetry in symmetries])
    with not_compiled():
        outputs = in_one_program(layer)(ring_cases.to_layout(turned, layer))
    outputs = ring_cases.from_layout(outputs, layer)
    first, *others = np.split(outputs, len(symmetries))
    scale = np.abs(first).max() or 1.0  # if no tap meets the image
    return max(
        np.abs(y - symmetry(first)).max() / scale
        for y, symmetry in zip(others, symmetries[1:], strict=True)
    )


def kept_symmetries(case):
    """Yields the identity, and all that keep sizes and options as they are."""
    for axes in itertools.permutations(range(case.rank)):
        if any(
            tuple(values[axis] for axis in axes) != values
            for values in (case.sizes, *case.options_per_axis)
        ):
            continue
        order = (0, *(axis + 1 for axis in axes), case.rank + 1)
        for flips in itertools.product((False, True), repeat=case.rank):
            flipped = [axis for axis, flip in enumerate(flips, 1) if flip]
            yield lambda x, order=order, flipped=flipped: np.flip(
                np.transpose(x, order), flipped
            )


@given(ring_cases.ring_filter_options(), st.sampled_from([None, *range(1, 7)]))
@share(1)
def test_filters_equal_the_reference_and_none_is_empty(options, num_rings):
    profile, num_taps = options["ring_profile"], np.prod(options["kernel_size"])
    expected = None
    if num_rings is None or num_rings <= num_taps:
        expected = ring_cases.filters(options, num_rings)
    may_be_empty = profile == "gaussian" and num_rings is not None
    if expected is None or (
        not may_be_empty and ring_reference.has_dead_ring(expected, profile)
    ):
        try:
            found = ring_filters(**options, num_rings=num_rings)
        except ValueError as error:
            assert re.search("no tap|more rings than taps", str(error))
        else:  # a sliver between the points that the reference looks at
            assert profile == "area"
            assert found.reshape(num_rings, -1).max(axis=1).min() < SLIVER
        return
    found = ring_filters(**options, num_rings=num_rings)
    atol = AREA_TOLERANCE if profile == "area" else 1e-9
    np.testing.assert_allclose(found, expected, atol=atol)


@given(ring_layer_cases())
@share(0.1)
def test_configurations_survive_json(case):
    layer = case.cls(**case.options)
    config = layer.get_config()
    written = json.loads(json.dumps(config))
    assert case.cls.from_config(written).get_config() == config
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is case.cls and again.get_config() == config


@given(ring_layer_cases(NOT_FLOAT64), st.booleans())
@share(0.05)
def test_saved_models_predict_the_same(case, knows_sizes):
    layer, x = ring_cases.make(case)
    shape = x.shape
    if not knows_sizes:
        shape = ring_cases.with_unknown_sizes(layer, shape)
    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, layer(inputs))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
    with not_compiled():
        y = loaded.predict(x, verbose=0)
    found = ring_cases.from_layout(y, layer)
    expected = ring_cases.expected(case, layer, x)
    assert_close(found, expected, tolerance(case, layer.compute_dtype))
