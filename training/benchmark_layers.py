"""One ring layer beside the plain one, and beside its own floor.

The floor of a ring convolution is one product of the size of its pointwise
product: as many rows as there are cells, `num_rings * channels` by filters.
"copies" is what the way from the map to that product costs by itself: the layer
with rings of one tap each, whose sums are copies.
Transposed and depthwise layers are compared with Keras' of the same kernel.
"""

import math

import keras
import numpy as np
import timing
from keras import ops

import keras_sre
from keras_sre.ops.config import RingConvConfig

# Kernel size, channels and filters, spatial shape, batch.
LAYERS = (
    (9, 64, (32, 32), 32),
    (9, 128, (16, 16), 32),
    (5, 64, (32, 32), 32),
    (5, 256, (8, 8), 32),
    (5, 512, (4, 4), 32),
    (3, 64, (32, 32), 32),
    (5, 32, (32, 32, 32), 2),
    (3, 32, (32, 32, 32), 2),
)
PLAIN = "plain"  # a kernel of 3 taps along each axis
COPIES = "copies"
RINGS = {
    "auto": {},
    COPIES: {},
    "auto, harmonics": {"harmonics": (1, 2)},
    "dense": {"implementation": "dense"},
    "depthwise": {"implementation": "depthwise"},
}
# Layer (less its SRE), its arguments, input channels, spatial shape, batch.
OTHERS = (
    ("Conv2DTranspose", (64, 4, 2), 128, (16, 16), 32),
    ("Conv2DTranspose", (32, 3, 1), 64, (32, 32), 32),
    ("Conv3DTranspose", (16, 4, 2), 32, (16, 16, 16), 2),
    ("DepthwiseConv2D", (7,), 96, (56, 56), 8),
    ("DepthwiseConv2D", (7,), 384, (14, 14), 8),
    ("DepthwiseConv2D", (3,), 96, (56, 56), 8),
)


class _SingleTaps(RingConvConfig):
    """Rings of one tap each, and no two alike, or XLA would make one copy."""

    @property
    def banks(self):
        return tuple(map(self._single_taps, super().banks))

    def _single_taps(self, bank):
        functions, rings = bank.shape[:2]
        middle = [size // 2 for size in self.kernel_size]
        factors = 1 + np.arange(functions * rings)
        taps = np.zeros_like(bank)
        taps[(..., *middle)] = factors.reshape(functions, rings)
        return taps


def make_copies(layer):
    """Has a ring layer copy its map for each ring instead of adding its taps.

    What is left is the least that writing ring sums and multiplying them takes.
    """
    layer._config = _SingleTaps(**vars(layer._config))


def run(repeats):
    """Returns one row, a dict, for each layer and way to compute it."""
    rows = []
    for size, channels, spatial, batch in LAYERS:
        shape = " x ".join(map(str, spatial))
        kernel = " x ".join([str(size)] * len(spatial))
        case = f"{kernel}, {channels} ch, {shape}"
        rows += _time_convolution(case, size, channels, spatial, batch, repeats)
    for name, arguments, channels, spatial, batch in OTHERS:
        shape = " x ".join(map(str, spatial))
        case = f"{name}{arguments}, {channels} ch, {shape}"
        layers = {
            what: getattr(package, name)(*arguments, padding="same")
            for what, package, name in (
                (PLAIN, keras.layers, name),
                ("auto", keras_sre, f"SRE{name}"),
            )
        }
        shape = batch, *spatial, channels
        rows += _time_side_by_side(case, layers, shape, repeats)
    return rows


def _time_convolution(case, size, channels, spatial, batch, repeats):
    rank = len(spatial)
    plain = getattr(keras.layers, f"Conv{rank}D")
    ring = getattr(keras_sre, f"SREConv{rank}D")
    layers = {PLAIN: plain(channels, 3, padding="same")}
    for name, options in RINGS.items():
        if rank == 3 and name == "depthwise":
            continue  # no backend has one: it would go slice by slice
        layers[name] = ring(channels, size, padding="same", **options)
    make_copies(layers[COPIES])
    num_rings = layers["auto"].num_rings
    rows = batch * math.prod(spatial), num_rings * channels
    floor = ops.ones(rows), ops.ones((num_rings * channels, channels))
    shape = batch, *spatial, channels
    return _time_side_by_side(case, layers, shape, repeats, floor)


def _time_side_by_side(case, layers, shape, repeats, floor=None):
    """Returns a row for each layer; the first of them is the plain one."""
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.normal(size=shape).astype("float32"))
    cases = {}
    for name, layer in layers.items():
        # Trainable, so that the gradient by the input is needed too.
        scale = keras.layers.PReLU(shared_axes=list(range(1, len(shape) - 1)))
        model = keras.Sequential([keras.Input(shape[1:]), scale, layer])
        model.compile("sgd", "mse", jit_compile="auto")
        y = ops.zeros((shape[0], *model.output_shape[1:]))
        cases[name, "forward"] = predict_call(model, x)
        cases[name, "step"] = train_call(model, x, y)
    if floor:
        cases["floor"] = lambda: ops.convert_to_numpy(ops.matmul(*floor))
    times = timing.time_in_turn(cases, repeats, case)
    found = []
    for name in layers:
        row = {"case": case, "what": name}
        for work in ("forward", "step"):
            row[f"{work}_ms"], row[f"{work}_spread"] = times[name, work]
            plain_ms, _ = times[PLAIN, work]
            row[f"{work}_ratio"] = row[f"{work}_ms"] / plain_ms
        row["floor_ratio"] = None
        if floor:
            row["floor_ratio"] = row["forward_ms"] / times["floor"][0]
        found.append(row)
    return found


def predict_call(model, x):
    return lambda: ops.convert_to_numpy(model.predict_on_batch(x))


def train_call(model, x, y):
    return lambda: model.train_on_batch(x, y)
