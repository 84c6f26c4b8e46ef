"""Whole networks beside the plain ResNet of the same depth and map sizes.

The first step, most of which is compilation, and the peak memory can be
measured only once in a process: each network has one of its own for them.
Ratios are to the faster of the plain network with XLA off and on.

What this form cannot beat is the time of its products alone: the pointwise
product of each of its convolutions, and in training the two of the gradient.
Nor, where XLA makes it, that of the network whose rings have one tap each: ring
sums are copies then, written and multiplied as before, without an addition.
"""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import subprocess
import time

import keras
import numpy as np
import timing
from benchmark_layers import COPIES
from benchmark_layers import make_copies
from benchmark_layers import predict_call
from benchmark_layers import train_call
from keras import ops
from models import build_model


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks that are compared with one another, the plain one first.

    `networks` holds arguments of `build_model` by the name in the table.
    """

    input_shape: tuple
    batch: int
    width: int
    networks: dict
    classes: int = 10


def _rings(name, *kernel_sizes, **options):
    return {"name": name, "kernel_sizes": kernel_sizes, **options}


SETTINGS = {
    "2D": Setting(
        (32, 32, 3),
        batch=32,
        width=64,
        networks={
            "plain 3 3 3 3": {"name": "resnet18"},
            "SRE 9 9 5 5": _rings("sre_resnet18", 9, 9, 5, 5),
            "SRE 5 5 3 3": _rings("sre_resnet18", 5, 5, 3, 3),
            "SRE 3 3 3 3": _rings("sre_resnet18", 3, 3, 3, 3),
            "SRE 5 5 3 3, harmonics": _rings(
                "sre_resnet18", 5, 5, 3, 3, harmonics=(1, 2)
            ),
        },
    ),
    "3D": Setting(
        (32, 32, 32, 1),
        batch=2,
        width=32,
        networks={
            "plain 3 3 3 3": {"name": "resnet3d18"},
            "SRE 5 5 5 5": _rings("sre_resnet3d18", 5, 5, 5, 5),
            "SRE 3 3 3 3": _rings("sre_resnet3d18", 3, 3, 3, 3),
            "SRE 3 3 3 3, harmonics": _rings(
                "sre_resnet3d18", 3, 3, 3, 3, harmonics=(1, 2)
            ),
        },
    ),
}

# Columns of the table, each but the spreads with its ratio.
FIGURES = (
    *("inference_ms", "inference_spread", "step_ms", "step_spread"),
    *("first_s", "memory_mib", "program_mib"),
)


def run(repeats, torch_python=None):
    """Returns one row, a dict, for each network in each mode.

    Args:
        repeats: int, how often each thing is timed.
        torch_python: path of a Python interpreter that can import the official
            packages, whose networks then take their turn with those in 2D.

    The mode of a row is `"auto"`, what users get who do not think of XLA, or
    `"on"`, or what is left of the network: `"copies"` or `"products"`. That of
    an official network is `"torch"`.
    """
    with contextlib.ExitStack() as stack:
        official = {}
        if torch_python:
            official = stack.enter_context(official_networks(torch_python))
        rows = []
        for name in SETTINGS:
            rows += _time_setting(name, repeats, official)
            official = {}
    return rows


def _time_setting(setting, repeats, official):
    modes = ["on"] if keras.backend.backend() == "jax" else ["auto", "on"]
    networks = list(SETTINGS[setting].networks)
    ours = [(network, mode) for mode in modes for network in networks]
    ours += [(network, COPIES) for network in networks[1:]]
    figures = {
        name: timing.measure_alone(
            "benchmark_models", "first_step", setting, *name
        )
        for name in ours
    }
    works = {name: _works(setting, *name) for name in ours}
    for network in networks[1:]:
        name = network, "products"
        figures[name], works[name] = {}, _products(setting, network)
    for network, calls in official.items():
        figures[network, "torch"], works[network, "torch"] = {}, calls
    cases = {
        (name, work): call
        for name, calls in works.items()
        for work, call in calls.items()
    }
    times = timing.time_in_turn(cases, repeats, f"{setting} networks")
    for (name, work), (median, spread) in times.items():
        figures[name] |= {f"{work}_ms": median, f"{work}_spread": spread}
    plain = {
        figure: min(figures[networks[0], mode][figure] for mode in modes)
        for figure in figures[ours[0]]
    }
    rows = []
    for (network, mode), found in figures.items():
        row = {"case": setting, "what": network, "mode": mode}
        for figure in FIGURES:
            row[figure] = found.get(figure)
            work, unit = figure.rsplit("_", 1)
            if unit != "spread" and figure in found:
                row[f"{work}_ratio"] = found[figure] / plain[figure]
        rows.append(row)
    return rows


def _works(setting, network, mode):
    model, x, y = compiled_model(setting, network, mode)
    return {
        "inference": predict_call(model, x),
        "step": train_call(model, x, y),
    }


def _products(setting, network):
    """Returns the calls that run a ring network's products and nothing else."""
    model, x, _ = compiled_model(setting, network, "auto")
    forward, gradient = [], []
    for layer in model.layers:
        if not hasattr(layer, "ring_kernel"):
            continue
        rows = len(x) * math.prod(layer.output.shape[1:-1])
        for kernel in [layer.ring_kernel, *layer.harmonic_kernels.values()]:
            if kernel is not None:
                rings, channels, filters = kernel.shape
                forward.append((rows, rings * channels, filters))
                gradient.append((channels, rows, rings * filters))
                gradient.append((rows, rings * filters, channels))

    def multiply(*sizes):
        pairs = [(ops.ones((n, k)), ops.ones((k, m))) for n, k, m in sizes]

        def call():
            # Waits for all of them, and copies one number of each.
            corners = [ops.matmul(*pair)[0, 0] for pair in pairs]
            ops.convert_to_numpy(ops.stack(corners))

        return call

    return {
        "inference": multiply(*forward),
        "step": multiply(*forward, *gradient),
    }


@contextlib.contextmanager
def official_networks(python):
    """Yields the calls of each official network, run by another interpreter.

    Raises:
        ValueError: if that interpreter cannot import any.
    """
    script = pathlib.Path(__file__).with_name("benchmark_official.py")
    try:
        process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise ValueError(
            f"Received --torch-python {python}: {error.strerror}. Expected the "
            "path of a Python interpreter."
        ) from error
    with process:  # closes its input, which ends it, and waits
        names = json.loads(process.stdout.readline() or "[]")
        if not names:
            raise ValueError(
                f"Received --torch-python {python}, which cannot import torch "
                "and one of SRE_Conv and GMR_Conv. Install them there."
            )

        def ask(*request):
            print(json.dumps(request), file=process.stdin, flush=True)
            if not process.stdout.readline():
                raise ValueError(f"The official network {request[0]} failed.")

        yield {
            name: {
                work: functools.partial(ask, name, work)
                for work in ("inference", "step")
            }
            for name in names
        }


def first_step(setting, network, mode):
    """Returns first-step seconds and peak memory of this process.

    With JAX also what XLA plans for the gradient's program: its arguments,
    outputs and temporaries.
    """
    model, x, y = compiled_model(setting, network, mode)
    start = time.perf_counter()
    model.train_on_batch(x, y)
    seconds = time.perf_counter() - start
    for _ in range(3):
        model.train_on_batch(x, y)
    found = {"first_s": seconds, "memory_mib": timing.peak_memory()}
    if keras.backend.backend() == "jax":
        found["program_mib"] = _program_memory(model, x, y)
    return found


def _program_memory(model, x, y):
    import jax

    def loss(trainable, others, x, y):
        scores, others = model.stateless_call(
            trainable, others, x, training=True
        )
        return ops.mean(keras.losses.get(model.loss)(y, scores)), others

    weights = [
        [weight.value for weight in weights]
        for weights in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    ]
    program = jax.jit(jax.grad(loss, has_aux=True)).lower(*weights, x, y)
    planned = program.compile().memory_analysis()
    parts = (
        planned.argument_size_in_bytes,
        planned.output_size_in_bytes,
        planned.temp_size_in_bytes,
    )
    return sum(parts) / 2**20


def compiled_model(setting, network, mode):
    setting = SETTINGS[setting]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(setting.batch, *setting.input_shape)).astype("float32")
    y = rng.integers(0, setting.classes, setting.batch)
    keras.utils.set_random_seed(0)
    model = build_model(
        **setting.networks[network],
        input_shape=setting.input_shape,
        classes=setting.classes,
        width=setting.width,
    )
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        "sparse_categorical_crossentropy",
        # "auto" is what users get who do not think of it.
        jit_compile=True if mode == "on" else "auto",
    )
    if mode == COPIES:
        for layer in model.layers:
            if hasattr(layer, "ring_kernel"):
                make_copies(layer)
    return model, x, y
