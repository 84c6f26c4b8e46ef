"""Random layers with all that they accept, and what each should return."""

import math
from typing import NamedTuple

import keras
import numpy as np
import ring_reference
from helpers import to_numpy
from hypothesis import strategies as st

import keras_sre
from keras_sre.geometry import RING_PROFILES

PER_AXIS = ("kernel_size", "strides", "dilation_rate", "spacing", "pool_size")
FULL_PRECISION = ("float32", "float64")
if keras.backend.backend() == "jax":  # as it is by default
    FULL_PRECISION = ("float32",)
DTYPES = (*FULL_PRECISION, "mixed_float16", "mixed_bfloat16")


class Case(NamedTuple):
    """A layer, not made yet, and the shape of its input, channels last."""

    kind: str
    cls: type
    options: dict
    shape: tuple
    seed: int

    @property
    def rank(self):
        return len(self.shape) - 2

    @property
    def sizes(self):
        return self.shape[1:-1]

    @property
    def options_per_axis(self):
        return [
            self.options[name]
            for name in PER_AXIS
            if self.options.get(name) is not None
        ]

    @property
    def treats_axes_alike(self):
        return all(len(set(values)) == 1 for values in self.options_per_axis)

    @property
    def is_harmonic(self):
        return bool(self.options.get("harmonics"))


@st.composite
def ring_layer_cases(draw, dtypes=DTYPES):
    """Draws a layer of any kind, its arguments and the shape of an input."""
    kind = draw(st.sampled_from(["conv", "transpose", "depthwise", "pooling"]))
    rank = 2 if kind == "depthwise" else draw(st.integers(1, 3))
    per_axis = _axes(draw, rank)
    options = {
        "data_format": draw(
            st.sampled_from(["channels_last", "channels_first"])
        ),
        "dtype": draw(st.sampled_from(dtypes)),
    }
    channels = draw(st.integers(1, 2))
    if kind == "pooling":
        name = f"SymmetricPooling{rank}D"
        options["pool_size"] = per_axis(range(1, 5))
        options["mode"] = draw(st.sampled_from(["average", "max"]))
        sizes = per_axis(range(1, 10 if rank < 3 else 7))
    else:
        options |= _ring_options(draw, kind, rank, per_axis)
        if options["dtype"].startswith("mixed"):
            # Rounding is relative to what is large, which this would hide.
            options["activation"] = None
        if kind == "conv":
            name = f"SREConv{rank}D"
            channels *= options["groups"]
        elif kind == "transpose":
            name = f"SREConv{rank}DTranspose"
        else:
            name = "SREDepthwiseConv2D"
        sizes = per_axis(range(1, (9, 8, 5)[rank - 1]))
        if options.get("output_padding") == 0:
            # One cell may leave none: there is nothing to compare.
            sizes = tuple(n + 1 for n in sizes)
        if kind != "transpose" and options["padding"] == "valid":
            sizes = tuple(
                n + span - 1
                for n, span in zip(sizes, spans(options), strict=True)
            )
    cls = getattr(keras_sre, name)
    seed = draw(st.integers(0, 2**32 - 1))
    return Case(kind, cls, options, (2, *sizes, channels), seed)


def _axes(draw, rank):
    """Returns what draws a tuple: all axes alike in half of the cases."""
    alike = draw(st.booleans())

    def per_axis(values):
        value = st.sampled_from(values)
        if alike:
            return (draw(value),) * rank
        return tuple(draw(value) for _ in range(rank))

    return per_axis


def _ring_options(draw, kind, rank, per_axis):
    paddings = ["valid", "same"]
    if kind == "conv" and rank == 1:
        paddings.append("causal")
    options = _filter_options(draw, rank, per_axis)
    options |= {
        "padding": draw(st.sampled_from(paddings)),
        "strides": per_axis(range(1, 4)),
        "dilation_rate": (1,) * rank,
        "activation": draw(st.sampled_from([None, "tanh"])),
        "use_bias": draw(st.booleans()),
    }
    if draw(st.booleans()):
        options["strides"] = (1,) * rank
        options["dilation_rate"] = per_axis(range(1, 3))
    if kind == "transpose":
        options["output_padding"] = draw(st.sampled_from([None, 0]))
        _centre(options)
    elif options["padding"] == "same":
        options["kernel_size"] = tuple(k | 1 for k in options["kernel_size"])
    options["num_rings"] = draw(st.sampled_from([None, *usable(options)]))
    if kind == "depthwise":
        options["depth_multiplier"] = draw(st.integers(1, 2))
        return options
    options["filters"] = draw(st.sampled_from([1, 2, 6]))
    if kind == "conv":
        options["groups"] = draw(st.integers(1, 2))
        options["filters"] *= options["groups"]
        if options["kernel_size"] in ((3,) * rank, (5,) * rank):
            options |= draw(st.sampled_from([{}, *_harmonics(rank)]))
    return options


@st.composite
def ring_filter_options(draw):
    """Draws what fixed filters depend on, but the number of rings."""
    rank = draw(st.integers(1, 3))
    return _filter_options(draw, rank, _axes(draw, rank))


def _filter_options(draw, rank, per_axis):
    spacing = per_axis([0.5, 0.75, 2.0])
    return {
        "kernel_size": per_axis(range(1, 6 if rank < 3 else 4)),
        "ring_profile": draw(st.sampled_from(RING_PROFILES)),
        "circular": draw(st.booleans()),
        "spacing": draw(st.sampled_from([None, spacing])),
    }


def _harmonics(rank):
    """Yields options with which all rings but the centre carry all orders."""
    for harmonics in [(1,), (2, 1)] if rank > 1 else [(1,)]:
        for fraction in (0.5, 1.0):
            yield {
                "harmonics": harmonics,
                "harmonic_fraction": fraction,
                "groups": 2,
                "filters": 12,
                "num_rings": None,
                "circular": True,
                "spacing": None,
            }


def _centre(options):
    """Makes kernels larger by one where the output would be off-centre."""
    geometry = [options["kernel_size"], options["strides"]]
    grown = []
    for k, s, d in zip(*geometry, options["dilation_rate"], strict=True):
        ((full, kept),) = ring_reference.transposed_sizes(
            (3,),
            (k,),
            (s,),
            options["padding"],
            (d,),
            options["output_padding"],
        )
        grown.append(k + (full - kept) % 2)
    options["kernel_size"] = tuple(grown)


def usable(options):
    """Returns the numbers of rings up to 4 of which none is empty."""
    return [
        count
        for count in range(1, min(4, math.prod(options["kernel_size"])) + 1)
        if options["ring_profile"] == "gaussian"
        or not ring_reference.has_dead_ring(
            filters(options, count), options["ring_profile"]
        )
    ]


def filters(options, num_rings):
    return ring_reference.ring_filters(
        *(options["kernel_size"], num_rings, options["circular"]),
        *(options["ring_profile"], options["spacing"]),
    )


def spans(options):
    """Returns the cells from the first to the last tap of each axis."""
    return tuple(
        (k - 1) * d + 1
        for k, d in zip(
            options["kernel_size"], options["dilation_rate"], strict=True
        )
    )


def make(case):
    """Returns the layer with random weights, and a random input for it."""
    rng = np.random.default_rng(case.seed)
    layer = case.cls(**case.options)
    x = to_layout(rng.normal(size=case.shape), layer)
    layer.build(x.shape)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer, x.astype(layer.variable_dtype)


def to_layout(x, layer):
    """Moves the channels, last in `x`, to where the layer has them."""
    return np.moveaxis(x, -1, 1) if _is_channels_first(layer) else x


def from_layout(x, layer):
    """Returns what a layer returned, channels last."""
    if keras.backend.standardize_dtype(x.dtype) == "bfloat16":
        x = keras.ops.cast(x, "float32")
    x = to_numpy(x)
    return np.moveaxis(x, 1, -1) if _is_channels_first(layer) else x


def with_unknown_sizes(layer, shape):
    """Returns a shape of which only the number of channels is known."""
    channels = 1 if _is_channels_first(layer) else len(shape) - 1
    return tuple(n if i == channels else None for i, n in enumerate(shape))


def _is_channels_first(layer):
    return layer.data_format == "channels_first"


def expected(case, layer, x):
    """Returns what the layer should return, channels last."""
    x = from_layout(x, layer).astype("float64")
    options = case.options
    if case.kind == "pooling":
        return ring_reference.symmetric_pool(
            x, options["pool_size"], options["mode"]
        )
    weights = {w.name: to_numpy(w).astype("float64") for w in layer.weights}
    kernels = {
        name: _expand(kernel, name, case, layer, weights.get("log_sigma"))
        for name, kernel in weights.items()
        if "kernel" in name
    }
    geometry = [
        options[name] for name in ("strides", "padding", "dilation_rate")
    ]
    if case.kind == "transpose":
        y = ring_reference.conv_transpose(
            x, kernels["ring_kernel"], *geometry, options["output_padding"]
        )
    elif case.kind == "depthwise":
        kernel = kernels["ring_kernel"]
        kernel = kernel.reshape(*options["kernel_size"], 1, -1)
        y = ring_reference.conv(x, kernel, *geometry, x.shape[-1])
    else:
        y = _grouped(x, kernels, geometry, options["groups"])
    y = y + weights.get("bias", 0)
    return np.tanh(y) if options["activation"] else y


def _expand(ring_kernel, name, case, layer, log_sigma):
    """Returns the ordinary kernel of ring weights."""
    rings = filters(case.options, case.options["num_rings"])
    if case.options["ring_profile"] == "area":
        # Integrals are compared by themselves: they are not to the last digit.
        rings = np.asarray(layer._config.rings)
    if log_sigma is not None:
        ring_kernel = ring_reference.mixed(ring_kernel, log_sigma)
    elif name != "ring_kernel":  # the centre has no direction
        centre = np.zeros_like(ring_kernel[:1])
        ring_kernel = np.concatenate([centre, ring_kernel])
    return np.einsum("r...,rcf->...cf", rings, ring_kernel)


def _grouped(x, kernels, geometry, groups):
    """Returns for each group the filters of each order in turn."""
    parts = []
    for group, channels in enumerate(np.split(x, groups, axis=-1)):
        for name, kernel in kernels.items():
            kernel = np.split(kernel, groups, axis=-1)[group]
            if name == "ring_kernel":
                parts.append(
                    ring_reference.conv(channels, kernel, *geometry, 1)
                )
            else:
                order = int(name.removeprefix("harmonic_kernel_"))
                parts.append(
                    ring_reference.harmonic_conv(
                        channels, kernel, order, *geometry
                    )
                )
    return np.concatenate(parts, axis=-1)
