"""The same weights give the same output and gradients on every backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_close
from helpers import names_its_backends

pytestmark = names_its_backends

BACKENDS = ("tensorflow", "jax", "torch")

SCRIPT = """
import sys
import keras
import numpy as np
import small_network
from helpers import gradients, to_numpy
assert keras.backend.backend() == sys.argv[2]
from keras_sre import SREConv1D, SREConv2D, SREConv3D, SymmetricPooling2D
from keras_sre.applications import SREResNet18

results = {}
cases = {
    "1d": (SREConv1D(4, 5, padding="causal"), (2, 9, 3)),
    "2d": (SREConv2D(4, 5, padding="same"), (2, 8, 7, 3)),
    "2d-wide": (SREConv2D(16, 5, padding="same"), (2, 8, 7, 3)),
    "2d-area": (SREConv2D(2, 4, ring_profile="area"), (2, 8, 7, 6)),
    "3d": (SREConv3D(4, 3, padding="same"), (2, 5, 6, 4, 3)),
    "harmonics": (
        SREConv2D(8, 5, padding="same", harmonics=(1, 2)), (2, 8, 7, 3)
    ),
    "harmonics-groups": (
        SREConv2D(8, 3, groups=2, harmonics=(1,)), (2, 8, 7, 4)
    ),
    "harmonics-3d": (
        SREConv3D(4, 3, padding="same", harmonics=(1, 2)), (2, 5, 6, 4, 3)
    ),
    "pooling": (SymmetricPooling2D(), (2, 7, 8, 3)),
}
for name, (layer, shape) in cases.items():
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("float32")
    layer.build(shape)
    weights = [
        rng.normal(size=w.shape).astype("float32") for w in layer.weights
    ]
    layer.set_weights(weights)
    y = to_numpy(layer(x))
    upstream = rng.normal(size=y.shape).astype("float32")
    results[name] = y
    options = {"training": True} if name in ("harmonics", "2d-wide") else {}
    found = gradients(
        lambda x, *w: layer.stateless_call(w, [], x, **options)[0],
        *(x, *weights),
        upstream=upstream,
    )
    arguments = ("x", *(w.name for w in layer.weights))
    for argument, gradient in zip(arguments, found, strict=True):
        results[f"{name} gradient of {argument}"] = gradient
rng = np.random.default_rng(0)
model = SREResNet18(
    input_shape=(29, 29, 1), classes=3, width=4, kernel_sizes=(5, 5, 3, 3),
    classifier_activation=None,
)
model.set_weights([rng.uniform(0.05, 0.15, w.shape) for w in model.weights])
x = rng.normal(size=(4, 29, 29, 1)).astype("float32")
results["resnet"] = to_numpy(model.predict_on_batch(x))
model = small_network.classifier()
model.set_weights([rng.uniform(0.05, 0.15, w.shape) for w in model.weights])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
batch = small_network.images(rng)
results["loss"] = np.array([model.train_on_batch(*batch) for _ in range(3)])
np.savez(sys.argv[1], **results)
"""


def run(backend, script, *arguments):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.path.dirname(__file__),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{backend}: {done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    found = {}
    for backend in BACKENDS:
        if importlib.util.find_spec(backend):
            run(backend, SCRIPT, folder / f"{backend}.npz", backend)
            found[backend] = dict(np.load(folder / f"{backend}.npz"))
    return found


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_agree(results, backend):
    for needed in ("tensorflow", backend):
        if needed not in results:
            pytest.skip(f"{needed} is not installed")
    assert results[backend].keys() == results["tensorflow"].keys()
    assert "2d-wide gradient of ring_kernel" in results[backend]
    assert "harmonics-3d gradient of harmonic_kernel_2" in results[backend]
    for name, expected in results["tensorflow"].items():
        try:
            assert_close(results[backend][name], expected)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


LOWERING = """
import jax, keras, numpy as np
from jax import export
from keras_sre import SREConv2D, SREConv3D

for layer, shape in (
    (SREConv2D(8, 9, padding="same"), (2, 32, 32, 8)),
    (SREConv2D(8, 5, padding="same", harmonics=(1, 2)), (2, 32, 32, 8)),
    (SREConv3D(4, 5, padding="same"), (1, 16, 16, 16, 4)),
):
    layer.build(shape)
    x = np.ones(shape, "float32")

    def step(weights, x):
        def loss(weights):
            y, _ = layer.stateless_call(weights, [], x)
            return (y**2).sum()
        return jax.value_and_grad(loss)(weights)

    weights = [w.value for w in layer.trainable_variables]
    lowered = export.export(jax.jit(step), platforms=["cuda"])(weights, x)
    assert lowered.platforms == ("cuda",)
"""


def test_lowers_for_a_gpu_without_one():
    pytest.importorskip("jax")
    run("jax", LOWERING)


# As if there were a GPU, whose kernel is then run step by step.
KERNEL = """
import contextlib, functools
import jax, keras, numpy as np
from jax import export
from helpers import assert_close, gradients, to_numpy
from keras_sre import SREConv1D, SREConv2D, SREConv3D
from keras_sre.ops import factorised, ring_conv, ring_sum_kernel
from keras_sre.ops.config import RingConvConfig

ring_sum_kernel._on_gpu = lambda: True
ring_conv.on_cpu = lambda: False
kernel = factorised.ring_sums_by_kernel
calls = []

def by_kernel(x, *arguments):
    calls.append(x.shape)
    return kernel(x, *arguments, interpret=True)

factorised.ring_sums_by_kernel = by_kernel

def check(layer, shape, used, tolerance=1e-5):
    layer.build(shape)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    weights = [w.value for w in layer.weights]
    found = []
    for implementation in ("auto", "dense"):
        layer.implementation = implementation
        calls.clear()
        call = lambda x, *w: layer.stateless_call(w, [], x, training=True)[0]
        y = to_numpy(call(x, *weights)).astype("float32")
        upstream = np.random.default_rng(1).normal(size=y.shape)
        found.append((y, *gradients(
            call, x, *weights, upstream=upstream.astype(layer.compute_dtype)
        )))
        assert bool(calls) == (used and implementation == "auto"), calls
    for ours, dense in zip(*found):
        assert_close(
            ours.astype("float32"), dense.astype("float32"), tolerance
        )

image, volume = (2, 9, 7, 6), (1, 6, 5, 7, 3)
check(SREConv2D(8, 5, padding="same"), image, True)
check(SREConv2D(2, 5, ring_profile="area"), image, True)
check(SREConv2D(24, 3, padding="same", harmonics=(1, 2)), image, True)
check(SREConv2D(4, 3, padding="same", dtype="mixed_bfloat16"), image, True, .02)
check(SREConv3D(4, 3, padding="same", harmonics=(1,)), volume, True)
check(SREConv2D(8, 5, 2, "same"), image, False)
check(SREConv2D(8, 3, dilation_rate=2), image, False)
check(SREConv2D(8, 3, groups=2), image, False)
check(SREConv1D(8, 5), (2, 9, 3), False)
check(SREConv2D(2, 3, padding="same"), (2, 5, 4, 6), True)
first = SREConv2D(3, 3, data_format="channels_first")
assert first(np.ones((2, 6, 7, 8), "float32")).shape == (2, 3, 5, 6) and calls

layer = SREConv2D(4, 5, padding="same")
assert layer(np.ones((0, 9, 7, 6), "float32")).shape == (0, 9, 7, 4)
calls.clear()
SREConv2D(2, 9)(np.ones((2, 9, 9, 40), "float32"))  # narrow: products first
assert not calls

x = np.ones(image, "float32")
ones = (1, 1)
config = RingConvConfig((5, 5), None, True, "hard", None, ones, "same", ones)
fastest = lambda x: ring_conv.fastest_implementation(x, config)
assert ring_sum_kernel.has_kernel(x, config)
assert not ring_sum_kernel.has_kernel(x.astype("float64"), config)
assert fastest(keras.ops.ones(image, "bfloat16")) == "slices"
ring_sum_kernel.MAX_ELEMENTS = 2 * 13 * 11 * 6 * 3 - 1  # in the gradient
assert not ring_sum_kernel.has_kernel(x, config)
ring_sum_kernel.MAX_ELEMENTS = 2**31
layer(x)
assert calls
calls.clear()
keras.distribution.set_distribution(keras.distribution.DataParallel())
layer(x)  # compiled anew
assert not calls
assert not ring_sum_kernel.has_kernel(x, config)
assert fastest(keras.ops.ones(image, "bfloat16")) == "dense"
assert fastest(keras.ops.ones(image)) == "slices"
keras.distribution.set_distribution(None)

factorised.ring_sums_by_kernel = kernel
factorised.compiled = lambda function, config, *tensors: (
    jax.jit(functools.partial(function, config))(*tensors)
)
layer = SREConv2D(8, 5, padding="same")
layer.build(image)
for platform, kernels in (("cuda", 1), ("cpu", 0)):
    text = export.export(
        jax.jit(lambda x: layer(x)),
        platforms=[platform],
        disabled_checks=[
            export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")
        ],
    )(x).mlir_module()
    assert text.count("__gpu$xla.gpu.triton") == kernels, text

(batch,) = export.symbolic_shape("batch")
open_batch = jax.ShapeDtypeStruct((batch, *image[1:]), "float32")
for platform in ("cuda", "cpu"):  # which the kernel would not let it
    program = export.export(jax.jit(lambda x: layer(x)), platforms=[platform])
    assert program(open_batch).serialize()

# The kernel's stand-in on other devices, here and now.
y = to_numpy(jax.jit(lambda x: layer(x))(x))
layer.implementation = "dense"
assert_close(y, layer(x))
"""

CAPABILITIES = """
import jax
from keras_sre.ops import ring_sum_kernel

ring_sum_kernel.on_cpu = lambda: False

class Device:
    pass

jax.devices = lambda: [device]
for capability, expected in (
    ("9.0", True), ("8.0", True), ("10.0", True), ("7.5", False),
    ("gfx942", False), (None, False),
):
    device = Device()
    if capability:
        device.compute_capability = capability
    assert ring_sum_kernel._on_gpu() == expected, capability
ring_sum_kernel.on_cpu = lambda: True
assert not ring_sum_kernel._on_gpu()
"""


@pytest.fixture
def _kernel():
    triton = pytest.importorskip("jax.experimental.pallas.triton")
    if not hasattr(triton, "CompilerParams"):
        pytest.skip("this version of JAX is too old for the kernel")


@pytest.mark.usefixtures("_kernel")
def test_ring_sums_by_one_kernel_on_a_gpu():
    run("jax", KERNEL)


@pytest.mark.usefixtures("_kernel")
def test_gpus_without_the_kernel():
    run("jax", CAPABILITIES)


# The sum of the squares of a gradient, differentiated: as a penalty would be.
TWICE = """
import keras, numpy as np
from helpers import assert_close, to_numpy
from keras_sre import SREConv2D, SREDepthwiseConv2D

def penalty_gradients(layer, x, options):
    weights = [w.value for w in layer.trainable_variables]

    def square(x, *weights):
        y, _ = layer.stateless_call(weights, [], x, **options)
        return keras.ops.sum(y ** 2)

    backend = keras.backend.backend()
    if backend == "jax":
        import jax
        penalty = lambda *t: keras.ops.sum(jax.grad(square)(*t) ** 2)
        return jax.grad(penalty, tuple(range(1 + len(weights))))(x, *weights)
    if backend == "tensorflow":
        import tensorflow as tf
        tensors = [tf.convert_to_tensor(t) for t in (x, *weights)]
        with tf.GradientTape() as outer:
            outer.watch(tensors)
            with tf.GradientTape() as inner:
                inner.watch(tensors)
                y = square(*tensors)
            penalty = tf.reduce_sum(inner.gradient(y, tensors[0]) ** 2)
        return outer.gradient(penalty, tensors)
    import torch
    tensors = [torch.tensor(x), *(w.detach().clone() for w in weights)]
    for tensor in tensors:
        tensor.requires_grad_()
    (first,) = torch.autograd.grad(
        square(*tensors), tensors[0], create_graph=True
    )
    return torch.autograd.grad((first ** 2).sum(), tensors)

x = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype("float32")
in_training = {"training": True}
for layer, options in (
    (SREConv2D(4, 3, padding="same", use_bias=False), in_training),
    (SREConv2D(8, 3, strides=2, use_bias=False), in_training),
    (SREConv2D(8, 3, harmonics=(1,), use_bias=False), in_training),
    (SREConv2D(8, 3, harmonics=(1,), use_bias=False), {}),
    (SREDepthwiseConv2D(3, padding="same", use_bias=False), {}),
):
    layer.build(x.shape)
    found = []
    for implementation in ("slices", "dense"):
        layer.implementation = implementation
        gradients = penalty_gradients(layer, x, options)
        found.append([to_numpy(g) for g in gradients])
    for ours, dense in zip(*found):
        try:
            assert_close(ours, dense)
        except AssertionError as error:
            config = layer.get_config()
            raise AssertionError(f"{config} {ours.shape} {error}") from error
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_gradients(backend):
    pytest.importorskip(backend)
    run(backend, TWICE)
