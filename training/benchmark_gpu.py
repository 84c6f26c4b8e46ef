"""Networks on a GPU, beside the plain one and beside what the GPU allows.

With the JAX backend. The floor of a network is that of its convolutions alone:
for each the time to read its input and to write its output once, or that of its
products, whichever is longer, at the rates that this GPU reaches; three times
that for a training step. Networks are compiled side by side, so `compile_s` is
longer than for one alone.
"""

import concurrent.futures
import functools
import math
import os
import time

import benchmark_models
import keras
import numpy as np
import timing
from models import build_model

# Name of the networks in `benchmark_models.SETTINGS`, size, batch.
SETTINGS = {
    "32 x 32": ("2D", (32, 32, 3), 512),
    "224 x 224": ("2D", (224, 224, 3), 128),
    "32 x 32 x 32": ("3D", (32, 32, 32, 1), 32),
    "64 x 64 x 64": ("3D", (64, 64, 64, 1), 32),
}
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
MATRIX_SIZE = 8192
COPY_BYTES = 2**31
CALLS = 10  # queued at once, so that starting them is not what is timed


def run(repeats):
    """Returns rows: the rates of the GPU, then every network.

    Args:
        repeats: int, how often each thing is timed.

    Raises:
        ValueError: if there is no GPU, or another backend.
    """
    check_gpu()
    rates = measure_rates(repeats)
    rows = [
        {"case": f"products, {dtype}", "what": f"{rate / 1e12:.0f} TFLOP/s"}
        for dtype, rate in rates["products"].items()
    ]
    rows.append({"case": "memory", "what": f"{rates['bytes'] / 1e9:.0f} GB/s"})
    for setting in SETTINGS:
        for dtype in POLICIES:
            try:
                rows += time_networks(setting, dtype, rates, repeats)
            except RuntimeError as error:  # JAX's own is one
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                case = f"{setting}, {dtype}"
                rows.append({"case": case, "what": "needs more memory"})
    return rows


def check_gpu():
    if keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "gpu":
            return
    raise ValueError(
        "The suite gpu needs a GPU and the JAX backend (KERAS_BACKEND=jax, and "
        f"JAX installed for the GPU); found {keras.backend.backend()} with "
        f"{', '.join(keras.distribution.list_devices())}."
    )


def measure_rates(repeats):
    """Returns operations per second by dtype, and bytes per second."""
    import jax

    random = functools.partial(jax.random.normal, jax.random.key(0))
    square = jax.jit(lambda x: x @ x)
    products = {}
    for dtype in POLICIES:
        matrix = random((MATRIX_SIZE, MATRIX_SIZE), dtype)
        seconds = _seconds(lambda x=matrix: square(x), repeats)
        products[dtype] = 2 * MATRIX_SIZE**3 / seconds
    array = random((COPY_BYTES // 4,), "float32")
    increase = jax.jit(lambda x: x + 1)
    seconds = _seconds(lambda: increase(array), repeats)
    return {"products": products, "bytes": 2 * array.nbytes / seconds}


def _seconds(call, repeats):
    import jax

    cases = {
        "": lambda: jax.block_until_ready([call() for _ in range(CALLS)][-1])
    }
    milliseconds, _ = timing.time_in_turn(cases, repeats, "rates")[""]
    return milliseconds / 1e3 / CALLS


def time_networks(setting, dtype, rates, repeats, networks=None):
    """Returns one row for each network, timed in turn.

    Args:
        setting: key of `SETTINGS`.
        dtype: key of `POLICIES`.
        rates: what `measure_rates` returns.
        repeats: int.
        networks: names of the networks, the plain one first. `None` is all.
    """
    import jax

    rank, input_shape, batch = SETTINGS[setting]
    networks = networks or list(benchmark_models.SETTINGS[rank].networks)
    # Traced one by one, compiled side by side: XLA leaves Python's lock.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        futures, floors = {}, {}
        for network in networks:
            model, programs = _programs(
                rank, network, input_shape, batch, POLICIES[dtype]
            )
            floors[network] = 1e3 * floor_seconds(model, batch, dtype, rates)
            futures[network] = pool.submit(_compile, programs)
        compiled = {name: future.result() for name, future in futures.items()}
    cases = {
        (network, work): lambda run=run, arguments=arguments: (
            jax.block_until_ready(run(*arguments))
        )
        for network, programs in compiled.items()
        for work, (run, arguments, _) in programs.items()
    }
    times = timing.time_in_turn(cases, repeats, f"{setting} {dtype}")
    rows = []
    for network in networks:
        row = {"case": f"{setting}, {dtype}", "what": network, "batch": batch}
        for work, floor in (("inference", 1), ("step", 3)):
            median, spread = times[network, work]
            row[f"{work}_ms"], row[f"{work}_spread"] = median, spread
            row[f"{work}_ratio"] = median / times[networks[0], work][0]
            row[f"{work}_floor"] = median / (floor * floors[network])
        run, _, seconds = compiled[network]["step"]
        row["compile_s"] = seconds
        row["program_mib"] = run.memory_analysis().temp_size_in_bytes / 2**20
        rows.append(row)
    return rows


def _programs(rank, network, input_shape, batch, policy):
    """Returns the network, and for each work its traced program and data."""
    import jax

    setting = benchmark_models.SETTINGS[rank]
    keras.utils.set_random_seed(0)
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model(
            **setting.networks[network],
            input_shape=input_shape,
            classes=setting.classes,
            width=setting.width,
        )
    finally:
        keras.config.set_dtype_policy(default)
    x = jax.random.normal(jax.random.key(0), (batch, *input_shape))
    y = jax.random.randint(jax.random.key(1), (batch,), 0, setting.classes)
    weights = [weight.value for weight in model.trainable_variables]
    others = [weight.value for weight in model.non_trainable_variables]

    def predict(weights, others, x):
        return model.stateless_call(weights, others, x, training=False)[0]

    def loss_of(weights, others, x, y):
        scores, others = model.stateless_call(weights, others, x, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(y, scores)
        return keras.ops.mean(losses), others

    def step(weights, others, momenta, x, y):
        gradient = jax.grad(loss_of, has_aux=True)
        gradients, others = gradient(weights, others, x, y)
        momenta = [0.9 * m + g for m, g in zip(momenta, gradients, strict=True)]
        weights = [w - 1e-3 * m for w, m in zip(weights, momenta, strict=True)]
        return weights, others, momenta

    works = {
        "step": (step, (weights, others, weights, x, y)),
        "inference": (predict, (weights, others, x)),
    }
    return model, {
        work: (jax.jit(function).lower(*arguments), arguments)
        for work, (function, arguments) in works.items()
    }


def _compile(programs):
    compiled = {}
    for work, (program, arguments) in programs.items():
        start = time.perf_counter()
        run = program.compile()
        compiled[work] = run, arguments, time.perf_counter() - start
    return compiled


def floor_seconds(model, batch, dtype, rates):
    """Returns the least time for a network's convolutions, one way.

    Example: of 64 to 64 channels with 3 rings on 512 maps of 32 x 32 at 400
    TFLOP/s and 4 TB/s, float32, the longer of 32 us (products) and 67 us.
    """
    size = np.dtype("float32").itemsize if dtype == "float32" else 2
    seconds = 0.0
    for layer in model.layers:
        products = _products(layer)
        if not products:
            continue
        inputs, outputs = layer.input.shape, layer.output.shape
        positions = batch * math.prod(outputs[1:-1])
        operations = 2 * positions * products
        moved = batch * size * (math.prod(inputs[1:]) + math.prod(outputs[1:]))
        seconds += max(
            operations / rates["products"][dtype], moved / rates["bytes"]
        )
    return seconds


def _products(layer):
    """Returns the multiplications of a convolution for each of its outputs.

    The weights of a harmonic order are used once for each of its functions.
    """
    if hasattr(layer, "ring_kernel"):
        rank = len(layer.output.shape) - 2
        products = math.prod(getattr(layer.ring_kernel, "shape", (0,)))
        for order, kernel in layer.harmonic_kernels.items():
            functions = 2 if rank == 2 else 2 * order + 1
            products += functions * math.prod(kernel.shape)
        return products
    if len(layer.output.shape) > 2 and hasattr(layer, "kernel"):
        return math.prod(layer.kernel.shape)
    return 0
